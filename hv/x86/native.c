/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Executing an instruction of x87, MMX, SSE or AVX: find what is known of it,
 * check what has to fault first, fetch its memory operand, run its stub.
 *
 * Stubs live in an arena that is written while it is not executable and
 * executed while it is not writable. When the arena is full it is emptied, and
 * stubs are made again as they are run. A decoded instruction remembers its
 * operation in its `imm` field as generation << 32 | index; other uses of that
 * field never have a generation's upper half.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "hv/x86/native.h"

#define FIRST_GEN  0x4e415449u

/* ---- the set of operations ------------------------------------------------------------------ */

static struct native *native_create(void)
{
	struct native *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->gen = FIRST_GEN;
	n->ops = mmap(NULL, NATIVE_OPS_MAX * sizeof(*n->ops), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	n->arena = mmap(NULL, NATIVE_ARENA, PROT_READ | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (n->ops != MAP_FAILED && n->arena != MAP_FAILED)
		return n;
	if (n->ops != MAP_FAILED)
		munmap(n->ops, NATIVE_OPS_MAX * sizeof(*n->ops));
	if (n->arena != MAP_FAILED)
		munmap(n->arena, NATIVE_ARENA);
	free(n);
	return NULL;
}

void x86_native_destroy(struct x86_cpu *cpu)
{
	struct native *n = cpu->native;

	cpu->native = NULL;
	if (!n)
		return;
	munmap(n->ops, NATIVE_OPS_MAX * sizeof(*n->ops));
	munmap(n->arena, NATIVE_ARENA);
	free(n);
}

/* Forget every operation; cookies of before no longer match. */
static void forget_all(struct native *n)
{
	memset(n->hash, 0, sizeof(n->hash));
	n->nr_ops = 0;
	n->used = 0;
	n->gen++;
}

void x86_native_features_changed(struct x86_cpu *cpu)
{
	if (cpu->native)
		forget_all(cpu->native);
}

static void forget_stubs(struct native *n)
{
	for (uint32_t i = 0; i < n->nr_ops; i++)
		n->ops[i].stub = NULL;
	n->used = 0;
}

static uint32_t hash_of(const struct x86_insn *insn, unsigned int mode)
{
	uint32_t h = 2166136261u ^ mode;

	for (unsigned int i = 0; i < insn->len; i++)
		h = (h ^ insn->raw[i]) * 16777619u;
	return (h ^ h >> 15) & ((1u << NATIVE_HASH_BITS) - 1);
}

static struct native_op *op_new(struct x86_cpu *cpu, struct native *n,
				const struct x86_insn *insn, unsigned int mode)
{
	struct native_op *op;
	uint32_t h;

	if (n->nr_ops == NATIVE_OPS_MAX)
		forget_all(n);
	h = hash_of(insn, mode);
	op = &n->ops[n->nr_ops];
	memset(op, 0, sizeof(*op));
	memcpy(op->raw, insn->raw, insn->len);
	op->len = insn->len;
	op->code_mode = (uint8_t)mode;
	if (!native_describe(cpu, op))
		return NULL;
	op->next = n->hash[h];
	n->hash[h] = ++n->nr_ops;
	return op;
}

static struct native_op *op_find(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int mode = cpu->mode & X86_MODE_CODE;
	struct native *n = cpu->native;
	struct native_op *op = NULL;

	if (!n) {
		n = cpu->native = native_create();
		if (!n)
			return NULL;
	}
	for (uint32_t i = n->hash[hash_of(insn, mode)]; i; i = n->ops[i - 1].next) {
		op = &n->ops[i - 1];
		if (op->len == insn->len && op->code_mode == mode &&
		    !memcmp(op->raw, insn->raw, insn->len))
			break;
		op = NULL;
	}
	if (!op)
		op = op_new(cpu, n, insn, mode);
	if (op) {
		/* Decoded instructions live in this CPU's own memory. */
		union { const struct x86_insn *in; struct x86_insn *out; } u = { insn };

		u.out->imm = (uint64_t)n->gen << 32 | (uint32_t)(op - n->ops);
	}
	return op;
}

static struct native_op *op_get(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct native *n = cpu->native;

	if (x86_likely(n && insn->imm >> 32 == n->gen))
		return &n->ops[(uint32_t)insn->imm];
	return op_find(cpu, insn);
}

/* Make the stub of an operation. False: the host has no memory for it. */
static bool stub_make(struct native *n, struct native_op *op)
{
	uint8_t code[NATIVE_STUB_MAX];
	unsigned int len = native_emit(op, code);
	uint8_t *at, *page;
	size_t span;

	if (!len)
		return false;
	if (n->used + len > NATIVE_ARENA)
		forget_stubs(n);
	at = n->arena + n->used;
	page = (uint8_t *)((uintptr_t)at & ~4095ul);
	span = (size_t)(at + len - page);
	if (mprotect(page, span, PROT_READ | PROT_WRITE))
		return false;
	memcpy(at, code, len);
	if (mprotect(page, span, PROT_READ | PROT_EXEC))
		return false;
	n->used += (len + 15) & ~15u;
	op->stub = (native_stub_fn *)(void *)at;
	return true;
}

/* ---- what faults first ------------------------------------------------------------------------ */

static void check_ts(struct x86_cpu *cpu)
{
	if (x86_unlikely(cpu->cr0 & X86_CR0_TS))
		x86_throw_fault(cpu, X86_NM, false, 0, 0);
}

static void check_x87(struct x86_cpu *cpu, enum native_kind kind)
{
	if (cpu->cr0 & (X86_CR0_EM | X86_CR0_TS)) {
		if (kind == NATIVE_MMX && cpu->cr0 & X86_CR0_EM)
			x86_ud(cpu);
		x86_throw_fault(cpu, X86_NM, false, 0, 0);
	}
	if (kind != NATIVE_X87_NOWAIT && *xs16(cpu, XS_FSW) & FSW_ES)
		native_x87_error(cpu);
}

void native_x87_error(struct x86_cpu *cpu)
{
	/* With CR0.NE clear the error goes out on the FERR# pin, if anybody listens. */
	if (!(cpu->cr0 & X86_CR0_NE))
		x86_icpt_simple(cpu, cpu->cur, X86_ICPT_FERR);
	x86_throw_fault(cpu, X86_MF, false, 0, 0);
}

void native_check(struct x86_cpu *cpu, enum native_kind kind)
{
	switch (kind) {
	case NATIVE_SSE:
		if (x86_unlikely(cpu->cr0 & X86_CR0_EM || !(cpu->cr4 & X86_CR4_OSFXSR)))
			x86_ud(cpu);
		check_ts(cpu);
		break;
	case NATIVE_AVX:
		if (x86_unlikely(!(cpu->cr4 & X86_CR4_OSXSAVE) ||
				 (cpu->xcr0 & (XFEATURE_SSE | XFEATURE_AVX)) !=
					 (XFEATURE_SSE | XFEATURE_AVX) ||
				 !x86_prot(cpu)))
			x86_ud(cpu);
		check_ts(cpu);
		break;
	case NATIVE_MMX:
	case NATIVE_X87:
	case NATIVE_X87_NOWAIT:
		check_x87(cpu, kind);
		break;
	case NATIVE_FREE:
		break;
	}
}

/* ---- memory operands ---------------------------------------------------------------------------- */

/* x86_copy_from() leaves canonicality to its caller. */
static void check_canonical(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
			    unsigned int size)
{
	if (!x86_lma(cpu) || (!x86_noncanonical(cpu, lin) && !x86_noncanonical(cpu, lin + size - 1)))
		return;
	x86_exc(cpu, insn->seg == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

uint64_t native_address(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
			unsigned int align, uint32_t access)
{
	uint64_t lin;

	if (!align)
		return x86_ea(cpu, insn, size, access);
	/* Beyond the limit or misaligned? Seen: states are looked at by their first four bytes. */
	lin = size > 64 ? x86_ea(cpu, insn, 4, access) :
			  x86_code64(cpu) ? x86_ea(cpu, insn, size, access) :
					    cpu->seg[insn->seg].base + x86_ea_offset(cpu, insn);
	if (size > 64)
		check_canonical(cpu, insn, lin, 1);
	if (x86_unlikely(lin & (align - 1)))
		x86_gp(cpu, 0);
	return x86_code64(cpu) ? lin : x86_ea(cpu, insn, size, access);
}

void native_read_lin(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin, void *buf,
		     unsigned int size)
{
	check_canonical(cpu, insn, lin, size);
	x86_copy_from(cpu, lin, buf, size, cpu->tlb_mode);
}

void native_probe_lin(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		      unsigned int size)
{
	check_canonical(cpu, insn, lin, size);
	x86_probe_write(cpu, lin, size, cpu->tlb_mode);
}

void native_load(struct x86_cpu *cpu, const struct x86_insn *insn, void *buf, unsigned int size)
{
	native_read_lin(cpu, insn, x86_ea(cpu, insn, size, X86_ACC_READ), buf, size);
}

void native_store(struct x86_cpu *cpu, const struct x86_insn *insn, const void *buf,
		  unsigned int size)
{
	uint64_t lin = x86_ea(cpu, insn, size, X86_ACC_WRITE);

	native_probe_lin(cpu, insn, lin, size);
	x86_copy_to(cpu, lin, buf, size, cpu->tlb_mode);
}

/* ---- SIMD floating-point exceptions --------------------------------------------------------------- */

struct saved {
	uint8_t xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));
	uint64_t gpr[16];
	uint32_t cc;
};

static void save(const struct x86_cpu *cpu, struct saved *s)
{
	memcpy(s->xsave, cpu->xsave, sizeof(s->xsave));
	memcpy(s->gpr, cpu->gpr, sizeof(s->gpr));
	s->cc = cpu->cc;
}

static void restore(struct x86_cpu *cpu, const struct saved *s)
{
	memcpy(cpu->xsave, s->xsave, sizeof(s->xsave));
	memcpy(cpu->gpr, s->gpr, sizeof(s->gpr));
	cpu->cc = s->cc;
}

/* Run with this MXCSR: the exceptions raised. */
static uint32_t run_masked(struct x86_cpu *cpu, const struct native_op *op, void *memory,
			   uint32_t mxcsr)
{
	*xs32(cpu, XS_MXCSR) = (mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS;
	op->stub(cpu, memory);
	return *xs32(cpu, XS_MXCSR) & MXCSR_FLAGS;
}

/*
 * Half-precision results are never flushed to zero (SDM volume 2, VCVTPS2PH: "MXCSR.FTZ is
 * ignored"), so the exact tiny ones are looked for among the operands: multiples of 2^-24 below
 * 2^-14. Single-precision denormals are no such.
 */
static uint32_t half_underflow(const struct x86_cpu *cpu, const struct native_op *op)
{
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	unsigned int reg;

	if (op->mnemonic != ZYDIS_MNEMONIC_VCVTPS2PH || !native_decode(op, &z, operand))
		return 0;
	reg = (unsigned int)ZydisRegisterGetId(operand[1].reg.value);
	for (unsigned int i = 0; i < z.avx.vector_length / 32u; i++) {
		const uint8_t *at = cpu->xsave + (i < 4 ? XS_XMM(reg) + 4 * i : XS_YMMH(reg) + 4 * (i - 4));
		uint32_t v, exponent;

		memcpy(&v, at, 4);
		exponent = v >> 23 & 0xff;
		if (exponent >= 127 - 24 && exponent < 127 - 14 &&
		    !(v & ((1u << (23 - (exponent - (127 - 24)))) - 1)))
			return MXCSR_UE;
	}
	return 0;
}

/*
 * Run with every exception masked, look at what was raised, and take it all back when an
 * unmasked one is among it. A tiny result raises an unmasked underflow even when it is exact,
 * which the masked response does not report but flushing to zero does; and an unmasked
 * underflow is never flushed.
 */
static void run_unmasked(struct x86_cpu *cpu, const struct native_op *op, void *memory)
{
	uint32_t mxcsr = *xs32(cpu, XS_MXCSR), raised = 0, bad;
	uint32_t enabled = ~(mxcsr >> 7) & MXCSR_FLAGS, rules = mxcsr;
	struct saved before;

	save(cpu, &before);
	if (enabled & MXCSR_UE) {
		raised = run_masked(cpu, op, memory, mxcsr | MXCSR_FTZ) & MXCSR_UE;
		restore(cpu, &before);
		raised |= half_underflow(cpu, op);
		rules &= ~MXCSR_FTZ;
	}
	raised |= run_masked(cpu, op, memory, rules);
	bad = raised & enabled;
	if (!bad) {
		*xs32(cpu, XS_MXCSR) = mxcsr | raised;
		return;
	}
	restore(cpu, &before);
	if (op->kind == NATIVE_MMX)
		native_x87_enter_mmx(cpu);
	/* Invalid, denormal and divide-by-zero are found before the operation is computed. */
	*xs32(cpu, XS_MXCSR) = mxcsr | (bad & 7 ? raised & 7 : raised);
	if (!(cpu->cr4 & X86_CR4_OSXMMEXCPT))
		x86_ud(cpu);
	x86_throw_fault(cpu, X86_XM, false, 0, 0);
}

static void run_stub(struct x86_cpu *cpu, const struct native_op *op, void *memory)
{
	if (op->flags & NATIVE_FP && x86_unlikely((*xs32(cpu, XS_MXCSR) & MXCSR_MASKS) != MXCSR_MASKS))
		run_unmasked(cpu, op, memory);
	else
		op->stub(cpu, memory);
}

/* ---- x87 pointers --------------------------------------------------------------------------------- */

/*
 * FXSAVE stored where the stub was; the guest finds where its own instruction was. The opcode,
 * and the operand's address on processors that say so, are kept only for an unmasked exception.
 */
static void x87_pointers(struct x86_cpu *cpu, const struct x86_insn *insn,
			 const struct native_op *op, const uint64_t saved[2], uint16_t fop)
{
	bool raised;

	if (!(op->flags & NATIVE_X87_OP)) {
		*xs64(cpu, XS_FIP) = saved[0];
		*xs64(cpu, XS_FDP) = saved[1];
		*xs16(cpu, XS_FOP) = fop;
		return;
	}
	*xs64(cpu, XS_FIP) = insn->off + cpu->rip;
	raised = *xs16(cpu, XS_FSW) & FSW_ES;
	*xs64(cpu, XS_FDP) = saved[1];
	*xs16(cpu, XS_FOP) = fop;
	if (op->size && (raised || !x86_has(cpu, X86_FEAT_FDP_EXCPTN_ONLY)))
		*xs64(cpu, XS_FDP) = x86_ea_offset(cpu, insn);
	if (raised)
		*xs16(cpu, XS_FOP) = (uint16_t)((insn->opcode & 7) << 8 | insn->modrm);
}

static void run_x87(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op,
		    void *memory)
{
	uint64_t saved[2] = { *xs64(cpu, XS_FIP), *xs64(cpu, XS_FDP) };
	uint16_t fop = *xs16(cpu, XS_FOP);

	run_stub(cpu, op, memory);
	x87_pointers(cpu, insn, op, saved, fop);
}

/* ---- execution -------------------------------------------------------------------------------------- */

static void run(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op,
		void *memory)
{
	if (op->kind == NATIVE_SSE || op->kind == NATIVE_AVX)
		run_stub(cpu, op, memory);
	else
		run_x87(cpu, insn, op, memory);
}

/* An x87 store that raises does not look at its operand; one that faults does not change the unit. */
static void x87_store(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t before[XS_XMM(0)], after[XS_XMM(0)], buf[16] __attribute__((aligned(16)));
	uint64_t lin;

	memcpy(before, cpu->xsave, sizeof(before));
	run(cpu, insn, op, buf);
	if (*xs16(cpu, XS_FSW) & ~*xs16(cpu, XS_FCW) & (FSW_EXCEPTIONS & ~FSW_PE))
		return;
	memcpy(after, cpu->xsave, sizeof(after));
	memcpy(cpu->xsave, before, sizeof(before));
	if (op->size == 10) /* in two parts */
		native_probe_lin(cpu, insn, native_address(cpu, insn, 8, 0, X86_ACC_WRITE), 8);
	lin = native_address(cpu, insn, op->size, 0, X86_ACC_WRITE);
	native_probe_lin(cpu, insn, lin, op->size);
	memcpy(cpu->xsave, after, sizeof(after));
	x86_copy_to(cpu, lin, buf, op->size, cpu->tlb_mode);
}

/*
 * VCVTPS2PH's floating-point exceptions come before anything that its destination may raise, and
 * MXCSR keeps them when that faults: as on Intel (seen).
 */
static void half_store(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint8_t buf[16] __attribute__((aligned(16)));
	uint64_t lin;

	run(cpu, insn, op, buf);
	lin = native_address(cpu, insn, op->size, 0, X86_ACC_WRITE);
	native_probe_lin(cpu, insn, lin, op->size);
	x86_copy_to(cpu, lin, buf, op->size, cpu->tlb_mode);
}

/* A memory operand that is not simply there: crosses pages, is MMIO, or is not in the TLB. */
static void run_bounced(struct x86_cpu *cpu, const struct x86_insn *insn,
			const struct native_op *op, uint64_t lin)
{
	uint8_t buf[64] __attribute__((aligned(64))) = { 0 };

	if (op->kind == NATIVE_X87 && op->flags & NATIVE_STORES) {
		x87_store(cpu, insn, op);
		return;
	}
	if (op->flags & NATIVE_STORES)
		native_probe_lin(cpu, insn, lin, op->size);
	if (op->flags & NATIVE_LOADS)
		native_read_lin(cpu, insn, lin, buf, op->size);
	run(cpu, insn, op, buf);
	if (op->flags & NATIVE_STORES)
		x86_copy_to(cpu, lin, buf, op->size, cpu->tlb_mode);
}

static void run_memory(struct x86_cpu *cpu, const struct x86_insn *insn, const struct native_op *op)
{
	uint32_t access = op->flags & NATIVE_STORES ? X86_ACC_WRITE : X86_ACC_READ;
	uint64_t lin;
	void *p;

	/* Seen on Intel: an MMX store that faults has done this much. */
	if (op->kind == NATIVE_MMX && op->flags & NATIVE_STORES)
		native_x87_zero_top(cpu);
	if (op->kind == NATIVE_X87 && op->flags & NATIVE_STORES && !x86_code64(cpu)) {
		x87_store(cpu, insn, op);
		return;
	}
	if (x86_unlikely(op->mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH)) {
		half_store(cpu, insn, op);
		return;
	}
	lin = native_address(cpu, insn, op->size, op->align, access);
	p = op->flags & NATIVE_STORES ? x86_hit_w(cpu, lin, op->size) : x86_hit_r(cpu, lin, op->size);

	/* A store that may have to be taken back goes to a buffer first. */
	if (x86_likely(p) && !(op->flags & NATIVE_STORES && op->flags & NATIVE_FP))
		run(cpu, insn, op, p);
	else
		run_bounced(cpu, insn, op, lin);
}

void x86_native_exec(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct native_op *op = op_get(cpu, insn);

	x86_begin(cpu, insn);
	if (x86_unlikely(!op))
		x86_ud(cpu);
	native_check(cpu, op->kind);
	if (op->fn) {
		op->fn(cpu, insn, op);
	} else {
		if (x86_unlikely(!op->stub && !stub_make(cpu->native, op)))
			x86_ud(cpu);
		if (op->size)
			run_memory(cpu, insn, op);
		else
			run(cpu, insn, op, NULL);
	}
	if (insn->flags & X86_I_END) {
		x86_advance(cpu, insn);
		return;
	}
	X86_NEXT();
}
