/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memslot.*, memory.*, dirtylog.*: run in the worker, on the engine thread.
 */
#include "daemon/methods.h"

#include "daemon/base64.h"
#include "daemon/guest.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES	4096
#define SLOTS_MAX	65536
#define COPY_MAX	(2 << 20)	/* bytes of one memory.read or memory.write */
#define RANGES_MAX	65536		/* ranges of one dirtylog.read: below the line limit */
#define RANGES_STEP	1024
#define GPA_MAX		(INT64_C(1) << 52)

#define ERRORS(...) \
	API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE, API_E_PEER_LOST, \
		   API_E_UNSUPPORTED, ##__VA_ARGS__)

static const struct schema gpa_schema = { .kind = SCHEMA_U64, .max = GPA_MAX };
static const struct schema slot_id_schema = { .kind = SCHEMA_INT, .min = 0, .max = 65535 };

struct name_args {
	const char *domain;
};
static const struct schema_field name_fields[] = { FIELD_DOMAIN(struct name_args), { 0 } };
static const struct schema name_params = { .kind = SCHEMA_OBJECT, .fields = name_fields };

/* ---- memslots -------------------------------------------------------------------------- */

static const char *const backing_names[] = { "memfd", "anonymous", NULL };
static const struct schema backing_schema = { .kind = SCHEMA_ENUM, .values = backing_names };
static const struct schema_field slot_fields[] = {
	SCHEMA_RESULT("id", &slot_id_schema, SCHEMA_REQUIRED, "Slot number."),
	SCHEMA_RESULT("as_id", &slot_id_schema, SCHEMA_REQUIRED, "Address space."),
	SCHEMA_RESULT("gpa", &gpa_schema, SCHEMA_REQUIRED, "Guest-physical address."),
	SCHEMA_RESULT("size", &schema_count, SCHEMA_REQUIRED, "Bytes."),
	SCHEMA_RESULT("flags", &schema_strings, SCHEMA_REQUIRED, "readonly, log_dirty."),
	SCHEMA_RESULT("backing", &backing_schema, SCHEMA_REQUIRED, "What the host has there."),
	{ 0 }
};
static const struct schema slot_schema = { .kind = SCHEMA_OBJECT, .title = "Memslot",
					   .fields = slot_fields };
static const struct schema slots_schema = { .kind = SCHEMA_ARRAY, .item = &slot_schema };
static const struct schema_field slot_list_fields[] = {
	SCHEMA_RESULT("generation", &schema_u64, SCHEMA_REQUIRED, "Of the list."),
	SCHEMA_RESULT("memslots", &slots_schema, SCHEMA_REQUIRED, "All address spaces."),
	{ 0 }
};
static const struct schema slot_list_result = { .kind = SCHEMA_OBJECT,
						.fields = slot_list_fields };

/* The slots as of now: malloc'ed; their count, or -errno with the call failed. */
static int slots_read(struct engine_call *op, struct hv_memory_region **out, uint64_t *generation)
{
	struct hv_vm *vm = hv_machine_vm(op->machine);
	struct hv_memory_region *regions = NULL;
	unsigned int max = 64;
	int n;

	for (;;) {
		free(regions);
		regions = calloc(max, sizeof(*regions));
		n = regions ? hv_vm_list_memory_regions(vm, regions, max, generation) : -ENOMEM;
		if (n <= (int)max || max >= SLOTS_MAX)
			break;
		max = SLOTS_MAX;
	}
	if (n < 0) {
		free(regions);
		engine_fail_errno(op, n, "cannot list the memslots");
		return n;
	}
	*out = regions;
	return n;
}

static json_t *slot_json(struct hv_vm *vm, const struct hv_memory_region *r)
{
	json_t *flags = json_array();
	bool memfd = hv_vm_ram_fd(vm, (void *)(uintptr_t)r->userspace_addr) >= 0;

	if (r->flags & HV_MEMREGION_READONLY)
		json_array_append_new(flags, json_string("readonly"));
	if (r->flags & HV_MEMREGION_LOG_DIRTY)
		json_array_append_new(flags, json_string("log_dirty"));
	return json_pack("{s:i,s:i,s:o,s:I,s:o,s:s}", "id", (int)(r->slot & 0xffff), "as_id",
			 (int)(r->slot >> 16), "gpa", json_u64(r->guest_phys_addr), "size",
			 (json_int_t)r->memory_size, "flags", flags, "backing",
			 backing_names[memfd ? 0 : 1]);
}

static void slot_list_run(struct engine_call *op)
{
	struct hv_memory_region *regions;
	json_t *list = json_array();
	uint64_t generation;
	int i, n;

	n = slots_read(op, &regions, &generation);
	if (n < 0) {
		json_decref(list);
		return;
	}
	for (i = 0; i < n; i++)
		json_array_append_new(list, slot_json(hv_machine_vm(op->machine), &regions[i]));
	free(regions);
	op->result = json_pack("{s:o,s:o}", "generation", json_u64(generation), "memslots", list);
}

static void method_slot_list(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, slot_list_run, NULL);
}

struct slot_set_args {
	const char *domain;
	int64_t id, as_id;
	uint64_t gpa, size;
	bool readonly, log_dirty;
};
static const struct schema_field slot_set_fields[] = {
	FIELD_DOMAIN(struct slot_set_args),
	SCHEMA_FIELD(struct slot_set_args, id, &slot_id_schema, SCHEMA_REQUIRED, "Slot number."),
	SCHEMA_FIELD(struct slot_set_args, as_id, &slot_id_schema, 0, "Address space.", .dflt = "0"),
	SCHEMA_FIELD(struct slot_set_args, gpa, &gpa_schema, SCHEMA_REQUIRED,
		     "Guest-physical address, a multiple of 4096."),
	SCHEMA_FIELD(struct slot_set_args, size, &schema_size, SCHEMA_REQUIRED,
		     "Bytes, a multiple of 4096. An existing slot keeps its size."),
	SCHEMA_FIELD(struct slot_set_args, readonly, &schema_bool, 0, "Guest writes become MMIO.",
		     .dflt = "false"),
	SCHEMA_FIELD(struct slot_set_args, log_dirty, &schema_bool, 0, "Log written pages.",
		     .dflt = "false"),
	{ 0 }
};
static const struct schema slot_set_params = { .kind = SCHEMA_OBJECT, .fields = slot_set_fields };

struct slot_delete_args {
	const char *domain;
	int64_t id, as_id;
};
static const struct schema_field slot_delete_fields[] = {
	FIELD_DOMAIN(struct slot_delete_args),
	SCHEMA_FIELD(struct slot_delete_args, id, &slot_id_schema, SCHEMA_REQUIRED, "Slot number."),
	SCHEMA_FIELD(struct slot_delete_args, as_id, &slot_id_schema, 0, "Address space.",
		     .dflt = "0"),
	{ 0 }
};
static const struct schema slot_delete_params = { .kind = SCHEMA_OBJECT,
						  .fields = slot_delete_fields };
static const struct schema_field slot_change_fields[] = {
	SCHEMA_RESULT("generation_before", &schema_u64, SCHEMA_REQUIRED, "Of the memslots."),
	SCHEMA_RESULT("generation_after", &schema_u64, SCHEMA_REQUIRED, "Of the memslots."),
	{ 0 }
};
static const struct schema slot_change_result = { .kind = SCHEMA_OBJECT,
						  .fields = slot_change_fields };

static bool overlaps(const struct hv_memory_region *r, const struct hv_memory_region *n)
{
	return r->slot >> 16 == n->slot >> 16 && r->slot != n->slot &&
	       r->guest_phys_addr < n->guest_phys_addr + n->memory_size &&
	       n->guest_phys_addr < r->guest_phys_addr + r->memory_size;
}

static void slot_apply(struct engine_call *op, struct hv_memory_region *region)
{
	int ret = hv_vm_set_memory_region(hv_machine_vm(op->machine), region);

	if (ret == -EEXIST)
		engine_fail(op, API_E_MEMSLOT_OVERLAP, "the range overlaps another memslot");
	else if (ret)
		engine_fail_errno(op, ret, "the engine refuses the memslot");
	else
		op->result = json_pack("{s:o,s:o}", "generation_before",
				       json_u64(region->generation_before), "generation_after",
				       json_u64(region->generation_after));
}

/*
 * Fill in what an existing slot keeps, and find what excludes the change before
 * anything is made. Returns 1: exists, 0: new, -errno: the call has failed.
 */
static int slot_prepare(struct engine_call *op, struct hv_memory_region *region)
{
	struct hv_memory_region *regions;
	uint64_t generation;
	int i, n, found = 0;

	n = slots_read(op, &regions, &generation);
	for (i = 0; i < n && !op->failed; i++) {
		const struct hv_memory_region *r = &regions[i];

		if (r->slot == region->slot) {
			found = 1;
			region->userspace_addr = r->userspace_addr;
			if (region->memory_size && region->memory_size != r->memory_size)
				engine_fail(op, API_E_UNSUPPORTED,
					    "memslot %u has %llu bytes and keeps them; delete it first",
					    region->slot & 0xffff,
					    (unsigned long long)r->memory_size);
		} else if (region->memory_size && overlaps(r, region)) {
			engine_fail(op, API_E_MEMSLOT_OVERLAP, "the range overlaps memslot %u",
				    r->slot & 0xffff);
		}
	}
	if (n >= 0)
		free(regions);
	return op->failed ? -EINVAL : found;
}

static void slot_set_run(struct engine_call *op)
{
	const struct slot_set_args *args = op->args;
	struct hv_memory_region region = {
		.slot = args->as_id << 16 | args->id,
		.flags = (args->readonly ? HV_MEMREGION_READONLY : 0) |
			 (args->log_dirty ? HV_MEMREGION_LOG_DIRTY : 0),
		.guest_phys_addr = args->gpa,
		.memory_size = args->size,
	};
	struct hv_ram_config ram = { .backing = HV_MEM_MEMFD, .size = args->size, .fd = -1 };
	void *hva;
	int ret;

	if (args->gpa % PAGE_BYTES || args->size % PAGE_BYTES || !args->size) {
		engine_fail(op, API_E_MEMSLOT_UNALIGNED, "gpa and size must be multiples of 4096");
		api_error_field(&op->err, args->gpa % PAGE_BYTES ? "/gpa" : "/size");
		return;
	}
	ret = slot_prepare(op, &region);
	if (ret < 0)
		return;
	if (ret == 0) {
		ret = hv_vm_ram_create(hv_machine_vm(op->machine), &ram, &hva);
		if (ret) {
			engine_fail_errno(op, ret, "no memory for the slot");
			return;
		}
		region.userspace_addr = (uintptr_t)hva;
	}
	slot_apply(op, &region);
}

static void method_slot_set(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, slot_set_run, NULL);
}

static void slot_delete_run(struct engine_call *op)
{
	const struct slot_delete_args *args = op->args;
	struct hv_memory_region region = { .slot = args->as_id << 16 | args->id };
	int ret = slot_prepare(op, &region);

	if (ret == 0)
		engine_fail(op, API_E_MEMSLOT_NOT_FOUND, "there is no memslot %d", (int)args->id);
	else if (ret > 0)
		slot_apply(op, &region);
}

static void method_slot_delete(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, slot_delete_run, NULL);
}

/* ---- memory ------------------------------------------------------------------------------- */

static const struct schema copy_size_schema = { .kind = SCHEMA_SIZE, .min = 1, .max = COPY_MAX };

struct range_args {
	const char *domain;
	uint64_t gpa, size;
};
static const struct schema_field read_fields[] = {
	FIELD_DOMAIN(struct range_args),
	SCHEMA_FIELD(struct range_args, gpa, &gpa_schema, SCHEMA_REQUIRED, "Guest-physical address."),
	SCHEMA_FIELD(struct range_args, size, &copy_size_schema, SCHEMA_REQUIRED, "Bytes."),
	{ 0 }
};
static const struct schema read_params = { .kind = SCHEMA_OBJECT, .fields = read_fields };
static const struct schema_field read_result_fields[] = {
	SCHEMA_RESULT("data", &schema_base64, SCHEMA_REQUIRED, "The bytes."),
	{ 0 }
};
static const struct schema read_result = { .kind = SCHEMA_OBJECT, .fields = read_result_fields };

static void memory_fail(struct engine_call *op, int ret)
{
	if (ret == -EFAULT || ret == -EINVAL || ret == -ENOENT || ret == -ERANGE) {
		engine_fail(op, API_E_MEMORY_RANGE, "the range is not guest memory");
		api_error_field(&op->err, "/gpa");
	} else {
		engine_fail_errno(op, ret, "cannot reach the guest's memory");
	}
}

static void read_run(struct engine_call *op)
{
	const struct range_args *args = op->args;
	void *data = malloc(args->size);
	char *text = NULL;
	int ret;

	ret = data ? hv_memory_read(hv_machine_vm(op->machine), args->gpa, data, args->size) : -ENOMEM;
	if (!ret) {
		text = base64_encode(data, args->size);
		op->result = json_pack("{s:s}", "data", text ? text : "");
	} else {
		memory_fail(op, ret);
	}
	free(text);
	free(data);
}

static void method_read(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, read_run, NULL);
}

struct write_args {
	const char *domain;
	uint64_t gpa;
	const char *data;
};
static const struct schema write_data_schema = { .kind = SCHEMA_STRING, .format = SCHEMA_BASE64,
						 .min = 4, .max = COPY_MAX / 3 * 4 + 4 };
static const struct schema_field write_fields[] = {
	FIELD_DOMAIN(struct write_args),
	SCHEMA_FIELD(struct write_args, gpa, &gpa_schema, SCHEMA_REQUIRED, "Guest-physical address."),
	SCHEMA_FIELD(struct write_args, data, &write_data_schema, SCHEMA_REQUIRED, "The bytes."),
	{ 0 }
};
static const struct schema write_params = { .kind = SCHEMA_OBJECT, .fields = write_fields };

static void write_run(struct engine_call *op)
{
	const struct write_args *args = op->args;
	size_t len = 0;
	void *data = base64_decode(args->data, &len);
	int ret;

	ret = data ? hv_memory_write(hv_machine_vm(op->machine), args->gpa, data, len) : -ENOMEM;
	if (ret)
		memory_fail(op, ret);
	free(data);
}

static void method_write(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, write_run, NULL);
}

static const struct schema_field discard_fields[] = {
	FIELD_DOMAIN(struct range_args),
	SCHEMA_FIELD(struct range_args, gpa, &gpa_schema, SCHEMA_REQUIRED,
		     "Guest-physical address, a multiple of 4096."),
	SCHEMA_FIELD(struct range_args, size, &schema_size, SCHEMA_REQUIRED,
		     "Bytes, a multiple of 4096."),
	{ 0 }
};
static const struct schema discard_params = { .kind = SCHEMA_OBJECT, .fields = discard_fields };

static void discard_run(struct engine_call *op)
{
	const struct range_args *args = op->args;
	int ret;

	if (args->gpa % PAGE_BYTES || args->size % PAGE_BYTES || !args->size) {
		engine_fail(op, API_E_MEMSLOT_UNALIGNED, "gpa and size must be multiples of 4096");
		api_error_field(&op->err, args->gpa % PAGE_BYTES ? "/gpa" : "/size");
		return;
	}
	ret = hv_memory_discard(hv_machine_vm(op->machine), args->gpa, args->size);
	if (ret)
		memory_fail(op, ret);
}

static void method_discard(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, discard_run, NULL);
}

struct working_set_args {
	const char *domain;
	bool clear;
};
static const struct schema_field working_set_fields[] = {
	FIELD_DOMAIN(struct working_set_args),
	SCHEMA_FIELD(struct working_set_args, clear, &schema_bool, 0, "Begin a new interval.",
		     .dflt = "false"),
	{ 0 }
};
static const struct schema working_set_params = { .kind = SCHEMA_OBJECT,
						  .fields = working_set_fields };
static const struct schema counts_schema = { .kind = SCHEMA_ARRAY, .item = &schema_count };
static const struct schema_field working_set_result_fields[] = {
	SCHEMA_RESULT("pages_mapped", &schema_count, SCHEMA_REQUIRED, "In the guest's page tables."),
	SCHEMA_RESULT("pages_accessed", &schema_count, SCHEMA_REQUIRED,
		      "Since the last call with clear."),
	SCHEMA_RESULT("idle", &counts_schema, SCHEMA_REQUIRED,
		      "Pages idle for 0, 1, 2-3, 4-7 ... intervals."),
	{ 0 }
};
static const struct schema working_set_result = { .kind = SCHEMA_OBJECT,
						  .fields = working_set_result_fields };

static void working_set_run(struct engine_call *op)
{
	const struct working_set_args *args = op->args;
	struct hv_working_set set;
	json_t *idle;
	int i, ret;

	ret = hv_memory_working_set(hv_machine_vm(op->machine), args->clear, &set);
	if (ret) {
		engine_fail_errno(op, ret, "cannot read the working set");
		return;
	}
	idle = json_array();
	for (i = 0; i < 8; i++)
		json_array_append_new(idle, json_integer(set.idle[i]));
	op->result = json_pack("{s:I,s:I,s:o}", "pages_mapped", (json_int_t)set.pages_mapped,
			       "pages_accessed", (json_int_t)set.pages_accessed, "idle", idle);
}

static void method_working_set(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, working_set_run, NULL);
}

/* ---- dirty log ------------------------------------------------------------------------------ */

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

#define ROW(name_, summary_, params_, result_, args_, privilege_, handler_) \
	.name = name_, .summary = summary_, .params = params_, .result = result_, \
	.args_size = sizeof(args_), .privilege = privilege_, .flags = API_FORWARD, \
	.handler = handler_

const struct api_method methods_vm_memory[] = {
	{
		ROW("memslot.list", "The memslots and their generation.", &name_params,
		    &slot_list_result, struct name_args, API_RO, method_slot_list),
		.errors = ERRORS(),
	},
	{
		ROW("memslot.set", "Create a memslot with new memory, or move or change one.",
		    &slot_set_params, &slot_change_result, struct slot_set_args, API_RW,
		    method_slot_set),
		.errors = ERRORS(API_E_MEMSLOT_OVERLAP, API_E_MEMSLOT_UNALIGNED),
	},
	{
		ROW("memslot.delete", "Take a memslot away from the guest.", &slot_delete_params,
		    &slot_change_result, struct slot_delete_args, API_RW, method_slot_delete),
		.errors = ERRORS(API_E_MEMSLOT_NOT_FOUND, API_E_MEMSLOT_OVERLAP),
	},
	{
		ROW("memory.read", "Guest-physical bytes, at most 2 MiB.", &read_params, &read_result,
		    struct range_args, API_RW, method_read),
		.errors = ERRORS(API_E_MEMORY_RANGE),
	},
	{
		ROW("memory.write", "Write guest-physical bytes, at most 2 MiB.", &write_params, NULL,
		    struct write_args, API_RW, method_write),
		.errors = ERRORS(API_E_MEMORY_RANGE),
	},
	{
		ROW("memory.discard", "Give guest memory back to the host; it reads as zero afterwards.",
		    &discard_params, NULL, struct range_args, API_RW, method_discard),
		.errors = ERRORS(API_E_MEMORY_RANGE, API_E_MEMSLOT_UNALIGNED),
	},
	{
		ROW("memory.working_set", "Pages by how long they have been idle.",
		    &working_set_params, &working_set_result, struct working_set_args, API_RW,
		    method_working_set),
		.errors = ERRORS(),
	},
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
