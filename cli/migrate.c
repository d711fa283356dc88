/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvctl migrate: the job, shown while it runs. Ctrl-C asks it to abort, and a second one
 * leaves it alone.
 */
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS	     200
#define BAR_MIN	     10
#define BAR_MAX	     40
#define COLUMNS_ELSE 80

static volatile sig_atomic_t interrupts;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupts++;
}

static double number(json_t *job, const char *name)
{
	return json_number_value(json_object_get(json_object_get(job, "statistics"), name));
}

static const char *text(json_t *job, const char *name)
{
	return json_string_value(json_object_get(job, name)) ?: "";
}

static unsigned int columns(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? COLUMNS_ELSE : size.ws_col;
}

/* " 42% [####------] round 2, 12 MiB sent, 340 Mbit/s, 3 s left" */
static void show_progress(json_t *job, bool aborting)
{
	double total = number(job, "total"), left = number(job, "remaining");
	double rate = number(job, "mbps") * 1e6 / 8;
	json_t *sent = json_object_get(json_object_get(job, "statistics"), "transferred");
	/* Of the present round: what the guest writes meanwhile is the next one's. */
	int percent = total > 0 ? (int)((total - left) * 100 / total) : 0;
	char bytes[32] = "0 B", figures[160], bar[BAR_MAX + 1];
	unsigned int width = columns(), used, n;

	if (sent)
		cli_format(CLI_BYTES, sent, bytes, sizeof(bytes));
	used = snprintf(figures, sizeof(figures), "round %d, %s sent, %.0f Mbit/s",
			(int)number(job, "iteration"), bytes, number(job, "mbps"));
	if (aborting)
		snprintf(figures + used, sizeof(figures) - used, ", aborting");
	else if (rate > 0)
		snprintf(figures + used, sizeof(figures) - used, ", %.0f s left", left / rate);
	used = strlen(figures) + sizeof("100% [] ");
	n = width > used + BAR_MIN ? width - used : BAR_MIN;
	n = n > BAR_MAX ? BAR_MAX : n;
	memset(bar, '-', n);
	memset(bar, '#', n * percent / 100);
	bar[n] = '\0';
	fprintf(stderr, "\r%3d%% [%s] %s\033[K", percent, bar, figures);
	fflush(stderr);
}

static json_t *job_info(struct cli *cli, json_t *id)
{
	return cli_call(cli, "job.info", json_pack("{s:O}", "id", id), 60000);
}

static void job_abort(struct cli *cli, json_t *id)
{
	json_t *result = cli_call(cli, "job.abort", json_pack("{s:O}", "id", id), 60000);

	json_decref(result);
}

/* The job when it has ended; NULL: an error that has been printed, or left with a second Ctrl-C. */
static json_t *follow(struct cli *cli, json_t *id, bool show)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	bool asked = false, running = true;
	json_t *job = NULL;

	while (running && interrupts < 2) {
		if (interrupts && !asked) {
			asked = true;
			job_abort(cli, id);
		}
		json_decref(job);
		job = job_info(cli, id);
		if (!job)
			break;
		running = !strcmp(text(job, "status"), "running");
		if (show)
			show_progress(job, asked);
		if (running)
			nanosleep(&pause, NULL);
	}
	if (show)
		fputc('\n', stderr);
	if (!job || !running)
		return job;
	json_decref(job);
	cli_error("job %lld goes on; hvctl job info %lld", (long long)json_integer_value(id),
		  (long long)json_integer_value(id));
	return NULL;
}

static int show_end(struct cli *cli, json_t *job)
{
	json_t *error = json_object_get(job, "error"), *data = json_object_get(error, "data");
	json_t *sent = json_object_get(json_object_get(job, "statistics"), "transferred");
	bool well = !strcmp(text(job, "status"), "completed");
	char bytes[32];

	if (cli->json)
		cli_show_json(job);
	if (!well) {
		cli_error("%s: %s%s%s", json_string_value(json_object_get(data, "name")) ?: "migration.failed",
			  json_string_value(json_object_get(error, "message")) ?: text(job, "status"),
			  json_object_get(data, "hint") ? "; " : "",
			  json_string_value(json_object_get(data, "hint")) ?: "");
		return CLI_FAILED;
	}
	if (cli->json)
		return CLI_OK;
	cli_format(CLI_BYTES, sent, bytes, sizeof(bytes));
	printf("moved in %.0f ms, stopped for %.1f ms, %s sent in %d rounds\n", number(job, "total_ms"),
	       number(job, "downtime_ms"), bytes, (int)number(job, "iteration"));
	return CLI_OK;
}

int cli_cmd_migrate(struct cli *cli, const struct cli_command *command, json_t *params)
{
	bool show = !cli->json && (isatty(STDERR_FILENO) || cli_local_flag(params, "progress"));
	struct sigaction sa = { .sa_handler = on_interrupt }, old;
	bool detach = cli_local_flag(params, "detach");
	json_t *call = json_copy(params), *result, *job = NULL;
	int status = CLI_FAILED;

	json_object_del(call, "local");
	result = cli_call(cli, command->method, call, -1);
	if (!result)
		return CLI_FAILED;
	if (detach) {
		cli_show(cli, command->view, result);
		json_decref(result);
		return CLI_OK;
	}
	interrupts = 0;
	sigaction(SIGINT, &sa, &old);
	job = follow(cli, json_object_get(result, "job"), show);
	sigaction(SIGINT, &old, NULL);
	if (job)
		status = show_end(cli, job);
	json_decref(job);
	json_decref(result);
	return status;
}
