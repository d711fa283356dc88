/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread for what may block: files in the supervisor, the engine in a worker.
 * Tasks run one after the other in the order of submission; each is then finished
 * on the event loop. The queue has a limit.
 *
 *	loop thread: task_submit() -> [queue] -> task thread: run() -> loop thread: done()
 *
 * run() must touch nothing but its task and what that task says it owns.
 */
#ifndef DAEMON_TASKS_H
#define DAEMON_TASKS_H

#include <event2/event.h>
#include <stddef.h>
#include <sys/queue.h>

struct task {
	STAILQ_ENTRY(task) link;
	void (*run)(struct task *task);
	void (*done)(struct task *task);	/* frees the task */
};

struct task_thread;

struct task_thread_config {
	const char *name;		/* at most 15 bytes */
	unsigned int limit;		/* tasks that wait or run */
	void (*enter)(void *ctx);	/* on the thread, before the first task; NULL: nothing */
	void (*leave)(void *ctx);
	void *ctx;
	size_t stack_size;		/* 0: the system's default */
};

int task_thread_start(struct task_thread **out, struct event_base *base,
		      const struct task_thread_config *config);
/* -ENOBUFS at the limit: then the task stays the caller's and is not run. */
int task_submit(struct task_thread *thread, struct task *task);
/* Tasks submitted and not yet done(). */
unsigned int task_pending(const struct task_thread *thread);
/* Run what is queued, end the thread, run every done(). NULL is fine. */
void task_thread_stop(struct task_thread *thread);

#endif
