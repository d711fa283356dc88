/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lock table: consistent in itself, and what the design's text says of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/base/lockorder.h"
#include "hv/base/util.h"

static void table_is_consistent(void **state)
{
	assert_null(hv_lockorder_table_error());
}

static void rows_are_complete(void **state)
{
	unsigned int i, j;

	for (i = 0; i < HV_LC_COUNT; i++) {
		const struct hv_lock_class_info *c = &hv_lock_classes[i];

		assert_true(c->name[0] && c->protects[0] && c->takers[0] && c->comment[0]);
		for (j = 0; j < i; j++)
			assert_string_not_equal(c->name, hv_lock_classes[j].name);
	}
}

static const struct {
	enum hv_lock_class outer, inner;
} ordered[] = {
	{ HV_LC_VENDOR_MODULE, HV_LC_CPUS_READ }, { HV_LC_CPUS_READ, HV_LC_HV },
	{ HV_LC_VENDOR_MODULE, HV_LC_HV },	  { HV_LC_VM, HV_LC_VCPU },
	{ HV_LC_VCPU, HV_LC_HYPERV },		  { HV_LC_VM, HV_LC_SLOTS },
	{ HV_LC_VM, HV_LC_IRQ },		  { HV_LC_SLOTS, HV_LC_IRQ },
	{ HV_LC_SLOTS, HV_LC_SLOTS_ARCH },	  { HV_LC_SLOTS, HV_LC_MMU },
	{ HV_LC_MMU, HV_LC_TDP_MMU_PAGES },	  { HV_LC_MMU, HV_LC_MMU_UNSYNC_PAGES },
	{ HV_LC_REGION, HV_LC_MMU },		  { HV_LC_MN_ACTIVE, HV_LC_MMU },
	{ HV_LC_MN_ACTIVE, HV_LC_MN_INVALIDATE }, { HV_LC_SLOTS_ARCH, HV_LC_MN_INVALIDATE },
	{ HV_LC_DEVICE, HV_LC_IRQCHIP },	  { HV_LC_IRQ, HV_LC_IRQCHIP },
	{ HV_LC_VCPU, HV_LC_TSC_WRITE },	  { HV_LC_VCPU, HV_LC_WAKEUP_VCPUS },
	{ HV_LC_MMU, HV_LC_WORKQUEUE },		  { HV_LC_IRQCHIP, HV_LC_VCPU_WAIT },
};

static void stated_orders_hold_one_way(void **state)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ordered); i++) {
		assert_true(hv_lockorder_permits(ordered[i].outer, ordered[i].inner));
		assert_false(hv_lockorder_permits(ordered[i].inner, ordered[i].outer));
	}
}

static void unrelated_classes_never_nest(void **state)
{
	assert_false(hv_lockorder_permits(HV_LC_HYPERV, HV_LC_SLOTS));
	assert_false(hv_lockorder_permits(HV_LC_SLOTS, HV_LC_HYPERV));
	assert_false(hv_lockorder_permits(HV_LC_TDP_MMU_PAGES, HV_LC_MMU_UNSYNC_PAGES));
	assert_false(hv_lockorder_permits(HV_LC_MMU, HV_LC_MN_INVALIDATE));
	assert_false(hv_lockorder_permits(HV_LC_WORKQUEUE, HV_LC_TIMER));
}

static void notifiers_take_no_slots_locks(void **state)
{
	assert_false(hv_lockorder_permits(HV_LC_MN_ACTIVE, HV_LC_SLOTS));
	assert_false(hv_lockorder_permits(HV_LC_MN_ACTIVE, HV_LC_SLOTS_ARCH));
}

static void leaves_have_nothing_inside(void **state)
{
	static const enum hv_lock_class leaf[] = { HV_LC_MN_INVALIDATE, HV_LC_TSC_WRITE,
						   HV_LC_WAKEUP_VCPUS, HV_LC_HYPERV };
	unsigned int i;
	int c;

	for (i = 0; i < ARRAY_SIZE(leaf); i++)
		for (c = 0; c < HV_LC_COUNT; c++)
			if (!(hv_lock_classes[c].flags & HV_LF_INNERMOST))
				assert_false(hv_lockorder_permits(leaf[i], c));
}

static void sides_of_the_grace_period(void **state)
{
	assert_int_equal(hv_lock_classes[HV_LC_SLOTS].gp, HV_GP_OUTSIDE);
	assert_int_equal(hv_lock_classes[HV_LC_SLOTS_ARCH].gp, HV_GP_INSIDE);
	assert_int_equal(hv_lock_classes[HV_LC_MMU].gp, HV_GP_INSIDE);
}

/* doc/locking.md has a section for every class. */
static void page_has_every_class(void **state)
{
	const char *top = getenv("HVD_SRCDIR");
	static char page[1 << 17];
	char path[4096], name[80];
	unsigned int i;
	FILE *f;

	if (!top) /* run by hand: no tree to look at */
		return;
	snprintf(path, sizeof(path), "%s/doc/locking.md", top);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_in_range(fread(page, 1, sizeof(page), f), 1, sizeof(page) - 1);
	fclose(f);
	for (i = 0; i < HV_LC_COUNT; i++) {
		const char *line;

		snprintf(name, sizeof(name), "`%s`", hv_lock_classes[i].name);
		for (line = strstr(page, "\n### "); line; line = strstr(line + 1, "\n### ")) {
			const char *at = strstr(line, name), *end = strchr(line + 1, '\n');

			if (at && at < end)
				break;
		}
		if (!line)
			fail_msg("doc/locking.md has no section on %s", name);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_consistent),
		cmocka_unit_test(rows_are_complete),
		cmocka_unit_test(stated_orders_hold_one_way),
		cmocka_unit_test(unrelated_classes_never_nest),
		cmocka_unit_test(notifiers_take_no_slots_locks),
		cmocka_unit_test(leaves_have_nothing_inside),
		cmocka_unit_test(sides_of_the_grace_period),
		cmocka_unit_test(page_has_every_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
