/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work queues. One spinlock per queue protects its list and its workers'
 * states; what runs is known by address only, since a work may free itself.
 */
#include "hv/base/workqueue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"

struct worker {
	struct hv_workqueue *wq; /* [I] */
	pthread_t thread;	 /* [I] */
	/* What runs: NULL if nothing does. Compared, never followed. */
	const struct hv_work *current; /* [Q] */
	uint64_t seq;		       /* [Q] its number */
};

struct hv_workqueue {
	/* [Q] under lock, [I] immutable */
	struct hv_spinlock lock;
	struct hv_cond work_cv;	     /* there is work, or the end */
	struct hv_cond done_cv;	     /* a work has finished */
	struct cds_list_head queue;  /* [Q] struct hv_work, by ascending seq */
	uint64_t last_seq;	     /* [Q] given to the last one queued; 0 at first */
	bool stop;		     /* [Q] */
	enum hv_lock_class takes;    /* [I] */
	unsigned int threads;	     /* [I] that run */
	char name[16];		     /* [I] */
	struct worker worker[];
};

/* Of a worker: its queue, and when its slice began. */
static __thread const struct worker *self;
static __thread uint64_t slice_begin;

static bool is_running(const struct hv_workqueue *wq, const struct hv_work *work)
{
	unsigned int i;

	for (i = 0; i < wq->threads; i++)
		if (wq->worker[i].current == work)
			return true;
	return false;
}

/* The first that no other worker is running right now. */
static struct hv_work *pick(struct hv_workqueue *wq)
{
	struct hv_work *work;

	cds_list_for_each_entry(work, &wq->queue, node)
		if (!is_running(wq, work))
			return work;
	return NULL;
}

static void run_one(struct worker *w, struct hv_work *work)
{
	struct hv_workqueue *wq = w->wq;
	hv_work_fn fn = work->fn;

	cds_list_del_init(&work->node);
	work->pending = false;
	w->current = work;
	w->seq = work->seq;
	hv_spin_unlock(&wq->lock);

	hv_trace(work_begin, (uintptr_t)wq, (uintptr_t)work);
	slice_begin = hv_clock_ns();
	hv_lockdep_set_ceiling(wq->takes);
	fn(work);
	hv_lockdep_set_ceiling(HV_LC_NONE);
	hv_assert_no_locks_held("a work returns");
	hv_trace(work_end, (uintptr_t)wq, (uintptr_t)work);

	hv_spin_lock(&wq->lock);
	w->current = NULL;
	hv_cond_broadcast(&wq->done_cv);
	/* One that pick() skipped, because it ran here, may go on now. */
	if (!cds_list_empty(&wq->queue))
		hv_cond_signal(&wq->work_cv);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct hv_workqueue *wq = w->wq;
	struct hv_work *work;

	self = w;
	pthread_setname_np(pthread_self(), wq->name);
	hv_rcu_register_thread();
	hv_spin_lock(&wq->lock);
	for (;;) {
		work = pick(wq);
		if (work)
			run_one(w, work);
		else if (wq->stop && cds_list_empty(&wq->queue))
			break;
		else
			hv_cond_wait_spin(&wq->work_cv, &wq->lock);
	}
	/* Others may have gone to sleep over a work that ran here. */
	hv_cond_broadcast(&wq->work_cv);
	hv_spin_unlock(&wq->lock);
	hv_rcu_unregister_thread();
	return NULL;
}

static void stop_threads(struct hv_workqueue *wq, unsigned int started)
{
	unsigned int i;

	hv_spin_lock(&wq->lock);
	wq->stop = true;
	hv_cond_broadcast(&wq->work_cv);
	hv_spin_unlock(&wq->lock);
	for (i = 0; i < started; i++)
		HV_BUG_ON(pthread_join(wq->worker[i].thread, NULL));
}

static void free_queue(struct hv_workqueue *wq)
{
	HV_BUG_ON(!cds_list_empty(&wq->queue));
	hv_cond_destroy(&wq->done_cv);
	hv_cond_destroy(&wq->work_cv);
	hv_spinlock_destroy(&wq->lock);
	hv_free(wq);
}

int hv_workqueue_create(const char *name, unsigned int threads, enum hv_lock_class takes,
			struct hv_workqueue **out)
{
	struct hv_workqueue *wq;
	unsigned int i;
	int err;

	if (threads < 1 || threads > HV_WORKQUEUE_THREADS_MAX)
		return -EINVAL;
	wq = hv_zalloc(sizeof(*wq) + threads * sizeof(wq->worker[0]));
	if (!wq)
		return -ENOMEM;
	hv_spinlock_init(&wq->lock, HV_LC_WORKQUEUE);
	hv_cond_init(&wq->work_cv);
	hv_cond_init(&wq->done_cv);
	CDS_INIT_LIST_HEAD(&wq->queue);
	wq->takes = takes;
	wq->threads = threads;
	snprintf(wq->name, sizeof(wq->name), "%s", name);
	for (i = 0; i < threads; i++) {
		wq->worker[i].wq = wq;
		err = pthread_create(&wq->worker[i].thread, NULL, worker_main, &wq->worker[i]);
		if (err) {
			stop_threads(wq, i);
			free_queue(wq);
			return -err;
		}
	}
	*out = wq;
	return 0;
}

void hv_workqueue_destroy(struct hv_workqueue *wq)
{
	if (!wq)
		return;
	HV_BUG_ON(self && self->wq == wq);
	hv_lockdep_wait_for(wq->takes, "destroying a work queue", __FILE__, __LINE__);
	stop_threads(wq, wq->threads);
	free_queue(wq);
}

bool hv_workqueue_queue(struct hv_workqueue *wq, struct hv_work *work)
{
	bool queued = false;

	hv_spin_lock(&wq->lock);
	if (!work->pending) {
		queued = work->pending = true;
		work->seq = ++wq->last_seq;
		cds_list_add_tail(&work->node, &wq->queue);
		hv_cond_signal(&wq->work_cv);
	}
	hv_spin_unlock(&wq->lock);
	hv_trace(work_queue, (uintptr_t)wq, (uintptr_t)work, queued);
	return queued;
}

/* Something numbered `seq` or below is queued or runs. */
static bool is_busy_up_to(struct hv_workqueue *wq, uint64_t seq)
{
	unsigned int i;

	if (!cds_list_empty(&wq->queue) &&
	    cds_list_first_entry(&wq->queue, struct hv_work, node)->seq <= seq)
		return true;
	for (i = 0; i < wq->threads; i++)
		if (wq->worker[i].current && wq->worker[i].seq <= seq)
			return true;
	return false;
}

void hv_workqueue_flush_at(struct hv_workqueue *wq, const char *file, int line)
{
	uint64_t seq;

	HV_BUG_ON(self && self->wq == wq);
	hv_lockdep_wait_for(wq->takes, "flushing a work queue", file, line);
	hv_spin_lock(&wq->lock);
	seq = wq->last_seq;
	while (is_busy_up_to(wq, seq))
		hv_cond_wait_spin(&wq->done_cv, &wq->lock);
	hv_spin_unlock(&wq->lock);
}

bool hv_workqueue_cancel_sync_at(struct hv_workqueue *wq, struct hv_work *work, const char *file,
				 int line)
{
	bool cancelled;

	HV_BUG_ON(self && self->wq == wq && self->current == work);
	hv_lockdep_wait_for(wq->takes, "cancelling a work", file, line);
	hv_spin_lock(&wq->lock);
	cancelled = work->pending;
	if (cancelled) {
		cds_list_del_init(&work->node);
		work->pending = false;
		/* A flush may wait for no more than this one. */
		hv_cond_broadcast(&wq->done_cv);
	}
	while (is_running(wq, work))
		hv_cond_wait_spin(&wq->done_cv, &wq->lock);
	hv_spin_unlock(&wq->lock);
	return cancelled;
}

unsigned int hv_workqueue_pending(struct hv_workqueue *wq)
{
	struct hv_work *work;
	unsigned int n = 0;

	hv_spin_lock(&wq->lock);
	cds_list_for_each_entry(work, &wq->queue, node)
		n++;
	hv_spin_unlock(&wq->lock);
	return n;
}

bool hv_work_should_yield(void)
{
	return self && hv_clock_ns() - slice_begin >= HV_WORK_SLICE_NS;
}

void hv_work_yield(void)
{
	hv_might_sleep("yielding");
	sched_yield();
	slice_begin = hv_clock_ns();
}
