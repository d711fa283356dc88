/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The address space: look-up by address while regions come and go, listeners,
 * and what the validator says of a listener that takes the wrong lock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/mem/mem_internal.h"
#include "tests/unit/death.h"

static struct hv_mem *mem;

static int setup(void **state)
{
	hv_rcu_register_thread();
	return hv_mem_create(&mem);
}

static int teardown(void **state)
{
	hv_mem_destroy(mem);
	hv_rcu_barrier();
	hv_rcu_unregister_thread();
	return 0;
}

static struct hv_region *make(uint64_t size)
{
	const struct hv_region_params p = { .size = size, .backing.kind = HV_BACKING_ANON };
	struct hv_region *r = NULL;

	assert_int_equal(hv_region_create(mem, &p, &r), 0);
	return r;
}

static struct hv_region *find(uint64_t hva)
{
	struct hv_region *r;

	hv_rcu_read_lock();
	r = hv_mem_find_region(mem, hva);
	hv_rcu_read_unlock();
	return r;
}

static void empty(void **state)
{
	struct hv_mem_pfn_info info;

	assert_null(find(0));
	assert_null(find(UINT64_MAX));
	hv_rcu_read_lock();
	assert_int_equal(hv_mem_pfn_info(mem, 4096, &info), -EFAULT);
	hv_rcu_read_unlock();
	hv_mem_destroy(NULL);
	hv_region_destroy(NULL);
}

#define MANY 40

static void finds_by_address(void **state)
{
	struct hv_region *r[MANY];
	int i, gone;

	for (i = 0; i < MANY; i++)
		r[i] = make((uint64_t)(i % 3 + 1) * HV_PAGE_SIZE);
	for (gone = 0; gone <= MANY; gone++) {
		for (i = 0; i < MANY; i++) {
			uint64_t hva = r[i] ? hv_region_hva(r[i]) : 0;

			if (!r[i])
				continue;
			assert_ptr_equal(find(hva), r[i]);
			assert_ptr_equal(find(hva + hv_region_size(r[i]) - 1), r[i]);
			assert_null(find(hva - 1)); /* guards */
			assert_null(find(hva + hv_region_size(r[i])));
		}
		i = gone * 7 % MANY;
		if (gone < MANY) {
			hv_region_destroy(r[i]);
			r[i] = NULL;
		}
	}
}

/* ---- look-ups beside changes ---- */

static int stop;
static uint64_t steady_hva;

static void *look_up(void *unused)
{
	struct hv_mem_pfn_info info;
	intptr_t wrong = 0;

	hv_rcu_register_thread();
	while (!READ_ONCE(stop)) {
		const struct hv_region *r;

		hv_rcu_read_lock();
		r = hv_mem_find_region(mem, steady_hva);
		wrong += !r || hv_region_hva(r) != steady_hva;
		wrong += hv_mem_pfn_info(mem, steady_hva + 4096, &info) != 0;
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return (void *)wrong;
}

static void lookups_beside_changes(void **state)
{
	struct hv_region *steady = make(HV_SZ_2M), *r[12];
	pthread_t t[2];
	void *wrong;
	int i, round;

	stop = 0;
	steady_hva = hv_region_hva(steady);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, look_up, NULL);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 12; i++)
			r[i] = make(HV_PAGE_SIZE);
		for (i = 0; i < 12; i++)
			hv_region_destroy(r[(i * 5 + round) % 12]);
	}
	WRITE_ONCE(stop, 1);
	for (i = 0; i < 2; i++) {
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
	hv_region_destroy(steady);
}

/* ---- listeners ---- */

struct listener {
	struct hv_mem_notifier n;
	int starts, ends, releases, active;
	struct hv_mem_range last;
	bool refuse, young;
};

static struct listener one, two;

static int on_start(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	struct listener *l = container_of(n, struct listener, n);

	if (l->refuse && !range->blockable)
		return -EAGAIN;
	l->starts++;
	l->active++;
	l->last = *range;
	return 0;
}

static void on_end(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	struct listener *l = container_of(n, struct listener, n);

	l->ends++;
	l->active--;
	if (memcmp(&l->last, range, sizeof(*range)))
		abort();
}

static bool on_clear_young(struct hv_mem_notifier *n, uint64_t start, uint64_t end)
{
	struct listener *l = container_of(n, struct listener, n);
	bool young = l->young;

	l->young = false;
	return young;
}

static bool on_test_young(struct hv_mem_notifier *n, uint64_t start, uint64_t end)
{
	return container_of(n, struct listener, n)->young;
}

static void on_release(struct hv_mem_notifier *n)
{
	container_of(n, struct listener, n)->releases++;
}

static const struct hv_mem_notifier_ops all_ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
	.clear_flush_young = on_clear_young,
	.test_young = on_test_young,
	.release = on_release,
};

static const struct hv_mem_notifier_ops few_ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
};

static void listen(void)
{
	one = (struct listener){ .n.ops = &all_ops };
	two = (struct listener){ .n.ops = &few_ops };
	hv_mem_register_notifier(mem, &one.n);
	hv_mem_register_notifier(mem, &two.n);
}

static void all_changes_are_heard(void **state)
{
	struct hv_region *r = make(4 * HV_PAGE_SIZE);
	uint64_t hva = hv_region_hva(r);
	const struct hv_backing anon = { .kind = HV_BACKING_ANON };

	listen();
	assert_int_equal(hv_region_discard(r, HV_PAGE_SIZE, HV_PAGE_SIZE), 0);
	assert_int_equal(one.last.event, HV_MEM_DISCARD);
	assert_int_equal(one.last.start, hva + HV_PAGE_SIZE);
	assert_int_equal(one.last.end, hva + 2 * HV_PAGE_SIZE);
	assert_true(one.last.blockable);
	assert_int_equal(hv_region_protect(r, 0, HV_PAGE_SIZE, HV_REGION_RO), 0);
	assert_int_equal(one.last.event, HV_MEM_PROTECT);
	assert_int_equal(hv_region_pageout(r, 0, HV_PAGE_SIZE), 0);
	assert_int_equal(one.last.event, HV_MEM_PAGEOUT);
	assert_int_equal(hv_region_remap(r, 0, HV_PAGE_SIZE, &anon), 0);
	assert_int_equal(one.last.event, HV_MEM_REMAP);
	assert_int_equal(hv_region_populate(r, 0, HV_PAGE_SIZE), 0); /* changes nothing */
	assert_int_equal(one.starts, 4);
	hv_region_destroy(r);
	assert_int_equal(one.last.event, HV_MEM_UNMAP);
	assert_int_equal(one.last.start, hva);
	assert_int_equal(one.starts, 5);
	assert_int_equal(one.ends, 5);
	assert_int_equal(two.starts, 5);
	assert_int_equal(two.ends, 5);
	hv_mem_unregister_notifier(mem, &one.n);
	hv_mem_unregister_notifier(mem, &two.n);
}

static void refused_changes_are_heard_by_no_one(void **state)
{
	struct hv_region *r = make(2 * HV_PAGE_SIZE);
	char *p = (char *)(uintptr_t)hv_region_hva(r);

	listen();
	*p = 'x';
	two.refuse = true;
	assert_int_equal(hv_region_discard_nowait(r, 0, HV_PAGE_SIZE), -EAGAIN);
	assert_int_equal(one.starts, 1); /* it came first, and was told that it is over */
	assert_int_equal(one.ends, 1);
	assert_int_equal(two.starts, 0);
	assert_int_equal(two.ends, 0);
	assert_int_equal(*p, 'x');
	two.refuse = false;
	assert_int_equal(hv_region_discard_nowait(r, 0, HV_PAGE_SIZE), 0);
	assert_int_equal(*p, 0);
	assert_int_equal(two.ends, 1);
	hv_mem_unregister_notifier(mem, &two.n);
	hv_mem_unregister_notifier(mem, &one.n);
	hv_region_destroy(r);
	assert_int_equal(one.starts, 2); /* nobody listens any more */
}

static void nowait_does_not_wait(void **state)
{
	struct hv_region *r = make(HV_PAGE_SIZE);

	hv_write_lock(&mem->region_lock);
	assert_int_equal(hv_region_discard_nowait(r, 0, HV_PAGE_SIZE), -EAGAIN);
	hv_write_unlock(&mem->region_lock);
	hv_region_destroy(r);
}

static void aging(void **state)
{
	listen();
	assert_false(hv_mem_test_young(mem, 0, HV_PAGE_SIZE));
	one.young = true;
	assert_true(hv_mem_test_young(mem, 0, HV_PAGE_SIZE));
	assert_true(hv_mem_clear_flush_young(mem, 0, HV_PAGE_SIZE));
	assert_false(hv_mem_clear_flush_young(mem, 0, HV_PAGE_SIZE));
	hv_mem_unregister_notifier(mem, &two.n);
	hv_mem_unregister_notifier(mem, &one.n);
}

static void release_at_the_end(void **state)
{
	listen();
	hv_mem_destroy(mem);
	assert_int_equal(one.releases, 1);
	assert_int_equal(hv_mem_create(&mem), 0);
}

/* ---- what must die ---- */

static void destroy_with_regions(void)
{
	make(HV_PAGE_SIZE);
	hv_mem_destroy(mem);
}

static void find_outside_section(void)
{
	hv_mem_find_region(mem, 0);
}

static int always_refuse(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	return -EAGAIN;
}

static void refusal_of_what_may_block(void)
{
	static const struct hv_mem_notifier_ops ops = { .invalidate_range_start = always_refuse,
							.invalidate_range_end = on_end };
	struct hv_mem_notifier n = { .ops = &ops };
	struct hv_region *r = make(HV_PAGE_SIZE);

	hv_mem_register_notifier(mem, &n);
	hv_region_discard(r, 0, HV_PAGE_SIZE);
}

static void misuse_dies(void **state)
{
	assert_death(destroy_with_regions, "hv_mem_destroy");
	assert_death(find_outside_section, "hv_mem_find_region");
	assert_death(refusal_of_what_may_block, "mem_change_begin");
}

#ifdef HV_DEBUG
static struct hv_mutex bad;

static int take_bad(struct hv_mem_notifier *n, const struct hv_mem_range *range)
{
	DEATH_SITE(hv_mutex_lock(&bad));
	return 0;
}

static void discard_with_bad_listener(void)
{
	static const struct hv_mem_notifier_ops ops = { .invalidate_range_start = take_bad,
							.invalidate_range_end = on_end };
	struct hv_mem_notifier n = { .ops = &ops };
	struct hv_region *r = make(HV_PAGE_SIZE);

	hv_mem_register_notifier(mem, &n);
	hv_region_discard(r, 0, HV_PAGE_SIZE);
}

static void listener_takes_slots_lock(void)
{
	hv_mutex_init(&bad, HV_LC_SLOTS);
	discard_with_bad_listener();
}

static void listener_takes_slots_arch_lock(void)
{
	hv_mutex_init(&bad, HV_LC_SLOTS_ARCH);
	discard_with_bad_listener();
}

static void discard_under_mmu_lock(void)
{
	struct hv_region *r = make(HV_PAGE_SIZE);
	struct hv_rwlock mmu;

	hv_rwlock_init(&mmu, HV_LC_MMU);
	DEATH_SITE(hv_read_lock(&mmu));
	hv_region_discard(r, 0, HV_PAGE_SIZE);
}

static void discard_in_listener(void)
{
	struct hv_region *r = make(HV_PAGE_SIZE);
	const struct hv_mem_range range = { .blockable = true };

	hv_read_lock(&mem->region_lock);
	mem_change_begin(mem, &range);
	hv_region_discard(r, 0, HV_PAGE_SIZE);
}

static void validator_knows_listeners(void **state)
{
	assert_death(listener_takes_slots_lock, "notifier context: slots_lock");
	assert_death(listener_takes_slots_arch_lock, "notifier context: slots_arch_lock");
	assert_death(discard_under_mmu_lock, "order: region_lock");
	assert_death(discard_in_listener, "recursion: region_lock");
}

static void no_memory(void **state)
{
	struct hv_mem *other = NULL;
	int n;

	for (n = 1; n <= 2; n++) {
		hv_fault_arm(HV_FAULT_THREAD, (uint64_t)n);
		assert_int_equal(hv_mem_create(&other), -ENOMEM);
		assert_true(hv_fault_disarm());
	}
	assert_null(other);
}
#endif

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(misuse_dies, setup, teardown),
#ifdef HV_DEBUG
		cmocka_unit_test_setup_teardown(validator_knows_listeners, setup, teardown),
		cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
#endif
		cmocka_unit_test_setup_teardown(empty, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_by_address, setup, teardown),
		cmocka_unit_test_setup_teardown(lookups_beside_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(all_changes_are_heard, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_changes_are_heard_by_no_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(nowait_does_not_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(aging, setup, teardown),
		cmocka_unit_test_setup_teardown(release_at_the_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
