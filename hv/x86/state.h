/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of one logical processor as instructions see it.
 *
 * The first cache lines hold what every block touches, at offsets that
 * generated code can reach with an 8-bit displacement from a base register in
 * the middle. The owner (hv/cpu, hv/vcpu) may read and write every field that
 * has no [X] while the CPU is not inside x86_run(); after writing control
 * registers, EFER, segments, CPL, RFLAGS or DR7 it calls x86_state_changed().
 *
 * Legend: [T] only the thread that runs the CPU; [A] atomic, any thread;
 * [X] private to hv/x86. Fields without a letter are [T].
 */
#ifndef HV_X86_STATE_H
#define HV_X86_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hv/x86/defs.h"
#include "hv/x86/insn.h"
#include "hv/x86/ops.h"
#include "hv/x86/tlb.h"
#include "hv/x86/walk.h"

/*
 * cpu->pending. The owner's three bits call ops->poll at an instruction boundary when the
 * condition holds; the others are hv/x86's own.
 */
#define X86_PEND_WORK	(1u << 0)	/* unconditionally */
#define X86_PEND_INTR	(1u << 1)	/* RFLAGS.IF = 1 and no STI or MOV-SS shadow */
#define X86_PEND_NMI	(1u << 2)	/* no MOV-SS or STI shadow and NMIs not blocked */
#define X86_PEND_FLUSH	(1u << 3)	/* x86_tlb_request_flush() */
#define X86_PEND_STOP	(1u << 4)	/* leave x86_run() with X86_RUN_STOPPED at the next boundary */
#define X86_PEND_DEBUG	(1u << 5)	/* [X] a debug trap is due */

/* cpu->intr_state: interruptibility, VMX format. */
#define X86_SHADOW_STI	(1u << 0)
#define X86_SHADOW_MOVSS (1u << 1)
#define X86_BLOCK_NMI	(1u << 3)

/* cpu->activity, VMX format. */
enum x86_activity { X86_ACTIVE, X86_HALTED, X86_SHUTDOWN, X86_WAIT_SIPI };

struct x86_seg {
	uint64_t base;
	uint32_t limit;		/* in bytes, granularity applied */
	uint32_t ar;		/* VMX access-rights format */
	uint16_t selector;
	uint8_t flat;		/* [X] X86_SEG_*: limit 4 GiB, what may be done without looking */
	uint8_t pad_[5];
};

struct x86_dtable {
	uint64_t base;
	uint16_t limit;
};

/* Event types, VMX encoding. */
enum x86_event_type {
	X86_EV_INTR = 0, X86_EV_NMI = 2, X86_EV_EXC = 3, X86_EV_SOFT_INT = 4,
	X86_EV_PRIV_EXC = 5 /* INT1 */, X86_EV_SOFT_EXC = 6 /* INT3, INTO */,
};

struct x86_event {
	uint8_t valid;
	uint8_t vector;
	uint8_t type;		/* enum x86_event_type */
	bool has_error;
	uint8_t insn_len;	/* of software events */
	uint32_t error_code;
	uint64_t payload;	/* CR2 or DR6 bits; applied when delivery starts */
};

/* What the guest's CPUID lets it execute; filled by x86_features_changed(). */
enum x86_feature {
	X86_FEAT_VME, X86_FEAT_PSE, X86_FEAT_TSC, X86_FEAT_PAE, X86_FEAT_CX8, X86_FEAT_SEP, X86_FEAT_PGE,
	X86_FEAT_CMOV, X86_FEAT_PSE36, X86_FEAT_CLFLUSH, X86_FEAT_MMX, X86_FEAT_FXSR, X86_FEAT_SSE,
	X86_FEAT_SSE2, X86_FEAT_SSE3, X86_FEAT_PCLMULQDQ, X86_FEAT_MONITOR, X86_FEAT_VMX,
	X86_FEAT_SSSE3, X86_FEAT_FMA, X86_FEAT_CX16, X86_FEAT_PCID, X86_FEAT_SSE41, X86_FEAT_SSE42,
	X86_FEAT_MOVBE, X86_FEAT_POPCNT, X86_FEAT_AES, X86_FEAT_XSAVE, X86_FEAT_AVX, X86_FEAT_F16C,
	X86_FEAT_RDRAND, X86_FEAT_FSGSBASE, X86_FEAT_BMI1, X86_FEAT_AVX2, X86_FEAT_SMEP,
	X86_FEAT_BMI2, X86_FEAT_INVPCID, X86_FEAT_RDSEED, X86_FEAT_ADX, X86_FEAT_SMAP,
	X86_FEAT_CLFLUSHOPT, X86_FEAT_CLWB, X86_FEAT_SHA, X86_FEAT_UMIP, X86_FEAT_PKU,
	X86_FEAT_LA57, X86_FEAT_RDPID, X86_FEAT_MOVDIRI, X86_FEAT_MOVDIR64B, X86_FEAT_PKS,
	X86_FEAT_VAES, X86_FEAT_VPCLMULQDQ, X86_FEAT_GFNI, X86_FEAT_SYSCALL, X86_FEAT_NX,
	X86_FEAT_GBPAGES, X86_FEAT_RDTSCP, X86_FEAT_LM, X86_FEAT_LAHF64, X86_FEAT_SVM,
	X86_FEAT_ABM, X86_FEAT_3DNOWPREFETCH, X86_FEAT_CLZERO, X86_FEAT_XSAVEOPT,
	X86_FEAT_XSAVEC, X86_FEAT_XGETBV1, X86_FEAT_XSAVES, X86_FEAT_SERIALIZE, X86_FEAT_SSE4A,
	X86_FEAT_SMX, X86_FEAT_WBNOINVD, X86_FEAT_CR8_LEGACY, X86_FEAT_TSC_DEADLINE,
	X86_FEAT_DE, X86_FEAT_MSR, X86_FEAT_MCE, X86_FEAT_FFXSR, X86_FEAT_FDP_EXCPTN_ONLY,
	X86_FEAT_NR,
};

struct x86_tlb_set;
struct x86_pcache;
struct x86_bcache;
struct x86_catch;

/* Bytes of the XSAVE area in the state: legacy region, header, AVX component at 576. */
#define X86_XSAVE_SIZE 832

struct x86_cpu {
	/* ---- hot: what every block touches ---- */
	uint64_t gpr[16];
	uint64_t rip;		/* inside a block: address of the block's first instruction */
	uint64_t zero;		/* always 0: stands for absent address registers */
	/*
	 * Arithmetic flags as LAHF and SETO leave them in AX: bit 0 OF, bit 8 CF, 10 PF, 12 AF,
	 * 14 ZF, 15 SF. Use x86_get_rflags() and x86_set_rflags() outside hv/x86.
	 */
	uint32_t cc;		/* [X] */
	uint32_t eflags;	/* [X] the other flags: TF IF DF IOPL NT RF VM AC VIF VIP ID */
	struct x86_tlb_entry *tlb; /* [X] the current mode's array */
	uint32_t pending;	/* [A] X86_PEND_* */
	uint32_t pend_mask;	/* [X] those deliverable now */
	uint32_t mode;		/* [X] block key: code size, special */
	uint8_t cpl;
	uint8_t code_size;	/* [X] 2, 4, 8: bytes of the default code segment */
	uint8_t tlb_mode;	/* [X] enum x86_tlb_mode */
	uint8_t flags_;		/* [X] */
	uint64_t insns;		/* instructions retired since x86_init() */
	uint64_t epoch;		/* [X] serialising events, see block.h */
	uint64_t jump_ctx;	/* [X] validity of jump-cache entries */
	struct x86_bcache *bcache; /* [X] */
	struct x86_catch *catch;/* [X] where x86_throw() goes */
	const struct x86_ops *ops;
	void *ctx;		/* the owner's */

	/* ---- segments and tables ---- */
	struct x86_seg seg[X86_NR_SEGS];
	struct x86_dtable gdtr, idtr;

	/* ---- control ---- */
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer, xcr0, xss;
	uint64_t pdptr[4];	/* PAE page-directory-pointer registers */
	uint64_t dr[4], dr6, dr7;
	uint64_t star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux, pat, debugctl, pkrs;
	uint64_t apic_base;
	uint32_t pkru;
	uint32_t mxcsr_mask;

	/* ---- interruptibility and events ---- */
	uint32_t intr_state;	/* X86_SHADOW_*, X86_BLOCK_NMI */
	uint32_t activity;	/* enum x86_activity */
	uint64_t pending_dbg;	/* DR6-format debug conditions waiting for the boundary (BS, B0-B3) */
	uint64_t intercepts[X86_ICPT_WORDS]; /* bit per enum x86_intercept; see x86_intercept_set() */
	/* The event being delivered: valid while ops run inside a delivery and after
	 * x86_run/x86_inject returned EXIT because of a fault or exit in it (IDT-vectoring
	 * information, EXITINTINFO). */
	struct x86_event vectoring;
	/* The exception in flight; ops record one with x86_set_fault(). */
	struct x86_event fault;
	uint64_t features[(X86_FEAT_NR + 63) / 64];
	uint8_t maxphyaddr;	/* from CPUID leaf 0x80000008 */
	bool keep_nmi_block;	/* owner: IRET does not unblock NMIs (SVM V_NMI off, VMX virtual NMIs off
				 * with NMI exiting) */
	/* Address of the last instruction started and its length, valid when an op is called
	 * and after EXIT. */
	uint64_t insn_rip;
	uint8_t insn_len;
	bool vendor_amd;	/* AMD behaviour where the manuals differ (from CPUID leaf 0) */

	/* ---- x87, SSE, AVX: the standard XSAVE layout; MXCSR at byte 24 ---- */
	uint8_t xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));

	/* ---- [X] executor's private state ---- */
	uint64_t space;		/* of the current TLB sets */
	struct x86_tlb_set *tlb_set;
	struct x86_tlb_set *tlb_sets[X86_TLB_SETS];
	struct x86_pcache *pcache; /* physical pages of paging structures */
	uint64_t tlb_clock, tlb_miss_count, gen_clock;
	uint32_t nr_tlb_sets;
	uint8_t debug_data;	/* data or I/O breakpoints are enabled */
	uint8_t debug_code;	/* code breakpoints are enabled */
	uint8_t ext;		/* EXT bit of error codes during delivery */
	uint8_t shadow_fresh;	/* the instruction just executed set a shadow */
	uint8_t iret_unblocked;	/* the IRET in progress has cleared NMI blocking */
	uint8_t task_switched;	/* the delivery in progress is in the new task */
	uint8_t step_tf;	/* TF at the start of the instruction */
	uint32_t step_rf;	/* RF at the start of the instruction, to restore on an exit */
	const struct x86_insn *cur;	/* instruction of the slow path in progress */
	void *cur_block;
	uint64_t budget;	/* x86_run(): stop when insns reaches it */
	uint64_t bounce_lin;	/* RMW that crosses pages or hits MMIO */
	uint32_t bounce_size;
	uint8_t bounce[64] __attribute__((aligned(64)));
	void *native;		/* native*.c's own */
} __attribute__((aligned(64)));

#define X86_OFF(field)	((uint16_t)offsetof(struct x86_cpu, field))
#define X86_OFF_ZERO	X86_OFF(zero)

_Static_assert(offsetof(struct x86_cpu, rip) == 128, "rip follows the general registers");
_Static_assert(offsetof(struct x86_cpu, seg) <= 256, "hot state fits in four cache lines");

#endif
