/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs in the worker: reports to hvd, and what it has to hear later.
 */
#include "daemon/guest_job.h"

#include "daemon/guest.h"

#include <errno.h>
#include <string.h>

static const char *const status_names[] = { "running", "completed", "failed", "aborted" };

/* A new reference; takes @result. */
static json_t *job_report(struct guest_job *job, enum job_status status, json_t *result,
			  const struct api_error *err)
{
	json_t *report;

	if (job->refresh)
		job->refresh(job);
	report = json_pack("{s:s,s:s,s:I,s:I,s:s}", "kind", job->kind, "status", status_names[status],
			   "done", (json_int_t)job->done, "total", (json_int_t)job->total, "unit",
			   job->unit);
	if (job->statistics)
		json_object_set(report, "statistics", job->statistics);
	if (job->cookie)
		json_object_set(report, "cookie", job->cookie);
	if (result)
		json_object_set_new(report, "result", result);
	if (err)
		json_object_set_new(report, "error", api_error_to_json(err));
	return report;
}

static void job_tick(evutil_socket_t fd, short what, void *arg)
{
	struct guest_job *job = arg;

	(void)fd;
	(void)what;
	if (job->guest->hvd)
		api_notify(&job->guest->hvd->session, "worker.job",
			   job_report(job, JOB_RUNNING, NULL, NULL));
}

struct guest_job *guest_job_find(struct guest *g, const char *kind)
{
	struct guest_job *job;

	TAILQ_FOREACH(job, &g->jobs, link)
		if (!strcmp(job->kind, kind))
			return job;
	return NULL;
}

int guest_job_begin(struct guest *g, struct guest_job *job)
{
	static const struct timeval tick = { .tv_usec = GUEST_JOB_REPORT_MS * 1000 };

	if (guest_job_find(g, job->kind))
		return -EBUSY;
	job->guest = g;
	job->timer = event_new(g->base, -1, EV_PERSIST, job_tick, job);
	if (!job->timer || event_add(job->timer, &tick)) {
		if (job->timer)
			event_free(job->timer);
		return -ENOMEM;
	}
	job->running = true;
	TAILQ_INSERT_TAIL(&g->jobs, job, link);
	return 0;
}

void guest_job_end(struct guest_job *job, enum job_status status, json_t *result,
		   const struct api_error *err)
{
	json_t *report = job_report(job, status, result, err);
	struct guest *g = job->guest;

	if (g->hvd) {
		api_notify(&g->hvd->session, "worker.job", report);
	} else {
		if (!g->jobs_unheard)
			g->jobs_unheard = json_array();
		json_array_append_new(g->jobs_unheard, report);
	}
	event_free(job->timer);
	TAILQ_REMOVE(&g->jobs, job, link);
	json_decref(job->statistics);
	json_decref(job->cookie);
	job->timer = NULL;
	job->statistics = job->cookie = NULL;
	job->running = false;
}

json_t *guest_jobs_report(struct guest *g)
{
	json_t *list = g->jobs_unheard ? g->jobs_unheard : json_array();
	struct guest_job *job;

	g->jobs_unheard = NULL;
	TAILQ_FOREACH(job, &g->jobs, link)
		json_array_append_new(list, job_report(job, JOB_RUNNING, NULL, NULL));
	return list;
}

struct abort_args {
	const char *kind;
};
static const struct schema_field abort_fields[] = {
	SCHEMA_FIELD(struct abort_args, kind, &schema_string, SCHEMA_REQUIRED, "Which."),
	{ 0 }
};
static const struct schema abort_schema = { .kind = SCHEMA_OBJECT, .fields = abort_fields };

static void worker_job_abort(struct api_call *call, const void *data)
{
	const struct abort_args *args = data;
	struct guest_job *job = guest_job_find(guest_of(call), args->kind);

	if (!job || !job->abort) {
		api_fail_text(call, API_E_JOB_CONFLICT, "it cannot be aborted any more");
		return;
	}
	job->abort(job);
	api_reply(call, NULL);
}

const struct api_method guest_job_rows[] = {
	{
		.name = "worker.job_abort",
		.summary = "Ask a job to end.",
		.params = &abort_schema,
		.args_size = sizeof(struct abort_args),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_job_abort,
		.errors = API_ERRORS(API_E_JOB_CONFLICT),
	},
	{ 0 },
};
