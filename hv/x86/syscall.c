/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

/* Flat segments that these instructions load without descriptors. */
static void flat_seg(struct x86_cpu *cpu, unsigned int seg, uint16_t selector, uint32_t ar)
{
	struct x86_seg *s = &cpu->seg[seg];

	s->selector = selector;
	s->base = 0;
	s->limit = UINT32_MAX;
	s->ar = ar | X86_AR_P | X86_AR_S | X86_AR_G;
	x86_seg_update(s);
}

static void flat_code_stack(struct x86_cpu *cpu, uint16_t cs, uint16_t ss, unsigned int cpl,
			    uint32_t code)
{
	uint32_t dpl = cpl << X86_AR_DPL_SHIFT;

	flat_seg(cpu, X86_CS, cs, 0xb | dpl | code);
	flat_seg(cpu, X86_SS, ss, 0x3 | dpl | X86_AR_DB);
	/* None of these instructions is a serialising one (SDM volume 3, "Serializing instructions"). */
	x86_set_cpl(cpu, cpl);
}

static void check_syscall(struct x86_cpu *cpu)
{
	if (!(cpu->efer & X86_EFER_SCE) || !x86_prot(cpu))
		x86_ud(cpu);
	/* Intel has SYSCALL in 64-bit mode only. */
	if (cpu->code_size != 8 && !cpu->vendor_amd)
		x86_ud(cpu);
}

void x86_op_syscall(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t cs = (uint16_t)(cpu->star >> 32) & 0xfffc;
	uint64_t next = x86_next_rip(cpu, insn);

	x86_begin(cpu, insn);
	check_syscall(cpu);
	cpu->gpr[X86_RCX] = next;
	if (x86_lma(cpu)) {
		bool from64 = cpu->code_size == 8;

		cpu->gpr[X86_R11] = x86_get_rflags(cpu) & ~(uint64_t)X86_FL_RF;
		x86_write_flags(cpu, x86_get_rflags(cpu) & ~cpu->fmask, X86_FL_ALL & ~(uint64_t)X86_FL_VM);
		cpu->eflags &= ~X86_FL_RF;
		flat_code_stack(cpu, cs, (uint16_t)(cs + 8), 0, X86_AR_L);
		cpu->rip = from64 ? cpu->lstar : cpu->cstar;
	} else {
		x86_write_flags(cpu, 0, X86_FL_VM | X86_FL_IF | X86_FL_RF);
		flat_code_stack(cpu, cs, (uint16_t)(cs + 8), 0, X86_AR_DB);
		cpu->rip = (uint32_t)cpu->star;
	}
	cpu->step_tf = cpu->eflags & X86_FL_TF ? 1 : 0;
	x86_update_pending(cpu);
}

void x86_op_sysret(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t sel = (uint16_t)(cpu->star >> 48);

	x86_begin(cpu, insn);
	check_syscall(cpu);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (insn->opsize == 8) {
		if (x86_noncanonical(cpu, cpu->gpr[X86_RCX]) && !cpu->vendor_amd)
			x86_gp(cpu, 0);
		cpu->rip = cpu->gpr[X86_RCX];
	} else {
		cpu->rip = (uint32_t)cpu->gpr[X86_RCX];
	}
	if (x86_lma(cpu))
		x86_write_flags(cpu, cpu->gpr[X86_R11],
				X86_FL_ALL & ~(uint64_t)(X86_FL_RF | X86_FL_VM));
	else
		x86_write_flags(cpu, X86_FL_IF, X86_FL_IF);
	cpu->eflags &= ~X86_FL_RF;
	/* Unlike IRET and POPF: the trap comes from the level above, before its first instruction. */
	cpu->step_tf = 0;
	if (cpu->eflags & X86_FL_TF)
		cpu->pending_dbg |= X86_DR6_BS;
	if (insn->opsize == 8)
		flat_code_stack(cpu, (uint16_t)((sel + 16) | 3), (uint16_t)((sel + 8) | 3), 3, X86_AR_L);
	else
		flat_code_stack(cpu, sel | 3, (uint16_t)((sel + 8) | 3), 3, X86_AR_DB);
	x86_update_pending(cpu);
}

void x86_op_sysenter(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t cs = (uint16_t)cpu->sysenter_cs & 0xfffc;
	bool lma = x86_lma(cpu);

	x86_begin(cpu, insn);
	/* AMD has it in legacy mode only, whatever SYSENTER_CS is. */
	if (lma && cpu->vendor_amd)
		x86_ud(cpu);
	if (!x86_pe(cpu) || !cs)
		x86_gp(cpu, 0);
	x86_write_flags(cpu, 0, X86_FL_VM | X86_FL_IF | X86_FL_RF);
	flat_code_stack(cpu, cs, (uint16_t)(cs + 8), 0, lma ? X86_AR_L : X86_AR_DB);
	cpu->rip = lma ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
	cpu->gpr[X86_RSP] = lma ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
	x86_update_pending(cpu);
}

void x86_op_sysexit(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t cs = (uint16_t)cpu->sysenter_cs & 0xfffc;
	bool to64 = insn->opsize == 8;

	x86_begin(cpu, insn);
	if (x86_lma(cpu) && cpu->vendor_amd)
		x86_ud(cpu);
	if (!x86_pe(cpu) || !cs || cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (to64 && (x86_noncanonical(cpu, cpu->gpr[X86_RCX]) ||
		     x86_noncanonical(cpu, cpu->gpr[X86_RDX])))
		x86_gp(cpu, 0);
	cs = (uint16_t)(cs + (to64 ? 32 : 16)) | 3;
	flat_code_stack(cpu, cs, (uint16_t)(cs + 8), 3, to64 ? X86_AR_L : X86_AR_DB);
	cpu->rip = to64 ? cpu->gpr[X86_RDX] : (uint32_t)cpu->gpr[X86_RDX];
	cpu->gpr[X86_RSP] = to64 ? cpu->gpr[X86_RCX] : (uint32_t)cpu->gpr[X86_RCX];
	x86_update_pending(cpu);
}

void x86_op_swapgs(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t base = cpu->seg[X86_GS].base;

	if (cpu->cpl != 0 || cpu->code_size != 8) {
		x86_begin(cpu, insn);
		if (cpu->code_size != 8)
			x86_ud(cpu);
		x86_gp(cpu, 0);
	}
	cpu->seg[X86_GS].base = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
	X86_NEXT();
}
