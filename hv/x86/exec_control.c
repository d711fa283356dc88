/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Near transfers, software interrupts, HLT, PAUSE. In 64-bit code the decoder has added the
 * instruction's offset and length to relative targets, so that they are relative to cpu->rip.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

#define HANDLER(name) static void name(struct x86_cpu *cpu, const struct x86_insn *insn)

_Noreturn static void bad_target(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	x86_gp(cpu, 0);
}

static inline void go64(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	/* From canonical rip, targets in the same 2^46 bytes need no closer look. */
	if (x86_unlikely((target ^ cpu->rip) >> 46) && x86_noncanonical(cpu, target))
		bad_target(cpu, insn);
	cpu->rip = target;
}

/* 16- and 32-bit code: the target is truncated to the operand size and checked against CS. */
static uint64_t target_legacy(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	target = insn->opsize == 2 ? (uint16_t)target : (uint32_t)target;
	if (target > cpu->seg[X86_CS].limit)
		bad_target(cpu, insn);
	return target;
}

static inline uint64_t relative(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return cpu->rip + insn->off + insn->len + insn->imm;
}

/* ---- Jcc, JMP ----------------------------------------------------------------------------------------- */

#define MAKE_JCC(n)                                                                                \
	HANDLER(jcc64_##n)                                                                         \
	{                                                                                          \
		if (x86_cond(cpu->cc, n))                                                          \
			go64(cpu, insn, cpu->rip + insn->imm);                                     \
		else                                                                               \
			cpu->rip += insn->off + insn->len;                                         \
	}                                                                                          \
	HANDLER(jcc_##n)                                                                           \
	{                                                                                          \
		if (x86_cond(cpu->cc, n))                                                          \
			cpu->rip = target_legacy(cpu, insn, relative(cpu, insn));                  \
		else                                                                               \
			x86_advance(cpu, insn);                                                    \
	}

MAKE_JCC(0)
MAKE_JCC(1)
MAKE_JCC(2)
MAKE_JCC(3)
MAKE_JCC(4)
MAKE_JCC(5)
MAKE_JCC(6)
MAKE_JCC(7)
MAKE_JCC(8)
MAKE_JCC(9)
MAKE_JCC(10)
MAKE_JCC(11)
MAKE_JCC(12)
MAKE_JCC(13)
MAKE_JCC(14)
MAKE_JCC(15)

#define CONDS(name)                                                                                \
	{                                                                                          \
		name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7,    \
			name##_8, name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, \
			name##_15                                                                  \
	}
x86_insn_fn *const x86_jcc64[16] = CONDS(jcc64);
x86_insn_fn *const x86_jcc[16] = CONDS(jcc);

void x86_op_jmp64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	go64(cpu, insn, cpu->rip + insn->imm);
}

void x86_op_jmp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->rip = target_legacy(cpu, insn, relative(cpu, insn));
}

void x86_op_jmp_ind64_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	go64(cpu, insn, X86_R64(insn->src));
}

static uint64_t indirect(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->flags & X86_I_MEM)
		return x86_load(cpu, insn, insn->opsize);
	return x86_reg_get(cpu, insn->src, insn->opsize);
}

void x86_op_jmp_ind(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t target = indirect(cpu, insn);

	if (insn->flags & X86_I_CODE64)
		go64(cpu, insn, target);
	else
		cpu->rip = target_legacy(cpu, insn, target);
}

/* ---- CALL, RET ------------------------------------------------------------------------------------------ */

static inline void call64(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	uint64_t sp = cpu->gpr[X86_RSP] - 8;

	/* Processors store the return address before they look at the target. */
	x86_write(cpu, insn, sp, cpu->rip + insn->off + insn->len, 8, X86_SS);
	go64(cpu, insn, target);
	cpu->gpr[X86_RSP] = sp;
}

void x86_op_call64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	call64(cpu, insn, cpu->rip + insn->imm);
}

void x86_op_call_ind64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	call64(cpu, insn, insn->flags & X86_I_MEM ? x86_load(cpu, insn, 8) : X86_R64(insn->src));
}

static void call_legacy(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t target)
{
	struct x86_stack st;

	if (insn->flags & X86_I_STACK32 && insn->opsize == 4) {
		uint32_t sp = X86_R32(X86_RSP * 8) - 4;

		x86_write(cpu, insn, sp, (uint32_t)(cpu->rip + insn->off + insn->len), 4, X86_SS);
		cpu->rip = target_legacy(cpu, insn, target);
		cpu->gpr[X86_RSP] = sp;
		return;
	}
	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, insn->opsize, cpu->rip + insn->off + insn->len);
	target = target_legacy(cpu, insn, target);
	x86_stack_commit(cpu, &st);
	cpu->rip = target;
}

void x86_op_call(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	call_legacy(cpu, insn, relative(cpu, insn));
}

void x86_op_call_ind(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	call_legacy(cpu, insn, indirect(cpu, insn));
}

/* RET imm16 has the immediate in imm; the decoder has added offset and length to it too. */
static uint64_t released(const struct x86_insn *insn)
{
	if (insn->opcode != 0xc2)
		return 0;
	return (insn->imm - (insn->flags & X86_I_CODE64 ? insn->off + insn->len : 0u)) & 0xffff;
}

void x86_op_ret64(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t sp = cpu->gpr[X86_RSP], target = x86_read(cpu, insn, sp, 8, X86_SS);

	go64(cpu, insn, target);
	cpu->gpr[X86_RSP] = sp + 8 + released(insn);
}

void x86_op_ret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	uint64_t target;

	if (insn->flags & X86_I_STACK32 && insn->opsize == 4) {
		uint32_t sp = X86_R32(X86_RSP * 8);

		cpu->rip = target_legacy(cpu, insn, x86_read(cpu, insn, sp, 4, X86_SS));
		cpu->gpr[X86_RSP] = sp + 4 + (uint32_t)released(insn);
		return;
	}
	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	target = target_legacy(cpu, insn, x86_stack_pop(cpu, &st, insn->opsize));
	st.sp = (st.sp & ~st.mask) | ((st.sp + released(insn)) & st.mask);
	x86_stack_commit(cpu, &st);
	cpu->rip = target;
}

/* ---- LOOP, JCXZ -------------------------------------------------------------------------------------------- */

static void branch(struct x86_cpu *cpu, const struct x86_insn *insn, bool taken)
{
	if (!taken)
		x86_advance(cpu, insn);
	else if (insn->flags & X86_I_CODE64)
		go64(cpu, insn, relative(cpu, insn));
	else
		cpu->rip = target_legacy(cpu, insn, relative(cpu, insn));
}

void x86_op_loop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t mask = x86_mask(insn->adsize), count = (cpu->gpr[X86_RCX] - 1) & mask;
	bool zf = cpu->cc & X86_CC_ZF, taken = count != 0;

	if (insn->opcode == 0xe0) /* LOOPNE */
		taken = taken && !zf;
	else if (insn->opcode == 0xe1)
		taken = taken && zf;
	branch(cpu, insn, taken);
	x86_reg_set(cpu, X86_RCX * 8, insn->adsize, count);
}

void x86_op_jcxz(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	branch(cpu, insn, !(cpu->gpr[X86_RCX] & x86_mask(insn->adsize)));
}

/* ---- interrupts on purpose ------------------------------------------------------------------------------------ */

/* Virtual-8086 INT n with VME: the redirection bitmap may send it to the program's own table. */
static bool int_redirected(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int vector)
{
	unsigned int mode = x86_system_mode(cpu), iomap, byte;
	uint64_t tss = cpu->seg[X86_TR].base, flags;
	struct x86_stack st;
	uint32_t entry;

	if (!(cpu->cr4 & X86_CR4_VME) || cpu->seg[X86_TR].limit < 103)
		return false;
	iomap = (unsigned int)x86_read_mode(cpu, (uint32_t)(tss + 102), 2, mode);
	if (iomap < 32 || iomap > cpu->seg[X86_TR].limit)
		return false;
	byte = (unsigned int)x86_read_mode(cpu, (uint32_t)(tss + iomap - 32 + vector / 8), 1, mode);
	if (byte >> (vector & 7) & 1)
		return false;
	entry = (uint32_t)x86_read_mode(cpu, vector * 4, 4, cpu->tlb_mode);
	flags = x86_get_rflags(cpu);
	if (x86_iopl(cpu) < 3)
		flags = (flags & ~(uint64_t)X86_FL_IF) | X86_FL_IOPL |
			(flags & X86_FL_VIF ? X86_FL_IF : 0);
	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, 2, flags);
	x86_stack_push(cpu, &st, 2, cpu->seg[X86_CS].selector);
	x86_stack_push(cpu, &st, 2, x86_next_rip(cpu, insn));
	x86_stack_commit(cpu, &st);
	x86_write_flags(cpu, 0, X86_FL_TF | X86_FL_NT | (x86_iopl(cpu) < 3 ? X86_FL_VIF : X86_FL_IF));
	x86_commit_cs_real(cpu, (uint16_t)(entry >> 16));
	cpu->rip = entry & 0xffff;
	return true;
}

void x86_op_int(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int vector = insn->imm & 0xff;
	struct x86_intercept_info info;

	x86_begin(cpu, insn);
	if (x86_intercepted(cpu, X86_ICPT_INTN)) {
		memset(&info, 0, sizeof(info));
		info.intn.vector = (uint8_t)vector;
		if (x86_icpt(cpu, insn, X86_ICPT_INTN, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	if (x86_v86(cpu)) {
		if (int_redirected(cpu, insn, vector))
			return;
		if (x86_iopl(cpu) < 3)
			x86_gp(cpu, 0);
	}
	x86_soft_int(cpu, insn, vector, X86_EV_SOFT_INT);
}

void x86_op_int3(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	x86_soft_int(cpu, insn, X86_BP, X86_EV_SOFT_EXC);
}

void x86_op_int1(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (x86_icpt_simple(cpu, insn, X86_ICPT_ICEBP)) {
		x86_advance(cpu, insn);
		return;
	}
	x86_soft_int(cpu, insn, X86_DB, X86_EV_PRIV_EXC);
}

void x86_op_into(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!(cpu->cc & X86_CC_OF)) {
		x86_advance(cpu, insn);
		return;
	}
	x86_begin(cpu, insn);
	x86_soft_int(cpu, insn, X86_OF, X86_EV_SOFT_EXC);
}

void x86_op_bound(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t lin;
	int64_t low, high, v;

	x86_begin(cpu, insn);
	lin = x86_ea(cpu, insn, size, X86_ACC_READ);
	low = (int64_t)x86_sext(x86_read(cpu, insn, lin, size, insn->seg), size);
	v = (int64_t)x86_sext(X86_R64(insn->dst), size);
	if (v < low)
		x86_exc(cpu, X86_BR, 0);
	lin = x86_seg_linear(cpu, insn, insn->seg,
			     (x86_ea_offset(cpu, insn) + size) & x86_mask(insn->adsize), size,
			     X86_ACC_READ);
	high = (int64_t)x86_sext(x86_read(cpu, insn, lin, size, insn->seg), size);
	if (v > high)
		x86_exc(cpu, X86_BR, 0);
	X86_NEXT();
}

void x86_op_ud(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	x86_ud(cpu);
}

void x86_op_gp0(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	x86_gp(cpu, 0);
}

void x86_op_hlt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_HLT))
		cpu->activity = X86_HALTED;
	x86_advance(cpu, insn);
}

void x86_op_pause(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	(void)x86_icpt_simple(cpu, insn, X86_ICPT_PAUSE);
	x86_serialise(cpu); /* a spinning processor sees new code soon */
	x86_advance(cpu, insn);
}
