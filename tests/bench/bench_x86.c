/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Speed of hv/x86 beside the host's processor on the same machine code in the same run. Figures
 * are for reading; nothing is asserted.
 */
#include <time.h>
#include "tests/unit/x86_env.h"

#define BUFFER 0x100000

typedef void native_fn(void *buffer, uint64_t rounds);

#define DECLARE(name) extern native_fn bx_##name; extern const char bx_##name##_end[]
DECLARE(integer);
DECLARE(memory);
DECLARE(calls);
DECLARE(branches);
DECLARE(indirect);
DECLARE(movsb);

static const struct {
	const char *name;
	native_fn *fn;
	const char *end;
	unsigned int insns;	/* a round */
	uint64_t rounds;	/* for hv/x86; the host does ten times as many */
} table[] = {
#define ROW(name, insns, rounds) { #name, bx_##name, bx_##name##_end, insns, rounds }
	ROW(integer, 8, 8000000), ROW(memory, 10, 5000000), ROW(calls, 12, 4000000),
	ROW(branches, 11, 5000000), ROW(indirect, 7, 6000000), ROW(movsb, 6, 400000),
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other programs do not count */
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double guest(struct env *e, unsigned int i)
{
	static const uint8_t leave[] = { 0xe6, 0xf4 };
	struct x86_cpu *cpu = e->cpu;
	double start;

	env_mode_64(e, 0);
	env_code(e, ENV_CODE, (const void *)table[i].fn,
		 (size_t)(table[i].end - (const char *)table[i].fn));
	env_code(e, ENV_CODE + 0x800, leave, sizeof(leave));
	cpu->gpr[X86_RSP] -= 8;
	env_put64(e, ENV_STACK - 8, ENV_CODE + 0x800);
	cpu->gpr[X86_RDI] = BUFFER;
	cpu->gpr[X86_RSI] = table[i].rounds;
	start = now();
	while (x86_run(cpu, 1000000) == X86_RUN_BUDGET)
		;
	return now() - start;
}

static double native(void *buffer, unsigned int i)
{
	double start = now();

	table[i].fn(buffer, table[i].rounds * 10);
	return (now() - start) / 10;
}

/* ---- 32-bit code: beside the same loops in 64-bit code -------------------------------------------- */

DECLARE(integer32);
DECLARE(memory32);
DECLARE(calls32);
DECLARE(percpu32);

static const struct {
	const char *name;
	native_fn *fn;
	const char *end;
	unsigned int insns;
	uint32_t rounds;
} legacy[] = {
	ROW(integer32, 8, 8000000), ROW(memory32, 10, 5000000), ROW(calls32, 12, 4000000),
	ROW(percpu32, 7, 5000000),
};

static double guest_32(struct env *e, unsigned int i)
{
	struct x86_cpu *cpu = e->cpu;
	double start;

	env_mode_32(e, 0, true);
	cpu->seg[X86_FS].base = BUFFER;
	x86_state_changed(cpu);
	env_code(e, ENV_CODE, (const void *)legacy[i].fn,
		 (size_t)(legacy[i].end - (const char *)legacy[i].fn));
	cpu->gpr[X86_RDI] = BUFFER;
	cpu->gpr[X86_RSI] = legacy[i].rounds;
	start = now();
	while (x86_run(cpu, 1000000) == X86_RUN_BUDGET)
		;
	return now() - start;
}

/* ---- events ----------------------------------------------------------------------------------- */

DECLARE(ev_syscall);
DECLARE(ev_sysret);
DECLARE(ev_int);
DECLARE(ev_iret);
DECLARE(ev_fault);
DECLARE(ev_skip);
DECLARE(ev_invlpg);
DECLARE(ev_cr3);
DECLARE(ev_cr3_code);
DECLARE(ev_cpuid);
DECLARE(ev_out);
DECLARE(ev_smc);
DECLARE(ev_cold);

static const struct {
	const char *name;
	native_fn *fn;
	const char *end;
	unsigned int cpl;
	uint64_t rounds;
	bool global;		/* pages */
} events[] = {
#define EVENT(name, text, cpl, rounds) { text, bx_##name, bx_##name##_end, cpl, rounds, false }
	EVENT(ev_syscall, "syscall + sysret", 3, 1000000),
	EVENT(ev_int, "int + iret", 0, 1000000),
	EVENT(ev_fault, "page fault round trip", 0, 500000),
	EVENT(ev_invlpg, "invlpg + touch", 0, 500000),
	EVENT(ev_cr3, "CR3 reload + 16 touches", 0, 100000),
	EVENT(ev_cr3_code, "CR3 reload + 64 blocks", 0, 100000),
	{ "the same, global pages", bx_ev_cr3_code, bx_ev_cr3_code_end, 0, 100000, true },
	EVENT(ev_cpuid, "CPUID", 0, 1000000),
	EVENT(ev_out, "OUT", 0, 1000000),
	EVENT(ev_smc, "self-modifying code", 0, 200000),
	EVENT(ev_cold, "cold block of 5", 0, 100000),
};

static void put_code(struct env *e, uint64_t at, native_fn *fn, const char *end)
{
	env_code(e, at, (const void *)fn, (size_t)(end - (const char *)fn));
}

static double event(struct env *e, unsigned int i)
{
	struct x86_cpu *cpu = e->cpu;
	double start;
	unsigned int k;

	env_mode_64(e, events[i].cpl);
	env_default_idt(e);
	/* 4 KiB pages below 2 MiB, as kernels have them; 32 MiB and more is not there. */
	for (k = 0; k < 512; k++)
		env_put64(e, 0xc000 + k * 8, (uint64_t)k << 12 | (events[i].global ? 0x107 : 7));
	env_put64(e, ENV_PT + 0x2000, 0xc000 | 7);
	env_put64(e, ENV_PT + 0x2000 + (0x3000000 >> 21) * 8, 0);
	put_code(e, ENV_CODE, events[i].fn, events[i].end);
	put_code(e, ENV_CODE + 0x1000, bx_ev_sysret, bx_ev_sysret_end);
	put_code(e, ENV_CODE + 0x2000, bx_ev_iret, bx_ev_iret_end);
	put_code(e, ENV_CODE + 0x3000, bx_ev_skip, bx_ev_skip_end);
	cpu->star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)(SEL_UDATA - 8) << 48;
	cpu->lstar = ENV_CODE + 0x1000;
	env_gate(e, 0x80, ENV_CODE + 0x2000, 14, 3);
	env_gate(e, X86_PF, ENV_CODE + 0x3000, 14, 3);
	cpu->gpr[X86_RDI] = BUFFER;
	cpu->gpr[X86_RBX] = events[i].rounds;
	start = now();
	while (x86_run(cpu, 1000000) == X86_RUN_BUDGET)
		;
	return (now() - start) / (double)events[i].rounds;
}

int main(void)
{
	struct env *e = env_create();
	void *buffer = calloc(1, 0x20000);
	unsigned int i;

	printf("%-10s %14s %14s %8s\n", "hv/x86", "Minsn/s", "host Minsn/s", "ratio");
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		double insns = (double)table[i].insns * (double)table[i].rounds;
		double g = guest(e, i), n = native(buffer, i);

		printf("%-10s %14.1f %14.1f %8.1f\n", table[i].name, insns / g / 1e6, insns / n / 1e6, g / n);
	}
	for (i = 0; i < sizeof(legacy) / sizeof(legacy[0]); i++)
		printf("%-10s %14.1f\n", legacy[i].name,
		       (double)legacy[i].insns * legacy[i].rounds / guest_32(e, i) / 1e6);
	printf("%-26s %10s\n", "event", "ns");
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		printf("%-26s %10.1f\n", events[i].name, event(e, i) * 1e9);
	free(buffer);
	env_destroy(e);
	return 0;
}
