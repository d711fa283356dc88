/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Time: the host's monotonic clock and its time-stamp counter.
 */
#ifndef HV_BASE_CLOCK_H
#define HV_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define HV_NSEC_PER_USEC UINT64_C(1000)
#define HV_NSEC_PER_MSEC UINT64_C(1000000)
#define HV_NSEC_PER_SEC	 UINT64_C(1000000000)

/* Any clock in nanoseconds. False: there is none such, as that of a thread that has ended. */
static inline bool hv_clock_read(clockid_t clock, uint64_t *ns)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) != 0)
		return false;
	*ns = (uint64_t)ts.tv_sec * HV_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	return true;
}

/* CLOCK_MONOTONIC in nanoseconds; no system call. */
static inline uint64_t hv_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * HV_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Time since the epoch in nanoseconds; it can jump. */
static inline uint64_t hv_clock_realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * HV_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* May be executed before what stands ahead of it. */
static inline uint64_t hv_rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* After all loads ahead of it have completed (Intel SDM, RDTSC: LFENCE first). */
static inline uint64_t hv_rdtsc_ordered(void)
{
	__asm__ __volatile__("lfence" ::: "memory");
	return __builtin_ia32_rdtsc();
}

/*
 * The counter's rate in kHz; never 0. The first call measures it against the
 * monotonic clock, which takes some 20 ms: call it during start-up.
 */
uint64_t hv_tsc_khz(void);
/* Spare the measuring: what another process on this host has found. Before the first call. */
void hv_tsc_tell_khz(uint64_t khz);

/* v * mul / div without overflow of the product; div is not 0, the quotient fits. */
static inline uint64_t hv_mul_div_u64(uint64_t v, uint64_t mul, uint64_t div)
{
	return (uint64_t)((unsigned __int128)v * mul / div);
}

/* Ticks of a counter of `khz` to nanoseconds, and back. */
static inline uint64_t hv_tsc_to_ns(uint64_t ticks, uint64_t khz)
{
	return hv_mul_div_u64(ticks, 1000000, khz);
}

static inline uint64_t hv_ns_to_tsc(uint64_t ns, uint64_t khz)
{
	return hv_mul_div_u64(ns, khz, 1000000);
}

#endif
