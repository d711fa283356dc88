/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands that are tools: events, call, shell, proxy.
 */
#include "cli/cli.h"

#include "api/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- events ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

struct event_reader {
	struct cli *cli;
	json_int_t left; /* events still to show; < 0: no limit */
};

static void show_event(struct hvd_client *client, const json_t *event, void *data)
{
	struct event_reader *reader = data;
	char when[64], detail[512];

	(void)client;
	if (!reader->left)
		return;
	if (reader->left > 0)
		reader->left--;
	if (reader->cli->json) {
		json_dumpf(event, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		cli_format(CLI_TIME, json_object_get(event, "timestamp"), when, sizeof(when));
		cli_format(CLI_PLAIN, json_object_get(event, "data"), detail, sizeof(detail));
		printf("%8lld  %s  %-20s %-24s %s\n",
		       (long long)json_integer_value(json_object_get(event, "seq")), when,
		       json_string_value(json_object_get(event, "domain")) ?: "-",
		       json_string_value(json_object_get(event, "type")) ?: "-", detail);
	}
	fflush(stdout);
}

int cli_cmd_events(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *count = cli_member(params, "local.count");
	struct event_reader reader = { cli, count ? json_integer_value(count) : -1 };
	struct sigaction sa = { .sa_handler = on_signal };
	json_t *call = json_copy(params), *result;

	json_object_del(call, "local");
	if (cli_connect(cli)) {
		json_decref(call);
		return CLI_FAILED;
	}
	hvd_client_on_event(cli->client, show_event, &reader);
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	if (json_integer_value(json_object_get(result, "lost")) > 0)
		cli_error("%lld events are no longer kept", (long long)json_integer_value(
								    json_object_get(result, "lost")));
	json_decref(result);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	while (!stop && reader.left) {
		int r = hvd_client_wait(cli->client, -1);

		if (r && r != -EINTR) {
			cli_error("peer.lost: the connection broke: %s", strerror(-r));
			return CLI_FAILED;
		}
	}
	return CLI_OK;
}

/* ---- call -------------------------------------------------------------------------------------- */

int cli_cmd_call(struct cli *cli, const struct cli_command *command, json_t *params)
{
	const char *method = cli_local_string(params, "method");
	json_t *arguments = cli_member(params, "local.params");
	json_t *result;

	(void)command;
	if (arguments && !json_is_object(arguments) && !json_is_array(arguments)) {
		cli_error("call: the parameters have to be a JSON object");
		return CLI_USAGE;
	}
	result = cli_call(cli, method, json_incref(arguments), -1);
	if (!result)
		return CLI_FAILED;
	cli_show_json(result);
	json_decref(result);
	return CLI_OK;
}

/* ---- shell --------------------------------------------------------------------------------------- */

#define SHELL_WORDS_MAX 64

/* Split a line in place at blanks; quotes keep them. -1: a quote is open or too many words. */
static int split(char *line, char **words)
{
	char *out = line;
	int n = 0;

	for (;;) {
		char quote = 0;

		line += strspn(line, " \t\n");
		if (!*line || *line == '#')
			return n;
		if (n == SHELL_WORDS_MAX)
			return -1;
		words[n++] = out;
		while (*line && (quote || !strchr(" \t\n", *line))) {
			if (quote ? *line == quote : (*line == '"' || *line == '\''))
				quote = quote ? 0 : *line;
			else
				*out++ = *line;
			line++;
		}
		if (quote)
			return -1;
		if (*line)
			line++;
		*out++ = 0;
	}
}

int cli_cmd_shell(struct cli *cli, const struct cli_command *command, json_t *params)
{
	bool prompt = isatty(STDIN_FILENO);
	char *line = NULL, *words[SHELL_WORDS_MAX];
	size_t size = 0;
	int status = CLI_OK;

	(void)command;
	(void)params;
	if (cli->in_shell || cli_connect(cli))
		return CLI_FAILED;
	cli->in_shell = true;
	for (;;) {
		int n;

		if (prompt) {
			fputs("hvctl> ", stdout);
			fflush(stdout);
		}
		if (getline(&line, &size, stdin) < 0)
			break;
		n = split(line, words);
		if (n < 0)
			cli_error("a quote is open, or the line has too many words");
		if (n <= 0)
			continue;
		if (!strcmp(words[0], "exit") || !strcmp(words[0], "quit"))
			break;
		status = cli_dispatch(cli, n, words);
		fflush(stdout);
	}
	free(line);
	cli->in_shell = false;
	return prompt ? CLI_OK : status;
}

/* ---- proxy --------------------------------------------------------------------------------------------- */

int cli_cmd_proxy(struct cli *cli, const struct cli_command *command, json_t *params)
{
	const char *path = cli_local_string(params, "socket");
	char uri[4200];
	int r;

	(void)command;
	snprintf(uri, sizeof(uri), "unix:%s", path ? path : "");
	r = hvd_client_proxy(path ? uri : cli->uri, STDIN_FILENO, STDOUT_FILENO);
	if (!r)
		return CLI_OK;
	cli_error("proxy: %s", strerror(-r));
	return CLI_FAILED;
}
