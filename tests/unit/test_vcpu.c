/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What hv/vcpu decides by itself: CPU models, control-register rules, MSRs, the
 * order of events. The vCPU is a real one that is not loaded; where a vendor would
 * touch its VMCS, a table of recorders stands in.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/hv.h"
#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"
#include "hv/x86/state.h"

struct fixture {
	struct hv_vm *vm;
	struct hv_vcpu *vcpu;
	const struct hv_vendor_ops *real;
	struct hv_vendor_ops fake;
	uint8_t *ram;
};

static struct { /* of the one vCPU under test */
	struct hv_event injected[8];
	unsigned int n, irq_windows, nmi_windows;
	bool irq_ok, nmi_ok;
} rec;

static void fake_inject(struct hv_vcpu *vcpu, const struct hv_event *event)
{
	assert_true(rec.n < 8);
	rec.injected[rec.n++] = *event;
}

static bool fake_irq_allowed(struct hv_vcpu *vcpu)
{
	return rec.irq_ok;
}

static bool fake_nmi_allowed(struct hv_vcpu *vcpu)
{
	return rec.nmi_ok;
}

static void fake_irq_window(struct hv_vcpu *vcpu)
{
	rec.irq_windows++;
}

static void fake_nmi_window(struct hv_vcpu *vcpu)
{
	rec.nmi_windows++;
}

static void fake_nothing(struct hv_vcpu *vcpu)
{
}

static void make(struct fixture *f, const char *model)
{
	const struct hv_vm_config config = { .name = "t", .cpu_model = model };
	const struct hv_ram_config ram = { .backing = HV_MEM_ANON, .size = 1 << 20, .fd = -1 };
	struct hv_memory_region region = { .memory_size = 1 << 20 };
	void *hva;

	memset(&rec, 0, sizeof(rec));
	assert_int_equal(hv_vm_create(&config, &f->vm), 0);
	assert_int_equal(hv_vm_ram_create(f->vm, &ram, &hva), 0);
	f->ram = hva;
	region.userspace_addr = (uintptr_t)hva;
	assert_int_equal(hv_vm_set_memory_region(f->vm, &region), 0);
	assert_int_equal(hv_vcpu_create(f->vm, 0, &f->vcpu), 0);
	f->real = f->vm->vendor;
	f->fake = *f->real;
	f->fake.inject_event = fake_inject;
	f->fake.interrupt_allowed = fake_irq_allowed;
	f->fake.nmi_allowed = fake_nmi_allowed;
	f->fake.enable_irq_window = fake_irq_window;
	f->fake.enable_nmi_window = fake_nmi_window;
	f->fake.clear_interrupt_shadow = fake_nothing;
	f->vm->vendor = &f->fake;
}

static void finish(struct fixture *f)
{
	f->vm->vendor = f->real;
	hv_vm_release(f->vm);
}

/* ---- CPU models ---------------------------------------------------------------------------- */

static uint32_t leaf(struct fixture *f, uint32_t n, uint32_t sub, int r)
{
	uint32_t out[4];

	vcpu_cpuid(f->vcpu, n, sub, out);
	return out[r];
}

static void models(void **state)
{
	static const struct { const char *name; uint32_t ecx1, not_ecx1, ebx7, ext_ecx; } rows[] = {
		/* no SSE3; the rest of the psABI's level 1 is in EDX */
		{ "baseline-v1", 1u << 31, 1u << 0 | 1u << 9 | 1u << 20 | 1u << 28, 0, 0 },
		{ "baseline-v2", 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23,
		  1u << 28, 0, 1u << 0 },
		{ "baseline-v2-amd", 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23,
		  1u << 28, 0, 1u << 0 },
		{ "baseline-v3", 1u << 12 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 29, 0,
		  1u << 3 | 1u << 5 | 1u << 8, 1u << 0 | 1u << 5 },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;
		uint32_t p[4];

		make(&f, rows[i].name);
		assert_string_equal(vcpu_vm_cpu_model(f.vm), rows[i].name);
		/* a processor with less than the model's level shows less */
		f.vm->processor->cpuid(1, 0, p);
		assert_int_equal(leaf(&f, 1, 0, 2) & rows[i].ecx1,
				 rows[i].ecx1 & (p[2] | 1u << 31));
		assert_int_equal(leaf(&f, 1, 0, 2) & rows[i].not_ecx1, 0);
		assert_int_equal(leaf(&f, 1, 0, 3) & 0x0783fbff & ~(1u << 9),
				 0x0783fbff & ~(1u << 9) & p[3]);
		f.vm->processor->cpuid(7, 0, p);
		assert_int_equal(leaf(&f, 7, 0, 1) & rows[i].ebx7, rows[i].ebx7 & p[1]);
		f.vm->processor->cpuid(0x80000001, 0, p);
		assert_int_equal(leaf(&f, 0x80000001, 0, 2) & rows[i].ext_ecx,
				 rows[i].ext_ecx & p[2]);
		/* VMX, SVM: never */
		assert_int_equal(leaf(&f, 1, 0, 2) & 1u << 5, 0);
		assert_int_equal(leaf(&f, 0x80000001, 0, 2) & 1u << 2, 0);
		assert_int_equal(leaf(&f, 0x80000008, 0, 0) & 0xff, 40);
		finish(&f);
	}
	assert_null(cpu_model_find("baseline-v9"));
	assert_string_equal(cpu_model_name(cpu_model_find(NULL)), "baseline-v2");
}

static void cpuid_dynamic(void **state)
{
	struct fixture f;
	uint32_t khz;

	make(&f, "baseline-v3");
	assert_int_equal(leaf(&f, 1, 0, 2) & 1u << 27, 0);
	vcpu_regs(f.vcpu)->cr4 |= X86_CR4_OSXSAVE;
	assert_int_not_equal(leaf(&f, 1, 0, 2) & 1u << 27, 0);
	assert_int_equal(leaf(&f, 0xd, 0, 1), 576);
	vcpu_regs(f.vcpu)->xcr0 = 7;
	assert_int_equal(leaf(&f, 0xd, 0, 1), 832);
	/* KVM's paravirtual leaves, frequencies without calibration */
	assert_int_equal(leaf(&f, 0x40000000, 0, 1), 0x4b4d564b);
	assert_int_equal(leaf(&f, 0x40000001, 0, 0) & 0x1000028, 0x1000028);
	khz = leaf(&f, 0x40000010, 0, 0);
	assert_int_equal(khz, vcpu_tsc_khz(f.vm));
	assert_int_equal((uint64_t)leaf(&f, 0x15, 0, 2) * leaf(&f, 0x15, 0, 1) / leaf(&f, 0x15, 0, 0),
			 (uint64_t)khz * 1000);
	/* no chips: no x2APIC, no TSC deadline; beyond the last leaf: as the last */
	assert_int_equal(leaf(&f, 1, 0, 2) & (1u << 21 | 1u << 24), 0);
	assert_int_equal(leaf(&f, 0x1000, 0, 0), leaf(&f, 0x16, 0, 0));
	assert_int_equal(leaf(&f, 0xb, 0, 2), 0x100);
	assert_int_equal(leaf(&f, 0xb, 1, 2), 0x201);
	assert_int_equal(leaf(&f, 0xb, 2, 1), 0);
	finish(&f);
}

/* IA32_MISC_ENABLE: what firmware sets for kernels that are older than the processor. */
static void cpuid_limited(void **state)
{
	struct fixture f;

	make(&f, "baseline-v2");
	assert_true(leaf(&f, 0, 0, 0) > 2);
	assert_true(leaf(&f, 0x80000001, 0, 3) & 1u << 20);
	assert_int_equal(vcpu_set_msr(f.vcpu, 0x1a0, 0x1801 | 1ull << 22 | 1ull << 34, HV_MSR_GUEST), 0);
	assert_int_equal(leaf(&f, 0, 0, 0), 2);
	assert_int_equal(leaf(&f, 0, 0, 1), 0x756e6547);
	assert_false(leaf(&f, 0x80000001, 0, 3) & 1u << 20);
	assert_int_equal(vcpu_set_efer(f.vcpu, X86_EFER_NXE), 1);
	assert_int_equal(vcpu_set_msr(f.vcpu, 0x1a0, 0x1801, HV_MSR_GUEST), 0);
	assert_true(leaf(&f, 0, 0, 0) > 2);
	assert_int_equal(vcpu_set_efer(f.vcpu, X86_EFER_NXE), 0);
	finish(&f);
}

/* ---- control registers ------------------------------------------------------------------------ */

static void long_mode(struct fixture *f)
{
	struct hv_regs_cache *r = vcpu_regs(f->vcpu);

	r->cr0 = 0x80000031;
	r->cr4 = X86_CR4_PAE;
	r->efer = X86_EFER_LME | X86_EFER_LMA;
	r->seg[HV_SEG_CS].ar = 0xa09b;
}

static void cr0_rules(void **state)
{
	struct fixture f;
	struct hv_regs_cache *r;

	make(&f, "baseline-v3");
	r = vcpu_regs(f.vcpu);
	assert_int_equal(vcpu_set_cr0(f.vcpu, 1ull << 32), 1);
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PG), 1);	     /* PG without PE */
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_NW), 1);	     /* NW without CD */
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE), 0);
	assert_int_equal(r->cr0, X86_CR0_PE | X86_CR0_ET);
	/* reserved bits below 32 are ignored */
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | 1u << 10), 0);
	assert_int_equal(r->cr0, X86_CR0_PE | X86_CR0_ET);
	/* long mode needs PAE, and a code segment without L */
	assert_int_equal(vcpu_set_efer(f.vcpu, X86_EFER_LME), 0);
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | X86_CR0_PG), 1);
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE), 0);
	r->seg[HV_SEG_CS].ar |= X86_AR_L;
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | X86_CR0_PG), 1);
	r->seg[HV_SEG_CS].ar &= ~X86_AR_L;
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | X86_CR0_PG), 0);
	assert_true(r->efer & X86_EFER_LMA);
	/* and is left from compatibility mode, without PCIDs */
	r->seg[HV_SEG_CS].ar |= X86_AR_L;
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE), 1);
	r->seg[HV_SEG_CS].ar &= ~X86_AR_L;
	r->cr4 |= X86_CR4_PCIDE;
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE), 1);
	r->cr4 &= ~X86_CR4_PCIDE;
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE), 0);
	assert_false(r->efer & X86_EFER_LMA);
	finish(&f);
}

static void pae_pdptrs(void **state)
{
	const uint64_t good[4] = { 0x2001, 0, 0x3001, 0 }, bad[4] = { 0x2001, 0x3 << 1 | 1, 0, 0 };
	struct fixture f;
	struct hv_regs_cache *r;

	make(&f, "baseline-v2");
	r = vcpu_regs(f.vcpu);
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE), 0);
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE), 0);
	r->cr3 = 0x1020;
	memcpy(f.ram + 0x1020, bad, sizeof(bad));
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | X86_CR0_PG), 1);
	assert_false(r->cr0 & X86_CR0_PG);
	memcpy(f.ram + 0x1020, good, sizeof(good));
	assert_int_equal(vcpu_set_cr0(f.vcpu, X86_CR0_PE | X86_CR0_PG), 0);
	assert_memory_equal(r->pdptrs, good, sizeof(good));
	/* MOV CR3 loads them too, and fails whole */
	memcpy(f.ram + 0x1040, bad, sizeof(bad));
	assert_int_equal(vcpu_set_cr3(f.vcpu, 0x1040), 1);
	assert_int_equal(r->cr3, 0x1020);
	assert_int_equal(vcpu_set_cr3(f.vcpu, 0xfffff000), 1); /* no memory there */
	finish(&f);
}

static void cr3_cr4_cr8_efer_rules(void **state)
{
	struct fixture f;
	struct hv_regs_cache *r;

	make(&f, "baseline-v3");
	r = vcpu_regs(f.vcpu);
	long_mode(&f);
	assert_int_equal(vcpu_set_cr3(f.vcpu, 1ull << 40), 1);
	assert_int_equal(vcpu_set_cr3(f.vcpu, 0x1000), 0);
	assert_int_equal(vcpu_set_cr4(f.vcpu, 0), 1);			 /* PAE off in long mode */
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE | X86_CR4_VMXE), 1);
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE | 1ull << 63), 1);
	r->cr3 = 0x1001;
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE | X86_CR4_PCIDE), 1); /* CR3[11:0] */
	r->cr3 = 0x1000;
	assert_int_equal(vcpu_set_cr4(f.vcpu, X86_CR4_PAE | X86_CR4_PCIDE), 0);
	assert_int_equal(vcpu_set_cr3(f.vcpu, 0x2005 | 1ull << 63), 0);	 /* no-flush bit */
	assert_int_equal(r->cr3, 0x2005);
	assert_int_equal(vcpu_set_cr8(f.vcpu, 0x10), 1);
	assert_int_equal(vcpu_set_cr8(f.vcpu, 0xf), 0);
	assert_int_equal(vcpu_get_cr8(f.vcpu), 0xf);
	assert_int_equal(vcpu_set_efer(f.vcpu, r->efer & ~X86_EFER_LME), 1); /* while paging */
	assert_int_equal(vcpu_set_efer(f.vcpu, r->efer | X86_EFER_SVME), 1);
	assert_int_equal(vcpu_set_efer(f.vcpu, X86_EFER_LME | X86_EFER_NXE), 0);
	assert_true(r->efer & X86_EFER_LMA); /* not the guest's to write */
	assert_int_equal(vcpu_set_xcr0(f.vcpu, 0), 1);
	assert_int_equal(vcpu_set_xcr0(f.vcpu, 5), 1); /* AVX without SSE */
	assert_int_equal(vcpu_set_xcr0(f.vcpu, 7), 0);
	assert_int_equal(vcpu_set_xcr0(f.vcpu, 0xe7), 1);
	assert_int_equal(vcpu_set_dr(f.vcpu, 7, 1ull << 32), 1);
	assert_int_equal(vcpu_set_dr(f.vcpu, 6, 0), 0);
	assert_int_equal(vcpu_get_dr(f.vcpu, 6), X86_DR6_INIT);
	finish(&f);
}

/* ---- MSRs ------------------------------------------------------------------------------------------ */

static void msrs(void **state)
{
	static const struct { uint32_t index; uint64_t value; int result; } writes[] = {
		{ 0xdeadbeef, 0, 1 },			/* no such MSR */
		{ 0x277, 0x0007040600070406, 0 },	/* PAT */
		{ 0x277, 0x0007040600070402, 1 },	/* type 2 does not exist */
		{ 0x2ff, 0xc06, 0 }, { 0x2ff, 0xc02, 1 }, { 0x2ff, 1u << 12, 1 },
		{ 0x250, 0x0606060606060606, 0 }, { 0x250, 0x0606060606060602, 1 },
		{ 0x200, 0x80000006, 0 }, { 0x200, 0x80000106, 1 }, { 0x201, 1ull << 45, 1 },
		{ 0xfe, 0, 1 }, { 0x10a, 0, 1 },	/* read-only */
		{ 0x48, 1, 0 }, { 0x48, 1u << 5, 1 }, { 0x49, 1, 0 }, { 0x49, 2, 1 },
		{ 0x140, 0, 0 }, { 0x140, 1, 1 },
		{ 0xc0000100, 0xffff800000000000, 0 }, { 0xc0000100, 1ull << 56, 1 },
		{ 0xc0000082, 1ull << 56, 1 }, { 0xc0000103, 1ull << 32, 1 },
		{ 0x176, 1ull << 56, 1 }, { 0x176, 0x00ff800000000000, 0 }, { 0x174, 0x10, 0 },
		{ 0x1d9, 2, 0 }, { 0x1d9, 1u << 8, 1 },
		{ 0x8b, 0, 0 }, { 0x3a, 5, 1 }, { 0x1a0, ~0ull, 1 },
		{ 0x1a0, 0x400c51809, 0 }, { 0x1a0, 0x1809 | 1u << 17, 1 },
		{ 0x6e1, 0, 1 },			/* PKRS without PKS */
		{ 0x4b564d03, 0x1002, 1 },		/* reserved bits of steal time */
		{ 0x800, 0, 1 }, { 0x6e0, 0, 1 },	/* no chips */
	};
	struct fixture f;
	uint64_t v = 0;
	size_t i;

	make(&f, "baseline-v2");
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		int r = vcpu_set_msr(f.vcpu, writes[i].index, writes[i].value, HV_MSR_GUEST);

		if (r != writes[i].result)
			print_message("# MSR 0x%x\n", writes[i].index);
		assert_int_equal(r, writes[i].result);
	}
	assert_int_equal(vcpu_get_msr(f.vcpu, 0x49, &v, HV_MSR_GUEST), 1); /* write-only */
	assert_int_equal(vcpu_get_msr(f.vcpu, 0xdeadbeef, &v, HV_MSR_HOST), -ENOENT);
	assert_int_equal(vcpu_get_msr(f.vcpu, 0xc0000100, &v, HV_MSR_GUEST), 0);
	assert_int_equal(v, 0xffff800000000000);
	assert_int_equal(vcpu_get_msr(f.vcpu, 0x200, &v, HV_MSR_GUEST), 0);
	assert_int_equal(v, 0x80000006);
	finish(&f);
}

static void tsc_and_clock(void **state)
{
	struct fixture f;
	uint64_t a = 0, b = 0, adjust = 0, t0, t1;
	uint32_t version = 1;

	make(&f, "baseline-v2");
	assert_int_equal(vcpu_set_msr(f.vcpu, 0x10, 1000000000000, HV_MSR_GUEST), 0);
	assert_int_equal(vcpu_get_msr(f.vcpu, 0x10, &a, HV_MSR_GUEST), 0);
	assert_true(a >= 1000000000000 && a < 1000000000000 + 60ull * vcpu_tsc_khz(f.vm) * 1000);
	/* a write of the TSC shows in TSC_ADJUST, and a write of that moves the TSC */
	assert_int_equal(vcpu_get_msr(f.vcpu, 0x3b, &adjust, HV_MSR_GUEST), 0);
	assert_true(adjust != 0);
	assert_int_equal(vcpu_set_msr(f.vcpu, 0x3b, adjust + 5000000000000, HV_MSR_GUEST), 0);
	assert_int_equal(vcpu_get_msr(f.vcpu, 0x10, &b, HV_MSR_GUEST), 0);
	assert_true(b - a >= 5000000000000);
	/* the paravirtual clock's page agrees with the clock, whatever the TSC was set to */
	assert_int_equal(vcpu_set_msr(f.vcpu, 0x4b564d01, 0x4001, HV_MSR_GUEST), 0);
	t0 = vcpu_vm_clock_ns(f.vm);
	pvclock_update(f.vcpu);
	memcpy(&version, f.ram + 0x4000, 4);
	assert_true(version && !(version & 1));
	{
		uint64_t stamp, base, delta;
		uint32_t mul;
		int8_t shift;

		memcpy(&stamp, f.ram + 0x4008, 8);
		memcpy(&base, f.ram + 0x4010, 8);
		memcpy(&mul, f.ram + 0x4018, 4);
		memcpy(&shift, f.ram + 0x401c, 1);
		assert_int_equal(f.ram[0x401d], 1); /* stable across vCPUs */
		delta = vcpu_read_tsc(f.vcpu) - stamp;
		delta = shift < 0 ? delta >> -shift : delta << shift;
		t1 = base + (uint64_t)(((unsigned __int128)delta * mul) >> 32);
	}
	assert_true(t1 >= t0 && t1 <= vcpu_vm_clock_ns(f.vm));
	vcpu_vm_set_clock_ns(f.vm, 77000000000ull);
	t0 = vcpu_vm_clock_ns(f.vm);
	assert_true(t0 >= 77000000000ull && t0 < 137000000000ull);
	finish(&f);
}

/* ---- events --------------------------------------------------------------------------------------------- */

static void expect_injected(unsigned int n, uint8_t type, uint8_t vector)
{
	assert_int_equal(rec.n, n);
	assert_int_equal(rec.injected[n - 1].type, type);
	assert_int_equal(rec.injected[n - 1].vector, vector);
}

static void exception_classes(void **state)
{
	static const struct { uint8_t first, second, result; } rows[] = {
		{ X86_GP, X86_NP, X86_DF }, { X86_PF, X86_GP, X86_DF }, { X86_PF, X86_PF, X86_DF },
		{ X86_GP, X86_PF, X86_PF }, { X86_DB, X86_GP, X86_GP }, { X86_GP, X86_UD, X86_UD },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		make(&f, NULL);
		vcpu_regs(f.vcpu)->cr0 = X86_CR0_PE;
		vcpu_queue_exception_e(f.vcpu, rows[i].first, 0);
		vcpu_queue_exception_e(f.vcpu, rows[i].second, 0);
		assert_int_equal(events_inject_pending(f.vcpu), 0);
		expect_injected(1, X86_EV_EXC, rows[i].result);
		finish(&f);
	}
}

static void triple(void **state)
{
	struct fixture f;

	make(&f, NULL);
	vcpu_queue_exception_e(f.vcpu, X86_DF, 0);
	vcpu_queue_exception_e(f.vcpu, X86_GP, 0);
	assert_true(vcpu_check_request(f.vcpu, HV_REQ_TRIPLE_FAULT));
	finish(&f);
}

static void payloads(void **state)
{
	struct fixture f;

	make(&f, NULL);
	vcpu_regs(f.vcpu)->cr0 = X86_CR0_PE;
	vcpu_queue_page_fault(f.vcpu, 0x1234, 2);
	assert_int_equal(vcpu_regs_read(f.vcpu)->cr2, 0); /* not before it is delivered */
	events_inject_pending(f.vcpu);
	expect_injected(1, X86_EV_EXC, X86_PF);
	assert_true(rec.injected[0].has_error && rec.injected[0].error_code == 2);
	assert_int_equal(vcpu_regs_read(f.vcpu)->cr2, 0x1234);
	assert_true(vcpu_get_rflags(f.vcpu) & X86_FL_RF);
	finish(&f);
	/* real mode pushes no error code */
	make(&f, NULL);
	vcpu_queue_exception_e(f.vcpu, X86_GP, 0x10);
	events_inject_pending(f.vcpu);
	assert_false(rec.injected[0].has_error);
	finish(&f);
}

static void injection_order(void **state)
{
	const struct hv_event lost = { .vector = 0x33, .type = X86_EV_INTR };
	struct fixture f;

	make(&f, NULL);
	rec.irq_ok = rec.nmi_ok = true;
	/* what an exit interrupted comes first, and keeps the rest waiting */
	vcpu_requeue_event(f.vcpu, &lost);
	assert_int_equal(vcpu_queue_user_interrupt(f.vcpu, 0x44), 0);
	vcpu_queue_nmi(f.vcpu);
	events_process_nmi(f.vcpu);
	events_inject_pending(f.vcpu);
	expect_injected(1, X86_EV_INTR, 0x33);
	assert_int_equal(rec.nmi_windows, 1);
	assert_int_equal(rec.irq_windows, 1);
	/* delivered: then the NMI, then the interrupt */
	vcpu_clear_injected(f.vcpu);
	events_inject_pending(f.vcpu);
	expect_injected(2, X86_EV_NMI, X86_NMI);
	vcpu_clear_injected(f.vcpu);
	events_inject_pending(f.vcpu);
	expect_injected(3, X86_EV_INTR, 0x44);
	vcpu_clear_injected(f.vcpu);
	events_inject_pending(f.vcpu);
	assert_int_equal(rec.n, 3);
	/* an abandoned entry hands the same event over again, without a second acknowledge */
	assert_int_equal(vcpu_queue_user_interrupt(f.vcpu, 0x45), 0);
	events_inject_pending(f.vcpu);
	events_inject_pending(f.vcpu);
	expect_injected(5, X86_EV_INTR, 0x45);
	finish(&f);
}

static void windows(void **state)
{
	struct fixture f;
	int i;

	make(&f, NULL);
	rec.irq_ok = rec.nmi_ok = false;
	assert_int_equal(vcpu_queue_user_interrupt(f.vcpu, 0x44), 0);
	/* three NMIs: one may be latched while another is in progress, the third is lost */
	for (i = 0; i < 3; i++)
		vcpu_queue_nmi(f.vcpu);
	events_process_nmi(f.vcpu);
	events_inject_pending(f.vcpu);
	assert_int_equal(rec.n, 0);
	assert_int_equal(rec.irq_windows, 1);
	assert_int_equal(rec.nmi_windows, 1);
	assert_int_equal(f.vcpu->arch->nmi_pending, 1);
	assert_false(events_deliverable(f.vcpu)); /* HLT with IF = 0 goes on */
	rec.nmi_ok = true;
	assert_true(events_deliverable(f.vcpu));
	finish(&f);
}

static int setup(void **state)
{
	int r = hv_init(&(struct hv_init){ .version = HV_API_VERSION });

	return r ? r : hv_thread_enter();
}

static int teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models), cmocka_unit_test(cpuid_dynamic),
		cmocka_unit_test(cpuid_limited),
		cmocka_unit_test(cr0_rules), cmocka_unit_test(pae_pdptrs),
		cmocka_unit_test(cr3_cr4_cr8_efer_rules), cmocka_unit_test(msrs),
		cmocka_unit_test(tsc_and_clock), cmocka_unit_test(exception_classes),
		cmocka_unit_test(triple), cmocka_unit_test(payloads),
		cmocka_unit_test(injection_order), cmocka_unit_test(windows),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
