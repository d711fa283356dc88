/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SVM vendor module: hardware, VMs, vCPUs, and the entry itself. See svm.h.
 */
#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/mmu/mmu.h"
#include "hv/svm/svm.h"
#include "hv/vcpu/tags.h"
#include "hv/x86/defs.h"

#define SVM_PAGE 4096

/* ---- the module: its processor, a host-save area per CPU, ASIDs ------------------------------------ */

#define SVM_MAX_CPUS 1024

/* Changed under vendor_module_lock (processor, limit) and hv_lock (areas). */
static struct {
	const struct hv_processor_ops *processor;
	uint32_t nr_asids;
	void *areas[SVM_MAX_CPUS];
	struct vcpu_tags asids; /* an ASID belongs to one vCPU of one VM, whatever host CPU runs it */
} svm_module;

static int check_processor(const struct hv_processor_ops *processor)
{
	uint32_t leaf[4];
	int r = svm_check_processor(processor);

	if (r)
		return r;
	processor->svm->cpuid_8000000a(leaf);
	svm_module.processor = processor;
	svm_module.nr_asids = leaf[1] < VCPU_TAGS_MAX ? leaf[1] : VCPU_TAGS_MAX;
	return 0;
}

static int hardware_enable(unsigned int cpu)
{
	void *area;
	int r;

	if (cpu >= SVM_MAX_CPUS)
		return -ENODEV;
	area = hv_zalloc_aligned(SVM_PAGE, SVM_PAGE);
	if (!area)
		return -ENOMEM;
	r = svm_module.processor->svm->enable(cpu, (uintptr_t)area);
	if (r) {
		hv_free(area);
		return r;
	}
	svm_module.areas[cpu] = area;
	return 0;
}

static void hardware_disable(unsigned int cpu)
{
	if (cpu >= SVM_MAX_CPUS || !svm_module.areas[cpu])
		return;
	svm_module.processor->svm->disable(cpu);
	hv_free(svm_module.areas[cpu]);
	svm_module.areas[cpu] = NULL;
}

/* ---- VMs and vCPUs ----------------------------------------------------------------------------------- */

static int vm_init(struct hv_vm *vm)
{
	struct svm_vm *v = hv_zalloc(sizeof(*v));
	int r = -ENOMEM;

	if (!v)
		return -ENOMEM;
	v->msrpm = hv_zalloc_aligned(SVM_PAGE, 2 * SVM_PAGE);
	v->iopm = hv_zalloc_aligned(SVM_PAGE, 3 * SVM_PAGE);
	if (!v->msrpm || !v->iopm)
		goto out;
	svm_fill_permission_maps(v->msrpm, v->iopm);
	r = vcpu_vm_create(vm);
	if (r)
		goto out;
	vm->vendor_data = v;
	return 0;
out:
	hv_free(v->msrpm);
	hv_free(v->iopm);
	hv_free(v);
	return r;
}

static void vm_destroy(struct hv_vm *vm)
{
	struct svm_vm *v = vm->vendor_data;

	vcpu_vm_destroy(vm);
	if (!v)
		return;
	hv_free(v->msrpm);
	hv_free(v->iopm);
	hv_free(v);
	vm->vendor_data = NULL;
}

static void vcpu_free(struct hv_vcpu *vcpu)
{
	struct svm_vcpu *v = svm_of(vcpu);

	vcpu_arch_destroy(vcpu);
	if (!v)
		return;
	vcpu_tag_free(&svm_module.asids, v->asid);
	hv_free(v->vmcb);
	hv_free(v);
	vcpu->vendor_data = NULL;
}

static int vcpu_create(struct hv_vcpu *vcpu)
{
	struct svm_vcpu *v = hv_zalloc(sizeof(*v));

	if (!v)
		return -ENOMEM;
	vcpu->vendor_data = v;
	v->last_cpu = -1;
	v->vmcb = hv_zalloc_aligned(SVM_PAGE, sizeof(*v->vmcb));
	v->asid = vcpu_tag_alloc(&svm_module.asids, svm_module.nr_asids);
	if (!v->vmcb || !v->asid || vcpu_arch_create(vcpu)) {
		vcpu_free(vcpu);
		return -ENOMEM;
	}
	svm_configure(vcpu);
	return 0;
}

static void vcpu_reset(struct hv_vcpu *vcpu, bool init_event)
{
	svm_control(vcpu)->event_inj = 0;
	svm_control(vcpu)->int_state = 0;
	svm_set_nmi_masked(vcpu, false);
	svm_disable_irq_window(vcpu);
}

static void vcpu_load(struct hv_vcpu *vcpu, unsigned int cpu)
{
	struct svm_vcpu *v = svm_of(vcpu);

	/* What this CPU cached of the ASID may be older than what the last one saw. */
	if (v->last_cpu != (int)cpu) {
		svm_control(vcpu)->tlb_ctl = SVM_TLB_FLUSH_ASID;
		svm_control(vcpu)->clean = 0;
		v->last_cpu = (int)cpu;
	}
	if (!v->ready) {
		v->ready = true;
		vcpu->arch->regs_dirty = true;
	}
}

static void vcpu_put(struct hv_vcpu *vcpu)
{
	svm_cancel_injection(vcpu);
}

/* ---- hooks of the run loop ------------------------------------------------------------------------------- */

static void flush_asid(struct hv_vcpu *vcpu)
{
	svm_control(vcpu)->tlb_ctl = SVM_TLB_FLUSH_ASID;
}

/*
 * A root comes up again under an address that an older one had, so its
 * translations are dropped with it.
 */
static void load_mmu_root(struct hv_vcpu *vcpu, hv_pfn_t root_pfn, int level)
{
	struct svm_vmcb *vmcb = svm_of(vcpu)->vmcb;

	if (svm_shadow(vcpu)) {
		vmcb->save.cr3 = root_pfn << HV_PAGE_SHIFT;
		svm_touch(vcpu, SVM_CLEAN_CRX);
	} else {
		vmcb->control.nested_cr3 = root_pfn << HV_PAGE_SHIFT;
		svm_touch(vcpu, SVM_CLEAN_NP);
	}
	flush_asid(vcpu);
}

static void flush_tlb_all(struct hv_vcpu *vcpu)
{
	atomic_fetch_add_explicit(&vcpu->stats.tlb_flushes, 1, memory_order_relaxed);
	flush_asid(vcpu);
}

static void flush_tlb_gva(struct hv_vcpu *vcpu, uint64_t gva)
{
	svm_ops(vcpu)->invlpga(vcpu->lp, gva, svm_of(vcpu)->asid);
}

/* CR8 is always intercepted: the local APIC has the one copy of the TPR. */
static void update_cr8_intercept(struct hv_vcpu *vcpu, int tpr, int irr)
{
}

static void write_tsc_offset(struct hv_vcpu *vcpu, uint64_t offset)
{
	svm_control(vcpu)->tsc_offset = offset;
	svm_touch(vcpu, SVM_CLEAN_INTERCEPTS);
}

/* The exceptions that are intercepted depend on the kind of paging: fixed by svm_configure(). */
static void update_exception_bitmap(struct hv_vcpu *vcpu)
{
}

static void update_cpu_dirty_logging(struct hv_vcpu *vcpu)
{
}

/* ---- the entry ---------------------------------------------------------------------------------------------- */

#define CLEAN_ALL                                                                                  \
	(SVM_CLEAN_INTERCEPTS | SVM_CLEAN_IOPM | SVM_CLEAN_ASID | SVM_CLEAN_TPR | SVM_CLEAN_NP |   \
	 SVM_CLEAN_CRX | SVM_CLEAN_DRX | SVM_CLEAN_DT | SVM_CLEAN_SEG | SVM_CLEAN_CR2 |            \
	 SVM_CLEAN_LBR | SVM_CLEAN_AVIC)

static int run(struct hv_vcpu *vcpu)
{
	struct svm_vcpu *v = svm_of(vcpu);
	struct svm_vmcb *vmcb = v->vmcb;
	struct hv_regs_cache *r = &vcpu->arch->regs;

	vmcb->save.rip = r->rip;
	vmcb->save.rsp = r->gprs.r[X86_RSP];
	vmcb->save.rax = r->gprs.r[X86_RAX];
	vmcb->save.rflags = r->rflags;
	svm_ops(vcpu)->vmrun(vcpu->lp, (uintptr_t)vmcb, &r->gprs);
	v->exit_code = vmcb->control.exit_code;
	if (v->exit_code == SVM_EXIT_INVALID) /* nothing ran, nothing was delivered */
		return 0;
	r->rip = vmcb->save.rip;
	r->gprs.r[X86_RSP] = vmcb->save.rsp;
	r->gprs.r[X86_RAX] = vmcb->save.rax;
	r->rflags = vmcb->save.rflags;
	vmcb->control.tlb_ctl = SVM_TLB_NOTHING;
	vmcb->control.event_inj = 0;
	vmcb->control.clean = CLEAN_ALL;
	if (vmcb->control.next_rip > r->rip && vmcb->control.next_rip - r->rip <= 15)
		vcpu_set_exit_insn_len(vcpu, (unsigned int)(vmcb->control.next_rip - r->rip));
	svm_recover_event(vcpu);
	return 0;
}

const struct hv_vendor_ops hv_vendor_svm = {
	.name = "svm",
	.id = HV_VENDOR_SVM,
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
	.sync_from_hw = svm_sync_from_hw,
	.sync_to_hw = svm_sync_to_hw,
	.load_mmu_root = load_mmu_root,
	.flush_tlb_all = flush_tlb_all,
	.flush_tlb_guest = flush_asid,
	.flush_tlb_gva = flush_tlb_gva,
	.inject_event = svm_inject_event,
	.cancel_injection = svm_cancel_injection,
	.interrupt_allowed = svm_interrupt_allowed,
	.nmi_allowed = svm_nmi_allowed,
	.clear_interrupt_shadow = svm_clear_interrupt_shadow,
	.enable_irq_window = svm_enable_irq_window,
	.enable_nmi_window = svm_enable_nmi_window,
	.update_cr8_intercept = update_cr8_intercept,
	.write_tsc_offset = write_tsc_offset,
	.update_exception_bitmap = update_exception_bitmap,
	.update_cpu_dirty_logging = update_cpu_dirty_logging,
	.run = run,
	.handle_exit = svm_handle_exit,
	.exit_name = svm_exit_name,
	.exit_count = SVM_INDEX_COUNT,
	.has_ad_bits = true,
	.has_pml = false,
	.ept_format = false,
	.max_tdp_level = 5,
	.max_huge_level = HV_PG_LEVEL_1G,
};
