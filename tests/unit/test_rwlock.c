/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks: exclusion, try and blocking forms, fairness of the reader-writer
 * lock, condition variables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/lock.h"

static struct hv_rwlock rw;
static uint64_t a, b; /* equal, whenever nobody writes */
static int in_section, done;

static int setup(void **state)
{
	hv_rwlock_init(&rw, HV_LC_MMU);
	a = b = 0;
	in_section = done = 0;
	return 0;
}

static int teardown(void **state)
{
	hv_rwlock_destroy(&rw);
	return 0;
}

static void sleep_ms(long ms)
{
	usleep((useconds_t)ms * 1000);
}

static void spawn(pthread_t *t, void *(*fn)(void *))
{
	assert_int_equal(pthread_create(t, NULL, fn, NULL), 0);
}

#define ROUNDS 20000

static void *read_many(void *unused)
{
	intptr_t wrong = 0;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		hv_read_lock(&rw);
		wrong += a != b;
		hv_read_unlock(&rw);
	}
	return (void *)wrong;
}

static void *write_many(void *unused)
{
	int i;

	for (i = 0; i < ROUNDS / 4; i++) {
		hv_write_lock(&rw);
		a++;
		if (i % 64 == 0)
			hv_cond_resched_rwlock_write(&rw);
		else
			hv_cpu_relax();
		b = a;
		hv_write_unlock(&rw);
	}
	return NULL;
}

static void *write_plain(void *unused)
{
	int i;

	for (i = 0; i < ROUNDS / 4; i++) {
		hv_write_lock(&rw);
		a++;
		hv_cpu_relax();
		b++;
		hv_write_unlock(&rw);
	}
	return NULL;
}

static void *try_many(void *unused)
{
	intptr_t wrong = 0;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (i % 8 == 0 && hv_write_trylock(&rw)) {
			a++;
			b++;
			hv_write_unlock(&rw);
		} else if (hv_read_trylock(&rw)) {
			wrong += a != b;
			hv_read_unlock(&rw);
		}
	}
	return (void *)wrong;
}

static void excludes_under_load(void **state)
{
	void *(*const role[])(void *) = { read_many, write_plain, read_many, try_many, write_plain };
	pthread_t t[ARRAY_SIZE(role)];
	void *wrong;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(role); i++)
		spawn(&t[i], role[i]);
	for (i = 0; i < ARRAY_SIZE(role); i++) {
		assert_int_equal(pthread_join(t[i], &wrong), 0);
		assert_null(wrong);
	}
	assert_true(a == b && a >= ROUNDS / 2);
}

/* A writer that yields lets others in, and they may change things meanwhile. */
static void yielding_writer_loses_nothing(void **state)
{
	pthread_t t[3];
	int i;

	spawn(&t[0], write_many);
	spawn(&t[1], write_many);
	spawn(&t[2], read_many);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_true(a == ROUNDS / 2);
}

static void *reader_inside(void *unused)
{
	hv_read_lock(&rw);
	WRITE_ONCE(in_section, 1);
	while (!READ_ONCE(done))
		usleep(100);
	hv_read_unlock(&rw);
	return NULL;
}

static void try_forms(void **state)
{
	pthread_t t;

	spawn(&t, reader_inside);
	while (!READ_ONCE(in_section))
		usleep(100);
	assert_false(hv_write_trylock(&rw));
	assert_true(hv_read_trylock(&rw)); /* readers share */
	hv_read_unlock(&rw);
	WRITE_ONCE(done, 1);
	pthread_join(t, NULL);
	assert_true(hv_write_trylock(&rw));
	hv_write_unlock(&rw);
}

static void *try_both(void *got)
{
	if (hv_read_trylock(&rw)) {
		*(int *)got += 1;
		hv_read_unlock(&rw);
	}
	if (hv_write_trylock(&rw)) {
		*(int *)got += 2;
		hv_write_unlock(&rw);
	}
	return NULL;
}

static void writer_shuts_all_out(void **state)
{
	pthread_t t;
	int got = 0;

	hv_write_lock(&rw);
	pthread_create(&t, NULL, try_both, &got);
	pthread_join(t, NULL);
	hv_write_unlock(&rw);
	assert_int_equal(got, 0);
	pthread_create(&t, NULL, try_both, &got);
	pthread_join(t, NULL);
	assert_int_equal(got, 3);
}

static void *write_once(void *unused)
{
	hv_write_lock(&rw);
	a++;
	hv_write_unlock(&rw);
	return NULL;
}

static void *read_once(void *value)
{
	hv_read_lock(&rw);
	*(uint64_t *)value = a;
	hv_read_unlock(&rw);
	return NULL;
}

/* A reader that comes after a waiting writer goes after it: the writer cannot starve. */
static void waiting_writer_goes_before_new_readers(void **state)
{
	pthread_t r, w, late;
	uint64_t seen = 99;

	spawn(&r, reader_inside);
	while (!READ_ONCE(in_section))
		usleep(100);
	spawn(&w, write_once);
	while (!(__atomic_load_n(&rw.state, __ATOMIC_SEQ_CST) & HV_RWL_WRITER))
		usleep(100);
	assert_true(hv_rwlock_is_contended(&rw));
	assert_false(hv_read_trylock(&rw));
	pthread_create(&late, NULL, read_once, &seen);
	sleep_ms(5);
	WRITE_ONCE(done, 1);
	pthread_join(r, NULL);
	pthread_join(w, NULL);
	pthread_join(late, NULL);
	assert_true(seen == 1);
	assert_false(hv_rwlock_is_contended(&rw));
}

static int reader_was_in;

static void *read_and_tell(void *unused)
{
	hv_read_lock(&rw);
	WRITE_ONCE(reader_was_in, 1);
	hv_read_unlock(&rw);
	return NULL;
}

static void wait_for_blocked_reader(void)
{
	while (!READ_ONCE(rw.blocked_readers))
		usleep(100);
}

/* A zap that yields lets the faults in that wait. */
static void yield_lets_waiting_readers_in(void **state)
{
	pthread_t t;

	reader_was_in = 0;
	hv_write_lock(&rw);
	assert_false(hv_cond_resched_rwlock_write(&rw));
	spawn(&t, read_and_tell);
	wait_for_blocked_reader();
	assert_true(hv_rwlock_is_contended(&rw));
	assert_true(hv_cond_resched_rwlock_write(&rw));
	assert_int_equal(READ_ONCE(reader_was_in), 1);
	hv_write_unlock(&rw);
	pthread_join(t, NULL);
}

/* Readers that wait at unlock come before the next writer, however soon it comes. */
static void waiting_readers_go_before_the_next_writer(void **state)
{
	pthread_t t;
	int i;

	for (i = 0; i < 40; i++) {
		reader_was_in = 0;
		hv_write_lock(&rw);
		spawn(&t, read_and_tell);
		wait_for_blocked_reader();
		hv_write_unlock(&rw);
		hv_write_lock(&rw);
		assert_int_equal(READ_ONCE(reader_was_in), 1);
		hv_write_unlock(&rw);
		pthread_join(t, NULL);
	}
}

/* ---- mutex, spinlock, condition ---- */

static struct hv_mutex m;
static struct hv_spinlock s;
static struct hv_cond c;
static int turns;

static void *add_many(void *unused)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		hv_mutex_lock(&m);
		hv_spin_lock(&s);
		turns++;
		hv_spin_unlock(&s);
		hv_mutex_unlock(&m);
	}
	return NULL;
}

static void mutex_and_spinlock_exclude(void **state)
{
	pthread_t t[3];
	int i;

	turns = 0;
	hv_mutex_init(&m, HV_LC_SLOTS);
	hv_spinlock_init(&s, HV_LC_LEAF);
	for (i = 0; i < 3; i++)
		spawn(&t[i], add_many);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(turns, 3 * ROUNDS);
	assert_true(hv_spin_trylock(&s));
	hv_spin_unlock(&s);
	hv_spinlock_destroy(&s);
	hv_mutex_destroy(&m);
}

static void *ping(void *unused)
{
	hv_spin_lock(&s);
	turns = 1;
	hv_cond_broadcast(&c);
	while (turns == 1)
		hv_cond_wait_spin(&c, &s);
	hv_spin_unlock(&s);
	return NULL;
}

static void conditions(void **state)
{
	uint64_t begin = hv_clock_ns();
	pthread_t t;

	turns = 0;
	hv_mutex_init(&m, HV_LC_SLOTS);
	hv_spinlock_init(&s, HV_LC_LEAF);
	hv_cond_init(&c);
	hv_mutex_lock(&m);
	while (hv_cond_wait_until(&c, &m, begin + 5 * HV_NSEC_PER_MSEC))
		; /* spurious */
	hv_assert_held(&m);
	assert_true(hv_clock_ns() - begin >= 5 * HV_NSEC_PER_MSEC);
	hv_mutex_unlock(&m);

	spawn(&t, ping);
	hv_spin_lock(&s);
	while (turns == 0)
		hv_cond_wait_spin_until(&c, &s, hv_clock_ns() + HV_NSEC_PER_SEC);
	turns = 2;
	hv_cond_signal(&c);
	hv_spin_unlock(&s);
	pthread_join(t, NULL);
	hv_cond_destroy(&c);
	hv_spinlock_destroy(&s);
	hv_mutex_destroy(&m);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(excludes_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(yielding_writer_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(try_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(writer_shuts_all_out, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_writer_goes_before_new_readers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(yield_lets_waiting_readers_in, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_readers_go_before_the_next_writer, setup,
						teardown),
		cmocka_unit_test(mutex_and_spinlock_exclude),
		cmocka_unit_test(conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
