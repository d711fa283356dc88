/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events: a ring of the last ones, and subscriptions that read from it each at its
 * own pace, so no subscriber has a queue. One that falls behind the ring is told
 * which it lost. Sequence numbers rise for as long as the runtime folder lives,
 * over restarts of the daemon: a block of them is reserved in a file ahead of use.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include "api/server.h"

struct hvd;
struct event_log;

#define SUBSCRIPTIONS_MAX 16	/* of one connection */

/* Wall-clock and monotonic time in microseconds. */
uint64_t events_now_us(void);
uint64_t events_mono_us(void);

int events_init(struct hvd *hvd);
void events_fini(struct hvd *hvd);
/* The one way to make an event; takes @data. @domain may be NULL. */
void events_emit(struct hvd *hvd, const char *type, const char *domain, json_t *data);
/* The number of the last event. */
uint64_t events_last_seq(const struct hvd *hvd);
/* Seconds since 1970 with microseconds, as a JSON number. */
json_t *events_time(uint64_t us);

extern const struct api_method methods_event[];

#endif
