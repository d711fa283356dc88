/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fw_cfg: what a guest without firmware asks about its machine. QEMU's
 * documentation "QEMU Firmware Configuration (fw_cfg) Device" describes the
 * interface: a 16-bit selector at 0x510, a byte-wide data port at 0x511. There
 * is no DMA and there are no files (the directory is empty).
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID	 0x01
#define FW_CFG_RAM_SIZE	 0x03
#define FW_CFG_NB_CPUS	 0x05
#define FW_CFG_MAX_CPUS	 0x0f
#define FW_CFG_MAX_RAM	 0x11 /* not QEMU's: test guests ask for the end of RAM */
#define FW_CFG_FILE_DIR	 0x19

struct fw_cfg_state {
	uint16_t selector;
	uint16_t padding;
	uint32_t offset; /* next byte of the selected item */
};

struct fw_cfg {
	struct hv_device dev;
	struct fw_cfg_state s; /* device_lock */
};

static struct fw_cfg *fw_cfg_of(struct hv_device *dev)
{
	return container_of(dev, struct fw_cfg, dev);
}

/* An item, little endian but for the signature; returns its length. */
static unsigned int fw_cfg_item(const struct hv_board *board, uint16_t selector, uint8_t out[8])
{
	uint64_t value = 0;
	unsigned int len;

	switch (selector) {
	case FW_CFG_SIGNATURE:
		memcpy(out, "QEMU", 4);
		return 4;
	case FW_CFG_ID: /* the traditional interface only */
		value = 1;
		len = 4;
		break;
	case FW_CFG_RAM_SIZE:
		value = board->ram_low + board->ram_high;
		len = 8;
		break;
	case FW_CFG_NB_CPUS:
	case FW_CFG_MAX_CPUS:
		value = board->vcpus;
		len = 2;
		break;
	case FW_CFG_MAX_RAM:
		value = board->ram_high ? HV_RAM_HIGH_BASE + board->ram_high : board->ram_low;
		len = 8;
		break;
	case FW_CFG_FILE_DIR: /* big-endian number of files: none */
		len = 4;
		break;
	default:
		return 0;
	}
	memcpy(out, &value, len);
	return len;
}

static int fw_cfg_io_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			  unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct fw_cfg_state *s = &fw_cfg_of(dev)->s;
	uint8_t item[8], *out = data;
	unsigned int size, i;

	if (addr != HV_FW_CFG_PORT + 1)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	size = fw_cfg_item(dev->board, s->selector, item);
	for (i = 0; i < len; i++)
		out[i] = s->offset < size ? item[s->offset++] : 0;
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static int fw_cfg_io_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			   unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct fw_cfg_state *s = &fw_cfg_of(dev)->s;
	uint32_t value = 0;

	/* Items are read-only; a selector may be written by a wider access. */
	if (addr != HV_FW_CFG_PORT)
		return 0;
	memcpy(&value, data, len);
	hv_mutex_lock(&dev->lock);
	s->selector = (uint16_t)value;
	s->offset = 0;
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static const struct hv_io_device_ops fw_cfg_io_ops = {
	.read = fw_cfg_io_read,
	.write = fw_cfg_io_write,
};

static void fw_cfg_reset(struct hv_device *dev)
{
	hv_mutex_lock(&dev->lock);
	memset(&fw_cfg_of(dev)->s, 0, sizeof(struct fw_cfg_state));
	hv_mutex_unlock(&dev->lock);
}

static int fw_cfg_realize(struct hv_device *dev, const void *params)
{
	return device_map(dev, HV_BUS_PIO, HV_FW_CFG_PORT, 2, &fw_cfg_io_ops);
}

static void fw_cfg_save(struct hv_device *dev, void *state)
{
	hv_mutex_lock(&dev->lock);
	memcpy(state, &fw_cfg_of(dev)->s, sizeof(struct fw_cfg_state));
	hv_mutex_unlock(&dev->lock);
}

static int fw_cfg_load(struct hv_device *dev, const void *state)
{
	struct fw_cfg_state s;

	memcpy(&s, state, sizeof(s));
	if (s.offset > 8)
		return -EINVAL;
	hv_mutex_lock(&dev->lock);
	fw_cfg_of(dev)->s = s;
	hv_mutex_unlock(&dev->lock);
	return 0;
}

const struct hv_device_ops fw_cfg_device = {
	.name = "fw_cfg",
	.instance_size = sizeof(struct fw_cfg),
	.state_version = 1,
	.state_size = sizeof(struct fw_cfg_state),
	.realize = fw_cfg_realize,
	.reset = fw_cfg_reset,
	.save = fw_cfg_save,
	.load = fw_cfg_load,
};
