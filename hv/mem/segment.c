/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrays of segments: copying with a change, merging, searching. No locks, no
 * system calls.
 */
#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/mem/mem_internal.h"

static struct mem_segments *segments_alloc(uint32_t n)
{
	return hv_alloc(sizeof(struct mem_segments) + n * sizeof(struct mem_segment));
}

struct mem_segments *segments_new(const struct mem_segment *seg)
{
	struct mem_segments *segs = segments_alloc(1);

	if (!segs) {
		mem_file_put(seg->file);
		return NULL;
	}
	segs->n = 1;
	segs->seg[0] = *seg;
	return segs;
}

void segments_free(struct mem_segments *segs)
{
	uint32_t i;

	if (!segs)
		return;
	for (i = 0; i < segs->n; i++)
		mem_file_put(segs->seg[i].file);
	hv_free(segs);
}

static void free_after_grace_period(struct hv_rcu_head *head)
{
	segments_free(container_of(head, struct mem_segments, rcu));
}

void segments_free_rcu(struct mem_segments *segs)
{
	hv_call_rcu(&segs->rcu, free_after_grace_period);
}

struct mem_segment segment_clip(const struct mem_segment *seg, uint64_t start, uint64_t end)
{
	struct mem_segment part = *seg;

	part.start = hv_max(seg->start, start);
	part.end = hv_min(seg->end, end);
	part.offset += part.start - seg->start;
	return part;
}

static bool can_merge(const struct mem_segment *a, const struct mem_segment *b)
{
	return a->file == b->file && a->kind == b->kind && a->page_level == b->page_level &&
	       a->max_level == b->max_level && a->writable == b->writable && a->hole == b->hole &&
	       (!a->file || a->offset + (a->end - a->start) == b->offset);
}

/* Appends a segment, with a reference of its own, or lengthens the last one. */
static void append(struct mem_segments *segs, const struct mem_segment *seg)
{
	struct mem_segment *last = segs->n ? &segs->seg[segs->n - 1] : NULL;

	if (seg->start >= seg->end)
		return;
	if (last && can_merge(last, seg)) {
		last->end = seg->end;
		return;
	}
	segs->seg[segs->n] = *seg;
	mem_file_get(seg->file);
	segs->n++;
}

/* A change splits at most the two segments at its ends: two more than before. */
static int copy_alloc(const struct mem_segments *old, struct mem_segments **copy)
{
	struct mem_segments *segs;

	if (old->n > HV_MEM_SEGMENTS_MAX - 2)
		return -ENOSPC;
	segs = segments_alloc(old->n + 2);
	if (!segs)
		return -ENOMEM;
	segs->n = 0;
	*copy = segs;
	return 0;
}

static void append_outside(struct mem_segments *segs, const struct mem_segment *seg,
			   uint64_t start, uint64_t end)
{
	struct mem_segment part = segment_clip(seg, start, end);

	append(segs, &part);
}

int segments_replace(const struct mem_segments *old, const struct mem_segment *new,
		     struct mem_segments **copy)
{
	struct mem_segments *segs;
	uint32_t i;
	int err = copy_alloc(old, &segs);

	if (err)
		return err;
	for (i = 0; i < old->n && old->seg[i].start < new->start; i++)
		append_outside(segs, &old->seg[i], 0, new->start);
	append(segs, new);
	for (i = 0; i < old->n; i++)
		if (old->seg[i].end > new->end)
			append_outside(segs, &old->seg[i], new->end, UINT64_MAX);
	*copy = segs;
	return 0;
}

int segments_protect(const struct mem_segments *old, uint64_t start, uint64_t end, bool writable,
		     struct mem_segments **copy)
{
	struct mem_segments *segs;
	uint32_t i;
	int err = copy_alloc(old, &segs);

	if (err)
		return err;
	for (i = 0; i < old->n; i++) {
		const struct mem_segment *seg = &old->seg[i];
		struct mem_segment part;

		if (seg->start < start)
			append_outside(segs, seg, 0, start);
		if (seg->start < end && seg->end > start) {
			part = segment_clip(seg, start, end);
			part.writable = writable;
			append(segs, &part);
		}
		if (seg->end > end)
			append_outside(segs, seg, end, UINT64_MAX);
	}
	*copy = segs;
	return 0;
}

const struct mem_segment *segments_find(const struct mem_segments *segs, uint64_t hva)
{
	uint32_t lo = 0, hi = segs->n - 1;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (hva < segs->seg[mid].end)
			hi = mid;
		else
			lo = mid + 1;
	}
	return &segs->seg[lo];
}
