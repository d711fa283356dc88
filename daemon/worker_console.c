/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's serial console: a ring with the last 64 KiB, and readers that each
 * stand somewhere in it. The guest never waits for a reader, and no reader has a
 * queue: one that falls behind the ring is told how much it missed.
 *
 * The ring is in a memfd, so that the worker that takes a guest over has its history;
 * the readers go to it with their places (guest_upgrade.c).
 *
 * Lock legend: [c] lock, [l] loop only.
 */
#include "daemon/guest.h"

#include "daemon/log.h"
#include "hv/hv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_SIZE   (64u << 10)
#define READERS_MAX 16
#define INPUT_SIZE  CONSOLE_INPUT_MAX
#define RETRY_MS    5

struct ring {
	uint64_t total;			/* [c] bytes ever written */
	char bytes[RING_SIZE];		/* [c] */
};

struct reader {
	LIST_ENTRY(reader) link;
	struct console *console;
	int fd;
	uint64_t pos;
	struct event *read_event, *write_event, *retry_event;
	char input[INPUT_SIZE];		/* what the guest has not taken yet */
	size_t have;
};

struct console {
	struct guest *guest;
	pthread_mutex_t lock;
	struct ring *ring;		/* [c] */
	int ring_fd;			/* [l] */
	atomic_bool woken;
	int wake_fd;
	struct event *wake_event;	/* [l] */
	LIST_HEAD(, reader) readers;	/* [l] */
	unsigned int nreaders;		/* [l] */
	bool held;			/* [l] nothing goes to the guest for now */
};

/* ---- output --------------------------------------------------------------------- */

void console_write(struct console *c, const void *data, size_t len)
{
	const uint64_t one = 1;
	const char *bytes = data;
	size_t at, n;

	pthread_mutex_lock(&c->lock);
	if (len > RING_SIZE) {
		c->ring->total += len - RING_SIZE;
		bytes += len - RING_SIZE;
		len = RING_SIZE;
	}
	while (len > 0) {
		at = c->ring->total % RING_SIZE;
		n = len < RING_SIZE - at ? len : RING_SIZE - at;
		memcpy(c->ring->bytes + at, bytes, n);
		c->ring->total += n;
		bytes += n;
		len -= n;
	}
	pthread_mutex_unlock(&c->lock);
	if (!atomic_exchange(&c->woken, true) && write(c->wake_fd, &one, sizeof(one)) < 0)
		atomic_store(&c->woken, false);
}

/* Up to @size bytes at the reader's place; first of all the note about a gap. */
static size_t reader_next(struct reader *r, char *buf, size_t size, uint64_t *next)
{
	struct console *c = r->console;
	size_t len = 0, at, n;
	uint64_t total;

	pthread_mutex_lock(&c->lock);
	total = c->ring->total;
	*next = r->pos;
	if (total - r->pos > RING_SIZE) {
		*next = total < RING_SIZE ? 0 : total - RING_SIZE;
		len = snprintf(buf, size, "\r\n[hvd: %llu bytes lost]\r\n",
			       (unsigned long long)(*next - r->pos));
	}
	at = *next % RING_SIZE;
	n = total - *next;
	n = n < RING_SIZE - at ? n : RING_SIZE - at;
	n = n < size - len ? n : size - len;
	memcpy(buf + len, c->ring->bytes + at, n);
	*next += n;
	pthread_mutex_unlock(&c->lock);
	return len + n;
}

static void reader_free(struct reader *r)
{
	LIST_REMOVE(r, link);
	r->console->nreaders--;
	if (r->read_event)
		event_free(r->read_event);
	if (r->write_event)
		event_free(r->write_event);
	if (r->retry_event)
		event_free(r->retry_event);
	close(r->fd);
	free(r);
}

/* Send what there is; false: the reader is gone and freed. */
static bool reader_pump(struct reader *r)
{
	char buf[4096];
	uint64_t next;
	size_t len;
	ssize_t n;

	while ((len = reader_next(r, buf, sizeof(buf), &next)) > 0) {
		n = send(r->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			event_add(r->write_event, NULL);
			return true;
		}
		if (n < 0) {
			reader_free(r);
			return false;
		}
		/* Of a cut piece the end comes again; a cut note about a gap does not. */
		r->pos = next - ((size_t)n < len ? len - n : 0);
	}
	return true;
}

static void reader_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	reader_pump(arg);
}

static void console_wake(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;
	struct reader *r, *next;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	/* Bytes that come from here on wake again. */
	atomic_store(&c->woken, false);
	for (r = LIST_FIRST(&c->readers); r; r = next) {
		next = LIST_NEXT(r, link);
		if (!event_pending(r->write_event, EV_WRITE, NULL))
			reader_pump(r);
	}
}

bool console_drained(struct console *c)
{
	struct reader *r;
	bool drained = true;

	pthread_mutex_lock(&c->lock);
	LIST_FOREACH(r, &c->readers, link)
		if (r->pos != c->ring->total)
			drained = false;
	pthread_mutex_unlock(&c->lock);
	return drained;
}

uint64_t console_bytes(struct console *c)
{
	uint64_t total;

	pthread_mutex_lock(&c->lock);
	total = c->ring->total;
	pthread_mutex_unlock(&c->lock);
	return total;
}

/* ---- input ----------------------------------------------------------------------- */

/* Give the guest what it takes; what it does not take now waits, and the reader with it. */
static void reader_feed(struct reader *r)
{
	static const struct timeval retry = { .tv_usec = RETRY_MS * 1000 };
	struct guest *g = r->console->guest;
	int n = r->have;

	if (r->console->held)
		return;
	if (g->machine && !g->final)
		n = hv_machine_console_input(g->machine, r->input, r->have);
	if (n < 0)
		n = r->have;
	r->have -= n;
	memmove(r->input, r->input + n, r->have);
	if (r->have)
		event_add(r->retry_event, &retry);
	else
		event_add(r->read_event, NULL);
}

static void reader_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	reader_feed(arg);
}

static void reader_readable(evutil_socket_t fd, short what, void *arg)
{
	struct reader *r = arg;
	ssize_t n = recv(fd, r->input, sizeof(r->input), MSG_DONTWAIT);

	(void)what;
	if (n > 0) {
		r->have = n;
		reader_feed(r);
	} else if (n == 0 || errno != EAGAIN) {
		reader_free(r);
	} else {
		event_add(r->read_event, NULL);
	}
}

/* ---- life ------------------------------------------------------------------------- */

/* Takes @fd, also when there is no memory. */
static struct reader *reader_new(struct console *c, int fd)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r) {
		close(fd);
		return NULL;
	}
	r->console = c;
	r->fd = fd;
	r->read_event = event_new(c->guest->base, r->fd, EV_READ, reader_readable, r);
	r->write_event = event_new(c->guest->base, r->fd, EV_WRITE, reader_writable, r);
	r->retry_event = evtimer_new(c->guest->base, reader_retry, r);
	LIST_INSERT_HEAD(&c->readers, r, link);
	c->nreaders++;
	if (r->read_event && r->write_event && r->retry_event &&
	    (c->held || !event_add(r->read_event, NULL)))
		return r;
	reader_free(r);
	return NULL;
}

int console_attach(struct console *c)
{
	struct reader *r;
	int pair[2];

	if (c->nreaders >= READERS_MAX)
		return -EUSERS;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	r = reader_new(c, pair[0]);
	if (!r) {
		close(pair[1]);
		return -ENOMEM;
	}
	pthread_mutex_lock(&c->lock);
	r->pos = c->ring->total > RING_SIZE ? c->ring->total - RING_SIZE : 0;
	pthread_mutex_unlock(&c->lock);
	if (!reader_pump(r)) {
		close(pair[1]);
		return -EIO;
	}
	return pair[1];
}

/* ---- another worker --------------------------------------------------------------- */

int console_ring_fd(const struct console *c)
{
	return c->ring_fd;
}

void console_hold(struct console *c)
{
	struct reader *r;

	c->held = true;
	LIST_FOREACH(r, &c->readers, link) {
		event_del(r->read_event);
		event_del(r->retry_event);
	}
}

void console_unhold(struct console *c)
{
	struct reader *r;

	c->held = false;
	LIST_FOREACH(r, &c->readers, link)
		reader_feed(r);
}

bool console_give(struct console *c, struct console_place *place)
{
	struct reader *r = LIST_FIRST(&c->readers);

	if (!r)
		return false;
	/* Nobody else closes it: reader_free() closes the one that it has. */
	place->fd = dup(r->fd);
	place->pos = r->pos;
	place->have = r->have;
	memcpy(place->input, r->input, r->have);
	reader_free(r);
	return true;
}

void console_take(struct console *c, const struct console_place *place)
{
	struct reader *r;

	if (c->nreaders >= READERS_MAX || place->have > INPUT_SIZE) {
		close(place->fd);
		return;
	}
	r = reader_new(c, place->fd);
	if (!r)
		return;
	r->pos = place->pos;
	r->have = place->have;
	memcpy(r->input, place->input, r->have);
	if (r->have) {
		event_del(r->read_event);
		reader_feed(r);
	}
	reader_pump(r);
}

static struct ring *ring_map(int fd)
{
	struct ring *ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return ring == MAP_FAILED ? NULL : ring;
}

static void ring_release(struct console *c)
{
	if (c->ring)
		munmap(c->ring, sizeof(*c->ring));
	if (c->ring_fd >= 0)
		close(c->ring_fd);
}

int console_ring_take(struct console *c, int fd)
{
	struct ring *ring;
	struct stat st;

	fd = dup(fd);
	if (fd < 0)
		return -errno;
	/* Of a fixed size, lest an access faults. */
	if (fstat(fd, &st) || st.st_size != sizeof(*ring) ||
	    !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) || !(ring = ring_map(fd))) {
		close(fd);
		return -EINVAL;
	}
	pthread_mutex_lock(&c->lock);
	ring_release(c);
	c->ring = ring;
	c->ring_fd = fd;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void ring_init(struct console *c)
{
	c->ring_fd = memfd_create("hvd-console", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->ring_fd < 0)
		return;
	if (!ftruncate(c->ring_fd, sizeof(*c->ring)) &&
	    !fcntl(c->ring_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		c->ring = ring_map(c->ring_fd);
}

/* ---- beginning and end ----------------------------------------------------------------- */

int console_init(struct guest *g)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->guest = g;
	ring_init(c);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&c->lock, NULL);
	LIST_INIT(&c->readers);
	g->console = c;
	if (c->wake_fd >= 0)
		c->wake_event = event_new(g->base, c->wake_fd, EV_READ | EV_PERSIST, console_wake, c);
	if (!c->ring || !c->wake_event || event_add(c->wake_event, NULL)) {
		console_fini(g);
		return -ENOMEM;
	}
	return 0;
}

void console_fini(struct guest *g)
{
	struct console *c = g->console;

	if (!c)
		return;
	while (!LIST_EMPTY(&c->readers))
		reader_free(LIST_FIRST(&c->readers));
	if (c->wake_event)
		event_free(c->wake_event);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	ring_release(c);
	free(c);
	g->console = NULL;
}
