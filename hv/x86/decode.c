/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From bytes to struct x86_insn. Zydis finds the length, the prefixes and whether the encoding
 * exists; this file resolves operands to offsets in the CPU state and chooses the handler:
 * by opcode where there are many specialised forms, by mnemonic in decode_rare.c.
 *
 * Operands: `dst` and `src` as each handler's table in exec.h says. For two-operand forms with a
 * modrm byte, set_rm_reg() makes dst the r/m register and src the reg register (Ev,Gv), and
 * set_reg_rm() the reverse (Gv,Ev).
 */
#include <errno.h>
#include "hv/x86/decode_internal.h"

#define DECODER(machine, stack)                                                                    \
	{ .machine_mode = ZYDIS_MACHINE_MODE_##machine, .stack_width = ZYDIS_STACK_WIDTH_##stack,  \
	  .decoder_mode = { [ZYDIS_DECODER_MODE_LZCNT] = ZYAN_TRUE,                                \
			    [ZYDIS_DECODER_MODE_TZCNT] = ZYAN_TRUE,                                \
			    [ZYDIS_DECODER_MODE_WBNOINVD] = ZYAN_TRUE } }

static const ZydisDecoder decoders[] = {
	[X86_CODE_REAL] = DECODER(REAL_16, 16),
	[X86_CODE_V86] = DECODER(REAL_16, 16),
	[X86_CODE_16] = DECODER(LEGACY_16, 16),
	[X86_CODE_32] = DECODER(LEGACY_32, 32),
	[X86_CODE_COMPAT16] = DECODER(LONG_COMPAT_16, 16),
	[X86_CODE_COMPAT32] = DECODER(LONG_COMPAT_32, 32),
	[X86_CODE_64] = DECODER(LONG_64, 64),
};

/* ---- operands ------------------------------------------------------------------------------ */

uint16_t dec_gpr(const struct dec *d, unsigned int reg, unsigned int size)
{
	if (size == 1 && !(d->in->flags & X86_I_REX) && reg >= 4 && reg < 8)
		return (uint16_t)((reg & 3) * 8 + 1);
	return (uint16_t)(reg * 8);
}

void dec_rm_reg(struct dec *d, unsigned int size)
{
	d->in->dst = dec_gpr(d, d->in->rm, size);
	d->in->src = dec_gpr(d, d->in->reg, size);
}

void dec_reg_rm(struct dec *d, unsigned int size)
{
	d->in->dst = dec_gpr(d, d->in->reg, size);
	d->in->src = dec_gpr(d, d->in->rm, size);
}

static void address16(struct dec *d, unsigned int mod, unsigned int rm)
{
	static const uint8_t base[8] = { X86_RBX, X86_RBX, X86_RBP, X86_RBP,
					 X86_RSI, X86_RDI, X86_RBP, X86_RBX };
	static const uint8_t index[8] = { X86_RSI, X86_RDI, X86_RSI, X86_RDI, 16, 16, 16, 16 };
	struct x86_insn *in = d->in;

	in->index = index[rm] == 16 ? X86_OFF_ZERO : (uint16_t)(index[rm] * 8);
	if (rm == 6 && mod == 0)
		in->base = X86_OFF_ZERO;
	else
		in->base = (uint16_t)(base[rm] * 8);
	in->seg = in->base == X86_RBP * 8 ? X86_SS : X86_DS;
}

static void address_sib(struct dec *d, unsigned int mod)
{
	struct x86_insn *in = d->in;
	unsigned int base = d->z.raw.sib.base, index = d->z.raw.sib.index | d->rex_x << 3;

	in->index = index == 4 ? X86_OFF_ZERO : (uint16_t)(index * 8);
	in->scale = d->z.raw.sib.scale;
	if (base == 5 && mod == 0) {
		in->base = X86_OFF_ZERO;
		return;
	}
	in->base = (uint16_t)((base | d->rex_b << 3) * 8);
	if ((base == X86_RSP || base == X86_RBP) && !d->rex_b)
		in->seg = X86_SS;
}

static void address32(struct dec *d, unsigned int mod, unsigned int rm)
{
	struct x86_insn *in = d->in;

	in->index = X86_OFF_ZERO;
	in->seg = X86_DS;
	if (rm == 4) {
		address_sib(d, mod);
		return;
	}
	if (rm == 5 && mod == 0) {
		in->base = X86_OFF_ZERO;
		if (d->mode == X86_CODE_64) {
			in->base = X86_OFF(rip);
			in->flags |= X86_I_RIPREL;
			in->disp += in->off + in->len;
		}
		return;
	}
	in->base = (uint16_t)((rm | d->rex_b << 3) * 8);
	if (rm == X86_RBP && !d->rex_b)
		in->seg = X86_SS;
}

/* The segment of the memory operand after overrides, and whether its address is simple. */
void dec_segment(struct dec *d)
{
	struct x86_insn *in = d->in;

	in->flags |= X86_I_MEM;
	if (d->seg_prefix >= 0)
		in->seg = (uint8_t)d->seg_prefix;
	else if (d->mode == X86_CODE_64 && in->seg != X86_SS)
		in->seg = X86_DS;
	if (d->mode == X86_CODE_64 && in->adsize == 8 && in->seg < X86_FS)
		in->flags |= X86_I_FLAT;
}

static void modrm(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int mod = d->z.raw.modrm.mod, rm = d->z.raw.modrm.rm;

	in->modrm = (uint8_t)(mod << 6 | d->z.raw.modrm.reg << 3 | rm);
	in->reg = (uint8_t)(d->z.raw.modrm.reg | d->rex_r << 3);
	in->rm = (uint8_t)(rm | d->rex_b << 3);
	d->mem = mod != 3;
	if (!d->mem)
		return;
	in->disp = d->z.raw.disp.value;
	if (in->adsize == 2)
		address16(d, mod, rm);
	else
		address32(d, mod, rm);
	dec_segment(d);
}

/* ---- prefixes ------------------------------------------------------------------------------ */

static void segment_prefix(struct dec *d, uint8_t byte)
{
	static const struct { uint8_t byte, seg; } table[] = {
		{ 0x26, X86_ES }, { 0x2e, X86_CS }, { 0x36, X86_SS },
		{ 0x3e, X86_DS }, { 0x64, X86_FS }, { 0x65, X86_GS },
	};
	unsigned int i;

	for (i = 0; i < 6; i++)
		if (table[i].byte == byte && (d->mode != X86_CODE_64 || table[i].seg >= X86_FS))
			d->seg_prefix = table[i].seg;
	if (d->seg_prefix >= 0) {
		d->in->flags |= X86_I_SEGPFX;
		d->in->seg = (uint8_t)d->seg_prefix;
	}
}

static void prefixes(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int i;

	d->seg_prefix = -1;
	for (i = 0; i < d->z.raw.prefix_count; i++) {
		uint8_t byte = d->z.raw.prefixes[i].value;

		segment_prefix(d, byte);
		if (byte == 0x66)
			in->flags |= X86_I_OSZ;
		else if (byte == 0xf0)
			in->flags |= X86_I_LOCK;
		else if (byte == 0xf3)
			in->flags = (uint16_t)((in->flags & ~X86_I_REPNE) | X86_I_REP);
		else if (byte == 0xf2)
			in->flags = (uint16_t)((in->flags & ~X86_I_REP) | X86_I_REPNE);
	}
	if (d->z.attributes & ZYDIS_ATTRIB_HAS_REX)
		in->flags |= X86_I_REX;
	if (d->z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		in->flags |= X86_I_VEX | X86_I_REX;
	in->vvvv = d->ctx.vector_unified.vvvv & 15;
	d->rex_r = d->rex_x = d->rex_b = 0;
	if (d->mode != X86_CODE_64) { /* VEX has these bits, and they are ignored */
		in->vvvv &= 7;
		return;
	}
	d->rex_r = d->ctx.vector_unified.R;
	d->rex_x = d->ctx.vector_unified.X;
	d->rex_b = d->ctx.vector_unified.B;
	if (d->ctx.vector_unified.W)
		in->flags |= X86_I_REXW;
}

static void sizes(struct dec *d)
{
	struct x86_insn *in = d->in;
	bool osz = in->flags & X86_I_OSZ;

	switch (d->mode) {
	case X86_CODE_64:
		in->flags |= X86_I_CODE64;
		d->osz = in->flags & X86_I_REXW ? 8 : osz ? 2 : 4;
		break;
	case X86_CODE_32:
	case X86_CODE_COMPAT32:
		in->flags |= X86_I_CODE32;
		d->osz = osz ? 2 : 4;
		break;
	default:
		d->osz = osz ? 4 : 2;
		break;
	}
	in->opsize = (uint8_t)d->osz;
	in->adsize = (uint8_t)(d->z.address_width / 8);
}

static uint64_t sext_bytes(uint64_t v, unsigned int bits)
{
	return bits == 0 || bits >= 64 ? v : (uint64_t)((int64_t)(v << (64 - bits)) >> (64 - bits));
}

static uint8_t opcode_map(const struct dec *d)
{
	switch (d->z.opcode_map) {
	case ZYDIS_OPCODE_MAP_DEFAULT:
		return X86_MAP_1;
	case ZYDIS_OPCODE_MAP_0F:
		return X86_MAP_0F;
	case ZYDIS_OPCODE_MAP_0F38:
		return X86_MAP_0F38;
	case ZYDIS_OPCODE_MAP_0F3A:
		return X86_MAP_0F3A;
	default:
		return X86_MAP_OTHER;
	}
}

/* ---- the common opcodes -------------------------------------------------------------------- */

unsigned int dec_szi(unsigned int size)
{
	return size == 8 ? 3 : size >> 1;
}

/* Byte form when bit 0 of the opcode is clear. */
static unsigned int wsize(const struct dec *d)
{
	return d->z.opcode & 1 ? d->osz : 1;
}

static x86_insn_fn *alu(struct dec *d)
{
	unsigned int op = d->z.opcode >> 3 & 7, form = d->z.opcode & 7, size = wsize(d);
	unsigned int s = dec_szi(size);
	bool lock = d->in->flags & X86_I_LOCK;

	d->in->opsize = (uint8_t)size;
	switch (form) {
	case 0:
	case 1:
		dec_rm_reg(d, size);
		return !d->mem ? x86_alu_rr[op][s] : lock ? x86_alu_mrl[op][s] : x86_alu_mr[op][s];
	case 2:
	case 3:
		dec_reg_rm(d, size);
		return d->mem ? x86_alu_rm[op][s] : x86_alu_rr[op][s];
	default:
		d->in->dst = 0;
		return x86_alu_ri[op][s];
	}
}

static x86_insn_fn *group1(struct dec *d)
{
	unsigned int op = d->in->modrm >> 3 & 7, size = wsize(d), s = dec_szi(size);

	d->in->opsize = (uint8_t)size;
	d->in->dst = dec_gpr(d, d->in->rm, size);
	if (!d->mem)
		return x86_alu_ri[op][s];
	return d->in->flags & X86_I_LOCK ? x86_alu_mil[op][s] : x86_alu_mi[op][s];
}

static x86_insn_fn *shift_group(struct dec *d)
{
	unsigned int op = d->in->modrm >> 3 & 7, size = wsize(d), s = dec_szi(size);

	d->in->opsize = (uint8_t)size;
	d->in->dst = dec_gpr(d, d->in->rm, size);
	if (d->z.opcode >= 0xd2)
		return d->mem ? x86_shift_mc[op][s] : x86_shift_rc[op][s];
	if (d->z.opcode >= 0xd0)
		d->in->imm = 1;
	d->in->imm &= size == 8 ? 63 : 31;
	if (!d->in->imm && !d->mem && size != 4)
		return x86_op_nop;
	if (d->in->imm && !d->mem && op >= 4)
		return x86_shift_r1[op - 4][s];
	return d->mem ? x86_shift_mi[op][s] : x86_shift_ri[op][s];
}

static x86_insn_fn *group3(struct dec *d)
{
	unsigned int op = d->in->modrm >> 3 & 7, size = wsize(d), s = dec_szi(size);
	bool lock = d->in->flags & X86_I_LOCK;

	d->in->opsize = (uint8_t)size;
	d->in->dst = d->in->src = dec_gpr(d, d->in->rm, size);
	switch (op) {
	case 0:
	case 1:
		return d->mem ? x86_test_mi[s] : x86_test_ri[s];
	case 2:
	case 3:
		if (!d->mem)
			return x86_notneg_r[op - 2][s];
		return lock ? x86_notneg_ml[op - 2][s] : x86_notneg_m[op - 2][s];
	default:
		return x86_muldiv[op - 4][s];
	}
}

static x86_insn_fn *group45(struct dec *d)
{
	unsigned int op = d->in->modrm >> 3 & 7, size = wsize(d), s = dec_szi(size);
	bool lock = d->in->flags & X86_I_LOCK, code64 = d->mode == X86_CODE_64;

	d->in->opsize = (uint8_t)size;
	d->in->dst = d->in->src = dec_gpr(d, d->in->rm, size);
	if (op < 2) {
		if (!d->mem)
			return x86_incdec_r[op][s];
		return lock ? x86_incdec_ml[op][s] : x86_incdec_m[op][s];
	}
	if (op == 3 || op == 5) {
		d->in->flags |= X86_I_END;
		return op == 3 ? x86_op_call_far : x86_op_jmp_far;
	}
	if (code64 && (op != 6 || size != 2)) {
		size = 8;
		d->in->opsize = 8;
	}
	if (op == 6) {
		if (d->mem)
			return x86_op_push_m;
		return code64 && size == 8 ? x86_op_push64_r : x86_op_push;
	}
	d->in->flags |= X86_I_END;
	if (op == 2)
		return code64 ? x86_op_call_ind64 : x86_op_call_ind;
	return code64 && !d->mem ? x86_op_jmp_ind64_r : x86_op_jmp_ind;
}

static x86_insn_fn *movs(struct dec *d)
{
	unsigned int size = wsize(d), s = dec_szi(size);

	d->in->opsize = (uint8_t)size;
	d->in->seg = d->seg_prefix >= 0 ? (uint8_t)d->seg_prefix : X86_DS;
	switch (d->z.opcode) {
	case 0xa4:
	case 0xa5:
		return x86_movs[s];
	case 0xa6:
	case 0xa7:
		return x86_cmps[s];
	case 0xaa:
	case 0xab:
		return x86_stos[s];
	case 0xac:
	case 0xad:
		return x86_lods[s];
	default:
		return x86_scas[s];
	}
}

static x86_insn_fn *mov_moffs(struct dec *d)
{
	unsigned int size = wsize(d), s = dec_szi(size);
	struct x86_insn *in = d->in;

	in->opsize = (uint8_t)size;
	in->base = in->index = X86_OFF_ZERO;
	in->disp = d->z.raw.disp.value;
	if (in->adsize < 8) /* an address, not a displacement: never negative */
		in->disp &= (int64_t)x86_mask(in->adsize);
	in->seg = X86_DS;
	dec_segment(d);
	in->dst = in->src = 0;
	return d->z.opcode < 0xa2 ? x86_mov_rm[s] : x86_mov_mr[s];
}

static x86_insn_fn *jump_rel(struct dec *d, x86_insn_fn *fn64, x86_insn_fn *fn)
{
	d->in->flags |= X86_I_END;
	if (d->mode == X86_CODE_64) {
		d->in->opsize = 8;
		d->in->imm += d->in->off + d->in->len;
		return fn64;
	}
	return fn;
}

static x86_insn_fn *stack_size(struct dec *d, x86_insn_fn *fn64, x86_insn_fn *fn)
{
	if (d->mode == X86_CODE_64) {
		if (!(d->in->flags & X86_I_OSZ) || d->osz == 8) {
			d->in->opsize = 8;
			return fn64;
		}
		d->in->opsize = 2;
	}
	return fn;
}

static x86_insn_fn *end(struct dec *d, x86_insn_fn *fn)
{
	d->in->flags |= X86_I_END;
	return fn;
}

static x86_insn_fn *xchg_acc(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int reg = (d->z.opcode & 7) | d->rex_b << 3;

	/* REP NOP is PAUSE, whatever REX.B says. */
	if (d->z.opcode == 0x90 && (in->flags & X86_I_REP))
		return end(d, x86_op_pause);
	if (d->z.opcode == 0x90 && !d->rex_b)
		return x86_op_nop;
	in->dst = 0;
	in->src = (uint16_t)(reg * 8);
	return x86_xchg_rr[dec_szi(d->osz)];
}

static x86_insn_fn *lea(struct dec *d)
{
	struct x86_insn *in = d->in;

	in->dst = dec_gpr(d, in->reg, d->osz);
	if (in->adsize == 8)
		return x86_lea_flat[dec_szi(d->osz)];
	return x86_lea[dec_szi(d->osz)];
}

static x86_insn_fn *map1_high(struct dec *d);

static x86_insn_fn *map1_low(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int op = d->z.opcode, s, size;

	switch (op) {
	case 0x00 ... 0x3f:
		return (op & 7) < 6 ? alu(d) : NULL;
	case 0x40 ... 0x4f:
		in->dst = dec_gpr(d, op & 7, d->osz);
		return x86_incdec_r[op >> 3 & 1][dec_szi(d->osz)];
	case 0x50 ... 0x57:
		in->src = (uint16_t)(((op & 7) | d->rex_b << 3) * 8);
		return stack_size(d, x86_op_push64_r, x86_op_push);
	case 0x58 ... 0x5f:
		in->dst = (uint16_t)(((op & 7) | d->rex_b << 3) * 8);
		return stack_size(d, x86_op_pop64_r, x86_op_pop);
	case 0x63:
		if (d->mode != X86_CODE_64)
			return NULL;
		in->dst = dec_gpr(d, in->reg, d->osz);
		in->src = dec_gpr(d, in->rm, 4);
		if (d->osz == 2) /* MOVSXD r16, r/m16: reads 16 bits */
			return d->mem ? x86_movsx_m[1][1] : x86_movsx_r[1][1];
		return d->mem ? x86_movsx_m[2][dec_szi(d->osz)] : x86_movsx_r[2][dec_szi(d->osz)];
	case 0x68:
	case 0x6a:
		in->src = 0xffff;
		return stack_size(d, x86_op_push64_i, x86_op_push);
	case 0x69:
	case 0x6b:
		dec_reg_rm(d, d->osz);
		return x86_op_imul_rri;
	case 0x70 ... 0x7f:
		return jump_rel(d, x86_jcc64[op & 15], x86_jcc[op & 15]);
	case 0x80 ... 0x83:
		return group1(d);
	case 0x84:
	case 0x85:
	case 0x86:
	case 0x87:
		size = wsize(d);
		s = dec_szi(size);
		in->opsize = (uint8_t)size;
		dec_rm_reg(d, size);
		if (op < 0x86)
			return d->mem ? x86_test_mr[s] : x86_test_rr[s];
		return d->mem ? x86_xchg_mr[s] : x86_xchg_rr[s];
	default:
		return map1_high(d);
	}
}

static x86_insn_fn *map1_high(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int op = d->z.opcode, size = wsize(d), s = dec_szi(size);

	switch (op) {
	case 0x88:
	case 0x89:
		in->opsize = (uint8_t)size;
		dec_rm_reg(d, size);
		return d->mem ? x86_mov_mr[s] : x86_mov_rr[s];
	case 0x8a:
	case 0x8b:
		in->opsize = (uint8_t)size;
		dec_reg_rm(d, size);
		return d->mem ? x86_mov_rm[s] : x86_mov_rr[s];
	case 0x8d:
		return lea(d);
	case 0x90 ... 0x97:
		return xchg_acc(d);
	case 0x98:
		return x86_op_cbw;
	case 0x99:
		return x86_op_cwd;
	case 0xa0 ... 0xa3:
		return mov_moffs(d);
	case 0xa4 ... 0xa7:
	case 0xaa ... 0xaf:
		return end(d, movs(d));
	case 0xa8:
	case 0xa9:
		in->opsize = (uint8_t)size;
		in->dst = 0;
		return x86_test_ri[s];
	case 0xb0 ... 0xb7:
		in->opsize = 1;
		in->dst = dec_gpr(d, (op & 7) | d->rex_b << 3, 1);
		return x86_mov_ri[0];
	case 0xb8 ... 0xbf:
		in->dst = (uint16_t)(((op & 7) | d->rex_b << 3) * 8);
		return x86_mov_ri[dec_szi(d->osz)];
	case 0xc0:
	case 0xc1:
	case 0xd0 ... 0xd3:
		return shift_group(d);
	case 0xc2:
	case 0xc3:
		return jump_rel(d, x86_op_ret64, x86_op_ret);
	case 0xc6:
	case 0xc7:
		if (in->modrm >> 3 & 7)
			return NULL;
		in->opsize = (uint8_t)size;
		in->dst = dec_gpr(d, in->rm, size);
		return d->mem ? x86_mov_mi[s] : x86_mov_ri[s];
	case 0xc9:
		return stack_size(d, x86_op_leave64, x86_op_leave);
	case 0xe8:
		return jump_rel(d, x86_op_call64, x86_op_call);
	case 0xe9:
	case 0xeb:
		return jump_rel(d, x86_op_jmp64, x86_op_jmp);
	case 0xf6:
	case 0xf7:
		return group3(d);
	case 0xfe:
	case 0xff:
		return group45(d);
	default:
		return NULL;
	}
}

static x86_insn_fn *map0f(struct dec *d)
{
	struct x86_insn *in = d->in;
	unsigned int op = d->z.opcode, s = dec_szi(d->osz);

	switch (op) {
	case 0x40 ... 0x4f:
		dec_reg_rm(d, d->osz);
		return d->mem ? x86_op_cmov_rm : x86_cmov_rr[op & 15];
	case 0x80 ... 0x8f:
		return jump_rel(d, x86_jcc64[op & 15], x86_jcc[op & 15]);
	case 0x90 ... 0x9f:
		in->opsize = 1;
		in->dst = dec_gpr(d, in->rm, 1);
		return d->mem ? x86_op_setcc_m : x86_setcc_r[op & 15];
	case 0xaf:
		dec_reg_rm(d, d->osz);
		return x86_op_imul_rr;
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf:
		in->dst = dec_gpr(d, in->reg, d->osz);
		in->src = dec_gpr(d, in->rm, op & 1 ? 2 : 1);
		if (op < 0xb8)
			return d->mem ? x86_movzx_m[op & 1][s] : x86_movzx_r[op & 1][s];
		return d->mem ? x86_movsx_m[op & 1][s] : x86_movsx_r[op & 1][s];
	default:
		return NULL;
	}
}

static x86_insn_fn *choose(struct dec *d)
{
	x86_insn_fn *fn = NULL;

	if (d->z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
		if (d->in->map == X86_MAP_1)
			fn = map1_low(d);
		else if (d->in->map == X86_MAP_0F)
			fn = map0f(d);
	}
	if (!fn)
		fn = dec_rare(d);
	return fn;
}

static int undefined(struct x86_insn *out, x86_insn_fn *fn, int ret)
{
	out->fn = fn;
	out->flags |= X86_I_END;
	return ret;
}

/* VEX encodings of a coprocessor, which Zydis knows under the names of ordinary instructions. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	       (z->meta.isa_ext == ZYDIS_ISA_EXT_KNC || z->meta.isa_ext == ZYDIS_ISA_EXT_KNCE ||
		z->meta.isa_ext == ZYDIS_ISA_EXT_KNCV);
}

/*
 * SYSENTER and SYSEXIT, for which Zydis knows no 16-bit modes: they have #GP in real mode, and
 * virtual-8086 mode may execute the one.
 */
static bool is_fast_call(const uint8_t *bytes, unsigned int len)
{
	static const uint8_t prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3 };
	unsigned int i = 0;

	while (i < len && memchr(prefix, bytes[i], sizeof(prefix)))
		i++;
	return i + 1 < len && bytes[i] == 0x0f && (bytes[i + 1] == 0x34 || bytes[i + 1] == 0x35);
}

int x86_decode_at(const uint8_t *bytes, unsigned int len, enum x86_code_mode mode,
		  unsigned int off, struct x86_insn *out)
{
	struct dec d;
	ZyanStatus st;

	memset(out, 0, sizeof(*out));
	out->off = (uint16_t)off;
	out->base = out->index = X86_OFF_ZERO;
	if (len > 15)
		len = 15;
	st = ZydisDecoderDecodeInstruction(&decoders[mode], &d.ctx, bytes, len, &d.z);
	if (!ZYAN_SUCCESS(st) && (mode == X86_CODE_REAL || mode == X86_CODE_V86) && is_fast_call(bytes, len))
		st = ZydisDecoderDecodeInstruction(&decoders[X86_CODE_16], &d.ctx, bytes, len, &d.z);
	if (st == ZYDIS_STATUS_NO_MORE_DATA)
		return len < 15 ? -EAGAIN : undefined(out, x86_op_gp0, -E2BIG);
	if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return undefined(out, x86_op_gp0, -E2BIG);
	memcpy(out->raw, bytes, len);
	if (!ZYAN_SUCCESS(st) || is_foreign(&d.z))
		return undefined(out, x86_op_ud, -EILSEQ);
	d.in = out;
	d.mode = mode;
	d.mem = false;
	out->len = d.z.length;
	out->map = opcode_map(&d);
	out->opcode = d.z.opcode;
	out->mnemonic = (uint16_t)d.z.mnemonic;
	out->seg = X86_DS;
	prefixes(&d);
	sizes(&d);
	if (d.z.raw.imm[0].size)
		out->imm = sext_bytes(d.z.raw.imm[0].value.u, d.z.raw.imm[0].size);
	if (d.z.attributes & ZYDIS_ATTRIB_HAS_MODRM)
		modrm(&d);
	out->fn = choose(&d);
	return out->fn == x86_op_ud ? undefined(out, x86_op_ud, -EILSEQ) : 0;
}

int x86_decode(const uint8_t *bytes, unsigned int len, enum x86_code_mode mode,
	       struct x86_insn *out)
{
	return x86_decode_at(bytes, len, mode, 0, out);
}
