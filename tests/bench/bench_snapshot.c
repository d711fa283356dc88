/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots through the API: for how long the guest stands still, and the time from
 * the request of a restore to the guest's first instruction, at 64 MiB, 512 MiB and 4 GiB.
 * The guest (tests/integration/shell.S) touches little, so the sizes differ in what the
 * engine has to look at, not in what the disk has to take.
 */
#include "tests/lib/hvd_proc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMES 9

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

static void report(const char *what, const char *memory, uint64_t *us)
{
	qsort(us, TIMES, sizeof(*us), by_value);
	printf("%-36s %8s   min %8.2f   median %8.2f   max %8.2f ms\n", what, memory, us[0] / 1e3,
	       us[TIMES / 2] / 1e3, us[TIMES - 1] / 1e3);
}

/* The result's member, or -1 with the answer on standard error. */
static json_int_t call(int fd, const char *member, const char *line)
{
	json_t *answer = raw_call(fd, line), *result = json_object_get(answer, "result");
	json_int_t value = 0;

	if (strcmp(answer_name(answer), "ok")) {
		fprintf(stderr, "%s: %s\n", line, answer_name(answer));
		value = -1;
	} else if (member) {
		value = json_integer_value(json_object_get(result, member));
	}
	json_decref(answer);
	return value;
}

#define CALL(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"

static int bench(int fd, const char *memory, const char *kernel)
{
	uint64_t pause[TIMES], restore[TIMES], begin;
	char line[1024];
	json_int_t n;
	int i;

	snprintf(line, sizeof(line),
		 CALL("domain.create", "{\"config\":{\"name\":\"a\",\"memory\":\"%s\","
				       "\"boot\":{\"kind\":\"flat\",\"kernel\":\"%s\"}}}"),
		 memory, kernel);
	if (call(fd, NULL, line) < 0)
		return 1;
	for (i = 0; i < TIMES; i++) {
		n = call(fd, "pause_us", CALL("domain.snapshot", "{\"domain\":\"a\",\"name\":\"s\"}"));
		if (n < 0)
			return 1;
		pause[i] = n;
		begin = now_ns();
		if (call(fd, NULL, CALL("domain.restore",
					"{\"domain\":\"a\",\"name\":\"s\",\"as\":\"b\"}")) < 0)
			return 1;
		do
			n = call(fd, "first_instruction_ns", CALL("domain.stats", "{\"domain\":\"b\"}"));
		while (!n);
		restore[i] = n < 0 ? 0 : (n - begin) / 1000;
		if (n < 0 || call(fd, NULL, CALL("domain.destroy", "{\"domain\":\"b\"}")) < 0 ||
		    call(fd, NULL, CALL("domain.snapshot_delete",
					"{\"domain\":\"a\",\"name\":\"s\"}")) < 0)
			return 1;
	}
	report("snapshot: the guest stands still", memory, pause);
	report("restore to the first instruction", memory, restore);
	return call(fd, NULL, CALL("domain.destroy", "{\"domain\":\"a\"}")) < 0;
}

int main(void)
{
	static const char *const sizes[] = { "64MiB", "512MiB", "4GiB" };
	const char *build = getenv("HVD_BUILDDIR");
	char kernel[512], cwd[256];
	struct hvd_proc hvd;
	int fd, ret = 0;
	size_t i;

	if (!build)
		build = getcwd(cwd, sizeof(cwd));
	snprintf(kernel, sizeof(kernel), "%s/tests/integration/shell.bin", build);
	if (hvd_proc_start(&hvd, NULL))
		return 1;
	fd = raw_connect(hvd.sock, 60);
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !ret; i++)
		ret = bench(fd, sizes[i], kernel);
	close(fd);
	hvd_proc_stop(&hvd);
	return ret;
}
