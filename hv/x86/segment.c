/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segment registers: descriptors read from the tables, the checks of loading a data or stack
 * segment, the hidden parts.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

void x86_seg_from_descriptor(struct x86_seg *seg, uint16_t selector, uint64_t d)
{
	seg->selector = selector;
	seg->base = x86_desc_base(d);
	seg->limit = x86_desc_limit(d);
	seg->ar = x86_desc_ar(d);
	x86_seg_update(seg);
}

static uint64_t descriptor_address(struct x86_cpu *cpu, uint16_t selector, unsigned int vector)
{
	uint64_t base = cpu->gdtr.base;
	uint32_t limit = cpu->gdtr.limit;

	if (selector & 4) {
		if (cpu->seg[X86_LDTR].ar & X86_AR_UNUSABLE || !(cpu->seg[X86_LDTR].ar & X86_AR_P))
			x86_exc(cpu, vector, selector & 0xfffc);
		base = cpu->seg[X86_LDTR].base;
		limit = cpu->seg[X86_LDTR].limit;
	}
	if ((selector | 7u) > limit)
		x86_exc(cpu, vector, selector & 0xfffc);
	base += selector & 0xfff8;
	return x86_lma(cpu) ? base : (uint32_t)base;
}

uint64_t x86_read_descriptor(struct x86_cpu *cpu, uint16_t selector, unsigned int vector,
			     uint64_t *linear)
{
	uint64_t at = descriptor_address(cpu, selector, vector);

	if (linear)
		*linear = at;
	return x86_read_mode(cpu, at, 8, x86_system_mode(cpu));
}

uint64_t x86_read_descriptor_high(struct x86_cpu *cpu, uint16_t selector)
{
	const struct x86_seg *ldtr = &cpu->seg[X86_LDTR];
	uint32_t limit = selector & 4 ? ldtr->limit : cpu->gdtr.limit;
	uint64_t at = (selector & 4 ? ldtr->base : cpu->gdtr.base) + (selector & 0xfff8u) + 8;

	/* The first half was within the table: the error code is the selector's. */
	if ((selector | 7u) + 8 > limit)
		x86_gp(cpu, selector & 0xfffc);
	return x86_read_mode(cpu, at, 8, x86_system_mode(cpu));
}

void x86_set_accessed(struct x86_cpu *cpu, uint64_t linear, uint64_t *descriptor)
{
	struct x86_xlat x;

	if (*descriptor & 1ull << 40)
		return;
	*descriptor |= 1ull << 40;
	x86_translate(cpu, linear + 5, 1, X86_ACC_WRITE, x86_system_mode(cpu), &x);
	if (x.host)
		__atomic_fetch_or(x.host, 1, __ATOMIC_SEQ_CST);
	else
		x86_write_mode(cpu, linear + 5, *descriptor >> 40 & 0xff, 1, x86_system_mode(cpu));
}

void x86_commit_seg(struct x86_cpu *cpu, unsigned int seg, uint16_t selector, uint64_t d)
{
	x86_seg_from_descriptor(&cpu->seg[seg], selector, d);
	x86_update_flat(cpu);
}

void x86_seg_null(struct x86_cpu *cpu, unsigned int seg, uint16_t selector)
{
	struct x86_seg *s = &cpu->seg[seg];

	s->selector = selector;
	if (cpu->vendor_amd && x86_lma(cpu)) {
		s->ar |= X86_AR_UNUSABLE; /* base and limit stay */
	} else {
		s->base = 0;
		s->limit = 0;
		s->ar = X86_AR_UNUSABLE;
	}
	if (seg == X86_SS)
		s->ar = X86_AR_UNUSABLE | (uint32_t)cpu->cpl << X86_AR_DPL_SHIFT;
	x86_seg_update(s);
	x86_update_flat(cpu);
}

void x86_load_seg_real(struct x86_cpu *cpu, unsigned int seg, uint16_t selector)
{
	struct x86_seg *s = &cpu->seg[seg];

	s->selector = selector;
	s->base = (uint32_t)selector << 4;
	if (x86_v86(cpu)) {
		s->limit = 0xffff;
		s->ar = 0xf3;
	} else if (seg == X86_CS) {
		/* Limit and attributes stay; a data type left by protected mode becomes code's. */
		s->ar = (s->ar & ~0xfu) | 3 | X86_AR_P | X86_AR_S;
	} else {
		s->ar = (s->ar & ~(X86_AR_TYPE | X86_AR_UNUSABLE)) | 3 | X86_AR_P | X86_AR_S;
	}
	x86_seg_update(s);
	x86_update_flat(cpu);
}

uint64_t x86_check_ss(struct x86_cpu *cpu, uint16_t selector, unsigned int cpl, unsigned int vector,
		      uint64_t *linear)
{
	uint64_t d;
	uint32_t ar;

	if (!(selector & 0xfffc))
		x86_exc(cpu, vector, 0);
	d = x86_read_descriptor(cpu, selector, vector, linear);
	ar = x86_desc_ar(d);
	if ((selector & 3u) != cpl || X86_AR_DPL(ar) != cpl || !(ar & X86_AR_S) || (ar & 8) || !(ar & 2))
		x86_exc(cpu, vector, selector & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_SS_FAULT, selector & 0xfffc);
	return d;
}

static void load_ss(struct x86_cpu *cpu, uint16_t selector)
{
	uint64_t linear, d;

	if (!(selector & 0xfffc)) {
		if (cpu->code_size != 8 || cpu->cpl == 3 || (selector & 3) != cpu->cpl)
			x86_gp(cpu, 0);
		x86_seg_null(cpu, X86_SS, selector);
		return;
	}
	d = x86_check_ss(cpu, selector, cpu->cpl, X86_GP, &linear);
	x86_set_accessed(cpu, linear, &d);
	x86_commit_seg(cpu, X86_SS, selector, d);
}

void x86_load_seg(struct x86_cpu *cpu, unsigned int seg, uint16_t selector)
{
	uint64_t linear, d;
	uint32_t ar;

	if (!x86_prot(cpu)) {
		x86_load_seg_real(cpu, seg, selector);
		return;
	}
	if (seg == X86_SS) {
		load_ss(cpu, selector);
		return;
	}
	if (!(selector & 0xfffc)) {
		x86_seg_null(cpu, seg, selector);
		return;
	}
	d = x86_read_descriptor(cpu, selector, X86_GP, &linear);
	ar = x86_desc_ar(d);
	if (!(ar & X86_AR_S) || (ar & 0xa) == 8)
		x86_gp(cpu, selector & 0xfffc);
	if ((ar & 0xc) != 0xc && (X86_AR_DPL(ar) < cpu->cpl || X86_AR_DPL(ar) < (selector & 3u)))
		x86_gp(cpu, selector & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, selector & 0xfffc);
	x86_set_accessed(cpu, linear, &d);
	x86_commit_seg(cpu, seg, selector, d);
}

void x86_commit_cs(struct x86_cpu *cpu, uint16_t selector, uint64_t d, unsigned int cpl)
{
	x86_seg_from_descriptor(&cpu->seg[X86_CS], (uint16_t)((selector & 0xfffc) | cpl), d);
	cpu->cpl = (uint8_t)cpl;
	x86_update_mode(cpu);
	x86_serialise(cpu);
}

void x86_commit_cs_real(struct x86_cpu *cpu, uint16_t selector)
{
	x86_load_seg_real(cpu, X86_CS, selector);
	x86_update_mode(cpu);
	x86_serialise(cpu);
}

void x86_drop_outer_segs(struct x86_cpu *cpu)
{
	static const uint8_t segs[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	unsigned int i;

	for (i = 0; i < sizeof(segs); i++) {
		struct x86_seg *s = &cpu->seg[segs[i]];

		if (s->ar & X86_AR_UNUSABLE)
			continue;
		if ((s->ar & 0xc) == 0xc || X86_AR_DPL(s->ar) >= cpu->cpl)
			continue;
		/* Unlike a load of a null selector, this leaves the base, which 64-bit code uses. */
		s->selector = 0;
		s->ar = X86_AR_UNUSABLE;
		x86_seg_update(s);
	}
	x86_update_flat(cpu);
}

void x86_load_ldtr(struct x86_cpu *cpu, uint16_t selector, unsigned int vector)
{
	uint64_t d, high = 0, linear;
	uint32_t ar;

	if (!(selector & 0xfffc)) {
		x86_seg_null(cpu, X86_LDTR, selector);
		return;
	}
	if (selector & 4)
		x86_exc(cpu, vector, selector & 0xfffc);
	d = x86_read_descriptor(cpu, selector, vector, &linear);
	ar = x86_desc_ar(d);
	if ((ar & (X86_AR_S | X86_AR_TYPE)) != 2)
		x86_exc(cpu, vector, selector & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, vector == X86_TS ? X86_TS : X86_NP, selector & 0xfffc);
	if (x86_lma(cpu)) {
		high = x86_read_descriptor_high(cpu, selector);
		if (x86_noncanonical_reg(cpu, x86_desc_base(d) | high << 32))
			x86_gp(cpu, selector & 0xfffc);
	}
	x86_seg_from_descriptor(&cpu->seg[X86_LDTR], selector, d);
	cpu->seg[X86_LDTR].base |= high << 32;
}

/* ---- the instructions -------------------------------------------------------------------------- */

static void shadow_ss(struct x86_cpu *cpu)
{
	cpu->intr_state = (cpu->intr_state & ~(uint32_t)X86_SHADOW_STI) | X86_SHADOW_MOVSS;
	cpu->shadow_fresh = 1;
	x86_update_pending(cpu);
}

void x86_op_mov_to_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t selector;

	x86_begin(cpu, insn);
	selector = insn->flags & X86_I_MEM ? (uint16_t)x86_load(cpu, insn, 2) : X86_R16(insn->src);
	x86_load_seg(cpu, insn->reg, selector);
	if (insn->reg == X86_SS)
		shadow_ss(cpu);
	if (insn->flags & X86_I_END) {
		x86_advance(cpu, insn);
		return;
	}
	X86_NEXT();
}

void x86_op_mov_from_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t selector;

	if (insn->reg > X86_GS) {
		x86_begin(cpu, insn);
		x86_ud(cpu);
	}
	selector = cpu->seg[insn->reg].selector;
	if (insn->flags & X86_I_MEM)
		x86_store(cpu, insn, 2, selector);
	else
		x86_reg_set(cpu, insn->src, insn->opsize, selector);
	X86_NEXT();
}

void x86_op_push_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	uint64_t old;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	old = st.sp;
	if (insn->opsize == 4) { /* the upper half of the slot is left as it was */
		uint64_t off = (st.sp - 4) & st.mask;

		st.sp = (old & ~st.mask) | ((off + 2) & st.mask);
		x86_stack_push(cpu, &st, 2, cpu->seg[insn->reg].selector);
		st.sp = (old & ~st.mask) | off;
	} else {
		x86_stack_push(cpu, &st, insn->opsize, cpu->seg[insn->reg].selector);
	}
	x86_stack_commit(cpu, &st);
	X86_NEXT();
}

void x86_op_pop_seg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_stack st;
	uint16_t selector;
	uint64_t old;

	x86_begin(cpu, insn);
	x86_stack_current(cpu, &st);
	old = st.sp;
	selector = (uint16_t)x86_stack_pop(cpu, &st, 2);
	st.sp = (old & ~st.mask) | ((old + insn->opsize) & st.mask);
	x86_load_seg(cpu, insn->reg, selector);
	/* The new SS may have another stack size; the pop used the old one. */
	x86_stack_commit(cpu, &st);
	if (insn->reg == X86_SS)
		shadow_ss(cpu);
	x86_advance(cpu, insn);
}

void x86_op_lfp(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t lin, offset;
	uint16_t selector;

	x86_begin(cpu, insn);
	if (!(insn->flags & X86_I_MEM))
		x86_ud(cpu);
	lin = x86_ea(cpu, insn, size + 2, X86_ACC_READ);
	offset = x86_read(cpu, insn, lin, size, insn->seg);
	selector = (uint16_t)x86_read(cpu, insn, lin + size, 2, insn->seg);
	x86_load_seg(cpu, insn->vvvv, selector);
	x86_reg_set(cpu, insn->dst, size, offset);
	if (insn->vvvv == X86_SS)
		shadow_ss(cpu);
	x86_advance(cpu, insn);
}
