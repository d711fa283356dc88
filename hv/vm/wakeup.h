/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocked vCPUs that a posted interrupt may wake: one list per host CPU, under
 * that CPU's wakeup_vcpus_on_cpu_lock. The wake-up notification of a CPU walks
 * its list and wakes each vCPU whose posted-interrupt descriptor has ON set.
 */
#ifndef HV_VM_WAKEUP_H
#define HV_VM_WAKEUP_H

#include "hv/vm/vm.h"

int wakeup_init(unsigned int nr_cpus); /* by hardware_init */
void wakeup_exit(void);		       /* every list must be empty */
/*
 * By vcpu_block, on the vCPU's thread. After add, look at the descriptor again before
 * sleeping (vcpu_block does): an interrupt posted before add notified nobody.
 */
void wakeup_add(struct hv_vcpu *vcpu, unsigned int cpu);
void wakeup_del(struct hv_vcpu *vcpu); /* no-op when it is on no list */
/* The notification vector of a host CPU: any thread, no lock of the vCPUs. Number woken. */
unsigned int wakeup_notify(unsigned int cpu);

#endif
