/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The TDP MMU: direct tables from guest frames to host memory.
 *
 * Rules:
 *  - Faults hold mmu_lock shared and change entries by cmpxchg; notifiers, slot
 *    zaps and dirty-log arming hold it exclusively. Fast page faults hold nothing
 *    (fast_fault.c), the processor's A and D bits neither: an entry that either
 *    may change is volatile and only ever changed atomically (spte_volatile()).
 *  - tdp_account_change() sees every change: counters, dirty log, the flush that
 *    is owed, the tables that are cut off.
 *  - Cutting an entry that points to a table cuts the whole subtree at once: after
 *    the TLB flush no processor reaches it, after a grace period no thread does;
 *    the zap worker then takes it apart without any lock. Nobody zaps leaf by leaf
 *    what can be cut above.
 *  - Whoever finds SPTE_FROZEN retries: another thread has the entry.
 */
#ifndef HV_MMU_TDP_MMU_H
#define HV_MMU_TDP_MMU_H

#include "hv/mmu/mmu_internal.h"
#include "hv/mmu/tdp_iter.h"

/* ---- tdp_mmu.c: changing entries ---------------------------------------------------- */
/* mmu_lock shared. 0, or -EBUSY and it->old is what is there now. */
int tdp_set_atomic(struct mmu_ctx *ctx, struct tdp_iter *it, uint64_t new_spte);
/* mmu_lock exclusive. Returns what was there, with every bit that was set until then. */
uint64_t tdp_set(struct mmu_ctx *ctx, struct tdp_iter *it, uint64_t new_spte);

/*
 * Drop every translation of [start, end) in one root; mmu_lock exclusive, RCU read
 * side held. may_yield: mmu_lock may be dropped between (ctx is settled then).
 */
void tdp_zap_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end,
		   bool may_yield);
/* Empty an invalid root; mmu_lock shared, RCU read side held, yields. */
void tdp_zap_root(struct mmu_ctx *ctx, struct mmu_page *root);
/* Drop all MMIO entries and nothing else; mmu_lock exclusive, yields. */
void tdp_zap_mmio(struct mmu_ctx *ctx, struct mmu_page *root);
/* Age [start, end): true if any page was young. mmu_lock exclusive. clear false: only look. */
bool tdp_age_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end,
		   bool clear);
/* Dirty bits of a subtree that was cut off and flushed go to the log. */
void tdp_harvest_dirty(struct mmu_ctx *ctx, struct mmu_page *chain);
/* Count the leaves of a table page that nobody uses and clear it; its tables are chained. */
struct mmu_page *tdp_reclaim_table(struct mmu_counters *cnt, struct mmu_page *sp,
				   struct mmu_page *chain);

/* ---- tdp_map.c: the fault's side ------------------------------------------------------ */
struct mmu_fault;
/* Install the translation that the fault needs. HV_PF_*; mmu_lock shared, RCU held. */
int tdp_map(struct mmu_ctx *ctx, struct mmu_fault *fault);
/* The deepest entry for gfn, without any lock but RCU. *level out. */
uint64_t *tdp_lookup(struct mmu_page *root, hv_gfn_t gfn, int *level, uint64_t *spte);
/*
 * Put a table of small leaves in the place of the huge leaf at it. mmu_lock of either
 * kind. 0; -EBUSY: the entry changed; -ENOMEM: the cache is empty.
 */
int tdp_split(struct mmu_ctx *ctx, struct tdp_iter *it, struct mmu_page_cache *cache,
	      bool may_execute);

/* ---- tdp_dirty.c: dirty logging -------------------------------------------------------- */
/* Clear W of all leaves in [start, end) of one root. Yields. mmu_lock exclusive. */
void tdp_wrprot_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end);
/* Clear D likewise. Yields. D bits that were set go to the log if `log`. */
void tdp_clear_dirty_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start,
			   hv_gfn_t end);
/* Arm single frames: base + bit of mask. mmu_lock exclusive. */
void tdp_rearm(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t base, uint64_t mask,
	       struct mmu_page_cache *cache);
/* Huge leaves in [start, end) become 4K leaves. Yields. -ENOMEM: some stay huge. */
int tdp_split_range(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end);
/* Tables in the slot that could be huge leaves become those. Yields. mmu_lock exclusive. */
void tdp_collapse_range(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot);
/* D bits of [start, end) to the log, and cleared. Yields. mmu_lock exclusive. */
void tdp_collect_dirty(struct mmu_ctx *ctx, struct mmu_page *root, hv_gfn_t start, hv_gfn_t end);

#endif
