/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv/mmu/tdp_iter.c on trees made by hand: order, bounds, levels, restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/mmu/tdp_iter.h"

static struct mmu_pool pool;
static struct mmu_page_cache cache;

static struct mmu_page *table(int level)
{
	struct mmu_page *sp;

	assert_int_equal(mmu_cache_fill(&pool, &cache, 1), 0);
	sp = mmu_cache_take(&cache);
	sp->role.level = (unsigned int)level & 7;
	sp->role.direct = 1;
	return sp;
}

static uint64_t leaf(int level, hv_pfn_t pfn)
{
	struct spte_request req = {
		.fmt = &spte_format_ept, .pfn = pfn, .level = level, .access = ACC_ALL,
		.host_writable = true, .mmu_writable = true, .writable = true, .ad_enabled = true,
	};

	return spte_make_leaf(&req);
}

static void hang(struct mmu_page *sp, unsigned int i, const struct mmu_page *child)
{
	sp->spt[i] = spte_make_table(&spte_format_ept, child->spt, true);
}

static void put(struct mmu_page *sp)
{
	memset(sp->spt, 0, HV_PAGE_SIZE);
	sp->next = NULL;
	mmu_pool_free(&pool, sp);
}

struct visit {
	hv_gfn_t gfn;
	int level;
};

static unsigned int walk(struct mmu_page *root, int min_level, hv_gfn_t start, hv_gfn_t end,
			 struct visit *out, unsigned int max)
{
	struct tdp_iter it;
	unsigned int n = 0;

	tdp_for_each(&it, root, min_level, start, end)
		if (it.old && n < max)
			out[n++] = (struct visit){ it.gfn, it.level };
	return n;
}

/* Root(4) -> [0] -> L3: [1] 1G leaf, [2] -> L2: [0] 2M leaf, [511] -> L1: [0], [511]. */
static void pre_order_and_bounds(void **state)
{
	struct mmu_page *l4 = table(4), *l3 = table(3), *l2 = table(2), *l1 = table(1);
	struct visit v[16];
	hv_gfn_t g1 = 1ULL << 18, g2 = 2ULL << 18, last = g2 + 511 * 512;

	hang(l4, 0, l3);
	l3->spt[1] = leaf(3, 1ULL << 18);
	hang(l3, 2, l2);
	l2->spt[0] = leaf(2, 512);
	hang(l2, 511, l1);
	l1->spt[0] = leaf(1, 7);
	l1->spt[511] = leaf(1, 8);

	assert_int_equal(walk(l4, 1, 0, ~0ULL, v, 16), 7);
	assert_true(v[0].gfn == 0 && v[0].level == 4);
	assert_true(v[1].gfn == g1 && v[1].level == 3);
	assert_true(v[2].gfn == g2 && v[2].level == 3);
	assert_true(v[3].gfn == g2 && v[3].level == 2);
	assert_true(v[4].gfn == last && v[4].level == 2);
	assert_true(v[5].gfn == last && v[5].level == 1);
	assert_true(v[6].gfn == last + 511 && v[6].level == 1);

	/* Not below min_level. */
	assert_int_equal(walk(l4, 2, 0, ~0ULL, v, 16), 5);
	assert_int_equal(walk(l4, 4, 0, ~0ULL, v, 16), 1);
	/* The first frame of the range may lie inside an entry; the last is exclusive. */
	assert_int_equal(walk(l4, 1, last + 511, last + 512, v, 16), 4);
	assert_true(v[3].gfn == last + 511 && v[3].level == 1);
	assert_int_equal(walk(l4, 1, last + 1, last + 511, v, 16), 3);
	assert_int_equal(walk(l4, 1, g1 + 5, g1 + 6, v, 16), 2);
	assert_true(v[1].gfn == g1);
	/* Empty ranges, and what the root does not span. */
	assert_int_equal(walk(l4, 1, 5, 5, v, 16), 0);
	assert_int_equal(walk(l4, 1, 1ULL << 36, ~0ULL, v, 16), 0);
	put(l1);
	put(l2);
	put(l3);
	put(l4);
}

static void last_entry_of_the_root(void **state)
{
	struct mmu_page *l5 = table(5), *l4 = table(4);
	struct visit v[4];

	hang(l5, 511, l4);
	assert_int_equal(walk(l5, 1, 0, ~0ULL, v, 4), 1);
	assert_true(v[0].gfn == 511ULL << 36 && v[0].level == 5);
	put(l4);
	put(l5);
}

/* After a yield the walk starts from the root, at the first frame not yet visited. */
static void restarts_where_it_was(void **state)
{
	struct mmu_page *l4 = table(4), *l3 = table(3), *l2 = table(2), *l1 = table(1);
	struct tdp_iter it;
	unsigned int seen = 0;
	bool cut = false;

	hang(l4, 0, l3);
	hang(l3, 0, l2);
	hang(l2, 0, l1);
	for (unsigned int i = 0; i < 512; i++)
		l1->spt[i] = leaf(1, i + 1);
	tdp_for_each(&it, l4, 1, 100, 512) {
		if (it.level > 1)
			continue;
		if (it.gfn == 300 && !cut) {
			/* While the lock was dropped, the whole subtree went. */
			cut = true;
			l2->spt[0] = 0;
			it.yielded = true;
			continue;
		}
		assert_int_equal(it.gfn, 100 + seen);
		seen++;
	}
	assert_int_equal(seen, 200);
	put(l1);
	put(l2);
	put(l3);
	put(l4);
}

/* Pages of the pool: zero, distinct, with metadata that is found from the table. */
static void pool_pages(void **state)
{
	struct mmu_page *chain = NULL;
	unsigned int i;

	for (i = 0; i < 3000; i++) {
		struct mmu_page *sp = table(1);

		assert_int_equal(sp->spt[0] | sp->spt[511], 0);
		assert_int_equal((uintptr_t)sp->spt & 4095, 0);
		assert_ptr_equal(mmu_page_of_sptep(&sp->spt[77]), sp);
		sp->spt[i % 512] = i + 1;
		sp->next = chain;
		chain = sp;
	}
	while (chain) {
		struct mmu_page *sp = chain;

		chain = sp->next;
		i--;
		assert_int_equal(sp->spt[i % 512], i + 1);
		put(sp);
	}
	/* Most of it went back to the host. */
	assert_true(pool.nr_chunks < 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pre_order_and_bounds),
		cmocka_unit_test(last_entry_of_the_root),
		cmocka_unit_test(restarts_where_it_was),
		cmocka_unit_test(pool_pages),
	};
	int failed;

	mmu_pool_init(&pool);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mmu_cache_drain(&pool, &cache);
	mmu_pool_destroy(&pool);
	return failed;
}
