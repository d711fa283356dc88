/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page-modification logging: the processor writes the guest-physical address of
 * each page whose D bit it sets, from entry 511 down. Source: SDM volume 3,
 * "Page-modification logging".
 */
#include "hv/base/rcu.h"
#include "hv/vmx/vmx.h"

#define PML_LAST 511

void vmx_flush_pml(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	unsigned int i, index;

	if (!(v->ctl.cpu2 & VMX_CPU2_PML))
		return;
	index = (uint16_t)vmcs_read(vcpu, VMCS_GUEST_PML_INDEX);
	if (index == PML_LAST)
		return;
	/* The index wraps to 0xffff when the buffer is full. */
	i = index > PML_LAST ? 0 : index + 1;
	hv_rcu_read_lock();
	for (; i <= PML_LAST; i++) {
		hv_gfn_t gfn = v->pml[i] >> HV_PAGE_SHIFT;
		struct hv_memslot *slot = hv_vcpu_gfn_to_memslot(vcpu, gfn);

		if (slot)
			vm_mark_page_dirty(vcpu->vm, vcpu, slot, gfn);
	}
	hv_rcu_read_unlock();
	vmcs_write(vcpu, VMCS_GUEST_PML_INDEX, PML_LAST);
}
