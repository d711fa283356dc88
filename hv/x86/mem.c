/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data accesses beyond a TLB hit: misses, page crossing, MMIO, alignment check, data
 * breakpoints; copies of any size; effective addresses outside flat 64-bit code.
 *
 * A LOCKed access that crosses a page is not atomic against other processors: the two pages
 * need not be neighbours in host memory. Everything else LOCKed is a host LOCK.
 */
#include "hv/x86/tlb_internal.h"

static void check_canonical(struct x86_cpu *cpu, uint64_t lin, unsigned int size, unsigned int seg)
{
	if (x86_likely(!x86_noncanonical(cpu, lin) && !x86_noncanonical(cpu, lin + size - 1)))
		return;
	x86_exc(cpu, seg == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

/*
 * Before translation, and before the canonicality of the last byte but not of the first: as Intel's
 * processors have it (seen).
 */
void x86_check_alignment(struct x86_cpu *cpu, uint64_t lin, unsigned int size)
{
	if ((lin & (size - 1)) && cpu->cpl == 3 && (cpu->eflags & X86_FL_AC) &&
	    (cpu->cr0 & X86_CR0_AM) && !(cpu->code_size == 8 && x86_noncanonical(cpu, lin)))
		x86_exc(cpu, X86_AC, 0);
}

/* Linear addresses of 16- and 32-bit code wrap at 4 GiB; those of tables may lie above. */
static uint64_t advance(const struct x86_cpu *cpu, uint64_t lin, unsigned int n)
{
	return cpu->code_size == 8 || lin >> 32 ? lin + n : (uint32_t)(lin + n);
}

static uint64_t second_page(const struct x86_cpu *cpu, uint64_t lin)
{
	return advance(cpu, lin & X86_PAGE_MASK, 4096);
}

/* Device accesses can leave work for the boundary behind the instruction. */
static void device_access_done(struct x86_cpu *cpu)
{
	const uint32_t owners = X86_PEND_WORK | X86_PEND_INTR | X86_PEND_NMI;

	if (__atomic_load_n(&cpu->pending, __ATOMIC_RELAXED) & cpu->pend_mask & owners)
		x86_block_split(cpu);
}

static void xlat_read(struct x86_cpu *cpu, const struct x86_xlat *x, void *buf, unsigned int size)
{
	unsigned int done, n;

	if (x->host) {
		x86_host_copy(buf, x->host, size);
		return;
	}
	for (done = 0; done < size; done += n) {
		n = size - done > 8 ? 8 : size - done;
		x86_check(cpu, cpu->ops->phys_read(cpu, x->gpa + done, (char *)buf + done, n));
	}
	device_access_done(cpu);
}

static void xlat_write(struct x86_cpu *cpu, const struct x86_xlat *x, const void *buf,
		       unsigned int size)
{
	unsigned int done, n;

	if (x->host) {
		x86_host_copy(x->host, buf, size);
		return;
	}
	for (done = 0; done < size; done += n) {
		n = size - done > 8 ? 8 : size - done;
		x86_check(cpu, cpu->ops->phys_write(cpu, x->gpa + done, (const char *)buf + done, n));
	}
	device_access_done(cpu);
}

static unsigned int room(uint64_t lin, size_t size)
{
	size_t left = 4096 - (lin & 0xfff);

	return (unsigned int)(size < left ? size : left);
}

uint64_t x86_read_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		       unsigned int size, unsigned int seg)
{
	unsigned int first = room(lin, size);
	struct x86_xlat a, b = { 0 };
	uint64_t v = 0;

	x86_begin(cpu, insn);
	x86_check_alignment(cpu, lin, size);
	if (cpu->code_size == 8)
		check_canonical(cpu, lin, size, seg);
	x86_translate(cpu, lin, first, X86_ACC_READ, cpu->tlb_mode, &a);
	if (first < size)
		x86_translate(cpu, second_page(cpu, lin), size - first, X86_ACC_READ, cpu->tlb_mode,
			      &b);
	if (first == size && a.host) {
		v = x86_host_load(a.host, size);
	} else {
		xlat_read(cpu, &a, &v, first);
		if (first < size)
			xlat_read(cpu, &b, (char *)&v + first, size - first);
	}
	if (cpu->debug_data)
		x86_debug_data(cpu, lin, size, X86_ACC_READ);
	return v;
}

void x86_write_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin, uint64_t v,
		    unsigned int size_seg)
{
	unsigned int size = size_seg & 0xff, first = room(lin, size);
	struct x86_xlat a, b = { 0 };

	x86_begin(cpu, insn);
	x86_check_alignment(cpu, lin, size);
	if (cpu->code_size == 8)
		check_canonical(cpu, lin, size, size_seg >> 8);
	x86_translate(cpu, lin, first, X86_ACC_WRITE, cpu->tlb_mode, &a);
	if (first < size)
		x86_translate(cpu, second_page(cpu, lin), size - first, X86_ACC_WRITE, cpu->tlb_mode,
			      &b);
	if (first == size && a.host) {
		x86_host_store(a.host, size, v);
	} else {
		xlat_write(cpu, &a, &v, first);
		if (first < size)
			xlat_write(cpu, &b, (char *)&v + first, size - first);
	}
	if (cpu->debug_data)
		x86_debug_data(cpu, lin, size, X86_ACC_WRITE);
}

void *x86_rmw_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		   unsigned int size, unsigned int seg)
{
	unsigned int first = room(lin, size);
	struct x86_xlat a, b = { 0 };

	x86_begin(cpu, insn);
	x86_check_alignment(cpu, lin, size > 8 ? 8 : size);
	if (cpu->code_size == 8)
		check_canonical(cpu, lin, size, seg);
	x86_translate(cpu, lin, first, X86_ACC_WRITE, cpu->tlb_mode, &a);
	if (first < size)
		x86_translate(cpu, second_page(cpu, lin), size - first, X86_ACC_WRITE, cpu->tlb_mode,
			      &b);
	if (cpu->debug_data)
		x86_debug_data(cpu, lin, size, X86_ACC_READ | X86_ACC_WRITE);
	if (first == size && a.host)
		return a.host;
	cpu->bounce_lin = lin;
	cpu->bounce_size = size;
	xlat_read(cpu, &a, cpu->bounce, first);
	if (first < size)
		xlat_read(cpu, &b, cpu->bounce + first, size - first);
	return cpu->bounce;
}

void x86_rmw_flush(struct x86_cpu *cpu)
{
	unsigned int size = cpu->bounce_size, first = room(cpu->bounce_lin, size);
	struct x86_xlat x;

	x86_translate(cpu, cpu->bounce_lin, first, X86_ACC_WRITE, cpu->tlb_mode, &x);
	xlat_write(cpu, &x, cpu->bounce, first);
	if (first < size) {
		x86_translate(cpu, second_page(cpu, cpu->bounce_lin), size - first, X86_ACC_WRITE,
			      cpu->tlb_mode, &x);
		xlat_write(cpu, &x, cpu->bounce + first, size - first);
	}
}

/* ---- copies ------------------------------------------------------------------------------ */

static int copy_try(struct x86_cpu *cpu, uint64_t lin, void *buf, size_t size, uint32_t access,
		    unsigned int mode)
{
	struct x86_xlat x;
	unsigned int n;
	int ret;

	while (size) {
		if (x86_lma(cpu) && x86_noncanonical(cpu, lin))
			return x86_set_fault(cpu, X86_GP, 0);
		n = room(lin, size);
		ret = x86_try_translate(cpu, lin, n, access, mode, &x);
		if (ret != X86_OK)
			return ret;
		if (access & X86_ACC_WRITE)
			xlat_write(cpu, &x, buf, n);
		else
			xlat_read(cpu, &x, buf, n);
		lin = advance(cpu, lin, n);
		buf = (char *)buf + n;
		size -= n;
	}
	return X86_OK;
}

void x86_copy_from(struct x86_cpu *cpu, uint64_t lin, void *buf, size_t size, unsigned int mode)
{
	x86_check(cpu, copy_try(cpu, lin, buf, size, X86_ACC_READ, mode));
}

void x86_copy_to(struct x86_cpu *cpu, uint64_t lin, const void *buf, size_t size, unsigned int mode)
{
	x86_probe_write(cpu, lin, size, mode);
	x86_check(cpu, copy_try(cpu, lin, (void *)(uintptr_t)buf, size, X86_ACC_WRITE, mode));
}

void x86_probe_write(struct x86_cpu *cpu, uint64_t lin, size_t size, unsigned int mode)
{
	struct x86_xlat x;
	unsigned int n;

	while (size) {
		if (x86_lma(cpu) && x86_noncanonical(cpu, lin))
			x86_gp(cpu, 0);
		n = room(lin, size);
		x86_translate(cpu, lin, n, X86_ACC_WRITE, mode, &x);
		lin = advance(cpu, lin, n);
		size -= n;
	}
}

uint64_t x86_read_mode(struct x86_cpu *cpu, uint64_t lin, unsigned int size, unsigned int mode)
{
	const struct x86_tlb_entry *e = &cpu->tlb_set->e[mode][x86_tlb_index(lin)];
	uint64_t v = 0;

	if (x86_likely(((lin + size - 1) & X86_PAGE_MASK) == e->tag_r))
		return x86_host_load((void *)(uintptr_t)(lin + e->addend), size);
	x86_copy_from(cpu, lin, &v, size, mode);
	return v;
}

void x86_write_mode(struct x86_cpu *cpu, uint64_t lin, uint64_t v, unsigned int size,
		    unsigned int mode)
{
	const struct x86_tlb_entry *e = &cpu->tlb_set->e[mode][x86_tlb_index(lin)];

	if (x86_likely(((lin + size - 1) & X86_PAGE_MASK) == e->tag_w))
		x86_host_store((void *)(uintptr_t)(lin + e->addend), size, v);
	else
		x86_copy_to(cpu, lin, &v, size, mode);
}

static int public_copy(struct x86_cpu *cpu, uint64_t lin, void *buf, size_t size, uint32_t access,
		       unsigned int mode)
{
	struct x86_catch frame;
	int ret = X86_TRY(cpu, &frame);

	if (ret)
		return ret;
	ret = copy_try(cpu, lin, buf, size, access, mode);
	x86_catch_pop(cpu, &frame);
	return ret;
}

int x86_lin_read(struct x86_cpu *cpu, uint64_t linear, void *buf, size_t size)
{
	return public_copy(cpu, linear, buf, size, X86_ACC_READ, cpu->tlb_mode);
}

int x86_lin_write(struct x86_cpu *cpu, uint64_t linear, const void *buf, size_t size)
{
	return public_copy(cpu, linear, (void *)(uintptr_t)buf, size, X86_ACC_WRITE, cpu->tlb_mode);
}

int x86_lin_read_system(struct x86_cpu *cpu, uint64_t linear, void *buf, size_t size)
{
	return public_copy(cpu, linear, buf, size, X86_ACC_READ, x86_system_mode(cpu));
}

void *x86_bulk_ptr(struct x86_cpu *cpu, uint64_t lin, unsigned int len, uint32_t access,
		   unsigned int seg)
{
	struct x86_xlat x;
	void *p;

	if (cpu->debug_data || cpu->tlb == x86_tlb_nothing)
		return NULL;
	p = access & X86_ACC_WRITE ? x86_hit_w(cpu, lin, len) : x86_hit_r(cpu, lin, len);
	if (x86_likely(p))
		return p;
	if (cpu->code_size == 8)
		check_canonical(cpu, lin, len, seg);
	x86_translate(cpu, lin, len, access, cpu->tlb_mode, &x);
	return x.host;
}

/* ---- effective addresses ------------------------------------------------------------------- */

uint64_t x86_ea_offset(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t ea = X86_R64(insn->base) + (X86_R64(insn->index) << insn->scale) +
		      (uint64_t)insn->disp;

	switch (insn->adsize) {
	case 2:
		return (uint16_t)ea;
	case 4:
		return (uint32_t)ea;
	default:
		return ea;
	}
}

static bool seg_type_permits(const struct x86_cpu *cpu, const struct x86_seg *s, uint32_t access)
{
	if (!x86_prot(cpu))
		return true;
	if (s->ar & 8) /* code */
		return !(access & X86_ACC_WRITE) && ((s->ar & 2) || !(access & X86_ACC_READ));
	return !(access & X86_ACC_WRITE) || (s->ar & 2);
}

static bool seg_limit_permits(const struct x86_seg *s, uint64_t offset, unsigned int size)
{
	uint64_t last = offset + size - 1;

	if ((s->ar & 0xc) == 4) { /* data, expand-down */
		uint64_t top = s->ar & X86_AR_DB ? UINT32_MAX : UINT16_MAX;

		return offset > s->limit && last <= top;
	}
	/* With a limit of 4 GiB an access may wrap. */
	return last <= s->limit || s->limit == UINT32_MAX;
}

uint64_t x86_seg_linear_slow(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int seg,
			     uint64_t offset, unsigned int size, uint32_t access)
{
	const struct x86_seg *s = &cpu->seg[seg];

	if (!(s->ar & X86_AR_UNUSABLE) && seg_type_permits(cpu, s, access) &&
	    seg_limit_permits(s, offset, size))
		return (uint32_t)(s->base + offset);
	if (insn)
		x86_begin(cpu, insn);
	x86_exc(cpu, seg == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

uint64_t x86_ea_slow(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
		     uint32_t access)
{
	return x86_seg_linear(cpu, insn, insn->seg, x86_ea_offset(cpu, insn), size, access);
}

void x86_memop(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_memop *out)
{
	*out = (struct x86_memop){
		.valid = !!(insn->flags & X86_I_MEM),
		.base = insn->base < 128 ? (uint8_t)(insn->base / 8) : 0xff,
		.index = insn->index < 128 ? (uint8_t)(insn->index / 8) : 0xff,
		.scale = insn->scale, .seg = insn->seg, .adsize = insn->adsize, .opsize = insn->opsize,
		.reg = insn->reg, .rm = insn->rm, .disp = insn->disp,
	};
	if (!out->valid)
		return;
	if (insn->flags & X86_I_RIPREL) {
		out->disp = (int64_t)((uint64_t)insn->disp + cpu->rip);
		if (insn->adsize == 4)
			out->disp = (uint32_t)out->disp;
	}
	out->offset = x86_ea_offset(cpu, insn);
	out->linear = cpu->code_size == 8 ?
			      (insn->seg >= X86_FS ? cpu->seg[insn->seg].base : 0) + out->offset :
			      (uint32_t)(cpu->seg[insn->seg].base + out->offset);
}
