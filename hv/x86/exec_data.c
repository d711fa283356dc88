/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data movement: MOV, LEA, extensions, exchanges, compare-and-exchange, conditional moves and
 * sets, single flag bits.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

#define SET_b(off, v) (X86_R8(off) = (v))
#define SET_w(off, v) (X86_R16(off) = (v))
#define SET_l(off, v) (X86_R64(off) = (v))
#define SET_q(off, v) (X86_R64(off) = (v))
#define REG(type, off) (*(type *)((char *)cpu + (off)))
#define HANDLER(name) static void name(struct x86_cpu *cpu, const struct x86_insn *insn)
#define ROW(name) { name##_b, name##_w, name##_l, name##_q }

#define MAKE_MOV(sfx, type, size)                                                                  \
	HANDLER(mov_rr_##sfx)                                                                      \
	{                                                                                          \
		type v = REG(type, insn->src);                                                     \
		SET_##sfx(insn->dst, v);                                                           \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(mov_rm_##sfx)                                                                      \
	{                                                                                          \
		type v = (type)x86_load(cpu, insn, size);                                          \
		SET_##sfx(insn->dst, v);                                                           \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(mov_mr_##sfx)                                                                      \
	{                                                                                          \
		x86_store(cpu, insn, size, REG(type, insn->src));                                  \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(mov_ri_##sfx)                                                                      \
	{                                                                                          \
		SET_##sfx(insn->dst, (type)insn->imm);                                             \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(mov_mi_##sfx)                                                                      \
	{                                                                                          \
		x86_store(cpu, insn, size, (type)insn->imm);                                       \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(lea_##sfx)                                                                         \
	{                                                                                          \
		SET_##sfx(insn->dst, (type)x86_ea_offset(cpu, insn));                              \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(lea_flat_##sfx)                                                                    \
	{                                                                                          \
		uint64_t ea = X86_R64(insn->base) + (X86_R64(insn->index) << insn->scale) +        \
			      (uint64_t)insn->disp;                                                \
		SET_##sfx(insn->dst, (type)ea);                                                    \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(xchg_rr_##sfx)                                                                     \
	{                                                                                          \
		type a = REG(type, insn->dst), b = REG(type, insn->src);                           \
		SET_##sfx(insn->src, a);                                                           \
		SET_##sfx(insn->dst, b);                                                           \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(xchg_mr_##sfx)                                                                     \
	{                                                                                          \
		void *p = x86_rmw_operand(cpu, insn, size);                                        \
		type v = REG(type, insn->src);                                                     \
		__asm__ volatile("xchg" #sfx " %0, %1" : "+q"(v), "+m"(*(type *)p) : : "memory");  \
		x86_rmw_end(cpu, p);                                                               \
		SET_##sfx(insn->src, v);                                                           \
		X86_NEXT();                                                                        \
	}

MAKE_MOV(b, uint8_t, 1)
MAKE_MOV(w, uint16_t, 2)
MAKE_MOV(l, uint32_t, 4)
MAKE_MOV(q, uint64_t, 8)

x86_fn4 x86_mov_rr = ROW(mov_rr);
x86_fn4 x86_mov_rm = ROW(mov_rm);
x86_fn4 x86_mov_mr = ROW(mov_mr);
x86_fn4 x86_mov_ri = ROW(mov_ri);
x86_fn4 x86_mov_mi = ROW(mov_mi);
x86_fn4 x86_lea = ROW(lea);
x86_fn4 x86_lea_flat = ROW(lea_flat);
x86_fn4 x86_xchg_rr = ROW(xchg_rr);
x86_fn4 x86_xchg_mr = ROW(xchg_mr);

/* ---- extensions ------------------------------------------------------------------------------------ */

#define MAKE_EXT(name, from, to, size, sfx)                                                        \
	HANDLER(name##_r_##sfx)                                                                    \
	{                                                                                          \
		SET_##sfx(insn->dst, (to)REG(from, insn->src));                                    \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(name##_m_##sfx)                                                                    \
	{                                                                                          \
		from v = (from)x86_load(cpu, insn, size);                                          \
		SET_##sfx(insn->dst, (to)v);                                                       \
		X86_NEXT();                                                                        \
	}

#define MAKE_EXTS(name, from, size, to16, to32, to64)                                              \
	MAKE_EXT(name, from, to16, size, w)                                                        \
	MAKE_EXT(name, from, to32, size, l)                                                        \
	MAKE_EXT(name, from, to64, size, q)

/* The sign extends to the destination's width and no further. */
MAKE_EXTS(movzx8, uint8_t, 1, uint16_t, uint32_t, uint64_t)
MAKE_EXTS(movzx16, uint16_t, 2, uint16_t, uint32_t, uint64_t)
MAKE_EXTS(movsx8, int8_t, 1, uint16_t, uint32_t, uint64_t)
MAKE_EXTS(movsx16, int16_t, 2, uint16_t, uint32_t, uint64_t)
MAKE_EXTS(movsx32, int32_t, 4, uint16_t, uint32_t, uint64_t)

#define EXT_ROW(name, form) { NULL, name##_##form##_w, name##_##form##_l, name##_##form##_q }
x86_fn4 x86_movzx_r[3] = { EXT_ROW(movzx8, r), EXT_ROW(movzx16, r) };
x86_fn4 x86_movzx_m[3] = { EXT_ROW(movzx8, m), EXT_ROW(movzx16, m) };
x86_fn4 x86_movsx_r[3] = { EXT_ROW(movsx8, r), EXT_ROW(movsx16, r), EXT_ROW(movsx32, r) };
x86_fn4 x86_movsx_m[3] = { EXT_ROW(movsx8, m), EXT_ROW(movsx16, m), EXT_ROW(movsx32, m) };

void x86_op_cbw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;

	x86_reg_set(cpu, 0, size, x86_sext(cpu->gpr[X86_RAX], size / 2));
	X86_NEXT();
}

void x86_op_cwd(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	bool neg = cpu->gpr[X86_RAX] >> (size * 8 - 1) & 1;

	x86_reg_set(cpu, X86_RDX * 8, size, neg ? UINT64_MAX & x86_mask(size) : 0);
	X86_NEXT();
}

/* ---- conditions -------------------------------------------------------------------------------------- */

#define MAKE_COND(n)                                                                               \
	HANDLER(setcc_r_##n)                                                                       \
	{                                                                                          \
		X86_R8(insn->dst) = x86_cond(cpu->cc, n);                                          \
		X86_NEXT();                                                                        \
	}                                                                                          \
	HANDLER(cmov_rr_##n)                                                                       \
	{                                                                                          \
		bool c = x86_cond(cpu->cc, n);                                                     \
		uint64_t d = X86_R64(insn->dst), s = X86_R64(insn->src);                           \
		if (insn->opsize == 8)                                                             \
			X86_R64(insn->dst) = c ? s : d;                                            \
		else if (insn->opsize == 4)                                                        \
			X86_R64(insn->dst) = (uint32_t)(c ? s : d);                                \
		else if (c)                                                                        \
			X86_R16(insn->dst) = (uint16_t)s;                                          \
		X86_NEXT();                                                                        \
	}

MAKE_COND(0)
MAKE_COND(1)
MAKE_COND(2)
MAKE_COND(3)
MAKE_COND(4)
MAKE_COND(5)
MAKE_COND(6)
MAKE_COND(7)
MAKE_COND(8)
MAKE_COND(9)
MAKE_COND(10)
MAKE_COND(11)
MAKE_COND(12)
MAKE_COND(13)
MAKE_COND(14)
MAKE_COND(15)

#define CONDS(name)                                                                                \
	{                                                                                          \
		name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7,    \
			name##_8, name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, \
			name##_15                                                                  \
	}
x86_insn_fn *const x86_setcc_r[16] = CONDS(setcc_r);
x86_insn_fn *const x86_cmov_rr[16] = CONDS(cmov_rr);

/* The load happens, and may fault, whatever the condition. */
void x86_op_cmov_rm(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t v = x86_load(cpu, insn, size);

	if (!x86_cond(cpu->cc, insn->opcode & 15))
		v = x86_reg_get(cpu, insn->dst, size);
	x86_reg_set(cpu, insn->dst, size, v);
	X86_NEXT();
}

void x86_op_setcc_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_store(cpu, insn, 1, x86_cond(cpu->cc, insn->opcode & 15));
	X86_NEXT();
}

/* ---- CMPXCHG, XADD -------------------------------------------------------------------------------------- */

#define CMPXCHG(prefix, sfx, type, mod)                                                            \
	__asm__ volatile(prefix "cmpxchg" #sfx " %" #mod "[s], %[m]\n\tmov %%rax, %[r]\n\t"        \
			 X86_SAVE_CC                                                               \
			 : [m] "+m"(*(type *)p), "+&a"(a), [r] "=&r"(old)                          \
			 : [s] "q"(s) : "cc", "memory")

#define CMPXCHG_SIZES(prefix)                                                                      \
	do {                                                                                       \
		if (size == 1)                                                                     \
			CMPXCHG(prefix, b, uint8_t, b);                                            \
		else if (size == 2)                                                                \
			CMPXCHG(prefix, w, uint16_t, w);                                           \
		else if (size == 4)                                                                \
			CMPXCHG(prefix, l, uint32_t, k);                                           \
		else                                                                               \
			CMPXCHG(prefix, q, uint64_t, q);                                           \
	} while (0)

static void cmpxchg(struct x86_cpu *cpu, const struct x86_insn *insn, void *p)
{
	unsigned int size = insn->opsize;
	uint64_t a = cpu->gpr[X86_RAX], s = x86_reg_get(cpu, insn->src, size), old;

	if (insn->flags & X86_I_LOCK)
		CMPXCHG_SIZES("lock; ");
	else
		CMPXCHG_SIZES("");
	x86_rmw_end(cpu, p);
	cpu->cc = (uint16_t)a;
	/* The accumulator is written only when the comparison failed. */
	if (!(a & X86_CC_ZF))
		x86_reg_set(cpu, 0, size, old & x86_mask(size));
}

void x86_op_cmpxchg_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cmpxchg(cpu, insn, x86_rmw_operand(cpu, insn, insn->opsize));
	X86_NEXT();
}

void x86_op_cmpxchg_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t d = x86_reg_get(cpu, insn->dst, size);

	cmpxchg(cpu, insn, &d);
	if (cpu->cc & X86_CC_ZF)
		x86_reg_set(cpu, insn->dst, size, d);
	X86_NEXT();
}

#define XADD(prefix, sfx, type)                                                                    \
	do {                                                                                       \
		type v_ = (type)v;                                                                 \
		__asm__ volatile(prefix "xadd" #sfx " %[s], %[m]\n\t" X86_SAVE_CC                  \
				 : [m] "+m"(*(type *)p), [s] "+q"(v_), "=&a"(cc) : : "cc", "memory"); \
		v = v_;                                                                            \
	} while (0)

#define XADD_SIZES(prefix)                                                                         \
	do {                                                                                       \
		if (size == 1)                                                                     \
			XADD(prefix, b, uint8_t);                                                  \
		else if (size == 2)                                                                \
			XADD(prefix, w, uint16_t);                                                 \
		else if (size == 4)                                                                \
			XADD(prefix, l, uint32_t);                                                 \
		else                                                                               \
			XADD(prefix, q, uint64_t);                                                 \
	} while (0)

void x86_op_xadd_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	void *p = x86_rmw_operand(cpu, insn, size);
	uint64_t v = x86_reg_get(cpu, insn->src, size);
	uint16_t cc;

	if (insn->flags & X86_I_LOCK)
		XADD_SIZES("lock; ");
	else
		XADD_SIZES("");
	x86_rmw_end(cpu, p);
	x86_reg_set(cpu, insn->src, size, v);
	cpu->cc = cc;
	X86_NEXT();
}

void x86_op_xadd_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t d = x86_reg_get(cpu, insn->dst, size), v = x86_reg_get(cpu, insn->src, size), *p = &d;
	uint16_t cc;

	XADD_SIZES("");
	x86_reg_set(cpu, insn->src, size, v);
	x86_reg_set(cpu, insn->dst, size, d);
	cpu->cc = cc;
	X86_NEXT();
}

static void set_zf(struct x86_cpu *cpu, bool zf)
{
	cpu->cc = (cpu->cc & ~X86_CC_ZF) | (zf ? X86_CC_ZF : 0);
}

void x86_op_cmpxchg8b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t expect = (uint32_t)cpu->gpr[X86_RAX] | cpu->gpr[X86_RDX] << 32;
	uint64_t want = (uint32_t)cpu->gpr[X86_RBX] | cpu->gpr[X86_RCX] << 32;
	void *p = x86_rmw_operand(cpu, insn, 8);
	uint64_t old = expect;

	__asm__ volatile("lock; cmpxchgq %[w], %[m]"
			 : [m] "+m"(*(uint64_t *)p), "+a"(old) : [w] "r"(want) : "cc", "memory");
	x86_rmw_end(cpu, p);
	set_zf(cpu, old == expect);
	if (old != expect) {
		cpu->gpr[X86_RAX] = (uint32_t)old;
		cpu->gpr[X86_RDX] = old >> 32;
	}
	X86_NEXT();
}

void x86_op_cmpxchg16b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t lin = x86_ea(cpu, insn, 16, X86_ACC_WRITE);
	uint64_t a = cpu->gpr[X86_RAX], d = cpu->gpr[X86_RDX];
	bool equal;
	void *p;

	if (lin & 15) {
		x86_begin(cpu, insn);
		x86_gp(cpu, 0);
	}
	p = x86_rmw(cpu, insn, lin, 16, insn->seg);
	__asm__ volatile("lock; cmpxchg16b %[m]\n\tsetz %[z]"
			 : [m] "+m"(*(unsigned __int128 *)p), "+a"(a), "+d"(d), [z] "=q"(equal)
			 : "b"(cpu->gpr[X86_RBX]), "c"(cpu->gpr[X86_RCX]) : "cc", "memory");
	x86_rmw_end(cpu, p);
	set_zf(cpu, equal);
	cpu->gpr[X86_RAX] = a;
	cpu->gpr[X86_RDX] = d;
	X86_NEXT();
}

/* ---- the rest ----------------------------------------------------------------------------------------------- */

static uint64_t bswap(uint64_t v, unsigned int size)
{
	return __builtin_bswap64(v) >> (64 - size * 8);
}

void x86_op_movbe_load(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_reg_set(cpu, insn->dst, insn->opsize, bswap(x86_load(cpu, insn, insn->opsize), insn->opsize));
	X86_NEXT();
}

void x86_op_movbe_store(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_store(cpu, insn, insn->opsize, bswap(X86_R64(insn->dst), insn->opsize));
	X86_NEXT();
}

void x86_op_movdiri(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_store(cpu, insn, insn->opsize, X86_R64(insn->dst));
	X86_NEXT();
}

void x86_op_movdir64b(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t to = x86_reg_get(cpu, insn->dst, insn->adsize), from;
	uint8_t data[64];

	x86_begin(cpu, insn);
	if (to & 63)
		x86_gp(cpu, 0);
	from = x86_ea(cpu, insn, 64, X86_ACC_READ);
	to = x86_seg_linear(cpu, insn, X86_ES, to, 64, X86_ACC_WRITE);
	x86_copy_from(cpu, from, data, 64, cpu->tlb_mode);
	x86_copy_to(cpu, to, data, 64, cpu->tlb_mode);
	X86_NEXT();
}

void x86_op_xlat(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t off = (cpu->gpr[X86_RBX] + X86_R8(0)) & x86_mask(insn->adsize);
	uint64_t lin = x86_seg_linear(cpu, insn, insn->seg, off, 1, X86_ACC_READ);

	X86_R8(0) = (uint8_t)x86_read(cpu, insn, lin, 1, insn->seg);
	X86_NEXT();
}

void x86_op_nop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	X86_NEXT();
}

void x86_op_lahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->code_size == 8 && !x86_has(cpu, X86_FEAT_LAHF64)) {
		x86_begin(cpu, insn);
		x86_ud(cpu);
	}
	X86_R8(1) = (uint8_t)(x86_cc_to_flags(cpu->cc) | X86_FL_ONE);
	X86_NEXT();
}

void x86_op_sahf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (cpu->code_size == 8 && !x86_has(cpu, X86_FEAT_LAHF64)) {
		x86_begin(cpu, insn);
		x86_ud(cpu);
	}
	cpu->cc = (cpu->cc & X86_CC_OF) | (x86_flags_to_cc(X86_R8(1)) & ~X86_CC_OF);
	X86_NEXT();
}

void x86_op_salc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	X86_R8(0) = cpu->cc & X86_CC_CF ? 0xff : 0;
	X86_NEXT();
}

void x86_op_clc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->cc &= ~X86_CC_CF;
	X86_NEXT();
}

void x86_op_stc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->cc |= X86_CC_CF;
	X86_NEXT();
}

void x86_op_cmc(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->cc ^= X86_CC_CF;
	X86_NEXT();
}

void x86_op_cld(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->eflags &= ~X86_FL_DF;
	X86_NEXT();
}

void x86_op_std(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->eflags |= X86_FL_DF;
	X86_NEXT();
}
