/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may run the guest. Source and destination each keep one of these states and
 * move it only by handover_step(), before they act on it; tests/models/handover.pml
 * is the same table, checked in every order of messages, losses and deaths.
 *
 *	source				destination
 *	OWNER (runs, or is stopped
 *	       to send the last pages)	EMPTY
 *		--- pages, state -->
 *					READY: has all, and promises not to forget it
 *		<-- ready ---
 *	COMMITTED: never runs again
 *	unless it hears that the
 *	destination cannot
 *		--- go -->
 *					RUNS
 *		<-- running ---
 *	DONE
 *
 * The one moment that matters is the source's step from OWNER to COMMITTED: before
 * it the guest is the source's, whatever happens; after it, the destination's. A
 * destination that is READY and loses its peer cannot know on which side of it the
 * source is: it waits, paused, until it is told (over a new connection, or by a
 * person who knows that the source is gone).
 */
#ifndef HV_MIGRATE_HANDOVER_H
#define HV_MIGRATE_HANDOVER_H

#include <stdbool.h>

enum handover_state {
	HANDOVER_SRC_OWNER,
	HANDOVER_SRC_COMMITTED,
	HANDOVER_SRC_DONE,
	HANDOVER_DST_EMPTY,
	HANDOVER_DST_READY,
	HANDOVER_DST_RUNS,
	HANDOVER_DST_DISCARDED,
	HANDOVER_STATES,
};

enum handover_event {
	HANDOVER_EV_READY,   /* source: the destination is ready; destination: it has become so */
	HANDOVER_EV_GO,	     /* destination: the source has committed */
	HANDOVER_EV_RUNNING, /* source: the destination runs the guest */
	HANDOVER_EV_ABORT,   /* the source keeps the guest: said by it, or decided by it */
	HANDOVER_EV_LOST,    /* the connection, or time, is over */
	HANDOVER_EV_GONE,    /* a person: the other side does not run the guest and never will */
	HANDOVER_EVENTS,
};

/* -EPROTO: such an event cannot be in this state; the state stays. */
int handover_step(enum handover_state *state, enum handover_event event);
/* The guest is this side's to run. */
bool handover_may_run(enum handover_state state);
/* The other side has to be asked before anything else can be done. */
bool handover_in_doubt(enum handover_state state);
const char *handover_name(enum handover_state state);

#endif
