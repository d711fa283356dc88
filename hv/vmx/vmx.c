/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMX vendor module: hardware, VMs, vCPUs, and the entry itself. See vmx.h.
 */
#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/base/lock.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/tags.h"
#include "hv/vm/hardware.h"
#include "hv/vmx/vmx.h"
#include "hv/x86/defs.h"

#define VMX_PAGE 4096

/* ---- the module: its processor, a VMXON region per host CPU, VPIDs ------------------------------ */

#define VMX_MAX_CPUS 1024

/* Changed under vendor_module_lock (processor) and hv_lock (regions). */
static struct {
	const struct hv_processor_ops *processor;
	void *regions[VMX_MAX_CPUS];
	struct vcpu_tags vpids; /* a VPID belongs to one vCPU of one VM, whatever host CPU runs it */
} vmx_module;

static int check_processor(const struct hv_processor_ops *processor)
{
	int r = vmx_check_processor(processor);

	if (!r)
		vmx_module.processor = processor;
	return r;
}

static int hardware_enable(unsigned int cpu)
{
	const struct hv_vmx_ops *ops = vmx_module.processor->vmx;
	uint32_t *region;
	int r;

	if (cpu >= VMX_MAX_CPUS)
		return -ENODEV;
	region = hv_zalloc_aligned(VMX_PAGE, VMX_PAGE);
	if (!region)
		return -ENOMEM;
	*region = (uint32_t)ops->capability(VMX_MSR_BASIC) & 0x7fffffff;
	r = ops->vmxon(cpu, (uintptr_t)region);
	if (r) {
		hv_free(region);
		return r;
	}
	vmx_module.regions[cpu] = region;
	return 0;
}

static void hardware_disable(unsigned int cpu)
{
	if (cpu >= VMX_MAX_CPUS || !vmx_module.regions[cpu])
		return;
	vmx_module.processor->vmx->vmxoff(cpu);
	hv_free(vmx_module.regions[cpu]);
	vmx_module.regions[cpu] = NULL;
}

/* ---- VMs and vCPUs ----------------------------------------------------------------------------------- */

static int vm_init(struct hv_vm *vm)
{
	struct vmx_vm *v = hv_zalloc(sizeof(*v));
	int r = -ENOMEM;

	if (!v)
		return -ENOMEM;
	v->msr_bitmap = hv_zalloc_aligned(VMX_PAGE, VMX_PAGE);
	v->msr_bitmap_x2apic = hv_zalloc_aligned(VMX_PAGE, VMX_PAGE);
	if (!v->msr_bitmap || !v->msr_bitmap_x2apic)
		goto out;
	vmx_fill_msr_bitmap(v->msr_bitmap);
	vmx_fill_msr_bitmap(v->msr_bitmap_x2apic);
	vmx_pass_x2apic(v->msr_bitmap_x2apic);
	r = vcpu_vm_create(vm);
	if (r)
		goto out;
	vm->vendor_data = v;
	return 0;
out:
	hv_free(v->msr_bitmap_x2apic);
	hv_free(v->msr_bitmap);
	hv_free(v);
	return r;
}

static void vm_destroy(struct hv_vm *vm)
{
	struct vmx_vm *v = vm->vendor_data;

	vcpu_vm_destroy(vm);
	if (v) {
		hv_free(v->msr_bitmap_x2apic);
		hv_free(v->msr_bitmap);
	}
	hv_free(v);
	vm->vendor_data = NULL;
}

static void vcpu_free(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	vcpu_arch_destroy(vcpu);
	if (!v)
		return;
	vcpu_tag_free(&vmx_module.vpids, v->vpid);
	hv_free(v->pi);
	hv_free(v->pml);
	hv_free(v->vmcs);
	hv_free(v);
	vcpu->vendor_data = NULL;
}

static int vcpu_create(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = hv_zalloc(sizeof(*v));

	if (!v)
		return -ENOMEM;
	vcpu->vendor_data = v;
	v->vmcs = hv_zalloc_aligned(VMX_PAGE, VMX_PAGE);
	v->pml = hv_zalloc_aligned(VMX_PAGE, VMX_PAGE);
	v->pi = hv_zalloc_aligned(sizeof(*v->pi), sizeof(*v->pi));
	v->vpid = (uint16_t)vcpu_tag_alloc(&vmx_module.vpids, VCPU_TAGS_MAX);
	if (!v->vmcs || !v->pml || !v->pi || !v->vpid || vcpu_arch_create(vcpu)) {
		vcpu_free(vcpu);
		return -ENOMEM;
	}
	*(uint32_t *)v->vmcs = (uint32_t)vmx_ops(vcpu)->capability(VMX_MSR_BASIC) & 0x7fffffff;
	v->pi->control = VMX_PI_SN;
	return 0;
}

static uint32_t exception_bitmap(struct hv_vcpu *vcpu)
{
	return 1u << X86_UD | (vmx_shadow(vcpu) ? 1u << X86_PF : 0);
}

static void vcpu_reset(struct hv_vcpu *vcpu, bool init_event)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	v->event_pending = false;
	v->emulate = false;
	v->exception_bitmap = exception_bitmap(vcpu);
	if (v->loaded)
		vmcs_write(vcpu, VMCS_ENTRY_INTR_INFO, 0);
}

/* ---- load and put --------------------------------------------------------------------------------------- */

void vmx_access_failed(struct hv_vcpu *vcpu, const char *what, uint32_t field)
{
	vm_bugged(vcpu->vm, "%s of field 0x%x failed on vCPU %u", what, field, vcpu->id);
}

static void vcpu_load(struct hv_vcpu *vcpu, unsigned int cpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	const struct hv_vmx_ops *ops = vmx_ops(vcpu);

	if (!v->configured && ops->vmclear(vcpu->lp, (uintptr_t)v->vmcs) != HV_VMX_OK)
		vm_bugged(vcpu->vm, "VMCLEAR failed on vCPU %u", vcpu->id);
	if (ops->vmptrld(vcpu->lp, (uintptr_t)v->vmcs) != HV_VMX_OK) {
		vm_bugged(vcpu->vm, "VMPTRLD failed on vCPU %u", vcpu->id);
		return;
	}
	v->loaded = true;
	if (!v->configured) {
		vmx_configure(vcpu);
		vcpu->arch->regs_dirty = true;
	}
	vmcs_write(vcpu, VMCS_TSC_OFFSET, vcpu_tsc_offset(vcpu));
	vmcs_write(vcpu, VMCS_EXCEPTION_BITMAP, v->exception_bitmap);
	vmx_apicv_load(vcpu, cpu);
}

static void vcpu_put(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	vmx_apicv_put(vcpu);
	vmx_cancel_injection(vcpu);
	/* Another host CPU may be next: the VMCS goes back to memory, and starts with VMLAUNCH. */
	vmx_ops(vcpu)->vmclear(vcpu->lp, (uintptr_t)v->vmcs);
	v->launched = false;
	v->loaded = false;
}

/* ---- hooks of the run loop ------------------------------------------------------------------------------- */

static void load_mmu_root(struct hv_vcpu *vcpu, hv_pfn_t root_pfn, int level)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	v->root_pfn = root_pfn;
	v->root_level = level;
	v->root_dirty = true;
}

static void flush_tlb_all(struct hv_vcpu *vcpu)
{
	atomic_fetch_add_explicit(&vcpu->stats.tlb_flushes, 1, memory_order_relaxed);
	if (vmx_shadow(vcpu))
		vmx_ops(vcpu)->invvpid(vcpu->lp, VMX_INVVPID_SINGLE, vmx_of(vcpu)->vpid, 0);
	else
		vmx_ops(vcpu)->invept(vcpu->lp, VMX_INVEPT_ALL, 0);
}

static void flush_tlb_guest(struct hv_vcpu *vcpu)
{
	vmx_ops(vcpu)->invvpid(vcpu->lp, VMX_INVVPID_SINGLE, vmx_of(vcpu)->vpid, 0);
}

static void flush_tlb_gva(struct hv_vcpu *vcpu, uint64_t gva)
{
	vmx_ops(vcpu)->invvpid(vcpu->lp, VMX_INVVPID_ADDRESS, vmx_of(vcpu)->vpid, gva);
}

static void clear_interrupt_shadow(struct hv_vcpu *vcpu)
{
	uint32_t state = vmx_interruptibility(vcpu);

	if (state & (VMX_BLOCK_STI | VMX_BLOCK_MOV_SS))
		vmx_set_interruptibility(vcpu, state & ~(VMX_BLOCK_STI | VMX_BLOCK_MOV_SS));
}

/* CR8 exits, or its shadow is the local APIC's own page: there is one copy of the TPR. */
static void update_cr8_intercept(struct hv_vcpu *vcpu, int tpr, int irr)
{
}

static void write_tsc_offset(struct hv_vcpu *vcpu, uint64_t offset)
{
	if (vmx_of(vcpu)->loaded)
		vmcs_write(vcpu, VMCS_TSC_OFFSET, offset);
}

static void update_exception_bitmap(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);

	v->exception_bitmap = exception_bitmap(vcpu);
	if (v->loaded)
		vmcs_write(vcpu, VMCS_EXCEPTION_BITMAP, v->exception_bitmap);
}

/* PML is on for the VM's life; what is not logged costs nothing. */
static void update_cpu_dirty_logging(struct hv_vcpu *vcpu)
{
}

/* ---- the entry ---------------------------------------------------------------------------------------------- */

static void write_always(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	const struct hv_regs_cache *r = &vcpu->arch->regs;

	if (v->rip != r->rip || !v->launched)
		vmcs_write(vcpu, VMCS_GUEST_RIP, r->rip);
	if (v->rsp != r->gprs.r[X86_RSP] || !v->launched)
		vmcs_write(vcpu, VMCS_GUEST_RSP, r->gprs.r[X86_RSP]);
	if (v->rflags != r->rflags || !v->launched)
		vmcs_write(vcpu, VMCS_GUEST_RFLAGS, r->rflags);
}

static void read_always(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	struct hv_regs_cache *r = &vcpu->arch->regs;

	r->rip = v->rip = vmcs_read(vcpu, VMCS_GUEST_RIP);
	r->gprs.r[X86_RSP] = v->rsp = vmcs_read(vcpu, VMCS_GUEST_RSP);
	r->rflags = v->rflags = vmcs_read(vcpu, VMCS_GUEST_RFLAGS);
	vcpu_set_exit_insn_len(vcpu, (unsigned int)vmcs_read(vcpu, VMCS_EXIT_INSN_LEN));
}

/* Real mode under shadow paging: the event and one instruction through hv/x86. */
static int run_emulated(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	int r;

	v->exit_reason = VMX_EXIT_INVALID_GUEST_STATE;
	if (!v->event_pending)
		return 0;
	vmx_cancel_injection(vcpu);
	r = vcpu_emulate_event(vcpu, &v->emulated_event);
	if (r == -EAGAIN)
		return 0;
	vcpu_clear_injected(vcpu);
	return r;
}

static int run(struct hv_vcpu *vcpu)
{
	struct vmx_vcpu *v = vmx_of(vcpu);
	enum hv_vmx_status status;

	if (v->emulate)
		return run_emulated(vcpu);
	if (v->root_dirty)
		vmx_write_root(vcpu);
	write_always(vcpu);
	vmx_apicv_entry(vcpu);
	status = vmx_ops(vcpu)->enter(vcpu->lp, &vcpu->arch->regs.gprs, !v->launched);
	if (status != HV_VMX_OK) {
		v->exit_reason = VMX_EXIT_ENTRY_FAILURE | 0xffff;
		vm_bugged(vcpu->vm, "VM entry of vCPU %u failed, instruction error %llu", vcpu->id,
			  (unsigned long long)vmcs_read(vcpu, VMCS_INSN_ERROR));
		return -EIO;
	}
	v->exit_reason = (uint32_t)vmcs_read(vcpu, VMCS_EXIT_REASON);
	if (v->exit_reason & VMX_EXIT_ENTRY_FAILURE) /* nothing ran, nothing was delivered */
		return 0;
	v->launched = true;
	v->event_pending = false;
	read_always(vcpu);
	if (v->ctl.cpu2 & VMX_CPU2_PML)
		vmx_flush_pml(vcpu);
	vmx_recover_event(vcpu);
	return 0;
}

const struct hv_vendor_ops hv_vendor_vmx = {
	.name = "vmx",
	.id = HV_VENDOR_VMX,
	.check_processor = check_processor,
	.hardware_enable = hardware_enable,
	.hardware_disable = hardware_disable,
	.vm_init = vm_init,
	.vm_destroy = vm_destroy,
	.vcpu_create = vcpu_create,
	.vcpu_free = vcpu_free,
	.vcpu_reset = vcpu_reset,
	.vcpu_load = vcpu_load,
	.vcpu_put = vcpu_put,
	.sync_from_hw = vmx_sync_from_hw,
	.sync_to_hw = vmx_sync_to_hw,
	.load_mmu_root = load_mmu_root,
	.flush_tlb_all = flush_tlb_all,
	.flush_tlb_guest = flush_tlb_guest,
	.flush_tlb_gva = flush_tlb_gva,
	.inject_event = vmx_inject_event,
	.cancel_injection = vmx_cancel_injection,
	.interrupt_allowed = vmx_interrupt_allowed,
	.nmi_allowed = vmx_nmi_allowed,
	.clear_interrupt_shadow = clear_interrupt_shadow,
	.enable_irq_window = vmx_enable_irq_window,
	.enable_nmi_window = vmx_enable_nmi_window,
	.update_cr8_intercept = update_cr8_intercept,
	.deliver_posted = vmx_deliver_posted,
	.posted_pending = vmx_posted_pending,
	.posted_block = vmx_posted_block,
	.posted_unblock = vmx_posted_unblock,
	.sync_posted = vmx_sync_posted,
	.apicv_refresh = vmx_apicv_refresh,
	.write_tsc_offset = write_tsc_offset,
	.update_exception_bitmap = update_exception_bitmap,
	.update_cpu_dirty_logging = update_cpu_dirty_logging,
	.flush_log_dirty = vmx_flush_pml,
	.run = run,
	.handle_exit = vmx_handle_exit,
	.exit_name = vmx_exit_name,
	.exit_count = VMX_EXIT_COUNT,
	.has_ad_bits = true,
	.has_pml = true,
	.ept_format = true,
	.max_tdp_level = 5,
	.max_huge_level = HV_PG_LEVEL_1G,
};
