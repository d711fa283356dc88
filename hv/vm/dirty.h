/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dirty log: one choke point (vm_mark_page_dirty in vm.h), three readers.
 *
 *  - bitmap (dirty_bitmap.c): KVM's get and clear, for slots with
 *    HV_MEM_LOG_DIRTY_PAGES; one consumer per slot.
 *  - ring (dirty_ring.c): KVM's ring of struct hv_dirty_gfn per vCPU.
 *  - cursors (dirty_cursor.c): any number of readers. A page carries the epoch of
 *    its last write; a reader asks for what was written since an epoch, so no
 *    reader takes anything from another one.
 *
 * All three may be in use on one slot: arming a frame again for one reader only
 * makes the next write visible to all. Readers serialise on slots_lock.
 */
#ifndef HV_VM_DIRTY_H
#define HV_VM_DIRTY_H

#include "hv/vm/vm.h"

struct hv_dirty_gfn;   /* hv/hv.h */
struct hv_dirty_range; /* hv/hv.h; HV_DIRTY_* and HV_DIRTYLOG_DONE too */

/*
 * Whether slot_commit has to arm the frames of `new`: writes are wanted that were not
 * wanted before. False for a bitmap that starts with all bits set (nothing to learn
 * before the first clear). old may be NULL. slots_lock held.
 */
bool memslot_log_must_arm(struct hv_vm *vm, const struct hv_memslot *old,
			  const struct hv_memslot *new);

/* ---- bitmap ----------------------------------------------------------------------- */
/* flags: HV_DIRTY_*; 0 turns both off. -EINVAL. Takes slots_lock. */
int dirty_bitmap_set_mode(struct hv_vm *vm, uint32_t flags);
/*
 * Copy the log of a slot (as_id in bits 16.., id below) to bitmap, npages bits in
 * words of 64. Unless manual protection is on, clear and arm what was reported.
 * -EINVAL: no such slot number; -ENOENT: no such slot, or it is not logged.
 */
int dirty_bitmap_get(struct hv_vm *vm, uint32_t slot, uint64_t *bitmap);
/*
 * Clear and arm the pages whose bits are set: bit n of the bitmap is page first + n.
 * -EINVAL: first not a multiple of 64, count neither a multiple of 64 nor up to the
 * end of the slot, or beyond it; -ENOENT.
 */
int dirty_bitmap_clear(struct hv_vm *vm, uint32_t slot, uint64_t first, uint64_t count,
		       const uint64_t *bitmap);

/* ---- ring --------------------------------------------------------------------------- */
#define HV_DIRTY_RING_MIN_ENTRIES 1024
#define HV_DIRTY_RING_MAX_ENTRIES 65536
/* Entries kept free for writes between the soft limit and the exit (PML: 512, and some). */
#define HV_DIRTY_RING_RESERVED	  576

/* Before the first vCPU. -EINVAL: not a power of two in range, or vCPUs exist, or set before. */
int dirty_ring_enable(struct hv_vm *vm, uint32_t entries);
/* The ring's memory as its user sees it; -ENOENT: no ring. */
int dirty_ring_map(struct hv_vcpu *vcpu, struct hv_dirty_gfn **ring, uint32_t *entries);
/* Arm what users have harvested; number of entries. Takes slots_lock. -ENOENT: no rings. */
int dirty_ring_reset_all(struct hv_vm *vm);
/*
 * Before each guest entry, own thread: true if the ring is at its soft limit; the run
 * page then says HV_EXIT_DIRTY_RING_FULL, and the vCPU must not enter until a reset.
 */
bool dirty_ring_check_full(struct hv_vcpu *vcpu);

/* ---- cursors -------------------------------------------------------------------------- */
/* Counted. *cursor: pass it as `since` to get what was written from now on. -ENOMEM. */
int dirty_cursor_start(struct hv_vm *vm, uint64_t *cursor);
int dirty_cursor_stop(struct hv_vm *vm); /* -EINVAL: not started */
/*
 * Pages written since `since` (0: all pages) in gpa order of address space 0, from
 * *resume_gpa on. The first call of a read has *resume_gpa 0 and writes *cursor; go on
 * with both as they were returned until *resume_gpa is HV_DIRTYLOG_DONE. Number of
 * ranges; -ESTALE: `since` is from before logging (re)started; -EINVAL: not logging, a
 * cursor from the future, max 0.
 */
int dirty_cursor_read(struct hv_vm *vm, uint64_t since, uint64_t *cursor, uint64_t *resume_gpa,
		      struct hv_dirty_range *out, unsigned int max);
/* Arm the pages again now. -EINVAL: unaligned, wraps, or not logging. */
int dirty_cursor_clear(struct hv_vm *vm, hv_gpa_t gpa, uint64_t pages);

/* Pages written within `ms` milliseconds, as MiB/s; sleeps. per_vcpu has room for max. */
int dirty_rate_measure(struct hv_vm *vm, unsigned int ms, double *total, double *per_vcpu,
		       unsigned int max);

#endif
