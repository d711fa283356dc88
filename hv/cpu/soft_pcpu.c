/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * State of each host CPU: whether it is in VMX operation, whether SVM is
 * enabled. Enabling and disabling is serialised by the caller (hv_lock); logical
 * processors read it without a lock, as an instruction would.
 */
#include <errno.h>
#include <stdlib.h>

#include "hv/cpu/soft_internal.h"

/* Legend: [A] atomic; written under the caller's hv_lock. */
struct soft_pcpu {
	uint64_t vmxon_region;	/* [A] 0: not in VMX operation */
	uint64_t hsave;		/* [A] VM_HSAVE_PA */
	uint32_t svme;		/* [A] EFER.SVME */
};

static struct soft_pcpu *pcpus;	/* [I] between soft_pcpu_init() and soft_pcpu_exit() */
static unsigned int pcpu_count;	/* [I] */

int soft_pcpu_init(unsigned int nr_cpus)
{
	if (pcpus)
		return -EBUSY;
	if (nr_cpus == 0)
		return -EINVAL;
	pcpus = calloc(nr_cpus, sizeof(*pcpus));
	if (!pcpus)
		return -ENOMEM;
	pcpu_count = nr_cpus;
	return 0;
}

void soft_pcpu_exit(void)
{
	free(pcpus);
	pcpus = NULL;
	pcpu_count = 0;
}

static struct soft_pcpu *pcpu_get(int cpu)
{
	return cpu >= 0 && (unsigned int)cpu < pcpu_count ? &pcpus[cpu] : NULL;
}

int soft_pcpu_vmxon(unsigned int cpu, uint64_t region)
{
	struct soft_pcpu *p = pcpu_get((int)cpu);
	uint32_t revision;

	if (!p)
		return -ENODEV;
	if (__atomic_load_n(&p->vmxon_region, __ATOMIC_RELAXED))
		return -EBUSY;
	if (region == 0 || (region & 0xfff) || (region >> SOFT_MAXPHYADDR))
		return -EINVAL;
	revision = *(const uint32_t *)region;
	if (revision != SOFT_VMCS_REVISION)
		return -EINVAL;
	__atomic_store_n(&p->vmxon_region, region, __ATOMIC_RELEASE);
	return 0;
}

int soft_pcpu_vmxoff(unsigned int cpu)
{
	struct soft_pcpu *p = pcpu_get((int)cpu);

	if (!p)
		return -ENODEV;
	if (!__atomic_load_n(&p->vmxon_region, __ATOMIC_RELAXED))
		return -EINVAL;
	__atomic_store_n(&p->vmxon_region, 0, __ATOMIC_RELEASE);
	return 0;
}

uint64_t soft_pcpu_vmxon_region(int cpu)
{
	const struct soft_pcpu *p = pcpu_get(cpu);

	return p ? __atomic_load_n(&p->vmxon_region, __ATOMIC_ACQUIRE) : 0;
}

int soft_pcpu_svm_enable(unsigned int cpu, uint64_t hsave)
{
	struct soft_pcpu *p = pcpu_get((int)cpu);

	if (!p)
		return -ENODEV;
	if (__atomic_load_n(&p->svme, __ATOMIC_RELAXED))
		return -EBUSY;
	if (hsave == 0 || (hsave & 0xfff) || (hsave >> SOFT_MAXPHYADDR))
		return -EINVAL;
	__atomic_store_n(&p->hsave, hsave, __ATOMIC_RELAXED);
	__atomic_store_n(&p->svme, 1, __ATOMIC_RELEASE);
	return 0;
}

int soft_pcpu_svm_disable(unsigned int cpu)
{
	struct soft_pcpu *p = pcpu_get((int)cpu);

	if (!p)
		return -ENODEV;
	if (!__atomic_load_n(&p->svme, __ATOMIC_RELAXED))
		return -EINVAL;
	__atomic_store_n(&p->svme, 0, __ATOMIC_RELEASE);
	return 0;
}

bool soft_pcpu_svme(int cpu)
{
	const struct soft_pcpu *p = pcpu_get(cpu);

	return p && __atomic_load_n(&p->svme, __ATOMIC_ACQUIRE);
}
