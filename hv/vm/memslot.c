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

/* The version that a set has of a slot which is in its trees. */
static struct hv_memslot *slot_of_id(struct hv_memslots *slots, int id)
{
	struct slot_place *leaf;

	if (id < 0)
		return NULL;
	leaf = hv_rcu_dereference(slots->table[id / SLOT_ID_LEAF]);
	return &leaf[id % SLOT_ID_LEAF].version[slots->idx];
}

struct hv_memslot *memslot_find(struct hv_memslots *slots, hv_gfn_t gfn)
{
	return slot_of_id(slots, slot_tree_find(&slots->gfn, gfn));
}

struct hv_memslot *memslot_by_id(struct hv_memslots *slots, int id)
{
	struct hv_memslot *slot;

	if (id < 0 || id >= HV_MEM_SLOTS_MAX || !hv_rcu_dereference(slots->table[id / SLOT_ID_LEAF]))
		return NULL;
	slot = slot_of_id(slots, id);
	return slot->npages ? slot : NULL;
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
	return slot_of_id(slots, slot_tree_first_from(&slots->gfn, gfn));
}

struct hv_memslot *memslot_next(struct hv_memslots *slots, const struct hv_memslot *slot)
{
	return memslot_first_from(slots, slot->base_gfn + slot->npages);
}

static struct hv_memslot *hva_from(struct hv_memslots *slots, uint64_t from, hv_hva_t start,
				   hv_hva_t end)
{
	if (start >= end)
		return NULL;
	return slot_of_id(slots, slot_tree_overlap(&slots->hva, from, start >> HV_PAGE_SHIFT,
						   (end - 1) >> HV_PAGE_SHIFT));
}

struct hv_memslot *memslot_first_hva(struct hv_memslots *slots, hv_hva_t start, hv_hva_t end)
{
	return hva_from(slots, 0, start, end);
}

struct hv_memslot *memslot_next_hva(struct hv_memslots *slots, const struct hv_memslot *slot,
				    hv_hva_t start, hv_hva_t end)
{
	return hva_from(slots, slot_key(slot->userspace_addr >> HV_PAGE_SHIFT, slot->id) + 1, start,
			end);
}
