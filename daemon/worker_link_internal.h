/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by worker_link.c (requests), worker_spawn.c (processes) and
 * worker_adopt.c (records).
 */
#ifndef DAEMON_WORKER_LINK_INTERNAL_H
#define DAEMON_WORKER_LINK_INTERNAL_H

#include "api/server.h"
#include "daemon/worker_link.h"

struct worker_pending {
	TAILQ_ENTRY(worker_pending) link;
	int64_t id;
	worker_answer_fn fn;
	void *data;
	struct api_call *call;	/* a forwarded one; then fn is NULL */
};

struct worker {
	struct hvd *hvd;
	struct domain *dom;
	struct api_conn *conn;		/* NULL: lost */
	TAILQ_HEAD(, worker_pending) pending;
	unsigned int npending;
	int64_t next_id;
	pid_t pid;
	int pidfd;
	struct event *exit_event;
	struct event *kill_timer;
	uint64_t starttime;		/* of the process, in clock ticks after boot */
	uid_t uid;			/* (uid_t)-1: hvd's own */
	bool dismissed;
	bool second;			/* its record and socket have the domain's other name */
	bool retired;			/* it has no domain any more, and is about to end */
	LIST_ENTRY(worker) retired_link;
};

/* A worker without a process, of no domain yet; NULL: no memory. */
struct worker *worker_new(struct hvd *hvd, struct domain *dom);

/* Requests and reports come over @fd, which is taken. 0 or -errno. */
int worker_connect(struct worker *worker, int fd);
/* Watch for the end of the process. 0 or -errno. */
int worker_watch(struct worker *worker);
/* Unlink from the domain, free the uid, drop socket and record, free. */
void worker_free(struct worker *worker);
void worker_fail_pending(struct worker *worker);

uid_t worker_uid_take(struct hvd *hvd);
void worker_uid_mark(struct hvd *hvd, uid_t uid, bool used);
/* Start time of @pid from /proc, 0 when there is none. */
uint64_t worker_starttime(pid_t pid);

/*
 * A domain has two names for records and sockets, as it has two workers while one takes
 * over from the other: UUID and UUID.b, by worker->second.
 */
void worker_socket_path(const struct worker *worker, char *path, size_t size);
int worker_record_write(struct worker *worker);
void worker_record_drop(const struct worker *worker);
/* Connect to a worker of an earlier hvd, which has a time limit to say something. */
int worker_adopt_connect(struct worker *worker);
void worker_adopt_reached(struct worker *worker);
/* Ask for the state, as a new hvd; the domain is idle when the answer is there. */
int worker_adopt_state(struct worker *worker);

#endif
