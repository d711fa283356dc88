/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AVL tree of ranges with subtree maxima; see slot_tree.h. Insertion and
 * deletion keep the path from the root as links and rebalance it upwards, and
 * stop where neither height nor maximum has changed. (Adelson-Velsky and
 * Landis 1962; the maxima: Cormen et al., Introduction to Algorithms, 14.3.)
 */
#include "hv/vm/slot_tree.h"

#include "hv/base/assert.h"

/* An AVL tree of n nodes is at most 1.44 log2(n + 2) deep: this is enough for 2^32. */
#define SLOT_TREE_DEPTH 48

_Static_assert(sizeof(struct slot_node) == 64, "a node is a cache line");

static bool node_before(const struct slot_node *a, const struct slot_node *b)
{
	return a->start != b->start ? a->start < b->start : a->id < b->id;
}

static uint32_t height(const struct slot_node *n)
{
	return n ? n->height : 0;
}

static void node_update(struct slot_node *n)
{
	uint32_t l = height(n->left), r = height(n->right);

	n->height = 1 + hv_max(l, r);
	n->max_last = n->last;
	if (n->left)
		n->max_last = hv_max(n->max_last, n->left->max_last);
	if (n->right)
		n->max_last = hv_max(n->max_last, n->right->max_last);
}

static void rotate_right(struct slot_node **link)
{
	struct slot_node *n = *link, *l = n->left;

	n->left = l->right;
	l->right = n;
	*link = l;
	node_update(n);
	node_update(l);
}

static void rotate_left(struct slot_node **link)
{
	struct slot_node *n = *link, *r = n->right;

	n->right = r->left;
	r->left = n;
	*link = r;
	node_update(n);
	node_update(r);
}

/* Mend the balance of one node, whose subtrees are right. */
static void balance(struct slot_node **link)
{
	struct slot_node *n = *link;

	if (height(n->left) > height(n->right) + 1) {
		if (height(n->left->left) < height(n->left->right))
			rotate_left(&n->left);
		rotate_right(link);
	} else if (height(n->right) > height(n->left) + 1) {
		if (height(n->right->right) < height(n->right->left))
			rotate_right(&n->right);
		rotate_left(link);
	} else {
		node_update(n);
	}
}

/*
 * Rebalance the links path[0 .. depth - 1], deepest first. Stopping early is right
 * only at or above the node at `top`, whose own fields are stale (depth: none is).
 */
static void rebalance(struct slot_node ***path, unsigned int depth, unsigned int top)
{
	while (depth--) {
		struct slot_node *n = *path[depth];
		uint32_t old_height = n->height;
		uint64_t old_max = n->max_last;

		balance(path[depth]);
		n = *path[depth];
		if (depth < top && n->height == old_height && n->max_last == old_max)
			return;
	}
}

void slot_tree_insert(struct slot_node **root, struct slot_node *node)
{
	struct slot_node **path[SLOT_TREE_DEPTH], **link = root;
	unsigned int depth = 0;

	while (*link) {
		HV_BUG_ON(depth == SLOT_TREE_DEPTH);
		path[depth++] = link;
		link = node_before(node, *link) ? &(*link)->left : &(*link)->right;
	}
	node->left = NULL;
	node->right = NULL;
	node_update(node);
	*link = node;
	rebalance(path, depth, depth);
}

void slot_tree_erase(struct slot_node **root, struct slot_node *node)
{
	struct slot_node **path[SLOT_TREE_DEPTH], **link = root, **succ_link, *succ;
	unsigned int depth = 0, top;

	while (*link != node) {
		HV_BUG_ON(!*link || depth == SLOT_TREE_DEPTH);
		path[depth++] = link;
		link = node_before(node, *link) ? &(*link)->left : &(*link)->right;
	}
	if (!node->left || !node->right) {
		*link = node->left ? node->left : node->right;
		rebalance(path, depth, depth);
		return;
	}
	/* Two children: the successor takes the node's place. */
	top = depth;
	path[depth++] = link;
	for (succ_link = &node->right; (*succ_link)->left; succ_link = &(*succ_link)->left) {
		HV_BUG_ON(depth == SLOT_TREE_DEPTH);
		path[depth++] = succ_link;
	}
	succ = *succ_link;
	*succ_link = succ->right;
	succ->left = node->left;
	succ->right = node->right;
	succ->height = node->height;
	succ->max_last = node->max_last;
	*link = succ;
	if (depth > top + 1)
		path[top + 1] = &succ->right;
	rebalance(path, depth, top + 1);
}

struct slot_node *slot_tree_first_from(struct slot_node *root, uint64_t key)
{
	struct slot_node *best = NULL;

	while (root) {
		if (key <= root->last) {
			best = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return best;
}

/* Depth of the recursion: the height of the tree. */
struct slot_node *slot_tree_overlap(struct slot_node *n, const struct slot_node *prev,
				    uint64_t start, uint64_t last)
{
	while (n && n->max_last >= start) {
		if (!prev || node_before(prev, n)) {
			struct slot_node *found = slot_tree_overlap(n->left, prev, start, last);

			if (found)
				return found;
			if (n->start <= last && n->last >= start)
				return n;
		}
		if (n->start > last)
			return NULL;
		n = n->right;
	}
	return NULL;
}

int slot_tree_check(const struct slot_node *n)
{
	struct slot_node copy;
	int l, r;

	if (!n)
		return 0;
	l = slot_tree_check(n->left);
	r = slot_tree_check(n->right);
	copy = *n;
	node_update(&copy);
	if (l < 0 || r < 0 || n->start > n->last || copy.height != n->height ||
	    copy.max_last != n->max_last || height(n->left) > height(n->right) + 1 ||
	    height(n->right) > height(n->left) + 1)
		return -1;
	if ((n->left && !node_before(n->left, n)) || (n->right && !node_before(n, n->right)))
		return -1;
	return l + r + 1;
}
