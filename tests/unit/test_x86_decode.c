/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The compact form: lengths, operands, sizes, errors. */
#include "tests/unit/x86_env.h"
#include <cmocka.h>
#include <errno.h>

static void forms(void **state)
{
	enum { Z = 0xffff }; /* absent address register */
	static const struct {
		uint8_t bytes[15];
		uint8_t mode, len, opsize, adsize;
		uint16_t dst, src, base, index;
		uint8_t scale, seg;
		int64_t disp;
		uint64_t imm;
	} table[] = {
		/* add %rbx, %rcx */
		{ { 0x48, 0x01, 0xd9 }, X86_CODE_64, 3, 8, 8, 8, 24, Z, Z, 0, X86_DS, 0, 0 },
		/* mov %ah, %bl; with REX: mov %spl, %bl */
		{ { 0x88, 0xe3 }, X86_CODE_64, 2, 1, 8, 24, 1, Z, Z, 0, X86_DS, 0, 0 },
		{ { 0x40, 0x88, 0xe3 }, X86_CODE_64, 3, 1, 8, 24, 32, Z, Z, 0, X86_DS, 0, 0 },
		/* mov 0x10(%r13,%r12,8), %r9d */
		{ { 0x47, 0x8b, 0x4c, 0xe5, 0x10 }, X86_CODE_64, 5, 4, 8, 72, 40, 104, 96, 3, X86_DS, 16, 0 },
		/* mov -8(%rbp), %eax: SS by default, DS by prefix is ignored in 64-bit code */
		{ { 0x8b, 0x45, 0xf8 }, X86_CODE_64, 3, 4, 8, 0, 40, 40, Z, 0, X86_SS, -8, 0 },
		{ { 0x65, 0x8b, 0x45, 0xf8 }, X86_CODE_64, 4, 4, 8, 0, 40, 40, Z, 0, X86_GS, -8, 0 },
		/* mov 0x1234(%rip), %eax: relative to the instruction's own start here */
		{ { 0x8b, 0x05, 0x34, 0x12, 0, 0 }, X86_CODE_64, 6, 4, 8, 0, 40, 128, Z, 0, X86_DS, 0x123a, 0 },
		/* mov (%bx,%si), %ax and mov (%bp), %ax in 16-bit code */
		{ { 0x8b, 0x00 }, X86_CODE_16, 2, 2, 2, 0, 0, 24, 48, 0, X86_DS, 0, 0 },
		{ { 0x8b, 0x46, 0x00 }, X86_CODE_REAL, 3, 2, 2, 0, 48, 40, Z, 0, X86_SS, 0, 0 },
		/* es mov 0x8000, %ax: an address, not negative */
		{ { 0x26, 0xa1, 0x00, 0x80 }, X86_CODE_REAL, 4, 2, 2, 0, 0, Z, Z, 0, X86_ES, 0x8000, 0 },
		/* add $-1, %rax, sign-extended from 8 and from 32 bits */
		{ { 0x48, 0x83, 0xc0, 0xff }, X86_CODE_64, 4, 8, 8, 0, 0, Z, Z, 0, X86_DS, 0, UINT64_MAX },
		{ { 0x48, 0x81, 0xc0, 0, 0, 0, 0x80 }, X86_CODE_64, 7, 8, 8, 0, 0, Z, Z, 0, X86_DS, 0,
		  0xffffffff80000000ull },
		/* movabs */
		{ { 0x48, 0xb9, 1, 2, 3, 4, 5, 6, 7, 0x88 }, X86_CODE_64, 10, 8, 8, 8, 0, Z, Z, 0, X86_DS, 0,
		  0x8807060504030201ull },
		/* jmp -2: relative to cpu->rip in 64-bit code, to the next instruction elsewhere */
		{ { 0xeb, 0xfe }, X86_CODE_64, 2, 8, 8, 0, 0, Z, Z, 0, X86_DS, 0, 0 },
		{ { 0xeb, 0xfe }, X86_CODE_32, 2, 4, 4, 0, 0, Z, Z, 0, X86_DS, 0, (uint64_t)-2 },
		/* push imm8: 64 bits; with 66: 16 */
		{ { 0x6a, 0xff }, X86_CODE_64, 2, 8, 8, 0, Z, Z, Z, 0, X86_DS, 0, UINT64_MAX },
		{ { 0x66, 0x6a, 0xff }, X86_CODE_64, 3, 2, 8, 0, Z, Z, Z, 0, X86_DS, 0, UINT64_MAX },
		/* (%rsp) with SIB, no index */
		{ { 0x48, 0x8b, 0x04, 0x24 }, X86_CODE_64, 4, 8, 8, 0, 32, 32, Z, 0, X86_SS, 0, 0 },
		/* (%r12): DS, not SS */
		{ { 0x49, 0x8b, 0x04, 0x24 }, X86_CODE_64, 4, 8, 8, 0, 96, 96, Z, 0, X86_DS, 0, 0 },
		/* address-size prefix */
		{ { 0x67, 0x8b, 0x03 }, X86_CODE_64, 3, 4, 4, 0, 24, 24, Z, 0, X86_DS, 0, 0 },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct x86_insn in;

		if (x86_decode(table[i].bytes, 15, table[i].mode, &in))
			fail_msg("row %u does not decode", i);
		if (in.len != table[i].len || in.opsize != table[i].opsize || in.adsize != table[i].adsize)
			fail_msg("row %u: len %u opsize %u adsize %u", i, in.len, in.opsize, in.adsize);
		/* With a memory operand only the register's side means anything. */
		if (in.dst != table[i].dst || (!(in.flags & X86_I_MEM) && in.src != table[i].src))
			fail_msg("row %u: dst %u src %u", i, in.dst, in.src);
		assert_int_equal(in.base, table[i].base == Z ? X86_OFF_ZERO : table[i].base);
		assert_int_equal(in.index, table[i].index == Z ? X86_OFF_ZERO : table[i].index);
		if (in.scale != table[i].scale || in.seg != table[i].seg || in.disp != table[i].disp)
			fail_msg("row %u: scale %u seg %u disp %ld", i, in.scale, in.seg, in.disp);
		if (in.imm != table[i].imm)
			fail_msg("row %u: imm %lx", i, in.imm);
		assert_memory_equal(in.raw, table[i].bytes, in.len);
	}
}

static void errors(void **state)
{
	static const uint8_t add[] = { 0x48, 0x81, 0xc0, 1, 2, 3, 4 };
	uint8_t prefixes[16];
	struct x86_insn in;
	unsigned int i;

	(void)state;
	for (i = 0; i < sizeof(add); i++)
		assert_int_equal(x86_decode(add, i, X86_CODE_64, &in), -EAGAIN);
	assert_int_equal(x86_decode(add, i, X86_CODE_64, &in), 0);
	memset(prefixes, 0x66, sizeof(prefixes));
	assert_int_equal(x86_decode(prefixes, 14, X86_CODE_64, &in), -EAGAIN);
	assert_int_equal(x86_decode(prefixes, 15, X86_CODE_64, &in), -E2BIG);
	prefixes[14] = 0x90;
	assert_int_equal(x86_decode(prefixes, 15, X86_CODE_64, &in), 0);
	assert_int_equal(in.len, 15);
	/* Undefined: PUSH ES in 64-bit code, LOCK with a register, LLDT in real mode. */
	assert_int_equal(x86_decode((uint8_t[15]){ 0x06 }, 15, X86_CODE_64, &in), -EILSEQ);
	assert_int_equal(x86_decode((uint8_t[15]){ 0x06 }, 15, X86_CODE_32, &in), 0);
	assert_int_equal(x86_decode((uint8_t[15]){ 0xf0, 0x01, 0xc0 }, 15, X86_CODE_64, &in), -EILSEQ);
	assert_int_equal(x86_decode((uint8_t[15]){ 0x0f, 0x00, 0xd0 }, 15, X86_CODE_REAL, &in), -EILSEQ);
	assert_int_equal(x86_decode((uint8_t[15]){ 0x0f, 0x00, 0xd0 }, 15, X86_CODE_V86, &in), -EILSEQ);
	assert_int_equal(x86_decode((uint8_t[15]){ 0x0f, 0x0b }, 15, X86_CODE_64, &in), -EILSEQ);
	assert_non_null(in.fn);
}

/* Whatever the bytes and the length: an answer, a handler, a length within bounds. */
static void any_bytes(void **state)
{
	uint64_t rng = 12345;
	unsigned int n, i;

	(void)state;
	for (n = 0; n < 200000; n++) {
		uint8_t bytes[15];
		struct x86_insn in;
		int ret;

		for (i = 0; i < 15; i++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			bytes[i] = (uint8_t)(rng >> 33);
		}
		ret = x86_decode(bytes, 1 + n % 15, (enum x86_code_mode)(n % 7), &in);
		assert_true(ret == 0 || ret == -EAGAIN || ret == -E2BIG || ret == -EILSEQ);
		if (ret == -EAGAIN)
			continue;
		assert_non_null(in.fn);
		if (!ret)
			assert_in_range(in.len, 1, 1 + n % 15);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms), cmocka_unit_test(errors), cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
