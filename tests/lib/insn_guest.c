/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/x86/defs.h"
#include "tests/lib/insn_guest.h"

#define HANDLERS 0x600u /* 4 bytes a vector */
#define GDT	 0x1000u
#define IDT	 0x2000u
#define TSS	 0x3000u
#define PML4	 INSN_GUEST_PML4
#define STACK	 0x9000u /* tops */
#define STACK0	 0xa000u
#define PORT_END 0x80
#define PORT_EXC 0x81

enum { SEL_CODE32 = 0x08, SEL_DATA = 0x10, SEL_CODE64 = 0x18, SEL_UCODE32 = 0x23, SEL_UDATA = 0x2b,
       SEL_UCODE64 = 0x33, SEL_CODE16 = 0x38, SEL_TSS = 0x40 };

static void put(struct insn_guest *g, uint32_t at, uint64_t value, unsigned int size)
{
	memcpy(g->ram + at, &value, size);
}

static void put_tables(struct insn_guest *g)
{
	static const uint64_t gdt[] = {
		0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff,
		0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff, 0x008f9b000000ffff,
		0x000089003000007f, 0,
	};
	unsigned int i;

	memcpy(g->ram + GDT, gdt, sizeof(gdt));
	put(g, PML4, (PML4 + 0x1000) | 7, 8);
	put(g, PML4 + 0x1000, (PML4 + 0x2000) | 7, 8);
	put(g, PML4 + 0x2000, 0 | 0x87, 8);
	for (i = 0; i < 32; i++) {
		put(g, HANDLERS + 4 * i, 0xf4f400e6 | PORT_EXC << 8, 4); /* out %al, $EXC; hlt */
		put(g, 4 * i, HANDLERS + 4 * i, 4);
	}
}

/* 32-bit and 64-bit gates share the table, one kind at a time. */
static void put_idt(struct insn_guest *g, bool longmode)
{
	unsigned int i;

	memset(g->ram + IDT, 0, 0x1000);
	for (i = 0; i < 32; i++) {
		uint64_t gate = (HANDLERS + 4 * i) | 0xeeULL << 40 |
				(uint64_t)(longmode ? SEL_CODE64 : SEL_CODE32) << 16;

		put(g, IDT + i * (longmode ? 16 : 8), gate, 8);
	}
	put(g, TSS + 4, STACK0, 8); /* RSP0, or ESP0 and SS0 */
	if (!longmode)
		put(g, TSS + 8, SEL_DATA, 2);
	put(g, TSS + 0x66, 0x68, 2); /* an I/O map that allows ports 0 to 0xaf */
}

static struct hv_seg code_seg(const struct insn_guest_run *run)
{
	struct hv_seg s = { .limit = 0xffffffff, .type = 11, .present = 1, .s = 1, .g = 1,
			    .dpl = (uint8_t)run->cpl };

	switch (run->mode) {
	case GUEST_LONG:
		s.l = 1;
		s.selector = run->cpl ? SEL_UCODE64 : SEL_CODE64;
		break;
	case GUEST_PROT16:
		s.selector = SEL_CODE16;
		break;
	default:
		s.db = 1;
		s.selector = run->cpl ? SEL_UCODE32 : SEL_CODE32;
		break;
	}
	return s;
}

static void flat_state(struct hv_sregs *s, const struct insn_guest_run *run)
{
	struct hv_seg data = { .limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1,
			       .dpl = (uint8_t)run->cpl,
			       .selector = run->cpl ? SEL_UDATA : SEL_DATA };

	s->cs = code_seg(run);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	if (run->mode >= GUEST_COMPAT32) {
		s->cr0 |= X86_CR0_PG;
		s->cr3 = PML4;
		s->cr4 = X86_CR4_PAE;
		s->efer = X86_EFER_LME | X86_EFER_LMA;
	}
}

static void segmented_state(struct hv_sregs *s, enum insn_guest_mode mode)
{
	struct hv_seg seg = { .limit = 0xffff, .type = 3, .present = 1, .s = 1,
			      .dpl = mode == GUEST_V86 ? 3 : 0 };

	s->ds = s->es = s->fs = s->gs = s->ss = seg;
	seg.type = mode == GUEST_V86 ? 3 : 11;
	seg.selector = INSN_GUEST_CODE >> 4;
	seg.base = INSN_GUEST_CODE;
	s->cs = seg;
	s->cr0 = X86_CR0_ET | X86_CR0_NE | (mode == GUEST_V86 ? X86_CR0_PE : 0);
}

static void set_state(struct insn_guest *g, struct insn_guest_run *run, uint64_t rip)
{
	struct hv_sregs s;

	assert_int_equal(hv_vcpu_get_sregs(g->vcpu, &s), 0);
	s.cr3 = s.cr4 = s.efer = 0;
	s.gdt = (struct hv_dtab){ GDT, 0x4f };
	s.idt = run->mode == GUEST_REAL ? (struct hv_dtab){ 0, 0x3ff } : (struct hv_dtab){ IDT, 0x1ff };
	s.tr = (struct hv_seg){ .base = TSS, .limit = 0x7f, .selector = SEL_TSS, .type = 11,
				.present = 1 };
	if (run->mode == GUEST_REAL || run->mode == GUEST_V86)
		segmented_state(&s, run->mode);
	else
		flat_state(&s, run);
	s.cr0 |= run->cr0;
	s.cr4 |= run->cr4;
	s.efer |= run->efer;
	put_idt(g, run->mode >= GUEST_COMPAT32);
	assert_int_equal(hv_vcpu_set_sregs(g->vcpu, &s), 0);
	run->regs.rip = rip - s.cs.base;
	run->regs.rsp = STACK;
	/* IOPL 3: the end is a port access. */
	run->regs.rflags = 2 | 3u << 12 | run->rflags | (run->mode == GUEST_V86 ? X86_FL_VM : 0);
	assert_int_equal(hv_vcpu_set_regs(g->vcpu, &run->regs), 0);
}

/* What the exception pushed: [error code] ip cs flags, in the mode's width. */
static void read_frame(struct insn_guest *g, struct insn_guest_run *run)
{
	static const uint32_t with_error = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 |
					   1u << 14 | 1u << 17;
	unsigned int width = run->mode == GUEST_REAL ? 2 : run->mode >= GUEST_COMPAT32 ? 8 : 4;
	const uint8_t *at = g->ram + run->regs.rsp;

	run->vector = (int)((run->regs.rip - HANDLERS) / 4);
	if (run->mode != GUEST_REAL && (with_error >> run->vector & 1)) {
		memcpy(&run->error_code, at, 4);
		at += width;
	}
	run->fault_rip = 0;
	memcpy(&run->fault_rip, at, width);
}

void insn_guest_run(struct insn_guest *g, struct insn_guest_run *run)
{
	uint64_t rip = run->rip ? run->rip : INSN_GUEST_CODE;
	struct hv_run *page = hv_vcpu_run_page(g->vcpu);
	int r;

	assert_true(rip + run->len + 3 <= INSN_GUEST_RAM);
	memcpy(g->ram + rip, run->code, run->len);
	put(g, (uint32_t)rip + run->len, 0xf400e6 | PORT_END << 8, 3);
	set_state(g, run, rip);
	r = hv_vcpu_run(g->vcpu);
	assert_int_equal(hv_vcpu_get_regs(g->vcpu, &run->regs), 0);
	if (r || page->exit_reason != HV_EXIT_IO)
		print_message("# run %d, exit %u at 0x%llx\n", r, page->exit_reason,
			      (unsigned long long)run->regs.rip);
	assert_int_equal(r, 0);
	assert_int_equal(page->exit_reason, HV_EXIT_IO);
	run->vector = -1;
	run->error_code = 0;
	if (page->io.port == PORT_EXC)
		read_frame(g, run);
	else
		assert_int_equal(page->io.port, PORT_END);
}

void insn_guest_make(struct insn_guest *g, const char *vendor, const char *paging,
		     const char *model)
{
	const struct hv_vm_config config = { .name = "insn", .vendor = vendor, .paging = paging,
					     .cpu_model = model };
	const struct hv_ram_config ram = { .backing = HV_MEM_ANON, .size = INSN_GUEST_RAM, .fd = -1 };
	struct hv_memory_region region = { .memory_size = INSN_GUEST_RAM };
	void *hva;

	assert_int_equal(hv_vm_create(&config, &g->vm), 0);
	assert_int_equal(hv_vm_ram_create(g->vm, &ram, &hva), 0);
	region.userspace_addr = (uintptr_t)hva;
	assert_int_equal(hv_vm_set_memory_region(g->vm, &region), 0);
	assert_int_equal(hv_vcpu_create(g->vm, 0, &g->vcpu), 0);
	g->ram = hva;
	put_tables(g);
}

void insn_guest_finish(struct insn_guest *g)
{
	hv_vm_release(g->vm);
}
