/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the three files of VM-entry checks share. */
#ifndef HV_CPU_VMX_CHECK_H
#define HV_CPU_VMX_CHECK_H

#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

/* The VMCS as the checks see it; f is its cells, the rest follows from them. */
struct vmx_view {
	const struct hv_lp *lp;
	const uint64_t *f;
	uint32_t pin, proc, proc2, entry, exit;
	bool ia32e, unrestricted, pg;	/* guest: "IA-32e mode guest", control, CR0.PG */
	uint32_t event;			/* VM-entry interruption information, 0 when not valid */
};

/* true: the rule holds. */
typedef bool vmx_rule_fn(const struct vmx_view *view);

struct vmx_rule {
	vmx_rule_fn *ok;
	const char *name;
	uint8_t qualification;	/* guest rules: of exit reason 33 */
};

static inline struct vmx_view vmx_view_of(const struct hv_lp *lp)
{
	const uint64_t *f = lp->vmx.vmcs->f;
	struct vmx_view v = {
		.lp = lp,
		.f = f,
		.pin = (uint32_t)f[VC_PIN_CTLS],
		.proc = (uint32_t)f[VC_CPU_CTLS],
		.entry = (uint32_t)f[VC_ENTRY_CTLS],
		.exit = (uint32_t)f[VC_EXIT_CTLS],
		.event = (uint32_t)f[VC_ENTRY_INTR_INFO],
	};

	v.proc2 = v.proc & VMX_CPU_SECONDARY ? (uint32_t)f[VC_CPU_CTLS2] : 0;
	v.ia32e = v.entry & VMX_ENTRYCTL_GUEST_64;
	v.unrestricted = v.proc2 & VMX_CPU2_UNRESTRICTED;
	v.pg = f[VC_GUEST_CR0] & X86_CR0_PG;
	if (!(v.event & VMX_INTR_VALID))
		v.event = 0;
	return v;
}

static inline const struct vmx_rule *vmx_first_broken(const struct vmx_rule *rules, size_t count,
						      const struct vmx_view *view)
{
	for (size_t i = 0; i < count; i++)
		if (!rules[i].ok(view))
			return &rules[i];
	return NULL;
}

#define VMX_RULES_BROKEN(rules, view) \
	vmx_first_broken(rules, sizeof(rules) / sizeof((rules)[0]), view)

/* Host addresses stand for physical ones: aligned, within the physical-address width. */
static inline bool vmx_address_ok(uint64_t address, uint64_t align)
{
	return !(address & (align - 1)) && !(address >> SOFT_MAXPHYADDR);
}

/* What this processor has, LA57 being a feature of it. */
#define VMX_LINEAR_BITS 57

static inline bool vmx_canonical(uint64_t address, unsigned int bits)
{
	return (uint64_t)((int64_t)(address << (64 - bits)) >> (64 - bits)) == address;
}

/* Eight valid PAT memory types. */
static inline bool vmx_pat_ok(uint64_t pat)
{
	for (unsigned int i = 0; i < 8; i++) {
		uint8_t type = (uint8_t)(pat >> (i * 8));

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

#define VMX_EFER_BITS (X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE)

#endif
