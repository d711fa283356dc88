/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * killat N WHAT...: kill a process with SIGKILL where it enters its N-th system call,
 * counted over the threads that are looked at.
 *
 *	killat N pid PID COMM...	threads of PID that have one of these names
 *	killat N record FOLDER PID	all threads of the process, not PID, whose worker record
 *					appears in FOLDER, from then on
 *
 * Says "ready" when it looks (for a record: when it waits for one), and then
 * "killed COUNT NUMBER" or, when the process ends or SIGTERM comes, "end COUNT" of the
 * calls until then; it leaves the process alone.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t enough;

static void on_term(int sig)
{
	(void)sig;
	enough = 1;
}

static long ms_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool seize(pid_t tid)
{
	if (ptrace(PTRACE_SEIZE, tid, NULL,
		   (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)))
		return false;
	return !ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
}

static bool wanted(pid_t pid, const char *tid, char **names)
{
	char path[64], comm[32] = "";
	FILE *f;

	if (!*names)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/comm", (int)pid, tid);
	f = fopen(path, "re");
	if (f && !fgets(comm, sizeof(comm), f))
		comm[0] = '\0';
	if (f)
		fclose(f);
	comm[strcspn(comm, "\n")] = '\0';
	for (; *names; names++)
		if (!strcmp(comm, *names))
			return true;
	return false;
}

static unsigned int seize_threads(pid_t pid, char **names)
{
	unsigned int n = 0;
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && wanted(pid, e->d_name, names))
			n += seize(atoi(e->d_name));
	if (d)
		closedir(d);
	return n;
}

/* The pid in a worker's record that is not @other; 0: none yet. */
static pid_t record_pid(const char *folder, pid_t other)
{
	char path[512], text[512], *at;
	struct dirent *e;
	pid_t pid = 0;
	DIR *d = opendir(folder);
	size_t n;
	FILE *f;

	while (d && !pid && (e = readdir(d))) {
		n = strlen(e->d_name);
		if (n < 5 || strcmp(e->d_name + n - 5, ".json"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
		text[n] = '\0';
		at = strstr(text, "\"pid\":");
		pid = at ? atoi(at + 6) : 0;
		if (pid == other)
			pid = 0;
	}
	if (d)
		closedir(d);
	return pid;
}

static int run(pid_t pid, long limit)
{
	long count = 0;
	int status, sig;
	pid_t tid;

	while (!enough) {
		tid = waitpid(-1, &status, __WALL);
		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			break;
		if (!WIFSTOPPED(status)) {
			if (tid == pid)
				break;
			continue;
		}
		sig = WSTOPSIG(status);
		if (sig == (SIGTRAP | 0x80)) {
			struct __ptrace_syscall_info info;

			if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info) > 0 &&
			    info.op == PTRACE_SYSCALL_INFO_ENTRY && ++count == limit) {
				kill(pid, SIGKILL);
				printf("killed %ld %llu\n", count, (unsigned long long)info.entry.nr);
				return 0;
			}
			sig = 0;
		} else if (status >> 16) {
			/* A stop of ours, or a new thread's first. */
			sig = 0;
		}
		ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(long)sig);
	}
	printf("end %ld\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	long limit = argc > 4 ? atol(argv[1]) : 0, end;
	char *all[] = { NULL };
	pid_t pid = 0;

	if (!limit)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &(struct sigaction){ .sa_handler = on_term }, NULL);
	if (!strcmp(argv[2], "pid")) {
		pid = atoi(argv[3]);
		if (!seize_threads(pid, argv + 4)) {
			fprintf(stderr, "killat: cannot trace %d: %s\n", (int)pid, strerror(errno));
			return 1;
		}
		puts("ready");
	} else {
		puts("ready");
		for (end = ms_now() + 10000; !pid && !enough && ms_now() < end; usleep(200))
			pid = record_pid(argv[3], atoi(argv[4]));
		if (!pid || !seize_threads(pid, all)) {
			puts("end 0");
			return 0;
		}
	}
	return run(pid, limit);
}
