/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots as the engine's users have them.
 */
#include <errno.h>

#include "hv/engine/migrate_internal.h"
#include "hv/migrate/snapshot.h"

struct hv_snapshot {
	struct snapshot s;
};

struct job {
	struct hv_machine *m;
	struct hv_snapshot_config *config;
	bool ran;
};

static int op_stop(void *ctx, struct migrate_error *error)
{
	struct job *job = ctx;

	return machine_stop_held(job->m, HOLD_BRIEF, &job->ran, error);
}

static void op_resume(void *ctx)
{
	struct job *job = ctx;

	machine_resume_held(job->m, job->ran);
}

static int op_save(void *ctx, struct rec_writer *w, struct migrate_error *error)
{
	struct job *job = ctx;
	int err;

	machine_control_begin(job->m);
	err = machine_save_records(job->m, w, error);
	machine_control_end(job->m);
	return err;
}

static void op_throttle(void *ctx, unsigned int percent)
{
	machine_throttle(((struct job *)ctx)->m, percent);
}

static bool op_progress(void *ctx, uint64_t done, uint64_t total, unsigned int round)
{
	struct hv_snapshot_config *c = ((struct job *)ctx)->config;

	return c->progress && c->progress(c->ctx, done, total, round);
}

static const struct snapshot_ops ops = {
	.stop = op_stop,
	.resume = op_resume,
	.save = op_save,
	.throttle = op_throttle,
	.progress = op_progress,
};

static void file_list(const struct hv_snapshot_files *files, int fds[SNAPSHOT_FILES])
{
	fds[SNAPSHOT_MANIFEST] = files->manifest;
	fds[SNAPSHOT_STATE] = files->state;
	fds[SNAPSHOT_MEMORY] = files->memory;
	fds[SNAPSHOT_DIGESTS] = files->digests;
	fds[SNAPSHOT_CONFIG] = files->config;
}

int hv_snapshot_create(struct hv_machine *m, struct hv_snapshot_config *config, char *error)
{
	struct job job = { .m = m, .config = config };
	struct migrate_error e = { "" };
	struct snapshot_request req;
	int fds[SNAPSHOT_FILES];
	int err;

	if (!m || !config || (config->config_len && !config->config))
		return -EINVAL;
	if (config->files)
		file_list(config->files, fds);
	req = (struct snapshot_request){
		.vm = m->vm,
		.ops = &ops,
		.ctx = &job,
		.dir = config->dir,
		.name = config->name,
		.fds = config->files ? fds : NULL,
		.config = config->config,
		.config_len = config->config_len,
	};
	err = snapshot_create(&req, &e);
	config->pause_us = req.pause_us;
	config->pages = req.pages;
	machine_report(error, &e, err);
	return err;
}

int hv_snapshot_open(int dir, const char *name, struct hv_snapshot **out, char *error)
{
	struct migrate_error e = { "" };
	struct snapshot *s;
	int err;

	if (!out)
		return -EINVAL;
	err = snapshot_open(dir, name, &s, &e);
	machine_report(error, &e, err);
	if (!err)
		*out = container_of(s, struct hv_snapshot, s);
	return err;
}

int hv_snapshot_open_files(const struct hv_snapshot_files *files, struct hv_snapshot **out,
			   char *error)
{
	struct migrate_error e = { "" };
	int fds[SNAPSHOT_FILES];
	struct snapshot *s;
	int err;

	if (!files || !out)
		return -EINVAL;
	file_list(files, fds);
	err = snapshot_open_files(fds, &s, &e);
	machine_report(error, &e, err);
	if (!err)
		*out = container_of(s, struct hv_snapshot, s);
	return err;
}

int hv_snapshot_info(struct hv_snapshot *s, struct hv_snapshot_info *out)
{
	if (!s || !out)
		return -EINVAL;
	*out = (struct hv_snapshot_info){
		.created_ns = s->s.created_ns,
		.memory = s->s.memory,
		.config = s->s.config,
		.config_len = s->s.config_len,
		.memory_fd = s->s.fds[SNAPSHOT_MEMORY],
	};
	return 0;
}

int hv_snapshot_load(struct hv_snapshot *s, struct hv_machine *m, enum hv_snapshot_verify verify,
		     char *error)
{
	struct migrate_error e = { "" };
	int err;

	if (!s || !m)
		return -EINVAL;
	err = snapshot_check(&s->s, m->vm, &e);
	if (!err && verify == HV_SNAPSHOT_VERIFY)
		err = snapshot_verify(&s->s, &e);
	if (!err) {
		machine_control_begin(m);
		err = machine_load_records(m, s->s.state, s->s.state_len, &e);
		machine_control_end(m);
	}
	machine_report(error, &e, err);
	return err;
}

void hv_snapshot_close(struct hv_snapshot *s)
{
	if (s)
		snapshot_close(&s->s);
}

int hv_snapshot_delete(int dir, const char *name)
{
	return snapshot_remove(dir, name);
}
