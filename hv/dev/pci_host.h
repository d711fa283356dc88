/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PCI Express root: configuration space through 0xcf8/0xcfc and through
 * ECAM. A function is a struct hv_pci_function that its device registers.
 *
 * config_written runs inside the read-side section of the bus lookup, with the
 * host's device lock held: a function that has to change buses or memslots for
 * it (a BAR that moves) queues that.
 */
#ifndef HV_DEV_PCI_HOST_H
#define HV_DEV_PCI_HOST_H

#include "hv/dev/device.h"

#define HV_PCI_CONFIG_SIZE 4096

struct hv_pci_function;

struct hv_pci_function_ops {
	/* After the generic part has changed config[offset, offset + len). May be NULL. */
	void (*config_written)(struct hv_pci_function *f, unsigned int offset, unsigned int len);
};

/* Embedded in a device. [I] devfn, ops; the rest is the host's device lock's. */
struct hv_pci_function {
	const struct hv_pci_function_ops *ops;
	uint8_t devfn; /* bus 0: device in bits 3-7, function in bits 0-2 */
	uint8_t config[HV_PCI_CONFIG_SIZE];
	uint8_t writable[HV_PCI_CONFIG_SIZE]; /* bits that a write changes */
	uint8_t clearable[HV_PCI_CONFIG_SIZE]; /* bits that a write of 1 clears */
};

/* -EEXIST: the place is taken. Before the machine runs, or with its vCPUs paused. */
int pci_register(struct hv_board *board, struct hv_pci_function *f);
void pci_unregister(struct hv_board *board, struct hv_pci_function *f);

#endif
