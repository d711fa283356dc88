/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memslot.*, memory.*: run in the worker, on the engine thread.
 */
#include "daemon/methods_vm.h"

#include "daemon/base64.h"
#include "daemon/guest.h"
#include "daemon/vm_figures.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOTS_MAX	65536
#define COPY_MAX	(2 << 20)	/* bytes of one memory.read or memory.write, as text */
#define FILE_MAX	(64 << 20)	/* the same through a descriptor */

static const struct schema gpa_schema = { .kind = SCHEMA_U64, .max = GPA_MAX };
static const struct schema slot_id_schema = { .kind = SCHEMA_INT, .min = 0,
					      .max = HV_MEMREGION_SLOTS - 1 };
static const struct schema as_id_schema = { .kind = SCHEMA_INT, .min = 0,
					    .max = HV_MEMREGION_SPACES - 1 };

/* ---- memslots -------------------------------------------------------------------------- */

static const char *const backing_names[] = { "memfd", "anonymous", NULL };
static const struct schema backing_schema = { .kind = SCHEMA_ENUM, .values = backing_names };
static const struct schema_field slot_fields[] = {
	SCHEMA_RESULT("id", &slot_id_schema, SCHEMA_REQUIRED, "Slot number."),
	SCHEMA_RESULT("as_id", &as_id_schema, SCHEMA_REQUIRED, "Address space."),
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
	SCHEMA_FIELD(struct slot_set_args, as_id, &as_id_schema, 0, "Address space.", .dflt = "0"),
	SCHEMA_FIELD(struct slot_set_args, gpa, &gpa_schema, SCHEMA_REQUIRED,
		     "Guest-physical address, a multiple of 4096; the slot ends at 2^52 or below."),
	SCHEMA_FIELD(struct slot_set_args, size, &schema_size, SCHEMA_REQUIRED,
		     "Bytes, a multiple of 4096. An existing slot keeps its size."),
	SCHEMA_FIELD(struct slot_set_args, readonly, &schema_bool, 0, "Guest writes become MMIO. An existing slot stays as it is.", .dflt = "false"),
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
	SCHEMA_FIELD(struct slot_delete_args, as_id, &as_id_schema, 0, "Address space.",
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

/* What the schema cannot tell, and what an existing slot keeps. */
static void slot_check_kept(struct engine_call *op, const struct hv_memory_region *had,
			    const struct hv_memory_region *region)
{
	unsigned int id = region->slot & 0xffff;

	if (region->memory_size != had->memory_size)
		engine_fail(op, API_E_UNSUPPORTED,
			    "memslot %u has %llu bytes and keeps them; delete it first", id,
			    (unsigned long long)had->memory_size);
	else if ((region->flags ^ had->flags) & HV_MEMREGION_READONLY)
		engine_fail(op, API_E_UNSUPPORTED,
			    "memslot %u is %s and stays so; delete it first", id,
			    had->flags & HV_MEMREGION_READONLY ? "readonly" : "writable");
}

static void slot_apply(struct engine_call *op, struct hv_memory_region *region)
{
	int ret = hv_vm_set_memory_region(hv_machine_vm(op->machine), region);

	if (ret == -EEXIST)
		engine_fail(op, API_E_MEMSLOT_OVERLAP, "the range overlaps another memslot");
	else if (ret == -EINVAL)
		engine_fail(op, API_E_INVALID_PARAMS, "there can be no such memslot");
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
			if (region->memory_size)
				slot_check_kept(op, r, region);
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
	int exists, ret;
	void *hva;

	if (args->gpa % PAGE_BYTES || args->size % PAGE_BYTES || !args->size) {
		engine_fail(op, API_E_MEMSLOT_UNALIGNED, "gpa and size must be multiples of 4096");
		api_error_field(&op->err, args->gpa % PAGE_BYTES ? "/gpa" : "/size");
		return;
	}
	if (args->size > GPA_MAX - args->gpa) {
		engine_fail(op, API_E_INVALID_PARAMS, "gpa and size go beyond 2^52");
		api_error_field(&op->err, "/size");
		return;
	}
	exists = slot_prepare(op, &region);
	if (exists < 0)
		return;
	if (!exists) {
		ret = hv_vm_ram_create(hv_machine_vm(op->machine), &ram, &hva);
		if (ret) {
			engine_fail_errno(op, ret, "no memory for the slot");
			return;
		}
		region.userspace_addr = (uintptr_t)hva;
	}
	slot_apply(op, &region);
	if (op->failed && !exists)
		hv_vm_ram_destroy(hv_machine_vm(op->machine), hva);
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
	/* -EBUSY: other slots use it, as those of the machine's own memory do. */
	if (!op->failed)
		hv_vm_ram_destroy(hv_machine_vm(op->machine),
				  (void *)(uintptr_t)region.userspace_addr);
}

static void method_slot_delete(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, slot_delete_run, NULL);
}

/* ---- memory ------------------------------------------------------------------------------- */

static const struct schema copy_size_schema = { .kind = SCHEMA_SIZE, .min = 1, .max = FILE_MAX };
static const char *const copy_formats[] = { "base64", "fd", NULL };
enum copy_format { COPY_BASE64, COPY_FD };
static const struct schema copy_format_schema = { .kind = SCHEMA_ENUM, .values = copy_formats };

struct range_args {
	const char *domain;
	uint64_t gpa, size;
};
struct read_args {
	const char *domain;
	uint64_t gpa, size;
	int format;
};
static const struct schema_field read_fields[] = {
	FIELD_DOMAIN(struct read_args),
	SCHEMA_FIELD(struct read_args, gpa, &gpa_schema, SCHEMA_REQUIRED, "Guest-physical address."),
	SCHEMA_FIELD(struct read_args, size, &copy_size_schema, SCHEMA_REQUIRED,
		     "Bytes: at most 2 MiB, with fd 64 MiB."),
	SCHEMA_FIELD(struct read_args, format, &copy_format_schema, 0,
		     "fd: a descriptor of a memory file that has them.", .dflt = "base64"),
	{ 0 }
};
static const struct schema read_params = { .kind = SCHEMA_OBJECT, .fields = read_fields };
static const struct schema_field read_result_fields[] = {
	SCHEMA_RESULT("data", &schema_base64, 0, "The bytes."),
	SCHEMA_RESULT("bytes", &schema_count, 0, "Size of the passed file."),
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

static void read_text(struct engine_call *op, const struct read_args *args)
{
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

/* Nobody else has the file yet, so that nothing can take it away under the mapping. */
static int read_file(struct engine_call *op, const struct read_args *args)
{
	void *map;
	int ret;

	op->fd = memfd_create("hvd-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (op->fd < 0 || ftruncate(op->fd, args->size))
		return -errno;
	map = mmap(NULL, args->size, PROT_READ | PROT_WRITE, MAP_SHARED, op->fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	ret = hv_memory_read(hv_machine_vm(op->machine), args->gpa, map, args->size);
	munmap(map, args->size);
	if (!ret)
		op->result = json_pack("{s:I}", "bytes", (json_int_t)args->size);
	return ret;
}

static void read_run(struct engine_call *op)
{
	const struct read_args *args = op->args;
	int ret = 0;

	if (args->format == COPY_FD) {
		ret = read_file(op, args);
	} else if (args->size <= COPY_MAX) {
		read_text(op, args);
	} else {
		engine_fail(op, API_E_INVALID_PARAMS, "more than 2 MiB need the format fd");
		api_error_field(&op->err, "/size");
	}
	if (ret)
		memory_fail(op, ret);
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
	SCHEMA_FIELD(struct write_args, data, &write_data_schema, 0,
		     "The bytes, unless a memory file with 1 byte to 64 MiB is passed."),
	{ 0 }
};
static const struct schema write_params = { .kind = SCHEMA_OBJECT, .fields = write_fields };

/*
 * All that is in the client's file, malloc'ed, so that a file which changes meanwhile changes
 * nothing by halves. Only of memory: reading anything else may wait for ever.
 */
static void *file_bytes(struct engine_call *op, int fd, size_t *len)
{
	struct stat st;
	char *data;
	size_t at;
	ssize_t n;

	if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) || st.st_size < 1 || st.st_size > FILE_MAX) {
		engine_fail(op, API_E_INVALID_PARAMS, "the descriptor is no memfd with 1 byte to 64 MiB");
		return NULL;
	}
	data = malloc(st.st_size);
	if (!data) {
		engine_fail_errno(op, -ENOMEM, "the bytes");
		return NULL;
	}
	for (at = 0; at < (size_t)st.st_size; at += n) {
		n = pread(fd, data + at, st.st_size - at, at);
		if (n <= 0) {
			engine_fail(op, API_E_INVALID_PARAMS, "the descriptor cannot be read to its end");
			free(data);
			return NULL;
		}
	}
	*len = st.st_size;
	return data;
}

static void write_run(struct engine_call *op)
{
	const struct write_args *args = op->args;
	void *data = NULL;
	size_t len = 0;
	int ret;

	if (!args->data == !op->call->nfds || op->call->nfds > 1) {
		engine_fail(op, API_E_INVALID_PARAMS, "it takes data or one descriptor");
		api_error_field(&op->err, "/data");
		return;
	}
	if (args->data)
		data = base64_decode(args->data, &len);
	else
		data = file_bytes(op, op->call->fds[0], &len);
	if (op->failed)
		return;
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

static void pages_run(struct engine_call *op, int (*fn)(struct hv_vm *vm, uint64_t gpa, uint64_t len))
{
	const struct range_args *args = op->args;
	int ret;

	if (args->gpa % PAGE_BYTES || args->size % PAGE_BYTES || !args->size) {
		engine_fail(op, API_E_MEMSLOT_UNALIGNED, "gpa and size must be multiples of 4096");
		api_error_field(&op->err, args->gpa % PAGE_BYTES ? "/gpa" : "/size");
		return;
	}
	ret = fn(hv_machine_vm(op->machine), args->gpa, args->size);
	if (ret)
		memory_fail(op, ret);
}

static void discard_run(struct engine_call *op)
{
	pages_run(op, hv_memory_discard);
}

static void method_discard(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, discard_run, NULL);
}

static void pageout_run(struct engine_call *op)
{
	pages_run(op, hv_memory_pageout);
}

static void method_pageout(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, pageout_run, NULL);
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
		.name = "memory.read",
		.summary = "Guest-physical bytes, as text or in a file.",
		.params = &read_params,
		.result = &read_result,
		.args_size = sizeof(struct read_args),
		.privilege = API_RW,
		.flags = API_FORWARD | API_GIVES_FDS,
		.handler = method_read,
		.errors = ERRORS(API_E_MEMORY_RANGE),
	},
	{
		.name = "memory.write",
		.summary = "Write guest-physical bytes, given as text or in a file.",
		.params = &write_params,
		.args_size = sizeof(struct write_args),
		.privilege = API_RW,
		.flags = API_FORWARD | API_TAKES_FDS,
		.handler = method_write,
		.errors = ERRORS(API_E_MEMORY_RANGE),
	},
	{
		ROW("memory.discard", "Give guest memory back to the host; it reads as zero afterwards.",
		    &discard_params, NULL, struct range_args, API_RW, method_discard),
		.errors = ERRORS(API_E_MEMORY_RANGE, API_E_MEMSLOT_UNALIGNED),
	},
	{
		ROW("memory.pageout",
		    "Ask the host to swap guest memory out; it keeps its bytes and comes back when touched.",
		    &discard_params, NULL, struct range_args, API_RW, method_pageout),
		.errors = ERRORS(API_E_MEMORY_RANGE, API_E_MEMSLOT_UNALIGNED),
	},
	{
		ROW("memory.working_set", "Pages by how long they have been idle.",
		    &working_set_params, &working_set_result, struct working_set_args, API_RW,
		    method_working_set),
		.errors = ERRORS(),
	},
	{ 0 },
};
