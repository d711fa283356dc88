/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections on the event loop. One turn reads at most READ_TURN bytes of one
 * connection, so that a busy one cannot starve the others.
 */
#include "api/server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_TURN     (256u << 10)
#define ACCEPT_TURN   64
#define SWEEP_MS      1000
#define BACKLOG       1024

struct api_listener {
	SLIST_ENTRY(api_listener) link;
	struct api_server *server;
	struct api_listener_config config;
	struct event *event;
	struct event *retry_event;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* ---- connections ---------------------------------------------------------- */

static void conn_free(struct api_conn *conn)
{
	struct api_server *server = conn->server;
	void (*detached)(void *data, int fd) = conn->detached;
	void *data = conn->detached_data;
	bool whole = !conn->broken && !conn->out.bytes && conn->in.len == conn->in.taken;
	int fd = conn->fd;

	if (conn->on_close)
		conn->on_close(conn);
	api_session_fini(&conn->session);
	TAILQ_REMOVE(&server->conns, conn, link);
	server->nconns--;
	server->out_bytes -= conn->out.bytes;
	if (conn->read_event)
		event_free(conn->read_event);
	if (conn->write_event)
		event_free(conn->write_event);
	frame_in_fini(&conn->in);
	frame_out_fini(&conn->out);
	free(conn);
	if (!detached || !whole) {
		close(fd);
		fd = -1;
	}
	if (detached)
		detached(data, fd);
}

/* Put off to the write event, so that no caller loses the connection under its feet. */
static void conn_break(struct api_conn *conn)
{
	conn->broken = true;
	event_active(conn->write_event, EV_WRITE, 0);
}

void api_conn_close(struct api_conn *conn)
{
	conn->closing = true;
	event_del(conn->read_event);
	event_active(conn->write_event, EV_WRITE, 0);
}

void api_conn_detach(struct api_conn *conn, void (*fn)(void *data, int fd), void *data)
{
	conn->detached = fn;
	conn->detached_data = data;
	api_conn_close(conn);
}

static void conn_pause(struct api_conn *conn)
{
	bool pause = conn->out.bytes > SERVER_OUT_PAUSE;

	if (pause == conn->paused || conn->closing || conn->eof)
		return;
	conn->paused = pause;
	if (pause)
		event_del(conn->read_event);
	else
		event_add(conn->read_event, NULL);
}

/* Send what goes, then wait, pause or resume as the queue demands. */
static void conn_flush(struct api_conn *conn)
{
	size_t before = conn->out.bytes;
	int ret = frame_out_flush(&conn->out, conn->fd);

	conn->server->out_bytes -= before - conn->out.bytes;
	if (ret == 0 || before != conn->out.bytes)
		conn->out_stall_ms = 0;
	if (ret == -EAGAIN) {
		if (!conn->out_stall_ms)
			conn->out_stall_ms = now_ms();
		event_add(conn->write_event, NULL);
	} else if (ret) {
		conn_break(conn);
		return;
	}
	conn_pause(conn);
	if (ret == 0 && before && conn->on_drain && !conn->closing)
		conn->on_drain(conn);
}

int api_conn_send(struct api_conn *conn, const json_t *json, const int *fds, unsigned int nfds)
{
	struct api_server *server = conn->server;
	size_t before = conn->out.bytes;
	int ret;

	if (conn->broken) {
		api_close_fds(fds, nfds);
		return -EPIPE;
	}
	ret = frame_out_push(&conn->out, json, fds, nfds);
	server->out_bytes += conn->out.bytes - before;
	if (ret == -ENOBUFS || (!ret && before && server->out_bytes > SERVER_OUT_TOTAL)) {
		server->dropped++;
		conn_break(conn);
		return -ENOBUFS;
	}
	if (ret)
		return ret;
	/* While requests are being read, all answers of this turn go out in one send. */
	if (!conn->in_dispatch && !before)
		conn_flush(conn);
	if (conn->eof && conn->session.ncalls == 0)
		api_conn_close(conn);
	return 0;
}

static int session_send(struct api_session *session, const json_t *json, const int *fds,
			unsigned int nfds)
{
	return api_conn_send((struct api_conn *)session, json, fds, nfds);
}

static const struct api_session_ops server_session_ops = {
	.send = session_send,
};

/* An object with result or error is an answer to us, where we expect any. */
static void conn_line(struct api_conn *conn, const char *text, size_t len)
{
	struct api_error err;
	json_t *json;

	if (!conn->on_answer) {
		if (api_dispatch_line(&conn->session, text, len, &conn->in))
			conn->closing = true;
		return;
	}
	json = frame_parse(text, len, &err);
	if (!json)
		conn_break(conn);
	else if (json_is_object(json) && !json_object_get(json, "method"))
		conn->on_answer(conn, json);
	else
		api_dispatch_json(&conn->session, json, &conn->in);
	json_decref(json);
}

static void conn_too_long(struct api_conn *conn)
{
	struct api_error err;

	api_error_set(&err, API_E_LINE_TOO_LONG, "a line has at most %u bytes", FRAME_LINE_MAX);
	api_send_error(&conn->session, &err);
	conn->closing = true;
}

static void conn_lines(struct api_conn *conn)
{
	const char *text;
	size_t len;
	int ret = 0;

	while (!conn->closing && !conn->broken && conn->out.bytes <= SERVER_OUT_PAUSE &&
	       (ret = frame_in_next(&conn->in, &text, &len)) == 1)
		conn_line(conn, text, len);
	if (ret == -EMSGSIZE)
		conn_too_long(conn);
	else if (ret < 0)
		conn->broken = true;
}

/* Both directions are shut: nobody is there to take an answer. */
static bool conn_hung_up(const struct api_conn *conn)
{
	struct pollfd p = { .fd = conn->fd };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

static void conn_eof(struct api_conn *conn)
{
	conn->eof = true;
	conn->in_stall_ms = 0;
	event_del(conn->read_event);
	if (conn_hung_up(conn))
		conn->broken = true;
	else if (conn->session.ncalls == 0)
		conn->closing = true;
}

static void conn_read(evutil_socket_t fd, short what, void *arg)
{
	struct api_conn *conn = arg;
	size_t turn = 0;
	ssize_t n;

	(void)what;
	conn->in_dispatch = true;
	do {
		n = frame_in_read(&conn->in, fd);
		if (n > 0) {
			turn += n;
			conn_lines(conn);
		}
		/* A short read has drained the socket: spare the call that would say so. */
	} while (n >= (16 << 10) && turn < READ_TURN && !conn->closing && !conn->broken &&
		 conn->out.bytes <= SERVER_OUT_PAUSE);
	conn->in_dispatch = false;
	conn->in_stall_ms = frame_in_partial(&conn->in) ? now_ms() : 0;
	if (n == 0)
		conn_eof(conn);
	else if (n < 0 && n != -EAGAIN)
		conn->broken = true;
	if (conn->closing)
		event_del(conn->read_event);
	if (conn->broken || conn->closing)
		event_active(conn->write_event, EV_WRITE, 0);
	else if (conn->out.bytes)
		conn_flush(conn);
}

static void conn_write(evutil_socket_t fd, short what, void *arg)
{
	struct api_conn *conn = arg;
	bool was_paused = conn->paused;

	(void)fd;
	(void)what;
	if (!conn->broken)
		conn_flush(conn);
	/* A peer that has closed its end gets what is ready, not what is yet to come. */
	if (conn->broken || (conn->closing && conn->out.bytes == 0)) {
		conn_free(conn);
		return;
	}
	/* Lines that were read before the pause have no read event of their own. */
	if (was_paused && !conn->paused && !conn->closing) {
		conn->in_dispatch = true;
		conn_lines(conn);
		conn->in_dispatch = false;
		if (conn->closing || conn->broken)
			event_active(conn->write_event, EV_WRITE, 0);
		else if (conn->out.bytes)
			conn_flush(conn);
	}
}

static void conn_peer(struct api_conn *conn)
{
	struct ucred cred = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof(cred);

	getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	conn->session.pid = cred.pid;
	conn->session.uid = cred.uid;
	conn->session.gid = cred.gid;
}

struct api_conn *api_conn_new(struct api_server *server, int fd, enum api_privilege privilege)
{
	struct api_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->server = server;
	conn->fd = fd;
	api_session_init(&conn->session, server->table, &server_session_ops, privilege);
	frame_in_init(&conn->in);
	frame_out_init(&conn->out);
	conn->read_event = event_new(server->base, fd, EV_READ | EV_PERSIST, conn_read, conn);
	conn->write_event = event_new(server->base, fd, EV_WRITE, conn_write, conn);
	if (!conn->read_event || !conn->write_event || event_add(conn->read_event, NULL)) {
		if (conn->read_event)
			event_free(conn->read_event);
		if (conn->write_event)
			event_free(conn->write_event);
		free(conn);
		return NULL;
	}
	conn_peer(conn);
	TAILQ_INSERT_TAIL(&server->conns, conn, link);
	server->nconns++;
	return conn;
}

/* ---- listeners ------------------------------------------------------------ */

/* Tell a peer that is not admitted why, as far as its socket buffer takes it. */
static void refuse(struct api_server *server, int fd, const struct api_error *err)
{
	json_t *answer = json_pack("{s:s,s:n,s:o}", "jsonrpc", "2.0", "id", "error",
				   api_error_to_json(err));
	struct frame_out out;

	frame_out_init(&out);
	if (answer && !frame_out_push(&out, answer, NULL, 0))
		frame_out_flush(&out, fd);
	frame_out_fini(&out);
	json_decref(answer);
	close(fd);
	server->refused++;
}

static void listener_accept_one(struct api_listener *l, int fd)
{
	struct api_server *server = l->server;
	struct api_error err;
	struct api_conn *conn;

	if (server->nconns >= server->max_conns) {
		api_error_set(&err, API_E_RESOURCE_EXHAUSTED, "the daemon has %u connections",
			      server->nconns);
		refuse(server, fd, &err);
		return;
	}
	conn = api_conn_new(server, fd, l->config.privilege);
	if (!conn) {
		close(fd);
		return;
	}
	server->accepted++;
	if (l->config.admit && !l->config.admit(l->config.admit_context, &conn->session, fd)) {
		api_error_set(&err, API_E_PERMISSION_DENIED, "uid %u may not use this socket",
			      (unsigned int)conn->session.uid);
		api_send_error(&conn->session, &err);
		api_conn_close(conn);
		server->refused++;
		return;
	}
	if (server->on_open)
		server->on_open(conn);
}

static void listener_retry(evutil_socket_t fd, short what, void *arg)
{
	struct api_listener *l = arg;

	(void)fd;
	(void)what;
	event_add(l->event, NULL);
}

static void listener_accept(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval pause = { .tv_usec = 100000 };
	struct api_listener *l = arg;
	int i, peer;

	(void)what;
	for (i = 0; i < ACCEPT_TURN; i++) {
		peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (peer >= 0) {
			listener_accept_one(l, peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* The connection stays in the backlog; asking again at once would spin. */
			event_del(l->event);
			event_add(l->retry_event, &pause);
		}
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

int api_server_listen(struct api_server *server, const struct api_listener_config *config)
{
	struct api_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->server = server;
	l->config = *config;
	l->event = event_new(server->base, config->fd, EV_READ | EV_PERSIST, listener_accept, l);
	l->retry_event = evtimer_new(server->base, listener_retry, l);
	if (!l->event || !l->retry_event || event_add(l->event, NULL)) {
		if (l->event)
			event_free(l->event);
		if (l->retry_event)
			event_free(l->retry_event);
		free(l);
		return -ENOMEM;
	}
	SLIST_INSERT_HEAD(&server->listeners, l, link);
	return 0;
}

void api_server_unlisten(struct api_server *server)
{
	struct api_listener *l;

	while ((l = SLIST_FIRST(&server->listeners))) {
		SLIST_REMOVE_HEAD(&server->listeners, link);
		event_free(l->event);
		event_free(l->retry_event);
		close(l->config.fd);
		free(l);
	}
}

/* ---- the server ----------------------------------------------------------- */

static bool conn_stalled(const struct api_conn *conn, uint64_t now)
{
	uint64_t limit = conn->server->stall_ms;

	return (conn->in_stall_ms && !conn->paused && now - conn->in_stall_ms > limit) ||
	       (conn->out_stall_ms && now - conn->out_stall_ms > limit);
}

static void server_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct api_server *server = arg;
	struct api_conn *conn, *next;
	uint64_t now = now_ms();

	(void)fd;
	(void)what;
	for (conn = TAILQ_FIRST(&server->conns); conn; conn = next) {
		next = TAILQ_NEXT(conn, link);
		if (conn_stalled(conn, now)) {
			server->dropped++;
			conn_break(conn);
		} else if (conn->eof && conn_hung_up(conn)) {
			conn_break(conn);
		}
	}
}

int api_server_init(struct api_server *server)
{
	static const struct timeval period = { .tv_sec = SWEEP_MS / 1000 };

	TAILQ_INIT(&server->conns);
	SLIST_INIT(&server->listeners);
	server->nconns = 0;
	server->out_bytes = 0;
	server->accepted = server->refused = server->dropped = 0;
	server->sweep_event = event_new(server->base, -1, EV_PERSIST, server_sweep, server);
	if (!server->sweep_event)
		return -ENOMEM;
	if (server->stall_ms && event_add(server->sweep_event, &period)) {
		event_free(server->sweep_event);
		return -ENOMEM;
	}
	return 0;
}

void api_server_flush(struct api_server *server)
{
	struct api_conn *conn;
	size_t before;

	TAILQ_FOREACH(conn, &server->conns, link) {
		before = conn->out.bytes;
		frame_out_flush(&conn->out, conn->fd);
		server->out_bytes -= before - conn->out.bytes;
	}
}

void api_server_fini(struct api_server *server)
{
	struct api_conn *conn;

	api_server_unlisten(server);
	while ((conn = TAILQ_FIRST(&server->conns))) {
		conn->broken = true;
		conn_free(conn);
	}
	event_free(server->sweep_event);
}

/* ---- unix sockets --------------------------------------------------------- */

static int unix_address(const char *path, struct sockaddr_un *addr)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	strcpy(addr->sun_path, path);
	return 0;
}

int api_listen_unix(const char *path, mode_t mode, gid_t gid)
{
	struct sockaddr_un addr;
	int fd, ret;

	ret = unix_address(path, &addr);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	/* Nobody may connect until mode and group are what they shall be. */
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0) ||
	    (gid != (gid_t)-1 && chown(path, (uid_t)-1, gid)) || chmod(path, mode) ||
	    listen(fd, BACKLOG)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int api_connect_unix(const char *path)
{
	struct sockaddr_un addr;
	int fd, ret;

	ret = unix_address(path, &addr);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}
