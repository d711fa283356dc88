/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts that the processor takes by itself: TPR shadow, virtual-interrupt
 * delivery, x2APIC virtualisation, posted interrupts. Source: SDM volume 3,
 * chapter "APIC virtualization and virtual interrupts".
 *
 * The virtual-APIC page is the register page of hv/irq's local APIC, so there
 * is one copy of IRR, ISR and TPR. RVI and SVI are always the highest bits of
 * IRR and ISR: whenever our side has touched those, they are computed anew.
 *
 * While apicv is active an interrupt is posted: a bit in PIR, then ON, then the
 * notification that the control word asks for:
 *
 *   vCPU                     SN  NV       who finds the bit
 *   in guest mode            0   POSTED   the processor, which is notified
 *   outside, on its CPU      0   POSTED   vmx_apicv_entry(): nobody is notified
 *   blocked                  0   WAKEUP   itself: its CPU's wake-up list is walked
 *   on no CPU                1   -        vmx_apicv_load() sets ON
 *
 * The barriers, in pairs (each side is a locked operation):
 *  (1) poster: PIR bit, then ON, then reads the mode     | vCPU: mode IN_GUEST_MODE,
 *      then reads ON (vmx_apicv_entry). Notified, or found.
 *  (2) poster: PIR bit, then reads SN                    | vCPU: clears SN, reads PIR.
 *  (3) poster: ON, and learns NV with it                 | vCPU: NV = WAKEUP, reads ON
 *      (vcpu_block). Found on the list, which it joined before, or does not sleep.
 *  (4) poster: PIR bit, then reads apicv_active          | vCPU: apicv_active = false,
 *      then empties PIR. Found, or kicked.
 *
 * The APIC-access page is not used: an xAPIC's registers are reached through
 * the emulator, only their interrupts are virtualised. The second-level tables
 * are shared by vCPUs that may differ in mode, and one that has moved its
 * APIC away, or is in x2APIC mode, must not find a page of memory there.
 */
#include "hv/base/util.h"
#include "hv/vm/wakeup.h"
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"

#define MSR_APIC_BASE	0x1bU
#define APIC_BASE_X2APIC (1U << 10)
#define APIC_BASE_ENABLE (1U << 11)

/* Vectors of the host, as Linux has them. */
#define POSTED_VECTOR 0xf2ULL
#define WAKEUP_VECTOR 0xf1ULL

/* Offsets in the register page. */
#define PAGE_ISR 0x100
#define PAGE_IRR 0x200

#define APICV_CPU2 (VMX_CPU2_X2APIC | VMX_CPU2_APIC_REGISTERS | VMX_CPU2_VIRTUAL_INTR)

/* ---- the descriptor ---------------------------------------------------------------------------- */

static uint64_t pi_control(const struct vmx_posted_intr_desc *pi)
{
	return __atomic_load_n(&pi->control, __ATOMIC_SEQ_CST);
}

static void pi_change(struct vmx_posted_intr_desc *pi, uint64_t clear, uint64_t set)
{
	uint64_t old = pi_control(pi);

	while (!__atomic_compare_exchange_n(&pi->control, &old, (old & ~clear) | set, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

/* True: ON is ours, and a notification as in *control is due. */
static bool pi_take_on(struct vmx_posted_intr_desc *pi, uint64_t *control)
{
	uint64_t old = pi_control(pi);

	do {
		if (old & (VMX_PI_ON | VMX_PI_SN))
			return false;
	} while (!__atomic_compare_exchange_n(&pi->control, &old, old | VMX_PI_ON, false,
					      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	*control = old;
	return true;
}

static bool pi_empty(const struct vmx_posted_intr_desc *pi)
{
	uint64_t any = 0;

	for (unsigned int i = 0; i < 4; i++)
		any |= __atomic_load_n(&pi->pir[i], __ATOMIC_SEQ_CST);
	return !any;
}

static uint32_t *page_word(struct hv_vcpu *vcpu, unsigned int base, unsigned int word)
{
	uint8_t *page = vcpu->vm->irqchip_ops->apic_page(vcpu);

	return (uint32_t *)(void *)(page + base + word * 16);
}

static uint64_t page_highest(struct hv_vcpu *vcpu, unsigned int base)
{
	for (unsigned int i = 8; i-- > 0;) {
		uint32_t bits = __atomic_load_n(page_word(vcpu, base, i), __ATOMIC_ACQUIRE);

		if (bits)
			return i * 32 + 31 - (unsigned int)__builtin_clz(bits);
	}
	return 0;
}

/* PIR to IRR. ON goes first: a bit that comes after that sets it again. */
static void pi_drain(struct hv_vcpu *vcpu)
{
	struct vmx_posted_intr_desc *pi = vmx_of(vcpu)->pi;

	__atomic_fetch_and(&pi->control, ~VMX_PI_ON, __ATOMIC_SEQ_CST);
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t *pir = &pi->pir[i / 2];
		uint64_t mask = 0xffffffffULL << (i % 2 * 32), bits;

		if (!(__atomic_load_n(pir, __ATOMIC_SEQ_CST) & mask))
			continue;
		bits = __atomic_fetch_and(pir, ~mask, __ATOMIC_SEQ_CST) & mask;
		__atomic_fetch_or(page_word(vcpu, PAGE_IRR, i), (uint32_t)(bits >> (i % 2 * 32)),
				  __ATOMIC_SEQ_CST);
	}
	vmx_of(vcpu)->intr_status_stale = true;
}

/* ---- posting, any thread ------------------------------------------------------------------------- */

static void notify(struct hv_vcpu *vcpu, uint64_t control)
{
	if ((control & VMX_PI_NV) >> VMX_PI_NV_SHIFT == WAKEUP_VECTOR)
		wakeup_notify((unsigned int)(control >> VMX_PI_NDST_SHIFT)); /* (3) */
	else if (atomic_load(&vcpu->mode) == HV_IN_GUEST_MODE) /* (1) */
		vcpu->vm->processor->posted_notify(vcpu->lp);
}

int vmx_deliver_posted(struct hv_vcpu *vcpu, uint8_t vector)
{
	struct vmx_posted_intr_desc *pi = vmx_of(vcpu)->pi;
	uint64_t bit = 1ULL << (vector % 64), control;

	if (!atomic_load(&vcpu->apicv_active))
		return -1;
	/* Whoever set it before us tells the vCPU. */
	if (__atomic_fetch_or(&pi->pir[vector / 64], bit, __ATOMIC_SEQ_CST) & bit)
		return 0;
	if (pi_take_on(pi, &control)) /* (2) */
		notify(vcpu, control);
	if (!atomic_load(&vcpu->apicv_active)) { /* (4) */
		vcpu_make_request(vcpu, HV_REQ_EVENT);
		vcpu_kick(vcpu);
	}
	return 1;
}

bool vmx_posted_pending(struct hv_vcpu *vcpu)
{
	return pi_control(vmx_of(vcpu)->pi) & VMX_PI_ON;
}

/* ---- the vCPU's own side ----------------------------------------------------------------------------- */

void vmx_posted_block(struct hv_vcpu *vcpu, unsigned int cpu)
{
#ifndef HV_MUTATE_NO_WAKEUP_VECTOR
	/* The caller looks at ON once more before it sleeps: (3). */
	pi_change(vmx_of(vcpu)->pi, VMX_PI_NV | VMX_PI_NDST,
		  WAKEUP_VECTOR << VMX_PI_NV_SHIFT | (uint64_t)cpu << VMX_PI_NDST_SHIFT);
#endif
}

void vmx_posted_unblock(struct hv_vcpu *vcpu)
{
	pi_change(vmx_of(vcpu)->pi, VMX_PI_NV, POSTED_VECTOR << VMX_PI_NV_SHIFT);
}

void vmx_sync_posted(struct hv_vcpu *vcpu)
{
	/* While the vCPU is on no CPU, ON says nothing about PIR. */
	if (vmx_posted_pending(vcpu) || !pi_empty(vmx_of(vcpu)->pi))
		pi_drain(vcpu);
	vmx_of(vcpu)->intr_status_stale = true;
}

void vmx_apicv_load(struct hv_vcpu *vcpu, unsigned int cpu)
{
	struct vmx_posted_intr_desc *pi = vmx_of(vcpu)->pi;

	pi_change(pi, VMX_PI_SN | VMX_PI_NV | VMX_PI_NDST,
		  POSTED_VECTOR << VMX_PI_NV_SHIFT | (uint64_t)cpu << VMX_PI_NDST_SHIFT);
	if (!pi_empty(pi)) /* (2) */
		pi_change(pi, 0, VMX_PI_ON);
}

void vmx_apicv_put(struct hv_vcpu *vcpu)
{
	pi_change(vmx_of(vcpu)->pi, 0, VMX_PI_SN);
}

/* In guest mode, right before the entry: (1). */
void vmx_apicv_entry(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	if (v->apicv == VMX_APICV_OFF)
		return;
#ifndef HV_MUTATE_NO_POSTED_ENTRY_SYNC
	if (vmx_posted_pending(vcpu))
		pi_drain(vcpu);
#endif
	if (!v->intr_status_stale)
		return;
	v->intr_status_stale = false;
	vmcs_write(vcpu, VMCS_GUEST_INTR_STATUS,
		   page_highest(vcpu, PAGE_ISR) << 8 | page_highest(vcpu, PAGE_IRR));
}

/* ---- modes ------------------------------------------------------------------------------------------------ */

static bool processor_can(struct hv_vcpu *vcpu)
{
	struct vmx_controls all = {
		.pin = VMX_PIN_POSTED_INTR, .cpu = VMX_CPU_TPR_SHADOW, .cpu2 = APICV_CPU2,
		.exit = VMX_EXITCTL_ACK_INTR,
	};

	return vmx_processor_allows(vmx_ops(vcpu), &all);
}

/* Shadow paging runs real mode in the emulator, which takes interrupts by injection. */
static enum vmx_apicv wanted_mode(struct hv_vcpu *vcpu)
{
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	uint64_t base = 0;

	if (!vcpu->vm->apicv || !chips || !vcpu->apic || vmx_shadow(vcpu) || !processor_can(vcpu) ||
	    chips->rdmsr(vcpu, MSR_APIC_BASE, &base) || !(base & APIC_BASE_ENABLE))
		return VMX_APICV_OFF;
	return base & APIC_BASE_X2APIC ? VMX_APICV_X2APIC : VMX_APICV_XAPIC;
}

static void write_controls(struct hv_vcpu *vcpu, enum vmx_apicv mode)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	struct vmx_vm *vv = vcpu->vm->vendor_data;
	struct vmx_controls *ctl = &v->ctl;

	ctl->pin &= ~VMX_PIN_POSTED_INTR;
	ctl->cpu = (ctl->cpu & ~VMX_CPU_TPR_SHADOW) | VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE;
	ctl->cpu2 &= ~APICV_CPU2;
	if (mode != VMX_APICV_OFF) {
		ctl->pin |= VMX_PIN_POSTED_INTR;
		ctl->cpu &= ~(VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE);
		ctl->cpu |= VMX_CPU_TPR_SHADOW;
		ctl->cpu2 |= VMX_CPU2_VIRTUAL_INTR;
	}
	if (mode == VMX_APICV_X2APIC)
		ctl->cpu2 |= VMX_CPU2_X2APIC | VMX_CPU2_APIC_REGISTERS;
	vmcs_write(vcpu, VMCS_PIN_CTLS, ctl->pin);
	vmcs_write(vcpu, VMCS_CPU_CTLS, ctl->cpu);
	vmcs_write(vcpu, VMCS_CPU_CTLS2, ctl->cpu2);
	vmcs_write(vcpu, VMCS_MSR_BITMAP,
		   (uintptr_t)(mode == VMX_APICV_X2APIC ? vv->msr_bitmap_x2apic : vv->msr_bitmap));
}

static void switch_mode(struct hv_vcpu *vcpu, enum vmx_apicv mode)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	v->apicv = mode;
	v->intr_status_stale = true;
	vcpu_make_request(vcpu, HV_REQ_EVENT); /* who injects is another now */
	write_controls(vcpu, mode);
	atomic_store(&vcpu->apicv_active, mode != VMX_APICV_OFF);
	if (mode == VMX_APICV_OFF)
		pi_drain(vcpu); /* (4) */
}

static void write_eoi_exits(struct hv_vcpu *vcpu)
{
	uint64_t map[4];

	vcpu->vm->irqchip_ops->eoi_exits(vcpu, map);
	for (unsigned int i = 0; i < 4; i++)
		vmcs_write(vcpu, VMCS_EOI_EXIT_BITMAP0 + 2 * i, map[i]);
}

void vmx_apicv_refresh(struct hv_vcpu *vcpu)
{
	enum vmx_apicv mode = wanted_mode(vcpu);

	if (mode != vmx_of(vcpu)->apicv)
		switch_mode(vcpu, mode);
	if (mode != VMX_APICV_OFF)
		write_eoi_exits(vcpu);
}

/* The VMCS is new: what does not change, and the mode at the first entry. */
void vmx_apicv_configure(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;

	v->apicv = VMX_APICV_OFF;
	if (!chips || !vcpu->apic || !processor_can(vcpu))
		return;
	vmcs_write(vcpu, VMCS_VIRTUAL_APIC_ADDR, (uintptr_t)chips->apic_page(vcpu));
	vmcs_write(vcpu, VMCS_POSTED_INTR_DESC, (uintptr_t)v->pi);
	vmcs_write(vcpu, VMCS_POSTED_INTR_VECTOR, POSTED_VECTOR);
	vmcs_write(vcpu, VMCS_EXIT_CTLS, v->ctl.exit |= VMX_EXITCTL_ACK_INTR);
	vcpu_make_request(vcpu, HV_REQ_APICV_UPDATE);
}

/* ---- exits --------------------------------------------------------------------------------------------------- */

int vmx_handle_virtualized_eoi(struct hv_vcpu *vcpu)
{
	vcpu->vm->irqchip_ops->eoi(vcpu, (int)(vmcs_read(vcpu, VMCS_EXIT_QUALIFICATION) & 0xff));
	return 1;
}

/* Trap-like: the page has the value already. In x2APIC mode only a self-IPI that is illegal. */
int vmx_handle_apic_write(struct hv_vcpu *vcpu)
{
	unsigned int offset = vmcs_read(vcpu, VMCS_EXIT_QUALIFICATION) & 0xff0;

	vcpu->vm->irqchip_ops->apic_written(vcpu, offset);
	return 1;
}

/* ---- the MSR bitmap of x2APIC mode ---------------------------------------------------------------------------- */

/*
 * Registers whose value is always in the page. ICR is not: the page has its halves
 * apart; nor is the timer's current count; the write-only ones have to fault.
 */
void vmx_pass_x2apic(void *bitmap)
{
	static const struct { uint16_t first, last; } readable[] = {
		{ 0x802, 0x803 }, { 0x808, 0x808 }, { 0x80a, 0x80a }, { 0x80d, 0x80d },
		{ 0x80f, 0x828 }, { 0x832, 0x838 }, { 0x83e, 0x83e },
	};
	static const uint16_t writable[] = { 0x808, 0x80b, 0x83f };
	size_t i;
	uint32_t msr;

	for (i = 0; i < ARRAY_SIZE(readable); i++)
		for (msr = readable[i].first; msr <= readable[i].last; msr++)
			vmx_pass_msr(bitmap, msr, VMX_MSR_PASS_READ);
	for (i = 0; i < ARRAY_SIZE(writable); i++)
		vmx_pass_msr(bitmap, writable[i], VMX_MSR_PASS_WRITE);
}
