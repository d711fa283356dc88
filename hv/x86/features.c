/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest's CPUID offers, as one bit set: instructions are undefined and control bits
 * reserved without their bit.
 */
#include "hv/x86/internal.h"

enum { EAX, EBX, ECX, EDX };

static const struct {
	uint32_t leaf;
	uint8_t subleaf, reg, bit, feature;
} table[] = {
	{ 1, 0, EDX, 1, X86_FEAT_VME }, { 1, 0, EDX, 2, X86_FEAT_DE }, { 1, 0, EDX, 3, X86_FEAT_PSE },
	{ 1, 0, EDX, 4, X86_FEAT_TSC }, { 1, 0, EDX, 5, X86_FEAT_MSR }, { 1, 0, EDX, 6, X86_FEAT_PAE },
	{ 1, 0, EDX, 7, X86_FEAT_MCE }, { 1, 0, EDX, 8, X86_FEAT_CX8 }, { 1, 0, EDX, 11, X86_FEAT_SEP },
	{ 1, 0, EDX, 13, X86_FEAT_PGE }, { 1, 0, EDX, 15, X86_FEAT_CMOV },
	{ 1, 0, EDX, 17, X86_FEAT_PSE36 }, { 1, 0, EDX, 19, X86_FEAT_CLFLUSH },
	{ 1, 0, EDX, 23, X86_FEAT_MMX }, { 1, 0, EDX, 24, X86_FEAT_FXSR },
	{ 1, 0, EDX, 25, X86_FEAT_SSE }, { 1, 0, EDX, 26, X86_FEAT_SSE2 },
	{ 1, 0, ECX, 0, X86_FEAT_SSE3 }, { 1, 0, ECX, 1, X86_FEAT_PCLMULQDQ },
	{ 1, 0, ECX, 3, X86_FEAT_MONITOR }, { 1, 0, ECX, 5, X86_FEAT_VMX },
	{ 1, 0, ECX, 6, X86_FEAT_SMX }, { 1, 0, ECX, 9, X86_FEAT_SSSE3 },
	{ 1, 0, ECX, 12, X86_FEAT_FMA }, { 1, 0, ECX, 13, X86_FEAT_CX16 },
	{ 1, 0, ECX, 17, X86_FEAT_PCID }, { 1, 0, ECX, 19, X86_FEAT_SSE41 },
	{ 1, 0, ECX, 20, X86_FEAT_SSE42 }, { 1, 0, ECX, 22, X86_FEAT_MOVBE },
	{ 1, 0, ECX, 23, X86_FEAT_POPCNT }, { 1, 0, ECX, 24, X86_FEAT_TSC_DEADLINE },
	{ 1, 0, ECX, 25, X86_FEAT_AES }, { 1, 0, ECX, 26, X86_FEAT_XSAVE },
	{ 1, 0, ECX, 28, X86_FEAT_AVX }, { 1, 0, ECX, 29, X86_FEAT_F16C },
	{ 1, 0, ECX, 30, X86_FEAT_RDRAND },
	{ 7, 0, EBX, 0, X86_FEAT_FSGSBASE }, { 7, 0, EBX, 3, X86_FEAT_BMI1 },
	{ 7, 0, EBX, 5, X86_FEAT_AVX2 }, { 7, 0, EBX, 6, X86_FEAT_FDP_EXCPTN_ONLY },
	{ 7, 0, EBX, 7, X86_FEAT_SMEP }, { 7, 0, EBX, 8, X86_FEAT_BMI2 },
	{ 7, 0, EBX, 10, X86_FEAT_INVPCID }, { 7, 0, EBX, 18, X86_FEAT_RDSEED },
	{ 7, 0, EBX, 19, X86_FEAT_ADX }, { 7, 0, EBX, 20, X86_FEAT_SMAP },
	{ 7, 0, EBX, 23, X86_FEAT_CLFLUSHOPT }, { 7, 0, EBX, 24, X86_FEAT_CLWB },
	{ 7, 0, EBX, 29, X86_FEAT_SHA },
	{ 7, 0, ECX, 2, X86_FEAT_UMIP }, { 7, 0, ECX, 3, X86_FEAT_PKU }, { 7, 0, ECX, 8, X86_FEAT_GFNI },
	{ 7, 0, ECX, 9, X86_FEAT_VAES }, { 7, 0, ECX, 10, X86_FEAT_VPCLMULQDQ },
	{ 7, 0, ECX, 16, X86_FEAT_LA57 }, { 7, 0, ECX, 22, X86_FEAT_RDPID },
	{ 7, 0, ECX, 27, X86_FEAT_MOVDIRI }, { 7, 0, ECX, 28, X86_FEAT_MOVDIR64B },
	{ 7, 0, ECX, 31, X86_FEAT_PKS }, { 7, 0, EDX, 14, X86_FEAT_SERIALIZE },
	{ 0xd, 1, EAX, 0, X86_FEAT_XSAVEOPT }, { 0xd, 1, EAX, 1, X86_FEAT_XSAVEC },
	{ 0xd, 1, EAX, 2, X86_FEAT_XGETBV1 }, { 0xd, 1, EAX, 3, X86_FEAT_XSAVES },
	{ 0x80000001u, 0, EDX, 11, X86_FEAT_SYSCALL }, { 0x80000001u, 0, EDX, 20, X86_FEAT_NX },
	{ 0x80000001u, 0, EDX, 25, X86_FEAT_FFXSR }, { 0x80000001u, 0, EDX, 26, X86_FEAT_GBPAGES },
	{ 0x80000001u, 0, EDX, 27, X86_FEAT_RDTSCP }, { 0x80000001u, 0, EDX, 29, X86_FEAT_LM },
	{ 0x80000001u, 0, ECX, 0, X86_FEAT_LAHF64 }, { 0x80000001u, 0, ECX, 2, X86_FEAT_SVM },
	{ 0x80000001u, 0, ECX, 4, X86_FEAT_CR8_LEGACY }, { 0x80000001u, 0, ECX, 5, X86_FEAT_ABM },
	{ 0x80000001u, 0, ECX, 6, X86_FEAT_SSE4A }, { 0x80000001u, 0, ECX, 8, X86_FEAT_3DNOWPREFETCH },
	{ 0x80000008u, 0, EBX, 0, X86_FEAT_CLZERO }, { 0x80000008u, 0, EBX, 9, X86_FEAT_WBNOINVD },
};

bool x86_has(const struct x86_cpu *cpu, enum x86_feature feature)
{
	return cpu->features[feature / 64] >> (feature % 64) & 1;
}

static bool leaf_exists(struct x86_cpu *cpu, uint32_t leaf)
{
	uint32_t out[4] = { 0 };

	cpu->ops->cpuid(cpu, leaf & 0x80000000u, 0, out);
	return out[EAX] >= leaf && (out[EAX] ^ leaf) < 0x10000;
}

void x86_features_changed(struct x86_cpu *cpu)
{
	uint32_t out[4] = { 0 };
	unsigned int i;

	memset(cpu->features, 0, sizeof(cpu->features));
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		unsigned int f = table[i].feature;

		memset(out, 0, sizeof(out));
		if (leaf_exists(cpu, table[i].leaf))
			cpu->ops->cpuid(cpu, table[i].leaf, table[i].subleaf, out);
		if (out[table[i].reg] >> table[i].bit & 1)
			cpu->features[f / 64] |= 1ull << (f % 64);
	}
	memset(out, 0, sizeof(out));
	cpu->ops->cpuid(cpu, 0, 0, out);
	cpu->vendor_amd = out[EBX] == 0x68747541 || out[EBX] == 0x6f677948; /* "Auth", "Hygo" */
	cpu->maxphyaddr = 36;
	memset(out, 0, sizeof(out));
	if (leaf_exists(cpu, 0x80000008u))
		cpu->ops->cpuid(cpu, 0x80000008u, 0, out);
	if ((out[EAX] & 0xff) >= 32 && (out[EAX] & 0xff) <= 52)
		cpu->maxphyaddr = out[EAX] & 0xff;
	if (cpu->bcache)
		x86_bcache_flush(cpu);
	x86_native_features_changed(cpu);
}
