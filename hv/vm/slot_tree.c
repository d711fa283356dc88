/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Persistent B+ tree of ranges; see slot_tree.h. (Bayer and McCreight 1972; copying of
 * paths: Driscoll, Sarnak, Sleator and Tarjan 1989; maxima: Cormen et al., Introduction
 * to Algorithms, 14.3.)
 *
 * Why nodes of 512 bytes: what an update of one among many slots waits for is memory that
 * is not in the cache. All inner nodes of 32,000 ranges stay there, and the lines of the
 * one leaf that does not are fetched at the same time (slot_tree_prefetch()).
 *
 * Fill: every node but the root and the last one of each level has SLOT_TREE_MIN entries.
 * Who appends splits nothing in halves, so a tree that is filled in order is full.
 */
#include "hv/vm/slot_tree.h"

#include <errno.h>
#include <string.h>

#include "hv/base/assert.h"
#include "hv/base/fault_inject.h"
#include "hv/base/util.h"

#define F	      SLOT_TREE_FANOUT
#define SLOT_TREE_MIN (F / 3)
/* 2 * 6^7 is more than 2^16 ranges, and the last node of a level may have fewer. */
#define SLOT_TREE_DEPTH 8

_Static_assert(sizeof(struct slot_tnode) == 512, "whole cache lines");
_Static_assert(SLOT_TREE_CHANGE_NODES == 2 * SLOT_TREE_DEPTH + 1, "two per level, and a root");

/* ---- the pool ------------------------------------------------------------------------------- */

#define CHUNK_NODES 63

struct slot_pool_chunk {
	struct slot_tnode node[CHUNK_NODES];
	struct slot_pool_chunk *next;
};

static void pool_put(struct slot_pool *pool, struct slot_tnode *n)
{
	n->next = pool->free;
	pool->free = n;
	pool->nr_free++;
}

int slot_pool_reserve(struct slot_pool *pool, unsigned int n)
{
	while (pool->nr_free < n) {
		struct slot_pool_chunk *chunk = hv_zalloc_aligned(64, sizeof(*chunk));
		unsigned int i;

		if (!chunk)
			return -ENOMEM;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
		for (i = CHUNK_NODES; i-- > 0;)
			pool_put(pool, &chunk->node[i]);
	}
	return 0;
}

void slot_pool_settle(struct slot_pool *pool)
{
	while (pool->retired) {
		struct slot_tnode *n = pool->retired;

		pool->retired = n->next;
		pool_put(pool, n);
	}
	pool->change++;
}

void slot_pool_destroy(struct slot_pool *pool)
{
	while (pool->chunks) {
		struct slot_pool_chunk *chunk = pool->chunks;

		pool->chunks = chunk->next;
		hv_free(chunk);
	}
	*pool = (struct slot_pool){ .change = 0 };
}

static struct slot_tnode *node_take(struct slot_pool *pool)
{
	struct slot_tnode *n = pool->free;

	HV_BUG_ON(!n);
	pool->free = n->next;
	pool->nr_free--;
	n->change = pool->change;
	return n;
}

static struct slot_tnode *node_new(struct slot_pool *pool, unsigned int level)
{
	struct slot_tnode *n = node_take(pool);

	n->level = (uint16_t)level;
	n->count = 0;
	memset(n->key, 0xff, sizeof(n->key));
	return n;
}

/* What readers of the old root may see is not touched. `next` is not theirs. */
static void node_drop(struct slot_pool *pool, const struct slot_tnode *old)
{
	struct slot_tnode *n = (struct slot_tnode *)old;

	if (n->change == pool->change) {
		pool_put(pool, n);
		return;
	}
	n->next = pool->retired;
	pool->retired = n;
}

/* A node of this change with the same content: the same one, or a copy that replaces it. */
static struct slot_tnode *node_own(struct slot_pool *pool, const struct slot_tnode *old)
{
	struct slot_tnode *n;

	if (old->change == pool->change)
		return (struct slot_tnode *)old;
	n = node_take(pool);
	memcpy(n, old, offsetof(struct slot_tnode, change));
	node_drop(pool, old);
	return n;
}

/* ---- entries of a node ---------------------------------------------------------------------- */

/* How many keys are at or below this one. No branches: what would they be predicted by? */
static unsigned int node_upto(const struct slot_tnode *n, uint64_t key)
{
	unsigned int i, c = 0;

	for (i = 0; i < F; i++)
		c += n->key[i] <= key;
	return c;
}

/* The entry whose range of keys has this one: the first one also if it is before all. */
static unsigned int node_at(const struct slot_tnode *n, uint64_t key)
{
	unsigned int c = node_upto(n, key);

	return c ? c - 1 : 0;
}

static uint64_t node_last(const struct slot_tnode *n)
{
	uint64_t last = 0;
	unsigned int i;

	for (i = 0; i < n->count; i++)
		last = hv_max(last, n->last[i]);
	return last;
}

/* Entries [from, from + n) of src over those of dst at `to`, which may be the same node. */
static void entries_move(struct slot_tnode *dst, unsigned int to, const struct slot_tnode *src,
			 unsigned int from, unsigned int n)
{
	memmove(&dst->key[to], &src->key[from], n * sizeof(src->key[0]));
	memmove(&dst->last[to], &src->last[from], n * sizeof(src->last[0]));
	memmove(&dst->at[to], &src->at[from], n * sizeof(src->at[0]));
}

static void node_truncate(struct slot_tnode *n, unsigned int count)
{
	for (; n->count > count; n->count--)
		n->key[n->count - 1] = SLOT_TREE_NO_KEY;
}

/* Room for an entry at i, which the caller fills. */
static void node_open(struct slot_tnode *n, unsigned int i)
{
	entries_move(n, i + 1, n, i, n->count - i);
	n->count++;
}

static void node_remove(struct slot_tnode *n, unsigned int i)
{
	entries_move(n, i, n, i + 1, n->count - i - 1u);
	node_truncate(n, n->count - 1u);
}

/* Entry i of the parent is to say what this child is. */
static void node_set_child(struct slot_tnode *n, unsigned int i, const struct slot_tnode *child)
{
	n->key[i] = child->key[0];
	n->last[i] = node_last(child);
	n->at[i].child = child;
}

/* ---- the way from the root to a leaf, all of it of this change -------------------------------- */

struct path {
	struct slot_tnode *node[SLOT_TREE_DEPTH]; /* the root first */
	unsigned int at[SLOT_TREE_DEPTH];	  /* which entry it goes on by */
	unsigned int leaf;			  /* number of the leaf in node[] */
	bool rightmost;
};

static void path_to(struct slot_pool *pool, struct path *p, const struct slot_tnode **root,
		    uint64_t key)
{
	struct slot_tnode *n = node_own(pool, *root);

	*root = n;
	p->node[0] = n;
	p->leaf = 0;
	p->rightmost = true;
	while (n->level) {
		unsigned int i = node_at(n, key);

		p->rightmost &= i == n->count - 1u;
		p->at[p->leaf++] = i;
		HV_BUG_ON(p->leaf == SLOT_TREE_DEPTH);
		p->node[p->leaf] = node_own(pool, n->at[i].child);
		n->at[i].child = p->node[p->leaf];
		n = p->node[p->leaf];
	}
}

/* ---- insertion -------------------------------------------------------------------------------- */

/* The full node n, to take an entry at i, gives what is behind to a new one. */
static struct slot_tnode *node_split(struct slot_pool *pool, struct slot_tnode *n, unsigned int i,
				     bool append)
{
	struct slot_tnode *right = node_new(pool, n->level);
	unsigned int keep = append && i == F ? F : F / 2;

	entries_move(right, 0, n, keep, F - keep);
	right->count = (uint16_t)(F - keep);
	node_truncate(n, keep);
	return right;
}

/* Make room at i of a node of the path. Returns the node that has the room, and its place there. */
static struct slot_tnode *path_open(struct slot_pool *pool, struct path *p, unsigned int depth,
				    unsigned int *i, struct slot_tnode **right)
{
	struct slot_tnode *n = p->node[depth];

	*right = NULL;
	if (n->count == F) {
		*right = node_split(pool, n, *i, p->rightmost);
		if (*i > n->count || n->count == F) {
			*i -= n->count;
			n = *right;
		}
	}
	node_open(n, *i);
	return n;
}

void slot_tree_insert(struct slot_pool *pool, const struct slot_tnode **root, uint64_t key,
		      uint64_t last, unsigned int id)
{
	struct slot_tnode *n, *right, *top;
	struct path p;
	unsigned int d, i;

	HV_BUG_ON(key == SLOT_TREE_NO_KEY);
	if (!*root)
		*root = node_new(pool, 0);
	path_to(pool, &p, root, key);
	i = node_upto(p.node[p.leaf], key);
	n = path_open(pool, &p, p.leaf, &i, &right);
	n->key[i] = key;
	n->last[i] = last;
	n->at[i].id = id;
	for (d = p.leaf; d-- > 0;) {
		struct slot_tnode *up = p.node[d];

		i = p.at[d];
		if (!right) {
			up->key[i] = hv_min(up->key[i], key);
			up->last[i] = hv_max(up->last[i], last);
			continue;
		}
		node_set_child(up, i, p.node[d + 1]);
		i++;
		top = right;
		n = path_open(pool, &p, d, &i, &right);
		node_set_child(n, i, top);
	}
	if (right) {
		top = node_new(pool, p.node[0]->level + 1u);
		top->count = 2;
		node_set_child(top, 0, p.node[0]);
		node_set_child(top, 1, right);
		*root = top;
	}
}

/* ---- erasure ---------------------------------------------------------------------------------- */

/* Children i and i + 1 of n are to be one, or half as full as both together. */
static void children_join(struct slot_pool *pool, struct slot_tnode *n, unsigned int i)
{
	struct slot_tnode *a = node_own(pool, n->at[i].child);
	const struct slot_tnode *b = n->at[i + 1].child;
	unsigned int all = a->count + b->count, half = all / 2;

	if (all <= F) {
		entries_move(a, a->count, b, 0, b->count);
		a->count = (uint16_t)all;
		node_drop(pool, b);
		node_remove(n, i + 1);
	} else {
		struct slot_tnode *c = node_own(pool, b);
		unsigned int had = a->count;

		if (had < half) {
			entries_move(a, had, c, 0, half - had);
			a->count = (uint16_t)half;
			entries_move(c, 0, c, half - had, all - half);
			node_truncate(c, all - half);
		} else {
			entries_move(c, had - half, c, 0, c->count);
			entries_move(c, 0, a, half, had - half);
			c->count = (uint16_t)(all - half);
			node_truncate(a, half);
		}
		node_set_child(n, i + 1, c);
	}
	node_set_child(n, i, a);
}

/* A child has lost an entry with this `last`: what its parent's entry i has to say of it. */
static void path_shrink(struct slot_pool *pool, struct slot_tnode *n, unsigned int i, uint64_t last)
{
	const struct slot_tnode *child = n->at[i].child;

	if (child->count < SLOT_TREE_MIN && n->count > 1) {
		children_join(pool, n, i + 1 < n->count ? i : i - 1);
	} else if (!child->count) {
		node_drop(pool, child);
		node_remove(n, i);
	} else {
		n->key[i] = child->key[0];
		if (n->last[i] == last)
			n->last[i] = node_last(child);
	}
}

void slot_tree_erase(struct slot_pool *pool, const struct slot_tnode **root, uint64_t key)
{
	const struct slot_tnode *n;
	struct path p;
	unsigned int d, i;
	uint64_t last;

	HV_BUG_ON(!*root);
	path_to(pool, &p, root, key);
	i = node_at(p.node[p.leaf], key);
	HV_BUG_ON(p.node[p.leaf]->key[i] != key);
	last = p.node[p.leaf]->last[i];
	node_remove(p.node[p.leaf], i);
	for (d = p.leaf; d-- > 0;)
		path_shrink(pool, p.node[d], p.at[d], last);
	while (n = *root, n->count == 0 || (n->level && n->count == 1)) {
		*root = n->count ? n->at[0].child : NULL;
		node_drop(pool, n);
		if (!*root)
			break;
	}
}

/* ---- lookup ------------------------------------------------------------------------------------ */

static void node_prefetch(const struct slot_tnode *n)
{
	const char *p = (const char *)n;
	size_t i;

	for (i = 0; i < sizeof(*n); i += 64)
		__builtin_prefetch(p + i);
}

void slot_tree_prefetch(const struct slot_tnode *root, uint64_t key)
{
	while (root && root->level) {
		root = root->at[node_at(root, key)].child;
		if (!root->level)
			node_prefetch(root);
	}
}

int slot_tree_find(const struct slot_tnode *n, uint64_t key)
{
	unsigned int i;

	if (!n)
		return SLOT_TREE_NONE;
	while (n->level) {
		n = n->at[node_at(n, key)].child;
		for (i = 8; i < F; i += 8)
			__builtin_prefetch(&n->key[i]);
	}
	i = node_at(n, key);
	return n->key[i] <= key && key <= n->last[i] ? (int)n->at[i].id : SLOT_TREE_NONE;
}

int slot_tree_first_from(const struct slot_tnode *n, uint64_t key)
{
	for (;;) {
		unsigned int i;

		if (!n)
			return SLOT_TREE_NONE;
		i = node_at(n, key);
		/* In order and disjoint: if this one ends before, the next one does not. */
		if (n->last[i] < key && ++i == n->count)
			return SLOT_TREE_NONE;
		if (!n->level)
			return (int)n->at[i].id;
		n = n->at[i].child;
	}
}

/* Depth of the recursion: SLOT_TREE_DEPTH. */
int slot_tree_overlap(const struct slot_tnode *n, uint64_t from, uint64_t start, uint64_t last)
{
	unsigned int i;

	if (!n)
		return SLOT_TREE_NONE;
	for (i = node_at(n, from); i < n->count && n->key[i] <= last; i++) {
		int id;

		if (n->last[i] < start)
			continue;
		if (n->level) {
			id = slot_tree_overlap(n->at[i].child, from, start, last);
			if (id != SLOT_TREE_NONE)
				return id;
		} else if (n->key[i] >= from) {
			return (int)n->at[i].id;
		}
	}
	return SLOT_TREE_NONE;
}

/* ---- for tests --------------------------------------------------------------------------------- */

static bool node_is_sound(const struct slot_tnode *n, bool root, bool rightmost)
{
	unsigned int i;

	if (n->count > F || n->count < (root && n->level ? 2 : root || rightmost ? 1 : SLOT_TREE_MIN))
		return false;
	for (i = 0; i < F; i++) {
		if (i >= n->count ? n->key[i] != SLOT_TREE_NO_KEY : n->last[i] < n->key[i])
			return false;
		if (i && i < n->count && n->key[i] <= n->key[i - 1])
			return false;
	}
	return true;
}

static int check(const struct slot_tnode *n, bool root, bool rightmost)
{
	unsigned int i;
	int all = 0;

	if (!node_is_sound(n, root, rightmost))
		return -1;
	if (!n->level)
		return n->count;
	for (i = 0; i < n->count; i++) {
		const struct slot_tnode *c = n->at[i].child;
		bool end = i == n->count - 1u;
		int r;

		if (c->level != n->level - 1 || c->key[0] != n->key[i] || node_last(c) != n->last[i] ||
		    (!end && c->key[c->count - 1] >= n->key[i + 1]))
			return -1;
		r = check(c, false, rightmost && end);
		if (r < 0)
			return -1;
		all += r;
	}
	return all;
}

int slot_tree_check(const struct slot_tnode *root)
{
	return root ? check(root, true, true) : 0;
}
