/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The I/O APIC: 24 pins, each with a redirection entry. Intel 82093AA data
 * sheet, version register 0x11 (no EOI register: the local APICs' EOI messages
 * clear Remote IRR).
 *
 * All registers are under irqchip_lock; `vectors` is read without it.
 */
#include <errno.h>
#include <string.h>

#include "hv/irq/irqchip_internal.h"

#define IOAPIC_VERSION	 (0x11U | (HV_IOAPIC_PINS - 1) << 16)
#define IOAPIC_SIZE	 0x100
#define IOAPIC_REGSEL	 0x00
#define IOAPIC_WINDOW	 0x10
#define IOAPIC_REG_ID	 0x00
#define IOAPIC_REG_VER	 0x01
#define IOAPIC_REG_ARB	 0x02
#define IOAPIC_REG_REDIR 0x10

/*
 * A redirection entry: vector 0-7, delivery mode 8-10, logical 11, delivery
 * status 12, active low 13, Remote IRR 14, level 15, mask 16, destination
 * 56-63.
 */
#define REDIR_LOGICAL	 (1ULL << 11)
#define REDIR_STATUS	 (1ULL << 12)
#define REDIR_REMOTE_IRR (1ULL << 14)
#define REDIR_LEVEL	 (1ULL << 15)
#define REDIR_MASKED	 (1ULL << 16)
#define REDIR_READ_ONLY	 (REDIR_STATUS | REDIR_REMOTE_IRR)
#define REDIR_WRITABLE	 (0xff0000000001ffffULL & ~REDIR_READ_ONLY)

static struct ioapic *ioapic_of(struct hv_io_device *dev)
{
	return container_of(dev, struct ioapic, dev);
}

/* Send what a pin has to send. As hv_irq_route.set. */
static int ioapic_service(struct hv_irqchip *chip, unsigned int pin)
{
	struct ioapic *ioapic = &chip->ioapic;
	uint64_t entry = ioapic->s.redirtbl[pin];
	struct lapic_message msg = {
		.dest = entry >> 56,
		.vector = entry & 0xff,
		.mode = (entry >> 8) & 7,
		.logical = entry & REDIR_LOGICAL,
		.level = entry & REDIR_LEVEL,
		.assert = true,
	};
	int result;

	if (entry & REDIR_MASKED)
		return -1;
	if ((entry & REDIR_LEVEL) && (entry & REDIR_REMOTE_IRR))
		return 0;
	result = lapic_send(chip->vm, &msg, NULL);
	if ((entry & REDIR_LEVEL) && result >= 0)
		ioapic->s.redirtbl[pin] |= REDIR_REMOTE_IRR;
	return result;
}

int ioapic_set_irq_locked(struct hv_irqchip *chip, unsigned int pin, int source, int level)
{
	struct ioapic *ioapic = &chip->ioapic;
	uint32_t bit = 1U << pin;
	bool was = ioapic->s.irr & bit, is;

	if (level)
		ioapic->sources[pin] |= 1U << source;
	else
		ioapic->sources[pin] &= ~(1U << source);
	is = ioapic->sources[pin] != 0;
	if (is)
		ioapic->s.irr |= bit;
	else
		ioapic->s.irr &= ~bit;
	if (!is)
		return 1;
	/* An edge on a masked pin is lost; a level is seen when the mask goes. */
	if (!(ioapic->s.redirtbl[pin] & REDIR_LEVEL) && was)
		return 0;
	return ioapic_service(chip, pin);
}

/*
 * A level-triggered pin, masked or not since its interrupt may be in service, and the
 * PIT's, which counts the ticks that were taken.
 */
static bool ioapic_hears_eoi(uint64_t entry, unsigned int pin)
{
	return (entry & REDIR_LEVEL) || (pin == 2 && !(entry & REDIR_MASKED));
}

void ioapic_update_vectors_locked(struct hv_irqchip *chip)
{
	struct ioapic *ioapic = &chip->ioapic;
	uint64_t map[4] = { 0 }, exits[4] = { 0 };
	bool changed = false;
	unsigned int pin, i;

	for (pin = 0; pin < HV_IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic->s.redirtbl[pin], bit = 1ULL << (entry & 63);

		if (!(entry & REDIR_MASKED) || (entry & REDIR_REMOTE_IRR))
			map[(entry & 0xff) / 64] |= bit;
		if (ioapic_hears_eoi(entry, pin))
			exits[(entry & 0xff) / 64] |= bit;
	}
	for (i = 0; i < 4; i++) {
		atomic_store(&ioapic->vectors[i], map[i]);
		changed |= atomic_exchange(&ioapic->eoi_exits[i], exits[i]) != exits[i];
	}
	/* A vCPU in guest mode leaves it before it takes what is sent from now on. */
	if (changed && chip->vm->apicv)
		vm_make_all_requests(chip->vm, HV_REQ_APICV_UPDATE);
}

void ioapic_eoi_exits(struct ioapic *ioapic, uint64_t vectors[4])
{
	for (unsigned int i = 0; i < 4; i++)
		vectors[i] = atomic_load(&ioapic->eoi_exits[i]);
}

/* IRQ 0's pin tells the PIT that its tick was taken. */
static void ioapic_ack_pin(struct hv_irqchip *chip, unsigned int pin)
{
	if (pin == 2)
		pit_ack_locked(chip);
}

void ioapic_eoi(struct hv_vm *vm, int vector)
{
	struct hv_irqchip *chip = vm->irqchip;
	struct ioapic *ioapic = &chip->ioapic;
	unsigned int pin;

	if (!(atomic_load(&ioapic->vectors[vector / 64]) & (1ULL << (vector % 64))))
		return;
	hv_spin_lock(&chip->lock);
	for (pin = 0; pin < HV_IOAPIC_PINS; pin++) {
		uint64_t *entry = &ioapic->s.redirtbl[pin];

		if ((*entry & 0xff) != (uint64_t)vector)
			continue;
		ioapic_ack_pin(chip, pin);
		if (!(*entry & REDIR_LEVEL) || !(*entry & REDIR_REMOTE_IRR))
			continue;
		*entry &= ~REDIR_REMOTE_IRR;
		if (ioapic->s.irr & (1U << pin))
			ioapic_service(chip, pin);
	}
	ioapic_update_vectors_locked(chip);
	hv_spin_unlock(&chip->lock);
}

/* ---- registers -------------------------------------------------------------------- */

static uint32_t ioapic_reg_read(const struct ioapic *ioapic)
{
	uint32_t reg = ioapic->s.ioregsel;
	uint64_t entry;

	switch (reg) {
	case IOAPIC_REG_ID:
	case IOAPIC_REG_ARB: /* loaded from the id, and no arbitration ever changes it */
		return ioapic->s.id << 24;
	case IOAPIC_REG_VER:
		return IOAPIC_VERSION;
	default:
		if (reg < IOAPIC_REG_REDIR || reg >= IOAPIC_REG_REDIR + 2 * HV_IOAPIC_PINS)
			return 0;
		entry = ioapic->s.redirtbl[(reg - IOAPIC_REG_REDIR) / 2];
		return reg & 1 ? entry >> 32 : (uint32_t)entry;
	}
}

static void ioapic_redir_write(struct hv_irqchip *chip, unsigned int pin, bool high,
			       uint32_t value)
{
	struct ioapic *ioapic = &chip->ioapic;
	uint64_t *entry = &ioapic->s.redirtbl[pin];
	uint64_t keep = high ? 0x00000000ffffffffULL : 0xffffffff00000000ULL;

	keep |= ~REDIR_WRITABLE;
	*entry = (*entry & keep) | ((high ? (uint64_t)value << 32 : value) & ~keep);
	/* Remote IRR has no meaning for edges; drivers switch to edge and back to clear it. */
	if (!(*entry & REDIR_LEVEL))
		*entry &= ~REDIR_REMOTE_IRR;
	ioapic_update_vectors_locked(chip);
	if ((*entry & REDIR_LEVEL) && (ioapic->s.irr & (1U << pin)))
		ioapic_service(chip, pin);
}

static void ioapic_reg_write(struct hv_irqchip *chip, uint32_t value)
{
	struct ioapic *ioapic = &chip->ioapic;
	uint32_t reg = ioapic->s.ioregsel;

	if (reg == IOAPIC_REG_ID) {
		ioapic->s.id = (value >> 24) & 0xf;
		return;
	}
	if (reg >= IOAPIC_REG_REDIR && reg < IOAPIC_REG_REDIR + 2 * HV_IOAPIC_PINS)
		ioapic_redir_write(chip, (reg - IOAPIC_REG_REDIR) / 2, reg & 1, value);
}

static int ioapic_mmio_read(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			    unsigned int len, void *data)
{
	struct ioapic *ioapic = ioapic_of(dev);
	struct hv_irqchip *chip = container_of(ioapic, struct hv_irqchip, ioapic);
	uint32_t value = 0;

	memset(data, 0, len);
	hv_spin_lock(&chip->lock);
	if ((addr & 0xff) == IOAPIC_REGSEL)
		value = ioapic->s.ioregsel;
	else if ((addr & 0xff) == IOAPIC_WINDOW)
		value = ioapic_reg_read(ioapic);
	hv_spin_unlock(&chip->lock);
	memcpy(data, &value, len < 4 ? len : 4);
	return 0;
}

static int ioapic_mmio_write(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
			     unsigned int len, const void *data)
{
	struct ioapic *ioapic = ioapic_of(dev);
	struct hv_irqchip *chip = container_of(ioapic, struct hv_irqchip, ioapic);
	uint32_t value = 0;

	memcpy(&value, data, len < 4 ? len : 4);
	hv_spin_lock(&chip->lock);
	if ((addr & 0xff) == IOAPIC_REGSEL)
		ioapic->s.ioregsel = value & 0xff;
	else if ((addr & 0xff) == IOAPIC_WINDOW)
		ioapic_reg_write(chip, value);
	hv_spin_unlock(&chip->lock);
	return 0;
}

static const struct hv_io_device_ops ioapic_mmio_ops = {
	.read = ioapic_mmio_read,
	.write = ioapic_mmio_write,
};

/* ---- life ---------------------------------------------------------------------------- */

void ioapic_reset_locked(struct hv_irqchip *chip)
{
	struct ioapic *ioapic = &chip->ioapic;
	unsigned int pin;

	memset(&ioapic->s, 0, sizeof(ioapic->s));
	memset(ioapic->sources, 0, sizeof(ioapic->sources));
	for (pin = 0; pin < HV_IOAPIC_PINS; pin++)
		ioapic->s.redirtbl[pin] = REDIR_MASKED;
	ioapic_update_vectors_locked(chip);
}

int ioapic_create(struct hv_vm *vm)
{
	struct ioapic *ioapic = &vm->irqchip->ioapic;

	ioapic->dev = (struct hv_io_device){ .ops = &ioapic_mmio_ops, .name = "ioapic" };
	return bus_register(vm, HV_BUS_MMIO, HV_IOAPIC_BASE, IOAPIC_SIZE, &ioapic->dev);
}

void ioapic_destroy(struct hv_vm *vm)
{
	if (vm->irqchip->ioapic.dev.ops)
		bus_unregister(vm, HV_BUS_MMIO, &vm->irqchip->ioapic.dev);
}

void irqchip_get_ioapic(struct hv_vm *vm, struct hv_ioapic_state *out)
{
	hv_spin_lock(&vm->irqchip->lock);
	*out = vm->irqchip->ioapic.s;
	hv_spin_unlock(&vm->irqchip->lock);
}

int irqchip_set_ioapic(struct hv_vm *vm, const struct hv_ioapic_state *in)
{
	struct ioapic *ioapic = &vm->irqchip->ioapic;
	unsigned int pin;

	if (in->ioregsel > 0xff || in->id > 0xf || in->irr >> HV_IOAPIC_PINS)
		return -EINVAL;
	for (pin = 0; pin < HV_IOAPIC_PINS; pin++) {
		if (in->redirtbl[pin] & ~(REDIR_WRITABLE | REDIR_READ_ONLY))
			return -EINVAL;
	}
	hv_spin_lock(&vm->irqchip->lock);
	ioapic->s = *in;
	ioapic->s.padding = 0;
	/* Who held a line up is known again when the devices' states are loaded. */
	memset(ioapic->sources, 0, sizeof(ioapic->sources));
	ioapic_update_vectors_locked(vm->irqchip);
	hv_spin_unlock(&vm->irqchip->lock);
	return 0;
}
