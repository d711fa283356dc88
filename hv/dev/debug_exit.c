/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Devices that test guests and panicking kernels talk to, with no state:
 * debug-exit (0xf4: a write ends the run with the value) and pvpanic (0x505,
 * QEMU's documentation "PVPANIC DEVICE").
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02
#define PVPANIC_SUPPORTED    (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

static int debug_exit_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			    unsigned int len, const void *data)
{
	struct hv_board *board = device_of_io(io)->board;
	uint32_t code = 0;

	memcpy(&code, data, len < 4 ? len : 4);
	board->ops->debug_exit(board->ctx, code);
	return 0;
}

static int debug_exit_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			   unsigned int len, void *data)
{
	memset(data, 0, len);
	return 0;
}

static const struct hv_io_device_ops debug_exit_io_ops = {
	.read = debug_exit_read,
	.write = debug_exit_write,
};

static int debug_exit_realize(struct hv_device *dev, const void *params)
{
	return device_map(dev, HV_BUS_PIO, HV_DEBUG_EXIT_PORT, 4, &debug_exit_io_ops);
}

const struct hv_device_ops debug_exit_device = {
	.name = "debug-exit",
	.instance_size = sizeof(struct hv_device),
	.realize = debug_exit_realize,
};

static int pvpanic_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			unsigned int len, void *data)
{
	memset(data, 0, len);
	*(uint8_t *)data = PVPANIC_SUPPORTED;
	return 0;
}

static int pvpanic_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			 unsigned int len, const void *data)
{
	struct hv_board *board = device_of_io(io)->board;
	uint8_t value = *(const uint8_t *)data;

	if (value & PVPANIC_PANICKED)
		board->ops->panic(board->ctx, "the guest panicked");
	else if (value & PVPANIC_CRASH_LOADED)
		board->ops->panic(board->ctx, "the guest panicked and runs its crash kernel");
	return 0;
}

static const struct hv_io_device_ops pvpanic_io_ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
};

static int pvpanic_realize(struct hv_device *dev, const void *params)
{
	return device_map(dev, HV_BUS_PIO, HV_PVPANIC_PORT, 1, &pvpanic_io_ops);
}

const struct hv_device_ops pvpanic_device = {
	.name = "pvpanic",
	.instance_size = sizeof(struct hv_device),
	.realize = pvpanic_realize,
};
