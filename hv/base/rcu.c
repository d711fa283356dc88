/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RCU's out-of-line half: grace periods and callbacks, with the validator and
 * ThreadSanitizer told of each.
 */
#include "hv/base/rcu.h"

#include <pthread.h>

#include "hv/base/util.h"

/* What the end of a callback releases, for ThreadSanitizer. */
static char callback_end;

#ifdef HV_TSAN

/*
 * What the annotations hang on. A section's end releases one of several
 * addresses, by thread, and a grace period acquires them all: with one address,
 * the sanitizer would run readers one after the other.
 */
#define SECTION_SLOTS 32
static char section_end[SECTION_SLOTS];
static char period_end;

static uint32_t next_reader;
static __thread uint32_t reader_number;

void hv_rcu_tsan_enter(void)
{
	__tsan_acquire(&period_end);
}

void hv_rcu_tsan_leave(void)
{
	if (!reader_number)
		reader_number = __atomic_add_fetch(&next_reader, 1, __ATOMIC_RELAXED);
	__tsan_release(&section_end[reader_number % SECTION_SLOTS]);
}

static void tsan_period_ended(void)
{
	int i;

	for (i = 0; i < SECTION_SLOTS; i++)
		__tsan_acquire(&section_end[i]);
	__tsan_release(&period_end);
}

#else
static void tsan_period_ended(void)
{
}
#endif

void hv_rcu_register_thread(void)
{
	urcu_memb_register_thread();
}

void hv_rcu_unregister_thread(void)
{
	hv_assert_no_locks_held("a thread unregisters from RCU");
	HV_BUG_ON(hv_rcu_read_held());
	urcu_memb_unregister_thread();
}

void hv_synchronize_rcu_at(const char *file, int line)
{
	hv_lockdep_gp_wait("waiting for a grace period", file, line);
	urcu_memb_synchronize_rcu();
	tsan_period_ended();
}

static void run_callback(struct rcu_head *urcu)
{
	struct hv_rcu_head *head = container_of(urcu, struct hv_rcu_head, urcu);

	hv_tsan_acquire(head);
	tsan_period_ended();
	head->fn(head); /* head may be gone now */
	hv_assert_no_locks_held("an RCU callback returns");
	hv_tsan_release(&callback_end);
}

void hv_call_rcu(struct hv_rcu_head *head, hv_rcu_fn fn)
{
	head->fn = fn;
	hv_tsan_release(head);
	urcu_memb_call_rcu(&head->urcu, run_callback);
}

/*
 * Nobody but this file gives liburcu callbacks, so that they all pass through
 * its one default thread, in order: when one of our own has run, so have those
 * before it. (urcu_memb_barrier() does the same with an allocation that
 * it cannot do without, and whose hand-over ThreadSanitizer does not see.)
 */
static pthread_mutex_t barrier_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t barrier_cv = PTHREAD_COND_INITIALIZER;

struct barrier {
	struct hv_rcu_head rcu;
	bool done; /* under barrier_lock */
};

static void barrier_reached(struct hv_rcu_head *head)
{
	pthread_mutex_lock(&barrier_lock);
	container_of(head, struct barrier, rcu)->done = true;
	pthread_cond_broadcast(&barrier_cv);
	pthread_mutex_unlock(&barrier_lock); /* the waiter's stack may be gone now */
}

void hv_rcu_barrier_at(const char *file, int line)
{
	struct barrier b = { .done = false };

	hv_lockdep_gp_wait("waiting for RCU callbacks", file, line);
	hv_call_rcu(&b.rcu, barrier_reached);
	pthread_mutex_lock(&barrier_lock);
	while (!b.done)
		pthread_cond_wait(&barrier_cv, &barrier_lock);
	pthread_mutex_unlock(&barrier_lock);
	hv_tsan_acquire(&callback_end);
}
