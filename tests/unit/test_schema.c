/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api/schema.c and schema_doc.c: what passes, what does not and where, and what is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "api/schema.h"

struct inner {
	int64_t x;
	const char *word;
};

struct outer {
	const char *name;
	bool flag;
	int64_t number;
	uint64_t size, wide;
	double real;
	int choice;
	struct inner inner;
	json_t *list, *map, *any;
};

static const char *const choices[] = { "red", "green", NULL };
static const struct schema s_range = { .kind = SCHEMA_INT, .min = -5, .max = 5 };
static const struct schema s_choice = { .kind = SCHEMA_ENUM, .values = choices };
static const struct schema_field inner_fields[] = {
	SCHEMA_FIELD(struct inner, x, &s_range, SCHEMA_REQUIRED, "x"),
	SCHEMA_FIELD(struct inner, word, &schema_string, 0, "word", .dflt = "none"),
	{ 0 }
};
static const struct schema s_inner = { .kind = SCHEMA_OBJECT, .title = "Inner",
				       .fields = inner_fields };
static const struct schema s_list = { .kind = SCHEMA_ARRAY, .item = &s_inner, .max = 2 };
static const struct schema s_map = { .kind = SCHEMA_MAP, .item = &schema_bool };
static const struct schema_field outer_fields[] = {
	SCHEMA_FIELD(struct outer, name, &schema_name, SCHEMA_REQUIRED, "name"),
	SCHEMA_FIELD(struct outer, flag, &schema_bool, 0, "flag", .dflt = "true"),
	SCHEMA_FIELD(struct outer, number, &s_range, 0, "number", .dflt = "3"),
	SCHEMA_FIELD(struct outer, size, &schema_size, 0, "size", .dflt = "2MiB"),
	SCHEMA_FIELD(struct outer, wide, &schema_u64, 0, "wide"),
	SCHEMA_FIELD(struct outer, real, &schema_number, 0, "real"),
	SCHEMA_FIELD(struct outer, choice, &s_choice, 0, "choice"),
	SCHEMA_FIELD(struct outer, inner, &s_inner, 0, "inner"),
	SCHEMA_FIELD(struct outer, list, &s_list, 0, "list"),
	SCHEMA_FIELD(struct outer, map, &s_map, 0, "map"),
	SCHEMA_FIELD(struct outer, any, &schema_any, 0, "any"),
	{ 0 }
};
static const struct schema s_outer = { .kind = SCHEMA_OBJECT, .fields = outer_fields };

static void test_decode(void **state)
{
	struct api_error err;
	struct outer o;
	json_t *v;

	(void)state;
	memset(&o, 0xee, sizeof(o));
	v = json_loads("{\"name\":\"a.b-1\",\"flag\":false,\"number\":-5,\"size\":\"3KiB\","
		       "\"wide\":\"0xffffffffffffffff\",\"real\":2,\"choice\":\"green\","
		       "\"inner\":{\"x\":1},\"list\":[{\"x\":0}],\"map\":{\"k\":true},\"any\":null}",
		       0, NULL);
	assert_int_equal(schema_decode(&s_outer, v, &o, "", API_E_INVALID_PARAMS, &err), 0);
	assert_string_equal(o.name, "a.b-1");
	assert_false(o.flag);
	assert_int_equal(o.number, -5);
	assert_int_equal(o.size, 3072);
	assert_true(o.wide == UINT64_MAX);
	assert_true(o.real == 2.0);
	assert_int_equal(o.choice, 1);
	assert_int_equal(o.inner.x, 1);
	assert_string_equal(o.inner.word, "none");
	assert_int_equal(json_array_size(o.list), 1);
	assert_int_equal(json_object_size(o.map), 1);
	assert_true(json_is_null(o.any));
	json_decref(v);

	memset(&o, 0xee, sizeof(o));
	v = json_loads("{\"name\":\"a\"}", 0, NULL);
	assert_int_equal(schema_decode(&s_outer, v, &o, "", API_E_INVALID_PARAMS, &err), 0);
	assert_true(o.flag);
	assert_int_equal(o.number, 3);
	assert_int_equal(o.size, 2 << 20);
	assert_int_equal(o.wide, 0);
	assert_int_equal(o.choice, -1);
	assert_int_equal(o.inner.x, 0);
	assert_string_equal(o.inner.word, "none");
	assert_null(o.list);
	assert_null(o.map);
	json_decref(v);
}

static void test_refuse(void **state)
{
	static const struct {
		const char *text, *field;
	} bad[] = {
		{ "[]", "" },
		{ "{}", "/name" },
		{ "{\"name\":1}", "/name" },
		{ "{\"name\":\"\"}", "/name" },
		{ "{\"name\":\".a\"}", "/name" },
		{ "{\"name\":\"a b\"}", "/name" },
		{ "{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "/name" },
		{ "{\"name\":\"a\",\"flag\":0}", "/flag" },
		{ "{\"name\":\"a\",\"flag\":null}", "/flag" },
		{ "{\"name\":\"a\",\"number\":6}", "/number" },
		{ "{\"name\":\"a\",\"number\":1.0}", "/number" },
		{ "{\"name\":\"a\",\"number\":\"1\"}", "/number" },
		{ "{\"name\":\"a\",\"size\":-1}", "/size" },
		{ "{\"name\":\"a\",\"size\":\"1kib\"}", "/size" },
		{ "{\"name\":\"a\",\"size\":\"9999999999TiB\"}", "/size" },
		{ "{\"name\":\"a\",\"size\":\" 1\"}", "/size" },
		{ "{\"name\":\"a\",\"wide\":\"0x\"}", "/wide" },
		{ "{\"name\":\"a\",\"wide\":\"0x10000000000000000\"}", "/wide" },
		{ "{\"name\":\"a\",\"wide\":-1}", "/wide" },
		{ "{\"name\":\"a\",\"real\":\"x\"}", "/real" },
		{ "{\"name\":\"a\",\"choice\":\"blue\"}", "/choice" },
		{ "{\"name\":\"a\",\"choice\":1}", "/choice" },
		{ "{\"name\":\"a\",\"inner\":{}}", "/inner/x" },
		{ "{\"name\":\"a\",\"inner\":{\"x\":1,\"y\":2}}", "/inner/y" },
		{ "{\"name\":\"a\",\"list\":[{\"x\":0},{\"x\":9}]}", "/list/1/x" },
		{ "{\"name\":\"a\",\"list\":[{\"x\":0},{\"x\":1},{\"x\":2}]}", "/list" },
		{ "{\"name\":\"a\",\"list\":{}}", "/list" },
		{ "{\"name\":\"a\",\"map\":{\"good\":true,\"b/d\":1}}", "/map/b~1d" },
		{ "{\"name\":\"a\",\"~\":1}", "/~0" },
	};
	struct api_error err;
	struct outer o;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *v = json_loads(bad[i].text, 0, NULL);

		assert_non_null(v);
		if (schema_decode(&s_outer, v, &o, "/config", API_E_CONFIG_INVALID, &err) != -EINVAL)
			fail_msg("%s passes", bad[i].text);
		assert_int_equal(err.id, API_E_CONFIG_INVALID);
		assert_memory_equal(err.field, "/config", 7);
		assert_string_equal(err.field + 7, bad[i].field);
		assert_int_equal(schema_check(&s_outer, v, API_E_INTERNAL, &err), -EINVAL);
		json_decref(v);
	}
}

/* A pointer longer than its place is cut, not overrun. */
static void test_long_pointer(void **state)
{
	char text[1200], key[1000];
	struct api_error err;
	json_t *v;

	(void)state;
	memset(key, '/', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	snprintf(text, sizeof(text), "{\"name\":\"a\",\"%s\":1}", key);
	v = json_loads(text, 0, NULL);
	assert_int_equal(schema_check(&s_outer, v, API_E_INVALID_PARAMS, &err), -EINVAL);
	assert_true(strlen(err.field) < sizeof(err.field));
	assert_true(strlen(err.field) > 100);
	json_decref(v);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} sizes[] = {
		{ "0", 0, 0 }, { "7B", 0, 7 }, { "1KiB", 0, 1024 }, { "512MiB", 0, 512ull << 20 },
		{ "3GiB", 0, 3ull << 30 }, { "2TiB", 0, 2ull << 40 },
		{ "9223372036854775807", 0, INT64_MAX }, { "9223372036854775808", -ERANGE, 0 },
		{ "8388608TiB", -ERANGE, 0 }, { "8388607TiB", 0, 8388607ull << 40 },
		{ "99999999999999999999", -ERANGE, 0 }, { "", -EINVAL, 0 }, { "MiB", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 }, { "1MB", -EINVAL, 0 }, { "1 MiB", -EINVAL, 0 }, { "0x10", -EINVAL, 0 },
	};
	uint64_t bytes;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		bytes = 42;
		assert_int_equal(schema_parse_size(sizes[i].text, &bytes), sizes[i].ret);
		assert_int_equal(bytes, sizes[i].ret ? 42 : sizes[i].bytes);
	}
}

static void test_document(void **state)
{
	json_t *components = json_object();
	json_t *doc = schema_to_json(&s_outer, components);
	json_t *props = json_object_get(doc, "properties");
	json_t *one;

	(void)state;
	assert_false(json_is_true(json_object_get(doc, "additionalProperties")));
	assert_string_equal(json_string_value(json_array_get(json_object_get(doc, "required"), 0)), "name");
	assert_int_equal(json_object_size(props), 11);
	one = json_object_get(props, "number");
	assert_int_equal(json_integer_value(json_object_get(one, "minimum")), -5);
	assert_int_equal(json_integer_value(json_object_get(one, "default")), 3);
	one = json_object_get(props, "flag");
	assert_true(json_is_true(json_object_get(one, "default")));
	one = json_object_get(json_object_get(props, "choice"), "enum");
	assert_int_equal(json_array_size(one), 2);
	/* Titled shapes stand once, and are referred to. */
	one = json_object_get(props, "inner");
	assert_string_equal(json_string_value(json_object_get(one, "$ref")), "#/components/schemas/Inner");
	assert_non_null(json_object_get(json_object_get(components, "Inner"), "properties"));
	json_decref(doc);
	json_decref(components);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode),	 cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_long_pointer), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
