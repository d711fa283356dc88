/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TDP MMU's fault side: building tables down to a leaf while other vCPUs do
 * the same, under shared mmu_lock. Whoever loses a cmpxchg returns HV_PF_RETRY
 * and the guest tries again.
 */
#include "hv/mmu/tdp_mmu.h"

#include <errno.h>

#include "hv/mmu/fault.h"

static struct mmu_page *new_table(struct mmu_ctx *ctx, struct mmu_page *root,
				  struct mmu_page_cache *cache, hv_gfn_t gfn, int level)
{
	struct mmu_page *sp = mmu_cache_take(cache);
	union mmu_role role = { .word = 0 };

	role.level = (unsigned int)level & 7;
	role.direct = 1;
	role.as_id = mmu_page_role(root).as_id;
	role.ad_disabled = !ctx->mmu->ad_enabled;
	sp->role = role;
	sp->gfn = mmu_gfn_round(gfn, level + 1);
	return sp;
}

/* Hang an empty table under it. False: the entry has changed meanwhile. */
static bool link_table(struct mmu_ctx *ctx, struct tdp_iter *it, struct mmu_page_cache *cache)
{
	struct mmu_page *sp = new_table(ctx, it->root, cache, it->gfn, it->level - 1);

	if (tdp_set_atomic(ctx, it, spte_make_table(ctx->fmt, sp->spt, ctx->mmu->ad_enabled))) {
		mmu_cache_return(cache, sp);
		return false;
	}
	mmu_count(ctx->cnt, tables, 1);
	return true;
}

int tdp_split(struct mmu_ctx *ctx, struct tdp_iter *it, struct mmu_page_cache *cache,
	      bool may_execute)
{
	int child_level = it->level - 1;
	struct mmu_page *sp;
	uint64_t huge;
	unsigned int i;

	if (!cache->count)
		return -ENOMEM;
	sp = new_table(ctx, it->root, cache, it->gfn, child_level);
	sp->nx_disallowed = may_execute;
	/*
	 * The processor may set A or D, or a fast fault W, after the children were made:
	 * then the cmpxchg fails and they are made again, so no such bit is lost.
	 */
	do {
		huge = it->old;
		if (!spte_present(huge) || !spte_is_leaf(huge, it->level)) {
			memset(sp->spt, 0, HV_PAGE_SIZE);
			mmu_cache_return(cache, sp);
			return -EBUSY;
		}
		for (i = 0; i < MMU_ENTRIES; i++)
			__atomic_store_n(&sp->spt[i],
					 spte_split_child(ctx->fmt, huge, child_level, i,
							  may_execute &&
								  child_level == HV_PG_LEVEL_4K),
					 __ATOMIC_RELAXED);
	} while (tdp_set_atomic(ctx, it,
				spte_make_table(ctx->fmt, sp->spt, ctx->mmu->ad_enabled)));
	mmu_count(ctx->cnt, tables, 1);
	mmu_count(ctx->cnt, leaves[child_level], MMU_ENTRIES);
	mmu_count(ctx->cnt, splits, 1);
	return 0;
}

static void map_mmio(struct mmu_ctx *ctx, struct mmu_fault *fault, struct tdp_iter *it)
{
	if (spte_present(it->old))
		return; /* from before the slot went away: its zap is under way */
	tdp_set_atomic(ctx, it, spte_make_mmio(ctx->fmt, fault->gfn, ACC_ALL, fault->generation));
}

static int map_leaf(struct mmu_ctx *ctx, struct mmu_fault *fault, struct tdp_iter *it)
{
	uint64_t spte;

	if (spte_present(it->old) && spte_permits(ctx->fmt, it->old, fault->access, false))
		return HV_PF_SPURIOUS;
	spte = mmu_fault_make_spte(ctx->mmu, fault, it->level, ACC_ALL, true);
	if (spte == it->old)
		return HV_PF_SPURIOUS;
	/* Never take from an entry what somebody else has just given it. */
	if (spte_present(it->old) && spte_pfn(it->old) == spte_pfn(spte))
		spte |= it->old & (ctx->fmt->accessed | (spte_writable(spte) ? ctx->fmt->dirty : 0));
	if (tdp_set_atomic(ctx, it, spte))
		return HV_PF_RETRY;
	if (spte_writable(spte) && fault->write && mmu_slot_logged(fault->slot))
		vm_mark_page_dirty(ctx->vm, ctx->vcpu, fault->slot, fault->gfn);
	return HV_PF_FIXED;
}

/* The iterator's fields for one frame, without a walk that can turn. */
static void at(struct tdp_iter *it, uint64_t *table, hv_gfn_t gfn, int level)
{
	it->level = level;
	it->gfn = mmu_gfn_round(gfn, level);
	it->sptep = &table[mmu_index(gfn, level)];
	it->old = spte_load(it->sptep);
}

/* What to do with a huge leaf above the level that the fault is to be mapped at. */
static int split_for_fault(struct mmu_ctx *ctx, struct mmu_fault *fault, struct tdp_iter *it)
{
	bool for_exec = fault->nx && fault->exec;

	if (!for_exec && spte_permits(ctx->fmt, it->old, fault->access, false))
		return HV_PF_SPURIOUS;
	if (tdp_split(ctx, it, &ctx->vcpu->mmu->cache, for_exec))
		return HV_PF_RETRY;
	mmu_count(ctx->cnt, nx_splits, for_exec);
	return HV_PF_FIXED;
}

int tdp_map(struct mmu_ctx *ctx, struct mmu_fault *fault)
{
	struct hv_mmu_vcpu *mv = ctx->vcpu->mmu;
	int goal = fault->slot ? mmu_fault_goal_level(ctx->mmu, fault) : HV_PG_LEVEL_4K;
	struct tdp_iter it = { .root = mv->root, .root_level = ctx->mmu->root_level };
	int r;

	for (at(&it, mv->root->spt, fault->gfn, it.root_level);; ) {
		if (spte_is_frozen(it.old))
			return HV_PF_RETRY;
		if (spte_is_table(it.old, it.level)) {
			/* A table where a huge leaf would do stays until it is collapsed. */
			at(&it, (uint64_t *)(uintptr_t)(it.old & SPTE_FRAME), fault->gfn,
			   it.level - 1);
			continue;
		}
		if (it.level <= goal)
			break;
		if (spte_present(it.old)) {
			r = split_for_fault(ctx, fault, &it);
			if (r != HV_PF_FIXED)
				return r;
		} else if (!link_table(ctx, &it, &mv->cache)) {
			return HV_PF_RETRY;
		}
	}
	if (fault->slot)
		return map_leaf(ctx, fault, &it);
	map_mmio(ctx, fault, &it);
	return HV_PF_EMULATE;
}

uint64_t *tdp_lookup(struct mmu_page *root, hv_gfn_t gfn, int *level, uint64_t *spte)
{
	struct tdp_iter it;

	*level = (int)mmu_page_role(root).level;
	*spte = 0;
	if (gfn >= HV_PAGES_PER_LEVEL(*level + 1))
		return NULL;
	for (at(&it, root->spt, gfn, *level); spte_is_table(it.old, it.level);)
		at(&it, (uint64_t *)(uintptr_t)(it.old & SPTE_FRAME), gfn, it.level - 1);
	*level = it.level;
	*spte = it.old;
	return it.sptep;
}
