/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exits that both vendors handle in the same way: HLT, MSR instructions,
 * hypercalls, port I/O by register, page faults, and what is left out of the
 * guest's processor. Every handler returns 1 (enter again), 0 (exit to the user)
 * or -errno.
 */
#include <string.h>

#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/vm/bus.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void vcpu_set_exit_insn_len(struct hv_vcpu *vcpu, unsigned int len)
{
	vcpu->arch->exit_insn_len = (uint8_t)len;
}

static bool code64(struct hv_vcpu *vcpu)
{
	const struct hv_regs_cache *r = vcpu_regs_read(vcpu);

	return (r->efer & X86_EFER_LMA) && (r->seg[HV_SEG_CS].ar & X86_AR_L);
}

void vcpu_skip_instruction(struct hv_vcpu *vcpu, unsigned int len)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	uint64_t next = a->regs.rip + (len ? len : a->exit_insn_len);

	/* Outside 64-bit code the instruction pointer wraps at 4 GiB. */
	if (next >> 32 && !(a->regs.rip >> 32) && !code64(vcpu))
		next = (uint32_t)next;
	a->regs.rip = next;
	a->regs.rflags &= ~(uint64_t)X86_FL_RF;
	vcpu->vm->vendor->clear_interrupt_shadow(vcpu);
	/* Single step of an instruction that the processor did not execute itself. */
	if (a->regs.rflags & X86_FL_TF)
		vcpu_queue_db(vcpu, X86_DR6_BS);
}

int vcpu_complete_insn_gp(struct hv_vcpu *vcpu, int err, unsigned int len)
{
	if (err)
		vcpu_queue_exception_e(vcpu, X86_GP, 0);
	else
		vcpu_skip_instruction(vcpu, len);
	return 1;
}

int vcpu_emulate_hlt(struct hv_vcpu *vcpu)
{
	vcpu_skip_instruction(vcpu, 0);
	count(&vcpu->stats.halts);
	if (!vcpu->vm->irqchip_ops) {
		vcpu->run->exit_reason = HV_EXIT_HLT;
		return 0;
	}
	atomic_store(&vcpu->mp_state, HV_MP_HALTED);
	return 1;
}

int vcpu_emulate_nop(struct hv_vcpu *vcpu)
{
	vcpu_skip_instruction(vcpu, 0);
	return 1;
}

int vcpu_emulate_ud(struct hv_vcpu *vcpu)
{
	vcpu_queue_exception(vcpu, X86_UD);
	return 1;
}

int vcpu_emulate_invd(struct hv_vcpu *vcpu)
{
	/* Memory is coherent; there is nothing to drop or write back. */
	return vcpu_emulate_nop(vcpu);
}

int vcpu_emulate_rdpmc(struct hv_vcpu *vcpu)
{
	/* No counters: every index is out of range. */
	vcpu_queue_exception_e(vcpu, X86_GP, 0);
	return 1;
}

int vcpu_emulate_rdmsr(struct hv_vcpu *vcpu)
{
	struct hv_gprs *g = vcpu_gprs(vcpu);
	uint64_t value = 0;
	int err = vcpu_get_msr(vcpu, (uint32_t)g->r[X86_RCX], &value, HV_MSR_GUEST);

	if (err < 0)
		return err;
	if (!err) {
		g->r[X86_RAX] = (uint32_t)value;
		g->r[X86_RDX] = value >> 32;
	}
	return vcpu_complete_insn_gp(vcpu, err, 0);
}

int vcpu_emulate_wrmsr(struct hv_vcpu *vcpu)
{
	struct hv_gprs *g = vcpu_gprs(vcpu);
	uint64_t value = (uint32_t)g->r[X86_RAX] | g->r[X86_RDX] << 32;
	int err = vcpu_set_msr(vcpu, (uint32_t)g->r[X86_RCX], value, HV_MSR_GUEST);

	if (err < 0)
		return err;
	return vcpu_complete_insn_gp(vcpu, err, 0);
}

#define KVM_ENOSYS 1000
#define KVM_EPERM  1
#define KVM_EINVAL 22
#define KVM_HC_VAPIC_POLL_IRQ 1
#define KVM_HC_SEND_IPI	      10

/* rbx, rcx: bitmap, in halves of the mode's width; rdx: APIC id of bit 0; rsi: ICR. */
static int64_t hypercall_send_ipi(struct hv_vcpu *vcpu, bool wide)
{
	const struct hv_gprs *g = vcpu_gprs(vcpu);
	const struct hv_irqchip_ops *chips = vcpu->vm->irqchip_ops;
	unsigned __int128 bitmap;
	int r;

	if (!chips || !chips->send_ipi)
		return -KVM_ENOSYS;
	if (wide)
		bitmap = (unsigned __int128)g->r[X86_RCX] << 64 | g->r[X86_RBX];
	else
		bitmap = g->r[X86_RCX] << 32 | (uint32_t)g->r[X86_RBX];
	r = chips->send_ipi(vcpu, bitmap, (uint32_t)g->r[X86_RDX], (uint32_t)g->r[X86_RSI]);
	return r < 0 ? -KVM_EINVAL : r;
}

/* Linux Documentation/virt/kvm/x86/hypercalls.rst. */
int vcpu_hypercall(struct hv_vcpu *vcpu, unsigned int len)
{
	struct hv_gprs *g = vcpu_gprs(vcpu);
	bool wide = code64(vcpu);
	uint64_t nr = wide ? g->r[X86_RAX] : (uint32_t)g->r[X86_RAX];
	int64_t ret = -KVM_ENOSYS;

	if (vcpu_get_cpl(vcpu))
		ret = -KVM_EPERM;
	else if (nr == KVM_HC_VAPIC_POLL_IRQ)
		ret = 0;
	else if (nr == KVM_HC_SEND_IPI)
		ret = hypercall_send_ipi(vcpu, wide);
	g->r[X86_RAX] = wide ? (uint64_t)ret : (uint32_t)ret;
	vcpu_skip_instruction(vcpu, len);
	return 1;
}

int vcpu_emulate_hypercall(struct hv_vcpu *vcpu)
{
	return vcpu_hypercall(vcpu, 0);
}

/* ---- port I/O by register ----------------------------------------------------------------------- */

static void set_in_result(struct hv_vcpu *vcpu, const void *data, unsigned int size)
{
	uint64_t *rax = &vcpu_gprs(vcpu)->r[X86_RAX];
	uint32_t value = 0;

	memcpy(&value, data, size);
	if (size == 4)
		*rax = value;
	else if (size == 2)
		*rax = (*rax & ~0xffffULL) | value;
	else
		*rax = (*rax & ~0xffULL) | value;
}

/* The user moved rip away meanwhile: nothing is left to complete. */
static bool pio_abandoned(struct hv_vcpu *vcpu)
{
	return vcpu_get_rip(vcpu) != vcpu->arch->pio.rip;
}

static int complete_in(struct hv_vcpu *vcpu)
{
	if (pio_abandoned(vcpu))
		return 1;
	set_in_result(vcpu, vcpu->run->io.data, vcpu->arch->pio.size);
	vcpu_skip_instruction(vcpu, vcpu->arch->pio.insn_len);
	return 1;
}

static int complete_out(struct hv_vcpu *vcpu)
{
	if (pio_abandoned(vcpu))
		return 1;
	vcpu_skip_instruction(vcpu, vcpu->arch->pio.insn_len);
	return 1;
}

static int pio_to_user(struct hv_vcpu *vcpu, uint16_t port, unsigned int size, bool in)
{
	struct hv_run *run = vcpu->run;

	run->exit_reason = HV_EXIT_IO;
	run->io.is_write = !in;
	run->io.size = (uint8_t)size;
	run->io.port = port;
	run->io.count = 1;
	if (in)
		memset(run->io.data, 0xff, size);
	else
		memcpy(run->io.data, &vcpu_gprs(vcpu)->r[X86_RAX], size);
	vcpu->arch->pio.size = (uint8_t)size;
	vcpu->arch->pio.insn_len = vcpu->arch->exit_insn_len;
	vcpu->arch->pio.rip = vcpu_get_rip(vcpu);
	vcpu->arch->complete_io = in ? complete_in : complete_out;
	return 0;
}

int vcpu_fast_pio(struct hv_vcpu *vcpu, uint16_t port, unsigned int size, bool in)
{
	uint32_t value = 0;
	int r;

	count(&vcpu->stats.pio);
	if (in) {
		r = bus_read(vcpu->vm, vcpu, HV_BUS_PIO, port, size, &value);
		if (r)
			return pio_to_user(vcpu, port, size, in);
		set_in_result(vcpu, &value, size);
	} else {
		memcpy(&value, &vcpu_gprs(vcpu)->r[X86_RAX], size);
		r = bus_write(vcpu->vm, vcpu, HV_BUS_PIO, port, size, &value);
		if (r)
			return pio_to_user(vcpu, port, size, in);
	}
	vcpu_skip_instruction(vcpu, 0);
	return 1;
}

/* ---- faults that the MMU decides on ---------------------------------------------------------------- */

/* Reserved bits in a table of the MMU's mark memory that is not there. */
static int handle_mmio_entry(struct hv_vcpu *vcpu, uint64_t addr)
{
	hv_gpa_t gpa = HV_INVALID_GPA;
	bool write_ok;
	int r;

	hv_rcu_read_lock();
	r = mmu_handle_mmio_hit(vcpu, addr, &gpa, &write_ok);
	hv_rcu_read_unlock();
	if (r < 0)
		return r;
	return r ? vcpu_handle_mmio(vcpu, gpa) : 1;
}

int vcpu_handle_page_fault(struct hv_vcpu *vcpu, uint64_t addr, uint64_t error_code)
{
	struct hv_pf_request req = {
		.addr = addr,
		.error_code = error_code,
		.smap_ac = vcpu_get_rflags(vcpu) & X86_FL_AC,
	};
	int r;

	if (error_code & HV_PF_RSVD)
		return handle_mmio_entry(vcpu, addr);
	hv_rcu_read_lock();
	r = mmu_page_fault(vcpu, &req);
	hv_rcu_read_unlock();
	switch (r) {
	case HV_PF_FIXED:
	case HV_PF_RETRY:
	case HV_PF_SPURIOUS:
		return 1;
	case HV_PF_EMULATE:
		if (req.mmio)
			count(&vcpu->stats.mmio);
		return vcpu_emulate_instruction(vcpu, req.gpa);
	case HV_PF_GUEST_FAULT:
		vcpu_queue_page_fault(vcpu, req.fault_cr2, req.fault_error_code);
		return 1;
	case HV_PF_USER_EXIT:
		vcpu->run->exit_reason = HV_EXIT_MEMORY_FAULT;
		vcpu->run->memory_fault.flags = 0;
		vcpu->run->memory_fault.gpa = req.gpa & HV_PAGE_MASK;
		vcpu->run->memory_fault.size = HV_PAGE_SIZE;
		return 0;
	default:
		return r < 0 ? r : 1;
	}
}

int vcpu_handle_mmio(struct hv_vcpu *vcpu, hv_gpa_t gpa)
{
	count(&vcpu->stats.mmio);
	return vcpu_emulate_instruction(vcpu, gpa);
}
