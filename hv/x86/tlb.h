/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The software TLB of one logical processor.
 *
 * Translations live in *sets*. A set belongs to one address-space tag:
 *
 *   63            12 11     0
 *  +----------------+--------+
 *  |     space      |  PCID  |    space: chosen by the owner, one number per
 *  +----------------+--------+           (VPID or ASID, second-level root) pair
 *
 * so that CR3 loads with PCIDs and VM entries and exits switch sets and lose
 * nothing. A set has three direct-mapped arrays, one per access mode, because
 * the rights of one page differ between them:
 *
 *   X86_TLB_SUPER     supervisor, user pages not reachable when CR4.SMAP
 *   X86_TLB_SUPER_AC  supervisor with EFLAGS.AC = 1 or without SMAP
 *   X86_TLB_USER      CPL 3
 *
 * An entry has a tag for each of read, write and fetch: the linear page number
 * << 12 if that access may go through the addend, X86_TLB_NONE otherwise. The
 * fast path compares ((linear + size - 1) & ~0xfff) with the tag at the index
 * of `linear`: one load, one compare, and a page-crossing access misses by
 * itself. host = linear + addend.
 *
 * tag_w is set only when the guest PTE's dirty bit, the second level's dirty
 * state and the block cache allow silent stores; see block.h for the last.
 *
 * Threads: only the thread that runs the CPU touches sets. Others use
 * x86_tlb_request_flush(), which is honoured at the next block end or entry.
 */
#ifndef HV_X86_TLB_H
#define HV_X86_TLB_H

#include <stdbool.h>
#include <stdint.h>

struct x86_cpu;

#define X86_TLB_BITS	10
#define X86_TLB_SIZE	(1u << X86_TLB_BITS)
#define X86_TLB_VICTIMS	8
#define X86_TLB_NONE	UINT64_MAX	/* matches no page: its low 12 bits are not zero */
#define X86_TLB_SETS	8

enum x86_tlb_mode { X86_TLB_SUPER, X86_TLB_SUPER_AC, X86_TLB_USER, X86_TLB_MODES };

struct x86_tlb_entry {
	uint64_t tag_r;
	uint64_t tag_w;
	uint64_t tag_x;
	uint64_t addend;	/* host address - linear address */
};

static inline unsigned int x86_tlb_index(uint64_t linear)
{
	return (unsigned int)(linear >> 12) & (X86_TLB_SIZE - 1);
}

/*
 * Use the translations of `space` from now on (VM entry, VM exit). `space` is below 2^52. The
 * PCID comes from CR3 when CR4.PCIDE is set. Call x86_state_changed() after changing CR3 or
 * CR4 behind the back of the executor; it does this too, for the space in force.
 */
void x86_tlb_set_space(struct x86_cpu *cpu, uint64_t space);

/* Flushes. Those of a space concern every PCID in it. */
void x86_tlb_flush_all(struct x86_cpu *cpu);
void x86_tlb_flush_space(struct x86_cpu *cpu, uint64_t space);
/* Every translation of the space but global ones. */
void x86_tlb_flush_space_nonglobal(struct x86_cpu *cpu, uint64_t space);
/* One PCID's translations but global ones. */
void x86_tlb_flush_pcid(struct x86_cpu *cpu, uint64_t space, unsigned int pcid);
/* One linear page with INVLPG's meaning: the PCID's own, and global ones of every PCID. */
void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t space, unsigned int pcid, uint64_t linear);
/* One linear page for every PCID of the space (INVVPID individual address). */
void x86_tlb_flush_page_space(struct x86_cpu *cpu, uint64_t space, uint64_t linear);

/* Any thread: flush everything at the latest before the next block after the call is entered
 * by x86_run(). Sets X86_PEND_FLUSH with release order. */
void x86_tlb_request_flush(struct x86_cpu *cpu);

/* Misses that led to a page walk, for statistics. */
uint64_t x86_tlb_misses(const struct x86_cpu *cpu);

#endif
