/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VM-exit instruction-information field. Source: SDM vol. 3, "Information for
 * VM exits due to instruction execution", tables of the formats.
 */
#include "hv/cpu/soft_internal.h"
#include "hv/cpu/vmx_guest.h"

static uint32_t size_code(uint8_t bytes)
{
	return bytes == 2 ? 0 : bytes == 4 ? 1 : 2;
}

/* Scale 0-1, address size 7-9, segment 15-17, index 18-22, base 23-27: common to all forms. */
static uint32_t memory_part(const struct x86_memop *op)
{
	uint32_t info = op->scale | size_code(op->adsize) << 7 | (uint32_t)op->seg << 15;

	if (op->index != 0xff)
		info |= (uint32_t)op->index << 18;
	else
		info |= 1U << 22;
	if (op->base != 0xff)
		info |= (uint32_t)op->base << 23;
	else
		info |= 1U << 27;
	return info;
}

/* Bit 10 tells a register operand, which bits 3-6 name. */
static uint32_t operand_part(const struct x86_memop *op)
{
	if (op->valid)
		return memory_part(op);
	return (uint32_t)op->rm << 3 | 1U << 10;
}

static uint32_t io_info(const struct x86_icpt_io *io)
{
	uint32_t info = size_code(io->adsize) << 7;

	if (!io->in)
		info |= (uint32_t)io->seg << 15;
	return info;
}

uint32_t vmx_insn_info(enum x86_intercept what, const struct x86_intercept_info *info)
{
	const struct x86_memop *op = &info->memop;

	switch (what) {
	case X86_ICPT_IO:
		return io_info(&info->io);
	case X86_ICPT_SGDT:
	case X86_ICPT_SIDT:
	case X86_ICPT_LGDT:
	case X86_ICPT_LIDT:
		return memory_part(op) | (op->opsize == 2 ? 0 : 1U << 11) |
		       (what == X86_ICPT_SIDT || what == X86_ICPT_LIDT ? 1U << 28 : 0) |
		       (what == X86_ICPT_LGDT || what == X86_ICPT_LIDT ? 1U << 29 : 0);
	case X86_ICPT_SLDT:
	case X86_ICPT_STR:
	case X86_ICPT_LLDT:
	case X86_ICPT_LTR:
		return operand_part(op) |
		       (what == X86_ICPT_STR || what == X86_ICPT_LTR ? 1U << 28 : 0) |
		       (what == X86_ICPT_LLDT || what == X86_ICPT_LTR ? 1U << 29 : 0);
	case X86_ICPT_INVPCID:
		return memory_part(op) | (uint32_t)op->reg << 28;
	case X86_ICPT_VMX_INSN:
		return operand_part(op) | (uint32_t)op->reg << 28;
	case X86_ICPT_RDRAND:
	case X86_ICPT_RDSEED:
		return (uint32_t)op->rm << 3 | size_code(op->opsize) << 11;
	case X86_ICPT_XSAVES:
	case X86_ICPT_XRSTORS:
		return memory_part(op);
	default:
		return 0;
	}
}
