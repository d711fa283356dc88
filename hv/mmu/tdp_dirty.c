/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty logging in direct tables: arming frames by write protection or by the D
 * bit, splitting huge leaves so that pages are logged alone, and going back to
 * huge leaves when logging has ended.
 *
 * All of it runs with mmu_lock exclusive and may drop it between entries. Clearing
 * W or D makes ctx->flush true (spte_change_needs_flush()); until the flush a
 * processor may write through what it has cached, and readers of the log flush
 * before they look at memory.
 */
#include "hv/mmu/tdp_mmu.h"

#include <errno.h>

#include "hv/mem/region.h"
#include "hv/mmu/fault.h"

static bool present_leaf(const struct tdp_iter *it)
{
	return spte_present(it->old) && spte_is_leaf(it->old, it->level);
}

/*
 * Replace the leaf by itself without `bits`; atomically, since it may be volatile.
 * Returns what it was when the bits went, or 0 if there was nothing to clear.
 */
static uint64_t clear_bits(struct mmu_ctx *ctx, struct tdp_iter *it, uint64_t bits)
{
	uint64_t old;

	while (present_leaf(it) && (it->old & bits)) {
		old = it->old;
		if (!tdp_set_atomic(ctx, it, old & ~bits))
			return old;
	}
	return 0;
}

/* Pages of a leaf whose D bit was taken, where D bits are the log. */
static void log_leaf(struct mmu_ctx *ctx, const struct tdp_iter *it, uint64_t old)
{
	struct hv_memslots *slots = hv_vm_memslots(ctx->vm, (int)mmu_page_role(it->root).as_id);
	struct hv_memslot *slot;
	hv_gfn_t gfn;

	if (ctx->mmu->dirty_mode != HV_MMU_DIRTY_DBIT || !spte_writable(old) ||
	    !spte_dirty(ctx->fmt, old))
		return;
	for (gfn = it->gfn; gfn < it->gfn + HV_PAGES_PER_LEVEL(it->level); gfn++) {
		slot = memslot_find(slots, gfn);
		if (mmu_slot_logged(slot))
			vm_mark_page_dirty(ctx->vm, ctx->vcpu, slot, gfn);
	}
}

static uint64_t arm_bits(const struct mmu_ctx *ctx, uint64_t spte)
{
	return mmu_dirty_by_dbit(ctx->mmu) && spte_ad_enabled(spte) ? ctx->fmt->dirty : SPTE_W;
}

void tdp_wrprot_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end)
{
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
		if (!tdp_iter_yield(&it, ctx))
			clear_bits(ctx, &it, SPTE_W);
	}
}

void tdp_clear_dirty_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end)
{
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		/* One D bit for 512 pages would hide 511 of them: such a leaf loses W instead. */
		clear_bits(ctx, &it, it.level > HV_PG_LEVEL_4K ? SPTE_W : arm_bits(ctx, it.old));
	}
}

static void rearm_one(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t gfn,
		      struct mmu_page_cache *cache)
{
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, gfn, gfn + 1) {
		if (!present_leaf(&it))
			continue;
		/* Filled here, under mmu_lock, since whether a page is needed is known only here. */
		if (it.level > HV_PG_LEVEL_4K && !mmu_cache_fill(&ctx->mmu->pool, cache, 1) &&
		    !tdp_split(ctx, &it, cache, false))
			continue; /* on into the new table */
		/*
		 * D may have been set since the reader who arms looked: that reader flushes and
		 * then copies the page, but the others would never hear of the write.
		 */
		log_leaf(ctx, &it,
			 clear_bits(ctx, &it, it.level > HV_PG_LEVEL_4K ? SPTE_W : arm_bits(ctx, it.old)));
	}
}

void tdp_rearm(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t base, uint64_t mask,
	       struct mmu_page_cache *cache)
{
	hv_assert_held_write(&ctx->vm->mmu_lock);
	for (; mask; mask &= mask - 1)
		rearm_one(ctx, root, base + hv_ffs64(mask), cache);
}

int tdp_split_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end)
{
	struct mmu_page_cache cache = { .count = 0 };
	struct tdp_iter it;
	int err = 0;

	tdp_for_each(&it, root, HV_PG_LEVEL_2M, start, end) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		if (!present_leaf(&it) || it.level == HV_PG_LEVEL_4K)
			continue;
		err = mmu_cache_fill(&ctx->mmu->pool, &cache, 1);
		if (err)
			break;
		tdp_split(ctx, &it, &cache, false);
	}
	mmu_cache_drain(&ctx->mmu->pool, &cache);
	return err;
}

/* Would a fault map this frame with a leaf of at least `level` now? */
static bool could_be_huge(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	struct hv_mem_pfn_info info;

	return level <= ctx->mmu->max_huge_level && slot_huge_ok(slot, gfn, level) &&
	       !hv_mem_pfn_info(ctx->vm->mem, memslot_gfn_to_hva(slot, gfn), &info) &&
	       (int)info.level >= level;
}

/*
 * The table is cut off and the next fault puts the huge leaf there: one fault per
 * block, and no moment at which a processor could see two sizes for one address.
 */
void tdp_collapse_range(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot)
{
	hv_gfn_t start = slot->base_gfn, end = start + slot->npages;
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_2M, start, end) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		if (!spte_is_table(it.old, it.level) || it.gfn < start ||
		    it.gfn + HV_PAGES_PER_LEVEL(it.level) > end)
			continue;
		if (mmu_page_of_spte(it.old)->nx_disallowed &&
		    atomic_load(&ctx->mmu->nx_huge_pages))
			continue;
		if (!could_be_huge(ctx, slot, it.gfn, it.level))
			continue;
		tdp_set(ctx, &it, 0);
		mmu_count(ctx->cnt, collapses, 1);
	}
}

void tdp_collect_dirty(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end)
{
	struct tdp_iter it;

	tdp_for_each(&it, root, HV_PG_LEVEL_4K, start, end) {
		if (tdp_iter_yield(&it, ctx))
			continue;
		if (!present_leaf(&it) || !spte_writable(it.old) || !spte_ad_enabled(it.old) ||
		    !spte_dirty(ctx->fmt, it.old))
			continue;
		log_leaf(ctx, &it,
			 clear_bits(ctx, &it,
				    it.level > HV_PG_LEVEL_4K ? SPTE_W : ctx->fmt->dirty));
	}
}
