/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86 part of VMs and vCPUs: creation, reset, the register cache.
 * Source of the reset values: SDM volume 3, "Processor management and
 * initialization", table of register states after power-up and INIT.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/hv.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/arch.h"
#include "hv/vm/tsc.h"
#include "hv/x86/defs.h"

/* ---- the VM's part ---------------------------------------------------------------------------- */

int vcpu_vm_create(struct hv_vm *vm)
{
	struct hv_vm_arch *va = hv_zalloc(sizeof(*va));
	uint32_t leaf7[4];
	int r;

	if (!va)
		return -ENOMEM;
	va->tsc_khz = vm->processor->tsc_khz();
	vm->processor->cpuid(7, 0, leaf7);
	va->linear_bits = leaf7[2] & 1u << 16 /* LA57 */ ? 57 : 48;
	vm->arch = va;
	r = vcpu_vm_set_cpu_model(vm, NULL);
	if (!r)
		r = pvclock_vm_init(vm);
	if (r)
		vcpu_vm_destroy(vm);
	return r;
}

void vcpu_vm_destroy(struct hv_vm *vm)
{
	hv_free(vm->arch);
	vm->arch = NULL;
}

int vcpu_vm_set_cpu_model(struct hv_vm *vm, const char *name)
{
	struct hv_vm_arch *va = vm_arch(vm);
	const struct vcpu_cpu_model *model = cpu_model_find(name);
	int r;

	if (!model)
		return -EINVAL;
	if (atomic_load(&vm->nr_vcpus))
		return -EBUSY;
	r = cpu_model_build(model, vm, &va->cpuid);
	if (r)
		return r;
	va->model = model;
	cpuid_derive_caps(&va->cpuid, &va->caps);
	return 0;
}

const char *vcpu_vm_cpu_model(struct hv_vm *vm)
{
	return cpu_model_name(vm_arch(vm)->model);
}

const char *const *vcpu_cpu_models(void)
{
	return cpu_model_names();
}

unsigned int vcpu_vm_maxphyaddr(struct hv_vm *vm)
{
	return vm_arch(vm)->caps.maxphyaddr;
}

/* ---- life ----------------------------------------------------------------------------------------- */

int vcpu_arch_create(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = hv_zalloc_aligned(64, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->regs_full = true;
	atomic_store(&a->user_interrupt, -1);
	vcpu->arch = a;
	return 0;
}

void vcpu_arch_destroy(struct hv_vcpu *vcpu)
{
	if (!vcpu->arch)
		return;
	emulate_destroy(vcpu);
	hv_free(vcpu->arch);
	vcpu->arch = NULL;
}

static const struct hv_segment reset_data = { .limit = 0xffff, .ar = 0x93 };

static void reset_regs(struct hv_vcpu *vcpu, bool init_event)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);
	struct hv_regs_cache old = *r;
	int i;

	memset(r, 0, sizeof(*r));
	r->rip = 0xfff0;
	r->rflags = X86_FL_ONE;
	r->gprs.r[X86_RDX] = cpuid_find(&vm_arch(vcpu->vm)->cpuid, 1, 0)->out[0];
	r->cr0 = X86_CR0_ET | X86_CR0_CD | X86_CR0_NW;
	for (i = 0; i <= HV_SEG_GS; i++)
		r->seg[i] = reset_data;
	r->seg[HV_SEG_CS] = (struct hv_segment){
		.selector = 0xf000, .base = 0xffff0000, .limit = 0xffff, .ar = 0x9b };
	r->seg[HV_SEG_LDTR] = (struct hv_segment){ .limit = 0xffff, .ar = 0x82 };
	r->seg[HV_SEG_TR] = (struct hv_segment){ .limit = 0xffff, .ar = 0x8b };
	r->gdtr.limit = r->idtr.limit = 0xffff;
	r->dr6 = X86_DR6_INIT;
	r->dr7 = X86_DR7_INIT;
	r->xcr0 = 1;
	r->pat = 0x0007040600070406ULL;
	if (!init_event)
		return;
	/* INIT keeps the caches' state, PAT and XCR0. */
	r->cr0 = X86_CR0_ET | (old.cr0 & (X86_CR0_CD | X86_CR0_NW));
	r->pat = old.pat;
	r->xcr0 = old.xcr0 ? old.xcr0 : 1;
}

void vcpu_arch_reset(struct hv_vcpu *vcpu, bool init_event)
{
	bool first = vcpu->id == 0;

	reset_regs(vcpu, init_event);
	events_reset(vcpu);
	emulate_reset(vcpu);
	vcpu->arch->complete_io = NULL;
	msr_reset(vcpu, init_event);
	if (!init_event) {
		vcpu->arch->apic_base = 0xfee00800 | (first ? 1u << 8 : 0);
		tsc_synchronize(vcpu, 0);
		atomic_store(&vcpu->mp_state, first || !vcpu->vm->irqchip_ops ?
						      HV_MP_RUNNABLE : HV_MP_UNINITIALIZED);
	}
	if (vcpu->vm->irqchip_ops)
		vcpu->vm->irqchip_ops->vcpu_reset(vcpu, init_event);
	vcpu->vm->vendor->vcpu_reset(vcpu, init_event);
	vcpu_regs_changed(vcpu);
}

/* ---- the register cache ------------------------------------------------------------------------------- */

const struct hv_regs_cache *vcpu_regs_read(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;

	if (!a->regs_full) {
		vcpu->vm->vendor->sync_from_hw(vcpu);
		a->regs_full = true;
	}
	return &a->regs;
}

struct hv_regs_cache *vcpu_regs(struct hv_vcpu *vcpu)
{
	vcpu_regs_read(vcpu);
	vcpu->arch->regs_dirty = true;
	return &vcpu->arch->regs;
}

struct hv_gprs *vcpu_gprs(struct hv_vcpu *vcpu)
{
	return &vcpu->arch->regs.gprs;
}

uint64_t vcpu_get_rip(struct hv_vcpu *vcpu)
{
	return vcpu->arch->regs.rip;
}

uint64_t vcpu_get_rflags(struct hv_vcpu *vcpu)
{
	return vcpu->arch->regs.rflags;
}

void vcpu_set_rip(struct hv_vcpu *vcpu, uint64_t rip)
{
	vcpu->arch->regs.rip = rip;
}

void vcpu_regs_changed(struct hv_vcpu *vcpu)
{
	struct hv_regs_cache *r = vcpu_regs(vcpu);

	r->rflags |= X86_FL_ONE;
	vcpu->vm->vendor->update_exception_bitmap(vcpu);
	paging_changed(vcpu);
	vcpu_make_request(vcpu, HV_REQ_TLB_FLUSH_GUEST);
	vcpu_make_request(vcpu, HV_REQ_EVENT);
}
