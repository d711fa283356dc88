/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Event injection, IDT-vectoring information, interrupt and NMI windows, HLT and kicks. */
#include <pthread.h>
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
	CPU_VM_CODE_BYTES(&vm, 0x90, 0x90, 0x90, 0xf4);
	return 0;
}

static int teardown(void **state)
{
	cpu_vm_destroy(&vm);
	return 0;
}

static void inject(uint32_t info)
{
	cpu_vm_set(&vm, VMCS_ENTRY_INTR_INFO, VMX_INTR_VALID | info);
}

static uint64_t stack_word(unsigned int index)
{
	uint64_t value;

	memcpy(&value, vm.ram + cpu_vm_get(&vm, VMCS_GUEST_RSP) + index * 8, 8);
	return value;
}

static void expect_handler(void)
{
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	/* The entry consumed the event. */
	assert_int_equal(cpu_vm_get(&vm, VMCS_ENTRY_INTR_INFO) & VMX_INTR_VALID, 0);
}

static void test_inject_interrupt(void **state)
{
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	inject(0x30);
	expect_handler();
	assert_int_equal(stack_word(0), CPU_VM_CODE);
	assert_int_equal(stack_word(1), 0x08);
	assert_true(stack_word(2) & X86_FL_IF);
	assert_false(cpu_vm_get(&vm, VMCS_GUEST_RFLAGS) & X86_FL_IF);
}

static void test_inject_exception(void **state)
{
	/* An injected exception is not intercepted, and CR2 is the hypervisor's. */
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_PF);
	cpu_vm_set(&vm, VMCS_ENTRY_INTR_ERROR, 6);
	vm.p->set_reg(vm.lp, HV_LP_CR2, 0x1234);
	inject(0xb0e);
	expect_handler();
	assert_int_equal(stack_word(0), 6);
	assert_int_equal(stack_word(1), CPU_VM_CODE);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_CR2), 0x1234);
}

static void test_inject_software(void **state)
{
	/* A software interrupt returns behind its instruction. */
	cpu_vm_set(&vm, VMCS_ENTRY_INSN_LEN, 2);
	inject(0x480);
	expect_handler();
	assert_int_equal(stack_word(0), CPU_VM_CODE + 2);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	cpu_vm_set(&vm, VMCS_ENTRY_INSN_LEN, 1);
	inject(0x603);
	expect_handler();
	assert_int_equal(stack_word(0), CPU_VM_CODE + 1);
}

static void test_inject_nmi(void **state)
{
	inject(0x202);
	expect_handler();
	assert_true(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY) & VMX_BLOCK_NMI);
	/* IRET unblocks. */
	vm.ram[CPU_VM_HANDLER] = 0x48;
	vm.ram[CPU_VM_HANDLER + 1] = 0xcf;
	cpu_vm_flush(&vm);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 3);
	assert_false(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY) & VMX_BLOCK_NMI);
}

static void test_inject_wakes(void **state)
{
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	cpu_vm_set(&vm, VMCS_GUEST_ACTIVITY, VMX_HLT);
	inject(0x30);
	expect_handler();
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_ACTIVITY), VMX_ACTIVE);
}

/* The delivery itself exits: the event is in the IDT-vectoring information. */
static void test_vectoring(void **state)
{
	uint64_t whole = vm.pt[(CPU_VM_STACK - 1) >> 12];

	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	vm.pt[(CPU_VM_STACK - 1) >> 12] = 0;
	inject(0x30);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000030);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_RSP), CPU_VM_STACK);
	assert_true(cpu_vm_get(&vm, VMCS_GUEST_RFLAGS) & X86_FL_IF);
	/* With an error code. */
	cpu_vm_set(&vm, VMCS_ENTRY_INTR_ERROR, 0x18);
	inject(0xb0d);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000b0d);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_ERROR), 0x18);
	/* An instruction's own exception, and a software interrupt with its length. */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x0b);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000306);
	CPU_VM_CODE_BYTES(&vm, 0xcd, 0x80);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000480);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_LEN), 2);
	/* An NMI that was not delivered blocks nothing. */
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	inject(0x202);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000202);
	assert_false(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY) & VMX_BLOCK_NMI);
	/* Mended and injected again as the hypervisor does. */
	vm.pt[(CPU_VM_STACK - 1) >> 12] = whole;
	inject((uint32_t)cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO));
	expect_handler();
	/* A plain exit has none. */
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID, 0);
}

static void test_interrupt_window(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_INTR_WINDOW);
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_INTR_WINDOW);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	/* Closed until STI and the instruction behind it. */
	cpu_vm_clear(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	CPU_VM_CODE_BYTES(&vm, 0x90, 0xfb, 0x90, 0x90, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_INTR_WINDOW);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 3);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY), 0);
	/* Blocking by STI, loaded by the entry, lasts one instruction. */
	cpu_vm_set(&vm, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCK_STI);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_INTR_WINDOW);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 1);
	/* HLT is left. */
	cpu_vm_set(&vm, VMCS_GUEST_ACTIVITY, VMX_HLT);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_INTR_WINDOW);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_ACTIVITY), VMX_ACTIVE);
}

static void test_sti_exit(void **state)
{
	/* STI; CPUID: the exit shows the blocking. */
	CPU_VM_CODE_BYTES(&vm, 0xfb, 0x0f, 0xa2);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_CPUID);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY), VMX_BLOCK_STI);
	/* MOV SS likewise. */
	vm.gprs.r[X86_RAX] = 0x10;
	CPU_VM_CODE_BYTES(&vm, 0x8e, 0xd0, 0x0f, 0xa2);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_CPUID);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY), VMX_BLOCK_MOV_SS);
}

static void test_nmi_window(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_NMI_WINDOW);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_NMI_WINDOW);
	/* Blocked: the guest runs until IRET. */
	cpu_vm_set(&vm, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCK_NMI);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	CPU_VM_CODE_BYTES(&vm, 0x48, 0xcf);
	{
		uint64_t frame[5] = { CPU_VM_CODE + 0x100, 8, 2, CPU_VM_STACK, 0x10 };

		memcpy(vm.ram + CPU_VM_STACK - sizeof(frame), frame, sizeof(frame));
		cpu_vm_set(&vm, VMCS_GUEST_RSP, CPU_VM_STACK - sizeof(frame));
	}
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_NMI_WINDOW);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 0x100);
}

/* IRET unblocks NMIs even when reading its frame exits; the qualification says so. */
static void test_iret_unblocks(void **state)
{
	cpu_vm_set(&vm, VMCS_GUEST_INTERRUPTIBILITY, VMX_BLOCK_NMI);
	cpu_vm_set(&vm, VMCS_GUEST_RSP, CPU_VM_DATA);
	vm.pt[CPU_VM_DATA >> 12] = 0;
	CPU_VM_CODE_BYTES(&vm, 0x48, 0xcf);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_true(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) & EPT_QUAL_NMI_UNBLOCK);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTERRUPTIBILITY), 0);
	/* Any other instruction says nothing of the kind. */
	vm.gprs.r[X86_RAX] = CPU_VM_DATA;
	CPU_VM_CODE_BYTES(&vm, 0x8a, 0x18);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_false(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) & EPT_QUAL_NMI_UNBLOCK);
}

static void test_pending_mtf(void **state)
{
	inject(0x700);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_MONITOR_TRAP);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void test_pending_debug(void **state)
{
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_DB);
	cpu_vm_set(&vm, VMCS_GUEST_PENDING_DBG, VMX_PENDING_DBG_BS);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000301);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), X86_DR6_BS);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	/* Single-stepping: after the first instruction. */
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_TF);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 1);
}

/* ---- other threads --------------------------------------------------------------------------- */

static void *kick_later(void *arg)
{
	struct timespec ts = { 0, 20000000 };

	nanosleep(&ts, NULL);
	vm.p->lp_kick(vm.lp);
	return NULL;
}

static void kicked_by_thread(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, kick_later, NULL), 0);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_kick_running(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xeb, 0xfe);
	kicked_by_thread();
	/* Interrupts disabled or not: an external interrupt exits. */
	assert_false(cpu_vm_get(&vm, VMCS_GUEST_RFLAGS) & X86_FL_IF);
}

static void test_kick_halted(void **state)
{
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_HLT);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	kicked_by_thread();
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_ACTIVITY), VMX_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_inject_interrupt), T(test_inject_exception), T(test_inject_software),
		T(test_inject_nmi), T(test_inject_wakes), T(test_vectoring), T(test_interrupt_window),
		T(test_sti_exit), T(test_nmi_window), T(test_iret_unblocks),
		T(test_pending_mtf), T(test_pending_debug),
		T(test_kick_running), T(test_kick_halted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
