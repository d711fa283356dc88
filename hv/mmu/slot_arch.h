/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MMU's part of a memslot: where huge pages are forbidden; under shadow
 * paging, reverse maps and write tracking. Copies of a slot share it.
 */
#ifndef HV_MMU_SLOT_ARCH_H
#define HV_MMU_SLOT_ARCH_H

#include "hv/mmu/mmu_internal.h"

#define SLOT_HUGE_LEVELS 2 /* 2M and 1G */

struct hv_memslot_arch {
	/*
	 * Reasons against a huge leaf, per block that the slot touches: [0] 2M, [1] 1G.
	 * NULL where alignment forbids all of the level. [M], read atomically.
	 */
	uint32_t *disallow[SLOT_HUGE_LEVELS]; /* [I] the arrays */
	uint64_t blocks[SLOT_HUGE_LEVELS];    /* [I] */
	/* Shadow paging. Allocated once, by whoever sets them under slots_arch_lock. */
	struct mmu_rmap_head *rmap[SLOT_HUGE_LEVELS + 1]; /* [A] pointer; heads [M] */
	uint16_t *write_track;			      /* [A] pointer; counts [M] */
};

int slot_arch_create(const struct hv_memslot *slot, struct hv_memslot_arch **out);
void slot_arch_free(struct hv_memslot_arch *arch);
/* Forbid (+1) or permit again (-1) huge leaves over gfn. mmu_lock held exclusively. */
void slot_huge_disallow(const struct hv_memslot *slot, hv_gfn_t gfn, int delta);
/* Rmaps and tracking counts, unless there are some. slots_arch_lock held. -ENOMEM. */
int slot_arch_alloc_rmaps(const struct hv_memslot *slot);

static inline uint64_t slot_block(const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	return (gfn >> ((level - 1) * 9)) - (slot->base_gfn >> ((level - 1) * 9));
}

#endif
