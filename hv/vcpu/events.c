/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events on their way into the guest, in the order of the manual: first what an
 * exit interrupted is injected again, then a new exception, then NMI, then an
 * interrupt; what cannot be taken now asks for a window.
 *
 * An event is `pending` until it is handed to the processor, then `injected`
 * until the next exit shows that it was delivered (vcpu_clear_injected()) or
 * not (vcpu_requeue_event()). Source: SDM volume 3, "Event injection",
 * "Information for VM exits that occur during event delivery", and table
 * "Priority among simultaneous exceptions and interrupts".
 */
#include <errno.h>

#include "hv/hv.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

/* ---- the exception queue ------------------------------------------------------------------ */

enum exc_class { EXC_BENIGN, EXC_CONTRIBUTORY, EXC_PAGE_FAULT };

static enum exc_class exc_class(uint8_t vector)
{
	switch (vector) {
	case X86_PF:
		return EXC_PAGE_FAULT;
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SS_FAULT:
	case X86_GP:
		return EXC_CONTRIBUTORY;
	default:
		return EXC_BENIGN;
	}
}

static void exc_set(struct hv_vcpu *vcpu, const struct vcpu_exception *e)
{
	vcpu->arch->exception = *e;
	vcpu->arch->exception.pending = true;
	vcpu->arch->exception.injected = false;
	vcpu_make_request(vcpu, HV_REQ_EVENT);
}

/* A second exception while one is under way: SDM table "Conditions for generating a double fault". */
static void exc_queue(struct hv_vcpu *vcpu, const struct vcpu_exception *e)
{
	struct vcpu_exception *prev = &vcpu->arch->exception;
	enum exc_class first, second;
	struct vcpu_exception df = {
		.vector = X86_DF, .type = X86_EV_EXC, .has_error = true,
	};

	if (!prev->pending && !prev->injected) {
		exc_set(vcpu, e);
		return;
	}
	if (prev->vector == X86_DF) {
		vcpu_make_request(vcpu, HV_REQ_TRIPLE_FAULT);
		return;
	}
	first = exc_class(prev->vector);
	second = exc_class(e->vector);
	if ((first == EXC_CONTRIBUTORY && second == EXC_CONTRIBUTORY) ||
	    (first == EXC_PAGE_FAULT && second != EXC_BENIGN))
		exc_set(vcpu, &df);
	else
		exc_set(vcpu, e); /* the first comes again when the instruction does */
}

void vcpu_queue_exception(struct hv_vcpu *vcpu, uint8_t vector)
{
	exc_queue(vcpu, &(struct vcpu_exception){ .vector = vector, .type = X86_EV_EXC });
}

void vcpu_queue_exception_e(struct hv_vcpu *vcpu, uint8_t vector, uint32_t error_code)
{
	exc_queue(vcpu, &(struct vcpu_exception){
				.vector = vector, .type = X86_EV_EXC, .has_error = true,
				.error_code = error_code });
}

void vcpu_queue_page_fault(struct hv_vcpu *vcpu, uint64_t cr2, uint32_t error_code)
{
	exc_queue(vcpu, &(struct vcpu_exception){
				.vector = X86_PF, .type = X86_EV_EXC, .has_error = true,
				.error_code = error_code, .has_payload = true, .payload = cr2 });
}

void vcpu_queue_db(struct hv_vcpu *vcpu, uint64_t dr6_bits)
{
	exc_queue(vcpu, &(struct vcpu_exception){
				.vector = X86_DB, .type = X86_EV_EXC, .has_payload = true,
				.payload = dr6_bits });
}

/* ---- NMI, user interrupts ------------------------------------------------------------------ */

void vcpu_queue_nmi(struct hv_vcpu *vcpu)
{
	atomic_fetch_add(&vcpu->arch->nmi_queued, 1);
	vcpu_make_request(vcpu, HV_REQ_NMI);
	vcpu_kick(vcpu);
}

/* One NMI in progress and one latched: more are lost, as on silicon. */
void events_process_nmi(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	unsigned int limit = 2;

	if (a->nmi_injected || !vcpu->vm->vendor->nmi_allowed(vcpu))
		limit = 1;
	a->nmi_pending += atomic_exchange(&a->nmi_queued, 0);
	if (a->nmi_pending > limit)
		a->nmi_pending = limit;
	if (a->nmi_pending)
		vcpu_make_request(vcpu, HV_REQ_EVENT);
}

int vcpu_queue_user_interrupt(struct hv_vcpu *vcpu, uint8_t vector)
{
	int none = -1;

	if (vcpu->vm->irqchip_ops)
		return -ENXIO;
	if (!atomic_compare_exchange_strong(&vcpu->arch->user_interrupt, &none, vector))
		return -EEXIST;
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	vcpu_kick(vcpu);
	return 0;
}

int events_pending_interrupt(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	return chips ? chips->pending_interrupt(vcpu) : atomic_load(&vcpu->arch->user_interrupt);
}

static int ack_interrupt(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	return chips ? chips->ack_interrupt(vcpu) : atomic_exchange(&vcpu->arch->user_interrupt, -1);
}

void events_sync_posted(struct hv_vcpu *vcpu)
{
	if (vcpu->vm->vendor->sync_posted && vcpu->vm->irqchip_ops)
		vcpu->vm->vendor->sync_posted(vcpu);
}

/* An interrupt waits, whoever will deliver it. */
static bool interrupt_waits(struct hv_vcpu *vcpu)
{
	if (atomic_load_explicit(&vcpu->apicv_active, memory_order_relaxed))
		return vcpu->vm->irqchip_ops->has_events(vcpu);
	return events_pending_interrupt(vcpu) >= 0;
}

bool events_deliverable(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	if (a->exception.pending || a->exception.injected || a->nmi_injected ||
	    a->interrupt.injected)
		return true;
	if ((a->nmi_pending || atomic_load(&a->nmi_queued)) && vcpu->vm->vendor->nmi_allowed(vcpu))
		return true;
	return (a->regs.rflags & X86_FL_IF) && interrupt_waits(vcpu);
}

/* ---- injection ----------------------------------------------------------------------------- */

static void inject_exception(struct hv_vcpu *vcpu)
{
	struct vcpu_exception *e = &vcpu->arch->exception;
	bool real_mode = !(vcpu_regs_read(vcpu)->cr0 & X86_CR0_PE);
	struct hv_event ev = {
		.vector = e->vector, .type = e->type, .insn_len = e->insn_len,
		.has_error = e->has_error && !real_mode, .error_code = e->error_code,
	};

	vcpu->vm->vendor->inject_event(vcpu, &ev);
}

static void inject_nmi(struct hv_vcpu *vcpu)
{
	struct hv_event ev = { .vector = X86_NMI, .type = X86_EV_NMI };

	vcpu->vm->vendor->inject_event(vcpu, &ev);
}

static void inject_interrupt(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	struct hv_event ev = {
		.vector = a->interrupt.vector,
		.type = a->interrupt.soft ? X86_EV_SOFT_INT : X86_EV_INTR,
		.insn_len = a->interrupt.insn_len,
	};

	vcpu->vm->vendor->inject_event(vcpu, &ev);
}

/* CR2, DR6 and RF change when the exception is delivered, not when it is raised. */
static void apply_exception_payload(struct hv_vcpu *vcpu)
{
	struct vcpu_exception *e = &vcpu->arch->exception;
	struct hv_regs_cache *r;

	/* Faults, not traps, set RF in the pushed flags. */
	if (e->vector != X86_DB && e->vector != X86_BP && e->vector != X86_OF &&
	    e->vector != X86_DF && e->vector != X86_MC)
		vcpu->arch->regs.rflags |= X86_FL_RF;
	if (!e->has_payload)
		return;
	e->has_payload = false;
	r = vcpu_regs(vcpu);
	if (e->vector == X86_PF) {
		r->cr2 = e->payload;
	} else if (e->vector == X86_DB) {
		r->dr6 = (r->dr6 & ~0xfULL) | e->payload | X86_DR6_INIT;
		r->dr7 &= ~X86_DR7_GD;
	}
}

static bool reinject(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	if (a->exception.injected)
		inject_exception(vcpu);
	else if (a->exception.pending)
		return false;
	else if (a->nmi_injected)
		inject_nmi(vcpu);
	else if (a->interrupt.injected)
		inject_interrupt(vcpu);
	else
		return false;
	return true;
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool try_nmi(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	if (!a->nmi_pending || !vcpu->vm->vendor->nmi_allowed(vcpu))
		return false;
	a->nmi_pending--;
	a->nmi_injected = true;
	inject_nmi(vcpu);
	count(&vcpu->stats.nmi_injections);
	return true;
}

static bool try_interrupt(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	int vector;

	if (events_pending_interrupt(vcpu) < 0 || !vcpu->vm->vendor->interrupt_allowed(vcpu))
		return false;
	vector = ack_interrupt(vcpu);
	if (vector < 0)
		return false;
	a->interrupt.injected = true;
	a->interrupt.soft = false;
	a->interrupt.vector = (uint8_t)vector;
	a->interrupt.insn_len = 0;
	inject_interrupt(vcpu);
	count(&vcpu->stats.irq_injections);
	return true;
}

/* Before an entry, when there may be something to inject. */
int events_inject_pending(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	bool taken = reinject(vcpu);

	events_sync_posted(vcpu);
	if (a->exception.pending && !taken) {
		/* What was under way is lost to the exception's handler: it comes again. */
		apply_exception_payload(vcpu);
		a->exception.pending = false;
		a->exception.injected = true;
		inject_exception(vcpu);
		taken = true;
	}
	if (!taken)
		taken = try_nmi(vcpu);
	if (!taken)
		taken = try_interrupt(vcpu);
	if (a->nmi_pending)
		vcpu->vm->vendor->enable_nmi_window(vcpu);
	if (events_pending_interrupt(vcpu) >= 0 || a->int_window_wanted)
		vcpu->vm->vendor->enable_irq_window(vcpu);
	return 0;
}

/* The entry did not take place: what was injected is still to be delivered. */
void events_cancel(struct hv_vcpu *vcpu)
{
	vcpu->vm->vendor->cancel_injection(vcpu);
	vcpu_make_request(vcpu, HV_REQ_EVENT);
}

void vcpu_clear_injected(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	a->exception.injected = false;
	a->nmi_injected = false;
	a->interrupt.injected = false;
}

void vcpu_requeue_event(struct hv_vcpu *vcpu, const struct hv_event *event)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	vcpu_clear_injected(vcpu);
	switch (event->type) {
	case X86_EV_NMI:
		a->nmi_injected = true;
		break;
	case X86_EV_INTR:
	case X86_EV_SOFT_INT:
		a->interrupt.injected = true;
		a->interrupt.soft = event->type == X86_EV_SOFT_INT;
		a->interrupt.vector = event->vector;
		a->interrupt.insn_len = event->insn_len;
		break;
	default:
		a->exception = (struct vcpu_exception){
			.injected = true, .vector = event->vector, .type = event->type,
			.has_error = event->has_error, .error_code = event->error_code,
			.insn_len = event->insn_len,
		};
		break;
	}
	vcpu_make_request(vcpu, HV_REQ_EVENT);
}

int vcpu_window_opened(struct hv_vcpu *vcpu)
{
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	return 1;
}

void events_reset(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	vcpu_clear_injected(vcpu);
	a->exception.pending = false;
	a->nmi_pending = 0;
	atomic_store(&a->nmi_queued, 0);
	atomic_store(&a->user_interrupt, -1);
}
