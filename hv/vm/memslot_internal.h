/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of struct hv_memslots: shared by memslot.c (lookup) and
 * memslot_update.c. Nobody else includes this but their tests.
 *
 *	vm->memslots[as] --> the active set --> trees: gfn or hva --> id
 *	                     the other set  -->                       |
 *	                                                              v
 *	                 the address space's table: id --> slot_place, a version for each set
 *
 * Each address space has two sets. Readers see the active one, the updater prepares the
 * other one, publishes it, waits until nobody reads the former, and brings that up to
 * date as well. The sets are two views of the same trees, which share all nodes but those
 * that an update is changing (slot_tree.h). A slot has a version for each set, at one
 * place. So an update costs O(log n), and when only flags change (INVALID is one) no tree
 * is touched.
 */
#ifndef HV_VM_MEMSLOT_INTERNAL_H
#define HV_VM_MEMSLOT_INTERNAL_H

#include <stdatomic.h>

#include "hv/vm/memslot.h"
#include "hv/vm/slot_tree.h"
#include "hv/vm/vm.h"

#define SLOT_ID_LEAF   64 /* slots per leaf of the id table */
#define SLOT_ID_LEAVES ((HV_MEM_SLOTS_MAX + SLOT_ID_LEAF - 1) / SLOT_ID_LEAF)

/*
 * A slot's two versions: that of the set which is not active is [S], that of the active
 * one is read under RCU. A version without pages is none. They share 128 bytes, which
 * processors fetch together: what one set's update has read is near when the other follows.
 */
struct slot_place {
	struct hv_memslot version[2]; /* by set->idx */
} __attribute__((aligned(128)));

/*
 * One set. All of it [S] while inactive, immutable but for `generation` while active: that
 * is written at each update, the rest seldom, and stays in the caches of those who look up.
 */
struct hv_memslots {
	unsigned int idx; /* which view, and which version of the slots, is this set's */
	unsigned int as_id;
	unsigned int count;
	struct slot_tree gfn, hva; /* of guest frames; of host pages, which slots may share */
	struct slot_place **table; /* [I] the address space's, in leaves */
	_Atomic uint64_t generation __attribute__((aligned(64)));
} __attribute__((aligned(64)));

struct hv_slot_sets {
	struct hv_memslots set[HV_ADDRESS_SPACE_NUM][2];
	uint64_t npages[HV_ADDRESS_SPACE_NUM]; /* [S] pages of all slots */
	struct slot_pool pool;		       /* [S] nodes of all trees */
	/* [S] to add a leaf, which stays until the VM ends; read under RCU */
	struct slot_place *table[HV_ADDRESS_SPACE_NUM][SLOT_ID_LEAVES];
};

/* Both sets of each address space, empty, the first one active. -ENOMEM. */
int memslots_create(struct hv_vm *vm);
/* No reader is left. Frees the slots too, with what the MMU and the log hung on them. */
void memslots_destroy(struct hv_vm *vm);

#endif
