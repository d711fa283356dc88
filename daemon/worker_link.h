/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The supervisor's end of a worker: its process, its connection, requests to it,
 * and finding workers that an earlier hvd left running. Event loop only.
 *
 * A worker's messages are not trusted: its guest may have taken it over. They are
 * held to the limits of the protocol and to the schemas of the rows.
 */
#ifndef DAEMON_WORKER_LINK_H
#define DAEMON_WORKER_LINK_H

#include "api/dispatch.h"

#include <stdint.h>
#include <sys/queue.h>

#define WORKER_REQUESTS_MAX 1024	/* without an answer yet */
/* Threads beyond vCPUs: loop, engine, timers; 17 of a migration with all streams, twice. */
#define WORKER_THREADS 48

struct hvd;
struct domain;
struct worker;
struct domain_config;

/*
 * An answer: @result (borrowed) with its descriptors (taken), or NULL with @err.
 * Also called when the worker is lost (peer.lost).
 */
typedef void (*worker_answer_fn)(struct worker *worker, void *data, json_t *result, const int *fds,
				 unsigned int nfds, const struct api_error *err);

/*
 * Run a worker for @dom, with @threads at most, and link the two. 0 or -errno with
 * @err. The guest's definition goes to it with worker_request("worker.start").
 */
int worker_spawn(struct hvd *hvd, struct domain *dom, unsigned int threads,
		 struct api_error *err);
/* Takes @params and @fds. 0 or -errno: then @fn is not called. */
int worker_request(struct worker *worker, const char *method, json_t *params, const int *fds,
		   unsigned int nfds, worker_answer_fn fn, void *data);
/* Pass @call on and its answer back. */
void worker_forward(struct worker *worker, struct api_call *call);
/*
 * The same for another worker of @dom, which is to take over from its worker; not linked
 * to @dom. NULL with @err.
 */
struct worker *worker_spawn_next(struct hvd *hvd, struct domain *dom, unsigned int threads,
				 struct api_error *err);
/* It has no domain any more; within @ms it ends, or is killed. Drops its record. */
void worker_retire(struct worker *worker, unsigned int ms);
/* Kill the process; domain_worker_gone() follows when it is gone. */
void worker_kill(struct worker *worker);
/* Tell it to go after its last words; it is killed if it does not within a second. */
void worker_dismiss(struct worker *worker);
/* Whether its control connection stands. */
bool worker_connected(const struct worker *worker);
/* Write its record again, after what is in it has changed. */
void worker_record_update(struct worker *worker);
pid_t worker_pid(const struct worker *worker);
/* The domain that it runs; NULL for a NULL worker, or one that does not run it (yet). */
struct domain *worker_domain(const struct worker *worker);
struct hvd *worker_hvd(const struct worker *worker);
/* CPU time of its process in ns, 0 when unknown. */
uint64_t worker_cpu_time(const struct worker *worker);

/*
 * Adopt the workers that are recorded in the runtime folder: a domain is made for
 * each that is not defined. They are busy until the worker has answered.
 */
void workers_adopt(struct hvd *hvd);
/* Leave all workers running and free what hvd holds of them. */
void workers_release(struct hvd *hvd);
/* The folder of control sockets and records. 0 or -errno. */
int workers_folder(struct hvd *hvd);

#endif
