/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of a command, by its row: positional arguments in order,
 * options anywhere, "--" ends options, "--name=value" and "--name value". The global
 * --json may stand there too.
 */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_PARTS_MAX 8

static bool is_option(const struct cli_arg *arg)
{
	return arg->name[0] == '-';
}

json_t *cli_member(json_t *value, const char *path)
{
	char part[128];

	while (path && *path && value) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(part))
			return NULL;
		memcpy(part, path, n);
		part[n] = 0;
		if (json_is_array(value))
			value = json_array_get(value, strtoul(part, NULL, 10));
		else
			value = json_object_get(value, part);
		path += n + (path[n] == '.');
	}
	return value;
}

const char *cli_local_string(json_t *params, const char *name)
{
	return json_string_value(json_object_get(json_object_get(params, "local"), name));
}

bool cli_local_flag(json_t *params, const char *name)
{
	return json_is_true(json_object_get(json_object_get(params, "local"), name));
}

/* Put value at a path of objects, which are made on the way. Takes value. */
static int put_at(json_t *root, const char *path, json_t *value)
{
	char part[128];

	for (;;) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(part)) {
			json_decref(value);
			return -EINVAL;
		}
		memcpy(part, path, n);
		part[n] = 0;
		if (!path[n])
			return json_object_set_new(root, part, value) ? -ENOMEM : 0;
		if (!json_object_get(root, part))
			json_object_set_new(root, part, json_object());
		root = json_object_get(root, part);
		path += n + 1;
	}
}

static json_t *read_config(const char *path)
{
	json_error_t err;
	json_t *value = strcmp(path, "-") ? json_load_file(path, JSON_REJECT_DUPLICATES, &err)
					  : json_loadf(stdin, JSON_REJECT_DUPLICATES, &err);

	if (!value && err.line < 0)
		cli_error("%s: %s", path, err.text);
	else if (!value)
		cli_error("%s:%d:%d: %s", path, err.line, err.column, err.text);
	return value;
}

static json_t *absolute_path(const char *text)
{
	char cwd[PATH_MAX];

	if (text[0] == '/' || !getcwd(cwd, sizeof(cwd)))
		return json_string(text);
	return json_sprintf("%s/%s", cwd, text);
}

static json_t *parse_integer(const char *text)
{
	char *end;
	unsigned long long u;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 0);
	if (!errno && !*end && end != text)
		return json_integer(v);
	/* All 64 bits travel as text. */
	errno = 0;
	u = strtoull(text, &end, 0);
	if (!errno && !*end && end != text && text[0] != '-')
		return json_sprintf("0x%llx", u);
	return NULL;
}

static json_t *parse_number(const char *text, double scale, bool whole)
{
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text)
		return NULL;
	return whole ? json_integer((json_int_t)(v * scale + 0.5)) : json_real(v * scale);
}

static bool is_flag(const struct cli_arg *arg)
{
	return arg->type == CLI_FLAG || arg->type == CLI_OFF;
}

/* The value of one argument, or NULL with the mistake printed. */
static json_t *parse_value(const struct cli_arg *arg, const char *text)
{
	json_error_t err;
	json_t *value = NULL;

	switch (arg->type) {
	case CLI_STRING:
	case CLI_SIZE:
		value = json_string(text);
		break;
	case CLI_PATH:
		value = absolute_path(text);
		break;
	case CLI_INT:
		value = parse_integer(text);
		break;
	case CLI_NUMBER:
		value = parse_number(text, 1, false);
		break;
	case CLI_SECONDS:
		value = parse_number(text, 1000, true);
		break;
	case CLI_FLAG:
		return json_true();
	case CLI_OFF:
		return json_false();
	case CLI_CONFIG:
		return read_config(text);
	case CLI_JSON:
		value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &err);
		if (!value)
			cli_error("%s, column %d: %s", arg->name, err.column, err.text);
		return value;
	}
	if (!value)
		cli_error("%s: \"%s\" is not a valid %s", arg->name, text,
			  arg->type == CLI_INT ? "integer" : arg->type == CLI_STRING ? "text" : "number");
	return value;
}

static int take(const struct cli_arg *arg, const char *text, json_t *params)
{
	json_t *value = parse_value(arg, text);
	char path[160];

	if (!value)
		return CLI_USAGE;
	snprintf(path, sizeof(path), "%s%s", arg->flags & CLI_LOCAL ? "local." : "", arg->param);
	/* A configuration file is the base that options given with it change. */
	if (arg->type == CLI_CONFIG && json_is_object(cli_member(params, path))) {
		json_object_update_missing(cli_member(params, path), value);
		json_decref(value);
		return 0;
	}
	if (put_at(params, path, value)) {
		cli_error("%s: cannot be combined with what stands before it", arg->name);
		return CLI_USAGE;
	}
	return 0;
}

static const struct cli_arg *find_option(const struct cli_command *command, const char *text,
					 const char **value)
{
	size_t n = strcspn(text, "=");

	for (const struct cli_arg *arg = command->args; arg && arg->name; arg++) {
		if (!is_option(arg) || strlen(arg->name) != n || strncmp(arg->name, text, n))
			continue;
		*value = text[n] ? text + n + 1 : NULL;
		return arg;
	}
	return NULL;
}

static const struct cli_arg *next_positional(const struct cli_arg *arg)
{
	while (arg && arg->name && is_option(arg))
		arg++;
	return arg && arg->name ? arg : NULL;
}

static int parse_option(struct cli *cli, const struct cli_command *command, char **argv, int *i,
			int argc, json_t *params)
{
	const char *value;
	const struct cli_arg *arg = find_option(command, argv[*i], &value);

	if (!arg && (!strcmp(argv[*i], "-j") || !strcmp(argv[*i], "--json"))) {
		cli->json = true;
		return 0;
	}
	if (!arg) {
		cli_error("%s: unknown option %s", command->words, argv[*i]);
		return CLI_USAGE;
	}
	if (is_flag(arg) && value) {
		cli_error("%s takes no value", arg->name);
		return CLI_USAGE;
	}
	if (!is_flag(arg) && !value) {
		if (*i + 1 >= argc) {
			cli_error("%s needs a value", arg->name);
			return CLI_USAGE;
		}
		value = argv[++*i];
	}
	return take(arg, value, params);
}

static int check_required(const struct cli_command *command, json_t *params)
{
	for (const struct cli_arg *arg = command->args; arg && arg->name; arg++) {
		char path[160];

		snprintf(path, sizeof(path), "%s%s", arg->flags & CLI_LOCAL ? "local." : "",
			 arg->param);
		if (!(arg->flags & CLI_REQUIRED) || cli_member(params, path))
			continue;
		cli_error("%s: %s is missing", command->words, arg->name);
		cli_usage(command, true);
		return CLI_USAGE;
	}
	return 0;
}

int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv,
	      json_t **params)
{
	const struct cli_arg *positional = next_positional(command->args);
	bool options = true;
	int status = 0;

	*params = json_object();
	if (!*params)
		return CLI_FAILED;
	for (int i = 0; i < argc && !status; i++) {
		if (options && !strcmp(argv[i], "--")) {
			options = false;
		} else if (options && argv[i][0] == '-' && argv[i][1]) {
			status = parse_option(cli, command, argv, &i, argc, *params);
		} else if (positional) {
			status = take(positional, argv[i], *params);
			positional = next_positional(positional + 1);
		} else {
			cli_error("%s: \"%s\" is one argument too many", command->words, argv[i]);
			status = CLI_USAGE;
		}
	}
	if (!status)
		status = check_required(command, *params);
	if (status) {
		json_decref(*params);
		*params = NULL;
	}
	return status;
}

void cli_usage(const struct cli_command *command, bool to_stderr)
{
	FILE *out = to_stderr ? stderr : stdout;
	const struct cli_arg *arg;

	fprintf(out, "usage: hvctl %s", command->words);
	for (arg = command->args; arg && arg->name; arg++) {
		bool required = arg->flags & CLI_REQUIRED;

		fprintf(out, required ? " %s%s" : " [%s%s", arg->name,
			!is_option(arg) || is_flag(arg) ? "" : " VALUE");
		if (!required)
			fputc(']', out);
	}
	fputc('\n', out);
	if (to_stderr)
		return;
	fprintf(out, "\n%s\n", command->summary);
	for (arg = command->args; arg && arg->name; arg++)
		fprintf(out, "  %-18s %s\n", arg->name, arg->help);
	if (command->details)
		fprintf(out, "\n%s\n", command->details);
}
