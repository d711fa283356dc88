/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The supervisor: one struct, one thread (the event loop), one task thread for
 * files. Handlers reach it through hvd_of(call).
 */
#ifndef DAEMON_HVD_H
#define DAEMON_HVD_H

#include "api/dispatch.h"
#include "api/server.h"
#include "daemon/conf.h"
#include "daemon/sandbox.h"

#include <limits.h>
#include <stdint.h>
#include <sys/queue.h>

struct domain;
struct event_log;
struct job_table;
struct migration;
struct task_thread;
struct metrics_server;
struct snapshot_op;
struct worker;

/* What the command line says. */
struct hvd_options {
	char runtime_dir[80];	/* a socket's path must fit behind it */
	char state_dir[PATH_MAX / 2];
	char config_path[PATH_MAX / 2];
	bool config_given;	/* a missing file is an error only then */
	bool foreground;
	int ready_fd;		/* gets a byte when the daemon serves; -1: none */
	void (*log_to_file)(const struct hvd_options *options);	/* called then, too */
};

#define HOST_CPUS_MAX 1024

struct hvd {
	struct hvd_options options;
	struct hvd_config config;
	char instance[37];		/* uuid of this run */
	struct event_base *base;
	struct api_table table;
	struct api_server server;	/* clients */
	struct api_table worker_table;	/* what workers may call */
	struct api_server workers;	/* connections to workers, outside the clients' limit */
	int workers_fd;			/* the folder of their sockets and records */
	struct task_thread *files;
	struct event_log *events;
	struct job_table *jobs;
	TAILQ_HEAD(migration_list, migration) migrations;	/* oldest first */
	unsigned int nmigrations;
	struct api_table peer_table;	/* what the migration listener serves */
	struct api_server peers;
	struct metrics_server *metrics;
	struct sandbox sandbox;
	LIST_HEAD(, domain) domains;
	LIST_HEAD(, worker) retired;	/* workers without a domain, about to end */
	unsigned int ndomains;
	LIST_HEAD(, snapshot_op) snapshots;	/* that are made, restored, listed or deleted now */
	unsigned char *uids;		/* of the range: 1 in use */
	unsigned char cpu_offline[HOST_CPUS_MAX]; /* taken from domains by a client */
	unsigned char cpu_absent[HOST_CPUS_MAX];  /* by the host */
	int lock_fd;
	uint32_t tsc_khz;		/* the host's, for workers */
	bool root;			/* may change uids */
	bool stopping;
	gid_t rw_gid;			/* whose members may use the read-write socket; -1: none */
	bool activated;			/* sockets came from the service manager: leave them */
	uint64_t start_us;
};

static inline struct hvd *hvd_of(const struct api_call *call)
{
	return call->table->context;
}

/* The daemon's life, from parsed options to its exit status. */
int supervisor_main(const struct hvd_options *options);
/* Read the file again and apply what can change while running; 0 or -EINVAL with @message. */
int hvd_reload(struct hvd *hvd, char *message, size_t size);
/* Begin to stop: answer what waits, close the clients, leave workers running. */
void hvd_stop(struct hvd *hvd);
/* All rows that hvd serves; the worker's internal ones are not among them. */
int hvd_table_init(struct api_table *table);

#endif
