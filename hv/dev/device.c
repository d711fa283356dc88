/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Life cycle of device models, and the ranges that they claim.
 */
#include "hv/dev/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void device_destroy(struct hv_device *dev)
{
	unsigned int i;

	/* After the grace period of each call no access is under way. */
	for (i = dev->nr_regions; i-- > 0;)
		bus_unregister(dev->board->vm, dev->regions[i].bus, &dev->regions[i].io);
	if (dev->ops->destroy)
		dev->ops->destroy(dev);
	hv_mutex_destroy(&dev->lock);
	free(dev);
}

int device_add(struct hv_board *board, const struct hv_device_ops *ops, const void *params,
	       struct hv_device **out)
{
	struct hv_device *dev;
	int err;

	if (board->nr_devices == HV_BOARD_DEVICES_MAX)
		return -ENOSPC;
	dev = calloc(1, ops->instance_size);
	if (!dev)
		return -ENOMEM;
	dev->ops = ops;
	dev->board = board;
	hv_mutex_init(&dev->lock, HV_LC_DEVICE);
	err = ops->realize(dev, params);
	if (err) {
		device_destroy(dev);
		return err;
	}
	if (ops->reset)
		ops->reset(dev);
	board->devices[board->nr_devices++] = dev;
	if (out)
		*out = dev;
	return 0;
}

int device_map(struct hv_device *dev, enum hv_bus_kind bus, uint64_t base, uint64_t len,
	       const struct hv_io_device_ops *io)
{
	struct hv_device_region *r;
	int err;

	if (dev->nr_regions == HV_DEVICE_REGIONS_MAX)
		return -ENOSPC;
	r = &dev->regions[dev->nr_regions];
	*r = (struct hv_device_region){
		.io = { .ops = io, .name = dev->ops->name },
		.dev = dev,
		.bus = bus,
		.base = base,
		.len = len,
	};
	err = bus_register(dev->board->vm, bus, base, len, &r->io);
	if (!err)
		dev->nr_regions++;
	return err;
}

struct hv_device *device_find(struct hv_board *board, const char *name)
{
	unsigned int i;

	for (i = 0; i < board->nr_devices; i++) {
		if (!strcmp(board->devices[i]->ops->name, name))
			return board->devices[i];
	}
	return NULL;
}

void board_reset(struct hv_board *board)
{
	unsigned int i;

	for (i = 0; i < board->nr_devices; i++) {
		if (board->devices[i]->ops->reset)
			board->devices[i]->ops->reset(board->devices[i]);
	}
}

void board_destroy(struct hv_board *board)
{
	while (board->nr_devices)
		device_destroy(board->devices[--board->nr_devices]);
}
