/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslots: the map from guest frames to host virtual memory.
 *
 * Rules (seeds: slots_arch_lock, MMIO generation; KVM's lock overview):
 *  - An address space's `struct hv_memslots` is reached through
 *    vm->memslots[as_id] by RCU only. A reader holds hv_rcu_read_lock() from the
 *    dereference to the last use of a slot found through it.
 *  - Updates hold slots_lock. slots_arch_lock is held from before the current
 *    memslots are read until the new ones are published, and is dropped before
 *    the grace-period wait, in the function that took it, on every path.
 *  - `generation` is 64 bit, monotonic, per VM, and never shared between address
 *    spaces; HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS (bit 63) is set from before the new
 *    array is published until after the grace period.
 */
#ifndef HV_VM_MEMSLOT_H
#define HV_VM_MEMSLOT_H

#include "hv/vm/types.h"

struct hv_vm;
struct hv_vcpu;
struct hv_memslots;
struct hv_memslot_arch; /* of hv/mmu: lpage info, rmaps, write tracking */
struct hv_dirty_bitmap; /* hv/vm/dirty_bitmap.c: the log of get and clear */
struct hv_dirty_stamps; /* hv/vm/dirty_cursor.c: the log of cursor readers */

#define HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS (1ULL << 63)

/* Flags of a memory region; values are KVM's. */
#define HV_MEM_LOG_DIRTY_PAGES (1U << 0)
#define HV_MEM_READONLY	       (1U << 1)
/*
 * Internal. INVALID: published while a DELETE or MOVE is under way; lookups still
 * find the slot, and whoever found it maps nothing from it and tries again later.
 * LOG_CURSOR: cursor readers want the slot's writes (hv/vm/dirty_cursor.c).
 */
#define HV_MEMSLOT_INVALID    (1U << 16)
#define HV_MEMSLOT_LOG_CURSOR (1U << 17)

enum hv_mr_change { HV_MR_CREATE, HV_MR_DELETE, HV_MR_MOVE, HV_MR_FLAGS_ONLY };

/*
 * One slot. Published slots are immutable but for the fields marked [A]
 * (slots_arch_lock, read under RCU) and [D] (atomics).
 * [I] immutable after publication.
 */
struct hv_memslot {
	hv_gfn_t base_gfn;		/* [I] */
	uint64_t npages;		/* [I] */
	hv_hva_t userspace_addr;	/* [I] page aligned */
	uint32_t flags;			/* [I] HV_MEM_*, HV_MEMSLOT_INVALID */
	uint16_t id;			/* [I] */
	uint16_t as_id;			/* [I] */
	struct hv_memslot_arch *arch;	/* [A] owned by hv/mmu, shared by copies of the slot */
	struct hv_dirty_bitmap *bitmap; /* [D] with HV_MEM_LOG_DIRTY_PAGES, else NULL */
	struct hv_dirty_stamps *stamps; /* [D] with HV_MEMSLOT_LOG_CURSOR, else NULL */
} __attribute__((aligned(64))); /* a cache line */

/* Writes to the slot have to be noticed: by write protection, D bits or PML. */
static inline bool memslot_dirty_logged(const struct hv_memslot *slot)
{
	return slot->flags & (HV_MEM_LOG_DIRTY_PAGES | HV_MEMSLOT_LOG_CURSOR);
}

/* Memory that may be mapped now: not NULL, not being deleted or moved. */
static inline bool memslot_visible(const struct hv_memslot *slot)
{
	return slot && !(slot->flags & HV_MEMSLOT_INVALID);
}

/* ---- lookup: inside an RCU read-side section ------------------------------ */
struct hv_memslots *hv_vm_memslots(struct hv_vm *vm, int as_id);
uint64_t hv_memslots_generation(const struct hv_memslots *slots);
struct hv_memslot *memslot_find(struct hv_memslots *slots, hv_gfn_t gfn); /* O(log n) */
struct hv_memslot *memslot_by_id(struct hv_memslots *slots, int id);	   /* O(1) */
/* The slot of a gfn for a vCPU, through its last-hit cache keyed by generation. */
struct hv_memslot *hv_vcpu_gfn_to_memslot(struct hv_vcpu *vcpu, hv_gfn_t gfn);
/* The same through hv_vm_memslots(vm, 0), without a cache: any thread. NULL: no slot. */
struct hv_memslot *hv_vm_gfn_to_memslot(struct hv_vm *vm, hv_gfn_t gfn);
unsigned int memslots_count(const struct hv_memslots *slots);
/* Iterate in gfn order: first slot whose end is above gfn, then the next. */
struct hv_memslot *memslot_first_from(struct hv_memslots *slots, hv_gfn_t gfn);
struct hv_memslot *memslot_next(struct hv_memslots *slots, const struct hv_memslot *slot);
/* First slot that intersects an hva range (interval tree), then the next. */
struct hv_memslot *memslot_first_hva(struct hv_memslots *slots, hv_hva_t start, hv_hva_t end);
struct hv_memslot *memslot_next_hva(struct hv_memslots *slots, const struct hv_memslot *slot,
				    hv_hva_t start, hv_hva_t end);

static inline hv_hva_t memslot_gfn_to_hva(const struct hv_memslot *slot, hv_gfn_t gfn)
{
	return slot->userspace_addr + ((gfn - slot->base_gfn) << HV_PAGE_SHIFT);
}

/*
 * hva order of memslot_first_hva and memslot_next_hva is by start, then by id;
 * several slots may share host memory, so one hva may meet several slots.
 */

/* ---- update ----------------------------------------------------------------- */
struct hv_memory_region_req {
	uint32_t slot;		/* as_id in bits 16.., slot id in bits 0..15, as KVM's */
	uint32_t flags;		/* HV_MEM_LOG_DIRTY_PAGES | HV_MEM_READONLY */
	hv_gpa_t gpa;		/* page aligned */
	uint64_t size;		/* bytes, page multiple; 0 deletes */
	hv_hva_t userspace_addr;
	uint64_t generation_before;	/* out */
	uint64_t generation_after;	/* out */
};

/*
 * Create, delete, move or change the flags of one memslot. Takes slots_lock;
 * sleeps (grace periods). -EINVAL alignment, flags, slot number, beyond 2^52;
 * -EEXIST overlap; -ENOMEM. A failed call changes nothing.
 */
int memslot_set_region(struct hv_vm *vm, struct hv_memory_region_req *req);
/*
 * Set and clear internal or log flags on every slot of every address space with
 * one publication per address space (cursor logging on and off). slots_lock held.
 * -ENOMEM: nothing has changed.
 */
int memslot_change_flags_all(struct hv_vm *vm, uint32_t set, uint32_t clear);

#endif
