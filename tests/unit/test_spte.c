/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv/mmu/spte.c: what entries say to a processor (tests/lib/mmu_hw.h), to us, and
 * what a change of them obliges to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/mmu/spte.h"
#include "tests/lib/mmu_hw.h"

static uint64_t table_mem[512] __attribute__((aligned(4096)));

static const struct spte_format *formats[] = { &spte_format_ept, &spte_format_x86 };

static struct spte_request request(const struct spte_format *f, int level)
{
	return (struct spte_request){
		.fmt = f, .pfn = 0x7f1234600 & ~(HV_PAGES_PER_LEVEL(level) - 1), .level = level,
		.access = ACC_ALL, .host_writable = true, .mmu_writable = true, .writable = true,
		.dirty = true, .accessed = true, .ad_enabled = true,
	};
}

/* One access through a table whose entry 0 is the spte at `level`. */
static enum hw_result hw_one(struct hw_cpu *c, const struct spte_format *f, uint64_t spte, int level,
			     unsigned int acc, uint64_t *hva)
{
	*c = (struct hw_cpu){
		.kind = f->ept ? HW_EPT : HW_NPT, .ad = true, .root = (uintptr_t)table_mem,
		.level = level,
	};
	memset(table_mem, 0, sizeof(table_mem));
	table_mem[0] = spte;
	return hw_access(c, 0, acc, hva);
}

static void leaf_is_what_the_processor_sees(void **state)
{
	unsigned int i, acc;
	int level;

	for (i = 0; i < 2; i++)
		for (level = 1; level <= 3; level++) {
			struct spte_request req = request(formats[i], level);
			uint64_t spte = spte_make_leaf(&req), hva;
			struct hw_cpu c;

			for (acc = 0; acc <= HW_EXEC; acc++) {
				assert_int_equal(hw_one(&c, formats[i], spte, level, acc, &hva), HW_OK);
				assert_int_equal(hva, req.pfn << 12);
			}
			assert_true(spte_present(spte) && spte_is_leaf(spte, level));
			assert_int_equal(spte_pfn(spte), req.pfn);
			assert_true(spte_writable(spte) && spte_executable(formats[i], spte));
			assert_true(spte_accessed(formats[i], spte) && spte_dirty(formats[i], spte));
			assert_false(spte_volatile(formats[i], spte));
			assert_false(spte_is_mmio(formats[i], spte));
		}
}

static void rights_are_withheld(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		const struct spte_format *f = formats[i];
		struct spte_request req = request(f, 1);
		struct hw_cpu c;
		uint64_t hva, spte;

		req.access = 0; /* neither write nor exec nor user */
		spte = spte_make_leaf(&req);
		assert_false(spte_writable(spte));
		assert_false(spte_may_set_w(f, spte));
		assert_int_equal(hw_one(&c, f, spte, 1, HW_WRITE, &hva), HW_VIOLATION);
		if (!f->ept)
			assert_false(spte & SPTE_X86_U);

		req = request(f, 2);
		req.nx = true;
		spte = spte_make_leaf(&req);
		assert_int_equal(hw_one(&c, f, spte, 2, HW_EXEC, &hva), HW_VIOLATION);
		assert_int_equal(c.error & 1, 1);
		assert_int_equal(hw_one(&c, f, spte, 2, HW_WRITE, &hva), HW_OK);

		/* The host forbids writes: neither W nor the permission to set it. */
		req = request(f, 1);
		req.host_writable = false;
		spte = spte_make_leaf(&req);
		assert_false(spte_writable(spte) || spte_may_set_w(f, spte));
		/* Write-tracked: likewise, and HOST_WRITABLE stays. */
		req = request(f, 1);
		req.mmu_writable = false;
		spte = spte_make_leaf(&req);
		assert_false(spte_writable(spte) || spte_may_set_w(f, spte));
		assert_true(spte & f->host_writable);
		/* Held back for the dirty log: W may be set by a fast fault. */
		req = request(f, 1);
		req.writable = false;
		spte = spte_make_leaf(&req);
		assert_false(spte_writable(spte));
		assert_true(spte_may_set_w(f, spte));
		assert_true(spte_volatile(f, spte));
	}
}

static void volatile_predicate(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		const struct spte_format *f = formats[i];
		struct spte_request req = request(f, 1);

		req.accessed = false;
		assert_true(spte_volatile(f, spte_make_leaf(&req))); /* A may be set */
		req = request(f, 1);
		req.dirty = false;
		assert_true(spte_volatile(f, spte_make_leaf(&req))); /* D may be set */
		/* Read-only for good: nothing can change. */
		req.mmu_writable = false;
		assert_false(spte_volatile(f, spte_make_leaf(&req)));
	}
	/* Without A/D the processor changes nothing; a fast fault may. */
	{
		struct spte_request req = request(&spte_format_ept, 1);
		uint64_t spte;

		req.ad_enabled = false;
		spte = spte_make_leaf(&req);
		assert_false(spte_volatile(&spte_format_ept, spte));
		assert_true(spte_volatile(&spte_format_ept,
					  spte_mark_tracked(&spte_format_ept, spte)));
		assert_true(spte_volatile(&spte_format_ept, spte & ~SPTE_W));
	}
}

static void access_tracking_saves_r_and_x_not_w(void **state)
{
	const struct spte_format *f = &spte_format_ept;
	struct spte_request req = request(f, 1);
	struct hw_cpu c;
	uint64_t spte, tracked, back, hva;
	unsigned int x;

	req.ad_enabled = false;
	for (x = 0; x < 2; x++) {
		req.nx = x;
		spte = spte_make_leaf(&req);
		tracked = spte_mark_tracked(f, spte);
		assert_true(spte_is_tracked(f, tracked));
		assert_true(spte_present(tracked));
		assert_false(spte_accessed(f, tracked));
		assert_int_equal(hw_one(&c, f, tracked, 1, HW_READ, &hva), HW_VIOLATION);
		assert_int_equal(c.error & 1, 0);
		assert_false(spte_is_mmio(f, tracked));
		assert_int_equal(spte_mark_tracked(f, tracked), tracked);
		back = spte_restore_tracked(f, tracked);
		assert_int_equal(back, spte & ~SPTE_W);
		assert_true(spte_may_set_w(f, back));
	}
	/* With A/D: only A goes. */
	req = request(f, 1);
	spte = spte_make_leaf(&req);
	assert_int_equal(spte_mark_tracked(f, spte), spte & ~SPTE_EPT_A);
	assert_false(spte_accessed(f, spte_mark_tracked(f, spte)));
	assert_int_equal(spte_restore_tracked(f, spte), spte);
}

static void mmio_round_trip(void **state)
{
	static const uint64_t gens[] = { 0, 1, 2, 0xff, 0x100, 0x7fffe, 0x7ffff, 0x12345678 };
	static const uint64_t gfns[] = { 0, 1, 0xfee00, 0xffffffffff };
	unsigned int i, g, n;

	for (i = 0; i < 2; i++)
		for (g = 0; g < sizeof(gens) / sizeof(*gens); g++)
			for (n = 0; n < 4; n++) {
				const struct spte_format *f = formats[i];
				uint64_t spte = spte_make_mmio(f, gfns[n], ACC_USER, gens[g]), hva;
				struct hw_cpu c;

				assert_true(spte_is_mmio(f, spte));
				assert_false(spte_present(spte));
				assert_false(spte_is_frozen(spte));
				assert_int_equal(spte_mmio_gfn(spte), gfns[n]);
				assert_int_equal(spte_mmio_generation(spte),
						 gens[g] & SPTE_MMIO_GEN_MASK);
				if (!f->ept)
					assert_int_equal(spte_mmio_access(f, spte), ACC_USER);
				assert_int_equal(hw_one(&c, f, spte, 1, HW_READ, &hva),
						 f->ept ? HW_MISCONFIG : HW_VIOLATION);
				if (!f->ept)
					assert_int_equal(c.error & 1, 0);
			}
}

static void frozen_is_nothing_to_a_processor(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct hw_cpu c;
		uint64_t hva;

		assert_int_equal(hw_one(&c, formats[i], SPTE_FROZEN, 1, HW_READ, &hva), HW_VIOLATION);
		assert_int_equal(c.error & 1, 0);
		assert_false(spte_present(SPTE_FROZEN));
		assert_false(spte_is_mmio(formats[i], SPTE_FROZEN));
		assert_true(spte_is_frozen(SPTE_FROZEN));
		assert_false(spte_is_mmio(formats[i], 0) || spte_is_frozen(0));
	}
}

static void split_keeps_everything(void **state)
{
	unsigned int i, n;
	int level;

	for (i = 0; i < 2; i++)
		for (level = 2; level <= 3; level++) {
			const struct spte_format *f = formats[i];
			struct spte_request req = request(f, level);
			uint64_t huge = spte_make_leaf(&req), hva;
			struct hw_cpu c;

			for (n = 0; n < 512; n += 73) {
				uint64_t child = spte_split_child(f, huge, level - 1, n, false);

				assert_int_equal(spte_pfn(child),
						 req.pfn + n * HV_PAGES_PER_LEVEL(level - 1));
				assert_true(spte_is_leaf(child, level - 1));
				assert_int_equal(!!(child & SPTE_PS), level - 1 > 1);
				assert_int_equal(spte_dirty(f, child), spte_dirty(f, huge));
				assert_int_equal(spte_accessed(f, child), spte_accessed(f, huge));
				assert_int_equal(hw_one(&c, f, child, level - 1, HW_WRITE, &hva), HW_OK);
			}
			/* NX huge pages: small pages get their X back. */
			req.nx = true;
			huge = spte_make_leaf(&req);
			assert_false(spte_executable(f, spte_split_child(f, huge, 1, 3, false)));
			assert_true(spte_executable(f, spte_split_child(f, huge, 1, 3, true)));
		}
}

static void flush_rules(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		const struct spte_format *f = formats[i];
		struct spte_request req = request(f, 1);
		uint64_t rw = spte_make_leaf(&req), ro = rw & ~SPTE_W;

		assert_true(spte_change_needs_flush(f, rw, 0, 1));
		assert_true(spte_change_needs_flush(f, rw, SPTE_FROZEN, 1));
		assert_true(spte_change_needs_flush(f, rw, ro, 1));
		assert_false(spte_change_needs_flush(f, ro, rw, 1));
		assert_false(spte_change_needs_flush(f, rw, rw, 1));
		assert_false(spte_change_needs_flush(f, 0, rw, 1));
		assert_false(spte_change_needs_flush(f, spte_make_mmio(f, 1, 0, 2), rw, 1));
		/* Reads as read-only, but somebody who cleared W may not have flushed yet. */
		assert_true(spte_change_needs_flush(f, ro, ro & ~f->mmu_writable, 1));
		/* Another page, D taken away, another size. */
		assert_true(spte_change_needs_flush(f, rw, rw + 0x1000, 1));
		assert_true(spte_change_needs_flush(f, rw, rw & ~f->dirty, 1));
		assert_false(spte_change_needs_flush(f, rw, rw & ~f->accessed, 1));
		assert_true(spte_change_needs_flush(f, spte_make_table(f, table_mem, true), 0, 2));
		/* A split changes no translation; the reverse frees a table. */
		req.level = 2;
		req.pfn &= ~511ULL;
		rw = spte_make_leaf(&req);
		assert_false(spte_change_needs_flush(f, rw, spte_make_table(f, table_mem, true), 2));
		assert_true(spte_change_needs_flush(f, spte_make_table(f, table_mem, true), rw, 2));
	}
}

static void table_entry_permits_all(void **state)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		const struct spte_format *f = formats[i];
		struct spte_request req = request(f, 1);
		struct hw_cpu c;
		uint64_t hva, leaf[512] __attribute__((aligned(4096)));
		int level;

		for (level = 2; level <= 5; level++) {
			/* A chain would do; one level at a time checks each level's reserved bits. */
			uint64_t e = spte_make_table(f, leaf, true);

			memset(leaf, 0, sizeof(leaf));
			assert_true(spte_is_table(e, level));
			assert_false(spte_is_leaf(e, level));
			hw_one(&c, f, e, level, HW_READ, &hva);
			assert_int_equal(c.fault_level, level - 1);
			assert_int_equal(c.fault_entry, 0);
		}
		leaf[0] = spte_make_leaf(&req);
		assert_int_equal(hw_one(&c, f, spte_make_table(f, leaf, false), 2, HW_WRITE, &hva),
				 HW_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf_is_what_the_processor_sees),
		cmocka_unit_test(rights_are_withheld),
		cmocka_unit_test(volatile_predicate),
		cmocka_unit_test(access_tracking_saves_r_and_x_not_w),
		cmocka_unit_test(mmio_round_trip),
		cmocka_unit_test(frozen_is_nothing_to_a_processor),
		cmocka_unit_test(split_keeps_everything),
		cmocka_unit_test(flush_rules),
		cmocka_unit_test(table_entry_permits_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
