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

#define HV_BUS_DEVICES_MAX 1000 /* per bus, as KVM's NR_IOBUS_DEVS */

/*
 * Both take slots_lock and wait for a grace period. Devices may share exactly the
 * same range and are asked in the order of registration. -EEXIST: another overlap;
 * -EINVAL: empty or wrapping range; -ENOSPC: HV_BUS_DEVICES_MAX; -ENOMEM.
 * unregister only fails with -ENOENT; on return nobody calls the device any more.
 */
int bus_register(struct hv_vm *vm, enum hv_bus_kind bus, uint64_t addr, uint64_t len,
		 struct hv_io_device *dev);
int bus_unregister(struct hv_vm *vm, enum hv_bus_kind bus, struct hv_io_device *dev);
/*
 * -EOPNOTSUPP: no device there that takes it. An access that is not wholly inside a
 * device's range is nobody's. Takes the RCU read side itself, so a device's read and
 * write may take only locks that may be taken inside one.
 */
int bus_read(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	     unsigned int len, void *data);
int bus_write(struct hv_vm *vm, struct hv_vcpu *vcpu, enum hv_bus_kind bus, uint64_t addr,
	      unsigned int len, const void *data);

#endif
