/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's CPUID: the model's table and the bits that depend on the vCPU's
 * state. Source: SDM volume 2, CPUID.
 */
#include <errno.h>
#include <string.h>

#include "hv/vcpu/arch.h"
#include "hv/x86/defs.h"

const struct vcpu_cpuid_entry *cpuid_find(const struct vcpu_cpuid_table *t, uint32_t leaf,
					  uint32_t subleaf)
{
	unsigned int i;

	for (i = 0; i < t->count; i++) {
		const struct vcpu_cpuid_entry *e = &t->entries[i];

		if (e->leaf == leaf && (!e->indexed || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

static uint32_t word(const struct vcpu_cpuid_table *t, uint32_t leaf, unsigned int reg)
{
	const struct vcpu_cpuid_entry *e = cpuid_find(t, leaf, 0);

	return e ? e->out[reg] : 0;
}

static uint64_t cr4_allowed(const struct vcpu_cpuid_table *t)
{
	static const struct { uint8_t reg, bit; uint32_t leaf; uint64_t cr4; } rows[] = {
		{ 3, 1, 1, X86_CR4_VME | X86_CR4_PVI }, { 3, 4, 1, X86_CR4_TSD },
		{ 3, 2, 1, X86_CR4_DE }, { 3, 3, 1, X86_CR4_PSE }, { 3, 6, 1, X86_CR4_PAE },
		{ 3, 7, 1, X86_CR4_MCE }, { 3, 13, 1, X86_CR4_PGE },
		{ 3, 24, 1, X86_CR4_OSFXSR }, { 3, 25, 1, X86_CR4_OSXMMEXCPT },
		{ 2, 2, 7, X86_CR4_UMIP }, { 2, 16, 7, X86_CR4_LA57 }, { 1, 0, 7, X86_CR4_FSGSBASE },
		{ 2, 17, 1, X86_CR4_PCIDE }, { 2, 26, 1, X86_CR4_OSXSAVE }, { 1, 7, 7, X86_CR4_SMEP },
		{ 1, 20, 7, X86_CR4_SMAP }, { 2, 3, 7, X86_CR4_PKE }, { 2, 31, 7, X86_CR4_PKS },
	};
	uint64_t cr4 = X86_CR4_PCE;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (word(t, rows[i].leaf, rows[i].reg) & 1u << rows[i].bit)
			cr4 |= rows[i].cr4;
	}
	return cr4;
}

void cpuid_derive_caps(const struct vcpu_cpuid_table *t, struct vcpu_guest_caps *caps)
{
	uint32_t edx81 = word(t, 0x80000001, 3);

	memset(caps, 0, sizeof(*caps));
	caps->vendor_amd = word(t, 0, 1) == 0x68747541 || word(t, 0, 1) == 0x6f677948; /* "Auth", "Hygo" */
	caps->cr4_allowed = cr4_allowed(t);
	caps->longmode = edx81 & 1u << 29;
	if (edx81 & 1u << 11)
		caps->efer_allowed |= X86_EFER_SCE;
	if (caps->longmode)
		caps->efer_allowed |= X86_EFER_LME | X86_EFER_LMA;
	if (edx81 & 1u << 20)
		caps->efer_allowed |= X86_EFER_NXE;
	if (edx81 & 1u << 25)
		caps->efer_allowed |= X86_EFER_FFXSR;
	caps->xcr0_allowed = word(t, 0xd, 0) | (uint64_t)word(t, 0xd, 3) << 32;
	caps->xsave = word(t, 1, 2) & 1u << 26;
	caps->maxphyaddr = (uint8_t)word(t, 0x80000008, 0);
	caps->rdtscp = (edx81 & 1u << 27) || (word(t, 7, 2) & 1u << 22);
	caps->pcid = word(t, 1, 2) & 1u << 17;
	caps->x2apic = word(t, 1, 2) & 1u << 21;
	caps->tsc_deadline = word(t, 1, 2) & 1u << 24;
	caps->tsc_adjust = word(t, 7, 1) & 1u << 1;
	caps->arch_caps = word(t, 7, 3) & 1u << 29;
	caps->invpcid = word(t, 7, 1) & 1u << 10;
	caps->pku = word(t, 7, 2) & 1u << 3;
	caps->pks = word(t, 7, 2) & 1u << 31;
	if (word(t, 7, 3) & 1u << 26)
		caps->spec_ctrl_allowed = 1 | 1u << 10; /* IBRS, BHI_DIS_S */
	if (word(t, 7, 3) & 1u << 27)
		caps->spec_ctrl_allowed |= 2; /* STIBP */
}

/* Leaf 0xb: one thread a core, every vCPU a core of one package. */
static void topology_leaf(struct hv_vcpu *vcpu, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(*out));
	out[2] = subleaf & 0xff;
	out[3] = vcpu->id;
	if (subleaf == 0) {
		out[1] = 1;
		out[2] |= 1u << 8;
	} else if (subleaf == 1) {
		out[0] = 3; /* HV_MAX_VCPUS is 8 */
		out[1] = atomic_load_explicit(&vcpu->vm->nr_vcpus, memory_order_relaxed);
		out[2] |= 2u << 8;
	}
}

/* Size of the standard XSAVE area for the components in xcr0. */
static uint32_t xsave_size(const struct vcpu_cpuid_table *t, uint64_t xcr0)
{
	uint32_t size = 576;
	unsigned int i;

	for (i = 2; i < 32; i++) {
		const struct vcpu_cpuid_entry *e = cpuid_find(t, 0xd, i);

		if (e && (xcr0 & 1ULL << i) && e->out[0] + e->out[1] > size)
			size = e->out[0] + e->out[1];
	}
	return size;
}

static void leaf_1(struct hv_vcpu *vcpu, const struct hv_regs_cache *r, uint32_t out[4])
{
	unsigned int n = atomic_load_explicit(&vcpu->vm->nr_vcpus, memory_order_relaxed);
	uint64_t apic_base = vcpu->arch->apic_base;

	out[1] |= vcpu->id << 24;
	if (n > 1) {
		out[1] |= HV_MAX_VCPUS << 16;
		out[3] |= 1u << 28; /* HTT: the count is valid */
	}
	if (r->cr4 & X86_CR4_OSXSAVE)
		out[2] |= 1u << 27;
	if (vcpu->vm->irqchip_ops &&
	    vcpu->vm->irqchip_ops->rdmsr(vcpu, X86_MSR_APIC_BASE, &apic_base))
		apic_base = vcpu->arch->apic_base;
	if (!(apic_base & 1u << 11))
		out[3] &= ~(1u << 9);
	if (!vcpu->vm->irqchip_ops) /* no chips: no local APIC to speak of */
		out[2] &= ~(1u << 21 | 1u << 24);
}

void vcpu_cpuid(struct hv_vcpu *vcpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	struct hv_vm_arch *va = vm_arch(vcpu->vm);
	const struct vcpu_cpuid_table *t = &va->cpuid;
	const struct vcpu_cpuid_entry *e;
	const struct hv_regs_cache *r;

	/* Out of range: as the highest basic leaf, Intel's rule; hypervisor leaves read as 0. */
	if ((leaf < 0x40000000 && leaf > t->max_basic) || leaf > t->max_extended)
		leaf = t->max_basic;
	memset(out, 0, 4 * sizeof(*out));
	if (leaf == 0xb) {
		topology_leaf(vcpu, subleaf, out);
		return;
	}
	e = cpuid_find(t, leaf, subleaf);
	if (!e)
		return;
	memcpy(out, e->out, sizeof(e->out));
	switch (leaf) {
	case 0:
		if (vcpu->arch->misc_enable & VCPU_MISC_LIMIT_CPUID)
			out[0] = 2;
		break;
	case 0x80000001:
		if (vcpu->arch->misc_enable & VCPU_MISC_XD_DISABLE)
			out[3] &= ~(1u << 20);
		break;
	case 1:
		leaf_1(vcpu, vcpu_regs_read(vcpu), out);
		break;
	case 7:
		if (subleaf)
			break;
		r = vcpu_regs_read(vcpu);
		if (r->cr4 & X86_CR4_PKE)
			out[2] |= 1u << 4;
		break;
	case 0xd:
		if (subleaf == 0 && va->caps.xsave)
			out[1] = xsave_size(t, vcpu_regs_read(vcpu)->xcr0);
		if (subleaf == 1 && va->caps.xsave)
			out[1] = xsave_size(t, vcpu_regs_read(vcpu)->xcr0);
		break;
	}
}

int vcpu_emulate_cpuid(struct hv_vcpu *vcpu)
{
	struct hv_gprs *g = vcpu_gprs(vcpu);
	uint32_t out[4];

	vcpu_cpuid(vcpu, (uint32_t)g->r[X86_RAX], (uint32_t)g->r[X86_RCX], out);
	g->r[X86_RAX] = out[0];
	g->r[X86_RBX] = out[1];
	g->r[X86_RCX] = out[2];
	g->r[X86_RDX] = out[3];
	vcpu_skip_instruction(vcpu, 0);
	return 1;
}
