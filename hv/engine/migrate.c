/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations as the engine's users have them: a machine, a stream of hv/migrate, and
 * the thread that runs it.
 *
 * [I] immutable once the thread runs; [L] lock; params and progress are atomic, field
 * by field.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/engine/migrate_internal.h"
#include "hv/migrate/stream.h"

#define STALL_MS    30000
#define DOWNTIME_MS 300
#define ZSTD_MAX    19

struct hv_migration {
	struct hv_machine *m;	      /* [I] borrowed */
	bool incoming;		      /* [I] */
	struct stream stream;	      /* the thread's; then the caller's of resolve */
	struct stream_params params;
	struct stream_progress progress;
	void (*takes)(void *ctx);     /* [I] */
	void (*done)(void *ctx);      /* [I] */
	void *ctx;		      /* [I] */
	int stop_fd;		      /* [I] */
	pthread_t thread;	      /* [I] */
	struct hv_spinlock lock;
	struct hv_cond changed;
	bool ended, aborted, resolving; /* [L] */
	int err;		      /* [L] once ended */
	char error[HV_ERROR_SIZE];    /* [L] once ended */
};

/* ---- the machine, as a stream sees it ---------------------------------------------------- */

static int op_stop(void *ctx, struct migrate_error *error)
{
	struct hv_migration *mig = ctx;

	return machine_stop_held(mig->m, HOLD_LASTING, &mig->stream.guest_ran, error);
}

static void op_resume(void *ctx)
{
	struct hv_migration *mig = ctx;

	machine_resume_held(mig->m, mig->stream.guest_ran);
}

static void op_run(void *ctx)
{
	struct hv_migration *mig = ctx;

	if (mig->takes)
		mig->takes(mig->ctx);
	op_resume(mig);
}

static int op_save(void *ctx, struct rec_writer *w, struct migrate_error *error)
{
	struct hv_migration *mig = ctx;
	int err;

	machine_control_begin(mig->m);
	err = machine_save_records(mig->m, w, error);
	machine_control_end(mig->m);
	return err;
}

static void op_throttle(void *ctx, unsigned int percent)
{
	machine_throttle(((struct hv_migration *)ctx)->m, percent);
}

static int op_load(void *ctx, const void *image, size_t len, struct migrate_error *error)
{
	struct hv_migration *mig = ctx;
	int err;

	machine_control_begin(mig->m);
	err = machine_load_records(mig->m, image, len, error);
	machine_control_end(mig->m);
	return err;
}

static const struct stream_ops machine_stream_ops = {
	.stop = op_stop,
	.resume = op_resume,
	.save = op_save,
	.throttle = op_throttle,
	.load = op_load,
	.run = op_run,
};

/* ---- life ------------------------------------------------------------------------------------ */

static int fail(char *error, int err, const char *text)
{
	if (error)
		snprintf(error, HV_ERROR_SIZE, "%s", text);
	return err;
}

static int set_params(struct stream_params *to, const struct hv_migrate_params *p)
{
	uint32_t first = p->throttle_initial ? p->throttle_initial : 20;
	uint32_t step = p->throttle_increment ? p->throttle_increment : 10;
	uint32_t most = p->throttle_max ? p->throttle_max : 99;

	if (p->zstd_level > ZSTD_MAX || first > 99 || step > 99 || most > 99 ||
	    p->downtime_limit_ms > 3600000)
		return -EINVAL;
	WRITE_ONCE(to->bytes_per_s, p->max_bandwidth);
	WRITE_ONCE(to->downtime_us,
		   (uint64_t)(p->downtime_limit_ms ? p->downtime_limit_ms : DOWNTIME_MS) * 1000);
	WRITE_ONCE(to->zstd_level, p->zstd_level);
	WRITE_ONCE(to->auto_converge, p->auto_converge);
	WRITE_ONCE(to->throttle_initial, first);
	WRITE_ONCE(to->throttle_increment, step);
	WRITE_ONCE(to->throttle_max, most);
	return 0;
}

static void close_channels(struct hv_migration *mig)
{
	unsigned int i;

	for (i = 0; i < mig->stream.nr_channels; i++)
		channel_close(&mig->stream.channels[i]);
}

static void *migration_main(void *arg)
{
	struct hv_migration *mig = arg;
	void (*done)(void *ctx) = mig->done;
	void *ctx = mig->ctx;
	int err = hv_thread_enter();

	pthread_setname_np(pthread_self(), "hv-migrate");
	if (!err) {
		err = mig->incoming ? stream_receive(&mig->stream) : stream_send(&mig->stream);
		hv_thread_leave();
	} else {
		migrate_fail(&mig->stream.error, err, "a thread cannot enter the engine");
	}
	close_channels(mig);
	if (done)
		done(ctx);
	hv_spin_lock(&mig->lock);
	mig->err = err;
	machine_report(mig->error, &mig->stream.error, err);
	mig->ended = true;
	hv_cond_broadcast(&mig->changed);
	hv_spin_unlock(&mig->lock);
	return NULL;
}

static int open_channels(struct hv_migration *mig, const struct hv_migrate_config *config)
{
	struct stream *s = &mig->stream;
	unsigned int i;
	int err;

	for (i = 0; i < config->nr_fds; i++) {
		err = channel_open(&s->channels[i], config->fds[i],
				   config->out_fds ? config->out_fds[i] : config->fds[i],
				   mig->stop_fd);
		if (err)
			return err;
		s->channels[i].fault = &s->fault;
		s->nr_channels++;
	}
	return 0;
}

static void migration_destroy(struct hv_migration *mig)
{
	close_channels(mig);
	if (mig->stop_fd >= 0)
		close(mig->stop_fd);
	hv_cond_destroy(&mig->changed);
	hv_spinlock_destroy(&mig->lock);
	hv_free(mig);
}

static int migration_new(struct hv_machine *m, const struct hv_migrate_config *config,
			 bool incoming, struct hv_migration **out, char *error)
{
	struct hv_migration *mig = hv_zalloc(sizeof(*mig));
	struct stream *s;
	int err;

	if (!mig)
		return fail(error, -ENOMEM, "out of memory");
	mig->m = m;
	mig->incoming = incoming;
	mig->takes = incoming ? config->takes : NULL;
	mig->done = config->done;
	mig->ctx = config->ctx;
	hv_spinlock_init(&mig->lock, HV_LC_LEAF);
	hv_cond_init(&mig->changed);
	s = &mig->stream;
	s->vm = m->vm;
	s->ops = &machine_stream_ops;
	s->ctx = mig;
	s->flags = config->verify ? STREAM_VERIFY : 0;
	s->stall_ms = config->stall_ms ? config->stall_ms : STALL_MS;
	s->params = &mig->params;
	s->progress = &mig->progress;
	s->handover = incoming ? HANDOVER_DST_EMPTY : HANDOVER_SRC_OWNER;
	memcpy(s->id, config->id, sizeof(s->id));
	err = fault_parse(config->fault, &s->fault);
	if (!err)
		err = set_params(&mig->params, &config->params);
	s->pace.bytes_per_s = config->params.max_bandwidth;
	mig->stop_fd = s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (err)
		fail(error, err, "params or fault: out of range");
	else if (mig->stop_fd < 0)
		err = fail(error, -errno, "eventfd");
	else if ((err = open_channels(mig, config)))
		fail(error, err, "fds: cannot be used");
	if (err) {
		migration_destroy(mig);
		return err;
	}
	*out = mig;
	return 0;
}

static int launch(struct hv_machine *m, const struct hv_migrate_config *config, bool incoming,
		  struct hv_migration **out, char *error)
{
	struct hv_migration *mig;
	int err;

	if (!m || !config || !out || !config->fds || !config->nr_fds)
		return fail(error, -EINVAL, "fds: at least one");
	if (config->nr_fds > HV_MIGRATE_STREAMS_MAX)
		return fail(error, -EINVAL, "fds: at most 16");
	err = migration_new(m, config, incoming, &mig, error);
	if (err)
		return err;
	if (incoming) {
		machine_control_begin(m);
		err = machine_run_state(m) == MACHINE_PAUSED ? machine_hold(m, HOLD_LASTING) : -EBUSY;
		machine_control_end(m);
		if (err)
			fail(error, err, "the machine is not one that waits for a guest");
	}
	if (!err) {
		err = -pthread_create(&mig->thread, NULL, migration_main, mig);
		if (err)
			fail(error, err, "no thread");
	}
	if (err) {
		migration_destroy(mig);
		return err;
	}
	*out = mig;
	return 0;
}

int hv_migrate_start(struct hv_machine *m, const struct hv_migrate_config *config,
		     struct hv_migration **out, char *error)
{
	return launch(m, config, false, out, error);
}

int hv_migrate_accept(struct hv_machine *m, const struct hv_migrate_config *config,
		      struct hv_migration **out, char *error)
{
	return launch(m, config, true, out, error);
}

int hv_migrate_wait(struct hv_migration *mig)
{
	int err;

	if (!mig)
		return -EINVAL;
	hv_spin_lock(&mig->lock);
	while (!mig->ended)
		hv_cond_wait_spin(&mig->changed, &mig->lock);
	err = mig->err;
	hv_spin_unlock(&mig->lock);
	return err;
}

void hv_migrate_free(struct hv_migration *mig)
{
	if (!mig)
		return;
	hv_migrate_abort(mig);
	pthread_join(mig->thread, NULL);
	migration_destroy(mig);
}

/* ---- while it runs ------------------------------------------------------------------------------- */

int hv_migrate_set(struct hv_migration *mig, const struct hv_migrate_params *params)
{
	int err;

	if (!mig || !params)
		return -EINVAL;
	err = set_params(&mig->params, params);
	/* In the switch-over there is no limit any more. */
	if (!err && READ_ONCE(mig->progress.phase) < STREAM_SWITCH)
		WRITE_ONCE(mig->stream.pace.bytes_per_s, params->max_bandwidth);
	return err;
}

int hv_migrate_abort(struct hv_migration *mig)
{
	enum handover_state state;
	uint64_t one = 1;
	bool late;

	if (!mig)
		return -EINVAL;
	state = stream_handover(&mig->stream);
	hv_spin_lock(&mig->lock);
	late = mig->ended || (state != HANDOVER_SRC_OWNER && state != HANDOVER_DST_EMPTY);
	mig->aborted |= !late;
	hv_spin_unlock(&mig->lock);
	if (late)
		return -EALREADY;
	return write(mig->stop_fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

static enum hv_migrate_status status_of(const struct hv_migration *mig, bool ended)
{
	enum handover_state state = stream_handover(&mig->stream);

	if (!ended) {
		switch (READ_ONCE(mig->progress.phase)) {
		case STREAM_SETUP:
			return HV_MIGRATE_SETUP;
		case STREAM_PRECOPY:
			return HV_MIGRATE_ACTIVE;
		default:
			return HV_MIGRATE_SWITCHOVER;
		}
	}
	if (state == HANDOVER_SRC_DONE || state == HANDOVER_DST_RUNS)
		return HV_MIGRATE_COMPLETED;
	if (state == HANDOVER_SRC_COMMITTED)
		return HV_MIGRATE_UNCONFIRMED;
	if (state == HANDOVER_DST_READY)
		return HV_MIGRATE_IN_DOUBT;
	return mig->aborted || mig->err == -ECANCELED ? HV_MIGRATE_CANCELLED : HV_MIGRATE_FAILED;
}

int hv_migrate_info(struct hv_migration *mig, struct hv_migrate_info *out)
{
	const struct stream_progress *p;

	if (!mig || !out)
		return -EINVAL;
	p = &mig->progress;
	memset(out, 0, sizeof(*out));
	hv_spin_lock(&mig->lock);
	out->status = status_of(mig, mig->ended);
	if (mig->ended)
		memcpy(out->error, mig->error, sizeof(out->error));
	/* A destination learns it from the source, on its own thread. */
	if (mig->ended || !mig->incoming)
		memcpy(out->id, mig->stream.id, sizeof(out->id));
	out->running = mig->ended && mig->stream.guest_ran;
	hv_spin_unlock(&mig->lock);
	out->incoming = mig->incoming;
	out->may_run = handover_may_run(stream_handover(&mig->stream));
	out->total = READ_ONCE(p->total);
	out->remaining = READ_ONCE(p->remaining);
	out->transferred = READ_ONCE(p->transferred);
	out->normal = READ_ONCE(p->normal);
	out->zero = READ_ONCE(p->zero);
	out->page_size = HV_PAGE_SIZE;
	out->dirty_pages_rate = READ_ONCE(p->dirty_pages_rate);
	out->iteration = READ_ONCE(p->iteration);
	out->setup_us = READ_ONCE(p->setup_us);
	out->total_us = READ_ONCE(p->total_us);
	out->expected_downtime_us = READ_ONCE(p->expected_downtime_us);
	out->downtime_us = READ_ONCE(p->downtime_us);
	out->mbps = (double)READ_ONCE(p->bits_per_s) / 1e6;
	out->throttle_percent = (unsigned int)READ_ONCE(p->throttle);
	return 0;
}

/* ---- after a loss -------------------------------------------------------------------------------------- */

/* One at a time, once it has ended. */
static int resolve_begin(struct hv_migration *mig)
{
	int err = 0;

	hv_spin_lock(&mig->lock);
	if (!mig->ended || mig->resolving)
		err = -EBUSY;
	else
		mig->resolving = true;
	hv_spin_unlock(&mig->lock);
	return err;
}

static void resolve_end(struct hv_migration *mig)
{
	hv_spin_lock(&mig->lock);
	mig->resolving = false;
	if (handover_may_run(stream_handover(&mig->stream)) ||
	    stream_handover(&mig->stream) == HANDOVER_SRC_DONE)
		mig->error[0] = '\0';
	hv_spin_unlock(&mig->lock);
}

int hv_migrate_resolve(struct hv_migration *mig, int fd, char *error)
{
	struct stream *s;
	int err;

	if (!mig)
		return -EINVAL;
	err = resolve_begin(mig);
	if (err)
		return fail(error, err, "the migration has not ended");
	s = &mig->stream;
	memset(&s->error, 0, sizeof(s->error));
	err = channel_open(&s->channels[0], fd, fd, -1);
	if (!err) {
		s->stop_fd = -1;
		err = mig->incoming ? stream_resolve_destination(s) : stream_resolve_source(s);
		channel_close(&s->channels[0]);
	}
	machine_report(error, &s->error, err);
	resolve_end(mig);
	return err;
}

int hv_migrate_gone(struct hv_migration *mig)
{
	int err;

	if (!mig)
		return -EINVAL;
	err = resolve_begin(mig);
	if (err)
		return err;
	if (!handover_in_doubt(stream_handover(&mig->stream)))
		err = -EINVAL;
	else
		err = stream_step(&mig->stream, HANDOVER_EV_GONE);
	if (!err)
		op_run(mig);
	resolve_end(mig);
	return err;
}
