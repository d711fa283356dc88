/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest state between VMCB and register file: VMRUN's part, which the clean bits
 * let the processor skip, #VMEXIT's, and that of VMLOAD and VMSAVE. Source: APM
 * vol. 2, "VMRUN instruction", "VMLOAD and VMSAVE", "VMCB clean bits".
 */
#include "hv/cpu/svm_guest.h"

static uint32_t attrib_to_ar(uint16_t attrib)
{
	uint32_t ar = (attrib & 0xffU) | (attrib & 0xf00U) << 4;

	return ar & X86_AR_P ? ar : ar | X86_AR_UNUSABLE;
}

static uint16_t ar_to_attrib(uint32_t ar)
{
	if (ar & X86_AR_UNUSABLE)
		ar &= ~X86_AR_P;
	return (uint16_t)((ar & 0xff) | (ar >> 4 & 0xf00));
}

/* VMRUN and VMLOAD make bases canonical, with the width that LA57 gives this processor. */
static uint64_t canonical_base(uint64_t base)
{
	return (uint64_t)((int64_t)(base << 7) >> 7);
}

static void seg_load(struct x86_seg *seg, const struct svm_segment *from)
{
	seg->selector = from->selector;
	seg->base = canonical_base(from->base);
	seg->limit = from->limit;
	seg->ar = attrib_to_ar(from->attrib);
}

static void seg_save(const struct x86_seg *seg, struct svm_segment *to)
{
	to->selector = seg->selector;
	to->base = seg->base;
	to->limit = seg->limit;
	to->attrib = ar_to_attrib(seg->ar);
}

static void load_crx(struct x86_cpu *cpu, const struct svm_vmcb_save *s)
{
	cpu->cr0 = s->cr0 | X86_CR0_ET;
	cpu->cr3 = s->cr3;
	cpu->cr4 = s->cr4;
	/* LMA follows from LME and paging whatever the field says. */
	cpu->efer = s->efer & ~X86_EFER_LMA;
	if ((s->efer & X86_EFER_LME) && (s->cr0 & X86_CR0_PG))
		cpu->efer |= X86_EFER_LMA;
}

static void load_segments(struct x86_cpu *cpu, const struct svm_vmcb_save *s)
{
	seg_load(&cpu->seg[X86_ES], &s->es);
	seg_load(&cpu->seg[X86_CS], &s->cs);
	seg_load(&cpu->seg[X86_SS], &s->ss);
	seg_load(&cpu->seg[X86_DS], &s->ds);
	cpu->cpl = s->cpl & 3;
	/* Real mode and virtual-8086 mode have their level fixed. */
	if (!(s->cr0 & X86_CR0_PE))
		cpu->cpl = 0;
	else if (s->rflags & X86_FL_VM)
		cpu->cpl = 3;
}

static void load_controls(struct hv_lp *lp, const struct svm_vmcb_control *c, uint32_t clean)
{
	if (!(clean & SVM_CLEAN_ASID))
		lp->svm.asid = c->asid;
	if (!(clean & SVM_CLEAN_IOPM)) {
		lp->svm.iopm = c->iopm_base & ~0xfffULL;
		lp->svm.msrpm = c->msrpm_base & ~0xfffULL;
	}
	if (!(clean & SVM_CLEAN_NP))
		lp->svm.nested_cr3 = c->nested_ctl & SVM_NP_ENABLE ?
				     c->nested_cr3 & 0x000ffffffffff000ULL : 0;
}

void svm_load(struct hv_lp *lp, const struct svm_vmcb *vmcb, uint32_t clean)
{
	const struct svm_vmcb_save *s = &vmcb->save;
	struct x86_cpu *cpu = lp->cpu;
	uint32_t derived = SVM_CLEAN_CRX | SVM_CLEAN_DRX | SVM_CLEAN_SEG;
	uint32_t shadow = vmcb->control.int_state & SVM_INTERRUPT_SHADOW ? X86_SHADOW_STI : 0;
	bool changed = (clean & derived) != derived || cpu->intr_state != shadow ||
		       cpu->activity != X86_ACTIVE;

	load_controls(lp, &vmcb->control, clean);
	if (!(clean & SVM_CLEAN_CRX))
		load_crx(cpu, s);
	if (!(clean & SVM_CLEAN_SEG))
		load_segments(cpu, s);
	if (!(clean & SVM_CLEAN_DRX)) {
		cpu->dr6 = s->dr6;
		cpu->dr7 = s->dr7 | X86_DR7_INIT;
	}
	if (!(clean & SVM_CLEAN_DT)) {
		cpu->gdtr.base = canonical_base(s->gdtr.base);
		cpu->gdtr.limit = (uint16_t)s->gdtr.limit;
		cpu->idtr.base = canonical_base(s->idtr.base);
		cpu->idtr.limit = (uint16_t)s->idtr.limit;
	}
	if (!(clean & SVM_CLEAN_CR2))
		cpu->cr2 = s->cr2;
	if (!(clean & SVM_CLEAN_NP) && lp->svm.nested_cr3)
		cpu->pat = s->g_pat;
	cpu->rip = s->rip;
	cpu->gpr[X86_RSP] = s->rsp;
	cpu->gpr[X86_RAX] = s->rax;
	cpu->intr_state = shadow;
	cpu->activity = X86_ACTIVE;
	cpu->pending_dbg = 0;
	if (x86_get_rflags(cpu) != s->rflags)
		x86_set_rflags(cpu, s->rflags);
	if (changed)
		x86_state_changed(cpu);
}

void svm_save(struct hv_lp *lp, struct svm_vmcb *vmcb)
{
	const struct x86_cpu *cpu = lp->cpu;
	struct svm_vmcb_save *s = &vmcb->save;

	seg_save(&cpu->seg[X86_ES], &s->es);
	seg_save(&cpu->seg[X86_CS], &s->cs);
	seg_save(&cpu->seg[X86_SS], &s->ss);
	seg_save(&cpu->seg[X86_DS], &s->ds);
	s->cpl = cpu->cpl;
	s->gdtr.base = cpu->gdtr.base;
	s->gdtr.limit = cpu->gdtr.limit;
	s->idtr.base = cpu->idtr.base;
	s->idtr.limit = cpu->idtr.limit;
	s->efer = cpu->efer;
	s->cr0 = cpu->cr0;
	s->cr2 = cpu->cr2;
	s->cr3 = cpu->cr3;
	s->cr4 = cpu->cr4;
	s->dr6 = cpu->dr6;
	s->dr7 = cpu->dr7;
	s->rflags = x86_get_rflags(cpu);
	s->rip = cpu->rip;
	s->rsp = cpu->gpr[X86_RSP];
	s->rax = cpu->gpr[X86_RAX];
	if (lp->svm.nested_cr3)
		s->g_pat = cpu->pat;
}

void svm_vmload(struct hv_lp *lp, uint64_t address)
{
	const struct svm_vmcb_save *s = &((const struct svm_vmcb *)address)->save;
	struct x86_cpu *cpu = lp->cpu;

	if (!soft_pcpu_svme(lp->pcpu))
		return;
	seg_load(&cpu->seg[X86_FS], &s->fs);
	seg_load(&cpu->seg[X86_GS], &s->gs);
	seg_load(&cpu->seg[X86_TR], &s->tr);
	seg_load(&cpu->seg[X86_LDTR], &s->ldtr);
	cpu->kernel_gs_base = canonical_base(s->kernel_gs_base);
	cpu->star = s->star;
	cpu->lstar = s->lstar;
	cpu->cstar = s->cstar;
	cpu->fmask = s->sfmask;
	cpu->sysenter_cs = s->sysenter_cs;
	cpu->sysenter_esp = s->sysenter_esp;
	cpu->sysenter_eip = s->sysenter_eip;
	x86_state_changed(cpu);
}

void svm_vmsave(struct hv_lp *lp, uint64_t address)
{
	struct svm_vmcb_save *s = &((struct svm_vmcb *)address)->save;
	const struct x86_cpu *cpu = lp->cpu;

	if (!soft_pcpu_svme(lp->pcpu))
		return;
	seg_save(&cpu->seg[X86_FS], &s->fs);
	seg_save(&cpu->seg[X86_GS], &s->gs);
	seg_save(&cpu->seg[X86_TR], &s->tr);
	seg_save(&cpu->seg[X86_LDTR], &s->ldtr);
	s->kernel_gs_base = cpu->kernel_gs_base;
	s->star = cpu->star;
	s->lstar = cpu->lstar;
	s->cstar = cpu->cstar;
	s->sfmask = cpu->fmask;
	s->sysenter_cs = cpu->sysenter_cs;
	s->sysenter_esp = cpu->sysenter_esp;
	s->sysenter_eip = cpu->sysenter_eip;
}
