/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SVM operation: VMRUN up to #VMEXIT, nested paging, virtual interrupts, ASIDs.
 * Source: APM vol. 2, chapter "Secure virtual machine".
 */
#include <string.h>

#include "hv/cpu/svm_guest.h"
#include "hv/cpu/tdp_walk.h"

#define ACC_RWX (X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC)
#define NO_LIMIT (UINT64_MAX >> 1)
#define ASID_COUNT 0x10000

int svm_exit(struct hv_lp *lp, uint64_t code, uint64_t info1, uint64_t info2)
{
	struct svm_vmcb_control *c = &lp->svm.vmcb->control;

	c->exit_code = code;
	c->exit_info1 = info1;
	c->exit_info2 = info2;
	c->next_rip = 0;
	lp->svm.exited = true;
	return X86_EXIT;
}

/* ---- memory ----------------------------------------------------------------------------------- */

static int npf_exit(struct hv_lp *lp, const struct x86_phys_req *req, const struct tdp_walk *w)
{
	uint64_t error = X86_PF_U; /* every nested access is a user access */

	if (w->present)
		error |= X86_PF_P;
	if (w->need & TDP_W)
		error |= X86_PF_W;
	if (w->need & TDP_X)
		error |= X86_PF_I;
	if (w->reserved)
		error |= X86_PF_RSVD;
	error |= req->access & X86_ACC_PT_WALK ? SVM_NPF_TABLE : SVM_NPF_FINAL;
	return svm_exit(lp, SVM_EXIT_NPF, error, req->gpa);
}

static bool npt_fill(struct hv_lp *lp, struct tdp_walk *w, struct soft_gpa_entry *e)
{
	lp->stats.gpa_misses++;
	if (npt_walk(w) != TDP_OK)
		return false;
	e->tag = w->gpa >> 12;
	e->root = svm_gpa_key(lp);
	e->host = (uint8_t *)w->host;
	e->page_size = (uint32_t)w->page_size;
	e->perm = w->rights & ACC_RWX;
	e->dirty = w->dirty;
	return true;
}

static int svm_phys_translate(struct x86_cpu *cpu, const struct x86_phys_req *req,
			      struct x86_phys_res *res)
{
	struct hv_lp *lp = cpu->ctx;
	struct soft_gpa_entry *e = soft_gpa_slot(lp, req->gpa);
	uint8_t need;

	if (!lp->svm.nested_cr3) {
		res->host = (uint8_t *)(req->gpa & ~0xfffULL);
		res->page_size = 4096;
		res->perm = ACC_RWX;
		res->no_cache = false;
		return X86_OK;
	}
	/* Accesses to the guest's page tables count as user writes. */
	need = req->access & X86_ACC_PT_WALK ? TDP_R | TDP_W : req->access & ACC_RWX;
	if (e->tag != req->gpa >> 12 || e->root != svm_gpa_key(lp) || (e->perm & need) != need ||
	    ((need & TDP_W) && !e->dirty)) {
		struct tdp_walk w = {
			.root = lp->svm.nested_cr3, .levels = 4, .nx = true, .need = need,
			.gpa = req->gpa,
		};

		if (!npt_fill(lp, &w, e))
			return lp->fetching ? X86_EXIT : npf_exit(lp, req, &w);
	}
	res->host = e->host;
	res->page_size = e->page_size;
	res->perm = e->dirty ? e->perm : e->perm & (uint8_t)~X86_ACC_WRITE;
	res->no_cache = false;
	return X86_OK;
}

/* ---- interrupts ------------------------------------------------------------------------------- */

static bool virq_recognised(const struct hv_lp *lp)
{
	uint32_t ctl = lp->svm.int_ctl;

	if (!(ctl & SVM_V_IRQ))
		return false;
	return (ctl & SVM_V_IGN_TPR) ||
	       (ctl & SVM_V_INTR_PRIO) >> SVM_V_INTR_PRIO_SHIFT > (lp->cpu->cr8 & 0xf);
}

void svm_update_pending(struct hv_lp *lp)
{
	if (virq_recognised(lp))
		x86_pend(lp->cpu, X86_PEND_INTR);
	else
		x86_unpend(lp->cpu, X86_PEND_INTR);
}

static uint64_t svm_cr8_read(struct x86_cpu *cpu)
{
	return cpu->cr8;
}

static int svm_cr8_write(struct x86_cpu *cpu, uint64_t value)
{
	cpu->cr8 = value & 0xf;
	svm_update_pending(cpu->ctx);
	return X86_OK;
}

static int take_virq(struct hv_lp *lp)
{
	struct x86_event ev = {
		.valid = 1, .type = X86_EV_INTR,
		.vector = (uint8_t)lp->svm.vmcb->control.int_vector,
	};

	if (!virq_recognised(lp)) {
		x86_unpend(lp->cpu, X86_PEND_INTR);
		return X86_OK;
	}
	if (lp->svm.intercepts[SVM_WORD_3] & SVM_INTERCEPT_VINTR)
		return svm_exit(lp, SVM_EXIT_VINTR, 0, 0);
	lp->svm.int_ctl &= ~SVM_V_IRQ;
	x86_unpend(lp->cpu, X86_PEND_INTR);
	return x86_inject(lp->cpu, &ev);
}

static int svm_op_poll(struct x86_cpu *cpu, uint32_t which)
{
	struct hv_lp *lp = cpu->ctx;
	uint32_t work;

	if (which & X86_PEND_WORK) {
		/* A setter writes work before the pending bit: cleared in the other order, none is lost. */
		x86_unpend(cpu, X86_PEND_WORK);
		work = __atomic_exchange_n(&lp->work, 0, __ATOMIC_ACQ_REL);
		if (work & SOFT_WORK_TRAP) {
			__atomic_fetch_or(&lp->work, work & SOFT_WORK_KICK, __ATOMIC_RELEASE);
			return svm_exit(lp, SVM_EXIT_EFER_WRITE_TRAP, cpu->efer, 0);
		}
		/* A physical interrupt means nothing to the guest, so INTR exits whatever the vector. */
		if (work & SOFT_WORK_KICK)
			return svm_exit(lp, SVM_EXIT_INTR, 0, 0);
	}
	return which & X86_PEND_INTR ? take_virq(lp) : X86_OK;
}

static int inject(struct hv_lp *lp, const struct svm_vmcb_control *c)
{
	uint64_t inj = c->event_inj, rip = lp->cpu->rip;
	struct x86_event ev = {
		.valid = 1,
		.vector = inj & SVM_EVENT_VECTOR,
		.type = (inj & SVM_EVENT_TYPE) >> SVM_EVENT_TYPE_SHIFT,
		.has_error = inj & SVM_EVENT_HAS_ERROR,
		.error_code = (uint32_t)(inj >> SVM_EVENT_ERROR_SHIFT),
	};

	/* Software events return behind their instruction, which nRIP tells. */
	if (ev.type == X86_EV_EXC && (ev.vector == X86_BP || ev.vector == X86_OF))
		ev.type = X86_EV_SOFT_EXC;
	if (ev.type >= X86_EV_SOFT_INT && c->next_rip - rip <= 15)
		ev.insn_len = (uint8_t)(c->next_rip - rip);
	ev.payload = ev.vector == X86_PF ? lp->cpu->cr2 : 0;
	return x86_inject(lp->cpu, &ev);
}

/* ---- VMRUN and #VMEXIT ------------------------------------------------------------------------ */

static void use_tlb(struct hv_lp *lp, uint8_t tlb_ctl)
{
	soft_space_use(lp, lp->svm.nested_cr3 ? SOFT_SPACE_COMBINED : SOFT_SPACE_LINEAR,
		       lp->svm.asid, lp->svm.nested_cr3);
	switch (tlb_ctl) {
	case SVM_TLB_FLUSH_ALL:
		soft_space_flush(lp, -1, 0);
		soft_gpa_flush(lp, 0);
		break;
	case SVM_TLB_FLUSH_ASID:
		soft_space_flush(lp, lp->svm.asid, 0);
		soft_gpa_flush(lp, svm_gpa_key(lp));
		break;
	case SVM_TLB_FLUSH_ASID_LOCAL:
		soft_space_flush_nonglobal(lp, lp->svm.asid);
		soft_gpa_flush(lp, svm_gpa_key(lp));
		break;
	default:	/* SVM_TLB_NOTHING: svm_check() has refused what is reserved */
		break;
	}
}

/*
 * PAE paging: this architecture reads the page-directory-pointer entries like
 * any other table. hv/x86 has them in registers, so they are read again at each
 * VMRUN. False: reading them caused a nested page fault.
 */
static bool load_pdptes(struct hv_lp *lp)
{
	struct x86_cpu *cpu = lp->cpu;
	const uint64_t *pdpt;

	if ((cpu->efer & X86_EFER_LMA) || !(cpu->cr0 & X86_CR0_PG) || !(cpu->cr4 & X86_CR4_PAE))
		return true;
	if (lp->svm.nested_cr3)
		return x86_load_pdptrs(cpu, cpu->cr3) != X86_EXIT;
	/* A host table, which is not asked to lie below 4 GiB as silicon would. */
	pdpt = (const uint64_t *)(cpu->cr3 & 0xffffffffffe0ULL);
	for (unsigned int i = 0; i < 4; i++)
		cpu->pdptr[i] = __atomic_load_n(&pdpt[i], __ATOMIC_RELAXED);
	return true;
}

static void exit_int_info(struct hv_lp *lp)
{
	const struct x86_event *ev = &lp->cpu->vectoring;
	struct svm_vmcb_control *c = &lp->svm.vmcb->control;
	uint64_t type = ev->type;

	c->exit_int_info = 0;
	if (!ev->valid || c->exit_code == SVM_EXIT_SHUTDOWN)
		return;
	if (type == X86_EV_PRIV_EXC || type == X86_EV_SOFT_EXC)
		type = SVM_EVENT_EXCEPTION;
	c->exit_int_info = SVM_EVENT_VALID | ev->vector | type << SVM_EVENT_TYPE_SHIFT;
	if (ev->has_error)
		c->exit_int_info |= SVM_EVENT_HAS_ERROR |
				    (uint64_t)ev->error_code << SVM_EVENT_ERROR_SHIFT;
	if (ev->type >= X86_EV_SOFT_INT)
		c->next_rip = lp->cpu->rip + ev->insn_len;
}

/* Decode assist: the bytes at RIP, for data accesses that faulted. */
static void insn_bytes(struct hv_lp *lp)
{
	struct svm_vmcb_control *c = &lp->svm.vmcb->control;

	c->insn_len = 0;
	if (c->exit_code != SVM_EXIT_NPF && c->exit_code != SVM_EXIT_EXCEPTION + X86_PF)
		return;
	if (c->exit_info1 & X86_PF_I)
		return;
	lp->fetching = true;
	c->insn_len = (uint8_t)x86_fetch_bytes(lp->cpu, c->insn_bytes, sizeof(c->insn_bytes));
	lp->fetching = false;
}

static void vmexit(struct hv_lp *lp, struct hv_gprs *gprs)
{
	struct svm_vmcb *vmcb = lp->svm.vmcb;
	struct svm_vmcb_control *c = &vmcb->control;
	const struct x86_cpu *cpu = lp->cpu;

	exit_int_info(lp);
	insn_bytes(lp);
	svm_save(lp, vmcb);
	c->event_inj &= ~SVM_EVENT_VALID;
	c->int_ctl = (lp->svm.int_ctl & ~SVM_V_TPR_MASK) | (uint32_t)(cpu->cr8 & 0xf);
	c->int_state = cpu->intr_state & (X86_SHADOW_STI | X86_SHADOW_MOVSS) ?
		       SVM_INTERRUPT_SHADOW : 0;
	if (vmcb->save.rflags & X86_FL_IF)
		c->int_state |= SVM_GUEST_INTERRUPT_MASK;
	memcpy(gprs->r, cpu->gpr, sizeof(gprs->r));
}

static void svm_vmrun(struct hv_lp *lp, uint64_t address, struct hv_gprs *gprs)
{
	struct svm_vmcb *vmcb = (struct svm_vmcb *)address;
	struct svm_vmcb_control *c = &vmcb->control;
	uint32_t clean;

	if (lp->mode != SOFT_SVM) {
		lp->mode = SOFT_SVM;
		lp->cpu->ops = &soft_svm_x86_ops;
		lp->svm.vmcb = NULL;
	}
	lp->svm.failed_rule = soft_pcpu_svme(lp->pcpu) ? svm_check(lp, vmcb) : "EFER.SVME of the host";
	if (lp->svm.failed_rule) {
		c->exit_code = SVM_EXIT_INVALID;
		c->exit_info1 = c->exit_info2 = c->exit_int_info = 0;
		lp->svm.vmcb = NULL;
		return;
	}
	clean = lp->svm.vmcb == vmcb ? c->clean : 0;
	lp->svm.vmcb = vmcb;
	lp->svm.exited = false;
	lp->stats.entries++;
	for (unsigned int i = 0; i < 16; i++)
		lp->cpu->gpr[i] = gprs->r[i];
	if (!(clean & SVM_CLEAN_INTERCEPTS))
		svm_intercepts_load(lp, vmcb);
	svm_load(lp, vmcb, clean);
	use_tlb(lp, c->tlb_ctl);
	/* V_TPR and V_IRQ change at every exit, so the TPR clean bit saves nothing here. */
	lp->svm.int_ctl = c->int_ctl;
	lp->cpu->cr8 = c->int_ctl & 0xf;
	lp->cpu->vectoring.valid = 0;
	svm_update_pending(lp);
	if (load_pdptes(lp) && (c->event_inj & SVM_EVENT_VALID))
		inject(lp, c);
	while (!lp->svm.exited) {
		enum x86_run_reason reason = x86_run(lp->cpu, NO_LIMIT);

		if (reason == X86_RUN_HALTED || reason == X86_RUN_SHUTDOWN)
			soft_lp_wait(lp, 0);
	}
	vmexit(lp, gprs);
}

static void svm_invlpga(struct hv_lp *lp, uint64_t linear, uint32_t asid)
{
	soft_space_flush_page(lp, asid, linear);
}

static void svm_cpuid(uint32_t out[4])
{
	out[0] = 1; /* revision */
	out[1] = ASID_COUNT;
	out[2] = 0;
	out[3] = SVM_FEATURE_NPT | SVM_FEATURE_NRIPS | SVM_FEATURE_VMCB_CLEAN |
		 SVM_FEATURE_FLUSH_ASID | SVM_FEATURE_DECODE_ASSIST | SVM_FEATURE_PAUSE_FILTER |
		 SVM_FEATURE_PF_THRESHOLD;
}

/* ---- the operations table ----------------------------------------------------------------------- */

static uint64_t svm_op_rdtsc(struct x86_cpu *cpu)
{
	const struct hv_lp *lp = cpu->ctx;

	return soft_rdtsc() + lp->svm.vmcb->control.tsc_offset;
}

/* Ports and MSRs that are not intercepted and that this processor does not have. */
static int svm_op_io_in(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value)
{
	*value = UINT32_MAX;
	return X86_OK;
}

static int svm_op_io_out(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value)
{
	return X86_OK;
}

static int svm_op_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return X86_FAULT;
}

static int svm_op_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return X86_FAULT;
}

const struct x86_ops soft_svm_x86_ops = {
	.phys_translate = svm_phys_translate,
	.intercept = svm_intercept,
	.values_first = true,
	.cpuid = soft_cpuid_silicon,
	.random = soft_random,
	.rdmsr = svm_op_rdmsr,
	.wrmsr = svm_op_wrmsr,
	.io_in = svm_op_io_in,
	.io_out = svm_op_io_out,
	.rdtsc = svm_op_rdtsc,
	.poll = svm_op_poll,
	.svm_insn = svm_op_insn,
	.cr8_read = svm_cr8_read,
	.cr8_write = svm_cr8_write,
};

const struct hv_svm_ops soft_svm_ops = {
	.enable = soft_pcpu_svm_enable,
	.disable = soft_pcpu_svm_disable,
	.cpuid_8000000a = svm_cpuid,
	.vmrun = svm_vmrun,
	.vmload = svm_vmload,
	.vmsave = svm_vmsave,
	.invlpga = svm_invlpga,
};
