/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interrupt chips of a PC: two 8259s, an I/O APIC, a local APIC per vCPU,
 * an 8254. Implements hv_irqchip_ops for the run loop and registers the chips
 * on the buses of its VM.
 *
 * Locking: the registers of PIC, I/O APIC and PIT are under one irqchip_lock.
 * A local APIC has no lock: its own vCPU thread writes its registers, other
 * threads set bits of IRR and TMR with atomics and read what routing needs.
 * Its timer has a leaf lock.
 */
#ifndef HV_IRQ_IRQCHIP_H
#define HV_IRQ_IRQCHIP_H

#include "hv/irq/timer.h"
#include "hv/vm/irq_routing.h"
#include "hv/vm/vm.h"

extern const struct hv_irqchip_ops hv_irqchip_pc;

/* Who drives a line: each source's level is kept apart, and a line is the OR of them. */
enum hv_irq_source {
	HV_IRQ_SOURCE_USER, /* hv_vm_irq_line() */
	HV_IRQ_SOURCE_PIT,
	HV_IRQ_SOURCE_HPET,
	HV_IRQ_SOURCE_DEVICE, /* the one device of an ISA line */
	HV_IRQ_SOURCE_PCI,    /* first of the sources that PCI functions share out */
	HV_IRQ_SOURCE_MAX = 32,
};

#define HV_ISA_IRQ_PIT	0
#define HV_ISA_IRQ_COM1 4
#define HV_ISA_IRQ_RTC	8
#define HV_ISA_IRQ_SCI	9

#define HV_IOAPIC_BASE 0xfec00000ULL
#define HV_LAPIC_BASE  0xfee00000ULL

/*
 * Before the first vCPU: PIC, I/O APIC, PIT, the default routing, and
 * vm->irqchip_ops. Takes slots_lock and irq_lock. -ENOMEM, -EEXIST.
 */
int irqchip_create(struct hv_vm *vm);
/* No vCPU runs any more, every local APIC is gone. A VM without chips is fine. */
void irqchip_destroy(struct hv_vm *vm);
/* A local APIC for vcpu, in its power-on state. -ENOMEM. */
int irqchip_vcpu_create(struct hv_vcpu *vcpu);
void irqchip_vcpu_destroy(struct hv_vcpu *vcpu);
/* PIC, I/O APIC and PIT as after power-on. No vCPU runs. */
void irqchip_reset(struct hv_vm *vm);

/*
 * What firmware leaves behind on the boot CPU: local APIC enabled, the PIC's
 * interrupts through LINT0, NMI on LINT1. vcpu does not run.
 */
void irqchip_virtual_wire(struct hv_vcpu *vcpu);

/* The VM's timer thread, for devices. */
struct hv_timers *irqchip_timers(struct hv_vm *vm);

/* Send an MSI as a PCI function would. Any thread. As hv_irq_route.set. */
int irq_send_msi(struct hv_vm *vm, uint64_t address, uint32_t data);
/* NMI to one vCPU, or through LVT LINT1 of all of them as the chassis' button does. */
void irq_send_nmi(struct hv_vcpu *vcpu);
void irq_nmi_button(struct hv_vm *vm);

/*
 * Mask the PIT's own interrupt while an HPET in legacy mode drives IRQ 0. The
 * PIT goes on counting.
 */
void irqchip_pit_mask(struct hv_vm *vm, bool masked);

/* ---- state, for migration and for calls that get and set it. No vCPU runs. ---- */
struct hv_pic_chip_state {
	uint8_t last_irr; /* lines, for edge detection */
	uint8_t irr, imr, isr;
	uint8_t priority_add; /* the highest-priority line */
	uint8_t irq_base;
	uint8_t read_isr;     /* OCW3 RR/RIS: reads give ISR */
	uint8_t poll;
	uint8_t special_mask;
	uint8_t init_state; /* ICW expected next, 0: initialised */
	uint8_t auto_eoi, rotate_on_auto_eoi;
	uint8_t special_fully_nested;
	uint8_t init4; /* ICW1 announced an ICW4 */
	uint8_t single;
	uint8_t elcr;
};

struct hv_pic_state {
	struct hv_pic_chip_state chip[2];
};

#define HV_IOAPIC_PINS 24
struct hv_ioapic_state {
	uint64_t redirtbl[HV_IOAPIC_PINS];
	uint32_t ioregsel, id;
	uint32_t irr; /* lines that are high */
	uint32_t padding;
};

struct hv_pit_channel_state {
	uint64_t count_start_ns; /* when counting began: ago, when saved; CLOCK_MONOTONIC, when live */
	uint64_t frozen_ns;	 /* gate low: how long it had counted by then */
	uint32_t count;		 /* 1..65536 */
	uint16_t latched_count;
	uint8_t count_latched, status_latched, status;
	uint8_t read_state, write_state, write_latch;
	uint8_t rw_mode, mode, bcd, gate;
	uint8_t loaded; /* a count was written since the mode was */
	uint8_t padding[3];
};

struct hv_pit_state {
	struct hv_pit_channel_state channel[3];
	uint8_t speaker_data_on;
	uint8_t masked;
	uint8_t padding[2];
	uint32_t pending; /* ticks of channel 0 that are still to be delivered */
};

struct hv_lapic_state {
	uint64_t base; /* IA32_APIC_BASE */
	uint64_t tsc_deadline;
	uint64_t timer_remaining_ns; /* 0: not running */
	uint32_t regs[64];	     /* register n is at offset 16 n */
	uint32_t pending_init_sipi, sipi_vector;
};

void irqchip_get_pic(struct hv_vm *vm, struct hv_pic_state *out);
int irqchip_set_pic(struct hv_vm *vm, const struct hv_pic_state *in);
void irqchip_get_ioapic(struct hv_vm *vm, struct hv_ioapic_state *out);
int irqchip_set_ioapic(struct hv_vm *vm, const struct hv_ioapic_state *in);
void irqchip_get_pit(struct hv_vm *vm, struct hv_pit_state *out);
int irqchip_set_pit(struct hv_vm *vm, const struct hv_pit_state *in);
void irqchip_get_lapic(struct hv_vcpu *vcpu, struct hv_lapic_state *out);
/* -EINVAL: a value that no guest could have brought about. */
int irqchip_set_lapic(struct hv_vcpu *vcpu, const struct hv_lapic_state *in);

#endif
