/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an instruction needs (operands, exception class) and its stub.
 *
 * A stub is called with rdi = cpu and rsi = memory operand:
 *
 *	load the general registers that it reads into rax, rdx, rcx
 *	SSE, AVX: load the vector registers that it names; MXCSR if it computes
 *	x87, MMX: fxrstor64
 *	load the arithmetic flags if it reads them
 *	the instruction, re-encoded: memory is [rsi], its explicit general register rax
 *	store what it may have written, in the reverse order; the host's MXCSR; ret
 *
 * A vector register that is written is loaded too: many instructions keep a part of it.
 */
#include "hv/x86/native.h"

struct shape {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

bool native_decode(const struct native_op *op, ZydisDecodedInstruction *z, ZydisDecodedOperand *operands)
{
	static const struct { ZydisMachineMode mode; ZydisStackWidth width; } modes[] = {
		[X86_CODE_REAL] = { ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16 },
		[X86_CODE_V86] = { ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16 },
		[X86_CODE_16] = { ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16 },
		[X86_CODE_32] = { ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32 },
		[X86_CODE_COMPAT16] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16 },
		[X86_CODE_COMPAT32] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32 },
		[X86_CODE_64] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
	};
	ZydisDecoder d;

	if (ZYAN_FAILED(ZydisDecoderInit(&d, modes[op->code_mode].mode, modes[op->code_mode].width)))
		return false;
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, op->raw, op->len, z, operands));
}

/* ---- kinds ------------------------------------------------------------------------------------- */

static bool uses_class(const struct shape *s, ZydisRegisterClass class)
{
	for (unsigned int i = 0; i < s->z.operand_count; i++)
		if (s->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(s->op[i].reg.value) == class)
			return true;
	return false;
}

static bool is_avx(const struct shape *s)
{
	return s->z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

static enum native_kind kind_of(const struct shape *s)
{
	switch (s->z.meta.isa_set) {
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
		return NATIVE_X87;
	default:
		break;
	}
	if (uses_class(s, ZYDIS_REGCLASS_X87))
		return NATIVE_X87;
	if (is_avx(s))
		return NATIVE_AVX;
	if (uses_class(s, ZYDIS_REGCLASS_MMX) || s->z.mnemonic == ZYDIS_MNEMONIC_EMMS)
		return NATIVE_MMX;
	return NATIVE_SSE;
}

/* The manual's exception classes that use MXCSR (SDM volume 2, "Exception types"). */
static bool is_fp(const struct shape *s)
{
	switch (s->z.mnemonic) {
	case ZYDIS_MNEMONIC_CVTPI2PS:
	case ZYDIS_MNEMONIC_CVTPS2PI:
	case ZYDIS_MNEMONIC_CVTTPS2PI:
	case ZYDIS_MNEMONIC_CVTPI2PD:
	case ZYDIS_MNEMONIC_CVTPD2PI:
	case ZYDIS_MNEMONIC_CVTTPD2PI:
		return true;
	default:
		break;
	}
	switch (s->z.meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11:
		return true;
	default:
		return false;
	}
}

/* Classes 1, 2 and 4 of legacy SSE demand alignment, with these exceptions; of AVX only class 1. */
static unsigned int alignment(const struct shape *s, unsigned int size)
{
	switch (s->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return 0;
	default:
		break;
	}
	switch (s->z.meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_AVX1:
		return size;
	case ZYDIS_EXCEPTION_CLASS_SSE1:
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE4:
		return size == 16 ? 16 : 0;
	default:
		/* CVTPD2PI and its kin take an aligned packed operand but have no class. */
		return !is_avx(s) && size == 16 ? 16 : 0;
	}
}

/* What the 8087 and 80287 knew does not wait and leaves the pointers alone. */
static bool x87_is_historic(unsigned int mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_FENI8087_NOP || mnemonic == ZYDIS_MNEMONIC_FDISI8087_NOP ||
	       mnemonic == ZYDIS_MNEMONIC_FSETPM287_NOP;
}

static void describe_memory(struct native_op *op, const struct shape *s)
{
	for (unsigned int i = 0; i < s->z.operand_count; i++) {
		const ZydisDecodedOperand *o = &s->op[i];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			continue;
		op->size = (uint16_t)(o->size / 8);
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
			op->flags |= NATIVE_LOADS;
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			op->flags |= NATIVE_STORES;
	}
	if (op->kind == NATIVE_SSE || op->kind == NATIVE_AVX || op->kind == NATIVE_MMX)
		op->align = (uint8_t)alignment(s, op->size);
}

/* Which features the guest's CPUID has to offer; sets that are not here do not exist for it. */
static bool offered(const struct x86_cpu *cpu, const ZydisDecodedInstruction *z)
{
	static const struct { uint8_t isa_set, feature; } table[] = {
		{ ZYDIS_ISA_SET_X87, X86_FEAT_NR },
		{ ZYDIS_ISA_SET_PPRO, X86_FEAT_CMOV }, /* FCOMI */
		{ ZYDIS_ISA_SET_FCMOV, X86_FEAT_CMOV },
		{ ZYDIS_ISA_SET_PENTIUMMMX, X86_FEAT_MMX },
		{ ZYDIS_ISA_SET_SSE, X86_FEAT_SSE },
		{ ZYDIS_ISA_SET_SSEMXCSR, X86_FEAT_SSE },
		{ ZYDIS_ISA_SET_SSE2, X86_FEAT_SSE2 },
		{ ZYDIS_ISA_SET_SSE2MMX, X86_FEAT_SSE2 },
		{ ZYDIS_ISA_SET_SSE3, X86_FEAT_SSE3 },
		{ ZYDIS_ISA_SET_SSE3X87, X86_FEAT_SSE3 },
		{ ZYDIS_ISA_SET_SSSE3, X86_FEAT_SSSE3 },
		{ ZYDIS_ISA_SET_SSSE3MMX, X86_FEAT_SSSE3 },
		{ ZYDIS_ISA_SET_SSE4, X86_FEAT_SSE41 },
		{ ZYDIS_ISA_SET_SSE42, X86_FEAT_SSE42 },
		{ ZYDIS_ISA_SET_AES, X86_FEAT_AES },
		{ ZYDIS_ISA_SET_PCLMULQDQ, X86_FEAT_PCLMULQDQ },
		{ ZYDIS_ISA_SET_SHA, X86_FEAT_SHA },
		{ ZYDIS_ISA_SET_GFNI, X86_FEAT_GFNI },
		{ ZYDIS_ISA_SET_FXSAVE, X86_FEAT_FXSR },
		{ ZYDIS_ISA_SET_FXSAVE64, X86_FEAT_FXSR },
		{ ZYDIS_ISA_SET_XSAVE, X86_FEAT_XSAVE },
		{ ZYDIS_ISA_SET_XSAVEOPT, X86_FEAT_XSAVEOPT },
		{ ZYDIS_ISA_SET_XSAVEC, X86_FEAT_XSAVEC },
		{ ZYDIS_ISA_SET_XSAVES, X86_FEAT_XSAVES },
		{ ZYDIS_ISA_SET_AVX, X86_FEAT_AVX },
		{ ZYDIS_ISA_SET_AVXAES, X86_FEAT_AES },
		{ ZYDIS_ISA_SET_AVX_GFNI, X86_FEAT_GFNI },
		{ ZYDIS_ISA_SET_AVX2, X86_FEAT_AVX2 },
		{ ZYDIS_ISA_SET_AVX2GATHER, X86_FEAT_AVX2 },
		{ ZYDIS_ISA_SET_FMA, X86_FEAT_FMA },
		{ ZYDIS_ISA_SET_F16C, X86_FEAT_F16C },
		{ ZYDIS_ISA_SET_VAES, X86_FEAT_VAES },
		{ ZYDIS_ISA_SET_VPCLMULQDQ, X86_FEAT_VPCLMULQDQ },
	};

	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !x86_has(cpu, X86_FEAT_AVX))
		return false;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].isa_set == z->meta.isa_set)
			return table[i].feature == X86_FEAT_NR ||
			       x86_has(cpu, (enum x86_feature)table[i].feature);
	return false;
}

bool native_describe(const struct x86_cpu *cpu, struct native_op *op)
{
	enum native_kind kind;
	struct shape s;

	if (!native_decode(op, &s.z, s.op) || !offered(cpu, &s.z))
		return false;
	op->mnemonic = (uint16_t)s.z.mnemonic;
	kind = kind_of(&s);
	op->fn = native_x87_handler(op->mnemonic, &kind);
	if (!op->fn)
		op->fn = native_xsave_handler(op->mnemonic, &kind);
	if (!op->fn)
		op->fn = native_mask_handler(op->mnemonic, &kind);
	op->kind = (uint8_t)kind;
	describe_memory(op, &s);
	if (is_fp(&s))
		op->flags |= NATIVE_FP;
	if (x87_is_historic(op->mnemonic))
		op->kind = NATIVE_X87_NOWAIT;
	else if (kind == NATIVE_X87)
		op->flags |= NATIVE_X87_OP;
	/* Stores and loads of a stub go through one pointer and one buffer of 64 bytes. */
	return op->fn || op->size <= 64;
}

/* ---- bytes -------------------------------------------------------------------------------------- */

struct out {
	uint8_t *at;
	unsigned int n;
};

static void b1(struct out *o, unsigned int v)
{
	if (o->n < NATIVE_STUB_MAX)
		o->at[o->n] = (uint8_t)v;
	o->n++;
}

static void b4(struct out *o, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		b1(o, v >> (8 * i) & 0xff);
}

/* modrm and disp32 for [rdi + off]. */
static void at_cpu(struct out *o, unsigned int reg, size_t off)
{
	b1(o, 0x80 | (reg & 7) << 3 | 7);
	b4(o, (uint32_t)off);
}

static size_t xs_off(unsigned int off)
{
	return offsetof(struct x86_cpu, xsave) + off;
}

static void load_gpr(struct out *o, unsigned int host, unsigned int guest)
{
	b1(o, 0x48);
	b1(o, 0x8b);
	at_cpu(o, host, guest * 8);
}

static void store_gpr(struct out *o, unsigned int host, unsigned int guest)
{
	b1(o, 0x48);
	b1(o, 0x89);
	at_cpu(o, host, guest * 8);
}

/* 0F 10 and 0F 11: movups between xmm and the state. */
static void move_xmm(struct out *o, unsigned int opcode, unsigned int reg)
{
	if (reg >= 8)
		b1(o, 0x44);
	b1(o, 0x0f);
	b1(o, opcode);
	at_cpu(o, reg, xs_off(XS_XMM(reg)));
}

static void vmove_xmm(struct out *o, unsigned int opcode, unsigned int reg)
{
	b1(o, 0xc5);
	b1(o, (reg < 8 ? 0x80 : 0) | 0x78);
	b1(o, opcode);
	at_cpu(o, reg, xs_off(XS_XMM(reg)));
}

/* vinsertf128 ymm, ymm, [hi], 1 and vextractf128 [hi], ymm, 1. */
static void load_high(struct out *o, unsigned int reg)
{
	b1(o, 0xc4);
	b1(o, (reg < 8 ? 0x80 : 0) | 0x63);
	b1(o, (~reg & 15) << 3 | 5);
	b1(o, 0x18);
	at_cpu(o, reg, xs_off(XS_YMMH(reg)));
	b1(o, 1);
}

static void store_high(struct out *o, unsigned int reg)
{
	b1(o, 0xc4);
	b1(o, (reg < 8 ? 0x80 : 0) | 0x63);
	b1(o, 0x7d);
	b1(o, 0x19);
	at_cpu(o, reg, xs_off(XS_YMMH(reg)));
	b1(o, 1);
}

static void host_mxcsr(struct out *o)
{
	static const uint8_t store[] = { 0xc7, 0x44, 0x24, 0xfc }; /* mov dword [rsp - 4], imm32 */
	static const uint8_t load[] = { 0x0f, 0xae, 0x54, 0x24, 0xfc }; /* ldmxcsr [rsp - 4] */

	for (unsigned int i = 0; i < sizeof(store); i++)
		b1(o, store[i]);
	b4(o, MXCSR_INIT);
	for (unsigned int i = 0; i < sizeof(load); i++)
		b1(o, load[i]);
}

/* The cc form of the flags: what LAHF and SETO leave in AX. Clobbers rax. */
static void load_flags(struct out *o)
{
	b1(o, 0x8b);
	at_cpu(o, 0, offsetof(struct x86_cpu, cc));
	b1(o, 0x04);
	b1(o, 0x7f); /* add al, 0x7f */
	b1(o, 0x9e); /* sahf */
}

static void store_flags(struct out *o)
{
	static const uint8_t code[] = { 0x9f, 0x0f, 0x90, 0xc0, 0x0f, 0xb7, 0xc0 };

	for (unsigned int i = 0; i < sizeof(code); i++) /* lahf; seto al; movzx eax, ax */
		b1(o, code[i]);
	b1(o, 0x89);
	at_cpu(o, 0, offsetof(struct x86_cpu, cc));
}

/* ---- the instruction itself ----------------------------------------------------------------------- */

/* What has to be changed in the encoding. */
struct patch {
	bool memory;		/* modrm.rm becomes [rsi] */
	bool rm_gpr, reg_gpr;	/* the field becomes rax */
	uint8_t imm_mask;	/* of the last byte: a register in it has no upper half outside 64-bit code */
};

static unsigned int patched_modrm(uint8_t modrm, const struct patch *p)
{
	unsigned int mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;

	if (p->memory) {
		mod = 0;
		rm = 6;
	}
	if (p->rm_gpr)
		rm = 0;
	if (p->reg_gpr)
		reg = 0;
	return mod << 6 | reg << 3 | rm;
}

/* What stands between modrm and the immediate in the guest's form: SIB and displacement. */
static unsigned int after_modrm(const struct shape *s)
{
	unsigned int at = s->z.raw.modrm.offset + 1u;

	if (s->z.attributes & ZYDIS_ATTRIB_HAS_SIB)
		at++;
	return at + s->z.raw.disp.size / 8u;
}

static void emit_tail(struct out *o, const struct native_op *op, const struct shape *s,
		      const struct patch *p)
{
	if (!(s->z.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return;
	b1(o, patched_modrm(op->raw[s->z.raw.modrm.offset], p));
	for (unsigned int i = after_modrm(s); i < op->len; i++)
		b1(o, op->raw[i] & (i == op->len - 1u ? p->imm_mask : 0xff));
}

static unsigned int opcode_offset(const struct shape *s)
{
	/* Where prefixes end: modrm is the byte after the opcode. */
	unsigned int map = s->z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 0 :
			   s->z.opcode_map == ZYDIS_OPCODE_MAP_0F ? 1 : 2;

	if (s->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
		return s->z.raw.modrm.offset - 1u - map;
	return s->z.length - 1u - map - (s->z.raw.imm[0].size / 8u);
}

static void emit_legacy(struct out *o, const struct native_op *op, const struct shape *s,
			const struct patch *p)
{
	unsigned int rex = 0, start = opcode_offset(s);
	unsigned int end = s->z.attributes & ZYDIS_ATTRIB_HAS_MODRM ? s->z.raw.modrm.offset : op->len;

	for (unsigned int i = 0; i < start; i++) {
		uint8_t b = op->raw[i];

		/* Only right before the opcode is it a REX prefix. */
		rex = op->code_mode == X86_CODE_64 && (b & 0xf0) == 0x40 ? b : 0;
		if (b == 0x66 || b == 0xf2 || b == 0xf3)
			b1(o, b);
	}
	if (p->memory)
		rex &= ~3u;
	if (p->rm_gpr)
		rex &= ~1u;
	if (p->reg_gpr)
		rex &= ~4u;
	if (rex)
		b1(o, rex);
	for (unsigned int i = start; i < end; i++)
		b1(o, op->raw[i]);
	emit_tail(o, op, s, p);
}

/* Outside 64-bit code W is ignored where it would choose 64-bit integers. */
static bool vex_w_is_size(const struct shape *s)
{
	unsigned int op = s->z.opcode;

	if (s->z.opcode_map == ZYDIS_OPCODE_MAP_0F)
		return op == 0x2a || op == 0x2c || op == 0x2d || op == 0x6e || op == 0x7e;
	return s->z.opcode_map == ZYDIS_OPCODE_MAP_0F3A &&
	       (op == 0x16 || op == 0x22 || op == 0x60 || op == 0x61);
}

static void emit_vex(struct out *o, const struct native_op *op, const struct shape *s,
		     const struct patch *p, bool has_gpr)
{
	const uint8_t *vex = op->raw + s->z.raw.vex.offset;
	bool code64 = op->code_mode == X86_CODE_64;
	unsigned int r = p->reg_gpr ? 0x80 : vex[1] & 0x80;
	unsigned int last = vex[vex[0] == 0xc5 ? 1 : 2] | (code64 ? 0 : 0x40);

	/* Outside 64-bit code only eight registers can be named: vvvv's upper bit and B are ignored. */
	if (vex[0] == 0xc5) {
		b1(o, 0xc5);
		b1(o, r | (last & 0x7f));
		b1(o, vex[2]);
	} else {
		unsigned int xb = p->memory || p->rm_gpr || !code64 ? 0x60 : vex[1] & 0x60;
		unsigned int w = !code64 && (has_gpr || vex_w_is_size(s)) ? 0 : vex[2] & 0x80;

		b1(o, 0xc4);
		b1(o, r | xb | (vex[1] & 0x1f));
		b1(o, w | (last & 0x7f));
		b1(o, vex[3]);
	}
	emit_tail(o, op, s, p);
}

/* ---- the stub --------------------------------------------------------------------------------------- */

struct plan {
	struct patch patch;
	uint16_t vec, vec_written;	/* bit per vector register */
	bool ymm;			/* 256-bit registers are named */
	int gpr_in[16], gpr_out[16];	/* host register per guest register, -1: not used */
	bool has_gpr, flags_in, flags_out;
};

static void plan_gpr(struct plan *plan, const ZydisDecodedOperand *o)
{
	int guest = ZydisRegisterGetId(o->reg.value);
	int host = guest;

	if (o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
		plan->has_gpr = true;
		host = 0;
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
			plan->patch.rm_gpr = true;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			plan->patch.reg_gpr = true;
	}
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		plan->gpr_in[guest] = host;
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		plan->gpr_out[guest] = host;
}

static void plan_register(struct plan *plan, const ZydisDecodedOperand *o)
{
	int id = ZydisRegisterGetId(o->reg.value);

	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_XMM:
		plan->ymm |= ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_YMM;
		plan->vec |= (uint16_t)(1u << id);
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			plan->vec_written |= (uint16_t)(1u << id);
		break;
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		plan_gpr(plan, o);
		break;
	case ZYDIS_REGCLASS_FLAGS:
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
			plan->flags_in = true;
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			plan->flags_out = true;
		break;
	default:
		break;
	}
}

static void plan_make(struct plan *plan, const struct native_op *op, const struct shape *s)
{
	memset(plan, 0, sizeof(*plan));
	plan->patch.imm_mask = 0xff;
	for (int i = 0; i < 16; i++)
		plan->gpr_in[i] = plan->gpr_out[i] = -1;
	for (unsigned int i = 0; i < s->z.operand_count; i++) {
		if (s->op[i].encoding == ZYDIS_OPERAND_ENCODING_IS4 && op->code_mode != X86_CODE_64)
			plan->patch.imm_mask = 0x7f;
		if (s->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			plan->patch.memory = true;
		else if (s->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			plan_register(plan, &s->op[i]);
	}
}

static void emit_vectors_in(struct out *o, const struct plan *plan, bool avx)
{
	for (unsigned int i = 0; i < 16; i++) {
		if (!(plan->vec >> i & 1))
			continue;
		if (!avx) {
			move_xmm(o, 0x10, i);
			continue;
		}
		vmove_xmm(o, 0x10, i);
		if (plan->ymm)
			load_high(o, i);
	}
}

static void emit_vectors_out(struct out *o, const struct plan *plan, bool avx)
{
	for (unsigned int i = 0; i < 16; i++) {
		if (!(plan->vec_written >> i & 1))
			continue;
		if (!avx) {
			move_xmm(o, 0x11, i);
			continue;
		}
		vmove_xmm(o, 0x11, i);
		store_high(o, i);
	}
	if (avx) { /* vzeroupper */
		b1(o, 0xc5);
		b1(o, 0xf8);
		b1(o, 0x77);
	}
}

static void emit_mxcsr(struct out *o, unsigned int reg)
{
	b1(o, 0x0f);
	b1(o, 0xae);
	at_cpu(o, reg, xs_off(XS_MXCSR));
}

static void emit_fx(struct out *o, unsigned int reg)
{
	b1(o, 0x48);
	b1(o, 0x0f);
	b1(o, 0xae);
	at_cpu(o, reg, xs_off(0));
}

unsigned int native_emit(const struct native_op *op, uint8_t *at)
{
	struct out o = { at, 0 };
	struct shape s;
	struct plan plan;
	bool simd = op->kind == NATIVE_SSE || op->kind == NATIVE_AVX;
	bool avx = op->kind == NATIVE_AVX;

	if (!native_decode(op, &s.z, s.op))
		return 0;
	plan_make(&plan, op, &s);
	if (simd)
		emit_vectors_in(&o, &plan, avx);
	else
		emit_fx(&o, 1);
	if (simd && op->flags & NATIVE_FP)
		emit_mxcsr(&o, 2);
	if (plan.flags_in)
		load_flags(&o);
	for (unsigned int i = 0; i < 16; i++)
		if (plan.gpr_in[i] >= 0)
			load_gpr(&o, (unsigned int)plan.gpr_in[i], i);
	if (avx)
		emit_vex(&o, op, &s, &plan.patch, plan.has_gpr);
	else
		emit_legacy(&o, op, &s, &plan.patch);
	for (unsigned int i = 0; i < 16; i++)
		if (plan.gpr_out[i] >= 0)
			store_gpr(&o, (unsigned int)plan.gpr_out[i], i);
	if (plan.flags_out)
		store_flags(&o);
	if (simd && op->flags & NATIVE_FP) {
		emit_mxcsr(&o, 3);
		host_mxcsr(&o);
	}
	if (simd) {
		emit_vectors_out(&o, &plan, avx);
	} else {
		emit_fx(&o, 0);
		b1(&o, 0xdb);
		b1(&o, 0xe3); /* fninit */
		host_mxcsr(&o);
	}
	b1(&o, 0xc3);
	return o.n <= NATIVE_STUB_MAX ? o.n : 0;
}
