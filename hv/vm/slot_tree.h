/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of memslots: an intrusive AVL tree of closed ranges [start, last],
 * ordered by (start, id), each node carrying the greatest `last` of its subtrees.
 * One tree of disjoint gfn ranges answers "which slot has this gfn"; one of hva
 * ranges, which may overlap, answers "which slots meet this range".
 *
 * Updates allocate nothing and touch O(log n) nodes; they need the caller's
 * exclusion, against readers too (memslot_update.c works on a tree that no
 * reader can reach).
 */
#ifndef HV_VM_SLOT_TREE_H
#define HV_VM_SLOT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One cache line, so that a lookup touches one per level and the owner comes with the last. */
struct slot_node {
	uint64_t start, last; /* set before insertion */
	struct slot_node *child[2]; /* before and after this one */
	uint64_t max_last[2];	    /* of the child's subtree; 0: no child */
	void *owner;		    /* the user's */
	uint32_t id;		    /* unique in the tree; set before insertion */
	uint8_t height[2];	    /* of the children */
} __attribute__((aligned(64)));

void slot_tree_insert(struct slot_node **root, struct slot_node *node);
void slot_tree_erase(struct slot_node **root, struct slot_node *node);

/* ---- disjoint ranges ------------------------------------------------------------- */
/* The node that contains key, or NULL. */
static inline struct slot_node *slot_tree_find(struct slot_node *root, uint64_t key)
{
	while (root) {
		if (key < root->start)
			root = root->child[0];
		else if (key > root->last)
			root = root->child[1];
		else
			break;
	}
	return root;
}

/* The first node that ends at or after key, or NULL. */
struct slot_node *slot_tree_first_from(struct slot_node *root, uint64_t key);

/* ---- ranges that may overlap ------------------------------------------------------- */
/* In order, the first node after `prev` (NULL: from the beginning) that meets [start, last]. */
struct slot_node *slot_tree_overlap(struct slot_node *root, const struct slot_node *prev,
				    uint64_t start, uint64_t last);

/* For tests: order, balance, heights and maxima are as they must be. Node count, or -1. */
int slot_tree_check(const struct slot_node *root);

#endif
