/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Access to guest memory by the engine: copies, single accesses, the log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mem/region.h"
#include "hv/vm/dirty.h"
#include "tests/lib/vm_fake.h"

#define PAGES 16

static struct hv_vm *vm;
static uint8_t *ram;

static int setup(void **state)
{
	vf_start();
	vm = vf_vm_new("mem");
	ram = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	/* Two slots side by side, the second one read-only, and host memory the other way round. */
	assert_int_equal(vf_slot(vm, 0, 0x10000, 8 * 4096, (uintptr_t)ram + 8 * 4096,
				 HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vf_slot(vm, 1, 0x18000, 8 * 4096, (uintptr_t)ram, HV_MEM_READONLY), 0);
	return 0;
}

static int teardown(void **state)
{
	vm_put(vm);
	munmap(ram, PAGES * 4096);
	vf_end();
	return 0;
}

static void test_copies(void **state)
{
	uint8_t out[8192], in[8192];
	uint64_t log;
	unsigned int i;

	for (i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	assert_int_equal(vm_write_guest(vm, 0x11800, in, 8192), 0);
	assert_memory_equal(ram + 8 * 4096 + 0x1800, in, 8192);
	assert_int_equal(dirty_bitmap_get(vm, 0, &log), 0);
	assert_int_equal(log, 0xe); /* pages 1, 2, 3 */
	assert_int_equal(vm_read_guest(vm, 0x11800, out, 8192), 0);
	assert_memory_equal(in, out, 8192);
	/* Across the border of the slots. */
	ram[0] = 0x77;
	ram[PAGES * 4096 - 1] = 0x66;
	assert_int_equal(vm_read_guest(vm, 0x17fff, out, 2), 0);
	assert_int_equal(out[0], 0x66);
	assert_int_equal(out[1], 0x77);
	assert_int_equal(vm_read_guest(vm, 0x10000, out, 0), 0);
}

static void test_refused(void **state)
{
	uint8_t buf[64] = { 1 };

	assert_int_equal(vm_read_guest(vm, 0, buf, 1), -EFAULT);
	assert_int_equal(vm_read_guest(vm, 0x1fff0, buf, 17), -EFAULT);
	assert_int_equal(vm_read_guest(vm, ~0ULL, buf, 2), -EFAULT);
	assert_int_equal(vm_write_guest(vm, 0x18000, buf, 1), -EFAULT); /* read-only */
	assert_int_equal(vm_write_guest(vm, 0x17fff, buf, 2), -EFAULT);
	assert_int_equal(vm_write_guest(vm, ~0ULL - 3, buf, 8), -EFAULT);
}

static void test_single(void **state)
{
	uint64_t v = 0, log;

	assert_int_equal(vm_store_guest(vm, 0x12008, 8, 0x1122334455667788ULL), 0);
	assert_int_equal(vm_load_guest(vm, 0x12008, 8, &v), 0);
	assert_true(v == 0x1122334455667788ULL);
	assert_int_equal(vm_load_guest(vm, 0x1200c, 4, &v), 0);
	assert_int_equal(v, 0x11223344);
	assert_int_equal(vm_load_guest(vm, 0x1200a, 2, &v), 0);
	assert_int_equal(v, 0x5566);
	assert_int_equal(vm_store_guest(vm, 0x13000, 2, 0xabcd), 0);
	assert_int_equal(vm_store_guest(vm, 0x13004, 4, 0xabcd), 0);
	assert_int_equal(dirty_bitmap_get(vm, 0, &log), 0);
	assert_int_equal(log, 0xc);
	assert_int_equal(vm_load_guest(vm, 0x12001, 2, &v), -EINVAL);
	assert_int_equal(vm_load_guest(vm, 0x12004, 8, &v), -EINVAL);
	assert_int_equal(vm_load_guest(vm, 0x12000, 3, &v), -EINVAL);
	assert_int_equal(vm_store_guest(vm, 0x12000, 1, 0), -EINVAL);
	assert_int_equal(vm_store_guest(vm, 0x18000, 4, 0), -EFAULT);
	assert_int_equal(vm_load_guest(vm, 0x20000, 4, &v), -EFAULT);
}

static void test_pointer(void **state)
{
	uint64_t len = 1 << 20, log;
	uint8_t *p;

	hv_rcu_read_lock();
	p = vm_guest_ptr(vm, 0x11234, &len, HV_GUEST_WRITE);
	assert_ptr_equal(p, ram + 8 * 4096 + 0x1234);
	assert_int_equal(len, 8 * 4096 - 0x1234);
	vm_mark_range_dirty(vm, 0x11fff, 2);
	len = 1;
	assert_null(vm_guest_ptr(vm, 0x18000, &len, HV_GUEST_WRITE));
	assert_non_null(vm_guest_ptr(vm, 0x18000, &len, HV_GUEST_READ));
	hv_rcu_read_unlock();
	assert_int_equal(dirty_bitmap_get(vm, 0, &log), 0);
	assert_int_equal(log, 6);
}

/* A slot that is being moved is no memory. */
static void flush_hook(struct hv_vm *v, struct hv_memslot *slot)
{
	uint8_t b;

	assert_int_equal(vm_read_guest(v, 0x10000, &b, 1), -EFAULT);
	assert_int_equal(vm_read_guest(v, 0x18000, &b, 1), 0);
}

static void test_invalid_slot(void **state)
{
	vf_mmu.on_flush = flush_hook;
	assert_int_equal(vf_slot(vm, 0, 0x40000, 8 * 4096, (uintptr_t)ram + 8 * 4096,
				 HV_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vf_mmu.flushes, 1);
	vf_mmu.on_flush = NULL;
}

/* With hv/mem, what the host has write-protected is refused and not written. */
static void test_host_protection(void **state)
{
	struct hv_region_params rp = { .size = 4 << 20, .backing.kind = HV_BACKING_ANON };
	struct hv_vm_params p = {
		.name = "m", .processor = &vf_processor, .vendor = &vf_vendor,
		.mmu_ops = &vf_mmu_ops,
	};
	struct hv_region *region;
	struct hv_vm *w;
	uint64_t v = 5;

	assert_int_equal(hv_mem_create(&p.mem), 0);
	assert_int_equal(hv_region_create(p.mem, &rp, &region), 0);
	assert_int_equal(vm_create(&p, &w), 0);
	assert_int_equal(vf_slot(w, 0, 0, 4 << 20, hv_region_hva(region), 0), 0);
	assert_int_equal(vm_write_guest(w, 0x1ffffc, &v, 8), 0);
	assert_int_equal(hv_region_protect(region, 0x200000, 4096, HV_REGION_RO), 0);
	assert_int_equal(vm_write_guest(w, 0x200000, &v, 8), -EFAULT);
	assert_int_equal(vm_store_guest(w, 0x200000, 4, 9), -EFAULT);
	assert_int_equal(vm_write_guest(w, 0x201000, &v, 8), 0);
	assert_int_equal(vm_read_guest(w, 0x1ffffc, &v, 8), 0);
	assert_int_equal(v, 5);
	assert_int_equal(vf_mmu.unmaps, 1); /* the protection came as an invalidation */
	/* Memory that hv/mem does not know is not mapped. */
	assert_int_equal(vf_slot(w, 1, 1 << 30, 4096, (uintptr_t)ram, 0), 0);
	assert_int_equal(vm_read_guest(w, 1 << 30, &v, 8), -EFAULT);
	vm_put(w);
	hv_region_destroy(region);
	hv_mem_destroy(p.mem);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_copies),	 T(test_refused),      T(test_single),
		T(test_pointer), T(test_invalid_slot), T(test_host_protection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
