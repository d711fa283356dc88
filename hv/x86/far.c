/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Far transfers: JMP, CALL and RET to another segment, through call gates, task gates and TSSs;
 * IRET in all its forms.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

enum { GATE_CALL16 = 4, GATE_TASK = 5, GATE_CALL32 = 12 };

struct far_target {
	uint16_t selector;
	uint64_t offset;
	uint64_t desc;
	uint64_t desc_linear;
	uint32_t ar;
};

static void read_pointer(struct x86_cpu *cpu, const struct x86_insn *insn, struct far_target *t)
{
	unsigned int size = insn->opsize;
	uint64_t lin;

	if (!(insn->flags & X86_I_MEM)) {
		t->offset = insn->imm & x86_mask(size > 4 ? 4 : size);
		t->selector = (uint16_t)(insn->imm >> 32);
		return;
	}
	lin = x86_ea(cpu, insn, size + 2, X86_ACC_READ);
	t->offset = x86_read(cpu, insn, lin, size, insn->seg);
	t->selector = (uint16_t)x86_read(cpu, insn, lin + size, 2, insn->seg);
}

static void read_target(struct x86_cpu *cpu, struct far_target *t)
{
	if (!(t->selector & 0xfffc))
		x86_gp(cpu, 0);
	t->desc = x86_read_descriptor(cpu, t->selector, X86_GP, &t->desc_linear);
	t->ar = x86_desc_ar(t->desc);
}

/* Code segment reached without a gate: the level stays. */
static void check_same_level(struct x86_cpu *cpu, const struct far_target *t)
{
	uint16_t err = t->selector & 0xfffc;
	unsigned int dpl = X86_AR_DPL(t->ar);

	if (!(t->ar & 8) || (x86_lma(cpu) && (t->ar & X86_AR_L) && (t->ar & X86_AR_DB)))
		x86_gp(cpu, err);
	if (t->ar & 4 ? dpl > cpu->cpl : (t->selector & 3u) > cpu->cpl || dpl != cpu->cpl)
		x86_gp(cpu, err);
	if (!(t->ar & X86_AR_P))
		x86_exc(cpu, X86_NP, err);
}

/* The offset must be fetchable in the new segment. */
static void check_offset(struct x86_cpu *cpu, uint64_t desc, uint64_t offset)
{
	bool to64 = x86_lma(cpu) && (x86_desc_ar(desc) & X86_AR_L);

	if (to64 ? x86_noncanonical(cpu, offset) : offset > x86_desc_limit(desc))
		x86_gp(cpu, 0);
}

static void task_transfer(struct x86_cpu *cpu, const struct x86_insn *insn, uint16_t selector,
			  unsigned int source)
{
	struct x86_icpt_task task = { .selector = selector, .source = (uint8_t)source };

	x86_switch_task(cpu, &task, x86_next_rip(cpu, insn));
	cpu->task_switched = 0;
}

/* TSS or task gate as the target of JMP or CALL. */
static void to_task(struct x86_cpu *cpu, const struct x86_insn *insn, const struct far_target *t,
		    unsigned int source)
{
	uint16_t sel = t->selector;

	if (X86_AR_DPL(t->ar) < cpu->cpl || X86_AR_DPL(t->ar) < (sel & 3u))
		x86_gp(cpu, sel & 0xfffc);
	if ((t->ar & 0x1f) == GATE_TASK) {
		if (!(t->ar & X86_AR_P))
			x86_exc(cpu, X86_NP, sel & 0xfffc);
		sel = (uint16_t)(t->desc >> 16);
	}
	task_transfer(cpu, insn, sel, source);
}

static bool is_task(const struct x86_cpu *cpu, uint32_t ar)
{
	unsigned int type = ar & 0x1f;

	return !x86_lma(cpu) && (type == 1 || type == 9 || type == GATE_TASK);
}

struct gate {
	uint16_t selector;
	uint64_t offset;
	uint64_t cs, cs_linear;
	unsigned int size, params;
	unsigned int cpl;	/* level of the target */
};

/* A call gate and the code segment behind it, for CALL (may go inward) or JMP. */
static void read_gate(struct x86_cpu *cpu, const struct far_target *t, bool call, struct gate *g)
{
	unsigned int type = t->ar & 0x1f;
	uint16_t err = t->selector & 0xfffc;
	uint32_t ar;

	if (type != GATE_CALL32 && (type != GATE_CALL16 || x86_lma(cpu)))
		x86_gp(cpu, err);
	if (X86_AR_DPL(t->ar) < cpu->cpl || X86_AR_DPL(t->ar) < (t->selector & 3u))
		x86_gp(cpu, err);
	if (!(t->ar & X86_AR_P))
		x86_exc(cpu, X86_NP, err);
	g->selector = (uint16_t)(t->desc >> 16);
	g->offset = (t->desc & 0xffff) | (t->desc >> 32 & 0xffff0000);
	g->params = t->desc >> 32 & 31;
	g->size = type == GATE_CALL16 ? 2 : 4;
	if (type == GATE_CALL16)
		g->offset &= 0xffff;
	if (x86_lma(cpu)) {
		uint64_t high = x86_read_descriptor_high(cpu, t->selector);

		if (high >> 40 & 0x1f)
			x86_gp(cpu, err);
		g->offset |= high << 32;
		g->size = 8;
	}
	if (!(g->selector & 0xfffc))
		x86_gp(cpu, 0);
	g->cs = x86_read_descriptor(cpu, g->selector, X86_GP, &g->cs_linear);
	ar = x86_desc_ar(g->cs);
	err = g->selector & 0xfffc;
	if (!(ar & X86_AR_S) || !(ar & 8) || X86_AR_DPL(ar) > cpu->cpl)
		x86_gp(cpu, err);
	if (x86_lma(cpu) && (!(ar & X86_AR_L) || (ar & X86_AR_DB)))
		x86_gp(cpu, err);
	if (!call && !(ar & 4) && X86_AR_DPL(ar) != cpu->cpl)
		x86_gp(cpu, err);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, err);
	g->cpl = ar & 4 ? cpu->cpl : X86_AR_DPL(ar);
}

/* ---- JMP ------------------------------------------------------------------------------------------ */

static void go(struct x86_cpu *cpu, uint16_t selector, uint64_t desc, uint64_t linear,
	       uint64_t offset, unsigned int cpl)
{
	check_offset(cpu, desc, offset);
	x86_set_accessed(cpu, linear, &desc);
	x86_commit_cs(cpu, selector, desc, cpl);
	cpu->rip = cpu->code_size == 8 ? offset : (uint32_t)offset;
}

void x86_op_jmp_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct far_target t;
	struct gate g;

	x86_begin(cpu, insn);
	if (!(insn->flags & X86_I_MEM) && insn->opcode == 0xff)
		x86_ud(cpu);
	read_pointer(cpu, insn, &t);
	if (!x86_prot(cpu)) {
		if (t.offset > cpu->seg[X86_CS].limit)
			x86_gp(cpu, 0);
		x86_commit_cs_real(cpu, t.selector);
		cpu->rip = t.offset;
		return;
	}
	read_target(cpu, &t);
	if (t.ar & X86_AR_S) {
		check_same_level(cpu, &t);
		go(cpu, t.selector, t.desc, t.desc_linear, t.offset, cpu->cpl);
	} else if (is_task(cpu, t.ar)) {
		to_task(cpu, insn, &t, 2);
	} else {
		read_gate(cpu, &t, false, &g);
		go(cpu, g.selector, g.cs, g.cs_linear, g.offset, cpu->cpl);
	}
}

/* ---- CALL ----------------------------------------------------------------------------------------- */

static void push_return(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_stack *st,
			unsigned int size)
{
	x86_stack_push(cpu, st, size, cpu->seg[X86_CS].selector);
	x86_stack_push(cpu, st, size, x86_next_rip(cpu, insn));
}

static void call_inner_64(struct x86_cpu *cpu, const struct x86_insn *insn, const struct gate *g)
{
	struct x86_stack st = { .mask = UINT64_MAX, .flat = true };

	st.mode = x86_system_mode(cpu);
	st.sp = x86_tss64_rsp(cpu, 4 + 8 * g->cpl);
	x86_stack_push(cpu, &st, 8, cpu->seg[X86_SS].selector);
	x86_stack_push(cpu, &st, 8, cpu->gpr[X86_RSP]);
	push_return(cpu, insn, &st, 8);
	check_offset(cpu, g->cs, g->offset);
	cpu->gpr[X86_RSP] = st.sp;
	go(cpu, g->selector, g->cs, g->cs_linear, g->offset, g->cpl);
	x86_seg_null(cpu, X86_SS, (uint16_t)g->cpl);
}

static void copy_params(struct x86_cpu *cpu, struct x86_stack *st, const struct gate *g)
{
	uint32_t params[31];
	struct x86_stack old;
	unsigned int i;

	x86_stack_current(cpu, &old);
	for (i = 0; i < g->params; i++)
		params[i] = (uint32_t)x86_stack_pop(cpu, &old, g->size);
	while (i)
		x86_stack_push(cpu, st, g->size, params[--i]);
}

static void call_inner(struct x86_cpu *cpu, const struct x86_insn *insn, const struct gate *g)
{
	struct x86_seg ss;
	struct x86_stack st = { .ss = &ss };
	uint64_t d, linear;
	uint16_t sel;

	if (x86_lma(cpu)) {
		call_inner_64(cpu, insn, g);
		return;
	}
	x86_tss_stack(cpu, g->cpl, &sel, &st.sp);
	d = x86_check_ss(cpu, sel, g->cpl, X86_TS, &linear);
	x86_set_accessed(cpu, linear, &d);
	x86_seg_from_descriptor(&ss, sel, d);
	st.base = ss.base;
	st.mask = ss.ar & X86_AR_DB ? UINT32_MAX : UINT16_MAX;
	st.ss_error = sel & 0xfffc;
	st.mode = x86_system_mode(cpu);
	x86_stack_push(cpu, &st, g->size, cpu->seg[X86_SS].selector);
	x86_stack_push(cpu, &st, g->size, cpu->gpr[X86_RSP]);
	copy_params(cpu, &st, g);
	push_return(cpu, insn, &st, g->size);
	check_offset(cpu, g->cs, g->offset);
	cpu->seg[X86_SS] = ss;
	cpu->gpr[X86_RSP] = st.mask == UINT32_MAX ? (uint32_t)st.sp : st.sp;
	go(cpu, g->selector, g->cs, g->cs_linear, g->offset, g->cpl);
}

static void call_same(struct x86_cpu *cpu, const struct x86_insn *insn, const struct far_target *t,
		      unsigned int size)
{
	struct x86_stack st;

	check_offset(cpu, t->desc, t->offset);
	x86_stack_current(cpu, &st);
	push_return(cpu, insn, &st, size);
	x86_stack_commit(cpu, &st);
	go(cpu, t->selector, t->desc, t->desc_linear, t->offset, cpu->cpl);
}

static void call_gate(struct x86_cpu *cpu, const struct x86_insn *insn, const struct far_target *t)
{
	struct far_target inner;
	struct gate g;

	read_gate(cpu, t, true, &g);
	if (g.cpl < cpu->cpl) {
		call_inner(cpu, insn, &g);
		return;
	}
	inner = (struct far_target){ .selector = g.selector, .offset = g.offset, .desc = g.cs,
				     .desc_linear = g.cs_linear };
	call_same(cpu, insn, &inner, g.size);
}

void x86_op_call_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct far_target t;
	struct x86_stack st;

	x86_begin(cpu, insn);
	if (!(insn->flags & X86_I_MEM) && insn->opcode == 0xff)
		x86_ud(cpu);
	read_pointer(cpu, insn, &t);
	if (!x86_prot(cpu)) {
		if (t.offset > cpu->seg[X86_CS].limit)
			x86_gp(cpu, 0);
		x86_stack_current(cpu, &st);
		push_return(cpu, insn, &st, insn->opsize);
		x86_stack_commit(cpu, &st);
		x86_commit_cs_real(cpu, t.selector);
		cpu->rip = t.offset;
		return;
	}
	read_target(cpu, &t);
	if (t.ar & X86_AR_S) {
		check_same_level(cpu, &t);
		call_same(cpu, insn, &t, insn->opsize);
	} else if (is_task(cpu, t.ar)) {
		to_task(cpu, insn, &t, 0);
	} else {
		call_gate(cpu, insn, &t);
	}
}

/* ---- RET and IRET to protected mode ------------------------------------------------------------------ */

/* Return code segment with RPL `rpl` >= CPL. */
static uint64_t check_return_cs(struct x86_cpu *cpu, uint16_t sel, uint64_t *linear)
{
	uint64_t d;
	uint32_t ar;
	unsigned int rpl = sel & 3;

	if (!(sel & 0xfffc))
		x86_gp(cpu, 0);
	d = x86_read_descriptor(cpu, sel, X86_GP, linear);
	ar = x86_desc_ar(d);
	if (!(ar & X86_AR_S) || !(ar & 8) || rpl < cpu->cpl)
		x86_gp(cpu, sel & 0xfffc);
	if (ar & 4 ? X86_AR_DPL(ar) > rpl : X86_AR_DPL(ar) != rpl)
		x86_gp(cpu, sel & 0xfffc);
	if (x86_lma(cpu) && (ar & X86_AR_L) && (ar & X86_AR_DB))
		x86_gp(cpu, sel & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, sel & 0xfffc);
	return d;
}

/* SS that a return to `rpl` pops; NULL selectors are good only for 64-bit code below level 3. */
static uint64_t check_return_ss(struct x86_cpu *cpu, uint16_t sel, unsigned int rpl, bool to64,
				uint64_t *linear)
{
	*linear = 0;
	if (!(sel & 0xfffc)) {
		if (!to64 || rpl == 3 || (sel & 3u) != rpl)
			x86_gp(cpu, 0);
		return 0;
	}
	return x86_check_ss(cpu, sel, rpl, X86_GP, linear);
}

struct far_return {
	uint64_t ip, sp;
	uint16_t cs, ss;
	unsigned int size;
	unsigned int release;	/* bytes of parameters */
	bool pops_ss;		/* IRET in 64-bit mode always does */
};

/* The stack `st` stands behind CS (and FLAGS). Commits everything. */
static void far_return(struct x86_cpu *cpu, struct x86_stack *st, struct far_return *r)
{
	uint64_t cs_linear, ss_linear = 0, ss = 0;
	uint64_t cs = check_return_cs(cpu, r->cs, &cs_linear);
	unsigned int rpl = r->cs & 3;
	bool outer = rpl > cpu->cpl, to64 = x86_lma(cpu) && (x86_desc_ar(cs) & X86_AR_L);

	st->sp = (st->sp & ~st->mask) | ((st->sp + r->release) & st->mask);
	if (outer || r->pops_ss) {
		r->sp = x86_stack_pop(cpu, st, r->size);
		r->ss = (uint16_t)x86_stack_pop(cpu, st, r->size);
		ss = check_return_ss(cpu, r->ss, rpl, to64, &ss_linear);
	}
	check_offset(cpu, cs, r->ip);
	x86_set_accessed(cpu, cs_linear, &cs);
	if (ss_linear)
		x86_set_accessed(cpu, ss_linear, &ss);
	if (!outer && !r->pops_ss) {
		x86_stack_commit(cpu, st);
		x86_commit_cs(cpu, r->cs, cs, rpl);
		cpu->rip = cpu->code_size == 8 ? r->ip : (uint32_t)r->ip;
		return;
	}
	x86_commit_cs(cpu, r->cs, cs, rpl);
	if (ss_linear)
		x86_commit_seg(cpu, X86_SS, r->ss, ss);
	else
		x86_seg_null(cpu, X86_SS, r->ss);
	x86_stack_current(cpu, st);
	r->sp += outer ? r->release : 0;
	st->sp = (cpu->gpr[X86_RSP] & ~st->mask) | (r->sp & st->mask);
	x86_stack_commit(cpu, st);
	cpu->rip = cpu->code_size == 8 ? r->ip : (uint32_t)r->ip;
	if (outer)
		x86_drop_outer_segs(cpu);
}

void x86_op_ret_far(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct far_return r = { .size = insn->opsize };
	struct x86_stack st;

	x86_begin(cpu, insn);
	if (insn->opcode == 0xca)
		r.release = (unsigned int)insn->imm & 0xffff;
	x86_stack_current(cpu, &st);
	r.ip = x86_stack_pop(cpu, &st, r.size);
	r.cs = (uint16_t)x86_stack_pop(cpu, &st, r.size);
	if (x86_prot(cpu)) {
		far_return(cpu, &st, &r);
		return;
	}
	if (r.ip > cpu->seg[X86_CS].limit)
		x86_gp(cpu, 0);
	st.sp = (st.sp & ~st.mask) | ((st.sp + r.release) & st.mask);
	x86_stack_commit(cpu, &st);
	x86_commit_cs_real(cpu, r.cs);
	cpu->rip = r.ip;
}

/* ---- IRET --------------------------------------------------------------------------------------------- */

static void iret_flags(struct x86_cpu *cpu, uint64_t value, unsigned int size, unsigned int old_cpl)
{
	uint64_t mask = X86_FL_ARITH | X86_FL_TF | X86_FL_DF | X86_FL_NT;

	if (size > 2)
		mask |= X86_FL_RF | X86_FL_AC | X86_FL_ID;
	if (old_cpl <= x86_iopl(cpu))
		mask |= X86_FL_IF;
	if (old_cpl == 0) {
		mask |= X86_FL_IOPL;
		if (size > 2)
			mask |= X86_FL_VIF | X86_FL_VIP;
	}
	x86_write_flags(cpu, value, mask);
}

static void iret_real(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t mask = X86_FL_ALL & ~(uint64_t)(X86_FL_VM | X86_FL_VIF | X86_FL_VIP);
	struct x86_stack st;
	uint64_t ip, flags;
	uint16_t cs;

	if (size == 2)
		mask &= 0xffff;
	x86_stack_current(cpu, &st);
	ip = x86_stack_pop(cpu, &st, size);
	cs = (uint16_t)x86_stack_pop(cpu, &st, size);
	flags = x86_stack_pop(cpu, &st, size);
	if (ip > cpu->seg[X86_CS].limit)
		x86_gp(cpu, 0);
	x86_stack_commit(cpu, &st);
	x86_commit_cs_real(cpu, cs);
	cpu->rip = ip;
	x86_write_flags(cpu, flags, mask);
}

static void iret_from_v86(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	bool vme = cpu->cr4 & X86_CR4_VME;
	uint64_t mask = X86_FL_ALL & ~(uint64_t)(X86_FL_VM | X86_FL_VIF | X86_FL_VIP | X86_FL_IOPL);
	struct x86_stack st;
	uint64_t ip, flags;
	uint16_t cs;

	if (x86_iopl(cpu) < 3 && (!vme || size != 2))
		x86_gp(cpu, 0);
	x86_stack_current(cpu, &st);
	ip = x86_stack_pop(cpu, &st, size);
	cs = (uint16_t)x86_stack_pop(cpu, &st, size);
	flags = x86_stack_pop(cpu, &st, size);
	if (ip > 0xffff)
		x86_gp(cpu, 0);
	if (size == 2)
		mask &= 0xffff;
	if (x86_iopl(cpu) < 3) { /* VME: IF stands for VIF */
		if ((flags & X86_FL_TF) || ((flags & X86_FL_IF) && (cpu->eflags & X86_FL_VIP)))
			x86_gp(cpu, 0);
		flags = flags & X86_FL_IF ? flags | X86_FL_VIF : flags & ~(uint64_t)X86_FL_VIF;
		mask = (mask & ~(uint64_t)X86_FL_IF) | X86_FL_VIF;
	}
	x86_stack_commit(cpu, &st);
	x86_commit_cs_real(cpu, cs);
	cpu->rip = ip;
	x86_write_flags(cpu, flags, mask);
}

static void iret_to_v86(struct x86_cpu *cpu, struct x86_stack *st, uint64_t ip, uint16_t cs,
			uint64_t flags)
{
	static const uint8_t order[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	uint64_t sp = x86_stack_pop(cpu, st, 4);
	uint16_t ss = (uint16_t)x86_stack_pop(cpu, st, 4), sel[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		sel[i] = (uint16_t)x86_stack_pop(cpu, st, 4);
	x86_write_flags(cpu, flags, X86_FL_ALL);
	cpu->cpl = 3;
	for (i = 0; i < 4; i++)
		x86_load_seg_real(cpu, order[i], sel[i]);
	x86_load_seg_real(cpu, X86_SS, ss);
	x86_commit_cs_real(cpu, cs);
	cpu->gpr[X86_RSP] = (uint32_t)sp;
	cpu->rip = ip & 0xffff;
}

static void iret_task(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t link;

	if (x86_lma(cpu))
		x86_gp(cpu, 0);
	link = (uint16_t)x86_read_mode(cpu, (uint32_t)cpu->seg[X86_TR].base, 2, x86_system_mode(cpu));
	task_transfer(cpu, insn, link, 1);
}

static void iret_prot(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct far_return r = { .size = insn->opsize, .pops_ss = cpu->code_size == 8 };
	unsigned int cpl = cpu->cpl;
	struct x86_stack st;
	uint64_t flags;

	x86_stack_current(cpu, &st);
	r.ip = x86_stack_pop(cpu, &st, r.size);
	r.cs = (uint16_t)x86_stack_pop(cpu, &st, r.size);
	flags = x86_stack_pop(cpu, &st, r.size);
	if ((flags & X86_FL_VM) && r.size == 4 && cpl == 0 && !x86_lma(cpu)) {
		iret_to_v86(cpu, &st, r.ip, r.cs, flags);
		return;
	}
	far_return(cpu, &st, &r);
	iret_flags(cpu, flags, r.size, cpl);
}

void x86_iret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (!x86_pe(cpu))
		iret_real(cpu, insn);
	else if (x86_v86(cpu))
		iret_from_v86(cpu, insn);
	else if (cpu->eflags & X86_FL_NT)
		iret_task(cpu, insn);
	else
		iret_prot(cpu, insn);
}

void x86_op_iret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t blocked = cpu->intr_state & X86_BLOCK_NMI;

	x86_begin(cpu, insn);
	if (x86_icpt_simple(cpu, insn, X86_ICPT_IRET)) {
		x86_advance(cpu, insn);
		return;
	}
	/* NMIs are unblocked even when IRET faults. */
	cpu->iret_unblocked = blocked && !cpu->keep_nmi_block;
	if (cpu->iret_unblocked)
		cpu->intr_state &= ~(uint32_t)X86_BLOCK_NMI;
	x86_iret(cpu, insn);
	cpu->iret_unblocked = 0;
	x86_serialise(cpu);
	x86_update_pending(cpu);
}
