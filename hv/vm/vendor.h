/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A vendor module: how a vCPU is put on a logical processor that speaks VMX or
 * SVM. One `const struct hv_vendor_ops` each, in hv/vmx and hv/svm. All hooks
 * that name a vCPU run on that vCPU's thread with vcpu->mutex held unless they
 * say otherwise.
 */
#ifndef HV_VM_VENDOR_H
#define HV_VM_VENDOR_H

#include "hv/vm/types.h"

struct hv_vm;
struct hv_vcpu;
struct hv_processor_ops;

enum hv_vendor_id { HV_VENDOR_VMX, HV_VENDOR_SVM };

/* An event to inject, in the manuals' terms. */
struct hv_event {
	uint8_t vector;
	uint8_t type; /* enum x86_event_type of hv/x86 */
	bool has_error;
	uint8_t insn_len; /* of software events */
	uint32_t error_code;
};

/* What handle_exit tells the run loop. */
enum hv_exit_disposition {
	HV_EXIT_CONTINUE = 1,	/* enter the guest again */
	HV_EXIT_TO_USER = 0,	/* vcpu->run is filled in */
};			/* < 0: -errno, the VM is stopped with a reason */

struct hv_vendor_ops {
	const char *name; /* "vmx", "svm" */
	enum hv_vendor_id id;

	/* Module load under vendor_module_lock: check that the processor has what we need. */
	int (*check_processor)(const struct hv_processor_ops *processor);
	/* One host CPU; under hv_lock. VMXON or EFER.SVME. */
	int (*hardware_enable)(unsigned int cpu);
	void (*hardware_disable)(unsigned int cpu);

	int (*vm_init)(struct hv_vm *vm);
	void (*vm_destroy)(struct hv_vm *vm);
	int (*vcpu_create)(struct hv_vcpu *vcpu);
	void (*vcpu_free)(struct hv_vcpu *vcpu);
	/* Architectural reset state into VMCS or VMCB; init_event: INIT rather than power-on. */
	void (*vcpu_reset)(struct hv_vcpu *vcpu, bool init_event);
	void (*vcpu_load)(struct hv_vcpu *vcpu, unsigned int cpu);
	void (*vcpu_put)(struct hv_vcpu *vcpu);

	/* Move the state named by hv/vcpu's register cache between it and VMCS/VMCB. */
	void (*sync_from_hw)(struct hv_vcpu *vcpu);
	void (*sync_to_hw)(struct hv_vcpu *vcpu);

	/* Root of the TDP (or shadow) tables: pfn and level, written before the next entry. */
	void (*load_mmu_root)(struct hv_vcpu *vcpu, hv_pfn_t root_pfn, int level);
	void (*flush_tlb_all)(struct hv_vcpu *vcpu);	 /* everything this vCPU may have cached */
	void (*flush_tlb_guest)(struct hv_vcpu *vcpu);	 /* guest linear mappings */
	void (*flush_tlb_gva)(struct hv_vcpu *vcpu, uint64_t gva);

	void (*inject_event)(struct hv_vcpu *vcpu, const struct hv_event *event);
	/* An entry was abandoned after injection: take the event back. */
	void (*cancel_injection)(struct hv_vcpu *vcpu);
	bool (*interrupt_allowed)(struct hv_vcpu *vcpu);
	bool (*nmi_allowed)(struct hv_vcpu *vcpu);
	/* An instruction was emulated: STI and MOV SS no longer hold interrupts back. */
	void (*clear_interrupt_shadow)(struct hv_vcpu *vcpu);
	void (*enable_irq_window)(struct hv_vcpu *vcpu);
	void (*enable_nmi_window)(struct hv_vcpu *vcpu);
	void (*update_cr8_intercept)(struct hv_vcpu *vcpu, int tpr, int irr);
	/*
	 * Interrupts that the processor takes from the local APIC by itself, while
	 * vcpu->apicv_active; all NULL where a vendor has none of it. Any thread: 1, posted,
	 * and who has to look has been told; 0, the vector was posted already; -1, not
	 * active: set IRR and kick.
	 */
	int (*deliver_posted)(struct hv_vcpu *vcpu, uint8_t vector);
	/* Any thread: a posted interrupt waits for this vCPU (ON bit). NULL: assume one does. */
	bool (*posted_pending)(struct hv_vcpu *vcpu);
	/* Around a sleep of vcpu_block, on that CPU's wake-up list: who posts notifies the CPU. */
	void (*posted_block)(struct hv_vcpu *vcpu, unsigned int cpu);
	void (*posted_unblock)(struct hv_vcpu *vcpu);
	/*
	 * What was posted goes to IRR; also told that IRR or ISR were changed by our side. Own
	 * thread, loaded or not, or any while the vCPU does not run.
	 */
	void (*sync_posted)(struct hv_vcpu *vcpu);
	/* HV_REQ_APICV_UPDATE: the APIC's mode or the vectors whose EOI has to exit changed. */
	void (*apicv_refresh)(struct hv_vcpu *vcpu);

	void (*write_tsc_offset)(struct hv_vcpu *vcpu, uint64_t offset);
	void (*update_exception_bitmap)(struct hv_vcpu *vcpu);
	/* Dirty logging by the processor: PML on or off for this vCPU. */
	void (*update_cpu_dirty_logging)(struct hv_vcpu *vcpu);
	void (*flush_log_dirty)(struct hv_vcpu *vcpu); /* drain the PML buffer into the log */

	/* Enter the guest until the next exit. Interrupt polling is the processor's. */
	int (*run)(struct hv_vcpu *vcpu);
	/* Decode the exit by table. Returns enum hv_exit_disposition or -errno. */
	int (*handle_exit)(struct hv_vcpu *vcpu);
	const char *(*exit_name)(unsigned int index);
	unsigned int exit_count; /* indices of vcpu->exits[] */

	bool has_ad_bits;	/* the processor sets A/D bits in the tables */
	bool has_pml;
	bool ept_format;	/* SPTEs in EPT (true) or NPT/x86 (false) encoding */
	int max_tdp_level;
	enum hv_pg_level max_huge_level;
};

#endif
