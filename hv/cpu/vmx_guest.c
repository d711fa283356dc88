/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest state between the VMCS and the register file. Source: SDM vol. 3, "VM
 * entries: loading guest state", "VM exits: saving guest state".
 */
#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

/* Cells of one kind lie in the order ES CS SS DS FS GS LDTR TR, which is hv/x86's. */
static_assert(VC_GUEST_TR_SELECTOR - VC_GUEST_ES_SELECTOR == X86_TR, "order of segments");
static_assert(VC_GUEST_TR_BASE - VC_GUEST_ES_BASE == X86_TR, "order of segments");
static_assert(VC_GUEST_TR_LIMIT - VC_GUEST_ES_LIMIT == X86_TR, "order of segments");
static_assert(VC_GUEST_TR_AR - VC_GUEST_ES_AR == X86_TR, "order of segments");

/* CR0 bits that a VM entry does not load. They are those of the host: ET 1, CD and NW 0. */
#define CR0_NOT_LOADED (X86_CR0_ET | X86_CR0_CD | X86_CR0_NW | 0x1ff8ffc0ULL)

static void store_segments(const struct x86_cpu *cpu, uint64_t *f)
{
	for (unsigned int i = 0; i < X86_NR_SEGS; i++) {
		const struct x86_seg *seg = &cpu->seg[i];

		f[VC_GUEST_ES_SELECTOR + i] = seg->selector;
		f[VC_GUEST_ES_BASE + i] = seg->base;
		f[VC_GUEST_ES_LIMIT + i] = seg->limit;
		f[VC_GUEST_ES_AR + i] = seg->ar;
	}
	f[VC_GUEST_GDTR_BASE] = cpu->gdtr.base;
	f[VC_GUEST_GDTR_LIMIT] = cpu->gdtr.limit;
	f[VC_GUEST_IDTR_BASE] = cpu->idtr.base;
	f[VC_GUEST_IDTR_LIMIT] = cpu->idtr.limit;
}

void vmx_guest_store_cold(struct hv_lp *lp)
{
	const struct x86_cpu *cpu = lp->cpu;
	uint64_t *f = lp->vmx.vmcs->f;

	if (!lp->vmx.cold_in_cpu)
		return;
	store_segments(cpu, f);
	f[VC_GUEST_CR0] = cpu->cr0;
	f[VC_GUEST_CR4] = cpu->cr4;
	if (lp->vmx.exit & VMX_EXITCTL_SAVE_DEBUG) {
		f[VC_GUEST_DR7] = cpu->dr7;
		f[VC_GUEST_DEBUGCTL] = cpu->debugctl;
	}
	f[VC_GUEST_SYSENTER_CS] = cpu->sysenter_cs;
	f[VC_GUEST_SYSENTER_ESP] = cpu->sysenter_esp;
	f[VC_GUEST_SYSENTER_EIP] = cpu->sysenter_eip;
	if (lp->vmx.exit & VMX_EXITCTL_SAVE_EFER)
		f[VC_GUEST_EFER] = cpu->efer;
	if (lp->vmx.exit & VMX_EXITCTL_SAVE_PAT)
		f[VC_GUEST_PAT] = cpu->pat;
	if (lp->vmx.eptp)
		for (unsigned int i = 0; i < 4; i++)
			f[VC_GUEST_PDPTE0 + i] = cpu->pdptr[i];
	lp->vmx.cold_in_cpu = false;
}

void vmx_guest_store_hot(struct hv_lp *lp)
{
	const struct x86_cpu *cpu = lp->cpu;
	uint64_t *f = lp->vmx.vmcs->f;
	uint64_t entry = f[VC_ENTRY_CTLS] & ~(uint64_t)VMX_ENTRYCTL_GUEST_64;

	lp->vmx.saved_rflags = x86_get_rflags(cpu);
	f[VC_GUEST_RIP] = cpu->rip;
	f[VC_GUEST_RSP] = cpu->gpr[X86_RSP];
	f[VC_GUEST_RFLAGS] = lp->vmx.saved_rflags;
	f[VC_GUEST_CR3] = cpu->cr3;
	f[VC_GUEST_INTERRUPTIBILITY] = cpu->intr_state;
	f[VC_GUEST_ACTIVITY] = cpu->activity;
	f[VC_GUEST_PENDING_DBG] = cpu->pending_dbg;
	/* IA32_VMX_MISC bit 5: the "IA-32e mode guest" control follows EFER.LMA. */
	if (cpu->efer & X86_EFER_LMA)
		entry |= VMX_ENTRYCTL_GUEST_64;
	f[VC_ENTRY_CTLS] = entry;
	lp->vmx.entry = (uint32_t)entry;
	lp->vmx.cold_in_cpu = true;
	lp->vmx.cold_valid = true;
	lp->vmx.dirty = 0;
}

static void load_segments(struct x86_cpu *cpu, const uint64_t *f)
{
	for (unsigned int i = 0; i < X86_NR_SEGS; i++) {
		struct x86_seg *seg = &cpu->seg[i];

		seg->selector = (uint16_t)f[VC_GUEST_ES_SELECTOR + i];
		seg->base = f[VC_GUEST_ES_BASE + i];
		seg->limit = (uint32_t)f[VC_GUEST_ES_LIMIT + i];
		seg->ar = (uint32_t)f[VC_GUEST_ES_AR + i];
	}
	cpu->cpl = X86_AR_DPL(cpu->seg[X86_SS].ar);
	cpu->gdtr.base = f[VC_GUEST_GDTR_BASE];
	cpu->gdtr.limit = (uint16_t)f[VC_GUEST_GDTR_LIMIT];
	cpu->idtr.base = f[VC_GUEST_IDTR_BASE];
	cpu->idtr.limit = (uint16_t)f[VC_GUEST_IDTR_LIMIT];
}

static void load_efer(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	const uint64_t *f = lp->vmx.vmcs->f;

	if (lp->vmx.entry & VMX_ENTRYCTL_LOAD_EFER) {
		cpu->efer = f[VC_GUEST_EFER];
		return;
	}
	/* LMA is the control; LME follows it where paging is on. */
	cpu->efer &= ~X86_EFER_LMA;
	if (lp->vmx.entry & VMX_ENTRYCTL_GUEST_64)
		cpu->efer |= X86_EFER_LMA;
	if (f[VC_GUEST_CR0] & X86_CR0_PG)
		cpu->efer = (cpu->efer & ~X86_EFER_LME) |
			    (cpu->efer & X86_EFER_LMA ? X86_EFER_LME : 0);
}

static void load_cold(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	const uint64_t *f = lp->vmx.vmcs->f;

	load_segments(cpu, f);
	cpu->cr0 = (f[VC_GUEST_CR0] & ~CR0_NOT_LOADED) | X86_CR0_ET;
	cpu->cr4 = f[VC_GUEST_CR4];
	if (lp->vmx.entry & VMX_ENTRYCTL_LOAD_DEBUG) {
		cpu->dr7 = (f[VC_GUEST_DR7] & ~0xd000ULL) | X86_DR7_INIT;
		cpu->debugctl = f[VC_GUEST_DEBUGCTL];
	}
	cpu->sysenter_cs = f[VC_GUEST_SYSENTER_CS];
	cpu->sysenter_esp = f[VC_GUEST_SYSENTER_ESP];
	cpu->sysenter_eip = f[VC_GUEST_SYSENTER_EIP];
	load_efer(lp);
	if (lp->vmx.entry & VMX_ENTRYCTL_LOAD_PAT)
		cpu->pat = f[VC_GUEST_PAT];
	if (lp->vmx.eptp)
		for (unsigned int i = 0; i < 4; i++)
			cpu->pdptr[i] = f[VC_GUEST_PDPTE0 + i];
}

/* RFLAGS that are in the register file already are not set again. */
static bool load_hot(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	const uint64_t *f = lp->vmx.vmcs->f;
	bool changed = false;

	cpu->rip = f[VC_GUEST_RIP];
	cpu->gpr[X86_RSP] = f[VC_GUEST_RSP];
	if (f[VC_GUEST_RFLAGS] != lp->vmx.saved_rflags || !lp->vmx.cold_valid)
		x86_set_rflags(cpu, f[VC_GUEST_RFLAGS]);
	if (cpu->intr_state != f[VC_GUEST_INTERRUPTIBILITY] ||
	    cpu->activity != f[VC_GUEST_ACTIVITY] || cpu->pending_dbg != f[VC_GUEST_PENDING_DBG])
		changed = true;
	cpu->intr_state = (uint32_t)f[VC_GUEST_INTERRUPTIBILITY];
	cpu->activity = (uint32_t)f[VC_GUEST_ACTIVITY];
	cpu->pending_dbg = f[VC_GUEST_PENDING_DBG];
	return changed;
}

/* PAE paging without EPT: each entry reads the PDPTEs from where CR3 points. */
static void load_pdptes_from_memory(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	const uint64_t *pdpt = (const uint64_t *)(cpu->cr3 & 0xffffffffffe0ULL);

	if (lp->vmx.eptp || (cpu->efer & X86_EFER_LMA) || !(cpu->cr0 & X86_CR0_PG) ||
	    !(cpu->cr4 & X86_CR4_PAE))
		return;
	for (unsigned int i = 0; i < 4; i++)
		cpu->pdptr[i] = __atomic_load_n(&pdpt[i], __ATOMIC_RELAXED);
}

void vmx_guest_load(struct hv_lp *lp, uint32_t groups)
{
	bool changed = false;

	if (groups & VMX_DIRTY_COLD) {
		load_cold(lp);
		changed = true;
	}
	if (groups & VMX_DIRTY_CR3) {
		lp->cpu->cr3 = lp->vmx.vmcs->f[VC_GUEST_CR3];
		changed = true;
	}
	if (groups & VMX_DIRTY_HOT)
		changed |= load_hot(lp);
	load_pdptes_from_memory(lp);
	if (changed)
		x86_state_changed(lp->cpu);
	lp->vmx.cold_valid = true;
}
