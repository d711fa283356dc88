/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines of JSON and their descriptors, in and out.
 */
#include "api/framing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE  (16u << 10)	/* free room kept for one read */
#define KEEP_SIZE  (64u << 10)	/* a larger buffer is given back once drained */
#define IOV_COUNT  16
/* 16 digits hold a time in seconds to the microsecond, without noise after it. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(16))

void api_close_fds(const int *fds, unsigned int n)
{
	while (n > 0)
		close(fds[--n]);
}

void frame_in_init(struct frame_in *in)
{
	memset(in, 0, sizeof(*in));
}

void frame_in_fini(struct frame_in *in)
{
	api_close_fds(in->fds, in->nfds);
	free(in->buf);
	frame_in_init(in);
}

/* Drop the line handed out last and make room for a read. */
static int in_make_room(struct frame_in *in)
{
	size_t size = in->size;
	char *buf;

	if (in->taken) {
		in->len -= in->taken;
		memmove(in->buf, in->buf + in->taken, in->len);
		in->taken = 0;
	}
	if (in->len == 0 && in->size > KEEP_SIZE) {
		free(in->buf);
		in->buf = NULL;
		in->size = size = 0;
	}
	if (in->size - in->len >= READ_SIZE)
		return 0;
	while (size - in->len < READ_SIZE)
		size = size ? size * 2 : READ_SIZE;
	buf = realloc(in->buf, size);
	if (!buf)
		return -ENOMEM;
	in->buf = buf;
	in->size = size;
	return 0;
}

/* Queue the descriptors of one message; too many of them is the peer's fault. */
static int in_accept_fds(struct frame_in *in, struct msghdr *msg)
{
	struct cmsghdr *c;
	int ret = msg->msg_flags & MSG_CTRUNC ? -ENFILE : 0;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		const unsigned char *data = CMSG_DATA(c);
		unsigned int i, n;
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, data + i * sizeof(int), sizeof(int));
			if (in->nfds < FRAME_FDS_PENDING) {
				in->fds[in->nfds++] = fd;
			} else {
				close(fd);
				ret = -ENFILE;
			}
		}
	}
	if (ret) {
		api_close_fds(in->fds, in->nfds);
		in->nfds = 0;
	}
	return ret;
}

ssize_t frame_in_read(struct frame_in *in, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t n;
	int ret;

	ret = in_make_room(in);
	if (ret)
		return ret;
	iov.iov_base = in->buf + in->len;
	iov.iov_len = in->size - in->len;
	do {
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (msg.msg_controllen) {
		ret = in_accept_fds(in, &msg);
		if (ret)
			return ret;
	}
	in->len += n;
	return n;
}

int frame_in_next(struct frame_in *in, const char **text, size_t *len)
{
	char *start = in->buf + in->taken;
	size_t have = in->len - in->taken;
	char *end;

	end = have > in->scanned ? memchr(start + in->scanned, '\n', have - in->scanned) : NULL;
	if (!end) {
		in->scanned = have;
		if (have > FRAME_LINE_MAX)
			return -EMSGSIZE;
		if (in->taken)
			return in_make_room(in) ? -ENOMEM : 0;
		return 0;
	}
	in->scanned = 0;
	if (end - start > (ptrdiff_t)FRAME_LINE_MAX)
		return -EMSGSIZE;
	*text = start;
	*len = end - start;
	in->taken += end - start + 1;
	return 1;
}

int frame_in_partial(const struct frame_in *in)
{
	return in->len > in->taken;
}

int frame_in_take_fds(struct frame_in *in, unsigned int n, int *fds)
{
	if (n > in->nfds)
		return -ENOENT;
	memcpy(fds, in->fds, n * sizeof(int));
	in->nfds -= n;
	memmove(in->fds, in->fds + n, in->nfds * sizeof(int));
	return 0;
}

/*
 * Nesting is counted before the parser runs, since the parser recurses. Brackets
 * inside strings do not count; a malformed text may be judged either way.
 */
static bool depth_ok(const char *text, size_t len)
{
	unsigned int depth = 0;
	bool string = false;
	size_t i;

	for (i = 0; i < len; i++) {
		if (string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				string = false;
			continue;
		}
		switch (text[i]) {
		case '"':
			string = true;
			break;
		case '[':
		case '{':
			if (++depth > FRAME_DEPTH_MAX)
				return false;
			break;
		case ']':
		case '}':
			if (depth > 0)
				depth--;
			break;
		}
	}
	return true;
}

json_t *frame_parse(const char *text, size_t len, struct api_error *err)
{
	json_error_t jerr;
	json_t *json;

	if (!depth_ok(text, len)) {
		api_error_set(err, API_E_TOO_DEEP, "the JSON text nests deeper than %d",
			      FRAME_DEPTH_MAX);
		return NULL;
	}
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &jerr);
	if (!json) {
		api_error_set(err, API_E_PARSE, "byte %d: %s", jerr.position, jerr.text);
		return NULL;
	}
	return json;
}

void frame_out_init(struct frame_out *out)
{
	STAILQ_INIT(&out->chunks);
	out->bytes = 0;
}

static void chunk_drop(struct frame_out *out, struct frame_chunk *chunk)
{
	STAILQ_REMOVE_HEAD(&out->chunks, link);
	out->bytes -= chunk->len - chunk->sent;
	api_close_fds(chunk->fds, chunk->nfds);
	free(chunk);
}

void frame_out_fini(struct frame_out *out)
{
	while (!STAILQ_EMPTY(&out->chunks))
		chunk_drop(out, STAILQ_FIRST(&out->chunks));
}

/* The text of @json in one allocation that becomes the chunk itself. */
static int chunk_new(const json_t *json, struct frame_chunk **out)
{
	struct frame_chunk *chunk;
	size_t room = 1000;
	size_t len;

	for (;;) {
		chunk = malloc(sizeof(*chunk) + room + 1);
		if (!chunk)
			return -ENOMEM;
		len = json_dumpb(json, chunk->data, room, DUMP_FLAGS);
		if (len == 0 || len > FRAME_LINE_MAX) {
			free(chunk);
			return len ? -EMSGSIZE : -ENOMEM;
		}
		if (len <= room)
			break;
		free(chunk);
		room = len;
	}
	chunk->data[len++] = '\n';
	chunk->len = len;
	chunk->sent = 0;
	chunk->nfds = 0;
	*out = chunk;
	return 0;
}

int frame_out_push(struct frame_out *out, const json_t *json, const int *fds, unsigned int nfds)
{
	struct frame_chunk *chunk = NULL;
	int ret;

	ret = nfds > FRAME_FDS_MAX ? -EMSGSIZE : chunk_new(json, &chunk);
	if (!ret && out->bytes + chunk->len > FRAME_OUT_MAX)
		ret = -ENOBUFS;
	if (ret) {
		free(chunk);
		api_close_fds(fds, nfds);
		return ret;
	}
	chunk->nfds = nfds;
	if (nfds)
		memcpy(chunk->fds, fds, nfds * sizeof(int));
	STAILQ_INSERT_TAIL(&out->chunks, chunk, link);
	out->bytes += chunk->len;
	return 0;
}

/* Up to IOV_COUNT chunks for one send; one with descriptors begins a send of its own. */
static unsigned int out_gather(struct frame_out *out, struct iovec *iov)
{
	struct frame_chunk *chunk;
	unsigned int n = 0;

	STAILQ_FOREACH(chunk, &out->chunks, link) {
		if (n == IOV_COUNT || (n > 0 && chunk->nfds))
			break;
		iov[n].iov_base = chunk->data + chunk->sent;
		iov[n].iov_len = chunk->len - chunk->sent;
		n++;
	}
	return n;
}

static void out_attach(struct msghdr *msg, char *space, const struct frame_chunk *chunk)
{
	struct cmsghdr *c;

	if (!chunk->nfds)
		return;
	msg->msg_control = space;
	msg->msg_controllen = CMSG_SPACE(chunk->nfds * sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(chunk->nfds * sizeof(int));
	memcpy(CMSG_DATA(c), chunk->fds, chunk->nfds * sizeof(int));
}

static void out_sent(struct frame_out *out, size_t n)
{
	struct frame_chunk *chunk;

	while (n > 0) {
		chunk = STAILQ_FIRST(&out->chunks);
		/* The descriptors went with the first byte. */
		api_close_fds(chunk->fds, chunk->nfds);
		chunk->nfds = 0;
		if (n < chunk->len - chunk->sent) {
			chunk->sent += n;
			out->bytes -= n;
			return;
		}
		n -= chunk->len - chunk->sent;
		chunk_drop(out, chunk);
	}
}

int frame_out_flush(struct frame_out *out, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[IOV_COUNT];
	ssize_t n;

	while (!STAILQ_EMPTY(&out->chunks)) {
		struct msghdr msg = { .msg_iov = iov };

		memset(&control, 0, sizeof(control));
		msg.msg_iovlen = out_gather(out, iov);
		out_attach(&msg, control.space, STAILQ_FIRST(&out->chunks));
		do {
			n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		out_sent(out, n);
	}
	return 0;
}
