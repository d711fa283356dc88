/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslot lookup. Everything here runs inside an RCU read-side section, and
 * what it returns is good until that section ends.
 */
#include "hv/vm/memslot_internal.h"

#include "hv/base/rcu.h"

struct hv_memslots *hv_vm_memslots(struct hv_vm *vm, int as_id)
{
	HV_BUG_ON(as_id < 0 || as_id >= HV_ADDRESS_SPACE_NUM);
	HV_DEBUG_BUG_ON(!hv_rcu_read_held());
	return hv_rcu_dereference(vm->memslots[as_id]);
}

/*
 * Acquire pairs with the release in slots_settle(): who sees a generation without
 * the in-progress bit also sees what was done before it came into force.
 */
uint64_t hv_memslots_generation(const struct hv_memslots *slots)
{
	return atomic_load_explicit(&slots->generation, memory_order_acquire);
}

struct hv_memslot *memslot_find(struct hv_memslots *slots, hv_gfn_t gfn)
{
	return node_slot(slot_tree_find(slots->gfn_root, gfn));
}

struct hv_memslot *memslot_by_id(struct hv_memslots *slots, int id)
{
	struct slot_obj **leaf, *obj;

	if (id < 0 || id >= HV_MEM_SLOTS_MAX)
		return NULL;
	leaf = hv_rcu_dereference(slots->by_id[id / SLOT_ID_LEAF]);
	obj = leaf ? leaf[id % SLOT_ID_LEAF] : NULL;
	return obj ? &obj->slot : NULL;
}

/*
 * A generation, with its in-progress bit, names one content of the set, so the
 * cached pointer is good exactly while it stays the same. (The set is read
 * once: two reads might see two sets.)
 */
struct hv_memslot *hv_vcpu_gfn_to_memslot(struct hv_vcpu *vcpu, hv_gfn_t gfn)
{
	struct hv_memslots *slots = hv_vm_memslots(vcpu->vm, 0);
	uint64_t generation = hv_memslots_generation(slots);
	struct hv_memslot *slot = vcpu->last_slot;

	if (slot && vcpu->last_slot_generation == generation && gfn >= slot->base_gfn &&
	    gfn - slot->base_gfn < slot->npages)
		return slot;
	slot = memslot_find(slots, gfn);
	if (slot) {
		vcpu->last_slot = slot;
		vcpu->last_slot_generation = generation;
	}
	return slot;
}

struct hv_memslot *hv_vm_gfn_to_memslot(struct hv_vm *vm, hv_gfn_t gfn)
{
	return memslot_find(hv_vm_memslots(vm, 0), gfn);
}

unsigned int memslots_count(const struct hv_memslots *slots)
{
	return slots->count;
}

struct hv_memslot *memslot_first_from(struct hv_memslots *slots, hv_gfn_t gfn)
{
	return node_slot(slot_tree_first_from(slots->gfn_root, gfn));
}

struct hv_memslot *memslot_next(struct hv_memslots *slots, const struct hv_memslot *slot)
{
	return memslot_first_from(slots, slot->base_gfn + slot->npages);
}

struct hv_memslot *memslot_first_hva(struct hv_memslots *slots, hv_hva_t start, hv_hva_t end)
{
	if (start >= end)
		return NULL;
	return node_slot(slot_tree_overlap(slots->hva_root, NULL, start, end - 1));
}

struct hv_memslot *memslot_next_hva(struct hv_memslots *slots, const struct hv_memslot *slot,
				    hv_hva_t start, hv_hva_t end)
{
	const struct slot_obj *obj = container_of(slot, struct slot_obj, slot);
	const struct slot_node *prev = &obj->place->hva[slots->idx];

	return node_slot(slot_tree_overlap(slots->hva_root, prev, start, end - 1));
}
