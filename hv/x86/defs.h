/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Architectural constants of x86-64 that more than one room needs: control
 * register bits, RFLAGS, MSR numbers, exception vectors, page-table bits.
 * Source: Intel SDM volumes 3 and 4, AMD APM volume 2.
 */
#ifndef HV_X86_DEFS_H
#define HV_X86_DEFS_H

/* General registers in encoding order. */
enum {
	X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
	X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15,
};

/* Segment registers in encoding order, then LDTR and TR. */
enum { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_LDTR, X86_TR, X86_NR_SEGS };

/* Exception vectors. */
enum {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6,
	X86_NM = 7, X86_DF = 8, X86_TS = 10, X86_NP = 11, X86_SS_FAULT = 12, X86_GP = 13,
	X86_PF = 14, X86_MF = 16, X86_AC = 17, X86_MC = 18, X86_XM = 19, X86_VE = 20, X86_CP = 21,
};

/* RFLAGS */
#define X86_FL_CF	(1u << 0)
#define X86_FL_ONE	(1u << 1)
#define X86_FL_PF	(1u << 2)
#define X86_FL_AF	(1u << 4)
#define X86_FL_ZF	(1u << 6)
#define X86_FL_SF	(1u << 7)
#define X86_FL_TF	(1u << 8)
#define X86_FL_IF	(1u << 9)
#define X86_FL_DF	(1u << 10)
#define X86_FL_OF	(1u << 11)
#define X86_FL_IOPL	(3u << 12)
#define X86_FL_NT	(1u << 14)
#define X86_FL_RF	(1u << 16)
#define X86_FL_VM	(1u << 17)
#define X86_FL_AC	(1u << 18)
#define X86_FL_VIF	(1u << 19)
#define X86_FL_VIP	(1u << 20)
#define X86_FL_ID	(1u << 21)
#define X86_FL_ARITH	(X86_FL_CF | X86_FL_PF | X86_FL_AF | X86_FL_ZF | X86_FL_SF | X86_FL_OF)
#define X86_FL_ALL	0x3f7fd5u	/* every defined bit but the fixed bit 1 */

/* CR0 */
#define X86_CR0_PE	(1ull << 0)
#define X86_CR0_MP	(1ull << 1)
#define X86_CR0_EM	(1ull << 2)
#define X86_CR0_TS	(1ull << 3)
#define X86_CR0_ET	(1ull << 4)
#define X86_CR0_NE	(1ull << 5)
#define X86_CR0_WP	(1ull << 16)
#define X86_CR0_AM	(1ull << 18)
#define X86_CR0_NW	(1ull << 29)
#define X86_CR0_CD	(1ull << 30)
#define X86_CR0_PG	(1ull << 31)

/* CR4 */
#define X86_CR4_VME	(1ull << 0)
#define X86_CR4_PVI	(1ull << 1)
#define X86_CR4_TSD	(1ull << 2)
#define X86_CR4_DE	(1ull << 3)
#define X86_CR4_PSE	(1ull << 4)
#define X86_CR4_PAE	(1ull << 5)
#define X86_CR4_MCE	(1ull << 6)
#define X86_CR4_PGE	(1ull << 7)
#define X86_CR4_PCE	(1ull << 8)
#define X86_CR4_OSFXSR	(1ull << 9)
#define X86_CR4_OSXMMEXCPT (1ull << 10)
#define X86_CR4_UMIP	(1ull << 11)
#define X86_CR4_LA57	(1ull << 12)
#define X86_CR4_VMXE	(1ull << 13)
#define X86_CR4_SMXE	(1ull << 14)
#define X86_CR4_FSGSBASE (1ull << 16)
#define X86_CR4_PCIDE	(1ull << 17)
#define X86_CR4_OSXSAVE	(1ull << 18)
#define X86_CR4_SMEP	(1ull << 20)
#define X86_CR4_SMAP	(1ull << 21)
#define X86_CR4_PKE	(1ull << 22)
#define X86_CR4_CET	(1ull << 23)
#define X86_CR4_PKS	(1ull << 24)

/* EFER */
#define X86_EFER_SCE	(1ull << 0)
#define X86_EFER_LME	(1ull << 8)
#define X86_EFER_LMA	(1ull << 10)
#define X86_EFER_NXE	(1ull << 11)
#define X86_EFER_SVME	(1ull << 12)
#define X86_EFER_LMSLE	(1ull << 13)
#define X86_EFER_FFXSR	(1ull << 14)

/* DR6, DR7 */
#define X86_DR6_BD	(1ull << 13)
#define X86_DR6_BS	(1ull << 14)
#define X86_DR6_BT	(1ull << 15)
#define X86_DR6_RTM	(1ull << 16)
#define X86_DR6_INIT	0xffff0ff0ull
#define X86_DR7_GD	(1ull << 13)
#define X86_DR7_INIT	0x400ull

/* Page-table entries and #PF error code. */
#define X86_PTE_P	(1ull << 0)
#define X86_PTE_W	(1ull << 1)
#define X86_PTE_U	(1ull << 2)
#define X86_PTE_PWT	(1ull << 3)
#define X86_PTE_PCD	(1ull << 4)
#define X86_PTE_A	(1ull << 5)
#define X86_PTE_D	(1ull << 6)
#define X86_PTE_PS	(1ull << 7)
#define X86_PTE_G	(1ull << 8)
#define X86_PTE_NX	(1ull << 63)
#define X86_PF_P	(1u << 0)
#define X86_PF_W	(1u << 1)
#define X86_PF_U	(1u << 2)
#define X86_PF_RSVD	(1u << 3)
#define X86_PF_I	(1u << 4)
#define X86_PF_PK	(1u << 5)

/* Segment attributes, VMX access-rights format. */
#define X86_AR_TYPE	0xfu
#define X86_AR_S	(1u << 4)
#define X86_AR_DPL(ar)	(((ar) >> 5) & 3)
#define X86_AR_DPL_SHIFT 5
#define X86_AR_P	(1u << 7)
#define X86_AR_AVL	(1u << 12)
#define X86_AR_L	(1u << 13)
#define X86_AR_DB	(1u << 14)
#define X86_AR_G	(1u << 15)
#define X86_AR_UNUSABLE	(1u << 16)

/* MSRs that live in struct x86_cpu. */
#define X86_MSR_TSC		0x10
#define X86_MSR_APIC_BASE	0x1b
#define X86_MSR_SYSENTER_CS	0x174
#define X86_MSR_SYSENTER_ESP	0x175
#define X86_MSR_SYSENTER_EIP	0x176
#define X86_MSR_DEBUGCTL	0x1d9
#define X86_MSR_PAT		0x277
#define X86_MSR_PKRS		0x6e1
#define X86_MSR_XSS		0xda0
#define X86_MSR_EFER		0xc0000080u
#define X86_MSR_STAR		0xc0000081u
#define X86_MSR_LSTAR		0xc0000082u
#define X86_MSR_CSTAR		0xc0000083u
#define X86_MSR_FMASK		0xc0000084u
#define X86_MSR_FS_BASE		0xc0000100u
#define X86_MSR_GS_BASE		0xc0000101u
#define X86_MSR_KERNEL_GS_BASE	0xc0000102u
#define X86_MSR_TSC_AUX		0xc0000103u

/* IA32_DEBUGCTL */
#define X86_DEBUGCTL_BTF	(1ull << 1)

#endif
