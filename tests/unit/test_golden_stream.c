/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams that earlier versions sent, kept in tests/unit/golden: this version takes each
 * of them, and the guest in it goes on and finds no error. HVD_GOLDEN_WRITE=FILE writes
 * the stream of this version instead; a released one's is never written again. Until 0.1.0
 * is released its stream is that of the tree.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/migrate_fixture.h"

#define STREAM_MAX (4 << 20)
/* Whatever the host's is: a guest is taken only where it runs at the rate that it knows. */
#define TSC_KHZ	   2000000

/* What the source of a recorded stream sends; and where the answers of ours go. */
struct tape {
	int peer, other; /* other: the destination while recording, -1 while playing */
	uint8_t *data;
	size_t len;
	FILE *to;
};

static bool put_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void *play_main(void *arg)
{
	struct tape *t = arg;
	uint8_t sink[4096];

	put_all(t->peer, t->data, t->len);
	shutdown(t->peer, SHUT_WR);
	while (read(t->peer, sink, sizeof(sink)) > 0)
		;
	return NULL;
}

static void *record_main(void *arg)
{
	struct tape *t = arg;
	uint8_t buf[65536];
	ssize_t n;

	while ((n = read(t->peer, buf, sizeof(buf))) > 0 && put_all(t->other, buf, (size_t)n)) {
		if (t->to)
			fwrite(buf, 1, (size_t)n, t->to);
	}
	shutdown(t->peer, SHUT_RDWR);
	shutdown(t->other, SHUT_RDWR);
	return NULL;
}

static void test_write(void **state)
{
	const struct mf_guest guest = { .pages = 16, .rounds = 2000, .dot = 10 };
	struct mf_machine *from = mf_machine_new(&guest, 1, NULL, NULL);
	struct mf_machine *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = { .nr_fds = 1, .id = "golden", .verify = true };
	struct tape there, back;
	struct hv_migration *src, *dst;
	pthread_t threads[2];
	int a[2], b[2];

	(void)state;
	assert_int_equal(hv_machine_start(from->m), 0);
	assert_true(mf_wait_dots(from, 3));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	there = (struct tape){ .peer = a[1], .other = b[1], .to = fopen(getenv("HVD_GOLDEN_WRITE"), "wb") };
	back = (struct tape){ .peer = b[1], .other = a[1] };
	assert_non_null(there.to);
	pthread_create(&threads[0], NULL, record_main, &there);
	pthread_create(&threads[1], NULL, record_main, &back);
	c.params.zstd_level = 9;
	c.fds = &b[0];
	assert_int_equal(hv_migrate_accept(to->m, &c, &dst, NULL), 0);
	c.fds = &a[0];
	assert_int_equal(hv_migrate_start(from->m, &c, &src, NULL), 0);
	assert_int_equal(hv_migrate_wait(src), 0);
	assert_int_equal(hv_migrate_wait(dst), 0);
	hv_migrate_free(src);
	hv_migrate_free(dst);
	close(a[0]);
	close(b[0]);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	close(a[1]);
	close(b[1]);
	assert_int_equal(fclose(there.to), 0);
	assert_true(mf_wait_done(to));
	mf_machine_free(from);
	mf_machine_free(to);
}

static void take(const char *path, const char *vendor)
{
	struct mf_machine *to = mf_machine_new(NULL, 1, vendor, NULL);
	struct hv_migrate_config c = { .nr_fds = 1 };
	struct tape tape = { .data = malloc(STREAM_MAX) };
	FILE *f = fopen(path, "rb");
	struct hv_migrate_info info;
	struct hv_migration *dst;
	pthread_t thread;
	int fds[2], err;

	assert_true(f && tape.data);
	tape.len = fread(tape.data, 1, STREAM_MAX, f);
	fclose(f);
	assert_true(tape.len > 1000 && tape.len < STREAM_MAX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	tape.peer = fds[1];
	c.fds = &fds[0];
	assert_int_equal(hv_migrate_accept(to->m, &c, &dst, NULL), 0);
	close(fds[0]);
	pthread_create(&thread, NULL, play_main, &tape);
	err = hv_migrate_wait(dst);
	hv_migrate_info(dst, &info);
	if (err)
		print_message("# %s on %s: %s\n", path, vendor, info.error);
	assert_int_equal(err, 0);
	assert_int_equal(info.status, HV_MIGRATE_COMPLETED);
	assert_true(info.may_run);
	pthread_join(thread, NULL);
	close(fds[1]);
	assert_true(mf_wait_done(to));
	hv_migrate_free(dst);
	mf_machine_free(to);
	free(tape.data);
}

static void test_each(void **state)
{
	const char *src = getenv("HVD_SRCDIR");
	char dir[400], path[700];
	struct dirent *entry;
	unsigned int n = 0;
	DIR *d;

	(void)state;
	snprintf(dir, sizeof(dir), "%s/tests/unit/golden", src ? src : ".");
	d = opendir(dir);
	assert_non_null(d);
	while ((entry = readdir(d))) {
		if (strncmp(entry->d_name, "stream-", 7) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		take(path, "vmx");
		take(path, "svm");
		n++;
	}
	closedir(d);
	print_message("# %u streams\n", n);
	assert_true(n >= 1);
}

static void on_log(void *ctx, int level, const char *message)
{
	(void)ctx;
	fprintf(stderr, "# hv %d: %s\n", level, message);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_each) };
	const struct CMUnitTest writing[] = { cmocka_unit_test(test_write) };
	int ret;

	signal(SIGPIPE, SIG_IGN);
	if (hv_init(&(struct hv_init){ .version = HV_API_VERSION, .log = on_log, .tsc_khz = TSC_KHZ }) ||
	    hv_thread_enter())
		return 1;
	ret = getenv("HVD_GOLDEN_WRITE") ? cmocka_run_group_tests(writing, NULL, NULL) :
					   cmocka_run_group_tests(tests, NULL, NULL);
	mf_exit();
	return ret;
}
