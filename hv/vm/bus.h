/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device buses: port I/O and MMIO ranges, looked up under RCU, changed under
 * slots_lock (KVM's rule for kvm->buses).
 */
#ifndef HV_VM_BUS_H
#define HV_VM_BUS_H

#include "hv/vm/vm.h"

struct hv_io_device;

/* 0: handled. -EOPNOTSUPP: not mine, ask the next device of the same range. */
struct hv_io_device_ops {
	int (*read)(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr, unsigned int len,
		    void *data);
	int (*write)(struct hv_io_device *dev, struct hv_vcpu *vcpu, uint64_t addr,
		     unsigned int len, const void *data);
};

/* Embedded in a device; the device owns it and must outlive bus_unregister's grace period. */
struct hv_io_device {
	const struct hv_io_device_ops *ops;
	const char *name;
};

/* Takes slots_lock. -EEXIST: the range overlaps another device's. */
int bus_register(struct hv_vm *vm, enum hv_bus_kind bus, uint64_t addr, uint64_t len,
		 struct hv_io_device *dev);
int bus_unregister(struct hv_vm *vm, enum hv_bus_kind bus, struct hv_io_device *dev);
/* -EOPNOTSUPP: no device there. Takes the RCU read side itself. */
int bus_read(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	     unsigned int len, void *data);
int bus_write(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	      unsigned int len, const void *data);

#endif
