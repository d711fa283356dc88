/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* EPT and nested page walks: permissions, accessed and dirty flags, misconfigurations, logging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cpu/tdp_walk.h"
#include "hv/cpu/vmx_arch.h"
#include "hv/x86/defs.h"

#define RWX (EPT_READ | EPT_WRITE | EPT_EXEC)
#define WB (EPTP_MEMTYPE_WB << EPT_MEMTYPE_SHIFT)
#define PTE (X86_PTE_P | X86_PTE_W | X86_PTE_U)

/* Levels 5 to 1; index 0 unused. */
static uint64_t (*tables)[512];

static uint64_t addr(unsigned int level)
{
	return (uint64_t)tables[level];
}

static void build(uint64_t table_bits, uint64_t leaf_bits)
{
	memset(tables, 0, 6 * 4096);
	for (unsigned int level = 5; level > 1; level--)
		tables[level][0] = addr(level - 1) | table_bits;
	for (unsigned int i = 0; i < 512; i++)
		tables[1][i] = (0x100000000ULL + i * 4096ULL) | leaf_bits;
}

static int setup(void **state)
{
	tables = aligned_alloc(4096, 6 * 4096);
	return tables ? 0 : -1;
}

static int teardown(void **state)
{
	free(tables);
	return 0;
}

static struct tdp_walk walk_of(uint64_t gpa, uint8_t need)
{
	return (struct tdp_walk){ .root = addr(4), .levels = 4, .ad = true, .nx = true,
				  .need = need, .gpa = gpa };
}

static void test_ept_translation(void **state)
{
	struct tdp_walk w = walk_of(0x5123, TDP_R);

	build(RWX, RWX | WB);
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x100005000ULL);
	assert_int_equal(w.page_size, 4096);
	assert_int_equal(w.rights, TDP_R | TDP_W | TDP_X | TDP_XU);
	/* Five levels give the same. */
	w.root = addr(5);
	w.levels = 5;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x100005000ULL);
}

static void test_ept_large(void **state)
{
	struct tdp_walk w = walk_of(0x345678, TDP_R);

	build(RWX, RWX | WB);
	tables[2][1] = 0x40000000ULL | RWX | WB | EPT_LARGE;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x40145000ULL);
	assert_int_equal(w.page_size, 2 << 20);
	tables[3][1] = 0x80000000ULL | RWX | WB | EPT_LARGE;
	w = walk_of(0x40345678, TDP_R);
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x80345000ULL);
	assert_int_equal(w.page_size, 1 << 30);
}

static void test_ept_accessed_dirty(void **state)
{
	struct tdp_walk w = walk_of(0x1000, TDP_R);

	build(RWX, RWX | WB);
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_false(w.dirty);
	for (unsigned int level = 4; level > 1; level--)
		assert_int_equal(tables[level][0] & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED);
	assert_int_equal(tables[1][1] & (EPT_ACCESSED | EPT_DIRTY), EPT_ACCESSED);
	assert_int_equal(tables[1][0] & EPT_ACCESSED, 0);
	w.need = TDP_R | TDP_W;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_true(w.dirty);
	assert_true(tables[1][1] & EPT_DIRTY);
	assert_false(tables[2][0] & EPT_DIRTY);
}

static void test_ept_no_ad(void **state)
{
	struct tdp_walk w = walk_of(0x1000, TDP_W);

	build(RWX, RWX | WB);
	w.ad = false;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_true(w.dirty); /* writes need no further walk */
	for (unsigned int level = 4; level > 0; level--)
		assert_false(tables[level][level == 1] & (EPT_ACCESSED | EPT_DIRTY));
}

static void test_ept_permissions(void **state)
{
	/* Rights are the AND of all levels; each access asks for its own. */
	static const struct {
		uint64_t table, leaf;
		uint8_t need, rights;
		enum tdp_status status;
	} cases[] = {
		{ RWX, EPT_READ, TDP_R, TDP_R, TDP_OK },
		{ RWX, EPT_READ, TDP_W, TDP_R, TDP_VIOLATION },
		{ RWX, EPT_READ, TDP_X, TDP_R, TDP_VIOLATION },
		{ RWX, EPT_EXEC, TDP_X, TDP_X | TDP_XU, TDP_OK },
		{ RWX, EPT_EXEC, TDP_R, TDP_X | TDP_XU, TDP_VIOLATION },
		{ EPT_READ | EPT_EXEC, RWX, TDP_W, TDP_R | TDP_X | TDP_XU, TDP_VIOLATION },
		{ EPT_READ | EPT_WRITE, RWX, TDP_X, TDP_R | TDP_W, TDP_VIOLATION },
		{ EPT_READ | EPT_WRITE, EPT_EXEC, TDP_X, 0, TDP_VIOLATION },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tdp_walk w = walk_of(0x2000, cases[i].need);

		build(RWX, cases[i].leaf | WB);
		tables[2][0] = addr(1) | cases[i].table;
		assert_int_equal(ept_walk(&w), cases[i].status);
		assert_int_equal(w.rights, cases[i].rights);
		if (cases[i].status == TDP_VIOLATION) {
			assert_true(w.present);
			/* A violation leaves the leaf alone. */
			assert_false(tables[1][2] & (EPT_ACCESSED | EPT_DIRTY));
		}
	}
}

static void test_ept_not_present(void **state)
{
	for (unsigned int level = 4; level > 0; level--) {
		struct tdp_walk w = walk_of(0, TDP_R);

		build(RWX, RWX | WB);
		/* Without permissions an entry is not present, whatever else it holds. */
		tables[level][0] = 0x12345ffff078ULL;
		assert_int_equal(ept_walk(&w), TDP_VIOLATION);
		assert_false(w.present);
		assert_int_equal(w.rights, 0);
		assert_int_equal(w.level, level);
	}
}

static void test_ept_misconfig(void **state)
{
	static const struct {
		unsigned int level;
		uint64_t entry;
		bool misconfigured;
	} cases[] = {
		{ 1, EPT_WRITE | WB, true },
		{ 1, EPT_WRITE | EPT_EXEC | WB, true },
		{ 1, EPT_EXEC | WB, false },
		{ 1, RWX | 2 << 3, true },
		{ 1, RWX | 3 << 3, true },
		{ 1, RWX | 7 << 3, true },
		{ 1, RWX | 0 << 3, false },
		{ 1, RWX | 1 << 3, false },
		{ 1, RWX | 5 << 3, false },
		{ 1, RWX | WB | 1ULL << 48, true },
		{ 1, RWX | WB | 1ULL << 51, true },
		{ 1, RWX | WB | 1ULL << 52, false },
		{ 1, RWX | WB | EPT_SUPPRESS_VE, false },
		{ 2, RWX | WB | EPT_LARGE | 0x1000, true },
		{ 2, RWX | WB | EPT_LARGE | 0x200000, false },
		{ 3, RWX | WB | EPT_LARGE | 0x200000, true },
		{ 3, RWX | WB | EPT_LARGE | 0x40000000, false },
		{ 4, RWX | EPT_LARGE, true },
		{ 4, RWX | 1 << 3, true },
		{ 2, RWX | 1 << 6, true },
		{ 3, EPT_WRITE, true },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tdp_walk w = walk_of(0, TDP_X);

		build(RWX, RWX | WB);
		tables[cases[i].level][0] = cases[i].entry;
		assert_int_equal(ept_walk(&w) == TDP_MISCONFIG, cases[i].misconfigured);
	}
}

static void test_ept_mode_based_execute(void **state)
{
	struct tdp_walk w = walk_of(0, TDP_XU);

	build(RWX | EPT_USER_EXEC, RWX | WB);
	w.mbec = true;
	assert_int_equal(ept_walk(&w), TDP_VIOLATION);
	w.need = TDP_X;
	assert_int_equal(ept_walk(&w), TDP_OK);
	tables[1][0] = EPT_READ | EPT_USER_EXEC | WB;
	assert_int_equal(ept_walk(&w), TDP_VIOLATION);
	w.need = TDP_XU;
	assert_int_equal(ept_walk(&w), TDP_OK);
	/* Bit 10 alone makes an entry present only under that control. */
	tables[1][0] = EPT_USER_EXEC | WB;
	assert_int_equal(ept_walk(&w), TDP_OK);
	w.mbec = false;
	w.need = TDP_X;
	assert_int_equal(ept_walk(&w), TDP_VIOLATION);
	assert_false(w.present);
}

static void test_pml(void **state)
{
	uint64_t *log = aligned_alloc(4096, 4096), index = 511;
	struct tdp_pml pml = { log, &index };
	struct tdp_walk w = walk_of(0x3abc, TDP_R);

	assert_non_null(log);
	build(RWX, RWX | WB);
	w.pml = &pml;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(index, 511); /* reads are not logged */
	w.need = TDP_W;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(index, 510);
	assert_int_equal(log[511], 0x3000);
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(index, 510); /* dirty already */
	/* The last entry wraps the index, and the log is full. */
	index = 0;
	w.gpa = 0x7000;
	assert_int_equal(ept_walk(&w), TDP_OK);
	assert_int_equal(index, 0xffff);
	assert_int_equal(log[0], 0x7000);
	w.gpa = 0x8000;
	assert_int_equal(ept_walk(&w), TDP_PML_FULL);
	assert_false(tables[1][8] & EPT_DIRTY);
	/* Reads, and writes to dirty pages, go on. */
	w.need = TDP_R;
	assert_int_equal(ept_walk(&w), TDP_OK);
	w.gpa = 0x7000;
	w.need = TDP_W;
	assert_int_equal(ept_walk(&w), TDP_OK);
	free(log);
}

static void test_npt_translation(void **state)
{
	struct tdp_walk w = walk_of(0x5123, TDP_R);

	build(PTE, PTE);
	assert_int_equal(npt_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x100005000ULL);
	assert_false(w.dirty);
	assert_true(tables[1][5] & X86_PTE_A);
	assert_true(tables[4][0] & X86_PTE_A);
	w.need = TDP_R | TDP_W;
	assert_int_equal(npt_walk(&w), TDP_OK);
	assert_true(w.dirty);
	assert_true(tables[1][5] & X86_PTE_D);
	/* Large pages; bit 12 is PAT there. */
	tables[2][1] = 0x40000000ULL | PTE | X86_PTE_PS | 0x1000;
	w = walk_of(0x345678, TDP_X);
	assert_int_equal(npt_walk(&w), TDP_OK);
	assert_int_equal(w.host, 0x40145000ULL);
	assert_int_equal(w.page_size, 2 << 20);
}

static void test_npt_permissions(void **state)
{
	static const struct {
		uint64_t leaf;
		uint8_t need;
		bool ok, present, reserved;
	} cases[] = {
		{ 0, TDP_R, false, false, false },
		{ PTE, TDP_R | TDP_W | TDP_X, true, false, false },
		{ X86_PTE_P | X86_PTE_U, TDP_R, true, false, false },
		{ X86_PTE_P | X86_PTE_U, TDP_W, false, true, false },
		{ PTE | X86_PTE_NX, TDP_X, false, true, false },
		{ PTE | X86_PTE_NX, TDP_W, true, false, false },
		/* Nested accesses are user accesses. */
		{ X86_PTE_P | X86_PTE_W, TDP_R, false, true, false },
		{ PTE | 1ULL << 51, TDP_R, false, true, true },
		{ PTE | 1ULL << 48, TDP_R, false, true, true },
		{ PTE | 1ULL << 52, TDP_R, true, false, false },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tdp_walk w = walk_of(0, cases[i].need);

		build(PTE, PTE);
		tables[1][0] = 0x100000000ULL | cases[i].leaf;
		assert_int_equal(npt_walk(&w), cases[i].ok ? TDP_OK : TDP_VIOLATION);
		if (!cases[i].ok) {
			assert_int_equal(w.present, cases[i].present);
			assert_int_equal(w.reserved, cases[i].reserved);
			assert_false(tables[1][0] & X86_PTE_A);
		}
	}
}

static void test_npt_nx_disabled(void **state)
{
	struct tdp_walk w = walk_of(0, TDP_R);

	build(PTE, PTE);
	tables[1][0] |= X86_PTE_NX;
	w.nx = false;
	assert_int_equal(npt_walk(&w), TDP_VIOLATION);
	assert_true(w.reserved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ept_translation),
		cmocka_unit_test(test_ept_large),
		cmocka_unit_test(test_ept_accessed_dirty),
		cmocka_unit_test(test_ept_no_ad),
		cmocka_unit_test(test_ept_permissions),
		cmocka_unit_test(test_ept_not_present),
		cmocka_unit_test(test_ept_misconfig),
		cmocka_unit_test(test_ept_mode_based_execute),
		cmocka_unit_test(test_pml),
		cmocka_unit_test(test_npt_translation),
		cmocka_unit_test(test_npt_permissions),
		cmocka_unit_test(test_npt_nx_disabled),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
