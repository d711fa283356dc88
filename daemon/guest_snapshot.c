/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking a snapshot is a job on the slow thread; restoring is part of a start.
 */
#include "daemon/guest_snapshot.h"

#include "daemon/guest.h"
#include "daemon/methods.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- taking ------------------------------------------------------------------------- */

enum { FILE_MANIFEST, FILE_STATE, FILE_MEMORY, FILE_DIGESTS, FILES };

struct guest_snapshot {
	struct task task;
	struct guest_job job;
	struct guest *guest;
	struct hv_machine *machine;
	int fds[FILES];			/* ours */
	char *config;			/* ours */
	atomic_bool stop;
	_Atomic uint64_t done, total, round;
	/* The slow thread's, until the task is done. */
	uint64_t pause_us, pages;
	int ret;
	char error[HV_ERROR_SIZE];
};

static void snapshot_free(struct guest_snapshot *s)
{
	int i;

	for (i = 0; i < FILES; i++)
		if (s->fds[i] >= 0)
			close(s->fds[i]);
	free(s->config);
	free(s);
}

static bool snapshot_progress(void *ctx, uint64_t done, uint64_t total, unsigned int round)
{
	struct guest_snapshot *s = ctx;

	atomic_store(&s->done, done);
	atomic_store(&s->total, total);
	atomic_store(&s->round, round);
	return atomic_load(&s->stop);
}

static void snapshot_run(struct task *task)
{
	struct guest_snapshot *s = (struct guest_snapshot *)task;
	const struct hv_snapshot_files files = { .manifest = s->fds[FILE_MANIFEST],
						 .state = s->fds[FILE_STATE],
						 .memory = s->fds[FILE_MEMORY],
						 .digests = s->fds[FILE_DIGESTS],
						 .config = -1 };
	struct hv_snapshot_config config = { .files = &files, .config = s->config,
					     .config_len = strlen(s->config),
					     .progress = snapshot_progress, .ctx = s };

	/* It may have waited for others. */
	s->ret = atomic_load(&s->stop) ? -ECANCELED :
					 hv_snapshot_create(s->machine, &config, s->error);
	s->pause_us = config.pause_us;
	s->pages = config.pages;
}

static void snapshot_error(const struct guest_snapshot *s, struct api_error *err)
{
	enum api_err id = s->ret == -ECANCELED ? API_E_JOB_ABORTED :
			  s->ret == -ENOMEM ? API_E_RESOURCE_EXHAUSTED :
			  s->ret == -EOPNOTSUPP ? API_E_UNSUPPORTED :
			  s->ret == -EBUSY ? API_E_JOB_CONFLICT : API_E_STORE_FAILED;

	if (s->ret == -EIO && !strcmp(s->error, "the guest has ended"))
		id = API_E_DOMAIN_WRONG_STATE;
	if (s->ret == -ECANCELED)
		api_error_set(err, id, "the snapshot was aborted");
	else
		api_error_set(err, id, "no snapshot: %s", s->error);
}

static void snapshot_done(struct task *task)
{
	struct guest_snapshot *s = (struct guest_snapshot *)task;
	struct api_error err;

	s->guest->snapshot = NULL;
	if (s->ret) {
		snapshot_error(s, &err);
		guest_job_end(&s->job, s->ret == -ECANCELED ? JOB_ABORTED : JOB_FAILED, NULL, &err);
	} else {
		guest_job_end(&s->job, JOB_COMPLETED,
			      json_pack("{s:I,s:I}", "pause_us", (json_int_t)s->pause_us, "pages",
					(json_int_t)s->pages),
			      NULL);
	}
	snapshot_free(s);
}

static void snapshot_refresh(struct guest_job *job)
{
	struct guest_snapshot *s = (struct guest_snapshot *)((char *)job -
							     offsetof(struct guest_snapshot, job));

	job->done = atomic_load(&s->done);
	job->total = atomic_load(&s->total);
	json_decref(job->statistics);
	job->statistics = json_pack("{s:I}", "round", (json_int_t)atomic_load(&s->round));
}

static void snapshot_abort(struct guest_job *job)
{
	guest_snapshot_stop(job->guest);
}

void guest_snapshot_stop(struct guest *g)
{
	if (g->snapshot)
		atomic_store(&g->snapshot->stop, true);
}

static struct guest_snapshot *snapshot_new(struct api_call *call, const char *config)
{
	struct guest_snapshot *s = calloc(1, sizeof(*s));
	struct guest *g = guest_of(call);
	int i;

	if (!s)
		return NULL;
	for (i = 0; i < FILES; i++) {
		s->fds[i] = call->fds[i];
		call->fds[i] = -1;
	}
	s->config = strdup(config);
	s->guest = g;
	s->machine = g->machine;
	s->task.run = snapshot_run;
	s->task.done = snapshot_done;
	s->job.kind = "snapshot";
	s->job.unit = "bytes";
	s->job.refresh = snapshot_refresh;
	s->job.abort = snapshot_abort;
	if (s->config)
		return s;
	snapshot_free(s);
	return NULL;
}

struct snapshot_args {
	const char *config;
};
static const struct schema config_schema = { .kind = SCHEMA_STRING, .min = 1, .max = 1 << 20 };
static const struct schema_field snapshot_fields[] = {
	SCHEMA_FIELD(struct snapshot_args, config, &config_schema, SCHEMA_REQUIRED,
		     "What stands in the file that hvd wrote."),
	{ 0 }
};
static const struct schema snapshot_schema = { .kind = SCHEMA_OBJECT, .fields = snapshot_fields };

static void worker_snapshot(struct api_call *call, const void *data)
{
	const struct snapshot_args *args = data;
	struct guest *g = guest_of(call);
	struct guest_snapshot *s;
	int ret;

	if (!guest_has_machine(call))
		return;
	if (call->nfds != FILES || g->snapshot) {
		api_fail_text(call, API_E_JOB_CONFLICT, "one snapshot at a time, in %d files", FILES);
		return;
	}
	s = snapshot_new(call, args->config);
	if (!s) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	ret = guest_job_begin(g, &s->job);
	if (!ret) {
		g->snapshot = s;
		ret = task_submit(g->slow, &s->task);
	}
	if (!ret) {
		api_reply(call, NULL);
		return;
	}
	api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "too much waits for the engine");
	if (g->snapshot == s) {
		s->ret = -ENOMEM;
		snapshot_done(&s->task);
	} else {
		snapshot_free(s);
	}
}

const struct api_method methods_guest_snapshot[] = {
	{
		.name = "worker.snapshot",
		.summary = "Fill the files of a snapshot: manifest, state, memory, digests.",
		.params = &snapshot_schema,
		.args_size = sizeof(struct snapshot_args),
		.privilege = API_RW,
		.flags = API_INTERNAL | API_TAKES_FDS,
		.handler = worker_snapshot,
		.errors = API_ERRORS(API_E_DOMAIN_WRONG_STATE, API_E_JOB_CONFLICT),
	},
	{ 0 },
};

/* ---- restoring ------------------------------------------------------------------------- */

static int restore_fail(struct engine_call *op, int ret, const char *error)
{
	engine_fail(op, ret == -ENOMEM ? API_E_RESOURCE_EXHAUSTED : API_E_SNAPSHOT_INVALID, "%s",
		    error);
	return ret;
}

int guest_restore_open(struct engine_call *op, struct guest_restore *r,
		       struct hv_machine_config *config)
{
	char error[HV_ERROR_SIZE] = "";
	struct hv_snapshot_info info;
	int ret = hv_snapshot_open_files(&r->files, &r->snapshot, error);

	if (!ret)
		ret = hv_snapshot_info(r->snapshot, &info);
	if (ret)
		return restore_fail(op, ret, error);
	if (info.memory != config->memory)
		return restore_fail(op, -EPROTO, "memory: not of the size that the definition has");
	config->memory_fd = info.memory_fd;
	config->memory_private = true;
	config->incoming = true;
	return 0;
}

int guest_restore_load(struct engine_call *op, struct guest_restore *r)
{
	char error[HV_ERROR_SIZE] = "";
	int ret = hv_snapshot_load(r->snapshot, op->machine,
				   r->verify ? HV_SNAPSHOT_VERIFY : HV_SNAPSHOT_TRUST, error);

	if (!ret)
		return 0;
	hv_machine_destroy(op->machine);
	op->machine = NULL;
	return restore_fail(op, ret, error);
}

void guest_restore_close(struct guest_restore *r)
{
	hv_snapshot_close(r->snapshot);
	r->snapshot = NULL;
}
