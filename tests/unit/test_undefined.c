/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * #UD as guests see it: hypercalls by either vendor's instruction on both vendors, and
 * every other undefined instruction in the guest's own handler.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/x86/defs.h"
#include "tests/lib/insn_guest.h"

#define VMCALL	0x0f, 0x01, 0xc1
#define VMMCALL 0x0f, 0x01, 0xd9

struct engine {
	const char *vendor, *paging;
};

static const struct {
	const char *name;
	uint8_t code[8];
	unsigned int len;
} calls[] = {
	{ "vmcall", { VMCALL }, 3 },
	{ "vmmcall", { VMMCALL }, 3 },
	{ "cs vmcall", { 0x2e, VMCALL }, 4 },
	{ "cs vmmcall", { 0x2e, VMMCALL }, 4 },
	{ "addr vmcall", { 0x67, VMCALL }, 4 },
	{ "addr vmmcall", { 0x67, VMMCALL }, 4 },
};

static const struct {
	const char *name;
	enum insn_guest_mode mode;
	int cpl;
} modes[] = {
	{ "real", GUEST_REAL, 0 },	   { "v86", GUEST_V86, 3 },
	{ "16-bit", GUEST_PROT16, 0 },	   { "32-bit", GUEST_PROT32, 0 },
	{ "32-bit user", GUEST_PROT32, 3 }, { "compat", GUEST_COMPAT32, 0 },
	{ "compat user", GUEST_COMPAT32, 3 }, { "64-bit", GUEST_LONG, 0 },
	{ "64-bit user", GUEST_LONG, 3 },
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Calls number `nr` at `rip` and expects the answer, sign-extended to the mode's width. */
static void call(struct insn_guest *g, unsigned int c, unsigned int m, uint64_t rip, uint64_t nr,
		 int64_t answer)
{
	struct insn_guest_run run = { .mode = modes[m].mode, .cpl = modes[m].cpl, .rip = rip,
				      .code = calls[c].code, .len = calls[c].len };
	bool wide = modes[m].mode == GUEST_LONG;

	run.regs.rax = nr;
	insn_guest_run(g, &run);
	if (run.vector != -1)
		print_message("# %s, %s: vector %d\n", calls[c].name, modes[m].name, run.vector);
	assert_int_equal(run.vector, -1);
	assert_int_equal(run.regs.rax, wide ? (uint64_t)answer : (uint32_t)answer);
	/* Not patched: the guest may go on with the other vendor. */
	assert_memory_equal(g->ram + (rip ? rip : INSN_GUEST_CODE), calls[c].code, calls[c].len);
}

static void hypercalls(void **state)
{
	const struct engine *e = *state;
	struct insn_guest g;
	unsigned int c, m;

	insn_guest_make(&g, e->vendor, e->paging, NULL);
	for (c = 0; c < COUNT(calls); c++) {
		for (m = 0; m < COUNT(modes); m++) {
			if (modes[m].cpl) {
				call(&g, c, m, 0, 1, -1 /* EPERM */);
				continue;
			}
			call(&g, c, m, 0, 1 /* poll for an interrupt: nothing to do */, 0);
			call(&g, c, m, 0, 99, -1000 /* ENOSYS */);
			/* Bits above the mode's width are not of the number. */
			call(&g, c, m, 0, 1 | 1ull << 40, modes[m].mode == GUEST_LONG ? -1000 : 0);
			/* Across a page. */
			call(&g, c, m, INSN_GUEST_CODE + 0xffe, 1, 0);
			call(&g, c, m, INSN_GUEST_CODE + 0xfff, 1, 0);
		}
	}
	insn_guest_finish(&g);
}

/* The single-step trap comes after the call, as after any instruction. */
static void stepped(void **state)
{
	const struct engine *e = *state;
	struct insn_guest g;
	unsigned int c;

	insn_guest_make(&g, e->vendor, e->paging, NULL);
	for (c = 0; c < 2; c++) {
		struct insn_guest_run run = { .mode = GUEST_LONG, .code = calls[c].code,
					      .len = calls[c].len, .rflags = X86_FL_TF };

		run.regs.rax = 1;
		insn_guest_run(&g, &run);
		assert_int_equal(run.vector, X86_DB);
		assert_int_equal(run.fault_rip, INSN_GUEST_CODE + 3);
		assert_int_equal(run.regs.rax, 0);
	}
	insn_guest_finish(&g);
}

/* Whatever else is undefined is the guest's. */
static void reflected(void **state)
{
	static const struct { uint8_t code[8]; unsigned int len; enum { ANY, ONLY64, ONLY0 } only; } rows[] = {
		{ { 0x0f, 0x0b }, 2, ANY },	      /* UD2 */
		{ { 0xf0, VMCALL }, 4, ANY },	      /* LOCK VMCALL */
		{ { 0xf0, VMMCALL }, 4, ANY },      /* LOCK VMMCALL */
		{ { 0x0f, 0x01, 0xc2 }, 3, ANY },   /* VMLAUNCH: the guest has no VMX */
		{ { 0x0f, 0x01, 0xd8 }, 3, ONLY0 }, /* VMRUN: nor SVM; #GP outside CPL 0 on SVM */
		{ { 0x06 }, 1, ONLY64 },		      /* PUSH ES */
		{ { 0x0f, 0x01, 0xc8 }, 3, ANY },   /* MONITOR, not offered */
	};
	const struct engine *e = *state;
	struct insn_guest g;
	unsigned int i, m;

	insn_guest_make(&g, e->vendor, e->paging, NULL);
	for (i = 0; i < COUNT(rows); i++) {
		for (m = 0; m < COUNT(modes); m++) {
			struct insn_guest_run run = { .mode = modes[m].mode, .cpl = modes[m].cpl,
						      .code = rows[i].code, .len = rows[i].len };

			if ((rows[i].only == ONLY64 && modes[m].mode != GUEST_LONG) ||
			    (rows[i].only == ONLY0 && modes[m].cpl))
				continue;
			run.regs.rax = 1;
			insn_guest_run(&g, &run);
			if (run.vector != X86_UD)
				print_message("# row %u, %s: vector %d\n", i, modes[m].name, run.vector);
			assert_int_equal(run.vector, X86_UD);
			assert_int_equal(run.regs.rax, 1);
			if (modes[m].mode != GUEST_REAL && modes[m].mode != GUEST_V86)
				assert_int_equal(run.fault_rip, INSN_GUEST_CODE);
			else
				assert_int_equal(run.fault_rip, 0);
		}
	}
	insn_guest_finish(&g);
}

static int setup(void **state)
{
	int r = hv_init(&(struct hv_init){ .version = HV_API_VERSION });

	return r ? r : hv_thread_enter();
}

static int teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

#define ON(test, v, p) { #test " " v " " p, test, NULL, NULL, &(struct engine){ v, p } }
#define EVERYWHERE(test)                                                                           \
	ON(test, "vmx", "tdp"), ON(test, "vmx", "shadow"), ON(test, "svm", "tdp"),                 \
		ON(test, "svm", "shadow")

int main(void)
{
	const struct CMUnitTest tests[] = {
		EVERYWHERE(hypercalls),
		EVERYWHERE(stepped),
		EVERYWHERE(reflected),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
