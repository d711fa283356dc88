/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dirty rings: pushes, harvest, reset, the soft limit, a user who writes nonsense. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
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
#define PAGES 100000ULL
#define LOG   HV_MEM_LOG_DIRTY_PAGES
#define SIZE  1024U
#define SOFT  (SIZE - HV_DIRTY_RING_RESERVED)

static struct hv_vm *vm;
static struct hv_vcpu *vcpu;
static struct hv_dirty_gfn *ring;
static uint8_t armed[PAGES];
static uint64_t armed_count;

static void rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	uint64_t page = gfn - slot->base_gfn, i;

	for (i = 0; i < 64; i++) {
		if (mask >> i & 1) {
			armed[page + i] = 1;
			armed_count++;
		}
	}
}

static int setup(void **state)
{
	uint32_t entries;

	vf_start();
	vm = vf_vm_new("ring");
	vf_mmu.on_rearm = rearm;
	memset(armed, 0, sizeof(armed));
	armed_count = 0;
	assert_int_equal(dirty_ring_enable(vm, 1000), -EINVAL);
	assert_int_equal(dirty_ring_enable(vm, 512), -EINVAL);
	assert_int_equal(dirty_ring_enable(vm, 1 << 20), -EINVAL);
	assert_int_equal(dirty_ring_reset_all(vm), -ENOENT);
	assert_int_equal(dirty_ring_enable(vm, SIZE), 0);
	assert_int_equal(dirty_ring_enable(vm, SIZE), -EINVAL);
	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(dirty_ring_map(vcpu, &ring, &entries), 0);
	assert_int_equal(entries, SIZE);
	assert_int_equal(vf_slot(vm, 1 << 16 | 3, 1 << 20, PAGES << 12, HVA0, LOG), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static void mark(struct hv_vcpu *by, uint64_t page)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = memslot_by_id(hv_vm_memslots(vm, 1), 3);
	vm_mark_page_dirty(vm, by, s, s->base_gfn + page);
	hv_rcu_read_unlock();
}

/* As a user: take entries from *next on until one is not dirty. */
static unsigned int harvest(uint32_t *next, uint64_t *pages)
{
	unsigned int n = 0;

	for (;; n++, ++*next) {
		struct hv_dirty_gfn *e = &ring[*next % SIZE];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != 1)
			return n;
		assert_int_equal(e->slot, 1 << 16 | 3);
		if (pages)
			pages[n] = e->offset;
		__atomic_store_n(&e->flags, 2, __ATOMIC_RELEASE);
	}
}

static void test_push_harvest_reset(void **state)
{
	uint64_t pages[SIZE];
	uint32_t next = 0;
	unsigned int i;

	assert_int_equal(harvest(&next, pages), 0);
	for (i = 0; i < 10; i++)
		mark(vcpu, 5000 + i);
	mark(vcpu, 99999);
	mark(vcpu, 4990);
	assert_int_equal(dirty_ring_reset_all(vm), 0); /* nothing harvested yet */
	assert_int_equal(harvest(&next, pages), 12);
	assert_int_equal(pages[3], 5003);
	assert_int_equal(pages[10], 99999);
	assert_int_equal(dirty_ring_reset_all(vm), 12);
	assert_int_equal(armed_count, 12);
	for (i = 0; i < 10; i++)
		assert_true(armed[5000 + i]);
	assert_true(armed[99999] && armed[4990]);
	assert_int_equal(vf_mmu.rearms, 3); /* runs are armed together */
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(dirty_ring_reset_all(vm), 0);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
}

static void test_runs(void **state)
{
	static const uint64_t order[] = { 100, 163, 99, 164, 101, 100, 37, 36 };
	uint32_t next = 0;
	unsigned int i;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		mark(vcpu, order[i]);
	assert_int_equal(harvest(&next, NULL), 8);
	assert_int_equal(dirty_ring_reset_all(vm), 8);
	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		assert_true(armed[order[i]]);
	assert_true(armed_count <= 8);
}

static void test_soft_full(void **state)
{
	uint32_t next = 0;
	unsigned int i;

	for (i = 0; i < SOFT - 1; i++)
		mark(vcpu, i);
	assert_false(dirty_ring_check_full(vcpu));
	mark(vcpu, i++);
	assert_false(vcpu_enter_guest_mode(vcpu)); /* the request keeps it out */
	assert_true(dirty_ring_check_full(vcpu));
	assert_int_equal(vcpu->run->exit_reason, HV_EXIT_DIRTY_RING_FULL);
	assert_true(dirty_ring_check_full(vcpu)); /* until somebody resets */
	assert_int_equal(vcpu->stats.dirty_ring_full, 2);
	/* A full PML buffer may still come: it has room. */
	for (; i < SIZE; i++)
		mark(vcpu, i);
	assert_int_equal(harvest(&next, NULL), SIZE);
	assert_true(dirty_ring_check_full(vcpu)); /* harvested is not reset */
	assert_int_equal(dirty_ring_reset_all(vm), SIZE);
	assert_false(dirty_ring_check_full(vcpu));
	vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH);
	assert_true(vcpu_enter_guest_mode(vcpu));
	vcpu_exit_guest_mode(vcpu);
}

/* Beyond the last entry, and without a vCPU, the bitmap keeps the page. */
static void test_fallback(void **state)
{
	static uint64_t map[(PAGES + 63) / 64];
	unsigned int i;

	for (i = 0; i < SIZE + 2; i++)
		mark(vcpu, i);
	mark(NULL, 7777);
	assert_int_equal(dirty_bitmap_get(vm, 1 << 16 | 3, map), 0);
	assert_int_equal(hv_bitmap_weight(map, PAGES), 3);
	assert_true(hv_bitmap_test(map, SIZE) && hv_bitmap_test(map, SIZE + 1));
	assert_true(hv_bitmap_test(map, 7777));
}

static void test_spoilt_entries(void **state)
{
	static const struct hv_dirty_gfn bad[] = {
		{ 2, 1 << 16 | 3, PAGES },     { 2, 1 << 16 | 3, ~0ULL },
		{ 2, 7 << 16, 0 },	       { 2, 1 << 16 | 0xffff, 0 },
		{ 2, 1 << 16 | 4, 0 },	       { 0xfffffffe, 1 << 16 | 3, PAGES - 1 },
	};
	unsigned int i, n = sizeof(bad) / sizeof(bad[0]);

	for (i = 0; i < n; i++)
		mark(vcpu, i);
	memcpy(ring, bad, sizeof(bad));
	assert_int_equal(dirty_ring_reset_all(vm), n);
	assert_int_equal(armed_count, 1);
	assert_true(armed[PAGES - 1]);
	/* Entries that were never pushed are not taken for such. */
	memset(ring, 0xff, SIZE * sizeof(*ring));
	assert_int_equal(dirty_ring_reset_all(vm), 0);
}

static _Atomic bool stop;
static _Atomic uint64_t pushed;

static void *pusher(void *arg)
{
	uint64_t page = 0;

	hv_rcu_register_thread();
	while (!stop) {
		if (dirty_ring_check_full(vcpu)) {
			sched_yield();
			continue;
		}
		mark(vcpu, page++ % PAGES);
		pushed++;
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void no_rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
}

/* Nothing is lost or seen twice when pushes, harvests and resets go on together. */
static void test_concurrent(void **state)
{
	uint64_t pages[SIZE], total = 0, reset = 0, expect = 0;
	uint32_t next = 0;
	unsigned int i, n;
	pthread_t t;
	int round;

	vf_mmu.on_rearm = no_rearm;
	stop = false;
	pushed = 0;
	assert_int_equal(pthread_create(&t, NULL, pusher, NULL), 0);
	for (round = 0; round < 2000 || total < 20000; round++) {
		n = harvest(&next, pages);
		for (i = 0; i < n; i++)
			assert_int_equal(pages[i], expect++ % PAGES);
		total += n;
		reset += (unsigned int)dirty_ring_reset_all(vm);
	}
	stop = true;
	pthread_join(t, NULL);
	total += harvest(&next, NULL);
	reset += (unsigned int)dirty_ring_reset_all(vm);
	assert_int_equal(total, pushed);
	assert_int_equal(reset, total);
	print_message("# %llu pages through a ring of %u\n", (unsigned long long)total, SIZE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_push_harvest_reset), T(test_runs),	    T(test_soft_full),
		T(test_fallback),	    T(test_spoilt_entries), T(test_concurrent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
