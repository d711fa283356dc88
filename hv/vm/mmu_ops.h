/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What hv/vm asks of the MMU above it, and what the MMU finds in a VM. The room
 * hv/vm does not know a page-table format; everything that changes one goes
 * through this table. Implemented by hv/mmu/mmu.c, one const instance.
 */
#ifndef HV_VM_MMU_OPS_H
#define HV_VM_MMU_OPS_H

#include "hv/vm/memslot.h"

/* A range of guest frames of one slot that host memory takes back or ages. */
struct hv_gfn_range {
	struct hv_memslot *slot;
	hv_gfn_t start;
	hv_gfn_t end; /* exclusive */
};

struct hv_mmu_ops {
	int (*vm_init)(struct hv_vm *vm);
	/* No vCPU runs any more; zap everything, flush the zap worker. */
	void (*vm_destroy)(struct hv_vm *vm);
	int (*vcpu_init)(struct hv_vcpu *vcpu);
	void (*vcpu_destroy)(struct hv_vcpu *vcpu);

	/*
	 * Memslot updates; slots_lock held. prepare may fail (and leaves nothing
	 * behind when it does); it allocates new->arch, with slots_arch_lock held. On
	 * DELETE new is NULL, on CREATE old is NULL; otherwise new->arch == old->arch on
	 * entry, and what old has alone is freed by slot_free_arch after the grace period.
	 */
	int (*slot_prepare)(struct hv_vm *vm, const struct hv_memslot *old, struct hv_memslot *new,
			    enum hv_mr_change change);
	/*
	 * After the final publish and its grace period: write-protect, split, collapse.
	 * slots_lock held. Frames of `new` have to be armed (write-protected or D
	 * cleared, and flushed) when memslot_log_must_arm(vm, old, new) of hv/vm/dirty.h
	 * says so, and only then; on DELETE new is NULL, on CREATE old is NULL.
	 */
	void (*slot_commit)(struct hv_vm *vm, const struct hv_memslot *old,
			    const struct hv_memslot *new, enum hv_mr_change change);
	/* The slot was published INVALID and readers are gone: drop every translation of it. */
	void (*slot_flush)(struct hv_vm *vm, struct hv_memslot *slot);
	void (*slot_free_arch)(struct hv_vm *vm, struct hv_memslot_arch *arch);
	/*
	 * A new generation is about to be in force: bit 63 is still set, so nothing is
	 * cached meanwhile. Its low bits may have wrapped: then zap all MMIO SPTEs.
	 * slots_lock held.
	 */
	void (*generation_changed)(struct hv_vm *vm, uint64_t generation);

	/* Notifier side, mmu_lock held for write. True: a TLB flush is needed. */
	bool (*unmap_gfn_range)(struct hv_vm *vm, const struct hv_gfn_range *range);
	bool (*age_gfn_range)(struct hv_vm *vm, const struct hv_gfn_range *range);
	bool (*test_age_gfn_range)(struct hv_vm *vm, const struct hv_gfn_range *range);

	/*
	 * Dirty log: arm the frames base_gfn + bit of mask again (write protection, or
	 * the D bit cleared, as the slot is logged). mmu_lock held for write. The caller
	 * flushes the TLBs once for all its calls, before it lets go of slots_lock.
	 */
	void (*dirty_log_rearm)(struct hv_vm *vm, struct hv_memslot *slot, hv_gfn_t base_gfn,
				uint64_t mask);
	/*
	 * Drain hardware dirty buffers (PML) of all vCPUs into the log; returns when every
	 * write that reached a buffer before the call is in the log. slots_lock held.
	 */
	void (*dirty_log_sync)(struct hv_vm *vm);
};

#endif
