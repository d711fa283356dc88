/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks of decoded instructions, and how a change of the code is noticed.
 *
 * Each logical processor has its own cache; nothing is shared, nothing is
 * locked. A block lies in one host page and is found by (host address of its
 * first byte, mode). An instruction that crosses into the next page is a block
 * of its own, whose bytes are fetched again each time. A jump cache in front
 * maps linear addresses to blocks; its entries are valid for one cpu->jump_ctx,
 * a number unique to a TLB set's life since its last flush, a mode and a CPL. Supervisor code
 * in global pages keeps its number over CR3 loads. An entry of another context names the block
 * to try first: it is the one when the TLB's translation leads to where the block lies.
 *
 * Changes of code are noticed in two ways:
 *
 * 1. Stores of this processor, at once. The TLB withholds tag_w from every page
 *    that holds a block of this processor, under any linear address, so such
 *    stores take the slow path, which kills the blocks that overlap (a
 *    bitmap of 64-byte lines per page keeps stores beside code cheap). If the
 *    running block is among them, its remaining instructions are replaced by
 *    one that ends it: the very next instruction is decoded anew.
 *
 * 2. Stores of anybody else (other processors, DMA, the owner, another process
 *    that shares the memory) without their help: a block keeps a copy of its
 *    bytes and is compared with memory before its first run after each
 *    serialising event of this processor: cpu->epoch counts them. Those are
 *    the serialising instructions of the manual (SDM volume 3, "Serializing
 *    instructions"), every event delivery and IRET, far transfers, PAUSE, TLB flushes,
 *    and each entry to x86_run(). SYSCALL and its like are none: the code on both of
 *    their sides would be compared at each call. So
 *    cross-modifying code is seen at the latest where the manual demands it, and
 *    in between within one x86_run() budget.
 *
 * Threads: the CPU's own thread only.
 */
#ifndef HV_X86_BLOCK_H
#define HV_X86_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hv/x86/x86.h"

struct x86_cpu;
struct x86_codepage;

#define X86_BLOCK_MAX_INSNS 48

struct x86_block {
	uint64_t epoch;			/* cpu->epoch of the last comparison; 0: dead */
	const uint8_t *host;		/* the code in memory */
	uint16_t nbytes;
	uint16_t ninsns;
	uint32_t mode;
	struct x86_block *hash_next;
	struct x86_block *page_next;
	struct x86_codepage *page;
	bool crosses;
	struct x86_insn insn[];		/* ninsns and an end mark; then the copy of the bytes */
};

int x86_bcache_create(struct x86_cpu *cpu, size_t code_bytes);
void x86_bcache_destroy(struct x86_cpu *cpu);
/* The block at the CPU's rip; throws fetch faults. Decodes when there is none. */
struct x86_block *x86_block_find(struct x86_cpu *cpu);

/* An entry of the jump cache. */
struct x86_jump {
	uint64_t linear;
	uint64_t ctx;			/* cpu->jump_ctx when entered; 0 never valid */
#define X86_JUMP_KIND 0xffu		/* its part that is the mode and the CPL */
	struct x86_block *block;
};
#define X86_JUMPS (1u << 16)	/* a fork and exec in Linux goes through some 20,000 blocks */

static inline struct x86_jump *x86_jump_slot(const struct x86_cpu *cpu, uint64_t linear)
{
	return (struct x86_jump *)(void *)cpu->bcache + ((linear ^ linear >> 16) & (X86_JUMPS - 1));
}

/* x86_block_find() behind the jump cache. Entries exist only for flat code and whole blocks. */
static inline struct x86_block *x86_block_get(struct x86_cpu *cpu)
{
	const struct x86_jump *j = x86_jump_slot(cpu, cpu->rip);

	if (__builtin_expect(j->linear == cpu->rip && j->ctx == cpu->jump_ctx &&
			     j->block->epoch == cpu->epoch, 1))
		return j->block;
	return x86_block_find(cpu);
}
/* Forget all blocks. Not from inside a block. */
void x86_bcache_flush(struct x86_cpu *cpu);
/*
 * The instruction in progress left something pending that has to be looked at right behind it (an
 * access to a device that ends in a trap-like exit): its block ends there, this time and later.
 */
void x86_block_split(struct x86_cpu *cpu);
/* This processor is about to store to [host, host + size) inside a page with code. */
void x86_block_store(struct x86_cpu *cpu, const uint8_t *host, unsigned int size);
/* Whether the host page holds blocks. */
bool x86_block_page_has_code(struct x86_cpu *cpu, const uint8_t *host_page);
/* tlb.c: take tag_w from every entry that maps the host page. */
void x86_tlb_protect_code(struct x86_cpu *cpu, const uint8_t *host_page);

/* decode.c: as x86_decode(), for an instruction `off` bytes into its block. */
int x86_decode_at(const uint8_t *bytes, unsigned int len, enum x86_code_mode mode,
		  unsigned int off, struct x86_insn *out);
/* decode_rare.c: replace the handler of what the guest's CPUID does not offer. */
void x86_decode_gate(struct x86_cpu *cpu, struct x86_insn *insn);

/* decode_rare.c: what X86_MODE_FLAT allows. */
void x86_decode_flat(struct x86_insn *insn);

/* The mark behind a block's last instruction. */
void x86_op_end(struct x86_cpu *cpu, const struct x86_insn *insn);

#endif
