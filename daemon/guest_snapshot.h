/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots, the worker's part: filling the files that hvd opened, and a machine from
 * them.
 */
#ifndef DAEMON_GUEST_SNAPSHOT_H
#define DAEMON_GUEST_SNAPSHOT_H

#include "hv/hv.h"

#include <stdbool.h>

struct engine_call;
struct guest;

/* Loop: end the one that is being taken, if any. */
void guest_snapshot_stop(struct guest *g);

/* On the engine thread, in this order. Failures are in @op, too. */
struct guest_restore {
	struct hv_snapshot_files files;	/* borrowed */
	bool verify;
	struct hv_snapshot *snapshot;
};
/* Read everything but memory, and complete @config for it. */
int guest_restore_open(struct engine_call *op, struct guest_restore *r,
		       struct hv_machine_config *config);
/* Into op->machine, which is destroyed when that fails. */
int guest_restore_load(struct engine_call *op, struct guest_restore *r);
void guest_restore_close(struct guest_restore *r);

#endif
