/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regions of each kind of backing: what the memory holds after each change,
 * what may be mapped, and that a change that fails has changed nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/mem/region.h"

#define SIZE (UINT64_C(6) << 20)
#define P    HV_PAGE_SIZE

static struct hv_mem *mem;
static struct hv_region *region;
static unsigned char *bytes; /* of the region */
static int file_fd;

static int setup(void **state)
{
	char name[] = "/tmp/test_region.XXXXXX";

	hv_rcu_register_thread();
	file_fd = mkstemp(name);
	unlink(name);
	if (file_fd < 0 || ftruncate(file_fd, SIZE + P) || pwrite(file_fd, "file", 4, P) != 4)
		return -1;
	return hv_mem_create(&mem);
}

static int teardown(void **state)
{
	hv_region_destroy(region);
	region = NULL;
	hv_mem_destroy(mem);
	close(file_fd);
	hv_rcu_barrier();
	hv_rcu_unregister_thread();
	return 0;
}

static struct hv_backing backing(enum hv_backing_kind kind)
{
	return (struct hv_backing){ .kind = kind, .fd = file_fd, .offset = P };
}

static int create(enum hv_backing_kind kind)
{
	const struct hv_region_params p = { .size = SIZE, .backing = backing(kind) };
	int err = hv_region_create(mem, &p, &region);

	bytes = err ? NULL : (unsigned char *)(uintptr_t)hv_region_hva(region);
	return err;
}

static enum hv_page_level level_at(uint64_t offset)
{
	struct hv_mem_pfn_info info = { .level = 0 };

	hv_rcu_read_lock();
	assert_int_equal(hv_mem_pfn_info(mem, hv_region_hva(region) + offset, &info), 0);
	hv_rcu_read_unlock();
	assert_int_equal(info.writable, hv_region_is_writable(region, offset & ~(P - 1), P));
	return info.level;
}

/* Asks the kernel, which does not die of it: pread() to the byte. */
static bool is_writable_to_kernel(unsigned char *p)
{
	ssize_t n = pread(file_fd, p, 1, SIZE);

	assert_true(n == 1 || errno == EFAULT);
	return n == 1;
}

static const enum hv_backing_kind kinds[] = { HV_BACKING_ANON, HV_BACKING_MEMFD,
					      HV_BACKING_FILE_SHARED, HV_BACKING_FILE_PRIVATE };

static bool is_file(enum hv_backing_kind kind)
{
	return kind == HV_BACKING_FILE_SHARED || kind == HV_BACKING_FILE_PRIVATE;
}

static void create_each_kind(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		assert_int_equal(create(kinds[i]), 0);
		assert_int_equal(hv_region_size(region), SIZE);
		assert_ptr_equal(hv_region_mem(region), mem);
		assert_true(hv_is_aligned(hv_region_hva(region), HV_SZ_2M));
		assert_int_equal(bytes[0], is_file(kinds[i]) ? 'f' : 0);
		bytes[SIZE - 1] = 7;
		assert_int_equal(level_at(0), HV_LEVEL_2M);
		assert_int_equal(level_at(SIZE - 1), HV_LEVEL_2M);
		hv_region_destroy(region);
		region = NULL;
	}
}

static void large_regions_are_aligned_to_1g(void **state)
{
	const struct hv_region_params p = { .size = HV_SZ_1G + P,
					    .backing = { .kind = HV_BACKING_ANON,
							 .max_level = HV_LEVEL_1G } };

	assert_int_equal(hv_region_create(mem, &p, &region), 0);
	assert_true(hv_is_aligned(hv_region_hva(region), HV_SZ_1G));
	assert_int_equal(level_at(5), HV_LEVEL_1G);
	assert_int_equal(level_at(HV_SZ_1G), HV_LEVEL_4K);
	assert_int_equal(hv_region_protect(region, P, P, HV_REGION_RO), 0);
	assert_int_equal(level_at(0), HV_LEVEL_4K);
	assert_int_equal(level_at(HV_SZ_2M), HV_LEVEL_2M);
}

static void bad_params(void **state)
{
	struct hv_region_params p = { .size = SIZE, .backing = backing(HV_BACKING_FILE_SHARED) };
	int ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	p.size = 0;
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.size = SIZE + 1;
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.size = HV_REGION_SIZE_MAX + P;
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.size = SIZE + P;
	assert_int_equal(hv_region_create(mem, &p, &region), -EFBIG);
	p.size = P;
	p.backing.offset = SIZE + 2 * P;
	assert_int_equal(hv_region_create(mem, &p, &region), -EFBIG);
	p.backing.offset = 17;
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.backing.offset = 0;
	p.backing.fd = -1;
	assert_int_equal(hv_region_create(mem, &p, &region), -EBADF);
	p.backing.fd = ro;
	assert_int_equal(hv_region_create(mem, &p, &region), -EACCES);
	p.backing.kind = 99;
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.backing = (struct hv_backing){ .kind = HV_BACKING_HUGETLB, .page_level = HV_LEVEL_4K };
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	p.backing = (struct hv_backing){ .kind = HV_BACKING_ANON, .max_level = 4 };
	assert_int_equal(hv_region_create(mem, &p, &region), -EINVAL);
	assert_null(region);
	close(ro);
}

static void bad_ranges(void **state)
{
	const struct hv_backing anon = { .kind = HV_BACKING_ANON };

	assert_int_equal(create(HV_BACKING_ANON), 0);
	assert_int_equal(hv_region_discard(region, 1, P), -EINVAL);
	assert_int_equal(hv_region_discard(region, 0, P + 1), -EINVAL);
	assert_int_equal(hv_region_discard(region, 0, 0), -EINVAL);
	assert_int_equal(hv_region_discard(region, SIZE, P), -ERANGE);
	assert_int_equal(hv_region_discard(region, P, SIZE), -ERANGE);
	assert_int_equal(hv_region_discard(region, 0 - P, 2 * P), -ERANGE);
	assert_int_equal(hv_region_discard_nowait(region, SIZE, P), -ERANGE);
	assert_int_equal(hv_region_populate(region, SIZE, P), -ERANGE);
	assert_int_equal(hv_region_pageout(region, SIZE, P), -ERANGE);
	assert_int_equal(hv_region_protect(region, SIZE, P, HV_REGION_RO), -ERANGE);
	assert_int_equal(hv_region_remap(region, SIZE, P, &anon), -ERANGE);
	assert_false(hv_region_is_writable(region, SIZE, P));
	assert_false(hv_region_is_writable(region, 0, SIZE + P));
	assert_false(hv_region_is_writable(region, 0, 0));
	assert_int_equal(hv_region_fd(region, SIZE, NULL), -1);
}

static void guards_surround_it(void **state)
{
	assert_int_equal(create(HV_BACKING_ANON), 0);
	assert_false(is_writable_to_kernel(bytes - 1));
	assert_true(is_writable_to_kernel(bytes));
	assert_true(is_writable_to_kernel(bytes + SIZE - 1));
	assert_false(is_writable_to_kernel(bytes + SIZE));
}

/* A shared file's discard punches the file; a private one's shows the file again. */
static void discards(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		assert_int_equal(create(kinds[i]), 0);
		memset(bytes, 0x55, 4 * P);
		assert_int_equal(hv_region_discard(region, P, 2 * P), 0);
		assert_int_equal(bytes[P - 1], 0x55);
		assert_int_equal(bytes[P], 0);
		assert_int_equal(bytes[3 * P - 1], 0);
		assert_int_equal(bytes[3 * P], 0x55);
		if (kinds[i] == HV_BACKING_FILE_PRIVATE) {
			assert_int_equal(hv_region_discard(region, 0, P), 0);
			assert_int_equal(bytes[0], 0x55); /* what the shared one wrote */
		}
		assert_int_equal(hv_region_populate(region, 0, SIZE), 0);
		assert_int_equal(bytes[P], 0);
		hv_region_destroy(region);
		region = NULL;
	}
}

static size_t resident(uint64_t offset, uint64_t len)
{
	unsigned char vec[SIZE / P];
	size_t n = 0, i;

	assert_int_equal(mincore(bytes + offset, len, vec), 0);
	for (i = 0; i < len / P; i++)
		n += vec[i] & 1;
	return n;
}

static void populates(void **state)
{
	assert_int_equal(create(HV_BACKING_MEMFD), 0);
	assert_int_equal(resident(0, SIZE), 0);
	assert_int_equal(hv_region_populate(region, 2 * P, 3 * P), 0);
	assert_int_equal(resident(0, SIZE), 3);
	assert_int_equal(hv_region_protect(region, 0, HV_SZ_2M, HV_REGION_RO), 0);
	assert_int_equal(hv_region_populate(region, 0, SIZE), 0);
	assert_int_equal(resident(0, SIZE), SIZE / P);
	assert_int_equal(hv_region_discard(region, 0, SIZE), 0);
	assert_int_equal(resident(0, SIZE), 0);
}

static void pageout_keeps_contents(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		assert_int_equal(create(kinds[i]), 0);
		bytes[5 * P] = 0x77;
		assert_int_equal(hv_region_pageout(region, 0, SIZE), 0);
		assert_int_equal(bytes[5 * P], 0x77);
		hv_region_destroy(region);
		region = NULL;
	}
}

static void protects(void **state)
{
	assert_int_equal(create(HV_BACKING_MEMFD), 0);
	bytes[0] = 3;
	assert_true(hv_region_is_writable(region, 0, SIZE));
	assert_int_equal(hv_region_protect(region, P, 2 * P, HV_REGION_RO), 0);
	assert_false(is_writable_to_kernel(bytes + P));
	assert_true(is_writable_to_kernel(bytes + 3 * P));
	assert_true(hv_region_is_writable(region, 0, P));
	assert_false(hv_region_is_writable(region, 0, 2 * P));
	assert_false(hv_region_is_writable(region, 2 * P, P));
	assert_true(hv_region_is_writable(region, 3 * P, SIZE - 3 * P));
	assert_int_equal(level_at(0), HV_LEVEL_4K);
	assert_int_equal(level_at(P), HV_LEVEL_4K);
	assert_int_equal(level_at(HV_SZ_2M), HV_LEVEL_2M);
	assert_int_equal(hv_region_protect(region, 0, SIZE, HV_REGION_RW), 0);
	assert_true(is_writable_to_kernel(bytes + P));
	assert_true(hv_region_is_writable(region, 0, SIZE));
	assert_int_equal(level_at(0), HV_LEVEL_2M); /* one segment again */
	assert_int_equal(bytes[0], 3);
}

static void read_only_files_stay_so(void **state)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct hv_region_params p = { .size = 2 * P,
				      .read_only = true,
				      .backing = { .kind = HV_BACKING_FILE_SHARED, .fd = fd } };

	assert_int_equal(hv_region_create(mem, &p, &region), 0);
	close(fd); /* it has its own */
	bytes = (unsigned char *)(uintptr_t)hv_region_hva(region);
	assert_memory_equal(bytes, "\177ELF", 4);
	assert_false(hv_region_is_writable(region, 0, P));
	assert_int_equal(hv_region_protect(region, P, P, HV_REGION_RW), -EACCES);
	assert_false(hv_region_is_writable(region, P, P));
	assert_int_equal(level_at(0), HV_LEVEL_4K);
	assert_int_equal(hv_region_discard(region, 0, P), -EBADF);
	assert_memory_equal(bytes, "\177ELF", 4);
}

static void remaps(void **state)
{
	const struct hv_backing file = backing(HV_BACKING_FILE_SHARED);
	const struct hv_backing anon = backing(HV_BACKING_ANON);
	uint64_t offset = 0;

	assert_int_equal(create(HV_BACKING_ANON), 0);
	memset(bytes, 0x11, SIZE);
	assert_int_equal(hv_region_fd(region, 0, &offset), -1);
	assert_int_equal(pwrite(file_fd, "mark", 4, P), 4);
	assert_int_equal(hv_region_remap(region, HV_SZ_2M, 2 * P, &file), 0);
	assert_int_equal(bytes[HV_SZ_2M - 1], 0x11);
	assert_memory_equal(bytes + HV_SZ_2M, "mark", 4);
	assert_int_equal(bytes[HV_SZ_2M + 2 * P], 0x11);
	assert_true(hv_region_fd(region, HV_SZ_2M + P + 9, &offset) >= 0);
	assert_int_equal(offset, 2 * P + 9);
	assert_int_equal(hv_region_fd(region, HV_SZ_2M + 2 * P, &offset), -1);
	assert_int_equal(level_at(HV_SZ_2M), HV_LEVEL_4K);
	assert_int_equal(level_at(2 * HV_SZ_2M), HV_LEVEL_2M);
	assert_int_equal(hv_region_remap(region, HV_SZ_2M, 2 * P, &anon), 0);
	assert_int_equal(bytes[HV_SZ_2M], 0);
	assert_int_equal(level_at(HV_SZ_2M), HV_LEVEL_2M);
}

/* A change over several segments acts on each in its own way. */
static void ranges_over_segments(void **state)
{
	const struct hv_backing memfd = backing(HV_BACKING_MEMFD);

	assert_int_equal(create(HV_BACKING_ANON), 0);
	assert_int_equal(hv_region_remap(region, 2 * P, 2 * P, &memfd), 0);
	assert_int_equal(hv_region_protect(region, 3 * P, 4 * P, HV_REGION_RO), 0);
	assert_int_equal(hv_region_protect(region, 0, SIZE, HV_REGION_RW), 0);
	memset(bytes, 0x22, SIZE);
	assert_int_equal(hv_region_discard(region, P, 4 * P), 0);
	assert_int_equal(bytes[P - 1], 0x22);
	assert_int_equal(bytes[P] | bytes[2 * P] | bytes[4 * P - 1] | bytes[5 * P - 1], 0);
	assert_int_equal(bytes[5 * P], 0x22);
}

static void shares_through_its_fd(void **state)
{
	uint64_t offset = 1;
	char *other;
	int fd;

	assert_int_equal(create(HV_BACKING_MEMFD), 0);
	fd = hv_region_fd(region, 3 * P, &offset);
	assert_true(fd >= 0);
	assert_int_equal(offset, 3 * P);
	other = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	assert_ptr_not_equal(other, MAP_FAILED);
	bytes[3 * P] = 'a';
	assert_int_equal(*other, 'a');
	munmap(other, P);
	/* Whoever has the fd cannot cut the memory off under us. */
	assert_int_equal(ftruncate(fd, 0), -1);
}

static void failed_remap_changes_nothing(void **state)
{
	struct hv_backing bad = backing(HV_BACKING_FILE_SHARED);

	assert_int_equal(create(HV_BACKING_ANON), 0);
	memset(bytes, 0x33, SIZE);
	bad.offset = SIZE;
	assert_int_equal(hv_region_remap(region, 0, 2 * P, &bad), -EFBIG);
	bad.fd = -1;
	assert_int_equal(hv_region_remap(region, 0, P, &bad), -EBADF);
	assert_int_equal(bytes[0], 0x33);
	assert_int_equal(level_at(0), HV_LEVEL_2M);
}

/* Reserved huge pages are rare on a build machine: then this shows the clean error. */
static void hugetlb(void **state)
{
	const struct hv_region_params p = { .size = 2 * HV_SZ_2M,
					    .backing = { .kind = HV_BACKING_HUGETLB,
							 .page_level = HV_LEVEL_2M } };
	int err = hv_region_create(mem, &p, &region);

	if (err) {
		print_message("# no huge pages: %s\n", strerror(-err));
		assert_null(region);
		return;
	}
	bytes = (unsigned char *)(uintptr_t)hv_region_hva(region);
	memset(bytes, 1, 2 * HV_SZ_2M);
	assert_int_equal(level_at(P), HV_LEVEL_2M);
	assert_int_equal(hv_region_discard(region, 0, P), -EINVAL);
	assert_int_equal(hv_region_protect(region, P, HV_SZ_2M, HV_REGION_RO), -EINVAL);
	assert_int_equal(hv_region_pageout(region, 0, HV_SZ_2M), -EOPNOTSUPP);
	assert_int_equal(hv_region_discard(region, HV_SZ_2M, HV_SZ_2M), 0);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(bytes[HV_SZ_2M], 0);
	assert_int_equal(hv_region_remap(region, 0, HV_SZ_2M,
					 &(struct hv_backing){ .kind = HV_BACKING_ANON }),
			 0);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(level_at(0), HV_LEVEL_2M);
	assert_int_equal(hv_region_remap(region, 0, HV_SZ_2M, &p.backing), 0);
	bytes[0] = 9;
}

#ifdef HV_DEBUG
/* Each allocation of each operation fails once: -ENOMEM, and all is as it was. */
static int operation(int which)
{
	const struct hv_backing memfd = backing(HV_BACKING_MEMFD);
	const struct hv_region_params p = { .size = P, .backing = memfd };
	struct hv_region *other;
	int err;

	switch (which) {
	case 0:
		err = hv_region_create(mem, &p, &other);
		if (!err)
			hv_region_destroy(other);
		return err;
	case 1:
		return hv_region_remap(region, P, P, &memfd);
	case 2:
		return hv_region_protect(region, 3 * P, P, HV_REGION_RO);
	case 3:
		return hv_region_populate(region, 0, P);
	default:
		return hv_region_discard(region, 8 * P, P);
	}
}

static void no_memory(void **state)
{
	int which, n, err;

	assert_int_equal(create(HV_BACKING_ANON), 0);
	memset(bytes, 0x44, 8 * P);
	for (which = 0; which < 5; which++) {
		for (n = 1;; n++) {
			hv_fault_arm(HV_FAULT_THREAD, (uint64_t)n);
			err = operation(which);
			if (!hv_fault_disarm())
				break;
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(bytes[P], which > 1 ? 0 : 0x44);
			assert_true(hv_region_is_writable(region, 0, SIZE));
		}
		assert_int_equal(err, 0);
		print_message("# operation %d: %d allocations\n", which, n - 1);
	}
}
#endif

/* ---- changes beside each other ---- */

static void *discard_some(void *which)
{
	intptr_t bad = 0;
	uint64_t i, base = (uint64_t)(uintptr_t)which * HV_SZ_2M;

	hv_rcu_register_thread();
	for (i = 0; i < 200; i++) {
		bytes[base + i * P] = 5;
		bad += hv_region_discard(region, base + i * P, P) != 0;
		bad += bytes[base + i * P] != 0;
	}
	hv_rcu_unregister_thread();
	return (void *)bad;
}

static void *protect_some(void *which)
{
	intptr_t bad = 0;
	uint64_t i, base = (uint64_t)(uintptr_t)which * HV_SZ_2M;

	hv_rcu_register_thread();
	for (i = 0; i < 200; i++) {
		uint64_t at = base + i % 100 * P;

		bad += hv_region_protect(region, at, P, HV_REGION_RO) != 0;
		bad += hv_region_is_writable(region, at, P);
		bad += hv_region_protect(region, at, P, HV_REGION_RW) != 0;
		bad += !hv_region_is_writable(region, at, P);
	}
	hv_rcu_unregister_thread();
	return (void *)bad;
}

static void changes_beside_each_other(void **state)
{
	pthread_t t[3];
	void *bad;
	int i;

	assert_int_equal(create(HV_BACKING_MEMFD), 0);
	pthread_create(&t[0], NULL, discard_some, (void *)0);
	pthread_create(&t[1], NULL, discard_some, (void *)1);
	pthread_create(&t[2], NULL, protect_some, (void *)2);
	for (i = 0; i < 3; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_true(hv_region_is_writable(region, 0, SIZE));
	assert_int_equal(level_at(2 * HV_SZ_2M), HV_LEVEL_2M);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(guards_surround_it),
		TEST(create_each_kind),
		TEST(large_regions_are_aligned_to_1g),
		TEST(bad_params),
		TEST(bad_ranges),
		TEST(discards),
		TEST(populates),
		TEST(pageout_keeps_contents),
		TEST(protects),
		TEST(read_only_files_stay_so),
		TEST(remaps),
		TEST(ranges_over_segments),
		TEST(shares_through_its_fd),
		TEST(failed_remap_changes_nothing),
		TEST(hugetlb),
#ifdef HV_DEBUG
		TEST(no_memory),
#endif
		TEST(changes_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
