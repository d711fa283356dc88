/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared by the files of hv/x86 only: register access by offset, leaving an
 * instruction, the memory fast paths, flags, condition codes.
 *
 * Rules of a handler:
 *  - do everything that can fault before changing registers or cpu->rip, except
 *    where the manual makes an instruction restartable in steps (REP, ENTER);
 *  - call x86_begin() before anything but the memory fast paths below (they do
 *    it themselves when they miss), so that a fault knows its instruction;
 *  - end with X86_NEXT() in the middle of a block, x86_advance() or a jump at
 *    the end of one (X86_I_END, decided by the decoder).
 */
#ifndef HV_X86_INTERNAL_H
#define HV_X86_INTERNAL_H

#include <setjmp.h>
#include <string.h>
#include "hv/x86/x86.h"

#define x86_likely(x)	__builtin_expect(!!(x), 1)
#define x86_unlikely(x)	__builtin_expect(!!(x), 0)

#define X86_PAGE_MASK	(~0xfffull)

/* ---- leaving an instruction -------------------------------------------------------------- */

struct x86_catch {
	jmp_buf buf;
	struct x86_catch *outer;
	int status;		/* X86_EXIT, X86_FAULT or X86_DONE (the REP loop's early end) */
};

/*
 * X86_TRY(cpu, &frame) is 0 at first and the status after x86_throw(). The frame must be popped
 * with x86_catch_pop() on the way that does not throw.
 */
#define X86_TRY(cpu, frame)                                                                        \
	((frame)->outer = (cpu)->catch, (cpu)->catch = (frame),                                    \
	 _setjmp((frame)->buf) ? x86_caught(cpu, frame) : 0)

int x86_caught(struct x86_cpu *cpu, struct x86_catch *frame);

static inline void x86_catch_pop(struct x86_cpu *cpu, struct x86_catch *frame)
{
	cpu->catch = frame->outer;
}

_Noreturn void x86_throw(struct x86_cpu *cpu, int status);
_Noreturn void x86_throw_fault(struct x86_cpu *cpu, unsigned int vector, bool has_error,
			       uint32_t error_code, uint64_t payload);
_Noreturn void x86_ud(struct x86_cpu *cpu);
_Noreturn void x86_gp(struct x86_cpu *cpu, uint32_t error_code);
_Noreturn void x86_exc(struct x86_cpu *cpu, unsigned int vector, uint32_t error_code);

/* An op's status that is not OK or DONE leaves the instruction. */
static inline int x86_check(struct x86_cpu *cpu, int status)
{
	if (x86_unlikely(status == X86_EXIT || status == X86_FAULT))
		x86_throw(cpu, status);
	return status;
}

/* Name the instruction that is going to do something that can fault or call an op. */
static inline void x86_begin(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->cur = insn;
	cpu->insn_rip = cpu->rip + insn->off;
	cpu->insn_len = insn->len;
}

/* ---- going on ---------------------------------------------------------------------------- */

#define X86_NEXT() return insn[1].fn(cpu, insn + 1)

/* Instruction pointers outside 64-bit code are 32 bits wide. */
static inline uint64_t x86_next_rip(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t next = cpu->rip + insn->off + insn->len;

	return cpu->code_size == 8 ? next : (uint32_t)next;
}

static inline void x86_advance(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	cpu->rip = x86_next_rip(cpu, insn);
}

/* A serialising event: every block is checked against memory before it runs again. */
static inline void x86_serialise(struct x86_cpu *cpu)
{
	cpu->epoch++;
}

/* ---- registers --------------------------------------------------------------------------- */

#define X86_R8(off)	(*(uint8_t *)((char *)cpu + (off)))
#define X86_R16(off)	(*(uint16_t *)((char *)cpu + (off)))
#define X86_R32(off)	(*(uint32_t *)((char *)cpu + (off)))
#define X86_R64(off)	(*(uint64_t *)((char *)cpu + (off)))

/* Value of a register operand of 1, 2, 4, 8 bytes, zero-extended. */
static inline uint64_t x86_reg_get(const struct x86_cpu *cpu, unsigned int off, unsigned int size)
{
	switch (size) {
	case 1:
		return X86_R8(off);
	case 2:
		return X86_R16(off);
	case 4:
		return X86_R32(off);
	default:
		return X86_R64(off);
	}
}

/* 8 and 16 bits merge, 32 bits zero-extend. */
static inline void x86_reg_set(struct x86_cpu *cpu, unsigned int off, unsigned int size, uint64_t v)
{
	switch (size) {
	case 1:
		X86_R8(off) = (uint8_t)v;
		break;
	case 2:
		X86_R16(off) = (uint16_t)v;
		break;
	case 4:
		X86_R64(off) = (uint32_t)v;
		break;
	default:
		X86_R64(off) = v;
		break;
	}
}

static inline uint64_t x86_mask(unsigned int size)
{
	return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

static inline uint64_t x86_sext(uint64_t v, unsigned int size)
{
	unsigned int sh = 64 - size * 8;

	return (uint64_t)((int64_t)(v << sh) >> sh);
}

/* ---- flags ------------------------------------------------------------------------------- */

#define X86_CC_OF	0x0001u
#define X86_CC_CF	0x0100u
#define X86_CC_PF	0x0400u
#define X86_CC_AF	0x1000u
#define X86_CC_ZF	0x4000u
#define X86_CC_SF	0x8000u

static inline uint32_t x86_cc_to_flags(uint32_t cc)
{
	return ((cc >> 8) & 0xd5) | (cc & 1) << 11;
}

static inline uint32_t x86_flags_to_cc(uint64_t flags)
{
	return (uint32_t)((flags & 0xd5) << 8 | (flags >> 11 & 1));
}

/* Condition `c` of Jcc, SETcc, CMOVcc in encoding order. `c` is a constant in the hot uses. */
static inline bool x86_cond(uint32_t cc, unsigned int c)
{
	bool r;

	switch (c >> 1) {
	case 0:
		r = cc & X86_CC_OF;
		break;
	case 1:
		r = cc & X86_CC_CF;
		break;
	case 2:
		r = cc & X86_CC_ZF;
		break;
	case 3:
		r = cc & (X86_CC_CF | X86_CC_ZF);
		break;
	case 4:
		r = cc & X86_CC_SF;
		break;
	case 5:
		r = cc & X86_CC_PF;
		break;
	case 6:
		r = (cc >> 15 ^ cc) & 1;
		break;
	default:
		r = ((cc >> 15 ^ cc) & 1) || (cc & X86_CC_ZF);
		break;
	}
	return r ^ (c & 1);
}

/*
 * Inline assembly that computes guest flags on the host: X86_SAVE_CC leaves them in AX in cc
 * format, X86_LOAD_CC sets the host's flags from AX, X86_LOAD_CF the carry alone from `c`.
 */
#define X86_SAVE_CC	"lahf\n\tseto %%al"
#define X86_LOAD_CC	"addb $0x7f, %%al\n\tsahf\n\t"
#define X86_LOAD_CF	"btl $8, %k[c]\n\t"

/* ---- memory ------------------------------------------------------------------------------ */

/*
 * Guest data is accessed by single host moves, which keeps x86's memory order and
 * single-copy atomicity; the compiler must neither split nor merge them, and sanitizers
 * need not see them (races between guest CPUs are the guest's own).
 */
static inline uint64_t x86_host_load(const void *p, unsigned int size)
{
	uint64_t v;
	uint32_t w;

	switch (size) {
	case 1:
		__asm__ volatile("movzbl %1, %0" : "=r"(w) : "m"(*(const uint8_t *)p) : "memory");
		return w;
	case 2:
		__asm__ volatile("movzwl %1, %0" : "=r"(w) : "m"(*(const uint16_t *)p) : "memory");
		return w;
	case 4:
		__asm__ volatile("movl %1, %0" : "=r"(w) : "m"(*(const uint32_t *)p) : "memory");
		return w;
	default:
		__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(const uint64_t *)p) : "memory");
		return v;
	}
}

static inline void x86_host_store(void *p, unsigned int size, uint64_t v)
{
	switch (size) {
	case 1:
		__asm__ volatile("movb %1, %0" : "=m"(*(uint8_t *)p) : "q"((uint8_t)v) : "memory");
		break;
	case 2:
		__asm__ volatile("movw %1, %0" : "=m"(*(uint16_t *)p) : "r"((uint16_t)v) : "memory");
		break;
	case 4:
		__asm__ volatile("movl %1, %0" : "=m"(*(uint32_t *)p) : "r"((uint32_t)v) : "memory");
		break;
	default:
		__asm__ volatile("movq %1, %0" : "=m"(*(uint64_t *)p) : "r"(v) : "memory");
		break;
	}
}

/* Copies from or to guest memory, unseen by sanitizers for the same reason. */
static inline void x86_host_copy(void *to, const void *from, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

/* n > 0. The last word overlaps the one before it. */
static inline bool x86_host_equal(const uint8_t *guest, const uint8_t *copy, size_t n)
{
	uint64_t v;
	uint32_t w;
	size_t at;

	if (x86_likely(n >= 8)) {
		for (at = 0; at + 8 < n; at += 8) {
			memcpy(&v, copy + at, 8);
			if (x86_host_load(guest + at, 8) != v)
				return false;
		}
		memcpy(&v, copy + n - 8, 8);
		return x86_host_load(guest + n - 8, 8) == v;
	}
	if (n >= 4) {
		memcpy(&w, copy, 4);
		if (x86_host_load(guest, 4) != w)
			return false;
		memcpy(&w, copy + n - 4, 4);
		return x86_host_load(guest + n - 4, 4) == w;
	}
	for (at = 0; at < n; at++)
		if ((uint8_t)x86_host_load(guest + at, 1) != copy[at])
			return false;
	return true;
}

/* TLB hits: host pointer or NULL. `size` up to 4096. */
static inline void *x86_hit_r(struct x86_cpu *cpu, uint64_t lin, unsigned int size)
{
	const struct x86_tlb_entry *e = &cpu->tlb[x86_tlb_index(lin)];

	if (x86_likely(((lin + (size - 1)) & X86_PAGE_MASK) == e->tag_r))
		return (void *)(lin + e->addend);
	return NULL;
}

static inline void *x86_hit_w(struct x86_cpu *cpu, uint64_t lin, unsigned int size)
{
	const struct x86_tlb_entry *e = &cpu->tlb[x86_tlb_index(lin)];

	if (x86_likely(((lin + (size - 1)) & X86_PAGE_MASK) == e->tag_w))
		return (void *)(lin + e->addend);
	return NULL;
}

/* Slow paths (mem.c). `seg` tells #SS from #GP for non-canonical addresses. They throw. */
uint64_t x86_read_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		       unsigned int size, unsigned int seg);
void x86_write_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin, uint64_t v,
		    unsigned int size_seg);
void *x86_rmw_slow(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
		   unsigned int size, unsigned int seg);
void x86_rmw_flush(struct x86_cpu *cpu);
/* #AC, when alignment checks are on; `size` is a power of two. */
void x86_check_alignment(struct x86_cpu *cpu, uint64_t lin, unsigned int size);
#define X86_SIZE_SEG(size, seg) ((size) | (seg) << 8)

static inline uint64_t x86_read(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
				unsigned int size, unsigned int seg)
{
	void *p = x86_hit_r(cpu, lin, size);

	return x86_likely(p) ? x86_host_load(p, size) : x86_read_slow(cpu, insn, lin, size, seg);
}

static inline void x86_write(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
			     uint64_t v, unsigned int size, unsigned int seg)
{
	void *p = x86_hit_w(cpu, lin, size);

	if (x86_likely(p))
		x86_host_store(p, size, v);
	else
		x86_write_slow(cpu, insn, lin, v, X86_SIZE_SEG(size, seg));
}

/*
 * Host pointer for a read-modify-write of `size` <= 64 bytes. x86_rmw_end() must follow: the
 * pointer may be a bounce buffer (page crossing, MMIO).
 */
static inline void *x86_rmw(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t lin,
			    unsigned int size, unsigned int seg)
{
	void *p = x86_hit_w(cpu, lin, size);

	return x86_likely(p) ? p : x86_rmw_slow(cpu, insn, lin, size, seg);
}

static inline void x86_rmw_end(struct x86_cpu *cpu, const void *p)
{
	if (x86_unlikely(p == cpu->bounce))
		x86_rmw_flush(cpu);
}

/*
 * Any size, with rights of `mode` (enum x86_tlb_mode); throw. The caller has checked
 * segmentation and canonicality of the first byte.
 */
void x86_copy_from(struct x86_cpu *cpu, uint64_t lin, void *buf, size_t size, unsigned int mode);
void x86_copy_to(struct x86_cpu *cpu, uint64_t lin, const void *buf, size_t size, unsigned int mode);
/* Make sure that [lin, lin + size) can be written, without writing. */
void x86_probe_write(struct x86_cpu *cpu, uint64_t lin, size_t size, unsigned int mode);
uint64_t x86_read_mode(struct x86_cpu *cpu, uint64_t lin, unsigned int size, unsigned int mode);
void x86_write_mode(struct x86_cpu *cpu, uint64_t lin, uint64_t v, unsigned int size,
		    unsigned int mode);
/*
 * Host pointer for bulk access inside one page, or NULL (MMIO, or must be done step by step).
 * access READ or WRITE; a write pointer is good for `len` bytes and one instruction.
 */
void *x86_bulk_ptr(struct x86_cpu *cpu, uint64_t lin, unsigned int len, uint32_t access,
		   unsigned int seg);

/* A translated access, the common part of all slow paths. */
struct x86_xlat {
	uint8_t *host;		/* of the byte at lin; NULL: MMIO at gpa */
	uint64_t gpa;
};
/* `mode`: enum x86_tlb_mode. [lin, lin+size) is inside one page. Throws. */
void x86_translate(struct x86_cpu *cpu, uint64_t lin, unsigned int size, uint32_t access,
		   unsigned int mode, struct x86_xlat *out);
/* The same without throwing: OK, FAULT (cpu->fault), EXIT. */
int x86_try_translate(struct x86_cpu *cpu, uint64_t lin, unsigned int size, uint32_t access,
		      unsigned int mode, struct x86_xlat *out);

/* Mode with supervisor rights for implicit accesses. */
static inline unsigned int x86_system_mode(const struct x86_cpu *cpu)
{
	return cpu->cr4 & X86_CR4_SMAP ? X86_TLB_SUPER : X86_TLB_SUPER_AC;
}

/* ---- segments ---------------------------------------------------------------------------- */

/* x86_seg.flat. Of a segment whose limit is 4 GiB only the type matters, and the base. */
#define X86_SEG_FLAT_R	1u	/* readable, base 0 */
#define X86_SEG_FLAT_W	2u	/* writable, base 0 */
#define X86_SEG_R	4u	/* readable, any base */
#define X86_SEG_W	8u

/* ---- addresses --------------------------------------------------------------------------- */

uint64_t x86_ea_slow(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
		     uint32_t access);
uint64_t x86_seg_linear_slow(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int seg,
			     uint64_t offset, unsigned int size, uint32_t access);

/* Segmentation for an offset: checks type, limit, canonicality is left to the access. */
static inline uint64_t x86_seg_linear(struct x86_cpu *cpu, const struct x86_insn *insn,
				      unsigned int seg, uint64_t offset, unsigned int size,
				      uint32_t access)
{
	const struct x86_seg *s = &cpu->seg[seg];

	if (cpu->code_size == 8)
		return seg >= X86_FS ? s->base + offset : offset;
	if (x86_likely(s->flat & (access & X86_ACC_WRITE ? X86_SEG_W : X86_SEG_R)))
		return (uint32_t)(s->base + offset);
	return x86_seg_linear_slow(cpu, insn, seg, offset, size, access);
}

/* Offset of the memory operand without its segment base. */
uint64_t x86_ea_offset(const struct x86_cpu *cpu, const struct x86_insn *insn);

static inline uint64_t x86_ea(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
			      uint32_t access)
{
	if (x86_likely(insn->flags & X86_I_FLAT))
		return X86_R64(insn->base) + (X86_R64(insn->index) << insn->scale) +
		       (uint64_t)insn->disp;
	if (insn->flags & X86_I_FLAT32)
		return (uint32_t)(X86_R32(insn->base) + (X86_R32(insn->index) << insn->scale) +
				  (uint32_t)insn->disp);
	return x86_ea_slow(cpu, insn, size, access);
}

/* The insn's memory operand. */
static inline uint64_t x86_load(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size)
{
	return x86_read(cpu, insn, x86_ea(cpu, insn, size, X86_ACC_READ), size, insn->seg);
}

static inline void x86_store(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size,
			     uint64_t v)
{
	x86_write(cpu, insn, x86_ea(cpu, insn, size, X86_ACC_WRITE), v, size, insn->seg);
}

static inline void *x86_rmw_operand(struct x86_cpu *cpu, const struct x86_insn *insn,
				    unsigned int size)
{
	return x86_rmw(cpu, insn, x86_ea(cpu, insn, size, X86_ACC_WRITE), size, insn->seg);
}

static inline bool x86_noncanonical(const struct x86_cpu *cpu, uint64_t lin)
{
	unsigned int sh = cpu->cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(lin << sh) >> sh) != lin;
}

/*
 * For a register that holds a linear address: as wide as the processor has them, whatever the
 * paging mode of the moment (SDM volume 1, "Canonical addressing").
 */
static inline bool x86_noncanonical_reg(const struct x86_cpu *cpu, uint64_t lin)
{
	unsigned int sh = x86_has(cpu, X86_FEAT_LA57) ? 7 : 16;

	return (uint64_t)((int64_t)(lin << sh) >> sh) != lin;
}

/* ---- modes ------------------------------------------------------------------------------- */

static inline bool x86_pe(const struct x86_cpu *cpu)
{
	return cpu->cr0 & X86_CR0_PE;
}

static inline bool x86_v86(const struct x86_cpu *cpu)
{
	return cpu->eflags & X86_FL_VM;
}

/* Protected mode proper: descriptors and privilege levels matter. */
static inline bool x86_prot(const struct x86_cpu *cpu)
{
	return x86_pe(cpu) && !x86_v86(cpu);
}

static inline bool x86_lma(const struct x86_cpu *cpu)
{
	return cpu->efer & X86_EFER_LMA;
}

static inline bool x86_code64(const struct x86_cpu *cpu)
{
	return cpu->code_size == 8;
}

static inline unsigned int x86_iopl(const struct x86_cpu *cpu)
{
	return cpu->eflags >> 12 & 3;
}

/* cpu->mode: the block key. */
#define X86_MODE_CODE	0xfu	/* enum x86_code_mode */
#define X86_MODE_ONE	0x10u	/* one instruction per block */
#define X86_MODE_FLAT	0x20u	/* 32-bit code; DS, ES and SS are flat, writable, and SS is big */

/* cpu->flags_: reasons to take instructions one at a time. */
#define X86_SLOW_TF	0x01
#define X86_SLOW_RF	0x02
#define X86_SLOW_SHADOW	0x04
#define X86_SLOW_DR	0x08
#define X86_SLOW_PEND	0x10

/* Recompute pend_mask, flags_ after IF, TF, RF, shadows, NMI blocking, DR7 changed. */
void x86_update_pending(struct x86_cpu *cpu);
/* After CR0, CR4, EFER, CS, CPL or AC changed. */
void x86_update_mode(struct x86_cpu *cpu);
/* After AC or CPL alone. */
void x86_update_tlb_mode(struct x86_cpu *cpu);
void x86_seg_update(struct x86_seg *seg);
/* After DS, ES or SS changed; part of x86_update_mode(). */
void x86_update_flat(struct x86_cpu *cpu);
void x86_set_cpl(struct x86_cpu *cpu, unsigned int cpl);

/* ---- interception ------------------------------------------------------------------------ */

static inline bool x86_intercepted(const struct x86_cpu *cpu, unsigned int what)
{
	return cpu->intercepts[what / 64] >> (what % 64) & 1;
}

/*
 * Ask the owner about `what` if it is intercepted: OK or DONE; throws otherwise. The common part
 * of *info is filled in here; memop too when the instruction has a modrm byte.
 */
int x86_icpt(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what,
	     struct x86_intercept_info *info);
/* For instructions without further information: true when it is already DONE. */
bool x86_icpt_simple(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what);

/* ---- blocks (block.h has the rules) ------------------------------------------------------- */

#include "hv/x86/block.h"

/* ---- between files ----------------------------------------------------------------------- */

/* segment.c */
void x86_load_seg(struct x86_cpu *cpu, unsigned int seg, uint16_t selector);
void x86_load_seg_real(struct x86_cpu *cpu, unsigned int seg, uint16_t selector);
uint64_t x86_read_descriptor(struct x86_cpu *cpu, uint16_t selector, unsigned int fault_vector,
			     uint64_t *linear);
/* 16-byte system descriptor's second half. */
uint64_t x86_read_descriptor_high(struct x86_cpu *cpu, uint16_t selector);
void x86_set_accessed(struct x86_cpu *cpu, uint64_t linear, uint64_t *descriptor);
void x86_load_ldtr(struct x86_cpu *cpu, uint16_t selector, unsigned int fault_vector);
void x86_seg_null(struct x86_cpu *cpu, unsigned int seg, uint16_t selector);
/* Data segments that the new CPL may not keep (RET, IRET to an outer level). */
void x86_drop_outer_segs(struct x86_cpu *cpu);
/* Make SS:new hidden parts after all checks. */
void x86_commit_seg(struct x86_cpu *cpu, unsigned int seg, uint16_t selector, uint64_t descriptor);
void x86_commit_cs(struct x86_cpu *cpu, uint16_t selector, uint64_t descriptor, unsigned int cpl);
void x86_commit_cs_real(struct x86_cpu *cpu, uint16_t selector);
/* Check a stack-segment descriptor for `cpl`; throws `vector`. Returns the descriptor. */
uint64_t x86_check_ss(struct x86_cpu *cpu, uint16_t selector, unsigned int cpl, unsigned int vector,
		      uint64_t *linear);

/* Descriptor fields. */
static inline uint32_t x86_desc_ar(uint64_t d)
{
	return (uint32_t)(d >> 40) & 0xf0ff;
}

static inline uint64_t x86_desc_base(uint64_t d)
{
	return (d >> 16 & 0xffffff) | (d >> 56 & 0xff) << 24;
}

static inline uint32_t x86_desc_limit(uint64_t d)
{
	uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));

	return x86_desc_ar(d) & X86_AR_G ? limit << 12 | 0xfff : limit;
}

/* stack.c: pushes and pops outside the 64-bit fast path. */
struct x86_stack {
	uint64_t sp;		/* working stack pointer */
	uint64_t base;		/* of SS */
	uint64_t mask;		/* of SP */
	const struct x86_seg *ss;
	unsigned int mode;	/* rights */
	uint32_t ss_error;	/* error code of #SS */
	bool flat;		/* no limit checks (64-bit) */
};
void x86_stack_current(struct x86_cpu *cpu, struct x86_stack *st);
void x86_stack_push(struct x86_cpu *cpu, struct x86_stack *st, unsigned int size, uint64_t v);
uint64_t x86_stack_pop(struct x86_cpu *cpu, struct x86_stack *st, unsigned int size);
/* `size` bytes at the stack pointer must be writable; throws. */
void x86_stack_probe(struct x86_cpu *cpu, const struct x86_stack *st, unsigned int size);
void x86_stack_commit(struct x86_cpu *cpu, const struct x86_stack *st);

/* event.c */
int x86_deliver(struct x86_cpu *cpu, const struct x86_event *event, bool injected);
/* Software interrupt of an instruction, at its end. */
void x86_soft_int(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int vector,
		  enum x86_event_type type);

/* task.c: throws. */
void x86_switch_task(struct x86_cpu *cpu, const struct x86_icpt_task *task, uint64_t next_rip);
/* Privileged stack from the TSS; throws #TS. */
void x86_tss_stack(struct x86_cpu *cpu, unsigned int cpl, uint16_t *ss, uint64_t *sp);
uint64_t x86_tss64_rsp(struct x86_cpu *cpu, unsigned int index);
/* True when I/O to [port, port+size) is permitted by IOPL or the TSS bitmap. */
bool x86_io_allowed(struct x86_cpu *cpu, unsigned int port, unsigned int size);

/* far.c, exec_control.c */
void x86_jump_near(struct x86_cpu *cpu, uint64_t target, unsigned int opsize);
void x86_iret(struct x86_cpu *cpu, const struct x86_insn *insn);

/* debug.c */
bool x86_debug_code_match(struct x86_cpu *cpu, uint64_t linear, uint64_t *dr6);
void x86_debug_data(struct x86_cpu *cpu, uint64_t linear, unsigned int size, uint32_t access);
void x86_debug_io(struct x86_cpu *cpu, unsigned int port, unsigned int size);
bool x86_debug_page(const struct x86_cpu *cpu, uint64_t linear);
void x86_update_debug(struct x86_cpu *cpu);

/* run.c */
/* One instruction at a boundary with all the debug and shadow rules; throws are caught inside. */
int x86_exec_one(struct x86_cpu *cpu);

/* flags as PUSHF sees them, and the writable part of them. */
void x86_write_flags(struct x86_cpu *cpu, uint64_t value, uint64_t mask);

/* Control registers without privilege checks; throw. */
void x86_mov_cr(struct x86_cpu *cpu, unsigned int cr, uint64_t value);
bool x86_pae_paging(const struct x86_cpu *cpu);

/* native.c: x87, MMX, SSE, AVX. */
void x86_native_exec(struct x86_cpu *cpu, const struct x86_insn *insn);
void x86_native_destroy(struct x86_cpu *cpu);
void x86_native_features_changed(struct x86_cpu *cpu);

#endif
