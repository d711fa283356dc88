/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages go to the sink, with their prefix, limited; assertions say where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "hv/base/assert.h"
#include "hv/base/log.h"
#include "tests/unit/death.h"

static char last[HV_LOG_MESSAGE_MAX + 1], last_prefix[HV_LOG_PREFIX_MAX];
static int messages, last_level;

static void keep(void *opaque, enum hv_log_level level, const char *prefix, const char *message)
{
	assert_ptr_equal(opaque, &messages);
	messages++;
	last_level = (int)level;
	snprintf(last, sizeof(last), "%s", message);
	snprintf(last_prefix, sizeof(last_prefix), "%s", prefix);
}

static int setup(void **state)
{
	messages = 0;
	hv_log_set_sink(keep, &messages);
	hv_log_set_level(HV_LOG_INFO);
	return 0;
}

static int teardown(void **state)
{
	hv_log_set_sink(NULL, NULL);
	return 0;
}

static void levels_and_prefix(void **state)
{
	struct hv_logger lg;

	hv_logger_init(&lg, "debian");
	hv_log(&lg, HV_LOG_WARNING, "slot %d: %s", 3, "overlaps");
	assert_string_equal(last, "slot 3: overlaps");
	assert_string_equal(last_prefix, "debian");
	assert_int_equal(last_level, HV_LOG_WARNING);
	hv_log(NULL, HV_LOG_INFO, "engine");
	assert_string_equal(last_prefix, "");
	hv_log(NULL, HV_LOG_DEBUG, "not this");
	assert_int_equal(messages, 2);
	hv_log_set_level(HV_LOG_DEBUG);
	assert_true(hv_log_enabled(HV_LOG_DEBUG));
	hv_log(NULL, HV_LOG_DEBUG, "this");
	assert_int_equal(messages, 3);
}

static void too_long_is_cut(void **state)
{
	static char text[2 * HV_LOG_MESSAGE_MAX];
	struct hv_logger lg;

	memset(text, 'x', sizeof(text) - 1);
	hv_log(NULL, HV_LOG_ERR, "%s", text);
	assert_int_equal(strlen(last), HV_LOG_MESSAGE_MAX - 1);
	hv_logger_init(&lg, text);
	assert_int_equal(strlen(lg.prefix), HV_LOG_PREFIX_MAX - 1);
}

static void no_sink_no_message(void **state)
{
	hv_log_set_sink(NULL, NULL);
	hv_log(NULL, HV_LOG_ERR, "nobody hears");
	assert_int_equal(messages, 0);
}

static void limits(void **state)
{
	struct hv_ratelimit rl = HV_RATELIMIT_INIT(1000, 2);
	uint64_t suppressed = 99;

	assert_true(hv_ratelimit(&rl, 5000, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_true(hv_ratelimit(&rl, 5001, &suppressed));
	assert_false(hv_ratelimit(&rl, 5002, &suppressed));
	assert_false(hv_ratelimit(&rl, 5999, &suppressed));
	assert_true(hv_ratelimit(&rl, 6000, &suppressed));
	assert_int_equal(suppressed, 2);
}

static void floods_are_stopped(void **state)
{
	int i;

	for (i = 0; i < 1000; i++)
		hv_log_ratelimited(NULL, HV_LOG_WARNING, "flood %d", i);
	assert_true(messages >= 10 && messages <= 30);
}

static void bug(void)
{
	int zero = 0;

	DEATH_SITE(HV_BUG_ON(zero == 0));
}

static void bug_with_words(void)
{
	DEATH_SITE(HV_BUG("count is %d", 4));
}

static void tell(void *opaque, enum hv_log_level level, const char *prefix, const char *message)
{
	fprintf(stderr, "sink heard %d: %s\n", (int)level, message);
}

static void bug_reaches_sink(void)
{
	hv_log_set_sink(tell, NULL);
	HV_BUG("told");
}

static void assertions(void **state)
{
	int calls = 0;

	HV_BUG_ON(calls++ > 0);
	assert_int_equal(calls, 1);
	HV_DEBUG_BUG_ON(calls > 1);
	assert_death(bug, "zero == 0");
	assert_death(bug_with_words, "count is 4");
	assert_death(bug_reaches_sink, "sink heard 2: BUG at");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(levels_and_prefix, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(no_sink_no_message, setup, teardown),
		cmocka_unit_test_setup_teardown(limits, setup, teardown),
		cmocka_unit_test_setup_teardown(floods_are_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(assertions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
