/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run-flat FILE [options]: run one guest image on the engine until it ends.
 * The guest's serial port is standard output. The exit status is that of the
 * debug-exit port, (code << 1) | 1; or 0 after a poweroff, 124 after --timeout,
 * 125 when the machine cannot be made or crashes, 126 after a reset.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hv/hv.h"

#define EXIT_TIMEOUT 124
#define EXIT_BROKEN  125
#define EXIT_RESET   126

struct run {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended;
	int status;
	bool input;
};

static void on_output(void *ctx, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	while (len) {
		n = write(STDOUT_FILENO, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

static void on_event(void *ctx, enum hv_machine_event event, const char *detail)
{
	struct run *run = ctx;
	int status;

	switch (event) {
	case HV_MACHINE_DEBUG_EXIT:
		status = (int)((strtoul(detail, NULL, 10) << 1 | 1) & 0xff);
		break;
	case HV_MACHINE_POWEROFF:
		status = 0;
		break;
	case HV_MACHINE_RESET:
		fprintf(stderr, "run-flat: reset: %s\n", detail);
		status = EXIT_RESET;
		break;
	case HV_MACHINE_PANIC:
		fprintf(stderr, "run-flat: panic: %s\n", detail);
		return;
	default:
		fprintf(stderr, "run-flat: crashed: %s\n", detail);
		status = EXIT_BROKEN;
		break;
	}
	pthread_mutex_lock(&run->lock);
	run->ended = true;
	run->status = status;
	pthread_cond_signal(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void on_log(void *ctx, int level, const char *message)
{
	if (level <= *(int *)ctx)
		fprintf(stderr, "hv: %s\n", message);
}

/* False: the time is over. */
static bool wait_for_end(struct run *run, unsigned int seconds)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&run->lock);
	while (!run->ended && !err)
		err = seconds ? pthread_cond_timedwait(&run->changed, &run->lock, &until) :
				pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
	return !err;
}

static void *input_main(void *arg)
{
	struct hv_machine *m = arg;
	char buf[256];
	ssize_t n;

	if (hv_thread_enter())
		return NULL;
	while ((n = read(STDIN_FILENO, buf, sizeof(buf))) > 0) {
		ssize_t done = 0;

		while (done < n) {
			int took = hv_machine_console_input(m, buf + done, (size_t)(n - done));

			done += took;
			if (!took)
				nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		}
	}
	hv_thread_leave();
	return NULL;
}

/* Bytes around the next instruction, for a guest whose code is mapped one to one. */
static void print_code(struct hv_machine *m, uint64_t at)
{
	uint8_t code[32];
	unsigned int i;

	if (at < 16 || hv_memory_read(hv_machine_vm(m), at - 16, code, sizeof(code)))
		return;
	fprintf(stderr, "  code");
	for (i = 0; i < sizeof(code); i++)
		fprintf(stderr, i == 16 ? " <%02x>" : " %02x", code[i]);
	fprintf(stderr, "\n");
}

static void report(struct hv_machine *m, unsigned int vcpus)
{
	struct hv_exit_counter c[256];
	struct hv_vcpu_figures f;
	unsigned int i;
	int n, j;

	hv_machine_pause(m);
	for (i = 0; i < vcpus; i++) {
		struct hv_vcpu *vcpu = hv_machine_vcpu(m, i);
		struct hv_regs r;
		struct hv_sregs s;

		if (hv_vcpu_get_regs(vcpu, &r) || hv_vcpu_get_sregs(vcpu, &s))
			continue;
		fprintf(stderr,
			"vcpu%u: cs:rip %x:%llx ss:rsp %x:%llx rflags %llx cr0 %llx cr2 %llx cr3 "
			"%llx cr4 %llx efer %llx\n  rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi "
			"%llx\n",
			i, s.cs.selector, (unsigned long long)r.rip, s.ss.selector,
			(unsigned long long)r.rsp, (unsigned long long)r.rflags,
			(unsigned long long)s.cr0, (unsigned long long)s.cr2,
			(unsigned long long)s.cr3, (unsigned long long)s.cr4,
			(unsigned long long)s.efer, (unsigned long long)r.rax,
			(unsigned long long)r.rbx, (unsigned long long)r.rcx,
			(unsigned long long)r.rdx, (unsigned long long)r.rsi,
			(unsigned long long)r.rdi);
		print_code(m, s.cs.base + r.rip);
		if (!hv_vcpu_stats(vcpu, &f))
			fprintf(stderr, "  %s, %llu entries, %llu halts, %llu irqs, %llu insns\n",
				f.state, (unsigned long long)f.entries,
				(unsigned long long)f.halts, (unsigned long long)f.irq_injections,
				(unsigned long long)f.instructions);
		n = hv_vcpu_exits(vcpu, c, 256);
		for (j = 0; j < n && j < 256; j++) {
			if (c[j].count)
				fprintf(stderr, "  %-32s %llu\n", c[j].name,
					(unsigned long long)c[j].count);
		}
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: run-flat FILE [-smp N] [-m MiB] [-append TEXT] [-initrd FILE]\n"
			"  [--vendor vmx|svm] [--paging tdp|shadow] [--cpu MODEL] [--testdev]\n"
			"  [--kind auto|linux|pvh|multiboot|flat] [--timeout SECONDS] [--input]\n"
			"  [--log LEVEL] [--report]\n");
	exit(EXIT_BROKEN);
}

static enum hv_boot_kind kind_of(const char *name)
{
	static const char *const names[] = { "auto", "linux", "pvh", "multiboot", "flat" };
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(name, names[i]))
			return (enum hv_boot_kind)i;
	}
	usage();
	return HV_BOOT_AUTO;
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "run-flat: %s: %s\n", path, strerror(errno));
		exit(EXIT_BROKEN);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "smp", required_argument, NULL, 's' },
		{ "m", required_argument, NULL, 'm' },
		{ "append", required_argument, NULL, 'a' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "vendor", required_argument, NULL, 'v' },
		{ "paging", required_argument, NULL, 'p' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "testdev", no_argument, NULL, 't' },
		{ "kind", required_argument, NULL, 'k' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "input", no_argument, NULL, 'I' },
		{ "log", required_argument, NULL, 'l' },
		{ "report", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	static const struct hv_machine_callbacks callbacks = {
		.console_output = on_output,
		.event = on_event,
	};
	struct run run = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct hv_machine_config config = {
		.name = "run-flat",
		.vcpus = 1,
		.memory = 128ULL << 20,
		.memory_backing = HV_MEM_ANON,
		.memory_fd = -1,
		.boot = { .kernel_fd = -1, .initrd_fd = -1 },
		.test_devices = HV_TEST_DEBUG_EXIT,
		.callbacks = &callbacks,
		.ctx = &run,
	};
	struct hv_machine *m;
	unsigned int timeout = 0;
	bool want_report = false;
	int log_level = HV_LOG_WARNING, c, err;
	pthread_t input;

	while ((c = getopt_long_only(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			config.vcpus = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'm':
			config.memory = strtoull(optarg, NULL, 10) << 20;
			break;
		case 'a':
			config.boot.cmdline = optarg;
			break;
		case 'i':
			config.boot.initrd_fd = open_or_die(optarg);
			break;
		case 'v':
			config.vendor = optarg;
			break;
		case 'p':
			config.paging = optarg;
			break;
		case 'c':
			config.cpu_model = optarg;
			break;
		case 't':
			config.test_devices |= HV_TEST_PC_TESTDEV;
			break;
		case 'k':
			config.boot.kind = kind_of(optarg);
			break;
		case 'T':
			timeout = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'I':
			run.input = true;
			break;
		case 'l':
			log_level = atoi(optarg);
			break;
		case 'r':
			want_report = true;
			break;
		default:
			usage();
		}
	}
	if (optind + 1 != argc)
		usage();
	config.boot.kernel_fd = open_or_die(argv[optind]);
	signal(SIGPIPE, SIG_IGN);
	err = hv_init(&(struct hv_init){ .version = HV_API_VERSION, .log = on_log,
					 .log_ctx = &log_level });
	if (!err)
		err = hv_thread_enter();
	if (!err)
		err = hv_machine_create(&config, &m);
	if (err) {
		fprintf(stderr, "run-flat: %s (%s)\n",
			config.error[0] ? config.error : "the machine cannot be made",
			strerror(-err));
		return EXIT_BROKEN;
	}
	hv_machine_start(m);
	if (run.input && !pthread_create(&input, NULL, input_main, m))
		pthread_detach(input);
	if (!wait_for_end(&run, timeout)) {
		fprintf(stderr, "run-flat: no end after %u s\n", timeout);
		run.status = EXIT_TIMEOUT;
		want_report = true;
	}
	if (want_report)
		report(m, config.vcpus);
	/* A detached reader of standard input would use the machine: leave it to the process. */
	if (run.input)
		_exit(run.status);
	hv_machine_destroy(m);
	hv_thread_leave();
	hv_exit();
	return run.status;
}
