/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event injection by EVENTINJ, the interrupt window by V_IRQ, the NMI window by
 * IRET's intercept, and EXITINTINFO. Source: AMD APM volume 2, "Event injection",
 * "Virtual interrupts", "EXITINTINFO pseudo-code".
 */
#include "hv/svm/svm.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

void svm_inject_event(struct hv_vcpu *vcpu, const struct hv_event *event)
{
	struct svm_vmcb_control *c = svm_control(vcpu);
	uint64_t info = event->vector | SVM_EVENT_VALID, type;

	switch (event->type) {
	case X86_EV_INTR:
		type = SVM_EVENT_INTR;
		break;
	case X86_EV_NMI:
		type = SVM_EVENT_NMI;
		svm_set_nmi_masked(vcpu, true);
		break;
	case X86_EV_SOFT_INT:
		type = SVM_EVENT_SW_INT;
		break;
	default:
		type = SVM_EVENT_EXCEPTION;
		break;
	}
	info |= type << SVM_EVENT_TYPE_SHIFT;
	if (event->has_error)
		info |= SVM_EVENT_HAS_ERROR | (uint64_t)event->error_code << SVM_EVENT_ERROR_SHIFT;
	/* Software events push the address of the next instruction. */
	if (event->type >= X86_EV_SOFT_INT)
		c->next_rip = vcpu_get_rip(vcpu) + event->insn_len;
	c->event_inj = info;
}

void svm_cancel_injection(struct hv_vcpu *vcpu)
{
	struct svm_vmcb_control *c = svm_control(vcpu);

	if ((c->event_inj & SVM_EVENT_VALID) &&
	    (c->event_inj & SVM_EVENT_TYPE) == (uint64_t)SVM_EVENT_NMI << SVM_EVENT_TYPE_SHIFT)
		svm_set_nmi_masked(vcpu, false);
	c->event_inj = 0;
}

bool svm_interrupt_allowed(struct hv_vcpu *vcpu)
{
	return (vcpu->arch->regs.rflags & X86_FL_IF) && !(svm_interruptibility(vcpu) & 3);
}

bool svm_nmi_allowed(struct hv_vcpu *vcpu)
{
	return !(svm_interruptibility(vcpu) & 0xb);
}

void svm_enable_irq_window(struct hv_vcpu *vcpu)
{
	struct svm_vmcb_control *c = svm_control(vcpu);

	if (c->int_ctl & SVM_V_IRQ)
		return;
	/* A dummy of the highest priority: it exits when the guest could take it. */
	c->int_ctl |= SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR;
	c->int_vector = 0;
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_VINTR;
	svm_touch(vcpu, SVM_CLEAN_TPR | SVM_CLEAN_INTERCEPTS);
}

void svm_disable_irq_window(struct hv_vcpu *vcpu)
{
	struct svm_vmcb_control *c = svm_control(vcpu);

	c->int_ctl &= ~(SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR);
	c->intercepts[SVM_WORD_3] &= ~SVM_INTERCEPT_VINTR;
	svm_touch(vcpu, SVM_CLEAN_TPR | SVM_CLEAN_INTERCEPTS);
}

/*
 * A masked NMI waits for IRET, whose intercept is on while NMIs are masked. One that
 * an interrupt shadow holds back waits for the next instruction: its end is looked
 * for with the interrupt window when IF allows, else at the next exit.
 */
void svm_enable_nmi_window(struct hv_vcpu *vcpu)
{
	if (!svm_of(vcpu)->nmi_masked)
		svm_enable_irq_window(vcpu);
}

void svm_recover_event(struct hv_vcpu *vcpu)
{
	uint64_t info = svm_control(vcpu)->exit_int_info;
	struct hv_event ev = { .vector = (uint8_t)info };
	unsigned int type = (unsigned int)((info & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT);

	if (!(info & SVM_EVENT_VALID)) {
		vcpu_clear_injected(vcpu);
		return;
	}
	/* rip is at the INT, INT3 or INTO: it will raise the event again. */
	if (type == SVM_EVENT_SW_INT ||
	    (type == SVM_EVENT_EXCEPTION && (ev.vector == X86_BP || ev.vector == X86_OF))) {
		vcpu_clear_injected(vcpu);
		return;
	}
	ev.type = type == SVM_EVENT_NMI	  ? X86_EV_NMI :
		  type == SVM_EVENT_INTR ? X86_EV_INTR : X86_EV_EXC;
	if (info & SVM_EVENT_HAS_ERROR) {
		ev.has_error = true;
		ev.error_code = (uint32_t)(info >> SVM_EVENT_ERROR_SHIFT);
	}
	if (ev.type == X86_EV_NMI)
		svm_set_nmi_masked(vcpu, false);
	vcpu_requeue_event(vcpu, &ev);
}
