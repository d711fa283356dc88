/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the engine shows of a VM's memory: cursors of the dirty log, guest memory,
 * working set, MMU.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/engine/hv_engine.h"
#include "hv/mmu/mmu.h"
#include "hv/vm/dirty.h"

/* ---- dirty log with cursors ---------------------------------------------------------------------- */

int hv_dirtylog_start(struct hv_vm *vm, uint64_t *cursor)
{
	return vm && cursor ? dirty_cursor_start(vm, cursor) : -EINVAL;
}

int hv_dirtylog_stop(struct hv_vm *vm)
{
	return vm ? dirty_cursor_stop(vm) : -EINVAL;
}

int hv_dirtylog_read(struct hv_vm *vm, uint64_t since, uint64_t *cursor, uint64_t *resume_gpa,
		     struct hv_dirty_range *out, unsigned int max)
{
	if (!vm || !cursor || !resume_gpa || !out)
		return -EINVAL;
	return dirty_cursor_read(vm, since, cursor, resume_gpa, out, max);
}

int hv_dirtylog_clear(struct hv_vm *vm, uint64_t gpa, uint64_t pages)
{
	return vm ? dirty_cursor_clear(vm, gpa, pages) : -EINVAL;
}

int hv_dirtyrate(struct hv_vm *vm, unsigned int ms, double *total, double *per_vcpu,
		 unsigned int max_vcpus)
{
	if (!vm || !total || (max_vcpus && !per_vcpu) || !ms)
		return -EINVAL;
	return dirty_rate_measure(vm, ms, total, per_vcpu, max_vcpus);
}

/* ---- guest memory ------------------------------------------------------------------------------------ */

static bool range_valid(uint64_t gpa, uint64_t len)
{
	return len && gpa + len > gpa;
}

int hv_memory_read(struct hv_vm *vm, uint64_t gpa, void *buf, uint64_t len)
{
	if (!vm || !buf || !range_valid(gpa, len))
		return -EINVAL;
	return vm_read_guest(vm, gpa, buf, len);
}

/* All of it, so that a write which fails has changed nothing. */
static bool range_writable(struct hv_vm *vm, uint64_t gpa, uint64_t len)
{
	bool all = true;

	hv_rcu_read_lock();
	while (len && all) {
		uint64_t n = len;

		all = vm_guest_ptr(vm, gpa, &n, HV_GUEST_WRITE);
		gpa += n;
		len -= n;
	}
	hv_rcu_read_unlock();
	return all;
}

int hv_memory_write(struct hv_vm *vm, uint64_t gpa, const void *buf, uint64_t len)
{
	if (!vm || !buf || !range_valid(gpa, len))
		return -EINVAL;
	if (!range_writable(vm, gpa, len))
		return -EFAULT;
	return vm_write_guest(vm, gpa, buf, len);
}

/* The piece of [gpa, gpa + *len) that lies in one slot; -EFAULT: no memory there. */
static int slot_piece(struct hv_vm *vm, uint64_t gpa, uint64_t *len, uint64_t *hva)
{
	struct hv_memslot *slot;
	uint64_t end;
	int r = -EFAULT;

	hv_rcu_read_lock();
	slot = hv_vm_gfn_to_memslot(vm, gpa >> HV_PAGE_SHIFT);
	if (memslot_visible(slot)) {
		end = (slot->base_gfn + slot->npages) << HV_PAGE_SHIFT;
		if (*len > end - gpa)
			*len = end - gpa;
		*hva = memslot_gfn_to_hva(slot, gpa >> HV_PAGE_SHIFT);
		r = 0;
	}
	hv_rcu_read_unlock();
	return r;
}

typedef int (*piece_fn)(struct hv_region *region, uint64_t offset, uint64_t len,
			const struct hv_backing *backing);

/* The region of the piece at gpa, to be put; *len is cut. -EFAULT, or not the engine's memory. */
static int piece_get(struct hv_vm *vm, uint64_t gpa, uint64_t *len, uint64_t *hva,
		     struct hv_region **region)
{
	int r = slot_piece(vm, gpa, len, hva);

	if (r)
		return r;
	*region = engine_region_get(vm, *hva, *len);
	return *region ? 0 : -EOPNOTSUPP;
}

static int pieces_run(struct hv_vm *vm, uint64_t gpa, uint64_t len, piece_fn fn,
		      const struct hv_backing *backing)
{
	while (len) {
		struct hv_region *region;
		uint64_t piece = len, hva = 0;
		int r = piece_get(vm, gpa, &piece, &hva, &region);

		if (r)
			return r;
		if (fn)
			r = fn(region, hva - hv_region_hva(region), piece, backing);
		engine_region_put(vm, region);
		if (r)
			return r;
		gpa += piece;
		len -= piece;
	}
	return 0;
}

/*
 * For each piece of guest memory, if all of it is there: else -EINVAL, -EFAULT, -EOPNOTSUPP (not
 * the engine's memory), and nothing is done.
 */
static int for_each_piece(struct hv_vm *vm, uint64_t gpa, uint64_t len, piece_fn fn,
			  const struct hv_backing *backing)
{
	int r;

	if (!vm || !range_valid(gpa, len) || (gpa | len) % HV_PAGE_SIZE)
		return -EINVAL;
	r = pieces_run(vm, gpa, len, NULL, NULL);
	return r ? r : pieces_run(vm, gpa, len, fn, backing);
}

static int discard_piece(struct hv_region *region, uint64_t offset, uint64_t len,
			 const struct hv_backing *backing)
{
	return hv_region_discard(region, offset, len);
}

static int pageout_piece(struct hv_region *region, uint64_t offset, uint64_t len,
			 const struct hv_backing *backing)
{
	return hv_region_pageout(region, offset, len);
}

/* Contents that change behind the guest's back are writes too, for those who copy them. */
static void mark_changed(struct hv_vm *vm, uint64_t gpa, uint64_t len)
{
	hv_rcu_read_lock();
	vm_mark_range_dirty(vm, gpa, len);
	hv_rcu_read_unlock();
}

int hv_memory_discard(struct hv_vm *vm, uint64_t gpa, uint64_t len)
{
	int r = for_each_piece(vm, gpa, len, discard_piece, NULL);

	/* After a failure too: part of it may be gone. */
	if (r != -EINVAL)
		mark_changed(vm, gpa, len);
	return r;
}

int engine_memory_remap(struct hv_vm *vm, uint64_t gpa, uint64_t len,
			const struct hv_backing *backing)
{
	int r = for_each_piece(vm, gpa, len, hv_region_remap, backing);

	if (r != -EINVAL)
		mark_changed(vm, gpa, len);
	return r;
}

int hv_memory_pageout(struct hv_vm *vm, uint64_t gpa, uint64_t len)
{
	return for_each_piece(vm, gpa, len, pageout_piece, NULL);
}

/* ---- working set ---------------------------------------------------------------------------------------- */

#define IDLE_MAX 255

/* Room for a counter of each page; they keep their place when a slot grows in front. */
static int idle_reserve(struct engine_vm *e, uint64_t pages)
{
	uint8_t *idle;

	if (pages <= e->idle_pages)
		return 0;
	idle = hv_realloc_array(e->idle, pages, 1);
	if (!idle)
		return -ENOMEM;
	memset(idle + e->idle_pages, 0, pages - e->idle_pages);
	e->idle = idle;
	e->idle_pages = pages;
	return 0;
}

/* 0 calls: bucket 0; 1: 1; 2-3: 2; 4-7: 3 ... 64 and more: 7. */
static unsigned int idle_bucket(uint8_t calls)
{
	unsigned int b = 0;

	while (calls) {
		calls >>= 1;
		b++;
	}
	return b < 8 ? b : 7;
}

static void scan_slot(struct hv_vm *vm, struct hv_memslot *slot, bool clear, uint8_t *idle,
		      struct hv_working_set *ws)
{
	uint64_t i;

	for (i = 0; i < slot->npages; i++) {
		struct hv_gfn_range range = { slot, slot->base_gfn + i, slot->base_gfn + i + 1 };
		bool young;

		/* One page a section, so that faults are not kept waiting. */
		hv_write_lock(&vm->mmu_lock);
		young = clear ? vm->mmu_ops->age_gfn_range(vm, &range) :
				vm->mmu_ops->test_age_gfn_range(vm, &range);
		hv_write_unlock(&vm->mmu_lock);
		if (young)
			idle[i] = 0;
		else if (clear && idle[i] < IDLE_MAX)
			idle[i]++;
		ws->pages_mapped++;
		ws->pages_accessed += young;
		ws->idle[idle_bucket(idle[i])]++;
	}
}

int hv_memory_working_set(struct hv_vm *vm, bool clear, struct hv_working_set *out)
{
	struct hv_working_set ws = { .pages_mapped = 0 };
	struct hv_memslots *slots;
	struct hv_memslot *slot;
	struct engine_vm *e;
	uint64_t at = 0, pages = 0;
	int r;

	if (!vm || !out)
		return -EINVAL;
	e = engine_vm(vm);
	hv_mutex_lock(&e->lock);
	hv_mutex_lock(&vm->slots_lock); /* slots stay while it is held */
	slots = hv_rcu_dereference_protected(vm->memslots[0], &vm->slots_lock);
	for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot))
		pages += slot->npages;
	r = idle_reserve(e, pages);
	for (slot = memslot_first_from(slots, 0); slot && !r; slot = memslot_next(slots, slot)) {
		scan_slot(vm, slot, clear, e->idle + at, &ws);
		at += slot->npages;
	}
	hv_mutex_unlock(&vm->slots_lock);
	hv_mutex_unlock(&e->lock);
	if (r)
		return r;
	if (clear)
		vm_flush_remote_tlbs(vm); /* accessed bits cached there would not be set again */
	*out = ws;
	return 0;
}

/* ---- MMU --------------------------------------------------------------------------------------------------- */

#define ROOTS_MAX 1024

int hv_mmu_roots(struct hv_vm *vm, struct hv_mmu_root *out, unsigned int max)
{
	struct hv_mmu_root_info *info;
	unsigned int i, n;

	if (!vm || (max && !out))
		return -EINVAL;
	if (max > ROOTS_MAX)
		max = ROOTS_MAX;
	info = hv_calloc(max ? max : 1, sizeof(*info));
	if (!info)
		return -ENOMEM;
	n = mmu_list_roots(vm, info, max);
	for (i = 0; i < n && i < max; i++)
		out[i] = (struct hv_mmu_root){
			.pfn = info[i].pfn, .role = info[i].role, .level = info[i].level,
			.refcount = info[i].refcount, .invalid = info[i].invalid,
			.queued = info[i].queued, .indirect = info[i].indirect,
			.as_id = info[i].as_id,
		};
	hv_free(info);
	return (int)n;
}

int hv_mmu_invalidate_all(struct hv_vm *vm, struct hv_mmu_invalidate *out)
{
	struct hv_mmu_invalidate_times t;
	int r;

	if (!vm)
		return -EINVAL;
	r = mmu_invalidate_all(vm, &t);
	if (!r && out)
		*out = (struct hv_mmu_invalidate){ t.publish_ns, t.zap_ns, t.flush_ns, t.roots };
	return r;
}

_Static_assert(sizeof(struct hv_mmu_figures) == sizeof(struct hv_mmu_stats),
	       "the public figures are the MMU's");

int hv_mmu_stats(struct hv_vm *vm, struct hv_mmu_figures *out)
{
	struct hv_mmu_stats s;

	if (!vm || !out)
		return -EINVAL;
	mmu_get_stats(vm, &s);
	memcpy(out, &s, sizeof(*out)); /* the same fields in the same order */
	return 0;
}

int hv_mmu_set_nx_huge_pages(struct hv_vm *vm, bool on)
{
	return vm ? mmu_set_nx_huge_pages(vm, on ? HV_MMU_ON : HV_MMU_OFF) : -EINVAL;
}
