/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring behind the trace points.
 *
 * Writers take a number and own the entry number % size until a writer one
 * round later does. An entry is a sequence lock: `mark` is 2 * number + 1 while
 * it is being written, 2 * number + 2 when it is whole. A writer that was
 * stopped for a whole round could meet another in its entry; the loser of the
 * compare-exchange drops its event rather than mixing the two.
 */
#include "hv/base/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"

struct entry {
	uint64_t mark; /* [A] 0: never written */
	uint64_t ns, id, args[HV_TRACE_ARGS]; /* [A] relaxed, between two marks */
};

struct ring {
	uint64_t mask;	/* [I] */
	uint64_t next;	/* [A] the next number */
	struct entry entry[];
};

const struct hv_trace_point_info hv_trace_points[HV_TP_COUNT] = {
#define HV_TRACE_ROW(n, a) [HV_TP_##n] = { .name = #n, .args = a },
	HV_TRACE_POINTS(HV_TRACE_ROW)
#undef HV_TRACE_ROW
};

uint8_t hv_trace_on[HV_TP_COUNT];
static struct ring *the_ring; /* published once, never taken back */

int hv_trace_ring_create(unsigned int order)
{
	struct ring *ring, *none = NULL;
	uint64_t n = UINT64_C(1) << (order & 63);

	if (order < 6 || order > 24)
		return -EINVAL;
	ring = hv_zalloc(sizeof(*ring) + n * sizeof(ring->entry[0]));
	if (!ring)
		return -ENOMEM;
	ring->mask = n - 1;
	/* Pairs with the acquires of the_ring in record and read. */
	if (!__atomic_compare_exchange_n(&the_ring, &none, ring, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED)) {
		hv_free(ring);
		return -EBUSY;
	}
	return 0;
}

int hv_trace_enable(const char *name, bool on)
{
	bool all = strcmp(name, "*") == 0;
	unsigned int i, found = 0;

	if (!hv_load_acquire(&the_ring))
		return -ENXIO;
	for (i = 0; i < HV_TP_COUNT; i++) {
		if (!all && strcmp(name, hv_trace_points[i].name))
			continue;
		WRITE_ONCE(hv_trace_on[i], on);
		found++;
	}
	return found ? 0 : -ENOENT;
}

static uint32_t own_tid(void)
{
	static __thread uint32_t tid;

	if (!tid)
		tid = (uint32_t)gettid();
	return tid;
}

/* The entry is ours to write; or false if a writer of another round has it. */
static bool claim(struct entry *e, uint64_t number)
{
	uint64_t mark = READ_ONCE(e->mark);

	return !(mark & 1) && mark < 2 * number + 1 && hv_try_cmpxchg(&e->mark, &mark, 2 * number + 1);
}

void hv_trace_record(enum hv_trace_point point, unsigned int nr_args, const uint64_t *args)
{
	struct ring *ring = hv_load_acquire(&the_ring);
	struct entry *e;
	uint64_t number;
	unsigned int i;

	number = __atomic_fetch_add(&ring->next, 1, __ATOMIC_RELAXED);
	e = &ring->entry[number & ring->mask];
	if (!claim(e, number))
		return;
	WRITE_ONCE(e->ns, hv_clock_ns());
	WRITE_ONCE(e->id, (uint64_t)own_tid() << 32 | (uint64_t)point << 16 | nr_args);
	for (i = 0; i < nr_args; i++)
		WRITE_ONCE(e->args[i], args[i]);
	hv_store_release(&e->mark, 2 * number + 2); /* pairs with the first load in copy() */
}

static bool copy(const struct entry *e, uint64_t number, struct hv_trace_event *out)
{
	uint64_t id;
	unsigned int i;

	if (hv_load_acquire(&e->mark) != 2 * number + 2)
		return false;
	id = READ_ONCE(e->id);
	*out = (struct hv_trace_event){ .seq = number,
					.ns = READ_ONCE(e->ns),
					.tid = (uint32_t)(id >> 32),
					.point = (uint16_t)(id >> 16),
					.nr_args = (uint16_t)id };
	for (i = 0; i < HV_TRACE_ARGS; i++)
		out->args[i] = READ_ONCE(e->args[i]);
	/* x86 keeps loads in order; the compiler must too. */
	hv_barrier();
	return READ_ONCE(e->mark) == 2 * number + 2;
}

size_t hv_trace_read(uint64_t *next, struct hv_trace_event *events, size_t n, uint64_t *lost)
{
	struct ring *ring = hv_load_acquire(&the_ring);
	uint64_t end, number = *next;
	size_t got = 0;

	if (!ring)
		return 0;
	end = __atomic_load_n(&ring->next, __ATOMIC_ACQUIRE);
	if (end > ring->mask + 1 && number < end - (ring->mask + 1)) {
		*lost += end - (ring->mask + 1) - number;
		number = end - (ring->mask + 1);
	}
	for (; number < end && got < n; number++) {
		if (copy(&ring->entry[number & ring->mask], number, &events[got]))
			got++;
		else
			*lost += 1;
	}
	*next = number;
	return got;
}

int hv_trace_format(const struct hv_trace_event *event, char *line, size_t size)
{
	const struct hv_trace_point_info *info;
	const char *arg;
	unsigned int i;
	int len, word;

	if (event->point >= HV_TP_COUNT)
		return snprintf(line, size, "point %u", event->point);
	info = &hv_trace_points[event->point];
	len = snprintf(line, size, "%s", info->name);
	for (arg = info->args, i = 0; *arg && i < event->nr_args && i < HV_TRACE_ARGS; i++) {
		word = (int)strcspn(arg, " ");
		len += snprintf((size_t)len < size ? line + len : NULL,
				(size_t)len < size ? size - (size_t)len : 0, " %.*s=%#" PRIx64, word,
				arg, event->args[i]);
		arg += word + (arg[word] == ' ');
	}
	return len;
}
