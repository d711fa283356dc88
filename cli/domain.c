/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands on domains that do more than one call: define from a file, start with
 * the console, run, wait, top.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Paths in a configuration file are relative to where hvctl was started. */
static void absolute_paths(json_t *config)
{
	static const char *const names[] = { "kernel", "initrd", NULL };
	json_t *boot = json_object_get(config, "boot");
	char cwd[4096];

	if (!getcwd(cwd, sizeof(cwd)))
		return;
	for (int i = 0; names[i]; i++) {
		const char *path = json_string_value(json_object_get(boot, names[i]));

		if (path && *path && *path != '/')
			json_object_set_new(boot, names[i], json_sprintf("%s/%s", cwd, path));
	}
}

int cli_cmd_define(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *result;

	absolute_paths(json_object_get(params, "config"));
	result = cli_call(cli, command->method, json_incref(params), -1);
	if (!result)
		return CLI_FAILED;
	if (cli->json)
		cli_show_json(result);
	json_decref(result);
	return CLI_OK;
}

/*
 * domain.start or domain.create; the console comes with the answer, from before the
 * guest's first instruction, so that a short-lived guest's output is not missed.
 */
static int start_attached(struct cli *cli, const char *method, json_t *call, const char *domain)
{
	json_t *result;
	int fd;

	json_object_set_new(call, "console", json_true());
	result = cli_call_fd(cli, method, call, &fd);
	if (!result)
		return CLI_FAILED;
	if (cli->json)
		cli_show_json(result);
	json_decref(result);
	return cli_console_attach(fd, domain);
}

int cli_cmd_start(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *call = json_copy(params);
	json_t *result;

	json_object_del(call, "local");
	if (cli_local_flag(params, "console"))
		return start_attached(cli, command->method, call,
				      json_string_value(json_object_get(params, "domain")));
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	if (cli->json)
		cli_show_json(result);
	json_decref(result);
	return CLI_OK;
}

int cli_cmd_run(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *call = json_copy(params);
	json_t *result;
	char name[80];

	json_object_del(call, "local");
	if (!cli_member(call, "config.name")) {
		json_t *config = json_object_get(call, "config");

		if (!config)
			json_object_set_new(call, "config", config = json_object());
		snprintf(name, sizeof(name), "run-%d", (int)getpid());
		json_object_set_new(config, "name", json_string(name));
	}
	absolute_paths(json_object_get(call, "config"));
	snprintf(name, sizeof(name), "%s", json_string_value(cli_member(call, "config.name")) ?: "");
	if (!cli_local_flag(params, "detach"))
		return start_attached(cli, command->method, call, name);
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	if (cli->json)
		cli_show_json(result);
	else
		puts(name);
	json_decref(result);
	return CLI_OK;
}

int cli_cmd_wait(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *result = cli_call(cli, command->method, json_incref(params), -1);

	if (!result)
		return CLI_FAILED;
	if (cli->json) {
		cli_show_json(result);
	} else {
		printf("%s", json_string_value(json_object_get(result, "state")) ?: "gone");
		if (json_string_value(json_object_get(result, "reason")))
			printf(" (%s)", json_string_value(json_object_get(result, "reason")));
		putchar('\n');
	}
	json_decref(result);
	return CLI_OK;
}

int cli_cmd_job_wait(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *result = cli_call(cli, command->method, json_incref(params), -1);
	const char *status;
	int r;

	if (!result)
		return CLI_FAILED;
	cli_show(cli, command->view, result);
	status = json_string_value(json_object_get(result, "status"));
	r = status && !strcmp(status, "completed") ? CLI_OK : CLI_FAILED;
	json_decref(result);
	return r;
}

/* One screen of top: the list with what each domain used since the last screen. */
static int top_once(struct cli *cli, json_t *before, double seconds, json_t **now)
{
	json_t *list = cli_call(cli, "domain.list", NULL, 10000);
	json_t *domain;
	size_t i;

	if (!list)
		return CLI_FAILED;
	*now = json_object();
	printf("%-24s %-10s %5s %10s %8s\n", "NAME", "STATE", "VCPUS", "MEMORY", "CPU%");
	json_array_foreach(json_object_get(list, "domains"), i, domain) {
		const char *name = json_string_value(json_object_get(domain, "name"));
		double cpu = json_number_value(json_object_get(domain, "cpu_time_ns"));
		json_t *old = json_object_get(before, name);
		char memory[64];

		cli_format(CLI_BYTES, json_object_get(domain, "memory"), memory, sizeof(memory));
		json_object_set_new(*now, name, json_real(cpu));
		printf("%-24s %-10s %5d %10s %8.1f\n", name,
		       json_string_value(json_object_get(domain, "state")),
		       (int)json_integer_value(json_object_get(domain, "vcpus")), memory,
		       old && seconds > 0 ? (cpu - json_number_value(old)) / seconds / 1e7 : 0.0);
	}
	json_decref(list);
	return CLI_OK;
}

int cli_cmd_top(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *local = json_object_get(params, "local");
	json_int_t count = json_integer_value(json_object_get(local, "count"));
	json_int_t delay = json_integer_value(json_object_get(local, "delay"));
	json_t *before = NULL;
	bool clear = isatty(STDOUT_FILENO);
	int status = CLI_OK;

	if (delay <= 0)
		delay = 1000;
	for (json_int_t i = 0; !status && (!count || i < count); i++) {
		json_t *now = NULL;

		if (i) {
			struct timespec ts = { delay / 1000, delay % 1000 * 1000000 };

			nanosleep(&ts, NULL);
		}
		if (clear)
			fputs("\033[H\033[2J", stdout);
		status = top_once(cli, before, (double)delay / 1000, &now);
		fflush(stdout);
		json_decref(before);
		before = now;
	}
	json_decref(before);
	return status;
}
