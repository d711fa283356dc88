/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Per-slot data of the MMU. See slot_arch.h.
 */
#include "hv/mmu/slot_arch.h"

#include <errno.h>

#include "hv/mmu/fault.h"

static uint64_t slot_nr_blocks(const struct hv_memslot *slot, int level)
{
	return slot_block(slot, slot->base_gfn + slot->npages - 1, level) + 1;
}

/* Frames and host pages must be congruent for any huge leaf of the level. */
static bool slot_aligned_for(const struct hv_memslot *slot, int level)
{
	uint64_t mask = HV_PAGES_PER_LEVEL(level) - 1;

	return ((slot->base_gfn ^ (slot->userspace_addr >> HV_PAGE_SHIFT)) & mask) == 0;
}

int slot_arch_create(const struct hv_memslot *slot, struct hv_memslot_arch **out)
{
	struct hv_memslot_arch *arch = hv_zalloc(sizeof(*arch));
	int i;

	if (!arch)
		return -ENOMEM;
	for (i = 0; i < SLOT_HUGE_LEVELS; i++) {
		int level = HV_PG_LEVEL_2M + i;
		uint64_t n = slot_nr_blocks(slot, level), mask = HV_PAGES_PER_LEVEL(level) - 1;

		if (!slot_aligned_for(slot, level))
			continue;
		arch->disallow[i] = hv_calloc(n, sizeof(*arch->disallow[i]));
		if (!arch->disallow[i]) {
			slot_arch_free(arch);
			return -ENOMEM;
		}
		arch->blocks[i] = n;
		/* Blocks that reach beyond the slot's ends. */
		if (slot->base_gfn & mask)
			arch->disallow[i][0]++;
		if ((slot->base_gfn + slot->npages) & mask)
			arch->disallow[i][n - 1]++;
	}
	*out = arch;
	return 0;
}

void slot_arch_free(struct hv_memslot_arch *arch)
{
	int i;

	if (!arch)
		return;
	for (i = 0; i < SLOT_HUGE_LEVELS; i++)
		hv_free(arch->disallow[i]);
	for (i = 0; i <= SLOT_HUGE_LEVELS; i++)
		hv_free(arch->rmap[i]);
	hv_free(arch->write_track);
	hv_free(arch);
}

bool slot_huge_ok(const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	struct hv_memslot_arch *arch = slot->arch;
	uint64_t block;

	if (level == HV_PG_LEVEL_4K)
		return true;
	if (level > HV_PG_LEVEL_1G || !arch->disallow[level - HV_PG_LEVEL_2M])
		return false;
	block = slot_block(slot, gfn, level);
	return block < arch->blocks[level - HV_PG_LEVEL_2M] &&
	       !__atomic_load_n(&arch->disallow[level - HV_PG_LEVEL_2M][block], __ATOMIC_RELAXED);
}

void slot_huge_disallow(const struct hv_memslot *slot, hv_gfn_t gfn, int delta)
{
	struct hv_memslot_arch *arch = slot->arch;
	int i;

	for (i = 0; i < SLOT_HUGE_LEVELS; i++)
		if (arch->disallow[i])
			__atomic_fetch_add(&arch->disallow[i][slot_block(slot, gfn,
									 HV_PG_LEVEL_2M + i)],
					   (uint32_t)delta, __ATOMIC_RELAXED);
}

int slot_arch_alloc_rmaps(const struct hv_memslot *slot)
{
	struct hv_memslot_arch *arch = slot->arch;
	int i;

	for (i = 0; i <= SLOT_HUGE_LEVELS; i++) {
		uint64_t n = slot_nr_blocks(slot, HV_PG_LEVEL_4K + i);

		if (arch->rmap[i])
			continue; /* never twice: others may hold heads already */
		arch->rmap[i] = hv_calloc(n, sizeof(*arch->rmap[i]));
		if (!arch->rmap[i])
			return -ENOMEM; /* what is there stays with the slot, and is used next time */
	}
	if (!arch->write_track)
		arch->write_track = hv_calloc(slot->npages, sizeof(*arch->write_track));
	return arch->write_track ? 0 : -ENOMEM;
}
