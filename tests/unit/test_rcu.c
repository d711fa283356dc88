/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RCU: grace periods hold, callbacks come, lists can be walked. In a build with
 * ThreadSanitizer this also shows that it is told enough (right use is
 * silent, with no suppressions) and not too much (a free without a grace
 * period is still reported).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/base/list.h"
#include "hv/base/rcu.h"

#define UPDATES 300
#define READERS 3

struct object {
	uint64_t x, y; /* equal; changed to DEAD before the memory goes */
	struct cds_list_head node;
	struct hv_rcu_head rcu;
};

#define DEAD UINT64_C(0xdeaddeaddeaddead)

static struct object *current;
static struct hv_mutex lock;
static struct cds_list_head head;
static int stop, callbacks_run;

static struct object *make(uint64_t v)
{
	struct object *o = calloc(1, sizeof(*o));

	o->x = o->y = v;
	return o;
}

static void bury(struct object *o)
{
	o->x = DEAD;
	o->y = ~DEAD;
	free(o);
}

static void bury_later(struct hv_rcu_head *rcu)
{
	bury(container_of(rcu, struct object, rcu));
	__atomic_fetch_add(&callbacks_run, 1, __ATOMIC_RELAXED);
}

static void *read_current(void *unused)
{
	intptr_t wrong = 0;

	hv_rcu_register_thread();
	while (!READ_ONCE(stop)) {
		const struct object *o;

		hv_rcu_read_lock();
		o = hv_rcu_dereference(current);
		wrong += o->x != o->y;
		hv_rcu_read_lock();
		wrong += o->x == DEAD;
		hv_rcu_read_unlock();
		wrong += o->y != o->x;
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return (void *)wrong;
}

static void update_current(int i)
{
	struct object *old;

	hv_mutex_lock(&lock);
	old = hv_rcu_dereference_protected(current, &lock);
	hv_rcu_assign_pointer(current, make((uint64_t)i));
	hv_mutex_unlock(&lock);
	if (i % 2) {
		hv_synchronize_rcu();
		bury(old);
	} else {
		hv_call_rcu(&old->rcu, bury_later);
	}
}

static void start(pthread_t *t, int n, void *(*fn)(void *))
{
	int i;

	WRITE_ONCE(stop, 0);
	for (i = 0; i < n; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, NULL), 0);
}

static void finish(pthread_t *t, int n)
{
	void *wrong;
	int i;

	WRITE_ONCE(stop, 1);
	for (i = 0; i < n; i++) {
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
}

static void readers_never_see_the_dead(void **state)
{
	pthread_t t[READERS];
	int i;

	callbacks_run = 0;
	hv_mutex_init(&lock, HV_LC_VM);
	current = make(0);
	start(t, READERS, read_current);
	for (i = 1; i <= UPDATES; i++)
		update_current(i);
	finish(t, READERS);
	hv_rcu_barrier();
	assert_int_equal(callbacks_run, UPDATES / 2);
	bury(current);
	hv_mutex_destroy(&lock);
}

static void *walk_list(void *unused)
{
	intptr_t wrong = 0;
	struct object *o;

	hv_rcu_register_thread();
	while (!READ_ONCE(stop)) {
		hv_rcu_read_lock();
		hv_list_for_each_entry_rcu(o, &head, node)
			wrong += o->x != o->y || o->x == DEAD;
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return (void *)wrong;
}

static void change_list(int i)
{
	struct object *new = make((uint64_t)i), *old;

	if (i % 3 == 0 || cds_list_empty(&head)) {
		if (i % 2)
			hv_list_add_rcu(&new->node, &head);
		else
			hv_list_add_tail_rcu(&new->node, &head);
		return;
	}
	old = cds_list_first_entry(&head, struct object, node);
	if (i % 3 == 1) {
		hv_list_replace_rcu(&old->node, &new->node);
	} else {
		hv_list_del_rcu(&old->node);
		free(new);
	}
	hv_call_rcu(&old->rcu, bury_later);
}

static void lists_can_be_walked(void **state)
{
	struct object *o, *next;
	pthread_t t[READERS];
	int i;

	CDS_INIT_LIST_HEAD(&head);
	start(t, READERS, walk_list);
	for (i = 0; i < 10 * UPDATES; i++)
		change_list(i);
	finish(t, READERS);
	hv_rcu_barrier();
	cds_list_for_each_entry_safe(o, next, &head, node)
		bury(o);
}

static int entered, leave, left;

static void *stay_inside(void *unused)
{
	hv_rcu_register_thread();
	hv_rcu_read_lock();
	__atomic_store_n(&entered, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&leave, __ATOMIC_SEQ_CST))
		usleep(100);
	__atomic_store_n(&left, 1, __ATOMIC_SEQ_CST);
	hv_rcu_read_unlock();
	hv_rcu_unregister_thread();
	return NULL;
}

static void *let_leave_soon(void *unused)
{
	usleep(10000);
	__atomic_store_n(&leave, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void note_left(struct hv_rcu_head *rcu)
{
	callbacks_run = __atomic_load_n(&left, __ATOMIC_SEQ_CST) ? 1 : -1;
}

/* Neither form of waiting ends before a section that was there first. */
static void a_grace_period_waits_for_sections(void **state)
{
	struct object *o = make(1);
	pthread_t reader, opener;
	int form;

	for (form = 0; form < 2; form++) {
		entered = leave = left = callbacks_run = 0;
		pthread_create(&reader, NULL, stay_inside, NULL);
		while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST))
			usleep(100);
		pthread_create(&opener, NULL, let_leave_soon, NULL);
		if (form == 0) {
			hv_synchronize_rcu();
			assert_int_equal(__atomic_load_n(&left, __ATOMIC_SEQ_CST), 1);
		} else {
			hv_call_rcu(&o->rcu, note_left);
			hv_rcu_barrier();
			assert_int_equal(callbacks_run, 1);
		}
		pthread_join(opener, NULL);
		pthread_join(reader, NULL);
	}
	bury(o);
}

/*
 * A reader between two sections that nobody has heard of for long: grace periods do not ask
 * after it, until it is back.
 */
static int sections_allowed, sections_begun, sections_ended;

static void *come_and_stay(void *unused)
{
	int n;

	hv_rcu_register_thread();
	for (n = 1; n <= 3; n++) {
		while (__atomic_load_n(&sections_allowed, __ATOMIC_SEQ_CST) < n)
			usleep(100);
		hv_rcu_read_lock();
		__atomic_store_n(&sections_begun, n, __ATOMIC_SEQ_CST);
		usleep(3000);
		__atomic_store_n(&sections_ended, n, __ATOMIC_SEQ_CST);
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return NULL;
}

/* The section that was not waited for, or 0. */
static int section_missed(void)
{
	int n, i, missed = 0;
	pthread_t reader;

	sections_allowed = sections_begun = sections_ended = 0;
	pthread_create(&reader, NULL, come_and_stay, NULL);
	for (n = 1; n <= 3; n++) {
		for (i = 0; i < 3; i++)
			hv_synchronize_rcu(); /* the first finds out that it is asleep */
		__atomic_store_n(&sections_allowed, n, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&sections_begun, __ATOMIC_SEQ_CST) < n)
			usleep(10);
		hv_synchronize_rcu();
		if (__atomic_load_n(&sections_ended, __ATOMIC_SEQ_CST) < n)
			missed = n;
	}
	pthread_join(reader, NULL);
	return missed;
}

static void who_slept_is_waited_for_again(void **state)
{
	assert_int_equal(section_missed(), 0);
}

/* Nested sections say nothing: the outermost one may have loaded what was there before. */
static int inner_sections;

static void *go_in_and_out_inside(void *unused)
{
	hv_rcu_register_thread();
	hv_rcu_read_lock();
	__atomic_store_n(&entered, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&leave, __ATOMIC_SEQ_CST)) {
		hv_rcu_read_lock();
		inner_sections++;
		hv_rcu_read_unlock();
	}
	__atomic_store_n(&left, 1, __ATOMIC_SEQ_CST);
	hv_rcu_read_unlock();
	hv_rcu_unregister_thread();
	return NULL;
}

static void sections_inside_another_do_not_end_it(void **state)
{
	pthread_t reader, opener;

	entered = leave = left = inner_sections = 0;
	pthread_create(&reader, NULL, go_in_and_out_inside, NULL);
	while (!__atomic_load_n(&entered, __ATOMIC_SEQ_CST))
		usleep(100);
	pthread_create(&opener, NULL, let_leave_soon, NULL);
	hv_synchronize_rcu();
	assert_int_equal(__atomic_load_n(&left, __ATOMIC_SEQ_CST), 1);
	pthread_join(opener, NULL);
	pthread_join(reader, NULL);
	assert_true(inner_sections > 0);
}

static void sections_are_known(void **state)
{
	assert_false(hv_rcu_read_held());
	hv_rcu_read_lock();
	hv_rcu_read_lock();
	hv_rcu_read_unlock();
	assert_true(hv_rcu_read_held());
	hv_rcu_assert_read_held();
	hv_rcu_read_unlock();
	assert_false(hv_rcu_read_held());
}

static void exchange_returns_the_old(void **state)
{
	struct object *o = make(7), *p = make(8);

	current = NULL;
	assert_null(hv_rcu_xchg_pointer(current, o));
	assert_ptr_equal(hv_rcu_xchg_pointer(current, p), o);
	assert_ptr_equal(hv_rcu_access_pointer(current), p);
	bury(o);
	bury(p);
}

/* ---- the sanitizer must not be blind ---- */

static int step;

static void *read_slowly(void *unused)
{
	uint64_t v;

	hv_rcu_register_thread();
	hv_rcu_read_lock();
	v = hv_rcu_dereference(current)->x;
	WRITE_ONCE(step, 1); /* relaxed: orders nothing for the sanitizer */
	hv_rcu_read_unlock();
	hv_rcu_unregister_thread();
	return (void *)(uintptr_t)v;
}

/* Main of the process that `a_missing_grace_period_is_seen` starts. */
static int change_without_grace_period(const char *how)
{
	struct object *old = make(1);
	pthread_t t;

	hv_rcu_register_thread();
	current = old;
	pthread_create(&t, NULL, read_slowly, NULL);
	while (!READ_ONCE(step))
		usleep(1000);
	hv_rcu_assign_pointer(current, make(2));
	if (!strcmp(how, "right"))
		hv_synchronize_rcu();
	old->x = DEAD;
	pthread_join(t, NULL);
	hv_rcu_unregister_thread();
	free(old);
	free(current);
	return 0;
}

static int run_self(const char *how)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (!strcmp(how, "wrong") && !freopen("/dev/null", "w", stderr))
			_exit(99);
		setenv("TSAN_OPTIONS", "exitcode=66", 1);
		execl("/proc/self/exe", "test_rcu", how, NULL);
		_exit(98);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_missing_grace_period_is_seen(void **state)
{
	assert_int_equal(run_self("right"), 0);
#ifdef HV_TSAN /* nothing else can tell */
	assert_int_equal(run_self("wrong"), 66);
#endif
}

static int setup(void **state)
{
	hv_rcu_register_thread();
	return 0;
}

static int teardown(void **state)
{
	hv_rcu_unregister_thread();
	return 0;
}

/* In the program into which hv/base/rcu.c is compiled without that guard. */
static int __attribute__((unused)) see_what_does_not_wake(void)
{
	int missed;

	setup(NULL);
	missed = section_missed();
	teardown(NULL);
	printf("1..1\n%sok 1 - a reader that does not wake is %swaited for\n", missed ? "" : "not ",
	       missed ? "not " : "");
	return missed ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_grace_period_is_seen),
		cmocka_unit_test(sections_are_known),
		cmocka_unit_test(a_grace_period_waits_for_sections),
		cmocka_unit_test(who_slept_is_waited_for_again),
		cmocka_unit_test(sections_inside_another_do_not_end_it),
		cmocka_unit_test(exchange_returns_the_old),
		cmocka_unit_test(readers_never_see_the_dead),
		cmocka_unit_test(lists_can_be_walked),
	};

	if (argc > 1)
		return change_without_grace_period(argv[1]);
#ifdef HV_MUTATE_RCU_NO_WAKE
	if (argc)
		return see_what_does_not_wake();
#endif
	return cmocka_run_group_tests(tests, setup, teardown);
}
