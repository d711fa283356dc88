/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a guest's instruction or event does in VMX non-root operation: exits with
 * their qualification, or the changed behaviour that the controls ask for.
 * Source: SDM vol. 3, chapter "VMX non-root operation"; "Basic VM-exit
 * information".
 */
#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

typedef int icpt_fn(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info);

/* ---- exceptions --------------------------------------------------------------------------- */

static bool exception_exits(const struct hv_lp *lp, const struct x86_icpt_exc *exc)
{
	bool bit = lp->vmx.exc_bitmap >> exc->vector & 1;

	if (exc->vector == X86_PF && (exc->error_code & lp->vmx.pf_mask) != lp->vmx.pf_match)
		return !bit;
	return bit;
}

static int icpt_exception(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	const struct x86_icpt_exc *exc = &info->exc;
	uint64_t *f = lp->vmx.vmcs->f;
	uint32_t intr = VMX_INTR_VALID | exc->vector | (uint32_t)exc->type << VMX_INTR_TYPE_SHIFT;

	if (!exception_exits(lp, exc))
		return X86_OK;
	vmx_exit_insn(lp, VMX_EXIT_EXCEPTION_NMI, exc->payload, info);
	if (exc->has_error) {
		intr |= VMX_INTR_HAS_ERROR;
		f[VC_EXIT_INTR_ERROR] = exc->error_code;
	}
	if (exc->iret_nmi_unblock)
		intr |= VMX_INTR_NMI_UNBLOCK;
	f[VC_EXIT_INTR_INFO] = intr;
	return X86_EXIT;
}

/* ---- control and debug registers ---------------------------------------------------------- */

static uint64_t cr_qualification(unsigned int cr, unsigned int type, unsigned int gpr)
{
	return cr | type << 4 | gpr << 8;
}

static int undefined(struct hv_lp *lp)
{
	return x86_set_fault(lp->cpu, X86_UD, 0);
}

/* MOV to CR0 that does not exit: owned bits keep their value, fixed bits their must. */
static int finish_cr0(struct hv_lp *lp, struct x86_intercept_info *info)
{
	uint64_t mask = lp->vmx.cr0_mask, fixed = X86_CR0_NE;

	if (!(lp->vmx.proc2 & VMX_CPU2_UNRESTRICTED))
		fixed |= X86_CR0_PE | X86_CR0_PG;
	info->cr.value = (lp->cpu->cr0 & mask) | (info->cr.value & ~mask);
	if ((info->cr.value & fixed) != fixed)
		return x86_set_fault(lp->cpu, X86_GP, 0);
	return X86_OK;
}

static int icpt_cr0_write(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	if ((info->cr.value ^ lp->vmx.vmcs->f[VC_CR0_READ_SHADOW]) & lp->vmx.cr0_mask)
		return vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS,
				     cr_qualification(0, VMX_CR_MOV_TO, info->cr.gpr), info);
	return finish_cr0(lp, info);
}

static int icpt_lmsw(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	uint64_t shadow = lp->vmx.vmcs->f[VC_CR0_READ_SHADOW], mask = lp->vmx.cr0_mask;
	uint64_t source = info->cr.value & 0xffff, differs = (source ^ shadow) & mask;
	bool pe = (mask & source & ~shadow & X86_CR0_PE) != 0;
	uint64_t qual = cr_qualification(0, VMX_CR_LMSW, 0) | source << 16;

	if (!pe && !(differs & (X86_CR0_MP | X86_CR0_EM | X86_CR0_TS))) {
		info->cr.value = (lp->cpu->cr0 & ~0xfULL) | (source & 0xf) |
				 (lp->cpu->cr0 & X86_CR0_PE);
		return finish_cr0(lp, info);
	}
	vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS, qual | (info->cr.mem ? 1U << 6 : 0), info);
	if (info->cr.mem)
		lp->vmx.vmcs->f[VC_GUEST_LINEAR_ADDRESS] = info->cr.linear;
	return X86_EXIT;
}

static int icpt_clts(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	if (lp->vmx.cr0_mask & lp->vmx.vmcs->f[VC_CR0_READ_SHADOW] & X86_CR0_TS)
		return vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS, cr_qualification(0, VMX_CR_CLTS, 0),
				     info);
	info->cr.value = lp->cpu->cr0 & ~X86_CR0_TS;
	return finish_cr0(lp, info);
}

static int icpt_cr0_read(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	uint64_t mask = lp->vmx.cr0_mask;

	info->cr.value = (lp->vmx.vmcs->f[VC_CR0_READ_SHADOW] & mask) | (lp->cpu->cr0 & ~mask);
	return X86_OK;
}

static int icpt_cr4_write(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	uint64_t mask = lp->vmx.cr4_mask;

	if ((info->cr.value ^ lp->vmx.vmcs->f[VC_CR4_READ_SHADOW]) & mask)
		return vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS,
				     cr_qualification(4, VMX_CR_MOV_TO, info->cr.gpr), info);
	info->cr.value = (lp->cpu->cr4 & mask) | (info->cr.value & ~mask);
	if (!(info->cr.value & X86_CR4_VMXE))
		return x86_set_fault(lp->cpu, X86_GP, 0);
	return X86_OK;
}

static int icpt_cr4_read(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	uint64_t mask = lp->vmx.cr4_mask;

	info->cr.value = (lp->vmx.vmcs->f[VC_CR4_READ_SHADOW] & mask) | (lp->cpu->cr4 & ~mask);
	return X86_OK;
}

static int icpt_cr3_write(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	const uint64_t *f = lp->vmx.vmcs->f;

	for (uint64_t i = 0; i < f[VC_CR3_TARGET_COUNT]; i++)
		if (f[VC_CR3_TARGET0 + i] == info->cr.value)
			return X86_OK;
	return vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS,
			     cr_qualification(3, VMX_CR_MOV_TO, info->cr.gpr), info);
}

/* CR3 store, CR8 load and store: exit whenever intercepted. */
static int icpt_cr_other(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	bool write = what >= X86_ICPT_CR_WRITE;

	return vmx_exit_insn(lp, VMX_EXIT_CR_ACCESS,
			     cr_qualification(info->cr.num, write ? VMX_CR_MOV_TO : VMX_CR_MOV_FROM,
					      info->cr.gpr), info);
}

static int icpt_cr(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	switch ((unsigned int)what) {
	case X86_ICPT_CR_READ + 0:
		return icpt_cr0_read(lp, what, info);
	case X86_ICPT_CR_READ + 4:
		return icpt_cr4_read(lp, what, info);
	case X86_ICPT_CR_WRITE + 0:
		return icpt_cr0_write(lp, what, info);
	case X86_ICPT_CR_WRITE + 3:
		return icpt_cr3_write(lp, what, info);
	case X86_ICPT_CR_WRITE + 4:
		return icpt_cr4_write(lp, what, info);
	default:
		return icpt_cr_other(lp, what, info);
	}
}

static int icpt_dr(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	uint64_t qual = (info->cr.num & 7U) | (what < X86_ICPT_DR_WRITE ? 1U << 4 : 0) |
			(uint32_t)info->cr.gpr << 8;

	return vmx_exit_insn(lp, VMX_EXIT_DR_ACCESS, qual, info);
}

/* ---- I/O and MSRs ------------------------------------------------------------------------- */

static bool io_exits(const struct hv_lp *lp, uint16_t port, unsigned int size)
{
	const uint64_t *f = lp->vmx.vmcs->f;

	if (!(lp->vmx.proc & VMX_CPU_IO_BITMAPS))
		return lp->vmx.proc & VMX_CPU_UNCOND_IO;
	for (unsigned int i = 0; i < size; i++) {
		uint32_t p = (uint32_t)port + i;
		const uint8_t *map;

		if (p > 0xffff)
			return true; /* wraps around the port space */
		map = (const uint8_t *)f[p < 0x8000 ? VC_IO_BITMAP_A : VC_IO_BITMAP_B];
		if (map[(p & 0x7fff) >> 3] >> (p & 7) & 1)
			return true;
	}
	return false;
}

static int icpt_io(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	const struct x86_icpt_io *io = &info->io;
	uint64_t *f = lp->vmx.vmcs->f, qual;

	if (!io_exits(lp, io->port, io->size))
		return X86_OK;
	qual = (io->size - 1U) | (uint64_t)io->port << VMX_IO_PORT_SHIFT;
	qual |= (io->in ? VMX_IO_IN : 0) | (io->string ? VMX_IO_STRING : 0) |
		(io->rep ? VMX_IO_REP : 0) | (io->imm ? VMX_IO_IMMEDIATE : 0);
	vmx_exit_insn(lp, VMX_EXIT_IO, qual, info);
	if (io->string) {
		f[VC_GUEST_LINEAR_ADDRESS] = io->linear;
		f[VC_EXIT_INSN_INFO] = vmx_insn_info(what, info);
	}
	return X86_EXIT;
}

/* The bitmap: reads of low MSRs, of high MSRs, writes of low, of high; 1 KiB each. */
static bool msr_exits(const struct hv_lp *lp, uint32_t index, bool write)
{
	const uint8_t *map = (const uint8_t *)lp->vmx.vmcs->f[VC_MSR_BITMAP];
	uint32_t bit;

	if (!(lp->vmx.proc & VMX_CPU_MSR_BITMAPS))
		return true;
	if (index <= 0x1fff)
		bit = index;
	else if (index >= 0xc0000000 && index <= 0xc0001fff)
		bit = 0x2000 + (index & 0x1fff);
	else
		return true;
	if (write)
		bit += 0x4000;
	return map[bit >> 3] >> (bit & 7) & 1;
}

/* x2APIC registers that are virtualised come after the bitmap, in the rdmsr and wrmsr operations. */
static int icpt_msr(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	bool write = what == X86_ICPT_WRMSR;

	if (!msr_exits(lp, info->msr.index, write))
		return X86_OK;
	return vmx_exit_insn(lp, write ? VMX_EXIT_WRMSR : VMX_EXIT_RDMSR, 0, info);
}

/* ---- the rest ------------------------------------------------------------------------------ */

/* PAUSE exiting, or a spin loop at CPL 0 that lasted longer than the window. */
static int icpt_pause(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	struct soft_vmx *vmx = &lp->vmx;
	uint64_t now;

	if (vmx->proc & VMX_CPU_PAUSE)
		return vmx_exit_insn(lp, VMX_EXIT_PAUSE, 0, info);
	if (lp->cpu->cpl != 0)
		return X86_OK;
	now = soft_rdtsc();
	if (now - vmx->ple_last > vmx->vmcs->f[VC_PLE_GAP])
		vmx->ple_first = now;
	vmx->ple_last = now;
	if (now - vmx->ple_first <= vmx->vmcs->f[VC_PLE_WINDOW])
		return X86_OK;
	vmx->ple_first = now;
	return vmx_exit_insn(lp, VMX_EXIT_PAUSE, 0, info);
}

static int icpt_tsc(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	bool exiting = lp->vmx.proc & VMX_CPU_RDTSC;

	if (what != X86_ICPT_RDTSC && !(lp->vmx.proc2 & VMX_CPU2_RDTSCP))
		return undefined(lp);
	if (what == X86_ICPT_RDPID || !exiting)
		return X86_OK;
	return vmx_exit_insn(lp, what == X86_ICPT_RDTSC ? VMX_EXIT_RDTSC : VMX_EXIT_RDTSCP, 0, info);
}

static int exit_with_memop(struct hv_lp *lp, enum vmx_exit_reason reason, enum x86_intercept what,
			   struct x86_intercept_info *info)
{
	vmx_exit_insn(lp, reason, (uint64_t)info->memop.disp, info);
	lp->vmx.vmcs->f[VC_EXIT_INSN_INFO] = vmx_insn_info(what, info);
	return X86_EXIT;
}

static int icpt_invpcid(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	if (!(lp->vmx.proc2 & VMX_CPU2_INVPCID))
		return undefined(lp);
	if (!(lp->vmx.proc & VMX_CPU_INVLPG))
		return X86_OK;
	return exit_with_memop(lp, VMX_EXIT_INVPCID, what, info);
}

static int icpt_xsaves(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	const struct x86_cpu *cpu = lp->cpu;
	uint64_t wanted = (uint64_t)(uint32_t)cpu->gpr[X86_RDX] << 32 | (uint32_t)cpu->gpr[X86_RAX];

	if (!(lp->vmx.proc2 & VMX_CPU2_XSAVES))
		return undefined(lp);
	if (!(lp->vmx.vmcs->f[VC_XSS_EXIT_BITMAP] & cpu->xss & wanted))
		return X86_OK;
	return exit_with_memop(lp, what == X86_ICPT_XSAVES ? VMX_EXIT_XSAVES : VMX_EXIT_XRSTORS,
			       what, info);
}

static int icpt_task_switch(struct hv_lp *lp, enum x86_intercept what,
			    struct x86_intercept_info *info)
{
	return vmx_exit_insn(lp, VMX_EXIT_TASK_SWITCH,
			     info->task.selector | (uint64_t)info->task.source << 30, info);
}

static int icpt_invlpg(struct hv_lp *lp, enum x86_intercept what, struct x86_intercept_info *info)
{
	return vmx_exit_insn(lp, VMX_EXIT_INVLPG, info->inv.linear, info);
}

/* Exits that carry nothing but the reason. */
static const uint8_t plain_reason[X86_ICPT_NR] = {
	[X86_ICPT_CPUID] = VMX_EXIT_CPUID, [X86_ICPT_HLT] = VMX_EXIT_HLT,
	[X86_ICPT_MONITOR] = VMX_EXIT_MONITOR, [X86_ICPT_MWAIT] = VMX_EXIT_MWAIT,
	[X86_ICPT_INVD] = VMX_EXIT_INVD, [X86_ICPT_WBINVD] = VMX_EXIT_WBINVD,
	[X86_ICPT_RDPMC] = VMX_EXIT_RDPMC, [X86_ICPT_XSETBV] = VMX_EXIT_XSETBV,
	[X86_ICPT_VMCALL] = VMX_EXIT_VMCALL, [X86_ICPT_GETSEC] = VMX_EXIT_GETSEC,
	[X86_ICPT_SHUTDOWN] = VMX_EXIT_TRIPLE_FAULT,
};

static const uint8_t memop_reason[X86_ICPT_NR] = {
	[X86_ICPT_LGDT] = VMX_EXIT_GDTR_IDTR, [X86_ICPT_SGDT] = VMX_EXIT_GDTR_IDTR,
	[X86_ICPT_LIDT] = VMX_EXIT_GDTR_IDTR, [X86_ICPT_SIDT] = VMX_EXIT_GDTR_IDTR,
	[X86_ICPT_LLDT] = VMX_EXIT_LDTR_TR, [X86_ICPT_SLDT] = VMX_EXIT_LDTR_TR,
	[X86_ICPT_LTR] = VMX_EXIT_LDTR_TR, [X86_ICPT_STR] = VMX_EXIT_LDTR_TR,
	[X86_ICPT_RDRAND] = VMX_EXIT_RDRAND, [X86_ICPT_RDSEED] = VMX_EXIT_RDSEED,
};

static icpt_fn *const handlers[X86_ICPT_NR] = {
	[X86_ICPT_EXC ... X86_ICPT_EXC + 31] = icpt_exception,
	[X86_ICPT_CR_READ ... X86_ICPT_CR_READ + 15] = icpt_cr,
	[X86_ICPT_CR_WRITE ... X86_ICPT_CR_WRITE + 15] = icpt_cr,
	[X86_ICPT_DR_READ ... X86_ICPT_DR_READ + 15] = icpt_dr,
	[X86_ICPT_DR_WRITE ... X86_ICPT_DR_WRITE + 15] = icpt_dr,
	[X86_ICPT_SMSW] = icpt_cr0_read, [X86_ICPT_LMSW] = icpt_lmsw, [X86_ICPT_CLTS] = icpt_clts,
	[X86_ICPT_IO] = icpt_io, [X86_ICPT_RDMSR] = icpt_msr, [X86_ICPT_WRMSR] = icpt_msr,
	[X86_ICPT_PAUSE] = icpt_pause, [X86_ICPT_INVLPG] = icpt_invlpg,
	[X86_ICPT_INVPCID] = icpt_invpcid, [X86_ICPT_RDTSC] = icpt_tsc,
	[X86_ICPT_RDTSCP] = icpt_tsc, [X86_ICPT_RDPID] = icpt_tsc,
	[X86_ICPT_XSAVES] = icpt_xsaves, [X86_ICPT_XRSTORS] = icpt_xsaves,
	[X86_ICPT_TASK_SWITCH] = icpt_task_switch,
};

int vmx_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info)
{
	struct hv_lp *lp = cpu->ctx;

	if (handlers[what])
		return handlers[what](lp, what, info);
	if (memop_reason[what])
		return exit_with_memop(lp, memop_reason[what], what, info);
	return vmx_exit_insn(lp, plain_reason[what], 0, info);
}

/* VMX instructions exit unconditionally in non-root operation; VMFUNC is not enabled: #UD. */
static int vmx_op_insn(struct x86_cpu *cpu, enum x86_virt_insn what,
		       struct x86_intercept_info *info)
{
	static const uint8_t reason[] = {
		[X86_VMCALL] = VMX_EXIT_VMCALL, [X86_VMCLEAR] = VMX_EXIT_VMCLEAR,
		[X86_VMLAUNCH] = VMX_EXIT_VMLAUNCH, [X86_VMPTRLD] = VMX_EXIT_VMPTRLD,
		[X86_VMPTRST] = VMX_EXIT_VMPTRST, [X86_VMREAD] = VMX_EXIT_VMREAD,
		[X86_VMRESUME] = VMX_EXIT_VMRESUME, [X86_VMWRITE] = VMX_EXIT_VMWRITE,
		[X86_VMXOFF] = VMX_EXIT_VMXOFF, [X86_VMXON] = VMX_EXIT_VMXON,
		[X86_INVEPT] = VMX_EXIT_INVEPT, [X86_INVVPID] = VMX_EXIT_INVVPID,
	};
	struct hv_lp *lp = cpu->ctx;

	if (what >= sizeof(reason) || what == X86_VMFUNC)
		return undefined(lp);
	if (what == X86_VMCALL || what == X86_VMLAUNCH || what == X86_VMRESUME || what == X86_VMXOFF)
		return vmx_exit_insn(lp, reason[what], 0, info);
	return exit_with_memop(lp, reason[what], X86_ICPT_VMX_INSN, info);
}

/* ---- the rest of the operations table ------------------------------------------------------- */

static uint64_t vmx_op_rdtsc(struct x86_cpu *cpu)
{
	const struct hv_lp *lp = cpu->ctx;
	const uint64_t *f = lp->vmx.vmcs->f;
	uint64_t tsc = soft_rdtsc();

	if (!(lp->vmx.proc & VMX_CPU_TSC_OFFSET))
		return tsc;
	if (lp->vmx.proc2 & VMX_CPU2_TSC_SCALING)
		tsc = (uint64_t)(((unsigned __int128)tsc * f[VC_TSC_MULTIPLIER]) >> 48);
	return tsc + f[VC_TSC_OFFSET];
}

/* An IPI of the host's. With "acknowledge interrupt on exit" its vector is told. */
static int kick_exit(struct hv_lp *lp)
{
	vmx_exit(lp, VMX_EXIT_EXTERNAL_INTERRUPT, 0);
	if (lp->vmx.exit & VMX_EXITCTL_ACK_INTR)
		lp->vmx.vmcs->f[VC_EXIT_INTR_INFO] = VMX_INTR_VALID | SOFT_KICK_VECTOR;
	return X86_EXIT;
}

/* What other threads and trap-like exits asked for. */
static int poll_work(struct hv_lp *lp)
{
	uint32_t work, later = 0;
	int status = X86_OK;

	/* A setter writes work before the pending bit: cleared in the other order, none is lost. */
	x86_unpend(lp->cpu, X86_PEND_WORK);
	work = __atomic_exchange_n(&lp->work, 0, __ATOMIC_ACQ_REL);
	if (work & SOFT_WORK_TRAP) {
		status = vmx_exit(lp, lp->vmx.trap_reason, lp->vmx.trap_qualification);
		later = work & ~SOFT_WORK_TRAP;
	} else if (work & SOFT_WORK_MTF) {
		status = vmx_exit(lp, VMX_EXIT_MONITOR_TRAP, 0);
		later = work & ~SOFT_WORK_MTF;
	} else {
		if ((work & SOFT_WORK_POSTED) && (lp->vmx.pin & VMX_PIN_POSTED_INTR))
			vmx_apic_posted(lp);
		if (work & SOFT_WORK_KICK)
			status = kick_exit(lp);
	}
	if (later)
		__atomic_fetch_or(&lp->work, later, __ATOMIC_RELEASE);
	return status;
}

/* A window exit wakes the processor from HLT. */
static int window_exit(struct hv_lp *lp, enum vmx_exit_reason reason)
{
	if (lp->cpu->activity == X86_HALTED)
		lp->cpu->activity = X86_ACTIVE;
	return vmx_exit(lp, reason, 0);
}

static int vmx_op_poll(struct x86_cpu *cpu, uint32_t which)
{
	struct hv_lp *lp = cpu->ctx;

	if ((which & X86_PEND_WORK) && poll_work(lp) == X86_EXIT)
		return X86_EXIT;
	/* The work may have made a virtual interrupt pending: it comes before the next instruction. */
	if (x86_intr_window(cpu))
		which |= __atomic_load_n(&cpu->pending, __ATOMIC_RELAXED) & X86_PEND_INTR;
	if ((which & X86_PEND_NMI) && (lp->vmx.proc & VMX_CPU_NMI_WINDOW))
		return window_exit(lp, VMX_EXIT_NMI_WINDOW);
	if (!(which & X86_PEND_INTR))
		return X86_OK;
	if (lp->vmx.proc & VMX_CPU_INTR_WINDOW)
		return window_exit(lp, VMX_EXIT_INTR_WINDOW);
	return vmx_apic_deliver(lp);
}

/* Ports that no control intercepts: nothing answers on this processor's bus. */
static int vmx_op_io_in(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value)
{
	*value = UINT32_MAX;
	return X86_OK;
}

static int vmx_op_io_out(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value)
{
	return X86_OK;
}

static int vmx_op_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return vmx_apic_rdmsr(cpu->ctx, index, value);
}

static int vmx_op_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return vmx_apic_wrmsr(cpu->ctx, index, value);
}

const struct x86_ops soft_vmx_x86_ops = {
	.phys_translate = vmx_phys_translate,
	.phys_read = vmx_apic_mmio_read,
	.phys_write = vmx_apic_mmio_write,
	.intercept = vmx_intercept,
	.cpuid = soft_cpuid_silicon,
	.random = soft_random,
	.rdmsr = vmx_op_rdmsr,
	.wrmsr = vmx_op_wrmsr,
	.io_in = vmx_op_io_in,
	.io_out = vmx_op_io_out,
	.rdtsc = vmx_op_rdtsc,
	.poll = vmx_op_poll,
	.vmx_insn = vmx_op_insn,
	.cr8_read = vmx_cr8_read,
	.cr8_write = vmx_cr8_write,
};
