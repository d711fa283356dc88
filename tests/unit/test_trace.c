/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trace points: off they record nothing, on they record what was passed; the
 * ring keeps the newest; whole events only, however many write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hv/base/trace.h"

#define ORDER 6 /* small: writers overtake the reader */

static uint64_t next_event;

static size_t drain(struct hv_trace_event *ev, size_t n, uint64_t *lost)
{
	*lost = 0;
	return hv_trace_read(&next_event, ev, n, lost);
}

static void without_ring(void **state)
{
	struct hv_trace_event ev;
	uint64_t lost;

	assert_int_equal(hv_trace_enable("*", true), -ENXIO);
	assert_int_equal(drain(&ev, 1, &lost), 0);
	hv_trace(kick, 1, 2);
	assert_int_equal(hv_trace_ring_create(5), -EINVAL);
	assert_int_equal(hv_trace_ring_create(25), -EINVAL);
	assert_int_equal(hv_trace_ring_create(ORDER), 0);
	assert_int_equal(hv_trace_ring_create(ORDER), -EBUSY);
}

static void points_are_switched(void **state)
{
	struct hv_trace_event ev[8];
	uint64_t lost;
	char line[128];

	assert_int_equal(hv_trace_enable("no_such_point", true), -ENOENT);
	hv_trace(kick, 1, 2);
	assert_int_equal(drain(ev, 8, &lost), 0);
	assert_int_equal(hv_trace_enable("page_fault", true), 0);
	hv_trace(kick, 1, 2);
	hv_trace(page_fault, 3, 0x1000, 6, (uint64_t)-14);
	assert_int_equal(drain(ev, 8, &lost), 1);
	assert_int_equal(lost, 0);
	assert_int_equal(ev[0].point, HV_TP_page_fault);
	assert_int_equal(ev[0].nr_args, 4);
	assert_int_equal(ev[0].args[1], 0x1000);
	assert_int_equal(ev[0].tid, (uint32_t)gettid());
	hv_trace_format(&ev[0], line, sizeof(line));
	assert_string_equal(line, "page_fault vcpu=0x3 gpa=0x1000 error_code=0x6 "
				  "ret=0xfffffffffffffff2");
	assert_true(hv_trace_format(&ev[0], line, 12) > 12);
	assert_string_equal(line, "page_fault ");
	assert_int_equal(hv_trace_enable("page_fault", false), 0);
	hv_trace(page_fault, 3, 0x1000, 6, 0);
	assert_int_equal(drain(ev, 8, &lost), 0);
}

static void ring_keeps_the_newest(void **state)
{
	struct hv_trace_event ev[4];
	uint64_t lost, i;

	hv_trace_enable("*", true);
	for (i = 0; i < 1000; i++)
		hv_trace(irq_set, i, 0);
	assert_int_equal(drain(ev, 4, &lost), 4);
	assert_int_equal(lost, 1000 - (1 << ORDER));
	assert_int_equal(ev[0].args[0], 1000 - (1 << ORDER));
	assert_int_equal(ev[3].args[0], ev[0].args[0] + 3);
	while (drain(ev, 4, &lost))
		assert_int_equal(lost, 0);
	hv_trace_enable("*", false);
}

static int stop;
static uint64_t first_event;

static void *write_events(void *who)
{
	uint64_t i = 0, id = (uint64_t)(uintptr_t)who;

	while (!READ_ONCE(stop)) {
		hv_trace(mmio, id, i, i, i, i);
		i++;
	}
	return NULL;
}

static bool is_whole(const struct hv_trace_event *e)
{
	if (e->seq < first_event) /* of the test before */
		return e->point == HV_TP_irq_set;
	return e->point == HV_TP_mmio && e->nr_args == 5 && e->args[0] >= 1 && e->args[0] <= 3 &&
	       e->args[1] == e->args[2] && e->args[2] == e->args[3] && e->args[3] == e->args[4];
}

static void events_are_whole(void **state)
{
	struct hv_trace_event ev[4];
	uint64_t lost, total = 0;
	pthread_t t[3];
	size_t n, i;
	int round;

	first_event = next_event;
	hv_trace_enable("mmio", true);
	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, write_events, (void *)(uintptr_t)(i + 1));
	for (round = 0; round < 20000 || total < 20000; round++) {
		next_event = 0; /* the oldest, which is overwritten next */
		n = drain(ev, 4, &lost);
		for (i = 0; i < n; i++)
			if (!is_whole(&ev[i]))
				fail_msg("event %lu is mixed", (unsigned long)ev[i].seq);
		total += n;
	}
	WRITE_ONCE(stop, 1);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	hv_trace_enable("*", false);
	print_message("# %lu events read\n", (unsigned long)total);
}

static void table_names_every_argument(void **state)
{
	int i, j;

	for (i = 0; i < HV_TP_COUNT; i++) {
		const char *s = hv_trace_points[i].args;
		int n = 1;

		for (; *s; s++)
			n += *s == ' ';
		assert_true(n <= HV_TRACE_ARGS);
		for (j = 0; j < i; j++)
			assert_string_not_equal(hv_trace_points[i].name, hv_trace_points[j].name);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_ring),
		cmocka_unit_test(points_are_switched),
		cmocka_unit_test(ring_keeps_the_newest),
		cmocka_unit_test(events_are_whole),
		cmocka_unit_test(table_names_every_argument),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
