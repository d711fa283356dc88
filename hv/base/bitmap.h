/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bitmaps of 64-bit words, bit n in word n / 64 at position n % 64, the layout
 * of a dirty log. The plain calls need the caller's exclusion; the atomic ones
 * (`_atomic`) may race with each other and order fully.
 */
#ifndef HV_BASE_BITMAP_H
#define HV_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hv/base/bitops.h"

/* Words, and bytes, that `nbits` bits need. */
static inline size_t hv_bitmap_words(size_t nbits)
{
	return nbits / 64 + (nbits % 64 != 0);
}

static inline size_t hv_bitmap_bytes(size_t nbits)
{
	return hv_bitmap_words(nbits) * sizeof(uint64_t);
}

static inline bool hv_bitmap_test(const uint64_t *map, size_t n)
{
	return (__atomic_load_n(&map[n / 64], __ATOMIC_RELAXED) >> (n % 64)) & 1;
}

static inline void hv_bitmap_set(uint64_t *map, size_t n)
{
	map[n / 64] |= HV_BIT(n % 64);
}

static inline void hv_bitmap_clear(uint64_t *map, size_t n)
{
	map[n / 64] &= ~HV_BIT(n % 64);
}

/* True if the bit was set before. */
static inline bool hv_bitmap_test_and_set_atomic(uint64_t *map, size_t n)
{
	uint64_t bit = HV_BIT(n % 64);

	return __atomic_fetch_or(&map[n / 64], bit, __ATOMIC_SEQ_CST) & bit;
}

static inline bool hv_bitmap_test_and_clear_atomic(uint64_t *map, size_t n)
{
	uint64_t bit = HV_BIT(n % 64);

	return __atomic_fetch_and(&map[n / 64], ~bit, __ATOMIC_SEQ_CST) & bit;
}

/* Sets a bit, and does not write to the cache line if it is set already. */
static inline void hv_bitmap_set_atomic(uint64_t *map, size_t n)
{
	if (!hv_bitmap_test(map, n))
		__atomic_fetch_or(&map[n / 64], HV_BIT(n % 64), __ATOMIC_SEQ_CST);
}

/* The bits of word w that lie within [start, start + len). */
static inline uint64_t hv_bitmap_range_mask(size_t w, size_t start, size_t len)
{
	size_t first = w * 64, end = start + len;
	uint64_t mask = ~UINT64_C(0);

	if (end <= first || start >= first + 64)
		return 0;
	if (start > first)
		mask &= ~UINT64_C(0) << (start - first);
	if (end < first + 64)
		mask &= ~UINT64_C(0) >> (first + 64 - end);
	return mask;
}

static inline void hv_bitmap_set_range(uint64_t *map, size_t start, size_t len)
{
	size_t w;

	for (w = start / 64; len && w <= (start + len - 1) / 64; w++)
		map[w] |= hv_bitmap_range_mask(w, start, len);
}

static inline void hv_bitmap_clear_range(uint64_t *map, size_t start, size_t len)
{
	size_t w;

	for (w = start / 64; len && w <= (start + len - 1) / 64; w++)
		map[w] &= ~hv_bitmap_range_mask(w, start, len);
}

/* Set bits among the first nbits. */
static inline size_t hv_bitmap_weight(const uint64_t *map, size_t nbits)
{
	size_t w, sum = 0;

	for (w = 0; w < hv_bitmap_words(nbits); w++)
		sum += hv_popcount64(map[w] & hv_bitmap_range_mask(w, 0, nbits));
	return sum;
}

/* The first set bit at or after `from`; nbits if there is none. */
static inline size_t hv_bitmap_find_next(const uint64_t *map, size_t nbits, size_t from)
{
	size_t w;

	for (w = from / 64; from < nbits && w < hv_bitmap_words(nbits); w++) {
		uint64_t v = map[w] & hv_bitmap_range_mask(w, from, nbits - from);

		if (v)
			return w * 64 + hv_ffs64(v);
	}
	return nbits;
}

/* The first clear bit at or after `from`; nbits if there is none. */
static inline size_t hv_bitmap_find_next_zero(const uint64_t *map, size_t nbits, size_t from)
{
	size_t w;

	for (w = from / 64; from < nbits && w < hv_bitmap_words(nbits); w++) {
		uint64_t v = ~map[w] & hv_bitmap_range_mask(w, from, nbits - from);

		if (v)
			return w * 64 + hv_ffs64(v);
	}
	return nbits;
}

static inline void hv_bitmap_zero(uint64_t *map, size_t nbits)
{
	memset(map, 0, hv_bitmap_bytes(nbits));
}

#define hv_bitmap_for_each_set(n, map, nbits)                                                      \
	for ((n) = hv_bitmap_find_next((map), (nbits), 0); (n) < (nbits);                          \
	     (n) = hv_bitmap_find_next((map), (nbits), (n) + 1))

#endif
