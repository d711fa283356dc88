/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM-execution controls, spread out into what the executor tests: the
 * intercept bits and the fields of struct soft_vmx.
 */
#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

/* Intercept points that one control bit opens. */
static const struct icpt_row {
	uint32_t bit;
	uint16_t first, count;
} proc_rows[] = {
	{ VMX_CPU_HLT, X86_ICPT_HLT, 1 },
	{ VMX_CPU_INVLPG, X86_ICPT_INVLPG, 1 },
	{ VMX_CPU_MWAIT, X86_ICPT_MWAIT, 1 },
	{ VMX_CPU_RDPMC, X86_ICPT_RDPMC, 1 },
	{ VMX_CPU_RDTSC, X86_ICPT_RDTSC, 1 },
	{ VMX_CPU_CR3_LOAD, X86_ICPT_CR_WRITE + 3, 1 },
	{ VMX_CPU_CR3_STORE, X86_ICPT_CR_READ + 3, 1 },
	{ VMX_CPU_CR8_LOAD, X86_ICPT_CR_WRITE + 8, 1 },
	{ VMX_CPU_CR8_STORE, X86_ICPT_CR_READ + 8, 1 },
	{ VMX_CPU_MOV_DR, X86_ICPT_DR_READ, 16 },
	{ VMX_CPU_MOV_DR, X86_ICPT_DR_WRITE, 16 },
	{ VMX_CPU_MONITOR, X86_ICPT_MONITOR, 1 },
	{ VMX_CPU_PAUSE, X86_ICPT_PAUSE, 1 },
	{ VMX_CPU_UNCOND_IO | VMX_CPU_IO_BITMAPS, X86_ICPT_IO, 1 },
}, proc2_rows[] = {
	{ VMX_CPU2_DESC_TABLE, X86_ICPT_LGDT, 8 },
	{ VMX_CPU2_WBINVD, X86_ICPT_WBINVD, 1 },
	{ VMX_CPU2_PAUSE_LOOP, X86_ICPT_PAUSE, 1 },
	{ VMX_CPU2_RDRAND, X86_ICPT_RDRAND, 1 },
	{ VMX_CPU2_RDSEED, X86_ICPT_RDSEED, 1 },
};

/* Exits that no control can turn off, and points where an enable bit is looked at. */
static const uint16_t always[] = {
	X86_ICPT_CPUID, X86_ICPT_GETSEC, X86_ICPT_INVD, X86_ICPT_XSETBV, X86_ICPT_VMCALL,
	X86_ICPT_TASK_SWITCH, X86_ICPT_SHUTDOWN, X86_ICPT_RDMSR, X86_ICPT_WRMSR,
	X86_ICPT_RDTSCP, X86_ICPT_RDPID, X86_ICPT_INVPCID, X86_ICPT_XSAVES, X86_ICPT_XRSTORS,
};

static void set_range(struct x86_cpu *cpu, unsigned int first, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		x86_intercept_set(cpu, first + i, true);
}

static void set_rows(struct x86_cpu *cpu, const struct icpt_row *rows, size_t count, uint32_t ctls)
{
	for (size_t i = 0; i < count; i++)
		if (ctls & rows[i].bit)
			set_range(cpu, rows[i].first, rows[i].count);
}

static void set_intercepts(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	struct soft_vmx *vmx = &lp->vmx;

	for (unsigned int i = 0; i < X86_ICPT_WORDS; i++)
		cpu->intercepts[i] = 0;
	cpu->intercepts[0] = vmx->exc_bitmap;
	/* A mask and match that not every error code meets can exit with the bit clear. */
	if (vmx->pf_mask || vmx->pf_match)
		x86_intercept_set(cpu, X86_ICPT_EXC + X86_PF, true);
	set_rows(cpu, proc_rows, sizeof(proc_rows) / sizeof(proc_rows[0]), vmx->proc);
	set_rows(cpu, proc2_rows, sizeof(proc2_rows) / sizeof(proc2_rows[0]), vmx->proc2);
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		x86_intercept_set(cpu, always[i], true);
	/* Control registers with bits that the hypervisor owns; CLTS and LMSW go through CR0. */
	if (vmx->cr0_mask) {
		set_range(cpu, X86_ICPT_CR_READ, 1);
		set_range(cpu, X86_ICPT_SMSW, 1);
	}
	set_range(cpu, X86_ICPT_CR_WRITE, 1);
	set_range(cpu, X86_ICPT_LMSW, 2);
	if (vmx->cr4_mask)
		set_range(cpu, X86_ICPT_CR_READ + 4, 1);
	set_range(cpu, X86_ICPT_CR_WRITE + 4, 1);
}

static void load_paging(struct soft_vmx *vmx, const uint64_t *f)
{
	vmx->eptp = vmx->proc2 & VMX_CPU2_EPT ? f[VC_EPT_POINTER] : 0;
	vmx->ept_root = vmx->eptp & 0x000ffffffffff000ULL;
	vmx->ept_levels = (uint8_t)(((vmx->eptp >> EPTP_WALK_SHIFT) & 7) + 1);
	vmx->ept_ad = vmx->eptp & EPTP_AD;
	vmx->pml = vmx->eptp && (vmx->proc2 & VMX_CPU2_PML);
	vmx->mbec = vmx->eptp && (vmx->proc2 & VMX_CPU2_MODE_BASED_EXEC);
	vmx->vpid = vmx->proc2 & VMX_CPU2_VPID ? (uint16_t)f[VC_VPID] : 0;
}

void vmx_controls_load(struct hv_lp *lp)
{
	struct soft_vmx *vmx = &lp->vmx;
	const uint64_t *f = vmx->vmcs->f;

	vmx->pin = (uint32_t)f[VC_PIN_CTLS];
	vmx->proc = (uint32_t)f[VC_CPU_CTLS];
	vmx->proc2 = vmx->proc & VMX_CPU_SECONDARY ? (uint32_t)f[VC_CPU_CTLS2] : 0;
	vmx->entry = (uint32_t)f[VC_ENTRY_CTLS];
	vmx->exit = (uint32_t)f[VC_EXIT_CTLS];
	vmx->exc_bitmap = (uint32_t)f[VC_EXCEPTION_BITMAP];
	vmx->pf_mask = (uint32_t)f[VC_PF_ERROR_MASK];
	vmx->pf_match = (uint32_t)f[VC_PF_ERROR_MATCH];
	vmx->cr0_mask = f[VC_CR0_MASK];
	vmx->cr4_mask = f[VC_CR4_MASK];
	vmx->apic_page = vmx->proc & VMX_CPU_TPR_SHADOW ? f[VC_VIRTUAL_APIC_ADDR] : 0;
	vmx->apic_access_page =
		vmx->proc2 & VMX_CPU2_APIC_ACCESSES ? f[VC_APIC_ACCESS_ADDR] : 0;
	load_paging(vmx, f);
	set_intercepts(lp);
}

void vmx_update_pending(struct hv_lp *lp)
{
	uint32_t set = 0;

	if ((lp->vmx.proc & VMX_CPU_INTR_WINDOW) || vmx_apic_pending(lp))
		set |= X86_PEND_INTR;
	if (lp->vmx.proc & VMX_CPU_NMI_WINDOW)
		set |= X86_PEND_NMI;
	if (__atomic_load_n(&lp->work, __ATOMIC_ACQUIRE))
		set |= X86_PEND_WORK;
	x86_unpend(lp->cpu, (X86_PEND_INTR | X86_PEND_NMI) & ~set);
	if (set)
		x86_pend(lp->cpu, set);
}
