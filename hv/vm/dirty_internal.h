/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of the dirty log, shared by dirty*.c, vm.c and memslot_update.c.
 */
#ifndef HV_VM_DIRTY_INTERNAL_H
#define HV_VM_DIRTY_INTERNAL_H

#include <stdatomic.h>

#include "hv/base/bitmap.h"
#include "hv/vm/dirty.h"
#include "hv/vm/memslot_internal.h"

/*
 * A bitmap with a summary: bit w of the summary is set when word w may be
 * non-zero. Setting: the word first, then the summary bit if it is not set;
 * harvesting: the summary word is taken, then the words it names. Both sides are
 * sequentially consistent, so a bit that was set before a harvest began is found by it.
 */
struct dirty_map {
	uint64_t npages;
	uint64_t *word;	   /* [a] npages bits */
	uint64_t *summary; /* [a] one bit per word */
};

int dirty_map_init(struct dirty_map *map, uint64_t npages); /* -ENOMEM */
void dirty_map_destroy(struct dirty_map *map);
void dirty_map_set(struct dirty_map *map, uint64_t page);
bool dirty_map_test(const struct dirty_map *map, uint64_t page);
/* All pages at once, before the map is published. */
void dirty_map_fill(struct dirty_map *map);
static inline uint64_t dirty_map_groups(const struct dirty_map *map)
{
	return hv_bitmap_words(hv_bitmap_words(map->npages));
}

struct hv_dirty_bitmap {
	struct dirty_map map;
};

/*
 * Stamps of one slot: the epoch of each page's last write, and two levels of
 * maxima over 64 and over 4096 pages, so that a reader skips what is clean.
 * `open` has the pages that may be written without a fault: armed by the next
 * harvest. Every page counts as written in epoch all_since.
 */
struct hv_dirty_stamps {
	uint64_t npages;
	uint64_t all_since;	  /* [I] */
	_Atomic uint64_t *page;	  /* [a] */
	_Atomic uint64_t *chunk;  /* [a] 64 pages each */
	_Atomic uint64_t *region; /* [a] 4096 pages each */
	struct dirty_map open;
};

struct hv_dirty_vm {
	uint32_t mode;		    /* [S] HV_DIRTY_* */
	uint32_t ring_entries;	    /* [V] to set, before the first vCPU; 0: no rings */
	unsigned int cursor_users;  /* [S] starts without a stop */
	uint64_t start_epoch;	    /* [S] of the first of them: older cursors are stale */
	_Atomic uint64_t epoch;	    /* [S] to advance; see dirty_cursor.c */
};

int dirty_vm_create(struct hv_vm *vm);
void dirty_vm_destroy(struct hv_vm *vm);

/* ---- slots: slots_lock held ------------------------------------------------------------- */
/*
 * What `new` needs for its flags: shared with old where old has it, else fresh. Writes
 * new->bitmap and new->stamps. -ENOMEM: nothing is left. Pages of a created or moved slot
 * count as written now, so that every cursor reader sees them once.
 */
int dirty_slot_prepare(struct hv_vm *vm, const struct hv_memslot *old, struct hv_memslot *new,
		       enum hv_mr_change change);
/* Free what `slot` has and `keep` (may be NULL) has not. No reader is left. */
void dirty_slot_free(const struct hv_memslot *slot, const struct hv_memslot *keep);

/* ---- dirty_bitmap.c, dirty_cursor.c ------------------------------------------------------- */
int dirty_bitmap_alloc(struct hv_vm *vm, uint64_t npages, struct hv_dirty_bitmap **out);
void dirty_bitmap_free(struct hv_dirty_bitmap *bitmap);
int dirty_stamps_alloc(struct hv_vm *vm, uint64_t npages, enum hv_mr_change change,
		       struct hv_dirty_stamps **out);
void dirty_stamps_free(struct hv_dirty_stamps *stamps);
void dirty_stamps_mark(struct hv_vm *vm, struct hv_vcpu *vcpu, struct hv_dirty_stamps *stamps,
		       uint64_t page);

/* ---- dirty_ring.c ---------------------------------------------------------------------------- */
int dirty_ring_vcpu_create(struct hv_vcpu *vcpu); /* 0 without rings */
void dirty_ring_vcpu_destroy(struct hv_vcpu *vcpu);
/* False: the ring is full to the last entry, or there is none. Own thread. */
bool dirty_ring_push(struct hv_vcpu *vcpu, const struct hv_memslot *slot, uint64_t page);

/* ---- dirty.c: the one way to arm, mmu_lock held for write ---------------------------------------- */
void dirty_rearm(struct hv_vm *vm, struct hv_memslot *slot, uint64_t first_page, uint64_t mask);
/*
 * Let faults and notifiers in, who wait for mmu_lock. Between two words: a word is taken
 * and armed in one section. slots_lock, which is held, keeps the slots.
 */
static inline void dirty_yield(struct hv_vm *vm)
{
	hv_cond_resched_rwlock_write(&vm->mmu_lock);
}

#endif
