/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first guest (tests/guests/first_guest.S) through the real layers: processor,
 * vendor, MMU, buses. Its UART and its debug exit are emulated here, as any user of
 * hv_vcpu_run() would. Once for each vendor, paging and with and without chips.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hv/hv.h"

#define LOAD_AT	  0x100000u
#define RAM_SIZE  (64u << 20)
#define MAX_EXITS 100000

struct guest_case {
	const char *vendor, *paging, *model;
	bool irqchip;
};

static void log_line(void *ctx, int level, const char *message)
{
	print_message("# %d %s\n", level, message);
}

static void load_image(struct hv_vm *vm)
{
	const char *dir = getenv("HVD_BUILDDIR");
	char path[512];
	static char buf[1 << 20];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/guests/first_guest.bin", dir ? dir : ".");
	f = fopen(path, "rb");
	if (!f)
		print_message("# no %s\n", path);
	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	assert_true(n > 512 && n < sizeof(buf));
	assert_int_equal(hv_memory_write(vm, LOAD_AT, buf, n), 0);
}

static void protected_mode(struct hv_vcpu *vcpu)
{
	const struct hv_seg code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				     .db = 1, .s = 1, .g = 1 };
	struct hv_seg data = code;
	struct hv_sregs s;
	struct hv_regs r = { .rip = LOAD_AT, .rflags = 2, .rax = 0x2badb002 };

	data.type = 3;
	data.selector = 16;
	assert_int_equal(hv_vcpu_get_sregs(vcpu, &s), 0);
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = 0x11;
	assert_int_equal(hv_vcpu_set_sregs(vcpu, &s), 0);
	assert_int_equal(hv_vcpu_set_regs(vcpu, &r), 0);
}

/* The exit code that the guest wrote to port 0xf4, or -1. */
static int serve(struct hv_vcpu *vcpu, char *console, size_t size)
{
	struct hv_run *run = hv_vcpu_run_page(vcpu);
	size_t len = 0;
	int i, code;

	for (i = 0; i < MAX_EXITS; i++) {
		int r = hv_vcpu_run(vcpu);

		if (r) {
			print_message("# hv_vcpu_run: %d\n", r);
			return -1;
		}
		if (run->exit_reason != HV_EXIT_IO) {
			struct hv_regs regs = { 0 };

			hv_vcpu_get_regs(vcpu, &regs);
			print_message("# exit %u at rip 0x%llx: 0x%llx %s\n", run->exit_reason,
				      (unsigned long long)regs.rip,
				      (unsigned long long)run->hw.hardware_exit_reason,
				      run->exit_reason == HV_EXIT_INTERNAL_ERROR ?
					      run->internal.detail : "");
			return -1;
		}
		if (run->io.port == 0x3f8 && run->io.is_write && len + 1 < size) {
			console[len++] = (char)run->io.data[0];
			console[len] = 0;
		} else if (run->io.port == 0xf4) {
			memcpy(&code, run->io.data, sizeof(code));
			return code;
		}
	}
	return -1;
}

static void report(struct hv_vcpu *vcpu)
{
	struct hv_exit_counter c[256];
	struct hv_vcpu_figures f;
	int i, n = hv_vcpu_exits(vcpu, c, 256);

	assert_true(n > 10 && n < 256);
	for (i = 0; i < n; i++)
		if (c[i].count)
			print_message("# exits %s %llu\n", c[i].name, (unsigned long long)c[i].count);
	assert_int_equal(hv_vcpu_stats(vcpu, &f), 0);
	print_message("# entries %llu instructions %llu run %llu us\n",
		      (unsigned long long)f.entries, (unsigned long long)f.instructions,
		      (unsigned long long)f.run_ns / 1000);
	assert_true(f.entries > 100 && f.instructions > 1000000 && f.pio > 50);
}

static void run_guest(void **state)
{
	const struct guest_case *c = *state;
	const struct hv_vm_config config = { .name = "first", .vendor = c->vendor,
					     .paging = c->paging, .cpu_model = c->model,
					     .irqchip = c->irqchip };
	const struct hv_ram_config ram = { .backing = HV_MEM_ANON, .size = RAM_SIZE, .fd = -1 };
	struct hv_memory_region region = { .memory_size = RAM_SIZE };
	char console[4096] = "";
	struct hv_vcpu *vcpu;
	struct hv_vm *vm;
	void *hva;
	int code;

	assert_int_equal(hv_vm_create(&config, &vm), 0);
	assert_int_equal(hv_vm_ram_create(vm, &ram, &hva), 0);
	region.userspace_addr = (uintptr_t)hva;
	assert_int_equal(hv_vm_set_memory_region(vm, &region), 0);
	load_image(vm);
	assert_int_equal(hv_vcpu_create(vm, 0, &vcpu), 0);
	protected_mode(vcpu);
	code = serve(vcpu, console, sizeof(console));
	print_message("# %s, %s, %s: code %d\n%s", c->vendor, c->paging,
		      c->irqchip ? "chips" : "no chips", code, console);
	assert_int_equal(code, 0);
	assert_non_null(strstr(console, "hvd first guest\n1 protected mode\n2 long mode\n3 CPUID "));
	assert_non_null(strstr(console, "4 memory ok\n5 exceptions ok\n6 TSC, single step ok\n"));
	assert_true(!!strstr(console, "7 timer tick ok\n") == c->irqchip);
	assert_non_null(strstr(console, "done\n"));
	report(vcpu);
	hv_vm_release(vm);
}

static int setup(void **state)
{
	int r = hv_init(&(struct hv_init){ .version = HV_API_VERSION, .log = log_line });

	return r ? r : hv_thread_enter();
}

static int teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

#define CASE(v, p, m, chips) &(struct guest_case){ v, p, m, chips }
#define TEST(name, v, p, m, chips)                                                                 \
	{ name, run_guest, NULL, NULL, CASE(v, p, m, chips) }

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST("vmx tdp", "vmx", "tdp", "baseline-v2", false),
		TEST("svm tdp", "svm", "tdp", "baseline-v2", false),
		TEST("vmx tdp chips", "vmx", "tdp", "host", true),
		TEST("svm tdp chips", "svm", "tdp", "host", true),
		TEST("vmx shadow chips", "vmx", "shadow", "baseline-v1", true),
		TEST("svm shadow chips", "svm", "shadow", "baseline-v3", true),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
