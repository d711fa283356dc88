/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checksums against published values; state records: a round trip, and every kind
 * of damage, each of which has to be told by name and offset before anything is loaded.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/migrate/checksum.h"
#include "hv/migrate/record.h"

/* ---- checksums -------------------------------------------------------------------------- */

static void test_crc32c_vectors(void **state)
{
	uint8_t buf[32];
	unsigned int i;

	/* RFC 3720, appendix B.4 */
	memset(buf, 0, sizeof(buf));
	assert_int_equal(checksum_crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(checksum_crc32c(0, buf, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(checksum_crc32c(0, buf, 32), 0x46dd794e);
	assert_int_equal(checksum_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(checksum_crc32c(0, "", 0), 0);
}

static void test_crc32c_table_is_the_same(void **state)
{
	uint8_t buf[300];
	size_t i, len;

	for (i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 167 + 13);
	for (len = 0; len < sizeof(buf); len++) {
		uint32_t one = checksum_crc32c(0, buf, len);

		assert_int_equal(one, checksum_crc32c_table(0, buf, len));
		/* In two parts. */
		assert_int_equal(one, checksum_crc32c(checksum_crc32c(0, buf, len / 3),
						      buf + len / 3, len - len / 3));
	}
}

/* Long ones go in three lanes at a time. */
static void test_crc32c_lanes(void **state)
{
	static uint8_t buf[20000];
	size_t i, len;

	for (i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * i * 31 + i * 167 + 13);
	for (len = 3060; len < sizeof(buf); len += len < 3090 ? 1 : 997) {
		uint32_t one = checksum_crc32c(7, buf + 1, len - 1);

		assert_int_equal(one, checksum_crc32c_table(7, buf + 1, len - 1));
		buf[len / 2] ^= 4;
		assert_int_not_equal(one, checksum_crc32c(7, buf + 1, len - 1));
	}
}

static void test_xxh64_vectors(void **state)
{
	assert_true(checksum_xxh64("", 0, 0) == 0xef46db3751d8e999ULL);
	assert_true(checksum_xxh64("a", 1, 0) == 0xd24ec4f1a98c6e5bULL);
	assert_true(checksum_xxh64("abc", 3, 0) == 0x44bc2cf5ad770999ULL);
	assert_true(checksum_xxh64("The quick brown fox jumps over the lazy dog", 43, 0) ==
		    0x0b242d361fda71bcULL);
}

static void test_zero(void **state)
{
	static uint64_t page[512];
	unsigned int i;

	assert_true(checksum_is_zero(page, sizeof(page)));
	for (i = 0; i < sizeof(page); i++) {
		((uint8_t *)page)[i] = 1;
		assert_false(checksum_is_zero(page, sizeof(page)));
		((uint8_t *)page)[i] = 0;
	}
}

/* ---- records -------------------------------------------------------------------------------- */

struct thing {
	uint32_t a[2];
	char name[16];
	unsigned int loads;
	int refuse;
};

static int one_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	rec_put_u8(w, 1);
	rec_put_u16(w, 0x202);
	rec_put_u64(w, 0x0807060504030201ULL);
	rec_put_string(w, ((struct thing *)ctx)->name);
	return 0;
}

static int one_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct thing *t = ctx;

	t->loads++;
	if (rec_get_u8(r) != 1 || rec_get_u16(r) != 0x202 ||
	    rec_get_u64(r) != 0x0807060504030201ULL)
		return -EINVAL;
	rec_get_string(r, t->name, sizeof(t->name));
	return t->refuse;
}

static int two_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	rec_put_u32(w, ((struct thing *)ctx)->a[n]);
	return 0;
}

static int two_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct thing *t = ctx;

	t->loads++;
	t->a[n] = rec_get_u32(r);
	return 0;
}

static const struct rec_row rows[] = {
	{ .name = "one", .version = 3, .oldest = 2, .save = one_save, .load = one_load },
	{ .name = "two", .version = 1, .instances = 2, .save = two_save, .load = two_load },
};
static const struct rec_table table = { rows, 2 };

static void save(struct rec_writer *w)
{
	struct thing t = { .a = { 5, 6 }, .name = "hello" };
	struct migrate_error e = { "" };

	rec_writer_init(w);
	assert_int_equal(rec_save(&table, &t, w, &e), 0);
	assert_string_equal(e.text, "");
}

/* Load and expect a failure that says `what`, with nothing loaded. */
static void refuse(const struct rec_table *tab, const void *image, size_t len, int err,
		   const char *what)
{
	struct thing t = { .loads = 0 };
	struct migrate_error e = { "" };
	void *copy = malloc(len ? len : 1); /* exactly as long: ASan sees a read beyond */

	memcpy(copy, image, len);
	assert_int_equal(rec_load(tab, &t, copy, len, &e), err);
	if (!strstr(e.text, what))
		print_message("# \"%s\" lacks \"%s\"\n", e.text, what);
	assert_non_null(strstr(e.text, what));
	assert_int_equal(t.loads, 0);
	free(copy);
}

static void test_round_trip(void **state)
{
	struct thing t = { .loads = 0 };
	struct migrate_error e = { "" };
	struct rec_writer w;

	save(&w);
	assert_int_equal(rec_load(&table, &t, w.data, w.len, &e), 0);
	assert_string_equal(t.name, "hello");
	assert_int_equal(t.a[0], 5);
	assert_int_equal(t.a[1], 6);
	assert_int_equal(t.loads, 3);
	rec_writer_free(&w);
}

/* The layout that the header's comment promises, byte by byte. */
static void test_layout(void **state)
{
	struct rec_writer w;

	save(&w);
	assert_memory_equal(w.data, "HVRC\1\0\0\0\0\0\0\0\4\0\0\0hvd-state\0\0\0", 28);
	assert_memory_equal(w.data + 48, "\1\0\0\0", 4);
	assert_memory_equal(w.data + 52, "HVRC\3\0\0\0\0\0\0\0\22\0\0\0one\0", 20);
	assert_memory_equal(w.data + 100, "\1\2\2\1\2\3\4\5\6\7\10\5\0hello", 18);
	rec_writer_free(&w);
}

static void test_truncated_everywhere(void **state)
{
	struct rec_writer w;
	size_t len;

	save(&w);
	for (len = 0; len < w.len; len++)
		refuse(&table, w.data, len, -EBADMSG, "offset ");
	rec_writer_free(&w);
}

static void test_every_bit_matters(void **state)
{
	struct rec_writer w;
	size_t i;

	save(&w);
	for (i = 0; i < w.len * 8; i++) {
		w.data[i / 8] ^= (uint8_t)(1u << (i % 8));
		refuse(&table, w.data, w.len, -EBADMSG, "offset ");
		w.data[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	rec_writer_free(&w);
}

static void begin(struct rec_writer *w)
{
	rec_writer_init(w);
	rec_begin(w, "hvd-state", 1, 0);
	rec_put_u32(w, REC_FORMAT);
	rec_end(w);
}

static void put(struct rec_writer *w, const char *name, uint16_t version, uint32_t n, size_t len)
{
	static const uint8_t zeros[64];

	rec_begin(w, name, version, n);
	rec_put(w, zeros, len);
	rec_end(w);
}

static void finish(struct rec_writer *w, uint32_t count)
{
	rec_begin(w, "end", 1, 0);
	rec_put_u32(w, count);
	rec_end(w);
	assert_int_equal(w->err, 0);
}

static void test_unknown_twice_missing(void **state)
{
	struct rec_writer w;

	begin(&w);
	put(&w, "three", 7, 0, 4);
	finish(&w, 1);
	refuse(&table, w.data, w.len, -EPROTO,
	       "record \"three\" 0 at offset 52: unknown to this machine (version 7)");
	rec_writer_free(&w);

	begin(&w);
	put(&w, "two", 1, 1, 4);
	put(&w, "two", 1, 1, 4);
	finish(&w, 2);
	refuse(&table, w.data, w.len, -EBADMSG,
	       "record \"two\" 1 at offset 104: there twice, first at offset 52");
	rec_writer_free(&w);

	begin(&w);
	put(&w, "two", 1, 2, 4);
	finish(&w, 1);
	refuse(&table, w.data, w.len, -EPROTO, "this machine has only 2 of them");
	rec_writer_free(&w);

	begin(&w);
	put(&w, "one", 3, 0, 4);
	put(&w, "two", 1, 0, 4);
	finish(&w, 2);
	refuse(&table, w.data, w.len, -EPROTO, "record \"two\" 1: missing");
	rec_writer_free(&w);
}

static void test_versions(void **state)
{
	struct rec_writer w;

	begin(&w);
	put(&w, "one", 4, 0, 4);
	finish(&w, 1);
	refuse(&table, w.data, w.len, -EPROTO, "version 4, and this build understands 2 to 3");
	rec_writer_free(&w);
	begin(&w);
	put(&w, "one", 1, 0, 4);
	finish(&w, 1);
	refuse(&table, w.data, w.len, -EPROTO, "version 1, and this build understands 2 to 3");
	rec_writer_free(&w);
	rec_writer_init(&w);
	rec_begin(&w, "hvd-state", 1, 0);
	rec_put_u32(&w, 99);
	rec_end(&w);
	refuse(&table, w.data, w.len, -EPROTO, "format 99");
	rec_writer_free(&w);
	rec_writer_init(&w);
	put(&w, "one", 1, 0, 4);
	refuse(&table, w.data, w.len, -EBADMSG, "does not begin with \"hvd-state\"");
	rec_writer_free(&w);
}

static void test_end(void **state)
{
	struct rec_writer w;

	begin(&w);
	put(&w, "two", 1, 0, 4);
	finish(&w, 2);
	refuse(&table, w.data, w.len, -EBADMSG, "2 records announced, 1 there");
	rec_writer_free(&w);
	begin(&w);
	put(&w, "two", 1, 0, 4);
	finish(&w, 1);
	rec_put_u8(&w, 0);
	refuse(&table, w.data, w.len, -EBADMSG, "1 bytes follow it");
	rec_writer_free(&w);
}

/* A payload of another length than its load function reads. */
static void test_payload_length(void **state)
{
	static const struct rec_row only_two[] = {
		{ .name = "two", .version = 1, .save = two_save, .load = two_load },
	};
	static const struct rec_table tab = { only_two, 1 };
	struct thing t = { .loads = 0 };
	struct migrate_error e = { "" };
	struct rec_writer w;

	begin(&w);
	put(&w, "two", 1, 0, 3);
	finish(&w, 1);
	assert_int_equal(rec_load(&tab, &t, w.data, w.len, &e), -EBADMSG);
	assert_string_equal(e.text, "record \"two\" 0 at offset 52: too short (3 bytes)");
	rec_writer_free(&w);
	e.text[0] = '\0';
	begin(&w);
	put(&w, "two", 1, 0, 6);
	finish(&w, 1);
	assert_int_equal(rec_load(&tab, &t, w.data, w.len, &e), -EBADMSG);
	assert_string_equal(e.text, "record \"two\" 0 at offset 52: 2 bytes too long");
	rec_writer_free(&w);
}

static void test_refused_by_its_owner(void **state)
{
	struct thing t = { .refuse = -EINVAL };
	struct migrate_error e = { "" };
	struct rec_writer w;

	save(&w);
	assert_int_equal(rec_load(&table, &t, w.data, w.len, &e), -EINVAL);
	assert_string_equal(e.text, "record \"one\" 0 at offset 52: refused: Invalid argument");
	assert_int_equal(t.loads, 1);
	rec_writer_free(&w);
}

static void test_optional(void **state)
{
	static const struct rec_row some[] = {
		{ .name = "two", .version = 1, .save = two_save, .load = two_load,
		  .need = REC_OPTIONAL },
	};
	static const struct rec_table tab = { some, 1 };
	struct thing t = { .loads = 0 };
	struct migrate_error e = { "" };
	struct rec_writer w;

	begin(&w);
	finish(&w, 0);
	assert_int_equal(rec_load(&tab, &t, w.data, w.len, &e), 0);
	assert_int_equal(t.loads, 0);
	rec_writer_free(&w);
}

static void test_too_big(void **state)
{
	static uint8_t big[REC_PAYLOAD_MAX + 1];
	struct rec_writer w;

	rec_writer_init(&w);
	rec_begin(&w, "big", 1, 0);
	rec_put(&w, big, sizeof(big));
	rec_end(&w);
	assert_int_equal(w.err, -E2BIG);
	rec_writer_free(&w);
}

#ifdef HV_DEBUG
static void test_allocations_fail(void **state)
{
	struct thing t = { .name = "x" };
	struct migrate_error e;
	struct rec_writer w;
	unsigned int n;
	int err;

	for (n = 1;; n++) {
		memset(&e, 0, sizeof(e));
		rec_writer_init(&w);
		hv_fault_arm(HV_FAULT_THREAD, n);
		err = rec_save(&table, &t, &w, &e);
		if (!err)
			err = rec_load(&table, &t, w.data, w.len, &e);
		rec_writer_free(&w);
		if (!hv_fault_disarm())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_string_not_equal(e.text, "");
	}
	assert_int_equal(err, 0);
	assert_true(n > 2);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c_vectors),
		cmocka_unit_test(test_crc32c_table_is_the_same),
		cmocka_unit_test(test_crc32c_lanes),
		cmocka_unit_test(test_xxh64_vectors),
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_truncated_everywhere),
		cmocka_unit_test(test_every_bit_matters),
		cmocka_unit_test(test_unknown_twice_missing),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_payload_length),
		cmocka_unit_test(test_refused_by_its_owner),
		cmocka_unit_test(test_optional),
		cmocka_unit_test(test_too_big),
#ifdef HV_DEBUG
		cmocka_unit_test(test_allocations_fail),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
