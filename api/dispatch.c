/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dispatcher. Order of a request's checks: envelope, method, privilege,
 * descriptors, params; then the handler.
 */
#include "api/dispatch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

const enum api_err api_common_errors[] = {
	API_E_PARSE,	     API_E_TOO_DEEP,	   API_E_LINE_TOO_LONG,	     API_E_INVALID_REQUEST,
	API_E_INVALID_PARAMS, API_E_METHOD_NOT_FOUND, API_E_PERMISSION_DENIED, API_E_INTERNAL,
	API_E_RESOURCE_EXHAUSTED, API_E_DAEMON_STOPPING, API_OK,
};

/* The answers of a batch, sent together when the last one is there. */
struct api_batch {
	json_t *answers;
	unsigned int pending;	/* calls not ended, plus one while reading the batch */
	int fds[FRAME_FDS_MAX];
	unsigned int nfds;
};

/* ---- the table ------------------------------------------------------------ */

static int row_compare(const void *a, const void *b)
{
	const struct api_method *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

int api_table_init(struct api_table *table, const struct api_method *const *arrays, size_t n)
{
	const struct api_method *row;
	size_t i, count = 0;

	memset(table, 0, sizeof(*table));
	for (i = 0; i < n; i++)
		for (row = arrays[i]; row->name; row++)
			count++;
	table->rows = calloc(count ? count : 1, sizeof(*table->rows));
	if (!table->rows)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		for (row = arrays[i]; row->name; row++)
			table->rows[table->count++] = row;
	qsort(table->rows, table->count, sizeof(*table->rows), row_compare);
	for (i = 0; i < count; i++) {
		if (table->rows[i]->args_size > API_ARGS_MAX ||
		    (i && !strcmp(table->rows[i]->name, table->rows[i - 1]->name))) {
			api_table_fini(table);
			return -EINVAL;
		}
	}
	return 0;
}

void api_table_fini(struct api_table *table)
{
	json_decref(table->discover);
	free(table->rows);
	memset(table, 0, sizeof(*table));
}

const struct api_method *api_table_find(const struct api_table *table, const char *name)
{
	const struct api_method key = { .name = name }, *keyp = &key;
	const struct api_method **found;

	found = bsearch(&keyp, table->rows, table->count, sizeof(*table->rows), row_compare);
	return found ? *found : NULL;
}

/* ---- sessions ------------------------------------------------------------- */

void api_session_init(struct api_session *session, struct api_table *table,
		      const struct api_session_ops *ops, enum api_privilege privilege)
{
	memset(session, 0, sizeof(*session));
	session->table = table;
	session->ops = ops;
	session->privilege = privilege;
	LIST_INIT(&session->calls);
}

void api_session_fini(struct api_session *session)
{
	struct api_call *call;

	while (!LIST_EMPTY(&session->calls)) {
		call = LIST_FIRST(&session->calls);
		LIST_REMOVE(call, link);
		call->session = NULL;
		session->ncalls--;
		if (call->cancel) {
			void (*cancel)(struct api_call *) = call->cancel;

			call->cancel = NULL;
			cancel(call);
		}
	}
	if (session->user_free)
		session->user_free(session);
	session->user_free = NULL;
}

/* ---- answers -------------------------------------------------------------- */

static json_t *answer_new(json_t *id)
{
	json_t *answer = json_object();

	json_object_set_new(answer, "jsonrpc", json_string_nocheck("2.0"));
	json_object_set(answer, "id", id ? id : json_null());
	return answer;
}

static void close_fds(const int *fds, unsigned int nfds)
{
	while (nfds > 0)
		if (fds[--nfds] >= 0)
			close(fds[nfds]);
}

static json_t *answer_error(json_t *id, const struct api_error *err)
{
	json_t *answer = answer_new(id);

	json_object_set_new(answer, "error", api_error_to_json(err));
	return answer;
}

/* Send an answer; one that is too long is replaced by an error that says so. */
static void answer_send(struct api_session *session, json_t *answer, const int *fds,
			unsigned int nfds)
{
	struct api_error err;
	json_t *instead;
	int ret;

	if (nfds)
		json_object_set_new(json_is_array(answer) ? json_array_get(answer, 0) : answer,
				    "fds", json_integer(nfds));
	ret = session->ops->send(session, answer, fds, nfds);
	if (ret == -EMSGSIZE || ret == -ENOMEM) {
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "the answer is over the line limit");
		api_error_hint(&err, "ask for a smaller range");
		instead = answer_error(json_is_object(answer) ? json_object_get(answer, "id") : NULL,
				       &err);
		session->ops->send(session, instead, NULL, 0);
		json_decref(instead);
	}
	json_decref(answer);
}

static void batch_put(struct api_session *session, struct api_batch *batch)
{
	if (--batch->pending > 0)
		return;
	if (session && json_array_size(batch->answers) > 0) {
		answer_send(session, json_incref(batch->answers), batch->fds, batch->nfds);
	} else {
		close_fds(batch->fds, batch->nfds);
	}
	json_decref(batch->answers);
	free(batch);
}

/* A batch's descriptors travel together in the order of its answers. */
static void batch_answer(struct api_batch *batch, json_t *answer, const int *fds,
			 unsigned int nfds)
{
	struct api_error err;

	if (batch->nfds + nfds > FRAME_FDS_MAX) {
		close_fds(fds, nfds);
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "too many descriptors in a batch");
		json_object_del(answer, "result");
		json_object_set_new(answer, "error", api_error_to_json(&err));
	} else if (nfds) {
		memcpy(batch->fds + batch->nfds, fds, nfds * sizeof(int));
		batch->nfds += nfds;
	}
	json_array_append_new(batch->answers, answer);
}

/* Give @answer (taken, NULL: none) to the caller and free @call. */
static void call_end(struct api_call *call, json_t *answer, const int *fds, unsigned int nfds)
{
	struct api_session *session = call->session;

	if (session) {
		LIST_REMOVE(call, link);
		session->ncalls--;
	}
	if (answer && call->batch) {
		batch_answer(call->batch, answer, fds, nfds);
	} else if (answer && session) {
		answer_send(session, answer, fds, nfds);
	} else {
		json_decref(answer);
		close_fds(fds, nfds);
	}
	if (call->batch)
		batch_put(session, call->batch);
	close_fds(call->fds, call->nfds);
	json_decref(call->id);
	json_decref(call->params);
	free(call);
}

static bool error_listed(const enum api_err *list, enum api_err id)
{
	for (; list && *list != API_OK; list++)
		if (*list == id)
			return true;
	return false;
}

bool api_method_has_error(const struct api_method *method, enum api_err id)
{
	return error_listed(api_common_errors, id) || error_listed(method->errors, id);
}

#ifdef HV_DEBUG
/* rpc.discover promises which errors a method has: a row that keeps one back is our bug. */
static void error_assert_listed(const struct api_method *method, enum api_err id)
{
	if (api_method_has_error(method, id))
		return;
	fprintf(stderr, "%s: its row does not list %s\n", method->name, api_error_name(id));
	abort();
}

/* Likewise the shape of a result; what a worker answered is checked before it gets here. */
static void result_assert_shape(const struct api_method *method, json_t *result)
{
	struct api_error err;

	if (method->result ? !schema_check(method->result, result, API_E_INTERNAL, &err) : !result)
		return;
	fprintf(stderr, "%s: result: %s\n", method->name,
		method->result ? err.message : "must be null");
	abort();
}
#endif

void api_reply_fds(struct api_call *call, json_t *result, const int *fds, unsigned int nfds)
{
	json_t *answer = NULL;

#ifdef HV_DEBUG
	result_assert_shape(call->method, result);
#endif
	if (call->id) {
		answer = answer_new(call->id);
		json_object_set_new(answer, "result", result ? result : json_null());
	} else {
		json_decref(result);
	}
	call_end(call, answer, fds, nfds);
}

void api_reply(struct api_call *call, json_t *result)
{
	api_reply_fds(call, result, NULL, 0);
}

void api_fail(struct api_call *call, const struct api_error *err)
{
#ifdef HV_DEBUG
	error_assert_listed(call->method, err->id);
#endif
	call->table->failures++;
	call_end(call, call->id ? answer_error(call->id, err) : NULL, NULL, 0);
}

void api_fail_text(struct api_call *call, enum api_err id, const char *fmt, ...)
{
	struct api_error err;
	char text[sizeof(err.message)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_error_set(&err, id, "%s", text);
	api_fail(call, &err);
}

int api_notify(struct api_session *session, const char *method, json_t *params)
{
	json_t *note = json_pack("{s:s,s:s,s:o}", "jsonrpc", "2.0", "method", method, "params",
				 params);
	int ret;

	if (!note)
		return -ENOMEM;
	ret = session->ops->send(session, note, NULL, 0);
	json_decref(note);
	return ret;
}

void api_send_error(struct api_session *session, const struct api_error *err)
{
	session->table->failures++;
	answer_send(session, answer_error(NULL, err), NULL, 0);
}

/* ---- requests ------------------------------------------------------------- */

struct request {
	const char *method;
	json_t *id;	/* borrowed; NULL: a notification */
	json_t *params;	/* borrowed; NULL: none */
	unsigned int nfds;
};

static int request_bad(struct api_error *err, const char *field, const char *text)
{
	api_error_set(err, API_E_INVALID_REQUEST, "%s", text);
	api_error_field(err, field);
	return -EINVAL;
}

static int request_member(struct request *r, const char *key, json_t *value,
			  struct api_error *err)
{
	char field[80];

	if (!strcmp(key, "jsonrpc")) {
		if (json_is_string(value) && !strcmp(json_string_value(value), "2.0"))
			return 0;
		return request_bad(err, "/jsonrpc", "jsonrpc must be \"2.0\"");
	}
	if (!strcmp(key, "method")) {
		r->method = json_string_value(value);
		return r->method ? 0 : request_bad(err, "/method", "method must be a string");
	}
	if (!strcmp(key, "params")) {
		r->params = value;
		return 0;
	}
	if (!strcmp(key, "id")) {
		if (json_is_string(value) || json_is_integer(value) || json_is_null(value)) {
			r->id = value;
			return 0;
		}
		return request_bad(err, "/id", "id must be a string, an integer or null");
	}
	if (!strcmp(key, "fds")) {
		if (json_is_integer(value) && json_integer_value(value) >= 0 &&
		    json_integer_value(value) <= FRAME_FDS_MAX) {
			r->nfds = json_integer_value(value);
			return 0;
		}
		return request_bad(err, "/fds", "fds must be a small count");
	}
	snprintf(field, sizeof(field), "/%.64s", key);
	request_bad(err, field, "unknown member of a request");
	return -EINVAL;
}

static int request_read(struct request *r, json_t *json, struct api_error *err)
{
	const char *key;
	json_t *value;
	int ret;

	memset(r, 0, sizeof(*r));
	if (!json_is_object(json))
		return request_bad(err, "", "a request must be an object");
	/* First the id, so that what else is wrong can be answered with it. */
	value = json_object_get(json, "id");
	if (value) {
		ret = request_member(r, "id", value, err);
		if (ret)
			return ret;
	}
	json_object_foreach(json, key, value) {
		ret = request_member(r, key, value, err);
		if (ret)
			return ret;
	}
	if (!json_object_get(json, "jsonrpc"))
		return request_bad(err, "/jsonrpc", "jsonrpc is missing");
	if (!r->method)
		return request_bad(err, "/method", "method is missing");
	return 0;
}

/* The row of a request that this session may call, or NULL with @err. */
static const struct api_method *request_authorise(struct api_session *session,
						  const struct request *r, struct api_error *err)
{
	const struct api_method *method = api_table_find(session->table, r->method);

	if (!method) {
		api_error_set(err, API_E_METHOD_NOT_FOUND, "there is no method %.64s", r->method);
		api_error_hint(err, "rpc.discover lists the methods");
		return NULL;
	}
	if (method->privilege > session->privilege) {
		api_error_set(err, API_E_PERMISSION_DENIED, "%s needs the read-write socket",
			      method->name);
		return NULL;
	}
	if (session->ncalls >= API_CALLS_MAX) {
		api_error_set(err, API_E_RESOURCE_EXHAUSTED,
			      "the connection has %u calls in progress", session->ncalls);
		return NULL;
	}
	if (r->nfds && !(method->flags & API_TAKES_FDS)) {
		api_error_set(err, API_E_INVALID_REQUEST, "%s takes no descriptors", method->name);
		api_error_field(err, "/fds");
		return NULL;
	}
	return method;
}

static int call_decode(struct api_call *call, struct api_error *err)
{
	const struct schema *schema = call->method->params;

	if (json_is_array(call->params) && json_array_size(call->params) == 0) {
		json_decref(call->params);
		call->params = json_object();
	}
	if (!json_is_object(call->params)) {
		api_error_set(err, API_E_INVALID_PARAMS, "params must be an object of named values");
		return -EINVAL;
	}
	return schema_decode(schema ? schema : &schema_empty, call->params, call->args, "",
			     API_E_INVALID_PARAMS, err);
}

static struct api_call *call_new(struct api_session *session, const struct api_method *method,
				 const struct request *r)
{
	/* The decoded struct follows the call, aligned as malloc would. */
	size_t head = (sizeof(struct api_call) + 15) & ~(size_t)15;
	struct api_call *call = calloc(1, head + method->args_size);

	if (!call)
		return NULL;
	call->params = r->params ? json_incref(r->params) : json_object();
	if (!call->params) {
		free(call);
		return NULL;
	}
	call->args = (char *)call + head;
	call->session = session;
	call->table = session->table;
	call->method = method;
	call->id = json_incref(r->id);
	LIST_INSERT_HEAD(&session->calls, call, link);
	session->ncalls++;
	return call;
}

/* Answer a request that did not become a call. */
static void request_refuse(struct api_session *session, struct api_batch *batch,
			   const struct request *r, bool is_request, const struct api_error *err)
{
	json_t *answer;

	session->table->failures++;
	/* A well-formed notification is never answered, not even with an error. */
	if (is_request && !r->id)
		return;
	answer = answer_error(r->id, err);
	if (batch)
		batch_answer(batch, answer, NULL, 0);
	else
		answer_send(session, answer, NULL, 0);
}

static void request_run(struct api_session *session, json_t *json, struct frame_in *in,
			struct api_batch *batch)
{
	const struct api_method *method;
	int fds[FRAME_FDS_MAX];
	struct api_error err;
	struct api_call *call;
	struct request r;

	session->table->calls++;
	if (request_read(&r, json, &err)) {
		request_refuse(session, batch, &r, false, &err);
		return;
	}
	/* What the request announced is taken off the queue even if it is refused. */
	if (r.nfds && (!in || frame_in_take_fds(in, r.nfds, fds))) {
		request_bad(&err, "/fds", "fewer descriptors arrived than announced");
		request_refuse(session, batch, &r, false, &err);
		return;
	}
	method = request_authorise(session, &r, &err);
	call = method ? call_new(session, method, &r) : NULL;
	if (!call) {
		if (method)
			api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "out of memory");
		close_fds(fds, r.nfds);
		request_refuse(session, batch, &r, true, &err);
		return;
	}
	memcpy(call->fds, fds, r.nfds * sizeof(int));
	call->nfds = r.nfds;
	call->batch = batch;
	if (batch)
		batch->pending++;
	if (call_decode(call, &err)) {
		api_fail(call, &err);
		return;
	}
	if (method->flags & API_FORWARD && session->table->forward)
		session->table->forward(call, call->args);
	else
		method->handler(call, call->args);
}

static void batch_run(struct api_session *session, json_t *json, struct frame_in *in)
{
	struct api_error err;
	struct api_batch *batch;
	json_t *item;
	size_t i;

	if (json_array_size(json) == 0 || json_array_size(json) > API_BATCH_MAX) {
		api_error_set(&err, API_E_INVALID_REQUEST, "a batch has 1 to %d requests",
			      API_BATCH_MAX);
		api_send_error(session, &err);
		return;
	}
	batch = calloc(1, sizeof(*batch));
	if (!batch || !(batch->answers = json_array())) {
		free(batch);
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "out of memory");
		api_send_error(session, &err);
		return;
	}
	batch->pending = 1;
	json_array_foreach(json, i, item)
		request_run(session, item, in, batch);
	batch_put(session, batch);
}

int api_dispatch_json(struct api_session *session, json_t *request, struct frame_in *in)
{
	if (json_is_array(request))
		batch_run(session, request, in);
	else
		request_run(session, request, in, NULL);
	return 0;
}

int api_dispatch_line(struct api_session *session, const char *text, size_t len,
		      struct frame_in *in)
{
	struct api_error err;
	json_t *json;

	json = frame_parse(text, len, &err);
	if (!json) {
		api_send_error(session, &err);
		/* What cannot be parsed may have announced descriptors: their queue is lost. */
		return in && in->nfds ? -EPROTO : 0;
	}
	api_dispatch_json(session, json, in);
	json_decref(json);
	return 0;
}
