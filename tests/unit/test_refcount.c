/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reference counts: the last drop is seen once, misuse dies, overflow leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>

#include "hv/base/refcount.h"
#include "tests/unit/death.h"

static struct hv_refcount ref;
static int last_drops;

static void counts(void **state)
{
	hv_refcount_set(&ref, 1);
	hv_refcount_inc(&ref);
	assert_true(hv_refcount_inc_not_zero(&ref));
	assert_int_equal(hv_refcount_read(&ref), 3);
	assert_false(hv_refcount_dec_and_test(&ref));
	assert_false(hv_refcount_dec_and_test(&ref));
	assert_true(hv_refcount_dec_and_test(&ref));
	assert_int_equal(hv_refcount_read(&ref), 0);
	assert_false(hv_refcount_inc_not_zero(&ref));
	assert_int_equal(hv_refcount_read(&ref), 0);
}

static void inc_from_zero(void)
{
	hv_refcount_set(&ref, 0);
	hv_refcount_inc(&ref);
}

static void dec_from_zero(void)
{
	hv_refcount_set(&ref, 0);
	hv_refcount_dec_and_test(&ref);
}

static void misuse_dies(void **state)
{
	assert_death(inc_from_zero, "hv_refcount_inc");
	assert_death(dec_from_zero, "hv_refcount_dec_and_test");
}

static void overflow_saturates(void **state)
{
	int i;

	hv_refcount_set(&ref, HV_REFCOUNT_MAX);
	hv_refcount_inc(&ref);
	assert_int_equal(hv_refcount_read(&ref), HV_REFCOUNT_SATURATED);
	for (i = 0; i < 3; i++)
		assert_false(hv_refcount_dec_and_test(&ref));
	assert_true(hv_refcount_inc_not_zero(&ref));
	assert_int_equal(hv_refcount_read(&ref), HV_REFCOUNT_SATURATED);
}

static void *get_and_put(void *unused)
{
	int i;

	for (i = 0; i < 20000; i++)
		if (hv_refcount_inc_not_zero(&ref) && hv_refcount_dec_and_test(&ref))
			__atomic_fetch_add(&last_drops, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void one_drop_is_the_last(void **state)
{
	pthread_t t[3];
	int i;

	last_drops = 0;
	hv_refcount_set(&ref, 1);
	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, get_and_put, NULL);
	if (hv_refcount_dec_and_test(&ref))
		__atomic_fetch_add(&last_drops, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(last_drops, 1);
	assert_int_equal(hv_refcount_read(&ref), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(misuse_dies),
		cmocka_unit_test(overflow_saturates),
		cmocka_unit_test(one_drop_is_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
