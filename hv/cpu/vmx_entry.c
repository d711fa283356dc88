/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMLAUNCH and VMRESUME: checks, loading, event injection, and the loop that runs
 * the guest until something exits. Source: SDM vol. 3, chapter "VM entries".
 *
 * Only what VMWRITE made stale since the last entry of this VMCS is checked and
 * loaded again.
 */
#include <string.h>

#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

/* Instructions between two looks at the preemption timer; a few tens of microseconds. */
#define TIMER_SLICE	2000
#define NO_LIMIT	(UINT64_MAX >> 1)
#define MSR_AREA_MAX	512

/* MSRs that an entry's load area may not hold: SDM, "Loading MSRs". */
static bool msr_area_forbidden(uint32_t index)
{
	return index == X86_MSR_FS_BASE || index == X86_MSR_GS_BASE ||
	       (index >= 0x800 && index <= 0x8ff) || index == X86_MSR_TSC;
}

bool vmx_msr_area_load(struct hv_lp *lp, uint64_t area, uint64_t count, uint64_t *failed)
{
	const struct vmx_msr_entry *entry = (const struct vmx_msr_entry *)area;

	for (uint64_t i = 0; i < count; i++) {
		*failed = i + 1;
		if (i >= MSR_AREA_MAX || entry[i].reserved || msr_area_forbidden(entry[i].index) ||
		    x86_write_msr(lp->cpu, entry[i].index, entry[i].value) != X86_OK)
			return false;
	}
	return true;
}

/* An entry that fails after the checks of controls and host: a VM exit with bit 31. */
static enum hv_vmx_status entry_failed(struct hv_lp *lp, enum vmx_exit_reason reason,
				       uint64_t qualification)
{
	uint64_t *f = lp->vmx.vmcs->f;

	f[VC_EXIT_REASON] = VMX_EXIT_ENTRY_FAILURE | reason;
	f[VC_EXIT_QUALIFICATION] = qualification;
	return HV_VMX_OK;
}

static enum hv_vmx_status check_launch(struct hv_lp *lp, bool launch)
{
	const struct soft_vmcs *vmcs = lp->vmx.vmcs;

	if (launch && vmcs->launched)
		return vmx_fail(lp, VMX_ERR_VMLAUNCH_NOT_CLEAR);
	if (!launch && !vmcs->launched)
		return vmx_fail(lp, VMX_ERR_VMRESUME_NOT_LAUNCHED);
	return HV_VMX_OK;
}

/* Controls and host state; the derived controls are in force afterwards. */
static enum hv_vmx_status check_root_side(struct hv_lp *lp)
{
	struct soft_vmx *vmx = &lp->vmx;

	vmx->failed_rule = NULL;
	if (vmx->dirty & VMX_DIRTY_CONTROLS) {
		vmx->failed_rule = vmx_check_controls(lp);
		if (vmx->failed_rule)
			return vmx_fail(lp, VMX_ERR_ENTRY_CONTROLS);
		/* The rules of host state depend on the exit controls. */
		if ((uint32_t)vmx->vmcs->f[VC_EXIT_CTLS] != vmx->exit)
			vmx->dirty |= VMX_DIRTY_HOST;
	}
	if (vmx->vmcs->f[VC_ENTRY_INTR_INFO] & VMX_INTR_VALID) {
		vmx->failed_rule = vmx_check_event(lp);
		if (vmx->failed_rule)
			return vmx_fail(lp, VMX_ERR_ENTRY_CONTROLS);
	}
	if (vmx->dirty & VMX_DIRTY_HOST) {
		vmx->failed_rule = vmx_check_host(lp);
		if (vmx->failed_rule)
			return vmx_fail(lp, VMX_ERR_ENTRY_HOST);
	}
	return HV_VMX_OK;
}

static void start_timer(struct hv_lp *lp)
{
	lp->vmx.timer_deadline = 0;
	if (lp->vmx.pin & VMX_PIN_PREEMPTION_TIMER)
		lp->vmx.timer_deadline = soft_rdtsc() +
			(lp->vmx.vmcs->f[VC_PREEMPTION_TIMER] << SOFT_VMX_TIMER_SHIFT);
}

static void use_tlb(struct hv_lp *lp)
{
	const struct soft_vmx *vmx = &lp->vmx;

	soft_space_use(lp, vmx->eptp ? SOFT_SPACE_COMBINED : SOFT_SPACE_LINEAR, vmx->vpid,
		       vmx->ept_root);
	/* Without VPIDs a transition invalidates the mappings of VPID 0000H. */
	if (!vmx->vpid)
		soft_space_flush(lp, 0, 0);
}

/* Event injection. X86_EXIT: the delivery caused a VM exit. */
static int inject(struct hv_lp *lp)
{
	const uint64_t *f = lp->vmx.vmcs->f;
	uint32_t info = (uint32_t)f[VC_ENTRY_INTR_INFO];
	struct x86_event ev = {
		.valid = 1,
		.vector = info & VMX_INTR_VECTOR,
		.type = (info & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT,
		.has_error = info & VMX_INTR_HAS_ERROR,
		.error_code = (uint32_t)f[VC_ENTRY_INTR_ERROR],
		.insn_len = (uint8_t)f[VC_ENTRY_INSN_LEN],
	};

	if (ev.type == VMX_INTR_OTHER) {
		/* A pending monitor trap flag exit. */
		lp->work |= SOFT_WORK_MTF;
		x86_pend(lp->cpu, X86_PEND_WORK);
		return X86_OK;
	}
	/* CR2 and DR6 are the hypervisor's to set: an injected event leaves them. */
	ev.payload = ev.vector == X86_PF ? lp->cpu->cr2 : 0;
	return x86_inject(lp->cpu, &ev);
}

static bool timer_expired(struct hv_lp *lp)
{
	return lp->vmx.timer_deadline && soft_rdtsc() >= lp->vmx.timer_deadline;
}

/* HLT, shutdown or wait-for-SIPI without an exit: sleep until something pends. */
static void wait_inactive(struct hv_lp *lp)
{
	uint64_t deadline = lp->cpu->activity == X86_WAIT_SIPI ? 0 : lp->vmx.timer_deadline;

	soft_lp_wait(lp, deadline);
}

/* One instruction, then the monitor trap flag exit. */
static void step(struct hv_lp *lp)
{
	enum x86_run_reason reason;

	if (lp->cpu->activity != X86_ACTIVE) {
		reason = x86_run(lp->cpu, 1);
		if (reason == X86_RUN_HALTED)
			wait_inactive(lp);
		return;
	}
	if (x86_step_one(lp->cpu) == X86_EXIT && lp->vmx.exited)
		return;
	vmx_exit(lp, VMX_EXIT_MONITOR_TRAP, 0);
}

static void run(struct hv_lp *lp)
{
	struct soft_vmx *vmx = &lp->vmx;

	while (!vmx->exited) {
		if (timer_expired(lp)) {
			vmx_exit(lp, VMX_EXIT_PREEMPTION_TIMER, 0);
			break;
		}
		if (vmx->proc & VMX_CPU_MONITOR_TRAP) {
			step(lp);
			continue;
		}
		switch (x86_run(lp->cpu, vmx->timer_deadline ? TIMER_SLICE : NO_LIMIT)) {
		case X86_RUN_HALTED:
		case X86_RUN_SHUTDOWN:
			wait_inactive(lp);
			break;
		case X86_RUN_EXIT:
		case X86_RUN_BUDGET:
		case X86_RUN_STOPPED:
			break;
		}
	}
}

/* Load what is stale. False: an entry failure was recorded. */
static bool load_guest(struct hv_lp *lp, uint32_t stale)
{
	uint64_t *f = lp->vmx.vmcs->f, failed = 0, qual = VMX_ENTRY_FAIL_DEFAULT;

	if (f[VC_ENTRY_INTR_INFO] & VMX_INTR_VALID)
		stale |= VMX_DIRTY_HOT; /* rules relate the event and the interruptibility */
	lp->vmx.failed_rule = vmx_check_guest(lp, stale, &qual);
	if (lp->vmx.failed_rule) {
		entry_failed(lp, VMX_EXIT_INVALID_GUEST_STATE, qual);
		return false;
	}
	/* Mappings of the new tag are in force before PDPTEs and descriptors are read. */
	use_tlb(lp);
	vmx_guest_load(lp, stale);
	if (f[VC_ENTRY_MSR_LOAD_COUNT] &&
	    !vmx_msr_area_load(lp, f[VC_ENTRY_MSR_LOAD_ADDR], f[VC_ENTRY_MSR_LOAD_COUNT], &failed)) {
		lp->vmx.cold_valid = false;
		entry_failed(lp, VMX_EXIT_MSR_LOADING, failed);
		return false;
	}
	return true;
}

/* Guest state is judged and loaded again when a control that it depends on changed. */
static void reload_controls(struct hv_lp *lp)
{
	struct soft_vmx *vmx = &lp->vmx;
	const uint32_t paging = VMX_CPU2_EPT | VMX_CPU2_UNRESTRICTED;
	uint32_t entry = vmx->entry, proc2 = vmx->proc2, pin = vmx->pin;

	vmx_controls_load(lp);
	if (entry != vmx->entry || pin != vmx->pin || ((proc2 ^ vmx->proc2) & paging))
		vmx->dirty |= VMX_DIRTY_COLD | VMX_DIRTY_HOT | VMX_DIRTY_CR3;
}

enum hv_vmx_status vmx_enter(struct hv_lp *lp, struct hv_gprs *gprs, bool launch)
{
	struct soft_vmx *vmx = &lp->vmx;
	enum hv_vmx_status status;
	uint32_t stale;
	bool below;

	if (!vmx->vmcs || !soft_pcpu_vmxon_region(lp->pcpu))
		return HV_VMX_FAIL_INVALID;
	if (lp->mode != SOFT_VMX) {
		lp->mode = SOFT_VMX;
		lp->cpu->ops = &soft_vmx_x86_ops;
		vmx->cold_valid = false;
	}
	/* The store of cold state depends on the controls that were in force at the exit. */
	if ((vmx->dirty & VMX_DIRTY_CONTROLS) && vmx->cold_in_cpu)
		vmx_guest_store_cold(lp);
	status = check_launch(lp, launch);
	if (status == HV_VMX_OK)
		status = check_root_side(lp);
	if (status != HV_VMX_OK)
		return status;
	if (vmx->dirty & VMX_DIRTY_CONTROLS)
		reload_controls(lp);
	stale = vmx->dirty;
	if (!vmx->cold_valid)
		stale |= VMX_DIRTY_COLD | VMX_DIRTY_HOT | VMX_DIRTY_CR3;
	/* An entry that fails keeps everything stale. */
	if (!load_guest(lp, stale))
		return HV_VMX_OK;
	vmx->dirty = 0;
	vmx->vmcs->launched = 1;
	vmx->exited = false;
	lp->stats.entries++;
	for (unsigned int i = 0; i < 16; i++)
		if (i != X86_RSP)
			lp->cpu->gpr[i] = gprs->r[i];
	lp->cpu->vectoring.valid = 0;
	lp->cpu->iret_unblocked = 0;
	start_timer(lp);
	below = vmx_apic_entry(lp);
	vmx_update_pending(lp);
	if (vmx->vmcs->f[VC_ENTRY_INTR_INFO] & VMX_INTR_VALID)
		inject(lp);
	if (below && !vmx->exited)
		vmx_exit(lp, VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
	run(lp);
	vmx_exit_finish(lp, gprs);
	return HV_VMX_OK;
}

const struct hv_vmx_ops soft_vmx_ops = {
	.vmxon = soft_pcpu_vmxon,
	.vmxoff = soft_pcpu_vmxoff,
	.capability = vmx_capability,
	.vmclear = vmx_vmclear,
	.vmptrld = vmx_vmptrld,
	.vmread = vmx_vmread,
	.vmwrite = vmx_vmwrite,
	.enter = vmx_enter,
	.invept = vmx_invept,
	.invvpid = vmx_invvpid,
};
