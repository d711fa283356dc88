/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM-entry checks of host state. Source: SDM vol. 3, "Checks on host control
 * registers, MSRs, and SSP", "... segment and descriptor-table registers",
 * "Checks related to address-space size". The host is 64-bit always.
 */
#include "hv/cpu/vmx_check.h"

static bool fixed_ok(uint64_t value, uint32_t fixed0, uint32_t fixed1)
{
	uint64_t must = vmx_capability(fixed0), may = vmx_capability(fixed1);

	return (value & must) == must && !(value & ~may);
}

static bool ok_cr0(const struct vmx_view *v)
{
	return fixed_ok(v->f[VC_HOST_CR0], VMX_MSR_CR0_FIXED0, VMX_MSR_CR0_FIXED1);
}

static bool ok_cr4(const struct vmx_view *v)
{
	return fixed_ok(v->f[VC_HOST_CR4], VMX_MSR_CR4_FIXED0, VMX_MSR_CR4_FIXED1);
}

static bool ok_cr3(const struct vmx_view *v)
{
	return !(v->f[VC_HOST_CR3] >> SOFT_MAXPHYADDR);
}

static bool host_canonical(const struct vmx_view *v, uint64_t address)
{
	return vmx_canonical(address, VMX_LINEAR_BITS);
}

static bool ok_sysenter(const struct vmx_view *v)
{
	return host_canonical(v, v->f[VC_HOST_SYSENTER_ESP]) &&
	       host_canonical(v, v->f[VC_HOST_SYSENTER_EIP]);
}

static bool ok_pat(const struct vmx_view *v)
{
	return !(v->exit & VMX_EXITCTL_LOAD_PAT) || vmx_pat_ok(v->f[VC_HOST_PAT]);
}

static bool ok_efer(const struct vmx_view *v)
{
	uint64_t efer = v->f[VC_HOST_EFER];

	if (!(v->exit & VMX_EXITCTL_LOAD_EFER))
		return true;
	return !(efer & ~VMX_EFER_BITS) && (efer & X86_EFER_LMA) && (efer & X86_EFER_LME);
}

static bool ok_selectors(const struct vmx_view *v)
{
	for (unsigned int cell = VC_HOST_ES_SELECTOR; cell <= VC_HOST_TR_SELECTOR; cell++)
		if (v->f[cell] & 7)
			return false;
	return true;
}

static bool ok_cs(const struct vmx_view *v)
{
	return v->f[VC_HOST_CS_SELECTOR] != 0;
}

static bool ok_tr(const struct vmx_view *v)
{
	return v->f[VC_HOST_TR_SELECTOR] != 0;
}

static bool ok_bases(const struct vmx_view *v)
{
	static const uint8_t cells[] = {
		VC_HOST_FS_BASE, VC_HOST_GS_BASE, VC_HOST_GDTR_BASE, VC_HOST_IDTR_BASE,
		VC_HOST_TR_BASE,
	};

	for (unsigned int i = 0; i < sizeof(cells); i++)
		if (!host_canonical(v, v->f[cells[i]]))
			return false;
	return true;
}

static bool ok_address_space(const struct vmx_view *v)
{
	return v->exit & VMX_EXITCTL_HOST_64;
}

static bool ok_pae(const struct vmx_view *v)
{
	return v->f[VC_HOST_CR4] & X86_CR4_PAE;
}

static bool ok_rip(const struct vmx_view *v)
{
	/* What is executed next has to fit the paging mode. */
	return vmx_canonical(v->f[VC_HOST_RIP], v->f[VC_HOST_CR4] & X86_CR4_LA57 ? 57 : 48);
}

static const struct vmx_rule rules[] = {
	{ ok_cr0, "host CR0: fixed bits", 0 },
	{ ok_cr4, "host CR4: fixed bits", 0 },
	{ ok_cr3, "host CR3 beyond the physical-address width", 0 },
	{ ok_sysenter, "host SYSENTER addresses not canonical", 0 },
	{ ok_pat, "host PAT", 0 },
	{ ok_efer, "host EFER", 0 },
	{ ok_selectors, "host selectors with RPL or TI", 0 },
	{ ok_cs, "host CS is 0", 0 },
	{ ok_tr, "host TR is 0", 0 },
	{ ok_bases, "host base addresses not canonical", 0 },
	{ ok_address_space, "host address-space size", 0 },
	{ ok_pae, "host CR4.PAE is 0", 0 },
	{ ok_rip, "host RIP not canonical", 0 },
};

const char *vmx_check_host(struct hv_lp *lp)
{
	struct vmx_view view = vmx_view_of(lp);
	const struct vmx_rule *broken = VMX_RULES_BROKEN(rules, &view);

	return broken ? broken->name : NULL;
}
