/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MMIO cache: entries that say "no memory here as of generation g", so that
 * an access to a device needs no memslot lookup.
 *
 * Nothing sweeps them when a slot appears: the generation of the memslots moves
 * on, and a hit with another generation is a miss. While an update is in progress
 * (bit 63) nothing is cached, since a reader of the old array could otherwise put
 * its answer under the new number. Entries hold the low SPTE_MMIO_GEN_BITS bits;
 * when those wrap, all MMIO entries go (mmu.c), so that equal means same.
 */
#include "hv/mmu/fault.h"
#include "hv/mmu/tdp_mmu.h"

bool mmio_may_cache(uint64_t generation)
{
	return !(generation & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS);
}

bool mmio_is_current(struct hv_vcpu *vcpu, uint64_t spte)
{
	struct hv_memslots *slots = hv_vm_memslots(vcpu->vm, (int)vcpu->mmu->as_id);
	uint64_t gen = hv_memslots_generation(slots);

#ifdef HV_MUTATION_MMIO_NO_GENERATION
	return true;
#endif
	return mmio_may_cache(gen) && spte_mmio_generation(spte) == (gen & SPTE_MMIO_GEN_MASK);
}

bool mmio_lookup(struct hv_vcpu *vcpu, struct mmu_fault *fault)
{
	const struct spte_format *f = vcpu->vm->mmu->fmt;
	uint64_t spte;
	int level;

	tdp_lookup(vcpu->mmu->root, fault->gfn, &level, &spte);
	if (!spte_is_mmio(f, spte))
		return false;
	if (!mmio_is_current(vcpu, spte)) {
		mmu_vcpu_stat(&vcpu->stats.mmio_cache_stale);
		mmu_count(&vcpu->mmu->counters, mmio_stale, 1);
		return false;
	}
	mmu_vcpu_stat(&vcpu->stats.mmio_cache_hits);
	return true;
}
