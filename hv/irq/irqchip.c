/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interrupt chips of a VM together: creation in order and its reverse, the
 * default routing of GSIs to pins, the pages of the local APICs.
 */
#include <errno.h>
#include <stdlib.h>

#include "hv/irq/irqchip_internal.h"

/* ---- routing ----------------------------------------------------------------------- */

/* The PIC's INTR reaches some CPU: a local APIC passes it on, or is off. */
static bool pic_is_wired(struct hv_vm *vm)
{
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
		if (lapic_accepts_pic(vcpu))
			return true;
	}
	return false;
}

static int route_pic(const struct hv_irq_route *route, struct hv_vm *vm, int source, int level)
{
	struct hv_irqchip *chip = vm->irqchip;
	int result;

	hv_spin_lock(&chip->lock);
	result = pic_set_irq_locked(chip, route->chip.chip * 8 + route->chip.pin, source, level);
	hv_spin_unlock(&chip->lock);
	if (level && result > 0 && !pic_is_wired(vm))
		return -1;
	return result;
}

static int route_ioapic(const struct hv_irq_route *route, struct hv_vm *vm, int source, int level)
{
	struct hv_irqchip *chip = vm->irqchip;
	int result;

	hv_spin_lock(&chip->lock);
	result = ioapic_set_irq_locked(chip, route->chip.pin, source, level);
	hv_spin_unlock(&chip->lock);
	return result;
}

static void route_chip_fill(struct hv_irq_route *r, unsigned int gsi, unsigned int chip,
			    unsigned int pin)
{
	*r = (struct hv_irq_route){
		.gsi = gsi,
		.kind = HV_ROUTE_CHIP,
		.chip = { .chip = chip, .pin = pin },
		.set = chip == 2 ? route_ioapic : route_pic,
	};
}

/*
 * As PCs are wired: GSI 0-15 are the ISA lines on both PICs and, pin for pin,
 * on the I/O APIC, but for the timer, which is on its pin 2 (and GSI 2, the
 * cascade, is no interrupt). 16-23 are on the I/O APIC alone.
 */
static int routing_set_default(struct hv_vm *vm)
{
	struct hv_irq_route routes[16 + HV_IOAPIC_PINS];
	unsigned int gsi, n = 0;

	for (gsi = 0; gsi < HV_IOAPIC_PINS; gsi++) {
		if (gsi == 2)
			continue;
		if (gsi < 16)
			route_chip_fill(&routes[n++], gsi, gsi / 8, gsi % 8);
		route_chip_fill(&routes[n++], gsi, 2, gsi == 0 ? 2 : gsi);
	}
	return irq_routing_set(vm, routes, n);
}

/* ---- pages of local APICs --------------------------------------------------------------- */

int irqchip_add_lapic_page(struct hv_vm *vm, uint64_t base)
{
	struct hv_irqchip *chip = vm->irqchip;
	unsigned int i;
	int err;

	for (i = 0; i < LAPIC_PAGES_MAX; i++) {
		struct lapic_page *page = &chip->lapic_pages[i];
		uint64_t none = 0;

		if (atomic_load(&page->base) == base)
			return 0;
		if (!atomic_compare_exchange_strong(&page->base, &none, base)) {
			if (none == base)
				return 0;
			continue;
		}
		page->dev = (struct hv_io_device){ .ops = &lapic_mmio_ops, .name = "lapic" };
		err = bus_register(vm, HV_BUS_MMIO, base, HV_PAGE_SIZE, &page->dev);
		if (err)
			atomic_store(&page->base, 0);
		return err;
	}
	return -ENOSPC;
}

static void lapic_pages_destroy(struct hv_vm *vm)
{
	unsigned int i;

	for (i = 0; i < LAPIC_PAGES_MAX; i++) {
		if (atomic_load(&vm->irqchip->lapic_pages[i].base))
			bus_unregister(vm, HV_BUS_MMIO, &vm->irqchip->lapic_pages[i].dev);
	}
}

/* ---- life ----------------------------------------------------------------------------------- */

void irqchip_reset(struct hv_vm *vm)
{
	struct hv_irqchip *chip = vm->irqchip;

	hv_spin_lock(&chip->lock);
	pit_reset_locked(chip);
	pic_reset_locked(chip);
	ioapic_reset_locked(chip);
	hv_spin_unlock(&chip->lock);
}

int irqchip_create(struct hv_vm *vm)
{
	struct hv_irqchip *chip = calloc(1, sizeof(*chip));
	int err;

	if (!chip)
		return -ENOMEM;
	chip->vm = vm;
	err = hv_timers_create("hv-timer", &chip->timers);
	if (err) {
		free(chip);
		return err;
	}
	hv_spinlock_init(&chip->lock, HV_LC_IRQCHIP);
	vm->irqchip = chip;
	err = pit_create(vm);
	if (err)
		goto fail;
	irqchip_reset(vm);
	err = pic_create(vm);
	if (err)
		goto fail;
	err = ioapic_create(vm);
	if (err)
		goto fail;
	err = irqchip_add_lapic_page(vm, HV_LAPIC_BASE);
	if (err)
		goto fail;
	err = routing_set_default(vm);
	if (err)
		goto fail;
	vm->irqchip_ops = &hv_irqchip_pc;
	return 0;
fail:
	irqchip_destroy(vm);
	return err;
}

void irqchip_destroy(struct hv_vm *vm)
{
	struct hv_irqchip *chip = vm->irqchip;

	if (!chip)
		return;
	/* No line may be raised while the chips go. */
	irq_routing_set(vm, NULL, 0);
	lapic_pages_destroy(vm);
	ioapic_destroy(vm);
	pic_destroy(vm);
	pit_destroy(vm);
	hv_timers_destroy(chip->timers);
	hv_spinlock_destroy(&chip->lock);
	vm->irqchip_ops = NULL;
	vm->irqchip = NULL;
	free(chip);
}

struct hv_timers *irqchip_timers(struct hv_vm *vm)
{
	return vm->irqchip->timers;
}
