/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's states:
 *
 *	            start, create               machine runs
 *	  shutoff ----------------> starting ----------------> running <---+
 *	   ^  ^ ^                    |     |                   |  |  ^     |
 *	   |  | |  cannot start      |     | paused: true      |  |  |     | reset by
 *	   |  | +--------------------+     v      suspend      |  |  |     | policy or
 *	   |  |                    |      paused <-------------+  |  |     | call
 *	   |  |                    |       | |  |     resume      |  |     |
 *	   |  |                    |       | |  +-----------------|--+     |
 *	   |  |  worker gone       |       | |                    |        |
 *	   |  +------- shutdown <--|-------+-|--------------------+        |
 *	   |              ^        |  destroy, guest powered off           |
 *	   |              |        v         v                             |
 *	   |              +------ crashed ---------------------------------+
 *	   |        destroy        |  ^ worker died (from every active state),
 *	   +-----------------------+  | the guest panicked, the engine gave up
 *	     destroy, worker is gone     start: crashed -> starting
 *
 *	shutoff   no worker. A transient domain that gets here is gone.
 *	starting  the worker is made; no guest instruction has run.
 *	running   vCPUs run.
 *	paused    the machine exists, its vCPUs stand.
 *	shutdown  the end is certain; the worker is on its way out.
 *	crashed   the worker died, or the machine is kept for inspection (on_crash
 *		  "preserve"): has a worker or not.
 *
 * A domain that a new hvd adopts goes from shutoff, where it begins, to whatever
 * its worker says it is.
 *
 * domain.shutdown only asks the guest: the state changes when the guest follows.
 */
#include "daemon/domain_state.h"

#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/log.h"

#include <stdlib.h>
#include <string.h>

const char *const domain_state_names[] = {
#define X(id, name) name,
	DOMAIN_STATE_LIST(X)
#undef X
	NULL
};

const char *const domain_reason_names[] = {
#define X(id, name) name,
	DOMAIN_REASON_LIST(X)
#undef X
	NULL
};

#define TO(state) (1u << DOMAIN_##state)
static const unsigned int arrows[DOMAIN_STATE_COUNT] = {
	[DOMAIN_SHUTOFF] = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(CRASHED) | TO(SHUTDOWN),
	[DOMAIN_STARTING] = TO(RUNNING) | TO(PAUSED) | TO(SHUTDOWN) | TO(SHUTOFF) | TO(CRASHED),
	[DOMAIN_RUNNING] = TO(RUNNING) | TO(PAUSED) | TO(SHUTDOWN) | TO(CRASHED),
	[DOMAIN_PAUSED] = TO(RUNNING) | TO(PAUSED) | TO(SHUTDOWN) | TO(CRASHED),
	[DOMAIN_SHUTDOWN] = TO(SHUTOFF) | TO(CRASHED),
	[DOMAIN_CRASHED] = TO(STARTING) | TO(RUNNING) | TO(PAUSED) | TO(SHUTDOWN) | TO(SHUTOFF) |
			   TO(CRASHED),
};

static int name_index(const char *const *names, const char *name)
{
	int i;

	for (i = 0; name && names[i]; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

int domain_state_by_name(const char *name)
{
	return name_index(domain_state_names, name);
}

int domain_reason_by_name(const char *name)
{
	return name_index(domain_reason_names, name);
}

bool domain_state_may_follow(enum domain_state from, enum domain_state to)
{
	return arrows[from] & 1u << to;
}

bool domain_state_active(enum domain_state state)
{
	return state != DOMAIN_SHUTOFF && state != DOMAIN_CRASHED;
}

bool domain_state_has_machine(enum domain_state state)
{
	return state == DOMAIN_RUNNING || state == DOMAIN_PAUSED || state == DOMAIN_CRASHED;
}

void domain_state_set(struct hvd *hvd, struct domain *dom, enum domain_state state,
		      enum domain_reason reason, const char *detail)
{
	enum domain_state from = dom->state;
	json_t *data;

	if (!domain_state_may_follow(from, state)) {
		log_err("domain %s: no way from %s to %s", dom->name, domain_state_names[from],
			domain_state_names[state]);
		abort();
	}
	dom->state = state;
	dom->reason = reason;
	snprintf(dom->detail, sizeof(dom->detail), "%s", detail ? detail : "");
	dom->since_us = events_now_us();
	log_info("domain %s: %s (%s)%s%s", dom->name, domain_state_names[state],
		 domain_reason_names[reason], dom->detail[0] ? ": " : "", dom->detail);
	data = json_pack("{s:s,s:s,s:s}", "state", domain_state_names[state], "reason",
			 domain_reason_names[reason], "previous", domain_state_names[from]);
	if (dom->detail[0])
		json_object_set_new(data, "detail", json_string(dom->detail));
	if (dom->resets)
		json_object_set_new(data, "resets", json_integer(dom->resets));
	if (dom->exit_code >= 0)
		json_object_set_new(data, "exit_code", json_integer(dom->exit_code));
	events_emit(hvd, "domain.state", dom->name, data);
	domain_end_waits(hvd, dom);
}
