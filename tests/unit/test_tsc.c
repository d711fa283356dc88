/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TSC writes: which ones are taken together. The processor's clock is ours to set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/vm/tsc.h"
#include "tests/lib/vm_fake.h"

#define SECOND (VF_KHZ * 1000ULL)

static struct hv_vm *vm;
static struct hv_vcpu *v[3];

static int setup(void **state)
{
	int i;

	vf_start();
	vm = vf_vm_new("tsc");
	for (i = 0; i < 3; i++)
		assert_int_equal(vm_add_vcpu(vm, (unsigned int)i, &v[i]), 0);
	vf_hw.tsc = 1000000 * SECOND;
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void test_reset_value(void **state)
{
	uint64_t o;

	assert_false(tsc_all_matched(vm));
	o = tsc_synchronize(v[0], 0);
	assert_int_equal(o, 0 - vf_hw.tsc);
	assert_int_equal(vf_hw.last_offset, o);
	assert_int_equal(tsc_guest_now(v[0]), 0);
	vf_hw.tsc += 40 * SECOND; /* later vCPUs start in step, however late */
	assert_int_equal(tsc_synchronize(v[1], 0), o);
	assert_false(tsc_all_matched(vm));
	assert_int_equal(tsc_synchronize(v[2], 0), o);
	assert_true(tsc_all_matched(vm));
	assert_int_equal(tsc_guest_now(v[2]), 40 * SECOND);
}

static void test_within_a_second(void **state)
{
	uint64_t o = tsc_synchronize(v[0], 5 * SECOND);

	vf_hw.tsc += SECOND / 2;
	assert_int_equal(tsc_synchronize(v[1], 5 * SECOND), o); /* half a second behind */
	vf_hw.tsc += SECOND / 4;
	/* The guest reads what the other CPU shows, and is a little late. */
	assert_int_equal(tsc_synchronize(v[2], tsc_guest_now(v[1]) + SECOND / 8), o);
	assert_true(tsc_all_matched(vm));
	/* Writing again in the same generation does not count twice. */
	tsc_synchronize(v[2], tsc_guest_now(v[2]));
	assert_true(tsc_all_matched(vm));
}

static void test_another_value(void **state)
{
	uint64_t o = tsc_synchronize(v[0], 5 * SECOND), p;

	p = tsc_synchronize(v[1], 9 * SECOND);
	assert_true(p != o);
	assert_int_equal(tsc_guest_now(v[1]), 9 * SECOND);
	assert_false(tsc_all_matched(vm));
	assert_int_equal(tsc_synchronize(v[0], 9 * SECOND), p);
	assert_int_equal(tsc_synchronize(v[2], 9 * SECOND + SECOND - 1), p);
	assert_true(tsc_all_matched(vm));
	assert_true(tsc_synchronize(v[2], 10 * SECOND) != p); /* a second off is too much */
	assert_false(tsc_all_matched(vm));
	tsc_synchronize(v[1], 9 * SECOND); /* and so is a second behind */
	assert_int_equal(v[1]->tsc_generation, v[2]->tsc_generation + 1);
}

static void test_rates_and_wrap(void **state)
{
	uint64_t o;

	v[1]->tsc_khz = VF_KHZ / 2;
	o = tsc_synchronize(v[0], 5 * SECOND);
	assert_true(tsc_synchronize(v[1], 5 * SECOND) == o); /* same value, */
	assert_false(tsc_all_matched(vm));		     /* but another generation */
	v[1]->tsc_khz = 0;
	o = tsc_synchronize(v[0], ~0ULL - 10); /* the counter is about to wrap */
	vf_hw.tsc += 100;
	assert_int_equal(tsc_synchronize(v[1], 89), o);
	/* The host's counter has been set back (suspend): never taken together. */
	vf_hw.tsc = 5;
	assert_true(tsc_synchronize(v[2], 89) != o);
}

static void test_offsets(void **state)
{
	tsc_set_offset(v[0], 1000);
	tsc_set_offset(v[1], 1000);
	assert_false(tsc_all_matched(vm));
	tsc_set_offset(v[2], 1000);
	assert_true(tsc_all_matched(vm));
	tsc_adjust_offset(v[1], -300);
	assert_int_equal(tsc_guest_now(v[1]), vf_hw.tsc + 700);
	assert_int_equal(vf_hw.last_offset, 700);
	tsc_set_offset(v[1], 2000);
	assert_false(tsc_all_matched(vm));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_reset_value), T(test_within_a_second), T(test_another_value),
		T(test_rates_and_wrap), T(test_offsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
