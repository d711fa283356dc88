/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pre-order walk over the entries of a direct table tree, within a range of
 * guest frames. It reads; changes go through tdp_mmu.h.
 *
 * The caller is in an RCU read-side section and holds mmu_lock of some kind.
 * tdp_iter_yield() drops both where somebody waits; the next step then starts
 * from the root at the same frame, since any table below may be gone.
 *
 *	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
 *		if (tdp_iter_yield(&it, ctx))
 *			continue;
 *		if (spte_is_table(it.old, it.level))
 *			continue;		// into it
 *		...
 *	}
 */
#ifndef HV_MMU_TDP_ITER_H
#define HV_MMU_TDP_ITER_H

#include "hv/mmu/mmu_internal.h"

#define TDP_YIELD_STEPS 64

struct tdp_iter {
	struct mmu_page *root;
	uint64_t *table[MMU_MAX_LEVELS + 1]; /* table[level]: the one we are in */
	uint64_t *sptep;
	uint64_t old;	     /* what *sptep was */
	hv_gfn_t gfn;	     /* first frame of the entry, rounded to its level */
	hv_gfn_t next_gfn;   /* where to go on: frames below have been visited */
	int level;	     /* of the entry: a leaf here maps HV_PAGES_PER_LEVEL(level) */
	int root_level;
	int min_level;
	hv_gfn_t yield_gfn;  /* next_gfn at the last yield: no second one without progress */
	unsigned int steps;  /* entries since then */
	bool valid;
	bool yielded;
};

void tdp_iter_start(struct tdp_iter *it, struct mmu_page *root, int min_level, hv_gfn_t gfn);
/* One step: into the entry's table if it has one and is above min_level, else on. */
void tdp_iter_next(struct tdp_iter *it);
/* Read the entry again, after a cmpxchg on it failed or changed it. */
void tdp_iter_reread(struct tdp_iter *it);

/*
 * Let others at mmu_lock, if they wait and TDP_YIELD_STEPS entries have been visited: a
 * yield may cost a flush of all TLBs, and under steady faults somebody always waits. What
 * the update owes (flush, tables) is settled first. The root needs a reference of its own
 * where mmu_lock is dropped.
 */
bool tdp_iter_yield(struct tdp_iter *it, struct mmu_ctx *ctx);

#define tdp_for_each(it, root_, min_level_, start_, end_)                                          \
	for (tdp_iter_start((it), (root_), (min_level_), (start_));                                \
	     (it)->valid && (it)->next_gfn < (end_); tdp_iter_next(it))

#endif
