/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SMBIOS tables. DMTF DSP0134, "System Management BIOS Reference
 * Specification" 3.0, clauses 5.2.2 "SMBIOS 3.0 (64-bit) Entry Point", 6 and 7:
 *
 *	SMBIOS_BASE + 0x00	entry point, 24 bytes
 *		    + 0x20	structures: header, fields, strings; the last is type 127
 *
 * There are those that the specification requires of a machine with memory in one
 * device and without slots or caches of its own.
 */
#include "hv/dev/smbios.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "config.h"

#define ENTRY_SIZE  24
#define TABLE_AT    0x20
#define HEADER_SIZE 4

#define HANDLE_MEMORY_ARRAY 0x1000
#define HANDLE_NONE	    0xfffe
#define HANDLE_NO_CACHE	    0xffff

struct image {
	uint8_t *buf;
	size_t size, len;
	bool failed;
};

static void put(uint8_t *p, size_t offset, uint64_t value, size_t len)
{
	memcpy(p + offset, &value, len);
}

/*
 * A structure of `len` bytes, header included, whose fields are at `fields` by their
 * offsets in the specification. Strings count from 1; a NULL ends them.
 */
static void structure(struct image *im, uint8_t type, uint16_t handle, uint8_t *fields, uint8_t len,
		      const char *const *strings)
{
	size_t start = im->len, need = len;
	unsigned int i;

	for (i = 0; strings && strings[i]; i++)
		need += strlen(strings[i]) + 1;
	/* One zero ends the strings; where there are none, two do. */
	need += i ? 1 : 2;
	if (im->failed || need > im->size - im->len) {
		im->failed = true;
		return;
	}
	fields[0] = type;
	fields[1] = len;
	put(fields, 2, handle, 2);
	memcpy(im->buf + im->len, fields, len);
	im->len += len;
	for (i = 0; strings && strings[i]; i++) {
		size_t n = strlen(strings[i]) + 1;

		memcpy(im->buf + im->len, strings[i], n);
		im->len += n;
	}
	memset(im->buf + im->len, 0, start + need - im->len);
	im->len = start + need;
}

static void build_bios(struct image *im)
{
	static const char *const strings[] = { "hvd", PACKAGE_VERSION, "01/01/2026", NULL };
	uint8_t f[24] = { [4] = 1, [5] = 2, [8] = 3 };

	put(f, 6, 0xe000, 2);  /* the segment where its area begins */
	f[9] = 1;	       /* 128 KiB */
	put(f, 10, 1 << 3, 8); /* says nothing of what a BIOS supports */
	f[18] = 1 << 0;	       /* ACPI */
	f[19] = 1 << 4;	       /* this is a virtual machine */
	memset(f + 20, 0xff, 4); /* no release numbers */
	structure(im, 0, 0, f, sizeof(f), strings);
}

/* The first three fields of a uuid are numbers, and stored as such: low byte first. */
static void put_uuid(uint8_t *p, const uint8_t uuid[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	unsigned int i;

	for (i = 0; i < 16; i++)
		p[i] = uuid[order[i]];
}

static void build_system(struct image *im, const struct smbios_config *config)
{
	static const char *const strings[] = { "hvd", "Virtual Machine", "1", NULL };
	uint8_t f[27] = { [4] = 1, [5] = 2, [6] = 3 };

	put_uuid(f + 8, config->uuid);
	f[24] = 6; /* woken by the power switch */
	structure(im, 1, 0x100, f, sizeof(f), strings);
}

static void build_chassis(struct image *im)
{
	static const char *const strings[] = { "hvd", NULL };
	uint8_t f[22] = { [4] = 1, [5] = 1 /* other */ };

	memset(f + 9, 3, 3); /* boot-up, power and thermal state: safe */
	f[12] = 2;	     /* security: unknown */
	structure(im, 3, 0x300, f, sizeof(f), strings);
}

/* One package with a core for each vCPU, as CPUID's topology leaves have it. */
static void build_processor(struct image *im, unsigned int vcpus)
{
	static const char *const strings[] = { "CPU 0", "hvd", NULL };
	uint8_t f[48] = { [4] = 1, [5] = 3 /* central */, [6] = 1 /* other */, [7] = 2 };

	f[24] = 0x41; /* populated, enabled */
	f[25] = 1;    /* upgrade: other */
	put(f, 26, HANDLE_NO_CACHE, 2);
	put(f, 28, HANDLE_NO_CACHE, 2);
	put(f, 30, HANDLE_NO_CACHE, 2);
	f[35] = f[36] = f[37] = (uint8_t)vcpus; /* cores, enabled ones, threads */
	put(f, 38, 1 << 2 | (vcpus > 1 ? 1 << 3 : 0), 2); /* 64-bit capable, multi-core */
	put(f, 40, 1, 2); /* family: other */
	put(f, 42, vcpus, 2);
	put(f, 44, vcpus, 2);
	put(f, 46, vcpus, 2);
	structure(im, 4, 0x400, f, sizeof(f), strings);
}

static void build_mapped(struct image *im, uint16_t handle, uint64_t start, uint64_t size)
{
	uint8_t f[31] = { 0 };

	if (!size)
		return;
	/* In KiB; all ones: it is in the wide fields, in bytes. */
	if ((start + size - 1) >> 42) {
		put(f, 4, 0xffffffff, 4);
		put(f, 8, 0xffffffff, 4);
		put(f, 15, start, 8);
		put(f, 23, start + size - 1, 8);
	} else {
		put(f, 4, start >> 10, 4);
		put(f, 8, (start + size - 1) >> 10, 4);
	}
	put(f, 12, HANDLE_MEMORY_ARRAY, 2);
	f[14] = 1; /* one device */
	structure(im, 19, handle, f, sizeof(f), NULL);
}

static void build_memory(struct image *im, const struct smbios_config *config)
{
	static const char *const strings[] = { "DIMM 0", "hvd", NULL };
	uint64_t total = config->ram_low + config->ram_high, mib = total >> 20;
	uint8_t array[23] = { [4] = 1 /* other */, [5] = 3 /* system memory */, [6] = 3 /* no ECC */ };
	uint8_t device[40] = { [14] = 9 /* DIMM */, [16] = 1, [18] = 7 /* RAM */, [23] = 2 };

	if (total >> 41) {
		put(array, 7, 0x80000000, 4);
		put(array, 15, total, 8);
	} else {
		put(array, 7, total >> 10, 4);
	}
	put(array, 11, HANDLE_NONE, 2);
	put(array, 13, 1, 2);
	structure(im, 16, HANDLE_MEMORY_ARRAY, array, sizeof(array), NULL);

	put(device, 4, HANDLE_MEMORY_ARRAY, 2);
	put(device, 6, HANDLE_NONE, 2);
	put(device, 8, 0xffff, 2);  /* widths: unknown */
	put(device, 10, 0xffff, 2);
	put(device, 12, mib < 0x7fff ? mib : 0x7fff, 2);
	put(device, 19, 1 << 1, 2); /* type detail: other */
	if (mib >= 0x7fff)
		put(device, 28, mib, 4);
	structure(im, 17, 0x1100, device, sizeof(device), strings);
	build_mapped(im, 0x1300, 0, config->ram_low);
	build_mapped(im, 0x1301, 1ULL << 32, config->ram_high);
}

static void build_end(struct image *im)
{
	uint8_t boot[11] = { 0 }, end[HEADER_SIZE] = { 0 };

	structure(im, 32, 0x2000, boot, sizeof(boot), NULL); /* no errors detected */
	structure(im, 127, 0x7f00, end, sizeof(end), NULL);
}

static void build_entry(struct image *im)
{
	uint8_t *e = im->buf, sum = 0;
	unsigned int i;

	memset(e, 0, TABLE_AT);
	memcpy(e, "_SM3_", 5);
	e[6] = ENTRY_SIZE;
	e[7] = 3; /* version 3.0 */
	e[10] = 1;
	put(e, 12, im->len - TABLE_AT, 4);
	put(e, 16, SMBIOS_BASE + TABLE_AT, 8);
	for (i = 0; i < ENTRY_SIZE; i++)
		sum = (uint8_t)(sum + e[i]);
	e[5] = (uint8_t)-sum;
}

int smbios_build(const struct smbios_config *config, uint8_t *buf, size_t size)
{
	struct image im = { .buf = buf, .size = size, .len = TABLE_AT };

	if (size < TABLE_AT)
		return -ENOSPC;
	build_bios(&im);
	build_system(&im, config);
	build_chassis(&im);
	build_processor(&im, config->vcpus);
	build_memory(&im, config);
	build_end(&im);
	if (im.failed)
		return -ENOSPC;
	build_entry(&im);
	return (int)im.len;
}
