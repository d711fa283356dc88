/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source's side of migrations: domain.migrate, its job, and settling what ended
 * unclear.
 */
#include "daemon/migrate.h"

#include "daemon/domain.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/worker_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

int migrate_uri_check(const char *uri, struct api_error *err)
{
	if (strlen(uri) < MIGRATION_URI_MAX &&
	    (!strncmp(uri, "unix:/", 6) || !strncmp(uri, "ssh://", 6) ||
	     !strncmp(uri, "tcp:127.", 8) || !strncmp(uri, "tcp:[::1]:", 10) ||
	     !strncmp(uri, "tcp:localhost:", 14)))
		return 0;
	if (!strncmp(uri, "tcp:", 4)) {
		api_error_set(err, API_E_UNSUPPORTED,
			      "tcp: reaches loopback addresses only, as long as hvd has no TLS");
		api_error_hint(err, "use ssh://HOST");
	} else {
		api_error_set(err, API_E_INVALID_PARAMS,
			      "a destination is unix:PATH, tcp:HOST:PORT or ssh://HOST");
	}
	api_error_field(err, "/uri");
	return -EINVAL;
}

/* ---- the end of a migration ------------------------------------------------------------ */

static void resolve_answer(struct migration *m, const struct api_error *err)
{
	struct api_call *call = m->resolve;

	if (!call)
		return;
	m->resolve = NULL;
	call->cancel = NULL;
	if (err)
		api_fail(call, err);
	else
		api_reply(call, migration_summary(m));
}

/* It is as clear as it will be: the job ends, if it still runs, and who asked is answered. */
static void out_end(struct migration *m, const struct api_error *err)
{
	struct job *job = m->job;
	struct api_error failed;

	m->job = NULL;
	if (err) {
		failed = *err;
		if (failed.id != API_E_JOB_ABORTED)
			failed.id = API_E_MIGRATION_FAILED;
		api_error_state(&failed, migration_status_names[m->status]);
	}
	if (job)
		job_end(m->hvd, job, !err ? JOB_COMPLETED :
				     err->id == API_E_JOB_ABORTED ? JOB_ABORTED : JOB_FAILED,
			err ? NULL : json_incref(job->statistics), err ? &failed : NULL);
	resolve_answer(m, err ? &failed : NULL);
}

static void out_fail(struct migration *m, const struct api_error *err)
{
	migration_set_status(m, err->id == API_E_JOB_ABORTED ? MIGRATION_CANCELLED : MIGRATION_FAILED,
			     err->message);
	out_end(m, err);
}

/* ---- settling ------------------------------------------------------------------------------ */

static struct migration *migration_of(struct worker *worker)
{
	struct domain *dom = worker_domain(worker);

	return dom ? dom->migration : NULL;
}

/* Of worker.migrate_resolve, _gone and _moved; worker.migration came before it. */
static void settled_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			   unsigned int nfds, const struct api_error *err)
{
	struct migration *m = migration_of(worker);
	struct api_error stays;

	(void)data;
	(void)result;
	api_close_fds(fds, nfds);
	if (!m || m->incoming || (err && err->id == API_E_PEER_LOST))
		return;	/* a lost worker is settled anew */
	if (err) {
		out_end(m, err);
	} else if (m->status == MIGRATION_COMPLETED) {
		out_end(m, NULL);
	} else {
		api_error_set(&stays, API_E_MIGRATION_FAILED,
			      "the destination has given the guest up; it goes on here");
		migration_set_status(m, MIGRATION_FAILED, stays.message);
		/* Who asked for it to be settled has what it asked for. */
		resolve_answer(m, NULL);
		out_end(m, &stays);
	}
}

static void settle_fails(struct migration *m, const struct api_error *why)
{
	struct api_error err = *why;

	api_error_hint(&err, "hvctl migrate-resolve %s, or with --peer-gone when the destination "
			     "does not run the guest and never will", m->domain);
	out_end(m, &err);
}

static void settle_with_worker(struct migration *m, struct domain *dom, struct peer_op *op)
{
	const char *method = NULL;
	struct api_error err;
	unsigned int nfds = 0;

	if (op->found == MIGRATION_COMPLETED) {
		method = "worker.migrate_moved";
		migration_set_status(m, MIGRATION_COMPLETED, NULL);
	} else if (op->found == MIGRATION_IN_DOUBT && op->nfds) {
		method = "worker.migrate_resolve";
		nfds = 1;
		op->nfds = 0;
	} else if (op->found == MIGRATION_FAILED || op->found == MIGRATION_CANCELLED ||
		   op->found == MIGRATION_DIED) {
		method = "worker.migrate_gone";
	}
	if (!method) {
		api_error_set(&err, API_E_MIGRATION_FAILED,
			      "the destination does not know of this migration any more");
		settle_fails(m, &err);
	} else if (worker_request(dom->worker, method, json_object(), op->fds, nfds, settled_answer,
				  NULL)) {
		api_error_set(&err, API_E_PEER_LOST, "the domain's worker is gone");
		settle_fails(m, &err);
	}
}

/* Our worker is dead: the guest lives on there, or nowhere. */
static void settle_without_worker(struct migration *m, struct domain *dom,
				  const struct peer_op *op)
{
	struct api_error err;

	if (op->failed) {
		/* It may run there: it does not start here before somebody knows. */
		api_error_set(&err, API_E_MIGRATION_FAILED, "the source's worker died; %s",
			      op->err.message);
		migration_set_status(m, MIGRATION_UNCONFIRMED, err.message);
		settle_fails(m, &err);
		return;
	}
	if (op->found != MIGRATION_COMPLETED) {
		api_error_set(&err, API_E_MIGRATION_FAILED,
			      "the source's worker died, and the destination has not got the guest");
		migration_set_status(m, MIGRATION_FAILED, err.message);
		resolve_answer(m, NULL);
		out_end(m, &err);
		return;
	}
	migration_set_status(m, MIGRATION_COMPLETED, NULL);
	if (dom && dom->state == DOMAIN_CRASHED && !dom->worker && !dom->busy) {
		domain_state_set(m->hvd, dom, DOMAIN_SHUTOFF, REASON_MIGRATED,
				 "the worker died in the hand-over; the destination has the guest");
		domain_settle(m->hvd, dom);
	}
	out_end(m, NULL);
}

static void settle_done(struct peer_op *op)
{
	struct migration *m = op->data;
	struct domain *dom = migration_domain(m);

	m->op = NULL;
	if (op->source_gone) {
		settle_without_worker(m, dom, op);
	} else if (!dom || !dom->worker) {
		/* It died meanwhile. */
		migrate_settle(m);
	} else if (m->status != MIGRATION_UNCONFIRMED) {
		/* The guest is ours: a destination in doubt is told to forget it. */
		if (op->nfds) {
			op->nfds = 0;
			worker_request(dom->worker, "worker.migrate_resolve", json_object(), op->fds, 1,
				       settled_answer, NULL);
		}
		resolve_answer(m, NULL);
	} else if (op->failed) {
		settle_fails(m, &op->err);
	} else {
		settle_with_worker(m, dom, op);
	}
}

void migrate_settle(struct migration *m)
{
	struct peer_op *op = m->op ? NULL : calloc(1, sizeof(*op));
	struct domain *dom = migration_domain(m);
	struct api_error err;

	if (!op)
		return;
	op->kind = PEER_SETTLE;
	op->done = settle_done;
	op->data = m;
	op->source_gone = !dom || !dom->worker;
	snprintf(op->id, sizeof(op->id), "%s", m->id);
	snprintf(op->uri, sizeof(op->uri), "%s", m->peer);
	snprintf(op->domain, sizeof(op->domain), "%s", m->domain);
	m->op = op;
	if (peer_op_start(m->hvd, op)) {
		m->op = NULL;
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "no thread to ask the destination with");
		settle_fails(m, &err);
	}
}

/* ---- the job's end -------------------------------------------------------------------------- */

static bool out_ended(struct hvd *hvd, struct domain *dom, struct job *job,
		      const struct worker_job_report *report, const struct api_error *err)
{
	struct migration *m = dom->migration;
	struct api_error ended;

	(void)hvd;
	if (!m || m->incoming)
		return false;
	m->job = job;
	if (!err) {
		/* A hvd that was adopting the worker just then may have missed worker.migration. */
		migration_completed(m, dom);
		/* Whoever waits for it may send the guest back at once: not before we have let it go. */
		if (dom->worker)
			return true;
		m->job = NULL;
		return false;
	}
	if (m->status == MIGRATION_UNCONFIRMED || (!report && !dom->worker && !dom->destroying &&
						   dom->state != DOMAIN_SHUTDOWN)) {
		migrate_settle(m);
		return true;
	}
	if (report && dom->worker) {
		/* worker.migration has said it already. */
		m->job = NULL;
		if (m->switched)
			migrate_settle(m);
		return false;
	}
	if (!report && dom->state == DOMAIN_SHUTDOWN) {
		api_error_set(&ended, API_E_MIGRATION_FAILED, "the guest has ended");
		err = &ended;
	}
	out_fail(m, err);
	return true;
}

void migration_at_rest(struct domain *dom)
{
	struct migration *m = dom->migration;

	if (m && !m->incoming && m->job && m->status == MIGRATION_COMPLETED)
		out_end(m, NULL);
}

const struct worker_job_kind migrate_job_kind = { .name = "migrate", .unit = "bytes",
						  .ended = out_ended };

/* ---- the beginning ----------------------------------------------------------------------------- */

static void out_abort(struct job *job)
{
	struct migration *m = job->data;

	m->aborted = true;
	if (m->op)
		__atomic_store_n(&m->op->cancel, true, __ATOMIC_RELAXED);
}

/* The connections stand: the worker goes on with them. */
static void out_send(struct migration *m, struct domain *dom, struct peer_op *op)
{
	json_t *args = m->args;
	struct worker_job_request r = {
		.kind = &migrate_job_kind, .method = "worker.migrate", .fds = op->fds, .nfds = op->nfds,
		.params = json_pack("{s:s,s:s,s:O,s:O*,s:O*,s:O*}", "id", m->id, "peer", m->peer, "params",
				    args, "live",
				    json_object_get(args, "live"), "verify",
				    json_object_get(args, "verify"), "stall_ms",
				    json_object_get(args, "stall_ms")),
	};
	struct api_error err;

	op->nfds = 0;
	m->status = MIGRATION_ACTIVE;
	migrate_add_fault(r.params, "source");
	if (!worker_job_send(m->hvd, dom, m->job, &r)) {
		worker_record_update(dom->worker);
		json_decref(m->args);
		m->args = NULL;
		return;
	}
	api_error_set(&err, API_E_PEER_LOST, "the domain's worker is gone");
	out_fail(m, &err);
}

static void prepare_done(struct peer_op *op)
{
	struct migration *m = op->data;
	struct domain *dom = migration_domain(m);
	struct api_error err;

	m->op = NULL;
	if (op->failed) {
		out_fail(m, &op->err);
		return;
	}
	if (m->aborted || !dom || !dom->worker || !domain_state_has_machine(dom->state)) {
		api_error_set(&err, m->aborted ? API_E_JOB_ABORTED : API_E_DOMAIN_WRONG_STATE, "%s",
			      m->aborted ? "the migration was aborted" : "the guest has ended");
		out_fail(m, &err);
		return;
	}
	out_send(m, dom, op);
}

static int id_make(char *id)
{
	unsigned char bytes[HV_MIGRATE_ID_SIZE];
	int i;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -errno;
	for (i = 0; i < HV_MIGRATE_ID_SIZE; i++)
		sprintf(id + 2 * i, "%02x", bytes[i]);
	return 0;
}

/* The definition for the destination: what runs, or what the call gave for the same guest. */
static json_t *out_config(struct api_call *call, struct domain *dom, json_t *given)
{
	json_t *config = json_copy(given ? given : dom->live);
	const char *name = json_string_value(json_object_get(config, "name"));
	const char *uuid = json_string_value(json_object_get(config, "uuid"));
	struct api_error err;

	if (config && name && !strcmp(name, dom->name) && (!uuid || !strcmp(uuid, dom->uuid))) {
		json_object_set_new(config, "uuid", json_string(dom->uuid));
		return config;
	}
	api_error_set(&err, API_E_CONFIG_INVALID, "the destination's definition has to be of %s", dom->name);
	api_error_field(&err, name && !strcmp(name, dom->name) ? "/config/uuid" : "/config/name");
	api_fail(call, &err);
	json_decref(config);
	return NULL;
}

static bool out_may_begin(struct api_call *call, struct domain *dom)
{
	const struct job *other = job_excluding(hvd_of(call), dom->name);

	if (other) {
		api_fail_text(call, API_E_JOB_CONFLICT, "job %lld, %s, is not over",
			      (long long)other->id, other->kind);
		return false;
	}
	if (dom->worker && worker_connected(dom->worker) && dom->reason != REASON_MIGRATION &&
	    dom->reason != REASON_PRESERVED &&
	    (dom->state == DOMAIN_RUNNING || dom->state == DOMAIN_PAUSED) &&
	    !(dom->migration && !migration_over(dom->migration)))
		return true;
	domain_fail_state(call, dom, "only a guest that runs or is paused can be migrated");
	return false;
}

static int out_prepare(struct migration *m, struct domain *dom, bool live)
{
	struct peer_op *op = calloc(1, sizeof(*op));
	char host[65] = "?";
	json_t *request;
	int ret;

	if (!op)
		return -ENOMEM;
	gethostname(host, sizeof(host) - 1);
	op->kind = PEER_PREPARE;
	op->done = prepare_done;
	op->data = m;
	op->streams = m->streams;
	snprintf(op->id, sizeof(op->id), "%s", m->id);
	snprintf(op->uri, sizeof(op->uri), "%s", m->peer);
	snprintf(op->domain, sizeof(op->domain), "%s", m->domain);
	request = json_pack("{s:s,s:O,s:i,s:b,s:b,s:s,s:s,s:I}", "id", m->id, "config", m->config, "streams",
			    (int)m->streams, "persistent", m->persistent, "run",
			    !live && dom->state == DOMAIN_RUNNING, "source", host, "instance",
			    m->hvd->instance, "stall_ms", (json_int_t)m->stall_ms);
	op->request = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!op->request) {
		free(op);
		return -ENOMEM;
	}
	m->op = op;
	ret = peer_op_start(m->hvd, op);
	if (ret)
		m->op = NULL;
	return ret;
}

/* The parameters for the worker: those of domain.migrate_set, and its own. */
static struct migration *out_new(struct hvd *hvd, struct domain *dom, const struct migrate_args *args,
				 json_t *params, json_t *config)
{
	char id[MIGRATION_ID_TEXT];
	struct migration *m;

	m = id_make(id) ? NULL : migration_new(hvd, id, false, dom->name, dom->uuid);
	if (!m)
		return NULL;
	snprintf(m->peer, sizeof(m->peer), "%s", args->uri);
	m->persistent = args->persistent;
	m->undefine = args->undefine_source;
	m->streams = args->streams;
	m->stall_ms = args->stall_ms;
	m->config = json_incref(config);
	m->args = json_incref(params);
	return m;
}

static void out_begin(struct api_call *call, const struct migrate_args *args)
{
	struct hvd *hvd = hvd_of(call);
	struct domain *dom = domain_to_change(call, args->domain);
	struct migration *m = NULL;
	struct api_error err;
	struct job *job;
	json_t *config;

	if (!dom || !out_may_begin(call, dom))
		return;
	if (migrate_uri_check(args->uri, &err)) {
		api_fail(call, &err);
		return;
	}
	config = out_config(call, dom, args->config);
	if (!config)
		return;
	job = job_start(hvd, "migrate", dom->name);
	if (job)
		m = out_new(hvd, dom, args, call->params, config);
	json_decref(config);
	api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "%u jobs run, or no memory", jobs_running(hvd));
	if (m) {
		m->job = job;
		job->data = m;
		job->unit = "bytes";
		job->abort = out_abort;
		if (!out_prepare(m, dom, args->live)) {
			api_reply(call, json_pack("{s:I,s:s}", "job", (json_int_t)job->id, "id", m->id));
			return;
		}
		out_fail(m, &err);
	} else if (job) {
		job_end(hvd, job, JOB_FAILED, NULL, &err);
	}
	api_fail(call, &err);
}

void migrate_set(struct api_call *call, const void *data)
{
	const struct migrate_set_args *args = data;
	struct domain *dom = domain_find(hvd_of(call), args->domain);
	struct migration *m = dom ? dom->migration : NULL;

	if (!m || m->incoming || !m->job || !m->args) {
		call->table->forward(call, args);
	} else if (json_object_update(m->args, call->params)) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
	} else {
		api_reply(call, NULL);
	}
}

/* ---- a guest that has only just come ---- */

/*
 * Its source knows that it runs here, and may have told who sends it on at once, a moment
 * before this side's worker has told us.
 */
#define ONWARD_SEC 2

static struct api_call *onward_take(struct migration *m)
{
	struct api_call *call = m->onward;

	m->onward = NULL;
	if (m->onward_timer)
		event_free(m->onward_timer);
	m->onward_timer = NULL;
	if (call)
		call->cancel = NULL;
	return call;
}

static void onward_go(evutil_socket_t fd, short what, void *arg)
{
	struct api_call *call = onward_take(arg);

	(void)fd;
	(void)what;
	if (call)
		out_begin(call, call->args);
}

static void onward_cancel(struct api_call *call)
{
	onward_take(call->data);
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

void migrate_onward(struct migration *m)
{
	/* Not at once: the job that has ended is still in the table. */
	if (m->onward)
		event_active(m->onward_timer, EV_TIMEOUT, 0);
}

void migrate_onward_drop(struct migration *m)
{
	struct api_call *call = onward_take(m);

	if (call)
		api_fail_text(call, API_E_DOMAIN_WRONG_STATE, "the guest has ended");
}

static bool onward_wait(struct api_call *call, struct migration *m)
{
	static const struct timeval limit = { .tv_sec = ONWARD_SEC };

	m->onward_timer = evtimer_new(m->hvd->base, onward_go, m);
	if (!m->onward_timer || evtimer_add(m->onward_timer, &limit)) {
		onward_take(m);
		return false;
	}
	m->onward = call;
	call->data = m;
	call->cancel = onward_cancel;
	return true;
}

void migrate_out(struct api_call *call, const void *data)
{
	const struct migrate_args *args = data;
	struct domain *dom = domain_find(hvd_of(call), args->domain);
	struct migration *m = dom ? dom->migration : NULL;

	if (!m || !m->incoming || !m->job || m->onward || !onward_wait(call, m))
		out_begin(call, args);
}
