/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OpenMetrics text, by metrics.get and, when configured, over HTTP on a loopback
 * address or a unix socket.
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

struct hvd;

/* malloc'ed text, NULL without memory. */
char *metrics_print(struct hvd *hvd);
/* Listen at config.metrics_listen, if any. 0 or -errno. */
int metrics_serve(struct hvd *hvd);
void metrics_stop(struct hvd *hvd);

#endif
