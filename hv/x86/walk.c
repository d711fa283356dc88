/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest page-table walks. See walk.h.
 *
 * Accessed and dirty bits are written after the rights are known to suffice, root first, each by
 * compare-and-swap; when an entry changed in between, the walk starts again.
 */
#include <errno.h>
#include "hv/x86/internal.h"

/* A walk that loses this often is reported as not-present once: the guest's own race. */
#define WALK_MAX_RESTARTS 64

enum walk_kind { WALK_NONE, WALK_32, WALK_PAE, WALK_4, WALK_5 };

static enum walk_kind walk_kind(const struct x86_walk_params *p)
{
	if (!(p->cr0 & X86_CR0_PG))
		return WALK_NONE;
	if (!(p->cr4 & X86_CR4_PAE))
		return WALK_32;
	if (!(p->efer & X86_EFER_LMA))
		return WALK_PAE;
	return p->cr4 & X86_CR4_LA57 ? WALK_5 : WALK_4;
}

static uint64_t bits(unsigned int hi, unsigned int lo)
{
	return hi < lo ? 0 : (UINT64_MAX >> (63 - hi)) & (UINT64_MAX << lo);
}

static uint64_t reserved_32(const struct x86_walk_params *p, unsigned int level, bool leaf)
{
	unsigned int phys = p->maxphyaddr > 40 ? 40 : p->maxphyaddr;

	if (level != 2 || !leaf)
		return 0;
	/* PSE-36: bits 13..20 are address bits 32..39. */
	return bits(21, 13 + (phys > 32 ? phys - 32 : 0));
}

uint64_t x86_walk_reserved(const struct x86_walk_params *p, unsigned int level, bool leaf)
{
	enum walk_kind kind = walk_kind(p);
	uint64_t r;

	if (kind == WALK_NONE)
		return 0;
	if (kind == WALK_32)
		return reserved_32(p, level, leaf);
	r = bits(51, p->maxphyaddr);
	if (!(p->efer & X86_EFER_NXE))
		r |= X86_PTE_NX;
	if (kind == WALK_PAE)
		r |= bits(62, 52);
	if (level >= 4 || (level == 3 && !p->gbpages))
		r |= X86_PTE_PS;
	if (leaf && level == 2)
		r |= bits(20, 13);
	if (leaf && level == 3)
		r |= bits(29, 13);
	return r;
}

static uint32_t access_error_bits(const struct x86_walk_params *p, uint32_t access)
{
	uint32_t e = 0;

	if (access & X86_ACC_WRITE)
		e |= X86_PF_W;
	if (access & X86_ACC_USER)
		e |= X86_PF_U;
	if ((access & X86_ACC_EXEC) &&
	    ((p->cr4 & X86_CR4_SMEP) || ((p->cr4 & X86_CR4_PAE) && (p->efer & X86_EFER_NXE))))
		e |= X86_PF_I;
	return e;
}

/* Protection keys: whether the key forbids this data access. */
static bool key_denies(const struct x86_walk_params *p, uint32_t page, unsigned int pkey,
		       uint32_t access)
{
	uint32_t rights;
	bool user_page = page & X86_ACC_USER;

	if ((access & X86_ACC_EXEC) || !(p->efer & X86_EFER_LMA))
		return false;
	if (user_page ? !(p->cr4 & X86_CR4_PKE) : !(p->cr4 & X86_CR4_PKS))
		return false;
	rights = (user_page ? p->pkru : p->pkrs) >> (2 * pkey) & 3;
	if (rights & 1)
		return true;
	return (rights & 2) && (access & X86_ACC_WRITE) &&
	       ((access & X86_ACC_USER) || (p->cr0 & X86_CR0_WP));
}

uint32_t x86_walk_check(const struct x86_walk_params *p, uint32_t page, unsigned int pkey,
			uint32_t access)
{
	bool user_page = page & X86_ACC_USER;
	bool bad = false, key;

	if (access & X86_ACC_USER) {
		bad = !user_page || ((access & X86_ACC_WRITE) && !(page & X86_ACC_WRITE));
	} else {
		if ((access & X86_ACC_WRITE) && !(page & X86_ACC_WRITE) && (p->cr0 & X86_CR0_WP))
			bad = true;
		if (user_page && (access & X86_ACC_EXEC) && (p->cr4 & X86_CR4_SMEP))
			bad = true;
		if (user_page && !(access & X86_ACC_EXEC) && (p->cr4 & X86_CR4_SMAP) && !p->smap_ac)
			bad = true;
	}
	if ((access & X86_ACC_EXEC) && !(page & X86_ACC_EXEC))
		bad = true;
	key = key_denies(p, page, pkey, access);
	if (!bad && !key)
		return 0;
	return X86_PF_P | access_error_bits(p, access) | (key ? X86_PF_PK : 0);
}

struct walk {
	const struct x86_walk_params *p;
	struct x86_walk_result *out;
	uint64_t linear;
	uint32_t access;
	unsigned int entry_size;	/* 4 or 8 */
	unsigned int index_bits;	/* 10 or 9 */
	uint32_t combined;
};

static int walk_fault(struct walk *w, unsigned int level, uint32_t error)
{
	w->out->fault_level = (uint8_t)level;
	w->out->error_code = error | access_error_bits(w->p, w->access);
	return X86_FAULT;
}

static uint64_t entry_gpa(const struct walk *w, unsigned int level, uint64_t table)
{
	unsigned int shift = 12 + (level - 1) * w->index_bits;

	return table + ((w->linear >> shift) & ((1u << w->index_bits) - 1)) * w->entry_size;
}

static bool is_leaf(const struct walk *w, unsigned int level, uint64_t pte)
{
	if (level == 1)
		return true;
	if (!(pte & X86_PTE_PS) || level > 3)
		return false;
	return w->entry_size == 8 || (w->p->cr4 & X86_CR4_PSE);
}

static void combine(struct walk *w, uint64_t pte)
{
	if (!(pte & X86_PTE_W))
		w->combined &= ~X86_ACC_WRITE;
	if (!(pte & X86_PTE_U))
		w->combined &= ~X86_ACC_USER;
	if (w->entry_size == 8 && (pte & X86_PTE_NX) && (w->p->efer & X86_EFER_NXE))
		w->combined &= ~X86_ACC_EXEC;
}

static void finish(struct walk *w, unsigned int level, uint64_t pte)
{
	struct x86_walk_result *out = w->out;
	unsigned int shift = 12 + (level - 1) * w->index_bits;
	uint64_t size = 1ull << shift;
	uint64_t frame;

	if (w->entry_size == 4 && level == 2)
		frame = (pte & 0xffc00000) | (pte >> 13 & 0xff) << 32;
	else
		frame = pte & bits(51, 12) & ~(size - 1);
	out->gpa = frame | (w->linear & (size - 1));
	out->page_size = size;
	out->level = (uint8_t)level;
	out->access = (uint8_t)w->combined;
	out->global = (pte & X86_PTE_G) && (w->p->cr4 & X86_CR4_PGE);
	out->pkey = w->entry_size == 8 && (w->p->efer & X86_EFER_LMA) ? pte >> 59 & 15 : 0;
	out->dirty = pte & X86_PTE_D;
}

/* OK, FAULT, EXIT..., or -EAGAIN: an entry changed under us. */
static int set_accessed_dirty(struct walk *w)
{
	const struct x86_walk_ops *ops = w->p->ops;
	unsigned int i;

	if (!ops->cmpxchg_pte)
		return X86_OK;
	for (i = 0; i < w->out->nr_levels; i++) {
		struct x86_walk_level *l = &w->out->levels[i];
		uint64_t want = l->pte | X86_PTE_A;
		bool swapped = false;
		int ret;

		if (i + 1u == w->out->nr_levels && (w->access & X86_ACC_WRITE))
			want |= X86_PTE_D;
		if (want == l->pte)
			continue;
		ret = ops->cmpxchg_pte(w->p->ctx, l->pte_gpa, w->entry_size, l->pte, want, &swapped);
		if (ret != X86_OK)
			return ret;
		if (!swapped)
			return -EAGAIN;
		l->pte = want;
		if (want & X86_PTE_D && i + 1u == w->out->nr_levels)
			w->out->dirty = true;
	}
	return X86_OK;
}

static int walk_levels(struct walk *w, unsigned int level, uint64_t table)
{
	struct x86_walk_result *out = w->out;
	uint64_t pte = 0;
	uint32_t err;
	int ret;

	for (;; level--) {
		struct x86_walk_level *l = &out->levels[out->nr_levels++];

		l->table_gpa = table & X86_PAGE_MASK;
		l->pte_gpa = entry_gpa(w, level, table);
		l->level = (uint8_t)level;
		l->pte = 0;
		l->access = 0;
		ret = w->p->ops->read_pte(w->p->ctx, l->pte_gpa, w->entry_size, &pte);
		if (ret != X86_OK)
			return ret;
		l->pte = pte;
		if (!(pte & X86_PTE_P))
			return walk_fault(w, level, 0);
		if (pte & x86_walk_reserved(w->p, level, is_leaf(w, level, pte)))
			return walk_fault(w, level, X86_PF_P | X86_PF_RSVD);
		combine(w, pte);
		l->access = (uint8_t)w->combined;
		if (is_leaf(w, level, pte))
			break;
		table = pte & (w->entry_size == 4 ? 0xfffff000 : bits(51, 12));
	}
	finish(w, level, pte);
	err = x86_walk_check(w->p, out->access, out->pkey, w->access);
	if (err) {
		out->fault_level = 0;
		out->error_code = err;
		return X86_FAULT;
	}
	return set_accessed_dirty(w);
}

static int walk_once(struct walk *w)
{
	const struct x86_walk_params *p = w->p;

	w->combined = X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC | X86_ACC_USER;
	w->out->nr_levels = 0;
	w->out->fault_level = 0;
	w->out->error_code = 0;
	w->entry_size = 8;
	w->index_bits = 9;
	switch (walk_kind(p)) {
	case WALK_NONE:
		*w->out = (struct x86_walk_result){
			.gpa = w->linear, .page_size = 1ull << 30, .access = (uint8_t)w->combined, .dirty = true,
		};
		return X86_OK;
	case WALK_32:
		w->entry_size = 4;
		w->index_bits = 10;
		return walk_levels(w, 2, p->cr3 & 0xfffff000);
	case WALK_PAE: {
		uint64_t pdpte = p->pdptr[w->linear >> 30 & 3];

		if (!(pdpte & X86_PTE_P))
			return walk_fault(w, 3, 0);
		return walk_levels(w, 2, pdpte & bits(51, 12));
	}
	case WALK_4:
		return walk_levels(w, 4, p->cr3 & bits(51, 12));
	default:
		return walk_levels(w, 5, p->cr3 & bits(51, 12));
	}
}

int x86_walk_params(const struct x86_walk_params *params, uint64_t linear, uint32_t access,
		    struct x86_walk_result *out)
{
	struct walk w = { .p = params, .out = out, .linear = linear, .access = access };
	int ret, tries = 0;

	do
		ret = walk_once(&w);
	while (ret == -EAGAIN && ++tries < WALK_MAX_RESTARTS);
	return ret == -EAGAIN ? walk_fault(&w, 1, 0) : ret;
}
