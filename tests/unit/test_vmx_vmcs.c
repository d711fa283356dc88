/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VMXON, VMCLEAR, VMPTRLD, VMREAD, VMWRITE and the capability MSRs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

static struct cpu_vm vm;

static int setup(void **state)
{
	cpu_vm_create(&vm, CPU_VM_VMX, CPU_VM_TDP);
	return 0;
}

static int teardown(void **state)
{
	cpu_vm_destroy(&vm);
	return 0;
}

static uint64_t insn_error(void)
{
	return cpu_vm_get(&vm, VMCS_INSN_ERROR);
}

static void test_every_field(void **state)
{
	static const uint64_t mask[] = { 0xffff, UINT64_MAX, 0xffffffff, UINT64_MAX };
	const uint64_t pattern = 0x8123456789abcdefULL;
	uint64_t value;

	for (unsigned int cell = 0; cell < VC_COUNT; cell++) {
		uint32_t enc = vmcs_cell_encoding(cell), width = enc >> 13 & 3;
		bool high;

		assert_int_equal(vmcs_cell(enc, &high), cell);
		assert_false(high);
		if ((enc >> 10 & 3) == VMCS_READ_ONLY) {
			assert_int_equal(vm.p->vmx->vmwrite(vm.lp, enc, 1), HV_VMX_FAIL_VALID);
			assert_int_equal(insn_error(), VMX_ERR_READ_ONLY_FIELD);
			continue;
		}
		assert_int_equal(vm.p->vmx->vmwrite(vm.lp, enc, pattern + cell), HV_VMX_OK);
		assert_int_equal(vm.p->vmx->vmread(vm.lp, enc, &value), HV_VMX_OK);
		assert_int_equal(value, (pattern + cell) & mask[width]);
	}
}

static void test_high_halves(void **state)
{
	cpu_vm_set(&vm, VMCS_TSC_OFFSET, 0x1122334455667788);
	assert_int_equal(cpu_vm_get(&vm, VMCS_TSC_OFFSET + 1), 0x11223344);
	cpu_vm_set(&vm, VMCS_TSC_OFFSET + 1, 0xaabbccdd99);
	assert_int_equal(cpu_vm_get(&vm, VMCS_TSC_OFFSET), 0xbbccdd9955667788);
}

static void test_unsupported_fields(void **state)
{
	/* Odd encodings of other widths, reserved bits, holes, indexes beyond the table. */
	static const uint32_t bad[] = { 0x0001, 0x4003, 0x6801, 0x1000, 0x9000, 0x0006, 0x2048,
					0x2402, 0x682a, 0x03fe, 0x10000, 0xffffffff };
	uint64_t value;

	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(vm.p->vmx->vmread(vm.lp, bad[i], &value), HV_VMX_FAIL_VALID);
		assert_int_equal(insn_error(), VMX_ERR_UNSUPPORTED_FIELD);
		assert_int_equal(vm.p->vmx->vmwrite(vm.lp, bad[i], 0), HV_VMX_FAIL_VALID);
	}
}

static void test_vmxon(void **state)
{
	uint64_t region = cpu_vm_page(&vm, CPU_VM_P_VMXON);

	assert_int_equal(vm.p->vmx->vmxon(0, region), -EBUSY);
	assert_int_equal(vm.p->vmx->vmxon(7, region), -ENODEV);
	assert_int_equal(vm.p->vmx->vmxoff(0), 0);
	assert_int_equal(vm.p->vmx->vmxoff(0), -EINVAL);
	assert_int_equal(vm.p->vmx->vmxon(0, region + 8), -EINVAL);
	assert_int_equal(vm.p->vmx->vmxon(0, cpu_vm_page(&vm, CPU_VM_P_MSR)), -EINVAL);
	/* Outside VMX operation nothing works. */
	assert_int_equal(vm.p->vmx->vmclear(vm.lp, cpu_vm_page(&vm, CPU_VM_P_VMCS)),
			 HV_VMX_FAIL_INVALID);
	assert_int_equal(cpu_vm_enter(&vm), HV_VMX_FAIL_INVALID);
	assert_int_equal(vm.p->vmx->vmxon(0, region), 0);
}

static void test_pointers(void **state)
{
	uint64_t vmcs = cpu_vm_page(&vm, CPU_VM_P_VMCS), region = cpu_vm_page(&vm, CPU_VM_P_VMXON);
	uint64_t value;

	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, vmcs + 16), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMPTRLD_ADDRESS);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, region), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMPTRLD_VMXON);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, cpu_vm_page(&vm, CPU_VM_P_MSR)), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMPTRLD_REVISION);
	assert_int_equal(vm.p->vmx->vmclear(vm.lp, 1ULL << 50), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMCLEAR_ADDRESS);
	assert_int_equal(vm.p->vmx->vmclear(vm.lp, region), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMCLEAR_VMXON);
	/* Without a current VMCS failures have no place for their number. */
	assert_int_equal(vm.p->vmx->vmclear(vm.lp, vmcs), HV_VMX_OK);
	assert_int_equal(vm.p->vmx->vmread(vm.lp, VMCS_GUEST_RIP, &value), HV_VMX_FAIL_INVALID);
	assert_int_equal(vm.p->vmx->vmwrite(vm.lp, VMCS_GUEST_RIP, 0), HV_VMX_FAIL_INVALID);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, vmcs + 16), HV_VMX_FAIL_INVALID);
	/* The contents survive. */
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, vmcs), HV_VMX_OK);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_RSP), CPU_VM_STACK);
}

static void test_capabilities(void **state)
{
	static const uint32_t pairs[][2] = {
		{ VMX_MSR_PINBASED, VMX_MSR_TRUE_PINBASED },
		{ VMX_MSR_PROCBASED, VMX_MSR_TRUE_PROCBASED },
		{ VMX_MSR_EXIT, VMX_MSR_TRUE_EXIT },
		{ VMX_MSR_ENTRY, VMX_MSR_TRUE_ENTRY },
	};

	for (unsigned int i = 0; i < 4; i++) {
		uint64_t old = vm.p->vmx->capability(pairs[i][0]);
		uint64_t true_ = vm.p->vmx->capability(pairs[i][1]);

		/* The same may-be-1; the older MSR wants at least as many ones. */
		assert_int_equal(old >> 32, true_ >> 32);
		assert_int_equal(old & true_ & 0xffffffff, true_ & 0xffffffff);
		/* What has to be 1 may be 1. */
		assert_int_equal(old & 0xffffffff & ~(old >> 32), 0);
	}
	assert_true(vm.p->vmx->capability(VMX_MSR_BASIC) >> 55 & 1);
	assert_int_equal(vm.p->vmx->capability(VMX_MSR_BASIC) >> 32 & 0x1fff, 4096);
	assert_int_equal(vm.p->vmx->capability(VMX_MSR_CR0_FIXED0), 0x80000021);
	assert_true(vm.p->vmx->capability(VMX_MSR_EPT_VPID_CAP) & VMX_EPT_CAP_AD);
	assert_int_equal(vm.p->vmx->capability(0x12345), 0);
	/* The highest field index that is reported exists, and none is higher. */
	for (unsigned int cell = 0; cell < VC_COUNT; cell++)
		assert_true((vmcs_cell_encoding(cell) & 0x3fe) <=
			    vm.p->vmx->capability(VMX_MSR_VMCS_ENUM));
}

static void test_launch_state(void **state)
{
	struct hv_gprs gprs = { { 0 } };

	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(vm.p->vmx->enter(vm.lp, &gprs, false), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMRESUME_NOT_LAUNCHED);
	assert_int_equal(vm.p->vmx->enter(vm.lp, &gprs, true), HV_VMX_OK);
	assert_int_equal(vm.p->vmx->enter(vm.lp, &gprs, true), HV_VMX_FAIL_VALID);
	assert_int_equal(insn_error(), VMX_ERR_VMLAUNCH_NOT_CLEAR);
	assert_int_equal(vm.p->vmx->enter(vm.lp, &gprs, false), HV_VMX_OK);
	/* VMCLEAR makes it clear again and keeps the state, what was cached included. */
	assert_int_equal(vm.p->vmx->vmclear(vm.lp, cpu_vm_page(&vm, CPU_VM_P_VMCS)), HV_VMX_OK);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, cpu_vm_page(&vm, CPU_VM_P_VMCS)), HV_VMX_OK);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_CS_SELECTOR), 8);
	assert_int_equal(vm.p->vmx->enter(vm.lp, &gprs, true), HV_VMX_OK);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_REASON), VMX_EXIT_HLT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_field), T(test_high_halves), T(test_unsupported_fields), T(test_vmxon),
		T(test_pointers), T(test_capabilities), T(test_launch_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
