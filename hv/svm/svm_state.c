/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest state between the register cache and the VMCB. rip, rsp, rax and rflags
 * move on every exit and entry (svm.c); the rest moves here.
 *
 * What the processor runs with differs from what the guest sees: EFER.SVME is set;
 * under shadow paging also CR0.PG, CR0.WP, CR4.PAE, EFER.NXE, and CR3 is the
 * MMU's (real mode then runs as paged real mode); while the guest's CR0.PG is 0
 * its SMEP, SMAP, PKE and LA57 are hidden. CR4.PCIDE is not passed on there.
 */
#include "hv/svm/svm.h"
#include "hv/x86/defs.h"

#define HIDDEN_UNPAGED (X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_PKS | X86_CR4_LA57)
#define SHADOW_STI     1u
#define SHADOW_NMI     8u

static void seg_read(struct hv_segment *to, const struct svm_segment *from)
{
	to->selector = from->selector;
	to->base = from->base;
	to->limit = from->limit;
	to->ar = (from->attrib & 0xff) | (uint32_t)(from->attrib & 0xf00) << 4;
	if (!(to->ar & X86_AR_P)) /* SVM has no such bit: not present is unusable */
		to->ar |= X86_AR_UNUSABLE;
}

static void seg_write(struct svm_segment *to, const struct hv_segment *from)
{
	uint32_t ar = from->ar & X86_AR_UNUSABLE ? from->ar & ~X86_AR_P : from->ar;

	to->selector = from->selector;
	to->base = from->base;
	to->limit = from->limit;
	to->attrib = (uint16_t)((ar & 0xff) | (ar >> 4 & 0xf00));
}

uint32_t svm_interruptibility(struct hv_vcpu *vcpu)
{
	struct svm_vcpu *v = svm_of(vcpu);
	uint32_t state = 0;

	if (vcpu->arch->regs_full)
		return vcpu->arch->regs.interruptibility;
	if (v->vmcb->control.int_state & SVM_INTERRUPT_SHADOW)
		state |= SHADOW_STI;
	if (v->nmi_masked)
		state |= SHADOW_NMI;
	return state;
}

/* While an NMI is being handled its IRET exits, to end the masking. */
void svm_set_nmi_masked(struct hv_vcpu *vcpu, bool masked)
{
	struct svm_vcpu *v = svm_of(vcpu);
	uint32_t *w = &v->vmcb->control.intercepts[SVM_WORD_3];
	uint32_t want = masked ? *w | SVM_INTERCEPT_IRET : *w & ~SVM_INTERCEPT_IRET;

	v->nmi_masked = masked;
	if (vcpu->arch->regs_full)
		vcpu->arch->regs.interruptibility =
			(vcpu->arch->regs.interruptibility & ~SHADOW_NMI) |
			(masked ? SHADOW_NMI : 0);
	if (*w != want) {
		*w = want;
		svm_touch(vcpu, SVM_CLEAN_INTERCEPTS);
	}
}

void svm_clear_interrupt_shadow(struct hv_vcpu *vcpu)
{
	svm_control(vcpu)->int_state &= ~SVM_INTERRUPT_SHADOW;
	if (vcpu->arch->regs_full)
		vcpu->arch->regs.interruptibility &= SHADOW_NMI;
}

static void read_lp_regs(struct hv_vcpu *vcpu, struct hv_regs_cache *r)
{
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	r->xcr0 = p->get_reg(vcpu->lp, HV_LP_XCR0);
	for (i = 0; i < 4; i++)
		r->dr[i] = p->get_reg(vcpu->lp, (enum hv_lp_reg)(HV_LP_DR0 + i));
}

void svm_sync_from_hw(struct hv_vcpu *vcpu)
{
	struct hv_regs_cache *r = &vcpu->arch->regs;
	struct svm_vcpu *v = svm_of(vcpu);
	const struct svm_vmcb_save *s = &v->vmcb->save;

	svm_ops(vcpu)->vmsave(vcpu->lp, (uintptr_t)v->vmcb);
	seg_read(&r->seg[HV_SEG_ES], &s->es);
	seg_read(&r->seg[HV_SEG_CS], &s->cs);
	seg_read(&r->seg[HV_SEG_SS], &s->ss);
	seg_read(&r->seg[HV_SEG_DS], &s->ds);
	seg_read(&r->seg[HV_SEG_FS], &s->fs);
	seg_read(&r->seg[HV_SEG_GS], &s->gs);
	seg_read(&r->seg[HV_SEG_LDTR], &s->ldtr);
	seg_read(&r->seg[HV_SEG_TR], &s->tr);
	/* SS.DPL may be stale after SYSRET on this architecture; the VMCB's CPL is not. */
	if (!(r->seg[HV_SEG_SS].ar & X86_AR_UNUSABLE) || s->cpl)
		r->seg[HV_SEG_SS].ar = (r->seg[HV_SEG_SS].ar & ~(3u << X86_AR_DPL_SHIFT)) |
				       (uint32_t)(s->cpl & 3) << X86_AR_DPL_SHIFT;
	r->gdtr = (struct hv_dtable){ s->gdtr.base, (uint16_t)s->gdtr.limit };
	r->idtr = (struct hv_dtable){ s->idtr.base, (uint16_t)s->idtr.limit };
	if (!svm_shadow(vcpu)) { /* under shadow paging every write of these exits */
		r->cr0 = s->cr0;
		r->cr3 = s->cr3;
		r->cr4 = s->cr4;
		r->efer = s->efer & ~X86_EFER_SVME;
	}
	r->cr2 = s->cr2;
	r->dr6 = s->dr6;
	r->dr7 = s->dr7;
	r->sysenter_cs = s->sysenter_cs;
	r->sysenter_esp = s->sysenter_esp;
	r->sysenter_eip = s->sysenter_eip;
	r->pat = s->g_pat;
	r->debugctl = s->debugctl;
	r->interruptibility = svm_interruptibility(vcpu);
	r->activity = 0;
	read_lp_regs(vcpu, r);
}

static void write_control_registers(struct hv_vcpu *vcpu, const struct hv_regs_cache *r)
{
	struct svm_vmcb_save *s = &svm_of(vcpu)->vmcb->save;

	s->cr0 = r->cr0 | X86_CR0_ET;
	s->cr4 = r->cr4;
	s->efer = r->efer | X86_EFER_SVME;
	s->cr2 = r->cr2;
	if (!svm_shadow(vcpu)) {
		s->cr3 = r->cr3;
		return;
	}
	s->cr0 |= X86_CR0_PG | X86_CR0_WP;
	s->cr4 = (s->cr4 | X86_CR4_PAE) & ~(X86_CR4_PCIDE | X86_CR4_PSE);
	if (!(r->cr0 & X86_CR0_PG))
		s->cr4 &= ~HIDDEN_UNPAGED;
	s->efer |= X86_EFER_NXE;
	if (!(s->efer & X86_EFER_LMA)) /* LME with PG set would mean long mode */
		s->efer &= ~X86_EFER_LME;
}

static void write_lp_regs(struct hv_vcpu *vcpu, const struct hv_regs_cache *r)
{
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	p->set_reg(vcpu->lp, HV_LP_XCR0, r->xcr0);
	for (i = 0; i < 4; i++)
		p->set_reg(vcpu->lp, (enum hv_lp_reg)(HV_LP_DR0 + i), r->dr[i]);
}

void svm_sync_to_hw(struct hv_vcpu *vcpu)
{
	const struct hv_regs_cache *r = &vcpu->arch->regs;
	struct svm_vcpu *v = svm_of(vcpu);
	struct svm_vmcb_save *s = &v->vmcb->save;

	/* Keep what VMLOAD brings back besides the fields below: the system-call MSRs. */
	svm_ops(vcpu)->vmsave(vcpu->lp, (uintptr_t)v->vmcb);
	seg_write(&s->es, &r->seg[HV_SEG_ES]);
	seg_write(&s->cs, &r->seg[HV_SEG_CS]);
	seg_write(&s->ss, &r->seg[HV_SEG_SS]);
	seg_write(&s->ds, &r->seg[HV_SEG_DS]);
	seg_write(&s->fs, &r->seg[HV_SEG_FS]);
	seg_write(&s->gs, &r->seg[HV_SEG_GS]);
	seg_write(&s->ldtr, &r->seg[HV_SEG_LDTR]);
	seg_write(&s->tr, &r->seg[HV_SEG_TR]);
	s->cpl = (uint8_t)vcpu_get_cpl(vcpu);
	s->gdtr.base = r->gdtr.base;
	s->gdtr.limit = r->gdtr.limit;
	s->idtr.base = r->idtr.base;
	s->idtr.limit = r->idtr.limit;
	write_control_registers(vcpu, r);
	s->dr6 = r->dr6;
	s->dr7 = r->dr7;
	s->sysenter_cs = r->sysenter_cs;
	s->sysenter_esp = r->sysenter_esp;
	s->sysenter_eip = r->sysenter_eip;
	s->g_pat = r->pat;
	s->debugctl = r->debugctl;
	if (r->interruptibility & 3)
		v->vmcb->control.int_state |= SVM_INTERRUPT_SHADOW;
	else
		v->vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW;
	svm_set_nmi_masked(vcpu, r->interruptibility & SHADOW_NMI);
	svm_ops(vcpu)->vmload(vcpu->lp, (uintptr_t)v->vmcb);
	write_lp_regs(vcpu, r);
	v->vmcb->control.clean = 0;
}
