/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shapes of JSON values as constant tables. One table serves three uses: it
 * checks a value, decodes it into a plain C struct, and prints itself as JSON
 * Schema for rpc.discover, so the document cannot differ from the checks.
 *
 *	struct wait_args { const char *domain; int64_t timeout_ms; };
 *
 *	static const struct schema_field wait_fields[] = {
 *		SCHEMA_FIELD(struct wait_args, domain, &schema_name, SCHEMA_REQUIRED, "..."),
 *		SCHEMA_FIELD(struct wait_args, timeout_ms, &schema_ms, 0, "...", .dflt = "0"),
 *		{ 0 }
 *	};
 *	static const struct schema wait_params = { .kind = SCHEMA_OBJECT, .fields = wait_fields };
 *
 * Decoded C types, by kind:
 *	BOOL   bool		INT  int64_t	U64, SIZE  uint64_t
 *	STRING const char *	ENUM int: the index into values; -1 when absent without default
 *	NUMBER double		ARRAY, MAP, ANY  json_t *
 *	OBJECT the nested struct, in place
 * Pointers borrow from the JSON value. What is absent and has no default is
 * zero, NULL or -1 (ENUM).
 */
#ifndef API_SCHEMA_H
#define API_SCHEMA_H

#include "api/error.h"

#include <stddef.h>
#include <stdint.h>

enum schema_kind {
	SCHEMA_ANY,	/* with item: documented so, checked by the handler */
	SCHEMA_BOOL,
	SCHEMA_INT,	/* min..max; both 0: any */
	SCHEMA_U64,	/* non-negative integer, or "0x..." for all 64 bits */
	SCHEMA_SIZE,	/* bytes: integer or "512MiB"; B, KiB, MiB, GiB, TiB */
	SCHEMA_NUMBER,
	SCHEMA_STRING,	/* min..max bytes; max 0: SCHEMA_STRING_MAX */
	SCHEMA_ENUM,
	SCHEMA_ARRAY,	/* min..max items; max 0: any count */
	SCHEMA_OBJECT,	/* exactly the named fields */
	SCHEMA_MAP,	/* any names, each value as item says */
};

enum schema_format {
	SCHEMA_PLAIN,
	SCHEMA_NAME,	/* [A-Za-z0-9][A-Za-z0-9._+-]*, at most SCHEMA_NAME_MAX bytes */
	SCHEMA_UUID,
	SCHEMA_PATH,	/* absolute, below PATH_MAX */
	SCHEMA_BASE64,
};

#define SCHEMA_STRING_MAX 4096
#define SCHEMA_NAME_MAX	  64

/* Field flags. */
#define SCHEMA_REQUIRED 1u

struct schema_field;

struct schema {
	enum schema_kind kind;
	const char *title;	/* its name below components, NULL: printed in place */
	const char *doc;
	enum schema_format format;
	int64_t min, max;
	const char *const *values;		/* ENUM; ends with NULL */
	const struct schema *item;		/* ARRAY, MAP */
	const struct schema_field *fields;	/* OBJECT; ends with a row without name */
};

struct schema_field {
	const char *name;
	const struct schema *schema;
	unsigned int flags;
	const char *doc;
	size_t offset;		/* in the C struct; SCHEMA_SKIP: check only */
	const char *dflt;	/* the default, as plain text without quotes */
};

#define SCHEMA_SKIP ((size_t)-1)
#define SCHEMA_FIELD(type, member, schema_, flags_, doc_, ...) \
	{ .name = #member, .schema = schema_, .flags = flags_, .doc = doc_, \
	  .offset = offsetof(type, member), ##__VA_ARGS__ }
/* The same where the field's name is not the member's. */
#define SCHEMA_FIELD_AS(type, member, name_, schema_, flags_, doc_, ...) \
	{ .name = name_, .schema = schema_, .flags = flags_, .doc = doc_, \
	  .offset = offsetof(type, member), ##__VA_ARGS__ }
#define SCHEMA_RESULT(name_, schema_, flags_, doc_) \
	{ .name = name_, .schema = schema_, .flags = flags_, .doc = doc_, .offset = SCHEMA_SKIP }

/*
 * Check @value against @schema and, where @out is not NULL, decode it into the
 * struct at @out, which the caller has sized for the schema's offsets; the bytes
 * that fields cover are all written. @base is the pointer of @value itself ("" for
 * params). Returns 0, or -EINVAL with @err set: id @as, the pointer of the first
 * offending place and a text that names it.
 */
int schema_decode(const struct schema *schema, json_t *value, void *out, const char *base,
		  enum api_err as, struct api_error *err);
int schema_check(const struct schema *schema, json_t *value, enum api_err as,
		 struct api_error *err);

/* Bytes of "512MiB" or "4096"; -EINVAL, or -ERANGE over INT64_MAX. */
int schema_parse_size(const char *text, uint64_t *bytes);
/* The forms of strings, for names that come by other ways. */
int schema_name_valid(const char *text);
int schema_uuid_valid(const char *text);

/*
 * The JSON Schema of @schema: a new reference or NULL. Schemas with a title go to
 * @components once and are referred to.
 */
json_t *schema_to_json(const struct schema *schema, json_t *components);
/* The same for one field, with its own doc and default. */
json_t *schema_field_to_json(const struct schema_field *field, json_t *components);

/* Shapes that many methods share. */
extern const struct schema schema_any, schema_bool, schema_int, schema_count, schema_u64, schema_size,
	schema_number, schema_string, schema_name, schema_uuid, schema_path, schema_base64,
	schema_ms, schema_empty, schema_strings;

#endif
