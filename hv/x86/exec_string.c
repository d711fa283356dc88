/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * String instructions. Each iteration is a restart point: registers are up to date before
 * anything that can fault, and pending work ends the instruction between iterations with rip
 * still at it. MOVS and STOS upwards within RAM pages go a page at a time through the host's
 * own REP.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

struct str {
	unsigned int size, adsize;
	uint64_t mask;		/* of the address size */
	int64_t step;
};

static inline void str_init(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
			    struct str *s)
{
	x86_begin(cpu, insn);
	s->size = size;
	s->adsize = insn->adsize;
	s->mask = x86_mask(insn->adsize);
	s->step = cpu->eflags & X86_FL_DF ? -(int64_t)size : (int64_t)size;
}

static inline void str_move(struct x86_cpu *cpu, const struct str *s, unsigned int reg, int64_t by)
{
	x86_reg_set(cpu, reg * 8, s->adsize, cpu->gpr[reg] + (uint64_t)by);
}

static inline uint64_t str_src(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	return x86_seg_linear(cpu, insn, insn->seg, cpu->gpr[X86_RSI] & s->mask, s->size,
			      X86_ACC_READ);
}

static inline uint64_t str_dst(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s,
			       uint32_t access)
{
	return x86_seg_linear(cpu, insn, X86_ES, cpu->gpr[X86_RDI] & s->mask, s->size, access);
}

/* Between iterations: must the instruction be left now? */
static inline bool str_interrupted(const struct x86_cpu *cpu)
{
	return cpu->step_tf || (__atomic_load_n(&cpu->pending, __ATOMIC_ACQUIRE) & cpu->pend_mask) ||
	       cpu->debug_data;
}

static void str_leave(struct x86_cpu *cpu)
{
	cpu->rip = cpu->insn_rip;
	if (!cpu->step_tf) { /* the saved image of RF is 1 in the middle of a repetition */
		cpu->eflags |= X86_FL_RF;
		x86_update_pending(cpu);
	}
}

/*
 * How many elements can be done at once from `lin`, going up: to the page's end, no further
 * than the index register's own width, and only if the segment needs no checks.
 */
static inline uint64_t str_room(const struct x86_cpu *cpu, const struct str *s, unsigned int seg,
				uint64_t index, uint64_t lin, uint64_t count, unsigned int flat)
{
	uint64_t n = (4096 - (lin & 0xfff)) / s->size, left;

	if (cpu->code_size != 8 && !(cpu->seg[seg].flat & flat))
		return 0;
	left = s->adsize == 8 ? UINT64_MAX : (s->mask - (index & s->mask) + 1) / s->size;
	n = n < left ? n : left;
	return n < count ? n : count;
}

static void host_movs(void *to, const void *from, uint64_t n, unsigned int size)
{
	if (size == 1)
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	else if (size == 2)
		__asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	else if (size == 4)
		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	else
		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void host_stos(void *to, uint64_t v, uint64_t n, unsigned int size)
{
	if (size == 1)
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(v) : "memory");
	else if (size == 2)
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(v) : "memory");
	else if (size == 4)
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(v) : "memory");
	else
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(v) : "memory");
}

/* ---- MOVS ------------------------------------------------------------------------------------------- */

static inline void movs_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	uint64_t v = x86_read(cpu, insn, str_src(cpu, insn, s), s->size, insn->seg);

	x86_write(cpu, insn, str_dst(cpu, insn, s, X86_ACC_WRITE), v, s->size, X86_ES);
	str_move(cpu, s, X86_RSI, s->step);
	str_move(cpu, s, X86_RDI, s->step);
}

static uint64_t movs_bulk(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s,
			  uint64_t count)
{
	uint64_t from, to, n;
	void *src, *dst;

	if (s->step < 0 || cpu->step_tf)
		return 0;
	/* The source is done with before the destination is looked at. */
	from = str_src(cpu, insn, s);
	n = str_room(cpu, s, insn->seg, cpu->gpr[X86_RSI], from, count, X86_SEG_FLAT_R);
	src = n < 2 ? NULL : x86_bulk_ptr(cpu, from, (unsigned int)n * s->size, X86_ACC_READ, insn->seg);
	if (!src)
		return 0;
	to = str_dst(cpu, insn, s, X86_ACC_WRITE);
	n = str_room(cpu, s, X86_ES, cpu->gpr[X86_RDI], to, n, X86_SEG_FLAT_W);
	dst = n < 2 ? NULL : x86_bulk_ptr(cpu, to, (unsigned int)n * s->size, X86_ACC_WRITE, X86_ES);
	if (!dst)
		return 0;
	host_movs(dst, src, n, s->size);
	str_move(cpu, s, X86_RSI, (int64_t)(n * s->size));
	str_move(cpu, s, X86_RDI, (int64_t)(n * s->size));
	return n;
}

static uint64_t stos_bulk(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s,
			  uint64_t count)
{
	uint64_t to, n;
	void *dst;

	if (s->step < 0 || cpu->step_tf)
		return 0;
	to = str_dst(cpu, insn, s, X86_ACC_WRITE);
	n = str_room(cpu, s, X86_ES, cpu->gpr[X86_RDI], to, count, X86_SEG_FLAT_W);
	if (n < 2)
		return 0;
	dst = x86_bulk_ptr(cpu, to, (unsigned int)n * s->size, X86_ACC_WRITE, X86_ES);
	if (!dst)
		return 0;
	host_stos(dst, cpu->gpr[X86_RAX], n, s->size);
	str_move(cpu, s, X86_RDI, (int64_t)(n * s->size));
	return n;
}

static inline void stos_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	x86_write(cpu, insn, str_dst(cpu, insn, s, X86_ACC_WRITE),
		  x86_reg_get(cpu, 0, s->size), s->size, X86_ES);
	str_move(cpu, s, X86_RDI, s->step);
}

static inline void lods_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	uint64_t v = x86_read(cpu, insn, str_src(cpu, insn, s), s->size, insn->seg);

	x86_reg_set(cpu, 0, s->size, v);
	str_move(cpu, s, X86_RSI, s->step);
}

/* ---- CMPS, SCAS -------------------------------------------------------------------------------------- */

#define COMPARE(type, sfx)                                                                         \
	__asm__("cmp" #sfx " %[b], %[a]\n\t" X86_SAVE_CC                                           \
		: "=&a"(cc) : [a] "q"((type)a), [b] "q"((type)b) : "cc")

static void compare(struct x86_cpu *cpu, uint64_t a, uint64_t b, unsigned int size)
{
	uint16_t cc;

	if (size == 1)
		COMPARE(uint8_t, b);
	else if (size == 2)
		COMPARE(uint16_t, w);
	else if (size == 4)
		COMPARE(uint32_t, l);
	else
		COMPARE(uint64_t, q);
	cpu->cc = cc;
}

static inline void cmps_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	/* Processors look at ES:rDI first: seen in which of two faults is reported. */
	uint64_t b = x86_read(cpu, insn, str_dst(cpu, insn, s, X86_ACC_READ), s->size, X86_ES);
	uint64_t a = x86_read(cpu, insn, str_src(cpu, insn, s), s->size, insn->seg);

	compare(cpu, a, b, s->size);
	str_move(cpu, s, X86_RSI, s->step);
	str_move(cpu, s, X86_RDI, s->step);
}

static inline void scas_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s)
{
	uint64_t b = x86_read(cpu, insn, str_dst(cpu, insn, s, X86_ACC_READ), s->size, X86_ES);

	compare(cpu, x86_reg_get(cpu, 0, s->size), b, s->size);
	str_move(cpu, s, X86_RDI, s->step);
}

/* ---- repetition ------------------------------------------------------------------------------------------ */

typedef void str_one(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s);
typedef uint64_t str_bulk(struct x86_cpu *cpu, const struct x86_insn *insn, const struct str *s,
			  uint64_t count);

/*
 * Repetition with 32-bit addresses clears upper halves even when the first access faults or
 * the count is 0: RCX's always, those of the indices for MOVS and STOS (seen on Intel).
 */
static void narrow(struct x86_cpu *cpu, bool source, bool destination)
{
	cpu->gpr[X86_RCX] = (uint32_t)cpu->gpr[X86_RCX];
	if (source)
		cpu->gpr[X86_RSI] = (uint32_t)cpu->gpr[X86_RSI];
	if (destination)
		cpu->gpr[X86_RDI] = (uint32_t)cpu->gpr[X86_RDI];
}

/* Inlined into each form: `one`, `bulk` and `compares` are constants there. */
static inline __attribute__((always_inline)) void
str_run(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size, str_one *one,
	str_bulk *bulk, bool compares)
{
	uint64_t count, n;
	uint32_t cc, start = cpu->cc;
	struct str s;

	str_init(cpu, insn, size, &s);
	if (!(insn->flags & (X86_I_REP | X86_I_REPNE))) {
		one(cpu, insn, &s);
		x86_advance(cpu, insn);
		return;
	}
	if (insn->adsize == 4)
		narrow(cpu, bulk == movs_bulk, bulk != NULL);
	while ((count = cpu->gpr[X86_RCX] & s.mask)) {
		n = bulk ? bulk(cpu, insn, &s, count) : 0;
		if (!n) {
			one(cpu, insn, &s);
			n = 1;
		}
		x86_reg_set(cpu, X86_RCX * 8, s.adsize, count - n);
		if (compares && !(cpu->cc & X86_CC_ZF) == !(insn->flags & X86_I_REPNE))
			break;
		/* The flags become visible only when the whole instruction is complete. */
		cc = cpu->cc;
		cpu->cc = start;
		if (count == n)
			cpu->cc = cc;
		else if (str_interrupted(cpu)) {
			str_leave(cpu);
			return;
		}
	}
	x86_advance(cpu, insn);
}

#define MAKE(name, sfx, size, bulk, compares)                                                      \
	static void name##_##sfx(struct x86_cpu *cpu, const struct x86_insn *insn)                 \
	{                                                                                          \
		str_run(cpu, insn, size, name##_one, bulk, compares);                              \
	}
#define MAKE_SIZES(name, bulk, compares)                                                           \
	MAKE(name, b, 1, bulk, compares)                                                           \
	MAKE(name, w, 2, bulk, compares)                                                           \
	MAKE(name, l, 4, bulk, compares)                                                           \
	MAKE(name, q, 8, bulk, compares)                                                           \
	x86_fn4 x86_##name = { name##_b, name##_w, name##_l, name##_q };

MAKE_SIZES(movs, movs_bulk, false)
MAKE_SIZES(stos, stos_bulk, false)
MAKE_SIZES(lods, NULL, false)
MAKE_SIZES(cmps, NULL, true)
MAKE_SIZES(scas, NULL, true)
