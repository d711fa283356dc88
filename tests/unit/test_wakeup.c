/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Per-CPU lists of blocked vCPUs: who is woken by a notification. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/vm/vm_internal.h"
#include "hv/vm/wakeup.h"
#include "tests/lib/vm_fake.h"

static struct hv_vm *vm;
static struct hv_vcpu *v[3];
static _Atomic uint32_t posted; /* bit per vCPU id: ON of its descriptor */
static struct hv_vendor_ops vendor;

static bool posted_pending(struct hv_vcpu *vcpu)
{
	return posted >> vcpu->id & 1;
}

static int setup(void **state)
{
	struct hv_vm_params p = {
		.name = "pi", .processor = &vf_processor, .vendor = &vendor, .mmu_ops = &vf_mmu_ops,
	};
	int i;

	vf_start();
	vendor = vf_vendor;
	vendor.posted_pending = posted_pending;
	posted = 0;
	assert_int_equal(hardware_load_vendor(&vendor, &vf_processor), 0);
	assert_int_equal(vm_create(&p, &vm), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(vm_add_vcpu(vm, (unsigned int)i, &v[i]), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void test_lists(void **state)
{
	assert_int_equal(wakeup_notify(0), 0);
	wakeup_add(v[0], 0);
	wakeup_add(v[1], 0);
	wakeup_add(v[2], 3);
	assert_int_equal(wakeup_notify(0), 0); /* nothing posted */
	posted = 6;
	assert_int_equal(wakeup_notify(0), 1); /* 1; 2 is on another CPU's list */
	assert_int_equal(wakeup_notify(3), 1);
	assert_int_equal(wakeup_notify(1), 0);
	assert_int_equal(wakeup_notify(5000), 0);
	wakeup_del(v[1]);
	wakeup_del(v[1]);
	assert_int_equal(wakeup_notify(0), 0);
	wakeup_del(v[0]);
	wakeup_del(v[2]);
	assert_int_equal(wakeup_notify(3), 0);
	vendor.posted_pending = NULL; /* a vendor that cannot tell: wake, to be sure */
	wakeup_add(v[0], 1);
	assert_int_equal(wakeup_notify(1), 1);
	wakeup_del(v[0]);
}

static _Atomic unsigned int taken;
#define POSTS 3000

static bool never(struct hv_vcpu *vcpu)
{
	return false;
}

static void *blocker(void *arg)
{
	struct hv_vcpu *vcpu = arg;

	hv_rcu_register_thread();
	while (taken < POSTS) {
		HV_BUG_ON(hardware_vcpu_load(vcpu, 2) != 2);
		while (!posted_pending(vcpu))
			vcpu_block(vcpu, never); /* adds itself to the list of CPU 2 */
		hardware_vcpu_put(vcpu);
		HV_BUG_ON(vcpu->wakeup_cpu != -1);
		posted &= ~1U;
		taken++;
	}
	hv_rcu_unregister_thread();
	return NULL;
}

/* Each post is followed by a notification; none is slept through. */
static void test_no_lost_post(void **state)
{
	pthread_t t;
	unsigned int i;

	taken = 0;
	assert_int_equal(pthread_create(&t, NULL, blocker, v[0]), 0);
	for (i = 0; i < POSTS; i++) {
		posted |= 1;
		wakeup_notify(2);
		while (taken == i)
			sched_yield();
	}
	pthread_join(t, NULL);
	assert_int_equal(taken, POSTS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_lists), T(test_no_lost_post) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
