/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/tasks.c: order, the limit, and the end with work still queued. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/tasks.h"

#define TASKS 1000
#define LIMIT 50

struct numbered {
	struct task task;
	int n;
	bool ran;
};

static struct event_base *base;
static struct task_thread *thread;
static pthread_t loop_thread;
static int next_run, next_done, entered, left;
static atomic_bool hold;

static void run(struct task *task)
{
	struct numbered *t = (struct numbered *)task;

	while (atomic_load(&hold))
		usleep(1000);
	assert_false(pthread_equal(pthread_self(), loop_thread));
	assert_int_equal(t->n, next_run++);
	t->ran = true;
}

static void done(struct task *task)
{
	struct numbered *t = (struct numbered *)task;

	assert_true(pthread_equal(pthread_self(), loop_thread));
	assert_true(t->ran);
	assert_int_equal(t->n, next_done++);
	free(t);
}

static void enter(void *ctx)
{
	++*(int *)ctx;
}

static void leave(void *ctx)
{
	assert_ptr_equal(ctx, &entered);
	left++;
}

static int submit(int n)
{
	struct numbered *t = calloc(1, sizeof(*t));
	int ret;

	t->task.run = run;
	t->task.done = done;
	t->n = n;
	ret = task_submit(thread, &t->task);
	if (ret)
		free(t);
	return ret;
}

static void start(void)
{
	const struct task_thread_config config = { .name = "test", .limit = LIMIT, .enter = enter,
						   .leave = leave, .ctx = &entered };

	loop_thread = pthread_self();
	next_run = next_done = entered = left = 0;
	base = event_base_new();
	assert_int_equal(task_thread_start(&thread, base, &config), 0);
}

static void stop(void)
{
	task_thread_stop(thread);
	assert_int_equal(entered, 1);
	assert_int_equal(left, 1);
	event_base_free(base);
}

static void test_order(void **state)
{
	int n = 0, ret;

	(void)state;
	start();
	while (n < TASKS || task_pending(thread)) {
		while (n < TASKS && (ret = submit(n)) == 0)
			n++;
		if (n < TASKS)
			assert_int_equal(ret, -ENOBUFS);
		event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(next_done, TASKS);
	stop();
}

static void test_limit_and_end(void **state)
{
	int i;

	(void)state;
	start();
	atomic_store(&hold, true);
	for (i = 0; i < LIMIT; i++)
		assert_int_equal(submit(i), 0);
	assert_int_equal(submit(i), -ENOBUFS);
	assert_int_equal(task_pending(thread), LIMIT);
	atomic_store(&hold, false);
	/* What is queued is done before the thread ends. */
	stop();
	assert_int_equal(next_done, LIMIT);
	task_thread_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_limit_and_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
