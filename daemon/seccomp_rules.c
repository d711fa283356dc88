/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls of a worker: a row per call with the reason why it is needed,
 * and until when. Compiled by hvd once, loaded by each worker, since compiling
 * takes as long as the rest of a worker's start.
 *
 * A call that is not here kills the worker, and with it its one domain. A few
 * answer with an error instead: the C library asks them and knows how to go on.
 */
#include "daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum phase {
	ALWAYS,
	START,	/* only until the machine is made */
};

struct rule {
	int nr;
	enum phase until;
	const char *why;
};

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define SYS(name, until, why) { SCMP_SYS(name), until, why }

static const struct rule rules[] = {
	/* the control connection, consoles, disks: descriptors that hvd passed */
	SYS(read, ALWAYS, "eventfds, timerfds, consoles, images"),
	SYS(write, ALWAYS, "eventfds, consoles, messages to stderr"),
	SYS(readv, ALWAYS, "scattered disk requests of a guest"),
	SYS(writev, ALWAYS, "scattered disk requests; messages of libraries"),
	SYS(pread64, ALWAYS, "kernel, initrd and disk images"),
	SYS(pwrite64, ALWAYS, "disk images"),
	SYS(preadv, ALWAYS, "scattered disk requests"),
	SYS(pwritev, ALWAYS, "scattered disk requests"),
	SYS(preadv2, ALWAYS, "what the C library makes of preadv with flags"),
	SYS(pwritev2, ALWAYS, "what the C library makes of pwritev with flags"),
	SYS(lseek, ALWAYS, "the size of an image"),
	SYS(fsync, ALWAYS, "a guest's flush"),
	SYS(fdatasync, ALWAYS, "a guest's flush"),
	SYS(fallocate, ALWAYS, "a guest's discard; giving guest memory back"),
	SYS(ftruncate, ALWAYS, "the size of a memfd"),
	SYS(fstat, ALWAYS, "the kind and size of a passed descriptor"),
	SYS(newfstatat, ALWAYS, "fstat() of newer C libraries"),
	SYS(recvmsg, ALWAYS, "requests of hvd with their descriptors"),
	SYS(sendmsg, ALWAYS, "answers to hvd with their descriptors"),
	SYS(recvfrom, ALWAYS, "a console's input"),
	SYS(sendto, ALWAYS, "a console's output"),
	SYS(accept4, ALWAYS, "a new hvd adopts the worker"),
	SYS(socketpair, ALWAYS, "a console's two ends"),
	SYS(shutdown, ALWAYS, "a console's end"),
	SYS(getsockopt, ALWAYS, "who connects"),
	SYS(close, ALWAYS, "descriptors that are done with"),
	SYS(dup, ALWAYS, "the engine keeps its own copy of a passed descriptor"),
	SYS(dup3, ALWAYS, "as dup"),
	SYS(fcntl, ALWAYS, "close-on-exec copies, non-blocking mode, seals of a memfd"),
	/* the event loop */
	SYS(epoll_create1, START, "libevent's descriptor"),
	SYS(pipe2, START, "libevent's own pipe for signals"),
	SYS(epoll_ctl, ALWAYS, "descriptors come and go"),
	SYS(epoll_wait, ALWAYS, "the loop"),
	SYS(epoll_pwait, ALWAYS, "the loop, in newer C libraries"),
	SYS(epoll_pwait2, ALWAYS, "the loop, in newer libevent"),
	SYS(poll, ALWAYS, "whether a peer hung up; a device's backend"),
	SYS(ppoll, ALWAYS, "as poll"),
	SYS(eventfd2, ALWAYS, "one thread wakes another"),
	SYS(timerfd_create, ALWAYS, "the guest's timers"),
	SYS(timerfd_settime, ALWAYS, "the guest's timers"),
	SYS(timerfd_gettime, ALWAYS, "the guest's timers"),
	/* memory */
	SYS(mmap, ALWAYS, "guest memory, stacks, heap; PROT_EXEC for generated code"),
	SYS(munmap, ALWAYS, "the reverse"),
	SYS(mprotect, ALWAYS, "write, then execute generated code; stack guards; heap"),
	SYS(mremap, ALWAYS, "a large realloc"),
	SYS(madvise, ALWAYS, "discard, page out and huge pages of guest memory"),
	SYS(brk, ALWAYS, "heap"),
	SYS(memfd_create, ALWAYS, "guest memory; dirty bitmaps"),
	SYS(mincore, ALWAYS, "which guest pages exist"),
	SYS(membarrier, ALWAYS, "read-copy-update without barriers in the readers"),
	/* threads and time */
	SYS(futex, ALWAYS, "locks and conditions"),
	SYS(set_robust_list, ALWAYS, "every new thread"),
	SYS(rseq, ALWAYS, "every new thread"),
	SYS(set_tid_address, START, "start of the C library"),
	SYS(sched_yield, ALWAYS, "spinning locks of the C library and the engine"),
	SYS(sched_getaffinity, ALWAYS, "on which CPUs vCPUs may run"),
	SYS(sched_setaffinity, ALWAYS, "a CPU is taken away from domains"),
	SYS(getcpu, ALWAYS, "which CPU a vCPU is on"),
	SYS(gettid, ALWAYS, "messages and signals to threads"),
	SYS(getpid, ALWAYS, "as gettid"),
	SYS(tgkill, ALWAYS, "kick a vCPU; only its own threads, see own_threads()"),
	SYS(exit, ALWAYS, "a thread ends"),
	SYS(exit_group, ALWAYS, "the worker ends"),
	SYS(clock_gettime, ALWAYS, "where the vDSO cannot serve it"),
	SYS(clock_getres, ALWAYS, "as clock_gettime"),
	SYS(gettimeofday, ALWAYS, "as clock_gettime"),
	SYS(time, ALWAYS, "as clock_gettime"),
	SYS(clock_nanosleep, ALWAYS, "the engine's pauses"),
	SYS(nanosleep, ALWAYS, "as clock_nanosleep"),
	SYS(getrandom, ALWAYS, "a guest's entropy; hash seeds"),
	SYS(getrusage, ALWAYS, "domain.stats"),
	/* signals */
	SYS(rt_sigaction, ALWAYS, "handlers for faults on guest memory; abort()"),
	SYS(rt_sigprocmask, ALWAYS, "new threads begin with signals blocked"),
	SYS(rt_sigreturn, ALWAYS, "the end of every handler"),
	SYS(sigaltstack, ALWAYS, "handlers have a stack of their own"),
	SYS(restart_syscall, ALWAYS, "the kernel's own, after a stop"),
	/* start-up */
	SYS(prlimit64, START, "resource limits; the C library asks for the stack's"),
	SYS(sysinfo, START, "how much memory the host has"),
	SYS(uname, START, "which kernel this is"),
	SYS(seccomp, START, "the second filter"),
	SYS(getuid, START, "libevent: whether to trust the environment"),
	SYS(geteuid, START, "as getuid"),
	SYS(getgid, START, "as getuid"),
	SYS(getegid, START, "as getuid"),
	SYS(arch_prctl, START, "start of the C library; extended states for guests"),
	SYS(sched_getparam, START, "attributes of new threads"),
	SYS(sched_getscheduler, START, "attributes of new threads"),
};

/* Asked by libraries that can go on without. */
static const struct {
	int nr;
	int error;
	const char *why;
} refused[] = {
	{ SCMP_SYS(clone3), ENOSYS, "its flags are out of a filter's sight; clone() is tried next" },
	{ SCMP_SYS(openat), EACCES, "/sys and /proc figures; there are no files" },
	{ SCMP_SYS(open), EACCES, "as openat" },
	{ SCMP_SYS(readlink), EACCES, "as openat" },
	{ SCMP_SYS(readlinkat), EACCES, "as openat" },
	{ SCMP_SYS(access), EACCES, "as openat" },
	{ SCMP_SYS(faccessat), EACCES, "as openat" },
	{ SCMP_SYS(ioctl), ENOTTY, "the C library asks whether stderr is a terminal" },
	{ SCMP_SYS(socket), EACCES, "connections are hvd's business" },
	{ SCMP_SYS(set_mempolicy), ENOSYS, "placement is the host's business" },
	{ SCMP_SYS(mbind), ENOSYS, "as set_mempolicy" },
	{ SCMP_SYS(userfaultfd), EPERM, "not needed before post-copy migration" },
};

/* Threads of this process only: no new process, no namespace. */
static int add_clone(scmp_filter_ctx ctx)
{
	const scmp_datum_t need = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;

	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, need, need));
}

static int add_prctl(scmp_filter_ctx ctx)
{
	static const struct {
		int option;
		const char *why;
	} options[] = {
		{ PR_SET_NAME, "names of threads" },
		{ PR_GET_NAME, "names of threads" },
		{ PR_SET_VMA, "names of memory areas" },
		{ PR_SET_TIMERSLACK, "guests' timers fire when they are due" },
	};
	size_t i;
	int ret = 0;

	for (i = 0; !ret && i < sizeof(options) / sizeof(options[0]); i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ, options[i].option, 0));
	return ret;
}

static int compile(enum phase phase, int fd)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int ret = ctx ? 0 : -ENOMEM;
	size_t i;

	if (ret)
		return ret;
	/* A balanced tree: every I/O of a guest passes here. */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (i = 0; !ret && i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].until == ALWAYS || phase == START)
			ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rules[i].nr, 0);
	for (i = 0; !ret && i < sizeof(refused) / sizeof(refused[0]); i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(refused[i].error), refused[i].nr, 0);
	if (!ret)
		ret = add_clone(ctx);
	if (!ret)
		ret = add_prctl(ctx);
	if (!ret)
		ret = seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	return ret;
}

/* The file: where the second program begins, in bytes; first program; second program. */
int seccomp_rules_export(void)
{
	uint32_t second;
	int fd, ret;

	fd = memfd_create("hvd-filters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (lseek(fd, sizeof(second), SEEK_SET) < 0) {
		ret = -errno;
		goto out_close;
	}
	ret = compile(START, fd);
	if (ret)
		goto out_close;
	second = lseek(fd, 0, SEEK_CUR);
	ret = compile(ALWAYS, fd);
	if (ret)
		goto out_close;
	/* Workers share it: none may change what the next one loads. */
	if (pwrite(fd, &second, sizeof(second), 0) != sizeof(second) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) {
		ret = -errno;
		goto out_close;
	}
	return fd;

out_close:
	close(fd);
	return ret;
}

static int load(struct sock_filter *insns, unsigned int count)
{
	struct sock_fprog prog = { .len = count, .filter = insns };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
		return errno == ESRCH ? -EBUSY : -errno;
	return 0;
}

/* tgkill() reaches no other process. A program of its own, since it holds the pid. */
static int own_threads(void)
{
	struct sock_filter insns[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)getpid(), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	return load(insns, sizeof(insns) / sizeof(insns[0]));
}

int seccomp_rules_load(int fd, int phase)
{
	static struct sock_filter insns[BPF_MAXINSNS];
	off_t end = lseek(fd, 0, SEEK_END);
	uint32_t second;
	off_t from;
	int ret;

	if (end < 0 || pread(fd, &second, sizeof(second), 0) != sizeof(second))
		return -EIO;
	from = phase == 0 ? (off_t)sizeof(second) : (off_t)second;
	if (phase == 0)
		end = second;
	if (end <= from || (size_t)(end - from) > sizeof(insns) ||
	    pread(fd, insns, end - from, from) != end - from)
		return -EIO;
	if (phase == 0) {
		/* First the one that the other would forbid to load once it is narrow. */
		ret = own_threads();
		if (ret)
			return ret;
	}
	return load(insns, (end - from) / sizeof(insns[0]));
}
