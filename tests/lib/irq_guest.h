/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that counts its interrupts, a host thread for each vCPU, through the real
 * layers: chips, run loop, vendor, processor. Every function aborts when
 * something fails that is not the matter of a test.
 */
#ifndef HV_TESTS_IRQ_GUEST_H
#define HV_TESTS_IRQ_GUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "hv/hv.h"

#define IRQ_GUEST_VCPUS 4

/* How a vCPU spends its time; changed while it runs. */
enum irq_guest_wait {
	IRQ_GUEST_SPIN,	/* in guest mode */
	IRQ_GUEST_HALT,
	IRQ_GUEST_EXIT,	/* in and out by CPUID */
	IRQ_GUEST_MASK,	/* TPR up and down */
	IRQ_GUEST_SELF,	/* sends itself vector 0x61 all the time */
};

struct irq_guest {
	struct hv_vm *vm;
	unsigned int nr;
	struct irq_guest_vcpu {
		struct irq_guest *guest;
		struct hv_vcpu *vcpu;
		pthread_t thread;
	} v[IRQ_GUEST_VCPUS];
	uint8_t *ram;
	_Atomic bool stop;
};

struct irq_guest_config {
	const char *vendor, *paging;
	unsigned int vcpus;
	bool x2apic, no_apicv;
};

void irq_guest_make(struct irq_guest *g, const struct irq_guest_config *config);
void irq_guest_run(struct irq_guest *g, enum irq_guest_wait wait); /* returns when all are ready */
void irq_guest_stop(struct irq_guest *g);			    /* no vCPU runs any more */
void irq_guest_go_on(struct irq_guest *g);
void irq_guest_destroy(struct irq_guest *g);			    /* after a stop */
void irq_guest_set_wait(struct irq_guest *g, enum irq_guest_wait wait);
/* A message-signalled interrupt: as hv_vm_signal_msi(). */
int irq_guest_post(struct irq_guest *g, unsigned int vcpu, uint8_t vector);
uint32_t irq_guest_count(struct irq_guest *g, unsigned int vcpu, uint8_t vector);
/* Until the count is at least that; false: not within so many ms. */
bool irq_guest_await(struct irq_guest *g, unsigned int vcpu, uint8_t vector, uint32_t count,
		     unsigned int ms);
/* Counter of an exit, or (NULL) of every one, of all vCPUs. */
uint64_t irq_guest_exits(struct irq_guest *g, const char *name);

#endif
