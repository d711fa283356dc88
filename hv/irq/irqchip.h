/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interrupt chips of a PC: two 8259s, an I/O APIC, a local APIC per vCPU,
 * an 8254. Implements hv_irqchip_ops for the run loop and registers the chips
 * on the buses of its VM.
 */
#ifndef HV_IRQ_IRQCHIP_H
#define HV_IRQ_IRQCHIP_H

#include "hv/vm/irq_routing.h"
#include "hv/vm/vm.h"

extern const struct hv_irqchip_ops hv_irqchip_pc;

/* Before the first vCPU: PIC, I/O APIC, PIT, the default routing. */
int irqchip_create(struct hv_vm *vm);
void irqchip_destroy(struct hv_vm *vm);
int irqchip_vcpu_create(struct hv_vcpu *vcpu);
void irqchip_vcpu_destroy(struct hv_vcpu *vcpu);

/* Send an MSI as a PCI function would. */
int irq_send_msi(struct hv_vm *vm, uint64_t address, uint32_t data);

#endif
