/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a machine: creation and its reverse, one thread per vCPU, start,
 * pause, reset, and the events that end a run.
 *
 * A vCPU thread is either parked (it waits in machine_park) or in
 * hv_vcpu_run. Whoever wants all of them parked changes m->run, requests a
 * pause from each, and waits. The threads themselves end a run in
 * machine_end, from inside a device access, so m->lock is a device lock: it may
 * be taken inside read-side sections and with a vCPU's mutex held.
 */
#include "hv/engine/machine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/vcpu/vcpu.h"

#define MIB (1ULL << 20)

/* ---- stopping --------------------------------------------------------------------- */

/* Ask every vCPU to leave hv_vcpu_run. Returns at once. */
static void request_pause(struct hv_machine *m)
{
	unsigned int i;

	for (i = 0; i < m->nr_vcpus; i++) {
		if (!m->vcpus[i].vcpu)
			continue;
		vcpu_make_request(m->vcpus[i].vcpu, HV_REQ_PAUSE);
		vcpu_kick(m->vcpus[i].vcpu);
	}
}

static bool all_parked(const struct hv_machine *m)
{
	unsigned int i;

	for (i = 0; i < m->nr_vcpus; i++) {
		if (m->vcpus[i].has_thread && !m->vcpus[i].parked)
			return false;
	}
	return true;
}

/* Change what the threads do, and wait until none of them runs guest code. */
static void stop_and_wait(struct hv_machine *m, enum machine_run run)
{
	hv_mutex_lock(&m->lock);
	if (m->run != MACHINE_ENDED || run == MACHINE_QUIT)
		m->run = run;
	request_pause(m);
	hv_cond_broadcast(&m->changed);
	while (!all_parked(m))
		hv_cond_wait(&m->changed, &m->lock);
	hv_mutex_unlock(&m->lock);
}

/*
 * A run ends, once: the first of several reasons wins. On a vCPU thread, inside
 * the access that ended it; that vCPU leaves after the instruction.
 */
static void machine_end(struct hv_machine *m, enum hv_machine_event event, const char *detail)
{
	bool mine;

	hv_mutex_lock(&m->lock);
	mine = m->run == MACHINE_RUNNING;
	if (mine) {
		m->run = MACHINE_ENDED;
		request_pause(m);
	}
	hv_mutex_unlock(&m->lock);
	if (!mine)
		return;
	if (m->uart)
		uart16550_flush(m->uart);
	if (m->callbacks.event)
		m->callbacks.event(m->ctx, event, detail);
}

/* ---- what devices report ------------------------------------------------------------- */

static void board_console_output(void *ctx, const void *data, size_t len)
{
	struct hv_machine *m = ctx;

	if (m->callbacks.console_output)
		m->callbacks.console_output(m->ctx, data, len);
}

static void board_poweroff(void *ctx)
{
	machine_end(ctx, HV_MACHINE_POWEROFF, "");
}

static void board_reset_asked(void *ctx, const char *how)
{
	machine_end(ctx, HV_MACHINE_RESET, how);
}

static void board_panic(void *ctx, const char *detail)
{
	struct hv_machine *m = ctx;

	uart16550_flush(m->uart);
	if (m->callbacks.event)
		m->callbacks.event(m->ctx, HV_MACHINE_PANIC, detail);
}

static void board_debug_exit(void *ctx, uint32_t code)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", code);
	machine_end(ctx, HV_MACHINE_DEBUG_EXIT, text);
}

static const struct hv_board_ops machine_board_ops = {
	.console_output = board_console_output,
	.poweroff = board_poweroff,
	.reset = board_reset_asked,
	.panic = board_panic,
	.debug_exit = board_debug_exit,
};

/* ---- vCPU threads -------------------------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3))) crash(struct hv_machine *m, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	machine_end(m, HV_MACHINE_CRASHED, text);
}

/* Nobody answers at that address: reads give ones, writes go nowhere. */
static void float_bus(struct hv_run *run)
{
	if (run->exit_reason == HV_EXIT_IO && !run->io.is_write) {
		size_t len = (size_t)run->io.size * run->io.count;

		memset(run->io.data, 0xff, len < sizeof(run->io.data) ? len : sizeof(run->io.data));
	} else if (run->exit_reason == HV_EXIT_MMIO && !run->mmio.is_write) {
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
	}
}

static void handle_user_exit(struct machine_vcpu *mv)
{
	struct hv_run *run = hv_vcpu_run_page(mv->vcpu);
	uint64_t rip = vcpu_regs(mv->vcpu)->rip;

	switch (run->exit_reason) {
	case HV_EXIT_IO:
	case HV_EXIT_MMIO:
		float_bus(run);
		return;
	case HV_EXIT_INTR:
		return;
	case HV_EXIT_SHUTDOWN:
		machine_end(mv->m, HV_MACHINE_RESET, "triple fault");
		return;
	case HV_EXIT_INTERNAL_ERROR:
		crash(mv->m, "vCPU %u at %#llx: %s", mv->index, (unsigned long long)rip,
		      run->internal.detail);
		return;
	case HV_EXIT_FAIL_ENTRY:
		crash(mv->m, "vCPU %u at %#llx: entry failed, reason %#llx", mv->index,
		      (unsigned long long)rip,
		      (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return;
	case HV_EXIT_MEMORY_FAULT:
		crash(mv->m, "vCPU %u at %#llx: memory at %#llx cannot be accessed", mv->index,
		      (unsigned long long)rip, (unsigned long long)run->memory_fault.gpa);
		return;
	default:
		crash(mv->m, "vCPU %u at %#llx: unexpected exit %u", mv->index,
		      (unsigned long long)rip, run->exit_reason);
		return;
	}
}

/* Wait until there is something to run. False: the thread is to end. */
static bool machine_park(struct machine_vcpu *mv)
{
	struct hv_machine *m = mv->m;
	bool run;

	hv_mutex_lock(&m->lock);
	if (m->run != MACHINE_RUNNING) {
		mv->parked = true;
		hv_cond_broadcast(&m->changed);
		while (m->run != MACHINE_RUNNING && m->run != MACHINE_QUIT)
			hv_cond_wait(&m->changed, &m->lock);
	}
	run = m->run == MACHINE_RUNNING;
	mv->parked = !run;
	hv_mutex_unlock(&m->lock);
	return run;
}

static void note_first_instruction(struct machine_vcpu *mv)
{
	uint64_t none = 0;

	if (mv->index == 0 && !atomic_load_explicit(&mv->m->first_insn_ns, memory_order_relaxed))
		atomic_compare_exchange_strong(&mv->m->first_insn_ns, &none, hv_timer_now());
}

static void *vcpu_main(void *arg)
{
	struct machine_vcpu *mv = arg;
	struct hv_machine *m = mv->m;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "hv-vcpu%u", mv->index);
	pthread_setname_np(pthread_self(), name);
	r = hv_thread_enter();
	if (r) {
		crash(m, "vCPU %u: thread cannot enter the engine: %s", mv->index, strerror(-r));
		hv_mutex_lock(&m->lock);
		mv->parked = true;
		hv_cond_broadcast(&m->changed);
		hv_mutex_unlock(&m->lock);
		return NULL;
	}
	while (machine_park(mv)) {
		note_first_instruction(mv);
		r = hv_vcpu_run(mv->vcpu);
		machine_throttle_wait(mv);
		if (r == 0)
			handle_user_exit(mv);
		else if (r == -EIO)
			crash(m, "%s", m->vm->bug_reason[0] ? m->vm->bug_reason : "the VM is dead");
		else if (r != -EINTR)
			crash(m, "vCPU %u: %s", mv->index, strerror(-r));
	}
	hv_thread_leave();
	return NULL;
}

/* ---- control calls: one at a time ---------------------------------------------------------- */

void machine_control_begin(struct hv_machine *m)
{
	hv_mutex_lock(&m->lock);
	while (m->busy)
		hv_cond_wait(&m->changed, &m->lock);
	m->busy = true;
	hv_mutex_unlock(&m->lock);
}

void machine_control_end(struct hv_machine *m)
{
	hv_mutex_lock(&m->lock);
	m->busy = false;
	hv_cond_broadcast(&m->changed);
	hv_mutex_unlock(&m->lock);
}

enum machine_run machine_run_state(struct hv_machine *m)
{
	enum machine_run run;

	hv_mutex_lock(&m->lock);
	run = m->run;
	hv_mutex_unlock(&m->lock);
	return run;
}

enum machine_run machine_stop(struct hv_machine *m, enum machine_run run)
{
	stop_and_wait(m, run);
	return machine_run_state(m);
}

int machine_go(struct hv_machine *m)
{
	int err = 0;

	hv_mutex_lock(&m->lock);
	if (m->run == MACHINE_ENDED)
		err = -EIO;
	else
		m->run = MACHINE_RUNNING;
	hv_cond_broadcast(&m->changed);
	hv_mutex_unlock(&m->lock);
	return err;
}

void machine_spoil(struct hv_machine *m)
{
	hv_mutex_lock(&m->lock);
	if (m->run == MACHINE_PAUSED)
		m->run = MACHINE_ENDED;
	hv_mutex_unlock(&m->lock);
}

int machine_hold(struct hv_machine *m, enum machine_hold kind)
{
	int err;

	hv_mutex_lock(&m->lock);
	err = m->held ? -EBUSY : 0;
	if (!err) {
		m->pause_asked = false;
		m->held = kind;
	}
	hv_mutex_unlock(&m->lock);
	return err;
}

bool machine_unhold(struct hv_machine *m)
{
	bool asked;

	hv_mutex_lock(&m->lock);
	asked = m->pause_asked;
	m->held = HOLD_NONE;
	hv_cond_broadcast(&m->changed);
	hv_mutex_unlock(&m->lock);
	return asked;
}

/*
 * A control call that makes the guest run: after a snapshot's pause, which is short,
 * and not while a hand-over decides who runs it (-EBUSY, and it is no control call).
 */
static int control_begin_free(struct hv_machine *m)
{
	int err;

	hv_mutex_lock(&m->lock);
	while (m->busy || m->held == HOLD_BRIEF)
		hv_cond_wait(&m->changed, &m->lock);
	err = m->held ? -EBUSY : 0;
	if (!err)
		m->busy = true;
	hv_mutex_unlock(&m->lock);
	return err;
}

/* A string instruction of the largest count takes fewer exits than this. */
#define FINISH_IO_MAX 100000

int machine_finish_io(struct machine_vcpu *mv)
{
	struct hv_run *run = hv_vcpu_run_page(mv->vcpu);
	unsigned int i;
	int r = 0;

	run->immediate_exit = 1;
	for (i = 0; i < FINISH_IO_MAX && !r; i++) {
		r = hv_vcpu_run(mv->vcpu);
		if (!r)
			handle_user_exit(mv);
	}
	run->immediate_exit = 0;
	return r == -EINTR ? 0 : -EIO;
}

int hv_machine_start(struct hv_machine *m)
{
	int err = control_begin_free(m);

	if (err)
		return err;
	err = machine_go(m);
	machine_control_end(m);
	return err;
}

int hv_machine_pause(struct hv_machine *m)
{
	machine_control_begin(m);
	hv_mutex_lock(&m->lock);
	m->pause_asked = m->held != HOLD_NONE;
	hv_mutex_unlock(&m->lock);
	stop_and_wait(m, MACHINE_PAUSED);
	/* What the guest has written does not come after the word that it stands. */
	uart16550_flush(m->uart);
	machine_control_end(m);
	return 0;
}

int hv_machine_reset(struct hv_machine *m)
{
	char error[BOOT_ERROR_SIZE];
	enum machine_run before;
	int err = control_begin_free(m);

	if (err)
		return err;
	before = machine_run_state(m);
	stop_and_wait(m, MACHINE_PAUSED);
	err = machine_power_on(m, error);
	hv_mutex_lock(&m->lock);
	/* A machine that could not be set up again is not fit to run. */
	if (err)
		m->run = MACHINE_ENDED;
	else
		m->run = before == MACHINE_PAUSED ? MACHINE_PAUSED : MACHINE_RUNNING;
	hv_cond_broadcast(&m->changed);
	hv_mutex_unlock(&m->lock);
	machine_control_end(m);
	return err;
}

int hv_machine_power_button(struct hv_machine *m)
{
	acpi_pm_power_button(m->pm);
	return 0;
}

int hv_machine_nmi(struct hv_machine *m)
{
	irq_nmi_button(m->vm);
	return 0;
}

int hv_machine_console_input(struct hv_machine *m, const void *data, size_t len)
{
	return (int)uart16550_input(m->uart, data, len < INT32_MAX ? len : INT32_MAX);
}

struct hv_vm *hv_machine_vm(struct hv_machine *m)
{
	return m->vm;
}

struct hv_vcpu *hv_machine_vcpu(struct hv_machine *m, unsigned int i)
{
	return i < m->nr_vcpus ? m->vcpus[i].vcpu : NULL;
}

uint64_t hv_machine_first_instruction_ns(struct hv_machine *m)
{
	return atomic_load(&m->first_insn_ns);
}

/* ---- creation ---------------------------------------------------------------------------------- */

static int config_error(struct hv_machine_config *config, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int config_error(struct hv_machine_config *config, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(config->error, sizeof(config->error), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int check_config(struct hv_machine_config *config)
{
	config->error[0] = '\0';
	if (!config->name || !config->name[0] || strlen(config->name) > 63)
		return config_error(config, "name: 1 to 63 bytes");
	if (config->vcpus < 1 || config->vcpus > HV_MAX_VCPUS)
		return config_error(config, "vcpus: 1 to %d, not %u", HV_MAX_VCPUS, config->vcpus);
	if (config->memory < MIB || config->memory % MIB)
		return config_error(config, "memory: a multiple of 1 MiB, not %llu",
				    (unsigned long long)config->memory);
	/* 40 bits of physical addresses, less the holes. */
	if (config->memory > (1ULL << 39))
		return config_error(config, "memory: at most 512 GiB");
	if (!config->callbacks)
		return config_error(config, "callbacks: missing");
	if (config->test_devices & ~(HV_TEST_DEBUG_EXIT | HV_TEST_PC_TESTDEV))
		return config_error(config, "test_devices: unknown bits");
	return 0;
}

static int dup_fd(int fd)
{
	int r = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	return fd >= 0 && r < 0 ? -errno : r;
}

static int copy_config(struct hv_machine *m, const struct hv_machine_config *config)
{
	snprintf(m->name, sizeof(m->name), "%s", config->name);
	if (config->uuid)
		memcpy(m->uuid, config->uuid, sizeof(m->uuid));
	m->callbacks = *config->callbacks;
	m->ctx = config->ctx;
	m->test_devices = config->test_devices;
	m->incoming = config->incoming;
	m->boot_kind = config->boot.kind;
	m->kernel_fd = dup_fd(config->boot.kernel_fd);
	if (m->kernel_fd < -1)
		return m->kernel_fd;
	m->initrd_fd = dup_fd(config->boot.initrd_fd);
	if (m->initrd_fd < -1)
		return m->initrd_fd;
	if (config->boot.cmdline) {
		m->cmdline = strdup(config->boot.cmdline);
		if (!m->cmdline)
			return -ENOMEM;
	}
	return 0;
}

static int create_vcpus(struct hv_machine *m, unsigned int count)
{
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		struct machine_vcpu *mv = &m->vcpus[i];

		mv->m = m;
		mv->index = i;
		err = hv_vcpu_create(m->vm, i, &mv->vcpu);
		if (err)
			return err;
		m->nr_vcpus++;
	}
	return 0;
}

static int create_threads(struct hv_machine *m)
{
	unsigned int i;
	int err;

	for (i = 0; i < m->nr_vcpus; i++) {
		err = pthread_create(&m->vcpus[i].thread, NULL, vcpu_main, &m->vcpus[i]);
		if (err)
			return -err;
		m->vcpus[i].has_thread = true;
	}
	return 0;
}

static int build(struct hv_machine *m, struct hv_machine_config *config)
{
	struct hv_vm_config vm = {
		.name = m->name,
		.processor = config->processor,
		.vendor = config->vendor,
		.paging = config->paging,
		.no_apicv = config->no_apicv,
		.cpu_model = config->cpu_model,
		.irqchip = true,
	};
	int err;

	err = hv_vm_create(&vm, &m->vm);
	if (err == -EINVAL)
		config_error(config, "processor, vendor, paging or cpu_model: unknown name");
	if (err)
		return err;
	m->board.vm = m->vm;
	m->board.ops = &machine_board_ops;
	m->board.ctx = m;
	m->board.vcpus = config->vcpus;
	err = machine_ram_create(m, config);
	if (!err)
		err = create_vcpus(m, config->vcpus);
	if (!err)
		err = machine_devices_create(m);
	if (!err)
		err = machine_throttle_init(m);
	if (!err)
		err = machine_power_on(m, config->error);
	return err ? err : create_threads(m);
}

int hv_machine_create(struct hv_machine_config *config, struct hv_machine **out)
{
	struct hv_machine *m;
	int err = check_config(config);

	if (err)
		return err;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->kernel_fd = m->initrd_fd = -1;
	hv_mutex_init(&m->lock, HV_LC_DEVICE);
	hv_cond_init(&m->changed);
	err = copy_config(m, config);
	if (!err)
		err = build(m, config);
	if (err) {
		hv_machine_destroy(m);
		return err;
	}
	*out = m;
	return 0;
}

void hv_machine_destroy(struct hv_machine *m)
{
	unsigned int i;

	if (!m)
		return;
	stop_and_wait(m, MACHINE_QUIT);
	for (i = 0; i < m->nr_vcpus; i++) {
		if (m->vcpus[i].has_thread)
			pthread_join(m->vcpus[i].thread, NULL);
	}
	machine_throttle_destroy(m);
	board_destroy(&m->board);
	if (m->vm)
		hv_vm_release(m->vm);
	if (m->kernel_fd >= 0)
		close(m->kernel_fd);
	if (m->initrd_fd >= 0)
		close(m->initrd_fd);
	free(m->cmdline);
	hv_cond_destroy(&m->changed);
	hv_mutex_destroy(&m->lock);
	free(m);
}
