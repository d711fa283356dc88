/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event injection, windows, and what an exit tells of an event whose delivery it
 * interrupted. Source: SDM volume 3, "Event injection", "Information for VM
 * exits that occur during event delivery", "Unblocking of NMIs by IRET".
 */
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

void vmx_inject_event(struct hv_vcpu *vcpu, const struct hv_event *event)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	uint32_t info = event->vector | (uint32_t)event->type << VMX_INTR_TYPE_SHIFT | VMX_INTR_VALID;

	v->event_pending = true;
	v->emulated_event = *event;
	if (event->has_error) {
		info |= VMX_INTR_HAS_ERROR;
		vmcs_write(vcpu, VMCS_ENTRY_INTR_ERROR, event->error_code);
	}
	if (event->type >= X86_EV_SOFT_INT)
		vmcs_write(vcpu, VMCS_ENTRY_INSN_LEN, event->insn_len);
	vmcs_write(vcpu, VMCS_ENTRY_INTR_INFO, info);
	/* An event is not held back by a shadow that its own delivery ends. */
	if (vmx_interruptibility(vcpu) & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS) &&
	    event->type != X86_EV_EXC)
		vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) &
						       ~(VMX_BLOCK_STI | VMX_BLOCK_MOV_SS));
}

void vmx_cancel_injection(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	if (!v->event_pending)
		return;
	v->event_pending = false;
	vmcs_write(vcpu, VMCS_ENTRY_INTR_INFO, 0);
}

bool vmx_interrupt_allowed(struct hv_vcpu *vcpu)
{
	return (vcpu->arch->regs.rflags & X86_FL_IF) &&
	       !(vmx_interruptibility(vcpu) & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS));
}

bool vmx_nmi_allowed(struct hv_vcpu *vcpu)
{
	return !(vmx_interruptibility(vcpu) & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS | VMX_BLOCK_NMI));
}

static void enable_window(struct hv_vcpu *vcpu, uint32_t control)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	if (v->ctl.cpu & control)
		return;
	v->ctl.cpu |= control;
	vmcs_write(vcpu, VMCS_CPU_CTLS, v->ctl.cpu);
}

void vmx_disable_window(struct hv_vcpu *vcpu, uint32_t control)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	v->ctl.cpu &= ~control;
	vmcs_write(vcpu, VMCS_CPU_CTLS, v->ctl.cpu);
}

void vmx_enable_irq_window(struct hv_vcpu *vcpu)
{
	enable_window(vcpu, VMX_CPU_INTR_WINDOW);
}

/* NMIs blocked by STI alone: an interrupt window opens as soon as they are not. */
void vmx_enable_nmi_window(struct hv_vcpu *vcpu)
{
	enable_window(vcpu, VMX_CPU_NMI_WINDOW);
}

static void recover_nmi_blocking(struct hv_vcpu *vcpu, bool vectoring)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	uint32_t info;

	/* IRET had already unblocked NMIs when it faulted: they are blocked still. */
	if (vectoring || (uint16_t)v->exit_reason != VMX_EXIT_EXCEPTION_NMI)
		return;
	info = (uint32_t)vmcs_read(vcpu, VMCS_EXIT_INTR_INFO);
	if ((info & VMX_INTR_NMI_UNBLOCK) && (info & VMX_INTR_VALID) &&
	    (info & VMX_INTR_VECTOR) != X86_DF)
		vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) | VMX_BLOCK_NMI);
}

void vmx_recover_event(struct hv_vcpu *vcpu)
{
	uint32_t info = (uint32_t)vmcs_read(vcpu, VMCS_IDT_VECTORING_INFO);
	struct hv_event ev = { .vector = (uint8_t)info };

	recover_nmi_blocking(vcpu, info & VMX_INTR_VALID);
	if (!(info & VMX_INTR_VALID)) {
		vcpu_clear_injected(vcpu);
		return;
	}
	ev.type = (info & VMX_INTR_TYPE) >> VMX_INTR_TYPE_SHIFT;
	if (info & VMX_INTR_HAS_ERROR) {
		ev.has_error = true;
		ev.error_code = (uint32_t)vmcs_read(vcpu, VMCS_IDT_VECTORING_ERROR);
	}
	if (ev.type >= X86_EV_SOFT_INT)
		ev.insn_len = (uint8_t)vmcs_read(vcpu, VMCS_EXIT_INSN_LEN);
	/* The NMI's delivery has blocked NMIs: it is to be delivered again. */
	if (ev.type == X86_EV_NMI)
		vmx_set_interruptibility(vcpu, vmx_interruptibility(vcpu) & ~VMX_BLOCK_NMI);
	vcpu_requeue_event(vcpu, &ev);
}
