/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hardware enable and disable (seed: usage count). hv_lock protects the usage
 * count, the VM list and the per-CPU enabled state; it is taken inside
 * cpus_read_lock. The first VM enables virtualization on every online CPU, the
 * last one disables it; a failure on one CPU rolls the others back.
 */
#ifndef HV_VM_HARDWARE_H
#define HV_VM_HARDWARE_H

#include "hv/vm/vendor.h"

struct hv_vcpu;

int hardware_init(void);   /* host CPU set from the affinity mask; call once */
void hardware_exit(void);  /* asserts that no VM is left */
/* Load a vendor module on a processor, under vendor_module_lock. -EOPNOTSUPP, -EBUSY. */
int hardware_load_vendor(const struct hv_vendor_ops *vendor,
			 const struct hv_processor_ops *processor);
int hardware_unload_vendor(const struct hv_vendor_ops *vendor); /* -EBUSY: in use, -ENOENT */
int hardware_enable_all(const struct hv_vendor_ops *vendor);
void hardware_disable_all(const struct hv_vendor_ops *vendor);
/* Host CPU hotplug: from kernel uevents or the API. */
int hardware_cpu_online(unsigned int cpu);
int hardware_cpu_offline(unsigned int cpu); /* -EBUSY: the last one */
/*
 * Host suspend and resume. suspend freezes the loaded vCPUs first, then disables
 * every CPU without hv_lock, which nobody may hold then: the usage count is steady
 * because CPU hotplug is excluded. -EALREADY. resume: -EIO if a CPU does not come
 * back (it is left offline for vCPUs).
 */
int hardware_suspend(void);
int hardware_resume(void);
bool hardware_cpu_enabled(unsigned int cpu);
/* A CPU where enabling succeeded, for a vCPU that is being loaded; -ENODEV: none. */
int hardware_pick_cpu(unsigned int preferred);
/*
 * A vCPU's thread enters and leaves the loaded state, around vendor->vcpu_load and
 * vcpu_put. While a vCPU is loaded, virtualization stays enabled on its CPU: an
 * offline or a suspend sends HV_REQ_CPU_MOVE to it and waits for the put. The
 * thread answers that request with put, load (and the vendor's hooks between).
 * load: returns the CPU and sets vcpu->cpu; waits while the host is suspended;
 * -ENODEV: no enabled CPU; -EINTR: the VM is dead. vcpu->mutex held, no RCU read side.
 */
int hardware_vcpu_load(struct hv_vcpu *vcpu, unsigned int preferred);
void hardware_vcpu_put(struct hv_vcpu *vcpu);
unsigned int hardware_usage_count(void); /* takes hv_lock; for tests and the API */
unsigned int hardware_nr_cpus(void);	 /* highest CPU number + 1; fixed by hardware_init */
bool hardware_cpu_is_online(unsigned int cpu);

#endif
