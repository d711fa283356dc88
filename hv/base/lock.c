/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Condition variables. (Mutexes and spinlocks are inline in lock.h; the
 * reader-writer lock is rwlock.c.)
 */
#include "hv/base/lock.h"

#include <errno.h>
#include <time.h>

void hv_cond_init(struct hv_cond *c)
{
	pthread_condattr_t attr;

	HV_BUG_ON(pthread_condattr_init(&attr));
	HV_BUG_ON(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	HV_BUG_ON(pthread_cond_init(&c->c, &attr));
	pthread_condattr_destroy(&attr);
}

static bool wait_until(struct hv_cond *c, pthread_mutex_t *m, uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / 1000000000),
			       .tv_nsec = (long)(deadline_ns % 1000000000) };
	int err = pthread_cond_timedwait(&c->c, m, &ts);

	HV_BUG_ON(err && err != ETIMEDOUT);
	return !err;
}

void hv_cond_wait_at(struct hv_cond *c, struct hv_mutex *l, const char *file, int line)
{
	hv_lockdep_cond_wait(&l->dep, file, line);
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	/* Retaking it counts as taking it anew, with all that is held still. */
	hv_lockdep_before(&l->dep, 0, file, line);
	pthread_cond_wait(&c->c, &l->m);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
}

void hv_cond_wait_spin_at(struct hv_cond *c, struct hv_spinlock *l, const char *file, int line)
{
	hv_lockdep_cond_wait(&l->dep, file, line);
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	hv_lockdep_before(&l->dep, 0, file, line);
	pthread_cond_wait(&c->c, &l->m);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
}

bool hv_cond_wait_until_at(struct hv_cond *c, struct hv_mutex *l, uint64_t deadline_ns,
			   const char *file, int line)
{
	bool in_time;

	hv_lockdep_cond_wait(&l->dep, file, line);
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	hv_lockdep_before(&l->dep, 0, file, line);
	in_time = wait_until(c, &l->m, deadline_ns);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
	return in_time;
}

bool hv_cond_wait_spin_until_at(struct hv_cond *c, struct hv_spinlock *l, uint64_t deadline_ns,
				const char *file, int line)
{
	bool in_time;

	hv_lockdep_cond_wait(&l->dep, file, line);
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	hv_lockdep_before(&l->dep, 0, file, line);
	in_time = wait_until(c, &l->m, deadline_ns);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
	return in_time;
}
