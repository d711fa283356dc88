/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's time-stamp counter as instructions and MSRs reach it. The offset
 * and its synchronisation between vCPUs are hv/vm/tsc.c's.
 */
#include "hv/vcpu/arch.h"
#include "hv/vm/tsc.h"

uint64_t vcpu_read_tsc(struct hv_vcpu *vcpu)
{
	return tsc_guest_now(vcpu);
}

int vcpu_write_tsc(struct hv_vcpu *vcpu, uint64_t value)
{
	tsc_synchronize(vcpu, value);
	vcpu_make_request(vcpu, HV_REQ_CLOCK_UPDATE);
	return 0;
}

uint64_t vcpu_tsc_offset(struct hv_vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->tsc_offset, memory_order_relaxed);
}

uint32_t vcpu_tsc_khz(struct hv_vm *vm)
{
	return vm_arch(vm)->tsc_khz;
}
