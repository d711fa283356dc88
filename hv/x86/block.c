/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The block cache of one logical processor. See block.h for how changes of code are noticed.
 *
 * Memory is one arena that is filled from the front; when it is full everything is forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "hv/x86/exec.h"
#include "hv/x86/tlb_internal.h"

#define BLOCK_BITS	17	/* more than blocks fit the arena: chains of one */
#define BLOCK_BUCKETS	(1u << BLOCK_BITS)
#define PAGE_BUCKETS	(1u << 12)
#define HUGE		(2ul << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25	/* Linux 6.1 */
#endif
#define FETCHED		64u
#define ENDS		256u
#define BLOCK_MAX_BYTES	(sizeof(struct x86_block) + (X86_BLOCK_MAX_INSNS + 1) * sizeof(struct x86_insn) + \
			 X86_BLOCK_MAX_INSNS * 15 + 64)

struct x86_codepage {
	const uint8_t *host;
	struct x86_codepage *next;
	struct x86_block *blocks;
	uint64_t lines;		/* 64-byte lines that blocks touch */
};

/* An instruction whose bytes are not all in one RAM page. */
struct fetched {
	uint32_t mode;
	uint8_t len;		/* 0: empty */
	uint8_t bytes[15];
	struct x86_block *block;
};

struct x86_bcache {
	struct x86_jump jumps[X86_JUMPS]; /* first: x86_jump_slot() knows no more of us */
	uint8_t *arena, *at, *end;
	void *map;
	size_t map_size;
	bool grown;		/* the arena has left the head */
	struct x86_codepage *free_pages;
	struct x86_block *buckets[BLOCK_BUCKETS];
	struct x86_codepage *pages[PAGE_BUCKETS];
	struct fetched fetched[FETCHED];
	const uint8_t *ends[ENDS];	/* instructions that end their block, see x86_block_split() */
};
#define TABLE_BYTES	((sizeof(struct x86_bcache) + 63) & ~63ul)
#define HEAD		(2 * HUGE)
_Static_assert(sizeof(struct x86_bcache) < HEAD, "the head has some room for code behind the tables");

/*
 * Tables and arena are one mapping, aligned to a huge page. What lies beyond its head comes in
 * huge pages, and the head becomes such when the arena has grown beyond it: code that runs all
 * over the arena waits for the host's TLB else, and small guests cost no more than they use.
 */
int x86_bcache_create(struct x86_cpu *cpu, size_t code_bytes)
{
	struct x86_bcache *bc;
	size_t size = code_bytes < 4 * BLOCK_MAX_BYTES ? 4 * BLOCK_MAX_BYTES : code_bytes;
	size_t map_size = TABLE_BYTES + size + HUGE;
	void *map = mmap(NULL, map_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	bc = (void *)(((uintptr_t)map + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	bc->map = map;
	bc->map_size = map_size;
	bc->arena = (uint8_t *)bc + TABLE_BYTES;
	bc->at = bc->arena;
	bc->end = bc->arena + size;
	/* Without huge pages all is slower, and right. */
	if (bc->end > (uint8_t *)bc + HEAD)
		madvise((uint8_t *)bc + HEAD, (size_t)(bc->end - (uint8_t *)bc) - HEAD, MADV_HUGEPAGE);
	cpu->bcache = bc;
	return 0;
}

void x86_bcache_destroy(struct x86_cpu *cpu)
{
	if (!cpu->bcache)
		return;
	munmap(cpu->bcache->map, cpu->bcache->map_size);
	cpu->bcache = NULL;
}

static void head_huge(struct x86_bcache *bc)
{
	bc->grown = true;
	madvise(bc, HEAD, MADV_HUGEPAGE);
	madvise(bc, HEAD, MADV_COLLAPSE);
}

void x86_bcache_flush(struct x86_cpu *cpu)
{
	struct x86_bcache *bc = cpu->bcache;

	cpu->cur_block = NULL;
	if (bc->at == bc->arena)
		return;	/* tables name only what the arena holds: they stay memory never touched */
	bc->at = bc->arena;
	bc->free_pages = NULL;
	memset(bc->buckets, 0, sizeof(bc->buckets));
	memset(bc->pages, 0, sizeof(bc->pages));
	memset(bc->jumps, 0, sizeof(bc->jumps));
	memset(bc->fetched, 0, sizeof(bc->fetched));
}

static void *arena_take(struct x86_bcache *bc, size_t size)
{
	void *p = bc->at;

	bc->at += (size + 63) & ~63ul;
	if (bc->at > (uint8_t *)bc + HEAD && !bc->grown)
		head_huge(bc);
	return p;
}

static bool arena_low(const struct x86_bcache *bc)
{
	return (size_t)(bc->end - bc->at) < 2 * BLOCK_MAX_BYTES + sizeof(struct x86_codepage) + 64;
}

/* ---- pages with code ------------------------------------------------------------------------ */

static unsigned int page_hash(const uint8_t *host)
{
	uintptr_t p = (uintptr_t)host >> 12;

	return (unsigned int)(p ^ p >> 12) & (PAGE_BUCKETS - 1);
}

static struct x86_codepage *page_find(struct x86_bcache *bc, const uint8_t *host)
{
	struct x86_codepage *p;

	for (p = bc->pages[page_hash(host)]; p; p = p->next)
		if (p->host == host)
			return p;
	return NULL;
}

static struct x86_codepage *page_get(struct x86_cpu *cpu, const uint8_t *host)
{
	struct x86_bcache *bc = cpu->bcache;
	struct x86_codepage *p = page_find(bc, host);
	unsigned int h = page_hash(host);

	if (p)
		return p;
	p = bc->free_pages;
	if (p)
		bc->free_pages = p->next;
	else
		p = arena_take(bc, sizeof(*p));
	*p = (struct x86_codepage){ .host = host, .next = bc->pages[h] };
	bc->pages[h] = p;
	x86_tlb_protect_code(cpu, host);
	return p;
}

static void page_put(struct x86_bcache *bc, struct x86_codepage *page)
{
	struct x86_codepage **at = &bc->pages[page_hash(page->host)];

	while (*at != page)
		at = &(*at)->next;
	*at = page->next;
	page->next = bc->free_pages;
	bc->free_pages = page;
}

bool x86_block_page_has_code(struct x86_cpu *cpu, const uint8_t *host_page)
{
	return page_find(cpu->bcache, host_page) != NULL;
}

static uint64_t line_mask(unsigned int offset, unsigned int size)
{
	unsigned int first = offset >> 6, last = (offset + size - 1) >> 6;

	return (UINT64_MAX >> (63 - (last & 63))) & (UINT64_MAX << first);
}

static uint64_t block_lines(const struct x86_block *b)
{
	return line_mask((unsigned int)((uintptr_t)b->host & 0xfff), b->nbytes);
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* Neighbours in a page are neighbours in the table, so that they share its cache lines. */
static unsigned int block_hash(const uint8_t *host, uint32_t mode)
{
	uint64_t page = (uintptr_t)host >> 12 ^ (uint64_t)mode << 52;
	unsigned int at = (unsigned int)(page * 0x9e3779b97f4a7c15u >> (64 - BLOCK_BITS));

	return (at + ((unsigned int)((uintptr_t)host & 0xfff) >> 3)) & (BLOCK_BUCKETS - 1);
}

/* The running block ends after the present instruction. */
static void cut_running(struct x86_cpu *cpu, struct x86_block *b)
{
	unsigned int i;

	if (cpu->cur_block != b)
		return;
	for (i = 0; i <= b->ninsns; i++)
		b->insn[i].fn = x86_op_end;
}

static void block_unhash(struct x86_bcache *bc, struct x86_block *b)
{
	struct x86_block **at = &bc->buckets[block_hash(b->host, b->mode)];

	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	b->epoch = 0;
}

static void kill_range(struct x86_cpu *cpu, struct x86_codepage *page, const uint8_t *from,
		       const uint8_t *to)
{
	struct x86_block **at = &page->blocks, *b;
	uint64_t lines = 0;

	while ((b = *at)) {
		if (b->host < to && b->host + b->nbytes > from) {
			*at = b->page_next;
			block_unhash(cpu->bcache, b);
			cut_running(cpu, b);
			continue;
		}
		lines |= block_lines(b);
		at = &b->page_next;
	}
	page->lines = lines;
	if (!page->blocks)
		page_put(cpu->bcache, page);
}

static const uint8_t **end_slot(struct x86_bcache *bc, const uint8_t *host)
{
	return &bc->ends[((uintptr_t)host ^ (uintptr_t)host >> 12) % ENDS];
}

void x86_block_split(struct x86_cpu *cpu)
{
	struct x86_block *b = cpu->cur_block;
	const uint8_t *host;

	if (!b || !cpu->cur || !b->page || cpu->cur == &b->insn[b->ninsns - 1])
		return;
	host = b->host + cpu->cur->off;
	*end_slot(cpu->bcache, host) = host;
	kill_range(cpu, b->page, b->host, b->host + b->nbytes);
}

void x86_block_store(struct x86_cpu *cpu, const uint8_t *host, unsigned int size)
{
	const uint8_t *base = (const uint8_t *)((uintptr_t)host & X86_PAGE_MASK);
	struct x86_codepage *page = page_find(cpu->bcache, base);

	if (page && (page->lines & line_mask((unsigned int)(host - base), size)))
		kill_range(cpu, page, host, host + size);
}

static uint8_t *block_copy(struct x86_block *b)
{
	return (uint8_t *)&b->insn[b->ninsns + 1];
}

/* 0, or why the first instruction could not be decoded from these bytes alone. */
static int decode_block(struct x86_cpu *cpu, struct x86_block *b, const uint8_t *code,
			unsigned int avail, unsigned int max)
{
	enum x86_code_mode mode = cpu->mode & X86_MODE_CODE;
	unsigned int off = 0, n = 0;
	uint8_t bytes[16];
	bool ends;
	int ret;

	while (n < max && off < avail) {
		struct x86_insn *in = &b->insn[n];
		unsigned int len = avail - off < 15 ? avail - off : 15;

		x86_host_copy(bytes, code + off, len);
		ret = x86_decode_at(bytes, len, mode, off, in);
		if (ret == -EAGAIN || ((ret == -EILSEQ || ret == -E2BIG) && n)) {
			if (!n)
				return ret;
			break;
		}
		if (!in->len)
			in->len = (uint8_t)len; /* all bytes that made it undefined */
		x86_decode_gate(cpu, in);
		if (cpu->mode & X86_MODE_FLAT)
			x86_decode_flat(in);
		memcpy((uint8_t *)b + BLOCK_MAX_BYTES - X86_BLOCK_MAX_INSNS * 15 + off, bytes, in->len);
		ends = in->flags & X86_I_END || *end_slot(cpu->bcache, code + off) == code + off;
		off += in->len;
		n++;
		if (ends)
			break;
	}
	b->insn[n] = (struct x86_insn){ .fn = x86_op_end, .off = (uint16_t)off };
	b->ninsns = (uint16_t)n;
	b->nbytes = (uint16_t)off;
	memmove(block_copy(b), (uint8_t *)b + BLOCK_MAX_BYTES - X86_BLOCK_MAX_INSNS * 15, off);
	return 0;
}

static unsigned int max_insns(const struct x86_cpu *cpu)
{
	return cpu->mode & X86_MODE_ONE ? 1 : X86_BLOCK_MAX_INSNS;
}

static struct x86_block *block_new(struct x86_cpu *cpu, const uint8_t *host)
{
	struct x86_bcache *bc = cpu->bcache;
	struct x86_block *b = (struct x86_block *)bc->at;
	const uint8_t *page = (const uint8_t *)((uintptr_t)host & X86_PAGE_MASK);
	unsigned int h = block_hash(host, cpu->mode);
	struct x86_codepage *cp;

	memset(b, 0, sizeof(*b));
	b->host = host;
	b->mode = cpu->mode;
	b->epoch = cpu->epoch;
	/* Protect the page first: a store of ours after this is noticed. */
	if (decode_block(cpu, b, host, (unsigned int)(page + 4096 - host), max_insns(cpu)))
		return NULL;
	arena_take(bc, (size_t)(block_copy(b) + b->nbytes - (uint8_t *)b));
	cp = page_get(cpu, page);
	b->page = cp;
	b->page_next = cp->blocks;
	cp->blocks = b;
	cp->lines |= block_lines(b);
	b->hash_next = bc->buckets[h];
	bc->buckets[h] = b;
	return b;
}

/* ---- instructions that cross a page or are not in RAM --------------------------------------- */

static uint64_t code_linear(const struct x86_cpu *cpu)
{
	return cpu->code_size == 8 ? cpu->rip : (uint32_t)(cpu->seg[X86_CS].base + cpu->rip);
}

static void copy_code(struct x86_cpu *cpu, uint64_t lin, unsigned int n, uint8_t *to)
{
	struct x86_xlat x;

	x86_translate(cpu, lin, n, X86_ACC_EXEC, cpu->tlb_mode, &x);
	if (x.host)
		x86_host_copy(to, x.host, n);
	else
		for (; n; n--, x.gpa++)
			x86_check(cpu, cpu->ops->phys_read(cpu, x.gpa, to++, 1));
}

static struct x86_block *fetched_get(struct x86_cpu *cpu, uint64_t lin)
{
	struct x86_bcache *bc = cpu->bcache;
	struct fetched *f = &bc->fetched[(lin ^ lin >> 12) % FETCHED];
	unsigned int first = (unsigned int)(4096 - (lin & 0xfff)), n = first < 15 ? first : 15;
	uint8_t bytes[16] = { 0 };
	struct x86_block *b;
	struct x86_insn probe;

	copy_code(cpu, lin, n, bytes);
	/* The second page is touched only if the instruction reaches into it. */
	if (x86_decode(bytes, n, cpu->mode & X86_MODE_CODE, &probe) == -EAGAIN && n < 15) {
		copy_code(cpu, cpu->code_size == 8 ? lin + n : (uint32_t)(lin + n), 15 - n, bytes + n);
		n = 15;
	}
	if (f->len == n && f->mode == cpu->mode && !memcmp(f->bytes, bytes, n))
		return f->block;
	f->len = 0;
	if (!f->block)
		f->block = arena_take(bc, BLOCK_MAX_BYTES);
	b = f->block;
	memset(b, 0, sizeof(*b));
	b->crosses = true;
	b->mode = cpu->mode;
	if (decode_block(cpu, b, bytes, n, 1))
		x86_gp(cpu, 0); /* 15 bytes and still incomplete */
	memcpy(f->bytes, bytes, n);
	f->len = (uint8_t)n;
	f->mode = cpu->mode;
	return b;
}

/* ---- lookup --------------------------------------------------------------------------------- */

static void check_fetch(struct x86_cpu *cpu)
{
	if (cpu->code_size == 8 ? x86_noncanonical(cpu, cpu->rip) :
				  cpu->rip > cpu->seg[X86_CS].limit)
		x86_gp(cpu, 0);
}

/* Blocks that reach beyond CS's limit are taken one instruction at a time. */
static bool beyond_limit(const struct x86_cpu *cpu, const struct x86_block *b)
{
	return cpu->code_size != 8 && cpu->rip + b->nbytes - 1 > cpu->seg[X86_CS].limit;
}

/* The jump cache's block of an older context: likely the same, and in the cache already. */
static struct x86_block *block_guess(const struct x86_cpu *cpu, uint64_t lin, const uint8_t *host)
{
	const struct x86_jump *j = x86_jump_slot(cpu, lin);
	struct x86_block *b = j->ctx && j->linear == lin ? j->block : NULL;

	return b && b->epoch && b->host == host && b->mode == cpu->mode ? b : NULL;
}

static struct x86_block *block_lookup(struct x86_cpu *cpu, uint64_t lin, const uint8_t *host)
{
	struct x86_block *b = block_guess(cpu, lin, host);

	for (b = b ? b : cpu->bcache->buckets[block_hash(host, cpu->mode)]; b; b = b->hash_next)
		if (b->host == host && b->mode == cpu->mode)
			break;
	if (!b || b->epoch == cpu->epoch)
		return b;
	if (x86_host_equal(host, block_copy(b), b->nbytes)) {
		b->epoch = cpu->epoch;
		return b;
	}
	kill_range(cpu, b->page, b->host, b->host + b->nbytes);
	return NULL;
}

static struct x86_block *find(struct x86_cpu *cpu, uint64_t lin)
{
	struct x86_block *b;
	struct x86_xlat x;

	cpu->cur = NULL;
	cpu->insn_rip = cpu->rip;
	cpu->insn_len = 0;
	check_fetch(cpu);
	if (arena_low(cpu->bcache))
		x86_bcache_flush(cpu);
	x86_translate(cpu, lin, 1, X86_ACC_EXEC, cpu->tlb_mode, &x);
	if (!x.host)
		return fetched_get(cpu, lin);
	b = block_lookup(cpu, lin, x.host);
	if (!b)
		b = block_new(cpu, x.host);
	return b ? b : fetched_get(cpu, lin);
}

static bool cs_is_flat(const struct x86_cpu *cpu)
{
	return cpu->code_size == 8 ||
	       (!cpu->seg[X86_CS].base && cpu->seg[X86_CS].limit == UINT32_MAX);
}

static struct x86_block *find_limited(struct x86_cpu *cpu, uint64_t lin)
{
	struct x86_block *b = find(cpu, lin);
	uint32_t mode = cpu->mode;

	if (!beyond_limit(cpu, b))
		return b;
	cpu->mode |= X86_MODE_ONE;
	b = find(cpu, lin);
	cpu->mode = mode;
	if (beyond_limit(cpu, b))
		x86_gp(cpu, 0);
	return b;
}

/*
 * The jump cache's block when the present translation leads to its place in memory: behind a
 * change of address space, or of none but the code's bytes. It must have been found in the same
 * kind of code at the same CPL. What the translation is good for is asked of the TLB's main array
 * alone; find() does all the rest.
 */
static bool jump_holds(const struct x86_cpu *cpu, const struct x86_jump *j, uint64_t lin)
{
	const struct x86_tlb_entry *e = &cpu->tlb[x86_tlb_index(lin)];

	if (j->linear != lin || !j->ctx || !j->block->epoch || (cpu->mode & X86_MODE_ONE))
		return false;
	if (j->ctx == cpu->jump_ctx)
		return cs_is_flat(cpu);
	return ((j->ctx ^ cpu->jump_ctx) & X86_JUMP_KIND) == 0 && cs_is_flat(cpu) &&
	       e->tag_x == (lin & X86_PAGE_MASK) &&
	       (const uint8_t *)(uintptr_t)(lin + e->addend) == j->block->host;
}

struct x86_block *x86_block_find(struct x86_cpu *cpu)
{
	uint64_t lin = code_linear(cpu);
	struct x86_jump *j = x86_jump_slot(cpu, lin);
	struct x86_block *b;

	if (jump_holds(cpu, j, lin) &&
	    x86_host_equal(j->block->host, block_copy(j->block), j->block->nbytes)) {
		b = j->block;
		b->epoch = cpu->epoch;
		if (j->ctx == cpu->jump_ctx)
			return b;
	} else {
		b = find_limited(cpu, lin);
	}
	if (!b->crosses && !(cpu->mode & X86_MODE_ONE) && cs_is_flat(cpu)) {
		if (cpu->cpl < 3)
			x86_tlb_code_entered(cpu, lin);
		j->linear = lin;
		j->ctx = cpu->jump_ctx;
		j->block = b;
	}
	return b;
}

void x86_op_end(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->rip += insn->off;
	if (cpu->code_size != 8)
		cpu->rip = (uint32_t)cpu->rip;
}

unsigned int x86_fetch_bytes(struct x86_cpu *cpu, uint8_t *buf, unsigned int size)
{
	uint64_t lin = code_linear(cpu);
	unsigned int got = 0, n;
	struct x86_xlat x;

	size = size > 15 ? 15 : size;
	while (got < size) {
		n = (unsigned int)(4096 - (lin & 0xfff));
		n = n < size - got ? n : size - got;
		if (x86_try_translate(cpu, lin, n, X86_ACC_EXEC, cpu->tlb_mode, &x) != X86_OK || !x.host)
			break;
		x86_host_copy(buf + got, x.host, n);
		got += n;
		lin += n;
	}
	return got;
}
