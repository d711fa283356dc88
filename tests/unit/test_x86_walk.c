/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page walk against a table of single- and multi-fault cases, over callbacks alone; and the
 * TLB: what each flush forgets and what it must keep.
 */
#include "tests/unit/x86_env.h"
#include <cmocka.h>
#include "tests/unit/x86_code.h"

static uint64_t mem[0x6000 / 8];	/* physical 0x1000.. */
static unsigned int reads, swaps;
static bool lose_race;

static int read_pte(void *ctx, uint64_t gpa, unsigned int size, uint64_t *value)
{
	uint64_t at = gpa - 0x1000;

	(void)ctx;
	reads++;
	if (at >= sizeof(mem))
		return X86_EXIT;
	*value = 0;
	memcpy(value, (char *)mem + at, size);
	return X86_OK;
}

static int cmpxchg_pte(void *ctx, uint64_t gpa, unsigned int size, uint64_t old, uint64_t new_,
		       bool *swapped)
{
	char *at = (char *)mem + (gpa - 0x1000);
	uint64_t now = 0;

	(void)ctx;
	memcpy(&now, at, size);
	if (lose_race) {
		lose_race = false;
		*swapped = false;
		return X86_OK;
	}
	*swapped = now == old;
	if (*swapped) {
		memcpy(at, &new_, size);
		swaps++;
	}
	return X86_OK;
}

static const struct x86_walk_ops ops = { read_pte, cmpxchg_pte };

static struct x86_walk_params params_4(void)
{
	return (struct x86_walk_params){
		.ops = &ops, .cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP, .cr3 = 0x1000,
		.cr4 = X86_CR4_PAE | X86_CR4_PGE, .efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE,
		.maxphyaddr = 40, .gbpages = true,
	};
}

static void put(uint64_t gpa, uint64_t v)
{
	mem[(gpa - 0x1000) / 8] = v;
}

/* 4 levels for linear 0: 0x1000 0x2000 0x3000 0x4000, leaf at 0x4000. */
static void tables(uint64_t pte, uint64_t upper)
{
	memset(mem, 0, sizeof(mem));
	put(0x1000, 0x2000 | upper);
	put(0x2000, 0x3000 | upper);
	put(0x3000, 0x4000 | upper);
	put(0x4000, pte);
	reads = swaps = 0;
}

static void rights(void **state)
{
	enum { R = X86_ACC_READ, W = X86_ACC_WRITE, X = X86_ACC_EXEC, U = X86_ACC_USER };
	const uint64_t smap = X86_CR4_SMAP, smep = X86_CR4_SMEP, pke = X86_CR4_PKE;
	const struct {
		uint64_t pte, upper;
		uint32_t access, error;		/* error 0: passes */
		uint64_t cr4;
		bool no_wp, ac;
		uint32_t pkru;
	} table[] = {
		{ 0x5007, 7, R | U, 0, 0, 0, 0, 0 },
		{ 0x5007, 7, W | U, 0, 0, 0, 0, 0 },
		{ 0x5007, 7, X | U, 0, 0, 0, 0, 0 },
		{ 0x5003, 7, R | U, 5, 0, 0, 0, 0 },		/* supervisor page */
		{ 0x5007, 3, R | U, 5, 0, 0, 0, 0 },		/* above it */
		{ 0x5005, 7, W | U, 7, 0, 0, 0, 0 },		/* read-only */
		{ 0x5007, 5, W | U, 7, 0, 0, 0, 0 },
		{ 0x5006, 7, R | U, 4, 0, 0, 0, 0 },		/* not present */
		{ 0x5006, 7, W, 2, 0, 0, 0, 0 },
		{ 0x5005, 7, W, 3, 0, 0, 0, 0 },		/* supervisor, WP */
		{ 0x5005, 7, W, 0, 0, 1, 0, 0 },		/* supervisor, no WP */
		{ 0x5007 | X86_PTE_NX, 7, X | U, 0x15, 0, 0, 0, 0 },
		{ 0x5007 | X86_PTE_NX, 7, R | U, 0, 0, 0, 0, 0 },
		{ 0x5007, 7 | X86_PTE_NX, X, 0x11, 0, 0, 0, 0 },
		{ 0x5007, 7, X, 0x11, smep, 0, 0, 0 },
		{ 0x5003, 7, X, 0, smep, 0, 0, 0 },
		{ 0x5007, 7, R, 1, smap, 0, 0, 0 },
		{ 0x5007, 7, R, 0, smap, 0, 1, 0 },
		{ 0x5007, 7, W, 3, smap, 0, 0, 0 },
		{ 0x5003, 7, R, 0, smap, 0, 0, 0 },
		{ 0x5007, 7, X, 0, smap, 0, 0, 0 },		/* SMAP is about data */
		{ 0x5007 | 3ull << 59, 7, R | U, 0x25, pke, 0, 0, 1u << 6 },
		{ 0x5007 | 3ull << 59, 7, R | U, 0, pke, 0, 0, 2u << 6 },
		{ 0x5007 | 3ull << 59, 7, W | U, 0x27, pke, 0, 0, 2u << 6 },
		{ 0x5007 | 3ull << 59, 7, W, 0x23, pke, 0, 0, 2u << 6 },	/* WP counts for keys too */
		{ 0x5007 | 3ull << 59, 7, W, 0, pke, 1, 0, 2u << 6 },
		{ 0x5007 | 3ull << 59, 7, X | U, 0, pke, 0, 0, 3u << 6 },
		{ 0x5007 | 1ull << 45, 7, R, 9, 0, 0, 0, 0 },	/* beyond maxphyaddr */
		{ 0x5007, 7 | 1ull << 45, W | U, 0xf, 0, 0, 0, 0 },
		{ 0x5007 | 1ull << 55, 7, R, 0, 0, 0, 0, 0 },	/* ignored */
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct x86_walk_params p = params_4();
		struct x86_walk_result r;
		int ret;

		tables(table[i].pte, table[i].upper);
		p.cr4 |= table[i].cr4;
		p.cr0 &= table[i].no_wp ? ~X86_CR0_WP : UINT64_MAX;
		p.smap_ac = table[i].ac;
		p.pkru = table[i].pkru;
		ret = x86_walk_params(&p, 0x123, table[i].access, &r);
		if (ret != (table[i].error || !(table[i].pte & 1) ? X86_FAULT : X86_OK))
			fail_msg("row %u: status %d", i, ret);
		if (ret == X86_FAULT && r.error_code != table[i].error)
			fail_msg("row %u: error %x, not %x", i, r.error_code, table[i].error);
		if (ret == X86_OK)
			assert_int_equal(r.gpa, 0x5123);
		/* No accessed bit on a fault; A everywhere and D at the leaf otherwise. */
		assert_int_equal(!!(mem[0] & X86_PTE_A), ret == X86_OK);
		assert_int_equal(!!(mem[0x3000 / 8] & X86_PTE_D),
				 ret == X86_OK && (table[i].access & W));
		assert_false(mem[0] & X86_PTE_D);
	}
}

static void sizes(void **state)
{
	struct x86_walk_params p = params_4();
	struct x86_walk_result r;

	(void)state;
	tables(0, 7);
	put(0x3000, 0x40000083 | X86_PTE_G);
	assert_int_equal(x86_walk_params(&p, 0x12345, X86_ACC_READ, &r), X86_OK);
	assert_int_equal(r.gpa, 0x40012345);
	assert_int_equal(r.page_size, 1 << 21);
	assert_int_equal(r.level, 2);
	assert_true(r.global);
	assert_int_equal(r.nr_levels, 3);
	assert_int_equal(r.levels[2].pte_gpa, 0x3000);
	put(0x3000, 0x40002083); /* bit 13 of a 2 MiB page is reserved */
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(r.error_code, 9);
	assert_int_equal(r.fault_level, 2);
	put(0x2000, 0x80000083);
	assert_int_equal(x86_walk_params(&p, 0x1234567, X86_ACC_READ, &r), X86_OK);
	assert_int_equal(r.gpa, 0x81234567);
	assert_int_equal(r.page_size, 1 << 30);
	p.gbpages = false;
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_READ, &r), X86_FAULT);
	put(0x1000, 0x2087); /* PS in a PML4 entry */
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(r.fault_level, 4);
	p.efer &= ~X86_EFER_NXE;
	put(0x1000, 0x2007 | X86_PTE_NX);
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(r.error_code, 9);

	/* 5 levels: PML5 index from bit 48. */
	p = params_4();
	p.cr4 |= X86_CR4_LA57;
	tables(0x5007, 7);
	put(0x6000, 0x1007);
	p.cr3 = 0x6000;
	assert_int_equal(x86_walk_params(&p, 0x123, X86_ACC_READ, &r), X86_OK);
	assert_int_equal(r.nr_levels, 5);
	assert_int_equal(r.gpa, 0x5123);
}

static void legacy(void **state)
{
	struct x86_walk_params p = params_4();
	struct x86_walk_result r;

	(void)state;
	/* 32-bit: directory at 0x1000, table at 0x2000. */
	memset(mem, 0, sizeof(mem));
	p.efer = 0;
	p.cr4 = 0;
	((uint32_t *)(void *)mem)[1] = 0x2007; /* 4 MiB .. */
	((uint32_t *)(void *)mem)[0x1000 / 4 + 3] = 0x5007;
	assert_int_equal(x86_walk_params(&p, 0x403123, X86_ACC_READ, &r), X86_OK);
	assert_int_equal(r.gpa, 0x5123);
	assert_int_equal(((uint32_t *)(void *)mem)[0x1000 / 4 + 4], 0); /* A of 4 bytes only */
	/* A fetch fault has no I bit without NX or SMEP. */
	assert_int_equal(x86_walk_params(&p, 0x400000, X86_ACC_EXEC | X86_ACC_USER, &r), X86_FAULT);
	assert_int_equal(r.error_code, 4);
	/* 4 MiB with PSE-36 bits. */
	p.cr4 = X86_CR4_PSE;
	((uint32_t *)(void *)mem)[1] = 0x00c02087;
	assert_int_equal(x86_walk_params(&p, 0x403123, X86_ACC_READ, &r), X86_OK);
	assert_int_equal(r.gpa, 0x100c03123ull);
	((uint32_t *)(void *)mem)[1] = 0x00e00087; /* bit 21 */
	assert_int_equal(x86_walk_params(&p, 0x403123, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(r.error_code, 9);
	/* PAE. */
	p.cr4 = X86_CR4_PAE;
	tables(0x5007, 7);
	p.pdptr[0] = 0x3001;
	assert_int_equal(x86_walk_params(&p, 0x123, X86_ACC_WRITE | X86_ACC_USER, &r), X86_OK);
	assert_int_equal(r.gpa, 0x5123);
	put(0x4000, 0x5007 | 1ull << 60); /* reserved in PAE */
	assert_int_equal(x86_walk_params(&p, 0x123, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(x86_walk_params(&p, 0x40000000, X86_ACC_READ, &r), X86_FAULT);
	assert_int_equal(r.error_code, 0);
	assert_int_equal(r.fault_level, 3);
	/* Off. */
	p.cr0 = X86_CR0_PE;
	assert_int_equal(x86_walk_params(&p, 0xdeadbeef, X86_ACC_WRITE, &r), X86_OK);
	assert_int_equal(r.gpa, 0xdeadbeef);
}

static void races(void **state)
{
	struct x86_walk_params p = params_4();
	struct x86_walk_result r;

	(void)state;
	tables(0x5007, 7);
	lose_race = true;
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_WRITE, &r), X86_OK);
	assert_int_equal(reads, 8); /* twice through */
	assert_int_equal(swaps, 4);
	reads = 0;
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_WRITE, &r), X86_OK);
	assert_int_equal(swaps, 4); /* nothing left to set */
	/* The callback's own status comes through. */
	put(0x2000, 0x100000 | 7);
	assert_int_equal(x86_walk_params(&p, 0, X86_ACC_READ, &r), X86_EXIT);
}

/* ---- the TLB ------------------------------------------------------------------------------------------- */

/* DATA's page through a page table of its own, so that it can be changed and global. */
static void split(struct env *e, uint64_t flags)
{
	unsigned int i;

	for (i = 0; i < 512; i++)
		env_put64(e, 0xc000 + i * 8, (uint64_t)i << 12 | 7);
	env_put64(e, ENV_PT + 0x2000, 0xc000 | 7);
	env_put64(e, 0xc000 + (ENV_DATA >> 12) * 8, ENV_DATA | 7 | flags);
}

static void move_data(struct env *e)
{
	uint64_t at = 0xc000 + (ENV_DATA >> 12) * 8;

	env_put64(e, at, (env_get64(e, at) & 0xfff) | 0x60000);
}

static uint64_t touch(struct env *e)
{
	uint64_t v = 0;

	assert_int_equal(x86_lin_read(e->cpu, ENV_DATA, &v, 8), X86_OK);
	return v;
}

static void tlb_start(struct env *e, uint64_t flags)
{
	env_mode_64(e, 0);
	split(e, flags);
	env_put64(e, ENV_DATA, 1);
	env_put64(e, 0x60000, 2);
	assert_int_equal(touch(e), 1);
	move_data(e);
	assert_int_equal(touch(e), 1); /* still the old translation */
}

static void tlb_flushes(void **state)
{
	struct env *e = env_create();
	struct x86_cpu *cpu = e->cpu;

	(void)state;
	tlb_start(e, 0);
	x86_tlb_flush_all(cpu);
	assert_int_equal(touch(e), 2);
	tlb_start(e, 0);
	x86_tlb_flush_page(cpu, 0, 0, ENV_DATA + 0x123);
	assert_int_equal(touch(e), 2);
	tlb_start(e, 0);
	x86_tlb_flush_page(cpu, 0, 0, ENV_DATA + 0x1000);
	assert_int_equal(touch(e), 1);
	tlb_start(e, 0);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT), X86_OK);
	assert_int_equal(touch(e), 2);
	tlb_start(e, X86_PTE_G);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT), X86_OK);
	assert_int_equal(touch(e), 1); /* global: survives */
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 & ~X86_CR4_PGE), X86_OK);
	assert_int_equal(touch(e), 2);
	tlb_start(e, X86_PTE_G);
	x86_tlb_flush_space_nonglobal(cpu, 0);
	assert_int_equal(touch(e), 1);
	x86_tlb_flush_space(cpu, 1);
	assert_int_equal(touch(e), 1); /* another space */
	x86_tlb_flush_page(cpu, 0, 0, ENV_DATA);
	assert_int_equal(touch(e), 2);
	/* From another thread: at the next run. */
	tlb_start(e, 0);
	env_code(e, ENV_CODE, CODE(touch_data));
	x86_tlb_request_flush(cpu);
	assert_int_equal(x86_run(cpu, 100), X86_RUN_EXIT);
	assert_int_equal(cpu->gpr[X86_RAX], 2);
	env_destroy(e);
}

static void tlb_instructions(void **state)
{
	struct env *e = env_create();

	(void)state;
	env_mode_64(e, 0);
	split(e, 0);
	env_put64(e, ENV_DATA, 1);
	env_code(e, ENV_CODE, CODE(touch_data));
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 1);
	move_data(e);
	env_put64(e, 0x60000, 2);
	e->cpu->rip = ENV_CODE;
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 1);
	env_code(e, ENV_CODE, CODE(invlpg));
	e->cpu->rip = ENV_CODE;
	assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
	assert_int_equal(e->cpu->gpr[X86_RAX], 2);
	env_destroy(e);
}

/* 4 KiB pages from 32 MiB on: the first is code at physical 0x60000 or 0x61000, which return 1 or 2. */
static void code_page(struct env *e, uint64_t flags)
{
	static const uint8_t one[] = { 0xb0, 1, 0xc3 }, two[] = { 0xb0, 2, 0xc3 };
	unsigned int i;

	env_mode_64(e, 0);
	env_default_idt(e);
	for (i = 18; i < 500; i++) /* 36 MiB and more: all the same 2 MiB */
		env_put64(e, ENV_PT + 0x2000 + i * 8, 0x87);
	env_put64(e, ENV_PT + 0x2000 + 16 * 8, 0xe000 | 3);
	env_put64(e, 0xe000, 0x60000 | flags);
	env_code(e, 0x60000, one, sizeof(one));
	env_code(e, 0x61000, two, sizeof(two));
	x86_tlb_flush_all(e->cpu);
	e->cpu->gpr[X86_RBX] = 0x2000000;
	e->cpu->gpr[X86_RBP] = 0xe000;
	e->cpu->gpr[X86_RSI] = 0x61000 | flags;
	e->cpu->gpr[X86_RDX] = 0x2400000;
}

/* INVLPG of a page of code whose translation has long been replaced in the TLB. */
static void invlpg_of_evicted_code(void **state)
{
	unsigned int pages;

	(void)state;
	for (pages = 0; pages <= 100; pages += 20) {
		struct env *e = env_create();

		code_page(e, 3);
		env_code(e, ENV_CODE, CODE(evicted_code));
		e->cpu->gpr[X86_RCX] = pages;
		assert_int_equal(x86_run(e->cpu, 10000), X86_RUN_EXIT);
		assert_int_equal(e->out_value & 0xff, 2);
		env_destroy(e);
	}
}

/* Code in a global page outlives a CR3 load, code in any other does not. */
static void global_code(void **state)
{
	/* call *%rbx; mov %rsi, (%rbp); mov %rax, %cr3; call *%rbx; out %al, $0xf4 */
	static const uint8_t code[] = { 0xff, 0xd3, 0x48, 0x89, 0x75, 0x00, 0x41, 0x0f, 0x22,
					0xd9, 0xff, 0xd3, 0xe6, 0xf4 };
	unsigned int global;

	(void)state;
	for (global = 0; global < 2; global++) {
		struct env *e = env_create();

		code_page(e, global ? 0x103 : 3);
		env_code(e, ENV_CODE, code, sizeof(code));
		e->cpu->gpr[X86_R9] = ENV_PT;
		assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
		assert_int_equal(e->out_value & 0xff, global ? 1 : 2);
		/* Without PGE nothing is kept. */
		assert_int_equal(x86_write_cr4(e->cpu, e->cpu->cr4 & ~X86_CR4_PGE), X86_OK);
		e->cpu->rip = ENV_CODE;
		assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
		assert_int_equal(e->out_value & 0xff, 2);
		env_destroy(e);
	}
}

/*
 * Blocks are found again behind a CR3 load when the same memory is mapped there, and only then:
 * the second block of the page by what the first has brought into the TLB.
 */
static void code_over_address_spaces(void **state)
{
	/* call *%rbx; out %al, $0xf4; and in the page mov $N, %al; jmp to the next; mov $M, %ah; ret */
	static const uint8_t code[] = { 0xff, 0xd3, 0x66, 0xe7, 0xf4 };
	static const uint8_t page[] = { 0xb0, 1, 0xeb, 0, 0xb4, 1, 0xc3 };
	/* The page, whether it may be executed, what the host puts into the second block before. */
	static const struct { uint64_t at; bool nx; uint8_t change; } rounds[] = {
		{ 0x60000, false, 0 }, { 0x60000, false, 0 }, { 0x61000, false, 0 }, { 0x61000, false, 3 },
		{ 0x60000, false, 0 }, { 0x60000, false, 4 }, { 0x60000, true, 0 }, { 0x60000, false, 0 },
		{ 0x61000, false, 0 },
	};
	struct env *e = env_create();
	unsigned int i;
	uint64_t data;

	(void)state;
	code_page(e, 3);
	env_code(e, ENV_CODE, code, sizeof(code));
	env_code(e, 0x60000, page, sizeof(page));
	env_code(e, 0x61000, page, sizeof(page));
	e->ram[0x61001] = 2;
	e->cpu->efer |= X86_EFER_NXE;
	for (i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		uint64_t at = rounds[i].at;

		if (rounds[i].change)
			e->ram[at + 5] = rounds[i].change;
		env_put64(e, 0xe000, at | 3 | (rounds[i].nx ? X86_PTE_NX : 0));
		assert_int_equal(x86_write_cr3(e->cpu, ENV_PT), X86_OK);
		e->cpu->rip = ENV_CODE;
		e->cpu->gpr[X86_RAX] = 0;
		x86_intercept_set(e->cpu, (enum x86_intercept)(X86_ICPT_EXC + X86_PF), true);
		/* Right to the second block, by a translation that is there and good for data alone. */
		e->cpu->gpr[X86_RBX] = rounds[i].nx ? 0x2000004 : 0x2000000;
		if (rounds[i].nx)
			assert_int_equal(x86_lin_read(e->cpu, 0x2000000, &data, 8), X86_OK);
		assert_int_equal(x86_run(e->cpu, 100), X86_RUN_EXIT);
		if (rounds[i].nx) {
			assert_int_equal(e->last, X86_ICPT_EXC + X86_PF);
			continue;
		}
		assert_int_equal(e->out_value & 0xffff, e->ram[at + 1] | e->ram[at + 5] << 8);
	}
	env_destroy(e);
}

static void tlb_pcids_and_spaces(void **state)
{
	struct env *e = env_create();
	struct x86_cpu *cpu = e->cpu;
	unsigned int i;

	(void)state;
	env_mode_64(e, 0);
	split(e, 0);
	env_put64(e, ENV_DATA, 1);
	env_put64(e, 0x60000, 2);
	assert_int_equal(x86_write_cr4(cpu, cpu->cr4 | X86_CR4_PCIDE), X86_OK);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 1), X86_OK);
	assert_int_equal(touch(e), 1);
	move_data(e);
	/* Another PCID walks anew; the first keeps its translation over a no-flush load. */
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 2 | 1ull << 63), X86_OK);
	assert_int_equal(touch(e), 2);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 1 | 1ull << 63), X86_OK);
	assert_int_equal(touch(e), 1);
	/* VM exit and entry likewise. */
	x86_tlb_set_space(cpu, 7);
	assert_int_equal(touch(e), 2);
	x86_tlb_set_space(cpu, 0);
	assert_int_equal(touch(e), 1);
	assert_int_equal(x86_write_cr3(cpu, ENV_PT | 1), X86_OK);
	assert_int_equal(touch(e), 2);
	/* More tags than sets: still right. */
	for (i = 0; i < 40; i++) {
		x86_tlb_set_space(cpu, 100 + i);
		assert_int_equal(touch(e), 2);
	}
	env_destroy(e);
}

static void tlb_large_fragment(void **state)
{
	struct env *e = env_create();
	uint64_t v;

	(void)state;
	/* INVLPG anywhere in a 2 MiB page forgets all of it. */
	env_mode_64(e, 0);
	assert_int_equal(touch(e), 0);
	env_put64(e, ENV_PT + 0x2000, 0);
	assert_int_equal(touch(e), 0);
	x86_tlb_flush_page(e->cpu, 0, 0, 0x1ff000);
	assert_int_equal(x86_lin_read(e->cpu, ENV_DATA, &v, 8), X86_FAULT);
	assert_int_equal(e->cpu->fault.vector, X86_PF);
	assert_int_equal(e->cpu->fault.error_code, 0);
	assert_int_equal(e->cpu->fault.payload, ENV_DATA);
	env_destroy(e);
}

static void tlb_dirty(void **state)
{
	struct env *e = env_create();
	uint64_t at = 0xc000 + (ENV_DATA >> 12) * 8, v = 5;
	unsigned int i;

	(void)state;
	/* A read must not let a later write skip the dirty bit. */
	env_mode_64(e, 0);
	split(e, 0);
	touch(e);
	assert_false(env_get64(e, at) & X86_PTE_D);
	assert_true(env_get64(e, at) & X86_PTE_A);
	assert_int_equal(x86_lin_write(e->cpu, ENV_DATA, &v, 8), X86_OK);
	assert_true(env_get64(e, at) & X86_PTE_D);
	/* Many pages on the same index: victims and refills stay right. */
	for (i = 0; i < 16; i++)
		env_put64(e, i * 0x80000ul, i);
	(void)e->cpu;
	env_mode_64(e, 0);
	for (i = 0; i < 3; i++) {
		unsigned int k;

		for (k = 2; k < 24; k++) {
			uint64_t got = 0, lin = k * 0x80000ul;

			e->ram[lin] = (uint8_t)k;
			assert_int_equal(x86_lin_read(e->cpu, lin, &got, 1), X86_OK);
			assert_int_equal(got, k);
		}
	}
	env_destroy(e);
}

static void tlb_second_level_writes(void **state)
{
	struct env *e = env_create();
	uint64_t v = 5;

	(void)state;
	/* The owner withholds write permission: reads are cached, each write asks. */
	env_mode_64(e, 0);
	touch(e);
	e->ro_page = ENV_DATA;
	x86_tlb_flush_all(e->cpu);
	touch(e);
	e->translates = 0;
	touch(e);
	assert_int_equal(e->translates, 0);
	assert_int_equal(x86_lin_write(e->cpu, ENV_DATA, &v, 8), X86_EXIT);
	e->ro_page = 0;
	assert_int_equal(x86_lin_write(e->cpu, ENV_DATA, &v, 8), X86_OK);
	assert_int_equal(touch(e), 5);
	env_destroy(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rights), cmocka_unit_test(sizes), cmocka_unit_test(legacy),
		cmocka_unit_test(races), cmocka_unit_test(tlb_flushes), cmocka_unit_test(tlb_instructions),
		cmocka_unit_test(invlpg_of_evicted_code), cmocka_unit_test(global_code),
		cmocka_unit_test(code_over_address_spaces),
		cmocka_unit_test(tlb_pcids_and_spaces), cmocka_unit_test(tlb_large_fragment),
		cmocka_unit_test(tlb_dirty), cmocka_unit_test(tlb_second_level_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
