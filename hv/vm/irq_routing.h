/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupt routing: gsi -> PIC pin, I/O APIC pin or MSI. Readers use RCU,
 * updates hold irq_lock. The chips are reached through the entry's function.
 */
#ifndef HV_VM_IRQ_ROUTING_H
#define HV_VM_IRQ_ROUTING_H

#include "hv/vm/vm.h"

#define HV_MAX_GSI 256

struct hv_irq_route {
	uint32_t gsi;
	enum { HV_ROUTE_CHIP, HV_ROUTE_MSI } kind;
	union {
		struct { uint32_t chip; uint32_t pin; } chip; /* chip 0,1: PIC master, slave; 2: I/O APIC */
		struct { uint64_t address; uint32_t data; } msi;
	};
	/* < 0: not delivered; 0: coalesced; > 0: number of CPUs reached. RCU read side. */
	int (*set)(const struct hv_irq_route *route, struct hv_vm *vm, int source, int level);
};

#define HV_ROUTES_PER_GSI 3 /* both PICs and the I/O APIC at most */

/*
 * Replace the whole table; takes irq_lock. -EINVAL: a gsi of HV_MAX_GSI or more, a route
 * without `set`, or more than HV_ROUTES_PER_GSI routes of one gsi; -ENOMEM. The old
 * table is in force until the call returns, and not afterwards.
 */
int irq_routing_set(struct hv_vm *vm, const struct hv_irq_route *routes, unsigned int count);
/*
 * Raise or lower a line, or send the edge of an MSI route. Any thread. Sum of what
 * the routes' set() returned, those below 0 left out; -1: no route took it.
 */
int irq_set_level(struct hv_vm *vm, int source, uint32_t gsi, int level);

#endif
