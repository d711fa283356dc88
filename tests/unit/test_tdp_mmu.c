/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv/mmu over real memslots, notifiers and host memory, seen by a processor that
 * walks the tables itself: EPT and NPT, with and without A/D bits, 4 and 5 levels.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/hv.h"
#include "hv/mmu/mmu_internal.h"
#include "hv/mmu/slot_arch.h"
#include "hv/vm/dirty.h"
#include "hv/vm/notifier.h"
#include "tests/lib/mmu_fixture.h"

#define MB (1ULL << 20)
#define GB (1ULL << 30)

static const struct mx_config configs[] = {
	{ .kind = HW_EPT, .use_tlb = true },
	{ .kind = HW_EPT, .use_tlb = true, .no_ad = true },
	{ .kind = HW_NPT, .use_tlb = true },
	{ .kind = HW_EPT, .use_tlb = true, .five_level = true },
	{ .kind = HW_NPT, .use_tlb = true, .five_level = true },
};
#define NR_CONFIGS (sizeof(configs) / sizeof(configs[0]))

static uint64_t peek(struct mx *m, hv_gpa_t gpa)
{
	uint64_t v = 0xdead;

	assert_int_equal(mx_access(&m->v[0], gpa, HW_READ, &v), MX_OK);
	return v;
}

static void poke(struct mx *m, hv_gpa_t gpa, uint64_t v)
{
	assert_int_equal(mx_access(&m->v[0], gpa, HW_WRITE, &v), MX_OK);
}

static struct hv_mmu_stats stats(struct mx *m)
{
	struct hv_mmu_stats s;

	mmu_get_stats(m->vm, &s);
	return s;
}

static void settle(struct mx *m)
{
	hv_mutex_lock(&m->vm->slots_lock);
	mmu_zap_flush(m->vm->mmu);
	hv_mutex_unlock(&m->vm->slots_lock);
}

/* One slot of `size` at gpa; the host memory begins `skew` pages into a region. */
static struct hv_region *one_slot(struct mx *m, hv_gpa_t gpa, uint64_t size, uint64_t skew,
				  uint32_t flags)
{
	struct hv_region *r = mx_region(m, size + (skew << 12), HV_BACKING_ANON);

	assert_int_equal(mx_slot(m, 0, gpa, size, hv_region_hva(r) + (skew << 12), flags), 0);
	return r;
}

static void finish(struct mx *m, struct hv_region *r)
{
	mx_slot(m, 0, 0, 0, 0, 0);
	mx_slot(m, 1, 0, 0, 0, 0);
	hv_region_destroy(r);
	settle(m);
	assert_int_equal(stats(m).pages_4k + stats(m).pages_2m + stats(m).pages_1g, 0);
	mx_free(m);
}

/* ---- mapping -------------------------------------------------------------------------- */

static void maps_by_alignment(void **state)
{
	static const struct {
		hv_gpa_t gpa;
		uint64_t size, skew, touch;
		unsigned int n4k, n2m, n1g;
	} cases[] = {
		{ 0, 2 * GB, 0, GB + 12345, 0, 0, 1 },
		{ 0, 512 * MB, 0, 300 * MB, 0, 1, 0 },
		{ 0x1000, 8 * MB, 1, 5 * MB, 0, 1, 0 },	/* congruent, inner block */
		{ 0x1000, 8 * MB, 1, 0x3000, 1, 0, 0 },	/* the first block is not whole */
		{ 0x1000, 8 * MB, 1, 8 * MB + 8, 1, 0, 0 }, /* nor the last */
		{ 0, 8 * MB, 1, 4 * MB, 1, 0, 0 },		/* not congruent */
		{ 0, MB, 0, 0, 1, 0, 0 },
	};
	unsigned int i, c;

	for (c = 0; c < NR_CONFIGS; c++)
		for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
			struct mx *m = mx_new(&configs[c]);
			struct hv_region *r = one_slot(m, cases[i].gpa, cases[i].size, cases[i].skew, 0);
			hv_gpa_t gpa = cases[i].touch & ~7ULL;
			struct hv_mmu_stats s;

			poke(m, gpa, 0x1122334455667788);
			assert_int_equal(*(uint64_t *)(uintptr_t)(hv_region_hva(r) +
								  (cases[i].skew << 12) + gpa -
								  cases[i].gpa),
					 0x1122334455667788);
			s = stats(m);
			assert_int_equal(s.pages_4k, cases[i].n4k);
			assert_int_equal(s.pages_2m, cases[i].n2m);
			assert_int_equal(s.pages_1g, cases[i].n1g);
			assert_int_equal(s.faults, 1);
			/* The neighbour in a huge leaf needs no fault. */
			if (!cases[i].n4k) {
				peek(m, gpa ^ 0x1000);
				assert_int_equal(stats(m).faults, 1);
			}
			finish(m, r);
		}
}

static void fills_a_gigabyte_of_small_pages(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = one_slot(m, 0, 64 * MB, 1, 0); /* skewed: 4K only */
	uint64_t gpa;

	for (gpa = 0; gpa < 64 * MB; gpa += 4096)
		poke(m, gpa, gpa);
	assert_int_equal(stats(m).pages_4k, 64 * MB / 4096);
	assert_int_equal(stats(m).pages_tables, 1 + 1 + 1 + 32);
	for (gpa = 0; gpa < 64 * MB; gpa += 4096)
		assert_int_equal(peek(m, gpa), gpa);
	assert_int_equal(stats(m).faults, 64 * MB / 4096);
	finish(m, r);
}

static void read_only_slot_and_host(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct hv_region *r = one_slot(m, 0, 4 * MB, 0, HV_MEM_READONLY);
		uint64_t v = 1;

		assert_int_equal(peek(m, 8), 0);
		assert_int_equal(mx_access(&m->v[0], 8, HW_WRITE, &v), MX_MMIO);
		assert_int_equal(peek(m, 8), 0);
		assert_int_equal(mx_slot(m, 0, 0, 0, 0, 0), 0);
		assert_int_equal(mx_slot(m, 0, 0, 4 * MB, hv_region_hva(r), 0), 0);
		poke(m, 8, 77);
		/* The host takes the right to write away: the guest's write is its user's matter. */
		assert_int_equal(hv_region_protect(r, 0, 2 * MB, HV_REGION_RO), 0);
		assert_false(mx_mapped(&m->v[0], 8, HW_WRITE));
		assert_int_equal(mx_access(&m->v[0], 8, HW_WRITE, &v), MX_EFAULT);
		assert_int_equal(peek(m, 8), 77);
		poke(m, 2 * MB, 5);
		assert_int_equal(hv_region_protect(r, 0, 2 * MB, HV_REGION_RW), 0);
		poke(m, 8, 78);
		finish(m, r);
	}
}

static void beyond_the_tables_is_mmio(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_pf_request req = { .addr = 1ULL << 50 };
	uint64_t v;

	mx_access(&m->v[0], 0, HW_READ, &v);
	hv_rcu_read_lock();
	assert_int_equal(mmu_page_fault(m->v[0].vcpu, &req), HV_PF_EMULATE);
	hv_rcu_read_unlock();
	assert_true(req.mmio);
	mx_free(m);
}

/* ---- slots and notifiers --------------------------------------------------------------- */

static void nothing_survives_a_slot(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		/* Both edges inside 2 MiB blocks, neighbours on both sides. */
		struct hv_region *r = mx_region(m, 64 * MB, HV_BACKING_ANON);
		uint64_t hva = hv_region_hva(r), gpa, v;

		assert_int_equal(mx_slot(m, 0, 0, 0x301000, hva, 0), 0);
		assert_int_equal(mx_slot(m, 1, 0x301000, 20 * MB, hva + 0x301000, 0), 0);
		assert_int_equal(mx_slot(m, 2, 0x301000 + 20 * MB, 4 * MB, hva + 0x301000 + 20 * MB, 0), 0);
		for (gpa = 0; gpa < 0x301000 + 24 * MB; gpa += 4096)
			poke(m, gpa, gpa + 1);
		assert_int_equal(mx_slot(m, 1, 0, 0, 0, 0), 0);
		for (gpa = 0; gpa < 0x301000 + 24 * MB; gpa += 4096)
			assert_int_equal(mx_mapped(&m->v[0], gpa, HW_READ),
					 gpa < 0x301000 || gpa >= 0x301000 + 20 * MB);
		assert_int_equal(mx_access(&m->v[0], 0x301000, HW_READ, &v), MX_MMIO);
		assert_int_equal(peek(m, 0x300000), 0x300001);
		/* Back again, at another place in the host. */
		assert_int_equal(mx_slot(m, 1, 0x301000, 20 * MB, hva + 32 * MB, 0), 0);
		assert_int_equal(peek(m, 0x301000), 0);
		mx_slot(m, 1, 0, 0, 0, 0);
		mx_slot(m, 2, 0, 0, 0, 0);
		finish(m, r);
	}
}

static void move_changes_the_translation(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = one_slot(m, 0, 8 * MB, 0, 0);
	uint64_t v;

	poke(m, 0x5000, 99);
	assert_int_equal(mx_slot(m, 0, 0x40000000, 8 * MB, hv_region_hva(r), 0), 0);
	assert_false(mx_mapped(&m->v[0], 0x5000, HW_READ));
	assert_int_equal(mx_access(&m->v[0], 0x5000, HW_READ, &v), MX_MMIO);
	assert_int_equal(peek(m, 0x40005000), 99);
	finish(m, r);
}

static void discard_takes_the_page(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct hv_region *r = one_slot(m, 0, 8 * MB, 0, 0);

		poke(m, 0x5000, 99);
		poke(m, 0x6000, 98);
		poke(m, 4 * MB, 97);
		assert_int_equal(hv_region_discard(r, 0x5000, 4096), 0);
		assert_false(mx_mapped(&m->v[0], 0x5000, HW_READ));
		assert_true(mx_mapped(&m->v[0], 4 * MB, HW_READ));
		assert_int_equal(peek(m, 0x5000), 0);
		assert_int_equal(peek(m, 0x6000), 98);
		assert_int_equal(hv_region_discard(r, 0, 8 * MB), 0);
		assert_false(mx_mapped(&m->v[0], 4 * MB, HW_READ));
		assert_int_equal(peek(m, 4 * MB), 0);
		finish(m, r);
	}
}

/* A fault next to a range that is being taken must not bring it in by a huge leaf. */
static void huge_leaf_keeps_out_of_an_invalidation(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct hv_region *r = one_slot(m, 0, 8 * MB, 0, 0);
		struct hv_mem_range range = {
			.start = hv_region_hva(r) + 0x5000, .end = hv_region_hva(r) + 0x6000,
			.event = HV_MEM_REMAP, .blockable = true,
		};

		poke(m, 0x5000, 1);
		assert_int_equal(notifier_invalidate_start(m->vm, &range), 0);
		assert_false(mx_mapped(&m->v[0], 0x5000, HW_READ));
		peek(m, 0x8000);
		assert_false(mx_mapped(&m->v[0], 0x5000, HW_READ));
		peek(m, 2 * MB);
		assert_int_equal(stats(m).pages_2m, 1);
		notifier_invalidate_end(m->vm, &range);
		assert_int_equal(peek(m, 0x5000), 1);
		finish(m, r);
	}
}

/* ---- MMIO cache --------------------------------------------------------------------------- */

static uint64_t stat_of(_Atomic uint64_t *s)
{
	return atomic_load(s);
}

static void mmio_cached_until_a_slot_appears(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct mx_vcpu *v = &m->v[0];
		struct hv_region *r = mx_region(m, 4 * MB, HV_BACKING_ANON);
		uint64_t x;

		assert_int_equal(mx_access(v, 0xfee00010, HW_READ, &x), MX_MMIO);
		assert_int_equal(stat_of(&v->vcpu->stats.mmio_cache_misses), 1);
		assert_int_equal(mx_access(v, 0xfee00020, HW_WRITE, &x), MX_MMIO);
		assert_int_equal(stat_of(&v->vcpu->stats.mmio_cache_hits), 1);
		assert_int_equal(v->last_gpa, 0xfee00020);
		/* A slot elsewhere: the entry is stale, and is made anew. */
		assert_int_equal(mx_slot(m, 0, 0, 4 * MB, hv_region_hva(r), 0), 0);
		assert_int_equal(mx_access(v, 0xfee00010, HW_READ, &x), MX_MMIO);
		assert_int_equal(stat_of(&v->vcpu->stats.mmio_cache_stale), 1);
		assert_int_equal(stat_of(&v->vcpu->stats.mmio_cache_misses), 2);
		assert_int_equal(mx_access(v, 0xfee00010, HW_READ, &x), MX_MMIO);
		assert_int_equal(stat_of(&v->vcpu->stats.mmio_cache_hits), 2);
		/* A slot right there. */
		assert_int_equal(mx_slot(m, 0, 0xfee00000, 4 * MB, hv_region_hva(r), 0), 0);
		assert_int_equal(mx_access(v, 0xfee00010, HW_READ, &x), MX_OK);
		finish(m, r);
	}
}

static void generation_wrap_zaps_mmio(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct mx_vcpu *v = &m->v[0];
	uint64_t x;

	assert_int_equal(mx_access(v, 0xfee00010, HW_READ, &x), MX_MMIO);
	hv_mutex_lock(&m->vm->slots_lock);
	/* Same low bits as before after a whole turn: would look current. */
	hv_mmu.generation_changed(m->vm, m->vm->mmu->mmio_generation + 2);
	assert_int_equal(mx_guest_access(v, 0xfee00010, HW_READ, NULL), HW_MISCONFIG);
	hv_mmu.generation_changed(m->vm, m->vm->mmu->mmio_generation + (1ULL << SPTE_MMIO_GEN_BITS));
	hv_mutex_unlock(&m->vm->slots_lock);
	assert_int_equal(mx_guest_access(v, 0xfee00010, HW_READ, NULL), HW_VIOLATION);
	mx_free(m);
}

/* ---- dirty log ------------------------------------------------------------------------------- */

static uint64_t dirty_words[64 * MB / 4096 / 64];

static bool logged(struct mx *m, hv_gpa_t gpa)
{
	return dirty_words[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1;
}

static unsigned int get_log(struct mx *m, uint64_t size)
{
	unsigned int n = 0, i;

	memset(dirty_words, 0, sizeof(dirty_words));
	assert_int_equal(dirty_bitmap_get(m->vm, 0, dirty_words), 0);
	for (i = 0; i < size / 4096 / 64; i++)
		n += (unsigned int)__builtin_popcountll(dirty_words[i]);
	return n;
}

struct dirty_config {
	struct mx_config mx;
	enum hv_mmu_dirty_mode mode;
};

static const struct dirty_config dirty_configs[] = {
	{ { .kind = HW_EPT, .use_tlb = true }, HV_MMU_DIRTY_WP },
	{ { .kind = HW_EPT, .use_tlb = true, .no_ad = true }, HV_MMU_DIRTY_WP },
	{ { .kind = HW_NPT, .use_tlb = true }, HV_MMU_DIRTY_WP },
	{ { .kind = HW_EPT, .use_tlb = true }, HV_MMU_DIRTY_DBIT },
	{ { .kind = HW_NPT, .use_tlb = true }, HV_MMU_DIRTY_DBIT },
	{ { .kind = HW_EPT, .use_tlb = true, .pml = true }, HV_MMU_DIRTY_PML },
};
#define NR_DIRTY (sizeof(dirty_configs) / sizeof(dirty_configs[0]))

static struct mx *dirty_new(unsigned int i)
{
	struct mx *m = mx_new(&dirty_configs[i].mx);

	assert_int_equal(mmu_set_dirty_mode(m->vm, dirty_configs[i].mode), 0);
	return m;
}

static void log_sees_every_write_once(void **state)
{
	unsigned int i;

	for (i = 0; i < NR_DIRTY; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 0, 0);
		uint64_t gpa;

		/* Writable huge leaves and TLB entries from before logging. */
		for (gpa = 0; gpa < 16 * MB; gpa += 4096)
			poke(m, gpa, 1);
		assert_int_equal(stats(m).pages_4k, 0);
		assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(r), HV_MEM_LOG_DIRTY_PAGES), 0);
		assert_int_equal(get_log(m, 16 * MB), 0);
		poke(m, 0x3000, 2);
		poke(m, 5 * MB + 8, 2);
		poke(m, 0x3000, 3); /* twice: one bit */
		peek(m, 7 * MB);
		assert_int_equal(get_log(m, 16 * MB), 2);
		assert_true(logged(m, 0x3000) && logged(m, 5 * MB));
		/* Armed again by get: unwritten means not logged, written means logged. */
		assert_int_equal(get_log(m, 16 * MB), 0);
		poke(m, 0x3000, 4);
		assert_int_equal(get_log(m, 16 * MB), 1);
		/* First touch under logging: a read is no write. */
		assert_int_equal(hv_region_discard(r, 8 * MB, 4 * MB), 0);
		peek(m, 9 * MB);
		assert_int_equal(get_log(m, 16 * MB), 0);
		poke(m, 9 * MB, 1);
		assert_int_equal(get_log(m, 16 * MB), 1);
		finish(m, r);
	}
}

static void log_survives_zaps(void **state)
{
	unsigned int i;

	for (i = 0; i < NR_DIRTY; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 0, HV_MEM_LOG_DIRTY_PAGES);

		poke(m, 0x3000, 2);
		poke(m, 3 * MB, 2);
		get_log(m, 16 * MB);
		poke(m, 0x3000, 3);
		poke(m, 3 * MB, 3);
		/* Leaf by leaf, and by subtree with the root. */
		assert_int_equal(hv_region_discard(r, 0x3000, 4096), 0);
		assert_int_equal(mmu_invalidate_all(m->vm, NULL), 0);
		assert_int_equal(get_log(m, 16 * MB), 2);
		assert_true(logged(m, 0x3000) && logged(m, 3 * MB));
		finish(m, r);
	}
}

static void manual_protect_and_initially_set(void **state)
{
	unsigned int i;

	for (i = 0; i < NR_DIRTY; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r;
		uint64_t gpa, chunk = ~0ULL;

		assert_int_equal(dirty_bitmap_set_mode(m->vm, HV_DIRTY_MANUAL_PROTECT |
								      HV_DIRTY_INITIALLY_ALL_SET),
				 0);
		r = one_slot(m, 0, 16 * MB, 0, 0);
		for (gpa = 0; gpa < 16 * MB; gpa += 4096)
			poke(m, gpa, 1);
		assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(r), HV_MEM_LOG_DIRTY_PAGES), 0);
		/* Nothing was split or armed yet; everything counts as dirty. */
		assert_int_equal(stats(m).pages_4k, 0);
		assert_int_equal(get_log(m, 16 * MB), 4096);
		assert_int_equal(get_log(m, 16 * MB), 4096);
		assert_int_equal(dirty_bitmap_clear(m->vm, 0, 64, 64, &chunk), 0);
		assert_int_equal(get_log(m, 16 * MB), 4096 - 64);
		assert_int_equal(stats(m).pages_4k, 512);
		peek(m, 64 * 4096);
		poke(m, 65 * 4096, 3);
		assert_int_equal(get_log(m, 16 * MB), 4096 - 63);
		assert_true(logged(m, 65 * 4096));
		finish(m, r);
	}
}

static void split_and_collapse(void **state)
{
	unsigned int i;

	for (i = 0; i < NR_DIRTY; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 0, 0);
		uint64_t gpa;

		for (gpa = 0; gpa < 16 * MB; gpa += 2 * MB)
			poke(m, gpa, gpa);
		assert_int_equal(stats(m).pages_2m, 8);
		assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(r), HV_MEM_LOG_DIRTY_PAGES), 0);
		assert_int_equal(stats(m).pages_2m, 0);
		assert_int_equal(stats(m).pages_4k, 8 * 512);
		assert_int_equal(stats(m).splits, 8);
		poke(m, 3 * MB, 1);
		assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(r), 0), 0);
		assert_int_equal(stats(m).collapses, 8);
		for (gpa = 0; gpa < 16 * MB; gpa += 2 * MB)
			assert_int_equal(peek(m, gpa), gpa);
		settle(m);
		assert_int_equal(stats(m).pages_2m, 8);
		assert_int_equal(stats(m).pages_4k, 0);
		finish(m, r);
	}
}

static void fast_fault_restores_w(void **state)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 1, HV_MEM_LOG_DIRTY_PAGES);

		poke(m, 0x3000, 1);
		assert_int_equal(stats(m).fast_faults, 0);
		get_log(m, 16 * MB);
		poke(m, 0x3000, 2);
		assert_int_equal(stats(m).fast_faults, 1);
		assert_int_equal(get_log(m, 16 * MB), 1);
		finish(m, r);
	}
}

/* ---- access tracking --------------------------------------------------------------------------- */

static void ages(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 1, 0);
		uint64_t hva = hv_region_hva(r) + 4096, fast;

		poke(m, 0x3000, 1);
		peek(m, 0x4000);
		assert_true(hv_mem_test_young(m->mem, hva + 0x3000, hva + 0x4000));
		assert_false(hv_mem_test_young(m->mem, hva + 0x9000, hva + 0xa000));
		assert_true(hv_mem_clear_flush_young(m->mem, hva + 0x3000, hva + 0x5000));
		assert_false(hv_mem_test_young(m->mem, hva + 0x3000, hva + 0x5000));
		assert_false(hv_mem_clear_flush_young(m->mem, hva + 0x3000, hva + 0x5000));
		fast = stats(m).fast_faults;
		peek(m, 0x4000);
		assert_true(hv_mem_test_young(m->mem, hva + 0x4000, hva + 0x5000));
		assert_false(hv_mem_test_young(m->mem, hva + 0x3000, hva + 0x4000));
		/* Without A/D bits the entry was hidden, and a fast fault has brought it back. */
		assert_int_equal(stats(m).fast_faults - fast, configs[c].no_ad ? 1 : 0);
		poke(m, 0x3000, 2);
		assert_int_equal(peek(m, 0x3000), 2);
		assert_true(hv_mem_test_young(m->mem, hva + 0x3000, hva + 0x4000));
		finish(m, r);
	}
}

/* W is not saved: a page hidden while it is logged must be logged when written again. */
static void tracking_does_not_hide_writes_from_the_log(void **state)
{
	struct mx *m = mx_new(&configs[1]);
	struct hv_region *r = one_slot(m, 0, 16 * MB, 1, HV_MEM_LOG_DIRTY_PAGES);
	uint64_t hva = hv_region_hva(r) + 4096;

	poke(m, 0x3000, 1);
	assert_true(hv_mem_clear_flush_young(m->mem, hva + 0x3000, hva + 0x4000));
	assert_int_equal(get_log(m, 16 * MB), 1);
	peek(m, 0x3000);
	assert_int_equal(get_log(m, 16 * MB), 0);
	poke(m, 0x3000, 2);
	assert_int_equal(get_log(m, 16 * MB), 1);
	finish(m, r);
}

/* ---- NX huge pages -------------------------------------------------------------------------------- */

static void nx_huge_pages(void **state)
{
	unsigned int c;

	for (c = 0; c < NR_CONFIGS; c++) {
		struct mx *m = mx_new(&configs[c]);
		struct hv_region *r = one_slot(m, 0, 16 * MB, 0, 0);
		struct mx_vcpu *v = &m->v[0];

		assert_int_equal(mmu_set_nx_huge_pages(m->vm, HV_MMU_ON), 0);
		poke(m, 0x3000, 1);
		assert_int_equal(stats(m).pages_2m, 1);
		assert_false(mx_mapped(v, 0x3000, HW_EXEC));
		assert_int_equal(mx_access(v, 0x3000, HW_EXEC, NULL), MX_OK);
		assert_int_equal(stats(m).pages_2m, 0);
		assert_int_equal(stats(m).nx_splits, 1);
		assert_true(mx_mapped(v, 0x3000, HW_WRITE));
		poke(m, 4 * MB, 1);
		assert_int_equal(stats(m).pages_2m, 1);
		assert_int_equal(mmu_set_nx_huge_pages(m->vm, HV_MMU_OFF), 0);
		assert_int_equal(mx_access(v, 0x3000, HW_EXEC, NULL), MX_OK);
		assert_int_equal(stats(m).pages_2m, 1);
		assert_int_equal(stats(m).pages_4k, 0);
		finish(m, r);
	}
}

/* ---- roots ------------------------------------------------------------------------------------------- */

static void invalidation_gives_new_roots(void **state)
{
	struct mx_config config = { .kind = HW_EPT, .use_tlb = true, .vcpus = 3 };
	struct mx *m = mx_new(&config);
	struct hv_region *r = one_slot(m, 0, 16 * MB, 1, 0);
	struct hv_mmu_invalidate_times times;
	struct hv_mmu_root_info info[8];
	uint64_t v = 7, old;
	unsigned int i;

	for (i = 0; i < 3; i++)
		assert_int_equal(mx_access(&m->v[i], 0x3000, HW_WRITE, &v), MX_OK);
	assert_int_equal(mmu_list_roots(m->vm, info, 8), 1); /* one role: shared */
	assert_int_equal(info[0].refcount, 3);
	assert_false(info[0].invalid || info[0].queued || info[0].indirect);
	old = m->v[0].hw.root;
	assert_int_equal(mmu_invalidate_all(m->vm, &times), 0);
	assert_int_equal(times.roots, 1);
	/* vCPU 0 reloads; 1 and 2 sleep on, and keep the zapped root. */
	assert_int_equal(peek(m, 0x3000), 7);
	assert_int_not_equal(m->v[0].hw.root, old);
	assert_int_equal(mmu_list_roots(m->vm, info, 8), 2);
	assert_true(info[0].invalid && !info[0].queued);
	assert_int_equal(info[0].refcount, 2);
	assert_false(info[1].invalid);
	assert_false(mx_mapped(&m->v[1], 0x3000, HW_READ));
	/* Again, while they sleep: the old root is not queued a second time. */
	assert_int_equal(mmu_invalidate_all(m->vm, &times), 0);
	assert_int_equal(times.roots, 1);
	assert_int_equal(mmu_list_roots(m->vm, info, 8), 2);
	for (i = 0; i < 3; i++)
		assert_int_equal(mx_access(&m->v[i], 0x3000, HW_READ, &v), MX_OK);
	settle(m);
	assert_int_equal(mmu_list_roots(m->vm, info, 8), 1);
	assert_int_equal(info[0].refcount, 3);
	finish(m, r);
}

static void last_put_goes_through_the_queue(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = one_slot(m, 0, 16 * MB, 1, 0);
	struct hv_mmu_root_info info[4];

	poke(m, 0x3000, 1);
	mmu_unload(m->v[0].vcpu);
	settle(m);
	settle(m);
	assert_int_equal(mmu_list_roots(m->vm, info, 4), 0);
	assert_int_equal(stats(m).pages_4k, 0);
	assert_int_equal(stats(m).pages_tables, 0);
	assert_int_equal(m->vm->mmu->zap.roots_zapped, 1);
	assert_int_equal(peek(m, 0x3000), 1);
	finish(m, r);
}

static void address_spaces_have_their_own_roots(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = mx_region(m, 8 * MB, HV_BACKING_ANON);
	uint64_t hva = hv_region_hva(r), v;
	struct hv_mmu_root_info info[4];

	assert_int_equal(mx_slot(m, 0, 0, 4 * MB, hva, 0), 0);
	assert_int_equal(mx_slot(m, 1 << 16, 0, 4 * MB, hva + 4 * MB, 0), 0);
	poke(m, 0x3000, 1);
	mmu_set_address_space(m->v[0].vcpu, 1);
	assert_int_equal(peek(m, 0x3000), 0);
	poke(m, 0x3000, 2);
	mmu_set_address_space(m->v[0].vcpu, 0);
	assert_int_equal(peek(m, 0x3000), 1);
	assert_int_equal(mmu_list_roots(m->vm, info, 4), 2);
	/* A slot of one space, deleted: the other's translation stays. */
	assert_int_equal(mx_slot(m, 1 << 16, 0, 0, 0, 0), 0);
	assert_true(mx_mapped(&m->v[0], 0x3000, HW_READ));
	mmu_set_address_space(m->v[0].vcpu, 1);
	assert_int_equal(mx_access(&m->v[0], 0x3000, HW_READ, &v), MX_MMIO);
	finish(m, r);
}

/* The fast fault logs in the address space that the vCPU is in. */
static void fast_fault_in_the_other_address_space(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = mx_region(m, 8 * MB, HV_BACKING_ANON);
	uint64_t hva = hv_region_hva(r), log[16];

	assert_int_equal(mx_slot(m, 0, 0, 4 * MB, hva, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(mx_slot(m, 1 << 16, 0, 4 * MB, hva + 4 * MB, HV_MEM_LOG_DIRTY_PAGES), 0);
	mmu_set_address_space(m->v[0].vcpu, 1);
	peek(m, 0x3000);
	poke(m, 0x3000, 2);
	assert_int_equal(stats(m).fast_faults, 1);
	assert_int_equal(dirty_bitmap_get(m->vm, 0, log), 0);
	assert_int_equal(log[0], 0);
	assert_int_equal(dirty_bitmap_get(m->vm, 1 << 16, log), 0);
	assert_int_equal(log[0], 1 << 3);
	assert_int_equal(mx_slot(m, 1 << 16, 0, 0, 0, 0), 0);
	finish(m, r);
}

static void settings_need_an_empty_mmu(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct mx *n = mx_new(&configs[2]);
	uint64_t v;

	assert_int_equal(mmu_set_tdp_level(m->vm, 6), -EINVAL);
	assert_int_equal(mmu_set_dirty_mode(m->vm, HV_MMU_DIRTY_PML), -EINVAL);
	assert_int_equal(mmu_set_ad_bits(n->vm, HV_MMU_OFF), -EINVAL);
	mx_access(&m->v[0], 0, HW_READ, &v);
	assert_int_equal(mmu_set_tdp_level(m->vm, 5), -EBUSY);
	assert_int_equal(mmu_set_dirty_mode(m->vm, HV_MMU_DIRTY_DBIT), -EBUSY);
	assert_int_equal(mmu_set_ad_bits(m->vm, HV_MMU_OFF), -EBUSY);
	mx_free(m);
	mx_free(n);
}

/* ---- prefault, failures ------------------------------------------------------------------------------- */

static void prefault_maps(void **state)
{
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = one_slot(m, 0, 16 * MB, 1, 0);
	uint64_t before;

	assert_int_equal(mmu_prefault(m->v[0].vcpu, 0x3000, 5 * MB), 5 * MB);
	assert_int_equal(stats(m).pages_4k, 5 * MB / 4096);
	before = m->v[0].faults;
	poke(m, 0x3000, 1);
	peek(m, 5 * MB);
	assert_int_equal(m->v[0].faults, before);
	assert_int_equal(mmu_prefault(m->v[0].vcpu, 16 * MB - 4096, 8192), 4096);
	assert_int_equal(mmu_prefault(m->v[0].vcpu, 32 * MB, 4096), -ENOENT);
	finish(m, r);
}

static void no_memory_is_a_clean_error(void **state)
{
#ifdef HV_DEBUG
	struct mx *m = mx_new(&configs[0]);
	struct hv_region *r = one_slot(m, 0, 16 * MB, 1, 0);
	struct hv_pf_request req = { .addr = 0x5000 };
	unsigned int n;
	int err;

	for (n = 1; n < 100; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		err = mmu_reload(m->v[0].vcpu);
		if (!err) {
			hv_rcu_read_lock();
			err = mmu_page_fault(m->v[0].vcpu, &req);
			hv_rcu_read_unlock();
		}
		if (!hv_fault_disarm())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(stats(m).pages_4k, 0);
	}
	assert_true(n > 1);
	assert_int_equal(err, HV_PF_FIXED);
	assert_true(mx_mapped(&m->v[0], 0x5000, HW_WRITE));
	/* A slot update through each of its failures. */
	for (n = 1; n < 100; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		err = mx_slot(m, 1, GB, 16 * MB, hv_region_hva(r), 0);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(err, -ENOMEM);
		hv_rcu_read_lock();
		assert_null(memslot_by_id(hv_vm_memslots(m->vm, 0), 1));
		hv_rcu_read_unlock();
	}
	assert_int_equal(err, 0);
	assert_true(n > 2);
	finish(m, r);
#else
	skip();
#endif
}

static void splitting_without_memory_still_logs(void **state)
{
#ifdef HV_DEBUG
	unsigned int i;

	for (i = 0; i < NR_DIRTY; i++) {
		struct mx *m = dirty_new(i);
		struct hv_region *r = one_slot(m, 0, 1024 * MB, 512, 0);
		uint64_t gpa;
		unsigned int n;
		int err = -ENOMEM;

		for (gpa = 0; gpa < 1024 * MB; gpa += 2 * MB)
			assert_int_equal(mmu_prefault(m->v[0].vcpu, gpa, 4096), 4096);
		for (n = 1; err; n++) {
			hv_fault_arm(HV_FAULT_THREAD, n);
			err = mx_slot(m, 0, 0, 1024 * MB, hv_region_hva(r) + 2 * MB,
				      HV_MEM_LOG_DIRTY_PAGES);
			hv_fault_disarm();
		}
		poke(m, 0x3000, 2);
		poke(m, 0x4000, 2);
		poke(m, 1022 * MB, 2);
		peek(m, 1020 * MB);
		{
			uint64_t *log = calloc(1024 * MB / 4096 / 64, 8);

			assert_int_equal(dirty_bitmap_get(m->vm, 0, log), 0);
			assert_int_equal(log[0], 3 << 3);
			assert_int_equal(log[1022 * MB / 4096 / 64], 1);
			assert_int_equal(log[1020 * MB / 4096 / 64], 0);
			free(log);
		}
		finish(m, r);
	}
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_by_alignment),
		cmocka_unit_test(fills_a_gigabyte_of_small_pages),
		cmocka_unit_test(read_only_slot_and_host),
		cmocka_unit_test(beyond_the_tables_is_mmio),
		cmocka_unit_test(nothing_survives_a_slot),
		cmocka_unit_test(move_changes_the_translation),
		cmocka_unit_test(discard_takes_the_page),
		cmocka_unit_test(huge_leaf_keeps_out_of_an_invalidation),
		cmocka_unit_test(mmio_cached_until_a_slot_appears),
		cmocka_unit_test(generation_wrap_zaps_mmio),
		cmocka_unit_test(log_sees_every_write_once),
		cmocka_unit_test(log_survives_zaps),
		cmocka_unit_test(manual_protect_and_initially_set),
		cmocka_unit_test(split_and_collapse),
		cmocka_unit_test(fast_fault_restores_w),
		cmocka_unit_test(ages),
		cmocka_unit_test(tracking_does_not_hide_writes_from_the_log),
		cmocka_unit_test(nx_huge_pages),
		cmocka_unit_test(invalidation_gives_new_roots),
		cmocka_unit_test(last_put_goes_through_the_queue),
		cmocka_unit_test(address_spaces_have_their_own_roots),
		cmocka_unit_test(fast_fault_in_the_other_address_space),
		cmocka_unit_test(settings_need_an_empty_mmu),
		cmocka_unit_test(prefault_maps),
		cmocka_unit_test(no_memory_is_a_clean_error),
		cmocka_unit_test(splitting_without_memory_still_logs),
	};
	int failed;

	mx_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mx_end();
	return failed;
}
