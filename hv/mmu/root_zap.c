/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The zap worker: one thread per VM that empties invalid roots and takes apart
 * the subtrees which updates have cut off.
 *
 * Invalidating all roots costs the same for any guest: under exclusive mmu_lock
 * each root is marked, gets a reference for the queue and is queued; vCPUs are
 * told to reload. The worker then empties the roots under shared mmu_lock, next
 * to faults in the new ones.
 *
 * A root is queued once in its life (zap_state), however many invalidations find
 * it: it may be kept by a vCPU that sleeps long after it has been zapped. The
 * last put of a valid root goes through the same queue (roots.c).
 *
 * The worker is never a burst: it takes subtrees apart for ZAP_SLICE_NS, and unless somebody
 * waits for it (mmu_zap_flush()) then pauses for ten times as long. The slice is short, so
 * that a GiB of 4 KiB mappings, 0.4 ms of work, is no burst either.
 *
 *   queue a root       caller's reference becomes the queue's
 *   queue a subtree    no processor can reach it: TLBs have been flushed
 *   worker             zap roots; flush; put; grace period; take subtrees apart
 */
#include "hv/mmu/tdp_mmu.h"

#include <stdio.h>

#define ZAP_SLICE_NS	 (50 * HV_NSEC_PER_USEC)
#define ZAP_PAUSE_FACTOR 10 /* of eleven parts of time, one is the worker's */
#define ZAP_CHECK_PAGES	 16

struct reclaim {
	struct hv_mmu_vm *mmu;
	uint64_t slice_start;
};

void mmu_zap_queue_root(struct hv_mmu_vm *mmu, struct mmu_page *root)
{
	struct mmu_zap *zap = &mmu->zap;

	hv_assert_held(&mmu->vm->mmu_lock);
#ifndef HV_MUTATION_QUEUE_TWICE
	HV_BUG_ON(root->zap_state != MMU_ZAP_NONE);
#endif
	__atomic_store_n(&root->zap_state, MMU_ZAP_QUEUED, __ATOMIC_RELEASE);
	hv_spin_lock(&zap->lock);
	root->next = zap->roots;
	zap->roots = root;
	hv_spin_unlock(&zap->lock);
}

void mmu_zap_kick(struct hv_mmu_vm *mmu)
{
	hv_workqueue_queue(mmu->zap.wq, &mmu->zap.work);
}

void mmu_zap_queue_reclaim(struct hv_mmu_vm *mmu, struct mmu_page *chain)
{
	struct mmu_zap *zap = &mmu->zap;
	struct mmu_page *last = chain;

	while (last->next)
		last = last->next;
	hv_spin_lock(&zap->lock);
	last->next = zap->reclaim;
	zap->reclaim = chain;
	hv_spin_unlock(&zap->lock);
	hv_workqueue_queue(zap->wq, &zap->work);
}

static struct mmu_page *zap_take(struct mmu_zap *zap, struct mmu_page **list)
{
	struct mmu_page *head;

	hv_spin_lock(&zap->lock);
	head = *list;
	*list = NULL;
	hv_spin_unlock(&zap->lock);
	return head;
}

/* Give the CPU to others once a slice is used up; for long, if nobody waits for us. */
static void zap_pause(struct reclaim *rc)
{
	struct mmu_zap *zap = &rc->mmu->zap;
	uint64_t now = hv_clock_ns(), busy = now - rc->slice_start, until;

	if (busy < ZAP_SLICE_NS)
		return;
	atomic_fetch_add_explicit(&zap->busy_ns, busy, memory_order_relaxed);
	/* What is far beyond the slice was somebody else's: we did not have the CPU. */
	until = now + hv_min(busy, 2 * ZAP_SLICE_NS) * ZAP_PAUSE_FACTOR;
	hv_spin_lock(&zap->lock);
	while (!zap->urgent && hv_clock_ns() < until)
		hv_cond_wait_spin_until(&zap->wake, &zap->lock, until);
	hv_spin_unlock(&zap->lock);
	hv_work_yield();
	rc->slice_start = hv_clock_ns();
}

/* Take a chain of unreachable subtrees apart; past the grace period, so without any lock. */
static void zap_reclaim(struct reclaim *rc, struct mmu_page *chain)
{
	struct mmu_page *freed = NULL;
	unsigned int n = 0;

	while (chain) {
		struct mmu_page *sp = chain;

		if (sp->aux) {
			memset(sp->spt, 0, HV_PAGE_SIZE);
			chain = sp->next;
		} else {
			chain = tdp_reclaim_table(&rc->mmu->counters, sp, sp->next);
		}
		sp->next = freed;
		freed = sp;
		if (++n % ZAP_CHECK_PAGES == 0) {
			mmu_pool_free(&rc->mmu->pool, freed);
			freed = NULL;
			zap_pause(rc);
		}
	}
	if (freed)
		mmu_pool_free(&rc->mmu->pool, freed);
}

static void zap_one_root(struct hv_mmu_vm *mmu, struct mmu_page *root)
{
	struct hv_vm *vm = mmu->vm;
	struct mmu_ctx ctx = mmu_ctx_init(vm, NULL, true);
	uint64_t start;

	hv_read_lock(&vm->mmu_lock);
	hv_rcu_read_lock();
	tdp_zap_root(&ctx, root);
	/* Also where it was empty: whoever put it last relies on flushed TLBs. */
	ctx.flush = true;
	start = hv_clock_ns();
	mmu_ctx_finish(&ctx);
	hv_spin_lock(&mmu->zap.lock);
	mmu->zap.roots_zapped++;
	mmu->zap.flush_ns += hv_clock_ns() - start;
	hv_spin_unlock(&mmu->zap.lock);
	__atomic_store_n(&root->zap_state, MMU_ZAP_DONE, __ATOMIC_RELEASE);
	hv_rcu_read_unlock();
	mmu_root_put(&ctx, root);
	hv_read_unlock(&vm->mmu_lock);
}

static void zap_work(struct hv_work *work)
{
	struct hv_mmu_vm *mmu = container_of(work, struct hv_mmu_vm, zap.work);
	struct reclaim rc = { .mmu = mmu, .slice_start = hv_clock_ns() };
	struct mmu_page *chain, *next;

	for (chain = zap_take(&mmu->zap, &mmu->zap.roots); chain; chain = next) {
		next = chain->next;
		zap_one_root(mmu, chain);
	}
	chain = zap_take(&mmu->zap, &mmu->zap.reclaim);
	if (chain) {
		/* Fast faults and lookups may still be inside. */
		hv_synchronize_rcu();
		rc.slice_start = hv_clock_ns();
		zap_reclaim(&rc, chain);
	}
	atomic_fetch_add_explicit(&mmu->zap.busy_ns, hv_clock_ns() - rc.slice_start,
				  memory_order_relaxed);
}

void mmu_zap_flush(struct hv_mmu_vm *mmu)
{
	struct mmu_zap *zap = &mmu->zap;

	hv_spin_lock(&zap->lock);
	zap->urgent++;
	hv_cond_broadcast(&zap->wake);
	hv_spin_unlock(&zap->lock);
	hv_workqueue_flush(zap->wq);
	hv_spin_lock(&zap->lock);
	zap->urgent--;
	hv_spin_unlock(&zap->lock);
}

int mmu_zap_init(struct hv_mmu_vm *mmu)
{
	struct mmu_zap *zap = &mmu->zap;
	int err;

	hv_work_init(&zap->work, zap_work);
	hv_spinlock_init(&zap->lock, HV_LC_LEAF);
	hv_cond_init(&zap->wake);
	err = hv_workqueue_create("hv-mmu-zap", 1, HV_LC_MMU, &zap->wq);
	if (err) {
		hv_cond_destroy(&zap->wake);
		hv_spinlock_destroy(&zap->lock);
	}
	return err;
}

void mmu_zap_destroy(struct hv_mmu_vm *mmu)
{
	struct mmu_zap *zap = &mmu->zap;

	/* Zapping a root queues its subtrees, so until nothing is left. */
	do {
		mmu_zap_flush(mmu);
	} while (hv_workqueue_pending(zap->wq));
	hv_workqueue_destroy(zap->wq);
	HV_BUG_ON(zap->roots || zap->reclaim);
	hv_cond_destroy(&zap->wake);
	hv_spinlock_destroy(&zap->lock);
}

/*
 * Mark and queue every root that never was; mmu_lock exclusive. The list is the
 * truth here: nobody adds a root or drops a last reference without mmu_lock.
 */
static unsigned int invalidate_roots(struct hv_mmu_vm *mmu)
{
	struct mmu_page *root;
	unsigned int n = 0;

	hv_assert_held_write(&mmu->vm->mmu_lock);
	mmu_for_each_root(root, mmu) {
		union mmu_role role = mmu_page_role(root);

#ifdef HV_MUTATION_QUEUE_TWICE
		if (root->zap_state == MMU_ZAP_QUEUED)
			continue;
#else
		/* Zapped before, and kept by a vCPU that sleeps; or in the queue now. */
		if (root->zap_state != MMU_ZAP_NONE)
			continue;
#endif
		hv_refcount_inc(&root->refs);
		role.invalid = 1;
		__atomic_store_n(&root->role.word, role.word, __ATOMIC_RELEASE);
		mmu_zap_queue_root(mmu, root);
		n++;
	}
	return n;
}

void mmu_zap_all_fast(struct hv_vm *vm, struct hv_mmu_invalidate_times *times)
{
	struct hv_mmu_vm *mmu = vm->mmu;
	uint64_t t0 = hv_clock_ns(), t1, t2, flush0;
	unsigned int n;

	hv_assert_held(&vm->slots_lock);
	hv_write_lock(&vm->mmu_lock);
	n = invalidate_roots(mmu);
	/*
	 * Inside mmu_lock: a vCPU that faults after this section finds its root
	 * invalid and the request set, so it cannot miss both.
	 */
	vm_make_all_requests(vm, HV_REQ_MMU_RELOAD);
	hv_write_unlock(&vm->mmu_lock);
	t1 = hv_clock_ns();
	/* Not inside mmu_lock, which is the first thing that the worker takes. */
	mmu_zap_kick(mmu);
	hv_spin_lock(&mmu->zap.lock);
	flush0 = mmu->zap.flush_ns;
	hv_spin_unlock(&mmu->zap.lock);
	/* The "fast zap" is complete when the worker is done, and slots_lock is held until then. */
	mmu_zap_flush(mmu);
	t2 = hv_clock_ns();
	if (!times)
		return;
	hv_spin_lock(&mmu->zap.lock);
	times->flush_ns = mmu->zap.flush_ns - flush0;
	hv_spin_unlock(&mmu->zap.lock);
	times->publish_ns = t1 - t0;
	times->zap_ns = t2 - t1;
	times->roots = n;
}
