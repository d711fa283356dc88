/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shadow MMU: a guest with tables of its own in guest memory, on a processor
 * that walks only the shadow (tests/lib/mmu_hw.h, ordinary x86 format).
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
#include "hv/mmu/shadow.h"
#include "hv/vm/dirty.h"
#include "hv/x86/defs.h"
#include "tests/lib/mmu_fixture.h"

#define MB  (1ULL << 20)
#define RAM (64 * MB)

#define P X86_PTE_P
#define W X86_PTE_W
#define U X86_PTE_U
#define A X86_PTE_A
#define D X86_PTE_D
#define PS X86_PTE_PS
#define NX X86_PTE_NX

/* Guest-physical layout: tables from 1 MiB on, data above 16 MiB. */
#define PML4 0x100000ULL
#define PDPT 0x101000ULL
#define PD   0x102000ULL
#define PT   0x103000ULL
#define PT2  0x104000ULL
#define PML4B 0x105000ULL
#define PDB  0x106000ULL
#define DATA (16 * MB)
/* Linear: all of RAM, by 2 MiB pages, so that the guest can write its tables. */
#define DIRECT_MAP 0x40000000ULL

enum mode { LONG4, LONG5, PAE, LEGACY, FLAT };

struct guest {
	struct mx *m;
	struct mx_vcpu *v;
	struct hv_region *r;
	struct hv_guest_paging gp;
};

static void *host(struct guest *g, hv_gpa_t gpa)
{
	return (void *)(uintptr_t)(hv_region_hva(g->r) + gpa);
}

static uint64_t *pte(struct guest *g, hv_gpa_t table, unsigned int i)
{
	return (uint64_t *)host(g, table) + i;
}

static uint32_t *pte32(struct guest *g, hv_gpa_t table, unsigned int i)
{
	return (uint32_t *)host(g, table) + i;
}

static void apply(struct guest *g)
{
	mmu_guest_paging_changed(g->v->vcpu, &g->gp);
}

static void set_mode(struct guest *g, enum mode mode)
{
	bool long_mode = mode == LONG4 || mode == LONG5;

	g->v->hw.kind = long_mode ? HW_X86_LONG : HW_X86_PAE;
	g->gp = (struct hv_guest_paging){
		.cr0 = X86_CR0_PE | X86_CR0_WP | (mode == FLAT ? 0 : X86_CR0_PG),
		.cr3 = PML4,
		.cr4 = (mode == LEGACY ? X86_CR4_PSE : X86_CR4_PAE) |
		       (mode == LONG5 ? X86_CR4_LA57 : 0),
		.efer = X86_EFER_NXE | (long_mode ? X86_EFER_LMA | X86_EFER_LME : 0),
		.maxphyaddr = 46,
	};
	apply(g);
}

static struct guest *guest_new_flags(enum mode mode, unsigned int vcpus, uint32_t flags)
{
	struct mx_config config = { .kind = HW_X86_LONG, .use_tlb = true, .vcpus = vcpus };
	struct guest *g = calloc(1, sizeof(*g));

	g->m = mx_new(&config);
	g->v = &g->m->v[0];
	g->r = mx_region(g->m, RAM, HV_BACKING_ANON);
	assert_int_equal(mx_slot(g->m, 0, 0, RAM, hv_region_hva(g->r), flags), 0);
	set_mode(g, mode);
	return g;
}

static struct guest *guest_new(enum mode mode)
{
	return guest_new_flags(mode, 1, 0);
}

static void guest_free(struct guest *g)
{
	struct hv_mmu_stats s;

	mx_slot(g->m, 0, 0, 0, 0, 0);
	mmu_get_stats(g->m->vm, &s);
	assert_int_equal(s.pages_4k + s.pages_2m + s.pages_1g, 0);
	hv_region_destroy(g->r);
	mx_free(g->m);
	free(g);
}

/* 4-level tables: 4K pages at linear 0, the direct map by 2 MiB pages. */
static void long_tables(struct guest *g)
{
	unsigned int i;

	*pte(g, PML4, 0) = PDPT | P | W | U;
	*pte(g, PDPT, 0) = PD | P | W | U;
	*pte(g, PD, 0) = PT | P | W | U;
	*pte(g, PDPT, DIRECT_MAP >> 30) = PDB | P | W;
	for (i = 0; i < RAM / (2 * MB); i++)
		*pte(g, PDB, i) = i * 2 * MB | P | W | PS;
}

static uint64_t rd(struct guest *g, uint64_t linear)
{
	uint64_t v = 0xdead;

	assert_int_equal(mx_access(g->v, linear, HW_READ, &v), MX_OK);
	return v;
}

static void wr(struct guest *g, uint64_t linear, uint64_t v)
{
	assert_int_equal(mx_access(g->v, linear, HW_WRITE, &v), MX_OK);
}

static void faults(struct guest *g, uint64_t linear, unsigned int acc, uint32_t error)
{
	uint64_t v = 0;

	assert_int_equal(mx_access(g->v, linear, acc, &v), MX_GUEST_FAULT);
	assert_int_equal(g->v->last_cr2, linear);
	assert_int_equal(g->v->last_error, error);
}

static void invlpg(struct guest *g, uint64_t linear)
{
	mmu_invlpg(g->v->vcpu, linear);
	g->m->vendor.flush_tlb_gva(g->v->vcpu, linear);
}

static void reload_cr3(struct guest *g)
{
	apply(g);
	mmu_sync_roots(g->v->vcpu);
	g->m->vendor.flush_tlb_guest(g->v->vcpu);
}

/* A store as the guest's processor makes it; an emulator does what the MMU refuses. */
static void store(struct guest *g, uint64_t linear, hv_gpa_t gpa, uint64_t v)
{
	enum mx_result r = mx_access(g->v, linear, HW_WRITE, &v);

	if (r == MX_OK)
		return;
	assert_int_equal(r, MX_EMULATE);
	*(uint64_t *)host(g, gpa) = v;
	hv_rcu_read_lock();
	mmu_guest_written(g->v->vcpu, gpa, 8);
	hv_rcu_read_unlock();
}

/* ---- translation in each mode --------------------------------------------------------- */

static void flat_memory(void **state)
{
	struct guest *g = guest_new(FLAT);
	uint64_t v;

	wr(g, DATA, 1);
	assert_int_equal(*(uint64_t *)host(g, DATA), 1);
	assert_int_equal(rd(g, DATA), 1);
	assert_int_equal(mx_access(g->v, RAM, HW_READ, &v), MX_MMIO);
	assert_int_equal(mx_access(g->v, 0xfee00000, HW_READ, &v), MX_MMIO);
	assert_int_equal(g->v->last_gpa, 0xfee00000);
	assert_true(g->v->hw.root < 1ULL << 32);
	assert_int_equal(g->v->hw.level, 3);
	guest_free(g);
}

static void long_mode(void **state)
{
	enum mode mode;

	for (mode = LONG4; mode <= LONG5; mode++) {
		struct guest *g = guest_new(mode);

		long_tables(g);
		if (mode == LONG5) {
			*pte(g, PML4B, 0) = PML4 | P | W | U;
			g->gp.cr3 = PML4B;
			apply(g);
		}
		*pte(g, PT, 5) = (DATA + 0x3000) | P | W | U;
		wr(g, 0x5008, 42);
		assert_int_equal(g->v->hw.level, mode == LONG5 ? 5 : 4);
		assert_int_equal(*(uint64_t *)host(g, DATA + 0x3008), 42);
		assert_int_equal(*pte(g, PT, 5) & (A | D), A | D);
		assert_int_equal(*pte(g, PML4, 0) & A, A);
		assert_int_equal(rd(g, DIRECT_MAP + DATA + 0x3008), 42);
		faults(g, 0x6000, HW_READ, 0);
		faults(g, 0x6000, HW_WRITE | HW_USER, X86_PF_W | X86_PF_U);
		faults(g, DIRECT_MAP, HW_READ | HW_USER, X86_PF_P | X86_PF_U);
		guest_free(g);
	}
}

static void pae(void **state)
{
	struct guest *g = guest_new(PAE);

	*pte(g, PD, 0) = PT | P | W | U;
	*pte(g, PT, 7) = (DATA + 0x1000) | P | W | NX;
	g->gp.pdptrs[1] = PD | P;
	apply(g);
	wr(g, 0x40007010, 9);
	assert_int_equal(*(uint64_t *)host(g, DATA + 0x1010), 9);
	faults(g, 0x40007000, HW_EXEC, X86_PF_P | X86_PF_I);
	faults(g, 0x7000, HW_READ, 0);
	/* Another directory in the register. */
	*pte(g, PDB, 0) = DATA | P | W | PS;
	g->gp.pdptrs[1] = PDB | P;
	apply(g);
	assert_int_equal(rd(g, 0x40001010), 9);
	guest_free(g);
}

static void legacy(void **state)
{
	struct guest *g = guest_new(LEGACY);
	unsigned int i;

	/* One table of 1024 entries: both halves; and a 4 MiB page. */
	*pte32(g, PML4, 3) = PT | P | W | U;
	*pte32(g, PML4, 0x300) = DATA | P | W | PS;
	for (i = 0; i < 1024; i++)
		*pte32(g, PT, i) = (uint32_t)(DATA + i * 4096) | P | W | U;
	for (i = 0; i < 1024; i += 37) {
		wr(g, 3 * 4 * MB + i * 4096, i + 1);
		assert_int_equal(*(uint64_t *)host(g, DATA + i * 4096), i + 1);
		assert_int_equal(*pte32(g, PT, i) & (A | D), A | D);
	}
	assert_int_equal(rd(g, 0xc0000000ULL + 37 * 4096), 38);
	assert_int_equal(rd(g, 0xc0000000ULL + 962 * 4096), 963);
	faults(g, 0x800000, HW_READ, 0);
	/* A table entry in the upper half, changed and invalidated. */
	*pte32(g, PT, 962) = (uint32_t)DATA | P | W;
	hv_rcu_read_lock();
	mmu_guest_written(g->v->vcpu, PT + 962 * 4, 4);
	hv_rcu_read_unlock();
	invlpg(g, 3 * 4 * MB + 962 * 4096);
	assert_int_equal(rd(g, 3 * 4 * MB + 962 * 4096), 1);
	assert_int_equal(rd(g, 3 * 4 * MB + 925 * 4096), 926);
	guest_free(g);
}

/* ---- rights ------------------------------------------------------------------------------ */

static void rights(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	*pte(g, PT, 0) = DATA | P | U;		/* read-only */
	*pte(g, PT, 1) = DATA | P | W;		/* supervisor */
	*pte(g, PT, 2) = DATA | P | W | U | NX;
	rd(g, 0);
	faults(g, 0, HW_WRITE, X86_PF_P | X86_PF_W);
	faults(g, 0, HW_WRITE | HW_USER, X86_PF_P | X86_PF_W | X86_PF_U);
	wr(g, 0x1000, 5);
	faults(g, 0x1000, HW_READ | HW_USER, X86_PF_P | X86_PF_U);
	wr(g, 0x2000, 6);
	faults(g, 0x2000, HW_EXEC, X86_PF_P | X86_PF_I);
	/* Rights of the tables above count. */
	*pte(g, PD, 1) = PT2 | P | U;
	*pte(g, PT2, 0) = DATA | P | W | U;
	rd(g, 2 * MB);
	faults(g, 2 * MB, HW_WRITE, X86_PF_P | X86_PF_W);
	guest_free(g);
}

/* A clean page is mapped read-only until the guest's D bit has been set. */
static void dirty_bit_of_the_guest(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	*pte(g, PT, 0) = DATA | P | W | U;
	rd(g, 0);
	assert_int_equal(*pte(g, PT, 0) & (A | D), A);
	wr(g, 0, 1);
	assert_int_equal(*pte(g, PT, 0) & (A | D), A | D);
	guest_free(g);
}

static void write_protect_off(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	g->gp.cr0 &= ~X86_CR0_WP;
	apply(g);
	*pte(g, PT, 0) = DATA | P | U;
	assert_int_equal(rd(g, 0), 0);
	wr(g, 0, 7);		/* the supervisor may */
	faults(g, 0, HW_WRITE | HW_USER, X86_PF_P | X86_PF_W | X86_PF_U);
	{
		uint64_t v = 0;

		assert_int_equal(mx_access(g->v, 0, HW_READ | HW_USER, &v), MX_OK);
		assert_int_equal(v, 7);
	}
	wr(g, 0, 8);
	/* WP on again: another role. */
	g->gp.cr0 |= X86_CR0_WP;
	apply(g);
	faults(g, 0, HW_WRITE, X86_PF_P | X86_PF_W);
	guest_free(g);
}

/* ---- unsync, tracking ------------------------------------------------------------------------ */

static void unsync_follows_at_invlpg(void **state)
{
	struct guest *g = guest_new(LONG4);
	struct hv_mmu_stats s;

	long_tables(g);
	*pte(g, PT, 0) = DATA | P | W | U;
	*pte(g, PT, 1) = (DATA + 0x1000) | P | W | U;
	wr(g, 0, 1);
	wr(g, 0x1000, 2);
	/* The guest writes its page table: out of sync from here on, no emulation. */
	wr(g, DIRECT_MAP + PT, (DATA + 0x5000) | P | W | U);
	mmu_get_stats(g->m->vm, &s);
	assert_int_equal(s.unsync, 1);
	wr(g, DIRECT_MAP + PT + 8, 0);
	invlpg(g, 0);
	assert_int_equal(rd(g, 0), 0);
	wr(g, 0, 3);
	assert_int_equal(*(uint64_t *)host(g, DATA + 0x5000), 3);
	invlpg(g, 0x1000);
	faults(g, 0x1000, HW_READ, 0);
	guest_free(g);
}

static void unsync_follows_at_cr3(void **state)
{
	struct guest *g = guest_new(LONG4);
	unsigned int i;

	long_tables(g);
	for (i = 0; i < 64; i++) {
		*pte(g, PT, i) = (DATA + i * 4096) | P | W | U;
		wr(g, i * 4096, i);
	}
	for (i = 0; i < 64; i++)
		wr(g, DIRECT_MAP + PT + i * 8, i % 4 == 0 ? 0 :
		   i % 4 == 1 ? ((DATA + (63 - i) * 4096) | P | W | U) :
		   i % 4 == 2 ? ((DATA + i * 4096) | P | U) : ((DATA + i * 4096) | P | W));
	reload_cr3(g);
	for (i = 0; i < 64; i++) {
		uint64_t v = 0;

		if (i % 4 == 0) {
			faults(g, i * 4096, HW_READ, 0);
		} else {
			assert_int_equal(rd(g, i * 4096), i % 4 == 1 ? 63 - i : i);
			if (i % 4 == 2)
				faults(g, i * 4096, HW_WRITE, X86_PF_P | X86_PF_W);
			if (i % 4 == 3)
				assert_int_equal(mx_access(g->v, i * 4096, HW_READ | HW_USER, &v),
						 MX_GUEST_FAULT);
		}
	}
	guest_free(g);
}

/* A directory is tracked: a change of it needs no invalidation to be seen. */
static void directories_are_tracked(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	*pte(g, PT, 0) = DATA | P | W | U;
	*pte(g, PT2, 0) = (DATA + 0x1000) | P | W | U;
	*(uint64_t *)host(g, DATA) = 1;
	*(uint64_t *)host(g, DATA + 0x1000) = 2;
	assert_int_equal(rd(g, 0), 1);
	store(g, DIRECT_MAP + PD, PD, PT2 | P | W | U);
	assert_int_equal(rd(g, 0), 2);
	store(g, DIRECT_MAP + PD, PD, PT | P | W | U);
	assert_int_equal(rd(g, 0), 1);
	store(g, DIRECT_MAP + PDPT, PDPT, 0);
	faults(g, 0, HW_READ, 0);
	store(g, DIRECT_MAP + PML4, PML4, 0);
	faults(g, DIRECT_MAP, HW_READ, 0);
	guest_free(g);
}

/* The same page as a table of the lowest level and as a directory. */
static void one_page_at_two_levels(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	*pte(g, PD, 1) = PD | P | W | U; /* the directory as a page table of itself */
	*pte(g, PT, 0) = DATA | P | W | U;
	assert_int_equal(rd(g, 0), 0);
	/* Linear 2 MiB + 0 is the page PT, since PD[0] names it. */
	assert_int_equal(rd(g, 2 * MB) & ~(A | D), DATA | P | W | U);
	store(g, 2 * MB, PT, (DATA + 0x2000) | P | W | U);
	invlpg(g, 0);
	wr(g, 0, 3);
	assert_int_equal(*(uint64_t *)host(g, DATA + 0x2000), 3);
	/* And 2 MiB + 4096 is PD itself: a write through its own translation. */
	store(g, 2 * MB + 0x1000 + 16, PD + 16, DATA | P | W | PS);
	assert_int_equal(*pte(g, PD, 2) & ~(A | D), DATA | P | W | PS);
	wr(g, 4 * MB + 0x2000, 5);
	assert_int_equal(rd(g, 0), 5);
	guest_free(g);
}

static void two_roots_share_tables(void **state)
{
	struct guest *g = guest_new(LONG4);

	long_tables(g);
	*pte(g, PML4B, 0) = PDPT | P | W | U;
	*pte(g, PT, 0) = DATA | P | W | U;
	wr(g, 0, 1);
	g->gp.cr3 = PML4B;
	reload_cr3(g);
	assert_int_equal(rd(g, 0), 1);
	/* Unsync under one root, seen when the other is loaded. */
	wr(g, DIRECT_MAP + PT, (DATA + 0x1000) | P | W | U);
	g->gp.cr3 = PML4;
	reload_cr3(g);
	assert_int_equal(rd(g, 0), 0);
	guest_free(g);
}

static void root_without_memory(void **state)
{
	struct guest *g = guest_new(LONG4);

	g->gp.cr3 = 0x3000000000ULL;
	apply(g);
	faults(g, 0x1234000, HW_READ, 0);
	long_tables(g);
	*pte(g, PT, 0) = DATA | P | W;
	g->gp.cr3 = PML4;
	apply(g);
	assert_int_equal(rd(g, 0), 0);
	guest_free(g);
}

/* ---- MMIO, slots, log ---------------------------------------------------------------------------- */

static void mmio_entries(void **state)
{
	struct guest *g = guest_new(LONG4);
	uint64_t v;

	long_tables(g);
	*pte(g, PT, 0) = 0xfee00000ULL | P | W;
	assert_int_equal(mx_access(g->v, 0x10, HW_WRITE, &v), MX_MMIO);
	assert_int_equal(g->v->last_gpa, 0xfee00010);
	assert_int_equal(atomic_load(&g->v->vcpu->stats.mmio_cache_misses), 1);
	assert_int_equal(mx_access(g->v, 0x18, HW_READ, &v), MX_MMIO);
	assert_int_equal(g->v->last_gpa, 0xfee00018);
	assert_int_equal(atomic_load(&g->v->vcpu->stats.mmio_cache_hits), 1);
	/* The user has no right to it, cached or not. */
	faults(g, 0x18, HW_READ | HW_USER, X86_PF_P | X86_PF_U);
	assert_int_equal(mx_slot(g->m, 1, 0xfee00000, MB, hv_region_hva(g->r) + DATA, 0), 0);
	assert_int_equal(mx_access(g->v, 0x18, HW_READ, &v), MX_OK);
	assert_true(atomic_load(&g->v->vcpu->stats.mmio_cache_stale) > 0);
	mx_slot(g->m, 1, 0, 0, 0, 0);
	assert_int_equal(mx_access(g->v, 0x18, HW_READ, &v), MX_MMIO);
	guest_free(g);
}

static void slots_and_discard(void **state)
{
	struct guest *g = guest_new(LONG4);
	unsigned int i;

	long_tables(g);
	for (i = 0; i < 16; i++) {
		*pte(g, PT, i) = (DATA + i * 4096) | P | W | U;
		wr(g, i * 4096, i + 1);
	}
	assert_int_equal(hv_region_discard(g->r, DATA + 0x3000, 4096), 0);
	assert_false(mx_mapped(g->v, 0x3000, HW_READ));
	assert_true(mx_mapped(g->v, 0x4000, HW_READ));
	assert_int_equal(rd(g, 0x3000), 0);
	assert_int_equal(mmu_invalidate_all(g->m->vm, NULL), 0);
	assert_int_equal(rd(g, 0x4000), 5);
	/* The slot moves away under the guest's feet, tables and all, and comes back. */
	assert_int_equal(mx_slot(g->m, 0, 1ULL << 40, RAM, hv_region_hva(g->r), 0), 0);
	assert_false(mx_mapped(g->v, 0x4000, HW_READ));
	faults(g, 0x4000, HW_READ, 0);
	assert_int_equal(mx_slot(g->m, 0, 0, RAM, hv_region_hva(g->r), 0), 0);
	assert_int_equal(rd(g, 0x4000), 5);
	guest_free(g);
}

static void dirty_log(void **state)
{
	struct guest *g = guest_new(LONG4);
	static uint64_t log[RAM / 4096 / 64];
	unsigned int i, n = 0;

	long_tables(g);
	for (i = 0; i < 16; i++) {
		*pte(g, PT, i) = (DATA + i * 4096) | P | W | U;
		wr(g, i * 4096, 1);
	}
	wr(g, DIRECT_MAP + 32 * MB, 1);
	assert_int_equal(mx_slot(g->m, 0, 0, RAM, hv_region_hva(g->r), HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(dirty_bitmap_get(g->m->vm, 0, log), 0);
	wr(g, 0x3000, 2);
	wr(g, DIRECT_MAP + 33 * MB, 2);
	rd(g, 0x4000);
	assert_int_equal(dirty_bitmap_get(g->m->vm, 0, log), 0);
	for (i = 0; i < RAM / 4096 / 64; i++)
		n += (unsigned int)__builtin_popcountll(log[i]);
	assert_int_equal(n, 2);
	assert_true(log[(DATA + 0x3000) / 4096 / 64] >> ((DATA + 0x3000) / 4096 % 64) & 1);
	/* The walker's own writes: A and D bits of the guest's tables. */
	*pte(g, PT, 20) = (DATA + 0x14000) | P | W | U;
	rd(g, 0x14000);
	assert_int_equal(dirty_bitmap_get(g->m->vm, 0, log), 0);
	assert_true(log[PT / 4096 / 64] >> (PT / 4096 % 64) & 1);
	guest_free(g);
}

static void rmaps_come_with_the_first_root(void **state)
{
	struct guest *g = guest_new(LONG4);
	struct hv_memslot *slot;
	struct mmu_rmap_head *first;

	hv_rcu_read_lock();
	slot = memslot_by_id(hv_vm_memslots(g->m->vm, 0), 0);
	assert_null(slot->arch->rmap[0]);
	long_tables(g);
	hv_rcu_read_unlock();
	*pte(g, PT, 0) = DATA | P | W;
	rd(g, 0);
	hv_rcu_read_lock();
	slot = memslot_by_id(hv_vm_memslots(g->m->vm, 0), 0);
	first = slot->arch->rmap[0];
	assert_non_null(first);
	hv_rcu_read_unlock();
	/* A later slot has them from the start; the old ones stay what they are. */
	assert_int_equal(mx_slot(g->m, 1, 1ULL << 40, MB, hv_region_hva(g->r), 0), 0);
	hv_rcu_read_lock();
	assert_non_null(memslot_by_id(hv_vm_memslots(g->m->vm, 0), 1)->arch->rmap[0]);
	assert_ptr_equal(memslot_by_id(hv_vm_memslots(g->m->vm, 0), 0)->arch->rmap[0], first);
	hv_rcu_read_unlock();
	mx_slot(g->m, 1, 0, 0, 0, 0);
	guest_free(g);
}

static void no_memory_is_a_clean_error(void **state)
{
#ifdef HV_DEBUG
	struct guest *g = guest_new(LONG4);
	struct hv_pf_request req = { .addr = 0 };
	unsigned int n;
	int err = 0;

	long_tables(g);
	*pte(g, PT, 0) = DATA | P | W;
	for (n = 1; n < 200; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		err = mmu_reload(g->v->vcpu);
		if (!err) {
			hv_rcu_read_lock();
			err = mmu_page_fault(g->v->vcpu, &req);
			hv_rcu_read_unlock();
		}
		if (!hv_fault_disarm())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_true(n > 5);
	assert_int_equal(err, HV_PF_FIXED);
	assert_int_equal(rd(g, 0), 0);
	guest_free(g);
#else
	skip();
#endif
}

/* ---- against a model --------------------------------------------------------------------------------- */

/*
 * Random operations of a guest on three tables of one address space. After each
 * invalidation of an address, the next access must agree with the tables as they
 * are then. The model is the guest's tables themselves, walked without any cache.
 */
#define MODEL_PAGES 1536

static bool model_translate(struct guest *g, uint64_t linear, unsigned int acc, hv_gpa_t *gpa)
{
	uint64_t e = *pte(g, PML4, 0);
	bool w = true, u = true, x = true;
	hv_gpa_t table = PML4;
	int level;

	for (level = 4;; level--) {
		e = *pte(g, table, (linear >> (12 + 9 * (level - 1))) & 511);
		if (!(e & P))
			return false;
		w = w && (e & W);
		u = u && (e & U);
		x = x && !(e & NX);
		if (level == 1 || (e & PS))
			break;
		table = e & SPTE_FRAME;
	}
	*gpa = (e & SPTE_FRAME & ~((1ULL << (12 + 9 * (level - 1))) - 1)) |
	       (linear & ((1ULL << (12 + 9 * (level - 1))) - 1));
	return !((acc & HW_WRITE) && !w) && !((acc & HW_USER) && !u) && !((acc & HW_EXEC) && !x);
}

static uint64_t rng = 88172645463325252ULL;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static uint64_t random_leaf(void)
{
	uint64_t e = DATA + rnd(1024) * 4096;

	return e | (rnd(8) ? P : 0) | (rnd(4) ? W : 0) | (rnd(4) ? U : 0) | (rnd(4) ? 0 : NX);
}

static void model_access(struct guest *g, uint64_t linear)
{
	static const unsigned int accs[] = { HW_READ, HW_WRITE, HW_READ | HW_USER, HW_WRITE | HW_USER,
					     HW_EXEC };
	unsigned int acc = accs[rnd(5)];
	uint64_t v = rnd(~0ULL);
	hv_gpa_t gpa = 0;
	bool ok = model_translate(g, linear, acc, &gpa);
	uint64_t before = ok ? *(uint64_t *)host(g, gpa) : 0, got = v;
	enum mx_result r = mx_access(g->v, linear, acc, &got);

	assert_int_equal(r, ok ? MX_OK : MX_GUEST_FAULT);
	if (!ok)
		return;
	if (acc & HW_WRITE)
		assert_int_equal(*(uint64_t *)host(g, gpa), v);
	else
		assert_int_equal(got, before);
}

static void random_against_model(void **state)
{
	struct guest *g = guest_new(LONG4);
	uint64_t i, tables[3] = { PT, PT2, PT2 + 0x3000 };
	unsigned int n = 60000;
	const char *env = getenv("HVD_MODEL_OPS");

	if (env)
		n = (unsigned int)strtoul(env, NULL, 0);
	long_tables(g);
	for (i = 0; i < 3; i++)
		*pte(g, PD, i) = tables[i] | P | W | U;
	for (i = 0; i < n; i++) {
		uint64_t page = rnd(MODEL_PAGES), linear = page * 4096 + rnd(512) * 8;
		hv_gpa_t entry = tables[page / 512] + page % 512 * 8;

		switch (rnd(20)) {
		case 0: /* a directory entry: another table, or a big page, or nothing */
			store(g, DIRECT_MAP + PD + page / 512 * 8, PD + page / 512 * 8,
			      rnd(8) ? (tables[rnd(3)] | P | (rnd(4) ? W : 0) | U)
				     : rnd(2) ? ((DATA + rnd(4) * 2 * MB) | P | W | U | PS) : 0);
			reload_cr3(g);
			break;
		case 1:
			reload_cr3(g);
			break;
		case 2:
			if (rnd(20) == 0)
				assert_int_equal(mmu_invalidate_all(g->m->vm, NULL), 0);
			break;
		case 3:
			if (rnd(10) == 0)
				assert_int_equal(hv_region_discard(g->r, DATA + rnd(1024) * 4096, 4096), 0);
			break;
		case 4: case 5: case 6: case 7:
			/* All three tables may stand for any directory entry, so all of them. */
			store(g, DIRECT_MAP + entry, entry, random_leaf());
			reload_cr3(g);
			break;
		case 8: {
			uint64_t old = *pte(g, PD, page / 512);

			if ((old & P) && !(old & PS)) {
				entry = (old & SPTE_FRAME) + page % 512 * 8;
				store(g, DIRECT_MAP + entry, entry, random_leaf());
				for (unsigned int k = 0; k < 3; k++)
					invlpg(g, (page % 512 + 512 * k) * 4096);
			}
			break;
		}
		default:
			model_access(g, linear);
			break;
		}
	}
	{
		struct hv_mmu_stats s;

		mmu_get_stats(g->m->vm, &s);
		print_message("# %u operations: %lu faults, %lu unsync, %lu tracked, %lu zaps\n", n,
			      (unsigned long)s.faults, (unsigned long)s.unsync,
			      (unsigned long)s.write_tracked, (unsigned long)s.zaps);
		assert_true(s.unsync > n / 1000);
	}
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_memory),
		cmocka_unit_test(long_mode),
		cmocka_unit_test(pae),
		cmocka_unit_test(legacy),
		cmocka_unit_test(rights),
		cmocka_unit_test(dirty_bit_of_the_guest),
		cmocka_unit_test(write_protect_off),
		cmocka_unit_test(unsync_follows_at_invlpg),
		cmocka_unit_test(unsync_follows_at_cr3),
		cmocka_unit_test(directories_are_tracked),
		cmocka_unit_test(one_page_at_two_levels),
		cmocka_unit_test(two_roots_share_tables),
		cmocka_unit_test(root_without_memory),
		cmocka_unit_test(mmio_entries),
		cmocka_unit_test(slots_and_discard),
		cmocka_unit_test(dirty_log),
		cmocka_unit_test(rmaps_come_with_the_first_root),
		cmocka_unit_test(no_memory_is_a_clean_error),
		cmocka_unit_test(random_against_model),
	};
	int failed;

	mx_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mx_end();
	return failed;
}
