/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of memslots: a B+ tree of closed ranges [key, last], each with an id, in the
 * order of their keys, which are unique. Each entry of an inner node carries the greatest
 * `last` below it. So one tree of disjoint gfn ranges answers "which slot has this gfn";
 * one of hva ranges, which may overlap, answers "which slots meet this range".
 *
 * The tree is persistent: an update copies the nodes on its path, three or four of them
 * for 32,000 slots, and leaves a new root beside the old one, which readers go on using.
 * Nodes come from a pool; those that an update has replaced go back to it after a grace
 * period:
 *
 *	slot_pool_reserve(pool, n)	the only step that can fail
 *	slot_tree_insert(pool, &root, ...), slot_tree_erase(pool, &root, ...)
 *	publish the new root, wait until no reader has the old one
 *	slot_pool_settle(pool)
 *
 * Updates need the caller's exclusion against each other. Readers need a root that stays
 * published, or whose grace period is not over.
 */
#ifndef HV_VM_SLOT_TREE_H
#define HV_VM_SLOT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_TREE_FANOUT 20
/* No range has this key: it stands in the unused places of a node. */
#define SLOT_TREE_NO_KEY UINT64_MAX

/*
 * Each kind of field by itself, so that a search reads keys only. Unused keys are
 * SLOT_TREE_NO_KEY: a search compares with all of them and needs no count.
 */
struct slot_tnode {
	uint64_t key[SLOT_TREE_FANOUT];	 /* inner: the first one of the child */
	uint64_t last[SLOT_TREE_FANOUT]; /* inner: the greatest one of the child's */
	union {
		const struct slot_tnode *child; /* level > 0 */
		uint64_t id;			/* level 0 */
	} at[SLOT_TREE_FANOUT];
	uint16_t count;
	uint16_t level;
	union {
		uint64_t change;	 /* pool->change of when it was made */
		struct slot_tnode *next; /* retired or free: no reader looks at it */
	};
} __attribute__((aligned(64)));

struct slot_pool_chunk;

/* Nodes of trees that are updated under one lock. All of it under that lock. */
struct slot_pool {
	struct slot_tnode *free, *retired;
	struct slot_pool_chunk *chunks;
	unsigned int nr_free;
	uint64_t change;
};

/* Nodes that insertions and erasures take at most, each, in a tree of up to 2^16 ranges. */
#define SLOT_TREE_CHANGE_NODES 17

/* Room for n nodes. -ENOMEM. */
int slot_pool_reserve(struct slot_pool *pool, unsigned int n);
/* No reader has what this change has replaced; and what it has made is not changed any more. */
void slot_pool_settle(struct slot_pool *pool);
/* Nobody has any tree of it. */
void slot_pool_destroy(struct slot_pool *pool);

void slot_tree_insert(struct slot_pool *pool, const struct slot_tnode **root, uint64_t key,
		      uint64_t last, unsigned int id);
void slot_tree_erase(struct slot_pool *pool, const struct slot_tnode **root, uint64_t key);

/* Fetch what an update of the key will read. It waits for nothing. */
void slot_tree_prefetch(const struct slot_tnode *root, uint64_t key);

/* Below: ids, or SLOT_TREE_NONE. */
#define SLOT_TREE_NONE (-1)

/* ---- disjoint ranges ------------------------------------------------------------- */
/* The range that contains key. */
int slot_tree_find(const struct slot_tnode *root, uint64_t key);
/* The first range that ends at or after key. */
int slot_tree_first_from(const struct slot_tnode *root, uint64_t key);

/* ---- ranges that may overlap ------------------------------------------------------- */
/* In order, the first range that meets [start, last] and whose key is not below `from`. */
int slot_tree_overlap(const struct slot_tnode *root, uint64_t from, uint64_t start, uint64_t last);

/* For tests: order, levels, fill and maxima are as they must be. Count of ranges, or -1. */
int slot_tree_check(const struct slot_tnode *root);

#endif
