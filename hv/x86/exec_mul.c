/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Multiplication, division and decimal adjustment. Divisions that would trap on the host are
 * found first; the rest is the host's own instruction.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

#define HANDLER(name) static void name(struct x86_cpu *cpu, const struct x86_insn *insn)

static inline uint64_t operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size)
{
	if (insn->flags & X86_I_MEM)
		return x86_load(cpu, insn, size);
	return x86_reg_get(cpu, insn->src, size);
}

_Noreturn static void divide_error(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	x86_exc(cpu, X86_DE, 0);
}

/* ---- MUL, IMUL: RDX:RAX = RAX * operand ------------------------------------------------------------ */

#define MAKE_MUL8(ins)                                                                             \
	HANDLER(ins##_b)                                                                           \
	{                                                                                          \
		uint8_t s = (uint8_t)operand(cpu, insn, 1);                                        \
		uint16_t a = X86_R8(0), cc;                                                        \
		__asm__(#ins "b %[s]\n\tmovw %%ax, %[r]\n\t" X86_SAVE_CC                           \
			: [r] "=&r"(a), "=&a"(cc) : "1"(a), [s] "q"(s) : "cc");                    \
		X86_R16(0) = a;                                                                    \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define MAKE_MUL(ins, sfx, type, size, reg_a, reg_d)                                               \
	HANDLER(ins##_##sfx)                                                                       \
	{                                                                                          \
		type s = (type)operand(cpu, insn, size), a = (type)cpu->gpr[X86_RAX], d;           \
		uint16_t cc;                                                                       \
		__asm__(#ins #sfx " %[s]\n\tmov %%" reg_a ", %[r]\n\t" X86_SAVE_CC                 \
			: [r] "=&r"(a), "=&a"(cc), "=&d"(d) : "1"(a), [s] "r"(s) : "cc");          \
		x86_reg_set(cpu, X86_RAX * 8, size, a);                                            \
		x86_reg_set(cpu, X86_RDX * 8, size, d);                                            \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define MAKE_MULS(ins)                                                                             \
	MAKE_MUL8(ins)                                                                             \
	MAKE_MUL(ins, w, uint16_t, 2, "ax", "dx")                                                  \
	MAKE_MUL(ins, l, uint32_t, 4, "eax", "edx")                                                \
	MAKE_MUL(ins, q, uint64_t, 8, "rax", "rdx")

MAKE_MULS(mul)
MAKE_MULS(imul)

/* All flags are undefined after a division; Intel's processors leave them alone. */
/* ---- DIV, IDIV -------------------------------------------------------------------------------------- */

HANDLER(div_b)
{
	uint8_t s = (uint8_t)operand(cpu, insn, 1);
	uint16_t a = X86_R16(0);
	uint32_t cc = cpu->cc;

	if (!s || a / s > 0xff)
		divide_error(cpu, insn);
	__asm__(X86_LOAD_CC "movw %[r], %%ax\n\tdivb %[s]\n\tmovw %%ax, %[r]\n\t" X86_SAVE_CC
		: [r] "+&r"(a), "+&a"(cc) : [s] "q"(s) : "cc");
	X86_R16(0) = a;
	cpu->cc = cc;
	X86_NEXT();
}

HANDLER(idiv_b)
{
	int8_t s = (int8_t)operand(cpu, insn, 1);
	int16_t a = (int16_t)X86_R16(0);
	uint32_t cc = cpu->cc;

	if (!s || (int)a / s > 127 || (int)a / s < -128)
		divide_error(cpu, insn);
	__asm__(X86_LOAD_CC "movw %[r], %%ax\n\tidivb %[s]\n\tmovw %%ax, %[r]\n\t" X86_SAVE_CC
		: [r] "+&r"(a), "+&a"(cc) : [s] "q"(s) : "cc");
	X86_R16(0) = (uint16_t)a;
	cpu->cc = cc;
	X86_NEXT();
}

#define MAKE_DIV(sfx, type, size, wide, reg_a, reg_d)                                              \
	HANDLER(div_##sfx)                                                                         \
	{                                                                                          \
		type s = (type)operand(cpu, insn, size), a = (type)cpu->gpr[X86_RAX];              \
		type d = (type)cpu->gpr[X86_RDX];                                                  \
		uint32_t cc = cpu->cc;                                                             \
		if (!s || d >= s)                                                                  \
			divide_error(cpu, insn);                                                   \
		__asm__(X86_LOAD_CC "mov %[r], %%" reg_a "\n\tdiv" #sfx " %[s]\n\tmov %%" reg_a  \
			", %[r]\n\t" X86_SAVE_CC                                                  \
			: [r] "+&r"(a), "+&a"(cc), "+&d"(d) : [s] "r"(s) : "cc");                  \
		x86_reg_set(cpu, X86_RAX * 8, size, a);                                            \
		x86_reg_set(cpu, X86_RDX * 8, size, d);                                            \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	static bool idiv_fits_##sfx(type hi, type lo, type by)                                     \
	{                                                                                          \
		wide n = (wide)(((unsigned wide)hi << (size * 8)) | lo), q;                        \
		s##type b = (s##type)by;                                                           \
		if (!b)                                                                            \
			return false;                                                              \
		if (b == -1) /* the one that could overflow in C too */                            \
			return n != (wide)((unsigned wide)1 << (size * 16 - 1)) &&                 \
			       -n <= (wide)((type)~(type)0 >> 1) &&                                \
			       -n >= -(wide)((type)~(type)0 >> 1) - 1;                             \
		q = n / b;                                                                         \
		return q == (wide)(s##type)q;                                                      \
	}                                                                                          \
	HANDLER(idiv_##sfx)                                                                        \
	{                                                                                          \
		type s = (type)operand(cpu, insn, size), a = (type)cpu->gpr[X86_RAX];              \
		type d = (type)cpu->gpr[X86_RDX];                                                  \
		uint32_t cc = cpu->cc;                                                             \
		if (!idiv_fits_##sfx(d, a, s))                                                     \
			divide_error(cpu, insn);                                                   \
		__asm__(X86_LOAD_CC "mov %[r], %%" reg_a "\n\tidiv" #sfx " %[s]\n\tmov %%" reg_a  \
			", %[r]\n\t" X86_SAVE_CC                                                  \
			: [r] "+&r"(a), "+&a"(cc), "+&d"(d) : [s] "r"(s) : "cc");                  \
		x86_reg_set(cpu, X86_RAX * 8, size, a);                                            \
		x86_reg_set(cpu, X86_RDX * 8, size, d);                                            \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

typedef int16_t suint16_t;
typedef int32_t suint32_t;
typedef int64_t suint64_t;

MAKE_DIV(w, uint16_t, 2, int, "ax", "dx")
MAKE_DIV(l, uint32_t, 4, long, "eax", "edx")
MAKE_DIV(q, uint64_t, 8, __int128, "rax", "rdx")

#define ROW(ins) { ins##_b, ins##_w, ins##_l, ins##_q }
x86_fn4 x86_muldiv[4] = { ROW(mul), ROW(imul), ROW(div), ROW(idiv) };

/* ---- IMUL with two and three operands ---------------------------------------------------------------- */

static uint64_t imul(struct x86_cpu *cpu, uint64_t a, uint64_t b, unsigned int size)
{
	uint16_t cc, w = (uint16_t)a;
	uint32_t l = (uint32_t)a;

	switch (size) {
	case 2:
		__asm__("imulw %[s], %[d]\n\t" X86_SAVE_CC
			: [d] "+r"(w), "=&a"(cc) : [s] "r"((uint16_t)b) : "cc");
		a = w;
		break;
	case 4:
		__asm__("imull %[s], %[d]\n\t" X86_SAVE_CC
			: [d] "+r"(l), "=&a"(cc) : [s] "r"((uint32_t)b) : "cc");
		a = l;
		break;
	default:
		__asm__("imulq %[s], %[d]\n\t" X86_SAVE_CC
			: [d] "+r"(a), "=&a"(cc) : [s] "r"(b) : "cc");
		break;
	}
	cpu->cc = cc;
	return a;
}

void x86_op_imul_rr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t s = operand(cpu, insn, size);

	x86_reg_set(cpu, insn->dst, size, imul(cpu, x86_reg_get(cpu, insn->dst, size), s, size));
	X86_NEXT();
}

void x86_op_imul_rri(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;

	x86_reg_set(cpu, insn->dst, size, imul(cpu, operand(cpu, insn, size), insn->imm, size));
	X86_NEXT();
}

void x86_op_mulx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t s = operand(cpu, insn, size), a = x86_reg_get(cpu, X86_RDX * 8, size);
	unsigned __int128 p = (unsigned __int128)a * s;

	/* vvvv takes the low half first: with equal registers the high half stays. */
	x86_reg_set(cpu, insn->vvvv * 8u, size, (uint64_t)p);
	x86_reg_set(cpu, insn->dst, size, size == 4 ? (uint64_t)p >> 32 : (uint64_t)(p >> 64));
	X86_NEXT();
}

/* ---- decimal -------------------------------------------------------------------------------------------
 * The host does not have them in 64-bit mode. Flags that the manual leaves undefined are as
 * Intel's processors set them.
 */

static uint32_t szp(uint8_t v)
{
	uint16_t cc;

	__asm__("testb %[v], %[v]\n\t" X86_SAVE_CC : "=&a"(cc) : [v] "q"(v) : "cc");
	return cc & (X86_CC_SF | X86_CC_ZF | X86_CC_PF);
}

void x86_op_aam(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t base = (uint8_t)insn->imm, al = X86_R8(0);

	if (!base)
		divide_error(cpu, insn);
	X86_R8(1) = al / base;
	X86_R8(0) = al % base;
	cpu->cc = szp(X86_R8(0));
	X86_NEXT();
}

void x86_op_aad(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint8_t d = X86_R8(0), s = (uint8_t)(X86_R8(1) * (uint8_t)insn->imm);
	uint16_t cc;

	__asm__("addb %[s], %[d]\n\t" X86_SAVE_CC : [d] "+q"(d), "=&a"(cc) : [s] "q"(s) : "cc");
	X86_R16(0) = d;
	cpu->cc = cc;
	X86_NEXT();
}

static void ascii_adjust(struct x86_cpu *cpu, int by)
{
	bool adjust = (X86_R8(0) & 15) > 9 || (cpu->cc & X86_CC_AF);

	if (adjust)
		X86_R16(0) = (uint16_t)(X86_R16(0) + by);
	X86_R8(0) &= 15;
	cpu->cc = szp(X86_R8(0)) | (adjust ? X86_CC_AF | X86_CC_CF : 0);
}

void x86_op_aaa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	ascii_adjust(cpu, 0x106);
	X86_NEXT();
}

void x86_op_aas(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	ascii_adjust(cpu, -0x106);
	X86_NEXT();
}

static void decimal_adjust(struct x86_cpu *cpu, bool subtract)
{
	uint8_t al = X86_R8(0), old = al;
	bool cf = cpu->cc & X86_CC_CF, af = cpu->cc & X86_CC_AF, carry = false;

	if ((old & 15) > 9 || af) {
		carry = subtract ? cf || old < 6 : cf || old > 0xf9;
		al = (uint8_t)(subtract ? al - 6 : al + 6);
		af = true;
	}
	if (old > 0x99 || cf) {
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
		carry = true;
	}
	X86_R8(0) = al;
	cpu->cc = szp(al) | (af ? X86_CC_AF : 0) | (carry ? X86_CC_CF : 0);
}

void x86_op_daa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	decimal_adjust(cpu, false);
	X86_NEXT();
}

void x86_op_das(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	decimal_adjust(cpu, true);
	X86_NEXT();
}
