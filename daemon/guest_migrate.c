/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration in the worker, on either side: from the descriptors that hvd passes to
 * what hvd is told of the end. The stream itself is the engine's (hv_migrate_*).
 *
 * A worker keeps its last migration as long as it lives: only so can it settle a
 * doubt, or confirm to a source that lost the connection that the guest runs here.
 */
#include "daemon/guest_migrate.h"

#include "daemon/guest.h"
#include "daemon/log.h"
#include "daemon/methods.h"
#include "hv/hv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct guest_migration {
	struct guest_job job;
	struct guest *g;
	struct hv_migration *mig;
	struct hv_migrate_params params;
	json_t *later;			/* domain.migrate_set while it starts; NULL: none came */
	int wake_fd;			/* the migration's thread: it has ended */
	int ran_fd;			/* destination: hvd's, to know of a dead worker; -1: none */
	struct event *wake_event;
	char id[2 * HV_MIGRATE_ID_SIZE + 1];
	char peer[256];			/* source: the URI, for a hvd that has no record of it */
	bool incoming;
	bool stopped;			/* source: we paused the guest for it; it runs again after a failure */
	bool run;			/* destination: it was stopped so, and is to run here */
	bool ended;
	bool settling;			/* a resolve or gone is under way */
};

static const char *const status_names[] = {
	[HV_MIGRATE_SETUP] = "setup",		[HV_MIGRATE_ACTIVE] = "active",
	[HV_MIGRATE_SWITCHOVER] = "switchover", [HV_MIGRATE_COMPLETED] = "completed",
	[HV_MIGRATE_FAILED] = "failed",		[HV_MIGRATE_CANCELLED] = "cancelled",
	[HV_MIGRATE_UNCONFIRMED] = "unconfirmed", [HV_MIGRATE_IN_DOUBT] = "in_doubt",
};

/* ---- what hvd hears -------------------------------------------------------------------- */

static json_t *statistics(const struct hv_migrate_info *i)
{
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:i}", "status",
			 status_names[i->status], "total", (json_int_t)i->total, "remaining",
			 (json_int_t)i->remaining, "transferred", (json_int_t)i->transferred, "normal",
			 (json_int_t)i->normal, "zero", (json_int_t)i->zero, "page_size",
			 (json_int_t)i->page_size, "dirty_pages_rate", (json_int_t)i->dirty_pages_rate,
			 "iteration", (json_int_t)i->iteration, "setup_ms", (double)i->setup_us / 1e3,
			 "total_ms", (double)i->total_us / 1e3, "expected_downtime_ms",
			 (double)i->expected_downtime_us / 1e3, "downtime_ms",
			 (double)i->downtime_us / 1e3, "mbps", i->mbps, "throttle_percent",
			 (int)i->throttle_percent);
}

static void job_refresh(struct guest_job *job)
{
	struct guest_migration *m = (struct guest_migration *)job;
	struct hv_migrate_info info;

	if (!m->mig || hv_migrate_info(m->mig, &info))
		return;
	json_decref(job->statistics);
	job->statistics = statistics(&info);
	job->total = info.total;
	job->done = info.total - (info.remaining < info.total ? info.remaining : info.total);
}

static void job_abort(struct guest_job *job)
{
	struct guest_migration *m = (struct guest_migration *)job;

	if (m->mig)
		hv_migrate_abort(m->mig);
}

static const char *why(const struct hv_migrate_info *info)
{
	return info->status == HV_MIGRATE_CANCELLED && !info->incoming ? "the migration was aborted" :
									info->error;
}

json_t *guest_migration_report(struct guest *g)
{
	struct guest_migration *m = g->migration;
	struct hv_migrate_info info;
	json_t *report;

	if (!m || !m->mig || hv_migrate_info(m->mig, &info))
		return NULL;
	report = json_pack("{s:s,s:b,s:s,s:b,s:s,s:b,s:s}", "id", m->id, "incoming", m->incoming,
			   "status", status_names[info.status], "may_run", info.may_run, "error",
			   why(&info), "switched", info.downtime_us > 0, "peer", m->peer);
	return report;
}

static void tell_hvd(struct guest *g)
{
	json_t *report = guest_migration_report(g);

	if (g->hvd && report)
		api_notify(&g->hvd->session, "worker.migration", report);
	else
		json_decref(report);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void run_run(struct engine_call *op)
{
	int ret = hv_machine_start(op->machine);

	op->guest->running = !ret;
	if (ret)
		engine_fail_errno(op, ret, "cannot start the vCPUs");
}

static void run_done(struct engine_call *op)
{
	struct guest *g = op->guest;

	if (g->final || g->state != DOMAIN_PAUSED)
		return;
	if (op->failed)
		guest_set_state(g, DOMAIN_PAUSED, g->reason, op->err.message);
	else
		guest_set_state(g, DOMAIN_RUNNING, g->migration->incoming ? REASON_MIGRATED :
						   REASON_MIGRATION_CANCELED, g->detail);
}

/* The guest is ours: what it did before, it does again. */
static void guest_ours(struct guest_migration *m, const struct hv_migrate_info *info)
{
	enum domain_reason reason = m->incoming ? REASON_MIGRATED : REASON_MIGRATION_CANCELED;
	struct guest *g = m->g;

	if (g->final)
		return;
	if (m->stopped || m->run) {
		guest_set_state(g, DOMAIN_PAUSED, reason, why(info));
		if (engine_own_submit(g, run_run, run_done))
			log_warning("no memory to let the guest run");
		m->stopped = m->run = false;
		return;
	}
	if (m->incoming)
		g->running = info->running;
	/* A source that was not stopped is what it was; what the guest did to itself has been told. */
	if (m->incoming || g->reason == REASON_MIGRATION_UNCONFIRMED)
		guest_set_state(g, info->running ? DOMAIN_RUNNING : DOMAIN_PAUSED, reason, why(info));
	else if (g->state == DOMAIN_RUNNING)
		guest_set_state(g, DOMAIN_RUNNING, reason, why(info));
}

/* The state that follows from where the engine says the guest is. */
static void apply_status(struct guest_migration *m)
{
	struct hv_migrate_info info;
	struct guest *g = m->g;

	hv_migrate_info(m->mig, &info);
	tell_hvd(g);
	if (g->final)
		return;
	switch (info.status) {
	case HV_MIGRATE_COMPLETED:
		if (m->incoming)
			guest_ours(m, &info);
		else
			guest_end(g, DOMAIN_SHUTDOWN, REASON_MIGRATED, NULL);
		break;
	case HV_MIGRATE_UNCONFIRMED:
		g->running = false;
		guest_set_state(g, DOMAIN_PAUSED, REASON_MIGRATION_UNCONFIRMED, info.error);
		break;
	case HV_MIGRATE_IN_DOUBT:
		guest_set_state(g, DOMAIN_PAUSED, REASON_MIGRATION_IN_DOUBT, info.error);
		break;
	default:
		if (info.may_run)
			guest_ours(m, &info);
		else
			guest_end(g, DOMAIN_SHUTDOWN, REASON_FAILED, info.error);
		break;
	}
}

static void migration_ended(evutil_socket_t fd, short what, void *arg)
{
	struct guest_migration *m = arg;
	struct hv_migrate_info info;
	struct api_error err;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 || m->ended)
		return;
	m->ended = true;
	hv_migrate_wait(m->mig);
	hv_migrate_info(m->mig, &info);
	apply_status(m);
	if (info.status == HV_MIGRATE_COMPLETED) {
		guest_job_end(&m->job, JOB_COMPLETED, statistics(&info), NULL);
		return;
	}
	api_error_set(&err, info.status == HV_MIGRATE_CANCELLED ? API_E_JOB_ABORTED :
								  API_E_MIGRATION_FAILED,
		      "%s", why(&info));
	api_error_state(&err, status_names[info.status]);
	guest_job_end(&m->job, info.status == HV_MIGRATE_CANCELLED ? JOB_ABORTED : JOB_FAILED, NULL,
		      &err);
}

/* On the migration's thread. */
static void on_end(void *ctx)
{
	struct guest_migration *m = ctx;
	const uint64_t one = 1;

	if (write(m->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* On any thread, before the guest may run: whoever finds us dead later can see it. */
static void on_takes(void *ctx)
{
	struct guest_migration *m = ctx;
	const uint64_t one = 1;

	if (m->ran_fd >= 0 && write(m->ran_fd, &one, sizeof(one)) < 0)
		log_warning("hvd cannot be told that the guest runs: %s", strerror(errno));
}

/* ---- life ------------------------------------------------------------------------------------- */

static void migration_free(struct guest_migration *m)
{
	struct api_error err;

	if (!m)
		return;
	if (m->job.running) {
		api_error_set(&err, API_E_MIGRATION_FAILED, "the guest has ended");
		guest_job_end(&m->job, JOB_FAILED, NULL, &err);
	}
	hv_migrate_free(m->mig);
	if (m->wake_event)
		event_free(m->wake_event);
	if (m->wake_fd >= 0)
		close(m->wake_fd);
	json_decref(m->later);
	if (m->ran_fd >= 0)
		close(m->ran_fd);
	free(m);
}

void guest_migration_free(struct guest *g)
{
	migration_free(g->migration);
	g->migration = NULL;
}

bool guest_migration_holds(const struct guest *g)
{
	return g->migration && (!g->migration->ended || g->reason == REASON_MIGRATION_UNCONFIRMED ||
				g->reason == REASON_MIGRATION_IN_DOUBT);
}

static struct guest_migration *migration_new(struct guest *g, bool incoming)
{
	struct guest_migration *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->g = g;
	m->ran_fd = -1;
	m->incoming = incoming;
	m->job.kind = incoming ? "migrate_incoming" : "migrate";
	m->job.unit = "bytes";
	m->job.refresh = job_refresh;
	m->job.abort = job_abort;
	m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->wake_event = m->wake_fd < 0 ? NULL :
			event_new(g->base, m->wake_fd, EV_READ | EV_PERSIST, migration_ended, m);
	if (m->wake_event)
		return m;
	migration_free(m);
	return NULL;
}

/* ---- start -------------------------------------------------------------------------------------- */

struct migrate_args {
	json_t *params;
	bool live, verify, run;
	int64_t stall_ms;
	const char *id, *peer, *fault;
};
static const struct schema stall_schema = { .kind = SCHEMA_INT, .min = 0, .max = 3600000 };
static const struct schema_field migrate_fields[] = {
	SCHEMA_FIELD(struct migrate_args, params, &schema_any, 0, "As domain.migrate_set."),
	SCHEMA_FIELD(struct migrate_args, live, &schema_bool, 0, "The guest runs meanwhile.",
		     .dflt = "true"),
	SCHEMA_FIELD(struct migrate_args, verify, &schema_bool, 0, "Compare digests."),
	SCHEMA_FIELD(struct migrate_args, run, &schema_bool, 0, "Destination: run it afterwards."),
	SCHEMA_FIELD(struct migrate_args, stall_ms, &stall_schema, 0, "A peer without bytes is lost."),
	SCHEMA_FIELD(struct migrate_args, id, &schema_string, SCHEMA_REQUIRED, "32 hexadecimal digits."),
	SCHEMA_FIELD(struct migrate_args, peer, &schema_string, 0, "Source: where it goes.", .dflt = ""),
	SCHEMA_FIELD(struct migrate_args, fault, &schema_string, 0, "For tests: what is to go wrong."),
	{ 0 }
};
static const struct schema migrate_schema = { .kind = SCHEMA_OBJECT, .fields = migrate_fields };

/* Its schema has seen it: bytes, or a size as "512MiB". */
static uint64_t bandwidth(const json_t *given)
{
	uint64_t bytes = 0;

	if (json_is_integer(given))
		return (uint64_t)json_integer_value(given);
	schema_parse_size(json_string_value(given), &bytes);
	return bytes;
}

static void params_merge(struct hv_migrate_params *p, json_t *given)
{
	json_t *v;

	if ((v = json_object_get(given, "max_bandwidth")))
		p->max_bandwidth = bandwidth(v);
	if ((v = json_object_get(given, "downtime_limit_ms")))
		p->downtime_limit_ms = json_integer_value(v);
	if ((v = json_object_get(given, "zstd_level")))
		p->zstd_level = json_integer_value(v);
	if ((v = json_object_get(given, "auto_converge")))
		p->auto_converge = json_is_true(v);
	if ((v = json_object_get(given, "throttle_initial")))
		p->throttle_initial = json_integer_value(v);
	if ((v = json_object_get(given, "throttle_increment")))
		p->throttle_increment = json_integer_value(v);
	if ((v = json_object_get(given, "throttle_max")))
		p->throttle_max = json_integer_value(v);
}

static int set_now(struct guest_migration *m, json_t *given)
{
	struct hv_migrate_params params = m->params;
	int ret;

	params_merge(&params, given);
	ret = hv_migrate_set(m->mig, &params);
	if (!ret)
		m->params = params;
	return ret;
}

/* On the engine thread. */
static void migrate_run(struct engine_call *op)
{
	const struct migrate_args *args = op->args;
	struct guest_migration *m = op->data;
	struct hv_migrate_config config = {
		.fds = op->call->fds, .nr_fds = op->call->nfds - m->incoming, .verify = args->verify,
		.stall_ms = args->stall_ms, .params = m->params, .takes = on_takes,
		.done = on_end, .ctx = m, .fault = args->fault,
	};
	char error[HV_ERROR_SIZE] = "";
	unsigned int i, byte;
	int ret;

	for (i = 0; i < HV_MIGRATE_ID_SIZE && sscanf(args->id + 2 * i, "%2x", &byte) == 1; i++)
		config.id[i] = byte;
	if (!m->incoming && !args->live && op->guest->running) {
		hv_machine_pause(op->machine);
		op->guest->running = false;
		m->stopped = true;
	}
	ret = m->incoming ? hv_migrate_accept(op->machine, &config, &m->mig, error) :
			    hv_migrate_start(op->machine, &config, &m->mig, error);
	if (!ret)
		return;
	if (m->stopped && !hv_machine_start(op->machine))
		op->guest->running = true;
	engine_fail(op, API_E_MIGRATION_FAILED, "%s", error[0] ? error : strerror(-ret));
}

static void migrate_done(struct engine_call *op)
{
	struct guest_migration *m = op->data;
	struct guest *g = op->guest;

	g->migration_starting = NULL;
	if (!op->failed && guest_job_begin(g, &m->job))
		engine_fail(op, API_E_RESOURCE_EXHAUSTED, "no memory");
	if (op->failed) {
		migration_free(m);
		return;
	}
	migration_free(g->migration);
	g->migration = m;
	if (m->later)
		set_now(m, m->later);
	if (m->stopped)
		guest_set_state(g, DOMAIN_PAUSED, REASON_MIGRATION, NULL);
	/* Only now: it may have ended before this turn of the loop. */
	event_add(m->wake_event, NULL);
}

static void migrate_begin(struct api_call *call, const struct migrate_args *args, bool incoming)
{
	struct guest *g = guest_of(call);
	struct guest_migration *m;

	if (!guest_has_machine(call))
		return;
	if (call->nfds < 1U + incoming) {
		api_fail_text(call, API_E_INVALID_PARAMS, "connections are needed");
		return;
	}
	if (g->migration_starting || guest_migration_holds(g)) {
		api_fail_text(call, API_E_JOB_CONFLICT, "it is being migrated already");
		return;
	}
	m = migration_new(g, incoming);
	if (!m) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	if (incoming) {
		m->ran_fd = call->fds[call->nfds - 1];
		call->fds[call->nfds - 1] = -1;
	}
	m->run = args->run;
	snprintf(m->id, sizeof(m->id), "%s", args->id);
	snprintf(m->peer, sizeof(m->peer), "%s", args->peer);
	params_merge(&m->params, args->params);
	g->migration_starting = m;
	if (engine_call_submit_data(call, args, migrate_run, migrate_done, m)) {
		g->migration_starting = NULL;
		migration_free(m);
	}
}

static void worker_migrate(struct api_call *call, const void *args)
{
	migrate_begin(call, args, false);
}

static void worker_migrate_accept(struct api_call *call, const void *args)
{
	migrate_begin(call, args, true);
}

/* ---- while it runs ---------------------------------------------------------------------------------- */

void vm_migrate_set(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);
	struct guest_migration *m = g->migration_starting ? g->migration_starting : g->migration;

	(void)args;
	if (!m || m->ended || m->incoming) {
		guest_fail_state(call, "it is not being migrated from here");
		return;
	}
	if (m == g->migration_starting) {
		m->later = m->later ? m->later : json_object();
		json_object_update(m->later, call->params);
	} else if (set_now(m, call->params)) {
		api_fail_text(call, API_E_INVALID_PARAMS, "a parameter is out of range");
		return;
	}
	api_reply(call, NULL);
}

/* ---- doubts ------------------------------------------------------------------------------------------- */

/* On the slow thread: it waits for the peer. */
static void resolve_run(struct engine_call *op)
{
	char error[HV_ERROR_SIZE] = "";
	struct guest_migration *m = op->data;
	int ret = hv_migrate_resolve(m->mig, op->call->fds[0], error);

	if (ret && ret != -ECANCELED)
		engine_fail(op, API_E_MIGRATION_FAILED, "%s", error[0] ? error : strerror(-ret));
}

static void settle_done(struct engine_call *op)
{
	struct guest_migration *m = op->data;

	m->settling = false;
	if (!op->failed)
		apply_status(m);
}

static void gone_run(struct engine_call *op)
{
	struct guest_migration *m = op->data;
	int ret = hv_migrate_gone(m->mig);

	if (ret)
		engine_fail(op, API_E_DOMAIN_WRONG_STATE, "it is in no doubt");
}

static struct guest_migration *migration_to_settle(struct api_call *call)
{
	struct guest *g = guest_of(call);
	struct guest_migration *m = g->migration;

	if (m && m->ended && !m->settling && !g->final)
		return m;
	guest_fail_state(call, "it has no migration to settle");
	return NULL;
}

static void worker_migrate_resolve(struct api_call *call, const void *args)
{
	struct guest_migration *m = migration_to_settle(call);

	if (!m)
		return;
	if (call->nfds != 1) {
		api_fail_text(call, API_E_INVALID_PARAMS, "one descriptor is needed");
		return;
	}
	m->settling = true;
	if (engine_call_submit_data(call, args, resolve_run, settle_done, m))
		m->settling = false;
}

static void worker_migrate_gone(struct api_call *call, const void *args)
{
	struct guest_migration *m = migration_to_settle(call);

	if (!m)
		return;
	m->settling = true;
	if (engine_call_submit_data(call, args, gone_run, settle_done, m))
		m->settling = false;
}

/* The destination's hvd has said that the guest runs there, or ran and has ended. */
static void worker_migrate_moved(struct api_call *call, const void *args)
{
	struct guest *g = guest_of(call);

	(void)args;
	if (g->reason != REASON_MIGRATION_UNCONFIRMED || g->final) {
		guest_fail_state(call, "it is in no doubt");
		return;
	}
	api_reply(call, NULL);
	guest_end(g, DOMAIN_SHUTDOWN, REASON_MIGRATED, NULL);
}

/* ---- measuring, for a plan ------------------------------------------------------------------------------- */

#define MEASURE_SAMPLES 8
#define MEASURE_RANGES	512

struct measure_args {
	int64_t time_ms;
};
static const struct schema measure_ms = { .kind = SCHEMA_INT, .min = 1, .max = 60000 };
static const struct schema_field measure_fields[] = {
	SCHEMA_FIELD(struct measure_args, time_ms, &measure_ms, SCHEMA_REQUIRED, "How long."),
	{ 0 }
};
static const struct schema measure_schema = { .kind = SCHEMA_OBJECT, .fields = measure_fields };

/* Pages that were written since the cursor; or -errno. */
static int64_t measure_pages(struct hv_vm *vm, uint64_t since)
{
	struct hv_dirty_range ranges[MEASURE_RANGES];
	uint64_t cursor, gpa = 0;
	int64_t pages = 0;
	int n = 0, i;

	while (gpa != HV_DIRTYLOG_DONE) {
		n = hv_dirtylog_read(vm, since, &cursor, &gpa, ranges, MEASURE_RANGES);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++)
			pages += ranges[i].pages;
	}
	return pages;
}

/* The cursor from which on; the pages of all memory that it begins with are read away. */
static int measure_begin(struct hv_vm *vm, uint64_t *cursor)
{
	struct hv_dirty_range ranges[MEASURE_RANGES];
	uint64_t since, gpa = 0;
	int n = hv_dirtylog_start(vm, &since);

	if (n)
		return n;
	while (gpa != HV_DIRTYLOG_DONE && n >= 0)
		n = hv_dirtylog_read(vm, since, cursor, &gpa, ranges, MEASURE_RANGES);
	if (n < 0)
		hv_dirtylog_stop(vm);
	return n < 0 ? n : 0;
}

static void measure_run(struct engine_call *op)
{
	const struct measure_args *args = op->args;
	struct hv_vm *vm = hv_machine_vm(op->machine);
	const int64_t us = args->time_ms * 1000 / MEASURE_SAMPLES;
	const struct timespec step = { us / 1000000, us % 1000000 * 1000 };
	json_t *written = json_array();
	int64_t pages = 0;
	uint64_t cursor;
	int i, ret;

	ret = measure_begin(vm, &cursor);
	for (i = 0; i < MEASURE_SAMPLES && !ret && pages >= 0; i++) {
		nanosleep(&step, NULL);
		pages = measure_pages(vm, cursor);
		json_array_append_new(written, json_integer(pages * 4096));
	}
	if (!ret)
		hv_dirtylog_stop(vm);
	if (ret || pages < 0) {
		json_decref(written);
		engine_fail_errno(op, ret ? ret : pages, "cannot read the dirty log");
		return;
	}
	op->result = json_pack("{s:o}", "written", written);
}

static void worker_migrate_measure(struct api_call *call, const void *args)
{
	engine_call_submit(call, args, measure_run, NULL);
}

#define MIGRATE_ERRORS \
	API_ERRORS(API_E_DOMAIN_WRONG_STATE, API_E_JOB_CONFLICT, API_E_MIGRATION_FAILED)
#define ROW(name_, summary_, params_, size_, flags_, handler_) \
	{ \
		.name = name_, .summary = summary_, .params = params_, .args_size = size_, \
		.privilege = API_RW, .flags = API_INTERNAL | (flags_), .handler = handler_, \
		.errors = MIGRATE_ERRORS, \
	}

const struct api_method guest_migrate_rows[] = {
	ROW("worker.migrate", "Send the guest over these connections.", &migrate_schema,
	    sizeof(struct migrate_args), API_TAKES_FDS, worker_migrate),
	ROW("worker.migrate_accept",
	    "Take the guest from these connections; the last descriptor is written to before it runs.",
	    &migrate_schema,
	    sizeof(struct migrate_args), API_TAKES_FDS, worker_migrate_accept),
	ROW("worker.migrate_resolve", "Settle a doubt over a new connection.", NULL, 0,
	    API_TAKES_FDS | API_BLOCKS, worker_migrate_resolve),
	ROW("worker.migrate_gone", "The other side will never run the guest.", NULL, 0, 0,
	    worker_migrate_gone),
	{
		.name = "worker.migrate_measure",
		.summary = "How much memory the guest writes in a time.",
		.params = &measure_schema,
		.result = &schema_any,
		.args_size = sizeof(struct measure_args),
		.privilege = API_RW,
		.flags = API_INTERNAL | API_BLOCKS,
		.handler = worker_migrate_measure,
		.errors = MIGRATE_ERRORS,
	},
	ROW("worker.migrate_moved", "The other side has the guest.", NULL, 0, 0, worker_migrate_moved),
	{ 0 },
};
