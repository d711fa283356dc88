/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots, the supervisor's part: names, folders, files, and making a domain again.
 *
 *	domain.snapshot		files thread: ".NAME.part" with empty files
 *				worker: fills them (guest_snapshot.c), a job
 *				files thread: the name, or nothing is left
 *	domain.restore		files thread: opens the files, reads the definition
 *				a start, with the files beside the definition's
 *
 * A worker never gets a folder, nor the file with the definition to write: what a guest
 * could do to its worker does not decide which files hvd opens at a restore.
 */
#include "daemon/methods.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/jobs.h"
#include "daemon/methods_snapshot.h"
#include "daemon/migrate.h"
#include "daemon/snapshot_store.h"
#include "daemon/tasks.h"
#include "daemon/uuid.h"
#include "daemon/worker_job.h"
#include "daemon/worker_link.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

struct snapshot_op {
	struct task task;
	LIST_ENTRY(snapshot_op) link;
	struct hvd *hvd;
	struct api_call *call;		/* NULL: detached or answered */
	struct job *job;		/* NULL: of a list or a delete */
	char domain[SCHEMA_NAME_MAX + 1], name[SCHEMA_NAME_MAX + 1], as[SCHEMA_NAME_MAX + 1];
	char *directory;
	bool paused, given_paused, verify, console;
	/* The task thread's, while it has the task. */
	struct snapstore_place place;
	struct snapstore_part part;
	int fds[SNAPFILE_COUNT];
	char *text;			/* what the file "config" has */
	json_t *list;
	bool well;			/* the worker has done its part */
	bool failed;
	struct api_error err;
	json_t *result;			/* the loop's */
};

/* ---- an operation's life --------------------------------------------------------------- */

static void close_files(struct snapshot_op *op)
{
	int i;

	for (i = 0; i < SNAPFILE_COUNT; i++) {
		if (op->fds[i] >= 0)
			close(op->fds[i]);
		op->fds[i] = -1;
	}
}

static void op_free(struct snapshot_op *op)
{
	close_files(op);
	LIST_REMOVE(op, link);
	free(op->directory);
	free(op->text);
	json_decref(op->list);
	json_decref(op->result);
	free(op);
}

/* NULL: the call is answered. */
static struct snapshot_op *op_new(struct api_call *call, const char *domain, const char *name,
				  const char *directory)
{
	struct snapshot_op *op = calloc(1, sizeof(*op));
	int i;

	if (op) {
		op->directory = directory ? strdup(directory) : NULL;
		if (directory && !op->directory) {
			free(op);
			op = NULL;
		}
	}
	if (!op) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		return NULL;
	}
	op->hvd = hvd_of(call);
	op->call = call;
	op->part = (struct snapstore_part)SNAPSTORE_PART_NONE;
	for (i = 0; i < SNAPFILE_COUNT; i++)
		op->fds[i] = -1;
	snprintf(op->domain, sizeof(op->domain), "%s", domain ? domain : "");
	snprintf(op->name, sizeof(op->name), "%s", name ? name : "");
	op->place = (struct snapstore_place){ .state_dir = op->hvd->options.state_dir,
					      .domain = domain ? op->domain : NULL,
					      .directory = op->directory, .name = op->name };
	LIST_INSERT_HEAD(&op->hvd->snapshots, op, link);
	return op;
}

/* The end, by op->failed, err and result: of the job, the call and the operation. */
static void op_end(struct snapshot_op *op, const int *fds, unsigned int nfds)
{
	enum job_status status = !op->failed ? JOB_COMPLETED :
				 op->err.id == API_E_JOB_ABORTED ? JOB_ABORTED : JOB_FAILED;

	if (op->job)
		job_end(op->hvd, op->job, status, json_incref(op->result),
			op->failed ? &op->err : NULL);
	if (op->call && op->failed) {
		if (!api_method_has_error(op->call->method, op->err.id))
			op->err.id = API_E_INTERNAL;
		api_fail(op->call, &op->err);
	} else if (op->call) {
		api_reply_fds(op->call, json_incref(op->result), fds, nfds);
		nfds = 0;
	}
	api_close_fds(fds, nfds);
	op_free(op);
}

static int op_submit(struct snapshot_op *op, void (*run)(struct task *task),
		     void (*done)(struct task *task))
{
	op->task.run = run;
	op->task.done = done;
	return task_submit(op->hvd->files, &op->task);
}

static void op_busy(struct snapshot_op *op)
{
	op->failed = true;
	api_error_set(&op->err, API_E_RESOURCE_EXHAUSTED, "too much waits for the disk");
	op_end(op, NULL, 0);
}

/* Give @op its job, and the caller its number when that is all it waits for. */
static bool op_job(struct snapshot_op *op, const char *kind, const char *domain, bool detach)
{
	struct job *job = job_start(op->hvd, kind, domain);

	if (!job) {
		op->failed = true;
		api_error_set(&op->err, API_E_RESOURCE_EXHAUSTED, "%u jobs run",
			      jobs_running(op->hvd));
		op_end(op, NULL, 0);
		return false;
	}
	job->data = op;
	op->job = job;
	if (detach) {
		api_reply(op->call, json_pack("{s:I}", "job", (json_int_t)job->id));
		op->call = NULL;
	}
	return true;
}

void snapshots_stop(struct hvd *hvd)
{
	struct snapshot_op *op;

	/* No thread and no worker works on them any more. */
	while ((op = LIST_FIRST(&hvd->snapshots))) {
		snapstore_discard(&op->place, &op->part);
		op_free(op);
	}
}

/* ---- domain.snapshot --------------------------------------------------------------------- */

struct snapshot_args {
	const char *domain, *name, *directory;
	bool detach;
};
static const struct schema_field snapshot_fields[] = {
	FIELD_DOMAIN(struct snapshot_args),
	SCHEMA_FIELD(struct snapshot_args, name, &schema_name, 0,
		     "The snapshot's; without it the time in seconds since 1970."),
	SCHEMA_FIELD(struct snapshot_args, directory, &schema_path, 0,
		     "The folder for it, which has to exist; without it one of hvd's own."),
	SCHEMA_FIELD(struct snapshot_args, detach, &schema_bool, 0,
		     "Answer at once with the job.", .dflt = "false"),
	{ 0 }
};
static const struct schema snapshot_params = { .kind = SCHEMA_OBJECT, .fields = snapshot_fields };
static const struct schema_field snapshot_result_fields[] = {
	SCHEMA_RESULT("job", &schema_count, SCHEMA_REQUIRED, "The job's number."),
	SCHEMA_RESULT("name", &schema_name, 0, "The snapshot's."),
	SCHEMA_RESULT("path", &schema_string, 0, "Its directory."),
	SCHEMA_RESULT("pause_us", &schema_count, 0, "How long the guest stood still."),
	SCHEMA_RESULT("pages", &schema_count, 0, "Pages of 4 KiB that are not zero."),
	{ 0 }
};
static const struct schema snapshot_result = { .kind = SCHEMA_OBJECT,
					       .fields = snapshot_result_fields };

static void snapshot_finish_run(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	if (!op->well)
		snapstore_discard(&op->place, &op->part);
	else if (snapstore_publish(&op->place, &op->part, &op->err))
		op->failed = true;
}

static void snapshot_finish_done(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;
	char path[PATH_MAX];

	if (op->failed) {
		json_decref(op->result);
		op->result = NULL;
	} else {
		snapstore_path(&op->place, path, sizeof(path));
		json_object_set_new(op->result, "job", json_integer(op->job->id));
		json_object_set_new(op->result, "name", json_string(op->name));
		json_object_set_new(op->result, "path", json_string(path));
		events_emit(op->hvd, "snapshot.created", op->domain,
			    json_pack("{s:s,s:s}", "name", op->name, "path", path));
	}
	op_end(op, NULL, 0);
}

static void snapshot_finish(struct snapshot_op *op)
{
	close_files(op);
	if (!op_submit(op, snapshot_finish_run, snapshot_finish_done))
		return;
	/* Rather a turn of the loop that waits for the disk than half a snapshot. */
	op->well = false;
	if (!op->failed) {
		op->failed = true;
		api_error_set(&op->err, API_E_RESOURCE_EXHAUSTED, "too much waits for the disk");
	}
	snapshot_finish_run(&op->task);
	snapshot_finish_done(&op->task);
}

static const struct schema_field worker_result_fields[] = {
	SCHEMA_RESULT("pause_us", &schema_count, SCHEMA_REQUIRED, NULL),
	SCHEMA_RESULT("pages", &schema_count, SCHEMA_REQUIRED, NULL),
	{ 0 }
};
static const struct schema worker_result = { .kind = SCHEMA_OBJECT,
					     .fields = worker_result_fields };

static bool snapshot_ended(struct hvd *hvd, struct domain *dom, struct job *job,
			   const struct worker_job_report *report, const struct api_error *err)
{
	struct snapshot_op *op = job->data;
	struct api_error lost;

	(void)dom;
	if (!op) {
		/* Of an earlier hvd, which cannot give it its name any more. */
		api_error_set(&lost, API_E_JOB_ABORTED, "hvd ended before the snapshot was complete");
		job_end(hvd, job, JOB_ABORTED, NULL, err ? err : &lost);
		return true;
	}
	if (err) {
		op->failed = true;
		op->err = *err;
	} else if (schema_check(&worker_result, report->result, API_E_INTERNAL, &op->err)) {
		op->failed = true;
	} else {
		op->well = true;
		op->result = json_deep_copy(report->result);
	}
	snapshot_finish(op);
	return true;
}

const struct worker_job_kind worker_job_snapshot = {
	.name = "snapshot",
	.unit = "bytes",
	.ended = snapshot_ended,
};

static void snapshot_begin_run(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	op->failed = snapstore_begin(&op->place, op->text, &op->part, op->fds, &op->err) != 0;
}

static void snapshot_begin_done(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;
	struct domain *dom = domain_find(op->hvd, op->domain);
	struct worker_job_request request = { .kind = &worker_job_snapshot,
					      .method = "worker.snapshot", .fds = op->fds,
					      .nfds = SNAPFILE_CONFIG };
	int ret = -EPIPE, i;

	if (op->failed) {
		op_end(op, NULL, 0);
		return;
	}
	if (dom && dom->worker && domain_state_has_machine(dom->state)) {
		request.params = json_pack("{s:s}", "config", op->text);
		ret = worker_job_send(op->hvd, dom, op->job, &request);
		/* They went with the request, or were closed. */
		for (i = 0; i < SNAPFILE_CONFIG; i++)
			op->fds[i] = -1;
	}
	if (!ret)
		return;
	op->failed = true;
	api_error_set(&op->err, API_E_PEER_LOST, "the domain's worker is gone");
	snapshot_finish(op);
}

/* What is kept beside memory and state, to make the domain again. */
static char *snapshot_text(const struct domain *dom)
{
	json_t *all = json_pack("{s:s,s:o,s:s,s:s,s:O}", "domain", dom->name, "created",
				events_time(events_now_us()), "state",
				domain_state_names[dom->state], "hvd", PACKAGE_VERSION, "config",
				dom->live);
	char *text = json_dumps(all, JSON_INDENT(2));

	json_decref(all);
	return text;
}

static void method_snapshot(struct api_call *call, const void *data)
{
	const struct snapshot_args *args = data;
	struct domain *dom = domain_to_change(call, args->domain);
	struct snapshot_op *op;
	struct job *other;
	char name[24];

	if (!dom)
		return;
	if (!dom->worker || (dom->state != DOMAIN_RUNNING && dom->state != DOMAIN_PAUSED)) {
		domain_fail_state(call, dom, "a snapshot is of a guest that runs or is paused");
		return;
	}
	other = job_excluding(hvd_of(call), dom->name);
	if (other) {
		api_fail_text(call, API_E_JOB_CONFLICT, "job %lld, %s, is not over",
			      (long long)other->id, other->kind);
		return;
	}
	snprintf(name, sizeof(name), "%llu", (unsigned long long)(events_now_us() / 1000000));
	op = op_new(call, dom->name, args->name ? args->name : name, args->directory);
	if (!op || !op_job(op, worker_job_snapshot.name, dom->name, args->detach))
		return;
	op->job->unit = worker_job_snapshot.unit;
	op->text = snapshot_text(dom);
	if (!op->text || op_submit(op, snapshot_begin_run, snapshot_begin_done))
		op_busy(op);
}

/* ---- domain.restore ------------------------------------------------------------------------ */

struct restore_args {
	const char *domain, *name, *directory, *as;
	bool paused, verify, console, detach;
};
static const struct schema_field restore_fields[] = {
	SCHEMA_FIELD(struct restore_args, domain, &schema_name, SCHEMA_REQUIRED,
		     "The domain that the snapshot is of; it need not exist any more."),
	SCHEMA_FIELD(struct restore_args, name, &schema_name, SCHEMA_REQUIRED, "The snapshot's."),
	SCHEMA_FIELD(struct restore_args, directory, &schema_path, 0, "The folder that it is in."),
	SCHEMA_FIELD(struct restore_args, as, &schema_name, 0,
		     "Make another, transient domain of this name, with a uuid of its own."),
	SCHEMA_FIELD(struct restore_args, paused, &schema_bool, 0,
		     "Whether it begins paused; without it as it was in the snapshot."),
	SCHEMA_FIELD(struct restore_args, verify, &schema_bool, 0,
		     "First read all of memory and compare it with its digests.", .dflt = "false"),
	SCHEMA_FIELD(struct restore_args, console, &schema_bool, 0,
		     "Pass a console's descriptor with the answer, attached before the guest runs."),
	SCHEMA_FIELD(struct restore_args, detach, &schema_bool, 0,
		     "Answer at once with the job.", .dflt = "false"),
	{ 0 }
};
static const struct schema restore_params = { .kind = SCHEMA_OBJECT, .fields = restore_fields };
static const struct schema_field restore_result_fields[] = {
	SCHEMA_RESULT("job", &schema_count, SCHEMA_REQUIRED, "The job's number."),
	SCHEMA_RESULT("domain", &domain_summary_schema, 0, "As it is now."),
	{ 0 }
};
static const struct schema restore_result = { .kind = SCHEMA_OBJECT,
					      .fields = restore_result_fields };

static void restore_open_run(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	op->failed = snapstore_open(&op->place, op->fds, &op->text, &op->err) != 0;
}

static void restore_started(void *ctx, json_t *summary, const int *fds, unsigned int nfds,
			    const struct api_error *err)
{
	struct snapshot_op *op = ctx;

	if (err) {
		op->failed = true;
		op->err = *err;
	} else {
		op->result = json_pack("{s:I,s:o}", "job", (json_int_t)op->job->id, "domain",
				       summary);
	}
	op_end(op, fds, nfds);
}

static void restore_fail(struct snapshot_op *op, enum api_err id, const char *text)
{
	op->failed = true;
	api_error_set(&op->err, id, "snapshot %s of %s: %s", op->name, op->domain, text);
	op_end(op, NULL, 0);
}

static bool restore_invalid(struct api_error *err, const char *text)
{
	api_error_set(err, API_E_SNAPSHOT_INVALID, "config: %s", text);
	return false;
}

/* The definition in the snapshot, under its new name if it gets one; owned. */
static json_t *restore_config(struct snapshot_op *op, struct domain_config *config, bool *running)
{
	json_t *all = json_loads(op->text, JSON_REJECT_DUPLICATES, NULL);
	const char *domain = json_string_value(json_object_get(all, "domain"));
	const char *state = json_string_value(json_object_get(all, "state"));
	json_t *copy = json_copy(json_object_get(all, "config"));
	char uuid[UUID_TEXT];
	bool well = true;

	if (!domain || !state || !json_is_object(copy)) {
		well = restore_invalid(&op->err, "not the definition of a domain");
	} else if (strcmp(domain, op->domain)) {
		well = restore_invalid(&op->err, "it is of another domain");
		api_error_hint(&op->err, "it is of %s", domain);
	} else if (op->as[0]) {
		uuid_make(uuid);
		json_object_set_new(copy, "name", json_string(op->as));
		json_object_set_new(copy, "uuid", json_string(uuid));
	}
	*running = state && strcmp(state, "paused") != 0;
	json_decref(all);
	if (well && domain_config_decode(copy, "", config, &op->err)) {
		op->err.id = API_E_SNAPSHOT_INVALID;
		well = false;
	}
	if (well && (!config->uuid || strcmp(config->name, op->as[0] ? op->as : op->domain)))
		well = restore_invalid(&op->err, "name or uuid do not fit");
	if (well)
		return copy;
	json_decref(copy);
	return NULL;
}

/* The domain to start: that which exists, or a new transient one. NULL: op has ended. */
static struct domain *restore_domain(struct snapshot_op *op, json_t *config,
				     const struct domain_config *c)
{
	struct domain *dom = domain_find(op->hvd, c->name);
	struct domain *other = domain_find(op->hvd, c->uuid);

	if (!op->as[0] && dom && (dom->worker || dom->busy || domain_state_active(dom->state))) {
		restore_fail(op, API_E_DOMAIN_WRONG_STATE,
			     "the domain runs; destroy it first, or restore it under another name");
		return NULL;
	}
	if (!op->as[0] && dom && migration_forbids_start(dom)) {
		restore_fail(op, API_E_DOMAIN_WRONG_STATE,
			     "its destination may run it; see domain.migrate_resolve");
		return NULL;
	}
	if ((dom && op->as[0]) || (other && other != dom) || (dom && strcmp(dom->uuid, c->uuid))) {
		restore_fail(op, API_E_DOMAIN_EXISTS, "a domain of that name or uuid exists");
		return NULL;
	}
	if (dom)
		return dom;
	if (op->hvd->ndomains < op->hvd->config.max_domains)
		dom = domain_new(op->hvd, c->name, c->uuid);
	if (!dom) {
		restore_fail(op, API_E_RESOURCE_EXHAUSTED, "there are as many domains as may be");
		return NULL;
	}
	dom->config = json_incref(config);
	return dom;
}

static void restore_open_done(struct task *task)
{
	static const char *const names[SNAPFILE_COUNT] = {
		"/snapshot/manifest", "/snapshot/state", "/snapshot/memory", "/snapshot/digests",
		"/snapshot/config",
	};
	struct snapshot_op *op = (struct snapshot_op *)task;
	struct domain_start how = { .reason = REASON_RESTORED, .ended = restore_started, .ctx = op };
	struct hvd *hvd = op->hvd;
	struct domain_config c;
	struct domain *dom = NULL;
	json_t *config = NULL;
	bool running;
	int i;

	if (!op->failed) {
		config = restore_config(op, &c, &running);
		op->failed = !config;
	}
	if (op->failed) {
		op_end(op, NULL, 0);
		return;
	}
	dom = restore_domain(op, config, &c);
	if (dom) {
		how.paused = op->given_paused ? op->paused : !running;
		how.console = op->console;
		how.config = config;
		how.params = json_pack("{s:{s:b}}", "snapshot", "verify", (int)op->verify);
		for (i = 0; i < SNAPFILE_COUNT; i++) {
			how.files[how.nfiles++] = (struct start_file){ names[i], op->fds[i] };
			op->fds[i] = -1;
		}
		domain_start(hvd, NULL, dom, &how);
		json_decref(how.params);
	}
	json_decref(config);
}

static void method_restore(struct api_call *call, const void *data)
{
	const struct restore_args *args = data;
	struct domain *dom = domain_find(hvd_of(call), args->as ? args->as : args->domain);
	struct snapshot_op *op;

	/* One that is being started, stored or ended comes to rest first. */
	if (dom && dom->busy) {
		domain_to_change(call, dom->uuid);
		return;
	}
	op = op_new(call, args->domain, args->name, args->directory);
	if (!op)
		return;
	if (args->as)
		snprintf(op->as, sizeof(op->as), "%s", args->as);
	op->given_paused = json_object_get(call->params, "paused") != NULL;
	op->paused = args->paused;
	op->verify = args->verify;
	op->console = args->console;
	if (!op_job(op, "restore", args->as ? args->as : args->domain, args->detach))
		return;
	if (op_submit(op, restore_open_run, restore_open_done))
		op_busy(op);
}

/* ---- lists and the end ------------------------------------------------------------------------ */

struct list_args {
	const char *domain, *directory;
};
static const struct schema_field list_fields[] = {
	SCHEMA_FIELD(struct list_args, domain, &schema_name, 0, "Only those of this domain."),
	SCHEMA_FIELD(struct list_args, directory, &schema_path, 0,
		     "Those in this folder, not those of hvd's own."),
	{ 0 }
};
static const struct schema list_params = { .kind = SCHEMA_OBJECT, .fields = list_fields };
static const struct schema_field item_fields[] = {
	SCHEMA_RESULT("domain", &schema_string, SCHEMA_REQUIRED, "Of which domain it is."),
	SCHEMA_RESULT("name", &schema_name, SCHEMA_REQUIRED, "Its name."),
	SCHEMA_RESULT("created", &schema_number, SCHEMA_REQUIRED, "Seconds since 1970."),
	SCHEMA_RESULT("state", &schema_string, SCHEMA_REQUIRED, "The domain's, then."),
	SCHEMA_RESULT("memory", &schema_count, SCHEMA_REQUIRED, "Guest RAM in bytes."),
	SCHEMA_RESULT("size", &schema_count, SCHEMA_REQUIRED, "Of the memory's file on disk."),
	SCHEMA_RESULT("path", &schema_string, SCHEMA_REQUIRED, "Its directory."),
	{ 0 }
};
static const struct schema item_schema = { .kind = SCHEMA_OBJECT, .title = "Snapshot",
					   .fields = item_fields };
static const struct schema items_schema = { .kind = SCHEMA_ARRAY, .item = &item_schema };
static const struct schema_field list_result_fields[] = {
	SCHEMA_RESULT("snapshots", &items_schema, SCHEMA_REQUIRED, "Oldest first."),
	{ 0 }
};
static const struct schema list_result = { .kind = SCHEMA_OBJECT, .fields = list_result_fields };

static void list_run(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	op->list = snapstore_list(&op->place, &op->err);
	op->failed = !op->list;
}

static void list_done(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;
	json_t *all = op->list, *one;
	size_t i;

	if (!op->failed) {
		/* In a folder of somebody's the domain is a matter of the contents. */
		json_t *list = json_array();

		json_array_foreach(all, i, one)
			if (!op->domain[0] ||
			    !strcmp(json_string_value(json_object_get(one, "domain")), op->domain))
				json_array_append(list, one);
		op->result = json_pack("{s:o}", "snapshots", list);
	}
	op_end(op, NULL, 0);
}

static void method_list(struct api_call *call, const void *data)
{
	const struct list_args *args = data;
	struct snapshot_op *op = op_new(call, args->domain, NULL, args->directory);

	if (op && op_submit(op, list_run, list_done))
		op_busy(op);
}

struct delete_args {
	const char *domain, *name, *directory;
};
static const struct schema_field delete_fields[] = {
	SCHEMA_FIELD(struct delete_args, domain, &schema_name, SCHEMA_REQUIRED,
		     "The domain that it is of."),
	SCHEMA_FIELD(struct delete_args, name, &schema_name, SCHEMA_REQUIRED, "The snapshot's."),
	SCHEMA_FIELD(struct delete_args, directory, &schema_path, 0, "The folder that it is in."),
	{ 0 }
};
static const struct schema delete_params = { .kind = SCHEMA_OBJECT, .fields = delete_fields };

static void delete_run(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	op->failed = snapstore_delete(&op->place, &op->err) != 0;
}

static void delete_done(struct task *task)
{
	struct snapshot_op *op = (struct snapshot_op *)task;

	if (!op->failed)
		events_emit(op->hvd, "snapshot.deleted", op->domain,
			    json_pack("{s:s}", "name", op->name));
	op_end(op, NULL, 0);
}

static void method_delete(struct api_call *call, const void *data)
{
	const struct delete_args *args = data;
	struct snapshot_op *op = op_new(call, args->domain, args->name, args->directory);

	if (op && op_submit(op, delete_run, delete_done))
		op_busy(op);
}

const struct api_method methods_snapshot[] = {
	{
		.name = "domain.snapshot",
		.summary = "Keep a guest's state and memory in a directory, while it runs: a job, waited for "
			   "or not.",
		.params = &snapshot_params,
		.result = &snapshot_result,
		.args_size = sizeof(struct snapshot_args),
		.privilege = API_RW,
		.handler = method_snapshot,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE,
				     API_E_SNAPSHOT_EXISTS, API_E_STORE_FAILED,
				     API_E_FILE_UNAVAILABLE, API_E_PEER_LOST, API_E_JOB_CONFLICT,
				     API_E_JOB_ABORTED, API_E_UNSUPPORTED),
	},
	{
		.name = "domain.restore",
		.summary = "Make a domain again from a snapshot, which stays: a job, waited for or not.",
		.params = &restore_params,
		.result = &restore_result,
		.args_size = sizeof(struct restore_args),
		.privilege = API_RW,
		.flags = API_GIVES_FDS,
		.handler = method_restore,
		.errors = API_ERRORS(API_E_SNAPSHOT_NOT_FOUND, API_E_SNAPSHOT_INVALID,
				     API_E_DOMAIN_EXISTS, API_E_DOMAIN_WRONG_STATE,
				     API_E_DOMAIN_NOT_FOUND, API_E_FILE_UNAVAILABLE,
				     API_E_DOMAIN_START_FAILED, API_E_STORE_FAILED,
				     API_E_CONFIG_INVALID, API_E_UNSUPPORTED),
	},
	{
		.name = "domain.snapshot_list",
		.summary = "The snapshots, also of domains that are not there any more.",
		.params = &list_params,
		.result = &list_result,
		.args_size = sizeof(struct list_args),
		.privilege = API_RO,
		.handler = method_list,
		.errors = API_ERRORS(API_E_STORE_FAILED),
	},
	{
		.name = "domain.snapshot_delete",
		.summary = "Remove a snapshot; domains that were restored from it run on.",
		.params = &delete_params,
		.args_size = sizeof(struct delete_args),
		.privilege = API_RW,
		.handler = method_delete,
		.errors = API_ERRORS(API_E_SNAPSHOT_NOT_FOUND, API_E_STORE_FAILED),
	},
	{ 0 },
};
