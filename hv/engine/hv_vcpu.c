/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vCPUs for the users of the engine: creation, running, registers, events, figures.
 */
#include <errno.h>
#include <string.h>

#include "hv/engine/hv_engine.h"
#include "hv/irq/irqchip.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"

int hv_vcpu_create(struct hv_vm *vm, unsigned int id, struct hv_vcpu **out)
{
	struct hv_vcpu *vcpu;
	int r;

	if (!vm || !out)
		return -EINVAL;
	r = vm_add_vcpu(vm, id, &vcpu);
	if (r)
		return r;
	if (vm->irqchip_ops) {
		r = irqchip_vcpu_create(vcpu);
		if (r) {
			/* It is linked by now; the VM can only be released. */
			vm_bugged(vm, "no local APIC for vCPU %u: %s", id, strerror(-r));
			return r;
		}
	}
	vcpu_arch_reset(vcpu, false);
	*out = vcpu;
	return 0;
}

struct hv_run *hv_vcpu_run_page(struct hv_vcpu *vcpu)
{
	return vcpu ? vcpu->run : NULL;
}

int hv_vcpu_run(struct hv_vcpu *vcpu)
{
	return vcpu ? vcpu_run(vcpu) : -EINVAL;
}

int hv_vcpu_kick(struct hv_vcpu *vcpu)
{
	if (!vcpu)
		return -EINVAL;
	vcpu_pause_request(vcpu);
	return 0;
}

/* ---- registers -------------------------------------------------------------------------------------- */

int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct hv_regs *regs)
{
	const struct hv_regs_cache *r;

	if (!vcpu || !regs)
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_regs_read(vcpu);
	*regs = (struct hv_regs){
		.rax = r->gprs.r[X86_RAX], .rbx = r->gprs.r[X86_RBX], .rcx = r->gprs.r[X86_RCX],
		.rdx = r->gprs.r[X86_RDX], .rsi = r->gprs.r[X86_RSI], .rdi = r->gprs.r[X86_RDI],
		.rsp = r->gprs.r[X86_RSP], .rbp = r->gprs.r[X86_RBP], .r8 = r->gprs.r[X86_R8],
		.r9 = r->gprs.r[X86_R9], .r10 = r->gprs.r[X86_R10], .r11 = r->gprs.r[X86_R11],
		.r12 = r->gprs.r[X86_R12], .r13 = r->gprs.r[X86_R13], .r14 = r->gprs.r[X86_R14],
		.r15 = r->gprs.r[X86_R15], .rip = r->rip, .rflags = r->rflags,
	};
	hv_mutex_unlock(&vcpu->mutex);
	return 0;
}

int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct hv_regs *regs)
{
	struct hv_regs_cache *r;

	if (!vcpu || !regs)
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_regs(vcpu);
	r->gprs = (struct hv_gprs){ .r = {
		[X86_RAX] = regs->rax, [X86_RBX] = regs->rbx, [X86_RCX] = regs->rcx,
		[X86_RDX] = regs->rdx, [X86_RSI] = regs->rsi, [X86_RDI] = regs->rdi,
		[X86_RSP] = regs->rsp, [X86_RBP] = regs->rbp, [X86_R8] = regs->r8,
		[X86_R9] = regs->r9, [X86_R10] = regs->r10, [X86_R11] = regs->r11,
		[X86_R12] = regs->r12, [X86_R13] = regs->r13, [X86_R14] = regs->r14,
		[X86_R15] = regs->r15,
	} };
	r->rip = regs->rip;
	r->rflags = (regs->rflags & X86_FL_ALL) | X86_FL_ONE;
	/* What was to be raised belongs to the instruction that the user has left. */
	vcpu->arch->exception.pending = false;
	vcpu_make_request(vcpu, HV_REQ_EVENT);
	hv_mutex_unlock(&vcpu->mutex);
	return 0;
}

static void seg_to_user(struct hv_seg *to, const struct hv_segment *s)
{
	*to = (struct hv_seg){
		.base = s->base, .limit = s->limit, .selector = s->selector,
		.type = s->ar & X86_AR_TYPE, .s = !!(s->ar & X86_AR_S), .dpl = X86_AR_DPL(s->ar),
		.present = !!(s->ar & X86_AR_P), .avl = !!(s->ar & X86_AR_AVL),
		.l = !!(s->ar & X86_AR_L), .db = !!(s->ar & X86_AR_DB), .g = !!(s->ar & X86_AR_G),
		.unusable = !!(s->ar & X86_AR_UNUSABLE),
	};
}

static void seg_from_user(struct hv_segment *to, const struct hv_seg *s)
{
	to->base = s->base;
	to->limit = s->limit;
	to->selector = s->selector;
	to->ar = (s->type & X86_AR_TYPE) | (s->s ? X86_AR_S : 0) |
		 (uint32_t)(s->dpl & 3) << X86_AR_DPL_SHIFT | (s->present ? X86_AR_P : 0) |
		 (s->avl ? X86_AR_AVL : 0) | (s->l ? X86_AR_L : 0) | (s->db ? X86_AR_DB : 0) |
		 (s->g ? X86_AR_G : 0) | (s->unusable || !s->present ? X86_AR_UNUSABLE : 0);
}

int hv_vcpu_get_sregs(struct hv_vcpu *vcpu, struct hv_sregs *sregs)
{
	const struct hv_regs_cache *r;

	if (!vcpu || !sregs)
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_regs_read(vcpu);
	memset(sregs, 0, sizeof(*sregs));
	seg_to_user(&sregs->cs, &r->seg[HV_SEG_CS]);
	seg_to_user(&sregs->ds, &r->seg[HV_SEG_DS]);
	seg_to_user(&sregs->es, &r->seg[HV_SEG_ES]);
	seg_to_user(&sregs->fs, &r->seg[HV_SEG_FS]);
	seg_to_user(&sregs->gs, &r->seg[HV_SEG_GS]);
	seg_to_user(&sregs->ss, &r->seg[HV_SEG_SS]);
	seg_to_user(&sregs->tr, &r->seg[HV_SEG_TR]);
	seg_to_user(&sregs->ldt, &r->seg[HV_SEG_LDTR]);
	sregs->gdt = (struct hv_dtab){ r->gdtr.base, r->gdtr.limit };
	sregs->idt = (struct hv_dtab){ r->idtr.base, r->idtr.limit };
	sregs->cr0 = r->cr0;
	sregs->cr2 = r->cr2;
	sregs->cr3 = r->cr3;
	sregs->cr4 = r->cr4;
	sregs->cr8 = vcpu_get_cr8(vcpu);
	sregs->efer = r->efer;
	memcpy(sregs->pdptrs, r->pdptrs, sizeof(sregs->pdptrs));
	vcpu_get_msr(vcpu, X86_MSR_APIC_BASE, &sregs->apic_base, HV_MSR_HOST);
	hv_mutex_unlock(&vcpu->mutex);
	return 0;
}

/* The rules between control registers that no instruction lets a guest break. */
static bool sregs_valid(struct hv_vcpu *vcpu, const struct hv_sregs *s)
{
	struct vcpu_guest_caps *caps = &vm_arch(vcpu->vm)->caps;
	bool pg = s->cr0 & X86_CR0_PG, lma = s->efer & X86_EFER_LMA, lme = s->efer & X86_EFER_LME;

	if ((s->cr0 >> 32) || (pg && !(s->cr0 & X86_CR0_PE)))
		return false;
	if ((s->cr0 & X86_CR0_NW) && !(s->cr0 & X86_CR0_CD))
		return false;
	if ((s->cr4 & ~caps->cr4_allowed) || (s->efer & ~caps->efer_allowed) || (s->cr8 & ~0xfULL))
		return false;
	if (pg && lme && (!lma || !(s->cr4 & X86_CR4_PAE)))
		return false;
	if (lma && !(pg && lme))
		return false;
	if ((s->cr4 & X86_CR4_PCIDE) && !lma)
		return false;
	return !(lma && (s->cr3 >> caps->maxphyaddr));
}

int hv_vcpu_set_sregs(struct hv_vcpu *vcpu, const struct hv_sregs *sregs)
{
	struct hv_regs_cache *r;

	if (!vcpu || !sregs || !sregs_valid(vcpu, sregs))
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_regs(vcpu);
	seg_from_user(&r->seg[HV_SEG_CS], &sregs->cs);
	seg_from_user(&r->seg[HV_SEG_DS], &sregs->ds);
	seg_from_user(&r->seg[HV_SEG_ES], &sregs->es);
	seg_from_user(&r->seg[HV_SEG_FS], &sregs->fs);
	seg_from_user(&r->seg[HV_SEG_GS], &sregs->gs);
	seg_from_user(&r->seg[HV_SEG_SS], &sregs->ss);
	seg_from_user(&r->seg[HV_SEG_TR], &sregs->tr);
	seg_from_user(&r->seg[HV_SEG_LDTR], &sregs->ldt);
	r->gdtr = (struct hv_dtable){ sregs->gdt.base, sregs->gdt.limit };
	r->idtr = (struct hv_dtable){ sregs->idt.base, sregs->idt.limit };
	r->cr0 = sregs->cr0 | X86_CR0_ET;
	r->cr2 = sregs->cr2;
	r->cr3 = sregs->cr3;
	r->cr4 = sregs->cr4;
	r->efer = sregs->efer;
	memcpy(r->pdptrs, sregs->pdptrs, sizeof(r->pdptrs));
	if (paging_is_pae(r))
		paging_load_pdptrs(vcpu, r->cr3); /* else those of the caller stay */
	vcpu_set_cr8(vcpu, sregs->cr8);
	vcpu_set_msr(vcpu, X86_MSR_APIC_BASE, sregs->apic_base, HV_MSR_HOST);
	vcpu_regs_changed(vcpu);
	hv_mutex_unlock(&vcpu->mutex);
	return 0;
}

int hv_vcpu_get_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t *value)
{
	uint64_t v = 0;
	int r;

	if (!vcpu || !value)
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_get_msr(vcpu, index, &v, HV_MSR_HOST);
	hv_mutex_unlock(&vcpu->mutex);
	if (!r)
		*value = v;
	return r > 0 ? -EINVAL : r;
}

int hv_vcpu_set_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t value)
{
	int r;

	if (!vcpu)
		return -EINVAL;
	if (!hv_mutex_trylock(&vcpu->mutex))
		return -EBUSY;
	r = vcpu_set_msr(vcpu, index, value, HV_MSR_HOST);
	hv_mutex_unlock(&vcpu->mutex);
	return r > 0 ? -EINVAL : r;
}

int hv_vcpu_interrupt(struct hv_vcpu *vcpu, uint8_t vector)
{
	return vcpu ? vcpu_queue_user_interrupt(vcpu, vector) : -EINVAL;
}

int hv_vcpu_nmi(struct hv_vcpu *vcpu)
{
	if (!vcpu)
		return -EINVAL;
	vcpu_queue_nmi(vcpu);
	return 0;
}

/* ---- figures -------------------------------------------------------------------------------------------- */

int hv_vcpu_exits(struct hv_vcpu *vcpu, struct hv_exit_counter *out, unsigned int max)
{
	const struct hv_vendor_ops *vendor;
	unsigned int i, n = 0;

	if (!vcpu || (max && !out))
		return -EINVAL;
	vendor = vcpu->vm->vendor;
	for (i = 0; i < vendor->exit_count; i++) {
		const char *name = vendor->exit_name(i);

		if (!name)
			continue;
		if (n < max)
			out[n] = (struct hv_exit_counter){
				name, atomic_load_explicit(&vcpu->exits[i], memory_order_relaxed) };
		n++;
	}
	return (int)n;
}

static const char *state_name(struct hv_vcpu *vcpu)
{
	switch (atomic_load(&vcpu->mp_state)) {
	case HV_MP_UNINITIALIZED:
		return "wait-for-init";
	case HV_MP_INIT_RECEIVED:
		return "wait-for-sipi";
	case HV_MP_HALTED:
		return "halted";
	case HV_MP_STOPPED:
		return "stopped";
	default:
		return atomic_load(&vcpu->cpu) >= 0 ? "running" : "paused";
	}
}

static uint64_t stat(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

int hv_vcpu_stats(struct hv_vcpu *vcpu, struct hv_vcpu_figures *out)
{
	struct hv_lp_counters lp;

	if (!vcpu || !out)
		return -EINVAL;
	lp = vcpu->vm->processor->lp_counters(vcpu->lp);
	*out = (struct hv_vcpu_figures){
		.id = vcpu->id, .host_cpu = atomic_load(&vcpu->cpu), .state = state_name(vcpu),
		.entries = stat(&vcpu->stats.entries), .halts = stat(&vcpu->stats.halts),
		.irq_injections = stat(&vcpu->stats.irq_injections) + lp.virtual_interrupts,
		.nmi_injections = stat(&vcpu->stats.nmi_injections),
		.mmio = stat(&vcpu->stats.mmio), .pio = stat(&vcpu->stats.pio),
		.instructions = lp.insns + stat(&vcpu->stats.emulated), .run_ns = vcpu_run_ns(vcpu),
		.halt_ns = stat(&vcpu->stats.blocked_ns), .steal_ns = vcpu_steal_ns(vcpu),
		.tlb_misses = lp.tlb_misses,
		.mmio_cache_hits = stat(&vcpu->stats.mmio_cache_hits),
		.mmio_cache_misses = stat(&vcpu->stats.mmio_cache_misses),
		.mmio_cache_stale = stat(&vcpu->stats.mmio_cache_stale),
	};
	return 0;
}
