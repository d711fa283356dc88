/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device that kvm-unit-tests know as pc-testdev: a 32-bit latch at 0xe0,
 * a port that makes the host drop a page (0xe4), interrupt lines 0-23 at
 * 0x2000, and 64 KiB of MMIO that behave like RAM at 0xff000000.
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define TESTDEV_LATCH_PORT 0xe0
#define TESTDEV_FLUSH_PORT 0xe4
#define TESTDEV_IRQ_PORT   0x2000
#define TESTDEV_IRQS	   24
#define TESTDEV_MMIO_BASE  0xff000000ULL
#define TESTDEV_MMIO_SIZE  0x10000

struct pc_testdev_state {
	uint32_t latch;
	uint32_t lines;
	uint8_t mmio[TESTDEV_MMIO_SIZE];
};

struct pc_testdev {
	struct hv_device dev;
	struct pc_testdev_state s; /* device_lock */
};

static struct pc_testdev *testdev_of(struct hv_io_device *io)
{
	return container_of(device_of_io(io), struct pc_testdev, dev);
}

static int latch_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, void *data)
{
	struct pc_testdev *t = testdev_of(io);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);

	if (offset + len > 4)
		return -EOPNOTSUPP;
	hv_mutex_lock(&t->dev.lock);
	memcpy(data, (uint8_t *)&t->s.latch + offset, len);
	hv_mutex_unlock(&t->dev.lock);
	return 0;
}

static int latch_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, const void *data)
{
	struct pc_testdev *t = testdev_of(io);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);

	if (offset + len > 4)
		return -EOPNOTSUPP;
	hv_mutex_lock(&t->dev.lock);
	memcpy((uint8_t *)&t->s.latch + offset, data, len);
	hv_mutex_unlock(&t->dev.lock);
	return 0;
}

/* The page reads the same afterwards; the guest only sees that its translations are made anew. */
static int flush_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, const void *data)
{
	if (vcpu)
		vcpu_make_request(vcpu, HV_REQ_TLB_FLUSH);
	return 0;
}

static int flush_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, void *data)
{
	memset(data, 0, len);
	return 0;
}

static int line_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, const void *data)
{
	struct pc_testdev *t = testdev_of(io);
	unsigned int line = (unsigned int)device_io_offset(io, addr);
	uint32_t value = 0;

	memcpy(&value, data, len < 4 ? len : 4);
	hv_mutex_lock(&t->dev.lock);
	if (value)
		t->s.lines |= 1U << line;
	else
		t->s.lines &= ~(1U << line);
	irq_set_level(t->dev.board->vm, HV_IRQ_SOURCE_DEVICE, line, value != 0);
	hv_mutex_unlock(&t->dev.lock);
	return 0;
}

static int line_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, void *data)
{
	memset(data, 0, len);
	return 0;
}

static int mmio_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, void *data)
{
	struct pc_testdev *t = testdev_of(io);
	uint64_t offset = device_io_offset(io, addr);

	if (offset + len > TESTDEV_MMIO_SIZE)
		return -EOPNOTSUPP;
	hv_mutex_lock(&t->dev.lock);
	memcpy(data, t->s.mmio + offset, len);
	hv_mutex_unlock(&t->dev.lock);
	return 0;
}

static int mmio_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, const void *data)
{
	struct pc_testdev *t = testdev_of(io);
	uint64_t offset = device_io_offset(io, addr);

	if (offset + len > TESTDEV_MMIO_SIZE)
		return -EOPNOTSUPP;
	hv_mutex_lock(&t->dev.lock);
	memcpy(t->s.mmio + offset, data, len);
	hv_mutex_unlock(&t->dev.lock);
	return 0;
}

static const struct hv_io_device_ops latch_ops = { .read = latch_read, .write = latch_write };
static const struct hv_io_device_ops flush_ops = { .read = flush_read, .write = flush_write };
static const struct hv_io_device_ops line_ops = { .read = line_read, .write = line_write };
static const struct hv_io_device_ops mmio_ops = { .read = mmio_read, .write = mmio_write };

static void testdev_reset(struct hv_device *dev)
{
	struct pc_testdev *t = container_of(dev, struct pc_testdev, dev);

	hv_mutex_lock(&dev->lock);
	memset(&t->s, 0, sizeof(t->s));
	hv_mutex_unlock(&dev->lock);
}

static int testdev_realize(struct hv_device *dev, const void *params)
{
	int err = device_map(dev, HV_BUS_PIO, TESTDEV_LATCH_PORT, 4, &latch_ops);

	if (!err)
		err = device_map(dev, HV_BUS_PIO, TESTDEV_FLUSH_PORT, 4, &flush_ops);
	if (!err)
		err = device_map(dev, HV_BUS_PIO, TESTDEV_IRQ_PORT, TESTDEV_IRQS, &line_ops);
	if (!err)
		err = device_map(dev, HV_BUS_MMIO, TESTDEV_MMIO_BASE, TESTDEV_MMIO_SIZE, &mmio_ops);
	return err;
}

const struct hv_device_ops pc_testdev_device = {
	.name = "pc-testdev",
	.instance_size = sizeof(struct pc_testdev),
	.realize = testdev_realize,
	.reset = testdev_reset,
};
