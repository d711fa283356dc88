/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The failure injector of the allocation wrappers (HV_DEBUG only).
 */
#include "hv/base/fault_inject.h"

#ifdef HV_DEBUG

/* Counts down to the failure; 0: not armed, or it has happened. */
static __thread uint64_t thread_left;
static __thread uint64_t thread_count;
static uint64_t all_left;

static __thread bool thread_failed;
static bool all_failed;

void hv_fault_arm(enum hv_fault_scope scope, uint64_t nth)
{
	thread_failed = false;
	__atomic_store_n(&all_failed, false, __ATOMIC_SEQ_CST);
	thread_left = scope == HV_FAULT_THREAD ? nth : 0;
	__atomic_store_n(&all_left, scope == HV_FAULT_ALL ? nth : 0, __ATOMIC_SEQ_CST);
}

bool hv_fault_disarm(void)
{
	bool failed = thread_failed || __atomic_load_n(&all_failed, __ATOMIC_SEQ_CST);

	thread_left = 0;
	__atomic_store_n(&all_left, 0, __ATOMIC_SEQ_CST);
	return failed;
}

uint64_t hv_fault_allocations(void)
{
	return thread_count;
}

static bool count_down_all(void)
{
	uint64_t old = __atomic_load_n(&all_left, __ATOMIC_RELAXED);

	while (old)
		if (__atomic_compare_exchange_n(&all_left, &old, old - 1, false, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED))
			return old == 1;
	return false;
}

bool hv_fault_should_fail(void)
{
	thread_count++;
	if (thread_left && --thread_left == 0)
		return thread_failed = true;
	if (!count_down_all())
		return false;
	__atomic_store_n(&all_failed, true, __ATOMIC_SEQ_CST);
	return true;
}

#endif /* HV_DEBUG */
