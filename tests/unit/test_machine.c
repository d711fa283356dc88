/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine as the engine's users meet it, with guests of a few bytes: what
 * ends a run, pause, reset, console, interrupts, configuration errors. Each
 * guest runs on VMX and on SVM.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/hv.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int count[8]; /* by event */
	char detail[256];
	char out[8192];
	size_t out_len;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static const char *vendor;

static void on_output(void *ctx, const void *data, size_t len)
{
	pthread_mutex_lock(&seen.lock);
	if (len > sizeof(seen.out) - 1 - seen.out_len)
		len = sizeof(seen.out) - 1 - seen.out_len;
	memcpy(seen.out + seen.out_len, data, len);
	seen.out_len += len;
	seen.out[seen.out_len] = '\0';
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static void on_event(void *ctx, enum hv_machine_event event, const char *detail)
{
	pthread_mutex_lock(&seen.lock);
	seen.count[event]++;
	snprintf(seen.detail, sizeof(seen.detail), "%s", detail);
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
}

static const struct hv_machine_callbacks callbacks = {
	.console_output = on_output,
	.event = on_event,
};

/* Half a minute is a bound for a host that is busy, not an expectation. */
static bool wait_until(bool (*what)(const void *), const void *arg)
{
	struct timespec until;
	int err = 0;
	bool ok;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 30;
	pthread_mutex_lock(&seen.lock);
	while (!(ok = what(arg)) && !err)
		err = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);
	pthread_mutex_unlock(&seen.lock);
	return ok;
}

static bool has_event(const void *arg)
{
	return seen.count[*(const enum hv_machine_event *)arg];
}

static bool has_output(const void *arg)
{
	return strstr(seen.out, arg);
}

static bool wait_event(enum hv_machine_event event)
{
	return wait_until(has_event, &event);
}

static bool wait_output(const char *text)
{
	return wait_until(has_output, text);
}

static void forget(void)
{
	pthread_mutex_lock(&seen.lock);
	memset(seen.count, 0, sizeof(seen.count));
	seen.out_len = 0;
	seen.out[0] = '\0';
	seen.detail[0] = '\0';
	pthread_mutex_unlock(&seen.lock);
}

static int file_of(const void *data, size_t len)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, 0), (ssize_t)len);
	return fd;
}

static struct hv_machine *machine(const void *code, size_t len, unsigned int vcpus)
{
	struct hv_machine_config config = {
		.name = "test",
		.vcpus = vcpus,
		.memory = 16ULL << 20,
		.vendor = vendor,
		.memory_backing = HV_MEM_ANON,
		.memory_fd = -1,
		.boot = { .kind = HV_BOOT_FLAT, .initrd_fd = -1 },
		.test_devices = HV_TEST_DEBUG_EXIT,
		.callbacks = &callbacks,
	};
	struct hv_machine *m = NULL;

	config.boot.kernel_fd = file_of(code, len);
	assert_int_equal(hv_machine_create(&config, &m), 0);
	/* The kernel is the machine's own from now on. */
	close(config.boot.kernel_fd);
	forget();
	return m;
}

/* Guests in real mode at 0x7c00. */
#define OUT_CHAR(c) 0xba, 0xf8, 0x03, 0xb0, (c), 0xee /* mov $0x3f8,%dx; mov $c,%al; out %al,%dx */
#define EXIT(n)	    0xb0, (n), 0xe6, 0xf4	      /* mov $n,%al; out %al,$0xf4 */
#define HANG	    0xeb, 0xfe			      /* jmp . */
#define HALT	    0xfa, 0xf4, 0xeb, 0xfd	      /* cli; hlt; jmp hlt */

static void test_debug_exit(void **state)
{
	static const uint8_t code[] = { OUT_CHAR('h'), OUT_CHAR('i'), OUT_CHAR('\n'), EXIT(42), HANG };
	struct hv_machine *m = machine(code, sizeof(code), 1);

	assert_int_equal(hv_machine_first_instruction_ns(m), 0);
	assert_int_equal(hv_machine_start(m), 0);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_string_equal(seen.detail, "42");
	assert_string_equal(seen.out, "hi\n"); /* output comes before the event */
	assert_true(hv_machine_first_instruction_ns(m) != 0);
	/* It has ended: only a reset starts it again, and it runs the same. */
	assert_int_equal(hv_machine_start(m), -EIO);
	forget();
	assert_int_equal(hv_machine_reset(m), 0);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_string_equal(seen.out, "hi\n");
	hv_machine_destroy(m);
}

static void test_poweroff(void **state)
{
	static const uint8_t code[] = {
		OUT_CHAR('x'), 0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef, HANG, /* PM1_CNT: S5 */
	};
	struct hv_machine *m = machine(code, sizeof(code), 2);

	hv_machine_start(m);
	assert_true(wait_event(HV_MACHINE_POWEROFF));
	assert_string_equal(seen.out, "x"); /* without a newline, all the same */
	assert_int_equal(seen.count[HV_MACHINE_POWEROFF], 1);
	hv_machine_destroy(m);
}

static void test_resets(void **state)
{
	static const uint8_t kbc[] = { 0xb0, 0xfe, 0xe6, 0x64, HANG };
	static const uint8_t cf9[] = { 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, HANG };
	/* An empty IDT and an invalid opcode. */
	static const uint8_t triple[] = { 0x0f, 0x01, 0x1e, 0x0a, 0x7c, 0x0f, 0x0b, HANG, 0,
					  0, 0, 0, 0, 0, 0, 0 };
	static const struct { const uint8_t *code; size_t len; const char *how; } guests[] = {
		{ kbc, sizeof(kbc), "keyboard controller" },
		{ cf9, sizeof(cf9), "reset control register" },
		{ triple, sizeof(triple), "triple fault" },
	};
	unsigned int i;

	for (i = 0; i < 3; i++) {
		struct hv_machine *m = machine(guests[i].code, guests[i].len, 1);

		hv_machine_start(m);
		assert_true(wait_event(HV_MACHINE_RESET));
		assert_string_equal(seen.detail, guests[i].how);
		hv_machine_destroy(m);
	}
}

static void test_pvpanic_goes_on(void **state)
{
	static const uint8_t code[] = {
		0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, EXIT(7), HANG,
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_int_equal(seen.count[HV_MACHINE_PANIC], 1);
	hv_machine_destroy(m);
}

static void test_pause(void **state)
{
	/* loop: incl (0x500); jmp loop */
	static const uint8_t code[] = { 0x66, 0xff, 0x06, 0x00, 0x05, 0xeb, 0xf9 };
	struct hv_machine *m = machine(code, sizeof(code), 2);
	uint32_t a = 0, b = 0;
	unsigned int i;

	hv_machine_start(m);
	for (i = 0; i < 30000 && !a; i++) {
		usleep(1000);
		assert_int_equal(hv_memory_read(hv_machine_vm(m), 0x500, &a, 4), 0);
	}
	assert_true(a != 0);
	assert_int_equal(hv_machine_pause(m), 0);
	assert_int_equal(hv_machine_pause(m), 0);
	hv_memory_read(hv_machine_vm(m), 0x500, &a, 4);
	usleep(20000);
	hv_memory_read(hv_machine_vm(m), 0x500, &b, 4);
	assert_int_equal(a, b);
	hv_machine_start(m);
	for (i = 0; i < 30000 && a == b; i++) {
		usleep(1000);
		hv_memory_read(hv_machine_vm(m), 0x500, &b, 4);
	}
	assert_true(a != b);
	/* A paused machine stays paused over a reset, with clean memory. */
	hv_machine_pause(m);
	assert_int_equal(hv_machine_reset(m), 0);
	hv_memory_read(hv_machine_vm(m), 0x500, &b, 4);
	assert_int_equal(b, 0);
	hv_machine_start(m);
	for (i = 0; i < 30000 && !b; i++) {
		usleep(1000);
		hv_memory_read(hv_machine_vm(m), 0x500, &b, 4);
	}
	assert_true(b != 0);
	hv_machine_destroy(m); /* while it runs */
}

static void test_console_input(void **state)
{
	/* loop: wait for LSR.DR; read; add 1; write; jmp loop */
	static const uint8_t code[] = {
		0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, /* 0: mov dx,3fd; in; test; jz 0 */
		0xba, 0xf8, 0x03, 0xec, 0xfe, 0xc0, 0xee, 0xeb, 0xef,
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_int_equal(hv_machine_console_input(m, "HAL", 3), 3);
	assert_true(wait_output("IBM"));
	hv_machine_destroy(m);
}

static void test_halt_and_nmi(void **state)
{
	/* NMI vector 2 in the IVT at 8: to 0000:7c20, which exits with 9. */
	static const uint8_t code[0x30] = {
		0xc7, 0x06, 0x08, 0x00, 0x20, 0x7c,	      /* movw $0x7c20, (8) */
		0xc7, 0x06, 0x0a, 0x00, 0x00, 0x00,	      /* movw $0, (10) */
		0xbc, 0x00, 0x70,			      /* mov $0x7000, %sp */
		OUT_CHAR('\n'), HALT,
		[0x20] = EXIT(9), HANG,
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_true(wait_output("\n"));
	usleep(20000);
	assert_int_equal(seen.count[HV_MACHINE_DEBUG_EXIT], 0);
	assert_int_equal(hv_machine_nmi(m), 0);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_string_equal(seen.detail, "9");
	hv_machine_destroy(m);
}

static void test_pit_interrupt(void **state)
{
	/* IRQ 0 through the PIC (vector 8) and virtual wire wakes HLT three times. */
	static const uint8_t code[0x60] = {
		0xc7, 0x06, 0x20, 0x00, 0x50, 0x7c, 0xc7, 0x06, 0x22, 0x00, 0x00, 0x00,
		0xbc, 0x00, 0x70, 0x31, 0xdb,
		0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21,
		0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xfe, 0xe6, 0x21,
		0xb0, 0x34, 0xe6, 0x43, 0xb0, 0xa9, 0xe6, 0x40, 0xb0, 0x04, 0xe6, 0x40, /* 1 kHz */
		0xfb, 0xf4, 0x83, 0xfb, 0x03, 0x72, 0xfa, EXIT(3), HANG,
		[0x50] = 0x43, 0xb0, 0x20, 0xe6, 0x20, 0xcf, /* inc bx; EOI; iret */
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_string_equal(seen.detail, "3");
	hv_machine_destroy(m);
}

static void test_unclaimed_addresses(void **state)
{
	/* Ports that nobody has read as ones; MMIO in the VGA hole too. */
	static const uint8_t code[] = {
		0xba, 0x34, 0x12, 0xec, 0x3c, 0xff, 0x75, 0x15,	/* in 0x1234; cmp; jne bad */
		0xee,						/* out: no effect */
		0xb8, 0x00, 0xb8, 0x8e, 0xd8, 0xa0, 0x00, 0x00, 0x3c, 0xff, 0x75, 0x07, /* ds:0 */
		0xa2, 0x00, 0x00, EXIT(1), HANG,
		EXIT(2), HANG,
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_true(wait_event(HV_MACHINE_DEBUG_EXIT));
	assert_string_equal(seen.detail, "1");
	hv_machine_destroy(m);
}

static void test_power_button(void **state)
{
	/* Poll PM1_STS for the button, clear it, power off. */
	static const uint8_t code[] = {
		OUT_CHAR('\n'), 0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa,
		0xef, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x34, 0xef, HANG,
	};
	struct hv_machine *m = machine(code, sizeof(code), 1);

	hv_machine_start(m);
	assert_true(wait_output("\n"));
	assert_int_equal(hv_machine_power_button(m), 0);
	assert_true(wait_event(HV_MACHINE_POWEROFF));
	hv_machine_destroy(m);
}

static void test_config_errors(void **state)
{
	const struct hv_machine_config good = {
		.name = "test", .vcpus = 1, .memory = 16ULL << 20, .memory_backing = HV_MEM_ANON,
		.memory_fd = -1, .boot = { .kernel_fd = -1, .initrd_fd = -1 },
		.callbacks = &callbacks,
	};
	static const uint8_t junk[4096] = { 1, 2, 3 };
	struct hv_machine *m = NULL;
	struct hv_machine_config c;

#define REFUSED(stmt, err, word)                                                                   \
	do {                                                                                       \
		c = good;                                                                          \
		stmt;                                                                              \
		assert_int_equal(hv_machine_create(&c, &m), err);                                  \
		assert_null(m);                                                                    \
		assert_non_null(strstr(c.error, word));                                            \
	} while (0)
	REFUSED(c.name = "", -EINVAL, "name");
	REFUSED(c.vcpus = 0, -EINVAL, "vcpus");
	REFUSED(c.vcpus = 9, -EINVAL, "vcpus");
	REFUSED(c.memory = 0, -EINVAL, "memory");
	REFUSED(c.memory = (16ULL << 20) + 4096, -EINVAL, "memory");
	REFUSED(c.memory = 1ULL << 40, -EINVAL, "memory");
	REFUSED(c.callbacks = NULL, -EINVAL, "callbacks");
	REFUSED(c.test_devices = 0x80, -EINVAL, "test_devices");
	REFUSED(c.vendor = "via", -EINVAL, "vendor");
	REFUSED(c.boot.kernel_fd = file_of(junk, sizeof(junk)), -ENOEXEC, "bzImage");
	/* Without a kernel there is a machine all the same. */
	c = good;
	assert_int_equal(hv_machine_create(&c, &m), 0);
	assert_null(hv_machine_vcpu(m, 1));
	assert_non_null(hv_machine_vcpu(m, 0));
	hv_machine_destroy(m);
	hv_machine_destroy(NULL);
}

static int setup_vmx(void **state)
{
	vendor = "vmx";
	return 0;
}

static int setup_svm(void **state)
{
	vendor = "svm";
	return 0;
}

static int group_setup(void **state)
{
	return hv_init(&(struct hv_init){ .version = HV_API_VERSION }) || hv_thread_enter();
}

static int group_teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

#define BOTH(f)                                                                                    \
	{ #f "_vmx", f, setup_vmx, NULL, NULL }, { #f "_svm", f, setup_svm, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_debug_exit), BOTH(test_poweroff), BOTH(test_resets),
		BOTH(test_pvpanic_goes_on), BOTH(test_pause), BOTH(test_console_input),
		BOTH(test_halt_and_nmi), BOTH(test_pit_interrupt), BOTH(test_unclaimed_addresses),
		BOTH(test_power_button), cmocka_unit_test(test_config_errors),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
