/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.upgrade.
 *
 *	PREPARE	the old worker tells what another needs: descriptors of memory, history, files
 *	START	the other is started with them, and makes its machine; the guest runs on
 *	SWITCH	the old one is told to give the guest to the peer that it gets: from here on
 *		the two settle it (guest_upgrade.c)
 *	FOUND	of an earlier hvd: as SWITCH, but nobody owes an answer, so both are asked
 *
 * It ends when it is known who has the guest and the other has nothing more to say. What
 * a worker says of that is about its own guest; a wrong word costs that guest, no more.
 */
#include "daemon/upgrade.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/guest_upgrade.h"
#include "daemon/hvd.h"
#include "daemon/jobs.h"
#include "daemon/log.h"
#include "daemon/methods.h"
#include "daemon/worker_link_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 1000	/* for the last words of one that has given the guest away */
#define POLL_MS	  100

enum upgrade_phase { UPGRADE_PREPARE, UPGRADE_START, UPGRADE_SWITCH, UPGRADE_FOUND };

struct upgrade {
	struct hvd *hvd;
	struct domain *dom;
	struct api_call *call;		/* NULL: answered, or nobody asked */
	struct job *job;		/* NULL: FOUND */
	enum upgrade_phase phase;
	struct worker *old, *next;	/* NULL: ended. FOUND: in no order */
	struct worker *owner;		/* as it says itself; NULL: not known */
	bool answered;			/* the old one has answered for the last time */
	int peer, word;			/* for the old one; -1 */
	struct event *timer;
	pid_t old_pid;
	uint64_t begun_us;
	json_t *note;			/* what the new one says of its success */
	bool failed;
	struct api_error err;
};

/* ---- beginning and end ------------------------------------------------------------------ */

static void upgrade_timer(evutil_socket_t fd, short what, void *arg);

static void timer_set(struct upgrade *u, unsigned int ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	evtimer_add(u->timer, &tv);
}

static struct upgrade *upgrade_new(struct hvd *hvd, struct domain *dom)
{
	struct upgrade *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->timer = evtimer_new(hvd->base, upgrade_timer, u);
	if (!u->timer) {
		free(u);
		return NULL;
	}
	u->hvd = hvd;
	u->dom = dom;
	u->old = dom->worker;
	u->old_pid = dom->worker->pid;
	u->peer = u->word = -1;
	u->begun_us = events_mono_us();
	dom->upgrade = u;
	return u;
}

static void upgrade_free(struct upgrade *u)
{
	u->dom->upgrade = NULL;
	event_free(u->timer);
	if (u->peer >= 0)
		close(u->peer);
	if (u->word >= 0)
		close(u->word);
	json_decref(u->note);
	free(u);
}

static void upgrade_fail(struct upgrade *u, enum api_err id, const char *text)
{
	if (u->failed)
		return;
	u->failed = true;
	api_error_set(&u->err, id, "%s", text);
}

static json_t *upgrade_result(struct upgrade *u)
{
	json_t *down = json_object_get(u->note, "downtime_us");
	json_t *bytes = json_object_get(u->note, "state_bytes");
	json_t *result = json_pack("{s:I,s:I,s:I,s:I}", "job", (json_int_t)u->job->id, "pid",
				   (json_int_t)u->dom->worker->pid, "previous_pid",
				   (json_int_t)u->old_pid, "total_us",
				   (json_int_t)(events_mono_us() - u->begun_us));

	if (json_is_integer(down))
		json_object_set(result, "downtime_us", down);
	if (json_is_integer(bytes))
		json_object_set(result, "state_bytes", bytes);
	return result;
}

/* The one end. dom->worker is the domain's worker now, or NULL. */
static void upgrade_end(struct upgrade *u)
{
	struct domain *dom = u->dom;
	struct hvd *hvd = u->hvd;
	json_t *result = NULL;

	if (!u->failed) {
		result = upgrade_result(u);
		log_info("domain %s: worker %d has taken over from %d", dom->name,
			 (int)dom->worker->pid, (int)u->old_pid);
		events_emit(hvd, "domain.upgraded", dom->name, json_deep_copy(result));
	}
	job_end(hvd, u->job, u->failed ? JOB_FAILED : JOB_COMPLETED, json_incref(result),
		u->failed ? &u->err : NULL);
	if (u->call && u->failed) {
		if (!api_method_has_error(u->call->method, u->err.id))
			u->err.id = API_E_UPGRADE_FAILED;
		api_fail(u->call, &u->err);
	} else if (u->call) {
		api_reply(u->call, json_incref(result));
	}
	json_decref(result);
	upgrade_free(u);
	if (dom->worker)
		domain_set_idle(hvd, dom);
}

/* ---- what follows ------------------------------------------------------------------------- */

/* Both have ended, and with them the guest. */
static void upgrade_lost(struct upgrade *u)
{
	struct domain *dom = u->dom;
	struct hvd *hvd = u->hvd;
	char how[sizeof(u->err.message)];

	upgrade_fail(u, API_E_PEER_LOST, "both workers have ended");
	snprintf(how, sizeof(how), "%s", u->err.message);
	dom->worker = NULL;
	if (u->phase == UPGRADE_FOUND)
		upgrade_free(u);
	else
		upgrade_end(u);
	domain_worker_gone(hvd, dom, how);
}

/* One is left of the two that were found: what it has, it says to a new hvd. */
static void found_one(struct upgrade *u, struct worker *last)
{
	struct domain *dom = u->dom;
	struct hvd *hvd = u->hvd;

	upgrade_free(u);
	dom->worker = last;
	if (worker_adopt_state(last)) {
		worker_kill(last);
		domain_set_idle(hvd, dom);
	}
}

static void switch_check(struct upgrade *u)
{
	struct domain *dom = u->dom;

	if (u->owner && u->owner == u->next) {
		if (dom->worker != u->next) {
			dom->worker = u->next;
			domain_worker_upgraded(u->hvd, dom, json_object_get(u->note, "report"));
			timer_set(u, LINGER_MS);
		}
		/* What it answers to earlier calls comes before its last answer. */
		if (u->old && !u->answered)
			return;
		if (u->old)
			worker_retire(u->old, LINGER_MS);
		u->old = NULL;
		upgrade_end(u);
	} else if (u->owner && u->owner == u->old) {
		if (u->next)
			worker_retire(u->next, 0);
		u->next = NULL;
		dom->worker = u->old;
		upgrade_fail(u, API_E_UPGRADE_FAILED, "the new worker has ended");
		upgrade_end(u);
	} else if (!u->old) {
		/* It has the guest, or ends. */
		dom->worker = u->next;
	}
}

void upgrade_check(struct hvd *hvd, struct domain *dom)
{
	struct upgrade *u = dom->upgrade;

	(void)hvd;
	if (!u->old && !u->next)
		upgrade_lost(u);
	else if (u->phase == UPGRADE_FOUND && (!u->old || !u->next))
		found_one(u, u->old ? u->old : u->next);
	else if (u->phase != UPGRADE_FOUND)
		switch_check(u);
}

void upgrade_worker_gone(struct hvd *hvd, struct domain *dom, struct worker *worker,
			 const char *how)
{
	struct upgrade *u = dom->upgrade;
	bool next = worker == u->next;

	(void)hvd;
	log_info("domain %s: worker %d: %s", dom->name, (int)worker->pid, how);
	if (next)
		u->next = NULL;
	else
		u->old = NULL;
	if (u->owner == worker)
		u->owner = NULL;
	if (u->phase == UPGRADE_FOUND) {
		dom->worker = u->old ? u->old : u->next;
		return;
	}
	if (next && u->phase != UPGRADE_SWITCH) {
		/* The old one was never asked. */
		upgrade_fail(u, API_E_UPGRADE_FAILED, "the new worker has ended");
		u->owner = u->old;
	} else if (!next && u->phase != UPGRADE_SWITCH) {
		upgrade_fail(u, API_E_PEER_LOST, how);
		if (u->next)
			worker_kill(u->next);
	}
	dom->worker = u->old ? u->old : u->next;
}

/* Before the old one was asked to give: everything stays as it was. */
static void upgrade_stay(struct upgrade *u, const struct api_error *err)
{
	if (!u->failed)
		u->err = *err;
	u->failed = true;
	u->owner = u->old;
	upgrade_check(u->hvd, u->dom);
}

void upgrade_destroy(struct domain *dom)
{
	struct upgrade *u = dom->upgrade;

	upgrade_fail(u, API_E_UPGRADE_FAILED, "the domain was destroyed");
	if (u->next)
		worker_kill(u->next);
	if (u->old)
		worker_kill(u->old);
}

/* ---- the way of an upgrade ------------------------------------------------------------------- */

/* Of an answer: the upgrade that it belongs to, NULL: that is over. */
static struct upgrade *upgrade_of(struct worker *worker, enum upgrade_phase phase,
				  const struct api_error *err)
{
	struct upgrade *u = worker->dom ? worker->dom->upgrade : NULL;

	/* The end of the process says more than that there is no answer. */
	return u && u->phase == phase && !(err && err->id == API_E_PEER_LOST) ? u : NULL;
}

static void give_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			unsigned int nfds, const struct api_error *err)
{
	struct upgrade *u = upgrade_of(worker, UPGRADE_SWITCH, err);

	(void)data;
	(void)result;
	api_close_fds(fds, nfds);
	if (!u || worker != u->old)
		return;
	u->answered = true;
	if (err) {
		if (!u->failed)
			u->err = *err;
		u->failed = true;
		u->owner = u->old;
	}
	upgrade_check(u->hvd, u->dom);
}

/* The new one waits: the old one gets its end of the connection. */
static void next_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			unsigned int nfds, const struct api_error *err)
{
	struct upgrade *u = upgrade_of(worker, UPGRADE_START, err);
	int give[2];

	(void)data;
	(void)result;
	api_close_fds(fds, nfds);
	if (!u || worker != u->next)
		return;
	if (err) {
		upgrade_stay(u, err);
		return;
	}
	evtimer_del(u->timer);
	give[0] = u->word;
	give[1] = u->peer;
	u->word = u->peer = -1;
	u->phase = UPGRADE_SWITCH;
	if (u->old && !worker_request(u->old, "worker.upgrade", json_object(), give, 2, give_answer,
				      NULL))
		return;
	upgrade_fail(u, API_E_PEER_LOST, "the domain's worker is gone");
	u->owner = u->old;
	upgrade_check(u->hvd, u->dom);
}

/* The word that says who has the guest, and a connection: 0 or -errno. */
static int make_link(struct upgrade *u, int *next_word, int *next_peer)
{
	int pair[2];

	u->word = memfd_create("hvd-owner", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (u->word < 0)
		return -errno;
	if (ftruncate(u->word, UPGRADE_OWNER_SIZE) ||
	    fcntl(u->word, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	*next_word = fcntl(u->word, F_DUPFD_CLOEXEC, 3);
	if (*next_word < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		close(*next_word);
		return -errno;
	}
	u->peer = pair[0];
	*next_peer = pair[1];
	return 0;
}

static int start_next(struct upgrade *u, json_t *files, const int *fds, unsigned int nfds)
{
	struct domain *dom = u->dom;
	struct domain_config config;
	int all[FRAME_FDS_MAX];
	json_t *params;
	int ret;

	memcpy(all, fds, nfds * sizeof(*fds));
	ret = domain_config_decode(dom->live, "", &config, &u->err);
	if (!ret)
		ret = make_link(u, &all[nfds], &all[nfds + 1]);
	if (!ret) {
		u->next = worker_spawn_next(u->hvd, dom, config.vcpus + WORKER_THREADS, &u->err);
		if (!u->next) {
			api_close_fds(all + nfds, 2);
			api_close_fds(fds, nfds);
			return -EIO;
		}
	}
	if (ret) {
		api_close_fds(fds, nfds);
		api_error_set(&u->err, API_E_UPGRADE_FAILED, "cannot start: %s", strerror(-ret));
		return ret;
	}
	json_object_set_new(files, UPGRADE_FILE_OWNER, json_integer(nfds));
	json_object_set_new(files, UPGRADE_FILE_PEER, json_integer(nfds + 1));
	params = json_pack("{s:O,s:O,s:b,s:o}", "config", dom->live, "files", files, "incoming", 1,
			   "offline_cpus", domain_offline_cpus(u->hvd));
	ret = worker_request(u->next, "worker.start", params, all, nfds + 2, next_answer, NULL);
	if (ret)
		api_error_set(&u->err, API_E_UPGRADE_FAILED, "cannot reach the new worker: %s",
			      strerror(-ret));
	return ret;
}

static const struct schema files_schema = { .kind = SCHEMA_MAP, .item = &schema_count };
static const struct schema_field prepared_fields[] = {
	SCHEMA_RESULT("files", &files_schema, SCHEMA_REQUIRED, NULL),
	{ 0 }
};
static const struct schema prepared_schema = { .kind = SCHEMA_OBJECT, .fields = prepared_fields };

static void prepare_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			   unsigned int nfds, const struct api_error *err)
{
	struct upgrade *u = upgrade_of(worker, UPGRADE_PREPARE, err);
	struct api_error shape;

	(void)data;
	if (!u || worker != u->old) {
		api_close_fds(fds, nfds);
		return;
	}
	if (!err && (nfds < 2 || nfds > 4 ||
		     schema_check(&prepared_schema, result, API_E_INTERNAL, &shape))) {
		api_error_set(&shape, API_E_INTERNAL, "the worker's answer has not the agreed shape");
		err = &shape;
	}
	if (err && err->id == API_E_METHOD_NOT_FOUND) {
		api_error_set(&shape, API_E_UNSUPPORTED,
			      "the domain's worker is of a version that cannot be replaced");
		err = &shape;
	}
	if (err) {
		api_close_fds(fds, nfds);
		upgrade_stay(u, err);
		return;
	}
	u->phase = UPGRADE_START;
	if (start_next(u, json_object_get(result, "files"), fds, nfds)) {
		shape = u->err;
		upgrade_stay(u, &shape);
	}
}

/* ---- what the new worker says ------------------------------------------------------------------ */

struct upgraded_args {
	const char *side, *owner, *message;
	json_t *report;
	int64_t downtime_us, state_bytes;
};
static const struct schema_field upgraded_fields[] = {
	SCHEMA_FIELD(struct upgraded_args, side, &schema_string, SCHEMA_REQUIRED, "The speaker's."),
	SCHEMA_FIELD(struct upgraded_args, owner, &schema_string, SCHEMA_REQUIRED,
		     "Who has the guest: new or old."),
	SCHEMA_FIELD(struct upgraded_args, message, &schema_string, 0, "Why it has not."),
	SCHEMA_FIELD(struct upgraded_args, report, &schema_any, 0, "As worker.state's."),
	SCHEMA_FIELD(struct upgraded_args, downtime_us, &schema_count, 0,
		     "From the stop to the first instruction.", .dflt = "0"),
	SCHEMA_FIELD(struct upgraded_args, state_bytes, &schema_count, 0, "That went over.",
		     .dflt = "0"),
	{ 0 }
};
static const struct schema upgraded_schema = { .kind = SCHEMA_OBJECT, .fields = upgraded_fields };

static void worker_upgraded(struct api_call *call, const void *data)
{
	struct api_conn *conn = (struct api_conn *)call->session;
	struct worker *worker = conn ? conn->data : NULL;
	struct domain *dom = worker ? worker->dom : NULL;
	struct upgrade *u = dom ? dom->upgrade : NULL;
	const struct upgraded_args *args = data;
	bool took = !strcmp(args->owner, "new");

	/* The answer first: a check may free the connection. */
	json_t *params = json_incref(call->params), *report;

	api_reply(call, NULL);
	report = json_object_get(params, "report");
	if (u && u->phase == UPGRADE_SWITCH && worker == u->next) {
		if (took && report && !u->note) {
			u->note = json_incref(params);
			u->owner = u->next;
		} else if (!took && !u->failed) {
			/* It ends now; the old one says the same, if it lives. */
			upgrade_fail(u, API_E_UPGRADE_FAILED,
				     json_string_value(json_object_get(params, "message")) ?: "?");
		}
		upgrade_check(u->hvd, dom);
	} else if (dom && !u && took && report && dom->worker == worker) {
		/* Adopted alone, before it had the guest. */
		domain_worker_upgraded(worker->hvd, dom, report);
	}
	json_decref(params);
}

const struct api_method methods_worker_upgrade[] = {
	{
		.name = "worker.upgraded",
		.summary = "A new worker has the guest, or has not.",
		.params = &upgraded_schema,
		.args_size = sizeof(struct upgraded_args),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_upgraded,
	},
	{ 0 },
};

/* ---- found by a new hvd ---------------------------------------------------------------------------- */

int upgrade_adopt(struct hvd *hvd, struct domain *dom, struct worker *second)
{
	struct upgrade *u = upgrade_new(hvd, dom);

	if (!u)
		return -ENOMEM;
	u->phase = UPGRADE_FOUND;
	u->next = second;
	return 0;
}

static void found_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			 unsigned int nfds, const struct api_error *err)
{
	struct upgrade *u = upgrade_of(worker, UPGRADE_FOUND, err);
	const char *side = json_string_value(json_object_get(result, "side"));
	const char *owner = json_string_value(json_object_get(result, "owner"));

	(void)data;
	api_close_fds(fds, nfds);
	worker_adopt_reached(worker);
	/* Nothing said is no decision; one of the two ends by itself. */
	if (!u || u->owner || !side || !owner || strcmp(side, owner) != 0)
		return;
	u->owner = worker;
	log_info("domain %s: worker %d has the guest", u->dom->name, (int)worker->pid);
	timer_set(u, LINGER_MS);
}

static void found_ask(struct worker *worker)
{
	if (worker && worker->npending == 0 &&
	    worker_request(worker, "worker.upgrade_state", json_object(), NULL, 0, found_answer, NULL))
		worker_kill(worker);
}

void upgrade_adopt_begin(struct hvd *hvd, struct domain *dom)
{
	struct upgrade *u = dom->upgrade;

	(void)hvd;
	log_info("domain %s: workers %d and %d were found", dom->name, (int)u->old->pid,
		 (int)u->next->pid);
	/* One that cannot be reached ends, or is ended. */
	if (worker_adopt_connect(u->old))
		worker_kill(u->old);
	if (worker_adopt_connect(u->next))
		worker_kill(u->next);
	timer_set(u, 1);
}

static void upgrade_timer(evutil_socket_t fd, short what, void *arg)
{
	struct upgrade *u = arg;
	struct api_error err;

	(void)fd;
	(void)what;
	if (u->phase == UPGRADE_FOUND && u->owner) {
		/* The other has had its time to pass on what it held. */
		if (u->old && u->old != u->owner)
			worker_kill(u->old);
		if (u->next && u->next != u->owner)
			worker_kill(u->next);
	} else if (u->phase == UPGRADE_FOUND) {
		found_ask(u->old);
		found_ask(u->next);
		timer_set(u, POLL_MS);
	} else if (u->phase == UPGRADE_SWITCH) {
		u->answered = true;
		upgrade_check(u->hvd, u->dom);
	} else {
		api_error_set(&err, API_E_UPGRADE_FAILED,
			      "the new worker was not ready within %u seconds",
			      u->hvd->config.start_sec);
		upgrade_stay(u, &err);
	}
}

void upgrade_release(struct domain *dom)
{
	struct upgrade *u = dom->upgrade;
	struct worker *other;

	if (!u)
		return;
	other = dom->worker == u->old ? u->next : u->old;
	if (u->call)
		api_fail_text(u->call, API_E_DAEMON_STOPPING, "the daemon is stopping");
	upgrade_free(u);
	if (other)
		worker_free(other);
}

/* ---- domain.upgrade ------------------------------------------------------------------------------------ */

struct upgrade_args {
	const char *domain;
	bool detach;
};
static const struct schema_field upgrade_fields[] = {
	FIELD_DOMAIN(struct upgrade_args),
	SCHEMA_FIELD(struct upgrade_args, detach, &schema_bool, 0,
		     "Answer at once with the job.", .dflt = "false"),
	{ 0 }
};
static const struct schema upgrade_params = { .kind = SCHEMA_OBJECT, .fields = upgrade_fields };
static const struct schema_field upgrade_result_fields[] = {
	SCHEMA_RESULT("job", &schema_count, SCHEMA_REQUIRED, "The job's number."),
	SCHEMA_RESULT("pid", &schema_count, 0, "The new worker."),
	SCHEMA_RESULT("previous_pid", &schema_count, 0, "The one before, which has ended."),
	SCHEMA_RESULT("downtime_us", &schema_count, 0,
		      "How long the guest stood still; not of a paused one."),
	SCHEMA_RESULT("total_us", &schema_count, 0, "From the call to its end."),
	SCHEMA_RESULT("state_bytes", &schema_count, 0, "What went over; memory stays in place."),
	{ 0 }
};
static const struct schema upgrade_result_schema = { .kind = SCHEMA_OBJECT,
						     .fields = upgrade_result_fields };

static void method_upgrade(struct api_call *call, const void *data)
{
	const struct upgrade_args *args = data;
	struct domain *dom = domain_to_change(call, args->domain);
	struct hvd *hvd = hvd_of(call);
	struct upgrade *u;
	struct job *other;

	if (!dom)
		return;
	if (!dom->worker || !worker_connected(dom->worker) || dom->upgrade ||
	    (dom->state != DOMAIN_RUNNING && dom->state != DOMAIN_PAUSED)) {
		domain_fail_state(call, dom, "a guest that runs or is paused can change its worker");
		return;
	}
	other = job_excluding(hvd, dom->name);
	if (other) {
		api_fail_text(call, API_E_JOB_CONFLICT, "job %lld, %s, is not over",
			      (long long)other->id, other->kind);
		return;
	}
	u = upgrade_new(hvd, dom);
	if (u)
		u->job = job_start(hvd, "upgrade", dom->name);
	if (!u || !u->job) {
		if (u)
			upgrade_free(u);
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "%u jobs run, or no memory",
			      jobs_running(hvd));
		return;
	}
	if (args->detach)
		api_reply(call, json_pack("{s:I}", "job", (json_int_t)u->job->id));
	else
		u->call = call;
	domain_set_busy(dom);
	timer_set(u, hvd->config.start_sec * 1000);
	if (worker_request(u->old, "worker.upgrade_prepare", json_object(), NULL, 0, prepare_answer,
			   NULL)) {
		struct api_error err;

		api_error_set(&err, API_E_PEER_LOST, "the domain's worker is gone");
		upgrade_stay(u, &err);
	}
}

const struct api_method methods_upgrade[] = {
	{
		.name = "domain.upgrade",
		.summary = "Replace the worker under a guest by one of this daemon's version; its memory "
			   "stays in place: a job, waited for or not.",
		.params = &upgrade_params,
		.result = &upgrade_result_schema,
		.args_size = sizeof(struct upgrade_args),
		.privilege = API_RW,
		.handler = method_upgrade,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE,
				     API_E_JOB_CONFLICT, API_E_UNSUPPORTED, API_E_UPGRADE_FAILED,
				     API_E_PEER_LOST, API_E_DOMAIN_START_FAILED),
	},
	{ 0 },
};
