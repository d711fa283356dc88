/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The timer thread of a VM: a binary heap ordered by deadline, a condition to
 * shorten the sleep, one callback at a time.
 *
 * [L] timer_lock  [I] immutable after creation
 */
#include "hv/irq/timer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "hv/base/lock.h"
#include "hv/base/rcu.h"

struct hv_timers {
	struct hv_spinlock lock;
	struct hv_cond wake;	     /* the earliest deadline changed, or stop */
	struct hv_cond idle;	     /* running became NULL */
	struct hv_timer **heap;	     /* [L] 1-based */
	uint32_t armed;		     /* [L] entries of the heap */
	uint32_t users, capacity;    /* [L] initialised timers, room in the heap */
	struct hv_timer *running;    /* [L] whose callback runs now */
	bool stop;		     /* [L] */
	bool stopped;		     /* only its destroyer's */
	pthread_t thread;	     /* [I] */
	char name[16];		     /* [I] */
};

uint64_t hv_timer_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * HV_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void heap_place(struct hv_timers *t, uint32_t i, struct hv_timer *timer)
{
	t->heap[i] = timer;
	timer->heap_index = i;
}

static void heap_up(struct hv_timers *t, uint32_t i, struct hv_timer *timer)
{
	for (; i > 1 && t->heap[i / 2]->deadline > timer->deadline; i /= 2)
		heap_place(t, i, t->heap[i / 2]);
	heap_place(t, i, timer);
}

static void heap_down(struct hv_timers *t, uint32_t i, struct hv_timer *timer)
{
	uint32_t child;

	for (; (child = 2 * i) <= t->armed; i = child) {
		if (child < t->armed && t->heap[child + 1]->deadline < t->heap[child]->deadline)
			child++;
		if (t->heap[child]->deadline >= timer->deadline)
			break;
		heap_place(t, i, t->heap[child]);
	}
	heap_place(t, i, timer);
}

static void heap_remove(struct hv_timers *t, struct hv_timer *timer)
{
	uint32_t i = timer->heap_index;
	struct hv_timer *last = t->heap[t->armed--];

	timer->heap_index = 0;
	if (last == timer)
		return;
	if (i > 1 && t->heap[i / 2]->deadline > last->deadline)
		heap_up(t, i, last);
	else
		heap_down(t, i, last);
}

static void *timers_main(void *arg)
{
	struct hv_timers *t = arg;

	/* The default slack of 50 us would be added to every tick of the guest. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	pthread_setname_np(pthread_self(), t->name);
	hv_rcu_register_thread();
	hv_spin_lock(&t->lock);
	while (!t->stop) {
		struct hv_timer *first = t->armed ? t->heap[1] : NULL;

		if (!first) {
			hv_cond_wait_spin(&t->wake, &t->lock);
			continue;
		}
		if (first->deadline > hv_timer_now()) {
			hv_cond_wait_spin_until(&t->wake, &t->lock, first->deadline);
			continue;
		}
		heap_remove(t, first);
		t->running = first;
		hv_spin_unlock(&t->lock);
		first->fn(first);
		hv_spin_lock(&t->lock);
		t->running = NULL;
		hv_cond_broadcast(&t->idle);
	}
	hv_spin_unlock(&t->lock);
	hv_rcu_unregister_thread();
	return NULL;
}

int hv_timers_create(const char *name, struct hv_timers **out)
{
	struct hv_timers *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	hv_spinlock_init(&t->lock, HV_LC_TIMER);
	hv_cond_init(&t->wake);
	hv_cond_init(&t->idle);
	snprintf(t->name, sizeof(t->name), "%s", name);
	err = pthread_create(&t->thread, NULL, timers_main, t);
	if (err) {
		hv_cond_destroy(&t->idle);
		hv_cond_destroy(&t->wake);
		hv_spinlock_destroy(&t->lock);
		free(t);
		return -err;
	}
	*out = t;
	return 0;
}

void hv_timers_stop(struct hv_timers *t)
{
	if (t->stopped)
		return;
	hv_spin_lock(&t->lock);
	t->stop = true;
	hv_cond_signal(&t->wake);
	hv_spin_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	t->stopped = true;
}

void hv_timers_destroy(struct hv_timers *t)
{
	if (!t)
		return;
	HV_BUG_ON(t->users);
	hv_timers_stop(t);
	hv_cond_destroy(&t->idle);
	hv_cond_destroy(&t->wake);
	hv_spinlock_destroy(&t->lock);
	free(t->heap);
	free(t);
}

int hv_timer_init(struct hv_timer *timer, struct hv_timers *t, hv_timer_fn fn)
{
	struct hv_timer **heap;
	int err = 0;

	*timer = (struct hv_timer){ .timers = t, .fn = fn };
	hv_spin_lock(&t->lock);
	if (t->users == t->capacity) {
		heap = realloc(t->heap, (t->capacity + 16 + 1) * sizeof(*heap));
		if (heap) {
			t->heap = heap;
			t->capacity += 16;
		} else {
			err = -ENOMEM;
			timer->timers = NULL;
		}
	}
	if (!err)
		t->users++;
	hv_spin_unlock(&t->lock);
	return err;
}

void hv_timer_arm(struct hv_timer *timer, uint64_t deadline_ns)
{
	struct hv_timers *t = timer->timers;

	hv_spin_lock(&t->lock);
	if (timer->heap_index)
		heap_remove(t, timer);
	timer->deadline = deadline_ns;
	heap_up(t, ++t->armed, timer);
	if (timer->heap_index == 1)
		hv_cond_signal(&t->wake);
	hv_spin_unlock(&t->lock);
}

void hv_timer_cancel(struct hv_timer *timer)
{
	struct hv_timers *t = timer->timers;

	hv_spin_lock(&t->lock);
	if (timer->heap_index)
		heap_remove(t, timer);
	hv_spin_unlock(&t->lock);
}

void hv_timer_destroy(struct hv_timer *timer)
{
	struct hv_timers *t = timer->timers;

	if (!t)
		return;
	hv_spin_lock(&t->lock);
	/* A callback that is under way may arm its timer again, so look after it. */
	while (t->running == timer)
		hv_cond_wait_spin(&t->idle, &t->lock);
	if (timer->heap_index)
		heap_remove(t, timer);
	t->users--;
	hv_spin_unlock(&t->lock);
	timer->timers = NULL;
}

bool hv_timer_armed(struct hv_timer *timer)
{
	struct hv_timers *t = timer->timers;
	bool armed;

	hv_spin_lock(&t->lock);
	armed = timer->heap_index != 0;
	hv_spin_unlock(&t->lock);
	return armed;
}
