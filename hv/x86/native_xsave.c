/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * FXSAVE, FXRSTOR, the XSAVE family, MXCSR. The CPU state keeps x87, SSE and AVX
 * as one image in the standard XSAVE layout, so these are copies of its parts
 * with the rules of which parts, and the checks before anything changes.
 *
 * The host's processor may always say that a component is in use; ours looks.
 * The modified optimisation is never applied, as the manual allows.
 * Source: SDM volume 1, "Managing state using the XSAVE feature set".
 */
#include "hv/x86/native.h"

#define FXSAVE_USED 416u	/* bytes that FXSAVE writes in 64-bit mode */
#define XCOMP_COMPACT (1ull << 63)
#define XS_AVX_OFFSET 576u
#define XS_PKRU_OFFSET 832u /* in the standard format: after the AVX component */
#define XS_PKRU_SIZE 8u

static unsigned int nr_vec(const struct x86_cpu *cpu)
{
	return x86_code64(cpu) ? 16 : 8;
}

static uint32_t mxcsr_mask(const struct x86_cpu *cpu)
{
	return cpu->mxcsr_mask ? cpu->mxcsr_mask : 0xffffu;
}

static void check_mxcsr(struct x86_cpu *cpu, uint32_t value)
{
	if (value & ~mxcsr_mask(cpu))
		x86_gp(cpu, 0);
}

static uint32_t image32(const uint8_t *image, unsigned int off)
{
	uint32_t v;

	memcpy(&v, image + off, 4);
	return v;
}

static uint64_t image64(const uint8_t *image, unsigned int off)
{
	uint64_t v;

	memcpy(&v, image + off, 8);
	return v;
}

/* ---- parts -------------------------------------------------------------------------------------- */

static void x87_to(struct x86_cpu *cpu, const struct x86_insn *insn, uint8_t *image)
{
	memcpy(image, cpu->xsave, XS_MXCSR);
	image[XS_FTW + 1] = 0;
	memcpy(image + XS_ST(0), cpu->xsave + XS_ST(0), 128);
	if (insn->flags & X86_I_REXW)
		return;
	/* 32-bit pointers and selectors, which are no longer recorded. */
	memset(image + XS_FIP + 4, 0, 4);
	memset(image + XS_FDP + 4, 0, 4);
}

static void x87_from(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *image)
{
	memcpy(cpu->xsave, image, XS_MXCSR);
	cpu->xsave[XS_FTW + 1] = 0;
	*xs16(cpu, XS_FCW) = (uint16_t)((*xs16(cpu, XS_FCW) & 0x1f3f) | 0x40);
	*xs16(cpu, XS_FOP) &= 0x7ff;
	for (unsigned int i = 0; i < 8; i++) {
		memset(cpu->xsave + XS_ST(i) + 10, 0, 6);
		memcpy(cpu->xsave + XS_ST(i), image + XS_ST(i), 10);
	}
	if (!(insn->flags & X86_I_REXW)) {
		*xs64(cpu, XS_FIP) &= UINT32_MAX;
		*xs64(cpu, XS_FDP) &= UINT32_MAX;
	}
	native_x87_summary(cpu);
}

static void mxcsr_to(struct x86_cpu *cpu, uint8_t *image)
{
	uint32_t mask = mxcsr_mask(cpu);

	memcpy(image + XS_MXCSR, cpu->xsave + XS_MXCSR, 4);
	memcpy(image + XS_MXCSR + 4, &mask, 4);
}

static bool all_zero(const uint8_t *at, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

/* XINUSE: the components that are not in their initial state. */
static uint64_t in_use(struct x86_cpu *cpu)
{
	uint64_t used = 0;

	if (*xs16(cpu, XS_FCW) != FCW_INIT || !all_zero(cpu->xsave + 2, XS_MXCSR - 2) ||
	    !all_zero(cpu->xsave + XS_ST(0), 128))
		used |= XFEATURE_X87;
	if (!all_zero(cpu->xsave + XS_XMM(0), 16 * nr_vec(cpu)))
		used |= XFEATURE_SSE;
	if (!all_zero(cpu->xsave + XS_YMMH(0), 16 * nr_vec(cpu)))
		used |= XFEATURE_AVX;
	if (cpu->pkru)
		used |= XFEATURE_PKRU;
	return used;
}

/* ---- FXSAVE, FXRSTOR ---------------------------------------------------------------------------------- */

/* The last byte first: seen in which page of a faulting area is reported. */
static void probe_area(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin, unsigned int size)
{
	native_probe_lin(cpu, insn, x86_code64(cpu) ? lin + size - 1 : (uint32_t)(lin + size - 1), 1);
	native_probe_lin(cpu, insn, lin, size);
}

static void check_fx(struct x86_cpu *cpu)
{
	if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS))
		x86_throw_fault(cpu, X86_NM, false, 0, 0);
}

static void fxsave(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	unsigned int size = XS_XMM(0);
	uint8_t image[FXSAVE_USED];

	check_fx(cpu);
	probe_area(cpu, insn, native_address(cpu, insn, 512, 16, X86_ACC_WRITE), 512);
	x87_to(cpu, insn, image);
	mxcsr_to(cpu, image);
	if (cpu->cr4 & X86_CR4_OSFXSR) {
		memcpy(image + XS_XMM(0), cpu->xsave + XS_XMM(0), 16 * nr_vec(cpu));
		size = XS_XMM(nr_vec(cpu));
	}
	native_store(cpu, insn, image, size);
}

static void fxrstor(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t image[512];
	uint64_t lin;

	check_fx(cpu);
	lin = native_address(cpu, insn, 512, 16, X86_ACC_READ);
	native_read_lin(cpu, insn, x86_code64(cpu) ? lin + 511 : (uint32_t)(lin + 511), image + 511, 1);
	native_read_lin(cpu, insn, lin, image, sizeof(image));
	check_mxcsr(cpu, image32(image, XS_MXCSR));
	x87_from(cpu, insn, image);
	if (!(cpu->cr4 & X86_CR4_OSFXSR))
		return;
	memcpy(cpu->xsave + XS_MXCSR, image + XS_MXCSR, 4);
	memcpy(cpu->xsave + XS_XMM(0), image + XS_XMM(0), 16 * nr_vec(cpu));
}

static void ldmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint32_t value;

	native_load(cpu, insn, &value, 4);
	check_mxcsr(cpu, value);
	*xs32(cpu, XS_MXCSR) = value;
}

static void stmxcsr(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	native_store(cpu, insn, xs32(cpu, XS_MXCSR), 4);
}

/* ---- the XSAVE family --------------------------------------------------------------------------------- */

static uint64_t rfbm(struct x86_cpu *cpu)
{
	uint64_t asked = (uint32_t)cpu->gpr[X86_RAX] | cpu->gpr[X86_RDX] << 32;

	return asked & cpu->xcr0;
}

static void check_xsave(struct x86_cpu *cpu)
{
	if (!(cpu->cr4 & X86_CR4_OSXSAVE))
		x86_ud(cpu);
	if (cpu->cr0 & X86_CR0_TS)
		x86_throw_fault(cpu, X86_NM, false, 0, 0);
}

static void check_supervisor(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int icpt)
{
	if (cpu->cpl)
		x86_gp(cpu, 0);
	x86_icpt_simple(cpu, insn, icpt);
}

/*
 * Components of an area in the standard format, which has room for all; the compacted format
 * has room for those of XCOMP_BV only. The AVX component stands at 576 in both.
 */
#define AREA_STANDARD (~0ull)

static unsigned int pkru_offset(uint64_t area)
{
	return area & XFEATURE_AVX ? XS_PKRU_OFFSET : XS_AVX_OFFSET;
}

/* Write [from, to) of the image at the operand. */
static void put_part(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		     const uint8_t *image, unsigned int from, unsigned int to)
{
	x86_copy_to(cpu, lin + from, image + from, to - from, cpu->tlb_mode);
}

/*
 * Components in `save` go out; `mxcsr` too when it belongs to them. `area` are the components
 * that the area has room for.
 */
static void put_components(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
			   uint64_t save, uint64_t area, bool mxcsr)
{
	uint8_t image[X86_XSAVE_SIZE];
	unsigned int n = nr_vec(cpu);
	uint64_t pkru = cpu->pkru;

	x87_to(cpu, insn, image);
	mxcsr_to(cpu, image);
	if (save & XFEATURE_X87) {
		put_part(cpu, insn, lin, image, 0, XS_MXCSR);
		put_part(cpu, insn, lin, image, XS_ST(0), XS_XMM(0));
	}
	if (mxcsr)
		put_part(cpu, insn, lin, image, XS_MXCSR, XS_ST(0));
	if (save & XFEATURE_SSE)
		put_part(cpu, insn, lin, cpu->xsave, XS_XMM(0), XS_XMM(n));
	if (save & XFEATURE_AVX)
		put_part(cpu, insn, lin, cpu->xsave, XS_YMMH(0), XS_YMMH(n));
	if (save & XFEATURE_PKRU)
		x86_copy_to(cpu, lin + pkru_offset(area), &pkru, XS_PKRU_SIZE, cpu->tlb_mode);
}

/* Where the area ends for these components; every byte of it must be writable first. */
static unsigned int area_size(uint64_t components, uint64_t area)
{
	if (components & XFEATURE_PKRU)
		return pkru_offset(area) + XS_PKRU_SIZE;
	return components & XFEATURE_AVX ? XS_YMMH(16) : XS_AVX_OFFSET;
}

static void xsave_standard(struct x86_cpu *cpu, const struct x86_insn *insn, bool optimised)
{
	uint64_t mask = rfbm(cpu), lin, bv, used = in_use(cpu), save;

	check_xsave(cpu);
	lin = native_address(cpu, insn, area_size(mask, AREA_STANDARD), 64, X86_ACC_WRITE);
	probe_area(cpu, insn, lin, area_size(mask, AREA_STANDARD));
	native_read_lin(cpu, insn, lin + XS_BV, &bv, 8);
	save = optimised ? mask & used : mask;
	put_components(cpu, insn, lin, save, AREA_STANDARD, mask & (XFEATURE_SSE | XFEATURE_AVX));
	bv = (bv & ~mask) | (used & mask);
	x86_copy_to(cpu, lin + XS_BV, &bv, 8, cpu->tlb_mode);
}

static void xsave(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	xsave_standard(cpu, insn, false);
}

static void xsaveopt(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	xsave_standard(cpu, insn, true);
}

static void xsave_compact(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t mask = rfbm(cpu), used = in_use(cpu), lin, header[2];

	if (*xs32(cpu, XS_MXCSR) != MXCSR_INIT)
		used |= XFEATURE_SSE;
	lin = native_address(cpu, insn, area_size(mask, mask), 64, X86_ACC_WRITE);
	probe_area(cpu, insn, lin, area_size(mask, mask));
	put_components(cpu, insn, lin, mask & used, mask, mask & used & XFEATURE_SSE);
	header[0] = mask & used;
	header[1] = mask | XCOMP_COMPACT;
	x86_copy_to(cpu, lin + XS_BV, header, sizeof(header), cpu->tlb_mode);
}

static void xsavec(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	check_xsave(cpu);
	xsave_compact(cpu, insn);
}

static void xsaves(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	check_xsave(cpu);
	check_supervisor(cpu, insn, X86_ICPT_XSAVES);
	xsave_compact(cpu, insn);
}

static void check_header(struct x86_cpu *cpu, const uint8_t *image, bool compact_only)
{
	uint64_t bv = image64(image, XS_BV), comp = image64(image, XS_COMP_BV);

	if (comp & XCOMP_COMPACT) {
		if (!x86_has(cpu, X86_FEAT_XSAVEC) || comp & ~XCOMP_COMPACT & ~cpu->xcr0 || bv & ~comp ||
		    !all_zero(image + XS_BV + 16, 48))
			x86_gp(cpu, 0);
		return;
	}
	if (compact_only || bv & ~cpu->xcr0 || !all_zero(image + XS_BV + 8, 16))
		x86_gp(cpu, 0);
}

static void restore_mxcsr(struct x86_cpu *cpu, const uint8_t *image, uint64_t mask, uint64_t bv)
{
	bool compact = image64(image, XS_COMP_BV) & XCOMP_COMPACT;

	if (compact && mask & XFEATURE_SSE && !(bv & XFEATURE_SSE))
		*xs32(cpu, XS_MXCSR) = MXCSR_INIT;
	else if (compact ? mask & XFEATURE_SSE : mask & (XFEATURE_SSE | XFEATURE_AVX))
		*xs32(cpu, XS_MXCSR) = image32(image, XS_MXCSR);
}

static void restore_vectors(struct x86_cpu *cpu, const uint8_t *image, unsigned int off, bool load)
{
	unsigned int n = 16 * nr_vec(cpu);

	if (load)
		memcpy(cpu->xsave + off, image + off, n);
	else
		memset(cpu->xsave + off, 0, n);
}

static void restore_pkru(struct x86_cpu *cpu, uint32_t value)
{
	if (cpu->pkru == value)
		return;
	cpu->pkru = value;
	x86_tlb_flush_space(cpu, cpu->space); /* rights are in the TLB's entries */
}

static void xrstor_image(struct x86_cpu *cpu, const struct x86_insn *insn, bool compact_only)
{
	uint8_t image[X86_XSAVE_SIZE] = { 0 };
	uint64_t mask = rfbm(cpu), bv, area, lin;
	uint32_t pkru = 0;

	lin = native_address(cpu, insn, XS_AVX_OFFSET, 64, X86_ACC_READ);
	/* The header first. */
	native_read_lin(cpu, insn, x86_code64(cpu) ? lin + XS_BV : (uint32_t)(lin + XS_BV), image + XS_BV,
			XS_AVX_OFFSET - XS_BV);
	native_read_lin(cpu, insn, lin, image, XS_BV);
	/* Seen on Intel: of the standard format all 16 registers are touched before the header is checked. */
	if (mask & XFEATURE_AVX && !(image64(image, XS_COMP_BV) & XCOMP_COMPACT))
		native_read_lin(cpu, insn, lin + XS_AVX_OFFSET, image + XS_AVX_OFFSET, 16 * 16);
	check_header(cpu, image, compact_only);
	bv = image64(image, XS_BV);
	area = image64(image, XS_COMP_BV) & XCOMP_COMPACT ? image64(image, XS_COMP_BV) : AREA_STANDARD;
	if (mask & bv & XFEATURE_AVX)
		native_read_lin(cpu, insn, lin + XS_AVX_OFFSET, image + XS_AVX_OFFSET,
				16 * nr_vec(cpu));
	if (mask & bv & XFEATURE_PKRU)
		native_read_lin(cpu, insn, lin + pkru_offset(area), &pkru, sizeof(pkru));
	if (mask & (XFEATURE_SSE | XFEATURE_AVX))
		check_mxcsr(cpu, image32(image, XS_MXCSR));
	if (mask & XFEATURE_X87 && bv & XFEATURE_X87) {
		x87_from(cpu, insn, image);
	} else if (mask & XFEATURE_X87) {
		native_x87_init(cpu);
		memset(cpu->xsave + XS_ST(0), 0, 128);
	}
	restore_mxcsr(cpu, image, mask, bv);
	if (mask & XFEATURE_SSE)
		restore_vectors(cpu, image, XS_XMM(0), bv & XFEATURE_SSE);
	if (mask & XFEATURE_AVX)
		restore_vectors(cpu, image, XS_YMMH(0), bv & XFEATURE_AVX);
	if (mask & XFEATURE_PKRU)
		restore_pkru(cpu, pkru);
}

static void xrstor(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	check_xsave(cpu);
	xrstor_image(cpu, insn, false);
}

static void xrstors(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	check_xsave(cpu);
	check_supervisor(cpu, insn, X86_ICPT_XRSTORS);
	xrstor_image(cpu, insn, true);
}

native_c_fn *native_xsave_handler(unsigned int mnemonic, enum native_kind *kind)
{
	static const struct {
		uint16_t mnemonic;
		uint8_t kind;
		native_c_fn *fn;
	} table[] = {
		{ ZYDIS_MNEMONIC_FXSAVE, NATIVE_FREE, fxsave },
		{ ZYDIS_MNEMONIC_FXSAVE64, NATIVE_FREE, fxsave },
		{ ZYDIS_MNEMONIC_FXRSTOR, NATIVE_FREE, fxrstor },
		{ ZYDIS_MNEMONIC_FXRSTOR64, NATIVE_FREE, fxrstor },
		{ ZYDIS_MNEMONIC_LDMXCSR, NATIVE_SSE, ldmxcsr },
		{ ZYDIS_MNEMONIC_VLDMXCSR, NATIVE_AVX, ldmxcsr },
		{ ZYDIS_MNEMONIC_STMXCSR, NATIVE_SSE, stmxcsr },
		{ ZYDIS_MNEMONIC_VSTMXCSR, NATIVE_AVX, stmxcsr },
		{ ZYDIS_MNEMONIC_XSAVE, NATIVE_FREE, xsave },
		{ ZYDIS_MNEMONIC_XSAVE64, NATIVE_FREE, xsave },
		{ ZYDIS_MNEMONIC_XSAVEOPT, NATIVE_FREE, xsaveopt },
		{ ZYDIS_MNEMONIC_XSAVEOPT64, NATIVE_FREE, xsaveopt },
		{ ZYDIS_MNEMONIC_XSAVEC, NATIVE_FREE, xsavec },
		{ ZYDIS_MNEMONIC_XSAVEC64, NATIVE_FREE, xsavec },
		{ ZYDIS_MNEMONIC_XSAVES, NATIVE_FREE, xsaves },
		{ ZYDIS_MNEMONIC_XSAVES64, NATIVE_FREE, xsaves },
		{ ZYDIS_MNEMONIC_XRSTOR, NATIVE_FREE, xrstor },
		{ ZYDIS_MNEMONIC_XRSTOR64, NATIVE_FREE, xrstor },
		{ ZYDIS_MNEMONIC_XRSTORS, NATIVE_FREE, xrstors },
		{ ZYDIS_MNEMONIC_XRSTORS64, NATIVE_FREE, xrstors },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].mnemonic != mnemonic)
			continue;
		*kind = (enum native_kind)table[i].kind;
		return table[i].fn;
	}
	return NULL;
}
