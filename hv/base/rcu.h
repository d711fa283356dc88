/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RCU: the one place that touches liburcu (the memb flavour), with a quicker way through
 * a grace period where every reader either announces itself or sleeps (rcu.c).
 *
 * Every thread that reads registers itself first. A read-side section may
 * sleep and may take locks of GP_INSIDE classes (hv/base/lockorder.h); it
 * must not wait for a grace period, nor for anybody who does. Pointers that
 * readers follow are only touched with hv_rcu_dereference() and
 * hv_rcu_assign_pointer().
 *
 * liburcu carries no annotations for ThreadSanitizer, so this header has its
 * own: all that a section did happens before a grace period that waited for it
 * returns, and all before a grace period happens before the sections that begin
 * after it. No more than that is promised to the sanitizer, so that an object
 * freed without a grace period is still reported.
 *
 *	hv_rcu_read_lock();
 *	slots = hv_rcu_dereference(vm->slots);
 *	...
 *	hv_rcu_read_unlock();
 *
 *	old = hv_rcu_dereference_protected(vm->slots, &vm->slots_lock);
 *	hv_rcu_assign_pointer(vm->slots, new);	   // readers may still see old
 *	hv_synchronize_rcu();			   // now none does
 *	hv_free(old);
 */
#ifndef HV_BASE_RCU_H
#define HV_BASE_RCU_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

/*
 * Inline read-side primitives; but not for ThreadSanitizer, which would look
 * into them and report their own, intended races.
 */
#if !defined(_LGPL_SOURCE) && !defined(HV_TSAN)
#define _LGPL_SOURCE
#endif
#include <urcu/list.h>
#include <urcu/urcu-memb.h>

#include "hv/base/lock.h"
#include "hv/base/tsan.h"

struct hv_rcu_head;
typedef void (*hv_rcu_fn)(struct hv_rcu_head *head);

/* Embedded in an object that is freed after a grace period. */
struct hv_rcu_head {
	struct rcu_head urcu;
	hv_rcu_fn fn;
};

enum hv_rcu_state { HV_RCU_AWAKE, HV_RCU_ASKED, HV_RCU_ASLEEP };

/*
 * What a thread tells of itself. `seen` is written by the thread at each section; `state` seldom,
 * but looked at in each, and by who waits for a grace period before anything else of it: they
 * are apart, so that a reader loses one cache line for each time that it is waited for.
 */
struct hv_rcu_reader {
	uint64_t seen __attribute__((aligned(64)));	    /* hv_rcu_period as it was */
	enum hv_rcu_state state __attribute__((aligned(64))); /* atomic */
	bool registered;
	struct cds_list_head node;
};

extern __thread struct hv_rcu_reader hv_rcu_self;
/* Of grace periods, the number of the one that was begun last; alone in its cache line. */
extern struct hv_rcu_period {
	uint64_t number;
} __attribute__((aligned(64))) hv_rcu_period;

/* Once per thread, before its first read-side section; and before it ends. */
void hv_rcu_register_thread(void);
void hv_rcu_unregister_thread(void);

/* For the annotations: what the end of a section, or of a grace period, releases. */
#ifdef HV_TSAN
void hv_rcu_tsan_enter(void);
void hv_rcu_tsan_leave(void);
#else
static inline void hv_rcu_tsan_enter(void)
{
}
static inline void hv_rcu_tsan_leave(void)
{
}
#endif

/* What this thread loads from here on, it loads after everybody sees it awake. */
void hv_rcu_wake(void);

/*
 * In a section that has just begun. First what the section has seen, then the question: rcu.c
 * relies on that order, and on both coming after liburcu's own store.
 */
static inline void hv_rcu_announce(void)
{
	uint64_t number = __atomic_load_n(&hv_rcu_period.number, __ATOMIC_ACQUIRE);

	__atomic_store_n(&hv_rcu_self.seen, number, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(&hv_rcu_self.state, __ATOMIC_RELAXED) != HV_RCU_AWAKE,
			     0))
		hv_rcu_wake();
}

/* Sections nest. */
static inline void hv_rcu_read_lock_at(const char *file, int line)
{
	bool outermost = !urcu_memb_read_ongoing();

	hv_lockdep_rcu_enter(file, line);
	urcu_memb_read_lock();
	if (outermost)
		hv_rcu_announce();
	hv_rcu_tsan_enter();
}

static inline void hv_rcu_read_unlock_at(const char *file, int line)
{
	hv_lockdep_rcu_leave(file, line);
	hv_rcu_tsan_leave();
	urcu_memb_read_unlock();
}

#define hv_rcu_read_lock()   hv_rcu_read_lock_at(__FILE__, __LINE__)
#define hv_rcu_read_unlock() hv_rcu_read_unlock_at(__FILE__, __LINE__)

static inline bool hv_rcu_read_held(void)
{
	return urcu_memb_read_ongoing() != 0;
}

/* Always compiled in: it reads one word of the thread's own. */
#define hv_rcu_assert_read_held() HV_BUG_ON(!hv_rcu_read_held())

/*
 * Loads a published pointer, inside a section. Consume is promoted to acquire
 * by compilers, which on x86 is a plain load. Pairs with the release in
 * hv_rcu_assign_pointer().
 */
#define hv_rcu_dereference(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE)

/* Loads it under the lock `l` that excludes updates; needs no section. */
#define hv_rcu_dereference_protected(p, l)                                                         \
	__extension__({                                                                            \
		hv_assert_held(l);                                                                 \
		__atomic_load_n(&(p), __ATOMIC_RELAXED);                                           \
	})

/* Only compares or tests the pointer, never follows it: no section needed. */
#define hv_rcu_access_pointer(p) __atomic_load_n(&(p), __ATOMIC_RELAXED)

/* Publishes what v points to, all initialised before. */
#define hv_rcu_assign_pointer(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

/* The same, and returns what was published before. */
#define hv_rcu_xchg_pointer(p, v) __atomic_exchange_n(&(p), (v), __ATOMIC_ACQ_REL)

/*
 * Waits until every section that is in progress has ended. Sleeps. Not inside
 * a section, nor with a GP_INSIDE lock held. It takes less than a microsecond if no other thread
 * has been in a section lately, a few if they come and go (some twenty, if grace periods come one
 * after the other), longer if one stays.
 */
void hv_synchronize_rcu_at(const char *file, int line);
#define hv_synchronize_rcu() hv_synchronize_rcu_at(__FILE__, __LINE__)

/*
 * Calls fn(head) after a grace period, from a thread of liburcu's that is
 * registered for RCU. Never sleeps; allowed with any lock held and inside a
 * section. From a registered thread only.
 */
void hv_call_rcu(struct hv_rcu_head *head, hv_rcu_fn fn);

/* Waits until every callback queued before has run. As hv_synchronize_rcu(). */
void hv_rcu_barrier_at(const char *file, int line);
#define hv_rcu_barrier() hv_rcu_barrier_at(__FILE__, __LINE__)

#endif
