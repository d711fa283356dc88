/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control registers and MSRs, segment loads, far transfers through gates, privilege levels,
 * virtual-8086 mode, task switches; the tables follow the SDM's lists of exceptions.
 */
#include "tests/unit/x86_env.h"
#include <cmocka.h>
#include "tests/unit/x86_code.h"

static int setup(void **state)
{
	*state = env_create();
	return 0;
}

static int teardown(void **state)
{
	env_destroy(*state);
	return 0;
}

static unsigned int run(struct env *e)
{
	assert_int_equal(x86_run(e->cpu, 10000), X86_RUN_EXIT);
	return e->out_value & 0xff;
}

static uint32_t stacked32(struct env *e, unsigned int slot)
{
	return env_get32(e, e->cpu->gpr[X86_RSP] + slot * 4);
}

static void start32(struct env *e, unsigned int cpl, const void *code, size_t size)
{
	env_mode_32(e, cpl, true);
	env_default_idt(e);
	env_code(e, ENV_CODE, code, size);
}

/* ---- control registers ---------------------------------------------------------------------------- */

static void cr_checks(void **state)
{
	struct env *e = *state;
	struct x86_cpu *cpu = e->cpu;

	env_mode_64(e, 0);
	assert_int_equal(x86_write_cr0(cpu, 1ull << 32), X86_FAULT);
	assert_int_equal(x86_write_cr0(cpu, X86_CR0_PG), X86_FAULT); /* PG without PE */
	assert_int_equal(x86_write_cr0(cpu, cpu->cr0 | X86_CR0_NW), X86_FAULT); /* NW without CD */
	assert_int_equal(x86_write_cr0(cpu, cpu->cr0 & ~X86_CR0_PG), X86_FAULT); /* in 64-bit code */
	assert_int_equal(cpu->fault.vector, X86_GP);
	assert_int_equal(x86_write_cr0(cpu, cpu->cr0 | X86_CR0_TS), X86_OK);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 & ~X86_CR4_PAE), X86_FAULT);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | 1ull << 40), X86_FAULT);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_VMXE), X86_OK); /* CPUID has VMX */
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_LA57), X86_FAULT);
	assert_int_equal(x86_write_cr3(cpu, 1ull << 40), X86_FAULT); /* maxphyaddr is 40 */
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 0x18), X86_OK);
	assert_int_equal(x86_write_efer(cpu, cpu->efer | X86_EFER_SVME), X86_FAULT);
	assert_int_equal(x86_write_efer(cpu, cpu->efer & ~X86_EFER_LME), X86_FAULT);
	assert_int_equal(x86_write_efer(cpu, cpu->efer & ~(X86_EFER_SCE | X86_EFER_LMA)), X86_OK);
	assert_true(cpu->efer & X86_EFER_LMA);
	assert_int_equal(x86_write_xcr0(cpu, 6), X86_FAULT);
	assert_int_equal(x86_write_xcr0(cpu, 5), X86_FAULT);
	assert_int_equal(x86_write_xcr0(cpu, 8 | 7), X86_FAULT);
	assert_int_equal(x86_write_xcr0(cpu, 7), X86_OK);
}

static void pcide(void **state)
{
	struct env *e = *state;
	struct x86_cpu *cpu = e->cpu;

	env_mode_64(e, 0);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 5), X86_OK);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_PCIDE), X86_FAULT); /* CR3[11:0] != 0 */
	assert_int_equal(x86_write_cr3(cpu, ENV_PT), X86_OK);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_PCIDE), X86_OK);
	env_mode_32(e, 0, true);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_PCIDE), X86_FAULT); /* not in long mode */
}

static void pae_pdptes(void **state)
{
	struct env *e = *state;
	struct x86_cpu *cpu = e->cpu;

	env_mode_32(e, 0, true);
	env_put64(e, 0x8000, 0x6000 | 1);
	env_put64(e, 0x8008, 0);
	env_put64(e, 0x8010, 0);
	env_put64(e, 0x8018, 0);
	cpu->cr3 = 0x8000;
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_PAE), X86_OK);
	assert_int_equal(cpu->pdptr[0], 0x6001);
	env_put64(e, 0x8008, 0x6000 | 3); /* bit 1 is reserved */
	assert_int_equal(x86_write_cr3(cpu, 0x8000), X86_FAULT);
	assert_int_equal(cpu->pdptr[1], 0);
	env_put64(e, 0x8008, 2); /* not present: not checked */
	assert_int_equal(x86_write_cr3(cpu, 0x8000), X86_OK);
}

static void msrs(void **state)
{
	struct env *e = *state;
	struct x86_cpu *cpu = e->cpu;
	uint64_t v = 0;

	env_mode_64(e, 0);
	assert_int_equal(x86_write_msr(cpu, X86_MSR_LSTAR, 1ull << 47), X86_FAULT);
	assert_int_equal(x86_write_msr(cpu, X86_MSR_LSTAR, 0xffff800000000000ull), X86_OK);
	assert_int_equal(x86_read_msr(cpu, X86_MSR_LSTAR, &v), X86_OK);
	assert_int_equal(v, 0xffff800000000000ull);
	assert_int_equal(x86_write_msr(cpu, X86_MSR_PAT, 0x0202020202020202ull), X86_FAULT);
	assert_int_equal(x86_write_msr(cpu, X86_MSR_GS_BASE, 0x1234), X86_OK);
	assert_int_equal(cpu->seg[X86_GS].base, 0x1234);
	assert_int_equal(x86_write_msr(cpu, 0x1234, 77), X86_OK);
	assert_int_equal(e->msr_value, 77);
	assert_int_equal(x86_read_msr(cpu, 0x4321, &v), X86_FAULT);
	assert_int_equal(cpu->fault.vector, X86_GP);
}

/* ---- privilege: each instruction at level 3 --------------------------------------------------------- */

static void privileged(void **state)
{
	static const struct { uint8_t bytes[5]; uint8_t vector; } table[] = {
		{ { 0xf4 }, X86_GP },			/* HLT */
		{ { 0xfa }, X86_GP },			/* CLI */
		{ { 0xfb }, X86_GP },			/* STI */
		{ { 0x0f, 0x20, 0xc0 }, X86_GP },	/* MOV EAX, CR0 */
		{ { 0x0f, 0x22, 0xc0 }, X86_GP },	/* MOV CR0 */
		{ { 0x0f, 0x20, 0xc8 }, X86_UD },	/* MOV RAX, CR1 */
		{ { 0x0f, 0x21, 0xc0 }, X86_GP },	/* MOV RAX, DR0 */
		{ { 0x0f, 0x01, 0xf0 }, X86_GP },	/* LMSW AX */
		{ { 0x0f, 0x06 }, X86_GP },		/* CLTS */
		{ { 0x0f, 0x08 }, X86_GP },		/* INVD */
		{ { 0x0f, 0x09 }, X86_GP },		/* WBINVD */
		{ { 0x0f, 0x30 }, X86_GP },		/* WRMSR */
		{ { 0x0f, 0x32 }, X86_GP },		/* RDMSR */
		{ { 0x0f, 0x33 }, X86_GP },		/* RDPMC */
		{ { 0x0f, 0x01, 0x38 }, X86_GP },	/* INVLPG [RAX] */
		{ { 0x0f, 0x01, 0x10 }, X86_GP },	/* LGDT [RAX] */
		{ { 0x0f, 0x00, 0xd0 }, X86_GP },	/* LLDT AX */
		{ { 0x0f, 0x00, 0xd8 }, X86_GP },	/* LTR AX */
		{ { 0x0f, 0x01, 0xf8 }, X86_GP },	/* SWAPGS */
		{ { 0x0f, 0x07 }, X86_GP },		/* SYSRET */
		{ { 0x0f, 0x01, 0xc8 }, X86_UD },	/* MONITOR */
		{ { 0x0f, 0x01, 0xca }, X86_UD },	/* CLAC */
		{ { 0x0f, 0x01, 0xd0 }, X86_UD },	/* XGETBV without OSXSAVE */
		{ { 0x0f, 0x01, 0xd1 }, X86_UD },	/* XSETBV */
		{ { 0xe4, 0x10 }, X86_GP },		/* IN without I/O bitmap rights */
		{ { 0x0f, 0x01, 0xc1 }, X86_UD },	/* VMCALL: nobody there */
		{ { 0x0f, 0x01, 0xd9 }, X86_UD },	/* VMMCALL */
		{ { 0x0f, 0xaa }, X86_UD },		/* RSM */
		{ { 0xf3, 0x0f, 0xae, 0xc0 }, X86_UD },	/* RDFSBASE without CR4.FSGSBASE */
		{ { 0x0f, 0x01, 0xee }, X86_UD },	/* RDPKRU without CR4.PKE */
		{ { 0x06 }, X86_UD },			/* PUSH ES */
		{ { 0xf0, 0x90 }, X86_UD },		/* LOCK NOP */
	};
	struct env *e = *state;
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		env_mode_64(e, 3);
		e->cpu->seg[X86_TR].limit = 0x67;
		env_default_idt(e);
		env_code(e, ENV_CODE, table[i].bytes, 5);
		e->cpu->gpr[X86_RAX] = ENV_DATA;
		if (run(e) != table[i].vector)
			fail_msg("row %u: vector %u, not %u", i, e->out_value & 0xff, table[i].vector);
		assert_int_equal(env_get64(e, ENV_STACK - 40), ENV_CODE);
	}
}

static void io_bitmap(void **state)
{
	static const uint8_t in[] = { 0xe4, 0x10, 0xe6, 0xf4 }, in32[] = { 0xe5, 0x10 };
	struct env *e = *state;

	env_mode_64(e, 3);
	env_default_idt(e);
	e->cpu->seg[X86_TR].limit = 0x68 + 0x20;
	memset(e->ram + ENV_TSS + 0x68, 0, 0x20);
	env_code(e, ENV_CODE, in, sizeof(in));
	e->in_value = 0x5a;
	run(e); /* port f4 is allowed as well, by IOPL-independent bits */
	assert_int_equal(e->cpu->gpr[X86_RAX] & 0xff, 0x5a);
	/* One byte of four forbidden. */
	env_mode_64(e, 3);
	env_default_idt(e);
	e->cpu->seg[X86_TR].limit = 0x68 + 0x20;
	e->ram[ENV_TSS + 0x68 + 2] = 8;
	env_code(e, ENV_CODE, in32, sizeof(in32));
	assert_int_equal(run(e), X86_GP);
	e->ram[ENV_TSS + 0x68 + 2] = 0;
}

/* ---- segments ------------------------------------------------------------------------------------------ */

static void segment_loads(void **state)
{
	/* descriptor at selector 0x58, loaded at `cpl` with `rpl` */
	static const struct {
		uint64_t desc;
		uint8_t ss, cpl, rpl, vector;	/* vector 0xff: loads */
	} table[] = {
		{ 0x00cf93000000ffff, 0, 0, 0, 0xff },
		{ 0x00cf93000000ffff, 0, 3, 3, X86_GP },	/* DPL 0 from level 3 */
		{ 0x00cff3000000ffff, 0, 3, 3, 0xff },
		{ 0x00cf13000000ffff, 0, 0, 0, X86_NP },
		{ 0x00cf98000000ffff, 0, 0, 0, X86_GP },	/* execute-only code */
		{ 0x00cf9a000000ffff, 0, 0, 0, 0xff },		/* readable code */
		{ 0x00cf9e000000ffff, 0, 3, 3, 0xff },		/* conforming code: no DPL check */
		{ 0x0000820000000fff, 0, 0, 0, X86_GP },	/* LDT */
		{ 0x00cf93000000ffff, 1, 0, 0, 0xff },
		{ 0x00cf93000000ffff, 1, 0, 3, X86_GP },	/* SS: RPL != CPL */
		{ 0x00cf91000000ffff, 1, 0, 0, X86_GP },	/* SS: read-only */
		{ 0x00cf13000000ffff, 1, 0, 0, X86_SS_FAULT },	/* SS: not present */
		{ 0x00cf9a000000ffff, 1, 0, 0, X86_GP },
		{ 0x00cff3000000ffff, 1, 0, 0, X86_GP },	/* SS: DPL != CPL */
	};
	struct env *e = *state;
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].ss)
			start32(e, table[i].cpl, CODE(load_ss));
		else
			start32(e, table[i].cpl, CODE(load_ds));
		e->cpu->seg[X86_TR].limit = 0x1fff; /* the OUT at level 3 */
		env_put64(e, ENV_GDT + 0x58, table[i].desc);
		e->cpu->gpr[X86_RAX] = 0x58 | table[i].rpl;
		memset(e->ram + ENV_TSS + 0x68, 0, 0x400);
		run(e);
		if (table[i].vector == 0xff) {
			assert_in_range(e->cpu->rip, ENV_CODE, ENV_CODE + 0x10);
			assert_true(env_get64(e, ENV_GDT + 0x58) >> 40 & 1); /* accessed */
			continue;
		}
		if ((e->out_value & 0xff) != table[i].vector)
			fail_msg("row %u: vector %u", i, e->out_value & 0xff);
		assert_int_equal(stacked32(e, 0), 0x58);
	}
}

static void limits(void **state)
{
	struct env *e = *state;

	start32(e, 0, CODE(store_ds));
	e->cpu->seg[X86_DS].limit = ENV_DATA + 3;
	x86_state_changed(e->cpu);
	e->cpu->gpr[X86_RBX] = ENV_DATA;
	run(e);
	assert_in_range(e->cpu->rip, ENV_CODE, ENV_CODE + 0x10);
	e->cpu->rip = ENV_CODE;
	e->cpu->gpr[X86_RBX]++;
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked32(e, 0), 0);

	/* Expand-down: offsets above the limit. */
	start32(e, 0, CODE(store_ds));
	e->cpu->seg[X86_DS].ar |= 4;
	e->cpu->seg[X86_DS].limit = ENV_DATA - 1;
	x86_state_changed(e->cpu);
	e->cpu->gpr[X86_RBX] = ENV_DATA;
	run(e);
	assert_in_range(e->cpu->rip, ENV_CODE, ENV_CODE + 0x10);
	e->cpu->rip = ENV_CODE;
	e->cpu->gpr[X86_RBX]--;
	assert_int_equal(run(e), X86_GP);

	/* Read-only. */
	start32(e, 0, CODE(store_ds));
	e->cpu->seg[X86_DS].ar &= ~2u;
	x86_state_changed(e->cpu);
	e->cpu->gpr[X86_RBX] = ENV_DATA;
	assert_int_equal(run(e), X86_GP);

	/* CS limit: the instruction after it cannot be fetched. */
	start32(e, 0, CODE(store_ds));
	e->cpu->gpr[X86_RBX] = ENV_DATA;
	e->cpu->seg[X86_CS].limit = ENV_CODE + 1;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked32(e, 1), ENV_CODE + 2);
}

/* ---- gates ------------------------------------------------------------------------------------------------ */

static unsigned int run_at(struct env *e, uint64_t rip, uint64_t rcx)
{
	e->cpu->rip = rip;
	e->cpu->gpr[X86_RCX] = rcx;
	e->cpu->gpr[X86_RBX] = ENV_DATA;
	return run(e);
}

/* The same code with flat segments and with others, which it loads itself. */
static void flat_and_not(void **state)
{
	/* mov (%ebx), %eax; shl $8, %eax; mov %ecx, %ds; add (%ebx), %eax; out */
	static const uint8_t data[] = { 0x8b, 0x03, 0xc1, 0xe0, 0x08, 0x8e, 0xd9, 0x03, 0x03, 0xe6, 0xf4 };
	/* push %eax; pop %edx; push %eax; mov %ecx, %ss; nop; push %eax; out */
	static const uint8_t stack[] = { 0x50, 0x5a, 0x50, 0x8e, 0xd1, 0x90, 0x50, 0xe6, 0xf4 };
	enum { SEL_BASED = 0x58 };
	struct env *e = *state;
	struct x86_cpu *cpu = e->cpu;

	start32(e, 0, data, sizeof(data));
	env_put64(e, ENV_GDT + SEL_BASED, 0x00cf93001000ffff);
	env_put32(e, ENV_DATA, 1);
	env_put32(e, ENV_DATA + 0x1000, 2);
	run_at(e, ENV_CODE, SEL_DATA32);
	assert_int_equal(cpu->gpr[X86_RAX], 0x101);
	run_at(e, ENV_CODE, SEL_BASED);
	assert_int_equal(cpu->gpr[X86_RAX], 0x102);
	run_at(e, ENV_CODE, SEL_BASED);
	assert_int_equal(cpu->gpr[X86_RAX], 0x202);
	run_at(e, ENV_CODE, SEL_DATA32);
	assert_int_equal(cpu->gpr[X86_RAX], 0x201);
	/* ENV_DATA is beyond this one's limit. */
	assert_int_equal(run_at(e, ENV_CODE, SEL_DATA16), X86_GP);
	assert_int_equal(cpu->gpr[X86_RAX] >> 8, 1);
	assert_int_equal(stacked32(e, 1), ENV_CODE + 7);
	/* A stack of 16 bits: the upper half of ESP stays. */
	env_code(e, ENV_CODE + 0x100, stack, sizeof(stack));
	cpu->gpr[X86_RSP] = 0x40000;
	run_at(e, ENV_CODE + 0x100, SEL_DATA32);
	assert_int_equal(cpu->gpr[X86_RSP], 0x40000 - 8);
	assert_int_equal(cpu->gpr[X86_RDX], cpu->gpr[X86_RAX]);
	cpu->gpr[X86_RSP] = 0x40008;
	run_at(e, ENV_CODE + 0x100, SEL_DATA16);
	assert_int_equal(cpu->gpr[X86_RSP], 0x40000);
	assert_int_equal(env_get32(e, 0), cpu->gpr[X86_RAX]);
	run_at(e, ENV_CODE + 0x100, SEL_DATA32);
	assert_int_equal(cpu->gpr[X86_RSP], 0x50000 - 4 - 4);
}

static void call_gate(void **state)
{
	struct env *e = *state;

	/* Level 3 calls level 0 with two parameters and comes back. */
	start32(e, 3, CODE(callf32));
	env_code(e, ENV_CODE + 0x100, CODE(lret32));
	env_put64(e, ENV_GDT + 0x58, 0x0001ec0200080100ull); /* 0008:00010100, DPL 3, 2 dwords */
	env_put32(e, ENV_DATA, 0);
	env_put32(e, ENV_DATA + 4, 0x5b);
	e->cpu->gpr[X86_RSP] = ENV_USTACK - 8;
	env_put32(e, ENV_USTACK - 8, 0x1111);
	env_put32(e, ENV_USTACK - 4, 0x2222);
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->cpl, 0);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK - 24);
	assert_int_equal(stacked32(e, 1), SEL_UCODE32);
	assert_int_equal(stacked32(e, 2), 0x1111);
	assert_int_equal(stacked32(e, 3), 0x2222);
	assert_int_equal(stacked32(e, 4), ENV_USTACK - 8);
	assert_int_equal(stacked32(e, 5), SEL_UDATA);
	e->cpu->rip += 2;
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->cpl, 3);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_USTACK);
	assert_int_equal(e->cpu->seg[X86_SS].selector, SEL_UDATA);

	/* The gate's DPL forbids. */
	start32(e, 3, CODE(callf32));
	env_put64(e, ENV_GDT + 0x58, 0x00018c0200080100ull);
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked32(e, 0), 0x58);
}

static void put_task(struct env *e, uint64_t at, uint32_t eip, uint32_t esp)
{
	unsigned int i;

	memset(e->ram + at, 0, 0x68);
	env_put32(e, at + 28, ENV_PT + 0x3000);
	env_put32(e, at + 32, eip);
	env_put32(e, at + 36, 2);
	env_put32(e, at + 40, 0xaaaa); /* EAX */
	env_put32(e, at + 56, esp);
	for (i = 0; i < 6; i++)
		env_put32(e, at + 72 + i * 4, i == 1 ? SEL_CODE32 : SEL_DATA32);
}

static void task_switch(void **state)
{
	struct env *e = *state;

	start32(e, 0, CODE(callf32));
	put_task(e, 0xa000, ENV_CODE + 0x100, 0x3c000);
	env_put32(e, ENV_TSS + 28, ENV_PT + 0x3000); /* to come back to */
	env_put64(e, ENV_GDT + 0x58, 0x00008900a0000067ull);
	env_put32(e, ENV_DATA + 4, 0x58);
	env_code(e, ENV_CODE + 0x100, CODE(iret32));
	e->cpu->gpr[X86_RBX] = 0x77;
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->rip, ENV_CODE + 0x100);
	assert_int_equal(e->cpu->gpr[X86_RAX], 0xaaaa);
	assert_int_equal(e->cpu->gpr[X86_RSP], 0x3c000);
	assert_true(x86_get_rflags(e->cpu) & X86_FL_NT);
	assert_true(e->cpu->cr0 & X86_CR0_TS);
	assert_int_equal(e->cpu->seg[X86_TR].selector, 0x58);
	assert_int_equal(env_get32(e, 0xa000), SEL_TSS); /* back link */
	assert_true(env_get64(e, ENV_GDT + 0x58) >> 41 & 1); /* busy */
	/* IRET with NT: back, with the saved registers. */
	env_put64(e, ENV_GDT + SEL_TSS, env_get64(e, ENV_GDT + SEL_TSS) | 2ull << 40);
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->seg[X86_TR].selector, SEL_TSS);
	assert_int_equal(e->cpu->rip, ENV_CODE + 6);
	assert_int_equal(e->cpu->gpr[X86_RBX], 0x77);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_NT);
	assert_false(env_get64(e, ENV_GDT + 0x58) >> 41 & 1);

	/* A busy target: #GP with its selector. */
	start32(e, 0, CODE(callf32));
	env_put64(e, ENV_GDT + 0x58, 0x00008b00a0000067ull);
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked32(e, 0), 0x58);

	/* Intercepted: nothing has happened yet. */
	start32(e, 0, CODE(callf32));
	env_put64(e, ENV_GDT + 0x58, 0x00008900a0000067ull);
	x86_intercept_set(e->cpu, X86_ICPT_TASK_SWITCH, true);
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_EXIT);
	assert_int_equal(e->info.task.selector, 0x58);
	assert_int_equal(e->info.task.source, 0);
	assert_int_equal(e->cpu->seg[X86_TR].selector, SEL_TSS);
	x86_intercept_set(e->cpu, X86_ICPT_TASK_SWITCH, false);
	assert_int_equal(x86_task_switch(e->cpu, &e->info.task, e->info.next_rip), X86_OK);
	assert_int_equal(e->cpu->rip, ENV_CODE + 0x101); /* behind the IRET that left it */
}

static void interrupt_to_inner_32(void **state)
{
	struct env *e = *state;
	struct x86_event ev = { .valid = 1, .vector = X86_GP, .type = X86_EV_EXC, .has_error = true,
				.error_code = 0x55 };

	start32(e, 3, CODE(nops));
	x86_set_rflags(e->cpu, X86_FL_IF | X86_FL_ZF);
	assert_int_equal(x86_inject(e->cpu, &ev), X86_OK);
	assert_int_equal(e->cpu->cpl, 0);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK - 24);
	assert_int_equal(stacked32(e, 0), 0x55);
	assert_int_equal(stacked32(e, 1), ENV_CODE);
	assert_int_equal(stacked32(e, 2), SEL_UCODE32);
	assert_int_equal(stacked32(e, 3), X86_FL_IF | X86_FL_ZF | 2);
	assert_int_equal(stacked32(e, 4), ENV_USTACK);
	assert_int_equal(stacked32(e, 5), SEL_UDATA);
	/* A bad SS0: #TS with it. */
	start32(e, 3, CODE(ud));
	env_put32(e, ENV_TSS + 8, SEL_CODE32);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_TS, true);
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_int_equal(e->last, X86_ICPT_EXC + X86_TS);
	assert_int_equal(e->info.exc.error_code, SEL_CODE32 | 1);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_TS, false);
}

/* ---- virtual-8086 mode ---------------------------------------------------------------------------------------- */

static void v86(void **state)
{
	struct env *e = *state;
	uint32_t frame[9] = { 0, 0x1000, X86_FL_VM | 0x3002, 0x4000, 0x2800, 0x2000, 0x2000, 0, 0 };

	start32(e, 0, CODE(iret32));
	memset(e->ram + 0xb000, 0, 0x100);
	env_code(e, 0x10000 + 0x40, CODE(v86));
	frame[0] = 0x40;
	env_code(e, ENV_STACK - 36, frame, sizeof(frame));
	e->cpu->gpr[X86_RSP] = ENV_STACK - 36;
	env_gate(e, 0x21, 0x50000 + 0x21 * 16, 14, 3);
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(x86_code_mode(e->cpu), X86_CODE_V86);
	assert_int_equal(e->cpu->cpl, 3);
	assert_int_equal(e->cpu->seg[X86_DS].base, 0x20000);
	/* IOPL 3: INT n goes through the IDT to level 0 with the segments on the stack. */
	assert_int_equal(run(e), 0x21);
	assert_int_equal(e->ram[0x20000] | e->ram[0x20001] << 8, 0x1234);
	assert_int_equal(e->cpu->cpl, 0);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK - 36);
	assert_int_equal(stacked32(e, 1), 0x1000);
	assert_true(stacked32(e, 2) & X86_FL_VM);
	assert_int_equal(stacked32(e, 4), 0x2800);
	assert_int_equal(stacked32(e, 6), 0x2000);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_VM);

	/* IOPL 0: PUSHF is #GP(0). */
	start32(e, 0, CODE(iret32));
	env_code(e, 0x10000 + 0x40, CODE(v86));
	frame[2] = X86_FL_VM | 2;
	env_code(e, ENV_STACK - 36, frame, sizeof(frame));
	e->cpu->gpr[X86_RSP] = ENV_STACK - 36;
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked32(e, 1), 0x46);
}

/* ---- interception ------------------------------------------------------------------------------------------------- */

static void intercepts(void **state)
{
	static const struct { uint8_t bytes[6]; uint16_t what; uint8_t len; } table[] = {
		{ { 0x0f, 0xa2 }, X86_ICPT_CPUID, 2 },
		{ { 0xf4 }, X86_ICPT_HLT, 1 },
		{ { 0x0f, 0x31 }, X86_ICPT_RDTSC, 2 },
		{ { 0x0f, 0x01, 0xf9 }, X86_ICPT_RDTSCP, 3 },
		{ { 0xf3, 0x90 }, X86_ICPT_PAUSE, 2 },
		{ { 0x0f, 0x32 }, X86_ICPT_RDMSR, 2 },
		{ { 0x0f, 0x30 }, X86_ICPT_WRMSR, 2 },
		{ { 0x0f, 0x20, 0xd8 }, X86_ICPT_CR_READ + 3, 3 },
		{ { 0x0f, 0x22, 0xd8 }, X86_ICPT_CR_WRITE + 3, 3 },
		{ { 0x44, 0x0f, 0x22, 0xc0 }, X86_ICPT_CR_WRITE + 8, 4 },
		{ { 0x0f, 0x21, 0xf8 }, X86_ICPT_DR_READ + 7, 3 },
		{ { 0x0f, 0x23, 0xf8 }, X86_ICPT_DR_WRITE + 7, 3 },
		{ { 0x0f, 0x06 }, X86_ICPT_CLTS, 2 },
		{ { 0x0f, 0x01, 0xf0 }, X86_ICPT_LMSW, 3 },
		{ { 0x0f, 0x01, 0x38 }, X86_ICPT_INVLPG, 3 },
		{ { 0x0f, 0x08 }, X86_ICPT_INVD, 2 },
		{ { 0x0f, 0x09 }, X86_ICPT_WBINVD, 2 },
		{ { 0x0f, 0x01, 0x10 }, X86_ICPT_LGDT, 3 },
		{ { 0x0f, 0x01, 0x08 }, X86_ICPT_SIDT, 3 },
		{ { 0x0f, 0x00, 0xd8 }, X86_ICPT_LTR, 3 },
		{ { 0x0f, 0x00, 0xc0 }, X86_ICPT_SLDT, 3 },
		{ { 0x0f, 0x01, 0xc1 }, X86_ICPT_VMCALL, 3 },
		{ { 0x0f, 0x01, 0xd9 }, X86_ICPT_VMMCALL, 3 },
		{ { 0x0f, 0x01, 0xc2 }, X86_ICPT_VMX_INSN, 3 }, /* VMLAUNCH */
		{ { 0x0f, 0x01, 0xd8 }, X86_ICPT_SVM_INSN, 3 }, /* VMRUN */
		{ { 0x9c }, X86_ICPT_PUSHF, 1 },
		{ { 0x48, 0xcf }, X86_ICPT_IRET, 2 },
		{ { 0xcd, 0x44 }, X86_ICPT_INTN, 2 },
		{ { 0x0f, 0xc7, 0xf0 }, X86_ICPT_RDRAND, 3 },
		{ { 0x66, 0x0f, 0x38, 0x82, 0x08 }, X86_ICPT_INVPCID, 5 },
		{ { 0x0f, 0x01, 0xc8 }, X86_ICPT_MONITOR, 3 },
		{ { 0x0f, 0x01, 0xc9 }, X86_ICPT_MWAIT, 3 },
	};
	struct env *e = *state;
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		env_mode_64(e, 0);
		env_default_idt(e);
		env_code(e, ENV_CODE, table[i].bytes, 6);
		e->cpu->gpr[X86_RAX] = ENV_DATA;
		memset(e->cpu->intercepts, 0, sizeof(e->cpu->intercepts));
		x86_intercept_set(e->cpu, table[i].what, true);
		e->icpt_status = X86_EXIT;
		e->exits = 0;
		assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
		if (e->exits != 1 || e->last != table[i].what)
			fail_msg("row %u: not intercepted", i);
		assert_int_equal(e->cpu->rip, ENV_CODE);
		assert_int_equal(e->info.insn_len, table[i].len);
		assert_int_equal(e->info.next_rip, ENV_CODE + table[i].len);
		assert_memory_equal(e->info.bytes, table[i].bytes, table[i].len);
		/* DONE: the instruction counts as executed. */
		e->icpt_status = X86_DONE;
		assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
		assert_in_range(e->cpu->rip, ENV_CODE + table[i].len, ENV_CODE + 0x100);
	}
	memset(e->cpu->intercepts, 0, sizeof(e->cpu->intercepts));
	e->icpt_status = X86_EXIT;
}

static void intercept_changes_value(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x20, 0xe0, 0xe6, 0xf4 }; /* mov %cr4, %rax */
	struct env *e = *state;

	env_mode_64(e, 0);
	env_code(e, ENV_CODE, code, sizeof(code));
	x86_intercept_set(e->cpu, X86_ICPT_CR_READ + 4, true);
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_int_equal(e->info.cr.num, 4);
	assert_int_equal(e->info.cr.gpr, X86_RAX);
	assert_int_equal(e->info.cr.value, e->cpu->cr4);
	x86_intercept_set(e->cpu, X86_ICPT_CR_READ + 4, false);
}

static void memory_operand_info(void **state)
{
	/* lgdt 0x10(%rbx,%rcx,4) with a GS prefix */
	static const uint8_t code[] = { 0x65, 0x0f, 0x01, 0x54, 0x8b, 0x10 };
	struct env *e = *state;

	env_mode_64(e, 0);
	env_code(e, ENV_CODE, code, sizeof(code));
	e->cpu->seg[X86_GS].base = 0x1000;
	e->cpu->gpr[X86_RBX] = 0x200;
	e->cpu->gpr[X86_RCX] = 3;
	x86_intercept_set(e->cpu, X86_ICPT_LGDT, true);
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_true(e->info.memop.valid);
	assert_int_equal(e->info.memop.base, X86_RBX);
	assert_int_equal(e->info.memop.index, X86_RCX);
	assert_int_equal(e->info.memop.scale, 2);
	assert_int_equal(e->info.memop.seg, X86_GS);
	assert_int_equal(e->info.memop.disp, 0x10);
	assert_int_equal(e->info.memop.adsize, 8);
	assert_int_equal(e->info.memop.linear, 0x1000 + 0x200 + 12 + 0x10);
	x86_intercept_set(e->cpu, X86_ICPT_LGDT, false);
}

static void features_gate(void **state)
{
	static const uint8_t popcnt[] = { 0xf3, 0x0f, 0xb8, 0xc1, 0xe6, 0xf4 };
	static const uint8_t tzcnt[] = { 0xf3, 0x0f, 0xbc, 0xc1, 0xe6, 0xf4 };
	struct env *e = *state;

	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, popcnt, sizeof(popcnt));
	e->cpu->gpr[X86_RCX] = 0xff;
	run(e);
	assert_int_equal(e->cpu->gpr[X86_RAX], 8);
	e->drop_ecx1 = 1u << 23;
	x86_features_changed(e->cpu);
	e->cpu->rip = ENV_CODE;
	assert_int_equal(run(e), X86_UD);
	/* TZCNT without BMI1 is BSF: a zero source leaves the destination. */
	env_mode_64(e, 0);
	env_code(e, ENV_CODE, tzcnt, sizeof(tzcnt));
	run(e);
	assert_int_equal(e->cpu->gpr[X86_RAX], 32);
	e->drop_ebx7 = 1u << 3;
	x86_features_changed(e->cpu);
	e->cpu->rip = ENV_CODE;
	e->cpu->gpr[X86_RAX] = 0x55;
	run(e);
	assert_int_equal(e->cpu->gpr[X86_RAX], 0x55);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(cr_checks), T(pcide), T(pae_pdptes), T(msrs), T(privileged), T(io_bitmap),
		T(segment_loads), T(limits), T(flat_and_not), T(call_gate), T(task_switch), T(interrupt_to_inner_32), T(v86),
		T(intercepts), T(intercept_changes_value), T(memory_operand_info), T(features_gate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
