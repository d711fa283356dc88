/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SVM operation: consistency checks, intercepts with exit code and information,
 * nested page faults, event injection and EXITINTINFO, virtual interrupts, ASIDs and
 * TLB control, clean bits, VMLOAD and VMSAVE, paging without nested paging.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cpu_vm.h"

#define DATA_PAGE (CPU_VM_DATA >> 12)

static struct cpu_vm vm;
static struct svm_vmcb *vmcb;
static struct svm_vmcb_control *c;
static struct svm_vmcb_save *s;

static void start(enum cpu_vm_paging paging)
{
	cpu_vm_create(&vm, CPU_VM_SVM, paging);
	vmcb = cpu_vm_vmcb(&vm);
	c = &vmcb->control;
	s = &vmcb->save;
}

static int setup(void **state)
{
	start(CPU_VM_TDP);
	return 0;
}

static int setup_shadow(void **state)
{
	start(CPU_VM_SHADOW);
	return 0;
}

static int teardown(void **state)
{
	cpu_vm_destroy(&vm);
	return 0;
}

static uint64_t run(void)
{
	uint64_t code = cpu_vm_run(&vm);

	if (code == SVM_EXIT_INVALID)
		fail_msg("VMEXIT_INVALID: %s", vm.lp->svm.failed_rule);
	return code;
}

/* ---- consistency checks ------------------------------------------------------------------------ */

#define BREAK(rule_, statement) \
	do { \
		struct svm_vmcb saved = *vmcb; \
		statement; \
		assert_int_equal(cpu_vm_run(&vm), SVM_EXIT_INVALID); \
		assert_string_equal(vm.lp->svm.failed_rule, rule_); \
		*vmcb = saved; \
	} while (0)

static void test_checks(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	BREAK("EFER.SVME is 0", s->efer &= ~X86_EFER_SVME);
	BREAK("CR0.CD is 0 and CR0.NW is 1", s->cr0 |= X86_CR0_NW);
	BREAK("CR0 bits 63:32", s->cr0 |= 1ULL << 32);
	BREAK("reserved bits of CR3", s->cr3 |= 1ULL << 48);
	BREAK("reserved bits of CR4", s->cr4 |= 1ULL << 31);
	BREAK("DR6 bits 63:32", s->dr6 |= 1ULL << 32);
	BREAK("DR7 bits 63:32", s->dr7 |= 1ULL << 63);
	BREAK("reserved bits of EFER", s->efer |= 1ULL << 1);
	BREAK("long mode without CR4.PAE", s->cr4 &= ~X86_CR4_PAE);
	BREAK("long mode without CR0.PE", s->cr0 &= ~X86_CR0_PE);
	BREAK("long mode with CS.L and CS.D", s->cs.attrib |= 1 << 10);
	BREAK("VMRUN is not intercepted", c->intercepts[SVM_WORD_4] &= ~SVM_INTERCEPT_VMRUN);
	BREAK("IOPM beyond physical memory", c->iopm_base = 1ULL << 48);
	BREAK("MSRPM beyond physical memory", c->msrpm_base = (1ULL << 48) - 0x1000);
	BREAK("ASID", c->asid = 0);
	BREAK("TLB_CONTROL", c->tlb_ctl = 2);
	BREAK("TLB_CONTROL", c->tlb_ctl = 5);
	BREAK("TLB_CONTROL", c->tlb_ctl = 8);
	BREAK("reserved bits of nCR3", c->nested_cr3 |= 1ULL << 50);
	BREAK("guest PAT", s->g_pat = 2);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 1 << 8);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | 2);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | 32);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | X86_OF);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | X86_BR);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | 9);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | 15);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 3 << 8 | 31);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 5 << 8);
	BREAK("illegal event injection", c->event_inj = SVM_EVENT_VALID | 7 << 8);
	BREAK("IOPM beyond physical memory", c->iopm_base = (1ULL << 48) - 0x2000);
	BREAK("reserved bits of CR4", s->cr4 |= 1ULL << 63);
	BREAK("reserved bits of EFER", s->efer |= 1ULL << 63);
	BREAK("DR6 bits 63:32", s->dr6 |= 1ULL << 63);
	BREAK("guest PAT", s->g_pat |= 0x03ULL << 56);
	BREAK("AVIC is not supported", c->int_ctl |= SVM_X2AVIC_ENABLE);
	BREAK("AVIC is not supported", c->int_ctl |= SVM_AVIC_ENABLE);
	assert_int_equal(run(), SVM_EXIT_HLT);
}

static void test_enable(void **state)
{
	assert_int_equal(vm.p->svm->enable(0, cpu_vm_page(&vm, CPU_VM_P_VMXON)), -EBUSY);
	assert_int_equal(vm.p->svm->enable(3, cpu_vm_page(&vm, CPU_VM_P_VMXON)), -ENODEV);
	assert_int_equal(vm.p->svm->disable(0), 0);
	assert_int_equal(vm.p->svm->disable(0), -EINVAL);
	assert_int_equal(vm.p->svm->enable(0, 0x1001), -EINVAL);
	/* Without SVME there is no VMRUN. */
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(cpu_vm_run(&vm), SVM_EXIT_INVALID);
	assert_int_equal(vm.p->svm->enable(0, cpu_vm_page(&vm, CPU_VM_P_VMXON)), 0);
	assert_int_equal(run(), SVM_EXIT_HLT);
}

/* ---- instructions ------------------------------------------------------------------------------- */

struct insn_case {
	const char *name;
	uint8_t code[8];
	uint8_t len;
	uint8_t word, bit;
	uint32_t exit_code;
	uint64_t info1;
	bool runs;	/* without the intercept it runs through */
};

/* RAX = CPU_VM_DATA, RCX = 0. */
static const struct insn_case cases[] = {
	{ "cpuid", { 0x0f, 0xa2 }, 2, 3, 18, SVM_EXIT_CPUID, 0, true },
	{ "hlt", { 0xf4 }, 1, 3, 24, SVM_EXIT_HLT, 0, false },
	{ "invd", { 0x0f, 0x08 }, 2, 3, 22, SVM_EXIT_INVD, 0, true },
	{ "wbinvd", { 0x0f, 0x09 }, 2, 4, 9, SVM_EXIT_WBINVD, 0, true },
	{ "rdtsc", { 0x0f, 0x31 }, 2, 3, 14, SVM_EXIT_RDTSC, 0, true },
	{ "rdtscp", { 0x0f, 0x01, 0xf9 }, 3, 4, 7, SVM_EXIT_RDTSCP, 0, true },
	{ "rdpmc", { 0x0f, 0x33 }, 2, 3, 15, SVM_EXIT_RDPMC, 0, false },
	{ "pause", { 0xf3, 0x90 }, 2, 3, 23, SVM_EXIT_PAUSE, 0, true },
	{ "invlpg [rax]", { 0x0f, 0x01, 0x38 }, 3, 3, 25, SVM_EXIT_INVLPG, CPU_VM_DATA, true },
	{ "invlpga", { 0x0f, 0x01, 0xdf }, 3, 3, 26, SVM_EXIT_INVLPGA, 0, false },
	{ "pushf", { 0x9c }, 1, 3, 16, SVM_EXIT_PUSHF, 0, true },
	{ "popf", { 0x9d }, 1, 3, 17, SVM_EXIT_POPF, 0, false },
	{ "int 0x80", { 0xcd, 0x80 }, 2, 3, 21, SVM_EXIT_SWINT, 0x80, false },
	{ "iretq", { 0x48, 0xcf }, 2, 3, 20, SVM_EXIT_IRET, 0, false },
	{ "sgdt [rax]", { 0x0f, 0x01, 0x00 }, 3, 3, 7, SVM_EXIT_GDTR_READ, 0, true },
	{ "sidt [rax]", { 0x0f, 0x01, 0x08 }, 3, 3, 6, SVM_EXIT_IDTR_READ, 0, true },
	{ "lidt [rax]", { 0x0f, 0x01, 0x18 }, 3, 3, 10, SVM_EXIT_IDTR_WRITE, 0, true },
	{ "str ebx", { 0x0f, 0x00, 0xcb }, 3, 3, 9, SVM_EXIT_TR_READ, 0, true },
	{ "lldt cx", { 0x0f, 0x00, 0xd1 }, 3, 3, 12, SVM_EXIT_LDTR_WRITE, 0, true },
	{ "icebp", { 0xf1 }, 1, 4, 8, SVM_EXIT_ICEBP, 0, false },
	{ "vmmcall", { 0x0f, 0x01, 0xd9 }, 3, 4, 1, SVM_EXIT_VMMCALL, 0, false },
	{ "vmload", { 0x0f, 0x01, 0xda }, 3, 4, 2, SVM_EXIT_VMLOAD, 0, false },
	{ "stgi", { 0x0f, 0x01, 0xdc }, 3, 4, 4, SVM_EXIT_STGI, 0, false },
	{ "vmrun", { 0x0f, 0x01, 0xd8 }, 3, 4, 0, SVM_EXIT_VMRUN, 0, false },
	{ "mov rbx, cr0", { 0x0f, 0x20, 0xc3 }, 3, 0, 0, SVM_EXIT_READ_CR0, SVM_CRX_MOV | 3, true },
	{ "mov rbx, cr3", { 0x0f, 0x20, 0xdb }, 3, 0, 3, SVM_EXIT_READ_CR0 + 3, SVM_CRX_MOV | 3, true },
	{ "mov cr4, rbx", { 0x0f, 0x22, 0xe3 }, 3, 0, 20, SVM_EXIT_WRITE_CR0 + 4, SVM_CRX_MOV | 3,
	  false },
	{ "mov cr8, rcx", { 0x44, 0x0f, 0x22, 0xc1 }, 4, 0, 24, SVM_EXIT_WRITE_CR0 + 8,
	  SVM_CRX_MOV | 1, true },
	{ "smsw ebx", { 0x0f, 0x01, 0xe3 }, 3, 0, 0, SVM_EXIT_READ_CR0, 0, true },
	{ "clts", { 0x0f, 0x06 }, 2, 0, 16, SVM_EXIT_WRITE_CR0, 0, true },
	{ "mov dr0, rcx", { 0x0f, 0x23, 0xc1 }, 3, 1, 16, SVM_EXIT_WRITE_DR0, 1, true },
	{ "mov rbx, dr7", { 0x0f, 0x21, 0xfb }, 3, 1, 7, SVM_EXIT_READ_DR0 + 7, 3, true },
};

static void set_registers(void)
{
	memset(&vm.gprs, 0, sizeof(vm.gprs));
	s->rax = CPU_VM_DATA;
	s->rsp = CPU_VM_STACK - 64;
	vm.gprs.r[X86_RBX] = s->cr4; /* for "mov cr4, rbx": what is refused anyway does not exit */
}

static void test_instructions(void **state)
{
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct insn_case *k = &cases[i];
		uint32_t old = c->intercepts[k->word];

		set_registers();
		cpu_vm_code(&vm, k->code, sizeof(k->code));
		c->intercepts[k->word] |= 1U << k->bit;
		c->clean = 0;
		if (run() != k->exit_code || c->exit_info1 != k->info1 ||
		    c->next_rip != CPU_VM_CODE + k->len || s->rip != CPU_VM_CODE)
			fail_msg("%s: code 0x%llx info1 0x%llx next 0x%llx rip 0x%llx", k->name,
				 (unsigned long long)c->exit_code, (unsigned long long)c->exit_info1,
				 (unsigned long long)c->next_rip, (unsigned long long)s->rip);
		c->intercepts[k->word] = old;
	}
}

static void test_not_intercepted(void **state)
{
	c->intercepts[SVM_WORD_3] &= ~SVM_INTERCEPT_CPUID;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct insn_case *k = &cases[i];
		uint8_t code[16] = { 0 };

		if (!k->runs)
			continue;
		memcpy(code, k->code, k->len);
		code[k->len] = 0xf4;
		set_registers();
		cpu_vm_code(&vm, code, sizeof(code));
		if (run() != SVM_EXIT_HLT || s->rip != CPU_VM_CODE + k->len)
			fail_msg("%s: code 0x%llx rip 0x%llx", k->name,
				 (unsigned long long)c->exit_code, (unsigned long long)s->rip);
	}
}

/* SVM's own instructions without an intercept are undefined; above CPL 0 a #GP comes first. */
static void test_svm_instructions(void **state)
{
	c->intercepts[SVM_WORD_EXCEPTION] = 1U << X86_UD | 1U << X86_GP;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x01, 0xda);
	assert_int_equal(run(), SVM_EXIT_EXCEPTION + X86_UD);
	c->intercepts[SVM_WORD_4] |= SVM_INTERCEPT_VMLOAD;
	s->cpl = 3;
	s->cs = (struct svm_segment){ 0x1b, 0xafb, 0xffffffff, 0 };
	s->ss = (struct svm_segment){ 0x23, 0xcf3, 0xffffffff, 0 };
	assert_int_equal(run(), SVM_EXIT_EXCEPTION + X86_GP);
	assert_int_equal(s->cpl, 3);
}

static void test_selective_cr0(void **state)
{
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_CR0_SEL_WRITE;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x22, 0xc3, 0xf4);
	vm.gprs.r[X86_RBX] = s->cr0 | X86_CR0_TS;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_true(s->cr0 & X86_CR0_TS);
	vm.gprs.r[X86_RBX] = s->cr0 | X86_CR0_AM;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_CR0_SEL_WRITE);
	assert_int_equal(c->exit_info1, SVM_CRX_MOV | 3);
	assert_false(s->cr0 & X86_CR0_AM);
}

/* A row: the instruction with RBX, what is intercepted, and the exit that comes first. */
static void order(const char *what, const uint8_t code[4], uint64_t rbx, uint64_t exit_code)
{
	set_registers();
	cpu_vm_code(&vm, code, 4);
	vm.gprs.r[X86_RBX] = rbx;
	c->clean = 0;
	if (run() != exit_code)
		fail_msg("%s: exit code 0x%llx", what, (unsigned long long)c->exit_code);
}
#define CODE(...) ((const uint8_t[4]){ __VA_ARGS__ })

/* APM volume 2, "Instruction intercepts": exceptions that need no memory come before the intercept. */
static void test_intercept_order(void **state)
{
	const uint64_t gp = SVM_EXIT_EXCEPTION + X86_GP;
	const uint8_t *to_cr0 = CODE(0x0f, 0x22, 0xc3, 0xf4), *to_cr3 = CODE(0x0f, 0x22, 0xdb, 0xf4);
	const uint8_t *to_cr4 = CODE(0x0f, 0x22, 0xe3, 0xf4), *to_cr8 = CODE(0x44, 0x0f, 0x22, 0xc3);
	const uint8_t *to_dr4 = CODE(0x0f, 0x23, 0xe3, 0xf4), *to_dr7 = CODE(0x0f, 0x23, 0xfb, 0xf4);
	const uint8_t *from_dr7 = CODE(0x0f, 0x21, 0xfb, 0xf4), *xsetbv = CODE(0x0f, 0x01, 0xd1, 0xf4);

	c->intercepts[SVM_WORD_EXCEPTION] = 1U << X86_GP | 1U << X86_UD | 1U << X86_DB;
	c->intercepts[SVM_WORD_CR] |= 0xffff0000U;
	c->intercepts[SVM_WORD_DR] = 0xffffffffU;
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_CR0_SEL_WRITE;
	c->intercepts[SVM_WORD_4] |= 1U << 13; /* XSETBV */
	order("CR0: not selective", to_cr0, s->cr0 ^ X86_CR0_AM, SVM_EXIT_WRITE_CR0);
	order("CR0: bits 63:32", to_cr0, s->cr0 | 1ULL << 40, gp);
	order("CR0: NW without CD", to_cr0, s->cr0 | X86_CR0_NW, gp);
	order("CR0: PG without PE", to_cr0, s->cr0 & ~X86_CR0_PE, gp);
	order("CR0: no paging in 64-bit code", to_cr0, s->cr0 & ~X86_CR0_PG, gp);
	order("CR3", to_cr3, s->cr3 + 0x1000, SVM_EXIT_WRITE_CR0 + 3);
	order("CR3: reserved", to_cr3, s->cr3 | 1ULL << 50, gp);
	order("CR4", to_cr4, s->cr4 ^ X86_CR4_PGE, SVM_EXIT_WRITE_CR0 + 4);
	order("CR4: reserved", to_cr4, s->cr4 | 1ULL << 31, gp);
	order("CR4: no PAE in long mode", to_cr4, s->cr4 & ~X86_CR4_PAE, gp);
	order("CR8", to_cr8, 15, SVM_EXIT_WRITE_CR0 + 8);
	order("CR8: reserved", to_cr8, 16, gp);
	order("DR7", to_dr7, 0x400, SVM_EXIT_WRITE_DR0 + 7);
	order("DR7: bits 63:32", to_dr7, 1ULL << 32, gp);
	order("DR4", to_dr4, 0, SVM_EXIT_WRITE_DR0 + 4);
	s->cr4 |= X86_CR4_DE;
	order("DR4 with CR4.DE", to_dr4, 0, SVM_EXIT_EXCEPTION + X86_UD);
	s->dr7 |= X86_DR7_GD;
	order("DR7.GD", from_dr7, 0, SVM_EXIT_EXCEPTION + X86_DB);
	s->dr7 &= ~X86_DR7_GD;
	s->cr4 |= X86_CR4_OSXSAVE;
	order("XSETBV", xsetbv, 0, SVM_EXIT_XSETBV);
	s->cpl = 3;
	s->cs = (struct svm_segment){ 0x1b, 0xafb, 0xffffffff, 0 };
	s->ss = (struct svm_segment){ 0x23, 0xcf3, 0xffffffff, 0 };
	order("XSETBV above CPL 0", xsetbv, 0, SVM_EXIT_XSETBV);
	order("CR0 above CPL 0", to_cr0, s->cr0, gp);
	order("DR7 above CPL 0", to_dr7, 0x400, gp);
	s->cr4 &= ~X86_CR4_OSXSAVE;
	order("XSETBV without OSXSAVE", xsetbv, 0, SVM_EXIT_EXCEPTION + X86_UD);
}

static void test_io(void **state)
{
	uint8_t *map = (uint8_t *)c->iopm_base;

	set_registers();
	vm.gprs.r[X86_RDX] = 0x3f8;
	CPU_VM_CODE_BYTES(&vm, 0xee, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT);
	map[0x3f8 / 8] |= 1;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_IOIO);
	/* OUT, 8 bits, 64-bit address; EXITINFO2 is the next instruction. */
	assert_int_equal(c->exit_info1, 0x3f8 << 16 | 1 << 4 | 1 << 9);
	assert_int_equal(c->exit_info2, CPU_VM_CODE + 1);
	CPU_VM_CODE_BYTES(&vm, 0xe5, 0xf6, 0xf4); /* in eax, 0xf6: reaches 0xf8 and 0xf9 */
	map[0xf9 / 8] |= 1 << 1;
	assert_int_equal(run(), SVM_EXIT_IOIO);
	assert_int_equal(c->exit_info1, 0xf6 << 16 | 1 << 6 | 1 << 9 | SVM_IOIO_IN);
	vm.gprs.r[X86_RCX] = 3;
	CPU_VM_CODE_BYTES(&vm, 0xf3, 0x6e); /* rep outsb */
	assert_int_equal(run(), SVM_EXIT_IOIO);
	assert_int_equal(c->exit_info1, 0x3f8 << 16 | X86_DS << 10 | 1 << 9 | 1 << 4 |
			 SVM_IOIO_STRING | SVM_IOIO_REP);
	/* The last ports' bits are in the third page. */
	vm.gprs.r[X86_RDX] = 0xffff;
	((uint8_t *)c->iopm_base)[0x2000] |= 1;
	CPU_VM_CODE_BYTES(&vm, 0x66, 0xed);
	assert_int_equal(run(), SVM_EXIT_IOIO);
}

static void test_msr(void **state)
{
	uint8_t *map = (uint8_t *)c->msrpm_base;

	set_registers();
	vm.gprs.r[X86_RCX] = X86_MSR_LSTAR;
	s->rax = 0x77;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x30, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(vm.lp->cpu->lstar, 0x77);
	map[0x800 + 0x82 / 4] |= 2 << (0x82 % 4 * 2);
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_MSR);
	assert_int_equal(c->exit_info1, 1);
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x32, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rax, 0x77);
	vm.gprs.r[X86_RCX] = 0x40000000;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_MSR);
	assert_int_equal(c->exit_info1, 0);
	vm.gprs.r[X86_RCX] = 0xc0010015;
	map[0x1000 + 0x15 / 4] |= 1 << (0x15 % 4 * 2);
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_MSR);
}

static void test_pause_filter(void **state)
{
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_PAUSE;
	c->pause_filter_count = 3;
	vm.gprs.r[X86_RCX] = 0;
	CPU_VM_CODE_BYTES(&vm, 0xff, 0xc1, 0xf3, 0x90, 0xeb, 0xfa); /* inc ecx; pause; jmp back */
	assert_int_equal(run(), SVM_EXIT_PAUSE);
	vm.gprs.r[X86_RCX] = 0;
	assert_int_equal(run(), SVM_EXIT_PAUSE);
	assert_int_equal(vm.gprs.r[X86_RCX], 3);
}

/* ---- exceptions, events -------------------------------------------------------------------------- */

static uint64_t stack_word(unsigned int index)
{
	uint64_t value;

	memcpy(&value, vm.ram + s->rsp + index * 8, 8);
	return value;
}

static void test_exceptions(void **state)
{
	((uint64_t *)(vm.ram + CPU_VM_PT))[DATA_PAGE] = 0;
	c->intercepts[SVM_WORD_EXCEPTION] = 1U << X86_PF | 1U << X86_BP;
	set_registers();
	s->cr2 = 0x55;
	CPU_VM_CODE_BYTES(&vm, 0x88, 0x58, 0x05, 0x90); /* mov [rax+5], bl */
	assert_int_equal(run(), SVM_EXIT_EXCEPTION + X86_PF);
	assert_int_equal(c->exit_info1, X86_PF_W);
	assert_int_equal(c->exit_info2, CPU_VM_DATA + 5);
	assert_int_equal(s->cr2, 0x55);
	/* Decode assist: the instruction's bytes. */
	assert_int_equal(c->insn_len, 15);
	assert_memory_equal(c->insn_bytes, "\x88\x58\x05\x90", 4);
	CPU_VM_CODE_BYTES(&vm, 0xcc);
	assert_int_equal(run(), SVM_EXIT_EXCEPTION + X86_BP);
	assert_int_equal(c->next_rip, CPU_VM_CODE + 1);
	/* Not intercepted: the guest's handler. */
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x0b);
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rip, CPU_VM_HANDLER);
}

static void test_injection(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	c->event_inj = SVM_EVENT_VALID | SVM_EVENT_EXCEPTION << 8 | SVM_EVENT_HAS_ERROR | X86_PF |
		       6ULL << 32;
	s->cr2 = 0x4321;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rip, CPU_VM_HANDLER);
	assert_int_equal(stack_word(0), 6);
	assert_int_equal(stack_word(1), CPU_VM_CODE);
	assert_int_equal(s->cr2, 0x4321);
	assert_int_equal(c->event_inj & SVM_EVENT_VALID, 0);
	/* A software interrupt returns to nRIP. */
	s->rip = CPU_VM_CODE;
	c->next_rip = CPU_VM_CODE + 2;
	c->event_inj = SVM_EVENT_VALID | SVM_EVENT_SW_INT << 8 | 0x80;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(stack_word(0), CPU_VM_CODE + 2);
	/* An external interrupt needs no IF: EVENTINJ is unconditional. */
	s->rip = CPU_VM_CODE;
	c->event_inj = SVM_EVENT_VALID | SVM_EVENT_INTR << 8 | 0x30;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rip, CPU_VM_HANDLER);
	assert_int_equal(stack_word(0), CPU_VM_CODE);
}

static void test_exit_int_info(void **state)
{
	uint64_t whole = vm.pt[(CPU_VM_STACK - 1) >> 12];

	vm.pt[(CPU_VM_STACK - 1) >> 12] = 0;
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	c->event_inj = SVM_EVENT_VALID | SVM_EVENT_EXCEPTION << 8 | SVM_EVENT_HAS_ERROR | X86_GP |
		       0x18ULL << 32;
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_int_info, SVM_EVENT_VALID | SVM_EVENT_EXCEPTION << 8 |
			 SVM_EVENT_HAS_ERROR | X86_GP | 0x18ULL << 32);
	assert_int_equal(s->rip, CPU_VM_CODE);
	assert_int_equal(s->rsp, CPU_VM_STACK);
	CPU_VM_CODE_BYTES(&vm, 0xcd, 0x80);
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_int_info, SVM_EVENT_VALID | SVM_EVENT_SW_INT << 8 | 0x80);
	assert_int_equal(c->next_rip, CPU_VM_CODE + 2);
	vm.pt[(CPU_VM_STACK - 1) >> 12] = whole;
	c->event_inj = c->exit_int_info;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rip, CPU_VM_HANDLER);
	assert_int_equal(stack_word(0), CPU_VM_CODE + 2);
	assert_int_equal(c->exit_int_info, 0);
}

static void test_shutdown(void **state)
{
	s->idtr.limit = 0;
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x0b);
	assert_int_equal(run(), SVM_EXIT_SHUTDOWN);
	assert_int_equal(c->exit_int_info, 0);
}

static void test_kick(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xeb, 0xfe);
	vm.p->lp_kick(vm.lp);
	assert_int_equal(run(), SVM_EXIT_INTR);
	CPU_VM_CODE_BYTES(&vm, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT);
}

static void test_virtual_interrupt(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0x90, 0xfb, 0x90, 0x90, 0xf4);
	c->int_ctl |= SVM_V_IRQ | 5 << SVM_V_INTR_PRIO_SHIFT;
	c->int_vector = 0x51;
	/* Delivered by the processor behind STI's shadow. */
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(s->rip, CPU_VM_HANDLER);
	assert_int_equal(stack_word(0), CPU_VM_CODE + 3);
	assert_int_equal(c->int_ctl & SVM_V_IRQ, 0);
	/* Intercepted: the window exit. */
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_VINTR;
	c->int_ctl |= SVM_V_IRQ;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_VINTR);
	assert_int_equal(s->rip, CPU_VM_CODE + 3);
	assert_true(c->int_ctl & SVM_V_IRQ);
	assert_true(c->int_state & SVM_GUEST_INTERRUPT_MASK);
	/* The priority has to be above V_TPR, unless that is ignored. */
	c->int_ctl |= 5;
	assert_int_equal(run(), SVM_EXIT_HLT);
	c->int_ctl |= SVM_V_IGN_TPR;
	assert_int_equal(run(), SVM_EXIT_VINTR);
}

static void test_v_tpr(void **state)
{
	set_registers();
	vm.gprs.r[X86_RCX] = 9;
	CPU_VM_CODE_BYTES(&vm, 0x44, 0x0f, 0x20, 0xc3, 0x44, 0x0f, 0x22, 0xc1, 0xf4);
	c->int_ctl |= 4;
	assert_int_equal(run(), SVM_EXIT_HLT); /* mov rbx, cr8; mov cr8, rcx */
	assert_int_equal(vm.gprs.r[X86_RBX], 4);
	assert_int_equal(c->int_ctl & SVM_V_TPR_MASK, 9);
}

static void test_interrupt_shadow(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0xfb, 0x0f, 0xa2);
	assert_int_equal(run(), SVM_EXIT_CPUID);
	assert_true(c->int_state & SVM_INTERRUPT_SHADOW);
	/* Loaded by VMRUN it holds the virtual interrupt back for one instruction. */
	CPU_VM_CODE_BYTES(&vm, 0x90, 0x90, 0xf4);
	c->intercepts[SVM_WORD_3] |= SVM_INTERCEPT_VINTR;
	c->int_ctl |= SVM_V_IRQ | 15 << SVM_V_INTR_PRIO_SHIFT;
	assert_int_equal(run(), SVM_EXIT_VINTR);
	assert_int_equal(s->rip, CPU_VM_CODE + 1);
	assert_false(c->int_state & SVM_INTERRUPT_SHADOW);
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static void load_byte(void)
{
	s->rax = CPU_VM_DATA + 0x123;
	CPU_VM_CODE_BYTES(&vm, 0x8a, 0x18, 0xf4);
}

static void test_npf(void **state)
{
	uint64_t whole = vm.pt[DATA_PAGE];

	vm.pt[DATA_PAGE] = 0;
	load_byte();
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_info1, SVM_NPF_FINAL | X86_PF_U);
	assert_int_equal(c->exit_info2, CPU_VM_DATA + 0x123);
	assert_memory_equal(c->insn_bytes, "\x8a\x18\xf4", 3);
	vm.pt[DATA_PAGE] = whole & ~X86_PTE_W;
	assert_int_equal(run(), SVM_EXIT_HLT);
	CPU_VM_CODE_BYTES(&vm, 0x88, 0x18, 0xf4);
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_info1, SVM_NPF_FINAL | X86_PF_U | X86_PF_P | X86_PF_W);
	vm.pt[DATA_PAGE] = whole | X86_PTE_NX;
	assert_int_equal(run(), SVM_EXIT_HLT);
	c->tlb_ctl = SVM_TLB_FLUSH_ALL;
	CPU_VM_CODE_BYTES(&vm, 0xff, 0xe0);
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_info1, SVM_NPF_FINAL | X86_PF_U | X86_PF_P | X86_PF_I);
	/* Reserved bits: how MMIO is marked. */
	vm.pt[DATA_PAGE] = whole | 1ULL << 51;
	load_byte();
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_info1, SVM_NPF_FINAL | X86_PF_U | X86_PF_P | X86_PF_RSVD);
	/* A table of the guest: reads count as user writes. */
	vm.pt[CPU_VM_PT >> 12] &= ~X86_PTE_W;
	c->tlb_ctl = SVM_TLB_FLUSH_ALL;
	load_byte();
	assert_int_equal(run(), SVM_EXIT_NPF);
	assert_int_equal(c->exit_info1, SVM_NPF_TABLE | X86_PF_U | X86_PF_P | X86_PF_W);
	assert_int_equal(c->exit_info2, CPU_VM_PT + (CPU_VM_CODE >> 12) * 8);
}

static uint8_t read_data(void)
{
	load_byte();
	assert_int_equal(run(), SVM_EXIT_HLT);
	return (uint8_t)vm.gprs.r[X86_RBX];
}

static void test_tlb(void **state)
{
	vm.ram[CPU_VM_DATA + 0x1123] = 2;
	assert_int_equal(read_data(), 0);
	vm.pt[DATA_PAGE] = vm.pt[DATA_PAGE + 1];
	assert_int_equal(read_data(), 0); /* cached */
	c->asid = 2; /* another tag starts empty */
	c->clean = 0;
	assert_int_equal(read_data(), 2);
	c->asid = 1;
	assert_int_equal(read_data(), 0);
	c->tlb_ctl = SVM_TLB_FLUSH_ASID;
	assert_int_equal(read_data(), 2);
	c->tlb_ctl = SVM_TLB_NOTHING;
	/* Guest mappings: INVLPGA of the page, of this ASID only. */
	((uint64_t *)(vm.ram + CPU_VM_PT))[DATA_PAGE] += 0x2000;
	assert_int_equal(read_data(), 2);
	vm.p->svm->invlpga(vm.lp, CPU_VM_DATA, 2);
	assert_int_equal(read_data(), 2);
	vm.p->svm->invlpga(vm.lp, CPU_VM_DATA, 1);
	assert_int_equal(read_data(), 0);
}

static void test_accessed_dirty(void **state)
{
	vm.pt[DATA_PAGE] &= ~(X86_PTE_A | X86_PTE_D);
	read_data();
	assert_int_equal(vm.pt[DATA_PAGE] & (X86_PTE_A | X86_PTE_D), X86_PTE_A);
	CPU_VM_CODE_BYTES(&vm, 0x88, 0x18, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_true(vm.pt[DATA_PAGE] & X86_PTE_D);
}

static void test_shadow(void **state)
{
	c->intercepts[SVM_WORD_EXCEPTION] = 1U << X86_PF;
	vm.pt[DATA_PAGE] &= ~X86_PTE_P;
	load_byte();
	assert_int_equal(run(), SVM_EXIT_EXCEPTION + X86_PF);
	assert_int_equal(c->exit_info2, CPU_VM_DATA + 0x123);
	vm.pt[DATA_PAGE] |= X86_PTE_P;
	vm.ram[CPU_VM_DATA + 0x123] = 9;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(vm.gprs.r[X86_RBX] & 0xff, 9);
}

/* Paged real mode: CR0.PG without PE, which only VMRUN can set up. */
static void test_paged_real_mode(void **state)
{
	s->efer = X86_EFER_SVME | X86_EFER_NXE;
	s->cr0 = X86_CR0_PG | X86_CR0_ET;
	s->cr3 = cpu_vm_page(&vm, CPU_VM_P_L4); /* with PAE that is the PDPT */
	/* The table of 4 KiB pages as PDPT would not do: build PDPT -> PD of the existing ones. */
	((uint64_t *)cpu_vm_page(&vm, CPU_VM_P_L4))[0] = cpu_vm_page(&vm, CPU_VM_P_L2) | X86_PTE_P;
	s->cs = (struct svm_segment){ 0x1000, 0x9b, 0xffff, 0x10000 };
	s->ds = s->es = s->ss = (struct svm_segment){ 0x2000, 0x93, 0xffff, 0x20000 };
	CPU_VM_CODE_BYTES(&vm, 0xc6, 0x06, 0x10, 0x00, 0x5a, 0xf4); /* mov byte [0x10], 0x5a */
	s->rip = 0;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_int_equal(vm.ram[0x20010], 0x5a);
	assert_int_equal(s->cpl, 0);
}

/* ---- state ------------------------------------------------------------------------------------------- */

static void test_clean_bits(void **state)
{
	CPU_VM_CODE_BYTES(&vm, 0x0f, 0x20, 0xc3, 0xf4); /* mov rbx, cr0 */
	assert_int_equal(run(), SVM_EXIT_HLT);
	/* A clean group is not looked at ... */
	c->clean = 0xfff;
	s->cr0 |= X86_CR0_AM;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_false(vm.gprs.r[X86_RBX] & X86_CR0_AM);
	/* ... a dirty one is. */
	c->clean = 0xfff & ~SVM_CLEAN_CRX;
	s->cr0 |= X86_CR0_AM;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_HLT);
	assert_true(vm.gprs.r[X86_RBX] & X86_CR0_AM);
	/* Intercepts likewise. */
	c->clean = 0xfff;
	c->intercepts[SVM_WORD_CR] |= 1;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_HLT);
	c->clean = 0xfff & ~SVM_CLEAN_INTERCEPTS;
	s->rip = CPU_VM_CODE;
	assert_int_equal(run(), SVM_EXIT_READ_CR0);
	/* Another VMCB has no clean groups, whatever it says. */
	{
		struct svm_vmcb *other = (struct svm_vmcb *)cpu_vm_page(&vm, CPU_VM_P_PML);

		*other = *vmcb;
		other->control.clean = 0xfff;
		other->control.intercepts[SVM_WORD_CR] = 0;
		vm.p->svm->vmrun(vm.lp, (uint64_t)other, &vm.gprs);
		assert_int_equal(other->control.exit_code, SVM_EXIT_HLT);
	}
}

static void test_vmload_vmsave(void **state)
{
	s->fs.base = 0x123456;
	s->star = 1;
	s->lstar = 2;
	s->cstar = 3;
	s->sfmask = 4;
	s->kernel_gs_base = 5;
	s->sysenter_cs = 6;
	s->sysenter_esp = 7;
	s->sysenter_eip = 8;
	vm.p->svm->vmload(vm.lp, (uint64_t)vmcb);
	CPU_VM_CODE_BYTES(&vm, 0x64, 0x48, 0x8d, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x01, 0xf8, 0xf4);
	assert_int_equal(run(), SVM_EXIT_HLT); /* lea; swapgs */
	memset(&s->fs, 0, sizeof(s->fs));
	s->star = s->lstar = s->cstar = s->sfmask = s->kernel_gs_base = 0;
	s->sysenter_cs = s->sysenter_esp = s->sysenter_eip = 0;
	vm.p->svm->vmsave(vm.lp, (uint64_t)vmcb);
	assert_int_equal(s->fs.base, 0x123456);
	assert_int_equal(s->star, 1);
	assert_int_equal(s->lstar, 2);
	assert_int_equal(s->cstar, 3);
	assert_int_equal(s->sfmask, 4);
	assert_int_equal(s->gs.base, 5); /* what SWAPGS exchanged */
	assert_int_equal(s->kernel_gs_base, 0);
	assert_int_equal(s->sysenter_cs, 6);
	assert_int_equal(s->sysenter_esp, 7);
	assert_int_equal(s->sysenter_eip, 8);
}

static void test_cpuid(void **state)
{
	uint32_t out[4];

	vm.p->svm->cpuid_8000000a(out);
	assert_int_equal(out[0], 1);
	assert_true(out[1] > 1);
	assert_true(out[3] & SVM_FEATURE_NPT);
	assert_false(out[3] & SVM_FEATURE_AVIC);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TS(f) cmocka_unit_test_setup_teardown(f, setup_shadow, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_checks), T(test_enable), T(test_instructions), T(test_not_intercepted),
		T(test_svm_instructions), T(test_selective_cr0), T(test_intercept_order), T(test_io), T(test_msr),
		T(test_pause_filter), T(test_exceptions), T(test_injection), T(test_exit_int_info),
		T(test_shutdown), T(test_kick), T(test_virtual_interrupt), T(test_v_tpr),
		T(test_interrupt_shadow), T(test_npf), T(test_tlb), T(test_accessed_dirty),
		TS(test_shadow), TS(test_paged_real_mode), T(test_clean_bits), T(test_vmload_vmsave),
		T(test_cpuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
