/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests to a worker, answers and reports from it.
 */
#include "daemon/worker_link.h"
#include "daemon/worker_link_internal.h"

#include "daemon/domain.h"
#include "daemon/hvd.h"
#include "daemon/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DISMISS_MS 1000

/* ---- requests --------------------------------------------------------------- */

static int worker_send(struct worker *worker, const char *method, json_t *params, const int *fds,
		       unsigned int nfds, struct worker_pending *p)
{
	json_t *request;
	int ret;

	if (!worker->conn || worker->npending >= WORKER_REQUESTS_MAX) {
		json_decref(params);
		api_close_fds(fds, nfds);
		return worker->conn ? -ENOBUFS : -EPIPE;
	}
	p->id = worker->next_id++;
	request = json_pack("{s:s,s:I,s:s,s:o}", "jsonrpc", "2.0", "id", (json_int_t)p->id,
			    "method", method, "params", params);
	if (nfds)
		json_object_set_new(request, "fds", json_integer(nfds));
	ret = api_conn_send(worker->conn, request, fds, nfds);
	json_decref(request);
	if (ret)
		return ret;
	TAILQ_INSERT_TAIL(&worker->pending, p, link);
	worker->npending++;
	return 0;
}

int worker_request(struct worker *worker, const char *method, json_t *params, const int *fds,
		   unsigned int nfds, worker_answer_fn fn, void *data)
{
	struct worker_pending *p = calloc(1, sizeof(*p));
	int ret;

	if (!p) {
		json_decref(params);
		api_close_fds(fds, nfds);
		return -ENOMEM;
	}
	p->fn = fn;
	p->data = data;
	ret = worker_send(worker, method, params, fds, nfds, p);
	if (ret)
		free(p);
	return ret;
}

void worker_forward(struct worker *worker, struct api_call *call)
{
	struct worker_pending *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	if (p) {
		p->call = call;
		ret = worker_send(worker, call->method->name, json_incref(call->params), call->fds,
				  call->nfds, p);
		/* The descriptors went with the request, or were closed. */
		call->nfds = 0;
	}
	if (!ret)
		return;
	free(p);
	if (ret == -EPIPE)
		api_fail_text(call, API_E_PEER_LOST, "the domain's worker is gone");
	else
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "the domain's worker has %u requests",
			      worker->npending);
}

/* ---- answers ------------------------------------------------------------------ */

static void forward_answer(struct api_call *call, json_t *result, const int *fds,
			   unsigned int nfds, const struct api_error *remote)
{
	struct api_error err;

	if (remote) {
		api_close_fds(fds, nfds);
		err = *remote;
		if (!api_method_has_error(call->method, err.id))
			err.id = API_E_INTERNAL;
		api_fail(call, &err);
		return;
	}
	if (call->method->result ? schema_check(call->method->result, result, API_E_INTERNAL, &err) :
				   !json_is_null(result)) {
		api_close_fds(fds, nfds);
		api_fail_text(call, API_E_INTERNAL, "the worker's answer has not the agreed shape");
		return;
	}
	if (nfds && !(call->method->flags & API_GIVES_FDS)) {
		api_close_fds(fds, nfds);
		nfds = 0;
	}
	api_reply_fds(call, json_is_null(result) ? NULL : json_incref(result), fds, nfds);
}

static void pending_end(struct worker *worker, struct worker_pending *p, json_t *result,
			const int *fds, unsigned int nfds, const struct api_error *err)
{
	TAILQ_REMOVE(&worker->pending, p, link);
	worker->npending--;
	if (p->call)
		forward_answer(p->call, result, fds, nfds, err);
	else
		p->fn(worker, p->data, result, fds, nfds, err);
	free(p);
}

void worker_fail_pending(struct worker *worker)
{
	struct worker_pending *p;
	struct api_error err;

	api_error_set(&err, API_E_PEER_LOST, "the domain's worker is gone");
	while ((p = TAILQ_FIRST(&worker->pending)))
		pending_end(worker, p, NULL, NULL, 0, &err);
}

static struct worker_pending *pending_find(struct worker *worker, const json_t *id)
{
	struct worker_pending *p;

	TAILQ_FOREACH(p, &worker->pending, link)
		if (json_is_integer(id) && p->id == json_integer_value(id))
			return p;
	return NULL;
}

static void worker_answered(struct api_conn *conn, json_t *answer)
{
	json_int_t nfds = json_integer_value(json_object_get(answer, "fds"));
	json_t *error = json_object_get(answer, "error");
	json_t *result = json_object_get(answer, "result");
	struct worker *worker = conn->data;
	struct worker_pending *p;
	int fds[FRAME_FDS_MAX];
	struct api_error err;

	p = pending_find(worker, json_object_get(answer, "id"));
	if (!p || nfds < 0 || nfds > FRAME_FDS_MAX || (!error && !result) ||
	    frame_in_take_fds(&conn->in, nfds, fds)) {
		log_err("domain %s: worker %d does not keep to the protocol",
			worker->dom ? worker->dom->name : "-", (int)worker->pid);
		worker_kill(worker);
		return;
	}
	if (error)
		api_error_from_json(&err, error);
	pending_end(worker, p, result, fds, nfds, error ? &err : NULL);
}

static void worker_closed(struct api_conn *conn)
{
	struct worker *worker = conn->data;

	if (!worker)
		return;
	worker->conn = NULL;
	/* It closes only when it dies; what still lives without a connection is of no use. */
	worker_kill(worker);
	worker_fail_pending(worker);
}

int worker_connect(struct worker *worker, int fd)
{
	worker->conn = api_conn_new(&worker->hvd->workers, fd, API_RW);
	if (!worker->conn) {
		close(fd);
		return -ENOMEM;
	}
	worker->conn->data = worker;
	worker->conn->on_answer = worker_answered;
	worker->conn->on_close = worker_closed;
	return 0;
}

bool worker_connected(const struct worker *worker)
{
	return worker->conn != NULL;
}

struct domain *worker_domain(const struct worker *worker)
{
	return worker && worker->dom && worker->dom->worker == worker ? worker->dom : NULL;
}

struct hvd *worker_hvd(const struct worker *worker)
{
	return worker->hvd;
}

pid_t worker_pid(const struct worker *worker)
{
	return worker->pid;
}

uint64_t worker_cpu_time(const struct worker *worker)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(worker->pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* ---- the end ------------------------------------------------------------------- */

void worker_kill(struct worker *worker)
{
	if (syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0) && errno != ESRCH)
		log_err("cannot kill worker %d: %s", (int)worker->pid, strerror(errno));
}

static void dismiss_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	worker_kill(arg);
}

static void dismiss_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			   unsigned int nfds, const struct api_error *err)
{
	(void)worker;
	(void)data;
	(void)result;
	(void)err;
	api_close_fds(fds, nfds);
}

void worker_dismiss(struct worker *worker)
{
	static const struct timeval limit = { .tv_sec = DISMISS_MS / 1000 };

	if (worker->dismissed)
		return;
	worker->dismissed = true;
	worker->kill_timer = evtimer_new(worker->hvd->base, dismiss_timeout, worker);
	if (!worker->kill_timer || evtimer_add(worker->kill_timer, &limit) ||
	    worker_request(worker, "worker.quit", json_object(), NULL, 0, dismiss_answer, NULL))
		worker_kill(worker);
}

static void worker_disconnect(struct worker *worker)
{
	if (worker->conn) {
		worker->conn->data = NULL;
		worker->conn->on_close = NULL;
		worker->conn->on_answer = NULL;
		api_conn_close(worker->conn);
		worker->conn = NULL;
	}
	worker_fail_pending(worker);
}

void worker_retire(struct worker *worker, unsigned int ms)
{
	const struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	worker_record_drop(worker);
	worker->dom = NULL;
	worker->retired = true;
	LIST_INSERT_HEAD(&worker->hvd->retired, worker, retired_link);
	worker_disconnect(worker);
	if (!worker->kill_timer)
		worker->kill_timer = evtimer_new(worker->hvd->base, dismiss_timeout, worker);
	if (!ms || !worker->kill_timer || evtimer_add(worker->kill_timer, &limit))
		worker_kill(worker);
}

void worker_free(struct worker *worker)
{
	struct hvd *hvd = worker->hvd;

	if (worker->retired)
		LIST_REMOVE(worker, retired_link);
	worker_disconnect(worker);
	if (worker->exit_event)
		event_free(worker->exit_event);
	if (worker->kill_timer)
		event_free(worker->kill_timer);
	if (worker->pidfd >= 0)
		close(worker->pidfd);
	worker_uid_mark(hvd, worker->uid, false);
	free(worker);
}
