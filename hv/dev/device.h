/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device models. A device is one file around a const struct hv_device_ops; its
 * instance starts with struct hv_device, and what a migration has to carry is
 * one plain struct of fixed-width fields inside the instance.
 *
 *	struct thing {
 *		struct hv_device dev;
 *		struct thing_state { uint32_t reg; } s;
 *	};
 *	const struct hv_device_ops thing_device = {
 *		.name = "thing", .instance_size = sizeof(struct thing), ...
 *	};
 *	err = device_add(board, &thing_device, &params, &dev);
 *
 * Accesses of the guest come through hv_io_device_ops, on a vCPU thread inside
 * a read-side section, with no lock held: the device takes dev->lock.
 */
#ifndef HV_DEV_DEVICE_H
#define HV_DEV_DEVICE_H

#include "hv/base/lock.h"
#include "hv/irq/irqchip.h"
#include "hv/vm/bus.h"

struct hv_device;

/* What devices tell the machine above them. Any thread, no device lock held. */
struct hv_board_ops {
	void (*console_output)(void *ctx, const void *data, size_t len);
	void (*poweroff)(void *ctx);			/* ACPI S5 */
	void (*reset)(void *ctx, const char *how);
	void (*panic)(void *ctx, const char *detail);
	void (*debug_exit)(void *ctx, uint32_t code);
};

#define HV_BOARD_DEVICES_MAX 64
#define HV_DEVICE_REGIONS_MAX 6

/* A machine as its devices see it. [I] but for the list of devices, which only life cycle changes. */
struct hv_board {
	struct hv_vm *vm;
	const struct hv_board_ops *ops;
	void *ctx;
	unsigned int vcpus;
	uint64_t ram_low;  /* bytes of RAM from 0 up, below the hole under 4 GiB */
	uint64_t ram_high; /* bytes of RAM from 4 GiB up */
	unsigned int nr_devices;
	struct hv_device *devices[HV_BOARD_DEVICES_MAX];
};

struct hv_device_ops {
	const char *name;
	size_t instance_size;	/* of the struct that struct hv_device begins */
	uint32_t state_version; /* of the struct that save and load carry */
	uint32_t state_size;	/* 0: there is nothing to carry */
	/* Claim ports and memory, make timers. params: as the device's header says. */
	int (*realize)(struct hv_device *dev, const void *params);
	/* Power-on state; no vCPU runs. Called after realize too. */
	void (*reset)(struct hv_device *dev);
	void (*save)(struct hv_device *dev, void *state); /* state_size bytes, padding zeroed */
	/* -EINVAL: a state that no guest could have brought about; nothing has changed then. */
	int (*load)(struct hv_device *dev, const void *state);
	/* Of a half-realized instance too. Regions are unmapped before, memory is freed after. */
	void (*destroy)(struct hv_device *dev);
};

struct hv_device_region {
	struct hv_io_device io;
	struct hv_device *dev;
	enum hv_bus_kind bus;
	uint64_t base, len;
};

struct hv_device {
	const struct hv_device_ops *ops; /* [I] */
	struct hv_board *board;		 /* [I] */
	struct hv_mutex lock;		 /* device_lock: the state */
	unsigned int nr_regions;
	struct hv_device_region regions[HV_DEVICE_REGIONS_MAX];
};

/* Takes slots_lock. On failure nothing is left. -ENOMEM, -ENOSPC, -EEXIST, or realize's error. */
int device_add(struct hv_board *board, const struct hv_device_ops *ops, const void *params,
	       struct hv_device **out);
/* For realize: dispatch a range of a bus to io. */
int device_map(struct hv_device *dev, enum hv_bus_kind bus, uint64_t base, uint64_t len,
	       const struct hv_io_device_ops *io);
struct hv_device *device_find(struct hv_board *board, const char *name);
/* All devices, in the order of creation; no vCPU runs. */
void board_reset(struct hv_board *board);
/* All devices, in the reverse order. */
void board_destroy(struct hv_board *board);

static inline struct hv_device *device_of_io(struct hv_io_device *io)
{
	return container_of(io, struct hv_device_region, io)->dev;
}

static inline uint64_t device_io_offset(struct hv_io_device *io, uint64_t addr)
{
	return addr - container_of(io, struct hv_device_region, io)->base;
}

/* The one line of an ISA device. The device's lock may be held. */
static inline void device_set_irq(struct hv_device *dev, unsigned int gsi, bool level)
{
	irq_set_level(dev->board->vm, HV_IRQ_SOURCE_DEVICE, gsi, level);
}

#endif
