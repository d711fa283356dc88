/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One page fault, from the exit to its result. const inputs first, then what the
 * steps of the fault path find out, then the result.
 */
#ifndef HV_MMU_FAULT_H
#define HV_MMU_FAULT_H

#include "hv/mmu/mmu_internal.h"

struct mmu_fault {
	/* in: set by fault_init() */
	uint64_t addr;	       /* TDP: gpa; shadow: linear */
	hv_gfn_t gfn;	       /* TDP: of addr; shadow: of the walk's result */
	unsigned int access;   /* ACC_* of the access */
	bool present;	       /* the processor saw a present entry */
	bool write, exec, user, prefetch;

	/* fault_in_pfn(): valid with slot != NULL */
	struct hv_memslot *slot;
	uint64_t generation;   /* of the memslots that slot (or its absence) was found in */
	unsigned long seq;     /* invalidate_seq before the host memory was looked up */
	hv_pfn_t pfn;
	bool host_writable;
	int max_level;	       /* what host memory and slot permit here */
	bool nx;	       /* huge leaves must not be executable */

	/* out */
	bool mmio;	       /* with HV_PF_EMULATE */
	hv_gpa_t gpa;
};

/* ---- fault.c ------------------------------------------------------------------------- */
/*
 * Slot and host page of fault->gfn. HV_PF_FIXED: go on; anything else is the fault's
 * result. RCU read side held. slot stays NULL for MMIO, which the caller goes on with.
 */
int mmu_fault_in_pfn(struct hv_vcpu *vcpu, struct mmu_fault *fault);
/* mmu_lock held: nothing that the fault relies on has changed since. */
bool mmu_fault_stale(struct hv_vcpu *vcpu, const struct mmu_fault *fault);
/* Largest mapping level at gfn, at most fault->max_level. mmu_lock held. */
int mmu_fault_goal_level(struct hv_mmu_vm *mmu, const struct mmu_fault *fault);
/* The leaf for gfn at level, with this access of the guest's mapping. */
uint64_t mmu_fault_make_spte(struct hv_mmu_vm *mmu, const struct mmu_fault *fault, int level,
			     unsigned int access, bool mmu_writable);

/* ---- fast_fault.c ---------------------------------------------------------------------- */
/* HV_PF_FIXED or HV_PF_SPURIOUS; HV_PF_RETRY: the slow path has to do it. No locks, RCU held. */
int mmu_fast_fault(struct hv_vcpu *vcpu, struct mmu_fault *fault);

/* ---- mmio.c ------------------------------------------------------------------------------ */
/* May an MMIO entry made from memslots of this generation be cached? */
bool mmio_may_cache(uint64_t generation);
bool mmio_is_current(struct hv_vcpu *vcpu, uint64_t spte);
/* A current MMIO entry for gfn in the vCPU's tables: true, and it counts as a hit. Lockless. */
bool mmio_lookup(struct hv_vcpu *vcpu, struct mmu_fault *fault);

/* ---- slot_arch.c ---------------------------------------------------------------------------- */
/* Huge pages of `level` are possible at gfn, as slot and write tracking go. */
bool slot_huge_ok(const struct hv_memslot *slot, hv_gfn_t gfn, int level);

#endif
