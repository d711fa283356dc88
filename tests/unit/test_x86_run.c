/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole snippets in each mode: blocks, strings, self-modifying code, memory, I/O, budgets. */
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

static uint64_t run64(struct env *e, const void *code, size_t size)
{
	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, code, size);
	assert_int_equal(x86_run(e->cpu, 1000000), X86_RUN_EXIT);
	return e->cpu->gpr[X86_RAX];
}

static void basic64(void **state)
{
	struct env *e = *state;

	assert_int_equal(run64(e, CODE(basic64)), 165);
	assert_int_equal(env_get64(e, ENV_DATA), 165);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK);
	assert_int_equal(e->out_port, 0xf4);
	/* EXIT leaves rip at the OUT. */
	assert_int_equal(e->ram[e->cpu->rip], 0xe6);
}

static void strings(void **state)
{
	struct env *e = *state;
	unsigned int i;

	run64(e, CODE(movs_overlap));
	for (i = 0; i < 10004; i++)
		assert_int_equal(e->ram[ENV_DATA + i], 0x11 * (1 + i % 4));
	assert_int_equal(e->cpu->gpr[X86_RCX], 0);
	assert_int_equal(e->cpu->gpr[X86_RDI], ENV_DATA + 10004);

	for (i = 0; i < 0x4000; i++)
		e->ram[ENV_DATA + i] = (uint8_t)(i * 7);
	run64(e, CODE(movs_back));
	assert_int_equal(e->cpu->gpr[X86_RSI], ENV_DATA + 0x1003 - 0x900 * 4);
	/* Downwards, the source is read before it is overwritten: element k comes from 0x2000 below. */
	assert_int_equal(e->ram[ENV_DATA + 0x3003], (uint8_t)(0x1003 * 7));

	run64(e, CODE(stos));
	assert_int_equal(e->ram[ENV_DATA], 0);
	for (i = 0; i < 1200; i++)
		assert_int_equal(env_get64(e, ENV_DATA + 1 + i * 8), 0x0123456789abcdef);
	assert_int_not_equal(env_get64(e, ENV_DATA + 1 + 1200 * 8), 0x0123456789abcdef);
}

static void rep_interrupted(void **state)
{
	struct env *e = *state;

	/* Pending work ends the repetition at a page: registers are up to date, rip at it. */
	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(stos));
	assert_int_equal(x86_run(e->cpu, 3), X86_RUN_BUDGET);
	x86_pend(e->cpu, X86_PEND_WORK);
	e->cpu->rip = ENV_CODE + 7 + 10 + 5;
	e->cpu->gpr[X86_RDI] = ENV_DATA;
	e->cpu->gpr[X86_RCX] = 1200;
	assert_int_equal(x86_step_one(e->cpu), X86_OK);
	assert_int_equal(e->cpu->gpr[X86_RCX], 1200 - 512);
	assert_int_equal(e->cpu->rip, ENV_CODE + 22);
	assert_true(x86_get_rflags(e->cpu) & X86_FL_RF);
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RCX], 0);
	assert_int_equal(e->polls, 1);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_RF);
}

static void rep_faults(void **state)
{
	struct env *e = *state;

	/* The third page is not there: two pages are done, then the fault. */
	env_mode_64(e, 0);
	env_default_idt(e);
	env_put64(e, ENV_PT + 0x2000 + 8, 0);
	env_code(e, ENV_CODE, CODE(stos));
	x86_run(e->cpu, 3);
	e->cpu->rip = ENV_CODE + 22;
	e->cpu->gpr[X86_RDI] = 0x200000 - 4096;
	e->cpu->gpr[X86_RCX] = 1200;
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->out_value & 0xff, X86_PF);
	assert_int_equal(e->cpu->gpr[X86_RCX], 1200 - 512);
	assert_int_equal(e->cpu->cr2, 0x200000);
	/* Error code 2 (write, not present), and RF in the image: restartable. */
	assert_int_equal(env_get64(e, e->cpu->gpr[X86_RSP]), 2);
	assert_int_equal(env_get64(e, e->cpu->gpr[X86_RSP] + 8), ENV_CODE + 22);
	assert_true(env_get64(e, e->cpu->gpr[X86_RSP] + 24) & X86_FL_RF);
}

static void self_modifying(void **state)
{
	struct env *e = *state;

	assert_int_equal(run64(e, CODE(smc_next)) & 0xff, 7);
	/* 100 + 99 + ... + 1 modulo 256 */
	assert_int_equal(run64(e, CODE(smc_loop)) & 0xff, 5050 & 0xff);
}

static void smc_through_alias(void **state)
{
	struct env *e = *state;

	env_mode_64(e, 0);
	env_default_idt(e);
	env_put64(e, ENV_PT + 0x2000 + 8, 0x87); /* 2 MiB .. 4 MiB is the same memory */
	env_code(e, ENV_CODE, CODE(smc_alias));
	env_code(e, ENV_DATA, CODE(mov5_ret));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 5 << 8 | 9);
}

static void foreign_write(void **state)
{
	struct env *e = *state;

	/* Somebody else rewrites code; after a serialising instruction it must be seen. */
	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(call_data));
	env_code(e, ENV_DATA, CODE(mov5_ret));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->out_value & 0xff, 5);
	e->ram[ENV_DATA + 1] = 8;
	e->cpu->rip += 2;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->out_value & 0xff, 8);
}

static void crossing_page(void **state)
{
	struct env *e = *state;

	run64(e, CODE(crossing));
	assert_int_equal(e->cpu->gpr[X86_RCX], 0x112233445566778a);
	assert_int_equal(env_get64(e, ENV_DATA + 0xffc), 0x112233445566778a);
}

static void code_crosses_page(void **state)
{
	struct env *e = *state;
	uint64_t at = ENV_CODE + 0x1000 - 3;

	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, at, CODE(basic64)); /* mov $10, %ecx lies across */
	e->cpu->rip = at;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 165);
	/* The second half changes: seen although it is another page. */
	e->ram[ENV_CODE + 0x1000] = 4;
	e->cpu->rip = at;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 30);
}

static void locked(void **state)
{
	struct env *e = *state;

	run64(e, CODE(lock_ops));
	assert_int_equal(env_get64(e, ENV_DATA), 9 | 1ull << 40);
	/* The comparison failed: RAX has what is there. */
	assert_int_equal(e->cpu->gpr[X86_RAX], 0);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_ZF);
}

static void mmio(void **state)
{
	struct env *e = *state;
	uint64_t pdpt = ENV_PT + 0x1000;

	e->mmio_value = 0xcafe;
	env_mode_64(e, 0);
	env_default_idt(e);
	env_put64(e, pdpt + 3 * 8, 0x9000 | 7); /* 3 GiB.. through one directory */
	env_put64(e, 0x9000 + ((ENV_MMIO >> 21) & 511) * 8, ENV_MMIO | 0x87);
	env_code(e, ENV_CODE, CODE(mmio));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 0xcafe);
	assert_int_equal(e->mmio_reads, 2);
	assert_int_equal(e->mmio_writes, 2);
	assert_int_equal(e->mmio_addr, ENV_MMIO);
	assert_int_equal((uint32_t)e->mmio_value, 0x1235);
}

static void port_io(void **state)
{
	struct env *e = *state;

	e->in_value = 0x100;
	run64(e, CODE(io64));
	assert_int_equal(e->cpu->gpr[X86_RAX], 0x100);
	assert_int_equal(env_get64(e, ENV_DATA), 0x0104010301020101);
	assert_int_equal(e->outs, 5); /* four elements and the exit */
}

static void io_intercept(void **state)
{
	struct env *e = *state;

	env_mode_64(e, 0);
	env_code(e, ENV_CODE, CODE(io64));
	x86_intercept_set(e->cpu, X86_ICPT_IO, true);
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->last, X86_ICPT_IO);
	assert_int_equal(e->info.io.port, 0x80);
	assert_int_equal(e->info.io.size, 4);
	assert_true(e->info.io.in);
	assert_false(e->info.io.string);
	assert_int_equal(e->info.next_rip - e->info.rip, 1);
	assert_int_equal(e->cpu->rip, e->info.rip);
	e->cpu->rip = e->info.next_rip;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_true(e->info.io.string && e->info.io.rep && e->info.io.in);
	assert_int_equal(e->info.io.size, 2);
	assert_int_equal(e->info.io.linear, ENV_DATA);
	assert_int_equal(e->info.io.count, 4);
	assert_int_equal(e->info.io.seg, X86_ES);
}

static void basic32(void **state)
{
	struct env *e = *state;

	env_mode_32(e, 0, true);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(basic32));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 16);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK);
}

static void real_mode(void **state)
{
	struct env *e = *state;
	static const uint8_t handler[] = { 0x83, 0xc0, 0x05, 0xcf }; /* add $5, %ax; iret */

	env_mode_real(e);
	env_code(e, ENV_CODE, CODE(real));
	env_code(e, 0x18000, handler, sizeof(handler));
	env_put32(e, 0x21 * 4, 0x18000000); /* 1800:0000 */
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 17);
	assert_int_equal(e->ram[0x20010], 12);
	assert_int_equal(e->ram[0x21000], 17);
	assert_int_equal(e->cpu->gpr[X86_RSP], 0x8000);
}

static void real_to_protected_to_long(void **state)
{
	struct env *e = *state;
	uint8_t pointer[6] = { 0xff, 0x0f, ENV_GDT & 0xff, ENV_GDT >> 8, 0, 0 };

	env_mode_real(e);
	env_tables(e);
	env_code(e, ENV_CODE, CODE(real_to_prot));
	env_code(e, ENV_CODE + 0x80, pointer, 6);
	env_code(e, ENV_CODE + 0x100, CODE(basic32));
	e->cpu->gdtr.base = 0;
	e->cpu->gpr[X86_RSP] = 0;
	assert_int_equal(x86_run(e->cpu, 6), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->rip, 0x10100);
	assert_int_equal(x86_code_mode(e->cpu), X86_CODE_32);

	env_mode_32(e, 0, false);
	env_code(e, ENV_CODE, CODE(enable_long));
	env_code(e, 0x10100, CODE(basic64));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(x86_code_mode(e->cpu), X86_CODE_64);
	assert_true(e->cpu->efer & X86_EFER_LMA);
	assert_int_equal(e->cpu->gpr[X86_RAX], 165);
}

static void budget_stop_halt(void **state)
{
	struct env *e = *state;

	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(spin));
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_BUDGET);
	assert_in_range(e->cpu->gpr[X86_RAX], 500, 550);
	x86_pend(e->cpu, X86_PEND_STOP);
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_STOPPED);
	assert_int_equal(e->cpu->pending, 0);

	/* STI shadow: the interrupt comes after HLT, and wakes it. */
	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(sti_hlt));
	x86_pend(e->cpu, X86_PEND_INTR);
	e->poll_inject = 0x33;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->out_value & 0xff, 0x33);
	assert_int_equal(env_get64(e, e->cpu->gpr[X86_RSP]), ENV_CODE + 2);
	assert_int_equal(e->cpu->activity, X86_ACTIVE);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_IF);

	/* Nothing pending: halted. An interrupt that IF forbids is not asked for. */
	env_mode_64(e, 0);
	env_code(e, ENV_CODE, CODE(sti_hlt));
	e->cpu->rip++;
	e->polls = 0;
	x86_pend(e->cpu, X86_PEND_INTR);
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_HALTED);
	assert_int_equal(e->polls, 0);
	x86_unpend(e->cpu, X86_PEND_INTR);
}

static void exit_on_write(void **state)
{
	struct env *e = *state;

	/* The second level refuses: state is as before the instruction, and it can be done again. */
	env_mode_64(e, 0);
	env_default_idt(e);
	env_code(e, ENV_CODE, CODE(basic64));
	e->ro_page = ENV_STACK - 0x1000;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->ram[e->cpu->rip], 0xe8); /* at the CALL */
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK);
	assert_int_equal(e->last_req.gpa, ENV_STACK - 8);
	assert_int_equal(e->last_req.linear, ENV_STACK - 8);
	assert_int_equal(e->last_req.access & (X86_ACC_WRITE | X86_ACC_LINEAR | X86_ACC_PT_WALK),
			 X86_ACC_WRITE | X86_ACC_LINEAR);
	e->ro_page = 0;
	assert_int_equal(x86_run(e->cpu, 1000), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 165);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(basic64), T(strings), T(rep_interrupted), T(rep_faults), T(self_modifying),
		T(smc_through_alias), T(foreign_write), T(crossing_page), T(code_crosses_page), T(locked),
		T(mmio), T(port_io), T(io_intercept), T(basic32), T(real_mode),
		T(real_to_protected_to_long), T(budget_stop_halt), T(exit_on_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
