/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Long work that a worker does, as jobs of hvd (migration, snapshots). Event loop only.
 *
 *	hvd					worker
 *	worker_job_start(): job_start(),
 *	the request of the work		->	guest_job_begin(); answers that it has begun
 *	job.info, events		<-	worker.job, status "running", now and then
 *	job.abort: worker.job_abort	->	guest_job.abort
 *	job_end()			<-	worker.job, the last: another status, with
 *						result or error
 *
 * A worker has at most one job of a kind, so domain and kind name it also to the next
 * hvd: the answer to worker.adopt has the reports of what runs, or has ended unheard,
 * and they become jobs of that hvd. A job whose worker is lost fails with peer.lost.
 */
#ifndef DAEMON_WORKER_JOB_H
#define DAEMON_WORKER_JOB_H

#include "daemon/jobs.h"

struct domain;

/* What the worker's reports carry; strings and JSON are borrowed from the message. */
struct worker_job_report {
	const char *kind;
	int status;		/* enum job_status */
	uint64_t done, total;
	const char *unit;
	json_t *statistics;	/* of the kind's own shape; NULL: none */
	json_t *cookie;		/* what the request gave it, for a later hvd; NULL: none */
	json_t *result;
	json_t *error;		/* as in an answer */
};

/* A row of the table in worker_job.c: adding a kind is adding its row. */
struct worker_job_kind {
	const char *name;
	const char *unit;
	/*
	 * The work has ended, as @err (NULL: well) and @report say; @report is NULL when the
	 * worker was lost. True: the kind ends the job itself, soon. NULL: nothing else to do.
	 */
	bool (*ended)(struct hvd *hvd, struct domain *dom, struct job *job,
		      const struct worker_job_report *report, const struct api_error *err);
};

/*
 * Begin the work of @kind with the request @method to @dom's worker, which takes @params
 * and @fds. The job, whose data is @data; or NULL with @err. The job fails when the
 * worker refuses.
 */
struct worker_job_request {
	const struct worker_job_kind *kind;
	const char *method;
	json_t *params;
	const int *fds;
	unsigned int nfds;
	void *data;
};
struct job *worker_job_start(struct hvd *hvd, struct domain *dom,
			     const struct worker_job_request *request, struct api_error *err);
/* The same for a job that exists already; 0 or -errno, then the job is the caller's to end. */
int worker_job_send(struct hvd *hvd, struct domain *dom, struct job *job,
		    const struct worker_job_request *request);
const struct worker_job_kind *worker_job_kind(const char *name);

/* The kinds: methods_snapshot.c */
extern const struct worker_job_kind worker_job_snapshot;

/* The worker of @dom has been adopted; @jobs is its list of reports or NULL. */
void worker_jobs_adopt(struct hvd *hvd, struct domain *dom, json_t *jobs);
/* The worker is gone, @how. */
void worker_jobs_lost(struct hvd *hvd, struct domain *dom, const char *how);
/* The row of worker.job. */
extern const struct api_method methods_worker_job[];

#endif
