/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cursor log: any number of readers, none takes anything from another.
 *
 * Time is counted in epochs. A page carries the epoch of its last write that was
 * noticed; a cursor is an epoch; a read reports the pages whose stamp is not
 * below the reader's cursor. A read begins a new epoch, which is the reader's
 * next cursor, and arms every page that was written since it was last armed
 * (`open`), so that its next write is noticed in the new epoch.
 *
 * Writer (any thread)                     Reader (slots_lock: one at a time)
 *   e = epoch                               epoch = new
 *   stamp page, chunk, region with e        [full barrier]
 *   set open                                arm what is open, flush TLBs
 *   [full barrier]                          report stamps >= since
 *   epoch is still e? else again
 *
 * Either the reader finds the stamps, or the writer finds the new epoch and
 * stamps again, for the reader's next time. Stamps only grow (a slow writer
 * never takes a newer stamp back), so whatever was stamped before a read began
 * is in that read.
 *
 * Arming is one at a time (slots_lock) although reporting is not: with two, the
 * second reader could find a page not open any more that the first has not
 * armed yet, and miss a write between.
 *
 * Memory: 8 bytes per page while logging is on, in zero pages until written.
 */
#include <errno.h>
#include <time.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"
#include "hv/vm/vm_internal.h"

#define CHUNK_SHIFT  6	/* pages per chunk, log2 */
#define REGION_SHIFT 12 /* pages per region */

static uint64_t shift_up(uint64_t npages, unsigned int shift)
{
	return (npages + (1ULL << shift) - 1) >> shift;
}

void dirty_stamps_free(struct hv_dirty_stamps *st)
{
	if (!st)
		return;
	dirty_map_destroy(&st->open);
	hv_free(st->page);
	hv_free(st->chunk);
	hv_free(st->region);
	hv_free(st);
}

int dirty_stamps_alloc(struct hv_vm *vm, uint64_t npages, enum hv_mr_change change,
		       struct hv_dirty_stamps **out)
{
	struct hv_dirty_stamps *st = hv_zalloc(sizeof(*st));

	if (!st)
		return -ENOMEM;
	st->npages = npages;
	st->all_since = change == HV_MR_FLAGS_ONLY ? 0 : atomic_load(&vm->dirty->epoch);
	st->page = hv_calloc(npages, sizeof(*st->page));
	st->chunk = hv_calloc(shift_up(npages, CHUNK_SHIFT), sizeof(*st->chunk));
	st->region = hv_calloc(shift_up(npages, REGION_SHIFT), sizeof(*st->region));
	if (!st->page || !st->chunk || !st->region || dirty_map_init(&st->open, npages)) {
		dirty_stamps_free(st);
		return -ENOMEM;
	}
	*out = st;
	return 0;
}

/* ---- writers ---------------------------------------------------------------------------- */

/* True if the stamp was older. */
static bool stamp_raise(_Atomic uint64_t *stamp, uint64_t epoch)
{
#ifdef HV_MUTATE_STAMP_NOT_MONOTONIC
	return atomic_exchange(stamp, epoch) < epoch;
#else
	uint64_t old = atomic_load(stamp);

	while (old < epoch)
		if (atomic_compare_exchange_weak(stamp, &old, epoch))
			return true;
	return false;
#endif
}

void dirty_stamps_mark(struct hv_vm *vm, struct hv_vcpu *vcpu, struct hv_dirty_stamps *st,
		       uint64_t page)
{
	bool fresh = false;
	uint64_t epoch;

	do {
		epoch = atomic_load(&vm->dirty->epoch);
		hv_test_point("mark: epoch read");
		fresh |= stamp_raise(&st->page[page], epoch);
		stamp_raise(&st->chunk[page >> CHUNK_SHIFT], epoch);
		stamp_raise(&st->region[page >> REGION_SHIFT], epoch);
		dirty_map_set(&st->open, page);
		hv_test_point("mark: stamped");
#ifdef HV_MUTATE_NO_EPOCH_RECHECK
	} while (0);
#else
	} while (atomic_load(&vm->dirty->epoch) != epoch);
#endif
	if (fresh && vcpu)
		atomic_fetch_add_explicit(&vcpu->stats.pages_dirtied, 1, memory_order_relaxed);
}

/* ---- harvest: slots_lock held ------------------------------------------------------------- */

static struct hv_memslots *slots_locked(struct hv_vm *vm, int as_id)
{
	return hv_rcu_dereference_protected(vm->memslots[as_id], &vm->slots_lock);
}

/* Arm the open pages of words [first, end); mmu_lock is taken when there are any. */
static void open_close(struct hv_vm *vm, struct hv_memslot *slot, uint64_t first, uint64_t count,
		       bool *locked)
{
	struct dirty_map *open = &slot->stamps->open;
	uint64_t g, last_word = (first + count - 1) / 64;

	for (g = first / 64 / 64; g <= last_word / 64; g++) {
		uint64_t words = __atomic_load_n(&open->summary[g], __ATOMIC_SEQ_CST);

		words &= hv_bitmap_range_mask(g, first / 64, last_word - first / 64 + 1);
		if (words && !*locked) {
			hv_write_lock(&vm->mmu_lock);
			*locked = true;
		}
		for (; words; words &= words - 1) {
			uint64_t w = g * 64 + hv_ffs64(words), range, mask;

			range = hv_bitmap_range_mask(w, first, count);
			hv_fetch_and(&open->summary[g], ~(words & -words));
			mask = hv_fetch_and(&open->word[w], ~range);
			if (mask & ~range) /* others are left: the word still counts */
				hv_fetch_or(&open->summary[g], words & -words);
			if (mask & range)
				dirty_rearm(vm, slot, w * 64, mask & range);
		}
		if (*locked)
			dirty_yield(vm);
	}
}

/* Begin a new epoch, and arm what was written in the ones before. Returns it. */
static uint64_t harvest(struct hv_vm *vm)
{
	uint64_t epoch = atomic_load(&vm->dirty->epoch) + 1;
	struct hv_memslot *slot;
	bool locked = false;
	int as_id;

	hv_assert_held(&vm->slots_lock);
	vm->mmu_ops->dirty_log_sync(vm);
	atomic_store(&vm->dirty->epoch, epoch);
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		struct hv_memslots *slots = slots_locked(vm, as_id);

		for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot))
			if (slot->stamps)
				open_close(vm, slot, 0, slot->npages, &locked);
	}
	if (locked) {
		hv_write_unlock(&vm->mmu_lock);
		vm_flush_remote_tlbs(vm);
	}
	return epoch;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static int start_locked(struct hv_vm *vm, uint64_t *cursor)
{
	struct hv_dirty_vm *d = vm->dirty;
	int r;

	if (!d->cursor_users) {
		/* Cursors of an earlier time of logging are below this one. */
		uint64_t epoch = atomic_load(&d->epoch) + 1;

		atomic_store(&d->epoch, epoch);
		r = memslot_change_flags_all(vm, HV_MEMSLOT_LOG_CURSOR, 0);
		if (r)
			return r;
		d->start_epoch = epoch;
		*cursor = epoch;
	} else {
		*cursor = harvest(vm);
	}
	d->cursor_users++;
	return 0;
}

int dirty_cursor_start(struct hv_vm *vm, uint64_t *cursor)
{
	int r;

	hv_mutex_lock(&vm->slots_lock);
	r = start_locked(vm, cursor);
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

int dirty_cursor_stop(struct hv_vm *vm)
{
	int r = -EINVAL;

	hv_mutex_lock(&vm->slots_lock);
	if (vm->dirty->cursor_users) {
		r = vm->dirty->cursor_users > 1
			    ? 0
			    : memslot_change_flags_all(vm, 0, HV_MEMSLOT_LOG_CURSOR);
		if (!r)
			vm->dirty->cursor_users--;
	}
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

/* ---- reading: RCU read side ---------------------------------------------------------------------- */

static uint64_t stamp_load(_Atomic uint64_t *stamp)
{
	return atomic_load(stamp);
}

/* The first page at or after `page` that was written since; npages if there is none. */
static uint64_t stamps_next(struct hv_dirty_stamps *st, uint64_t page, uint64_t since)
{
	if (since <= st->all_since)
		return page;
	while (page < st->npages) {
		if (stamp_load(&st->region[page >> REGION_SHIFT]) < since) {
			page = ((page >> REGION_SHIFT) + 1) << REGION_SHIFT;
		} else if (stamp_load(&st->chunk[page >> CHUNK_SHIFT]) < since) {
			page = ((page >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
		} else {
			uint64_t end = ((page >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;

			end = hv_min(end, st->npages);
			for (; page < end; page++)
				if (stamp_load(&st->page[page]) >= since)
					return page;
		}
	}
	return st->npages;
}

/* The first page after `page` that was not. */
static uint64_t stamps_run_end(struct hv_dirty_stamps *st, uint64_t page, uint64_t since)
{
	if (since <= st->all_since)
		return st->npages;
	while (page < st->npages && stamp_load(&st->page[page]) >= since)
		page++;
	return page;
}

struct range_list {
	struct hv_dirty_range *out;
	unsigned int max, n;
};

/* False: it does not fit. Neighbours become one range. */
static bool range_add(struct range_list *list, hv_gpa_t gpa, uint64_t pages)
{
	struct hv_dirty_range *last = list->n ? &list->out[list->n - 1] : NULL;

	if (last && last->gpa + (last->pages << HV_PAGE_SHIFT) == gpa) {
		last->pages += pages;
		return true;
	}
	if (list->n == list->max)
		return false;
	list->out[list->n++] = (struct hv_dirty_range){ .gpa = gpa, .pages = pages };
	return true;
}

/* The gfn to go on from, or HV_DIRTYLOG_DONE when all has been seen. */
static uint64_t report(struct hv_vm *vm, uint64_t since, hv_gfn_t from, struct range_list *list)
{
	struct hv_memslots *slots = hv_vm_memslots(vm, 0);
	struct hv_memslot *slot;

	for (slot = memslot_first_from(slots, from); slot; slot = memslot_next(slots, slot)) {
		uint64_t page = from > slot->base_gfn ? from - slot->base_gfn : 0;

		if (!slot->stamps)
			continue;
		while ((page = stamps_next(slot->stamps, page, since)) < slot->npages) {
			uint64_t end = stamps_run_end(slot->stamps, page, since);

			/* It may have been stamped only just now, after the first look. */
			end = hv_max(end, page + 1);
			if (!range_add(list, (slot->base_gfn + page) << HV_PAGE_SHIFT, end - page))
				return slot->base_gfn + page;
			page = end;
		}
	}
	return HV_DIRTYLOG_DONE;
}

/* slots_lock held. -EINVAL, -ESTALE. */
static int cursor_check(struct hv_vm *vm, uint64_t since)
{
	const struct hv_dirty_vm *d = vm->dirty;

	if (!d->cursor_users || since > atomic_load(&d->epoch))
		return -EINVAL;
	return since && since < d->start_epoch ? -ESTALE : 0;
}

int dirty_cursor_read(struct hv_vm *vm, uint64_t since, uint64_t *cursor, uint64_t *resume_gpa,
		      struct hv_dirty_range *out, unsigned int max)
{
	struct range_list list = { .out = out, .max = max };
	uint64_t next = 0, resume;
	int r;

	if (!max || *resume_gpa == HV_DIRTYLOG_DONE || *resume_gpa & ~HV_PAGE_MASK)
		return -EINVAL;
	hv_mutex_lock(&vm->slots_lock);
	r = cursor_check(vm, since);
	if (!r && !*resume_gpa)
		next = harvest(vm);
	hv_mutex_unlock(&vm->slots_lock);
	if (r)
		return r;
	/*
	 * What is stamped from here on is at or after the new cursor: reported now or
	 * not, it is reported the next time.
	 */
	hv_rcu_read_lock();
	resume = report(vm, since, *resume_gpa >> HV_PAGE_SHIFT, &list);
	hv_rcu_read_unlock();
	if (next)
		*cursor = next;
	*resume_gpa = resume == HV_DIRTYLOG_DONE ? HV_DIRTYLOG_DONE : resume << HV_PAGE_SHIFT;
	return (int)list.n;
}

int dirty_cursor_clear(struct hv_vm *vm, hv_gpa_t gpa, uint64_t pages)
{
	hv_gfn_t gfn = gpa >> HV_PAGE_SHIFT, end = gfn + pages;
	struct hv_memslots *slots;
	struct hv_memslot *slot;
	bool locked = false;
	int r = 0;

	if (gpa & ~HV_PAGE_MASK || end < gfn || end > (1ULL << (64 - HV_PAGE_SHIFT)))
		return -EINVAL;
	hv_mutex_lock(&vm->slots_lock);
	if (!vm->dirty->cursor_users) {
		r = -EINVAL;
		goto out;
	}
	vm->mmu_ops->dirty_log_sync(vm);
	slots = slots_locked(vm, 0);
	for (slot = memslot_first_from(slots, gfn); slot && slot->base_gfn < end;
	     slot = memslot_next(slots, slot)) {
		hv_gfn_t first = hv_max(gfn, slot->base_gfn);
		hv_gfn_t stop = hv_min(end, slot->base_gfn + slot->npages);

		if (slot->stamps)
			open_close(vm, slot, first - slot->base_gfn, stop - first, &locked);
	}
	if (locked) {
		hv_write_unlock(&vm->mmu_lock);
		vm_flush_remote_tlbs(vm);
	}
out:
	hv_mutex_unlock(&vm->slots_lock);
	return r;
}

/* ---- rate ------------------------------------------------------------------------------------------ */

#define RATE_RANGES 256

static int64_t count_pages(struct hv_vm *vm, uint64_t since)
{
	struct hv_dirty_range *ranges = hv_calloc(RATE_RANGES, sizeof(*ranges));
	uint64_t cursor = 0, resume = 0;
	int64_t pages = 0;
	int i, n;

	if (!ranges)
		return -ENOMEM;
	do {
		n = dirty_cursor_read(vm, since, &cursor, &resume, ranges, RATE_RANGES);
		for (i = 0; i < n; i++)
			pages += (int64_t)ranges[i].pages;
	} while (n >= 0 && resume != HV_DIRTYLOG_DONE);
	hv_free(ranges);
	return n < 0 ? n : pages;
}

int dirty_rate_measure(struct hv_vm *vm, unsigned int ms, double *total, double *per_vcpu,
		       unsigned int max)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	uint64_t before[HV_MAX_VCPUS] = { 0 }, cursor;
	double to_rate = ms ? (double)HV_PAGE_SIZE / (1 << 20) * 1000 / ms : 0;
	struct hv_vcpu *vcpu;
	unsigned int i;
	int64_t pages;
	int r;

	if (!ms)
		return -EINVAL;
	r = dirty_cursor_start(vm, &cursor);
	if (r)
		return r;
	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		before[i] = atomic_load(&vcpu->stats.pages_dirtied);
	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
	pages = count_pages(vm, cursor);
	for (i = 0; pages >= 0 && i < max; i++) {
		vcpu = vm_vcpu(vm, i);
		per_vcpu[i] = vcpu ? (double)(atomic_load(&vcpu->stats.pages_dirtied) - before[i]) *
					     to_rate
				   : 0;
	}
	r = dirty_cursor_stop(vm);
	if (pages < 0)
		return (int)pages;
	if (!r)
		*total = (double)pages * to_rate;
	return r;
}
