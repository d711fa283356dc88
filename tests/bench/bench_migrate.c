/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest goes from one daemon to another and back, over loopback TCP, and the same guest
 * from one qemu-system-x86_64 (-accel tcg) to the next: how long it takes, for how long the
 * guest stands still, what is sent, and what the guest gets less done meanwhile.
 * Each side says itself how long it took and stood still (QEMU: total-time, downtime of
 * query-migrate). QEMU's bandwidth is not limited, everything else is as both have it.
 *
 * BENCH_MIGRATE_RUNS (10) moves of each; the median counts. BENCH_MIGRATE="d" names the
 * workloads (bench_migrate_guest.S), "idr" is all of them.
 */
#include "tests/lib/hvd_proc.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define RUNS_MAX    50
#define PROGRESS    0x8000
#define READY_SEC   120
#define MIGRATE_SEC 60
#define BEFORE_MS   500	 /* over which the guest's speed is taken before a move */
#define POLL_US	    20000
#define BANDWIDTH   "1000000000000"

struct workload {
	char mode;
	const char *name;
	int memory_mib;
};
static const struct workload workloads[] = {
	{ 'i', "idle, 512 MiB", 512 },
	{ 'd', "writes 20,000 pages/s, 512 MiB", 512 },
	{ 'r', "1 GiB of random data", 1280 },
};

/* What the guest has at PROGRESS. */
struct progress {
	uint32_t done, ready, ticks, loops;
};

struct figures {
	double total_ms, down_ms, sent_mib, slower; /* slower: share of its speed, in percent */
};

/* One of two ways to run and move a guest. */
struct mover {
	const char *name;
	int (*start)(const struct workload *w);
	int (*progress)(struct progress *out);
	/* Begin; then 1 while it goes on, 0 when @f has its end (but for slower), -1 */
	int (*begin)(void);
	int (*poll)(struct figures *f);
	void (*stop)(void);
};

static char kernel[512];

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

static int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || getsockname(fd, (struct sockaddr *)&a, &len))
		a.sin_port = 0;
	if (fd >= 0)
		close(fd);
	return ntohs(a.sin_port);
}

/* ---- hvd ------------------------------------------------------------------------------ */

static struct {
	struct hvd_proc proc;
	int fd, port;
} daemons[2];
static int here;
static json_int_t job;

/* The result, to be freed; NULL: it failed, and *why is the error's name. */
static json_t *try(int fd, const char *method, const char *params, char why[64])
{
	char line[1024];
	json_t *answer, *result;

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}",
		 method, params);
	answer = raw_call(fd, line);
	result = json_incref(json_object_get(answer, "result"));
	snprintf(why, 64, "%s", answer_name(answer));
	json_decref(answer);
	return result;
}

static json_t *call(int fd, const char *method, const char *params)
{
	char why[64];
	json_t *result = try(fd, method, params, why);

	if (!result)
		fprintf(stderr, "%s: %s\n", method, why);
	return result;
}

static int daemons_start(void)
{
	char conf[64];
	int i;

	for (i = 0; i < 2; i++) {
		daemons[i].port = free_port();
		snprintf(conf, sizeof(conf), "[Migration]\nListen=127.0.0.1:%d\n", daemons[i].port);
		if (hvd_proc_start(&daemons[i].proc, conf))
			return -1;
		daemons[i].fd = raw_connect(daemons[i].proc.sock, 60);
	}
	return 0;
}

static void daemons_stop(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		close(daemons[i].fd);
		hvd_proc_stop(&daemons[i].proc);
	}
}

static int hvd_start(const struct workload *w)
{
	char params[900];
	json_t *result;

	snprintf(params, sizeof(params),
		 "{\"config\":{\"name\":\"g\",\"memory\":\"%dMiB\",\"boot\":{\"kind\":\"multiboot\","
		 "\"kernel\":\"%s\",\"cmdline\":\"%c\"}}}", w->memory_mib, kernel, w->mode);
	result = call(daemons[here].fd, "domain.create", params);
	json_decref(result);
	return result ? 0 : -1;
}

static int base64_value(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : 0;
}

/* Fails without a word: a guest that has just left cannot be asked. */
static int hvd_progress(struct progress *out)
{
	char why[64];
	json_t *result = try(daemons[here].fd, "memory.read",
			     "{\"domain\":\"g\",\"gpa\":32768,\"size\":16}", why);
	const char *text = json_string_value(json_object_get(result, "data"));
	uint8_t bytes[18] = { 0 };
	size_t i;

	for (i = 0; text && i < 24 && text[i]; i++) {
		int v = base64_value(text[i]), bit;

		for (bit = 0; bit < 6; bit++)
			if (v >> (5 - bit) & 1)
				bytes[(i * 6 + bit) / 8] |= 0x80 >> (i * 6 + bit) % 8;
	}
	json_decref(result);
	memcpy(out, bytes, sizeof(*out));
	return text ? 0 : -1;
}

static int hvd_begin(void)
{
	char params[128];
	json_t *result;

	snprintf(params, sizeof(params), "{\"domain\":\"g\",\"uri\":\"tcp:127.0.0.1:%d\"}",
		 daemons[!here].port);
	result = call(daemons[here].fd, "domain.migrate", params);
	job = json_integer_value(json_object_get(result, "job"));
	json_decref(result);
	return result ? 0 : -1;
}

static int hvd_poll(struct figures *f)
{
	char params[64];
	json_t *result, *s;
	const char *status;
	int ret = -1;

	snprintf(params, sizeof(params), "{\"id\":%lld}", (long long)job);
	result = call(daemons[here].fd, "job.info", params);
	status = json_string_value(json_object_get(result, "status"));
	if (status && !strcmp(status, "running")) {
		ret = 1;
	} else if (status && !strcmp(status, "completed")) {
		s = json_object_get(result, "statistics");
		f->total_ms = json_number_value(json_object_get(s, "total_ms"));
		f->down_ms = json_number_value(json_object_get(s, "downtime_ms"));
		f->sent_mib = json_number_value(json_object_get(s, "transferred")) / 1048576;
		here = !here;
		ret = 0;
	} else {
		fprintf(stderr, "the migration ended as %s\n", status ? status : "nothing");
	}
	json_decref(result);
	return ret;
}

static void hvd_stop(void)
{
	json_decref(call(daemons[here].fd, "domain.destroy", "{\"domain\":\"g\"}"));
}

static const struct mover hvd_mover = {
	"hvd", hvd_start, hvd_progress, hvd_begin, hvd_poll, hvd_stop,
};

/* ---- QEMU ------------------------------------------------------------------------------ */

struct qemu {
	pid_t pid;
	int fd, port;
};
static struct qemu source, destination;
static const struct workload *qemu_workload;

/* What @line returns, events left out; NULL: an error, or the end. */
static json_t *qmp(struct qemu *q, const char *line)
{
	json_t *answer = raw_call(q->fd, line), *result;

	while (answer && !json_object_get(answer, "return") && !json_object_get(answer, "error")) {
		json_decref(answer);
		answer = raw_recv(q->fd);
	}
	result = json_incref(json_object_get(answer, "return"));
	if (!result)
		fprintf(stderr, "QEMU: %s: %s\n", line,
			json_string_value(json_object_get(json_object_get(answer, "error"), "desc")));
	json_decref(answer);
	return result;
}

static int qmp_ok(struct qemu *q, const char *line)
{
	json_t *result = qmp(q, line);

	json_decref(result);
	return result ? 0 : -1;
}

static void qemu_end(struct qemu *q)
{
	if (!q->pid)
		return;
	close(q->fd);
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	q->pid = 0;
}

/* port: where a guest comes from, 0: none comes. */
static int qemu_run(struct qemu *q, int port)
{
	char dir[] = "/tmp/bench-migrate.XXXXXX", sock[64], qmp_arg[96], memory[16], mode[2], incoming[64];
	const char *argv[] = { "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "pc", "-m",
			       memory, "-nodefaults", "-display", "none", "-kernel", kernel, "-append",
			       mode, "-qmp", qmp_arg, port ? "-incoming" : NULL, incoming, NULL };
	int i;

	if (!mkdtemp(dir))
		return -1;
	snprintf(sock, sizeof(sock), "%s/qmp", dir);
	snprintf(qmp_arg, sizeof(qmp_arg), "unix:%s,server=on,wait=off", sock);
	snprintf(memory, sizeof(memory), "%d", qemu_workload->memory_mib);
	snprintf(mode, sizeof(mode), "%c", qemu_workload->mode);
	snprintf(incoming, sizeof(incoming), "tcp:127.0.0.1:%d", port);
	q->port = port;
	q->fd = -1;
	if (posix_spawnp(&q->pid, argv[0], NULL, NULL, (char *const *)argv, environ))
		q->pid = 0;
	for (i = 0; q->pid && i < 400 && q->fd < 0; i++) {
		usleep(25000);
		q->fd = raw_connect(sock, 60);
	}
	unlink(sock);
	rmdir(dir);
	if (q->fd < 0)
		return -1;
	json_decref(raw_recv(q->fd));
	return qmp_ok(q, "{\"execute\":\"qmp_capabilities\"}");
}

static int qemu_start(const struct workload *w)
{
	qemu_workload = w;
	return qemu_run(&source, 0);
}

static int qemu_progress(struct progress *out)
{
	json_t *result = qmp(&source, "{\"execute\":\"human-monitor-command\",\"arguments\":"
				      "{\"command-line\":\"xp /4wx 0x8000\"}}");
	const char *text = json_string_value(result), *words = text ? strchr(text, ':') : NULL;
	int n = words ? sscanf(words + 1, "%x %x %x %x", &out->done, &out->ready, &out->ticks,
			       &out->loops) : 0;

	json_decref(result);
	return n == 4 ? 0 : -1;
}

static int qemu_begin(void)
{
	char line[160];

	if (qemu_run(&destination, free_port()) ||
	    qmp_ok(&source, "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":" BANDWIDTH
			    "}}"))
		return -1;
	snprintf(line, sizeof(line), "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:127.0.0.1:%d\"}}",
		 destination.port);
	return qmp_ok(&source, line);
}

static int qemu_poll(struct figures *f)
{
	json_t *result = qmp(&source, "{\"execute\":\"query-migrate\"}"), *ram;
	const char *status = json_string_value(json_object_get(result, "status"));
	int ret = -1;

	/* One that has been a destination speaks of that until the new one has begun. */
	if (status && !strcmp(status, "completed") && json_object_get(result, "total-time")) {
		ram = json_object_get(result, "ram");
		f->total_ms = json_number_value(json_object_get(result, "total-time"));
		f->down_ms = json_number_value(json_object_get(result, "downtime"));
		f->sent_mib = json_number_value(json_object_get(ram, "transferred")) / 1048576;
		qemu_end(&source);
		source = destination;
		destination.pid = 0;
		ret = 0;
	} else if (status && strcmp(status, "failed") && strcmp(status, "cancelled")) {
		ret = 1;
	} else {
		fprintf(stderr, "QEMU's migration ended as %s\n", status ? status : "nothing");
	}
	json_decref(result);
	return ret;
}

static void qemu_stop(void)
{
	qemu_end(&source);
	qemu_end(&destination);
}

static const struct mover qemu_mover = {
	"QEMU", qemu_start, qemu_progress, qemu_begin, qemu_poll, qemu_stop,
};

/* ---- measuring --------------------------------------------------------------------------- */

static int wait_ready(const struct mover *m)
{
	double until = now_ms() + READY_SEC * 1e3;
	struct progress p;

	while (now_ms() < until) {
		if (m->progress(&p))
			return -1;
		if (p.ready)
			return 0;
		usleep(100000);
	}
	fprintf(stderr, "%s: the guest does not become ready\n", m->name);
	return -1;
}

/* Of a guest that runs: what it does in a millisecond. */
static int speed_before(const struct mover *m, double *speed)
{
	double begin = now_ms();
	struct progress a, b;

	if (m->progress(&a))
		return -1;
	usleep(BEFORE_MS * 1000);
	if (m->progress(&b))
		return -1;
	*speed = (b.done - a.done) / (now_ms() - begin);
	return *speed > 0 ? 0 : -1;
}

static int move(const struct mover *m, struct figures *f)
{
	double speed, begin, at, last_at = 0, until = now_ms() + MIGRATE_SEC * 1e3;
	struct progress first, p;
	uint32_t last = 0;
	int ret;

	if (speed_before(m, &speed) || m->progress(&first))
		return -1;
	begin = now_ms();
	if (m->begin())
		return -1;
	/* What it has done up to the last time that it was seen to get on, at the source. */
	for (ret = 1; ret == 1 && now_ms() < until; ret = m->poll(f)) {
		usleep(POLL_US);
		at = now_ms();
		if (!m->progress(&p) && p.done != last) {
			last = p.done;
			last_at = at;
		}
	}
	f->slower = last_at > begin ? 100 * (1 - (last - first.done) / (last_at - begin) / speed) : 0;
	return ret ? -1 : 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static void report(const char *who, const char *what, const struct figures *f, int n)
{
	double total[RUNS_MAX], down[RUNS_MAX], sent[RUNS_MAX], slower[RUNS_MAX];
	int i;

	for (i = 0; i < n; i++) {
		total[i] = f[i].total_ms;
		down[i] = f[i].down_ms;
		sent[i] = f[i].sent_mib;
		slower[i] = f[i].slower;
	}
	printf("migrate: %-30s %-4s", what, who);
	printf("  total %7.1f ms", median(total, n));
	printf(" (%.1f to %.1f)", total[0], total[n - 1]);
	printf("  down %7.2f ms", median(down, n));
	printf(" (%.2f to %.2f)", down[0], down[n - 1]);
	printf("  sent %7.1f MiB  guest slower %5.1f %%\n", median(sent, n), median(slower, n));
}

static int bench(const struct mover *m, const struct workload *w, int runs)
{
	struct figures f[RUNS_MAX];
	int ret = m->start(w), i;

	if (!ret)
		ret = wait_ready(m);
	for (i = 0; i < runs && !ret; i++)
		ret = move(m, &f[i]);
	m->stop();
	if (ret)
		fprintf(stderr, "%s: %s: no figures\n", m->name, w->name);
	else
		report(m->name, w->name, f, runs);
	fflush(stdout);
	return ret;
}

static bool have_qemu(void)
{
	return !system("command -v qemu-system-x86_64 >/dev/null");
}

int main(void)
{
	const char *build = getenv("HVD_BUILDDIR"), *times = getenv("BENCH_MIGRATE_RUNS");
	const char *which = getenv("BENCH_MIGRATE");
	int runs = times ? atoi(times) : 10, ret = 0;
	bool qemu = have_qemu();
	char cwd[256];
	size_t i;

	if (!build)
		build = getcwd(cwd, sizeof(cwd));
	snprintf(kernel, sizeof(kernel), "%s/tests/bench/bench_migrate_guest.elf", build);
	if (runs < 1 || runs > RUNS_MAX)
		runs = 10;
	if (daemons_start())
		return 1;
	if (!qemu)
		printf("qemu-system-x86_64 is not installed: nothing to compare with\n");
	for (i = 0; i < sizeof(workloads) / sizeof(workloads[0]) && !ret; i++) {
		if (which && !strchr(which, workloads[i].mode))
			continue;
		ret = bench(&hvd_mover, &workloads[i], runs);
		if (!ret && qemu)
			bench(&qemu_mover, &workloads[i], runs);
	}
	daemons_stop();
	return ret ? 1 : 0;
}
