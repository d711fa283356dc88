/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes of the time-stamp counter, synchronised between the vCPUs of a VM.
 * Guests write the TSC of each CPU in turn with what they take for the same
 * value; writes within a second of each other form one generation, whose
 * members get one offset and therefore one time.
 */
#ifndef HV_VM_TSC_H
#define HV_VM_TSC_H

#include "hv/vm/vm.h"

/*
 * The guest (or the user, on reset or restore) sets the vCPU's TSC to value. Takes
 * tsc_write_lock, writes the offset through vendor->write_tsc_offset under it and
 * returns it. The vCPU's thread, or the vCPU is not running.
 */
uint64_t tsc_synchronize(struct hv_vcpu *vcpu, uint64_t value);
/* Another offset, by the user's own choice (migration): starts a generation if it differs. */
void tsc_set_offset(struct hv_vcpu *vcpu, uint64_t offset);
/* An adjustment relative to the present offset (IA32_TSC_ADJUST); no synchronisation. */
void tsc_adjust_offset(struct hv_vcpu *vcpu, int64_t delta);
uint64_t tsc_guest_now(struct hv_vcpu *vcpu);
/* Every vCPU is of the current generation: a guest may take the TSC for a common clock. */
bool tsc_all_matched(struct hv_vm *vm);

#endif
