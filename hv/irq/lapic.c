/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The local APIC's registers: xAPIC through MMIO, x2APIC through MSRs (which
 * lapic_ops.c maps to the same register numbers). Intel SDM volume 3, chapter
 * "Advanced Programmable Interrupt Controller (APIC)".
 *
 * Registers are written by the vCPU's own thread; other threads set bits of
 * IRR and TMR and read what delivery needs, all with atomics.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/bitops.h"
#include "hv/irq/irqchip_internal.h"

#define LAPIC_NR_LVT	    6

/* Bits of the LVT entries that exist, from LAPIC_LVTT on. */
static const uint32_t lvt_mask[LAPIC_NR_LVT] = {
	LAPIC_LVTT_MODE | LAPIC_LVT_MASKED | LAPIC_LVT_PENDING | 0xff, /* timer */
	LAPIC_LVT_MASKED | LAPIC_LVT_PENDING | 0x7ff,		       /* thermal */
	LAPIC_LVT_MASKED | LAPIC_LVT_PENDING | 0x7ff,		       /* performance counters */
	0x1f7ff,						       /* LINT0 */
	0x1f7ff,						       /* LINT1 */
	LAPIC_LVT_MASKED | LAPIC_LVT_PENDING | 0xff,		       /* error */
};

#define LVT_READ_ONLY (LAPIC_LVT_PENDING | LAPIC_LVT_REMOTE_IRR)

int lapic_find_highest(const struct hv_lapic *apic, unsigned int reg)
{
	int word;

	for (word = 7; word >= 0; word--) {
		uint32_t bits = lapic_reg(apic, reg + (unsigned int)word);

		if (bits)
			return word * 32 + (int)hv_fls64(bits);
	}
	return -1;
}

static void lapic_clear_vector(struct hv_lapic *apic, unsigned int reg, int vector)
{
	__atomic_fetch_and(lapic_reg_ptr(apic, reg + (unsigned int)vector / 32),
			   ~(1U << (vector % 32)), __ATOMIC_SEQ_CST);
}

/* The processor priority that TPR and ISR amount to. */
static uint32_t lapic_ppr(const struct hv_lapic *apic)
{
	uint32_t tpr = lapic_reg(apic, LAPIC_TPR) & 0xff;
	int isr = lapic_find_highest(apic, LAPIC_ISR);
	uint32_t isr_class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	return (tpr & 0xf0) >= isr_class ? tpr : isr_class;
}

uint32_t lapic_update_ppr(struct hv_lapic *apic)
{
	uint32_t ppr = lapic_ppr(apic);

	lapic_reg_set(apic, LAPIC_PPR, ppr);
	return ppr;
}

void lapic_kick(struct hv_vcpu *vcpu)
{
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	vcpu_kick(vcpu);
}

void lapic_error(struct hv_lapic *apic, uint32_t esr_bits)
{
	uint32_t old = atomic_fetch_or(&apic->esr_pending, esr_bits);

	/* One interrupt per error that was not yet noted. */
	if ((old & esr_bits) != esr_bits)
		lapic_local_deliver(apic, LAPIC_LVTERR);
}

int lapic_local_deliver(struct hv_lapic *apic, unsigned int reg)
{
	uint32_t lvt = lapic_reg(apic, reg);
	struct lapic_message msg = {
		.vector = lvt & 0xff,
		.mode = reg == LAPIC_LVTT || reg == LAPIC_LVTERR ? LAPIC_DM_FIXED : (lvt >> 8) & 7,
		.shorthand = LAPIC_DEST_SELF,
		.level = (reg == LAPIC_LVT0 || reg == LAPIC_LVT1) && (lvt & LAPIC_LVT_LEVEL),
		.assert = true,
	};

	if (!lapic_hw_enabled(apic) || (lvt & LAPIC_LVT_MASKED))
		return -1;
	/* INIT and start-up through an LVT are not for a CPU that runs. */
	if (msg.mode == LAPIC_DM_INIT || msg.mode == LAPIC_DM_STARTUP)
		return -1;
	return lapic_send(apic->vcpu->vm, &msg, apic->vcpu);
}

bool lapic_accepts_pic(const struct hv_vcpu *vcpu)
{
	const struct hv_lapic *apic = vcpu->apic;
	uint32_t lvt0;

	if (!apic)
		return false;
	/* With the APIC off, INTR is the CPU's own pin, and only the boot CPU's is wired. */
	if (!lapic_hw_enabled(apic))
		return lapic_base(apic) & LAPIC_BASE_BSP;
	lvt0 = lapic_reg(apic, LAPIC_LVT0);
	return !(lvt0 & LAPIC_LVT_MASKED) && ((lvt0 >> 8) & 7) == LAPIC_DM_EXTINT;
}

void lapic_eoi(struct hv_lapic *apic, bool virtualised, int vector)
{
	if (!virtualised) {
		vector = lapic_find_highest(apic, LAPIC_ISR);
		/* EOI with nothing in service happens (spurious interrupts) and does nothing. */
		if (vector < 0)
			return;
		lapic_clear_vector(apic, LAPIC_ISR, vector);
		lapic_update_ppr(apic);
	}
	ioapic_eoi(apic->vcpu->vm, vector);
	vcpu_make_request(apic->vcpu, HV_REQ_EVENT);
}

/* ---- reads --------------------------------------------------------------------- */

static bool lapic_reg_is_readable(const struct hv_lapic *apic, unsigned int reg)
{
	switch (reg) {
	case LAPIC_ID:
	case LAPIC_VERSION:
	case LAPIC_TPR:
	case LAPIC_PPR:
	case LAPIC_LDR:
	case LAPIC_SPIV:
	case LAPIC_ISR ... LAPIC_ESR:
	case LAPIC_ICR:
	case LAPIC_LVTT ... LAPIC_TMCCT:
	case LAPIC_TDCR:
		return true;
	case LAPIC_APR:
	case LAPIC_RRD:
	case LAPIC_DFR:
	case LAPIC_ICR2:
		return !lapic_x2apic(apic);
	default:
		return false;
	}
}

int lapic_read(struct hv_lapic *apic, unsigned int reg, uint32_t *value)
{
	if (!lapic_reg_is_readable(apic, reg))
		return -EINVAL;
	switch (reg) {
	case LAPIC_APR:
		/* Arbitration is over in no time here: the priority is the processor's. */
	case LAPIC_PPR:
		*value = lapic_update_ppr(apic);
		return 0;
	case LAPIC_TMCCT:
		*value = lapic_timer_current(apic);
		return 0;
	default:
		*value = lapic_reg(apic, reg);
		return 0;
	}
}

/* ---- writes ---------------------------------------------------------------------- */

static void lapic_write_icr(struct hv_lapic *apic, uint32_t icr, uint32_t icr2)
{
	struct lapic_message msg = {
		.dest = lapic_x2apic(apic) ? icr2 : icr2 >> 24,
		.vector = icr & 0xff,
		.mode = (icr >> 8) & 7,
		.logical = icr & (1U << 11),
		.assert = icr & (1U << 14),
		.level = icr & (1U << 15),
		.shorthand = (icr >> 18) & 3,
		.ext_dest = lapic_x2apic(apic),
	};

	if (!lapic_x2apic(apic))
		lapic_reg_set(apic, LAPIC_ICR2, icr2 & 0xff000000U);
	lapic_reg_set(apic, LAPIC_ICR, icr & ~(1U << 12)); /* sent at once: never pending */
	if ((msg.mode == LAPIC_DM_FIXED || msg.mode == LAPIC_DM_LOWEST) && msg.vector < 16) {
		lapic_error(apic, LAPIC_ESR_SEND_ILLEGAL);
		return;
	}
	lapic_send(apic->vcpu->vm, &msg, apic->vcpu);
}

static void lapic_write_spiv(struct hv_lapic *apic, uint32_t value)
{
	unsigned int reg;

	lapic_reg_set(apic, LAPIC_SPIV, value & 0x3ff);
	if (value & LAPIC_SPIV_ENABLE)
		return;
	for (reg = LAPIC_LVTT; reg < LAPIC_LVTT + LAPIC_NR_LVT; reg++)
		lapic_reg_set(apic, reg, lapic_reg(apic, reg) | LAPIC_LVT_MASKED);
}

static void lapic_write_lvt(struct hv_lapic *apic, unsigned int reg, uint32_t value)
{
	uint32_t old = lapic_reg(apic, reg);

	value = (value & lvt_mask[reg - LAPIC_LVTT] & ~LVT_READ_ONLY) | (old & LVT_READ_ONLY);
	if (!lapic_sw_enabled(apic))
		value |= LAPIC_LVT_MASKED;
	if (reg == LAPIC_LVTT) {
		lapic_timer_set_lvtt(apic, value);
		return;
	}
	lapic_reg_set(apic, reg, value);
	/* The PIC may have been waiting for LINT0 to open. */
	if (reg == LAPIC_LVT0)
		vcpu_make_request(apic->vcpu, HV_REQ_EVENT);
}

/* Bits that an x2APIC refuses with #GP where an xAPIC ignores them. */
static uint32_t lapic_x2apic_reserved(unsigned int reg)
{
	switch (reg) {
	case LAPIC_TPR:
	case LAPIC_SELF_IPI:
		return ~0xffU;
	case LAPIC_EOI:
	case LAPIC_ESR:
		return ~0U;
	case LAPIC_SPIV:
		return ~0x13ffU;
	case LAPIC_ICR:
		return 0xfff32000U;
	case LAPIC_LVTT ... LAPIC_LVTERR:
		return ~lvt_mask[reg - LAPIC_LVTT];
	case LAPIC_TDCR:
		return ~0xbU;
	default:
		return 0;
	}
}

/* Registers that one of the two modes has and the other has not. */
static int lapic_write_xapic_only(struct hv_lapic *apic, unsigned int reg, uint32_t value)
{
	if (lapic_x2apic(apic))
		return -EINVAL;
	switch (reg) {
	case LAPIC_ID:
		lapic_reg_set(apic, LAPIC_ID, value & 0xff000000U);
		break;
	case LAPIC_LDR:
		lapic_reg_set(apic, LAPIC_LDR, value & 0xff000000U);
		break;
	case LAPIC_DFR:
		lapic_reg_set(apic, LAPIC_DFR, value | 0x0fffffffU);
		break;
	default:
		lapic_reg_set(apic, LAPIC_ICR2, value & 0xff000000U);
		break;
	}
	return 0;
}

static int lapic_self_ipi(struct hv_lapic *apic, uint32_t vector)
{
	if (!lapic_x2apic(apic))
		return -EINVAL;
	lapic_write_icr(apic, LAPIC_DEST_SELF << 18 | vector, 0);
	return 0;
}

int lapic_write(struct hv_lapic *apic, unsigned int reg, uint32_t value)
{
	if (lapic_x2apic(apic) && (value & lapic_x2apic_reserved(reg)))
		return -EINVAL;
	switch (reg) {
	case LAPIC_ID:
	case LAPIC_LDR:
	case LAPIC_DFR:
	case LAPIC_ICR2:
		return lapic_write_xapic_only(apic, reg, value);
	case LAPIC_TPR:
		lapic_reg_set(apic, LAPIC_TPR, value & 0xff);
		lapic_update_ppr(apic);
		vcpu_make_request(apic->vcpu, HV_REQ_EVENT);
		return 0;
	case LAPIC_EOI:
		lapic_eoi(apic, false, -1);
		return 0;
	case LAPIC_SPIV:
		lapic_write_spiv(apic, value);
		return 0;
	case LAPIC_ESR:
		lapic_reg_set(apic, LAPIC_ESR, atomic_exchange(&apic->esr_pending, 0));
		return 0;
	case LAPIC_ICR:
		lapic_write_icr(apic, value, lapic_reg(apic, LAPIC_ICR2));
		return 0;
	case LAPIC_LVTT ... LAPIC_LVTERR:
		lapic_write_lvt(apic, reg, value);
		return 0;
	case LAPIC_TMICT:
		lapic_timer_set_initial(apic, value);
		return 0;
	case LAPIC_TDCR:
		lapic_timer_set_divide(apic, value & 0xb);
		return 0;
	case LAPIC_SELF_IPI:
		return lapic_self_ipi(apic, value);
	default:
		return -EINVAL;
	}
}

/* ---- MMIO --------------------------------------------------------------------------- */

static bool lapic_mmio_is_mine(const struct hv_vcpu *vcpu, uint64_t addr)
{
	/* A disabled or x2APIC-mode APIC leaves its page to whatever is behind it. */
	return vcpu && vcpu->apic && lapic_hw_enabled(vcpu->apic) && !lapic_x2apic(vcpu->apic) &&
	       (addr & HV_PAGE_MASK) == (lapic_base(vcpu->apic) & 0xfffffffffffff000ULL);
}

static int lapic_mmio_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			   unsigned int len, void *data)
{
	uint32_t value = 0;
	unsigned int offset = addr & 0xfff;

	if (!lapic_mmio_is_mine(vcpu, addr))
		return -EOPNOTSUPP;
	memset(data, 0, len);
	/* Only 32-bit accesses at the registers' own addresses are defined; parts of them work. */
	if ((offset & 15) + len > 4)
		return 0;
	if (lapic_read(vcpu->apic, offset >> 4, &value)) {
		lapic_error(vcpu->apic, LAPIC_ESR_ILLEGAL_REG);
		return 0;
	}
	memcpy(data, (uint8_t *)&value + (offset & 15), len);
	return 0;
}

static int lapic_mmio_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			    unsigned int len, const void *data)
{
	uint32_t value;
	unsigned int offset = addr & 0xfff;

	if (!lapic_mmio_is_mine(vcpu, addr))
		return -EOPNOTSUPP;
	if (len != 4 || (offset & 15))
		return 0;
	memcpy(&value, data, 4);
	if (lapic_write(vcpu->apic, offset >> 4, value))
		lapic_error(vcpu->apic, LAPIC_ESR_ILLEGAL_REG);
	return 0;
}

const struct hv_io_device_ops lapic_mmio_ops = {
	.read = lapic_mmio_read,
	.write = lapic_mmio_write,
};

/* ---- reset ---------------------------------------------------------------------------- */

void lapic_reset(struct hv_lapic *apic, bool init_event)
{
	struct hv_vcpu *vcpu = apic->vcpu;
	unsigned int reg;

	lapic_timer_stop(apic);
	if (!init_event)
		atomic_store(&apic->base, HV_LAPIC_BASE | LAPIC_BASE_ENABLE |
						  (vcpu->id == 0 ? LAPIC_BASE_BSP : 0));
	for (reg = 0; reg < LAPIC_NR_REGS; reg++)
		lapic_reg_set(apic, reg, 0);
	lapic_reg_set(apic, LAPIC_VERSION, LAPIC_VERSION_VALUE);
	lapic_reg_set(apic, LAPIC_SPIV, 0xff);
	for (reg = LAPIC_LVTT; reg < LAPIC_LVTT + LAPIC_NR_LVT; reg++)
		lapic_reg_set(apic, reg, LAPIC_LVT_MASKED);
	lapic_reg_set(apic, LAPIC_DFR, ~0U);
	if (lapic_x2apic(apic)) {
		lapic_reg_set(apic, LAPIC_ID, vcpu->id);
		lapic_reg_set(apic, LAPIC_LDR, (vcpu->id >> 4) << 16 | 1U << (vcpu->id & 15));
	} else {
		lapic_reg_set(apic, LAPIC_ID, vcpu->id << 24);
	}
	atomic_store(&apic->esr_pending, 0);
	atomic_store(&apic->served, 0);
	if (!init_event)
		atomic_store(&apic->pending, 0);
}
