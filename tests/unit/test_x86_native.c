/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * x87, MMX, SSE and AVX against the host: random instructions over random state,
 * executed by hv/x86 and by the host itself, have to leave the same state. Then
 * what the host cannot show: faults by control bits, alignment, page crossing,
 * environments, masked and gathered accesses, XSAVE.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>
#include "tests/unit/x86_env.h"

#define ROUNDS	60000
#define AREA	832

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* ---- the host's side -------------------------------------------------------------------------- */

struct state {
	uint8_t area[AREA] __attribute__((aligned(64)));
	uint8_t mem[64] __attribute__((aligned(64)));
	uint64_t rax, rcx, rdx, flags;
};

static sigjmp_buf escape;

static void on_fault(int sig)
{
	siglongjmp(escape, sig);
}

static uint8_t *code_page;

static void put(uint8_t **p, const void *bytes, size_t n)
{
	memcpy(*p, bytes, n);
	*p += n;
}

/*
 * xrstor64 [rdi]; rax, rcx, rdx from rbx's struct; flags cleared; INSN with [rsi]; back.
 * Called through host_call() which keeps the callee-saved registers.
 */
static void host_build(const uint8_t *insn, size_t len)
{
	static const uint8_t before[] = {
		0x53, 0x57,				/* push rbx; push rdi */
		0x48, 0x89, 0xd3,			/* mov rbx, rdx */
		0xb8, 7, 0, 0, 0, 0x31, 0xd2,		/* mov eax, 7; xor edx, edx */
		0x48, 0x0f, 0xae, 0x2f,			/* xrstor64 [rdi] */
		0x48, 0x8b, 0x03,			/* mov rax, [rbx] */
		0x48, 0x8b, 0x4b, 0x08,			/* mov rcx, [rbx + 8] */
		0x48, 0x8b, 0x53, 0x10,			/* mov rdx, [rbx + 16] */
		0xff, 0x73, 0x18, 0x9d,			/* push [rbx + 24]; popfq */
	};
	static const uint8_t after[] = {
		0x9c, 0x8f, 0x43, 0x18,			/* pushfq; pop [rbx + 24] */
		0x48, 0x89, 0x03,			/* mov [rbx], rax */
		0x48, 0x89, 0x4b, 0x08,			/* mov [rbx + 8], rcx */
		0x48, 0x89, 0x53, 0x10,			/* mov [rbx + 16], rdx */
		0x5f,					/* pop rdi */
		0xb8, 7, 0, 0, 0, 0x31, 0xd2,		/* mov eax, 7; xor edx, edx */
		0x48, 0x0f, 0xae, 0x27,			/* xsave64 [rdi] */
		0xdb, 0xe3,				/* fninit */
		0xc7, 0x44, 0x24, 0xf8, 0x80, 0x1f, 0, 0, /* mov dword [rsp - 8], 0x1f80 */
		0x0f, 0xae, 0x54, 0x24, 0xf8,		/* ldmxcsr [rsp - 8] */
		0xc5, 0xf8, 0x77,			/* vzeroupper */
		0x5b, 0xc3,				/* pop rbx; ret */
	};
	uint8_t *p = code_page;

	put(&p, before, sizeof(before));
	put(&p, insn, len);
	put(&p, after, sizeof(after));
}

static int host_run(struct state *s)
{
	void (*fn)(void *area, void *mem, void *regs) = (void (*)(void *, void *, void *))(void *)code_page;
	int sig = sigsetjmp(escape, 1);

	if (sig) {
		uint32_t mxcsr = 0x1f80;

		__asm__ volatile("fninit; ldmxcsr %0; vzeroupper" : : "m"(mxcsr));
		return sig;
	}
	fn(s->area, s->mem, &s->rax);
	return 0;
}

/* ---- the guest's side --------------------------------------------------------------------------- */

#define FLAGS_ARITH 0x8d5u

static void guest_set(struct env *e, const struct state *s)
{
	struct x86_cpu *cpu = e->cpu;

	memcpy(cpu->xsave, s->area, AREA);
	memcpy(e->ram + ENV_DATA, s->mem, sizeof(s->mem));
	cpu->gpr[X86_RAX] = s->rax;
	cpu->gpr[X86_RCX] = s->rcx;
	cpu->gpr[X86_RDX] = s->rdx;
	cpu->gpr[X86_RSI] = ENV_DATA;
	cpu->rip = ENV_CODE;
	x86_set_rflags(cpu, s->flags);
}

static void guest_get(struct env *e, struct state *s)
{
	memcpy(s->area, e->cpu->xsave, AREA);
	memcpy(s->mem, e->ram + ENV_DATA, sizeof(s->mem));
	s->rax = e->cpu->gpr[X86_RAX];
	s->rcx = e->cpu->gpr[X86_RCX];
	s->rdx = e->cpu->gpr[X86_RDX];
	s->flags = x86_get_rflags(e->cpu);
}

/* The vector of the fault, or -1. */
static int guest_run(struct env *e, const uint8_t *insn, size_t len)
{
	int r;

	env_code(e, ENV_CODE, insn, len);
	x86_tlb_flush_all(e->cpu);
	r = x86_step_one(e->cpu);
	assert_int_equal(r, X86_OK);
	if (e->cpu->rip == ENV_CODE + len)
		return -1;
	assert_true(e->cpu->rip >= 0x50000 && e->cpu->rip < 0x51000);
	return (int)((e->cpu->rip - 0x50000) / 16);
}

static struct env *fpu_env(void)
{
	struct env *e = env_create();

	env_mode_64(e, 0);
	env_default_idt(e);
	e->cpu->cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	e->cpu->xcr0 = 7;
	x86_state_changed(e->cpu);
	/* As FNINIT leaves it; after a reset every register counts as valid. */
	memset(e->cpu->xsave, 0, AREA);
	*(uint16_t *)e->cpu->xsave = 0x37f;
	*(uint32_t *)(e->cpu->xsave + 24) = 0x1f80;
	return e;
}

/* ---- random instructions --------------------------------------------------------------------------- */

static void random_state(struct state *s)
{
	static const uint64_t numbers[] = {
		0, 0x8000000000000000ull, 0x3ff0000000000000ull, 0x3f8000003f800000ull,
		0x7ff0000000000000ull, 0x7f8000007f800000ull, 0x0000000100000001ull,
		0x7ff8000000000001ull, 0x7ff4000000000001ull, 0xffffffffffffffffull,
		0x4330000000000000ull, 0x0010000000000000ull, 0x4130000040800000ull,
	};

	memset(s, 0, sizeof(*s));
	for (size_t i = 160; i < AREA; i += 8) {
		uint64_t v = rnd() & 1 ? rnd() : numbers[rnd() % (sizeof(numbers) / 8)];

		memcpy(s->area + i, &v, 8);
	}
	memset(s->area + 416, 0, 160);
	for (size_t i = 0; i < 8; i++) {
		uint64_t m = rnd() | 1ull << 63;
		uint16_t exp = (uint16_t)(0x3fff + (rnd() % 80) - 40 + (rnd() & 0x8000));

		memcpy(s->area + 32 + 16 * i, &m, 8);
		memcpy(s->area + 40 + 16 * i, &exp, 2);
	}
	*(uint16_t *)s->area = (uint16_t)(0x037f & ~0xc00u) | (uint16_t)(rnd() & 3) << 10;
	*(uint16_t *)(s->area + 2) = (uint16_t)(rnd() & 7) << 11;
	s->area[4] = rnd() & 3 ? 0xff : (uint8_t)rnd();
	*(uint32_t *)(s->area + 24) = 0x1f80 | (uint32_t)(rnd() & 3) << 13 | (rnd() & 7 ? 0 : 0x8040);
	*(uint32_t *)(s->area + 28) = 0xffff;
	*(uint64_t *)(s->area + 512) = 7;
	for (size_t i = 0; i < sizeof(s->mem); i += 8)
		*(uint64_t *)(s->mem + i) = rnd() & 1 ? rnd() : numbers[rnd() % (sizeof(numbers) / 8)];
	s->rax = rnd();
	s->rcx = rnd();
	s->rdx = rnd() & 31;
	s->flags = 2 | (rnd() & FLAGS_ARITH);
}

static uint8_t random_modrm(void)
{
	uint8_t reg = (uint8_t)(rnd() & 7) << 3;

	return rnd() & 1 ? (uint8_t)(0x06 | reg) : (uint8_t)(0xc0 | reg | (rnd() & 7));
}

static size_t random_legacy(uint8_t *out)
{
	static const uint8_t prefix[] = { 0x66, 0xf2, 0xf3 };
	unsigned int map = rnd() % 4;
	size_t n = 0;

	if (rnd() & 3)
		out[n++] = prefix[rnd() % 3];
	if (rnd() & 1)
		out[n++] = (uint8_t)(0x40 | (rnd() & 0xc)); /* REX.W, REX.R; rm stays below 8 */
	out[n++] = 0x0f;
	if (map == 2)
		out[n++] = 0x38;
	if (map == 3)
		out[n++] = 0x3a;
	out[n++] = (uint8_t)rnd();
	out[n++] = random_modrm();
	out[n++] = (uint8_t)rnd();
	return n;
}

static size_t random_vex(uint8_t *out)
{
	size_t n = 0;

	out[n++] = 0xc4;
	out[n++] = (uint8_t)(0x60 | (rnd() & 0x80) | (1 + rnd() % 3));
	out[n++] = (uint8_t)rnd();
	out[n++] = (uint8_t)rnd();
	out[n++] = random_modrm();
	out[n++] = (uint8_t)rnd();
	return n;
}

static size_t random_x87(uint8_t *out)
{
	out[0] = (uint8_t)(0xd8 + (rnd() & 7));
	out[1] = random_modrm();
	return 2;
}

/* Instructions whose comparison makes no sense here; they have tests of their own. */
static bool excluded(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FLDCW: /* random masks would trap */
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_MASKMOVQ: /* memory at rdi */
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		return true;
	default:
		break;
	}
	for (unsigned int i = 0; i < z->operand_count; i++) {
		ZydisRegister reg = op[i].type == ZYDIS_OPERAND_TYPE_REGISTER ? op[i].reg.value : 0;
		ZydisRegisterClass c = ZydisRegisterGetClass(reg);

		if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (op[i].size > 64 * 8 || op[i].mem.base != ZYDIS_REGISTER_RSI))
			return true;
		/* The frame around the instruction owns the other registers. */
		if (c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64 && ZydisRegisterGetId(reg) > 2)
			return true;
	}
	return false;
}

static bool wanted_set(ZydisISASet set)
{
	switch (set) {
	case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_FCMOV: case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE: case ZYDIS_ISA_SET_SSE2: case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSE3: case ZYDIS_ISA_SET_SSE3X87: case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX: case ZYDIS_ISA_SET_SSE4: case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_SSEMXCSR: case ZYDIS_ISA_SET_AES: case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_AVX: case ZYDIS_ISA_SET_AVXAES: case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_FMA: case ZYDIS_ISA_SET_F16C:
		return true;
	default:
		return false;
	}
}

/* The length of a usable instruction, or 0. */
static size_t random_insn(uint8_t *out, ZydisDecodedInstruction *z)
{
	static ZydisDecoder decoder;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	size_t n;

	if (!decoder.machine_mode && !decoder.stack_width)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	switch (rnd() % 4) {
	case 0:
		n = random_x87(out);
		break;
	case 1:
		n = random_legacy(out);
		break;
	default:
		n = random_vex(out);
		break;
	}
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, out, n, z, op)) || !wanted_set(z->meta.isa_set) ||
	    excluded(z, op))
		return 0;
	return z->length;
}

static void mask_undefined(struct state *s, const ZydisDecodedInstruction *z)
{
	/* Where the instruction stood differs by nature; the in-use bits are advice. */
	memset(s->area + 6, 0, 18);
	memset(s->area + 512, 0, 64);
	memset(s->area + 416, 0, 96);
	s->flags &= FLAGS_ARITH;
	for (int i = 0; i < 8; i++)
		memset(s->area + 32 + 16 * i + 10, 0, 6);
	(void)z;
}

static void explain(const uint8_t *insn, const struct state *in, const struct state *host,
		    const struct state *guest, const ZydisDecodedInstruction *z)
{
	const uint8_t *a = (const uint8_t *)host, *b = (const uint8_t *)guest, *c = (const uint8_t *)in;

	print_message("# %s:", ZydisMnemonicGetString(z->mnemonic));
	for (unsigned int i = 0; i < z->length; i++)
		print_message(" %02x", insn[i]);
	print_message("\n");
	for (size_t i = 0; i < sizeof(*host); i++)
		if (a[i] != b[i])
			print_message("#   byte %zu: before %02x host %02x guest %02x\n", i, c[i], a[i], b[i]);
}

static void test_differential(void **state)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct env *e = fpu_env();
	struct state in, host, guest;
	ZydisDecodedInstruction z;
	unsigned int compared = 0, faults = 0, bad = 0;
	uint8_t insn[16];

	code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(code_page != MAP_FAILED);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		size_t len = random_insn(insn, &z);
		int sig, vector;

		if (!len)
			continue;
		random_state(&in);
		host = guest = in;
		host_build(insn, len);
		sig = host_run(&host);
		guest_set(e, &in);
		vector = guest_run(e, insn, len);
		if (sig || vector >= 0) {
			/* CPUID shows the guest no more than the host has, so a fault is a fault. */
			if (!sig != (vector < 0)) {
				print_message("# host signal %d, guest vector %d\n", sig, vector);
				explain(insn, &in, &in, &in, &z);
				bad++;
			}
			faults++;
			/* A delivery went on in the handler; start afresh. */
			env_mode_64(e, 0);
			env_default_idt(e);
			e->cpu->cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
			e->cpu->xcr0 = 7;
			x86_state_changed(e->cpu);
			continue;
		}
		guest_get(e, &guest);
		mask_undefined(&host, &z);
		mask_undefined(&guest, &z);
		compared++;
		if (memcmp(&host, &guest, sizeof(host))) {
			if (bad++ < 10)
				explain(insn, &in, &host, &guest, &z);
		}
	}
	print_message("# %u instructions compared, %u faults, %u differences\n", compared, faults, bad);
	assert_true(compared > 5000);
	assert_int_equal(bad, 0);
	munmap(code_page, 4096);
	env_destroy(e);
}

/* ---- faults ------------------------------------------------------------------------------------------- */

static const uint8_t addps_mem[] = { 0x0f, 0x58, 0x06 };	/* addps xmm0, [rsi] */
static const uint8_t fld1[] = { 0xd9, 0xe8 };
static const uint8_t vaddps[] = { 0xc5, 0xf4, 0x58, 0xc2 };
static const uint8_t divps[] = { 0x0f, 0x5e, 0xc1 };

static void expect(struct env *e, const uint8_t *insn, size_t len, int vector)
{
	e->cpu->rip = ENV_CODE;
	assert_int_equal(guest_run(e, insn, len), vector);
}

static void test_control_bits(void **state)
{
	struct env *e = fpu_env();

	e->cpu->gpr[X86_RSI] = ENV_DATA;
	e->cpu->cr0 |= X86_CR0_TS;
	expect(e, addps_mem, 3, X86_NM);
	expect(e, fld1, 2, X86_NM);
	expect(e, vaddps, 4, X86_NM);
	e->cpu->cr0 = (e->cpu->cr0 & ~X86_CR0_TS) | X86_CR0_EM;
	expect(e, addps_mem, 3, X86_UD);
	expect(e, fld1, 2, X86_NM);
	e->cpu->cr0 &= ~X86_CR0_EM;
	e->cpu->cr4 &= ~X86_CR4_OSFXSR;
	expect(e, addps_mem, 3, X86_UD);
	e->cpu->cr4 |= X86_CR4_OSFXSR;
	e->cpu->xcr0 = 3;
	expect(e, vaddps, 4, X86_UD);
	e->cpu->xcr0 = 7;
	expect(e, vaddps, 4, -1);
	env_destroy(e);
}

static void test_alignment(void **state)
{
	static const uint8_t movups[] = { 0x0f, 0x10, 0x06 }, movaps[] = { 0x0f, 0x28, 0x06 };
	static const uint8_t vaddps_mem[] = { 0xc5, 0xf4, 0x58, 0x06 };
	struct env *e = fpu_env();

	e->cpu->gpr[X86_RSI] = ENV_DATA + 4;
	expect(e, addps_mem, 3, X86_GP);
	expect(e, movaps, 3, X86_GP);
	expect(e, movups, 3, -1);
	expect(e, vaddps_mem, 4, -1);
	env_destroy(e);
}

static void test_page_crossing(void **state)
{
	static const uint8_t load[] = { 0x0f, 0x10, 0x06 }, store[] = { 0x0f, 0x11, 0x06 };
	struct env *e = fpu_env();
	uint8_t want[16];

	for (int i = 0; i < 16; i++)
		want[i] = (uint8_t)(i + 1);
	memcpy(e->ram + 0x20ff8, want, 16);
	e->cpu->gpr[X86_RSI] = 0x20ff8;
	expect(e, load, 3, -1);
	assert_memory_equal(e->cpu->xsave + 160, want, 16);
	memset(e->ram + 0x20ff8, 0, 16);
	expect(e, store, 3, -1);
	assert_memory_equal(e->ram + 0x20ff8, want, 16);
	env_destroy(e);
}

static void test_unmasked_simd(void **state)
{
	struct env *e = fpu_env();
	uint8_t before[16];

	for (int i = 0; i < 4; i++)
		((float *)(void *)(e->cpu->xsave + 160))[i] = 1.0f;
	memset(e->cpu->xsave + 176, 0, 16);
	memcpy(before, e->cpu->xsave + 160, 16);
	*(uint32_t *)(e->cpu->xsave + 24) = 0x1f80 & ~(1u << 9); /* divide by zero unmasked */
	expect(e, divps, 3, X86_XM);
	assert_memory_equal(e->cpu->xsave + 160, before, 16);
	assert_int_equal(*(uint32_t *)(e->cpu->xsave + 24) & 0x3f, 4);
	e->cpu->cr4 &= ~X86_CR4_OSXMMEXCPT;
	expect(e, divps, 3, X86_UD);
	env_destroy(e);
}

static void test_x87_pending(void **state)
{
	static const uint8_t fldz[] = { 0xd9, 0xee }, fdivp[] = { 0xde, 0xf9 }, fnclex[] = { 0xdb, 0xe2 };
	static const uint8_t fldcw[] = { 0xd9, 0x2e }, fnstsw[] = { 0xdf, 0xe0 };
	struct env *e = fpu_env();

	*(uint16_t *)e->cpu->xsave = 0x37f;
	e->cpu->gpr[X86_RSI] = ENV_DATA;
	*(uint16_t *)(void *)(e->ram + ENV_DATA) = 0x37f & ~4; /* divide by zero unmasked */
	expect(e, fldcw, 2, -1);
	expect(e, fld1, 2, -1);
	expect(e, fldz, 2, -1);
	expect(e, fdivp, 2, -1);
	expect(e, fnstsw, 2, -1);
	assert_int_equal(e->cpu->gpr[X86_RAX] & 0x8084, 0x8084);
	expect(e, fld1, 2, X86_MF);
	expect(e, fnclex, 2, -1);
	expect(e, fld1, 2, -1);
	env_destroy(e);
}

static void test_environment(void **state)
{
	static const uint8_t fnstenv[] = { 0xd9, 0x36 }, fldenv[] = { 0xd9, 0x26 };
	struct env *e = fpu_env();

	*(uint16_t *)e->cpu->xsave = 0x37f;
	expect(e, fld1, 2, -1);
	e->cpu->gpr[X86_RSI] = ENV_DATA;
	expect(e, fnstenv, 2, -1);
	assert_int_equal(env_get32(e, ENV_DATA), 0xffff037f);
	assert_int_equal(env_get32(e, ENV_DATA + 4) & 0xffff, 7 << 11);
	assert_int_equal(env_get32(e, ENV_DATA + 8) & 0xffff, 0x3fff); /* register 7 valid, others empty */
	assert_int_equal(env_get32(e, ENV_DATA + 12), ENV_CODE);
	/* The opcode is kept for unmasked exceptions only. */
	assert_int_equal(env_get32(e, ENV_DATA + 16) >> 16, 0);
	memset(e->cpu->xsave, 0, 24);
	expect(e, fldenv, 2, -1);
	assert_int_equal(*(uint16_t *)e->cpu->xsave, 0x37f);
	assert_int_equal(e->cpu->xsave[4], 0x80);
	env_destroy(e);
}

static void test_fxsave_xsave(void **state)
{
	static const uint8_t fxsave[] = { 0x0f, 0xae, 0x06 }, fxrstor[] = { 0x0f, 0xae, 0x0e };
	static const uint8_t xsave[] = { 0x0f, 0xae, 0x26 }, xrstor[] = { 0x0f, 0xae, 0x2e };
	struct env *e = fpu_env();
	uint8_t keep[AREA];

	for (int i = 160; i < 416; i++)
		e->cpu->xsave[i] = (uint8_t)i;
	for (int i = 576; i < AREA; i++)
		e->cpu->xsave[i] = (uint8_t)(i * 3);
	*(uint16_t *)e->cpu->xsave = 0x37f;
	*(uint32_t *)(e->cpu->xsave + 24) = 0x1f80;
	memcpy(keep, e->cpu->xsave, AREA);
	e->cpu->gpr[X86_RSI] = ENV_DATA + 8;
	expect(e, fxsave, 3, X86_GP);
	e->cpu->gpr[X86_RSI] = ENV_DATA;
	expect(e, fxsave, 3, -1);
	memset(e->cpu->xsave + 160, 0, 256);
	expect(e, fxrstor, 3, -1);
	assert_memory_equal(e->cpu->xsave + 160, keep + 160, 256);
	*(uint32_t *)(void *)(e->ram + ENV_DATA + 24) = 0xffff0000;
	expect(e, fxrstor, 3, X86_GP);
	memset(e->ram + ENV_DATA, 0, 1024);
	e->cpu->gpr[X86_RAX] = 7;
	e->cpu->gpr[X86_RDX] = 0;
	expect(e, xsave, 3, -1);
	assert_int_equal(env_get64(e, ENV_DATA + 512), 6); /* x87 is in its initial state */
	memset(e->cpu->xsave + 160, 0, AREA - 160);
	expect(e, xrstor, 3, -1);
	assert_memory_equal(e->cpu->xsave + 160, keep + 160, 256);
	assert_memory_equal(e->cpu->xsave + 576, keep + 576, 256);
	env_put64(e, ENV_DATA + 512, 1ull << 40);
	expect(e, xrstor, 3, X86_GP);
	env_destroy(e);
}

static void test_masked(void **state)
{
	/* vpmaskmovd [rsi], xmm1, xmm0; vpmaskmovd xmm2, xmm1, [rsi]; vpgatherdd xmm0, [rsi + xmm2 * 4], xmm1 */
	static const uint8_t store[] = { 0xc4, 0xe2, 0x71, 0x8e, 0x06 };
	static const uint8_t load[] = { 0xc4, 0xe2, 0x71, 0x8c, 0x16 };
	static const uint8_t gather[] = { 0xc4, 0xe2, 0x71, 0x90, 0x04, 0x96 };
	struct env *e = fpu_env();
	uint32_t *x0 = (uint32_t *)(void *)(e->cpu->xsave + 160), *x1 = x0 + 4, *x2 = x0 + 8;

	/* Elements 2 and 3 lie beyond RAM, in MMIO; masked out they are not touched. */
	e->cpu->gpr[X86_RSI] = ENV_RAM - 8;
	for (uint32_t i = 0; i < 4; i++) {
		x0[i] = 100 + i;
		x1[i] = i < 2 ? 0x80000000u : 0;
	}
	expect(e, store, 5, -1);
	assert_int_equal(env_get32(e, ENV_RAM - 8), 100);
	assert_int_equal(env_get32(e, ENV_RAM - 4), 101);
	assert_int_equal(e->mmio_writes, 0);
	expect(e, load, 5, -1);
	assert_int_equal(x2[0], 100);
	assert_int_equal(x2[1], 101);
	assert_int_equal(x2[2], 0);
	assert_int_equal(e->mmio_reads, 0);
	e->cpu->gpr[X86_RSI] = ENV_DATA;
	for (uint32_t i = 0; i < 4; i++) {
		env_put32(e, ENV_DATA + 40 * i, 1000 + i);
		x2[i] = 10 * i;
		x1[i] = i == 1 ? 0 : 0xffffffffu;
		x0[i] = 7;
	}
	expect(e, gather, 6, -1);
	assert_int_equal(x0[0], 1000);
	assert_int_equal(x0[1], 7);
	assert_int_equal(x0[2], 1002);
	assert_int_equal(x0[3], 1003);
	assert_int_equal(x1[0] | x1[1] | x1[2] | x1[3], 0);
	env_destroy(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_differential),
		cmocka_unit_test(test_control_bits),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_page_crossing),
		cmocka_unit_test(test_unmasked_simd),
		cmocka_unit_test(test_x87_pending),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_fxsave_xsave),
		cmocka_unit_test(test_masked),
	};

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
		puts("1..0 # SKIP the host has no AVX2 and FMA to compare with");
		return 0;
	}
	return cmocka_run_group_tests_name("x86_native", tests, NULL, NULL);
}
