/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM exits by basic reason. Source: SDM volume 3, chapter "VM exits", "Exit
 * qualification", appendix C.
 *
 * A handler returns 1 (enter again), 0 (exit to the user, run page filled in) or
 * -errno.
 */
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/mmu/mmu.h"
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"
#include "hv/x86/ops.h"
#include "hv/x86/state.h"

static uint64_t qualification(struct hv_vcpu *vcpu)
{
	return vmcs_read(vcpu, VMCS_EXIT_QUALIFICATION);
}

/* ---- exceptions, interrupts, windows ------------------------------------------------------------ */

static int handle_exception_nmi(struct hv_vcpu *vcpu)
{
	uint32_t info = (uint32_t)vmcs_read(vcpu, VMCS_EXIT_INTR_INFO);
	uint32_t error, type = (info & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT;
	uint8_t vector = (uint8_t)info;

	if (type == VMX_INTR_NMI) /* the host's own: nothing of the guest's */
		return 1;
	if (vector == X86_PF && vmx_shadow(vcpu)) {
		error = (uint32_t)vmcs_read(vcpu, VMCS_EXIT_INTR_ERROR);
		return vcpu_handle_page_fault(vcpu, qualification(vcpu), error);
	}
	if (vector == X86_UD)
		return vcpu_handle_undefined(vcpu);
	return vcpu_exit_unknown(vcpu, VMX_EXIT_EXCEPTION_NMI | (uint64_t)info << 32);
}

static int handle_nothing(struct hv_vcpu *vcpu)
{
	return 1;
}

static int handle_intr_window(struct hv_vcpu *vcpu)
{
	vmx_disable_window(vcpu, VMX_CPU_INTR_WINDOW);
	return vcpu_window_opened(vcpu);
}

static int handle_nmi_window(struct hv_vcpu *vcpu)
{
	vmx_disable_window(vcpu, VMX_CPU_NMI_WINDOW);
	return vcpu_window_opened(vcpu);
}

static int handle_task_switch(struct hv_vcpu *vcpu)
{
	uint64_t qual = qualification(vcpu);
	struct x86_icpt_task task = {
		.selector = (uint16_t)qual, .source = (uint8_t)(qual >> 30 & 3),
	};
	uint32_t info = (uint32_t)vmcs_read(vcpu, VMCS_IDT_VECTORING_INFO);
	unsigned int len = (unsigned int)vmcs_read(vcpu, VMCS_EXIT_INSN_LEN);

	if (task.source == 3 && (info & VMX_INTR_VALID)) {
		task.event_type = (uint8_t)((info & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT);
		task.event_vector = (uint8_t)info;
		if (info & VMX_INTR_HAS_ERROR) {
			task.has_error = true;
			task.error_code = (uint32_t)vmcs_read(vcpu, VMCS_IDT_VECTORING_ERROR);
		}
		if (task.event_type < X86_EV_SOFT_INT)
			len = 0;
		/* The new task takes the event: with it, NMIs are blocked. */
		if (task.event_type == X86_EV_NMI)
			vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) | VMX_BLOCK_NMI);
	}
	return vcpu_emulate_task_switch(vcpu, &task, len);
}

/* ---- control and debug registers ------------------------------------------------------------------- */

static uint64_t *gpr(struct hv_vcpu *vcpu, uint64_t number)
{
	return &vcpu_gprs(vcpu)->r[number & 15];
}

static int handle_cr_access(struct hv_vcpu *vcpu)
{
	uint64_t qual = qualification(vcpu);
	unsigned int cr = qual & 15;
	uint64_t *reg = gpr(vcpu, qual >> 8);

	switch (qual >> 4 & 3) {
	case VMX_CR_MOV_TO:
		return vcpu_emulate_mov_to_cr(vcpu, cr, *reg);
	case VMX_CR_MOV_FROM:
		*reg = cr == 8 ? vcpu_get_cr8(vcpu) : vcpu_regs_read(vcpu)->cr3;
		return vcpu_emulate_nop(vcpu);
	case VMX_CR_CLTS:
		vcpu_set_cr0(vcpu, vcpu_regs_read(vcpu)->cr0 & ~X86_CR0_TS);
		return vcpu_emulate_nop(vcpu);
	default:
		vcpu_lmsw(vcpu, (uint16_t)(qual >> 16));
		return vcpu_emulate_nop(vcpu);
	}
}

/* The exit comes before CR4.DE, the CPL and DR7.GD are looked at (SDM vol. 3, "MOV DR"). */
static int handle_dr_access(struct hv_vcpu *vcpu)
{
	uint64_t qual = qualification(vcpu);
	int dr = qual & 7, err = 0;
	uint64_t *reg = gpr(vcpu, qual >> 8);
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);

	if ((dr == 4 || dr == 5) && (r->cr4 & X86_CR4_DE))
		return vcpu_emulate_ud(vcpu);
	if (vcpu_get_cpl(vcpu))
		return vcpu_complete_insn_gp(vcpu, 1, 0);
	if (r->dr7 & X86_DR7_GD) {
		vcpu_regs(vcpu)->rflags |= X86_FL_RF; /* a fault, other than most #DB */
		vcpu_queue_db(vcpu, X86_DR6_BD);
		return 1;
	}
	if (qual & 16)
		*reg = vcpu_get_dr(vcpu, dr);
	else
		err = vcpu_set_dr(vcpu, dr, *reg);
	return vcpu_complete_insn_gp(vcpu, err, 0);
}

static int handle_invlpg(struct hv_vcpu *vcpu)
{
	return vcpu_emulate_invlpg(vcpu, qualification(vcpu));
}

/* ---- I/O and memory ----------------------------------------------------------------------------------- */

static int handle_io(struct hv_vcpu *vcpu)
{
	uint64_t qual = qualification(vcpu);

	if (qual & VMX_IO_STRING)
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	return vcpu_fast_pio(vcpu, (uint16_t)(qual >> VMX_IO_PORT_SHIFT),
			     (unsigned int)(qual & VMX_IO_SIZE) + 1, qual & VMX_IO_IN);
}

static int handle_ept_violation(struct hv_vcpu *vcpu)
{
	uint64_t qual = qualification(vcpu), error = 0;

	if ((qual & EPT_QUAL_NMI_UNBLOCK) &&
	    !(vmcs_read(vcpu, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID))
		vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) | VMX_BLOCK_NMI);
	if (qual & EPT_QUAL_WRITE)
		error |= HV_PF_WRITE;
	if (qual & EPT_QUAL_FETCH)
		error |= HV_PF_FETCH;
	if (qual & (EPT_QUAL_READABLE | EPT_QUAL_WRITABLE | EPT_QUAL_EXECUTABLE))
		error |= HV_PF_PRESENT;
	error |= qual & EPT_QUAL_FINAL ? HV_PF_GUEST_FINAL : HV_PF_GUEST_PAGE;
	return vcpu_handle_page_fault(vcpu, vmcs_read(vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), error);
}

static int handle_ept_misconfig(struct hv_vcpu *vcpu)
{
	hv_gpa_t gpa = vmcs_read(vcpu, VMCS_GUEST_PHYSICAL_ADDRESS);
	bool write_ok;
	int r;

	hv_rcu_read_lock();
	r = mmu_handle_mmio_hit(vcpu, gpa, &gpa, &write_ok);
	hv_rcu_read_unlock();
	if (r < 0)
		return r;
	return r ? vcpu_handle_mmio(vcpu, gpa) : 1;
}

static int handle_pml_full(struct hv_vcpu *vcpu)
{
	/* run() has drained the buffer. IRET's unblocking of NMIs, as for EPT violations: */
	if (!(vmcs_read(vcpu, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID) &&
	    (qualification(vcpu) & EPT_QUAL_NMI_UNBLOCK))
		vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) | VMX_BLOCK_NMI);
	return 1;
}

/* ---- failures -------------------------------------------------------------------------------------------- */

static int handle_invalid_guest_state(struct hv_vcpu *vcpu)
{
	/*
	 * Without unrestricted guest the processor refuses what real mode leaves in the
	 * segment registers; hv/x86 runs the guest until it has loaded them anew.
	 */
	if (vmx_shadow(vcpu) && !(vcpu_regs_read(vcpu)->efer & X86_EFER_LMA))
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	return vcpu_exit_fail_entry(vcpu, vmx_of(vcpu)->exit_reason);
}

static int handle_unexpected(struct hv_vcpu *vcpu)
{
	return vcpu_exit_unknown(vcpu, vmx_of(vcpu)->exit_reason);
}

/* ---- the table -------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*handle)(struct hv_vcpu *vcpu);
} exits[VMX_EXIT_COUNT] = {
#define EXIT(reason, handler) [VMX_EXIT_##reason] = { #reason, handler }
	EXIT(EXCEPTION_NMI, handle_exception_nmi),
	EXIT(EXTERNAL_INTERRUPT, handle_nothing),
	EXIT(TRIPLE_FAULT, vcpu_exit_shutdown),
	EXIT(INIT, handle_nothing),
	EXIT(SIPI, handle_nothing),
	EXIT(IO_SMI, handle_unexpected),
	EXIT(OTHER_SMI, handle_unexpected),
	EXIT(INTR_WINDOW, handle_intr_window),
	EXIT(NMI_WINDOW, handle_nmi_window),
	EXIT(TASK_SWITCH, handle_task_switch),
	EXIT(CPUID, vcpu_emulate_cpuid),
	EXIT(GETSEC, vcpu_emulate_ud),
	EXIT(HLT, vcpu_emulate_hlt),
	EXIT(INVD, vcpu_emulate_invd),
	EXIT(INVLPG, handle_invlpg),
	EXIT(RDPMC, vcpu_emulate_rdpmc),
	EXIT(RDTSC, handle_unexpected),
	EXIT(RSM, vcpu_emulate_ud),
	EXIT(VMCALL, vcpu_emulate_hypercall),
	/* The guest's processor has no VMX. */
	EXIT(VMCLEAR, vcpu_emulate_ud),
	EXIT(VMLAUNCH, vcpu_emulate_ud),
	EXIT(VMPTRLD, vcpu_emulate_ud),
	EXIT(VMPTRST, vcpu_emulate_ud),
	EXIT(VMREAD, vcpu_emulate_ud),
	EXIT(VMRESUME, vcpu_emulate_ud),
	EXIT(VMWRITE, vcpu_emulate_ud),
	EXIT(VMXOFF, vcpu_emulate_ud),
	EXIT(VMXON, vcpu_emulate_ud),
	EXIT(CR_ACCESS, handle_cr_access),
	EXIT(DR_ACCESS, handle_dr_access),
	EXIT(IO, handle_io),
	EXIT(RDMSR, vcpu_emulate_rdmsr),
	EXIT(WRMSR, vcpu_emulate_wrmsr),
	EXIT(INVALID_GUEST_STATE, handle_invalid_guest_state),
	EXIT(MSR_LOADING, handle_unexpected),
	EXIT(MWAIT, vcpu_emulate_nop),
	EXIT(MONITOR_TRAP, handle_nothing),
	EXIT(MONITOR, vcpu_emulate_nop),
	EXIT(PAUSE, vcpu_emulate_nop),
	EXIT(MACHINE_CHECK, handle_unexpected),
	EXIT(TPR_BELOW_THRESHOLD, vcpu_window_opened),
	EXIT(APIC_ACCESS, handle_unexpected),
	EXIT(VIRTUALIZED_EOI, vmx_handle_virtualized_eoi),
	EXIT(GDTR_IDTR, handle_unexpected),
	EXIT(LDTR_TR, handle_unexpected),
	EXIT(EPT_VIOLATION, handle_ept_violation),
	EXIT(EPT_MISCONFIG, handle_ept_misconfig),
	EXIT(INVEPT, vcpu_emulate_ud),
	EXIT(RDTSCP, handle_unexpected),
	EXIT(PREEMPTION_TIMER, handle_nothing),
	EXIT(INVVPID, vcpu_emulate_ud),
	EXIT(WBINVD, vcpu_emulate_invd),
	EXIT(XSETBV, vcpu_emulate_xsetbv),
	EXIT(APIC_WRITE, vmx_handle_apic_write),
	EXIT(RDRAND, handle_unexpected),
	EXIT(INVPCID, vcpu_emulate_invpcid),
	EXIT(VMFUNC, vcpu_emulate_ud),
	EXIT(ENCLS, vcpu_emulate_ud),
	EXIT(RDSEED, handle_unexpected),
	EXIT(PML_FULL, handle_pml_full),
	EXIT(XSAVES, handle_unexpected),
	EXIT(XRSTORS, handle_unexpected),
#undef EXIT
};

const char *vmx_exit_name(unsigned int index)
{
	return index < ARRAY_SIZE(exits) ? exits[index].name : NULL;
}

int vmx_handle_exit(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	unsigned int reason = v->exit_reason & 0xffff;

	if (reason >= ARRAY_SIZE(exits) || !exits[reason].handle)
		return vcpu_exit_unknown(vcpu, v->exit_reason);
	atomic_fetch_add_explicit(&vcpu->exits[reason], 1, memory_order_relaxed);
	return exits[reason].handle(vcpu);
}
