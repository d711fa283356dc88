/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tags of translations: each given out once, also to threads that ask at the same time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/vcpu/tags.h"

static void test_limit(void **state)
{
	static struct vcpu_tags tags;
	static const uint32_t limits[] = { 1, 2, 16, 64, 65, 100, VCPU_TAGS_MAX };

	for (unsigned int i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		uint32_t tag, n = 0;

		while ((tag = vcpu_tag_alloc(&tags, limits[i]))) {
			assert_int_equal(tag, ++n); /* the lowest first */
			assert_true(tag < limits[i]);
		}
		assert_int_equal(n, limits[i] - 1);
		for (tag = 0; tag < limits[i]; tag++)
			vcpu_tag_free(&tags, tag);
		for (unsigned int w = 0; w < VCPU_TAGS_MAX / 64; w++)
			assert_int_equal(tags.used[w], 0);
	}
}

static void test_again(void **state)
{
	static struct vcpu_tags tags;

	for (uint32_t i = 1; i < 200; i++)
		assert_int_equal(vcpu_tag_alloc(&tags, 200), i);
	assert_int_equal(vcpu_tag_alloc(&tags, 200), 0);
	vcpu_tag_free(&tags, 130);
	vcpu_tag_free(&tags, 7);
	assert_int_equal(vcpu_tag_alloc(&tags, 200), 7);
	assert_int_equal(vcpu_tag_alloc(&tags, 200), 130);
	assert_int_equal(vcpu_tag_alloc(&tags, 200), 0);
}

#define LIMIT 1001
#define THREADS 4

static struct vcpu_tags shared;
static _Atomic uint32_t owners[LIMIT];

static void *take(void *arg)
{
	uintptr_t n = 0;
	uint32_t tag;

	while ((tag = vcpu_tag_alloc(&shared, LIMIT))) {
		atomic_fetch_add(&owners[tag], 1);
		n++;
	}
	return (void *)n;
}

static void test_threads(void **state)
{
	pthread_t t[THREADS];
	uintptr_t sum = 0;
	void *n;

	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, take, NULL), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(t[i], &n);
		sum += (uintptr_t)n;
	}
	assert_int_equal(sum, LIMIT - 1);
	for (unsigned int i = 1; i < LIMIT; i++)
		assert_int_equal(owners[i], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit), cmocka_unit_test(test_again), cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
