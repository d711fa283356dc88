/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker process: one domain. hvd executes its own binary again with the words
 * that worker_argv_fill() makes; everything else comes over the control connection.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include "daemon/sandbox.h"

#include "api/schema.h"

#include <stdint.h>

#define WORKER_WORD "--hvd-worker"
#define WORKER_ARGC 7

struct worker_args {
	int control;		/* the connection to hvd */
	int listener;		/* where a later hvd connects */
	struct sandbox sandbox;
	uid_t uid;		/* to become, (uid_t)-1: none */
	unsigned int threads;
	int log_level;
	uint32_t tsc_khz;	/* the host's, measured by hvd */
	const char *name;	/* of the domain, for messages and the process list */
};

/* WORKER_ARGC words and a NULL. */
void worker_argv_fill(const struct worker_args *args,
		      char words[WORKER_ARGC][32 + SCHEMA_NAME_MAX], char **argv);
int worker_main(int argc, char **argv);

#endif
