/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host bridge of an empty PCI Express root bus, the two ways into
 * configuration space, and the reset control register, which lies between the
 * configuration address and data ports. PCI Express base specification, "PCI
 * Express Enhanced Configuration Access Mechanism"; Intel ICH9 data sheet,
 * "RST_CNT".
 */
#include "hv/dev/pci_host.h"

#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define PCI_PORT	 0xcf8
#define PCI_PORTS	 8
#define PCI_ADDR_ENABLE	 0x80000000U
#define PCI_FUNCTIONS	 256

#define RST_CPU	 0x04
#define RST_SYS	 0x02
#define RST_FULL 0x08

/* Intel's 82G33 memory controller hub, as which a q35 presents itself. */
#define HOST_VENDOR 0x8086
#define HOST_DEVICE 0x29c0

struct pci_host_state {
	uint32_t address;
	uint8_t reset_control;
	uint8_t padding[3];
};

struct pci_host {
	struct hv_device dev;
	struct hv_mutex pci_lock;	 /* functions' configuration, the address register */
	struct pci_host_state s;	 /* pci_lock */
	struct hv_pci_function *functions[PCI_FUNCTIONS]; /* pci_lock; bus 0 */
	struct hv_pci_function bridge;
};

static struct pci_host *host_of(struct hv_device *dev)
{
	return container_of(dev, struct pci_host, dev);
}

static struct hv_pci_function *pci_find(struct pci_host *h, unsigned int bus, unsigned int devfn)
{
	return bus == 0 ? h->functions[devfn & 0xff] : NULL;
}

static void config_read(struct pci_host *h, unsigned int bus, unsigned int devfn,
			unsigned int offset, unsigned int len, void *data)
{
	struct hv_pci_function *f = pci_find(h, bus, devfn);

	/* Nobody answers: all ones. */
	memset(data, 0xff, len);
	if (f && offset + len <= HV_PCI_CONFIG_SIZE)
		memcpy(data, f->config + offset, len);
}

static void config_write(struct pci_host *h, unsigned int bus, unsigned int devfn,
			 unsigned int offset, unsigned int len, const uint8_t *data)
{
	struct hv_pci_function *f = pci_find(h, bus, devfn);
	unsigned int i;

	if (!f || offset + len > HV_PCI_CONFIG_SIZE)
		return;
	for (i = 0; i < len; i++) {
		uint8_t *reg = &f->config[offset + i], mask = f->writable[offset + i];

		*reg = (uint8_t)((*reg & ~mask) | (data[i] & mask));
		*reg &= (uint8_t) ~(data[i] & f->clearable[offset + i]);
	}
	if (f->ops && f->ops->config_written)
		f->ops->config_written(f, offset, len);
}

/* ---- 0xcf8-0xcff ------------------------------------------------------------------ */

static int ports_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, void *data)
{
	struct pci_host *h = host_of(device_of_io(io));
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	uint32_t a;

	memset(data, 0xff, len);
	hv_mutex_lock(&h->pci_lock);
	a = h->s.address;
	if (offset == 0 && len == 4)
		memcpy(data, &a, 4);
	else if (offset == 1 && len == 1)
		*(uint8_t *)data = h->s.reset_control;
	else if (offset >= 4 && offset + len <= 8 && (a & PCI_ADDR_ENABLE))
		config_read(h, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + offset - 4, len, data);
	hv_mutex_unlock(&h->pci_lock);
	return 0;
}

/* The rising edge of RST_CPU resets, softly or with the whole system. */
static bool reset_control_write(struct pci_host *h, uint8_t value)
{
	bool reset = (value & ~h->s.reset_control) & RST_CPU;

	h->s.reset_control = value & (RST_SYS | RST_FULL);
	return reset;
}

static int ports_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		       unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct pci_host *h = host_of(dev);
	unsigned int offset = (unsigned int)device_io_offset(io, addr);
	bool reset = false;
	uint32_t a;

	hv_mutex_lock(&h->pci_lock);
	a = h->s.address;
	if (offset == 0 && len == 4) {
		memcpy(&h->s.address, data, 4);
		h->s.address &= 0x80fffffcU;
	} else if (offset == 1 && len == 1) {
		reset = reset_control_write(h, *(const uint8_t *)data);
	} else if (offset >= 4 && offset + len <= 8 && (a & PCI_ADDR_ENABLE)) {
		config_write(h, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + offset - 4, len, data);
	}
	hv_mutex_unlock(&h->pci_lock);
	if (reset)
		dev->board->ops->reset(dev->board->ctx, "reset control register");
	return 0;
}

/* ---- ECAM: bus in bits 20-27, devfn in 12-19, register in 0-11 ------------------------- */

static int ecam_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, void *data)
{
	struct pci_host *h = host_of(device_of_io(io));
	uint64_t o = device_io_offset(io, addr);

	hv_mutex_lock(&h->pci_lock);
	config_read(h, o >> 20 & 0xff, o >> 12 & 0xff, o & 0xfff, len, data);
	hv_mutex_unlock(&h->pci_lock);
	return 0;
}

static int ecam_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
		      unsigned int len, const void *data)
{
	struct pci_host *h = host_of(device_of_io(io));
	uint64_t o = device_io_offset(io, addr);

	hv_mutex_lock(&h->pci_lock);
	config_write(h, o >> 20 & 0xff, o >> 12 & 0xff, o & 0xfff, len, data);
	hv_mutex_unlock(&h->pci_lock);
	return 0;
}

static const struct hv_io_device_ops ports_ops = { .read = ports_read, .write = ports_write };
static const struct hv_io_device_ops ecam_ops = { .read = ecam_read, .write = ecam_write };

/* ---- functions ------------------------------------------------------------------------------ */

int pci_register(struct hv_board *board, struct hv_pci_function *f)
{
	struct hv_device *dev = device_find(board, pci_host_device.name);
	struct pci_host *h;
	int err = 0;

	if (!dev)
		return -ENODEV;
	h = host_of(dev);
	hv_mutex_lock(&h->pci_lock);
	if (h->functions[f->devfn])
		err = -EEXIST;
	else
		h->functions[f->devfn] = f;
	hv_mutex_unlock(&h->pci_lock);
	return err;
}

void pci_unregister(struct hv_board *board, struct hv_pci_function *f)
{
	struct hv_device *dev = device_find(board, pci_host_device.name);
	struct pci_host *h;

	if (!dev)
		return;
	h = host_of(dev);
	hv_mutex_lock(&h->pci_lock);
	if (h->functions[f->devfn] == f)
		h->functions[f->devfn] = NULL;
	hv_mutex_unlock(&h->pci_lock);
}

static void bridge_reset(struct hv_pci_function *f)
{
	memset(f->config, 0, sizeof(f->config));
	f->config[0] = HOST_VENDOR & 0xff;
	f->config[1] = HOST_VENDOR >> 8;
	f->config[2] = HOST_DEVICE & 0xff;
	f->config[3] = HOST_DEVICE >> 8;
	f->config[0x0b] = 0x06; /* class: bridge, host */
	f->writable[0x04] = 0x06; /* memory space, bus master */
	f->writable[0x3c] = 0xff; /* interrupt line */
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void host_reset(struct hv_device *dev)
{
	struct pci_host *h = host_of(dev);

	hv_mutex_lock(&h->pci_lock);
	memset(&h->s, 0, sizeof(h->s));
	bridge_reset(&h->bridge);
	hv_mutex_unlock(&h->pci_lock);
}

static int host_realize(struct hv_device *dev, const void *params)
{
	struct pci_host *h = host_of(dev);
	int err;

	hv_mutex_init(&h->pci_lock, HV_LC_DEVICE);
	h->functions[0] = &h->bridge;
	err = device_map(dev, HV_BUS_PIO, PCI_PORT, PCI_PORTS, &ports_ops);
	return err ? err : device_map(dev, HV_BUS_MMIO, HV_ECAM_BASE, HV_ECAM_SIZE, &ecam_ops);
}

static void host_save(struct hv_device *dev, void *state)
{
	struct pci_host *h = host_of(dev);

	hv_mutex_lock(&h->pci_lock);
	memcpy(state, &h->s, sizeof(h->s));
	hv_mutex_unlock(&h->pci_lock);
}

static int host_load(struct hv_device *dev, const void *state)
{
	struct pci_host *h = host_of(dev);
	struct pci_host_state s;

	memcpy(&s, state, sizeof(s));
	if ((s.address & ~0x80fffffcU) || (s.reset_control & ~(RST_SYS | RST_FULL)))
		return -EINVAL;
	hv_mutex_lock(&h->pci_lock);
	h->s = s;
	hv_mutex_unlock(&h->pci_lock);
	return 0;
}

static void host_destroy(struct hv_device *dev)
{
	hv_mutex_destroy(&host_of(dev)->pci_lock);
}

const struct hv_device_ops pci_host_device = {
	.name = "pci-host",
	.instance_size = sizeof(struct pci_host),
	.state_version = 1,
	.state_size = sizeof(struct pci_host_state),
	.realize = host_realize,
	.reset = host_reset,
	.save = host_save,
	.load = host_load,
	.destroy = host_destroy,
};
