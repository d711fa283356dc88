/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wire: one JSON text per line on a stream socket, with file descriptors
 * beside it. Used by the daemon, by its workers and by the client library, so it
 * knows neither libevent nor methods.
 *
 * Descriptors travel as SCM_RIGHTS with the first byte of the line that they
 * belong to; that line has the member "fds" with their count. They are queued in
 * order of arrival and taken by the lines that announce them.
 *
 * Every buffer here has a limit; what happens at it is said at the function.
 */
#ifndef API_FRAMING_H
#define API_FRAMING_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "api/error.h"

#define FRAME_LINE_MAX	  (4u << 20)	/* bytes of a line without its newline */
#define FRAME_DEPTH_MAX	  64		/* nested arrays and objects */
#define FRAME_FDS_MAX	  17		/* descriptors of one line */
#define FRAME_FDS_PENDING 32		/* descriptors that no line has taken yet */
#define FRAME_OUT_MAX	  (16u << 20)	/* bytes that wait for the peer to read */

struct frame_in {
	char *buf;
	size_t len;	/* bytes in buf */
	size_t size;	/* of buf */
	size_t taken;	/* bytes of the line handed out last, with its newline */
	size_t scanned;	/* bytes known to hold no newline */
	int fds[FRAME_FDS_PENDING];
	unsigned int nfds;
};

struct frame_chunk {
	STAILQ_ENTRY(frame_chunk) link;
	size_t len, sent;
	unsigned int nfds;
	int fds[FRAME_FDS_MAX];
	char data[];
};

struct frame_out {
	STAILQ_HEAD(, frame_chunk) chunks;
	size_t bytes;	/* not yet sent */
};

/* Descriptors that came with a message, or will not go with one. */
void api_close_fds(const int *fds, unsigned int n);

void frame_in_init(struct frame_in *in);
/* Frees the buffer and closes descriptors that nobody took. */
void frame_in_fini(struct frame_in *in);

/*
 * Read once from @fd. Returns the count of bytes, 0 at the end of the stream,
 * -EAGAIN, -ENFILE when the peer sends descriptors that no line announces (all
 * are closed; close the connection), -ENOMEM, or another -errno of recvmsg().
 */
ssize_t frame_in_read(struct frame_in *in, int fd);

/*
 * The next whole line, without its newline and not terminated. Returns 1 with
 * @text and @len, which are valid until the next call on @in; 0 when more bytes
 * are needed; -EMSGSIZE when the line is over FRAME_LINE_MAX: the stream cannot
 * be followed any more.
 */
int frame_in_next(struct frame_in *in, const char **text, size_t *len);
/* Whether a part of a line waits for the rest. */
int frame_in_partial(const struct frame_in *in);
/* Take the @n oldest descriptors: the caller owns them. -ENOENT: fewer arrived. */
int frame_in_take_fds(struct frame_in *in, unsigned int n, int *fds);

/*
 * One JSON text: nesting up to FRAME_DEPTH_MAX, each name once per object, valid
 * UTF-8, nothing after it. Returns a new reference, or NULL with @err set.
 */
json_t *frame_parse(const char *text, size_t len, struct api_error *err);

void frame_out_init(struct frame_out *out);
void frame_out_fini(struct frame_out *out);

/*
 * Queue @json as one line with @nfds descriptors, which are taken (closed on
 * failure too). Returns 0; -EMSGSIZE when the line would be over FRAME_LINE_MAX,
 * -ENOBUFS when FRAME_OUT_MAX would be passed, -ENOMEM; then nothing is queued.
 */
int frame_out_push(struct frame_out *out, const json_t *json, const int *fds, unsigned int nfds);
/* Send what the socket takes. 0: all sent; -EAGAIN: wait until writable; -errno. */
int frame_out_flush(struct frame_out *out, int fd);

#endif
