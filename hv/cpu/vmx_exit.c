/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM exits: basic information when the exit is recognised, event information and
 * guest state when the guest has stopped. Source: SDM vol. 3, chapter "VM exits".
 */
#include <string.h>

#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

int vmx_exit(struct hv_lp *lp, enum vmx_exit_reason reason, uint64_t qualification)
{
	uint64_t *f = lp->vmx.vmcs->f;

	f[VC_EXIT_REASON] = reason;
	f[VC_EXIT_QUALIFICATION] = qualification;
	f[VC_EXIT_INTR_INFO] = 0;
	f[VC_EXIT_INSN_LEN] = lp->cpu->insn_len;
	lp->vmx.exited = true;
	return X86_EXIT;
}

int vmx_exit_insn(struct hv_lp *lp, enum vmx_exit_reason reason, uint64_t qualification,
		  const struct x86_intercept_info *info)
{
	vmx_exit(lp, reason, qualification);
	lp->vmx.vmcs->f[VC_EXIT_INSN_LEN] = info->insn_len;
	return X86_EXIT;
}

/*
 * An exit while an event was being delivered: which event. Double faults that
 * exit by themselves and triple faults do not count as exits during delivery.
 */
static void vectoring_info(struct hv_lp *lp)
{
	const struct x86_event *ev = &lp->cpu->vectoring;
	uint64_t *f = lp->vmx.vmcs->f;
	uint32_t info;

	f[VC_IDT_VECTORING_INFO] = 0;
	if (!ev->valid || f[VC_EXIT_REASON] == VMX_EXIT_TRIPLE_FAULT)
		return;
	if (f[VC_EXIT_REASON] == VMX_EXIT_EXCEPTION_NMI &&
	    (f[VC_EXIT_INTR_INFO] & VMX_INTR_VECTOR) == X86_DF)
		return;
	info = VMX_INTR_VALID | ev->vector | (uint32_t)ev->type << VMX_INTR_TYPE_SHIFT;
	if (ev->has_error) {
		info |= VMX_INTR_HAS_ERROR;
		f[VC_IDT_VECTORING_ERROR] = ev->error_code;
	}
	f[VC_IDT_VECTORING_INFO] = info;
	if (ev->type >= X86_EV_SOFT_INT)
		f[VC_EXIT_INSN_LEN] = ev->insn_len;
	/* Delivery of an NMI sets blocking; the exit says that it has not been delivered. */
	if (ev->type == X86_EV_NMI)
		lp->cpu->intr_state &= ~(uint32_t)X86_BLOCK_NMI;
}

static void save_timer(struct hv_lp *lp)
{
	uint64_t now, left;

	if (!lp->vmx.timer_deadline || !(lp->vmx.exit & VMX_EXITCTL_SAVE_TIMER))
		return;
	now = soft_rdtsc();
	left = now >= lp->vmx.timer_deadline ? 0 : lp->vmx.timer_deadline - now;
	lp->vmx.vmcs->f[VC_PREEMPTION_TIMER] = left >> SOFT_VMX_TIMER_SHIFT;
}

static void store_msr_area(struct hv_lp *lp)
{
	struct vmx_msr_entry *entry = (struct vmx_msr_entry *)lp->vmx.vmcs->f[VC_EXIT_MSR_STORE_ADDR];
	uint64_t count = lp->vmx.vmcs->f[VC_EXIT_MSR_STORE_COUNT];

	for (uint64_t i = 0; i < count; i++)
		if (x86_read_msr(lp->cpu, entry[i].index, &entry[i].value) != X86_OK)
			entry[i].value = 0;
}

void vmx_exit_finish(struct hv_lp *lp, struct hv_gprs *gprs)
{
	uint64_t *f = lp->vmx.vmcs->f;
	uint64_t failed;

	vectoring_info(lp);
	f[VC_ENTRY_INTR_INFO] &= ~(uint64_t)VMX_INTR_VALID;
	vmx_guest_store_hot(lp);
	save_timer(lp);
	memcpy(gprs->r, lp->cpu->gpr, sizeof(gprs->r));
	if (f[VC_EXIT_MSR_STORE_COUNT])
		store_msr_area(lp);
	if (f[VC_EXIT_MSR_LOAD_COUNT]) {
		/* The loads are of the host's values: guest state in the file is stored first. */
		vmx_guest_store_cold(lp);
		lp->vmx.dirty |= VMX_DIRTY_COLD;
		vmx_msr_area_load(lp, f[VC_EXIT_MSR_LOAD_ADDR], f[VC_EXIT_MSR_LOAD_COUNT], &failed);
	}
}
