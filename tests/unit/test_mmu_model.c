/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine beside a plain model: arrays that say for each guest page which host
 * page it is, for each host page what it holds and whether it may be written, and
 * for each slot which pages were written since its log was read. Random operations
 * on both; any difference fails.
 *
 * HVD_MODEL_OPS: operations per configuration. HVD_MODEL_SEED.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/hv.h"
#include "hv/vm/dirty.h"
#include "tests/lib/mmu_fixture.h"

#define MB	   (1ULL << 20)
#define HOST_PAGES 4096 /* 16 MiB */
#define GFNS	   8192
#define SLOTS	   6
#define VCPUS	   2

struct model_slot {
	bool used, logged, read_only;
	uint64_t gfn, npages, host; /* host: page of the region */
	uint8_t dirty[HOST_PAGES];
};

struct model {
	struct model_slot slot[SLOTS];
	uint64_t content[HOST_PAGES];
	bool host_ro[HOST_PAGES];
};

static struct model model;
static struct mx *m;
static struct hv_region *region;
static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static struct model_slot *slot_at(uint64_t gfn)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		if (model.slot[i].used && gfn >= model.slot[i].gfn &&
		    gfn - model.slot[i].gfn < model.slot[i].npages)
			return &model.slot[i];
	return NULL;
}

static bool overlaps(unsigned int except, uint64_t gfn, uint64_t npages)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		if (i != except && model.slot[i].used && gfn < model.slot[i].gfn + model.slot[i].npages &&
		    model.slot[i].gfn < gfn + npages)
			return true;
	return false;
}

static uint32_t flags_of(const struct model_slot *s)
{
	return (s->logged ? HV_MEM_LOG_DIRTY_PAGES : 0) | (s->read_only ? HV_MEM_READONLY : 0);
}

static int set_slot(unsigned int id, const struct model_slot *s)
{
	return mx_slot(m, id, s->gfn << 12, s->npages << 12, hv_region_hva(region) + (s->host << 12),
		       flags_of(s));
}

/* ---- operations ---------------------------------------------------------------------------- */

static void op_access(void)
{
	static const unsigned int accs[] = { HW_READ, HW_WRITE, HW_WRITE, HW_EXEC };
	struct mx_vcpu *v = &m->v[rnd(VCPUS)];
	unsigned int acc = accs[rnd(4)];
	uint64_t gfn = rnd(GFNS), value = rng, page;
	struct model_slot *s;
	enum mx_result want = MX_OK, r;

	/* Mostly where something is. */
	s = &model.slot[rnd(SLOTS)];
	if (s->used && rnd(8))
		gfn = s->gfn + rnd(s->npages);
	s = slot_at(gfn);
	page = s ? s->host + gfn - s->gfn : 0;
	if (!s || (s->read_only && acc == HW_WRITE))
		want = MX_MMIO;
	else if (model.host_ro[page] && acc == HW_WRITE)
		want = MX_EFAULT;
	r = mx_access(v, gfn << 12, acc, &value);
	if (r != want)
		fail_msg("gfn %" PRIx64 " access %u: %d instead of %d", gfn, acc, r, want);
	if (r != MX_OK)
		return;
	if (acc == HW_WRITE) {
		model.content[page] = value;
		if (s->logged)
			s->dirty[gfn - s->gfn] = 1;
	} else if (value != model.content[page]) {
		fail_msg("gfn %" PRIx64 " reads %" PRIx64 " instead of %" PRIx64, gfn, value,
			 model.content[page]);
	}
}

static void op_create(void)
{
	unsigned int id = (unsigned int)rnd(SLOTS);
	struct model_slot s = { .used = true, .logged = rnd(2), .read_only = rnd(8) == 0 };

	if (model.slot[id].used)
		return;
	s.npages = 1 + rnd(rnd(2) ? 2048 : 16);
	s.gfn = rnd(GFNS - s.npages);
	s.host = rnd(HOST_PAGES - s.npages);
	if (rnd(2)) /* congruent for huge pages */
		s.host = s.host / 512 * 512 + s.gfn % 512;
	if (s.host + s.npages > HOST_PAGES)
		return;
	if (overlaps(id, s.gfn, s.npages)) {
		assert_int_equal(set_slot(id, &s), -EEXIST);
		return;
	}
	assert_int_equal(set_slot(id, &s), 0);
	model.slot[id] = s;
}

static void op_delete(void)
{
	unsigned int id = (unsigned int)rnd(SLOTS);

	assert_int_equal(mx_slot(m, id, 0, 0, 0, 0), model.slot[id].used ? 0 : -EINVAL);
	model.slot[id].used = false;
}

static void op_move(void)
{
	unsigned int id = (unsigned int)rnd(SLOTS);
	struct model_slot s = model.slot[id];

	if (!s.used)
		return;
	s.gfn = rnd(GFNS - s.npages);
	if (overlaps(id, s.gfn, s.npages)) {
		assert_int_equal(set_slot(id, &s), -EEXIST);
		return;
	}
	assert_int_equal(set_slot(id, &s), 0);
	model.slot[id] = s;
}

static void op_toggle_log(void)
{
	unsigned int id = (unsigned int)rnd(SLOTS);
	struct model_slot *s = &model.slot[id];

	if (!s->used)
		return;
	s->logged = !s->logged;
	memset(s->dirty, 0, sizeof(s->dirty));
	assert_int_equal(set_slot(id, s), 0);
}

static void op_read_log(void)
{
	static uint64_t log[HOST_PAGES / 64];
	unsigned int id = (unsigned int)rnd(SLOTS);
	struct model_slot *s = &model.slot[id];
	uint64_t i;

	if (!s->used || !s->logged)
		return;
	assert_int_equal(dirty_bitmap_get(m->vm, id, log), 0);
	for (i = 0; i < s->npages; i++)
		if ((log[i / 64] >> (i % 64) & 1) != s->dirty[i])
			fail_msg("slot %u page %" PRIu64 ": the log says %d", id, i, !s->dirty[i]);
	memset(s->dirty, 0, sizeof(s->dirty));
}

static void op_host(void)
{
	uint64_t n = 1 + rnd(rnd(4) ? 4 : 1024), page = rnd(HOST_PAGES - n), i;
	bool ro;

	switch (rnd(3)) {
	case 0:
		assert_int_equal(hv_region_discard(region, page << 12, n << 12), 0);
		for (i = page; i < page + n; i++)
			model.content[i] = 0;
		break;
	case 1:
		ro = rnd(4) == 0;
		/* Few pieces: the host's table of mappings has an end. */
		page &= ~255ULL;
		assert_int_equal(hv_region_protect(region, page << 12, 256 << 12,
						   ro ? HV_REGION_RO : HV_REGION_RW),
				 0);
		for (i = page; i < page + 256; i++)
			model.host_ro[i] = ro;
		break;
	default:
		hv_mem_clear_flush_young(m->mem, hv_region_hva(region) + (page << 12),
					 hv_region_hva(region) + ((page + n) << 12));
		break;
	}
}

static void op(void)
{
	switch (rnd(64)) {
	case 0:
		op_create();
		break;
	case 1:
		if (rnd(4) == 0)
			op_delete();
		break;
	case 2:
		if (rnd(4) == 0)
			op_move();
		break;
	case 3:
		op_toggle_log();
		break;
	case 4:
		op_read_log();
		break;
	case 5:
		op_host();
		break;
	case 6:
		if (rnd(8) == 0)
			assert_int_equal(mmu_invalidate_all(m->vm, NULL), 0);
		break;
	case 7:
		if (rnd(64) == 0)
			assert_int_equal(mmu_set_nx_huge_pages(m->vm, rnd(2) ? HV_MMU_ON : HV_MMU_OFF),
					 0);
		break;
	default:
		op_access();
		break;
	}
}

static void check_everything(void)
{
	uint64_t gfn;

	for (gfn = 0; gfn < GFNS; gfn++) {
		struct model_slot *s = slot_at(gfn);
		uint64_t value = 0;
		enum mx_result r = mx_access(&m->v[0], gfn << 12, HW_READ, &value);

		assert_int_equal(r, s ? MX_OK : MX_MMIO);
		if (s)
			assert_int_equal(value, model.content[s->host + gfn - s->gfn]);
	}
}

static void run(const struct mx_config *config, enum hv_mmu_dirty_mode mode)
{
	const char *env = getenv("HVD_MODEL_OPS"), *seed = getenv("HVD_MODEL_SEED");
	unsigned long i, n = env ? strtoul(env, NULL, 0) : 60000;

	rng = seed ? strtoull(seed, NULL, 0) : 0x2545f4914f6cdd1dULL;
	memset(&model, 0, sizeof(model));
	m = mx_new(config);
	assert_int_equal(mmu_set_dirty_mode(m->vm, mode), 0);
	region = mx_region(m, HOST_PAGES << 12, HV_BACKING_ANON);
	for (i = 0; i < n; i++)
		op();
	check_everything();
	for (i = 0; i < SLOTS; i++)
		mx_slot(m, (uint32_t)i, 0, 0, 0, 0);
	hv_region_destroy(region);
	mx_free(m);
}

static void ept_write_protect(void **state)
{
	run(&(struct mx_config){ .kind = HW_EPT, .use_tlb = true, .vcpus = VCPUS }, HV_MMU_DIRTY_WP);
}

static void ept_without_ad(void **state)
{
	run(&(struct mx_config){ .kind = HW_EPT, .no_ad = true, .use_tlb = true, .vcpus = VCPUS },
	    HV_MMU_DIRTY_WP);
}

static void ept_dirty_bits(void **state)
{
	run(&(struct mx_config){ .kind = HW_EPT, .use_tlb = true, .vcpus = VCPUS }, HV_MMU_DIRTY_DBIT);
}

static void ept_pml(void **state)
{
	run(&(struct mx_config){ .kind = HW_EPT, .pml = true, .use_tlb = true, .vcpus = VCPUS },
	    HV_MMU_DIRTY_PML);
}

static void npt_write_protect(void **state)
{
	run(&(struct mx_config){ .kind = HW_NPT, .use_tlb = true, .vcpus = VCPUS, .five_level = true },
	    HV_MMU_DIRTY_WP);
}

static void npt_dirty_bits(void **state)
{
	run(&(struct mx_config){ .kind = HW_NPT, .use_tlb = true, .vcpus = VCPUS }, HV_MMU_DIRTY_DBIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ept_write_protect), cmocka_unit_test(ept_without_ad),
		cmocka_unit_test(ept_dirty_bits),    cmocka_unit_test(ept_pml),
		cmocka_unit_test(npt_write_protect), cmocka_unit_test(npt_dirty_bits),
	};
	int failed;

	mx_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mx_end();
	return failed;
}
