/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslot updates.
 *
 * Why two sets and not a persistent tree: both make an update O(log n). A
 * persistent tree copies the path to each changed node, in three indices, so an
 * update allocates some 3 log n nodes, each of which can fail, and each of which
 * has to be freed after a grace period. Two alternating sets run through the
 * same places; an update allocates the object of the new slot (CREATE its place,
 * too) and, for DELETE and MOVE, of the invalid one, and nothing after that can
 * fail but what the MMU prepares. Lookups walk nodes that stay where they are; what
 * changes flags only touches no tree. The price is
 * that every change is made twice, the second time after the grace period, which
 * the update has to wait for anyway. (Linux 5.17 went the same way.)
 *
 * One step from set A (active) to set B:
 *
 *	slots_lock, slots_arch_lock
 *	change B: insert, erase or replace one slot object
 *	slots_publish: B.generation = A.generation | IN_PROGRESS;
 *	               wait for mn_active_invalidate_count == 0; active = B
 *	drop slots_arch_lock
 *	slots_settle: grace period (nobody reads A); B.generation = the next one
 *	change A in the same way
 *
 * slots_arch_lock covers all from the reading of the current slots to the
 * publication, because who holds it (in a read-side section, to allocate rmaps)
 * relies on the slots it sees being the ones that a new set is made of. Each
 * function below that takes it releases it, on every path.
 *
 * DELETE and MOVE take two steps: first the slot is replaced by a copy that is
 * INVALID, and when nobody uses the old one any more its translations are
 * dropped; then it goes, or comes back at its new place, or, if that fails, as it
 * was. The second step starts from the current slots again.
 */
#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/vm/dirty_internal.h"
#include "hv/vm/memslot_internal.h"

#define USER_FLAGS (HV_MEM_LOG_DIRTY_PAGES | HV_MEM_READONLY)

/* ---- sets: slots_lock held, the set is not active ------------------------------------------ */

static struct hv_memslots *set_active(struct hv_vm *vm, unsigned int as_id)
{
	return hv_rcu_dereference_protected(vm->memslots[as_id], &vm->slots_lock);
}

static struct hv_memslots *set_inactive(struct hv_vm *vm, unsigned int as_id)
{
	unsigned int active = set_active(vm, as_id)->idx;

	return &vm->slot_sets->set[as_id][!active];
}

static void set_insert_gfn(struct hv_memslots *set, struct slot_obj *obj)
{
	struct slot_node *n = &obj->place->gfn[set->idx];

	n->start = obj->slot.base_gfn;
	n->last = obj->slot.base_gfn + obj->slot.npages - 1;
	n->id = obj->slot.id;
	n->owner = obj;
	slot_tree_insert(&set->gfn_root, n);
}

static void set_insert_hva(struct hv_memslots *set, struct slot_obj *obj)
{
	struct slot_node *n = &obj->place->hva[set->idx];

	n->start = obj->slot.userspace_addr;
	n->last = obj->slot.userspace_addr + (obj->slot.npages << HV_PAGE_SHIFT) - 1;
	n->id = obj->slot.id;
	n->owner = obj;
	slot_tree_insert(&set->hva_root, n);
}

/* The leaf was allocated by set_reserve_id(). */
static void set_put_id(struct hv_memslots *set, unsigned int id, struct slot_obj *obj)
{
	set->by_id[id / SLOT_ID_LEAF][id % SLOT_ID_LEAF] = obj;
}

static void set_insert(struct hv_memslots *set, struct slot_obj *obj)
{
	set_insert_gfn(set, obj);
	set_insert_hva(set, obj);
	set_put_id(set, obj->slot.id, obj);
	set->count++;
}

static void set_erase(struct hv_memslots *set, struct slot_obj *obj)
{
	slot_tree_erase(&set->gfn_root, &obj->place->gfn[set->idx]);
	slot_tree_erase(&set->hva_root, &obj->place->hva[set->idx]);
	set_put_id(set, obj->slot.id, NULL);
	set->count--;
}

/* The same slot, perhaps elsewhere in the guest; its host memory is the same. */
static void set_replace(struct hv_memslots *set, struct slot_obj *old, struct slot_obj *new)
{
	struct slot_place *place = old->place;
	unsigned int i = set->idx;

	HV_BUG_ON(new->place != place);
	if (old->slot.base_gfn == new->slot.base_gfn) {
		place->gfn[i].owner = new;
	} else {
		slot_tree_erase(&set->gfn_root, &place->gfn[i]);
		set_insert_gfn(set, new);
	}
	place->hva[i].owner = new;
	set_put_id(set, new->slot.id, new);
}

static void set_change(struct hv_memslots *set, struct slot_obj *old, struct slot_obj *new)
{
	if (!old)
		set_insert(set, new);
	else if (!new)
		set_erase(set, old);
	else
		set_replace(set, old, new);
}

/* Room for an id in both sets of an address space, kept until the VM ends. -ENOMEM. */
static int set_reserve_id(struct hv_vm *vm, unsigned int as_id, unsigned int id)
{
	unsigned int i, leaf = id / SLOT_ID_LEAF;

	for (i = 0; i < 2; i++) {
		struct hv_memslots *set = &vm->slot_sets->set[as_id][i];
		struct slot_obj **entries;

		if (set->by_id[leaf])
			continue;
		entries = hv_calloc(SLOT_ID_LEAF, sizeof(struct slot_obj *));
		if (!entries)
			return -ENOMEM;
		/* An empty leaf tells readers of an active set the same as no leaf. */
		hv_rcu_assign_pointer(set->by_id[leaf], entries);
	}
	return 0;
}

/* ---- publication ---------------------------------------------------------------------------- */

/*
 * Until no invalidation is between its start and its end. Starts that come meanwhile
 * stand back for a moment (active_inc() in notifier.c), or a stream of invalidations that
 * overlap could keep the count from ever being seen at 0.
 */
static void mn_wait_for_quiet(struct hv_vm *vm)
{
#ifdef HV_MUTATE_MN_WAIT
	return;
#endif
	if (!vm->mn_active_invalidate_count)
		return;
#ifndef HV_MUTATE_MN_IMPOLITE
	vm->mn_update_waits = true; /* slots_lock: there is no other */
#endif
	while (vm->mn_active_invalidate_count)
		hv_cond_wait_spin(&vm->mn_cond, &vm->mn_invalidate_lock);
	vm->mn_update_waits = false;
	hv_cond_broadcast(&vm->mn_cond);
}

/*
 * Make the prepared set the active one. slots_lock and slots_arch_lock held; sleeps
 * until no invalidation is between its start and its end (notifier.c).
 */
static void slots_publish(struct hv_vm *vm, unsigned int as_id)
{
	struct hv_memslots *set = set_inactive(vm, as_id);
	uint64_t generation = hv_memslots_generation(set_active(vm, as_id));

	hv_assert_held(&vm->slots_arch_lock);
	HV_BUG_ON(generation & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS);
#ifdef HV_MUTATE_GENERATION_WINDOW
	/* No window in which nothing is cached: the new generation with the new slots. */
	generation += HV_ADDRESS_SPACE_NUM;
#else
	generation |= HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS;
#endif
	atomic_store_explicit(&set->generation, generation, memory_order_relaxed);

	hv_spin_lock(&vm->mn_invalidate_lock);
	mn_wait_for_quiet(vm);
	/* Readers may still see the former set until slots_settle() has waited for them. */
	hv_rcu_assign_pointer(vm->memslots[as_id], set);
	hv_spin_unlock(&vm->mn_invalidate_lock);
	hv_trace(memslot_publish, (uintptr_t)vm, as_id, generation);
}

/*
 * Wait until every reader has the published set, then let its generation be in
 * force. slots_lock held, slots_arch_lock not. Address spaces start at their own
 * number and count in steps of HV_ADDRESS_SPACE_NUM, so they never share a value.
 */
static void slots_settle(struct hv_vm *vm, unsigned int as_id)
{
	struct hv_memslots *set = set_active(vm, as_id);
	uint64_t generation;

	hv_assert_not_held(&vm->slots_arch_lock);
	hv_synchronize_rcu();
#ifdef HV_MUTATE_GENERATION_WINDOW
	generation = hv_memslots_generation(set);
#else
	generation = hv_memslots_generation(set) & ~HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS;
	generation += HV_ADDRESS_SPACE_NUM;
#endif
	/* What depends on the generation is put right while nothing is cached yet. */
	vm->mmu_ops->generation_changed(vm, generation);
	atomic_store_explicit(&set->generation, generation, memory_order_release);
}

/* ---- one update ------------------------------------------------------------------------------ */

struct slot_update {
	/* in */
	struct hv_vm *vm;
	unsigned int as_id;
	enum hv_mr_change change;
	struct slot_obj *old; /* NULL: CREATE */
	struct slot_obj *new; /* NULL: DELETE */
	/* DELETE and MOVE */
	struct slot_obj *invalid;
};

/* Frees a version; its place too, unless it is that of `former`. NULL: nothing. */
static void slot_obj_free(struct slot_obj *obj, const struct slot_obj *former)
{
	if (obj && !former)
		hv_free(obj->place);
	hv_free(obj);
}

static const struct hv_memslot *slot_or_null(const struct slot_obj *obj)
{
	return obj ? &obj->slot : NULL;
}

static bool two_steps(const struct slot_update *u)
{
	return u->change == HV_MR_DELETE || u->change == HV_MR_MOVE;
}

/*
 * First step of DELETE and MOVE. Afterwards the set that is not active still has
 * the old slot: the second step changes that one, and the catch-up after it
 * replaces the invalid slot.
 */
static void update_invalidate(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;

	hv_mutex_lock(&vm->slots_arch_lock);
	u->invalid->slot = u->old->slot;
	u->invalid->slot.flags |= HV_MEMSLOT_INVALID;
	set_change(set_inactive(vm, u->as_id), u->old, u->invalid);
	slots_publish(vm, u->as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, u->as_id);
	/* Nobody maps anything from it any more, and what is mapped goes. */
	vm->mmu_ops->slot_flush(vm, &u->invalid->slot);
}

/* The second step cannot be done: publish the old slot as it was. */
static void update_restore(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;

	hv_mutex_lock(&vm->slots_arch_lock);
	/* Its arch part may have changed while the invalid copy was the current one. */
	u->old->slot.arch = u->invalid->slot.arch;
	slots_publish(vm, u->as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, u->as_id);
	set_change(set_inactive(vm, u->as_id), u->invalid, u->old);
}

/* What the new slot takes over from the current one, read under slots_arch_lock. */
static void update_inherit(struct slot_update *u)
{
	const struct slot_obj *current = u->invalid ? u->invalid : u->old;

	if (current && u->invalid)
		u->old->slot.arch = current->slot.arch;
	if (u->new)
		u->new->slot.arch = current ? current->slot.arch : NULL;
}

static int update_install(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;
	struct hv_memslots *set = set_inactive(vm, u->as_id);
	int r;

	hv_mutex_lock(&vm->slots_arch_lock);
	update_inherit(u);
	r = vm->mmu_ops->slot_prepare(vm, slot_or_null(u->old), u->new ? &u->new->slot : NULL,
				      u->change);
	if (r) {
#ifndef HV_MUTATE_ARCH_LOCK_LEAK
		hv_mutex_unlock(&vm->slots_arch_lock);
#endif
		return r;
	}
	set_change(set, u->old, u->new);
	slots_publish(vm, u->as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, u->as_id);
	set_change(set_inactive(vm, u->as_id), u->invalid ? u->invalid : u->old, u->new);
	return 0;
}

/* No reader has the old slot. */
static void update_finish(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;
	const struct hv_memslot *new = slot_or_null(u->new);

	vm->slot_sets->npages[u->as_id] += new ? new->npages : 0;
	vm->slot_sets->npages[u->as_id] -= u->old ? u->old->slot.npages : 0;
	vm->mmu_ops->slot_commit(vm, slot_or_null(u->old), new, u->change);
	if (!u->old)
		return;
	if (u->old->slot.arch && (!new || new->arch != u->old->slot.arch))
		vm->mmu_ops->slot_free_arch(vm, u->old->slot.arch);
	dirty_slot_free(&u->old->slot, new);
	if (!new)
		hv_free(u->old->place);
	hv_free(u->old);
	u->old = NULL;
}

/* slots_lock held. Takes u->new and u->invalid, on success u->old too. */
static int update_run(struct slot_update *u)
{
	int r;

	if (two_steps(u))
		update_invalidate(u);
	r = update_install(u);
	if (!r) {
		update_finish(u);
	} else {
		if (u->invalid)
			update_restore(u);
		if (u->new) {
			dirty_slot_free(&u->new->slot, slot_or_null(u->old));
			slot_obj_free(u->new, u->old);
		}
	}
	hv_free(u->invalid);
	return r;
}

/* ---- checks and allocation: nothing has changed yet ------------------------------------------ */

static int req_check(const struct hv_memory_region_req *req)
{
	uint64_t user_end = req->userspace_addr + req->size;

	if (req->flags & ~USER_FLAGS)
		return -EINVAL;
	if ((req->size | req->gpa | req->userspace_addr) & ~HV_PAGE_MASK)
		return -EINVAL;
	/* Canonical user addresses; the top page is never anyone's. */
	if (user_end < req->userspace_addr || user_end > (1ULL << 47) - HV_PAGE_SIZE)
		return -EINVAL;
	if (req->slot >> 16 >= HV_ADDRESS_SPACE_NUM || (req->slot & 0xffff) >= HV_MEM_SLOTS_MAX)
		return -EINVAL;
	if (req->gpa + req->size < req->gpa)
		return -EINVAL;
	return req->size >> HV_PAGE_SHIFT > HV_MEM_MAX_NR_PAGES ? -EINVAL : 0;
}

/* slots_lock held. -ENOENT: nothing to do. */
static int classify(struct hv_vm *vm, const struct hv_memory_region_req *req,
		    const struct hv_memslot *old, enum hv_mr_change *change)
{
	uint64_t npages = req->size >> HV_PAGE_SHIFT;

	if (!npages) {
		*change = HV_MR_DELETE;
		return old ? 0 : -EINVAL;
	}
	if (!old) {
		uint64_t all = vm->slot_sets->npages[req->slot >> 16];

		*change = HV_MR_CREATE;
		return all + npages < all ? -EINVAL : 0;
	}
	if (req->userspace_addr != old->userspace_addr || npages != old->npages ||
	    (req->flags ^ old->flags) & HV_MEM_READONLY)
		return -EINVAL;
	if (req->gpa >> HV_PAGE_SHIFT != old->base_gfn)
		*change = HV_MR_MOVE;
	else if ((req->flags ^ old->flags) & USER_FLAGS)
		*change = HV_MR_FLAGS_ONLY;
	else
		return -ENOENT;
	return 0;
}

static bool overlaps(struct hv_memslots *slots, unsigned int id, hv_gfn_t start, uint64_t npages)
{
	struct hv_memslot *s;

	for (s = memslot_first_from(slots, start); s && s->base_gfn < start + npages;
	     s = memslot_next(slots, s))
		if (s->id != id)
			return true;
	return false;
}

/* Another version of a slot, at its place; or at a place of its own, without a former one. */
static struct slot_obj *slot_obj_alloc(const struct slot_obj *former)
{
	struct slot_obj *obj = hv_zalloc(sizeof(*obj));

	if (!obj)
		return NULL;
	obj->place = former ? former->place : hv_zalloc_aligned(128, sizeof(*obj->place));
	if (!obj->place) {
		hv_free(obj);
		return NULL;
	}
	return obj;
}

/* Everything that the update allocates, but the MMU's part. -ENOMEM: nothing is left. */
static int update_alloc(struct slot_update *u, const struct hv_memory_region_req *req)
{
	unsigned int id = req->slot & 0xffff;
	struct hv_memslot *s;

	if (two_steps(u)) {
		u->invalid = slot_obj_alloc(u->old);
		if (!u->invalid)
			return -ENOMEM;
	}
	if (u->change == HV_MR_DELETE)
		return 0;
	u->new = slot_obj_alloc(u->old);
	if (!u->new || set_reserve_id(u->vm, u->as_id, id))
		goto nomem;
	s = &u->new->slot;
	s->base_gfn = req->gpa >> HV_PAGE_SHIFT;
	s->npages = req->size >> HV_PAGE_SHIFT;
	s->userspace_addr = req->userspace_addr;
	s->flags = req->flags;
	if (u->vm->dirty->cursor_users)
		s->flags |= HV_MEMSLOT_LOG_CURSOR;
	s->id = (uint16_t)id;
	s->as_id = (uint16_t)u->as_id;
	if (dirty_slot_prepare(u->vm, slot_or_null(u->old), s, u->change))
		goto nomem;
	return 0;

nomem:
	slot_obj_free(u->new, u->old);
	hv_free(u->invalid);
	return -ENOMEM;
}

/* slots_lock held. */
static int set_region_locked(struct hv_vm *vm, const struct hv_memory_region_req *req)
{
	struct slot_update u = { .vm = vm, .as_id = req->slot >> 16 };
	struct hv_memslots *slots = set_active(vm, u.as_id);
	unsigned int id = req->slot & 0xffff;
	struct hv_memslot *old = memslot_by_id(slots, (int)id);
	int r;

	u.old = old ? slot_obj_of(old) : NULL;
	r = classify(vm, req, old, &u.change);
	if (r)
		return r == -ENOENT ? 0 : r;
	if ((u.change == HV_MR_CREATE || u.change == HV_MR_MOVE) &&
	    overlaps(slots, id, req->gpa >> HV_PAGE_SHIFT, req->size >> HV_PAGE_SHIFT))
		return -EEXIST;
	r = update_alloc(&u, req);
	if (!r)
		r = update_run(&u);
	hv_trace(memslot_update, (uintptr_t)vm, u.as_id, id, u.change, r);
	return r;
}

int memslot_set_region(struct hv_vm *vm, struct hv_memory_region_req *req)
{
	unsigned int as_id = req->slot >> 16;
	uint64_t before;
	int r = req_check(req);

	if (r)
		return r;
	hv_mutex_lock(&vm->slots_lock);
	before = hv_memslots_generation(set_active(vm, as_id));
	r = set_region_locked(vm, req);
	if (!r) {
		req->generation_before = before;
		req->generation_after = hv_memslots_generation(set_active(vm, as_id));
	}
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

/* ---- flags of all slots ------------------------------------------------------------------------- */

struct flags_change {
	struct hv_vm *vm;
	uint32_t set, clear;
	struct slot_obj **new; /* of each slot, address spaces one after the other */
	unsigned int count;
};

static void flags_free(struct flags_change *c)
{
	unsigned int i;

	for (i = 0; i < c->count; i++) {
		struct hv_memslot *new = &c->new[i]->slot;

		dirty_slot_free(new, memslot_by_id(set_active(c->vm, new->as_id), new->id));
		hv_free(c->new[i]);
	}
	hv_free(c->new);
}

static int flags_alloc_one(struct flags_change *c, struct hv_memslot *old)
{
	struct slot_obj *obj = slot_obj_alloc(slot_obj_of(old));

	if (!obj)
		return -ENOMEM;
	obj->slot = *old;
	obj->slot.flags = (old->flags | c->set) & ~c->clear;
	if (dirty_slot_prepare(c->vm, old, &obj->slot, HV_MR_FLAGS_ONLY)) {
		hv_free(obj);
		return -ENOMEM;
	}
	c->new[c->count++] = obj;
	return 0;
}

static int flags_alloc(struct flags_change *c)
{
	unsigned int as_id, all = 1;
	struct hv_memslot *s;

	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++)
		all += set_active(c->vm, as_id)->count;
	c->new = hv_calloc(all, sizeof(struct slot_obj *));
	if (!c->new)
		return -ENOMEM;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		struct hv_memslots *slots = set_active(c->vm, as_id);

		for (s = memslot_first_from(slots, 0); s; s = memslot_next(slots, s)) {
			if (flags_alloc_one(c, s)) {
				flags_free(c);
				return -ENOMEM;
			}
		}
	}
	return 0;
}

/* The new slots [first, end) of one address space, published at once. */
static void flags_install(struct flags_change *c, unsigned int as_id, unsigned int first,
			  unsigned int end)
{
	struct hv_vm *vm = c->vm;
	struct hv_memslots *set = set_inactive(vm, as_id);
	unsigned int i;

	hv_mutex_lock(&vm->slots_arch_lock);
	for (i = first; i < end; i++) {
		struct hv_memslot *old = memslot_by_id(set, c->new[i]->slot.id);

		c->new[i]->slot.arch = old->arch;
		set_change(set, slot_obj_of(old), c->new[i]);
	}
	slots_publish(vm, as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, as_id);
	set = set_inactive(vm, as_id);
	for (i = first; i < end; i++) {
		struct slot_obj *old = slot_obj_of(memslot_by_id(set, c->new[i]->slot.id));

		set_change(set, old, c->new[i]);
		vm->mmu_ops->slot_commit(vm, &old->slot, &c->new[i]->slot, HV_MR_FLAGS_ONLY);
		dirty_slot_free(&old->slot, &c->new[i]->slot);
		hv_free(old);
	}
}

int memslot_change_flags_all(struct hv_vm *vm, uint32_t set, uint32_t clear)
{
	struct flags_change c = { .vm = vm, .set = set, .clear = clear };
	unsigned int as_id, first = 0;
	int r;

	hv_assert_held(&vm->slots_lock);
	r = flags_alloc(&c);
	if (r)
		return r;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		unsigned int n = set_active(vm, as_id)->count;

		if (n)
			flags_install(&c, as_id, first, first + n);
		first += n;
	}
	hv_free(c.new);
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------------ */

int memslots_create(struct hv_vm *vm)
{
	unsigned int as_id, i;

	vm->slot_sets = hv_zalloc(sizeof(*vm->slot_sets));
	if (!vm->slot_sets)
		return -ENOMEM;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		for (i = 0; i < 2; i++) {
			struct hv_memslots *set = &vm->slot_sets->set[as_id][i];

			set->idx = i;
			set->as_id = as_id;
			atomic_init(&set->generation, as_id);
		}
		hv_rcu_assign_pointer(vm->memslots[as_id], &vm->slot_sets->set[as_id][0]);
	}
	return 0;
}

static void slots_free_all(struct hv_vm *vm, struct hv_memslots *set)
{
	unsigned int leaf, i;

	for (leaf = 0; leaf < SLOT_ID_LEAVES; leaf++) {
		for (i = 0; set->by_id[leaf] && i < SLOT_ID_LEAF; i++) {
			struct slot_obj *obj = set->by_id[leaf][i];

			if (!obj)
				continue;
			if (obj->slot.arch)
				vm->mmu_ops->slot_free_arch(vm, obj->slot.arch);
			dirty_slot_free(&obj->slot, NULL);
			slot_obj_free(obj, NULL);
		}
	}
}

void memslots_destroy(struct hv_vm *vm)
{
	unsigned int as_id, leaf, i;

	if (!vm->slot_sets)
		return;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		slots_free_all(vm, vm->memslots[as_id]);
		for (i = 0; i < 2; i++)
			for (leaf = 0; leaf < SLOT_ID_LEAVES; leaf++)
				hv_free(vm->slot_sets->set[as_id][i].by_id[leaf]);
		vm->memslots[as_id] = NULL;
	}
	hv_free(vm->slot_sets);
	vm->slot_sets = NULL;
}
