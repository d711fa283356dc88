/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables: structure and checksums here; `test_acpi_tables DIR` writes
 * each table to a file for acpi_tables.sh, which has iasl read them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/dev/acpi_tables.h"
#include "hv/dev/aml.h"

static uint8_t image[ACPI_TABLES_SIZE];
static int image_len;

static int build(unsigned int vcpus)
{
	const struct acpi_tables_config config = { .vcpus = vcpus, .ram_low = 512 << 20,
						   .hpet = true, .pvpanic = true };

	memset(image, 0xcc, sizeof(image));
	image_len = acpi_tables_build(&config, image, sizeof(image));
	return image_len;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *at(uint64_t gpa)
{
	assert_true(gpa >= ACPI_TABLES_BASE && gpa < ACPI_TABLES_BASE + (unsigned int)image_len);
	return image + (gpa - ACPI_TABLES_BASE);
}

/* Through the XSDT, as a guest finds it. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *xsdt = at(get64(image + 24));
	unsigned int n = (get32(xsdt + 4) - 36) / 8, i;

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, get32(xsdt + 4)), 0);
	for (i = 0; i < n; i++) {
		const uint8_t *t = at(get64(xsdt + 36 + 8 * i));

		if (!memcmp(t, signature, 4)) {
			assert_int_equal(sum(t, get32(t + 4)), 0);
			return t;
		}
	}
	return NULL;
}

static void test_roots(void **state)
{
	const uint8_t *rsdt;

	assert_true(build(2) > 0);
	assert_memory_equal(image, "RSD PTR ", 8);
	assert_int_equal(sum(image, 20), 0);
	assert_int_equal(sum(image, 36), 0);
	assert_int_equal(image[15], 2);
	rsdt = at(get32(image + 16));
	assert_memory_equal(rsdt, "RSDT", 4);
	assert_int_equal(sum(rsdt, get32(rsdt + 4)), 0);
	/* Both roots name the same tables. */
	assert_int_equal((get32(rsdt + 4) - 36) / 4,
			 (get32(at(get64(image + 24)) + 4) - 36) / 8);
	assert_null(find("SSDT"));
}

static void test_fadt(void **state)
{
	const uint8_t *fadt, *dsdt;

	build(1);
	fadt = find("FACP");
	assert_non_null(fadt);
	assert_int_equal(get32(fadt + 4), 268);
	assert_int_equal(get32(fadt + 36) & 63, 0); /* FACS alignment */
	assert_memory_equal(at(get32(fadt + 36)), "FACS", 4);
	dsdt = at(get64(fadt + 140));
	assert_ptr_equal(dsdt, at(get32(fadt + 40)));
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, get32(dsdt + 4)), 0);
	assert_int_equal(get32(fadt + 76), 0x608);
	assert_int_equal(get64(fadt + 120), 0xcf9);
	assert_int_equal(fadt[128], 6);
}

static void test_madt(void **state)
{
	unsigned int vcpus, cpus, ioapics, overrides;
	const uint8_t *madt, *p;

	for (vcpus = 1; vcpus <= 8; vcpus++) {
		build(vcpus);
		madt = find("APIC");
		assert_non_null(madt);
		cpus = ioapics = overrides = 0;
		for (p = madt + 44; p < madt + get32(madt + 4); p += p[1]) {
			assert_true(p[1] >= 2);
			if (p[0] == 0)
				assert_int_equal(p[3], cpus++);
			else if (p[0] == 1)
				ioapics++;
			else if (p[0] == 2)
				overrides++;
		}
		assert_int_equal(cpus, vcpus);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 2);
	}
}

static void test_mcfg_hpet(void **state)
{
	build(1);
	assert_int_equal(get64(find("MCFG") + 44), 0xe0000000);
	assert_int_equal(find("MCFG")[55], 255);
	assert_int_equal(get64(find("HPET") + 44), 0xfed00000);
}

static void test_no_room(void **state)
{
	const struct acpi_tables_config config = { .vcpus = 8, .hpet = true };
	static uint8_t small[4096];
	int full = build(8);
	size_t size;

	/* Whatever is missing, nothing is written past the end. */
	for (size = 0; size + 64 <= (size_t)full && size + 16 <= sizeof(small); size += 61) {
		memset(small, 0xa5, sizeof(small));
		assert_int_equal(acpi_tables_build(&config, small, size), -ENOSPC);
		assert_int_equal(small[size], 0xa5);
	}
}

static void test_aml(void **state)
{
	uint8_t buf[256];
	struct aml b = { .buf = buf, .size = sizeof(buf) };
	static const uint8_t want[] = {
		0x08, 'T', 'E', 'S', 'T', 0x12, 0x8b, 0x00, 0x00, 0x03, 0x00, 0x01, 0x0a, 0xff,
		0x0b, 0x34, 0x12,
	};

	aml_name(&b, "TEST");
	aml_package(&b, 3);
	aml_integer(&b, 0);
	aml_integer(&b, 1);
	aml_integer(&b, 0xff);
	aml_integer(&b, 0x1234);
	aml_end(&b);
	assert_false(b.failed);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	/* An identifier: PNP0501. */
	b.len = 0;
	aml_name_eisaid(&b, "_HID", "PNP0501");
	assert_memory_equal(buf + 5, "\x0c\x41\xd0\x05\x01", 5);
	/* Misuse fails, and stays failed. */
	aml_end(&b);
	assert_true(b.failed);
	b = (struct aml){ .buf = buf, .size = sizeof(buf) };
	aml_name(&b, "LONGER");
	assert_true(b.failed);
	b = (struct aml){ .buf = buf, .size = 3 };
	aml_string(&b, "abc");
	assert_true(b.failed);
	assert_true(b.len <= 3);
}

static int write_tables(const char *dir)
{
	const char *const names[] = { "FACP", "APIC", "MCFG", "HPET" };
	unsigned int i;

	build(4);
	for (i = 0; i < 5; i++) {
		const uint8_t *t = i < 4 ? find(names[i]) : at(get32(find("FACP") + 40));
		char path[512];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%.4s.dat", dir, (const char *)t);
		f = fopen(path, "w");
		if (!f || fwrite(t, get32(t + 4), 1, f) != 1 || fclose(f))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roots), cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),  cmocka_unit_test(test_mcfg_hpet),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_aml),
	};

	if (argc == 2)
		return write_tables(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
