/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The x86 part of a vCPU that VMX and SVM share: the register cache, the run
 * loop, the emulation of CPUID, MSRs, control registers, port I/O and MMIO,
 * exceptions to inject, TSC, paravirtual clock.
 *
 * The register cache is the one copy of guest state outside VMCS or VMCB while
 * the vCPU is not in guest mode. It has two parts:
 *
 *   always there   general registers, rip, rflags: every exit brings them
 *   on demand      the rest: vcpu_regs() and vcpu_regs_read() fetch it through
 *                  vendor->sync_from_hw; vcpu_regs() also has it written back
 *                  before the next entry.
 *
 * Functions that name a vCPU are for its own thread, or for one that holds
 * vcpu->mutex while it is not loaded, unless they say otherwise.
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
	struct hv_gprs gprs; /* with rsp */
	uint64_t rip, rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t pdptrs[4]; /* PAE paging without long mode */
	uint64_t dr[4], dr6, dr7;
	struct hv_segment seg[HV_SEG_NUM];
	struct hv_dtable gdtr, idtr;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, pat, debugctl;
	uint32_t interruptibility; /* STI 1, MOV SS 2, NMI blocking 8 (VMX format) */
	uint32_t activity;
};

/* ---- the VM's part (vm->arch): called by the vendor's vm_init and vm_destroy --------------- */
int vcpu_vm_create(struct hv_vm *vm);
void vcpu_vm_destroy(struct hv_vm *vm);
/* Before the first vCPU. NULL: the default, "baseline-v2". -EINVAL: no such model. */
int vcpu_vm_set_cpu_model(struct hv_vm *vm, const char *name);
const char *vcpu_vm_cpu_model(struct hv_vm *vm);
/* Names of the CPU models, NULL-terminated. */
const char *const *vcpu_cpu_models(void);
/* Physical address bits that the VM's CPU model shows. Any thread. */
unsigned int vcpu_vm_maxphyaddr(struct hv_vm *vm);
/* Nanoseconds of the paravirtual clock: since the VM's creation, or as set. Any thread. */
uint64_t vcpu_vm_clock_ns(struct hv_vm *vm);
void vcpu_vm_set_clock_ns(struct hv_vm *vm, uint64_t ns);

/* ---- life: called by the vendor's vcpu_create and vcpu_free -------------------------------- */
int vcpu_arch_create(struct hv_vcpu *vcpu);
void vcpu_arch_destroy(struct hv_vcpu *vcpu);
/*
 * Power-on or INIT state: the register cache, the MSRs, the chips' per-CPU part,
 * vendor->vcpu_reset. The first vCPU starts at the reset vector, the others wait
 * for INIT and SIPI when there are chips.
 */
void vcpu_arch_reset(struct hv_vcpu *vcpu, bool init_event);

/* ---- registers ------------------------------------------------------------------------------- */
struct hv_regs_cache *vcpu_regs(struct hv_vcpu *vcpu);
const struct hv_regs_cache *vcpu_regs_read(struct hv_vcpu *vcpu);
/* The part that is always there; writes need no announcement. */
struct hv_gprs *vcpu_gprs(struct hv_vcpu *vcpu);
uint64_t vcpu_get_rip(struct hv_vcpu *vcpu);
uint64_t vcpu_get_rflags(struct hv_vcpu *vcpu);
void vcpu_set_rip(struct hv_vcpu *vcpu, uint64_t rip);
/*
 * The cache was written from outside an instruction (set registers, boot code,
 * restore): tell the MMU and recompute what depends on control registers.
 */
void vcpu_regs_changed(struct hv_vcpu *vcpu);

/*
 * Run until an exit that the engine's user has to handle. Takes vcpu->mutex.
 * 0: vcpu->run tells why; -EINTR: kicked (HV_REQ_PAUSE, immediate_exit);
 * -EIO: the VM is bugged (vm->bug_reason); -ENODEV: no host CPU is enabled.
 */
int vcpu_run(struct hv_vcpu *vcpu);
/* Any thread: vcpu_run() returns -EINTR soon; if it is not running, the next call does. */
void vcpu_pause_request(struct hv_vcpu *vcpu);
/*
 * Any thread: nanoseconds of CPU time that threads spent in vcpu_run() so far, those of
 * a call that goes on included, which may last as long as the guest.
 */
uint64_t vcpu_run_ns(const struct hv_vcpu *vcpu);
/* Any thread: nanoseconds that the host kept the vCPU from running. */
uint64_t vcpu_steal_ns(struct hv_vcpu *vcpu);

/* ---- for the vendors' exit handlers: 1 continue, 0 exit to user, < 0 -errno ---- */
int vcpu_emulate_cpuid(struct hv_vcpu *vcpu);
int vcpu_emulate_hlt(struct hv_vcpu *vcpu);
int vcpu_emulate_rdmsr(struct hv_vcpu *vcpu);
int vcpu_emulate_wrmsr(struct hv_vcpu *vcpu);
int vcpu_emulate_xsetbv(struct hv_vcpu *vcpu);
int vcpu_emulate_hypercall(struct hv_vcpu *vcpu);
int vcpu_emulate_invd(struct hv_vcpu *vcpu); /* and WBINVD */
int vcpu_emulate_rdpmc(struct hv_vcpu *vcpu);
int vcpu_emulate_nop(struct hv_vcpu *vcpu); /* MONITOR, MWAIT, PAUSE: skip */
int vcpu_emulate_ud(struct hv_vcpu *vcpu);
/* #UD, intercepted: serves the other vendor's hypercall instruction, else the guest gets it. */
int vcpu_handle_undefined(struct hv_vcpu *vcpu);
int vcpu_emulate_invpcid(struct hv_vcpu *vcpu); /* as intercepted under shadow paging */
int vcpu_emulate_invlpg(struct hv_vcpu *vcpu, uint64_t gva);
/* Register port I/O; string forms go through vcpu_emulate_instruction. */
int vcpu_fast_pio(struct hv_vcpu *vcpu, uint16_t port, unsigned int size, bool in);
/* Decode and execute the instruction at rip through hv/x86 (MMIO, string I/O, page-table writes). */
int vcpu_emulate_instruction(struct hv_vcpu *vcpu, hv_gpa_t gpa_hint);
int vcpu_handle_mmio(struct hv_vcpu *vcpu, hv_gpa_t gpa);
/*
 * A second-level fault, or a #PF under shadow paging: asks the MMU and acts on what
 * it says. addr and error_code as in struct hv_pf_request.
 */
int vcpu_handle_page_fault(struct hv_vcpu *vcpu, uint64_t addr, uint64_t error_code);
/*
 * Deliver an event by software, in modes that the processor cannot enter: 0; -EAGAIN: a
 * slot is in transition, try again; -EIO: the guest's tables are not in memory.
 */
int vcpu_emulate_event(struct hv_vcpu *vcpu, const struct hv_event *event);
struct x86_icpt_task;
/* insn_len for an exit that does not tell it: the instruction at rip is decoded. */
#define VCPU_INSN_LEN_UNKNOWN 0xff
int vcpu_emulate_task_switch(struct hv_vcpu *vcpu, const struct x86_icpt_task *task,
			     unsigned int insn_len);
/* Advance rip by len and end interrupt shadows. len 0: the vendor does not know the length. */
void vcpu_skip_instruction(struct hv_vcpu *vcpu, unsigned int len);
/* Length of the instruction that exited, as the vendor knows it; used by the emulate functions. */
void vcpu_set_exit_insn_len(struct hv_vcpu *vcpu, unsigned int len);
/* 0, or 1: #GP has to be injected. */
int vcpu_set_cr0(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr3(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr4(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_cr8(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_efer(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_xcr0(struct hv_vcpu *vcpu, uint64_t value);
int vcpu_set_dr(struct hv_vcpu *vcpu, int dr, uint64_t value);
uint64_t vcpu_get_dr(struct hv_vcpu *vcpu, int dr);
uint64_t vcpu_get_cr8(struct hv_vcpu *vcpu);
void vcpu_lmsw(struct hv_vcpu *vcpu, uint16_t msw);
/* MOV to CR0, CR3, CR4 or CR8 that exited; of any other register #UD. Returns 1. */
int vcpu_emulate_mov_to_cr(struct hv_vcpu *vcpu, unsigned int cr, uint64_t value);
/* err 0: skip the instruction; else inject #GP(0). Returns 1. */
int vcpu_complete_insn_gp(struct hv_vcpu *vcpu, int err, unsigned int len);
void vcpu_queue_exception(struct hv_vcpu *vcpu, uint8_t vector);
void vcpu_queue_exception_e(struct hv_vcpu *vcpu, uint8_t vector, uint32_t error_code);
void vcpu_queue_page_fault(struct hv_vcpu *vcpu, uint64_t cr2, uint32_t error_code);
void vcpu_queue_db(struct hv_vcpu *vcpu, uint64_t dr6_bits);
/* Any thread. */
void vcpu_queue_nmi(struct hv_vcpu *vcpu);
/* Any thread, VMs without chips: -EEXIST while one is pending. */
int vcpu_queue_user_interrupt(struct hv_vcpu *vcpu, uint8_t vector);
/* An event whose delivery an exit interrupted (IDT-vectoring or EXITINTINFO): inject it again. */
void vcpu_requeue_event(struct hv_vcpu *vcpu, const struct hv_event *event);
/* The exit tells that every event injected before it was delivered. */
void vcpu_clear_injected(struct hv_vcpu *vcpu);
/* An interrupt or NMI window opened. */
int vcpu_window_opened(struct hv_vcpu *vcpu);
/* Ask for an exit to the user, reasons as in hv/hv.h. Always 0. */
int vcpu_exit_internal_error(struct hv_vcpu *vcpu, uint32_t suberror, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int vcpu_exit_fail_entry(struct hv_vcpu *vcpu, uint64_t hardware_reason);
int vcpu_exit_unknown(struct hv_vcpu *vcpu, uint64_t hardware_reason);
int vcpu_exit_shutdown(struct hv_vcpu *vcpu);

uint64_t vcpu_read_tsc(struct hv_vcpu *vcpu);
int vcpu_write_tsc(struct hv_vcpu *vcpu, uint64_t value);
uint64_t vcpu_tsc_offset(struct hv_vcpu *vcpu);
uint32_t vcpu_tsc_khz(struct hv_vm *vm);
int vcpu_get_cpl(struct hv_vcpu *vcpu);

/* ---- MSRs and CPUID as the API sees them ---------------------------------------------------- */
enum hv_msr_origin { HV_MSR_GUEST, HV_MSR_HOST /* restore: read-only and reserved rules relaxed */ };
/* 0; 1: #GP, or -ENOENT for a host access to an MSR that does not exist. */
int vcpu_get_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t *value, enum hv_msr_origin origin);
int vcpu_set_msr(struct hv_vcpu *vcpu, uint32_t index, uint64_t value, enum hv_msr_origin origin);
/* Guest's CPUID with the dynamic bits as they are now. */
void vcpu_cpuid(struct hv_vcpu *vcpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif
