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
