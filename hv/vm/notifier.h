/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM's side of host memory invalidation, as KVM's MMU notifier: hv/mem calls
 * these through the notifier that vm_create registers; tests call them directly.
 * None takes slots_lock or slots_arch_lock. Ranges are [start, end) in bytes.
 */
#ifndef HV_VM_NOTIFIER_H
#define HV_VM_NOTIFIER_H

#include "hv/vm/vm.h"

struct hv_mem_range; /* hv/mem/region.h */

/* By vm_create and the last vm_put; no-ops for a VM without hv_mem. -ENOMEM. */
int notifier_register(struct hv_vm *vm);
void notifier_unregister(struct hv_vm *vm);

/*
 * start: on return no translation of the range is left and none comes up again
 * before the matching end. Pairs may nest and overlap, from any thread. -EAGAIN: the
 * range is not blockable and mmu_lock is taken; nothing has happened, no end follows.
 */
int notifier_invalidate_start(struct hv_vm *vm, const struct hv_mem_range *range);
void notifier_invalidate_end(struct hv_vm *vm, const struct hv_mem_range *range);
/* Age: clear the accessed state; true if any page was young. flush: TLBs as well. */
bool notifier_clear_flush_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end);
bool notifier_clear_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end);
bool notifier_test_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end);

#endif
