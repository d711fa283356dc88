/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Delivery of interrupts and exceptions through the IDT or the real-mode vector table, and
 * what becomes of faults met on the way: double fault, shutdown.
 */
#include "hv/x86/internal.h"

/* ---- frames ------------------------------------------------------------------------------------ */

struct frame {
	const struct x86_event *ev;
	uint64_t flags;		/* image to push */
	uint64_t ip;		/* return address */
	uint16_t gate_cs;
	uint64_t gate_ip;
	uint32_t gate_ar;
	uint8_t ist;
};

static bool is_soft(const struct x86_event *ev)
{
	return ev->type == X86_EV_SOFT_INT || ev->type == X86_EV_SOFT_EXC;
}

/* Events that an instruction made on purpose return behind it. */
static bool is_trap_insn(const struct x86_event *ev)
{
	return is_soft(ev) || ev->type == X86_EV_PRIV_EXC;
}

static void enter_handler(struct x86_cpu *cpu, const struct frame *f, uint32_t clear)
{
	if (!(f->gate_ar & 1)) /* interrupt gate */
		clear |= X86_FL_IF;
	cpu->rip = f->gate_ip;
	cpu->eflags &= ~(clear | X86_FL_TF | X86_FL_NT | X86_FL_RF | X86_FL_VM);
}

static void deliver_real(struct x86_cpu *cpu, struct frame *f)
{
	unsigned int vector = f->ev->vector;
	uint16_t cs = cpu->seg[X86_CS].selector;
	struct x86_stack st;
	uint32_t entry;

	if (vector * 4u + 3 > cpu->idtr.limit)
		x86_gp(cpu, vector * 8 + 2);
	entry = (uint32_t)x86_read_mode(cpu, cpu->idtr.base + vector * 4, 4, x86_system_mode(cpu));
	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, 2, f->flags);
	x86_stack_push(cpu, &st, 2, cs);
	x86_stack_push(cpu, &st, 2, f->ip);
	x86_stack_commit(cpu, &st);
	f->gate_ar = 0;
	f->gate_ip = entry & 0xffff;
	enter_handler(cpu, f, X86_FL_AC);
	x86_commit_cs_real(cpu, (uint16_t)(entry >> 16));
}

/* ---- gates ------------------------------------------------------------------------------------- */

static void read_gate(struct x86_cpu *cpu, struct frame *f)
{
	unsigned int vector = f->ev->vector, size = x86_lma(cpu) ? 16 : 8;
	uint32_t err = vector * 8 + 2;
	uint64_t low, high = 0, at = cpu->idtr.base + vector * size;
	unsigned int type;

	if (vector * size + size - 1 > cpu->idtr.limit)
		x86_gp(cpu, err);
	low = x86_read_mode(cpu, at, 8, x86_system_mode(cpu));
	if (size == 16)
		high = x86_read_mode(cpu, at + 8, 8, x86_system_mode(cpu));
	f->gate_ar = (uint32_t)(low >> 40) & 0xff;
	f->gate_cs = (uint16_t)(low >> 16);
	f->gate_ip = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
	f->ist = size == 16 ? low >> 32 & 7 : 0;
	type = f->gate_ar & 0x1f;
	if (type != 14 && type != 15 && (size == 16 || (type != 5 && type != 6 && type != 7)))
		x86_gp(cpu, err);
	if (is_soft(f->ev) && X86_AR_DPL(f->gate_ar) < cpu->cpl)
		x86_gp(cpu, err);
	if (!(f->gate_ar & X86_AR_P))
		x86_exc(cpu, X86_NP, err);
}

/* Checks the handler's code segment; *cpl is the level it will run at. */
static uint64_t handler_cs(struct x86_cpu *cpu, const struct frame *f, unsigned int *cpl)
{
	uint16_t sel = f->gate_cs;
	uint64_t d, linear;
	uint32_t ar;

	if (!(sel & 0xfffc))
		x86_gp(cpu, 0);
	d = x86_read_descriptor(cpu, sel, X86_GP, &linear);
	ar = x86_desc_ar(d);
	if (!(ar & X86_AR_S) || !(ar & 8) || X86_AR_DPL(ar) > cpu->cpl)
		x86_gp(cpu, sel & 0xfffc);
	if (x86_lma(cpu) && (!(ar & X86_AR_L) || (ar & X86_AR_DB)))
		x86_gp(cpu, sel & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, sel & 0xfffc);
	*cpl = ar & 4 ? cpu->cpl : X86_AR_DPL(ar);
	if (x86_v86(cpu) && *cpl != 0)
		x86_gp(cpu, sel & 0xfffc);
	x86_set_accessed(cpu, linear, &d);
	return d;
}

static unsigned int mode_at(const struct x86_cpu *cpu, unsigned int cpl)
{
	if (cpl == 3)
		return X86_TLB_USER;
	return (cpu->cr4 & X86_CR4_SMAP) && !(cpu->eflags & X86_FL_AC) ? X86_TLB_SUPER :
									 X86_TLB_SUPER_AC;
}

static void finish_prot(struct x86_cpu *cpu, const struct frame *f, uint64_t cs, unsigned int cpl)
{
	enter_handler(cpu, f, 0);
	x86_commit_cs(cpu, f->gate_cs, cs, cpl);
}

static void deliver_64(struct x86_cpu *cpu, struct frame *f)
{
	unsigned int cpl;
	uint64_t cs = handler_cs(cpu, f, &cpl);
	bool inner = cpl < cpu->cpl;
	struct x86_stack st = { .mask = UINT64_MAX, .flat = true, .mode = mode_at(cpu, cpl) };

	if (f->ist)
		st.sp = x86_tss64_rsp(cpu, 0x24 + 8 * (f->ist - 1u));
	else if (inner)
		st.sp = x86_tss64_rsp(cpu, 4 + 8 * cpl);
	else
		st.sp = cpu->gpr[X86_RSP];
	if (x86_noncanonical(cpu, f->gate_ip))
		x86_gp(cpu, 0);
	st.sp &= ~0xfull;
	x86_stack_push(cpu, &st, 8, cpu->seg[X86_SS].selector);
	x86_stack_push(cpu, &st, 8, cpu->gpr[X86_RSP]);
	x86_stack_push(cpu, &st, 8, f->flags);
	x86_stack_push(cpu, &st, 8, cpu->seg[X86_CS].selector);
	x86_stack_push(cpu, &st, 8, f->ip);
	if (f->ev->has_error)
		x86_stack_push(cpu, &st, 8, f->ev->error_code);
	cpu->gpr[X86_RSP] = st.sp;
	finish_prot(cpu, f, cs, cpl);
	if (inner)
		x86_seg_null(cpu, X86_SS, (uint16_t)cpl);
}

static void push_frame(struct x86_cpu *cpu, const struct frame *f, struct x86_stack *st,
		       unsigned int size)
{
	x86_stack_push(cpu, st, size, f->flags);
	x86_stack_push(cpu, st, size, cpu->seg[X86_CS].selector);
	x86_stack_push(cpu, st, size, f->ip);
	if (f->ev->has_error)
		x86_stack_push(cpu, st, size, f->ev->error_code);
}

static void deliver_inner(struct x86_cpu *cpu, struct frame *f, uint64_t cs, unsigned int cpl)
{
	unsigned int size = f->gate_ar & 8 ? 4 : 2;
	struct x86_seg ss;
	struct x86_stack st = { .ss = &ss, .mode = mode_at(cpu, cpl) };
	bool v86 = x86_v86(cpu);
	uint16_t sel;
	uint64_t d, linear;
	unsigned int i;

	x86_tss_stack(cpu, cpl, &sel, &st.sp);
	d = x86_check_ss(cpu, sel, cpl, X86_TS, &linear);
	x86_set_accessed(cpu, linear, &d);
	x86_seg_from_descriptor(&ss, sel, d);
	st.base = ss.base;
	st.mask = ss.ar & X86_AR_DB ? UINT32_MAX : UINT16_MAX;
	st.ss_error = sel & 0xfffc;
	if (v86) {
		static const uint8_t order[] = { X86_GS, X86_FS, X86_DS, X86_ES };

		for (i = 0; i < 4; i++)
			x86_stack_push(cpu, &st, size, cpu->seg[order[i]].selector);
	}
	x86_stack_push(cpu, &st, size, cpu->seg[X86_SS].selector);
	x86_stack_push(cpu, &st, size, cpu->gpr[X86_RSP]);
	push_frame(cpu, f, &st, size);
	enter_handler(cpu, f, 0);
	if (v86) {
		x86_seg_null(cpu, X86_GS, 0);
		x86_seg_null(cpu, X86_FS, 0);
		x86_seg_null(cpu, X86_DS, 0);
		x86_seg_null(cpu, X86_ES, 0);
	}
	cpu->seg[X86_SS] = ss;
	cpu->gpr[X86_RSP] = st.mask == UINT32_MAX ? (uint32_t)st.sp : st.sp;
	x86_commit_cs(cpu, f->gate_cs, cs, cpl);
}

static void deliver_task(struct x86_cpu *cpu, struct frame *f)
{
	struct x86_icpt_task task = {
		.selector = f->gate_cs, .source = 3, .has_error = f->ev->has_error,
		.error_code = f->ev->error_code, .event_type = f->ev->type, .event_vector = f->ev->vector,
	};

	x86_switch_task(cpu, &task, f->ip);
}

static void deliver_prot(struct x86_cpu *cpu, struct frame *f)
{
	unsigned int cpl, size;
	struct x86_stack st;
	uint64_t cs;

	read_gate(cpu, f);
	if (x86_lma(cpu)) {
		deliver_64(cpu, f);
		return;
	}
	if ((f->gate_ar & 0x1f) == 5) {
		deliver_task(cpu, f);
		return;
	}
	size = f->gate_ar & 8 ? 4 : 2;
	if (size == 2)
		f->gate_ip &= 0xffff;
	cs = handler_cs(cpu, f, &cpl);
	if (cpl < cpu->cpl) {
		if (f->gate_ip > x86_desc_limit(cs))
			x86_gp(cpu, 0);
		deliver_inner(cpu, f, cs, cpl);
		return;
	}
	if (f->gate_ip > x86_desc_limit(cs))
		x86_gp(cpu, 0);
	x86_stack_current(cpu, &st);
	push_frame(cpu, f, &st, size);
	x86_stack_commit(cpu, &st);
	finish_prot(cpu, f, cs, cpl);
}

static void begin_frame(struct x86_cpu *cpu, const struct x86_event *ev, bool injected,
			struct frame *f)
{
	*f = (struct frame){ .ev = ev, .ip = cpu->rip, .flags = x86_get_rflags(cpu) };
	if (is_trap_insn(ev)) {
		f->ip += ev->insn_len;
		if (cpu->code_size != 8)
			f->ip = (uint32_t)f->ip;
	}
	/* Faults can be resumed past a breakpoint; #DB says itself (code breakpoints do). */
	if (ev->type == X86_EV_EXC && ev->vector != X86_DB && ev->vector != X86_DF &&
	    ev->vector != X86_MC && !injected)
		f->flags |= X86_FL_RF;
}

static void deliver_once(struct x86_cpu *cpu, const struct x86_event *ev, bool injected)
{
	struct frame f;

	begin_frame(cpu, ev, injected, &f);
	cpu->ext = !is_soft(ev);
	if (x86_pe(cpu))
		deliver_prot(cpu, &f);
	else
		deliver_real(cpu, &f);
	cpu->ext = 0;
}

/* ---- what surrounds a delivery ------------------------------------------------------------------ */

static bool contributory(unsigned int vector)
{
	return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP) || vector == X86_CP;
}

static bool makes_double_fault(const struct x86_event *first, const struct x86_event *second)
{
	if (first->type != X86_EV_EXC)
		return false;
	if (contributory(first->vector))
		return contributory(second->vector);
	return first->vector == X86_PF && (second->vector == X86_PF || contributory(second->vector));
}

static int ask(struct x86_cpu *cpu, const struct x86_event *ev)
{
	struct x86_intercept_info info;

	if (ev->type == X86_EV_INTR || ev->type == X86_EV_NMI || ev->type == X86_EV_SOFT_INT ||
	    ev->vector >= 32 || !x86_intercepted(cpu, X86_ICPT_EXC + ev->vector))
		return X86_OK;
	memset(&info, 0, sizeof(info));
	info.insn_len = ev->insn_len ? ev->insn_len : cpu->insn_len;
	info.rip = cpu->rip;
	info.next_rip = cpu->rip + ev->insn_len;
	info.exc = (struct x86_icpt_exc){
		.vector = ev->vector, .type = ev->type, .has_error = ev->has_error,
		.error_code = ev->error_code, .payload = ev->payload,
		.iret_nmi_unblock = cpu->iret_unblocked,
	};
	return cpu->ops->intercept(cpu, X86_ICPT_EXC + ev->vector, &info);
}

static void apply_payload(struct x86_cpu *cpu, const struct x86_event *ev)
{
	if (ev->type != X86_EV_EXC && ev->type != X86_EV_PRIV_EXC)
		return;
	if (ev->vector == X86_PF) {
		cpu->cr2 = ev->payload;
	} else if (ev->vector == X86_DB) {
		if (ev->payload)
			cpu->dr6 = (cpu->dr6 & ~0xfull) | ev->payload;
		cpu->dr7 &= ~X86_DR7_GD;
		cpu->debugctl &= ~3ull; /* LBR, BTF */
		x86_update_debug(cpu);
	}
}

static int shutdown(struct x86_cpu *cpu)
{
	struct x86_intercept_info info;

	cpu->vectoring.valid = 0;
	if (x86_intercepted(cpu, X86_ICPT_SHUTDOWN)) {
		memset(&info, 0, sizeof(info));
		info.rip = cpu->rip;
		if (cpu->ops->intercept(cpu, X86_ICPT_SHUTDOWN, &info) != X86_OK)
			return X86_EXIT;
	}
	cpu->activity = X86_SHUTDOWN;
	return X86_OK;
}

static void delivered(struct x86_cpu *cpu, const struct x86_event *ev)
{
	cpu->vectoring.valid = 0;
	cpu->iret_unblocked = 0;
	cpu->intr_state &= ~(uint32_t)(X86_SHADOW_STI | X86_SHADOW_MOVSS);
	if (ev->type == X86_EV_NMI)
		cpu->intr_state |= X86_BLOCK_NMI;
	if (cpu->activity == X86_HALTED)
		cpu->activity = X86_ACTIVE;
	cpu->step_tf = 0;
	cpu->step_rf = 0;
	x86_serialise(cpu);
	x86_update_pending(cpu);
}

static int try_once(struct x86_cpu *cpu, const struct x86_event *ev, bool injected)
{
	struct x86_catch frame;
	int status = X86_TRY(cpu, &frame);

	if (status) {
		cpu->ext = 0;
		x86_update_mode(cpu);
		return status;
	}
	deliver_once(cpu, ev, injected);
	x86_catch_pop(cpu, &frame);
	return X86_OK;
}

int x86_deliver(struct x86_cpu *cpu, const struct x86_event *event, bool injected)
{
	struct x86_event ev = *event, nested;
	uint64_t rip = cpu->rip;
	int status;

	cpu->vectoring.valid = 0;
	if (!injected && ask(cpu, &ev) != X86_OK)
		return X86_EXIT;
	for (;;) {
		apply_payload(cpu, &ev);
		cpu->vectoring = ev;
		cpu->vectoring.valid = 1;
		status = try_once(cpu, &ev, injected);
		if (status == X86_OK)
			break;
		if (!cpu->task_switched)
			cpu->rip = rip;
		cpu->task_switched = 0;
		if (status != X86_FAULT)
			return X86_EXIT;
		nested = cpu->fault;
		if (ask(cpu, &nested) != X86_OK)
			return X86_EXIT;
		if (ev.type == X86_EV_EXC && ev.vector == X86_DF)
			return shutdown(cpu);
		if (makes_double_fault(&ev, &nested)) {
			apply_payload(cpu, &nested);
			x86_set_fault(cpu, X86_DF, 0);
			nested = cpu->fault;
			if (ask(cpu, &nested) != X86_OK)
				return X86_EXIT;
		}
		ev = nested;
		injected = false;
		rip = cpu->rip;
	}
	cpu->task_switched = 0;
	delivered(cpu, &ev);
	return X86_OK;
}

int x86_inject(struct x86_cpu *cpu, const struct x86_event *event)
{
	cpu->cur = NULL;
	cpu->insn_rip = cpu->rip;
	cpu->insn_len = event->insn_len;
	return x86_deliver(cpu, event, true);
}

void x86_soft_int(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int vector,
		  enum x86_event_type type)
{
	struct x86_event ev = {
		.valid = 1, .vector = (uint8_t)vector, .type = (uint8_t)type, .insn_len = insn->len,
	};

	/* INT1 is a #DB itself: the one that MOV SS or POP SS has held back becomes part of it. */
	if (type == X86_EV_PRIV_EXC) {
		ev.payload = cpu->pending_dbg;
		cpu->pending_dbg = 0;
	}
	cpu->rip = cpu->insn_rip;
	if (x86_deliver(cpu, &ev, false) != X86_OK)
		x86_throw(cpu, X86_EXIT);
}
