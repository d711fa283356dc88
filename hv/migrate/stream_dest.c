/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The destination of a migration. The caller's thread serves the main channel, one
 * more thread each of the others. Until it is READY nothing that it has is worth
 * anything: every failure ends with the machine thrown away.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/migrate/pages.h"
#include "hv/migrate/rounds.h"
#include "hv/migrate/stream.h"

/* [l] lock; [I] immutable while threads run */
struct helper {
	struct dest *d;	       /* [I] */
	struct channel *channel; /* [I] */
	struct pages_receiver pages;
	struct migrate_error error; /* [l] */
	pthread_t thread;
	bool has_thread, ready;
	uint64_t mark; /* [l] the last that came */
	int err;       /* [l] */
};

struct dest {
	struct stream *s;
	struct hv_spinlock lock;
	struct hv_cond changed;
	struct helper helpers[STREAM_CHANNELS_MAX]; /* [0]: the caller's thread */
	int quit_fd; /* readable: helpers end */
	bool verified; /* digests have come, and were right */
};

/* ---- greeting ---------------------------------------------------------------------------- */

static int check_hello(struct stream *s, const struct frame *f, const struct stream_hello *h)
{
	if (f->type != FRAME_HELLO || f->length != sizeof(*h) ||
	    memcmp(h->magic, "HVDMIGR1", sizeof(h->magic)))
		return migrate_fail(&s->error, -EPROTO, "the peer does not speak this protocol");
	if (h->version != STREAM_VERSION)
		return migrate_fail(&s->error, -EPROTO,
				    "protocol version %u, and this build speaks %u", h->version,
				    STREAM_VERSION);
	if (h->flags & ~STREAM_VERIFY || h->reserved)
		return migrate_fail(&s->error, -EPROTO, "the source wants features %#x", h->flags);
	if (h->channels != s->nr_channels || h->channel >= h->channels)
		return migrate_fail(&s->error, -EPROTO, "channel %u of %u, and %u connections are here",
				    h->channel, h->channels, s->nr_channels);
	if (h->page_size != HV_PAGE_SIZE || h->memory != rounds_memory(s->vm))
		return migrate_fail(&s->error, -EPROTO,
				    "the guest has %llu bytes of memory, this machine %llu",
				    (unsigned long long)h->memory,
				    (unsigned long long)rounds_memory(s->vm));
	return 0;
}

/* A hello on every connection; then channels[] is in the source's order. */
static int receive_hellos(struct stream *s)
{
	struct channel sorted[STREAM_CHANNELS_MAX];
	bool taken[STREAM_CHANNELS_MAX] = { false };
	struct stream_hello h;
	unsigned int i;
	struct frame f;
	int err;

	for (i = 0; i < s->nr_channels; i++) {
		err = channel_receive(&s->channels[i], &f, &s->error);
		if (err)
			return err;
		memset(&h, 0, sizeof(h));
		memcpy(&h, s->channels[i].buffer, hv_min((size_t)f.length, sizeof(h)));
		err = check_hello(s, &f, &h);
		if (err)
			return err;
		if (taken[h.channel] || (i && memcmp(s->id, h.id, sizeof(h.id))))
			return migrate_fail(&s->error, -EPROTO,
					    "the connections are not of one migration");
		taken[h.channel] = true;
		sorted[h.channel] = s->channels[i];
		memcpy(s->id, h.id, sizeof(h.id));
		s->flags = h.flags;
	}
	memcpy(s->channels, sorted, s->nr_channels * sizeof(sorted[0]));
	return 0;
}

static int tell(struct stream *s, unsigned int type, uint64_t arg)
{
	struct frame f = { .type = (uint16_t)type, .arg = arg };
	int err = channel_send(&s->channels[0], &f, NULL, 0, NULL, 0);

	return err ? migrate_fail(&s->error, err, "the connection: %s", strerror(-err)) : 0;
}

/* ---- helpers ---------------------------------------------------------------------------------- */

/* Marks come in order, 1 up. */
static int got_mark(struct helper *t, uint64_t number)
{
	struct dest *d = t->d;
	int err = 0;

	hv_spin_lock(&d->lock);
	if (number != t->mark + 1)
		err = -EPROTO;
	else
		t->mark = number;
	hv_cond_broadcast(&d->changed);
	hv_spin_unlock(&d->lock);
	return err ? migrate_fail(&t->error, err, "mark %llu is out of order",
				  (unsigned long long)number) : 0;
}

static int helper_frame(struct helper *t)
{
	struct frame f;
	int err = channel_receive(t->channel, &f, &t->error);

	if (err)
		return err;
	if (f.type == FRAME_MARK)
		return got_mark(t, f.arg);
	if (f.type != FRAME_PAGES)
		return migrate_fail(&t->error, -EPROTO, "frame \"%s\" does not belong here",
				    frame_name(f.type));
	return pages_receive(&t->pages, &f, t->channel->buffer, &t->error);
}

static void *helper_main(void *arg)
{
	struct helper *t = arg;
	int err;

	hv_rcu_register_thread();
	pthread_setname_np(pthread_self(), "hv-mig-recv");
	do {
		err = helper_frame(t);
	} while (!err);
	hv_rcu_unregister_thread();
	hv_spin_lock(&t->d->lock);
	t->err = err;
	hv_cond_broadcast(&t->d->changed);
	hv_spin_unlock(&t->d->lock);
	return NULL;
}

static int helpers_start(struct dest *d)
{
	struct stream *s = d->s;
	unsigned int i;
	int err;

	for (i = 0; i < s->nr_channels; i++) {
		struct helper *t = &d->helpers[i];

		t->d = d;
		t->channel = &s->channels[i];
		err = pages_receiver_init(&t->pages, s->vm, i ? &d->helpers[0].pages : NULL);
		if (err)
			return migrate_fail(&s->error, err, "out of memory");
		t->ready = true;
		if (!i)
			continue;
		t->channel->stop_fd = d->quit_fd;
		t->channel->stall_ms = 0; /* the main channel tells whether the source is there */
		err = -pthread_create(&t->thread, NULL, helper_main, t);
		if (err)
			return migrate_fail(&s->error, err, "threads: %s", strerror(-err));
		t->has_thread = true;
	}
	return 0;
}

static void helpers_stop(struct dest *d)
{
	uint64_t one = 1;
	unsigned int i;

	if (write(d->quit_fd, &one, sizeof(one)) != sizeof(one))
		HV_BUG_ON(errno != EAGAIN); /* the counter is not 0: that is what it is for */
	for (i = 0; i < d->s->nr_channels; i++) {
		if (d->helpers[i].has_thread)
			pthread_join(d->helpers[i].thread, NULL);
	}
	for (i = d->s->nr_channels; i-- > 0;) {
		if (d->helpers[i].ready)
			pages_receiver_free(&d->helpers[i].pages);
	}
}

/* All channels have got to the mark; or one of them failed. */
static int wait_mark(struct dest *d, uint64_t number)
{
	uint64_t wait = (d->s->stall_ms ? d->s->stall_ms : 3600000) * HV_NSEC_PER_MSEC;
	uint64_t until = hv_clock_ns() + wait, traffic = stream_traffic(d->s);
	unsigned int i;
	int err = 0;

	hv_spin_lock(&d->lock);
	for (i = 1; i < d->s->nr_channels && !err;) {
		struct helper *t = &d->helpers[i];

		if (t->mark >= number) {
			i++;
		} else if (t->err) {
			err = migrate_fail(&d->s->error, t->err, "%s", t->error.text);
		} else if (hv_cond_wait_spin_until(&d->changed, &d->lock, until)) {
			continue;
		} else if (stream_traffic(d->s) != traffic) {
			traffic = stream_traffic(d->s);
			until = hv_clock_ns() + wait;
		} else {
			err = migrate_fail(&d->s->error, -ETIMEDOUT,
					   "channel %u does not get to mark %llu", i,
					   (unsigned long long)number);
		}
	}
	hv_spin_unlock(&d->lock);
	return err;
}

/* ---- the main channel ---------------------------------------------------------------------------- */

static int check_digests(struct dest *d, const struct frame *f)
{
	struct stream *s = d->s;
	const uint8_t *theirs = s->channels[0].buffer;
	uint64_t n = f->length / 8, i, want, *ours;
	int err;

	if (f->length % 8 || !n || n > PAGES_DIGESTS || f->arg & ~HV_PAGE_MASK)
		return migrate_fail(&s->error, -EBADMSG, "frame \"digests\" is malformed");
	ours = malloc(n * sizeof(*ours));
	if (!ours)
		return migrate_fail(&s->error, -ENOMEM, "out of memory");
	err = pages_digest(s->vm, f->arg, n, ours);
	if (err)
		migrate_fail(&s->error, err, "digests of memory at %#llx, where none is",
			     (unsigned long long)f->arg);
	for (i = 0; i < n && !err; i++) {
		memcpy(&want, theirs + 8 * i, sizeof(want));
		if (want != ours[i])
			err = migrate_fail(&s->error, -EILSEQ,
					   "verification: the page at %#llx differs from the source's",
					   (unsigned long long)(f->arg + i * HV_PAGE_SIZE));
	}
	free(ours);
	d->verified = true;
	return err;
}

static int got_state(struct dest *d, const struct frame *f)
{
	struct stream *s = d->s;
	int err;

	if ((s->flags & STREAM_VERIFY) && !d->verified)
		return migrate_fail(&s->error, -EPROTO, "the digests that were promised did not come");
	if (f->flags & ~STREAM_STATE_RAN)
		return migrate_fail(&s->error, -EPROTO, "frame \"state\": unknown flags");
	s->guest_ran = f->flags & STREAM_STATE_RAN;
	WRITE_ONCE(s->progress->phase, STREAM_SWITCH);
	err = s->ops->load(s->ctx, s->channels[0].buffer, f->length, &s->error);
	if (!err)
		err = stream_step(s, HANDOVER_EV_READY);
	if (err)
		return err;
	WRITE_ONCE(s->progress->phase, STREAM_HANDOVER);
	WRITE_ONCE(s->channels[0].stop_fd, -1); /* no abort from here on: we have promised */
	return tell(s, FRAME_READY, 0);
}

static void count_up(struct dest *d)
{
	uint64_t bytes = 0, normal = 0, zero = 0;
	unsigned int i;

	for (i = 0; i < d->s->nr_channels; i++) {
		bytes += READ_ONCE(d->s->channels[i].received);
		normal += READ_ONCE(d->helpers[i].pages.normal);
		zero += READ_ONCE(d->helpers[i].pages.zero);
	}
	WRITE_ONCE(d->s->progress->transferred, bytes);
	WRITE_ONCE(d->s->progress->normal, normal);
	WRITE_ONCE(d->s->progress->zero, zero);
}

static int got_mark_on_main(struct dest *d, const struct frame *f)
{
	int err = got_mark(&d->helpers[0], f->arg);

	if (err)
		return migrate_fail(&d->s->error, err, "%s", d->helpers[0].error.text);
	err = wait_mark(d, f->arg);
	count_up(d);
	WRITE_ONCE(d->s->progress->iteration, f->arg);
	return err ? err : tell(d->s, FRAME_MARKED, f->arg);
}

static int got_go(struct dest *d)
{
	struct stream *s = d->s;
	int err = stream_step(s, HANDOVER_EV_GO);

	if (err)
		return err;
	s->ops->run(s->ctx);
	/* The guest runs whether the source hears of it or not. */
	tell(s, FRAME_RUNNING, 0);
	return 0;
}

static int got_abort(struct dest *d, const struct frame *f)
{
	struct stream *s = d->s;
	char text[160];
	size_t i, len = hv_min((size_t)f->length, sizeof(text) - 1);

	for (i = 0; i < len; i++)
		text[i] = (char)s->channels[0].buffer[i];
	for (i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			text[i] = '?';
	}
	text[len] = '\0';
	stream_step(s, HANDOVER_EV_ABORT);
	return migrate_fail(&s->error, -ECANCELED, "the source keeps the guest: %s", text);
}

/* One frame. *done: the guest runs. */
static int main_frame(struct dest *d, bool *done)
{
	struct stream *s = d->s;
	bool ready = stream_handover(s) == HANDOVER_DST_READY;
	struct frame f;
	int err = stream_wait_main(s);

	if (!err)
		err = channel_receive(&s->channels[0], &f, &s->error);
	if (err)
		return err;
	if (f.type == FRAME_ABORT)
		return got_abort(d, &f);
	if (f.type == FRAME_GO) {
		err = got_go(d);
		*done = !err;
		return err;
	}
	/* Once ready, only those two decide anything. */
	if (ready)
		return migrate_fail(&s->error, -EPROTO, "frame \"%s\" where the decision is due",
				    frame_name(f.type));
	switch (f.type) {
	case FRAME_PAGES:
		return pages_receive(&d->helpers[0].pages, &f, s->channels[0].buffer, &s->error);
	case FRAME_MARK:
		return got_mark_on_main(d, &f);
	case FRAME_DIGESTS:
		return check_digests(d, &f);
	case FRAME_STATE:
		return got_state(d, &f);
	default:
		return migrate_fail(&s->error, -EPROTO, "frame \"%s\" does not belong here",
				    frame_name(f.type));
	}
}

/* Nothing came of it: say why, if the source still listens. */
static void refuse(struct stream *s)
{
	struct frame f = { .type = FRAME_FAIL };

	WRITE_ONCE(s->channels[0].stop_fd, -1);
	s->channels[0].stall_ms = 1000;
	channel_send(&s->channels[0], &f, s->error.text, strlen(s->error.text), NULL, 0);
}

static int serve(struct dest *d)
{
	struct stream *s = d->s;
	bool done = false;
	int err;

	err = receive_hellos(s);
	if (!err)
		err = helpers_start(d);
	if (!err)
		err = tell(s, FRAME_WELCOME, 0);
	if (!err)
		WRITE_ONCE(s->progress->phase, STREAM_PRECOPY);
	while (!err && !done)
		err = main_frame(d, &done);
	return err;
}

int stream_receive(struct stream *s)
{
	struct dest *d = calloc(1, sizeof(*d));
	uint64_t begin = hv_clock_ns();
	unsigned int i;
	int err;

	if (!d)
		return migrate_fail(&s->error, -ENOMEM, "out of memory");
	WRITE_ONCE(s->handover, HANDOVER_DST_EMPTY);
	WRITE_ONCE(s->progress->total, rounds_memory(s->vm));
	d->s = s;
	d->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->quit_fd < 0) {
		err = migrate_fail(&s->error, -errno, "eventfd: %s", strerror(errno));
		free(d);
		return err;
	}
	hv_spinlock_init(&d->lock, HV_LC_LEAF);
	hv_cond_init(&d->changed);
	for (i = 0; i < s->nr_channels; i++) {
		WRITE_ONCE(s->channels[i].stop_fd, s->stop_fd);
		s->channels[i].stall_ms = s->stall_ms;
	}
	err = serve(d);
	count_up(d);
	helpers_stop(d);
	/* Lost before it was ready: discarded. After: whatever came, only the source decides. */
	if (err && !handover_may_run(stream_handover(s))) {
		stream_step(s, HANDOVER_EV_LOST);
		if (stream_handover(s) == HANDOVER_DST_DISCARDED)
			refuse(s);
	}
	WRITE_ONCE(s->progress->total_us, (hv_clock_ns() - begin) / 1000);
	WRITE_ONCE(s->progress->phase, STREAM_END);
	hv_cond_destroy(&d->changed);
	hv_spinlock_destroy(&d->lock);
	close(d->quit_fd);
	free(d);
	return err;
}

/* ---- a new connection after a loss --------------------------------------------------------------------- */

int stream_resolve_destination(struct stream *s)
{
	enum handover_state state = stream_handover(s);
	struct channel *c = &s->channels[0];
	struct frame f;
	int err;

	c->stop_fd = s->stop_fd;
	c->stall_ms = s->stall_ms;
	err = channel_receive(c, &f, &s->error);
	if (err)
		return err;
	if (f.type != FRAME_RESOLVE || f.length != sizeof(s->id) || f.arg > 1 ||
	    memcmp(c->buffer, s->id, sizeof(s->id)))
		return migrate_fail(&s->error, -EPROTO, "the peer speaks of another migration");
	if (!f.arg) {
		if (state == HANDOVER_DST_RUNS)
			return migrate_fail(&s->error, -EPROTO, "the guest runs here by the source's word");
		stream_step(s, HANDOVER_EV_ABORT);
		migrate_fail(&s->error, -ECANCELED, "the source keeps the guest");
		refuse(s);
		return -ECANCELED;
	}
	if (state == HANDOVER_DST_DISCARDED || state == HANDOVER_DST_EMPTY) {
		migrate_fail(&s->error, -ESTALE, "the guest is not here any more");
		refuse(s);
		return -ESTALE;
	}
	err = stream_step(s, HANDOVER_EV_GO);
	if (err)
		return err;
	if (state != HANDOVER_DST_RUNS)
		s->ops->run(s->ctx);
	return tell(s, FRAME_RUNNING, 0);
}
