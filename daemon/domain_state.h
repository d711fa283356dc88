/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The states of a domain and which change may follow which. domain_state.c has
 * the drawing.
 */
#ifndef DAEMON_DOMAIN_STATE_H
#define DAEMON_DOMAIN_STATE_H

#include <stdbool.h>

#define DOMAIN_STATE_LIST(X) \
	X(SHUTOFF, "shutoff") \
	X(STARTING, "starting") \
	X(RUNNING, "running") \
	X(PAUSED, "paused") \
	X(SHUTDOWN, "shutdown") \
	X(CRASHED, "crashed")

/* Reasons, as libvirt has them per state; one list, for they share their words. */
#define DOMAIN_REASON_LIST(X) \
	X(UNKNOWN, "unknown")		/* any: nothing is known */ \
	X(DEFINED, "defined")		/* shutoff: never started */ \
	X(BOOTED, "booted")		/* starting, running */ \
	X(STARTING_UP, "starting_up")	/* paused: was started so */ \
	X(UNPAUSED, "unpaused")		/* running */ \
	X(USER, "user")			/* paused, shutdown: a call asked for it */ \
	X(GUEST, "guest")		/* shutdown, shutoff: the guest powered off */ \
	X(DEBUG_EXIT, "debug_exit")	/* shutdown, shutoff: the guest wrote its exit code */ \
	X(DESTROYED, "destroyed")	/* shutoff */ \
	X(FAILED, "failed")		/* shutoff: could not be started */ \
	X(ADOPTED, "adopted")		/* running, paused: found by a new hvd */ \
	X(RESET, "reset")		/* running: the guest or a call restarted it */ \
	X(RESTORED, "restored")		/* running, paused: from a snapshot */ \
	X(PRESERVED, "preserved")	/* paused: ended, kept by on_poweroff or on_reboot */ \
	X(PANICKED, "panicked")		/* crashed: the guest said so */ \
	X(ENGINE, "engine")		/* crashed: the engine gave the guest up */ \
	X(WORKER_DIED, "worker_died")	/* crashed: its process ended unasked */ \
	X(MIGRATION, "migration")	/* paused: is being migrated, in or out */ \
	X(MIGRATED, "migrated")		/* running, paused: came from elsewhere; shutdown, shutoff: went */ \
	X(MIGRATION_CANCELED, "migration_canceled")	/* running, paused: stayed after all */ \
	X(MIGRATION_UNCONFIRMED, "migration_unconfirmed")	/* paused: went, but nobody has said so */ \
	X(MIGRATION_IN_DOUBT, "migration_in_doubt")	/* paused: came, but may not run yet */

enum domain_state {
#define X(id, name) DOMAIN_##id,
	DOMAIN_STATE_LIST(X)
#undef X
	DOMAIN_STATE_COUNT
};

enum domain_reason {
#define X(id, name) REASON_##id,
	DOMAIN_REASON_LIST(X)
#undef X
	DOMAIN_REASON_COUNT
};

/* For schemas: indexed by the enums, ended by NULL. */
extern const char *const domain_state_names[];
extern const char *const domain_reason_names[];

/* The index of a name, -1 when it is none. */
int domain_state_by_name(const char *name);
int domain_reason_by_name(const char *name);

/* Whether the drawing has an arrow from @from to @to. */
bool domain_state_may_follow(enum domain_state from, enum domain_state to);
/* Whether a worker process belongs to the state. */
bool domain_state_active(enum domain_state state);
/* Whether the guest's machine exists, so that calls can be forwarded to it. */
bool domain_state_has_machine(enum domain_state state);

struct domain;
struct hvd;
/*
 * The one place where a domain changes its state: checks the arrow, notes the
 * time, sends the event, ends the waits. A change that the drawing does not have
 * is our bug and aborts. @detail may be NULL.
 */
void domain_state_set(struct hvd *hvd, struct domain *dom, enum domain_state state,
		      enum domain_reason reason, const char *detail);

#endif
