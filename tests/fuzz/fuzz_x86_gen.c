/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random instructions and random states. */
#include "config.h"
#include <string.h>
#include "tests/fuzz/fuzz_x86.h"

static uint64_t rng;

void gen_seed(uint64_t seed)
{
	rng = seed;
}

uint64_t gen_rnd(void)
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15ull); /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

unsigned int gen_pick(unsigned int n)
{
	return (unsigned int)((gen_rnd() >> 32) * n >> 32);
}

static uint8_t byte(void)
{
	return (uint8_t)(gen_rnd() >> 40);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static uint64_t integer(void)
{
	static const uint64_t special[] = {
		0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, UINT64_MAX, UINT64_MAX - 1,
	};

	switch (gen_pick(8)) {
	case 0:
	case 1:
		return special[gen_pick(sizeof(special) / sizeof(special[0]))];
	case 2:
		return gen_pick(64);
	case 3:
		return DATA + gen_pick(DATA_SIZE);
	case 4:
		return (uint64_t)(int64_t)(int32_t)gen_rnd();
	default:
		return gen_rnd();
	}
}

/* 64 bits of floating point: a double, or two floats. */
static uint64_t number(void)
{
	static const uint64_t doubles[] = {
		0, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x4000000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000001, 0xfff4000000000001,
		0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff,
		0x4330000000000000, 0x43e0000000000000, 0xc1e0000000000000, 0x3e50000000000000,
		0x41dfffffffc00000, 0x3fefffffffffffff, 0x4008000000000000,
	};
	static const uint32_t floats[] = {
		0, 0x80000000, 0x3f800000, 0xbf800000, 0x40000000, 0x7f800000, 0xff800000, 0x7fc00001,
		0xffa00001, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x4b000000, 0x4f000000,
		0xcf000000, 0x5f000000, 0x3f000000, 0x33800000, 0x40400000,
	};

	switch (gen_pick(8)) {
	case 0:
		return doubles[gen_pick(sizeof(doubles) / sizeof(doubles[0]))];
	case 1:
		return (uint64_t)floats[gen_pick(20)] << 32 | floats[gen_pick(20)];
	case 2: /* near 1 */
		return (gen_rnd() & 0x800fffffffffffff) | (uint64_t)(0x3f8 + gen_pick(16)) << 52;
	case 3:
		return (gen_rnd() & 0x807fffff807fffff) | (uint64_t)(0x7a + gen_pick(12)) << 55 |
		       (0x7a + gen_pick(12)) << 23;
	case 4: /* tiny or huge */
		return (gen_rnd() & 0x800fffffffffffff) | (uint64_t)(gen_pick(2) ? gen_pick(60) :
								     0x7ff - gen_pick(60)) << 52;
	case 5: /* small integers, in every lane: indices, shift counts */
		return gen_rnd() & (gen_pick(2) ? 0x0000001f0000001f : 0x7f);
	default:
		return gen_rnd();
	}
}

/* The 10 bytes of an x87 register. */
static void extended(uint8_t *to)
{
	uint64_t m = gen_rnd() | 1ull << 63;
	uint16_t e = (uint16_t)gen_rnd();

	switch (gen_pick(8)) {
	case 0: /* zero, infinity, indefinite */
		m = gen_pick(3) ? 1ull << 63 : 3ull << 62;
		e = (uint16_t)(0x7fff | (e & 0x8000));
		if (!gen_pick(2))
			m = e &= 0x8000;
		break;
	case 1: /* denormal, pseudo-denormal */
		m = gen_rnd() >> gen_pick(2);
		e &= 0x8000;
		break;
	case 2: /* an integer */
		m = (uint64_t)(1 + gen_pick(1000)) << 54;
		e = 0x3fff + 9;
		while (!(m >> 63)) {
			m <<= 1;
			e--;
		}
		break;
	case 3: /* anything, unsupported encodings too */
		m = gen_rnd();
		break;
	case 4: /* NaN */
		e |= 0x7fff;
		break;
	case 5: /* MMX register */
		m = number();
		e = 0xffff;
		break;
	default:
		e = (uint16_t)((e & 0x8000) | (0x3fff - 80 + gen_pick(160)));
		break;
	}
	memcpy(to, &m, 8);
	memcpy(to + 8, &e, 2);
}

/* ---- data ---------------------------------------------------------------------------------------- */

static void numbers(uint8_t *to, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i += 8) {
		uint64_t v = number();

		memcpy(to + i, &v, 8);
	}
}

static void xsave_image(uint8_t *to, bool compact)
{
	uint64_t header[8] = { compact ? 5 : 7, compact ? 1ull << 63 | 7 : 0 };

	numbers(to + 160, FP_SIZE - 160);
	memcpy(to, (uint8_t[]){ 0x7f, 3, 0, 0x28, 0x5a, 0, 0, 0 }, 8);
	memcpy(to + 24, (uint8_t[]){ 0x80, 0x1f, 0, 0, 0xff, 0xff, 0, 0 }, 8);
	memcpy(to + 512, header, sizeof(header));
}

void gen_data(uint8_t data[DATA_SIZE])
{
	uint64_t keep = rng;
	unsigned int i;

	rng = 42;
	for (i = 0; i < DATA_SIZE; i++)
		data[i] = (uint8_t)gen_rnd();
	xsave_image(data + DATA_XSAVE, false);
	xsave_image(data + DATA_XSAVEC, true);
	numbers(data + DATA_FP, DATA_SMALL - DATA_FP);
	for (i = DATA_SMALL; i < DATA_RW; i += 4)
		memset(data + i + 2, 0, 2);
	rng = keep;
}

static uint64_t address(void)
{
	switch (gen_pick(32)) {
	case 0: /* anywhere */
		return integer();
	case 1: /* outside by a little */
		return DATA + DATA_SIZE - gen_pick(16);
	case 2:
		return DATA - gen_pick(16);
	case 3: /* not canonical, or near the edge */
		return 0x00007ffffffffff0ull + gen_pick(32);
	case 4: /* read-only */
		return DATA + DATA_RW + gen_pick(0x1000 - 64);
	case 5: /* across pages */
		return DATA + 0x1000 - gen_pick(16);
	default:
		return DATA + 64 + gen_pick(DATA_RW - 128);
	}
}

static uint64_t address_fp(const struct fuzz_case *c)
{
	uint64_t at;

	switch (gen_pick(8)) {
	case 0:
		return address();
	case 1:
		return DATA + DATA_XSAVE;
	case 2:
		return DATA + (gen_pick(2) ? DATA_XSAVEC : DATA_SMALL + 4 * gen_pick(24));
	case 3:
		return DATA + DATA_FP + 8 * gen_pick(24);
	default:
		at = DATA + 64 + gen_pick(DATA_RW - 1024);
		return gen_pick(8) ? at & ~63ull : at;
	}
}

/* ---- instructions ---------------------------------------------------------------------------------- */

static uint8_t *legacy_prefixes(uint8_t *p, unsigned int bits)
{
	if (!gen_pick(6))
		*p++ = 0x66;
	if (!gen_pick(24))
		*p++ = 0x67;
	if (!gen_pick(6))
		*p++ = gen_pick(2) ? 0xf2 : 0xf3;
	if (!gen_pick(12))
		*p++ = 0xf0;
	if (!gen_pick(32))
		*p++ = (uint8_t[]){ 0x26, 0x2e, 0x36, 0x3e, 0x65 }[gen_pick(bits == 64 ? 5 : 4)];
	if (bits == 64 && gen_pick(5) < 3)
		*p++ = (uint8_t)(0x40 | gen_pick(16));
	return p;
}

static uint8_t *vex(uint8_t *p, unsigned int bits, unsigned int map)
{
	uint8_t high = bits < 64 ? 0xc0 : 0;

	if (map == 1 && gen_pick(2)) {
		*p++ = 0xc5;
		*p++ = (uint8_t)(byte() | high);
		return p;
	}
	*p++ = 0xc4;
	*p++ = (uint8_t)((byte() & 0xe0) | high | map);
	*p++ = byte();
	return p;
}

static uint8_t *integer_bytes(uint8_t *p, unsigned int bits)
{
	p = legacy_prefixes(p, bits);
	switch (gen_pick(14)) {
	case 0 ... 8:
		*p++ = byte();
		break;
	case 9 ... 12:
		*p++ = 0x0f;
		*p++ = byte();
		break;
	default:
		*p++ = 0x0f;
		*p++ = 0x38;
		*p++ = (uint8_t)(0xf0 | gen_pick(16));
		break;
	}
	return p;
}

/* BMI and its kin. */
static uint8_t *integer_vex(uint8_t *p, unsigned int bits)
{
	p = vex(p, bits, gen_pick(4) ? 2 : 3);
	if (p[-3] == 0xc4)
		p[-1] &= 0xfb; /* L = 0 */
	*p++ = (uint8_t)(0xf0 | gen_pick(8));
	return p;
}

static uint8_t *x87_bytes(uint8_t *p, unsigned int bits)
{
	if (!gen_pick(8))
		p = legacy_prefixes(p, bits);
	*p++ = (uint8_t)(0xd8 + gen_pick(8));
	return p;
}

static uint8_t *sse_bytes(uint8_t *p, unsigned int bits)
{
	static const uint8_t prefix[] = { 0x66, 0xf2, 0xf3 };
	unsigned int map = gen_pick(4);

	if (!gen_pick(32))
		*p++ = 0x67;
	if (gen_pick(4))
		*p++ = map > 1 ? 0x66 : prefix[gen_pick(3)];
	if (bits == 64 && gen_pick(2))
		*p++ = (uint8_t)(0x40 | gen_pick(16));
	*p++ = 0x0f;
	if (map == 2) {
		*p++ = 0x38;
		*p++ = gen_pick(8) ? gen_pick(0x42) : 0xc8 + gen_pick(0x18);
	} else if (map == 3) {
		*p++ = 0x3a;
		*p++ = gen_pick(8) ? gen_pick(0x64) : byte();
	} else {
		*p++ = (uint8_t[]){ 0x10, 0x28, 0x50, 0x60, 0x70, 0xc2, 0xd0, 0xe0 }[gen_pick(8)] + gen_pick(16);
	}
	return p;
}

/* 0F AE, 0F C7 with a memory operand: FXSAVE, XSAVE and their kin, MXCSR. */
static uint8_t *state_bytes(uint8_t *p, unsigned int bits)
{
	if (bits == 64 && gen_pick(2))
		*p++ = gen_pick(2) ? 0x48 : 0x40;
	*p++ = 0x0f;
	*p++ = gen_pick(4) ? 0xae : 0xc7;
	*p++ = (uint8_t)(gen_pick(2) << 6 | gen_pick(8) << 3 | (gen_pick(2) ? 3 : 7));
	return p;
}

/* Gathers, masked moves and half-precision conversions: forms that random bytes hardly ever are. */
static uint8_t *element_bytes(uint8_t *p, unsigned int bits)
{
	static const uint8_t masked[] = { 0x2c, 0x2d, 0x2e, 0x2f, 0x8c, 0x8e };
	unsigned int what = gen_pick(8);

	if (!gen_pick(8) || (bits == 16 && gen_pick(8)))
		*p++ = 0x67;
	p = vex(p, bits, 2);
	p[-1] = (uint8_t)((p[-1] & 0xfc) | 1);
	if (what < 4) { /* with an index vector, mostly */
		*p++ = (uint8_t)(0x90 + gen_pick(4));
		*p++ = (uint8_t)(gen_pick(3) << 6 | gen_pick(8) << 3 | (gen_pick(16) ? 4 : gen_pick(8)));
	} else if (what < 6) {
		*p++ = masked[gen_pick(sizeof(masked))];
	} else {
		if (what == 6)
			p[-2] ^= 1; /* map 3 */
		p[-1] &= 0x87;
		p[-1] |= 0x78;
		*p++ = what == 6 ? 0x1d : 0x13;
	}
	return p;
}

static void random_bytes(struct fuzz_case *c)
{
	uint8_t *p = c->bytes;

	switch (gen_pick(21)) {
	case 20:
		p = element_bytes(p, c->bits);
		break;
	case 0 ... 7:
		p = integer_bytes(p, c->bits);
		break;
	case 8:
		p = integer_vex(p, c->bits);
		break;
	case 9 ... 10:
		p = x87_bytes(p, c->bits);
		break;
	case 11 ... 14:
		p = sse_bytes(p, c->bits);
		break;
	case 15:
		p = state_bytes(p, c->bits);
		break;
	default:
		p = vex(p, c->bits, 1 + gen_pick(3));
		*p++ = byte();
		break;
	}
	while (p < c->bytes + 15)
		*p++ = byte();
}

enum x86_code_mode gen_code_mode(const struct fuzz_case *c)
{
	return c->bits == 64 ? X86_CODE_64 : c->bits == 32 ? X86_CODE_COMPAT32 : X86_CODE_COMPAT16;
}

/* The operands too, for those who look at them. */
static bool decode_operands(struct fuzz_case *c)
{
	static ZydisDecoder d;
	static unsigned int bits;

	if (bits != c->bits) {
		bits = c->bits;
		ZydisDecoderInit(&d, bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 :
				     bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 :
						  ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
				 bits == 64 ? ZYDIS_STACK_WIDTH_64 :
				 bits == 32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
	}
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, c->bytes, 15, &c->z, c->op));
}

bool gen_decode(struct fuzz_case *c)
{
	/* Undefined encodings depend on what this host has beyond us: none. */
	if (x86_decode(c->bytes, 15, gen_code_mode(c), &c->insn) || except_forbidden(c))
		return false;
	c->fp = c->insn.fn == x86_native_exec;
	/* The guest's XCR0 has no mask registers, the host's has. */
	return decode_operands(c) && c->z.meta.isa_ext != ZYDIS_ISA_EXT_AVX512VEX;
}

/* A displacement from RIP should reach the data. */
static void aim_rip(struct fuzz_case *c)
{
	uint64_t target = c->fp ? address_fp(c) : address();
	int64_t rel = (int64_t)(target - c->start.rip - c->insn.len);
	int32_t disp = (int32_t)rel;

	if (c->insn.flags & X86_I_RIPREL && disp == rel && c->z.raw.disp.size == 32)
		memcpy(c->bytes + c->z.raw.disp.offset, &disp, 4);
}

static void random_place(struct fuzz_case *c)
{
	unsigned int at = gen_pick(8) ? 0x40 * gen_pick(0x7f) : 0x1000 - gen_pick(16);

	c->start.rip = c->bits == 16 ? at : CODE + at;
}

void gen_insn(struct fuzz_case *c, const char *only, uint64_t *skipped)
{
	size_t n = only ? strlen(only) : 0;

	do {
		(*skipped)++;
		random_bytes(c);
		random_place(c);
		if (!gen_decode(c) || (n && strncmp(ZydisMnemonicGetString(c->z.mnemonic), only, n)))
			continue;
		aim_rip(c);
		if (gen_decode(c))
			break;
	} while (true);
	(*skipped)--;
}

/* ---- states ---------------------------------------------------------------------------------------- */

/* Most memory operands should hit: bend a base register to the target. */
static void aim(struct fuzz_case *c, struct x86_cpu *cpu)
{
	uint64_t target = c->fp ? address_fp(c) : address();
	struct x86_memop m;

	if (!(c->insn.flags & X86_I_MEM))
		return;
	memcpy(cpu->gpr, c->start.gpr, sizeof(cpu->gpr));
	cpu->rip = c->start.rip;
	x86_memop(cpu, &c->insn, &m);
	if (m.base >= 16)
		return;
	if (m.adsize * 8u == c->bits) {
		c->start.gpr[m.base] += target - m.linear;
		if (c->bits < 64)
			c->start.gpr[m.base] = (uint32_t)c->start.gpr[m.base];
	} else if (m.adsize == 4) {
		c->start.gpr[m.base] = (gen_rnd() & ~0xffffffffull) |
				       (uint32_t)(c->start.gpr[m.base] + target - m.linear);
		if (c->bits < 64)
			c->start.gpr[m.base] = (uint32_t)c->start.gpr[m.base];
	}
}

static void state_fp(struct fuzz_case *c)
{
	uint8_t *fp = c->start.fp;
	uint16_t fcw = (uint16_t)(0x40 | (gen_pick(4) ? 0x3f : gen_pick(64)) | gen_pick(16) << 8);
	uint16_t fsw = (uint16_t)(gen_pick(8) << 11 | (gen_rnd() & 0x4700));
	uint32_t mxcsr = (gen_pick(4) ? 0x1f80 : gen_pick(64) << 7) | gen_pick(4) << 13;
	unsigned int i;

	memset(fp, 0, 32);
	memset(fp + 416, 0, 160);
	if (!gen_pick(4))
		fsw |= (uint16_t)gen_pick(64);
	if (!gen_pick(4))
		mxcsr |= (gen_rnd() & 0x8040) | gen_pick(64);
	if (gen_pick(4)) /* mostly no exception pending */
		fsw &= (uint16_t)~(~fcw & 0x3f);
	else if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080;
	memcpy(fp, &fcw, 2);
	memcpy(fp + 2, &fsw, 2);
	fp[4] = gen_pick(4) ? 0xff : byte();
	memcpy(fp + 24, &mxcsr, 4);
	memset(fp + 32, 0, 128);
	for (i = 0; i < 8; i++)
		extended(fp + 32 + 16 * i);
	numbers(fp + 160, 256);
	numbers(fp + 576, 256);
	fp[512] = 7;
}

/* XSAVE and its kin use EDX:EAX; the host has components that our guest has not. */
static void narrow_mask(struct fuzz_case *c)
{
	if (c->z.meta.category != ZYDIS_CATEGORY_XSAVE && c->z.meta.category != ZYDIS_CATEGORY_XSAVEOPT)
		return;
	c->start.gpr[X86_RAX] = (c->start.gpr[X86_RAX] & ~0xffffffffull) | (gen_pick(2) ? 7 : gen_pick(8));
	c->start.gpr[X86_RDX] = 0;
}

static uint64_t state_flags(const struct fuzz_case *c)
{
	uint64_t flags = X86_FL_ONE | X86_FL_IF | (gen_rnd() & X86_FL_ARITH);

	if (!gen_pick(8))
		flags |= X86_FL_DF;
	if (!except_unaligned(c) && !gen_pick(16))
		flags |= X86_FL_AC;
	if (except_steps_only(c) || !gen_pick(16))
		flags |= X86_FL_TF;
	return flags;
}

void gen_state(struct fuzz_case *c, struct x86_cpu *cpu)
{
	uint64_t *gpr = c->start.gpr;
	unsigned int i;

	for (i = 0; i < 16; i++)
		gpr[i] = integer();
	gpr[X86_RSP] = gen_pick(16) ? DATA + 256 + gen_pick(DATA_RW - 512) : address();
	gpr[X86_RSI] = gen_pick(4) ? address() : integer();
	gpr[X86_RDI] = gen_pick(4) ? address() : integer();
	if (gen_pick(2))
		gpr[X86_RBP] = address();
	if (gen_pick(2))
		gpr[X86_RCX] = gen_pick(70);
	if (c->bits == 16) /* offsets, with whatever in the upper halves */
		for (i = 0; i < 16; i++)
			if (gpr[i] - DATA < DATA_SIZE + 16)
				gpr[i] -= DATA - (gen_pick(8) ? 0 : (gen_rnd() & 0xffff0000));
	if (c->bits < 64)
		for (i = 0; i < 16; i++)
			gpr[i] = i < 8 ? (uint32_t)gpr[i] : 0;
	if (c->fp)
		state_fp(c);
	c->start.rflags = state_flags(c);
	aim(c, cpu);
	narrow_mask(c);
}
