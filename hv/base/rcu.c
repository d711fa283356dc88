/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RCU's out-of-line half: grace periods and callbacks, with the validator and
 * ThreadSanitizer told of each.
 *
 * A grace period of liburcu's memb flavour is paid for by the readers: two membarriers, an
 * interrupt each for every CPU that runs a thread of ours. That is dear to a guest that runs while
 * slots change, and most of the time not needed:
 *
 *  - Grace periods have numbers. A section, when it begins, stores the number that it finds. Who
 *    has published something, takes the next number, and then finds that one or a later one with
 *    a reader, knows that the reader is in a section from which the old can not be seen, or past
 *    it. That is a release and an acquire, no barrier, no interrupt. A reader that comes and goes
 *    has said so before long.
 *  - A reader that says nothing may stay outside, or be in a section whose stores nobody sees
 *    yet. Only barriers tell, so it is asked to wake() before its next section's first load, and
 *    then liburcu's own grace period is waited for. If it has not woken by then, it is asleep, and
 *    no grace period needs to ask after it until it wakes, which is a barrier of its own.
 *
 * The order in a reader: liburcu's store C, the number S, the question L, what the section loads.
 * That it is asleep holds for these reasons: `state` was ASKED before the membarrier, and
 *
 *	the interrupt meets the reader		then
 *	before L				L finds ASKED: it wakes
 *	after L, in the section			C is visible, liburcu waits for the section's end;
 *						the next one's L finds ASKED or ASLEEP
 *	outside					the same of the next one
 *
 * So a reader of which ASLEEP is seen either is outside, or its exchange in wake() has not yet come
 * to be seen; then its loads come after what was published. (Both sides have a barrier between their
 * store and their load: the exchange here, the one that takes the next number there.)
 *
 * Model: tests/models/grace_period.pml.
 */
#include "hv/base/rcu.h"

#include <pthread.h>

#include "hv/base/clock.h"
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

/* ---- readers -------------------------------------------------------------------------------- */

/*
 * Each look at what readers have seen takes a cache line from them, and so does each number: for one
 * grace period a reader pays 300 to 400 ns. Grace periods that have to look at readers come
 * one in 50 times that, so that updates one after the other leave readers 98 % of their time; but a
 * few in a row need not wait, or a slot's deletion, which takes two, would be slow for the
 * sake of those who delete a thousand.
 */
#define PACE_NS	   20000
#define IN_A_ROW   8
#define PATIENCE_NS 30000 /* until readers are asked, which costs about as much */

__thread struct hv_rcu_reader hv_rcu_self = { .state = HV_RCU_ASLEEP };
struct hv_rcu_period hv_rcu_period = { 1 };

/* Its list is of the readers; a reader itself, since the end of a walk is taken for one. */
static struct hv_rcu_reader readers = { .node = CDS_LIST_HEAD_INIT(readers.node) }; /* under readers_lock */
static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER; /* for moments */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;	 /* one at a time asks */

static void reader_add(struct hv_rcu_reader *r)
{
	pthread_mutex_lock(&readers_lock);
	r->registered = true;
	__atomic_store_n(&r->state, HV_RCU_ASLEEP, __ATOMIC_RELAXED);
	cds_list_add(&r->node, &readers.node);
	pthread_mutex_unlock(&readers_lock);
}

static void reader_remove(struct hv_rcu_reader *r)
{
	pthread_mutex_lock(&readers_lock);
	r->registered = false;
	cds_list_del(&r->node);
	pthread_mutex_unlock(&readers_lock);
}

/* liburcu first: who is in our list is in its list. */
void hv_rcu_register_thread(void)
{
	urcu_memb_register_thread();
	reader_add(&hv_rcu_self);
}

void hv_rcu_unregister_thread(void)
{
	hv_assert_no_locks_held("a thread unregisters from RCU");
	HV_BUG_ON(hv_rcu_read_held());
	reader_remove(&hv_rcu_self);
	urcu_memb_unregister_thread();
}

/* A locked instruction: a full barrier. Pairs with next_period(). */
void hv_rcu_wake(void)
{
	HV_BUG_ON(!hv_rcu_self.registered);
#ifndef HV_MUTATE_RCU_NO_WAKE
	__atomic_exchange_n(&hv_rcu_self.state, HV_RCU_AWAKE, __ATOMIC_SEQ_CST);
#endif
}

/* ---- grace periods -------------------------------------------------------------------------- */

/* After what was published, before any look at readers: a full barrier. Pairs with hv_rcu_wake(). */
static uint64_t next_period(void)
{
	return __atomic_add_fetch(&hv_rcu_period.number, 1, __ATOMIC_SEQ_CST);
}

static bool reader_asleep(const struct hv_rcu_reader *r)
{
	return __atomic_load_n(&r->state, __ATOMIC_ACQUIRE) == HV_RCU_ASLEEP;
}

static bool reader_has_seen(const struct hv_rcu_reader *r, uint64_t period)
{
	return __atomic_load_n(&r->seen, __ATOMIC_ACQUIRE) >= period;
}

/* Nobody but the caller has been awake since it took its number. */
static bool all_asleep(void)
{
	struct hv_rcu_reader *r;
	bool all = true;

	pthread_mutex_lock(&readers_lock);
	cds_list_for_each_entry(r, &readers.node, node)
		all = all && (r == &hv_rcu_self || reader_asleep(r));
	pthread_mutex_unlock(&readers_lock);
	return all;
}

static bool all_have_seen(uint64_t period)
{
	struct hv_rcu_reader *r;
	bool all = true;

	pthread_mutex_lock(&readers_lock);
	cds_list_for_each_entry(r, &readers.node, node)
		all = all && (r == &hv_rcu_self || reader_asleep(r) || reader_has_seen(r, period));
	pthread_mutex_unlock(&readers_lock);
	return all;
}

/* Who has said nothing shall wake. */
static void ask(uint64_t period)
{
	struct hv_rcu_reader *r;

	pthread_mutex_lock(&readers_lock);
	cds_list_for_each_entry(r, &readers.node, node) {
		if (r != &hv_rcu_self && !reader_asleep(r) && !reader_has_seen(r, period))
			__atomic_store_n(&r->state, HV_RCU_ASKED, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&readers_lock);
}

/* After a grace period of liburcu's that began after ask(). */
static void find_asleep(void)
{
	struct hv_rcu_reader *r;

	pthread_mutex_lock(&readers_lock);
	cds_list_for_each_entry(r, &readers.node, node) {
		enum hv_rcu_state asked = HV_RCU_ASKED;

		__atomic_compare_exchange_n(&r->state, &asked, HV_RCU_ASLEEP, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&readers_lock);
}

/* One at a time: ASKED is then known to have been there before the barrier. */
static void wait_with_barriers(uint64_t period)
{
	bool may_ask = !pthread_mutex_trylock(&asking);

	if (may_ask)
		ask(period);
	urcu_memb_synchronize_rcu();
	if (may_ask) {
		find_asleep();
		pthread_mutex_unlock(&asking);
	}
}

/* When this grace period may look at readers: at once, or, by the pace, a little later. */
static uint64_t first_look(void)
{
	static uint64_t paced; /* under readers_lock: the one before, had it kept to the pace */
	uint64_t now = hv_clock_ns(), at;

	pthread_mutex_lock(&readers_lock);
	at = hv_max(paced + PACE_NS, now - IN_A_ROW * PACE_NS);
	paced = hv_min(at, now + PACE_NS); /* of many who wait at a time, none waits for all */
	at = hv_max(paced, now);
	pthread_mutex_unlock(&readers_lock);
	return at;
}

static void pause_until(uint64_t ns)
{
	while (hv_clock_ns() < ns)
		__builtin_ia32_pause();
}

static void wait_for_readers(void)
{
	uint64_t period = next_period(), begin, after;

	if (all_asleep())
		return;
	begin = first_look();
	for (after = 1000; after < PATIENCE_NS; after *= 2) {
		pause_until(begin + after);
		if (all_have_seen(period))
			return;
	}
	wait_with_barriers(period);
}

void hv_synchronize_rcu_at(const char *file, int line)
{
	hv_lockdep_gp_wait("waiting for a grace period", file, line);
	HV_BUG_ON(hv_rcu_read_held());
	wait_for_readers();
	tsan_period_ended();
}

/* ---- callbacks ------------------------------------------------------------------------------ */

static void run_callback(struct rcu_head *urcu)
{
	struct hv_rcu_head *head = container_of(urcu, struct hv_rcu_head, urcu);

	if (!hv_rcu_self.registered)
		reader_add(&hv_rcu_self); /* liburcu's thread, which stays until the process ends */
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
