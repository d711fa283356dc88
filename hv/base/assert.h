/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Assertions on our own code. They are always on, have no side effects, and
 * end the process: they are for states that only a bug of ours can bring
 * about. Input from a guest, a client or a peer is an error, never an
 * assertion; a VM whose own state is corrupt is killed alone (see hv/vm).
 */
#ifndef HV_BASE_ASSERT_H
#define HV_BASE_ASSERT_H

#include "config.h"
#include "hv/base/util.h"

/* Reports to the log sink and to standard error, with a backtrace; aborts. */
void hv_bug(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, cold, format(printf, 3, 4)));

#define HV_BUG_ON(cond)                                                                            \
	do {                                                                                       \
		if (hv_unlikely(cond))                                                             \
			hv_bug(__FILE__, __LINE__, "%s: %s", __func__, #cond);                     \
	} while (0)

#define HV_BUG(...) hv_bug(__FILE__, __LINE__, __VA_ARGS__)

/* An assertion too costly for a build that is shipped. */
#ifdef HV_DEBUG
#define HV_DEBUG_BUG_ON(cond) HV_BUG_ON(cond)
#else
#define HV_DEBUG_BUG_ON(cond) ((void)sizeof(!(cond)))
#endif

#endif
