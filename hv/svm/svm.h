/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SVM vendor module: what its files share.
 *
 * A VMCB is memory, so it may be written whenever the vCPU is not in guest mode.
 * FS, GS, TR, LDTR and the system-call MSRs are in the processor's registers from
 * VMLOAD to VMSAVE; svm_state.c moves them.
 */
#ifndef HV_SVM_SVM_H
#define HV_SVM_SVM_H

#include "hv/cpu/svm_arch.h"
#include "hv/vcpu/arch.h"

extern const struct hv_vendor_ops hv_vendor_svm;

/* Exit codes squeezed into indices of vcpu->exits[]. */
enum {
	SVM_INDEX_NPF = 0xb0, SVM_INDEX_AVIC_INCOMPLETE_IPI, SVM_INDEX_AVIC_NOACCEL,
	SVM_INDEX_INVALID, SVM_INDEX_COUNT,
};

struct svm_vm {
	void *msrpm;			/* [I] 8 KiB */
	void *iopm;			/* [I] 12 KiB */
};

/* [v]: as everything of a vCPU. */
struct svm_vcpu {
	struct svm_vmcb *vmcb;
	uint32_t asid;
	int last_cpu;			/* -1: none */
	bool nmi_masked;		/* from an NMI's injection to the end of its IRET */
	bool ready;			/* a first VMLOAD has been done */
	uint64_t exit_code;
};

static inline struct svm_vcpu *svm_of(struct hv_vcpu *vcpu)
{
	return vcpu->vendor_data;
}

static inline struct svm_vmcb_control *svm_control(struct hv_vcpu *vcpu)
{
	return &svm_of(vcpu)->vmcb->control;
}

static inline const struct hv_svm_ops *svm_ops(struct hv_vcpu *vcpu)
{
	return vcpu->vm->processor->svm;
}

static inline bool svm_shadow(struct hv_vcpu *vcpu)
{
	return vcpu->vm->paging == HV_PAGING_SHADOW;
}

/* The group of fields has changed: the processor may not use its copy. */
static inline void svm_touch(struct hv_vcpu *vcpu, uint32_t groups)
{
	svm_control(vcpu)->clean &= ~groups;
}

/* svm_setup.c */
int svm_check_processor(const struct hv_processor_ops *processor);
void svm_fill_permission_maps(void *msrpm, void *iopm);
void svm_configure(struct hv_vcpu *vcpu);
/* svm_state.c */
void svm_sync_from_hw(struct hv_vcpu *vcpu);
void svm_sync_to_hw(struct hv_vcpu *vcpu);
uint32_t svm_interruptibility(struct hv_vcpu *vcpu);
void svm_set_nmi_masked(struct hv_vcpu *vcpu, bool masked);
void svm_clear_interrupt_shadow(struct hv_vcpu *vcpu);
/* svm_events.c */
void svm_inject_event(struct hv_vcpu *vcpu, const struct hv_event *event);
void svm_cancel_injection(struct hv_vcpu *vcpu);
bool svm_interrupt_allowed(struct hv_vcpu *vcpu);
bool svm_nmi_allowed(struct hv_vcpu *vcpu);
void svm_enable_irq_window(struct hv_vcpu *vcpu);
void svm_disable_irq_window(struct hv_vcpu *vcpu);
void svm_enable_nmi_window(struct hv_vcpu *vcpu);
void svm_recover_event(struct hv_vcpu *vcpu); /* after an exit, from EXITINTINFO */
/* svm_exits.c */
int svm_handle_exit(struct hv_vcpu *vcpu);
const char *svm_exit_name(unsigned int index);

#endif
