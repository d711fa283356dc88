/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The logical processor outside guest mode: CPUID, TSC, registers, MSRs, extended state, life cycle. */
#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static void leaf(uint32_t l, uint32_t sub, uint32_t out[4])
{
	vm.p->cpuid(l, sub, out);
}

static void test_cpuid(void **state)
{
	uint32_t out[4], silicon[4], host[4];

	leaf(0, 0, out);
	assert_true(out[0] >= 0xd);
	__cpuid(0, host[0], host[1], host[2], host[3]);
	assert_int_equal(out[1], host[1]); /* the vendor is the host's */
	leaf(1, 0, out);
	__cpuid(1, host[0], host[1], host[2], host[3]);
	assert_true(out[2] & 1U << 26); /* XSAVE */
	assert_true(out[2] & 1U << 17); /* PCID is ours whether or not the host has it */
	/* What the host's instructions compute is there only if the host has it. */
	assert_int_equal(out[2] & ~host[2] & (1U << 12 | 1U << 25 | 1U << 28 | 1U << 29), 0);
	/* Neither nested VMX nor nested SVM is for guests; hv/x86 sees both modes' own bits. */
	assert_false(out[2] & 1U << 5);
	soft_cpuid_silicon(vm.lp->cpu, 1, 0, silicon);
	assert_true(silicon[2] & 1U << 5);
	leaf(0x80000001, 0, out);
	assert_false(out[2] & 1U << 2);
	assert_true(out[3] & 1U << 29);
	/* AVX-512 does not exist here. */
	leaf(7, 0, out);
	assert_false(out[1] & 1U << 16);
	leaf(0x80000008, 0, out);
	assert_int_equal(out[0] & 0xff, SOFT_MAXPHYADDR);
	/* Unknown leaves are 0. */
	leaf(0x12345678, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	leaf(0xd, 63, out);
	assert_int_equal(out[0] | out[1], 0);
}

/* Every CR4 bit that a guest may set is one that hv/x86 knows, and the other way round. */
static void test_cr4(void **state)
{
	assert_int_equal(~x86_cr4_reserved(vm.lp->cpu), soft_cr4_allowed() | X86_CR4_VMXE);
	assert_int_equal(vm.p->vmx->capability(VMX_MSR_CR4_FIXED1), soft_cr4_allowed() | X86_CR4_VMXE);
}

static void test_tsc(void **state)
{
	struct timespec ts = { 0, 30000000 }, t0, t1;
	uint64_t a, b, ns, expected;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	a = vm.p->rdtsc();
	nanosleep(&ts, NULL);
	b = vm.p->rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &t1);
	ns = (uint64_t)(t1.tv_sec - t0.tv_sec) * 1000000000 + (uint64_t)t1.tv_nsec - (uint64_t)t0.tv_nsec;
	expected = ns * vm.p->tsc_khz() / 1000000;
	/* The readings are nested: the TSC's interval cannot be longer, but for calibration. */
	assert_true(b > a);
	assert_true(b - a <= expected + expected / 100);
}

static void test_registers(void **state)
{
	vm.p->set_reg(vm.lp, HV_LP_CR2, 0x1234);
	vm.p->set_reg(vm.lp, HV_LP_DR0 + 2, 0x5678);
	vm.p->set_reg(vm.lp, HV_LP_DR6, 0xffff0ff1);
	vm.p->set_reg(vm.lp, HV_LP_CR8, 7);
	vm.p->set_reg(vm.lp, HV_LP_PKRU, 0x55);
	/* A guest reads CR2 and DR2, writes DR2: neither VMCS nor exit touches them. */
	vm.gprs.r[X86_RCX] = 0x9999;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x20, 0xd3, 0x0f, 0x21, 0xd2, 0x0f, 0x23, 0xd1, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RBX], 0x1234);
	assert_int_equal(vm.gprs.r[X86_RDX], 0x5678);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_DR2), 0x9999);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_DR6), 0xffff0ff1);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_CR8), 7);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_PKRU), 0x55);
}

static void test_msrs(void **state)
{
	static const uint32_t msrs[] = {
		X86_MSR_STAR, X86_MSR_LSTAR, X86_MSR_CSTAR, X86_MSR_FMASK, X86_MSR_KERNEL_GS_BASE,
		X86_MSR_TSC_AUX,
	};
	uint64_t value;

	for (unsigned int i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		assert_int_equal(vm.p->wrmsr(vm.lp, msrs[i], 0x1000 + i), 0);
		assert_int_equal(vm.p->rdmsr(vm.lp, msrs[i], &value), 0);
		assert_int_equal(value, 0x1000 + i);
	}
	/* Not canonical, reserved bits, not here, or in the VMCS. */
	assert_int_equal(vm.p->wrmsr(vm.lp, X86_MSR_LSTAR, 1ULL << 60), -EINVAL);
	assert_int_equal(vm.p->wrmsr(vm.lp, X86_MSR_TSC_AUX, 1ULL << 32), -EINVAL);
	assert_int_equal(vm.p->wrmsr(vm.lp, X86_MSR_XSS, 1), -EINVAL);
	assert_int_equal(vm.p->rdmsr(vm.lp, 0x12345, &value), -EINVAL);
	assert_int_equal(vm.p->rdmsr(vm.lp, X86_MSR_EFER, &value), -EINVAL);
}

static uint64_t header(const uint8_t *area)
{
	uint64_t bv;

	memcpy(&bv, area + 512, 8);
	return bv;
}

static void test_xstate(void **state)
{
	uint32_t size[4];
	uint8_t area[1024], back[1024];
	uint64_t bv;

	leaf(0xd, 0, size);
	assert_true(size[2] <= sizeof(area));
	/* The guest loads a pattern: fninit; movq xmm1, rcx; fld1 */
	cpu_vm_or(&vm, VMCS_GUEST_CR4, X86_CR4_OSFXSR);
	vm.gprs.r[X86_RCX] = 0x1122334455667788;
	CPU_VM_CODE_BYTES(&vm, 0xdb, 0xe3, 0x66, 0x48, 0x0f, 0x6e, 0xc9, 0xd9, 0xe8, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	vm.p->set_reg(vm.lp, HV_LP_PKRU, 0x5554);
	vm.p->save_xstate(vm.lp, area, size[2]);
	assert_int_equal(header(area) & 3, 3);
	assert_memory_equal(area + 160 + 16, &vm.gprs.r[X86_RCX], 8);
	assert_memory_equal(area + 32, "\0\0\0\0\0\0\0\x80\xff\x3f", 10);
	/* Components that are not in the area are initialised. */
	memcpy(back, area, sizeof(back));
	bv = 1;
	memcpy(back + 512, &bv, 8);
	assert_int_equal(vm.p->load_xstate(vm.lp, back, size[2]), 0);
	vm.p->save_xstate(vm.lp, back, size[2]);
	assert_memory_equal(back + 32, area + 32, 10);
	assert_memory_equal(back + 24, "\x80\x1f\0\0", 4);
	for (unsigned int i = 160; i < 416; i++)
		assert_int_equal(back[i], 0);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_PKRU), 0);
	/* And the whole comes back as it was. */
	assert_int_equal(vm.p->load_xstate(vm.lp, area, size[2]), 0);
	vm.p->save_xstate(vm.lp, back, size[2]);
	assert_memory_equal(back, area, size[2]);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_PKRU), 0x5554);
	/* Refused: too small, unknown components, compacted, MXCSR's reserved bits. */
	assert_int_equal(vm.p->load_xstate(vm.lp, area, 512), -EINVAL);
	back[512 + 2] = 1;
	assert_int_equal(vm.p->load_xstate(vm.lp, back, size[2]), -EINVAL);
	memcpy(back, area, sizeof(back));
	back[527] = 0x80;
	assert_int_equal(vm.p->load_xstate(vm.lp, back, size[2]), -EINVAL);
	memcpy(back, area, sizeof(back));
	back[27] = 0x80;
	assert_int_equal(vm.p->load_xstate(vm.lp, back, size[2]), -EINVAL);
}

static void test_counters(void **state)
{
	struct hv_lp_counters before, after;

	CPU_VM_CODE_BYTES(&vm, 0x90, 0x90, 0xf4);
	before = vm.p->lp_counters(vm.lp);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	after = vm.p->lp_counters(vm.lp);
	assert_int_equal(after.insns - before.insns, 2); /* HLT exits and is not retired */
	assert_true(after.tlb_misses > 0);
}

static void test_random(void **state)
{
	uint64_t a = 0, b = 0;

	for (unsigned int i = 0; i < 10 && !soft_random(vm.lp->cpu, &a); i++)
		;
	for (unsigned int i = 0; i < 10 && !soft_random(vm.lp->cpu, &b); i++)
		;
	assert_true(a != b);
}

static void test_life(void **state)
{
	struct hv_lp *other;

	assert_int_equal(vm.p->init(1), -EBUSY);
	assert_int_equal(vm.p->lp_create(&vm, &other), 0);
	/* Not attached to a CPU: nothing of VMX works. */
	assert_int_equal(vm.p->vmx->vmclear(other, cpu_vm_page(&vm, CPU_VM_P_PML)), HV_VMX_FAIL_INVALID);
	vm.p->lp_attach(other, 0);
	assert_int_equal(vm.p->vmx->vmclear(other, cpu_vm_page(&vm, CPU_VM_P_PML)), HV_VMX_OK);
	vm.p->lp_detach(other);
	vm.p->lp_destroy(other);
	vm.p->lp_destroy(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cpuid), T(test_cr4), T(test_tsc), T(test_registers), T(test_msrs), T(test_xstate),
		T(test_counters), T(test_random), T(test_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
