/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Host memory invalidation: pairs, elision, the retry of faults, installs that wait. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/mem/region.h"
#include "hv/vm/notifier.h"
#include "tests/lib/vm_fake.h"

#define MIB  (1ULL << 20)
#define HVA0 0x7f0000000000ULL

static struct hv_vm *vm;
static struct hv_gfn_range seen[8];
static unsigned int nseen;
static bool answer;

static bool record(struct hv_vm *v, const struct hv_gfn_range *range)
{
	if (nseen < 8)
		seen[nseen++] = *range;
	return answer;
}

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("mn");
	nseen = 0;
	answer = false;
	vf_mmu.on_unmap = record;
	vf_mmu.on_age = record;
	assert_int_equal(vf_slot(vm, 1, 16 * MIB, 4 * MIB, HVA0, 0), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

static struct hv_mem_range range_of(uint64_t start, uint64_t end)
{
	return (struct hv_mem_range){ .start = start, .end = end, .blockable = true };
}

static bool retry(unsigned long seq, hv_gfn_t gfn)
{
	bool r;

	hv_read_lock(&vm->mmu_lock);
	r = vm_invalidate_retry(vm, seq, gfn);
	hv_read_unlock(&vm->mmu_lock);
	assert_int_equal(r, vm_invalidate_retry_unlocked(vm, seq, gfn));
	return r;
}

static void test_pair_and_retry(void **state)
{
	struct hv_mem_range r = range_of(HVA0 + MIB, HVA0 + 2 * MIB);
	unsigned long seq = vm_invalidate_seq(vm);
	hv_gfn_t gfn = 17 * MIB >> 12;

	assert_false(retry(seq, gfn));
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	assert_int_equal(nseen, 1);
	assert_int_equal(seen[0].start, gfn);
	assert_int_equal(seen[0].end, gfn + 256);
	assert_int_equal(vm->invalidate_in_progress, 1);
	assert_true(retry(seq, gfn));
	assert_true(retry(seq, gfn + 255));
	assert_false(retry(seq, gfn + 256)); /* another page may go on */
	assert_false(retry(seq, gfn - 1));
	notifier_invalidate_end(vm, &r);
	assert_int_equal(nseen, 1);
	assert_int_equal(vm->invalidate_in_progress, 0);
	assert_int_equal(vm->mn_active_invalidate_count, 0);
	assert_true(retry(seq, gfn)); /* one was under way since */
	assert_false(retry(vm_invalidate_seq(vm), gfn));
}

static void *unrelated_pair(void *arg)
{
	struct hv_mem_range r = range_of(HVA0 + 4 * MIB, HVA0 + 5 * MIB);

	hv_rcu_register_thread();
	HV_BUG_ON(notifier_invalidate_start(vm, &r));
	HV_BUG_ON(vm->mn_active_invalidate_count != 1);
	notifier_invalidate_end(vm, &r);
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_elision(void **state)
{
	struct hv_mem_range r = range_of(HVA0 + 4 * MIB, HVA0 + 5 * MIB);
	unsigned long seq = vm_invalidate_seq(vm);
	pthread_t t;

	/* mmu_lock is held by somebody: with no slot in the range nobody minds. */
	hv_write_lock(&vm->mmu_lock);
	assert_int_equal(pthread_create(&t, NULL, unrelated_pair, NULL), 0);
	pthread_join(t, NULL);
	hv_write_unlock(&vm->mmu_lock);
	assert_int_equal(nseen, 0);
	assert_int_equal(vm_invalidate_seq(vm), seq);
	r.end = r.start; /* empty */
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	notifier_invalidate_end(vm, &r);
}

static void test_union_of_ranges(void **state)
{
	struct hv_mem_range a = range_of(HVA0, HVA0 + 4096);
	struct hv_mem_range b = range_of(HVA0 + 3 * MIB, HVA0 + 3 * MIB + 4096);
	hv_gfn_t base = 16 * MIB >> 12;
	unsigned long seq;

	assert_int_equal(notifier_invalidate_start(vm, &a), 0);
	assert_int_equal(notifier_invalidate_start(vm, &b), 0);
	assert_int_equal(vm->invalidate_in_progress, 2);
	seq = vm_invalidate_seq(vm);
	assert_true(retry(seq, base + 300)); /* between them: too cautious, never too bold */
	notifier_invalidate_end(vm, &a);
	seq = vm_invalidate_seq(vm);
	assert_true(retry(seq, base + 768));
	notifier_invalidate_end(vm, &b);
	/* The union starts anew with the next. */
	assert_int_equal(notifier_invalidate_start(vm, &b), 0);
	seq = vm_invalidate_seq(vm);
	assert_false(retry(seq, base + 300));
	notifier_invalidate_end(vm, &b);
}

static void test_shared_host_memory(void **state)
{
	struct hv_mem_range r = range_of(HVA0 + MIB - 1, HVA0 + MIB + 1);

	/* The same memory in the other address space and, partly, at another place. */
	assert_int_equal(vf_slot(vm, 1 << 16 | 9, 0, 4 * MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 2, 64 * MIB, MIB, HVA0 + MIB, 0), 0);
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	assert_int_equal(nseen, 3);
	assert_int_equal(seen[0].end - seen[0].start, 2); /* both pages that it touches */
	assert_int_equal(seen[1].start, 64 * MIB >> 12);
	assert_int_equal(seen[1].end - seen[1].start, 1);
	assert_int_equal(seen[2].start, 255);
	assert_int_equal(vm->invalidate_in_progress, 1); /* one pair, one lock section */
	notifier_invalidate_end(vm, &r);
	assert_int_equal(vm->invalidate_in_progress, 0);
}

static void test_flush_on_unmap(void **state)
{
	struct hv_mem_range r = range_of(HVA0, HVA0 + 4096);
	struct hv_vcpu *vcpu;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	notifier_invalidate_end(vm, &r);
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	answer = true;
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	notifier_invalidate_end(vm, &r);
	assert_true(notifier_clear_flush_young(vm, HVA0, HVA0 + 4096));
	assert_true(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_true(notifier_clear_young(vm, HVA0, HVA0 + 4096));
	assert_true(notifier_test_young(vm, HVA0, HVA0 + 4096));
	assert_false(vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH));
	assert_int_equal(vf_mmu.ages, 2);
	assert_int_equal(vf_mmu.tests, 1);
	assert_false(notifier_test_young(vm, HVA0 + 8 * MIB, HVA0 + 9 * MIB));
}

static void *start_not_blockable(void *arg)
{
	struct hv_mem_range r = range_of(HVA0, HVA0 + 4096);
	int err;

	r.blockable = false;
	hv_rcu_register_thread();
	err = notifier_invalidate_start(vm, &r);
	hv_rcu_unregister_thread();
	return (void *)(intptr_t)err;
}

static void test_not_blockable(void **state)
{
	struct hv_mem_range r = range_of(HVA0, HVA0 + 4096);
	pthread_t t;
	void *err;

	r.blockable = false;
	hv_read_lock(&vm->mmu_lock);
	assert_int_equal(pthread_create(&t, NULL, start_not_blockable, NULL), 0);
	pthread_join(t, &err);
	hv_read_unlock(&vm->mmu_lock);
	assert_int_equal((intptr_t)err, -EAGAIN);
	assert_int_equal(vm->mn_active_invalidate_count, 0);
	assert_int_equal(nseen, 0);
	assert_int_equal(vm->invalidate_in_progress, 0);
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	notifier_invalidate_end(vm, &r);
}

/* ---- installs wait for pairs ----------------------------------------------------------- */

static _Atomic bool created;

static void *creator(void *arg)
{
	hv_rcu_register_thread();
	HV_BUG_ON(vf_slot(vm, 2, 64 * MIB, MIB, HVA0 + 8 * MIB, 0));
	created = true;
	hv_rcu_unregister_thread();
	return NULL;
}

static void test_install_waits(void **state)
{
	struct hv_mem_range r = range_of(HVA0 + 8 * MIB, HVA0 + 9 * MIB);
	struct timespec ts = { .tv_nsec = 30000000 };
	pthread_t t;

	created = false;
	assert_int_equal(notifier_invalidate_start(vm, &r), 0);
	assert_int_equal(nseen, 0);
	assert_int_equal(pthread_create(&t, NULL, creator, NULL), 0);
	nanosleep(&ts, NULL);
	assert_false(created);
	assert_false(vf_slot_get(vm, 0, 2, &(struct hv_memslot){ 0 }));
	notifier_invalidate_end(vm, &r);
	pthread_join(t, NULL);
	assert_true(created);
	assert_int_equal(vm->invalidate_in_progress, 0);
}

/* Pairs and updates at full speed: the counters stay in balance. */
static _Atomic bool stop;

static void *invalidator(void *arg)
{
	uint64_t hva = HVA0 + (uintptr_t)arg * MIB;

	hv_rcu_register_thread();
	while (!stop) {
		struct hv_mem_range r = range_of(hva, hva + 2 * MIB);

		HV_BUG_ON(notifier_invalidate_start(vm, &r));
		notifier_invalidate_end(vm, &r);
		/* An install waits for a moment without any pair: give it some. */
		nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static bool no_record(struct hv_vm *v, const struct hv_gfn_range *range)
{
	HV_BUG_ON(range->slot->flags & HV_MEMSLOT_INVALID && range->slot->id == 1);
	return false;
}

static void test_pairs_under_updates(void **state)
{
	pthread_t t[2];
	int i;

	vf_mmu.on_unmap = no_record;
	stop = false;
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, invalidator, (void *)(intptr_t)i), 0);
	for (i = 0; i < 150 || READ_ONCE(vm->invalidate_seq) < 2000; i++) {
		assert_int_equal(vf_slot(vm, 2, 64 * MIB, MIB, HVA0 + MIB, 0), 0);
		assert_int_equal(vf_slot(vm, 2, 80 * MIB, MIB, HVA0 + MIB, 0), 0);
		assert_int_equal(vf_slot(vm, 2, 0, 0, 0, 0), 0);
	}
	stop = true;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	assert_int_equal(vm->invalidate_in_progress, 0);
	assert_int_equal(vm->mn_active_invalidate_count, 0);
	print_message("# %lu invalidations\n", vm->invalidate_seq);
}

/* The real thing: hv/mem tells of a discard, of a remap, of the end. */
static void test_from_host_memory(void **state)
{
	struct hv_region_params rp = { .size = 4 << 20, .backing.kind = HV_BACKING_MEMFD };
	struct hv_vm_params p = {
		.name = "m", .processor = &vf_processor, .vendor = &vf_vendor,
		.mmu_ops = &vf_mmu_ops,
	};
	struct hv_region *region;
	struct hv_vm *w;

	assert_int_equal(hv_mem_create(&p.mem), 0);
	assert_int_equal(hv_region_create(p.mem, &rp, &region), 0);
	assert_int_equal(vm_create(&p, &w), 0);
	assert_int_equal(vf_slot(w, 0, 0, 4 << 20, hv_region_hva(region), 0), 0);
	nseen = 0;
	assert_int_equal(hv_region_discard(region, 0x5000, 0x3000), 0);
	assert_int_equal(nseen, 1);
	assert_int_equal(seen[0].start, 5);
	assert_int_equal(seen[0].end, 8);
	answer = true;
	assert_true(hv_mem_clear_flush_young(p.mem, hv_region_hva(region), hv_region_hva(region) + 4096));
	assert_true(hv_mem_test_young(p.mem, hv_region_hva(region), hv_region_hva(region) + 4096));
	assert_int_equal(vf_mmu.ages, 1);
	assert_int_equal(vf_mmu.tests, 1);
	vm_put(w);
	nseen = 0;
	assert_int_equal(hv_region_discard(region, 0, 4096), 0);
	assert_int_equal(nseen, 0); /* unregistered */
	hv_region_destroy(region);
	hv_mem_destroy(p.mem);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_pair_and_retry),	     T(test_elision),
		T(test_union_of_ranges),     T(test_shared_host_memory),
		T(test_flush_on_unmap),	     T(test_not_blockable),
		T(test_install_waits),	     T(test_pairs_under_updates),
		T(test_from_host_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
