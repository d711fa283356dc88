/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What clients do wrong, by mistake or on purpose: each gets a clear error or a
 * clean close, others are served meanwhile, and afterwards the daemon has the
 * memory and the descriptors that it had before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "tests/lib/hvd_proc.h"

#define CONNECTIONS 1000
#define LIMIT	    600

static struct hvd_proc hvd;
static int fds_before;
static long kib_before;

static int fresh(void)
{
	int fd = raw_connect(hvd.sock, 20);

	assert_true(fd >= 0);
	return fd;
}

static void assert_serves(void)
{
	int fd = fresh();
	json_t *a = raw_call(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.ping\"}");

	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
}

/* One line, one answer with that error; the connection stays usable. */
static void refused(const char *line, const char *name, const char *field)
{
	int fd = fresh();
	json_t *a = raw_call(fd, line);

	if (strcmp(answer_name(a), name) || (field && strcmp(answer_field(a), field)))
		print_error("%.200s\n -> %s %s\n", line, answer_name(a), answer_field(a));
	assert_string_equal(answer_name(a), name);
	if (field)
		assert_string_equal(answer_field(a), field);
	json_decref(a);
	a = raw_call(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"daemon.ping\"}");
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
}

#define REQ(rest) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":" rest "}"

static void test_not_json(void **state)
{
	static const char *const lines[] = {
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daem",
		"", "nonsense", "{", "[", "]", "\"", "{\"a\":1,\"a\":2}", "{} {}", "\xff\xfe",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\xc3\"}", "\"\\u0000\"", "\"\\ud800\"",
		"99999999999999999999999", "1e999", "[1,]", "{\"a\"}", "nul", "'a'",
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		refused(lines[i], "rpc.parse_error", NULL);
}

static void test_nul_byte(void **state)
{
	int fd = fresh();
	json_t *a;

	(void)state;
	assert_int_equal(raw_send(fd, "{\"jsonrpc\":\"2.0\"\0}\n", 19), 0);
	a = raw_recv(fd);
	assert_string_equal(answer_name(a), "rpc.parse_error");
	json_decref(a);
	close(fd);
}

static void test_not_a_request(void **state)
{
	(void)state;
	refused("1", "rpc.invalid_request", NULL);
	refused("null", "rpc.invalid_request", NULL);
	refused("\"daemon.ping\"", "rpc.invalid_request", NULL);
	refused("{}", "rpc.invalid_request", "/jsonrpc");
	refused("{\"jsonrpc\":\"2.0\",\"id\":1}", "rpc.invalid_request", "/method");
	refused("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}", "rpc.invalid_request", "/jsonrpc");
	refused("{\"jsonrpc\":2.0,\"id\":1,\"method\":\"x\"}", "rpc.invalid_request", "/jsonrpc");
	refused(REQ("1"), "rpc.invalid_request", "/method");
	refused("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}", "rpc.invalid_request", "/id");
	refused("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"x\"}", "rpc.invalid_request", "/id");
	refused(REQ("\"daemon.ping\",\"extra\":1"), "rpc.invalid_request", "/extra");
	refused(REQ("\"daemon.ping\",\"fds\":-1"), "rpc.invalid_request", "/fds");
	refused(REQ("\"daemon.ping\",\"fds\":99"), "rpc.invalid_request", "/fds");
	refused(REQ("\"daemon.ping\",\"fds\":1"), "rpc.invalid_request", "/fds");
	refused("[]", "rpc.invalid_request", NULL);
}

static void test_wrong_params(void **state)
{
	(void)state;
	refused(REQ("\"no.such\""), "rpc.method_not_found", NULL);
	refused(REQ("\"\""), "rpc.method_not_found", NULL);
	refused(REQ("\"worker.quit\""), "rpc.method_not_found", NULL);
	refused(REQ("\"daemon.ping\",\"params\":[1]"), "rpc.invalid_params", NULL);
	refused(REQ("\"daemon.ping\",\"params\":null"), "rpc.invalid_params", NULL);
	refused(REQ("\"daemon.ping\",\"params\":{\"x\":1}"), "rpc.invalid_params", "/x");
	refused(REQ("\"daemon.ping\",\"params\":{\"a/b~c\":1}"), "rpc.invalid_params", "/a~1b~0c");
	refused(REQ("\"domain.info\""), "rpc.invalid_params", "/domain");
	refused(REQ("\"domain.info\",\"params\":{\"domain\":1}"), "rpc.invalid_params", "/domain");
	refused(REQ("\"domain.info\",\"params\":{\"domain\":\"../x\"}"), "rpc.invalid_params",
		"/domain");
	refused(REQ("\"domain.info\",\"params\":{\"domain\":\"\"}"), "rpc.invalid_params", "/domain");
	refused(REQ("\"domain.list\",\"params\":{\"all\":\"yes\"}"), "rpc.invalid_params", "/all");
	refused(REQ("\"domain.wait\",\"params\":{\"domain\":\"a\",\"state\":\"happy\"}"),
		"rpc.invalid_params", "/state");
	refused(REQ("\"domain.wait\",\"params\":{\"domain\":\"a\",\"state\":\"running\","
		    "\"timeout_ms\":1.5}"),
		"rpc.invalid_params", "/timeout_ms");
	refused(REQ("\"memory.read\",\"params\":{\"domain\":\"a\",\"gpa\":-1,\"size\":1}"),
		"rpc.invalid_params", "/gpa");
	refused(REQ("\"memory.read\",\"params\":{\"domain\":\"a\",\"gpa\":0,\"size\":\"5 MB\"}"),
		"rpc.invalid_params", "/size");
	refused(REQ("\"memory.write\",\"params\":{\"domain\":\"a\",\"gpa\":0,\"data\":\"=abc\"}"),
		"rpc.invalid_params", "/data");
	refused(REQ("\"domain.define\",\"params\":{\"config\":[]}"), "config.invalid", "/config");
	refused(REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"a\",\"memory\":\"1MiB\","
		    "\"boot\":{\"kernel\":\"relative\"}}}"),
		"config.invalid", "/config/boot/kernel");
	refused(REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"a\",\"memory\":\"1MiB\","
		    "\"boot\":{\"kernel\":\"/x\"},\"disks\":[{\"path\":\"/a\"},{\"path\":2}]}}"),
		"config.invalid", "/config/disks/1/path");
	refused(REQ("\"event.subscribe\",\"params\":{\"since\":99999999999}"), "rpc.invalid_params",
		"/since");
}

static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
	size_t u = strlen(unit), h = strlen(head), i;
	char *text = malloc(h + u * n + strlen(tail) + 1);

	memcpy(text, head, h);
	for (i = 0; i < n; i++)
		memcpy(text + h + i * u, unit, u);
	strcpy(text + h + u * n, tail);
	return text;
}

static void test_nesting(void **state)
{
	char *deep = repeat("", "[", 10000, "");
	char *objects = repeat("", "{\"a\":", 10000, "1");
	char *inside = repeat(REQ("\"domain.list\",\"params\":{\"all\":\""), "[", 10000, "\"}");
	char *fits = repeat("", "[", 64, "]");

	(void)state;
	refused(deep, "rpc.nesting_too_deep", NULL);
	refused(objects, "rpc.nesting_too_deep", NULL);
	/* Brackets in a string are no nesting; what follows is what is wrong. */
	inside[strlen(inside) - 1] = '\0';
	refused(inside, "rpc.parse_error", NULL);
	refused(fits, "rpc.parse_error", NULL);
	free(deep);
	free(objects);
	free(inside);
	free(fits);
}

/* The answer may meet a connection that is closed already: then the close is enough. */
static void test_long_line(void **state)
{
	char *line = repeat("\"", "x", 5 << 20, "\"");
	int fd = fresh();
	json_t *a;

	(void)state;
	(void)!raw_send(fd, line, strlen(line));
	a = raw_recv(fd);
	if (a)
		assert_string_equal(answer_name(a), "rpc.line_too_long");
	json_decref(a);
	a = raw_recv(fd);
	assert_null(a);
	close(fd);
	/* The longest line that is allowed is read, and answered for what it says. */
	fd = fresh();
	line[0] = '"';
	line[(4 << 20) - 1] = '"';
	line[4 << 20] = '\0';
	a = raw_call(fd, line);
	assert_string_equal(answer_name(a), "rpc.invalid_request");
	json_decref(a);
	close(fd);
	free(line);
	assert_serves();
}

static void test_batches(void **state)
{
	char *big = repeat("[1", ",1", 1000, "]");
	int fd = fresh();
	json_t *a;

	(void)state;
	refused(big, "rpc.invalid_request", NULL);
	a = raw_call(fd, "[1,{\"jsonrpc\":\"2.0\",\"method\":\"daemon.ping\"},"
			 "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"daemon.ping\"},"
			 "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"none\"}]");
	assert_int_equal(json_array_size(a), 3);
	assert_string_equal(answer_name(json_array_get(a, 0)), "rpc.invalid_request");
	assert_string_equal(answer_name(json_array_get(a, 1)), "ok");
	assert_string_equal(json_string_value(json_object_get(json_array_get(a, 1), "id")), "x");
	assert_string_equal(answer_name(json_array_get(a, 2)), "rpc.method_not_found");
	json_decref(a);
	/* Only notifications: no answer at all; the next request has the next answer. */
	a = raw_call(fd, "[{\"jsonrpc\":\"2.0\",\"method\":\"daemon.ping\"},"
			 "{\"jsonrpc\":\"2.0\",\"method\":\"none\"}]\n" REQ("\"daemon.ping\""));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
	free(big);
}

static void test_duplicate_names(void **state)
{
	static const char define[] = REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"dup\","
					 "\"memory\":\"16MiB\",\"boot\":{\"kernel\":\"/x\"}}}");
	static const char create[] = REQ("\"domain.create\",\"params\":{\"config\":{\"name\":\"dup\","
					 "\"memory\":\"16MiB\",\"boot\":{\"kernel\":\"/x\"}}}");
	int fd = fresh();
	json_t *a;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		a = raw_call(fd, define);
		assert_string_equal(
			json_string_value(json_object_get(json_object_get(a, "result"), "change")),
			i ? "unchanged" : "created");
		json_decref(a);
	}
	a = raw_call(fd, create);
	assert_string_equal(answer_name(a), "domain.exists");
	assert_string_equal(answer_field(a), "/config/name");
	json_decref(a);
	/* Many at once, for the same name: one line each, all answered, one domain. */
	for (i = 0; i < 20; i++) {
		assert_int_equal(raw_send(fd, define, strlen(define)), 0);
		assert_int_equal(raw_send(fd, "\n", 1), 0);
	}
	for (i = 0; i < 20; i++) {
		a = raw_recv(fd);
		assert_string_equal(answer_name(a), "ok");
		json_decref(a);
	}
	a = raw_call(fd, REQ("\"domain.undefine\",\"params\":{\"domain\":\"dup\"}"));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
}

/* A client that asks and asks and never reads is stopped, then dropped; others are served. */
static void test_never_reads(void **state)
{
	static const char ask[] = REQ("\"rpc.discover\"") "\n";
	const struct timeval soon = { .tv_usec = 200000 };
	struct pollfd p = { .events = POLLOUT };
	int fd = fresh(), i;

	(void)state;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
	for (i = 0; i < 100000; i++)
		if (raw_send(fd, ask, sizeof(ask) - 1))
			break;
	assert_true(i < 100000);
	print_message("# %d requests were taken from a client that reads nothing\n", i);
	assert_serves();
	/* StallTimeoutSec=1: the daemon hangs up. */
	p.fd = fd;
	p.events = 0;
	assert_true(poll(&p, 1, 10000) > 0);
	assert_true(p.revents & (POLLHUP | POLLERR));
	close(fd);
	assert_serves();
}

/* A line that is begun and never ended. */
static void test_stops_inside_a_line(void **state)
{
	struct pollfd p = { .fd = fresh() };

	(void)state;
	assert_int_equal(raw_send(p.fd, "{\"jsonrpc\"", 10), 0);
	assert_true(poll(&p, 1, 10000) > 0);
	assert_true(p.revents & POLLHUP);
	close(p.fd);
}

static void test_many_connections(void **state)
{
	static int fd[CONNECTIONS];
	int i, served = 0, refused_n = 0;
	json_t *a;

	(void)state;
	for (i = 0; i < CONNECTIONS; i++)
		fd[i] = fresh();
	for (i = 0; i < CONNECTIONS; i++) {
		a = raw_call(fd[i], REQ("\"daemon.ping\""));
		if (!strcmp(answer_name(a), "ok")) {
			served++;
		} else {
			refused_n++;
			/* The refusal, or only the close if our request came after it. */
			if (a)
				assert_string_equal(answer_name(a), "resource.exhausted");
		}
		json_decref(a);
	}
	print_message("# of %d connections %d were served and %d refused\n", CONNECTIONS, served,
		      refused_n);
	assert_int_equal(served, LIMIT);
	for (i = 0; i < CONNECTIONS; i++)
		close(fd[i]);
	/* The places are free again. */
	assert_serves();
}

static void test_dies(void **state)
{
	static const char wait[] =
		REQ("\"domain.wait\",\"params\":{\"domain\":\"w\",\"state\":\"running\"}") "\n"
		REQ("\"event.subscribe\"") "\n";
	static const char define[] = REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"w\","
					 "\"memory\":\"16MiB\",\"boot\":{\"kernel\":\"/x\"}}}");
	int i, fd = fresh();
	json_t *a;

	(void)state;
	a = raw_call(fd, define);
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	for (i = 0; i < 200; i++) {
		int other = fresh();

		/* In the midst of a line, of a wait, of a definition being stored. */
		if (i % 4 == 0)
			raw_send(other, wait, i % (int)sizeof(wait));
		else if (i % 4 == 1)
			raw_send(other, wait, sizeof(wait) - 1);
		else if (i % 4 == 2)
			raw_send(other, define, sizeof(define) - 1), raw_send(other, "\n", 1);
		else
			raw_send(other, "{\"jsonrpc\"", 10);
		close(other);
	}
	a = raw_call(fd, REQ("\"domain.undefine\",\"params\":{\"domain\":\"w\"}"));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
	assert_serves();
}

/* A client that has said all it wants to say still gets its answers. */
static void test_half_closed(void **state)
{
	int fd = fresh();
	json_t *a;

	(void)state;
	raw_send(fd, REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"h\",\"memory\":\"16MiB\","
			 "\"boot\":{\"kernel\":\"/x\"}}}") "\n", strlen(REQ(
			 "\"domain.define\",\"params\":{\"config\":{\"name\":\"h\",\"memory\":\"16MiB\","
			 "\"boot\":{\"kernel\":\"/x\"}}}")) + 1);
	shutdown(fd, SHUT_WR);
	a = raw_recv(fd);
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	assert_null(raw_recv(fd));
	close(fd);
	fd = fresh();
	a = raw_call(fd, REQ("\"domain.undefine\",\"params\":{\"domain\":\"h\"}"));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
}

static int send_fds(int sock, const char *line, int n)
{
	char space[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)line, .iov_len = strlen(line) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int i;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &sock, sizeof(int));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Descriptors that nobody asked for are closed, whatever comes with them. */
static void test_unwanted_descriptors(void **state)
{
	int fd = fresh(), i;
	json_t *a;

	(void)state;
	assert_int_equal(send_fds(fd, REQ("\"daemon.ping\",\"fds\":3") "\n", 3), 0);
	a = raw_recv(fd);
	assert_string_equal(answer_name(a), "rpc.invalid_request");
	json_decref(a);
	close(fd);
	/* Ever more of them without a word: the daemon hangs up. */
	fd = fresh();
	for (i = 0; i < 100; i++) {
		if (send_fds(fd, REQ("\"daemon.ping\"") "\n", 8))
			break;
		json_decref(raw_recv(fd));
	}
	assert_true(i < 100);
	close(fd);
	assert_serves();
}

/* More calls in progress than one connection may have. */
static void test_too_many_calls(void **state)
{
	static const char wait[] =
		REQ("\"domain.wait\",\"params\":{\"domain\":\"c\",\"state\":\"running\"}") "\n";
	int fd = fresh(), i;
	json_t *a;

	(void)state;
	a = raw_call(fd, REQ("\"domain.define\",\"params\":{\"config\":{\"name\":\"c\","
			     "\"memory\":\"16MiB\",\"boot\":{\"kernel\":\"/x\"}}}"));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	for (i = 0; i < 257; i++)
		assert_int_equal(raw_send(fd, wait, sizeof(wait) - 1), 0);
	a = raw_recv(fd);
	assert_string_equal(answer_name(a), "resource.exhausted");
	json_decref(a);
	close(fd);
	fd = fresh();
	a = raw_call(fd, REQ("\"domain.undefine\",\"params\":{\"domain\":\"c\"}"));
	assert_string_equal(answer_name(a), "ok");
	json_decref(a);
	close(fd);
}

/* Last: nothing of all this has stayed. */
static void test_nothing_left(void **state)
{
	int fds = 0, i;
	long kib = 0;

	(void)state;
	/* Closes are noticed in the loop's own time, memory is given back every few seconds. */
	for (i = 0; i < 150; i++) {
		fds = hvd_proc_fds(&hvd);
		kib = proc_private_kib(hvd.pid);
		if (fds <= fds_before && kib < kib_before + 1024)
			break;
		usleep(100000);
		if (i % 20 == 0)
			assert_serves();
	}
	print_message("# descriptors %d -> %d, private memory %ld -> %ld KiB\n", fds_before, fds,
		      kib_before, kib);
	assert_int_equal(fds, fds_before);
#ifndef HV_SANITIZED
	assert_true(kib < kib_before + 1024);
#endif
}

static int setup(void **state)
{
	struct rlimit limit;
	int fd;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (hvd_proc_start(&hvd, "[Socket]\nMaxConnections=600\nStallTimeoutSec=1\n"))
		return -1;
	assert_serves();
	/* What is made once and kept belongs to the state before. */
	fd = fresh();
	json_decref(raw_call(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"rpc.discover\"}"));
	close(fd);
	usleep(200000);
	fds_before = hvd_proc_fds(&hvd);
	kib_before = proc_private_kib(hvd.pid);
	return 0;
}

static int teardown(void **state)
{
	int status = hvd_proc_stop(&hvd);

	(void)state;
	if (status)
		print_error("hvd ended with status %d\n", status);
	return status ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_not_a_request),
		cmocka_unit_test(test_wrong_params),
		cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_duplicate_names),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_stops_inside_a_line),
		cmocka_unit_test(test_unwanted_descriptors),
		cmocka_unit_test(test_too_many_calls),
		cmocka_unit_test(test_dies),
		cmocka_unit_test(test_never_reads),
		cmocka_unit_test(test_many_connections),
		cmocka_unit_test(test_nothing_left),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
