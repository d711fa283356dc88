/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of the TLB: sets, the record of live entries, and the cache of
 * physical pages that page walks read.
 */
#ifndef HV_X86_TLB_INTERNAL_H
#define HV_X86_TLB_INTERNAL_H

#include "hv/x86/internal.h"

/* Main array, then the victims. */
#define TLB_SLOTS	(X86_TLB_SIZE + X86_TLB_VICTIMS)

/* x86_tlb_set.meta */
#define TLB_LIVE	0x01	/* in the log */
#define TLB_GLOBAL	0x02
#define TLB_WCODE	0x04	/* tag_w withheld only because the page holds code */
#define TLB_2M		0x08	/* from a 2 MiB page */
#define TLB_4M		0x10
#define TLB_1G		0x20
#define TLB_LARGE	(TLB_2M | TLB_4M | TLB_1G)

#define TLB_EVICTED	1024u

/*
 * Invariant: a slot with any tag set has TLB_LIVE and is named once in log[]. So a flush costs
 * what was filled, not the size of the arrays.
 */
struct x86_tlb_set {
	uint64_t tag;			/* space << 12 | PCID */
	/*
	 * Unique numbers, as the jump cache knows them: they change when fetch translations may have
	 * gone, of user code and of supervisor code. The latter's outlives the loss of
	 * translations that are not global as long as no supervisor code was entered through one.
	 */
	uint64_t gen, super_gen;
	bool super_local;
	uint64_t evicted[TLB_EVICTED / 64]; /* filter over pages whose fetch translations were replaced */
	uint64_t used;			/* cpu->tlb_clock of the last switch to it */
	uint64_t large_2m[8];		/* filter over linear >> 21 (2M and 4M pages) */
	uint64_t large_1g;		/* filter over linear >> 30 */
	uint32_t nlog;
	uint8_t next_victim[X86_TLB_MODES];
	bool victims[X86_TLB_MODES];	/* some slot behind the main array may be filled */
	struct x86_tlb_entry e[X86_TLB_MODES][TLB_SLOTS] __attribute__((aligned(64)));
	uint8_t meta[X86_TLB_MODES][TLB_SLOTS];
	uint16_t log[X86_TLB_MODES * TLB_SLOTS];	/* mode * TLB_SLOTS + slot */
};

#define PCACHE_SIZE 256u

struct x86_pcache {
	struct {
		uint64_t gpa;		/* page, X86_TLB_NONE if empty */
		uint64_t space;
		uint8_t *host;
		uint8_t perm;
	} e[PCACHE_SIZE];
};

extern const struct x86_tlb_entry x86_tlb_nothing[X86_TLB_SIZE];

int x86_tlb_create(struct x86_cpu *cpu, unsigned int nr_sets);
void x86_tlb_destroy(struct x86_cpu *cpu);

struct tlb_fill {
	uint64_t linear;	/* page */
	uint8_t *host;		/* page */
	uint8_t perm;		/* X86_ACC_READ|WRITE|EXEC */
	uint8_t meta;		/* TLB_GLOBAL, TLB_WCODE, size */
};
void x86_tlb_insert(struct x86_cpu *cpu, unsigned int mode, const struct tlb_fill *fill);
/* The entry of `mode` that permits `access` at the page, after a look at the victims, or NULL. */
struct x86_tlb_entry *x86_tlb_find(struct x86_cpu *cpu, unsigned int mode, uint64_t page,
				   uint32_t access, uint8_t *meta);
/* Supervisor code at `linear` is going to be entered without a look at the TLB. */
void x86_tlb_code_entered(struct x86_cpu *cpu, uint64_t linear);
/* The set for (cpu->space, PCID of CR3) becomes current. */
void x86_tlb_select(struct x86_cpu *cpu);

#endif
