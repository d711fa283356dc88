/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory under VMX: EPT violations and misconfigurations with their qualification,
 * accessed and dirty flags through real accesses, the page-modification log, TLB
 * tags and the instructions that invalidate them, paging without EPT.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

#define DATA_PAGE (CPU_VM_DATA >> 12)
#define PT_PAGE (CPU_VM_PT >> 12)
#define RWX (EPT_READ | EPT_WRITE | EPT_EXEC)

static struct cpu_vm vm;

static int setup(void **state)
{
	cpu_vm_create(&vm, CPU_VM_VMX, CPU_VM_TDP);
	vm.gprs.r[X86_RAX] = CPU_VM_DATA + 0x123;
	return 0;
}

static int setup_shadow(void **state)
{
	cpu_vm_create(&vm, CPU_VM_VMX, CPU_VM_SHADOW);
	vm.gprs.r[X86_RAX] = CPU_VM_DATA + 0x123;
	return 0;
}

static int teardown(void **state)
{
	cpu_vm_destroy(&vm);
	return 0;
}

static void load_byte(void)
{
	CPU_VM_CODE_BYTES(&vm, 0x8a, 0x18, 0xf4); /* mov bl, [rax]; hlt */
}

static void store_byte(void)
{
	CPU_VM_CODE_BYTES(&vm, 0x88, 0x18, 0xf4); /* mov [rax], bl; hlt */
}

static void expect_violation(uint64_t qualification, uint64_t gpa, uint64_t linear)
{
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), qualification);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_PHYSICAL_ADDRESS), gpa);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_LINEAR_ADDRESS), linear);
}

#define FINAL (EPT_QUAL_LINEAR_VALID | EPT_QUAL_FINAL | EPT_QUAL_USER_LINEAR | EPT_QUAL_RW_LINEAR)

static void test_violation_data(void **state)
{
	uint64_t whole = vm.pt[DATA_PAGE];

	vm.pt[DATA_PAGE] &= ~RWX;
	load_byte();
	expect_violation(EPT_QUAL_READ | FINAL, CPU_VM_DATA + 0x123, CPU_VM_DATA + 0x123);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	store_byte();
	expect_violation(EPT_QUAL_WRITE | FINAL, CPU_VM_DATA + 0x123, CPU_VM_DATA + 0x123);
	vm.pt[DATA_PAGE] |= EPT_READ;
	expect_violation(EPT_QUAL_WRITE | EPT_QUAL_READABLE | FINAL, CPU_VM_DATA + 0x123,
			 CPU_VM_DATA + 0x123);
	/* More rights need no invalidation. */
	vm.pt[DATA_PAGE] = whole;
	vm.gprs.r[X86_RBX] = 0x5a;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.ram[CPU_VM_DATA + 0x123], 0x5a);
}

static void test_violation_fetch(void **state)
{
	vm.pt[DATA_PAGE] &= ~EPT_EXEC;
	CPU_VM_CODE_BYTES(&vm, 0xff, 0xe0); /* jmp rax */
	expect_violation(EPT_QUAL_FETCH | EPT_QUAL_READABLE | EPT_QUAL_WRITABLE | FINAL,
			 CPU_VM_DATA + 0x123, CPU_VM_DATA + 0x123);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_DATA + 0x123);
}

/* The guest's rights of the page are reported too. */
static void test_violation_advanced(void **state)
{
	uint64_t *pte = (uint64_t *)(vm.ram + CPU_VM_PT) + DATA_PAGE;

	*pte = (*pte & ~(X86_PTE_U | X86_PTE_W)) | X86_PTE_NX;
	vm.pt[DATA_PAGE] &= ~RWX;
	load_byte();
	expect_violation(EPT_QUAL_READ | EPT_QUAL_LINEAR_VALID | EPT_QUAL_FINAL | EPT_QUAL_NX_LINEAR,
			 CPU_VM_DATA + 0x123, CPU_VM_DATA + 0x123);
}

/* With EPT's accessed and dirty flags an access to a guest table counts as a write. */
static void test_violation_guest_table(void **state)
{
	uint64_t pte_gpa = CPU_VM_PT + DATA_PAGE * 8;

	vm.pt[PT_PAGE] &= ~EPT_WRITE;
	load_byte();
	/* The fetch of the code walks first. */
	expect_violation(EPT_QUAL_READ | EPT_QUAL_WRITE | EPT_QUAL_READABLE | EPT_QUAL_EXECUTABLE |
			 EPT_QUAL_LINEAR_VALID, CPU_VM_PT + (CPU_VM_CODE >> 12) * 8, CPU_VM_CODE);
	/* Without them, reading the table is enough. */
	cpu_vm_clear(&vm, VMCS_EPT_POINTER, EPTP_AD);
	cpu_vm_flush(&vm);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	/* Until an accessed flag has to be set. */
	((uint64_t *)(vm.ram + CPU_VM_PT))[DATA_PAGE] &= ~X86_PTE_A;
	cpu_vm_flush(&vm);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_PHYSICAL_ADDRESS), pte_gpa);
	assert_true(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) & EPT_QUAL_WRITE);
	assert_false(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) & EPT_QUAL_FINAL);
}

static void test_misconfiguration(void **state)
{
	vm.pt[DATA_PAGE] = (vm.pt[DATA_PAGE] & ~RWX) | EPT_WRITE | EPT_EXEC;
	store_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_MISCONFIG);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_PHYSICAL_ADDRESS), CPU_VM_DATA + 0x123);
}

static void test_accessed_dirty(void **state)
{
	load_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.pt[DATA_PAGE] & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED);
	/* The guest's table was "written": dirty. */
	assert_true(vm.pt[PT_PAGE] & EPT_DIRTY);
	store_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(vm.pt[DATA_PAGE] & EPT_DIRTY);
	/* Cleared behind the processor's back and flushed: the next write sets it again. */
	vm.pt[DATA_PAGE] &= ~EPT_DIRTY;
	cpu_vm_flush(&vm);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(vm.pt[DATA_PAGE] & EPT_DIRTY);
}

static void test_pml(void **state)
{
	uint64_t *log = (uint64_t *)cpu_vm_page(&vm, CPU_VM_P_PML);
	uint64_t index;

	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_PML);
	cpu_vm_set(&vm, VMCS_PML_ADDRESS, (uint64_t)log);
	cpu_vm_set(&vm, VMCS_GUEST_PML_INDEX, 511);
	store_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	index = cpu_vm_get(&vm, VMCS_GUEST_PML_INDEX);
	assert_true(index < 511);
	assert_int_equal(log[index + 1], CPU_VM_DATA);
	/* Full: an exit before the access, which happens when there is room again. */
	vm.pt[DATA_PAGE] &= ~EPT_DIRTY;
	cpu_vm_flush(&vm);
	cpu_vm_set(&vm, VMCS_GUEST_PML_INDEX, 0xffff);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	vm.gprs.r[X86_RBX] = 0x77;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_PML_FULL);
	assert_int_equal(vm.ram[CPU_VM_DATA + 0x123], 0);
	assert_false(vm.pt[DATA_PAGE] & EPT_DIRTY);
	cpu_vm_set(&vm, VMCS_GUEST_PML_INDEX, 511);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.ram[CPU_VM_DATA + 0x123], 0x77);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_PML_INDEX), 510);
}

static void test_mode_based_execute(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_MODE_BASED_EXEC);
	for (unsigned int i = 0; i < 512; i++)
		vm.pt[i] |= EPT_USER_EXEC;
	for (unsigned int page = CPU_VM_P_L4; page <= CPU_VM_P_L2; page++)
		*(uint64_t *)cpu_vm_page(&vm, page) |= EPT_USER_EXEC;
	load_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	/* The guest's pages are user pages: bit 10 counts, bit 2 does not. */
	vm.pt[CPU_VM_CODE >> 12] &= ~EPT_EXEC;
	cpu_vm_flush(&vm);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	vm.pt[CPU_VM_CODE >> 12] = (vm.pt[CPU_VM_CODE >> 12] & ~EPT_USER_EXEC) | EPT_EXEC;
	cpu_vm_flush(&vm);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) &
			 (EPT_QUAL_FETCH | EPT_QUAL_EXECUTABLE | EPT_QUAL_USER_EXECUTABLE),
			 EPT_QUAL_FETCH | EPT_QUAL_EXECUTABLE);
}

/* A large EPT page under the guest's small ones. */
static void test_large_page(void **state)
{
	uint64_t *l2 = (uint64_t *)cpu_vm_page(&vm, CPU_VM_P_L2);
	
	l2[0] = (uint64_t)vm.ram | RWX | EPTP_MEMTYPE_WB << 3 | EPT_LARGE;
	load_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(l2[0] & EPT_ACCESSED);
}

/* ---- cached translations ----------------------------------------------------------------------- */

/* Another page behind the data page's address, at EPT level. */
static void redirect_data(void)
{
	vm.pt[DATA_PAGE] = (vm.pt[DATA_PAGE + 1] & ~(EPT_ACCESSED | EPT_DIRTY));
}

static uint8_t read_data(void)
{
	load_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	return (uint8_t)vm.gprs.r[X86_RBX];
}

static void test_invept(void **state)
{
	uint64_t eptp = cpu_vm_get(&vm, VMCS_EPT_POINTER);

	vm.ram[CPU_VM_DATA + 0x123] = 1;
	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 1);
	redirect_data();
	assert_int_equal(read_data(), 1); /* cached; legal until INVEPT */
	/* Another root's invalidation does not concern it. */
	assert_int_equal(vm.p->vmx->invept(vm.lp, VMX_INVEPT_SINGLE, eptp + 0x1000), HV_VMX_OK);
	assert_int_equal(read_data(), 1);
	assert_int_equal(vm.p->vmx->invept(vm.lp, VMX_INVEPT_SINGLE, eptp), HV_VMX_OK);
	assert_int_equal(read_data(), 2);
	assert_int_equal(vm.p->vmx->invept(vm.lp, 0, eptp), HV_VMX_FAIL_VALID);
	assert_int_equal(cpu_vm_get(&vm, VMCS_INSN_ERROR), VMX_ERR_INVALID_INVALIDATION_OPERAND);
	assert_int_equal(vm.p->vmx->invept(vm.lp, VMX_INVEPT_SINGLE, 1), HV_VMX_FAIL_VALID);
}

static void test_invvpid(void **state)
{
	uint64_t *pte = (uint64_t *)(vm.ram + CPU_VM_PT) + DATA_PAGE;

	vm.ram[CPU_VM_DATA + 0x123] = 1;
	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 1);
	*pte += 0x1000;
	assert_int_equal(read_data(), 1);
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE, 2, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 1); /* VPID 2 is another's */
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_ADDRESS, 1, CPU_VM_STACK), HV_VMX_OK);
	assert_int_equal(read_data(), 1);
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_ADDRESS, 1, CPU_VM_DATA), HV_VMX_OK);
	assert_int_equal(read_data(), 2);
	*pte -= 0x1000;
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE, 1, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 1);
	/* Operands. */
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE, 0, 0), HV_VMX_FAIL_VALID);
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, 4, 1, 0), HV_VMX_FAIL_VALID);
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_ADDRESS, 1, 1ULL << 60),
			 HV_VMX_FAIL_VALID);
}

static void test_invvpid_global(void **state)
{
	uint64_t *pte = (uint64_t *)(vm.ram + CPU_VM_PT) + DATA_PAGE;

	cpu_vm_or(&vm, VMCS_GUEST_CR4, X86_CR4_PGE);
	*pte |= X86_PTE_G;
	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 0);
	*pte += 0x1000;
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE_GLOBAL, 1, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 0); /* global translations stay */
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE, 1, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 2);
}

/* Each VPID has translations of its own; without VPIDs an entry flushes. */
static void test_vpid_tags(void **state)
{
	uint64_t *pte = (uint64_t *)(vm.ram + CPU_VM_PT) + DATA_PAGE;

	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 0);
	*pte += 0x1000;
	cpu_vm_set(&vm, VMCS_VPID, 7);
	assert_int_equal(read_data(), 2);
	cpu_vm_set(&vm, VMCS_VPID, 1);
	assert_int_equal(read_data(), 0);
	cpu_vm_clear(&vm, VMCS_CPU_CTLS2, VMX_CPU2_VPID);
	assert_int_equal(read_data(), 2);
	*pte -= 0x1000;
	assert_int_equal(read_data(), 0);
}

/* A root that comes back has translations of before; an EPTP of its own starts empty. */
static void test_eptp_tags(void **state)
{
	uint64_t *other = (uint64_t *)cpu_vm_page(&vm, CPU_VM_P_APIC);
	uint64_t eptp = cpu_vm_get(&vm, VMCS_EPT_POINTER);

	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 0);
	redirect_data();
	other[0] = *(uint64_t *)cpu_vm_page(&vm, CPU_VM_P_L4);
	cpu_vm_set(&vm, VMCS_EPT_POINTER, (eptp & 0xfff) | (uint64_t)other);
	assert_int_equal(read_data(), 2);
	cpu_vm_set(&vm, VMCS_EPT_POINTER, eptp);
	assert_int_equal(read_data(), 0);
	cpu_vm_flush(&vm);
	assert_int_equal(read_data(), 2);
}

/* ---- without EPT --------------------------------------------------------------------------------- */

static void test_shadow(void **state)
{
	/* CR3 leads to the hypervisor's tables; faults come through the exception bitmap. */
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_PF);
	vm.pt[DATA_PAGE] &= ~(X86_PTE_P | X86_PTE_A | X86_PTE_D);
	vm.gprs.r[X86_RBX] = 0x66;
	store_byte();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000b0e);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_ERROR), X86_PF_W);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), CPU_VM_DATA + 0x123);
	vm.pt[DATA_PAGE] |= X86_PTE_P;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.ram[CPU_VM_DATA + 0x123], 0x66);
	assert_true(vm.pt[DATA_PAGE] & X86_PTE_D);
	/* Reserved bits: what marks MMIO. */
	vm.pt[DATA_PAGE] |= 1ULL << 51;
	cpu_vm_flush(&vm);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_ERROR), X86_PF_W | X86_PF_P | X86_PF_RSVD);
}

static void test_shadow_tags(void **state)
{
	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 0);
	vm.pt[DATA_PAGE] = vm.pt[DATA_PAGE + 1];
	assert_int_equal(read_data(), 0);
	/* INVEPT is about combined mappings only; these are linear. */
	assert_int_equal(vm.p->vmx->invept(vm.lp, VMX_INVEPT_ALL, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 0);
	assert_int_equal(vm.p->vmx->invvpid(vm.lp, VMX_INVVPID_SINGLE, 1, 0), HV_VMX_OK);
	assert_int_equal(read_data(), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TS(f) cmocka_unit_test_setup_teardown(f, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_violation_data), T(test_violation_fetch), T(test_violation_advanced),
		T(test_violation_guest_table), T(test_misconfiguration), T(test_accessed_dirty),
		T(test_pml), T(test_mode_based_execute), T(test_large_page), T(test_invept),
		T(test_invvpid), T(test_invvpid_global), T(test_vpid_tags), T(test_eptp_tags),
		TS(test_shadow), TS(test_shadow_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
