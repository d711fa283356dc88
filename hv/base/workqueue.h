/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Work queues: functions that run later, on threads of the queue's own.
 *
 * A queue has a fixed number of threads, usually one; works start in the order
 * in which they were queued. A work item is queued at most once at a time; it
 * may be queued again as soon as its function has begun (by the function too),
 * and never runs on two threads at once. Its function may free the item.
 *
 * Queueing is allowed with any lock held. Waiting (flush, cancel, destroy) is
 * for threads that hold nothing which the works need: the queue declares the
 * outermost lock class that its works take, the validator holds the works to
 * that, and refuses a wait where that lock could not be taken. A wait is also
 * refused inside a read-side section, since a work may wait for a grace period.
 *
 * Long works divide themselves: hv_work_should_yield() turns true when the
 * work has run for a slice, and hv_work_yield() lets others run.
 */
#ifndef HV_BASE_WORKQUEUE_H
#define HV_BASE_WORKQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/base/list.h"
#include "hv/base/lockorder.h"

/* How long a work runs before it should yield. */
#define HV_WORK_SLICE_NS UINT64_C(500000)

#define HV_WORKQUEUE_THREADS_MAX 64

struct hv_work;
struct hv_workqueue;
typedef void (*hv_work_fn)(struct hv_work *work);

struct hv_work {
	hv_work_fn fn;		   /* [I] */
	/* [Q] under the queue's lock */
	struct cds_list_head node; /* [Q] linked while pending */
	uint64_t seq;		   /* [Q] */
	bool pending;		   /* [Q] */
};

static inline void hv_work_init(struct hv_work *work, hv_work_fn fn)
{
	*work = (struct hv_work){ .fn = fn };
	CDS_INIT_LIST_HEAD(&work->node);
}

/*
 * name: of the threads, at most 15 characters, copied. threads:
 * 1..HV_WORKQUEUE_THREADS_MAX, registered for RCU. takes: the outermost lock
 * class that works take, HV_LC_NONE for no promise. 0, -EINVAL, -ENOMEM, or
 * what pthread_create() failed with.
 */
int hv_workqueue_create(const char *name, unsigned int threads, enum hv_lock_class takes,
			struct hv_workqueue **wq);

/* Runs what is queued, ends the threads, frees. Nobody queues any more. NULL: nothing. */
void hv_workqueue_destroy(struct hv_workqueue *wq);

/* False, and no change, if the work is queued already. Never sleeps or fails. */
bool hv_workqueue_queue(struct hv_workqueue *wq, struct hv_work *work);

/* Waits until all that was queued before the call has finished. Not from a work of wq. */
void hv_workqueue_flush_at(struct hv_workqueue *wq, const char *file, int line);
#define hv_workqueue_flush(wq) hv_workqueue_flush_at((wq), __FILE__, __LINE__)

/*
 * Takes the work off the queue, or waits until it has finished if it runs.
 * True if it was queued and will not run. The caller keeps others from queueing
 * it again. Not from the work itself.
 */
bool hv_workqueue_cancel_sync_at(struct hv_workqueue *wq, struct hv_work *work, const char *file,
				 int line);
#define hv_workqueue_cancel_sync(wq, work)                                                         \
	hv_workqueue_cancel_sync_at((wq), (work), __FILE__, __LINE__)

/* Works queued and not yet begun; a snapshot. */
unsigned int hv_workqueue_pending(struct hv_workqueue *wq);

/* In a work: it has run for a slice since it began or last yielded. Elsewhere false. */
bool hv_work_should_yield(void);

/* Gives the CPU to others, and begins a new slice. Not under a spinlock. */
void hv_work_yield(void);

#endif
