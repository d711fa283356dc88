/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/fault.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hv/base/util.h"
#include "hv/migrate/channel.h"

#include "config.h"

#ifdef HV_DEBUG

static const char *const when_names[FAULT_WHENS] = { "send", "sent", "got" };
static const char *const action_names[FAULT_ACTIONS] = {
#define X(id, name) name,
	FAULT_ACTION_LIST(X)
#undef X
};

int fault_parse(const char *text, struct fault *f)
{
	unsigned int when, type, action;
	char name[FAULT_TEXT_MAX];

	memset(f, 0, sizeof(*f));
	if (!text || !text[0])
		return 0;
	for (when = 0; when < FAULT_WHENS; when++) {
		for (type = 1; type < FRAME_TYPES; type++) {
			for (action = 0; action < FAULT_ACTIONS; action++) {
				snprintf(name, sizeof(name), "%s-%s:%s", when_names[when],
					 frame_name(type), action_names[action]);
				if (strcmp(text, name) != 0)
					continue;
				*f = (struct fault){ 1, (enum fault_when)when, type,
						     (enum fault_action)action };
				return 0;
			}
		}
	}
	return -EINVAL;
}

enum fault_action fault_due(struct fault *f, enum fault_when when, unsigned int type)
{
	uint32_t armed = 1;

	if (!f || !READ_ONCE(f->armed) || f->when != when || f->type != type ||
	    !hv_try_cmpxchg(&f->armed, &armed, 0))
		return FAULT_ACTIONS;
	return f->action;
}

#else

int fault_parse(const char *text, struct fault *f)
{
	memset(f, 0, sizeof(*f));
	return text && text[0] ? -EOPNOTSUPP : 0;
}

enum fault_action fault_due(struct fault *f, enum fault_when when, unsigned int type)
{
	(void)f;
	(void)when;
	(void)type;
	return FAULT_ACTIONS;
}

#endif
