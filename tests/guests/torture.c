/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs inside the Linux guest, linked statically.
 *
 *	torture fpu SECONDS	eight processes keep values in x87 and SSE registers
 *				while signals, whose handlers use them too, and context
 *				switches come; each checks its own
 *	torture memory PERCENT	fill that part of free memory with a pattern, then check
 *
 * Prints one line and returns 0 when everything was as it should be.
 */
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 8

static volatile sig_atomic_t signals;

static void on_alarm(int sig)
{
	volatile double d = (double)signals;
	volatile long double x = (long double)sig;

	/* Leave something else in the registers. */
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15"
			 : : : "xmm0", "xmm7", "xmm15");
	d = sqrt(d) * 3.0;
	x = x / 7.0L + (long double)d;
	signals++;
	(void)x;
}

/* Registers hold values over a loop in which signals come. 0: unchanged. */
static int hold(uint64_t a, uint64_t b)
{
	uint64_t got_a, got_b;
	double in = (double)(a & 0xffff) + 0.5, out;

	__asm__ volatile("movq %[a], %%xmm3; movq %[b], %%xmm14; fldl %[in]\n\t"
			 "movl $20000, %%ecx\n"
			 "1:\tpaddq %%xmm4, %%xmm4; decl %%ecx; jnz 1b\n\t"
			 "movq %%xmm3, %[ga]; movq %%xmm14, %[gb]; fstpl %[out]"
			 : [ga] "=r"(got_a), [gb] "=r"(got_b), [out] "=m"(out)
			 : [a] "r"(a), [b] "r"(b), [in] "m"(in)
			 : "ecx", "xmm3", "xmm4", "xmm14", "st", "cc");
	return got_a != a || got_b != b || out != in;
}

static int fpu_process(unsigned int id, int seconds)
{
	struct itimerval timer = { { 0, 1000 + (int)id * 137 }, { 0, 1000 } };
	time_t end = time(NULL) + seconds;
	uint64_t n = 0x9e3779b97f4a7c15ull * (id + 1);

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (time(NULL) < end) {
		n = n * 6364136223846793005ull + 1442695040888963407ull;
		if (hold(n, ~n))
			return 1;
	}
	return signals ? 0 : 2;
}

static int fpu(int seconds)
{
	int status, bad = 0;

	for (unsigned int i = 0; i < PROCESSES; i++)
		if (!fork())
			_exit(fpu_process(i, seconds));
	for (unsigned int i = 0; i < PROCESSES; i++) {
		wait(&status);
		bad += !WIFEXITED(status) || WEXITSTATUS(status);
	}
	printf("fpu torture: %d of %d processes bad\n", bad, PROCESSES);
	return bad != 0;
}

static unsigned long free_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static int memory(unsigned int percent)
{
	size_t n = free_kib() / 100 * percent * 1024 / 8;
	uint64_t *p = mmap(NULL, n * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t bad = 0;

	if (p == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < n; i++)
		p[i] = i * 0x9e3779b97f4a7c15ull;
	for (size_t i = 0; i < n; i++)
		bad += p[i] != i * 0x9e3779b97f4a7c15ull;
	printf("memory: %zu MiB, %zu words bad\n", n >> 17, bad);
	return bad != 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "fpu"))
		return fpu(atoi(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "memory"))
		return memory((unsigned int)atoi(argv[2]));
	return 2;
}
