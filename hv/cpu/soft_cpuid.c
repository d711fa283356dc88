/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What silicon the software processor is: the CPUID leaves that it can show, and
 * its time-stamp counter. A feature is there when hv/x86 executes it by itself
 * (SOFT below) or with the host's instructions (NATIVE: only if the host has it).
 *
 * Native CPUID traps to an outer hypervisor on many hosts (microseconds), so the
 * leaves are read once, in soft_cpuid_init().
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <x86intrin.h>

#include "hv/base/clock.h"
#include "hv/cpu/soft_internal.h"

#define BIT(n) (1U << (n))

/* Leaf 1. */
#define L1_ECX_NATIVE	(BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | \
			 BIT(12) /* FMA */ | BIT(19) | BIT(20) /* SSE4 */ | BIT(25) /* AES */ | \
			 BIT(28) /* AVX */ | BIT(29) /* F16C */)
#define L1_ECX_SOFT	(BIT(13) /* CX16 */ | BIT(17) /* PCID */ | BIT(21) /* x2APIC */ | \
			 BIT(22) /* MOVBE */ | BIT(23) /* POPCNT */ | BIT(24) /* TSC deadline */ | \
			 BIT(26) /* XSAVE */ | BIT(30) /* RDRAND */)
#define L1_ECX_VMX	BIT(5)
/* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2. */
#define L1_EDX_SOFT	0x078bfbffU

/* Leaf 7, subleaf 0. Bits 6 and 13 describe the FPU, which is the host's. */
#define L7_EBX_NATIVE	(BIT(3) /* BMI1 */ | BIT(5) /* AVX2 */ | BIT(6) | BIT(8) /* BMI2 */ | \
			 BIT(13) | BIT(19) /* ADX */ | BIT(29) /* SHA */)
#define L7_EBX_SOFT	(BIT(0) /* FSGSBASE */ | BIT(1) /* TSC_ADJUST */ | BIT(7) /* SMEP */ | \
			 BIT(9) /* ERMS */ | BIT(10) /* INVPCID */ | BIT(18) /* RDSEED */ | \
			 BIT(20) /* SMAP */ | BIT(23) /* CLFLUSHOPT */ | BIT(24) /* CLWB */)
#define L7_ECX_NATIVE	(BIT(8) /* GFNI */ | BIT(9) /* VAES */ | BIT(10) /* VPCLMULQDQ */)
#define L7_ECX_SOFT	(BIT(2) /* UMIP */ | BIT(3) /* PKU */ | BIT(16) /* LA57 */ | \
			 BIT(22) /* RDPID */ | BIT(31) /* PKS */)
#define L7_EDX_SOFT	(BIT(4) /* FSRM */ | BIT(10) /* MD_CLEAR */ | BIT(14) /* SERIALIZE */ | \
			 BIT(29) /* ARCH_CAPABILITIES */)

#define L81_ECX_NATIVE	(BIT(5) /* ABM */ | BIT(6) /* SSE4A */)
#define L81_ECX_SOFT	(BIT(0) /* LAHF64 */ | BIT(8) /* 3DNOWPREFETCH */)
#define L81_ECX_SVM	BIT(2)
#define L81_EDX_SOFT	(BIT(11) /* SYSCALL */ | BIT(20) /* NX */ | BIT(26) /* GBPAGES */ | \
			 BIT(27) /* RDTSCP */ | BIT(29) /* LM */)
/* AMD repeats these bits of leaf 1 EDX. */
#define L81_EDX_AMD_COPY 0x0183f3ffU

#define XCR0_SOFT	(BIT(0) | BIT(1) | BIT(9))
#define XCR0_AVX	BIT(2)
#define XSAVE_AVX_OFFSET 576
#define XSAVE_AVX_SIZE	256
#define XSAVE_PKRU_OFFSET 832 /* where the AVX component ends, as on processors without AVX-512 */
#define XSAVE_PKRU_SIZE	8

#define CACHE_SUBLEAVES 5

/* [I] after soft_cpuid_init(). */
static struct {
	uint32_t leaf0[4], leaf1[4], leaf2[4], leaf4[CACHE_SUBLEAVES][4], leaf7[4];
	uint32_t ext0[4], ext1[4], brand[3][4], ext5[4], ext6[4], ext8[4];
	uint32_t tsc_khz;
	bool amd, ready;
} silicon;

static void native(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	__cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}

int soft_cpuid_init(void)
{
	if (silicon.ready)
		return 0;
	native(0, 0, silicon.leaf0);
	native(1, 0, silicon.leaf1);
	native(2, 0, silicon.leaf2);
	for (uint32_t i = 0; i < CACHE_SUBLEAVES; i++)
		native(4, i, silicon.leaf4[i]);
	if (silicon.leaf0[0] >= 7)
		native(7, 0, silicon.leaf7);
	native(0x80000000, 0, silicon.ext0);
	native(0x80000001, 0, silicon.ext1);
	for (uint32_t i = 0; i < 3; i++)
		native(0x80000002 + i, 0, silicon.brand[i]);
	native(0x80000005, 0, silicon.ext5);
	native(0x80000006, 0, silicon.ext6);
	native(0x80000008, 0, silicon.ext8);
	silicon.amd = silicon.leaf0[1] == signature_AMD_ebx || silicon.leaf0[1] == 0x6f677948;
	silicon.tsc_khz = (uint32_t)hv_tsc_khz();
	if (!silicon.tsc_khz)
		return -EIO;
	silicon.ready = true;
	return 0;
}

static bool has_avx(void)
{
	/* The host's own OS must have enabled the state, or we cannot compute with it. */
	return (silicon.leaf1[2] & BIT(28)) && (silicon.leaf1[2] & BIT(27));
}

static void leaf_1(uint32_t out[4])
{
	uint32_t native_mask = L1_ECX_NATIVE;

	if (!has_avx())
		native_mask &= ~(BIT(12) | BIT(28) | BIT(29));
	out[0] = silicon.leaf1[0];
	out[1] = 8U << 8; /* CLFLUSH line; the rest is the vCPU's */
	out[2] = (silicon.leaf1[2] & native_mask) | L1_ECX_SOFT;
	out[3] = L1_EDX_SOFT;
}

static void leaf_7(uint32_t out[4])
{
	uint32_t ebx = L7_EBX_NATIVE, ecx = L7_ECX_NATIVE;

	if (!has_avx()) {
		ebx &= ~BIT(5);
		ecx &= ~(BIT(9) | BIT(10));
	}
	out[1] = (silicon.leaf7[1] & ebx) | L7_EBX_SOFT;
	out[2] = (silicon.leaf7[2] & ecx) | L7_ECX_SOFT;
	out[3] = L7_EDX_SOFT;
}

static void leaf_d(uint32_t subleaf, uint32_t out[4])
{
	uint32_t xcr0 = XCR0_SOFT | (has_avx() ? XCR0_AVX : 0);

	switch (subleaf) {
	case 0:
		out[0] = xcr0;
		/* EBX depends on XCR0 and is the vCPU's; here the size with everything enabled. */
		out[1] = out[2] = XSAVE_PKRU_OFFSET + XSAVE_PKRU_SIZE;
		break;
	case 1:
		out[0] = BIT(0) /* XSAVEOPT */ | BIT(1) /* XSAVEC */ | BIT(2) /* XGETBV1 */ |
			 BIT(3) /* XSAVES */;
		break;
	case 2:
		if (has_avx()) {
			out[0] = XSAVE_AVX_SIZE;
			out[1] = XSAVE_AVX_OFFSET;
		}
		break;
	case 9:
		out[0] = XSAVE_PKRU_SIZE;
		out[1] = XSAVE_PKRU_OFFSET;
		break;
	default:
		break;
	}
}

static void leaf_ext1(uint32_t out[4])
{
	out[0] = silicon.ext1[0];
	out[1] = silicon.ext1[1];
	out[2] = (silicon.ext1[2] & L81_ECX_NATIVE) | L81_ECX_SOFT;
	out[3] = L81_EDX_SOFT;
	if (silicon.amd)
		out[3] |= L1_EDX_SOFT & L81_EDX_AMD_COPY;
}

void soft_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	static const uint32_t zero[4];
	const uint32_t *copy = zero;

	memset(out, 0, 4 * sizeof(*out));
	switch (leaf) {
	case 0:
		memcpy(out, silicon.leaf0, sizeof(silicon.leaf0));
		out[0] = 0xd;
		return;
	case 1:
		leaf_1(out);
		return;
	case 2:
		copy = silicon.amd ? zero : silicon.leaf2;
		break;
	case 4:
		copy = subleaf < CACHE_SUBLEAVES ? silicon.leaf4[subleaf] : zero;
		break;
	case 6:
		out[0] = BIT(2); /* ARAT: the APIC timer never stops */
		return;
	case 7:
		if (subleaf == 0)
			leaf_7(out);
		return;
	case 0xd:
		leaf_d(subleaf, out);
		return;
	case 0x80000000:
		memcpy(out, silicon.ext0, sizeof(silicon.ext0));
		out[0] = 0x80000008;
		return;
	case 0x80000001:
		leaf_ext1(out);
		return;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		copy = silicon.brand[leaf - 0x80000002];
		break;
	case 0x80000005:
		copy = silicon.ext5;
		break;
	case 0x80000006:
		copy = silicon.ext6;
		break;
	case 0x80000007:
		out[3] = BIT(8); /* invariant TSC */
		return;
	case 0x80000008:
		out[0] = SOFT_MAXPHYADDR | 57U << 8;
		return;
	default:
		break;
	}
	memcpy(out, copy, 4 * sizeof(*out));
}

void soft_cpuid_silicon(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	soft_cpuid(leaf, subleaf, out);
	if (leaf == 1)
		out[2] |= L1_ECX_VMX;
	if (leaf == 0x80000001)
		out[2] |= L81_ECX_SVM;
}

uint64_t soft_cr4_allowed(void)
{
	return X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE |
	       X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
	       X86_CR4_UMIP | X86_CR4_LA57 | X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE |
	       X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_PKS;
}

static int native_random(uint64_t *value)
{
	uint8_t ok;

	__asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(*value), "=qm"(ok) : : "cc");
	return ok;
}

int soft_random(struct x86_cpu *cpu, uint64_t *value)
{
	if (silicon.leaf1[2] & BIT(30))
		return native_random(value);
	return getrandom(value, sizeof(*value), GRND_NONBLOCK) == (ssize_t)sizeof(*value);
}

uint64_t soft_rdtsc(void)
{
	return __rdtsc();
}

uint32_t soft_tsc_khz(void)
{
	return silicon.tsc_khz;
}
