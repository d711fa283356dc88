/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client library: calls, answers and events over one stream. How the stream
 * comes about is client_transport.c's knowledge.
 */
#include "api/client.h"
#include "api/client_internal.h"
#include "api/framing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct hvd_reply {
	json_t *answer;
	int fds[FRAME_FDS_MAX];
	unsigned int nfds;
};

struct pending {
	TAILQ_ENTRY(pending) link;
	uint64_t id;
	hvd_reply_fn fn;
	void *data;
};

struct hvd_client {
	struct client_stream stream;
	struct frame_in in;
	struct frame_out out;
	TAILQ_HEAD(, pending) pending;
	uint64_t next_id;
	hvd_event_fn event_fn;
	void *event_data;
	int lost;	/* 0, or why the connection is of no use any more */
};

/* ---- life ----------------------------------------------------------------- */

static int client_new(const char *uri, bool batch, struct hvd_client **out)
{
	struct hvd_client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->stream.batch = batch;
	ret = client_stream_open(&c->stream, uri);
	if (ret) {
		free(c);
		return ret;
	}
	frame_in_init(&c->in);
	frame_out_init(&c->out);
	TAILQ_INIT(&c->pending);
	c->next_id = 1;
	*out = c;
	return 0;
}

EXPORT int hvd_client_open(const char *uri, struct hvd_client **out)
{
	return client_new(uri, false, out);
}

int client_open_batch(const char *uri, struct hvd_client **out)
{
	return client_new(uri, true, out);
}

int client_take_stream(struct hvd_client *client, int *fd, pid_t *child)
{
	if (client->lost || client->out.bytes || client->in.len != client->in.taken) {
		hvd_client_close(client);
		return -EPROTO;
	}
	*fd = client->stream.fd;
	*child = client->stream.child;
	client->stream.fd = -1;
	client->stream.child = 0;
	hvd_client_close(client);
	return 0;
}

EXPORT void hvd_client_close(struct hvd_client *client)
{
	struct pending *p;

	if (!client)
		return;
	while ((p = TAILQ_FIRST(&client->pending))) {
		TAILQ_REMOVE(&client->pending, p, link);
		free(p);
	}
	frame_in_fini(&client->in);
	frame_out_fini(&client->out);
	client_stream_close(&client->stream);
	free(client);
}

EXPORT const char *hvd_client_uri(const struct hvd_client *client)
{
	return client->stream.uri;
}

EXPORT int hvd_client_passes_fds(const struct hvd_client *client)
{
	return client->stream.child == 0;
}

EXPORT int hvd_client_fd(const struct hvd_client *client)
{
	return client->stream.fd;
}

EXPORT short hvd_client_events(const struct hvd_client *client)
{
	return client->out.bytes ? POLLIN | POLLOUT : POLLIN;
}

/* ---- replies -------------------------------------------------------------- */

EXPORT void hvd_reply_free(struct hvd_reply *reply)
{
	unsigned int i;

	if (!reply)
		return;
	for (i = 0; i < reply->nfds; i++)
		if (reply->fds[i] >= 0)
			close(reply->fds[i]);
	json_decref(reply->answer);
	free(reply);
}

EXPORT json_t *hvd_reply_result(const struct hvd_reply *reply)
{
	return json_object_get(reply->answer, "result");
}

EXPORT json_t *hvd_reply_error(const struct hvd_reply *reply)
{
	return json_object_get(reply->answer, "error");
}

EXPORT int hvd_reply_error_code(const struct hvd_reply *reply)
{
	return json_integer_value(json_object_get(hvd_reply_error(reply), "code"));
}

EXPORT const char *hvd_reply_error_message(const struct hvd_reply *reply)
{
	const char *text = json_string_value(json_object_get(hvd_reply_error(reply), "message"));

	return text ? text : "";
}

static const char *reply_data(const struct hvd_reply *reply, const char *key)
{
	const json_t *data = json_object_get(hvd_reply_error(reply), "data");
	const char *text = json_string_value(json_object_get(data, key));

	return text ? text : "";
}

EXPORT const char *hvd_reply_error_name(const struct hvd_reply *reply)
{
	return reply_data(reply, "name");
}

EXPORT const char *hvd_reply_error_field(const struct hvd_reply *reply)
{
	return reply_data(reply, "field");
}

EXPORT const char *hvd_reply_error_state(const struct hvd_reply *reply)
{
	return reply_data(reply, "state");
}

EXPORT const char *hvd_reply_error_hint(const struct hvd_reply *reply)
{
	return reply_data(reply, "hint");
}

EXPORT unsigned int hvd_reply_fd_count(const struct hvd_reply *reply)
{
	return reply->nfds;
}

EXPORT int hvd_reply_take_fd(struct hvd_reply *reply, unsigned int i)
{
	int fd;

	if (i >= reply->nfds || reply->fds[i] < 0)
		return -ENOENT;
	fd = reply->fds[i];
	reply->fds[i] = -1;
	return fd;
}

/* ---- the stream ----------------------------------------------------------- */

/* Give up the connection: every pending call learns it once. */
static int client_lose(struct hvd_client *c, int why)
{
	struct pending *p;

	if (c->lost)
		return c->lost;
	c->lost = why;
	while ((p = TAILQ_FIRST(&c->pending))) {
		TAILQ_REMOVE(&c->pending, p, link);
		p->fn(c, NULL, p->data);
		free(p);
	}
	return why;
}

static struct pending *pending_find(struct hvd_client *c, uint64_t id)
{
	struct pending *p;

	TAILQ_FOREACH(p, &c->pending, link)
		if (p->id == id)
			return p;
	return NULL;
}

static int client_answer(struct hvd_client *c, json_t *answer)
{
	json_t *id = json_object_get(answer, "id");
	json_int_t nfds = json_integer_value(json_object_get(answer, "fds"));
	struct hvd_reply *reply = calloc(1, sizeof(*reply));
	struct pending *p;

	if (!reply)
		return -ENOMEM;
	if (nfds < 0 || nfds > FRAME_FDS_MAX ||
	    (c->stream.child == 0 && frame_in_take_fds(&c->in, nfds, reply->fds))) {
		free(reply);
		return -EPROTO;
	}
	reply->nfds = c->stream.child ? 0 : nfds;
	reply->answer = json_incref(answer);
	/* An error without an id is about the stream: it ends whatever waits longest. */
	p = json_is_integer(id) ? pending_find(c, json_integer_value(id)) :
				  TAILQ_FIRST(&c->pending);
	if (!p) {
		hvd_reply_free(reply);
		return 0;
	}
	TAILQ_REMOVE(&c->pending, p, link);
	p->fn(c, reply, p->data);
	free(p);
	return 0;
}

static int client_line(struct hvd_client *c, const char *text, size_t len)
{
	struct api_error err;
	json_t *json = frame_parse(text, len, &err);
	json_t *params;
	int ret = 0;

	if (!json)
		return -EPROTO;
	if (!json_is_object(json)) {
		ret = -EPROTO;
	} else if (json_object_get(json, "method")) {
		params = json_object_get(json, "params");
		if (c->event_fn && params)
			c->event_fn(c, params, c->event_data);
	} else {
		ret = client_answer(c, json);
	}
	json_decref(json);
	return ret;
}

EXPORT int hvd_client_dispatch(struct hvd_client *client)
{
	const char *text;
	ssize_t n = 0;
	size_t len;
	int ret;

	if (client->lost)
		return client->lost;
	ret = frame_out_flush(&client->out, client->stream.fd);
	if (ret && ret != -EAGAIN && ret != -EPIPE && ret != -ECONNRESET)
		return client_lose(client, ret);
	/* What the peer said before it went is read even when nothing can be sent. */
	n = frame_in_read(&client->in, client->stream.fd);
	while ((ret = frame_in_next(&client->in, &text, &len)) == 1) {
		ret = client_line(client, text, len);
		if (ret)
			break;
	}
	if (ret)
		return client_lose(client, ret == -EMSGSIZE ? -EPROTO : ret);
	if (n == 0 || n == -ECONNRESET)
		return client_lose(client, -EPIPE);
	if (n < 0 && n != -EAGAIN)
		return client_lose(client, n);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

EXPORT int hvd_client_wait(struct hvd_client *client, int timeout_ms)
{
	struct pollfd p = { .fd = client->stream.fd, .events = hvd_client_events(client) };
	int n;

	if (client->lost)
		return client->lost;
	n = poll(&p, 1, timeout_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	return n > 0 ? hvd_client_dispatch(client) : 0;
}

/* ---- calls ---------------------------------------------------------------- */

static int client_request(struct hvd_client *c, const char *method, json_t *params,
			  const int *fds, unsigned int nfds)
{
	json_t *request = json_pack("{s:s,s:I,s:s,s:o*}", "jsonrpc", "2.0", "id",
				    (json_int_t)c->next_id, "method", method, "params", params);
	int own[FRAME_FDS_MAX];
	unsigned int i;
	int ret = 0;

	if (!request)
		return -ENOMEM;
	if (nfds > FRAME_FDS_MAX || (nfds && c->stream.child))
		ret = -EINVAL;
	for (i = 0; !ret && i < nfds; i++) {
		own[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (own[i] < 0) {
			ret = -errno;
			while (i > 0)
				close(own[--i]);
		}
	}
	if (!ret && nfds)
		json_object_set_new(request, "fds", json_integer(nfds));
	if (!ret)
		ret = frame_out_push(&c->out, request, own, nfds);
	json_decref(request);
	return ret;
}

static int client_submit(struct hvd_client *c, const char *method, json_t *params, const int *fds,
			 unsigned int nfds, struct pending *p)
{
	int ret;

	if (c->lost) {
		json_decref(params);
		return c->lost;
	}
	ret = client_request(c, method, params, fds, nfds);
	if (ret)
		return ret;
	p->id = c->next_id++;
	TAILQ_INSERT_TAIL(&c->pending, p, link);
	ret = frame_out_flush(&c->out, c->stream.fd);
	/* A lost peer is noticed by the next read, after its last words. */
	return 0;
}

EXPORT int hvd_client_call_async(struct hvd_client *client, const char *method, json_t *params,
				 hvd_reply_fn fn, void *data, uint64_t *id)
{
	struct pending *p = calloc(1, sizeof(*p));
	int ret;

	if (!p) {
		json_decref(params);
		return -ENOMEM;
	}
	p->fn = fn;
	p->data = data;
	ret = client_submit(client, method, params, NULL, 0, p);
	if (ret) {
		free(p);
		return ret;
	}
	if (id)
		*id = p->id;
	return 0;
}

EXPORT int hvd_client_cancel(struct hvd_client *client, uint64_t id)
{
	struct pending *p = pending_find(client, id);

	if (!p)
		return -ENOENT;
	TAILQ_REMOVE(&client->pending, p, link);
	free(p);
	return 0;
}

struct call_wait {
	struct hvd_reply *reply;
	bool done;
};

static void call_done(struct hvd_client *client, struct hvd_reply *reply, void *data)
{
	struct call_wait *w = data;

	(void)client;
	w->reply = reply;
	w->done = true;
}

static int call_await(struct hvd_client *c, uint64_t id, struct call_wait *w, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;
	int64_t left = -1;
	int ret = 0;

	while (!w->done) {
		if (timeout_ms >= 0) {
			left = end - now_ms();
			if (left < 0)
				left = 0;
		}
		ret = hvd_client_wait(c, left);
		if (!w->done && (ret || left == 0)) {
			hvd_client_cancel(c, id);
			return ret ? ret : -ETIMEDOUT;
		}
	}
	return w->reply ? 0 : c->lost;
}

EXPORT int hvd_client_call_fds(struct hvd_client *client, const char *method, json_t *params,
			       const int *fds, unsigned int nfds, int timeout_ms,
			       struct hvd_reply **reply)
{
	struct pending *p = calloc(1, sizeof(*p));
	struct call_wait w = { .reply = NULL };
	int ret;

	*reply = NULL;
	if (!p) {
		json_decref(params);
		return -ENOMEM;
	}
	p->fn = call_done;
	p->data = &w;
	ret = client_submit(client, method, params, fds, nfds, p);
	if (ret) {
		free(p);
		return ret;
	}
	ret = call_await(client, p->id, &w, timeout_ms);
	if (ret)
		return ret;
	*reply = w.reply;
	if (hvd_reply_error(w.reply))
		return -EREMOTE;
	return hvd_reply_result(w.reply) ? 0 : -EPROTO;
}

EXPORT int hvd_client_call(struct hvd_client *client, const char *method, json_t *params,
			   int timeout_ms, struct hvd_reply **reply)
{
	return hvd_client_call_fds(client, method, params, NULL, 0, timeout_ms, reply);
}

EXPORT void hvd_client_on_event(struct hvd_client *client, hvd_event_fn fn, void *data)
{
	client->event_fn = fn;
	client->event_data = data;
}
