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

int hardware_init(void);   /* host CPU set from the affinity mask; call once */
void hardware_exit(void);  /* asserts that no VM is left */
/* Load a vendor module on a processor, under vendor_module_lock. -EOPNOTSUPP, -EBUSY. */
int hardware_load_vendor(const struct hv_vendor_ops *vendor, const struct hv_processor_ops *processor);
int hardware_enable_all(const struct hv_vendor_ops *vendor);
void hardware_disable_all(const struct hv_vendor_ops *vendor);
/* Host CPU hotplug: from kernel uevents or the API. */
int hardware_cpu_online(unsigned int cpu);
int hardware_cpu_offline(unsigned int cpu); /* -EBUSY: the last one */
/* Host suspend and resume; vCPUs are frozen first; hv_lock must not be held. */
void hardware_suspend(void);
int hardware_resume(void);
bool hardware_cpu_enabled(unsigned int cpu);
/* A CPU where enabling succeeded, for a vCPU that is being loaded; -ENODEV: none. */
int hardware_pick_cpu(unsigned int preferred);
unsigned int hardware_usage_count(void); /* takes hv_lock; for tests and the API */

#endif
