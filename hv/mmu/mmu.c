/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MMU's life in a VM and a vCPU, and the table of operations that hv/vm
 * calls. What the operations do is in the files below this one.
 */
#include "hv/mmu/mmu.h"

#include <errno.h>

#include "hv/mmu/fault.h"
#include "hv/mmu/shadow.h"
#include "hv/mmu/slot_arch.h"
#include "hv/mmu/tdp_mmu.h"
#include "hv/vm/dirty.h"

/* ---- life -------------------------------------------------------------------------- */

static int mmu_vm_init(struct hv_vm *vm)
{
	const struct hv_vendor_ops *vendor = vm->vendor;
	struct hv_mmu_vm *mmu = hv_zalloc(sizeof(*mmu));
	int err;

	if (!mmu)
		return -ENOMEM;
	mmu->vm = vm;
	mmu->direct = vm->paging == HV_PAGING_TDP;
	mmu->fmt = mmu->direct && vendor->ept_format ? &spte_format_ept : &spte_format_x86;
	/* Ordinary x86 tables always have A and D bits. */
	mmu->ad_enabled = !mmu->fmt->ept || vendor->has_ad_bits;
	mmu->root_level = hv_min(vendor->max_tdp_level, 4);
	mmu->max_huge_level = vendor->max_huge_level ? (int)vendor->max_huge_level : HV_PG_LEVEL_1G;
	mmu->dirty_mode = mmu->direct && mmu->ad_enabled && vendor->has_pml ? HV_MMU_DIRTY_PML
									    : HV_MMU_DIRTY_WP;
	CDS_INIT_LIST_HEAD(&mmu->roots);
	hv_spinlock_init(&mmu->tdp_mmu_pages_lock, HV_LC_TDP_MMU_PAGES);
	hv_spinlock_init(&mmu->mmu_unsync_pages_lock, HV_LC_MMU_UNSYNC_PAGES);
	mmu_pool_init(&mmu->pool);
	err = mmu->direct ? 0 : shadow_vm_init(mmu);
	if (!err)
		err = mmu_zap_init(mmu);
	if (err) {
		if (mmu->shadow)
			hv_free(mmu->shadow->empty_root);
		hv_free(mmu->shadow);
		mmu_pool_destroy(&mmu->pool);
		hv_spinlock_destroy(&mmu->mmu_unsync_pages_lock);
		hv_spinlock_destroy(&mmu->tdp_mmu_pages_lock);
		hv_free(mmu);
		return err;
	}
	vm->mmu = mmu;
	return 0;
}

static void mmu_vm_destroy(struct hv_vm *vm)
{
	struct hv_mmu_vm *mmu = vm->mmu;

	if (!mmu)
		return;
	shadow_vm_destroy(mmu);
	/* vCPUs have put their roots, so each is on its way through the worker. */
	mmu_zap_destroy(mmu);
	HV_BUG_ON(!cds_list_empty(&mmu->roots));
	mmu_pool_destroy(&mmu->pool);
	hv_spinlock_destroy(&mmu->mmu_unsync_pages_lock);
	hv_spinlock_destroy(&mmu->tdp_mmu_pages_lock);
	vm->mmu = NULL;
	hv_free(mmu);
}

static int mmu_vcpu_init(struct hv_vcpu *vcpu)
{
	struct hv_mmu_vcpu *mv = hv_zalloc(sizeof(*mv));

	if (!mv)
		return -ENOMEM;
	mv->counters.single_writer = true;
	vcpu->mmu = mv;
	if (!vcpu->vm->mmu->shadow || !shadow_vcpu_init(vcpu))
		return 0;
	vcpu->mmu = NULL;
	hv_free(mv);
	return -ENOMEM;
}

/* Every counter of a block, as an array. */
static _Atomic int64_t *counter_array(struct mmu_counters *c)
{
	return &c->tables;
}

#define NR_COUNTERS                                                                                \
	((sizeof(struct mmu_counters) - offsetof(struct mmu_counters, tables)) / sizeof(int64_t))

static void mmu_vcpu_destroy(struct hv_vcpu *vcpu)
{
	struct hv_mmu_vcpu *mv = vcpu->mmu;
	struct hv_mmu_vm *mmu = vcpu->vm->mmu;
	unsigned int i;

	if (!mv)
		return;
	mmu_unload(vcpu);
	shadow_vcpu_destroy(vcpu);
	mmu_cache_drain(&mmu->pool, &mv->cache);
	for (i = 0; i < NR_COUNTERS; i++)
		mmu_count_add(&mmu->counters, counter_array(&mmu->counters) + i,
			      atomic_load_explicit(counter_array(&mv->counters) + i,
						   memory_order_relaxed));
	vcpu->mmu = NULL;
	hv_free(mv);
}

/* ---- roots of a vCPU -------------------------------------------------------------------- */

static union mmu_role tdp_root_role(const struct hv_mmu_vm *mmu, unsigned int as_id)
{
	union mmu_role role = { .word = 0 };

	role.level = (unsigned int)mmu->root_level & 7;
	role.direct = 1;
	role.as_id = as_id & 1;
	role.ad_disabled = !mmu->ad_enabled;
	return role;
}

static void put_root(struct hv_vcpu *vcpu, struct mmu_page **rootp)
{
	struct mmu_ctx ctx = mmu_ctx_init(vcpu->vm, vcpu, true);
	struct mmu_page *root = *rootp;

	if (!root)
		return;
	hv_read_lock(&vcpu->vm->mmu_lock);
	*rootp = NULL;
	mmu_root_put(&ctx, root);
	hv_read_unlock(&vcpu->vm->mmu_lock);
}

void mmu_unload(struct hv_vcpu *vcpu)
{
	int i;

	if (vcpu->mmu->shadow) {
		shadow_unload(vcpu);
		return;
	}
	put_root(vcpu, &vcpu->mmu->root);
	for (i = 0; i < HV_ADDRESS_SPACE_NUM; i++)
		put_root(vcpu, &vcpu->mmu->spare_root[i]);
}

static void put_root_if_invalid(struct hv_vcpu *vcpu, struct mmu_page **rootp)
{
	if (*rootp && mmu_page_role(*rootp).invalid)
		put_root(vcpu, rootp);
}

int mmu_reload(struct hv_vcpu *vcpu)
{
	struct hv_mmu_vcpu *mv = vcpu->mmu;
	int i, err;

	if (mv->shadow)
		return shadow_reload(vcpu);
	for (i = 0; i < HV_ADDRESS_SPACE_NUM; i++)
		put_root_if_invalid(vcpu, &mv->spare_root[i]);
	put_root_if_invalid(vcpu, &mv->root);
	if (!mv->root) {
		err = mmu_root_get(vcpu, tdp_root_role(vcpu->vm->mmu, mv->as_id), &mv->root);
		if (err)
			return err;
		mv->reload = true;
	}
	if (!mv->reload)
		return 0;
	mv->reload = false;
	vcpu->vm->vendor->load_mmu_root(vcpu, (uintptr_t)mv->root->spt >> HV_PAGE_SHIFT,
					(int)mmu_page_role(mv->root).level);
	/* The page may have been another root before, under the same tag in the TLB. */
	vcpu->vm->vendor->flush_tlb_all(vcpu);
	return 0;
}

void mmu_set_address_space(struct hv_vcpu *vcpu, unsigned int as_id)
{
	struct hv_mmu_vcpu *mv = vcpu->mmu;

	HV_BUG_ON(as_id >= HV_ADDRESS_SPACE_NUM);
	if (mv->as_id == as_id)
		return;
	mv->spare_root[mv->as_id] = mv->root;
	mv->root = mv->spare_root[as_id];
	mv->spare_root[as_id] = NULL;
	mv->as_id = as_id;
	mv->reload = true;
	if (mv->shadow)
		mv->shadow->changed = true;
	vcpu_make_request(vcpu, HV_REQ_MMU_RELOAD);
}

/* ---- slots --------------------------------------------------------------------------------- */

static int mmu_slot_prepare(struct hv_vm *vm, const struct hv_memslot *old, struct hv_memslot *new,
			    enum hv_mr_change change)
{
	struct hv_memslot_arch *arch;
	int err;

	if (change != HV_MR_CREATE && change != HV_MR_MOVE)
		return 0;
	err = slot_arch_create(new, &arch);
	if (err)
		return err;
	new->arch = arch;
	if (vm->mmu->shadow && shadow_slot_prepare(vm, new)) {
		slot_arch_free(arch);
		new->arch = old ? old->arch : NULL;
		return -ENOMEM;
	}
	return 0;
}

static void mmu_slot_free_arch(struct hv_vm *vm, struct hv_memslot_arch *arch)
{
	slot_arch_free(arch);
}

/* Run fn on each root of the slot's address space, with a reference held; mmu_lock exclusive. */
static void for_slot_roots(struct mmu_ctx *ctx, const struct hv_memslot *slot,
			   void (*fn)(struct mmu_ctx *, struct mmu_page *,
				      const struct hv_memslot *))
{
	struct mmu_page *root;

	for (root = mmu_root_next(ctx, NULL, slot->as_id); root;
	     root = mmu_root_next(ctx, root, slot->as_id))
		fn(ctx, root, slot);
}

static void slot_update(struct hv_vm *vm, const struct hv_memslot *slot,
			void (*fn)(struct mmu_ctx *, struct mmu_page *, const struct hv_memslot *))
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);

	hv_write_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	for_slot_roots(&ctx, slot, fn);
	mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	hv_write_unlock(&vm->mmu_lock);
}

static void slot_zap_fn(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot)
{
	tdp_zap_range(ctx, root, slot->base_gfn, slot->base_gfn + slot->npages, true);
}

/*
 * What is wholly within the slot is cut at the highest entry, so this takes as long
 * as the slot has edges, not pages; the worker reclaims the rest behind our back.
 * The flush in mmu_ctx_finish() is what makes "no translation survives" true.
 */
static void mmu_slot_flush(struct hv_vm *vm, struct hv_memslot *slot)
{
	if (vm->mmu->shadow)
		/* Tables of the guest in the slot go as well, so all of it. */
		shadow_zap_all(vm, NULL);
	else
		slot_update(vm, slot, slot_zap_fn);
}

static void slot_arm_fn(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot)
{
	hv_gfn_t end = slot->base_gfn + slot->npages;

	/* A huge leaf that cannot be split loses W as a whole, and is split by its next fault. */
	tdp_split_range(ctx, root, slot->base_gfn, end);
	if (mmu_dirty_by_dbit(ctx->mmu))
		tdp_clear_dirty_range(ctx, root, slot->base_gfn, end);
	else
		tdp_wrprot_range(ctx, root, slot->base_gfn, end);
}

/*
 * Another reader has the slot's log already: a D bit that is set is news to it, so
 * taking it and logging it is one step.
 */
static void slot_arm_again_fn(struct mmu_ctx *ctx, struct mmu_page *root,
			      const struct hv_memslot *slot)
{
	hv_gfn_t end = slot->base_gfn + slot->npages;

	tdp_split_range(ctx, root, slot->base_gfn, end);
	tdp_collect_dirty(ctx, root, slot->base_gfn, end);
}

static void count_logged(struct hv_mmu_vm *mmu, const struct hv_memslot *old,
			 const struct hv_memslot *new)
{
	if (mmu_slot_logged(old))
		atomic_fetch_sub(&mmu->logged_slots[old->as_id], 1);
	if (mmu_slot_logged(new))
		atomic_fetch_add(&mmu->logged_slots[new->as_id], 1);
}

static void mmu_slot_commit(struct hv_vm *vm, const struct hv_memslot *old,
			    const struct hv_memslot *new, enum hv_mr_change change)
{
	count_logged(vm->mmu, old, new);
	if (vm->mmu->shadow) {
		shadow_slot_commit(vm, old, new);
		return;
	}
	if (!new)
		return;
	if (memslot_log_must_arm(vm, old, new))
		slot_update(vm, new,
			    vm->mmu->dirty_mode == HV_MMU_DIRTY_DBIT && mmu_slot_logged(old)
				    ? slot_arm_again_fn
				    : slot_arm_fn);
	else if (mmu_slot_logged(old) && !mmu_slot_logged(new))
		slot_update(vm, new, tdp_collapse_range);
}

static void zap_mmio_fn(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot)
{
	tdp_zap_mmio(ctx, root);
}

static void mmu_generation_changed(struct hv_vm *vm, uint64_t generation)
{
	struct hv_mmu_vm *mmu = vm->mmu;
	uint64_t gen = generation & ~HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS;
	uint64_t old = mmu->mmio_generation;

	mmu->mmio_generation = gen;
	if ((gen & ~SPTE_MMIO_GEN_MASK) == (old & ~SPTE_MMIO_GEN_MASK))
		return;
	/* The bits that entries hold have wrapped: an old one could look current again. */
	if (mmu->shadow) {
		shadow_zap_all(vm, NULL);
		return;
	}
	for (unsigned int as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		struct hv_memslot any = { .as_id = (uint16_t)as_id };

		slot_update(vm, &any, zap_mmio_fn);
	}
}

/* ---- notifier ----------------------------------------------------------------------------------- */

static bool mmu_unmap_gfn_range(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	struct mmu_page *root;

	if (vm->mmu->shadow)
		return shadow_unmap_range(vm, range);
	hv_rcu_read_lock();
	mmu_for_each_root(root, vm->mmu)
		if (mmu_page_role(root).as_id == range->slot->as_id)
			tdp_zap_range(&ctx, root, range->start, range->end, false);
	/* Tables may only be let go after a flush, which then is the caller's as well. */
	if (ctx.gather)
		mmu_ctx_finish(&ctx);
	hv_rcu_read_unlock();
	return ctx.flush;
}

static bool age_range(struct hv_vm *vm, const struct hv_gfn_range *range, bool clear)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	struct mmu_page *root;
	bool young = false;

	if (vm->mmu->shadow)
		return shadow_age_range(vm, range, clear);
	hv_rcu_read_lock();
	mmu_for_each_root(root, vm->mmu)
		if (mmu_page_role(root).as_id == range->slot->as_id)
			young |= tdp_age_range(&ctx, root, range->start, range->end, clear);
	hv_rcu_read_unlock();
	/* Without A/D bits W was taken: that flush must not depend on what the caller does. */
	if (ctx.flush)
		mmu_ctx_finish(&ctx);
	return young;
}

static bool mmu_age_gfn_range(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	return age_range(vm, range, true);
}

static bool mmu_test_age_gfn_range(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	return age_range(vm, range, false);
}

/* ---- dirty log -------------------------------------------------------------------------------------- */

static void mmu_dirty_log_rearm(struct hv_vm *vm, struct hv_memslot *slot, hv_gfn_t base_gfn,
				uint64_t mask)
{
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, false);
	struct mmu_page_cache cache = { .count = 0 };
	struct mmu_page *root;

	if (vm->mmu->shadow) {
		shadow_rearm(vm, slot, base_gfn, mask);
		return;
	}
	hv_rcu_read_lock();
	mmu_for_each_root(root, vm->mmu) {
		if (mmu_page_role(root).as_id != slot->as_id)
			continue;
		tdp_rearm(&ctx, root, base_gfn, mask, &cache);
	}
	hv_rcu_read_unlock();
	mmu_cache_drain(&vm->mmu->pool, &cache);
}

static void collect_fn(struct mmu_ctx *ctx, struct mmu_page *root, const struct hv_memslot *slot)
{
	tdp_collect_dirty(ctx, root, slot->base_gfn, slot->base_gfn + slot->npages);
}

static void collect_dbits(struct hv_vm *vm)
{
	struct hv_memslots *slots;
	struct hv_memslot *slot;
	int as_id;

	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		if (!atomic_load(&vm->mmu->logged_slots[as_id]))
			continue;
		/* slots_lock keeps the array; slot_update() drops and takes mmu_lock. */
		hv_rcu_read_lock();
		slots = hv_vm_memslots(vm, as_id);
		for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot))
			if (mmu_slot_logged(slot))
				slot_update(vm, slot, collect_fn);
		hv_rcu_read_unlock();
	}
}

static void mmu_dirty_log_sync(struct hv_vm *vm)
{
	switch (vm->mmu->dirty_mode) {
	case HV_MMU_DIRTY_WP:
		break;
	case HV_MMU_DIRTY_DBIT:
		collect_dbits(vm);
		break;
	case HV_MMU_DIRTY_PML:
		/* Leaving guest mode drains the buffer; who is outside has drained it. */
		vm_make_all_requests(vm, (enum hv_request)(HV_REQ_PML_FLUSH | HV_REQ_WAIT));
		break;
	}
}

const struct hv_mmu_ops hv_mmu = {
	.vm_init = mmu_vm_init,
	.vm_destroy = mmu_vm_destroy,
	.vcpu_init = mmu_vcpu_init,
	.vcpu_destroy = mmu_vcpu_destroy,
	.slot_prepare = mmu_slot_prepare,
	.slot_commit = mmu_slot_commit,
	.slot_flush = mmu_slot_flush,
	.slot_free_arch = mmu_slot_free_arch,
	.generation_changed = mmu_generation_changed,
	.unmap_gfn_range = mmu_unmap_gfn_range,
	.age_gfn_range = mmu_age_gfn_range,
	.test_age_gfn_range = mmu_test_age_gfn_range,
	.dirty_log_rearm = mmu_dirty_log_rearm,
	.dirty_log_sync = mmu_dirty_log_sync,
};

/* ---- what the engine asks for ------------------------------------------------------------------------ */

static void zap_all(struct hv_vm *vm, struct hv_mmu_invalidate_times *times)
{
	if (vm->mmu->shadow)
		shadow_zap_all(vm, times);
	else
		mmu_zap_all_fast(vm, times);
}

int mmu_invalidate_all(struct hv_vm *vm, struct hv_mmu_invalidate_times *times)
{
	hv_mutex_lock(&vm->slots_lock);
	zap_all(vm, times);
	hv_mutex_unlock(&vm->slots_lock);
	return 0;
}

unsigned int mmu_list_roots(struct hv_vm *vm, struct hv_mmu_root_info *out, unsigned int max)
{
	struct mmu_page *root;
	unsigned int n = 0;

	if (vm->mmu->shadow)
		return shadow_list_roots(vm, out, max);
	hv_write_lock(&vm->mmu_lock);
	mmu_for_each_root(root, vm->mmu) {
		union mmu_role role = mmu_page_role(root);

		if (n < max)
			out[n] = (struct hv_mmu_root_info){
				.pfn = (uintptr_t)root->spt >> HV_PAGE_SHIFT,
				.role = role.word,
				.level = (int)role.level,
				.refcount = (int)hv_refcount_read(&root->refs),
				.invalid = role.invalid,
				.queued = root->zap_state == MMU_ZAP_QUEUED,
				.indirect = root->indirect,
				.as_id = role.as_id,
			};
		n++;
	}
	hv_write_unlock(&vm->mmu_lock);
	return n;
}

static int64_t counter_sum(struct hv_vm *vm, size_t index)
{
	int64_t sum = atomic_load_explicit(counter_array(&vm->mmu->counters) + index,
					   memory_order_relaxed);
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		if (vcpu->mmu)
			sum += atomic_load_explicit(counter_array(&vcpu->mmu->counters) + index,
						    memory_order_relaxed);
	return sum;
}

static uint64_t counter_get(struct hv_vm *vm, size_t offset)
{
	int64_t v = counter_sum(vm, (offset - offsetof(struct mmu_counters, tables)) /
					    sizeof(int64_t));

	return v > 0 ? (uint64_t)v : 0; /* parts are read one after another */
}

void mmu_get_stats(struct hv_vm *vm, struct hv_mmu_stats *out)
{
#define GET(field) counter_get(vm, offsetof(struct mmu_counters, field))
	*out = (struct hv_mmu_stats){
		.pages_tables = GET(tables),
		.pages_4k = GET(leaves[HV_PG_LEVEL_4K]),
		.pages_2m = GET(leaves[HV_PG_LEVEL_2M]),
		.pages_1g = GET(leaves[HV_PG_LEVEL_1G]),
		.faults = GET(faults),
		.fast_faults = GET(fast_faults),
		.spurious = GET(spurious),
		.retries = GET(retries),
		.mmio_faults = GET(mmio_faults),
		.mmio_stale = GET(mmio_stale),
		.zaps = GET(zaps),
		.zap_pages = GET(zap_pages),
		.remote_flushes = GET(remote_flushes),
		.splits = GET(splits),
		.collapses = GET(collapses),
		.nx_splits = GET(nx_splits),
		.write_tracked = GET(write_tracked),
		.unsync = GET(unsync),
	};
#undef GET
}

/* What the tables look like may only change while there are none. */
static bool mmu_has_roots(struct hv_vm *vm)
{
	return mmu_list_roots(vm, NULL, 0) != 0;
}

int mmu_set_nx_huge_pages(struct hv_vm *vm, enum hv_mmu_toggle on)
{
	bool was;

	hv_mutex_lock(&vm->slots_lock);
	was = atomic_exchange(&vm->mmu->nx_huge_pages, on == HV_MMU_ON);
	/* Leaves made under the other rule go; faults that began before find invalid roots. */
	if (was != (on == HV_MMU_ON))
		zap_all(vm, NULL);
	hv_mutex_unlock(&vm->slots_lock);
	return 0;
}

int mmu_set_ad_bits(struct hv_vm *vm, enum hv_mmu_toggle on)
{
	struct hv_mmu_vm *mmu = vm->mmu;

	if (mmu_has_roots(vm))
		return -EBUSY;
	if (!mmu->fmt->ept || (on == HV_MMU_ON && !vm->vendor->has_ad_bits))
		return on == HV_MMU_ON && mmu->ad_enabled ? 0 : -EINVAL;
	mmu->ad_enabled = on == HV_MMU_ON;
	if (!mmu->ad_enabled)
		mmu->dirty_mode = HV_MMU_DIRTY_WP;
	return 0;
}

int mmu_set_dirty_mode(struct hv_vm *vm, enum hv_mmu_dirty_mode mode)
{
	struct hv_mmu_vm *mmu = vm->mmu;

	if (mode != HV_MMU_DIRTY_WP && (!mmu->direct || !mmu->ad_enabled))
		return -EINVAL;
	if (mode == HV_MMU_DIRTY_PML && !vm->vendor->has_pml)
		return -EINVAL;
	if (mmu_has_roots(vm))
		return -EBUSY;
	mmu->dirty_mode = mode;
	return 0;
}

int mmu_set_tdp_level(struct hv_vm *vm, int level)
{
	if (!vm->mmu->direct || level < 4 || level > vm->vendor->max_tdp_level)
		return -EINVAL;
	if (mmu_has_roots(vm))
		return -EBUSY;
	vm->mmu->root_level = level;
	return 0;
}

bool mmu_ad_bits(struct hv_vm *vm)
{
	return vm->mmu->ad_enabled;
}

bool mmu_uses_pml(struct hv_vm *vm)
{
	return vm->mmu->dirty_mode == HV_MMU_DIRTY_PML;
}

int mmu_tdp_level(struct hv_vm *vm)
{
	return vm->mmu->root_level;
}

/* ---- shadow paging only: under TDP the processor follows the guest by itself ------------------------------ */

void mmu_guest_paging_changed(struct hv_vcpu *vcpu, const struct hv_guest_paging *gp)
{
	if (vcpu->mmu->shadow)
		shadow_guest_paging_changed(vcpu, gp);
}

void mmu_invlpg(struct hv_vcpu *vcpu, uint64_t gva)
{
	if (vcpu->mmu->shadow)
		shadow_invlpg(vcpu, gva);
}

void mmu_sync_roots(struct hv_vcpu *vcpu)
{
	if (vcpu->mmu->shadow)
		shadow_sync_roots(vcpu);
}

void mmu_guest_written(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint32_t len)
{
	if (vcpu->mmu->shadow)
		shadow_guest_written(vcpu, gpa, len);
}
