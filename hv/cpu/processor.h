/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The silicon's interface: what a logical processor can be told. The software
 * processor implements it; a kernel module that executes the real instructions,
 * and others, come behind the same table.
 *
 * Addresses that hardware would take as physical (VMXON region, VMCS, VMCB,
 * bitmaps, EPTP, page-table entries) are host *virtual* addresses here; the
 * page-frame fields of EPT, NPT and shadow entries hold hva >> 12.
 *
 * A `struct hv_lp` is the processor as one vCPU thread sees it: its register
 * file and TLB. It is attached to a host CPU (vcpu_load); whether that CPU has
 * VMXON or SVME in force is per CPU state, and every instruction below fails
 * as the manual says when it has not.
 *
 * Threads: an lp is used by one thread at a time; lp_kick and
 * posted_notify may be called by any thread.
 */
#ifndef HV_CPU_PROCESSOR_H
#define HV_CPU_PROCESSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hv_lp;

/* Guest general registers, as the entry and exit code saves and loads them. x86 order. */
struct hv_gprs {
	uint64_t r[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15; rsp is in VMCS or VMCB */
};

/* Counted since the LP was made. */
struct hv_lp_counters {
	uint64_t insns;		     /* retired */
	uint64_t tlb_misses;
	uint64_t virtual_interrupts; /* delivered without an exit (virtual-interrupt delivery) */
};

/* VMX instructions end like the manual's VMsucceed, VMfailInvalid, VMfailValid. */
enum hv_vmx_status { HV_VMX_OK = 0, HV_VMX_FAIL_INVALID = 1, HV_VMX_FAIL_VALID = 2 };

struct hv_vmx_ops {
	/* Per host CPU. -EBUSY: already in VMX operation, -EINVAL: bad revision. */
	int (*vmxon)(unsigned int cpu, uint64_t region);
	int (*vmxoff)(unsigned int cpu);
	uint64_t (*capability)(uint32_t msr); /* IA32_VMX_* capability MSRs */
	enum hv_vmx_status (*vmclear)(struct hv_lp *lp, uint64_t vmcs);
	enum hv_vmx_status (*vmptrld)(struct hv_lp *lp, uint64_t vmcs);
	enum hv_vmx_status (*vmread)(struct hv_lp *lp, uint32_t field, uint64_t *value);
	enum hv_vmx_status (*vmwrite)(struct hv_lp *lp, uint32_t field, uint64_t value);
	/*
	 * VMLAUNCH or VMRESUME; returns at the next VM exit with HV_VMX_OK and the exit
	 * information in the VMCS, or with the failure (instruction error in the VMCS).
	 */
	enum hv_vmx_status (*enter)(struct hv_lp *lp, struct hv_gprs *gprs, bool launch);
	enum hv_vmx_status (*invept)(struct hv_lp *lp, int type, uint64_t eptp);
	enum hv_vmx_status (*invvpid)(struct hv_lp *lp, int type, uint16_t vpid, uint64_t linear);
};

struct hv_svm_ops {
	int (*enable)(unsigned int cpu, uint64_t hsave); /* EFER.SVME, VM_HSAVE_PA */
	int (*disable)(unsigned int cpu);
	void (*cpuid_8000000a)(uint32_t out[4]); /* revision, ASIDs, features */
	/* Runs to the next #VMEXIT; exit information is in the VMCB. */
	void (*vmrun)(struct hv_lp *lp, uint64_t vmcb, struct hv_gprs *gprs);
	void (*vmload)(struct hv_lp *lp, uint64_t vmcb);
	void (*vmsave)(struct hv_lp *lp, uint64_t vmcb);
	void (*invlpga)(struct hv_lp *lp, uint64_t linear, uint32_t asid);
};

/* Registers that neither VMCS nor VMCB switches: the hypervisor moves them itself. */
enum hv_lp_reg {
	HV_LP_CR2, HV_LP_CR8, HV_LP_XCR0, HV_LP_DR0, HV_LP_DR1, HV_LP_DR2, HV_LP_DR3, HV_LP_DR6,
	HV_LP_PKRU,
};

struct hv_processor_ops {
	const char *name; /* "soft" */
	int (*init)(unsigned int nr_cpus);
	void (*exit)(void);

	/* vm_key: logical processors of one VM share caches of translated code. */
	int (*lp_create)(const void *vm_key, struct hv_lp **out);
	void (*lp_destroy)(struct hv_lp *lp);
	void (*lp_attach)(struct hv_lp *lp, unsigned int cpu);
	void (*lp_detach)(struct hv_lp *lp);
	/* Any thread: what an IPI is to hardware. The guest leaves with an external-interrupt exit. */
	void (*lp_kick)(struct hv_lp *lp);
	/* Any thread: the posted-interrupt notification vector (VMX) or doorbell (AVIC). */
	void (*posted_notify)(struct hv_lp *lp);

	uint64_t (*get_reg)(struct hv_lp *lp, enum hv_lp_reg reg);
	void (*set_reg)(struct hv_lp *lp, enum hv_lp_reg reg, uint64_t value);
	/* MSRs of the register file outside VMCS/VMCB (STAR, LSTAR, ...). 0 or -EINVAL (#GP). */
	int (*rdmsr)(struct hv_lp *lp, uint32_t msr, uint64_t *value);
	int (*wrmsr)(struct hv_lp *lp, uint32_t msr, uint64_t value);
	/* Extended state in the standard XSAVE layout, size as CPUID leaf 0xd tells. */
	void (*save_xstate)(struct hv_lp *lp, void *area, size_t size);
	int (*load_xstate)(struct hv_lp *lp, const void *area, size_t size);
	/* What this processor can show a guest: the ceiling for CPU models. */
	void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
	uint64_t (*rdtsc)(void);
	uint32_t (*tsc_khz)(void);
	/* Any thread. */
	struct hv_lp_counters (*lp_counters)(const struct hv_lp *lp);

	const struct hv_vmx_ops *vmx; /* NULL: no VMX operation */
	const struct hv_svm_ops *svm; /* NULL: no SVM operation */
};

extern const struct hv_processor_ops hv_processor_soft;

#endif
