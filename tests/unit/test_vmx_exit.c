/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VM exits of instructions and events: reason, qualification, length, information fields. */
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

#define CPU(bits) { VMCS_CPU_CTLS, bits }
#define CPU2(bits) { VMCS_CPU_CTLS2, bits }

struct insn_case {
	const char *name;
	uint8_t code[12];
	uint8_t len;		/* of the instruction that exits */
	struct { uint32_t field; uint64_t bits; } set[2];
	uint32_t reason;
	uint64_t qualification;
};

/* RAX = 0x20000 (CPU_VM_DATA), RCX = 0x1b, RDX = 0x3f8 in each. */
static const struct insn_case cases[] = {
	{ "cpuid", { 0x0f, 0xa2 }, 2, { { 0 } }, VMX_EXIT_CPUID, 0 },
	{ "hlt", { 0xf4 }, 1, { { 0 } }, VMX_EXIT_HLT, 0 },
	{ "invd", { 0x0f, 0x08 }, 2, { { 0 } }, VMX_EXIT_INVD, 0 },
	{ "xsetbv", { 0x0f, 0x01, 0xd1 }, 3, { { VMCS_GUEST_CR4, X86_CR4_OSXSAVE } }, VMX_EXIT_XSETBV, 0 },
	{ "vmcall", { 0x0f, 0x01, 0xc1 }, 3, { { 0 } }, VMX_EXIT_VMCALL, 0 },
	{ "vmxoff", { 0x0f, 0x01, 0xc4 }, 3, { { 0 } }, VMX_EXIT_VMXOFF, 0 },
	{ "vmlaunch", { 0x0f, 0x01, 0xc2 }, 3, { { 0 } }, VMX_EXIT_VMLAUNCH, 0 },
	{ "vmclear [rax+8]", { 0x66, 0x0f, 0xc7, 0x70, 0x08 }, 5, { { 0 } }, VMX_EXIT_VMCLEAR, 8 },
	{ "vmread rbx, rcx", { 0x0f, 0x78, 0xcb }, 3, { { 0 } }, VMX_EXIT_VMREAD, 0 },
	{ "invept rcx, [rax]", { 0x66, 0x0f, 0x38, 0x80, 0x08 }, 5, { { 0 } }, VMX_EXIT_INVEPT, 0 },
	{ "wbinvd", { 0x0f, 0x09 }, 2, { CPU2(VMX_CPU2_WBINVD) }, VMX_EXIT_WBINVD, 0 },
	{ "invlpg [rax]", { 0x0f, 0x01, 0x38 }, 3, { CPU(VMX_CPU_INVLPG) }, VMX_EXIT_INVLPG, 0x20000 },
	{ "invpcid rcx, [rax]", { 0x66, 0x0f, 0x38, 0x82, 0x08 }, 5, { CPU(VMX_CPU_INVLPG) },
	  VMX_EXIT_INVPCID, 0 },
	{ "rdtsc", { 0x0f, 0x31 }, 2, { CPU(VMX_CPU_RDTSC) }, VMX_EXIT_RDTSC, 0 },
	{ "rdtscp", { 0x0f, 0x01, 0xf9 }, 3, { CPU(VMX_CPU_RDTSC) }, VMX_EXIT_RDTSCP, 0 },
	{ "rdpmc", { 0x0f, 0x33 }, 2, { CPU(VMX_CPU_RDPMC) }, VMX_EXIT_RDPMC, 0 },
	{ "pause", { 0xf3, 0x90 }, 2, { CPU(VMX_CPU_PAUSE) }, VMX_EXIT_PAUSE, 0 },
	{ "rdmsr", { 0x0f, 0x32 }, 2, { { 0 } }, 0, 0 }, /* see test_msr_bitmap */
	{ "mov rbx, cr3", { 0x0f, 0x20, 0xdb }, 3, { CPU(VMX_CPU_CR3_STORE) }, VMX_EXIT_CR_ACCESS,
	  3 | VMX_CR_MOV_FROM << 4 | 3 << 8 },
	{ "mov cr3, rax", { 0x0f, 0x22, 0xd8 }, 3, { CPU(VMX_CPU_CR3_LOAD) }, VMX_EXIT_CR_ACCESS, 3 },
	{ "mov cr8, rcx", { 0x44, 0x0f, 0x22, 0xc1 }, 4, { CPU(VMX_CPU_CR8_LOAD) },
	  VMX_EXIT_CR_ACCESS, 8 | 1 << 8 },
	{ "mov r9, cr8", { 0x45, 0x0f, 0x20, 0xc1 }, 4, { CPU(VMX_CPU_CR8_STORE) },
	  VMX_EXIT_CR_ACCESS, 8 | VMX_CR_MOV_FROM << 4 | 9 << 8 },
	{ "mov dr7, rcx", { 0x0f, 0x23, 0xf9 }, 3, { CPU(VMX_CPU_MOV_DR) }, VMX_EXIT_DR_ACCESS,
	  7 | 1 << 8 },
	{ "mov rbx, dr6", { 0x0f, 0x21, 0xf3 }, 3, { CPU(VMX_CPU_MOV_DR) }, VMX_EXIT_DR_ACCESS,
	  6 | 1 << 4 | 3 << 8 },
	{ "lgdt [rax]", { 0x0f, 0x01, 0x10 }, 3, { CPU2(VMX_CPU2_DESC_TABLE) }, VMX_EXIT_GDTR_IDTR, 0 },
	{ "sidt [rax+16]", { 0x0f, 0x01, 0x48, 0x10 }, 4, { CPU2(VMX_CPU2_DESC_TABLE) },
	  VMX_EXIT_GDTR_IDTR, 16 },
	{ "sldt ebx", { 0x0f, 0x00, 0xc3 }, 3, { CPU2(VMX_CPU2_DESC_TABLE) }, VMX_EXIT_LDTR_TR, 0 },
	{ "ltr cx", { 0x0f, 0x00, 0xd9 }, 3, { CPU2(VMX_CPU2_DESC_TABLE) }, VMX_EXIT_LDTR_TR, 0 },
	{ "rdrand ebx", { 0x0f, 0xc7, 0xf3 }, 3, { CPU2(VMX_CPU2_RDRAND) }, VMX_EXIT_RDRAND, 0 },
	{ "rdseed rbx", { 0x48, 0x0f, 0xc7, 0xfb }, 4, { CPU2(VMX_CPU2_RDSEED) }, VMX_EXIT_RDSEED, 0 },
	{ "clts", { 0x0f, 0x06 }, 2, { { VMCS_CR0_MASK, X86_CR0_TS }, { VMCS_CR0_READ_SHADOW, X86_CR0_TS } },
	  VMX_EXIT_CR_ACCESS, VMX_CR_CLTS << 4 },
};

static void set_registers(void)
{
	memset(&vm.gprs, 0, sizeof(vm.gprs));
	vm.gprs.r[X86_RAX] = CPU_VM_DATA;
	vm.gprs.r[X86_RCX] = 0x1b;
	vm.gprs.r[X86_RDX] = 0x3f8;
}

static void test_instructions(void **state)
{
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct insn_case *c = &cases[i];
		uint64_t old[2] = { 0 };
		uint64_t reason;

		if (!c->reason)
			continue;
		cpu_vm_code(&vm, c->code, sizeof(c->code));
		set_registers();
		for (unsigned int j = 0; j < 2; j++) {
			if (!c->set[j].field)
				continue;
			old[j] = cpu_vm_get(&vm, c->set[j].field);
			cpu_vm_or(&vm, c->set[j].field, c->set[j].bits);
		}
		reason = cpu_vm_run(&vm);
		if (reason != c->reason)
			fail_msg("%s: reason %d, wanted %d", c->name, (int)reason, (int)c->reason);
		if (cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION) != c->qualification)
			fail_msg("%s: qualification 0x%llx", c->name,
				 (unsigned long long)cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION));
		if (cpu_vm_get(&vm, VMCS_EXIT_INSN_LEN) != c->len)
			fail_msg("%s: length %d", c->name, (int)cpu_vm_get(&vm, VMCS_EXIT_INSN_LEN));
		assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
		assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID, 0);
		for (unsigned int j = 0; j < 2; j++)
			if (c->set[j].field)
				cpu_vm_set(&vm, c->set[j].field, old[j]);
	}
}

/* What does not exit runs through to the HLT behind it. */
static void test_not_intercepted(void **state)
{
	static const char *const skip[] = { "cpuid", "hlt", "invd", "xsetbv", "vmcall", "vmxoff",
		"vmlaunch", "vmclear [rax+8]", "vmread rbx, rcx", "invept rcx, [rax]", "ltr cx",
		"lgdt [rax]", "mov cr3, rax", "rdpmc", "rdmsr", "invpcid rcx, [rax]" };

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct insn_case *c = &cases[i];
		uint8_t code[16] = { 0 };
		bool skipped = false;

		for (unsigned int j = 0; j < sizeof(skip) / sizeof(skip[0]); j++)
			skipped |= !strcmp(skip[j], c->name);
		if (skipped)
			continue;
		memcpy(code, c->code, c->len);
		code[c->len] = 0xf4;
		cpu_vm_code(&vm, code, sizeof(code));
		set_registers();
		if (!strcmp(c->name, "mov cr8, rcx"))
			vm.gprs.r[X86_RCX] = 5;
		if (!strcmp(c->name, "mov dr7, rcx"))
			vm.gprs.r[X86_RCX] = 0x400;
		if (cpu_vm_run(&vm) != VMX_EXIT_HLT || cpu_vm_rip(&vm) != CPU_VM_CODE + c->len)
			fail_msg("%s: reason %d at 0x%llx", c->name, (int)cpu_vm_get(&vm, VMCS_EXIT_REASON),
				 (unsigned long long)cpu_vm_rip(&vm));
	}
}

static void test_instruction_information(void **state)
{
	/* vmread [rax+rcx*4+8], rdx */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x78, 0x54, 0x88, 0x08);
	set_registers();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_VMREAD);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 8);
	/* Scale 4, 64-bit address, DS, index rcx, base rax, reg2 rdx. */
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO),
			 2 | 2 << 7 | 3 << 15 | 1 << 18 | 0 << 23 | 2U << 28);
	/* vmwrite rdx, rbx: a register operand. */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x79, 0xd3);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_VMWRITE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) & 0xf0000478U,
			 3 << 3 | 1 << 10 | 2U << 28);
	/* lidt [rsp] */
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_DESC_TABLE);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x01, 0x1c, 0x24);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_GDTR_IDTR);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) >> 28 & 3, 3);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) >> 15 & 7, X86_SS);
	assert_true(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) & 1 << 22);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) >> 23 & 0x1f, X86_RSP);
	/* rdrand bx: destination and operand size. */
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_RDRAND);
	CPU_VM_CODE_BYTES(&vm, 0x66, 0x0f, 0xc7, 0xf3);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_RDRAND);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) & 0x1878, 3 << 3);
}

static void expect_io(uint64_t qualification)
{
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_IO);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), qualification);
}

static void test_io(void **state)
{
	uint8_t *a = (uint8_t *)cpu_vm_page(&vm, CPU_VM_P_IOA);
	uint8_t *b = (uint8_t *)cpu_vm_page(&vm, CPU_VM_P_IOB);

	set_registers();
	CPU_VM_CODE_BYTES(&vm, 0xee, 0xf4); /* out dx, al; hlt */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	a[0x3f8 / 8] |= 1;
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	expect_io(0x3f8 << 16);
	CPU_VM_CODE_BYTES(&vm, 0xe5, 0xf8, 0xf4); /* in eax, 0xf8 */
	a[0xfb / 8] |= 1 << 3; /* the last of four bytes */
	expect_io(3 | VMX_IO_IN | VMX_IO_IMMEDIATE | 0xf8 << 16);
	/* A port of the second half. */
	vm.gprs.r[X86_RDX] = 0xc000;
	b[0x4000 / 8] |= 1;
	CPU_VM_CODE_BYTES(&vm, 0x66, 0xed); /* in ax, dx */
	expect_io(1 | VMX_IO_IN | 0xc000ULL << 16);
	/* Wrapping around exits whatever the bitmap says. */
	vm.gprs.r[X86_RDX] = 0xffff;
	expect_io(1 | VMX_IO_IN | 0xffffULL << 16);
	/* rep outsb */
	vm.gprs.r[X86_RDX] = 0x3f8;
	vm.gprs.r[X86_RCX] = 4;
	vm.gprs.r[X86_RSI] = CPU_VM_DATA + 3;
	CPU_VM_CODE_BYTES(&vm, 0xf3, 0x6e);
	expect_io(VMX_IO_STRING | VMX_IO_REP | 0x3f8 << 16);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_LINEAR_ADDRESS), CPU_VM_DATA + 3);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_INFO) & 0x38380, 2 << 7 | X86_DS << 15);
	/* Unconditional I/O exiting. */
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_IO_BITMAPS);
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_UNCOND_IO);
	CPU_VM_CODE_BYTES(&vm, 0xe6, 0x80);
	expect_io(VMX_IO_IMMEDIATE | 0x80 << 16);
}

static void test_msr_bitmap(void **state)
{
	uint8_t *map = (uint8_t *)cpu_vm_page(&vm, CPU_VM_P_MSR);

	/* STAR: clear bits let it through. */
	vm.gprs.r[X86_RCX] = X86_MSR_STAR;
	vm.gprs.r[X86_RAX] = 0x55;
	vm.gprs.r[X86_RDX] = 0;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x30, 0xf4); /* wrmsr */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.lp->cpu->star, 0x55);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	map[0xc00 + 0x81 / 8] |= 1 << 1;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_WRMSR);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x32, 0xf4); /* rdmsr */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RAX], 0x55);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	map[0x400 + 0x81 / 8] |= 1 << 1;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_RDMSR);
	/* Outside both ranges there is no bit: always. */
	vm.gprs.r[X86_RCX] = 0x40000000;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_RDMSR);
	/* An MSR that does not exist and is let through: #GP. */
	cpu_vm_or(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_GP);
	vm.gprs.r[X86_RCX] = 0x1fff;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000b0d);
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_MSR_BITMAPS);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_RDMSR);
}

static void test_cr0_cr4_masks(void **state)
{
	/* The guest does not own TS; it sees the shadow, and exits when it differs. */
	cpu_vm_set(&vm, VMCS_CR0_MASK, X86_CR0_TS);
	cpu_vm_set(&vm, VMCS_CR0_READ_SHADOW, X86_CR0_TS);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x20, 0xc3, 0x0f, 0x22, 0xc3, 0xf4); /* rbx = cr0; cr0 = rbx */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(vm.gprs.r[X86_RBX] & X86_CR0_TS);
	assert_false(cpu_vm_get(&vm, VMCS_GUEST_CR0) & X86_CR0_TS);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x22, 0xc3);
	vm.gprs.r[X86_RBX] = cpu_vm_get(&vm, VMCS_GUEST_CR0);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_CR_ACCESS);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), 3 << 8);
	/* Bits of its own it writes. */
	vm.gprs.r[X86_RBX] |= X86_CR0_TS | X86_CR0_AM;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x22, 0xc3, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(cpu_vm_get(&vm, VMCS_GUEST_CR0) & X86_CR0_AM);
	/* smsw rbx sees the shadow too. */
	CPU_VM_CODE_BYTES(&vm, 0x48, 0x0f, 0x01, 0xe3, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(vm.gprs.r[X86_RBX] & X86_CR0_TS);
	/* lmsw that would clear an owned bit: source data in the qualification. */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x01, 0xf1);
	vm.gprs.r[X86_RCX] = 1;
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_CR_ACCESS);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), VMX_CR_LMSW << 4 | 1 << 16);
	/* CR4.VMXE is the processor's must: hidden by mask and shadow. */
	cpu_vm_set(&vm, VMCS_CR4_MASK, X86_CR4_VMXE);
	cpu_vm_set(&vm, VMCS_CR4_READ_SHADOW, 0);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x20, 0xe3, 0x0f, 0x22, 0xe3, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_false(vm.gprs.r[X86_RBX] & X86_CR4_VMXE);
	assert_true(cpu_vm_get(&vm, VMCS_GUEST_CR4) & X86_CR4_VMXE);
}

static void test_cr3_targets(void **state)
{
	uint64_t other = CPU_VM_PML4;

	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_CR3_LOAD);
	cpu_vm_set(&vm, VMCS_CR3_TARGET_COUNT, 2);
	cpu_vm_set(&vm, VMCS_CR3_TARGET0 + 2, other);
	vm.gprs.r[X86_RAX] = other;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x22, 0xd8, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	cpu_vm_set(&vm, VMCS_CR3_TARGET_COUNT, 1);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_CR_ACCESS);
}

static void test_disabled_instructions(void **state)
{
	static const uint8_t code[][5] = { { 0x0f, 0x01, 0xf9 }, /* rdtscp */
					   { 0x66, 0x0f, 0x38, 0x82, 0x08 }, /* invpcid */
					   { 0x0f, 0xc7, 0x28 }, /* xsaves */
					   { 0xf3, 0x0f, 0xc7, 0xfb }, /* rdpid */
					   { 0x0f, 0x01, 0xd4 } /* vmfunc */ };

	cpu_vm_clear(&vm, VMCS_CPU_CTLS2, VMX_CPU2_RDTSCP | VMX_CPU2_INVPCID);
	cpu_vm_or(&vm, VMCS_GUEST_CR4, X86_CR4_OSXSAVE);
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_UD);
	for (unsigned int i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		cpu_vm_code(&vm, code[i], sizeof(code[i]));
		set_registers();
		assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
		assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000306);
	}
}

static void test_exceptions(void **state)
{
	/* #UD not intercepted goes to the guest, whose handler halts. */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x0b);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_HANDLER);
	/* Intercepted: state from before it. */
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_UD | 1U << X86_BP | 1U << X86_PF);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	cpu_vm_set(&vm, VMCS_GUEST_RSP, CPU_VM_STACK);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000306);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_RSP), CPU_VM_STACK);
	/* INT3: a software exception with its length. */
	CPU_VM_CODE_BYTES(&vm, 0xcc);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000603);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INSN_LEN), 1);
	/* A page fault: linear address and error code; CR2 as it was. */
	((uint64_t *)(vm.ram + CPU_VM_PT))[CPU_VM_DATA >> 12] = 0;
	vm.p->set_reg(vm.lp, HV_LP_CR2, 0x77);
	vm.gprs.r[X86_RAX] = CPU_VM_DATA + 5;
	CPU_VM_CODE_BYTES(&vm, 0x88, 0x18); /* mov [rax], bl */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000b0e);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_ERROR), X86_PF_W);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), CPU_VM_DATA + 5);
	assert_int_equal(vm.p->get_reg(vm.lp, HV_LP_CR2), 0x77);
}

static void test_page_fault_mask(void **state)
{
	static const struct { uint32_t bitmap, mask, match; bool exits; } pf[] = {
		{ 0, 0, 0, false }, { 1, 0, 0, true },
		{ 1, X86_PF_W, X86_PF_W, true }, { 0, X86_PF_W, X86_PF_W, false },
		{ 1, X86_PF_W, 0, false }, { 0, X86_PF_W, 0, true },
		{ 1, X86_PF_P, X86_PF_P, false }, { 0, X86_PF_P, X86_PF_P, true },
	};

	((uint64_t *)(vm.ram + CPU_VM_PT))[CPU_VM_DATA >> 12] = 0;
	for (unsigned int i = 0; i < sizeof(pf) / sizeof(pf[0]); i++) {
		cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, pf[i].bitmap << X86_PF);
		cpu_vm_set(&vm, VMCS_PF_ERROR_MASK, pf[i].mask);
		cpu_vm_set(&vm, VMCS_PF_ERROR_MATCH, pf[i].match);
		cpu_vm_set(&vm, VMCS_GUEST_RSP, CPU_VM_STACK);
		vm.gprs.r[X86_RAX] = CPU_VM_DATA;
		CPU_VM_CODE_BYTES(&vm, 0x88, 0x18);
		assert_int_equal(cpu_vm_run(&vm),
				 pf[i].exits ? VMX_EXIT_EXCEPTION_NMI : VMX_EXIT_HLT);
	}
}

static void test_triple_fault(void **state)
{
	cpu_vm_set(&vm, VMCS_GUEST_IDTR_LIMIT, 0);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x0b);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_TRIPLE_FAULT);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID, 0);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	/* The double fault on its way can be intercepted; not an exit during delivery. */
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_DF);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000b08);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID, 0);
	/* #GP is met while #UD is delivered: vectoring information says #UD. */
	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_GP);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXCEPTION_NMI);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO), 0x80000b0d);
	assert_int_equal(cpu_vm_get(&vm, VMCS_IDT_VECTORING_INFO), 0x80000306);
}

static void test_kick(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xeb, 0xfe); /* jmp . */
	vm.p->lp_kick(vm.lp);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE);
	/* A kick counts once. */
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void test_preemption_timer(void **state)
{
	cpu_vm_or(&vm, VMCS_PIN_CTLS, VMX_PIN_PREEMPTION_TIMER);
	cpu_vm_set(&vm, VMCS_PREEMPTION_TIMER, 2000);
	CPU_VM_CODE_BYTES(&vm, 0xeb, 0xfe);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_PREEMPTION_TIMER);
	/* In HLT too, when HLT does not exit. */
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_HLT);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_PREEMPTION_TIMER);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_ACTIVITY), VMX_HLT);
	/* 0 exits before the first instruction; the saved value is what is left. */
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_HLT);
	cpu_vm_set(&vm, VMCS_GUEST_ACTIVITY, VMX_ACTIVE);
	cpu_vm_set(&vm, VMCS_PREEMPTION_TIMER, 0);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_PREEMPTION_TIMER);
	cpu_vm_set(&vm, VMCS_PREEMPTION_TIMER, 0x7fffffff);
	cpu_vm_or(&vm, VMCS_EXIT_CTLS, VMX_EXITCTL_SAVE_TIMER);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_true(cpu_vm_get(&vm, VMCS_PREEMPTION_TIMER) < 0x7fffffff);
	assert_true(cpu_vm_get(&vm, VMCS_PREEMPTION_TIMER) > 0);
}

static void test_monitor_trap(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_MONITOR_TRAP);
	CPU_VM_CODE_BYTES(&vm, 0x90, 0x48, 0x89, 0xc3, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_MONITOR_TRAP);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 1);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_MONITOR_TRAP);
	assert_int_equal(cpu_vm_rip(&vm), CPU_VM_CODE + 4);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void test_pause_loop(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_PAUSE_LOOP);
	cpu_vm_set(&vm, VMCS_PLE_GAP, 1000000000);
	cpu_vm_set(&vm, VMCS_PLE_WINDOW, 20000);
	CPU_VM_CODE_BYTES(&vm, 0xf3, 0x90, 0xeb, 0xfc);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_PAUSE);
	/* One PAUSE does not. */
	CPU_VM_CODE_BYTES(&vm, 0xf3, 0x90, 0xf4);
	cpu_vm_set(&vm, VMCS_PLE_GAP, 0);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
}

static void test_tsc(void **state)
{
	uint64_t before, value;

	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_TSC_OFFSET);
	cpu_vm_set(&vm, VMCS_TSC_OFFSET, 1ULL << 60);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x31, 0xf4);
	before = vm.p->rdtsc();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	value = vm.gprs.r[X86_RDX] << 32 | vm.gprs.r[X86_RAX];
	assert_true(value >= before + (1ULL << 60) && value <= vm.p->rdtsc() + (1ULL << 60));
	/* Half the speed. */
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_TSC_SCALING);
	cpu_vm_set(&vm, VMCS_TSC_MULTIPLIER, 1ULL << 47);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	before = vm.p->rdtsc();
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	value = vm.gprs.r[X86_RDX] << 32 | vm.gprs.r[X86_RAX];
	assert_true(value >= before / 2 + (1ULL << 60) && value <= vm.p->rdtsc() / 2 + (1ULL << 60));
}

/* What the guest did to its registers is in the VMCS, and what the VMCS says is in the guest. */
static void test_state_transfer(void **state)
{
	/* mov ds, cx; lidt [rax]; wrmsr SYSENTER_EIP is a VMCS field; hlt */
	CPU_VM_CODE_BYTES(&vm, 0x8e, 0xd9, 0x0f, 0x01, 0x18, 0xf4);
	set_registers();
	vm.gprs.r[X86_RCX] = 0x23;
	memcpy(vm.ram + CPU_VM_DATA, "\xff\x01\x00\x70\x00\x00\x00\x00\x00\x00", 10);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_DS_SELECTOR), 0x23);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_DS_AR), 0xc0f3);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_IDTR_BASE), 0x7000);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_IDTR_LIMIT), 0x1ff);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_RIP), CPU_VM_CODE + 5);
	/* A write to one cold field keeps its neighbours. */
	cpu_vm_set(&vm, VMCS_GUEST_FS_BASE, 0x123456789000);
	cpu_vm_set(&vm, VMCS_GUEST_DR7, 0x455);
	CPU_VM_CODE_BYTES(&vm, 0x8c, 0xdb, 0x0f, 0x21, 0xf9, 0xf4); /* mov ebx, ds; mov rcx, dr7 */
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RBX] & 0xffff, 0x23);
	assert_int_equal(vm.gprs.r[X86_RCX], 0x455);
	assert_int_equal(vm.lp->cpu->seg[X86_FS].base, 0x123456789000);
	/* Two VMCSs on one processor do not mix. */
	memcpy((void *)cpu_vm_page(&vm, CPU_VM_P_PML), (void *)cpu_vm_page(&vm, CPU_VM_P_VMXON), 4);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, cpu_vm_page(&vm, CPU_VM_P_PML)), HV_VMX_OK);
	cpu_vm_set(&vm, VMCS_GUEST_FS_BASE, 1);
	assert_int_equal(vm.p->vmx->vmptrld(vm.lp, cpu_vm_page(&vm, CPU_VM_P_VMCS)), HV_VMX_OK);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_FS_BASE), 0x123456789000);
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.lp->cpu->seg[X86_FS].base, 0x123456789000);
}

static void expect_dr(uint32_t reason, uint64_t qualification)
{
	set_registers();
	cpu_vm_set_rip(&vm, CPU_VM_CODE);
	assert_int_equal(cpu_vm_run(&vm), reason);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_QUALIFICATION), qualification);
}

/* The exit of MOV DR comes before DR7.GD, CR4.DE and the CPL (SDM volume 3, "MOV DR"). */
static void test_mov_dr_order(void **state)
{
	const uint64_t bd = X86_DR6_BD;

	cpu_vm_set(&vm, VMCS_EXCEPTION_BITMAP, 1U << X86_UD | 1U << X86_DB | 1U << X86_GP);
	cpu_vm_set(&vm, VMCS_GUEST_DR7, 0x400 | X86_DR7_GD);
	cpu_vm_or(&vm, VMCS_GUEST_CR4, X86_CR4_DE);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x21, 0xc3); /* mov rbx, dr0 */
	expect_dr(VMX_EXIT_EXCEPTION_NMI, bd);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO) & 0xff, X86_DB);
	cpu_vm_or(&vm, VMCS_CPU_CTLS, VMX_CPU_MOV_DR);
	expect_dr(VMX_EXIT_DR_ACCESS, 0 | 1 << 4 | 3 << 8);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x23, 0xe9); /* mov dr5, rcx */
	expect_dr(VMX_EXIT_DR_ACCESS, 5 | 1 << 8);
	CPU_VM_CODE_BYTES(&vm, 0x44, 0x0f, 0x23, 0xc1); /* mov dr8, rcx: there is none */
	expect_dr(VMX_EXIT_EXCEPTION_NMI, 0);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO) & 0xff, X86_UD);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x23, 0xf9); /* mov dr7, rcx */
	cpu_vm_set(&vm, VMCS_GUEST_CS_SELECTOR, 0x1b);
	cpu_vm_set(&vm, VMCS_GUEST_CS_AR, 0xa0fb);
	cpu_vm_set(&vm, VMCS_GUEST_SS_SELECTOR, 0x23);
	cpu_vm_set(&vm, VMCS_GUEST_SS_AR, 0xc0f3);
	expect_dr(VMX_EXIT_DR_ACCESS, 7 | 1 << 8);
	cpu_vm_clear(&vm, VMCS_CPU_CTLS, VMX_CPU_MOV_DR);
	expect_dr(VMX_EXIT_EXCEPTION_NMI, 0);
	assert_int_equal(cpu_vm_get(&vm, VMCS_EXIT_INTR_INFO) & 0xff, X86_GP);
}

/* Real mode and protected mode without paging under the unrestricted guest control. */
static void test_unrestricted_real_mode(void **state)
{
	cpu_vm_or(&vm, VMCS_CPU_CTLS2, VMX_CPU2_UNRESTRICTED);
	cpu_vm_clear(&vm, VMCS_ENTRY_CTLS, VMX_ENTRYCTL_GUEST_64);
	cpu_vm_set(&vm, VMCS_GUEST_EFER, 0);
	cpu_vm_set(&vm, VMCS_GUEST_CR0, X86_CR0_ET | X86_CR0_NE);
	cpu_vm_set(&vm, VMCS_GUEST_CR4, X86_CR4_VMXE);
	for (unsigned int i = X86_ES; i <= X86_GS; i++) {
		cpu_vm_set(&vm, VMCS_GUEST_ES_SELECTOR + 2 * i, 0x1000);
		cpu_vm_set(&vm, VMCS_GUEST_ES_BASE + 2 * i, 0x10000);
		cpu_vm_set(&vm, VMCS_GUEST_ES_LIMIT + 2 * i, 0xffff);
		cpu_vm_set(&vm, VMCS_GUEST_ES_AR + 2 * i, i == X86_CS ? 0x9b : 0x93);
	}
	/* mov ax, 0x2000; mov ds, ax; mov byte [0x10], 0x5a; hlt */
	CPU_VM_CODE_BYTES(&vm, 0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xc6, 0x06, 0x10, 0x00, 0x5a, 0xf4);
	cpu_vm_set_rip(&vm, 0);
	assert_int_equal(cpu_vm_run(&vm), VMX_EXIT_HLT);
	assert_int_equal(vm.ram[0x20010], 0x5a);
	assert_int_equal(cpu_vm_rip(&vm), 10);
	assert_int_equal(cpu_vm_get(&vm, VMCS_GUEST_DS_BASE), 0x20000);
	assert_false(cpu_vm_get(&vm, VMCS_ENTRY_CTLS) & VMX_ENTRYCTL_GUEST_64);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_instructions), T(test_not_intercepted), T(test_instruction_information), T(test_io),
		T(test_msr_bitmap), T(test_cr0_cr4_masks), T(test_cr3_targets),
		T(test_disabled_instructions), T(test_exceptions), T(test_page_fault_mask),
		T(test_triple_fault), T(test_kick), T(test_preemption_timer), T(test_monitor_trap),
		T(test_pause_loop), T(test_tsc), T(test_state_transfer), T(test_mov_dr_order), T(test_unrestricted_real_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
