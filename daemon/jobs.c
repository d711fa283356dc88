/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The job table and its methods.
 */
#include "daemon/jobs.h"

#include "daemon/events.h"
#include "daemon/hvd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job_table {
	TAILQ_HEAD(, job) jobs;	/* oldest first */
	unsigned int running, ended;
	int64_t next_id;
};

static const char *const job_status_names[] = { "running", "completed", "failed", "aborted", NULL };

int jobs_init(struct hvd *hvd)
{
	struct job_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	TAILQ_INIT(&t->jobs);
	t->next_id = 1;
	hvd->jobs = t;
	return 0;
}

static void job_free(struct job_table *t, struct job *job)
{
	TAILQ_REMOVE(&t->jobs, job, link);
	json_decref(job->statistics);
	json_decref(job->result);
	free(job);
}

void jobs_fini(struct hvd *hvd)
{
	struct job_table *t = hvd->jobs;

	if (!t)
		return;
	while (!TAILQ_EMPTY(&t->jobs))
		job_free(t, TAILQ_FIRST(&t->jobs));
	free(t);
	hvd->jobs = NULL;
}

unsigned int jobs_running(const struct hvd *hvd)
{
	return hvd->jobs->running;
}

struct job *job_find(struct hvd *hvd, int64_t id)
{
	struct job *job;

	TAILQ_FOREACH(job, &hvd->jobs->jobs, link)
		if (job->id == id)
			return job;
	return NULL;
}

struct job *job_running(struct hvd *hvd, const char *kind, const char *domain)
{
	struct job *job;

	TAILQ_FOREACH(job, &hvd->jobs->jobs, link)
		if (job->status == JOB_RUNNING && !strcmp(job->kind, kind) &&
		    !strcmp(job->domain, domain))
			return job;
	return NULL;
}

struct job *job_excluding(struct hvd *hvd, const char *domain)
{
	static const char *const kinds[] = { "migrate", "migrate_incoming", "snapshot", "upgrade" };
	struct job *job;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		job = job_running(hvd, kinds[i], domain);
		if (job)
			return job;
	}
	return NULL;
}

struct job *job_start(struct hvd *hvd, const char *kind, const char *domain)
{
	struct job_table *t = hvd->jobs;
	struct job *job;

	if (t->running >= hvd->config.max_jobs)
		return NULL;
	job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	job->id = t->next_id++;
	job->hvd = hvd;
	job->kind = kind;
	job->unit = "";
	snprintf(job->domain, sizeof(job->domain), "%s", domain);
	job->started_us = events_now_us();
	TAILQ_INIT(&job->waits);
	TAILQ_INSERT_TAIL(&t->jobs, job, link);
	t->running++;
	events_emit(hvd, "job.started", job->domain,
		    json_pack("{s:I,s:s}", "job", (json_int_t)job->id, "kind", kind));
	return job;
}

static json_t *job_to_json(struct job *job)
{
	json_t *obj = json_pack("{s:I,s:s,s:s,s:s,s:o}", "id", (json_int_t)job->id, "kind",
				job->kind, "domain", job->domain, "status",
				job_status_names[job->status], "started",
				events_time(job->started_us));

	if (job->status == JOB_RUNNING && job->refresh)
		job->refresh(job);
	json_object_set_new(obj, "progress",
			    json_pack("{s:I,s:I,s:s}", "done", (json_int_t)job->done, "total",
				      (json_int_t)job->total, "unit", job->unit));
	if (job->statistics)
		json_object_set(obj, "statistics", job->statistics);
	if (job->ended_us)
		json_object_set_new(obj, "ended", events_time(job->ended_us));
	if (job->result)
		json_object_set(obj, "result", job->result);
	if (job->status == JOB_FAILED || job->status == JOB_ABORTED)
		json_object_set_new(obj, "error", api_error_to_json(&job->error));
	return obj;
}

/* A call that waits for a job, with or without a time limit. */
struct job_waiter {
	struct job *job;
	struct event *timer;
};

static void job_unwait(struct api_call *call)
{
	struct job_waiter *w = call->data;

	TAILQ_REMOVE(&w->job->waits, call, wait_link);
	w->job->nwaits--;
	call->cancel = NULL;
	if (w->timer)
		event_free(w->timer);
	free(w);
}

static void job_wait_cancel(struct api_call *call)
{
	job_unwait(call);
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

static void job_wait_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct api_call *call = arg;

	(void)fd;
	(void)what;
	job_unwait(call);
	api_fail_text(call, API_E_TIMEOUT, "the job has not ended in time");
}

int job_wait(struct hvd *hvd, struct job *job, struct api_call *call, int64_t timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct job_waiter *w;

	if (job->status != JOB_RUNNING) {
		api_reply(call, job_to_json(job));
		return 0;
	}
	w = job->nwaits < JOB_WAITS ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return -ENOBUFS;
	if (timeout_ms >= 0) {
		w->timer = evtimer_new(hvd->base, job_wait_timeout, call);
		if (!w->timer || evtimer_add(w->timer, &tv)) {
			if (w->timer)
				event_free(w->timer);
			free(w);
			return -ENOBUFS;
		}
	}
	w->job = job;
	call->data = w;
	call->cancel = job_wait_cancel;
	TAILQ_INSERT_TAIL(&job->waits, call, wait_link);
	job->nwaits++;
	return 0;
}

static void jobs_forget(struct job_table *t)
{
	struct job *job, *next;

	for (job = TAILQ_FIRST(&t->jobs); job && t->ended > JOBS_KEPT; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->status == JOB_RUNNING)
			continue;
		job_free(t, job);
		t->ended--;
	}
}

void job_end(struct hvd *hvd, struct job *job, enum job_status status, json_t *result,
	     const struct api_error *error)
{
	struct api_call *call;

	if (job->refresh)
		job->refresh(job);
	job->refresh = NULL;
	job->abort = NULL;
	job->status = status;
	job->ended_us = events_now_us();
	job->result = result;
	if (error)
		job->error = *error;
	hvd->jobs->running--;
	hvd->jobs->ended++;
	events_emit(hvd, "job.finished", job->domain,
		    json_pack("{s:I,s:s,s:s}", "job", (json_int_t)job->id, "kind", job->kind,
			      "status", job_status_names[status]));
	while ((call = TAILQ_FIRST(&job->waits))) {
		job_unwait(call);
		api_reply(call, job_to_json(job));
	}
	jobs_forget(hvd->jobs);
}

/* ---- methods -------------------------------------------------------------- */

static const struct schema status_schema = { .kind = SCHEMA_ENUM, .values = job_status_names };
static const struct schema_field progress_fields[] = {
	SCHEMA_RESULT("done", &schema_count, SCHEMA_REQUIRED, "So far."),
	SCHEMA_RESULT("total", &schema_count, SCHEMA_REQUIRED, "In all; 0: unknown."),
	SCHEMA_RESULT("unit", &schema_string, SCHEMA_REQUIRED, "What is counted."),
	{ 0 }
};
static const struct schema progress_schema = { .kind = SCHEMA_OBJECT, .fields = progress_fields };
static const struct schema_field job_fields[] = {
	SCHEMA_RESULT("id", &schema_count, SCHEMA_REQUIRED, "Its number."),
	SCHEMA_RESULT("kind", &schema_string, SCHEMA_REQUIRED, "What it does."),
	SCHEMA_RESULT("domain", &schema_string, SCHEMA_REQUIRED, "To which domain."),
	SCHEMA_RESULT("status", &status_schema, SCHEMA_REQUIRED, "Where it stands."),
	SCHEMA_RESULT("started", &schema_number, SCHEMA_REQUIRED, "Seconds since 1970."),
	SCHEMA_RESULT("progress", &progress_schema, SCHEMA_REQUIRED, "How far it is."),
	SCHEMA_RESULT("statistics", &schema_any, 0, "Figures of its kind, up to date while it runs."),
	SCHEMA_RESULT("ended", &schema_number, 0, "Seconds since 1970."),
	SCHEMA_RESULT("result", &schema_any, 0, "Of a completed one."),
	SCHEMA_RESULT("error", &schema_any, 0, "Of a failed or aborted one, as in an answer."),
	{ 0 }
};
const struct schema job_schema = { .kind = SCHEMA_OBJECT, .title = "Job", .fields = job_fields };
static const struct schema jobs_array = { .kind = SCHEMA_ARRAY, .item = &job_schema };
static const struct schema_field list_result_fields[] = {
	SCHEMA_RESULT("jobs", &jobs_array, SCHEMA_REQUIRED, "Oldest first."),
	{ 0 }
};
static const struct schema list_result = { .kind = SCHEMA_OBJECT, .fields = list_result_fields };

struct list_args {
	const char *domain;
};
static const struct schema_field list_fields[] = {
	SCHEMA_FIELD(struct list_args, domain, &schema_name, 0, "Only those of this domain."),
	{ 0 }
};
static const struct schema list_params = { .kind = SCHEMA_OBJECT, .fields = list_fields };

struct job_args {
	int64_t id;
};
static const struct schema_field id_fields[] = {
	SCHEMA_FIELD(struct job_args, id, &schema_count, SCHEMA_REQUIRED, "The job's number."),
	{ 0 }
};
static const struct schema id_params = { .kind = SCHEMA_OBJECT, .fields = id_fields };

struct wait_args {
	struct job_args job;
	int64_t timeout_ms;
};
static const struct schema timeout_schema = { .kind = SCHEMA_INT, .min = -1, .max = 86400000 };
static const struct schema_field wait_fields[] = {
	SCHEMA_FIELD_AS(struct wait_args, job.id, "id", &schema_count, SCHEMA_REQUIRED,
			"The job's number."),
	SCHEMA_FIELD(struct wait_args, timeout_ms, &timeout_schema, 0, "-1: no limit.",
		     .dflt = "-1"),
	{ 0 }
};
static const struct schema wait_params = { .kind = SCHEMA_OBJECT, .fields = wait_fields };

static struct job *job_of_call(struct api_call *call, const struct job_args *args)
{
	struct job *job = job_find(hvd_of(call), args->id);

	if (!job)
		api_fail_text(call, API_E_JOB_NOT_FOUND, "there is no job %lld", (long long)args->id);
	return job;
}

static void method_list(struct api_call *call, const void *data)
{
	const struct list_args *args = data;
	json_t *list = json_array();
	struct job *job;

	TAILQ_FOREACH(job, &hvd_of(call)->jobs->jobs, link)
		if (!args->domain || !strcmp(args->domain, job->domain))
			json_array_append_new(list, job_to_json(job));
	api_reply(call, json_pack("{s:o}", "jobs", list));
}

static void method_info(struct api_call *call, const void *data)
{
	struct job *job = job_of_call(call, data);

	if (job)
		api_reply(call, job_to_json(job));
}

static void method_abort(struct api_call *call, const void *data)
{
	struct job *job = job_of_call(call, data);

	if (!job)
		return;
	if (job->status != JOB_RUNNING || !job->abort) {
		api_fail_text(call, API_E_JOB_CONFLICT, "job %lld %s", (long long)job->id,
			      job->status == JOB_RUNNING ? "cannot be aborted" : "has ended");
		return;
	}
	job->abort(job);
	api_reply(call, NULL);
}

static void method_wait(struct api_call *call, const void *data)
{
	const struct wait_args *args = data;
	struct job *job = job_of_call(call, &args->job);

	if (job && job_wait(hvd_of(call), job, call, args->timeout_ms))
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "%d calls wait for job %lld", JOB_WAITS,
			      (long long)job->id);
}

const struct api_method methods_job[] = {
	{
		.name = "job.list",
		.summary = "The jobs that run, and the last ones that ended.",
		.params = &list_params,
		.result = &list_result,
		.args_size = sizeof(struct list_args),
		.privilege = API_RO,
		.handler = method_list,
	},
	{
		.name = "job.info",
		.summary = "One job: status, progress, outcome.",
		.params = &id_params,
		.result = &job_schema,
		.args_size = sizeof(struct job_args),
		.privilege = API_RO,
		.handler = method_info,
		.errors = API_ERRORS(API_E_JOB_NOT_FOUND),
	},
	{
		.name = "job.abort",
		.summary = "Ask a job to end before its time.",
		.params = &id_params,
		.args_size = sizeof(struct job_args),
		.privilege = API_RW,
		.handler = method_abort,
		.errors = API_ERRORS(API_E_JOB_NOT_FOUND, API_E_JOB_CONFLICT),
	},
	{
		.name = "job.wait",
		.summary = "Answer when the job has ended, with its outcome.",
		.params = &wait_params,
		.result = &job_schema,
		.args_size = sizeof(struct wait_args),
		.privilege = API_RO,
		.flags = API_BLOCKS,
		.handler = method_wait,
		.errors = API_ERRORS(API_E_JOB_NOT_FOUND, API_E_TIMEOUT),
	},
	{ 0 },
};
