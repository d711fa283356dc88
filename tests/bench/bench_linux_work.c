/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What bench_linux.sh measures, linked statically so that it runs in any guest:
 *
 *	bench_linux_work run NAME N COMMAND...	the whole of COMMAND, which does N of something
 *	bench_linux_work spawn N		fork, exec itself, wait
 *	bench_linux_work calls N		one-byte read of /dev/zero and write to /dev/null
 *	bench_linux_work faults N		touch N fresh pages, 16 MiB at a time, and unmap them
 *
 * Each prints "bench: NAME NANOSECONDS" for one of its N, by the clock that the guest sees.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAULT_BATCH 4096

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int report(const char *name, uint64_t start, long n)
{
	printf("bench: %s %.0f\n", name, (double)(now() - start) / (double)n);
	return 0;
}

static int spawned(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

static int run(const char *name, long n, char *const argv[])
{
	uint64_t start = now();
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	return report(name, start, n);
}

static int spawn(long n)
{
	char *argv[] = { "/proc/self/exe", "nothing", NULL };
	uint64_t start = now();
	long i;

	for (i = 0; i < n; i++)
		if (spawned(argv))
			return 1;
	return report("spawn", start, n);
}

static int calls(long n)
{
	int in = open("/dev/zero", O_RDONLY), out = open("/dev/null", O_WRONLY);
	uint64_t start = now();
	char c;
	long i;

	for (i = 0; i < n; i += 2)
		if (read(in, &c, 1) != 1 || write(out, &c, 1) != 1)
			return 1;
	return report("calls", start, n);
}

static int faults(long n)
{
	uint64_t start = now();
	long i, k;

	for (i = 0; i < n; i += FAULT_BATCH) {
		char *p = mmap(NULL, FAULT_BATCH * 4096L, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return 1;
		/* One fault for each page, not for two megabytes. */
		madvise(p, FAULT_BATCH * 4096L, MADV_NOHUGEPAGE);
		for (k = 0; k < FAULT_BATCH; k++)
			p[k * 4096] = 1;
		munmap(p, FAULT_BATCH * 4096L);
	}
	return report("faults", start, n);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "nothing"))
		return 0;
	if (argc == 3 && !strcmp(argv[1], "spawn"))
		return spawn(atol(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "calls"))
		return calls(atol(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "faults"))
		return faults(atol(argv[2]));
	if (argc > 4 && !strcmp(argv[1], "run"))
		return run(argv[2], atol(argv[3]), argv + 4);
	return 2;
}
