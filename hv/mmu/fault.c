/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page fault path: from an exit to an entry in the tables.
 *
 *   fast fault        (fast_fault.c) no locks
 *   MMIO entry        (mmio.c) a not-present entry that says "no memory", where the
 *                     processor has no misconfiguration to report
 *   stock up          table pages, before any lock
 *   seq               invalidate_seq, then
 *   slot, host page   outside mmu_lock
 *   mmu_lock          shared; stale? then retry
 *   map               (tdp_map.c)
 */
#include "hv/mmu/fault.h"

#include <errno.h>

#include "hv/mem/region.h"
#include "hv/mmu/shadow.h"
#include "hv/mmu/tdp_mmu.h"

static_assert((int)HV_LEVEL_4K == (int)HV_PG_LEVEL_4K && (int)HV_LEVEL_2M == (int)HV_PG_LEVEL_2M &&
		      (int)HV_LEVEL_1G == (int)HV_PG_LEVEL_1G,
	      "levels of host memory and of tables are the same numbers");

static void fault_init(struct hv_vcpu *vcpu, struct mmu_fault *fault, uint64_t addr, uint64_t error)
{
	*fault = (struct mmu_fault){
		.addr = addr,
		.gfn = addr >> HV_PAGE_SHIFT,
		.gpa = addr,
		.present = error & HV_PF_PRESENT,
		.write = error & HV_PF_WRITE,
		.exec = error & HV_PF_FETCH,
		.user = error & HV_PF_USER,
		.nx = atomic_load_explicit(&vcpu->vm->mmu->nx_huge_pages, memory_order_relaxed),
	};
	fault->access = (fault->write ? ACC_WRITE : 0) | (fault->exec ? ACC_EXEC : 0) |
			(fault->user ? ACC_USER : 0);
}

/*
 * Slot and generation out of one and the same array: the answer "no slot" may be
 * cached, and must carry the generation of the array that gave it.
 */
static void fault_find_slot(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	unsigned int as_id = vcpu->mmu->as_id;
	struct hv_memslots *slots;

	if (as_id == 0) {
		fault->slot = hv_vcpu_gfn_to_memslot(vcpu, fault->gfn);
		if (fault->slot)
			return;
	}
	slots = hv_vm_memslots(vcpu->vm, (int)as_id);
	fault->generation = hv_memslots_generation(slots);
	fault->slot = memslot_find(slots, fault->gfn);
}

int mmu_fault_in_pfn(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	struct hv_vm *vm = vcpu->vm;
	struct hv_mem_pfn_info info;
	hv_hva_t hva;
	bool slot_ro;

	fault->seq = vm_invalidate_seq(vm);
	fault_find_slot(vcpu, fault);
	if (!fault->slot)
		return HV_PF_FIXED;
	if (!memslot_visible(fault->slot))
		return HV_PF_RETRY;
	slot_ro = fault->slot->flags & HV_MEM_READONLY;
	if (slot_ro && fault->write) {
		/* ROM: the write goes to whoever emulates it, and changes no memory. */
		fault->mmio = true;
		return HV_PF_EMULATE;
	}
	hva = memslot_gfn_to_hva(fault->slot, fault->gfn);
	if (hv_mem_pfn_info(vm->mem, hva, &info) || (fault->write && !info.writable)) {
		/* A page that is being taken away looks like this for a moment. */
		return vm_invalidate_retry_unlocked(vm, fault->seq, fault->gfn) ? HV_PF_RETRY
										: HV_PF_USER_EXIT;
	}
	fault->pfn = hva >> HV_PAGE_SHIFT;
	fault->host_writable = info.writable && !slot_ro;
	fault->max_level = (int)info.level;
	return HV_PF_FIXED;
}

bool mmu_fault_stale(struct hv_vcpu *vcpu, const struct mmu_fault *fault)
{
	hv_assert_held(&vcpu->vm->mmu_lock);
	if (mmu_page_role(vcpu->mmu->root).invalid)
		return true;
	return fault->slot && vm_invalidate_retry(vcpu->vm, fault->seq, fault->gfn);
}

/*
 * A huge leaf brings in pages that nobody asked for, and vm_invalidate_retry() has
 * only been asked about one: the leaf must keep out of what is being invalidated.
 */
static bool huge_meets_invalidation(const struct hv_vm *vm, hv_gfn_t gfn, int level)
{
	hv_gfn_t start = mmu_gfn_round(gfn, level);

	return vm->invalidate_in_progress && start < vm->invalidate_end &&
	       start + HV_PAGES_PER_LEVEL(level) > vm->invalidate_start;
}

int mmu_fault_goal_level(struct hv_mmu_vm *mmu, const struct mmu_fault *fault)
{
	int level = hv_min(fault->max_level, mmu->max_huge_level);

	/* A page is logged alone; and code in huge pages is what the workaround forbids. */
	if (mmu_slot_logged(fault->slot) || (fault->nx && fault->exec))
		return HV_PG_LEVEL_4K;
	while (level > HV_PG_LEVEL_4K && (!slot_huge_ok(fault->slot, fault->gfn, level) ||
					  huge_meets_invalidation(mmu->vm, fault->gfn, level)))
		level--;
	return level;
}

uint64_t mmu_fault_make_spte(struct hv_mmu_vm *mmu, const struct mmu_fault *fault, int level,
			     unsigned int access, bool mmu_writable)
{
	bool logged = mmu_slot_logged(fault->slot);
	struct spte_request req = {
		.fmt = mmu->fmt,
		.pfn = fault->pfn & ~(HV_PAGES_PER_LEVEL(level) - 1),
		.level = level,
		.access = access,
		.host_writable = fault->host_writable,
		.mmu_writable = mmu_writable,
		/* Not yet written and logged: the first write has to be seen, by W or by D. */
		.writable = !logged || fault->write || mmu_dirty_by_dbit(mmu),
		.dirty = !logged || fault->write,
		.accessed = !fault->prefetch,
		.ad_enabled = mmu->ad_enabled,
		.nx = fault->nx && level > HV_PG_LEVEL_4K,
	};

	return spte_make_leaf(&req);
}

static int fault_map(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	struct hv_vm *vm = vcpu->vm;
	struct mmu_ctx ctx = mmu_ctx_init(vm, vcpu, true);
	int r = HV_PF_RETRY;

	hv_read_lock(&vm->mmu_lock);
	if (!mmu_fault_stale(vcpu, fault)) {
		r = tdp_map(&ctx, fault);
		mmu_ctx_finish(&ctx);
	}
	hv_read_unlock(&vm->mmu_lock);
	return r;
}

static int fault_mmio(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	struct hv_mmu_vm *mmu = vcpu->vm->mmu;

	fault->mmio = true;
	mmu_vcpu_stat(&vcpu->stats.mmio_cache_misses);
	mmu_count(&vcpu->mmu->counters, mmio_faults, 1);
	if (!mmio_may_cache(fault->generation) ||
	    fault->gfn >= HV_PAGES_PER_LEVEL(mmu->root_level + 1))
		return HV_PF_EMULATE;
	/* Caching it may fail in any way; the access is emulated all the same. */
	fault_map(vcpu, fault);
	return HV_PF_EMULATE;
}

static int fault_tdp(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	struct hv_mmu_vm *mmu = vcpu->vm->mmu;
	int r;

	if (!vcpu->mmu->root || mmu_page_role(vcpu->mmu->root).invalid)
		return HV_PF_RETRY;
	if (!fault->prefetch) {
		r = mmu_fast_fault(vcpu, fault);
		if (r != HV_PF_RETRY)
			return r;
		if (!mmu->fmt->ept && !fault->present && mmio_lookup(vcpu, fault)) {
			fault->mmio = true;
			return HV_PF_EMULATE;
		}
	}
	if (mmu_cache_fill(&mmu->pool, &vcpu->mmu->cache, (unsigned int)mmu->root_level))
		return -ENOMEM;
	r = mmu_fault_in_pfn(vcpu, fault);
	if (r != HV_PF_FIXED)
		return r;
	if (!fault->slot)
		return fault_mmio(vcpu, fault);
	return fault_map(vcpu, fault);
}

static void fault_count(struct hv_vcpu *vcpu, int result)
{
	struct mmu_counters *cnt = &vcpu->mmu->counters;

	mmu_count(cnt, faults, 1);
	mmu_vcpu_stat(&vcpu->stats.pf_taken);
	if (result == HV_PF_FIXED) {
		mmu_vcpu_stat(&vcpu->stats.pf_fixed);
	} else if (result == HV_PF_SPURIOUS) {
		mmu_count(cnt, spurious, 1);
		mmu_vcpu_stat(&vcpu->stats.pf_spurious);
	} else if (result == HV_PF_RETRY) {
		mmu_count(cnt, retries, 1);
		mmu_vcpu_stat(&vcpu->stats.pf_retry);
	}
}

int mmu_page_fault(struct hv_vcpu *vcpu, struct hv_pf_request *req)
{
	struct mmu_fault fault;
	int r;

	hv_rcu_assert_read_held();
	fault_init(vcpu, &fault, req->addr, req->error_code);
	r = vcpu->mmu->shadow ? shadow_page_fault(vcpu, &fault, req) : fault_tdp(vcpu, &fault);
	fault_count(vcpu, r);
	req->gpa = fault.gpa;
	req->mmio = fault.mmio;
	return r;
}

int mmu_handle_mmio_hit(struct hv_vcpu *vcpu, uint64_t addr, hv_gpa_t *gpa, bool *write_ok)
{
	struct mmu_fault fault;
	int r;

	hv_rcu_assert_read_held();
	fault_init(vcpu, &fault, addr, 0);
	*write_ok = true;
	*gpa = addr;
	if (vcpu->mmu->shadow) {
		/* These tables mark MMIO by entries that are not present: mmu_page_fault() does. */
		return 0;
	}
	if (!vcpu->mmu->root)
		return 0;
	if (mmio_lookup(vcpu, &fault))
		return 1;
	/* Stale, or gone by now: an ordinary fault finds out what is there. */
	r = fault_tdp(vcpu, &fault);
	if (r < 0)
		return r;
	return r == HV_PF_EMULATE;
}

int64_t mmu_prefault(struct hv_vcpu *vcpu, hv_gpa_t gpa, uint64_t size)
{
	hv_gfn_t gfn = gpa >> HV_PAGE_SHIFT, end = (gpa + size + HV_PAGE_SIZE - 1) >> HV_PAGE_SHIFT;
	int64_t done = 0;
	int err = vcpu->mmu->shadow ? -EOPNOTSUPP : mmu_reload(vcpu);

	if (err || gpa + size < gpa)
		return err ? err : -EINVAL;
	while (gfn < end) {
		struct mmu_fault fault;
		uint64_t step, *sptep, spte;
		int r, level = HV_PG_LEVEL_4K;

		fault_init(vcpu, &fault, gfn << HV_PAGE_SHIFT, 0);
		fault.prefetch = true;
		hv_rcu_read_lock();
		r = fault_tdp(vcpu, &fault);
		sptep = tdp_lookup(vcpu->mmu->root, gfn, &level, &spte);
		hv_rcu_read_unlock();
		if (r == HV_PF_RETRY) {
			if (vcpu_request_pending(vcpu) && (err = mmu_reload(vcpu)))
				break;
			continue;
		}
		if (r < 0 || r == HV_PF_EMULATE || r == HV_PF_USER_EXIT) {
			err = r < 0 ? r : r == HV_PF_EMULATE ? -ENOENT : -EFAULT;
			break;
		}
		step = sptep ? HV_PAGES_PER_LEVEL(level) - (gfn & (HV_PAGES_PER_LEVEL(level) - 1)) : 1;
		gfn += step;
	}
	done = (int64_t)((gfn << HV_PAGE_SHIFT) - gpa);
	return done > 0 ? hv_min(done, (int64_t)size) : err;
}
