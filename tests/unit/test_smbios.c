/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SMBIOS tables, walked as a guest walks them; `test_smbios FILE` writes them in
 * the form that dmidecode --from-dump reads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/smbios.h"

#define GIB (1ULL << 30)

static uint8_t image[SMBIOS_SIZE];
static int image_len;

static const struct smbios_config small = {
	.vcpus = 3,
	.ram_low = 512ULL << 20,
	.uuid = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
		  0xee, 0xff },
};

static void build(const struct smbios_config *config)
{
	memset(image, 0xcc, sizeof(image));
	image_len = smbios_build(config, image, sizeof(image));
	assert_true(image_len > 0x20);
}

static uint64_t get(const uint8_t *p, size_t offset, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, p + offset, len);
	return v;
}

static const uint8_t *table(void)
{
	return image + (get(image, 16, 8) - SMBIOS_BASE);
}

static const uint8_t *end(void)
{
	return table() + get(image, 12, 4);
}

/* What follows the fields: strings, each with its zero, and a zero. */
static const uint8_t *next(const uint8_t *s)
{
	const uint8_t *p = s + s[1];

	while (p[0] || p[1])
		p++;
	return p + 2;
}

static const uint8_t *find(unsigned int type, unsigned int n)
{
	const uint8_t *s;

	for (s = table(); s < end(); s = next(s)) {
		if (s[0] == type && !n--)
			return s;
	}
	return NULL;
}

static const char *string(const uint8_t *s, unsigned int field)
{
	const char *p = (const char *)s + s[1];
	unsigned int n = s[field];

	assert_true(n > 0);
	while (--n)
		p += strlen(p) + 1;
	return p;
}

static void test_entry(void **state)
{
	uint8_t sum = 0;
	unsigned int i;

	build(&small);
	assert_memory_equal(image, "_SM3_", 5);
	assert_int_equal(image[6], 24);
	for (i = 0; i < 24; i++)
		sum = (uint8_t)(sum + image[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(image[7], 3);
	assert_true(end() == image + image_len);
}

static void test_walk(void **state)
{
	const uint8_t *s, *last = NULL;
	unsigned int nr = 0;
	uint16_t handles[32];

	build(&small);
	for (s = table(); s < end(); s = next(s), nr++) {
		assert_true(nr < 32);
		handles[nr] = (uint16_t)get(s, 2, 2);
		for (unsigned int i = 0; i < nr; i++)
			assert_int_not_equal(handles[i], handles[nr]);
		last = s;
	}
	assert_true(s == end());
	assert_int_equal(last[0], 127);
	for (unsigned int i = 0; i < 2; i++)
		assert_non_null(find(i, 0));
}

static void test_identity(void **state)
{
	static const uint8_t stored[16] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
					    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	const uint8_t *s;

	build(&small);
	s = find(0, 0);
	assert_string_equal(string(s, 4), "hvd");
	assert_string_equal(string(s, 8), "01/01/2026");
	assert_true(s[19] & 1 << 4); /* a virtual machine */
	s = find(1, 0);
	assert_string_equal(string(s, 4), "hvd");
	assert_string_equal(string(s, 5), "Virtual Machine");
	assert_memory_equal(s + 8, stored, 16);
}

static void test_processor(void **state)
{
	const uint8_t *s;

	build(&small);
	s = find(4, 0);
	assert_int_equal(s[35], 3);
	assert_int_equal(get(s, 42, 2), 3);
	assert_null(find(4, 1));
}

static void test_memory(void **state)
{
	struct smbios_config big = { .vcpus = 1, .ram_low = 3 * GIB, .ram_high = 5 * GIB };
	const uint8_t *s;

	build(&small);
	assert_int_equal(get(find(16, 0), 7, 4), 512 << 10);
	assert_int_equal(get(find(17, 0), 12, 2), 512);
	assert_int_equal(get(find(19, 0), 8, 4), (512 << 10) - 1);
	assert_null(find(19, 1));
	build(&big);
	assert_int_equal(get(find(17, 0), 12, 2), 8192);
	s = find(19, 1);
	assert_int_equal(get(s, 4, 4), 4 << 20);
	assert_int_equal(get(s, 8, 4), (9 << 20) - 1);
	/* What the narrow fields cannot hold is in the wide ones. */
	big.ram_high = 8192 * GIB;
	build(&big);
	assert_int_equal(get(find(16, 0), 7, 4), 0x80000000);
	assert_int_equal(get(find(16, 0), 15, 8), 8195 * GIB);
	assert_int_equal(get(find(17, 0), 12, 2), 0x7fff);
	assert_int_equal(get(find(17, 0), 28, 4), 8195 << 10);
	s = find(19, 1);
	assert_int_equal(get(s, 4, 4), 0xffffffff);
	assert_int_equal(get(s, 15, 8), 4 * GIB);
	assert_int_equal(get(s, 23, 8), 8196 * GIB - 1);
}

static void test_no_room(void **state)
{
	int size;

	build(&small);
	for (size = 0; size < image_len; size++) {
		uint8_t buf[SMBIOS_SIZE];

		memset(buf, 0xcc, sizeof(buf));
		assert_int_equal(smbios_build(&small, buf, (size_t)size), -ENOSPC);
		assert_int_equal(buf[size], 0xcc);
	}
	assert_int_equal(smbios_build(&small, image, (size_t)image_len), image_len);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry),	  cmocka_unit_test(test_walk),
		cmocka_unit_test(test_identity),  cmocka_unit_test(test_processor),
		cmocka_unit_test(test_memory),	  cmocka_unit_test(test_no_room),
	};

	if (argc == 2) {
		FILE *f = fopen(argv[1], "w");
		uint64_t at = 0x20;

		build(&small);
		/* In a dump the table's address is its offset in the file. */
		memcpy(image + 16, &at, 8);
		return !f || fwrite(image, (size_t)image_len, 1, f) != 1 || fclose(f);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
