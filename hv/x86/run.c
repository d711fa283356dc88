/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The run loop: blocks while nothing special is in force, single instructions with the rules
 * of shadows, RF, TF and breakpoints otherwise; and what happens at instruction boundaries, in
 * the order of the SDM's table "Priority among simultaneous events".
 */
#include <stdlib.h>
#include "hv/x86/internal.h"

#define RUN_ON (-1) /* no reason to leave */

/* ---- leaving an instruction ----------------------------------------------------------------- */

void x86_throw(struct x86_cpu *cpu, int status)
{
	if (!cpu->catch)
		abort(); /* a handler ran outside x86_run() and its like: our bug */
	cpu->catch->status = status;
	longjmp(cpu->catch->buf, 1);
}

int x86_caught(struct x86_cpu *cpu, struct x86_catch *frame)
{
	cpu->catch = frame->outer;
	return frame->status;
}

int x86_set_fault(struct x86_cpu *cpu, unsigned int vector, uint32_t error_code)
{
	cpu->fault = (struct x86_event){
		.valid = 1, .vector = (uint8_t)vector, .type = X86_EV_EXC,
		.has_error = x86_exc_has_error(vector), .error_code = error_code,
	};
	return X86_FAULT;
}

int x86_set_page_fault(struct x86_cpu *cpu, uint64_t linear, uint32_t error_code)
{
	x86_set_fault(cpu, X86_PF, error_code);
	cpu->fault.payload = linear;
	return X86_FAULT;
}

void x86_throw_fault(struct x86_cpu *cpu, unsigned int vector, bool has_error, uint32_t error_code,
		     uint64_t payload)
{
	x86_set_fault(cpu, vector, error_code);
	cpu->fault.has_error = has_error;
	cpu->fault.payload = payload;
	x86_throw(cpu, X86_FAULT);
}

/* During delivery EXT marks events from outside the instruction (not in #PF and #AC codes). */
void x86_exc(struct x86_cpu *cpu, unsigned int vector, uint32_t error_code)
{
	if (vector >= X86_TS && vector <= X86_GP)
		error_code |= cpu->ext;
	x86_throw_fault(cpu, vector, x86_exc_has_error(vector), error_code, 0);
}

void x86_ud(struct x86_cpu *cpu)
{
	x86_exc(cpu, X86_UD, 0);
}

void x86_gp(struct x86_cpu *cpu, uint32_t error_code)
{
	x86_exc(cpu, X86_GP, error_code);
}

/* ---- interception of instructions ----------------------------------------------------------- */

int x86_icpt(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what,
	     struct x86_intercept_info *info)
{
	int ret;

	if (x86_likely(!x86_intercepted(cpu, what)))
		return X86_OK;
	info->insn = insn;
	info->bytes = insn->raw;
	info->insn_len = insn->len;
	info->rip = cpu->insn_rip;
	info->next_rip = x86_next_rip(cpu, insn);
	x86_memop(cpu, insn, &info->memop);
	ret = cpu->ops->intercept(cpu, (enum x86_intercept)what, info);
	return x86_check(cpu, ret);
}

bool x86_icpt_simple(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int what)
{
	struct x86_intercept_info info;

	if (x86_likely(!x86_intercepted(cpu, what)))
		return false;
	memset(&info, 0, sizeof(info));
	return x86_icpt(cpu, insn, what, &info) == X86_DONE;
}

/* ---- one instruction ------------------------------------------------------------------------ */

/* Its own thread counts; others may read the number (statistics). */
static inline void count(struct x86_cpu *cpu, uint64_t n)
{
	__atomic_store_n(&cpu->insns, cpu->insns + n, __ATOMIC_RELAXED);
}

static inline void run_block(struct x86_cpu *cpu, struct x86_block *b)
{

	cpu->cur_block = b;
	b->insn[0].fn(cpu, b->insn);
	count(cpu, b->ninsns);
}

static void code_breakpoint(struct x86_cpu *cpu)
{
	uint64_t hit = 0, lin = cpu->code_size == 8 ? cpu->rip :
						      (uint32_t)(cpu->seg[X86_CS].base + cpu->rip);

	cpu->cur = NULL;
	cpu->insn_rip = cpu->rip;
	if (!x86_debug_code_match(cpu, lin, &hit))
		return;
	cpu->step_rf = X86_FL_RF; /* a fault: its image of RF is 1 */
	x86_throw_fault(cpu, X86_DB, false, 0, hit);
}

/* Throws. Afterwards shadows have expired and a due single-step trap is in pending_dbg. */
static void one(struct x86_cpu *cpu)
{
	uint64_t before = cpu->rip;

	cpu->step_rf = cpu->eflags & X86_FL_RF;
	cpu->step_tf = !!(cpu->eflags & X86_FL_TF);
	cpu->shadow_fresh = 0;
	if (cpu->debug_code && !cpu->step_rf && !(cpu->intr_state & X86_SHADOW_MOVSS))
		code_breakpoint(cpu);
	cpu->eflags &= ~X86_FL_RF;
	cpu->mode |= X86_MODE_ONE;
	run_block(cpu, x86_block_find(cpu));
	cpu->mode &= ~X86_MODE_ONE;
	cpu->step_rf = 0;
	if (!cpu->shadow_fresh)
		cpu->intr_state &= ~(uint32_t)(X86_SHADOW_STI | X86_SHADOW_MOVSS);
	if (cpu->step_tf && !(cpu->intr_state & X86_SHADOW_MOVSS) &&
	    (!(cpu->debugctl & X86_DEBUGCTL_BTF) || cpu->rip != before + cpu->insn_len))
		cpu->pending_dbg |= X86_DR6_BS;
	x86_update_pending(cpu);
}

/* Instructions of the block that were complete when it was left in the middle. */
static void count_partial(struct x86_cpu *cpu)
{
	const struct x86_block *b = cpu->cur_block;

	if (b && cpu->cur > b->insn && cpu->cur < b->insn + b->ninsns)
		count(cpu, (uint64_t)(cpu->cur - b->insn));
}

/* The instruction at insn_rip was left: OK when an exception was delivered, or EXIT. */
static int after_throw(struct x86_cpu *cpu, int status)
{
	struct x86_event ev;

	cpu->rip = cpu->insn_rip;
	cpu->eflags |= cpu->step_rf;
	cpu->step_rf = 0;
	count_partial(cpu);
	cpu->cur_block = NULL;
	cpu->ext = 0;
	x86_update_mode(cpu);
	x86_update_pending(cpu);
	if (status != X86_FAULT)
		return X86_EXIT;
	ev = cpu->fault;
	return x86_deliver(cpu, &ev, false);
}

int x86_raise(struct x86_cpu *cpu, unsigned int vector, bool has_error, uint32_t error_code,
	      uint64_t payload)
{
	struct x86_event ev = {
		.valid = 1, .vector = (uint8_t)vector, .type = X86_EV_EXC, .has_error = has_error,
		.error_code = error_code, .payload = payload,
	};

	return x86_deliver(cpu, &ev, false);
}

/* ---- boundaries ----------------------------------------------------------------------------- */

static int debug_trap(struct x86_cpu *cpu)
{
	uint64_t payload = cpu->pending_dbg;

	cpu->pending_dbg = 0;
	x86_update_pending(cpu);
	return x86_raise(cpu, X86_DB, false, 0, payload);
}

int x86_step_one(struct x86_cpu *cpu)
{
	struct x86_catch frame;
	int status = X86_TRY(cpu, &frame);

	if (status)
		return after_throw(cpu, status);
	x86_serialise(cpu);
	cpu->vectoring.valid = 0;
	one(cpu);
	x86_catch_pop(cpu, &frame);
	if (cpu->pending_dbg && !(cpu->intr_state & X86_SHADOW_MOVSS))
		return debug_trap(cpu);
	return X86_OK;
}

static uint32_t pending_now(const struct x86_cpu *cpu)
{
	/* Pairs with the release in x86_pend(). */
	return __atomic_load_n(&cpu->pending, __ATOMIC_ACQUIRE) & cpu->pend_mask;
}

static int inactive(const struct x86_cpu *cpu)
{
	if (cpu->activity == X86_ACTIVE)
		return RUN_ON;
	return cpu->activity == X86_SHUTDOWN ? X86_RUN_SHUTDOWN : X86_RUN_HALTED;
}

/* Everything due before the next instruction; RUN_ON or a reason to leave x86_run(). */
static int boundary(struct x86_cpu *cpu)
{
	const uint32_t owners = X86_PEND_WORK | X86_PEND_INTR | X86_PEND_NMI;

	if (pending_now(cpu) & X86_PEND_FLUSH) {
		x86_unpend(cpu, X86_PEND_FLUSH);
		x86_tlb_flush_all(cpu);
	}
	if (pending_now(cpu) & X86_PEND_STOP) {
		x86_unpend(cpu, X86_PEND_STOP);
		return X86_RUN_STOPPED;
	}
	if (cpu->pending_dbg && !(cpu->intr_state & X86_SHADOW_MOVSS) &&
	    debug_trap(cpu) != X86_OK)
		return X86_RUN_EXIT;
	if ((pending_now(cpu) & owners) &&
	    cpu->ops->poll(cpu, pending_now(cpu) & owners) != X86_OK)
		return X86_RUN_EXIT;
	return inactive(cpu);
}

/* Apart from the caller's setjmp, so that `cpu` can live in a register. */
static __attribute__((noinline)) int run_blocks(struct x86_cpu *cpu)
{
	int reason;

	for (;;) {
		if (x86_unlikely(pending_now(cpu) | cpu->flags_ | cpu->activity)) {
			reason = boundary(cpu);
			if (reason != RUN_ON)
				return reason;
		}
		if (x86_unlikely(cpu->insns >= cpu->budget))
			return X86_RUN_BUDGET;
		if (x86_unlikely(cpu->flags_))
			one(cpu);
		else
			run_block(cpu, x86_block_get(cpu));
	}
}

enum x86_run_reason x86_run(struct x86_cpu *cpu, uint64_t max_insns)
{
	struct x86_catch frame;
	int status;

	cpu->budget = cpu->insns + max_insns;
	cpu->vectoring.valid = 0;
	x86_serialise(cpu);
	for (;;) {
		status = X86_TRY(cpu, &frame);
		if (!status) {
			int reason = run_blocks(cpu);

			x86_catch_pop(cpu, &frame);
			return (enum x86_run_reason)reason;
		}
		if (after_throw(cpu, status) != X86_OK)
			return X86_RUN_EXIT;
	}
}
