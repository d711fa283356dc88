/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to a range of a region while guests use it. Each change goes
 * through change(): check, start, act on the segments, end.
 *
 * Discard and page-out leave the segments as they are and hold region_lock
 * shared, so that several run side by side; remap and protect replace the
 * array of segments and hold it exclusively. All memory that a change needs is
 * allocated before its start: once listeners have dropped their mappings, only
 * the kernel can still fail it.
 */
#include <errno.h>

#include "hv/mem/mem_internal.h"

/* The region_lock is dropped, if somebody waits, after each step of populating. */
#define POPULATE_STEP (UINT64_C(4) << 20)

typedef int (*segment_fn)(const struct mem_segment *part);

static struct mem_segments *current_locked(struct hv_region *r)
{
	return hv_rcu_dereference_protected(r->segments, &r->mem->region_lock);
}

static int check_range(const struct hv_region *r, uint64_t offset, uint64_t len)
{
	if (!len || offset % HV_PAGE_SIZE || len % HV_PAGE_SIZE)
		return -EINVAL;
	return offset > r->size || len > r->size - offset ? -ERANGE : 0;
}

/* Large pages are changed whole. */
static int check_pages_locked(struct hv_region *r, uint64_t start, uint64_t end)
{
	const struct mem_segments *segs = current_locked(r);
	const struct mem_segment *first = segments_find(segs, start);
	const struct mem_segment *last = segments_find(segs, end - 1);

	if (!hv_is_aligned(start, UINT64_C(1) << hv_level_shift(first->page_level)) ||
	    !hv_is_aligned(end, UINT64_C(1) << hv_level_shift(last->page_level)))
		return -EINVAL;
	return 0;
}

/* Calls fn for each segment's part of [start, end); stops at the first failure. */
static int for_each_part_locked(struct hv_region *r, uint64_t start, uint64_t end, segment_fn fn)
{
	const struct mem_segment *seg = segments_find(current_locked(r), start);
	int err = 0;

	for (; !err && start < end; seg++) {
		struct mem_segment part = segment_clip(seg, start, end);

		err = fn(&part);
		start = part.end;
	}
	return err;
}

/* ---- changes that keep the segments --------------------------------------------------- */

static int change_locked(struct hv_region *r, const struct hv_mem_range *range, segment_fn fn)
{
	int err = check_pages_locked(r, range->start, range->end);

	if (!err)
		err = mem_change_begin(r->mem, range);
	if (err)
		return err;
	err = for_each_part_locked(r, range->start, range->end, fn);
	mem_change_end(r->mem, range, err);
	return err;
}

static int change_shared(struct hv_region *r, const struct hv_mem_range *range, segment_fn fn)
{
	int err;

	if (range->blockable)
		hv_read_lock(&r->mem->region_lock);
	else if (!hv_read_trylock(&r->mem->region_lock))
		return -EAGAIN;
	err = change_locked(r, range, fn);
	hv_read_unlock(&r->mem->region_lock);
	return err;
}

static struct hv_mem_range make_range(const struct hv_region *r, uint64_t offset, uint64_t len,
				      enum hv_mem_event event)
{
	return (struct hv_mem_range){ .start = r->hva + offset,
				      .end = r->hva + offset + len,
				      .event = event,
				      .blockable = true };
}

int hv_region_discard(struct hv_region *r, uint64_t offset, uint64_t len)
{
	struct hv_mem_range range = make_range(r, offset, len, HV_MEM_DISCARD);
	int err = check_range(r, offset, len);

	return err ? err : change_shared(r, &range, backing_discard);
}

int hv_region_discard_nowait(struct hv_region *r, uint64_t offset, uint64_t len)
{
	struct hv_mem_range range = make_range(r, offset, len, HV_MEM_DISCARD);
	int err = check_range(r, offset, len);

	range.blockable = false;
	return err ? err : change_shared(r, &range, backing_discard);
}

int hv_region_pageout(struct hv_region *r, uint64_t offset, uint64_t len)
{
	struct hv_mem_range range = make_range(r, offset, len, HV_MEM_PAGEOUT);
	int err = check_range(r, offset, len);

	return err ? err : change_shared(r, &range, backing_pageout);
}

/* Nothing that is mapped goes away: no listener need know. */
int hv_region_populate(struct hv_region *r, uint64_t offset, uint64_t len)
{
	uint64_t at = r->hva + offset, end = at + len;
	int err = check_range(r, offset, len);

	if (err)
		return err;
	hv_read_lock(&r->mem->region_lock);
	while (!err && at < end) {
		uint64_t next = hv_min(hv_align_up(at + 1, POPULATE_STEP), end);

		err = for_each_part_locked(r, at, next, backing_populate);
		at = next;
		hv_cond_resched_rwlock_read(&r->mem->region_lock);
	}
	hv_read_unlock(&r->mem->region_lock);
	return err;
}

/* ---- changes that replace the segments -------------------------------------------------- */

/* Readers may see the old ones until a grace period has passed. */
static void publish_locked(struct hv_region *r, struct mem_segments *new)
{
	struct mem_segments *old = current_locked(r);

	hv_rcu_assign_pointer(r->segments, new);
	segments_free_rcu(old);
}

static void begin_blockable(struct hv_region *r, const struct hv_mem_range *range)
{
	int err = mem_change_begin(r->mem, range);

	HV_BUG_ON(err); /* listeners refuse only what may not block */
}

static int make_writable(const struct mem_segment *part)
{
	return backing_protect(part, true);
}

static int make_read_only(const struct mem_segment *part)
{
	return backing_protect(part, false);
}

static int as_before(const struct mem_segment *part)
{
	return part->hole ? 0 : backing_protect(part, part->writable);
}

static int protect_locked(struct hv_region *r, const struct hv_mem_range *range, bool writable)
{
	struct mem_segments *new;
	int undo, err = check_pages_locked(r, range->start, range->end);

	if (!err)
		err = segments_protect(current_locked(r), range->start, range->end, writable, &new);
	if (err)
		return err;
	begin_blockable(r, range);
	err = for_each_part_locked(r, range->start, range->end,
				   writable ? make_writable : make_read_only);
	if (err) {
		undo = for_each_part_locked(r, range->start, range->end, as_before);
		HV_BUG_ON(undo); /* it splits no mapping that was not split before */
		segments_free(new);
	} else {
		publish_locked(r, new);
	}
	mem_change_end(r->mem, range, err);
	return err;
}

int hv_region_protect(struct hv_region *r, uint64_t offset, uint64_t len,
		      enum hv_region_access access)
{
	struct hv_mem_range range = make_range(r, offset, len, HV_MEM_PROTECT);
	int err = check_range(r, offset, len);

	if (err)
		return err;
	hv_write_lock(&r->mem->region_lock);
	err = protect_locked(r, &range, access == HV_REGION_RW);
	hv_write_unlock(&r->mem->region_lock);
	return err;
}

/* `new` if all goes well, `lost` if the range is gone, else as it was. Frees the others. */
static int remap_and_publish_locked(struct hv_region *r, const struct mem_segment *seg,
				    struct mem_segments *new, struct mem_segments *lost)
{
	bool gone;
	int err = backing_remap(seg, &gone);

	if (!err)
		publish_locked(r, new);
	else if (gone)
		publish_locked(r, lost);
	if (err)
		segments_free(new);
	if (!gone)
		segments_free(lost);
	return err;
}

static int remap_locked(struct hv_region *r, const struct hv_mem_range *range,
			const struct mem_segment *seg)
{
	struct mem_segment hole = { .start = seg->start,
				    .end = seg->end,
				    .page_level = HV_LEVEL_4K,
				    .max_level = HV_LEVEL_4K,
				    .hole = true };
	struct mem_segments *new, *lost;
	int err = check_pages_locked(r, seg->start, seg->end);

	if (!err && !hv_is_aligned(seg->start, UINT64_C(1) << hv_level_shift(seg->page_level)))
		err = -EINVAL;
	if (!err)
		err = segments_replace(current_locked(r), seg, &new);
	if (err)
		return err;
	err = segments_replace(current_locked(r), &hole, &lost);
	if (err) {
		segments_free(new);
		return err;
	}
	begin_blockable(r, range);
	err = remap_and_publish_locked(r, seg, new, lost);
	mem_change_end(r->mem, range, err);
	return err;
}

/* Writable if it can be. */
static int open_backing(const struct hv_backing *backing, uint64_t len, struct mem_segment *seg)
{
	int err = backing_open(backing, len, true, NULL, seg);

	return err == -EACCES ? backing_open(backing, len, false, NULL, seg) : err;
}

int hv_region_remap(struct hv_region *r, uint64_t offset, uint64_t len,
		    const struct hv_backing *backing)
{
	struct hv_mem_range range = make_range(r, offset, len, HV_MEM_REMAP);
	struct mem_segment seg;
	int err = check_range(r, offset, len);

	if (!err)
		err = open_backing(backing, len, &seg);
	if (err)
		return err;
	seg.start = range.start;
	seg.end = range.end;
	hv_write_lock(&r->mem->region_lock);
	err = remap_locked(r, &range, &seg);
	hv_write_unlock(&r->mem->region_lock);
	mem_file_put(seg.file);
	return err;
}
