/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a region: reserving its addresses, mapping, unmapping.
 *
 *	reserved	 guard  hva		     hva + size	 guard
 *	|----------------|------|--------------------|-----------|
 *	  inaccessible    >= 4K	  the backing		  >= 4K
 */
#include <errno.h>
#include <sys/mman.h>

#include "hv/base/fault_inject.h"
#include "hv/base/trace.h"
#include "hv/mem/mem_internal.h"

static int reserve(struct hv_region *r)
{
	uint64_t align = r->size >= HV_SZ_1G ? HV_SZ_1G : HV_SZ_2M;
	uint64_t size = r->size + align + 2 * HV_PAGE_SIZE;
	void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	r->reserved = p;
	r->reserved_size = size;
	r->hva = hv_align_up((uint64_t)(uintptr_t)p + HV_PAGE_SIZE, align);
	return 0;
}

static int open_and_map(struct hv_region *r, const struct hv_region_params *params)
{
	struct mem_segment seg;
	int err = backing_open(&params->backing, r->size, !params->read_only, params->name, &seg);

	if (err)
		return err;
	seg.start = r->hva;
	seg.end = r->hva + r->size;
	err = backing_map(&seg);
	if (err) {
		mem_file_put(seg.file);
		return err;
	}
	r->segments = segments_new(&seg);
	return r->segments ? 0 : -ENOMEM;
}

int hv_region_create(struct hv_mem *mem, const struct hv_region_params *params,
		     struct hv_region **out)
{
	struct hv_region *r;
	int err;

	if (!params->size || params->size % HV_PAGE_SIZE || params->size > HV_REGION_SIZE_MAX)
		return -EINVAL;
	r = hv_zalloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->mem = mem;
	r->size = params->size;
	err = reserve(r);
	if (err)
		goto fail_free;
	err = open_and_map(r, params);
	if (err)
		goto fail_unmap;
	err = mem_add_region(mem, r);
	if (err)
		goto fail_segments;
	hv_trace(region_create, (uintptr_t)mem, r->hva, r->size, params->backing.kind);
	*out = r;
	return 0;

fail_segments:
	segments_free(r->segments);
fail_unmap:
	munmap(r->reserved, r->reserved_size);
fail_free:
	hv_free(r);
	return err;
}

/*
 * Within start..end the addresses become inaccessible and leave the lookup;
 * they stay reserved until no reader can hold the region, lest somebody else's
 * mapping takes the place that a stale hva points to.
 */
static void withdraw(struct hv_region *r)
{
	const struct hv_mem_range range = { .start = r->hva,
					    .end = r->hva + r->size,
					    .event = HV_MEM_UNMAP,
					    .blockable = true };
	const struct mem_segment all = { .start = range.start, .end = range.end };
	struct hv_mem *mem = r->mem;
	int err;

	hv_write_lock(&mem->region_lock);
	err = mem_change_begin(mem, &range);
	HV_BUG_ON(err); /* it was blockable */
	mem_remove_region_locked(mem, r);
	backing_withdraw(&all);
	mem_change_end(mem, &range, 0);
	hv_write_unlock(&mem->region_lock);
}

void hv_region_destroy(struct hv_region *r)
{
	if (!r)
		return;
	withdraw(r);
	hv_synchronize_rcu();
	hv_trace(region_destroy, (uintptr_t)r->mem, r->hva, r->size);
	segments_free(r->segments);
	munmap(r->reserved, r->reserved_size);
	hv_free(r);
}

uint64_t hv_region_hva(const struct hv_region *r)
{
	return r->hva;
}

uint64_t hv_region_size(const struct hv_region *r)
{
	return r->size;
}

struct hv_mem *hv_region_mem(const struct hv_region *r)
{
	return r->mem;
}

int hv_region_fd(const struct hv_region *r, uint64_t offset, uint64_t *fd_offset)
{
	const struct mem_segment *seg;
	int fd = -1;

	if (offset >= r->size)
		return -1;
	hv_rcu_read_lock();
	seg = segments_find(hv_rcu_dereference(r->segments), r->hva + offset);
	if (seg->file && seg->kind != HV_BACKING_FILE_PRIVATE && !seg->hole) {
		fd = seg->file->fd;
		if (fd_offset)
			*fd_offset = seg->offset + (r->hva + offset - seg->start);
	}
	hv_rcu_read_unlock();
	return fd;
}

bool hv_region_is_writable(const struct hv_region *r, uint64_t offset, uint64_t len)
{
	const struct mem_segments *segs;
	uint64_t hva = r->hva + offset;
	bool writable = false;

	if (!len || offset >= r->size || len > r->size - offset)
		return false;
	hv_rcu_read_lock();
	segs = hv_rcu_dereference(r->segments);
	for (;;) {
		const struct mem_segment *seg = segments_find(segs, hva);

		writable = seg->writable && !seg->hole;
		if (!writable || seg->end >= r->hva + offset + len)
			break;
		hva = seg->end;
	}
	hv_rcu_read_unlock();
	return writable;
}
