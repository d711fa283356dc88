/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small helpers that every room uses: arithmetic, containers, single accesses.
 * Nothing here allocates, locks or logs.
 */
#ifndef HV_BASE_UTIL_H
#define HV_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HV_PAGE_SHIFT 12
#define HV_PAGE_SIZE  (UINT64_C(1) << HV_PAGE_SHIFT)
#define HV_PAGE_MASK  (~(HV_PAGE_SIZE - 1))

#define HV_SZ_2M (UINT64_C(1) << 21)
#define HV_SZ_1G (UINT64_C(1) << 30)

#define hv_likely(x)   __builtin_expect(!!(x), 1)
#define hv_unlikely(x) __builtin_expect(!!(x), 0)

/* liburcu's headers define these two as well, in the same sense. */
#ifndef container_of
#define container_of(ptr, type, member)                                                            \
	__extension__({                                                                            \
		const __typeof__(((type *)NULL)->member) *hv_mptr_ = (ptr);                        \
		(type *)((char *)hv_mptr_ - offsetof(type, member));                               \
	})
#endif

#define ARRAY_SIZE(a)                                                                              \
	(sizeof(a) / sizeof((a)[0]) +                                                              \
	 0 * sizeof(char[1 - 2 * __builtin_types_compatible_p(__typeof__(a), __typeof__(&(a)[0]))]))

/* Both arguments are evaluated once and must have one type. */
#define hv_min(a, b)                                                                               \
	__extension__({                                                                            \
		__typeof__(a) hv_a_ = (a);                                                         \
		__typeof__(b) hv_b_ = (b);                                                         \
		(void)(&hv_a_ == &hv_b_);                                                          \
		hv_a_ < hv_b_ ? hv_a_ : hv_b_;                                                     \
	})
#define hv_max(a, b)                                                                               \
	__extension__({                                                                            \
		__typeof__(a) hv_a_ = (a);                                                         \
		__typeof__(b) hv_b_ = (b);                                                         \
		(void)(&hv_a_ == &hv_b_);                                                          \
		hv_a_ > hv_b_ ? hv_a_ : hv_b_;                                                     \
	})

/* `a` is a power of two. hv_align_up() wraps to 0 at the top of the type's range. */
#define hv_align_down(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define hv_align_up(x, a)   hv_align_down((x) + ((__typeof__(x))(a) - 1), (a))
#define hv_is_aligned(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)
#define hv_div_round_up(n, d) (((n) + (d) - 1) / (d))

/*
 * One access of the machine's width, neither torn, repeated nor invented by
 * the compiler, without any ordering. They are relaxed atomics, so that
 * ThreadSanitizer knows a deliberate race from an accident.
 */
#define READ_ONCE(x)     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/* Pair each one with its partner, and name the partner in a comment there. */
#define hv_load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define hv_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* Read-modify-writes return the old value and order fully, as on x86. */
#define hv_xchg(p, v)         __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define hv_fetch_add(p, v)    __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define hv_fetch_sub(p, v)    __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define hv_fetch_or(p, v)     __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define hv_fetch_and(p, v)    __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)

/* Stores `new` if *p equals *old; else loads *p into *old. True if stored. */
#define hv_try_cmpxchg(p, old, new)                                                                \
	__atomic_compare_exchange_n((p), (old), (new), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* A compiler barrier. */
#define hv_barrier() __asm__ __volatile__("" ::: "memory")

/*
 * A full barrier. ThreadSanitizer does not model stand-alone fences, and gcc
 * warns about them there; a locked operation on the stack does the same work
 * (and is the faster of the two on x86).
 */
static inline void hv_smp_mb(void)
{
	__asm__ __volatile__("lock; orl $0, -4(%%rsp)" ::: "memory", "cc");
}

/* The body of a busy-wait loop. */
static inline void hv_cpu_relax(void)
{
	__asm__ __volatile__("pause" ::: "memory");
}

#endif
