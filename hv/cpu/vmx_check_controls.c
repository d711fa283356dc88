/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM-entry checks of the VMX controls, in the manual's order. Source: SDM vol. 3,
 * "Checks on VMX controls": VM-execution, VM-exit and VM-entry control fields.
 */
#include "hv/cpu/vmx_check.h"

static bool allowed(uint32_t value, uint32_t msr)
{
	struct vmx_ctl_allowed a = vmx_ctl_allowed(msr);

	return (value & a.must) == a.must && !(value & ~a.may);
}

/* Every bit of `needs` is set when one of `bits` is. */
static bool implies(uint32_t value, uint32_t bits, uint32_t other, uint32_t needs)
{
	return !(value & bits) || (other & needs) == needs;
}

static bool ok_pin(const struct vmx_view *v)
{
	return allowed(v->pin, VMX_MSR_TRUE_PINBASED);
}

static bool ok_proc(const struct vmx_view *v)
{
	return allowed(v->proc, VMX_MSR_TRUE_PROCBASED);
}

static bool ok_proc2(const struct vmx_view *v)
{
	return allowed(v->proc2, VMX_MSR_PROCBASED2);
}

static bool ok_cr3_targets(const struct vmx_view *v)
{
	return v->f[VC_CR3_TARGET_COUNT] <= 4;
}

static bool ok_io_bitmaps(const struct vmx_view *v)
{
	return !(v->proc & VMX_CPU_IO_BITMAPS) ||
	       (vmx_address_ok(v->f[VC_IO_BITMAP_A], 4096) &&
		vmx_address_ok(v->f[VC_IO_BITMAP_B], 4096));
}

static bool ok_msr_bitmap(const struct vmx_view *v)
{
	return !(v->proc & VMX_CPU_MSR_BITMAPS) || vmx_address_ok(v->f[VC_MSR_BITMAP], 4096);
}

static bool ok_virtual_apic(const struct vmx_view *v)
{
	return !(v->proc & VMX_CPU_TPR_SHADOW) ||
	       (v->f[VC_VIRTUAL_APIC_ADDR] && vmx_address_ok(v->f[VC_VIRTUAL_APIC_ADDR], 4096));
}

static bool ok_tpr_threshold(const struct vmx_view *v)
{
	return !(v->proc & VMX_CPU_TPR_SHADOW) || (v->proc2 & VMX_CPU2_VIRTUAL_INTR) ||
	       !(v->f[VC_TPR_THRESHOLD] & ~0xfULL);
}

static bool ok_tpr_below(const struct vmx_view *v)
{
	uint32_t vtpr;

	if (!(v->proc & VMX_CPU_TPR_SHADOW) ||
	    (v->proc2 & (VMX_CPU2_APIC_ACCESSES | VMX_CPU2_VIRTUAL_INTR)))
		return true;
	vtpr = *(const uint32_t *)(v->f[VC_VIRTUAL_APIC_ADDR] + 0x80);
	return (v->f[VC_TPR_THRESHOLD] & 0xf) <= (vtpr >> 4 & 0xf);
}

static bool ok_virtual_nmi(const struct vmx_view *v)
{
	return implies(v->pin, VMX_PIN_VIRTUAL_NMI, v->pin, VMX_PIN_NMI);
}

static bool ok_nmi_window(const struct vmx_view *v)
{
	return implies(v->proc, VMX_CPU_NMI_WINDOW, v->pin, VMX_PIN_VIRTUAL_NMI);
}

static bool ok_apic_access(const struct vmx_view *v)
{
	return !(v->proc2 & VMX_CPU2_APIC_ACCESSES) ||
	       (v->f[VC_APIC_ACCESS_ADDR] && vmx_address_ok(v->f[VC_APIC_ACCESS_ADDR], 4096));
}

static bool ok_needs_tpr_shadow(const struct vmx_view *v)
{
	return implies(v->proc2,
		       VMX_CPU2_X2APIC | VMX_CPU2_APIC_REGISTERS | VMX_CPU2_VIRTUAL_INTR, v->proc,
		       VMX_CPU_TPR_SHADOW);
}

static bool ok_x2apic_or_accesses(const struct vmx_view *v)
{
	return !(v->proc2 & VMX_CPU2_X2APIC) || !(v->proc2 & VMX_CPU2_APIC_ACCESSES);
}

static bool ok_virtual_intr(const struct vmx_view *v)
{
	return implies(v->proc2, VMX_CPU2_VIRTUAL_INTR, v->pin, VMX_PIN_EXT_INTR);
}

static bool ok_posted(const struct vmx_view *v)
{
	if (!(v->pin & VMX_PIN_POSTED_INTR))
		return true;
	return (v->proc2 & VMX_CPU2_VIRTUAL_INTR) && (v->exit & VMX_EXITCTL_ACK_INTR) &&
	       !(v->f[VC_POSTED_INTR_VECTOR] & 0xff00) && v->f[VC_POSTED_INTR_DESC] &&
	       vmx_address_ok(v->f[VC_POSTED_INTR_DESC], 64);
}

static bool ok_vpid(const struct vmx_view *v)
{
	return !(v->proc2 & VMX_CPU2_VPID) || v->f[VC_VPID] != 0;
}

static bool ok_eptp(const struct vmx_view *v)
{
	uint64_t eptp = v->f[VC_EPT_POINTER], type = eptp & EPTP_MEMTYPE_MASK;
	uint64_t levels = (eptp >> EPTP_WALK_SHIFT) & 7;

	if (!(v->proc2 & VMX_CPU2_EPT))
		return true;
	return (type == 0 || type == EPTP_MEMTYPE_WB) && (levels == 3 || levels == 4) &&
	       !(eptp & 0xf80) && !(eptp >> SOFT_MAXPHYADDR) && (eptp >> 12);
}

static bool ok_pml(const struct vmx_view *v)
{
	if (!(v->proc2 & VMX_CPU2_PML))
		return true;
	return (v->proc2 & VMX_CPU2_EPT) && v->f[VC_PML_ADDRESS] &&
	       vmx_address_ok(v->f[VC_PML_ADDRESS], 4096);
}

static bool ok_needs_ept(const struct vmx_view *v)
{
	return implies(v->proc2, VMX_CPU2_UNRESTRICTED | VMX_CPU2_MODE_BASED_EXEC, v->proc2,
		       VMX_CPU2_EPT);
}

static bool ok_tsc_multiplier(const struct vmx_view *v)
{
	return !(v->proc2 & VMX_CPU2_TSC_SCALING) || v->f[VC_TSC_MULTIPLIER] != 0;
}

static bool ok_exit_ctls(const struct vmx_view *v)
{
	return allowed(v->exit, VMX_MSR_TRUE_EXIT);
}

static bool ok_save_timer(const struct vmx_view *v)
{
	return implies(v->exit, VMX_EXITCTL_SAVE_TIMER, v->pin, VMX_PIN_PREEMPTION_TIMER);
}

static bool msr_area_ok(uint64_t address, uint64_t count)
{
	return !count || (address && vmx_address_ok(address, 16) &&
			  vmx_address_ok((address + count * 16 - 1) & ~0xfULL, 16));
}

static bool ok_exit_msr_store(const struct vmx_view *v)
{
	return msr_area_ok(v->f[VC_EXIT_MSR_STORE_ADDR], v->f[VC_EXIT_MSR_STORE_COUNT]);
}

static bool ok_exit_msr_load(const struct vmx_view *v)
{
	return msr_area_ok(v->f[VC_EXIT_MSR_LOAD_ADDR], v->f[VC_EXIT_MSR_LOAD_COUNT]);
}

static bool ok_entry_ctls(const struct vmx_view *v)
{
	return allowed(v->entry, VMX_MSR_TRUE_ENTRY);
}

static bool ok_entry_msr_load(const struct vmx_view *v)
{
	return msr_area_ok(v->f[VC_ENTRY_MSR_LOAD_ADDR], v->f[VC_ENTRY_MSR_LOAD_COUNT]);
}

static bool ok_smm(const struct vmx_view *v)
{
	return !(v->entry & (VMX_ENTRYCTL_SMM | VMX_ENTRYCTL_DUAL_MONITOR));
}

static const struct vmx_rule rules[] = {
	{ ok_pin, "pin-based controls: reserved settings", 0 },
	{ ok_proc, "primary processor-based controls: reserved settings", 0 },
	{ ok_proc2, "secondary processor-based controls: reserved settings", 0 },
	{ ok_cr3_targets, "CR3-target count above 4", 0 },
	{ ok_io_bitmaps, "I/O-bitmap address", 0 },
	{ ok_msr_bitmap, "MSR-bitmap address", 0 },
	{ ok_virtual_apic, "virtual-APIC address", 0 },
	{ ok_tpr_threshold, "TPR threshold: reserved bits", 0 },
	{ ok_tpr_below, "TPR threshold above the virtual TPR", 0 },
	{ ok_virtual_nmi, "virtual NMIs without NMI exiting", 0 },
	{ ok_nmi_window, "NMI-window exiting without virtual NMIs", 0 },
	{ ok_apic_access, "APIC-access address", 0 },
	{ ok_needs_tpr_shadow, "APIC virtualization without the TPR shadow", 0 },
	{ ok_x2apic_or_accesses, "x2APIC mode together with APIC accesses", 0 },
	{ ok_virtual_intr, "virtual-interrupt delivery without external-interrupt exiting", 0 },
	{ ok_posted, "posted-interrupt processing", 0 },
	{ ok_vpid, "VPID 0000H", 0 },
	{ ok_eptp, "EPT pointer", 0 },
	{ ok_pml, "page-modification logging", 0 },
	{ ok_needs_ept, "unrestricted guest or mode-based execute control without EPT", 0 },
	{ ok_tsc_multiplier, "TSC multiplier 0", 0 },
	{ ok_exit_ctls, "VM-exit controls: reserved settings", 0 },
	{ ok_save_timer, "saving a preemption timer that is not active", 0 },
	{ ok_exit_msr_store, "VM-exit MSR-store area", 0 },
	{ ok_exit_msr_load, "VM-exit MSR-load area", 0 },
	{ ok_entry_ctls, "VM-entry controls: reserved settings", 0 },
	{ ok_entry_msr_load, "VM-entry MSR-load area", 0 },
	{ ok_smm, "SMM entry controls outside SMM", 0 },
};

const char *vmx_check_controls(struct hv_lp *lp)
{
	struct vmx_view view = vmx_view_of(lp);
	const struct vmx_rule *broken = VMX_RULES_BROKEN(rules, &view);

	return broken ? broken->name : NULL;
}

/* ---- the event to inject -------------------------------------------------------------------- */

static unsigned int event_type(const struct vmx_view *v)
{
	return (v->event & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT;
}

static unsigned int event_vector(const struct vmx_view *v)
{
	return v->event & VMX_INTR_VECTOR;
}

static bool ok_event_type(const struct vmx_view *v)
{
	return event_type(v) != 1;
}

static bool ok_event_vector(const struct vmx_view *v)
{
	switch (event_type(v)) {
	case VMX_INTR_NMI:
		return event_vector(v) == 2;
	case VMX_INTR_HW_EXCEPTION:
		return event_vector(v) <= 31;
	case VMX_INTR_OTHER:
		return event_vector(v) == 0;
	default:
		return true;
	}
}

static bool ok_event_error(const struct vmx_view *v)
{
	bool protected_mode = !v->unrestricted || (v->f[VC_GUEST_CR0] & X86_CR0_PE);
	bool should = event_type(v) == VMX_INTR_HW_EXCEPTION && protected_mode &&
		      x86_exc_has_error(event_vector(v));

	return should == !!(v->event & VMX_INTR_HAS_ERROR);
}

static bool ok_event_reserved(const struct vmx_view *v)
{
	return !(v->event & 0x7ffff000);
}

static bool ok_event_error_code(const struct vmx_view *v)
{
	return !(v->event & VMX_INTR_HAS_ERROR) || !(v->f[VC_ENTRY_INTR_ERROR] & 0xffff0000);
}

static bool ok_event_length(const struct vmx_view *v)
{
	unsigned int type = event_type(v);

	if (type < VMX_INTR_SW_INT || type > VMX_INTR_SW_EXCEPTION)
		return true;
	return v->f[VC_ENTRY_INSN_LEN] >= 1 && v->f[VC_ENTRY_INSN_LEN] <= 15;
}

static const struct vmx_rule event_rules[] = {
	{ ok_event_type, "event: reserved type", 0 },
	{ ok_event_vector, "event: vector does not fit the type", 0 },
	{ ok_event_error, "event: deliver-error-code bit", 0 },
	{ ok_event_reserved, "event: reserved bits", 0 },
	{ ok_event_error_code, "event: error code", 0 },
	{ ok_event_length, "event: instruction length", 0 },
};

const char *vmx_check_event(struct hv_lp *lp)
{
	struct vmx_view view = vmx_view_of(lp);
	const struct vmx_rule *broken = VMX_RULES_BROKEN(event_rules, &view);

	return broken ? broken->name : NULL;
}
