/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ADD OR ADC SBB AND SUB XOR CMP, TEST, INC, DEC, NOT, NEG: computed by the host's own
 * instruction, flags taken with LAHF and SETO, so that undefined flags too are the silicon's.
 *
 * One function per operation, size and operand form, made by the macros below: this is the
 * inner loop, and a function that knows its form is several times as fast as one that asks.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

#define SET_b(off, v) (X86_R8(off) = (v))
#define SET_w(off, v) (X86_R16(off) = (v))
#define SET_l(off, v) (X86_R64(off) = (v))
#define SET_q(off, v) (X86_R64(off) = (v))
#define REG(type, off) (*(type *)((char *)cpu + (off)))
#define HANDLER(name) static void name(struct x86_cpu *cpu, const struct x86_insn *insn)

#define WRITE_YES(sfx, off, v)	SET_##sfx(off, v)
#define WRITE_NO(sfx, off, v)	((void)0)

#define ALU_REG(ins, sfx, carry, d, s, cc)                                                         \
	__asm__(carry #ins #sfx " %[s], %[d]\n\t" X86_SAVE_CC                                      \
		: [d] "+q"(d), "=&a"(cc)                                                           \
		: [s] "q"(s), [c] "r"(cpu->cc)                                                     \
		: "cc")

#define ALU_MEM(prefix, ins, sfx, type, carry, p, s, cc)                                           \
	__asm__ volatile(carry prefix #ins #sfx " %[s], %[d]\n\t" X86_SAVE_CC                      \
			 : [d] "+m"(*(type *)(p)), "=&a"(cc)                                       \
			 : [s] "q"(s), [c] "r"(cpu->cc)                                            \
			 : "cc", "memory")

#define ALU_REG_FORMS(ins, sfx, type, size, carry, write)                                          \
	HANDLER(ins##_rr_##sfx)                                                                    \
	{                                                                                          \
		type d = REG(type, insn->dst), s = REG(type, insn->src);                           \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, carry, d, s, cc);                                                \
		WRITE_##write(sfx, insn->dst, d);                                                  \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(ins##_ri_##sfx)                                                                    \
	{                                                                                          \
		type d = REG(type, insn->dst), s = (type)insn->imm;                                \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, carry, d, s, cc);                                                \
		WRITE_##write(sfx, insn->dst, d);                                                  \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(ins##_rm_##sfx)                                                                    \
	{                                                                                          \
		type s = (type)x86_load(cpu, insn, size), d = REG(type, insn->dst);                \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, carry, d, s, cc);                                                \
		WRITE_##write(sfx, insn->dst, d);                                                  \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define ALU_MEM_FORM(name, prefix, ins, sfx, type, size, carry, operand)                           \
	HANDLER(name)                                                                              \
	{                                                                                          \
		void *p = x86_rmw_operand(cpu, insn, size);                                        \
		type s = operand;                                                                  \
		uint16_t cc;                                                                       \
		ALU_MEM(prefix, ins, sfx, type, carry, p, s, cc);                                  \
		x86_rmw_end(cpu, p);                                                               \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define ALU_MEM_FORMS(ins, sfx, type, size, carry)                                                 \
	ALU_MEM_FORM(ins##_mr_##sfx, "", ins, sfx, type, size, carry, REG(type, insn->src))        \
	ALU_MEM_FORM(ins##_mi_##sfx, "", ins, sfx, type, size, carry, (type)insn->imm)             \
	ALU_MEM_FORM(ins##_mrl_##sfx, "lock; ", ins, sfx, type, size, carry, REG(type, insn->src)) \
	ALU_MEM_FORM(ins##_mil_##sfx, "lock; ", ins, sfx, type, size, carry, (type)insn->imm)

/* Comparisons only read memory. */
#define CMP_MEM_FORMS(ins, sfx, type, size)                                                        \
	HANDLER(ins##_mr_##sfx)                                                                    \
	{                                                                                          \
		type d = (type)x86_load(cpu, insn, size), s = REG(type, insn->src);                \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, "", d, s, cc);                                                   \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(ins##_mi_##sfx)                                                                    \
	{                                                                                          \
		type d = (type)x86_load(cpu, insn, size), s = (type)insn->imm;                     \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, "", d, s, cc);                                                   \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define EACH_SIZE(M, ...)                                                                          \
	M(__VA_ARGS__, b, uint8_t, 1)                                                              \
	M(__VA_ARGS__, w, uint16_t, 2)                                                             \
	M(__VA_ARGS__, l, uint32_t, 4)                                                             \
	M(__VA_ARGS__, q, uint64_t, 8)

#define MAKE_PLAIN(ins, sfx, type, size)                                                           \
	ALU_REG_FORMS(ins, sfx, type, size, "", YES)                                               \
	ALU_MEM_FORMS(ins, sfx, type, size, "")
#define MAKE_CARRY(ins, sfx, type, size)                                                           \
	ALU_REG_FORMS(ins, sfx, type, size, X86_LOAD_CF, YES)                                      \
	ALU_MEM_FORMS(ins, sfx, type, size, X86_LOAD_CF)
#define MAKE_CMP(ins, sfx, type, size)                                                             \
	ALU_REG_FORMS(ins, sfx, type, size, "", NO)                                                \
	CMP_MEM_FORMS(ins, sfx, type, size)

EACH_SIZE(MAKE_PLAIN, add)
EACH_SIZE(MAKE_PLAIN, or)
EACH_SIZE(MAKE_CARRY, adc)
EACH_SIZE(MAKE_CARRY, sbb)
EACH_SIZE(MAKE_PLAIN, and)
EACH_SIZE(MAKE_PLAIN, sub)
EACH_SIZE(MAKE_PLAIN, xor)
EACH_SIZE(MAKE_CMP, cmp)

#define ROW(ins, form) { ins##_##form##_b, ins##_##form##_w, ins##_##form##_l, ins##_##form##_q }
#define ALL(form)                                                                                  \
	{                                                                                          \
		ROW(add, form), ROW(or, form), ROW(adc, form), ROW(sbb, form), ROW(and, form),     \
			ROW(sub, form), ROW(xor, form), ROW(cmp, form)                             \
	}
/* LOCK CMP does not decode. */
#define ALL_LOCKED(form)                                                                           \
	{                                                                                          \
		ROW(add, form), ROW(or, form), ROW(adc, form), ROW(sbb, form), ROW(and, form),     \
			ROW(sub, form), ROW(xor, form)                                             \
	}

x86_fn4 x86_alu_rr[8] = ALL(rr);
x86_fn4 x86_alu_rm[8] = ALL(rm);
x86_fn4 x86_alu_mr[8] = ALL(mr);
x86_fn4 x86_alu_ri[8] = ALL(ri);
x86_fn4 x86_alu_mi[8] = ALL(mi);
x86_fn4 x86_alu_mrl[8] = ALL_LOCKED(mrl);
x86_fn4 x86_alu_mil[8] = ALL_LOCKED(mil);

/* ---- TEST ----------------------------------------------------------------------------------- */

#define MAKE_TEST(ins, sfx, type, size)                                                            \
	HANDLER(ins##_rr_##sfx)                                                                    \
	{                                                                                          \
		type d = REG(type, insn->dst), s = REG(type, insn->src);                           \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, "", d, s, cc);                                                   \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(ins##_ri_##sfx)                                                                    \
	{                                                                                          \
		type d = REG(type, insn->dst), s = (type)insn->imm;                                \
		uint16_t cc;                                                                       \
		ALU_REG(ins, sfx, "", d, s, cc);                                                   \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	CMP_MEM_FORMS(ins, sfx, type, size)

EACH_SIZE(MAKE_TEST, test)

x86_fn4 x86_test_rr = ROW(test, rr);
x86_fn4 x86_test_ri = ROW(test, ri);
x86_fn4 x86_test_mr = ROW(test, mr);
x86_fn4 x86_test_mi = ROW(test, mi);

/* ---- one operand: INC and DEC keep CF, NOT keeps all flags ------------------------------------- */

#define MAKE_UNARY(ins, carry, sfx, type, size)                                                    \
	HANDLER(ins##_r_##sfx)                                                                     \
	{                                                                                          \
		type d = REG(type, insn->dst);                                                     \
		uint16_t cc;                                                                       \
		__asm__(carry #ins #sfx " %[d]\n\t" X86_SAVE_CC                                    \
			: [d] "+q"(d), "=&a"(cc) : [c] "r"(cpu->cc) : "cc");                       \
		SET_##sfx(insn->dst, d);                                                           \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}                                                                                          \
	UNARY_MEM(ins##_m_##sfx, "", ins, carry, sfx, type, size)                                  \
	UNARY_MEM(ins##_ml_##sfx, "lock; ", ins, carry, sfx, type, size)

#define UNARY_MEM(name, prefix, ins, carry, sfx, type, size)                                       \
	HANDLER(name)                                                                              \
	{                                                                                          \
		void *p = x86_rmw_operand(cpu, insn, size);                                        \
		uint16_t cc;                                                                       \
		__asm__ volatile(carry prefix #ins #sfx " %[d]\n\t" X86_SAVE_CC                    \
				 : [d] "+m"(*(type *)p), "=&a"(cc) : [c] "r"(cpu->cc)              \
				 : "cc", "memory");                                                \
		x86_rmw_end(cpu, p);                                                               \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

#define NOT_MEM(name, prefix, sfx, type, size)                                                     \
	HANDLER(name)                                                                              \
	{                                                                                          \
		void *p = x86_rmw_operand(cpu, insn, size);                                        \
		__asm__ volatile(prefix "not" #sfx " %0" : "+m"(*(type *)p) : : "memory");         \
		x86_rmw_end(cpu, p);                                                               \
		X86_NEXT();                                                                        \
	}

#define MAKE_NOT(ins, sfx, type, size)                                                             \
	HANDLER(ins##_r_##sfx)                                                                     \
	{                                                                                          \
		SET_##sfx(insn->dst, (type)~REG(type, insn->dst));                                 \
		X86_NEXT();                                                                        \
	}                                                                                          \
	NOT_MEM(ins##_m_##sfx, "", sfx, type, size)                                                \
	NOT_MEM(ins##_ml_##sfx, "lock; ", sfx, type, size)

EACH_SIZE(MAKE_UNARY, inc, X86_LOAD_CF)
EACH_SIZE(MAKE_UNARY, dec, X86_LOAD_CF)
EACH_SIZE(MAKE_UNARY, neg, "")
EACH_SIZE(MAKE_NOT, not)

x86_fn4 x86_incdec_r[2] = { ROW(inc, r), ROW(dec, r) };
x86_fn4 x86_incdec_m[2] = { ROW(inc, m), ROW(dec, m) };
x86_fn4 x86_incdec_ml[2] = { ROW(inc, ml), ROW(dec, ml) };
x86_fn4 x86_notneg_r[2] = { ROW(not, r), ROW(neg, r) };
x86_fn4 x86_notneg_m[2] = { ROW(not, m), ROW(neg, m) };
x86_fn4 x86_notneg_ml[2] = { ROW(not, ml), ROW(neg, ml) };
