/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Port I/O. The permission check comes first, then the intercept, then breakpoints and the port.
 * For INS the destination is made sure of before the port is read, so that nothing is lost when
 * it faults.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

struct io {
	unsigned int port, size;
	bool in, string, rep;
};

static void io_check(struct x86_cpu *cpu, const struct io *io)
{
	if (!x86_io_allowed(cpu, io->port, io->size))
		x86_gp(cpu, 0);
}

static int io_intercept(struct x86_cpu *cpu, const struct x86_insn *insn, const struct io *io,
			uint64_t linear, uint64_t count)
{
	struct x86_intercept_info info;

	if (!x86_intercepted(cpu, X86_ICPT_IO))
		return X86_OK;
	memset(&info, 0, sizeof(info));
	info.io = (struct x86_icpt_io){
		.port = (uint16_t)io->port, .size = (uint8_t)io->size, .adsize = insn->adsize,
		.in = io->in, .string = io->string, .rep = io->rep, .imm = !io->string && insn->vvvv,
		.seg = io->in ? X86_ES : insn->seg, .linear = linear, .count = count,
	};
	return x86_icpt(cpu, insn, X86_ICPT_IO, &info);
}

static uint32_t port_in(struct x86_cpu *cpu, const struct io *io)
{
	uint32_t v = 0;

	x86_check(cpu, cpu->ops->io_in(cpu, (uint16_t)io->port, io->size, &v));
	x86_debug_io(cpu, io->port, io->size);
	return v;
}

static void port_out(struct x86_cpu *cpu, const struct io *io, uint32_t v)
{
	x86_check(cpu, cpu->ops->io_out(cpu, (uint16_t)io->port, io->size, v));
	x86_debug_io(cpu, io->port, io->size);
}

static void io_init(struct x86_cpu *cpu, const struct x86_insn *insn, struct io *io, bool in)
{
	x86_begin(cpu, insn);
	*io = (struct io){ .size = insn->opsize, .in = in };
	io->port = insn->vvvv ? (unsigned int)insn->imm & 0xff : X86_R16(X86_RDX * 8);
	io_check(cpu, io);
}

void x86_op_in(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct io io;

	io_init(cpu, insn, &io, true);
	if (io_intercept(cpu, insn, &io, 0, 1) != X86_DONE)
		x86_reg_set(cpu, 0, io.size, port_in(cpu, &io));
	x86_advance(cpu, insn);
}

void x86_op_out(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct io io;

	io_init(cpu, insn, &io, false);
	if (io_intercept(cpu, insn, &io, 0, 1) != X86_DONE)
		port_out(cpu, &io, (uint32_t)x86_reg_get(cpu, 0, io.size));
	x86_advance(cpu, insn);
}

static void element(struct x86_cpu *cpu, const struct x86_insn *insn, const struct io *io,
		    uint64_t linear)
{
	unsigned int reg = io->in ? X86_RDI : X86_RSI;
	int64_t step = cpu->eflags & X86_FL_DF ? -(int64_t)io->size : (int64_t)io->size;

	if (io->in) {
		x86_probe_write(cpu, linear, io->size, cpu->tlb_mode);
		x86_write(cpu, insn, linear, port_in(cpu, io), io->size, X86_ES);
	} else {
		port_out(cpu, io, (uint32_t)x86_read(cpu, insn, linear, io->size, insn->seg));
	}
	x86_reg_set(cpu, reg * 8, insn->adsize, cpu->gpr[reg] + (uint64_t)step);
}

static void io_string(struct x86_cpu *cpu, const struct x86_insn *insn, bool in)
{
	struct io io = { .size = insn->opsize, .in = in, .string = true };
	uint64_t mask = x86_mask(insn->adsize), count = 1, linear;

	x86_begin(cpu, insn);
	io.port = X86_R16(X86_RDX * 8);
	io.rep = insn->flags & (X86_I_REP | X86_I_REPNE);
	io_check(cpu, &io);
	for (;;) {
		if (io.rep)
			count = cpu->gpr[X86_RCX] & mask;
		if (!count)
			break;
		linear = in ? x86_seg_linear(cpu, insn, X86_ES, cpu->gpr[X86_RDI] & mask, io.size,
					     X86_ACC_WRITE) :
			      x86_seg_linear(cpu, insn, insn->seg, cpu->gpr[X86_RSI] & mask, io.size,
					     X86_ACC_READ);
		if (io_intercept(cpu, insn, &io, linear, count) == X86_DONE)
			break;
		element(cpu, insn, &io, linear);
		if (!io.rep)
			break;
		x86_reg_set(cpu, X86_RCX * 8, insn->adsize, count - 1);
		if (count > 1 && (cpu->step_tf || cpu->pending_dbg ||
				  (__atomic_load_n(&cpu->pending, __ATOMIC_ACQUIRE) & cpu->pend_mask))) {
			cpu->rip = cpu->insn_rip;
			return;
		}
	}
	x86_advance(cpu, insn);
}

void x86_op_ins(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	io_string(cpu, insn, true);
}

void x86_op_outs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	io_string(cpu, insn, false);
}
