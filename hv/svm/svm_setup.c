/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the SVM module needs of a processor, the permission maps, and the
 * constant part of a VMCB. Source: AMD APM volume 2, chapter "Secure Virtual
 * Machine", "Intercept operation", "MSR intercepts", "IOIO intercepts".
 */
#include <errno.h>
#include <string.h>

#include "hv/svm/svm.h"
#include "hv/x86/defs.h"

#define NEED_FEATURES (SVM_FEATURE_NPT | SVM_FEATURE_NRIPS | SVM_FEATURE_DECODE_ASSIST)

int svm_check_processor(const struct hv_processor_ops *processor)
{
	uint32_t leaf[4];

	if (!processor->svm)
		return -EOPNOTSUPP;
	processor->svm->cpuid_8000000a(leaf);
	return (leaf[3] & NEED_FEATURES) == NEED_FEATURES ? 0 : -EOPNOTSUPP;
}

/* Two bits an MSR, read then write; a clear one passes it through. */
static void pass(uint8_t *msrpm, uint32_t msr)
{
	uint32_t base = msr >= 0xc0010000u ? 0x1000 : msr >= 0xc0000000u ? 0x800 : 0;
	uint32_t bit = (msr & 0x1fff) * 2;

	msrpm[base + bit / 8] &= (uint8_t)~(3u << (bit % 8));
}

void svm_fill_permission_maps(void *msrpm, void *iopm)
{
	static const uint32_t both[] = {
		X86_MSR_SYSENTER_CS, X86_MSR_SYSENTER_ESP, X86_MSR_SYSENTER_EIP, X86_MSR_STAR,
		X86_MSR_LSTAR, X86_MSR_CSTAR, X86_MSR_FMASK, X86_MSR_FS_BASE, X86_MSR_GS_BASE,
		X86_MSR_KERNEL_GS_BASE,
	};
	size_t i;

	memset(iopm, 0xff, 3 * 4096);
	memset(msrpm, 0xff, 2 * 4096);
	for (i = 0; i < sizeof(both) / sizeof(both[0]); i++)
		pass(msrpm, both[i]);
}

static void set_intercepts(struct hv_vcpu *vcpu)
{
	uint32_t *w = svm_control(vcpu)->intercepts;
	struct vcpu_guest_caps *caps = &vm_arch(vcpu->vm)->caps;

	w[SVM_WORD_CR] = 1u << 8 | 1u << (16 + 4) | 1u << (16 + 8); /* CR8 read; CR4, CR8 write */
	w[SVM_WORD_DR] = 0;
	w[SVM_WORD_EXCEPTION] = 1u << X86_UD;
	w[SVM_WORD_3] = SVM_INTERCEPT_INTR | SVM_INTERCEPT_NMI | SVM_INTERCEPT_SMI |
			SVM_INTERCEPT_INIT | SVM_INTERCEPT_CR0_SEL_WRITE | SVM_INTERCEPT_CPUID |
			SVM_INTERCEPT_RDPMC | SVM_INTERCEPT_RSM | SVM_INTERCEPT_INVD |
			SVM_INTERCEPT_HLT | SVM_INTERCEPT_INVLPGA | SVM_INTERCEPT_IOIO |
			SVM_INTERCEPT_MSR | SVM_INTERCEPT_TASK_SWITCH | SVM_INTERCEPT_SHUTDOWN;
	w[SVM_WORD_4] = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL | SVM_INTERCEPT_VMLOAD |
			SVM_INTERCEPT_VMSAVE | SVM_INTERCEPT_STGI | SVM_INTERCEPT_CLGI |
			SVM_INTERCEPT_SKINIT | SVM_INTERCEPT_MONITOR | SVM_INTERCEPT_MWAIT |
			SVM_INTERCEPT_XSETBV;
	w[SVM_WORD_5] = 0;
	if (!caps->rdtscp)
		w[SVM_WORD_4] |= SVM_INTERCEPT_RDTSCP;
	if (!caps->invpcid)
		w[SVM_WORD_5] |= SVM_INTERCEPT_INVPCID;
	if (svm_shadow(vcpu)) {
		w[SVM_WORD_CR] |= 0x19 | 0x19u << 16; /* CR0, CR3, CR4, both ways */
		w[SVM_WORD_EXCEPTION] |= 1u << X86_PF;
		w[SVM_WORD_3] = (w[SVM_WORD_3] | SVM_INTERCEPT_INVLPG) & ~SVM_INTERCEPT_CR0_SEL_WRITE;
		w[SVM_WORD_5] |= SVM_INTERCEPT_INVPCID;
	}
}

void svm_configure(struct hv_vcpu *vcpu)
{
	struct svm_vm *sv = vcpu->vm->vendor_data;
	struct svm_vmcb_control *c = svm_control(vcpu);

	set_intercepts(vcpu);
	c->iopm_base = (uintptr_t)sv->iopm;
	c->msrpm_base = (uintptr_t)sv->msrpm;
	c->asid = svm_of(vcpu)->asid;
	/* Host interrupts are masked by the host's IF, not the guest's. */
	c->int_ctl = SVM_V_INTR_MASKING;
	c->nested_ctl = svm_shadow(vcpu) ? 0 : SVM_NP_ENABLE;
	c->event_inj = 0;
	c->clean = 0;
}
