/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The error table and its way to and from JSON.
 */
#include "api/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	const char *name;
	const char *text;
} error_table[API_ERR_COUNT] = {
	[API_OK] = { 0, "", "" },
#define X(id, code, name, text) [API_E_##id] = { code, name, text },
	API_ERROR_LIST(X)
#undef X
};

static enum api_err error_known(enum api_err id)
{
	return id > API_OK && id < API_ERR_COUNT ? id : API_E_INTERNAL;
}

const char *api_error_name(enum api_err id)
{
	return error_table[error_known(id)].name;
}

int api_error_code(enum api_err id)
{
	return error_table[error_known(id)].code;
}

const char *api_error_text(enum api_err id)
{
	return error_table[error_known(id)].text;
}

enum api_err api_error_by_name(const char *name)
{
	int id;

	for (id = API_OK + 1; id < API_ERR_COUNT; id++)
		if (!strcmp(error_table[id].name, name))
			return id;
	return API_OK;
}

/* Cut a text at @size without leaving half a UTF-8 character at its end. */
static void error_trim(char *text, size_t size)
{
	size_t len = strlen(text);
	size_t start = len;

	if (len + 1 < size)
		return;
	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start > 0 && ((unsigned char)text[start - 1] & 0x80))
		text[start - 1] = '\0';
}

void api_error_set(struct api_error *err, enum api_err id, const char *fmt, ...)
{
	va_list ap;

	err->id = error_known(id);
	err->field[0] = err->state[0] = err->hint[0] = '\0';
	if (!fmt) {
		snprintf(err->message, sizeof(err->message), "%s", api_error_text(id));
		return;
	}
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	error_trim(err->message, sizeof(err->message));
}

void api_error_field(struct api_error *err, const char *pointer)
{
	snprintf(err->field, sizeof(err->field), "%s", pointer);
	error_trim(err->field, sizeof(err->field));
}

void api_error_state(struct api_error *err, const char *state)
{
	snprintf(err->state, sizeof(err->state), "%s", state);
}

void api_error_hint(struct api_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	error_trim(err->hint, sizeof(err->hint));
}

/* Texts may quote a peer's bytes: what is not UTF-8 is left out, not fatal. */
static void error_put(json_t *data, const char *key, const char *text)
{
	if (text[0])
		json_object_set_new(data, key, json_string(text));
}

json_t *api_error_to_json(const struct api_error *err)
{
	json_t *data = json_object();
	json_t *obj = json_object();
	json_t *message = json_string(err->message);

	if (!data || !obj) {
		json_decref(data);
		json_decref(obj);
		json_decref(message);
		return NULL;
	}
	if (!message)
		message = json_string(api_error_text(err->id));
	json_object_set_new(obj, "code", json_integer(api_error_code(err->id)));
	json_object_set_new(obj, "message", message);
	error_put(data, "name", api_error_name(err->id));
	error_put(data, "field", err->field);
	error_put(data, "state", err->state);
	error_put(data, "hint", err->hint);
	json_object_set_new(obj, "data", data);
	return obj;
}

static const char *error_get(const json_t *obj, const char *key)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text ? text : "";
}

void api_error_from_json(struct api_error *err, const json_t *obj)
{
	const json_t *data = json_object_get(obj, "data");

	api_error_set(err, api_error_by_name(error_get(data, "name")), "%s",
		      error_get(obj, "message"));
	api_error_field(err, error_get(data, "field"));
	api_error_state(err, error_get(data, "state"));
	api_error_hint(err, "%s", error_get(data, "hint"));
}
