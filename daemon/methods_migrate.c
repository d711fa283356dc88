/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rows of domain.migrate*: shapes, privileges, errors. migrate.h has the way of a
 * migration.
 */
#include "daemon/methods.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/guest_migrate.h"
#include "daemon/migrate.h"

static const struct schema config_any = { .kind = SCHEMA_ANY, .item = &domain_config_schema };
static const struct schema streams_schema = { .kind = SCHEMA_INT, .min = 1,
					      .max = HV_MIGRATE_STREAMS_MAX };
static const struct schema level_schema = { .kind = SCHEMA_INT, .min = 0, .max = 19 };
static const struct schema percent_schema = { .kind = SCHEMA_INT, .min = 0, .max = 99 };
static const struct schema limit_schema = { .kind = SCHEMA_INT, .min = 0, .max = 3600000 };
static const struct schema bandwidth_schema = { .kind = SCHEMA_SIZE };

/* What may change while it runs; the worker reads them from the JSON (guest_migrate.c). */
#define PARAM(name_, schema_, doc_) \
	{ .name = name_, .schema = schema_, .doc = doc_, .offset = SCHEMA_SKIP }
#define RUN_TIME_PARAMS \
	PARAM("max_bandwidth", &bandwidth_schema, "Bytes a second of all streams; 0: no limit."), \
	PARAM("downtime_limit_ms", &limit_schema, \
	      "When what is left can go over in that time, and one more round would not halve it, " \
	      "the guest is stopped; 0: 300."), \
	PARAM("zstd_level", &level_schema, "0: not compressed."), \
	PARAM("auto_converge", &schema_bool, \
	      "Take time from the vCPUs when they write faster than their pages go over."), \
	PARAM("throttle_initial", &percent_schema, "Percent, at first; 0: 20."), \
	PARAM("throttle_increment", &percent_schema, "Percent, each time more; 0: 10."), \
	PARAM("throttle_max", &percent_schema, "Percent, at most; 0: 99.")

/* ---- domain.migrate and what goes with it ------------------------------------------------ */

static const struct schema_field migrate_fields[] = {
	FIELD_DOMAIN(struct migrate_args),
	SCHEMA_FIELD(struct migrate_args, uri, &schema_string, SCHEMA_REQUIRED,
		     "The other daemon: unix:PATH, tcp:HOST:PORT (loopback only), ssh://HOST."),
	SCHEMA_FIELD(struct migrate_args, live, &schema_bool, 0,
		     "The guest runs while its memory goes over; false: it stands still.",
		     .dflt = "true"),
	SCHEMA_FIELD(struct migrate_args, verify, &schema_bool, 0,
		     "Compare a digest of every page before the hand-over, the guest stopped.",
		     .dflt = "false"),
	SCHEMA_FIELD(struct migrate_args, streams, &streams_schema, 0, "Connections.", .dflt = "2"),
	SCHEMA_FIELD(struct migrate_args, persistent, &schema_bool, 0,
		     "The destination keeps the definition.", .dflt = "false"),
	SCHEMA_FIELD(struct migrate_args, undefine_source, &schema_bool, 0,
		     "The source forgets the definition.", .dflt = "false"),
	SCHEMA_FIELD(struct migrate_args, config, &config_any, 0,
		     "The definition for the destination, where paths or the engine differ there."),
	SCHEMA_FIELD(struct migrate_args, stall_ms, &limit_schema, 0,
		     "A peer that moves no byte for so long is lost; 0: 30000.", .dflt = "0"),
	RUN_TIME_PARAMS,
	{ 0 }
};
static const struct schema migrate_params = { .kind = SCHEMA_OBJECT, .fields = migrate_fields };
static const struct schema_field migrate_result_fields[] = {
	SCHEMA_RESULT("job", &schema_count, SCHEMA_REQUIRED,
		      "Its job; job.info has the statistics, job.abort keeps the guest here."),
	SCHEMA_RESULT("id", &schema_string, SCHEMA_REQUIRED, "Of the migration, on both sides."),
	{ 0 }
};
static const struct schema migrate_result = { .kind = SCHEMA_OBJECT,
					      .fields = migrate_result_fields };

static const struct schema_field set_fields[] = { FIELD_DOMAIN(struct migrate_set_args), RUN_TIME_PARAMS,
						  { 0 } };
static const struct schema set_params = { .kind = SCHEMA_OBJECT, .fields = set_fields };

static const struct schema_field resolve_fields[] = {
	FIELD_DOMAIN(struct migrate_resolve_args),
	SCHEMA_FIELD(struct migrate_resolve_args, id, &schema_string, 0, "Only if it is this one."),
	SCHEMA_FIELD(struct migrate_resolve_args, peer_gone, &schema_bool, 0,
		     "You know that the other side does not run the guest and never will: it runs "
		     "here. A guest that runs twice destroys its disks.", .dflt = "false"),
	SCHEMA_FIELD(struct migrate_resolve_args, discard, &schema_bool, 0,
		     "A source takes back what it has announced and not begun.", .dflt = "false"),
	{ 0 }
};
static const struct schema resolve_params = { .kind = SCHEMA_OBJECT, .fields = resolve_fields };

/* ---- domain.migrate_plan --------------------------------------------------------------------- */

static const struct schema plan_ms = { .kind = SCHEMA_INT, .min = 100, .max = 60000 };
static const struct schema_field plan_fields[] = {
	FIELD_DOMAIN(struct migrate_plan_args),
	SCHEMA_FIELD(struct migrate_plan_args, uri, &schema_string, SCHEMA_REQUIRED,
		     "The other daemon, as for domain.migrate."),
	SCHEMA_FIELD(struct migrate_plan_args, time_ms, &plan_ms, 0, "How long to measure.",
		     .dflt = "1000"),
	SCHEMA_FIELD(struct migrate_plan_args, max_bandwidth, &bandwidth_schema, 0,
		     "Bytes a second; 0: as measured.", .dflt = "0"),
	SCHEMA_FIELD(struct migrate_plan_args, downtime_limit_ms, &limit_schema, 0, "0: 300.",
		     .dflt = "0"),
	SCHEMA_FIELD(struct migrate_plan_args, config, &config_any, 0, "As for domain.migrate."),
	{ 0 }
};
static const struct schema plan_params = { .kind = SCHEMA_OBJECT, .fields = plan_fields };
static const struct schema_field blocker_fields[] = {
	SCHEMA_RESULT("name", &schema_string, SCHEMA_REQUIRED, "A stable name, as of errors."),
	SCHEMA_RESULT("field", &schema_string, SCHEMA_REQUIRED, "What it is about, or empty."),
	SCHEMA_RESULT("message", &schema_string, SCHEMA_REQUIRED, "In words."),
	{ 0 }
};
static const struct schema blocker_schema = { .kind = SCHEMA_OBJECT, .fields = blocker_fields };
static const struct schema blockers_schema = { .kind = SCHEMA_ARRAY, .item = &blocker_schema };
static const struct schema_field plan_result_fields[] = {
	SCHEMA_RESULT("possible", &schema_bool, SCHEMA_REQUIRED, "Nothing blocks it."),
	SCHEMA_RESULT("blockers", &blockers_schema, SCHEMA_REQUIRED, "All of them at once."),
	SCHEMA_RESULT("destination_version", &schema_string, SCHEMA_REQUIRED, "Of its hvd; or empty."),
	SCHEMA_RESULT("memory", &schema_count, SCHEMA_REQUIRED, "Bytes of guest memory."),
	SCHEMA_RESULT("dirty_bytes_per_s", &schema_number, SCHEMA_REQUIRED,
		      "Distinct pages that the guest wrote, by time."),
	SCHEMA_RESULT("working_set", &schema_count, SCHEMA_REQUIRED,
		      "Bytes that it wrote at all in the time."),
	SCHEMA_RESULT("bandwidth", &schema_number, SCHEMA_REQUIRED,
		      "Bytes a second that the prediction counts with: as given, or what the way there "
		      "takes when nothing else uses it."),
	SCHEMA_RESULT("converges", &schema_bool, SCHEMA_REQUIRED,
		      "The rounds get short enough for the downtime limit."),
	SCHEMA_RESULT("rounds", &schema_count, SCHEMA_REQUIRED, "Predicted."),
	SCHEMA_RESULT("total_ms", &schema_number, SCHEMA_REQUIRED, "Predicted."),
	SCHEMA_RESULT("downtime_ms", &schema_number, SCHEMA_REQUIRED, "Predicted."),
	{ 0 }
};
static const struct schema plan_result = { .kind = SCHEMA_OBJECT, .fields = plan_result_fields };

#define DOMAIN_ERRORS API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE

const struct api_method methods_migrate[] = {
	{
		.name = "domain.migrate",
		.summary = "Move a guest to another daemon: a job. Exactly one side runs it, always.",
		.params = &migrate_params,
		.result = &migrate_result,
		.args_size = sizeof(struct migrate_args),
		.privilege = API_RW,
		.handler = migrate_out,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_JOB_CONFLICT, API_E_UNSUPPORTED,
				     API_E_CONFIG_INVALID),
	},
	{
		.name = "domain.migrate_set",
		.summary = "Change the limits of a migration that runs; what is not given stays.",
		.params = &set_params,
		.args_size = sizeof(struct migrate_set_args),
		.privilege = API_RW,
		.handler = migrate_set,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_PEER_LOST),
	},
	{
		.name = "domain.migrate_plan",
		.summary = "What domain.migrate would meet: all that blocks it, and a prediction.",
		.params = &plan_params,
		.result = &plan_result,
		.args_size = sizeof(struct migrate_plan_args),
		.privilege = API_RW,
		.flags = API_BLOCKS,
		.handler = migrate_plan,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_PEER_LOST, API_E_UNSUPPORTED,
				     API_E_CONFIG_INVALID),
	},
	{ 0 },
};

/* In the worker. */
const struct api_method methods_migrate_vm[] = {
	{
		.name = "domain.migrate_set",
		.summary = "Change the limits of a migration that runs; what is not given stays.",
		.params = &set_params,
		.args_size = sizeof(struct migrate_set_args),
		.privilege = API_RW,
		.handler = vm_migrate_set,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_PEER_LOST),
	},
	{ 0 },
};

/* ---- what a source asks of a destination ------------------------------------------------------- */

static const struct schema_field in_fields[] = {
	SCHEMA_FIELD(struct migrate_in_args, id, &schema_string, SCHEMA_REQUIRED,
		     "32 hexadecimal digits that the source has drawn."),
	SCHEMA_FIELD(struct migrate_in_args, config, &config_any, SCHEMA_REQUIRED,
		     "The guest's definition, with its uuid."),
	SCHEMA_FIELD(struct migrate_in_args, streams, &streams_schema, SCHEMA_REQUIRED,
		     "Connections that will come."),
	SCHEMA_FIELD(struct migrate_in_args, persistent, &schema_bool, 0, "Keep the definition.",
		     .dflt = "false"),
	SCHEMA_FIELD(struct migrate_in_args, run, &schema_bool, 0,
		     "Run it at the end, although it comes paused.", .dflt = "false"),
	SCHEMA_FIELD(struct migrate_in_args, stall_ms, &limit_schema, 0,
		     "A source that moves no byte for so long is lost; 0: 30000.", .dflt = "0"),
	SCHEMA_FIELD(struct migrate_in_args, source, &schema_string, 0, "Who sends it, for people.",
		     .dflt = ""),
	SCHEMA_FIELD(struct migrate_in_args, instance, &schema_string, 0, "The source daemon's instance.",
		     .dflt = ""),
	{ 0 }
};
static const struct schema in_params = { .kind = SCHEMA_OBJECT, .fields = in_fields };

static const struct schema_field stream_fields[] = {
	SCHEMA_FIELD(struct migrate_stream_args, id, &schema_string, SCHEMA_REQUIRED, "Whose."),
	SCHEMA_FIELD(struct migrate_stream_args, resolve, &schema_bool, 0,
		     "To settle a doubt, instead of for memory.", .dflt = "false"),
	{ 0 }
};
static const struct schema stream_params = { .kind = SCHEMA_OBJECT, .fields = stream_fields };
static const struct schema_field stream_result_fields[] = {
	SCHEMA_RESULT("domain", &schema_name, SCHEMA_REQUIRED, "The guest's name."),
	{ 0 }
};
static const struct schema stream_result = { .kind = SCHEMA_OBJECT,
					     .fields = stream_result_fields };

static const struct schema_field status_fields[] = {
	SCHEMA_FIELD(struct migrate_status_args, id, &schema_string, SCHEMA_REQUIRED, "Which."),
	{ 0 }
};
static const struct schema status_params = { .kind = SCHEMA_OBJECT, .fields = status_fields };

static const struct schema_field check_fields[] = {
	SCHEMA_FIELD(struct migrate_check_args, config, &config_any, 0, "The guest's definition."),
	SCHEMA_FIELD(struct migrate_check_args, tsc_khz, &schema_count, 0, "Of the source's host.",
		     .dflt = "0"),
	SCHEMA_FIELD(struct migrate_check_args, cpu, &schema_string, 0,
		     "Feature leaves of the source's host, for CPU model \"host\".", .dflt = ""),
	SCHEMA_FIELD(struct migrate_check_args, instance, &schema_string, 0, "The source daemon's.",
		     .dflt = ""),
	{ 0 }
};
static const struct schema check_params = { .kind = SCHEMA_OBJECT, .fields = check_fields };
static const struct schema probe_size = { .kind = SCHEMA_INT, .min = 1, .max = MIGRATE_PROBE_MAX };
static const struct schema_field probe_fields[] = {
	SCHEMA_FIELD(struct migrate_probe_args, bytes, &probe_size, SCHEMA_REQUIRED, "How many."),
	{ 0 }
};
static const struct schema probe_params = { .kind = SCHEMA_OBJECT, .fields = probe_fields };
static const struct schema_field check_result_fields[] = {
	SCHEMA_RESULT("blockers", &blockers_schema, SCHEMA_REQUIRED, "All of them."),
	SCHEMA_RESULT("version", &schema_string, SCHEMA_REQUIRED, "Of this hvd."),
	SCHEMA_RESULT("protocol", &schema_count, SCHEMA_REQUIRED, "Of the stream."),
	{ 0 }
};
static const struct schema check_result = { .kind = SCHEMA_OBJECT, .fields = check_result_fields };

const struct api_method methods_migrate_peer[] = {
	{
		.name = "domain.migrate_incoming",
		.summary = "A source announces a guest: an empty machine is made for it.",
		.params = &in_params,
		.result = &domain_summary_schema,
		.args_size = sizeof(struct migrate_in_args),
		.privilege = API_RW,
		.handler = migrate_in,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_CONFIG_INVALID, API_E_DOMAIN_EXISTS,
				     API_E_UNSUPPORTED, API_E_FILE_UNAVAILABLE,
				     API_E_DOMAIN_START_FAILED),
	},
	{
		.name = "domain.migrate_stream",
		.summary = "After the answer the connection is the guest's: the stream of migration.md.",
		.params = &stream_params,
		.result = &stream_result,
		.args_size = sizeof(struct migrate_stream_args),
		.privilege = API_RW,
		.handler = migrate_stream,
		.errors = API_ERRORS(API_E_MIGRATION_NOT_FOUND),
	},
	{
		.name = "domain.migrate_status",
		.summary = "What has become of a migration into this daemon.",
		.params = &status_params,
		.result = &migration_summary_schema,
		.args_size = sizeof(struct migrate_status_args),
		.privilege = API_RW,
		.handler = migrate_status,
	},
	{
		.name = "domain.migrate_check",
		.summary = "All that would keep a guest from coming here.",
		.params = &check_params,
		.result = &check_result,
		.args_size = sizeof(struct migrate_check_args),
		.privilege = API_RW,
		.handler = migrate_check,
	},
	{
		.name = "domain.migrate_probe",
		.summary = "After the answer the connection takes so many bytes, answers with one and ends.",
		.params = &probe_params,
		.args_size = sizeof(struct migrate_probe_args),
		.privilege = API_RW,
		.handler = migrate_probe,
		.errors = API_ERRORS(API_E_JOB_CONFLICT),
	},
	{
		.name = "domain.migrate_resolve",
		.summary = "Settle who has the guest of a migration that ended in doubt.",
		.params = &resolve_params,
		.result = &migration_summary_schema,
		.args_size = sizeof(struct migrate_resolve_args),
		.privilege = API_RW,
		.flags = API_BLOCKS,
		.handler = migrate_resolve,
		.errors = API_ERRORS(DOMAIN_ERRORS, API_E_MIGRATION_NOT_FOUND, API_E_MIGRATION_FAILED,
				     API_E_JOB_CONFLICT, API_E_PEER_LOST),
	},
	{ 0 },
};
