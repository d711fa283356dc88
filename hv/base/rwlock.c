/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reader-writer lock. lock.h says what it is for and how it works; here
 * is why it is right.
 *
 *   reader                         writer
 *   readers++      (a)             state |= WRITER  (c)
 *   load state     (b)             load every readers (d)
 *
 * (a) and (c) are sequentially consistent, so that either (b) sees WRITER, and
 * the reader backs out, or (d) sees the reader, and the writer waits for it.
 *
 *   leaving reader                 sleeping writer
 *   readers--      (e)             state |= DRAIN   (g)
 *   load state     (f)             load every readers (h), then sleep
 *
 * In the same way either (f) sees DRAIN and wakes the writer under m, or (h)
 * sees the reader gone.
 *
 * A writer that meets nobody takes and drops the lock with one compare-and-swap
 * of the whole word, 0 <-> WRITER, without m. Whoever has to wait, or was let in
 * and has not come yet, keeps SLOW set, under m. While it is set both
 * compare-and-swaps fail, so that no new writer appears behind the back of who
 * holds m, and the one inside passes the lock on under m.
 */
#include "hv/base/lock.h"

#include <sched.h>
#include <unistd.h>

#include "hv/base/bitops.h"
#include "hv/base/tsan.h"
#include "hv/base/workqueue.h"

/* Longer than a fault holds the lock, not longer than a trip through the kernel: 1 to 4 us. */
#define SPIN_LIMIT 64

/* Spreads threads over slots in the order in which they first come here. */
static uint32_t next_thread;
static __thread uint32_t thread_number; /* 0: none yet */

static inline uint32_t *my_slot(struct hv_rwlock *l)
{
	if (hv_unlikely(!thread_number))
		thread_number = __atomic_add_fetch(&next_thread, 1, __ATOMIC_RELAXED);
	return &l->slot[thread_number & l->slot_mask].readers;
}

static inline uint32_t load_state(const struct hv_rwlock *l)
{
	return __atomic_load_n(&l->state, __ATOMIC_SEQ_CST);
}

void hv_rwlock_init(struct hv_rwlock *l, enum hv_lock_class class)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	/* Twice the CPUs, since the numbering of threads is blind to where they run. */
	uint64_t slots = hv_roundup_pow2(cpus > 0 ? 2 * (uint64_t)cpus : 1);

	*l = (struct hv_rwlock){ .slot_mask = (uint32_t)hv_min(slots, (uint64_t)HV_RWLOCK_SLOTS) - 1 };
	HV_BUG_ON(pthread_mutex_init(&l->m, NULL));
	HV_BUG_ON(pthread_cond_init(&l->readers_cv, NULL));
	HV_BUG_ON(pthread_cond_init(&l->writers_cv, NULL));
	HV_BUG_ON(pthread_cond_init(&l->drain_cv, NULL));
	hv_lockdep_init(&l->dep, class, HV_LOCK_RWLOCK);
	hv_tsan_mutex(__tsan_mutex_create(l, __tsan_mutex_not_static));
}

void hv_rwlock_destroy_at(struct hv_rwlock *l, const char *file, int line)
{
	hv_lockdep_destroy(&l->dep, file, line);
	HV_BUG_ON(load_state(l) || l->blocked_readers || l->blocked_writers || l->admitted);
	hv_tsan_mutex(__tsan_mutex_destroy(l, __tsan_mutex_not_static));
	pthread_cond_destroy(&l->drain_cv);
	pthread_cond_destroy(&l->writers_cv);
	pthread_cond_destroy(&l->readers_cv);
	pthread_mutex_destroy(&l->m);
}

/* ---- readers ---------------------------------------------------------------------- */

static void wake_draining_writer(struct hv_rwlock *l)
{
	pthread_mutex_lock(&l->m);
	pthread_cond_signal(&l->drain_cv);
	pthread_mutex_unlock(&l->m);
}

static inline void reader_leave(struct hv_rwlock *l, uint32_t *slot)
{
	__atomic_fetch_sub(slot, 1, __ATOMIC_SEQ_CST); /* (e) */
	if (hv_unlikely(load_state(l) & HV_RWL_DRAIN)) /* (f) */
		wake_draining_writer(l);
}

static inline bool reader_enter(struct hv_rwlock *l, uint32_t *slot)
{
	__atomic_fetch_add(slot, 1, __ATOMIC_SEQ_CST);	  /* (a) */
	if (hv_likely(!(load_state(l) & HV_RWL_WRITER))) /* (b) */
		return true;
	reader_leave(l, slot);
	return false;
}

/* With m held, before it is dropped: SLOW stays while anybody needs it. */
static void update_slow(struct hv_rwlock *l)
{
	if (!l->blocked_readers && !l->blocked_writers && !l->admitted)
		__atomic_fetch_and(&l->state, ~HV_RWL_SLOW, __ATOMIC_SEQ_CST);
}

/* With m held: true if a writer is inside, which will then unlock under m. */
static bool slow_sees_writer(struct hv_rwlock *l)
{
	return __atomic_fetch_or(&l->state, HV_RWL_SLOW, __ATOMIC_SEQ_CST) & HV_RWL_WRITER;
}

static void __attribute__((noinline)) read_lock_slow(struct hv_rwlock *l, uint32_t *slot)
{
	uint32_t phase;
	int i;

	__atomic_fetch_add(&l->waiters, 1, __ATOMIC_RELAXED);
	for (i = 0; i < SPIN_LIMIT && load_state(l) & HV_RWL_WRITER; i++)
		hv_cpu_relax();
	pthread_mutex_lock(&l->m);
	if (slow_sees_writer(l)) {
		phase = l->phase;
		l->blocked_readers++;
		while (phase == l->phase)
			pthread_cond_wait(&l->readers_cv, &l->m);
		if (--l->admitted == 0)
			pthread_cond_signal(&l->writers_cv);
	}
	/* No writer is inside, and none comes while m is held and SLOW set. */
	__atomic_fetch_add(slot, 1, __ATOMIC_SEQ_CST);
	update_slow(l);
	pthread_mutex_unlock(&l->m);
	__atomic_fetch_sub(&l->waiters, 1, __ATOMIC_RELAXED);
}

void hv_read_lock_at(struct hv_rwlock *l, unsigned int nest, const char *file, int line)
{
	uint32_t *slot = my_slot(l);

	hv_lockdep_before(&l->dep, nest, file, line);
	hv_tsan_mutex(__tsan_mutex_pre_lock(l, __tsan_mutex_read_lock));
	if (hv_unlikely(!reader_enter(l, slot)))
		read_lock_slow(l, slot);
	hv_tsan_mutex(__tsan_mutex_post_lock(l, __tsan_mutex_read_lock, 0));
	hv_lockdep_acquired(&l->dep, HV_LM_SHARED, nest, file, line);
}

bool hv_read_trylock_at(struct hv_rwlock *l, const char *file, int line)
{
	bool got;

	hv_tsan_mutex(__tsan_mutex_pre_lock(l, __tsan_mutex_read_lock | __tsan_mutex_try_lock));
	got = reader_enter(l, my_slot(l));
	hv_tsan_mutex(__tsan_mutex_post_lock(
		l,
		__tsan_mutex_read_lock | __tsan_mutex_try_lock |
			(got ? 0 : __tsan_mutex_try_lock_failed),
		0));
	if (got)
		hv_lockdep_acquired(&l->dep, HV_LM_SHARED, 0, file, line);
	return got;
}

void hv_read_unlock_at(struct hv_rwlock *l, const char *file, int line)
{
	hv_lockdep_release(&l->dep, HV_LM_SHARED, file, line);
	hv_tsan_mutex(__tsan_mutex_pre_unlock(l, __tsan_mutex_read_lock));
	reader_leave(l, my_slot(l));
	hv_tsan_mutex(__tsan_mutex_post_unlock(l, __tsan_mutex_read_lock));
}

/* ---- writers ---------------------------------------------------------------------- */

static bool readers_inside(const struct hv_rwlock *l)
{
	uint32_t i;

	for (i = 0; i <= l->slot_mask; i++)
		if (__atomic_load_n(&l->slot[i].readers, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

/* WRITER is set and m held; m may be dropped while the readers leave. */
static void drain_readers(struct hv_rwlock *l)
{
	int i;

	for (i = 0; i < SPIN_LIMIT && readers_inside(l); i++)
		hv_cpu_relax();
	if (!readers_inside(l)) /* (d) */
		return;
	__atomic_fetch_or(&l->state, HV_RWL_DRAIN, __ATOMIC_SEQ_CST); /* (g) */
	while (readers_inside(l))				      /* (h) */
		pthread_cond_wait(&l->drain_cv, &l->m);
	__atomic_fetch_and(&l->state, ~HV_RWL_DRAIN, __ATOMIC_SEQ_CST);
}

static void __attribute__((noinline)) write_lock_slow(struct hv_rwlock *l)
{
	pthread_mutex_lock(&l->m);
	l->blocked_writers++;
	while (slow_sees_writer(l) || l->admitted)
		pthread_cond_wait(&l->writers_cv, &l->m);
	l->blocked_writers--;
	__atomic_fetch_or(&l->state, HV_RWL_WRITER, __ATOMIC_SEQ_CST); /* (c) */
	drain_readers(l);
	update_slow(l);
	pthread_mutex_unlock(&l->m);
}

static void __attribute__((noinline)) drain_after_fast(struct hv_rwlock *l)
{
	pthread_mutex_lock(&l->m);
	drain_readers(l);
	pthread_mutex_unlock(&l->m);
}

static bool write_lock_fast(struct hv_rwlock *l)
{
	uint32_t free = 0;

	return hv_try_cmpxchg(&l->state, &free, HV_RWL_WRITER); /* (c) */
}

static void write_lock(struct hv_rwlock *l)
{
	bool fast = write_lock_fast(l);

	if (hv_likely(fast && !readers_inside(l))) /* (d) */
		return;
	__atomic_fetch_add(&l->waiters, 1, __ATOMIC_RELAXED);
	if (fast)
		drain_after_fast(l);
	else
		write_lock_slow(l);
	__atomic_fetch_sub(&l->waiters, 1, __ATOMIC_RELAXED);
}

/* Ends a writer's phase: all readers that wait are let in before another writer. */
static void __attribute__((noinline)) write_unlock_slow(struct hv_rwlock *l)
{
	pthread_mutex_lock(&l->m);
	l->phase++;
	l->admitted += l->blocked_readers;
	l->blocked_readers = 0;
	__atomic_fetch_and(&l->state, ~HV_RWL_WRITER, __ATOMIC_SEQ_CST);
	if (l->admitted)
		pthread_cond_broadcast(&l->readers_cv);
	else if (l->blocked_writers)
		pthread_cond_signal(&l->writers_cv);
	update_slow(l);
	pthread_mutex_unlock(&l->m);
}

static void write_unlock(struct hv_rwlock *l)
{
	uint32_t alone = HV_RWL_WRITER;

	if (hv_unlikely(!hv_try_cmpxchg(&l->state, &alone, 0)))
		write_unlock_slow(l);
}

static bool write_trylock(struct hv_rwlock *l)
{
	if (readers_inside(l) || !write_lock_fast(l))
		return false;
	if (!readers_inside(l))
		return true;
	write_unlock(l); /* one came in between */
	return false;
}

void hv_write_lock_at(struct hv_rwlock *l, unsigned int nest, const char *file, int line)
{
	hv_lockdep_before(&l->dep, nest, file, line);
	hv_tsan_mutex(__tsan_mutex_pre_lock(l, 0));
	write_lock(l);
	hv_tsan_mutex(__tsan_mutex_post_lock(l, 0, 0));
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, nest, file, line);
}

bool hv_write_trylock_at(struct hv_rwlock *l, const char *file, int line)
{
	bool got;

	hv_tsan_mutex(__tsan_mutex_pre_lock(l, __tsan_mutex_try_lock));
	got = write_trylock(l);
	hv_tsan_mutex(__tsan_mutex_post_lock(
		l, __tsan_mutex_try_lock | (got ? 0 : __tsan_mutex_try_lock_failed), 0));
	if (got)
		hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
	return got;
}

void hv_write_unlock_at(struct hv_rwlock *l, const char *file, int line)
{
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	hv_tsan_mutex(__tsan_mutex_pre_unlock(l, 0));
	write_unlock(l);
	hv_tsan_mutex(__tsan_mutex_post_unlock(l, 0));
}

/* ---- yielding ----------------------------------------------------------------------- */

bool hv_cond_resched_rwlock_write_at(struct hv_rwlock *l, const char *file, int line)
{
	if (hv_likely(!hv_rwlock_is_contended(l) && !hv_work_should_yield()))
		return false;
	hv_write_unlock_at(l, file, line);
	hv_work_yield();
	hv_write_lock_at(l, 0, file, line);
	return true;
}

bool hv_cond_resched_rwlock_read_at(struct hv_rwlock *l, const char *file, int line)
{
	if (hv_likely(!hv_rwlock_is_contended(l) && !hv_work_should_yield()))
		return false;
	hv_read_unlock_at(l, file, line);
	hv_work_yield();
	hv_read_lock_at(l, 0, file, line);
	return true;
}
