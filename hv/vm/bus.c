/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device buses. A bus is an array of ranges sorted by address, read under RCU
 * and replaced as a whole under slots_lock.
 *
 * Removal must not fail, so it allocates nothing: it clears the entry's device
 * in the published array, which is a single store that readers may or may not
 * see, and waits for the grace period. The hole goes with the next
 * registration. No two live ranges overlap unless they are equal, and equal
 * ones lie side by side in the order of registration.
 */
#include "hv/vm/bus.h"

#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/vm/vm_internal.h"

struct bus_entry {
	uint64_t addr, last;	   /* [I] closed range */
	struct hv_io_device *dev; /* [R] NULL: removed */
};

struct hv_bus_map {
	unsigned int count; /* [I] */
	struct bus_entry entry[];
};

int bus_vm_create(struct hv_vm *vm)
{
	int i;

	for (i = 0; i < HV_BUS_NUM; i++) {
		vm->buses[i] = hv_zalloc(sizeof(struct hv_bus_map));
		if (!vm->buses[i])
			return -ENOMEM;
	}
	return 0;
}

void bus_vm_destroy(struct hv_vm *vm)
{
	int i;

	for (i = 0; i < HV_BUS_NUM; i++) {
		hv_free(vm->buses[i]);
		vm->buses[i] = NULL;
	}
}

/* ---- update: slots_lock held ------------------------------------------------------ */

static struct hv_io_device *entry_dev(struct hv_vm *vm, struct bus_entry *e)
{
	return hv_rcu_dereference_protected(e->dev, &vm->slots_lock);
}

/* Where a new range goes, among live entries only. -EEXIST, -ENOSPC. */
static int bus_check(struct hv_vm *vm, struct hv_bus_map *map, uint64_t addr, uint64_t last)
{
	unsigned int i, live = 0;

	for (i = 0; i < map->count; i++) {
		struct bus_entry *e = &map->entry[i];

		if (!entry_dev(vm, e))
			continue;
		live++;
		if (addr <= e->last && last >= e->addr && (addr != e->addr || last != e->last))
			return -EEXIST;
	}
	return live >= HV_BUS_DEVICES_MAX ? -ENOSPC : 0;
}

/* The live entries and the new one, sorted; the new one after its equals. */
static void bus_fill(struct hv_vm *vm, struct hv_bus_map *to, struct hv_bus_map *from,
		     const struct bus_entry *add)
{
	unsigned int i;
	bool placed = false;

	for (i = 0; i < from->count; i++) {
		struct hv_io_device *dev = entry_dev(vm, &from->entry[i]);

		if (!dev)
			continue;
		if (!placed && add->addr < from->entry[i].addr) {
			to->entry[to->count++] = *add;
			placed = true;
		}
		to->entry[to->count].addr = from->entry[i].addr;
		to->entry[to->count].last = from->entry[i].last;
		to->entry[to->count++].dev = dev;
	}
	if (!placed)
		to->entry[to->count++] = *add;
}

static int bus_register_locked(struct hv_vm *vm, enum hv_bus_kind bus, const struct bus_entry *add)
{
	struct hv_bus_map *old, *map;
	int r;

	old = hv_rcu_dereference_protected(vm->buses[bus], &vm->slots_lock);
	r = bus_check(vm, old, add->addr, add->last);
	if (r)
		return r;
	map = hv_zalloc(sizeof(*map) + (old->count + 1) * sizeof(map->entry[0]));
	if (!map)
		return -ENOMEM;
	bus_fill(vm, map, old, add);
	hv_rcu_assign_pointer(vm->buses[bus], map);
	hv_synchronize_rcu(); /* nobody reads old any more */
	hv_free(old);
	return 0;
}

int bus_register(struct hv_vm *vm, enum hv_bus_kind bus, uint64_t addr, uint64_t len,
		 struct hv_io_device *dev)
{
	struct bus_entry add = { .addr = addr, .last = addr + len - 1, .dev = dev };
	int r;

	if (!len || add.last < addr)
		return -EINVAL;
	hv_mutex_lock(&vm->slots_lock);
	r = bus_register_locked(vm, bus, &add);
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

int bus_unregister(struct hv_vm *vm, enum hv_bus_kind bus, struct hv_io_device *dev)
{
	struct hv_bus_map *map;
	unsigned int i;
	int r = -ENOENT;

	hv_mutex_lock(&vm->slots_lock);
	map = hv_rcu_dereference_protected(vm->buses[bus], &vm->slots_lock);
	for (i = 0; i < map->count; i++) {
		if (entry_dev(vm, &map->entry[i]) == dev) {
			hv_rcu_assign_pointer(map->entry[i].dev, NULL);
			r = 0;
		}
	}
	if (!r)
		hv_synchronize_rcu(); /* nobody calls the device any more */
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

/* ---- access: RCU read side --------------------------------------------------------- */

/* The first entry whose range may hold addr: ends of live ranges ascend with their starts. */
static unsigned int bus_search(const struct hv_bus_map *map, uint64_t addr)
{
	unsigned int lo = 0, hi = map->count;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (map->entry[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct bus_access {
	struct hv_vcpu *vcpu;
	uint64_t addr;
	unsigned int len;
	void *in;	 /* read */
	const void *out; /* write */
};

static int bus_dispatch(struct hv_vm *vm, enum hv_bus_kind bus, const struct bus_access *a)
{
	uint64_t last = a->addr + a->len - 1;
	struct hv_bus_map *map;
	unsigned int i;
	int r = -EOPNOTSUPP;

	if (!a->len || last < a->addr)
		return -EOPNOTSUPP;
	hv_rcu_read_lock();
	map = hv_rcu_dereference(vm->buses[bus]);
	for (i = bus_search(map, a->addr); i < map->count && r == -EOPNOTSUPP; i++) {
		struct bus_entry *e = &map->entry[i];
		struct hv_io_device *dev = hv_rcu_dereference(e->dev);

		if (e->addr > a->addr)
			break;
		if (!dev || last > e->last)
			continue;
		r = a->in ? dev->ops->read(dev, a->vcpu, a->addr, a->len, a->in)
			  : dev->ops->write(dev, a->vcpu, a->addr, a->len, a->out);
	}
	hv_rcu_read_unlock();
	return r;
}

int bus_read(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	     unsigned int len, void *data)
{
	struct bus_access a = { .vcpu = vcpu, .addr = addr, .len = len, .in = data };

	return bus_dispatch(vm, bus, &a);
}

int bus_write(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	      unsigned int len, const void *data)
{
	struct bus_access a = { .vcpu = vcpu, .addr = addr, .len = len, .out = data };

	return bus_dispatch(vm, bus, &a);
}
