/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams of the client library: a socket, or a command at the end of one.
 */
#ifndef API_CLIENT_INTERNAL_H
#define API_CLIENT_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

struct client_stream {
	int fd;		/* a stream socket, non-blocking */
	pid_t child;	/* the command at its other end, 0: none */
	char *uri;	/* what was connected to */
	bool batch;	/* a daemon's: nobody is there to be asked for a password */
};

struct hvd_client;
/*
 * End @client without closing its stream, which is the caller's then, with its child
 * (0: none) to wait for. -EPROTO, and the client is closed as ever: it has more to say.
 */
int client_take_stream(struct hvd_client *client, int *fd, pid_t *child);
/* Like hvd_client_open(), and ssh neither asks nor uses a terminal. */
int client_open_batch(const char *uri, struct hvd_client **out);

/* @uri as hvd_client_open(). 0 or -errno. */
int client_stream_open(struct client_stream *stream, const char *uri);
/* Also ends the command and waits for it. */
void client_stream_close(struct client_stream *stream);

#endif
