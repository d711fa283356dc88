/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pre-order walk over direct tables. See tdp_iter.h.
 */
#include "hv/mmu/tdp_iter.h"

static void iter_at(struct tdp_iter *it, hv_gfn_t gfn, int level)
{
	it->level = level;
	it->gfn = mmu_gfn_round(gfn, level);
	it->sptep = &it->table[level][mmu_index(gfn, level)];
	it->old = spte_load(it->sptep);
}

/* Frames above what the root spans are outside every walk. */
static bool iter_in_root(const struct tdp_iter *it, hv_gfn_t gfn)
{
	return gfn < HV_PAGES_PER_LEVEL(it->root_level + 1);
}

void tdp_iter_start(struct tdp_iter *it, struct mmu_page *root, int min_level, hv_gfn_t gfn)
{
	int level = (int)mmu_page_role(root).level;

	*it = (struct tdp_iter){
		.root = root, .next_gfn = gfn, .yield_gfn = gfn, .root_level = level, .min_level = min_level,
	};
	it->valid = iter_in_root(it, gfn);
	if (!it->valid)
		return;
	it->table[level] = root->spt;
	iter_at(it, gfn, level);
}

void tdp_iter_reread(struct tdp_iter *it)
{
	it->old = spte_load(it->sptep);
}

void tdp_iter_next(struct tdp_iter *it)
{
	if (it->yielded) {
		it->yielded = false;
		iter_at(it, it->next_gfn, it->root_level);
		return;
	}
	tdp_iter_reread(it);
	if (it->level > it->min_level && spte_is_table(it->old, it->level)) {
		/* next_gfn, not gfn: the start of the range may lie inside this entry. */
		it->table[it->level - 1] = (uint64_t *)(uintptr_t)(it->old & SPTE_FRAME);
		iter_at(it, hv_max(it->next_gfn, it->gfn), it->level - 1);
		return;
	}
	it->next_gfn = it->gfn + HV_PAGES_PER_LEVEL(it->level);
	if (!iter_in_root(it, it->next_gfn)) {
		it->valid = false;
		return;
	}
	/* Up as long as this was the last entry of its table. */
	while (mmu_index(it->next_gfn, it->level) == 0 && it->level < it->root_level)
		it->level++;
	iter_at(it, it->next_gfn, it->level);
}

bool tdp_iter_yield(struct tdp_iter *it, struct mmu_ctx *ctx)
{
	struct hv_rwlock *lock = &ctx->vm->mmu_lock;

	if (it->steps < TDP_YIELD_STEPS || it->next_gfn == it->yield_gfn) {
		it->steps++;
		return false;
	}
	if (hv_likely(!hv_rwlock_is_contended(lock) && !hv_work_should_yield()))
		return false;
	mmu_ctx_finish(ctx);
	hv_rcu_read_unlock();
	if (ctx->shared)
		hv_cond_resched_rwlock_read(lock);
	else
		hv_cond_resched_rwlock_write(lock);
	hv_rcu_read_lock();
	it->yield_gfn = it->next_gfn;
	it->steps = 0;
	it->yielded = true;
	return true;
}
