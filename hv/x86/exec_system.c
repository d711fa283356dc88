/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptor tables and segments as objects: LGDT ... STR, LAR LSL VERR VERW ARPL, and the
 * invalidation of translations.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

static void need_cpl0(struct x86_cpu *cpu)
{
	if (cpu->cpl != 0)
		x86_gp(cpu, 0);
}

static uint16_t operand16(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return insn->flags & X86_I_MEM ? (uint16_t)x86_load(cpu, insn, 2) : X86_R16(insn->src);
}

/* ---- GDTR, IDTR ----------------------------------------------------------------------------------------- */

static void load_table(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_dtable *table,
		       unsigned int what)
{
	bool code64 = cpu->code_size == 8;
	unsigned int size = code64 ? 8 : 4;
	uint64_t lin, base;
	uint16_t limit;

	x86_begin(cpu, insn);
	need_cpl0(cpu);
	if (x86_icpt_simple(cpu, insn, what)) {
		x86_advance(cpu, insn);
		return;
	}
	lin = x86_ea(cpu, insn, size + 2, X86_ACC_READ);
	limit = (uint16_t)x86_read(cpu, insn, lin, 2, insn->seg);
	base = x86_read(cpu, insn, lin + 2, size, insn->seg);
	if (code64 && x86_noncanonical_reg(cpu, base))
		x86_gp(cpu, 0);
	if (!code64 && insn->opsize == 2)
		base &= 0xffffff;
	table->base = base;
	table->limit = limit;
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}

void x86_op_lgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	load_table(cpu, insn, &cpu->gdtr, X86_ICPT_LGDT);
}

void x86_op_lidt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	load_table(cpu, insn, &cpu->idtr, X86_ICPT_LIDT);
}

static void check_umip(struct x86_cpu *cpu)
{
	if ((cpu->cr4 & X86_CR4_UMIP) && cpu->cpl > 0)
		x86_gp(cpu, 0);
}

static bool store_table(struct x86_cpu *cpu, const struct x86_insn *insn,
			const struct x86_dtable *table, unsigned int what)
{
	unsigned int size = cpu->code_size == 8 ? 8 : 4;
	uint8_t image[10];
	uint64_t lin;

	x86_begin(cpu, insn);
	check_umip(cpu);
	if (x86_icpt_simple(cpu, insn, what))
		return true;
	lin = x86_ea(cpu, insn, size + 2, X86_ACC_WRITE);
	memcpy(image, &table->limit, 2);
	memcpy(image + 2, &table->base, size);
	if (cpu->code_size == 8 && x86_noncanonical(cpu, lin))
		x86_exc(cpu, insn->seg == X86_SS ? X86_SS_FAULT : X86_GP, 0);
	x86_copy_to(cpu, lin, image, size + 2, cpu->tlb_mode);
	return true;
}

void x86_op_sgdt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	store_table(cpu, insn, &cpu->gdtr, X86_ICPT_SGDT);
	X86_NEXT();
}

void x86_op_sidt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	store_table(cpu, insn, &cpu->idtr, X86_ICPT_SIDT);
	X86_NEXT();
}

/* ---- LDTR, TR --------------------------------------------------------------------------------------------- */

static void need_prot(struct x86_cpu *cpu)
{
	if (!x86_prot(cpu))
		x86_ud(cpu);
}

void x86_op_lldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	need_prot(cpu);
	need_cpl0(cpu);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_LLDT))
		x86_load_ldtr(cpu, operand16(cpu, insn), X86_GP);
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}

static void load_tr(struct x86_cpu *cpu, uint16_t sel)
{
	unsigned int mode = x86_system_mode(cpu), type;
	uint64_t d, high = 0, linear;
	uint32_t ar;

	if (!(sel & 0xfffc))
		x86_gp(cpu, 0);
	if (sel & 4)
		x86_gp(cpu, sel & 0xfffc);
	d = x86_read_descriptor(cpu, sel, X86_GP, &linear);
	ar = x86_desc_ar(d);
	type = ar & 0x1f;
	if (type != 9 && (type != 1 || x86_lma(cpu)))
		x86_gp(cpu, sel & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, sel & 0xfffc);
	if (x86_lma(cpu)) {
		high = x86_read_descriptor_high(cpu, sel);
		if ((high >> 40 & 0x1f) ||
		    x86_noncanonical_reg(cpu, x86_desc_base(d) | high << 32))
			x86_gp(cpu, sel & 0xfffc);
	}
	x86_write_mode(cpu, linear + 5, (d >> 40 & 0xff) | 2, 1, mode); /* busy */
	x86_seg_from_descriptor(&cpu->seg[X86_TR], sel, d | 2ull << 40);
	cpu->seg[X86_TR].base |= high << 32;
}

void x86_op_ltr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_begin(cpu, insn);
	need_prot(cpu);
	need_cpl0(cpu);
	if (!x86_icpt_simple(cpu, insn, X86_ICPT_LTR))
		load_tr(cpu, operand16(cpu, insn));
	x86_serialise(cpu);
	x86_advance(cpu, insn);
}

static void store_selector(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int seg,
			   unsigned int what)
{
	x86_begin(cpu, insn);
	need_prot(cpu);
	check_umip(cpu);
	if (x86_icpt_simple(cpu, insn, what))
		return;
	if (insn->flags & X86_I_MEM)
		x86_store(cpu, insn, 2, cpu->seg[seg].selector);
	else
		x86_reg_set(cpu, insn->src, insn->opsize, cpu->seg[seg].selector);
}

void x86_op_sldt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	store_selector(cpu, insn, X86_LDTR, X86_ICPT_SLDT);
	X86_NEXT();
}

void x86_op_str(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	store_selector(cpu, insn, X86_TR, X86_ICPT_STR);
	X86_NEXT();
}

/* ---- questions about descriptors ----------------------------------------------------------------------------- */

static void set_zf(struct x86_cpu *cpu, bool zf)
{
	cpu->cc = (cpu->cc & ~X86_CC_ZF) | (zf ? X86_CC_ZF : 0);
}

/* The descriptor if the selector is within its table; these instructions do not fault on it. */
static bool peek(struct x86_cpu *cpu, uint16_t sel, uint64_t *d)
{
	uint32_t limit = cpu->gdtr.limit;

	if (!(sel & 0xfffc))
		return false;
	if (sel & 4) {
		if (cpu->seg[X86_LDTR].ar & X86_AR_UNUSABLE)
			return false;
		limit = cpu->seg[X86_LDTR].limit;
	}
	if ((sel | 7u) > limit)
		return false;
	*d = x86_read_descriptor(cpu, sel, X86_GP, NULL);
	return true;
}

static bool visible(const struct x86_cpu *cpu, uint16_t sel, uint32_t ar)
{
	if ((ar & X86_AR_S) && (ar & 0xc) == 0xc) /* conforming code */
		return true;
	return X86_AR_DPL(ar) >= cpu->cpl && X86_AR_DPL(ar) >= (sel & 3u);
}

static bool lar_type(const struct x86_cpu *cpu, unsigned int type, bool limit)
{
	uint32_t good = limit ? 0x0a0e : 0x1a3e; /* 1 2 3 9 11, and 4 5 12 for LAR */

	if (x86_lma(cpu))
		good = limit ? 0x0a04 : 0x1a04; /* 2 9 11, and 12 */
	return good >> type & 1;
}

static void lar_lsl(struct x86_cpu *cpu, const struct x86_insn *insn, bool limit)
{
	uint16_t sel;
	uint64_t d;
	uint32_t ar;
	bool ok;

	x86_begin(cpu, insn);
	need_prot(cpu);
	sel = operand16(cpu, insn);
	ok = peek(cpu, sel, &d);
	if (ok) {
		ar = x86_desc_ar(d);
		ok = ((ar & X86_AR_S) || lar_type(cpu, ar & 15, limit)) && visible(cpu, sel, ar);
	}
	set_zf(cpu, ok);
	if (ok)
		x86_reg_set(cpu, insn->dst, insn->opsize,
			    limit ? x86_desc_limit(d) : (d >> 32 & 0x00f0ff00));
}

void x86_op_lar(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	lar_lsl(cpu, insn, false);
	X86_NEXT();
}

void x86_op_lsl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	lar_lsl(cpu, insn, true);
	X86_NEXT();
}

static void verify(struct x86_cpu *cpu, const struct x86_insn *insn, bool write)
{
	uint16_t sel;
	uint64_t d;
	uint32_t ar;
	bool ok;

	x86_begin(cpu, insn);
	need_prot(cpu);
	sel = operand16(cpu, insn);
	ok = peek(cpu, sel, &d);
	if (ok) {
		ar = x86_desc_ar(d);
		ok = (ar & X86_AR_S) && visible(cpu, sel, ar) &&
		     (write ? (ar & 0xa) == 2 : (ar & 0xa) != 8);
	}
	set_zf(cpu, ok);
}

void x86_op_verr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	verify(cpu, insn, false);
	X86_NEXT();
}

void x86_op_verw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	verify(cpu, insn, true);
	X86_NEXT();
}

/* dst is the r/m operand's partner: modrm.reg; the r/m selector is adjusted. */
void x86_op_arpl(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t rpl = X86_R16(insn->dst) & 3, *sel;
	bool mem = insn->flags & X86_I_MEM;

	x86_begin(cpu, insn);
	need_prot(cpu);
	sel = mem ? x86_rmw_operand(cpu, insn, 2) : &X86_R16(insn->src);
	set_zf(cpu, ((uint16_t)x86_host_load(sel, 2) & 3) < rpl);
	if (cpu->cc & X86_CC_ZF)
		x86_host_store(sel, 2, (x86_host_load(sel, 2) & ~3ull) | rpl);
	if (mem)
		x86_rmw_end(cpu, sel);
	X86_NEXT();
}

/* ---- invalidation ------------------------------------------------------------------------------------------------ */

static unsigned int current_pcid(const struct x86_cpu *cpu)
{
	return cpu->cr4 & X86_CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
}

/* The operand's address, of which nothing is checked. */
static uint64_t unchecked_linear(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t base = cpu->code_size == 8 && insn->seg < X86_FS ? 0 : cpu->seg[insn->seg].base;
	uint64_t lin = base + x86_ea_offset(cpu, insn);

	return cpu->code_size == 8 ? lin : (uint32_t)lin;
}

void x86_op_invlpg(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t lin;

	x86_begin(cpu, insn);
	need_cpl0(cpu);
	lin = unchecked_linear(cpu, insn);
	if (x86_intercepted(cpu, X86_ICPT_INVLPG)) {
		memset(&info, 0, sizeof(info));
		info.inv.linear = lin;
		if (x86_icpt(cpu, insn, X86_ICPT_INVLPG, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	if (!x86_noncanonical_reg(cpu, lin))
		x86_tlb_flush_page(cpu, cpu->space, current_pcid(cpu), lin);
	x86_advance(cpu, insn);
}

static void invpcid(struct x86_cpu *cpu, uint64_t type, uint64_t pcid, uint64_t linear)
{
	if (type > 3 || pcid >> 12)
		x86_gp(cpu, 0);
	if (!(cpu->cr4 & X86_CR4_PCIDE) && type < 2 && pcid)
		x86_gp(cpu, 0);
	switch (type) {
	case 0:
		if (x86_noncanonical_reg(cpu, linear))
			x86_gp(cpu, 0);
		x86_tlb_flush_page(cpu, cpu->space, (unsigned int)pcid, linear);
		break;
	case 1:
		x86_tlb_flush_pcid(cpu, cpu->space, (unsigned int)pcid);
		break;
	case 2:
		x86_tlb_flush_space(cpu, cpu->space);
		break;
	default:
		x86_tlb_flush_space_nonglobal(cpu, cpu->space);
		break;
	}
}

void x86_op_invpcid(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_intercept_info info;
	uint64_t lin, type, desc[2];

	x86_begin(cpu, insn);
	need_cpl0(cpu);
	type = x86_reg_get(cpu, insn->dst, insn->opsize);
	if (x86_intercepted(cpu, X86_ICPT_INVPCID)) {
		memset(&info, 0, sizeof(info));
		info.inv.type = type;
		info.inv.linear = unchecked_linear(cpu, insn);
		if (x86_icpt(cpu, insn, X86_ICPT_INVPCID, &info) == X86_DONE) {
			x86_advance(cpu, insn);
			return;
		}
	}
	lin = x86_ea(cpu, insn, 16, X86_ACC_READ);
	desc[0] = x86_read(cpu, insn, lin, 8, insn->seg);
	desc[1] = x86_read(cpu, insn, lin + 8, 8, insn->seg);
	invpcid(cpu, type, desc[0], desc[1]);
	x86_advance(cpu, insn);
}
