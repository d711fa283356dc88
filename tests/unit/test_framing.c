/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api/framing.c: lines out of any cutting of the stream, limits, descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/framing.h"

struct fixture {
	int pair[2];
	struct frame_in in;
	struct frame_out out;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int size = 4 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->pair))
		return -1;
	setsockopt(f->pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	frame_in_init(&f->in);
	frame_out_init(&f->out);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	frame_in_fini(&f->in);
	frame_out_fini(&f->out);
	close(f->pair[0]);
	if (f->pair[1] >= 0)
		close(f->pair[1]);
	free(f);
	return 0;
}

static void assert_line(struct frame_in *in, const char *want)
{
	const char *text;
	size_t len;

	assert_int_equal(frame_in_next(in, &text, &len), 1);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(text, want, len);
}

static void assert_no_line(struct frame_in *in)
{
	const char *text;
	size_t len;

	assert_int_equal(frame_in_next(in, &text, &len), 0);
}

/* Every way to cut three lines in two pieces gives the same three lines. */
static void test_any_cut(void **state)
{
	static const char stream[] = "one\n\nthree and more\n";
	struct fixture *f = *state;
	size_t cut;

	for (cut = 0; cut < sizeof(stream); cut++) {
		int lines = 0, piece;

		for (piece = 0; piece < 2; piece++) {
			const char *from = piece ? stream + cut : stream;
			size_t n = piece ? sizeof(stream) - 1 - cut : cut, len;
			const char *text;

			if (cut == sizeof(stream) - 1 && piece)
				continue;
			if (!n || cut > sizeof(stream) - 1)
				continue;
			assert_int_equal(write(f->pair[0], from, n), n);
			assert_int_equal(frame_in_read(&f->in, f->pair[1]), n);
			while (frame_in_next(&f->in, &text, &len) == 1) {
				static const char *const want[] = { "one", "", "three and more" };

				assert_int_equal(len, strlen(want[lines]));
				assert_memory_equal(text, want[lines], len);
				lines++;
			}
		}
		if (cut < sizeof(stream))
			assert_int_equal(lines, 3 * (cut <= sizeof(stream) - 1));
		assert_false(frame_in_partial(&f->in));
	}
}

static void test_read_results(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(frame_in_read(&f->in, f->pair[1]), -EAGAIN);
	assert_int_equal(write(f->pair[0], "part", 4), 4);
	assert_int_equal(frame_in_read(&f->in, f->pair[1]), 4);
	assert_no_line(&f->in);
	assert_true(frame_in_partial(&f->in));
	assert_int_equal(write(f->pair[0], "\n", 1), 1);
	assert_int_equal(frame_in_read(&f->in, f->pair[1]), 1);
	assert_line(&f->in, "part");
	shutdown(f->pair[0], SHUT_WR);
	assert_int_equal(frame_in_read(&f->in, f->pair[1]), 0);
}

static int feed(struct fixture *f, size_t bytes, const char *end)
{
	static char block[65536];
	const char *text;
	size_t len, n;
	int ret = 0;

	memset(block, 'x', sizeof(block));
	while (bytes > 0 && ret == 0) {
		n = bytes < sizeof(block) ? bytes : sizeof(block);
		n = write(f->pair[0], block, n);
		bytes -= n;
		while (ret == 0 && frame_in_read(&f->in, f->pair[1]) > 0)
			ret = frame_in_next(&f->in, &text, &len);
	}
	if (ret)
		return ret;
	assert_int_equal(write(f->pair[0], end, strlen(end)), strlen(end));
	assert_true(frame_in_read(&f->in, f->pair[1]) > 0);
	ret = frame_in_next(&f->in, &text, &len);
	if (ret == 1)
		assert_int_equal(len, FRAME_LINE_MAX);
	return ret;
}

static void test_longest_line(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(feed(f, FRAME_LINE_MAX, "\n"), 1);
	assert_no_line(&f->in);
	/* What a large line needed is given back by the next read. */
	assert_int_equal(write(f->pair[0], "a\n", 2), 2);
	assert_int_equal(frame_in_read(&f->in, f->pair[1]), 2);
	assert_true(f->in.size <= 65536);
	assert_line(&f->in, "a");
}

static void test_line_too_long(void **state)
{
	assert_int_equal(feed(*state, FRAME_LINE_MAX, "x\n"), -EMSGSIZE);
}

static void test_parse(void **state)
{
	static const char *const bad[] = { "", "{", "{\"a\":1,\"a\":2}", "[1] [2]", "\xff", "nul" };
	struct api_error err;
	char deep[FRAME_DEPTH_MAX * 2 + 3];
	json_t *json;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(frame_parse(bad[i], strlen(bad[i]), &err));
		assert_int_equal(err.id, API_E_PARSE);
	}
	memset(deep, '[', FRAME_DEPTH_MAX);
	memset(deep + FRAME_DEPTH_MAX, ']', FRAME_DEPTH_MAX);
	json = frame_parse(deep, FRAME_DEPTH_MAX * 2, &err);
	assert_non_null(json);
	json_decref(json);
	memset(deep, '[', FRAME_DEPTH_MAX + 1);
	memset(deep + FRAME_DEPTH_MAX + 1, ']', FRAME_DEPTH_MAX + 1);
	assert_null(frame_parse(deep, FRAME_DEPTH_MAX * 2 + 2, &err));
	assert_int_equal(err.id, API_E_TOO_DEEP);
	/* Brackets in strings, behind escaped quotes too, do not nest. */
	json = frame_parse("[\"[[[[\\\"[[[[\"]", 14, &err);
	assert_non_null(json);
	json_decref(json);
}

static void push(struct fixture *f, const char *text, const int *fds, unsigned int n, int want)
{
	json_t *json = json_string(text);

	assert_int_equal(frame_out_push(&f->out, json, fds, n), want);
	json_decref(json);
}

static void test_out_in_order(void **state)
{
	struct fixture *f = *state;
	char text[16];
	int i;

	for (i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "n%d", i);
		push(f, text, NULL, 0, 0);
	}
	assert_int_equal(frame_out_flush(&f->out, f->pair[0]), 0);
	assert_int_equal(f->out.bytes, 0);
	assert_true(frame_in_read(&f->in, f->pair[1]) > 0);
	for (i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "\"n%d\"", i);
		assert_line(&f->in, text);
	}
	assert_no_line(&f->in);
}

static void test_out_limits(void **state)
{
	struct fixture *f = *state;
	size_t size = FRAME_LINE_MAX - 2;
	char *big = malloc(size + 8);
	int i;

	memset(big, 'y', size + 7);
	big[size] = '\0';
	for (i = 0; i < 3; i++)
		push(f, big, NULL, 0, 0);
	/* Three longest lines fit below 16 MiB, with their newlines a fourth does not. */
	push(f, big, NULL, 0, -ENOBUFS);
	big[size] = 'y';
	big[size + 1] = '\0';
	push(f, big, NULL, 0, -EMSGSIZE);
	assert_int_equal(f->out.bytes, 3 * (FRAME_LINE_MAX + 1));
	assert_int_equal(frame_out_flush(&f->out, f->pair[0]), -EAGAIN);
	assert_true(f->out.bytes > 0 && f->out.bytes < 3 * (FRAME_LINE_MAX + 1));
	free(big);
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void test_descriptors(void **state)
{
	struct fixture *f = *state;
	int pipes[2][2], got[3], i;
	ino_t want[3];

	for (i = 0; i < 2; i++)
		assert_int_equal(pipe(pipes[i]), 0);
	want[0] = inode(pipes[0][0]);
	want[1] = inode(pipes[1][0]);
	push(f, "first", NULL, 0, 0);
	push(f, "second", &pipes[0][0], 1, 0);
	push(f, "third", (int[]){ pipes[1][0], pipes[1][1] }, 2, 0);
	assert_int_equal(frame_out_flush(&f->out, f->pair[0]), 0);
	/* They were taken: ours are closed. */
	assert_int_equal(fcntl(pipes[0][0], F_GETFD), -1);
	while (frame_in_read(&f->in, f->pair[1]) > 0)
		;
	assert_line(&f->in, "\"first\"");
	assert_line(&f->in, "\"second\"");
	assert_int_equal(frame_in_take_fds(&f->in, 4, got), -ENOENT);
	assert_int_equal(frame_in_take_fds(&f->in, 1, got), 0);
	assert_int_equal(inode(got[0]), want[0]);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	close(got[0]);
	assert_line(&f->in, "\"third\"");
	assert_int_equal(frame_in_take_fds(&f->in, 2, got), 0);
	assert_int_equal(inode(got[0]), want[1]);
	close(got[0]);
	close(got[1]);
	close(pipes[0][1]);
}

/* A peer that sends ever more of them loses all, and we lose none of ours. */
static void test_descriptor_flood(void **state)
{
	struct fixture *f = *state;
	int i, next, fds[8];
	ssize_t n = 1;

	for (i = 0; i < 100 && n > 0; i++) {
		int k;

		for (k = 0; k < 8; k++)
			fds[k] = dup(0);
		push(f, "x", fds, 8, 0);
		assert_int_equal(frame_out_flush(&f->out, f->pair[0]), 0);
		n = frame_in_read(&f->in, f->pair[1]);
	}
	assert_int_equal(n, -ENFILE);
	assert_int_equal(f->in.nfds, 0);
	next = dup(0);
	assert_true(next < 20);
	close(next);
}

static void test_peer_gone(void **state)
{
	struct fixture *f = *state;

	close(f->pair[1]);
	f->pair[1] = -1;
	push(f, "x", NULL, 0, 0);
	assert_int_equal(frame_out_flush(&f->out, f->pair[0]), -EPIPE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_any_cut), T(test_read_results), T(test_longest_line), T(test_line_too_long),
		T(test_parse), T(test_out_in_order), T(test_out_limits), T(test_descriptors),
		T(test_descriptor_flood), T(test_peer_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
