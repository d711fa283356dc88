/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs whose work a worker does: requests, reports, ends.
 */
#include "daemon/worker_job.h"

#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/migrate.h"
#include "daemon/worker_link.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const struct worker_job_kind *const kinds[] = {
	&worker_job_snapshot,
	&migrate_job_kind,
	&migrate_incoming_job_kind,
	NULL
};

const struct worker_job_kind *worker_job_kind(const char *name)
{
	size_t i;

	for (i = 0; kinds[i]; i++)
		if (!strcmp(kinds[i]->name, name))
			return kinds[i];
	return NULL;
}

/* ---- ends ------------------------------------------------------------------------- */

static void worker_job_ended(struct hvd *hvd, struct domain *dom, struct job *job,
			     const struct worker_job_report *report, const struct api_error *err)
{
	const struct worker_job_kind *kind = worker_job_kind(job->kind);
	enum job_status status = !err ? JOB_COMPLETED :
				 err->id == API_E_JOB_ABORTED ? JOB_ABORTED : JOB_FAILED;

	job->abort = NULL;
	job->worker = false;
	if (kind && kind->ended && kind->ended(hvd, dom, job, report, err))
		return;
	job_end(hvd, job, status, report ? json_incref(report->result) : NULL, err);
}

void worker_jobs_lost(struct hvd *hvd, struct domain *dom, const char *how)
{
	struct api_error err;
	size_t i;

	api_error_set(&err, API_E_PEER_LOST, "%s", how);
	for (i = 0; kinds[i]; i++) {
		struct job *job = job_running(hvd, kinds[i]->name, dom->name);

		if (job && job->worker)
			worker_job_ended(hvd, dom, job, NULL, &err);
	}
}

/* ---- requests ----------------------------------------------------------------------- */

static void abort_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			 unsigned int nfds, const struct api_error *err)
{
	(void)worker;
	(void)data;
	(void)result;
	(void)err;
	/* Whether it could still be aborted, the job's end says. */
	api_close_fds(fds, nfds);
}

static void worker_job_abort(struct job *job)
{
	struct domain *dom = domain_find(job->hvd, job->domain);

	if (dom && dom->worker)
		worker_request(dom->worker, "worker.job_abort", json_pack("{s:s}", "kind", job->kind),
			       NULL, 0, abort_answer, NULL);
}

/* It has begun, or not; then no report follows. */
static void start_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			 unsigned int nfds, const struct api_error *err)
{
	struct domain *dom = worker_domain(worker);
	const struct worker_job_kind *kind = data;
	struct job *job;

	(void)result;
	api_close_fds(fds, nfds);
	/* A lost worker ends all its jobs by itself. */
	if (!err || !dom || err->id == API_E_PEER_LOST)
		return;
	job = job_running(worker_hvd(worker), kind->name, dom->name);
	if (job)
		worker_job_ended(worker_hvd(worker), dom, job, NULL, err);
}

int worker_job_send(struct hvd *hvd, struct domain *dom, struct job *job,
		    const struct worker_job_request *r)
{
	int ret;

	(void)hvd;
	ret = worker_request(dom->worker, r->method, r->params, r->fds, r->nfds, start_answer,
			     (void *)(uintptr_t)r->kind);
	if (ret)
		return ret;
	job->worker = true;
	job->abort = worker_job_abort;
	return 0;
}

struct job *worker_job_start(struct hvd *hvd, struct domain *dom,
			     const struct worker_job_request *r, struct api_error *err)
{
	struct job *job = NULL;

	if (job_running(hvd, r->kind->name, dom->name))
		api_error_set(err, API_E_JOB_CONFLICT, "a job of this kind runs already: %s",
			      r->kind->name);
	else if (!(job = job_start(hvd, r->kind->name, dom->name)))
		api_error_set(err, API_E_RESOURCE_EXHAUSTED, "%u jobs run", jobs_running(hvd));
	if (!job) {
		json_decref(r->params);
		api_close_fds(r->fds, r->nfds);
		return NULL;
	}
	job->unit = r->kind->unit;
	job->data = r->data;
	if (!worker_job_send(hvd, dom, job, r))
		return job;
	api_error_set(err, API_E_PEER_LOST, "the domain's worker is gone");
	job_end(hvd, job, JOB_FAILED, NULL, err);
	return NULL;
}

/* ---- reports -------------------------------------------------------------------------- */

static const char *const status_names[] = { "running", "completed", "failed", "aborted", NULL };
static const struct schema status_schema = { .kind = SCHEMA_ENUM, .values = status_names };
static const struct schema_field report_fields[] = {
	SCHEMA_FIELD(struct worker_job_report, kind, &schema_string, SCHEMA_REQUIRED, "Its kind."),
	SCHEMA_FIELD(struct worker_job_report, status, &status_schema, SCHEMA_REQUIRED, "Where it is."),
	SCHEMA_FIELD(struct worker_job_report, done, &schema_u64, SCHEMA_REQUIRED, "So far."),
	SCHEMA_FIELD(struct worker_job_report, total, &schema_u64, SCHEMA_REQUIRED, "In all."),
	SCHEMA_FIELD(struct worker_job_report, unit, &schema_string, 0, "What is counted."),
	SCHEMA_FIELD(struct worker_job_report, statistics, &schema_any, 0, "The kind's own figures."),
	SCHEMA_FIELD(struct worker_job_report, cookie, &schema_any, 0, "As the request gave it."),
	SCHEMA_FIELD(struct worker_job_report, result, &schema_any, 0, "Of a completed one."),
	SCHEMA_FIELD(struct worker_job_report, error, &schema_any, 0, "Of any other that ended."),
	{ 0 }
};
static const struct schema report_schema = { .kind = SCHEMA_OBJECT, .fields = report_fields };

static void report_apply(struct hvd *hvd, struct domain *dom, struct job *job,
			 const struct worker_job_report *r)
{
	struct api_error err;

	job->done = r->done;
	job->total = r->total;
	if (r->statistics) {
		json_decref(job->statistics);
		job->statistics = json_incref(r->statistics);
	}
	if (r->status == JOB_RUNNING)
		return;
	if (r->status != JOB_COMPLETED) {
		api_error_from_json(&err, r->error);
		if (r->status == JOB_ABORTED)
			err.id = API_E_JOB_ABORTED;
	}
	worker_job_ended(hvd, dom, job, r, r->status == JOB_COMPLETED ? NULL : &err);
}

void worker_jobs_adopt(struct hvd *hvd, struct domain *dom, json_t *jobs)
{
	const struct worker_job_kind *kind;
	struct worker_job_report r;
	struct api_error err;
	struct job *job;
	json_t *report;
	size_t i;

	json_array_foreach(jobs, i, report) {
		if (schema_decode(&report_schema, report, &r, "", API_E_INTERNAL, &err)) {
			log_err("domain %s: a job of its worker: %s", dom->name, err.message);
			continue;
		}
		kind = worker_job_kind(r.kind);
		if (!kind || job_running(hvd, kind->name, dom->name))
			continue;
		job = job_start(hvd, kind->name, dom->name);
		if (!job)
			continue;
		job->unit = kind->unit;
		job->worker = true;
		job->abort = worker_job_abort;
		report_apply(hvd, dom, job, &r);
	}
}

static void worker_job_handler(struct api_call *call, const void *args)
{
	struct api_conn *conn = (struct api_conn *)call->session;
	struct domain *dom = conn ? worker_domain(conn->data) : NULL;
	const struct worker_job_report *r = args;
	const struct worker_job_kind *kind = worker_job_kind(r->kind);
	struct job *job = dom && kind ? job_running(hvd_of(call), kind->name, dom->name) : NULL;

	if (job && job->worker)
		report_apply(hvd_of(call), dom, job, r);
	api_reply(call, NULL);
}

const struct api_method methods_worker_job[] = {
	{
		.name = "worker.job",
		.summary = "How far a worker's job is, or how it ended.",
		.params = &report_schema,
		.args_size = sizeof(struct worker_job_report),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_job_handler,
	},
	{ 0 },
};
