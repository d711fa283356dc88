/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * x87, MMX, SSE and AVX, computed by the host's own silicon: shared by
 * native*.c only.
 *
 * An instruction is re-encoded once so that its memory operand is [rsi] and its
 * general register is rax, and wrapped in a few moves between struct x86_cpu and
 * the host's registers: a stub, called as fn(cpu, memory). Addresses, faults,
 * alignment and enabled exceptions are decided here before the stub runs; what
 * has no such form (environments, masked and gathered accesses, XSAVE) is C.
 */
#ifndef HV_X86_NATIVE_H
#define HV_X86_NATIVE_H

#include <Zydis/Zydis.h>
#include "hv/x86/internal.h"

struct native_op;

typedef void native_stub_fn(struct x86_cpu *cpu, void *memory);
/* C handlers leave by x86_throw() and the like, or return when the instruction is done. */
typedef void native_c_fn(struct x86_cpu *cpu, const struct x86_insn *insn,
			 const struct native_op *op);

/* Which state the instruction needs, and so which checks come first. */
enum native_kind {
	NATIVE_SSE,	/* CR0.EM, CR4.OSFXSR, CR0.TS */
	NATIVE_AVX,	/* CR4.OSXSAVE, XCR0, CR0.TS */
	NATIVE_MMX,	/* CR0.EM, CR0.TS, pending x87 exceptions */
	NATIVE_X87,	/* CR0.EM, CR0.TS, pending x87 exceptions */
	NATIVE_X87_NOWAIT,
	NATIVE_FREE,	/* the C handler checks */
};

/* native_op.flags */
#define NATIVE_LOADS	(1u << 0)	/* reads its memory operand */
#define NATIVE_STORES	(1u << 1)
#define NATIVE_FP	(1u << 2)	/* SIMD floating point: uses MXCSR, may raise #XM */
#define NATIVE_X87_OP	(1u << 3)	/* sets the x87 instruction and data pointers */

struct native_op {
	native_stub_fn *stub;	/* NULL until it is first run, or again after the arena was emptied */
	native_c_fn *fn;	/* instead of a stub */
	uint8_t raw[15];	/* the instruction as the guest has it */
	uint8_t len;
	uint8_t code_mode;	/* enum x86_code_mode */
	uint8_t kind;
	uint8_t flags;
	uint8_t align;		/* of the memory operand, 0: none asked for */
	uint16_t size;		/* bytes of the memory operand, 0: none */
	uint16_t mnemonic;
	uint32_t next;		/* in its hash chain, index + 1 */
};

/* Every stub of one CPU; created at the first instruction that needs it. */
#define NATIVE_HASH_BITS 10
#define NATIVE_OPS_MAX	 16384u
#define NATIVE_ARENA	 (1u << 20)
#define NATIVE_STUB_MAX	 512u

struct native {
	struct native_op *ops;	/* NATIVE_OPS_MAX reserved, touched as used */
	uint32_t nr_ops;
	uint32_t gen;		/* in the cookie of an instruction: which set of ops it means */
	uint8_t *arena;
	uint32_t used;		/* bytes of the arena */
	uint32_t hash[1u << NATIVE_HASH_BITS];	/* index + 1 */
};

/* Offsets in the XSAVE image. */
#define XS_FCW	   0
#define XS_FSW	   2
#define XS_FTW	   4	/* abridged: a bit per register, 1 not empty */
#define XS_FOP	   6
#define XS_FIP	   8
#define XS_FDP	   16
#define XS_MXCSR   24
#define XS_ST(n)   (32 + 16 * (n))
#define XS_XMM(n)  (160 + 16 * (n))
#define XS_BV	   512
#define XS_COMP_BV 520
#define XS_YMMH(n) (576 + 16 * (n))

#define FCW_INIT 0x037fu
#define FSW_ES	 0x0080u
#define FSW_B	 0x8000u
#define FSW_PE	 0x0020u
#define FSW_EXCEPTIONS 0x003fu

#define XFEATURE_X87 (1ull << 0)
#define XFEATURE_SSE (1ull << 1)
#define XFEATURE_AVX (1ull << 2)
#define XFEATURE_PKRU (1ull << 9)

#define MXCSR_INIT  0x1f80u
#define MXCSR_MASKS 0x1f80u
#define MXCSR_FLAGS 0x003fu
#define MXCSR_UE    0x0010u
#define MXCSR_FTZ   0x8000u

static inline uint16_t *xs16(struct x86_cpu *cpu, unsigned int off)
{
	return (uint16_t *)(cpu->xsave + off);
}

static inline uint32_t *xs32(struct x86_cpu *cpu, unsigned int off)
{
	return (uint32_t *)(cpu->xsave + off);
}

static inline uint64_t *xs64(struct x86_cpu *cpu, unsigned int off)
{
	return (uint64_t *)(cpu->xsave + off);
}

/* native.c */
void native_check(struct x86_cpu *cpu, enum native_kind kind);
/* Linear address of the memory operand, alignment checked against `align` (#GP). */
uint64_t native_address(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
			unsigned int align, uint32_t access);
void native_load(struct x86_cpu *cpu, const struct x86_insn *insn, void *buf, unsigned int size);
void native_store(struct x86_cpu *cpu, const struct x86_insn *insn, const void *buf,
		  unsigned int size);

void native_read_lin(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin, void *buf,
		     unsigned int size);
/* Make sure that the bytes can be written. */
void native_probe_lin(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		      unsigned int size);
/* A pending x87 error meets an instruction that waits for it. */
_Noreturn void native_x87_error(struct x86_cpu *cpu);

/* native_x87.c: ES and B follow from the exception flags and their masks. */
void native_x87_summary(struct x86_cpu *cpu);
void native_x87_init(struct x86_cpu *cpu);
/* Make TOP 0; the registers keep their contents. Every register is valid after entering MMX state. */
void native_x87_zero_top(struct x86_cpu *cpu);
void native_x87_enter_mmx(struct x86_cpu *cpu);

/* native_stub.c: what an instruction is, and the making of its stub. False: no such form (#UD). */
bool native_describe(const struct x86_cpu *cpu, struct native_op *op);
/* Zydis's view of an operation's bytes, for handlers that need operands. */
bool native_decode(const struct native_op *op, ZydisDecodedInstruction *z, ZydisDecodedOperand *operands);
/* At most NATIVE_STUB_MAX bytes at `at`; their number, 0: cannot be. */
unsigned int native_emit(const struct native_op *op, uint8_t *at);

/* The C handler of a mnemonic, or NULL; *kind is what is checked before it is called. */
native_c_fn *native_x87_handler(unsigned int mnemonic, enum native_kind *kind);
native_c_fn *native_xsave_handler(unsigned int mnemonic, enum native_kind *kind);
native_c_fn *native_mask_handler(unsigned int mnemonic, enum native_kind *kind);

#endif
