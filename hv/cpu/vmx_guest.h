/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest state between the VMCS and the register file, and the parts of VM entry and exit. */
#ifndef HV_CPU_VMX_GUEST_H
#define HV_CPU_VMX_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/cpu/vmx_vmcs.h"
#include "hv/x86/ops.h"

struct hv_lp;
struct hv_gprs;

/* ---- vmx_guest.c ---- */
void vmx_guest_store_cold(struct hv_lp *lp);
void vmx_guest_load(struct hv_lp *lp, uint32_t groups);
void vmx_guest_store_hot(struct hv_lp *lp);

/* ---- vmx_controls.c: what the controls mean, spread out once they changed ---- */
void vmx_controls_load(struct hv_lp *lp);
/* Bits of lp->cpu->pending that ask for interrupt and NMI windows. */
void vmx_update_pending(struct hv_lp *lp);

/* ---- vmx_check_*.c: NULL, or the name of the rule that is broken ---- */
const char *vmx_check_controls(struct hv_lp *lp);
const char *vmx_check_event(struct hv_lp *lp);
const char *vmx_check_host(struct hv_lp *lp);
/* groups: VMX_DIRTY_HOT, COLD, CR3. *qualification: of exit reason 33. */
const char *vmx_check_guest(struct hv_lp *lp, uint32_t groups, uint64_t *qualification);

/* ---- vmx_exit.c ---- */
/* Record a VM exit; the run loop completes it. Always X86_EXIT. */
int vmx_exit(struct hv_lp *lp, enum vmx_exit_reason reason, uint64_t qualification);
/* The same for an instruction, with its length. */
int vmx_exit_insn(struct hv_lp *lp, enum vmx_exit_reason reason, uint64_t qualification,
		  const struct x86_intercept_info *info);
/* After the guest stopped: event information, guest state, the general registers. */
void vmx_exit_finish(struct hv_lp *lp, struct hv_gprs *gprs);

/* ---- vmx_entry.c ---- */
enum hv_vmx_status vmx_enter(struct hv_lp *lp, struct hv_gprs *gprs, bool launch);
/* Load an MSR from a load area in the way of WRMSR; false: it may not be loaded. */
bool vmx_msr_area_load(struct hv_lp *lp, uint64_t area, uint64_t count, uint64_t *failed);

/* ---- vmx_memory.c ---- */
int vmx_phys_translate(struct x86_cpu *cpu, const struct x86_phys_req *req,
		       struct x86_phys_res *res);
enum hv_vmx_status vmx_invept(struct hv_lp *lp, int type, uint64_t eptp);
enum hv_vmx_status vmx_invvpid(struct hv_lp *lp, int type, uint16_t vpid, uint64_t linear);

/* ---- vmx_intercept.c, vmx_insn_info.c ---- */
int vmx_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info);
uint32_t vmx_insn_info(enum x86_intercept what, const struct x86_intercept_info *info);

/* ---- vmx_apic.c: APIC virtualisation ---- */
/* Called with IF = 1 and no shadow: deliver the recognised virtual interrupt. X86_OK, X86_EXIT. */
int vmx_apic_deliver(struct hv_lp *lp);
bool vmx_apic_pending(const struct hv_lp *lp);
/* Posted-interrupt processing. */
void vmx_apic_posted(struct hv_lp *lp);
/* Data accesses to the APIC-access page, and to the x2APIC MSRs 0x800..0x8ff (FAULT: #GP). */
int vmx_apic_mmio_read(struct x86_cpu *cpu, uint64_t gpa, void *buf, size_t size);
int vmx_apic_mmio_write(struct x86_cpu *cpu, uint64_t gpa, const void *buf, size_t size);
int vmx_apic_rdmsr(struct hv_lp *lp, uint32_t index, uint64_t *value);
int vmx_apic_wrmsr(struct hv_lp *lp, uint32_t index, uint64_t value);
uint64_t vmx_cr8_read(struct x86_cpu *cpu);
int vmx_cr8_write(struct x86_cpu *cpu, uint64_t value);
/* VM entry: TPR and PPR virtualisation; true: the exit for a TPR below the threshold is due. */
bool vmx_apic_entry(struct hv_lp *lp);

#endif
