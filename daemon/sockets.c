/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open the sockets, and decide by the peer's credentials who may use which.
 */
#include "daemon/sockets.h"

#include "daemon/hvd.h"
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define PEER_GROUPS_MAX 1024

static const struct {
	const char *name;
	enum api_privilege privilege;
} socket_kinds[] = {
	{ "hvd.sock", API_RW },
	{ "hvd-ro.sock", API_RO },
};
#define KINDS 2

static const char *kind_group(const struct hvd *hvd, int kind)
{
	return kind == 0 ? hvd->config.group : hvd->config.ro_group;
}

static mode_t kind_mode(const struct hvd *hvd, int kind)
{
	return kind == 0 ? hvd->config.mode : hvd->config.ro_mode;
}

static bool peer_in_group(int fd, gid_t primary, gid_t group)
{
	gid_t groups[PEER_GROUPS_MAX];
	socklen_t len = sizeof(groups);
	size_t i;

	if (primary == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return false;
	for (i = 0; i < len / sizeof(gid_t); i++)
		if (groups[i] == group)
			return true;
	return false;
}

/*
 * The read-write socket is for root, the daemon's own user, and members of the
 * socket's group; everybody only where its mode says so. This holds whatever the
 * file's mode has become meanwhile.
 */
static bool admit_rw(void *context, const struct api_session *peer, int fd)
{
	const struct hvd *hvd = context;

	if (peer->uid == 0 || peer->uid == geteuid() || hvd->config.mode & 0002)
		return true;
	return hvd->rw_gid != (gid_t)-1 && hvd->config.mode & 0020 &&
	       peer_in_group(fd, peer->gid, hvd->rw_gid);
}

/* Looked up once: asking for a group can take as long as a network does. */
static void find_group(struct hvd *hvd)
{
	struct group *group = NULL;

	/* A socket that systemd made has the group that its unit says. */
	if (hvd->config.group[0] || hvd->activated)
		group = getgrnam(hvd->config.group[0] ? hvd->config.group : "hvd");
	hvd->rw_gid = group ? group->gr_gid : (gid_t)-1;
}

static int socket_listen(struct hvd *hvd, int kind, int fd)
{
	const struct api_listener_config config = {
		.fd = fd,
		.privilege = socket_kinds[kind].privilege,
		.admit = kind == 0 ? admit_rw : NULL,
		.admit_context = hvd,
	};
	int ret = api_server_listen(&hvd->server, &config);

	if (ret)
		close(fd);
	return ret;
}

static int socket_make(struct hvd *hvd, int kind)
{
	const char *name = kind_group(hvd, kind);
	struct group *group = NULL;
	char path[160];
	int fd;

	if (name[0]) {
		errno = 0;
		group = getgrnam(name);
		if (!group) {
			log_err("there is no group %s", name);
			return errno ? -errno : -ENOENT;
		}
	}
	snprintf(path, sizeof(path), "%s/%s", hvd->options.runtime_dir, socket_kinds[kind].name);
	fd = api_listen_unix(path, kind_mode(hvd, kind), group ? group->gr_gid : (gid_t)-1);
	if (fd < 0) {
		log_err("%s: %s", path, strerror(-fd));
		return fd;
	}
	return socket_listen(hvd, kind, fd);
}

/* Which of our sockets a handed-over one is: by its name, else by its order. */
static int socket_kind(const char *name, int index)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		if (name && !strcmp(name, socket_kinds[kind].name))
			return kind;
	return index < KINDS ? index : -1;
}

static int socket_take(struct hvd *hvd, int fd, const char *name, int index)
{
	int kind = socket_kind(name, index);

	if (kind < 0 || sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) <= 0) {
		log_err("socket %s of the service manager is not one of ours", name ? name : "?");
		return -EINVAL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return socket_listen(hvd, kind, fd);
}

static int sockets_activated(struct hvd *hvd)
{
	bool have[KINDS] = { false };
	char **names = NULL;
	int i, n, ret = 0;

	n = sd_listen_fds_with_names(1, &names);
	if (n <= 0)
		return n;
	hvd->activated = true;
	for (i = 0; i < n && !ret; i++) {
		int kind = socket_kind(names ? names[i] : NULL, i);

		ret = socket_take(hvd, SD_LISTEN_FDS_START + i, names ? names[i] : NULL, i);
		if (!ret)
			have[kind] = true;
	}
	for (i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
	/* What the manager did not hand over we make ourselves. */
	for (i = 0; i < KINDS && !ret; i++)
		if (!have[i])
			ret = socket_make(hvd, i);
	return ret ? ret : 1;
}

/* ---- loopback addresses -------------------------------------------------------- */

int sockets_listen_loopback(const char *where)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct sockaddr_in four = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	bool is_six = where[0] == '[';
	const int yes = 1;
	int fd, ret;

	six.sin6_port = four.sin_port = htons(atoi(strrchr(where, ':') + 1));
	fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if ((is_six ? bind(fd, (struct sockaddr *)&six, sizeof(six)) :
		      bind(fd, (struct sockaddr *)&four, sizeof(four))) ||
	    listen(fd, 16)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/*
 * The uid at the other end of a connection over loopback, as the kernel's table of
 * sockets has it: the line whose local address is our peer. Only of an established one:
 * what is left of a closed socket shows as root's.
 */
static uid_t loopback_peer_uid(int fd)
{
	union {
		struct sockaddr_in6 six;
		struct sockaddr_in four;
	} peer, own;
	socklen_t len = sizeof(peer), own_len = sizeof(own);
	unsigned int port, rport, uid;
	char line[512], want[33] = "", have[33];
	uid_t found = (uid_t)-1;
	bool is_six;
	FILE *f;
	int i;

	if (getpeername(fd, (struct sockaddr *)&peer, &len) ||
	    getsockname(fd, (struct sockaddr *)&own, &own_len))
		return found;
	is_six = peer.six.sin6_family == AF_INET6;
	for (i = 0; i < (is_six ? 4 : 1); i++)
		sprintf(want + 8 * i, "%08X", is_six ? peer.six.sin6_addr.s6_addr32[i] :
						       peer.four.sin_addr.s_addr);
	f = fopen(is_six ? "/proc/net/tcp6" : "/proc/net/tcp", "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*d: %32[0-9A-F]:%x %*[0-9A-F]:%x 01 %*s %*s %*s %u", have, &port,
			   &rport, &uid) == 4 && !strcmp(have, want) &&
		    port == ntohs(peer.four.sin_port) && rport == ntohs(own.four.sin_port))
			found = uid;
	}
	if (f)
		fclose(f);
	return found;
}

/* Any local user can connect: only those whom the read-write socket would take, too. */
static bool admit_peer(void *context, const struct api_session *peer, int fd)
{
	uid_t uid = loopback_peer_uid(fd);

	(void)context;
	(void)peer;
	return uid != (uid_t)-1 && (uid == 0 || uid == geteuid());
}

int sockets_open_peers(struct hvd *hvd)
{
	struct api_listener_config config = { .privilege = API_RW, .admit = admit_peer,
					      .admit_context = hvd };
	int ret;

	if (!hvd->config.migration_listen[0])
		return 0;
	config.fd = sockets_listen_loopback(hvd->config.migration_listen);
	if (config.fd < 0)
		return config.fd;
	ret = api_server_listen(&hvd->peers, &config);
	if (ret)
		close(config.fd);
	return ret;
}

int sockets_open(struct hvd *hvd)
{
	int kind, ret = sockets_activated(hvd);

	find_group(hvd);
	if (ret)
		return ret < 0 ? ret : 0;
	for (kind = 0; kind < KINDS; kind++) {
		ret = socket_make(hvd, kind);
		if (ret)
			return ret;
	}
	return 0;
}

void sockets_unlink(struct hvd *hvd)
{
	char path[160];
	int kind;

	if (hvd->activated || hvd->lock_fd < 0 || !hvd->base)
		return;
	for (kind = 0; kind < KINDS; kind++) {
		snprintf(path, sizeof(path), "%s/%s", hvd->options.runtime_dir,
			 socket_kinds[kind].name);
		unlink(path);
	}
}
