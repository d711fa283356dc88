/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parts of the differential fuzzer: what a case is, its two sides, and what
 * is not compared. fuzz_x86.c has the loop.
 */
#ifndef TESTS_FUZZ_FUZZ_X86_H
#define TESTS_FUZZ_FUZZ_X86_H

#include <stdbool.h>
#include <stdint.h>
#include <Zydis/Zydis.h>
#include "hv/x86/internal.h"

#define CODE		0x10000000ul	/* two pages of code */
#define CODE_SIZE	0x2000u
#define DATA		0x20000000ul	/* two writable pages, one read-only; nothing around them */
#define DATA_RW		0x2000u
#define DATA_SIZE	0x3000u
#define FRAME		0x30000000ul	/* the trampoline, native side only */
#define FRAME_SIZE	0x3000u
#define GS_BASE		(DATA + 0x800)	/* 64-bit code */
#define LDT_CODE	0x07
#define LDT_DATA	0x0f

/* Parts of the data that are not random: operands that random bytes never are. */
#define DATA_XSAVE	0x1800u		/* a standard image with a valid header */
#define DATA_XSAVEC	0x1b40u		/* a compact one */
#define DATA_FP		0x1e80u		/* notable numbers, 0x100 bytes */
#define DATA_SMALL	0x1f80u		/* 16-bit values in 32 bits: MXCSR images, counts */

#define FP_SIZE		X86_XSAVE_SIZE

/* What an instruction starts from, and what it leaves. */
struct fuzz_state {
	uint64_t gpr[16];	/* x86 order */
	uint64_t rip, rflags;
	uint8_t fp[FP_SIZE] __attribute__((aligned(64)));	/* when the case has `fp` */
};

struct fuzz_case {
	unsigned int bits;	/* 64; 32 and 16: compatibility mode */
	uint8_t bytes[15];
	bool fp;		/* x87, MMX, SSE, AVX: their state is loaded and compared */
	struct x86_insn insn;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct fuzz_state start;	/* rflags.TF: single-step, else run to what follows */
};

/* The outcome of one instruction on one side. */
struct outcome {
	struct fuzz_state state;
	int vector;		/* -1: completed */
	uint64_t error, cr2;
};

/* fuzz_x86_gen.c */
void gen_seed(uint64_t seed);
uint64_t gen_rnd(void);
unsigned int gen_pick(unsigned int n);
/* Contents of the data, the same for every seed, so that reproducers need not carry them. */
void gen_data(uint8_t data[DATA_SIZE]);
/*
 * A new instruction that may be executed, and whose name begins with `only` unless that is NULL;
 * counts encodings passed over in *skipped.
 */
void gen_insn(struct fuzz_case *c, const char *only, uint64_t *skipped);
/* A new state for it. */
void gen_state(struct fuzz_case *c, struct x86_cpu *cpu);
/* Decode c->bytes. False: not an instruction that may be executed. */
bool gen_decode(struct fuzz_case *c);
enum x86_code_mode gen_code_mode(const struct fuzz_case *c);

/* fuzz_x86_except.c */
bool except_forbidden(const struct fuzz_case *c);
/* Instructions after which execution does not go on behind them: only single-stepped. */
bool except_steps_only(const struct fuzz_case *c);
/* Not tried with alignment checks on. */
bool except_unaligned(const struct fuzz_case *c);
/* Make the two equal where the manual, or what the sandbox can see, leaves a difference open. */
void except_apply(const struct fuzz_case *c, struct outcome *native, struct outcome *ours);

/* fuzz_x86_guest.c: hv/x86's side */
struct x86_cpu *guest_create(unsigned int bits);
uint8_t *guest_data(void);	/* its copy of DATA */
void guest_place(const struct fuzz_case *c);
void guest_run(const struct fuzz_case *c, bool block, struct outcome *out);

/* fuzz_x86_native.c: the host's side */
/* 0, -ENOSYS: this host has no local descriptor tables, which 16-bit code needs. */
int native_create(unsigned int bits);
/* The instruction, and the jump back behind it. */
void native_place(const struct fuzz_case *c);
/* After native_run(): the instruction has not stored into that jump. */
bool native_way_back_is_whole(const struct fuzz_case *c);
/* What native_place() has put there, PLACE_SIZE bytes, and where it jumps to from 64-bit code. */
#define PLACE_SIZE	(15 + 8)
const uint8_t *native_code(const struct fuzz_case *c);
uint64_t native_leave(void);
void native_run(const struct fuzz_case *c, struct outcome *out);

#endif
