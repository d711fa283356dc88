/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fast page fault: write-protection and access-tracking faults that need nothing
 * but bits which the entry itself says may be set. One cmpxchg, no mmu_lock.
 *
 * Why it is safe: an entry of a *direct* table belongs to one gfn for as long as
 * the table lives (RCU keeps it alive here), so the cmpxchg cannot be fooled by
 * an entry that went away and came back: pfn and all rights are in the compared
 * value, and the gfn that we log is the one of the address. In an indirect table
 * the same slot may come back with the same pfn for another gfn, and the wrong
 * page would be logged (the ABA case in doc/mmu.md); so those are refused.
 *
 * The page is marked dirty after the cmpxchg. Another vCPU may write through the
 * entry before that; a reader of the log who arms the frame in between finds it
 * in the log next time, and no reader is done before all vCPUs are out of here.
 */
#include "hv/mmu/fault.h"
#include "hv/mmu/tdp_mmu.h"

#ifdef HV_MUTATION_FAST_FAULT_INDIRECT
#include "hv/mmu/shadow.h"
#endif

#define FAST_FAULT_TRIES 4

static bool fast_fault_possible(const struct hv_mmu_vm *mmu, const struct mmu_fault *fault)
{
	/* Not present is only of interest where access tracking hides entries. */
	if (!fault->present)
		return mmu->fmt->ept && !mmu->ad_enabled;
	return fault->write;
}

/* What the entry may become for this access; `old` where nothing may be done. */
static uint64_t fast_fault_new_spte(struct hv_mmu_vm *mmu, const struct mmu_fault *fault,
				    uint64_t old)
{
	uint64_t new_ = spte_restore_tracked(mmu->fmt, old);

	if (fault->write && spte_may_set_w(mmu->fmt, new_))
		new_ |= SPTE_W;
	return spte_permits(mmu->fmt, new_, fault->access, false) ? new_ : old;
}

static void fast_fault_log(struct hv_vcpu *vcpu, const struct mmu_fault *fault)
{
	unsigned int as_id = vcpu->mmu->as_id;
	struct hv_memslot *slot = as_id ? memslot_find(hv_vm_memslots(vcpu->vm, (int)as_id), fault->gfn)
					: hv_vcpu_gfn_to_memslot(vcpu, fault->gfn);

	if (mmu_slot_logged(slot))
		vm_mark_page_dirty(vcpu->vm, vcpu, slot, fault->gfn);
}

/*
 * One try. HV_PF_RETRY with *again: lost a race, look again; without: not for us.
 */
static int fast_fault_once(struct hv_vcpu *vcpu, const struct mmu_fault *fault, bool *again)
{
	struct hv_mmu_vm *mmu = vcpu->vm->mmu;
	uint64_t old, new_;
	int level;
#ifndef HV_MUTATION_FAST_FAULT_INDIRECT
	uint64_t *sptep = tdp_lookup(vcpu->mmu->root, fault->gfn, &level, &old);
#else
	uint64_t *sptep = shadow_lookup(vcpu, fault->addr, &level, &old);
#endif

	*again = false;
	if (!sptep || !spte_present(old))
		return HV_PF_RETRY;
	if (spte_permits(mmu->fmt, old, fault->access, false))
		return HV_PF_SPURIOUS;
	new_ = fast_fault_new_spte(mmu, fault, old);
	if (new_ == old)
		return HV_PF_RETRY;
	/* A logged page is made writable alone, never with its 511 neighbours. */
	if (level > HV_PG_LEVEL_4K && spte_writable(new_) && !spte_writable(old))
		return HV_PF_RETRY;
#ifdef HV_MUTATION_FAST_FAULT_INDIRECT
	/* The gfn of the entry that was read: which page is to be logged. */
	((struct mmu_fault *)(uintptr_t)fault)->gfn = shadow_spte_gfn(
		mmu_page_of_sptep(sptep), (unsigned int)(sptep - mmu_page_of_sptep(sptep)->spt));
	mmu_mutation_point();
#endif
	if (!__atomic_compare_exchange_n(sptep, &old, new_, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		*again = true;
		return HV_PF_RETRY;
	}
	if (spte_writable(new_) && !spte_writable(old))
		fast_fault_log(vcpu, fault);
	return HV_PF_FIXED;
}

int mmu_fast_fault(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	int tries, r = HV_PF_RETRY;
	bool again = true;

#ifndef HV_MUTATION_FAST_FAULT_INDIRECT
	/* Indirect tables: see above. */
	if (vcpu->mmu->shadow)
		return HV_PF_RETRY;
#endif
	if (!fast_fault_possible(vcpu->vm->mmu, fault))
		return HV_PF_RETRY;
	for (tries = 0; again && tries < FAST_FAULT_TRIES; tries++)
		r = fast_fault_once(vcpu, fault, &again);
	if (r == HV_PF_FIXED)
		mmu_count(&vcpu->mmu->counters, fast_faults, 1);
	return r;
}
