/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dirtylog.*: run in the worker, on the engine thread.
 */
#include "daemon/methods_vm.h"

#include "daemon/guest.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANGES_MAX	65536		/* ranges of one dirtylog.read: below the line limit */
#define RANGES_STEP	1024

static const struct schema gpa_schema = { .kind = SCHEMA_U64, .max = GPA_MAX };

static const struct schema_field cursor_fields[] = {
	SCHEMA_RESULT("cursor", &schema_u64, SCHEMA_REQUIRED, "For dirtylog.read."),
	{ 0 }
};
static const struct schema cursor_result = { .kind = SCHEMA_OBJECT, .fields = cursor_fields };

static void log_start_run(struct engine_call *op)
{
	uint64_t cursor = 0;
	int ret = hv_dirtylog_start(hv_machine_vm(op->machine), &cursor);

	if (ret)
		engine_fail_errno(op, ret, "cannot start the dirty log");
	else
		op->result = json_pack("{s:o}", "cursor", json_u64(cursor));
}

static void method_log_start(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, log_start_run, NULL);
}

static void log_fail(struct engine_call *op, int ret)
{
	if (ret == -ESTALE)
		engine_fail(op, API_E_CURSOR_EXPIRED, "the cursor is too old to honour");
	else if (ret == -EINVAL)
		engine_fail(op, API_E_DIRTYLOG_OFF, "the log is not started, or never gave this cursor");
	else
		engine_fail_errno(op, ret, "the dirty log failed");
	if (ret == -ESTALE)
		api_error_field(&op->err, "/since");
}

static void log_stop_run(struct engine_call *op)
{
	int ret = hv_dirtylog_stop(hv_machine_vm(op->machine));

	if (ret)
		log_fail(op, ret);
}

static void method_log_stop(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, log_stop_run, NULL);
}

struct log_read_args {
	const char *domain;
	uint64_t since, resume;
	int64_t max_ranges;
	int format;
};
static const char *const format_names[] = { "ranges", "bitmap", NULL };
enum log_format { FORMAT_RANGES, FORMAT_BITMAP };
static const struct schema format_schema = { .kind = SCHEMA_ENUM, .values = format_names };
static const struct schema max_ranges_schema = { .kind = SCHEMA_INT, .min = 1, .max = RANGES_MAX };
static const struct schema_field log_read_fields[] = {
	FIELD_DOMAIN(struct log_read_args),
	SCHEMA_FIELD(struct log_read_args, since, &schema_u64, 0,
		     "A cursor of dirtylog.start or .read; 0: every page.", .dflt = "0"),
	SCHEMA_FIELD(struct log_read_args, resume, &schema_u64, 0,
		     "Go on where an answer with `resume` ended; `since` stays the same.",
		     .dflt = "0"),
	SCHEMA_FIELD(struct log_read_args, max_ranges, &max_ranges_schema, 0,
		     "More of them come with the next call.", .dflt = "65536"),
	SCHEMA_FIELD(struct log_read_args, format, &format_schema, 0,
		     "bitmap: a descriptor with a bit per page from address 0 on.", .dflt = "ranges"),
	{ 0 }
};
static const struct schema log_read_params = { .kind = SCHEMA_OBJECT, .fields = log_read_fields };
static const struct schema range_schema = { .kind = SCHEMA_ARRAY, .item = &schema_u64, .min = 2,
					    .max = 2, .doc = "[gpa, pages]" };
static const struct schema ranges_schema = { .kind = SCHEMA_ARRAY, .item = &range_schema };
static const struct schema_field log_read_result_fields[] = {
	SCHEMA_RESULT("cursor", &schema_u64, SCHEMA_REQUIRED, "What to read from next time."),
	SCHEMA_RESULT("ranges", &ranges_schema, 0, "Written pages, in address order."),
	SCHEMA_RESULT("resume", &schema_u64, 0, "There is more: call again with it."),
	SCHEMA_RESULT("pages", &schema_count, SCHEMA_REQUIRED, "How many this answer names."),
	SCHEMA_RESULT("bitmap_bytes", &schema_count, 0, "Size of the passed bitmap."),
	{ 0 }
};
static const struct schema log_read_result = { .kind = SCHEMA_OBJECT,
					       .fields = log_read_result_fields };

struct log_reading {
	uint64_t cursor, resume;
	uint64_t pages;
	struct hv_dirty_range range[RANGES_STEP];
};

/* The next step: how many ranges came, 0 at the end, or -errno. */
static int log_step(struct engine_call *op, struct log_reading *r, unsigned int max)
{
	const struct log_read_args *args = op->args;
	int n;

	if (r->resume == HV_DIRTYLOG_DONE)
		return 0;
	n = hv_dirtylog_read(hv_machine_vm(op->machine), args->since, &r->cursor, &r->resume, r->range,
			     max < RANGES_STEP ? max : RANGES_STEP);
	if (n < 0)
		log_fail(op, n);
	return n;
}

static void log_read_ranges(struct engine_call *op, struct log_reading *r)
{
	const struct log_read_args *args = op->args;
	json_t *ranges = json_array();
	unsigned int left = args->max_ranges;
	int i, n = 0;

	while (left > 0 && r->resume != HV_DIRTYLOG_DONE && (n = log_step(op, r, left)) >= 0) {
		for (i = 0; i < n; i++) {
			json_array_append_new(ranges, json_pack("[o,o]", json_u64(r->range[i].gpa),
								json_u64(r->range[i].pages)));
			r->pages += r->range[i].pages;
		}
		left -= n;
	}
	if (op->failed) {
		json_decref(ranges);
		return;
	}
	op->result = json_pack("{s:o,s:o,s:I}", "cursor", json_u64(r->cursor), "ranges", ranges,
			       "pages", (json_int_t)r->pages);
	if (r->resume != HV_DIRTYLOG_DONE)
		json_object_set_new(op->result, "resume", json_u64(r->resume));
}

/* A page's bit must have its place in the file before it is set. */
static int bitmap_set(int fd, uint64_t gpa, uint64_t pages, uint64_t *bytes)
{
	uint64_t first = gpa / PAGE_BYTES, end = first + pages;
	uint64_t from = first / 8, to = (end + 7) / 8;
	unsigned char chunk[512];
	uint64_t i;

	while (from < to) {
		uint64_t n = to - from < sizeof(chunk) ? to - from : sizeof(chunk);
		ssize_t had = pread(fd, chunk, n, from);

		if (had < 0)
			return -errno;
		memset(chunk + had, 0, n - had);
		for (i = 0; i < n * 8; i++)
			if (from * 8 + i >= first && from * 8 + i < end)
				chunk[i / 8] |= 1u << i % 8;
		if (pwrite(fd, chunk, n, from) != (ssize_t)n)
			return errno ? -errno : -EIO;
		from += n;
	}
	if (to > *bytes)
		*bytes = to;
	return 0;
}

static void log_read_bitmap(struct engine_call *op, struct log_reading *r)
{
	uint64_t bytes = 0;
	int i, n, ret = 0;

	op->fd = memfd_create("hvd-dirty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (op->fd < 0) {
		engine_fail_errno(op, -errno, "no bitmap");
		return;
	}
	while (!ret && r->resume != HV_DIRTYLOG_DONE && (n = log_step(op, r, RANGES_STEP)) >= 0) {
		for (i = 0; i < n && !ret; i++) {
			ret = bitmap_set(op->fd, r->range[i].gpa, r->range[i].pages, &bytes);
			r->pages += r->range[i].pages;
		}
	}
	if (op->failed)
		return;
	/* Readers may compare 64-bit words. */
	bytes = (bytes + 7) & ~UINT64_C(7);
	if (!ret && ftruncate(op->fd, bytes))
		ret = -errno;
	if (ret)
		engine_fail_errno(op, ret, "no bitmap");
	else
		op->result = json_pack("{s:o,s:I,s:I}", "cursor", json_u64(r->cursor), "pages",
				       (json_int_t)r->pages, "bitmap_bytes", (json_int_t)bytes);
}

static void log_read_run(struct engine_call *op)
{
	const struct log_read_args *args = op->args;
	struct log_reading *r = calloc(1, sizeof(*r));

	if (!r) {
		engine_fail_errno(op, -ENOMEM, "the dirty log");
		return;
	}
	r->resume = args->resume;
	if (args->format == FORMAT_BITMAP)
		log_read_bitmap(op, r);
	else
		log_read_ranges(op, r);
	free(r);
}

static void method_log_read(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, log_read_run, NULL);
}

struct log_clear_args {
	const char *domain;
	uint64_t gpa;
	int64_t pages;
};
static const struct schema pages_schema = { .kind = SCHEMA_INT, .min = 1, .max = GPA_MAX / 4096 };
static const struct schema_field log_clear_fields[] = {
	FIELD_DOMAIN(struct log_clear_args),
	SCHEMA_FIELD(struct log_clear_args, gpa, &gpa_schema, SCHEMA_REQUIRED,
		     "Guest-physical address, a multiple of 4096."),
	SCHEMA_FIELD(struct log_clear_args, pages, &pages_schema, SCHEMA_REQUIRED, "4 KiB pages."),
	{ 0 }
};
static const struct schema log_clear_params = { .kind = SCHEMA_OBJECT, .fields = log_clear_fields };

static void log_clear_run(struct engine_call *op)
{
	const struct log_clear_args *args = op->args;
	int ret;

	if (args->gpa % PAGE_BYTES) {
		engine_fail(op, API_E_MEMSLOT_UNALIGNED, "gpa must be a multiple of 4096");
		api_error_field(&op->err, "/gpa");
		return;
	}
	ret = hv_dirtylog_clear(hv_machine_vm(op->machine), args->gpa, args->pages);
	if (ret)
		log_fail(op, ret);
}

static void method_log_clear(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, log_clear_run, NULL);
}

const struct api_method methods_vm_dirtylog[] = {
	{
		ROW("dirtylog.start", "Log the pages that the guest writes, for one more reader.",
		    &name_params, &cursor_result, struct name_args, API_RW, method_log_start),
		.errors = ERRORS(),
	},
	{
		ROW("dirtylog.stop", "End one start.", &name_params, NULL, struct name_args, API_RW,
		    method_log_stop),
		.errors = ERRORS(API_E_DIRTYLOG_OFF, API_E_CURSOR_EXPIRED),
	},
	{
		.name = "dirtylog.read",
		.summary = "The pages written since a cursor; takes nothing from other readers.",
		.params = &log_read_params,
		.result = &log_read_result,
		.args_size = sizeof(struct log_read_args),
		.privilege = API_RW,
		.flags = API_FORWARD | API_GIVES_FDS,
		.handler = method_log_read,
		.errors = ERRORS(API_E_DIRTYLOG_OFF, API_E_CURSOR_EXPIRED),
	},
	{
		ROW("dirtylog.clear", "Arm the logging of a range again now.", &log_clear_params, NULL,
		    struct log_clear_args, API_RW, method_log_clear),
		.errors = ERRORS(API_E_DIRTYLOG_OFF, API_E_CURSOR_EXPIRED, API_E_MEMSLOT_UNALIGNED),
	},
	{ 0 },
};
