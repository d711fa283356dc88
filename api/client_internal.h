/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Streams of the client library: a socket, or a command at the end of one.
 */
#ifndef API_CLIENT_INTERNAL_H
#define API_CLIENT_INTERNAL_H

#include <sys/types.h>

struct client_stream {
	int fd;		/* a stream socket, non-blocking */
	pid_t child;	/* the command at its other end, 0: none */
	char *uri;	/* what was connected to */
};

/* @uri as hvd_client_open(). 0 or -errno. */
int client_stream_open(struct client_stream *stream, const char *uri);
/* Also ends the command and waits for it. */
void client_stream_close(struct client_stream *stream);

#endif
