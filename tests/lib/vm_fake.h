/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stand-ins for what is above hv/vm, for its own tests: a processor whose kicks are
 * counted, a vendor module whose CPUs can be made to fail, an MMU that records
 * what it is told and can be made to fail. One instance each, reset by vf_start().
 */
#ifndef TESTS_VM_FAKE_H
#define TESTS_VM_FAKE_H

#include <stdatomic.h>

#include "hv/cpu/processor.h"
#include "hv/vm/hardware.h"
#include "hv/vm/vm.h"

#define VF_CPUS	   64
#define VF_PRESENT 0x2fULL /* host CPUs 0 to 3 and 5, whatever the host has */

struct vf_mmu {
	/* settings */
	int fail_prepare;      /* error of the next slot_prepare; then 0 again */
	int fail_vm_init;
	int fail_vcpu_init;
	/* called if not NULL, in the place of doing nothing */
	void (*on_flush)(struct hv_vm *vm, struct hv_memslot *slot);
	void (*on_commit)(struct hv_vm *vm, const struct hv_memslot *old,
			  const struct hv_memslot *new, enum hv_mr_change change);
	void (*on_prepare)(struct hv_vm *vm, enum hv_mr_change change);
	void (*on_generation)(struct hv_vm *vm, uint64_t generation);
	void (*on_rearm)(struct hv_vm *vm, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask);
	void (*on_sync)(struct hv_vm *vm);
	bool (*on_unmap)(struct hv_vm *vm, const struct hv_gfn_range *range);
	bool (*on_age)(struct hv_vm *vm, const struct hv_gfn_range *range);
	/* records */
	_Atomic unsigned int prepares, commits, flushes, generations, rearms, unmaps, ages, tests,
		syncs;
	_Atomic int arch_live; /* hv_memslot_arch objects */
	uint64_t last_generation;
};

struct vf_hw {
	int fail_cpu;		       /* hardware_enable fails there; -1: nowhere */
	_Atomic int enabled[VF_CPUS];  /* enables minus disables */
	_Atomic unsigned int enables, disables;
	int (*on_enable)(unsigned int cpu);
	void (*on_disable)(unsigned int cpu);
	int fail_vm_init, fail_vcpu_create;
	_Atomic uint64_t tsc; /* what rdtsc returns */
	uint64_t last_offset;
};

struct hv_lp {
	_Atomic unsigned int kicks;
	void (*on_kick)(struct hv_lp *lp, void *ctx);
	void *ctx;
};

extern struct vf_mmu vf_mmu;
extern struct vf_hw vf_hw;
extern const struct hv_mmu_ops vf_mmu_ops;
extern const struct hv_vendor_ops vf_vendor, vf_vendor2;
extern const struct hv_processor_ops vf_processor;

#define VF_KHZ 1000000U /* 1 GHz */

/* Registers the thread for RCU, calls hardware_init, loads vf_vendor. And back. */
void vf_start(void);
void vf_end(void);
/* A VM without host memory object; aborts if it cannot be made. */
struct hv_vm *vf_vm_new(const char *name);
/* memslot_set_region in one line. */
int vf_slot(struct hv_vm *vm, uint32_t slot, hv_gpa_t gpa, uint64_t size, hv_hva_t hva,
	    uint32_t flags);
/* A snapshot of a slot's fields by id; false: there is none. Its own read side. */
bool vf_slot_get(struct hv_vm *vm, int as_id, int id, struct hv_memslot *out);
uint64_t vf_generation(struct hv_vm *vm, int as_id);

/* A small fast generator (xorshift64*), seeded. */
struct vf_rng {
	uint64_t s;
};
static inline uint64_t vf_rand(struct vf_rng *r)
{
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return r->s * 0x2545f4914f6cdd1dULL;
}

#endif
