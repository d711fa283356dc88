/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Timers of a VM's chips and devices: one thread sleeps to the earliest
 * deadline of a heap. Deadlines are CLOCK_MONOTONIC nanoseconds.
 *
 * A callback runs on that thread with no lock held, so it takes its device's
 * lock itself and, since a cancel may have been too late, looks again whether
 * there is something to do. It may arm its own timer.
 */
#ifndef HV_IRQ_TIMER_H
#define HV_IRQ_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/base/clock.h" /* HV_NSEC_PER_SEC */

struct hv_timers;
struct hv_timer;

typedef void (*hv_timer_fn)(struct hv_timer *timer);


/* Embedded in its owner; every field is the timer thread's lock's. */
struct hv_timer {
	struct hv_timers *timers;
	hv_timer_fn fn;
	uint64_t deadline;
	uint32_t heap_index; /* 1-based place in the heap, 0: not armed */
};

/* Starts the thread. -ENOMEM, -EAGAIN. */
int hv_timers_create(const char *name, struct hv_timers **out);
/* No callback runs from now on. May be called again, by the same thread. */
void hv_timers_stop(struct hv_timers *timers);
/* NULL is fine. Every timer has been destroyed. Joins the thread. */
void hv_timers_destroy(struct hv_timers *timers);

uint64_t hv_timer_now(void);
/* -ENOMEM. Reserves the timer's place, so that arming cannot fail. */
int hv_timer_init(struct hv_timer *timer, struct hv_timers *timers, hv_timer_fn fn);
/* Arm or move; any lock may be held. A deadline in the past fires at once. */
void hv_timer_arm(struct hv_timer *timer, uint64_t deadline_ns);
/* The callback may still be running, or about to, on return. */
void hv_timer_cancel(struct hv_timer *timer);
/* Give the place back; waits for a running callback: not with a lock that the callback takes. */
void hv_timer_destroy(struct hv_timer *timer);
bool hv_timer_armed(struct hv_timer *timer);

#endif
