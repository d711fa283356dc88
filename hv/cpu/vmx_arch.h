/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers of the VMX architecture: VMCS field encodings, control bits, exit
 * reasons, instruction errors, and the layouts of what exits report.
 * Source: Intel SDM vol. 3, chapters "VMCS", "VM entries", "VM exits",
 * appendices A (capability reporting), B (field encoding), C (exit reasons).
 *
 * Used by both sides: the software processor that implements VMX and the
 * vendor module that drives it.
 */
#ifndef HV_CPU_VMX_ARCH_H
#define HV_CPU_VMX_ARCH_H

#include <assert.h>
#include <stdint.h>

/*
 * Field encoding:
 *   15   14 13  12   11 10   9 ........ 1   0
 *   0  | width | 0 | type  |    index     | high half of a 64-bit field
 * width: 0 16 bits, 1 64 bits, 2 32 bits, 3 natural; type: 0 control, 1 read-only
 * data, 2 guest state, 3 host state.
 *
 * One row a field: name, encoding. Order is the manual's.
 */
#define VMCS_FIELDS_16(F) \
	F(VPID, 0x0000) F(POSTED_INTR_VECTOR, 0x0002) F(EPTP_INDEX, 0x0004) \
	F(GUEST_ES_SELECTOR, 0x0800) F(GUEST_CS_SELECTOR, 0x0802) F(GUEST_SS_SELECTOR, 0x0804) \
	F(GUEST_DS_SELECTOR, 0x0806) F(GUEST_FS_SELECTOR, 0x0808) F(GUEST_GS_SELECTOR, 0x080a) \
	F(GUEST_LDTR_SELECTOR, 0x080c) F(GUEST_TR_SELECTOR, 0x080e) \
	F(GUEST_INTR_STATUS, 0x0810) F(GUEST_PML_INDEX, 0x0812) \
	F(HOST_ES_SELECTOR, 0x0c00) F(HOST_CS_SELECTOR, 0x0c02) F(HOST_SS_SELECTOR, 0x0c04) \
	F(HOST_DS_SELECTOR, 0x0c06) F(HOST_FS_SELECTOR, 0x0c08) F(HOST_GS_SELECTOR, 0x0c0a) \
	F(HOST_TR_SELECTOR, 0x0c0c)

#define VMCS_FIELDS_64(F) \
	F(IO_BITMAP_A, 0x2000) F(IO_BITMAP_B, 0x2002) F(MSR_BITMAP, 0x2004) \
	F(EXIT_MSR_STORE_ADDR, 0x2006) F(EXIT_MSR_LOAD_ADDR, 0x2008) \
	F(ENTRY_MSR_LOAD_ADDR, 0x200a) F(EXECUTIVE_VMCS, 0x200c) F(PML_ADDRESS, 0x200e) \
	F(TSC_OFFSET, 0x2010) F(VIRTUAL_APIC_ADDR, 0x2012) F(APIC_ACCESS_ADDR, 0x2014) \
	F(POSTED_INTR_DESC, 0x2016) F(VMFUNC_CTLS, 0x2018) F(EPT_POINTER, 0x201a) \
	F(EOI_EXIT_BITMAP0, 0x201c) F(EOI_EXIT_BITMAP1, 0x201e) F(EOI_EXIT_BITMAP2, 0x2020) \
	F(EOI_EXIT_BITMAP3, 0x2022) F(EPTP_LIST, 0x2024) F(VMREAD_BITMAP, 0x2026) \
	F(VMWRITE_BITMAP, 0x2028) F(XSS_EXIT_BITMAP, 0x202c) F(TSC_MULTIPLIER, 0x2032) \
	F(GUEST_PHYSICAL_ADDRESS, 0x2400) \
	F(VMCS_LINK_POINTER, 0x2800) F(GUEST_DEBUGCTL, 0x2802) F(GUEST_PAT, 0x2804) \
	F(GUEST_EFER, 0x2806) F(GUEST_PERF_GLOBAL_CTRL, 0x2808) F(GUEST_PDPTE0, 0x280a) \
	F(GUEST_PDPTE1, 0x280c) F(GUEST_PDPTE2, 0x280e) F(GUEST_PDPTE3, 0x2810) \
	F(HOST_PAT, 0x2c00) F(HOST_EFER, 0x2c02) F(HOST_PERF_GLOBAL_CTRL, 0x2c04)

#define VMCS_FIELDS_32(F) \
	F(PIN_CTLS, 0x4000) F(CPU_CTLS, 0x4002) F(EXCEPTION_BITMAP, 0x4004) \
	F(PF_ERROR_MASK, 0x4006) F(PF_ERROR_MATCH, 0x4008) F(CR3_TARGET_COUNT, 0x400a) \
	F(EXIT_CTLS, 0x400c) F(EXIT_MSR_STORE_COUNT, 0x400e) F(EXIT_MSR_LOAD_COUNT, 0x4010) \
	F(ENTRY_CTLS, 0x4012) F(ENTRY_MSR_LOAD_COUNT, 0x4014) F(ENTRY_INTR_INFO, 0x4016) \
	F(ENTRY_INTR_ERROR, 0x4018) F(ENTRY_INSN_LEN, 0x401a) F(TPR_THRESHOLD, 0x401c) \
	F(CPU_CTLS2, 0x401e) F(PLE_GAP, 0x4020) F(PLE_WINDOW, 0x4022) \
	F(INSN_ERROR, 0x4400) F(EXIT_REASON, 0x4402) F(EXIT_INTR_INFO, 0x4404) \
	F(EXIT_INTR_ERROR, 0x4406) F(IDT_VECTORING_INFO, 0x4408) \
	F(IDT_VECTORING_ERROR, 0x440a) F(EXIT_INSN_LEN, 0x440c) F(EXIT_INSN_INFO, 0x440e) \
	F(GUEST_ES_LIMIT, 0x4800) F(GUEST_CS_LIMIT, 0x4802) F(GUEST_SS_LIMIT, 0x4804) \
	F(GUEST_DS_LIMIT, 0x4806) F(GUEST_FS_LIMIT, 0x4808) F(GUEST_GS_LIMIT, 0x480a) \
	F(GUEST_LDTR_LIMIT, 0x480c) F(GUEST_TR_LIMIT, 0x480e) F(GUEST_GDTR_LIMIT, 0x4810) \
	F(GUEST_IDTR_LIMIT, 0x4812) F(GUEST_ES_AR, 0x4814) F(GUEST_CS_AR, 0x4816) \
	F(GUEST_SS_AR, 0x4818) F(GUEST_DS_AR, 0x481a) F(GUEST_FS_AR, 0x481c) \
	F(GUEST_GS_AR, 0x481e) F(GUEST_LDTR_AR, 0x4820) F(GUEST_TR_AR, 0x4822) \
	F(GUEST_INTERRUPTIBILITY, 0x4824) F(GUEST_ACTIVITY, 0x4826) F(GUEST_SMBASE, 0x4828) \
	F(GUEST_SYSENTER_CS, 0x482a) F(PREEMPTION_TIMER, 0x482e) \
	F(HOST_SYSENTER_CS, 0x4c00)

#define VMCS_FIELDS_NATURAL(F) \
	F(CR0_MASK, 0x6000) F(CR4_MASK, 0x6002) F(CR0_READ_SHADOW, 0x6004) \
	F(CR4_READ_SHADOW, 0x6006) F(CR3_TARGET0, 0x6008) F(CR3_TARGET1, 0x600a) \
	F(CR3_TARGET2, 0x600c) F(CR3_TARGET3, 0x600e) \
	F(EXIT_QUALIFICATION, 0x6400) F(IO_RCX, 0x6402) F(IO_RSI, 0x6404) F(IO_RDI, 0x6406) \
	F(IO_RIP, 0x6408) F(GUEST_LINEAR_ADDRESS, 0x640a) \
	F(GUEST_CR0, 0x6800) F(GUEST_CR3, 0x6802) F(GUEST_CR4, 0x6804) F(GUEST_ES_BASE, 0x6806) \
	F(GUEST_CS_BASE, 0x6808) F(GUEST_SS_BASE, 0x680a) F(GUEST_DS_BASE, 0x680c) \
	F(GUEST_FS_BASE, 0x680e) F(GUEST_GS_BASE, 0x6810) F(GUEST_LDTR_BASE, 0x6812) \
	F(GUEST_TR_BASE, 0x6814) F(GUEST_GDTR_BASE, 0x6816) F(GUEST_IDTR_BASE, 0x6818) \
	F(GUEST_DR7, 0x681a) F(GUEST_RSP, 0x681c) F(GUEST_RIP, 0x681e) F(GUEST_RFLAGS, 0x6820) \
	F(GUEST_PENDING_DBG, 0x6822) F(GUEST_SYSENTER_ESP, 0x6824) \
	F(GUEST_SYSENTER_EIP, 0x6826) \
	F(HOST_CR0, 0x6c00) F(HOST_CR3, 0x6c02) F(HOST_CR4, 0x6c04) F(HOST_FS_BASE, 0x6c06) \
	F(HOST_GS_BASE, 0x6c08) F(HOST_TR_BASE, 0x6c0a) F(HOST_GDTR_BASE, 0x6c0c) \
	F(HOST_IDTR_BASE, 0x6c0e) F(HOST_SYSENTER_ESP, 0x6c10) F(HOST_SYSENTER_EIP, 0x6c12) \
	F(HOST_RSP, 0x6c14) F(HOST_RIP, 0x6c16)

#define VMCS_FIELDS(F) \
	VMCS_FIELDS_16(F) VMCS_FIELDS_64(F) VMCS_FIELDS_32(F) VMCS_FIELDS_NATURAL(F)

enum vmcs_field {
#define VMCS_FIELD_ENUM(name, encoding) VMCS_##name = (encoding),
	VMCS_FIELDS(VMCS_FIELD_ENUM)
#undef VMCS_FIELD_ENUM
};

/* Pin-based controls. */
#define VMX_PIN_EXT_INTR		(1U << 0)
#define VMX_PIN_NMI			(1U << 3)
#define VMX_PIN_VIRTUAL_NMI		(1U << 5)
#define VMX_PIN_PREEMPTION_TIMER	(1U << 6)
#define VMX_PIN_POSTED_INTR		(1U << 7)

/* Primary processor-based controls. */
#define VMX_CPU_INTR_WINDOW		(1U << 2)
#define VMX_CPU_TSC_OFFSET		(1U << 3)
#define VMX_CPU_HLT			(1U << 7)
#define VMX_CPU_INVLPG			(1U << 9)
#define VMX_CPU_MWAIT			(1U << 10)
#define VMX_CPU_RDPMC			(1U << 11)
#define VMX_CPU_RDTSC			(1U << 12)
#define VMX_CPU_CR3_LOAD		(1U << 15)
#define VMX_CPU_CR3_STORE		(1U << 16)
#define VMX_CPU_CR8_LOAD		(1U << 19)
#define VMX_CPU_CR8_STORE		(1U << 20)
#define VMX_CPU_TPR_SHADOW		(1U << 21)
#define VMX_CPU_NMI_WINDOW		(1U << 22)
#define VMX_CPU_MOV_DR			(1U << 23)
#define VMX_CPU_UNCOND_IO		(1U << 24)
#define VMX_CPU_IO_BITMAPS		(1U << 25)
#define VMX_CPU_MONITOR_TRAP		(1U << 27)
#define VMX_CPU_MSR_BITMAPS		(1U << 28)
#define VMX_CPU_MONITOR			(1U << 29)
#define VMX_CPU_PAUSE			(1U << 30)
#define VMX_CPU_SECONDARY		(1U << 31)

/* Secondary processor-based controls. */
#define VMX_CPU2_APIC_ACCESSES		(1U << 0)
#define VMX_CPU2_EPT			(1U << 1)
#define VMX_CPU2_DESC_TABLE		(1U << 2)
#define VMX_CPU2_RDTSCP			(1U << 3)
#define VMX_CPU2_X2APIC			(1U << 4)
#define VMX_CPU2_VPID			(1U << 5)
#define VMX_CPU2_WBINVD			(1U << 6)
#define VMX_CPU2_UNRESTRICTED		(1U << 7)
#define VMX_CPU2_APIC_REGISTERS		(1U << 8)
#define VMX_CPU2_VIRTUAL_INTR		(1U << 9)
#define VMX_CPU2_PAUSE_LOOP		(1U << 10)
#define VMX_CPU2_RDRAND			(1U << 11)
#define VMX_CPU2_INVPCID		(1U << 12)
#define VMX_CPU2_VMFUNC			(1U << 13)
#define VMX_CPU2_VMCS_SHADOWING		(1U << 14)
#define VMX_CPU2_RDSEED			(1U << 16)
#define VMX_CPU2_PML			(1U << 17)
#define VMX_CPU2_XSAVES			(1U << 20)
#define VMX_CPU2_MODE_BASED_EXEC	(1U << 22)
#define VMX_CPU2_TSC_SCALING		(1U << 25)

/* VM-exit controls. */
#define VMX_EXITCTL_SAVE_DEBUG		(1U << 2)
#define VMX_EXITCTL_HOST_64		(1U << 9)
#define VMX_EXITCTL_LOAD_PERF		(1U << 12)
#define VMX_EXITCTL_ACK_INTR		(1U << 15)
#define VMX_EXITCTL_SAVE_PAT		(1U << 18)
#define VMX_EXITCTL_LOAD_PAT		(1U << 19)
#define VMX_EXITCTL_SAVE_EFER		(1U << 20)
#define VMX_EXITCTL_LOAD_EFER		(1U << 21)
#define VMX_EXITCTL_SAVE_TIMER		(1U << 22)

/* VM-entry controls. */
#define VMX_ENTRYCTL_LOAD_DEBUG		(1U << 2)
#define VMX_ENTRYCTL_GUEST_64		(1U << 9)
#define VMX_ENTRYCTL_SMM		(1U << 10)
#define VMX_ENTRYCTL_DUAL_MONITOR	(1U << 11)
#define VMX_ENTRYCTL_LOAD_PERF		(1U << 13)
#define VMX_ENTRYCTL_LOAD_PAT		(1U << 14)
#define VMX_ENTRYCTL_LOAD_EFER		(1U << 15)

/* Capability MSRs. */
#define VMX_MSR_BASIC			0x480
#define VMX_MSR_PINBASED		0x481
#define VMX_MSR_PROCBASED		0x482
#define VMX_MSR_EXIT			0x483
#define VMX_MSR_ENTRY			0x484
#define VMX_MSR_MISC			0x485
#define VMX_MSR_CR0_FIXED0		0x486
#define VMX_MSR_CR0_FIXED1		0x487
#define VMX_MSR_CR4_FIXED0		0x488
#define VMX_MSR_CR4_FIXED1		0x489
#define VMX_MSR_VMCS_ENUM		0x48a
#define VMX_MSR_PROCBASED2		0x48b
#define VMX_MSR_EPT_VPID_CAP		0x48c
#define VMX_MSR_TRUE_PINBASED		0x48d
#define VMX_MSR_TRUE_PROCBASED		0x48e
#define VMX_MSR_TRUE_EXIT		0x48f
#define VMX_MSR_TRUE_ENTRY		0x490
#define VMX_MSR_VMFUNC			0x491

/* IA32_VMX_EPT_VPID_CAP. */
#define VMX_EPT_CAP_EXEC_ONLY		(1ULL << 0)
#define VMX_EPT_CAP_WALK_4		(1ULL << 6)
#define VMX_EPT_CAP_WALK_5		(1ULL << 7)
#define VMX_EPT_CAP_UC			(1ULL << 8)
#define VMX_EPT_CAP_WB			(1ULL << 14)
#define VMX_EPT_CAP_2M			(1ULL << 16)
#define VMX_EPT_CAP_1G			(1ULL << 17)
#define VMX_EPT_CAP_INVEPT		(1ULL << 20)
#define VMX_EPT_CAP_AD			(1ULL << 21)
#define VMX_EPT_CAP_ADVANCED_EXIT	(1ULL << 22)
#define VMX_EPT_CAP_INVEPT_SINGLE	(1ULL << 25)
#define VMX_EPT_CAP_INVEPT_ALL		(1ULL << 26)
#define VMX_VPID_CAP_INVVPID		(1ULL << 32)
#define VMX_VPID_CAP_ADDRESS		(1ULL << 40)
#define VMX_VPID_CAP_SINGLE		(1ULL << 41)
#define VMX_VPID_CAP_ALL		(1ULL << 42)
#define VMX_VPID_CAP_SINGLE_GLOBAL	(1ULL << 43)

enum { VMX_INVEPT_SINGLE = 1, VMX_INVEPT_ALL = 2 };
enum { VMX_INVVPID_ADDRESS = 0, VMX_INVVPID_SINGLE = 1, VMX_INVVPID_ALL = 2,
       VMX_INVVPID_SINGLE_GLOBAL = 3 };

/* EPTP and EPT entries. */
#define EPTP_MEMTYPE_MASK	0x7ULL
#define EPTP_MEMTYPE_WB		6ULL
#define EPTP_WALK_SHIFT		3 /* page-walk length minus 1 */
#define EPTP_AD			(1ULL << 6)
#define EPT_READ		(1ULL << 0)
#define EPT_WRITE		(1ULL << 1)
#define EPT_EXEC		(1ULL << 2)
#define EPT_MEMTYPE_SHIFT	3
#define EPT_IGNORE_PAT		(1ULL << 6)
#define EPT_LARGE		(1ULL << 7)
#define EPT_ACCESSED		(1ULL << 8)
#define EPT_DIRTY		(1ULL << 9)
#define EPT_USER_EXEC		(1ULL << 10)
#define EPT_SUPPRESS_VE		(1ULL << 63)

/* Qualification of an EPT violation. */
#define EPT_QUAL_READ		(1ULL << 0)
#define EPT_QUAL_WRITE		(1ULL << 1)
#define EPT_QUAL_FETCH		(1ULL << 2)
#define EPT_QUAL_READABLE	(1ULL << 3)
#define EPT_QUAL_WRITABLE	(1ULL << 4)
#define EPT_QUAL_EXECUTABLE	(1ULL << 5)
#define EPT_QUAL_USER_EXECUTABLE (1ULL << 6)
#define EPT_QUAL_LINEAR_VALID	(1ULL << 7)
#define EPT_QUAL_FINAL		(1ULL << 8) /* the translation of a linear address; 0: a table */
#define EPT_QUAL_USER_LINEAR	(1ULL << 9)
#define EPT_QUAL_RW_LINEAR	(1ULL << 10)
#define EPT_QUAL_NX_LINEAR	(1ULL << 11)
#define EPT_QUAL_NMI_UNBLOCK	(1ULL << 12)

/* Interruption information, of entry, exit and IDT vectoring alike. */
#define VMX_INTR_VECTOR		0xffU
#define VMX_INTR_TYPE_SHIFT	8
#define VMX_INTR_TYPE		(7U << 8)
#define VMX_INTR_HAS_ERROR	(1U << 11)
#define VMX_INTR_NMI_UNBLOCK	(1U << 12) /* exit information only */
#define VMX_INTR_VALID		(1U << 31)
enum vmx_intr_type {
	VMX_INTR_EXT = 0, VMX_INTR_NMI = 2, VMX_INTR_HW_EXCEPTION = 3, VMX_INTR_SW_INT = 4,
	VMX_INTR_PRIV_SW_EXCEPTION = 5, VMX_INTR_SW_EXCEPTION = 6, VMX_INTR_OTHER = 7,
};

/* Guest interruptibility and activity. */
#define VMX_BLOCK_STI		(1U << 0)
#define VMX_BLOCK_MOV_SS	(1U << 1)
#define VMX_BLOCK_SMI		(1U << 2)
#define VMX_BLOCK_NMI		(1U << 3)
enum vmx_activity { VMX_ACTIVE = 0, VMX_HLT = 1, VMX_SHUTDOWN = 2, VMX_WAIT_SIPI = 3 };

/* Pending debug exceptions. */
#define VMX_PENDING_DBG_BP	0xfULL
#define VMX_PENDING_DBG_ENABLED	(1ULL << 12)
#define VMX_PENDING_DBG_BS	(1ULL << 14)
#define VMX_PENDING_DBG_RTM	(1ULL << 16)

/* Segment access rights: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15. */
#define VMX_AR_UNUSABLE		(1U << 16)

/* Basic exit reasons; bit 31 of the field is set for entry failures. */
enum vmx_exit_reason {
	VMX_EXIT_EXCEPTION_NMI = 0, VMX_EXIT_EXTERNAL_INTERRUPT = 1, VMX_EXIT_TRIPLE_FAULT = 2,
	VMX_EXIT_INIT = 3, VMX_EXIT_SIPI = 4, VMX_EXIT_IO_SMI = 5, VMX_EXIT_OTHER_SMI = 6,
	VMX_EXIT_INTR_WINDOW = 7, VMX_EXIT_NMI_WINDOW = 8, VMX_EXIT_TASK_SWITCH = 9,
	VMX_EXIT_CPUID = 10, VMX_EXIT_GETSEC = 11, VMX_EXIT_HLT = 12, VMX_EXIT_INVD = 13,
	VMX_EXIT_INVLPG = 14, VMX_EXIT_RDPMC = 15, VMX_EXIT_RDTSC = 16, VMX_EXIT_RSM = 17,
	VMX_EXIT_VMCALL = 18, VMX_EXIT_VMCLEAR = 19, VMX_EXIT_VMLAUNCH = 20,
	VMX_EXIT_VMPTRLD = 21, VMX_EXIT_VMPTRST = 22, VMX_EXIT_VMREAD = 23,
	VMX_EXIT_VMRESUME = 24, VMX_EXIT_VMWRITE = 25, VMX_EXIT_VMXOFF = 26, VMX_EXIT_VMXON = 27,
	VMX_EXIT_CR_ACCESS = 28, VMX_EXIT_DR_ACCESS = 29, VMX_EXIT_IO = 30, VMX_EXIT_RDMSR = 31,
	VMX_EXIT_WRMSR = 32, VMX_EXIT_INVALID_GUEST_STATE = 33, VMX_EXIT_MSR_LOADING = 34,
	VMX_EXIT_MWAIT = 36, VMX_EXIT_MONITOR_TRAP = 37, VMX_EXIT_MONITOR = 39,
	VMX_EXIT_PAUSE = 40, VMX_EXIT_MACHINE_CHECK = 41, VMX_EXIT_TPR_BELOW_THRESHOLD = 43,
	VMX_EXIT_APIC_ACCESS = 44, VMX_EXIT_VIRTUALIZED_EOI = 45, VMX_EXIT_GDTR_IDTR = 46,
	VMX_EXIT_LDTR_TR = 47, VMX_EXIT_EPT_VIOLATION = 48, VMX_EXIT_EPT_MISCONFIG = 49,
	VMX_EXIT_INVEPT = 50, VMX_EXIT_RDTSCP = 51, VMX_EXIT_PREEMPTION_TIMER = 52,
	VMX_EXIT_INVVPID = 53, VMX_EXIT_WBINVD = 54, VMX_EXIT_XSETBV = 55,
	VMX_EXIT_APIC_WRITE = 56, VMX_EXIT_RDRAND = 57, VMX_EXIT_INVPCID = 58,
	VMX_EXIT_VMFUNC = 59, VMX_EXIT_ENCLS = 60, VMX_EXIT_RDSEED = 61, VMX_EXIT_PML_FULL = 62,
	VMX_EXIT_XSAVES = 63, VMX_EXIT_XRSTORS = 64,
	VMX_EXIT_COUNT = 65,
};
#define VMX_EXIT_ENTRY_FAILURE	(1U << 31)

/* Qualification of an entry failure for invalid guest state. */
enum { VMX_ENTRY_FAIL_DEFAULT = 0, VMX_ENTRY_FAIL_PDPTE = 2, VMX_ENTRY_FAIL_NMI = 3,
       VMX_ENTRY_FAIL_LINK_POINTER = 4 };

/* VM-instruction error numbers. */
enum vmx_insn_error {
	VMX_ERR_VMCALL_IN_ROOT = 1, VMX_ERR_VMCLEAR_ADDRESS = 2, VMX_ERR_VMCLEAR_VMXON = 3,
	VMX_ERR_VMLAUNCH_NOT_CLEAR = 4, VMX_ERR_VMRESUME_NOT_LAUNCHED = 5,
	VMX_ERR_VMRESUME_AFTER_VMXOFF = 6, VMX_ERR_ENTRY_CONTROLS = 7, VMX_ERR_ENTRY_HOST = 8,
	VMX_ERR_VMPTRLD_ADDRESS = 9, VMX_ERR_VMPTRLD_VMXON = 10, VMX_ERR_VMPTRLD_REVISION = 11,
	VMX_ERR_UNSUPPORTED_FIELD = 12, VMX_ERR_READ_ONLY_FIELD = 13,
	VMX_ERR_VMXON_IN_ROOT = 15, VMX_ERR_EXECUTIVE_POINTER = 16,
	VMX_ERR_EXECUTIVE_NOT_LAUNCHED = 17, VMX_ERR_NOT_VMXON_POINTER = 18,
	VMX_ERR_VMCALL_NOT_CLEAR = 19, VMX_ERR_VMCALL_EXIT_CONTROLS = 20,
	VMX_ERR_VMCALL_MSEG = 22, VMX_ERR_ENTRY_BLOCKED_BY_MOV_SS = 26,
	VMX_ERR_INVALID_INVALIDATION_OPERAND = 28,
};

/* An entry of the MSR load and store areas. */
struct vmx_msr_entry {
	uint32_t index;
	uint32_t reserved;
	uint64_t value;
};

/* Control-register access qualification: CR 0-3, type 4-5, LMSW memory 6, GPR 8-11, LMSW data 16-31. */
enum { VMX_CR_MOV_TO = 0, VMX_CR_MOV_FROM = 1, VMX_CR_CLTS = 2, VMX_CR_LMSW = 3 };

/* I/O qualification. */
#define VMX_IO_SIZE		0x7ULL /* bytes minus 1 */
#define VMX_IO_IN		(1ULL << 3)
#define VMX_IO_STRING		(1ULL << 4)
#define VMX_IO_REP		(1ULL << 5)
#define VMX_IO_IMMEDIATE	(1ULL << 6)
#define VMX_IO_PORT_SHIFT	16

/*
 * Posted-interrupt descriptor: 64 bytes, 64-byte aligned.
 *   pir      a bit for each vector
 *   control  63 .. 32 | 31 .. 24 | 23 .. 16 | 15 .. 2 | 1  | 0
 *              NDST   |    0     |    NV    |    0    | SN | ON
 * The control word changes as a whole: who posts takes ON and learns of NV and NDST
 * in one operation.
 */
struct vmx_posted_intr_desc {
	uint64_t pir[4];
	uint64_t control;
	uint64_t reserved[3];
};
static_assert(sizeof(struct vmx_posted_intr_desc) == 64, "posted-interrupt descriptor");
#define VMX_PI_ON		(1ULL << 0) /* outstanding notification */
#define VMX_PI_SN		(1ULL << 1) /* suppress notification */
#define VMX_PI_NV_SHIFT		16	    /* notification vector */
#define VMX_PI_NV		(0xffULL << VMX_PI_NV_SHIFT)
#define VMX_PI_NDST_SHIFT	32	    /* notification destination: a host CPU */
#define VMX_PI_NDST		(0xffffffffULL << VMX_PI_NDST_SHIFT)

#endif
