/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting and ending a domain's worker, and what the worker reports.
 *
 * A start has two halves that run side by side: the task thread opens the files
 * that the definition names while the process comes up. When both are there the
 * definition goes to the worker with the descriptors.
 */
#include "daemon/domain.h"

#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/migrate.h"
#include "daemon/tasks.h"
#include "daemon/upgrade.h"
#include "daemon/worker_job.h"
#include "daemon/worker_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


enum boot_file { FILE_KERNEL, FILE_INITRD, FILE_COUNT };
static const char *const start_file_fields[FILE_COUNT] = { "/boot/kernel", "/boot/initrd" };

struct start_op {
	struct task task;
	struct hvd *hvd;
	struct domain *dom;
	struct api_call *call;
	struct domain_start how;
	struct event *timer;		/* StartTimeoutSec= */
	bool opening;			/* the task thread has the part below */
	bool failed;
	struct api_error err;
	/* The task thread's, until it is done. */
	char *paths[FILE_COUNT];	/* NULL: not named */
	int fds[FILE_COUNT];
	bool open_failed;
	struct api_error open_err;
};

/* ---- files, on the task thread ---------------------------------------------------- */

static int open_image(const char *path)
{
	struct stat st;
	/* Not to hang on a fifo that somebody named. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

static void start_open(struct task *task)
{
	struct start_op *op = (struct start_op *)task;
	int i;

	for (i = 0; i < FILE_COUNT && !op->open_failed; i++) {
		if (!op->paths[i])
			continue;
		op->fds[i] = open_image(op->paths[i]);
		if (op->fds[i] >= 0)
			continue;
		op->open_failed = true;
		api_error_set(&op->open_err, API_E_FILE_UNAVAILABLE, "%s: %s: %s", start_file_fields[i],
			      op->paths[i],
			      op->fds[i] == -EINVAL ? "neither a file nor a block device" :
						      strerror(-op->fds[i]));
		api_error_field(&op->open_err, start_file_fields[i]);
	}
}

/* ---- the end of a start -------------------------------------------------------------- */

static void start_close_files(struct domain_start *how)
{
	while (how->nfiles > 0)
		close(how->files[--how->nfiles].fd);
}

static void start_free(struct start_op *op)
{
	int i;

	if (op->timer)
		event_free(op->timer);
	for (i = 0; i < FILE_COUNT; i++) {
		if (op->fds[i] >= 0)
			close(op->fds[i]);
		free(op->paths[i]);
	}
	start_close_files(&op->how);
	json_decref(op->how.params);
	free(op);
}

/* The one answer to whoever asked for the start. Takes @fds. */
static void start_reply(struct api_call *call, const struct domain_start *how, json_t *summary,
			const int *fds, unsigned int nfds)
{
	if (how->ended) {
		how->ended(how->ctx, summary, fds, nfds, NULL);
		return;
	}
	if (nfds && !(call->method->flags & API_GIVES_FDS)) {
		close(fds[0]);
		nfds = 0;
	}
	api_reply_fds(call, summary, fds, nfds);
}

static void start_refuse(struct api_call *call, const struct domain_start *how,
			 const struct api_error *err)
{
	if (how->ended)
		how->ended(how->ctx, NULL, NULL, 0, err);
	else
		api_fail(call, err);
}

/* A transient domain that has come to its end leaves the world. */
void domain_settle(struct hvd *hvd, struct domain *dom)
{
	struct api_call *call;

	while ((call = TAILQ_FIRST(&dom->destroys))) {
		TAILQ_REMOVE(&dom->destroys, call, wait_link);
		call->cancel = NULL;
		api_reply(call, NULL);
	}
	dom->destroying = false;
	/* The end of that comes here again. */
	if (dom->storing || migration_undefines(hvd, dom))
		return;
	migration_at_rest(dom);
	if (dom->state == DOMAIN_SHUTOFF) {
		json_decref(dom->live);
		dom->live = NULL;
		if (!dom->persistent) {
			events_emit(hvd, "domain.removed", dom->name, NULL);
			domain_free(hvd, dom);
			return;
		}
	}
	domain_set_idle(hvd, dom);
}

/* No worker is left, no file is being opened: the start has failed for good. */
static void start_fail(struct start_op *op)
{
	struct domain *dom = op->dom;
	const struct domain_start how = op->how;
	struct api_call *call = op->call;
	struct api_error err = op->err;
	struct hvd *hvd = op->hvd;

	dom->start = NULL;
	start_free(op);
	domain_state_set(hvd, dom, DOMAIN_SHUTOFF, REASON_FAILED, err.message);
	start_refuse(call, &how, &err);
	domain_settle(hvd, dom);
}

/* Something went wrong: wait for the other half, then for the worker's end. */
static void start_broken(struct start_op *op)
{
	op->failed = true;
	if (op->opening)
		return;
	if (op->dom->worker)
		worker_kill(op->dom->worker);	/* domain_worker_gone() goes on */
	else
		start_fail(op);
}

static void start_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct start_op *op = arg;

	(void)fd;
	(void)what;
	if (op->failed)
		return;
	api_error_set(&op->err, API_E_DOMAIN_START_FAILED, "the worker was not ready within %u seconds",
		      op->hvd->config.start_sec);
	start_broken(op);
}

static void start_answer(struct worker *worker, void *data, json_t *result, const int *fds,
			 unsigned int nfds, const struct api_error *err)
{
	struct domain *dom = data;
	struct start_op *op = dom->start;
	const struct domain_start how = op->how;
	struct hvd *hvd = op->hvd;
	struct api_call *call = op->call;
	enum domain_reason reason = how.paused ? REASON_STARTING_UP : REASON_BOOTED;

	(void)worker;
	if (op->failed || err || !json_is_object(result)) {
		api_close_fds(fds, nfds);
		/* When it is given up already, or the worker died, that end says why. */
		if (op->failed || (err && err->id == API_E_PEER_LOST))
			return;
		if (err)
			op->err = *err;
		else
			api_error_set(&op->err, API_E_INTERNAL, "the worker's answer has no shape");
		if (call && !api_method_has_error(call->method, op->err.id))
			op->err.id = API_E_DOMAIN_START_FAILED;
		start_broken(op);
		return;
	}
	dom->start = NULL;
	domain_state_set(hvd, dom, how.paused ? DOMAIN_PAUSED : DOMAIN_RUNNING,
			 how.reason ? how.reason : reason, NULL);
	start_free(op);
	start_reply(call, &how, domain_summary(dom), fds, nfds);
	domain_set_idle(hvd, dom);
}

/* ---- the way of a start ---------------------------------------------------------------- */

json_t *domain_offline_cpus(const struct hvd *hvd)
{
	json_t *list = json_array();
	int i;

	for (i = 0; i < HOST_CPUS_MAX; i++)
		if (hvd->cpu_offline[i])
			json_array_append_new(list, json_integer(i));
	return list;
}

static void start_send(struct start_op *op)
{
	struct domain *dom = op->dom;
	json_t *files = json_object();
	int fds[FILE_COUNT + START_FILES_MAX];
	unsigned int nfds = 0, k;
	json_t *params;
	int i, ret;

	for (i = 0; i < FILE_COUNT; i++) {
		if (op->fds[i] < 0)
			continue;
		json_object_set_new(files, start_file_fields[i], json_integer(nfds));
		fds[nfds++] = op->fds[i];
		op->fds[i] = -1;
	}
	for (k = 0; k < op->how.nfiles; k++) {
		json_object_set_new(files, op->how.files[k].name, json_integer(nfds));
		fds[nfds++] = op->how.files[k].fd;
	}
	op->how.nfiles = 0;
	params = json_pack("{s:O,s:o,s:b,s:b,s:o}", "config", dom->live, "files", files, "paused",
			   op->how.paused, "console", op->how.console, "offline_cpus",
			   domain_offline_cpus(op->hvd));
	if (op->how.params)
		json_object_update(params, op->how.params);
	ret = worker_request(dom->worker, "worker.start", params, fds, nfds, start_answer, dom);
	if (ret) {
		api_error_set(&op->err, API_E_DOMAIN_START_FAILED, "cannot reach the worker: %s",
			      strerror(-ret));
		start_broken(op);
	}
}

static void start_opened(struct task *task)
{
	struct start_op *op = (struct start_op *)task;

	op->opening = false;
	if (op->open_failed && !op->failed) {
		op->failed = true;
		op->err = op->open_err;
	}
	if (op->dom->destroying && !op->failed) {
		op->failed = true;
		api_error_set(&op->err, API_E_DOMAIN_START_FAILED, "destroyed while it was starting");
	}
	if (op->failed)
		start_broken(op);
	else
		start_send(op);
}

/* Takes the descriptors of @how. */
static struct start_op *start_new(struct hvd *hvd, struct domain *dom,
				  const struct domain_config *config, struct domain_start *how)
{
	struct start_op *op = calloc(1, sizeof(*op));
	int i;

	if (!op) {
		start_close_files(how);
		return NULL;
	}
	op->hvd = hvd;
	op->dom = dom;
	op->how = *how;
	json_incref(op->how.params);
	op->task.run = start_open;
	op->task.done = start_opened;
	op->timer = evtimer_new(op->hvd->base, start_timeout, op);
	for (i = 0; i < FILE_COUNT; i++)
		op->fds[i] = -1;
	op->paths[FILE_KERNEL] = strdup(config->boot.kernel);
	op->paths[FILE_INITRD] = config->boot.initrd ? strdup(config->boot.initrd) : NULL;
	if (op->timer && op->paths[FILE_KERNEL] && (op->paths[FILE_INITRD] || !config->boot.initrd))
		return op;
	start_free(op);
	return NULL;
}

/* Why @dom cannot be started at all, before anything changes; 0 or -errno with @err. */
static int start_check(json_t *definition, struct domain_config *config, struct api_error *err)
{
	int ret = domain_config_decode(definition, "", config, err);

	return ret ? ret : domain_config_runnable(config, err);
}

void domain_start(struct hvd *hvd, struct api_call *call, struct domain *dom,
		  const struct domain_start *given)
{
	struct domain_start how = *given;
	json_t *definition = how.config ? how.config : dom->config;
	const struct timeval limit = { .tv_sec = hvd->config.start_sec };
	struct domain_config config;
	struct start_op *op = NULL;
	struct api_error err;

	if (start_check(definition, &config, &err)) {
		start_close_files(&how);
		start_refuse(call, &how, &err);
		goto out_transient;
	}
	op = start_new(hvd, dom, &config, &how);
	if (!op || task_submit(hvd->files, &op->task)) {
		if (op)
			start_free(op);
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED,
			      "no memory, or too many files are waited for");
		start_refuse(call, &how, &err);
		goto out_transient;
	}
	op->call = call;
	evtimer_add(op->timer, &limit);
	op->opening = true;
	dom->start = op;
	dom->exit_code = -1;
	dom->resets = 0;
	json_decref(dom->live);
	dom->live = json_incref(definition);
	domain_set_busy(dom);
	if (worker_spawn(hvd, dom, config.vcpus + WORKER_THREADS, &err)) {
		/* start_opened() finds it, after the files. */
		op->failed = true;
		op->err = err;
	}
	/* The process is already coming up; only then comes what takes our own time. */
	domain_state_set(hvd, dom, DOMAIN_STARTING, REASON_BOOTED, NULL);
	return;

out_transient:
	if (!dom->persistent)
		domain_free(hvd, dom);
}

/* ---- destroy ---------------------------------------------------------------------------- */

static void destroy_cancel(struct api_call *call)
{
	struct domain *dom = call->data;

	TAILQ_REMOVE(&dom->destroys, call, wait_link);
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

void domain_destroy(struct api_call *call, struct domain *dom)
{
	struct hvd *hvd = hvd_of(call);

	if (dom->state == DOMAIN_SHUTOFF && !dom->worker) {
		domain_fail_state(call, dom, "there is nothing to destroy");
		return;
	}
	call->data = dom;
	call->cancel = destroy_cancel;
	TAILQ_INSERT_TAIL(&dom->destroys, call, wait_link);
	dom->destroying = true;
	if (!dom->worker) {
		/* While its files are being opened, the start itself finds out. */
		if (dom->start)
			return;
		domain_state_set(hvd, dom, DOMAIN_SHUTOFF, REASON_DESTROYED, NULL);
		domain_settle(hvd, dom);
		return;
	}
	if (domain_state_has_machine(dom->state))
		domain_state_set(hvd, dom, DOMAIN_SHUTDOWN, REASON_USER, NULL);
	if (dom->upgrade)
		upgrade_destroy(dom);
	worker_kill(dom->worker);
}

/* ---- what workers report ------------------------------------------------------------------ */

struct report_args {
	int state, reason;
	const char *detail;
	int64_t exit_code, resets;
	bool final;
	json_t *jobs, *migration, *upgrade;
};

static const struct schema state_schema = { .kind = SCHEMA_ENUM, .values = domain_state_names };
static const struct schema reason_schema = { .kind = SCHEMA_ENUM, .values = domain_reason_names };
static const struct schema exit_schema = { .kind = SCHEMA_INT, .min = -1, .max = INT32_MAX };
static const struct schema_field report_fields[] = {
	SCHEMA_FIELD(struct report_args, state, &state_schema, SCHEMA_REQUIRED, "The machine's."),
	SCHEMA_FIELD(struct report_args, reason, &reason_schema, SCHEMA_REQUIRED, "Why."),
	SCHEMA_FIELD(struct report_args, detail, &schema_string, 0, "In words."),
	SCHEMA_FIELD(struct report_args, exit_code, &exit_schema, 0, "Of the debug exit port.",
		     .dflt = "-1"),
	SCHEMA_FIELD(struct report_args, resets, &schema_count, 0,
		     "How often the guest has restarted by itself.", .dflt = "0"),
	SCHEMA_FIELD(struct report_args, final, &schema_bool, 0, "The worker waits to be dismissed."),
	SCHEMA_FIELD(struct report_args, jobs, &schema_any, 0, "Of an adopted worker."),
	SCHEMA_FIELD(struct report_args, migration, &schema_any, 0, "The same."),
	SCHEMA_FIELD(struct report_args, upgrade, &schema_any, 0, "The same."),
	{ 0 }
};
static const struct schema report_schema = { .kind = SCHEMA_OBJECT, .fields = report_fields };

static void report_apply(struct hvd *hvd, struct domain *dom, const struct report_args *r)
{
	/* What a worker says counts only where the drawing has an arrow for it. */
	bool ending = dom->state == DOMAIN_SHUTDOWN || dom->state == DOMAIN_STARTING;
	bool sane = r->state == DOMAIN_RUNNING || r->state == DOMAIN_PAUSED ||
		    r->state == DOMAIN_CRASHED || (r->state == DOMAIN_SHUTDOWN && r->final);
	bool news = (enum domain_state)r->state != dom->state ||
		    (enum domain_reason)r->reason != dom->reason || r->resets > dom->resets;

	if (ending)
		return;
	if (!sane) {
		log_err("domain %s: its worker claims to be %s", dom->name,
			domain_state_names[r->state]);
		worker_kill(dom->worker);
		return;
	}
	dom->exit_code = r->exit_code;
	dom->resets = r->resets;
	if (news)
		domain_state_set(hvd, dom, r->state, r->reason, r->detail);
	if (r->final)
		worker_dismiss(dom->worker);
}

void domain_worker_state(struct hvd *hvd, struct domain *dom, const json_t *report)
{
	struct report_args args;
	struct api_error err;

	if (schema_decode(&report_schema, (json_t *)report, &args, "", API_E_INTERNAL, &err)) {
		log_err("domain %s: report of its worker: %s", dom->name, err.message);
		worker_kill(dom->worker);
		return;
	}
	report_apply(hvd, dom, &args);
	worker_jobs_adopt(hvd, dom, args.jobs);
	migration_adopted(hvd, dom, args.migration);
}

void domain_worker_upgraded(struct hvd *hvd, struct domain *dom, const json_t *report)
{
	struct report_args args;
	struct api_error err;

	if (!schema_decode(&report_schema, (json_t *)report, &args, "", API_E_INTERNAL, &err)) {
		report_apply(hvd, dom, &args);
		return;
	}
	log_err("domain %s: report of its worker: %s", dom->name, err.message);
	worker_kill(dom->worker);
}

static void worker_state_handler(struct api_call *call, const void *args)
{
	struct api_conn *conn = (struct api_conn *)call->session;
	struct domain *dom = conn ? worker_domain(conn->data) : NULL;

	if (dom)
		report_apply(hvd_of(call), dom, args);
	api_reply(call, NULL);
}

const struct api_method methods_worker_report[] = {
	{
		.name = "worker.state",
		.summary = "A worker's machine changed its state.",
		.params = &report_schema,
		.args_size = sizeof(struct report_args),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_state_handler,
	},
	{ 0 },
};

static enum domain_reason shutoff_reason(const struct domain *dom)
{
	if (dom->destroying || dom->reason == REASON_USER)
		return REASON_DESTROYED;
	return dom->reason;
}

void domain_worker_gone(struct hvd *hvd, struct domain *dom, const char *how)
{
	migration_worker_gone(hvd, dom);
	worker_jobs_lost(hvd, dom, how);
	if (dom->start) {
		struct start_op *op = dom->start;

		if (!op->failed)
			api_error_set(&op->err, API_E_DOMAIN_START_FAILED, "%s",
				      dom->destroying ? "destroyed while it was starting" : how);
		start_broken(op);
		return;
	}
	if (dom->state == DOMAIN_SHUTDOWN) {
		enum domain_reason reason = shutoff_reason(dom);

		domain_state_set(hvd, dom, DOMAIN_SHUTOFF, reason, NULL);
	} else if (dom->destroying) {
		domain_state_set(hvd, dom, DOMAIN_SHUTOFF, REASON_DESTROYED, NULL);
	} else {
		domain_state_set(hvd, dom, DOMAIN_CRASHED, REASON_WORKER_DIED, how);
	}
	domain_settle(hvd, dom);
}
