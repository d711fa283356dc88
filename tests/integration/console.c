/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console SOCKET DOMAIN TEXT [MS [DELAY]]: attach a domain's console, after DELAY (0)
 * milliseconds type TEXT, print what it shows until MS (300) milliseconds pass in
 * silence or it is closed.
 */
#include "api/client.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct hvd_client *client;
	struct hvd_reply *reply;
	struct pollfd p = { .events = POLLIN };
	char uri[256], buf[4096];
	int ms = argc > 4 ? atoi(argv[4]) : 300;
	ssize_t n;

	if (argc < 4)
		return 2;
	snprintf(uri, sizeof(uri), "unix:%s", argv[1]);
	if (hvd_client_open(uri, &client))
		return 1;
	if (hvd_client_call(client, "domain.console", json_pack("{s:s}", "domain", argv[2]), 20000,
			    &reply)) {
		fprintf(stderr, "console: %s\n", reply ? hvd_reply_error_name(reply) : "lost");
		hvd_reply_free(reply);
		hvd_client_close(client);
		return 1;
	}
	p.fd = hvd_reply_take_fd(reply, 0);
	hvd_reply_free(reply);
	hvd_client_close(client);
	if (p.fd < 0)
		return 1;
	if (argc > 5)
		usleep(atoi(argv[5]) * 1000);
	if (argv[3][0] && write(p.fd, argv[3], strlen(argv[3])) < 0)
		return 1;
	while (poll(&p, 1, ms) > 0 && (n = read(p.fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, n, stdout);
	close(p.fd);
	return 0;
}
