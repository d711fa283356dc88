/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The task thread. Lock legend: [q] lock, [l] loop thread only, [I] immutable.
 */
#include "daemon/tasks.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

STAILQ_HEAD(task_list, task);

struct task_thread {
	struct task_thread_config config; /* [I] */
	pthread_t thread;		  /* [I] */
	int wake_fd;			  /* [I] task thread to loop */
	struct event *wake_event;	  /* [l] */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct task_list queued;	  /* [q] */
	struct task_list finished;	  /* [q] */
	bool stop;			  /* [q] */
	unsigned int pending;		  /* [l] */
};

static void *task_main(void *arg)
{
	struct task_thread *t = arg;
	const uint64_t one = 1;
	struct task *task;
	bool first;

	if (t->config.enter)
		t->config.enter(t->config.ctx);
	pthread_mutex_lock(&t->lock);
	for (;;) {
		while (STAILQ_EMPTY(&t->queued) && !t->stop)
			pthread_cond_wait(&t->work, &t->lock);
		task = STAILQ_FIRST(&t->queued);
		if (!task)
			break;
		STAILQ_REMOVE_HEAD(&t->queued, link);
		pthread_mutex_unlock(&t->lock);
		task->run(task);
		pthread_mutex_lock(&t->lock);
		first = STAILQ_EMPTY(&t->finished);
		STAILQ_INSERT_TAIL(&t->finished, task, link);
		/* The counter cannot overflow: the loop empties the list before it reads again. */
		if (first && write(t->wake_fd, &one, sizeof(one)) < 0)
			abort();
	}
	pthread_mutex_unlock(&t->lock);
	if (t->config.leave)
		t->config.leave(t->config.ctx);
	return NULL;
}

static void task_finish(struct task_thread *t)
{
	struct task *task;

	for (;;) {
		pthread_mutex_lock(&t->lock);
		task = STAILQ_FIRST(&t->finished);
		if (task)
			STAILQ_REMOVE_HEAD(&t->finished, link);
		pthread_mutex_unlock(&t->lock);
		if (!task)
			return;
		t->pending--;
		task->done(task);
	}
}

static void task_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) == sizeof(count))
		task_finish(arg);
}

static int task_thread_run(struct task_thread *t)
{
	pthread_attr_t attr;
	int ret;

	pthread_attr_init(&attr);
	if (t->config.stack_size)
		pthread_attr_setstacksize(&attr, t->config.stack_size);
	ret = -pthread_create(&t->thread, &attr, task_main, t);
	pthread_attr_destroy(&attr);
	if (!ret)
		pthread_setname_np(t->thread, t->config.name);
	return ret;
}

int task_thread_start(struct task_thread **out, struct event_base *base,
		      const struct task_thread_config *config)
{
	struct task_thread *t = calloc(1, sizeof(*t));
	int ret = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->config = *config;
	STAILQ_INIT(&t->queued);
	STAILQ_INIT(&t->finished);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	t->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->wake_fd < 0) {
		ret = -errno;
		goto out_free;
	}
	t->wake_event = event_new(base, t->wake_fd, EV_READ | EV_PERSIST, task_wake, t);
	if (!t->wake_event || event_add(t->wake_event, NULL))
		goto out_event;
	ret = task_thread_run(t);
	if (ret)
		goto out_event;
	*out = t;
	return 0;

out_event:
	if (t->wake_event)
		event_free(t->wake_event);
	close(t->wake_fd);
out_free:
	free(t);
	return ret;
}

int task_submit(struct task_thread *thread, struct task *task)
{
	if (thread->pending >= thread->config.limit)
		return -ENOBUFS;
	thread->pending++;
	pthread_mutex_lock(&thread->lock);
	STAILQ_INSERT_TAIL(&thread->queued, task, link);
	pthread_cond_signal(&thread->work);
	pthread_mutex_unlock(&thread->lock);
	return 0;
}

unsigned int task_pending(const struct task_thread *thread)
{
	return thread->pending;
}

void task_thread_stop(struct task_thread *thread)
{
	if (!thread)
		return;
	pthread_mutex_lock(&thread->lock);
	thread->stop = true;
	pthread_cond_signal(&thread->work);
	pthread_mutex_unlock(&thread->lock);
	pthread_join(thread->thread, NULL);
	task_finish(thread);
	event_free(thread->wake_event);
	close(thread->wake_fd);
	pthread_cond_destroy(&thread->work);
	pthread_mutex_destroy(&thread->lock);
	free(thread);
}
