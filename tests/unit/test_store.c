/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/store.c, base64.c, uuid.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/schema.h"
#include "daemon/base64.h"
#include "daemon/store.h"
#include "daemon/uuid.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/hvd-store.XXXXXX");
	return mkdtemp(dir) && !store_open(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void put(const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/definitions/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int there(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/definitions/%s", dir, name);
	return access(path, F_OK) == 0;
}

struct seen {
	int count;
	char name[100];
	json_int_t n;
};

static void see(void *ctx, const char *name, json_t *config)
{
	struct seen *seen = ctx;

	seen->count++;
	snprintf(seen->name, sizeof(seen->name), "%s", name);
	seen->n = json_integer_value(json_object_get(config, "n"));
}

static void test_write_and_load(void **state)
{
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(store_write(dir, "a.b", "{\"n\":1}"), 0);
	assert_int_equal(store_write(dir, "a.b", "{\"n\":2}"), 0);
	assert_int_equal(store_load(dir, see, &seen), 0);
	assert_int_equal(seen.count, 1);
	assert_string_equal(seen.name, "a.b");
	assert_int_equal(seen.n, 2);
	assert_int_equal(store_remove(dir, "a.b"), 0);
	assert_int_equal(store_remove(dir, "a.b"), 0);
	assert_false(there("a.b.json"));
}

static void test_what_is_not_a_definition(void **state)
{
	struct seen seen = { 0 };
	char path[160];

	(void)state;
	put("torn.json", "{\"n\":");
	put("twice.json", "{\"n\":1,\"n\":2}");
	put(".hidden.json", "{}");
	put("other.txt", "{}");
	put("half.json.tmp", "{}");
	snprintf(path, sizeof(path), "%s/definitions/link.json", dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof(path), "%s/definitions/fifo.json", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(store_load(dir, see, &seen), 0);
	assert_int_equal(seen.count, 0);
	/* What a crash left half-written goes when the store is opened; the rest stays. */
	assert_int_equal(store_open(dir), 0);
	assert_false(there("half.json.tmp"));
	assert_true(there("torn.json"));
}

static void test_failure_leaves_the_old_text(void **state)
{
	struct seen seen = { 0 };
	char path[160];

	(void)state;
	assert_int_equal(store_write(dir, "x", "{\"n\":1}"), 0);
	/* A folder where the temporary file should be. */
	snprintf(path, sizeof(path), "%s/definitions/x.json.tmp", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(store_write(dir, "x", "{\"n\":2}"), -EISDIR);
	assert_int_equal(store_load(dir, see, &seen), 0);
	assert_int_equal(seen.n, 1);
	rmdir(path);
	assert_int_equal(store_write("/nonexistent", "x", "{}"), -ENOENT);
	assert_int_equal(store_load("/nonexistent", see, &seen), -ENOENT);
}

static void test_base64(void **state)
{
	static const struct {
		const char *plain, *text;
	} pairs[] = { { "", "" },	    { "f", "Zg==" },	    { "fo", "Zm8=" },
		      { "foo", "Zm9v" },    { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		      { "foobar", "Zm9vYmFy" } };	/* RFC 4648, section 10 */
	unsigned char all[256], *back;
	char *text;
	size_t i, len;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		text = base64_encode(pairs[i].plain, strlen(pairs[i].plain));
		assert_string_equal(text, pairs[i].text);
		back = base64_decode(text, &len);
		assert_int_equal(len, strlen(pairs[i].plain));
		assert_memory_equal(back, pairs[i].plain, len);
		free(text);
		free(back);
	}
	for (i = 0; i < 256; i++)
		all[i] = i;
	text = base64_encode(all, 256);
	back = base64_decode(text, &len);
	assert_int_equal(len, 256);
	assert_memory_equal(back, all, 256);
	free(text);
	free(back);
}

static void test_uuid(void **state)
{
	char a[UUID_TEXT], b[UUID_TEXT];

	(void)state;
	uuid_make(a);
	uuid_make(b);
	assert_true(schema_uuid_valid(a));
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
	assert_false(schema_uuid_valid("nonsense"));
	a[36 - 1] = '\0';
	assert_false(schema_uuid_valid(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_write_and_load, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_a_definition, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_leaves_the_old_text, setup, teardown),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_uuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
