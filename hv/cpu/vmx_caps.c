/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMX capability MSRs: one table of control fields says what is built, and
 * the MSRs, the entry checks and the documentation of what is supported follow
 * from it. Source: SDM vol. 3, appendix A.
 */
#include "hv/cpu/soft_internal.h"

/* must: bits that have to be 1; may: bits that can be 1. Those of the "true" MSRs. */
static const struct ctl_row {
	uint32_t msr, true_msr;
	uint32_t must, may;	/* of the true MSR */
	uint32_t default1;	/* additional must-be-1 bits of the older MSR */
} ctl_rows[] = {
	/*
	 * External-interrupt exiting has to be 1: a host interrupt that the guest takes
	 * through its own IDT has no meaning when the host is a thread.
	 */
	{ VMX_MSR_PINBASED, VMX_MSR_TRUE_PINBASED, 0x16 | VMX_PIN_EXT_INTR,
	  0x16 | VMX_PIN_EXT_INTR | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI | VMX_PIN_PREEMPTION_TIMER |
	  VMX_PIN_POSTED_INTR, 0x16 },
	{ VMX_MSR_PROCBASED, VMX_MSR_TRUE_PROCBASED, 0x04006172,
	  0x04006172 | VMX_CPU_INTR_WINDOW | VMX_CPU_TSC_OFFSET | VMX_CPU_HLT | VMX_CPU_INVLPG |
	  VMX_CPU_MWAIT | VMX_CPU_RDPMC | VMX_CPU_RDTSC | VMX_CPU_CR3_LOAD | VMX_CPU_CR3_STORE |
	  VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE | VMX_CPU_TPR_SHADOW | VMX_CPU_NMI_WINDOW |
	  VMX_CPU_MOV_DR | VMX_CPU_UNCOND_IO | VMX_CPU_IO_BITMAPS | VMX_CPU_MONITOR_TRAP |
	  VMX_CPU_MSR_BITMAPS | VMX_CPU_MONITOR | VMX_CPU_PAUSE | VMX_CPU_SECONDARY,
	  VMX_CPU_CR3_LOAD | VMX_CPU_CR3_STORE },
	{ VMX_MSR_EXIT, VMX_MSR_TRUE_EXIT, 0x36dfb | VMX_EXITCTL_HOST_64,
	  0x36dfb | VMX_EXITCTL_HOST_64 | VMX_EXITCTL_SAVE_DEBUG | VMX_EXITCTL_ACK_INTR |
	  VMX_EXITCTL_SAVE_PAT | VMX_EXITCTL_LOAD_PAT | VMX_EXITCTL_SAVE_EFER |
	  VMX_EXITCTL_LOAD_EFER | VMX_EXITCTL_SAVE_TIMER, VMX_EXITCTL_SAVE_DEBUG },
	{ VMX_MSR_ENTRY, VMX_MSR_TRUE_ENTRY, 0x11fb,
	  0x11fb | VMX_ENTRYCTL_LOAD_DEBUG | VMX_ENTRYCTL_GUEST_64 | VMX_ENTRYCTL_LOAD_PAT |
	  VMX_ENTRYCTL_LOAD_EFER, VMX_ENTRYCTL_LOAD_DEBUG },
	{ VMX_MSR_PROCBASED2, VMX_MSR_PROCBASED2, 0,
	  VMX_CPU2_APIC_ACCESSES | VMX_CPU2_EPT | VMX_CPU2_DESC_TABLE | VMX_CPU2_RDTSCP |
	  VMX_CPU2_X2APIC | VMX_CPU2_VPID | VMX_CPU2_WBINVD | VMX_CPU2_UNRESTRICTED |
	  VMX_CPU2_APIC_REGISTERS | VMX_CPU2_VIRTUAL_INTR | VMX_CPU2_PAUSE_LOOP |
	  VMX_CPU2_RDRAND | VMX_CPU2_INVPCID | VMX_CPU2_RDSEED | VMX_CPU2_PML |
	  VMX_CPU2_XSAVES | VMX_CPU2_MODE_BASED_EXEC | VMX_CPU2_TSC_SCALING, 0 },
};

struct vmx_ctl_allowed vmx_ctl_allowed(uint32_t true_msr)
{
	struct vmx_ctl_allowed allowed = { 0, 0 };

	for (unsigned int i = 0; i < sizeof(ctl_rows) / sizeof(ctl_rows[0]); i++) {
		if (ctl_rows[i].true_msr == true_msr) {
			allowed.must = ctl_rows[i].must;
			allowed.may = ctl_rows[i].may;
		}
	}
	return allowed;
}

static uint64_t ctl_msr(uint32_t msr)
{
	for (unsigned int i = 0; i < sizeof(ctl_rows) / sizeof(ctl_rows[0]); i++) {
		const struct ctl_row *row = &ctl_rows[i];

		if (row->true_msr == msr)
			return (uint64_t)row->may << 32 | row->must;
		if (row->msr == msr)
			return (uint64_t)row->may << 32 | row->must | row->default1;
	}
	return 0;
}

/* IA32_VMX_MISC: timer counts TSC >> 5; EFER.LMA stored; HLT, shutdown, wait-for-SIPI; 4 CR3 targets. */
#define MISC_VALUE (SOFT_VMX_TIMER_SHIFT | 1U << 5 | 1U << 6 | 1U << 7 | 1U << 8 | 4U << 16)

uint64_t vmx_capability(uint32_t msr)
{
	switch (msr) {
	case VMX_MSR_BASIC:
		/* Size, write-back, INS/OUTS information, "true" MSRs. */
		return SOFT_VMCS_REVISION | (uint64_t)SOFT_VMCS_SIZE << 32 | 6ULL << 50 | 1ULL << 54 |
		       1ULL << 55;
	case VMX_MSR_MISC:
		return MISC_VALUE;
	case VMX_MSR_CR0_FIXED0:
		return X86_CR0_PE | X86_CR0_NE | X86_CR0_PG;
	case VMX_MSR_CR0_FIXED1:
		return 0xffffffff;
	case VMX_MSR_CR4_FIXED0:
		return X86_CR4_VMXE;
	case VMX_MSR_CR4_FIXED1:
		return soft_cr4_allowed() | X86_CR4_VMXE;
	case VMX_MSR_VMCS_ENUM:
		return 0x19 << 1; /* the highest index is that of TSC_MULTIPLIER */
	case VMX_MSR_EPT_VPID_CAP:
		return VMX_EPT_CAP_EXEC_ONLY | VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WALK_5 |
		       VMX_EPT_CAP_UC | VMX_EPT_CAP_WB | VMX_EPT_CAP_2M | VMX_EPT_CAP_1G |
		       VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_AD | VMX_EPT_CAP_ADVANCED_EXIT |
		       VMX_EPT_CAP_INVEPT_SINGLE | VMX_EPT_CAP_INVEPT_ALL | VMX_VPID_CAP_INVVPID |
		       VMX_VPID_CAP_ADDRESS | VMX_VPID_CAP_SINGLE | VMX_VPID_CAP_ALL |
		       VMX_VPID_CAP_SINGLE_GLOBAL;
	default:
		return ctl_msr(msr);
	}
}
