/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shifts and rotates by the host's instructions. The host's flags are loaded first, since
 * rotates keep most of them and a count of 0 keeps all.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

#define SET_b(off, v) (X86_R8(off) = (v))
#define SET_w(off, v) (X86_R16(off) = (v))
#define SET_l(off, v) (X86_R64(off) = (v))
#define SET_q(off, v) (X86_R64(off) = (v))
#define REG(type, off) (*(type *)((char *)cpu + (off)))
#define HANDLER(name) static void name(struct x86_cpu *cpu, const struct x86_insn *insn)

#define SHIFT_REG(name, ins, sfx, type, count)                                                     \
	HANDLER(name)                                                                              \
	{                                                                                          \
		type d = REG(type, insn->dst);                                                     \
		uint8_t n = (uint8_t)(count);                                                      \
		uint32_t cc = cpu->cc;                                                             \
		__asm__(X86_LOAD_CC #ins #sfx " %%cl, %[d]\n\t" X86_SAVE_CC                        \
			: [d] "+q"(d), "+&a"(cc) : "c"(n) : "cc");                                 \
		SET_##sfx(insn->dst, d);                                                           \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define SHIFT_MEM(name, ins, sfx, type, size, count)                                               \
	HANDLER(name)                                                                              \
	{                                                                                          \
		void *p = x86_rmw_operand(cpu, insn, size);                                        \
		uint8_t n = (uint8_t)(count);                                                      \
		uint32_t cc = cpu->cc;                                                             \
		__asm__ volatile(X86_LOAD_CC #ins #sfx " %%cl, %[d]\n\t" X86_SAVE_CC               \
				 : [d] "+m"(*(type *)p), "+&a"(cc) : "c"(n) : "cc", "memory");     \
		x86_rmw_end(cpu, p);                                                               \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

/* Shifts by a count that the decoder knows not to be 0 write every flag. */
#define SHIFT_IMM(name, ins, sfx, type)                                                            \
	HANDLER(name)                                                                              \
	{                                                                                          \
		type d = REG(type, insn->dst);                                                     \
		uint16_t cc;                                                                       \
		__asm__(#ins #sfx " %%cl, %[d]\n\t" X86_SAVE_CC                                    \
			: [d] "+q"(d), "=&a"(cc) : "c"((uint8_t)insn->imm) : "cc");                \
		SET_##sfx(insn->dst, d);                                                           \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define MAKE_SHIFT(ins, sfx, type, size)                                                           \
	SHIFT_REG(ins##_ri_##sfx, ins, sfx, type, insn->imm)                                       \
	SHIFT_REG(ins##_rc_##sfx, ins, sfx, type, cpu->gpr[X86_RCX])                               \
	SHIFT_MEM(ins##_mi_##sfx, ins, sfx, type, size, insn->imm)                                 \
	SHIFT_MEM(ins##_mc_##sfx, ins, sfx, type, size, cpu->gpr[X86_RCX])

#define EACH_SIZE(ins)                                                                             \
	MAKE_SHIFT(ins, b, uint8_t, 1)                                                             \
	MAKE_SHIFT(ins, w, uint16_t, 2)                                                            \
	MAKE_SHIFT(ins, l, uint32_t, 4)                                                            \
	MAKE_SHIFT(ins, q, uint64_t, 8)

EACH_SIZE(rol)
EACH_SIZE(ror)
EACH_SIZE(rcl)
EACH_SIZE(rcr)
EACH_SIZE(shl)
EACH_SIZE(shr)
EACH_SIZE(sar)

#define ROW(ins, form) { ins##_##form##_b, ins##_##form##_w, ins##_##form##_l, ins##_##form##_q }
#define ALL(form)                                                                                  \
	{                                                                                          \
		ROW(rol, form), ROW(ror, form), ROW(rcl, form), ROW(rcr, form), ROW(shl, form),    \
			ROW(shr, form), ROW(shl, form), ROW(sar, form)                             \
	}

#define MAKE_IMM(ins)                                                                              \
	SHIFT_IMM(ins##_r1_b, ins, b, uint8_t)                                                     \
	SHIFT_IMM(ins##_r1_w, ins, w, uint16_t)                                                    \
	SHIFT_IMM(ins##_r1_l, ins, l, uint32_t)                                                    \
	SHIFT_IMM(ins##_r1_q, ins, q, uint64_t)

MAKE_IMM(shl)
MAKE_IMM(shr)
MAKE_IMM(sar)

x86_fn4 x86_shift_r1[4] = { ROW(shl, r1), ROW(shr, r1), ROW(shl, r1), ROW(sar, r1) };
x86_fn4 x86_shift_ri[8] = ALL(ri);
x86_fn4 x86_shift_rc[8] = ALL(rc);
x86_fn4 x86_shift_mi[8] = ALL(mi);
x86_fn4 x86_shift_mc[8] = ALL(mc);

/* ---- SHLD, SHRD ---------------------------------------------------------------------------------- */

#define DOUBLE(ins, sfx, type, p, s, n, cc)                                                        \
	__asm__ volatile(X86_LOAD_CC #ins #sfx " %%cl, %[s], %[d]\n\t" X86_SAVE_CC                 \
			 : [d] "+m"(*(type *)(p)), "+&a"(cc)                                       \
			 : [s] "r"((type)(s)), "c"(n) : "cc", "memory")

static void double_shift(struct x86_cpu *cpu, const struct x86_insn *insn, bool left)
{
	unsigned int size = insn->opsize;
	uint8_t n = insn->vvvv ? (uint8_t)cpu->gpr[X86_RCX] : (uint8_t)insn->imm;
	uint64_t s = x86_reg_get(cpu, insn->src, size), d;
	bool mem = insn->flags & X86_I_MEM;
	uint32_t cc = cpu->cc;
	void *p = mem ? x86_rmw_operand(cpu, insn, size) : &d;

	if (!mem)
		d = x86_reg_get(cpu, insn->dst, size);
	if (size == 2 && left)
		DOUBLE(shld, w, uint16_t, p, s, n, cc);
	else if (size == 2)
		DOUBLE(shrd, w, uint16_t, p, s, n, cc);
	else if (size == 4 && left)
		DOUBLE(shld, l, uint32_t, p, s, n, cc);
	else if (size == 4)
		DOUBLE(shrd, l, uint32_t, p, s, n, cc);
	else if (left)
		DOUBLE(shld, q, uint64_t, p, s, n, cc);
	else
		DOUBLE(shrd, q, uint64_t, p, s, n, cc);
	if (mem)
		x86_rmw_end(cpu, p);
	else
		x86_reg_set(cpu, insn->dst, size, d);
	cpu->cc = cc;
}

void x86_op_shld(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	double_shift(cpu, insn, true);
	X86_NEXT();
}

void x86_op_shrd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	double_shift(cpu, insn, false);
	X86_NEXT();
}

/* ---- BMI2: no flags -------------------------------------------------------------------------------- */

static uint64_t operand(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->flags & X86_I_MEM)
		return x86_load(cpu, insn, insn->opsize);
	return x86_reg_get(cpu, insn->src, insn->opsize);
}

void x86_op_shx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, n;
	uint64_t v = operand(cpu, insn);

	n = (unsigned int)cpu->gpr[insn->vvvv] & (size * 8 - 1);
	if (insn->opcode == 4)
		v <<= n;
	else if (insn->opcode == 5)
		v >>= n;
	else
		v = (uint64_t)((int64_t)x86_sext(v, size) >> n);
	x86_reg_set(cpu, insn->dst, size, v);
	X86_NEXT();
}

void x86_op_rorx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int bits = insn->opsize * 8, n = (unsigned int)insn->imm & (bits - 1);
	uint64_t v = operand(cpu, insn);

	if (n)
		v = v >> n | v << (bits - n);
	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	X86_NEXT();
}
