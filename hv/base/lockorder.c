/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock table's data, and the closure of its order. The validator that uses
 * it at run time is lockdep.c.
 */
#include "hv/base/lockorder.h"

#include <pthread.h>

#include "hv/base/util.h"

const struct hv_lock_class_info hv_lock_classes[HV_LC_COUNT] = {
#define HV_LOCK_ROW(id, n, t, g, r, f, p, k, c)                                                    \
	[HV_LC_##id] = { .name = n,                                                                \
			 .type = HV_LOCK_##t,                                                      \
			 .gp = HV_GP_##g,                                                          \
			 .requires = HV_LC_##r,                                                    \
			 .flags = HV_LF_##f,                                                       \
			 .protects = p,                                                            \
			 .takers = k,                                                              \
			 .comment = c },
	HV_LOCK_CLASSES(HV_LOCK_ROW)
#undef HV_LOCK_ROW
};

struct edge {
	uint8_t outer, inner;
};

static const struct edge edges[] = {
#define HV_LOCK_EDGE(o, i) { HV_LC_##o, HV_LC_##i },
	HV_LOCK_EDGES(HV_LOCK_EDGE)
#undef HV_LOCK_EDGE
};

/* Bit i of reach[o]: i may be taken under o. [written once by closure_once] */
static uint64_t reach[HV_LC_COUNT];
static pthread_once_t closure_once = PTHREAD_ONCE_INIT;

_Static_assert(HV_LC_COUNT < 64, "reach[] holds one word per class");

/* Warshall's algorithm over the edges. */
static void closure_compute(void)
{
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(edges); i++)
		reach[edges[i].outer] |= UINT64_C(1) << edges[i].inner;
	for (k = 0; k < HV_LC_COUNT; k++)
		for (i = 0; i < HV_LC_COUNT; i++)
			if (reach[i] >> k & 1)
				reach[i] |= reach[k];
}

static bool innermost(enum hv_lock_class c)
{
	return hv_lock_classes[c].flags & HV_LF_INNERMOST;
}

bool hv_lockorder_permits(enum hv_lock_class outer, enum hv_lock_class inner)
{
	pthread_once(&closure_once, closure_compute);
	if (innermost(inner))
		return !innermost(outer);
	return reach[outer] >> inner & 1;
}

static bool is_spin(enum hv_lock_class c)
{
	return hv_lock_classes[c].type == HV_LOCK_SPINLOCK;
}

const char *hv_lockorder_table_error(void)
{
	enum hv_lock_class i;
	unsigned int e;

	pthread_once(&closure_once, closure_compute);
	for (i = 0; i < HV_LC_COUNT; i++) {
		if (reach[i] >> i & 1)
			return "the order has a cycle";
		if (innermost(i) && (reach[i] || !is_spin(i)))
			return "an innermost class is not a spinlock, or has edges";
	}
	for (e = 0; e < ARRAY_SIZE(edges); e++)
		if (is_spin(edges[e].outer) && !is_spin(edges[e].inner))
			return "a sleeping lock stands inside a spinlock";
	return NULL;
}
