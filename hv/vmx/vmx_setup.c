/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMX controls and the constant parts of a VMCS. Source: SDM volume 3,
 * chapter "Virtual machine control structures", appendix A.3 and on for how the
 * capability MSRs allow controls.
 */
#include <errno.h>
#include <string.h>

#include "hv/mmu/mmu.h"
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"

/* Needed of any processor. */
#define NEED_PIN  (VMX_PIN_EXT_INTR | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI)
#define NEED_CPU                                                                                   \
	(VMX_CPU_HLT | VMX_CPU_TSC_OFFSET | VMX_CPU_MSR_BITMAPS | VMX_CPU_UNCOND_IO |              \
	 VMX_CPU_SECONDARY | VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE | VMX_CPU_MWAIT |                \
	 VMX_CPU_MONITOR | VMX_CPU_RDPMC)
#define NEED_CPU2  (VMX_CPU2_VPID)
#define NEED_TDP2  (VMX_CPU2_EPT | VMX_CPU2_UNRESTRICTED)
#define NEED_EXIT                                                                                  \
	(VMX_EXITCTL_HOST_64 | VMX_EXITCTL_SAVE_DEBUG | VMX_EXITCTL_SAVE_EFER |                    \
	 VMX_EXITCTL_LOAD_EFER | VMX_EXITCTL_SAVE_PAT | VMX_EXITCTL_LOAD_PAT)
#define NEED_ENTRY (VMX_ENTRYCTL_LOAD_EFER | VMX_ENTRYCTL_LOAD_PAT | VMX_ENTRYCTL_LOAD_DEBUG)
#define NEED_EPT_VPID                                                                              \
	(VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB | VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_INVEPT_ALL |       \
	 VMX_VPID_CAP_INVVPID | VMX_VPID_CAP_ADDRESS | VMX_VPID_CAP_SINGLE)

#define HOST_CS 0x10
#define HOST_TR 0x40
#define HOST_PAT_RESET 0x0007040600070406ULL

/* want: bits 63:32 of the capability allow, bits 31:0 demand. */
static uint32_t allowed(const struct hv_vmx_ops *ops, uint32_t msr, uint32_t want)
{
	uint64_t cap = ops->capability(msr);

	return (want & (uint32_t)(cap >> 32)) | (uint32_t)cap;
}

static bool has(const struct hv_vmx_ops *ops, uint32_t msr, uint32_t need)
{
	return ((uint32_t)(ops->capability(msr) >> 32) & need) == need;
}

bool vmx_processor_allows(const struct hv_vmx_ops *ops, const struct vmx_controls *want)
{
	return has(ops, VMX_MSR_TRUE_PINBASED, want->pin) &&
	       has(ops, VMX_MSR_TRUE_PROCBASED, want->cpu) &&
	       has(ops, VMX_MSR_PROCBASED2, want->cpu2) && has(ops, VMX_MSR_TRUE_EXIT, want->exit);
}

int vmx_check_processor(const struct hv_processor_ops *processor)
{
	const struct hv_vmx_ops *ops = processor->vmx;

	if (!ops)
		return -EOPNOTSUPP;
	if (!has(ops, VMX_MSR_TRUE_PINBASED, NEED_PIN) ||
	    !has(ops, VMX_MSR_TRUE_PROCBASED, NEED_CPU) ||
	    !has(ops, VMX_MSR_PROCBASED2, NEED_CPU2 | NEED_TDP2) ||
	    !has(ops, VMX_MSR_TRUE_EXIT, NEED_EXIT) || !has(ops, VMX_MSR_TRUE_ENTRY, NEED_ENTRY))
		return -EOPNOTSUPP;
	if ((ops->capability(VMX_MSR_EPT_VPID_CAP) & NEED_EPT_VPID) != NEED_EPT_VPID)
		return -EOPNOTSUPP;
	return 0;
}

static uint32_t guest_features2(struct hv_vcpu *vcpu)
{
	struct hv_vm_arch *va = vm_arch(vcpu->vm);
	const struct vcpu_cpuid_entry *leaf7 = cpuid_find(&va->cpuid, 7, 0);
	const struct vcpu_cpuid_entry *xsave = cpuid_find(&va->cpuid, 0xd, 1);
	uint32_t c = 0;

	if (va->caps.rdtscp)
		c |= VMX_CPU2_RDTSCP;
	if (leaf7 && leaf7->out[1] & 1u << 10)
		c |= VMX_CPU2_INVPCID;
	if (xsave && xsave->out[0] & 1u << 3)
		c |= VMX_CPU2_XSAVES;
	return c;
}

void vmx_choose_controls(struct hv_vcpu *vcpu, struct vmx_controls *ctl)
{
	const struct hv_vmx_ops *ops = vmx_ops(vcpu);
	uint32_t cpu = NEED_CPU, cpu2 = NEED_CPU2 | guest_features2(vcpu);

	if (vmx_shadow(vcpu)) {
		cpu |= VMX_CPU_CR3_LOAD | VMX_CPU_CR3_STORE | VMX_CPU_INVLPG;
	} else {
		cpu2 |= NEED_TDP2;
		if (mmu_uses_pml(vcpu->vm))
			cpu2 |= VMX_CPU2_PML;
	}
	ctl->pin = allowed(ops, VMX_MSR_TRUE_PINBASED, NEED_PIN);
	ctl->cpu = allowed(ops, VMX_MSR_TRUE_PROCBASED, cpu);
	ctl->cpu2 = allowed(ops, VMX_MSR_PROCBASED2, cpu2);
	ctl->exit = allowed(ops, VMX_MSR_TRUE_EXIT, NEED_EXIT);
	ctl->entry = allowed(ops, VMX_MSR_TRUE_ENTRY, NEED_ENTRY);
}

static void write_host_state(struct hv_vcpu *vcpu)
{
	const struct hv_vmx_ops *ops = vmx_ops(vcpu);
	uint64_t cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
	uint64_t cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;

	cr0 |= ops->capability(VMX_MSR_CR0_FIXED0);
	cr4 |= ops->capability(VMX_MSR_CR4_FIXED0);
	vmcs_write(vcpu, VMCS_HOST_CR0, cr0);
	vmcs_write(vcpu, VMCS_HOST_CR3, 0);
	vmcs_write(vcpu, VMCS_HOST_CR4, cr4);
	vmcs_write(vcpu, VMCS_HOST_EFER, X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE | X86_EFER_SCE);
	vmcs_write(vcpu, VMCS_HOST_PAT, HOST_PAT_RESET);
	vmcs_write(vcpu, VMCS_HOST_CS_SELECTOR, HOST_CS);
	vmcs_write(vcpu, VMCS_HOST_SS_SELECTOR, HOST_CS + 8);
	vmcs_write(vcpu, VMCS_HOST_DS_SELECTOR, 0);
	vmcs_write(vcpu, VMCS_HOST_ES_SELECTOR, 0);
	vmcs_write(vcpu, VMCS_HOST_FS_SELECTOR, 0);
	vmcs_write(vcpu, VMCS_HOST_GS_SELECTOR, 0);
	vmcs_write(vcpu, VMCS_HOST_TR_SELECTOR, HOST_TR);
	vmcs_write(vcpu, VMCS_HOST_FS_BASE, 0);
	vmcs_write(vcpu, VMCS_HOST_GS_BASE, 0);
	vmcs_write(vcpu, VMCS_HOST_TR_BASE, 0);
	vmcs_write(vcpu, VMCS_HOST_GDTR_BASE, 0);
	vmcs_write(vcpu, VMCS_HOST_IDTR_BASE, 0);
	vmcs_write(vcpu, VMCS_HOST_RSP, 0);
	vmcs_write(vcpu, VMCS_HOST_RIP, 0);
}

/* Bits that the guest may change and read without an exit. */
static void write_masks(struct hv_vcpu *vcpu)
{
	uint64_t own0 = X86_CR0_TS | X86_CR0_MP | X86_CR0_EM | X86_CR0_AM;
	uint64_t own4 = X86_CR4_PVI | X86_CR4_DE | X86_CR4_PCE | X86_CR4_OSFXSR |
			X86_CR4_OSXMMEXCPT | X86_CR4_TSD | X86_CR4_FSGSBASE;

	if (!vmx_shadow(vcpu)) {
		own0 |= X86_CR0_WP;
		own4 |= X86_CR4_PGE;
	}
	own4 &= vm_arch(vcpu->vm)->caps.cr4_allowed;
	vmcs_write(vcpu, VMCS_CR0_MASK, ~own0);
	vmcs_write(vcpu, VMCS_CR4_MASK, ~own4);
}

void vmx_configure(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	struct vmx_vm *vv = vcpu->vm->vendor_data;

	vmx_choose_controls(vcpu, &v->ctl);
	vmcs_write(vcpu, VMCS_PIN_CTLS, v->ctl.pin);
	vmcs_write(vcpu, VMCS_CPU_CTLS, v->ctl.cpu);
	vmcs_write(vcpu, VMCS_CPU_CTLS2, v->ctl.cpu2);
	vmcs_write(vcpu, VMCS_EXIT_CTLS, v->ctl.exit);
	vmcs_write(vcpu, VMCS_ENTRY_CTLS, v->ctl.entry);
	vmcs_write(vcpu, VMCS_VPID, v->vpid);
	vmcs_write(vcpu, VMCS_MSR_BITMAP, (uintptr_t)vv->msr_bitmap);
	vmcs_write(vcpu, VMCS_VMCS_LINK_POINTER, ~0ULL);
	vmcs_write(vcpu, VMCS_EXCEPTION_BITMAP, v->exception_bitmap);
	vmcs_write(vcpu, VMCS_PF_ERROR_MASK, 0);
	vmcs_write(vcpu, VMCS_PF_ERROR_MATCH, 0);
	vmcs_write(vcpu, VMCS_CR3_TARGET_COUNT, 0);
	vmcs_write(vcpu, VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmcs_write(vcpu, VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmcs_write(vcpu, VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmcs_write(vcpu, VMCS_ENTRY_INTR_INFO, 0);
	vmcs_write(vcpu, VMCS_TPR_THRESHOLD, 0);
	vmcs_write(vcpu, VMCS_GUEST_PENDING_DBG, 0);
	if (v->ctl.cpu2 & VMX_CPU2_PML) {
		vmcs_write(vcpu, VMCS_PML_ADDRESS, (uintptr_t)v->pml);
		vmcs_write(vcpu, VMCS_GUEST_PML_INDEX, 511);
	}
	if (v->ctl.cpu2 & VMX_CPU2_XSAVES)
		vmcs_write(vcpu, VMCS_XSS_EXIT_BITMAP, 0);
	write_masks(vcpu);
	write_host_state(vcpu);
	vmx_apicv_configure(vcpu);
	v->configured = true;
	v->root_dirty = true;
}

/*
 * A root comes up again under an address that an older one had: whatever is cached
 * under its tag is older than the root, so drop it.
 */
void vmx_write_root(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	uint64_t eptp;

	v->root_dirty = false;
	if (vmx_shadow(vcpu)) {
		vmcs_write(vcpu, VMCS_GUEST_CR3, v->root_pfn << HV_PAGE_SHIFT);
		vmx_ops(vcpu)->invvpid(vcpu->lp, VMX_INVVPID_SINGLE, v->vpid, 0);
		return;
	}
	eptp = v->root_pfn << HV_PAGE_SHIFT | EPTP_MEMTYPE_WB |
	       (uint64_t)(v->root_level - 1) << EPTP_WALK_SHIFT;
	if (mmu_ad_bits(vcpu->vm))
		eptp |= EPTP_AD;
	vmcs_write(vcpu, VMCS_EPT_POINTER, eptp);
	vmx_ops(vcpu)->invept(vcpu->lp, VMX_INVEPT_SINGLE, eptp);
}

/* ---- the MSR bitmap: a clear bit passes the MSR through ---------------------------------------- */

void vmx_pass_msr(void *bitmap, uint32_t msr, enum vmx_msr_pass direction)
{
	uint8_t *map = (uint8_t *)bitmap + direction + (msr >= 0xc0000000u ? 0x400 : 0);
	uint32_t bit = msr & 0x1fff;

	map[bit / 8] &= (uint8_t)~(1u << (bit % 8));
}

void vmx_fill_msr_bitmap(void *bitmap)
{
	static const uint32_t both[] = {
		X86_MSR_SYSENTER_CS, X86_MSR_SYSENTER_ESP, X86_MSR_SYSENTER_EIP, X86_MSR_STAR,
		X86_MSR_LSTAR, X86_MSR_CSTAR, X86_MSR_FMASK, X86_MSR_FS_BASE, X86_MSR_GS_BASE,
		X86_MSR_KERNEL_GS_BASE,
	};
	size_t i;

	memset(bitmap, 0xff, 4096);
	for (i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
		vmx_pass_msr(bitmap, both[i], VMX_MSR_PASS_READ);
		vmx_pass_msr(bitmap, both[i], VMX_MSR_PASS_WRITE);
	}
	vmx_pass_msr(bitmap, X86_MSR_TSC, VMX_MSR_PASS_READ);
}
