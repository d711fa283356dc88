/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cursor log: what each reader is told, whatever the others do. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"
#include "tests/lib/vm_fake.h"

#define HVA0 0x7f0000000000ULL
#define GPA0 0x100000ULL
#define PAGES 10000ULL

static struct hv_vm *vm;
static uint64_t armings;

static void rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	armings += hv_popcount64(mask);
}

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("cursor");
	vf_mmu.on_rearm = rearm;
	armings = 0;
	assert_int_equal(vf_slot(vm, 1, GPA0, PAGES << 12, HVA0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void mark_gfn(hv_gfn_t gfn)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = hv_vm_gfn_to_memslot(vm, gfn);
	vm_mark_page_dirty(vm, NULL, s, gfn);
	hv_rcu_read_unlock();
}

static void mark(uint64_t page)
{
	mark_gfn((GPA0 >> 12) + page);
}

/* Reads it all, `max` ranges at a time. Number of pages, or the error. */
static int64_t read_all(uint64_t since, uint64_t *cursor, struct hv_dirty_range *out, int *ranges,
			unsigned int max)
{
	struct hv_dirty_range buf[64];
	uint64_t resume = 0;
	int64_t pages = 0;
	int n, i;

	*ranges = 0;
	do {
		n = dirty_cursor_read(vm, since, cursor, &resume, buf, max);
		for (i = 0; i < n; i++) {
			pages += (int64_t)buf[i].pages;
			if (out)
				out[*ranges] = buf[i];
			++*ranges;
		}
	} while (n >= 0 && resume != HV_DIRTYLOG_DONE);
	return n < 0 ? n : pages;
}

static int64_t read_pages(uint64_t since, uint64_t *cursor)
{
	int ranges;

	return read_all(since, cursor, NULL, &ranges, 64);
}

static void test_one_reader(void **state)
{
	struct hv_dirty_range r[64];
	uint64_t c, c2;
	int n;

	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	assert_int_equal(read_all(0, &c2, r, &n, 64), PAGES); /* cursor 0: everything */
	assert_int_equal(n, 1);
	assert_int_equal(r[0].gpa, GPA0);
	assert_true(c2 > c);
	assert_int_equal(read_pages(c, &c), 0);
	mark(3);
	mark(4);
	mark(63);
	mark(64);
	mark(PAGES - 1);
	mark(4);
	assert_int_equal(read_all(c, &c, r, &n, 64), 5);
	assert_int_equal(n, 3);
	assert_int_equal(r[0].gpa, GPA0 + 3 * 4096);
	assert_int_equal(r[0].pages, 2);
	assert_int_equal(r[1].gpa, GPA0 + 63 * 4096);
	assert_int_equal(r[1].pages, 2);
	assert_int_equal(r[2].gpa, GPA0 + (PAGES - 1) * 4096);
	assert_int_equal(armings, 5);
	assert_int_equal(read_pages(c, &c), 0);
	assert_int_equal(armings, 5);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

/* Nobody steals: each reader gets all that was written since its own last time. */
static void test_three_readers(void **state)
{
	uint64_t a, b, c;

	assert_int_equal(dirty_cursor_start(vm, &a), 0);
	b = a;
	c = a;
	mark(1);
	assert_int_equal(read_pages(a, &a), 1);
	mark(2);
	assert_int_equal(read_pages(b, &b), 2);
	mark(3);
	assert_int_equal(read_pages(a, &a), 2); /* 2, 3 */
	assert_int_equal(read_pages(b, &b), 1); /* 3 */
	assert_int_equal(read_pages(c, &c), 3);
	assert_int_equal(read_pages(a, &a), 0);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

static void test_resume(void **state)
{
	struct hv_dirty_range out[600];
	uint64_t c, next, resume = 0;
	unsigned int i;
	int n;

	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	for (i = 0; i < 500; i++)
		mark(i * 20);
	/* Two ranges at a time, while the guest goes on writing. */
	assert_int_equal(dirty_cursor_read(vm, c, &next, &resume, out, 2), 2);
	assert_int_equal(resume, GPA0 + 40 * 4096);
	mark(1);    /* behind: for the next read */
	mark(5001); /* ahead: now, and in the next read as well */
	n = 2;
	while (resume != HV_DIRTYLOG_DONE) {
		uint64_t before = next;
		int got = dirty_cursor_read(vm, c, &next, &resume, out + n, 2);

		assert_true(got >= 0);
		assert_int_equal(next, before);
		n += got;
	}
	/* 5000 and 5001 are one range. */
	assert_int_equal(n, 500);
	assert_int_equal(read_pages(next, &next), 2);
	assert_int_equal(read_pages(next, &next), 0);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

static void test_cursor_errors(void **state)
{
	struct hv_dirty_range r;
	uint64_t c, d, resume = 0, old;

	assert_int_equal(dirty_cursor_read(vm, 0, &c, &resume, &r, 1), -EINVAL); /* not logging */
	assert_int_equal(dirty_cursor_stop(vm), -EINVAL);
	assert_int_equal(dirty_cursor_clear(vm, GPA0, 1), -EINVAL);
	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	old = c;
	assert_int_equal(dirty_cursor_read(vm, c + 1, &d, &resume, &r, 1), -EINVAL);
	assert_int_equal(dirty_cursor_read(vm, c, &d, &resume, &r, 0), -EINVAL);
	resume = 7;
	assert_int_equal(dirty_cursor_read(vm, c, &d, &resume, &r, 1), -EINVAL);
	resume = HV_DIRTYLOG_DONE;
	assert_int_equal(dirty_cursor_read(vm, c, &d, &resume, &r, 1), -EINVAL);
	assert_int_equal(dirty_cursor_clear(vm, GPA0 + 1, 1), -EINVAL);
	assert_int_equal(dirty_cursor_clear(vm, GPA0, ~0ULL), -EINVAL);
	/* A cursor of an earlier time of logging is refused, not answered short. */
	assert_int_equal(dirty_cursor_stop(vm), 0);
	mark(5); /* nobody sees this one */
	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	resume = 0;
	assert_int_equal(dirty_cursor_read(vm, old, &d, &resume, &r, 1), -ESTALE);
	assert_int_equal(read_pages(0, &d), PAGES);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

static void commit(struct hv_vm *v, const struct hv_memslot *old, const struct hv_memslot *new,
		   enum hv_mr_change change)
{
	armings += memslot_log_must_arm(v, old, new) ? 1000000 : 0;
}

static void test_start_is_counted(void **state)
{
	uint64_t a, b;
	struct hv_memslot s;

	vf_mmu.on_commit = commit;
	assert_int_equal(dirty_cursor_start(vm, &a), 0);
	assert_int_equal(armings, 1000000); /* all of the slot, by the MMU */
	mark(1);
	/* The second one starts from now: page 1 is armed, and not its business. */
	assert_int_equal(dirty_cursor_start(vm, &b), 0);
	assert_int_equal(armings, 1000001);
	assert_int_equal(read_pages(b, &b), 0);
	mark(1);
	assert_int_equal(read_pages(b, &b), 1);
	assert_int_equal(dirty_cursor_stop(vm), 0);
	assert_int_equal(read_pages(a, &a), 1);
	assert_true(vf_slot_get(vm, 0, 1, &s));
	assert_true(memslot_dirty_logged(&s));
	assert_int_equal(dirty_cursor_stop(vm), 0);
	assert_true(vf_slot_get(vm, 0, 1, &s));
	assert_false(memslot_dirty_logged(&s));
	assert_null(s.stamps);
	vf_mmu.on_commit = NULL;
}

/* Slots that come, move and go while logging is on. */
static void test_slots_change(void **state)
{
	struct hv_dirty_range r[64];
	uint64_t c;
	int n;

	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	assert_int_equal(vf_slot(vm, 2, 1 << 30, 16 << 12, HVA0, 0), 0);
	assert_int_equal(read_all(c, &c, r, &n, 64), 16); /* a new slot is news */
	assert_int_equal(r[0].gpa, 1 << 30);
	assert_int_equal(read_pages(c, &c), 0);
	mark_gfn((1 << 18) + 3);
	assert_int_equal(vf_slot(vm, 2, 1 << 30, 16 << 12, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(read_pages(c, &c), 1); /* flags change nothing of it */
	assert_int_equal(vf_slot(vm, 2, 1 << 29, 16 << 12, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(read_all(c, &c, r, &n, 64), 16);
	assert_int_equal(r[0].gpa, 1 << 29);
	assert_int_equal(vf_slot(vm, 2, 0, 0, 0, 0), 0);
	assert_int_equal(read_pages(c, &c), 0);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

static void test_beside_bitmap(void **state)
{
	static uint64_t map[(PAGES + 63) / 64];
	uint64_t c;

	assert_int_equal(vf_slot(vm, 1, GPA0, PAGES << 12, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	mark(9);
	mark(700);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(hv_bitmap_weight(map, PAGES), 2);
	assert_int_equal(read_pages(c, &c), 2);
	mark(9);
	assert_int_equal(read_pages(c, &c), 1);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(hv_bitmap_weight(map, PAGES), 1);
	assert_int_equal(dirty_cursor_stop(vm), 0);
	mark(10);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(hv_bitmap_weight(map, PAGES), 1);
}

static void test_clear_arms(void **state)
{
	uint64_t c;

	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	mark(10);
	mark(70);
	mark(75);
	mark(200);
	assert_int_equal(dirty_cursor_clear(vm, GPA0 + 70 * 4096, 100), 0);
	assert_int_equal(armings, 2);
	assert_int_equal(dirty_cursor_clear(vm, 0, (1ULL << 52) - 1), 0);
	assert_int_equal(armings, 4);
	assert_int_equal(read_pages(c, &c), 4); /* no reader loses them by that */
	assert_int_equal(armings, 4);
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

/* What was armed is out of the TLBs before the call returns; nothing armed, nothing flushed. */
static void test_flushes(void **state)
{
	struct hv_vcpu *vcpu;
	uint64_t c;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(dirty_cursor_start(vm, &c), 0);
	read_pages(c, &c);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	mark(10);
	mark(11);
	read_pages(c, &c);
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	mark(10);
	assert_int_equal(dirty_cursor_clear(vm, GPA0, 16), 0);
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	read_pages(c, &c);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

#ifdef HV_DEBUG
static void test_injected(void **state)
{
	uint64_t n, c;
	int r;

	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = dirty_cursor_start(vm, &c);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(dirty_cursor_stop(vm), -EINVAL);
	}
	assert_int_equal(r, 0);
	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = dirty_cursor_stop(vm);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		mark(1);
		assert_int_equal(read_pages(c, &c), 1); /* still on */
	}
	assert_int_equal(r, 0);
}
#endif

static void test_rate(void **state)
{
	double total = -1, per[2] = { -1, -1 };
	struct hv_vcpu *vcpu;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(dirty_rate_measure(vm, 0, &total, per, 2), -EINVAL);
	assert_int_equal(dirty_rate_measure(vm, 5, &total, per, 2), 0);
	assert_true(total == 0 && per[0] == 0 && per[1] == 0);
	assert_int_equal(vm->dirty->cursor_users, 0);
}

/* ---- writers and readers together ------------------------------------------------------ */

#define HOT	 512	/* pages that are written */
#define READERS	 3
#define ROUNDS	 1500

static _Atomic uint64_t version[HOT]; /* the page's contents */
static _Atomic bool writable[HOT];    /* its "SPTE": under mmu_lock */
static _Atomic bool stop;

static void arm_hot(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	uint64_t page = gfn - slot->base_gfn;

	for (; mask; mask &= mask - 1)
		writable[page + hv_ffs64(mask)] = false;
}

/* A guest: in guest mode it writes to what is writable, else it faults. */
static void *writer(void *arg)
{
	struct hv_vcpu *vcpu = arg;
	struct vf_rng r = { .s = vcpu->id + 1 };
	struct hv_memslot *s;

	hv_rcu_register_thread();
	while (!stop) {
		uint64_t page = vf_rand(&r) % HOT;
		bool fault = false;

		vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH);
		if (!vcpu_enter_guest_mode(vcpu))
			continue;
		if (writable[page])
			version[page]++;
		else
			fault = true;
		vcpu_exit_guest_mode(vcpu);
		if (!fault)
			continue;
		hv_rcu_read_lock();
		s = hv_vm_gfn_to_memslot(vm, (GPA0 >> 12) + page);
		hv_read_lock(&vm->mmu_lock);
		writable[page] = true;
		vm_mark_page_dirty(vm, vcpu, s, s->base_gfn + page);
		hv_read_unlock(&vm->mmu_lock);
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return NULL;
}

struct reader {
	uint64_t cursor;
	uint64_t copy[HOT];
	uint64_t pages;
};

/* What a migration does: read, then copy what was named. */
static void reader_pass(struct reader *r)
{
	struct hv_dirty_range buf[16];
	uint64_t resume = 0, since = r->cursor, i;
	int n, k;

	do {
		n = dirty_cursor_read(vm, since, &r->cursor, &resume, buf, 16);
		HV_BUG_ON(n < 0);
		for (k = 0; k < n; k++) {
			uint64_t first = (buf[k].gpa - GPA0) >> 12;

			for (i = first; i < first + buf[k].pages; i++)
				r->copy[i] = version[i];
			r->pages += buf[k].pages;
		}
	} while (resume != HV_DIRTYLOG_DONE);
}

static void *reader_thread(void *arg)
{
	hv_rcu_register_thread();
	while (!stop)
		reader_pass(arg);
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_readers_and_writers(void **state)
{
	static struct reader reader[READERS];
	struct hv_vcpu *vcpu[2];
	pthread_t t[2 + READERS - 1];
	uint64_t cursor;
	int i, page;

	vf_mmu.on_rearm = arm_hot;
	stop = false;
	assert_int_equal(dirty_cursor_start(vm, &cursor), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(vm_add_vcpu(vm, (unsigned int)i, &vcpu[i]), 0);
		assert_int_equal(pthread_create(&t[i], NULL, writer, vcpu[i]), 0);
	}
	for (i = 0; i < READERS; i++)
		reader[i].cursor = cursor;
	for (i = 1; i < READERS; i++)
		assert_int_equal(pthread_create(&t[1 + i], NULL, reader_thread, &reader[i]), 0);
	for (i = 0; i < ROUNDS || reader[0].pages < 20000; i++)
		reader_pass(&reader[0]);
	stop = true;
	for (i = 0; i < 2 + READERS - 1; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < READERS; i++) {
		reader_pass(&reader[i]);
		for (page = 0; page < HOT; page++)
			assert_int_equal(reader[i].copy[page], version[page]);
		print_message("# reader %d: %llu pages\n", i, (unsigned long long)reader[i].pages);
	}
	assert_int_equal(dirty_cursor_stop(vm), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_one_reader),	   T(test_three_readers), T(test_resume),
		T(test_cursor_errors),	   T(test_start_is_counted), T(test_slots_change),
		T(test_beside_bitmap),	   T(test_clear_arms),	  T(test_rate),
		T(test_flushes),
#ifdef HV_DEBUG
		T(test_injected),
#endif
		T(test_readers_and_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
