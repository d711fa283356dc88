/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Out of sync and back.
 *
 * unsync_children of a page counts the set bits of its unsync_bitmap: entries whose
 * table is unsync or has unsync tables below. A bit may outlive its reason (the
 * child was synchronised through another parent, or the entry was dropped); the
 * next walk down clears it. A reason never lacks its bit: marking goes up through
 * all parents, and linking a page marks its new ancestors.
 *
 * mmu_unsync_pages_lock guards marks and counts. Here mmu_lock is always exclusive
 * as well; the lock is taken all the same, for whoever comes to mark with it
 * shared, and costs nothing when nobody contends.
 */
#include "hv/mmu/shadow.h"

#include "hv/x86/defs.h"
#include "hv/x86/ops.h"

#define PKEY_BITS HV_GENMASK(62, 59)

static bool test_bit(const struct mmu_page *sp, unsigned int i)
{
	return sp->unsync_bitmap[i / 64] >> (i % 64) & 1;
}

static void mark_parent(struct mmu_ctx *ctx, uint64_t *sptep, void *arg)
{
	struct mmu_page *sp = mmu_page_of_sptep(sptep);
	unsigned int i = (unsigned int)(sptep - sp->spt);

	if (test_bit(sp, i))
		return;
	sp->unsync_bitmap[i / 64] |= HV_BIT(i % 64);
	if (sp->unsync_children++ == 0)
		rmap_each(ctx, &sp->parents, mark_parent, NULL);
}

void shadow_mark_parents_unsync(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	hv_spin_lock(&ctx->mmu->mmu_unsync_pages_lock);
	rmap_each(ctx, &sp->parents, mark_parent, NULL);
	hv_spin_unlock(&ctx->mmu->mmu_unsync_pages_lock);
}

bool shadow_is_protected(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn)
{
	struct mmu_page *sp, *tmp;

	if (slot->arch->write_track[gfn - slot->base_gfn])
		return true;
	shadow_for_each_gfn(sp, tmp, ctx->mmu->shadow, gfn)
		if (!sp->unsync)
			return true;
	return false;
}

bool shadow_try_unsync(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	struct mmu_page *sp, *tmp;

	if (slot->arch->write_track[gfn - slot->base_gfn])
		return false;
	shadow_for_each_gfn(sp, tmp, shadow, gfn) {
		if (sp->unsync)
			continue;
		HV_BUG_ON(sp->role.level != HV_PG_LEVEL_4K); /* those are tracked */
		hv_spin_lock(&ctx->mmu->mmu_unsync_pages_lock);
		sp->unsync = true;
		rmap_each(ctx, &sp->parents, mark_parent, NULL);
		hv_spin_unlock(&ctx->mmu->mmu_unsync_pages_lock);
		mmu_count(ctx->cnt, unsync, 1);
	}
	return true;
}

/* ---- one page ---------------------------------------------------------------------------- */

/* Roles that read a guest table in the same way. */
static bool same_paging_mode(const struct mmu_page *sp, union mmu_role mode)
{
	union mmu_role a = sp->role, b = mode;

	a.level = b.level = 0;
	a.access = b.access = 0;
	a.quadrant = b.quadrant = 0;
	a.guest_level = b.guest_level = 0;
	a.direct = b.direct = 0;
	a.invalid = b.invalid = 0;
	return a.word == b.word;
}

static unsigned int gpte_access(uint64_t gpte, bool nx)
{
	unsigned int access = (gpte & X86_PTE_U ? ACC_USER : 0) | ACC_EXEC;

	/* A clean page is mapped read-only, so that the first write comes to set D. */
	if ((gpte & X86_PTE_W) && (gpte & X86_PTE_D))
		access |= ACC_WRITE;
	if (nx && (gpte & X86_PTE_NX))
		access &= ~ACC_EXEC;
	return access;
}

/* Is the leaf still what the guest's entry says, and with which rights? */
static bool leaf_still_good(const struct mmu_page *sp, unsigned int i, uint64_t gpte,
			    uint64_t reserved, unsigned int *access)
{
	uint64_t gfn = (gpte & (sp->role.gpte4 ? UINT64_C(0xfffff000) : SPTE_FRAME)) >> HV_PAGE_SHIFT;

	if (!(gpte & X86_PTE_P) || !(gpte & X86_PTE_A) || (gpte & reserved))
		return false;
	if (gfn != sp->shadowed[i] >> 3)
		return false;
	*access = gpte_access(gpte, sp->role.efer_nx) & sp->role.access;
	return true;
}

static void sync_entry(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int i, uint64_t gpte,
		       uint64_t reserved)
{
	uint64_t spte = spte_load(&sp->spt[i]), next;
	unsigned int access;

	if (!spte_present(spte) || !leaf_still_good(sp, i, gpte, reserved, &access)) {
		shadow_drop_spte(ctx, sp, i); /* MMIO entries too: the next access makes them */
		return;
	}
	/*
	 * Rights can be taken here; those that the guest has added come by a fault. An entry
	 * made for a supervisor's write with CR0.WP = 0 has W without U: it is made anew.
	 */
	if ((spte_writable(spte) && !(access & ACC_WRITE)) ||
	    (sp->role.long_mode && ((gpte ^ spte) & PKEY_BITS))) {
		shadow_drop_spte(ctx, sp, i);
		return;
	}
	next = spte;
	if (!(access & ACC_WRITE))
		next &= ~ctx->fmt->mmu_writable;
	if (!(access & ACC_USER))
		next &= ~SPTE_X86_U;
	if (!(access & ACC_EXEC))
		next |= SPTE_X86_NX;
	if (next == spte)
		return;
	if ((spte & SPTE_X86_U) && !(next & SPTE_X86_U))
		ctx->flush = true;
	shadow_set_leaf(ctx, sp, i, next, sp->shadowed[i] >> 3, access);
}

bool shadow_sync_page(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	struct hv_memslot *slot = shadow_slot(ctx, sp, sp->gfn);
	struct x86_walk_params params;
	unsigned int i, size = sp->role.gpte4 ? 4 : 8;
	uint64_t gpte, reserved;

	if (!ctx->vcpu || !same_paging_mode(sp, ctx->vcpu->mmu->shadow->role) ||
	    !memslot_visible(slot))
		return false;
	/* First no more writes, then read. */
	if (shadow_write_protect(ctx, slot, sp->gfn, false))
		mmu_ctx_finish(ctx);
	hv_spin_lock(&ctx->mmu->mmu_unsync_pages_lock);
	sp->unsync = false;
	hv_spin_unlock(&ctx->mmu->mmu_unsync_pages_lock);
	shadow_walk_params(ctx->vcpu, &params);
	reserved = x86_walk_reserved(&params, HV_PG_LEVEL_4K, true);
	for (i = 0; i < MMU_ENTRIES; i++) {
		hv_gpa_t gpa = (sp->gfn << HV_PAGE_SHIFT) + (uint64_t)size * i +
			       (size == 4 ? sp->role.quadrant * 2048ULL : 0);

		if (!spte_load(&sp->spt[i]))
			continue;
		if (shadow_read_gpte(ctx, gpa, size, &gpte))
			return false;
		sync_entry(ctx, sp, i, gpte, reserved);
	}
	return true;
}

/* ---- a tree ---------------------------------------------------------------------------------- */

static void clear_child(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int i)
{
	hv_spin_lock(&ctx->mmu->mmu_unsync_pages_lock);
	if (test_bit(sp, i)) {
		HV_BUG_ON(!sp->unsync_children);
		sp->unsync_bitmap[i / 64] &= ~HV_BIT(i % 64);
		sp->unsync_children--;
	}
	hv_spin_unlock(&ctx->mmu->mmu_unsync_pages_lock);
}

static void sync_child(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int i)
{
	uint64_t spte = spte_load(&sp->spt[i]);
	struct mmu_page *child;

	if (!spte_is_table(spte, (int)sp->role.level)) {
		clear_child(ctx, sp, i);
		return;
	}
	child = mmu_page_of_spte(spte);
	if (child->unsync && !shadow_sync_page(ctx, child))
		shadow_zap_page(ctx, child); /* its links, ours too, are gone */
	else if (child->unsync_children)
		shadow_sync_children(ctx, child);
	clear_child(ctx, sp, i);
}

void shadow_sync_children(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	unsigned int w;

	for (w = 0; w < MMU_ENTRIES / 64 && sp->unsync_children; w++) {
		uint64_t bits = sp->unsync_bitmap[w];

		for (; bits; bits &= bits - 1)
			sync_child(ctx, sp, w * 64 + hv_ffs64(bits));
	}
}
