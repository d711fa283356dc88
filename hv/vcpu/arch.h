/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The insides of a vCPU's and a VM's x86 part, for hv/vcpu and the vendor
 * modules only. Everybody else uses hv/vcpu/vcpu.h.
 *
 * Lock legend: [v] vcpu->mutex (the vCPU's own thread); [a] atomic; [I] immutable
 * after creation.
 */
#ifndef HV_VCPU_ARCH_H
#define HV_VCPU_ARCH_H

#include "hv/base/lock.h"
#include "hv/vcpu/vcpu.h"

struct x86_cpu;
struct x86_insn;

/* ---- CPU model ------------------------------------------------------------------------------- */
#define VCPU_CPUID_MAX 64

struct vcpu_cpuid_entry {
	uint32_t leaf, subleaf;
	uint32_t out[4]; /* eax ebx ecx edx */
	bool indexed;	 /* subleaf counts */
};

struct vcpu_cpuid_table {
	unsigned int count;
	uint32_t max_basic, max_extended;
	struct vcpu_cpuid_entry entries[VCPU_CPUID_MAX];
};

struct vcpu_cpu_model; /* cpu_model.c */

/* What the guest's features allow, derived once from the CPUID table. */
struct vcpu_guest_caps {
	uint64_t cr4_allowed, efer_allowed, xcr0_allowed, spec_ctrl_allowed;
	uint8_t maxphyaddr;
	bool rdtscp, pcid, x2apic, tsc_deadline, tsc_adjust, arch_caps, pku, pks, invpcid,
		longmode, xsave, vendor_amd;
};

struct hv_vm_arch {
	const struct vcpu_cpu_model *model;	/* [I] */
	struct vcpu_cpuid_table cpuid;		/* [I] */
	struct vcpu_guest_caps caps;		/* [I] */
	uint32_t tsc_khz;			/* [I] */
	/* Width of linear addresses in registers: the processor's, since some MSRs pass through. */
	uint8_t linear_bits;			/* [I] */
	/*
	 * Paravirtual clock: guest ns = clock_ns + scale(host tsc - clock_tsc). One base
	 * for all vCPUs, so that the clock is the same on each (TSC_STABLE).
	 */
	uint64_t clock_tsc;			/* [I] host TSC */
	_Atomic uint64_t clock_ns;		/* [a] */
	uint32_t clock_mul;			/* [I] 32-bit fraction */
	int8_t clock_shift;			/* [I] */
	_Atomic uint64_t wall_clock_gpa;	/* [a] last MSR write */
	_Atomic uint64_t unknown_msrs;		/* [a] for the log's rate limit */
};

/* ---- events ------------------------------------------------------------------------------------ */
struct vcpu_exception {
	bool pending;	/* to be injected */
	bool injected;	/* handed to the processor, not known to be delivered */
	bool has_error;
	uint8_t vector, type, insn_len;
	bool has_payload;
	uint32_t error_code;
	uint64_t payload; /* CR2, or DR6 bits */
};

/* ---- emulation: accesses of an instruction that is executed again from its start ------------- */
#define EMUL_MAX_OPS 16
#define EMUL_MSRS    6

enum emul_op_kind { EMUL_MEM_READ, EMUL_MEM_WRITE, EMUL_IN, EMUL_OUT };

struct emul_op {
	enum emul_op_kind kind;
	uint8_t len;
	uint64_t addr;
	uint8_t data[8];
};

struct vcpu_emulator {
	struct x86_cpu *cpu;		/* made at the first use */
	struct emul_op ops[EMUL_MAX_OPS];
	unsigned int nr_ops;		/* done so far by this instruction */
	unsigned int next_op;		/* replay position */
	uint64_t key[3];		/* rcx, rsi, rdi: the iteration that ops[] belong to */
	struct { uint64_t gpa; uint32_t len; } written[8]; /* RAM stores to report to the MMU */
	unsigned int nr_written;
	bool todo;			/* ops[nr_ops] is noted and not done */
	bool retry;			/* a slot is in transition: back to the guest */
	bool exit_to_user, cr_written, hypercall;
	uint64_t user_rip;		/* of the access that the user does */
	uint64_t msrs[EMUL_MSRS];	/* as they were before the instruction */
	int error;
};

struct vcpu_steal {
	uint64_t msr;			/* [v] gpa | enable */
	uint64_t last_wall, last_cpu;	/* [v] at the last sample, ns */
	_Atomic uint64_t total_ns;	/* [a] */
	uint64_t next_tsc;		/* [v] rate limit */
	uint64_t written_ns;		/* [v] last value the guest has seen */
	uint32_t version;		/* [v] */
	bool running;			/* [v] between load and put, not blocked */
};

/* IA32_MISC_ENABLE: bits that CPUID shows. */
#define VCPU_MISC_LIMIT_CPUID (1ULL << 22)
#define VCPU_MISC_XD_DISABLE  (1ULL << 34)

struct hv_vcpu_arch {
	/* hot: read or written on every exit */
	struct hv_regs_cache regs;		/* [v] */
	bool regs_full;				/* [v] the on-demand part is valid */
	bool regs_dirty;			/* [v] ... and newer than VMCS or VMCB */
	uint8_t exit_insn_len;			/* [v] */

	struct vcpu_exception exception;	/* [v] */
	bool nmi_injected;			/* [v] */
	unsigned int nmi_pending;		/* [v] */
	_Atomic unsigned int nmi_queued;	/* [a] */
	struct {
		bool injected, soft;
		uint8_t vector, insn_len;
	} interrupt;				/* [v] */
	_Atomic int user_interrupt;		/* [a] -1: none */
	bool int_window_wanted;			/* [v] the user's request, as at this entry */

	int (*complete_io)(struct hv_vcpu *vcpu); /* [v] after an exit to the user */
	struct { uint8_t size, insn_len; uint64_t rip; } pio; /* [v] port access in flight */
	struct vcpu_emulator emul;		/* [v] */

	/* MSRs that neither VMCS, VMCB nor the processor keeps */
	uint64_t apic_base;			/* [v] without chips */
	uint64_t misc_enable, tsc_adjust, spec_ctrl, ucode_rev, feature_control;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[16];
	uint64_t kvmclock_msr;			/* [v] gpa | enable */
	uint32_t kvmclock_version;		/* [v] */
	struct vcpu_steal steal;

};

static inline struct hv_vm_arch *vm_arch(struct hv_vm *vm)
{
	return vm->arch;
}

/* ---- between the files of hv/vcpu --------------------------------------------------------------- */
/* cpu_model.c */
const struct vcpu_cpu_model *cpu_model_find(const char *name);
const char *cpu_model_name(const struct vcpu_cpu_model *model);
const char *const *cpu_model_names(void);
int cpu_model_build(const struct vcpu_cpu_model *model, struct hv_vm *vm,
		    struct vcpu_cpuid_table *out);
/* cpuid.c */
const struct vcpu_cpuid_entry *cpuid_find(const struct vcpu_cpuid_table *t, uint32_t leaf,
					  uint32_t subleaf);
void cpuid_derive_caps(const struct vcpu_cpuid_table *t, struct vcpu_guest_caps *caps);
/* msr.c */
void msr_reset(struct hv_vcpu *vcpu, bool init_event);
/* pvclock.c */
int pvclock_vm_init(struct hv_vm *vm);
void pvclock_reset(struct hv_vcpu *vcpu);
void pvclock_update(struct hv_vcpu *vcpu); /* HV_REQ_CLOCK_UPDATE */
int pvclock_set_system_time(struct hv_vcpu *vcpu, uint64_t msr);
int pvclock_write_wall_clock(struct hv_vcpu *vcpu, uint64_t gpa);
/* steal.c */
int steal_set_msr(struct hv_vcpu *vcpu, uint64_t msr);
void steal_start(struct hv_vcpu *vcpu);	/* load, or end of a block */
void steal_stop(struct hv_vcpu *vcpu);	/* put, or start of a block */
void steal_poll(struct hv_vcpu *vcpu);	/* now and then while running */
void steal_update(struct hv_vcpu *vcpu); /* HV_REQ_STEAL_UPDATE */
/* events.c */
int events_inject_pending(struct hv_vcpu *vcpu);
void events_cancel(struct hv_vcpu *vcpu);
bool events_deliverable(struct hv_vcpu *vcpu); /* something that ends HLT */
void events_sync_posted(struct hv_vcpu *vcpu); /* posted interrupts to IRR, where the chips look */
void events_process_nmi(struct hv_vcpu *vcpu);
void events_reset(struct hv_vcpu *vcpu);
int events_pending_interrupt(struct hv_vcpu *vcpu);
/* paging.c */
void paging_changed(struct hv_vcpu *vcpu);
bool paging_load_pdptrs(struct hv_vcpu *vcpu, uint64_t cr3);
bool paging_is_pae(const struct hv_regs_cache *r);
/* exits.c: VMCALL or VMMCALL of `len` bytes at rip; returns 1 */
int vcpu_hypercall(struct hv_vcpu *vcpu, unsigned int len);
/* emulate.c */
#define HV_INTERNAL_EMULATION 1 /* suberror: KVM's number for an emulation failure */
/*
 * The instruction at rip: 0; -EILSEQ: undefined, or not to be fetched; -EAGAIN: a slot is
 * in transition; -ENOMEM.
 */
int emulate_decode(struct hv_vcpu *vcpu, struct x86_insn *insn);
void emulate_reset(struct hv_vcpu *vcpu);
void emulate_destroy(struct hv_vcpu *vcpu);

#endif
