/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x87 instructions about the unit itself: control and status words, the
 * environment in its four formats, save and restore. What computes is run by the
 * host (native_stub.c); these are about where the guest's instructions stood,
 * which the host cannot know.
 *
 * Source: SDM volume 1, "x87 FPU state" (formats of the environment).
 */
#include "hv/x86/native.h"

#define FSW_SF	       0x0040u
#define FSW_TOP_SHIFT  11
#define FCW_WRITABLE   0x1f3fu
#define FCW_ONE	       0x0040u
#define FPU_REGS_SIZE  80u

void native_x87_summary(struct x86_cpu *cpu)
{
	uint16_t *fsw = xs16(cpu, XS_FSW);

	if (*fsw & ~*xs16(cpu, XS_FCW) & FSW_EXCEPTIONS)
		*fsw |= FSW_ES | FSW_B;
	else
		*fsw &= (uint16_t)~(FSW_ES | FSW_B);
}

static unsigned int top(struct x86_cpu *cpu)
{
	return *xs16(cpu, XS_FSW) >> FSW_TOP_SHIFT & 7;
}

/* The image keeps ST(0) first; physical register i is ST((i - TOP) & 7). */
static uint8_t *physical(struct x86_cpu *cpu, unsigned int i)
{
	return cpu->xsave + XS_ST((i - top(cpu)) & 7);
}

/* The status word as a whole; the physical registers stay where they are, so the image turns. */
static void set_fsw(struct x86_cpu *cpu, uint16_t value)
{
	uint8_t regs[8][16];

	for (unsigned int i = 0; i < 8; i++)
		memcpy(regs[i], physical(cpu, i), 16);
	*xs16(cpu, XS_FSW) = value;
	for (unsigned int i = 0; i < 8; i++)
		memcpy(physical(cpu, i), regs[i], 16);
}

void native_x87_init(struct x86_cpu *cpu)
{
	set_fsw(cpu, 0);
	*xs16(cpu, XS_FCW) = FCW_INIT;
	*xs16(cpu, XS_FTW) = 0;
	*xs16(cpu, XS_FOP) = 0;
	*xs64(cpu, XS_FIP) = 0;
	*xs64(cpu, XS_FDP) = 0;
}

void native_x87_zero_top(struct x86_cpu *cpu)
{
	set_fsw(cpu, (uint16_t)(*xs16(cpu, XS_FSW) & ~(7u << FSW_TOP_SHIFT)));
}

void native_x87_enter_mmx(struct x86_cpu *cpu)
{
	native_x87_zero_top(cpu);
	*xs16(cpu, XS_FTW) = 0xff;
}

/* ---- words ------------------------------------------------------------------------------------ */

static void fninit(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	native_x87_init(cpu);
}

static void fnclex(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	*xs16(cpu, XS_FSW) &= (uint16_t)~(FSW_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B);
}

static void fnstcw(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	native_store(cpu, insn, xs16(cpu, XS_FCW), 2);
}

static void set_fcw(struct x86_cpu *cpu, uint16_t value)
{
	*xs16(cpu, XS_FCW) = (uint16_t)((value & FCW_WRITABLE) | FCW_ONE);
	native_x87_summary(cpu);
}

static void fldcw(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint16_t value;

	native_load(cpu, insn, &value, 2);
	set_fcw(cpu, value);
}

static void fnstsw(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	if (op->size)
		native_store(cpu, insn, xs16(cpu, XS_FSW), 2);
	else
		x86_reg_set(cpu, X86_OFF(gpr[X86_RAX]), 2, *xs16(cpu, XS_FSW));
}

static void fwait(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	if ((cpu->cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
		x86_throw_fault(cpu, X86_NM, false, 0, 0);
	if (*xs16(cpu, XS_FSW) & FSW_ES)
		native_x87_error(cpu);
}

/* ---- the environment ---------------------------------------------------------------------------- */

/* Full tag word: 0 valid, 1 zero, 2 special, 3 empty, two bits for each physical register. */
static uint16_t full_tags(struct x86_cpu *cpu)
{
	unsigned int present = *xs16(cpu, XS_FTW), tags = 0;

	for (unsigned int i = 0; i < 8; i++) {
		const uint8_t *reg = physical(cpu, i);
		uint64_t mantissa;
		uint16_t exponent;
		unsigned int tag;

		memcpy(&mantissa, reg, 8);
		memcpy(&exponent, reg + 8, 2);
		exponent &= 0x7fff;
		if (!(present >> i & 1))
			tag = 3;
		else if (exponent == 0x7fff || (exponent && !(mantissa >> 63)))
			tag = 2;
		else if (exponent)
			tag = 0;
		else
			tag = mantissa ? 2 : 1;
		tags |= tag << 2 * i;
	}
	return (uint16_t)tags;
}

static uint16_t abridged_tags(uint16_t full)
{
	unsigned int tags = 0;

	for (unsigned int i = 0; i < 8; i++)
		if ((full >> 2 * i & 3) != 3)
			tags |= 1u << i;
	return (uint16_t)tags;
}

/* Operand size 16 of an environment instruction. */
static bool is_short(const struct x86_insn *insn)
{
	bool code16 = !(insn->flags & (X86_I_CODE64 | X86_I_CODE32));

	return !(insn->flags & X86_I_REXW) && code16 != !!(insn->flags & X86_I_OSZ);
}

static bool real_format(const struct x86_cpu *cpu)
{
	return !x86_pe(cpu) || x86_v86(cpu);
}

static unsigned int env_size(const struct x86_insn *insn)
{
	return is_short(insn) ? 14 : 28;
}

static void put16(uint8_t *at, uint32_t v)
{
	uint16_t w = (uint16_t)v;

	memcpy(at, &w, 2);
}

static void put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, 4);
}

static uint32_t get16(const uint8_t *at)
{
	uint16_t w;

	memcpy(&w, at, 2);
	return w;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return v;
}

static void env_put(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t *env)
{
	uint32_t fip = (uint32_t)*xs64(cpu, XS_FIP), fdp = (uint32_t)*xs64(cpu, XS_FDP);
	uint32_t fop = *xs16(cpu, XS_FOP) & 0x7ff;
	uint32_t words[3] = { *xs16(cpu, XS_FCW), *xs16(cpu, XS_FSW), full_tags(cpu) };
	bool real = real_format(cpu);

	if (is_short(insn)) {
		for (unsigned int i = 0; i < 3; i++)
			put16(env + 2 * i, words[i]);
		put16(env + 6, fip);
		put16(env + 8, real ? fop | (fip >> 16 & 0xf) << 12 : 0);
		put16(env + 10, fdp);
		put16(env + 12, real ? (fdp >> 16 & 0xf) << 12 : 0);
		return;
	}
	for (unsigned int i = 0; i < 3; i++)
		put32(env + 4 * i, words[i] | 0xffff0000u);
	put32(env + 12, real ? (fip & 0xffff) | 0xffff0000u : fip);
	put32(env + 16, real ? fop | (fip >> 16) << 12 : fop << 16);
	put32(env + 20, real ? (fdp & 0xffff) | 0xffff0000u : fdp);
	put32(env + 24, real ? (fdp >> 16) << 12 : 0xffff0000u);
}

static void env_get(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *env)
{
	unsigned int step = is_short(insn) ? 2 : 4;
	const uint8_t *at = env + 3 * step;
	bool real = real_format(cpu);
	uint32_t fip, fdp, fop = 0;

	set_fsw(cpu, (uint16_t)get16(env + step));
	*xs16(cpu, XS_FTW) = abridged_tags((uint16_t)get16(env + 2 * step));
	if (step == 2) {
		fip = get16(at) | (real ? get16(at + 2) >> 12 << 16 : 0);
		fdp = get16(at + 4) | (real ? get16(at + 6) >> 12 << 16 : 0);
		fop = real ? get16(at + 2) & 0x7ff : 0;
	} else if (real) {
		fip = get16(at) | (get32(at + 4) >> 12 & 0xffff) << 16;
		fdp = get16(at + 8) | (get32(at + 12) >> 12 & 0xffff) << 16;
		fop = get32(at + 4) & 0x7ff;
	} else {
		fip = get32(at);
		fdp = get32(at + 8);
		fop = get32(at + 4) >> 16 & 0x7ff;
	}
	*xs64(cpu, XS_FIP) = fip;
	*xs64(cpu, XS_FDP) = fdp;
	*xs16(cpu, XS_FOP) = (uint16_t)fop;
	set_fcw(cpu, (uint16_t)get16(env));
}

/* The environment is accessed in words: the first may fault where the last is beyond the limit. */
static void touch(struct x86_cpu *cpu, const struct x86_insn *insn, uint32_t access)
{
	unsigned int size = is_short(insn) ? 2 : 4;
	uint64_t lin = x86_ea(cpu, insn, size, access);
	uint32_t word;

	if (access == X86_ACC_WRITE)
		native_probe_lin(cpu, insn, lin, size);
	else
		native_read_lin(cpu, insn, lin, &word, size);
}

static void fnstenv(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t env[28];

	env_put(cpu, insn, env);
	touch(cpu, insn, X86_ACC_WRITE);
	native_store(cpu, insn, env, env_size(insn));
	*xs16(cpu, XS_FCW) |= FSW_EXCEPTIONS;
	native_x87_summary(cpu);
}

static void fldenv(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t env[28];

	touch(cpu, insn, X86_ACC_READ);
	native_load(cpu, insn, env, env_size(insn));
	env_get(cpu, insn, env);
}

static void fnsave(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t image[28 + FPU_REGS_SIZE];
	unsigned int n = env_size(insn);

	env_put(cpu, insn, image);
	for (unsigned int i = 0; i < 8; i++)
		memcpy(image + n + 10 * i, cpu->xsave + XS_ST(i), 10);
	touch(cpu, insn, X86_ACC_WRITE);
	native_store(cpu, insn, image, n + FPU_REGS_SIZE);
	native_x87_init(cpu);
}

static void frstor(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t image[28 + FPU_REGS_SIZE];
	unsigned int n = env_size(insn);

	touch(cpu, insn, X86_ACC_READ);
	native_load(cpu, insn, image, n + FPU_REGS_SIZE);
	env_get(cpu, insn, image);
	for (unsigned int i = 0; i < 8; i++) {
		memset(cpu->xsave + XS_ST(i), 0, 16);
		memcpy(cpu->xsave + XS_ST(i), image + n + 10 * i, 10);
	}
}

native_c_fn *native_x87_handler(unsigned int mnemonic, enum native_kind *kind)
{
	static const struct {
		uint16_t mnemonic;
		uint8_t kind;
		native_c_fn *fn;
	} table[] = {
		{ ZYDIS_MNEMONIC_FNINIT, NATIVE_X87_NOWAIT, fninit },
		{ ZYDIS_MNEMONIC_FNCLEX, NATIVE_X87_NOWAIT, fnclex },
		{ ZYDIS_MNEMONIC_FNSTCW, NATIVE_X87_NOWAIT, fnstcw },
		{ ZYDIS_MNEMONIC_FLDCW, NATIVE_X87, fldcw },
		{ ZYDIS_MNEMONIC_FNSTSW, NATIVE_X87_NOWAIT, fnstsw },
		{ ZYDIS_MNEMONIC_FNSTENV, NATIVE_X87_NOWAIT, fnstenv },
		{ ZYDIS_MNEMONIC_FLDENV, NATIVE_X87, fldenv },
		{ ZYDIS_MNEMONIC_FNSAVE, NATIVE_X87_NOWAIT, fnsave },
		{ ZYDIS_MNEMONIC_FRSTOR, NATIVE_X87, frstor },
		{ ZYDIS_MNEMONIC_FWAIT, NATIVE_FREE, fwait },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].mnemonic != mnemonic)
			continue;
		*kind = (enum native_kind)table[i].kind;
		return table[i].fn;
	}
	return NULL;
}
