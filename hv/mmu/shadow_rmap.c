/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reverse maps: from a guest frame to the leaves that map it, and the choke point
 * through which every leaf of a shadow table changes.
 */
#include "hv/mmu/shadow.h"

#include <errno.h>

/* What one fault may use: a leaf, a parent link per level, and some. */
#define DESCS_PER_FAULT 16

/* ---- descriptors -------------------------------------------------------------------- */

int shadow_descs_fill(struct hv_vcpu *vcpu)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;

	while (sv->nr_descs < DESCS_PER_FAULT) {
		struct mmu_rmap_desc *desc = hv_zalloc(sizeof(*desc));

		if (!desc)
			return -ENOMEM;
		desc->more = sv->descs;
		sv->descs = desc;
		sv->nr_descs++;
	}
	return 0;
}

void shadow_descs_drain(struct mmu_rmap_desc **chain)
{
	while (*chain) {
		struct mmu_rmap_desc *desc = *chain;

		*chain = desc->more;
		hv_free(desc);
	}
}

static struct mmu_rmap_desc *desc_take(struct mmu_ctx *ctx)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	struct mmu_shadow_vcpu *sv = ctx->vcpu->mmu->shadow;
	struct mmu_rmap_desc *desc = shadow->free_descs;

	if (desc) {
		shadow->free_descs = desc->more;
	} else {
		desc = sv->descs;
		HV_BUG_ON(!desc); /* DESCS_PER_FAULT is too small */
		sv->descs = desc->more;
		sv->nr_descs--;
	}
	*desc = (struct mmu_rmap_desc){ .count = 0 };
	return desc;
}

static struct mmu_rmap_desc *desc_of(const struct mmu_rmap_head *head)
{
	return head->val & 1 ? (struct mmu_rmap_desc *)(head->val & ~(uintptr_t)1) : NULL;
}

/* ---- the list ---------------------------------------------------------------------------- */

void rmap_add(struct mmu_ctx *ctx, struct mmu_rmap_head *head, uint64_t *sptep)
{
	struct mmu_rmap_desc *first = desc_of(head), *desc;

	if (!head->val) {
		head->val = (uintptr_t)sptep;
		return;
	}
	if (!first || first->count == SHADOW_RMAP_DESC) {
		desc = desc_take(ctx);
		if (first)
			desc->more = first;
		else
			desc->sptes[desc->count++] = (uint64_t *)head->val;
		head->val = (uintptr_t)desc | 1;
		first = desc;
	}
	first->sptes[first->count++] = sptep;
}

/* The hole is filled from the first descriptor, so that only that one is ever not full. */
void rmap_remove(struct mmu_ctx *ctx, struct mmu_rmap_head *head, uint64_t *sptep)
{
	struct mmu_rmap_desc *first = desc_of(head), *desc;
	uint32_t i;

	if (!first) {
		HV_BUG_ON(head->val != (uintptr_t)sptep);
		head->val = 0;
		return;
	}
	for (desc = first; desc; desc = desc->more)
		for (i = 0; i < desc->count; i++)
			if (desc->sptes[i] == sptep)
				goto found;
	HV_BUG("an entry is not in its reverse map");
found:
	desc->sptes[i] = first->sptes[--first->count];
	if (first->count)
		return;
	head->val = first->more ? (uintptr_t)first->more | 1 : 0;
	first->more = ctx->mmu->shadow->free_descs;
	ctx->mmu->shadow->free_descs = first;
}

uint64_t *rmap_first(const struct mmu_rmap_head *head)
{
	struct mmu_rmap_desc *first = desc_of(head);

	return first ? first->sptes[0] : (uint64_t *)head->val;
}

void rmap_each(struct mmu_ctx *ctx, const struct mmu_rmap_head *head,
	       void (*fn)(struct mmu_ctx *ctx, uint64_t *sptep, void *arg), void *arg)
{
	struct mmu_rmap_desc *desc = desc_of(head);
	uint32_t i;

	if (!desc) {
		if (head->val)
			fn(ctx, (uint64_t *)head->val, arg);
		return;
	}
	for (; desc; desc = desc->more)
		for (i = 0; i < desc->count; i++)
			fn(ctx, desc->sptes[i], arg);
}

struct mmu_rmap_head *rmap_head(const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	return &slot->arch->rmap[level - HV_PG_LEVEL_4K][slot_block(slot, gfn, level)];
}

/* ---- leaves --------------------------------------------------------------------------------- */

hv_gfn_t shadow_spte_gfn(const struct mmu_page *sp, unsigned int index)
{
	int level = (int)sp->role.level;

	return sp->indirect ? sp->shadowed[index] >> 3
			    : sp->gfn + index * HV_PAGES_PER_LEVEL(level);
}

static void leaf_unmap_rmap(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index)
{
	hv_gfn_t gfn = shadow_spte_gfn(sp, index);
	struct hv_memslot *slot = shadow_slot(ctx, sp, gfn);

	HV_BUG_ON(!slot);
	rmap_remove(ctx, rmap_head(slot, gfn, (int)sp->role.level), &sp->spt[index]);
}

void shadow_set_leaf(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index, uint64_t spte,
		     hv_gfn_t gfn, unsigned int access)
{
	uint64_t *sptep = &sp->spt[index], old = spte_load(sptep);
	int level = (int)sp->role.level;
	bool was = spte_present(old), is = spte_present(spte);
	bool moved = was && (!is || shadow_spte_gfn(sp, index) != gfn);

	hv_assert_held_write(&ctx->vm->mmu_lock);
	HV_BUG_ON(spte_is_table(old, level));
	/* Only the processor can change it now, and only if it is volatile. */
	if (was && spte_volatile(ctx->fmt, old))
		old = __atomic_exchange_n(sptep, spte, __ATOMIC_ACQ_REL);
	else
		__atomic_store_n(sptep, spte, __ATOMIC_RELEASE);
	if (moved)
		leaf_unmap_rmap(ctx, sp, index);
	if (sp->indirect && spte)
		sp->shadowed[index] = gfn << 3 | access;
	if (is && (!was || moved))
		rmap_add(ctx, rmap_head(shadow_slot(ctx, sp, gfn), gfn, level), sptep);
	if (was != is)
		mmu_count(ctx->cnt, leaves[level], is ? 1 : -1);
	if (was && !is)
		mmu_count(ctx->cnt, zaps, 1);
	if (spte_change_needs_flush(ctx->fmt, old, spte, level))
		ctx->flush = true;
}

bool shadow_unmap_gfn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	struct mmu_rmap_head *head = rmap_head(slot, gfn, level);
	bool any = false;
	uint64_t *sptep;

	while ((sptep = rmap_first(head))) {
		struct mmu_page *sp = mmu_page_of_sptep(sptep);

		shadow_set_leaf(ctx, sp, (unsigned int)(sptep - sp->spt), 0, 0, 0);
		any = true;
	}
	return any;
}

static void protect_one(struct mmu_ctx *ctx, uint64_t *sptep, void *arg)
{
	uint64_t old = spte_load(sptep), new_, clear = *(uint64_t *)arg;

	if (!(old & clear))
		return;
	do {
		new_ = old & ~clear;
	} while (!__atomic_compare_exchange_n(sptep, &old, new_, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	if (spte_change_needs_flush(ctx->fmt, old, new_,
				    (int)mmu_page_of_sptep(sptep)->role.level))
		ctx->flush = true;
}

bool shadow_write_protect(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn,
			  bool for_log)
{
	uint64_t clear = SPTE_W | (for_log ? 0 : ctx->fmt->mmu_writable);
	bool flush = ctx->flush;
	int level;

	ctx->flush = false;
	for (level = HV_PG_LEVEL_4K; level <= HV_PG_LEVEL_1G; level++)
		rmap_each(ctx, rmap_head(slot, gfn, level), protect_one, &clear);
	ctx->flush |= flush;
	return ctx->flush;
}

struct age {
	bool clear, young;
};

static void age_one(struct mmu_ctx *ctx, uint64_t *sptep, void *arg)
{
	struct age *age = arg;

	if (!(spte_load(sptep) & ctx->fmt->accessed))
		return;
	age->young = true;
	if (age->clear)
		__atomic_fetch_and(sptep, ~ctx->fmt->accessed, __ATOMIC_ACQ_REL);
}

bool shadow_age_gfn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level,
		    bool clear)
{
	struct age age = { .clear = clear };

	rmap_each(ctx, rmap_head(slot, gfn, level), age_one, &age);
	return age.young;
}
