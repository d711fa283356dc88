/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvctl: options, and the way to a command's row.
 */
#include "config.h"

#include "cli/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cli_error(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("hvctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* How many of argv's words name the command; 0: they do not. */
static int words_match(const char *words, int argc, char **argv)
{
	int n = 0;

	while (*words) {
		size_t len = strcspn(words, " ");

		if (n >= argc || strlen(argv[n]) != len || strncmp(argv[n], words, len))
			return 0;
		n++;
		words += len + (words[len] == ' ');
	}
	return n;
}

static void help(void)
{
	puts("usage: hvctl [-c URI] [--json] COMMAND [ARGUMENT...]\n"
	     "\n"
	     "  -c, --connect URI   unix:PATH of a daemon's socket, or ssh://[USER@]HOST\n"
	     "  -j, --json          results as JSON\n"
	     "  -h, --help          this text; after a command: that command's\n"
	     "  -V, --version       the version of hvctl\n"
	     "\n"
	     "Commands:");
	for (const struct cli_command *c = cli_commands; c->words; c++)
		printf("  %-20s %s\n", c->words, c->summary);
}

/* "dirtylog" alone: the commands that begin with it. */
static int help_group(const char *word)
{
	size_t n = strlen(word);
	bool found = false;

	for (const struct cli_command *c = cli_commands; c->words; c++) {
		if (strncmp(c->words, word, n) || c->words[n] != ' ')
			continue;
		if (!found)
			fprintf(stderr, "hvctl: %s needs one of these:\n", word);
		found = true;
		fprintf(stderr, "  %-20s %s\n", c->words, c->summary);
	}
	if (!found)
		cli_error("unknown command \"%s\" (see hvctl --help)", word);
	return CLI_USAGE;
}

static const struct cli_command *find_command(int argc, char **argv, int *used)
{
	const struct cli_command *best = NULL;

	*used = 0;
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		int n = words_match(c->words, argc, argv);

		if (n > *used) {
			*used = n;
			best = c;
		}
	}
	return best;
}

int cli_cmd_simple(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *result = cli_call(cli, command->method, json_incref(params), -1);

	if (!result)
		return CLI_FAILED;
	cli_show(cli, command->view, result);
	json_decref(result);
	return CLI_OK;
}

int cli_dispatch(struct cli *cli, int argc, char **argv)
{
	const struct cli_command *command;
	json_t *params;
	int used, status;

	command = find_command(argc, argv, &used);
	if (!command)
		return help_group(argv[0]);
	for (int i = used; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			cli_usage(command, false);
			return CLI_OK;
		}
	}
	status = cli_parse(cli, command, argc - used, argv + used, &params);
	if (status)
		return status;
	status = command->run ? command->run(cli, command, params)
			      : cli_cmd_simple(cli, command, params);
	json_decref(params);
	return status;
}

/* Lists for the completion and for the checks of the tree. */
static void list_commands(void)
{
	for (const struct cli_command *c = cli_commands; c->words; c++)
		puts(c->words);
}

static void list_options(void)
{
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		printf("%s:", c->words);
		for (const struct cli_arg *arg = c->args; arg && arg->name; arg++)
			printf(" %s", arg->name);
		putchar('\n');
	}
}

/* The global options. Returns the index of the command, or -1 with *status set. */
static int global_options(struct cli *cli, int argc, char **argv, int *status)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		const char *o = argv[i];

		if (!strcmp(o, "-c") || !strcmp(o, "--connect")) {
			if (++i >= argc) {
				cli_error("%s needs a URI", o);
				*status = CLI_USAGE;
				return -1;
			}
			cli->uri = argv[i];
		} else if (!strncmp(o, "--connect=", 10)) {
			cli->uri = o + 10;
		} else if (!strcmp(o, "-j") || !strcmp(o, "--json")) {
			cli->json = true;
		} else {
			*status = CLI_OK;
			if (!strcmp(o, "-h") || !strcmp(o, "--help"))
				help();
			else if (!strcmp(o, "-V") || !strcmp(o, "--version"))
				puts("hvctl " PACKAGE_VERSION);
			else if (!strcmp(o, "--list-commands"))
				list_commands();
			else if (!strcmp(o, "--list-options"))
				list_options();
			else {
				cli_error("unknown option %s (see hvctl --help)", o);
				*status = CLI_USAGE;
			}
			return -1;
		}
	}
	return i;
}

int main(int argc, char **argv)
{
	struct cli cli = { .uri = getenv("HVD_URI") };
	int status = CLI_USAGE, first;

	/* A daemon or a pager that goes away is an error of the write, with its message. */
	signal(SIGPIPE, SIG_IGN);
	first = global_options(&cli, argc, argv, &status);
	if (first < 0)
		return status;
	if (first == argc) {
		fputs("usage: hvctl [-c URI] [--json] COMMAND [ARGUMENT...]; see hvctl --help\n", stderr);
		return CLI_USAGE;
	}
	status = cli_dispatch(&cli, argc - first, argv + first);
	cli_disconnect(&cli);
	if (fflush(stdout) || ferror(stdout)) {
		cli_error("standard output: %s", "write failed");
		return CLI_FAILED;
	}
	return status;
}
