/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pushes and pops on the present stack or on one about to become it: the caller works on a
 * struct x86_stack and commits the stack pointer when nothing can fault any more.
 */
#include "hv/x86/internal.h"

void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *st)
{
	const struct x86_seg *ss = &cpu->seg[X86_SS];

	st->sp = cpu->gpr[X86_RSP];
	st->ss = ss;
	st->ss_error = 0;
	st->mode = cpu->tlb_mode;
	st->flat = cpu->code_size == 8;
	if (st->flat) {
		st->base = 0;
		st->mask = UINT64_MAX;
	} else {
		st->base = ss->base;
		st->mask = ss->ar & X86_AR_DB ? UINT32_MAX : UINT16_MAX;
	}
}

static uint64_t stack_linear(struct x86_cpu *cpu, const struct x86_stack *st, uint64_t off,
			     unsigned int size)
{
	uint64_t last = off + size - 1;
	bool ok;

	if (st->flat) {
		if (x86_noncanonical(cpu, off) || x86_noncanonical(cpu, last))
			x86_exc(cpu, X86_SS_FAULT, st->ss_error);
		return off;
	}
	if ((st->ss->ar & 0xc) == 4)
		ok = off > st->ss->limit && last <= (st->ss->ar & X86_AR_DB ? UINT32_MAX : UINT16_MAX);
	else
		ok = last <= st->ss->limit || st->ss->limit == UINT32_MAX; /* may wrap */
	if (!ok)
		x86_exc(cpu, X86_SS_FAULT, st->ss_error);
	return (uint32_t)(st->base + off);
}

static uint64_t stack_aligned(struct x86_cpu *cpu, const struct x86_stack *st, uint64_t off,
			      unsigned int size)
{
	bool user = st->mode == X86_TLB_USER;
	uint64_t lin;

	if (user && st->flat)
		x86_check_alignment(cpu, off, size);
	lin = stack_linear(cpu, st, off, size);
	if (user)
		x86_check_alignment(cpu, lin, size);
	return lin;
}

void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *st, unsigned int size, uint64_t v)
{
	uint64_t off = (st->sp - size) & st->mask;

	x86_write_mode(cpu, stack_aligned(cpu, st, off, size), v, size, st->mode);
	st->sp = (st->sp & ~st->mask) | off;
}

uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *st, unsigned int size)
{
	uint64_t off = st->sp & st->mask;
	uint64_t v = x86_read_mode(cpu, stack_aligned(cpu, st, off, size), size, st->mode);

	st->sp = (st->sp & ~st->mask) | ((off + size) & st->mask);
	return v;
}

void x86_stack_probe(struct x86_cpu *cpu, const struct x86_stack *st, unsigned int size)
{
	x86_probe_write(cpu, stack_aligned(cpu, st, st->sp & st->mask, size), size, st->mode);
}

void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *st)
{
	if (st->mask == UINT32_MAX)
		cpu->gpr[X86_RSP] = (uint32_t)st->sp;
	else
		cpu->gpr[X86_RSP] = st->sp;
}
