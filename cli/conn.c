/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls to the daemon, and what a failed one prints: one line on standard error
 * that begins with the stable error name, so that scripts can match it.
 */
#include "cli/cli.h"

#include "api/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cli_connect(struct cli *cli)
{
	int r;

	if (cli->client)
		return CLI_OK;
	r = hvd_client_open(cli->uri, &cli->client);
	if (!r)
		return CLI_OK;
	cli->client = NULL;
	if (r == -EINVAL)
		cli_error("\"%s\" is not a URI that hvctl knows (unix:PATH, ssh://HOST)",
			  cli->uri ? cli->uri : "");
	else
		cli_error("cannot connect to %s: %s", cli->uri ? cli->uri : "the daemon (is hvd running?)",
			  strerror(-r));
	return CLI_FAILED;
}

void cli_disconnect(struct cli *cli)
{
	hvd_client_close(cli->client);
	cli->client = NULL;
}

static void print_reply_error(const struct hvd_reply *reply)
{
	const char *name = hvd_reply_error_name(reply);
	const char *field = hvd_reply_error_field(reply);
	const char *hint = hvd_reply_error_hint(reply);

	cli_error("%s: %s%s%s%s%s%s", *name ? name : "rpc.internal_error", hvd_reply_error_message(reply),
		  *field ? " (at " : "", field, *field ? ")" : "", *hint ? "; " : "", hint);
}

/* The reply of a call, or NULL with the failure printed. fd: to pass, or -1. */
static struct hvd_reply *call(struct cli *cli, const char *method, json_t *params, int fd,
			      int timeout_ms)
{
	struct hvd_reply *reply = NULL;
	int r;

	if (cli_connect(cli)) {
		json_decref(params);
		return NULL;
	}
	r = hvd_client_call_fds(cli->client, method, params, &fd, fd >= 0, timeout_ms, &reply);
	if (!r)
		return reply;
	if (r == -EREMOTE)
		print_reply_error(reply);
	else if (r == -ETIMEDOUT)
		cli_error("timeout: %s gave no answer", method);
	else if (r == -EMSGSIZE)
		cli_error("the request is larger than the protocol allows");
	else
		cli_error("peer.lost: the connection to %s broke: %s", hvd_client_uri(cli->client),
			  strerror(-r));
	hvd_reply_free(reply);
	return NULL;
}

json_t *cli_call(struct cli *cli, const char *method, json_t *params, int timeout_ms)
{
	struct hvd_reply *reply = call(cli, method, params, -1, timeout_ms);
	json_t *result;

	if (!reply)
		return NULL;
	result = json_incref(hvd_reply_result(reply));
	hvd_reply_free(reply);
	return result;
}

json_t *cli_call_fd(struct cli *cli, const char *method, json_t *params, int *fd)
{
	struct hvd_reply *reply = call(cli, method, params, -1, -1);
	json_t *result;

	if (!reply)
		return NULL;
	*fd = hvd_reply_take_fd(reply, 0);
	if (*fd < 0) {
		cli_error("%s brought no descriptor: it needs a local connection (unix:PATH)", method);
		hvd_reply_free(reply);
		return NULL;
	}
	result = json_incref(hvd_reply_result(reply));
	hvd_reply_free(reply);
	return result;
}

int cli_call_with_fd(struct cli *cli, const char *method, json_t *params, int fd)
{
	struct hvd_reply *reply = call(cli, method, params, fd, -1);

	hvd_reply_free(reply);
	return reply ? CLI_OK : CLI_FAILED;
}
