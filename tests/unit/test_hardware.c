/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enabling and disabling host CPUs; hotplug; suspend; vCPUs that are loaded meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/vm/vm_internal.h"
#include "tests/lib/vm_fake.h"

static int setup(void **state)
{
	vf_start();
	return 0;
}

static int teardown(void **state)
{
	vf_end();
	return 0;
}

/* Exactly the CPUs of the mask are enabled, by our count and by the engine's. */
static void check_enabled(uint64_t mask)
{
	unsigned int cpu;

	for (cpu = 0; cpu < VF_CPUS; cpu++) {
		assert_int_equal(vf_hw.enabled[cpu], mask >> cpu & 1);
		assert_int_equal(hardware_cpu_enabled(cpu), mask >> cpu & 1);
	}
}

static void test_first_and_last(void **state)
{
	struct hv_vm *a, *b;

	check_enabled(0);
	a = vf_vm_new("a");
	check_enabled(VF_PRESENT);
	b = vf_vm_new("b");
	assert_int_equal(vf_hw.enables, 5);
	vm_put(a);
	check_enabled(VF_PRESENT);
	vm_put(b);
	check_enabled(0);
	assert_int_equal(vf_hw.disables, 5);
	assert_int_equal(hardware_pick_cpu(0), -ENODEV);
}

static void test_one_cpu_fails(void **state)
{
	struct hv_vm *a;

	vf_hw.fail_cpu = 3;
	assert_int_equal(hardware_enable_all(&vf_vendor), -EIO);
	check_enabled(0); /* 0, 1 and 2 were rolled back */
	assert_int_equal(hardware_usage_count(), 0);
	assert_int_equal(vf_hw.disables, 3);
	vf_hw.fail_cpu = -1;
	a = vf_vm_new("a"); /* the next one is the first again */
	check_enabled(VF_PRESENT);
	vm_put(a);
	check_enabled(0);
}

static void test_modules(void **state)
{
	struct hv_vm *a;

	assert_int_equal(hardware_load_vendor(&vf_vendor, &vf_processor), 0); /* as before */
	assert_int_equal(hardware_load_vendor(&vf_vendor, NULL), -EBUSY); /* elsewhere */
	assert_int_equal(hardware_unload_vendor(&vf_vendor2), -ENOENT);
	assert_int_equal(hardware_enable_all(&vf_vendor2), -ENODEV);
	assert_int_equal(hardware_load_vendor(&vf_vendor2, &vf_processor), 0);
	a = vf_vm_new("a");
	assert_int_equal(hardware_unload_vendor(&vf_vendor), -EBUSY);
	assert_int_equal(hardware_unload_vendor(&vf_vendor2), 0);
	vm_put(a);
	assert_int_equal(hardware_unload_vendor(&vf_vendor), 0);
}

static void test_hotplug(void **state)
{
	struct hv_vm *a;

	assert_int_equal(hardware_cpu_offline(4), -EINVAL); /* not present */
	assert_int_equal(hardware_cpu_online(2000), -EINVAL);
	assert_int_equal(hardware_cpu_offline(1), 0);
	assert_int_equal(hardware_cpu_offline(1), 0);
	a = vf_vm_new("a");
	check_enabled(VF_PRESENT & ~2ULL);
	assert_int_equal(hardware_cpu_online(1), 0);
	check_enabled(VF_PRESENT);
	assert_int_equal(hardware_cpu_offline(5), 0);
	check_enabled(VF_PRESENT & ~0x20ULL);
	assert_false(hardware_cpu_is_online(5));
	vf_hw.fail_cpu = 5;
	assert_int_equal(hardware_cpu_online(5), -EIO);
	assert_false(hardware_cpu_is_online(5));
	check_enabled(VF_PRESENT & ~0x20ULL);
	vm_put(a);
	check_enabled(0);
	vf_hw.fail_cpu = -1;
	assert_int_equal(hardware_cpu_offline(0), 0);
	assert_int_equal(hardware_cpu_offline(1), 0);
	assert_int_equal(hardware_cpu_offline(2), 0);
	assert_int_equal(hardware_cpu_offline(3), -EBUSY); /* the last one */
}

static void test_online_fails_second_vendor(void **state)
{
	struct hv_vm *a = vf_vm_new("a");

	assert_int_equal(hardware_load_vendor(&vf_vendor2, &vf_processor), 0);
	assert_int_equal(hardware_enable_all(&vf_vendor2), 0);
	assert_int_equal(hardware_cpu_offline(2), 0);
	check_enabled(VF_PRESENT & ~4ULL);
	vf_hw.fail_cpu = 2; /* the first vendor's enable fails already */
	assert_int_equal(hardware_cpu_online(2), -EIO);
	check_enabled(VF_PRESENT & ~4ULL);
	vf_hw.fail_cpu = -1;
	assert_int_equal(hardware_cpu_online(2), 0);
	hardware_disable_all(&vf_vendor2);
	check_enabled(VF_PRESENT);
	vm_put(a);
}

static void disable_asserts(unsigned int cpu)
{
	hv_assert_not_held(&hv_lock);
}

static int enable_asserts(unsigned int cpu)
{
	hv_assert_not_held(&hv_lock);
	return 0;
}

static void test_suspend(void **state)
{
	struct hv_vm *a = vf_vm_new("a"), *b;

	assert_int_equal(hardware_resume(), -EALREADY);
	vf_hw.on_disable = disable_asserts;
	vf_hw.on_enable = enable_asserts;
	assert_int_equal(hardware_suspend(), 0);
	check_enabled(0);
	assert_int_equal(hardware_suspend(), -EALREADY);
	vf_hw.on_disable = NULL;
	/* VMs may come and go; no CPU is touched. */
	b = vf_vm_new("b");
	vm_put(a);
	check_enabled(0);
	assert_int_equal(hardware_cpu_offline(3), 0);
	assert_int_equal(hardware_cpu_online(3), 0);
	check_enabled(0);
	assert_int_equal(hardware_usage_count(), 1);
	assert_int_equal(hardware_resume(), 0);
	check_enabled(VF_PRESENT);
	vf_hw.on_enable = NULL;
	/* One does not come back: the others serve. */
	assert_int_equal(hardware_suspend(), 0);
	vf_hw.fail_cpu = 0;
	assert_int_equal(hardware_resume(), -EIO);
	check_enabled(VF_PRESENT & ~1ULL);
	assert_int_equal(hardware_pick_cpu(0), 1);
	vm_put(b);
	check_enabled(0);
}

static void test_load_and_put(void **state)
{
	struct hv_vm *a = vf_vm_new("a");
	struct hv_vcpu *vcpu;

	assert_int_equal(vm_add_vcpu(a, 0, &vcpu), 0);
	assert_int_equal(hardware_vcpu_load(vcpu, 2), 2);
	assert_int_equal(vcpu->cpu, 2);
	hardware_vcpu_put(vcpu);
	assert_int_equal(vcpu->cpu, -1);
	assert_int_equal(hardware_vcpu_load(vcpu, 4), 5); /* 4 is no CPU: the next */
	hardware_vcpu_put(vcpu);
	assert_int_equal(hardware_vcpu_load(vcpu, 77), 77 % 6);
	hardware_vcpu_put(vcpu);
	vm_put(a);
}

/* ---- loaded vCPUs against hotplug and suspend ---------------------------------------------- */

static _Atomic bool stop;
static _Atomic unsigned int loads, moves;

/* A run loop: load, work (asserting that the CPU is enabled), answer requests, put. */
static void *run_loop(void *arg)
{
	struct hv_vcpu *vcpu = arg;
	unsigned int preferred = vcpu->id;

	hv_rcu_register_thread();
	while (!stop) {
		int cpu, i;

		hv_mutex_lock(&vcpu->mutex);
		cpu = hardware_vcpu_load(vcpu, preferred++);
		if (cpu >= 0) {
			loads++;
			for (i = 0; i < 50; i++) {
				HV_BUG_ON(vf_hw.enabled[cpu] != 1);
				if (vcpu_check_request(vcpu, HV_REQ_CPU_MOVE)) {
					moves++;
					break;
				}
				sched_yield();
			}
			HV_BUG_ON(vf_hw.enabled[cpu] != 1);
			hardware_vcpu_put(vcpu);
		} else {
			HV_BUG_ON(cpu != -EINTR);
		}
		hv_mutex_unlock(&vcpu->mutex);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_hotplug_under_vcpus(void **state)
{
	struct hv_vm *a = vf_vm_new("a");
	struct hv_vcpu *vcpu;
	pthread_t t[2];
	unsigned int i;

	stop = false;
	loads = 0;
	for (i = 0; i < 2; i++) {
		assert_int_equal(vm_add_vcpu(a, i, &vcpu), 0);
		assert_int_equal(pthread_create(&t[i], NULL, run_loop, vcpu), 0);
	}
	for (i = 0; i < 1000 || loads < 300; i++) {
		unsigned int cpu = i % 4;

		assert_int_equal(hardware_cpu_offline(cpu), 0);
		assert_int_equal(vf_hw.enabled[cpu], 0);
		if (i % 50 == 0) {
			assert_int_equal(hardware_suspend(), 0);
			check_enabled(0);
			assert_int_equal(hardware_resume(), 0);
		}
		assert_int_equal(hardware_cpu_online(cpu), 0);
	}
	stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	print_message("# %u loads, %u moves\n", loads, moves);
	assert_true(loads > 0);
	vm_put(a);
}

static void *load_once(void *arg)
{
	struct hv_vcpu *vcpu = arg;
	int cpu;

	hv_rcu_register_thread();
	hv_mutex_lock(&vcpu->mutex);
	cpu = hardware_vcpu_load(vcpu, 0);
	if (cpu >= 0)
		hardware_vcpu_put(vcpu);
	hv_mutex_unlock(&vcpu->mutex);
	hv_rcu_unregister_thread();
	return (void *)(intptr_t)cpu;
}

/* While the host is suspended a load waits; a pause request ends the wait. */
static void test_load_while_suspended(void **state)
{
	struct hv_vm *a = vf_vm_new("a");
	struct timespec ts = { .tv_nsec = 30000000 };
	struct hv_vcpu *vcpu;
	pthread_t t;
	void *r;

	assert_int_equal(vm_add_vcpu(a, 0, &vcpu), 0);
	assert_int_equal(hardware_suspend(), 0);
	assert_int_equal(pthread_create(&t, NULL, load_once, vcpu), 0);
	nanosleep(&ts, NULL);
	assert_int_equal(vcpu->cpu, -1);
	assert_int_equal(hardware_resume(), 0);
	pthread_join(t, &r);
	assert_int_equal((intptr_t)r, 0);
	assert_int_equal(hardware_suspend(), 0);
	assert_int_equal(pthread_create(&t, NULL, load_once, vcpu), 0);
	vcpu_make_request(vcpu, HV_REQ_PAUSE);
	pthread_join(t, &r);
	assert_int_equal((intptr_t)r, -EINTR);
	assert_int_equal(hardware_resume(), 0);
	vm_put(a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_first_and_last), T(test_one_cpu_fails),
		T(test_modules),	T(test_hotplug),
		T(test_online_fails_second_vendor), T(test_suspend),
		T(test_load_and_put),	T(test_hotplug_under_vcpus),
		T(test_load_while_suspended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
