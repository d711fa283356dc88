/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The address space: which regions there are, who listens, and the bracket
 * around every change.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/trace.h"
#include "hv/mem/mem_internal.h"

#define FIRST_CAPACITY 8

static struct mem_regions *regions_alloc(uint32_t capacity)
{
	struct mem_regions *r = hv_zalloc(sizeof(*r) + capacity * sizeof(r->entry[0]));

	if (r)
		r->capacity = capacity;
	return r;
}

int hv_mem_create(struct hv_mem **out)
{
	struct hv_mem *mem = hv_zalloc(sizeof(*mem));
	struct mem_regions *none = regions_alloc(FIRST_CAPACITY);

	if (!mem || !none) {
		hv_free(none);
		hv_free(mem);
		return -ENOMEM;
	}
	hv_rwlock_init(&mem->region_lock, HV_LC_REGION);
	hv_lockdep_init(&mem->mn_active, HV_LC_MN_ACTIVE, HV_LOCK_PSEUDO);
	CDS_INIT_LIST_HEAD(&mem->notifiers);
	mem->regions = none;
	*out = mem;
	return 0;
}

void hv_mem_destroy(struct hv_mem *mem)
{
	struct hv_mem_notifier *n, *next;

	if (!mem)
		return;
	hv_write_lock(&mem->region_lock);
	HV_BUG_ON(mem->nr_regions);
	cds_list_for_each_entry_safe(n, next, &mem->notifiers, node) {
		cds_list_del_init(&n->node);
		if (n->ops->release)
			n->ops->release(n);
	}
	hv_write_unlock(&mem->region_lock);
	hv_lockdep_destroy(&mem->mn_active, __FILE__, __LINE__);
	hv_rwlock_destroy(&mem->region_lock);
	hv_free(mem->regions);
	hv_free(mem);
}

/* ---- the array of regions -------------------------------------------------------------- */

static void free_regions(struct hv_rcu_head *head)
{
	hv_free(container_of(head, struct mem_regions, rcu));
}

/* Readers that overlap begin..end look again. Pairs with lookup(). */
static void move_begin(struct hv_mem *mem)
{
	hv_fetch_add(&mem->seq, 1);
}

static void move_end(struct hv_mem *mem)
{
	hv_store_release(&mem->seq, mem->seq + 1);
}

static void set_entry(struct mem_region_entry *to, uint64_t hva, struct hv_region *region)
{
	WRITE_ONCE(to->hva, hva);
	WRITE_ONCE(to->region, region);
}

/* How many of the first n entries begin at or below hva. */
static uint32_t count_up_to(const struct mem_regions *r, uint32_t n, uint64_t hva)
{
	uint32_t lo = 0, hi = n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (READ_ONCE(r->entry[mid].hva) <= hva)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Room for one more. Readers may see the smaller array until a grace period has passed. */
static int grow_locked(struct hv_mem *mem)
{
	struct mem_regions *old = hv_rcu_dereference_protected(mem->regions, &mem->region_lock);
	struct mem_regions *new;

	if (mem->nr_regions >= HV_MEM_REGIONS_MAX)
		return -ENOSPC;
	if (mem->nr_regions < old->capacity)
		return 0;
	new = regions_alloc(2 * old->capacity);
	if (!new)
		return -ENOMEM;
	memcpy(new->entry, old->entry, mem->nr_regions * sizeof(new->entry[0]));
	hv_rcu_assign_pointer(mem->regions, new);
	hv_call_rcu(&old->rcu, free_regions);
	return 0;
}

static void insert_locked(struct hv_mem *mem, struct hv_region *region)
{
	struct mem_regions *r = hv_rcu_dereference_protected(mem->regions, &mem->region_lock);
	uint32_t at = count_up_to(r, mem->nr_regions, region->hva), i;

	move_begin(mem);
	for (i = mem->nr_regions; i > at; i--)
		set_entry(&r->entry[i], r->entry[i - 1].hva, r->entry[i - 1].region);
	set_entry(&r->entry[at], region->hva, region);
	WRITE_ONCE(mem->nr_regions, mem->nr_regions + 1);
	move_end(mem);
}

int mem_add_region(struct hv_mem *mem, struct hv_region *region)
{
	int err;

	hv_write_lock(&mem->region_lock);
	err = grow_locked(mem);
	if (!err)
		insert_locked(mem, region);
	hv_write_unlock(&mem->region_lock);
	return err;
}

void mem_remove_region_locked(struct hv_mem *mem, struct hv_region *region)
{
	struct mem_regions *r = hv_rcu_dereference_protected(mem->regions, &mem->region_lock);
	uint32_t i = count_up_to(r, mem->nr_regions, region->hva) - 1;

	HV_BUG_ON(i >= mem->nr_regions || r->entry[i].region != region);
	move_begin(mem);
	for (; i + 1 < mem->nr_regions; i++)
		set_entry(&r->entry[i], r->entry[i + 1].hva, r->entry[i + 1].region);
	WRITE_ONCE(mem->nr_regions, mem->nr_regions - 1);
	move_end(mem);
}

/* The last region that begins at or below hva, or NULL. Takes no lock. */
static struct hv_region *lookup(struct hv_mem *mem, uint64_t hva)
{
	const struct mem_regions *r;
	struct hv_region *region;
	uint64_t seq;
	uint32_t n;

	for (;;) {
		seq = hv_load_acquire(&mem->seq); /* pairs with move_end() */
		r = hv_rcu_dereference(mem->regions);
		/* Entries of two moments: bounded by the array, and thrown away below. */
		n = hv_min(READ_ONCE(mem->nr_regions), r->capacity);
		n = count_up_to(r, n, hva);
		region = n ? READ_ONCE(r->entry[n - 1].region) : NULL;
		hv_barrier(); /* pairs with move_begin(); x86 keeps loads in order */
		if (!(seq & 1) && READ_ONCE(mem->seq) == seq)
			return region;
		hv_cpu_relax();
	}
}

struct hv_region *hv_mem_find_region(struct hv_mem *mem, uint64_t hva)
{
	struct hv_region *region;

	hv_rcu_assert_read_held();
	region = lookup(mem, hva);
	return region && hva - region->hva < region->size ? region : NULL;
}

int hv_mem_pfn_info(struct hv_mem *mem, uint64_t hva, struct hv_mem_pfn_info *info)
{
	struct hv_region *region = hv_mem_find_region(mem, hva);
	const struct mem_segment *seg;
	enum hv_page_level level;

	if (!region)
		return -EFAULT;
	seg = segments_find(hv_rcu_dereference(region->segments), hva);
	if (seg->hole)
		return -EFAULT;
	for (level = seg->max_level; level > HV_LEVEL_4K; level--) {
		uint64_t size = UINT64_C(1) << hv_level_shift(level);
		uint64_t base = hv_align_down(hva, size);

		if (base >= seg->start && base + size <= seg->end)
			break;
	}
	*info = (struct hv_mem_pfn_info){ .level = level, .writable = seg->writable };
	return 0;
}

/* ---- listeners ------------------------------------------------------------------------- */

void hv_mem_register_notifier(struct hv_mem *mem, struct hv_mem_notifier *n)
{
	HV_BUG_ON(!n->ops->invalidate_range_start || !n->ops->invalidate_range_end);
	hv_write_lock(&mem->region_lock);
	cds_list_add_tail(&n->node, &mem->notifiers);
	hv_write_unlock(&mem->region_lock);
}

void hv_mem_unregister_notifier(struct hv_mem *mem, struct hv_mem_notifier *n)
{
	/* Callbacks run with the lock held, shared or not: none runs now. */
	hv_write_lock(&mem->region_lock);
	cds_list_del_init(&n->node);
	hv_write_unlock(&mem->region_lock);
}

/* Ends what began: all listeners before `stop`, or all of them. */
static void end_until(struct hv_mem *mem, const struct hv_mem_notifier *stop,
		      const struct hv_mem_range *range)
{
	struct hv_mem_notifier *n;

	cds_list_for_each_entry(n, &mem->notifiers, node) {
		if (n == stop)
			return;
		n->ops->invalidate_range_end(n, range);
	}
}

int mem_change_begin(struct hv_mem *mem, const struct hv_mem_range *range)
{
	struct hv_mem_notifier *n;
	int err;

	hv_assert_held(&mem->region_lock);
	hv_lockdep_before(&mem->mn_active, 0, __FILE__, __LINE__);
	hv_lockdep_acquired(&mem->mn_active, HV_LM_SHARED, 0, __FILE__, __LINE__);
	hv_trace(region_invalidate_begin, (uintptr_t)mem, range->start, range->end, range->event);
	cds_list_for_each_entry(n, &mem->notifiers, node) {
		err = n->ops->invalidate_range_start(n, range);
		if (!err)
			continue;
		/* Only a listener that may not block may refuse. */
		HV_BUG_ON(range->blockable);
		end_until(mem, n, range);
		hv_lockdep_release(&mem->mn_active, HV_LM_SHARED, __FILE__, __LINE__);
		return err;
	}
	return 0;
}

void mem_change_end(struct hv_mem *mem, const struct hv_mem_range *range, int ret)
{
	end_until(mem, NULL, range);
	hv_trace(region_invalidate_end, (uintptr_t)mem, range->start, range->end, range->event,
		 (uint64_t)ret);
	hv_lockdep_release(&mem->mn_active, HV_LM_SHARED, __FILE__, __LINE__);
}

bool hv_mem_test_young(struct hv_mem *mem, uint64_t start, uint64_t end)
{
	struct hv_mem_notifier *n;
	bool young = false;

	hv_read_lock(&mem->region_lock);
	cds_list_for_each_entry(n, &mem->notifiers, node)
		if (n->ops->test_young)
			young |= n->ops->test_young(n, start, end);
	hv_read_unlock(&mem->region_lock);
	return young;
}

bool hv_mem_clear_flush_young(struct hv_mem *mem, uint64_t start, uint64_t end)
{
	struct hv_mem_notifier *n;
	bool young = false;

	hv_read_lock(&mem->region_lock);
	cds_list_for_each_entry(n, &mem->notifiers, node)
		if (n->ops->clear_flush_young)
			young |= n->ops->clear_flush_young(n, start, end);
	hv_read_unlock(&mem->region_lock);
	return young;
}
