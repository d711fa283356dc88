/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of ranges against an array that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/vm/slot_tree.h"
#include "tests/lib/vm_fake.h"

#define N 300

static struct slot_node node[N];
static struct slot_node *in[N]; /* by id; NULL: not in the tree */
static struct slot_node *root;

static void reset(void)
{
	memset(in, 0, sizeof(in));
	root = NULL;
}

static bool before(const struct slot_node *a, const struct slot_node *b)
{
	return a->start < b->start || (a->start == b->start && a->id < b->id);
}

/* What slot_tree_overlap must say. */
static struct slot_node *slow_overlap(const struct slot_node *prev, uint64_t start, uint64_t last)
{
	struct slot_node *best = NULL;
	int i;

	for (i = 0; i < N; i++) {
		struct slot_node *n = in[i];

		if (!n || n->start > last || n->last < start || (prev && !before(prev, n)))
			continue;
		if (!best || before(n, best))
			best = n;
	}
	return best;
}

static int count(void)
{
	int i, c = 0;

	for (i = 0; i < N; i++)
		c += in[i] != NULL;
	return c;
}

static void test_random_overlapping(void **state)
{
	struct vf_rng r = { .s = 42 };
	int step;

	reset();
	for (step = 0; step < 40000; step++) {
		unsigned int i = vf_rand(&r) % N;
		uint64_t a = vf_rand(&r) % 1000, b = a + vf_rand(&r) % 60;
		const struct slot_node *prev;

		if (!in[i]) {
			node[i].start = a;
			node[i].last = b;
			node[i].id = i;
			slot_tree_insert(&root, &node[i]);
			in[i] = &node[i];
		} else {
			slot_tree_erase(&root, in[i]);
			in[i] = NULL;
		}
		if (step % 16 == 0)
			assert_int_equal(slot_tree_check(root), count());
		assert_ptr_equal(slot_tree_overlap(root, NULL, a, b), slow_overlap(NULL, a, b));
		prev = in[vf_rand(&r) % N];
		if (prev)
			assert_ptr_equal(slot_tree_overlap(root, prev, a, b),
					 slow_overlap(prev, a, b));
	}
}

static void test_disjoint(void **state)
{
	struct vf_rng r = { .s = 7 };
	int i, step;

	reset();
	for (step = 0; step < 20000; step++) {
		uint64_t key = vf_rand(&r) % (N * 10);
		struct slot_node *want = NULL, *from = NULL;

		i = (int)(vf_rand(&r) % N);
		if (in[i]) {
			slot_tree_erase(&root, in[i]);
			in[i] = NULL;
		} else {
			node[i].start = (uint64_t)i * 10;
			node[i].last = (uint64_t)i * 10 + vf_rand(&r) % 10;
			node[i].id = (uint32_t)i;
			slot_tree_insert(&root, &node[i]);
			in[i] = &node[i];
		}
		for (i = N - 1; i >= 0; i--) {
			if (!in[i])
				continue;
			if (in[i]->start <= key && key <= in[i]->last)
				want = in[i];
			if (in[i]->last >= key)
				from = in[i];
		}
		assert_ptr_equal(slot_tree_find(root, key), want);
		assert_ptr_equal(slot_tree_first_from(root, key), from);
	}
	assert_int_equal(slot_tree_check(root), count());
}

/* The check itself has to notice. */
static void test_check_fails(void **state)
{
	int i;

	reset();
	for (i = 0; i < 20; i++) {
		node[i].start = (uint64_t)i;
		node[i].last = (uint64_t)i;
		node[i].id = (uint32_t)i;
		slot_tree_insert(&root, &node[i]);
	}
	assert_int_equal(slot_tree_check(root), 20);
	node[8].last = 90; /* maxima above are stale */
	assert_int_equal(slot_tree_check(root), -1);
	node[8].last = 8;
	node[3].height[0]++;
	assert_int_equal(slot_tree_check(root), -1);
	node[3].height[0]--;
	assert_int_equal(slot_tree_check(root), 20);
	node[0].start = 19;
	node[0].last = 19;
	assert_int_equal(slot_tree_check(root), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_overlapping),
		cmocka_unit_test(test_disjoint),
		cmocka_unit_test(test_check_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
