/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv/x86: decode and execute x86-64 instructions over a CPU state and a table
 * of operations. It knows physical addresses and host pointers, but no VMs and
 * no devices.
 *
 * Use, as a software logical processor:
 *
 *	cpu = x86_create(&ops, ctx, NULL);
 *	x86_reset(cpu, X86_RESET_POWER_UP);	or load the state, x86_state_changed()
 *	for (;;) switch (x86_run(cpu, 1000000)) { ... }
 *
 * and as an emulator of single instructions: x86_step_one() with ops that have
 * phys_read and phys_write.
 *
 * Errors are enum x86_status; nothing here aborts on guest input. All functions
 * are for the thread that owns the CPU unless they say otherwise.
 */
#ifndef HV_X86_X86_H
#define HV_X86_X86_H

#include "hv/x86/state.h"

/* ---- life cycle -------------------------------------------------------------------------- */

struct x86_config {
	size_t code_bytes;	/* memory for decoded blocks, reserved lazily; 0: 32 MiB */
	bool single;		/* only x86_step_one() will be used: one TLB set, little code memory */
};

/* NULL and errno when out of memory. `ops` and `ctx` are borrowed for the CPU's life. */
struct x86_cpu *x86_create(const struct x86_ops *ops, void *ctx, const struct x86_config *config);
void x86_destroy(struct x86_cpu *cpu);

enum x86_reset_kind { X86_RESET_POWER_UP, X86_RESET_INIT };
/* Register values after RESET or INIT (SDM volume 3, "Processor state after reset"). */
void x86_reset(struct x86_cpu *cpu, enum x86_reset_kind kind);

/* CPUID changed (or the CPU is new): reads it through ops->cpuid. x86_create() calls it. */
void x86_features_changed(struct x86_cpu *cpu);
bool x86_has(const struct x86_cpu *cpu, enum x86_feature feature);

/*
 * Recompute everything derived from control registers, EFER, segments, CPL, RFLAGS,
 * interruptibility, DR7. Does not flush the TLB: the owner knows what changed.
 */
void x86_state_changed(struct x86_cpu *cpu);

uint64_t x86_get_rflags(const struct x86_cpu *cpu);
/* Sets every defined bit of `value` without checks and recomputes what depends on them. */
void x86_set_rflags(struct x86_cpu *cpu, uint64_t value);

static inline void x86_intercept_set(struct x86_cpu *cpu, unsigned int what, bool on)
{
	uint64_t bit = 1ull << (what % 64);

	cpu->intercepts[what / 64] = (cpu->intercepts[what / 64] & ~bit) | (on ? bit : 0);
}

/* ---- running ----------------------------------------------------------------------------- */

enum x86_run_reason {
	X86_RUN_BUDGET,		/* max_insns retired (a block's length more is possible) */
	X86_RUN_EXIT,		/* an op returned X86_EXIT */
	X86_RUN_HALTED,		/* activity is HLT or wait-for-SIPI; rip is after HLT */
	X86_RUN_SHUTDOWN,	/* triple fault that was not intercepted; activity is X86_SHUTDOWN */
	X86_RUN_STOPPED,	/* X86_PEND_STOP; the bit has been cleared */
};

/*
 * Execute until one of the above. With activity other than X86_ACTIVE, only pending work is
 * looked at: ops->poll may wake the CPU by injecting or by setting activity.
 */
enum x86_run_reason x86_run(struct x86_cpu *cpu, uint64_t max_insns);

/*
 * Execute exactly one instruction, with its faults delivered: OK (done, or an exception was
 * delivered), EXIT, or X86_RUN-like conditions left in cpu->activity. A REP string
 * instruction runs to its end unless something is pending. Pending interrupts are not looked at.
 */
int x86_step_one(struct x86_cpu *cpu);

/* Any thread: set bits of cpu->pending (release). */
static inline void x86_pend(struct x86_cpu *cpu, uint32_t bits)
{
	__atomic_fetch_or(&cpu->pending, bits, __ATOMIC_RELEASE);
}

static inline void x86_unpend(struct x86_cpu *cpu, uint32_t bits)
{
	__atomic_fetch_and(&cpu->pending, ~bits, __ATOMIC_ACQ_REL);
}

/* True when an interrupt (IF, shadows) or NMI could be taken at this boundary. */
bool x86_intr_window(const struct x86_cpu *cpu);
bool x86_nmi_window(const struct x86_cpu *cpu);

/* ---- events ------------------------------------------------------------------------------ */

/*
 * Deliver an event through the IDT in the current mode, at an instruction boundary (the CPU is
 * not inside an instruction; ops->poll or between runs). Exceptions met during delivery are
 * delivered in turn, up to shutdown. Exceptions given here are not intercepted (they are
 * injected), nested ones are. OK: delivered. EXIT: an op said so; cpu->vectoring is the
 * event that was being delivered. Software events push rip + insn_len.
 * A NMI sets NMI blocking. Clears cpu->activity == X86_HALTED.
 */
int x86_inject(struct x86_cpu *cpu, const struct x86_event *event);

/*
 * Raise an exception as if the instruction at rip had: intercepts are looked at. For owners that
 * decide on a fault after an instruction's exit.
 */
int x86_raise(struct x86_cpu *cpu, unsigned int vector, bool has_error, uint32_t error_code,
	      uint64_t payload);

/* For ops: record the exception and return X86_FAULT. */
int x86_set_fault(struct x86_cpu *cpu, unsigned int vector, uint32_t error_code);
int x86_set_page_fault(struct x86_cpu *cpu, uint64_t linear, uint32_t error_code);

/* Whether `vector` pushes an error code as a hardware exception in protected mode. */
static inline bool x86_exc_has_error(unsigned int vector)
{
	return vector < 32 && (0x60227d00u >> vector & 1);
}

/* ---- memory ------------------------------------------------------------------------------ */

/*
 * Linear memory with the guest's paging at the current CPL (access READ or WRITE; add
 * X86_ACC_PT_WALK never). Any size. OK; FAULT: cpu->fault is set, nothing or a part was
 * transferred; EXIT. For ops and for owners between runs.
 */
int x86_lin_read(struct x86_cpu *cpu, uint64_t linear, void *buf, size_t size);
int x86_lin_write(struct x86_cpu *cpu, uint64_t linear, const void *buf, size_t size);
/* The same with supervisor rights whatever the CPL (descriptor tables, TSS). */
int x86_lin_read_system(struct x86_cpu *cpu, uint64_t linear, void *buf, size_t size);

/* Fetch up to `size` instruction bytes at rip; returns how many (0..15), never faults. */
unsigned int x86_fetch_bytes(struct x86_cpu *cpu, uint8_t *buf, unsigned int size);

/* Guest page walk in the CPU's present mode through ops->phys_translate. See x86_walk_params(). */
int x86_walk(struct x86_cpu *cpu, uint64_t linear, uint32_t access, struct x86_walk_result *out);
void x86_walk_params_from_cpu(struct x86_cpu *cpu, struct x86_walk_params *params);

/* Load the PAE page-directory-pointer registers from CR3: OK, EXIT, FAULT (reserved bits; no
 * exception recorded). */
int x86_load_pdptrs(struct x86_cpu *cpu, uint64_t cr3);

/* ---- checks that VM entry shares with instructions --------------------------------------- */

/* Bits of the register that the guest's features do not allow. */
uint64_t x86_cr4_reserved(const struct x86_cpu *cpu);
uint64_t x86_efer_reserved(const struct x86_cpu *cpu);
bool x86_canonical(const struct x86_cpu *cpu, uint64_t linear);
/* Write with the architectural checks and side effects (TLB flushes, PDPTEs, LMA): OK, EXIT, or
 * FAULT with #GP(0) recorded. */
int x86_write_cr0(struct x86_cpu *cpu, uint64_t value);
int x86_write_cr3(struct x86_cpu *cpu, uint64_t value);
int x86_write_cr4(struct x86_cpu *cpu, uint64_t value);
int x86_write_efer(struct x86_cpu *cpu, uint64_t value);
int x86_write_xcr0(struct x86_cpu *cpu, uint64_t value);
/* MSRs of the state, then ops->rdmsr and ops->wrmsr; no privilege check, no intercept. */
int x86_read_msr(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
int x86_write_msr(struct x86_cpu *cpu, uint32_t index, uint64_t value);

/* ---- decode ------------------------------------------------------------------------------ */

enum x86_code_mode {
	X86_CODE_REAL, X86_CODE_V86, X86_CODE_16, X86_CODE_32, X86_CODE_COMPAT16, X86_CODE_COMPAT32,
	X86_CODE_64,
};
enum x86_code_mode x86_code_mode(const struct x86_cpu *cpu);

/*
 * Decode one instruction of at most `len` bytes. 0; -EAGAIN: more bytes are needed (at most 15
 * in all); -E2BIG: longer than 15 bytes (#GP); -EILSEQ: undefined (#UD), out->fn raises it.
 * out->off is 0.
 */
int x86_decode(const uint8_t *bytes, unsigned int len, enum x86_code_mode mode,
	       struct x86_insn *out);

/*
 * Effective address of the instruction's memory operand in the CPU's present state (x86_decode()
 * with cpu->rip at the instruction); fills everything of struct x86_memop.
 */
void x86_memop(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_memop *out);

/* ---- the task switch and CPUID helpers ---------------------------------------------------- */

/*
 * Switch to the task of TSS `selector`; for owners that intercepted a task switch and want it
 * carried out. OK, EXIT, FAULT (cpu->fault set; may be in the new task's context).
 */
int x86_task_switch(struct x86_cpu *cpu, const struct x86_icpt_task *task, uint64_t next_rip);

/* Load a segment's hidden part from a descriptor's 8 bytes. */
void x86_seg_from_descriptor(struct x86_seg *seg, uint16_t selector, uint64_t descriptor);

#endif
