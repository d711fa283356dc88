/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The software processor's own view of a logical processor. Only files of
 * hv/cpu and their tests include this.
 *
 * A guest's register file lives in lp->cpu from one VM entry to the next. A VM
 * exit leaves it there: "loading host state" has no register to load, since
 * the host is the C code that called `enter`. What a VM exit must make visible
 * it writes to the VMCS or VMCB.
 */
#ifndef HV_CPU_SOFT_INTERNAL_H
#define HV_CPU_SOFT_INTERNAL_H

#include "hv/cpu/processor.h"
#include "hv/cpu/svm_arch.h"
#include "hv/cpu/vmx_vmcs.h"
#include "hv/x86/x86.h"

enum soft_mode { SOFT_ROOT, SOFT_VMX, SOFT_SVM };

/* lp->work. */
#define SOFT_WORK_KICK		(1U << 0) /* an IPI: leave the guest */
#define SOFT_WORK_POSTED	(1U << 1) /* the posted-interrupt notification vector */
#define SOFT_WORK_TRAP		(1U << 2) /* an exit is due after the instruction (own thread) */
#define SOFT_WORK_MTF		(1U << 3) /* a monitor trap flag exit is pending (own thread) */
#define SOFT_WORK_EFER		(1U << 4) /* SVM: EFER was written under the trap intercept */

/* The host vector of lp_kick: that of Linux's reschedule IPI. */
#define SOFT_KICK_VECTOR	0xfdU

/*
 * Cache of second-level translations, one entry a 4 KiB guest-physical page: what
 * hardware calls guest-physical mappings and paging-structure caches. Direct-mapped.
 */
#define SOFT_GPA_BITS	11
#define SOFT_GPA_SIZE	(1U << SOFT_GPA_BITS)
struct soft_gpa_entry {
	uint64_t tag;		/* gpa page number; ~0 invalid */
	uint64_t root;		/* the second-level root it was walked from */
	uint8_t *host;
	uint32_t page_size;
	uint8_t perm;		/* X86_ACC_READ|WRITE|EXEC for supervisor pages */
	uint8_t perm_user;	/* same for user linear addresses (mode-based execute control) */
	bool dirty;		/* WRITE may be granted without another walk */
};

/* TLB spaces: one number per (kind, tag, root). */
enum soft_space_kind { SOFT_SPACE_FREE, SOFT_SPACE_LINEAR, SOFT_SPACE_COMBINED };
#define SOFT_SPACES 16
struct soft_space {
	enum soft_space_kind kind;
	uint32_t tag;		/* VPID or ASID */
	uint64_t root;		/* EPT or NPT root; 0 for linear mappings */
	uint64_t id;		/* of hv/x86's TLB */
	uint64_t used;
};

/* Counters of exit causes are the vendor's; these are the processor's own. */
struct soft_stats {
	uint64_t entries, gpa_misses;
};

struct soft_vmx {
	struct soft_vmcs *vmcs;	/* current VMCS; NULL none */
	uint32_t dirty;		/* VMX_DIRTY_* groups written since they were last checked and loaded */
	bool cold_in_cpu;	/* guest cold state is newer in lp->cpu than in the VMCS */
	bool cold_valid;	/* lp->cpu holds this VMCS's guest state */
	/* Derived from the controls by vmx_controls_load(). */
	uint32_t pin, proc, proc2, entry, exit;
	uint64_t eptp;		/* 0: EPT off */
	uint64_t ept_root;
	uint8_t ept_levels;
	bool ept_ad, pml, mbec;
	uint16_t vpid;
	uint64_t apic_page;	/* virtual-APIC page, host address; 0 none */
	uint64_t apic_access_page; /* host-frame address that means APIC access; 0 none */
	uint64_t cr0_mask, cr4_mask;
	uint32_t exc_bitmap, pf_mask, pf_match;
	uint64_t timer_deadline; /* host TSC at which the preemption timer is 0; 0 off */
	uint64_t ple_first, ple_last;
	uint64_t saved_rflags;
	enum vmx_exit_reason trap_reason; /* with SOFT_WORK_TRAP */
	uint64_t trap_qualification;
	uint64_t virtual_interrupts; /* delivered without an exit; the LP's thread writes */
	bool exited;		/* exit information of this exit is complete */
	const char *failed_rule; /* name of the entry check that failed last, for diagnosis */
};

struct soft_svm {
	struct svm_vmcb *vmcb;	/* the one whose state lp->cpu holds; NULL none */
	uint32_t asid;
	uint64_t nested_cr3;	/* 0: NPT off */
	uint32_t intercepts[SVM_WORD_COUNT];
	uint64_t iopm, msrpm;
	uint32_t int_ctl;
	bool exited;
	uint32_t pause_left;
	uint64_t pause_last;
	const char *failed_rule;
};

struct hv_lp {
	struct x86_cpu *cpu;
	enum soft_mode mode;	/* SOFT_ROOT outside `enter` and `vmrun` */
	bool fetching;		/* instruction bytes are read for an exit: faults are not exits */
	int pcpu;		/* attached host CPU, -1 none */
	uint64_t space_clock;
	struct soft_space spaces[SOFT_SPACES];
	struct soft_space *cur_space; /* in force in lp->cpu, NULL none yet */
	struct soft_vmx vmx;
	struct soft_svm svm;
	struct soft_stats stats;
	const void *vm_key;
	struct soft_gpa_entry *gpa;	/* SOFT_GPA_SIZE */

	/* Touched by other threads. */
	uint32_t work __attribute__((aligned(64))); /* SOFT_WORK_*, atomic */
	uint32_t wake_seq;	/* futex of a halted processor, atomic */
	uint32_t sleeping;	/* atomic */
};

/* ---- soft_pcpu.c: state of host CPUs ---- */
int soft_pcpu_init(unsigned int nr_cpus);
void soft_pcpu_exit(void);
int soft_pcpu_vmxon(unsigned int cpu, uint64_t region);
int soft_pcpu_vmxoff(unsigned int cpu);
int soft_pcpu_svm_enable(unsigned int cpu, uint64_t hsave);
int soft_pcpu_svm_disable(unsigned int cpu);
/* VMXON region in force on that CPU, 0 none. */
uint64_t soft_pcpu_vmxon_region(int cpu);
bool soft_pcpu_svme(int cpu);

/* ---- soft_cpuid.c: what this silicon is ---- */
int soft_cpuid_init(void);
/* What guests can be shown. */
void soft_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* What hv/x86 executes: the same with VMX and SVM, which their root modes have in force. */
void soft_cpuid_silicon(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
uint64_t soft_cr4_allowed(void);
/* RDRAND and RDSEED: the host's, or the kernel's random numbers where it has none. */
int soft_random(struct x86_cpu *cpu, uint64_t *value);
uint64_t soft_rdtsc(void);
uint32_t soft_tsc_khz(void);
#define SOFT_MAXPHYADDR 48

/* ---- soft_space.c: TLB tags ---- */
/* Switch lp->cpu to the translations of (kind, tag, root); a new tag starts empty. */
void soft_space_use(struct hv_lp *lp, enum soft_space_kind kind, uint32_t tag, uint64_t root);
/* Call `flush` for each space that matches; tag < 0: any, root 0: any. */
void soft_space_flush(struct hv_lp *lp, int64_t tag, uint64_t root);
void soft_space_flush_kind(struct hv_lp *lp, enum soft_space_kind kind);
void soft_space_flush_nonglobal(struct hv_lp *lp, int64_t tag);
void soft_space_flush_page(struct hv_lp *lp, int64_t tag, uint64_t linear);
void soft_gpa_flush(struct hv_lp *lp, uint64_t root); /* 0: all */

static inline struct soft_gpa_entry *soft_gpa_slot(struct hv_lp *lp, uint64_t gpa)
{
	return &lp->gpa[(gpa >> 12) & (SOFT_GPA_SIZE - 1)];
}

/* ---- soft_lp.c ---- */
/* Sleep in HLT until kicked or, with deadline not 0, until the host TSC reaches it. */
void soft_lp_wait(struct hv_lp *lp, uint64_t tsc_deadline);

/* ---- vmx_*.c ---- */
extern const struct hv_vmx_ops soft_vmx_ops;
extern const struct x86_ops soft_vmx_x86_ops;
extern const struct hv_svm_ops soft_svm_ops;
extern const struct x86_ops soft_svm_x86_ops;

#endif
