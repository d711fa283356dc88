/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker's side of jobs (worker_job.h has the whole): a struct guest_job lives inside
 * the owner's own state while its work runs. Loop only; work on other threads leaves
 * its figures where refresh() finds them and ends by a turn of the loop.
 */
#ifndef DAEMON_GUEST_JOB_H
#define DAEMON_GUEST_JOB_H

#include "daemon/jobs.h"

#include <sys/queue.h>

#define GUEST_JOB_REPORT_MS 100

struct guest;

struct guest_job {
	TAILQ_ENTRY(guest_job) link;
	struct guest *guest;
	const char *kind;		/* as a row of worker_job.c */
	const char *unit;
	uint64_t done, total;
	json_t *statistics;		/* owned; NULL: none */
	json_t *cookie;			/* owned; goes into each report, for a later hvd */
	/* Bring done, total and statistics up to date, before a report; may be NULL. */
	void (*refresh)(struct guest_job *job);
	/* Ask the work to end. NULL: cannot be aborted. */
	void (*abort)(struct guest_job *job);
	struct event *timer;
	bool running;
};

TAILQ_HEAD(guest_job_list, guest_job);

/*
 * kind, unit, cookie and the functions are filled in. Reports from now on. 0, -EBUSY: one
 * of this kind runs; -ENOMEM.
 */
int guest_job_begin(struct guest *g, struct guest_job *job);
/*
 * The last report, kept for the next hvd when there is none now; takes @result. The job
 * is the owner's again and holds nothing.
 */
void guest_job_end(struct guest_job *job, enum job_status status, json_t *result,
		   const struct api_error *err);
struct guest_job *guest_job_find(struct guest *g, const char *kind);

/* For worker.adopt: reports of what runs and of what ended unheard, which is forgotten. */
json_t *guest_jobs_report(struct guest *g);
/* The row of worker.job_abort. */
extern const struct api_method guest_job_rows[];

#endif
