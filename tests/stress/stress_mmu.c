/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The MMU under everything at once.
 *
 *	stress_mmu [seconds per configuration [configuration [defect]]]
 *
 * vCPU threads run a guest that reads and writes its pages through a processor with
 * a TLB (tests/lib/mmu_hw.h). Around it, each in a thread of its own: a slot that is
 * created, moved and deleted; memory that is taken away; a migration that turns
 * logging on, copies by the bitmap or by the rings, and compares at the end; three
 * readers with cursors; root invalidation and the NX toggle; ageing; host CPUs off
 * and on.
 *
 * Invariants:
 *  - a page reads as what its one writer wrote last (or as zero, where memory is
 *    taken away, and never again as before then);
 *  - in guest mode no translation leads into a range whose invalidation has started
 *    and returned, into a slot that is gone, or to another page than the slot says;
 *  - an access to a slot that has been there all the while is not MMIO;
 *  - what a reader of the log has copied is, when the guest stands still and the last
 *    round is done, what the memory holds: no write was missing from the log;
 *  - one VM is listed and counted, whatever CPUs come and go, and none afterwards.
 *
 * Each of these has a defect (see `defects`) that it must find; checks_find.sh asks
 * for them one by one.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/vm/dirty.h"
#include "hv/vm/hardware.h"
#include "hv/vm/notifier.h"
#include "hv/x86/defs.h"
#include "tests/lib/mmu_fixture.h"

#define MB (1ULL << 20)

#define VCPUS 2
#define READERS 3
#define RING_ENTRIES 1024
/* Guest-physical layout, in pages: slots 0 (logged), 1 (migrated), 2 (comes and goes), 3 (taken away). */
#define LOG_GFN	  0x0ULL
#define MIG_GFN	  0x1000ULL
#define DYN_GFN	  0x2000ULL
#define TAKE_GFN  0x3001ULL
#define PAGES	  1024ULL /* of each slot */
#define TAKE_STEP 16ULL
#define HOST_PAGES (5 * PAGES + 512)
/* Host pages of each slot; the slot that comes and goes has two places. */
#define LOG_HOST  0ULL
#define MIG_HOST  (1 * PAGES)
#define DYN_HOST  (2 * PAGES)
#define TAKE_HOST (4 * PAGES + 1)

/* Guest tables of the paging configuration: the last pages of slot 0. */
#define TABLES	    (LOG_GFN + PAGES - 64)
#define LOG_DATA    (PAGES - 64)
#define ALIAS_BASE  (1ULL << 30) /* linear addresses that the guest remaps */
#define ALIAS_PAGES 64ULL

struct config {
	const char *name;
	struct mx_config mx;
	enum hv_mmu_dirty_mode mode;
	bool guest_tables;
	bool ring; /* the migration collects from the vCPUs' rings */
	bool no_cursors; /* so that slots are not logged at times, and huge leaves come and go */
};

static const struct config configs[] = {
	{ .name = "ept", .mx = { .kind = HW_EPT } },
	{ .name = "ept-noad", .mx = { .kind = HW_EPT, .no_ad = true } },
	{ .name = "ept-dbit", .mx = { .kind = HW_EPT }, .mode = HV_MMU_DIRTY_DBIT },
	{ .name = "ept-pml", .mx = { .kind = HW_EPT, .pml = true }, .mode = HV_MMU_DIRTY_PML },
	{ .name = "ept-ring", .mx = { .kind = HW_EPT, .ring_entries = RING_ENTRIES }, .ring = true },
	{ .name = "ept-pml-ring",
	  .mx = { .kind = HW_EPT, .pml = true, .ring_entries = RING_ENTRIES },
	  .mode = HV_MMU_DIRTY_PML, .ring = true },
	{ .name = "ept-huge", .mx = { .kind = HW_EPT }, .no_cursors = true },
	{ .name = "ept-noad-huge", .mx = { .kind = HW_EPT, .no_ad = true }, .no_cursors = true },
	{ .name = "npt-dbit-huge", .mx = { .kind = HW_NPT }, .mode = HV_MMU_DIRTY_DBIT,
	  .no_cursors = true },
	{ .name = "npt-5level", .mx = { .kind = HW_NPT, .five_level = true } },
	{ .name = "shadow-flat", .mx = { .kind = HW_X86_PAE } },
	{ .name = "shadow-paging", .mx = { .kind = HW_X86_LONG }, .guest_tables = true },
	{ .name = "shadow-ring", .mx = { .kind = HW_X86_PAE, .ring_entries = RING_ENTRIES },
	  .ring = true },
	{ .name = "shadow-huge", .mx = { .kind = HW_X86_PAE }, .no_cursors = true },
};

/* What can be broken on purpose, in this program, and what has to notice it. */
enum defect {
	SOUND,
	NO_FLUSH,	 /* TLBs keep what they have: whichever check comes first */
	SLOT_STAYS,	 /* slot 2 is said to be gone and is not */
	SLOT_ELSEWHERE,	 /* slot 2's memory is not where it is said to be */
	SLOT_MISSING,	 /* slot 2 is said to be there and is not */
	NO_INVALIDATION, /* memory is taken away without a word to the MMU */
	STRAY_WRITE,	 /* somebody else writes to a page */
	NO_INVLPG,	 /* the guest's remapping is not followed */
	BITMAP_LOSES,	 /* the migration drops part of what it was told */
	RING_LOSES,
	RING_EARLY,	 /* pages are copied before the reset has armed them */
	CURSOR_LOSES,	 /* so does a reader */
	COUNT_LEAKS,	 /* one more user of the hardware than there are VMs */
};

static const struct {
	const char *name;
	enum defect defect;
} defects[] = {
	{ "no-flush", NO_FLUSH },
	{ "slot-stays", SLOT_STAYS },
	{ "slot-elsewhere", SLOT_ELSEWHERE },
	{ "slot-missing", SLOT_MISSING },
	{ "no-invalidation", NO_INVALIDATION },
	{ "stray-write", STRAY_WRITE },
	{ "no-invlpg", NO_INVLPG },
	{ "bitmap-loses", BITMAP_LOSES },
	{ "ring-loses", RING_LOSES },
	{ "ring-early", RING_EARLY },
	{ "cursor-loses", CURSOR_LOSES },
	{ "count-leaks", COUNT_LEAKS },
};

static enum defect defect;
static const struct config *cfg;
static struct mx *m;
static struct hv_region *region;
static _Atomic bool stop;

/* What is true at the moment, for checks in guest mode. */
static _Atomic bool dyn_gone;		/* slot 2 is deleted */
static _Atomic uint64_t dyn_host;	/* host page where it begins; changes only while gone */
static _Atomic uint64_t dyn_gfn;	/* likewise */
static _Atomic bool ring_restart;	/* the rings are new */
static _Atomic uint64_t dyn_seq;	/* even: slot 2 is there */
static _Atomic bool taken[PAGES / TAKE_STEP + 1];

/* The guest stands still while pause_wanted; parked counts. */
static pthread_mutex_t pause_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pause_cond = PTHREAD_COND_INITIALIZER;
static _Atomic unsigned int pause_wanted;
static unsigned int parked;

static _Atomic uint64_t done_accesses, done_slots, done_takes, done_migrations, done_reads,
	done_invalidations, done_ages, done_cpus, done_remaps, done_full;

#define VIOLATION(...)                                                                             \
	do {                                                                                       \
		fprintf(stderr, "stress_mmu: %s: ", cfg->name);                                    \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		abort();                                                                           \
	} while (0)
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			VIOLATION("%s:%d: %s", __FILE__, __LINE__, #cond);                         \
	} while (0)

static uint64_t xorshift(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t *host_word(uint64_t page)
{
	return (uint64_t *)(uintptr_t)(hv_region_hva(region) + (page << 12));
}

static uint64_t load_word(uint64_t page)
{
	return __atomic_load_n(host_word(page), __ATOMIC_RELAXED);
}

static void pause_us(unsigned int us)
{
	struct timespec ts = { .tv_nsec = us * 1000L };

	nanosleep(&ts, NULL);
}

/* ---- the guest ------------------------------------------------------------------------- */

enum area { AREA_LOG, AREA_MIG, AREA_DYN, AREA_TAKE, AREAS };

struct guest {
	struct mx_vcpu *v;
	unsigned int id;
	uint64_t rng;
	uint64_t last[AREAS][PAGES]; /* what we wrote last to a page of ours */
	uint64_t last_dyn[2 * PAGES]; /* the same of slot 2, by its host page */
	uint64_t alias[ALIAS_PAGES]; /* page of slot 0 that the alias leads to; 0: none */
	uint64_t counter;
};

static struct guest guests[VCPUS];

static void check_translation(enum area area, uint64_t page, uint64_t hva)
{
	static const uint64_t base[AREAS] = { LOG_HOST, MIG_HOST, 0, TAKE_HOST };
	uint64_t host = (hva - hv_region_hva(region)) >> 12;

	switch (area) {
	case AREA_DYN:
		if (atomic_load(&dyn_gone))
			VIOLATION("a translation has survived its slot (page %" PRIu64 ")", page);
		if (host != atomic_load(&dyn_host) + page)
			VIOLATION("page %" PRIu64 " of the new slot leads to the old one's memory", page);
		break;
	case AREA_TAKE:
		if (atomic_load(&taken[page / TAKE_STEP]))
			VIOLATION("page %" PRIu64 " is reached after its invalidation", page);
		/* fall through */
	default:
		if (host != base[area] + page)
			VIOLATION("area %d page %" PRIu64 " leads to %" PRIu64, (int)area, page, host);
	}
}

/* Where the guest remembers what it wrote to the page at hva. */
static uint64_t *last_of(struct guest *g, enum area area, uint64_t page, uint64_t hva)
{
	if (area == AREA_DYN)
		return &g->last_dyn[((hva - hv_region_hva(region)) >> 12) - DYN_HOST];
	return &g->last[area][page];
}

static void check_value(enum area area, uint64_t page, uint64_t value, uint64_t *last)
{
	if (area == AREA_TAKE && value == 0)
		*last = 0;
	if (value != *last)
		VIOLATION("area %d page %" PRIu64 " reads %" PRIx64 " instead of %" PRIx64, (int)area,
			  page, value, *last);
}

static uint64_t area_gfn(enum area area)
{
	static const uint64_t gfn[AREAS] = { LOG_GFN, MIG_GFN, 0, TAKE_GFN };

	return area == AREA_DYN ? atomic_load(&dyn_gfn) : gfn[area];
}

/* Serve requests that need the thread, then try to enter. */
static bool enter(struct guest *g)
{
	if (vcpu_check_request(g->v->vcpu, HV_REQ_CPU_MOVE)) {
		hardware_vcpu_put(g->v->vcpu);
		while (hardware_vcpu_load(g->v->vcpu, g->id) < 0)
			sched_yield();
	}
	/* Full: not before the migration has made room. */
	if (cfg->ring && dirty_ring_check_full(g->v->vcpu)) {
		atomic_fetch_add(&done_full, 1);
		pause_us(50);
		return false;
	}
	return mx_enter(g->v);
}

/* One access in guest mode; false: it left guest mode. */
static bool guest_access(struct guest *g)
{
	uint64_t r = xorshift(&g->rng), page, addr, hva, value, seq;
	enum area area = (enum area)(r % AREAS);
	bool write = r >> 8 & 1;
	enum hw_result h;

	page = (r >> 16) % (area == AREA_LOG ? LOG_DATA : PAGES);
	page -= page % VCPUS; /* each page has one writer */
	page += g->id;
	seq = atomic_load(&dyn_seq);
	addr = (area_gfn(area) + page) << 12;
	h = hw_access(&g->v->hw, addr, write ? HW_WRITE : HW_READ, &hva);
	if (h != HW_OK) {
		enum mx_result x;

		mx_leave(g->v);
		x = mx_handle_exit(g->v, h, addr);
		/* Where the slot has just gone, it is MMIO; a fault of the guest's own tables: too. */
		if (x != MX_OK && !(area == AREA_DYN && (x == MX_MMIO || x == MX_GUEST_FAULT)) &&
		    !(area == AREA_TAKE && x == MX_EFAULT))
			VIOLATION("fault at %" PRIx64 " ends with %d", addr, x);
		if (area == AREA_DYN && x == MX_MMIO && !(seq & 1) && atomic_load(&dyn_seq) == seq)
			VIOLATION("page %" PRIu64 " of a slot that is there is MMIO", page);
		return false;
	}
	/* The address was computed before the slot may have moved: then it is not ours to judge. */
	if (area == AREA_DYN && (area_gfn(area) + page) << 12 != addr)
		return true;
	check_translation(area, page, hva & ~0xfffULL);
	if (write) {
		value = ++g->counter << 8 | g->id | 0x80;
		__atomic_store_n((uint64_t *)(uintptr_t)hva, value, __ATOMIC_RELAXED);
		*last_of(g, area, page, hva) = value;
	} else {
		value = __atomic_load_n((uint64_t *)(uintptr_t)hva, __ATOMIC_RELAXED);
		check_value(area, page, value, last_of(g, area, page, hva));
	}
	return true;
}

/* ---- the guest's own tables ---------------------------------------------------------------- */

#define PTE_FLAGS (X86_PTE_P | X86_PTE_W)

static uint64_t *table_entry(unsigned int n, unsigned int i)
{
	return host_word(LOG_HOST + TABLES + n) + i;
}

/* 0: PML4, 1: PDPT, 2: PD of the identity map, 3..: its PTs; 40: PD of aliases, 41: their PT. */
static void build_guest_tables(void)
{
	unsigned int i;

	*table_entry(0, 0) = (TABLES + 1) << 12 | PTE_FLAGS;
	*table_entry(1, 0) = (TABLES + 2) << 12 | PTE_FLAGS;
	*table_entry(1, 1) = (TABLES + 40) << 12 | PTE_FLAGS;
	*table_entry(40, 0) = (TABLES + 41) << 12 | PTE_FLAGS;
	for (i = 0; i < 36; i++)
		*table_entry(2, i) = (TABLES + 3 + i) << 12 | PTE_FLAGS;
	for (i = 0; i < 36 * 512; i++)
		*table_entry(3 + i / 512, i % 512) = (uint64_t)i << 12 | PTE_FLAGS;
}

/* A store of the guest to linear = physical address; emulated where the MMU says so. */
static void guest_store(struct guest *g, uint64_t addr, uint64_t value)
{
	struct hv_memslot *slot;
	enum mx_result r;

	do {
		while (!enter(g))
			;
		{
			enum hw_result h = mx_guest_access(g->v, addr, HW_WRITE, &value);

			mx_leave(g->v);
			if (h == HW_OK)
				return;
			r = mx_handle_exit(g->v, h, addr);
		}
	} while (r == MX_OK);
	CHECK(r == MX_EMULATE);
	__atomic_store_n((uint64_t *)(uintptr_t)(hv_region_hva(region) + (LOG_HOST << 12) + addr), value,
			 __ATOMIC_RELAXED);
	hv_rcu_read_lock();
	slot = hv_vcpu_gfn_to_memslot(g->v->vcpu, addr >> 12);
	vm_mark_page_dirty(m->vm, g->v->vcpu, slot, addr >> 12);
	mmu_guest_written(g->v->vcpu, addr, 8);
	hv_rcu_read_unlock();
}

/* Point an alias of ours at another page of ours, invalidate, look through it. */
static void remap(struct guest *g)
{
	uint64_t i = xorshift(&g->rng) % ALIAS_PAGES, page, linear, value = 0;
	enum mx_result r;

	i -= i % VCPUS;
	i += g->id;
	page = xorshift(&g->rng) % LOG_DATA;
	page = page - page % VCPUS + g->id;
	linear = ALIAS_BASE + i * 4096;
	guest_store(g, ((TABLES + 41) << 12) + i * 8, (LOG_GFN + page) << 12 | PTE_FLAGS);
	if (defect != NO_INVLPG) {
		mmu_invlpg(g->v->vcpu, linear);
		g->v->hw.tlb[(linear >> 12) % HW_TLB_SIZE].page = 0;
	}
	g->alias[i] = page;
	do {
		enum hw_result h;

		while (!enter(g))
			;
		h = mx_guest_access(g->v, linear, HW_READ, &value);
		mx_leave(g->v);
		r = MX_OK;
		if (h == HW_OK)
			break;
		r = mx_handle_exit(g->v, h, linear);
	} while (r == MX_OK);
	if (r != MX_OK)
		VIOLATION("an alias faults with %d", r);
	if (value != g->last[AREA_LOG][page])
		VIOLATION("alias %" PRIu64 " of page %" PRIu64 " reads %" PRIx64 " instead of %" PRIx64, i,
			  page, value, g->last[AREA_LOG][page]);
	atomic_fetch_add(&done_remaps, 1);
}

static void park(void)
{
	pthread_mutex_lock(&pause_lock);
	parked++;
	pthread_cond_broadcast(&pause_cond);
	while (atomic_load(&pause_wanted))
		pthread_cond_wait(&pause_cond, &pause_lock);
	parked--;
	pthread_mutex_unlock(&pause_lock);
}

static void *vcpu_thread(void *arg)
{
	struct guest *g = arg;
	uint64_t n = 0;

	hv_rcu_register_thread();
	while (hardware_vcpu_load(g->v->vcpu, g->id) < 0)
		sched_yield();
	while (!atomic_load(&stop)) {
		unsigned int i;

		if (atomic_load(&pause_wanted)) {
			park();
			continue;
		}
		if (cfg->guest_tables && xorshift(&g->rng) % 8 == 0) {
			remap(g);
			continue;
		}
		if (!enter(g))
			continue;
		for (i = 0; i < 64 && !atomic_load(&g->v->kicked); i++, n++)
			if (!guest_access(g))
				goto out_of_guest;
		mx_leave(g->v);
out_of_guest:;
	}
	hardware_vcpu_put(g->v->vcpu);
	atomic_fetch_add(&done_accesses, n);
	/* A late pauser must not wait for us. */
	pthread_mutex_lock(&pause_lock);
	parked++;
	pthread_cond_broadcast(&pause_cond);
	pthread_mutex_unlock(&pause_lock);
	hv_rcu_unregister_thread();
	return NULL;
}

static void guest_pause(void)
{
	unsigned int i;

	pthread_mutex_lock(&pause_lock);
	atomic_fetch_add(&pause_wanted, 1);
	for (i = 0; i < VCPUS; i++)
		vcpu_kick(m->v[i].vcpu);
	while (parked < VCPUS)
		pthread_cond_wait(&pause_cond, &pause_lock);
	pthread_mutex_unlock(&pause_lock);
}

static void guest_resume(void)
{
	pthread_mutex_lock(&pause_lock);
	atomic_fetch_sub(&pause_wanted, 1);
	pthread_cond_broadcast(&pause_cond);
	pthread_mutex_unlock(&pause_lock);
}

/* ---- slots ---------------------------------------------------------------------------------- */

static int dyn_set(uint64_t gfn, uint64_t host, uint64_t pages, uint32_t flags)
{
	return mx_slot(m, 2, gfn << 12, pages << 12, hv_region_hva(region) + (host << 12), flags);
}

static void *slot_thread(void *arg)
{
	uint64_t rng = 0x9e3779b97f4a7c15ULL, n = 0;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		uint64_t host = DYN_HOST + xorshift(&rng) % 2 * PAGES, gfn = DYN_GFN + rng % 3 * 7;

		atomic_fetch_add(&dyn_seq, 1);
		/* gone: the slot is not there and nothing may lead to where it was. */
		if (defect != SLOT_STAYS)
			CHECK(dyn_set(0, 0, 0, 0) == 0);
		atomic_store(&dyn_gone, true);
		if (n % 4 == 0 || defect == SLOT_STAYS)
			pause_us(50);
		if (defect == SLOT_STAYS)
			CHECK(dyn_set(0, 0, 0, 0) == 0);
		atomic_store(&dyn_gfn, gfn);
		atomic_store(&dyn_host, host + (defect == SLOT_ELSEWHERE));
		atomic_store(&dyn_gone, false);
		if (defect == SLOT_MISSING) {
			atomic_fetch_add(&dyn_seq, 1);
			pause_us(500);
			atomic_fetch_add(&dyn_seq, 1);
		}
		CHECK(dyn_set(gfn, host, PAGES, n % 3 ? 0 : HV_MEM_LOG_DIRTY_PAGES) == 0);
		atomic_fetch_add(&dyn_seq, 1);
		pause_us(100);
		if (n++ % 2)
			CHECK(dyn_set(gfn, host, PAGES, n % 3 ? HV_MEM_LOG_DIRTY_PAGES : 0) == 0);
		pause_us(200);
	}
	atomic_fetch_add(&done_slots, n);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- memory that is taken away ----------------------------------------------------------------- */

static void *take_thread(void *arg)
{
	uint64_t rng = 0xd1b54a32d192ed03ULL, n = 0;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		uint64_t step = xorshift(&rng) % (PAGES / TAKE_STEP), page = step * TAKE_STEP;
		uint64_t hva = hv_region_hva(region) + ((TAKE_HOST + page) << 12);
		struct hv_mem_range range = {
			.start = hva, .end = hva + (TAKE_STEP << 12), .event = HV_MEM_REMAP,
			.blockable = true,
		};

		if (n++ % 2) {
			CHECK(hv_region_discard(region, (TAKE_HOST + page) << 12, TAKE_STEP << 12) == 0);
		} else {
			if (defect != NO_INVALIDATION)
				CHECK(notifier_invalidate_start(m->vm, &range) == 0);
			atomic_store(&taken[step], true);
			pause_us(20);
			atomic_store(&taken[step], false);
			if (defect != NO_INVALIDATION)
				notifier_invalidate_end(m->vm, &range);
		}
		pause_us(100);
	}
	atomic_fetch_add(&done_takes, n);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- migration of slot 1 -------------------------------------------------------------------------- */

/* What the migration of slot 1 works on. */
static uint64_t mig_log[PAGES / 64], mig_replica[PAGES];

/* Add what the vCPUs' rings say of slot 1 to the log, and give the entries back. */
static void collect_rings(void)
{
	static uint32_t next[VCPUS];
	unsigned int i;

	if (atomic_load(&ring_restart)) {
		memset(next, 0, sizeof(next));
		atomic_store(&ring_restart, false);
	}
	for (i = 0; i < VCPUS; i++) {
		struct hv_dirty_gfn *ring, *e;
		uint32_t entries;

		CHECK(dirty_ring_map(m->v[i].vcpu, &ring, &entries) == 0);
		for (;; next[i]++) {
			e = &ring[next[i] % entries];
			if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != 1)
				break;
			CHECK(e->offset < PAGES);
			if (e->slot == 1 && !(defect == RING_LOSES && next[i] % 16 == 0))
				mig_log[e->offset / 64] |= 1ULL << (e->offset % 64);
			__atomic_store_n(&e->flags, 2, __ATOMIC_RELEASE);
		}
	}
}

static void copy_logged(void)
{
	uint64_t i;

	for (i = 0; i < PAGES; i++)
		if (mig_log[i / 64] >> (i % 64) & 1)
			mig_replica[i] = load_word(MIG_HOST + i);
}

/* Take the log and copy what it names, in this order: what is written again is logged again. */
static void migrate_round(void)
{
	static uint64_t rest[PAGES / 64];
	uint64_t i;

	if (!cfg->ring) {
		CHECK(dirty_bitmap_get(m->vm, 1, mig_log) == 0);
		if (defect == BITMAP_LOSES)
			mig_log[3] = 0;
		copy_logged();
		return;
	}
	memset(mig_log, 0, sizeof(mig_log));
	collect_rings();
	if (defect == RING_EARLY) {
		copy_logged();
		pause_us(100);
	}
	CHECK(dirty_ring_reset_all(m->vm) >= 0);
	/* What a full ring could not take, and writes that are not a vCPU's. */
	CHECK(dirty_bitmap_get(m->vm, 1, rest) == 0);
	for (i = 0; i < PAGES / 64; i++)
		mig_log[i] |= rest[i];
	if (defect != RING_EARLY)
		copy_logged();
}

static void compare(const char *who, uint64_t pages, uint64_t host, const uint64_t *replica)
{
	uint64_t i;

	for (i = 0; i < pages; i++)
		if (replica[i] != load_word(host + i))
			VIOLATION("%s: a write to page %" PRIu64 " was not in the log: has %" PRIx64
				  ", memory %" PRIx64,
				  who, i, replica[i], load_word(host + i));
}

static void migrate_rings_only(void)
{
	collect_rings();
	CHECK(dirty_ring_reset_all(m->vm) >= 0);
}

static void *migrate_thread(void *arg)
{
	const uint64_t hva = hv_region_hva(region) + (MIG_HOST << 12);
	uint64_t n = 0, i;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		int round;

		CHECK(mx_slot(m, 1, MIG_GFN << 12, PAGES << 12, hva, HV_MEM_LOG_DIRTY_PAGES) == 0);
		for (i = 0; i < PAGES; i++)
			mig_replica[i] = load_word(MIG_HOST + i);
		for (round = 0; round < 4; round++) {
			pause_us(300);
			migrate_round();
		}
		guest_pause();
		migrate_round();
		compare("migration", PAGES, MIG_HOST, mig_replica);
		if (defect == STRAY_WRITE)
			*host_word(MIG_HOST + n % PAGES) ^= 1ULL << 40;
		guest_resume();
		CHECK(mx_slot(m, 1, MIG_GFN << 12, PAGES << 12, hva, 0) == 0);
		pause_us(200);
		/* Slot 2 fills the rings as well while it is logged. */
		if (cfg->ring)
			migrate_rings_only();
		n++;
	}
	atomic_fetch_add(&done_migrations, n);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- readers with cursors, over slot 0 ---------------------------------------------------------------- */

static uint64_t cursor_start;

static void cursor_round(uint64_t *cursor, uint64_t *replica)
{
	struct hv_dirty_range out[32];
	uint64_t resume = 0, next = 0, i;
	int k, n;

	do {
		n = dirty_cursor_read(m->vm, *cursor, &next, &resume, out, 32);
		CHECK(n >= 0);
		for (k = 0; k < n; k++)
			for (i = out[k].gpa >> 12; i < (out[k].gpa >> 12) + out[k].pages; i++)
				if (i < LOG_GFN + PAGES && !(defect == CURSOR_LOSES && i % 64 == 7))
					replica[i] = load_word(LOG_HOST + i);
	} while (resume != HV_DIRTYLOG_DONE);
	*cursor = next;
}

static void *reader_thread(void *arg)
{
	uint64_t *replica = calloc(PAGES, sizeof(*replica)), cursor = cursor_start, n = 0, i;

	hv_rcu_register_thread();
	CHECK(replica);
	for (i = 0; i < PAGES; i++)
		replica[i] = load_word(LOG_HOST + i);
	while (!atomic_load(&stop)) {
		cursor_round(&cursor, replica);
		pause_us(500);
		if (++n % 32 == 0) {
			guest_pause();
			cursor_round(&cursor, replica);
			compare("cursor", PAGES, LOG_HOST, replica);
			guest_resume();
		}
	}
	atomic_fetch_add(&done_reads, n);
	free(replica);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- the rest ----------------------------------------------------------------------------------------- */

static void *root_thread(void *arg)
{
	struct hv_mmu_root_info info[8];
	struct hv_mmu_stats s;
	uint64_t n = 0;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		CHECK(mmu_invalidate_all(m->vm, NULL) == 0);
		mmu_list_roots(m->vm, info, 8);
		mmu_get_stats(m->vm, &s);
		if (n++ % 8 == 0)
			mmu_set_nx_huge_pages(m->vm, n % 16 ? HV_MMU_ON : HV_MMU_OFF);
		pause_us(700);
	}
	atomic_fetch_add(&done_invalidations, n);
	hv_rcu_unregister_thread();
	return NULL;
}

static void *age_thread(void *arg)
{
	uint64_t rng = 0xa0761d6478bd642fULL, n = 0;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		uint64_t page = xorshift(&rng) % (HOST_PAGES - 64), hva = hv_region_hva(region) + (page << 12);

		hv_mem_test_young(m->mem, hva, hva + (64 << 12));
		hv_mem_clear_flush_young(m->mem, hva, hva + (64 << 12));
		n++;
		pause_us(150);
	}
	atomic_fetch_add(&done_ages, n);
	hv_rcu_unregister_thread();
	return NULL;
}

static int only_vm(struct hv_vm *vm, void *ctx)
{
	return vm != m->vm;
}

static int any_vm(struct hv_vm *vm, void *ctx)
{
	return 1;
}

static void *cpu_thread(void *arg)
{
	unsigned int cpu = 0;
	uint64_t n = 0;

	hv_rcu_register_thread();
	while (!atomic_load(&stop)) {
		cpu = (cpu + 1) % hardware_nr_cpus();
		if (hardware_cpu_offline(cpu) == 0) {
			CHECK(!hardware_cpu_enabled(cpu));
			pause_us(300);
			CHECK(hardware_cpu_online(cpu) == 0);
			CHECK(hardware_cpu_enabled(cpu));
			n++;
		}
		if (defect == COUNT_LEAKS)
			CHECK(hardware_enable_all(&m->vendor) == 0);
		CHECK(hardware_usage_count() == 1);
		CHECK(vm_for_each(only_vm, NULL) == 0);
		pause_us(2000);
	}
	atomic_fetch_add(&done_cpus, n);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- one configuration ----------------------------------------------------------------------------------- */

static void set_up(void)
{
	struct mx_config mc = cfg->mx;
	uint64_t hva;
	unsigned int i;

	mc.use_tlb = true;
	mc.vcpus = VCPUS;
	m = mx_new(&mc);
	CHECK(mmu_set_dirty_mode(m->vm, cfg->mode) == 0);
	region = mx_region(m, HOST_PAGES << 12, HV_BACKING_ANON);
	hva = hv_region_hva(region);
	CHECK(mx_slot(m, 0, LOG_GFN << 12, PAGES << 12, hva + (LOG_HOST << 12), 0) == 0);
	CHECK(mx_slot(m, 1, MIG_GFN << 12, PAGES << 12, hva + (MIG_HOST << 12), 0) == 0);
	CHECK(mx_slot(m, 2, DYN_GFN << 12, PAGES << 12, hva + (DYN_HOST << 12), 0) == 0);
	CHECK(mx_slot(m, 3, TAKE_GFN << 12, PAGES << 12, hva + (TAKE_HOST << 12), 0) == 0);
	atomic_store(&dyn_gfn, DYN_GFN);
	atomic_store(&dyn_host, DYN_HOST);
	atomic_store(&dyn_gone, false);
	atomic_store(&dyn_seq, 0);
	atomic_store(&ring_restart, true);
	atomic_store(&stop, false);
	parked = 0;
	memset(guests, 0, sizeof(guests));
	for (i = 0; i < VCPUS; i++) {
		guests[i].v = &m->v[i];
		guests[i].v->deaf = defect == NO_FLUSH;
		guests[i].id = i;
		guests[i].rng = 0x853c49e6748fea9bULL + i * 977;
		if (cfg->guest_tables) {
			struct hv_guest_paging gp = {
				.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP,
				.cr3 = TABLES << 12,
				.cr4 = X86_CR4_PAE,
				.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE,
				.maxphyaddr = 46,
			};

			mmu_guest_paging_changed(m->v[i].vcpu, &gp);
		}
	}
	if (cfg->guest_tables)
		build_guest_tables();
	if (!cfg->no_cursors)
		CHECK(dirty_cursor_start(m->vm, &cursor_start) == 0);
}

static void tear_down(void)
{
	unsigned int i;

	if (!cfg->no_cursors)
		CHECK(dirty_cursor_stop(m->vm) == 0);
	for (i = 0; i < 4; i++)
		CHECK(mx_slot(m, i, 0, 0, 0, 0) == 0);
	hv_region_destroy(region);
	mx_free(m);
	CHECK(hardware_usage_count() == 0);
	CHECK(vm_for_each(any_vm, NULL) == 0);
}

static void run(unsigned int seconds)
{
	/* The readers last. */
	static void *(*const others[])(void *) = { slot_thread,	  take_thread, migrate_thread,
						   root_thread,	  age_thread,  cpu_thread,
						   reader_thread, reader_thread,
						   reader_thread };
	enum { ALL = sizeof(others) / sizeof(others[0]) };
	const unsigned int nr = cfg->no_cursors ? ALL - READERS : ALL;
	pthread_t vcpu[VCPUS], other[ALL];
	struct hv_mmu_stats s;
	uint64_t end;
	unsigned int i;

	done_accesses = done_slots = done_takes = done_migrations = done_reads = 0;
	done_invalidations = done_ages = done_cpus = done_remaps = done_full = 0;
	set_up();
	for (i = 0; i < VCPUS; i++)
		CHECK(pthread_create(&vcpu[i], NULL, vcpu_thread, &guests[i]) == 0);
	for (i = 0; i < nr; i++)
		CHECK(pthread_create(&other[i], NULL, others[i], NULL) == 0);
	end = hv_clock_ns() + seconds * HV_NSEC_PER_SEC;
	while (hv_clock_ns() < end)
		pause_us(10000);
	atomic_store(&stop, true);
	for (i = 0; i < nr; i++)
		pthread_join(other[i], NULL);
	for (i = 0; i < VCPUS; i++)
		pthread_join(vcpu[i], NULL);
	mmu_get_stats(m->vm, &s);
	printf("# %s: %" PRIu64 " accesses, %" PRIu64 " slot changes, %" PRIu64 " ranges taken, %" PRIu64
	       " migrations, %" PRIu64 " cursor rounds, %" PRIu64 " invalidations, %" PRIu64
	       " ageings, %" PRIu64 " CPUs off and on, %" PRIu64 " remaps, %" PRIu64 " full rings; %" PRIu64 " faults, %" PRIu64
	       " fast, %" PRIu64 " retries, %" PRIu64 " splits, %" PRIu64 " flushes\n",
	       cfg->name, done_accesses, done_slots, done_takes, done_migrations, done_reads,
	       done_invalidations, done_ages, done_cpus, done_remaps, done_full, s.faults, s.fast_faults,
	       s.retries, s.splits, s.remote_flushes);
	tear_down();
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? (unsigned int)atoi(argv[1]) : 1, n = 0, i;
	const unsigned int nr = sizeof(configs) / sizeof(configs[0]);

	if (!seconds)
		seconds = 1;
	for (i = 0; argc > 3 && defect == SOUND; i++) {
		if (i == sizeof(defects) / sizeof(defects[0])) {
			fprintf(stderr, "stress_mmu: no such defect: %s\n", argv[3]);
			return 2;
		}
		if (!strcmp(argv[3], defects[i].name))
			defect = defects[i].defect;
	}
	mx_start();
	printf("1..%u\n", argc > 2 ? 1 : nr);
	for (i = 0; i < nr; i++) {
		if (argc > 2 && strcmp(argv[2], configs[i].name))
			continue;
		cfg = &configs[i];
		run(seconds);
		printf("ok %u - %s\n", ++n, cfg->name);
		fflush(stdout);
	}
	mx_end();
	return 0;
}
