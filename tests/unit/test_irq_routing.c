/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupt routing: tables, limits, sums, replacement under readers. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/vm/irq_routing.h"
#include "tests/lib/vm_fake.h"

static struct hv_vm *vm;
static _Atomic unsigned int calls;
static _Atomic int level_seen, source_seen;

static int set_fn(const struct hv_irq_route *route, struct hv_vm *v, int source, int level)
{
	assert_true(hv_rcu_read_held());
	calls++;
	level_seen = level;
	source_seen = source;
	return (int)route->chip.pin - 1; /* pin 0: refused */
}

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("irq");
	calls = 0;
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void test_routes(void **state)
{
	const struct hv_irq_route r[] = {
		{ .gsi = 4, .chip = { 0, 2 }, .set = set_fn },
		{ .gsi = 4, .chip = { 2, 3 }, .set = set_fn },
		{ .gsi = 5, .chip = { 0, 0 }, .set = set_fn },
		{ .gsi = 255, .chip = { 0, 1 }, .set = set_fn },
	};

	assert_int_equal(irq_set_level(vm, 0, 4, 1), -1);
	assert_int_equal(irq_routing_set(vm, r, 4), 0);
	assert_int_equal(irq_set_level(vm, 7, 4, 1), 1 + 2);
	assert_int_equal(calls, 2);
	assert_int_equal(level_seen, 1);
	assert_int_equal(source_seen, 7);
	assert_int_equal(irq_set_level(vm, 0, 5, 1), -1); /* its only route refused */
	assert_int_equal(irq_set_level(vm, 0, 255, 1), 0); /* coalesced */
	assert_int_equal(irq_set_level(vm, 0, 256, 1), -1);
	assert_int_equal(irq_set_level(vm, 0, ~0U, 1), -1);
	assert_int_equal(irq_routing_set(vm, NULL, 0), 0);
	assert_int_equal(irq_set_level(vm, 0, 4, 1), -1);
}

static void test_refused_tables(void **state)
{
	struct hv_irq_route r[4] = {
		{ .gsi = 1, .chip = { 0, 2 }, .set = set_fn },
		{ .gsi = 1, .chip = { 0, 2 }, .set = set_fn },
		{ .gsi = 1, .chip = { 0, 2 }, .set = set_fn },
		{ .gsi = 1, .chip = { 0, 2 }, .set = set_fn },
	};

	assert_int_equal(irq_routing_set(vm, r, 3), 0);
	assert_int_equal(irq_routing_set(vm, r, 4), -EINVAL);
	r[3].gsi = HV_MAX_GSI;
	assert_int_equal(irq_routing_set(vm, r, 4), -EINVAL);
	r[3].gsi = 2;
	r[3].set = NULL;
	assert_int_equal(irq_routing_set(vm, r, 4), -EINVAL);
	assert_int_equal(irq_set_level(vm, 0, 1, 1), 3); /* the old table stands */
#ifdef HV_DEBUG
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(irq_routing_set(vm, NULL, 0), -ENOMEM);
	assert_true(hv_fault_disarm());
	assert_int_equal(irq_set_level(vm, 0, 1, 1), 3);
#endif
}

static _Atomic bool stop;
static _Atomic uint32_t allowed; /* the pin of any table in force, or the one before */

static int checked_fn(const struct hv_irq_route *route, struct hv_vm *v, int source, int level)
{
	HV_BUG_ON(route->chip.pin < allowed);
	return 1;
}

static void *injector(void *arg)
{
	hv_rcu_register_thread();
	while (!stop)
		irq_set_level(vm, 0, 9, 1);
	hv_rcu_unregister_thread();
	return NULL;
}

/* Once irq_routing_set has returned, no interrupt goes by the old table. */
static void test_replace_under_readers(void **state)
{
	struct hv_irq_route r = { .gsi = 9, .set = checked_fn };
	pthread_t t;
	uint32_t i;

	allowed = 0;
	stop = false;
	assert_int_equal(pthread_create(&t, NULL, injector, NULL), 0);
	for (i = 0; i < 3000; i++) {
		r.chip.pin = i;
		assert_int_equal(irq_routing_set(vm, &r, 1), 0);
		allowed = i;
	}
	stop = true;
	pthread_join(t, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_routes), T(test_refused_tables), T(test_replace_under_readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
