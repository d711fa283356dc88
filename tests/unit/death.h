/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Death tests: a function that must abort, run in a child process.
 *
 * The child announces the places that the report must name with DEATH_SITE(),
 * on the line of the call itself:
 *
 *	static void wrong_order(void)
 *	{
 *		DEATH_SITE(hv_mutex_lock(&inner));
 *		DEATH_SITE(hv_mutex_lock(&outer));	// aborts
 *	}
 *	...
 *	assert_death(wrong_order, "order: ");
 */
#ifndef TESTS_UNIT_DEATH_H
#define TESTS_UNIT_DEATH_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEATH_SITE(call)                                                                           \
	do {                                                                                       \
		fprintf(stderr, "site %s:%d\n", __FILE__, __LINE__);                               \
		call;                                                                              \
	} while (0)

/* Runs fn in a child; its standard error goes to text. Returns the wait status. */
static int death_run(void (*fn)(void), char *text, size_t size)
{
	int fds[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	fflush(NULL);
	if (pipe(fds) || (pid = fork()) < 0)
		abort();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		alarm(60);
		fn();
		_exit(0); /* it lived */
	}
	close(fds[1]);
	while (len < size - 1 && (n = read(fds[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	return status;
}

/* How many announced sites the line that begins with "BUG" names; -1 if one is missing. */
static int death_sites_named(const char *text, const char *bug)
{
	const char *at = text;
	char site[512];
	int n = 0;

	while ((at = strstr(at, "site ")) && at < bug) {
		if (sscanf(at, "site %500s", site) != 1 || !strstr(bug, site))
			return -1;
		at += 5;
		n++;
	}
	return n;
}

/* 0 if fn aborted with a report that has `what` in it and names every announced site. */
static int __attribute__((unused)) death_check(void (*fn)(void), const char *what)
{
	static char text[32768];
	int status = death_run(fn, text, sizeof(text));
	const char *bug = strstr(text, "BUG at ");

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && bug && strstr(bug, what) &&
	    death_sites_named(text, bug) >= 0)
		return 0;
	fprintf(stderr, "expected to die of \"%s\", status %#x, said:\n%s\n", what, status, text);
	return -1;
}

#define assert_death(fn, what) assert_int_equal(death_check((fn), (what)), 0)

#endif
