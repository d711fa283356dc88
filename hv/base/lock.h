/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's locks: mutex, spinlock, reader-writer lock, condition variable.
 *
 * Every lock is initialised with its class (hv/base/lockorder.h), and with
 * HV_DEBUG every call is validated against the table. Without it a mutex is a
 * pthread mutex and nothing else.
 *
 * A spinlock here is a rule: what runs under it is short and never sleeps. It
 * spins a while and then blocks in the kernel (glibc's adaptive mutex), since
 * unlike in a kernel its holder may lose the CPU at any instruction, and
 * others that spun on would burn its time.
 *
 * The lock calls are macros only to pass on the place of the call.
 */
#ifndef HV_BASE_LOCK_H
#define HV_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/base/assert.h"
#include "hv/base/lockorder.h"

/* ---- mutex ------------------------------------------------------------------- */

struct hv_mutex {
	pthread_mutex_t m;
	struct hv_lock_dep dep;
};

static inline void hv_mutex_init(struct hv_mutex *l, enum hv_lock_class class)
{
	HV_BUG_ON(pthread_mutex_init(&l->m, NULL));
	hv_lockdep_init(&l->dep, class, HV_LOCK_MUTEX);
}

static inline void hv_mutex_destroy_at(struct hv_mutex *l, const char *file, int line)
{
	hv_lockdep_destroy(&l->dep, file, line);
	HV_BUG_ON(pthread_mutex_destroy(&l->m));
}

static inline void hv_mutex_lock_at(struct hv_mutex *l, unsigned int nest, const char *file,
				    int line)
{
	hv_lockdep_before(&l->dep, nest, file, line);
	pthread_mutex_lock(&l->m);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, nest, file, line);
}

static inline bool hv_mutex_trylock_at(struct hv_mutex *l, const char *file, int line)
{
	if (pthread_mutex_trylock(&l->m))
		return false;
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
	return true;
}

static inline void hv_mutex_unlock_at(struct hv_mutex *l, const char *file, int line)
{
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	pthread_mutex_unlock(&l->m);
}

#define hv_mutex_destroy(l) hv_mutex_destroy_at((l), __FILE__, __LINE__)
#define hv_mutex_lock(l)    hv_mutex_lock_at((l), 0, __FILE__, __LINE__)
/* For several locks of one class, each with a higher number than those held. */
#define hv_mutex_lock_nested(l, nest) hv_mutex_lock_at((l), (nest), __FILE__, __LINE__)
#define hv_mutex_trylock(l)	      hv_mutex_trylock_at((l), __FILE__, __LINE__)
#define hv_mutex_unlock(l)	      hv_mutex_unlock_at((l), __FILE__, __LINE__)

/* ---- spinlock ------------------------------------------------------------------ */

struct hv_spinlock {
	pthread_mutex_t m;
	struct hv_lock_dep dep;
};

static inline void hv_spinlock_init(struct hv_spinlock *l, enum hv_lock_class class)
{
	pthread_mutexattr_t attr;

	HV_BUG_ON(pthread_mutexattr_init(&attr));
	HV_BUG_ON(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP));
	HV_BUG_ON(pthread_mutex_init(&l->m, &attr));
	pthread_mutexattr_destroy(&attr);
	hv_lockdep_init(&l->dep, class, HV_LOCK_SPINLOCK);
}

static inline void hv_spinlock_destroy_at(struct hv_spinlock *l, const char *file, int line)
{
	hv_lockdep_destroy(&l->dep, file, line);
	HV_BUG_ON(pthread_mutex_destroy(&l->m));
}

static inline void hv_spin_lock_at(struct hv_spinlock *l, unsigned int nest, const char *file,
				   int line)
{
	hv_lockdep_before(&l->dep, nest, file, line);
	pthread_mutex_lock(&l->m);
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, nest, file, line);
}

static inline bool hv_spin_trylock_at(struct hv_spinlock *l, const char *file, int line)
{
	if (pthread_mutex_trylock(&l->m))
		return false;
	hv_lockdep_acquired(&l->dep, HV_LM_EXCLUSIVE, 0, file, line);
	return true;
}

static inline void hv_spin_unlock_at(struct hv_spinlock *l, const char *file, int line)
{
	hv_lockdep_release(&l->dep, HV_LM_EXCLUSIVE, file, line);
	pthread_mutex_unlock(&l->m);
}

#define hv_spinlock_destroy(l)	     hv_spinlock_destroy_at((l), __FILE__, __LINE__)
#define hv_spin_lock(l)		     hv_spin_lock_at((l), 0, __FILE__, __LINE__)
#define hv_spin_lock_nested(l, nest) hv_spin_lock_at((l), (nest), __FILE__, __LINE__)
#define hv_spin_trylock(l)	     hv_spin_trylock_at((l), __FILE__, __LINE__)
#define hv_spin_unlock(l)	     hv_spin_unlock_at((l), __FILE__, __LINE__)

/* ---- reader-writer lock ---------------------------------------------------------- */

/*
 * Readers count themselves in one of several counters, chosen by thread and
 * each on a cache line of its own, so that parallel readers share nothing that
 * is written. A writer announces itself in `state`, which every reader looks
 * at after counting itself, and waits until all counters are 0.
 *
 * Phase-fair: new readers wait for a waiting writer; at unlock, the readers
 * that wait by then all get in before the next writer. So neither side
 * starves: a stream of faults delays a notifier by one section, and a zap that
 * drops and retakes the lock (hv_cond_resched_rwlock_write) lets faults in.
 * (Brandenburg and Anderson, "Spin-Based Reader-Writer Synchronization for
 * Multiprocessor Real-Time Systems", 2010, for the phases; per-CPU reader counts
 * are an old trick of kernels.)
 *
 * Not recursive, not even for readers: with a writer between, that deadlocks.
 */
#define HV_RWLOCK_SLOTS 16

#define HV_RWL_WRITER 1U /* a writer holds it or waits for readers to leave */
#define HV_RWL_DRAIN  2U /* that writer sleeps: the leaving readers wake it */
#define HV_RWL_SLOW   4U /* somebody is blocked or not in yet: go through m */

struct hv_rwlock {
	/* [A] atomic, [m] under m, [I] immutable after init */
	struct {
		uint32_t readers; /* [A] */
		uint32_t pad[15];
	} slot[HV_RWLOCK_SLOTS];
	uint32_t state;		  /* [A] HV_RWL_* */
	uint32_t slot_mask;	  /* [I] slots in use - 1 */
	uint32_t waiters;	  /* [A] threads in a slow path, for is_contended */
	uint32_t pad[13];	  /* `state` is read by every reader: keep it off what follows */
	pthread_mutex_t m;	  /* orders the slow paths; inside nothing else is taken */
	pthread_cond_t readers_cv;
	pthread_cond_t writers_cv;
	pthread_cond_t drain_cv;
	uint32_t phase;		  /* [m] counts unlocks by writers that somebody waited for */
	uint32_t blocked_readers; /* [m] wait for the phase to change */
	uint32_t admitted;	  /* [m] readers of the last phase who have not come in yet */
	uint32_t blocked_writers; /* [m] */
	struct hv_lock_dep dep;
};

void hv_rwlock_init(struct hv_rwlock *l, enum hv_lock_class class);
void hv_rwlock_destroy_at(struct hv_rwlock *l, const char *file, int line);
void hv_read_lock_at(struct hv_rwlock *l, unsigned int nest, const char *file, int line);
bool hv_read_trylock_at(struct hv_rwlock *l, const char *file, int line);
void hv_read_unlock_at(struct hv_rwlock *l, const char *file, int line);
void hv_write_lock_at(struct hv_rwlock *l, unsigned int nest, const char *file, int line);
bool hv_write_trylock_at(struct hv_rwlock *l, const char *file, int line);
void hv_write_unlock_at(struct hv_rwlock *l, const char *file, int line);

#define hv_rwlock_destroy(l)	      hv_rwlock_destroy_at((l), __FILE__, __LINE__)
#define hv_read_lock(l)		      hv_read_lock_at((l), 0, __FILE__, __LINE__)
#define hv_read_lock_nested(l, nest)  hv_read_lock_at((l), (nest), __FILE__, __LINE__)
#define hv_read_trylock(l)	      hv_read_trylock_at((l), __FILE__, __LINE__)
#define hv_read_unlock(l)	      hv_read_unlock_at((l), __FILE__, __LINE__)
#define hv_write_lock(l)	      hv_write_lock_at((l), 0, __FILE__, __LINE__)
#define hv_write_lock_nested(l, nest) hv_write_lock_at((l), (nest), __FILE__, __LINE__)
#define hv_write_trylock(l)	      hv_write_trylock_at((l), __FILE__, __LINE__)
#define hv_write_unlock(l)	      hv_write_unlock_at((l), __FILE__, __LINE__)

/* Somebody waits for the lock that the caller holds. A hint. */
static inline bool hv_rwlock_is_contended(const struct hv_rwlock *l)
{
	return __atomic_load_n(&l->waiters, __ATOMIC_RELAXED) != 0;
}

/*
 * In a long operation under the lock: if somebody waits for it, or if the work
 * item that runs has used up its slice (hv_work_should_yield()), drops it, lets
 * the others go first, and takes it again. True if it was dropped: what was
 * read under it must be read again.
 */
bool hv_cond_resched_rwlock_write_at(struct hv_rwlock *l, const char *file, int line);
bool hv_cond_resched_rwlock_read_at(struct hv_rwlock *l, const char *file, int line);
#define hv_cond_resched_rwlock_write(l) hv_cond_resched_rwlock_write_at((l), __FILE__, __LINE__)
#define hv_cond_resched_rwlock_read(l)	hv_cond_resched_rwlock_read_at((l), __FILE__, __LINE__)

/* ---- condition variable -------------------------------------------------------------- */

/* Deadlines are of CLOCK_MONOTONIC, in nanoseconds (hv_clock_ns()). */
struct hv_cond {
	pthread_cond_t c;
};

void hv_cond_init(struct hv_cond *c);

static inline void hv_cond_destroy(struct hv_cond *c)
{
	HV_BUG_ON(pthread_cond_destroy(&c->c));
}

static inline void hv_cond_signal(struct hv_cond *c)
{
	pthread_cond_signal(&c->c);
}

static inline void hv_cond_broadcast(struct hv_cond *c)
{
	pthread_cond_broadcast(&c->c);
}

/*
 * Waits, with the lock dropped meanwhile. Spurious returns happen: loop on the
 * condition. A wait inside a read-side section, or with a spinlock held other
 * than the one passed, is refused by the validator.
 */
void hv_cond_wait_at(struct hv_cond *c, struct hv_mutex *l, const char *file, int line);
void hv_cond_wait_spin_at(struct hv_cond *c, struct hv_spinlock *l, const char *file, int line);
/* False if the deadline passed. */
bool hv_cond_wait_until_at(struct hv_cond *c, struct hv_mutex *l, uint64_t deadline_ns,
			   const char *file, int line);
bool hv_cond_wait_spin_until_at(struct hv_cond *c, struct hv_spinlock *l, uint64_t deadline_ns,
				const char *file, int line);

#define hv_cond_wait(c, l)	hv_cond_wait_at((c), (l), __FILE__, __LINE__)
#define hv_cond_wait_spin(c, l) hv_cond_wait_spin_at((c), (l), __FILE__, __LINE__)
#define hv_cond_wait_until(c, l, ns)                                                               \
	hv_cond_wait_until_at((c), (l), (ns), __FILE__, __LINE__)
#define hv_cond_wait_spin_until(c, l, ns)                                                          \
	hv_cond_wait_spin_until_at((c), (l), (ns), __FILE__, __LINE__)

/* ---- assertions, of any kind of lock ------------------------------------------------- */

#define hv_assert_held(l) hv_lockdep_assert_held(&(l)->dep, HV_LM_ANY, __FILE__, __LINE__)
#define hv_assert_held_read(l)                                                                     \
	hv_lockdep_assert_held(&(l)->dep, HV_LM_SHARED, __FILE__, __LINE__)
#define hv_assert_held_write(l)                                                                    \
	hv_lockdep_assert_held(&(l)->dep, HV_LM_EXCLUSIVE, __FILE__, __LINE__)
#define hv_assert_not_held(l) hv_lockdep_assert_not_held(&(l)->dep, __FILE__, __LINE__)

#endif
