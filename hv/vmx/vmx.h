/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The VMX vendor module: what its files share.
 *
 * A VMCS is only touched between vcpu_load and vcpu_put, by the vCPU's thread.
 * What is set from elsewhere (reset, TSC offset, MMU root) is kept in struct
 * vmx_vcpu and written when the vCPU is next loaded.
 */
#ifndef HV_VMX_VMX_H
#define HV_VMX_VMX_H

#include "hv/cpu/vmx_arch.h"
#include "hv/vcpu/arch.h"

extern const struct hv_vendor_ops hv_vendor_vmx;

/* Controls as the processor allows them: what is wanted and possible, what it insists on. */
struct vmx_controls {
	uint32_t pin, cpu, cpu2, exit, entry;
};

struct vmx_vm {
	void *msr_bitmap;		/* [I] 4 KiB */
	void *msr_bitmap_x2apic;	/* [I] 4 KiB, for vCPUs whose x2APIC is virtualised */
};

/* What the processor does of the local APIC; vmx_apicv.c. */
enum vmx_apicv {
	VMX_APICV_OFF,
	VMX_APICV_XAPIC,  /* interrupts and TPR; registers through the emulator */
	VMX_APICV_X2APIC, /* ... and the MSRs */
};

/* [v]: as everything of a vCPU. */
struct vmx_vcpu {
	void *vmcs;			/* 4 KiB */
	uint64_t *pml;			/* 512 guest-physical addresses, or NULL */
	bool loaded;
	bool launched;
	bool configured;		/* controls and host state are in the VMCS */
	uint16_t vpid;
	struct vmx_controls ctl;
	uint32_t exit_reason;		/* of the last exit, with the entry-failure bit */
	uint64_t rip, rsp, rflags;	/* as the VMCS has them */
	uint32_t exception_bitmap;
	uint64_t root_pfn;		/* MMU root: EPTP, or CR3 under shadow paging */
	int root_level;
	bool root_dirty;
	bool event_pending;		/* ENTRY_INTR_INFO is valid */
	struct vmx_posted_intr_desc *pi; /* its words are atomic; [I] the pointer */
	enum vmx_apicv apicv;		/* as the controls are */
	bool intr_status_stale;		/* IRR or ISR changed: RVI and SVI are to be computed */
	bool emulate;			/* the guest's mode needs the emulator: shadow paging only */
	struct hv_event emulated_event;	/* event_pending, in that mode */
};

static inline struct vmx_vcpu *vmx_of(struct hv_vcpu *vcpu)
{
	return vcpu->vendor_data;
}

static inline const struct hv_vmx_ops *vmx_ops(struct hv_vcpu *vcpu)
{
	return vcpu->vm->processor->vmx;
}

/* A failed VMREAD or VMWRITE is our bug, or a VMCS gone bad: the VM is stopped. */
void vmx_access_failed(struct hv_vcpu *vcpu, const char *what, uint32_t field);

static inline uint64_t vmcs_read(struct hv_vcpu *vcpu, uint32_t field)
{
	uint64_t value = 0;

	if (vmx_ops(vcpu)->vmread(vcpu->lp, field, &value) != HV_VMX_OK)
		vmx_access_failed(vcpu, "VMREAD", field);
	return value;
}

static inline void vmcs_write(struct hv_vcpu *vcpu, uint32_t field, uint64_t value)
{
	if (vmx_ops(vcpu)->vmwrite(vcpu->lp, field, value) != HV_VMX_OK)
		vmx_access_failed(vcpu, "VMWRITE", field);
}

static inline bool vmx_shadow(struct hv_vcpu *vcpu)
{
	return vcpu->vm->paging == HV_PAGING_SHADOW;
}

/* vmx_setup.c */
int vmx_check_processor(const struct hv_processor_ops *processor);
void vmx_choose_controls(struct hv_vcpu *vcpu, struct vmx_controls *ctl);
void vmx_configure(struct hv_vcpu *vcpu); /* loaded: controls and host state */
void vmx_write_root(struct hv_vcpu *vcpu);
void vmx_fill_msr_bitmap(void *bitmap);
enum vmx_msr_pass { VMX_MSR_PASS_READ = 0, VMX_MSR_PASS_WRITE = 0x800 }; /* offsets in the bitmap */
void vmx_pass_msr(void *bitmap, uint32_t msr, enum vmx_msr_pass direction);
/* All the bits of want (entry ignored) may be set. */
bool vmx_processor_allows(const struct hv_vmx_ops *ops, const struct vmx_controls *want);
/* vmx_state.c */
void vmx_sync_from_hw(struct hv_vcpu *vcpu);
void vmx_sync_to_hw(struct hv_vcpu *vcpu);
uint32_t vmx_interruptibility(struct hv_vcpu *vcpu);
void vmx_set_interruptibility(struct hv_vcpu *vcpu, uint32_t value);
/* vmx_events.c */
void vmx_inject_event(struct hv_vcpu *vcpu, const struct hv_event *event);
void vmx_cancel_injection(struct hv_vcpu *vcpu);
bool vmx_interrupt_allowed(struct hv_vcpu *vcpu);
bool vmx_nmi_allowed(struct hv_vcpu *vcpu);
void vmx_enable_irq_window(struct hv_vcpu *vcpu);
void vmx_enable_nmi_window(struct hv_vcpu *vcpu);
void vmx_disable_window(struct hv_vcpu *vcpu, uint32_t control);
void vmx_recover_event(struct hv_vcpu *vcpu); /* after an exit, from the IDT-vectoring information */
/* vmx_pml.c */
void vmx_flush_pml(struct hv_vcpu *vcpu);
/* vmx_apicv.c: hooks of hv_vendor_ops, and what vmx.c calls at load, put and entry */
int vmx_deliver_posted(struct hv_vcpu *vcpu, uint8_t vector);
bool vmx_posted_pending(struct hv_vcpu *vcpu);
void vmx_posted_block(struct hv_vcpu *vcpu, unsigned int cpu);
void vmx_posted_unblock(struct hv_vcpu *vcpu);
void vmx_sync_posted(struct hv_vcpu *vcpu);
void vmx_apicv_refresh(struct hv_vcpu *vcpu);
void vmx_apicv_configure(struct hv_vcpu *vcpu);
void vmx_apicv_load(struct hv_vcpu *vcpu, unsigned int cpu);
void vmx_apicv_put(struct hv_vcpu *vcpu);
void vmx_apicv_entry(struct hv_vcpu *vcpu);
void vmx_pass_x2apic(void *bitmap);
int vmx_handle_virtualized_eoi(struct hv_vcpu *vcpu);
int vmx_handle_apic_write(struct hv_vcpu *vcpu);
/* vmx_exits.c */
int vmx_handle_exit(struct hv_vcpu *vcpu);
const char *vmx_exit_name(unsigned int index);

#endif
