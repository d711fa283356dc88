/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a lock costs: the engine's reader-writer lock beside glibc's, alone and
 * with two threads, and how long a writer waits for its turn among readers.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"

#define RUN_NS (200 * HV_NSEC_PER_MSEC)

static struct hv_rwlock own;
static pthread_rwlock_t glibc = PTHREAD_RWLOCK_INITIALIZER;
static struct hv_mutex mutex;

static void own_read(void)
{
	hv_read_lock(&own);
	hv_read_unlock(&own);
}

static void own_write(void)
{
	hv_write_lock(&own);
	hv_write_unlock(&own);
}

static void glibc_read(void)
{
	pthread_rwlock_rdlock(&glibc);
	pthread_rwlock_unlock(&glibc);
}

static void glibc_write(void)
{
	pthread_rwlock_wrlock(&glibc);
	pthread_rwlock_unlock(&glibc);
}

static void mutex_pair(void)
{
	hv_mutex_lock(&mutex);
	hv_mutex_unlock(&mutex);
}

static void rcu_pair(void)
{
	hv_rcu_read_lock();
	hv_rcu_read_unlock();
}

struct job {
	void (*fn)(void);
	uint64_t pairs, longest_ns;
};

static int stop;

static void *work(void *arg)
{
	struct job *job = arg;
	uint64_t n = 0;
	int i;

	hv_rcu_register_thread();
	while (!READ_ONCE(stop)) {
		for (i = 0; i < 64; i++)
			job->fn();
		n += 64;
	}
	hv_rcu_unregister_thread();
	job->pairs = n;
	return NULL;
}

/* Once in a while, as a notifier would; and how long it had to wait at most. */
static void *write_rarely(void *arg)
{
	struct job *job = arg;

	while (!READ_ONCE(stop)) {
		uint64_t begin = hv_clock_ns(), took;

		job->fn();
		took = hv_clock_ns() - begin;
		job->longest_ns = hv_max(job->longest_ns, took);
		job->pairs++;
		usleep(1000);
	}
	return NULL;
}

/* Pairs per second of n threads together. */
static double rate(void (*fn)(void), int n)
{
	struct job job[2] = { { .fn = fn }, { .fn = fn } };
	pthread_t t[2];
	uint64_t begin = hv_clock_ns(), sum = 0;
	int i;

	WRITE_ONCE(stop, 0);
	for (i = 0; i < n; i++)
		if (pthread_create(&t[i], NULL, work, &job[i]))
			abort();
	usleep(RUN_NS / 1000);
	WRITE_ONCE(stop, 1);
	for (i = 0; i < n; i++) {
		pthread_join(t[i], NULL);
		sum += job[i].pairs;
	}
	return (double)sum * 1e9 / (double)(hv_clock_ns() - begin);
}

static void report(const char *name, void (*fn)(void))
{
	double one = rate(fn, 1), two = rate(fn, 2);

	printf("%-22s %8.1f ns a pair; 2 threads %5.2fx the rate of one\n", name, 1e9 / one,
	       two / one);
}

static void report_writer(const char *name, void (*read)(void), void (*write)(void))
{
	struct job job[3] = { { .fn = read }, { .fn = read }, { .fn = write } };
	pthread_t t[3];
	int i;

	WRITE_ONCE(stop, 0);
	for (i = 0; i < 3; i++)
		if (pthread_create(&t[i], NULL, i < 2 ? work : write_rarely, &job[i]))
			abort();
	usleep(RUN_NS / 1000);
	WRITE_ONCE(stop, 1);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	printf("%-22s writer among 2 readers: %lu turns, longest wait %.0f us; %.1f M reads/s\n",
	       name, (unsigned long)job[2].pairs, (double)job[2].longest_ns / 1e3,
	       (double)(job[0].pairs + job[1].pairs) * 1e3 / (double)RUN_NS);
}

int main(void)
{
	hv_rwlock_init(&own, HV_LC_MMU);
	hv_mutex_init(&mutex, HV_LC_SLOTS);
	printf("# locks, uncontended pairs; %ld CPUs%s\n", sysconf(_SC_NPROCESSORS_ONLN),
#ifdef HV_DEBUG
	       "; with the validator: not the figures of a shipped build");
#else
	       "");
#endif
	report("hv_rwlock read", own_read);
	report("pthread_rwlock read", glibc_read);
	report("hv_rwlock write", own_write);
	report("pthread_rwlock write", glibc_write);
	report("hv_mutex", mutex_pair);
	report("RCU section", rcu_pair);
	report_writer("hv_rwlock", own_read, own_write);
	report_writer("pthread_rwlock", glibc_read, glibc_write);
	return 0;
}
