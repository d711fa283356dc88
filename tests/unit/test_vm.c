/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VM and vCPU objects: creation, its failures, the end, a bugged VM. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/vm/vm.h"
#include "tests/lib/vm_fake.h"

static const struct hv_vm_params params = {
	.name = "one", .processor = &vf_processor, .vendor = &vf_vendor, .mmu_ops = &vf_mmu_ops,
};

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

static int count_vm(struct hv_vm *vm, void *ctx)
{
	++*(int *)ctx;
	return 0;
}

static int vms(void)
{
	int n = 0;

	vm_for_each(count_vm, &n);
	return n;
}

static int stop_at_first(struct hv_vm *vm, void *ctx)
{
	*(struct hv_vm **)ctx = vm;
	return 5;
}

static void test_life(void **state)
{
	struct hv_vm *a = vf_vm_new("a"), *b = vf_vm_new("b"), *found;

	assert_int_equal(vms(), 2);
	assert_int_equal(hardware_usage_count(), 2);
	assert_int_equal(vm_for_each(stop_at_first, &found), 5);
	assert_ptr_equal(found, a);
	vm_get(a);
	vm_put(a);
	assert_int_equal(vms(), 2);
	vm_put(a);
	assert_int_equal(vms(), 1);
	vm_put(b);
	assert_int_equal(vms(), 0);
	assert_int_equal(hardware_usage_count(), 0);
	vm_put(NULL);
}

static void check_nothing(int want, int got)
{
	assert_int_equal(got, want);
	assert_int_equal(vms(), 0);
	assert_int_equal(hardware_usage_count(), 0);
}

static void test_create_fails(void **state)
{
	struct hv_vm_params p = params;
	struct hv_vm *vm = NULL;

	p.vendor = &vf_vendor2; /* not loaded */
	check_nothing(-ENODEV, vm_create(&p, &vm));
	p = params;
	p.mmu_ops = NULL;
	check_nothing(-EINVAL, vm_create(&p, &vm));
	vf_mmu.fail_vm_init = -ENOSPC;
	check_nothing(-ENOSPC, vm_create(&params, &vm));
	vf_mmu.fail_vm_init = 0;
	vf_hw.fail_vm_init = -EPERM;
	check_nothing(-EPERM, vm_create(&params, &vm));
	vf_hw.fail_vm_init = 0;
	vf_hw.fail_cpu = 0;
	assert_null(vm);
	check_nothing(-EIO, vm_create(&params, &vm));
	assert_null(vm);
}

#ifdef HV_DEBUG
static void test_create_injected(void **state)
{
	struct hv_vm *vm;
	struct hv_vcpu *vcpu;
	uint64_t n;
	int r;

	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = vm_create(&params, &vm);
		if (!hv_fault_disarm())
			break;
		check_nothing(-ENOMEM, r);
	}
	assert_int_equal(r, 0);
	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = vm_add_vcpu(vm, 0, &vcpu);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(vm_vcpu(vm, 0));
	}
	assert_int_equal(r, 0);
	vm_put(vm);
}
#endif

static void test_vcpus(void **state)
{
	struct hv_vm *vm = vf_vm_new("v");
	struct hv_vcpu *vcpu, *none = NULL;
	unsigned int i;

	assert_null(vm_vcpu(vm, 0));
	vf_mmu.fail_vcpu_init = -ENOMEM;
	assert_int_equal(vm_add_vcpu(vm, 0, &none), -ENOMEM);
	vf_mmu.fail_vcpu_init = 0;
	vf_hw.fail_vcpu_create = -EIO;
	assert_int_equal(vm_add_vcpu(vm, 0, &none), -EIO);
	vf_hw.fail_vcpu_create = 0;
	assert_null(none);
	for (i = 0; i < HV_MAX_VCPUS; i++) {
		assert_int_equal(vm_add_vcpu(vm, i, &vcpu), 0);
		assert_ptr_equal(vm_vcpu(vm, i), vcpu);
		assert_int_equal(vcpu->id, i);
		assert_int_equal(vcpu->cpu, -1);
	}
	assert_int_equal(vm_add_vcpu(vm, 0, &none), -EINVAL); /* full */
	assert_int_equal(vm_add_vcpu(vm, HV_MAX_VCPUS, &none), -EINVAL);
	assert_null(vm_vcpu(vm, HV_MAX_VCPUS));
	vm_put(vm);
	vm = vf_vm_new("w");
	assert_int_equal(vm_add_vcpu(vm, 3, &vcpu), 0);
	assert_int_equal(vm_add_vcpu(vm, 3, &none), -EEXIST);
	vm_put(vm);
}

static void test_bugged(void **state)
{
	struct hv_vm *vm = vf_vm_new("bug"), *other = vf_vm_new("other");
	struct hv_vcpu *vcpu;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_false(vm_is_bugged(vm));
	vm_bugged(vm, "first %d", 1);
	vm_bugged(vm, "second");
	assert_true(vm_is_bugged(vm));
	assert_string_equal(vm->bug_reason, "first 1");
	assert_true(vcpu_check_request(vcpu, HV_REQ_VM_DEAD));
	assert_false(vm_is_bugged(other));
	vm_put(vm);
	vm_put(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_life),	T(test_create_fails), T(test_vcpus), T(test_bugged),
#ifdef HV_DEBUG
		T(test_create_injected),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
