/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a VM entry and exit cost on the software processor, beside the host's
 * getpid(). Each round is what a hypervisor does at the least: enter, read why the
 * guest left and where, move RIP. Prints one line per figure; asserts no time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

#define ROUNDS 200000

struct bench_case {
	const char *name;
	uint8_t code[8];
	uint8_t len;		/* to move RIP by; 0: the fault repeats */
	uint64_t vmx, svm;	/* how the guest leaves */
	void (*prepare)(struct cpu_vm *vm);
};

static double getpid_ns;

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void host_getpid(void)
{
	double start = now_ns();

	for (int i = 0; i < ROUNDS; i++)
		syscall(SYS_getpid);
	getpid_ns = (now_ns() - start) / ROUNDS;
	printf("host: getpid %.0f ns\n", getpid_ns);
}

static void open_ports(struct cpu_vm *vm)
{
	memset((void *)cpu_vm_page(vm, CPU_VM_P_IOA), 0xff, 4096);
}

static void unmap_data(struct cpu_vm *vm)
{
	vm->pt[CPU_VM_DATA >> 12] = 0;
}

static void interrupt_window(struct cpu_vm *vm)
{
	if (vm->vendor == CPU_VM_VMX) {
		cpu_vm_or(vm, VMCS_CPU_CTLS, VMX_CPU_INTR_WINDOW);
		cpu_vm_or(vm, VMCS_GUEST_RFLAGS, X86_FL_IF);
		return;
	}
	cpu_vm_vmcb(vm)->control.intercepts[SVM_WORD_3] |= SVM_INTERCEPT_VINTR;
	cpu_vm_vmcb(vm)->control.int_ctl |= SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR;
	cpu_vm_vmcb(vm)->save.rflags |= X86_FL_IF;
}

static const struct bench_case cases[] = {
	{ "CPUID", { 0x0f, 0xa2, 0xeb, 0xfc }, 2, VMX_EXIT_CPUID, SVM_EXIT_CPUID, NULL },
	{ "HLT", { 0xf4, 0xeb, 0xfd }, 1, VMX_EXIT_HLT, SVM_EXIT_HLT, NULL },
	{ "OUT", { 0xe6, 0x80, 0xeb, 0xfc }, 2, VMX_EXIT_IO, SVM_EXIT_IOIO, open_ports },
	{ "page violation", { 0x8a, 0x04, 0x25, 0x00, 0x00, 0x02, 0x00 }, 0, VMX_EXIT_EPT_VIOLATION,
	  SVM_EXIT_NPF, unmap_data },
	{ "interrupt window", { 0xeb, 0xfe }, 0, VMX_EXIT_INTR_WINDOW, SVM_EXIT_VINTR,
	  interrupt_window },
};

static void round_vmx(struct cpu_vm *vm, const struct bench_case *c)
{
	const struct hv_vmx_ops *vmx = vm->p->vmx;
	uint64_t reason, rip;

	if (vmx->enter(vm->lp, &vm->gprs, false) != HV_VMX_OK)
		exit(1);
	vmx->vmread(vm->lp, VMCS_EXIT_REASON, &reason);
	vmx->vmread(vm->lp, VMCS_GUEST_RIP, &rip);
	if (reason != c->vmx)
		exit(1);
	if (c->len)
		vmx->vmwrite(vm->lp, VMCS_GUEST_RIP, rip + c->len);
}

static void round_svm(struct cpu_vm *vm, const struct bench_case *c)
{
	struct svm_vmcb *vmcb = cpu_vm_vmcb(vm);

	vm->p->svm->vmrun(vm->lp, (uint64_t)vmcb, &vm->gprs);
	if (vmcb->control.exit_code != c->svm)
		exit(1);
	vmcb->control.clean = 0xfff;
	vmcb->control.tlb_ctl = SVM_TLB_NOTHING;
	vmcb->save.rip += c->len;
}

static void run_case(enum cpu_vm_vendor vendor, const struct bench_case *c)
{
	struct cpu_vm vm;
	double start, ns;

	cpu_vm_create(&vm, vendor, CPU_VM_TDP);
	cpu_vm_code(&vm, c->code, sizeof(c->code));
	if (c->prepare)
		c->prepare(&vm);
	cpu_vm_run(&vm);
	if (c->len)
		cpu_vm_set_rip(&vm, CPU_VM_CODE + c->len);
	start = now_ns();
	for (int i = 0; i < ROUNDS; i++)
		vendor == CPU_VM_VMX ? round_vmx(&vm, c) : round_svm(&vm, c);
	ns = (now_ns() - start) / ROUNDS;
	printf("%s: entry and exit, %s: %.0f ns, %.1f getpid\n", vendor == CPU_VM_VMX ? "vmx" : "svm",
	       c->name, ns, ns / getpid_ns);
	cpu_vm_destroy(&vm);
}

int main(void)
{
	host_getpid();
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_case(CPU_VM_VMX, &cases[i]);
		run_case(CPU_VM_SVM, &cases[i]);
	}
	return 0;
}
