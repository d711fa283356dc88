/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SVM intercepts: from the vectors of the VMCB to hv/x86's intercept points, and
 * from an intercepted event to its exit code and information. Source: APM vol. 2,
 * "Instruction intercepts", "IOIO intercepts", "MSR intercepts", "Exception
 * intercepts", "Decode assists".
 */
#include "hv/cpu/svm_guest.h"

/* Words 3 to 5: which point each bit opens, and its exit code. */
static const struct icpt_row {
	uint8_t word, bit, icpt;
} rows[] = {
	{ SVM_WORD_3, 5, X86_ICPT_CR0_SEL }, { SVM_WORD_3, 6, X86_ICPT_SIDT },
	{ SVM_WORD_3, 7, X86_ICPT_SGDT }, { SVM_WORD_3, 8, X86_ICPT_SLDT },
	{ SVM_WORD_3, 9, X86_ICPT_STR }, { SVM_WORD_3, 10, X86_ICPT_LIDT },
	{ SVM_WORD_3, 11, X86_ICPT_LGDT }, { SVM_WORD_3, 12, X86_ICPT_LLDT },
	{ SVM_WORD_3, 13, X86_ICPT_LTR }, { SVM_WORD_3, 14, X86_ICPT_RDTSC },
	{ SVM_WORD_3, 15, X86_ICPT_RDPMC }, { SVM_WORD_3, 16, X86_ICPT_PUSHF },
	{ SVM_WORD_3, 17, X86_ICPT_POPF }, { SVM_WORD_3, 18, X86_ICPT_CPUID },
	{ SVM_WORD_3, 19, X86_ICPT_RSM }, { SVM_WORD_3, 20, X86_ICPT_IRET },
	{ SVM_WORD_3, 21, X86_ICPT_INTN }, { SVM_WORD_3, 22, X86_ICPT_INVD },
	{ SVM_WORD_3, 23, X86_ICPT_PAUSE }, { SVM_WORD_3, 24, X86_ICPT_HLT },
	{ SVM_WORD_3, 25, X86_ICPT_INVLPG }, { SVM_WORD_3, 27, X86_ICPT_IO },
	{ SVM_WORD_3, 28, X86_ICPT_RDMSR }, { SVM_WORD_3, 28, X86_ICPT_WRMSR },
	{ SVM_WORD_3, 29, X86_ICPT_TASK_SWITCH }, { SVM_WORD_3, 30, X86_ICPT_FERR },
	{ SVM_WORD_3, 31, X86_ICPT_SHUTDOWN }, { SVM_WORD_4, 7, X86_ICPT_RDTSCP },
	{ SVM_WORD_4, 8, X86_ICPT_ICEBP }, { SVM_WORD_4, 9, X86_ICPT_WBINVD },
	{ SVM_WORD_4, 10, X86_ICPT_MONITOR }, { SVM_WORD_4, 11, X86_ICPT_MWAIT },
	{ SVM_WORD_4, 13, X86_ICPT_XSETBV }, { SVM_WORD_4, 15, X86_ICPT_EFER_WRITE },
	{ SVM_WORD_5, 2, X86_ICPT_INVPCID },
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

static_assert(X86_ICPT_CR_READ == 32 && X86_ICPT_CR_WRITE == 48 && X86_ICPT_DR_READ == 64 &&
	      X86_ICPT_DR_WRITE == 80, "the vectors of CRs and DRs are copied as they are");

void svm_intercepts_load(struct hv_lp *lp, const struct svm_vmcb *vmcb)
{
	const uint32_t *words = vmcb->control.intercepts;
	struct x86_cpu *cpu = lp->cpu;

	for (unsigned int i = 0; i < SVM_WORD_COUNT; i++)
		lp->svm.intercepts[i] = words[i];
	cpu->intercepts[0] = words[SVM_WORD_EXCEPTION] | (uint64_t)words[SVM_WORD_CR] << 32;
	cpu->intercepts[1] = words[SVM_WORD_DR];
	for (unsigned int i = 2; i < X86_ICPT_WORDS; i++)
		cpu->intercepts[i] = 0;
	for (unsigned int i = 0; i < NR_ROWS; i++)
		if (words[rows[i].word] >> rows[i].bit & 1)
			x86_intercept_set(cpu, rows[i].icpt, true);
	/* The other instructions that read or write CR0. */
	if (words[SVM_WORD_CR] & 1)
		x86_intercept_set(cpu, X86_ICPT_SMSW, true);
	if (words[SVM_WORD_CR] >> 16 & 1) {
		x86_intercept_set(cpu, X86_ICPT_LMSW, true);
		x86_intercept_set(cpu, X86_ICPT_CLTS, true);
	}
	/* LMSW counts as a selective write whatever it changes. */
	if (words[SVM_WORD_3] & SVM_INTERCEPT_CR0_SEL_WRITE)
		x86_intercept_set(cpu, X86_ICPT_LMSW, true);
}

static uint64_t code_of(enum x86_intercept what)
{
	for (unsigned int i = 0; i < NR_ROWS; i++)
		if (rows[i].icpt == what)
			return 0x60 + (rows[i].word - SVM_WORD_3) * 0x20U + rows[i].bit;
	return SVM_EXIT_INVALID;
}

/* An exit of an instruction: nRIP is known. */
static int exit_insn(struct hv_lp *lp, uint64_t code, uint64_t info1, uint64_t info2,
		     const struct x86_intercept_info *info)
{
	svm_exit(lp, code, info1, info2);
	lp->svm.vmcb->control.next_rip = info->next_rip;
	return X86_EXIT;
}

static int icpt_exception(struct hv_lp *lp, const struct x86_intercept_info *info)
{
	const struct x86_icpt_exc *exc = &info->exc;

	svm_exit(lp, SVM_EXIT_EXCEPTION + exc->vector, exc->has_error ? exc->error_code : 0,
		 exc->vector == X86_PF ? exc->payload : 0);
	if (exc->type >= X86_EV_SOFT_INT)
		lp->svm.vmcb->control.next_rip = info->next_rip;
	return X86_EXIT;
}

/* Bits of the port and of those that follow it in a wider access. */
static bool io_intercepted(const struct hv_lp *lp, uint16_t port, unsigned int size)
{
	const uint8_t *map = (const uint8_t *)lp->svm.iopm;
	uint32_t word = map[port >> 3] | (uint32_t)map[(port >> 3) + 1] << 8;

	return word >> (port & 7) & ((1U << size) - 1);
}

static int icpt_io(struct hv_lp *lp, const struct x86_intercept_info *info)
{
	const struct x86_icpt_io *io = &info->io;
	uint64_t info1;

	if (!io_intercepted(lp, io->port, io->size))
		return X86_OK;
	info1 = (uint64_t)io->port << SVM_IOIO_PORT_SHIFT |
		(uint64_t)io->size << SVM_IOIO_SIZE_SHIFT |
		(uint64_t)(io->adsize >> 1) << SVM_IOIO_ADDR_SHIFT;
	info1 |= (io->in ? SVM_IOIO_IN : 0) | (io->string ? SVM_IOIO_STRING : 0) |
		 (io->rep ? SVM_IOIO_REP : 0);
	if (io->string)
		info1 |= (uint64_t)io->seg << SVM_IOIO_SEG_SHIFT;
	return exit_insn(lp, SVM_EXIT_IOIO, info1, info->next_rip, info);
}

/* Two bits an MSR, read then write, in three ranges of 8192 MSRs. */
static bool msr_intercepted(const struct hv_lp *lp, uint32_t index, bool write)
{
	const uint8_t *map = (const uint8_t *)lp->svm.msrpm;
	uint32_t bit;

	if (index <= 0x1fff)
		bit = index * 2;
	else if (index >= 0xc0000000 && index <= 0xc0001fff)
		bit = 0x800 * 8 + (index & 0x1fff) * 2;
	else if (index >= 0xc0010000 && index <= 0xc0011fff)
		bit = 0x1000 * 8 + (index & 0x1fff) * 2;
	else
		return true;
	bit += write;
	return map[bit >> 3] >> (bit & 7) & 1;
}

static int icpt_msr(struct hv_lp *lp, bool write, const struct x86_intercept_info *info)
{
	if (!msr_intercepted(lp, info->msr.index, write))
		return X86_OK;
	return exit_insn(lp, SVM_EXIT_MSR, write, 0, info);
}

static int icpt_cr(struct hv_lp *lp, uint64_t code, const struct x86_intercept_info *info)
{
	return exit_insn(lp, code, SVM_CRX_MOV | (info->cr.gpr & SVM_CRX_GPR), 0, info);
}

static int icpt_task_switch(struct hv_lp *lp, const struct x86_intercept_info *info)
{
	uint64_t info2 = info->task.has_error ? info->task.error_code | 1ULL << 44 : 0;

	if (info->task.source == 1)
		info2 |= 1ULL << 36;
	if (info->task.source == 2)
		info2 |= 1ULL << 38;
	if (x86_get_rflags(lp->cpu) & X86_FL_RF)
		info2 |= 1ULL << 48;
	return exit_insn(lp, SVM_EXIT_TASK_SWITCH, info->task.selector, info2, info);
}

/* The pause filter: exits only after so many PAUSEs in one loop. */
static int icpt_pause(struct hv_lp *lp, const struct x86_intercept_info *info)
{
	const struct svm_vmcb_control *c = &lp->svm.vmcb->control;
	uint64_t now;

	if (c->pause_filter_count) {
		if (c->pause_filter_threshold) {
			now = soft_rdtsc();
			if (now - lp->svm.pause_last > c->pause_filter_threshold)
				lp->svm.pause_left = c->pause_filter_count;
			lp->svm.pause_last = now;
		}
		if (lp->svm.pause_left) {
			lp->svm.pause_left--;
			return X86_OK;
		}
		lp->svm.pause_left = c->pause_filter_count;
	}
	return exit_insn(lp, SVM_EXIT_PAUSE, 0, 0, info);
}

int svm_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info)
{
	struct hv_lp *lp = cpu->ctx;

	if (what < X86_ICPT_CR_READ)
		return icpt_exception(lp, info);
	if (what < X86_ICPT_DR_READ)
		return icpt_cr(lp, what - X86_ICPT_CR_READ, info);
	if (what < X86_ICPT_SMSW)
		return exit_insn(lp, SVM_EXIT_READ_DR0 + (what - X86_ICPT_DR_READ),
				 info->cr.gpr & SVM_CRX_GPR, 0, info);
	switch (what) {
	case X86_ICPT_SMSW:
		return exit_insn(lp, SVM_EXIT_READ_CR0, 0, 0, info);
	case X86_ICPT_CR0_SEL:
		return icpt_cr(lp, SVM_EXIT_CR0_SEL_WRITE, info);
	case X86_ICPT_LMSW:
		if (!(lp->svm.intercepts[SVM_WORD_CR] >> 16 & 1))
			return exit_insn(lp, SVM_EXIT_CR0_SEL_WRITE, 0, 0, info);
		return exit_insn(lp, SVM_EXIT_WRITE_CR0, 0, 0, info);
	case X86_ICPT_CLTS:
		return exit_insn(lp, SVM_EXIT_WRITE_CR0, 0, 0, info);
	case X86_ICPT_IO:
		return icpt_io(lp, info);
	case X86_ICPT_RDMSR:
		return icpt_msr(lp, false, info);
	case X86_ICPT_WRMSR:
		return icpt_msr(lp, true, info);
	case X86_ICPT_TASK_SWITCH:
		return icpt_task_switch(lp, info);
	case X86_ICPT_PAUSE:
		return icpt_pause(lp, info);
	case X86_ICPT_INVLPG:
		return exit_insn(lp, SVM_EXIT_INVLPG, info->inv.linear, 0, info);
	case X86_ICPT_INVPCID:
		return exit_insn(lp, SVM_EXIT_INVPCID, info->inv.linear, info->inv.type, info);
	case X86_ICPT_INTN:
		return exit_insn(lp, SVM_EXIT_SWINT, info->intn.vector, 0, info);
	case X86_ICPT_SHUTDOWN:
		return svm_exit(lp, SVM_EXIT_SHUTDOWN, 0, 0);
	case X86_ICPT_EFER_WRITE:
		/* A trap: the exit comes when the write has been done. */
		__atomic_fetch_or(&lp->work, SOFT_WORK_TRAP, __ATOMIC_RELAXED);
		x86_pend(cpu, X86_PEND_WORK);
		return X86_OK;
	default:
		return exit_insn(lp, code_of(what), 0, 0, info);
	}
}

/* SVM's own instructions. This processor does not nest: what is not intercepted is undefined. */
int svm_op_insn(struct x86_cpu *cpu, enum x86_virt_insn what, struct x86_intercept_info *info)
{
	static const struct {
		uint8_t word, bit;
	} icpt[] = {
		[X86_VMRUN] = { SVM_WORD_4, 0 }, [X86_VMMCALL] = { SVM_WORD_4, 1 },
		[X86_VMLOAD] = { SVM_WORD_4, 2 }, [X86_VMSAVE] = { SVM_WORD_4, 3 },
		[X86_STGI] = { SVM_WORD_4, 4 }, [X86_CLGI] = { SVM_WORD_4, 5 },
		[X86_SKINIT] = { SVM_WORD_4, 6 }, [X86_INVLPGA] = { SVM_WORD_3, 26 },
	};
	struct hv_lp *lp = cpu->ctx;

	if (what < X86_VMRUN || what > X86_INVLPGA)
		return x86_set_fault(cpu, X86_UD, 0);
	if (what != X86_VMMCALL && cpu->cpl != 0)
		return x86_set_fault(cpu, X86_GP, 0);
	if (!(lp->svm.intercepts[icpt[what].word] >> icpt[what].bit & 1))
		return x86_set_fault(cpu, X86_UD, 0);
	return exit_insn(lp, 0x60 + (icpt[what].word - SVM_WORD_3) * 0x20U + icpt[what].bit, 0, 0,
			 info);
}
