/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrays of segments against a model with one record per page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/base/fault_inject.h"
#include "hv/mem/mem_internal.h"

#define PAGES 64
#define BASE  (UINT64_C(1) << 40)

struct page {
	struct mem_file *file;
	uint64_t offset;
	bool writable;
};

static struct page model[PAGES];
static struct mem_file *files[3];

static uint64_t hva(uint64_t page)
{
	return BASE + page * HV_PAGE_SIZE;
}

static struct mem_segment make(uint64_t first, uint64_t end, int f, uint64_t offset)
{
	return (struct mem_segment){ .start = hva(first),
				     .end = hva(end),
				     .file = f < 0 ? NULL : files[f],
				     .offset = f < 0 ? 0 : offset,
				     .kind = f < 0 ? HV_BACKING_ANON : HV_BACKING_MEMFD,
				     .page_level = HV_LEVEL_4K,
				     .max_level = HV_LEVEL_2M,
				     .writable = true };
}

static int setup(void **state)
{
	int i;

	for (i = 0; i < 3; i++) {
		files[i] = malloc(sizeof(*files[i]));
		hv_refcount_set(&files[i]->refs, 1);
		files[i]->fd = open("/dev/null", O_RDWR);
	}
	return 0;
}

/* Every reference that the arrays took has been given back. */
static int teardown(void **state)
{
	int i;

	for (i = 0; i < 3; i++) {
		if (hv_refcount_read(&files[i]->refs) != 1)
			return -1;
		mem_file_put(files[i]);
	}
	return 0;
}

static void check(const struct mem_segments *segs)
{
	uint64_t p;
	uint32_t i;

	assert_int_equal(segs->seg[0].start, hva(0));
	assert_int_equal(segs->seg[segs->n - 1].end, hva(PAGES));
	for (i = 0; i + 1 < segs->n; i++)
		assert_int_equal(segs->seg[i].end, segs->seg[i + 1].start);
	for (p = 0; p < PAGES; p++) {
		const struct mem_segment *seg = segments_find(segs, hva(p) + 5);

		assert_true(seg->start <= hva(p) && hva(p) < seg->end);
		assert_ptr_equal(seg->file, model[p].file);
		assert_int_equal(seg->writable, model[p].writable);
		if (seg->file)
			assert_int_equal(seg->offset + (hva(p) - seg->start), model[p].offset);
	}
}

/* As few segments as the model allows. */
static uint32_t fewest(void)
{
	uint32_t n = 1;
	int p;

	for (p = 1; p < PAGES; p++)
		n += model[p].file != model[p - 1].file ||
		     model[p].writable != model[p - 1].writable ||
		     (model[p].file && model[p].offset != model[p - 1].offset + HV_PAGE_SIZE);
	return n;
}

static struct mem_segments *replace(struct mem_segments *segs, uint64_t first, uint64_t end,
				    unsigned int *seed)
{
	int f = rand_r(seed) % 4 - 1;
	/* Often the offset that merges with the neighbours. */
	uint64_t offset = rand_r(seed) % 2 ? first * HV_PAGE_SIZE : HV_SZ_1G, p;
	struct mem_segment new = make(first, end, f, offset);
	struct mem_segments *copy;

	assert_int_equal(segments_replace(segs, &new, &copy), 0);
	for (p = first; p < end; p++)
		model[p] = (struct page){ new.file, offset + (p - first) * HV_PAGE_SIZE, true };
	segments_free(segs);
	return copy;
}

static struct mem_segments *protect(struct mem_segments *segs, uint64_t first, uint64_t end,
				    bool writable)
{
	struct mem_segments *copy;
	uint64_t p;

	assert_int_equal(segments_protect(segs, hva(first), hva(end), writable, &copy), 0);
	for (p = first; p < end; p++)
		model[p].writable = writable;
	segments_free(segs);
	return copy;
}

static void follows_the_model(void **state)
{
	struct mem_segment all = make(0, PAGES, -1, 0);
	struct mem_segments *segs = segments_new(&all);
	unsigned int seed = 4;
	int i, p;

	for (p = 0; p < PAGES; p++)
		model[p] = (struct page){ NULL, 0, true };
	for (i = 0; i < 5000; i++) {
		uint64_t first = (uint64_t)rand_r(&seed) % PAGES;
		uint64_t end = first + 1 + (uint64_t)rand_r(&seed) % (PAGES - first);

		if (rand_r(&seed) % 2)
			segs = replace(segs, first, end, &seed);
		else
			segs = protect(segs, first, end, rand_r(&seed) % 2);
		check(segs);
		assert_int_equal(segs->n, fewest());
	}
	segments_free(segs);
}

static void clips(void **state)
{
	struct mem_segment seg = make(10, 20, 0, HV_SZ_2M), part;

	part = segment_clip(&seg, hva(12), hva(13));
	assert_int_equal(part.start, hva(12));
	assert_int_equal(part.end, hva(13));
	assert_int_equal(part.offset, HV_SZ_2M + 2 * HV_PAGE_SIZE);
	part = segment_clip(&seg, 0, UINT64_MAX);
	assert_int_equal(part.start, hva(10));
	assert_int_equal(part.end, hva(20));
	assert_int_equal(part.offset, HV_SZ_2M);
}

static void too_many(void **state)
{
	struct mem_segments full = { .n = HV_MEM_SEGMENTS_MAX - 1 }, *copy = NULL;
	struct mem_segment seg = make(0, 1, -1, 0);

	assert_int_equal(segments_replace(&full, &seg, &copy), -ENOSPC);
	assert_int_equal(segments_protect(&full, hva(0), hva(1), true, &copy), -ENOSPC);
	assert_null(copy);
}

#ifdef HV_DEBUG
static void no_memory(void **state)
{
	struct mem_segment all = make(0, PAGES, -1, 0);
	struct mem_segments *segs = segments_new(&all), *copy = NULL;

	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(segments_replace(segs, &all, &copy), -ENOMEM);
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(segments_protect(segs, hva(0), hva(1), false, &copy), -ENOMEM);
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_null(segments_new(&all));
	hv_fault_disarm();
	assert_null(copy);
	segments_free(segs);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(follows_the_model, setup, teardown),
		cmocka_unit_test_setup_teardown(clips, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many, setup, teardown),
#ifdef HV_DEBUG
		cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
