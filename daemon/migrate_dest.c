/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination's side of migrations: a domain for the guest that comes, the
 * connections that become its worker's, and what a source may ask later.
 */
#include "daemon/migrate.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/tasks.h"
#include "daemon/worker_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_SEC 30	/* from migrate_incoming to the last connection */

static struct migration *incoming_of_call(struct api_call *call, const char *id)
{
	struct migration *m = migration_find(hvd_of(call), id);

	if (m && m->incoming)
		return m;
	api_fail_text(call, API_E_MIGRATION_NOT_FOUND, "no migration %s comes in here", id);
	return NULL;
}

void migrate_in_fail(struct migration *m, const char *why)
{
	struct domain *dom = migration_domain(m);

	migration_set_status(m, MIGRATION_FAILED, why);
	if (dom && dom->worker && domain_state_has_machine(dom->state)) {
		domain_state_set(m->hvd, dom, DOMAIN_SHUTDOWN, REASON_FAILED, why);
		worker_kill(dom->worker);
	}
}

/* ---- prepare ------------------------------------------------------------------------- */

static void in_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct migration *m = arg;

	(void)fd;
	(void)what;
	if (m->status == MIGRATION_SETUP)
		migrate_in_fail(m, "the source has not connected in time");
}

static struct migration *in_new(struct hvd *hvd, struct domain *dom, const struct migrate_in_args *args)
{
	static const struct timeval limit = { .tv_sec = CONNECT_SEC };
	struct migration *m = migration_new(hvd, args->id, true, dom->name, dom->uuid);

	if (!m)
		return NULL;
	m->streams = args->streams;
	m->persistent = args->persistent;
	m->run = args->run;
	m->stall_ms = args->stall_ms;
	snprintf(m->peer, sizeof(m->peer), "%s", args->source);
	m->timer = evtimer_new(hvd->base, in_timeout, m);
	if (!m->timer || evtimer_add(m->timer, &limit)) {
		m->status = MIGRATION_FAILED;
		return NULL;
	}
	return m;
}

static bool in_id_valid(struct api_call *call, const struct migrate_in_args *args)
{
	struct hvd *hvd = hvd_of(call);
	struct api_error err;

	if (!strcmp(args->instance, hvd->instance)) {
		api_error_set(&err, API_E_INVALID_PARAMS, "source and destination are the same daemon");
		api_error_field(&err, "/instance");
	} else if (strlen(args->id) != MIGRATION_ID_TEXT - 1 ||
		   strspn(args->id, "0123456789abcdef") != MIGRATION_ID_TEXT - 1 ||
		   migration_find(hvd, args->id)) {
		api_error_set(&err, API_E_INVALID_PARAMS, "32 hexadecimal digits, and new ones");
		api_error_field(&err, "/id");
	} else {
		return true;
	}
	api_fail(call, &err);
	return false;
}

void migrate_in(struct api_call *call, const void *data)
{
	const struct migrate_in_args *args = data;
	struct domain_start how = { .paused = true, .reason = REASON_MIGRATION };
	struct hvd *hvd = hvd_of(call);
	const char *name = json_string_value(json_object_get(args->config, "name"));
	struct domain *dom = name ? domain_find(hvd, name) : NULL;
	bool fresh;

	if (dom && dom->busy) {
		domain_to_change(call, dom->uuid);
		return;
	}
	if (!in_id_valid(call, args))
		return;
	how.config = domain_config_take(call, args->config, &dom);
	if (!how.config)
		return;
	if (dom && (dom->worker || domain_state_active(dom->state))) {
		domain_fail_state(call, dom, "it is here already");
		goto out;
	}
	fresh = !dom;
	if (fresh)
		dom = domain_from_config(call, how.config);
	if (!dom)
		goto out;
	if (fresh)
		dom->config = json_incref(how.config);
	if (in_new(hvd, dom, args)) {
		how.params = json_pack("{s:b}", "incoming", 1);
		domain_start(hvd, call, dom, &how);
		json_decref(how.params);
	} else {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		if (fresh)
			domain_free(hvd, dom);
	}
out:
	json_decref(how.config);
}

/* ---- connections ---------------------------------------------------------------------- */

struct stream_arrival {
	struct hvd *hvd;
	char id[MIGRATION_ID_TEXT];
	bool resolve;
};

static void resolve_passed(struct worker *worker, void *data, json_t *result, const int *fds,
			   unsigned int nfds, const struct api_error *err)
{
	(void)data;
	(void)result;
	api_close_fds(fds, nfds);
	/* What came of it, worker.migration has said. */
	if (err && worker_domain(worker))
		log_info("domain %s: not settled: %s", worker_domain(worker)->name, err->message);
}

static void in_accept(struct migration *m, struct domain *dom)
{
	struct worker_job_request r = {
		.kind = &migrate_incoming_job_kind, .method = "worker.migrate_accept", .fds = m->fds,
		.nfds = m->nfds, .data = m,
		.params = json_pack("{s:s,s:b,s:I}", "id", m->id, "run", m->run, "stall_ms",
				    (json_int_t)m->stall_ms),
	};
	struct api_error err;

	m->ran_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->fds[r.nfds++] = fcntl(m->ran_fd, F_DUPFD_CLOEXEC, 3);
	m->nfds = 0;
	if (m->fds[r.nfds - 1] < 0) {
		json_decref(r.params);
		api_close_fds(m->fds, r.nfds - 1);
		migrate_in_fail(m, "no descriptor is free");
		return;
	}
	m->status = MIGRATION_ACTIVE;
	migrate_add_fault(r.params, "destination");
	evtimer_del(m->timer);
	m->job = worker_job_start(m->hvd, dom, &r, &err);
	if (!m->job)
		migrate_in_fail(m, err.message);
	else
		worker_record_update(dom->worker);
}

static void stream_arrived(void *data, int fd)
{
	struct stream_arrival *arrival = data;
	struct migration *m = migration_find(arrival->hvd, arrival->id);
	struct domain *dom = m ? migration_domain(m) : NULL;

	if (fd >= 0 && dom && dom->worker && arrival->resolve) {
		worker_request(dom->worker, "worker.migrate_resolve", json_object(), &fd, 1,
			       resolve_passed, NULL);
	} else if (fd >= 0 && dom && dom->worker && m->status == MIGRATION_SETUP &&
		   m->nfds < m->streams) {
		m->fds[m->nfds++] = fd;
		if (m->nfds == m->streams)
			in_accept(m, dom);
	} else if (fd >= 0) {
		close(fd);
	}
	free(arrival);
}

void migrate_stream(struct api_call *call, const void *data)
{
	const struct migrate_stream_args *args = data;
	struct migration *m = incoming_of_call(call, args->id);
	struct domain *dom = m ? migration_domain(m) : NULL;
	struct api_conn *conn = (struct api_conn *)call->session;
	struct stream_arrival *arrival;

	if (!m)
		return;
	if (!dom || !dom->worker ||
	    (args->resolve ? m->status != MIGRATION_IN_DOUBT :
			     m->status != MIGRATION_SETUP || dom->state != DOMAIN_PAUSED)) {
		api_fail_text(call, API_E_MIGRATION_NOT_FOUND, "migration %s is %s", m->id,
			      migration_status_names[m->status]);
		return;
	}
	arrival = conn && !call->batch ? calloc(1, sizeof(*arrival)) : NULL;
	if (!arrival) {
		api_fail_text(call, API_E_INVALID_REQUEST, "not in a batch: the connection goes with it");
		return;
	}
	arrival->hvd = hvd_of(call);
	arrival->resolve = args->resolve;
	snprintf(arrival->id, sizeof(arrival->id), "%s", m->id);
	api_reply(call, json_pack("{s:s}", "domain", m->domain));
	api_conn_detach(conn, stream_arrived, arrival);
}

static bool in_ended(struct hvd *hvd, struct domain *dom, struct job *job,
		     const struct worker_job_report *report, const struct api_error *err)
{
	struct migration *m = dom->migration;

	(void)hvd;
	(void)job;
	if (!m || !m->incoming)
		return false;
	m->job = NULL;
	if (!err)
		migration_completed(m, dom);
	if (err && !report && dom->worker)
		migrate_in_fail(m, err->message);
	migrate_onward(m);
	return false;
}

const struct worker_job_kind migrate_incoming_job_kind = { .name = "migrate_incoming",
							   .unit = "bytes", .ended = in_ended };

/* ---- probes ---- */

#define PROBES_MAX	2
#define PROBE_STALL_MS	5000

static unsigned int probes;	/* atomic: their threads count themselves out */

struct probe_arrival {
	int fd;
	int64_t bytes;
};

static void *probe_main(void *arg)
{
	struct probe_arrival *a = arg;
	struct pollfd p = { .fd = a->fd, .events = POLLIN };
	char chunk[16384];
	ssize_t n = 1;

	while (a->bytes > 0 && n > 0) {
		n = poll(&p, 1, PROBE_STALL_MS);
		if (n > 0)
			n = read(a->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EAGAIN)
			n = 1;
		else if (n > 0)
			a->bytes -= n;
	}
	if (a->bytes <= 0)
		send(a->fd, "", 1, MSG_NOSIGNAL);
	close(a->fd);
	free(a);
	__atomic_sub_fetch(&probes, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void probe_arrived(void *data, int fd)
{
	struct probe_arrival *a = data;
	pthread_t thread;

	a->fd = fd;
	if (fd >= 0 && !pthread_create(&thread, NULL, probe_main, a)) {
		pthread_detach(thread);
		return;
	}
	if (fd >= 0)
		close(fd);
	free(a);
	__atomic_sub_fetch(&probes, 1, __ATOMIC_RELAXED);
}

void migrate_probe(struct api_call *call, const void *data)
{
	const struct migrate_probe_args *args = data;
	struct api_conn *conn = (struct api_conn *)call->session;
	struct probe_arrival *a;

	if (__atomic_load_n(&probes, __ATOMIC_RELAXED) >= PROBES_MAX) {
		api_fail_text(call, API_E_JOB_CONFLICT, "others measure at the moment");
		return;
	}
	a = conn && !call->batch ? calloc(1, sizeof(*a)) : NULL;
	if (!a) {
		api_fail_text(call, API_E_INVALID_REQUEST, "not in a batch: the connection goes with it");
		return;
	}
	a->bytes = args->bytes;
	__atomic_add_fetch(&probes, 1, __ATOMIC_RELAXED);
	api_reply(call, NULL);
	api_conn_detach(conn, probe_arrived, a);
}

/* ---- questions ---------------------------------------------------------------------------- */

void migrate_status(struct api_call *call, const void *data)
{
	const struct migrate_status_args *args = data;
	struct migration *m = migration_find(hvd_of(call), args->id);

	if (m && m->incoming)
		api_reply(call, migration_summary(m));
	else
		api_reply(call, json_pack("{s:s,s:s,s:s,s:s}", "id", args->id, "direction", "in", "peer",
					  "", "status", "unknown"));
}

static void gone_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			unsigned int nfds, const struct api_error *err)
{
	struct api_call *call = data;
	struct domain *dom = worker_domain(worker);

	(void)result;
	api_close_fds(fds, nfds);
	if (err)
		api_fail_text(call, API_E_DOMAIN_WRONG_STATE, "%s", err->message);
	else
		api_reply(call, dom && dom->migration ? migration_summary(dom->migration) : NULL);
}

static void resolve_cancel(struct api_call *call)
{
	struct migration *m = call->data;

	m->resolve = NULL;
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

static void resolve_by_asking(struct api_call *call, struct migration *m, struct domain *dom)
{
	struct api_error err;

	if (m->incoming) {
		api_error_set(&err, API_E_DOMAIN_WRONG_STATE,
			      "domain %s waits for its source: settle it there", dom->name);
		api_error_hint(&err, "where the source is lost for ever: hvctl migrate-resolve %s "
				     "--peer-gone", dom->name);
		api_fail(call, &err);
		return;
	}
	if (m->resolve) {
		api_fail_text(call, API_E_JOB_CONFLICT, "it is being settled already");
		return;
	}
	m->resolve = call;
	call->data = m;
	call->cancel = resolve_cancel;
	migrate_settle(m);
}

void migrate_resolve(struct api_call *call, const void *data)
{
	const struct migrate_resolve_args *args = data;
	struct domain *dom = domain_of_call(call, args->domain);
	struct migration *m = dom ? dom->migration : NULL;

	if (!dom)
		return;
	if (!m || (args->id && strcmp(m->id, args->id))) {
		api_fail_text(call, API_E_MIGRATION_NOT_FOUND, "domain %s has no such migration", dom->name);
	} else if (args->discard && m->incoming && m->status == MIGRATION_SETUP) {
		api_reply(call, migration_summary(m));
		migrate_in_fail(m, "the source has given it up");
	} else if (m->status != MIGRATION_UNCONFIRMED && m->status != MIGRATION_IN_DOUBT) {
		domain_fail_state(call, dom, "its migration is in no doubt");
	} else if (!args->peer_gone) {
		resolve_by_asking(call, m, dom);
	} else if (!dom->worker && !m->op) {
		migration_set_status(m, MIGRATION_FAILED, "the worker died, and the destination has gone");
		api_reply(call, migration_summary(m));
	} else if (!dom->worker || worker_request(dom->worker, "worker.migrate_gone", json_object(), NULL,
						  0, gone_answer, call)) {
		api_fail_text(call, API_E_DOMAIN_WRONG_STATE, "its worker is gone");
	}
}
