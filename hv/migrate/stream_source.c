/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source of a migration: rounds of pre-copy over all channels, the switch-over,
 * the hand-over. A chunk of memory always goes over the same channel, so that a
 * page's later contents never overtake its earlier ones; marks tell when a round has
 * arrived everywhere.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/clock.h"
#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/migrate/pages.h"
#include "hv/migrate/rounds.h"
#include "hv/migrate/stream.h"

#define QUEUE_ITEMS    64
#define CHANNEL_SHIFT  9   /* log2 of the pages of one channel in a row */
#define OVERHEAD_US    2000 /* of a switch-over besides its pages: state and four messages */
#define RATE_PAGES_MIN 256 /* a shorter round says little about the speed */
#define RATE_UNKNOWN   25000 /* pages a second, until a round has said more */
#define GOOD_US	       4000 /* a switch-over so short is not worth another round */

#define SET(p, field, v) WRITE_ONCE((p)->progress->field, (v))

/* ---- senders: a thread for each channel ------------------------------------------------ */

enum item_kind { ITEM_PAGES, ITEM_MARK, ITEM_QUIT };

struct item {
	enum item_kind kind;
	uint32_t pages;
	uint64_t arg; /* gpa; number of the mark */
};

/* [q] lock; [I] immutable while the thread runs */
struct sender {
	struct source *src;	   /* [I] */
	struct channel *channel;   /* [I] */
	struct pages_sender pages; /* the thread's own */
	pthread_t thread;
	bool has_thread, started;
	struct hv_spinlock lock;
	struct hv_cond changed;
	struct item queue[QUEUE_ITEMS]; /* [q] */
	unsigned int head, count;	/* [q] */
	int err;			/* [q] the first; everything after it is dropped */
};

struct source {
	struct stream *s;
	struct rounds rounds;
	struct sender senders[STREAM_CHANNELS_MAX];
	uint64_t marks;
	/* of the last long round; pages with data, since zeros cost next to nothing */
	uint64_t pages_per_s;
	unsigned int too_dirty; /* rounds that dirtied more than half of what they sent */
	uint64_t begin_ns, stop_ns;
	bool stopped;
};

static void push(struct sender *t, const struct item *item)
{
	hv_spin_lock(&t->lock);
	while (t->count == QUEUE_ITEMS)
		hv_cond_wait_spin(&t->changed, &t->lock);
	t->queue[(t->head + t->count++) % QUEUE_ITEMS] = *item;
	hv_cond_broadcast(&t->changed);
	hv_spin_unlock(&t->lock);
}

static struct item pop(struct sender *t)
{
	struct item item;

	hv_spin_lock(&t->lock);
	while (!t->count)
		hv_cond_wait_spin(&t->changed, &t->lock);
	item = t->queue[t->head];
	t->head = (t->head + 1) % QUEUE_ITEMS;
	t->count--;
	hv_cond_broadcast(&t->changed);
	hv_spin_unlock(&t->lock);
	return item;
}

static int sender_error(struct sender *t)
{
	int err;

	hv_spin_lock(&t->lock);
	err = t->err;
	hv_spin_unlock(&t->lock);
	return err;
}

static int send_item(struct sender *t, const struct item *item)
{
	struct stream *s = t->src->s;
	struct frame mark = { .type = FRAME_MARK, .arg = item->arg };
	uint64_t before = READ_ONCE(t->channel->sent);
	int err;

	if (item->kind == ITEM_MARK)
		return channel_send(t->channel, &mark, NULL, 0, NULL, 0);
	err = pages_send(&t->pages, t->channel, item->arg, item->pages,
			 (int)READ_ONCE(s->params->zstd_level));
	/* For who looks within a round; count_up() has the exact sums at its end. */
	__atomic_fetch_add(&s->progress->transferred, READ_ONCE(t->channel->sent) - before,
			   __ATOMIC_RELAXED);
	__atomic_fetch_sub(&s->progress->remaining, (uint64_t)item->pages * HV_PAGE_SIZE,
			   __ATOMIC_RELAXED);
	return err;
}

static void *sender_main(void *arg)
{
	struct sender *t = arg;
	struct item item;
	int err;

	hv_rcu_register_thread();
	pthread_setname_np(pthread_self(), "hv-mig-send");
	for (item = pop(t); item.kind != ITEM_QUIT; item = pop(t)) {
		if (sender_error(t))
			continue;
		err = send_item(t, &item);
		if (err) {
			hv_spin_lock(&t->lock);
			t->err = err;
			hv_spin_unlock(&t->lock);
		}
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static int senders_start(struct source *src)
{
	unsigned int i;
	int err;

	for (i = 0; i < src->s->nr_channels; i++) {
		struct sender *t = &src->senders[i];

		t->src = src;
		t->channel = &src->s->channels[i];
		hv_spinlock_init(&t->lock, HV_LC_LEAF);
		hv_cond_init(&t->changed);
		t->started = true;
		err = pages_sender_init(&t->pages, src->s->vm);
		if (!err)
			err = -pthread_create(&t->thread, NULL, sender_main, t);
		if (err)
			return err;
		t->has_thread = true;
	}
	return 0;
}

static void senders_stop(struct source *src)
{
	unsigned int i;

	for (i = 0; i < src->s->nr_channels; i++) {
		struct sender *t = &src->senders[i];

		if (!t->started)
			continue;
		if (t->has_thread) {
			push(t, &(struct item){ .kind = ITEM_QUIT });
			pthread_join(t->thread, NULL);
		}
		pages_sender_free(&t->pages);
		hv_cond_destroy(&t->changed);
		hv_spinlock_destroy(&t->lock);
	}
}

/* The first error of any of them. */
static int senders_error(struct source *src)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < src->s->nr_channels && !err; i++)
		err = sender_error(&src->senders[i]);
	return err;
}

static void count_up(struct source *src)
{
	uint64_t sent = 0, normal = 0, zero = 0;
	unsigned int i;

	for (i = 0; i < src->s->nr_channels; i++) {
		sent += READ_ONCE(src->s->channels[i].sent);
		normal += READ_ONCE(src->senders[i].pages.normal);
		zero += READ_ONCE(src->senders[i].pages.zero);
	}
	SET(src->s, transferred, sent);
	SET(src->s, normal, normal);
	SET(src->s, zero, zero);
}

/* ---- what the destination says ------------------------------------------------------------- */

/* Its words, without what a terminal would act on. */
static void quote_peer(struct stream *s, const struct channel *c, const struct frame *f)
{
	char text[160];
	size_t i, len = hv_min((size_t)f->length, sizeof(text) - 1);

	for (i = 0; i < len; i++)
		text[i] = c->buffer[i] < ' ' || c->buffer[i] > '~' ? '?' : (char)c->buffer[i];
	text[len] = '\0';
	migrate_fail(&s->error, -EREMOTEIO, "the destination: %s", text);
}

/* The next frame of the main channel, which has to be of this type. */
static int expect(struct stream *s, unsigned int type, uint64_t arg)
{
	struct channel *c = &s->channels[0];
	struct frame f;
	int err = stream_wait_main(s);

	if (!err)
		err = channel_receive(c, &f, &s->error);
	if (err)
		return err;
	if (f.type == FRAME_FAIL) {
		quote_peer(s, c, &f);
		return -EREMOTEIO;
	}
	if (f.type != type || f.arg != arg)
		return migrate_fail(&s->error, -EPROTO,
				    "the destination sent \"%s\" where \"%s\" is due",
				    frame_name(f.type), frame_name(type));
	return 0;
}

/* A sender failed: if the destination has said why, that is the better reason. */
static int sender_failed(struct source *src, int err)
{
	struct stream *s = src->s;
	struct migrate_error none = { "" };
	struct channel *c = &s->channels[0];
	struct frame f;

	if (err == -ECONNRESET) {
		c->stall_ms = 1000;
		while (!channel_receive(c, &f, &none)) {
			if (f.type == FRAME_FAIL) {
				quote_peer(s, c, &f);
				return -EREMOTEIO;
			}
		}
	}
	return migrate_fail(&s->error, err, "sending memory: %s", strerror(-err));
}

/* ---- rounds ------------------------------------------------------------------------------------ */

static int send_hello(struct stream *s)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < s->nr_channels && !err; i++) {
		struct frame f = { .type = FRAME_HELLO };
		struct stream_hello h = {
			.magic = { 'H', 'V', 'D', 'M', 'I', 'G', 'R', '1' },
			.version = STREAM_VERSION,
			.flags = s->flags,
			.channel = i,
			.channels = s->nr_channels,
			.memory = rounds_memory(s->vm),
			.page_size = HV_PAGE_SIZE,
		};

		memcpy(h.id, s->id, sizeof(h.id));
		err = channel_send(&s->channels[i], &f, &h, sizeof(h), NULL, 0);
	}
	if (err)
		return migrate_fail(&s->error, err, "the connection: %s", strerror(-err));
	return expect(s, FRAME_WELCOME, 0);
}

/* Hand the round's pages to the senders, then a mark to each. */
static int dispatch(struct source *src)
{
	struct stream *s = src->s;
	struct rounds *r = &src->rounds;
	unsigned int i;
	int err;

	SET(s, remaining, r->pages * HV_PAGE_SIZE);
	SET(s, iteration, r->number);
	for (i = 0; i < r->count; i++) {
		hv_gpa_t gpa = r->ranges[i].gpa;
		uint64_t left = r->ranges[i].pages;

		while (left) {
			uint64_t gfn = gpa >> HV_PAGE_SHIFT;
			/* To the end of an aligned chunk: chunks do not straddle channels. */
			uint64_t n = hv_min(left, PAGES_CHUNK - gfn % PAGES_CHUNK);
			struct item item = { ITEM_PAGES, (uint32_t)n, gpa };

			push(&src->senders[(gfn >> CHANNEL_SHIFT) % s->nr_channels], &item);
			gpa += n * HV_PAGE_SIZE;
			left -= n;
		}
		err = senders_error(src);
		if (err)
			return sender_failed(src, err);
		count_up(src);
	}
	src->marks++;
	for (i = 0; i < s->nr_channels; i++)
		push(&src->senders[i], &(struct item){ .kind = ITEM_MARK, .arg = src->marks });
	return 0;
}

/* Harvest, send, and wait until all of it has arrived. */
static int one_round(struct source *src)
{
	struct stream *s = src->s;
	uint64_t before, sent, normal, ns;
	int err;

	count_up(src);
	before = hv_clock_ns();
	sent = READ_ONCE(s->progress->transferred);
	normal = READ_ONCE(s->progress->normal);
	err = dispatch(src);
	if (!err)
		err = expect(s, FRAME_MARKED, src->marks);
	if (err && senders_error(src))
		err = sender_failed(src, senders_error(src));
	if (err)
		return err;
	count_up(src);
	ns = hv_max(hv_clock_ns() - before, UINT64_C(1000));
	sent = READ_ONCE(s->progress->transferred) - sent;
	SET(s, bits_per_s, hv_mul_div_u64(sent, 8 * HV_NSEC_PER_SEC, ns));
	normal = READ_ONCE(s->progress->normal) - normal;
	if (normal >= RATE_PAGES_MIN)
		src->pages_per_s = hv_max(hv_mul_div_u64(normal, HV_NSEC_PER_SEC, ns), UINT64_C(1));
	return 0;
}

/* The vCPUs write faster than the pages go: take time from them, more each time. */
static void converge(struct source *src, uint64_t sent_pages)
{
	struct stream *s = src->s;
	struct stream_params *p = s->params;
	uint64_t now = READ_ONCE(s->progress->throttle), next;

	if (!READ_ONCE(p->auto_converge) || src->rounds.pages * 2 < sent_pages) {
		src->too_dirty = 0;
		return;
	}
	if (++src->too_dirty < 2)
		return;
	src->too_dirty = 0;
	next = now ? now + READ_ONCE(p->throttle_increment) : READ_ONCE(p->throttle_initial);
	next = hv_min(next, (uint64_t)READ_ONCE(p->throttle_max));
	if (next == now)
		return;
	SET(s, throttle, next);
	s->ops->throttle(s->ctx, (unsigned int)next);
}

/*
 * True: what is left can be sent within the downtime limit. That is what the guest may
 * stand still, not what it should: as long as every round leaves less than half of what it
 * sent, another one costs little and makes it shorter.
 */
static bool short_enough(const struct source *src, uint64_t us, uint64_t sent_pages)
{
	uint64_t left = src->rounds.pages;

	return !left || (us <= READ_ONCE(src->s->params->downtime_us) &&
			 (us <= GOOD_US || left > sent_pages / 2));
}

/* Rounds until what is left can be sent within the downtime limit, and well. */
static int precopy(struct source *src)
{
	struct stream *s = src->s;
	uint64_t begin, ns, sent_pages, us;
	int err;

	SET(s, phase, STREAM_PRECOPY);
	err = rounds_start(s->vm, &src->rounds);
	if (!err)
		err = rounds_harvest(&src->rounds);
	if (err)
		return migrate_fail(&s->error, err, "the dirty log: %s", strerror(-err));
	for (;;) {
		begin = hv_clock_ns();
		sent_pages = src->rounds.pages;
		err = one_round(src);
		if (err)
			return err;
		err = rounds_harvest(&src->rounds);
		if (err)
			return migrate_fail(&s->error, err, "the dirty log: %s", strerror(-err));
		ns = hv_max(hv_clock_ns() - begin, UINT64_C(1000));
		SET(s, dirty_pages_rate,
		    hv_mul_div_u64(src->rounds.pages, HV_NSEC_PER_SEC, ns));
		SET(s, remaining, src->rounds.pages * HV_PAGE_SIZE);
		us = OVERHEAD_US + hv_mul_div_u64(src->rounds.pages, 1000000, src->pages_per_s);
		SET(s, expected_downtime_us, us);
		if (short_enough(src, us, sent_pages))
			return 0;
		converge(src, sent_pages);
	}
}

/* ---- verification ---------------------------------------------------------------------------------- */

static int send_digests_of(struct stream *s, hv_gpa_t gpa, uint64_t pages, uint64_t *digests)
{
	struct frame f = { .type = FRAME_DIGESTS };
	uint64_t n;
	int err;

	for (; pages; pages -= n, gpa += n * HV_PAGE_SIZE) {
		n = hv_min(pages, (uint64_t)PAGES_DIGESTS);
		err = pages_digest(s->vm, gpa, n, digests);
		if (err)
			return migrate_fail(&s->error, err, "digests: %s", strerror(-err));
		f.arg = gpa;
		err = channel_send(&s->channels[0], &f, digests, n * sizeof(*digests), NULL, 0);
		if (err)
			return migrate_fail(&s->error, err, "sending digests: %s", strerror(-err));
	}
	return 0;
}

/* Of every slot. The guest is stopped, so its memory slots stay what they are. */
static int send_digests(struct stream *s)
{
	struct hv_dirty_range slots[64];
	uint64_t *digests;
	struct hv_memslots *set;
	struct hv_memslot *slot;
	unsigned int n = 0, i;
	int err = 0;

	hv_rcu_read_lock();
	set = hv_vm_memslots(s->vm, 0);
	for (slot = memslot_first_from(set, 0); slot && n < 64; slot = memslot_next(set, slot))
		slots[n++] = (struct hv_dirty_range){ slot->base_gfn << HV_PAGE_SHIFT, slot->npages };
	hv_rcu_read_unlock();
	if (slot)
		return migrate_fail(&s->error, -E2BIG, "too many memory slots to verify");
	digests = malloc(PAGES_DIGESTS * sizeof(*digests));
	if (!digests)
		return migrate_fail(&s->error, -ENOMEM, "digests: out of memory");
	for (i = 0; i < n && !err; i++)
		err = send_digests_of(s, slots[i].gpa, slots[i].pages, digests);
	free(digests);
	return err;
}

/* ---- switch-over and hand-over ------------------------------------------------------------------------ */

static int send_state(struct stream *s, const struct rec_writer *w)
{
	struct frame f = { .type = FRAME_STATE, .flags = s->guest_ran ? STREAM_STATE_RAN : 0 };
	int err = channel_send(&s->channels[0], &f, w->data, w->len, NULL, 0);

	return err ? migrate_fail(&s->error, err, "sending the state: %s", strerror(-err)) : 0;
}

/* Everything up to the destination's READY. The guest is stopped from here on. */
static int switch_over(struct source *src, struct rec_writer *w)
{
	struct stream *s = src->s;
	int err;

	SET(s, phase, STREAM_SWITCH);
	src->stop_ns = hv_clock_ns();
	err = s->ops->stop(s->ctx, &s->error);
	if (err)
		return err;
	src->stopped = true;
	/* Before the last harvest: completing an instruction may write to memory. */
	err = s->ops->save(s->ctx, w, &s->error);
	if (err)
		return err;
	/* What the harvest before found has not been sent: its round is this one's too. */
	WRITE_ONCE(s->pace.bytes_per_s, 0);
	err = one_round(src);
	if (!err)
		err = rounds_harvest(&src->rounds) ? -ENOMEM : 0;
	if (!err)
		err = one_round(src);
	if (!err && (s->flags & STREAM_VERIFY))
		err = send_digests(s);
	if (!err)
		err = send_state(s, w);
	return err ? migrate_fail(&s->error, err, "%s", strerror(-err)) : expect(s, FRAME_READY, 0);
}

uint64_t stream_traffic(const struct stream *s)
{
	uint64_t bytes = 0;
	unsigned int i;

	for (i = 0; i < s->nr_channels; i++)
		bytes += READ_ONCE(s->channels[i].sent) + READ_ONCE(s->channels[i].received);
	return bytes;
}

int stream_wait_main(struct stream *s)
{
	uint64_t before;
	int err;

	do {
		before = stream_traffic(s);
		err = channel_wait(&s->channels[0]);
	} while (err == -ETIMEDOUT && stream_traffic(s) != before);
	return err ? migrate_fail(&s->error, err, "%s",
				  err == -ETIMEDOUT ? "the peer does not answer" : strerror(-err)) : 0;
}

int stream_step(struct stream *s, enum handover_event event)
{
	enum handover_state state = stream_handover(s);
	int err = handover_step(&state, event);

	if (!err)
		WRITE_ONCE(s->handover, (uint32_t)state);
	return err ? migrate_fail(&s->error, err, "the peer is out of step (%s)",
				  handover_name(state)) : 0;
}

/* The last moment at which an abort is honoured. */
static int last_call(const struct stream *s)
{
	struct pollfd p = { s->stop_fd, POLLIN, 0 };

	return poll(&p, 1, 0) > 0 ? -ECANCELED : 0;
}

static int hand_over(struct stream *s)
{
	struct frame go = { .type = FRAME_GO };
	unsigned int i;
	int err;

	err = last_call(s);
	if (!err)
		err = stream_step(s, HANDOVER_EV_READY);
	if (err)
		return err;
	SET(s, phase, STREAM_HANDOVER);
	for (i = 0; i < s->nr_channels; i++)
		WRITE_ONCE(s->channels[i].stop_fd, -1);
	err = channel_send(&s->channels[0], &go, NULL, 0, NULL, 0);
	if (!err)
		err = expect(s, FRAME_RUNNING, 0);
	return err ? err : stream_step(s, HANDOVER_EV_RUNNING);
}

/* Tell the destination why, if it can still hear it; the guest is ours. */
static void give_up(struct stream *s)
{
	struct frame f = { .type = FRAME_ABORT };
	const char *why = s->error.text;

	WRITE_ONCE(s->channels[0].stop_fd, -1);
	s->channels[0].stall_ms = 1000;
	s->channels[0].pace = NULL;
	channel_send(&s->channels[0], &f, why, strlen(why), NULL, 0);
}

int stream_send(struct stream *s)
{
	struct source *src = calloc(1, sizeof(*src));
	struct rec_writer w;
	unsigned int i;
	bool clean;
	int err;

	if (!src)
		return migrate_fail(&s->error, -ENOMEM, "out of memory");
	src->s = s;
	src->pages_per_s = RATE_UNKNOWN;
	src->begin_ns = hv_clock_ns();
	rec_writer_init(&w);
	WRITE_ONCE(s->handover, HANDOVER_SRC_OWNER);
	SET(s, total, rounds_memory(s->vm));
	for (i = 0; i < s->nr_channels; i++) {
		WRITE_ONCE(s->channels[i].stop_fd, s->stop_fd);
		s->channels[i].stall_ms = s->stall_ms;
		s->channels[i].pace = &s->pace;
	}
	err = send_hello(s);
	SET(s, setup_us, (hv_clock_ns() - src->begin_ns) / 1000);
	if (!err)
		err = senders_start(src);
	if (!err)
		err = precopy(src);
	if (!err)
		err = switch_over(src, &w);
	if (!err)
		err = hand_over(s);
	migrate_fail(&s->error, err, "%s", strerror(-err));
	/* Whoever is blocked in a send ends by the stop descriptor or the closed connection. */
	if (err && stream_handover(s) == HANDOVER_SRC_OWNER)
		stream_step(s, HANDOVER_EV_LOST);
	clean = !src->senders[0].started || !sender_error(&src->senders[0]);
	senders_stop(src);
	/* In the middle of a frame there is nothing to say; closing says enough. */
	if (err && clean && stream_handover(s) == HANDOVER_SRC_OWNER)
		give_up(s);
	rounds_stop(&src->rounds);
	if (READ_ONCE(s->progress->throttle))
		s->ops->throttle(s->ctx, 0);
	SET(s, throttle, 0);
	if (src->stopped && stream_handover(s) == HANDOVER_SRC_OWNER)
		s->ops->resume(s->ctx);
	if (src->stopped)
		SET(s, downtime_us, (hv_clock_ns() - src->stop_ns) / 1000);
	SET(s, total_us, (hv_clock_ns() - src->begin_ns) / 1000);
	count_up(src);
	SET(s, phase, STREAM_END);
	rec_writer_free(&w);
	free(src);
	return err;
}

int stream_resolve_source(struct stream *s)
{
	struct frame f = { .type = FRAME_RESOLVE };
	bool committed = stream_handover(s) == HANDOVER_SRC_COMMITTED;
	int err;

	if (!committed && stream_handover(s) != HANDOVER_SRC_OWNER)
		return migrate_fail(&s->error, -EINVAL, "there is nothing to resolve");
	f.arg = committed;
	WRITE_ONCE(s->channels[0].stop_fd, s->stop_fd);
	s->channels[0].stall_ms = s->stall_ms;
	err = channel_send(&s->channels[0], &f, s->id, sizeof(s->id), NULL, 0);
	if (err)
		return migrate_fail(&s->error, err, "the connection: %s", strerror(-err));
	if (!committed)
		return expect(s, FRAME_FAIL, 0) == -EREMOTEIO ? 0 : -EPROTO;
	err = expect(s, FRAME_RUNNING, 0);
	return err ? err : stream_step(s, HANDOVER_EV_RUNNING);
}
