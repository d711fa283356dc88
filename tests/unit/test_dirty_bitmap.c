/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty bitmap: get, clear, manual protection, initially all set. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"
#include "tests/lib/vm_fake.h"

#define HVA0  0x7f0000000000ULL
#define PAGES 10000ULL /* no multiple of 64 */
#define WORDS ((PAGES + 63) / 64)
#define LOG   HV_MEM_LOG_DIRTY_PAGES

static struct hv_vm *vm;
static uint64_t map[WORDS + 1], armed[WORDS + 1];

static void rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	uint64_t page = gfn - slot->base_gfn;

	assert_int_equal(page % 64, 0);
	assert_int_equal(armed[page / 64] & mask, 0);
	armed[page / 64] |= mask;
}

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("log");
	vf_mmu.on_rearm = rearm;
	memset(armed, 0, sizeof(armed));
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, LOG), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void mark(uint64_t page)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = memslot_by_id(hv_vm_memslots(vm, 0), 1);
	vm_mark_page_dirty(vm, NULL, s, s->base_gfn + page);
	hv_rcu_read_unlock();
}

static uint64_t pages_in(const uint64_t *m)
{
	return hv_bitmap_weight(m, PAGES);
}

static void test_get_clears_and_arms(void **state)
{
	memset(map, 0xff, sizeof(map));
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 0);
	assert_int_equal(vf_mmu.syncs, 1);
	mark(0);
	mark(63);
	mark(64);
	mark(PAGES - 1);
	mark(64);
	map[WORDS] = 0x5a;
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 4);
	assert_true(hv_bitmap_test(map, 0) && hv_bitmap_test(map, 63) && hv_bitmap_test(map, 64) &&
		    hv_bitmap_test(map, PAGES - 1));
	assert_int_equal(map[WORDS], 0x5a); /* not a word more */
	assert_memory_equal(map, armed, WORDS * 8);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 0);
}

static void test_flushes(void **state)
{
	struct hv_vcpu *vcpu;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	mark(5);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(dirty_bitmap_set_mode(vm, HV_DIRTY_MANUAL_PROTECT), 0);
	mark(70);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(dirty_bitmap_clear(vm, 1, 0, PAGES, map), 0);
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(dirty_bitmap_clear(vm, 1, 0, PAGES, map), 0);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
}

static void test_refused(void **state)
{
	assert_int_equal(dirty_bitmap_get(vm, 2, map), -ENOENT);
	assert_int_equal(dirty_bitmap_get(vm, 1 | 1 << 16, map), -ENOENT);
	assert_int_equal(dirty_bitmap_get(vm, 5 << 16, map), -EINVAL);
	assert_int_equal(dirty_bitmap_get(vm, HV_MEM_SLOTS_MAX, map), -EINVAL);
	assert_int_equal(dirty_bitmap_clear(vm, 1, 1, 64, map), -EINVAL);
	assert_int_equal(dirty_bitmap_clear(vm, 1, 0, 63, map), -EINVAL);
	assert_int_equal(dirty_bitmap_clear(vm, 1, 0, PAGES + 1, map), -EINVAL);
	assert_int_equal(dirty_bitmap_clear(vm, 1, 64, ~0ULL, map), -EINVAL);
	assert_int_equal(dirty_bitmap_clear(vm, 1, PAGES + 64, 0, map), -EINVAL);
	assert_int_equal(dirty_bitmap_set_mode(vm, 4), -EINVAL);
	assert_int_equal(dirty_bitmap_set_mode(vm, HV_DIRTY_INITIALLY_ALL_SET), -EINVAL);
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, 0), 0);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), -ENOENT);
	mark(0); /* nobody wants it */
}

static void test_manual(void **state)
{
	uint64_t ask[WORDS] = { 0 };

	assert_int_equal(dirty_bitmap_set_mode(vm, HV_DIRTY_MANUAL_PROTECT), 0);
	mark(100);
	mark(101);
	mark(200);
	mark(PAGES - 1);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 4);
	assert_int_equal(vf_mmu.rearms, 0);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 4);
	/* Clear 101 and 102 (which is clean) in words 1..2 */
	ask[0] = 1ULL << (101 - 64) | 1ULL << (102 - 64);
	assert_int_equal(dirty_bitmap_clear(vm, 1, 64, 128, ask), 0);
	assert_int_equal(vf_mmu.rearms, 1);
	assert_int_equal(armed[1], 1ULL << (101 - 64));
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 3);
	assert_false(hv_bitmap_test(map, 101));
	/* The last, partial word; bits beyond the slot are nobody's. */
	ask[0] = ~0ULL;
	assert_int_equal(dirty_bitmap_clear(vm, 1, PAGES / 64 * 64, PAGES % 64, ask), 0);
	assert_int_equal(armed[PAGES / 64], 1ULL << (PAGES - 1) % 64);
	mark(101);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 3);
}

static void commit(struct hv_vm *v, const struct hv_memslot *old, const struct hv_memslot *new,
		   enum hv_mr_change change)
{
	armed[0] = memslot_log_must_arm(v, old, new);
}

static void test_initially_all_set(void **state)
{
	vf_mmu.on_commit = commit;
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, 0), 0);
	assert_int_equal(armed[0], 0);
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, LOG), 0);
	assert_int_equal(armed[0], 1);
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, 0), 0);
	assert_int_equal(dirty_bitmap_set_mode(vm, HV_DIRTY_MANUAL_PROTECT |
						   HV_DIRTY_INITIALLY_ALL_SET), 0);
	assert_int_equal(vf_slot(vm, 1, 1 << 20, PAGES << 12, HVA0, LOG), 0);
	assert_int_equal(armed[0], 0); /* not before the first clear */
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), PAGES);
	assert_int_equal(map[WORDS - 1], (1ULL << PAGES % 64) - 1);
	memset(armed, 0, sizeof(armed));
	assert_int_equal(dirty_bitmap_clear(vm, 1, 0, PAGES, map), 0);
	assert_memory_equal(armed, map, WORDS * 8);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 0);
	vf_mmu.on_commit = NULL;
}

/* A move keeps the log; the pages are the slot's, not the guest's. */
static void test_move_keeps_log(void **state)
{
	mark(77);
	assert_int_equal(vf_slot(vm, 1, 1 << 30, PAGES << 12, HVA0, LOG), 0);
	assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
	assert_int_equal(pages_in(map), 1);
	assert_true(hv_bitmap_test(map, 77));
}

/*
 * Marks against gets: a mark that was done before a get began is in that get, or in one
 * before; and in one only. The pages of both markers lie in the same words.
 */
#define SHARED 64
static _Atomic bool done[SHARED];
static _Atomic bool stop;

static void *marker(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	hv_rcu_register_thread();
	while (!stop) {
		i = (i + 2) % SHARED;
		if (done[i])
			continue;
		mark(i / 8 * 500 + i % 8);
		done[i] = true;
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void no_rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
}

static void test_marks_under_gets(void **state)
{
	bool reported[SHARED] = { false }, was_done[SHARED];
	unsigned int cycles = 0, i;
	pthread_t t[2];

	vf_mmu.on_rearm = no_rearm;
	stop = false;
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, marker, (void *)(uintptr_t)i), 0);
	while (cycles < 50000) {
		for (i = 0; i < SHARED; i++)
			was_done[i] = done[i];
		assert_int_equal(dirty_bitmap_get(vm, 1, map), 0);
		for (i = 0; i < SHARED; i++) {
			if (hv_bitmap_test(map, i / 8 * 500 + i % 8)) {
				assert_false(reported[i]);
				reported[i] = true;
			}
			if (was_done[i]) {
				assert_true(reported[i]);
				reported[i] = false;
				done[i] = false;
				cycles++;
			}
		}
	}
	stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_flushes), T(test_get_clears_and_arms), T(test_refused),	     T(test_manual),
		T(test_initially_all_set),   T(test_move_keeps_log), T(test_marks_under_gets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
