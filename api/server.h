/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stream sockets on an event loop: listeners, connections and their limits.
 *
 * Limits, and what happens at each:
 *	connections	one more is answered resource.exhausted and closed
 *	input line	rpc.line_too_long, then closed
 *	unread answers	over SERVER_OUT_PAUSE bytes no more requests are read; over
 *			FRAME_OUT_MAX, or over SERVER_OUT_TOTAL of all connections, closed
 *	time		a peer that takes no bytes, or stops inside a line, for
 *			stall_ms is closed
 * A peer that has shut down its sending side is closed when its calls are answered.
 */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/dispatch.h"

#include <event2/event.h>

#define SERVER_OUT_PAUSE (1u << 20)
#define SERVER_OUT_TOTAL (128u << 20)

struct api_server;

/* A connection; the session is what dispatch and handlers know of it. */
struct api_conn {
	struct api_session session;
	struct api_server *server;
	TAILQ_ENTRY(api_conn) link;
	int fd;
	struct event *read_event, *write_event;
	struct frame_in in;
	struct frame_out out;
	bool closing;		/* send what is queued, then close */
	bool broken;		/* close without sending */
	bool in_dispatch;	/* a handler of this connection runs */
	bool paused;		/* not reading until the peer has read */
	bool eof;		/* the peer sends no more, but may wait for answers */
	uint64_t in_stall_ms;	/* since when a line is not complete; 0: none waits */
	uint64_t out_stall_ms;	/* since when the peer takes nothing; 0: nothing waits */
	/* A peer of a worker or of hvd itself: answers to our own requests come here. */
	void (*on_answer)(struct api_conn *conn, json_t *answer);
	/* Called once, before the connection is freed. */
	void (*on_close)(struct api_conn *conn);
	/* Called when the queue of answers has become empty again. */
	void (*on_drain)(struct api_conn *conn);
	void *data;
	/* Set by api_conn_detach(). */
	void (*detached)(void *data, int fd);
	void *detached_data;
};

struct api_listener_config {
	int fd;				/* a listening socket, taken */
	enum api_privilege privilege;
	/* Whether the peer may use this socket at all; NULL: the file's mode decides. */
	bool (*admit)(void *context, const struct api_session *peer, int fd);
	void *admit_context;
};

struct api_server {
	struct event_base *base;
	struct api_table *table;
	unsigned int max_conns;
	uint64_t stall_ms;
	/* Called with each new connection, before its first request. */
	void (*on_open)(struct api_conn *conn);
	/* Read only, for metrics. */
	unsigned int nconns;
	size_t out_bytes;
	uint64_t accepted, refused, dropped;
	/* Private. */
	TAILQ_HEAD(, api_conn) conns;
	SLIST_HEAD(, api_listener) listeners;
	struct event *sweep_event;
};

/* Fill base, table, max_conns, stall_ms and on_open first. 0 or -errno. */
int api_server_init(struct api_server *server);
/* Closes all listeners and connections. */
void api_server_fini(struct api_server *server);
int api_server_listen(struct api_server *server, const struct api_listener_config *config);
/* Stop accepting; connections stay. */
void api_server_unlisten(struct api_server *server);
/* Try once to send what is queued on all connections, before the process ends. */
void api_server_flush(struct api_server *server);

/*
 * Serve a connected socket, which is taken, as a connection of its own beyond the
 * limit of max_conns. NULL without memory; then the caller keeps @fd.
 */
struct api_conn *api_conn_new(struct api_server *server, int fd, enum api_privilege privilege);
/* Close soon: after this turn of the event loop. Queued answers are sent if possible. */
void api_conn_close(struct api_conn *conn);
/*
 * Give the socket away: once what is queued has been sent the connection ends without
 * closing it, and @fn has the descriptor, non-blocking and its own; or -1, when the peer
 * went first or had sent more than it was asked for.
 */
void api_conn_detach(struct api_conn *conn, void (*fn)(void *data, int fd), void *data);
/* Queue @json and take @fds; 0 or -errno, as api_session_ops.send. */
int api_conn_send(struct api_conn *conn, const json_t *json, const int *fds, unsigned int nfds);

/*
 * Bind and listen on a unix stream socket at @path with @mode; @gid -1 leaves the
 * group. What stood at @path is replaced. Returns a non-blocking descriptor or -errno.
 */
int api_listen_unix(const char *path, mode_t mode, gid_t gid);
/* Connect without blocking to a unix stream socket: a descriptor or -errno. */
int api_connect_unix(const char *path);

#endif
