/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/assert.h"
#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/migrate/checksum.h"

#define REC_MAGIC 0x43525648U /* "HVRC" */

#define OFF_VERSION  4
#define OFF_ZERO     6
#define OFF_INSTANCE 8
#define OFF_LENGTH   12
#define OFF_NAME     16
#define OFF_PAYLOAD_CRC 40
#define OFF_HEADER_CRC	44

/* ---- errors ------------------------------------------------------------------------- */

int migrate_fail(struct migrate_error *e, int err, const char *fmt, ...)
{
	va_list ap;

	if (!e || e->text[0])
		return err;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return err;
}

int rec_fail(struct rec_reader *r, int err, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return migrate_fail(r->error, err, "record \"%s\" %u at offset %zu: %s", r->name,
			    r->instance, r->offset, what);
}

/* ---- writing ---------------------------------------------------------------------------- */

void rec_writer_init(struct rec_writer *w)
{
	memset(w, 0, sizeof(*w));
}

void rec_writer_free(struct rec_writer *w)
{
	hv_free(w->data);
	memset(w, 0, sizeof(*w));
}

static bool reserve(struct rec_writer *w, size_t more)
{
	size_t cap = w->cap ? w->cap : 4096;
	uint8_t *data;

	if (w->err)
		return false;
	if (more > REC_IMAGE_MAX - w->len) {
		w->err = -E2BIG;
		return false;
	}
	while (cap < w->len + more)
		cap *= 2;
	if (cap == w->cap)
		return true;
	data = hv_realloc_array(w->data, cap, 1);
	if (!data) {
		w->err = -ENOMEM;
		return false;
	}
	w->data = data;
	w->cap = cap;
	return true;
}

void rec_put(struct rec_writer *w, const void *data, size_t len)
{
	if (!len || !reserve(w, len))
		return;
	memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void store_le(uint8_t *p, uint64_t v, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t load_le(const uint8_t *p, unsigned int bytes)
{
	uint64_t v = 0;
	unsigned int i;

	for (i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static void put_le(struct rec_writer *w, uint64_t v, unsigned int bytes)
{
	uint8_t b[8];

	store_le(b, v, bytes);
	rec_put(w, b, bytes);
}

void rec_put_u8(struct rec_writer *w, uint8_t v)
{
	put_le(w, v, 1);
}

void rec_put_u16(struct rec_writer *w, uint16_t v)
{
	put_le(w, v, 2);
}

void rec_put_u32(struct rec_writer *w, uint32_t v)
{
	put_le(w, v, 4);
}

void rec_put_u64(struct rec_writer *w, uint64_t v)
{
	put_le(w, v, 8);
}

void rec_put_string(struct rec_writer *w, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	if (len > UINT16_MAX) {
		if (!w->err)
			w->err = -E2BIG;
		return;
	}
	rec_put_u16(w, (uint16_t)len);
	rec_put(w, s, len);
}

void rec_begin(struct rec_writer *w, const char *name, uint16_t version, uint32_t instance)
{
	uint8_t h[REC_HEADER_SIZE] = { 0 };

	HV_BUG_ON(strlen(name) >= REC_NAME_SIZE || !name[0]);
	store_le(h, REC_MAGIC, 4);
	store_le(h + OFF_VERSION, version, 2);
	store_le(h + OFF_INSTANCE, instance, 4);
	memcpy(h + OFF_NAME, name, strlen(name));
	w->start = w->len;
	rec_put(w, h, sizeof(h));
}

void rec_end(struct rec_writer *w)
{
	uint8_t *h;
	size_t len;

	if (w->err)
		return;
	h = w->data + w->start;
	len = w->len - w->start - REC_HEADER_SIZE;
	if (len > REC_PAYLOAD_MAX) {
		w->err = -E2BIG;
		return;
	}
	store_le(h + OFF_LENGTH, len, 4);
	store_le(h + OFF_PAYLOAD_CRC, checksum_crc32c(0, h + REC_HEADER_SIZE, len), 4);
	store_le(h + OFF_HEADER_CRC, checksum_crc32c(0, h, OFF_HEADER_CRC), 4);
}

/* ---- reading -------------------------------------------------------------------------------- */

size_t rec_left(const struct rec_reader *r)
{
	return r->len - r->at;
}

void rec_get(struct rec_reader *r, void *to, size_t len)
{
	if (len > rec_left(r)) {
		memset(to, 0, len);
		r->at = r->len;
		r->short_read = true;
		return;
	}
	memcpy(to, r->data + r->at, len);
	r->at += len;
}

static uint64_t get_le(struct rec_reader *r, unsigned int bytes)
{
	uint8_t b[8];

	rec_get(r, b, bytes);
	return load_le(b, bytes);
}

uint8_t rec_get_u8(struct rec_reader *r)
{
	return (uint8_t)get_le(r, 1);
}

uint16_t rec_get_u16(struct rec_reader *r)
{
	return (uint16_t)get_le(r, 2);
}

uint32_t rec_get_u32(struct rec_reader *r)
{
	return (uint32_t)get_le(r, 4);
}

uint64_t rec_get_u64(struct rec_reader *r)
{
	return get_le(r, 8);
}

void rec_get_string(struct rec_reader *r, char *out, size_t size)
{
	size_t len = rec_get_u16(r);

	out[0] = '\0';
	if (len >= size || len > rec_left(r)) {
		r->short_read = true;
		return;
	}
	rec_get(r, out, len);
	out[len] = '\0';
}

/* ---- one record of an image -------------------------------------------------------------------- */

/* A header as it was found. */
struct rec_header {
	char name[REC_NAME_SIZE];
	uint16_t version;
	uint32_t instance, length, payload_crc;
};

static bool name_is_clean(const uint8_t *name)
{
	size_t i, len = strnlen((const char *)name, REC_NAME_SIZE);

	if (!len || len == REC_NAME_SIZE)
		return false;
	for (i = 0; i < REC_NAME_SIZE; i++) {
		if (i < len ? name[i] <= ' ' || name[i] > '~' || name[i] == '"' : name[i] != 0)
			return false;
	}
	return true;
}

static int header_parse(const uint8_t *image, size_t len, size_t at, struct rec_header *h,
			struct migrate_error *error)
{
	const uint8_t *p = image + at;

	if (len - at < REC_HEADER_SIZE)
		return migrate_fail(error, -EBADMSG,
				    "offset %zu: the image ends within a record's header", at);
	if (load_le(p, 4) != REC_MAGIC)
		return migrate_fail(error, -EBADMSG, "offset %zu: no record begins here", at);
	if (load_le(p + OFF_HEADER_CRC, 4) != checksum_crc32c(0, p, OFF_HEADER_CRC))
		return migrate_fail(error, -EBADMSG,
				    "offset %zu: the record's header is damaged (checksum)", at);
	if (!name_is_clean(p + OFF_NAME) || load_le(p + OFF_ZERO, 2))
		return migrate_fail(error, -EBADMSG, "offset %zu: the record's header is malformed",
				    at);
	memcpy(h->name, p + OFF_NAME, REC_NAME_SIZE);
	h->version = (uint16_t)load_le(p + OFF_VERSION, 2);
	h->instance = (uint32_t)load_le(p + OFF_INSTANCE, 4);
	h->length = (uint32_t)load_le(p + OFF_LENGTH, 4);
	h->payload_crc = (uint32_t)load_le(p + OFF_PAYLOAD_CRC, 4);
	return 0;
}

/* The record at *at into r; *at moves past it. */
static int record_next(const uint8_t *image, size_t len, size_t *at, struct rec_header *h,
		       struct rec_reader *r)
{
	int err = header_parse(image, len, *at, h, r->error);

	if (err)
		return err;
	*r = (struct rec_reader){
		.data = image + *at + REC_HEADER_SIZE,
		.len = h->length,
		.version = h->version,
		.name = h->name,
		.instance = h->instance,
		.offset = *at,
		.error = r->error,
	};
	if (h->length > REC_PAYLOAD_MAX)
		return rec_fail(r, -EBADMSG, "longer (%u bytes) than any may be", h->length);
	if (h->length > len - *at - REC_HEADER_SIZE)
		return rec_fail(r, -EBADMSG, "truncated: %u bytes announced, %zu there", h->length,
				len - *at - REC_HEADER_SIZE);
	if (checksum_crc32c(0, r->data, r->len) != h->payload_crc)
		return rec_fail(r, -EBADMSG, "damaged (checksum)");
	*at += REC_HEADER_SIZE + h->length;
	return 0;
}

static int check_first(struct rec_reader *r)
{
	uint32_t format;

	if (strcmp(r->name, "hvd-state") || r->instance)
		return rec_fail(r, -EBADMSG, "the image does not begin with \"hvd-state\"");
	if (r->version != 1)
		return rec_fail(r, -EPROTO, "version %u, and this build understands 1", r->version);
	format = rec_get_u32(r);
	if (r->short_read || rec_left(r))
		return rec_fail(r, -EBADMSG, "of a wrong length");
	if (format != REC_FORMAT)
		return rec_fail(r, -EPROTO, "format %u, and this build understands %u", format,
				REC_FORMAT);
	return 0;
}

static int check_last(struct rec_reader *r, uint32_t count, size_t left)
{
	uint32_t announced = rec_get_u32(r);

	if (r->short_read || rec_left(r) || r->version != 1 || r->instance)
		return rec_fail(r, -EBADMSG, "malformed");
	if (announced != count)
		return rec_fail(r, -EBADMSG, "%u records announced, %u there", announced, count);
	if (left)
		return rec_fail(r, -EBADMSG, "%zu bytes follow it", left);
	return 0;
}

int rec_for_each(const void *image, size_t len, int (*fn)(void *ctx, struct rec_reader *r),
		 void *ctx, struct migrate_error *error)
{
	struct rec_reader r = { .error = error };
	struct rec_header h;
	uint32_t count = 0;
	size_t at = 0;
	int err;

	if (len > REC_IMAGE_MAX)
		return migrate_fail(error, -EBADMSG, "an image of %zu bytes is longer than any may be",
				    len);
	err = record_next(image, len, &at, &h, &r);
	if (!err)
		err = check_first(&r);
	while (!err) {
		err = record_next(image, len, &at, &h, &r);
		if (err)
			break;
		if (!strcmp(h.name, "end"))
			return check_last(&r, count, len - at);
		count++;
		err = fn(ctx, &r);
	}
	return err;
}

/* ---- the table --------------------------------------------------------------------------------------- */

static unsigned int row_instances(const struct rec_row *row)
{
	return row->instances ? row->instances : 1;
}

int rec_save(const struct rec_table *table, void *ctx, struct rec_writer *w,
	     struct migrate_error *error)
{
	uint32_t count = 0;
	unsigned int i, n;
	int err;

	rec_begin(w, "hvd-state", 1, 0);
	rec_put_u32(w, REC_FORMAT);
	rec_end(w);
	for (i = 0; i < table->count; i++) {
		const struct rec_row *row = &table->rows[i];

		for (n = 0; n < row_instances(row); n++) {
			rec_begin(w, row->name, row->version, n);
			err = row->save(ctx, row, n, w);
			if (err)
				return migrate_fail(error, err, "%s %u: cannot be saved: %s",
						    row->name, n, strerror(-err));
			rec_end(w);
			count++;
		}
	}
	rec_begin(w, "end", 1, 0);
	rec_put_u32(w, count);
	rec_end(w);
	return w->err ? migrate_fail(error, w->err, "state records: %s", strerror(-w->err)) : 0;
}

/* Where each row's records are: a payload per instance, offset 0 where there is none. */
struct index {
	const struct rec_table *table;
	struct index_entry {
		const uint8_t *data;
		uint32_t len;
		uint16_t version;
		size_t offset; /* of the header; never 0, since "hvd-state" is there */
	} (*entries)[REC_INSTANCES_MAX];
};

static const struct rec_row *row_find(const struct rec_table *table, const char *name,
				      unsigned int *index)
{
	for (*index = 0; *index < table->count; ++*index) {
		if (!strcmp(table->rows[*index].name, name))
			return &table->rows[*index];
	}
	return NULL;
}

static int index_add(void *ctx, struct rec_reader *r)
{
	struct index *ix = ctx;
	const struct rec_row *row;
	struct index_entry *e;
	unsigned int i;

	row = row_find(ix->table, r->name, &i);
	if (!row)
		return rec_fail(r, -EPROTO, "unknown to this machine (version %u)", r->version);
	if (r->version > row->version || r->version < (row->oldest ? row->oldest : row->version))
		return rec_fail(r, -EPROTO, "version %u, and this build understands %u to %u",
				r->version, row->oldest ? row->oldest : row->version, row->version);
	if (r->instance >= row_instances(row))
		return rec_fail(r, -EPROTO, "this machine has only %u of them", row_instances(row));
	e = &ix->entries[i][r->instance];
	if (e->offset)
		return rec_fail(r, -EBADMSG, "there twice, first at offset %zu", e->offset);
	*e = (struct index_entry){ r->data, (uint32_t)r->len, r->version, r->offset };
	return 0;
}

static int index_complete(const struct index *ix, struct migrate_error *error)
{
	unsigned int i, n;

	for (i = 0; i < ix->table->count; i++) {
		const struct rec_row *row = &ix->table->rows[i];

		for (n = 0; row->need == REC_REQUIRED && n < row_instances(row); n++) {
			if (!ix->entries[i][n].offset)
				return migrate_fail(error, -EPROTO, "record \"%s\" %u: missing",
						    row->name, n);
		}
	}
	return 0;
}

static int load_one(const struct rec_row *row, void *ctx, unsigned int n,
		    const struct index_entry *e, struct migrate_error *error)
{
	struct rec_reader r = {
		.data = e->data,
		.len = e->len,
		.version = e->version,
		.name = row->name,
		.instance = n,
		.offset = e->offset,
		.error = error,
	};
	int err = row->load(ctx, row, n, &r);

	if (r.short_read)
		return rec_fail(&r, -EBADMSG, "too short (%u bytes)", e->len);
	if (!err && rec_left(&r))
		return rec_fail(&r, -EBADMSG, "%zu bytes too long", rec_left(&r));
	return err ? rec_fail(&r, err, "refused: %s", strerror(-err)) : 0;
}

int rec_load(const struct rec_table *table, void *ctx, const void *image, size_t len,
	     struct migrate_error *error)
{
	struct index ix = { .table = table };
	unsigned int i, n;
	int err;

	HV_BUG_ON(table->count > REC_ROWS_MAX);
	ix.entries = hv_calloc(table->count ? table->count : 1, sizeof(*ix.entries));
	if (!ix.entries)
		return migrate_fail(error, -ENOMEM, "state records: out of memory");
	err = rec_for_each(image, len, index_add, &ix, error);
	if (!err)
		err = index_complete(&ix, error);
	for (i = 0; i < table->count && !err; i++) {
		for (n = 0; n < row_instances(&table->rows[i]) && !err; n++) {
			if (ix.entries[i][n].offset)
				err = load_one(&table->rows[i], ctx, n, &ix.entries[i][n], error);
		}
	}
	hv_free(ix.entries);
	return err;
}
