/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All of a vCPU but its local APIC and its TSC, in a form that neither vendor
 * nor paging mode shows in: for migration and snapshots.
 */
#ifndef HV_VCPU_VCPU_STATE_H
#define HV_VCPU_VCPU_STATE_H

#include "hv/vcpu/vcpu.h"

#define VCPU_STATE_MSRS_MAX  64
#define VCPU_STATE_XSAVE_MAX 4096

struct vcpu_state {
	struct hv_regs_cache regs; /* activity is not part of it: mp_state says it */
	/* The PDPTE registers are as the processor had them; else CR3's table has them. */
	bool pdptrs_valid;
	uint8_t mp_state; /* enum hv_mp_state */
	struct {
		bool pending, injected, has_error, has_payload;
		uint8_t vector, type, insn_len;
		uint32_t error_code;
		uint64_t payload;
	} exception;
	struct {
		bool injected, soft;
		uint8_t vector, insn_len;
	} interrupt;
	bool nmi_injected;
	uint8_t nmi_pending;	/* at most 2 */
	int16_t user_interrupt; /* -1: none */
	bool triple_fault;	/* one is on its way */

	uint32_t kvmclock_version;
	uint64_t steal_msr, steal_ns;
	uint32_t steal_version;

	/* Those MSRs that regs has no field for, by index. */
	unsigned int nr_msrs;
	struct vcpu_state_msr {
		uint32_t index;
		uint64_t value;
	} msrs[VCPU_STATE_MSRS_MAX];

	/* The standard XSAVE layout. */
	uint32_t xsave_len;
	uint8_t xsave[VCPU_STATE_XSAVE_MAX];
};

/* vcpu->mutex held, not loaded. -EBUSY: it waits for the user to complete an I/O exit. */
int vcpu_get_state(struct hv_vcpu *vcpu, struct vcpu_state *s);
/*
 * vcpu->mutex held, not loaded, guest memory in place. -EINVAL: no processor can be
 * in such a state, or not one of this CPU model; *what (NUL-terminated, of size
 * bytes) says which part. Then some of it may have been set.
 */
int vcpu_set_state(struct hv_vcpu *vcpu, const struct vcpu_state *s, char *what, size_t size);

/* A CPUID leaf of the VM's model, as every vCPU shows it but for its dynamic bits. */
struct vcpu_cpuid_leaf {
	uint32_t leaf, subleaf;
	uint32_t out[4]; /* eax ebx ecx edx */
};

/* Fills up to max; returns how many there are. Any thread. */
unsigned int vcpu_vm_cpuid_leaves(struct hv_vm *vm, struct vcpu_cpuid_leaf *out, unsigned int max);

#endif
