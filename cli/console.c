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
#include <sys/socket.h>
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

enum pump { PUMP_ON, PUMP_CONSOLE_ENDED, PUMP_ESCAPED };

struct input {
	char buf[1024];
	size_t len;	/* read and not yet taken by the guest */
	bool ended;	/* a pipe's end: go on showing until the console ends */
	bool escaped;	/* the escape key was pressed after what buf holds */
};

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

/*
 * Only a terminal has keys; a pipe's bytes all belong to the guest. Keys beyond a full
 * buffer are lost, as a terminal loses them, but for the escape.
 */
static void read_input(struct input *in)
{
	size_t room = sizeof(in->buf) - in->len;
	char lost[64];
	char *to = room ? in->buf + in->len : lost;
	ssize_t n = read(STDIN_FILENO, to, room ? room : sizeof(lost));
	char *escape;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		in->ended = true;
		return;
	}
	escape = raw ? memchr(to, ESCAPE_KEY, (size_t)n) : NULL;
	in->escaped = escape != NULL;
	if (room)
		in->len += escape ? (size_t)(escape - to) : (size_t)n;
}

/* As much as the console takes now: a guest that does not read must not stop its output. */
static enum pump send_input(int fd, struct input *in)
{
	ssize_t n = send(fd, in->buf, in->len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? PUMP_ON : PUMP_CONSOLE_ENDED;
	in->len -= (size_t)n;
	memmove(in->buf, in->buf + n, in->len);
	return PUMP_ON;
}

static enum pump pump(int fd)
{
	struct input in = { .len = 0 };
	enum pump state = PUMP_ON;

	while (state == PUMP_ON && !interrupted) {
		/* A key can still be the escape while a guest takes no input. */
		bool listen = !in.ended && (!in.len || raw);
		struct pollfd p[2] = {
			{ fd, POLLIN | (in.len ? POLLOUT : 0), 0 },
			{ listen ? STDIN_FILENO : -1, POLLIN, 0 },
		};

		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return PUMP_CONSOLE_ENDED;
			continue;
		}
		if (p[0].revents & ~POLLOUT)
			state = pump_output(fd);
		if (state == PUMP_ON && p[1].revents)
			read_input(&in);
		if (state == PUMP_ON && in.len)
			state = send_input(fd, &in);
		if (state == PUMP_ON && in.escaped)
			state = PUMP_ESCAPED;
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
