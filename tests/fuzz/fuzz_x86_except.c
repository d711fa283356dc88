/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the fuzzer does not execute, and what it does not compare.
 *
 * Not executed: what would leave the sandbox (system calls, hypercalls), what another owner
 * decides (CPUID, time, randomness, descriptor tables), and what would take the sandbox's own
 * ground away (FS, segment loads).
 */
#include "config.h"
#include <string.h>
#include "tests/fuzz/fuzz_x86.h"

/* ---- undefined flags ------------------------------------------------------------------------------ */

#define AF X86_FL_AF
#define PF X86_FL_PF
#define SF X86_FL_SF
#define ZF X86_FL_ZF
#define OF X86_FL_OF
#define CF X86_FL_CF

/*
 * Flags that the SDM, volume 2, "Flags Affected" of the named entry calls undefined and that
 * hv/x86 computes itself, rather than by the host's instruction.
 */
static const struct { ZydisMnemonic mnemonic; uint32_t flags; const char *entry; } undefined[] = {
	{ ZYDIS_MNEMONIC_AAA, OF | SF | ZF | PF, "AAA: OF, SF, ZF, PF undefined" },
	{ ZYDIS_MNEMONIC_AAS, OF | SF | ZF | PF, "AAS: OF, SF, ZF, PF undefined" },
	{ ZYDIS_MNEMONIC_AAD, OF | AF | CF, "AAD: OF, AF, CF undefined" },
	{ ZYDIS_MNEMONIC_AAM, OF | AF | CF, "AAM: OF, AF, CF undefined" },
	{ ZYDIS_MNEMONIC_DAA, OF, "DAA: OF undefined" },
	{ ZYDIS_MNEMONIC_DAS, OF, "DAS: OF undefined" },
	{ ZYDIS_MNEMONIC_ANDN, AF | PF, "ANDN: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BEXTR, AF | SF | PF, "BEXTR: AF, SF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSI, AF | PF, "BLSI: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSMSK, AF | PF, "BLSMSK: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSR, AF | PF, "BLSR: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BZHI, AF | PF, "BZHI: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_LZCNT, OF | SF | PF | AF, "LZCNT: OF, SF, PF, AF undefined" },
	{ ZYDIS_MNEMONIC_TZCNT, OF | SF | PF | AF, "TZCNT: OF, SF, PF, AF undefined" },
	{ ZYDIS_MNEMONIC_BT, OF | SF | AF | PF, "BT: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTS, OF | SF | AF | PF, "BTS: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTR, OF | SF | AF | PF, "BTR: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTC, OF | SF | AF | PF, "BTC: OF, SF, AF, PF undefined" },
};

/*
 * SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR: OF undefined for counts other than 1, AF undefined for
 * shifts. SHLD, SHRD: OF for counts over 1, AF; everything when the count exceeds the operand.
 * These run on the host, but by another form (count in CL) with other undefined results.
 */
static uint32_t undefined_shift(const struct fuzz_case *c)
{
	const struct x86_insn *in = &c->insn;
	unsigned int op = in->opcode, width = in->opsize == 8 ? 63 : 31, count;
	bool group = in->map == X86_MAP_1 && (op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3));
	bool twice = in->map == X86_MAP_0F && (op == 0xa4 || op == 0xa5 || op == 0xac || op == 0xad);

	if (!group && !twice)
		return 0;
	if (op == 0xd2 || op == 0xd3 || op == 0xa5 || op == 0xad)
		count = (unsigned int)c->start.gpr[X86_RCX] & width;
	else
		count = (unsigned int)in->imm & width;
	if (!count)
		return 0;
	if (twice && count > in->opsize * 8u)
		return X86_FL_ARITH;
	return (count > 1 ? OF : 0) | (twice || (in->modrm >> 3 & 7) >= 4 ? AF : 0);
}

static uint32_t undefined_flags(const struct fuzz_case *c)
{
	unsigned int i;

	for (i = 0; i < sizeof(undefined) / sizeof(undefined[0]); i++)
		if (undefined[i].mnemonic == c->insn.mnemonic)
			return undefined[i].flags;
	return undefined_shift(c);
}

/* ---- outcomes ---------------------------------------------------------------------------------- */

/*
 * An operand half below and half above the end of the lower canonical half: #GP or #PF depends
 * on how an instruction is split into loads (MOVBE on Intel: #PF).
 */
static bool edge_of_canonical(const struct outcome *a, const struct outcome *b)
{
	return a->vector == X86_PF && (b->vector == X86_GP || b->vector == X86_SS_FAULT) &&
	       a->cr2 > 0x7ffffffff000ull && a->cr2 < 0x800000000000ull;
}

/*
 * 64-bit code ignores the prefix 36H (SDM volume 1, "Segmentation in 64-bit mode"); MOVBE with
 * 66H and REX.W on Intel has #SS for it nevertheless when its address is not canonical.
 */
static bool movbe_stack_prefix(const struct fuzz_case *c, const struct outcome *n, const struct outcome *o)
{
	unsigned int i;

	if (c->z.mnemonic != ZYDIS_MNEMONIC_MOVBE || c->bits != 64 || n->vector != X86_SS_FAULT ||
	    o->vector != X86_GP || !(c->insn.flags & X86_I_OSZ) || !(c->insn.flags & X86_I_REXW))
		return false;
	for (i = 0; i < c->z.raw.prefix_count; i++)
		if (c->z.raw.prefixes[i].value == 0x36)
			return true;
	return false;
}

/* A random address has met the trampoline, which the guest does not have. */
static bool met_the_frame(const struct outcome *o)
{
	return o->vector == X86_PF && o->cr2 - (FRAME - 64) < FRAME_SIZE + 64;
}

/* The same of this program's own image, libraries and stack: only the guest faults there. */
static bool met_the_program(const struct fuzz_case *c, const struct outcome *n, const struct outcome *o)
{
	return c->bits == 64 && o->vector == X86_PF && o->cr2 - 0x550000000000ull < 0x2b0000000000ull &&
	       (n->vector != X86_PF || n->cr2 != o->cr2);
}

/* What of the floating-point state is not the instruction's doing. */
static void except_fp(const struct fuzz_case *c, uint8_t *fp)
{
	unsigned int i;

	memset(fp + 12, 0, 4);		/* upper halves or selectors of the pointers */
	memset(fp + 20, 0, 4);
	memset(fp + 28, 0, 4);		/* MXCSR_MASK */
	for (i = 0; i < 8; i++)
		memset(fp + 32 + 16 * i + 10, 0, 6);
	memset(fp + 416, 0, 160);	/* unused, and XSTATE_BV: "in use" is advice */
	if (c->bits == 64)
		return;
	memset(fp + 288, 0, 128);
	memset(fp + 704, 0, 128);
}

/*
 * Which byte of an operand of many bytes the address in CR2 names when only its second page
 * faults: the manual has no rule (SDM volume 3, "Page-fault exception": "the linear address that
 * generated the exception").
 */
static bool many_bytes(const struct fuzz_case *c)
{
	switch (c->z.mnemonic) {
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		return true;
	default:
		return c->z.meta.category == ZYDIS_CATEGORY_XSAVE ||
		       c->z.meta.category == ZYDIS_CATEGORY_XSAVEOPT;
	}
}

/*
 * MXCSR's flags when an exception is unmasked. PE beside an overflow or underflow tells of the
 * result with unbounded exponent, which our masked run does not compute (SDM volume 1,
 * "Numeric overflow exception"). The dot products do several operations, and which of them
 * reports first is not ours to know (SDM volume 2, DPPS: "exceptions are determined separately
 * for each add and multiply operation").
 */
static uint32_t undefined_mxcsr(const struct fuzz_case *c, const struct outcome *native)
{
	switch (c->z.mnemonic) {
	case ZYDIS_MNEMONIC_DPPS:
	case ZYDIS_MNEMONIC_DPPD:
	case ZYDIS_MNEMONIC_VDPPS:
	case ZYDIS_MNEMONIC_VDPPD:
		return 0x3f;
	default:
		return native->state.fp[24] & 0x18 ? 0x20 : 0;
	}
}

/*
 * Which of two faulting pages MASKMOVDQU and its kin report (SDM volume 2, MASKMOVDQU, MASKMOVQ:
 * "Exceptions associated with addressing memory and page faults may still be signaled
 * (implementation dependent)" for bytes that are masked out; hv/x86 probes all of them, upwards).
 */
static bool either_page(const struct fuzz_case *c, const struct outcome *n, const struct outcome *o)
{
	return n->vector == X86_PF && o->vector == X86_PF &&
	       (c->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || c->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
		c->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU);
}

void except_apply(const struct fuzz_case *c, struct outcome *native, struct outcome *ours)
{
	/* NT and ID: a signal's return does not restore them. */
	uint64_t ignore = X86_FL_RF | X86_FL_TF | undefined_flags(c);
	unsigned int i;

	if (c->start.rflags & X86_FL_TF)
		ignore |= X86_FL_NT | X86_FL_ID;
	if (movbe_stack_prefix(c, native, ours))
		native->vector = ours->vector;
	/* An instruction may store into the jump behind it, which only the native side takes. */
	if (edge_of_canonical(native, ours) || edge_of_canonical(ours, native) || met_the_frame(ours) ||
	    met_the_program(c, native, ours) || !native_way_back_is_whole(c)) {
		*native = *ours;
		return;
	}
	native->state.rflags &= X86_FL_ALL & ~ignore;
	ours->state.rflags &= X86_FL_ALL & ~ignore;
	for (i = 0; c->bits < 64 && i < 16; i++) {
		native->state.gpr[i] = i < 8 ? (uint32_t)native->state.gpr[i] : 0;
		ours->state.gpr[i] = i < 8 ? (uint32_t)ours->state.gpr[i] : 0;
	}
	/* BSWAP of a 16-bit register: "the result is undefined". */
	if (c->insn.mnemonic == ZYDIS_MNEMONIC_BSWAP && c->insn.opsize == 2)
		memcpy(ours->state.gpr, native->state.gpr, sizeof(ours->state.gpr));
	if (native->vector < 0)
		native->error = native->cr2 = 0;
	if (ours->vector < 0)
		ours->error = 0;
	if (native->vector != X86_PF)
		native->cr2 = 0;
	if (ours->vector != X86_PF)
		ours->cr2 = 0;
	if (either_page(c, native, ours)) {
		native->error = ours->error;
		native->cr2 = ours->cr2;
	}
	if (many_bytes(c)) {
		native->cr2 &= ~0xfffull;
		ours->cr2 &= ~0xfffull;
	}
	if (c->fp) {
		if (native->vector == X86_XM && ours->vector == X86_XM) {
			uint8_t undefined_bits = (uint8_t)undefined_mxcsr(c, native);

			native->state.fp[24] &= (uint8_t)~undefined_bits;
			ours->state.fp[24] &= (uint8_t)~undefined_bits;
		}
		except_fp(c, native->state.fp);
		except_fp(c, ours->state.fp);
	}
}

/* ---- instructions --------------------------------------------------------------------------------- */

static bool forbidden(ZydisMnemonic m)
{
	static const ZydisMnemonic list[] = {
		ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1,
		ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO, ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD,
		ZYDIS_MNEMONIC_IRETQ, ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP,
		ZYDIS_MNEMONIC_RDPMC, ZYDIS_MNEMONIC_RDPID, ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED,
		ZYDIS_MNEMONIC_XGETBV, ZYDIS_MNEMONIC_RDFSBASE, 
		ZYDIS_MNEMONIC_WRFSBASE, ZYDIS_MNEMONIC_WRGSBASE, ZYDIS_MNEMONIC_RDPKRU,
		ZYDIS_MNEMONIC_WRPKRU, ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_SLDT,
		ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW, ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL,
		ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW, ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES,
		ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS, ZYDIS_MNEMONIC_LSS, ZYDIS_MNEMONIC_VMCALL,
		ZYDIS_MNEMONIC_VMMCALL, ZYDIS_MNEMONIC_VMFUNC, ZYDIS_MNEMONIC_GETSEC,
		ZYDIS_MNEMONIC_ENCLS, ZYDIS_MNEMONIC_ENCLU, ZYDIS_MNEMONIC_ENCLV, ZYDIS_MNEMONIC_UMONITOR,
		ZYDIS_MNEMONIC_UMWAIT, ZYDIS_MNEMONIC_TPAUSE, ZYDIS_MNEMONIC_MONITORX,
		ZYDIS_MNEMONIC_MWAITX, ZYDIS_MNEMONIC_INVLPGA, ZYDIS_MNEMONIC_STGI, ZYDIS_MNEMONIC_CLGI,
		ZYDIS_MNEMONIC_VMRUN, ZYDIS_MNEMONIC_VMLOAD, ZYDIS_MNEMONIC_VMSAVE,
		ZYDIS_MNEMONIC_SKINIT, ZYDIS_MNEMONIC_RSM, ZYDIS_MNEMONIC_XBEGIN, ZYDIS_MNEMONIC_XABORT,
		ZYDIS_MNEMONIC_XEND, ZYDIS_MNEMONIC_XTEST, ZYDIS_MNEMONIC_SERIALIZE,
		ZYDIS_MNEMONIC_INVEPT, ZYDIS_MNEMONIC_INVVPID, ZYDIS_MNEMONIC_VMCLEAR,
		ZYDIS_MNEMONIC_VMLAUNCH, ZYDIS_MNEMONIC_VMPTRLD, ZYDIS_MNEMONIC_VMPTRST,
		ZYDIS_MNEMONIC_VMREAD, ZYDIS_MNEMONIC_VMRESUME, ZYDIS_MNEMONIC_VMWRITE,
		ZYDIS_MNEMONIC_VMXOFF, ZYDIS_MNEMONIC_VMXON, ZYDIS_MNEMONIC_MONITOR,
		ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_PCONFIG, ZYDIS_MNEMONIC_ARPL,
	};
	unsigned int i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i] == m)
			return true;
	return false;
}

static bool far_or_segment(const struct x86_insn *in)
{
	unsigned int op = in->opcode, ext = in->modrm >> 3 & 7;

	if (in->map == X86_MAP_1) {
		if (op == 0x9a || op == 0xea || op == 0xca || op == 0xcb || op == 0x8e || op == 0x8c)
			return true;
		if (op == 0xff && (ext == 3 || ext == 5))
			return true;
		return op == 0x06 || op == 0x07 || op == 0x0e || op == 0x16 || op == 0x17 || op == 0x1e ||
		       op == 0x1f;
	}
	return in->map == X86_MAP_0F &&
	       (op == 0xa0 || op == 0xa1 || op == 0xa8 || op == 0xa9 || (op >= 0x20 && op < 0x24));
}

static bool uses_fs_gs(const struct fuzz_case *c)
{
	return (c->insn.flags & X86_I_SEGPFX) && c->insn.seg >= X86_FS &&
	       (c->insn.seg == X86_FS || c->bits < 64);
}

bool except_forbidden(const struct fuzz_case *c)
{
	return forbidden((ZydisMnemonic)c->insn.mnemonic) || far_or_segment(&c->insn) || uses_fs_gs(c);
}

/* MOVBE with both 66 and REX.W is never checked on Intel; without 66 it is. */
bool except_unaligned(const struct fuzz_case *c)
{
	return c->fp || (c->z.mnemonic == ZYDIS_MNEMONIC_MOVBE && c->insn.flags & X86_I_OSZ &&
			 c->insn.flags & X86_I_REXW);
}

bool except_steps_only(const struct fuzz_case *c)
{
	return c->z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
	       c->z.meta.category == ZYDIS_CATEGORY_CALL || c->z.meta.category == ZYDIS_CATEGORY_RET ||
	       c->z.meta.category == ZYDIS_CATEGORY_COND_BR ||
	       c->z.meta.category == ZYDIS_CATEGORY_UNCOND_BR;
}
