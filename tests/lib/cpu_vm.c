/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

#define PTE_ALL (X86_PTE_P | X86_PTE_W | X86_PTE_U)

uint64_t cpu_vm_page(const struct cpu_vm *vm, unsigned int page)
{
	return (uint64_t)(vm->pages + page * 4096U);
}

static uint64_t *page_words(const struct cpu_vm *vm, unsigned int page)
{
	return (uint64_t *)cpu_vm_page(vm, page);
}

/* The guest's own tables: identity, 4 KiB pages, everything allowed, accessed and dirty. */
static void guest_tables(struct cpu_vm *vm)
{
	uint64_t *t = (uint64_t *)(vm->ram + CPU_VM_PML4);
	uint64_t flags = PTE_ALL | X86_PTE_A;

	t[0] = (CPU_VM_PML4 + 0x1000) | flags;
	t[512] = (CPU_VM_PML4 + 0x2000) | flags;
	t[1024] = CPU_VM_PT | flags;
	for (unsigned int i = 0; i < 512; i++)
		t[1536 + i] = i * 4096ULL | flags | X86_PTE_D;
}

static void guest_descriptors(struct cpu_vm *vm)
{
	uint64_t *gdt = (uint64_t *)(vm->ram + CPU_VM_GDT), *idt = (uint64_t *)(vm->ram + CPU_VM_IDT);
	uint64_t rsp0 = CPU_VM_STACK;

	gdt[1] = 0x00af9b000000ffff; /* 0x08: 64-bit code, ring 0 */
	gdt[2] = 0x00cf93000000ffff; /* 0x10: data, ring 0 */
	gdt[3] = 0x00affb000000ffff; /* 0x18: 64-bit code, ring 3 */
	gdt[4] = 0x00cff3000000ffff; /* 0x20: data, ring 3 */
	gdt[5] = 0x00008b0000000067 | (CPU_VM_TSS & 0xffffff) << 16; /* 0x28: TSS */
	for (unsigned int i = 0; i < 256; i++) {
		idt[i * 2] = (CPU_VM_HANDLER & 0xffff) | 0x08ULL << 16 | 0x8e00ULL << 32 |
			     (CPU_VM_HANDLER & 0xffff0000) << 32;
		idt[i * 2 + 1] = 0;
	}
	memcpy(vm->ram + CPU_VM_TSS + 4, &rsp0, sizeof(rsp0));
	vm->ram[CPU_VM_HANDLER] = 0xf4;
}

/* EPT, NPT or shadow tables over the guest's memory, one 4 KiB entry a page. */
static void second_level(struct cpu_vm *vm)
{
	uint64_t table = PTE_ALL | X86_PTE_A, leaf = PTE_ALL;

	if (vm->paging == CPU_VM_TDP && vm->vendor == CPU_VM_VMX) {
		table = EPT_READ | EPT_WRITE | EPT_EXEC;
		leaf = table | EPTP_MEMTYPE_WB << EPT_MEMTYPE_SHIFT;
	} else if (vm->paging == CPU_VM_SHADOW) {
		leaf |= X86_PTE_A | X86_PTE_D;
	}
	page_words(vm, CPU_VM_P_L4)[0] = cpu_vm_page(vm, CPU_VM_P_L3) | table;
	page_words(vm, CPU_VM_P_L3)[0] = cpu_vm_page(vm, CPU_VM_P_L2) | table;
	page_words(vm, CPU_VM_P_L2)[0] = cpu_vm_page(vm, CPU_VM_P_L1) | table;
	vm->pt = page_words(vm, CPU_VM_P_L1);
	for (unsigned int i = 0; i < 512; i++)
		vm->pt[i] = (uint64_t)(vm->ram + i * 4096U) | leaf;
}

uint64_t cpu_vm_get(struct cpu_vm *vm, uint32_t field)
{
	uint64_t value = 0;

	assert_int_equal(vm->p->vmx->vmread(vm->lp, field, &value), HV_VMX_OK);
	return value;
}

void cpu_vm_set(struct cpu_vm *vm, uint32_t field, uint64_t value)
{
	assert_int_equal(vm->p->vmx->vmwrite(vm->lp, field, value), HV_VMX_OK);
}

void cpu_vm_or(struct cpu_vm *vm, uint32_t field, uint64_t bits)
{
	cpu_vm_set(vm, field, cpu_vm_get(vm, field) | bits);
}

void cpu_vm_clear(struct cpu_vm *vm, uint32_t field, uint64_t bits)
{
	cpu_vm_set(vm, field, cpu_vm_get(vm, field) & ~bits);
}

struct svm_vmcb *cpu_vm_vmcb(struct cpu_vm *vm)
{
	return (struct svm_vmcb *)cpu_vm_page(vm, CPU_VM_P_VMCS);
}

static void set_segment(struct cpu_vm *vm, unsigned int i, uint16_t sel, uint32_t limit, uint32_t ar)
{
	cpu_vm_set(vm, VMCS_GUEST_ES_SELECTOR + 2 * i, sel);
	cpu_vm_set(vm, VMCS_GUEST_ES_LIMIT + 2 * i, limit);
	cpu_vm_set(vm, VMCS_GUEST_ES_AR + 2 * i, ar);
	cpu_vm_set(vm, VMCS_GUEST_ES_BASE + 2 * i, 0);
}

static void vmx_host(struct cpu_vm *vm)
{
	cpu_vm_set(vm, VMCS_HOST_CR0, 0x80050033);
	cpu_vm_set(vm, VMCS_HOST_CR4, X86_CR4_PAE | X86_CR4_VMXE);
	cpu_vm_set(vm, VMCS_HOST_CS_SELECTOR, 0x10);
	cpu_vm_set(vm, VMCS_HOST_TR_SELECTOR, 0x40);
	cpu_vm_set(vm, VMCS_HOST_EFER, X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE);
}

static void vmx_guest(struct cpu_vm *vm)
{
	for (unsigned int i = X86_ES; i <= X86_GS; i++)
		set_segment(vm, i, 0x10, 0xffffffff, 0xc093);
	set_segment(vm, X86_CS, 0x08, 0xffffffff, 0xa09b);
	set_segment(vm, X86_LDTR, 0, 0, VMX_AR_UNUSABLE);
	set_segment(vm, X86_TR, 0x28, 0x67, 0x8b);
	cpu_vm_set(vm, VMCS_GUEST_TR_BASE, CPU_VM_TSS);
	cpu_vm_set(vm, VMCS_GUEST_GDTR_BASE, CPU_VM_GDT);
	cpu_vm_set(vm, VMCS_GUEST_GDTR_LIMIT, 0x3f);
	cpu_vm_set(vm, VMCS_GUEST_IDTR_BASE, CPU_VM_IDT);
	cpu_vm_set(vm, VMCS_GUEST_IDTR_LIMIT, 0xfff);
	cpu_vm_set(vm, VMCS_GUEST_CR0, X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG | X86_CR0_WP);
	cpu_vm_set(vm, VMCS_GUEST_CR4, X86_CR4_PAE | X86_CR4_VMXE);
	cpu_vm_set(vm, VMCS_GUEST_EFER, X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE);
	cpu_vm_set(vm, VMCS_GUEST_CR3,
		   vm->paging == CPU_VM_TDP ? CPU_VM_PML4 : cpu_vm_page(vm, CPU_VM_P_L4));
	cpu_vm_set(vm, VMCS_GUEST_DR7, X86_DR7_INIT);
	cpu_vm_set(vm, VMCS_GUEST_RFLAGS, X86_FL_ONE);
	cpu_vm_set(vm, VMCS_GUEST_RSP, CPU_VM_STACK);
	cpu_vm_set(vm, VMCS_VMCS_LINK_POINTER, UINT64_MAX);
}

static void vmx_setup(struct cpu_vm *vm)
{
	uint32_t revision = (uint32_t)vm->p->vmx->capability(VMX_MSR_BASIC) & 0x7fffffff;

	*(uint32_t *)cpu_vm_page(vm, CPU_VM_P_VMXON) = revision;
	*(uint32_t *)cpu_vm_page(vm, CPU_VM_P_VMCS) = revision;
	assert_int_equal(vm->p->vmx->vmxon(0, cpu_vm_page(vm, CPU_VM_P_VMXON)), 0);
	assert_int_equal(vm->p->vmx->vmclear(vm->lp, cpu_vm_page(vm, CPU_VM_P_VMCS)), HV_VMX_OK);
	assert_int_equal(vm->p->vmx->vmptrld(vm->lp, cpu_vm_page(vm, CPU_VM_P_VMCS)), HV_VMX_OK);
	cpu_vm_set(vm, VMCS_PIN_CTLS, 0x16 | VMX_PIN_EXT_INTR | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI);
	cpu_vm_set(vm, VMCS_CPU_CTLS, 0x04006172 | VMX_CPU_HLT | VMX_CPU_MSR_BITMAPS |
				      VMX_CPU_IO_BITMAPS | VMX_CPU_SECONDARY);
	cpu_vm_set(vm, VMCS_CPU_CTLS2, VMX_CPU2_VPID | VMX_CPU2_RDTSCP | VMX_CPU2_INVPCID |
				       (vm->paging == CPU_VM_TDP ? VMX_CPU2_EPT : 0));
	cpu_vm_set(vm, VMCS_EXIT_CTLS, 0x36dfb | VMX_EXITCTL_HOST_64 | VMX_EXITCTL_SAVE_DEBUG |
				       VMX_EXITCTL_SAVE_EFER | VMX_EXITCTL_LOAD_EFER);
	cpu_vm_set(vm, VMCS_ENTRY_CTLS, 0x11fb | VMX_ENTRYCTL_LOAD_DEBUG | VMX_ENTRYCTL_GUEST_64 |
					VMX_ENTRYCTL_LOAD_EFER);
	cpu_vm_set(vm, VMCS_VPID, 1);
	cpu_vm_set(vm, VMCS_EPT_POINTER, cpu_vm_page(vm, CPU_VM_P_L4) | EPTP_MEMTYPE_WB |
					 3 << EPTP_WALK_SHIFT | EPTP_AD);
	cpu_vm_set(vm, VMCS_MSR_BITMAP, cpu_vm_page(vm, CPU_VM_P_MSR));
	cpu_vm_set(vm, VMCS_IO_BITMAP_A, cpu_vm_page(vm, CPU_VM_P_IOA));
	cpu_vm_set(vm, VMCS_IO_BITMAP_B, cpu_vm_page(vm, CPU_VM_P_IOB));
	vmx_host(vm);
	vmx_guest(vm);
}

static struct svm_segment svm_seg(uint16_t selector, uint16_t attrib, uint32_t limit, uint64_t base)
{
	return (struct svm_segment){ selector, attrib, limit, base };
}

static void svm_setup(struct cpu_vm *vm)
{
	struct svm_vmcb *vmcb = cpu_vm_vmcb(vm);
	struct svm_vmcb_save *s = &vmcb->save;

	assert_int_equal(vm->p->svm->enable(0, cpu_vm_page(vm, CPU_VM_P_VMXON)), 0);
	vmcb->control.intercepts[SVM_WORD_3] = SVM_INTERCEPT_INTR | SVM_INTERCEPT_CPUID |
		SVM_INTERCEPT_HLT | SVM_INTERCEPT_IOIO | SVM_INTERCEPT_MSR | SVM_INTERCEPT_SHUTDOWN;
	vmcb->control.intercepts[SVM_WORD_4] = SVM_INTERCEPT_VMRUN | SVM_INTERCEPT_VMMCALL;
	vmcb->control.iopm_base = cpu_vm_page(vm, CPU_VM_P_IOA);
	vmcb->control.msrpm_base = cpu_vm_page(vm, CPU_VM_P_COUNT);
	vmcb->control.asid = 1;
	vmcb->control.int_ctl = SVM_V_INTR_MASKING;
	if (vm->paging == CPU_VM_TDP) {
		vmcb->control.nested_ctl = SVM_NP_ENABLE;
		vmcb->control.nested_cr3 = cpu_vm_page(vm, CPU_VM_P_L4);
	}
	s->g_pat = 0x0007040600070406;
	s->es = s->ss = s->ds = s->fs = s->gs = svm_seg(0x10, 0xc93, 0xffffffff, 0);
	s->cs = svm_seg(0x08, 0xa9b, 0xffffffff, 0);
	s->tr = svm_seg(0x28, 0x8b, 0x67, CPU_VM_TSS);
	s->gdtr = svm_seg(0, 0, 0x3f, CPU_VM_GDT);
	s->idtr = svm_seg(0, 0, 0xfff, CPU_VM_IDT);
	s->efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE | X86_EFER_SVME;
	s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_PG | X86_CR0_WP;
	s->cr4 = X86_CR4_PAE;
	s->cr3 = vm->paging == CPU_VM_TDP ? CPU_VM_PML4 : cpu_vm_page(vm, CPU_VM_P_L4);
	s->dr6 = X86_DR6_INIT;
	s->dr7 = X86_DR7_INIT;
	s->rflags = X86_FL_ONE;
	s->rsp = CPU_VM_STACK;
	vm->p->svm->vmload(vm->lp, cpu_vm_page(vm, CPU_VM_P_VMCS));
}

static uint8_t *host_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* Two more pages behind the named ones are SVM's MSR permission map. */
#define PAGES_SIZE ((CPU_VM_P_COUNT + 2) * 4096U)

void cpu_vm_create(struct cpu_vm *vm, enum cpu_vm_vendor vendor, enum cpu_vm_paging paging)
{
	memset(vm, 0, sizeof(*vm));
	vm->vendor = vendor;
	vm->paging = paging;
	vm->p = &hv_processor_soft;
	/* Aligned to its size, for large pages: take twice the size and use the aligned half. */
	vm->ram_area = host_pages(2 * CPU_VM_RAM);
	vm->ram = vm->ram_area + (-(uintptr_t)vm->ram_area & (CPU_VM_RAM - 1));
	vm->pages = host_pages(PAGES_SIZE);
	assert_int_equal(vm->p->init(1), 0);
	assert_int_equal(vm->p->lp_create(vm, &vm->lp), 0);
	vm->p->lp_attach(vm->lp, 0);
	guest_tables(vm);
	guest_descriptors(vm);
	second_level(vm);
	if (vendor == CPU_VM_VMX)
		vmx_setup(vm);
	else
		svm_setup(vm);
	cpu_vm_set_rip(vm, CPU_VM_CODE);
}

void cpu_vm_destroy(struct cpu_vm *vm)
{
	if (vm->vendor == CPU_VM_VMX)
		assert_int_equal(vm->p->vmx->vmxoff(0), 0);
	else
		assert_int_equal(vm->p->svm->disable(0), 0);
	vm->p->lp_destroy(vm->lp);
	vm->p->exit();
	munmap(vm->ram_area, 2 * CPU_VM_RAM);
	munmap(vm->pages, PAGES_SIZE);
}

void cpu_vm_code(struct cpu_vm *vm, const void *code, size_t size)
{
	memcpy(vm->ram + CPU_VM_CODE, code, size);
	cpu_vm_set_rip(vm, CPU_VM_CODE);
}

enum hv_vmx_status cpu_vm_enter(struct cpu_vm *vm)
{
	enum hv_vmx_status status = vm->p->vmx->enter(vm->lp, &vm->gprs, !vm->launched);

	if (status == HV_VMX_OK && !(cpu_vm_get(vm, VMCS_EXIT_REASON) & VMX_EXIT_ENTRY_FAILURE))
		vm->launched = true;
	return status;
}

uint64_t cpu_vm_run(struct cpu_vm *vm)
{
	if (vm->vendor == CPU_VM_SVM) {
		vm->p->svm->vmrun(vm->lp, cpu_vm_page(vm, CPU_VM_P_VMCS), &vm->gprs);
		return cpu_vm_vmcb(vm)->control.exit_code;
	}
	if (cpu_vm_enter(vm) != HV_VMX_OK)
		fail_msg("entry failed: error %d, %s", (int)cpu_vm_get(vm, VMCS_INSN_ERROR),
			 vm->lp->vmx.failed_rule ? vm->lp->vmx.failed_rule : "");
	return cpu_vm_get(vm, VMCS_EXIT_REASON);
}

uint64_t cpu_vm_rip(struct cpu_vm *vm)
{
	return vm->vendor == CPU_VM_SVM ? cpu_vm_vmcb(vm)->save.rip : cpu_vm_get(vm, VMCS_GUEST_RIP);
}

void cpu_vm_set_rip(struct cpu_vm *vm, uint64_t rip)
{
	if (vm->vendor == CPU_VM_SVM)
		cpu_vm_vmcb(vm)->save.rip = rip;
	else
		cpu_vm_set(vm, VMCS_GUEST_RIP, rip);
}

void cpu_vm_flush(struct cpu_vm *vm)
{
	if (vm->vendor == CPU_VM_SVM) {
		cpu_vm_vmcb(vm)->control.tlb_ctl = SVM_TLB_FLUSH_ALL;
		return;
	}
	assert_int_equal(vm->p->vmx->invept(vm->lp, VMX_INVEPT_ALL, 0), HV_VMX_OK);
	assert_int_equal(vm->p->vmx->invvpid(vm->lp, VMX_INVVPID_ALL, 0, 0), HV_VMX_OK);
}
