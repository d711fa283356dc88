/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console [-a FILE] [-w FILE] [-u TEXT] [-t MS] SOCKET DOMAIN TEXT: attach a domain's
 * console, type TEXT, print what it shows until MS (300) milliseconds pass in silence or
 * it is closed.
 *	-a	make FILE when it is attached
 *	-w	type when FILE is there, not at once
 *	-u	end as soon as it has shown TEXT
 */
#include "api/client.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int attach(const char *path, const char *domain)
{
	struct hvd_client *client;
	struct hvd_reply *reply;
	char uri[256];
	int fd = -1;

	snprintf(uri, sizeof(uri), "unix:%s", path);
	if (hvd_client_open(uri, &client))
		return -1;
	if (hvd_client_call(client, "domain.console", json_pack("{s:s}", "domain", domain), 20000,
			    &reply))
		fprintf(stderr, "console: %s\n", reply ? hvd_reply_error_name(reply) : "lost");
	else
		fd = hvd_reply_take_fd(reply, 0);
	hvd_reply_free(reply);
	hvd_client_close(client);
	return fd;
}

/* What it shows; true once the end of that is @until. */
static bool shows(const char *buf, size_t n, const char *until)
{
	static char seen[4096 + 256];
	static size_t len;
	size_t keep = sizeof(seen) - 4096 - 1;

	if (len > keep) {
		memmove(seen, seen + len - keep, keep);
		len = keep;
	}
	memcpy(seen + len, buf, n);
	len += n;
	return until && memmem(seen, len, until, strlen(until));
}

int main(int argc, char **argv)
{
	const char *attached = NULL, *when = NULL, *until = NULL;
	struct pollfd p = { .events = POLLIN };
	char buf[4096];
	int ms = 300, c;
	ssize_t n;

	while ((c = getopt(argc, argv, "a:w:u:t:")) != -1) {
		switch (c) {
		case 'a': attached = optarg; break;
		case 'w': when = optarg; break;
		case 'u': until = optarg; break;
		case 't': ms = atoi(optarg); break;
		default: return 2;
		}
	}
	if (argc - optind != 3)
		return 2;
	p.fd = attach(argv[optind], argv[optind + 1]);
	if (p.fd < 0)
		return 1;
	if (attached)
		close(open(attached, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	while (when && access(when, F_OK))
		usleep(20000);
	argv += optind + 2;
	if (argv[0][0] && write(p.fd, argv[0], strlen(argv[0])) < 0)
		return 1;
	while (poll(&p, 1, ms) > 0 && (n = read(p.fd, buf, sizeof(buf))) > 0) {
		fwrite(buf, 1, n, stdout);
		if (shows(buf, n, until))
			break;
	}
	close(p.fd);
	return 0;
}
