/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory runs out: every allocation that a slot update, a fault or a change of the
 * dirty log makes is failed, one after the other, until the operation succeeds. Each
 * failure is -ENOMEM and leaves the slots, their logs, and what every page holds and
 * maps as they were. Configurations: both table formats and both kinds of shadow
 * tables, each with every combination of logs, in both address spaces.
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
#include "hv/mmu/mmu_internal.h"
#include "hv/vm/dirty_internal.h"
#include "hv/x86/defs.h"
#include "tests/lib/mmu_fixture.h"

#ifdef HV_DEBUG

#define MB	  (1ULL << 20)
#define HOST_SIZE (16 * MB)
#define LOW_SIZE  (4 * MB) /* slot 0, at 0: it has the guest's tables, if any */
#define LOW_PAGES (LOW_SIZE / 4096)
#define NEW_ID	  5 /* the slot that is created, changed, moved and deleted */
#define NEW_SIZE  (3 * MB)
#define NEW_PAGES (NEW_SIZE / 4096)
#define NEW_HOST  (8 * MB)
#define HERE	  (32 * MB)
#define THERE	  (40 * MB + 4096)
#define NOWHERE	  (1ULL << 33) /* MMIO */

struct config {
	const char *name;
	struct mx_config mx;
	enum hv_mmu_dirty_mode mode;
	bool guest_tables;
};

static const struct config configs[] = {
	{ .name = "ept", .mx = { .kind = HW_EPT } },
	{ .name = "ept-noad", .mx = { .kind = HW_EPT, .no_ad = true } },
	{ .name = "npt-dbit", .mx = { .kind = HW_NPT }, .mode = HV_MMU_DIRTY_DBIT },
	{ .name = "shadow-flat", .mx = { .kind = HW_X86_PAE } },
	{ .name = "shadow-paging", .mx = { .kind = HW_X86_LONG }, .guest_tables = true },
};
#define NR_CONFIGS (sizeof(configs) / sizeof(configs[0]))

/* Which logs are on. */
#define LOG_BITMAP  1U
#define LOG_CURSORS 2U
#define LOG_RING    4U
#define LOGS	    8U

static const struct config *cfg;
static unsigned int logs;
static struct mx *m;
static struct hv_region *region;
static uint64_t cursor, failures;

/* ---- what must not change ---------------------------------------------------------------------- */

struct slot_state {
	bool used;
	struct hv_memslot slot;
	uint64_t bitmap_sum, stamps_sum;
};

struct state {
	struct slot_state slot[HV_ADDRESS_SPACE_NUM][NEW_ID + 1];
	unsigned int count[HV_ADDRESS_SPACE_NUM], cursor_users;
	bool mapped[2][LOW_PAGES]; /* for reading, for writing */
};

static uint64_t sum(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n--)
		h = (h ^ *c++) * 0x100000001b3ULL;
	return h;
}

static uint64_t sum_map(const struct dirty_map *map)
{
	uint64_t h = sum(1469598103934665603ULL, map->word, hv_bitmap_bytes(map->npages));

	return sum(h, map->summary, hv_bitmap_words(hv_bitmap_words(map->npages)) * 8);
}

static void take_slot(struct slot_state *out, struct hv_memslots *slots, int id)
{
	struct hv_memslot *s = memslot_by_id(slots, id);

	*out = (struct slot_state){ .used = s != NULL };
	if (!s)
		return;
	assert_ptr_equal(memslot_find(slots, s->base_gfn), s);
	assert_ptr_equal(memslot_find(slots, s->base_gfn + s->npages - 1), s);
	out->slot = *s;
	if (s->bitmap)
		out->bitmap_sum = sum_map(&s->bitmap->map);
	if (s->stamps)
		out->stamps_sum = sum(sum_map(&s->stamps->open), (void *)s->stamps->page,
				      s->npages * sizeof(*s->stamps->page));
}

/* The guest's linear address of a page of slot 0. */
static uint64_t low(uint64_t page)
{
	return page << 12;
}

static void take(struct state *s, bool mappings)
{
	struct mx_vcpu *v = &m->v[0];
	uint64_t page;
	int as, id;

	memset(s, 0, sizeof(*s));
	/* What is in D bits reaches the log with any flush of the slot: so before we look. */
	hv_mutex_lock(&m->vm->slots_lock);
	hv_mmu.dirty_log_sync(m->vm);
	hv_mutex_unlock(&m->vm->slots_lock);
	hv_rcu_read_lock();
	for (as = 0; as < HV_ADDRESS_SPACE_NUM; as++) {
		struct hv_memslots *slots = hv_vm_memslots(m->vm, as);

		assert_false(hv_memslots_generation(slots) & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS);
		s->count[as] = memslots_count(slots);
		for (id = 0; id <= NEW_ID; id++)
			take_slot(&s->slot[as][id], slots, id);
	}
	hv_rcu_read_unlock();
	s->cursor_users = m->vm->dirty->cursor_users;
	for (page = 0; mappings && page < LOW_PAGES; page++) {
		s->mapped[0][page] = mx_mapped(v, low(page), HW_READ);
		s->mapped[1][page] = mx_mapped(v, low(page), HW_WRITE);
	}
}

static void check_unchanged(const struct state *before, bool mappings)
{
	static struct state after;

	take(&after, mappings);
	assert_memory_equal(&after, before, sizeof(after));
}

/* ---- a VM in the middle of its work -------------------------------------------------------------- */

static uint64_t *host_word(uint64_t offset)
{
	return (uint64_t *)(uintptr_t)(hv_region_hva(region) + offset);
}

/* Four tables at the end of slot 0 map its first 2 MiB twice: the second half of the PT again. */
static void guest_tables(void)
{
	const uint64_t at = LOW_SIZE - 4 * 4096, flags = X86_PTE_P | X86_PTE_W | X86_PTE_A | X86_PTE_D;
	struct hv_guest_paging gp = {
		.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP, .cr3 = at, .cr4 = X86_CR4_PAE,
		.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE, .maxphyaddr = 46,
	};
	uint64_t i;

	for (i = 0; i < 3; i++)
		*host_word(at + i * 4096) = (at + (i + 1) * 4096) | flags;
	for (i = 0; i < 512; i++)
		host_word(at + 3 * 4096)[i] = (i % 256) << 12 | flags;
	mmu_guest_paging_changed(m->v[0].vcpu, &gp);
}

static void begin(const struct config *c, unsigned int with)
{
	struct mx_config config = c->mx;

	cfg = c;
	logs = with;
	config.ring_entries = with & LOG_RING ? 1024 : 0;
	m = mx_new(&config);
	assert_int_equal(mmu_set_dirty_mode(m->vm, c->mode), 0);
	region = mx_region(m, HOST_SIZE, HV_BACKING_ANON);
	assert_int_equal(mx_slot(m, 0, 0, LOW_SIZE, hv_region_hva(region), 0), 0);
	if (c->guest_tables)
		guest_tables();
	failures = 0;
}

static void end(void)
{
	unsigned int as;

	for (as = 0; as < HV_ADDRESS_SPACE_NUM; as++)
		mx_slot(m, as << 16 | NEW_ID, 0, 0, 0, 0);
	mx_slot(m, 0, 0, 0, 0, 0);
	if (m->vm->dirty->cursor_users)
		assert_int_equal(dirty_cursor_stop(m->vm), 0);
	hv_region_destroy(region);
	mx_free(m);
}

static void poke(uint64_t page, uint64_t value)
{
	assert_int_equal(mx_access(&m->v[0], low(page), HW_WRITE, &value), MX_OK);
}

static void check_page(uint64_t page, uint64_t want)
{
	uint64_t value = 0;

	assert_int_equal(mx_access(&m->v[0], low(page), HW_READ, &value), MX_OK);
	assert_int_equal(value, want);
}

/* ---- slot updates -------------------------------------------------------------------------------------- */

static int update(unsigned int as, hv_gpa_t gpa, uint64_t size, uint32_t flags)
{
	return mx_slot(m, as << 16 | NEW_ID, gpa, size, hv_region_hva(region) + NEW_HOST, flags);
}

/* Returns how many allocations the update made. */
static uint64_t fail_update(const char *what, unsigned int as, hv_gpa_t gpa, uint64_t size,
			    uint32_t flags)
{
	static struct state before;
	uint64_t n;
	int r;

	for (n = 1;; n++) {
		take(&before, false);
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = update(as, gpa, size, flags);
		if (!hv_fault_disarm())
			break;
		if (r != -ENOMEM)
			fail_msg("%s: %s in address space %u, allocation %" PRIu64 ": %d", cfg->name, what,
				 as, n, r);
		check_unchanged(&before, false);
		check_page(3, 0x333);
		check_page(LOW_PAGES / 4, 0);
		failures++;
	}
	if (r)
		fail_msg("%s: %s in address space %u: %d", cfg->name, what, as, r);
	return n - 1;
}

static void check_new(unsigned int as, hv_gpa_t gpa, uint32_t flags)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = memslot_by_id(hv_vm_memslots(m->vm, (int)as), NEW_ID);
	assert_non_null(s);
	assert_int_equal(s->base_gfn, gpa >> 12);
	assert_int_equal(s->npages, NEW_PAGES);
	assert_int_equal(s->userspace_addr, hv_region_hva(region) + NEW_HOST);
	assert_int_equal(s->flags & HV_MEM_LOG_DIRTY_PAGES, flags);
	assert_int_equal(!(s->flags & HV_MEMSLOT_LOG_CURSOR), !(logs & LOG_CURSORS));
	assert_non_null(s->arch);
	hv_rcu_read_unlock();
}

/* A page of the new slot, as a vCPU of its address space finds it. */
static void write_new(unsigned int as, hv_gpa_t gpa, uint64_t value)
{
	if (cfg->guest_tables)
		return; /* the guest's tables do not lead there */
	mmu_set_address_space(m->v[0].vcpu, as);
	assert_int_equal(mx_access(&m->v[0], gpa + 7 * 4096, HW_WRITE, &value), MX_OK);
	mmu_set_address_space(m->v[0].vcpu, 0);
	assert_int_equal(*host_word(NEW_HOST + 7 * 4096), value);
}

static void updates_with(const struct config *c, unsigned int with)
{
	const uint32_t on = with & LOG_BITMAP ? HV_MEM_LOG_DIRTY_PAGES : 0, off = HV_MEM_LOG_DIRTY_PAGES ^ on;
	unsigned int as;
	uint64_t n;

	begin(c, with);
	/* Mapped pages, so that there is something to arm and to zap; a root, so rmaps in shadow. */
	poke(3, 0x333);
	check_page(LOW_PAGES / 4, 0);
	if (with & LOG_CURSORS)
		assert_int_equal(dirty_cursor_start(m->vm, &cursor), 0);
	for (as = 0; as < HV_ADDRESS_SPACE_NUM; as++) {
		/* Its place and its part of the MMU at least; the flags, a log. */
		assert_true(fail_update("create", as, HERE, NEW_SIZE, on) > 1);
		check_new(as, HERE, on);
		write_new(as, HERE, 1);
		n = fail_update("flags", as, HERE, NEW_SIZE, off);
		check_new(as, HERE, off);
		write_new(as, HERE, 2);
		assert_true(n + fail_update("flags back", as, HERE, NEW_SIZE, on) > 0);
		write_new(as, HERE, 3);
		fail_update("move", as, THERE, NEW_SIZE, on);
		check_new(as, THERE, on);
		write_new(as, THERE, 4);
		fail_update("move and flags", as, HERE, NEW_SIZE, off);
		check_new(as, HERE, off);
		write_new(as, HERE, 5);
		fail_update("delete", as, 0, 0, 0);
		fail_update("create again", as, THERE, NEW_SIZE, off);
		fail_update("delete again", as, 0, 0, 0);
		assert_int_equal(update(as, 0, 0, 0), -EINVAL);
	}
	print_message("# %s, logs %u: %" PRIu64 " failures\n", c->name, with, failures);
	end();
}

static void slot_updates(void **state)
{
	unsigned int i, with;

	for (i = 0; i < NR_CONFIGS; i++)
		for (with = 0; with < LOGS; with++)
			updates_with(&configs[i], with);
}

/* ---- cursors on and off: all slots at once ------------------------------------------------------------------ */

static void fail_cursors(int (*fn)(struct hv_vm *vm), bool maybe_none)
{
	static struct state before;
	uint64_t n;
	int r;

	for (n = 1;; n++) {
		take(&before, false);
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = fn(m->vm);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		check_unchanged(&before, false);
		failures++;
	}
	assert_int_equal(r, 0);
	assert_true(n > 1 || maybe_none);
}

static int start_cursor(struct hv_vm *vm)
{
	return dirty_cursor_start(vm, &cursor);
}

static void cursors(void **state)
{
	unsigned int i;

	for (i = 0; i < NR_CONFIGS; i++) {
		begin(&configs[i], 0);
		poke(3, 0x333);
		assert_int_equal(update(0, HERE, NEW_SIZE, HV_MEM_LOG_DIRTY_PAGES), 0);
		assert_int_equal(update(1, HERE, NEW_SIZE, 0), 0);
		fail_cursors(start_cursor, false);
		fail_cursors(start_cursor, true); /* the second reader */
		poke(3, 0x334);
		fail_cursors(dirty_cursor_stop, true);
		fail_cursors(dirty_cursor_stop, false);
		check_page(3, 0x334);
		print_message("# %s: %" PRIu64 " failures\n", cfg->name, failures);
		end();
	}
}

/* ---- faults ----------------------------------------------------------------------------------------------------- */

static struct mmu_page_cache held;

/* Take every free table page away, the vCPU's stock too: the next fault has to allocate. */
static void starve(void)
{
	struct mmu_pool *pool = &m->vm->mmu->pool;

	/* What the zap worker still has would come back to the pool meanwhile. */
	mmu_zap_flush(m->vm->mmu);
	mmu_cache_drain(pool, &m->v[0].vcpu->mmu->cache);
	while (pool->nr_free)
		assert_int_equal(mmu_cache_fill(pool, &held, held.count + 1), 0);
}

static void feed(void)
{
	mmu_cache_drain(&m->vm->mmu->pool, &held);
}

static int fault_once(uint64_t addr, unsigned int acc)
{
	struct hv_pf_request req = { .addr = addr, .error_code = acc & HW_WRITE ? HV_PF_WRITE : 0 };
	struct hv_vcpu *vcpu = m->v[0].vcpu;
	int r;

	do {
		r = mmu_reload(vcpu);
		if (r)
			return r;
		hv_rcu_read_lock();
		r = mmu_page_fault(vcpu, &req);
		hv_rcu_read_unlock();
	} while (r == HV_PF_RETRY);
	return r;
}

/* Returns how many allocations the fault makes at most. want: for memory, HV_PF_FIXED. */
static uint64_t fail_fault(const char *what, uint64_t addr, unsigned int acc, int want)
{
	static struct state before;
	uint64_t n;
	int r;

	if (mx_mapped(&m->v[0], addr, acc))
		want = HV_PF_SPURIOUS; /* by the leaf of a neighbour */
	for (n = 1;; n++) {
		starve();
		take(&before, true);
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = fault_once(addr, acc);
		if (!hv_fault_disarm())
			break;
		feed();
		if (r != -ENOMEM)
			fail_msg("%s: %s, allocation %" PRIu64 ": %d", cfg->name, what, n, r);
		check_unchanged(&before, true);
		failures++;
	}
	feed();
	if (r != want)
		fail_msg("%s: %s: %d instead of %d", cfg->name, what, r, want);
	return n - 1;
}

static void faults_with(const struct config *c, unsigned int with)
{
	const uint32_t log = with & LOG_BITMAP ? HV_MEM_LOG_DIRTY_PAGES : 0;
	bool shadow = c->mx.kind == HW_X86_PAE || c->mx.kind == HW_X86_LONG;
	uint64_t word;

	begin(c, with);
	assert_int_equal(mx_slot(m, 0, 0, LOW_SIZE, hv_region_hva(region), log), 0);
	if (with & LOG_CURSORS)
		assert_int_equal(dirty_cursor_start(m->vm, &cursor), 0);
	/* The first one makes the root too, and under shadow paging the rmaps of all slots. */
	assert_true(fail_fault("first read", low(2), HW_READ, HV_PF_FIXED) >= (shadow ? 2 : 1));
	assert_true(mx_mapped(&m->v[0], low(2), HW_READ));
	fail_fault("first write", low(3), HW_WRITE, HV_PF_FIXED);
	fail_fault("write after read", low(2), HW_WRITE, HV_PF_FIXED);
	if (!c->guest_tables) {
		fail_fault("another 2 MiB", low(700), HW_WRITE, HV_PF_FIXED);
		fail_fault("no memory there", c->mx.kind == HW_X86_PAE ? 0xfee00000 : NOWHERE, HW_READ,
			   HV_PF_EMULATE);
	} else {
		/* The same frames a second time: an rmap with two entries. */
		fail_fault("alias", low(256 + 2), HW_READ, HV_PF_FIXED);
		fail_fault("another alias", low(256 + 3), HW_WRITE, HV_PF_FIXED);
	}
	assert_int_equal(mmu_invalidate_all(m->vm, NULL), 0);
	/* A reload that fails has let go of the old root: no processor may walk it. */
	m->v[0].hw.root = 0;
	fail_fault("after invalidation", low(3), HW_WRITE, HV_PF_FIXED);
	word = 0x77;
	assert_int_equal(mx_access(&m->v[0], low(3), HW_WRITE, &word), MX_OK);
	check_page(3, 0x77);
	assert_true(failures >= 2);
	print_message("# %s, logs %u: %" PRIu64 " failures\n", c->name, with, failures);
	end();
}

static void faults(void **state)
{
	unsigned int i, with;

	for (i = 0; i < NR_CONFIGS; i++)
		for (with = 0; with < LOGS; with++)
			faults_with(&configs[i], with);
}

/* ---- reading the log ------------------------------------------------------------------------------------------------ */

/* A get arms what it reports, and splits huge leaves for it: without memory it still reports. */
static void log_of_huge_leaves(void **state)
{
	uint64_t log[LOW_PAGES / 64], n, pages;
	unsigned int i, w;
	bool failed;

	for (i = 0; i < NR_CONFIGS; i++) {
		if (configs[i].mx.kind == HW_X86_PAE || configs[i].guest_tables)
			continue;
		for (n = 1;; n++) {
			begin(&configs[i], 0);
			assert_int_equal(dirty_bitmap_set_mode(m->vm, HV_DIRTY_MANUAL_PROTECT |
									      HV_DIRTY_INITIALLY_ALL_SET),
					 0);
			poke(3, 1);
			assert_int_equal(mx_slot(m, 0, 0, LOW_SIZE, hv_region_hva(region),
						 HV_MEM_LOG_DIRTY_PAGES),
					 0);
			assert_int_equal(dirty_bitmap_get(m->vm, 0, log), 0);
			starve();
			hv_fault_arm(HV_FAULT_THREAD, n);
			assert_int_equal(dirty_bitmap_clear(m->vm, 0, 0, LOW_PAGES, log), 0);
			failed = hv_fault_disarm();
			feed();
			poke(5, 2);
			poke(1023, 2);
			check_page(3, 1);
			assert_int_equal(dirty_bitmap_get(m->vm, 0, log), 0);
			for (w = 0, pages = 0; w < LOW_PAGES / 64; w++)
				pages += hv_popcount64(log[w]);
			assert_int_equal(pages, 2);
			assert_int_equal(log[0], 1 << 5);
			end();
			if (!failed)
				break;
		}
		assert_true(n > 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slot_updates),
		cmocka_unit_test(cursors),
		cmocka_unit_test(faults),
		cmocka_unit_test(log_of_huge_leaves),
	};
	int failed;

	mx_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	mx_end();
	return failed;
}

#else

int main(void)
{
	print_message("1..0 # SKIP failures are injected in builds with --enable-debug\n");
	return 0;
}

#endif
