/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host memory invalidation.
 *
 * A start counts itself in mn_active_invalidate_count before it looks at the
 * memslots, and the matching end takes itself off after it has looked at them.
 * New memslots are published only while the count is 0 (slots_publish() in
 * memslot_update.c, under the same mn_invalidate_lock), so start and end see the
 * same slots. That is what makes it safe to skip mmu_lock when no slot meets the
 * range: invalidate_in_progress is raised by both or by neither.
 *
 * Against a fault that runs meanwhile (all of it under mmu_lock but the first line):
 *
 *	fault: seq = vm_invalidate_seq()         start: in_progress++, range
 *	       look up hva, pfn                         zap, flush
 *	       mmu_lock                          [the host page goes]
 *	       vm_invalidate_retry(seq)? retry   end:   seq++, in_progress--
 *	       map
 *
 * A fault that read seq before an end finds another seq; one that read it later
 * looked its pfn up after the page had gone; one between start and end finds
 * in_progress.
 */
#include "hv/vm/notifier.h"

#include <errno.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/mem/region.h"

struct hv_vm_notifier {
	struct hv_mem_notifier base;
	struct hv_vm *vm;
};

/* What is to be done with the slots that a range of host memory meets. */
struct hva_walk {
	struct hv_vm *vm;
	hv_hva_t start, end;
	/* Once, when mmu_lock has been taken for the first slot; may be NULL. */
	void (*on_lock)(struct hv_vm *vm);
	/* For each slot, mmu_lock held for write; may be NULL. */
	bool (*handler)(struct hv_vm *vm, const struct hv_gfn_range *range);
	bool flush; /* TLBs, if a handler said true */
	bool try_lock;
	/* out */
	bool locked;
};

static void gfn_range_of(struct hv_gfn_range *out, struct hv_memslot *slot, hv_hva_t start,
			 hv_hva_t end)
{
	hv_hva_t slot_end = slot->userspace_addr + (slot->npages << HV_PAGE_SHIFT);
	hv_hva_t first = hv_max(start, slot->userspace_addr);
	hv_hva_t last = hv_min(end, slot_end) - 1;

	out->slot = slot;
	out->start = slot->base_gfn + ((first - slot->userspace_addr) >> HV_PAGE_SHIFT);
	out->end = slot->base_gfn + ((last - slot->userspace_addr) >> HV_PAGE_SHIFT) + 1;
}

static int walk_lock(struct hva_walk *w)
{
	if (w->locked)
		return 0;
	if (!w->try_lock)
		hv_write_lock(&w->vm->mmu_lock);
	else if (!hv_write_trylock(&w->vm->mmu_lock))
		return -EAGAIN;
	w->locked = true;
	if (w->on_lock)
		w->on_lock(w->vm);
	return 0;
}

static int walk_slots(struct hva_walk *w, int as_id, bool *any)
{
	struct hv_memslots *slots = hv_vm_memslots(w->vm, as_id);
	struct hv_memslot *slot;

	for (slot = memslot_first_hva(slots, w->start, w->end); slot;
	     slot = memslot_next_hva(slots, slot, w->start, w->end)) {
		struct hv_gfn_range range;
		int r = walk_lock(w);

		if (r)
			return r;
		if (!w->handler)
			return 0; /* on_lock was all */
		gfn_range_of(&range, slot, w->start, w->end);
		*any |= w->handler(w->vm, &range);
	}
	return 0;
}

/* True in *any if a handler said so. -EAGAIN (try_lock only): nothing was done. */
static int hva_walk(struct hva_walk *w, bool *any)
{
	int as_id, r = 0;

	*any = false;
	if (w->start >= w->end)
		return 0;
	hv_rcu_read_lock();
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM && !r; as_id++) {
		if (w->locked && !w->handler)
			break;
		r = walk_slots(w, as_id, any);
	}
	if (w->flush && *any)
		vm_flush_remote_tlbs(w->vm);
	if (w->locked)
		hv_write_unlock(&w->vm->mmu_lock);
	hv_rcu_read_unlock();
	return r;
}

/* ---- invalidation ---------------------------------------------------------------------- */

static void invalidate_begin(struct hv_vm *vm)
{
	hv_assert_held_write(&vm->mmu_lock);
	/*
	 * Written with mmu_lock held; relaxed atomics because faults look at them
	 * without it too (vm_invalidate_retry_unlocked).
	 */
	WRITE_ONCE(vm->invalidate_in_progress, vm->invalidate_in_progress + 1);
	if (vm->invalidate_in_progress == 1) {
		WRITE_ONCE(vm->invalidate_start, HV_INVALID_GPA);
		WRITE_ONCE(vm->invalidate_end, 0);
	}
}

/* The union of the ranges in progress; it shrinks only when none is left. */
static bool unmap_range(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	WRITE_ONCE(vm->invalidate_start, hv_min(vm->invalidate_start, range->start));
	WRITE_ONCE(vm->invalidate_end, hv_max(vm->invalidate_end, range->end));
	return vm->mmu_ops->unmap_gfn_range(vm, range);
}

static void invalidate_finish(struct hv_vm *vm)
{
	hv_assert_held_write(&vm->mmu_lock);
	HV_BUG_ON(!vm->invalidate_in_progress);
	/*
	 * The sequence first: who sees no invalidation in progress any more sees that
	 * there was one. Pairs with the acquire in vm_invalidate_retry_unlocked().
	 */
	hv_store_release(&vm->invalidate_seq, vm->invalidate_seq + 1);
	hv_store_release(&vm->invalidate_in_progress, vm->invalidate_in_progress - 1);
}

/* A start lets an update that waits go first, but not for longer than this. */
#define MN_STAND_BACK_NS (2 * HV_NSEC_PER_MSEC)

/*
 * The update waits for ends, so that a start could not wait for the update without a
 * limit: an end may have to come from a thread that waits for this start. A moment is
 * enough for those that are under way to end, unless they are longer than that.
 */
static void stand_back(struct hv_vm *vm)
{
	uint64_t until = hv_clock_ns() + MN_STAND_BACK_NS;

	while (vm->mn_update_waits)
		if (!hv_cond_wait_spin_until(&vm->mn_cond, &vm->mn_invalidate_lock, until))
			return;
}

static void active_inc(struct hv_vm *vm, const struct hv_mem_range *range)
{
	hv_spin_lock(&vm->mn_invalidate_lock);
	if (vm->mn_update_waits && range->blockable)
		stand_back(vm);
	vm->mn_active_invalidate_count++;
	hv_trace(mn_start, (uintptr_t)vm, range->start, range->end, vm->mn_active_invalidate_count);
	hv_spin_unlock(&vm->mn_invalidate_lock);
}

static void active_dec(struct hv_vm *vm, const struct hv_mem_range *range)
{
	hv_spin_lock(&vm->mn_invalidate_lock);
	HV_BUG_ON(!vm->mn_active_invalidate_count);
	vm->mn_active_invalidate_count--;
	hv_trace(mn_end, (uintptr_t)vm, range->start, range->end, vm->mn_active_invalidate_count);
	if (!vm->mn_active_invalidate_count)
		hv_cond_broadcast(&vm->mn_cond);
	hv_spin_unlock(&vm->mn_invalidate_lock);
}

int notifier_invalidate_start(struct hv_vm *vm, const struct hv_mem_range *range)
{
	struct hva_walk w = {
		.vm = vm,
		.start = range->start,
		.end = range->end,
		.on_lock = invalidate_begin,
		.handler = unmap_range,
		.flush = true,
		.try_lock = !range->blockable,
	};
	bool any;
	int r;

	active_inc(vm, range);
	r = hva_walk(&w, &any);
	if (r)
		active_dec(vm, range);
	return r;
}

void notifier_invalidate_end(struct hv_vm *vm, const struct hv_mem_range *range)
{
	struct hva_walk w = {
		.vm = vm,
		.start = range->start,
		.end = range->end,
		.on_lock = invalidate_finish,
	};
	bool any;

	hva_walk(&w, &any);
	active_dec(vm, range);
}

/* ---- the fault's side --------------------------------------------------------------------- */

/* Acquire: the pfn lookup that follows is not done before. Pairs with invalidate_finish(). */
unsigned long vm_invalidate_seq(struct hv_vm *vm)
{
	return hv_load_acquire(&vm->invalidate_seq);
}

bool vm_invalidate_retry_unlocked(struct hv_vm *vm, unsigned long seq, hv_gfn_t gfn)
{
	if (hv_load_acquire(&vm->invalidate_in_progress) &&
	    gfn >= READ_ONCE(vm->invalidate_start) && gfn < READ_ONCE(vm->invalidate_end))
		return true;
	return READ_ONCE(vm->invalidate_seq) != seq;
}

bool vm_invalidate_retry(struct hv_vm *vm, unsigned long seq, hv_gfn_t gfn)
{
	hv_assert_held(&vm->mmu_lock);
	return vm_invalidate_retry_unlocked(vm, seq, gfn);
}

/* ---- ageing ---------------------------------------------------------------------------------- */

static bool age(struct hv_vm *vm, hv_hva_t start, hv_hva_t end,
		bool (*handler)(struct hv_vm *, const struct hv_gfn_range *), bool flush)
{
	struct hva_walk w = {
		.vm = vm, .start = start, .end = end, .handler = handler, .flush = flush,
	};
	bool any;

	hva_walk(&w, &any);
	return any;
}

bool notifier_clear_flush_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end)
{
	return age(vm, start, end, vm->mmu_ops->age_gfn_range, true);
}

bool notifier_clear_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end)
{
	return age(vm, start, end, vm->mmu_ops->age_gfn_range, false);
}

bool notifier_test_young(struct hv_vm *vm, hv_hva_t start, hv_hva_t end)
{
	return age(vm, start, end, vm->mmu_ops->test_age_gfn_range, false);
}

/* ---- hv/mem's notifier ---------------------------------------------------------------------------- */

static struct hv_vm *vm_of(struct hv_mem_notifier *n)
{
	return container_of(n, struct hv_vm_notifier, base)->vm;
}

static int mem_invalidate_start(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	return notifier_invalidate_start(vm_of(n), range);
}

static void mem_invalidate_end(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	notifier_invalidate_end(vm_of(n), range);
}

static bool mem_clear_flush_young(struct hv_mem_notifier *n, uint64_t start, uint64_t end)
{
	return notifier_clear_flush_young(vm_of(n), start, end);
}

static bool mem_test_young(struct hv_mem_notifier *n, uint64_t start, uint64_t end)
{
	return notifier_test_young(vm_of(n), start, end);
}

static const struct hv_mem_notifier_ops mem_ops = {
	.invalidate_range_start = mem_invalidate_start,
	.invalidate_range_end = mem_invalidate_end,
	.clear_flush_young = mem_clear_flush_young,
	.test_young = mem_test_young,
};

int notifier_register(struct hv_vm *vm)
{
	struct hv_vm_notifier *n;

	if (!vm->mem)
		return 0;
	n = hv_zalloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->base.ops = &mem_ops;
	n->vm = vm;
	vm->notifier = n;
	hv_mem_register_notifier(vm->mem, &n->base);
	return 0;
}

void notifier_unregister(struct hv_vm *vm)
{
	if (!vm->notifier)
		return;
	hv_mem_unregister_notifier(vm->mem, &vm->notifier->base);
	hv_free(vm->notifier);
	vm->notifier = NULL;
}
