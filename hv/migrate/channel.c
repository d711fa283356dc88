/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/migrate/checksum.h"

const char *frame_name(unsigned int type)
{
	static const char *const names[FRAME_TYPES] = {
		[FRAME_HELLO] = "hello",     [FRAME_WELCOME] = "welcome", [FRAME_PAGES] = "pages",
		[FRAME_MARK] = "mark",	     [FRAME_MARKED] = "marked",	  [FRAME_DIGESTS] = "digests",
		[FRAME_STATE] = "state",     [FRAME_READY] = "ready",	  [FRAME_GO] = "go",
		[FRAME_RUNNING] = "running", [FRAME_ABORT] = "abort",	  [FRAME_FAIL] = "fail",
		[FRAME_RESOLVE] = "resolve",
	};

	return type < FRAME_TYPES && names[type] ? names[type] : "unknown";
}

/* ---- descriptors --------------------------------------------------------------------- */

static int take_fd(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), flags;

	if (copy < 0)
		return -errno;
	flags = fcntl(copy, F_GETFL);
	if (flags < 0 || fcntl(copy, F_SETFL, flags | O_NONBLOCK) < 0) {
		int err = -errno;

		close(copy);
		return err;
	}
	return copy;
}

int channel_open(struct channel *c, int in, int out, int stop_fd)
{
	int a = take_fd(in), b = out == in ? a : take_fd(out);

	memset(c, 0, sizeof(*c));
	c->in = c->out = -1;
	if (a < 0 || b < 0) {
		if (a >= 0)
			close(a);
		if (b >= 0 && b != a)
			close(b);
		return a < 0 ? a : b;
	}
	c->in = a;
	c->out = b;
	c->stop_fd = stop_fd;
	return 0;
}

void channel_close(struct channel *c)
{
	if (c->out >= 0 && c->out != c->in)
		close(c->out);
	if (c->in >= 0)
		close(c->in);
	c->in = c->out = -1;
	hv_free(c->buffer);
	c->buffer = NULL;
	c->room = 0;
}

/* ---- waiting ------------------------------------------------------------------------------ */

/* Until fd is ready for `events`, or the stop descriptor says so. */
static int wait_ready(const struct channel *c, int fd, short events)
{
	struct pollfd p[2] = { { fd, events, 0 }, { READ_ONCE(c->stop_fd), POLLIN, 0 } };
	int n;

	do {
		n = poll(p, p[1].fd >= 0 ? 2 : 1, c->stall_ms ? (int)c->stall_ms : -1);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!n)
		return -ETIMEDOUT;
	return p[1].revents ? -ECANCELED : 0;
}

/* Sleep for what the others and this one have sent too fast. */
static int keep_pace(const struct channel *c, size_t len)
{
	uint64_t rate, now = hv_clock_ns(), next, cost;
	struct pollfd p = { READ_ONCE(c->stop_fd), POLLIN, 0 };

	rate = c->pace ? READ_ONCE(c->pace->bytes_per_s) : 0;
	if (!rate)
		return 0;
	cost = hv_mul_div_u64(len, HV_NSEC_PER_SEC, rate);
	next = READ_ONCE(c->pace->next_ns);
	while (!hv_try_cmpxchg(&c->pace->next_ns, &next, hv_max(next, now) + cost))
		;
	/* Idle time is no credit; a slice of a few milliseconds is sent in one go. */
	while (next > now + 2 * HV_NSEC_PER_MSEC) {
		uint64_t ms = hv_min((next - now) / HV_NSEC_PER_MSEC, UINT64_C(100));

		if (poll(&p, 1, (int)ms) > 0)
			return -ECANCELED;
		now = hv_clock_ns();
		/* The limit may be lifted meanwhile. */
		if (!READ_ONCE(c->pace->bytes_per_s))
			break;
	}
	return 0;
}

/* ---- bytes ------------------------------------------------------------------------------------ */

static ssize_t write_some(int fd, const struct iovec *iov, int count)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count };
	ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

	/* A pipe: SIGPIPE is the program's to ignore, as of every program with peers. */
	if (n < 0 && errno == ENOTSOCK)
		n = writev(fd, iov, count);
	return n;
}

static int write_all(struct channel *c, struct iovec *iov, int count)
{
	int err;

	while (count) {
		ssize_t n = write_some(c->out, iov, count);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			err = wait_ready(c, c->out, POLLOUT);
			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		__atomic_fetch_add(&c->sent, (uint64_t)n, __ATOMIC_RELAXED);
		while (count && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int read_all(struct channel *c, void *to, size_t len)
{
	uint8_t *p = to;
	int err;

	while (len) {
		ssize_t n = read(c->in, p, len);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			err = wait_ready(c, c->in, POLLIN);
			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return -errno;
		if (!n)
			return -ECONNRESET;
		__atomic_fetch_add(&c->received, (uint64_t)n, __ATOMIC_RELAXED);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- frames --------------------------------------------------------------------------------------- */

/* Little-endian, as record.c asserts of the host. */
struct __attribute__((packed)) wire_header {
	uint16_t type, flags;
	uint32_t length;
	uint64_t arg;
	uint32_t payload_crc, header_crc;
};
_Static_assert(sizeof(struct wire_header) == CHANNEL_HEADER_SIZE, "as documented");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are sent as they are");

/* Meet a fault; @iov is what is about to be sent, if so. -ECONNRESET: the channel is of no use. */
static int meet_fault(struct channel *c, enum fault_action action, const struct iovec *iov, int count)
{
	struct timespec time = { .tv_sec = 3 * c->stall_ms / 1000,
				 .tv_nsec = 3 * c->stall_ms % 1000 * 1000000L };
	int i;

	switch (action) {
	case FAULT_ACTIONS:
		return 0;
	case FAULT_KILL:
		raise(SIGKILL);
		return 0;
	case FAULT_STOP:
		raise(SIGSTOP);
		return 0;
	case FAULT_STALL:
		nanosleep(&time, NULL);
		return 0;
	case FAULT_SHORT:
		for (i = 0; i < count; i++) {
			struct iovec half = { iov[i].iov_base, (iov[i].iov_len + 1) / 2 };

			write_all(c, &half, 1);
			if (iov[i].iov_len > 1)
				break;
		}
		break;
	case FAULT_RESET:
		break;
	}
	shutdown(c->out, SHUT_RDWR);
	return -ECONNRESET;
}

int channel_send(struct channel *c, const struct frame *f, const void *a, size_t alen,
		 const void *b, size_t blen)
{
	struct wire_header h = {
		.type = f->type,
		.flags = f->flags,
		.length = (uint32_t)(alen + blen),
		.arg = f->arg,
	};
	struct iovec iov[3] = {
		{ &h, sizeof(h) },
		{ (void *)(uintptr_t)a, alen },
		{ (void *)(uintptr_t)b, blen },
	};
	int err = keep_pace(c, sizeof(h) + alen + blen);

	if (err)
		return err;
	h.payload_crc = checksum_crc32c(checksum_crc32c(0, a, alen), b, blen);
	h.header_crc = checksum_crc32c(0, &h, sizeof(h) - 4);
	err = meet_fault(c, fault_due(c->fault, FAULT_SEND, f->type), iov, 3);
	if (!err)
		err = write_all(c, iov, 3);
	if (!err)
		err = meet_fault(c, fault_due(c->fault, FAULT_SENT, f->type), NULL, 0);
	return err;
}

static int make_room(struct channel *c, size_t len)
{
	uint8_t *buffer;

	if (len <= c->room)
		return 0;
	buffer = hv_realloc_array(c->buffer, len, 1);
	if (!buffer)
		return -ENOMEM;
	c->buffer = buffer;
	c->room = len;
	return 0;
}

static int check_header(const struct wire_header *h, struct migrate_error *error)
{
	if (h->header_crc != checksum_crc32c(0, h, sizeof(*h) - 4))
		return migrate_fail(error, -EBADMSG, "a frame's header is damaged (checksum)");
	if (!h->type || h->type >= FRAME_TYPES)
		return migrate_fail(error, -EPROTO, "a frame of unknown type %u", h->type);
	if (h->length > (h->type == FRAME_STATE ? CHANNEL_STATE_MAX : CHANNEL_PAYLOAD_MAX))
		return migrate_fail(error, -EBADMSG, "frame \"%s\": %u bytes are more than it may have",
				    frame_name(h->type), h->length);
	return 0;
}

static int receive(struct channel *c, struct wire_header *h, struct migrate_error *error)
{
	int err = read_all(c, h, sizeof(*h));

	if (err)
		return err;
	err = check_header(h, error);
	if (!err)
		err = make_room(c, h->length);
	if (!err && h->length)
		err = read_all(c, c->buffer, h->length);
	if (!err && checksum_crc32c(0, c->buffer, h->length) != h->payload_crc)
		err = migrate_fail(error, -EBADMSG, "frame \"%s\" is damaged (checksum)",
				   frame_name(h->type));
	if (!err)
		err = meet_fault(c, fault_due(c->fault, FAULT_GOT, h->type), NULL, 0);
	return err;
}

int channel_wait(struct channel *c)
{
	return wait_ready(c, c->in, POLLIN);
}

int channel_receive(struct channel *c, struct frame *f, struct migrate_error *error)
{
	struct wire_header h;
	int err = receive(c, &h, error);

	if (err)
		return migrate_fail(error, err, "%s",
				    err == -ECONNRESET ? "the peer has closed the connection" :
				    err == -ETIMEDOUT  ? "the peer does not answer" :
							 strerror(-err));
	*f = (struct frame){ h.type, h.flags, h.length, h.arg };
	return 0;
}
