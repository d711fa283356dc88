/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clock and counter agree with each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <unistd.h>

#include "hv/base/clock.h"

static void goes_forward(void **state)
{
	uint64_t ns = hv_clock_ns(), tsc = hv_rdtsc_ordered();
	int i;

	for (i = 0; i < 1000; i++) {
		uint64_t ns2 = hv_clock_ns(), tsc2 = hv_rdtsc_ordered();

		assert_true(ns2 >= ns);
		assert_true(tsc2 >= tsc);
		ns = ns2;
		tsc = tsc2;
	}
	assert_true(hv_clock_realtime_ns() > UINT64_C(1600000000) * HV_NSEC_PER_SEC);
}

/* Both are read at the ends of one interval, so only the rate can be wrong. */
static void rate_is_right(void **state)
{
	uint64_t khz = hv_tsc_khz(), ns, tsc, by_tsc;

	assert_int_equal(hv_tsc_khz(), khz);
	assert_true(khz > 100000 && khz < 20000000);
	tsc = hv_rdtsc_ordered();
	ns = hv_clock_ns();
	usleep(50000);
	tsc = hv_rdtsc_ordered() - tsc;
	ns = hv_clock_ns() - ns;
	by_tsc = hv_tsc_to_ns(tsc, khz);
	print_message("# %lu kHz; %lu ns by the clock, %lu by the counter\n", (unsigned long)khz,
		      (unsigned long)ns, (unsigned long)by_tsc);
	/* A preemption between the two readings is longer than any true error. */
	assert_true(by_tsc > ns / 2 && by_tsc < ns * 2);
}

static void conversions(void **state)
{
	assert_int_equal(hv_tsc_to_ns(2500000, 2500000), 1000000);
	assert_int_equal(hv_ns_to_tsc(1000000, 2500000), 2500000);
	/* 100 years at 4 GHz: the product has more than 64 bits. */
	assert_int_equal(hv_tsc_to_ns(UINT64_C(12622780800000000000), 4000000),
			 UINT64_C(3155695200000000000));
	assert_int_equal(hv_mul_div_u64(UINT64_MAX, UINT64_MAX, UINT64_MAX), UINT64_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_forward),
		cmocka_unit_test(rate_is_right),
		cmocka_unit_test(conversions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
