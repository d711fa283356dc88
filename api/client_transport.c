/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a URI to a stream socket, and the byte pump behind ssh://.
 */
#include "api/client.h"
#include "api/client_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define SYSTEM_SOCKET "/run/hvd/hvd.sock"

extern char **environ;

static int stream_unix(struct client_stream *s, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int ret;

	if (!path[0] || strlen(path) >= sizeof(addr.sun_path))
		return -EINVAL;
	strcpy(addr.sun_path, path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	/* A full backlog of a busy daemon is waited for; only then the socket changes mode. */
	if (connect(s->fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    fcntl(s->fd, F_SETFL, O_NONBLOCK)) {
		ret = -errno;
		close(s->fd);
		return ret;
	}
	return 0;
}

/* Only addresses, so that no resolver decides what is loopback. */
static int stream_tcp(struct client_stream *s, const char *where)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	const char *colon = strrchr(where, ':');
	bool is_six = where[0] == '[';
	const int yes = 1;
	char host[64];
	long port;
	int ret;

	if (!colon || colon - where >= (long)sizeof(host) || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -EINVAL;
	port = strtol(colon + 1, NULL, 10);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - where) - (is_six ? 2 : 0),
		 where + is_six);
	if (!strcmp(host, "localhost"))
		strcpy(host, "127.0.0.1");
	if (port < 1 || port > 65535)
		return -EINVAL;
	if (inet_pton(AF_INET6, host, &six.sin6_addr) == 1) {
		if (!IN6_IS_ADDR_LOOPBACK(&six.sin6_addr))
			return -EOPNOTSUPP;
		is_six = true;
	} else if (is_six) {
		return -EINVAL;
	} else if (inet_pton(AF_INET, host, &four.sin_addr) != 1 ||
		   ntohl(four.sin_addr.s_addr) >> 24 != 127) {
		return -EOPNOTSUPP;
	}
	six.sin6_port = four.sin_port = htons(port);
	s->fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if ((is_six ? connect(s->fd, (struct sockaddr *)&six, sizeof(six)) :
		      connect(s->fd, (struct sockaddr *)&four, sizeof(four))) ||
	    fcntl(s->fd, F_SETFL, O_NONBLOCK)) {
		ret = -errno;
		close(s->fd);
		return ret;
	}
	return 0;
}

static int stream_spawn(struct client_stream *s, const char *const argv[])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int pair[2];
	int ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
	posix_spawnattr_init(&attr);
	/* The interface predates const; it does not write. */
	ret = -posix_spawnp(&s->child, argv[0], &actions, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	if (!ret && fcntl(pair[0], F_SETFL, O_NONBLOCK))
		ret = -errno;
	if (ret) {
		close(pair[0]);
		return ret;
	}
	s->fd = pair[0];
	return 0;
}

/* A user or host that begins with '-' would be an option of ssh. */
static bool ssh_word(const char *text)
{
	return text[0] && text[0] != '-' &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._-@%:[]") == strlen(text);
}

/* The remote shell sees the path: let no character of it mean anything there. */
static bool ssh_path(const char *text)
{
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._-/+@") == strlen(text);
}

static int stream_ssh(struct client_stream *s, const char *rest)
{
	const char *batch = s->batch ? "-oBatchMode=yes" : "-T";
	const char *slash = strchr(rest, '/');
	size_t len = slash ? (size_t)(slash - rest) : strlen(rest);
	char host[256], port[8] = "22", remote[256];
	char *colon;

	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, rest, len);
	host[len] = '\0';
	colon = strrchr(host, ':');
	if (colon && !strchr(colon, ']')) {
		*colon = '\0';
		if (!colon[1] || strlen(colon + 1) > 5 ||
		    strspn(colon + 1, "0123456789") != strlen(colon + 1))
			return -EINVAL;
		strcpy(port, colon + 1);
	} else {
		colon = NULL;
	}
	if (!ssh_word(host) || (slash && (!ssh_path(slash) || strlen(slash) > 200)))
		return -EINVAL;
	if (slash && slash[1])
		snprintf(remote, sizeof(remote), "hvctl -c unix:%s proxy", slash);
	else
		snprintf(remote, sizeof(remote), "hvctl proxy");
	if (colon)
		return stream_spawn(s, (const char *[]){ "ssh", "-T", batch, "-p", port, "--", host, remote,
							 NULL });
	return stream_spawn(s, (const char *[]){ "ssh", "-T", batch, "--", host, remote, NULL });
}

/* The read-only socket beside a read-write one that the caller may not use. */
static int stream_unix_or_ro(struct client_stream *s, const char *path, char *used, size_t size)
{
	size_t len = strlen(path);
	int ret = stream_unix(s, path);

	snprintf(used, size, "unix:%s", path);
	if (ret != -EACCES || len < 5 || strcmp(path + len - 5, ".sock"))
		return ret;
	snprintf(used, size, "unix:%.*s-ro.sock", (int)len - 5, path);
	return stream_unix(s, used + 5);
}

static int stream_default(struct client_stream *s, char *used, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[256];

	if (geteuid() != 0 && runtime && runtime[0] == '/' &&
	    snprintf(path, sizeof(path), "%s/hvd/hvd.sock", runtime) < (int)sizeof(path) &&
	    !stream_unix_or_ro(s, path, used, size))
		return 0;
	return stream_unix_or_ro(s, SYSTEM_SOCKET, used, size);
}

int client_stream_open(struct client_stream *stream, const char *uri)
{
	char used[300];
	int ret;

	stream->child = 0;
	if (!uri || !uri[0])
		uri = getenv("HVD_URI");
	if (!uri || !uri[0]) {
		ret = stream_default(stream, used, sizeof(used));
		uri = used;
	} else if (!strncmp(uri, "unix:", 5)) {
		ret = stream_unix(stream, uri + 5);
	} else if (!strncmp(uri, "tcp:", 4)) {
		ret = stream_tcp(stream, uri + 4);
	} else if (!strncmp(uri, "ssh://", 6)) {
		ret = stream_ssh(stream, uri + 6);
	} else if (!strncmp(uri, "exec:", 5) && uri[5]) {
		ret = stream_spawn(stream, (const char *[]){ "sh", "-c", uri + 5, NULL });
	} else {
		ret = -EINVAL;
	}
	if (ret)
		return ret;
	stream->uri = strdup(uri);
	if (stream->uri)
		return 0;
	client_stream_close(stream);
	return -ENOMEM;
}

void client_stream_close(struct client_stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	if (stream->child) {
		/* A well-behaved command ends with its input; this is for the others. */
		kill(stream->child, SIGTERM);
		while (waitpid(stream->child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(stream->uri);
}

/* ---- the pump ------------------------------------------------------------- */

struct pump {
	int from, to;
	size_t have, sent;
	bool eof;
	char buf[64 << 10];
};

static int pump_fill(struct pump *p)
{
	ssize_t n = read(p->from, p->buf, sizeof(p->buf));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	p->eof = n == 0;
	p->have = n;
	p->sent = 0;
	return 0;
}

static int pump_drain(struct pump *p)
{
	ssize_t n = write(p->to, p->buf + p->sent, p->have - p->sent);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	p->sent += n;
	return 0;
}

static int pump_run(struct pump *up, struct pump *down, int sock)
{
	struct pump *const pumps[] = { up, down };
	struct pollfd fds[2];
	int i, ret;

	/* The daemon's end closes the session; the caller's only half of it. */
	while (!down->eof || down->sent < down->have) {
		for (i = 0; i < 2; i++) {
			bool out = pumps[i]->sent < pumps[i]->have;

			fds[i].fd = out ? pumps[i]->to : pumps[i]->eof ? -1 : pumps[i]->from;
			fds[i].events = out ? POLLOUT : POLLIN;
			fds[i].revents = 0;
		}
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		for (i = 0; i < 2; i++) {
			if (!fds[i].revents)
				continue;
			ret = fds[i].events & POLLOUT ? pump_drain(pumps[i]) : pump_fill(pumps[i]);
			if (ret)
				return ret;
			if (i == 0 && up->eof && fds[i].events & POLLIN)
				shutdown(sock, SHUT_WR);
		}
	}
	return 0;
}

EXPORT int hvd_client_proxy(const char *uri, int in_fd, int out_fd)
{
	struct client_stream stream = { .fd = -1 };
	struct pump *pumps;
	int ret;

	ret = client_stream_open(&stream, uri);
	if (ret)
		return ret;
	pumps = calloc(2, sizeof(*pumps));
	if (!pumps) {
		client_stream_close(&stream);
		return -ENOMEM;
	}
	pumps[0].from = in_fd;
	pumps[0].to = pumps[1].from = stream.fd;
	pumps[1].to = out_fd;
	ret = pump_run(&pumps[0], &pumps[1], stream.fd);
	free(pumps);
	client_stream_close(&stream);
	return ret == -EPIPE ? 0 : ret;
}
