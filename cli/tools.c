/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands that are tools: events, call, shell, proxy, guest memory by bytes.
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

/* ---- guest memory ----------------------------------------------------------------------------------- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64_decode(const char *text, unsigned char *out)
{
	unsigned int bits = 0, n = 0;
	size_t len = 0;

	for (; *text && *text != '='; text++) {
		const char *digit = strchr(base64_digits, *text);

		if (!digit)
			break;
		bits = bits << 6 | (unsigned int)(digit - base64_digits);
		n += 6;
		if (n >= 8) {
			n -= 8;
			out[len++] = (unsigned char)(bits >> n);
		}
	}
	return len;
}

static char *base64_encode(const unsigned char *in, size_t len)
{
	char *text = malloc((len + 2) / 3 * 4 + 1), *p = text;

	for (size_t i = 0; text && i < len; i += 3) {
		unsigned int v = (unsigned int)in[i] << 16 | (i + 1 < len ? in[i + 1] << 8 : 0) |
				 (i + 2 < len ? in[i + 2] : 0);

		*p++ = base64_digits[v >> 18];
		*p++ = base64_digits[v >> 12 & 63];
		*p++ = i + 1 < len ? base64_digits[v >> 6 & 63] : '=';
		*p++ = i + 2 < len ? base64_digits[v & 63] : '=';
	}
	if (text)
		*p = 0;
	return text;
}

static void hexdump(unsigned long long addr, const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i += 16) {
		size_t n = len - i < 16 ? len - i : 16;

		printf("%012llx ", addr + i);
		for (size_t j = 0; j < 16; j++)
			j < n ? printf(" %02x", data[i + j]) : printf("   ");
		fputs("  ", stdout);
		for (size_t j = 0; j < n; j++)
			putchar(data[i + j] >= 0x20 && data[i + j] < 0x7f ? data[i + j] : '.');
		putchar('\n');
	}
}

int cli_cmd_memory_read(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *call = json_copy(params), *result;
	const char *text;
	unsigned char *data;
	size_t len;

	json_object_del(call, "local");
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	text = json_string_value(json_object_get(result, "data"));
	data = text && !cli->json ? malloc(strlen(text) + 1) : NULL;
	if (!data) {
		cli_show_json(result);
	} else {
		len = base64_decode(text, data);
		if (cli_local_flag(params, "raw"))
			fwrite(data, 1, len, stdout);
		else
			hexdump((unsigned long long)json_integer_value(json_object_get(params, "gpa")), data, len);
	}
	free(data);
	json_decref(result);
	return CLI_OK;
}

int cli_cmd_memory_write(struct cli *cli, const struct cli_command *command, json_t *params)
{
	static unsigned char buf[2 << 20]; /* what one request can carry */
	json_t *call = json_copy(params), *result;
	size_t len = fread(buf, 1, sizeof(buf), stdin);
	char *text = base64_encode(buf, len);

	if (!text || !len || ferror(stdin) || fgetc(stdin) != EOF) {
		cli_error("memory write: standard input has to bring 1 to %zu bytes", sizeof(buf));
		free(text);
		json_decref(call);
		return CLI_USAGE;
	}
	json_object_set_new(call, "data", json_string(text));
	free(text);
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	json_decref(result);
	return CLI_OK;
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
