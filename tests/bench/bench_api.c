/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a call costs: domain.list at 1, 10 and 100 clients beside a bare socket echo
 * of the same sizes in the same run; hvctl list beside virsh list as processes;
 * domain.create until the guest's first instruction; what a worker needs beyond the
 * guest's memory.
 */
#include "tests/lib/hvd_proc.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS	  20000
#define CLIENTS	  100
#define CREATES	  25
#define PROCESSES 20

extern char **environ;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double at(uint64_t *sorted, size_t n, double share)
{
	return sorted[(size_t)((n - 1) * share)] / 1000.0;
}

static double report(const char *what, uint64_t *ns, size_t n, double seconds)
{
	double median;

	qsort(ns, n, sizeof(*ns), by_value);
	median = at(ns, n, 0.5);
	printf("%-34s min %8.1f   median %8.1f   p99 %8.1f us", what, at(ns, n, 0), median,
	       at(ns, n, 0.99));
	if (seconds > 0)
		printf("   %9.0f calls/s", n / seconds);
	putchar('\n');
	return median;
}

/* ---- round trips ------------------------------------------------------------------------ */

/* @clients connections, each with one call in flight, CALLS calls in all. */
static double round_trips(const char *what, const int *fd, int clients, const char *line)
{
	static uint64_t sent[CLIENTS], took[CALLS];
	struct epoll_event ev[CLIENTS];
	size_t len = strlen(line), done = 0, started = 0;
	int ep = epoll_create1(0), i, n;
	uint64_t begin;
	char buf[65536];
	ssize_t got;

	begin = now_ns();
	for (i = 0; i < clients; i++) {
		ev[0] = (struct epoll_event){ .events = EPOLLIN, .data.u32 = i };
		epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &ev[0]);
		sent[i] = now_ns();
		raw_send(fd[i], line, len);
		started++;
	}
	while (done < CALLS && (n = epoll_wait(ep, ev, clients, 10000)) > 0) {
		while (n-- > 0) {
			int c = ev[n].data.u32;

			got = recv(fd[c], buf, sizeof(buf), 0);
			if (got <= 0 || buf[got - 1] != '\n')
				continue;
			if (done < CALLS)
				took[done++] = now_ns() - sent[c];
			if (started < CALLS) {
				started++;
				sent[c] = now_ns();
				raw_send(fd[c], line, len);
			}
		}
	}
	close(ep);
	return report(what, took, done, (now_ns() - begin) / 1e9);
}

static int echo_connect(pid_t *child, size_t answer)
{
	char buf[65536];
	int pair[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -1;
	*child = fork();
	if (*child == 0) {
		close(pair[0]);
		memset(buf, 'x', sizeof(buf));
		buf[answer - 1] = '\n';
		while ((n = read(pair[1], buf + answer, sizeof(buf) - answer)) > 0)
			if (write(pair[1], buf, answer) < 0)
				break;
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static void bench_calls(const char *sock)
{
	static const char list[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"domain.list\","
				   "\"params\":{\"all\":true}}\n";
	static const int counts[] = { 1, 10, CLIENTS };
	int fd[CLIENTS], i, echo;
	double base, median;
	json_t *answer;
	char what[64], *text;
	pid_t child;

	for (i = 0; i < CLIENTS; i++)
		fd[i] = raw_connect(sock, 20);
	raw_send(fd[0], list, sizeof(list) - 1);
	answer = raw_recv(fd[0]);
	text = json_dumps(answer, JSON_COMPACT);
	echo = echo_connect(&child, strlen(text) + 1);
	base = round_trips("socket echo of the same sizes", &echo, 1, list);
	close(echo);
	waitpid(child, NULL, 0);
	for (i = 0; i < 3; i++) {
		snprintf(what, sizeof(what), "domain.list, %d client%s", counts[i],
			 counts[i] > 1 ? "s" : "");
		median = round_trips(what, fd, counts[i], list);
		if (i == 0)
			printf("%-34s %.2f\n", "  ratio to the echo", median / base);
	}
	for (i = 0; i < CLIENTS; i++)
		close(fd[i]);
	free(text);
	json_decref(answer);
}

/* ---- processes --------------------------------------------------------------------------- */

static void bench_process(const char *what, const char *const *argv)
{
	posix_spawn_file_actions_t quiet;
	uint64_t took[PROCESSES], begin;
	int i, status;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", 1, 0);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", 1, 0);
	for (i = 0; i < PROCESSES; i++) {
		begin = now_ns();
		if (posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)argv, environ) ||
		    waitpid(pid, &status, 0) != pid || status) {
			printf("%-34s not available\n", what);
			break;
		}
		took[i] = now_ns() - begin;
	}
	posix_spawn_file_actions_destroy(&quiet);
	if (i == PROCESSES)
		report(what, took, PROCESSES, 0);
}

/* The program itself, not libtool's script in front of it. */
static void bench_clients(const char *sock)
{
	const char *build = getenv("HVD_BUILDDIR");
	char hvctl[320], uri[160], libs[300];

	snprintf(libs, sizeof(libs), "%s/.libs", build ? build : ".");
	snprintf(hvctl, sizeof(hvctl), "%s/hvctl", libs);
	if (access(hvctl, X_OK))
		snprintf(hvctl, sizeof(hvctl), "%s/hvctl", build ? build : ".");
	snprintf(uri, sizeof(uri), "unix:%s", sock);
	setenv("LD_LIBRARY_PATH", libs, 1);
	bench_process("hvctl list (whole process)",
		      (const char *[]){ hvctl, "-c", uri, "list", NULL });
	unsetenv("LD_LIBRARY_PATH");
	bench_process("virsh -c test:///default list",
		      (const char *[]){ "virsh", "-c", "test:///default", "list", NULL });
}

/* ---- guests -------------------------------------------------------------------------------- */

static json_t *result_of(json_t *answer)
{
	json_t *result = json_incref(json_object_get(answer, "result"));

	if (!result)
		printf("  %s\n", answer_name(answer));
	json_decref(answer);
	return result;
}

static json_t *call(int fd, const char *method, json_t *params)
{
	json_t *request = json_pack("{s:s,s:i,s:s,s:o}", "jsonrpc", "2.0", "id", 1, "method", method,
				    "params", params);
	char *line = json_dumps(request, JSON_COMPACT);
	json_t *answer = raw_call(fd, line);

	free(line);
	json_decref(request);
	return result_of(answer);
}

static json_t *definition(const char *memory, const char *backing)
{
	const char *build = getenv("HVD_BUILDDIR");
	char *top = realpath(build ? build : ".", NULL);
	char kernel[PATH_MAX];

	snprintf(kernel, sizeof(kernel), "%s/tests/integration/shell.bin", top ? top : "");
	free(top);
	return json_pack("{s:{s:s,s:s,s:s,s:{s:s,s:s}}}", "config", "name", "bench", "memory", memory,
			 "memory_backing", backing, "boot", "kind", "flat", "kernel", kernel);
}

static uint64_t first_instruction(int fd)
{
	uint64_t ns = 0;
	json_t *stats;
	int i;

	for (i = 0; i < 100 && !ns; i++) {
		stats = call(fd, "domain.stats", json_pack("{s:s}", "domain", "bench"));
		ns = json_integer_value(json_object_get(stats, "first_instruction_ns"));
		json_decref(stats);
	}
	return ns;
}

static void bench_create(int fd, const char *memory)
{
	uint64_t first[CREATES], reply[CREATES], gone[CREATES], begin;
	json_t *result;
	char what[64];
	int i;

	for (i = 0; i < CREATES; i++) {
		begin = now_ns();
		result = call(fd, "domain.create", definition(memory, "memfd"));
		reply[i] = now_ns() - begin;
		if (!result)
			return;
		json_decref(result);
		first[i] = first_instruction(fd) - begin;
		begin = now_ns();
		json_decref(call(fd, "domain.destroy", json_pack("{s:s}", "domain", "bench")));
		gone[i] = now_ns() - begin;
	}
	snprintf(what, sizeof(what), "create to 1st instruction, %s", memory);
	report(what, first, CREATES, 0);
	snprintf(what, sizeof(what), "create to its answer, %s", memory);
	report(what, reply, CREATES, 0);
	snprintf(what, sizeof(what), "destroy, %s", memory);
	report(what, gone, CREATES, 0);
}

/* Private pages that are not the guest's RAM, which is a memfd. */
static long beyond_ram_kib(pid_t pid)
{
	char path[64], line[512];
	long sum = 0, kib;
	int ram = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (strchr(line, '-') && strchr(line, ' ') > strchr(line, '-') &&
		    !strstr(line, "kB"))
			ram = strstr(line, "/memfd:") != NULL;
		else if (!ram && (sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
				  sscanf(line, "Private_Dirty: %ld", &kib) == 1))
			sum += kib;
	}
	if (f)
		fclose(f);
	return sum;
}

static void bench_memory(int fd)
{
	json_t *result = call(fd, "domain.create", definition("512MiB", "memfd"));
	pid_t pid = json_integer_value(json_object_get(result, "pid"));

	first_instruction(fd);
	usleep(300000);
	printf("%-34s %ld KiB (512 MiB guest)\n", "worker beyond guest RAM, private",
	       beyond_ram_kib(pid));
	json_decref(result);
	json_decref(call(fd, "domain.destroy", json_pack("{s:s}", "domain", "bench")));
}

int main(void)
{
	struct hvd_proc hvd;
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (hvd_proc_start(&hvd, "[Daemon]\nLogLevel=warning\n"))
		return 1;
	fd = raw_connect(hvd.sock, 30);
	bench_calls(hvd.sock);
	bench_clients(hvd.sock);
	bench_create(fd, "64MiB");
	bench_create(fd, "1GiB");
	bench_memory(fd);
	close(fd);
	return hvd_proc_stop(&hvd);
}
