/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls to another daemon. Connecting, ssh and a peer that does not answer may block,
 * so each op has a thread of its own, which touches nothing but the op; the loop
 * hears of its end. JSON goes in and out as text.
 */
#include "daemon/migrate.h"

#include "api/client.h"
#include "api/client_internal.h"
#include "daemon/hvd.h"
#include "daemon/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PREPARE_MS   60000
#define CALL_MS	     10000
#define SETTLE_TRIES 9
#define PROBE_SMALL  (64 << 10)
#define PROBE_SEC    2	/* a second, larger try would take at most about so long */

static bool op_cancelled(struct peer_op *op)
{
	return __atomic_load_n(&op->cancel, __ATOMIC_RELAXED);
}

static int op_fail(struct peer_op *op, enum api_err id, const char *what, int ret)
{
	api_error_set(&op->err, id, "%s: %s: %s", op->uri, what, strerror(-ret));
	op->failed = true;
	return ret;
}

/* ---- calls ------------------------------------------------------------------------ */

static struct hvd_client *peer_open(struct peer_op *op)
{
	struct hvd_client *client;
	int ret = client_open_batch(op->uri, &client);

	if (!ret)
		return client;
	op_fail(op, API_E_PEER_LOST, "cannot connect", ret);
	return NULL;
}

/* The reply, or NULL with op->err. */
static struct hvd_reply *peer_call(struct peer_op *op, struct hvd_client *client,
				   const char *method, json_t *params, int timeout_ms)
{
	struct hvd_reply *reply = NULL;
	char message[sizeof(op->err.message)];
	int ret = hvd_client_call(client, method, params, timeout_ms, &reply);

	if (!ret)
		return reply;
	if (!reply) {
		op_fail(op, API_E_PEER_LOST, method, ret);
		return NULL;
	}
	op->failed = true;
	api_error_from_json(&op->err, hvd_reply_error(reply));
	snprintf(message, sizeof(message), "%s", op->err.message);
	snprintf(op->err.message, sizeof(op->err.message), "the destination: %.200s", message);
	hvd_reply_free(reply);
	return NULL;
}

/* ssh ends with its input; until then somebody has to wait for it. */
static void *reap_main(void *arg)
{
	pid_t child = (pid_t)(intptr_t)arg;

	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return NULL;
}

static void reap_later(pid_t child)
{
	pthread_t thread;

	if (child && !pthread_create(&thread, NULL, reap_main, (void *)(intptr_t)child))
		pthread_detach(thread);
}

/* A connection of its own that becomes one of the workers'. */
static int peer_stream(struct peer_op *op, bool resolve)
{
	struct hvd_client *client = peer_open(op);
	struct hvd_reply *reply;
	pid_t child;
	int fd, ret;

	if (!client)
		return -EPIPE;
	reply = peer_call(op, client, "domain.migrate_stream",
			  json_pack("{s:s,s:b}", "id", op->id, "resolve", resolve), CALL_MS);
	if (!reply) {
		hvd_client_close(client);
		return -EPIPE;
	}
	hvd_reply_free(reply);
	ret = client_take_stream(client, &fd, &child);
	if (ret)
		return op_fail(op, API_E_PEER_LOST, "the connection", ret);
	reap_later(child);
	op->fds[op->nfds++] = fd;
	return 0;
}

/* What it has made for us is of no use any more. */
static bool peer_discard(const struct peer_op *op, struct hvd_client *client)
{
	struct hvd_reply *reply = NULL;
	json_t *params = json_pack("{s:s,s:s,s:b}", "domain", op->domain, "id", op->id, "discard", 1);
	int ret = hvd_client_call(client, "domain.migrate_resolve", params, CALL_MS, &reply);

	if (reply)
		hvd_reply_free(reply);
	return !ret;
}

/* ---- prepare ------------------------------------------------------------------------- */

static void run_prepare(struct peer_op *op)
{
	struct hvd_client *client = peer_open(op);
	struct hvd_reply *reply;

	if (!client)
		return;
	reply = peer_call(op, client, "domain.migrate_incoming", json_loads(op->request, 0, NULL),
			  PREPARE_MS);
	hvd_reply_free(reply);
	while (reply && !op->failed && !op_cancelled(op) && op->nfds < op->streams)
		peer_stream(op, false);
	if (op_cancelled(op) && !op->failed) {
		api_error_set(&op->err, API_E_JOB_ABORTED, "the migration was aborted");
		op->failed = true;
	}
	if (reply && op->failed)
		peer_discard(op, client);
	hvd_client_close(client);
}

/* ---- settle ----------------------------------------------------------------------------- */

static enum migration_status status_by_name(const char *name)
{
	int i;

	for (i = 0; name && migration_status_names[i]; i++)
		if (!strcmp(migration_status_names[i], name))
			return i;
	return MIGRATION_UNKNOWN;
}

/* True: it is as clear as it will be. */
static bool settle_once(struct peer_op *op)
{
	struct hvd_client *client = peer_open(op);
	struct hvd_reply *reply;
	bool done = true;

	if (!client)
		return false;
	reply = peer_call(op, client, "domain.migrate_status", json_pack("{s:s}", "id", op->id), CALL_MS);
	if (!reply) {
		hvd_client_close(client);
		return false;
	}
	op->found = status_by_name(json_string_value(json_object_get(hvd_reply_result(reply), "status")));
	hvd_reply_free(reply);
	if (op->found == MIGRATION_SETUP) {
		/* It waits for connections that will not come. */
		done = peer_discard(op, client);
		if (done)
			op->found = MIGRATION_FAILED;
	} else if (op->found == MIGRATION_ACTIVE) {
		done = false;	/* it has not noticed yet */
	} else if (op->found == MIGRATION_IN_DOUBT && op->source_gone) {
		reply = peer_call(op, client, "domain.migrate_resolve",
				  json_pack("{s:s,s:s,s:b}", "domain", op->domain, "id", op->id,
					    "peer_gone", 1), CALL_MS);
		done = reply != NULL;
		if (reply)
			op->found = MIGRATION_COMPLETED;
		hvd_reply_free(reply);
	} else if (op->found == MIGRATION_IN_DOUBT) {
		done = !peer_stream(op, true);
	}
	hvd_client_close(client);
	return done;
}

static void run_settle(struct peer_op *op)
{
	struct timespec pause = { .tv_nsec = 20000000 };
	int i;

	for (i = 0; i < SETTLE_TRIES && !op_cancelled(op); i++) {
		op->failed = false;
		if (settle_once(op))
			return;
		nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
		pause.tv_sec += pause.tv_nsec / 1000000000;
		pause.tv_nsec %= 1000000000;
	}
	if (!op->failed)
		api_error_set(&op->err, API_E_TIMEOUT, "%s: the destination has not come to an end",
			      op->uri);
	op->failed = true;
}

/* ---- plan ---------------------------------------------------------------------------------- */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000) + ts.tv_nsec / 1000;
}

/* Send and wait for the answering byte; 0 or -errno. */
static int probe_send(int fd, unsigned int bytes)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	char *chunk = calloc(1, PROBE_SMALL), byte;
	ssize_t n = chunk ? 1 : -1;

	while (bytes && n > 0) {
		n = poll(&p, 1, CALL_MS);
		if (n > 0)
			n = send(fd, chunk, bytes < PROBE_SMALL ? bytes : PROBE_SMALL, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			n = 1;
		else if (n > 0)
			bytes -= n;
	}
	free(chunk);
	p.events = POLLIN;
	if (bytes || poll(&p, 1, CALL_MS) != 1 || read(fd, &byte, 1) != 1)
		return -EPIPE;
	return 0;
}

/* Bytes a second over a connection of its own; 0: it cannot be told. */
static double probe(struct peer_op *op, unsigned int bytes)
{
	struct hvd_client *client = peer_open(op);
	struct hvd_reply *reply;
	uint64_t began = 0;
	pid_t child = 0;
	int fd = -1, ret;

	if (!client)
		return 0;
	reply = peer_call(op, client, "domain.migrate_probe", json_pack("{s:i}", "bytes", (int)bytes),
			  CALL_MS);
	if (!reply) {
		hvd_client_close(client);
		return 0;
	}
	hvd_reply_free(reply);
	ret = client_take_stream(client, &fd, &child);
	if (ret)
		return 0;
	began = now_us();
	ret = probe_send(fd, bytes);
	close(fd);
	reap_later(child);
	return ret ? 0 : bytes * 1e6 / (now_us() - began + 1);
}

static void run_plan(struct peer_op *op)
{
	struct hvd_client *client = peer_open(op);
	struct hvd_reply *reply;
	double rate, more;

	if (!client)
		return;
	reply = peer_call(op, client, "domain.migrate_check", json_loads(op->request, 0, NULL),
			  CALL_MS);
	hvd_client_close(client);
	if (!reply)
		return;
	op->answer = json_dumps(hvd_reply_result(reply), JSON_COMPACT);
	hvd_reply_free(reply);
	rate = probe(op, PROBE_SMALL);
	op->probe_bytes_per_s = rate;
	/* So few bytes show the way's delay rather than its speed. */
	more = rate * PROBE_SEC < MIGRATE_PROBE_MAX ? rate * PROBE_SEC : MIGRATE_PROBE_MAX;
	if (more > PROBE_SMALL)
		rate = probe(op, more);
	if (rate > op->probe_bytes_per_s)
		op->probe_bytes_per_s = rate;
}

/* ---- threads ---------------------------------------------------------------------------------- */

static void op_free(struct peer_op *op)
{
	while (op->nfds > 0)
		close(op->fds[--op->nfds]);
	if (op->event)
		event_free(op->event);
	if (op->wake_fd >= 0)
		close(op->wake_fd);
	free(op->request);
	free(op->answer);
	free(op);
}

static void *op_main(void *arg)
{
	struct peer_op *op = arg;
	const uint64_t one = 1;

	if (op->kind == PEER_PREPARE)
		run_prepare(op);
	else if (op->kind == PEER_SETTLE)
		run_settle(op);
	else
		run_plan(op);
	/* From here on the op is the loop's. */
	if (write(op->wake_fd, &one, sizeof(one)) < 0)
		abort();
	return NULL;
}

static void op_wake(evutil_socket_t fd, short what, void *arg)
{
	struct peer_op *op = arg;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	op->done(op);
	op_free(op);
}

int peer_op_start(struct hvd *hvd, struct peer_op *op)
{
	pthread_t thread;
	int ret;

	op->hvd = hvd;
	op->found = MIGRATION_UNKNOWN;
	op->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	op->event = op->wake_fd < 0 ? NULL : event_new(hvd->base, op->wake_fd, EV_READ, op_wake, op);
	if (!op->event || event_add(op->event, NULL)) {
		op_free(op);
		return -ENOMEM;
	}
	ret = -pthread_create(&thread, NULL, op_main, op);
	if (ret) {
		op_free(op);
		return ret;
	}
	pthread_detach(thread);
	return 0;
}
