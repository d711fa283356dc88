/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs: long work with progress, abort and an outcome. At most config.max_jobs run
 * at a time; the last JOBS_KEPT finished ones stay readable. Event loop only.
 */
#ifndef DAEMON_JOBS_H
#define DAEMON_JOBS_H

#include "api/dispatch.h"

#include <stdbool.h>
#include <stdint.h>

#define JOBS_KEPT  256
#define JOB_WAITS  1024

struct hvd;
struct job_table;

enum job_status { JOB_RUNNING, JOB_COMPLETED, JOB_FAILED, JOB_ABORTED };

struct job {
	TAILQ_ENTRY(job) link;
	int64_t id;
	const char *kind;		/* static: "dirtyrate" ... */
	char domain[SCHEMA_NAME_MAX + 1];
	enum job_status status;
	uint64_t started_us, ended_us;
	uint64_t done, total;		/* in the kind's unit; total 0: unknown */
	const char *unit;		/* static: "ms", "bytes" */
	json_t *statistics;		/* owned; the kind's own figures, NULL: none */
	bool worker;			/* a worker does the work (worker_job.h) */
	struct hvd *hvd;
	/* Current progress, for kinds that know it only when asked; may be NULL. */
	void (*refresh)(struct job *job);
	/* Ask the work to end; it ends the job with job_end(). */
	void (*abort)(struct job *job);
	void *data;
	json_t *result;
	struct api_error error;
	struct api_call_queue waits;
	unsigned int nwaits;
};

int jobs_init(struct hvd *hvd);
void jobs_fini(struct hvd *hvd);
/* NULL: config.max_jobs are running, or no memory. Sends job.started. */
struct job *job_start(struct hvd *hvd, const char *kind, const char *domain);
/* A running job of this kind in @domain, or NULL. */
struct job *job_running(struct hvd *hvd, const char *kind, const char *domain);
/* A running job of those that move or copy a guest: one of them at a time. Or NULL. */
struct job *job_excluding(struct hvd *hvd, const char *domain);
struct job *job_find(struct hvd *hvd, int64_t id);
/* The one end of a job; takes @result. Sends job.finished and answers those who wait. */
void job_end(struct hvd *hvd, struct job *job, enum job_status status, json_t *result,
	     const struct api_error *error);
/*
 * Answer @call with the job when it has ended, or with timeout after @timeout_ms
 * (-1: no limit). -ENOBUFS: too many wait already; the call is still the caller's.
 */
int job_wait(struct hvd *hvd, struct job *job, struct api_call *call, int64_t timeout_ms);
unsigned int jobs_running(const struct hvd *hvd);

extern const struct schema job_schema;
extern const struct api_method methods_job[];

#endif
