/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The allocation wrappers and their injector.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdint.h>

#include "hv/base/fault_inject.h"

static void allocations_work(void **state)
{
	char *p = hv_zalloc(100), *q;
	int i;

	for (i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	p[0] = 'x';
	p = hv_realloc_array(p, 50, 10);
	assert_int_equal(p[0], 'x');
	hv_free(p);
	q = hv_zalloc_aligned(4096, 4096);
	assert_int_equal((uintptr_t)q % 4096, 0);
	assert_int_equal(q[4095], 0);
	hv_free(q);
	q = hv_strdup("abc");
	assert_string_equal(q, "abc");
	hv_free(q);
	hv_free(NULL);
}

static void overflow_is_no_memory(void **state)
{
	volatile size_t huge = SIZE_MAX / 2;

	assert_null(hv_calloc(huge, 4));
	assert_null(hv_realloc_array(NULL, huge, 4));
}

#ifdef HV_DEBUG
static int allocate_three(void)
{
	void *a = hv_alloc(8), *b = a ? hv_calloc(2, 8) : NULL, *c = b ? hv_strdup("c") : NULL;
	int got = !!a + !!b + !!c;

	hv_free(c);
	hv_free(b);
	hv_free(a);
	return got;
}

static void every_one_can_fail(void **state)
{
	uint64_t before = hv_fault_allocations();
	int n;

	for (n = 1;; n++) {
		int got;

		hv_fault_arm(HV_FAULT_THREAD, (uint64_t)n);
		got = allocate_three();
		if (!hv_fault_disarm())
			break;
		assert_int_equal(got, n - 1);
	}
	assert_int_equal(n, 4);
	assert_int_equal(allocate_three(), 3);
	assert_int_equal(hv_fault_allocations() - before, 1 + 2 + 3 + 3 + 3);
}

static void *allocate_in_thread(void *got)
{
	*(int *)got = allocate_three();
	return NULL;
}

static int allocations_of_another_thread(void)
{
	pthread_t t;
	int got = -1;

	pthread_create(&t, NULL, allocate_in_thread, &got);
	pthread_join(t, NULL);
	return got;
}

static void scopes(void **state)
{
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(allocations_of_another_thread(), 3);
	assert_false(hv_fault_disarm());
	hv_fault_arm(HV_FAULT_ALL, 2);
	assert_int_equal(allocations_of_another_thread(), 1);
	assert_true(hv_fault_disarm());
	assert_int_equal(allocate_three(), 3);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocations_work),
		cmocka_unit_test(overflow_is_no_memory),
#ifdef HV_DEBUG
		cmocka_unit_test(every_one_can_fail),
		cmocka_unit_test(scopes),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
