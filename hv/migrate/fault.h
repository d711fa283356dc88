/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One fault at one moment of the protocol, for tests: "WHEN-MESSAGE:ACTION", as
 * "send-go:kill". A moment is a message of enum frame_type (its name as frame_name()
 * has it) on its way: about to be sent, sent, or received by this side; the first such
 * one counts. Only builds with HV_DEBUG know faults.
 */
#ifndef HV_MIGRATE_FAULT_H
#define HV_MIGRATE_FAULT_H

#include <stdint.h>

#define FAULT_TEXT_MAX 64

enum fault_when { FAULT_SEND, FAULT_SENT, FAULT_GOT, FAULT_WHENS };

#define FAULT_ACTION_LIST(X) \
	X(KILL, "kill")	  /* the process dies, as by kill -9 */ \
	X(RESET, "reset") /* the connection is closed */ \
	X(SHORT, "short") /* of a message to send: half of it goes, then the connection is closed */ \
	X(STALL, "stall") /* nothing moves for three times the stall time */ \
	X(STOP, "stop")	  /* the process is stopped, as by kill -STOP */

enum fault_action {
#define X(id, name) FAULT_##id,
	FAULT_ACTION_LIST(X)
#undef X
	FAULT_ACTIONS
};

/* Shared by the channels of a stream. */
struct fault {
	uint32_t armed; /* atomic: one thread meets it */
	enum fault_when when;
	unsigned int type; /* enum frame_type */
	enum fault_action action;
};

/* -EINVAL: not such a text; -EOPNOTSUPP: not in this build. NULL and "" are no fault. */
int fault_parse(const char *text, struct fault *f);
/* The action that is due at this moment, and then no more; FAULT_ACTIONS: none. f may be NULL. */
enum fault_action fault_due(struct fault *f, enum fault_when when, unsigned int type);

#endif
