/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow pages: found by guest frame and role, linked, tracked, zapped.
 */
#include "hv/mmu/shadow.h"

#include <errno.h>

/* Emulated writes to a table, without its shadow being used, until the shadow goes. */
#define WRITE_FLOOD 3
/* Pages that one fault may take at most: two per level. */
#define ROOM_FOR_FAULT (2 * MMU_MAX_LEVELS)

struct hv_memslot *shadow_slot(struct mmu_ctx *ctx, const struct mmu_page *sp, hv_gfn_t gfn)
{
	return memslot_find(hv_vm_memslots(ctx->vm, sp->role.as_id), gfn);
}

bool shadow_obsolete(const struct mmu_shadow *shadow, const struct mmu_page *sp)
{
	return sp->role.invalid || sp->valid_gen != shadow->valid_gen;
}

/* ---- tracking ------------------------------------------------------------------------- */

/*
 * From now on a write to the guest's table faults. Flushed at once: the caller
 * reads the table next, and no stale translation may write to it after that.
 */
static void track_table(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	struct hv_memslot *slot = shadow_slot(ctx, sp, sp->gfn);

	if (!slot)
		return; /* the walk found one, and slots do not go while we are in RCU: unused */
	if (sp->role.level > HV_PG_LEVEL_4K) {
		slot->arch->write_track[sp->gfn - slot->base_gfn]++;
		mmu_count(ctx->cnt, write_tracked, 1);
	}
	slot_huge_disallow(slot, sp->gfn, 1);
	if (shadow_write_protect(ctx, slot, sp->gfn, false))
		mmu_ctx_finish(ctx);
}

static void untrack_table(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	struct hv_memslot *slot = shadow_slot(ctx, sp, sp->gfn);

	HV_BUG_ON(!slot);
	if (sp->role.level > HV_PG_LEVEL_4K)
		slot->arch->write_track[sp->gfn - slot->base_gfn]--;
	slot_huge_disallow(slot, sp->gfn, -1);
}

/* ---- getting one -------------------------------------------------------------------------- */

static struct mmu_page *new_page(struct mmu_ctx *ctx, hv_gfn_t gfn, union mmu_role role)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	struct mmu_page_cache *cache = &ctx->vcpu->mmu->cache;
	struct mmu_page *sp = mmu_cache_take(cache);

	sp->gfn = gfn;
	sp->role = role;
	sp->indirect = !role.direct;
	sp->valid_gen = shadow->valid_gen;
	if (sp->indirect) {
		struct mmu_page *aux = mmu_cache_take(cache);

		aux->aux = true;
		sp->shadowed = aux->spt;
	}
	cds_list_add(&sp->hash, shadow_bucket(shadow, gfn));
	cds_list_add(&sp->link, &shadow->active);
	shadow->nr_pages++;
	mmu_count(ctx->cnt, tables, 1);
	if (sp->indirect)
		track_table(ctx, sp);
	return sp;
}

struct mmu_page *shadow_get_page(struct mmu_ctx *ctx, hv_gfn_t gfn, union mmu_role role)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	struct mmu_page *sp;

again:
	cds_list_for_each_entry (sp, shadow_bucket(shadow, gfn), hash) {
		if (sp->gfn != gfn || shadow_obsolete(shadow, sp))
			continue;
		if (sp->role.word != role.word) {
			/* It becomes a table of a higher level, which may not be out of sync. */
			if (sp->unsync && role.level > HV_PG_LEVEL_4K && !role.direct) {
				shadow_zap_page(ctx, sp);
				goto again;
			}
			continue;
		}
		if (sp->unsync && !shadow_sync_page(ctx, sp)) {
			shadow_zap_page(ctx, sp);
			break;
		}
		sp->write_flood = 0;
		return sp;
	}
	return new_page(ctx, gfn, role);
}

/* ---- links ------------------------------------------------------------------------------------ */

void shadow_link(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index,
		 struct mmu_page *child)
{
	uint64_t *sptep = &sp->spt[index];

	HV_BUG_ON(spte_present(*sptep));
	__atomic_store_n(sptep, spte_make_table(ctx->fmt, child->spt, true), __ATOMIC_RELEASE);
	rmap_add(ctx, &child->parents, sptep);
	if (child->unsync || child->unsync_children)
		shadow_mark_parents_unsync(ctx, child);
}

static void unlink_child(struct mmu_ctx *ctx, uint64_t *sptep)
{
	struct mmu_page *child = mmu_page_of_spte(*sptep);

	rmap_remove(ctx, &child->parents, sptep);
	__atomic_store_n(sptep, 0, __ATOMIC_RELEASE);
	ctx->flush = true;
}

void shadow_drop_spte(struct mmu_ctx *ctx, struct mmu_page *sp, unsigned int index)
{
	uint64_t *sptep = &sp->spt[index], spte = spte_load(sptep);

	if (!spte)
		return;
	if (spte_is_table(spte, (int)sp->role.level))
		unlink_child(ctx, sptep);
	else
		shadow_set_leaf(ctx, sp, index, 0, 0, 0);
}

/* ---- zapping -------------------------------------------------------------------------------------- */

static void gather(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	if (sp->shadowed) {
		struct mmu_page *aux = mmu_page_of_sptep(sp->shadowed);

		aux->next = ctx->gather;
		ctx->gather = aux;
		sp->shadowed = NULL;
	}
	sp->next = ctx->gather;
	ctx->gather = sp;
}

void shadow_zap_page(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	union mmu_role role = mmu_page_role(sp);
	uint64_t *sptep;
	unsigned int i;

	hv_assert_held_write(&ctx->vm->mmu_lock);
	HV_BUG_ON(role.invalid);
	for (i = 0; i < MMU_ENTRIES; i++)
		shadow_drop_spte(ctx, sp, i);
	while ((sptep = rmap_first(&sp->parents)))
		unlink_child(ctx, sptep);
	if (sp->indirect)
		untrack_table(ctx, sp);
	hv_spin_lock(&ctx->mmu->mmu_unsync_pages_lock);
	sp->unsync = false;
	sp->unsync_children = 0;
	memset(sp->unsync_bitmap, 0, sizeof(sp->unsync_bitmap));
	hv_spin_unlock(&ctx->mmu->mmu_unsync_pages_lock);
	cds_list_del(&sp->hash);
	cds_list_del(&sp->link);
	shadow->nr_pages--;
	ctx->flush = true;
	role.invalid = 1;
	__atomic_store_n(&sp->role.word, role.word, __ATOMIC_RELEASE);
	if (sp->root_count)
		/* Its vCPUs let go of it before they enter again; they find it invalid. */
		vm_make_all_requests(ctx->vm, HV_REQ_MMU_RELOAD);
	else
		gather(ctx, sp);
}

void shadow_put_root(struct mmu_ctx *ctx, struct mmu_page *sp)
{
	HV_BUG_ON(!sp->root_count);
	if (--sp->root_count == 0 && sp->role.invalid)
		gather(ctx, sp);
}

unsigned int shadow_unprotect(struct mmu_ctx *ctx, hv_gfn_t gfn)
{
	struct mmu_page *sp, *tmp;
	unsigned int n = 0;

	shadow_for_each_gfn(sp, tmp, ctx->mmu->shadow, gfn) {
		shadow_zap_page(ctx, sp);
		n++;
	}
	return n;
}

/* Which entries of a shadow the bytes of the guest's table stand for: [first, last]. */
static bool affected_entries(const struct mmu_page *sp, unsigned int offset, unsigned int len,
			     unsigned int *first, unsigned int *last)
{
	unsigned int a = offset / 8, b = (offset + len - 1) / 8, base;

	if (sp->role.gpte4) {
		/* The page shadows a part of the 1024 entries; each directory entry takes two of ours. */
		unsigned int per_page = sp->role.level == HV_PG_LEVEL_4K ? 512 : 256;
		unsigned int scale = MMU_ENTRIES / per_page;

		a = offset / 4;
		b = (offset + len - 1) / 4;
		base = sp->role.quadrant * per_page;
		if (b < base || a >= base + per_page)
			return false;
		a = hv_max(a, base) - base;
		b = hv_min(b, base + per_page - 1) - base;
		a *= scale;
		b = b * scale + scale - 1;
	}
	*first = a;
	*last = b;
	return true;
}

void shadow_written(struct mmu_ctx *ctx, hv_gfn_t gfn, unsigned int offset, unsigned int len)
{
	struct mmu_page *sp, *tmp;
	unsigned int i, last;

	shadow_for_each_gfn(sp, tmp, ctx->mmu->shadow, gfn) {
		if (!affected_entries(sp, offset, len, &i, &last))
			continue;
		if (!sp->root_count && ++sp->write_flood >= WRITE_FLOOD) {
			shadow_zap_page(ctx, sp);
			continue;
		}
		for (; i <= last; i++)
			shadow_drop_spte(ctx, sp, i);
	}
}

void shadow_make_room(struct mmu_ctx *ctx)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	uint64_t max = atomic_load_explicit(&shadow->max_pages, memory_order_relaxed);
	struct cds_list_head *pos, *prev;

	if (shadow->nr_pages + ROOM_FOR_FAULT <= max)
		return;
	/* Oldest first; the pages of roots in use have to stay. */
	for (pos = shadow->active.prev; pos != &shadow->active; pos = prev) {
		struct mmu_page *sp = cds_list_entry(pos, struct mmu_page, link);

		prev = pos->prev;
		if (shadow->nr_pages + 2 * ROOM_FOR_FAULT <= max)
			break;
		if (!sp->root_count)
			shadow_zap_page(ctx, sp);
	}
}

static void zap_obsolete(struct mmu_ctx *ctx)
{
	struct mmu_shadow *shadow = ctx->mmu->shadow;
	struct mmu_page *sp;

	/* New pages come at the front, so what is obsolete is at the back. */
	while (!cds_list_empty(&shadow->active)) {
		sp = cds_list_entry(shadow->active.prev, struct mmu_page, link);
		if (sp->valid_gen == shadow->valid_gen)
			break;
		shadow_zap_page(ctx, sp);
		if (!hv_rwlock_is_contended(&ctx->vm->mmu_lock))
			continue;
		mmu_ctx_finish(ctx);
		hv_rcu_read_unlock();
		hv_cond_resched_rwlock_write(&ctx->vm->mmu_lock);
		hv_rcu_read_lock();
	}
}

void shadow_zap_all(struct hv_vm *vm, struct hv_mmu_invalidate_times *times)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	struct mmu_shadow *shadow = vm->mmu->shadow;
	struct mmu_page *sp;
	uint64_t t0 = hv_clock_ns(), t1, t2;
	unsigned int roots = 0;

	hv_assert_held(&vm->slots_lock);
	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	__atomic_store_n(&shadow->valid_gen, shadow->valid_gen + 1, __ATOMIC_RELEASE);
	vm_make_all_requests(vm, HV_REQ_MMU_RELOAD);
	t1 = hv_clock_ns();
	if (times)
		cds_list_for_each_entry (sp, &shadow->active, link)
			roots += sp->root_count != 0;
	zap_obsolete(&ctx);
	t2 = hv_clock_ns();
	ctx.flush = true;
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
	if (times)
		*times = (struct hv_mmu_invalidate_times){
			.publish_ns = t1 - t0,
			.zap_ns = t2 - t1,
			.flush_ns = hv_clock_ns() - t2,
			.roots = roots,
		};
}
