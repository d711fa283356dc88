/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PUSH, POP and their relatives. The 64-bit forms and those of a flat 32-bit stack are fast; the
 * others go through struct x86_stack. RSP is written last, so that a fault leaves it alone.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

void x86_op_push64_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t sp = cpu->gpr[X86_RSP] - 8;

	x86_write(cpu, insn, sp, X86_R64(insn->src), 8, X86_SS);
	cpu->gpr[X86_RSP] = sp;
	X86_NEXT();
}

void x86_op_push64_i(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t sp = cpu->gpr[X86_RSP] - 8;

	x86_write(cpu, insn, sp, insn->imm, 8, X86_SS);
	cpu->gpr[X86_RSP] = sp;
	X86_NEXT();
}

void x86_op_pop64_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t v = x86_read(cpu, insn, cpu->gpr[X86_RSP], 8, X86_SS);

	cpu->gpr[X86_RSP] += 8;
	X86_R64(insn->dst) = v; /* POP RSP: the value wins */
	X86_NEXT();
}

void x86_op_push32_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t sp = X86_R32(X86_RSP * 8) - 4;

	x86_write(cpu, insn, sp, X86_R32(insn->src), 4, X86_SS);
	cpu->gpr[X86_RSP] = sp;
	X86_NEXT();
}

void x86_op_push32_i(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t sp = X86_R32(X86_RSP * 8) - 4;

	x86_write(cpu, insn, sp, (uint32_t)insn->imm, 4, X86_SS);
	cpu->gpr[X86_RSP] = sp;
	X86_NEXT();
}

void x86_op_push32_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t sp = X86_R32(X86_RSP * 8) - 4;

	x86_write(cpu, insn, sp, x86_load(cpu, insn, 4), 4, X86_SS);
	cpu->gpr[X86_RSP] = sp;
	X86_NEXT();
}

void x86_op_pop32_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t v = x86_read(cpu, insn, X86_R32(X86_RSP * 8), 4, X86_SS);

	cpu->gpr[X86_RSP] = X86_R32(X86_RSP * 8) + 4;
	X86_R64(insn->dst) = v;
	X86_NEXT();
}

static void push(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t v)
{
	struct x86_stack st;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, insn->opsize, v);
	x86_stack_commit(cpu, &st);
}

void x86_op_push(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	push(cpu, insn, insn->src == 0xffff ? insn->imm : X86_R64(insn->src));
	X86_NEXT();
}

void x86_op_push_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	push(cpu, insn, x86_load(cpu, insn, insn->opsize));
	X86_NEXT();
}

void x86_op_pop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	uint64_t v;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	v = x86_stack_pop(cpu, &st, insn->opsize);
	x86_stack_commit(cpu, &st);
	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	X86_NEXT();
}

/* The address is computed with the stack pointer already incremented. */
void x86_op_pop_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t sp = cpu->gpr[X86_RSP], v, lin;
	struct x86_stack st;
	struct x86_insn moved = *insn;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	v = x86_stack_pop(cpu, &st, insn->opsize);
	if (insn->base == X86_RSP * 8)
		moved.disp += (int64_t)(st.sp - sp);
	lin = x86_seg_linear(cpu, insn, insn->seg, x86_ea_offset(cpu, &moved), insn->opsize,
			     X86_ACC_WRITE);
	x86_write(cpu, insn, lin, v, insn->opsize, insn->seg);
	x86_stack_commit(cpu, &st);
	X86_NEXT();
}

void x86_op_pusha(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	unsigned int i;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	for (i = 0; i < 8; i++)
		x86_stack_push(cpu, &st, insn->opsize, cpu->gpr[i]);
	x86_stack_commit(cpu, &st);
	X86_NEXT();
}

/* Registers are loaded as the pops go, RSP last: a fault leaves the instruction restartable. */
void x86_op_popa(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	unsigned int i;
	uint64_t v;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	for (i = 8; i--;) {
		v = x86_stack_pop(cpu, &st, insn->opsize);
		if (i != X86_RSP)
			x86_reg_set(cpu, i * 8, insn->opsize, v);
	}
	x86_stack_commit(cpu, &st);
	X86_NEXT();
}

/* ---- flags ---------------------------------------------------------------------------------------- */

void x86_op_pushf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t flags = x86_get_rflags(cpu) & ~(uint64_t)(X86_FL_VM | X86_FL_RF);

	x86_begin(cpu, insn);
	if (x86_icpt_simple(cpu, insn, X86_ICPT_PUSHF))
		X86_NEXT();
	if (x86_v86(cpu) && x86_iopl(cpu) < 3) {
		if (!(cpu->cr4 & X86_CR4_VME) || insn->opsize != 2)
			x86_gp(cpu, 0);
		/* VME: the program sees its virtual IF and full IOPL. */
		flags = (flags & ~(uint64_t)X86_FL_IF) | X86_FL_IOPL |
			(cpu->eflags & X86_FL_VIF ? X86_FL_IF : 0);
	}
	push(cpu, insn, flags);
	X86_NEXT();
}

static uint64_t popf_mask(const struct x86_cpu *cpu, unsigned int size)
{
	uint64_t mask = X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT;

	if (size > 2)
		mask |= X86_FL_AC | X86_FL_ID | X86_FL_RF;
	if (!x86_pe(cpu) || cpu->cpl == 0)
		return mask | X86_FL_IF | X86_FL_IOPL;
	return cpu->cpl <= x86_iopl(cpu) ? mask | X86_FL_IF : mask;
}

void x86_op_popf(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t flags, mask;
	struct x86_stack st;

	x86_begin(cpu, insn);
	if (x86_icpt_simple(cpu, insn, X86_ICPT_POPF)) {
		x86_advance(cpu, insn);
		return;
	}
	if (x86_v86(cpu) && x86_iopl(cpu) < 3 && (!(cpu->cr4 & X86_CR4_VME) || insn->opsize != 2))
		x86_gp(cpu, 0);
	x86_stack_current(cpu, &st);
	flags = x86_stack_pop(cpu, &st, insn->opsize) & ~(uint64_t)X86_FL_RF;
	mask = popf_mask(cpu, insn->opsize);
	if (x86_v86(cpu) && x86_iopl(cpu) < 3) {
		if ((flags & X86_FL_TF) || ((flags & X86_FL_IF) && (cpu->eflags & X86_FL_VIP)))
			x86_gp(cpu, 0);
		flags = flags & X86_FL_IF ? flags | X86_FL_VIF : flags & ~(uint64_t)X86_FL_VIF;
		mask = (mask & ~(uint64_t)(X86_FL_IF | X86_FL_IOPL)) | X86_FL_VIF;
	}
	x86_stack_commit(cpu, &st);
	x86_write_flags(cpu, flags, mask);
	x86_advance(cpu, insn);
}

/* ---- frames ----------------------------------------------------------------------------------------- */

static uint64_t masked(uint64_t old, uint64_t v, uint64_t mask)
{
	return (old & ~mask) | (v & mask);
}

static void enter_frames(struct x86_cpu *cpu, struct x86_stack *st, unsigned int size,
			 unsigned int level, uint64_t frame)
{
	uint64_t bp = cpu->gpr[X86_RBP];
	struct x86_stack up = *st;

	for (; level > 1; level--) {
		bp = masked(bp, bp - size, st->mask);
		up.sp = bp;
		x86_stack_push(cpu, st, size, x86_stack_pop(cpu, &up, size));
	}
	x86_stack_push(cpu, st, size, frame);
}

void x86_op_enter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, level = insn->imm >> 16;
	struct x86_stack st;
	uint64_t frame;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, size, cpu->gpr[X86_RBP]);
	frame = st.sp;
	if (level)
		enter_frames(cpu, &st, size, level, frame);
	st.sp = masked(st.sp, st.sp - (insn->imm & 0xffff), st.mask);
	/* The new stack top must be writable. */
	x86_stack_probe(cpu, &st, size);
	x86_reg_set(cpu, X86_RBP * 8, size, frame);
	x86_stack_commit(cpu, &st);
	X86_NEXT();
}

void x86_op_leave64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t bp = cpu->gpr[X86_RBP], v = x86_read(cpu, insn, bp, 8, X86_SS);

	cpu->gpr[X86_RSP] = bp + 8;
	cpu->gpr[X86_RBP] = v;
	X86_NEXT();
}

void x86_op_leave32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t bp = X86_R32(X86_RBP * 8);
	uint64_t v = x86_read(cpu, insn, bp, 4, X86_SS);

	cpu->gpr[X86_RSP] = bp + 4;
	cpu->gpr[X86_RBP] = v;
	X86_NEXT();
}

void x86_op_leave(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	uint64_t v;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	st.sp = masked(st.sp, cpu->gpr[X86_RBP], st.mask);
	v = x86_stack_pop(cpu, &st, insn->opsize);
	x86_stack_commit(cpu, &st);
	x86_reg_set(cpu, X86_RBP * 8, insn->opsize, v);
	X86_NEXT();
}
