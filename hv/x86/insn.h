/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The compact decoded instruction: one cache line, operands resolved to byte
 * offsets into struct x86_cpu, and the handler that executes it.
 *
 * A handler runs to its end or leaves through x86_throw() (fault, exit); in the
 * middle of a block it then calls the next instruction's handler as a tail
 * call, and the last of a block returns. While a block runs, cpu->rip is the
 * address of the block's first instruction, and an instruction's own address is
 * cpu->rip + insn->off.
 */
#ifndef HV_X86_INSN_H
#define HV_X86_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_cpu;
struct x86_insn;

typedef void x86_insn_fn(struct x86_cpu *cpu, const struct x86_insn *insn);

/* x86_insn.flags */
#define X86_I_MEM	(1u << 0)	/* has a memory operand: base, index, scale, disp, seg */
#define X86_I_FLAT	(1u << 1)	/* 64-bit address size, segment base known to be 0 */
#define X86_I_LOCK	(1u << 2)
#define X86_I_REP	(1u << 3)	/* F3 */
#define X86_I_REPNE	(1u << 4)	/* F2 */
#define X86_I_SEGPFX	(1u << 5)	/* has an effective segment-override prefix */
#define X86_I_RIPREL	(1u << 6)
#define X86_I_REXW	(1u << 7)	/* REX.W or VEX.W */
#define X86_I_OSZ	(1u << 8)	/* 66 prefix */
#define X86_I_END	(1u << 9)	/* ends a block */
#define X86_I_CODE64	(1u << 10)	/* decoded for 64-bit code */
#define X86_I_CODE32	(1u << 11)	/* decoded for 32-bit code (neither: 16-bit) */
#define X86_I_REX	(1u << 12)	/* has a REX prefix */
#define X86_I_VEX	(1u << 13)
#define X86_I_FLAT32	(1u << 14)	/* 32-bit address size, segment flat: as long as X86_MODE_FLAT holds */
#define X86_I_STACK32	(1u << 15)	/* SS is flat and big, likewise */

/* Opcode maps. */
enum { X86_MAP_1, X86_MAP_0F, X86_MAP_0F38, X86_MAP_0F3A, X86_MAP_3DNOW, X86_MAP_OTHER };

struct x86_insn {
	x86_insn_fn *fn;
	int64_t disp;		/* rip-relative: includes off + len, base is cpu->rip */
	union {
		uint64_t imm;	/* sign-extended to 64 bits when the instruction sign-extends */
		const void *aux; /* native.c: its own data; the bytes of the immediate are in raw */
	};
	uint16_t dst, src;	/* byte offsets into struct x86_cpu of the register operands */
	uint16_t base, index;	/* likewise, of the address; X86_OFF_ZERO when absent */
	uint8_t scale;		/* log2 */
	uint8_t seg;		/* X86_ES..X86_GS of the memory operand, default or override */
	uint8_t len;		/* 1..15 */
	uint8_t opsize;		/* operand size in bytes: 1, 2, 4, 8 */
	uint16_t off;		/* of the instruction from the start of its block */
	uint16_t flags;		/* X86_I_* */
	uint8_t adsize;		/* 2, 4, 8 */
	uint8_t map;		/* X86_MAP_* */
	uint8_t opcode;
	uint8_t modrm;
	uint16_t mnemonic;	/* ZydisMnemonic */
	uint8_t reg;		/* modrm.reg with REX.R / VEX.R */
	uint8_t rm;		/* modrm.rm with REX.B (register forms) */
	uint8_t vvvv;		/* VEX.vvvv register number */
	uint8_t raw[15];	/* the instruction's bytes */
};

_Static_assert(sizeof(struct x86_insn) == 64, "one cache line");

#endif
