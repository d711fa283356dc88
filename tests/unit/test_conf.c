/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/conf.c: each key, each refusal with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "daemon/conf.h"

static char path[64];
static char message[512];

static int load(const char *text, struct hvd_config *config)
{
	FILE *f;
	int fd;

	strcpy(path, "/tmp/hvd-conf.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	fputs(text, f);
	fclose(f);
	config_defaults(config);
	message[0] = '\0';
	fd = config_load(config, path, message, sizeof(message));
	unlink(path);
	return fd;
}

static void test_all_keys(void **state)
{
	struct hvd_config c;

	(void)state;
	assert_int_equal(load("# a comment\n; another\n\n [Daemon] \n"
			      "LogLevel=debug\n\tEventRing = 128 \nMaxJobs=3\n"
			      "[Socket]\nMode=0600\nGroup=wheel\nReadOnlyMode=644\nReadOnlyGroup=users\r\n"
			      "MaxConnections=9\nStallTimeoutSec=7\n"
			      "[Worker]\nUidRange=5000-5009\nSandbox=try\nStartTimeoutSec=5\nMaxDomains=2\n"
			      "[Migration]\nListen=127.0.0.1:4999\n"
			      "[Metrics]\nListen=[::1]:9100",
			      &c),
			 0);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.event_ring, 128);
	assert_int_equal(c.max_jobs, 3);
	assert_int_equal(c.mode, 0600);
	assert_string_equal(c.group, "wheel");
	assert_int_equal(c.ro_mode, 0644);
	assert_string_equal(c.ro_group, "users");
	assert_int_equal(c.max_connections, 9);
	assert_int_equal(c.stall_sec, 7);
	assert_int_equal(c.uid_first, 5000);
	assert_int_equal(c.uid_last, 5009);
	assert_int_equal(c.sandbox, SANDBOX_TRY);
	assert_int_equal(c.start_sec, 5);
	assert_int_equal(c.max_domains, 2);
	assert_string_equal(c.migration_listen, "127.0.0.1:4999");
	assert_string_equal(c.metrics_listen, "[::1]:9100");
	assert_int_equal(load("", &c), 0);
	assert_int_equal(load("[Metrics]\nListen=\n", &c), 0);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		int line;
	} bad[] = {
		{ "[Daemon]\nColour=1\n", 2 },
		{ "LogLevel=info\n", 1 },
		{ "[Socket]\nLogLevel=info\n", 2 },
		{ "[Nothing]\n", 1 },
		{ "[Daemon\n", 1 },
		{ "[Daemon]\n\nnonsense\n", 3 },
		{ "[Daemon]\nLogLevel=loud\n", 2 },
		{ "[Daemon]\nEventRing=15\n", 2 },
		{ "[Daemon]\nEventRing=99999999999999999999\n", 2 },
		{ "[Daemon]\nEventRing=\n", 2 },
		{ "[Daemon]\nEventRing=16x\n", 2 },
		{ "[Socket]\nMode=888\n", 2 },
		{ "[Socket]\nMode=01777\n", 2 },
		{ "[Socket]\nMaxConnections=0\n", 2 },
		{ "[Worker]\nUidRange=5\n", 2 },
		{ "[Worker]\nUidRange=9-5\n", 2 },
		{ "[Worker]\nUidRange=0-5\n", 2 },
		{ "[Worker]\nUidRange=1000-4294967295\n", 2 },
		{ "[Worker]\nSandbox=maybe\n", 2 },
		{ "[Metrics]\nListen=0.0.0.0:80\n", 2 },
		{ "[Migration]\nListen=0.0.0.0:80\n", 2 },
		{ "[Migration]\nListen=unix:/run/x\n", 2 },
		{ "[Metrics]\nListen=127.0.0.1:99999\n", 2 },
		{ "[Metrics]\nListen=127.0.0.1:80x\n", 2 },
		{ "[Metrics]\nListen=unix:relative\n", 2 },
	};
	struct hvd_config c, defaults;
	char place[80];
	size_t i;

	(void)state;
	config_defaults(&defaults);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (load(bad[i].text, &c) != -EINVAL)
			fail_msg("%s is taken", bad[i].text);
		snprintf(place, sizeof(place), "%s:%d: ", path, bad[i].line);
		if (strncmp(message, place, strlen(place)))
			fail_msg("%s: %s", bad[i].text, message);
		/* Nothing of a bad file is used. */
		assert_memory_equal(&c, &defaults, sizeof(c));
	}
	assert_int_equal(config_load(&c, "/nonexistent/hvd.conf", message, sizeof(message)), -ENOENT);
}

static void test_long_line(void **state)
{
	struct hvd_config c;
	char text[3000];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[0] = '#';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(load(text, &c), -EINVAL);
	memset(text + 100, '\0', 1);
	assert_int_equal(load(text, &c), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
