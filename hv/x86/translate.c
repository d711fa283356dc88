/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From linear addresses to host memory on a TLB miss: the guest's tables, then the owner's
 * phys_translate, then what of it may be kept.
 */
#include "hv/x86/tlb_internal.h"

struct pte_ctx {
	struct x86_cpu *cpu;
	uint64_t linear;
	uint32_t access;	/* flags for the owner */
};

static uint32_t vectoring_bit(const struct x86_cpu *cpu)
{
	return cpu->vectoring.valid ? X86_ACC_VECTORING : 0;
}

/* Host page of a paging structure: OK, EXIT, MMIO. */
static int pte_page(struct x86_cpu *cpu, const struct pte_ctx *ctx, uint64_t gpa, uint32_t access,
		    uint8_t **host)
{
	uint64_t page = gpa & X86_PAGE_MASK;
	unsigned int i = (unsigned int)(page >> 12 ^ page >> 20) % PCACHE_SIZE;
	struct x86_phys_req req = {
		.gpa = gpa,
		.linear = ctx->linear,
		.size = 8,
		.access = access | ctx->access | X86_ACC_PT_WALK | vectoring_bit(cpu),
	};
	struct x86_phys_res res = { 0 };
	int ret;

	if (cpu->pcache->e[i].gpa == page && cpu->pcache->e[i].space == cpu->space &&
	    (cpu->pcache->e[i].perm & access)) {
		*host = cpu->pcache->e[i].host;
		return X86_OK;
	}
	ret = cpu->ops->phys_translate(cpu, &req, &res);
	if (ret != X86_OK)
		return ret;
	*host = res.host;
	if (!res.no_cache) {
		cpu->pcache->e[i].gpa = page;
		cpu->pcache->e[i].space = cpu->space;
		cpu->pcache->e[i].host = res.host;
		cpu->pcache->e[i].perm = res.perm;
	}
	return X86_OK;
}

static int read_pte(void *opaque, uint64_t gpa, unsigned int size, uint64_t *value)
{
	struct pte_ctx *ctx = opaque;
	struct x86_cpu *cpu = ctx->cpu;
	uint8_t *host = NULL;
	int ret = pte_page(cpu, ctx, gpa, X86_ACC_READ, &host);

	if (ret == X86_MMIO) {
		*value = 0;
		return cpu->ops->phys_read(cpu, gpa, value, size);
	}
	if (ret == X86_OK)
		*value = x86_host_load(host + (gpa & 0xfff), size);
	return ret;
}

static int cmpxchg_pte(void *opaque, uint64_t gpa, unsigned int size, uint64_t old, uint64_t new_,
		       bool *swapped)
{
	struct pte_ctx *ctx = opaque;
	struct x86_cpu *cpu = ctx->cpu;
	uint8_t *host = NULL;
	int ret = pte_page(cpu, ctx, gpa, X86_ACC_WRITE, &host);

	if (ret == X86_MMIO) {
		*swapped = true;
		return cpu->ops->phys_write(cpu, gpa, &new_, size);
	}
	if (ret != X86_OK)
		return ret;
	host += gpa & 0xfff;
	x86_block_store(cpu, host, size);
	if (size == 4) {
		uint32_t expected = (uint32_t)old;

		*swapped = __atomic_compare_exchange_n((uint32_t *)(void *)host, &expected,
						       (uint32_t)new_, false, __ATOMIC_SEQ_CST,
						       __ATOMIC_SEQ_CST);
	} else {
		*swapped = __atomic_compare_exchange_n((uint64_t *)(void *)host, &old, new_, false,
						       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	return X86_OK;
}

static const struct x86_walk_ops pte_ops = { read_pte, cmpxchg_pte };

void x86_walk_params_from_cpu(struct x86_cpu *cpu, struct x86_walk_params *p)
{
	p->ops = &pte_ops;
	p->ctx = NULL;
	p->cr0 = cpu->cr0;
	p->cr3 = cpu->cr3;
	p->cr4 = cpu->cr4;
	p->efer = cpu->efer;
	memcpy(p->pdptr, cpu->pdptr, sizeof(p->pdptr));
	p->pkru = cpu->pkru;
	p->pkrs = (uint32_t)cpu->pkrs;
	p->maxphyaddr = cpu->maxphyaddr;
	p->gbpages = x86_has(cpu, X86_FEAT_GBPAGES);
	p->smap_ac = cpu->eflags & X86_FL_AC;
}

int x86_walk(struct x86_cpu *cpu, uint64_t linear, uint32_t access, struct x86_walk_result *out)
{
	struct pte_ctx ctx = { cpu, linear, X86_ACC_LINEAR | (access & X86_ACC_USER) };
	struct x86_walk_params p;

	x86_walk_params_from_cpu(cpu, &p);
	p.ctx = &ctx;
	return x86_walk_params(&p, linear, access, out);
}

int x86_load_pdptrs(struct x86_cpu *cpu, uint64_t cr3)
{
	struct pte_ctx ctx = { cpu, 0, X86_ACC_PDPTE };
	uint64_t reserved = (UINT64_MAX << cpu->maxphyaddr) | 0x1e6;
	uint64_t pdptr[4];
	unsigned int i;
	int ret;

	for (i = 0; i < 4; i++) {
		ret = read_pte(&ctx, (cr3 & 0xffffffe0) + i * 8, 8, &pdptr[i]);
		if (ret != X86_OK)
			return ret;
		if ((pdptr[i] & X86_PTE_P) && (pdptr[i] & reserved))
			return X86_FAULT;
	}
	memcpy(cpu->pdptr, pdptr, sizeof(pdptr));
	return X86_OK;
}

/* ---- filling the TLB ----------------------------------------------------------------------- */

static uint8_t size_meta(uint64_t page_size)
{
	switch (page_size) {
	case 1ull << 21:
		return TLB_2M;
	case 1ull << 22:
		return TLB_4M;
	case 1ull << 30:
		return TLB_1G;
	default:
		return 0;
	}
}

static uint8_t guest_perm(const struct x86_walk_params *p, const struct x86_walk_result *w,
			  uint32_t user)
{
	uint8_t perm = 0;

	if (!x86_walk_check(p, w->access, w->pkey, X86_ACC_READ | user))
		perm |= X86_ACC_READ;
	if (w->dirty && !x86_walk_check(p, w->access, w->pkey, X86_ACC_WRITE | user))
		perm |= X86_ACC_WRITE;
	if (!x86_walk_check(p, w->access, w->pkey, X86_ACC_EXEC | user))
		perm |= X86_ACC_EXEC;
	return perm;
}

static int paging_off_perm(struct x86_walk_result *w, uint64_t lin)
{
	*w = (struct x86_walk_result){
		.gpa = lin, .page_size = 4096, .dirty = true,
		.access = X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC | X86_ACC_USER,
	};
	return X86_OK;
}

static uint32_t guest_page_bits(const struct x86_walk_result *w)
{
	return (w->access & X86_ACC_USER ? X86_ACC_GUEST_USER : 0) |
	       (w->access & X86_ACC_WRITE ? X86_ACC_GUEST_W : 0) |
	       (w->access & X86_ACC_EXEC ? 0 : X86_ACC_GUEST_NX);
}

static void remember(struct x86_cpu *cpu, unsigned int mode, uint64_t lin,
		     const struct x86_walk_result *w, uint8_t perm, uint8_t *host)
{
	struct tlb_fill fill = {
		.linear = lin & X86_PAGE_MASK, .host = host, .perm = perm, .meta = size_meta(w->page_size),
	};

	if (w->global)
		fill.meta |= TLB_GLOBAL;
	if ((perm & X86_ACC_WRITE) && x86_block_page_has_code(cpu, host))
		fill.meta |= TLB_WCODE;
	x86_tlb_insert(cpu, mode, &fill);
}

static int miss(struct x86_cpu *cpu, uint64_t lin, unsigned int size, uint32_t access,
		unsigned int mode, struct x86_xlat *out)
{
	uint32_t user = mode == X86_TLB_USER ? X86_ACC_USER : 0;
	struct pte_ctx ctx = { cpu, lin, X86_ACC_LINEAR | user };
	struct x86_walk_params p;
	struct x86_walk_result w;
	struct x86_phys_req req;
	struct x86_phys_res res = { 0 };
	int ret;

	__atomic_store_n(&cpu->tlb_miss_count, cpu->tlb_miss_count + 1, __ATOMIC_RELAXED);
	x86_walk_params_from_cpu(cpu, &p);
	p.ctx = &ctx;
	p.smap_ac = mode == X86_TLB_SUPER_AC;
	ret = cpu->cr0 & X86_CR0_PG ? x86_walk_params(&p, lin, access | user, &w) :
				      paging_off_perm(&w, lin);
	if (ret == X86_FAULT)
		return x86_set_page_fault(cpu, lin, w.error_code);
	if (ret != X86_OK)
		return ret;
	req = (struct x86_phys_req){
		.gpa = w.gpa, .linear = lin, .size = size,
		.access = access | user | X86_ACC_LINEAR | guest_page_bits(&w) | vectoring_bit(cpu),
	};
	ret = cpu->ops->phys_translate(cpu, &req, &res);
	out->gpa = w.gpa;
	out->host = NULL;
	if (ret == X86_MMIO)
		return X86_OK;
	if (ret != X86_OK)
		return ret;
	if (!res.no_cache)
		remember(cpu, mode, lin, &w, guest_perm(&p, &w, user) & res.perm, res.host);
	out->host = res.host + (lin & 0xfff);
	if (access & X86_ACC_WRITE)
		x86_block_store(cpu, out->host, size);
	return X86_OK;
}

int x86_try_translate(struct x86_cpu *cpu, uint64_t lin, unsigned int size, uint32_t access,
		      unsigned int mode, struct x86_xlat *out)
{
	uint8_t meta;
	struct x86_tlb_entry *e = x86_tlb_find(cpu, mode, lin & X86_PAGE_MASK, access, &meta);

	if (!e)
		return miss(cpu, lin, size, access, mode, out);
	out->gpa = 0;
	out->host = (uint8_t *)(uintptr_t)(lin + e->addend);
	if (!(access & X86_ACC_WRITE) || !(meta & TLB_WCODE))
		return X86_OK;
	x86_block_store(cpu, out->host, size);
	if (!x86_block_page_has_code(cpu, (uint8_t *)(uintptr_t)((lin & X86_PAGE_MASK) + e->addend))) {
		e->tag_w = lin & X86_PAGE_MASK;
		cpu->tlb_set->meta[mode][e - cpu->tlb_set->e[mode]] &= (uint8_t)~TLB_WCODE;
	}
	return X86_OK;
}

void x86_translate(struct x86_cpu *cpu, uint64_t lin, unsigned int size, uint32_t access,
		   unsigned int mode, struct x86_xlat *out)
{
	int ret = x86_try_translate(cpu, lin, size, access, mode, out);

	if (x86_unlikely(ret != X86_OK))
		x86_throw(cpu, ret);
}
