/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A processor's view of the tables, for tests: walks EPT, nested or ordinary x86
 * tables entry by entry as the manuals say, sets A and D by compare-and-swap,
 * and has a small TLB that forgets only what it is told to. It shares no code
 * with hv/mmu, so that a wrong bit there is a wrong result here.
 */
#ifndef TESTS_MMU_HW_H
#define TESTS_MMU_HW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum hw_kind { HW_EPT, HW_NPT, HW_X86_LONG, HW_X86_PAE };

enum hw_result { HW_OK, HW_VIOLATION, HW_MISCONFIG };

#define HW_READ	 0U
#define HW_WRITE 1U
#define HW_EXEC	 2U
#define HW_USER	 4U

#define HW_TLB_SIZE 256
#define HW_PML_SIZE 512

struct hw_tlb_entry {
	uint64_t page; /* address >> 12, plus 1; 0: free */
	uint64_t frame;
	bool w, x, u, d;
};

struct hw_cpu {
	enum hw_kind kind;
	bool ad;	  /* EPTP bit 6; the others always */
	bool use_tlb;
	bool smep, smap;  /* HW_X86_* */
	uint64_t root;	  /* address of the root table */
	int level;
	struct hw_tlb_entry tlb[HW_TLB_SIZE];
	/* page-modification log; NULL: off */
	uint64_t *pml;
	unsigned int pml_count;
	/* the last violation: x86-style error code bits P W U I; the level and entry it met */
	uint64_t error;
	int fault_level;
	uint64_t fault_entry;
	uint64_t walks;
};

static inline void hw_flush(struct hw_cpu *c)
{
	memset(c->tlb, 0, sizeof(c->tlb));
}

static inline uint64_t hw_load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* Set bits unless the entry has changed; false: walk again. */
static inline bool hw_set_bits(uint64_t *p, uint64_t *e, uint64_t bits)
{
	uint64_t old = *e;

	if ((old & bits) == bits)
		return true;
	if (!__atomic_compare_exchange_n(p, &old, old | bits, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	*e |= bits;
	return true;
}

static inline enum hw_result hw_violate(struct hw_cpu *c, int level, uint64_t e, unsigned int acc,
					bool present)
{
	c->fault_level = level;
	c->fault_entry = e;
	c->error = (present ? 1U : 0) | ((acc & HW_WRITE) ? 2U : 0) | ((acc & HW_USER) ? 4U : 0) |
		   ((acc & HW_EXEC) ? 16U : 0);
	return HW_VIOLATION;
}

/* Intel SDM: R=0 with W=1; a table entry with bits 7:3 (leaf levels: 6:3) set; bad memory type. */
static inline bool hw_ept_misconfigured(uint64_t e, int level, bool leaf)
{
	uint64_t type = (e >> 3) & 7;

	if (!(e & 1) && (e & 2))
		return true;
	if ((e & 7) == 4)
		return true; /* execute-only is not supported by this processor */
	if (!leaf && (e & (level >= 4 ? 0xf8 : 0x78)))
		return true;
	if (leaf && (type == 2 || type == 3 || type == 7))
		return true;
	/* a huge frame must be aligned */
	return leaf && level > 1 && (e & (((1ULL << (9 * (level - 1))) - 1) << 12));
}

static inline bool hw_x86_reserved(uint64_t e, int level, bool leaf, enum hw_kind kind)
{
	if (kind == HW_X86_PAE && (e & 0x7ff0000000000000ULL))
		return true;
	if (level >= 4 && (e & 0x80))
		return true;
	return leaf && level > 1 && (e & ((((1ULL << (9 * (level - 1))) - 1) << 12) & ~0x1000ULL));
}

/* One attempt. Returns -1 when an entry changed under us. */
static inline int hw_walk_once(struct hw_cpu *c, uint64_t addr, unsigned int acc,
			       struct hw_tlb_entry *out)
{
	uint64_t *table = (uint64_t *)(uintptr_t)c->root;
	bool ept = c->kind == HW_EPT, w = true, x = true, u = true;
	uint64_t a_bit = ept ? 1ULL << 8 : 1ULL << 5, d_bit = ept ? 1ULL << 9 : 1ULL << 6;
	int level;

	c->walks++;
	for (level = c->level;; level--) {
		unsigned int idx = (addr >> (12 + 9 * (level - 1))) & 511;
		uint64_t *p, e;
		bool leaf, pdpte = c->kind == HW_X86_PAE && level == 3;

		if (pdpte)
			idx &= 3;
		p = &table[idx];
		e = hw_load(p);
		if (ept ? !(e & 7) : !(e & 1))
			return (int)hw_violate(c, level, e, acc, false);
		leaf = level == 1 || ((e & 0x80) && level <= 3 && !pdpte);
		if (ept ? hw_ept_misconfigured(e, level, leaf)
			: hw_x86_reserved(e, level, leaf, c->kind)) {
			c->fault_level = level;
			c->fault_entry = e;
			return HW_MISCONFIG;
		}
		if (!pdpte) {
			w = w && (e & 2);
			x = x && (ept ? (e & 4) != 0 : !(e >> 63));
			u = u && (ept || (e & 4));
		}
		if (!leaf) {
			if (c->ad && !pdpte && !hw_set_bits(p, &e, a_bit))
				return -1;
			table = (uint64_t *)(uintptr_t)(e & 0x000ffffffffff000ULL);
			continue;
		}
		if (((acc & HW_WRITE) && !w) || ((acc & HW_EXEC) && !x) ||
		    ((c->kind == HW_NPT || (acc & HW_USER)) && !u))
			return (int)hw_violate(c, level, e, acc, true);
		if ((c->kind == HW_X86_LONG || c->kind == HW_X86_PAE) && !(acc & HW_USER) && u &&
		    (((acc & HW_EXEC) && c->smep) || (!(acc & HW_EXEC) && c->smap)))
			return (int)hw_violate(c, level, e, acc, true);
		if (c->ad) {
			bool was_dirty = e & d_bit;

			if (!hw_set_bits(p, &e, a_bit | ((acc & HW_WRITE) ? d_bit : 0)))
				return -1;
			if ((acc & HW_WRITE) && !was_dirty && c->pml) {
				if (c->pml_count < HW_PML_SIZE)
					c->pml[c->pml_count] = addr & ~0xfffULL;
				c->pml_count++;
			}
		}
		out->page = (addr >> 12) + 1;
		out->frame = ((e & 0x000ffffffffff000ULL) >> 12 &
			      ~((1ULL << (9 * (level - 1))) - 1)) +
			     ((addr >> 12) & ((1ULL << (9 * (level - 1))) - 1));
		out->w = w;
		out->x = x;
		out->u = u;
		out->d = !c->ad || (e & d_bit);
		return HW_OK;
	}
}

/* Translate addr for acc; *hva out. */
static inline enum hw_result hw_access(struct hw_cpu *c, uint64_t addr, unsigned int acc,
				       uint64_t *hva)
{
	struct hw_tlb_entry *t = &c->tlb[(addr >> 12) % HW_TLB_SIZE], e;
	int r;

	if (c->use_tlb && t->page == (addr >> 12) + 1 && (!(acc & HW_WRITE) || (t->w && t->d)) &&
	    (!(acc & HW_EXEC) || t->x) && (!(acc & HW_USER) || t->u)) {
		*hva = (t->frame << 12) | (addr & 0xfff);
		return HW_OK;
	}
	do {
		r = hw_walk_once(c, addr, acc, &e);
	} while (r < 0);
	if (r != HW_OK) {
		t->page = 0; /* a fault drops the entry for its address, as silicon does */
		return (enum hw_result)r;
	}
	if (c->use_tlb)
		*t = e;
	*hva = (e.frame << 12) | (addr & 0xfff);
	return HW_OK;
}

#endif
