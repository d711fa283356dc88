/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM for tests of the MMU: real memslots, notifiers, requests and host memory,
 * and vCPUs whose processor is tests/lib/mmu_hw.h. The vendor is a stand-in that
 * only passes the root on.
 */
#ifndef TESTS_MMU_FIXTURE_H
#define TESTS_MMU_FIXTURE_H

#include "hv/mem/region.h"
#include "hv/mmu/mmu.h"
#include "hv/vm/vm.h"
#include "tests/lib/mmu_hw.h"

#define MX_MAX_VCPUS HV_MAX_VCPUS

struct mx_config {
	enum hw_kind kind;	/* HW_EPT or HW_NPT: TDP; HW_X86_LONG: shadow paging */
	bool no_ad;		/* EPT without A/D bits */
	bool pml;
	bool use_tlb;
	bool five_level;
	uint32_t ring_entries;	/* of a dirty ring for each vCPU; 0: none */
	unsigned int vcpus;	/* 0: 1 */
};

struct mx_vcpu {
	struct hv_vcpu *vcpu;
	struct hw_cpu hw;
	uint64_t pml[HW_PML_SIZE];
	_Atomic bool kicked;
	uint64_t faults, mmio_hits, retries;
	hv_gpa_t last_gpa; /* of the last emulated access */
	bool last_mmio;
	uint64_t last_cr2, last_error; /* guest fault */
	bool deaf; /* a defect on request: the TLB is not flushed when it should be */
};

struct mx {
	struct hv_mem *mem;
	struct hv_vm *vm;
	struct hv_vendor_ops vendor;
	struct mx_config config;
	struct mx_vcpu v[MX_MAX_VCPUS];
	unsigned int nr;
};

/* Once per process, before and after all. Registers the thread for RCU. */
void mx_start(void);
void mx_end(void);

struct mx *mx_new(const struct mx_config *config);
void mx_free(struct mx *m); /* regions must have been destroyed by the caller or by mx_free's mem */

/* size bytes of host memory; align_off shifts the returned hva by pages for tests of alignment. */
struct hv_region *mx_region(struct mx *m, uint64_t size, enum hv_backing_kind kind);
int mx_slot(struct mx *m, uint32_t id, hv_gpa_t gpa, uint64_t size, uint64_t hva, uint32_t flags);

/* What became of one access. */
enum mx_result {
	MX_OK,		/* *hva is where it goes; done inside guest mode */
	MX_MMIO,	/* to be emulated */
	MX_EFAULT,	/* exit to the engine's user */
	MX_GUEST_FAULT, /* shadow: the guest's own #PF */
	MX_EMULATE,	/* a write to tracked memory, or to read-only memory */
	MX_ERROR,
};

/*
 * One access, as a vCPU thread: enters guest mode, walks, handles exits until done.
 * With value: 8 bytes are read to, or written from it, before guest mode is left.
 */
enum mx_result mx_access(struct mx_vcpu *v, uint64_t addr, unsigned int acc, uint64_t *value);
/*
 * Guest mode over several accesses: mx_enter() until true, then mx_guest_access(),
 * which says false when the guest has to leave (a fault, or a kick); mx_leave().
 */
bool mx_enter(struct mx_vcpu *v);
void mx_leave(struct mx_vcpu *v);
enum hw_result mx_guest_access(struct mx_vcpu *v, uint64_t addr, unsigned int acc, uint64_t *value);
/* What the exit handler does with a violation or misconfiguration. */
enum mx_result mx_handle_exit(struct mx_vcpu *v, enum hw_result why, uint64_t addr);
void mx_drain_pml(struct mx_vcpu *v);

/* Does any translation of gpa exist in the vCPU's tables (walked as hardware, no TLB, no fault)? */
bool mx_mapped(struct mx_vcpu *v, uint64_t addr, unsigned int acc);

#endif
