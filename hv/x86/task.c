/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The task-state segment: stacks of inner levels, the I/O permission bitmap, and hardware task
 * switches (SDM volume 3, "Task management").
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

static void tss_check(struct x86_cpu *cpu, unsigned int last)
{
	if (last > cpu->seg[X86_TR].limit)
		x86_exc(cpu, X86_TS, cpu->seg[X86_TR].selector & 0xfffc);
}

static uint64_t tss_linear(const struct x86_cpu *cpu, unsigned int offset)
{
	uint64_t at = cpu->seg[X86_TR].base + offset;

	return x86_lma(cpu) ? at : (uint32_t)at;
}

static uint64_t tss_read(struct x86_cpu *cpu, unsigned int offset, unsigned int size)
{
	return x86_read_mode(cpu, tss_linear(cpu, offset), size, x86_system_mode(cpu));
}

static bool tss_is_32(const struct x86_cpu *cpu)
{
	return cpu->seg[X86_TR].ar & 8;
}

void x86_tss_stack(struct x86_cpu *cpu, unsigned int cpl, uint16_t *ss, uint64_t *sp)
{
	if (tss_is_32(cpu)) {
		tss_check(cpu, 4 + cpl * 8 + 5);
		*sp = tss_read(cpu, 4 + cpl * 8, 4);
		*ss = (uint16_t)tss_read(cpu, 8 + cpl * 8, 2);
	} else {
		tss_check(cpu, 2 + cpl * 4 + 3);
		*sp = tss_read(cpu, 2 + cpl * 4, 2);
		*ss = (uint16_t)tss_read(cpu, 4 + cpl * 4, 2);
	}
}

uint64_t x86_tss64_rsp(struct x86_cpu *cpu, unsigned int offset)
{
	uint64_t rsp;

	tss_check(cpu, offset + 7);
	rsp = tss_read(cpu, offset, 8);
	if (x86_noncanonical(cpu, rsp))
		x86_exc(cpu, X86_SS_FAULT, 0);
	return rsp;
}

bool x86_io_allowed(struct x86_cpu *cpu, unsigned int port, unsigned int size)
{
	unsigned int base, bits, need = (1u << size) - 1;

	if (!x86_pe(cpu) || (!x86_v86(cpu) && cpu->cpl <= x86_iopl(cpu)))
		return true;
	if (cpu->seg[X86_TR].ar & X86_AR_UNUSABLE || !tss_is_32(cpu) || cpu->seg[X86_TR].limit < 103)
		return false;
	base = (unsigned int)tss_read(cpu, 102, 2);
	if (base + port / 8 + 1 > cpu->seg[X86_TR].limit)
		return false;
	bits = (unsigned int)tss_read(cpu, base + port / 8, 2);
	return !(bits >> (port & 7) & need);
}

/* ---- task switch --------------------------------------------------------------------------------- */

struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	uint32_t gpr[8];
	uint32_t seg[6]; /* ES CS SS DS FS GS */
	uint32_t ldt;
	uint16_t trap, iomap;
} __attribute__((packed));

struct tss16 {
	uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags;
	uint16_t gpr[8];
	uint16_t seg[4];
	uint16_t ldt;
} __attribute__((packed));

_Static_assert(sizeof(struct tss32) == 104 && sizeof(struct tss16) == 44, "TSS layouts");

struct new_task {
	uint16_t selector;
	uint64_t desc, desc_linear;
	bool is32;
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];
	uint16_t seg[6];
	uint16_t ldt;
	bool trap;
};

/* The vector of a fault about the TSS itself: IRET checks its own back link. */
static void bad_tss(struct x86_cpu *cpu, const struct new_task *t, enum task_source source)
{
	x86_exc(cpu, source == TASK_IRET ? X86_TS : X86_GP, t->selector & 0xfffc);
}

static void check_new(struct x86_cpu *cpu, struct new_task *t, enum task_source source)
{
	unsigned int vector = source == TASK_IRET ? X86_TS : X86_GP;
	uint32_t ar, type, limit;

	if (!(t->selector & 0xfffc) || (t->selector & 4))
		bad_tss(cpu, t, source);
	t->desc = x86_read_descriptor(cpu, t->selector, vector, &t->desc_linear);
	ar = x86_desc_ar(t->desc);
	type = ar & 0x1f;
	if (source == TASK_IRET ? type != 3 && type != 11 : type != 1 && type != 9)
		bad_tss(cpu, t, source);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, t->selector & 0xfffc);
	t->is32 = ar & 8;
	limit = x86_desc_limit(t->desc);
	if (limit < (t->is32 ? 103u : 43u))
		x86_exc(cpu, X86_TS, t->selector & 0xfffc);
}

static void read_new(struct x86_cpu *cpu, struct new_task *t)
{
	uint64_t base = x86_desc_base(t->desc);
	unsigned int i, mode = x86_system_mode(cpu);

	if (t->is32) {
		struct tss32 s;

		x86_copy_from(cpu, base, &s, sizeof(s), mode);
		t->cr3 = s.cr3;
		t->eip = s.eip;
		t->eflags = s.eflags;
		for (i = 0; i < 8; i++)
			t->gpr[i] = s.gpr[i];
		for (i = 0; i < 6; i++)
			t->seg[i] = (uint16_t)s.seg[i];
		t->ldt = (uint16_t)s.ldt;
		t->trap = s.trap & 1;
	} else {
		struct tss16 s;

		x86_copy_from(cpu, base, &s, sizeof(s), mode);
		t->cr3 = (uint32_t)cpu->cr3;
		t->eip = s.ip;
		t->eflags = s.flags;
		for (i = 0; i < 8; i++)
			t->gpr[i] = 0xffff0000u | s.gpr[i];
		for (i = 0; i < 4; i++)
			t->seg[i] = s.seg[i];
		t->ldt = s.ldt;
	}
}

static void save_old(struct x86_cpu *cpu, uint32_t eip, uint32_t eflags)
{
	uint64_t base = cpu->seg[X86_TR].base;
	unsigned int i, mode = x86_system_mode(cpu);

	if (tss_is_32(cpu)) {
		struct tss32 s;

		x86_copy_from(cpu, base, &s, sizeof(s), mode);
		s.eip = eip;
		s.eflags = eflags;
		for (i = 0; i < 8; i++)
			s.gpr[i] = (uint32_t)cpu->gpr[i];
		for (i = 0; i < 6; i++)
			s.seg[i] = cpu->seg[i].selector;
		/* EIP to GS: the static fields are never written. */
		x86_copy_to(cpu, base + 32, &s.eip, 64, mode);
	} else {
		struct tss16 s;

		x86_copy_from(cpu, base, &s, sizeof(s), mode);
		s.ip = (uint16_t)eip;
		s.flags = (uint16_t)eflags;
		for (i = 0; i < 8; i++)
			s.gpr[i] = (uint16_t)cpu->gpr[i];
		for (i = 0; i < 4; i++)
			s.seg[i] = cpu->seg[i].selector;
		x86_copy_to(cpu, base + 14, &s.ip, 28, mode);
	}
}

static void set_busy(struct x86_cpu *cpu, uint64_t linear, bool busy)
{
	unsigned int mode = x86_system_mode(cpu);
	uint8_t b = (uint8_t)x86_read_mode(cpu, linear + 5, 1, mode);

	x86_write_mode(cpu, linear + 5, busy ? b | 2u : b & ~2u, 1, mode);
}

static uint64_t tr_descriptor_linear(const struct x86_cpu *cpu)
{
	return cpu->gdtr.base + (cpu->seg[X86_TR].selector & 0xfff8u);
}

static void load_cr3(struct x86_cpu *cpu, const struct new_task *t)
{
	if (!t->is32 || !(cpu->cr0 & X86_CR0_PG) || cpu->cr3 == t->cr3)
		return;
	if (x86_pae_paging(cpu)) {
		int ret = x86_load_pdptrs(cpu, t->cr3);

		if (ret == X86_EXIT)
			x86_throw(cpu, X86_EXIT);
		if (ret != X86_OK)
			x86_exc(cpu, X86_TS, t->selector & 0xfffc);
	}
	cpu->cr3 = t->cr3;
	x86_tlb_flush_space_nonglobal(cpu, cpu->space);
}

static void load_v86_segs(struct x86_cpu *cpu, const struct new_task *t)
{
	unsigned int i;

	for (i = 0; i < 6; i++)
		x86_load_seg_real(cpu, i, t->seg[i]);
	x86_set_cpl(cpu, 3);
}

/* Selectors of the new task: faults here are in its context. */
static void load_segs(struct x86_cpu *cpu, const struct new_task *t)
{
	static const uint8_t data[] = { X86_ES, X86_DS, X86_FS, X86_GS };
	uint16_t cs = t->seg[X86_CS], ss = t->seg[X86_SS];
	unsigned int i, cpl = cs & 3;
	uint64_t d, linear;
	uint32_t ar;

	x86_load_ldtr(cpu, t->ldt, X86_TS);
	if (cpu->eflags & X86_FL_VM) {
		load_v86_segs(cpu, t);
		return;
	}
	if (!(cs & 0xfffc))
		x86_exc(cpu, X86_TS, 0);
	d = x86_read_descriptor(cpu, cs, X86_TS, &linear);
	ar = x86_desc_ar(d);
	if (!(ar & X86_AR_S) || !(ar & 8) ||
	    (ar & 4 ? X86_AR_DPL(ar) > cpl : X86_AR_DPL(ar) != cpl))
		x86_exc(cpu, X86_TS, cs & 0xfffc);
	if (!(ar & X86_AR_P))
		x86_exc(cpu, X86_NP, cs & 0xfffc);
	x86_set_accessed(cpu, linear, &d);
	x86_commit_cs(cpu, cs, d, cpl);
	d = x86_check_ss(cpu, ss, cpl, X86_TS, &linear);
	x86_set_accessed(cpu, linear, &d);
	x86_commit_seg(cpu, X86_SS, ss, d);
	for (i = 0; i < 4; i++) {
		uint16_t sel = t->seg[data[i]];

		if (!(sel & 0xfffc))
			continue;
		d = x86_read_descriptor(cpu, sel, X86_TS, &linear);
		ar = x86_desc_ar(d);
		if (!(ar & X86_AR_S) || (ar & 0xa) == 8 ||
		    ((ar & 0xc) != 0xc && (X86_AR_DPL(ar) < cpl || X86_AR_DPL(ar) < (sel & 3u))))
			x86_exc(cpu, X86_TS, sel & 0xfffc);
		if (!(ar & X86_AR_P))
			x86_exc(cpu, X86_NP, sel & 0xfffc);
		x86_set_accessed(cpu, linear, &d);
		x86_commit_seg(cpu, data[i], sel, d);
	}
}

static void push_error(struct x86_cpu *cpu, uint32_t error)
{
	struct x86_stack st;

	x86_stack_current(cpu, &st);
	x86_stack_push(cpu, &st, cpu->seg[X86_TR].ar & 8 ? 4 : 2, error);
	x86_stack_commit(cpu, &st);
}

static void commit_registers(struct x86_cpu *cpu, const struct new_task *t, bool nested)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		cpu->gpr[i] = t->gpr[i];
	cpu->rip = t->eip;
	/* A fault from here on belongs to the new task's first instruction. */
	cpu->insn_rip = cpu->rip;
	cpu->cur = NULL;
	for (i = 0; i < 6; i++) { /* selectors visible at once, hidden parts checked after */
		x86_seg_null(cpu, i, t->seg[i]);
		if (i == X86_CS)
			cpu->seg[i].ar = 0x9b | (t->seg[i] & 3u) << 5 | (t->is32 ? X86_AR_DB : 0);
	}
	cpu->cpl = t->seg[X86_CS] & 3;
	x86_write_flags(cpu, t->eflags | (nested ? X86_FL_NT : 0), X86_FL_ALL);
	x86_update_mode(cpu);
}

static void switch_after_icpt(struct x86_cpu *cpu, const struct x86_icpt_task *task,
			      uint64_t next_rip)
{
	enum task_source source = task->source;
	bool nested = source == TASK_CALL || source == TASK_GATE;
	uint32_t eflags = (uint32_t)x86_get_rflags(cpu);
	uint16_t old = cpu->seg[X86_TR].selector;
	struct new_task t = { .selector = task->selector };

	check_new(cpu, &t, source);
	read_new(cpu, &t);
	if (source == TASK_IRET)
		eflags &= ~X86_FL_NT;
	if (source == TASK_IRET || source == TASK_JMP)
		set_busy(cpu, tr_descriptor_linear(cpu), false);
	save_old(cpu, (uint32_t)next_rip, eflags);
	if (nested)
		x86_write_mode(cpu, x86_desc_base(t.desc), old, 2, x86_system_mode(cpu));
	if (source != TASK_IRET)
		set_busy(cpu, t.desc_linear, true);
	x86_seg_from_descriptor(&cpu->seg[X86_TR], t.selector, t.desc);
	cpu->seg[X86_TR].ar |= 2;
	cpu->cr0 |= X86_CR0_TS;
	cpu->dr7 &= ~0x155ull; /* local breakpoints */
	cpu->task_switched = 1;
	load_cr3(cpu, &t);
	commit_registers(cpu, &t, nested);
	load_segs(cpu, &t);
	x86_update_debug(cpu);
	if (task->has_error)
		push_error(cpu, task->error_code);
	if (cpu->rip > cpu->seg[X86_CS].limit)
		x86_gp(cpu, 0);
	if (t.trap)
		cpu->pending_dbg |= X86_DR6_BT;
	x86_update_pending(cpu);
	x86_serialise(cpu);
}

void x86_switch_task(struct x86_cpu *cpu, const struct x86_icpt_task *task, uint64_t next_rip)
{
	struct x86_intercept_info info;

	if (x86_intercepted(cpu, X86_ICPT_TASK_SWITCH)) {
		memset(&info, 0, sizeof(info));
		info.insn_len = cpu->insn_len;
		info.rip = cpu->insn_rip;
		info.next_rip = next_rip;
		info.task = *task;
		if (x86_check(cpu, cpu->ops->intercept(cpu, X86_ICPT_TASK_SWITCH, &info)) == X86_DONE)
			return;
	}
	switch_after_icpt(cpu, task, next_rip);
}

int x86_task_switch(struct x86_cpu *cpu, const struct x86_icpt_task *task, uint64_t next_rip)
{
	struct x86_catch frame;
	int status = X86_TRY(cpu, &frame);

	if (status)
		return status;
	cpu->insn_rip = cpu->rip;
	switch_after_icpt(cpu, task, next_rip);
	x86_catch_pop(cpu, &frame);
	cpu->task_switched = 0;
	return X86_OK;
}
