/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SVM architecture's layouts and numbers: VMCB, intercepts, exit codes.
 * Source: AMD64 Architecture Programmer's Manual vol. 2, chapter "Secure
 * Virtual Machine", appendices B (VMCB layout) and C (SVM intercept exit codes).
 */
#ifndef HV_CPU_SVM_ARCH_H
#define HV_CPU_SVM_ARCH_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* Intercept vectors: word 0 CR, 1 DR, 2 exceptions, 3 to 5 instructions and events. */
enum svm_intercept_word { SVM_WORD_CR, SVM_WORD_DR, SVM_WORD_EXCEPTION, SVM_WORD_3, SVM_WORD_4,
			  SVM_WORD_5, SVM_WORD_COUNT };

/* Word 3; exit code 0x60 + bit. */
#define SVM_INTERCEPT_INTR		(1U << 0)
#define SVM_INTERCEPT_NMI		(1U << 1)
#define SVM_INTERCEPT_SMI		(1U << 2)
#define SVM_INTERCEPT_INIT		(1U << 3)
#define SVM_INTERCEPT_VINTR		(1U << 4)
#define SVM_INTERCEPT_CR0_SEL_WRITE	(1U << 5)
#define SVM_INTERCEPT_IDTR_READ		(1U << 6)
#define SVM_INTERCEPT_GDTR_READ		(1U << 7)
#define SVM_INTERCEPT_LDTR_READ		(1U << 8)
#define SVM_INTERCEPT_TR_READ		(1U << 9)
#define SVM_INTERCEPT_IDTR_WRITE	(1U << 10)
#define SVM_INTERCEPT_GDTR_WRITE	(1U << 11)
#define SVM_INTERCEPT_LDTR_WRITE	(1U << 12)
#define SVM_INTERCEPT_TR_WRITE		(1U << 13)
#define SVM_INTERCEPT_RDTSC		(1U << 14)
#define SVM_INTERCEPT_RDPMC		(1U << 15)
#define SVM_INTERCEPT_PUSHF		(1U << 16)
#define SVM_INTERCEPT_POPF		(1U << 17)
#define SVM_INTERCEPT_CPUID		(1U << 18)
#define SVM_INTERCEPT_RSM		(1U << 19)
#define SVM_INTERCEPT_IRET		(1U << 20)
#define SVM_INTERCEPT_INTN		(1U << 21)
#define SVM_INTERCEPT_INVD		(1U << 22)
#define SVM_INTERCEPT_PAUSE		(1U << 23)
#define SVM_INTERCEPT_HLT		(1U << 24)
#define SVM_INTERCEPT_INVLPG		(1U << 25)
#define SVM_INTERCEPT_INVLPGA		(1U << 26)
#define SVM_INTERCEPT_IOIO		(1U << 27)
#define SVM_INTERCEPT_MSR		(1U << 28)
#define SVM_INTERCEPT_TASK_SWITCH	(1U << 29)
#define SVM_INTERCEPT_FERR_FREEZE	(1U << 30)
#define SVM_INTERCEPT_SHUTDOWN		(1U << 31)

/* Word 4; exit code 0x80 + bit. */
#define SVM_INTERCEPT_VMRUN		(1U << 0)
#define SVM_INTERCEPT_VMMCALL		(1U << 1)
#define SVM_INTERCEPT_VMLOAD		(1U << 2)
#define SVM_INTERCEPT_VMSAVE		(1U << 3)
#define SVM_INTERCEPT_STGI		(1U << 4)
#define SVM_INTERCEPT_CLGI		(1U << 5)
#define SVM_INTERCEPT_SKINIT		(1U << 6)
#define SVM_INTERCEPT_RDTSCP		(1U << 7)
#define SVM_INTERCEPT_ICEBP		(1U << 8)
#define SVM_INTERCEPT_WBINVD		(1U << 9)
#define SVM_INTERCEPT_MONITOR		(1U << 10)
#define SVM_INTERCEPT_MWAIT		(1U << 11)
#define SVM_INTERCEPT_MWAIT_ARMED	(1U << 12)
#define SVM_INTERCEPT_XSETBV		(1U << 13)
#define SVM_INTERCEPT_RDPRU		(1U << 14)
#define SVM_INTERCEPT_EFER_WRITE	(1U << 15) /* trap, after the write */

/* Word 5; exit code 0xa0 + bit. */
#define SVM_INTERCEPT_INVLPGB		(1U << 0)
#define SVM_INTERCEPT_INVLPGB_ILLEGAL	(1U << 1)
#define SVM_INTERCEPT_INVPCID		(1U << 2)
#define SVM_INTERCEPT_MCOMMIT		(1U << 3)
#define SVM_INTERCEPT_TLBSYNC		(1U << 4)

enum svm_tlb_control { SVM_TLB_NOTHING = 0, SVM_TLB_FLUSH_ALL = 1, SVM_TLB_FLUSH_ASID = 3,
		       SVM_TLB_FLUSH_ASID_LOCAL = 7 };

/* int_ctl, offset 0x60. */
#define SVM_V_TPR_MASK		0xffU
#define SVM_V_IRQ		(1U << 8)
#define SVM_V_GIF		(1U << 9)
#define SVM_V_INTR_PRIO_SHIFT	16
#define SVM_V_INTR_PRIO		(0xfU << 16)
#define SVM_V_IGN_TPR		(1U << 20)
#define SVM_V_INTR_MASKING	(1U << 24)
#define SVM_V_GIF_ENABLE	(1U << 25)
#define SVM_X2AVIC_ENABLE	(1U << 30)
#define SVM_AVIC_ENABLE		(1U << 31)

/* int_state, offset 0x68. */
#define SVM_INTERRUPT_SHADOW	(1U << 0)
#define SVM_GUEST_INTERRUPT_MASK (1U << 1)

#define SVM_NP_ENABLE		(1ULL << 0)

/* Clean bits: the processor may use its cached copy of that group. */
#define SVM_CLEAN_INTERCEPTS	(1U << 0) /* intercepts, TSC offset, pause filter */
#define SVM_CLEAN_IOPM		(1U << 1) /* IOPM and MSRPM */
#define SVM_CLEAN_ASID		(1U << 2)
#define SVM_CLEAN_TPR		(1U << 3) /* int_ctl, int_vector */
#define SVM_CLEAN_NP		(1U << 4) /* nested paging, nCR3, gPAT */
#define SVM_CLEAN_CRX		(1U << 5) /* CR0 CR3 CR4 EFER */
#define SVM_CLEAN_DRX		(1U << 6) /* DR6 DR7 */
#define SVM_CLEAN_DT		(1U << 7) /* GDT IDT */
#define SVM_CLEAN_SEG		(1U << 8) /* CS DS SS ES, CPL */
#define SVM_CLEAN_CR2		(1U << 9)
#define SVM_CLEAN_LBR		(1U << 10)
#define SVM_CLEAN_AVIC		(1U << 11)

/* EVENTINJ and EXITINTINFO. */
#define SVM_EVENT_VECTOR	0xffULL
#define SVM_EVENT_TYPE_SHIFT	8
#define SVM_EVENT_TYPE		(7ULL << 8)
#define SVM_EVENT_HAS_ERROR	(1ULL << 11)
#define SVM_EVENT_VALID		(1ULL << 31)
#define SVM_EVENT_ERROR_SHIFT	32
enum svm_event_type { SVM_EVENT_INTR = 0, SVM_EVENT_NMI = 2, SVM_EVENT_EXCEPTION = 3,
		      SVM_EVENT_SW_INT = 4 };

/* IOIO EXITINFO1. */
#define SVM_IOIO_IN		(1ULL << 0)
#define SVM_IOIO_STRING		(1ULL << 2)
#define SVM_IOIO_REP		(1ULL << 3)
#define SVM_IOIO_SIZE_SHIFT	4 /* 3 bits: 1, 2, 4 bytes */
#define SVM_IOIO_ADDR_SHIFT	7 /* 3 bits: 16, 32, 64-bit address */
#define SVM_IOIO_SEG_SHIFT	10 /* 3 bits: effective segment */
#define SVM_IOIO_PORT_SHIFT	16

/* Decode assists: EXITINFO1 of CR and DR accesses. */
#define SVM_CRX_MOV		(1ULL << 63)
#define SVM_CRX_GPR		0xfULL

/* Attributes are the descriptor's bits 40-47 and 52-55 squeezed into 12. */
struct svm_segment {
	uint16_t selector;
	uint16_t attrib; /* type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11 */
	uint32_t limit;
	uint64_t base;
};

struct svm_vmcb_control {
	uint32_t intercepts[SVM_WORD_COUNT];	/* 0x000 */
	uint32_t reserved_018[9];
	uint16_t pause_filter_threshold;	/* 0x03c */
	uint16_t pause_filter_count;
	uint64_t iopm_base;			/* 0x040 */
	uint64_t msrpm_base;
	uint64_t tsc_offset;
	uint32_t asid;				/* 0x058 */
	uint8_t tlb_ctl;
	uint8_t reserved_05d[3];
	uint32_t int_ctl;			/* 0x060 */
	uint32_t int_vector;
	uint32_t int_state;			/* 0x068 */
	uint32_t reserved_06c;
	uint64_t exit_code;			/* 0x070 */
	uint64_t exit_info1;
	uint64_t exit_info2;
	uint64_t exit_int_info;			/* 0x088 */
	uint64_t nested_ctl;			/* 0x090 */
	uint64_t avic_apic_bar;
	uint64_t ghcb;
	uint64_t event_inj;			/* 0x0a8 */
	uint64_t nested_cr3;			/* 0x0b0 */
	uint64_t virt_ext;			/* 0x0b8: LBR bit 0, virtual VMLOAD/VMSAVE bit 1 */
	uint32_t clean;				/* 0x0c0 */
	uint32_t reserved_0c4;
	uint64_t next_rip;			/* 0x0c8 */
	uint8_t insn_len;			/* 0x0d0 */
	uint8_t insn_bytes[15];
	uint64_t avic_backing_page;		/* 0x0e0 */
	uint64_t reserved_0e8;
	uint64_t avic_logical_table;		/* 0x0f0 */
	uint64_t avic_physical_table;		/* 0x0f8 */
	uint8_t reserved_100[0x300];
};

struct svm_vmcb_save {
	struct svm_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 0x000 */
	uint8_t reserved_0a0[43];
	uint8_t cpl;				/* 0x0cb */
	uint32_t reserved_0cc;
	uint64_t efer;				/* 0x0d0 */
	uint8_t reserved_0d8[112];
	uint64_t cr4;				/* 0x148 */
	uint64_t cr3;
	uint64_t cr0;
	uint64_t dr7;				/* 0x160 */
	uint64_t dr6;
	uint64_t rflags;
	uint64_t rip;				/* 0x178 */
	uint8_t reserved_180[88];
	uint64_t rsp;				/* 0x1d8 */
	uint64_t s_cet, ssp, isst_addr;
	uint64_t rax;				/* 0x1f8 */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base; /* 0x200 */
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip; /* 0x228 */
	uint64_t cr2;				/* 0x240 */
	uint8_t reserved_248[32];
	uint64_t g_pat;				/* 0x268 */
	uint64_t debugctl;
	uint64_t br_from, br_to, last_excp_from, last_excp_to;
	uint8_t reserved_298[0xc00 - 0x298];
};

struct svm_vmcb {
	struct svm_vmcb_control control;
	struct svm_vmcb_save save;
};

static_assert(offsetof(struct svm_vmcb_control, iopm_base) == 0x040, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, asid) == 0x058, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, int_ctl) == 0x060, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, exit_code) == 0x070, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, exit_int_info) == 0x088, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, nested_ctl) == 0x090, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, event_inj) == 0x0a8, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, clean) == 0x0c0, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, next_rip) == 0x0c8, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, insn_len) == 0x0d0, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, avic_backing_page) == 0x0e0, "VMCB");
static_assert(offsetof(struct svm_vmcb_control, avic_physical_table) == 0x0f8, "VMCB");
static_assert(sizeof(struct svm_vmcb_control) == 0x400, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, gdtr) == 0x060, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, cpl) == 0x0cb, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, efer) == 0x0d0, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, cr4) == 0x148, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, rip) == 0x178, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, rsp) == 0x1d8, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, rax) == 0x1f8, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, cr2) == 0x240, "VMCB");
static_assert(offsetof(struct svm_vmcb_save, g_pat) == 0x268, "VMCB");
static_assert(sizeof(struct svm_vmcb) == 0x1000, "VMCB");

/* Exit codes. CR reads 0x00-0x0f, CR writes 0x10-0x1f, DR reads 0x20, DR writes 0x30, exceptions 0x40. */
#define SVM_EXIT_READ_CR0	0x000
#define SVM_EXIT_WRITE_CR0	0x010
#define SVM_EXIT_READ_DR0	0x020
#define SVM_EXIT_WRITE_DR0	0x030
#define SVM_EXIT_EXCEPTION	0x040
#define SVM_EXIT_INTR		0x060
#define SVM_EXIT_NMI		0x061
#define SVM_EXIT_SMI		0x062
#define SVM_EXIT_INIT		0x063
#define SVM_EXIT_VINTR		0x064
#define SVM_EXIT_CR0_SEL_WRITE	0x065
#define SVM_EXIT_IDTR_READ	0x066
#define SVM_EXIT_GDTR_READ	0x067
#define SVM_EXIT_LDTR_READ	0x068
#define SVM_EXIT_TR_READ	0x069
#define SVM_EXIT_IDTR_WRITE	0x06a
#define SVM_EXIT_GDTR_WRITE	0x06b
#define SVM_EXIT_LDTR_WRITE	0x06c
#define SVM_EXIT_TR_WRITE	0x06d
#define SVM_EXIT_RDTSC		0x06e
#define SVM_EXIT_RDPMC		0x06f
#define SVM_EXIT_PUSHF		0x070
#define SVM_EXIT_POPF		0x071
#define SVM_EXIT_CPUID		0x072
#define SVM_EXIT_RSM		0x073
#define SVM_EXIT_IRET		0x074
#define SVM_EXIT_SWINT		0x075
#define SVM_EXIT_INVD		0x076
#define SVM_EXIT_PAUSE		0x077
#define SVM_EXIT_HLT		0x078
#define SVM_EXIT_INVLPG		0x079
#define SVM_EXIT_INVLPGA	0x07a
#define SVM_EXIT_IOIO		0x07b
#define SVM_EXIT_MSR		0x07c
#define SVM_EXIT_TASK_SWITCH	0x07d
#define SVM_EXIT_FERR_FREEZE	0x07e
#define SVM_EXIT_SHUTDOWN	0x07f
#define SVM_EXIT_VMRUN		0x080
#define SVM_EXIT_VMMCALL	0x081
#define SVM_EXIT_VMLOAD		0x082
#define SVM_EXIT_VMSAVE		0x083
#define SVM_EXIT_STGI		0x084
#define SVM_EXIT_CLGI		0x085
#define SVM_EXIT_SKINIT		0x086
#define SVM_EXIT_RDTSCP		0x087
#define SVM_EXIT_ICEBP		0x088
#define SVM_EXIT_WBINVD		0x089
#define SVM_EXIT_MONITOR	0x08a
#define SVM_EXIT_MWAIT		0x08b
#define SVM_EXIT_MWAIT_COND	0x08c
#define SVM_EXIT_XSETBV		0x08d
#define SVM_EXIT_RDPRU		0x08e
#define SVM_EXIT_EFER_WRITE_TRAP 0x08f
#define SVM_EXIT_INVPCID	0x0a2
#define SVM_EXIT_NPF		0x400
#define SVM_EXIT_AVIC_INCOMPLETE_IPI 0x401
#define SVM_EXIT_AVIC_NOACCEL	0x402
#define SVM_EXIT_INVALID	(~0ULL)

/* NPF EXITINFO1 beyond the page-fault error bits. */
#define SVM_NPF_FINAL		(1ULL << 32) /* the guest's final physical address */
#define SVM_NPF_TABLE		(1ULL << 33) /* while walking the guest's page tables */

/* CPUID 8000_000A EDX. */
#define SVM_FEATURE_NPT		(1U << 0)
#define SVM_FEATURE_LBRV	(1U << 1)
#define SVM_FEATURE_NRIPS	(1U << 3)
#define SVM_FEATURE_TSC_RATE	(1U << 4)
#define SVM_FEATURE_VMCB_CLEAN	(1U << 5)
#define SVM_FEATURE_FLUSH_ASID	(1U << 6)
#define SVM_FEATURE_DECODE_ASSIST (1U << 7)
#define SVM_FEATURE_PAUSE_FILTER (1U << 10)
#define SVM_FEATURE_PF_THRESHOLD (1U << 12)
#define SVM_FEATURE_AVIC	(1U << 13)
#define SVM_FEATURE_VGIF	(1U << 16)

#endif
