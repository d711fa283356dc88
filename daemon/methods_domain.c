/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.*: what the supervisor does itself. methods_vm.c has what a worker does.
 */
#include "daemon/methods.h"

#include "daemon/domain.h"
#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/migrate.h"
#include "daemon/store.h"
#include "daemon/tasks.h"
#include "daemon/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ------------------------------------------------------------------------ */

struct name_args {
	const char *domain;
};
static const struct schema_field name_fields[] = { FIELD_DOMAIN(struct name_args), { 0 } };
static const struct schema name_params = { .kind = SCHEMA_OBJECT, .fields = name_fields };

struct config_args {
	json_t *config;
};
/* The definition is checked by domain_config_decode(), with errors of its own name. */
static const struct schema config_any = { .kind = SCHEMA_ANY, .item = &domain_config_schema };
static const struct schema_field define_fields[] = {
	SCHEMA_FIELD(struct config_args, config, &config_any, SCHEMA_REQUIRED,
		     "The definition: a DomainConfig."),
	{ 0 }
};
static const struct schema define_params = { .kind = SCHEMA_OBJECT, .fields = define_fields };

static const char *const change_names[] = { "created", "updated", "unchanged", NULL };
enum change { CHANGE_CREATED, CHANGE_UPDATED, CHANGE_NONE };
static const struct schema change_schema = { .kind = SCHEMA_ENUM, .values = change_names };
static const struct schema_field define_result_fields[] = {
	SCHEMA_RESULT("name", &schema_name, SCHEMA_REQUIRED, "Its name."),
	SCHEMA_RESULT("uuid", &schema_uuid, SCHEMA_REQUIRED, "Its uuid."),
	SCHEMA_RESULT("change", &change_schema, SCHEMA_REQUIRED, "What the call did."),
	{ 0 }
};
static const struct schema define_result = { .kind = SCHEMA_OBJECT,
					     .fields = define_result_fields };

struct create_args {
	json_t *config;
	bool paused, console;
};
static const struct schema_field create_fields[] = {
	SCHEMA_FIELD(struct create_args, config, &config_any, SCHEMA_REQUIRED,
		     "The definition: a DomainConfig."),
	SCHEMA_FIELD(struct create_args, paused, &schema_bool, 0, "Run nothing before a resume."),
	SCHEMA_FIELD(struct create_args, console, &schema_bool, 0,
		     "Pass a console's descriptor with the answer, attached before the guest runs."),
	{ 0 }
};
static const struct schema create_params = { .kind = SCHEMA_OBJECT, .fields = create_fields };

struct start_args {
	const char *domain;
	bool paused, console;
};
static const struct schema_field start_fields[] = {
	FIELD_DOMAIN(struct start_args),
	SCHEMA_FIELD(struct start_args, paused, &schema_bool, 0, "Run nothing before a resume."),
	SCHEMA_FIELD(struct start_args, console, &schema_bool, 0,
		     "Pass a console's descriptor with the answer, attached before the guest runs."),
	{ 0 }
};
static const struct schema start_params = { .kind = SCHEMA_OBJECT, .fields = start_fields };

struct list_args {
	bool all;
};
static const struct schema_field list_fields[] = {
	SCHEMA_FIELD(struct list_args, all, &schema_bool, 0, "Also those that do not run.",
		     .dflt = "false"),
	{ 0 }
};
static const struct schema list_params = { .kind = SCHEMA_OBJECT, .fields = list_fields };
static const struct schema summaries = { .kind = SCHEMA_ARRAY, .item = &domain_summary_schema };
static const struct schema_field list_result_fields[] = {
	SCHEMA_RESULT("domains", &summaries, SCHEMA_REQUIRED, "In no order."),
	{ 0 }
};
static const struct schema list_result = { .kind = SCHEMA_OBJECT, .fields = list_result_fields };

struct wait_args {
	const char *domain;
	int state;
	int64_t timeout_ms;
};
static const struct schema state_schema = { .kind = SCHEMA_ENUM, .values = domain_state_names };
static const struct schema timeout_schema = { .kind = SCHEMA_INT, .min = -1, .max = 86400000 };
static const struct schema_field wait_fields[] = {
	FIELD_DOMAIN(struct wait_args),
	SCHEMA_FIELD(struct wait_args, state, &state_schema, SCHEMA_REQUIRED, "The state to wait for."),
	SCHEMA_FIELD(struct wait_args, timeout_ms, &timeout_schema, 0, "-1: no limit.",
		     .dflt = "-1"),
	{ 0 }
};
static const struct schema wait_params = { .kind = SCHEMA_OBJECT, .fields = wait_fields };

struct dump_args {
	const char *domain;
	bool live;
};
static const struct schema_field dump_fields[] = {
	FIELD_DOMAIN(struct dump_args),
	SCHEMA_FIELD(struct dump_args, live, &schema_bool, 0,
		     "What the running worker was started with, not what the next one will be.",
		     .dflt = "false"),
	{ 0 }
};
static const struct schema dump_params = { .kind = SCHEMA_OBJECT, .fields = dump_fields };

/* ---- define and undefine -------------------------------------------------------------- */

struct store_op {
	struct task task;
	enum store_kind kind;
	struct hvd *hvd;
	struct domain *dom;
	struct api_call *call;
	/* The task thread's, until it is done. */
	const char *state_dir;
	char name[SCHEMA_NAME_MAX + 1];
	char *text;		/* the definition as text: JSON references are not for two threads */
	int ret;
	json_t *config;		/* the loop's */
};

static void store_run(struct task *task)
{
	struct store_op *op = (struct store_op *)task;

	if (op->kind == STORE_UNDEFINE)
		op->ret = store_remove(op->state_dir, op->name);
	else
		op->ret = store_write(op->state_dir, op->name, op->text);
}

/* Its worker may have ended meanwhile. */
static void store_rest(struct hvd *hvd, struct domain *dom)
{
	if (dom->worker || dom->start)
		domain_set_idle(hvd, dom);
	else
		domain_settle(hvd, dom);
}

static void define_done(struct store_op *op)
{
	struct domain *dom = op->dom;
	struct hvd *hvd = op->hvd;
	bool created = !dom->config;

	json_decref(dom->config);
	dom->config = json_incref(op->config);
	dom->persistent = true;
	events_emit(hvd, created ? "domain.defined" : "domain.updated", dom->name, NULL);
	if (op->call)
		api_reply(op->call,
			  json_pack("{s:s,s:s,s:s}", "name", dom->name, "uuid", dom->uuid, "change",
				    change_names[created ? CHANGE_CREATED : CHANGE_UPDATED]));
	store_rest(hvd, dom);
}

static void undefine_done(struct store_op *op)
{
	struct domain *dom = op->dom;
	struct hvd *hvd = op->hvd;

	dom->persistent = false;
	events_emit(hvd, "domain.undefined", dom->name, NULL);
	if (op->call)
		api_reply(op->call, NULL);
	/* A running one lives on as a transient one. */
	if (dom->worker || dom->start) {
		domain_set_idle(hvd, dom);
		return;
	}
	migration_at_rest(dom);
	domain_free(hvd, dom);
}

static void store_done(struct task *task)
{
	struct store_op *op = (struct store_op *)task;
	struct domain *dom = op->dom;

	dom->storing--;
	if (op->ret) {
		log_err("domain %s: cannot store the definition: %s", dom->name, strerror(-op->ret));
		if (op->call)
			api_fail_text(op->call, API_E_STORE_FAILED,
				      "cannot store the definition: %s", strerror(-op->ret));
		if (dom->config)
			store_rest(op->hvd, dom);
		else
			domain_free(op->hvd, dom);
	} else if (op->kind == STORE_DEFINE) {
		define_done(op);
	} else {
		undefine_done(op);
	}
	json_decref(op->config);
	free(op->text);
	free(op);
}

/* Takes nothing; 0, or -errno: then nothing happens. */
static int store_submit(struct hvd *hvd, struct api_call *call, struct domain *dom,
			enum store_kind kind, json_t *config)
{
	struct store_op *op = calloc(1, sizeof(*op));
	int ret = -ENOMEM;

	if (!op)
		return -ENOMEM;
	op->text = config ? json_dumps(config, JSON_INDENT(2)) : NULL;
	op->task.run = store_run;
	op->task.done = store_done;
	op->kind = kind;
	op->hvd = hvd;
	op->dom = dom;
	op->call = call;
	op->state_dir = hvd->options.state_dir;
	op->config = json_incref(config);
	snprintf(op->name, sizeof(op->name), "%s", dom->name);
	if (op->text || !config)
		ret = task_submit(hvd->files, &op->task);
	if (ret) {
		json_decref(config);
		free(op->text);
		free(op);
		return ret;
	}
	domain_set_busy(dom);
	dom->storing++;
	return 0;
}

int domain_store(struct hvd *hvd, struct domain *dom, enum store_kind kind, json_t *config)
{
	return store_submit(hvd, NULL, dom, kind, config);
}

static void fail_exists(struct api_call *call, const struct domain *dom, const char *field)
{
	struct api_error err;

	api_error_set(&err, API_E_DOMAIN_EXISTS, "domain %s (%s) exists", dom->name, dom->uuid);
	api_error_field(&err, field);
	api_error_state(&err, domain_state_names[dom->state]);
	api_fail(call, &err);
}

json_t *domain_config_take(struct api_call *call, json_t *given, struct domain **dom)
{
	struct hvd *hvd = hvd_of(call);
	struct domain_config config;
	struct domain *other;
	struct api_error err;
	char uuid[UUID_TEXT];
	json_t *copy;

	if (domain_config_decode(given, "/config", &config, &err)) {
		api_fail(call, &err);
		return NULL;
	}
	*dom = domain_find(hvd, config.name);
	other = config.uuid ? domain_find(hvd, config.uuid) : NULL;
	if (other && other != *dom) {
		fail_exists(call, other, "/config/uuid");
		return NULL;
	}
	if (*dom && config.uuid && strcmp((*dom)->uuid, config.uuid)) {
		fail_exists(call, *dom, "/config/name");
		return NULL;
	}
	uuid_make(uuid);
	copy = json_copy(given);
	if (copy && !config.uuid)
		json_object_set_new(copy, "uuid", json_string(*dom ? (*dom)->uuid : uuid));
	if (!copy)
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "out of memory");
	return copy;
}

struct domain *domain_from_config(struct api_call *call, json_t *config)
{
	struct hvd *hvd = hvd_of(call);
	struct domain *dom = NULL;

	if (hvd->ndomains < hvd->config.max_domains)
		dom = domain_new(hvd, json_string_value(json_object_get(config, "name")),
				 json_string_value(json_object_get(config, "uuid")));
	if (!dom)
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "there are %u domains, as many as may be",
			      hvd->ndomains);
	return dom;
}

static void method_define(struct api_call *call, const void *data)
{
	const struct config_args *args = data;
	struct domain *dom;
	json_t *config;

	/* One that is being stored or started first comes to rest. */
	if (json_is_object(args->config)) {
		const char *name = json_string_value(json_object_get(args->config, "name"));

		dom = name ? domain_find(hvd_of(call), name) : NULL;
		if (dom && dom->busy) {
			domain_to_change(call, dom->uuid);
			return;
		}
	}
	config = domain_config_take(call, args->config, &dom);
	if (!config)
		return;
	if (dom && dom->persistent && json_equal(dom->config, config)) {
		api_reply(call, json_pack("{s:s,s:s,s:s}", "name", dom->name, "uuid", dom->uuid,
					  "change", change_names[CHANGE_NONE]));
	} else {
		bool fresh = !dom;

		if (fresh)
			dom = domain_from_config(call, config);
		if (dom && store_submit(hvd_of(call), call, dom, STORE_DEFINE, config)) {
			api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "too much waits to be stored");
			if (fresh)
				domain_free(hvd_of(call), dom);
		}
	}
	json_decref(config);
}

static void method_undefine(struct api_call *call, const void *data)
{
	const struct name_args *args = data;
	struct domain *dom = domain_to_change(call, args->domain);

	if (!dom)
		return;
	if (!dom->persistent) {
		domain_fail_state(call, dom, "it is transient and has no stored definition");
		return;
	}
	if (store_submit(hvd_of(call), call, dom, STORE_UNDEFINE, NULL))
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "too much waits to be stored");
}

static void method_dumpconfig(struct api_call *call, const void *data)
{
	const struct dump_args *args = data;
	struct domain *dom = domain_of_call(call, args->domain);

	if (!dom)
		return;
	if (args->live && !dom->live)
		domain_fail_state(call, dom, "it does not run");
	else
		api_reply(call, json_incref(args->live ? dom->live : dom->config));
}

/* ---- start and stop ---------------------------------------------------------------------- */

static void method_create(struct api_call *call, const void *data)
{
	const struct create_args *args = data;
	const struct domain_start how = { .paused = args->paused, .console = args->console };
	struct domain *dom;
	json_t *config = domain_config_take(call, args->config, &dom);

	if (!config)
		return;
	if (dom) {
		fail_exists(call, dom, "/config/name");
		json_decref(config);
		return;
	}
	dom = domain_from_config(call, config);
	if (dom) {
		dom->config = config;
		domain_start(hvd_of(call), call, dom, &how);
	} else {
		json_decref(config);
	}
}

static void method_start(struct api_call *call, const void *data)
{
	const struct start_args *args = data;
	const struct domain_start how = { .paused = args->paused, .console = args->console };
	struct domain *dom = domain_to_change(call, args->domain);

	if (!dom)
		return;
	if (dom->worker || domain_state_active(dom->state))
		domain_fail_state(call, dom, "it has been started already");
	else if (migration_forbids_start(dom))
		domain_fail_state(call, dom, "its destination may run it; see domain.migrate_resolve");
	else
		domain_start(hvd_of(call), call, dom, &how);
}

static void method_destroy(struct api_call *call, const void *data)
{
	const struct name_args *args = data;
	struct domain *dom = domain_find(hvd_of(call), args->domain);

	/* What is being started can be destroyed, what is being stored is waited for. */
	if (dom && dom->busy && !dom->start && !dom->upgrade)
		dom = domain_to_change(call, args->domain);
	else
		dom = domain_of_call(call, args->domain);
	if (dom)
		domain_destroy(call, dom);
}

/* ---- looking ------------------------------------------------------------------------------- */

static void method_list(struct api_call *call, const void *data)
{
	const struct list_args *args = data;
	json_t *list = json_array();
	struct domain *dom;

	LIST_FOREACH(dom, &hvd_of(call)->domains, link)
		if (dom->config && (args->all || dom->state != DOMAIN_SHUTOFF))
			json_array_append_new(list, domain_summary(dom));
	api_reply(call, json_pack("{s:o}", "domains", list));
}

static void method_info(struct api_call *call, const void *data)
{
	const struct name_args *args = data;
	struct domain *dom = domain_of_call(call, args->domain);

	if (dom)
		api_reply(call, domain_summary(dom));
}

static void method_wait(struct api_call *call, const void *data)
{
	const struct wait_args *args = data;
	struct domain *dom = domain_of_call(call, args->domain);

	if (dom)
		domain_wait(call, dom, args->state, args->timeout_ms);
}

#define CONFIG_ERRORS API_E_CONFIG_INVALID, API_E_DOMAIN_EXISTS
#define START_ERRORS \
	API_E_CONFIG_INVALID, API_E_UNSUPPORTED, API_E_FILE_UNAVAILABLE, API_E_DOMAIN_START_FAILED

const struct api_method methods_domain[] = {
	{
		.name = "domain.define",
		.summary = "Store a definition: new, changed, or the same again.",
		.params = &define_params,
		.result = &define_result,
		.args_size = sizeof(struct config_args),
		.privilege = API_RW,
		.handler = method_define,
		.errors = API_ERRORS(CONFIG_ERRORS, API_E_STORE_FAILED, API_E_DOMAIN_NOT_FOUND),
	},
	{
		.name = "domain.undefine",
		.summary = "Forget a stored definition; a running domain becomes transient.",
		.params = &name_params,
		.args_size = sizeof(struct name_args),
		.privilege = API_RW,
		.handler = method_undefine,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE,
				     API_E_STORE_FAILED),
	},
	{
		.name = "domain.dumpconfig",
		.summary = "The definition.",
		.params = &dump_params,
		.result = &domain_config_schema,
		.args_size = sizeof(struct dump_args),
		.privilege = API_RO,
		.handler = method_dumpconfig,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE),
	},
	{
		.name = "domain.create",
		.summary = "Define a transient domain and start it.",
		.params = &create_params,
		.result = &domain_summary_schema,
		.args_size = sizeof(struct create_args),
		.privilege = API_RW,
		.flags = API_GIVES_FDS,
		.handler = method_create,
		.errors = API_ERRORS(CONFIG_ERRORS, START_ERRORS),
	},
	{
		.name = "domain.start",
		.summary = "Start a defined domain.",
		.params = &start_params,
		.result = &domain_summary_schema,
		.args_size = sizeof(struct start_args),
		.privilege = API_RW,
		.flags = API_GIVES_FDS,
		.handler = method_start,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE, START_ERRORS),
	},
	{
		.name = "domain.destroy",
		.summary = "End a domain at once, as by pulling the plug; a definition stays.",
		.params = &name_params,
		.args_size = sizeof(struct name_args),
		.privilege = API_RW,
		.handler = method_destroy,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE),
	},
	{
		.name = "domain.list",
		.summary = "The domains that run, or all, with state and reason.",
		.params = &list_params,
		.result = &list_result,
		.args_size = sizeof(struct list_args),
		.privilege = API_RO,
		.handler = method_list,
	},
	{
		.name = "domain.info",
		.summary = "One domain: state, reason, size, worker.",
		.params = &name_params,
		.result = &domain_summary_schema,
		.args_size = sizeof(struct name_args),
		.privilege = API_RO,
		.handler = method_info,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND),
	},
	{
		.name = "domain.wait",
		.summary = "Answer when the domain gets into a state.",
		.params = &wait_params,
		.result = &domain_summary_schema,
		.args_size = sizeof(struct wait_args),
		.privilege = API_RO,
		.flags = API_BLOCKS,
		.handler = method_wait,
		.errors = API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_TIMEOUT),
	},
	{ 0 },
};
