/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_HOST_WATCH_H
#define DAEMON_HOST_WATCH_H

struct event;
struct hvd;

/* Follow what the kernel does with CPUs from now on. NULL: it cannot be heard, which is logged. */
struct event *host_watch_new(struct hvd *hvd);
void host_watch_free(struct event *event);

/* NOTE: at the start, when nobody has to be told. */
enum host_cpus_how { HOST_CPUS_NOTE, HOST_CPUS_TELL };
/* Compare the CPUs that this process may use with what they were, and tell workers (methods_host.c). */
void host_cpus_follow(struct hvd *hvd, enum host_cpus_how how);

#endif
