/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Delivery of events: frames, error codes, double and triple faults, stacks, intercepts, TF. */
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

static void start64(struct env *e, unsigned int cpl, const void *code, size_t size)
{
	env_mode_64(e, cpl);
	env_default_idt(e);
	env_code(e, ENV_CODE, code, size);
}

static unsigned int run(struct env *e)
{
	assert_int_equal(x86_run(e->cpu, 10000), X86_RUN_EXIT);
	return e->out_value & 0xff;
}

static uint64_t stacked(struct env *e, unsigned int slot)
{
	return env_get64(e, e->cpu->gpr[X86_RSP] + slot * 8);
}

static void faults_64(void **state)
{
	struct env *e = *state;

	start64(e, 0, CODE(div0));
	assert_int_equal(run(e), X86_DE);
	assert_int_equal(stacked(e, 0), ENV_CODE + 2); /* the DIV */
	assert_int_equal(stacked(e, 1), SEL_CODE64);
	assert_int_equal(stacked(e, 3), ENV_STACK);
	assert_int_equal(stacked(e, 4), SEL_DATA32);

	start64(e, 3, CODE(ud));
	assert_int_equal(run(e), X86_UD);
	assert_int_equal(e->cpu->cpl, 0);
	assert_int_equal(stacked(e, 1), SEL_UCODE64);
	assert_int_equal(stacked(e, 3), ENV_USTACK);
	assert_int_equal(stacked(e, 4), SEL_UDATA);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_STACK - 40);
	assert_int_equal(e->cpu->seg[X86_SS].selector, 0);

	start64(e, 0, CODE(int3));
	assert_int_equal(run(e), X86_BP);
	assert_int_equal(stacked(e, 0), ENV_CODE + 1);

	/* INT n needs the gate's DPL, faults and interrupts do not. */
	start64(e, 3, CODE(int80));
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked(e, 0), 0x80 * 8 + 2);
	env_mode_64(e, 3);
	env_gate(e, 0x80, 0x50800, 14, 3);
	assert_int_equal(run(e), 0x80);
	assert_int_equal(stacked(e, 0), ENV_CODE + 2);
}

static void page_fault_codes(void **state)
{
	struct env *e = *state;

	/* user, read, not present */
	start64(e, 3, CODE(touch_data));
	env_put64(e, ENV_PT + 0x2000, 0x83); /* low 2 MiB supervisor: the fetch itself faults */
	assert_int_equal(run(e), X86_PF);
	assert_int_equal(stacked(e, 0), X86_PF_P | X86_PF_U | X86_PF_I);
	assert_int_equal(e->cpu->cr2, ENV_CODE);

	/* reserved bit */
	start64(e, 0, CODE(mmio));
	env_put64(e, ENV_PT + 0x1000 + 3 * 8, 1ull << 51 | 7);
	assert_int_equal(run(e), X86_PF);
	assert_int_equal(stacked(e, 0), X86_PF_P | X86_PF_RSVD);
	assert_int_equal(e->cpu->cr2, ENV_MMIO);
}

static void smep_smap(void **state)
{
	struct env *e = *state;

	start64(e, 0, CODE(smap));
	env_put64(e, ENV_PT + 0x2000, 0x83); /* code, stack and IDT: supervisor */
	env_put64(e, ENV_PT + 0x2000 + 8, 0x87); /* 2 MiB up: the same, user */
	e->ram[ENV_CODE + 6] = 0; /* mov 0x220000, %rax */
	env_put32(e, ENV_CODE + 4, ENV_DATA + 0x200000);
	e->cpu->cr4 |= X86_CR4_SMAP | X86_CR4_SMEP;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_PF);
	assert_int_equal(stacked(e, 0), X86_PF_P);

	start64(e, 0, CODE(stac));
	env_put64(e, ENV_PT + 0x2000, 0x83);
	env_put64(e, ENV_PT + 0x2000 + 8, 0x87);
	env_put32(e, ENV_CODE + 3 + 4, ENV_DATA + 0x200000);
	env_put32(e, ENV_CODE + 3 + 8 + 3 + 4, ENV_DATA + 0x200000);
	e->cpu->cr4 |= X86_CR4_SMAP | X86_CR4_SMEP;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_PF);
	/* The first access was between STAC and CLAC; the second faulted. */
	assert_int_equal(stacked(e, 1), ENV_CODE + 3 + 8 + 3);

	start64(e, 0, CODE(smap));
	env_put64(e, ENV_PT + 0x2000, 0x83);
	env_put64(e, ENV_PT + 0x2000 + 8, 0x87);
	e->cpu->cr4 |= X86_CR4_SMEP;
	x86_state_changed(e->cpu);
	e->cpu->rip = ENV_CODE + 0x200000;
	assert_int_equal(run(e), X86_PF);
	assert_int_equal(stacked(e, 0), X86_PF_P | X86_PF_I);
}

static void double_and_triple(void **state)
{
	struct env *e = *state;

	/* #UD's gate is not present: #NP in its place, with the gate's number. */
	start64(e, 0, CODE(ud));
	e->ram[ENV_IDT + X86_UD * 16 + 5] &= 0x7f;
	assert_int_equal(run(e), X86_NP);
	assert_int_equal(stacked(e, 0), X86_UD * 8 + 3);

	/* #GP's and #NP's too: #NP inside #NP is a double fault. */
	start64(e, 0, CODE(ud));
	e->ram[ENV_IDT + X86_UD * 16 + 5] &= 0x7f;
	e->ram[ENV_IDT + X86_NP * 16 + 5] &= 0x7f;
	assert_int_equal(run(e), X86_DF);
	assert_int_equal(stacked(e, 0), 0);

	e->cpu->idtr.limit = 0;
	e->cpu->rip = ENV_CODE;
	x86_intercept_set(e->cpu, X86_ICPT_SHUTDOWN, false);
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_SHUTDOWN);
	assert_int_equal(e->cpu->activity, X86_SHUTDOWN);

	start64(e, 0, CODE(ud));
	e->cpu->idtr.limit = 0;
	x86_intercept_set(e->cpu, X86_ICPT_SHUTDOWN, true);
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->last, X86_ICPT_SHUTDOWN);
	x86_intercept_set(e->cpu, X86_ICPT_SHUTDOWN, false);
}

static void ist(void **state)
{
	struct env *e = *state;

	start64(e, 0, CODE(ud));
	e->ram[ENV_IDT + X86_UD * 16 + 4] = 3;
	env_put64(e, ENV_TSS + 0x24 + 16, 0x3a00f);
	assert_int_equal(run(e), X86_UD);
	assert_int_equal(e->cpu->gpr[X86_RSP], 0x3a000 - 40);
}

static void exception_intercept(void **state)
{
	struct env *e = *state;

	/* Before CR2 changes; rip at the instruction; EXIT. */
	start64(e, 3, CODE(smap));
	env_put64(e, ENV_PT + 0x2000 + 8, 0);
	env_put32(e, ENV_CODE + 4, ENV_DATA + 0x200000);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_PF, true);
	e->cpu->cr2 = 0x77;
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_int_equal(e->last, X86_ICPT_EXC + X86_PF);
	assert_int_equal(e->info.exc.payload, ENV_DATA + 0x200000);
	assert_int_equal(e->info.exc.error_code, X86_PF_U);
	assert_true(e->info.exc.has_error);
	assert_int_equal(e->cpu->cr2, 0x77);
	assert_int_equal(e->cpu->rip, ENV_CODE);
	/* The op lets it through. */
	e->icpt_status = X86_OK;
	assert_int_equal(run(e), X86_PF);
	assert_int_equal(e->cpu->cr2, ENV_DATA + 0x200000);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_PF, false);
	e->icpt_status = X86_EXIT;
}

static void vectoring(void **state)
{
	struct env *e = *state;

	/* A page fault on the handler's stack, intercepted: the interrupted event is on record. */
	start64(e, 0, CODE(ud));
	env_put64(e, ENV_PT + 0x2000 + 8, 0);
	e->cpu->gpr[X86_RSP] = 0x201000;
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_PF, true);
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_int_equal(e->last, X86_ICPT_EXC + X86_PF);
	assert_int_equal(e->info.exc.error_code, X86_PF_W);
	assert_true(e->cpu->vectoring.valid);
	assert_int_equal(e->cpu->vectoring.vector, X86_UD);
	assert_int_equal(e->cpu->vectoring.type, X86_EV_EXC);
	assert_int_equal(e->cpu->rip, ENV_CODE);
	assert_int_equal(e->cpu->gpr[X86_RSP], 0x201000);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_PF, false);
}

static void inject(void **state)
{
	struct env *e = *state;
	struct x86_event ev = { .valid = 1, .vector = 2, .type = X86_EV_NMI };

	start64(e, 3, CODE(nops));
	assert_int_equal(x86_inject(e->cpu, &ev), X86_OK);
	assert_true(e->cpu->intr_state & X86_BLOCK_NMI);
	assert_false(x86_nmi_window(e->cpu));
	assert_int_equal(run(e), 2);

	/* A software interrupt pushes the address behind it. */
	start64(e, 0, CODE(nops));
	ev = (struct x86_event){ .valid = 1, .vector = 0x21, .type = X86_EV_SOFT_INT, .insn_len = 2 };
	assert_int_equal(x86_inject(e->cpu, &ev), X86_OK);
	assert_int_equal(stacked(e, 0), ENV_CODE + 2);

	/* Injected exceptions are not intercepted, raised ones are. */
	start64(e, 0, CODE(nops));
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_GP, true);
	ev = (struct x86_event){ .valid = 1, .vector = X86_GP, .type = X86_EV_EXC, .has_error = true,
				 .error_code = 0x1234 };
	assert_int_equal(x86_inject(e->cpu, &ev), X86_OK);
	assert_int_equal(stacked(e, 0), 0x1234);
	start64(e, 0, CODE(nops));
	assert_int_equal(x86_raise(e->cpu, X86_GP, true, 5, 0), X86_EXIT);
	assert_int_equal(e->info.exc.error_code, 5);
	x86_intercept_set(e->cpu, X86_ICPT_EXC + X86_GP, false);
}

static void iret_unblocks_nmi(void **state)
{
	struct env *e = *state;
	uint64_t frame[5] = { ENV_CODE + 0x100, SEL_UCODE64, 0x202, ENV_USTACK, SEL_UDATA };

	start64(e, 0, CODE(iretq));
	env_code(e, ENV_CODE + 0x100, CODE(nops));
	env_code(e, ENV_STACK - 40, frame, sizeof(frame));
	e->cpu->gpr[X86_RSP] = ENV_STACK - 40;
	e->cpu->intr_state = X86_BLOCK_NMI;
	x86_state_changed(e->cpu);
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->intr_state, 0);
	assert_int_equal(e->cpu->cpl, 3);
	assert_int_equal(e->cpu->rip, ENV_CODE + 0x100);
	assert_int_equal(e->cpu->gpr[X86_RSP], ENV_USTACK);
	assert_true(x86_intr_window(e->cpu));

	/* A data selector as CS: #GP with it, and NMIs are unblocked all the same. */
	start64(e, 0, CODE(iretq));
	frame[1] = SEL_DATA32;
	env_code(e, ENV_STACK - 40, frame, sizeof(frame));
	e->cpu->gpr[X86_RSP] = ENV_STACK - 40;
	e->cpu->intr_state = X86_BLOCK_NMI;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked(e, 0), SEL_DATA32);
	assert_int_equal(e->cpu->intr_state, 0);
}

static void single_step(void **state)
{
	struct env *e = *state;

	/* TF set by POPF: the trap comes after the next instruction. */
	start64(e, 0, CODE(pushf_tf));
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 10);
	assert_true(e->cpu->dr6 & X86_DR6_BS);
	assert_true(stacked(e, 2) & X86_FL_TF);
	assert_false(x86_get_rflags(e->cpu) & X86_FL_TF);

	/* MOV SS holds it back by one. */
	start64(e, 0, CODE(movss_tf));
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 3 + 9 + 2 + 1);
}

static void breakpoints(void **state)
{
	struct env *e = *state;

	/* Code: a fault before the instruction, with RF in the image; RF lets it pass. */
	start64(e, 0, CODE(nops));
	e->cpu->dr[1] = ENV_CODE + 2;
	e->cpu->dr7 = 0x400 | 4;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 2);
	assert_int_equal(e->cpu->dr6 & 0xf, 2);
	assert_true(stacked(e, 2) & X86_FL_RF);
	env_mode_64(e, 0);
	e->cpu->dr[1] = ENV_CODE + 2;
	e->cpu->dr7 = 0x400 | 4;
	e->cpu->rip = ENV_CODE + 2;
	x86_set_rflags(e->cpu, X86_FL_RF);
	x86_state_changed(e->cpu);
	assert_int_equal(x86_run(e->cpu, 10), X86_RUN_EXIT);
	assert_int_equal(e->cpu->rip, ENV_CODE + 3);

	/* Data: a trap after the access. Write breakpoint of 8 bytes on DATA; read-write on DATA + 4. */
	start64(e, 0, CODE(data_bp));
	e->cpu->dr[0] = ENV_DATA;
	e->cpu->dr7 = 0x400 | 1 | 1u << 16 | 2u << 18;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 8);
	assert_int_equal(e->cpu->dr6 & 0xf, 1);
	start64(e, 0, CODE(data_bp));
	e->cpu->dr[2] = ENV_DATA + 4;
	e->cpu->dr7 = 0x400 | 1u << 4 | 3u << 24;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_DB); /* the 8-byte write overlaps too */
	assert_int_equal(stacked(e, 0), ENV_CODE + 8);
	/* No match: nothing happens. */
	start64(e, 0, CODE(data_bp));
	e->cpu->dr[0] = ENV_DATA + 8;
	e->cpu->dr7 = 0x400 | 1 | 3u << 16;
	x86_state_changed(e->cpu);
	run(e);
	assert_int_equal(e->ram[e->cpu->rip], 0xe6);
	assert_in_range(e->cpu->rip, ENV_CODE, ENV_CODE + 0x40);
}

/* MOV SS holds back the trap of its own read; the INT1 behind it is the one #DB that comes. */
static void int1_takes_what_was_held_back(void **state)
{
	const uint8_t code[] = { 0x8e, 0x14, 0x25, ENV_DATA & 0xff, ENV_DATA >> 8 & 0xff,
				 ENV_DATA >> 16 & 0xff, 0, 0xf1, 0x90 };
	struct env *e = *state;

	start64(e, 0, CODE(nops));
	env_code(e, ENV_CODE, code, sizeof(code));
	env_put32(e, ENV_DATA, SEL_DATA32);
	e->cpu->dr[0] = ENV_DATA;
	e->cpu->dr7 = 0x400 | 1 | 3u << 16;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 8);
	assert_int_equal(e->cpu->dr6 & 0xf, 1);
	assert_int_equal(e->cpu->pending_dbg, 0);
}

static void alignment_check(void **state)
{
	struct env *e = *state;

	start64(e, 3, CODE(ac));
	e->cpu->cr0 |= X86_CR0_AM;
	x86_state_changed(e->cpu);
	assert_int_equal(run(e), X86_AC);
	assert_int_equal(stacked(e, 0), 0);
	start64(e, 0, CODE(ac)); /* not at level 0 */
	e->cpu->cr0 |= X86_CR0_AM;
	x86_state_changed(e->cpu);
	run(e);
	assert_in_range(e->cpu->rip, ENV_CODE, ENV_CODE + 0x40);
}

static void syscalls(void **state)
{
	struct env *e = *state;

	start64(e, 3, CODE(syscall64));
	env_code(e, ENV_CODE + 0x200, CODE(sysret64));
	e->cpu->star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_UDATA - 8) << 48;
	e->cpu->lstar = ENV_CODE + 0x200;
	e->cpu->fmask = X86_FL_IF | X86_FL_DF;
	x86_set_rflags(e->cpu, X86_FL_IF | X86_FL_DF | X86_FL_CF);
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->rip, ENV_CODE + 0x200);
	assert_int_equal(e->cpu->cpl, 0);
	assert_int_equal(e->cpu->gpr[X86_RCX], ENV_CODE + 2);
	assert_int_equal(e->cpu->gpr[X86_R11], X86_FL_IF | X86_FL_DF | X86_FL_CF | 2);
	assert_int_equal(x86_get_rflags(e->cpu), X86_FL_CF | 2);
	assert_int_equal(e->cpu->seg[X86_SS].selector, SEL_CODE64 + 8);
	e->cpu->rip += 2;
	assert_int_equal(x86_run(e->cpu, 1), X86_RUN_BUDGET);
	assert_int_equal(e->cpu->rip, ENV_CODE + 2);
	assert_int_equal(e->cpu->cpl, 3);
	assert_int_equal(e->cpu->seg[X86_CS].selector, SEL_UCODE64);
	assert_int_equal(e->cpu->seg[X86_SS].selector, SEL_UDATA);
	/* SYSRET that sets TF: the trap is before the first instruction of level 3. */
	start64(e, 0, CODE(sysret64));
	e->cpu->rip += 2;
	e->cpu->star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_UDATA - 8) << 48;
	e->cpu->gpr[X86_RCX] = ENV_CODE + 0x300;
	e->cpu->gpr[X86_R11] = X86_FL_TF;
	assert_int_equal(run(e), X86_DB);
	assert_int_equal(stacked(e, 0), ENV_CODE + 0x300);
	assert_int_equal(stacked(e, 1), SEL_UCODE64);
	assert_true(e->cpu->dr6 & X86_DR6_BS);
	/* Without SCE: #UD. */
	start64(e, 3, CODE(syscall64));
	e->cpu->efer &= ~X86_EFER_SCE;
	assert_int_equal(run(e), X86_UD);
	/* SYSRET to a non-canonical address: #GP at level 0. */
	start64(e, 0, CODE(sysret64));
	e->cpu->rip += 2;
	e->cpu->gpr[X86_RCX] = 1ull << 47;
	assert_int_equal(run(e), X86_GP);
	assert_int_equal(stacked(e, 5), SEL_DATA32); /* the error code is below the frame */
}

static void real_mode_delivery(void **state)
{
	struct env *e = *state;
	struct x86_event ev = { .valid = 1, .vector = 8, .type = X86_EV_INTR };

	env_mode_real(e);
	env_put32(e, 8 * 4, 0x12345678);
	x86_set_rflags(e->cpu, X86_FL_IF | X86_FL_CF);
	assert_int_equal(x86_inject(e->cpu, &ev), X86_OK);
	assert_int_equal(e->cpu->seg[X86_CS].selector, 0x1234);
	assert_int_equal(e->cpu->seg[X86_CS].base, 0x12340);
	assert_int_equal(e->cpu->rip, 0x5678);
	assert_int_equal(e->cpu->gpr[X86_RSP], 0x8000 - 6);
	assert_int_equal(env_get32(e, 0x28000 + 0x8000 - 6), 0x10000000); /* IP 0, CS 1000 */
	assert_int_equal(x86_get_rflags(e->cpu), X86_FL_CF | 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(faults_64), T(page_fault_codes), T(smep_smap), T(double_and_triple), T(ist),
		T(exception_intercept), T(vectoring), T(inject), T(iret_unblocks_nmi), T(single_step),
		T(breakpoints), T(int1_takes_what_was_held_back),
		T(alignment_check), T(syscalls), T(real_mode_delivery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
