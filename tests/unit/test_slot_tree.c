/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of ranges against an array that is searched from end to end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/vm/slot_tree.h"
#include "tests/lib/vm_fake.h"

#define N 3000

struct range {
	uint64_t first, last;
	bool in;
};

static struct range range[N]; /* by id */
static struct slot_pool pool;
static struct slot_tree tree, other; /* the views: changed, and read meanwhile */

static int setup(void **state)
{
	memset(range, 0, sizeof(range));
	tree = (struct slot_tree){ .view = 0 };
	other = (struct slot_tree){ .view = 1 };
	return 0;
}

static int teardown(void **state)
{
	slot_pool_destroy(&pool);
	return 0;
}

static void insert(int id, uint64_t first, uint64_t last)
{
	range[id] = (struct range){ first, last, true };
	assert_int_equal(slot_pool_reserve(&pool, &tree, &tree), 0);
	slot_tree_insert(&pool, &tree, first, last, (unsigned int)id);
}

static void erase(int id)
{
	range[id].in = false;
	assert_int_equal(slot_pool_reserve(&pool, &tree, &tree), 0);
	slot_tree_erase(&pool, &tree, range[id].first, (unsigned int)id);
}

/* Nobody reads the other view: it follows, and is the next to be changed. */
static void settle(void)
{
	struct slot_tree was = other;

	was.root = tree.root;
	slot_pool_settle(&pool);
	other = tree;
	tree = was;
}

static uint64_t key_of(int id)
{
	return slot_key(range[id].first, (unsigned int)id);
}

/* What slot_tree_overlap must say. */
static int slow_overlap(int n, uint64_t from, uint64_t first, uint64_t last)
{
	int i, best = SLOT_TREE_NONE;

	for (i = 0; i < n; i++) {
		const struct range *r = &range[i];

		if (r->in && key_of(i) >= from && r->first <= last && r->last >= first &&
		    (best < 0 || key_of(i) < key_of(best)))
			best = i;
	}
	return best;
}

static int count(int n)
{
	int i, c = 0;

	for (i = 0; i < n; i++)
		c += range[i].in;
	return c;
}

static void random_overlapping(int n, int steps)
{
	struct vf_rng r = { .s = 42 };
	int step;

	for (step = 0; step < steps; step++) {
		int id = (int)(vf_rand(&r) % (unsigned int)n);
		uint64_t a = vf_rand(&r) % 1000, b = a + vf_rand(&r) % 60, from;

		if (!range[id].in)
			insert(id, a, b);
		else
			erase(id);
		settle();
		if (step % 16 == 0) {
			assert_int_equal(slot_tree_check(&tree), count(n));
			assert_int_equal(slot_tree_check(&other), count(n));
		}
		assert_int_equal(slot_tree_overlap(&tree, 0, a, b), slow_overlap(n, 0, a, b));
		from = key_of((int)(vf_rand(&r) % (unsigned int)n)) + 1;
		assert_int_equal(slot_tree_overlap(&tree, from, a, b), slow_overlap(n, from, a, b));
	}
}

static void empty(int n)
{
	int id;

	while (id = slow_overlap(n, 0, 0, UINT32_MAX), id != SLOT_TREE_NONE) {
		erase(id);
		settle();
	}
	assert_null(tree.root);
}

static void test_random_overlapping(void **state)
{
	random_overlapping(15, 5000);
	empty(15);
	random_overlapping(300, 20000);
	empty(300);
	random_overlapping(N, 10000);
	empty(N);
}

static void check_disjoint(int n, uint64_t page)
{
	int i, want = SLOT_TREE_NONE, from = SLOT_TREE_NONE;

	for (i = 0; i < n; i++) {
		if (!range[i].in)
			continue;
		if (range[i].first <= page && page <= range[i].last)
			want = i;
		if (range[i].last >= page && (from < 0 || range[i].first < range[from].first))
			from = i;
	}
	assert_int_equal(slot_tree_find(&tree, page), want);
	assert_int_equal(slot_tree_first_from(&tree, page), from);
}

static bool is_free(int n, uint64_t first, uint64_t last)
{
	int i;

	for (i = 0; i < n; i++)
		if (range[i].in && range[i].first <= last && range[i].last >= first)
			return false;
	return true;
}

/* Of any length and with any id, wherever there is room. */
static void test_disjoint(void **state)
{
	static const int sizes[] = { 30, 300, N };
	struct vf_rng r = { .s = 7 };
	unsigned int s;
	int step;

	for (s = 0; s < 3; s++) {
		int n = sizes[s];

		for (step = 0; step < 15000; step++) {
			int id = (int)(vf_rand(&r) % (unsigned int)n);
			uint64_t a = vf_rand(&r) % ((unsigned int)n * 10);
			uint64_t b = a + vf_rand(&r) % (vf_rand(&r) % 8 ? 5 : 60);

			if (range[id].in)
				erase(id);
			else if (is_free(n, a, b))
				insert(id, a, b);
			settle();
			check_disjoint(n, vf_rand(&r) % ((unsigned int)n * 10 + 20));
			check_disjoint(n, a);
		}
		assert_int_equal(slot_tree_check(&tree), count(n));
	}
}

/* In order, backwards, and empty again from either end and from the middle. */
static void test_orders(void **state)
{
	int way, i;

	for (way = 0; way < 6; way++) {
		for (i = 0; i < N; i++) {
			int id = way & 1 ? N - 1 - i : i;

			insert(id, (uint64_t)id * 10, (uint64_t)id * 10 + 9);
			settle();
			if (i % 97 == 0)
				assert_int_equal(slot_tree_check(&tree), i + 1);
		}
		assert_int_equal(slot_tree_check(&tree), N);
		for (i = 0; i < N; i++) {
			int id = way / 2 == 0 ? i : way / 2 == 1 ? N - 1 - i : (i + N / 3) % N;

			erase(id);
			settle();
			if (i % 97 == 0)
				assert_int_equal(slot_tree_check(&tree), N - 1 - i);
			check_disjoint(N, (uint64_t)id * 10);
		}
		assert_null(tree.root);
	}
}

/* A tree that is filled in order is full: its leaves take 256 bytes for 15 ranges. */
static void test_append_is_dense(void **state)
{
	unsigned int free = 0;
	int i;

	for (i = 0; i < N; i++) {
		insert(i, (uint64_t)i, (uint64_t)i);
		settle();
	}
	assert_int_equal(tree.root->level, 2);
	assert_int_equal(tree.root->count, (N / 15 + 23) / 24);
	for (i = 0; i < N; i++) {
		erase(i);
		settle();
	}
	free = pool.nr_free[0];
	assert_in_range(free, N / 15, N / 15 + 2 * 32);
}

/* The other view stays as it was, whatever is done to this one. */
static void test_views(void **state)
{
	static struct range kept[N];
	struct vf_rng r = { .s = 11 };
	int round, step, id, n = 900;

	for (round = 0; round < 400; round++) {
		memcpy(kept, range, sizeof(kept));
		/* Two changes in one go, as a move is. */
		for (step = 0; step < 2; step++) {
			id = (int)(vf_rand(&r) % (unsigned int)n);
			if (range[id].in)
				erase(id);
			else
				insert(id, (uint64_t)id * 10, (uint64_t)id * 10 + 9);
		}
		assert_int_equal(slot_tree_check(&tree), count(n));
		for (id = 0; id < n; id++)
			assert_int_equal(slot_tree_find(&other, (uint64_t)id * 10 + 5),
					 kept[id].in ? id : SLOT_TREE_NONE);
		assert_true(slot_tree_check(&other) >= 0);
		settle();
		assert_int_equal(slot_tree_check(&tree), count(n));
	}
}

/* What an update takes it gives back: the pool does not grow with their number. */
static void test_pool(void **state)
{
	unsigned int leaves, inner;
	int i, round;

	for (i = 0; i < 1000; i++) {
		insert(i, (uint64_t)i, (uint64_t)i);
		settle();
	}
	leaves = pool.nr_free[0];
	inner = pool.nr_free[1];
	for (round = 0; round < 3000; round++) {
		i = round * 7 % 1000;
		erase(i);
		insert(i, (uint64_t)i, (uint64_t)i);
		settle();
	}
	assert_null(pool.retired);
	assert_in_range(pool.nr_free[0], 0, leaves + 40);
	assert_in_range(pool.nr_free[1], 0, inner + 16);
	empty(1000);
#ifdef HV_DEBUG
	slot_pool_destroy(&pool);
	for (i = 1; i <= 2; i++) {
		hv_fault_arm(HV_FAULT_THREAD, (uint64_t)i);
		assert_int_equal(slot_pool_reserve(&pool, &tree, &tree), -ENOMEM);
		assert_true(hv_fault_disarm());
	}
#endif
}

/* The check itself has to notice. */
static void test_check_fails(void **state)
{
	/* A leaf, as slot_tree.c lays it out. */
	struct leaf {
		struct slot_node n;
		uint64_t key[15], last[15];
	} *leaf;
	int i;

	for (i = 0; i < 15; i++)
		insert(i, (uint64_t)i * 2, (uint64_t)i * 2);
	assert_int_equal(slot_tree_check(&tree), 15);
	leaf = (struct leaf *)tree.root;
	leaf->last[8] = leaf->key[8] - 1;
	assert_int_equal(slot_tree_check(&tree), -1);
	leaf->last[8] = leaf->key[8];
	leaf->key[8] = leaf->key[9];
	assert_int_equal(slot_tree_check(&tree), -1);
	leaf->key[8] = slot_key(16, 8);
	assert_int_equal(slot_tree_check(&tree), 15);
	for (; i < 50; i++)
		insert(i, (uint64_t)i * 2, (uint64_t)i * 2);
	assert_int_equal(slot_tree_check(&tree), 50);
	settle();
	leaf->last[8] = slot_key(990, 0); /* the maximum above is stale */
	assert_int_equal(slot_tree_check(&tree), -1);
	leaf->last[8] = leaf->key[8];
	leaf->n.level++;
	assert_int_equal(slot_tree_check(&tree), -1);
	leaf->n.level--;
	leaf->n.count--;
	assert_int_equal(slot_tree_check(&tree), -1);
	leaf->n.count++;
	assert_int_equal(slot_tree_check(&tree), 50);
	leaf->key[14] = slot_key(500, 14); /* of the next leaf */
	leaf->last[14] = leaf->key[14];
	assert_int_equal(slot_tree_check(&tree), -1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_random_overlapping), T(test_disjoint),	T(test_orders),
		T(test_append_is_dense),    T(test_views), T(test_pool),
		T(test_check_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
