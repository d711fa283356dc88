/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of hv/mem share.
 *
 * A region is a row of segments, each one backing under one protection. The
 * array of segments is immutable once published, and replaced as a whole under
 * region_lock held exclusively; readers find it under RCU. The address space's
 * array of regions is changed in place, so that taking a region out needs no
 * memory and cannot fail: its readers, under RCU too, check a sequence count.
 */
#ifndef HV_MEM_MEM_INTERNAL_H
#define HV_MEM_MEM_INTERNAL_H

#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/refcount.h"
#include "hv/mem/region.h"

/* A file that segments map; closed with the last of them. */
struct mem_file {
	struct hv_refcount refs;
	int fd; /* [I] */
};

struct mem_segment {
	uint64_t start, end;	  /* hva */
	struct mem_file *file;	  /* NULL: anonymous. Owns a reference. */
	uint64_t offset;	  /* of start in the file */
	enum hv_backing_kind kind;
	enum hv_page_level page_level; /* what the kernel maps it with at least */
	enum hv_page_level max_level;
	bool writable;
	bool hole; /* nothing mapped: a remap failed half way */
};

/* Adjacent, ascending, covering the region; two neighbours always differ. */
struct mem_segments {
	struct hv_rcu_head rcu;
	uint32_t n;
	struct mem_segment seg[];
};

struct mem_region_entry {
	uint64_t hva;
	struct hv_region *region;
};

/* Entries are relaxed atomics: a reader may meet them while they move. */
struct mem_regions {
	struct hv_rcu_head rcu;
	uint32_t capacity;		/* [I] */
	struct mem_region_entry entry[]; /* by ascending hva; mem->nr_regions of them */
};

struct hv_mem {
	/* [L] under region_lock, written exclusively; [R] RCU, updated under it */
	struct hv_rwlock region_lock;
	struct hv_lock_dep mn_active;	/* the pseudo lock of change_begin..end */
	struct mem_regions *regions;	/* [R] replaced to grow */
	uint32_t nr_regions;		/* [L; read under seq] */
	uint64_t seq;			/* [L; A] odd while entries move */
	struct cds_list_head notifiers; /* [L] struct hv_mem_notifier */
};

struct hv_region {
	/* [I] immutable; [R] RCU, updated under mem->region_lock */
	struct hv_mem *mem;	       /* [I] borrowed */
	uint64_t hva, size;	       /* [I] */
	void *reserved;		       /* [I] the mapping with its guards */
	uint64_t reserved_size;	       /* [I] */
	struct mem_segments *segments; /* [R] */
};

/* ---- mem.c: publication and notification ---- */

/* -ENOMEM, -ENOSPC. Takes region_lock. */
int mem_add_region(struct hv_mem *mem, struct hv_region *region);

/* Never fails. region_lock is held exclusively. */
void mem_remove_region_locked(struct hv_mem *mem, struct hv_region *region);

/* Brackets of a change; region_lock is held. After 0, mem_change_end() follows. */
int mem_change_begin(struct hv_mem *mem, const struct hv_mem_range *range);
void mem_change_end(struct hv_mem *mem, const struct hv_mem_range *range, int ret);

/* ---- segment.c: arrays of segments ---- */

/* One segment, taking over its reference to the file. NULL: no memory; then it is dropped. */
struct mem_segments *segments_new(const struct mem_segment *seg);

/* For the caller alone; or by call_rcu after it was published. */
void segments_free(struct mem_segments *segs);
void segments_free_rcu(struct mem_segments *segs);

/*
 * A copy of `old` in which [new->start, new->end) is `new` (taking a reference
 * to its file), merged with equal neighbours. -ENOMEM or -ENOSPC.
 */
int segments_replace(const struct mem_segments *old, const struct mem_segment *new,
		     struct mem_segments **copy);

/* The same with only `writable` changed within [start, end). */
int segments_protect(const struct mem_segments *old, uint64_t start, uint64_t end, bool writable,
		     struct mem_segments **copy);

/* The segment of an hva that lies within the region. */
const struct mem_segment *segments_find(const struct mem_segments *segs, uint64_t hva);

/* The part of a segment that lies in [start, end); it does intersect. */
struct mem_segment segment_clip(const struct mem_segment *seg, uint64_t start, uint64_t end);

/* ---- backing.c: what mmap, madvise and fallocate know of each kind ---- */

/*
 * Checks and opens a backing for `size` bytes: fills all of *seg but start and
 * end; seg->file is a reference that the caller owns. writable: asked for.
 */
int backing_open(const struct hv_backing *backing, uint64_t size, bool writable, const char *name,
		 struct mem_segment *seg);
struct mem_file *mem_file_get(struct mem_file *file);
void mem_file_put(struct mem_file *file); /* NULL: nothing */

/* Maps seg over [seg->start, seg->end), which is reserved or of the caller's region. */
int backing_map(const struct mem_segment *seg);
/* In place of what is mapped there, with all checks made before that goes. *lost: it is gone. */
int backing_remap(const struct mem_segment *seg, bool *lost);
/* Leaves inaccessible, reserved addresses. Never fails. */
void backing_withdraw(const struct mem_segment *seg);
int backing_populate(const struct mem_segment *seg);
int backing_discard(const struct mem_segment *seg);
int backing_pageout(const struct mem_segment *seg);
int backing_protect(const struct mem_segment *seg, bool writable);

#endif
