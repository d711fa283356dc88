/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Print a schema table as JSON Schema. What stands here must say what schema.c
 * checks; tests/unit/test_schema.c compares the two on examples.
 */
#include "api/schema.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NAME_PATTERN "^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
#define UUID_PATTERN "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
#define SIZE_PATTERN "^[0-9]+(B|KiB|MiB|GiB|TiB)?$"
#define HEX_PATTERN  "^0x[0-9A-Fa-f]{1,16}$"

static void put(json_t *obj, const char *key, json_t *value)
{
	json_object_set_new(obj, key, value);
}

static void put_range(json_t *obj, const struct schema *s, const char *lo, const char *hi)
{
	if (!s->min && !s->max)
		return;
	put(obj, lo, json_integer(s->min));
	if (s->max != INT64_MAX)
		put(obj, hi, json_integer(s->max));
}

static void doc_string(json_t *obj, const struct schema *s)
{
	put(obj, "type", json_string("string"));
	switch (s->format) {
	case SCHEMA_NAME:
		put(obj, "pattern", json_string(NAME_PATTERN));
		return;
	case SCHEMA_UUID:
		put(obj, "pattern", json_string(UUID_PATTERN));
		return;
	case SCHEMA_PATH:
		put(obj, "pattern", json_string("^/"));
		break;
	case SCHEMA_BASE64:
		put(obj, "contentEncoding", json_string("base64"));
		break;
	case SCHEMA_PLAIN:
		break;
	}
	if (s->min)
		put(obj, "minLength", json_integer(s->min));
	put(obj, "maxLength", json_integer(s->max ? s->max : SCHEMA_STRING_MAX));
}

static void doc_either(json_t *obj, const struct schema *s, const char *pattern)
{
	json_t *number = json_pack("{s:s}", "type", "integer");

	put(number, "minimum", json_integer(s->min));
	if (s->max && s->max != INT64_MAX)
		put(number, "maximum", json_integer(s->max));
	put(obj, "oneOf", json_pack("[o,{s:s,s:s}]", number, "type", "string", "pattern", pattern));
}

static void doc_object(json_t *obj, const struct schema *s, json_t *components)
{
	json_t *properties = json_object();
	json_t *required = json_array();
	const struct schema_field *f;

	for (f = s->fields; f->name; f++) {
		put(properties, f->name, schema_field_to_json(f, components));
		if (f->flags & SCHEMA_REQUIRED)
			json_array_append_new(required, json_string(f->name));
	}
	put(obj, "type", json_string("object"));
	put(obj, "properties", properties);
	if (json_array_size(required))
		put(obj, "required", required);
	else
		json_decref(required);
	put(obj, "additionalProperties", json_false());
}

static void doc_enum(json_t *obj, const struct schema *s)
{
	json_t *values = json_array();
	int i;

	for (i = 0; s->values[i]; i++)
		json_array_append_new(values, json_string(s->values[i]));
	put(obj, "type", json_string("string"));
	put(obj, "enum", values);
}

static json_t *doc_body(const struct schema *s, json_t *components)
{
	json_t *obj = json_object();

	switch (s->kind) {
	case SCHEMA_ANY:
		break;
	case SCHEMA_BOOL:
		put(obj, "type", json_string("boolean"));
		break;
	case SCHEMA_INT:
		put(obj, "type", json_string("integer"));
		put_range(obj, s, "minimum", "maximum");
		break;
	case SCHEMA_NUMBER:
		put(obj, "type", json_string("number"));
		break;
	case SCHEMA_U64:
		doc_either(obj, s, HEX_PATTERN);
		break;
	case SCHEMA_SIZE:
		doc_either(obj, s, SIZE_PATTERN);
		break;
	case SCHEMA_STRING:
		doc_string(obj, s);
		break;
	case SCHEMA_ENUM:
		doc_enum(obj, s);
		break;
	case SCHEMA_ARRAY:
		put(obj, "type", json_string("array"));
		put(obj, "items", schema_to_json(s->item, components));
		if (s->min)
			put(obj, "minItems", json_integer(s->min));
		if (s->max)
			put(obj, "maxItems", json_integer(s->max));
		break;
	case SCHEMA_MAP:
		put(obj, "type", json_string("object"));
		put(obj, "additionalProperties", schema_to_json(s->item, components));
		break;
	case SCHEMA_OBJECT:
		doc_object(obj, s, components);
		break;
	}
	if (s->doc)
		put(obj, "description", json_string(s->doc));
	return obj;
}

json_t *schema_to_json(const struct schema *schema, json_t *components)
{
	json_t *body;

	/* Checked elsewhere, with error names of its own, but of a known shape. */
	if (schema->kind == SCHEMA_ANY && schema->item)
		return schema_to_json(schema->item, components);
	if (!schema->title || !components)
		return doc_body(schema, components);
	if (!json_object_get(components, schema->title)) {
		/* Enter it first, so that a shape that holds itself ends. */
		put(components, schema->title, json_object());
		body = doc_body(schema, components);
		put(body, "title", json_string(schema->title));
		put(components, schema->title, body);
	}
	return json_pack("{s:s+}", "$ref", "#/components/schemas/", schema->title);
}

static json_t *default_to_json(const struct schema_field *f)
{
	switch (f->schema->kind) {
	case SCHEMA_BOOL:
		return json_boolean(!strcmp(f->dflt, "true"));
	case SCHEMA_INT:
	case SCHEMA_U64:
		return json_integer(strtoll(f->dflt, NULL, 0));
	case SCHEMA_NUMBER:
		return json_real(strtod(f->dflt, NULL));
	default:
		return json_string(f->dflt);
	}
}

json_t *schema_field_to_json(const struct schema_field *field, json_t *components)
{
	json_t *obj = schema_to_json(field->schema, components);

	/* A reference stands alone: siblings of $ref are ignored by many readers. */
	if (json_object_get(obj, "$ref"))
		return obj;
	if (field->doc)
		put(obj, "description", json_string(field->doc));
	if (field->dflt)
		put(obj, "default", default_to_json(field));
	return obj;
}
