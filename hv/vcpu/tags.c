/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See tags.h. */
#include "hv/vcpu/tags.h"

/* The lowest free of the usable bits, taken; 64: there is none. */
static unsigned int take_bit(_Atomic uint64_t *word, uint64_t usable)
{
	uint64_t used = atomic_load(word);

	while (usable & ~used) {
		unsigned int bit = (unsigned int)__builtin_ctzll(usable & ~used);

		if (atomic_compare_exchange_weak(word, &used, used | 1ULL << bit))
			return bit;
	}
	return 64;
}

uint32_t vcpu_tag_alloc(struct vcpu_tags *tags, uint32_t limit)
{
	for (uint32_t first = 0; first < limit; first += 64) {
		uint64_t usable = limit - first >= 64 ? ~0ULL : (1ULL << (limit - first)) - 1;
		unsigned int bit = take_bit(&tags->used[first / 64], first ? usable : usable & ~1ULL);

		if (bit < 64)
			return first + bit;
	}
	return 0;
}

void vcpu_tag_free(struct vcpu_tags *tags, uint32_t tag)
{
	if (tag)
		atomic_fetch_and(&tags->used[tag / 64], ~(1ULL << (tag % 64)));
}
