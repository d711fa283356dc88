/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of struct hv_memslots: shared by memslot.c (lookup) and
 * memslot_update.c. Nobody else includes this but their tests.
 *
 *	vm->memslots[as] --> the active set --+---> slot_place: a slot's nodes in the
 *	                     the other set  --+     trees of set 0 and of set 1
 *	                                                  | owner, in each node
 *	                                                  v
 *	                                            slot_obj: the public slot
 *
 * Each address space has two sets, whose trees run through the same places by
 * separate nodes. Readers see the active one, the updater prepares the other one,
 * publishes it, waits until nobody reads the former, and brings that up to date
 * as well. So an update costs O(log n) on each, not a copy.
 *
 * A slot_place lives from CREATE to DELETE. A slot_obj is one version of the slot;
 * when only flags change (INVALID is one), its nodes get another owner and no tree
 * is searched.
 */
#ifndef HV_VM_MEMSLOT_INTERNAL_H
#define HV_VM_MEMSLOT_INTERNAL_H

#include <stdatomic.h>

#include "hv/vm/memslot.h"
#include "hv/vm/slot_tree.h"
#include "hv/vm/vm.h"

#define SLOT_ID_LEAF   256 /* slots per leaf of the id table */
#define SLOT_ID_LEAVES ((HV_MEM_SLOTS_MAX + SLOT_ID_LEAF - 1) / SLOT_ID_LEAF)

/*
 * The two nodes of a tree share 128 bytes, which processors fetch together: what one set's
 * update has read is near when the other set follows.
 *
 * [S] the nodes of the set that is not active; those of the active one are read under RCU
 */
struct slot_place {
	struct slot_node gfn[2]; /* owner: struct slot_obj */
	struct slot_node hva[2];
};

struct slot_obj {
	struct hv_memslot slot;
	struct slot_place *place; /* [I] shared by the versions of the slot */
};

/* One set. All of it [S] while inactive, immutable but for `generation` while active. */
struct hv_memslots {
	_Atomic uint64_t generation;
	unsigned int idx; /* which nodes of the slots belong to this set */
	unsigned int as_id;
	unsigned int count;
	struct slot_node *gfn_root;
	struct slot_node *hva_root;
	struct slot_obj **by_id[SLOT_ID_LEAVES];
};

struct hv_slot_sets {
	struct hv_memslots set[HV_ADDRESS_SPACE_NUM][2];
	uint64_t npages[HV_ADDRESS_SPACE_NUM]; /* [S] pages of all slots */
};

static inline struct slot_obj *slot_obj_of(struct hv_memslot *slot)
{
	return container_of(slot, struct slot_obj, slot);
}

static inline struct hv_memslot *node_slot(const struct slot_node *n)
{
	return n ? &((struct slot_obj *)n->owner)->slot : NULL;
}

/* Both sets of each address space, empty, the first one active. -ENOMEM. */
int memslots_create(struct hv_vm *vm);
/* No reader is left. Frees the slots too, with what the MMU and the log hung on them. */
void memslots_destroy(struct hv_vm *vm);

#endif
