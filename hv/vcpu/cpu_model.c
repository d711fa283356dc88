/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPU models. A model is a list of feature words; what a guest sees is the
 * model's words and what the processor has. baseline-v1, v2 and v3 hold the
 * user-mode features of the x86-64 psABI levels of the same number, and system
 * features that every processor of that level has; "host" is everything the
 * processor offers. baseline-v2-amd is baseline-v2 by another vendor's name, for guests
 * whose 32-bit code uses SYSCALL.
 *
 * Sources: x86-64 psABI, section "Micro-architecture levels"; SDM volume 2,
 * CPUID; Linux Documentation/virt/kvm/x86/cpuid.rst for the paravirtual leaves.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/util.h"
#include "hv/vcpu/arch.h"

/* Feature words that are filtered bit by bit. */
enum feature_word { FW_1_ECX, FW_1_EDX, FW_7_EBX, FW_7_ECX, FW_7_EDX, FW_D1_EAX, FW_80000001_ECX,
		    FW_80000001_EDX, FW_80000007_EDX, FW_80000008_EBX, FW_COUNT };

struct vcpu_cpu_model {
	const char *name;
	const char *brand;	/* at most 47 characters; NULL: the processor's */
	uint32_t signature;	/* leaf 1 EAX; 0: the processor's */
	uint8_t physical_bits;	/* at most; 0: the processor's */
	bool amd;		/* AuthenticAMD; else, with a signature, GenuineIntel */
	uint64_t xcr0;		/* state components at most */
	uint32_t words[FW_COUNT];
};

/* Leaf 1 EDX: FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX
 * FXSR SSE SSE2. */
#define V1_1_EDX 0x0783fbffu
/* Leaf 1 ECX of every model: x2APIC, TSC deadline. */
#define V1_1_ECX (1u << 21 | 1u << 24)
/* SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT. */
#define V2_1_ECX (V1_1_ECX | 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23)
/* PCLMULQDQ, FMA, PCID, MOVBE, AES, XSAVE, AVX, F16C, RDRAND. */
#define V3_1_ECX (V2_1_ECX | 1u << 1 | 1u << 12 | 1u << 17 | 1u << 22 | 1u << 25 | 1u << 26 | \
		  1u << 28 | 1u << 29 | 1u << 30)
/* TSC_ADJUST. */
#define V1_7_EBX (1u << 1)
/* FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID. */
#define V3_7_EBX (V1_7_EBX | 1u << 0 | 1u << 3 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10)
/* SPEC_CTRL, ARCH_CAPABILITIES: added by build_leaf7(), they say what does not threaten us. */
#define ALL_7_EDX (1u << 26 | 1u << 29)
/* SYSCALL, NX, LM. */
#define V1_80000001_EDX (1u << 11 | 1u << 20 | 1u << 29)
/* RDTSCP. */
#define V2_80000001_EDX (V1_80000001_EDX | 1u << 27)
/* 1 GiB pages. */
#define V3_80000001_EDX (V2_80000001_EDX | 1u << 26)

static const struct vcpu_cpu_model models[] = {
	{
		.name = "baseline-v1", .brand = "hvd virtual CPU baseline-v1",
		.signature = 0x00010676, .physical_bits = 40, .xcr0 = 0,
		.words = {
			[FW_1_ECX] = V1_1_ECX, [FW_1_EDX] = V1_1_EDX, [FW_7_EBX] = V1_7_EBX,
			[FW_80000001_EDX] = V1_80000001_EDX,
		},
	},
	{
		.name = "baseline-v2", .brand = "hvd virtual CPU baseline-v2",
		.signature = 0x000206c1, .physical_bits = 40, .xcr0 = 0,
		.words = {
			[FW_1_ECX] = V2_1_ECX, [FW_1_EDX] = V1_1_EDX, [FW_7_EBX] = V1_7_EBX,
			[FW_80000001_ECX] = 1u << 0 /* LAHF */,
			[FW_80000001_EDX] = V2_80000001_EDX,
		},
	},
	{
		.name = "baseline-v2-amd", .brand = "hvd virtual CPU baseline-v2-amd", .amd = true,
		.signature = 0x00600f12, .physical_bits = 40, .xcr0 = 0,
		.words = {
			[FW_1_ECX] = V2_1_ECX, [FW_1_EDX] = V1_1_EDX, [FW_7_EBX] = V1_7_EBX,
			[FW_80000001_ECX] = 1u << 0 /* LAHF */,
			[FW_80000001_EDX] = V2_80000001_EDX,
		},
	},
	{
		.name = "baseline-v3", .brand = "hvd virtual CPU baseline-v3",
		.signature = 0x000306c3, .physical_bits = 40, .xcr0 = 7,
		.words = {
			[FW_1_ECX] = V3_1_ECX, [FW_1_EDX] = V1_1_EDX, [FW_7_EBX] = V3_7_EBX,
			[FW_D1_EAX] = 1u << 0 /* XSAVEOPT */,
			[FW_80000001_ECX] = 1u << 0 | 1u << 5 /* LZCNT */ | 1u << 8 /* PREFETCHW */,
			[FW_80000001_EDX] = V3_80000001_EDX,
		},
	},
	{
		.name = "host", .xcr0 = ~0ULL,
		.words = {
			/* All but what belongs to hypervisors, monitors and SMX (added later). */
			[FW_1_ECX] = ~(1u << 2 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 |
				       1u << 15 | 1u << 27 | 1u << 31),
			[FW_1_EDX] = ~(1u << 28 | 1u << 21 | 1u << 22 | 1u << 29 | 1u << 31),
			[FW_7_EBX] = ~(1u << 2), [FW_7_ECX] = ~(1u << 4), [FW_7_EDX] = 1u << 4,
			[FW_D1_EAX] = 0xfu & ~(1u << 3),
			[FW_80000001_ECX] = ~(1u << 2), [FW_80000001_EDX] = ~0u,
			[FW_80000007_EDX] = 1u << 8 /* invariant TSC */,
			[FW_80000008_EBX] = 1u << 0 | 1u << 9 /* CLZERO, WBNOINVD */,
		},
	},
};

static const char *const model_names[] = {
	"baseline-v1", "baseline-v2", "baseline-v2-amd", "baseline-v3", "host", NULL,
};

const struct vcpu_cpu_model *cpu_model_find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(models); i++) {
		if (!strcmp(models[i].name, name ? name : "baseline-v2"))
			return &models[i];
	}
	return NULL;
}

const char *cpu_model_name(const struct vcpu_cpu_model *model)
{
	return model->name;
}

const char *const *cpu_model_names(void)
{
	return model_names;
}

struct builder {
	const struct vcpu_cpu_model *model;
	const struct hv_processor_ops *processor;
	struct vcpu_cpuid_table *out;
	uint32_t tsc_khz;
	bool shadow;
	bool overflow;
};

static uint32_t *add_entry(struct builder *b, uint32_t leaf, uint32_t subleaf, bool indexed)
{
	static uint32_t scratch[4];
	struct vcpu_cpuid_entry *e;

	if (b->out->count == VCPU_CPUID_MAX) {
		b->overflow = true;
		return scratch;
	}
	e = &b->out->entries[b->out->count++];
	e->leaf = leaf;
	e->subleaf = subleaf;
	e->indexed = indexed;
	memset(e->out, 0, sizeof(e->out));
	return e->out;
}

static void processor_leaf(struct builder *b, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	uint32_t max[4];

	memset(out, 0, 4 * sizeof(*out));
	b->processor->cpuid(leaf & 0x80000000u, 0, max);
	if (leaf <= max[0])
		b->processor->cpuid(leaf, subleaf, out);
}

static void put_text(uint32_t *regs, const char *text)
{
	memcpy(regs, text, 16);
}

/* EBX, EDX, ECX. */
static void put_vendor(uint32_t *regs, const char name[12])
{
	memcpy(&regs[1], name, 4);
	memcpy(&regs[3], name + 4, 4);
	memcpy(&regs[2], name + 8, 4);
}

static void build_basic(struct builder *b)
{
	const struct vcpu_cpu_model *m = b->model;
	uint32_t p[4], *e;

	e = add_entry(b, 0, 0, false);
	processor_leaf(b, 0, 0, p);
	e[0] = 0x16;
	if (m->signature)
		put_vendor(e, m->amd ? "AuthenticAMD" : "GenuineIntel");
	else
		memcpy(&e[1], &p[1], 3 * sizeof(*e));
	e = add_entry(b, 1, 0, false);
	processor_leaf(b, 1, 0, p);
	e[0] = m->signature ? m->signature : p[0];
	e[1] = 8u << 8; /* CLFLUSH line, in 8 bytes; APIC id and count are dynamic */
	e[2] = p[2] & m->words[FW_1_ECX];
	e[2] |= 1u << 21 | 1u << 24; /* x2APIC and TSC deadline are the chips' */
	e[2] |= 1u << 31;	     /* a hypervisor is present */
	e[3] = p[3] & m->words[FW_1_EDX];
	e = add_entry(b, 2, 0, false);
	if (!m->amd)
		e[0] = 0x00ff0001; /* caches: see leaf 4; TLBs: none told */
}

/* Leaf 4: L1D and L1I of 32 KiB, L2 of 1 MiB each, one L3 of 16 MiB. */
static void build_caches(struct builder *b)
{
	static const struct { uint8_t type, level, shared_log2; uint16_t ways; uint32_t sets; } caches[] = {
		{ 1, 1, 0, 8, 64 }, { 2, 1, 0, 8, 64 }, { 3, 2, 0, 16, 1024 }, { 3, 3, 3, 16, 16384 },
	};
	uint32_t *e;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(caches) && !b->model->amd; i++) {
		e = add_entry(b, 4, i, true);
		e[0] = caches[i].type | (uint32_t)caches[i].level << 5 | 1u << 8 /* self-initialising */ |
		       ((1u << caches[i].shared_log2) - 1) << 14 | (HV_MAX_VCPUS - 1) << 26;
		e[1] = 63 | (uint32_t)(caches[i].ways - 1) << 22;
		e[2] = caches[i].sets - 1;
	}
	add_entry(b, 4, i, true);
}

static void build_leaf7(struct builder *b)
{
	const struct vcpu_cpu_model *m = b->model;
	uint32_t p[4], *e;

	processor_leaf(b, 7, 0, p);
	e = add_entry(b, 7, 0, true);
	e[0] = 2; /* subleaf 2 is the last */
	e[1] = (p[1] & m->words[FW_7_EBX]) | 1u << 1 /* TSC_ADJUST is ours */;
	e[2] = p[2] & m->words[FW_7_ECX];
	/* Shadow page tables cannot tell what CR0.WP = 0 allows from what a key denies. */
	if (b->shadow)
		e[2] &= ~(1u << 3 /* PKU */ | 1u << 31 /* PKS */);
	/*
	 * SPEC_CTRL with IBRS always in force, and ARCH_CAPABILITIES that deny the
	 * known leaks: a software processor never lets a guest's branch target or
	 * load address reach the host's predictors as one. A guest then leaves out
	 * its costly work-arounds.
	 */
	e[3] = (p[3] & m->words[FW_7_EDX]) | ALL_7_EDX;
	add_entry(b, 7, 1, true);
	add_entry(b, 7, 2, true)[3] = 1u << 4; /* BHI_CTRL, for kernels that ask for BHI_DIS_S */
}

static void build_xsave(struct builder *b)
{
	uint64_t mask, have;
	uint32_t p[4], *e;
	unsigned int i;

	processor_leaf(b, 0xd, 0, p);
	have = p[0] | (uint64_t)p[3] << 32;
	mask = have & b->model->xcr0;
	if (!(cpuid_find(b->out, 7, 0)->out[2] & 1u << 3))
		mask &= ~(1ULL << 9); /* PKRU comes with PKU */
	if (!mask || !(b->out->entries[1].out[2] & 1u << 26)) {
		add_entry(b, 0xd, 0, true);
		b->out->entries[1].out[2] &= ~(1u << 26 | 1u << 28 | 1u << 29 | 1u << 12);
		return;
	}
	e = add_entry(b, 0xd, 0, true);
	e[0] = (uint32_t)mask;
	e[3] = (uint32_t)(mask >> 32);
	e[1] = e[2] = 576; /* grows with the components below; EBX is dynamic */
	processor_leaf(b, 0xd, 1, p);
	add_entry(b, 0xd, 1, true)[0] = p[0] & b->model->words[FW_D1_EAX];
	for (i = 2; i < 32; i++) {
		uint32_t *c;

		if (!(mask & 1ULL << i))
			continue;
		processor_leaf(b, 0xd, i, p);
		c = add_entry(b, 0xd, i, true);
		memcpy(c, p, sizeof(p));
		if (p[0] + p[1] > e[2])
			e[1] = e[2] = p[0] + p[1];
	}
}

/* TSC = crystal * EBX / EAX; the crystal is the 1 GHz that drives the local APIC timer. */
static void build_frequencies(struct builder *b)
{
	uint32_t *e = add_entry(b, 0x15, 0, false);

	e[0] = 1000000;
	e[1] = b->tsc_khz;
	e[2] = 1000000000;
	e = add_entry(b, 0x16, 0, false);
	e[0] = e[1] = b->tsc_khz / 1000;
	e[2] = 100;
}

static void build_paravirtual(struct builder *b)
{
	uint32_t *e = add_entry(b, 0x40000000, 0, false);

	e[0] = 0x40000010;
	memcpy(&e[1], "KVMKVMKVM\0\0\0", 12);
	e = add_entry(b, 0x40000001, 0, false);
	/* NOP_IO_DELAY, CLOCKSOURCE2, STEAL_TIME, PV_SEND_IPI, CLOCKSOURCE_STABLE */
	e[0] = 1u << 1 | 1u << 3 | 1u << 5 | 1u << 11 | 1u << 24;
	e = add_entry(b, 0x40000010, 0, false);
	e[0] = b->tsc_khz;
	e[1] = 1000000; /* local APIC timer, kHz */
}

static void build_extended(struct builder *b)
{
	const struct vcpu_cpu_model *m = b->model;
	char brand[48];
	uint32_t p[4], *e;
	unsigned int i, bits;

	e = add_entry(b, 0x80000000, 0, false);
	e[0] = 0x80000008;
	memcpy(&e[1], &b->out->entries[0].out[1], 3 * sizeof(*e));
	processor_leaf(b, 0x80000001, 0, p);
	e = add_entry(b, 0x80000001, 0, false);
	e[0] = m->amd ? m->signature : 0;
	e[2] = p[2] & m->words[FW_80000001_ECX];
	e[3] = p[3] & m->words[FW_80000001_EDX];
	memset(brand, 0, sizeof(brand));
	if (m->brand)
		strncpy(brand, m->brand, sizeof(brand) - 1);
	for (i = 0; i < 3; i++) {
		e = add_entry(b, 0x80000002 + i, 0, false);
		if (m->brand)
			put_text(e, brand + 16 * i);
		else
			processor_leaf(b, 0x80000002 + i, 0, e);
	}
	if (m->amd) {
		e = add_entry(b, 0x80000005, 0, false);
		e[2] = e[3] = 32u << 24 | 8u << 16 | 1u << 8 | 64; /* L1D, L1I: 32 KiB, 8 ways */
	}
	e = add_entry(b, 0x80000006, 0, false);
	e[2] = 1024u << 16 | 8u << 12 | 64; /* L2: 1 MiB, 16 ways, 64 bytes a line */
	processor_leaf(b, 0x80000007, 0, p);
	add_entry(b, 0x80000007, 0, false)[3] = p[3] & m->words[FW_80000007_EDX];
	processor_leaf(b, 0x80000008, 0, p);
	bits = p[0] & 0xff;
	if (m->physical_bits && bits > m->physical_bits)
		bits = m->physical_bits;
	e = add_entry(b, 0x80000008, 0, false);
	/* Linear bits follow LA57, which is in leaf 7 only when the model has it. */
	e[0] = bits | ((cpuid_find(b->out, 7, 0)->out[2] & 1u << 16) ? 57u : 48u) << 8;
	e[1] = p[1] & m->words[FW_80000008_EBX];
}

int cpu_model_build(const struct vcpu_cpu_model *model, struct hv_vm *vm,
		    struct vcpu_cpuid_table *out)
{
	struct builder b = {
		.model = model, .processor = vm->processor, .out = out,
		.tsc_khz = vm_arch(vm)->tsc_khz, .shadow = vm->paging == HV_PAGING_SHADOW,
	};

	memset(out, 0, sizeof(*out));
	build_basic(&b);
	build_caches(&b);
	add_entry(&b, 6, 0, false)[0] = 1u << 2; /* the APIC timer never stops */
	build_leaf7(&b);
	add_entry(&b, 0xb, 0, true); /* dynamic */
	add_entry(&b, 0xb, 1, true);
	build_xsave(&b);
	build_frequencies(&b);
	build_paravirtual(&b);
	build_extended(&b);
	out->max_basic = 0x16;
	out->max_extended = 0x80000008;
	return b.overflow ? -ENOSPC : 0;
}
