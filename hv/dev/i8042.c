/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * As much of the 8042 keyboard controller as a PC without keyboard and mouse
 * has: its self-test, its command byte, the A20 gate, and the pulse of the
 * CPU's reset line; and port 0x92, the other way to A20 and reset. IBM PS/2
 * hardware interface technical reference, "Keyboard and auxiliary device
 * controller".
 *
 * A20 is remembered but never masks an address.
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define I8042_DATA   0x60
#define I8042_STATUS 0x64
#define PORT_92	     0x92

#define STATUS_OBF     0x01
#define STATUS_SYSTEM  0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCK  0x10

#define PORT_92_RESET 0x01
#define OUT_RESET     0x01 /* output port: 0 holds the CPU in reset */
#define OUT_A20	      0x02

struct i8042_state {
	uint8_t command_byte, output_port, port92;
	uint8_t pending_command; /* a command that waits for its data byte; 0: none */
	uint8_t data, data_full, status_command;
	uint8_t padding;
};

struct i8042 {
	struct hv_device dev;
	struct i8042_state s; /* device_lock */
};

static struct i8042 *i8042_of(struct hv_device *dev)
{
	return container_of(dev, struct i8042, dev);
}

static void i8042_reply(struct i8042_state *s, uint8_t value)
{
	s->data = value;
	s->data_full = 1;
}

/* True: reset the machine. */
static bool i8042_command(struct i8042_state *s, uint8_t command)
{
	s->status_command = 1;
	s->pending_command = 0;
	switch (command) {
	case 0x20:
		i8042_reply(s, s->command_byte);
		return false;
	case 0x60: /* each takes a byte */
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4:
		s->pending_command = command;
		return false;
	case 0xa9: /* test of the auxiliary port: no such port */
		i8042_reply(s, 0xff);
		return false;
	case 0xaa: /* self-test passed */
		i8042_reply(s, 0x55);
		return false;
	case 0xab: /* test of the keyboard port: fine */
		i8042_reply(s, 0x00);
		return false;
	case 0xad:
		s->command_byte |= 0x10;
		return false;
	case 0xae:
		s->command_byte &= 0xef;
		return false;
	case 0xd0:
		i8042_reply(s, s->output_port);
		return false;
	default:
		/* 0xf0-0xff pulse the output lines whose bit is 0; line 0 is reset. */
		return command >= 0xf0 && !(command & 1);
	}
}

/* True: reset the machine. */
static bool i8042_data(struct i8042_state *s, uint8_t value)
{
	uint8_t command = s->pending_command;

	s->status_command = 0;
	s->pending_command = 0;
	switch (command) {
	case 0x60:
		s->command_byte = value;
		return false;
	case 0xd1:
		s->output_port = value | OUT_RESET;
		return !(value & OUT_RESET);
	case 0xd2:
	case 0xd3:
		i8042_reply(s, value);
		return false;
	default: /* to the keyboard or the mouse, which are not there */
		return false;
	}
}

static int i8042_io_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			 unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct i8042_state *s = &i8042_of(dev)->s;
	uint8_t value;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	if (addr == I8042_DATA) {
		value = s->data;
		s->data_full = 0;
	} else if (addr == PORT_92) {
		value = s->port92;
	} else {
		value = (uint8_t)(STATUS_UNLOCK | STATUS_SYSTEM |
				  (s->data_full ? STATUS_OBF : 0) |
				  (s->status_command ? STATUS_COMMAND : 0));
	}
	hv_mutex_unlock(&dev->lock);
	*(uint8_t *)data = value;
	return 0;
}

static int i8042_io_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			  unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct i8042_state *s = &i8042_of(dev)->s;
	uint8_t value = *(const uint8_t *)data;
	bool reset;

	if (len != 1)
		return -EOPNOTSUPP;
	hv_mutex_lock(&dev->lock);
	if (addr == I8042_DATA) {
		reset = i8042_data(s, value);
	} else if (addr == PORT_92) {
		/* The reset bit acts on its rising edge. */
		reset = (value & ~s->port92) & PORT_92_RESET;
		s->port92 = value & 3;
		s->output_port = (uint8_t)((s->output_port & ~OUT_A20) | (value & OUT_A20));
	} else {
		reset = i8042_command(s, value);
	}
	hv_mutex_unlock(&dev->lock);
	if (reset)
		dev->board->ops->reset(dev->board->ctx,
				       addr == PORT_92 ? "port 0x92" : "keyboard controller");
	return 0;
}

static const struct hv_io_device_ops i8042_io_ops = {
	.read = i8042_io_read,
	.write = i8042_io_write,
};

static void i8042_reset(struct hv_device *dev)
{
	struct i8042_state *s = &i8042_of(dev)->s;

	hv_mutex_lock(&dev->lock);
	memset(s, 0, sizeof(*s));
	s->output_port = OUT_RESET | OUT_A20;
	s->port92 = OUT_A20;
	s->command_byte = 0x74; /* translate, both ports off, system flag */
	hv_mutex_unlock(&dev->lock);
}

static int i8042_realize(struct hv_device *dev, const void *params)
{
	int err = device_map(dev, HV_BUS_PIO, I8042_DATA, 1, &i8042_io_ops);

	if (!err)
		err = device_map(dev, HV_BUS_PIO, I8042_STATUS, 1, &i8042_io_ops);
	return err ? err : device_map(dev, HV_BUS_PIO, PORT_92, 1, &i8042_io_ops);
}

static void i8042_save(struct hv_device *dev, void *state)
{
	hv_mutex_lock(&dev->lock);
	memcpy(state, &i8042_of(dev)->s, sizeof(struct i8042_state));
	hv_mutex_unlock(&dev->lock);
}

static int i8042_load(struct hv_device *dev, const void *state)
{
	struct i8042_state s;

	memcpy(&s, state, sizeof(s));
	if (s.data_full > 1 || s.status_command > 1 || s.port92 > 3)
		return -EINVAL;
	hv_mutex_lock(&dev->lock);
	i8042_of(dev)->s = s;
	hv_mutex_unlock(&dev->lock);
	return 0;
}

const struct hv_device_ops i8042_device = {
	.name = "i8042",
	.instance_size = sizeof(struct i8042),
	.state_version = 1,
	.state_size = sizeof(struct i8042_state),
	.realize = i8042_realize,
	.reset = i8042_reset,
	.save = i8042_save,
	.load = i8042_load,
};
