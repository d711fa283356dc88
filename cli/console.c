/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The terminal on a guest's console. The descriptor is a stream: first up to
 * 64 KiB of history, then what the guest writes, and what is typed goes back.
 * Ctrl-] leaves; everything else belongs to the guest.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE_KEY 0x1d /* Ctrl-] */

static struct termios saved;
static bool raw;
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

static void terminal_restore(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	raw = false;
}

static void terminal_raw(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return;
	t = saved;
	cfmakeraw(&t);
	raw = !tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

static int write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = { fd, POLLOUT, 0 };

			poll(&p, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR && !interrupted)
			continue;
		if (n <= 0)
			return -1;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

enum pump { PUMP_ON, PUMP_INPUT_ENDED, PUMP_CONSOLE_ENDED, PUMP_ESCAPED };

static enum pump pump_output(int fd)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return PUMP_ON;
	if (n <= 0 || write_all(STDOUT_FILENO, buf, (size_t)n))
		return PUMP_CONSOLE_ENDED;
	return PUMP_ON;
}

static enum pump pump_input(int fd)
{
	char buf[1024];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
	char *escape;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return PUMP_ON;
	if (n <= 0)
		return PUMP_INPUT_ENDED;
	/* Only a terminal has keys; a pipe's bytes all belong to the guest. */
	escape = raw ? memchr(buf, ESCAPE_KEY, (size_t)n) : NULL;
	if (escape)
		n = escape - buf;
	if (n && write_all(fd, buf, (size_t)n))
		return PUMP_CONSOLE_ENDED;
	return escape ? PUMP_ESCAPED : PUMP_ON;
}

static enum pump pump(int fd)
{
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
	enum pump state = PUMP_ON;

	while (state == PUMP_ON && !interrupted) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return PUMP_CONSOLE_ENDED;
		if (p[0].revents)
			state = pump_output(fd);
		if (state == PUMP_ON && p[1].revents)
			state = pump_input(fd);
		if (state == PUMP_INPUT_ENDED) {
			/* Input from a pipe ended: go on showing until the console ends. */
			p[1].fd = -1;
			state = PUMP_ON;
		}
		p[0].revents = p[1].revents = 0;
	}
	return interrupted ? PUMP_ESCAPED : state;
}

int cli_console_attach(int fd, const char *domain)
{
	struct sigaction sa = { .sa_handler = on_signal };
	enum pump state;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	terminal_raw();
	if (raw)
		fprintf(stderr, "Connected to domain %s; the escape key is Ctrl-]\r\n", domain);
	state = pump(fd);
	terminal_restore();
	close(fd);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "\n%s\n", state == PUMP_ESCAPED ? "Left the console; the domain goes on."
							  : "The console is closed.");
	return CLI_OK;
}

int cli_cmd_console(struct cli *cli, const struct cli_command *command, json_t *params)
{
	json_t *result;
	int fd;

	result = cli_call_fd(cli, command->method, json_incref(params), &fd);
	if (!result)
		return CLI_FAILED;
	json_decref(result);
	return cli_console_attach(fd, json_string_value(json_object_get(params, "domain")));
}
