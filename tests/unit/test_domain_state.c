/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/domain_state.c: names and arrows. What the daemon does with them: tests/integration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "daemon/domain_state.h"

static void test_names(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < DOMAIN_STATE_COUNT; i++)
		assert_int_equal(domain_state_by_name(domain_state_names[i]), i);
	for (i = 0; i < DOMAIN_REASON_COUNT; i++)
		assert_int_equal(domain_reason_by_name(domain_reason_names[i]), i);
	assert_null(domain_state_names[DOMAIN_STATE_COUNT]);
	assert_null(domain_reason_names[DOMAIN_REASON_COUNT]);
	assert_int_equal(domain_state_by_name("happy"), -1);
	assert_int_equal(domain_state_by_name(NULL), -1);
	assert_int_equal(domain_reason_by_name(""), -1);
}

static void test_arrows(void **state)
{
	(void)state;
	/* The life of a guest. */
	assert_true(domain_state_may_follow(DOMAIN_SHUTOFF, DOMAIN_STARTING));
	assert_true(domain_state_may_follow(DOMAIN_STARTING, DOMAIN_RUNNING));
	assert_true(domain_state_may_follow(DOMAIN_RUNNING, DOMAIN_PAUSED));
	assert_true(domain_state_may_follow(DOMAIN_PAUSED, DOMAIN_RUNNING));
	assert_true(domain_state_may_follow(DOMAIN_RUNNING, DOMAIN_SHUTDOWN));
	assert_true(domain_state_may_follow(DOMAIN_SHUTDOWN, DOMAIN_SHUTOFF));
	assert_true(domain_state_may_follow(DOMAIN_CRASHED, DOMAIN_STARTING));
	/* What must not be: an end that is not one, a start of what runs. */
	assert_false(domain_state_may_follow(DOMAIN_RUNNING, DOMAIN_SHUTOFF));
	assert_false(domain_state_may_follow(DOMAIN_PAUSED, DOMAIN_SHUTOFF));
	assert_false(domain_state_may_follow(DOMAIN_RUNNING, DOMAIN_STARTING));
	assert_false(domain_state_may_follow(DOMAIN_PAUSED, DOMAIN_STARTING));
	assert_false(domain_state_may_follow(DOMAIN_SHUTDOWN, DOMAIN_RUNNING));
	assert_false(domain_state_may_follow(DOMAIN_SHUTDOWN, DOMAIN_PAUSED));
	assert_false(domain_state_may_follow(DOMAIN_SHUTDOWN, DOMAIN_STARTING));
	assert_false(domain_state_may_follow(DOMAIN_STARTING, DOMAIN_STARTING));
}

static void test_every_state_ends(void **state)
{
	int from, step, to;

	(void)state;
	/* From each state shutoff is reached, and a worker's death is possible while one lives. */
	for (from = 0; from < DOMAIN_STATE_COUNT; from++) {
		unsigned int reach = 1u << from;

		for (step = 0; step < DOMAIN_STATE_COUNT; step++)
			for (to = 0; to < DOMAIN_STATE_COUNT; to++)
				for (int via = 0; via < DOMAIN_STATE_COUNT; via++)
					if (reach & 1u << via && domain_state_may_follow(via, to))
						reach |= 1u << to;
		assert_true(reach & 1u << DOMAIN_SHUTOFF);
		if (domain_state_active(from))
			assert_true(domain_state_may_follow(from, DOMAIN_CRASHED));
	}
	assert_false(domain_state_has_machine(DOMAIN_SHUTOFF));
	assert_false(domain_state_has_machine(DOMAIN_STARTING));
	assert_true(domain_state_has_machine(DOMAIN_PAUSED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_arrows),
		cmocka_unit_test(test_every_state_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
