/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control and debug registers: the checks and side effects of writing them, and the instructions
 * that do. Source: SDM volume 2 MOV CR, MOV DR, LMSW, CLTS, XSETBV; volume 3 "Control registers".
 */
#include "hv/x86/exec.h"
#include "hv/x86/tlb_internal.h"

#define CR0_BITS (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
		  X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

bool x86_pae_paging(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & X86_CR0_PG) && (cpu->cr4 & X86_CR4_PAE) && !x86_lma(cpu);
}

static int gp0(struct x86_cpu *cpu)
{
	return x86_set_fault(cpu, X86_GP, 0);
}

static void written(struct x86_cpu *cpu, unsigned int what)
{
	x86_state_changed(cpu);
	if (cpu->ops->cr_written)
		cpu->ops->cr_written(cpu, (enum x86_intercept)what);
}

static int load_pdptrs(struct x86_cpu *cpu, uint64_t cr3)
{
	int ret = x86_load_pdptrs(cpu, cr3);

	return ret == X86_FAULT ? gp0(cpu) : ret;
}

/* ---- CR0 ---------------------------------------------------------------------------------------------- */

/*
 * What a value must be before anything is looked up in memory: the same tests come before the
 * write, and on SVM before the intercept (APM volume 2, "Instruction intercepts").
 */
static int check_paging_on(struct x86_cpu *cpu)
{
	if (!(cpu->efer & X86_EFER_LME))
		return X86_OK;
	if (!(cpu->cr4 & X86_CR4_PAE) || (cpu->seg[X86_CS].ar & X86_AR_L))
		return gp0(cpu);
	/* A 16-bit TSS cannot be used in long mode. */
	if (!cpu->vendor_amd && !(cpu->seg[X86_TR].ar & 8) && x86_pe(cpu))
		return gp0(cpu);
	return X86_OK;
}

static int check_cr0(struct x86_cpu *cpu, uint64_t value)
{
	if (value >> 32)
		return gp0(cpu);
	if (((value & X86_CR0_PG) && !(value & X86_CR0_PE)) ||
	    ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
		return gp0(cpu);
	if (!(value & X86_CR0_WP) && (cpu->cr4 & X86_CR4_CET))
		return gp0(cpu);
	if (!((cpu->cr0 ^ value) & X86_CR0_PG))
		return X86_OK;
	if (value & X86_CR0_PG)
		return check_paging_on(cpu);
	return cpu->code_size == 8 || (cpu->cr4 & X86_CR4_PCIDE) ? gp0(cpu) : X86_OK;
}

/* Turning on PAE paging, or changing CD or NW under it. */
static bool cr0_loads_pdptrs(const struct x86_cpu *cpu, uint64_t value)
{
	if ((value & ~cpu->cr0) & X86_CR0_PG)
		return !(cpu->efer & X86_EFER_LME) && (cpu->cr4 & X86_CR4_PAE);
	return (value & X86_CR0_PG) && x86_pae_paging(cpu) &&
	       ((cpu->cr0 ^ value) & (X86_CR0_CD | X86_CR0_NW));
}

int x86_write_cr0(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed;
	int ret = check_cr0(cpu, value);

	if (ret != X86_OK)
		return ret;
	value = (value & CR0_BITS) | X86_CR0_ET;
	changed = cpu->cr0 ^ value;
	if (cr0_loads_pdptrs(cpu, value)) {
		ret = load_pdptrs(cpu, cpu->cr3);
		if (ret != X86_OK)
			return ret;
	}
	if ((changed & value & X86_CR0_PG) && (cpu->efer & X86_EFER_LME))
		cpu->efer |= X86_EFER_LMA;
	else if (changed & ~value & X86_CR0_PG)
		cpu->efer &= ~X86_EFER_LMA;
	cpu->cr0 = value;
	if (changed & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		x86_tlb_flush_space(cpu, cpu->space);
	written(cpu, X86_ICPT_CR_WRITE + 0);
	return X86_OK;
}

/* ---- CR3 ---------------------------------------------------------------------------------------------- */

static int check_cr3(struct x86_cpu *cpu, uint64_t value)
{
	if (cpu->cr4 & X86_CR4_PCIDE)
		value &= ~(1ull << 63);
	return x86_lma(cpu) && value >> cpu->maxphyaddr ? gp0(cpu) : X86_OK;
}

int x86_write_cr3(struct x86_cpu *cpu, uint64_t value)
{
	bool keep = false;
	int ret = check_cr3(cpu, value);

	if (ret != X86_OK)
		return ret;
	if (cpu->cr4 & X86_CR4_PCIDE) {
		keep = value >> 63;
		value &= ~(1ull << 63);
	}
	if (!x86_lma(cpu))
		value = (uint32_t)value;
	if (x86_pae_paging(cpu)) {
		ret = load_pdptrs(cpu, value);
		if (ret != X86_OK)
			return ret;
	}
	cpu->cr3 = value;
	if (cpu->cr4 & X86_CR4_PCIDE) {
		if (!keep)
			x86_tlb_flush_pcid(cpu, cpu->space, value & 0xfff);
	} else {
		x86_tlb_flush_space_nonglobal(cpu, cpu->space);
	}
	x86_tlb_select(cpu);
	x86_serialise(cpu);
	if (cpu->ops->cr_written)
		cpu->ops->cr_written(cpu, X86_ICPT_CR_WRITE + 3);
	return X86_OK;
}

/* ---- CR4 ---------------------------------------------------------------------------------------------- */

static const struct { uint64_t bit; uint8_t feature; } cr4_features[] = {
	{ X86_CR4_VME | X86_CR4_PVI, X86_FEAT_VME }, { X86_CR4_TSD, X86_FEAT_TSC },
	{ X86_CR4_DE, X86_FEAT_DE }, { X86_CR4_PSE, X86_FEAT_PSE }, { X86_CR4_PAE, X86_FEAT_PAE },
	{ X86_CR4_PGE, X86_FEAT_PGE }, { X86_CR4_MCE, X86_FEAT_MCE },
	{ X86_CR4_OSFXSR, X86_FEAT_FXSR }, { X86_CR4_OSXMMEXCPT, X86_FEAT_SSE },
	{ X86_CR4_UMIP, X86_FEAT_UMIP }, { X86_CR4_LA57, X86_FEAT_LA57 },
	{ X86_CR4_VMXE, X86_FEAT_VMX }, { X86_CR4_SMXE, X86_FEAT_SMX },
	{ X86_CR4_FSGSBASE, X86_FEAT_FSGSBASE }, { X86_CR4_PCIDE, X86_FEAT_PCID },
	{ X86_CR4_OSXSAVE, X86_FEAT_XSAVE }, { X86_CR4_SMEP, X86_FEAT_SMEP },
	{ X86_CR4_SMAP, X86_FEAT_SMAP }, { X86_CR4_PKE, X86_FEAT_PKU }, { X86_CR4_PKS, X86_FEAT_PKS },
};

uint64_t x86_cr4_reserved(const struct x86_cpu *cpu)
{
	uint64_t allowed = X86_CR4_PCE;
	unsigned int i;

	for (i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++)
		if (x86_has(cpu, cr4_features[i].feature))
			allowed |= cr4_features[i].bit;
	return ~allowed;
}

static int check_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr4 ^ value;

	/* Bits that the owner set behind the guest's back (VMXE under VMX) may stay. */
	if (value & x86_cr4_reserved(cpu) & ~cpu->cr4)
		return gp0(cpu);
	if (x86_lma(cpu) && (!(value & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
		return gp0(cpu);
	if ((changed & value & X86_CR4_PCIDE) && (!x86_lma(cpu) || (cpu->cr3 & 0xfff)))
		return gp0(cpu);
	return (value & X86_CR4_CET) && !(cpu->cr0 & X86_CR0_WP) ? gp0(cpu) : X86_OK;
}

int x86_write_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr4 ^ value;
	const uint64_t paging = X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_SMEP;
	int ret = check_cr4(cpu, value);

	if (ret != X86_OK)
		return ret;
	if ((cpu->cr0 & X86_CR0_PG) && !x86_lma(cpu) && (value & X86_CR4_PAE) && (changed & paging)) {
		ret = load_pdptrs(cpu, cpu->cr3);
		if (ret != X86_OK)
			return ret;
	}
	cpu->cr4 = value;
	if (changed & (paging | X86_CR4_SMAP | X86_CR4_PCIDE | X86_CR4_PKE | X86_CR4_PKS | X86_CR4_LA57))
		x86_tlb_flush_space(cpu, cpu->space);
	written(cpu, X86_ICPT_CR_WRITE + 4);
	return X86_OK;
}

uint64_t x86_efer_reserved(const struct x86_cpu *cpu)
{
	uint64_t allowed = 0;

	if (x86_has(cpu, X86_FEAT_SYSCALL))
		allowed |= X86_EFER_SCE;
	if (x86_has(cpu, X86_FEAT_LM))
		allowed |= X86_EFER_LME | X86_EFER_LMA;
	if (x86_has(cpu, X86_FEAT_NX))
		allowed |= X86_EFER_NXE;
	if (x86_has(cpu, X86_FEAT_SVM))
		allowed |= X86_EFER_SVME;
	if (x86_has(cpu, X86_FEAT_FFXSR))
		allowed |= X86_EFER_FFXSR;
	return ~allowed;
}

int x86_write_efer(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->efer ^ value;

	if (value & x86_efer_reserved(cpu) & ~cpu->efer)
		return gp0(cpu);
	if ((changed & X86_EFER_LME) && (cpu->cr0 & X86_CR0_PG))
		return gp0(cpu);
	/* LMA is the processor's own. */
	cpu->efer = (value & ~X86_EFER_LMA) | (cpu->efer & X86_EFER_LMA);
	if (changed & X86_EFER_NXE)
		x86_tlb_flush_space(cpu, cpu->space);
	written(cpu, X86_ICPT_EFER_WRITE);
	return X86_OK;
}

int x86_write_xcr0(struct x86_cpu *cpu, uint64_t value)
{
	uint32_t out[4] = { 0 };

	cpu->ops->cpuid(cpu, 0xd, 0, out);
	if (!(value & 1) || (value & ~(out[0] | (uint64_t)out[3] << 32)))
		return gp0(cpu);
	if ((value & 4) && !(value & 2))
		return gp0(cpu);
	cpu->xcr0 = value;
	if (cpu->ops->cr_written)
		cpu->ops->cr_written(cpu, X86_ICPT_XSETBV);
	return X86_OK;
}

static int check_cr(struct x86_cpu *cpu, unsigned int cr, uint64_t value)
{
	switch (cr) {
	case 0:
		return check_cr0(cpu, value);
	case 3:
		return check_cr3(cpu, value);
	case 4:
		return check_cr4(cpu, value);
	case 8:
		return value >> 4 ? gp0(cpu) : X86_OK;
	default:
		return X86_OK;
	}
}

void x86_mov_cr(struct x86_cpu *cpu, unsigned int cr, uint64_t value)
{
	int ret = X86_OK;

	switch (cr) {
	case 0:
		ret = x86_write_cr0(cpu, value);
		break;
	case 2:
		cpu->cr2 = value;
		break;
	case 3:
		ret = x86_write_cr3(cpu, value);
		break;
	case 4:
		ret = x86_write_cr4(cpu, value);
		break;
	default:
		if (value >> 4)
			x86_gp(cpu, 0);
		if (cpu->ops->cr8_write)
			ret = cpu->ops->cr8_write(cpu, value);
		else
			cpu->cr8 = value;
		break;
	}
	x86_check(cpu, ret);
}

/* ---- the instructions ------------------------------------------------------------------------------------- */

/* LOCK before MOV CR0 means CR8 on processors that say so. */
static unsigned int cr_number(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int cr = insn->reg;

	if (insn->flags & X86_I_LOCK) {
		if (cr || !x86_has(cpu, X86_FEAT_CR8_LEGACY))
			x86_ud(cpu);
		cr = 8;
	}
	if (cr != 0 && cr != 2 && cr != 3 && cr != 4 && cr != 8)
		x86_ud(cpu);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	return cr;
}

static int cr_icpt(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what,
		   unsigned int num, uint64_t *value)
{
	struct x86_intercept_info info;
	int ret;

	if (x86_likely(!x86_intercepted(cpu, what)))
		return X86_OK;
	memset(&info, 0, sizeof(info));
	info.cr = (struct x86_icpt_cr){ .num = (uint8_t)num, .gpr = insn->rm, .value = *value };
	ret = x86_icpt(cpu, insn, what, &info);
	*value = info.cr.value;
	return ret;
}

static uint64_t read_cr(struct x86_cpu *cpu, unsigned int cr)
{
	switch (cr) {
	case 0:
		return cpu->cr0;
	case 2:
		return cpu->cr2;
	case 3:
		return cpu->cr3;
	case 4:
		return cpu->cr4;
	default:
		return cpu->ops->cr8_read ? cpu->ops->cr8_read(cpu) : cpu->cr8;
	}
}

void x86_op_mov_from_cr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int cr;
	uint64_t value;

	x86_begin(cpu, insn);
	cr = cr_number(cpu, insn);
	value = read_cr(cpu, cr);
	if (cr_icpt(cpu, insn, X86_ICPT_CR_READ + cr, cr, &value) != X86_DONE)
		x86_reg_set(cpu, insn->dst, insn->opsize, value);
	X86_NEXT();
}

void x86_op_mov_to_cr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int cr;
	uint64_t value, next;

	x86_begin(cpu, insn);
	cr = cr_number(cpu, insn);
	value = x86_reg_get(cpu, insn->src, insn->opsize);
	next = x86_next_rip(cpu, insn);
	if (cpu->ops->values_first)
		x86_check(cpu, check_cr(cpu, cr, value));
	if (cr == 0 && x86_intercepted(cpu, X86_ICPT_CR0_SEL) &&
	    !x86_intercepted(cpu, X86_ICPT_CR_WRITE + 0) &&
	    ((value ^ cpu->cr0) & ~(X86_CR0_TS | X86_CR0_MP)) &&
	    cr_icpt(cpu, insn, X86_ICPT_CR0_SEL, 0, &value) == X86_DONE) {
		cpu->rip = next;
		return;
	}
	if (cr_icpt(cpu, insn, X86_ICPT_CR_WRITE + cr, cr, &value) != X86_DONE)
		x86_mov_cr(cpu, cr, value);
	cpu->rip = next;
}

/*
 * Exits of MOV DR: on VMX before anything but the #UD for registers that do not exist (SDM
 * volume 3, "Instructions that cause VM exits conditionally": it comes before privilege and before
 * CR4.DE; and, as a fault-like exit, before the #DB of DR7.GD), on SVM behind all exceptions.
 */
static int dr_icpt(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what,
		   uint64_t *value, bool checked)
{
	if (!checked && insn->reg > 7)
		x86_ud(cpu);
	if (checked != cpu->ops->values_first)
		return X86_OK;
	return cr_icpt(cpu, insn, what + insn->reg, insn->reg, value);
}

/* The register, by the number that it has beside its alias. */
static unsigned int check_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int dr = insn->reg;
	bool alias = dr == 4 || dr == 5;

	if (alias && (cpu->cr4 & X86_CR4_DE))
		x86_ud(cpu);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (cpu->dr7 & X86_DR7_GD) {
		cpu->step_rf = X86_FL_RF;
		x86_throw_fault(cpu, X86_DB, false, 0, X86_DR6_BD);
	}
	return alias ? dr + 2 : dr;
}

static uint64_t read_dr(const struct x86_cpu *cpu, unsigned int dr)
{
	return dr < 4 ? cpu->dr[dr] : dr == 6 ? cpu->dr6 : cpu->dr7;
}

static void write_dr(struct x86_cpu *cpu, unsigned int dr, uint64_t value)
{
	if (dr < 4)
		cpu->dr[dr] = value;
	else if (dr == 6)
		cpu->dr6 = (value & 0xe00f) | X86_DR6_INIT;
	else
		cpu->dr7 = (value & 0xffff2bff) | X86_DR7_INIT;
	x86_update_debug(cpu);
}

void x86_op_mov_from_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = 0;
	unsigned int dr;

	x86_begin(cpu, insn);
	if (dr_icpt(cpu, insn, X86_ICPT_DR_READ, &value, false) != X86_DONE) {
		dr = check_dr(cpu, insn);
		value = read_dr(cpu, dr);
		if (dr_icpt(cpu, insn, X86_ICPT_DR_READ, &value, true) != X86_DONE)
			x86_reg_set(cpu, insn->dst, insn->opsize, value);
	}
	X86_NEXT();
}

void x86_op_mov_to_dr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = x86_reg_get(cpu, insn->src, insn->opsize);
	unsigned int dr;

	x86_begin(cpu, insn);
	if (dr_icpt(cpu, insn, X86_ICPT_DR_WRITE, &value, false) != X86_DONE) {
		dr = check_dr(cpu, insn);
		if (dr >= 6 && value >> 32)
			x86_gp(cpu, 0);
		if (dr_icpt(cpu, insn, X86_ICPT_DR_WRITE, &value, true) != X86_DONE)
			write_dr(cpu, dr, value);
	}
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}

void x86_op_lmsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t value, next;

	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	value = insn->flags & X86_I_MEM ? x86_load(cpu, insn, 2) : X86_R16(insn->src);
	next = x86_next_rip(cpu, insn);
	if (x86_intercepted(cpu, X86_ICPT_LMSW)) {
		memset(&info, 0, sizeof(info));
		info.cr = (struct x86_icpt_cr){ .gpr = insn->rm, .mem = insn->flags & X86_I_MEM,
						.value = value };
		if (info.cr.mem)
			info.cr.linear = x86_ea(cpu, insn, 2, X86_ACC_READ);
		if (x86_icpt(cpu, insn, X86_ICPT_LMSW, &info) == X86_DONE) {
			cpu->rip = next;
			return;
		}
		value = info.cr.value;
	}
	/* PE can be set but not cleared. */
	value = (cpu->cr0 & ~0xeull) | (value & 0xf);
	x86_mov_cr(cpu, 0, value);
	cpu->rip = next;
}

static void check_umip(struct x86_cpu *cpu)
{
	if ((cpu->cr4 & X86_CR4_UMIP) && cpu->cpl > 0)
		x86_gp(cpu, 0);
}

void x86_op_smsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t value = cpu->cr0;

	x86_begin(cpu, insn);
	check_umip(cpu);
	if (x86_intercepted(cpu, X86_ICPT_SMSW)) {
		memset(&info, 0, sizeof(info));
		info.cr = (struct x86_icpt_cr){ .gpr = insn->rm, .mem = insn->flags & X86_I_MEM,
						.value = value };
		if (x86_icpt(cpu, insn, X86_ICPT_SMSW, &info) == X86_DONE)
			X86_NEXT();
		value = info.cr.value;
	}
	if (insn->flags & X86_I_MEM)
		x86_store(cpu, insn, 2, value);
	else
		x86_reg_set(cpu, insn->src, insn->opsize, value);
	X86_NEXT();
}

void x86_op_clts(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t value = cpu->cr0 & ~X86_CR0_TS;

	x86_begin(cpu, insn);
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
	if (cr_icpt(cpu, insn, X86_ICPT_CLTS, 0, &value) != X86_DONE)
		cpu->cr0 = value;
	x86_advance(cpu, insn);
}

void x86_op_xgetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint32_t index = (uint32_t)cpu->gpr[X86_RCX];

	x86_begin(cpu, insn);
	if (!(cpu->cr4 & X86_CR4_OSXSAVE))
		x86_ud(cpu);
	if (index > (x86_has(cpu, X86_FEAT_XGETBV1) ? 1u : 0u))
		x86_gp(cpu, 0);
	/* XCR1 reads as XCR0 & XINUSE: everything enabled counts as in use. */
	cpu->gpr[X86_RAX] = (uint32_t)cpu->xcr0;
	cpu->gpr[X86_RDX] = cpu->xcr0 >> 32;
	X86_NEXT();
}

void x86_op_xsetbv(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t value = (uint32_t)cpu->gpr[X86_RAX] | cpu->gpr[X86_RDX] << 32;

	x86_begin(cpu, insn);
	if (!(cpu->cr4 & X86_CR4_OSXSAVE))
		x86_ud(cpu);
	/* Privilege comes before VMX's exit and behind SVM's (APM volume 2, "Instruction intercepts"). */
	if (cpu->cpl != 0 && !(cpu->ops->values_first && x86_intercepted(cpu, X86_ICPT_XSETBV)))
		x86_gp(cpu, 0);
	if (x86_intercepted(cpu, X86_ICPT_XSETBV)) {
		memset(&info, 0, sizeof(info));
		info.xcr.index = (uint32_t)cpu->gpr[X86_RCX];
		info.xcr.value = value;
		if (x86_icpt(cpu, insn, X86_ICPT_XSETBV, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	if (cpu->cpl != 0 || (uint32_t)cpu->gpr[X86_RCX])
		x86_gp(cpu, 0);
	x86_check(cpu, x86_write_xcr0(cpu, value));
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}
