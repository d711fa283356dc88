/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * State records: what a guest is, but for its memory, in a form that outlives
 * the build that wrote it.
 *
 * An image is a sequence of records. The first is "hvd-state", the last "end",
 * which counts the records between; order matters for no other. All integers
 * are little-endian, whatever wrote them.
 *
 *	offset	size
 *	0	4	magic "HVRC"
 *	4	2	version of the payload
 *	6	2	0
 *	8	4	instance: which vCPU, which of several equal devices
 *	12	4	length of the payload in bytes, at most REC_PAYLOAD_MAX
 *	16	24	name, padded with zeros, at least one of them
 *	40	4	CRC32C of the payload
 *	44	4	CRC32C of the header's first 44 bytes
 *	48	...	payload
 *
 * Who takes part is a table of rows, loaded in the table's order:
 *
 *	static const struct rec_row rows[] = {
 *		{ .name = "thing", .version = 1, .save = thing_save, .load = thing_load },
 *	};
 *
 * rec_load() looks at every record before it loads the first one: a record that
 * is truncated, damaged, unknown, of another version, there twice or missing is
 * found while nothing has changed yet, and the error names it with its offset.
 */
#ifndef HV_MIGRATE_RECORD_H
#define HV_MIGRATE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REC_NAME_SIZE	  24
#define REC_HEADER_SIZE	  48
#define REC_PAYLOAD_MAX	  (1U << 20)
#define REC_IMAGE_MAX	  (16U << 20)
#define REC_INSTANCES_MAX 64U
#define REC_ROWS_MAX	  128U
#define REC_FORMAT	  1U /* of the image, in "hvd-state" */

/* ---- errors for people ---------------------------------------------------------------- */

#define MIGRATE_ERROR_SIZE 256

/* The first that is set stays. Zero at first. */
struct migrate_error {
	char text[MIGRATE_ERROR_SIZE];
};

/* Returns err. e may be NULL. */
int migrate_fail(struct migrate_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- writing ------------------------------------------------------------------------------ */

/* A growing buffer. After -ENOMEM every call does nothing; ask err at the end. */
struct rec_writer {
	uint8_t *data; /* owned */
	size_t len, cap;
	size_t start; /* of the record that is open */
	int err;      /* 0, -ENOMEM, -E2BIG */
};

void rec_writer_init(struct rec_writer *w);
void rec_writer_free(struct rec_writer *w);
void rec_put(struct rec_writer *w, const void *data, size_t len);
void rec_put_u8(struct rec_writer *w, uint8_t v);
void rec_put_u16(struct rec_writer *w, uint16_t v);
void rec_put_u32(struct rec_writer *w, uint32_t v);
void rec_put_u64(struct rec_writer *w, uint64_t v);
/* The length in 16 bits, and the bytes. NULL counts as "". */
void rec_put_string(struct rec_writer *w, const char *s);
void rec_begin(struct rec_writer *w, const char *name, uint16_t version, uint32_t instance);
void rec_end(struct rec_writer *w);

/* ---- reading ---------------------------------------------------------------------------------- */

/* A payload. What lies beyond its end reads as 0 and sets `short_read`. */
struct rec_reader {
	const uint8_t *data;
	size_t len, at;
	bool short_read;
	uint16_t version;
	const char *name;
	uint32_t instance;
	size_t offset; /* of the record within the image */
	struct migrate_error *error;
};

void rec_get(struct rec_reader *r, void *to, size_t len);
uint8_t rec_get_u8(struct rec_reader *r);
uint16_t rec_get_u16(struct rec_reader *r);
uint32_t rec_get_u32(struct rec_reader *r);
uint64_t rec_get_u64(struct rec_reader *r);
/* Into out, which ends with a zero; longer ones set short_read. */
void rec_get_string(struct rec_reader *r, char *out, size_t size);
size_t rec_left(const struct rec_reader *r);
/* For load functions: set the error, with the record's name and offset in front. Returns err. */
int rec_fail(struct rec_reader *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- the table ------------------------------------------------------------------------------------ */

enum rec_need {
	REC_REQUIRED,
	REC_OPTIONAL, /* an image of an older build may lack it */
};

struct rec_row {
	const char *name;	  /* 1 to 23 bytes, printable */
	uint16_t version, oldest; /* oldest 0: only `version` is understood */
	enum rec_need need;
	unsigned int instances;	  /* at most REC_INSTANCES_MAX; 0 counts as 1 */
	void *arg;
	/* 0 or -errno. r->version tells what was written. */
	int (*save)(void *ctx, const struct rec_row *row, unsigned int instance,
		    struct rec_writer *w);
	int (*load)(void *ctx, const struct rec_row *row, unsigned int instance,
		    struct rec_reader *r);
};

struct rec_table {
	const struct rec_row *rows;
	unsigned int count; /* at most REC_ROWS_MAX */
};

/* Append an image to w. */
int rec_save(const struct rec_table *table, void *ctx, struct rec_writer *w,
	     struct migrate_error *error);
/*
 * -EBADMSG: the image is damaged, -EPROTO: it is whole and not for us, -ENOMEM; in
 * these cases nothing was loaded. Or what a row's load failed with: then rows
 * before it have been loaded.
 */
int rec_load(const struct rec_table *table, void *ctx, const void *image, size_t len,
	     struct migrate_error *error);

/* Walk an image without a table: fn for each record but the first and last. As rec_load. */
int rec_for_each(const void *image, size_t len,
		 int (*fn)(void *ctx, struct rec_reader *r), void *ctx,
		 struct migrate_error *error);

#endif
