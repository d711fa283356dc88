/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cage of a worker. A worker holds one guest and must be able to do nothing
 * but run it, whatever the guest makes of it.
 *
 * As root, hvd gives each worker:
 *	- a uid and gid of its own, no supplementary groups, no capabilities
 *	- a mount namespace that holds one empty read-only folder
 *	- a network namespace without interfaces, an IPC and a UTS namespace
 *	- no new privileges, resource limits, two system call filters in turn
 * Namespaces are made once, when hvd starts, and joined by every worker: making
 * them costs milliseconds, joining them microseconds, and as they are empty there
 * is nothing to share. Unprivileged, only the last line applies.
 *
 * A build with a sanitizer has neither filters nor the empty mount namespace: its
 * run-time needs calls and files that a worker must not have.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include "daemon/conf.h"

#include <stdbool.h>
#include <stdint.h>

#define SANDBOX_NS_COUNT 4

/* What hvd hands to each worker; -1: none. */
struct sandbox {
	enum sandbox_mode mode;
	int ns[SANDBOX_NS_COUNT];	/* net, ipc, uts, mnt: in this order */
	int filters;			/* sealed memfd with both programs */
	char note[160];			/* what is missing and why, "" when complete */
};

/*
 * Make namespaces and filters; before any thread exists. @folder is any folder to
 * mount on, in the namespace only. 0; or -errno with @sandbox->note when mode is
 * strict and something is missing.
 */
int sandbox_prepare(struct sandbox *sandbox, enum sandbox_mode mode, bool root,
		    const char *folder);
void sandbox_release(struct sandbox *sandbox);

/* ---- in the worker --------------------------------------------------------- */

struct sandbox_entry {
	const struct sandbox *sandbox;
	uid_t uid;		/* (uid_t)-1: keep */
	unsigned int threads;	/* it will have at most */
};

/*
 * Enter the cage with its first filter; single-threaded, before any byte of a peer
 * is read. 0, or -errno with the failed step in @step; in mode "try" a step that
 * fails is passed over.
 */
int sandbox_enter(const struct sandbox_entry *entry, const char **step);
/* The second, narrower filter, on all threads: start-up is over. */
int sandbox_narrow(const struct sandbox *sandbox);

/* The rules: api of seccomp_rules.c. Both programs in a sealed memfd, or -errno. */
int seccomp_rules_export(void);
/* Load program @phase (0, 1) from @fd for all threads; 0 or -errno. */
int seccomp_rules_load(int fd, int phase);

#endif
