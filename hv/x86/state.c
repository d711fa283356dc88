/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Life cycle of the state and everything in it that is derived from something else.
 */
#include <errno.h>
#include <stdlib.h>
#include "hv/x86/tlb_internal.h"

#define DEFAULT_CODE_BYTES	(32ul << 20)
#define SINGLE_CODE_BYTES	(256ul << 10)

/* ---- derived values -------------------------------------------------------------------------- */

enum x86_code_mode x86_code_mode(const struct x86_cpu *cpu)
{
	uint32_t ar = cpu->seg[X86_CS].ar;

	if (!x86_pe(cpu))
		return X86_CODE_REAL;
	if (x86_v86(cpu))
		return X86_CODE_V86;
	if (x86_lma(cpu)) {
		if (ar & X86_AR_L)
			return X86_CODE_64;
		return ar & X86_AR_DB ? X86_CODE_COMPAT32 : X86_CODE_COMPAT16;
	}
	return ar & X86_AR_DB ? X86_CODE_32 : X86_CODE_16;
}

void x86_update_tlb_mode(struct x86_cpu *cpu)
{
	bool ac = cpu->eflags & X86_FL_AC;

	if (cpu->cpl == 3)
		cpu->tlb_mode = X86_TLB_USER;
	else
		cpu->tlb_mode = !(cpu->cr4 & X86_CR4_SMAP) || ac ? X86_TLB_SUPER_AC : X86_TLB_SUPER;
	if (cpu->debug_data || (ac && cpu->cpl == 3 && (cpu->cr0 & X86_CR0_AM)))
		cpu->tlb = (struct x86_tlb_entry *)(uintptr_t)x86_tlb_nothing; /* never written to */
	else
		cpu->tlb = cpu->tlb_set->e[cpu->tlb_mode];
}

void x86_update_mode(struct x86_cpu *cpu)
{
	static const uint8_t size[] = {
		[X86_CODE_REAL] = 2, [X86_CODE_V86] = 2, [X86_CODE_16] = 2, [X86_CODE_32] = 4,
		[X86_CODE_COMPAT16] = 2, [X86_CODE_COMPAT32] = 4, [X86_CODE_64] = 8,
	};
	enum x86_code_mode mode = x86_code_mode(cpu);

	cpu->mode = mode;
	cpu->code_size = size[mode];
	/* Real mode can have a big code segment left over from protected mode. */
	if (mode == X86_CODE_REAL && (cpu->seg[X86_CS].ar & X86_AR_DB)) {
		cpu->mode = X86_CODE_32;
		cpu->code_size = 4;
	}
	cpu->jump_ctx = (cpu->cpl == 3 ? cpu->tlb_set->gen : cpu->tlb_set->super_gen) << 8 |
			(uint64_t)cpu->mode << 1 | (cpu->cpl == 3);
	/* The jump cache takes rip for the linear address. */
	if (cpu->code_size != 8 && (cpu->seg[X86_CS].base || cpu->seg[X86_CS].limit != UINT32_MAX))
		cpu->jump_ctx |= 0x80;
	x86_update_flat(cpu);
	x86_update_tlb_mode(cpu);
}

void x86_update_pending(struct x86_cpu *cpu)
{
	uint32_t shadow = cpu->intr_state & (X86_SHADOW_STI | X86_SHADOW_MOVSS);
	uint8_t slow = 0;

	cpu->pend_mask = X86_PEND_WORK | X86_PEND_FLUSH | X86_PEND_STOP;
	if ((cpu->eflags & X86_FL_IF) && !shadow)
		cpu->pend_mask |= X86_PEND_INTR;
	if (!(cpu->intr_state & X86_BLOCK_NMI) && !shadow)
		cpu->pend_mask |= X86_PEND_NMI;
	if (cpu->eflags & X86_FL_TF)
		slow |= X86_SLOW_TF;
	if (cpu->eflags & X86_FL_RF)
		slow |= X86_SLOW_RF;
	if (shadow)
		slow |= X86_SLOW_SHADOW;
	if (cpu->debug_code || cpu->debug_data)
		slow |= X86_SLOW_DR;
	if (cpu->pending_dbg)
		slow |= X86_SLOW_PEND;
	cpu->flags_ = slow;
}

void x86_seg_update(struct x86_seg *s)
{
	bool plain = s->limit == UINT32_MAX && !(s->ar & X86_AR_UNUSABLE) &&
		     (s->ar & (X86_AR_P | X86_AR_S)) == (X86_AR_P | X86_AR_S);

	s->flat = 0;
	if (!plain)
		return;
	if (s->ar & 8)
		s->flat = s->ar & 2 ? X86_SEG_R : 0;
	else if (!(s->ar & 4))
		s->flat = s->ar & 2 ? X86_SEG_R | X86_SEG_W : X86_SEG_R;
	if (!s->base)
		s->flat |= s->flat / X86_SEG_R * X86_SEG_FLAT_R;
}

void x86_update_flat(struct x86_cpu *cpu)
{
	const struct x86_seg *s = cpu->seg;
	uint32_t flat = 0;

	if (cpu->code_size == 4 && (s[X86_DS].flat & s[X86_ES].flat & s[X86_SS].flat & X86_SEG_FLAT_W) &&
	    (s[X86_SS].ar & X86_AR_DB))
		flat = X86_MODE_FLAT;
	cpu->mode = (cpu->mode & ~X86_MODE_FLAT) | flat;
	cpu->jump_ctx = (cpu->jump_ctx & ~((uint64_t)X86_MODE_FLAT << 1)) | (uint64_t)flat << 1;
}

void x86_state_changed(struct x86_cpu *cpu)
{
	unsigned int i;

	cpu->zero = 0;
	for (i = 0; i < X86_NR_SEGS; i++)
		x86_seg_update(&cpu->seg[i]);
	x86_update_debug(cpu);
	x86_tlb_select(cpu);
	x86_update_mode(cpu);
	x86_update_pending(cpu);
	x86_serialise(cpu);
}

void x86_set_cpl(struct x86_cpu *cpu, unsigned int cpl)
{
	cpu->cpl = (uint8_t)cpl;
	x86_update_mode(cpu);
}

/* ---- flags ----------------------------------------------------------------------------------- */

uint64_t x86_get_rflags(const struct x86_cpu *cpu)
{
	return cpu->eflags | x86_cc_to_flags(cpu->cc) | X86_FL_ONE;
}

void x86_set_rflags(struct x86_cpu *cpu, uint64_t value)
{
	x86_write_flags(cpu, value, X86_FL_ALL);
}

void x86_write_flags(struct x86_cpu *cpu, uint64_t value, uint64_t mask)
{
	uint64_t now = (x86_get_rflags(cpu) & ~mask) | (value & mask);
	uint32_t old = cpu->eflags;

	cpu->cc = x86_flags_to_cc(now);
	cpu->eflags = (uint32_t)now & X86_FL_ALL & ~X86_FL_ARITH;
	if ((old ^ cpu->eflags) & X86_FL_VM)
		x86_update_mode(cpu);
	else if ((old ^ cpu->eflags) & X86_FL_AC)
		x86_update_tlb_mode(cpu);
	x86_update_pending(cpu);
}

bool x86_intr_window(const struct x86_cpu *cpu)
{
	return (cpu->eflags & X86_FL_IF) &&
	       !(cpu->intr_state & (X86_SHADOW_STI | X86_SHADOW_MOVSS));
}

bool x86_nmi_window(const struct x86_cpu *cpu)
{
	return !(cpu->intr_state & (X86_SHADOW_STI | X86_SHADOW_MOVSS | X86_BLOCK_NMI));
}

bool x86_canonical(const struct x86_cpu *cpu, uint64_t linear)
{
	return !x86_noncanonical(cpu, linear);
}

/* ---- creation and reset ----------------------------------------------------------------------- */

struct x86_cpu *x86_create(const struct x86_ops *ops, void *ctx, const struct x86_config *config)
{
	static const struct x86_config defaults = { 0 };
	struct x86_cpu *cpu = aligned_alloc(64, sizeof(*cpu));
	size_t code;

	if (!cpu)
		return NULL;
	if (!config)
		config = &defaults;
	memset(cpu, 0, sizeof(*cpu));
	cpu->ops = ops;
	cpu->ctx = ctx;
	cpu->epoch = 1;
	code = config->code_bytes ? config->code_bytes :
	       config->single ? SINGLE_CODE_BYTES : DEFAULT_CODE_BYTES;
	if (x86_tlb_create(cpu, config->single ? 1 : X86_TLB_SETS) || x86_bcache_create(cpu, code)) {
		x86_destroy(cpu);
		errno = ENOMEM;
		return NULL;
	}
	x86_features_changed(cpu);
	x86_reset(cpu, X86_RESET_POWER_UP);
	return cpu;
}

void x86_destroy(struct x86_cpu *cpu)
{
	if (!cpu)
		return;
	x86_bcache_destroy(cpu);
	x86_tlb_destroy(cpu);
	x86_native_destroy(cpu);
	free(cpu);
}

static void reset_segments(struct x86_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < X86_NR_SEGS; i++)
		cpu->seg[i] = (struct x86_seg){ .limit = 0xffff, .ar = 0x93 };
	cpu->seg[X86_CS].selector = 0xf000;
	cpu->seg[X86_CS].base = 0xffff0000;
	cpu->seg[X86_CS].ar = 0x9b;
	cpu->seg[X86_LDTR].ar = 0x82;
	cpu->seg[X86_TR].ar = 0x8b;
	cpu->gdtr = cpu->idtr = (struct x86_dtable){ .limit = 0xffff };
}

static void reset_power_up(struct x86_cpu *cpu)
{
	static const uint64_t pat = 0x0007040600070406ull;

	cpu->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	cpu->pat = pat;
	cpu->apic_base = 0xfee00900;
	cpu->xcr0 = 1;
	cpu->star = cpu->lstar = cpu->cstar = cpu->fmask = cpu->kernel_gs_base = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->tsc_aux = cpu->xss = cpu->pkrs = 0;
	cpu->pkru = 0;
	cpu->mxcsr_mask = 0xffff;
	memset(cpu->xsave, 0, sizeof(cpu->xsave));
	cpu->xsave[0] = 0x40; /* FCW after reset */
	cpu->xsave[4] = 0xff; /* all x87 registers hold 0: tags valid */
	cpu->xsave[25] = 0x1f; /* MXCSR 1f80 */
	cpu->xsave[24] = 0x80;
}

void x86_reset(struct x86_cpu *cpu, enum x86_reset_kind kind)
{
	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[X86_RDX] = 0x600;
	cpu->rip = 0xfff0;
	cpu->cc = 0;
	cpu->eflags = 0;
	reset_segments(cpu);
	cpu->cpl = 0;
	if (kind == X86_RESET_POWER_UP)
		reset_power_up(cpu);
	else /* INIT keeps CD and NW */
		cpu->cr0 = (cpu->cr0 & (X86_CR0_CD | X86_CR0_NW)) | X86_CR0_ET;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = cpu->efer = cpu->debugctl = 0;
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr6 = X86_DR6_INIT;
	cpu->dr7 = X86_DR7_INIT;
	cpu->intr_state = 0;
	cpu->activity = X86_ACTIVE;
	cpu->pending_dbg = 0;
	cpu->vectoring.valid = cpu->fault.valid = 0;
	x86_tlb_flush_all(cpu);
	x86_state_changed(cpu);
}
