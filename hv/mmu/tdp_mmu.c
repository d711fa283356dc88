/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing and removing entries of direct tables. See tdp_mmu.h for the rules.
 */
#include "hv/mmu/tdp_mmu.h"

#include <errno.h>

/*
 * A D bit that goes away with its entry has to reach the log, where D bits are
 * the log (with PML the processor has logged the page when it set the bit).
 */
static void log_lost_dirty(struct mmu_ctx *ctx, unsigned int as_id, hv_gfn_t gfn, uint64_t old,
			   int level)
{
	struct hv_memslot *slot;
	hv_gfn_t end;

	if (ctx->mmu->dirty_mode != HV_MMU_DIRTY_DBIT || !spte_writable(old) ||
	    !spte_dirty(ctx->fmt, old) || !atomic_load(&ctx->mmu->logged_slots[as_id]))
		return;
	for (end = gfn + HV_PAGES_PER_LEVEL(level); gfn < end; gfn++) {
		slot = memslot_find(hv_vm_memslots(ctx->vm, (int)as_id), gfn);
		if (mmu_slot_logged(slot))
			vm_mark_page_dirty(ctx->vm, ctx->vcpu, slot, gfn);
	}
}

/*
 * The choke point: entry `old` of gfn and level has become `new_`. Nothing is
 * lost here: `old` is what the atomic exchange returned.
 */
static void tdp_account_change(struct mmu_ctx *ctx, const struct tdp_iter *it, uint64_t old,
			       uint64_t new_)
{
	bool was_leaf = spte_present(old) && spte_is_leaf(old, it->level);
	bool is_leaf = spte_present(new_) && spte_is_leaf(new_, it->level);
	bool was_table = spte_is_table(old, it->level);

	if (was_leaf && !is_leaf) {
		mmu_count(ctx->cnt, leaves[it->level], -1);
		mmu_count(ctx->cnt, zaps, !spte_present(new_));
	} else if (is_leaf && !was_leaf) {
		mmu_count(ctx->cnt, leaves[it->level], 1);
	}
	if (spte_change_needs_flush(ctx->fmt, old, new_, it->level))
		ctx->flush = true;
	if (was_leaf && (!is_leaf || spte_pfn(old) != spte_pfn(new_)) &&
	    !spte_is_table(new_, it->level))
		log_lost_dirty(ctx, mmu_page_role(it->root).as_id, it->gfn, old, it->level);
	if (was_table && (!spte_present(new_) || is_leaf)) {
		struct mmu_page *child = mmu_page_of_spte(old);

		child->next = ctx->gather;
		ctx->gather = child;
	}
}

int tdp_set_atomic(struct mmu_ctx *ctx, struct tdp_iter *it, uint64_t new_spte)
{
	uint64_t old = it->old;

	/* Release: a table that new_spte points to is filled before anyone walks it. */
	if (!__atomic_compare_exchange_n(it->sptep, &it->old, new_spte, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return -EBUSY;
	it->old = new_spte;
	tdp_account_change(ctx, it, old, new_spte);
	return 0;
}

uint64_t tdp_set(struct mmu_ctx *ctx, struct tdp_iter *it, uint64_t new_spte)
{
	uint64_t old = it->old;

#ifdef HV_MUTATION_NON_ATOMIC_ZAP
	if (spte_present(old) && spte_is_leaf(old, it->level)) {
		mmu_mutation_point();
		__atomic_store_n(it->sptep, new_spte, __ATOMIC_RELEASE);
	} else
#endif
	if (spte_present(old) && spte_is_leaf(old, it->level) && spte_volatile(ctx->fmt, old))
		old = __atomic_exchange_n(it->sptep, new_spte, __ATOMIC_ACQ_REL);
	else
		__atomic_store_n(it->sptep, new_spte, __ATOMIC_RELEASE);
	it->old = new_spte;
	tdp_account_change(ctx, it, old, new_spte);
	return old;
}

void mmu_ctx_finish(struct mmu_ctx *ctx)
{
	struct mmu_page *chain = ctx->gather;

	hv_assert_held(&ctx->vm->mmu_lock);
	if (!ctx->flush && !chain)
		return;
	vm_flush_remote_tlbs(ctx->vm);
	mmu_count(ctx->cnt, remote_flushes, 1);
	ctx->flush = false;
	ctx->gather = NULL;
	if (!chain)
		return;
	/* Only now can no processor set another D bit in what was cut off. */
	if (ctx->mmu->dirty_mode == HV_MMU_DIRTY_DBIT)
		tdp_harvest_dirty(ctx, chain);
	mmu_zap_queue_reclaim(ctx->mmu, chain);
}

void tdp_zap_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end,
		   bool may_yield)
{
	struct tdp_iter it;

	hv_assert_held_write(&ctx->vm->mmu_lock);
	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
		if (may_yield && tdp_iter_yield(&it, ctx))
			continue;
		if (!it.old)
			continue;
		/* A table that maps more than the range is only looked into; a leaf goes whole. */
		if (spte_is_table(it.old, it.level) &&
		    (it.gfn < start || it.gfn + HV_PAGES_PER_LEVEL(it.level) > end))
			continue;
		tdp_set(ctx, &it, 0);
	}
}

void tdp_zap_root(struct mmu_ctx *ctx, struct mmu_page *root)
{
	struct tdp_iter it;

	hv_assert_held(&ctx->vm->mmu_lock);
	HV_BUG_ON(!mmu_page_role(root).invalid);
	/* Only the root's own entries: each cuts a subtree. */
	tdp_for_each(&it, root, (int)mmu_page_role(root).level, 0, ~UINT64_C(0)) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		while (it.old && tdp_set_atomic(ctx, &it, 0))
			;
	}
}

void tdp_zap_mmio(struct mmu_ctx *ctx, struct mmu_page *root)
{
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, 0, ~UINT64_C(0)) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		if (spte_is_mmio(ctx->fmt, it.old))
			tdp_set(ctx, &it, 0);
	}
}

bool tdp_age_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end,
		   bool clear)
{
	struct tdp_iter it;
	bool young = false;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
		uint64_t old;

		if (!spte_present(it.old) || !spte_is_leaf(it.old, it.level) ||
		    !spte_accessed(ctx->fmt, it.old))
			continue;
		young = true;
		if (!clear)
			return true;
		/* The D bit may be set at this moment, and a fast fault may set W: never store. */
		old = it.old;
		while (!__atomic_compare_exchange_n(it.sptep, &old, spte_mark_tracked(ctx->fmt, old),
						    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			;
		it.old = spte_mark_tracked(ctx->fmt, old);
		tdp_account_change(ctx, &it, old, it.old);
	}
	return young;
}

static void harvest_table(struct mmu_ctx *ctx, const uint64_t *spt, unsigned int as_id, hv_gfn_t gfn,
			  int level)
{
	unsigned int i;

	for (i = 0; i < MMU_ENTRIES; i++, gfn += HV_PAGES_PER_LEVEL(level)) {
		uint64_t spte = spte_load(&spt[i]);

		if (!spte_present(spte))
			continue;
		if (spte_is_leaf(spte, level))
			log_lost_dirty(ctx, as_id, gfn, spte, level);
		else
			harvest_table(ctx, (uint64_t *)(uintptr_t)(spte & SPTE_FRAME), as_id, gfn,
				      level - 1);
	}
}

void tdp_harvest_dirty(struct mmu_ctx *ctx, struct mmu_page *chain)
{
	for (; chain; chain = chain->next) {
		union mmu_role role = mmu_page_role(chain);

		if (atomic_load(&ctx->mmu->logged_slots[role.as_id]))
			harvest_table(ctx, chain->spt, role.as_id, chain->gfn, (int)role.level);
	}
}

struct mmu_page *tdp_reclaim_table(struct mmu_counters *cnt, struct mmu_page *sp,
				   struct mmu_page *chain)
{
	int level = (int)mmu_page_role(sp).level;
	int64_t leaves = 0;
	unsigned int i;

	for (i = 0; i < MMU_ENTRIES; i++) {
		uint64_t spte = __atomic_load_n(&sp->spt[i], __ATOMIC_RELAXED);

		if (spte_is_table(spte, level)) {
			struct mmu_page *child = mmu_page_of_spte(spte);

			child->next = chain;
			chain = child;
		} else {
			leaves += spte_present(spte);
		}
	}
	memset(sp->spt, 0, HV_PAGE_SIZE);
	if (level <= HV_PG_LEVEL_1G)
		mmu_count(cnt, leaves[level], -leaves);
	mmu_count(cnt, tables, -1);
	mmu_count(cnt, zap_pages, 1);
	mmu_count(cnt, zaps, leaves);
	return chain;
}
