/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Live migration between two machines of one process, over sockets and pipes: a guest
 * that checks itself is moved while it runs; nothing that goes wrong on the way loses
 * it or lets it run twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "config.h"
#include "tests/lib/migrate_fixture.h"

#define GUEST(n) (&(const struct mf_guest){ .cpus = n, .pages = 256, .rounds = MF_ENDLESS, .dot = 20 })
#define STREAMS_MAX 4

struct pair {
	int src[STREAMS_MAX], dst[STREAMS_MAX];
	unsigned int n;
};

static void pair_open(struct pair *p, unsigned int n)
{
	unsigned int i;
	int fds[2];

	p->n = n;
	for (i = 0; i < n; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		p->src[i] = fds[0];
		/* The destination sees them in another order. */
		p->dst[n - 1 - i] = fds[1];
	}
}

static void pair_close(struct pair *p)
{
	unsigned int i;

	for (i = 0; i < p->n; i++) {
		close(p->src[i]);
		close(p->dst[i]);
	}
}

struct move {
	struct mf_machine *from, *to;
	struct hv_migration *src, *dst;
	struct pair pair;
};

static struct hv_migrate_config config_of(unsigned int n)
{
	return (struct hv_migrate_config){ .nr_fds = n, .id = "test migration", .stall_ms = 20000 };
}

/* Both ends under way. */
static void begin(struct move *mv, struct mf_machine *from, struct mf_machine *to,
		  struct hv_migrate_config config)
{
	char error[HV_ERROR_SIZE];

	mv->from = from;
	mv->to = to;
	pair_open(&mv->pair, config.nr_fds);
	config.fds = mv->pair.dst;
	assert_int_equal(hv_migrate_accept(to->m, &config, &mv->dst, error), 0);
	config.fds = mv->pair.src;
	assert_int_equal(hv_migrate_start(from->m, &config, &mv->src, error), 0);
	pair_close(&mv->pair);
}

static void end(struct move *mv)
{
	hv_migrate_free(mv->src);
	hv_migrate_free(mv->dst);
}

static void report(const char *what, struct hv_migration *mig)
{
	struct hv_migrate_info i;

	hv_migrate_info(mig, &i);
	print_message("# %s: status %d, %llu rounds, %llu normal, %llu zero, %llu KiB sent, %.0f Mbit/s, "
		      "total %.1f ms, expected %.1f ms, down %.1f ms %s\n",
		      what, (int)i.status, (unsigned long long)i.iteration,
		      (unsigned long long)i.normal, (unsigned long long)i.zero,
		      (unsigned long long)i.transferred >> 10, i.mbps, (double)i.total_us / 1e3,
		      (double)i.expected_downtime_us / 1e3, (double)i.downtime_us / 1e3, i.error);
}

static enum hv_migrate_status status(struct hv_migration *mig)
{
	struct hv_migrate_info i;

	assert_int_equal(hv_migrate_info(mig, &i), 0);
	return i.status;
}

static bool may_run(struct hv_migration *mig)
{
	struct hv_migrate_info i;

	assert_int_equal(hv_migrate_info(mig, &i), 0);
	return i.may_run;
}

static struct mf_machine *started(unsigned int cpus, const char *vendor)
{
	struct mf_machine *mm = mf_machine_new(GUEST(cpus), cpus, vendor, NULL);

	assert_int_equal(hv_machine_start(mm->m), 0);
	assert_true(mf_wait_dots(mm, 2));
	return mm;
}

/* Moved, and finished where it went. */
static void one_move(const char *what, const char *vendor, const char *vendor2, unsigned int cpus,
		     struct hv_migrate_config config)
{
	struct mf_machine *from = started(cpus, vendor);
	struct mf_machine *to = mf_machine_new(NULL, cpus, vendor2, NULL);
	struct move mv;

	begin(&mv, from, to, config);
	hv_migrate_wait(mv.src);
	hv_migrate_wait(mv.dst);
	report(what, mv.src);
	assert_int_equal(status(mv.src), HV_MIGRATE_COMPLETED);
	assert_int_equal(status(mv.dst), HV_MIGRATE_COMPLETED);
	assert_false(may_run(mv.src));
	assert_true(may_run(mv.dst));
	assert_int_equal(hv_machine_start(from->m), -EBUSY);
	assert_int_equal(hv_machine_reset(from->m), -EBUSY);
	assert_true(mf_wait_done(to));
	assert_false(from->ended);
	end(&mv);
	mf_machine_free(from);
	mf_machine_free(to);
}

static void test_one_stream(void **state)
{
	one_move("vmx to vmx", "vmx", "vmx", 1, config_of(1));
	one_move("svm to svm", "svm", "svm", 1, config_of(1));
}

static void test_between_vendors(void **state)
{
	one_move("vmx to svm", "vmx", "svm", 2, config_of(1));
	one_move("svm to vmx", "svm", "vmx", 1, config_of(2));
}

static void test_streams_zstd_verify(void **state)
{
	struct hv_migrate_config c = config_of(4);

	c.params.zstd_level = 1;
	c.verify = true;
	one_move("4 streams, zstd, verified", "vmx", "vmx", 2, c);
}

static void test_pipes(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(1);
	struct hv_migration *src, *dst;
	int there[2], back[2];

	assert_int_equal(pipe2(there, O_CLOEXEC), 0);
	assert_int_equal(pipe2(back, O_CLOEXEC), 0);
	c.fds = &there[0];
	c.out_fds = &back[1];
	assert_int_equal(hv_migrate_accept(to->m, &c, &dst, NULL), 0);
	c.fds = &back[0];
	c.out_fds = &there[1];
	assert_int_equal(hv_migrate_start(from->m, &c, &src, NULL), 0);
	assert_int_equal(hv_migrate_wait(src), 0);
	assert_int_equal(hv_migrate_wait(dst), 0);
	assert_true(mf_wait_done(to));
	hv_migrate_free(src);
	hv_migrate_free(dst);
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
	mf_machine_free(from);
	mf_machine_free(to);
}

/* A guest that was paused arrives paused. */
static void test_paused_guest(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct move mv;
	unsigned int dots;

	assert_int_equal(hv_machine_pause(from->m), 0);
	begin(&mv, from, to, config_of(1));
	assert_int_equal(hv_migrate_wait(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.dst), 0);
	dots = mf_dots(to);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	assert_int_equal(mf_dots(to), dots);
	assert_int_equal(hv_machine_start(to->m), 0);
	assert_true(mf_wait_done(to));
	end(&mv);
	mf_machine_free(from);
	mf_machine_free(to);
}

/* Back and forth; the machine that lost the guest is made anew, as a daemon would. */
static void test_back_and_forth(void **state)
{
	const struct mf_guest guest = { .cpus = 2, .pages = 256, .rounds = MF_ENDLESS, .dot = 1,
					.write_every = 8 };
	struct mf_machine *from = mf_machine_new(&guest, 2, "vmx", NULL), *to;
	unsigned int i;
	struct move mv;

	assert_int_equal(hv_machine_start(from->m), 0);
	for (i = 0; i < 10 && mf_wait_dots(from, 3); i++) {
		to = mf_machine_new(NULL, 2, i & 1 ? "vmx" : "svm", NULL);
		begin(&mv, from, to, config_of(1 + i % 3));
		assert_int_equal(hv_migrate_wait(mv.src), 0);
		assert_int_equal(hv_migrate_wait(mv.dst), 0);
		end(&mv);
		mf_machine_free(from);
		from = to;
	}
	print_message("# %u moves\n", i);
	assert_int_equal(i, 10);
	assert_true(mf_wait_done(from));
	mf_machine_free(from);
}

/* ---- what goes wrong -------------------------------------------------------------------------- */

/* After a failure before the decision: the source runs as if nothing had been. */
static void source_goes_on(struct mf_machine *from, struct move *mv)
{
	assert_true(may_run(mv->src));
	assert_false(may_run(mv->dst));
	end(mv);
	assert_true(mf_wait_done(from));
	assert_int_equal(hv_machine_reset(from->m), 0);
	mf_machine_free(from);
	mf_machine_free(mv->to);
}

static void test_abort_by_source(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(2);
	struct move mv;

	c.params.max_bandwidth = 1 << 20;
	begin(&mv, from, to, c);
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
	assert_int_equal(hv_migrate_abort(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.src), -ECANCELED);
	assert_int_not_equal(hv_migrate_wait(mv.dst), 0);
	report("source", mv.src);
	report("destination", mv.dst);
	assert_int_equal(status(mv.src), HV_MIGRATE_CANCELLED);
	assert_int_equal(hv_migrate_abort(mv.src), -EALREADY);
	source_goes_on(from, &mv);
}

static void test_abort_by_destination(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(2);
	struct move mv;

	c.params.max_bandwidth = 1 << 20;
	begin(&mv, from, to, c);
	nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
	assert_int_equal(hv_migrate_abort(mv.dst), 0);
	assert_int_not_equal(hv_migrate_wait(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.dst), -ECANCELED);
	assert_int_equal(status(mv.src), HV_MIGRATE_FAILED);
	assert_int_equal(status(mv.dst), HV_MIGRATE_CANCELLED);
	source_goes_on(from, &mv);
}

static void test_other_machine(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 2, NULL, NULL);
	struct hv_migrate_info i;
	struct move mv;

	begin(&mv, from, to, config_of(1));
	assert_int_equal(hv_migrate_wait(mv.src), -EREMOTEIO);
	assert_int_equal(hv_migrate_wait(mv.dst), -EPROTO);
	hv_migrate_info(mv.src, &i);
	print_message("# %s\n", i.error);
	assert_non_null(strstr(i.error, "the destination: record \"vcpu\" 1: missing"));
	assert_int_equal(i.status, HV_MIGRATE_FAILED);
	source_goes_on(from, &mv);
}

/* The limit may change while it runs. */
static void test_set_bandwidth(void **state)
{
	const struct mf_guest guest = { .pages = 256, .rounds = MF_ENDLESS, .dot = 20 };
	struct mf_machine *from = mf_machine_new(&guest, 1, NULL, NULL);
	struct mf_machine *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(1);
	struct hv_migrate_info i;
	struct move mv;

	c.params.max_bandwidth = 100000;
	assert_int_equal(hv_machine_start(from->m), 0);
	assert_true(mf_wait_dots(from, 2));
	begin(&mv, from, to, c);
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		assert_int_equal(hv_migrate_info(mv.src, &i), 0);
	} while (i.status == HV_MIGRATE_SETUP || (i.status == HV_MIGRATE_ACTIVE && !i.remaining));
	assert_int_equal(i.status, HV_MIGRATE_ACTIVE);
	assert_true(i.remaining > 0 && i.total == MF_MEMORY - 0x20000);
	assert_int_equal(hv_migrate_set(mv.src, &(struct hv_migrate_params){ .zstd_level = 99 }), -EINVAL);
	assert_int_equal(hv_migrate_set(mv.src, &(struct hv_migrate_params){ .zstd_level = 1 }), 0);
	assert_int_equal(hv_migrate_wait(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.dst), 0);
	assert_true(mf_wait_done(to));
	end(&mv);
	mf_machine_free(from);
	mf_machine_free(to);
}

/* A guest that writes faster than its pages go, until it is slowed down. */
static void test_auto_converge(void **state)
{
	const struct mf_guest guest = { .pages = 2048, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *from = mf_machine_new(&guest, 1, NULL, NULL);
	struct mf_machine *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(1);
	struct hv_migrate_info i = { .throttle_percent = 0 };
	unsigned int most = 0, n;
	struct move mv;

	c.params.max_bandwidth = 32 << 20;
	c.params.downtime_limit_ms = 60;
	c.params.auto_converge = true;
	c.params.throttle_initial = 60;
	c.params.throttle_increment = 20;
	assert_int_equal(hv_machine_start(from->m), 0);
	assert_true(mf_wait_dots(from, 2));
	begin(&mv, from, to, c);
	for (n = 0; n < 3000 && status(mv.src) <= HV_MIGRATE_SWITCHOVER; n++) {
		hv_migrate_info(mv.src, &i);
		if (i.throttle_percent > most)
			most = i.throttle_percent;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	report("auto-converge", mv.src);
	print_message("# throttled up to %u %%\n", most);
	assert_int_equal(hv_migrate_wait(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.dst), 0);
#ifndef HV_SANITIZED /* where the guest is slow enough by itself */
	assert_true(most >= 60);
#endif
	assert_true(mf_wait_dots(to, 2));
	end(&mv);
	mf_machine_free(from);
	mf_machine_free(to);
}

/*
 * A source that stays paused and a destination that was never told, after a cut at the
 * worst moment, are in test_handover.c; here the calls refuse what is no doubt.
 */
static void test_nothing_to_resolve(void **state)
{
	struct mf_machine *from = started(1, NULL), *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct move mv;

	begin(&mv, from, to, config_of(1));
	assert_int_equal(hv_migrate_wait(mv.src), 0);
	assert_int_equal(hv_migrate_wait(mv.dst), 0);
	assert_int_equal(hv_migrate_gone(mv.src), -EINVAL);
	assert_int_equal(hv_migrate_gone(mv.dst), -EINVAL);
	end(&mv);
	mf_machine_free(from);
	mf_machine_free(to);
}

static void test_bad_arguments(void **state)
{
	struct mf_machine *mm = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = config_of(0);
	struct hv_migration *mig;
	char error[HV_ERROR_SIZE];
	int fds[17] = { -1 };

	c.fds = fds;
	assert_int_equal(hv_migrate_start(mm->m, &c, &mig, error), -EINVAL);
	assert_string_equal(error, "fds: at least one");
	c.nr_fds = 17;
	assert_int_equal(hv_migrate_start(mm->m, &c, &mig, error), -EINVAL);
	c.nr_fds = 1;
	assert_int_equal(hv_migrate_start(mm->m, &c, &mig, error), -EBADF);
	c.params.zstd_level = 20;
	assert_int_equal(hv_migrate_start(mm->m, &c, &mig, error), -EINVAL);
	assert_string_equal(error, "params or fault: out of range");
	mf_machine_free(mm);
}

static int group_setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	mf_init();
	return 0;
}

static int group_teardown(void **state)
{
	mf_exit();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_stream),
		cmocka_unit_test(test_between_vendors),
		cmocka_unit_test(test_streams_zstd_verify),
		cmocka_unit_test(test_pipes),
		cmocka_unit_test(test_paused_guest),
		cmocka_unit_test(test_back_and_forth),
		cmocka_unit_test(test_abort_by_source),
		cmocka_unit_test(test_abort_by_destination),
		cmocka_unit_test(test_other_machine),
		cmocka_unit_test(test_set_bandwidth),
		cmocka_unit_test(test_auto_converge),
		cmocka_unit_test(test_nothing_to_resolve),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
