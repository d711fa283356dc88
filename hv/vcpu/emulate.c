/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One instruction through hv/x86 instead of through the guest's processor: MMIO,
 * string I/O, stores to page tables that the MMU tracks, read-only slots, modes that
 * the processor cannot run.
 *
 * Memory is reached through the memslots. A device is never called from inside
 * the instruction: the access is noted, the instruction is given up, the device
 * (or the user) does the access outside of the RCU read side, and the instruction
 * is executed again, now with the noted accesses answered from ops[]. So an access
 * happens once, however often the instruction is attempted. What has been noted
 * belongs to one iteration of a string instruction, told by rcx, rsi and rdi.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/vm/bus.h"
#include "hv/x86/x86.h"

/* Device accesses of one emulated instruction before the run loop looks around. */
#define EMUL_WORK_MAX 1024

static struct hv_vcpu *vcpu_of(struct x86_cpu *cpu)
{
	return cpu->ctx;
}

/* ---- state in and out ---------------------------------------------------------------------------- */

static void seg_in(struct x86_seg *to, const struct hv_segment *from)
{
	to->base = from->base;
	to->limit = from->limit;
	to->ar = from->ar;
	to->selector = from->selector;
}

static void seg_out(struct hv_segment *to, const struct x86_seg *from)
{
	to->base = from->base;
	to->limit = from->limit;
	to->ar = from->ar;
	to->selector = from->selector;
}

/* MSRs that the processor keeps and that hv/x86 has in its state. */
static const struct {
	uint32_t index;
	uint16_t offset;
} emul_msrs[EMUL_MSRS] = {
	{ X86_MSR_STAR, offsetof(struct x86_cpu, star) },
	{ X86_MSR_LSTAR, offsetof(struct x86_cpu, lstar) },
	{ X86_MSR_CSTAR, offsetof(struct x86_cpu, cstar) },
	{ X86_MSR_FMASK, offsetof(struct x86_cpu, fmask) },
	{ X86_MSR_KERNEL_GS_BASE, offsetof(struct x86_cpu, kernel_gs_base) },
	{ X86_MSR_PKRS, offsetof(struct x86_cpu, pkrs) },
};

static void msrs_in(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	uint64_t *saved = vcpu->arch->emul.msrs;
	unsigned int i;

	for (i = 0; i < EMUL_MSRS; i++) {
		saved[i] = 0;
		vcpu->vm->processor->rdmsr(vcpu->lp, emul_msrs[i].index, &saved[i]);
		*(uint64_t *)((char *)cpu + emul_msrs[i].offset) = saved[i];
	}
}

static void msrs_out(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	const uint64_t *saved = vcpu->arch->emul.msrs;
	unsigned int i;

	for (i = 0; i < EMUL_MSRS; i++) {
		uint64_t value = *(uint64_t *)((char *)cpu + emul_msrs[i].offset);

		if (value != saved[i])
			vcpu->vm->processor->wrmsr(vcpu->lp, emul_msrs[i].index, value);
	}
}

static void state_in(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	memcpy(cpu->gpr, r->gprs.r, sizeof(cpu->gpr));
	cpu->rip = r->rip;
	for (i = 0; i < HV_SEG_NUM; i++)
		seg_in(&cpu->seg[i], &r->seg[i]);
	cpu->gdtr = (struct x86_dtable){ r->gdtr.base, r->gdtr.limit };
	cpu->idtr = (struct x86_dtable){ r->idtr.base, r->idtr.limit };
	cpu->cr0 = r->cr0;
	cpu->cr2 = r->cr2;
	cpu->cr3 = r->cr3;
	cpu->cr4 = r->cr4;
	cpu->cr8 = r->cr8;
	cpu->efer = r->efer;
	cpu->xcr0 = r->xcr0;
	memcpy(cpu->pdptr, r->pdptrs, sizeof(cpu->pdptr));
	memcpy(cpu->dr, r->dr, sizeof(cpu->dr));
	cpu->dr6 = r->dr6;
	cpu->dr7 = r->dr7;
	cpu->sysenter_cs = r->sysenter_cs;
	cpu->sysenter_esp = r->sysenter_esp;
	cpu->sysenter_eip = r->sysenter_eip;
	cpu->pat = r->pat;
	cpu->debugctl = r->debugctl;
	cpu->intr_state = r->interruptibility;
	cpu->activity = X86_ACTIVE;
	cpu->pending_dbg = 0;
	cpu->pkru = (uint32_t)p->get_reg(vcpu->lp, HV_LP_PKRU);
	cpu->cpl = (uint8_t)vcpu_get_cpl(vcpu);
	msrs_in(vcpu, cpu);
	p->save_xstate(vcpu->lp, cpu->xsave, sizeof(cpu->xsave));
	x86_set_rflags(cpu, r->rflags);
	x86_state_changed(cpu);
}

static void state_out(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	const struct hv_processor_ops *p = vcpu->vm->processor;
	int i;

	memcpy(r->gprs.r, cpu->gpr, sizeof(cpu->gpr));
	r->rip = cpu->rip;
	r->rflags = x86_get_rflags(cpu);
	for (i = 0; i < HV_SEG_NUM; i++)
		seg_out(&r->seg[i], &cpu->seg[i]);
	r->gdtr = (struct hv_dtable){ cpu->gdtr.base, cpu->gdtr.limit };
	r->idtr = (struct hv_dtable){ cpu->idtr.base, cpu->idtr.limit };
	r->cr0 = cpu->cr0;
	r->cr2 = cpu->cr2;
	r->cr3 = cpu->cr3;
	r->cr4 = cpu->cr4;
	r->efer = cpu->efer;
	r->xcr0 = cpu->xcr0;
	memcpy(r->pdptrs, cpu->pdptr, sizeof(r->pdptrs));
	memcpy(r->dr, cpu->dr, sizeof(r->dr));
	r->dr6 = cpu->dr6;
	r->dr7 = cpu->dr7;
	r->sysenter_cs = cpu->sysenter_cs;
	r->sysenter_esp = cpu->sysenter_esp;
	r->sysenter_eip = cpu->sysenter_eip;
	r->pat = cpu->pat;
	r->debugctl = cpu->debugctl;
	r->interruptibility = cpu->intr_state;
	p->set_reg(vcpu->lp, HV_LP_PKRU, cpu->pkru);
	msrs_out(vcpu, cpu);
	p->load_xstate(vcpu->lp, cpu->xsave, sizeof(cpu->xsave));
}

/* ---- noted accesses -------------------------------------------------------------------------------- */

static void note_key(struct x86_cpu *cpu, uint64_t key[3])
{
	key[0] = cpu->gpr[X86_RCX];
	key[1] = cpu->gpr[X86_RSI];
	key[2] = cpu->gpr[X86_RDI];
}

/*
 * The access that the instruction now asks for: X86_OK and *out if it has been done,
 * X86_EXIT if it has just been noted.
 */
static int note_access(struct x86_cpu *cpu, enum emul_op_kind kind, uint64_t addr, const void *data,
		       unsigned int len, struct emul_op **out)
{
	struct vcpu_emulator *e = &vcpu_of(cpu)->arch->emul;
	struct emul_op *op;
	uint64_t key[3];

	note_key(cpu, key);
	if (e->nr_ops && memcmp(key, e->key, sizeof(key)))
		e->nr_ops = e->next_op = 0;
	memcpy(e->key, key, sizeof(key));
	if (e->next_op < e->nr_ops) {
		op = &e->ops[e->next_op];
		if (op->kind == kind && op->addr == addr && op->len == len) {
			e->next_op++;
			*out = op;
			return X86_OK;
		}
		/* Other code or another mapping than at the first attempt: what was done stays done. */
		e->nr_ops = e->next_op;
	}
	if (e->nr_ops == EMUL_MAX_OPS) {
		e->error = -E2BIG;
		return X86_EXIT;
	}
	op = &e->ops[e->nr_ops];
	op->kind = kind;
	op->addr = addr;
	op->len = (uint8_t)len;
	if (data)
		memcpy(op->data, data, len);
	e->todo = true;
	return X86_EXIT;
}

static void report_written(struct hv_vcpu *vcpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	unsigned int i;

	for (i = 0; i < e->nr_written; i++) {
		hv_gpa_t gpa = e->written[i].gpa;
		struct hv_memslot *slot = hv_vcpu_gfn_to_memslot(vcpu, gpa >> HV_PAGE_SHIFT);

		if (!memslot_visible(slot))
			continue;
		vm_mark_page_dirty(vcpu->vm, vcpu, slot, gpa >> HV_PAGE_SHIFT);
		mmu_guest_written(vcpu, gpa, e->written[i].len);
	}
	e->nr_written = 0;
}

/* ---- x86_ops ------------------------------------------------------------------------------------------ */

static int emul_translate(struct x86_cpu *cpu, const struct x86_phys_req *req,
			  struct x86_phys_res *res)
{
	struct hv_vcpu *vcpu = vcpu_of(cpu);
	struct vcpu_emulator *e = &vcpu->arch->emul;
	hv_gfn_t gfn = req->gpa >> HV_PAGE_SHIFT;
	struct hv_memslot *slot = hv_vcpu_gfn_to_memslot(vcpu, gfn);
	bool write = req->access & X86_ACC_WRITE;

	if (!slot && (req->access & (X86_ACC_EXEC | X86_ACC_PT_WALK))) {
		/* Code and page tables are not fetched from devices. */
		e->error = -EFAULT;
		return X86_EXIT;
	}
	if (!slot)
		return X86_MMIO;
	if (!memslot_visible(slot)) {
		/* On its way out: let the update end, then the guest faults again. */
		e->retry = true;
		return X86_EXIT;
	}
	if (write && (slot->flags & HV_MEM_READONLY))
		return X86_MMIO;
	if (write) {
		if (e->nr_written == ARRAY_SIZE(e->written))
			report_written(vcpu);
		e->written[e->nr_written].gpa = req->gpa;
		e->written[e->nr_written++].len = req->size ? req->size : 8;
	}
	res->host = (uint8_t *)(uintptr_t)memslot_gfn_to_hva(slot, gfn);
	res->page_size = HV_PAGE_SIZE;
	res->perm = X86_ACC_READ | X86_ACC_EXEC | (write ? X86_ACC_WRITE : 0);
	res->no_cache = true;
	return X86_OK;
}

static int emul_phys_read(struct x86_cpu *cpu, uint64_t gpa, void *buf, size_t size)
{
	struct hv_vcpu *vcpu = vcpu_of(cpu);
	struct hv_memslot *slot = hv_vcpu_gfn_to_memslot(vcpu, gpa >> HV_PAGE_SHIFT);
	struct emul_op *op;
	int r;

	if (memslot_visible(slot)) { /* the reading half of an update of read-only memory */
		memcpy(buf, (char *)(uintptr_t)memslot_gfn_to_hva(slot, gpa >> HV_PAGE_SHIFT) +
				    (gpa & ~HV_PAGE_MASK), size);
		return X86_OK;
	}
	r = note_access(cpu, EMUL_MEM_READ, gpa, NULL, (unsigned int)size, &op);
	if (r == X86_OK)
		memcpy(buf, op->data, size);
	return r;
}

static int emul_phys_write(struct x86_cpu *cpu, uint64_t gpa, const void *buf, size_t size)
{
	struct emul_op *op;

	return note_access(cpu, EMUL_MEM_WRITE, gpa, buf, (unsigned int)size, &op);
}

static int emul_io_in(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value)
{
	struct emul_op *op;
	int r = note_access(cpu, EMUL_IN, port, NULL, size, &op);

	if (r == X86_OK) {
		*value = 0;
		memcpy(value, op->data, size);
	}
	return r;
}

static int emul_io_out(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value)
{
	struct emul_op *op;

	return note_access(cpu, EMUL_OUT, port, &value, size, &op);
}

static int emul_intercept(struct x86_cpu *cpu, enum x86_intercept what,
			  struct x86_intercept_info *info)
{
	return X86_OK; /* nothing is intercepted */
}

static void emul_cpuid(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	vcpu_cpuid(vcpu_of(cpu), leaf, subleaf, out);
}

static int emul_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return vcpu_get_msr(vcpu_of(cpu), index, value, HV_MSR_GUEST) ? X86_FAULT : X86_OK;
}

static int emul_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return vcpu_set_msr(vcpu_of(cpu), index, value, HV_MSR_GUEST) ? X86_FAULT : X86_OK;
}

static uint64_t emul_rdtsc(struct x86_cpu *cpu)
{
	return vcpu_read_tsc(vcpu_of(cpu));
}

static int emul_rdpmc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return X86_FAULT;
}

static int emul_poll(struct x86_cpu *cpu, uint32_t which)
{
	x86_unpend(cpu, which);
	return X86_OK;
}

/* The guest's processor has neither VMX nor SVM, but hypercalls of both kinds. */
static int emul_virt_insn(struct x86_cpu *cpu, enum x86_virt_insn what,
			  struct x86_intercept_info *info)
{
	if (what != X86_VMCALL && what != X86_VMMCALL)
		return x86_set_fault(cpu, X86_UD, 0);
	vcpu_of(cpu)->arch->emul.hypercall = true;
	return X86_EXIT;
}

static uint64_t emul_cr8_read(struct x86_cpu *cpu)
{
	return vcpu_get_cr8(vcpu_of(cpu));
}

static int emul_cr8_write(struct x86_cpu *cpu, uint64_t value)
{
	return vcpu_set_cr8(vcpu_of(cpu), value) ? X86_FAULT : X86_OK;
}

static void emul_cr_written(struct x86_cpu *cpu, enum x86_intercept what)
{
	vcpu_of(cpu)->arch->emul.cr_written = true;
}

static const struct x86_ops emulator_ops = {
	.phys_translate = emul_translate,
	.phys_read = emul_phys_read,
	.phys_write = emul_phys_write,
	.intercept = emul_intercept,
	.cpuid = emul_cpuid,
	.rdmsr = emul_rdmsr,
	.wrmsr = emul_wrmsr,
	.io_in = emul_io_in,
	.io_out = emul_io_out,
	.rdtsc = emul_rdtsc,
	.rdpmc = emul_rdpmc,
	.vmx_insn = emul_virt_insn,
	.svm_insn = emul_virt_insn,
	.poll = emul_poll,
	.cr8_read = emul_cr8_read,
	.cr8_write = emul_cr8_write,
	.cr_written = emul_cr_written,
};

/* ---- devices ---------------------------------------------------------------------------------------------- */

static bool op_is_write(const struct emul_op *op)
{
	return op->kind == EMUL_MEM_WRITE || op->kind == EMUL_OUT;
}

static int op_to_user(struct hv_vcpu *vcpu, const struct emul_op *op)
{
	struct hv_run *run = vcpu->run;

	if (op->kind == EMUL_IN || op->kind == EMUL_OUT) {
		run->exit_reason = HV_EXIT_IO;
		run->io.is_write = op_is_write(op);
		run->io.size = op->len;
		run->io.port = (uint16_t)op->addr;
		run->io.count = 1;
		memcpy(run->io.data, op->data, op->len);
	} else {
		run->exit_reason = HV_EXIT_MMIO;
		run->mmio.phys_addr = op->addr;
		run->mmio.len = op->len;
		run->mmio.is_write = op_is_write(op);
		memset(run->mmio.data, 0, sizeof(run->mmio.data));
		memcpy(run->mmio.data, op->data, op->len);
	}
	return 0;
}

/* 1: done; 0: the user's turn. */
static int op_perform(struct hv_vcpu *vcpu, struct emul_op *op)
{
	enum hv_bus_kind bus = op->kind == EMUL_IN || op->kind == EMUL_OUT ? HV_BUS_PIO : HV_BUS_MMIO;
	int r;

	if (op_is_write(op)) {
		r = bus_write(vcpu->vm, vcpu, bus, op->addr, op->len, op->data);
	} else {
		memset(op->data, bus == HV_BUS_PIO ? 0xff : 0, sizeof(op->data));
		r = bus_read(vcpu->vm, vcpu, bus, op->addr, op->len, op->data);
	}
	return r ? op_to_user(vcpu, op) : 1;
}

/* ---- attempts ----------------------------------------------------------------------------------------------- */

static int complete_user_access(struct hv_vcpu *vcpu);

static void after_step(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;

	state_out(vcpu, cpu);
	if (e->cr_written) {
		e->cr_written = false;
		vcpu_regs_changed(vcpu);
	}
	if (cpu->activity == X86_HALTED) {
		atomic_fetch_add_explicit(&vcpu->stats.halts, 1, memory_order_relaxed);
		if (vcpu->vm->irqchip_ops) {
			atomic_store(&vcpu->mp_state, HV_MP_HALTED);
		} else {
			vcpu->run->exit_reason = HV_EXIT_HLT;
			e->exit_to_user = true;
		}
	} else if (cpu->activity == X86_SHUTDOWN) {
		vcpu_make_request(vcpu, HV_REQ_TRIPLE_FAULT);
	}
}

static int attempt(struct hv_vcpu *vcpu, struct x86_cpu *cpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	int status;

	e->next_op = 0;
	e->nr_written = 0;
	e->todo = e->retry = e->exit_to_user = e->hypercall = false;
	e->error = 0;
	state_in(vcpu, cpu);
	hv_rcu_read_lock();
	status = x86_step_one(cpu);
	report_written(vcpu);
	hv_rcu_read_unlock();
	after_step(vcpu, cpu);
	return status;
}

static int emulate(struct hv_vcpu *vcpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	struct x86_cpu *cpu = e->cpu;
	unsigned int work;

	for (work = 0; work < EMUL_WORK_MAX; work++) {
		if (attempt(vcpu, cpu) == X86_OK) {
			e->nr_ops = 0;
			atomic_fetch_add_explicit(&vcpu->stats.emulated, 1, memory_order_relaxed);
			return e->exit_to_user ? 0 : 1;
		}
		if (e->retry)
			return 1;
		if (e->hypercall)
			return vcpu_hypercall(vcpu, cpu->insn_len);
		if (e->error || !e->todo)
			return vcpu_exit_internal_error(vcpu, HV_INTERNAL_EMULATION,
							"emulation at rip 0x%llx failed",
							(unsigned long long)vcpu_get_rip(vcpu));
		if (!op_perform(vcpu, &e->ops[e->nr_ops])) {
			e->user_rip = vcpu_get_rip(vcpu);
			vcpu->arch->complete_io = complete_user_access;
			return 0;
		}
		e->nr_ops++;
	}
	return 1; /* a long string instruction: it goes on after a look at requests */
}

static int complete_user_access(struct hv_vcpu *vcpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	struct emul_op *op = &e->ops[e->nr_ops];

	if (vcpu_get_rip(vcpu) != e->user_rip) { /* the user moved on */
		e->nr_ops = 0;
		return 1;
	}
	if (op->kind == EMUL_MEM_READ)
		memcpy(op->data, vcpu->run->mmio.data, op->len);
	else if (op->kind == EMUL_IN)
		memcpy(op->data, vcpu->run->io.data, op->len);
	e->nr_ops++;
	return emulate(vcpu);
}

static int need_cpu(struct hv_vcpu *vcpu)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;

	if (e->cpu)
		return 0;
	e->cpu = x86_create(&emulator_ops, vcpu, &(struct x86_config){ .single = true });
	return e->cpu ? 0 : -ENOMEM;
}

int vcpu_emulate_instruction(struct hv_vcpu *vcpu, hv_gpa_t gpa_hint)
{
	int r = need_cpu(vcpu);

	if (r)
		return r;
	vcpu->arch->emul.nr_ops = 0;
	return emulate(vcpu);
}

static int decode_at_rip(struct x86_cpu *cpu, struct x86_insn *insn)
{
	uint8_t bytes[15];
	unsigned int n = x86_fetch_bytes(cpu, bytes, sizeof(bytes));

	return x86_decode(bytes, n, x86_code_mode(cpu), insn);
}

static unsigned int insn_len_at_rip(struct x86_cpu *cpu)
{
	struct x86_insn insn;

	return decode_at_rip(cpu, &insn) ? 0 : insn.len;
}

int emulate_decode(struct hv_vcpu *vcpu, struct x86_insn *insn)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	int r = need_cpu(vcpu);

	if (r)
		return r;
	e->nr_written = 0;
	e->retry = false;
	e->error = 0;
	state_in(vcpu, e->cpu);
	hv_rcu_read_lock();
	r = decode_at_rip(e->cpu, insn);
	report_written(vcpu); /* Accessed bits of the guest's tables */
	hv_rcu_read_unlock();
	if (e->retry)
		return -EAGAIN;
	return r ? -EILSEQ : 0;
}

int vcpu_emulate_task_switch(struct hv_vcpu *vcpu, const struct x86_icpt_task *task,
			     unsigned int insn_len)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	int r = need_cpu(vcpu), status;

	if (r)
		return r;
	e->nr_ops = e->next_op = e->nr_written = 0;
	e->todo = e->retry = e->exit_to_user = false;
	e->error = 0;
	state_in(vcpu, e->cpu);
	hv_rcu_read_lock();
	if (insn_len == VCPU_INSN_LEN_UNKNOWN)
		insn_len = insn_len_at_rip(e->cpu);
	status = x86_task_switch(e->cpu, task, vcpu_get_rip(vcpu) + insn_len);
	report_written(vcpu);
	hv_rcu_read_unlock();
	if (status == X86_EXIT)
		return e->retry ? 1 : vcpu_exit_internal_error(vcpu, HV_INTERNAL_EMULATION,
							       "task switch through MMIO");
	e->cr_written = true; /* CR3 */
	after_step(vcpu, e->cpu);
	vcpu_clear_injected(vcpu); /* the event went into the new task */
	if (status == X86_FAULT) {
		if (e->cpu->fault.has_error)
			vcpu_queue_exception_e(vcpu, e->cpu->fault.vector, e->cpu->fault.error_code);
		else
			vcpu_queue_exception(vcpu, e->cpu->fault.vector);
	}
	return 1;
}

int vcpu_emulate_event(struct hv_vcpu *vcpu, const struct hv_event *event)
{
	struct vcpu_emulator *e = &vcpu->arch->emul;
	struct x86_event ev = {
		.valid = 1, .vector = event->vector, .type = event->type,
		.has_error = event->has_error, .error_code = event->error_code,
		.insn_len = event->insn_len,
	};
	int r = need_cpu(vcpu), status;

	if (r)
		return r;
	e->nr_ops = e->next_op = e->nr_written = 0;
	e->todo = e->retry = e->exit_to_user = false;
	e->error = 0;
	state_in(vcpu, e->cpu);
	hv_rcu_read_lock();
	status = x86_inject(e->cpu, &ev);
	report_written(vcpu);
	hv_rcu_read_unlock();
	if (status == X86_EXIT)
		return e->retry ? -EAGAIN : -EIO;
	after_step(vcpu, e->cpu);
	return 0;
}

void emulate_reset(struct hv_vcpu *vcpu)
{
	vcpu->arch->emul.nr_ops = 0;
}

void emulate_destroy(struct hv_vcpu *vcpu)
{
	x86_destroy(vcpu->arch->emul.cpu);
	vcpu->arch->emul.cpu = NULL;
}
