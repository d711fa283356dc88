/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of hv/vm share among themselves.
 */
#ifndef HV_VM_VM_INTERNAL_H
#define HV_VM_VM_INTERNAL_H

#include "hv/vm/vm.h"

/* hardware.c; see the lock table for both. */
extern struct hv_rwlock hv_cpus_lock; /* cpus_read_lock: shared; hotplug: exclusive */
extern struct hv_mutex hv_lock;
extern struct cds_list_head hv_vm_list; /* [L] */

/* hardware_init() with a given set of CPUs, HARDWARE_CPUS_MAX bits. -EINVAL: empty. */
#define HARDWARE_CPUS_MAX 1024
int hardware_init_cpus(const uint64_t *present);

/*
 * Places where a test of a race stops one side to let the other run. They exist only in
 * sources that a test program compiles for itself.
 */
#ifdef HV_TEST_POINTS
void hv_test_point(const char *where);
#else
static inline void hv_test_point(const char *where)
{
}
#endif

/* bus.c, irq_routing.c, tsc.c, dirty.c: the VM's part of each; destroy takes half-built VMs. */
int bus_vm_create(struct hv_vm *vm);
void bus_vm_destroy(struct hv_vm *vm);
int irq_routing_vm_create(struct hv_vm *vm);
void irq_routing_vm_destroy(struct hv_vm *vm);
int tsc_vm_create(struct hv_vm *vm);
void tsc_vm_destroy(struct hv_vm *vm);

/* request.c: mode, counters and wait words of a new vCPU. */
void request_vcpu_init(struct hv_vcpu *vcpu);

#endif
