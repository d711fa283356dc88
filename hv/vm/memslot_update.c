/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memslot updates.
 *
 * One step from set A (active) to set B (memslot_internal.h says what they share):
 *
 *	slots_lock, slots_arch_lock
 *	change B: its version of the slot, its view of the trees
 *	slots_publish: B.generation = A.generation | IN_PROGRESS;
 *	               wait for mn_active_invalidate_count == 0; active = B
 *	drop slots_arch_lock
 *	slots_settle: grace period (nobody reads A); B.generation = the next one;
 *	              A's view of the trees is B's, nodes that B has replaced are free
 *	A's version of the slot is B's
 *
 * Nothing of that can fail: nodes for the trees are reserved before, and what the MMU and
 * the log need is allocated before. (Two sets through which the same slots run: Linux
 * 5.17. That they share what is in the trees keeps a set that becomes active from being
 * all new to the caches of those who look slots up.)
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

#define GPA_BITS_MAX 52
#define USER_FLAGS   (HV_MEM_LOG_DIRTY_PAGES | HV_MEM_READONLY)

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

static uint64_t host_page(const struct hv_memslot *slot)
{
	return slot->userspace_addr >> HV_PAGE_SHIFT;
}

/*
 * Make this the set's version of the slot; without pages: none. The trees hear of it if it
 * comes, goes or moves; its host memory stays the same all its life.
 */
static void set_change(struct hv_vm *vm, struct hv_memslots *set, struct slot_place *place,
		       const struct hv_memslot *new)
{
	struct hv_memslot *old = &place->version[set->idx];
	struct slot_pool *pool = &vm->slot_sets->pool;
	bool moves = old->base_gfn != new->base_gfn;

	if (old->npages && (!new->npages || moves))
		slot_tree_erase(pool, &set->gfn, old->base_gfn, old->id);
	if (new->npages && (!old->npages || moves))
		slot_tree_insert(pool, &set->gfn, new->base_gfn, new->base_gfn + new->npages - 1,
				 new->id);
	if (old->npages && !new->npages) {
		slot_tree_erase(pool, &set->hva, host_page(old), old->id);
		set->count--;
	} else if (new->npages && !old->npages) {
		slot_tree_insert(pool, &set->hva, host_page(new), host_page(new) + new->npages - 1,
				 new->id);
		set->count++;
	}
	*old = *new;
}

/* Nobody reads the former set any more: it becomes what the active one is, but for slots. */
static void set_catch_up(struct hv_vm *vm, unsigned int as_id)
{
	struct hv_memslots *from = set_active(vm, as_id), *to = set_inactive(vm, as_id);

	/* Written only where something changes: readers will have this set again. */
	if (to->count != from->count)
		to->count = from->count;
	if (to->gfn.root != from->gfn.root)
		to->gfn.root = from->gfn.root;
	if (to->hva.root != from->hva.root)
		to->hva.root = from->hva.root;
	slot_pool_settle(&vm->slot_sets->pool);
}

/* The same of one slot. */
static void place_catch_up(struct hv_vm *vm, unsigned int as_id, struct slot_place *place)
{
	unsigned int active = set_active(vm, as_id)->idx;

	place->version[!active] = place->version[active];
}

static struct slot_place *place_of(struct hv_vm *vm, unsigned int as_id, unsigned int id)
{
	struct slot_place *leaf = vm->slot_sets->table[as_id][id / SLOT_ID_LEAF];

	return leaf ? &leaf[id % SLOT_ID_LEAF] : NULL;
}

static struct hv_memslot *place_active(struct hv_vm *vm, unsigned int as_id,
				       struct slot_place *place)
{
	return &place->version[set_active(vm, as_id)->idx];
}

/* A place for an id, kept until the VM ends. -ENOMEM. */
static int place_reserve(struct hv_vm *vm, unsigned int as_id, unsigned int id)
{
	struct slot_place **slot = &vm->slot_sets->table[as_id][id / SLOT_ID_LEAF], *leaf = *slot;

	if (leaf)
		return 0;
	leaf = hv_zalloc_aligned(sizeof(*leaf), SLOT_ID_LEAF * sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	/* An empty leaf tells readers the same as no leaf. */
	hv_rcu_assign_pointer(*slot, leaf);
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
	set_catch_up(vm, as_id);
}

/* ---- one update ------------------------------------------------------------------------------ */

struct slot_update {
	struct hv_vm *vm;
	unsigned int as_id;
	enum hv_mr_change change;
	struct slot_place *place;
	struct hv_memslot old; /* before it all; CREATE: without pages */
	struct hv_memslot new; /* to be; DELETE: without pages */
};

static const struct hv_memslot *update_old(const struct slot_update *u)
{
	return u->change == HV_MR_CREATE ? NULL : &u->old;
}

static struct hv_memslot *update_new(struct slot_update *u)
{
	return u->change == HV_MR_DELETE ? NULL : &u->new;
}

static bool two_steps(const struct slot_update *u)
{
	return u->change == HV_MR_DELETE || u->change == HV_MR_MOVE;
}

/* The current version with INVALID or without it: the first step of two, or the way back. */
static void update_set_invalid(struct slot_update *u, uint32_t invalid)
{
	struct hv_vm *vm = u->vm;
	struct hv_memslot v;

	hv_mutex_lock(&vm->slots_arch_lock);
	v = *place_active(vm, u->as_id, u->place);
	v.flags = (v.flags & ~HV_MEMSLOT_INVALID) | invalid;
	set_change(vm, set_inactive(vm, u->as_id), u->place, &v);
	slots_publish(vm, u->as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, u->as_id);
	place_catch_up(vm, u->as_id, u->place);
}

/* What the new version takes over from the current one, read under slots_arch_lock. */
static void update_inherit(struct slot_update *u)
{
	const struct hv_memslot *current = place_active(u->vm, u->as_id, u->place);

	u->old.arch = current->arch;
	u->new.arch = u->change == HV_MR_DELETE ? NULL : current->arch;
}

static int update_install(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;
	int r;

	hv_mutex_lock(&vm->slots_arch_lock);
	update_inherit(u);
	r = vm->mmu_ops->slot_prepare(vm, update_old(u), update_new(u), u->change);
	if (r) {
#ifndef HV_MUTATE_ARCH_LOCK_LEAK
		hv_mutex_unlock(&vm->slots_arch_lock);
#endif
		return r;
	}
	set_change(vm, set_inactive(vm, u->as_id), u->place, &u->new);
	slots_publish(vm, u->as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, u->as_id);
	place_catch_up(vm, u->as_id, u->place);
	return 0;
}

/* No reader has the old version. */
static void update_finish(struct slot_update *u)
{
	struct hv_vm *vm = u->vm;
	const struct hv_memslot *new = update_new(u);

	vm->slot_sets->npages[u->as_id] += u->new.npages - u->old.npages;
	vm->mmu_ops->slot_commit(vm, update_old(u), new, u->change);
	if (u->old.arch && u->old.arch != u->new.arch)
		vm->mmu_ops->slot_free_arch(vm, u->old.arch);
	dirty_slot_free(&u->old, new);
}

/* slots_lock held. Takes what u->new has for the log. */
static int update_run(struct slot_update *u)
{
	int r;

	if (two_steps(u)) {
		update_set_invalid(u, HV_MEMSLOT_INVALID);
		/* Nobody maps anything from it any more, and what is mapped goes. */
		u->vm->mmu_ops->slot_flush(u->vm, place_active(u->vm, u->as_id, u->place));
	}
	r = update_install(u);
	if (!r) {
		update_finish(u);
		return 0;
	}
	if (two_steps(u))
		update_set_invalid(u, 0);
	dirty_slot_free(&u->new, update_old(u));
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
	/* Nor has any processor more address bits. */
	if (req->gpa + req->size < req->gpa || req->gpa + req->size > 1ULL << GPA_BITS_MAX)
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

/*
 * Of a slot among many, neither its versions nor its leaves of the trees are in the cache.
 * Ask for them early, not one after the other when they are needed.
 */
static void place_prefetch(struct hv_vm *vm, unsigned int as_id, unsigned int id)
{
	struct slot_place *leaf = hv_rcu_dereference(vm->slot_sets->table[as_id][id / SLOT_ID_LEAF]);

	if (leaf) {
		__builtin_prefetch(&leaf[id % SLOT_ID_LEAF].version[0]);
		__builtin_prefetch(&leaf[id % SLOT_ID_LEAF].version[1]);
	}
}

static void update_prefetch(const struct slot_update *u)
{
	const struct hv_memslots *set = set_active(u->vm, u->as_id);

	if (u->change == HV_MR_DELETE || u->change == HV_MR_MOVE)
		slot_tree_prefetch(&set->gfn, u->old.base_gfn, u->old.id);
	if (u->change == HV_MR_DELETE)
		slot_tree_prefetch(&set->hva, host_page(&u->old), u->old.id);
}

/* Where the slot is to come; and does another one meet it there? */
static bool overlaps(const struct hv_memslots *set, const struct hv_memory_region_req *req,
		     enum hv_mr_change change)
{
	hv_gfn_t first = req->gpa >> HV_PAGE_SHIFT, last = first + (req->size >> HV_PAGE_SHIFT) - 1;
	unsigned int id = req->slot & 0xffff;

	if (change != HV_MR_CREATE && change != HV_MR_MOVE)
		return false;
	slot_tree_prefetch(&set->gfn, first, id);
	if (change == HV_MR_CREATE)
		slot_tree_prefetch(&set->hva, req->userspace_addr >> HV_PAGE_SHIFT, id);
	return slot_tree_meets(&set->gfn, first, last, id);
}

/* Everything that the update allocates, but the MMU's part. -ENOMEM: nothing is left. */
static int update_alloc(struct slot_update *u, const struct hv_memory_region_req *req)
{
	unsigned int id = req->slot & 0xffff;
	struct hv_vm *vm = u->vm;
	const struct hv_memslots *set = set_active(vm, u->as_id);

	if (place_reserve(vm, u->as_id, id) ||
	    slot_pool_reserve(&vm->slot_sets->pool, &set->gfn,
			      u->change == HV_MR_MOVE ? &set->gfn : &set->hva))
		return -ENOMEM;
	u->place = place_of(vm, u->as_id, id);
	if (u->change == HV_MR_DELETE)
		return 0;
	u->new = (struct hv_memslot){
		.base_gfn = req->gpa >> HV_PAGE_SHIFT,
		.npages = req->size >> HV_PAGE_SHIFT,
		.userspace_addr = req->userspace_addr,
		.flags = req->flags | (vm->dirty->cursor_users ? HV_MEMSLOT_LOG_CURSOR : 0),
		.id = (uint16_t)id,
		.as_id = (uint16_t)u->as_id,
	};
	return dirty_slot_prepare(vm, update_old(u), &u->new, u->change);
}

/* slots_lock held. */
static int set_region_locked(struct hv_vm *vm, const struct hv_memory_region_req *req)
{
	struct slot_update u = { .vm = vm, .as_id = req->slot >> 16 };
	struct hv_memslots *slots = set_active(vm, u.as_id);
	unsigned int id = req->slot & 0xffff;
	struct hv_memslot *old = memslot_by_id(slots, (int)id);
	int r;

	if (old)
		u.old = *old;
	r = classify(vm, req, old, &u.change);
	if (r)
		return r == -ENOENT ? 0 : r;
	if (overlaps(slots, req, u.change))
		return -EEXIST;
	r = update_alloc(&u, req);
	if (!r) {
		update_prefetch(&u);
		r = update_run(&u);
	}
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
	place_prefetch(vm, as_id, req->slot & 0xffff); /* leaves of the table stay */
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
	struct hv_memslot *new; /* of each slot, address spaces one after the other */
	unsigned int count;
};

static void flags_free(struct flags_change *c)
{
	unsigned int i;

	for (i = 0; i < c->count; i++)
		dirty_slot_free(&c->new[i],
				memslot_by_id(set_active(c->vm, c->new[i].as_id), c->new[i].id));
	hv_free(c->new);
}

static int flags_alloc_one(struct flags_change *c, const struct hv_memslot *old)
{
	struct hv_memslot *new = &c->new[c->count];

	*new = *old;
	new->flags = (old->flags | c->set) & ~c->clear;
	if (dirty_slot_prepare(c->vm, old, new, HV_MR_FLAGS_ONLY))
		return -ENOMEM;
	c->count++;
	return 0;
}

static int flags_alloc(struct flags_change *c)
{
	unsigned int as_id, all = 1;
	struct hv_memslot *s;

	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++)
		all += set_active(c->vm, as_id)->count;
	c->new = hv_zalloc_aligned(sizeof(*c->new), all * sizeof(*c->new));
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

/* The new versions [first, end) of one address space, published at once. */
static void flags_install(struct flags_change *c, unsigned int as_id, unsigned int first,
			  unsigned int end)
{
	struct hv_vm *vm = c->vm;
	unsigned int i;

	hv_mutex_lock(&vm->slots_arch_lock);
	for (i = first; i < end; i++) {
		struct slot_place *place = place_of(vm, as_id, c->new[i].id);

		c->new[i].arch = place_active(vm, as_id, place)->arch;
		set_change(vm, set_inactive(vm, as_id), place, &c->new[i]);
	}
	slots_publish(vm, as_id);
	hv_mutex_unlock(&vm->slots_arch_lock);
	slots_settle(vm, as_id);
	for (i = first; i < end; i++) {
		struct slot_place *place = place_of(vm, as_id, c->new[i].id);
		struct hv_memslot old = place->version[set_inactive(vm, as_id)->idx];

		place_catch_up(vm, as_id, place);
		vm->mmu_ops->slot_commit(vm, &old, &c->new[i], HV_MR_FLAGS_ONLY);
		dirty_slot_free(&old, &c->new[i]);
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

	vm->slot_sets = hv_zalloc_aligned(64, sizeof(*vm->slot_sets));
	if (!vm->slot_sets)
		return -ENOMEM;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		for (i = 0; i < 2; i++) {
			struct hv_memslots *set = &vm->slot_sets->set[as_id][i];

			set->idx = i;
			set->gfn.view = i;
			set->hva.view = i;
			set->as_id = as_id;
			set->table = vm->slot_sets->table[as_id];
			atomic_init(&set->generation, as_id);
		}
		hv_rcu_assign_pointer(vm->memslots[as_id], &vm->slot_sets->set[as_id][0]);
	}
	return 0;
}

static void slots_free_all(struct hv_vm *vm, struct hv_memslots *set)
{
	struct hv_memslot *s;

	for (s = memslot_first_from(set, 0); s; s = memslot_next(set, s)) {
		if (s->arch)
			vm->mmu_ops->slot_free_arch(vm, s->arch);
		dirty_slot_free(s, NULL);
	}
}

void memslots_destroy(struct hv_vm *vm)
{
	unsigned int as_id, leaf;

	if (!vm->slot_sets)
		return;
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		slots_free_all(vm, vm->memslots[as_id]);
		for (leaf = 0; leaf < SLOT_ID_LEAVES; leaf++)
			hv_free(vm->slot_sets->table[as_id][leaf]);
		vm->memslots[as_id] = NULL;
	}
	slot_pool_destroy(&vm->slot_sets->pool);
	hv_free(vm->slot_sets);
	vm->slot_sets = NULL;
}
