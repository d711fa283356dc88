/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vector accesses that touch memory element by element: masked moves and
 * gathers. Each element faults on its own, and masked elements never do, so the
 * host cannot do them for us.
 *
 * Source: SDM volume 2, VMASKMOV, VPMASKMOV, VGATHERDPS and its kin, MASKMOVDQU, MASKMOVQ.
 */
#include "hv/x86/native.h"

/* A vector register as bytes: the low half from SSE state, the high half from AVX state. */
static void vec_get(struct x86_cpu *cpu, unsigned int reg, uint8_t v[32])
{
	memcpy(v, cpu->xsave + XS_XMM(reg), 16);
	memcpy(v + 16, cpu->xsave + XS_YMMH(reg), 16);
}

static void vec_set(struct x86_cpu *cpu, unsigned int reg, const uint8_t v[32])
{
	memcpy(cpu->xsave + XS_XMM(reg), v, 16);
	memcpy(cpu->xsave + XS_YMMH(reg), v + 16, 16);
}

static bool element_set(const uint8_t *mask, unsigned int i, unsigned int size)
{
	return mask[i * size + size - 1] >> 7;
}

/* What these instructions are, from their operands. */
struct masked {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	unsigned int bytes;	/* of the vector */
};

static void masked_decode(struct x86_cpu *cpu, const struct native_op *op, struct masked *m)
{
	if (!native_decode(op, &m->z, m->op))
		x86_ud(cpu);
	m->bytes = m->z.avx.vector_length == 256 ? 32 : 16;
}

static unsigned int reg_id(const ZydisDecodedOperand *o)
{
	return (unsigned int)ZydisRegisterGetId(o->reg.value);
}

/* Of the element at `offset` from the first one: 32-bit addresses wrap. */
static uint64_t element_at(const struct x86_cpu *cpu, uint64_t lin, unsigned int offset)
{
	return x86_code64(cpu) ? lin + offset : (uint32_t)(lin + offset);
}

/* ---- VMASKMOV, VPMASKMOV ---------------------------------------------------------------------------- */

static unsigned int maskmov_element(const struct masked *m)
{
	return m->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || m->z.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD ? 4
												       : 8;
}

/* What is masked out is not even held against the segment's limit. */
static uint64_t maskmov_address(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int offset,
				unsigned int size, uint32_t access)
{
	uint64_t at = x86_ea_offset(cpu, insn) + offset;

	return x86_seg_linear(cpu, insn, insn->seg, x86_code64(cpu) ? at : (uint32_t)at, size, access);
}

static void maskmov_load(struct x86_cpu *cpu, const struct x86_insn *insn, const struct masked *m)
{
	unsigned int size = maskmov_element(m);
	uint8_t mask[32], v[32] = { 0 };

	vec_get(cpu, reg_id(&m->op[1]), mask);
	for (unsigned int i = 0; i < m->bytes / size; i++)
		if (element_set(mask, i, size))
			native_read_lin(cpu, insn, maskmov_address(cpu, insn, i * size, size, X86_ACC_READ),
					v + i * size, size);
	vec_set(cpu, reg_id(&m->op[0]), v);
}

static void maskmov_store(struct x86_cpu *cpu, const struct x86_insn *insn, const struct masked *m)
{
	unsigned int size = maskmov_element(m);
	uint8_t mask[32], v[32];
	uint64_t lin[8];

	vec_get(cpu, reg_id(&m->op[1]), mask);
	vec_get(cpu, reg_id(&m->op[2]), v);
	/* Segmentation of every element comes before the paging of any. */
	for (unsigned int i = 0; i < m->bytes / size; i++)
		if (element_set(mask, i, size))
			lin[i] = maskmov_address(cpu, insn, i * size, size, X86_ACC_WRITE);
	for (unsigned int i = 0; i < m->bytes / size; i++)
		if (element_set(mask, i, size))
			native_probe_lin(cpu, insn, lin[i], size);
	for (unsigned int i = 0; i < m->bytes / size; i++)
		if (element_set(mask, i, size))
			x86_copy_to(cpu, lin[i], v + i * size, size, cpu->tlb_mode);
}

static void maskmov(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	struct masked m;

	masked_decode(cpu, op, &m);
	if (m.op[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		maskmov_store(cpu, insn, &m);
	else
		maskmov_load(cpu, insn, &m);
}

/* ---- gathers ------------------------------------------------------------------------------------------- */

struct gather {
	unsigned int dst, index, mask;
	unsigned int size, index_size, count;
	unsigned int scale;
	uint64_t base;		/* with the displacement */
};

static void gather_sizes(struct gather *g, const struct masked *m)
{
	switch (m->z.mnemonic) {
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VGATHERDPS:
		g->index_size = 4;
		g->size = 4;
		break;
	case ZYDIS_MNEMONIC_VPGATHERDQ:
	case ZYDIS_MNEMONIC_VGATHERDPD:
		g->index_size = 4;
		g->size = 8;
		break;
	case ZYDIS_MNEMONIC_VPGATHERQD:
	case ZYDIS_MNEMONIC_VGATHERQPS:
		g->index_size = 8;
		g->size = 4;
		break;
	default:
		g->index_size = 8;
		g->size = 8;
		break;
	}
	g->count = m->bytes / (g->size > g->index_size ? g->size : g->index_size);
}

static void gather_decode(struct x86_cpu *cpu, const struct x86_insn *insn, struct gather *g,
			  const struct masked *m)
{
	const ZydisDecodedOperand *mem = &m->op[1];

	g->dst = reg_id(&m->op[0]);
	g->mask = reg_id(&m->op[2]);
	g->index = (unsigned int)ZydisRegisterGetId(mem->mem.index);
	g->scale = mem->mem.scale;
	/* Zydis takes REX.B into account where SIB says that there is no base. */
	g->base = X86_R64(insn->base) + (uint64_t)insn->disp;
	if (g->dst == g->mask || g->dst == g->index || g->mask == g->index)
		x86_ud(cpu);
	gather_sizes(g, m);
}

static uint64_t gather_address(struct x86_cpu *cpu, const struct x86_insn *insn,
			       const struct gather *g, const uint8_t *index, unsigned int i)
{
	uint64_t offset;
	int64_t idx;
	int32_t narrow;

	if (g->index_size == 4) {
		memcpy(&narrow, index + 4 * i, 4);
		idx = narrow;
	} else {
		memcpy(&idx, index + 8 * i, 8);
	}
	offset = g->base + (uint64_t)idx * g->scale;
	if (insn->adsize == 4)
		offset = (uint32_t)offset;
	return x86_seg_linear(cpu, insn, insn->seg, offset, g->size, X86_ACC_READ);
}

/* Seen on Intel after a fault: what is left of the mask is all ones or all zeroes. */
static void gather_mask(struct x86_cpu *cpu, const struct gather *g, const struct masked *m)
{
	uint8_t mask[32], full[32] = { 0 };

	vec_get(cpu, g->mask, mask);
	for (unsigned int i = 0; i < m->bytes / g->size; i++)
		if (element_set(mask, i, g->size))
			memset(full + i * g->size, 0xff, g->size);
	vec_set(cpu, g->mask, full);
}

static int gather_try(struct x86_cpu *cpu, const struct x86_insn *insn, const struct gather *g,
		      const uint8_t *index, unsigned int i, void *element)
{
	struct x86_catch frame;
	int status = X86_TRY(cpu, &frame);

	if (status)
		return status;
	native_read_lin(cpu, insn, gather_address(cpu, insn, g, index, i), element, g->size);
	x86_catch_pop(cpu, &frame);
	return X86_OK;
}

/* Debug traps that are due once an element has been gathered. */
static uint64_t gather_traps(const struct x86_cpu *cpu)
{
	uint64_t traps = cpu->pending_dbg;

	if (!(cpu->mode & X86_MODE_ONE))
		return 0;
	if (cpu->step_tf && !(cpu->debugctl & X86_DEBUGCTL_BTF))
		traps |= X86_DR6_BS;
	return traps;
}

/*
 * "If any traps or interrupts are pending from already gathered elements, they will be delivered
 * in lieu of the exception; in this case, EFLAG.RF is set to one."
 */
static void gather_element(struct x86_cpu *cpu, const struct x86_insn *insn, const struct gather *g,
			   const uint8_t *index, unsigned int i, void *element)
{
	int status = gather_try(cpu, insn, g, index, i, element);
	uint64_t traps;

	if (status == X86_OK)
		return;
	traps = gather_traps(cpu);
	if (status != X86_FAULT || !traps)
		x86_throw(cpu, status);
	cpu->pending_dbg = 0;
	cpu->step_rf = X86_FL_RF;
	x86_throw_fault(cpu, X86_DB, false, 0, traps);
}

static void gather(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t v[32], index[32], mask[32], zero[32] = { 0 };
	bool any = false;
	unsigned int done;
	struct masked m;
	struct gather g;

	masked_decode(cpu, op, &m);
	gather_decode(cpu, insn, &g, &m);
	vec_get(cpu, g.index, index);
	gather_mask(cpu, &g, &m);
	for (unsigned int i = 0; i < g.count; i++) {
		vec_get(cpu, g.mask, mask);
		if (!element_set(mask, i, g.size))
			continue;
		vec_get(cpu, g.dst, v);
		if (any && gather_traps(cpu))
			gather_element(cpu, insn, &g, index, i, v + i * g.size);
		else
			native_read_lin(cpu, insn, gather_address(cpu, insn, &g, index, i),
					v + i * g.size, g.size);
		any = true;
		memset(v + m.bytes, 0, sizeof(v) - m.bytes);
		/* Each element is committed with its mask, so that a fault can be restarted. */
		memset(mask + i * g.size, 0, g.size);
		vec_set(cpu, g.dst, v);
		vec_set(cpu, g.mask, mask);
	}
	done = g.count * g.size;
	vec_get(cpu, g.dst, v);
	memset(v + done, 0, sizeof(v) - done);
	vec_set(cpu, g.dst, v);
	vec_set(cpu, g.mask, zero);
}

/* ---- MASKMOVDQU, MASKMOVQ -------------------------------------------------------------------------------- */

static void store_bytes(struct x86_cpu *cpu, const struct x86_insn *insn, const uint8_t *mask,
			const uint8_t *v, unsigned int n)
{
	unsigned int seg = insn->flags & X86_I_SEGPFX ? insn->seg : X86_DS;
	uint64_t offset = cpu->gpr[X86_RDI] & x86_mask(insn->adsize);
	uint64_t lin = x86_seg_linear(cpu, insn, seg, offset, n, X86_ACC_WRITE);

	/* Whether bytes that are masked out can fault is left to the processor: as on Intel. */
	native_probe_lin(cpu, insn, lin, n);
	for (unsigned int i = 0; i < n; i++)
		if (mask[i] >> 7)
			x86_copy_to(cpu, element_at(cpu, lin, i), v + i, 1, cpu->tlb_mode);
}

static void maskmovdqu(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	store_bytes(cpu, insn, cpu->xsave + XS_XMM(insn->rm), cpu->xsave + XS_XMM(insn->reg), 16);
}

static void maskmovq(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	native_x87_enter_mmx(cpu);
	store_bytes(cpu, insn, cpu->xsave + XS_ST(insn->rm & 7), cpu->xsave + XS_ST(insn->reg & 7), 8);
}

/* ---- VZEROUPPER, VZEROALL --------------------------------------------------------------------------------- */

static void vzero(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	unsigned int n = x86_code64(cpu) ? 16 : 8;

	memset(cpu->xsave + XS_YMMH(0), 0, 16 * n);
	if (op->mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		memset(cpu->xsave + XS_XMM(0), 0, 16 * n);
}

native_c_fn *native_mask_handler(unsigned int mnemonic, enum native_kind *kind)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		*kind = NATIVE_AVX;
		return maskmov;
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
	case ZYDIS_MNEMONIC_VPGATHERQD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VGATHERQPD:
		*kind = NATIVE_AVX;
		return gather;
	case ZYDIS_MNEMONIC_MASKMOVDQU:
		*kind = NATIVE_SSE;
		return maskmovdqu;
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		*kind = NATIVE_AVX;
		return maskmovdqu;
	case ZYDIS_MNEMONIC_MASKMOVQ:
		*kind = NATIVE_MMX;
		return maskmovq;
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_VZEROALL:
		*kind = NATIVE_AVX;
		return vzero;
	default:
		return NULL;
	}
}
