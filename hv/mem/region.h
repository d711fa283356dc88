/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host memory of guests.
 *
 * A struct hv_mem is one VM's view of host memory: its regions, and who wants
 * to know when something below an address changes. A struct hv_region is one
 * range of host virtual addresses with a backing; parts of it can be given
 * back, moved to another backing or write-protected while the guest runs.
 *
 * In this engine a host page frame number ("pfn") is a host virtual page
 * number: hva >> HV_PAGE_SHIFT.
 *
 * Every change that a mapping made from an hva must not outlive is bracketed:
 *
 *	invalidate_range_start   the listener drops its mappings of the range, and
 *				 lets a fault in it wait or retry
 *	the change
 *	invalidate_range_end
 *
 * and what a fault reads from here in between (hv_mem_pfn_info()) is thrown
 * away by the listener's retry protocol. Listeners are called with region_lock
 * held and inside the validator's mn_active state: they may take mmu_lock and
 * mn_invalidate_lock, and neither slots_lock nor slots_arch_lock.
 *
 * Threads that call in here are registered for RCU. Ranges are given as offset
 * and length within a region, in bytes, whole pages, not empty, and for a
 * hugetlb backing whole pages of its size; else -EINVAL, and -ERANGE beyond the
 * region's end.
 */
#ifndef HV_MEM_REGION_H
#define HV_MEM_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/base/list.h"

/* More make no sense: each one costs mappings of the process. */
#define HV_MEM_REGIONS_MAX  32764U
#define HV_MEM_SEGMENTS_MAX 32768U

/* Of one region: the 47 bits of user space leave room for several. */
#define HV_REGION_SIZE_MAX (UINT64_C(1) << 45)

struct hv_mem;
struct hv_region;

enum hv_page_level {
	HV_LEVEL_4K = 1,
	HV_LEVEL_2M = 2,
	HV_LEVEL_1G = 3,
};

static inline unsigned int hv_level_shift(enum hv_page_level level)
{
	return 12 + 9 * ((unsigned int)level - 1);
}

enum hv_backing_kind {
	HV_BACKING_ANON,	 /* private, transparent huge pages advised */
	HV_BACKING_MEMFD,	 /* a memfd of the region's own: shareable */
	HV_BACKING_HUGETLB,	 /* a memfd of reserved huge pages */
	HV_BACKING_FILE_SHARED,	 /* the caller's file; writes go to it */
	HV_BACKING_FILE_PRIVATE, /* the caller's file; writes are kept from it */
};

/*
 * fd and offset: of the FILE kinds; the fd is duplicated, the caller keeps its
 * own. A memfd that was passed in is a FILE_SHARED. The file must be as long as
 * what is mapped of it. page_level: of HUGETLB, 2M or 1G.
 *
 * max_level bounds the leaves that may map this backing; 0 chooses: 1G for
 * huge pages of that size, else 2M. Since pfns are virtual, any backing is
 * contiguous enough for large leaves; a bound of 4K suits memory that is
 * given back or shared page by page.
 */
struct hv_backing {
	enum hv_backing_kind kind;
	int fd;
	uint64_t offset;
	enum hv_page_level page_level;
	enum hv_page_level max_level;
};

struct hv_region_params {
	uint64_t size; /* bytes: pages, at least one, at most HV_REGION_SIZE_MAX */
	struct hv_backing backing;
	bool read_only; /* the guest's mapping of it; and ours */
	const char *name; /* of the memfd, for /proc; may be NULL */
};

/* ---- the address space ------------------------------------------------------------- */

/* 0 or -ENOMEM. */
int hv_mem_create(struct hv_mem **mem);

/* No regions are left. Listeners that are left get release(). NULL: nothing. */
void hv_mem_destroy(struct hv_mem *mem);

enum hv_mem_event {
	HV_MEM_DISCARD, /* contents given back; reads as zeros or as the file */
	HV_MEM_REMAP,	/* other memory under the same address */
	HV_MEM_PAGEOUT, /* contents kept, but elsewhere until touched */
	HV_MEM_PROTECT, /* writable or not */
	HV_MEM_UNMAP,	/* the region ends */
};

/* [start, end), page aligned, within one region. */
struct hv_mem_range {
	uint64_t start, end;
	enum hv_mem_event event;
	bool blockable; /* invalidate_range_start may wait for others */
};

struct hv_mem_notifier;

struct hv_mem_notifier_ops {
	/*
	 * 0; or where range->blockable is false and it would have to wait,
	 * -EAGAIN: then the change is called off, and this listener gets no
	 * end. After 0, end follows for sure, with the same range.
	 */
	int (*invalidate_range_start)(struct hv_mem_notifier *n, const struct hv_mem_range *range);
	void (*invalidate_range_end)(struct hv_mem_notifier *n, const struct hv_mem_range *range);
	/* True if any page of it was accessed since the last clear; clears; flushes TLBs. */
	bool (*clear_flush_young)(struct hv_mem_notifier *n, uint64_t start, uint64_t end);
	/* The same without clearing. */
	bool (*test_young)(struct hv_mem_notifier *n, uint64_t start, uint64_t end);
	/* The address space is going away; the listener is unregistered by this. */
	void (*release)(struct hv_mem_notifier *n);
};

/* Embedded in the listener. All ops but the first two may be NULL. */
struct hv_mem_notifier {
	const struct hv_mem_notifier_ops *ops;
	struct cds_list_head node; /* hv/mem's, under region_lock */
};

void hv_mem_register_notifier(struct hv_mem *mem, struct hv_mem_notifier *n);

/* No callback is in progress when it returns, and none comes after. */
void hv_mem_unregister_notifier(struct hv_mem *mem, struct hv_mem_notifier *n);

/* Asks all listeners about [start, end): was any page of it accessed? */
bool hv_mem_test_young(struct hv_mem *mem, uint64_t start, uint64_t end);
bool hv_mem_clear_flush_young(struct hv_mem *mem, uint64_t start, uint64_t end);

/*
 * The region that an hva lies in, or NULL. Inside a read-side section, which
 * also keeps the region from being freed.
 */
struct hv_region *hv_mem_find_region(struct hv_mem *mem, uint64_t hva);

struct hv_mem_pfn_info {
	enum hv_page_level level; /* of the largest leaf that may map the hva */
	bool writable;
};

/*
 * What may be mapped at an hva: the largest level whose naturally aligned range
 * around the hva lies within one piece of backing with one protection. 0, or
 * -EFAULT where nothing is mapped. Takes no lock and may be called with any
 * held; inside a read-side section. What it says holds until the next
 * invalidate_range_start of a range that contains the hva.
 */
int hv_mem_pfn_info(struct hv_mem *mem, uint64_t hva, struct hv_mem_pfn_info *info);

/* ---- regions ------------------------------------------------------------------------- */

/*
 * Reserves addresses aligned to 2 MiB (to 1 GiB, if it is that large) with
 * inaccessible pages before and after, and maps the backing there. Nothing is
 * populated. 0; -EINVAL: params; -ENOSPC: too many regions; -EFBIG: the file is
 * too short; -ENOMEM; or what mmap() or memfd_create() failed with.
 */
int hv_region_create(struct hv_mem *mem, const struct hv_region_params *params,
		     struct hv_region **region);

/* Invalidates it all, waits for a grace period, unmaps. NULL: nothing. */
void hv_region_destroy(struct hv_region *region);

/* Immutable. */
uint64_t hv_region_hva(const struct hv_region *region);
uint64_t hv_region_size(const struct hv_region *region);
struct hv_mem *hv_region_mem(const struct hv_region *region);

/*
 * The file behind a byte of the region and, unless NULL, its offset there. The
 * fd is lent until that part is remapped or destroyed; -1 for memory that has
 * none or does not share it (ANON, FILE_PRIVATE), and beyond the end.
 */
int hv_region_fd(const struct hv_region *region, uint64_t offset, uint64_t *fd_offset);

/* True if all of the range is writable. False for a bad range. */
bool hv_region_is_writable(const struct hv_region *region, uint64_t offset, uint64_t len);

/*
 * Makes the range resident, in steps that let others in. Stops at the first
 * failure: -ENOMEM, -EFAULT (the file has become too short), -EHWPOISON.
 */
int hv_region_populate(struct hv_region *region, uint64_t offset, uint64_t len);

/*
 * Gives the contents back to the host: anonymous memory and shared files (by a
 * hole in the file) read as zeros afterwards, a private mapping as its file.
 * Other errors are those of madvise() and fallocate(): then part of the range
 * may have been given back.
 */
int hv_region_discard(struct hv_region *region, uint64_t offset, uint64_t len);

/* The same, but -EAGAIN instead of waiting for locks or for listeners. */
int hv_region_discard_nowait(struct hv_region *region, uint64_t offset, uint64_t len);

/* Lets the host write the range out and take its pages; contents stay. */
int hv_region_pageout(struct hv_region *region, uint64_t offset, uint64_t len);

/*
 * Puts other memory under the range, writable unless the backing's file is not.
 * The old contents are gone. On failure nothing has changed; only if the kernel
 * fails at the very last step, the range is left unmapped (-EFAULT in pfn_info).
 */
int hv_region_remap(struct hv_region *region, uint64_t offset, uint64_t len,
		    const struct hv_backing *backing);

enum hv_region_access {
	HV_REGION_RO,
	HV_REGION_RW,
};

/* -EACCES: RW of a shared file that was opened read-only. On failure nothing changed. */
int hv_region_protect(struct hv_region *region, uint64_t offset, uint64_t len,
		      enum hv_region_access access);

#endif
