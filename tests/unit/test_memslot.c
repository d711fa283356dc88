/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memslots: what may be asked, what comes of it, what failures leave. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/vm/memslot_internal.h"
#include "tests/lib/vm_fake.h"

#define MIB  (1ULL << 20)
#define HVA0 0x7f0000000000ULL

static struct hv_vm *vm;

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("slots");
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	vf_end();
	return 0;
}

/* Both sets are whole, hold the same slots and have the count right. */
static void check_sets(void)
{
	int as_id, i, id;

	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		struct hv_memslots *set = vm->slot_sets->set[as_id];

		for (i = 0; i < 2; i++) {
			assert_int_equal(slot_tree_check(&set[i].gfn), (int)set[i].count);
			assert_int_equal(slot_tree_check(&set[i].hva), (int)set[i].count);
		}
		assert_int_equal(set[0].count, set[1].count);
		assert_ptr_equal(set[0].gfn.root, set[1].gfn.root);
		assert_ptr_equal(set[0].hva.root, set[1].hva.root);
		for (id = 0; id < HV_MEM_SLOTS_MAX; id++) {
			struct hv_memslot *a = memslot_by_id(&set[0], id);
			struct hv_memslot *b = memslot_by_id(&set[1], id);

			assert_int_equal(!a, !b);
			if (a)
				assert_memory_equal(a, b, sizeof(*a));
		}
	}
}

static struct hv_memslot *find(hv_gpa_t gpa)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = hv_vm_gfn_to_memslot(vm, gpa >> HV_PAGE_SHIFT);
	hv_rcu_read_unlock();
	return s;
}

static void test_create_find_delete(void **state)
{
	struct hv_memslot s;

	assert_int_equal(vf_slot(vm, 3, 16 * MIB, MIB, HVA0, 0), 0);
	assert_true(vf_slot_get(vm, 0, 3, &s));
	assert_int_equal(s.base_gfn, 16 * MIB >> 12);
	assert_int_equal(s.npages, 256);
	assert_int_equal(s.id, 3);
	assert_null(find(16 * MIB - 1));
	assert_non_null(find(16 * MIB));
	assert_non_null(find(17 * MIB - 1));
	assert_null(find(17 * MIB));
	check_sets();
	assert_int_equal(vf_slot(vm, 3, 0, 0, 0, 0), 0);
	assert_null(find(16 * MIB));
	assert_false(vf_slot_get(vm, 0, 3, &s));
	assert_int_equal(vf_mmu.flushes, 1);
	assert_int_equal(vf_mmu.arch_live, 0);
	check_sets();
}

static void test_bad_requests(void **state)
{
	uint64_t g = vf_generation(vm, 0);

	assert_int_equal(vf_slot(vm, 0, 0, MIB, HVA0, 4), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, HVA0, HV_MEMSLOT_INVALID), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, HVA0, HV_MEMSLOT_LOG_CURSOR), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 1, MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB + 1, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, HVA0 + 8, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, 1ULL << 63, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, (1ULL << 47) - MIB, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, MIB, ~0xfffULL, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, ~0xfffULL, MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, (1ULL << 52) - MIB + 4096, MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, HV_MEM_SLOTS_MAX, 0, MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, HV_ADDRESS_SPACE_NUM << 16, 0, MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 0, 0, (HV_MEM_MAX_NR_PAGES + 1) << 12, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 7, 0, 0, 0, 0), -EINVAL); /* delete what is not there */
	assert_int_equal(vf_generation(vm, 0), g);
	assert_int_equal(vf_mmu.prepares, 0);
}

static void test_overlap(void **state)
{
	assert_int_equal(vf_slot(vm, 0, 4 * MIB, 4 * MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 1, 4 * MIB, 4096, HVA0, 0), -EEXIST);
	assert_int_equal(vf_slot(vm, 1, 8 * MIB - 4096, 8192, HVA0, 0), -EEXIST);
	assert_int_equal(vf_slot(vm, 1, 0, 64 * MIB, HVA0, 0), -EEXIST);
	assert_int_equal(vf_slot(vm, 1, 4 * MIB - 4096, 8192, HVA0, 0), -EEXIST);
	assert_int_equal(vf_slot(vm, 1, 8 * MIB, MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 2, 3 * MIB, MIB, HVA0, 0), 0);
	/* The other address space is another map. */
	assert_int_equal(vf_slot(vm, 1 << 16, 4 * MIB, 4 * MIB, HVA0, 0), 0);
	/* A move may overlap itself, not others. */
	assert_int_equal(vf_slot(vm, 2, 2 * MIB, MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 2, 4 * MIB - 4096, MIB, HVA0, 0), -EEXIST);
	assert_int_equal(vf_slot(vm, 0, 4 * MIB - 4096, 4 * MIB, HVA0, 0), 0);
	check_sets();
}

static void test_move_and_flags(void **state)
{
	struct hv_memslot s;
	uint64_t g;

	assert_int_equal(vf_slot(vm, 5, MIB, MIB, HVA0, 0), 0);
	g = vf_generation(vm, 0);
	assert_int_equal(vf_slot(vm, 5, MIB, MIB, HVA0, 0), 0); /* nothing to do */
	assert_int_equal(vf_generation(vm, 0), g);
	assert_int_equal(vf_slot(vm, 5, MIB, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_true(vf_slot_get(vm, 0, 5, &s));
	assert_true(memslot_dirty_logged(&s));
	assert_non_null(s.bitmap);
	assert_int_equal(vf_mmu.flushes, 0); /* no INVALID step */
	assert_int_equal(vf_slot(vm, 5, 9 * MIB, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vf_mmu.flushes, 1);
	assert_null(find(MIB));
	assert_non_null(find(9 * MIB));
	assert_int_equal(vf_slot(vm, 5, 9 * MIB, MIB, HVA0, 0), 0);
	assert_true(vf_slot_get(vm, 0, 5, &s));
	assert_null(s.bitmap);
	/* Size, host address and READONLY are for life. */
	assert_int_equal(vf_slot(vm, 5, 9 * MIB, 2 * MIB, HVA0, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 5, 9 * MIB, MIB, HVA0 + MIB, 0), -EINVAL);
	assert_int_equal(vf_slot(vm, 5, 9 * MIB, MIB, HVA0, HV_MEM_READONLY), -EINVAL);
	check_sets();
}

static void test_generation(void **state)
{
	struct hv_memory_region_req req = {
		.slot = 1, .gpa = 0, .size = MIB, .userspace_addr = HVA0,
	};

	assert_int_equal(vf_generation(vm, 0), 0);
	assert_int_equal(vf_generation(vm, 1), 1);
	assert_int_equal(memslot_set_region(vm, &req), 0);
	assert_int_equal(req.generation_before, 0);
	assert_int_equal(req.generation_after, 2);
	req.slot |= 1 << 16;
	assert_int_equal(memslot_set_region(vm, &req), 0);
	assert_int_equal(req.generation_before, 1);
	assert_int_equal(req.generation_after, 3);
	req.size = 0; /* two steps, two generations */
	assert_int_equal(memslot_set_region(vm, &req), 0);
	assert_int_equal(req.generation_after, 7);
	assert_int_equal(vf_mmu.last_generation, 7);
	/* Outputs only on success. */
	req.generation_after = 99;
	assert_int_equal(memslot_set_region(vm, &req), -EINVAL);
	assert_int_equal(req.generation_after, 99);
}

/* What the MMU sees while an update runs. */
static struct {
	bool invalid_seen, in_progress_at_prepare, in_progress_at_generation;
} seen;

static void flush_hook(struct hv_vm *v, struct hv_memslot *slot)
{
	struct hv_memslot s;

	assert_true(vf_slot_get(v, 0, slot->id, &s));
	seen.invalid_seen = s.flags & HV_MEMSLOT_INVALID;
	assert_false(memslot_visible(&s));
	assert_int_equal(vf_generation(v, 0) & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS, 0);
}

static void generation_hook(struct hv_vm *v, uint64_t generation)
{
	assert_int_equal(generation & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS, 0);
	seen.in_progress_at_generation = vf_generation(v, 0) >> 63;
}

static void test_invalid_first(void **state)
{
	vf_mmu.on_flush = flush_hook;
	vf_mmu.on_generation = generation_hook;
	assert_int_equal(vf_slot(vm, 1, 0, MIB, HVA0, 0), 0);
	assert_true(seen.in_progress_at_generation);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(vf_slot(vm, 1, 4 * MIB, MIB, HVA0, 0), 0);
	assert_true(seen.invalid_seen);
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(vf_slot(vm, 1, 0, 0, 0, 0), 0);
	assert_true(seen.invalid_seen);
}

static void check_restored(enum hv_mr_change change, hv_gpa_t gpa, uint64_t size, uint32_t flags)
{
	struct hv_memslot before, after;

	assert_true(vf_slot_get(vm, 0, 1, &before));
	vf_mmu.fail_prepare = -EPERM;
	assert_int_equal(vf_slot(vm, 1, gpa, size, HVA0, flags), -EPERM);
	assert_true(vf_slot_get(vm, 0, 1, &after));
	assert_memory_equal(&before, &after, sizeof(before));
	assert_true(memslot_visible(&after));
	hv_assert_not_held(&vm->slots_arch_lock);
	hv_assert_not_held(&vm->slots_lock);
	check_sets();
}

static void test_prepare_fails(void **state)
{
	vf_mmu.fail_prepare = -ENOMEM;
	assert_int_equal(vf_slot(vm, 1, 0, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), -ENOMEM);
	assert_null(find(0));
	check_sets();
	assert_int_equal(vf_slot(vm, 1, 0, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	check_restored(HV_MR_DELETE, 0, 0, 0);
	check_restored(HV_MR_MOVE, 8 * MIB, MIB, HV_MEM_LOG_DIRTY_PAGES);
	check_restored(HV_MR_FLAGS_ONLY, 0, MIB, 0);
	assert_int_equal(vf_slot(vm, 1, 8 * MIB, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vf_slot(vm, 1, 0, 0, 0, 0), 0);
}

#ifdef HV_DEBUG
/* Every allocation of an update fails once: the error, and nothing has changed. How many. */
static int run_injected(hv_gpa_t gpa, uint64_t size, uint32_t flags)
{
	struct hv_memslot before, after;
	bool had = vf_slot_get(vm, 0, 1, &before), has;
	int r, live = vf_mmu.arch_live;
	uint64_t n;

	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		r = vf_slot(vm, 1, gpa, size, HVA0, flags);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		has = vf_slot_get(vm, 0, 1, &after);
		assert_int_equal(has, had);
		if (had)
			assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(vf_mmu.arch_live, live);
		check_sets();
	}
	assert_int_equal(r, 0);
	print_message("# %llu allocations\n", (unsigned long long)n - 1);
	return (int)n - 1;
}

static void test_fault_injection(void **state)
{
	assert_true(run_injected(0, MIB, 0) > 1);			     /* create */
	assert_true(run_injected(0, MIB, HV_MEM_LOG_DIRTY_PAGES) > 0);	     /* flags */
	run_injected(8 * MIB, MIB, HV_MEM_LOG_DIRTY_PAGES);		     /* move */
	run_injected(0, 0, 0);						     /* delete */
	assert_true(run_injected(0, MIB, HV_MEM_LOG_DIRTY_PAGES) > 1);	     /* create with a log */
}

static void test_fault_injection_flags_all(void **state)
{
	struct hv_memslot s;
	uint64_t n;
	int r;

	assert_int_equal(vf_slot(vm, 1, 0, MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 2, MIB, MIB, HVA0, HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vf_slot(vm, 2 | 1 << 16, MIB, MIB, HVA0, 0), 0);
	for (n = 1;; n++) {
		hv_fault_arm(HV_FAULT_THREAD, n);
		hv_mutex_lock(&vm->slots_lock);
		r = memslot_change_flags_all(vm, HV_MEMSLOT_LOG_CURSOR, 0);
		hv_mutex_unlock(&vm->slots_lock);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_true(vf_slot_get(vm, 0, 2, &s));
		assert_int_equal(s.flags, HV_MEM_LOG_DIRTY_PAGES);
		assert_null(s.stamps);
		check_sets();
	}
	assert_int_equal(r, 0);
	assert_true(vf_slot_get(vm, 1, 2, &s));
	assert_int_equal(s.flags, HV_MEMSLOT_LOG_CURSOR);
	assert_non_null(s.stamps);
	check_sets();
}
#endif

static void test_all_slots(void **state)
{
	struct hv_memslots *slots;
	struct hv_memslot *s;
	unsigned int i;

	for (i = 0; i < HV_MEM_SLOTS_MAX; i++)
		assert_int_equal(vf_slot(vm, i, (uint64_t)i * 8192, 4096, HVA0 + i * 4096ULL, 0), 0);
	assert_int_equal(vf_slot(vm, HV_MEM_SLOTS_MAX, 1ULL << 40, 4096, HVA0, 0), -EINVAL);
	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, 0);
	assert_int_equal(memslots_count(slots), HV_MEM_SLOTS_MAX);
	for (s = memslot_first_from(slots, 0), i = 0; s; s = memslot_next(slots, s), i++)
		assert_int_equal(s->id, i);
	assert_int_equal(i, HV_MEM_SLOTS_MAX);
	assert_null(memslot_find(slots, 1));
	assert_int_equal(memslot_find(slots, 2 * 777)->id, 777);
	hv_rcu_read_unlock();
	check_sets();
}

static void test_hva_walk(void **state)
{
	struct hv_memslots *slots;
	struct hv_memslot *s;

	/* Slots 1 and 2 share host memory; 3 is beside it. */
	assert_int_equal(vf_slot(vm, 1, 0, 4 * MIB, HVA0, 0), 0);
	assert_int_equal(vf_slot(vm, 2, 8 * MIB, MIB, HVA0 + MIB, 0), 0);
	assert_int_equal(vf_slot(vm, 3, 16 * MIB, MIB, HVA0 + 4 * MIB, 0), 0);
	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, 0);
	s = memslot_first_hva(slots, HVA0 + 2 * MIB - 1, HVA0 + 4 * MIB + 1);
	assert_int_equal(s->id, 1);
	s = memslot_next_hva(slots, s, HVA0 + 2 * MIB - 1, HVA0 + 4 * MIB + 1);
	assert_int_equal(s->id, 2);
	s = memslot_next_hva(slots, s, HVA0 + 2 * MIB - 1, HVA0 + 4 * MIB + 1);
	assert_int_equal(s->id, 3);
	assert_null(memslot_next_hva(slots, s, HVA0 + 2 * MIB - 1, HVA0 + 4 * MIB + 1));
	assert_null(memslot_first_hva(slots, HVA0 + 5 * MIB, HVA0 + 6 * MIB));
	assert_null(memslot_first_hva(slots, HVA0, HVA0));
	assert_null(memslot_first_hva(slots, HVA0 - MIB, HVA0));
	hv_rcu_read_unlock();
}

static void test_vcpu_cache(void **state)
{
	struct hv_vcpu *vcpu;
	struct hv_memslot *s;

	assert_int_equal(vm_add_vcpu(vm, 0, &vcpu), 0);
	assert_int_equal(vf_slot(vm, 1, 0, MIB, HVA0, 0), 0);
	hv_rcu_read_lock();
	s = hv_vcpu_gfn_to_memslot(vcpu, 5);
	assert_int_equal(s->id, 1);
	assert_ptr_equal(vcpu->last_slot, s);
	assert_ptr_equal(hv_vcpu_gfn_to_memslot(vcpu, 255), s);
	assert_null(hv_vcpu_gfn_to_memslot(vcpu, 256));
	hv_rcu_read_unlock();
	/* Another slot at the same gfn: the cached one is of an older generation. */
	assert_int_equal(vf_slot(vm, 1, 0, 0, 0, 0), 0);
	hv_rcu_read_lock();
	assert_null(hv_vcpu_gfn_to_memslot(vcpu, 5));
	hv_rcu_read_unlock();
	assert_int_equal(vf_slot(vm, 2, 0, MIB, HVA0 + MIB, 0), 0);
	hv_rcu_read_lock();
	assert_int_equal(hv_vcpu_gfn_to_memslot(vcpu, 5)->id, 2);
	hv_rcu_read_unlock();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_create_find_delete), T(test_bad_requests), T(test_overlap),
		T(test_move_and_flags),	    T(test_generation),	  T(test_invalid_first),
		T(test_prepare_fails),	    T(test_all_slots),	  T(test_hva_walk),
		T(test_vcpu_cache),
#ifdef HV_DEBUG
		T(test_fault_injection),    T(test_fault_injection_flags_all),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
