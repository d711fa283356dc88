/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/hvd_proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return -1;
	fputs(text, f);
	return fclose(f);
}

int hvd_proc_start(struct hvd_proc *p, const char *conf)
{
	const char *build = getenv("HVD_BUILDDIR"), *tmp = getenv("TMPDIR");
	char binary[256], run[100], state[100], config[100];
	const char *argv[] = { binary,	  "--foreground", "--runtime-dir", run, "--state-dir", state,
			       "--config", config,	   NULL };
	int i, fd;

	snprintf(binary, sizeof(binary), "%s/hvd", build ? build : ".");
	snprintf(p->dir, sizeof(p->dir), "%s/hvd-test.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	if (!mkdtemp(p->dir))
		return -1;
	snprintf(run, sizeof(run), "%s/run", p->dir);
	snprintf(state, sizeof(state), "%s/state", p->dir);
	snprintf(config, sizeof(config), "%s/conf", p->dir);
	snprintf(p->sock, sizeof(p->sock), "%s/hvd.sock", run);
	snprintf(p->ro_sock, sizeof(p->ro_sock), "%s/hvd-ro.sock", run);
	if (put_file(config, conf ? conf : "") ||
	    posix_spawn(&p->pid, binary, NULL, NULL, (char *const *)argv, environ)) {
		fprintf(stderr, "cannot run %s\n", binary);
		return -1;
	}
	for (i = 0; i < 400; i++) {
		fd = raw_connect(p->sock, 10);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
		if (waitpid(p->pid, NULL, WNOHANG) == p->pid)
			break;
		usleep(50000);
	}
	fprintf(stderr, "%s does not serve\n", binary);
	return -1;
}

int hvd_proc_stop(struct hvd_proc *p)
{
	char command[100];
	int status;

	kill(p->pid, SIGTERM);
	waitpid(p->pid, &status, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", p->dir);
	if (system(command))
		fprintf(stderr, "cannot remove %s\n", p->dir);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int hvd_proc_fds(const struct hvd_proc *p)
{
	struct dirent *e;
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

long proc_private_kib(pid_t pid)
{
	char path[64], line[256];
	long sum = 0, kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
		    sscanf(line, "Private_Dirty: %ld", &kib) == 1)
			sum += kib;
	if (f)
		fclose(f);
	return sum;
}

int raw_connect(const char *path, int timeout_s)
{
	const struct timeval tv = { .tv_sec = timeout_s };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

int raw_send(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	while (len > 0) {
		n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

json_t *raw_recv(int fd)
{
	size_t len = 0, size = 65536;
	char *buf = malloc(size), *end;
	json_t *json = NULL;
	ssize_t n;

	for (;;) {
		/* Peek, so that what follows the line stays in the socket. */
		n = recv(fd, buf + len, size - len, MSG_PEEK);
		if (n <= 0)
			break;
		end = memchr(buf + len, '\n', n);
		if (end)
			n = end - (buf + len) + 1;
		n = recv(fd, buf + len, n, 0);
		if (n <= 0)
			break;
		len += n;
		if (end) {
			json = json_loadb(buf, len, 0, NULL);
			break;
		}
		if (len == size)
			buf = realloc(buf, size *= 2);
	}
	free(buf);
	return json;
}

json_t *raw_call(int fd, const char *line)
{
	if (raw_send(fd, line, strlen(line)) || raw_send(fd, "\n", 1))
		return NULL;
	return raw_recv(fd);
}

const char *answer_name(const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");

	if (!answer)
		return "none";
	if (!error)
		return json_object_get(answer, "result") ? "ok" : "odd";
	return json_string_value(json_object_get(json_object_get(error, "data"), "name"));
}

const char *answer_field(const json_t *answer)
{
	const json_t *data = json_object_get(json_object_get(answer, "error"), "data");
	const char *field = json_string_value(json_object_get(data, "field"));

	return field ? field : "";
}
