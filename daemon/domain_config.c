/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The definition's schema and the checks that a table cannot say.
 */
#include "daemon/domain_config.h"

#include "hv/hv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MEMORY_MIN  (1 << 20)
#define MEMORY_MAX  (16ll << 40)
#define CMDLINE_MAX 4095

static_assert(HV_TEST_DEBUG_EXIT == 1 && HV_TEST_PC_TESTDEV == 2, "test_device_names");

const char *const domain_backing_names[] = { "memfd", "anon", "hugetlb", NULL };
const char *const domain_boot_names[] = { "auto", "linux", "pvh", "multiboot", "flat", NULL };
static const char *const vendor_names[] = { "auto", "vmx", "svm", NULL };
static const char *const paging_names[] = { "tdp", "shadow", NULL };
static const char *const action_names[] = { "destroy", "restart", "preserve", NULL };
static const char *const net_names[] = { "user", "tap", NULL };

static const struct schema vcpus_schema = { .kind = SCHEMA_INT, .min = 1, .max = 4096 };
static const struct schema memory_schema = { .kind = SCHEMA_SIZE, .min = MEMORY_MIN,
					     .max = MEMORY_MAX };
static const struct schema backing_schema = { .kind = SCHEMA_ENUM, .values = domain_backing_names };
static const struct schema boot_kind_schema = { .kind = SCHEMA_ENUM, .values = domain_boot_names };
static const struct schema action_schema = { .kind = SCHEMA_ENUM, .values = action_names };
static const struct schema vendor_schema = { .kind = SCHEMA_ENUM, .values = vendor_names };
static const struct schema paging_schema = { .kind = SCHEMA_ENUM, .values = paging_names };
static const struct schema cmdline_schema = { .kind = SCHEMA_STRING, .max = CMDLINE_MAX };

/* Enums that the engine takes by name are decoded by hand from their JSON. */
struct engine_raw {
	const char *processor;
	int vendor, paging;
	bool apicv;
};

static const struct schema_field engine_fields[] = {
	SCHEMA_FIELD(struct engine_raw, processor, &schema_name, 0,
		     "The logical processor; daemon.capabilities lists them.", .dflt = "soft"),
	SCHEMA_FIELD(struct engine_raw, vendor, &vendor_schema, 0,
		     "The virtualization instructions to use.", .dflt = "auto"),
	SCHEMA_FIELD(struct engine_raw, paging, &paging_schema, 0,
		     "Two-dimensional paging, or shadow page tables.", .dflt = "tdp"),
	SCHEMA_FIELD(struct engine_raw, apicv, &schema_bool, 0,
		     "Let the processor deliver interrupts by itself where it can: vmx with tdp.",
		     .dflt = "true"),
	{ 0 }
};
static const struct schema engine_schema = { .kind = SCHEMA_OBJECT, .fields = engine_fields };

struct cpu_raw {
	const char *model;
};

static const struct schema_field cpu_fields[] = {
	SCHEMA_FIELD(struct cpu_raw, model, &schema_name, 0,
		     "A CPU model; daemon.capabilities lists them. Absent: the engine's default."),
	{ 0 }
};
static const struct schema cpu_schema = { .kind = SCHEMA_OBJECT, .fields = cpu_fields };

struct boot_raw {
	int kind;
	const char *kernel, *initrd, *cmdline;
};

static const struct schema_field boot_fields[] = {
	SCHEMA_FIELD(struct boot_raw, kind, &boot_kind_schema, 0, "How the kernel is entered.",
		     .dflt = "auto"),
	SCHEMA_FIELD(struct boot_raw, kernel, &schema_path, SCHEMA_REQUIRED,
		     "Image: bzImage, ELF with a PVH note, multiboot or flat."),
	SCHEMA_FIELD(struct boot_raw, initrd, &schema_path, 0, "Initial RAM disk or module."),
	SCHEMA_FIELD(struct boot_raw, cmdline, &cmdline_schema, 0, "Kernel command line.",
		     .dflt = ""),
	{ 0 }
};
static const struct schema boot_schema = { .kind = SCHEMA_OBJECT, .fields = boot_fields };

static const struct schema_field disk_fields[] = {
	SCHEMA_RESULT("path", &schema_path, SCHEMA_REQUIRED, "Image file or block device."),
	SCHEMA_RESULT("readonly", &schema_bool, 0, "The guest may not write."),
	{ 0 }
};
static const struct schema disk_schema = { .kind = SCHEMA_OBJECT, .fields = disk_fields };
static const struct schema disks_schema = { .kind = SCHEMA_ARRAY, .item = &disk_schema, .max = 32 };

static const struct schema net_type_schema = { .kind = SCHEMA_ENUM, .values = net_names };
static const struct schema_field net_fields[] = {
	SCHEMA_RESULT("type", &net_type_schema, SCHEMA_REQUIRED, "What it is connected to."),
	{ 0 }
};
static const struct schema net_schema = { .kind = SCHEMA_OBJECT, .fields = net_fields };
static const struct schema nets_schema = { .kind = SCHEMA_ARRAY, .item = &net_schema, .max = 32 };

/* In the order of the bits HV_TEST_*. */
static const char *const test_device_names[] = { "debug_exit", "pc_testdev", NULL };
static const struct schema test_device_schema = { .kind = SCHEMA_ENUM,
						  .values = test_device_names };
static const struct schema test_devices_schema = { .kind = SCHEMA_ARRAY,
						   .item = &test_device_schema, .max = 8 };
static const struct schema metadata_schema = { .kind = SCHEMA_MAP, .item = &schema_string };

struct config_raw {
	const char *name, *uuid;
	int64_t vcpus;
	uint64_t memory;
	int memory_backing;
	struct engine_raw engine;
	struct cpu_raw cpu;
	struct boot_raw boot;
	json_t *disks, *nets, *test_devices, *metadata;
	int on_poweroff, on_reboot, on_crash;
};

static const struct schema_field config_fields[] = {
	SCHEMA_FIELD(struct config_raw, name, &schema_name, SCHEMA_REQUIRED, "Unique on the host."),
	SCHEMA_FIELD(struct config_raw, uuid, &schema_uuid, 0,
		     "Absent: made at the first define. The guest finds it in its SMBIOS tables."),
	SCHEMA_FIELD(struct config_raw, vcpus, &vcpus_schema, 0, "Virtual CPUs.", .dflt = "1"),
	SCHEMA_FIELD(struct config_raw, memory, &memory_schema, SCHEMA_REQUIRED,
		     "Guest RAM, a multiple of 1 MiB."),
	SCHEMA_FIELD(struct config_raw, memory_backing, &backing_schema, 0, "What backs the RAM.",
		     .dflt = "memfd"),
	SCHEMA_FIELD(struct config_raw, engine, &engine_schema, 0, "How the guest is run."),
	SCHEMA_FIELD(struct config_raw, cpu, &cpu_schema, 0, "What CPU the guest sees."),
	SCHEMA_FIELD(struct config_raw, boot, &boot_schema, SCHEMA_REQUIRED, "What the guest boots."),
	SCHEMA_FIELD(struct config_raw, disks, &disks_schema, 0, "Disks, in order."),
	SCHEMA_FIELD(struct config_raw, nets, &nets_schema, 0, "Network interfaces, in order."),
	SCHEMA_FIELD(struct config_raw, on_poweroff, &action_schema, 0,
		     "When the guest powers off: end the domain, boot again, or keep it paused.",
		     .dflt = "destroy"),
	SCHEMA_FIELD(struct config_raw, on_reboot, &action_schema, 0, "When the guest resets itself.",
		     .dflt = "restart"),
	SCHEMA_FIELD(struct config_raw, on_crash, &action_schema, 0,
		     "When the guest panics or the engine gives it up.", .dflt = "preserve"),
	SCHEMA_FIELD(struct config_raw, test_devices, &test_devices_schema, 0,
		     "Devices that only test guests have a use for."),
	SCHEMA_FIELD(struct config_raw, metadata, &metadata_schema, 0,
		     "The user's own notes: kept, never read."),
	{ 0 }
};

const struct schema domain_config_schema = {
	.kind = SCHEMA_OBJECT,
	.title = "DomainConfig",
	.doc = "A domain's definition.",
	.fields = config_fields,
};

static int config_bad(struct api_error *err, const char *base, const char *field, const char *text)
{
	char pointer[sizeof(err->field)];

	snprintf(pointer, sizeof(pointer), "%s%s", base, field);
	api_error_set(err, API_E_CONFIG_INVALID, "%s: %s", pointer, text);
	api_error_field(err, pointer);
	return -EINVAL;
}

static bool listed(const char *const *list, const char *name)
{
	for (; list && *list; list++)
		if (!strcmp(*list, name))
			return true;
	return false;
}

static int config_check(const struct domain_config *c, const char *base, struct api_error *err)
{
	int max = hv_check_capability(HV_CAP_NR_VCPUS);
	char range[32];
	int ret = 0;

	snprintf(range, sizeof(range), "must be 1 to %d", max);
	if (max > 0 && c->vcpus > max)
		ret = config_bad(err, base, "/vcpus", range);
	else if (c->memory % (1 << 20))
		ret = config_bad(err, base, "/memory", "must be a multiple of 1 MiB");
	else if (!listed(hv_list_processors(), c->engine.processor))
		ret = config_bad(err, base, "/engine/processor", "the engine has no such processor");
	else if (strcmp(c->engine.vendor, "auto") && !listed(hv_list_vendors(), c->engine.vendor))
		ret = config_bad(err, base, "/engine/vendor", "the engine has no such vendor module");
	else if (c->cpu.model && !listed(hv_list_cpu_models(), c->cpu.model))
		ret = config_bad(err, base, "/cpu/model", "the engine has no such CPU model");
	if (ret)
		api_error_hint(err, "daemon.capabilities lists what there is");
	return ret;
}

static unsigned int test_devices_mask(const json_t *list)
{
	unsigned int mask = 0;
	json_t *name;
	size_t i, k;

	json_array_foreach(list, i, name)
		for (k = 0; test_device_names[k]; k++)
			if (!strcmp(json_string_value(name), test_device_names[k]))
				mask |= 1u << k;
	return mask;
}

int domain_config_decode(json_t *json, const char *base, struct domain_config *out,
			 struct api_error *err)
{
	struct config_raw raw;
	int ret;

	ret = schema_decode(&domain_config_schema, json, &raw, base, API_E_CONFIG_INVALID, err);
	if (ret)
		return ret;
	*out = (struct domain_config){
		.name = raw.name,
		.uuid = raw.uuid,
		.vcpus = raw.vcpus,
		.memory = raw.memory,
		.memory_backing = raw.memory_backing,
		.engine = { raw.engine.processor, vendor_names[raw.engine.vendor],
			    paging_names[raw.engine.paging], raw.engine.apicv },
		.cpu = { raw.cpu.model },
		.boot = { raw.boot.kind, raw.boot.kernel, raw.boot.initrd, raw.boot.cmdline },
		.disks = raw.disks,
		.nets = raw.nets,
		.test_devices = test_devices_mask(raw.test_devices),
		.metadata = raw.metadata,
		.on_poweroff = raw.on_poweroff,
		.on_reboot = raw.on_reboot,
		.on_crash = raw.on_crash,
	};
	return config_check(out, base, err);
}

int domain_config_runnable(const struct domain_config *config, struct api_error *err)
{
	const char *field = json_array_size(config->disks) ? "/disks" :
			    json_array_size(config->nets)  ? "/nets" : NULL;

	if (!field)
		return 0;
	api_error_set(err, API_E_UNSUPPORTED, "%s: the engine has no such devices yet", field);
	api_error_field(err, field);
	return -EOPNOTSUPP;
}
