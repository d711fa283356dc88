/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reference counts.
 *
 * A count that would overflow saturates: the object leaks, and is never freed
 * under a user. Taking a reference on a count of 0, or dropping one that does
 * not exist, is a bug of ours and aborts. Where an object may be found while
 * it dies (a lookup under RCU), use hv_refcount_inc_not_zero().
 */
#ifndef HV_BASE_REFCOUNT_H
#define HV_BASE_REFCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/base/assert.h"

/* Half way between the largest true count and the wrap to 0. */
#define HV_REFCOUNT_SATURATED UINT32_C(0xc0000000)
#define HV_REFCOUNT_MAX	      UINT32_C(0x7fffffff)

struct hv_refcount {
	uint32_t refs;
};

static inline void hv_refcount_set(struct hv_refcount *r, uint32_t n)
{
	__atomic_store_n(&r->refs, n, __ATOMIC_RELAXED);
}

static inline uint32_t hv_refcount_read(const struct hv_refcount *r)
{
	return __atomic_load_n(&r->refs, __ATOMIC_RELAXED);
}

/* The caller holds a reference already, which orders everything; so relaxed. */
static inline void hv_refcount_inc(struct hv_refcount *r)
{
	uint32_t old = __atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);

	HV_BUG_ON(old == 0);
	if (hv_unlikely(old >= HV_REFCOUNT_MAX))
		__atomic_store_n(&r->refs, HV_REFCOUNT_SATURATED, __ATOMIC_RELAXED);
}

/* False, and nothing taken, if the object is on its way out. */
static inline bool hv_refcount_inc_not_zero(struct hv_refcount *r)
{
	uint32_t old = __atomic_load_n(&r->refs, __ATOMIC_RELAXED);

	do {
		if (old == 0)
			return false;
		if (hv_unlikely(old >= HV_REFCOUNT_MAX)) {
			__atomic_store_n(&r->refs, HV_REFCOUNT_SATURATED, __ATOMIC_RELAXED);
			return true;
		}
	} while (!__atomic_compare_exchange_n(&r->refs, &old, old + 1, false, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

/*
 * True for the one caller that dropped the last reference; it alone may free.
 * Release orders each holder's accesses before its drop, acquire lets the last
 * one see them all.
 */
static inline bool hv_refcount_dec_and_test(struct hv_refcount *r)
{
	uint32_t old = __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL);

	HV_BUG_ON(old == 0);
	if (hv_unlikely(old > HV_REFCOUNT_MAX)) {
		__atomic_store_n(&r->refs, HV_REFCOUNT_SATURATED, __ATOMIC_RELAXED);
		return false;
	}
	return old == 1;
}

#endif
