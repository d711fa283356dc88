/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bit tests, scans and counts, BSWAP, BMI1 and the rest of BMI2, ADX, CRC32.
 * BMI and ADX results are computed in C, since the host may not have them.
 */
#include "hv/x86/exec.h"
#include "hv/x86/internal.h"

static inline uint64_t operand(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int size)
{
	if (insn->flags & X86_I_MEM)
		return x86_load(cpu, insn, size);
	return x86_reg_get(cpu, insn->src, size);
}

/* ---- BT BTS BTR BTC ------------------------------------------------------------------------------------ */

static uint64_t bit_change(unsigned int op, uint64_t v, uint64_t bit)
{
	switch (op) {
	case 1:
		return v | bit;
	case 2:
		return v & ~bit;
	case 3:
		return v ^ bit;
	default:
		return v;
	}
}

static void set_cf(struct x86_cpu *cpu, bool cf)
{
	cpu->cc = (cpu->cc & ~X86_CC_CF) | (cf ? X86_CC_CF : 0);
}

static uint64_t bit_index(const struct x86_cpu *cpu, const struct x86_insn *insn)
{
	return insn->src == 0xffff ? insn->imm : X86_R64(insn->src);
}

void x86_op_bt_r(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, n = (unsigned int)bit_index(cpu, insn) & (size * 8 - 1);
	uint64_t v = x86_reg_get(cpu, insn->dst, size);

	set_cf(cpu, v >> n & 1);
	if (insn->vvvv)
		x86_reg_set(cpu, insn->dst, size, bit_change(insn->vvvv, v, 1ull << n));
	X86_NEXT();
}

#define BIT_RMW(ins, type, sfx)                                                                    \
	__asm__ volatile(ins #sfx " %[n], %[m]\n\tsetc %[c]"                                       \
			 : [m] "+m"(*(type *)p), [c] "=q"(cf) : [n] "r"((type)n) : "cc", "memory")

#define BIT_SIZES(ins)                                                                             \
	do {                                                                                       \
		if (size == 2)                                                                     \
			BIT_RMW(ins, uint16_t, w);                                                 \
		else if (size == 4)                                                                \
			BIT_RMW(ins, uint32_t, l);                                                 \
		else                                                                               \
			BIT_RMW(ins, uint64_t, q);                                                 \
	} while (0)

/* `n` is below the operand's width, so the host's own address arithmetic adds nothing. */
static bool bit_rmw(const struct x86_insn *insn, void *p, unsigned int n)
{
	unsigned int size = insn->opsize;
	bool lock = insn->flags & X86_I_LOCK;
	uint8_t cf;

	switch (insn->vvvv) {
	case 1:
		if (lock)
			BIT_SIZES("lock; bts");
		else
			BIT_SIZES("bts");
		break;
	case 2:
		if (lock)
			BIT_SIZES("lock; btr");
		else
			BIT_SIZES("btr");
		break;
	default:
		if (lock)
			BIT_SIZES("lock; btc");
		else
			BIT_SIZES("btc");
		break;
	}
	return cf;
}

/* A register index reaches beyond the operand: it is a signed bit offset from the address. */
static uint64_t bit_address(struct x86_cpu *cpu, const struct x86_insn *insn, unsigned int access)
{
	unsigned int size = insn->opsize;
	struct x86_insn moved;
	int64_t index;

	if (insn->src == 0xffff)
		return x86_ea(cpu, insn, size, access);
	index = (int64_t)x86_sext(x86_reg_get(cpu, insn->src, size), size);
	moved = *insn;
	moved.disp += (index >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size;
	x86_begin(cpu, insn);
	return x86_seg_linear(cpu, insn, insn->seg, x86_ea_offset(cpu, &moved), size, access);
}

void x86_op_bt_m(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, n = (unsigned int)bit_index(cpu, insn) & (size * 8 - 1);
	uint64_t lin = bit_address(cpu, insn, insn->vvvv ? X86_ACC_WRITE : X86_ACC_READ);
	void *p;

	if (!insn->vvvv) {
		set_cf(cpu, x86_read(cpu, insn, lin, size, insn->seg) >> n & 1);
		X86_NEXT();
	}
	p = x86_rmw(cpu, insn, lin, size, insn->seg);
	set_cf(cpu, bit_rmw(insn, p, n));
	x86_rmw_end(cpu, p);
	X86_NEXT();
}

/* ---- scans and counts: host instructions, for flags and the untouched destination --------------------- */

#define SCAN(name, ins)                                                                            \
	void name(struct x86_cpu *cpu, const struct x86_insn *insn)                                \
	{                                                                                          \
		uint64_t s = operand(cpu, insn, insn->opsize), d = X86_R64(insn->dst);             \
		uint32_t cc = cpu->cc;                                                             \
		if (insn->opsize == 2)                                                             \
			__asm__(X86_LOAD_CC ins " %w[s], %w[d]\n\t" X86_SAVE_CC                    \
				: [d] "+r"(d), "+&a"(cc) : [s] "r"(s) : "cc");                     \
		else if (insn->opsize == 4)                                                        \
			__asm__(X86_LOAD_CC ins " %k[s], %k[d]\n\t" X86_SAVE_CC                    \
				: [d] "+r"(d), "+&a"(cc) : [s] "r"(s) : "cc");                     \
		else                                                                               \
			__asm__(X86_LOAD_CC ins " %q[s], %q[d]\n\t" X86_SAVE_CC                    \
				: [d] "+r"(d), "+&a"(cc) : [s] "r"(s) : "cc");                     \
		X86_R64(insn->dst) = d;                                                            \
		cpu->cc = cc;                                                                      \
		X86_NEXT();                                                                        \
	}

SCAN(x86_op_bsf, "bsf")
SCAN(x86_op_bsr, "bsr")

/* Results of counts with the flags the manuals define; others are cleared or kept as on Intel. */
void x86_op_popcnt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t s = operand(cpu, insn, insn->opsize);

	x86_reg_set(cpu, insn->dst, insn->opsize, (uint64_t)__builtin_popcountll(s));
	cpu->cc = s ? 0 : X86_CC_ZF;
	X86_NEXT();
}

static void count_flags(struct x86_cpu *cpu, const struct x86_insn *insn, uint64_t s, uint64_t n)
{
	x86_reg_set(cpu, insn->dst, insn->opsize, n);
	cpu->cc = (s ? 0 : X86_CC_CF) | (n ? 0 : X86_CC_ZF);
}

void x86_op_lzcnt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int bits = insn->opsize * 8;
	uint64_t s = operand(cpu, insn, insn->opsize);

	count_flags(cpu, insn, s, s ? (unsigned int)__builtin_clzll(s) - (64 - bits) : bits);
	X86_NEXT();
}

void x86_op_tzcnt(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t s = operand(cpu, insn, insn->opsize);

	count_flags(cpu, insn, s, s ? (unsigned int)__builtin_ctzll(s) : insn->opsize * 8u);
	X86_NEXT();
}

void x86_op_bswap(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	if (insn->opsize == 8)
		X86_R64(insn->dst) = __builtin_bswap64(X86_R64(insn->dst));
	else if (insn->opsize == 4)
		X86_R64(insn->dst) = __builtin_bswap32(X86_R32(insn->dst));
	else /* undefined; processors store 0 */
		X86_R16(insn->dst) = 0;
	X86_NEXT();
}

/* ---- BMI ------------------------------------------------------------------------------------------------- */

/* OF = 0, AF and PF undefined (0 here). */
static void bmi_flags(struct x86_cpu *cpu, uint64_t v, unsigned int size, bool cf)
{
	cpu->cc = (v & x86_mask(size) ? 0 : X86_CC_ZF) |
		  (v >> (size * 8 - 1) & 1 ? X86_CC_SF : 0) | (cf ? X86_CC_CF : 0);
}

void x86_op_andn(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t v = operand(cpu, insn, insn->opsize) & ~cpu->gpr[insn->vvvv];

	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	bmi_flags(cpu, v, insn->opsize, false);
	X86_NEXT();
}

void x86_op_bls(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize;
	uint64_t s = operand(cpu, insn, size), v;
	bool cf = !s;

	switch (insn->modrm >> 3 & 7) {
	case 1: /* BLSR */
		v = s & (s - 1);
		break;
	case 2: /* BLSMSK */
		v = s ^ (s - 1);
		break;
	default: /* BLSI */
		v = s & -s;
		cf = s != 0;
		break;
	}
	v &= x86_mask(size);
	x86_reg_set(cpu, insn->vvvv * 8u, size, v);
	bmi_flags(cpu, v, size, cf);
	X86_NEXT();
}

void x86_op_bextr(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t s = operand(cpu, insn, insn->opsize), control = cpu->gpr[insn->vvvv];
	unsigned int start = control & 0xff, len = control >> 8 & 0xff;
	uint64_t v = start < insn->opsize * 8u ? s >> start : 0;

	if (len < 64)
		v &= (1ull << len) - 1;
	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	cpu->cc = v ? 0 : X86_CC_ZF;
	X86_NEXT();
}

void x86_op_bzhi(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, n = cpu->gpr[insn->vvvv] & 0xff;
	uint64_t v = operand(cpu, insn, size);

	if (n < size * 8)
		v &= (1ull << n) - 1;
	x86_reg_set(cpu, insn->dst, size, v);
	bmi_flags(cpu, v, size, n > size * 8 - 1);
	X86_NEXT();
}

void x86_op_pdep(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t mask = operand(cpu, insn, insn->opsize), s = cpu->gpr[insn->vvvv], v = 0;

	for (; mask; mask &= mask - 1, s >>= 1)
		if (s & 1)
			v |= mask & -mask;
	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	X86_NEXT();
}

void x86_op_pext(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint64_t mask = operand(cpu, insn, insn->opsize), s = cpu->gpr[insn->vvvv], v = 0, bit;

	for (bit = 1; mask; mask &= mask - 1, bit <<= 1)
		if (s & (mask & -mask))
			v |= bit;
	x86_reg_set(cpu, insn->dst, insn->opsize, v);
	X86_NEXT();
}

static void add_carry(struct x86_cpu *cpu, const struct x86_insn *insn, uint32_t flag)
{
	unsigned int size = insn->opsize;
	uint64_t s = operand(cpu, insn, size), d = x86_reg_get(cpu, insn->dst, size);
	unsigned __int128 sum = (unsigned __int128)d + s + !!(cpu->cc & flag);

	x86_reg_set(cpu, insn->dst, size, (uint64_t)sum);
	cpu->cc = (cpu->cc & ~flag) | (sum >> (size * 8) & 1 ? flag : 0);
}

void x86_op_adcx(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	add_carry(cpu, insn, X86_CC_CF);
	X86_NEXT();
}

void x86_op_adox(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	add_carry(cpu, insn, X86_CC_OF);
	X86_NEXT();
}

/* CRC-32C, reflected polynomial 0x82f63b78; no flags. */
void x86_op_crc32(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	unsigned int size = insn->opsize, i;
	uint64_t s = operand(cpu, insn, size);
	uint32_t crc = X86_R32(insn->dst);

	for (; size; size--, s >>= 8) {
		crc ^= (uint8_t)s;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	X86_R64(insn->dst) = crc;
	X86_NEXT();
}
