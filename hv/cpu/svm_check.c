/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMRUN's consistency checks: a table of rules, each of which leads to
 * VMEXIT_INVALID. Source: APM vol. 2, "VMRUN instruction", canonicalization and
 * consistency checks; "Event injection".
 */
#include "hv/cpu/svm_guest.h"

struct svm_view {
	const struct hv_lp *lp;
	const struct svm_vmcb_control *c;
	const struct svm_vmcb_save *s;
};

#define LONG_PAGING(v) (((v)->s->efer & X86_EFER_LME) && ((v)->s->cr0 & X86_CR0_PG))

static bool ok_svme(const struct svm_view *v)
{
	return v->s->efer & X86_EFER_SVME;
}

static bool ok_cr0_cache(const struct svm_view *v)
{
	return (v->s->cr0 & X86_CR0_CD) || !(v->s->cr0 & X86_CR0_NW);
}

static bool ok_cr0_high(const struct svm_view *v)
{
	return !(v->s->cr0 >> 32);
}

static bool ok_cr3(const struct svm_view *v)
{
	return !LONG_PAGING(v) || !(v->s->cr3 & ~((1ULL << SOFT_MAXPHYADDR) - 1));
}

static bool ok_cr4(const struct svm_view *v)
{
	return !(v->s->cr4 & ~soft_cr4_allowed());
}

static bool ok_dr6(const struct svm_view *v)
{
	return !(v->s->dr6 >> 32);
}

static bool ok_dr7(const struct svm_view *v)
{
	return !(v->s->dr7 >> 32);
}

static bool ok_efer(const struct svm_view *v)
{
	return !(v->s->efer & ~(X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE |
				X86_EFER_SVME));
}

static bool ok_long_pae(const struct svm_view *v)
{
	return !LONG_PAGING(v) || (v->s->cr4 & X86_CR4_PAE);
}

static bool ok_long_pe(const struct svm_view *v)
{
	return !LONG_PAGING(v) || (v->s->cr0 & X86_CR0_PE);
}

/* Attributes: L is bit 9, D bit 10. */
static bool ok_long_cs(const struct svm_view *v)
{
	return !LONG_PAGING(v) || !(v->s->cr4 & X86_CR4_PAE) ||
	       (v->s->cs.attrib & 0x600) != 0x600;
}

static bool ok_vmrun(const struct svm_view *v)
{
	return v->c->intercepts[SVM_WORD_4] & SVM_INTERCEPT_VMRUN;
}

static bool in_physical_memory(uint64_t address, uint64_t size)
{
	return address >> SOFT_MAXPHYADDR == 0 && (address + size - 1) >> SOFT_MAXPHYADDR == 0;
}

static bool ok_iopm(const struct svm_view *v)
{
	return in_physical_memory(v->c->iopm_base & ~0xfffULL, 0x3000);
}

static bool ok_msrpm(const struct svm_view *v)
{
	return in_physical_memory(v->c->msrpm_base & ~0xfffULL, 0x2000);
}

static bool ok_asid(const struct svm_view *v)
{
	return v->c->asid != 0 && v->c->asid <= 0xffff;
}

/* Reserved encodings ask for a flush that cannot be known; KVM refuses them likewise. */
static bool ok_tlb_ctl(const struct svm_view *v)
{
	switch (v->c->tlb_ctl) {
	case SVM_TLB_NOTHING:
	case SVM_TLB_FLUSH_ALL:
	case SVM_TLB_FLUSH_ASID:
	case SVM_TLB_FLUSH_ASID_LOCAL:
		return true;
	default:
		return false;
	}
}

static bool ok_ncr3(const struct svm_view *v)
{
	return !(v->c->nested_ctl & SVM_NP_ENABLE) ||
	       !(v->c->nested_cr3 & ~((1ULL << SOFT_MAXPHYADDR) - 1));
}

static bool ok_gpat(const struct svm_view *v)
{
	if (!(v->c->nested_ctl & SVM_NP_ENABLE))
		return true;
	for (unsigned int i = 0; i < 8; i++) {
		uint8_t type = (uint8_t)(v->s->g_pat >> (i * 8));

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

/* Vectors 0 to 31 that name an exception: not NMI, nor what is reserved. */
#define EXCEPTIONS 0x702f7dfbU

static bool ok_event(const struct svm_view *v)
{
	uint64_t ev = v->c->event_inj;
	unsigned int vector = ev & SVM_EVENT_VECTOR;

	if (!(ev & SVM_EVENT_VALID))
		return true;
	switch ((ev & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT) {
	case SVM_EVENT_INTR:
	case SVM_EVENT_NMI:
	case SVM_EVENT_SW_INT:
		return true;
	case SVM_EVENT_EXCEPTION:
		/* BOUND and OVERFLOW do not exist in 64-bit mode. */
		if (vector > 31 || !(EXCEPTIONS >> vector & 1))
			return false;
		return !((vector == X86_BR || vector == X86_OF) && LONG_PAGING(v) &&
			 (v->s->cs.attrib & 0x200));
	default:
		return false;
	}
}

static bool ok_avic(const struct svm_view *v)
{
	return !(v->c->int_ctl & (SVM_AVIC_ENABLE | SVM_X2AVIC_ENABLE));
}

static const struct svm_rule {
	bool (*ok)(const struct svm_view *view);
	const char *name;
	uint32_t clean;	/* the group that the rule is about: not looked at while clean */
} rules[] = {
	{ ok_svme, "EFER.SVME is 0", SVM_CLEAN_CRX },
	{ ok_cr0_cache, "CR0.CD is 0 and CR0.NW is 1", SVM_CLEAN_CRX },
	{ ok_cr0_high, "CR0 bits 63:32", SVM_CLEAN_CRX },
	{ ok_cr3, "reserved bits of CR3", SVM_CLEAN_CRX },
	{ ok_cr4, "reserved bits of CR4", SVM_CLEAN_CRX },
	{ ok_dr6, "DR6 bits 63:32", SVM_CLEAN_DRX },
	{ ok_dr7, "DR7 bits 63:32", SVM_CLEAN_DRX },
	{ ok_efer, "reserved bits of EFER", SVM_CLEAN_CRX },
	{ ok_long_pae, "long mode without CR4.PAE", SVM_CLEAN_CRX },
	{ ok_long_pe, "long mode without CR0.PE", SVM_CLEAN_CRX },
	{ ok_long_cs, "long mode with CS.L and CS.D", 0 },
	{ ok_vmrun, "VMRUN is not intercepted", SVM_CLEAN_INTERCEPTS },
	{ ok_iopm, "IOPM beyond physical memory", SVM_CLEAN_IOPM },
	{ ok_msrpm, "MSRPM beyond physical memory", SVM_CLEAN_IOPM },
	{ ok_asid, "ASID", SVM_CLEAN_ASID },
	{ ok_tlb_ctl, "TLB_CONTROL", 0 },
	{ ok_ncr3, "reserved bits of nCR3", SVM_CLEAN_NP },
	{ ok_gpat, "guest PAT", SVM_CLEAN_NP },
	{ ok_event, "illegal event injection", 0 },
	{ ok_avic, "AVIC is not supported", SVM_CLEAN_TPR },
};

const char *svm_check(struct hv_lp *lp, const struct svm_vmcb *vmcb)
{
	const struct svm_view view = { lp, &vmcb->control, &vmcb->save };
	uint32_t clean = lp->svm.vmcb == vmcb ? vmcb->control.clean : 0;

	for (unsigned int i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!(clean & rules[i].clean) && !rules[i].ok(&view))
			return rules[i].name;
	return NULL;
}
