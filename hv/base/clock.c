/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rate of the host's time-stamp counter: told, exported by the kernel, or
 * measured, once.
 */
#include "hv/base/clock.h"

#include <pthread.h>
#include <stdio.h>

#include "hv/base/util.h"

#define CALIBRATE_NS (20 * HV_NSEC_PER_MSEC)

static uint64_t tsc_khz;
static uint64_t told_khz;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct sample {
	uint64_t tsc, ns;
};

/*
 * The counter and the clock at one instant. Of several tries the one with the
 * fewest ticks around the clock's reading: the others were interrupted.
 */
static struct sample take_sample(void)
{
	struct sample best = { 0, 0 };
	uint64_t shortest = UINT64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		uint64_t before = hv_rdtsc_ordered();
		uint64_t ns = hv_clock_ns();
		uint64_t ticks = hv_rdtsc_ordered() - before;

		if (ticks < shortest) {
			shortest = ticks;
			best = (struct sample){ before + ticks / 2, ns };
		}
	}
	return best;
}

static void measure(void)
{
	struct timespec pause = { .tv_nsec = CALIBRATE_NS };
	struct sample a = take_sample(), b;

	nanosleep(&pause, NULL);
	do {
		b = take_sample();
	} while (b.ns <= a.ns);
	tsc_khz = hv_max(hv_mul_div_u64(b.tsc - a.tsc, 1000000, b.ns - a.ns), UINT64_C(1));
}

/* Some kernels export it; 0: this one does not. */
static uint64_t exported_khz(void)
{
	FILE *f = fopen("/sys/devices/system/cpu/cpu0/tsc_freq_khz", "re");
	unsigned int khz = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%u", &khz) != 1)
		khz = 0;
	fclose(f);
	return khz;
}

static void calibrate(void)
{
	tsc_khz = told_khz ? told_khz : exported_khz();
	if (!tsc_khz)
		measure();
}

uint64_t hv_tsc_khz(void)
{
	pthread_once(&once, calibrate);
	return tsc_khz;
}

void hv_tsc_tell_khz(uint64_t khz)
{
	told_khz = khz;
}
