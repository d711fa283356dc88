/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tiny virtual machine for tests of the software processor: 2 MiB of guest
 * memory, 64-bit mode, tables for both vendors and both ways of paging. The code
 * of a test starts at CPU_VM_CODE with CPL 0.
 */
#ifndef TESTS_LIB_CPU_VM_H
#define TESTS_LIB_CPU_VM_H

#include "hv/cpu/soft_internal.h"

enum cpu_vm_vendor { CPU_VM_VMX, CPU_VM_SVM };
enum cpu_vm_paging { CPU_VM_TDP, CPU_VM_SHADOW };

#define CPU_VM_RAM	(2U << 20)
#define CPU_VM_PML4	0x1000ULL	/* guest's own tables; 4 KiB pages, identity */
#define CPU_VM_PT	0x4000ULL
#define CPU_VM_GDT	0x5000ULL
#define CPU_VM_IDT	0x6000ULL
#define CPU_VM_TSS	0x7000ULL
#define CPU_VM_STACK	0x9000ULL	/* top */
#define CPU_VM_CODE	0x10000ULL
#define CPU_VM_HANDLER	0x11000ULL	/* where every gate of the IDT leads: HLT */
#define CPU_VM_DATA	0x20000ULL

struct cpu_vm {
	enum cpu_vm_vendor vendor;
	enum cpu_vm_paging paging;
	const struct hv_processor_ops *p;
	struct hv_lp *lp;
	struct hv_gprs gprs;
	uint8_t *ram;
	uint8_t *ram_area;	/* the mapping that holds it */
	uint8_t *pages;		/* host pages: VMXON, VMCS or VMCB, bitmaps, second-level tables */
	uint64_t *pt;		/* last level: EPT or NPT, or of the shadow tables */
	bool launched;
};

/* Pages of vm->pages; vm->ram is aligned to 2 MiB. */
enum { CPU_VM_P_VMXON, CPU_VM_P_VMCS, CPU_VM_P_MSR, CPU_VM_P_IOA, CPU_VM_P_IOB, CPU_VM_P_IOC,
       CPU_VM_P_L4, CPU_VM_P_L3, CPU_VM_P_L2, CPU_VM_P_L1, CPU_VM_P_VAPIC, CPU_VM_P_APIC,
       CPU_VM_P_PML, CPU_VM_P_PID, CPU_VM_P_COUNT };

void cpu_vm_create(struct cpu_vm *vm, enum cpu_vm_vendor vendor, enum cpu_vm_paging paging);
void cpu_vm_destroy(struct cpu_vm *vm);
/* Put code at CPU_VM_CODE and RIP there. */
void cpu_vm_code(struct cpu_vm *vm, const void *code, size_t size);
#define CPU_VM_CODE_BYTES(vm, ...) \
	do { \
		static const uint8_t code_[] = { __VA_ARGS__ }; \
		cpu_vm_code(vm, code_, sizeof(code_)); \
	} while (0)
/* Enter; the exit reason (VMX) or code (SVM). Fails the test when the entry itself fails. */
uint64_t cpu_vm_run(struct cpu_vm *vm);
/* Enter and return the status, VMX only. */
enum hv_vmx_status cpu_vm_enter(struct cpu_vm *vm);
uint64_t cpu_vm_rip(struct cpu_vm *vm);
void cpu_vm_set_rip(struct cpu_vm *vm, uint64_t rip);

/* VMCS fields; fail the test on a VMX failure. */
uint64_t cpu_vm_get(struct cpu_vm *vm, uint32_t field);
void cpu_vm_set(struct cpu_vm *vm, uint32_t field, uint64_t value);
void cpu_vm_or(struct cpu_vm *vm, uint32_t field, uint64_t bits);
void cpu_vm_clear(struct cpu_vm *vm, uint32_t field, uint64_t bits);
struct svm_vmcb *cpu_vm_vmcb(struct cpu_vm *vm);
uint64_t cpu_vm_page(const struct cpu_vm *vm, unsigned int page);
/* Flush everything that may be cached of this VM. */
void cpu_vm_flush(struct cpu_vm *vm);

#endif
