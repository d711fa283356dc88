/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bits of one word. Positions count from 0, the least significant bit.
 */
#ifndef HV_BASE_BITOPS_H
#define HV_BASE_BITOPS_H

#include <stdbool.h>
#include <stdint.h>

#define HV_BIT(n) (UINT64_C(1) << (n))

/* Bits hi..lo, both included; 63 >= hi >= lo >= 0. */
#define HV_GENMASK(hi, lo) ((~UINT64_C(0) >> (63 - (hi))) & (~UINT64_C(0) << (lo)))

/* The lowest set bit; undefined for 0. */
static inline unsigned int hv_ffs64(uint64_t v)
{
	return (unsigned int)__builtin_ctzll(v);
}

/* The highest set bit; undefined for 0. */
static inline unsigned int hv_fls64(uint64_t v)
{
	return 63U - (unsigned int)__builtin_clzll(v);
}

static inline unsigned int hv_popcount64(uint64_t v)
{
	return (unsigned int)__builtin_popcountll(v);
}

static inline bool hv_is_power_of_2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* The smallest power of two that is not below v; 1 for 0, 0 above 2^63. */
static inline uint64_t hv_roundup_pow2(uint64_t v)
{
	if (v <= 1)
		return 1;
	if (v > HV_BIT(63))
		return 0;
	return HV_BIT(hv_fls64(v - 1)) << 1;
}

/* Field hi..lo of v, shifted down to bit 0. */
static inline uint64_t hv_field(uint64_t v, unsigned int hi, unsigned int lo)
{
	return (v & HV_GENMASK(hi, lo)) >> lo;
}

/* v, whose sign is bit `bit`, extended to 64 bits. */
static inline uint64_t hv_sign_extend64(uint64_t v, unsigned int bit)
{
	return (uint64_t)((int64_t)(v << (63 - bit)) >> (63 - bit));
}

#endif
