/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Instructions at the edges where the processor, the vendor modules and hv/vcpu have to agree:
 * each row runs in a guest, on both vendors and both paging modes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/x86/defs.h"
#include "tests/lib/insn_guest.h"

#define NONE	 -1

struct row {
	const char *name;
	enum insn_guest_mode mode;
	int cpl;
	uint64_t cr0, cr4;
	uint64_t rax, rcx, rdx;
	uint8_t code[24];
	unsigned int len;
	int vector;
	uint64_t rax_after;	/* when there is no exception */
};

struct engine {
	const char *vendor, *paging;
};

static void run_rows(const struct engine *e, const char *model, const struct row *rows, size_t count)
{
	struct insn_guest g;
	size_t i;

	insn_guest_make(&g, e->vendor, e->paging, model);
	for (i = 0; i < count; i++) {
		const struct row *r = &rows[i];
		struct insn_guest_run run = { .mode = r->mode, .cpl = r->cpl, .code = r->code,
					      .len = r->len, .cr0 = r->cr0, .cr4 = r->cr4 };

		run.regs.rax = r->rax;
		run.regs.rcx = r->rcx;
		run.regs.rdx = r->rdx;
		run.regs.rbx = INSN_GUEST_CODE + 0x1000;
		insn_guest_run(&g, &run);
		if (run.vector != r->vector ||
		    (run.vector == NONE && run.regs.rax != r->rax_after))
			fail_msg("%s: vector %d (want %d), rax 0x%llx (want 0x%llx)", r->name, run.vector,
				 r->vector, (unsigned long long)run.regs.rax,
				 (unsigned long long)r->rax_after);
		if (r->vector == X86_GP)
			assert_int_equal(run.error_code, 0);
	}
	insn_guest_finish(&g);
}

#define ROWS(a) a, sizeof(a) / sizeof((a)[0])

/* ---- addresses in registers: as wide as the processor has them ------------------------------- */

#define WRMSR(msr, value) .rcx = (msr), .rax = (uint32_t)(value), .rdx = (value) >> 32,             \
			  .rax_after = (uint32_t)(value), .code = { 0x0f, 0x30 }, .len = 2
/* mov %rax, 2(%rbx); movw $0x4f, (%rbx); then the descriptor-table load */
#define LOAD_TABLE(op, value) .rax = (value), .rax_after = (value),                                \
			      .code = { 0x48, 0x89, 0x43, 0x02, 0x66, 0xc7, 0x03, 0x4f, 0x00,      \
					0x0f, 0x01, op }, .len = 12
#define WIDE	  0x00ff123456789000ULL /* canonical with 57 bits */
#define TOO_WIDE  0x0100000000000000ULL

static void wide_addresses(void **state)
{
	static const struct row rows[] = {
		{ "LSTAR", GUEST_LONG, WRMSR(0xc0000082, WIDE), .vector = NONE },
		{ "LSTAR too wide", GUEST_LONG, WRMSR(0xc0000082, TOO_WIDE), .vector = X86_GP },
		{ "FS base", GUEST_LONG, WRMSR(0xc0000100, WIDE), .vector = NONE },
		{ "FS base too wide", GUEST_LONG, WRMSR(0xc0000100, TOO_WIDE), .vector = X86_GP },
		{ "SYSENTER_EIP", GUEST_LONG, WRMSR(0x176, WIDE), .vector = NONE },
		{ "SYSENTER_EIP too wide", GUEST_LONG, WRMSR(0x176, TOO_WIDE), .vector = X86_GP },
		{ "LGDT", GUEST_LONG, LOAD_TABLE(0x13, WIDE), .vector = NONE },
		{ "LGDT too wide", GUEST_LONG, LOAD_TABLE(0x13, TOO_WIDE), .vector = X86_GP },
		{ "LIDT", GUEST_LONG, LOAD_TABLE(0x1b, WIDE), .vector = NONE },
		{ "LIDT too wide", GUEST_LONG, LOAD_TABLE(0x1b, TOO_WIDE), .vector = X86_GP },
		{ "WRFSBASE", GUEST_LONG, .cr4 = X86_CR4_FSGSBASE, .rax = WIDE, .rax_after = WIDE,
		  .code = { 0xf3, 0x48, 0x0f, 0xae, 0xd0 }, .len = 5, .vector = NONE },
		{ "WRFSBASE too wide", GUEST_LONG, .cr4 = X86_CR4_FSGSBASE, .rax = TOO_WIDE,
		  .code = { 0xf3, 0x48, 0x0f, 0xae, 0xd0 }, .len = 5, .vector = X86_GP },
		/* Memory is a different matter: four levels of tables, 48 bits. */
		{ "access", GUEST_LONG, .rax = WIDE, .code = { 0x8a, 0x00 }, .len = 2, .vector = X86_GP },
		{ "access through FS", GUEST_LONG, .cr4 = X86_CR4_FSGSBASE, .rax = WIDE,
		  .code = { 0xf3, 0x48, 0x0f, 0xae, 0xd0, 0x64, 0x8a, 0x04, 0x25, 0, 0, 0, 0 }, .len = 13,
		  .vector = X86_GP },
	};

	run_rows(*state, "host", ROWS(rows));
}

/* ---- the edge of the low half ------------------------------------------------------------------ */

/* A hypercall as the last three bytes: it is served, and the next fetch is #GP. */
static void canonical_edge(void **state)
{
	static const uint8_t jump[] = { 0xff, 0xe1 }; /* jmp *%rcx */
	static const uint8_t calls[2][3] = { { 0x0f, 0x01, 0xc1 }, { 0x0f, 0x01, 0xd9 } };
	const struct engine *e = *state;
	struct insn_guest g;
	unsigned int i;

	insn_guest_make(&g, e->vendor, e->paging, NULL);
	/* The guest's memory once more, at the end of the low half. */
	*(uint64_t *)(g.ram + INSN_GUEST_PML4 + 8 * 255) = 0xb000 | 7;
	*(uint64_t *)(g.ram + 0xb000 + 8 * 511) = 0xc000 | 7;
	*(uint64_t *)(g.ram + 0xc000 + 8 * 511) = 0x87;
	for (i = 0; i < 2; i++) {
		struct insn_guest_run run = { .mode = GUEST_LONG, .code = jump, .len = 2 };

		memcpy(g.ram + INSN_GUEST_RAM - 3, calls[i], 3);
		run.regs.rcx = 0x7ffffffffffd;
		run.regs.rax = 99;
		insn_guest_run(&g, &run);
		assert_int_equal(run.vector, X86_GP);
		assert_int_equal(run.error_code, 0);
		assert_int_equal(run.fault_rip, 0x800000000000);
		assert_int_equal(run.regs.rax, -1000);
	}
	insn_guest_finish(&g);
}

/* ---- extended control registers ---------------------------------------------------------------- */

#define XSETBV .code = { 0x0f, 0x01, 0xd1 }, .len = 3

static void xsetbv(void **state)
{
	static const struct row rows[] = {
		{ "XSETBV without OSXSAVE", GUEST_LONG, .rax = 3, XSETBV, .vector = X86_UD },
		{ "XSETBV without OSXSAVE, user", GUEST_LONG, .cpl = 3, .rax = 3, XSETBV, .vector = X86_UD },
		{ "XSETBV", GUEST_LONG, .cr4 = X86_CR4_OSXSAVE, .rax = 3, XSETBV, .vector = NONE,
		  .rax_after = 3 },
		{ "XSETBV, 32-bit", GUEST_PROT32, .cr4 = X86_CR4_OSXSAVE, .rax = 3, XSETBV, .vector = NONE,
		  .rax_after = 3 },
		{ "XSETBV, user", GUEST_LONG, .cpl = 3, .cr4 = X86_CR4_OSXSAVE, .rax = 3, XSETBV,
		  .vector = X86_GP },
		{ "XSETBV of XCR1", GUEST_LONG, .cr4 = X86_CR4_OSXSAVE, .rax = 3, .rcx = 1, XSETBV,
		  .vector = X86_GP },
		{ "XSETBV without x87", GUEST_LONG, .cr4 = X86_CR4_OSXSAVE, .rax = 2, XSETBV,
		  .vector = X86_GP },
	};

	run_rows(*state, "baseline-v3", ROWS(rows));
}

/* ---- what CPUID does not show ------------------------------------------------------------------- */

#define INVPCID .code = { 0x66, 0x0f, 0x38, 0x82, 0x03 }, .len = 5 /* (%rbx), %rax */

static void hidden(void **state)
{
	static const struct row without[] = {
		{ "INVPCID, hidden", GUEST_LONG, .rax = 2, INVPCID, .vector = X86_UD },
		{ "INVPCID, hidden, 32-bit", GUEST_PROT32, .rax = 2, INVPCID, .vector = X86_UD },
		{ "RDTSCP, hidden", GUEST_LONG, .code = { 0x0f, 0x01, 0xf9 }, .len = 3, .vector = X86_UD },
	};
	static const struct row with[] = {
		{ "INVPCID", GUEST_LONG, .rax = 2, INVPCID, .vector = NONE, .rax_after = 2 },
	};

	run_rows(*state, "baseline-v1", ROWS(without));
	run_rows(*state, "baseline-v3", ROWS(with));
}

/* mov $pcid, (%rbx); mov %rcx, 8(%rbx); invpcid (%rbx), %rax */
#define INVPCID_OF(low, high) .code = { 0x48, 0xc7, 0x03, low, high, 0, 0, 0x48, 0x89, 0x4b, 0x08, \
					0x66, 0x0f, 0x38, 0x82, 0x03 }, .len = 16

static void invpcid_operands(void **state)
{
	static const struct row rows[] = {
		{ "INVPCID, an address", GUEST_LONG, INVPCID_OF(0, 0), .vector = NONE },
		{ "INVPCID, an address out of range", GUEST_LONG, .rcx = 1ULL << 57, INVPCID_OF(0, 0),
		  .vector = X86_GP },
		{ "INVPCID, a context", GUEST_LONG, .rax = 1, .rcx = 1ULL << 57, INVPCID_OF(0, 0),
		  .vector = NONE, .rax_after = 1 },
		{ "INVPCID, a context without PCIDE", GUEST_LONG, .rax = 1, INVPCID_OF(1, 0),
		  .vector = X86_GP },
		{ "INVPCID, a context out of range", GUEST_LONG, .rax = 1, INVPCID_OF(0, 0x10),
		  .vector = X86_GP },
		{ "INVPCID, all, a context out of range", GUEST_LONG, .rax = 2, INVPCID_OF(0, 0x10),
		  .vector = X86_GP },
		{ "INVPCID, all, a context and an address", GUEST_LONG, .rax = 2, .rcx = 1ULL << 57,
		  INVPCID_OF(1, 0), .vector = NONE, .rax_after = 2 },
		{ "INVPCID, type 4", GUEST_LONG, .rax = 4, INVPCID_OF(0, 0), .vector = X86_GP },
		{ "INVPCID, type of 64 bits", GUEST_LONG, .rax = 1ULL << 63, INVPCID_OF(0, 0),
		  .vector = X86_GP },
		{ "INVPCID, 32-bit", GUEST_PROT32, .rax = 3, INVPCID, .vector = NONE, .rax_after = 3 },
		{ "INVPCID, 32-bit, type 4", GUEST_PROT32, .rax = 4, INVPCID, .vector = X86_GP },
		{ "INVPCID, operand not present", GUEST_LONG, .rax = 2,
		  .code = { 0xbb, 0, 0, 0, 0x40, 0x66, 0x0f, 0x38, 0x82, 0x03 }, .len = 10,
		  .vector = X86_PF },
		{ "INVPCID, user", GUEST_LONG, .cpl = 3, .rax = 2, INVPCID, .vector = X86_GP },
	};

	run_rows(*state, "baseline-v3", ROWS(rows));
}

/* ---- returns to an outer level -------------------------------------------------------------------- */

/* IRET to level 3 makes GS null, whose descriptor is of level 0; its base stays. */
static void nullified_segment(void **state)
{
	static const uint8_t code[] = {
		0x6a, 0x2b, 0x54, 0x68, 0x02, 0x32, 0, 0, 0x6a, 0x33, /* SS, RSP, IOPL 3, CS */
		0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50,	     /* RIP */
		0x48, 0xcf,				     /* IRETQ */
		0x65, 0x48, 0x8b, 0x04, 0x25, 0x08, 0, 0, 0, /* mov %gs:8, %rax */
		0x8c, 0xe9,				     /* mov %gs, %ecx */
	};
	const struct engine *e = *state;
	struct insn_guest_run run = { .mode = GUEST_LONG, .code = code, .len = sizeof(code) };
	static const uint8_t set_base[] = {
		0xb9, 0x01, 0x01, 0, 0xc0, 0x31, 0xd2, 0xb8, 0x00, 0x20, 0x01, 0, 0x0f, 0x30,
	};
	uint8_t both[sizeof(set_base) + sizeof(code)];
	struct insn_guest g;

	memcpy(both, set_base, sizeof(set_base));
	memcpy(both + sizeof(set_base), code, sizeof(code));
	run.code = both;
	run.len = sizeof(both);
	insn_guest_make(&g, e->vendor, e->paging, NULL);
	*(uint64_t *)(g.ram + 0x12008) = 0x1122334455667788;
	insn_guest_run(&g, &run);
	assert_int_equal(run.vector, NONE);
	assert_int_equal(run.regs.rax, 0x1122334455667788);
	assert_int_equal(run.regs.rcx & 0xffff, 0);
	insn_guest_finish(&g);
}

/* ---- what only one vendor has ------------------------------------------------------------------------- */

#define SEL_CODE64 0x18 /* of the library */

/* SYSCALL from compatibility mode goes on in 64-bit mode behind itself, or is #UD. */
static void syscall_from_32_bits(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x05, 0xb8, 0x55, 0, 0, 0 }; /* syscall; mov $0x55, %eax */
	static const char *const models[] = { "baseline-v2", "baseline-v2-amd" };
	const struct engine *e = *state;
	unsigned int i, sce;

	for (i = 0; i < 4; i++) {
		struct insn_guest_run run = { .mode = GUEST_COMPAT32, .cpl = 3, .code = code,
					      .len = sizeof(code) };
		struct insn_guest g;

		sce = i & 1;
		run.efer = sce; /* SCE */
		insn_guest_make(&g, e->vendor, e->paging, models[i / 2]);
		assert_int_equal(hv_vcpu_set_msr(g.vcpu, 0xc0000081, (uint64_t)SEL_CODE64 << 32), 0);
		assert_int_equal(hv_vcpu_set_msr(g.vcpu, 0xc0000083, INSN_GUEST_CODE + 2), 0);
		insn_guest_run(&g, &run);
		assert_int_equal(run.vector, i == 3 ? NONE : X86_UD);
		if (i == 3) {
			assert_int_equal(run.regs.rax, 0x55);
			assert_int_equal(run.regs.rcx, INSN_GUEST_CODE + 2);
		} else {
			assert_int_equal(run.fault_rip, INSN_GUEST_CODE);
		}
		insn_guest_finish(&g);
	}
}

/* ---- protection keys ------------------------------------------------------------------------------ */

static bool shown(struct insn_guest *g, unsigned int ecx_bit)
{
	static const uint8_t code[] = { 0x31, 0xc9, 0xb8, 7, 0, 0, 0, 0x0f, 0xa2 }; /* leaf 7 */
	struct insn_guest_run run = { .mode = GUEST_LONG, .code = code, .len = sizeof(code) };

	insn_guest_run(g, &run);
	assert_int_equal(run.vector, NONE);
	return run.regs.rcx >> ecx_bit & 1;
}

/*
 * XSAVE's component 9, in both formats: PKRU = 0x55aa5500 goes out, PKRU = 0, comes back;
 * an area without it gives 0.
 */
static void xsave_pkru(void **state)
{
	static const uint8_t code[] = {
		0x31, 0xc9, 0x31, 0xd2, 0xb8, 0x03, 0x02, 0, 0, 0x0f, 0x01, 0xd1, /* XCR0 = 0x203 */
		0xb8, 0x00, 0x55, 0xaa, 0x55, 0x0f, 0x01, 0xef,			/* WRPKRU */
		0xb8, 0x00, 0x02, 0, 0, 0x0f, 0xae, 0x23,			/* XSAVE [rbx] */
		0x0f, 0xc7, 0xa3, 0x00, 0x10, 0, 0,			/* XSAVEC [rbx + 0x1000] */
		0x31, 0xc0, 0x0f, 0x01, 0xef,			/* PKRU = 0 */
		0xb8, 0x00, 0x02, 0, 0, 0x0f, 0xae, 0x2b,			/* XRSTOR [rbx] */
		0x0f, 0x01, 0xee, 0x89, 0xc6,			/* RDPKRU, mov %eax, %esi */
		0x31, 0xc0, 0x0f, 0x01, 0xef,			/* PKRU = 0 */
		0xb8, 0x00, 0x02, 0, 0, 0x0f, 0xae, 0xab, 0x00, 0x10, 0, 0,	/* XRSTOR [rbx + 0x1000] */
		0x0f, 0x01, 0xee, 0x89, 0xc7,			/* RDPKRU, mov %eax, %edi */
		0xb8, 0x00, 0x02, 0, 0, 0x0f, 0xae, 0xab, 0x00, 0x20, 0, 0,	/* XRSTOR [rbx + 0x2000] */
		0x0f, 0x01, 0xee, 0x89, 0xc5,			/* RDPKRU, mov %eax, %ebp */
	};
	const struct engine *e = *state;
	struct insn_guest_run run = { .mode = GUEST_LONG, .code = code, .len = sizeof(code),
				      .cr4 = X86_CR4_OSXSAVE | X86_CR4_PKE };
	struct insn_guest g;
	uint32_t pkru;
	uint64_t bv;

	insn_guest_make(&g, e->vendor, e->paging, "host");
	if (!shown(&g, 3)) {
		/* Shadow paging does not offer the keys: the bit of CR4 is reserved. */
		assert_string_equal(e->paging, "shadow");
		assert_false(shown(&g, 31));
		insn_guest_finish(&g);
		return;
	}
	run.regs.rbx = INSN_GUEST_CODE + 0x1000;
	memset(g.ram + run.regs.rbx, 0xee, 0x2000);
	memset(g.ram + run.regs.rbx + 512, 0, 64);
	memset(g.ram + run.regs.rbx + 0x1000 + 512, 0, 64);
	insn_guest_run(&g, &run);
	assert_int_equal(run.vector, NONE);
	assert_int_equal(run.regs.rsi, 0x55aa5500);
	assert_int_equal(run.regs.rdi, 0x55aa5500);
	assert_int_equal(run.regs.rbp, 0);
	memcpy(&bv, g.ram + INSN_GUEST_CODE + 0x1000 + 512, 8);
	assert_int_equal(bv, 0x200);
	memcpy(&pkru, g.ram + INSN_GUEST_CODE + 0x1000 + 832, 4);
	assert_int_equal(pkru, 0x55aa5500);
	memcpy(&bv, g.ram + INSN_GUEST_CODE + 0x2000 + 520, 8);
	assert_int_equal(bv, 1ull << 63 | 0x200);
	memcpy(&pkru, g.ram + INSN_GUEST_CODE + 0x2000 + 576, 4);
	assert_int_equal(pkru, 0x55aa5500);
	insn_guest_finish(&g);
}

/* IA32_PKRS denies supervisor pages, and reads back. */
static void pkrs(void **state)
{
	static const uint8_t code[] = {
		0xb9, 0xe1, 0x06, 0, 0, 0x31, 0xd2, 0xb8, 0x04, 0, 0, 0, 0x0f, 0x30, /* PKRS = 4 */
		0x0f, 0x32, 0x89, 0xc6,		/* RDMSR, mov %eax, %esi */
		0x8a, 0x07,			/* mov (%rdi), %al */
	};
	static const uint8_t bad[] = { 0xb9, 0xe1, 0x06, 0, 0, 0xba, 1, 0, 0, 0, 0x0f, 0x30 };
	const struct engine *e = *state;
	struct insn_guest_run run = { .mode = GUEST_LONG, .code = code, .len = sizeof(code),
				      .cr4 = X86_CR4_PKS };
	struct insn_guest g;

	insn_guest_make(&g, e->vendor, e->paging, "host");
	if (!shown(&g, 31)) {
		assert_string_equal(e->paging, "shadow");
		run.cr4 = 0;
		insn_guest_run(&g, &run);
		assert_int_equal(run.vector, X86_GP);
		insn_guest_finish(&g);
		return;
	}
	/* The same memory at 2 MiB, supervisor, key 1. */
	*(uint64_t *)(g.ram + INSN_GUEST_PML4 + 0x2000 + 8) = 0x83 | 1ull << 59;
	run.regs.rdi = INSN_GUEST_RAM + 0x123;
	insn_guest_run(&g, &run);
	assert_int_equal(run.vector, X86_PF);
	assert_int_equal(run.error_code, 0x21); /* present, protection key */
	assert_int_equal(run.regs.rsi, 4);
	run.code = bad;
	run.len = sizeof(bad);
	insn_guest_run(&g, &run);
	assert_int_equal(run.vector, X86_GP);
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
		EVERYWHERE(wide_addresses),
		EVERYWHERE(canonical_edge),
		EVERYWHERE(xsetbv),
		EVERYWHERE(hidden),
		EVERYWHERE(invpcid_operands),
		EVERYWHERE(syscall_from_32_bits),
		EVERYWHERE(nullified_segment),
		EVERYWHERE(xsave_pkru),
		EVERYWHERE(pkrs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
