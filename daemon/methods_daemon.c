/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon.* and metrics.get.
 */
#include "daemon/methods.h"

#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/metrics.h"
#include "hv/hv.h"

#include <stdlib.h>
#include <unistd.h>

#include "config.h"

static void put(json_t *obj, const char *key, json_t *value)
{
	json_object_set_new(obj, key, value);
}

/* ---- version, ping, reload ---------------------------------------------------------------- */

static const struct schema_field version_fields[] = {
	SCHEMA_RESULT("version", &schema_string, SCHEMA_REQUIRED, "Of the daemon."),
	SCHEMA_RESULT("engine_api", &schema_count, SCHEMA_REQUIRED, "Of the engine's interface."),
	SCHEMA_RESULT("protocol", &schema_string, SCHEMA_REQUIRED, "JSON-RPC 2.0."),
	SCHEMA_RESULT("instance", &schema_uuid, SCHEMA_REQUIRED, "This run of the daemon."),
	SCHEMA_RESULT("pid", &schema_count, SCHEMA_REQUIRED, "Of the daemon."),
	SCHEMA_RESULT("started", &schema_number, SCHEMA_REQUIRED, "Seconds since 1970."),
	{ 0 }
};
static const struct schema version_result = { .kind = SCHEMA_OBJECT, .fields = version_fields };

static void method_version(struct api_call *call, const void *args)
{
	struct hvd *hvd = hvd_of(call);

	(void)args;
	api_reply(call, json_pack("{s:s,s:i,s:s,s:s,s:i,s:o}", "version", PACKAGE_VERSION,
				  "engine_api", HV_API_VERSION, "protocol", "JSON-RPC 2.0", "instance",
				  hvd->instance, "pid", (int)getpid(), "started",
				  events_time(hvd->start_us)));
}

static void method_ping(struct api_call *call, const void *args)
{
	(void)args;
	api_reply(call, NULL);
}

static void method_reload(struct api_call *call, const void *args)
{
	char message[512];

	(void)args;
	if (hvd_reload(hvd_of(call), message, sizeof(message)))
		api_fail_text(call, API_E_CONFIG_INVALID, "%s", message);
	else
		api_reply(call, NULL);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static const char *const sandbox_names[] = { "strict", "try", "off", NULL };
static const struct schema sandbox_enum = { .kind = SCHEMA_ENUM, .values = sandbox_names };
static const struct schema_field sandbox_fields[] = {
	SCHEMA_RESULT("mode", &sandbox_enum, SCHEMA_REQUIRED, "As configured."),
	SCHEMA_RESULT("own_uid", &schema_bool, SCHEMA_REQUIRED, "Each worker has a uid of its own."),
	SCHEMA_RESULT("namespaces", &schema_bool, SCHEMA_REQUIRED, "Workers see no files and nets."),
	SCHEMA_RESULT("filters", &schema_bool, SCHEMA_REQUIRED, "System calls are filtered."),
	SCHEMA_RESULT("note", &schema_string, SCHEMA_REQUIRED, "What is missing and why."),
	{ 0 }
};
static const struct schema sandbox_schema = { .kind = SCHEMA_OBJECT, .fields = sandbox_fields };
static const struct schema limits_schema = { .kind = SCHEMA_MAP, .item = &schema_count };
static const struct schema features_schema = { .kind = SCHEMA_MAP, .item = &schema_bool };
static const struct schema_field capability_fields[] = {
	SCHEMA_RESULT("processors", &schema_strings, SCHEMA_REQUIRED, "For engine.processor."),
	SCHEMA_RESULT("vendors", &schema_strings, SCHEMA_REQUIRED, "For engine.vendor."),
	SCHEMA_RESULT("cpu_models", &schema_strings, SCHEMA_REQUIRED, "For cpu.model."),
	SCHEMA_RESULT("features", &features_schema, SCHEMA_REQUIRED, "What the engine can do."),
	SCHEMA_RESULT("limits", &limits_schema, SCHEMA_REQUIRED, "Of the engine and the daemon."),
	SCHEMA_RESULT("sandbox", &sandbox_schema, SCHEMA_REQUIRED, "How workers are confined."),
	{ 0 }
};
static const struct schema capability_result = { .kind = SCHEMA_OBJECT,
						 .fields = capability_fields };

static json_t *names(const char *const *list)
{
	json_t *array = json_array();

	for (; list && *list; list++)
		json_array_append_new(array, json_string(*list));
	return array;
}

static json_t *features(void)
{
	static const struct {
		const char *name;
		enum hv_cap cap;
	} list[] = {
		{ "manual_dirty_protect", HV_CAP_MANUAL_DIRTY_PROTECT },
		{ "page_modification_log", HV_CAP_PML },
		{ "vmx", HV_CAP_VENDOR_VMX },
		{ "svm", HV_CAP_VENDOR_SVM },
		{ "shadow_paging", HV_CAP_SHADOW_PAGING },
		{ "readonly_memory", HV_CAP_READONLY_MEM },
	};
	json_t *obj = json_object();
	size_t i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		put(obj, list[i].name, json_boolean(hv_check_capability(list[i].cap) > 0));
	return obj;
}

static void put_cap(json_t *obj, const char *name, enum hv_cap cap)
{
	int n = hv_check_capability(cap);

	put(obj, name, json_integer(n > 0 ? n : 0));
}

static json_t *limits(const struct hvd *hvd)
{
	json_t *obj = json_object();

	put_cap(obj, "vcpus", HV_CAP_NR_VCPUS);
	put_cap(obj, "memslots", HV_CAP_NR_MEMSLOTS);
	put_cap(obj, "address_spaces", HV_CAP_NR_ADDRESS_SPACES);
	put_cap(obj, "dirty_ring", HV_CAP_DIRTY_RING);
	put(obj, "domains", json_integer(hvd->config.max_domains));
	put(obj, "connections", json_integer(hvd->config.max_connections));
	put(obj, "jobs", json_integer(hvd->config.max_jobs));
	put(obj, "line_bytes", json_integer(FRAME_LINE_MAX));
	put(obj, "nesting", json_integer(FRAME_DEPTH_MAX));
	put(obj, "batch", json_integer(API_BATCH_MAX));
	put(obj, "calls_in_progress", json_integer(API_CALLS_MAX));
	return obj;
}

static void method_capabilities(struct api_call *call, const void *args)
{
	struct hvd *hvd = hvd_of(call);
	const struct sandbox *s = &hvd->sandbox;

	(void)args;
	api_reply(call,
		  json_pack("{s:o,s:o,s:o,s:o,s:o,s:{s:s,s:b,s:b,s:b,s:s}}", "processors",
			    names(hv_list_processors()), "vendors", names(hv_list_vendors()),
			    "cpu_models", names(hv_list_cpu_models()), "features", features(), "limits",
			    limits(hvd), "sandbox", "mode", sandbox_names[s->mode], "own_uid",
			    (int)hvd->root, "namespaces", s->ns[0] >= 0, "filters", s->filters >= 0,
			    "note", s->note));
}

/* ---- metrics ------------------------------------------------------------------------------------ */

static const struct schema metrics_text = { .kind = SCHEMA_STRING, .max = 4 << 20 };
static const struct schema_field metrics_fields[] = {
	SCHEMA_RESULT("text", &metrics_text, SCHEMA_REQUIRED, "OpenMetrics text."),
	{ 0 }
};
static const struct schema metrics_result = { .kind = SCHEMA_OBJECT, .fields = metrics_fields };

static void method_metrics(struct api_call *call, const void *args)
{
	char *text = metrics_print(hvd_of(call));

	(void)args;
	if (text)
		api_reply(call, json_pack("{s:s}", "text", text));
	else
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
	free(text);
}

const struct api_method methods_daemon[] = {
	{
		.name = "daemon.version",
		.summary = "Versions of the daemon and the engine.",
		.result = &version_result,
		.privilege = API_RO,
		.handler = method_version,
	},
	{
		.name = "daemon.ping",
		.summary = "Nothing but an answer.",
		.privilege = API_RO,
		.handler = method_ping,
	},
	{
		.name = "daemon.capabilities",
		.summary = "Processors, vendors, CPU models, limits, and how workers are confined.",
		.result = &capability_result,
		.privilege = API_RO,
		.handler = method_capabilities,
	},
	{
		.name = "daemon.reload",
		.summary = "Read the configuration file again and apply what can change while running.",
		.privilege = API_RW,
		.handler = method_reload,
		.errors = API_ERRORS(API_E_CONFIG_INVALID),
	},
	{
		.name = "metrics.get",
		.summary = "Counters of the daemon and its domains as OpenMetrics text.",
		.result = &metrics_result,
		.privilege = API_RO,
		.handler = method_metrics,
	},
	{ 0 },
};
