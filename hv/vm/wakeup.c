/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Per-CPU lists of blocked vCPUs with posted interrupts; see wakeup.h.
 */
#include "hv/vm/wakeup.h"

#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/base/list.h"

struct wakeup_cpu {
	struct hv_spinlock lock;    /* wakeup_vcpus_on_cpu_lock */
	struct cds_list_head vcpus; /* under lock */
};

/* [I] between wakeup_init and wakeup_exit; one entry per host CPU. */
static struct wakeup_cpu *wakeup_cpus;
static unsigned int wakeup_nr_cpus;

int wakeup_init(unsigned int nr_cpus)
{
	unsigned int i;

	wakeup_cpus = hv_calloc(nr_cpus, sizeof(*wakeup_cpus));
	if (!wakeup_cpus)
		return -ENOMEM;
	for (i = 0; i < nr_cpus; i++) {
		hv_spinlock_init(&wakeup_cpus[i].lock, HV_LC_WAKEUP_VCPUS);
		CDS_INIT_LIST_HEAD(&wakeup_cpus[i].vcpus);
	}
	wakeup_nr_cpus = nr_cpus;
	return 0;
}

void wakeup_exit(void)
{
	unsigned int i;

	for (i = 0; i < wakeup_nr_cpus; i++) {
		HV_BUG_ON(!cds_list_empty(&wakeup_cpus[i].vcpus));
		hv_spinlock_destroy(&wakeup_cpus[i].lock);
	}
	hv_free(wakeup_cpus);
	wakeup_cpus = NULL;
	wakeup_nr_cpus = 0;
}

void wakeup_add(struct hv_vcpu *vcpu, unsigned int cpu)
{
	struct wakeup_cpu *w = &wakeup_cpus[cpu];

	HV_BUG_ON(cpu >= wakeup_nr_cpus || vcpu->wakeup_cpu != -1);
	hv_spin_lock(&w->lock);
	cds_list_add_tail(&vcpu->wakeup_link, &w->vcpus);
	hv_spin_unlock(&w->lock);
	vcpu->wakeup_cpu = (int)cpu;
}

void wakeup_del(struct hv_vcpu *vcpu)
{
	struct wakeup_cpu *w;

	if (vcpu->wakeup_cpu < 0)
		return;
	w = &wakeup_cpus[vcpu->wakeup_cpu];
	hv_spin_lock(&w->lock);
	cds_list_del(&vcpu->wakeup_link);
	hv_spin_unlock(&w->lock);
	vcpu->wakeup_cpu = -1;
}

unsigned int wakeup_notify(unsigned int cpu)
{
	struct wakeup_cpu *w;
	struct hv_vcpu *vcpu;
	unsigned int woken = 0;

	if (cpu >= wakeup_nr_cpus)
		return 0;
	w = &wakeup_cpus[cpu];
	hv_spin_lock(&w->lock);
	cds_list_for_each_entry(vcpu, &w->vcpus, wakeup_link) {
		bool (*pending)(struct hv_vcpu *) = vcpu->vm->vendor->posted_pending;

		if (!pending || pending(vcpu)) {
			vcpu_wake_up(vcpu);
			woken++;
		}
	}
	hv_spin_unlock(&w->lock);
	return woken;
}
