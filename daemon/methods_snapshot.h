/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What others need of methods_snapshot.c. Event loop only.
 */
#ifndef DAEMON_METHODS_SNAPSHOT_H
#define DAEMON_METHODS_SNAPSHOT_H

struct hvd;

/* The files' thread has ended, the workers are left: nothing half stays on the disk. */
void snapshots_stop(struct hvd *hvd);

#endif
