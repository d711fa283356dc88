/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dirty bitmap: KVM's KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG.
 *
 * A bit is cleared before its page is armed, and the TLBs are flushed before
 * the call returns: a write that was not logged again has reached memory by
 * then. Faults set bits with mmu_lock shared, in the section that makes the page
 * writable; clearing and arming is one section with it exclusive.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"

int dirty_bitmap_alloc(struct hv_vm *vm, uint64_t npages, struct hv_dirty_bitmap **out)
{
	struct hv_dirty_bitmap *b = hv_zalloc(sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	r = dirty_map_init(&b->map, npages);
	if (r) {
		hv_free(b);
		return r;
	}
	if (vm->dirty->mode & HV_DIRTY_INITIALLY_ALL_SET)
		dirty_map_fill(&b->map);
	*out = b;
	return 0;
}

void dirty_bitmap_free(struct hv_dirty_bitmap *bitmap)
{
	if (!bitmap)
		return;
	dirty_map_destroy(&bitmap->map);
	hv_free(bitmap);
}

int dirty_bitmap_set_mode(struct hv_vm *vm, uint32_t flags)
{
	if (flags & ~(uint32_t)(HV_DIRTY_MANUAL_PROTECT | HV_DIRTY_INITIALLY_ALL_SET))
		return -EINVAL;
	if ((flags & HV_DIRTY_INITIALLY_ALL_SET) && !(flags & HV_DIRTY_MANUAL_PROTECT))
		return -EINVAL;
	hv_mutex_lock(&vm->slots_lock);
	vm->dirty->mode = flags;
	hv_mutex_unlock(&vm->slots_lock);
	return 0;
}

/* slots_lock held. -EINVAL, -ENOENT. */
static int logged_slot(struct hv_vm *vm, uint32_t slot_id, struct hv_memslot **out)
{
	unsigned int as_id = slot_id >> 16, id = slot_id & 0xffff;
	struct hv_memslot *slot;

	if (as_id >= HV_ADDRESS_SPACE_NUM || id >= HV_MEM_SLOTS_MAX)
		return -EINVAL;
	slot = memslot_by_id(hv_rcu_dereference_protected(vm->memslots[as_id], &vm->slots_lock),
			     (int)id);
	if (!slot || !slot->bitmap)
		return -ENOENT;
	*out = slot;
	return 0;
}

/* Copies what is set to out, whose other words are 0 already; leaves the log as it is. */
static void map_copy(const struct dirty_map *map, uint64_t *out)
{
	uint64_t g;

	for (g = 0; g < dirty_map_groups(map); g++) {
		uint64_t words = __atomic_load_n(&map->summary[g], __ATOMIC_SEQ_CST);

		for (; words; words &= words - 1) {
			uint64_t w = g * 64 + hv_ffs64(words);

			out[w] = __atomic_load_n(&map->word[w], __ATOMIC_SEQ_CST);
		}
	}
}

static bool map_is_clean(const struct dirty_map *map)
{
	uint64_t g;

	for (g = 0; g < dirty_map_groups(map); g++)
		if (__atomic_load_n(&map->summary[g], __ATOMIC_SEQ_CST))
			return false;
	return true;
}

/* Takes what is set and arms it. mmu_lock held for write. Number of pages. */
static uint64_t map_harvest(struct hv_vm *vm, struct hv_memslot *slot, uint64_t *out)
{
	struct dirty_map *map = &slot->bitmap->map;
	uint64_t g, pages = 0;

	for (g = 0; g < dirty_map_groups(map); g++) {
		uint64_t words;

		if (!READ_ONCE(map->summary[g]))
			continue;
		words = hv_xchg(&map->summary[g], 0);
		for (; words; words &= words - 1) {
			uint64_t w = g * 64 + hv_ffs64(words);
			uint64_t mask = hv_xchg(&map->word[w], 0);

			if (!mask)
				continue;
			out[w] = mask;
			pages += hv_popcount64(mask);
			dirty_rearm(vm, slot, w * 64, mask);
		}
		dirty_yield(vm);
	}
	return pages;
}

static int get_locked(struct hv_vm *vm, uint32_t slot_id, uint64_t *bitmap)
{
	struct hv_memslot *slot;
	uint64_t pages;
	int r = logged_slot(vm, slot_id, &slot);

	if (r)
		return r;
	vm->mmu_ops->dirty_log_sync(vm);
	memset(bitmap, 0, hv_bitmap_bytes(slot->npages));
	if (vm->dirty->mode & HV_DIRTY_MANUAL_PROTECT) {
		map_copy(&slot->bitmap->map, bitmap);
		return 0;
	}
	if (map_is_clean(&slot->bitmap->map))
		return 0;
	hv_write_lock(&vm->mmu_lock);
	pages = map_harvest(vm, slot, bitmap);
	hv_write_unlock(&vm->mmu_lock);
	if (pages)
		vm_flush_remote_tlbs(vm);
	hv_trace(dirty_log_get, (uintptr_t)vm, slot_id, pages);
	return 0;
}

int dirty_bitmap_get(struct hv_vm *vm, uint32_t slot, uint64_t *bitmap)
{
	int r;

	hv_mutex_lock(&vm->slots_lock);
	r = get_locked(vm, slot, bitmap);
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

/*
 * Clear bits of one word; returns those that were set. The summary bit goes first
 * and comes back if the word is not empty: a setter that found it set has set its
 * bit before, which is then seen here. (No harvest looks between: slots_lock.)
 */
static uint64_t map_clear_word(struct dirty_map *map, uint64_t w, uint64_t mask)
{
	uint64_t bit = HV_BIT(w % 64), old;

	if (!(__atomic_load_n(&map->word[w], __ATOMIC_SEQ_CST) & mask))
		return 0;
	hv_fetch_and(&map->summary[w / 64], ~bit);
	old = hv_fetch_and(&map->word[w], ~mask);
	if (old & ~mask)
		hv_fetch_or(&map->summary[w / 64], bit);
	return old & mask;
}

static int clear_locked(struct hv_vm *vm, uint32_t slot_id, uint64_t first, uint64_t count,
			const uint64_t *bitmap)
{
	struct hv_memslot *slot;
	uint64_t n, cleared = 0;
	int r = logged_slot(vm, slot_id, &slot);

	if (r)
		return r;
	if (first % 64 || first > slot->npages || count > slot->npages - first ||
	    (count % 64 && count != slot->npages - first))
		return -EINVAL;
	vm->mmu_ops->dirty_log_sync(vm);
	hv_write_lock(&vm->mmu_lock);
	for (n = 0; n < count; n += 64) {
		uint64_t mask = bitmap[n / 64];

		if (!mask)
			continue;
		mask = map_clear_word(&slot->bitmap->map, (first + n) / 64, mask);
		if (!mask)
			continue;
		cleared += hv_popcount64(mask);
		dirty_rearm(vm, slot, first + n, mask);
		dirty_yield(vm);
	}
	hv_write_unlock(&vm->mmu_lock);
	if (cleared)
		vm_flush_remote_tlbs(vm);
	hv_trace(dirty_log_clear, (uintptr_t)vm, slot_id, first, cleared);
	return 0;
}

int dirty_bitmap_clear(struct hv_vm *vm, uint32_t slot, uint64_t first, uint64_t count,
		       const uint64_t *bitmap)
{
	int r;

	hv_mutex_lock(&vm->slots_lock);
	r = clear_locked(vm, slot, first, count, bitmap);
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}
