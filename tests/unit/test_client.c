/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api/client.c and client_transport.c: against scripted peers, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/client.h"

/* "exec:" makes any shell command the peer: each test scripts its own. */
static struct hvd_client *peer(const char *script)
{
	struct hvd_client *client;
	char uri[1024];

	snprintf(uri, sizeof(uri), "exec:%s", script);
	assert_int_equal(hvd_client_open(uri, &client), 0);
	assert_string_equal(hvd_client_uri(client), uri);
	assert_false(hvd_client_passes_fds(client));
	return client;
}

static void test_result(void **state)
{
	struct hvd_client *c = peer("read l; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":42}'; cat >/dev/null");
	struct hvd_reply *r;

	(void)state;
	assert_int_equal(hvd_client_call(c, "x", NULL, 10000, &r), 0);
	assert_int_equal(json_integer_value(hvd_reply_result(r)), 42);
	assert_null(hvd_reply_error(r));
	assert_int_equal(hvd_reply_take_fd(r, 0), -ENOENT);
	hvd_reply_free(r);
	hvd_client_close(c);
}

static void test_error(void **state)
{
	struct hvd_client *c = peer("read l; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,"
				    "\"message\":\"m\",\"data\":{\"name\":\"n.n\",\"field\":\"/f\"}}}'; cat >/dev/null");
	struct hvd_reply *r;

	(void)state;
	assert_int_equal(hvd_client_call(c, "x", json_object(), 10000, &r), -EREMOTE);
	assert_int_equal(hvd_reply_error_code(r), -32000);
	assert_string_equal(hvd_reply_error_name(r), "n.n");
	assert_string_equal(hvd_reply_error_message(r), "m");
	assert_string_equal(hvd_reply_error_field(r), "/f");
	assert_string_equal(hvd_reply_error_hint(r), "");
	hvd_reply_free(r);
	hvd_client_close(c);
}

static void test_timeout_then_answer(void **state)
{
	/* The late answer of the first call is not taken for the second's. */
	struct hvd_client *c = peer("read a; read b; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}';"
				    "echo '{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":2}'; cat >/dev/null");
	struct hvd_reply *r;

	(void)state;
	assert_int_equal(hvd_client_call(c, "x", NULL, 50, &r), -ETIMEDOUT);
	assert_null(r);
	assert_int_equal(hvd_client_call(c, "y", NULL, 10000, &r), 0);
	assert_int_equal(json_integer_value(hvd_reply_result(r)), 2);
	hvd_reply_free(r);
	hvd_client_close(c);
}

static void test_lost(void **state)
{
	struct hvd_client *c = peer("read l");
	struct hvd_reply *r;

	(void)state;
	assert_int_equal(hvd_client_call(c, "x", NULL, 10000, &r), -EPIPE);
	assert_null(r);
	/* And stays lost. */
	assert_int_equal(hvd_client_call(c, "x", json_object(), 10000, &r), -EPIPE);
	hvd_client_close(c);
}

static void test_nonsense(void **state)
{
	static const char *const scripts[] = { "read l; echo nonsense", "read l; echo 1; cat >/dev/null",
					       "read l; echo '[]'; cat >/dev/null" };
	struct hvd_reply *r;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		struct hvd_client *c = peer(scripts[i]);

		assert_int_equal(hvd_client_call(c, "x", NULL, 10000, &r), -EPROTO);
		hvd_client_close(c);
	}
}

static int answered, events;

static void on_reply(struct hvd_client *client, struct hvd_reply *reply, void *data)
{
	(void)client;
	answered++;
	if (data)
		assert_int_equal(json_integer_value(hvd_reply_result(reply)), *(int *)data);
	else
		assert_null(reply);
	hvd_reply_free(reply);
}

static void on_event(struct hvd_client *client, const json_t *event, void *data)
{
	(void)client;
	events += json_integer_value(json_object_get(event, "seq")) == *(int *)data;
}

static void test_async(void **state)
{
	struct hvd_client *c = peer("read a; read b; echo '{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"seq\":3}}';"
				    "echo '{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":20}';"
				    "echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":10}'; read c");
	int ten = 10, twenty = 20, three = 3;
	uint64_t id;

	(void)state;
	answered = events = 0;
	hvd_client_on_event(c, on_event, &three);
	assert_int_equal(hvd_client_call_async(c, "a", NULL, on_reply, &ten, NULL), 0);
	assert_int_equal(hvd_client_call_async(c, "b", NULL, on_reply, &twenty, NULL), 0);
	assert_int_equal(hvd_client_events(c), POLLIN);
	while (answered < 2)
		assert_int_equal(hvd_client_wait(c, 10000), 0);
	assert_int_equal(events, 1);
	/* One is cancelled, one is pending when the peer goes: it hears of it once. */
	assert_int_equal(hvd_client_call_async(c, "c", NULL, on_reply, &ten, &id), 0);
	assert_int_equal(hvd_client_cancel(c, id), 0);
	assert_int_equal(hvd_client_cancel(c, id), -ENOENT);
	assert_int_equal(hvd_client_call_async(c, "d", NULL, on_reply, NULL, NULL), 0);
	while (answered < 3)
		if (hvd_client_wait(c, 10000))
			break;
	assert_int_equal(answered, 3);
	assert_int_equal(hvd_client_dispatch(c), -EPIPE);
	hvd_client_close(c);
}

static void test_uris(void **state)
{
	static const char *const bad[] = { "unix:", "http://x", "ssh://", "ssh://-oProxyCommand=x",
					   "ssh://host:notaport", "ssh://host/a;b", "exec:", "x",
					   "ssh://host/$(id)" };
	struct hvd_client *c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(hvd_client_open(bad[i], &c), -EINVAL);
	assert_int_equal(hvd_client_open("unix:/nonexistent/sock", &c), -ENOENT);
}

static void test_too_large(void **state)
{
	struct hvd_client *c = peer("cat >/dev/null");
	char *big = malloc((4 << 20) + 1);
	struct hvd_reply *r;

	(void)state;
	memset(big, 'x', 4 << 20);
	big[4 << 20] = '\0';
	assert_int_equal(hvd_client_call(c, "x", json_pack("{s:s}", "a", big), 1000, &r), -EMSGSIZE);
	free(big);
	hvd_client_close(c);
	hvd_client_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_result), cmocka_unit_test(test_error),
		cmocka_unit_test(test_timeout_then_answer), cmocka_unit_test(test_lost),
		cmocka_unit_test(test_nonsense), cmocka_unit_test(test_async),
		cmocka_unit_test(test_uris), cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
