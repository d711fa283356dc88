/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc.discover: the OpenRPC document, printed from the rows that the dispatcher
 * itself checks by.
 */
#include "api/dispatch.h"

#include "config.h"

static void put(json_t *obj, const char *key, json_t *value)
{
	json_object_set_new(obj, key, value);
}

static json_t *doc_error(enum api_err id)
{
	return json_pack("{s:i,s:s,s:{s:s}}", "code", api_error_code(id), "message",
			 api_error_text(id), "data", "name", api_error_name(id));
}

/* Errors stand once in components; methods refer to them by their stable name. */
static json_t *doc_error_refs(const enum api_err *list, json_t *refs)
{
	for (; list && *list != API_OK; list++)
		json_array_append_new(refs, json_pack("{s:s+}", "$ref", "#/components/errors/",
						      api_error_name(*list)));
	return refs;
}

static json_t *doc_params(const struct schema *params, json_t *schemas)
{
	const struct schema_field *f;
	json_t *list = json_array();

	for (f = params ? params->fields : NULL; f && f->name; f++) {
		json_t *one = json_pack("{s:s,s:b,s:o}", "name", f->name, "required",
					!!(f->flags & SCHEMA_REQUIRED), "schema",
					schema_field_to_json(f, schemas));

		if (f->doc)
			put(one, "description", json_string(f->doc));
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *doc_method(const struct api_method *m, json_t *schemas)
{
	json_t *method = json_object();
	json_t *result = m->result ? schema_to_json(m->result, schemas) :
				     json_pack("{s:s}", "type", "null");

	put(method, "name", json_string(m->name));
	put(method, "summary", json_string(m->summary));
	put(method, "paramStructure", json_string("by-name"));
	put(method, "params", doc_params(m->params, schemas));
	put(method, "result", json_pack("{s:s,s:o}", "name", "result", "schema", result));
	put(method, "errors",
	    doc_error_refs(api_common_errors, doc_error_refs(m->errors, json_array())));
	put(method, "x-privilege", json_string(m->privilege == API_RO ? "ro" : "rw"));
	put(method, "x-takes-fds", json_boolean(m->flags & API_TAKES_FDS));
	put(method, "x-gives-fds", json_boolean(m->flags & API_GIVES_FDS));
	put(method, "x-blocks", json_boolean(m->flags & API_BLOCKS));
	return method;
}

json_t *api_discover(const struct api_table *table)
{
	json_t *methods = json_array();
	json_t *schemas = json_object();
	json_t *errors = json_object();
	size_t i;
	int id;

	for (i = 0; i < table->count; i++)
		if (!(table->rows[i]->flags & API_INTERNAL))
			json_array_append_new(methods, doc_method(table->rows[i], schemas));
	for (id = API_OK + 1; id < API_ERR_COUNT; id++)
		put(errors, api_error_name(id), doc_error(id));
	return json_pack("{s:s,s:{s:s,s:s,s:s},s:o,s:{s:o,s:o}}", "openrpc", "1.2.6", "info",
			 "title", "hvd", "version", PACKAGE_VERSION, "description",
			 "JSON-RPC 2.0, one JSON text per line on a unix stream socket.",
			 "methods", methods, "components", "schemas", schemas, "errors", errors);
}

static void discover_handler(struct api_call *call, const void *args)
{
	(void)args;
	if (!call->table->discover)
		call->table->discover = api_discover(call->table);
	api_reply(call, json_incref(call->table->discover));
}

const struct api_method api_discover_rows[] = {
	{
		.name = "rpc.discover",
		.summary = "The OpenRPC document of all methods.",
		.result = &schema_any,
		.privilege = API_RO,
		.handler = discover_handler,
	},
	{ 0 },
};
