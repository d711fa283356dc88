/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest state between the register cache and the VMCS. rip, rsp and rflags
 * move on every exit and entry (vmx.c); the rest moves here, when somebody asks.
 *
 * What the processor runs with differs from what the guest sees:
 *  - CR0.NE and CR4.VMXE are set, as VMX operation demands;
 *  - shadow paging: CR0.PG, CR0.WP, CR4.PAE and EFER.NXE are set and CR3 is the
 *    MMU's; while the guest's CR0.PG is 0 its SMEP, SMAP, PKE and LA57 are hidden.
 *    CR4.PCIDE is never passed on.
 */
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"

#define HIDDEN_UNPAGED (X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_PKS | X86_CR4_LA57)

#define SEG_FIELDS(s) { VMCS_GUEST_##s##_SELECTOR, VMCS_GUEST_##s##_BASE, VMCS_GUEST_##s##_LIMIT,  \
			VMCS_GUEST_##s##_AR }
static const struct { uint16_t selector, base, limit, ar; } seg_fields[HV_SEG_NUM] = {
	[HV_SEG_ES] = SEG_FIELDS(ES), [HV_SEG_CS] = SEG_FIELDS(CS), [HV_SEG_SS] = SEG_FIELDS(SS),
	[HV_SEG_DS] = SEG_FIELDS(DS), [HV_SEG_FS] = SEG_FIELDS(FS), [HV_SEG_GS] = SEG_FIELDS(GS),
	[HV_SEG_LDTR] = SEG_FIELDS(LDTR), [HV_SEG_TR] = SEG_FIELDS(TR),
};

uint32_t vmx_interruptibility(struct hv_vcpu *vcpu)
{
	if (vcpu->arch->regs_full)
		return vcpu->arch->regs.interruptibility;
	return (uint32_t)vmcs_read(vcpu, VMCS_GUEST_INTERRUPTIBILITY);
}

void vmx_set_interruptibility(struct hv_vcpu *vcpu, uint32_t value)
{
	if (vcpu->arch->regs_full)
		vcpu->arch->regs.interruptibility = value;
	vmcs_write(vcpu, VMCS_GUEST_INTERRUPTIBILITY, value);
}

/* Bits that the guest owns are as the processor has them, others as the shadow says. */
static uint64_t read_cr(struct hv_vcpu *vcpu, uint32_t cr, uint32_t mask, uint32_t shadow)
{
	uint64_t m = vmcs_read(vcpu, mask);

	return (vmcs_read(vcpu, cr) & ~m) | (vmcs_read(vcpu, shadow) & m);
}

static void read_segments(struct hv_vcpu *vcpu, struct hv_regs_cache *r)
{
	int i;

	for (i = 0; i < HV_SEG_NUM; i++) {
		r->seg[i].selector = (uint16_t)vmcs_read(vcpu, seg_fields[i].selector);
		r->seg[i].base = vmcs_read(vcpu, seg_fields[i].base);
		r->seg[i].limit = (uint32_t)vmcs_read(vcpu, seg_fields[i].limit);
		r->seg[i].ar = (uint32_t)vmcs_read(vcpu, seg_fields[i].ar);
	}
	r->gdtr.base = vmcs_read(vcpu, VMCS_GUEST_GDTR_BASE);
	r->gdtr.limit = (uint16_t)vmcs_read(vcpu, VMCS_GUEST_GDTR_LIMIT);
	r->idtr.base = vmcs_read(vcpu, VMCS_GUEST_IDTR_BASE);
	r->idtr.limit = (uint16_t)vmcs_read(vcpu, VMCS_GUEST_IDTR_LIMIT);
}

static void read_lp_regs(struct hv_vcpu *vcpu, struct hv_regs_cache *r)
{
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	r->cr2 = p->get_reg(vcpu->lp, HV_LP_CR2);
	r->xcr0 = p->get_reg(vcpu->lp, HV_LP_XCR0);
	for (i = 0; i < 4; i++)
		r->dr[i] = p->get_reg(vcpu->lp, (enum hv_lp_reg)(HV_LP_DR0 + i));
	r->dr6 = p->get_reg(vcpu->lp, HV_LP_DR6);
}

void vmx_sync_from_hw(struct hv_vcpu *vcpu)
{
	struct hv_regs_cache *r = &vcpu->arch->regs;
	int i;

	r->cr0 = read_cr(vcpu, VMCS_GUEST_CR0, VMCS_CR0_MASK, VMCS_CR0_READ_SHADOW);
	r->cr4 = read_cr(vcpu, VMCS_GUEST_CR4, VMCS_CR4_MASK, VMCS_CR4_READ_SHADOW);
	/* Under shadow paging every write of EFER and CR3 exits: the cache has the guest's. */
	if (!vmx_shadow(vcpu)) {
		r->efer = vmcs_read(vcpu, VMCS_GUEST_EFER);
		r->cr3 = vmcs_read(vcpu, VMCS_GUEST_CR3);
		for (i = 0; i < 4; i++)
			r->pdptrs[i] = vmcs_read(vcpu, VMCS_GUEST_PDPTE0 + 2 * (uint32_t)i);
	}
	read_segments(vcpu, r);
	r->dr7 = vmcs_read(vcpu, VMCS_GUEST_DR7);
	r->sysenter_cs = vmcs_read(vcpu, VMCS_GUEST_SYSENTER_CS);
	r->sysenter_esp = vmcs_read(vcpu, VMCS_GUEST_SYSENTER_ESP);
	r->sysenter_eip = vmcs_read(vcpu, VMCS_GUEST_SYSENTER_EIP);
	r->pat = vmcs_read(vcpu, VMCS_GUEST_PAT);
	r->debugctl = vmcs_read(vcpu, VMCS_GUEST_DEBUGCTL);
	r->interruptibility = (uint32_t)vmcs_read(vcpu, VMCS_GUEST_INTERRUPTIBILITY);
	r->activity = (uint32_t)vmcs_read(vcpu, VMCS_GUEST_ACTIVITY);
	read_lp_regs(vcpu, r);
}

static void write_segments(struct hv_vcpu *vcpu, const struct hv_regs_cache *r)
{
	int i;

	for (i = 0; i < HV_SEG_NUM; i++) {
		uint32_t ar = r->seg[i].ar;

		/* A segment in use is an accessed one: descriptors loaded by hand may not say so. */
		if (!(ar & X86_AR_UNUSABLE) && i != HV_SEG_LDTR && i != HV_SEG_TR)
			ar |= 1;
		vmcs_write(vcpu, seg_fields[i].selector, r->seg[i].selector);
		vmcs_write(vcpu, seg_fields[i].base, r->seg[i].base);
		vmcs_write(vcpu, seg_fields[i].limit, r->seg[i].limit);
		vmcs_write(vcpu, seg_fields[i].ar, ar);
	}
	vmcs_write(vcpu, VMCS_GUEST_GDTR_BASE, r->gdtr.base);
	vmcs_write(vcpu, VMCS_GUEST_GDTR_LIMIT, r->gdtr.limit);
	vmcs_write(vcpu, VMCS_GUEST_IDTR_BASE, r->idtr.base);
	vmcs_write(vcpu, VMCS_GUEST_IDTR_LIMIT, r->idtr.limit);
}

static void write_control_registers(struct hv_vcpu *vcpu, const struct hv_regs_cache *r)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	uint64_t cr0 = r->cr0 | X86_CR0_NE | X86_CR0_ET, cr4 = r->cr4 | X86_CR4_VMXE;
	uint64_t efer = r->efer;
	uint32_t entry = v->ctl.entry & ~VMX_ENTRYCTL_GUEST_64;
	int i;

	if (vmx_shadow(vcpu)) {
		cr0 |= X86_CR0_PG | X86_CR0_PE | X86_CR0_WP;
		cr4 = (cr4 | X86_CR4_PAE) & ~(X86_CR4_PCIDE | X86_CR4_PSE);
		if (!(r->cr0 & X86_CR0_PG))
			cr4 &= ~HIDDEN_UNPAGED;
		efer |= X86_EFER_NXE;
		if (!(efer & X86_EFER_LMA)) /* LME with PG set would mean IA-32e mode */
			efer &= ~X86_EFER_LME;
	} else {
		vmcs_write(vcpu, VMCS_GUEST_CR3, r->cr3);
		for (i = 0; i < 4; i++)
			vmcs_write(vcpu, VMCS_GUEST_PDPTE0 + 2 * (uint32_t)i, r->pdptrs[i]);
	}
	if (efer & X86_EFER_LMA)
		entry |= VMX_ENTRYCTL_GUEST_64;
	if (entry != v->ctl.entry) {
		v->ctl.entry = entry;
		vmcs_write(vcpu, VMCS_ENTRY_CTLS, entry);
	}
	vmcs_write(vcpu, VMCS_GUEST_CR0, cr0);
	vmcs_write(vcpu, VMCS_CR0_READ_SHADOW, r->cr0);
	vmcs_write(vcpu, VMCS_GUEST_CR4, cr4);
	vmcs_write(vcpu, VMCS_CR4_READ_SHADOW, r->cr4);
	vmcs_write(vcpu, VMCS_GUEST_EFER, efer);
	/* Without unrestricted guest there is no real mode: hv/x86 runs it. */
	v->emulate = vmx_shadow(vcpu) && !(r->cr0 & X86_CR0_PE);
}

static void write_lp_regs(struct hv_vcpu *vcpu, const struct hv_regs_cache *r)
{
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	p->set_reg(vcpu->lp, HV_LP_CR2, r->cr2);
	p->set_reg(vcpu->lp, HV_LP_XCR0, r->xcr0);
	for (i = 0; i < 4; i++)
		p->set_reg(vcpu->lp, (enum hv_lp_reg)(HV_LP_DR0 + i), r->dr[i]);
	p->set_reg(vcpu->lp, HV_LP_DR6, r->dr6);
}

void vmx_sync_to_hw(struct hv_vcpu *vcpu)
{
	const struct hv_regs_cache *r = &vcpu->arch->regs;

	write_control_registers(vcpu, r);
	write_segments(vcpu, r);
	vmcs_write(vcpu, VMCS_GUEST_DR7, r->dr7);
	vmcs_write(vcpu, VMCS_GUEST_SYSENTER_CS, r->sysenter_cs);
	vmcs_write(vcpu, VMCS_GUEST_SYSENTER_ESP, r->sysenter_esp);
	vmcs_write(vcpu, VMCS_GUEST_SYSENTER_EIP, r->sysenter_eip);
	vmcs_write(vcpu, VMCS_GUEST_PAT, r->pat);
	vmcs_write(vcpu, VMCS_GUEST_DEBUGCTL, r->debugctl);
	vmcs_write(vcpu, VMCS_GUEST_INTERRUPTIBILITY, r->interruptibility);
	vmcs_write(vcpu, VMCS_GUEST_ACTIVITY, VMX_ACTIVE);
	/* State that was set by hand has no debug trap on its way. */
	vmcs_write(vcpu, VMCS_GUEST_PENDING_DBG,
		   (r->interruptibility & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS)) &&
				   (r->rflags & X86_FL_TF) && !(r->debugctl & X86_DEBUGCTL_BTF) ?
			   VMX_PENDING_DBG_BS : 0);
	write_lp_regs(vcpu, r);
}
