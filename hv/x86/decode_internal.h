/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between decode.c and decode_rare.c. */
#ifndef HV_X86_DECODE_INTERNAL_H
#define HV_X86_DECODE_INTERNAL_H

#include <Zydis/Zydis.h>
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

struct dec {
	ZydisDecoderContext ctx;
	ZydisDecodedInstruction z;
	struct x86_insn *in;
	enum x86_code_mode mode;
	int seg_prefix;			/* -1: none that counts */
	unsigned int osz;		/* operand size in bytes */
	unsigned int rex_r, rex_x, rex_b;
	bool mem;
};

uint16_t dec_gpr(const struct dec *d, unsigned int reg, unsigned int size);
void dec_rm_reg(struct dec *d, unsigned int size);
void dec_reg_rm(struct dec *d, unsigned int size);
void dec_segment(struct dec *d);
unsigned int dec_szi(unsigned int size);
/* Everything that decode.c has no specialised form for; x86_op_ud when undefined. */
x86_insn_fn *dec_rare(struct dec *d);

#endif
