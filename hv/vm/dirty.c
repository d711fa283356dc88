/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dirty log's choke point, the two-level bitmap that its readers share, and
 * the log's part of a memslot update.
 */
#include "hv/vm/dirty_internal.h"

#include <errno.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"

/* ---- two-level bitmap ------------------------------------------------------------------ */

int dirty_map_init(struct dirty_map *map, uint64_t npages)
{
	size_t words = hv_bitmap_words(npages);

	map->npages = npages;
	map->word = hv_calloc(words, sizeof(*map->word));
	map->summary = hv_calloc(hv_bitmap_words(words), sizeof(*map->summary));
	if (map->word && map->summary)
		return 0;
	dirty_map_destroy(map);
	return -ENOMEM;
}

void dirty_map_destroy(struct dirty_map *map)
{
	hv_free(map->word);
	hv_free(map->summary);
	map->word = NULL;
	map->summary = NULL;
}

/* A word of bits that are set once and then mostly found set: load before writing. */
static void set_bit_seq(uint64_t *map, uint64_t n)
{
	if (!(__atomic_load_n(&map[n / 64], __ATOMIC_SEQ_CST) & HV_BIT(n % 64)))
		__atomic_fetch_or(&map[n / 64], HV_BIT(n % 64), __ATOMIC_SEQ_CST);
}

/* The summary is looked at each time: another setter of the word may not have got there yet. */
void dirty_map_set(struct dirty_map *map, uint64_t page)
{
	set_bit_seq(map->word, page);
	set_bit_seq(map->summary, page / 64);
}

bool dirty_map_test(const struct dirty_map *map, uint64_t page)
{
	return hv_bitmap_test(map->word, page);
}

void dirty_map_fill(struct dirty_map *map)
{
	hv_bitmap_set_range(map->word, 0, map->npages);
	hv_bitmap_set_range(map->summary, 0, hv_bitmap_words(map->npages));
}

/* ---- the VM's part ------------------------------------------------------------------------ */

int dirty_vm_create(struct hv_vm *vm)
{
	vm->dirty = hv_zalloc(sizeof(*vm->dirty));
	if (!vm->dirty)
		return -ENOMEM;
	/*
	 * Cursor 0 means all pages. A guest may go on in another VM of this host: cursors that
	 * the first gave are older than any of the second's, as readings take longer than this.
	 */
	atomic_init(&vm->dirty->epoch, hv_clock_realtime_ns() / 1000 + 1);
	return 0;
}

void dirty_vm_destroy(struct hv_vm *vm)
{
	hv_free(vm->dirty);
	vm->dirty = NULL;
}

/* ---- slots --------------------------------------------------------------------------------- */

static bool wants_bitmap(const struct hv_memslot *slot)
{
	return slot->flags & HV_MEM_LOG_DIRTY_PAGES;
}

static bool wants_stamps(const struct hv_memslot *slot)
{
	return slot->flags & HV_MEMSLOT_LOG_CURSOR;
}

bool memslot_log_must_arm(struct hv_vm *vm, const struct hv_memslot *old,
			  const struct hv_memslot *new)
{
	bool all_set = (vm->dirty->mode & HV_DIRTY_INITIALLY_ALL_SET) && !vm->dirty->ring_entries;

	hv_assert_held(&vm->slots_lock);
	if (!old || !new)
		return false; /* nothing is mapped from a slot that has just come, or is gone */
	if (wants_stamps(new) && !wants_stamps(old))
		return true;
	return wants_bitmap(new) && !wants_bitmap(old) && !all_set;
}

int dirty_slot_prepare(struct hv_vm *vm, const struct hv_memslot *old, struct hv_memslot *new,
		       enum hv_mr_change change)
{
	int r;

	hv_assert_held(&vm->slots_lock);
	new->bitmap = NULL;
	new->stamps = NULL;
	if (wants_bitmap(new)) {
		new->bitmap = old ? old->bitmap : NULL;
		r = new->bitmap ? 0 : dirty_bitmap_alloc(vm, new->npages, &new->bitmap);
		if (r)
			return r;
	}
	if (wants_stamps(new)) {
		/* A moved slot's pages are news at their new place: fresh stamps. */
		new->stamps = old && change != HV_MR_MOVE ? old->stamps : NULL;
		r = new->stamps ? 0 : dirty_stamps_alloc(vm, new->npages, change, &new->stamps);
		if (r) {
			dirty_slot_free(new, old);
			new->bitmap = NULL;
			return r;
		}
	}
	return 0;
}

void dirty_slot_free(const struct hv_memslot *slot, const struct hv_memslot *keep)
{
	if (slot->bitmap && (!keep || keep->bitmap != slot->bitmap))
		dirty_bitmap_free(slot->bitmap);
	if (slot->stamps && (!keep || keep->stamps != slot->stamps))
		dirty_stamps_free(slot->stamps);
}

/* ---- the choke point ------------------------------------------------------------------------- */

void vm_mark_page_dirty(struct hv_vm *vm, struct hv_vcpu *vcpu, struct hv_memslot *slot,
			hv_gfn_t gfn)
{
	uint64_t page = gfn - slot->base_gfn;

	HV_DEBUG_BUG_ON(page >= slot->npages);
	/* Without a ring, or with one that cannot take it, the bitmap keeps the page. */
	if (slot->bitmap && !(vcpu && dirty_ring_push(vcpu, slot, page)))
		dirty_map_set(&slot->bitmap->map, page);
	if (slot->stamps)
		dirty_stamps_mark(vm, vcpu, slot->stamps, page);
}

void dirty_rearm(struct hv_vm *vm, struct hv_memslot *slot, uint64_t first_page, uint64_t mask)
{
	hv_assert_held_write(&vm->mmu_lock);
	vm->mmu_ops->dirty_log_rearm(vm, slot, slot->base_gfn + first_page, mask);
}
