/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * APIC virtualisation: the TPR shadow, the APIC-access page, x2APIC MSRs, EOI and
 * self-IPI, delivery of virtual interrupts, posted interrupts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

#define APIC_GPA 0x30000ULL /* where the guest's APIC-access page lies */

static struct cpu_vm vm;

static uint32_t *vreg(unsigned int offset)
{
	return (uint32_t *)(cpu_vm_page(&vm, CPU_VM_P_VAPIC) + offset);
}

static int setup(void **state)
{
	cpu_vm_create(&vm, CPU_VM_VMX, CPU_VM_TDP);
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_TPR_SHADOW);
	cpu_vm_set(&vm, VMCS_VIRTUAL_APIC_ADDR, cpu_vm_page(&vm, CPU_VM_P_VAPIC));
	vm.pt[APIC_GPA >> 12] = cpu_vm_page(&vm, CPU_VM_P_APIC) | (vm.pt[0] & 0xfff);
	vm.gprs.r[X86_RAX] = APIC_GPA;
	return 0;
}

static int teardown(void **state)
{
	cpu_vm_destroy(&vm);
	return 0;
}

static void apic_accesses(uint32_t more)
{
	cpu_vm_set(&vm, VMCS_APIC_ACCESS_ADDR, cpu_vm_page(&vm, CPU_VM_P_APIC));
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_APIC_ACCESSES | more);
}

/* mov ecx, [rax+offset]; hlt */
static void read32(uint32_t offset)
{
	uint8_t code[] = { 0x8b, 0x88, 0, 0, 0, 0, 0xf4 };

	memcpy(code + 2, &offset, 4);
	cpu_vm_code(&vm, code, sizeof(code));
}

/* mov [rax+offset], ecx; hlt */
static void write32(uint32_t offset, uint32_t value)
{
	uint8_t code[] = { 0x89, 0x88, 0, 0, 0, 0, 0xf4 };

	memcpy(code + 2, &offset, 4);
	vm.gprs.r[X86_RCX] = value;
	cpu_vm_code(&vm, code, sizeof(code));
}

static void test_cr8(void **state)
{
	*vreg(0x80) = 0x50;
	vm.gprs.r[X86_RCX] = 9;
	CPU_VM_CODE_BYTES(&vm, 0x44, 0x0f, 0x20, 0xc3, 0x44, 0x0f, 0x22, 0xc1, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RBX], 5);
	assert_int_equal(*vreg(0x80), 0x90);
	/* Below the threshold: an exit behind the instruction. */
	cpu_vm_set(&vm, VMCS_TPR_THRESHOLD, 4);
	vm.gprs.r[X86_RCX] = 3;
	CPU_VM_CODE_BYTES(&vm, 0x44, 0x0f, 0x22, 0xc1, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 4);
}

static void test_entry_threshold(void **state)
{
	apic_accesses(0);
	cpu_vm_set(&vm, VMCS_TPR_THRESHOLD, 4);
	*vreg(0x80) = 0x30;
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	*vreg(0x80) = 0x40;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void expect_access(uint64_t qualification)
{
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_ACCESS);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), qualification);
}

static void test_access_page(void **state)
{
	apic_accesses(0);
	*vreg(0x80) = 0x70;
	read32(0x80);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RCX], 0x70);
	write32(0x80, 0x12345620);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(*vreg(0x80), 0x20);
	/* Everything else exits. */
	read32(0x20);
	expect_access(0x20);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_LINEAR_ADDRESS), APIC_GPA + 0x20);
	write32(0x300, 1);
	expect_access(0x300 | 1 << 12);
	CPU_VM_CODE_BYTES(&vm, 0x48, 0x8b, 0x88, 0x80, 0, 0, 0); /* 64 bits wide */
	expect_access(0x80);
	read32(0x82); /* across the first four bytes */
	expect_access(0x82);
	CPU_VM_CODE_BYTES(&vm, 0xff, 0xe0);
	expect_access(2 << 12);
	/* Without the TPR shadow nothing is virtualised. */
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_TPR_SHADOW);
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_CR8_LOAD | VMX_CPU_CR8_STORE);
	read32(0x80);
	expect_access(0x80);
}

/* An access while an event is delivered, and by the guest's page walk. */
static void test_access_page_indirect(void **state)
{
	apic_accesses(0);
	cpu_vm_set(&vm, VMCS_GUEST_RSP, APIC_GPA + 0x800);
	CPU_VM_CODE_BYTES(&vm, 0xcd, 0x80);
	expect_access(0x7f8 | 3 << 12);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000480);
	cpu_vm_set(&vm, VMCS_GUEST_RSP, CPU_VM_STACK);
	((uint64_t *)(vm.ram + CPU_VM_PML4 + 0x2000))[1] = APIC_GPA | 0x27;
	vm.gprs.r[X86_RAX] = 0x200000;
	read32(0);
	expect_access(15 << 12);
}

static void test_register_virtualization(void **state)
{
	apic_accesses(VMX_CPU2_APIC_REGISTERS);
	*vreg(0x20) = 0x05000000;
	read32(0x20);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RCX], 0x05000000);
	/* The PPR and the current count are not among them. */
	read32(0xa0);
	expect_access(0xa0);
	read32(0x390);
	expect_access(0x390);
	write32(0x30, 0);
	expect_access(0x30 | 1 << 12);
	/* A write lands in the page and exits behind the instruction. */
	write32(0xf0, 0x1ff);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_WRITE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 0xf0);
	assert_int_equal(*vreg(0xf0), 0x1ff);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 6);
	/* ICR high: only the destination, no exit. */
	write32(0x310, 0x12345678);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(*vreg(0x310), 0x12000000);
	/* Two writes in a row: two exits, in order. */
	CPU_VM_CODE_BYTES(&vm, 0x89, 0x88, 0x20, 0x03, 0, 0, 0x89, 0x88, 0x80, 0x03, 0, 0, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_WRITE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 0x320);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 6);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_WRITE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 0x380);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void virtual_interrupts(void)
{
	apic_accesses(VMX_CPU2_APIC_REGISTERS | VMX_CPU2_VIRTUAL_INTR);
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
}

static void test_delivery(void **state)
{
	virtual_interrupts();
	*vreg(0x200 + 0x10) |= 1 << 17; /* IRR: 0x31 */
	*vreg(0x200 + 0x20) |= 1 << 1;  /* 0x41 */
	cpu_vm_set(&vm, VMCS_GUEST_INTR_STATUS, 0x41);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0x4131);
	assert_int_equal(*vreg(0x100 + 0x20), 1 << 1);
	assert_int_equal(*vreg(0x200 + 0x20), 0);
	assert_int_equal(*vreg(0xa0), 0x40);
	/* EOI: back to the lower one, which is then deliverable. */
	write32(0xb0, 0);
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0x3100);
	assert_int_equal(*vreg(0x100 + 0x20), 0);
	/* An EOI that is to exit. */
	cpu_vm_set(&vm, VMCS_EOI_EXIT_BITMAP0, 1ULL << 0x31);
	write32(0xb0, 0);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_VIRTUALIZED_EOI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 0x31);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 6);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0);
}

static void test_priority(void **state)
{
	virtual_interrupts();
	*vreg(0x80) = 0x40;
	*vreg(0x200 + 0x20) |= 1 << 1;
	cpu_vm_set(&vm, VMCS_GUEST_INTR_STATUS, 0x41);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	/* The guest lowers its TPR: delivered behind the write. */
	write32(0x80, 0x30);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	/* IF = 0 holds it back; an interrupt window comes first. */
	*vreg(0x80) = 0;
	cpu_vm_set(&vm, VMCS_GUEST_INTR_STATUS, 0x41);
	*vreg(0x200 + 0x20) |= 1 << 1;
	cpu_vm_clear(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_INTR_WINDOW);
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_INTR_WINDOW);
}

static void test_self_ipi(void **state)
{
	virtual_interrupts();
	write32(0x300, 0x40000 | 0x61);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0x6100);
	/* To somebody else: the hypervisor's business. */
	write32(0x300, 0xc0000 | 0x61);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_WRITE);
	/* An illegal vector, too. */
	write32(0x300, 0x40000 | 0x05);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_APIC_WRITE);
}

static void x2apic(uint32_t index, uint32_t value, bool write)
{
	vm.gprs.r[X86_RCX] = index;
	vm.gprs.r[X86_RAX] = value;
	vm.gprs.r[X86_RDX] = 0;
	if (write)
		CPU_VM_CODE_BYTES(&vm, 0x0f, 0x30, 0xf4);
	else
		CPU_VM_CODE_BYTES(&vm, 0x0f, 0x32, 0xf4);
}

static void test_x2apic(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_X2APIC | VMX_CPU2_APIC_REGISTERS |
				       VMX_CPU2_VIRTUAL_INTR);
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_GP);
	cpu_vm_or(&vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
	x2apic(0x808, 0x30, true);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(*vreg(0x80), 0x30);
	x2apic(0x808, 0x130, true); /* reserved bits */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	*vreg(0x20) = 77;
	x2apic(0x802, 0, false);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RAX], 77);
	/* Self-IPI and EOI. */
	x2apic(0x83f, 0x51, true);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0x5100);
	x2apic(0x80b, 0, true);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0);
	x2apic(0x80b, 1, true);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	/* The bitmap comes first. */
	*(uint8_t *)(cpu_vm_page(&vm, CPU_VM_P_MSR) + 0x802 / 8) |= 1 << 2;
	x2apic(0x802, 0, false);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_RDMSR);
}

static void test_posted(void **state)
{
	struct vmx_posted_intr_desc *desc =
		(struct vmx_posted_intr_desc *)cpu_vm_page(&vm, CPU_VM_P_PID);

	virtual_interrupts();
	cpu_vm_or(&vm, VMCS_PIN_CTLS, VMX_PIN_POSTED_INTR);
	cpu_vm_or(&vm, VMCS_EXIT_CTLS, VMX_EXITCTL_ACK_INTR);
	cpu_vm_set(&vm, VMCS_POSTED_INTR_DESC, (uint64_t)desc);
	cpu_vm_set(&vm, VMCS_POSTED_INTR_VECTOR, 0xf2);
	desc->pir[1] = 1ULL << (0x71 - 64) | 1;
	desc->control = VMX_PI_ON;
	vm.p->posted_notify(vm.lp);
	CPU_VM_CODE_BYTES(&vm, 0x90, 0x90, 0xf4);
	/* No exit for the notification: the guest goes on with the interrupt. */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	assert_int_equal(desc->pir[1], 0);
	assert_int_equal(desc->control & VMX_PI_ON, 0);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_INTR_STATUS), 0x7140);
	/* A kick at the same time still exits. */
	vm.p->posted_notify(vm.lp);
	vm.p->lp_kick(vm.lp);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXTERNAL_INTERRUPT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cr8), T(test_entry_threshold), T(test_access_page), T(test_access_page_indirect),
		T(test_register_virtualization), T(test_delivery), T(test_priority), T(test_self_ipi),
		T(test_x2apic), T(test_posted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
