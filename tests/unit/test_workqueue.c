/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work queues: once at a time, in order, nothing lost; flush and cancel.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/workqueue.h"

struct item {
	struct hv_work work;
	int number;
};

static struct hv_workqueue *wq;
static int gate_open, running, most_running, runs;
static int order[64], nr_order;

static void make_queue(unsigned int threads)
{
	gate_open = running = most_running = runs = nr_order = 0;
	assert_int_equal(hv_workqueue_create("test", threads, HV_LC_NONE, &wq), 0);
}

static void wait_at_gate(struct hv_work *work)
{
	__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&gate_open, __ATOMIC_SEQ_CST))
		usleep(100);
}

static void open_gate(void)
{
	__atomic_store_n(&gate_open, 1, __ATOMIC_SEQ_CST);
}

static void wait_until_runs(int n)
{
	while (__atomic_load_n(&runs, __ATOMIC_SEQ_CST) < n)
		usleep(100);
}

static void note_order(struct hv_work *work)
{
	order[nr_order++] = container_of(work, struct item, work)->number;
}

static void bad_arguments(void **state)
{
	assert_int_equal(hv_workqueue_create("x", 0, HV_LC_NONE, &wq), -EINVAL);
	assert_int_equal(
		hv_workqueue_create("x", HV_WORKQUEUE_THREADS_MAX + 1, HV_LC_NONE, &wq), -EINVAL);
	hv_workqueue_destroy(NULL);
}

#ifdef HV_DEBUG
static void no_memory(void **state)
{
	hv_fault_arm(HV_FAULT_THREAD, 1);
	assert_int_equal(hv_workqueue_create("x", 1, HV_LC_NONE, &wq), -ENOMEM);
	assert_true(hv_fault_disarm());
}
#endif

static void runs_in_order_once_each(void **state)
{
	struct hv_work gate;
	struct item item[64];
	int i;

	make_queue(1);
	hv_work_init(&gate, wait_at_gate);
	assert_true(hv_workqueue_queue(wq, &gate));
	wait_until_runs(1);
	for (i = 0; i < 64; i++) {
		item[i].number = i;
		hv_work_init(&item[i].work, note_order);
		assert_true(hv_workqueue_queue(wq, &item[i].work));
		assert_false(hv_workqueue_queue(wq, &item[i].work));
	}
	assert_int_equal(hv_workqueue_pending(wq), 64);
	open_gate();
	hv_workqueue_flush(wq);
	assert_int_equal(nr_order, 64);
	for (i = 0; i < 64; i++)
		assert_int_equal(order[i], i);
	hv_workqueue_destroy(wq);
}

static void queued_again_while_it_runs(void **state)
{
	struct hv_work work;

	make_queue(2);
	hv_work_init(&work, wait_at_gate);
	assert_true(hv_workqueue_queue(wq, &work));
	wait_until_runs(1);
	assert_true(hv_workqueue_queue(wq, &work));
	assert_false(hv_workqueue_queue(wq, &work));
	usleep(5000);
	/* The second thread is idle, but must not run it beside the first. */
	assert_int_equal(__atomic_load_n(&runs, __ATOMIC_SEQ_CST), 1);
	open_gate();
	hv_workqueue_flush(wq);
	assert_int_equal(runs, 2);
	hv_workqueue_destroy(wq);
}

static void count_parallel(struct hv_work *work)
{
	int now = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);

	if (now > __atomic_load_n(&most_running, __ATOMIC_SEQ_CST))
		__atomic_store_n(&most_running, now, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
}

static struct hv_work hammered[4];

static void *hammer(void *result)
{
	intptr_t queued = 0;
	int i;

	for (i = 0; i < 3000; i++)
		queued += hv_workqueue_queue(wq, &hammered[i % 4]);
	return (void *)queued;
}

static void every_queueing_runs_once(void **state)
{
	intptr_t queued = 0;
	pthread_t t[3];
	void *n;
	int i;

	make_queue(3);
	for (i = 0; i < 4; i++)
		hv_work_init(&hammered[i], count_parallel);
	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, hammer, NULL);
	for (i = 0; i < 3; i++) {
		pthread_join(t[i], &n);
		queued += (intptr_t)n;
	}
	hv_workqueue_flush(wq);
	assert_int_equal(runs, queued);
	assert_true(most_running <= 3);
	hv_workqueue_destroy(wq);
}

static void cancel_takes_it_off(void **state)
{
	struct hv_work gate, work;

	make_queue(1);
	hv_work_init(&gate, wait_at_gate);
	hv_work_init(&work, count_parallel);
	assert_false(hv_workqueue_cancel_sync(wq, &work));
	hv_workqueue_queue(wq, &gate);
	wait_until_runs(1);
	hv_workqueue_queue(wq, &work);
	assert_true(hv_workqueue_cancel_sync(wq, &work));
	open_gate();
	hv_workqueue_flush(wq);
	assert_int_equal(runs, 1); /* the gate's */
	hv_workqueue_destroy(wq);
}

static void *open_soon(void *unused)
{
	usleep(5000);
	open_gate();
	return NULL;
}

static void cancel_waits_for_a_running_one(void **state)
{
	struct hv_work gate;
	pthread_t t;

	make_queue(1);
	hv_work_init(&gate, wait_at_gate);
	hv_workqueue_queue(wq, &gate);
	wait_until_runs(1);
	pthread_create(&t, NULL, open_soon, NULL);
	assert_false(hv_workqueue_cancel_sync(wq, &gate));
	assert_int_equal(__atomic_load_n(&gate_open, __ATOMIC_SEQ_CST), 1);
	pthread_join(t, NULL);
	hv_workqueue_destroy(wq);
}

static void free_self(struct hv_work *work)
{
	struct item *item = container_of(work, struct item, work);

	free(item);
	__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
}

static void destroy_runs_what_is_left(void **state)
{
	struct hv_work gate;
	struct item *item;
	int i;

	make_queue(1);
	hv_work_init(&gate, wait_at_gate);
	hv_workqueue_queue(wq, &gate);
	for (i = 0; i < 10; i++) {
		item = malloc(sizeof(*item));
		hv_work_init(&item->work, free_self);
		hv_workqueue_queue(wq, &item->work);
	}
	open_gate();
	hv_workqueue_destroy(wq);
	assert_int_equal(runs, 11);
}

static void requeue_self(struct hv_work *work)
{
	if (__atomic_add_fetch(&runs, 1, __ATOMIC_SEQ_CST) < 50)
		assert_true(hv_workqueue_queue(wq, work));
}

/* A flush waits for what was queued before it, not for what comes after. */
static void flush_has_an_end(void **state)
{
	struct hv_work work;

	make_queue(1);
	hv_work_init(&work, requeue_self);
	hv_workqueue_queue(wq, &work);
	hv_workqueue_flush(wq);
	assert_true(__atomic_load_n(&runs, __ATOMIC_SEQ_CST) >= 1);
	wait_until_runs(50);
	hv_workqueue_destroy(wq);
}

static int yields;

static void run_long(struct hv_work *work)
{
	assert_false(hv_work_should_yield());
	while (yields < 2) {
		if (!hv_work_should_yield())
			continue;
		hv_work_yield();
		yields++;
	}
}

static void long_works_are_told_to_yield(void **state)
{
	struct hv_work work;

	yields = 0;
	assert_false(hv_work_should_yield()); /* not a worker */
	make_queue(1);
	hv_work_init(&work, run_long);
	hv_workqueue_queue(wq, &work);
	hv_workqueue_flush(wq);
	assert_int_equal(yields, 2);
	hv_workqueue_destroy(wq);
}

static void waits_for_grace_period(struct hv_work *work)
{
	hv_rcu_read_lock();
	hv_rcu_read_unlock();
	hv_synchronize_rcu();
	__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
}

static void workers_may_use_rcu(void **state)
{
	struct hv_work work;

	make_queue(1);
	hv_work_init(&work, waits_for_grace_period);
	hv_workqueue_queue(wq, &work);
	hv_workqueue_flush(wq);
	assert_int_equal(runs, 1);
	hv_workqueue_destroy(wq);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_arguments),
#ifdef HV_DEBUG
		cmocka_unit_test(no_memory),
#endif
		cmocka_unit_test(runs_in_order_once_each),
		cmocka_unit_test(queued_again_while_it_runs),
		cmocka_unit_test(every_queueing_runs_once),
		cmocka_unit_test(cancel_takes_it_off),
		cmocka_unit_test(cancel_waits_for_a_running_one),
		cmocka_unit_test(destroy_runs_what_is_left),
		cmocka_unit_test(flush_has_an_end),
		cmocka_unit_test(long_works_are_told_to_yield),
		cmocka_unit_test(workers_may_use_rcu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
