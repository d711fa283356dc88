/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The software TLB: sets per address-space tag, insertion, flushes. See tlb.h.
 */
#include <errno.h>
#include <stdlib.h>
#include "hv/x86/tlb_internal.h"

static const struct x86_tlb_entry tlb_empty = { X86_TLB_NONE, X86_TLB_NONE, X86_TLB_NONE, 0 };

/* The array used when every access must take the slow path (#AC, data breakpoints). */
const struct x86_tlb_entry x86_tlb_nothing[X86_TLB_SIZE] = {
	[0 ... X86_TLB_SIZE - 1] = { X86_TLB_NONE, X86_TLB_NONE, X86_TLB_NONE, 0 },
};

/* Fetch translations may have gone; those with a bit of `keep` in their meta have not. */
static void set_renew(struct x86_cpu *cpu, struct x86_tlb_set *set, uint8_t keep)
{
	set->gen = ++cpu->gen_clock;
	if (!(keep & TLB_GLOBAL) || set->super_local) {
		set->super_gen = ++cpu->gen_clock;
		set->super_local = false;
		if (!(keep & TLB_GLOBAL))
			memset(set->evicted, 0, sizeof(set->evicted));
	}
	if (set == cpu->tlb_set)
		x86_update_mode(cpu);
}

void x86_tlb_code_entered(struct x86_cpu *cpu, uint64_t linear)
{
	struct x86_tlb_set *set = cpu->tlb_set;
	unsigned int mode = cpu->tlb_mode, i = x86_tlb_index(linear);

	if (set->e[mode][i].tag_x != (linear & X86_PAGE_MASK) || !(set->meta[mode][i] & TLB_GLOBAL))
		set->super_local = true;
}

/*
 * A fetch translation makes room, but the jump cache may still use what it was good for: an
 * INVLPG has to know.
 */
static unsigned int evicted_bit(uint64_t page)
{
	return (unsigned int)(page >> 12 ^ page >> 22 ^ page >> 32) % TLB_EVICTED;
}

static void note_evicted(struct x86_tlb_set *set, const struct x86_tlb_entry *e)
{
	unsigned int bit = evicted_bit(e->tag_x);

	if (e->tag_x != X86_TLB_NONE)
		set->evicted[bit / 64] |= 1ull << (bit % 64);
}

static bool was_evicted(const struct x86_tlb_set *set, uint64_t page, bool large)
{
	unsigned int bit = evicted_bit(page), i;
	uint64_t any = 0;

	if (set->evicted[bit / 64] >> (bit % 64) & 1)
		return true;
	for (i = 0; large && i < TLB_EVICTED / 64; i++)
		any |= set->evicted[i];
	return any;
}

static struct x86_tlb_set *set_alloc(struct x86_cpu *cpu)
{
	struct x86_tlb_set *set = aligned_alloc(64, (sizeof(*set) + 63) & ~63ul);
	unsigned int m, i;

	if (!set)
		return NULL;
	memset(set, 0, sizeof(*set));
	for (m = 0; m < X86_TLB_MODES; m++)
		for (i = 0; i < TLB_SLOTS; i++)
			set->e[m][i] = tlb_empty;
	set->tag = UINT64_MAX;
	set->gen = ++cpu->gen_clock;
	set->super_gen = ++cpu->gen_clock;
	return set;
}

int x86_tlb_create(struct x86_cpu *cpu, unsigned int nr_sets)
{
	unsigned int i;

	cpu->pcache = malloc(sizeof(*cpu->pcache));
	cpu->tlb_set = cpu->tlb_sets[0] = set_alloc(cpu);
	if (!cpu->pcache || !cpu->tlb_set)
		return -ENOMEM;
	for (i = 0; i < PCACHE_SIZE; i++)
		cpu->pcache->e[i].gpa = X86_TLB_NONE;
	cpu->nr_tlb_sets = nr_sets;
	cpu->tlb_set->tag = 0;
	return 0;
}

void x86_tlb_destroy(struct x86_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < X86_TLB_SETS; i++)
		free(cpu->tlb_sets[i]);
	free(cpu->pcache);
}

/* ---- flushes ------------------------------------------------------------------------------ */

/* Keep those entries for which (meta & keep) is not 0; keep 0 flushes all. */
static void set_flush(struct x86_cpu *cpu, struct x86_tlb_set *set, uint8_t keep)
{
	uint32_t i, n = 0;

	for (i = 0; i < set->nlog; i++) {
		unsigned int at = set->log[i];
		uint8_t *meta = &set->meta[0][0] + at;

		if (*meta & keep) {
			set->log[n++] = (uint16_t)at;
			continue;
		}
		(&set->e[0][0])[at] = tlb_empty;
		*meta = 0;
	}
	set->nlog = n;
	if (!n) {
		memset(set->victims, 0, sizeof(set->victims));
		memset(set->large_2m, 0, sizeof(set->large_2m));
		set->large_1g = 0;
	}
	set_renew(cpu, set, keep);
}

static void pcache_flush(struct x86_cpu *cpu, const uint64_t *space)
{
	unsigned int i;

	for (i = 0; i < PCACHE_SIZE; i++)
		if (!space || cpu->pcache->e[i].space == *space)
			cpu->pcache->e[i].gpa = X86_TLB_NONE;
}

void x86_tlb_flush_all(struct x86_cpu *cpu)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_tlb_sets; i++)
		if (cpu->tlb_sets[i])
			set_flush(cpu, cpu->tlb_sets[i], 0);
	pcache_flush(cpu, NULL);
	x86_serialise(cpu);
}

static void flush_space_keep(struct x86_cpu *cpu, uint64_t space, uint8_t keep)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_tlb_sets; i++)
		if (cpu->tlb_sets[i] && cpu->tlb_sets[i]->tag >> 12 == space)
			set_flush(cpu, cpu->tlb_sets[i], keep);
	x86_serialise(cpu);
}

void x86_tlb_flush_space(struct x86_cpu *cpu, uint64_t space)
{
	flush_space_keep(cpu, space, 0);
	pcache_flush(cpu, &space);
}

void x86_tlb_flush_space_nonglobal(struct x86_cpu *cpu, uint64_t space)
{
	flush_space_keep(cpu, space, TLB_GLOBAL);
}

void x86_tlb_flush_pcid(struct x86_cpu *cpu, uint64_t space, unsigned int pcid)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_tlb_sets; i++)
		if (cpu->tlb_sets[i] && cpu->tlb_sets[i]->tag == (space << 12 | pcid))
			set_flush(cpu, cpu->tlb_sets[i], TLB_GLOBAL);
}

static inline uint64_t entry_page(const struct x86_tlb_entry *e)
{
	if (e->tag_r != X86_TLB_NONE)
		return e->tag_r;
	return e->tag_x != X86_TLB_NONE ? e->tag_x : e->tag_w;
}

/*
 * Slots stay in the log; an emptied slot there is harmless. *code: blocks may have been entered
 * through the translation, so the jump cache has to forget them.
 */
static void slot_drop(struct x86_cpu *cpu, struct x86_tlb_set *set, unsigned int at, bool *code)
{
	struct x86_tlb_entry *e = &set->e[0][0] + at;

	if (e->tag_x != X86_TLB_NONE)
		*code |= x86_block_page_has_code(cpu, (const uint8_t *)(e->tag_x + e->addend));
	*e = tlb_empty;
	(&set->meta[0][0])[at] = TLB_LIVE;
}

static void drop_page_small(struct x86_cpu *cpu, struct x86_tlb_set *set, uint64_t page,
			    uint8_t need, bool *code)
{
	unsigned int m, i;

	for (m = 0; m < X86_TLB_MODES; m++) {
		unsigned int at = m * TLB_SLOTS + x86_tlb_index(page);

		if (entry_page(&set->e[0][0] + at) == page && ((&set->meta[0][0])[at] & need) == need)
			slot_drop(cpu, set, at, code);
		for (i = X86_TLB_SIZE; set->victims[m] && i < TLB_SLOTS; i++)
			if (entry_page(&set->e[m][i]) == page && (set->meta[m][i] & need) == need)
				slot_drop(cpu, set, m * TLB_SLOTS + i, code);
	}
}

static unsigned int large_shift(uint8_t meta)
{
	return meta & TLB_1G ? 30 : meta & TLB_4M ? 22 : 21;
}

/* The page may be a fragment of a large one: all its fragments go. */
static void drop_page_large(struct x86_cpu *cpu, struct x86_tlb_set *set, uint64_t page,
			    uint8_t need, bool *code)
{
	uint32_t i;

	for (i = 0; i < set->nlog; i++) {
		unsigned int at = set->log[i];
		uint8_t meta = (&set->meta[0][0])[at];
		unsigned int shift = large_shift(meta);

		if ((meta & TLB_LARGE) && (meta & need) == need &&
		    entry_page(&set->e[0][0] + at) >> shift == page >> shift)
			slot_drop(cpu, set, at, code);
	}
}

static bool maybe_large(const struct x86_tlb_set *set, uint64_t page)
{
	unsigned int b = (unsigned int)(page >> 21) & 511;

	return (set->large_2m[b / 64] >> (b % 64) & 1) || (set->large_1g >> (page >> 30 & 63) & 1);
}

static void set_drop_page(struct x86_cpu *cpu, struct x86_tlb_set *set, uint64_t page, uint8_t need)
{
	bool large = maybe_large(set, page), code = was_evicted(set, page, large);

	drop_page_small(cpu, set, page, need, &code);
	if (large)
		drop_page_large(cpu, set, page, need, &code);
	if (code)
		set_renew(cpu, set, 0);
}

void x86_tlb_flush_page(struct x86_cpu *cpu, uint64_t space, unsigned int pcid, uint64_t linear)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_tlb_sets; i++) {
		struct x86_tlb_set *set = cpu->tlb_sets[i];

		if (set && set->tag >> 12 == space)
			set_drop_page(cpu, set, linear & X86_PAGE_MASK,
				      (set->tag & 0xfff) == pcid ? 0 : TLB_GLOBAL);
	}
	x86_serialise(cpu);
}

void x86_tlb_flush_page_space(struct x86_cpu *cpu, uint64_t space, uint64_t linear)
{
	unsigned int i;

	for (i = 0; i < cpu->nr_tlb_sets; i++)
		if (cpu->tlb_sets[i] && cpu->tlb_sets[i]->tag >> 12 == space)
			set_drop_page(cpu, cpu->tlb_sets[i], linear & X86_PAGE_MASK, 0);
	x86_serialise(cpu);
}

void x86_tlb_request_flush(struct x86_cpu *cpu)
{
	/* Pairs with the acquire load of cpu->pending in x86_run(). */
	x86_pend(cpu, X86_PEND_FLUSH);
}

void x86_tlb_protect_code(struct x86_cpu *cpu, const uint8_t *host_page)
{
	unsigned int i;
	uint32_t k;

	for (i = 0; i < cpu->nr_tlb_sets; i++) {
		struct x86_tlb_set *set = cpu->tlb_sets[i];

		for (k = 0; set && k < set->nlog; k++) {
			struct x86_tlb_entry *e = &set->e[0][0] + set->log[k];

			if (e->tag_w == X86_TLB_NONE ||
			    (const uint8_t *)(e->tag_w + e->addend) != host_page)
				continue;
			e->tag_w = X86_TLB_NONE;
			(&set->meta[0][0])[set->log[k]] |= TLB_WCODE;
		}
	}
}

/* ---- lookup and insertion ------------------------------------------------------------------ */

static inline bool permits(const struct x86_tlb_entry *e, uint64_t page, uint32_t access, uint8_t meta)
{
	if (access & X86_ACC_WRITE)
		return e->tag_w == page || ((meta & TLB_WCODE) && entry_page(e) == page);
	return (access & X86_ACC_EXEC ? e->tag_x : e->tag_r) == page;
}

struct x86_tlb_entry *x86_tlb_find(struct x86_cpu *cpu, unsigned int mode, uint64_t page,
				   uint32_t access, uint8_t *meta)
{
	struct x86_tlb_set *set = cpu->tlb_set;
	unsigned int idx = x86_tlb_index(page), i;
	struct x86_tlb_entry *e = &set->e[mode][idx];

	if (permits(e, page, access, set->meta[mode][idx])) {
		*meta = set->meta[mode][idx];
		return e;
	}
	if (!set->victims[mode])
		return NULL;
	for (i = X86_TLB_SIZE; i < TLB_SLOTS; i++) {
		struct x86_tlb_entry *v = &set->e[mode][i], tmp;
		uint8_t m = set->meta[mode][i];

		if (!permits(v, page, access, m))
			continue;
		if (!(set->meta[mode][idx] & TLB_LIVE))
			set->log[set->nlog++] = (uint16_t)(mode * TLB_SLOTS + idx);
		tmp = *e;
		*e = *v;
		*v = tmp;
		set->meta[mode][i] = set->meta[mode][idx] | TLB_LIVE;
		set->meta[mode][idx] = m;
		*meta = m;
		return e;
	}
	return NULL;
}

static void log_slot(struct x86_tlb_set *set, unsigned int mode, unsigned int slot)
{
	if (set->meta[mode][slot] & TLB_LIVE)
		return;
	set->meta[mode][slot] |= TLB_LIVE;
	set->log[set->nlog++] = (uint16_t)(mode * TLB_SLOTS + slot);
}

static void mark_large(struct x86_tlb_set *set, uint64_t linear, uint8_t meta)
{
	unsigned int b = (unsigned int)(linear >> 21) & 511;

	if (meta & TLB_1G) {
		set->large_1g |= 1ull << (linear >> 30 & 63);
	} else if (meta & TLB_LARGE) {
		set->large_2m[b / 64] |= 1ull << (b % 64);
		if (meta & TLB_4M)
			set->large_2m[(b ^ 1) / 64] |= 1ull << ((b ^ 1) % 64);
	}
}

void x86_tlb_insert(struct x86_cpu *cpu, unsigned int mode, const struct tlb_fill *fill)
{
	struct x86_tlb_set *set = cpu->tlb_set;
	unsigned int idx = x86_tlb_index(fill->linear);
	struct x86_tlb_entry *e = &set->e[mode][idx];
	uint64_t old = entry_page(e);
	unsigned int i;

	if (old != X86_TLB_NONE && old != fill->linear) {
		unsigned int v = X86_TLB_SIZE + set->next_victim[mode]++ % X86_TLB_VICTIMS;

		set->victims[mode] = true;
		log_slot(set, mode, v);
		note_evicted(set, &set->e[mode][v]);
		set->e[mode][v] = *e;
		set->meta[mode][v] = set->meta[mode][idx] | TLB_LIVE;
	} else if (!(fill->perm & X86_ACC_EXEC)) {
		note_evicted(set, e);
	}
	/* A page has one slot: an older, weaker copy among the victims goes. */
	for (i = X86_TLB_SIZE; set->victims[mode] && i < TLB_SLOTS; i++)
		if (entry_page(&set->e[mode][i]) == fill->linear) {
			note_evicted(set, &set->e[mode][i]);
			set->e[mode][i] = tlb_empty;
		}
	log_slot(set, mode, idx);
	e->addend = (uint64_t)(uintptr_t)fill->host - fill->linear;
	e->tag_r = fill->perm & X86_ACC_READ ? fill->linear : X86_TLB_NONE;
	e->tag_w = (fill->perm & X86_ACC_WRITE) && !(fill->meta & TLB_WCODE) ? fill->linear :
									       X86_TLB_NONE;
	e->tag_x = fill->perm & X86_ACC_EXEC ? fill->linear : X86_TLB_NONE;
	set->meta[mode][idx] = fill->meta | TLB_LIVE;
	mark_large(set, fill->linear, fill->meta);
}

/* ---- address spaces ------------------------------------------------------------------------ */

void x86_tlb_select(struct x86_cpu *cpu)
{
	uint64_t tag = cpu->space << 12 | (cpu->cr4 & X86_CR4_PCIDE ? cpu->cr3 & 0xfff : 0);
	struct x86_tlb_set *victim = NULL;
	unsigned int i;

	if (cpu->tlb_set->tag == tag)
		return;
	for (i = 0; i < cpu->nr_tlb_sets; i++) {
		struct x86_tlb_set *set = cpu->tlb_sets[i];

		if (!set)
			set = cpu->tlb_sets[i] = set_alloc(cpu);
		if (!set) /* no memory: make do with those that exist */
			break;
		if (set->tag == tag) {
			victim = set;
			break;
		}
		if (set->tag == UINT64_MAX) {
			victim = set;
			break;
		}
		if (!victim || set->used < victim->used)
			victim = set;
	}
	cpu->tlb_set = victim;
	victim->used = ++cpu->tlb_clock;
	if (victim->tag != tag) {
		victim->tag = tag;
		set_flush(cpu, victim, 0);
	}
	x86_update_mode(cpu);
}

void x86_tlb_set_space(struct x86_cpu *cpu, uint64_t space)
{
	cpu->space = space;
	x86_tlb_select(cpu);
}

uint64_t x86_tlb_misses(const struct x86_cpu *cpu)
{
	return __atomic_load_n(&cpu->tlb_miss_count, __ATOMIC_RELAXED);
}
