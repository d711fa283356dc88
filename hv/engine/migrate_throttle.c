/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking time from the vCPUs, so that a migration catches up with a guest that
 * writes faster than its pages go: after each slice that they run, a timer has
 * them leave guest mode and sleep in proportion.
 */
#include <errno.h>

#include "hv/base/clock.h"
#include "hv/engine/machine_internal.h"
#include "hv/vm/vm.h"

#define SLICE_NS    (10 * HV_NSEC_PER_MSEC)
#define PERCENT_MAX 99U

static void throttle_fn(struct hv_timer *timer)
{
	struct hv_machine *m = container_of(timer, struct hv_machine, throttle_timer);
	unsigned int percent = atomic_load(&m->throttle_percent), i;
	uint64_t sleep;

	if (!percent)
		return;
	sleep = SLICE_NS * percent / (100 - percent);
	for (i = 0; i < m->nr_vcpus; i++) {
		atomic_store(&m->vcpus[i].throttle_ns, sleep);
		vcpu_make_request(m->vcpus[i].vcpu, HV_REQ_PAUSE);
		vcpu_kick(m->vcpus[i].vcpu);
	}
	hv_timer_arm(timer, hv_timer_now() + SLICE_NS + sleep);
}

int machine_throttle_init(struct hv_machine *m)
{
	int err = hv_timer_init(&m->throttle_timer, irqchip_timers(m->vm), throttle_fn);

	m->has_throttle = !err;
	return err;
}

void machine_throttle_destroy(struct hv_machine *m)
{
	if (!m->has_throttle)
		return;
	atomic_store(&m->throttle_percent, 0);
	hv_timer_destroy(&m->throttle_timer);
	m->has_throttle = false;
}

void machine_throttle(struct hv_machine *m, unsigned int percent)
{
	unsigned int i;

	atomic_store(&m->throttle_percent, percent < PERCENT_MAX ? percent : PERCENT_MAX);
	if (percent) {
		hv_timer_arm(&m->throttle_timer, hv_timer_now() + SLICE_NS);
		return;
	}
	hv_timer_cancel(&m->throttle_timer);
	for (i = 0; i < m->nr_vcpus; i++)
		atomic_store(&m->vcpus[i].throttle_ns, 0);
	hv_mutex_lock(&m->lock);
	hv_cond_broadcast(&m->changed);
	hv_mutex_unlock(&m->lock);
}

void machine_throttle_wait(struct machine_vcpu *mv)
{
	uint64_t ns = atomic_load_explicit(&mv->throttle_ns, memory_order_relaxed), until;
	struct hv_machine *m = mv->m;

	if (!ns)
		return;
	until = hv_clock_ns() + ns;
	hv_mutex_lock(&m->lock);
	while (m->run == MACHINE_RUNNING && atomic_load(&mv->throttle_ns) &&
	       hv_cond_wait_until(&m->changed, &m->lock, until))
		;
	hv_mutex_unlock(&m->lock);
	atomic_store(&mv->throttle_ns, 0);
}
