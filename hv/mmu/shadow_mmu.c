/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shadow MMU's life, its roots, and what hv/vm asks of it.
 *
 * A root follows the guest's mode: in long mode the page that shadows the guest's
 * top table (4 or 5 levels); otherwise a PAE table of four entries, made for each
 * vCPU below 4 GiB since CR3 has 32 bits there, that point to level-2 pages: of the
 * guest's PAE directories, of the four quarters of its 32-bit directory, or of
 * flat memory while its paging is off.
 */
#include "hv/mmu/shadow.h"

#include <errno.h>
#include <sys/mman.h>

#include "hv/vm/dirty.h"
#include "hv/x86/defs.h"

/* Shadow pages that any VM may have, and beyond them one for so many pages of memory. */
#define MAX_PAGES_FLOOR 1024
#define GUEST_PAGES_PER_SHADOW_PAGE 50

/* ---- life ------------------------------------------------------------------------------- */

int shadow_vm_init(struct hv_mmu_vm *mmu)
{
	struct mmu_shadow *shadow = hv_zalloc(sizeof(*shadow));
	unsigned int i;

	if (!shadow)
		return -ENOMEM;
	shadow->empty_root = hv_zalloc_aligned(HV_PAGE_SIZE, HV_PAGE_SIZE);
	if (!shadow->empty_root) {
		hv_free(shadow);
		return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(shadow->hash); i++)
		CDS_INIT_LIST_HEAD(&shadow->hash[i]);
	CDS_INIT_LIST_HEAD(&shadow->active);
	atomic_init(&shadow->max_pages, MAX_PAGES_FLOOR);
	mmu->shadow = shadow;
	return 0;
}

void shadow_vm_destroy(struct hv_mmu_vm *mmu)
{
	struct hv_vm *vm = mmu->vm;
	struct mmu_shadow *shadow = mmu->shadow;

	if (!shadow)
		return;
	hv_mutex_lock(&vm->slots_lock);
	shadow_zap_all(vm, NULL);
	hv_mutex_unlock(&vm->slots_lock);
	HV_BUG_ON(shadow->nr_pages);
	shadow_descs_drain(&shadow->free_descs);
	hv_free(shadow->empty_root);
	hv_free(shadow);
	mmu->shadow = NULL;
}

static uint64_t *pae_table_map(void)
{
	void *p;

	if (hv_fault_should_fail())
		return NULL;
	p = mmap(NULL, HV_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		 -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

int shadow_vcpu_init(struct hv_vcpu *vcpu)
{
	struct mmu_shadow_vcpu *sv = hv_zalloc(sizeof(*sv));

	if (!sv)
		return -ENOMEM;
	sv->pae_table = pae_table_map();
	if (!sv->pae_table) {
		hv_free(sv);
		return -ENOMEM;
	}
	sv->gp.maxphyaddr = 40; /* until hv/vcpu tells; paging is off */
	sv->changed = true;
	vcpu->mmu->shadow = sv;
	return 0;
}

void shadow_vcpu_destroy(struct hv_vcpu *vcpu)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;

	if (!sv)
		return;
	shadow_unload(vcpu);
	shadow_descs_drain(&sv->descs);
	munmap(sv->pae_table, HV_PAGE_SIZE);
	hv_free(sv);
	vcpu->mmu->shadow = NULL;
}

/* ---- rmaps ---------------------------------------------------------------------------------- */

static int alloc_all_rmaps(struct hv_vm *vm)
{
	struct hv_memslots *slots;
	struct hv_memslot *slot;
	int as_id, err;

	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		slots = hv_vm_memslots(vm, as_id);
		for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot)) {
			err = slot_arch_alloc_rmaps(slot);
			if (err)
				return err;
		}
	}
	return 0;
}

/*
 * The first shadow root of the VM. slots_arch_lock is held from before the slots are
 * read: an update that copies them, or creates one, comes wholly before (its slot is
 * seen here) or wholly after (it sees the flag, shadow_slot_prepare()).
 */
static int first_root(struct hv_vm *vm)
{
	struct mmu_shadow *shadow = vm->mmu->shadow;
	int err = 0;

	/* Acquire pairs with the release below: who sees the flag sees the arrays. */
	if (atomic_load_explicit(&shadow->rmaps, memory_order_acquire))
		return 0;
	hv_rcu_read_lock();
	hv_mutex_lock(&vm->slots_arch_lock);
	if (!atomic_load_explicit(&shadow->rmaps, memory_order_relaxed)) {
		err = alloc_all_rmaps(vm);
		if (!err)
			atomic_store_explicit(&shadow->rmaps, true, memory_order_release);
	}
	hv_mutex_unlock(&vm->slots_arch_lock);
	hv_rcu_read_unlock();
	return err;
}

int shadow_slot_prepare(struct hv_vm *vm, struct hv_memslot *new)
{
	hv_assert_held(&vm->slots_arch_lock);
	if (!atomic_load_explicit(&vm->mmu->shadow->rmaps, memory_order_relaxed))
		return 0;
	return slot_arch_alloc_rmaps(new);
}

/* ---- roots -------------------------------------------------------------------------------------- */

static union mmu_role role_of(const struct hv_guest_paging *gp, unsigned int as_id)
{
	union mmu_role role = { .word = 0 };
	bool pg = gp->cr0 & X86_CR0_PG, wp = gp->cr0 & X86_CR0_WP;

	role.as_id = as_id & 1;
	role.access = ACC_ALL;
	role.direct = !pg;
	role.long_mode = pg && (gp->efer & X86_EFER_LMA);
	role.level = !role.long_mode ? HV_PG_LEVEL_2M : (gp->cr4 & X86_CR4_LA57) ? 5 : 4;
	if (!pg)
		return role;
	role.gpte4 = !(gp->cr4 & X86_CR4_PAE);
	role.guest_level = role.gpte4 ? 2 : role.long_mode ? role.level : 3;
	role.cr0_wp = wp;
	role.efer_nx = (gp->efer & X86_EFER_NXE) != 0;
	role.smep_andnot_wp = (gp->cr4 & X86_CR4_SMEP) && !wp;
	role.smap_andnot_wp = (gp->cr4 & X86_CR4_SMAP) && !wp;
	role.cr4_pse = role.gpte4 && (gp->cr4 & X86_CR4_PSE);
	return role;
}

bool shadow_roots_current(struct hv_vcpu *vcpu)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;

	return sv->loaded && !sv->changed &&
	       sv->valid_gen ==
		       __atomic_load_n(&vcpu->vm->mmu->shadow->valid_gen, __ATOMIC_ACQUIRE);
}

static void put_roots(struct mmu_ctx *ctx, struct mmu_shadow_vcpu *sv)
{
	int i;

	if (sv->root)
		shadow_put_root(ctx, sv->root);
	sv->root = NULL;
	for (i = 0; i < 4; i++) {
		if (sv->pae[i])
			shadow_put_root(ctx, sv->pae[i]);
		sv->pae[i] = NULL;
	}
	sv->loaded = false;
}

void shadow_unload(struct hv_vcpu *vcpu)
{
	struct mmu_ctx ctx = mmu_ctx_init(vcpu->vm, vcpu, false);

	hv_write_lock(&vcpu->vm->mmu_lock);
	put_roots(&ctx, vcpu->mmu->shadow);
	ctx.flush = true;
	mmu_ctx_finish(&ctx);
	hv_write_unlock(&vcpu->vm->mmu_lock);
}

/* A root for the guest's table at gfn; NULL where there is no memory to read it from. */
static struct mmu_page *get_root(struct mmu_ctx *ctx, hv_gfn_t gfn, union mmu_role role)
{
	struct hv_memslot *slot = memslot_find(hv_vm_memslots(ctx->vm, role.as_id), gfn);
	struct mmu_page *sp;

	if (!role.direct && !memslot_visible(slot))
		return NULL;
	sp = shadow_get_page(ctx, gfn, role);
	sp->root_count++;
	shadow_sync_children(ctx, sp);
	return sp;
}

static void get_pae_roots(struct mmu_ctx *ctx, struct mmu_shadow_vcpu *sv)
{
	const struct hv_guest_paging *gp = &sv->gp;
	union mmu_role role = sv->role;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		hv_gfn_t gfn = gp->cr3 >> HV_PAGE_SHIFT & 0xfffff;

		if (role.direct) {
			gfn = (uint64_t)i << 18;
		} else if (role.gpte4) {
			role.quadrant = i & 3;
		} else {
			if (!(gp->pdptrs[i] & X86_PTE_P)) {
				sv->pae_table[i] = 0;
				continue;
			}
			gfn = (gp->pdptrs[i] & SPTE_FRAME) >> HV_PAGE_SHIFT;
		}
		sv->pae[i] = get_root(ctx, gfn, role);
		/* Entries of the PAE top level have P and a frame, and reserve R/W and U/S. */
		sv->pae_table[i] = sv->pae[i] ? (uintptr_t)sv->pae[i]->spt | X86_PTE_P : 0;
	}
}

static void get_roots(struct hv_vcpu *vcpu, struct mmu_ctx *ctx)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;

	sv->role = role_of(&sv->gp, vcpu->mmu->as_id);
	sv->valid_gen = ctx->mmu->shadow->valid_gen;
	sv->changed = false;
	shadow_make_room(ctx);
	if (sv->role.long_mode)
		sv->root = get_root(ctx, (sv->gp.cr3 & SPTE_FRAME) >> HV_PAGE_SHIFT, sv->role);
	else
		get_pae_roots(ctx, sv);
	sv->loaded = true;
}

static bool any_root_invalid(const struct mmu_shadow_vcpu *sv)
{
	bool invalid = sv->root && mmu_page_role(sv->root).invalid;
	int i;

	for (i = 0; i < 4; i++)
		invalid |= sv->pae[i] && mmu_page_role(sv->pae[i]).invalid;
	return invalid;
}

static void load_root(struct hv_vcpu *vcpu)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;
	const uint64_t *table = sv->role.long_mode ? sv->root ? sv->root->spt
							      : vcpu->vm->mmu->shadow->empty_root
						   : sv->pae_table;
	int level = sv->role.long_mode ? (int)sv->role.level : 3;

	vcpu->vm->vendor->load_mmu_root(vcpu, (uintptr_t)table >> HV_PAGE_SHIFT, level);
	vcpu->vm->vendor->flush_tlb_all(vcpu);
}

int shadow_reload(struct hv_vcpu *vcpu)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, false);
	int err;

	if (shadow_roots_current(vcpu) && !any_root_invalid(sv))
		return 0;
	err = first_root(vm);
	if (err)
		return err;
	/* Four roots with their `shadowed`, and what sync may add. */
	if (mmu_cache_fill(&vm->mmu->pool, &vcpu->mmu->cache, 2 * 4) || shadow_descs_fill(vcpu))
		return -ENOMEM;
	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	put_roots(&ctx, sv);
	get_roots(vcpu, &ctx);
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
	load_root(vcpu);
	return 0;
}

void shadow_guest_paging_changed(struct hv_vcpu *vcpu, const struct hv_guest_paging *gp)
{
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;
	const struct hv_guest_paging *old = &sv->gp;
	union mmu_role role = role_of(gp, vcpu->mmu->as_id);
	bool pae = (gp->cr0 & X86_CR0_PG) && !role.long_mode && !role.gpte4;

	if (role.word != role_of(old, vcpu->mmu->as_id).word ||
	    ((gp->cr0 & X86_CR0_PG) && (gp->cr3 ^ old->cr3) & SPTE_FRAME) ||
	    (pae && memcmp(gp->pdptrs, old->pdptrs, sizeof(gp->pdptrs))))
		sv->changed = true;
	sv->gp = *gp;
}

/* ---- what the guest does to its TLB ------------------------------------------------------------ */

void shadow_sync_roots(struct hv_vcpu *vcpu)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_shadow_vcpu *sv = vcpu->mmu->shadow;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, false);
	int i;

	if (!shadow_roots_current(vcpu))
		return; /* new roots are synchronised when they are loaded */
	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	if (sv->root)
		shadow_sync_children(&ctx, sv->root);
	for (i = 0; i < 4; i++)
		if (sv->pae[i])
			shadow_sync_children(&ctx, sv->pae[i]);
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
}

void shadow_invlpg(struct hv_vcpu *vcpu, uint64_t gva)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, false);
	struct mmu_page *sp;
	uint64_t *sptep, spte;
	int level;

	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	sptep = vcpu->mmu->shadow->loaded ? shadow_lookup(vcpu, gva, &level, &spte) : NULL;
	/* Only entries of unsync tables can differ from the guest's. */
	if (sptep && spte) {
		sp = mmu_page_of_sptep(sptep);
		if (sp->unsync)
			shadow_drop_spte(&ctx, sp, (unsigned int)(sptep - sp->spt));
	}
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
}

void shadow_guest_written(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint32_t len)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, false);

	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	while (len) {
		unsigned int offset = gpa & ~HV_PAGE_MASK;
		unsigned int n = hv_min(len, (uint32_t)HV_PAGE_SIZE - offset);

		shadow_written(&ctx, gpa >> HV_PAGE_SHIFT, offset, n);
		gpa += n;
		len -= n;
	}
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
}

/* ---- hv/vm ----------------------------------------------------------------------------------------- */

/* fn on the rmaps of [start, end), 4K first; true if any said so. */
static bool for_rmaps(struct mmu_ctx *ctx, const struct hv_gfn_range *range,
		      bool (*fn)(struct mmu_ctx *, const struct hv_memslot *, hv_gfn_t, int))
{
	hv_gfn_t gfn;
	bool any = false;
	int level;

	if (!atomic_load_explicit(&ctx->mmu->shadow->rmaps, memory_order_acquire) ||
	    !range->slot->arch->write_track)
		return false;
	for (level = HV_PG_LEVEL_4K; level <= HV_PG_LEVEL_1G; level++) {
		hv_gfn_t step = HV_PAGES_PER_LEVEL(level);

		for (gfn = range->start; gfn < range->end; gfn = mmu_gfn_round(gfn, level) + step)
			any |= fn(ctx, range->slot, gfn, level);
	}
	return any;
}

bool shadow_unmap_range(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);

	hv_rcu_read_lock();
	for_rmaps(&ctx, range, shadow_unmap_gfn);
	hv_rcu_read_unlock();
	return ctx.flush;
}

static bool age_fn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	return shadow_age_gfn(ctx, slot, gfn, level, true);
}

static bool test_age_fn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	return shadow_age_gfn(ctx, slot, gfn, level, false);
}

bool shadow_age_range(struct hv_vm *vm, const struct hv_gfn_range *range, bool clear)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	bool young;

	hv_rcu_read_lock();
	young = for_rmaps(&ctx, range, clear ? age_fn : test_age_fn);
	hv_rcu_read_unlock();
	return young;
}

static bool arm_fn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	/* A page is logged alone: big leaves go, and come back small. */
	if (level > HV_PG_LEVEL_4K)
		return shadow_unmap_gfn(ctx, slot, gfn, level);
	return shadow_write_protect(ctx, slot, gfn, true);
}

void shadow_rearm(struct hv_vm *vm, const struct hv_memslot *slot, hv_gfn_t base, uint64_t mask)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);

	hv_rcu_read_lock();
	for (; mask; mask &= mask - 1) {
		hv_gfn_t gfn = base + hv_ffs64(mask);
		struct hv_gfn_range range = { .slot = (struct hv_memslot *)(uintptr_t)slot,
					      .start = gfn, .end = gfn + 1 };

		for_rmaps(&ctx, &range, arm_fn);
	}
	hv_rcu_read_unlock();
}

/* A small leaf that is part of a big guest page goes, so that a big one can come. */
static bool collapse_fn(struct mmu_ctx *ctx, const struct hv_memslot *slot, hv_gfn_t gfn, int level)
{
	uint64_t *sptep = rmap_first(rmap_head(slot, gfn, level));

	if (!sptep || level > HV_PG_LEVEL_4K || !slot_huge_ok(slot, gfn, HV_PG_LEVEL_2M) ||
	    mmu_page_of_sptep(sptep)->indirect)
		return false;
	mmu_count(ctx->cnt, collapses, 1);
	return shadow_unmap_gfn(ctx, slot, gfn, level);
}

void shadow_slot_commit(struct hv_vm *vm, const struct hv_memslot *old, const struct hv_memslot *new)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	struct hv_gfn_range range = { .slot = (struct hv_memslot *)(uintptr_t)new };
	struct mmu_shadow *shadow = vm->mmu->shadow;
	bool arm;

	if (old)
		shadow->guest_pages -= old->npages;
	if (new)
		shadow->guest_pages += new->npages;
	atomic_store(&shadow->max_pages,
		     MAX_PAGES_FLOOR + shadow->guest_pages / GUEST_PAGES_PER_SHADOW_PAGE);
	if (!new)
		return;
	arm = memslot_log_must_arm(vm, old, new);
	if (!arm && !(mmu_slot_logged(old) && !mmu_slot_logged(new)))
		return;
	range.start = new->base_gfn;
	range.end = new->base_gfn + new->npages;
	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	for_rmaps(&ctx, &range, arm ? arm_fn : collapse_fn);
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
}

unsigned int shadow_list_roots(struct hv_vm *vm, struct hv_mmu_root_info *out, unsigned int max)
{
	struct mmu_page *sp;
	unsigned int n = 0;

	hv_write_lock(&vm->mmu_lock);
	cds_list_for_each_entry (sp, &vm->mmu->shadow->active, link) {
		if (!sp->root_count)
			continue;
		if (n < max)
			out[n] = (struct hv_mmu_root_info){
				.pfn = (uintptr_t)sp->spt >> HV_PAGE_SHIFT,
				.role = sp->role.word,
				.level = (int)sp->role.level,
				.refcount = (int)sp->root_count,
				.invalid = shadow_obsolete(vm->mmu->shadow, sp),
				.indirect = sp->indirect,
				.as_id = sp->role.as_id,
			};
		n++;
	}
	hv_write_unlock(&vm->mmu_lock);
	return n;
}
