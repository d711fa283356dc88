/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the run loop asks of the interrupt chips: the next interrupt, its
 * acknowledgement, INIT and SIPI, CR8, and the MSRs of the local APIC. All of
 * it on the vCPU's own thread, but for has_events.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/irq/irqchip_internal.h"
#include "hv/vcpu/vcpu.h"

#define MSR_APIC_BASE	 0x1bU
#define MSR_TSC_DEADLINE 0x6e0U
#define MSR_X2APIC_FIRST 0x800U
#define MSR_X2APIC_LAST	 0x8ffU

/* ---- interrupts ------------------------------------------------------------------ */

static bool pic_pending(const struct hv_vcpu *vcpu)
{
	const struct hv_irqchip *chip = vcpu->vm->irqchip;

	return atomic_load_explicit(&((struct hv_irqchip *)chip)->pic.output,
				    memory_order_acquire) &&
	       lapic_accepts_pic(vcpu);
}

/* The APIC's own highest interrupt that the processor priority lets through, or -1. */
static int apic_pending(struct hv_lapic *apic)
{
	int irr;

	if (!lapic_hw_enabled(apic))
		return -1;
	irr = lapic_find_highest(apic, LAPIC_IRR);
	if (irr < 0 || ((uint32_t)irr & 0xf0) <= (lapic_update_ppr(apic) & 0xf0))
		return -1;
	return irr;
}

static int ops_pending_interrupt(struct hv_vcpu *vcpu)
{
	struct hv_irqchip *chip = vcpu->vm->irqchip;
	int vector = -1;

	if (pic_pending(vcpu)) {
		hv_spin_lock(&chip->lock);
		vector = pic_peek_irq_locked(chip);
		hv_spin_unlock(&chip->lock);
	}
	if (vector >= 0)
		return vector;
	/* The processor delivers the APIC's own by itself. */
	return atomic_load(&vcpu->apicv_active) ? -1 : apic_pending(vcpu->apic);
}

static int ops_ack_interrupt(struct hv_vcpu *vcpu)
{
	struct hv_irqchip *chip = vcpu->vm->irqchip;
	struct hv_lapic *apic = vcpu->apic;
	int vector;
	uint32_t bit;

	if (pic_pending(vcpu)) {
		hv_spin_lock(&chip->lock);
		vector = pic_read_irq_locked(chip);
		hv_spin_unlock(&chip->lock);
		return vector;
	}
	vector = apic_pending(apic);
	if (vector < 0)
		return -1;
	bit = 1U << (vector % 32);
	__atomic_fetch_and(lapic_reg_ptr(apic, LAPIC_IRR + (unsigned int)vector / 32), ~bit,
			   __ATOMIC_SEQ_CST);
	__atomic_fetch_or(lapic_reg_ptr(apic, LAPIC_ISR + (unsigned int)vector / 32), bit,
			  __ATOMIC_SEQ_CST);
	lapic_update_ppr(apic);
	return vector;
}

static bool ops_has_events(struct hv_vcpu *vcpu)
{
	struct hv_lapic *apic = vcpu->apic;
	uint32_t ppr, tpr;
	int irr, isr;

	if (atomic_load(&apic->pending) || pic_pending(vcpu))
		return true;
	if (!lapic_hw_enabled(apic))
		return false;
	/* Any thread may ask, so PPR is computed but not stored. */
	irr = lapic_find_highest(apic, LAPIC_IRR);
	isr = lapic_find_highest(apic, LAPIC_ISR);
	tpr = lapic_reg(apic, LAPIC_TPR) & 0xf0;
	ppr = isr >= 0 && ((uint32_t)isr & 0xf0) > tpr ? (uint32_t)isr & 0xf0 : tpr;
	return irr >= 0 && ((uint32_t)irr & 0xf0) > ppr;
}

/* ---- INIT and start-up ------------------------------------------------------------- */

static void accept_sipi(struct hv_vcpu *vcpu)
{
	struct hv_regs_cache *regs = vcpu_regs(vcpu);
	uint32_t vector = atomic_load(&vcpu->apic->sipi_vector) & 0xff;

	regs->seg[HV_SEG_CS].selector = (uint16_t)(vector << 8);
	regs->seg[HV_SEG_CS].base = vector << 12;
	regs->rip = 0;
	atomic_store(&vcpu->mp_state, HV_MP_RUNNABLE);
}

static int ops_accept_events(struct hv_vcpu *vcpu)
{
	uint32_t pending = atomic_exchange(&vcpu->apic->pending, 0);

	if (pending & LAPIC_PENDING_INIT) {
		vcpu_arch_reset(vcpu, true);
		/* INIT starts the boot CPU at the reset vector; the others wait for SIPI. */
		atomic_store(&vcpu->mp_state, lapic_base(vcpu->apic) & LAPIC_BASE_BSP ?
						      HV_MP_RUNNABLE :
						      HV_MP_INIT_RECEIVED);
	}
	if ((pending & LAPIC_PENDING_SIPI) && atomic_load(&vcpu->mp_state) == HV_MP_INIT_RECEIVED)
		accept_sipi(vcpu);
	return 0;
}

/* ---- CR8 ------------------------------------------------------------------------------- */

static uint64_t ops_get_tpr(struct hv_vcpu *vcpu)
{
	return (lapic_reg(vcpu->apic, LAPIC_TPR) >> 4) & 0xf;
}

/* Works with the APIC disabled as well: CR8 is always there. */
static void ops_set_tpr(struct hv_vcpu *vcpu, uint64_t cr8)
{
	lapic_reg_set(vcpu->apic, LAPIC_TPR, (uint32_t)(cr8 & 0xf) << 4);
	lapic_update_ppr(vcpu->apic);
}

/* ---- MSRs ---------------------------------------------------------------------------------- */

static uint64_t physical_address_mask(const struct hv_vcpu *vcpu)
{
	unsigned int bits = vcpu_vm_maxphyaddr(vcpu->vm);

	return bits >= 32 && bits <= 52 ? (1ULL << bits) - 1 : (1ULL << 36) - 1;
}

/* Intel SDM volume 3, figure "Local x2APIC State Transitions". */
static bool base_transition_is_legal(uint64_t old, uint64_t new)
{
	const uint64_t x2apic = LAPIC_BASE_ENABLE | LAPIC_BASE_EXTD;

	old &= x2apic;
	new &= x2apic;
	if (new == LAPIC_BASE_EXTD)
		return false;
	if (old == x2apic && new == LAPIC_BASE_ENABLE)
		return false;
	return old != 0 || new != x2apic;
}

static void base_mode_changed(struct hv_lapic *apic)
{
	uint32_t id = apic->vcpu->id;

	if (lapic_x2apic(apic)) {
		lapic_reg_set(apic, LAPIC_ID, id);
		lapic_reg_set(apic, LAPIC_LDR, (id >> 4) << 16 | 1U << (id & 15));
		lapic_reg_set(apic, LAPIC_ICR2, 0);
	} else {
		lapic_reg_set(apic, LAPIC_ID, id << 24);
		lapic_reg_set(apic, LAPIC_LDR, 0);
	}
}

static int wrmsr_base(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_lapic *apic = vcpu->apic;
	uint64_t old = lapic_base(apic);
	const uint64_t mode = LAPIC_BASE_ENABLE | LAPIC_BASE_EXTD;

	if (value & (~physical_address_mask(vcpu) | 0x2ff))
		return 1;
	if (!base_transition_is_legal(old, value))
		return 1;
	if (irqchip_add_lapic_page(vcpu->vm, value & HV_PAGE_MASK))
		return 1;
	atomic_store(&apic->base, value);
	if ((old ^ value) & mode)
		base_mode_changed(apic);
	if (!(value & LAPIC_BASE_ENABLE))
		lapic_timer_stop(apic);
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	vcpu_make_request(vcpu, HV_REQ_APICV_UPDATE);
	return 0;
}

static int rdmsr_x2apic(struct hv_lapic *apic, uint32_t msr, uint64_t *value)
{
	unsigned int reg = msr - MSR_X2APIC_FIRST;
	uint32_t low;

	if (!lapic_x2apic(apic) || reg >= LAPIC_NR_REGS || lapic_read(apic, reg, &low))
		return 1;
	*value = low;
	if (reg == LAPIC_ICR)
		*value |= (uint64_t)lapic_reg(apic, LAPIC_ICR2) << 32;
	return 0;
}

static int wrmsr_x2apic(struct hv_lapic *apic, uint32_t msr, uint64_t value)
{
	unsigned int reg = msr - MSR_X2APIC_FIRST;

	if (!lapic_x2apic(apic) || reg >= LAPIC_NR_REGS)
		return 1;
	if (reg == LAPIC_ICR) {
		/* One write has both halves; a refused one changes neither. */
		uint32_t old = lapic_reg(apic, LAPIC_ICR2);

		lapic_reg_set(apic, LAPIC_ICR2, (uint32_t)(value >> 32));
		if (!lapic_write(apic, reg, (uint32_t)value))
			return 0;
		lapic_reg_set(apic, LAPIC_ICR2, old);
		return 1;
	}
	if (value >> 32)
		return 1;
	return lapic_write(apic, reg, (uint32_t)value) ? 1 : 0;
}

int lapic_rdmsr(struct hv_vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	if (msr == MSR_APIC_BASE) {
		*value = lapic_base(vcpu->apic);
		return 0;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*value = lapic_timer_get_deadline(vcpu->apic);
		return 0;
	}
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return rdmsr_x2apic(vcpu->apic, msr, value);
	return 1;
}

int lapic_wrmsr(struct hv_vcpu *vcpu, uint32_t msr, uint64_t value)
{
	if (msr == MSR_APIC_BASE)
		return wrmsr_base(vcpu, value);
	if (msr == MSR_TSC_DEADLINE) {
		lapic_timer_set_deadline(vcpu->apic, value);
		return 0;
	}
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST)
		return wrmsr_x2apic(vcpu->apic, msr, value);
	return 1;
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void ops_eoi(struct hv_vcpu *vcpu, int vector)
{
	lapic_eoi(vcpu->apic, true, vector);
}

/* The vCPU does not run, or this is its thread. */
static void lapic_collect_posted(struct hv_vcpu *vcpu)
{
	if (vcpu->vm->vendor && vcpu->vm->vendor->sync_posted)
		vcpu->vm->vendor->sync_posted(vcpu);
}

static void ops_vcpu_reset(struct hv_vcpu *vcpu, bool init_event)
{
	if (!vcpu->apic)
		return;
	lapic_collect_posted(vcpu); /* to be forgotten with the rest of IRR */
	lapic_reset(vcpu->apic, init_event);
	vcpu_make_request(vcpu, HV_REQ_APICV_UPDATE);
}

static void *ops_apic_page(struct hv_vcpu *vcpu)
{
	return vcpu->apic->regs;
}

static void ops_apic_written(struct hv_vcpu *vcpu, unsigned int offset)
{
	unsigned int reg = offset >> 4;

	if (reg < LAPIC_NR_REGS)
		lapic_write(vcpu->apic, reg, lapic_reg(vcpu->apic, reg));
}

static void ops_eoi_exits(struct hv_vcpu *vcpu, uint64_t vectors[4])
{
	ioapic_eoi_exits(&vcpu->vm->irqchip->ioapic, vectors);
}

const struct hv_irqchip_ops hv_irqchip_pc = {
	.pending_interrupt = ops_pending_interrupt,
	.ack_interrupt = ops_ack_interrupt,
	.has_events = ops_has_events,
	.accept_events = ops_accept_events,
	.get_tpr = ops_get_tpr,
	.set_tpr = ops_set_tpr,
	.rdmsr = lapic_rdmsr,
	.wrmsr = lapic_wrmsr,
	.eoi = ops_eoi,
	.send_ipi = lapic_send_bitmap,
	.vcpu_reset = ops_vcpu_reset,
	.vcpu_destroy = irqchip_vcpu_destroy,
	.vm_destroy = irqchip_destroy,
	.apic_page = ops_apic_page,
	.eoi_exits = ops_eoi_exits,
	.apic_written = ops_apic_written,
};

/* ---- creation, state --------------------------------------------------------------------------- */

int irqchip_vcpu_create(struct hv_vcpu *vcpu)
{
	struct hv_lapic *apic = calloc(1, sizeof(*apic));
	int err;

	if (!apic)
		return -ENOMEM;
	apic->vcpu = vcpu;
	apic->regs = aligned_alloc(HV_PAGE_SIZE, HV_PAGE_SIZE);
	if (!apic->regs) {
		free(apic);
		return -ENOMEM;
	}
	memset(apic->regs, 0, HV_PAGE_SIZE);
	err = hv_timer_init(&apic->timer, vcpu->vm->irqchip->timers, lapic_timer_fn);
	if (err) {
		free(apic->regs);
		free(apic);
		return err;
	}
	/* Of irqchip_lock's class: a chip's registers, and the timer's lock goes inside. */
	hv_spinlock_init(&apic->timer_lock, HV_LC_IRQCHIP);
	lapic_reset(apic, false);
	vcpu->apic = apic;
	return 0;
}

void irqchip_vcpu_destroy(struct hv_vcpu *vcpu)
{
	struct hv_lapic *apic = vcpu->apic;

	if (!apic)
		return;
	/* Callbacks walk all vCPUs, so none may run once the first of them goes. */
	hv_timers_stop(vcpu->vm->irqchip->timers);
	lapic_timer_stop(apic);
	hv_timer_destroy(&apic->timer);
	vcpu->apic = NULL;
	hv_spinlock_destroy(&apic->timer_lock);
	free(apic->regs);
	free(apic);
}

void irqchip_virtual_wire(struct hv_vcpu *vcpu)
{
	struct hv_lapic *apic = vcpu->apic;

	lapic_reg_set(apic, LAPIC_SPIV, LAPIC_SPIV_ENABLE | 0xff);
	lapic_reg_set(apic, LAPIC_LVT0, LAPIC_DM_EXTINT << 8);
	lapic_reg_set(apic, LAPIC_LVT1, LAPIC_DM_NMI << 8);
}

void irqchip_get_lapic(struct hv_vcpu *vcpu, struct hv_lapic_state *out)
{
	struct hv_lapic *apic = vcpu->apic;
	unsigned int reg;

	memset(out, 0, sizeof(*out));
	lapic_collect_posted(vcpu);
	out->base = lapic_base(apic);
	out->tsc_deadline = lapic_timer_get_deadline(apic);
	out->timer_remaining_ns = lapic_timer_remaining(apic);
	for (reg = 0; reg < LAPIC_NR_REGS; reg++)
		out->regs[reg] = lapic_reg(apic, reg);
	out->pending_init_sipi = atomic_load(&apic->pending);
	out->sipi_vector = atomic_load(&apic->sipi_vector);
}

int irqchip_set_lapic(struct hv_vcpu *vcpu, const struct hv_lapic_state *in)
{
	struct hv_lapic *apic = vcpu->apic;
	unsigned int reg;
	int err;

	if ((in->base & (~physical_address_mask(vcpu) | 0x2ff)) ||
	    !base_transition_is_legal(LAPIC_BASE_ENABLE, in->base) ||
	    (in->pending_init_sipi & ~(LAPIC_PENDING_INIT | LAPIC_PENDING_SIPI)) ||
	    in->sipi_vector > 0xff || (in->regs[LAPIC_TDCR] & ~0xbU))
		return -EINVAL;
	err = irqchip_add_lapic_page(vcpu->vm, in->base & HV_PAGE_MASK);
	if (err)
		return err;
	lapic_timer_stop(apic);
	lapic_collect_posted(vcpu);
	atomic_store(&apic->base, in->base);
	for (reg = 0; reg < LAPIC_NR_REGS; reg++)
		lapic_reg_set(apic, reg, in->regs[reg]);
	lapic_reg_set(apic, LAPIC_VERSION, LAPIC_VERSION_VALUE);
	atomic_store(&apic->sipi_vector, in->sipi_vector);
	atomic_store(&apic->pending, in->pending_init_sipi);
	if (in->tsc_deadline)
		lapic_timer_set_deadline(apic, in->tsc_deadline);
	else
		lapic_timer_restore(apic, in->timer_remaining_ns);
	vcpu_make_request(vcpu, HV_REQ_APICV_UPDATE);
	lapic_kick(vcpu);
	return 0;
}
