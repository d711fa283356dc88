/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Check and decode a JSON value by its table. The walk is as deep as the table,
 * never as deep as the value.
 */
#include "api/schema.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct schema schema_any = { .kind = SCHEMA_ANY };
const struct schema schema_bool = { .kind = SCHEMA_BOOL };
const struct schema schema_int = { .kind = SCHEMA_INT };
const struct schema schema_count = { .kind = SCHEMA_INT, .min = 0, .max = INT64_MAX };
const struct schema schema_u64 = { .kind = SCHEMA_U64 };
const struct schema schema_size = { .kind = SCHEMA_SIZE };
const struct schema schema_number = { .kind = SCHEMA_NUMBER };
const struct schema schema_string = { .kind = SCHEMA_STRING };
const struct schema schema_name = { .kind = SCHEMA_STRING, .title = "Name", .format = SCHEMA_NAME,
				    .doc = "A name: letters, digits and . _ + - after the first." };
const struct schema schema_uuid = { .kind = SCHEMA_STRING, .format = SCHEMA_UUID };
const struct schema schema_path = { .kind = SCHEMA_STRING, .format = SCHEMA_PATH };
const struct schema schema_base64 = { .kind = SCHEMA_STRING, .format = SCHEMA_BASE64, .max = 4 << 20 };
const struct schema schema_ms = { .kind = SCHEMA_INT, .min = 0, .max = 86400000,
				  .doc = "Milliseconds, at most a day." };
static const struct schema_field no_fields[] = { { 0 } };
const struct schema schema_empty = { .kind = SCHEMA_OBJECT, .fields = no_fields };
const struct schema schema_strings = { .kind = SCHEMA_ARRAY, .item = &schema_string };

/* The way from the root to the place under check; printed only on an error. */
struct schema_at {
	const struct schema_at *up;
	const char *key;	/* NULL: an array's item */
	size_t index;
};

struct schema_walk {
	const char *base;
	enum api_err as;
	struct api_error *err;
};

static size_t pointer_escape(char *buf, size_t size, size_t len, const char *key)
{
	for (; *key && len + 3 < size; key++) {
		if (*key == '~' || *key == '/') {
			buf[len++] = '~';
			buf[len++] = *key == '~' ? '0' : '1';
		} else {
			buf[len++] = *key;
		}
	}
	buf[len] = '\0';
	return len;
}

static size_t pointer_print(const struct schema_at *at, char *buf, size_t size, size_t len)
{
	if (!at)
		return len;
	len = pointer_print(at->up, buf, size, len);
	if (len + 24 >= size)
		return len;
	buf[len++] = '/';
	if (at->key)
		return pointer_escape(buf, size, len, at->key);
	return len + snprintf(buf + len, size - len, "%zu", at->index);
}

static int __attribute__((format(printf, 3, 4)))
schema_fail(const struct schema_walk *w, const struct schema_at *at, const char *fmt, ...)
{
	char pointer[sizeof(w->err->field)];
	char text[128];
	va_list ap;
	size_t len;

	len = snprintf(pointer, sizeof(pointer), "%s", w->base);
	if (len >= sizeof(pointer))
		len = sizeof(pointer) - 1;
	pointer[len] = '\0';
	pointer_print(at, pointer, sizeof(pointer), len);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_error_set(w->err, w->as, "%s: %s", pointer[0] ? pointer : "params", text);
	api_error_field(w->err, pointer);
	return -EINVAL;
}

static const char *json_kind(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a real number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	default:
		return "null";
	}
}

static int schema_wrong(const struct schema_walk *w, const struct schema_at *at,
			const json_t *value, const char *want)
{
	return schema_fail(w, at, "must be %s, not %s", want, json_kind(value));
}

int schema_parse_size(const char *text, uint64_t *bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned long long number;
	unsigned int i, shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || number > INT64_MAX)
		return -ERANGE;
	if (*end) {
		for (i = 0; i < 5 && strcmp(end, units[i]); i++)
			;
		if (i == 5)
			return -EINVAL;
		shift = 10 * i;
	}
	if (number > (uint64_t)INT64_MAX >> shift)
		return -ERANGE;
	*bytes = number << shift;
	return 0;
}

int schema_name_valid(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= SCHEMA_NAME_MAX && isalnum((unsigned char)text[0]) &&
	       strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._+-") == len;
}

int schema_uuid_valid(const char *text)
{
	int i;

	for (i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return 0;
		} else if (!isdigit((unsigned char)text[i]) && (text[i] < 'a' || text[i] > 'f')) {
			return 0;
		}
	}
	return text[36] == '\0';
}

static bool base64_valid(const char *text, size_t len)
{
	size_t body = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789+/");

	if (len % 4 || len - body > 2)
		return false;
	return strspn(text + body, "=") == len - body;
}

static int check_string(const struct schema_walk *w, const struct schema_at *at,
			const struct schema *s, const json_t *value)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);
	int64_t max = s->max ? s->max : SCHEMA_STRING_MAX;

	if (!text)
		return schema_wrong(w, at, value, "a string");
	if ((int64_t)len < s->min || (int64_t)len > max)
		return schema_fail(w, at, "must have %" PRId64 " to %" PRId64 " bytes, has %zu",
				   s->min, max, len);
	switch (s->format) {
	case SCHEMA_PLAIN:
		return 0;
	case SCHEMA_NAME:
		if (schema_name_valid(text))
			return 0;
		return schema_fail(w, at, "must be a name: 1 to %d letters, digits or . _ + -, "
				   "a letter or digit first", SCHEMA_NAME_MAX);
	case SCHEMA_UUID:
		if (schema_uuid_valid(text))
			return 0;
		return schema_fail(w, at, "must be a uuid in lower case");
	case SCHEMA_PATH:
		if (text[0] == '/' && len < PATH_MAX)
			return 0;
		return schema_fail(w, at, "must be an absolute path");
	case SCHEMA_BASE64:
		if (base64_valid(text, len))
			return 0;
		return schema_fail(w, at, "must be base64");
	}
	return 0;
}

static int check_range(const struct schema_walk *w, const struct schema_at *at,
		       const struct schema *s, int64_t number)
{
	if ((s->min || s->max) && (number < s->min || number > s->max))
		return schema_fail(w, at, "must be %" PRId64 " to %" PRId64 ", is %" PRId64, s->min,
				   s->max, number);
	return 0;
}

static int check_u64(const struct schema_walk *w, const struct schema_at *at,
		     const struct schema *s, const json_t *value, uint64_t *number)
{
	const char *text = json_string_value(value);
	char *end;

	if (json_is_integer(value) && json_integer_value(value) >= 0) {
		*number = json_integer_value(value);
	} else if (text && !strncmp(text, "0x", 2) && isxdigit((unsigned char)text[2])) {
		errno = 0;
		*number = strtoull(text, &end, 16);
		if (errno || *end)
			return schema_fail(w, at, "must be 0x and up to 16 hexadecimal digits");
	} else {
		return schema_fail(w, at, "must be a non-negative integer or a \"0x...\" string");
	}
	if (s->max && (*number > (uint64_t)s->max || *number < (uint64_t)s->min))
		return schema_fail(w, at, "must be %" PRId64 " to %" PRId64, s->min, s->max);
	return 0;
}

static int check_size(const struct schema_walk *w, const struct schema_at *at,
		      const struct schema *s, const json_t *value, uint64_t *bytes)
{
	int ret;

	if (json_is_integer(value)) {
		if (json_integer_value(value) < 0)
			return schema_fail(w, at, "must not be negative");
		*bytes = json_integer_value(value);
	} else if (json_is_string(value)) {
		ret = schema_parse_size(json_string_value(value), bytes);
		if (ret == -ERANGE)
			return schema_fail(w, at, "is too large");
		if (ret)
			return schema_fail(w, at, "must be bytes, such as 4096 or \"512MiB\"");
	} else {
		return schema_wrong(w, at, value, "bytes: an integer or a string such as \"512MiB\"");
	}
	return check_range(w, at, s, *bytes);
}

static int check_enum(const struct schema_walk *w, const struct schema_at *at,
		      const struct schema *s, const json_t *value, int *index)
{
	const char *text = json_string_value(value);
	char list[96] = "";
	size_t len = 0;
	int i;

	for (i = 0; text && s->values[i]; i++) {
		if (!strcmp(s->values[i], text)) {
			*index = i;
			return 0;
		}
	}
	for (i = 0; s->values[i] && len < sizeof(list); i++)
		len += snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
				s->values[i]);
	return schema_fail(w, at, "must be one of: %s", list);
}

static int walk(const struct schema_walk *w, const struct schema_at *at, const struct schema *s,
		json_t *value, void *out);

/* Defaults are part of the tables, so a bad one is our bug: it reads as zero. */
static void set_default(const struct schema_field *f, char *out)
{
	const struct schema *s = f->schema;
	const char *text = f->dflt;
	const struct schema_field *sub;
	uint64_t bytes = 0;
	int i;

	switch (s->kind) {
	case SCHEMA_BOOL:
		*(bool *)out = text && !strcmp(text, "true");
		break;
	case SCHEMA_INT:
		*(int64_t *)out = text ? strtoll(text, NULL, 0) : 0;
		break;
	case SCHEMA_U64:
		*(uint64_t *)out = text ? strtoull(text, NULL, 0) : 0;
		break;
	case SCHEMA_SIZE:
		if (text)
			schema_parse_size(text, &bytes);
		*(uint64_t *)out = bytes;
		break;
	case SCHEMA_NUMBER:
		*(double *)out = text ? strtod(text, NULL) : 0;
		break;
	case SCHEMA_STRING:
		*(const char **)out = text;
		break;
	case SCHEMA_ENUM:
		*(int *)out = -1;
		for (i = 0; text && s->values[i]; i++)
			if (!strcmp(s->values[i], text))
				*(int *)out = i;
		break;
	case SCHEMA_OBJECT:
		for (sub = s->fields; sub->name; sub++)
			if (sub->offset != SCHEMA_SKIP)
				set_default(sub, out + sub->offset);
		break;
	case SCHEMA_ARRAY:
	case SCHEMA_MAP:
	case SCHEMA_ANY:
		*(json_t **)out = NULL;
		break;
	}
}

static const struct schema_field *field_find(const struct schema *s, const char *name)
{
	const struct schema_field *f;

	for (f = s->fields; f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	return NULL;
}

static int walk_object(const struct schema_walk *w, const struct schema_at *at,
		       const struct schema *s, json_t *value, char *out)
{
	const struct schema_field *f;
	size_t seen = 0;
	const char *key;
	json_t *member;
	int ret;

	if (!json_is_object(value))
		return schema_wrong(w, at, value, "an object");
	for (f = s->fields; f->name; f++) {
		struct schema_at here = { .up = at, .key = f->name };

		member = json_object_get(value, f->name);
		if (!member) {
			if (f->flags & SCHEMA_REQUIRED)
				return schema_fail(w, &here, "is required");
			if (out && f->offset != SCHEMA_SKIP)
				set_default(f, out + f->offset);
			continue;
		}
		seen++;
		ret = walk(w, &here, f->schema, member,
			   out && f->offset != SCHEMA_SKIP ? out + f->offset : NULL);
		if (ret)
			return ret;
	}
	if (seen == json_object_size(value))
		return 0;
	json_object_foreach(value, key, member) {
		struct schema_at here = { .up = at, .key = key };

		if (!field_find(s, key))
			return schema_fail(w, &here, "unknown field");
	}
	return 0;
}

static int walk_array(const struct schema_walk *w, const struct schema_at *at,
		      const struct schema *s, json_t *value)
{
	struct schema_at here = { .up = at };
	json_t *item;
	size_t n;
	int ret;

	if (!json_is_array(value))
		return schema_wrong(w, at, value, "an array");
	n = json_array_size(value);
	if ((int64_t)n < s->min || (s->max && (int64_t)n > s->max))
		return schema_fail(w, at, "must have %" PRId64 " to %" PRId64 " items, has %zu",
				   s->min, s->max, n);
	json_array_foreach(value, here.index, item) {
		ret = walk(w, &here, s->item, item, NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static int walk_map(const struct schema_walk *w, const struct schema_at *at,
		    const struct schema *s, json_t *value)
{
	const char *key;
	json_t *member;
	int ret;

	if (!json_is_object(value))
		return schema_wrong(w, at, value, "an object");
	json_object_foreach(value, key, member) {
		struct schema_at here = { .up = at, .key = key };

		ret = walk(w, &here, s->item, member, NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static int walk_scalar(const struct schema_walk *w, const struct schema_at *at,
		       const struct schema *s, json_t *value, void *out)
{
	uint64_t number = 0;
	int index = 0;
	int ret = 0;

	switch (s->kind) {
	case SCHEMA_BOOL:
		if (!json_is_boolean(value))
			return schema_wrong(w, at, value, "a boolean");
		if (out)
			*(bool *)out = json_is_true(value);
		return 0;
	case SCHEMA_INT:
		if (!json_is_integer(value))
			return schema_wrong(w, at, value, "an integer");
		if (out)
			*(int64_t *)out = json_integer_value(value);
		return check_range(w, at, s, json_integer_value(value));
	case SCHEMA_NUMBER:
		if (!json_is_number(value))
			return schema_wrong(w, at, value, "a number");
		if (out)
			*(double *)out = json_number_value(value);
		return 0;
	case SCHEMA_U64:
	case SCHEMA_SIZE:
		ret = s->kind == SCHEMA_U64 ? check_u64(w, at, s, value, &number) :
					      check_size(w, at, s, value, &number);
		if (!ret && out)
			*(uint64_t *)out = number;
		return ret;
	case SCHEMA_STRING:
		ret = check_string(w, at, s, value);
		if (!ret && out)
			*(const char **)out = json_string_value(value);
		return ret;
	default:
		ret = check_enum(w, at, s, value, &index);
		if (!ret && out)
			*(int *)out = index;
		return ret;
	}
}

static int walk(const struct schema_walk *w, const struct schema_at *at, const struct schema *s,
		json_t *value, void *out)
{
	int ret = 0;

	switch (s->kind) {
	case SCHEMA_OBJECT:
		return walk_object(w, at, s, value, out);
	case SCHEMA_ARRAY:
		ret = walk_array(w, at, s, value);
		break;
	case SCHEMA_MAP:
		ret = walk_map(w, at, s, value);
		break;
	case SCHEMA_ANY:
		break;
	default:
		return walk_scalar(w, at, s, value, out);
	}
	if (!ret && out)
		*(json_t **)out = value;
	return ret;
}

int schema_decode(const struct schema *schema, json_t *value, void *out, const char *base,
		  enum api_err as, struct api_error *err)
{
	struct schema_walk w = { .base = base, .as = as, .err = err };

	return walk(&w, NULL, schema, value, out);
}

int schema_check(const struct schema *schema, json_t *value, enum api_err as,
		 struct api_error *err)
{
	return schema_decode(schema, value, NULL, "", as, err);
}
