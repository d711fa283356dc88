/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86 part of a vCPU that VMX and SVM share: the register cache, the run
 * loop, the emulation of CPUID, MSRs, control registers, port I/O and MMIO,
 * exceptions to inject, TSC, paravirtual clock.
 *
 * The register cache is the one copy of guest state outside VMCS or VMCB while
 * the vCPU is not in guest mode. Vendor code moves fields between the two
 * (vendor->sync_from_hw, sync_to_hw) and everything else reads the cache.
 */
#ifndef HV_VCPU_VCPU_H
#define HV_VCPU_VCPU_H

#include "hv/cpu/processor.h"
#include "hv/vm/vm.h"

/* Segment register: attributes in the VMX access-rights format. */
struct hv_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t padding;
	uint32_t ar; /* type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16 */
};

struct hv_dtable {
	uint64_t base;
	uint16_t limit;
};

/* Order of segments: the x86 encoding, then LDTR and TR. */
enum { HV_SEG_ES, HV_SEG_CS, HV_SEG_SS, HV_SEG_DS, HV_SEG_FS, HV_SEG_GS, HV_SEG_LDTR, HV_SEG_TR,
       HV_SEG_NUM };

struct hv_regs_cache {
	struct hv_gprs gprs;
	uint64_t rip, rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t pdptrs[4];
	uint64_t dr[4], dr6, dr7;
	struct hv_segment seg[HV_SEG_NUM];
	struct hv_dtable gdtr, idtr;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, pat, debugctl, xss, pkrs;
	uint32_t interruptibility; /* STI 1, MOV SS 2, NMI blocking 8 (VMX format) */
	uint32_t activity;
};

struct hv_regs_cache *vcpu_regs(struct hv_vcpu *vcpu);

int vcpu_arch_create(struct hv_vcpu *vcpu);
void vcpu_arch_destroy(struct hv_vcpu *vcpu);
void vcpu_arch_reset(struct hv_vcpu *vcpu, bool init_event);

/*
 * Run until an exit that the engine's user has to handle. Takes vcpu->mutex.
 * 0: vcpu->run tells why; -EINTR: kicked by a signal or vcpu_request_pause;
 * -EIO: the VM is bugged (vm->bug_reason).
 */
int vcpu_run(struct hv_vcpu *vcpu);

/* ---- for the vendors' exit handlers: 1 continue, 0 exit to user, < 0 -errno ---- */
int vcpu_emulate_cpuid(struct hv_vcpu *vcpu);
int vcpu_emulate_hlt(struct hv_vcpu *vcpu);
int vcpu_emulate_rdmsr(struct hv_vcpu *vcpu);
int vcpu_emulate_wrmsr(struct hv_vcpu *vcpu);
int vcpu_emulate_xsetbv(struct hv_vcpu *vcpu);
int vcpu_emulate_hypercall(struct hv_vcpu *vcpu);
int vcpu_emulate_invd(struct hv_vcpu *vcpu);
int vcpu_emulate_rdpmc(struct hv_vcpu *vcpu);
/* Fast path for register port I/O; string forms go through vcpu_emulate_instruction. */
int vcpu_fast_pio(struct hv_vcpu *vcpu, uint16_t port, unsigned int size, bool in);
/* Decode and execute the instruction at rip through hv/x86 (MMIO, string I/O, page-table writes). */
int vcpu_emulate_instruction(struct hv_vcpu *vcpu, hv_gpa_t gpa_hint);
int vcpu_handle_mmio(struct hv_vcpu *vcpu, hv_gpa_t gpa);
void vcpu_skip_instruction(struct hv_vcpu *vcpu, unsigned int len);
/* 0, or 1: #GP has to be injected. */
int vcpu_set_cr0(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr3(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr4(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr8(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_efer(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_dr(struct hv_vcpu *vcpu, int dr, uint64_t value);
uint64_t vcpu_get_dr(struct hv_vcpu *vcpu, int dr);
int vcpu_complete_insn_gp(struct hv_vcpu *vcpu, int err, unsigned int len);
void vcpu_queue_exception(struct hv_vcpu *vcpu, uint8_t vector);
void vcpu_queue_exception_e(struct hv_vcpu *vcpu, uint8_t vector, uint32_t error_code);
void vcpu_queue_page_fault(struct hv_vcpu *vcpu, uint64_t cr2, uint32_t error_code);
void vcpu_queue_nmi(struct hv_vcpu *vcpu);
/* An event whose delivery an exit interrupted (IDT-vectoring or EXITINTINFO): inject it again. */
void vcpu_requeue_event(struct hv_vcpu *vcpu, const struct hv_event *event);
uint64_t vcpu_read_tsc(struct hv_vcpu *vcpu);
int vcpu_write_tsc(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_get_cpl(struct hv_vcpu *vcpu);

#endif
