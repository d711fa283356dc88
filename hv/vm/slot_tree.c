/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * B+ tree of ranges with two views; see slot_tree.h. (Bayer and McCreight 1972; maxima:
 * Cormen et al., Introduction to Algorithms, 14.3.)
 *
 * Why so: what an update of one among many slots waits for is memory that is not in the
 * cache. A leaf is four cache lines, fetched at the same time (slot_tree_prefetch()), and is
 * replaced by one that was freed a moment ago. Inner nodes, which are wide and few, stay in
 * the cache, and in that of the readers.
 *
 * Keys: in a leaf they are exact. In an inner node key[i], i > 0, parts what is below
 * entry i - 1 from what is below entry i, and need not occur; key[0] says nothing. Ends are
 * exact everywhere.
 *
 * Fill: every node but the root and the last one of each level has at least a third of its
 * fan-out. Who appends splits nothing in halves, so a tree that is filled in order is full.
 */
#include "hv/vm/slot_tree.h"

#include <errno.h>
#include <string.h>

#include "hv/base/assert.h"
#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/vm/types.h"

#define LEAF_FANOUT  15
#define INNER_FANOUT 24

/* No range has this key or end. It stands in unused places: a search needs no count. */
#define NO_KEY UINT64_MAX

struct slot_leaf {
	struct slot_node n;
	uint64_t key[LEAF_FANOUT];  /* of the first page */
	uint64_t last[LEAF_FANOUT]; /* above all keys of the last page */
};

struct slot_inner {
	struct slot_node n;
	uint64_t key[INNER_FANOUT];
	uint64_t last[2][INNER_FANOUT]; /* by view: the greatest one below */
	struct slot_node *child[2][INNER_FANOUT];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct slot_leaf) == 256, "a leaf is whole cache lines");
_Static_assert(offsetof(struct slot_leaf, last) ==
		       offsetof(struct slot_leaf, key) + LEAF_FANOUT * sizeof(uint64_t) &&
		       offsetof(struct slot_inner, child) ==
			       offsetof(struct slot_inner, key) + 3 * INNER_FANOUT * sizeof(uint64_t),
	       "keys and ends have nothing between them");
_Static_assert(INNER_FANOUT % 6 == 0 && LEAF_FANOUT % 5 == 0, "blocks of upto()");
_Static_assert(HV_MEM_SLOTS_MAX <= SLOT_TREE_IDS, "an id fits below the page number of a key");

static struct slot_leaf *leaf_of(struct slot_node *n)
{
	return container_of(n, struct slot_leaf, n);
}

static struct slot_inner *inner_of(struct slot_node *n)
{
	return container_of(n, struct slot_inner, n);
}

static unsigned int fanout(const struct slot_node *n)
{
	return n->level ? INNER_FANOUT : LEAF_FANOUT;
}

static uint64_t *node_keys(struct slot_node *n)
{
	return n->level ? inner_of(n)->key : leaf_of(n)->key;
}

static uint64_t *node_lasts(struct slot_node *n, unsigned int view)
{
	return n->level ? inner_of(n)->last[view] : leaf_of(n)->last;
}

static uint64_t last_key(uint64_t page)
{
	return slot_key(page, SLOT_TREE_IDS - 1);
}

/* ---- the pool ------------------------------------------------------------------------------- */

struct slot_chunk {
	struct slot_chunk *next;
} __attribute__((aligned(64)));

/* Leaves, inner nodes. */
static const size_t node_size[2] = { sizeof(struct slot_leaf), sizeof(struct slot_inner) };
static const unsigned int chunk_nodes[2] = { 32, 8 };

static void pool_put(struct slot_pool *pool, struct slot_node *n)
{
	unsigned int kind = n->level > 0;

	n->next = pool->free[kind];
	pool->free[kind] = n;
	pool->nr_free[kind]++;
}

static int pool_grow(struct slot_pool *pool, unsigned int kind, unsigned int want)
{
	while (pool->nr_free[kind] < want) {
		struct slot_chunk *chunk = hv_zalloc_aligned(
			64, sizeof(*chunk) + chunk_nodes[kind] * node_size[kind]);
		unsigned int i;

		if (!chunk)
			return -ENOMEM;
		chunk->next = pool->chunks;
		pool->chunks = chunk;
		for (i = 0; i < chunk_nodes[kind]; i++) {
			struct slot_node *n = (void *)((char *)(chunk + 1) + i * node_size[kind]);

			n->level = (uint16_t)kind;
			pool_put(pool, n);
		}
	}
	return 0;
}

/* Of one change: two per level, and a root above; a change before may have made it higher. */
static unsigned int inner_nodes_of(const struct slot_tree *tree)
{
	return 2 * (tree->root ? tree->root->level + 1u : 1) + 1;
}

int slot_pool_reserve(struct slot_pool *pool, const struct slot_tree *a, const struct slot_tree *b)
{
	if (pool_grow(pool, 0, 4))
		return -ENOMEM;
	return pool_grow(pool, 1, inner_nodes_of(a) + inner_nodes_of(b));
}

void slot_pool_settle(struct slot_pool *pool)
{
	while (pool->nr_touched) {
		const struct slot_touched *t = &pool->touched[--pool->nr_touched];

		t->node->last[!t->view][t->at] = t->node->last[t->view][t->at];
		t->node->child[!t->view][t->at] = t->node->child[t->view][t->at];
	}
	while (pool->retired) {
		struct slot_node *n = pool->retired;

		pool->retired = n->next;
		pool_put(pool, n);
	}
	pool->change++;
}

void slot_pool_destroy(struct slot_pool *pool)
{
	while (pool->chunks) {
		struct slot_chunk *chunk = pool->chunks;

		pool->chunks = chunk->next;
		hv_free(chunk);
	}
	*pool = (struct slot_pool){ .change = 0 };
}

static bool node_is_new(const struct slot_pool *pool, const struct slot_node *n)
{
	return n->change == pool->change;
}

/* Empty. */
static struct slot_node *node_new(struct slot_pool *pool, unsigned int level)
{
	unsigned int kind = level > 0;
	struct slot_node *n = pool->free[kind];

	HV_BUG_ON(!n);
	pool->free[kind] = n->next;
	pool->nr_free[kind]--;
	n->change = pool->change;
	n->level = (uint16_t)level;
	n->count = 0;
	/* Keys and ends, which follow each other. */
	memset(node_keys(n), 0xff, (level ? 3 * INNER_FANOUT : 2 * LEAF_FANOUT) * sizeof(uint64_t));
	return n;
}

/* Readers may see what is not new until the change is settled, all but its `next`. */
static void node_drop(struct slot_pool *pool, struct slot_node *n)
{
	if (node_is_new(pool, n)) {
		pool_put(pool, n);
		return;
	}
	n->next = pool->retired;
	pool->retired = n;
}

/* ---- entries of a node ---------------------------------------------------------------------- */

/*
 * Entries [from, from + n) of src, as the view has them, to `to` of dst, a new node: there
 * they are the same in both views. src may be dst.
 */
static void entries_move(unsigned int view, struct slot_node *dst, unsigned int to,
			 struct slot_node *src, unsigned int from, unsigned int n)
{
	struct slot_inner *d, *s;
	unsigned int v;

	memmove(node_keys(dst) + to, node_keys(src) + from, n * sizeof(uint64_t));
	if (!dst->level) {
		memmove(leaf_of(dst)->last + to, leaf_of(src)->last + from, n * sizeof(uint64_t));
		return;
	}
	d = inner_of(dst);
	s = inner_of(src);
	for (v = 0; v < 2; v++) {
		unsigned int w = src == dst ? v : view;

		memmove(d->last[v] + to, s->last[w] + from, n * sizeof(uint64_t));
		memmove(d->child[v] + to, s->child[w] + from, n * sizeof(struct slot_node *));
	}
}

/* A new node with the same content as the view has it: n itself, or a copy that replaces it. */
static struct slot_node *node_own(struct slot_pool *pool, unsigned int view, struct slot_node *n)
{
	struct slot_node *copy;

	if (node_is_new(pool, n))
		return n;
	copy = node_new(pool, n->level);
	entries_move(view, copy, 0, n, 0, n->count);
	copy->count = n->count;
	node_drop(pool, n);
	return copy;
}

static void node_truncate(struct slot_node *n, unsigned int count)
{
	while (n->count > count) {
		n->count--;
		node_keys(n)[n->count] = NO_KEY;
		node_lasts(n, 0)[n->count] = NO_KEY;
		node_lasts(n, 1)[n->count] = NO_KEY;
	}
}

/* Room at i, which the caller fills. */
static void node_open(struct slot_node *n, unsigned int i)
{
	entries_move(0, n, i + 1, n, i, n->count - i);
	n->count++;
}

static void node_remove(struct slot_node *n, unsigned int i)
{
	entries_move(0, n, i, n, i + 1, n->count - i - 1u);
	node_truncate(n, n->count - 1u);
}

static uint64_t node_last(struct slot_node *n, unsigned int view)
{
	const uint64_t *v = node_lasts(n, view);
	uint64_t last = 0;
	unsigned int i;

	for (i = 0; i < n->count; i++)
		last = hv_max(last, v[i]);
	return last;
}

/* Entry i leads to the child, whose greatest end is `last`: in this view at first, if n is old. */
static void inner_point(struct slot_pool *pool, unsigned int view, struct slot_inner *n,
			unsigned int i, struct slot_node *child, uint64_t last)
{
	n->last[view][i] = last;
	n->child[view][i] = child;
	if (node_is_new(pool, &n->n)) {
		n->last[!view][i] = last;
		n->child[!view][i] = child;
		return;
	}
	HV_BUG_ON(pool->nr_touched == sizeof(pool->touched) / sizeof(pool->touched[0]));
	pool->touched[pool->nr_touched++] = (struct slot_touched){ n, view, i };
}

/* ---- searching ------------------------------------------------------------------------------ */

/*
 * How many of n keys are at or below this one: first by blocks, then in the one that is
 * left. Without branches: what would they be predicted by?
 */
static inline unsigned int upto(const uint64_t *keys, unsigned int n, unsigned int block,
				uint64_t key)
{
	unsigned int i, c = 0, in_block = 0;

#pragma GCC unroll 8
	for (i = block; i < n; i += block)
		c += keys[i - 1] <= key ? block : 0;
#pragma GCC unroll 8
	for (i = 0; i < block; i++)
		in_block += keys[c + i] <= key;
	return c + in_block;
}

/* The entry below which the key is, if anywhere. */
static inline unsigned int inner_at(const struct slot_inner *n, uint64_t key)
{
	unsigned int c = upto(n->key, INNER_FANOUT, 6, key);

	return c ? c - 1 : 0;
}

static inline unsigned int leaf_upto(const struct slot_leaf *n, uint64_t key)
{
	return upto(n->key, LEAF_FANOUT, 5, key);
}

struct path {
	struct slot_inner *node[SLOT_TREE_RISE]; /* the root first */
	unsigned int at[SLOT_TREE_RISE];	 /* which entry it goes on by */
	unsigned int depth;			 /* of the leaf */
	struct slot_node *leaf;
	bool rightmost;
};

static void path_to(struct path *p, const struct slot_tree *tree, uint64_t key)
{
	struct slot_node *n = tree->root;

	p->depth = 0;
	p->rightmost = true;
	while (n->level) {
		struct slot_inner *in = inner_of(n);
		unsigned int i = inner_at(in, key);

		HV_BUG_ON(p->depth == SLOT_TREE_RISE);
		p->node[p->depth] = in;
		p->at[p->depth++] = i;
		p->rightmost &= i == n->count - 1u;
		n = in->child[tree->view][i];
	}
	p->leaf = n;
}

/* ---- insertion ------------------------------------------------------------------------------ */

/*
 * Room at *i of a new node. If it was full it gives what is behind to another, which is
 * returned, else NULL; *where is the one that has the room, at *i.
 */
static struct slot_node *node_make_room(struct slot_pool *pool, struct slot_node *n, bool append,
					struct slot_node **where, unsigned int *i)
{
	struct slot_node *right = NULL;

	*where = n;
	if (n->count == fanout(n)) {
		unsigned int keep = append && *i == n->count ? n->count : n->count / 2u;

		right = node_new(pool, n->level);
		entries_move(0, right, 0, n, keep, n->count - keep);
		right->count = (uint16_t)(n->count - keep);
		node_truncate(n, keep);
		if (*i > keep || keep == fanout(n)) {
			*where = right;
			*i -= keep;
		}
	}
	node_open(*where, *i);
	return right;
}

/* What the level below says to the one above. */
struct rise {
	struct slot_node *child; /* now in the entry's place */
	struct slot_node *right; /* and this one behind it, or NULL */
};

/* Inner node of the path: its entry's child is up->child, and up->right is new. */
static struct slot_node *inner_take_right(struct slot_pool *pool, unsigned int view,
					  struct slot_inner *old, unsigned int i, bool append,
					  struct rise *up)
{
	struct slot_node *n = node_own(pool, view, &old->n), *where, *right = up->right;

	inner_point(pool, view, inner_of(n), i, up->child, node_last(up->child, view));
	i++;
	up->right = node_make_room(pool, n, append, &where, &i);
	inner_of(where)->key[i] = node_keys(right)[0];
	inner_point(pool, view, inner_of(where), i, right, node_last(right, view));
	return n;
}

static struct slot_node *root_above(struct slot_pool *pool, unsigned int view, const struct rise *up)
{
	struct slot_node *n = node_new(pool, up->child->level + 1u);
	struct slot_inner *in = inner_of(n);

	n->count = 2;
	in->key[0] = 0;
	in->key[1] = node_keys(up->right)[0];
	inner_point(pool, view, in, 0, up->child, node_last(up->child, view));
	inner_point(pool, view, in, 1, up->right, node_last(up->right, view));
	return n;
}

static struct rise leaf_insert(struct slot_pool *pool, const struct path *p, uint64_t key,
			       uint64_t last)
{
	struct rise up = { .child = node_own(pool, 0, p->leaf) };
	unsigned int i = leaf_upto(leaf_of(up.child), key);
	struct slot_node *n;

	up.right = node_make_room(pool, up.child, p->rightmost, &n, &i);
	leaf_of(n)->key[i] = key;
	leaf_of(n)->last[i] = last;
	return up;
}

void slot_tree_insert(struct slot_pool *pool, struct slot_tree *tree, uint64_t first, uint64_t last,
		      unsigned int id)
{
	uint64_t key = slot_key(first, id), end = last_key(last);
	unsigned int d, view = tree->view;
	struct rise up;
	struct path p;

	if (!tree->root)
		tree->root = node_new(pool, 0);
	path_to(&p, tree, key);
	up = leaf_insert(pool, &p, key, end);
	for (d = p.depth; d-- > 0;) {
		struct slot_inner *n = p.node[d];
		unsigned int i = p.at[d];

		if (up.right) {
			up.child = inner_take_right(pool, view, n, i, p.rightmost, &up);
			continue;
		}
		if (n->child[view][i] == up.child && n->last[view][i] >= end)
			return; /* nor does anything change above */
		inner_point(pool, view, n, i, up.child, hv_max(n->last[view][i], end));
		up.child = &n->n;
	}
	tree->root = up.right ? root_above(pool, view, &up) : up.child;
}

/* ---- erasure -------------------------------------------------------------------------------- */

/* Of two neighbours a and b, one takes from the other: each has half of all. */
static void nodes_even(unsigned int view, struct slot_node *a, struct slot_node *b)
{
	unsigned int all = a->count + b->count, half = all / 2, n;

	if (a->count < half) {
		n = half - a->count;
		entries_move(view, a, a->count, b, 0, n);
		entries_move(view, b, 0, b, n, b->count - n);
		node_truncate(b, all - half);
	} else {
		n = a->count - half;
		entries_move(view, b, n, b, 0, b->count);
		entries_move(view, b, 0, a, half, n);
		node_truncate(a, half);
	}
	a->count = (uint16_t)half;
	b->count = (uint16_t)(all - half);
}

/* Children i and i + 1 of n, which is new, become one, or evenly full. */
static void children_join(struct slot_pool *pool, unsigned int view, struct slot_inner *n,
			  unsigned int i)
{
	struct slot_node *a = node_own(pool, view, n->child[view][i]), *b = n->child[view][i + 1];

	if (a->count + b->count <= fanout(a)) {
		unsigned int had = a->count;

		entries_move(view, a, had, b, 0, b->count);
		a->count = (uint16_t)(had + b->count);
		if (a->level)
			node_keys(a)[had] = n->key[i + 1]; /* b's own said nothing */
		node_drop(pool, b);
		node_remove(&n->n, i + 1);
	} else {
		b = node_own(pool, view, b);
		if (b->level)
			node_keys(b)[0] = n->key[i + 1];
		nodes_even(view, a, b);
		n->key[i + 1] = node_keys(b)[0];
		inner_point(pool, view, n, i + 1, b, node_last(b, view));
	}
	inner_point(pool, view, n, i, a, node_last(a, view));
}

/* Entry i of a node of the path now leads to a child that is too small. Returns the node. */
static struct slot_node *inner_mend(struct slot_pool *pool, unsigned int view, struct slot_inner *old,
				    unsigned int i, struct slot_node *child)
{
	struct slot_node *n = node_own(pool, view, &old->n);

	inner_point(pool, view, inner_of(n), i, child, node_last(child, view));
	if (n->count > 1) {
		children_join(pool, view, inner_of(n), i + 1 < n->count ? i : i - 1);
	} else if (!child->count) {
		node_drop(pool, child);
		node_remove(n, i);
	}
	return n;
}

static struct slot_node *leaf_erase(struct slot_pool *pool, const struct path *p, uint64_t key,
				    uint64_t *last)
{
	struct slot_node *n = node_own(pool, 0, p->leaf);
	unsigned int i = leaf_upto(leaf_of(n), key);

	HV_BUG_ON(!i || leaf_of(n)->key[i - 1] != key);
	*last = leaf_of(n)->last[i - 1];
	node_remove(n, i - 1);
	return n;
}

void slot_tree_erase(struct slot_pool *pool, struct slot_tree *tree, uint64_t first, unsigned int id)
{
	unsigned int d, view = tree->view;
	struct slot_node *child;
	struct path p;
	uint64_t last;

	HV_BUG_ON(!tree->root);
	path_to(&p, tree, slot_key(first, id));
	child = leaf_erase(pool, &p, slot_key(first, id), &last);
	for (d = p.depth; d-- > 0;) {
		struct slot_inner *n = p.node[d];
		unsigned int i = p.at[d];
		uint64_t now = n->last[view][i];

		if (child->count < fanout(child) / 3) {
			child = inner_mend(pool, view, n, i, child);
			continue;
		}
		if (now == last)
			now = node_last(child, view);
		if (n->child[view][i] == child && n->last[view][i] == now)
			return; /* nor does anything change above */
		inner_point(pool, view, n, i, child, now);
		child = &n->n;
	}
	while (child && child->count < (child->level ? 2 : 1)) {
		struct slot_node *n = child;

		child = n->count ? inner_of(n)->child[view][0] : NULL;
		node_drop(pool, n);
	}
	tree->root = child;
}

/* ---- lookup --------------------------------------------------------------------------------- */

void slot_tree_prefetch(const struct slot_tree *tree, uint64_t first, unsigned int id)
{
	struct slot_node *n = tree->root;
	unsigned int level;
	size_t i;

	if (!n)
		return;
	/* Not to look at the leaf: that is what would wait. */
	for (level = n->level; level; level--)
		n = inner_of(n)->child[tree->view][inner_at(inner_of(n), slot_key(first, id))];
	for (i = 0; i < sizeof(struct slot_leaf); i += 64)
		__builtin_prefetch((const char *)n + i);
}

/*
 * Of disjoint ranges: the entry of the first one that ends at or after the page with this
 * last_key(), or NULL. Their ends are in order as well, and exact at each level; keys are
 * not, and a range that contains the page may begin in another leaf than they say.
 */
static const uint64_t *disjoint_from(const struct slot_tree *tree, uint64_t key)
{
	struct slot_node *n = tree->root;
	unsigned int i;

	if (!n)
		return NULL;
	while (n->level) {
		struct slot_inner *in = inner_of(n);

		i = upto(in->last[tree->view], INNER_FANOUT, 6, key - 1);
		if (i == n->count)
			return NULL;
		n = in->child[tree->view][i];
	}
	i = upto(leaf_of(n)->last, LEAF_FANOUT, 5, key - 1);
	return i < n->count ? &leaf_of(n)->key[i] : NULL;
}

int slot_tree_find(const struct slot_tree *tree, uint64_t page)
{
	const uint64_t *key = disjoint_from(tree, last_key(page));

	return key && *key <= last_key(page) ? (int)(*key % SLOT_TREE_IDS) : SLOT_TREE_NONE;
}

int slot_tree_first_from(const struct slot_tree *tree, uint64_t page)
{
	const uint64_t *key = disjoint_from(tree, last_key(page));

	return key ? (int)(*key % SLOT_TREE_IDS) : SLOT_TREE_NONE;
}

bool slot_tree_meets(const struct slot_tree *tree, uint64_t first, uint64_t last, unsigned int but)
{
	const uint64_t *key;

	while ((key = disjoint_from(tree, last_key(first))) && *key <= last_key(last)) {
		if (*key % SLOT_TREE_IDS != but)
			return true;
		first = (key[LEAF_FANOUT] >> 16) + 1; /* behind the end that belongs to the key */
		if (first > last)
			break;
	}
	return false;
}

struct overlap {
	unsigned int view;
	uint64_t from, start, last; /* keys */
};

static int leaf_overlap(struct slot_leaf *leaf, const struct overlap *o)
{
	unsigned int i;

	for (i = 0; i < leaf->n.count && leaf->key[i] <= o->last; i++)
		if (leaf->key[i] >= o->from && leaf->last[i] >= o->start)
			return (int)(leaf->key[i] % SLOT_TREE_IDS);
	return SLOT_TREE_NONE;
}

/* Depth of the recursion: SLOT_TREE_RISE. */
static int node_overlap(struct slot_node *n, const struct overlap *o)
{
	struct slot_inner *in = inner_of(n);
	unsigned int i, begin;

	if (!n->level)
		return leaf_overlap(leaf_of(n), o);
	begin = inner_at(in, o->from);
	for (i = begin; i < n->count && (i == begin || in->key[i] <= o->last); i++) {
		int id = SLOT_TREE_NONE;

		if (in->last[o->view][i] >= o->start)
			id = node_overlap(in->child[o->view][i], o);
		if (id != SLOT_TREE_NONE)
			return id;
	}
	return SLOT_TREE_NONE;
}

int slot_tree_overlap(const struct slot_tree *tree, uint64_t from, uint64_t first, uint64_t last)
{
	struct overlap o = {
		.view = tree->view, .from = from, .start = slot_key(first, 0), .last = last_key(last),
	};

	return tree->root ? node_overlap(tree->root, &o) : SLOT_TREE_NONE;
}

/* ---- for tests ------------------------------------------------------------------------------ */

struct bounds {
	uint64_t low, high; /* of keys, inclusive */
	bool root, rightmost;
};

static bool node_is_sound(struct slot_node *n, const struct bounds *b)
{
	unsigned int i, least = fanout(n) / 3;
	const uint64_t *key = node_keys(n);

	if (b->root)
		least = n->level ? 2 : 1;
	else if (b->rightmost)
		least = 1;
	if (n->count < least || n->count > fanout(n))
		return false;
	for (i = 0; i < fanout(n); i++) {
		if (i >= n->count ? key[i] != NO_KEY || node_lasts(n, 0)[i] != NO_KEY ||
					    node_lasts(n, 1)[i] != NO_KEY
				  : i && key[i] <= key[i - 1])
			return false;
		if (i < n->count && (i || !n->level) && (key[i] < b->low || key[i] > b->high))
			return false;
		if (i < n->count && !n->level && leaf_of(n)->last[i] < key[i])
			return false;
	}
	return true;
}

static int check(struct slot_node *n, unsigned int view, const struct bounds *b)
{
	struct slot_inner *in = inner_of(n);
	unsigned int i;
	int all = 0;

	if (!node_is_sound(n, b))
		return -1;
	if (!n->level)
		return n->count;
	for (i = 0; i < n->count; i++) {
		struct slot_node *c = in->child[view][i];
		bool end = i + 1u == n->count;
		struct bounds below = {
			.low = i ? in->key[i] : b->low,
			.high = end ? b->high : in->key[i + 1] - 1,
			.rightmost = b->rightmost && end,
		};
		int r = -1;

		if (c->level + 1 == n->level && node_last(c, view) == in->last[view][i])
			r = check(c, view, &below);
		if (r < 0)
			return -1;
		all += r;
	}
	return all;
}

int slot_tree_check(const struct slot_tree *tree)
{
	struct bounds b = { .high = UINT64_MAX - 1, .root = true, .rightmost = true };

	return tree->root ? check(tree->root, tree->view, &b) : 0;
}
