/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of memslots: a B+ tree of closed ranges of pages, each with an id, in the order
 * of their first pages, then ids. Each entry of an inner node carries the greatest end
 * below it. So one tree of disjoint gfn ranges answers "which slot has this gfn"; one of
 * host pages, whose ranges may overlap, answers "which slots meet this range".
 *
 * A tree has two views: readers use one while an update changes the other. They share
 * all leaves but those that the update has replaced, and all inner nodes but those that
 * it had to split or join; the others have their children twice, once for each view. So an
 * update copies one leaf and writes a few pointers, and then:
 *
 *	slot_pool_reserve(pool, &a, &b)		the only step that can fail
 *	slot_tree_insert(pool, &a, ...), slot_tree_erase(pool, &a, ...)
 *	publish the view, wait until no reader has the other one
 *	slot_pool_settle(pool)			the other view is the same again,
 *						but for its root:
 *	other.root = a.root
 *
 * Updates need the caller's exclusion against each other. Readers need a view that stays
 * published, or whose grace period is not over.
 */
#ifndef HV_VM_SLOT_TREE_H
#define HV_VM_SLOT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ids are below this, page numbers below 2^48. */
#define SLOT_TREE_IDS  (1U << 16)
/* Levels of inner nodes above 2^16 ranges, at most. */
#define SLOT_TREE_RISE 6

/* Unique, and in the order of the tree. */
static inline uint64_t slot_key(uint64_t page, unsigned int id)
{
	return page << 16 | id;
}

/* What leaves and inner nodes begin with. */
struct slot_node {
	uint16_t level; /* 0: a leaf */
	uint16_t count;
	union {
		uint64_t change;	/* pool->change of when it was made */
		struct slot_node *next; /* retired or free: no reader looks at it */
	};
};

struct slot_tree {
	struct slot_node *root; /* NULL: empty */
	unsigned int view;	/* 0 or 1 */
};

struct slot_chunk;
struct slot_inner;

/* The nodes of trees that are updated under one lock. All of it under that lock. */
struct slot_pool {
	struct slot_node *free[2]; /* leaves; inner nodes */
	unsigned int nr_free[2];
	struct slot_node *retired;
	struct slot_chunk *chunks;
	uint64_t change; /* of nodes that no reader can have */
	/* Entries of nodes from before the change whose views differ. */
	struct slot_touched {
		struct slot_inner *node;
		unsigned int view, at;
	} touched[4 * SLOT_TREE_RISE];
	unsigned int nr_touched;
};

/* Room for a change in each of two trees, or for two in one. -ENOMEM. */
int slot_pool_reserve(struct slot_pool *pool, const struct slot_tree *a, const struct slot_tree *b);
/* No reader has what this change has replaced; what it has made is not changed any more. */
void slot_pool_settle(struct slot_pool *pool);
/* Nobody has any tree of it. */
void slot_pool_destroy(struct slot_pool *pool);

/* `last` is inclusive. No two ranges have both `first` and id in common. */
void slot_tree_insert(struct slot_pool *pool, struct slot_tree *tree, uint64_t first, uint64_t last,
		      unsigned int id);
void slot_tree_erase(struct slot_pool *pool, struct slot_tree *tree, uint64_t first,
		     unsigned int id);

/* Fetch what an update of such a range will read. It waits for little. */
void slot_tree_prefetch(const struct slot_tree *tree, uint64_t first, unsigned int id);

/* Below: ids, or this. */
#define SLOT_TREE_NONE (-1)

/* ---- disjoint ranges ------------------------------------------------------------- */
/* The range that contains the page. */
int slot_tree_find(const struct slot_tree *tree, uint64_t page);
/* The first range that ends at or after the page. */
int slot_tree_first_from(const struct slot_tree *tree, uint64_t page);
/* A range other than that of this id meets [first, last]. No slot is looked at. */
bool slot_tree_meets(const struct slot_tree *tree, uint64_t first, uint64_t last, unsigned int but);

/* ---- ranges that may overlap ------------------------------------------------------- */
/* In order, the first range that meets [first, last] and whose key is not below `from`. */
int slot_tree_overlap(const struct slot_tree *tree, uint64_t from, uint64_t first, uint64_t last);

/* For tests: order, levels, fill and maxima are as they must be. Count of ranges, or -1. */
int slot_tree_check(const struct slot_tree *tree);

#endif
