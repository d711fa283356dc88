/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over: its table; real machines whose connection is cut before and after
 * every kind of message, where afterwards one side has the guest or both know that
 * they have to ask, and asking gives it to one; and streams that somebody made up.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "hv/migrate/checksum.h"
#include "hv/migrate/stream.h"
#include "tests/lib/migrate_fixture.h"

/* ---- the table ---------------------------------------------------------------------------- */

static void test_table(void **state)
{
	enum handover_state s = HANDOVER_SRC_OWNER, d = HANDOVER_DST_EMPTY;

	assert_true(handover_may_run(s) && !handover_may_run(d));
	assert_int_equal(handover_step(&d, HANDOVER_EV_GO), -EPROTO); /* not ready */
	assert_int_equal(handover_step(&s, HANDOVER_EV_RUNNING), -EPROTO);
	assert_int_equal(handover_step(&d, HANDOVER_EV_READY), 0);
	assert_false(handover_may_run(d));
	assert_int_equal(handover_step(&d, HANDOVER_EV_LOST), 0);
	assert_true(handover_in_doubt(d)); /* it keeps its promise */
	assert_int_equal(handover_step(&s, HANDOVER_EV_READY), 0);
	assert_true(!handover_may_run(s) && handover_in_doubt(s));
	assert_int_equal(handover_step(&s, HANDOVER_EV_ABORT), -EPROTO); /* too late */
	assert_int_equal(handover_step(&s, HANDOVER_EV_LOST), 0);
	assert_false(handover_may_run(s));
	assert_int_equal(handover_step(&d, HANDOVER_EV_GO), 0);
	assert_true(handover_may_run(d));
	assert_int_equal(handover_step(&d, HANDOVER_EV_ABORT), -EPROTO);
	assert_int_equal(handover_step(&s, HANDOVER_EV_RUNNING), 0);
	assert_int_equal(s, HANDOVER_SRC_DONE);
	assert_int_equal(handover_step(&s, HANDOVER_EV_GONE), -EPROTO);
}

/* ---- a wire that can be cut -------------------------------------------------------------------- */

enum cut { CUT_NOT, CUT_BEFORE, CUT_AFTER };

struct wire {
	int s, d; /* our ends */
	unsigned int type;
	enum cut cut;
	pthread_t threads[2];
	uint8_t *record; /* source to destination */
	size_t len, cap;
};

struct one_way {
	struct wire *w;
	int from, to;
	bool recorded;
};

static bool move_bytes(int fd, uint8_t *buf, size_t len, bool out)
{
	while (len) {
		ssize_t n = out ? send(fd, buf, len, MSG_NOSIGNAL) : read(fd, buf, len);

		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

static void *wire_main(void *arg)
{
	struct one_way way = *(struct one_way *)arg;
	uint8_t *buf = malloc(CHANNEL_HEADER_SIZE + CHANNEL_STATE_MAX);
	struct wire *w = way.w;
	uint32_t len;

	free(arg);
	while (move_bytes(way.from, buf, CHANNEL_HEADER_SIZE, false)) {
		bool here = w->cut && (buf[0] | buf[1] << 8) == (int)w->type;

		memcpy(&len, buf + 4, 4);
		if (!move_bytes(way.from, buf + CHANNEL_HEADER_SIZE, len, false))
			break;
		len += CHANNEL_HEADER_SIZE;
		if (here && w->cut == CUT_BEFORE)
			break;
		if (way.recorded) {
			if (w->len + len > w->cap)
				w->record = realloc(w->record, w->cap = (w->len + len) * 2);
			memcpy(w->record + w->len, buf, len);
			w->len += len;
		}
		if (!move_bytes(way.to, buf, len, true) || (here && w->cut == CUT_AFTER))
			break;
	}
	shutdown(w->s, SHUT_RDWR);
	shutdown(w->d, SHUT_RDWR);
	free(buf);
	return NULL;
}

static void wire_open(struct wire *w, unsigned int type, enum cut cut, int *src, int *dst)
{
	int a[2], b[2], i;

	memset(w, 0, sizeof(*w));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	*src = a[0];
	*dst = b[0];
	w->s = a[1];
	w->d = b[1];
	w->type = type;
	w->cut = cut;
	for (i = 0; i < 2; i++) {
		struct one_way *way = malloc(sizeof(*way));

		*way = (struct one_way){ w, i ? w->d : w->s, i ? w->s : w->d, !i };
		assert_int_equal(pthread_create(&w->threads[i], NULL, wire_main, way), 0);
	}
}

static void wire_close(struct wire *w)
{
	pthread_join(w->threads[0], NULL);
	pthread_join(w->threads[1], NULL);
	close(w->s);
	close(w->d);
	free(w->record);
}

/* ---- every message lost, every message the last ---------------------------------------------------- */

struct resolver {
	struct hv_migration *mig;
	int fd, err;
	char error[HV_ERROR_SIZE];
};

static void *resolve_main(void *arg)
{
	struct resolver *r = arg;

	hv_thread_enter();
	r->err = hv_migrate_resolve(r->mig, r->fd, r->error);
	hv_thread_leave();
	return NULL;
}

static void resolve(struct hv_migration *src, struct hv_migration *dst)
{
	struct resolver s = { .mig = src }, d = { .mig = dst };
	pthread_t thread;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	s.fd = fds[0];
	d.fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, resolve_main, &d), 0);
	s.err = hv_migrate_resolve(s.mig, s.fd, s.error);
	pthread_join(thread, NULL);
	print_message("#   resolved: source %d %s, destination %d %s\n", s.err, s.error, d.err, d.error);
	assert_int_equal(s.err, 0);
	close(fds[0]);
	close(fds[1]);
}

static struct hv_migrate_info info(struct hv_migration *mig)
{
	struct hv_migrate_info i;

	assert_int_equal(hv_migrate_info(mig, &i), 0);
	return i;
}

/* by_person: nobody asks; one side is told that the other is gone. */
static void cut_once(unsigned int type, enum cut cut, bool by_person)
{
	const struct mf_guest guest = { .pages = 64, .rounds = MF_ENDLESS, .dot = 10 };
	struct mf_machine *from = mf_machine_new(&guest, 1, NULL, NULL);
	struct mf_machine *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = { .nr_fds = 1, .id = "cut", .stall_ms = 20000 };
	struct hv_migration *src, *dst;
	struct hv_migrate_info s, d;
	struct wire w;
	int sfd, dfd;

	assert_int_equal(hv_machine_start(from->m), 0);
	assert_true(mf_wait_dots(from, 1));
	wire_open(&w, type, cut, &sfd, &dfd);
	c.fds = &dfd;
	assert_int_equal(hv_migrate_accept(to->m, &c, &dst, NULL), 0);
	c.fds = &sfd;
	assert_int_equal(hv_migrate_start(from->m, &c, &src, NULL), 0);
	close(sfd);
	close(dfd);
	hv_migrate_wait(src);
	hv_migrate_wait(dst);
	s = info(src);
	d = info(dst);
	print_message("# cut %s %s: source %d%s \"%s\", destination %d%s \"%s\"\n",
		      cut == CUT_BEFORE ? "before" : "after", frame_name(type), (int)s.status,
		      s.may_run ? " has it" : "", s.error, (int)d.status, d.may_run ? " has it" : "",
		      d.error);
	assert_string_not_equal(s.error, "the guest has ended"); /* then nothing was cut */
	assert_false(s.may_run && d.may_run);
	if (!s.may_run && !d.may_run) {
		assert_int_equal(s.status, HV_MIGRATE_UNCONFIRMED);
		assert_int_equal(d.status, HV_MIGRATE_IN_DOUBT);
		assert_string_not_equal(s.error, "");
		assert_string_not_equal(d.error, "");
		assert_int_equal(hv_machine_start(from->m), -EBUSY);
		assert_int_equal(hv_machine_start(to->m), -EBUSY);
	}
	if (by_person && !s.may_run && !d.may_run)
		assert_int_equal(hv_migrate_gone(type == FRAME_GO ? dst : src), 0);
	else if (!by_person && (s.status == HV_MIGRATE_UNCONFIRMED || d.status == HV_MIGRATE_IN_DOUBT))
		resolve(src, dst);
	s = info(src);
	d = info(dst);
	assert_true(s.may_run != d.may_run);
	if (s.may_run)
		assert_true(mf_wait_done(from));
	else
		assert_true(mf_wait_done(to));
	assert_false(from->ended && to->ended);
	hv_migrate_free(src);
	hv_migrate_free(dst);
	wire_close(&w);
	mf_machine_free(from);
	mf_machine_free(to);
}

static const unsigned int messages[] = {
	FRAME_HELLO, FRAME_WELCOME, FRAME_PAGES, FRAME_MARK, FRAME_MARKED,
	FRAME_STATE, FRAME_READY,   FRAME_GO,	 FRAME_RUNNING,
};

static void test_cut_at_every_message(void **state)
{
	unsigned int i;

	for (i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		cut_once(messages[i], CUT_BEFORE, false);
		cut_once(messages[i], CUT_AFTER, false);
	}
}

static void test_a_person_decides(void **state)
{
	cut_once(FRAME_GO, CUT_BEFORE, true);
}

/* ---- streams that somebody made up ----------------------------------------------------------------- */

static int no_load(void *ctx, const void *image, size_t len, struct migrate_error *e)
{
	return 0;
}

static void no_run(void *ctx)
{
	++*(unsigned int *)ctx;
}

static const struct stream_ops no_machine = { .load = no_load, .run = no_run };

struct feeder {
	const uint8_t *data;
	size_t len;
	int fd;
};

static void *feed_main(void *arg)
{
	struct feeder *f = arg;
	uint8_t sink[4096];

	move_bytes(f->fd, (uint8_t *)(uintptr_t)f->data, f->len, true);
	shutdown(f->fd, SHUT_WR);
	while (read(f->fd, sink, sizeof(sink)) > 0)
		;
	return NULL;
}

/* One destination without a machine behind it takes these bytes. */
static int feed(struct hv_vm *vm, const uint8_t *data, size_t len, struct stream *s,
		unsigned int *runs)
{
	struct stream_params params = { 0 };
	struct stream_progress progress = { 0 };
	struct feeder f = { data, len, -1 };
	pthread_t thread;
	int fds[2], err;

	memset(s, 0, sizeof(*s));
	s->vm = vm;
	s->ops = &no_machine;
	s->ctx = runs;
	s->params = &params;
	s->progress = &progress;
	s->stall_ms = 20000;
	s->stop_fd = -1;
	s->nr_channels = 1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(channel_open(&s->channels[0], fds[0], fds[0], -1), 0);
	close(fds[0]);
	f.fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, feed_main, &f), 0);
	err = stream_receive(s);
	channel_close(&s->channels[0]);
	pthread_join(thread, NULL);
	close(fds[1]);
	return err;
}

static uint32_t rng = 4711;

static uint32_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng;
}

/* Right checksums, as far as there are frames. */
static void mend(uint8_t *data, size_t len)
{
	size_t at = 0;
	uint32_t n, crc;

	while (at + CHANNEL_HEADER_SIZE <= len) {
		memcpy(&n, data + at + 4, 4);
		if (n > len - at - CHANNEL_HEADER_SIZE)
			n = 0;
		crc = checksum_crc32c(0, data + at + CHANNEL_HEADER_SIZE, n);
		memcpy(data + at + 16, &crc, 4);
		crc = checksum_crc32c(0, data + at, 20);
		memcpy(data + at + 20, &crc, 4);
		at += CHANNEL_HEADER_SIZE + n;
	}
}

/* A byte of some frame's header or of the first bytes of its payload. */
static void mutate(uint8_t *data, size_t *len)
{
	size_t at = 0, skip = next_random() % 24;
	uint32_t n;

	while (skip-- && at + CHANNEL_HEADER_SIZE < *len) {
		memcpy(&n, data + at + 4, 4);
		if (at + 2 * CHANNEL_HEADER_SIZE + n >= *len)
			break;
		at += CHANNEL_HEADER_SIZE + n;
	}
	switch (next_random() % 8) {
	case 0:
		*len = next_random() % *len;
		break;
	case 1: /* a frame is missing */
		memcpy(&n, data + at + 4, 4);
		n += CHANNEL_HEADER_SIZE;
		memmove(data + at, data + at + n, *len - at - n);
		*len -= n;
		break;
	default:
		at += next_random() % 64;
		if (at < *len)
			data[at] ^= (uint8_t)(1u << next_random() % 8);
		break;
	}
	if (next_random() % 4)
		mend(data, *len);
}

static void test_made_up_streams(void **state)
{
	const struct mf_guest guest = { .pages = 64, .rounds = 300, .dot = 10 };
	struct mf_machine *from = mf_machine_new(&guest, 1, NULL, NULL);
	struct mf_machine *to = mf_machine_new(NULL, 1, NULL, NULL);
	struct hv_migrate_config c = { .nr_fds = 1, .id = "recorded", .verify = true };
	const char *count = getenv("HVD_MUTATIONS");
	const unsigned int n = count ? (unsigned int)atoi(count) : 600;
	unsigned int i, runs = 0, refused = 0, whole = 0, doubt = 0;
	struct hv_migration *src, *dst;
	struct stream *s = calloc(1, sizeof(*s));
	struct wire w;
	uint8_t *copy;
	size_t len;
	int sfd, dfd, err;

	c.params.zstd_level = 1;
	wire_open(&w, 0, CUT_NOT, &sfd, &dfd);
	c.fds = &dfd;
	assert_int_equal(hv_migrate_accept(to->m, &c, &dst, NULL), 0);
	c.fds = &sfd;
	assert_int_equal(hv_migrate_start(from->m, &c, &src, NULL), 0);
	close(sfd);
	close(dfd);
	assert_int_equal(hv_migrate_wait(src), 0);
	assert_int_equal(hv_migrate_wait(dst), 0);
	hv_migrate_free(src);
	hv_migrate_free(dst);
	assert_int_equal(feed(hv_machine_vm(to->m), w.record, w.len, s, &runs), 0);
	assert_int_equal(runs, 1);
	copy = malloc(w.len);
	for (i = 0; i < n; i++) {
		memcpy(copy, w.record, w.len);
		len = w.len;
		mutate(copy, &len);
		runs = 0;
		err = feed(hv_machine_vm(to->m), copy, len, s, &runs);
		/* It runs if and only if it was told to. */
		assert_int_equal(runs, stream_handover(s) == HANDOVER_DST_RUNS);
		if (!err) {
			whole++;
			continue;
		}
		assert_string_not_equal(s->error.text, "");
		refused += stream_handover(s) == HANDOVER_DST_DISCARDED;
		doubt += stream_handover(s) == HANDOVER_DST_READY;
		assert_true(stream_handover(s) != HANDOVER_DST_EMPTY);
	}
	print_message("# %u: %u refused, %u in doubt, %u taken\n", n, refused, doubt, whole);
	assert_true(refused > n / 6);
	free(copy);
	free(s);
	mf_machine_free(from);
	mf_machine_free(to);
	wire_close(&w);
}

static int group_setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	mf_init();
	return 0;
}

static int group_teardown(void **state)
{
	mf_exit();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_cut_at_every_message),
		cmocka_unit_test(test_a_person_decides),
		cmocka_unit_test(test_made_up_streams),
	};

	/* So many take long enough without the others. */
	if (getenv("HVD_MUTATIONS"))
		cmocka_set_test_filter("test_made_up_streams");
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
