/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * #VMEXITs by exit code. Source: AMD APM volume 2, "SVM intercept exit codes",
 * "Decode assists".
 *
 * A handler returns 1 (enter again), 0 (exit to the user, run page filled in) or
 * -errno.
 */
#include "hv/mmu/mmu.h"
#include "hv/svm/svm.h"
#include "hv/x86/defs.h"
#include "hv/x86/ops.h"
#include "hv/x86/state.h"

static uint64_t info1(struct hv_vcpu *vcpu)
{
	return svm_control(vcpu)->exit_info1;
}

static uint64_t info2(struct hv_vcpu *vcpu)
{
	return svm_control(vcpu)->exit_info2;
}

/* ---- exceptions, interrupts ------------------------------------------------------------------------ */

static int handle_page_fault(struct hv_vcpu *vcpu)
{
	return vcpu_handle_page_fault(vcpu, info2(vcpu), (uint32_t)info1(vcpu));
}

static int handle_nothing(struct hv_vcpu *vcpu)
{
	return 1;
}

static int handle_vintr(struct hv_vcpu *vcpu)
{
	svm_disable_irq_window(vcpu);
	return vcpu_window_opened(vcpu);
}

/* The end of an NMI handler: hv/x86 executes the IRET and unblocks NMIs as it does. */
static int handle_iret(struct hv_vcpu *vcpu)
{
	int r = vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);

	if (r == 1)
		vcpu_window_opened(vcpu);
	return r;
}

/* EXITINFO2: bit 36 IRET, 38 far JMP, 44 the error code in 31:0 is valid. */
static int handle_task_switch(struct hv_vcpu *vcpu)
{
	uint64_t int_info = svm_control(vcpu)->exit_int_info;
	struct x86_icpt_task task = { .selector = (uint16_t)info1(vcpu) };
	unsigned int len = VCPU_INSN_LEN_UNKNOWN;
	uint64_t type = (int_info & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT;

	if (info2(vcpu) & 1ULL << 36) {
		task.source = 1;
	} else if (info2(vcpu) & 1ULL << 38) {
		task.source = 2;
	} else if (int_info & SVM_EVENT_VALID) {
		task.source = 3;
		task.event_vector = (uint8_t)int_info;
		task.event_type = (uint8_t)type;
		if (type == SVM_EVENT_EXCEPTION &&
		    (task.event_vector == X86_BP || task.event_vector == X86_OF))
			task.event_type = X86_EV_SOFT_EXC;
		if (task.event_type < X86_EV_SOFT_INT)
			len = 0;
		if (task.event_type == X86_EV_NMI)
			svm_set_nmi_masked(vcpu, true);
	}
	if (info2(vcpu) & 1ULL << 44) {
		task.has_error = true;
		task.error_code = (uint32_t)info2(vcpu);
	}
	return vcpu_emulate_task_switch(vcpu, &task, len);
}

/* ---- control and debug registers ---------------------------------------------------------------------- */

static int handle_cr_read(struct hv_vcpu *vcpu)
{
	unsigned int cr = (unsigned int)(svm_of(vcpu)->exit_code - SVM_EXIT_READ_CR0);
	uint64_t *reg = &vcpu_gprs(vcpu)->r[info1(vcpu) & SVM_CRX_GPR];
	const struct hv_regs_cache *r;

	if (!(info1(vcpu) & SVM_CRX_MOV)) /* SMSW */
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	if (cr == 8) {
		*reg = vcpu_get_cr8(vcpu);
		return vcpu_emulate_nop(vcpu);
	}
	r = vcpu_regs_read(vcpu);
	*reg = cr == 0 ? r->cr0 : cr == 3 ? r->cr3 : r->cr4;
	return vcpu_emulate_nop(vcpu);
}

static int handle_cr_write(struct hv_vcpu *vcpu)
{
	struct svm_vcpu *v = svm_of(vcpu);
	unsigned int cr = v->exit_code == SVM_EXIT_CR0_SEL_WRITE ?
				  0 : (unsigned int)(v->exit_code - SVM_EXIT_WRITE_CR0);

	if (!(info1(vcpu) & SVM_CRX_MOV)) /* LMSW, CLTS */
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	return vcpu_emulate_mov_to_cr(vcpu, cr, vcpu_gprs(vcpu)->r[info1(vcpu) & SVM_CRX_GPR]);
}

static int handle_invlpg(struct hv_vcpu *vcpu)
{
	return vcpu_emulate_invlpg(vcpu, info1(vcpu));
}

static int handle_invpcid(struct hv_vcpu *vcpu)
{
	if (!vm_arch(vcpu->vm)->caps.invpcid)
		return vcpu_emulate_ud(vcpu);
	return vcpu_emulate_invpcid(vcpu);
}

/* ---- instructions, I/O, memory ------------------------------------------------------------------------- */

static int handle_msr(struct hv_vcpu *vcpu)
{
	return info1(vcpu) & 1 ? vcpu_emulate_wrmsr(vcpu) : vcpu_emulate_rdmsr(vcpu);
}

static int handle_io(struct hv_vcpu *vcpu)
{
	uint64_t info = info1(vcpu);

	if (info & SVM_IOIO_STRING)
		return vcpu_emulate_instruction(vcpu, HV_INVALID_GPA);
	vcpu_set_exit_insn_len(vcpu, (unsigned int)(info2(vcpu) - vcpu_get_rip(vcpu)));
	return vcpu_fast_pio(vcpu, (uint16_t)(info >> SVM_IOIO_PORT_SHIFT),
			     (unsigned int)(info >> SVM_IOIO_SIZE_SHIFT & 7), info & SVM_IOIO_IN);
}

static int handle_npf(struct hv_vcpu *vcpu)
{
	/* Every nested access counts as a user's: that bit tells nothing of the guest. */
	return vcpu_handle_page_fault(vcpu, info2(vcpu), info1(vcpu) & ~(uint64_t)HV_PF_USER);
}

/* ---- failures ---------------------------------------------------------------------------------------------- */

static int handle_invalid(struct hv_vcpu *vcpu)
{
	return vcpu_exit_fail_entry(vcpu, svm_of(vcpu)->exit_code);
}

static int handle_unexpected(struct hv_vcpu *vcpu)
{
	return vcpu_exit_unknown(vcpu, svm_of(vcpu)->exit_code);
}

/* ---- the table ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	int (*handle)(struct hv_vcpu *vcpu);
} exits[SVM_INDEX_COUNT] = {
#define EXIT(code, handler) [SVM_EXIT_##code] = { #code, handler }
	[SVM_EXIT_READ_CR0] = { "READ_CR0", handle_cr_read },
	[SVM_EXIT_READ_CR0 + 3] = { "READ_CR3", handle_cr_read },
	[SVM_EXIT_READ_CR0 + 4] = { "READ_CR4", handle_cr_read },
	[SVM_EXIT_READ_CR0 + 8] = { "READ_CR8", handle_cr_read },
	[SVM_EXIT_WRITE_CR0] = { "WRITE_CR0", handle_cr_write },
	[SVM_EXIT_WRITE_CR0 + 3] = { "WRITE_CR3", handle_cr_write },
	[SVM_EXIT_WRITE_CR0 + 4] = { "WRITE_CR4", handle_cr_write },
	[SVM_EXIT_WRITE_CR0 + 8] = { "WRITE_CR8", handle_cr_write },
	[SVM_EXIT_EXCEPTION + X86_UD] = { "EXCEPTION_UD", vcpu_handle_undefined },
	[SVM_EXIT_EXCEPTION + X86_PF] = { "EXCEPTION_PF", handle_page_fault },
	EXIT(INTR, handle_nothing),
	EXIT(NMI, handle_nothing),
	EXIT(SMI, handle_nothing),
	EXIT(INIT, handle_nothing),
	EXIT(VINTR, handle_vintr),
	EXIT(CR0_SEL_WRITE, handle_cr_write),
	EXIT(RDPMC, vcpu_emulate_rdpmc),
	EXIT(CPUID, vcpu_emulate_cpuid),
	EXIT(RSM, vcpu_emulate_ud),
	EXIT(IRET, handle_iret),
	EXIT(INVD, vcpu_emulate_invd),
	EXIT(PAUSE, vcpu_emulate_nop),
	EXIT(HLT, vcpu_emulate_hlt),
	EXIT(INVLPG, handle_invlpg),
	EXIT(INVLPGA, vcpu_emulate_ud),
	EXIT(IOIO, handle_io),
	EXIT(MSR, handle_msr),
	EXIT(TASK_SWITCH, handle_task_switch),
	EXIT(SHUTDOWN, vcpu_exit_shutdown),
	/* The guest's processor has no SVM. */
	EXIT(VMRUN, vcpu_emulate_ud),
	EXIT(VMMCALL, vcpu_emulate_hypercall),
	EXIT(VMLOAD, vcpu_emulate_ud),
	EXIT(VMSAVE, vcpu_emulate_ud),
	EXIT(STGI, vcpu_emulate_ud),
	EXIT(CLGI, vcpu_emulate_ud),
	EXIT(SKINIT, vcpu_emulate_ud),
	EXIT(RDTSCP, vcpu_emulate_ud), /* intercepted where the guest has none */
	EXIT(ICEBP, handle_unexpected),
	EXIT(WBINVD, vcpu_emulate_invd),
	EXIT(MONITOR, vcpu_emulate_nop),
	EXIT(MWAIT, vcpu_emulate_nop),
	EXIT(XSETBV, vcpu_emulate_xsetbv),
	EXIT(INVPCID, handle_invpcid),
#undef EXIT
	[SVM_INDEX_NPF] = { "NPF", handle_npf },
	[SVM_INDEX_AVIC_INCOMPLETE_IPI] = { "AVIC_INCOMPLETE_IPI", handle_unexpected },
	[SVM_INDEX_AVIC_NOACCEL] = { "AVIC_NOACCEL", handle_unexpected },
	[SVM_INDEX_INVALID] = { "INVALID", handle_invalid },
};

static unsigned int index_of(uint64_t code)
{
	switch (code) {
	case SVM_EXIT_NPF:
		return SVM_INDEX_NPF;
	case SVM_EXIT_AVIC_INCOMPLETE_IPI:
		return SVM_INDEX_AVIC_INCOMPLETE_IPI;
	case SVM_EXIT_AVIC_NOACCEL:
		return SVM_INDEX_AVIC_NOACCEL;
	case SVM_EXIT_INVALID:
		return SVM_INDEX_INVALID;
	default:
		return code < SVM_INDEX_NPF ? (unsigned int)code : SVM_INDEX_COUNT;
	}
}

const char *svm_exit_name(unsigned int index)
{
	return index < SVM_INDEX_COUNT ? exits[index].name : NULL;
}

int svm_handle_exit(struct hv_vcpu *vcpu)
{
	unsigned int i = index_of(svm_of(vcpu)->exit_code);

	if (i >= SVM_INDEX_COUNT || !exits[i].handle)
		return handle_unexpected(vcpu);
	atomic_fetch_add_explicit(&vcpu->exits[i], 1, memory_order_relaxed);
	return exits[i].handle(vcpu);
}
