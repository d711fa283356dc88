/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Make the cage in hvd, and step into it in the worker.
 */
#include "daemon/sandbox.h"

#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

#define WORKER_FILES 512

#ifdef HV_SANITIZED
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static const struct {
	const char *name;
	int flag;
} ns_kinds[SANDBOX_NS_COUNT] = {
	{ "net", CLONE_NEWNET },
	{ "ipc", CLONE_NEWIPC },
	{ "uts", CLONE_NEWUTS },
	{ "mnt", CLONE_NEWNS },
};

/* ---- in hvd ---------------------------------------------------------------- */

#define PATH_DEPTH 128

/*
 * In the helper: from inside a chroot to the root of the namespace, which is what a worker
 * gets when it joins, and which can be pivoted where a chroot's root cannot. The root
 * is set below the current folder, so nothing stops the way up.
 */
static int namespace_root(const char *folder)
{
	int i;

	if (chdir("/") || chroot(folder))
		return -errno;
	for (i = 0; i < PATH_DEPTH; i++)
		if (chdir(".."))
			return -errno;
	return chroot(".") ? -errno : 0;
}

/* In the helper: a root folder that is empty and read-only. */
static int empty_root(const char *folder)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const char *slash = strrchr(folder, '/');
	char again[NAME_MAX + 4];
	int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (fd < 0 || !slash)
		return fd < 0 ? -errno : -EINVAL;
	/* What is mounted on the current folder is seen by looking it up again. */
	snprintf(again, sizeof(again), "../%s", slash + 1);
	ret = namespace_root(folder);
	if (ret)
		return ret;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || fchdir(fd) ||
	    mount("hvd-empty", ".", "tmpfs", flags, "size=4k,nr_inodes=2,mode=0555") ||
	    chdir(again) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
	    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | flags, NULL))
		return -errno;
	return 0;
}

/* The helper lives until hvd has opened its namespaces. */
static void __attribute__((noreturn)) helper_main(int report, int hold, const char *folder)
{
	char byte;
	int ret = 0;

	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS))
		ret = -errno;
	else
		ret = empty_root(folder);
	if (write(report, &ret, sizeof(ret)) == sizeof(ret))
		while (read(hold, &byte, 1) < 0 && errno == EINTR)
			;
	_exit(0);
}

static int open_namespaces(struct sandbox *sandbox, pid_t helper)
{
	char path[64];
	int i;

	for (i = 0; i < SANDBOX_NS_COUNT; i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)helper, ns_kinds[i].name);
		sandbox->ns[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (sandbox->ns[i] < 0)
			return -errno;
	}
	return 0;
}

static int make_namespaces(struct sandbox *sandbox, const char *folder)
{
	int report[2], hold[2];
	pid_t helper;
	int ret;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	if (pipe2(hold, O_CLOEXEC)) {
		ret = -errno;
		close(report[0]);
		close(report[1]);
		return ret;
	}
	helper = fork();
	if (helper == 0) {
		close(hold[1]);
		helper_main(report[1], hold[0], folder);
	}
	ret = helper < 0 ? -errno : 0;
	close(report[1]);
	close(hold[0]);
	if (!ret && read(report[0], &ret, sizeof(ret)) != sizeof(ret))
		ret = -EIO;
	if (!ret)
		ret = open_namespaces(sandbox, helper);
	close(report[0]);
	close(hold[1]);
	if (helper > 0)
		waitpid(helper, NULL, 0);
	return ret;
}

static int sandbox_lack(struct sandbox *sandbox, const char *what, int ret)
{
	snprintf(sandbox->note, sizeof(sandbox->note), "no %s: %s", what, strerror(-ret));
	return sandbox->mode == SANDBOX_STRICT ? ret : 0;
}

int sandbox_prepare(struct sandbox *sandbox, enum sandbox_mode mode, bool root,
		    const char *folder)
{
	int i, ret;

	memset(sandbox, 0, sizeof(*sandbox));
	sandbox->mode = mode;
	sandbox->filters = -1;
	for (i = 0; i < SANDBOX_NS_COUNT; i++)
		sandbox->ns[i] = -1;
	if (mode == SANDBOX_OFF) {
		snprintf(sandbox->note, sizeof(sandbox->note), "switched off");
		return 0;
	}
	if (root) {
		ret = make_namespaces(sandbox, folder);
		if (ret) {
			for (i = 0; i < SANDBOX_NS_COUNT; i++) {
				if (sandbox->ns[i] >= 0)
					close(sandbox->ns[i]);
				sandbox->ns[i] = -1;
			}
			ret = sandbox_lack(sandbox, "namespaces", ret);
			if (ret)
				return ret;
		}
	} else {
		snprintf(sandbox->note, sizeof(sandbox->note), "no uids and namespaces: not root");
	}
	if (sanitized) {
		snprintf(sandbox->note, sizeof(sandbox->note),
			 "no filters and empty folder: a sanitizer is built in");
		return 0;
	}
	ret = seccomp_rules_export();
	if (ret < 0)
		return sandbox_lack(sandbox, "system call filters", ret);
	sandbox->filters = ret;
	return 0;
}

void sandbox_release(struct sandbox *sandbox)
{
	int i;

	for (i = 0; i < SANDBOX_NS_COUNT; i++)
		if (sandbox->ns[i] >= 0)
			close(sandbox->ns[i]);
	if (sandbox->filters >= 0)
		close(sandbox->filters);
}

/* ---- in the worker ---------------------------------------------------------- */

static int enter_namespaces(const struct sandbox *sandbox)
{
	int i;

	for (i = 0; i < SANDBOX_NS_COUNT; i++) {
		if (sandbox->ns[i] < 0)
			continue;
		if (sanitized && ns_kinds[i].flag == CLONE_NEWNS)
			continue;
		if (setns(sandbox->ns[i], ns_kinds[i].flag))
			return -errno;
		close(sandbox->ns[i]);
	}
	return 0;
}

static int enter_uid(uid_t uid)
{
	if (uid == (uid_t)-1)
		return 0;
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		return -errno;
	/* Whoever can change it back has not left it. */
	if (setuid(0) == 0)
		return -EPERM;
	return 0;
}

static int set_limit(int which, rlim_t value)
{
	const struct rlimit limit = { value, value };

	return setrlimit(which, &limit) ? -errno : 0;
}

static int enter_limits(const struct sandbox_entry *entry)
{
	int ret;

	/* A core would hold the guest's memory. */
	ret = set_limit(RLIMIT_CORE, 0);
	if (!ret)
		ret = set_limit(RLIMIT_NOFILE, WORKER_FILES);
	/* Threads are counted per uid: a limit only for a uid of its own. */
	if (!ret && entry->uid != (uid_t)-1)
		ret = set_limit(RLIMIT_NPROC, entry->threads);
	return ret;
}

static int enter_quiet(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int sandbox_enter(const struct sandbox_entry *entry, const char **step)
{
	const struct sandbox *sandbox = entry->sandbox;
	bool strict = sandbox->mode == SANDBOX_STRICT;
	int ret;

	/* The uid is no part of the mode: without it a worker would be root. */
	*step = "namespaces";
	ret = sandbox->mode == SANDBOX_OFF ? 0 : enter_namespaces(sandbox);
	if (ret && strict)
		return ret;
	*step = "uid";
	ret = enter_uid(entry->uid);
	if (ret)
		return ret;
	if (sandbox->mode == SANDBOX_OFF)
		return 0;
	*step = "limits";
	ret = enter_limits(entry);
	if (ret && strict)
		return ret;
	*step = "no new privileges";
	ret = enter_quiet();
	if (ret && strict)
		return ret;
	*step = "filters";
	ret = sandbox->filters >= 0 ? seccomp_rules_load(sandbox->filters, 0) : 0;
	return strict ? ret : 0;
}

int sandbox_narrow(const struct sandbox *sandbox)
{
	int ret = sandbox->filters >= 0 ? seccomp_rules_load(sandbox->filters, 1) : 0;

	return sandbox->mode == SANDBOX_STRICT ? ret : 0;
}
