/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The instructions without specialised forms, by mnemonic. What is not named here and is not
 * integer or system code belongs to native*.c.
 *
 * Convention for these handlers: dst is the modrm.reg register and src the modrm.rm register,
 * both of the operand size, unless set otherwise here.
 */
#include "hv/x86/decode_internal.h"

static x86_insn_fn *end(struct dec *d, x86_insn_fn *fn)
{
	d->in->flags |= X86_I_END;
	return fn;
}

static x86_insn_fn *by_size(struct dec *d, unsigned int size, x86_insn_fn *fn)
{
	d->in->opsize = (uint8_t)size;
	dec_reg_rm(d, size);
	return fn;
}

/* 64-bit code: 32-bit operand size becomes 64. */
static x86_insn_fn *stack_default(struct dec *d, x86_insn_fn *fn)
{
	if (d->mode == X86_CODE_64)
		d->in->opsize = d->in->flags & X86_I_OSZ && d->osz != 8 ? 2 : 8;
	return fn;
}

static x86_insn_fn *near_default(struct dec *d, x86_insn_fn *fn)
{
	if (d->mode == X86_CODE_64)
		d->in->opsize = 8;
	return end(d, fn);
}

static x86_insn_fn *seg_push_pop(struct dec *d, bool pop)
{
	struct x86_insn *in = d->in;

	if (d->in->map == X86_MAP_0F)
		in->reg = d->z.opcode >= 0xa8 ? X86_GS : X86_FS;
	else
		in->reg = d->z.opcode >> 3 & 3;
	stack_default(d, NULL);
	return pop ? end(d, x86_op_pop_seg) : x86_op_push_seg;
}

static x86_insn_fn *mov_special(struct dec *d)
{
	struct x86_insn *in = d->in;

	if (in->map == X86_MAP_1) {
		in->src = (uint16_t)(in->rm * 8);
		in->reg &= 7;
		if (d->z.opcode == 0x8c)
			return x86_op_mov_from_seg;
		if (in->reg == X86_CS || in->reg > X86_GS)
			return x86_op_ud;
		/* What follows may have been decoded for flat segments. */
		return in->reg == X86_SS || d->mode != X86_CODE_64 ? end(d, x86_op_mov_to_seg) :
								     x86_op_mov_to_seg;
	}
	in->opsize = d->mode == X86_CODE_64 ? 8 : 4;
	in->rm = (uint8_t)((d->z.raw.modrm.rm) | d->rex_b << 3);
	in->src = in->dst = (uint16_t)(in->rm * 8);
	/* Control and debug register forms ignore mod. */
	in->flags &= (uint16_t)~X86_I_MEM;
	switch (d->z.opcode) {
	case 0x20:
		/* LOCK MOV CR0 is AMD's name of CR8 outside 64-bit code. */
		return x86_op_mov_from_cr;
	case 0x21:
		return x86_op_mov_from_dr;
	case 0x22:
		return end(d, x86_op_mov_to_cr);
	case 0x23:
		return end(d, x86_op_mov_to_dr);
	default:
		return x86_op_ud;
	}
}

static x86_insn_fn *pop(struct dec *d)
{
	if (d->z.opcode == 0x8f) {
		d->in->dst = (uint16_t)(d->in->rm * 8);
		stack_default(d, NULL);
		return d->mem ? x86_op_pop_m : x86_op_pop;
	}
	return seg_push_pop(d, true);
}

static x86_insn_fn *bit_test(struct dec *d)
{
	struct x86_insn *in = d->in;

	/* vvvv carries the operation: 0 BT, 1 BTS, 2 BTR, 3 BTC. */
	if (d->z.opcode == 0xba) {
		in->vvvv = d->z.raw.modrm.reg & 3;
		in->src = 0xffff; /* immediate */
		in->dst = (uint16_t)(in->rm * 8);
	} else {
		in->vvvv = d->z.opcode >> 3 & 3;
		in->dst = (uint16_t)(in->rm * 8);
		in->src = (uint16_t)(in->reg * 8);
	}
	return d->mem ? x86_op_bt_m : x86_op_bt_r;
}

static x86_insn_fn *double_shift(struct dec *d, x86_insn_fn *fn)
{
	dec_rm_reg(d, d->osz);
	/* scale tells where the count is: 0 immediate, 1 CL */
	d->in->vvvv = d->z.opcode & 1;
	return fn;
}

static x86_insn_fn *vex_shift(struct dec *d, unsigned int op)
{
	by_size(d, d->in->flags & X86_I_REXW ? 8 : 4, NULL);
	d->in->opcode = (uint8_t)op;
	return x86_op_shx;
}

static unsigned int vex_size(const struct dec *d)
{
	return d->in->flags & X86_I_REXW ? 8 : 4;
}

static x86_insn_fn *far_pointer(struct dec *d, x86_insn_fn *fn)
{
	if (!d->mem)
		d->in->imm = (d->z.raw.imm[0].value.u & x86_mask(d->osz)) |
			     (d->z.raw.imm[1].value.u & 0xffff) << 32;
	return end(d, fn);
}

static x86_insn_fn *io(struct dec *d, x86_insn_fn *fn)
{
	struct x86_insn *in = d->in;

	in->opsize = d->z.opcode & 1 ? (d->osz == 8 ? 4 : (uint8_t)d->osz) : 1;
	/* vvvv: 1 when the port is an immediate */
	in->vvvv = (d->z.opcode & 0xf8) == 0xe0;
	in->imm &= 0xff;
	in->seg = d->seg_prefix >= 0 ? (uint8_t)d->seg_prefix : X86_DS;
	return end(d, fn);
}

static x86_insn_fn *rare_control(struct dec *d)
{
	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
		return near_default(d, x86_op_loop);
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		return near_default(d, x86_op_jcxz);
	case ZYDIS_MNEMONIC_CALL:
		return far_pointer(d, x86_op_call_far);
	case ZYDIS_MNEMONIC_JMP:
		return far_pointer(d, x86_op_jmp_far);
	case ZYDIS_MNEMONIC_RET:
		return end(d, x86_op_ret_far);
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		return end(d, x86_op_iret);
	case ZYDIS_MNEMONIC_INT:
		return end(d, x86_op_int);
	case ZYDIS_MNEMONIC_INT3:
		return end(d, x86_op_int3);
	case ZYDIS_MNEMONIC_INT1:
		return end(d, x86_op_int1);
	case ZYDIS_MNEMONIC_INTO:
		return end(d, x86_op_into);
	case ZYDIS_MNEMONIC_BOUND:
		return by_size(d, d->osz, x86_op_bound);
	case ZYDIS_MNEMONIC_HLT:
		return end(d, x86_op_hlt);
	case ZYDIS_MNEMONIC_PAUSE:
		return end(d, x86_op_pause);
	case ZYDIS_MNEMONIC_SYSCALL:
		return end(d, x86_op_syscall);
	case ZYDIS_MNEMONIC_SYSRET:
		return end(d, x86_op_sysret);
	case ZYDIS_MNEMONIC_SYSENTER:
		return end(d, x86_op_sysenter);
	case ZYDIS_MNEMONIC_SYSEXIT:
		return end(d, x86_op_sysexit);
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
		return x86_op_ud;
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_stack(struct dec *d)
{
	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		return seg_push_pop(d, false);
	case ZYDIS_MNEMONIC_POP:
		return pop(d);
	case ZYDIS_MNEMONIC_PUSHA:
	case ZYDIS_MNEMONIC_PUSHAD:
		return x86_op_pusha;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		return x86_op_popa;
	case ZYDIS_MNEMONIC_PUSHF:
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
		return stack_default(d, x86_op_pushf);
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		return end(d, stack_default(d, x86_op_popf));
	case ZYDIS_MNEMONIC_ENTER:
		d->in->imm = (d->z.raw.imm[0].value.u & 0xffff) | (d->z.raw.imm[1].value.u & 31) << 16;
		return stack_default(d, x86_op_enter);
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS:
		d->in->vvvv = d->z.mnemonic == ZYDIS_MNEMONIC_LDS ? X86_DS :
			      d->z.mnemonic == ZYDIS_MNEMONIC_LES ? X86_ES :
			      d->z.mnemonic == ZYDIS_MNEMONIC_LFS ? X86_FS :
			      d->z.mnemonic == ZYDIS_MNEMONIC_LGS ? X86_GS : X86_SS;
		return end(d, by_size(d, d->osz, x86_op_lfp));
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_data(struct dec *d)
{
	unsigned int size = d->z.opcode & 1 ? d->osz : 1;

	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return mov_special(d);
	case ZYDIS_MNEMONIC_MOVBE:
		by_size(d, d->osz, NULL);
		return (d->z.opcode & 1) ? x86_op_movbe_store : x86_op_movbe_load;
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MOVDIRI:
		return by_size(d, vex_size(d), x86_op_movdiri);
	case ZYDIS_MNEMONIC_MOVDIR64B:
		return by_size(d, d->in->adsize, x86_op_movdir64b);
	case ZYDIS_MNEMONIC_CMPXCHG:
		d->in->opsize = (uint8_t)size;
		dec_rm_reg(d, size);
		return d->mem ? x86_op_cmpxchg_m : x86_op_cmpxchg_r;
	case ZYDIS_MNEMONIC_XADD:
		d->in->opsize = (uint8_t)size;
		dec_rm_reg(d, size);
		return d->mem ? x86_op_xadd_m : x86_op_xadd_r;
	case ZYDIS_MNEMONIC_CMPXCHG8B:
		return x86_op_cmpxchg8b;
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return x86_op_cmpxchg16b;
	case ZYDIS_MNEMONIC_XLAT:
		d->in->seg = d->seg_prefix >= 0 ? (uint8_t)d->seg_prefix : X86_DS;
		return x86_op_xlat;
	case ZYDIS_MNEMONIC_LAHF:
		return x86_op_lahf;
	case ZYDIS_MNEMONIC_SAHF:
		return x86_op_sahf;
	case ZYDIS_MNEMONIC_SALC:
		return x86_op_salc;
	case ZYDIS_MNEMONIC_CLC:
		return x86_op_clc;
	case ZYDIS_MNEMONIC_STC:
		return x86_op_stc;
	case ZYDIS_MNEMONIC_CMC:
		return x86_op_cmc;
	case ZYDIS_MNEMONIC_CLD:
		return x86_op_cld;
	case ZYDIS_MNEMONIC_STD:
		return x86_op_std;
	case ZYDIS_MNEMONIC_AAM:
		return x86_op_aam;
	case ZYDIS_MNEMONIC_AAD:
		return x86_op_aad;
	case ZYDIS_MNEMONIC_AAA:
		return x86_op_aaa;
	case ZYDIS_MNEMONIC_AAS:
		return x86_op_aas;
	case ZYDIS_MNEMONIC_DAA:
		return x86_op_daa;
	case ZYDIS_MNEMONIC_DAS:
		return x86_op_das;
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_bits(struct dec *d)
{
	unsigned int vsize = vex_size(d);

	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return bit_test(d);
	case ZYDIS_MNEMONIC_SHLD:
		return double_shift(d, x86_op_shld);
	case ZYDIS_MNEMONIC_SHRD:
		return double_shift(d, x86_op_shrd);
	case ZYDIS_MNEMONIC_BSF:
		return by_size(d, d->osz, x86_op_bsf);
	case ZYDIS_MNEMONIC_BSR:
		return by_size(d, d->osz, x86_op_bsr);
	case ZYDIS_MNEMONIC_POPCNT:
		return by_size(d, d->osz, x86_op_popcnt);
	case ZYDIS_MNEMONIC_LZCNT:
		return by_size(d, d->osz, x86_op_lzcnt);
	case ZYDIS_MNEMONIC_TZCNT:
		return by_size(d, d->osz, x86_op_tzcnt);
	case ZYDIS_MNEMONIC_BSWAP:
		d->in->dst = (uint16_t)(((d->z.opcode & 7) | d->rex_b << 3) * 8);
		return x86_op_bswap;
	case ZYDIS_MNEMONIC_CRC32:
		by_size(d, d->osz, NULL);
		d->in->opsize = d->z.opcode & 1 ? (uint8_t)d->osz : 1;
		d->in->src = dec_gpr(d, d->in->rm, d->in->opsize);
		return x86_op_crc32;
	case ZYDIS_MNEMONIC_ADCX:
		return by_size(d, vsize, x86_op_adcx);
	case ZYDIS_MNEMONIC_ADOX:
		return by_size(d, vsize, x86_op_adox);
	case ZYDIS_MNEMONIC_ANDN:
		return by_size(d, vsize, x86_op_andn);
	case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BLSMSK:
	case ZYDIS_MNEMONIC_BLSI:
		return by_size(d, vsize, x86_op_bls);
	case ZYDIS_MNEMONIC_BEXTR:
		return by_size(d, vsize, x86_op_bextr);
	case ZYDIS_MNEMONIC_BZHI:
		return by_size(d, vsize, x86_op_bzhi);
	case ZYDIS_MNEMONIC_PDEP:
		return by_size(d, vsize, x86_op_pdep);
	case ZYDIS_MNEMONIC_PEXT:
		return by_size(d, vsize, x86_op_pext);
	case ZYDIS_MNEMONIC_MULX:
		return by_size(d, vsize, x86_op_mulx);
	case ZYDIS_MNEMONIC_RORX:
		return by_size(d, vsize, x86_op_rorx);
	case ZYDIS_MNEMONIC_SHLX:
		return vex_shift(d, 4);
	case ZYDIS_MNEMONIC_SHRX:
		return vex_shift(d, 5);
	case ZYDIS_MNEMONIC_SARX:
		return vex_shift(d, 7);
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_nop(struct dec *d)
{
	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
		return x86_op_nop;
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
		return x86_op_fence;
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		return x86_op_clflush;
	case ZYDIS_MNEMONIC_CLZERO:
		return x86_op_clzero;
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_cr(struct dec *d)
{
	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_LMSW:
		return end(d, by_size(d, 2, x86_op_lmsw));
	case ZYDIS_MNEMONIC_SMSW:
		return by_size(d, d->osz, x86_op_smsw);
	case ZYDIS_MNEMONIC_CLTS:
		return end(d, x86_op_clts);
	case ZYDIS_MNEMONIC_LGDT:
		return end(d, x86_op_lgdt);
	case ZYDIS_MNEMONIC_LIDT:
		return end(d, x86_op_lidt);
	case ZYDIS_MNEMONIC_SGDT:
		return x86_op_sgdt;
	case ZYDIS_MNEMONIC_SIDT:
		return x86_op_sidt;
	case ZYDIS_MNEMONIC_LLDT:
		return end(d, by_size(d, 2, x86_op_lldt));
	case ZYDIS_MNEMONIC_SLDT:
		return by_size(d, d->osz, x86_op_sldt);
	case ZYDIS_MNEMONIC_LTR:
		return end(d, by_size(d, 2, x86_op_ltr));
	case ZYDIS_MNEMONIC_STR:
		return by_size(d, d->osz, x86_op_str);
	case ZYDIS_MNEMONIC_LAR:
		return by_size(d, d->osz, x86_op_lar);
	case ZYDIS_MNEMONIC_LSL:
		return by_size(d, d->osz, x86_op_lsl);
	case ZYDIS_MNEMONIC_VERR:
		return by_size(d, 2, x86_op_verr);
	case ZYDIS_MNEMONIC_VERW:
		return by_size(d, 2, x86_op_verw);
	case ZYDIS_MNEMONIC_ARPL:
		return by_size(d, 2, x86_op_arpl);
	case ZYDIS_MNEMONIC_INVLPG:
		return end(d, x86_op_invlpg);
	case ZYDIS_MNEMONIC_INVPCID:
		return end(d, by_size(d, d->mode == X86_CODE_64 ? 8 : 4, x86_op_invpcid));
	case ZYDIS_MNEMONIC_SWAPGS:
		return x86_op_swapgs;
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		return by_size(d, vex_size(d), x86_op_fsgsbase);
	case ZYDIS_MNEMONIC_CLI:
		return x86_op_cli;
	case ZYDIS_MNEMONIC_STI:
		return end(d, x86_op_sti);
	case ZYDIS_MNEMONIC_STAC:
		return x86_op_stac;
	case ZYDIS_MNEMONIC_CLAC:
		return x86_op_clac;
	default:
		return NULL;
	}
}

static x86_insn_fn *rare_system(struct dec *d)
{
	switch (d->z.mnemonic) {
	case ZYDIS_MNEMONIC_RDMSR:
		return end(d, x86_op_rdmsr);
	case ZYDIS_MNEMONIC_WRMSR:
		return end(d, x86_op_wrmsr);
	case ZYDIS_MNEMONIC_RDPMC:
		return end(d, x86_op_rdpmc);
	case ZYDIS_MNEMONIC_RDTSC:
		return end(d, x86_op_rdtsc);
	case ZYDIS_MNEMONIC_RDTSCP:
		return end(d, x86_op_rdtscp);
	case ZYDIS_MNEMONIC_RDPID:
		return by_size(d, d->mode == X86_CODE_64 ? 8 : 4, x86_op_rdpid);
	case ZYDIS_MNEMONIC_CPUID:
		return end(d, x86_op_cpuid);
	case ZYDIS_MNEMONIC_MONITOR:
		return end(d, x86_op_monitor);
	case ZYDIS_MNEMONIC_MWAIT:
		return end(d, x86_op_mwait);
	case ZYDIS_MNEMONIC_XGETBV:
		return x86_op_xgetbv;
	case ZYDIS_MNEMONIC_XSETBV:
		return end(d, x86_op_xsetbv);
	case ZYDIS_MNEMONIC_INVD:
		return end(d, x86_op_invd);
	case ZYDIS_MNEMONIC_WBINVD:
		return end(d, x86_op_wbinvd);
	case ZYDIS_MNEMONIC_RDRAND:
		return end(d, by_size(d, d->osz, x86_op_rdrand));
	case ZYDIS_MNEMONIC_RDSEED:
		return end(d, by_size(d, d->osz, x86_op_rdseed));
	case ZYDIS_MNEMONIC_RDPKRU:
		return x86_op_rdpkru;
	case ZYDIS_MNEMONIC_WRPKRU:
		return end(d, x86_op_wrpkru);
	case ZYDIS_MNEMONIC_SERIALIZE:
		return end(d, x86_op_serialize);
	case ZYDIS_MNEMONIC_RSM:
		return end(d, x86_op_rsm);
	case ZYDIS_MNEMONIC_GETSEC:
		return end(d, x86_op_getsec);
	case ZYDIS_MNEMONIC_ENCLS:
		return end(d, x86_op_encls);
	case ZYDIS_MNEMONIC_IN:
		return io(d, x86_op_in);
	case ZYDIS_MNEMONIC_OUT:
		return io(d, x86_op_out);
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
		return io(d, x86_op_ins);
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD:
		return io(d, x86_op_outs);
	default:
		return NULL;
	}
}

static x86_insn_fn *virt(struct dec *d, enum x86_virt_insn what)
{
	d->in->vvvv = (uint8_t)what;
	by_size(d, d->mode == X86_CODE_64 ? 8 : 4, NULL);
	return end(d, what >= X86_VMRUN ? x86_op_svm : x86_op_vmx);
}

static x86_insn_fn *rare_virt(struct dec *d)
{
	static const struct { uint16_t mnemonic; uint8_t what; } table[] = {
		{ ZYDIS_MNEMONIC_VMCALL, X86_VMCALL },	     { ZYDIS_MNEMONIC_VMCLEAR, X86_VMCLEAR },
		{ ZYDIS_MNEMONIC_VMLAUNCH, X86_VMLAUNCH },   { ZYDIS_MNEMONIC_VMPTRLD, X86_VMPTRLD },
		{ ZYDIS_MNEMONIC_VMPTRST, X86_VMPTRST },     { ZYDIS_MNEMONIC_VMREAD, X86_VMREAD },
		{ ZYDIS_MNEMONIC_VMRESUME, X86_VMRESUME },   { ZYDIS_MNEMONIC_VMWRITE, X86_VMWRITE },
		{ ZYDIS_MNEMONIC_VMXOFF, X86_VMXOFF },	     { ZYDIS_MNEMONIC_VMXON, X86_VMXON },
		{ ZYDIS_MNEMONIC_INVEPT, X86_INVEPT },	     { ZYDIS_MNEMONIC_INVVPID, X86_INVVPID },
		{ ZYDIS_MNEMONIC_VMFUNC, X86_VMFUNC },	     { ZYDIS_MNEMONIC_VMRUN, X86_VMRUN },
		{ ZYDIS_MNEMONIC_VMMCALL, X86_VMMCALL },     { ZYDIS_MNEMONIC_VMLOAD, X86_VMLOAD },
		{ ZYDIS_MNEMONIC_VMSAVE, X86_VMSAVE },	     { ZYDIS_MNEMONIC_STGI, X86_STGI },
		{ ZYDIS_MNEMONIC_CLGI, X86_CLGI },	     { ZYDIS_MNEMONIC_SKINIT, X86_SKINIT },
		{ ZYDIS_MNEMONIC_INVLPGA, X86_INVLPGA },
	};
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].mnemonic == d->z.mnemonic)
			return virt(d, table[i].what);
	return NULL;
}

static x86_insn_fn *by_mnemonic(struct dec *d)
{
	static x86_insn_fn *(*const groups[])(struct dec *) = {
		rare_control, rare_stack, rare_data, rare_bits, rare_nop, rare_cr, rare_system, rare_virt,
	};
	x86_insn_fn *fn = NULL;
	unsigned int i;

	for (i = 0; i < sizeof(groups) / sizeof(groups[0]) && !fn; i++)
		fn = groups[i](d);
	return fn;
}

x86_insn_fn *dec_rare(struct dec *d)
{
	x86_insn_fn *fn;

	if (d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    d->z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return x86_op_ud;
	dec_reg_rm(d, d->osz);
	fn = by_mnemonic(d);
	return fn ? fn : x86_native_exec;
}

/* ---- features ------------------------------------------------------------------------------ */

static bool gated(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_RDRAND:
		return !x86_has(cpu, X86_FEAT_RDRAND);
	case ZYDIS_MNEMONIC_RDSEED:
		return !x86_has(cpu, X86_FEAT_RDSEED);
	case ZYDIS_MNEMONIC_POPCNT:
		return !x86_has(cpu, X86_FEAT_POPCNT);
	case ZYDIS_MNEMONIC_MOVBE:
		return !x86_has(cpu, X86_FEAT_MOVBE);
	case ZYDIS_MNEMONIC_CRC32:
		return !x86_has(cpu, X86_FEAT_SSE42);
	case ZYDIS_MNEMONIC_ADCX:
	case ZYDIS_MNEMONIC_ADOX:
		return !x86_has(cpu, X86_FEAT_ADX);
	case ZYDIS_MNEMONIC_ANDN:
	case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BLSMSK:
	case ZYDIS_MNEMONIC_BLSI:
	case ZYDIS_MNEMONIC_BEXTR:
		return !x86_has(cpu, X86_FEAT_BMI1);
	case ZYDIS_MNEMONIC_BZHI:
	case ZYDIS_MNEMONIC_PDEP:
	case ZYDIS_MNEMONIC_PEXT:
	case ZYDIS_MNEMONIC_MULX:
	case ZYDIS_MNEMONIC_RORX:
	case ZYDIS_MNEMONIC_SHLX:
	case ZYDIS_MNEMONIC_SHRX:
	case ZYDIS_MNEMONIC_SARX:
		return !x86_has(cpu, X86_FEAT_BMI2);
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return !x86_has(cpu, X86_FEAT_CX16);
	case ZYDIS_MNEMONIC_RDTSCP:
		return !x86_has(cpu, X86_FEAT_RDTSCP);
	case ZYDIS_MNEMONIC_RDPID:
		return !x86_has(cpu, X86_FEAT_RDPID);
	case ZYDIS_MNEMONIC_INVPCID:
		return !x86_has(cpu, X86_FEAT_INVPCID);
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_CLAC:
		return !x86_has(cpu, X86_FEAT_SMAP);
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
		return !x86_has(cpu, X86_FEAT_CLFLUSHOPT);
	case ZYDIS_MNEMONIC_CLWB:
		return !x86_has(cpu, X86_FEAT_CLWB);
	case ZYDIS_MNEMONIC_CLZERO:
		return !x86_has(cpu, X86_FEAT_CLZERO);
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MWAIT:
		return !x86_has(cpu, X86_FEAT_MONITOR);
	case ZYDIS_MNEMONIC_SERIALIZE:
		return !x86_has(cpu, X86_FEAT_SERIALIZE);
	case ZYDIS_MNEMONIC_MOVDIRI:
		return !x86_has(cpu, X86_FEAT_MOVDIRI);
	case ZYDIS_MNEMONIC_MOVDIR64B:
		return !x86_has(cpu, X86_FEAT_MOVDIR64B);
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
		return !x86_has(cpu, X86_FEAT_SEP);
	default:
		return false;
	}
}

void x86_decode_gate(struct x86_cpu *cpu, struct x86_insn *insn)
{
	/* Without LZCNT and BMI1 the same bytes are BSR and BSF with an ignored prefix. */
	if (insn->mnemonic == ZYDIS_MNEMONIC_LZCNT && !x86_has(cpu, X86_FEAT_ABM))
		insn->fn = x86_op_bsr;
	if (insn->mnemonic == ZYDIS_MNEMONIC_TZCNT && !x86_has(cpu, X86_FEAT_BMI1))
		insn->fn = x86_op_bsf;
	if (gated(cpu, insn)) {
		insn->fn = x86_op_ud;
		insn->flags |= X86_I_END;
	}
}

void x86_decode_flat(struct x86_insn *insn)
{
	if (insn->flags & X86_I_MEM && insn->adsize == 4 && insn->seg < X86_FS && insn->seg != X86_CS)
		insn->flags |= X86_I_FLAT32;
	insn->flags |= X86_I_STACK32;
	if (insn->opsize != 4)
		return;
	if (insn->fn == x86_op_push)
		insn->fn = insn->src == 0xffff ? x86_op_push32_i : x86_op_push32_r;
	else if (insn->fn == x86_op_push_m)
		insn->fn = x86_op_push32_m;
	else if (insn->fn == x86_op_pop)
		insn->fn = x86_op_pop32_r;
	else if (insn->fn == x86_op_leave)
		insn->fn = x86_op_leave32;
}
