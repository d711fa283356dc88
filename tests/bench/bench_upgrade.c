/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's worker is replaced by another (domain.upgrade): for how long the guest stands
 * still, from the order to stop to its next instruction, and how long the call takes, at
 * 64 MiB, 512 MiB and 4 GiB. A page of each MiB has been written.
 */
#include "tests/lib/hvd_proc.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMES 21
#define FILL_MAX (UINT64_C(3) << 30)

static int by_value(const void *a, const void *b)
{
	json_int_t x = *(const json_int_t *)a, y = *(const json_int_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *what, const char *memory, json_int_t *us)
{
	qsort(us, TIMES, sizeof(*us), by_value);
	printf("%-36s %8s   min %8.2f   median %8.2f   max %8.2f ms\n", what, memory, us[0] / 1e3,
	       us[TIMES / 2] / 1e3, us[TIMES - 1] / 1e3);
}

/* The result, borrowed until the answer is freed; NULL: it failed. */
static json_t *call(int fd, const char *line)
{
	json_t *answer = raw_call(fd, line);

	if (!strcmp(answer_name(answer), "ok"))
		return answer;
	fprintf(stderr, "%.80s: %s\n", line, answer_name(answer));
	json_decref(answer);
	return NULL;
}

#define CALL(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"

/* Up to the hole below 4 GiB. */
static int touch(int fd, uint64_t bytes)
{
	char line[256];
	json_t *answer;
	uint64_t gpa;

	for (gpa = 1 << 20; gpa < bytes && gpa < FILL_MAX; gpa += 1 << 20) {
		snprintf(line, sizeof(line),
			 CALL("memory.write", "{\"domain\":\"a\",\"gpa\":%llu,\"data\":\"aHZk\"}"),
			 (unsigned long long)gpa);
		answer = call(fd, line);
		if (!answer)
			return -1;
		json_decref(answer);
	}
	return 0;
}

static int bench(int fd, const char *memory, uint64_t bytes, const char *kernel)
{
	json_int_t down[TIMES], total[TIMES];
	json_t *answer, *result;
	char line[1024];
	int i;

	snprintf(line, sizeof(line),
		 CALL("domain.create", "{\"config\":{\"name\":\"a\",\"memory\":\"%s\","
				       "\"boot\":{\"kind\":\"flat\",\"kernel\":\"%s\"}}}"),
		 memory, kernel);
	answer = call(fd, line);
	if (!answer || touch(fd, bytes))
		return 1;
	json_decref(answer);
	for (i = 0; i < TIMES; i++) {
		answer = call(fd, CALL("domain.upgrade", "{\"domain\":\"a\"}"));
		if (!answer)
			return 1;
		result = json_object_get(answer, "result");
		down[i] = json_integer_value(json_object_get(result, "downtime_us"));
		total[i] = json_integer_value(json_object_get(result, "total_us"));
		json_decref(answer);
	}
	report("upgrade: the guest stands still", memory, down);
	report("upgrade: the call", memory, total);
	answer = call(fd, CALL("domain.destroy", "{\"domain\":\"a\"}"));
	json_decref(answer);
	return !answer;
}

int main(void)
{
	static const struct {
		const char *name;
		uint64_t bytes;
	} sizes[] = { { "64MiB", UINT64_C(64) << 20 },
		      { "512MiB", UINT64_C(512) << 20 },
		      { "4GiB", UINT64_C(4) << 30 } };
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
		ret = bench(fd, sizes[i].name, sizes[i].bytes, kernel);
	close(fd);
	hvd_proc_stop(&hvd);
	return ret;
}
