/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The #PF of a guest under shadow paging: is it the guest's own, or ours?
 *
 *   MMIO entry       a cached "no memory" answers at once
 *   guest walk       sets the guest's A and D bits; a fault there is the guest's
 *   slot, host page  as under TDP
 *   mmu_lock         exclusive; stale, or an entry changed? then retry
 *   map              shadow pages down to the leaf; each guest table is protected
 *                    first and its entry read again then
 *
 * CR0.WP = 0 with a processor that has WP = 1: a supervisor's write to a page that the
 * guest's entry forbids maps it writable for the supervisor alone (U taken away,
 * and X where SMEP would have stopped execution); a user's access changes it back.
 */
#include "hv/mmu/shadow.h"

#include <errno.h>

#include "hv/x86/defs.h"
#include "hv/x86/ops.h"

/* Tries at a write to a tracked page before an emulator has to do it. */
#define UNPROTECT_TRIES 4
/* Pages for one fault: per level a table and its `shadowed`. */
#define FAULT_PAGES (2 * MMU_MAX_LEVELS)

/* ---- lookups ------------------------------------------------------------------------- */

static uint64_t *top_table(const struct mmu_shadow_vcpu *sv, uint64_t linear, int *level)
{
	struct mmu_page *sp;

	if (sv->role.long_mode) {
		sp = sv->root;
		*level = sp ? (int)mmu_page_role(sp).level : 0;
	} else {
		sp = sv->pae[linear >> 30 & 3];
		*level = HV_PG_LEVEL_2M;
	}
	return sp ? sp->spt : NULL;
}

uint64_t *shadow_lookup(struct hv_vcpu *vcpu, uint64_t linear, int *level, uint64_t *spte)
{
	uint64_t *table = top_table(vcpu->mmu->shadow, linear, level), *sptep;

	*spte = 0;
	if (!table)
		return NULL;
	for (;; (*level)--) {
		sptep = &table[mmu_index(linear >> HV_PAGE_SHIFT, *level)];
		*spte = spte_load(sptep);
		if (!spte_is_table(*spte, *level))
			return sptep;
		table = (uint64_t *)(uintptr_t)(*spte & SPTE_FRAME);
	}
}

bool shadow_mmio_lookup(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	const struct spte_format *f = vcpu->vm->mmu->fmt;
	unsigned int need = fault->access & (ACC_WRITE | ACC_USER);
	uint64_t spte;
	int level;

	shadow_lookup(vcpu, fault->addr, &level, &spte);
	if (!spte_is_mmio(f, spte))
		return false;
	if (!mmio_is_current(vcpu, spte)) {
		mmu_vcpu_stat(&vcpu->stats.mmio_cache_stale);
		mmu_count(&vcpu->mmu->counters, mmio_stale, 1);
		return false;
	}
	/* Rights beyond the cached ones are for the guest walk to judge. */
	if ((spte_mmio_access(f, spte) & need) != need || fault->exec)
		return false;
	fault->gpa = (spte_mmio_gfn(spte) << HV_PAGE_SHIFT) | (fault->addr & ~HV_PAGE_MASK);
	mmu_vcpu_stat(&vcpu->stats.mmio_cache_hits);
	return true;
}

/* ---- map ------------------------------------------------------------------------------------ */

struct shadow_map {
	struct mmu_ctx *ctx;
	struct mmu_fault *fault;
	struct shadow_walk *walk; /* NULL: CR0.PG = 0 */
	int guest_level;	  /* of the guest's leaf; its tables end there */
	int goal;
	unsigned int access;	  /* of the leaf */
};

/* The page that belongs under entry `index` of sp. */
static union mmu_role child_role(const struct shadow_map *map, const struct mmu_page *sp,
				 unsigned int index, hv_gfn_t *gfn)
{
	int level = (int)sp->role.level - 1;
	union mmu_role role = sp->role;

	role.level = (unsigned int)level & 7;
	role.guest_level = 0;
	role.quadrant = 0;
	if (level < map->guest_level || !map->walk) {
		/* Below the guest's leaf: the part of a big guest page, or of a flat space. */
		role.direct = 1;
		role.gpte4 = 0;
		role.access = map->access & 7;
		*gfn = mmu_gfn_round(map->fault->gfn, level + 1);
		return role;
	}
	role.direct = 0;
	/* Rights of the entries above that table. */
	role.access = ACC_ALL;
	{
		const struct x86_walk_level *above = shadow_walk_level(map->walk, level + 1);
		const struct x86_walk_level *here = shadow_walk_level(map->walk, level);

		if (above && !(level + 1 == 3 && !role.long_mode))
			role.access = ((above->access & X86_ACC_WRITE ? ACC_WRITE : 0) |
				       (above->access & X86_ACC_EXEC ? ACC_EXEC : 0) |
				       (above->access & X86_ACC_USER ? ACC_USER : 0)) & 7;
		*gfn = here->table_gpa >> HV_PAGE_SHIFT;
	}
	if (role.gpte4)
		role.quadrant = index & 1;
	return role;
}

/* Make sure that entry `index` of sp points to the right table. NULL: retry. */
static struct mmu_page *step_down(struct shadow_map *map, struct mmu_page *sp, unsigned int index)
{
	struct mmu_ctx *ctx = map->ctx;
	hv_gfn_t gfn;
	union mmu_role role = child_role(map, sp, index, &gfn);
	uint64_t spte = spte_load(&sp->spt[index]);
	struct mmu_page *child;

	if (spte_is_table(spte, (int)sp->role.level)) {
		child = mmu_page_of_spte(spte);
		if (child->gfn == gfn && child->role.word == role.word)
			goto have;
	}
	shadow_drop_spte(ctx, sp, index);
	child = shadow_get_page(ctx, gfn, role);
	/* Getting it may have zapped an unsync page, and that one's ancestors' links. */
	if (sp->role.invalid || child->role.invalid)
		return NULL;
	shadow_link(ctx, sp, index, child);
	if (child->unsync_children)
		shadow_sync_children(ctx, child);
have:
	if (!role.direct && shadow_gpte_changed(ctx, map->walk, (int)role.level))
		return NULL;
	return child;
}

/* Nothing is mapped writable that has to stay protected. True: it may be writable. */
static bool may_write(struct shadow_map *map)
{
	struct mmu_fault *fault = map->fault;

	if (!(map->access & ACC_WRITE) || !fault->host_writable)
		return true; /* not our reason */
	/* Only a write is worth letting a table go out of sync. */
	if (!fault->write)
		return !shadow_is_protected(map->ctx, fault->slot, fault->gfn);
	return shadow_try_unsync(map->ctx, fault->slot, fault->gfn);
}

static int set_leaf(struct shadow_map *map, struct mmu_page *sp, unsigned int index)
{
	struct mmu_ctx *ctx = map->ctx;
	struct mmu_fault *fault = map->fault;
	int level = (int)sp->role.level;
	bool mmu_writable = may_write(map);
	hv_gfn_t gfn = mmu_gfn_round(fault->gfn, level);
	uint64_t spte = mmu_fault_make_spte(ctx->mmu, fault, level, map->access, mmu_writable);
	uint64_t old = spte_load(&sp->spt[index]);

	if (map->walk && sp->role.long_mode)
		spte |= (uint64_t)map->walk->r.pkey << 59;
	if (spte_is_table(old, level) ||
	    (spte_present(old) && shadow_spte_gfn(sp, index) != gfn))
		shadow_drop_spte(ctx, sp, index);
	else if (spte_present(old) && spte_pfn(old) == spte_pfn(spte))
		spte |= old & ctx->fmt->dirty;
	if (spte_present(old) && (old & SPTE_X86_U) && !(spte & SPTE_X86_U))
		ctx->flush = true;
	shadow_set_leaf(ctx, sp, index, spte, gfn, map->access);
	if (fault->write && spte_writable(spte) && mmu_slot_logged(fault->slot))
		vm_mark_page_dirty(ctx->vm, ctx->vcpu, fault->slot, fault->gfn);
	if (fault->write && !spte_writable(spte))
		return HV_PF_EMULATE;
	return spte == old ? HV_PF_SPURIOUS : HV_PF_FIXED;
}

static int set_mmio(struct shadow_map *map, struct mmu_page *sp, unsigned int index)
{
	struct mmu_ctx *ctx = map->ctx;

	if (!mmio_may_cache(map->fault->generation))
		return HV_PF_EMULATE;
	shadow_drop_spte(ctx, sp, index);
	shadow_set_leaf(ctx, sp, index,
			spte_make_mmio(ctx->fmt, map->fault->gfn, map->access,
				       map->fault->generation),
			map->fault->gfn, map->access);
	return HV_PF_EMULATE;
}

static int map_levels(struct shadow_map *map)
{
	struct mmu_shadow_vcpu *sv = map->ctx->vcpu->mmu->shadow;
	struct mmu_fault *fault = map->fault;
	struct mmu_page *sp = sv->role.long_mode ? sv->root : sv->pae[fault->addr >> 30 & 3];
	unsigned int index;

	if (!sp || sp->role.invalid)
		return HV_PF_RETRY;
	if (map->walk && shadow_gpte_changed(map->ctx, map->walk, (int)sp->role.level))
		return HV_PF_RETRY;
	for (;;) {
		index = mmu_index(fault->addr >> HV_PAGE_SHIFT, (int)sp->role.level);
		if ((int)sp->role.level <= map->goal)
			break;
		sp = step_down(map, sp, index);
		if (!sp)
			return HV_PF_RETRY;
	}
	return fault->slot ? set_leaf(map, sp, index) : set_mmio(map, sp, index);
}

/* ---- a write to a tracked page -------------------------------------------------------------------- */

/* The page is one of the tables by which this very access is translated. */
static bool writes_own_table(const struct shadow_walk *walk, hv_gfn_t gfn)
{
	unsigned int i;

	for (i = 0; i < walk->r.nr_levels; i++)
		if (walk->r.levels[i].table_gpa >> HV_PAGE_SHIFT == gfn)
			return true;
	return false;
}

/*
 * Give the page up as a table and let the write happen; the table is shadowed again
 * when it is used again. Only an access that needs its own target as a table, or
 * one that does not get through, has to be emulated.
 */
static int tracked_write(struct shadow_map *map)
{
	struct mmu_shadow_vcpu *sv = map->ctx->vcpu->mmu->shadow;
	hv_gfn_t gfn = map->fault->gfn;

	if (map->walk && writes_own_table(map->walk, gfn))
		return HV_PF_EMULATE;
	sv->retries = sv->retry_gfn == gfn ? sv->retries + 1 : 1;
	sv->retry_gfn = gfn;
	if (sv->retries > UNPROTECT_TRIES) {
		sv->retries = 0;
		return HV_PF_EMULATE;
	}
	return shadow_unprotect(map->ctx, gfn) ? HV_PF_RETRY : HV_PF_EMULATE;
}

/* ---- the fault -------------------------------------------------------------------------------------- */

static void set_goal(struct shadow_map *map)
{
	struct mmu_fault *fault = map->fault;
	bool long_mode = map->ctx->vcpu->mmu->shadow->role.long_mode;
	int top = long_mode ? HV_PG_LEVEL_1G : HV_PG_LEVEL_2M;

	map->guest_level = map->walk ? map->walk->r.level : top;
	map->access = map->walk ? map->walk->access : ACC_ALL;
	map->goal = HV_PG_LEVEL_4K;
	if (!fault->slot)
		return;
	top = hv_min(map->guest_level, top);
	map->goal = hv_min(top, mmu_fault_goal_level(map->ctx->mmu, fault));
	if (map->walk && fault->write && !(map->access & ACC_WRITE) && !fault->user &&
	    !(map->ctx->vcpu->mmu->shadow->gp.cr0 & X86_CR0_WP)) {
		map->access = (map->access | ACC_WRITE) & ~ACC_USER;
		if (map->ctx->vcpu->mmu->shadow->gp.cr4 & X86_CR4_SMEP)
			map->access &= ~ACC_EXEC;
	}
}

static int map_locked(struct hv_vcpu *vcpu, struct mmu_fault *fault, struct shadow_walk *walk)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, false);
	struct shadow_map map = { .ctx = &ctx, .fault = fault, .walk = walk };
	int r = HV_PF_RETRY;

	hv_write_lock(&vm->mmu_lock);
	if (shadow_roots_current(vcpu) &&
	    !(fault->slot && vm_invalidate_retry(vm, fault->seq, fault->gfn))) {
		shadow_make_room(&ctx);
		set_goal(&map);
		r = map_levels(&map);
		if (r == HV_PF_EMULATE && fault->slot)
			r = tracked_write(&map);
	}
	mmu_ctx_finish(&ctx);
	hv_write_unlock(&vm->mmu_lock);
	return r;
}

static int guest_fault(struct mmu_fault *fault, struct hv_pf_request *req, uint32_t error_code)
{
	req->fault_cr2 = fault->addr;
	req->fault_error_code = error_code;
	return HV_PF_GUEST_FAULT;
}

int shadow_page_fault(struct hv_vcpu *vcpu, struct mmu_fault *fault, struct hv_pf_request *req)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;
	bool paging = sv->gp.cr0 & X86_CR0_PG;
	struct shadow_walk walk;
	int r;

	if (!shadow_roots_current(vcpu))
		return HV_PF_RETRY;
	/* Refuses indirect tables; asked all the same, so that the reason stands in one place. */
	r = mmu_fast_fault(vcpu, fault);
	if (r != HV_PF_RETRY)
		return r;
	if (!fault->present && shadow_mmio_lookup(vcpu, fault)) {
		fault->mmio = true;
		return HV_PF_EMULATE;
	}
	if (paging) {
		r = shadow_walk_guest(vcpu, fault->addr, fault, req->smap_ac, &walk);
		if (r == X86_FAULT)
			return guest_fault(fault, req, walk.r.error_code);
		if (r != X86_OK)
			return HV_PF_RETRY;
		fault->gpa = walk.r.gpa;
	} else {
		fault->gpa = fault->addr & UINT64_C(0xffffffff);
	}
	fault->gfn = fault->gpa >> HV_PAGE_SHIFT;
	if (mmu_cache_fill(&vcpu->vm->mmu->pool, &vcpu->mmu->cache, FAULT_PAGES) ||
	    shadow_descs_fill(vcpu))
		return -ENOMEM;
	r = mmu_fault_in_pfn(vcpu, fault);
	if (r != HV_PF_FIXED)
		return r;
	if (!fault->slot) {
		fault->mmio = true;
		mmu_vcpu_stat(&vcpu->stats.mmio_cache_misses);
		mmu_count(&vcpu->mmu->counters, mmio_faults, 1);
		map_locked(vcpu, fault, paging ? &walk : NULL); /* a cache: it may fail */
		return HV_PF_EMULATE;
	}
	return map_locked(vcpu, fault, paging ? &walk : NULL);
}
