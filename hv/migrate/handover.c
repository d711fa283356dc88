/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/handover.h"

#include <errno.h>

/* 1 + the next state, so that what is not named is 0: impossible. */
#define TO(state) (1 + HANDOVER_##state)

static const unsigned char table[HANDOVER_STATES][HANDOVER_EVENTS] = {
	[HANDOVER_SRC_OWNER] = {
		[HANDOVER_EV_READY] = TO(SRC_COMMITTED),
		[HANDOVER_EV_ABORT] = TO(SRC_OWNER),
		[HANDOVER_EV_LOST] = TO(SRC_OWNER),
	},
	[HANDOVER_SRC_COMMITTED] = {
		[HANDOVER_EV_RUNNING] = TO(SRC_DONE),
		[HANDOVER_EV_LOST] = TO(SRC_COMMITTED),
		[HANDOVER_EV_GONE] = TO(SRC_OWNER),
	},
	[HANDOVER_SRC_DONE] = {
		[HANDOVER_EV_RUNNING] = TO(SRC_DONE),
		[HANDOVER_EV_LOST] = TO(SRC_DONE),
	},
	[HANDOVER_DST_EMPTY] = {
		[HANDOVER_EV_READY] = TO(DST_READY),
		[HANDOVER_EV_ABORT] = TO(DST_DISCARDED),
		[HANDOVER_EV_LOST] = TO(DST_DISCARDED),
	},
	[HANDOVER_DST_READY] = {
		[HANDOVER_EV_GO] = TO(DST_RUNS),
		[HANDOVER_EV_ABORT] = TO(DST_DISCARDED),
		[HANDOVER_EV_LOST] = TO(DST_READY),
		[HANDOVER_EV_GONE] = TO(DST_RUNS),
	},
	[HANDOVER_DST_RUNS] = {
		[HANDOVER_EV_GO] = TO(DST_RUNS),
		[HANDOVER_EV_LOST] = TO(DST_RUNS),
	},
	[HANDOVER_DST_DISCARDED] = {
		[HANDOVER_EV_ABORT] = TO(DST_DISCARDED),
		[HANDOVER_EV_LOST] = TO(DST_DISCARDED),
	},
};

int handover_step(enum handover_state *state, enum handover_event event)
{
	unsigned char to = table[*state][event];

	if (!to)
		return -EPROTO;
	*state = (enum handover_state)(to - 1);
	return 0;
}

bool handover_may_run(enum handover_state state)
{
	return state == HANDOVER_SRC_OWNER || state == HANDOVER_DST_RUNS;
}

bool handover_in_doubt(enum handover_state state)
{
	return state == HANDOVER_SRC_COMMITTED || state == HANDOVER_DST_READY;
}

const char *handover_name(enum handover_state state)
{
	static const char *const names[HANDOVER_STATES] = {
		[HANDOVER_SRC_OWNER] = "owner",
		[HANDOVER_SRC_COMMITTED] = "committed",
		[HANDOVER_SRC_DONE] = "done",
		[HANDOVER_DST_EMPTY] = "empty",
		[HANDOVER_DST_READY] = "ready",
		[HANDOVER_DST_RUNS] = "runs",
		[HANDOVER_DST_DISCARDED] = "discarded",
	};

	return names[state];
}
