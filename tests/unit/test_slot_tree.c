/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of ranges against an array that is searched from end to end. */
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
	uint64_t key, last;
	bool in;
};

static struct range range[N]; /* by id */
static struct slot_pool pool;
static const struct slot_tnode *root;

static int setup(void **state)
{
	memset(range, 0, sizeof(range));
	root = NULL;
	return slot_pool_reserve(&pool, SLOT_TREE_CHANGE_NODES);
}

static int teardown(void **state)
{
	slot_pool_destroy(&pool);
	return 0;
}

static void insert(int id, uint64_t key, uint64_t last)
{
	range[id] = (struct range){ key, last, true };
	assert_int_equal(slot_pool_reserve(&pool, SLOT_TREE_CHANGE_NODES), 0);
	slot_tree_insert(&pool, &root, key, last, (unsigned int)id);
}

static void erase(int id)
{
	range[id].in = false;
	assert_int_equal(slot_pool_reserve(&pool, SLOT_TREE_CHANGE_NODES), 0);
	slot_tree_erase(&pool, &root, range[id].key);
}

/* What slot_tree_overlap must say. */
static int slow_overlap(int n, uint64_t from, uint64_t start, uint64_t last)
{
	int i, best = SLOT_TREE_NONE;

	for (i = 0; i < n; i++) {
		const struct range *r = &range[i];

		if (r->in && r->key >= from && r->key <= last && r->last >= start &&
		    (best < 0 || r->key < range[best].key))
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

/* Keys are unique as those of hva ranges are: by the id in their low bits. */
static void random_overlapping(int n, int steps)
{
	struct vf_rng r = { .s = 42 };
	int step;

	for (step = 0; step < steps; step++) {
		int id = (int)(vf_rand(&r) % (unsigned int)n);
		uint64_t a = vf_rand(&r) % 1000, b = a + vf_rand(&r) % 60;
		uint64_t from;

		if (!range[id].in)
			insert(id, a << 16 | (unsigned int)id, b << 16 | 0xffff);
		else
			erase(id);
		slot_pool_settle(&pool);
		if (step % 16 == 0)
			assert_int_equal(slot_tree_check(root), count(n));
		a <<= 16;
		b = b << 16 | 0xffff;
		assert_int_equal(slot_tree_overlap(root, 0, a, b), slow_overlap(n, 0, a, b));
		from = range[vf_rand(&r) % (unsigned int)n].key + 1;
		assert_int_equal(slot_tree_overlap(root, from, a, b), slow_overlap(n, from, a, b));
	}
}

static void test_random_overlapping(void **state)
{
	random_overlapping(15, 5000);
	while (root)
		erase(slow_overlap(15, 0, 0, UINT64_MAX));
	random_overlapping(300, 20000);
	while (root)
		erase(slow_overlap(300, 0, 0, UINT64_MAX));
	random_overlapping(N, 10000);
}

static void check_disjoint(int n, uint64_t key)
{
	int i, want = SLOT_TREE_NONE, from = SLOT_TREE_NONE;

	for (i = n - 1; i >= 0; i--) {
		if (!range[i].in)
			continue;
		if (range[i].key <= key && key <= range[i].last)
			want = i;
		if (range[i].last >= key)
			from = i;
	}
	assert_int_equal(slot_tree_find(root, key), want);
	assert_int_equal(slot_tree_first_from(root, key), from);
}

static void test_disjoint(void **state)
{
	static const int sizes[] = { 30, 300, N };
	struct vf_rng r = { .s = 7 };
	unsigned int s;
	int id, step;

	for (s = 0; s < 3; s++) {
		int n = sizes[s];

		for (step = 0; step < 12000; step++) {
			id = (int)(vf_rand(&r) % (unsigned int)n);
			if (range[id].in)
				erase(id);
			else
				insert(id, (uint64_t)id * 10 + 3, (uint64_t)id * 10 + 3 + vf_rand(&r) % 10);
			slot_pool_settle(&pool);
			check_disjoint(n, vf_rand(&r) % ((unsigned int)n * 10 + 20));
		}
		assert_int_equal(slot_tree_check(root), count(n));
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
			slot_pool_settle(&pool);
			if (i % 97 == 0)
				assert_int_equal(slot_tree_check(root), i + 1);
		}
		assert_int_equal(slot_tree_check(root), N);
		for (i = 0; i < N; i++) {
			int id = way / 2 == 0 ? i : way / 2 == 1 ? N - 1 - i : (i + N / 3) % N;

			erase(id);
			slot_pool_settle(&pool);
			if (i % 97 == 0)
				assert_int_equal(slot_tree_check(root), N - 1 - i);
			check_disjoint(N, (uint64_t)id * 10);
		}
		assert_null(root);
	}
}

/* A tree that is filled in order is full: 20 to a node, and not half of that. */
static void test_append_is_dense(void **state)
{
	const struct slot_tnode *n;
	int i;

	for (i = 0; i < 20 * 20 * 5; i++) {
		insert(i, (uint64_t)i, (uint64_t)i);
		slot_pool_settle(&pool);
	}
	assert_int_equal(root->level, 2);
	assert_int_equal(root->count, 5);
	for (n = root; n->level; n = n->at[0].child)
		assert_int_equal(n->at[0].child->count, SLOT_TREE_FANOUT);
}

/* Every root that was published stays as it was, whatever is done after it. */
static void test_persistent(void **state)
{
	struct vf_rng r = { .s = 11 };
	int round, step, id, n = 500;

	for (round = 0; round < 200; round++) {
		const struct slot_tnode *before;
		struct range kept[N];

		slot_pool_settle(&pool);
		before = root;
		memcpy(kept, range, sizeof(kept));
		/* Several changes in one go, as a move is two. */
		for (step = 0; step < 1 + round % 40; step++) {
			id = (int)(vf_rand(&r) % (unsigned int)n);
			if (range[id].in)
				erase(id);
			else
				insert(id, (uint64_t)id * 10, (uint64_t)id * 10 + 9);
		}
		assert_int_equal(slot_tree_check(root), count(n));
		for (id = 0; id < n; id++)
			assert_int_equal(slot_tree_find(before, (uint64_t)id * 10 + 5),
					 kept[id].in ? id : SLOT_TREE_NONE);
	}
}

/* What an update takes it gives back: the pool does not grow with their number. */
static void test_pool(void **state)
{
	unsigned int most = 0;
	int i, round;

	for (i = 0; i < 1000; i++) {
		insert(i, (uint64_t)i, (uint64_t)i);
		slot_pool_settle(&pool);
	}
	for (round = 0; round < 3000; round++) {
		i = round * 7 % 1000;
		erase(i);
		insert(i, (uint64_t)i, (uint64_t)i);
		slot_pool_settle(&pool);
		most = pool.nr_free > most ? pool.nr_free : most;
	}
	assert_null(pool.retired);
	assert_true(most < 300);
	for (i = 0; i < 1000; i++) {
		unsigned int had = pool.nr_free;

		erase(i);
		slot_pool_settle(&pool);
		assert_true(pool.nr_free >= had);
	}
	assert_null(root);
#ifdef HV_DEBUG
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(slot_pool_reserve(&pool, pool.nr_free + 1), -12 /* ENOMEM */);
	hv_fault_disarm();
#endif
}

/* The check itself has to notice. */
static void test_check_fails(void **state)
{
	struct slot_tnode *leaf;
	int i;

	for (i = 0; i < 50; i++)
		insert(i, (uint64_t)i * 2, (uint64_t)i * 2);
	assert_int_equal(slot_tree_check(root), 50);
	leaf = (struct slot_tnode *)root->at[1].child;
	leaf->last[8] = 990; /* the maximum above is stale */
	assert_int_equal(slot_tree_check(root), -1);
	leaf->last[8] = leaf->key[8];
	leaf->level++;
	assert_int_equal(slot_tree_check(root), -1);
	leaf->level--;
	leaf->key[8]++;
	leaf->last[8]++;
	assert_int_equal(slot_tree_check(root), 50);
	leaf->key[8]++; /* the next one's */
	leaf->last[8]++;
	assert_int_equal(slot_tree_check(root), -1);
	leaf->key[8] -= 2;
	leaf->last[8] -= 2;
	leaf->key[0]--; /* not what its parent says */
	assert_int_equal(slot_tree_check(root), -1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_random_overlapping), T(test_disjoint),	T(test_orders),
		T(test_append_is_dense),    T(test_persistent), T(test_pool),
		T(test_check_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
