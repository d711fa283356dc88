/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The races that the MMU's guards are there for, each played in the one order that
 * matters. The program is built once as it is, and once for each guard with that
 * guard taken out of the file that has it (HV_MUTATION_*, see mmu.am). The mutated
 * build must show the damage, or the test proves nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/hv.h"
#include "hv/mmu/mmu_internal.h"
#include "hv/vm/dirty.h"
#include "hv/x86/defs.h"
#include "tests/lib/mmu_fixture.h"
#include "tests/lib/mmu_mutation.h"

#define MB (1ULL << 20)

/* What the other CPU does at the mutation point, once. */
static void (*other_cpu)(void);
static unsigned int point_reached;

void mmu_mutation_point(void)
{
	void (*fn)(void) = other_cpu;

	other_cpu = NULL;
	if (!fn)
		return;
	point_reached++;
	fn();
}

/* Without the mutation there is no such moment: the other CPU comes before. */
static inline void other_cpu_if_not_yet(void)
{
	if (other_cpu)
		mmu_mutation_point();
}

static void start(void (*fn)(void))
{
	other_cpu = fn;
	point_reached = 0;
}

static struct mx *m;
static struct hv_region *region;

static void mx_begin(enum hw_kind kind, unsigned int vcpus)
{
	struct mx_config config = { .kind = kind, .use_tlb = true, .vcpus = vcpus };

	m = mx_new(&config);
	region = mx_region(m, 16 * MB, HV_BACKING_ANON);
}

static void mx_finish(void)
{
	mx_slot(m, 0, 0, 0, 0, 0);
	mx_slot(m, 1, 0, 0, 0, 0);
	hv_region_destroy(region);
	mx_free(m);
}

static void poke(unsigned int cpu, uint64_t addr, uint64_t v)
{
	assert_int_equal(mx_access(&m->v[cpu], addr, HW_WRITE, &v), MX_OK);
}

static bool in_log(uint32_t slot, uint64_t page)
{
	uint64_t *log = calloc(16 * MB / 4096 / 64, 8);
	bool set;

	assert_int_equal(dirty_bitmap_get(m->vm, slot, log), 0);
	set = log[page / 64] >> (page % 64) & 1;
	free(log);
	return set;
}

/* ---- lost Dirty bit --------------------------------------------------------------------- */
#if !defined(HV_MUTATION_FAST_FAULT_INDIRECT)
static void write_by_cpu1(void)
{
	poke(1, 0x3000, 2);
}

static void dirty_bit_set_while_the_entry_is_zapped(void **state)
{
	bool logged;

	mx_begin(HW_EPT, 2);
	assert_int_equal(mmu_set_dirty_mode(m->vm, HV_MMU_DIRTY_DBIT), 0);
	assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(region), HV_MEM_LOG_DIRTY_PAGES), 0);
	poke(1, 0x3000, 1);
	assert_true(in_log(0, 3));
	assert_false(in_log(0, 3));
	/* Host memory changes its protection: the entry goes, the contents stay. */
	start(write_by_cpu1);
#ifndef HV_MUTATION_NON_ATOMIC_ZAP
	other_cpu_if_not_yet();
#endif
	assert_int_equal(hv_region_protect(region, 0x3000, 4096, HV_REGION_RO), 0);
	assert_int_equal(point_reached, 1);
	assert_int_equal(*(uint64_t *)(uintptr_t)(hv_region_hva(region) + 0x3000), 2);
	logged = in_log(0, 3);
#ifdef HV_MUTATION_NON_ATOMIC_ZAP
	assert_false(logged);
#else
	assert_true(logged);
#endif
	mx_finish();
}

/* ---- writable to read-only without a flush ------------------------------------------------ */

static void cached_translation_after_write_protection(void **state)
{
	bool logged;

	mx_begin(HW_EPT, 1);
	assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(region), 0), 0);
	poke(0, 0x3000, 1); /* the TLB has it writable */
	assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(region), HV_MEM_LOG_DIRTY_PAGES), 0);
	poke(0, 0x3000, 2);
	logged = in_log(0, 3);
#ifdef HV_MUTATION_NO_WRPROT_FLUSH
	assert_false(logged);
#else
	assert_true(logged);
#endif
	mx_finish();
}

/* ---- MMIO cache and generation --------------------------------------------------------------- */

static void mmio_entry_from_before_the_slot(void **state)
{
	uint64_t v = 5;
	enum mx_result r;

	mx_begin(HW_EPT, 1);
	assert_int_equal(mx_access(&m->v[0], 0x3000, HW_READ, &v), MX_MMIO);
	assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(region), 0), 0);
	r = mx_access(&m->v[0], 0x3000, HW_WRITE, &v);
#ifdef HV_MUTATION_MMIO_NO_GENERATION
	assert_int_equal(r, MX_MMIO);
#else
	assert_int_equal(r, MX_OK);
#endif
	mx_finish();
}

/* ---- a root queued twice ------------------------------------------------------------------------ */

static void root_of_a_sleeping_vcpu(void **state)
{
	struct hv_mmu_invalidate_times times;
	uint64_t v = 1;

	mx_begin(HW_EPT, 2);
	assert_int_equal(mx_slot(m, 0, 0, 16 * MB, hv_region_hva(region), 0), 0);
	poke(0, 0x3000, 1);
	poke(1, 0x3000, 1);
	/* vCPU 1 sleeps with the old root; vCPU 0 goes on with new ones. */
	assert_int_equal(mmu_invalidate_all(m->vm, &times), 0);
	assert_int_equal(times.roots, 1);
	poke(0, 0x3000, 2);
	assert_int_equal(mmu_invalidate_all(m->vm, &times), 0);
#ifdef HV_MUTATION_QUEUE_TWICE
	assert_int_equal(times.roots, 2);
	assert_int_equal(m->vm->mmu->zap.roots_zapped, 3);
#else
	assert_int_equal(times.roots, 1);
	assert_int_equal(m->vm->mmu->zap.roots_zapped, 2);
#endif
	assert_int_equal(mx_access(&m->v[1], 0x3000, HW_READ, &v), MX_OK);
	assert_int_equal(v, 2);
	mx_finish();
}
#endif

/* ---- ABA in the fast page fault -------------------------------------------------------------------- */

/*
 * gfn 0x1000 (slot 0) and gfn 0x2000 (slot 1) are the same host memory. The guest's
 * entry names one, then the other: the shadow entry goes and comes back with the
 * same value, while vCPU 0 stands between reading it and its cmpxchg.
 */
#define TABLES (8 * MB)
#define GFN1   0x1000ULL
#define GFN2   0x2000ULL
#define PAGE   5

static uint64_t *table(unsigned int n)
{
	return (uint64_t *)(uintptr_t)(hv_region_hva(region) + TABLES + n * 4096);
}

static void set_guest_entry(uint64_t gfn)
{
	table(3)[0] = (gfn + PAGE) << 12 | X86_PTE_P | X86_PTE_W | X86_PTE_A | X86_PTE_D;
	hv_rcu_read_lock();
	mmu_guest_written(m->v[1].vcpu, (1ULL << 40) + 3 * 4096, 8);
	hv_rcu_read_unlock();
	mmu_invlpg(m->v[1].vcpu, 0);
}

static void other_gfn_same_page(void)
{
	uint64_t v;

	set_guest_entry(GFN2);
	assert_int_equal(mx_access(&m->v[1], 0, HW_READ, &v), MX_OK);
}

static void entry_comes_back_for_another_gfn(void **state)
{
	struct hv_guest_paging gp = {
		.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP, .cr3 = 1ULL << 40, .cr4 = X86_CR4_PAE,
		.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE, .maxphyaddr = 46,
	};
	uint64_t v, hva;
	unsigned int i;
	bool logged1, logged2;

	mx_begin(HW_X86_LONG, 2);
	hva = hv_region_hva(region);
	for (i = 0; i < 3; i++)
		table(i)[0] = ((1ULL << 40) + (i + 1) * 4096) | X86_PTE_P | X86_PTE_W | X86_PTE_A;
	assert_int_equal(mx_slot(m, 0, GFN1 << 12, MB, hva, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(mx_slot(m, 1, GFN2 << 12, MB, hva, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(mx_slot(m, 2, 1ULL << 40, MB, hva + TABLES, 0), 0);
	for (i = 0; i < 2; i++)
		mmu_guest_paging_changed(m->v[i].vcpu, &gp);
	assert_int_equal(mx_access(&m->v[1], 1 << 12, HW_READ, &v), MX_GUEST_FAULT);
	set_guest_entry(GFN1);
	assert_int_equal(mx_access(&m->v[0], 0, HW_READ, &v), MX_OK);
	start(other_gfn_same_page);
#ifndef HV_MUTATION_FAST_FAULT_INDIRECT
	other_cpu_if_not_yet();
#endif
	poke(0, 0, 7);
	assert_int_equal(point_reached, 1);
	assert_int_equal(*(uint64_t *)(uintptr_t)(hva + PAGE * 4096), 7);
	logged1 = in_log(0, PAGE);
	logged2 = in_log(1, PAGE);
#ifdef HV_MUTATION_FAST_FAULT_INDIRECT
	/* The write went to gfn 2, and the log says gfn 1. */
	assert_true(logged1 && !logged2);
#else
	assert_true(logged2 && !logged1);
#endif
	mx_slot(m, 2, 0, 0, 0, 0);
	mx_finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if !defined(HV_MUTATION_FAST_FAULT_INDIRECT)
		cmocka_unit_test(dirty_bit_set_while_the_entry_is_zapped),
		cmocka_unit_test(cached_translation_after_write_protection),
		cmocka_unit_test(mmio_entry_from_before_the_slot),
		cmocka_unit_test(root_of_a_sleeping_vcpu),
#endif
		cmocka_unit_test(entry_comes_back_for_another_gfn),
	};
	int failed;

	mx_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mx_end();
	return failed;
}
