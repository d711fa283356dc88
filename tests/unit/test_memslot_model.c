/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memslots and the dirty log beside a model that is plain enough to be
 * right by looking at it: an array from guest frame to host page, sets of dirty
 * pages, a generation. Random operations run on both; any difference ends the
 * test with the seed and the number of the operation.
 *
 *	test_memslot_model [operations [seed]]
 *
 * What the MMU does is modelled too, at its simplest: a frame is mapped or not,
 * and writable or not. A write to a frame that is not writable faults, which marks
 * it dirty and makes it writable; arming takes that back. So the test knows every
 * write that the log cannot see, and that each reader has the newest contents
 * after a read shows that none was missed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mem/region.h"
#include "hv/vm/dirty_internal.h"
#include "hv/vm/notifier.h"
#include "tests/lib/vm_fake.h"

#define GFNS	700 /* guest frames of the model, from 0 */
#define HPAGES	600 /* host pages */
#define IDS	24
#define HVA0	0x7f0000000000ULL
#define READERS 3
#define AS	HV_ADDRESS_SPACE_NUM

/* ---- the model -------------------------------------------------------------------------- */

struct m_slot {
	bool used, log;
	uint64_t gfn, npages, hpage;
	uint32_t flags;
	bool dirty[GFNS]; /* the bitmap, by page of the slot */
};

static struct model {
	struct m_slot slot[AS][IDS];
	int owner[AS][GFNS]; /* slot id or -1 */
	uint64_t generation[AS];
	bool manual, all_set;
	unsigned int cursors;
	/* the MMU */
	bool mapped[AS][GFNS], writable[AS][GFNS];
	/* address space 0: contents, and what each reader has and must be told */
	uint64_t version[GFNS];
	struct {
		bool on;
		uint64_t cursor, copy[GFNS];
		bool news[GFNS];
	} reader[READERS];
} m;

static struct hv_vm *vm;
static struct vf_rng rng;
static unsigned long op_number, seed;
static unsigned long counts[16];

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("not ok 1 - seed %lu, operation %lu: line %d: %s\n", seed,          \
			       op_number, __LINE__, #cond);                                        \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static uint64_t rnd(uint64_t n)
{
	return vf_rand(&rng) % n;
}

static bool chance(unsigned int percent)
{
	return rnd(100) < percent;
}

static void m_news(uint64_t gfn)
{
	int r;

	for (r = 0; r < READERS; r++)
		m.reader[r].news[gfn] = true;
}

static void m_forget_translations(int as, uint64_t gfn, uint64_t n)
{
	for (; n; n--, gfn++) {
		m.mapped[as][gfn] = false;
		m.writable[as][gfn] = false;
	}
}

/* ---- the MMU under the engine ------------------------------------------------------------- */

static void on_rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	for (; mask; mask &= mask - 1)
		m.writable[slot->as_id][gfn + hv_ffs64(mask)] = false;
}

static void on_flush(struct hv_vm *v, struct hv_memslot *slot)
{
	m_forget_translations(slot->as_id, slot->base_gfn, slot->npages);
}

static void on_commit(struct hv_vm *v, const struct hv_memslot *old, const struct hv_memslot *new,
		      enum hv_mr_change change)
{
	uint64_t i;

	if (memslot_log_must_arm(v, old, new))
		for (i = 0; i < new->npages; i++)
			m.writable[new->as_id][new->base_gfn + i] = false;
}

static bool on_unmap(struct hv_vm *v, const struct hv_gfn_range *range)
{
	m_forget_translations(range->slot->as_id, range->start, range->end - range->start);
	return true;
}

/* ---- slots ------------------------------------------------------------------------------------ */

static bool m_overlaps(int as, int id, uint64_t gfn, uint64_t npages)
{
	uint64_t g;

	for (g = gfn; g < gfn + npages && g < GFNS; g++)
		if (m.owner[as][g] >= 0 && m.owner[as][g] != id)
			return true;
	return false;
}

static void m_own(int as, int id, const struct m_slot *s, bool own)
{
	uint64_t g;

	for (g = s->gfn; g < s->gfn + s->npages; g++)
		m.owner[as][g] = own ? id : -1;
}

static void m_arrived(int as, const struct m_slot *s)
{
	uint64_t g;

	for (g = s->gfn; as == 0 && g < s->gfn + s->npages; g++)
		m_news(g);
}

static void m_log_on(struct m_slot *s, uint32_t flags)
{
	bool log = flags & HV_MEM_LOG_DIRTY_PAGES;

	if (log && !s->log)
		memset(s->dirty, m.all_set, sizeof(s->dirty));
	s->log = log;
	s->flags = flags;
}

/* What the request must come to; the model is changed if it is 0. steps: generations. */
static int m_set_region(int as, int id, const struct m_slot *want, bool dry, unsigned int *steps)
{
	struct m_slot *s = &m.slot[as][id];

	*steps = 0;
	if (!want->npages) {
		if (!s->used)
			return -EINVAL;
		*steps = 2;
		if (!dry) {
			m_own(as, id, s, false);
			s->used = false;
			s->log = false;
		}
		return 0;
	}
	if (!s->used) {
		if (m_overlaps(as, id, want->gfn, want->npages))
			return -EEXIST;
		*steps = 1;
		if (!dry) {
			*s = *want;
			s->used = true;
			s->log = false;
			m_log_on(s, want->flags);
			m_own(as, id, s, true);
			m_arrived(as, s);
		}
		return 0;
	}
	if (want->npages != s->npages || want->hpage != s->hpage ||
	    ((want->flags ^ s->flags) & HV_MEM_READONLY))
		return -EINVAL;
	if (want->gfn != s->gfn) {
		if (m_overlaps(as, id, want->gfn, want->npages))
			return -EEXIST;
		*steps = 2;
		if (!dry) {
			m_own(as, id, s, false);
			s->gfn = want->gfn;
			m_log_on(s, want->flags);
			m_own(as, id, s, true);
			m_arrived(as, s);
		}
	} else if (want->flags != s->flags) {
		*steps = 1;
		if (!dry)
			m_log_on(s, want->flags);
	}
	return 0;
}

static void pick_region(int as, int id, struct m_slot *want)
{
	const struct m_slot *s = &m.slot[as][id];

	*want = (struct m_slot){ .flags = 0 };
	if (s->used && chance(80)) { /* the same slot: moved, other flags, or gone */
		want->npages = s->npages;
		want->hpage = s->hpage;
		want->gfn = s->gfn;
		want->flags = s->flags;
		if (chance(45))
			want->gfn = rnd(GFNS - want->npages + 1);
		else if (chance(70))
			want->flags ^= HV_MEM_LOG_DIRTY_PAGES;
		else
			want->npages = 0;
		return;
	}
	want->npages = chance(5) ? 0 : 1 + rnd(chance(50) ? 8 : 130);
	want->hpage = rnd(HPAGES - want->npages + 1);
	want->gfn = rnd(GFNS - want->npages + 1);
	want->flags = (chance(50) ? HV_MEM_LOG_DIRTY_PAGES : 0) | (chance(10) ? HV_MEM_READONLY : 0);
}

/* A prepare that fails, or an allocation: the request fails and leaves what was. */
static int maybe_fail(int want_err)
{
	if (want_err || !chance(10))
		return 0;
#ifdef HV_DEBUG
	if (chance(60)) {
		hv_fault_arm(HV_FAULT_THREAD, 1 + rnd(6));
		return -ENOMEM;
	}
#endif
	vf_mmu.fail_prepare = -EPERM;
	return -EPERM;
}

static bool failed_as_told(int told)
{
	bool failed = false;

#ifdef HV_DEBUG
	if (told == -ENOMEM)
		failed = hv_fault_disarm();
#endif
	if (told == -EPERM) {
		failed = vf_mmu.fail_prepare == 0;
		vf_mmu.fail_prepare = 0;
	}
	return failed;
}

static void op_set_region(void)
{
	int as = chance(80) ? 0 : 1, id = (int)rnd(IDS), want_err, told, r;
	struct hv_memory_region_req req;
	struct m_slot want;
	unsigned int steps;

	pick_region(as, id, &want);
	req = (struct hv_memory_region_req){
		.slot = (uint32_t)as << 16 | (uint32_t)id,
		.flags = want.flags,
		.gpa = want.gfn << 12,
		.size = want.npages << 12,
		.userspace_addr = HVA0 + (want.hpage << 12),
	};
	want_err = m_set_region(as, id, &want, true, &steps);
	told = maybe_fail(want_err);
	r = memslot_set_region(vm, &req);
	if (told && failed_as_told(told)) {
		CHECK(r == told);
		/* A second step that failed has published twice all the same. */
		if (told == -EPERM)
			m.generation[as] += steps == 2 ? 2 * AS : 0;
		else if (vf_generation(vm, as) != m.generation[as])
			m.generation[as] += 2 * AS;
		counts[1]++;
		return;
	}
	CHECK(r == want_err);
	counts[r ? 2 : 0]++;
	if (r)
		return;
	CHECK(req.generation_before == m.generation[as]);
	m_set_region(as, id, &want, false, &steps);
	m.generation[as] += steps * AS;
	CHECK(req.generation_after == m.generation[as]);
}

/* ---- looking ------------------------------------------------------------------------------------- */

static void check_gfn(struct hv_memslots *slots, int as, uint64_t gfn)
{
	struct hv_memslot *s = memslot_find(slots, gfn);
	int id = gfn < GFNS ? m.owner[as][gfn] : -1;
	const struct m_slot *w;

	CHECK(!s == (id < 0));
	if (!s)
		return;
	w = &m.slot[as][id];
	CHECK(s->id == id && s->as_id == as && s->base_gfn == w->gfn && s->npages == w->npages);
	CHECK(!(s->flags & HV_MEMSLOT_INVALID));
	CHECK((s->flags & ~HV_MEMSLOT_LOG_CURSOR) == w->flags);
	CHECK(!(s->flags & HV_MEMSLOT_LOG_CURSOR) == !m.cursors);
	CHECK(memslot_gfn_to_hva(s, gfn) == HVA0 + ((w->hpage + gfn - w->gfn) << 12));
	CHECK(memslot_by_id(slots, id) == s);
	CHECK(!!s->bitmap == w->log && !!s->stamps == !!m.cursors);
}

static void check_hva(struct hv_memslots *slots, int as)
{
	uint64_t a = rnd(HPAGES), b = a + 1 + rnd(40), n = 0, want = 0;
	uint64_t start = HVA0 + (a << 12), end = HVA0 + (b << 12);
	struct hv_memslot *s;
	int id;

	for (s = memslot_first_hva(slots, start, end); s;
	     s = memslot_next_hva(slots, s, start, end)) {
		const struct m_slot *w = &m.slot[as][s->id];

		CHECK(w->used && w->hpage < b && w->hpage + w->npages > a);
		n++;
	}
	for (id = 0; id < IDS; id++) {
		const struct m_slot *w = &m.slot[as][id];

		want += w->used && w->hpage < b && w->hpage + w->npages > a;
	}
	CHECK(n == want);
}

static void op_look(void)
{
	int as = (int)rnd(AS), i;
	struct hv_memslots *slots;

	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, as);
	CHECK(hv_memslots_generation(slots) == m.generation[as]);
	for (i = 0; i < 4; i++)
		check_gfn(slots, as, rnd(GFNS + 10));
	check_hva(slots, as);
	hv_rcu_read_unlock();
	counts[3]++;
}

static void op_look_all(void)
{
	struct hv_memslot *s;
	uint64_t g, next = 0;
	unsigned int n = 0;
	int as, id;

	hv_rcu_read_lock();
	for (as = 0; as < AS; as++) {
		struct hv_memslots *slots = hv_vm_memslots(vm, as);

		for (g = 0; g < GFNS; g++)
			check_gfn(slots, as, g);
		n = 0;
		next = 0;
		for (s = memslot_first_from(slots, 0); s; s = memslot_next(slots, s), n++) {
			CHECK(s->base_gfn >= next);
			next = s->base_gfn + s->npages;
		}
		CHECK(n == memslots_count(slots));
		for (id = 0; id < IDS; id++)
			n -= m.slot[as][id].used;
		CHECK(n == 0);
	}
	hv_rcu_read_unlock();
}

/* ---- writes ------------------------------------------------------------------------------------------ */

static void m_mark(int as, uint64_t gfn)
{
	struct m_slot *s = &m.slot[as][m.owner[as][gfn]];

	if (s->log)
		s->dirty[gfn - s->gfn] = true;
	if (as == 0)
		m_news(gfn);
}

/* A guest's write, through its translation or by way of a fault. */
static void op_write(void)
{
	int as = chance(90) ? 0 : 1;
	uint64_t gfn = rnd(GFNS);
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = memslot_find(hv_vm_memslots(vm, as), gfn);
	if (s && !(s->flags & HV_MEM_READONLY)) {
		if (!m.writable[as][gfn]) {
			hv_read_lock(&vm->mmu_lock);
			m.mapped[as][gfn] = true;
			m.writable[as][gfn] = true;
			vm_mark_page_dirty(vm, NULL, s, gfn);
			hv_read_unlock(&vm->mmu_lock);
			m_mark(as, gfn);
		}
		if (as == 0)
			m.version[gfn]++;
		counts[4]++;
	} else {
		CHECK(!m.writable[as][gfn]);
	}
	hv_rcu_read_unlock();
}

static void op_invalidate(void)
{
	uint64_t a = rnd(HPAGES), b = a + 1 + rnd(20), g;
	struct hv_mem_range range = {
		.start = HVA0 + (a << 12), .end = HVA0 + (b << 12), .blockable = true,
	};
	int as;

	CHECK(!notifier_invalidate_start(vm, &range));
	/* No translation of the range is left, in any address space. */
	for (as = 0; as < AS; as++) {
		for (g = 0; g < GFNS; g++) {
			const struct m_slot *s;

			if (m.owner[as][g] < 0)
				continue;
			s = &m.slot[as][m.owner[as][g]];
			if (s->hpage + g - s->gfn >= a && s->hpage + g - s->gfn < b)
				CHECK(!m.mapped[as][g]);
		}
	}
	notifier_invalidate_end(vm, &range);
	CHECK(!vm->invalidate_in_progress && !vm->mn_active_invalidate_count);
	counts[5]++;
}

/* ---- logs ----------------------------------------------------------------------------------------------- */

static void op_mode(void)
{
	m.manual = chance(50);
	m.all_set = m.manual && chance(50);
	CHECK(!dirty_bitmap_set_mode(vm, (m.manual ? HV_DIRTY_MANUAL_PROTECT : 0) |
					 (m.all_set ? HV_DIRTY_INITIALLY_ALL_SET : 0)));
}

static void op_bitmap_get(void)
{
	uint64_t map[(GFNS + 63) / 64], i;
	int as = chance(80) ? 0 : 1, id = (int)rnd(IDS);
	struct m_slot *s = &m.slot[as][id];
	int r = dirty_bitmap_get(vm, (uint32_t)(as << 16 | id), map);

	CHECK(r == (s->used && s->log ? 0 : -ENOENT));
	if (r)
		return;
	for (i = 0; i < s->npages; i++) {
		CHECK(hv_bitmap_test(map, i) == s->dirty[i]);
		if (!m.manual && s->dirty[i]) {
			s->dirty[i] = false;
			CHECK(!m.writable[as][s->gfn + i]);
		}
	}
	counts[6]++;
}

static void op_bitmap_clear(void)
{
	uint64_t map[(GFNS + 63) / 64], i, first, n;
	int as = chance(80) ? 0 : 1, id = (int)rnd(IDS);
	struct m_slot *s = &m.slot[as][id];

	if (!s->used || !s->log)
		return;
	for (i = 0; i < (GFNS + 63) / 64; i++)
		map[i] = vf_rand(&rng);
	first = rnd(s->npages / 64 + 1) * 64;
	n = s->npages - first;
	if (n > 64 && chance(50))
		n = 64;
	CHECK(!dirty_bitmap_clear(vm, (uint32_t)(as << 16 | id), first, n, map));
	for (i = 0; i < n; i++) {
		if (hv_bitmap_test(map, i) && s->dirty[first + i]) {
			s->dirty[first + i] = false;
			CHECK(!m.writable[as][s->gfn + first + i]);
		}
	}
	counts[7]++;
}

static void op_cursor_start_stop(void)
{
	int r = (int)rnd(READERS), as;
	uint64_t cursor;

	if (!m.reader[r].on) {
		CHECK(!dirty_cursor_start(vm, &cursor));
		if (!m.cursors++)
			for (as = 0; as < AS; as++)
				m.generation[as] += memslots_count(vm->memslots[as]) ? AS : 0;
		m.reader[r].on = true;
		m.reader[r].cursor = cursor;
		memset(m.reader[r].news, 0, sizeof(m.reader[r].news));
		memcpy(m.reader[r].copy, m.version, sizeof(m.version));
	} else if (chance(30)) {
		CHECK(!dirty_cursor_stop(vm));
		if (!--m.cursors)
			for (as = 0; as < AS; as++)
				m.generation[as] += memslots_count(vm->memslots[as]) ? AS : 0;
		m.reader[r].on = false;
	}
	counts[8]++;
}

static void op_cursor_read(void)
{
	int r = (int)rnd(READERS), n, i;
	uint64_t since = m.reader[r].cursor, resume = 0, g;
	unsigned int max = 1 + (unsigned int)rnd(8);
	struct hv_dirty_range out[8];
	bool told[GFNS] = { false };

	if (!m.reader[r].on)
		return;
	do {
		n = dirty_cursor_read(vm, since, &m.reader[r].cursor, &resume, out, max);
		CHECK(n >= 0 && n <= (int)max);
		for (i = 0; i < n; i++) {
			for (g = out[i].gpa >> 12; g < (out[i].gpa >> 12) + out[i].pages; g++) {
				CHECK(g < GFNS && !told[g]);
				told[g] = true;
			}
		}
	} while (resume != HV_DIRTYLOG_DONE);
	for (g = 0; g < GFNS; g++) {
		bool there = m.owner[0][g] >= 0;

		/* Exactly what was noticed since the reader's last time ... */
		CHECK(told[g] == (there && m.reader[r].news[g]));
		if (told[g])
			m.reader[r].copy[g] = m.version[g];
		/* ... and that is every write there was. */
		CHECK(!there || m.reader[r].copy[g] == m.version[g]);
		/* What is not there can only come back as news. */
		m.reader[r].news[g] = false;
		/* Whatever was open is armed now. */
		CHECK(!m.writable[0][g]);
	}
	counts[9]++;
}

static void op_cursor_clear(void)
{
	uint64_t gfn = rnd(GFNS), n = rnd(100), g;

	CHECK(dirty_cursor_clear(vm, gfn << 12, n) == (m.cursors ? 0 : -EINVAL));
	for (g = gfn; m.cursors && g < gfn + n && g < GFNS; g++)
		CHECK(!m.writable[0][g]);
}

/* ---- main ------------------------------------------------------------------------------------------------- */

static void one_op(void)
{
	uint64_t what = rnd(1000);

	if (what < 150)
		op_set_region();
	else if (what < 350)
		op_look();
	else if (what < 880)
		op_write();
	else if (what < 890)
		op_invalidate();
	else if (what < 892)
		op_mode();
	else if (what < 930)
		op_bitmap_get();
	else if (what < 950)
		op_bitmap_clear();
	else if (what < 954)
		op_cursor_start_stop();
	else if (what < 995)
		op_cursor_read();
	else
		op_cursor_clear();
}

int main(int argc, char **argv)
{
	unsigned long ops = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000000;
	int as, g;

	seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 20220303;
	rng.s = seed * 2654435761UL + 1;
	printf("1..1\n");
	vf_start();
	vm = vf_vm_new("model");
	vf_mmu.on_rearm = on_rearm;
	vf_mmu.on_flush = on_flush;
	vf_mmu.on_commit = on_commit;
	vf_mmu.on_unmap = on_unmap;
	for (as = 0; as < AS; as++) {
		m.generation[as] = (uint64_t)as;
		for (g = 0; g < GFNS; g++)
			m.owner[as][g] = -1;
	}
	for (op_number = 0; op_number < ops; op_number++) {
		one_op();
		if (op_number % 1000 == 0)
			op_look_all();
	}
	op_look_all();
	vm_put(vm);
	vf_end();
	printf("ok 1 - %lu operations, seed %lu: %lu slot updates, %lu failed by force, %lu refused\n",
	       ops, seed, counts[0], counts[1], counts[2]);
	printf("# %lu lookups, %lu writes, %lu invalidations, %lu gets, %lu clears, %lu cursor reads\n",
	       counts[3], counts[4], counts[5], counts[6], counts[7], counts[9]);
	return 0;
}
