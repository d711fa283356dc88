/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupt routing: a table from gsi to its routes, replaced as a whole under
 * irq_lock and read under RCU. irq_lock may be taken inside a read-side section,
 * so the old table is retired after it is dropped.
 */
#include "hv/vm/irq_routing.h"

#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/vm/vm_internal.h"

struct hv_irq_routing {
	uint8_t count[HV_MAX_GSI]; /* [I] routes of each gsi */
	struct hv_irq_route route[HV_MAX_GSI][HV_ROUTES_PER_GSI];
};

int irq_routing_vm_create(struct hv_vm *vm)
{
	vm->irq_routing = hv_zalloc(sizeof(*vm->irq_routing));
	return vm->irq_routing ? 0 : -ENOMEM;
}

void irq_routing_vm_destroy(struct hv_vm *vm)
{
	hv_free(vm->irq_routing);
	vm->irq_routing = NULL;
}

static int routing_add(struct hv_irq_routing *t, const struct hv_irq_route *r)
{
	if (r->gsi >= HV_MAX_GSI || !r->set || t->count[r->gsi] == HV_ROUTES_PER_GSI)
		return -EINVAL;
	t->route[r->gsi][t->count[r->gsi]++] = *r;
	return 0;
}

int irq_routing_set(struct hv_vm *vm, const struct hv_irq_route *routes, unsigned int count)
{
	struct hv_irq_routing *table = hv_zalloc(sizeof(*table)), *old;
	unsigned int i;
	int r = 0;

	if (!table)
		return -ENOMEM;
	for (i = 0; i < count && !r; i++)
		r = routing_add(table, &routes[i]);
	if (r) {
		hv_free(table);
		return r;
	}
	hv_mutex_lock(&vm->irq_lock);
	old = hv_rcu_dereference_protected(vm->irq_routing, &vm->irq_lock);
	hv_rcu_assign_pointer(vm->irq_routing, table);
	hv_mutex_unlock(&vm->irq_lock);
	hv_synchronize_rcu(); /* no interrupt takes an old route any more */
	hv_free(old);
	return 0;
}

int irq_set_level(struct hv_vm *vm, int source, uint32_t gsi, int level)
{
	struct hv_irq_routing *table;
	int ret = -1;
	unsigned int i;

	hv_trace(irq_set, gsi, level);
	if (gsi >= HV_MAX_GSI)
		return -1;
	hv_rcu_read_lock();
	table = hv_rcu_dereference(vm->irq_routing);
	for (i = 0; i < table->count[gsi]; i++) {
		const struct hv_irq_route *route = &table->route[gsi][i];
		int r = route->set(route, vm, source, level);

		if (r >= 0)
			ret = r + (ret < 0 ? 0 : ret);
	}
	hv_rcu_read_unlock();
	return ret;
}
