/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api/dispatch.c, error.c, discover.c: calls answered now, later, never heard; batches; order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/dispatch.h"

struct fixture {
	struct api_session session;	/* first: the send function finds us by it */
	struct api_table table;
	struct api_call *kept[8];
	int nkept, cancelled, forwarded;
	json_t *sent;			/* array of all that was sent */
	int send_result;
	unsigned int fds;
};

struct echo_args {
	const char *text;
};
static const struct schema_field echo_fields[] = {
	SCHEMA_FIELD(struct echo_args, text, &schema_string, SCHEMA_REQUIRED, "text"), { 0 }
};
static const struct schema echo_params = { .kind = SCHEMA_OBJECT, .fields = echo_fields };

static void echo(struct api_call *call, const void *args)
{
	api_reply(call, json_string(((const struct echo_args *)args)->text));
}

static void cancelled(struct api_call *call)
{
	struct fixture *f = call->table->context;

	f->cancelled++;
	assert_null(call->session);
}

static void keep(struct api_call *call, const void *args)
{
	struct fixture *f = call->table->context;

	(void)args;
	call->cancel = cancelled;
	f->kept[f->nkept++] = call;
}

static void fail_late(struct api_call *call, const void *args)
{
	(void)args;
	api_fail_text(call, API_E_TIMEOUT, "too %s", "late");
}

static void give_fd(struct api_call *call, const void *args)
{
	int fd = dup(0);

	(void)args;
	api_reply_fds(call, NULL, &fd, 1);
}

static const struct api_method rows[] = {
	{ .name = "t.echo", .summary = "e", .params = &echo_params, .result = &schema_string,
	  .args_size = sizeof(struct echo_args), .privilege = API_RO, .handler = echo },
	{ .name = "t.keep", .summary = "k", .privilege = API_RW, .handler = keep },
	{ .name = "t.fail", .summary = "f", .privilege = API_RO, .handler = fail_late,
	  .errors = API_ERRORS(API_E_TIMEOUT) },
	{ .name = "t.far", .summary = "f", .privilege = API_RO, .flags = API_FORWARD,
	  .handler = fail_late, .errors = API_ERRORS(API_E_TIMEOUT) },
	{ .name = "t.hidden", .summary = "h", .privilege = API_RO, .flags = API_INTERNAL,
	  .handler = fail_late, .errors = API_ERRORS(API_E_TIMEOUT) },
	{ .name = "t.fd", .summary = "fd", .privilege = API_RO, .flags = API_GIVES_FDS,
	  .handler = give_fd },
	{ 0 }
};

static int send_fn(struct api_session *session, const json_t *json, const int *fds,
		   unsigned int nfds)
{
	struct fixture *f = (struct fixture *)session;

	f->fds += nfds;
	while (nfds > 0)
		close(fds[--nfds]);
	if (f->send_result) {
		int ret = f->send_result;

		f->send_result = 0;
		return ret;
	}
	json_array_append_new(f->sent, json_deep_copy(json));
	return 0;
}

static const struct api_session_ops ops = { .send = send_fn };

static void forward(struct api_call *call, const void *args)
{
	(void)args;
	((struct fixture *)call->table->context)->forwarded++;
	api_reply(call, NULL);
}

static int setup(void **state)
{
	const struct api_method *const arrays[] = { rows, api_discover_rows };
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(api_table_init(&f->table, arrays, 2), 0);
	f->table.context = f;
	f->table.forward = forward;
	api_session_init(&f->session, &f->table, &ops, API_RW);
	f->sent = json_array();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	api_session_fini(&f->session);
	api_table_fini(&f->table);
	json_decref(f->sent);
	free(f);
	return 0;
}

static void say(struct fixture *f, const char *line)
{
	assert_int_equal(api_dispatch_line(&f->session, line, strlen(line), NULL), 0);
}

static const json_t *heard(struct fixture *f, size_t i)
{
	return json_array_get(f->sent, i);
}

static const char *error_name(const json_t *answer)
{
	return json_string_value(json_object_get(
		json_object_get(json_object_get(answer, "error"), "data"), "name"));
}

#define CALL(id, method, rest) "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"" method "\"" rest "}"

static void test_now(void **state)
{
	struct fixture *f = *state;

	say(f, CALL(5, "t.echo", ",\"params\":{\"text\":\"hi\"}"));
	assert_string_equal(json_string_value(json_object_get(heard(f, 0), "result")), "hi");
	assert_int_equal(json_integer_value(json_object_get(heard(f, 0), "id")), 5);
	say(f, CALL(6, "t.fail", ""));
	assert_string_equal(error_name(heard(f, 1)), "timeout");
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(heard(f, 1), "error"), "message")), "too late");
	say(f, CALL(7, "t.echo", ""));
	assert_string_equal(error_name(heard(f, 2)), "rpc.invalid_params");
	say(f, CALL(8, "t.far", ""));
	assert_int_equal(f->forwarded, 1);
	assert_int_equal(f->session.ncalls, 0);
	assert_int_equal(f->table.calls, 4);
	assert_int_equal(f->table.failures, 2);
}

static void test_later_and_out_of_order(void **state)
{
	struct fixture *f = *state;

	say(f, CALL(1, "t.keep", ""));
	say(f, CALL(2, "t.keep", ""));
	say(f, CALL(3, "t.echo", ",\"params\":{\"text\":\"x\"}"));
	assert_int_equal(json_array_size(f->sent), 1);
	api_reply(f->kept[1], NULL);
	api_reply(f->kept[0], NULL);
	assert_int_equal(json_integer_value(json_object_get(heard(f, 1), "id")), 2);
	assert_int_equal(json_integer_value(json_object_get(heard(f, 2), "id")), 1);
	assert_true(json_is_null(json_object_get(heard(f, 2), "result")));
}

static void test_caller_gone(void **state)
{
	struct fixture *f = *state;

	say(f, CALL(1, "t.keep", ""));
	say(f, "[" CALL(2, "t.keep", "") "," CALL(3, "t.keep", "") "]");
	api_session_fini(&f->session);
	assert_int_equal(f->cancelled, 3);
	/* They are still to be ended, and nobody hears it. */
	api_reply(f->kept[0], NULL);
	api_reply(f->kept[1], NULL);
	api_fail_text(f->kept[2], API_E_INTERNAL, "x");
	assert_int_equal(json_array_size(f->sent), 0);
}

static void test_batch(void **state)
{
	struct fixture *f = *state;
	const json_t *answer;

	say(f, "[" CALL(1, "t.keep", "") "," CALL(2, "t.echo", ",\"params\":{\"text\":\"b\"}")
	       ",{\"jsonrpc\":\"2.0\",\"method\":\"t.fail\"},7]");
	assert_int_equal(json_array_size(f->sent), 0);
	api_reply(f->kept[0], NULL);
	answer = heard(f, 0);
	assert_int_equal(json_array_size(answer), 3);
	assert_int_equal(json_array_size(f->sent), 1);
	/* A batch inside a batch is no request. */
	say(f, "[[" CALL(1, "t.echo", "") "]]");
	assert_string_equal(error_name(json_array_get(heard(f, 1), 0)), "rpc.invalid_request");
}

static void test_notifications(void **state)
{
	struct fixture *f = *state;

	say(f, "{\"jsonrpc\":\"2.0\",\"method\":\"t.echo\",\"params\":{\"text\":\"x\"}}");
	say(f, "{\"jsonrpc\":\"2.0\",\"method\":\"t.echo\"}");
	say(f, "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}");
	say(f, "[{\"jsonrpc\":\"2.0\",\"method\":\"t.fail\"}]");
	assert_int_equal(json_array_size(f->sent), 0);
	/* null is an id. */
	say(f, "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"t.fail\"}");
	assert_int_equal(json_array_size(f->sent), 1);
}

static void test_privilege(void **state)
{
	struct fixture *f = *state;

	f->session.privilege = API_RO;
	say(f, CALL(1, "t.keep", ""));
	assert_string_equal(error_name(heard(f, 0)), "permission.denied");
	assert_int_equal(f->nkept, 0);
	say(f, CALL(2, "t.echo", ",\"params\":{\"text\":\"x\"}"));
	assert_null(error_name(heard(f, 1)));
}

static void test_answer_too_long(void **state)
{
	struct fixture *f = *state;

	f->send_result = -EMSGSIZE;
	say(f, CALL(9, "t.echo", ",\"params\":{\"text\":\"x\"}"));
	assert_string_equal(error_name(heard(f, 0)), "resource.exhausted");
	assert_int_equal(json_integer_value(json_object_get(heard(f, 0), "id")), 9);
}

static void test_descriptors(void **state)
{
	struct fixture *f = *state;

	say(f, CALL(1, "t.fd", ""));
	assert_int_equal(json_integer_value(json_object_get(heard(f, 0), "fds")), 1);
	say(f, "[" CALL(1, "t.fd", "") "," CALL(2, "t.fd", "") "]");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(heard(f, 1), 0), "fds")), 2);
	assert_int_equal(f->fds, 3);
	say(f, CALL(1, "t.fd", ",\"fds\":1"));
	assert_string_equal(error_name(heard(f, 2)), "rpc.invalid_request");
}

static void test_discover(void **state)
{
	struct fixture *f = *state;
	json_t *doc = api_discover(&f->table);
	json_t *methods = json_object_get(doc, "methods");

	/* Sorted, without the internal one. */
	assert_int_equal(json_array_size(methods), 6);
	assert_string_equal(json_string_value(json_object_get(json_array_get(methods, 0), "name")),
			    "rpc.discover");
	assert_string_equal(json_string_value(json_object_get(json_array_get(methods, 1), "name")), "t.echo");
	json_decref(doc);
}

static void test_table(void **state)
{
	const struct api_method *const twice[] = { rows, rows };
	struct api_table table;

	(void)state;
	assert_int_equal(api_table_init(&table, twice, 2), -EINVAL);
}

static void test_error_names(void **state)
{
	struct api_error err, back;
	json_t *json;
	int id;

	(void)state;
	for (id = API_OK + 1; id < API_ERR_COUNT; id++) {
		assert_int_equal(api_error_by_name(api_error_name(id)), id);
		api_error_set(&err, id, NULL);
		api_error_field(&err, "/a");
		api_error_state(&err, "running");
		api_error_hint(&err, "do %d", 1);
		json = api_error_to_json(&err);
		assert_int_equal(json_integer_value(json_object_get(json, "code")), api_error_code(id));
		api_error_from_json(&back, json);
		assert_int_equal(back.id, id);
		assert_string_equal(back.field, "/a");
		assert_string_equal(back.state, "running");
		assert_string_equal(back.hint, "do 1");
		json_decref(json);
	}
	/* A text that is cut in the midst of a character stays UTF-8. */
	api_error_set(&err, API_E_INTERNAL, "%0254d\xc3\xa9", 1);
	json = api_error_to_json(&err);
	assert_non_null(json_object_get(json, "message"));
	assert_int_equal(strlen(err.message), 254);
	json_decref(json);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_now), T(test_later_and_out_of_order), T(test_caller_gone), T(test_batch),
		T(test_notifications), T(test_privilege), T(test_answer_too_long), T(test_descriptors),
		T(test_discover), T(test_table), T(test_error_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
