/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Worker processes: the same binary executed again, with descriptors by number on
 * its command line, in a session of its own, so that neither a terminal nor the
 * end of hvd ends it.
 */
#include "daemon/worker_link_internal.h"

#include "daemon/domain.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/upgrade.h"
#include "daemon/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

/* ---- uids ------------------------------------------------------------------- */

/*
 * Limits of threads count by uid, and a uid's processes may signal each other, so no two
 * workers of a host share one. What this hvd gave is in @uids; another hvd's workers are
 * seen by having processes. Where the search begins depends on the runtime folder, so
 * that two daemons that start workers at the same moment begin in different places.
 */
static bool worker_uid_busy(uid_t uid)
{
	errno = 0;
	return getpriority(PRIO_USER, uid) != -1 || errno != ESRCH;
}

static unsigned int worker_uid_first(const struct hvd *hvd, unsigned int count)
{
	const unsigned char *c = (const unsigned char *)hvd->options.runtime_dir;
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *c; c++)
		hash = (hash ^ *c) * 16777619u;
	return hash % count;
}

uid_t worker_uid_take(struct hvd *hvd)
{
	unsigned int n = hvd->config.uid_last - hvd->config.uid_first + 1;
	unsigned int first = worker_uid_first(hvd, n), i, at;

	for (i = 0; i < n; i++) {
		at = (first + i) % n;
		if (hvd->uids[at] || worker_uid_busy(hvd->config.uid_first + at))
			continue;
		hvd->uids[at] = 1;
		return hvd->config.uid_first + at;
	}
	return (uid_t)-1;
}

void worker_uid_mark(struct hvd *hvd, uid_t uid, bool used)
{
	if (uid != (uid_t)-1 && uid >= hvd->config.uid_first && uid <= hvd->config.uid_last)
		hvd->uids[uid - hvd->config.uid_first] = used;
}

/* ---- the end of a process ----------------------------------------------------- */

static void worker_describe_end(struct worker *worker, char *how, size_t size)
{
	siginfo_t info = { .si_pid = 0 };

	/* P_PIDFD, by its number: older headers have not the name. */
	if (waitid((idtype_t)3, worker->pidfd, &info, WEXITED | WNOHANG) || !info.si_pid)
		snprintf(how, size, "the worker ended");	/* an adopted one: no child of ours */
	else if (info.si_code == CLD_EXITED)
		snprintf(how, size, "the worker exited with status %d", info.si_status);
	else if (info.si_status == SIGSYS)
		snprintf(how, size, "the worker made a system call outside its sandbox");
	else
		snprintf(how, size, "the worker was killed by signal %d (%s)", info.si_status,
			 sigdescr_np(info.si_status) ? sigdescr_np(info.si_status) : "?");
}

static void worker_exited(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	struct domain *dom = worker->dom;
	struct hvd *hvd = worker->hvd;
	char how[128];

	(void)fd;
	(void)what;
	worker_describe_end(worker, how, sizeof(how));
	if (worker->retired) {
		worker_free(worker);
		return;
	}
	worker_record_drop(worker);
	worker_fail_pending(worker);
	if (dom->upgrade) {
		upgrade_worker_gone(hvd, dom, worker, how);
		worker_free(worker);
		upgrade_check(hvd, dom);
		return;
	}
	dom->worker = NULL;
	worker_free(worker);
	domain_worker_gone(hvd, dom, how);
}

int worker_watch(struct worker *worker)
{
	worker->exit_event = event_new(worker->hvd->base, worker->pidfd, EV_READ, worker_exited,
				       worker);
	if (!worker->exit_event || event_add(worker->exit_event, NULL))
		return -ENOMEM;
	return 0;
}

/* ---- spawning ------------------------------------------------------------------ */

/* Only what a sanitizer is told; the rest of hvd's environment is not the worker's. */
static void worker_environment(char **env, size_t max)
{
	static const char *const kept[] = { "ASAN_OPTIONS=", "TSAN_OPTIONS=", "UBSAN_OPTIONS=",
					    "LSAN_OPTIONS=", "JOURNAL_STREAM=" };
	size_t i, k, n = 0;

	for (i = 0; environ[i]; i++)
		for (k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			if (n + 1 < max && !strncmp(environ[i], kept[k], strlen(kept[k])))
				env[n++] = environ[i];
	env[n] = NULL;
}

struct spawn_fds {
	int control, listener;
};

static int spawn_actions(posix_spawn_file_actions_t *actions, const struct sandbox *sandbox,
			 const struct spawn_fds *fds)
{
	int ret, i;

	ret = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
	/* The same number twice: it only stays open over the exec. */
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(actions, fds->control, fds->control);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(actions, fds->listener, fds->listener);
	if (!ret && sandbox->filters >= 0)
		ret = posix_spawn_file_actions_adddup2(actions, sandbox->filters, sandbox->filters);
	for (i = 0; !ret && i < SANDBOX_NS_COUNT; i++)
		if (sandbox->ns[i] >= 0)
			ret = posix_spawn_file_actions_adddup2(actions, sandbox->ns[i],
							       sandbox->ns[i]);
	return -ret;
}

static int spawn_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	return -posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
					       POSIX_SPAWN_SETSID);
}

static int spawn_process(struct worker *worker, const struct spawn_fds *fds, unsigned int threads)
{
	struct hvd *hvd = worker->hvd;
	posix_spawn_file_actions_t actions;
	char words[WORKER_ARGC][32 + SCHEMA_NAME_MAX];
	char *argv[WORKER_ARGC + 1];
	posix_spawnattr_t attr;
	char *env[16];
	int ret;

	worker_argv_fill(&(struct worker_args){ .control = fds->control, .listener = fds->listener,
						.sandbox = hvd->sandbox, .uid = worker->uid,
						.threads = threads,
						.log_level = hvd->config.log_level,
						.tsc_khz = hvd->tsc_khz,
						.name = worker->dom->name },
			 words, argv);
	worker_environment(env, sizeof(env) / sizeof(env[0]));
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	ret = spawn_actions(&actions, &hvd->sandbox, fds);
	if (!ret)
		ret = spawn_attributes(&attr);
	if (!ret)
		ret = -posix_spawn(&worker->pid, "/proc/self/exe", &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (ret)
		return ret;
	worker->pidfd = syscall(SYS_pidfd_open, worker->pid, 0);
	if (worker->pidfd < 0) {
		ret = -errno;
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, NULL, 0);
	}
	return ret;
}

/* Everything of a worker but its place in the domain. */
static int spawn(struct worker *worker, unsigned int threads)
{
	struct spawn_fds fds;
	char path[160];
	int pair[2];
	int ret;

	worker_socket_path(worker, path, sizeof(path));
	fds.listener = api_listen_unix(path, 0600, (gid_t)-1);
	if (fds.listener < 0)
		return fds.listener;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		ret = -errno;
		close(fds.listener);
		return ret;
	}
	fds.control = pair[1];
	ret = spawn_process(worker, &fds, threads);
	close(pair[1]);
	close(fds.listener);
	if (ret) {
		close(pair[0]);
		return ret;
	}
	worker->starttime = worker_starttime(worker->pid);
	ret = worker_connect(worker, pair[0]);
	if (!ret)
		ret = worker_watch(worker);
	if (!ret)
		ret = worker_record_write(worker);
	if (ret) {
		worker_kill(worker);
		waitpid(worker->pid, NULL, 0);
	}
	return ret;
}

struct worker *worker_new(struct hvd *hvd, struct domain *dom)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->hvd = hvd;
	worker->dom = dom;
	worker->pidfd = -1;
	worker->next_id = 1;
	worker->uid = (uid_t)-1;
	TAILQ_INIT(&worker->pending);
	return worker;
}

static struct worker *spawn_new(struct hvd *hvd, struct domain *dom, unsigned int threads,
				bool second, struct api_error *err)
{
	struct worker *worker = worker_new(hvd, dom);
	int ret = worker ? 0 : -ENOMEM;

	if (worker) {
		worker->second = second;
		if (hvd->root) {
			worker->uid = worker_uid_take(hvd);
			if (worker->uid == (uid_t)-1)
				ret = -EUSERS;
		}
	}
	if (!ret)
		ret = spawn(worker, threads);
	if (!ret)
		return worker;
	if (ret == -EUSERS)
		api_error_set(err, API_E_RESOURCE_EXHAUSTED, "every uid of UidRange= is in use");
	else
		api_error_set(err, API_E_DOMAIN_START_FAILED, "cannot make a worker: %s",
			      strerror(-ret));
	if (worker) {
		worker_record_drop(worker);
		worker_free(worker);
	}
	return NULL;
}

int worker_spawn(struct hvd *hvd, struct domain *dom, unsigned int threads, struct api_error *err)
{
	dom->worker = spawn_new(hvd, dom, threads, false, err);
	return dom->worker ? 0 : -EIO;
}

struct worker *worker_spawn_next(struct hvd *hvd, struct domain *dom, unsigned int threads,
				 struct api_error *err)
{
	return spawn_new(hvd, dom, threads, !dom->worker->second, err);
}
