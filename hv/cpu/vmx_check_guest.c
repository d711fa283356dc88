/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM-entry checks of guest state. Source: SDM vol. 3, "Checks on the guest state
 * area" with its parts: control registers, debug registers and MSRs; segment
 * registers; descriptor-table registers; RIP, RFLAGS and SSP; non-register state;
 * page-directory-pointer-table entries.
 */
#include "hv/cpu/vmx_check.h"

#define CR0_CHECKED_FIXED(v) \
	((v)->unrestricted ? (uint64_t)X86_CR0_NE : X86_CR0_NE | X86_CR0_PE | X86_CR0_PG)

/* ---- control registers, debug registers, MSRs ------------------------------------------------ */

static bool ok_cr0(const struct vmx_view *v)
{
	uint64_t must = CR0_CHECKED_FIXED(v), cr0 = v->f[VC_GUEST_CR0];

	return (cr0 & must) == must && !(cr0 & ~vmx_capability(VMX_MSR_CR0_FIXED1));
}

static bool ok_cr0_pg(const struct vmx_view *v)
{
	return !v->pg || (v->f[VC_GUEST_CR0] & X86_CR0_PE);
}

static bool ok_cr4(const struct vmx_view *v)
{
	uint64_t must = vmx_capability(VMX_MSR_CR4_FIXED0), cr4 = v->f[VC_GUEST_CR4];

	return (cr4 & must) == must && !(cr4 & ~vmx_capability(VMX_MSR_CR4_FIXED1));
}

static bool ok_debugctl(const struct vmx_view *v)
{
	/* LBR, BTF and the bits of tracing and freezing that exist. */
	return !(v->entry & VMX_ENTRYCTL_LOAD_DEBUG) || !(v->f[VC_GUEST_DEBUGCTL] & ~0xffc3ULL);
}

static bool ok_ia32e(const struct vmx_view *v)
{
	return !v->ia32e || (v->pg && (v->f[VC_GUEST_CR4] & X86_CR4_PAE));
}

static bool ok_pcide(const struct vmx_view *v)
{
	return v->ia32e || !(v->f[VC_GUEST_CR4] & X86_CR4_PCIDE);
}

static bool ok_dr7(const struct vmx_view *v)
{
	return !(v->entry & VMX_ENTRYCTL_LOAD_DEBUG) || !(v->f[VC_GUEST_DR7] >> 32);
}

static bool ok_sysenter(const struct vmx_view *v)
{
	return vmx_canonical(v->f[VC_GUEST_SYSENTER_ESP], VMX_LINEAR_BITS) &&
	       vmx_canonical(v->f[VC_GUEST_SYSENTER_EIP], VMX_LINEAR_BITS);
}

static bool ok_pat(const struct vmx_view *v)
{
	return !(v->entry & VMX_ENTRYCTL_LOAD_PAT) || vmx_pat_ok(v->f[VC_GUEST_PAT]);
}

static bool ok_efer(const struct vmx_view *v)
{
	uint64_t efer = v->f[VC_GUEST_EFER];

	if (!(v->entry & VMX_ENTRYCTL_LOAD_EFER))
		return true;
	if ((efer & ~VMX_EFER_BITS) || !!(efer & X86_EFER_LMA) != v->ia32e)
		return false;
	return !v->pg || !!(efer & X86_EFER_LME) == v->ia32e;
}

static bool ok_cr3(const struct vmx_view *v)
{
	return !(v->f[VC_GUEST_CR3] >> SOFT_MAXPHYADDR);
}

/* ---- segments -------------------------------------------------------------------------------- */

static uint32_t ar(const struct vmx_view *v, unsigned int seg)
{
	return (uint32_t)v->f[VC_GUEST_ES_AR + seg];
}

static uint64_t selector(const struct vmx_view *v, unsigned int seg)
{
	return v->f[VC_GUEST_ES_SELECTOR + seg];
}

static uint64_t base(const struct vmx_view *v, unsigned int seg)
{
	return v->f[VC_GUEST_ES_BASE + seg];
}

static uint32_t limit(const struct vmx_view *v, unsigned int seg)
{
	return (uint32_t)v->f[VC_GUEST_ES_LIMIT + seg];
}

static bool usable(const struct vmx_view *v, unsigned int seg)
{
	return !(ar(v, seg) & VMX_AR_UNUSABLE);
}

static bool v86(const struct vmx_view *v)
{
	return v->f[VC_GUEST_RFLAGS] & X86_FL_VM;
}

static bool guest_canonical(const struct vmx_view *v, uint64_t address)
{
	return vmx_canonical(address, VMX_LINEAR_BITS);
}

static bool ok_selectors(const struct vmx_view *v)
{
	if (selector(v, X86_TR) & 4)
		return false;
	if (usable(v, X86_LDTR) && (selector(v, X86_LDTR) & 4))
		return false;
	/* RPL of SS and CS agree, except where the guest is unrestricted or virtual-8086. */
	return v86(v) || v->unrestricted ||
	       (selector(v, X86_SS) & 3) == (selector(v, X86_CS) & 3);
}

static bool ok_bases_v86(const struct vmx_view *v)
{
	if (!v86(v))
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++)
		if (base(v, i) != selector(v, i) << 4)
			return false;
	return true;
}

static bool ok_bases(const struct vmx_view *v)
{
	if (!guest_canonical(v, base(v, X86_TR)) || !guest_canonical(v, base(v, X86_FS)) ||
	    !guest_canonical(v, base(v, X86_GS)))
		return false;
	if (usable(v, X86_LDTR) && !guest_canonical(v, base(v, X86_LDTR)))
		return false;
	if (base(v, X86_CS) >> 32)
		return false;
	for (unsigned int i = X86_ES; i <= X86_DS; i++)
		if (i != X86_CS && usable(v, i) && base(v, i) >> 32)
			return false;
	return true;
}

static bool ok_limits_v86(const struct vmx_view *v)
{
	if (!v86(v))
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++)
		if (limit(v, i) != 0xffff || ar(v, i) != 0xf3)
			return false;
	return true;
}

/* Granularity: the low bits of the limit all 1 with G, the high bits all 0 without. */
static bool granular(const struct vmx_view *v, unsigned int seg)
{
	uint32_t lim = limit(v, seg);
	bool g = ar(v, seg) & X86_AR_G;

	if ((lim & 0xfff) != 0xfff && g)
		return false;
	return !(lim & 0xfff00000) || g;
}

static bool ok_type_cs(const struct vmx_view *v)
{
	uint32_t type = ar(v, X86_CS) & X86_AR_TYPE;

	if (v86(v))
		return true;
	return type == 9 || type == 11 || type == 13 || type == 15 || (v->unrestricted && type == 3);
}

static bool ok_type_ss(const struct vmx_view *v)
{
	uint32_t type = ar(v, X86_SS) & X86_AR_TYPE;

	return v86(v) || !usable(v, X86_SS) || type == 3 || type == 7;
}

static bool is_data_segment(unsigned int seg)
{
	return seg == X86_ES || seg == X86_DS || seg == X86_FS || seg == X86_GS;
}

static bool ok_type_data(const struct vmx_view *v)
{
	if (v86(v))
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++) {
		uint32_t type = ar(v, i) & X86_AR_TYPE;

		if (!is_data_segment(i) || !usable(v, i))
			continue;
		/* Accessed; and readable if it is code. */
		if (!(type & 1) || ((type & 8) && !(type & 2)))
			return false;
	}
	return true;
}

static bool ok_s_and_p(const struct vmx_view *v)
{
	if (v86(v))
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++) {
		if (i != X86_CS && !usable(v, i))
			continue;
		if (!(ar(v, i) & X86_AR_S) || !(ar(v, i) & X86_AR_P))
			return false;
	}
	return true;
}

static bool ok_dpl_cs(const struct vmx_view *v)
{
	uint32_t type = ar(v, X86_CS) & X86_AR_TYPE, dpl = X86_AR_DPL(ar(v, X86_CS));
	uint32_t ss_dpl = X86_AR_DPL(ar(v, X86_SS));

	if (v86(v))
		return true;
	if (type == 3)
		return dpl == 0;
	return type < 12 ? dpl == ss_dpl : dpl <= ss_dpl;
}

static bool ok_dpl_ss(const struct vmx_view *v)
{
	uint32_t dpl = X86_AR_DPL(ar(v, X86_SS));

	if (v86(v))
		return true;
	if (!v->unrestricted && dpl != (selector(v, X86_SS) & 3))
		return false;
	if ((ar(v, X86_CS) & X86_AR_TYPE) == 3 || !(v->f[VC_GUEST_CR0] & X86_CR0_PE))
		return dpl == 0;
	return true;
}

static bool ok_dpl_data(const struct vmx_view *v)
{
	if (v86(v) || v->unrestricted)
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++)
		if (is_data_segment(i) && usable(v, i) && (ar(v, i) & X86_AR_TYPE) <= 11 &&
		    X86_AR_DPL(ar(v, i)) < (selector(v, i) & 3))
			return false;
	return true;
}

static bool ok_reserved_and_g(const struct vmx_view *v)
{
	if (v86(v))
		return true;
	for (unsigned int i = X86_ES; i <= X86_GS; i++) {
		if (i != X86_CS && !usable(v, i))
			continue;
		if ((ar(v, i) & 0xfffe0f00) || !granular(v, i))
			return false;
	}
	return true;
}

static bool ok_cs_db(const struct vmx_view *v)
{
	return v86(v) || !v->ia32e || !(ar(v, X86_CS) & X86_AR_L) || !(ar(v, X86_CS) & X86_AR_DB);
}

static bool system_segment(const struct vmx_view *v, unsigned int seg)
{
	return !(ar(v, seg) & X86_AR_S) && (ar(v, seg) & X86_AR_P) &&
	       !(ar(v, seg) & 0xfffe0f00) && granular(v, seg);
}

static bool ok_tr(const struct vmx_view *v)
{
	uint32_t type = ar(v, X86_TR) & X86_AR_TYPE;

	if (type != 11 && (v->ia32e || type != 3))
		return false;
	return usable(v, X86_TR) && system_segment(v, X86_TR);
}

static bool ok_ldtr(const struct vmx_view *v)
{
	if (!usable(v, X86_LDTR))
		return true;
	return (ar(v, X86_LDTR) & X86_AR_TYPE) == 2 && system_segment(v, X86_LDTR);
}

static bool ok_tables(const struct vmx_view *v)
{
	return guest_canonical(v, v->f[VC_GUEST_GDTR_BASE]) &&
	       guest_canonical(v, v->f[VC_GUEST_IDTR_BASE]) &&
	       !(v->f[VC_GUEST_GDTR_LIMIT] >> 16) && !(v->f[VC_GUEST_IDTR_LIMIT] >> 16);
}

static bool ok_link(const struct vmx_view *v)
{
	/* VMCS shadowing does not exist here, so only "no VMCS" is meaningful. */
	return v->f[VC_VMCS_LINK_POINTER] == UINT64_MAX;
}

/* ---- RIP, RFLAGS, non-register state --------------------------------------------------------- */

static bool ok_rip(const struct vmx_view *v)
{
	uint64_t high;

	if (!v->ia32e || !(ar(v, X86_CS) & X86_AR_L))
		return !(v->f[VC_GUEST_RIP] >> 32);
	/*
	 * Bits 63:N identical: one less than canonical addresses ask for. An instruction that
	 * ends at the highest low address may exit, and the next fetch's #GP is the guest's.
	 */
	return !(high = v->f[VC_GUEST_RIP] >> VMX_LINEAR_BITS) || !(~high << VMX_LINEAR_BITS);
}

static bool ok_rflags(const struct vmx_view *v)
{
	uint64_t fl = v->f[VC_GUEST_RFLAGS];

	return (fl & X86_FL_ONE) && !(fl & ~(uint64_t)(X86_FL_ALL | X86_FL_ONE));
}

static bool ok_rflags_vm(const struct vmx_view *v)
{
	return !v86(v) || (!v->ia32e && (v->f[VC_GUEST_CR0] & X86_CR0_PE));
}

static unsigned int event_type(const struct vmx_view *v)
{
	return (v->event & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT;
}

static bool ok_rflags_if(const struct vmx_view *v)
{
	return !v->event || event_type(v) != VMX_INTR_EXT || (v->f[VC_GUEST_RFLAGS] & X86_FL_IF);
}

static bool ok_activity(const struct vmx_view *v)
{
	return v->f[VC_GUEST_ACTIVITY] <= VMX_WAIT_SIPI;
}

static bool ok_activity_hlt(const struct vmx_view *v)
{
	return v->f[VC_GUEST_ACTIVITY] != VMX_HLT || X86_AR_DPL(ar(v, X86_SS)) == 0;
}

static bool ok_activity_blocking(const struct vmx_view *v)
{
	return v->f[VC_GUEST_ACTIVITY] == VMX_ACTIVE ||
	       !(v->f[VC_GUEST_INTERRUPTIBILITY] & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS));
}

/* Which events may be injected into a processor that is not active. */
static bool ok_activity_event(const struct vmx_view *v)
{
	unsigned int type = event_type(v), vector = v->event & VMX_INTR_VECTOR;

	if (!v->event)
		return true;
	switch (v->f[VC_GUEST_ACTIVITY]) {
	case VMX_HLT:
		if (type == VMX_INTR_EXT || type == VMX_INTR_NMI)
			return true;
		if (type == VMX_INTR_HW_EXCEPTION)
			return vector == X86_DB || vector == X86_MC;
		return type == VMX_INTR_OTHER && vector == 0;
	case VMX_SHUTDOWN:
		return type == VMX_INTR_NMI ||
		       (type == VMX_INTR_HW_EXCEPTION && vector == X86_MC);
	case VMX_WAIT_SIPI:
		return false;
	default:
		return true;
	}
}

static bool ok_interruptibility(const struct vmx_view *v)
{
	uint64_t state = v->f[VC_GUEST_INTERRUPTIBILITY];

	/* Bit 4 is for enclaves and bit 2 for SMM, which do not exist here. */
	if (state & ~(uint64_t)(VMX_BLOCK_STI | VMX_BLOCK_MOV_SS | VMX_BLOCK_NMI))
		return false;
	if ((state & VMX_BLOCK_STI) && (state & VMX_BLOCK_MOV_SS))
		return false;
	return !(state & VMX_BLOCK_STI) || (v->f[VC_GUEST_RFLAGS] & X86_FL_IF);
}

/*
 * An NMI under blocking by STI is left to the processor (and exit qualification 3 to those that
 * refuse it): here it is injected.
 */
static bool ok_blocking_event(const struct vmx_view *v)
{
	uint64_t state = v->f[VC_GUEST_INTERRUPTIBILITY];

	if (!v->event)
		return true;
	if (event_type(v) == VMX_INTR_EXT)
		return !(state & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS));
	if (event_type(v) == VMX_INTR_NMI)
		return !(state & VMX_BLOCK_MOV_SS);
	return true;
}

static bool ok_blocking_nmi(const struct vmx_view *v)
{
	return !v->event || event_type(v) != VMX_INTR_NMI || !(v->pin & VMX_PIN_VIRTUAL_NMI) ||
	       !(v->f[VC_GUEST_INTERRUPTIBILITY] & VMX_BLOCK_NMI);
}

static bool ok_pending_dbg(const struct vmx_view *v)
{
	uint64_t pending = v->f[VC_GUEST_PENDING_DBG];
	bool tf = v->f[VC_GUEST_RFLAGS] & X86_FL_TF;
	bool btf = v->f[VC_GUEST_DEBUGCTL] & X86_DEBUGCTL_BTF;
	bool blocked = (v->f[VC_GUEST_INTERRUPTIBILITY] & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)) ||
		       v->f[VC_GUEST_ACTIVITY] == VMX_HLT;

	if (pending & ~(VMX_PENDING_DBG_BP | VMX_PENDING_DBG_ENABLED | VMX_PENDING_DBG_BS))
		return false;
	/* BS has to agree with single-stepping while it cannot be delivered. */
	return !blocked || !!(pending & VMX_PENDING_DBG_BS) == (tf && !btf);
}

/* ---- page-directory-pointer-table entries ------------------------------------------------------ */

#define PDPTE_RESERVED 0x1e6ULL

static bool pae_paging(const struct vmx_view *v)
{
	return v->pg && (v->f[VC_GUEST_CR4] & X86_CR4_PAE) && !v->ia32e;
}

static bool pdpte_ok(uint64_t pdpte)
{
	return !(pdpte & 1) || (!(pdpte & PDPTE_RESERVED) && !(pdpte >> SOFT_MAXPHYADDR));
}

static bool ok_pdptes(const struct vmx_view *v)
{
	const uint64_t *memory;

	if (!pae_paging(v))
		return true;
	/* With EPT they come from the VMCS, else from where CR3 points. */
	memory = v->proc2 & VMX_CPU2_EPT ? &v->f[VC_GUEST_PDPTE0] :
		 (const uint64_t *)(v->f[VC_GUEST_CR3] & 0xffffffffffe0ULL);
	for (unsigned int i = 0; i < 4; i++)
		if (!pdpte_ok(memory[i]))
			return false;
	return true;
}

/* ---- the tables -------------------------------------------------------------------------------- */

static const struct vmx_rule cold_rules[] = {
	{ ok_cr0, "guest CR0: fixed bits", 0 },
	{ ok_cr0_pg, "guest CR0.PG without PE", 0 },
	{ ok_cr4, "guest CR4: fixed bits", 0 },
	{ ok_debugctl, "guest DEBUGCTL: reserved bits", 0 },
	{ ok_ia32e, "IA-32e mode guest without CR0.PG and CR4.PAE", 0 },
	{ ok_pcide, "guest CR4.PCIDE outside IA-32e mode", 0 },
	{ ok_dr7, "guest DR7 bits 63:32", 0 },
	{ ok_sysenter, "guest SYSENTER addresses not canonical", 0 },
	{ ok_pat, "guest PAT", 0 },
	{ ok_efer, "guest EFER", 0 },
	{ ok_selectors, "guest selectors", 0 },
	{ ok_bases_v86, "guest bases in virtual-8086 mode", 0 },
	{ ok_bases, "guest bases", 0 },
	{ ok_limits_v86, "guest limits and rights in virtual-8086 mode", 0 },
	{ ok_type_cs, "guest CS type", 0 },
	{ ok_type_ss, "guest SS type", 0 },
	{ ok_type_data, "guest data segment type", 0 },
	{ ok_s_and_p, "guest segment S or P bit", 0 },
	{ ok_dpl_cs, "guest CS DPL", 0 },
	{ ok_dpl_ss, "guest SS DPL", 0 },
	{ ok_dpl_data, "guest data segment DPL", 0 },
	{ ok_reserved_and_g, "guest segment reserved bits or granularity", 0 },
	{ ok_cs_db, "guest CS.L with CS.D", 0 },
	{ ok_tr, "guest TR", 0 },
	{ ok_ldtr, "guest LDTR", 0 },
	{ ok_tables, "guest GDTR or IDTR", 0 },
	{ ok_link, "VMCS link pointer", VMX_ENTRY_FAIL_LINK_POINTER },
	{ ok_pdptes, "guest PDPTEs", VMX_ENTRY_FAIL_PDPTE },
};

static const struct vmx_rule cr3_rules[] = {
	{ ok_cr3, "guest CR3 beyond the physical-address width", 0 },
	{ ok_pdptes, "guest PDPTEs", VMX_ENTRY_FAIL_PDPTE },
};

static const struct vmx_rule hot_rules[] = {
	{ ok_rip, "guest RIP", 0 },
	{ ok_rflags, "guest RFLAGS: reserved bits", 0 },
	{ ok_rflags_vm, "guest RFLAGS.VM", 0 },
	{ ok_rflags_if, "external interrupt injected with RFLAGS.IF = 0", 0 },
	{ ok_activity, "activity state not supported", 0 },
	{ ok_activity_hlt, "HLT above privilege level 0", 0 },
	{ ok_activity_blocking, "inactive with blocking by STI or MOV SS", 0 },
	{ ok_activity_event, "event does not fit the activity state", 0 },
	{ ok_interruptibility, "interruptibility state", 0 },
	{ ok_blocking_event, "event injected while blocked", 0 },
	{ ok_blocking_nmi, "NMI injected while NMIs are blocked", 0 },
	{ ok_pending_dbg, "pending debug exceptions", 0 },
};

const char *vmx_check_guest(struct hv_lp *lp, uint32_t groups, uint64_t *qualification)
{
	const struct vmx_rule *broken = NULL;
	struct vmx_view view;

	if (!groups)
		return NULL;
	/* Hot rules read segments; those of a VMCS in use may still be in the register file. */
	vmx_guest_store_cold(lp);
	view = vmx_view_of(lp);
	if (groups & VMX_DIRTY_COLD)
		broken = VMX_RULES_BROKEN(cold_rules, &view);
	if (!broken && (groups & VMX_DIRTY_CR3))
		broken = VMX_RULES_BROKEN(cr3_rules, &view);
	if (!broken && (groups & VMX_DIRTY_HOT))
		broken = VMX_RULES_BROKEN(hot_rules, &view);
	if (!broken)
		return NULL;
	*qualification = broken->qualification;
	return broken->name;
}
