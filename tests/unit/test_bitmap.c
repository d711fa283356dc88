/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bits and bitmaps, the latter against an array of bools.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>

#include "hv/base/bitmap.h"
#include "hv/base/util.h"

#define BITS 301

static void words(void **state)
{
	assert_int_equal(HV_GENMASK(63, 0), UINT64_MAX);
	assert_int_equal(HV_GENMASK(0, 0), 1);
	assert_int_equal(HV_GENMASK(51, 12), 0xffffffffff000);
	assert_int_equal(hv_ffs64(0x50), 4);
	assert_int_equal(hv_fls64(0x50), 6);
	assert_int_equal(hv_fls64(UINT64_MAX), 63);
	assert_int_equal(hv_popcount64(UINT64_MAX), 64);
	assert_false(hv_is_power_of_2(0));
	assert_false(hv_is_power_of_2(6));
	assert_true(hv_is_power_of_2(HV_BIT(63)));
	assert_int_equal(hv_roundup_pow2(0), 1);
	assert_int_equal(hv_roundup_pow2(1), 1);
	assert_int_equal(hv_roundup_pow2(2), 2);
	assert_int_equal(hv_roundup_pow2(3), 4);
	assert_int_equal(hv_roundup_pow2(HV_BIT(63)), HV_BIT(63));
	assert_int_equal(hv_roundup_pow2(HV_BIT(63) + 1), 0);
	assert_int_equal(hv_field(0xabcd, 11, 4), 0xbc);
	assert_int_equal(hv_sign_extend64(0x80, 7), UINT64_C(0xffffffffffffff80));
	assert_int_equal(hv_sign_extend64(0x7f, 7), 0x7f);
}

static void arithmetic(void **state)
{
	struct outer {
		int x, y;
	} o, *p = &o;
	static const int four[4];

	assert_int_equal(hv_align_up(UINT64_C(4097), HV_PAGE_SIZE), 8192);
	assert_int_equal(hv_align_up(UINT64_C(4096), HV_PAGE_SIZE), 4096);
	assert_int_equal(hv_align_down(UINT64_C(4097), HV_PAGE_SIZE), 4096);
	assert_int_equal(hv_align_down(UINT64_MAX, HV_SZ_1G), UINT64_MAX - (HV_SZ_1G - 1));
	assert_true(hv_is_aligned(HV_SZ_2M, HV_PAGE_SIZE));
	assert_false(hv_is_aligned(HV_SZ_2M + 8, HV_PAGE_SIZE));
	assert_int_equal(hv_min(3, 4), 3);
	assert_int_equal(hv_max(3, 4), 4);
	assert_int_equal(hv_div_round_up(9, 4), 3);
	assert_int_equal(ARRAY_SIZE(four), 4);
	assert_ptr_equal(container_of(&p->y, struct outer, y), p);
}

static size_t model_next(const bool *model, size_t from, bool value)
{
	while (from < BITS && model[from] != value)
		from++;
	return from < BITS ? from : BITS;
}

static void check_against(const uint64_t *map, const bool *model)
{
	size_t n, weight = 0;

	for (n = 0; n < BITS; n++) {
		assert_int_equal(hv_bitmap_test(map, n), model[n]);
		assert_int_equal(hv_bitmap_find_next(map, BITS, n), model_next(model, n, true));
		assert_int_equal(hv_bitmap_find_next_zero(map, BITS, n),
				 model_next(model, n, false));
		weight += model[n];
	}
	assert_int_equal(hv_bitmap_weight(map, BITS), weight);
	hv_bitmap_for_each_set(n, map, BITS) {
		assert_true(model[n]);
		weight--;
	}
	assert_int_equal(weight, 0);
}

static void change(uint64_t *map, bool *model, unsigned int *seed)
{
	size_t at = (size_t)rand_r(seed) % BITS, len = (size_t)rand_r(seed) % (BITS - at + 1), i;
	unsigned int op = (unsigned int)rand_r(seed) % 7;

	switch (op) {
	case 0:
		hv_bitmap_set(map, at);
		model[at] = true;
		break;
	case 1:
		hv_bitmap_clear(map, at);
		model[at] = false;
		break;
	case 2:
		assert_int_equal(hv_bitmap_test_and_set_atomic(map, at), model[at]);
		model[at] = true;
		break;
	case 3:
		assert_int_equal(hv_bitmap_test_and_clear_atomic(map, at), model[at]);
		model[at] = false;
		break;
	case 4:
		hv_bitmap_set_atomic(map, at);
		model[at] = true;
		break;
	default:
		for (i = at; i < at + len; i++)
			model[i] = op == 5;
		if (op == 5)
			hv_bitmap_set_range(map, at, len);
		else
			hv_bitmap_clear_range(map, at, len);
	}
}

static void bitmaps_follow_the_model(void **state)
{
	uint64_t map[5 + 1] = { 0 };
	bool model[BITS] = { false };
	unsigned int seed = 1;
	int i;

	assert_int_equal(hv_bitmap_words(BITS), 5);
	assert_int_equal(hv_bitmap_bytes(BITS), 40);
	map[5] = UINT64_C(0x1234); /* beyond the end: must stay */
	for (i = 0; i < 3000; i++) {
		change(map, model, &seed);
		if (i % 10 == 0)
			check_against(map, model);
	}
	check_against(map, model);
	assert_int_equal(map[5], 0x1234);
	hv_bitmap_zero(map, BITS);
	assert_int_equal(hv_bitmap_find_next(map, BITS, 0), BITS);
	assert_int_equal(map[5], 0x1234);
}

static void edges(void **state)
{
	uint64_t map[2] = { UINT64_MAX, UINT64_MAX };

	assert_int_equal(hv_bitmap_words(0), 0);
	assert_int_equal(hv_bitmap_words(64), 1);
	assert_int_equal(hv_bitmap_words(65), 2);
	/* Set bits beyond nbits are not there. */
	assert_int_equal(hv_bitmap_weight(map, 70), 70);
	assert_int_equal(hv_bitmap_find_next_zero(map, 70, 0), 70);
	assert_int_equal(hv_bitmap_find_next(map, 70, 70), 70);
	assert_int_equal(hv_bitmap_range_mask(0, 0, 0), 0);
	assert_int_equal(hv_bitmap_range_mask(1, 0, 64), 0);
	assert_int_equal(hv_bitmap_range_mask(1, 0, 65), 1);
	hv_bitmap_clear_range(map, 0, 0);
	assert_int_equal(map[0], UINT64_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(arithmetic),
		cmocka_unit_test(bitmaps_follow_the_model),
		cmocka_unit_test(edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
