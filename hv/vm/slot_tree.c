/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AVL tree of ranges with subtree maxima; see slot_tree.h. Insertion and
 * deletion keep the path from the root and rebalance it upwards, and stop where
 * neither height nor maximum has changed. (Adelson-Velsky and Landis 1962; the
 * maxima: Cormen et al., Introduction to Algorithms, 14.3.)
 *
 * A node has the heights and maxima of its *children*, not its own. So an update reads
 * the lines of the nodes on its path, and not those of their siblings: in a tree of
 * 32,000 slots most of its time is waiting for these lines.
 */
#include "hv/vm/slot_tree.h"

#include <string.h>

#include "hv/base/assert.h"

/* An AVL tree of n nodes is at most 1.44 log2(n + 2) deep: this is enough for 2^32. */
#define SLOT_TREE_DEPTH 48

_Static_assert(sizeof(struct slot_node) == 64, "a node is a cache line");

static bool node_before(const struct slot_node *a, const struct slot_node *b)
{
	return a->start != b->start ? a->start < b->start : a->id < b->id;
}

static unsigned int height(const struct slot_node *n)
{
	return n ? 1U + hv_max(n->height[0], n->height[1]) : 0;
}

static uint64_t max_last(const struct slot_node *n)
{
	uint64_t below;

	if (!n)
		return 0;
	below = hv_max(n->max_last[0], n->max_last[1]);
	return hv_max(n->last, below);
}

/* Link a child, and take down what the parent has to know of it. */
static void set_child(struct slot_node *n, unsigned int side, struct slot_node *child)
{
	n->child[side] = child;
	n->height[side] = (uint8_t)height(child);
	n->max_last[side] = max_last(child);
}

/* The child on `side` comes up; returns it. What it and n need is in these two alone. */
static struct slot_node *rotate(struct slot_node *n, unsigned int side)
{
	struct slot_node *up = n->child[side];

	n->child[side] = up->child[!side];
	n->height[side] = up->height[!side];
	n->max_last[side] = up->max_last[!side];
	set_child(up, !side, n);
	return up;
}

/* Mend the balance of one node, whose children are balanced. Returns what is on top now. */
static struct slot_node *balance(struct slot_node *n)
{
	unsigned int side = n->height[1] > n->height[0];
	struct slot_node *child = n->child[side];

	if (n->height[side] <= n->height[!side] + 1)
		return n;
	if (child->height[side] < child->height[!side])
		set_child(n, side, rotate(child, !side));
	return rotate(n, side);
}

/* The way from the root to a link: nodes, and on which side of each it goes on. */
struct path {
	struct slot_node *node[SLOT_TREE_DEPTH];
	uint8_t side[SLOT_TREE_DEPTH];
	unsigned int depth;
};

static struct slot_node *path_down(struct path *p, struct slot_node *n, unsigned int side)
{
	HV_BUG_ON(p->depth == SLOT_TREE_DEPTH);
	p->node[p->depth] = n;
	p->side[p->depth++] = (uint8_t)side;
	return n->child[side];
}

/*
 * `sub` is the subtree at the end of the path now: tell the nodes above, up to where
 * they knew as much. Not to stop before node number `top`: its own range is new.
 */
static void path_up(struct path *p, struct slot_node **root, struct slot_node *sub, unsigned int top)
{
	while (p->depth--) {
		struct slot_node *n = p->node[p->depth];
		unsigned int side = p->side[p->depth];

		if (p->depth < top && n->height[side] == height(sub) &&
		    n->max_last[side] == max_last(sub)) {
			n->child[side] = sub;
			return;
		}
		set_child(n, side, sub);
		sub = balance(n);
	}
	*root = sub;
}

void slot_tree_insert(struct slot_node **root, struct slot_node *node)
{
	struct path p = { .depth = 0 };
	struct slot_node *n = *root;

	while (n)
		n = path_down(&p, n, !node_before(node, n));
	set_child(node, 0, NULL);
	set_child(node, 1, NULL);
	path_up(&p, root, node, p.depth);
}

void slot_tree_erase(struct slot_node **root, struct slot_node *node)
{
	struct path p = { .depth = 0 };
	struct slot_node *n = *root, *succ;
	unsigned int top;

	while (n != node) {
		HV_BUG_ON(!n);
		n = path_down(&p, n, !node_before(node, n));
	}
	if (!node->child[0] || !node->child[1]) {
		path_up(&p, root, node->child[0] ? node->child[0] : node->child[1], p.depth);
		return;
	}
	/* Two children: the successor takes the node's place, and its right subtree its own. */
	top = p.depth;
	for (succ = path_down(&p, node, 1); succ->child[0];)
		succ = path_down(&p, succ, 0);
	n = succ->child[1];
	memcpy(succ->child, node->child, sizeof(succ->child));
	memcpy(succ->height, node->height, sizeof(succ->height));
	memcpy(succ->max_last, node->max_last, sizeof(succ->max_last));
	p.node[top] = succ;
	path_up(&p, root, n, top);
}

struct slot_node *slot_tree_first_from(struct slot_node *root, uint64_t key)
{
	struct slot_node *best = NULL;

	while (root) {
		if (key <= root->last) {
			best = root;
			root = root->child[0];
		} else {
			root = root->child[1];
		}
	}
	return best;
}

/* Depth of the recursion: the height of the tree. */
struct slot_node *slot_tree_overlap(struct slot_node *n, const struct slot_node *prev,
				    uint64_t start, uint64_t last)
{
	while (n) {
		if (!prev || node_before(prev, n)) {
			struct slot_node *found = NULL;

			if (n->max_last[0] >= start)
				found = slot_tree_overlap(n->child[0], prev, start, last);
			if (found)
				return found;
			if (n->start <= last && n->last >= start)
				return n;
		}
		if (n->start > last || n->max_last[1] < start)
			return NULL;
		n = n->child[1];
	}
	return NULL;
}

int slot_tree_check(const struct slot_node *n)
{
	unsigned int side;
	int l, r;

	if (!n)
		return 0;
	l = slot_tree_check(n->child[0]);
	r = slot_tree_check(n->child[1]);
	if (l < 0 || r < 0 || n->start > n->last || n->height[0] > n->height[1] + 1 ||
	    n->height[1] > n->height[0] + 1)
		return -1;
	for (side = 0; side < 2; side++)
		if (n->height[side] != height(n->child[side]) ||
		    n->max_last[side] != max_last(n->child[side]))
			return -1;
	if ((n->child[0] && !node_before(n->child[0], n)) ||
	    (n->child[1] && !node_before(n, n->child[1])))
		return -1;
	return l + r + 1;
}
