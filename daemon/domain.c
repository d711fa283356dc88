/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain objects: finding, parking, waiting.
 */
#include "daemon/domain.h"

#include "daemon/domain_config.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/migrate.h"
#include "daemon/worker_link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---------------------------------------------------------------- */

struct domain *domain_find(struct hvd *hvd, const char *name)
{
	struct domain *dom;

	LIST_FOREACH(dom, &hvd->domains, link)
		if (!strcmp(dom->name, name) || !strcmp(dom->uuid, name))
			return dom;
	return NULL;
}

struct domain *domain_of_call(struct api_call *call, const char *name)
{
	struct domain *dom = domain_find(hvd_of(call), name);
	struct api_error err;

	/* One that is still being stored for the first time is nobody's yet. */
	if (dom && dom->config)
		return dom;
	api_error_set(&err, API_E_DOMAIN_NOT_FOUND, "there is no domain %s", name);
	api_error_field(&err, "/domain");
	api_fail(call, &err);
	return NULL;
}

static void parked_cancel(struct api_call *call)
{
	struct domain *dom = call->data;

	TAILQ_REMOVE(&dom->parked, call, wait_link);
	dom->nparked--;
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

struct domain *domain_to_change(struct api_call *call, const char *name)
{
	struct domain *dom = domain_find(hvd_of(call), name);

	if (!dom || !dom->busy)
		return domain_of_call(call, name);
	if (dom->nparked >= DOMAIN_PARKED_MAX) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "%u calls wait for domain %s already",
			      dom->nparked, dom->name);
		return NULL;
	}
	call->data = dom;
	call->cancel = parked_cancel;
	TAILQ_INSERT_TAIL(&dom->parked, call, wait_link);
	dom->nparked++;
	return NULL;
}

void domain_fail_state(struct api_call *call, const struct domain *dom, const char *fmt, ...)
{
	const char *state = domain_state_names[dom->state];
	struct api_error err;
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	api_error_set(&err, API_E_DOMAIN_WRONG_STATE, "domain %s is %s: %s", dom->name, state, text);
	api_error_field(&err, "/domain");
	api_error_state(&err, state);
	api_fail(call, &err);
}

/* ---- life --------------------------------------------------------------------- */

/* Run what was parked; the first of them that makes the domain busy stops the others. */
static void domain_resume(evutil_socket_t fd, short what, void *arg)
{
	struct domain *dom = arg;
	struct api_call *call;

	(void)fd;
	(void)what;
	if (dom->busy)
		return;
	call = TAILQ_FIRST(&dom->parked);
	if (!call)
		return;
	TAILQ_REMOVE(&dom->parked, call, wait_link);
	dom->nparked--;
	call->cancel = NULL;
	call->data = NULL;
	/* The call may free the domain, and the others with it: they come in a later turn. */
	if (!TAILQ_EMPTY(&dom->parked))
		event_active(dom->resume_event, EV_TIMEOUT, 0);
	if (call->method->flags & API_FORWARD)
		call->table->forward(call, call->args);
	else
		call->method->handler(call, call->args);
}

struct domain *domain_new(struct hvd *hvd, const char *name, const char *uuid)
{
	struct domain *dom = calloc(1, sizeof(*dom));

	if (!dom)
		return NULL;
	dom->resume_event = evtimer_new(hvd->base, domain_resume, dom);
	if (!dom->resume_event) {
		free(dom);
		return NULL;
	}
	snprintf(dom->name, sizeof(dom->name), "%s", name);
	snprintf(dom->uuid, sizeof(dom->uuid), "%s", uuid);
	dom->state = DOMAIN_SHUTOFF;
	dom->reason = REASON_DEFINED;
	dom->exit_code = -1;
	dom->since_us = events_now_us();
	TAILQ_INIT(&dom->parked);
	TAILQ_INIT(&dom->destroys);
	TAILQ_INIT(&dom->waits);
	LIST_INSERT_HEAD(&hvd->domains, dom, link);
	hvd->ndomains++;
	return dom;
}

static void fail_gone(struct api_call *call, const struct domain *dom)
{
	call->cancel = NULL;
	api_fail_text(call, API_E_DOMAIN_NOT_FOUND, "domain %s is gone", dom->name);
}

static void wait_end(struct api_call *call);

void domain_free(struct hvd *hvd, struct domain *dom)
{
	struct api_call *call;

	LIST_REMOVE(dom, link);
	hvd->ndomains--;
	while ((call = TAILQ_FIRST(&dom->parked))) {
		TAILQ_REMOVE(&dom->parked, call, wait_link);
		fail_gone(call, dom);
	}
	while ((call = TAILQ_FIRST(&dom->waits))) {
		wait_end(call);
		fail_gone(call, dom);
	}
	event_free(dom->resume_event);
	json_decref(dom->config);
	json_decref(dom->live);
	free(dom);
}

void domain_set_busy(struct domain *dom)
{
	dom->busy = true;
}

void domain_set_idle(struct hvd *hvd, struct domain *dom)
{
	(void)hvd;
	dom->busy = false;
	if (!TAILQ_EMPTY(&dom->parked))
		event_active(dom->resume_event, EV_TIMEOUT, 0);
}

/* ---- what is shown -------------------------------------------------------------- */

static const struct schema state_schema = { .kind = SCHEMA_ENUM, .values = domain_state_names };
static const struct schema reason_schema = { .kind = SCHEMA_ENUM, .values = domain_reason_names };
static const struct schema_field summary_fields[] = {
	SCHEMA_RESULT("name", &schema_name, SCHEMA_REQUIRED, "Its name."),
	SCHEMA_RESULT("uuid", &schema_uuid, SCHEMA_REQUIRED, "Its uuid."),
	SCHEMA_RESULT("state", &state_schema, SCHEMA_REQUIRED, "Its state."),
	SCHEMA_RESULT("reason", &reason_schema, SCHEMA_REQUIRED, "Why it is in that state."),
	SCHEMA_RESULT("detail", &schema_string, 0, "The reason in words."),
	SCHEMA_RESULT("since", &schema_number, SCHEMA_REQUIRED,
		      "When it got there, in seconds since 1970."),
	SCHEMA_RESULT("exit_code", &schema_int, 0, "What the guest wrote to the debug exit port."),
	SCHEMA_RESULT("persistent", &schema_bool, SCHEMA_REQUIRED, "It has a stored definition."),
	SCHEMA_RESULT("config_pending", &schema_bool, SCHEMA_REQUIRED,
		      "The definition differs from what runs; the next start takes it."),
	SCHEMA_RESULT("vcpus", &schema_count, SCHEMA_REQUIRED, "Virtual CPUs."),
	SCHEMA_RESULT("memory", &schema_count, SCHEMA_REQUIRED, "Guest RAM in bytes."),
	SCHEMA_RESULT("migration", &migration_summary_schema, 0,
		      "The last one, into this daemon or out of it, since the daemon started."),
	SCHEMA_RESULT("pid", &schema_count, 0, "Of the worker."),
	SCHEMA_RESULT("cpu_time_ns", &schema_count, 0, "CPU time of the worker."),
	{ 0 }
};
const struct schema domain_summary_schema = { .kind = SCHEMA_OBJECT,
					      .title = "Domain",
					      .fields = summary_fields };

json_t *domain_summary(const struct domain *dom)
{
	json_t *config = dom->live ? dom->live : dom->config;
	struct domain_config c = { .vcpus = 1 };
	struct api_error err;
	json_t *obj;

	if (domain_config_decode(config, "", &c, &err))
		c.vcpus = c.memory = 0;
	obj = json_pack("{s:s,s:s,s:s,s:s,s:o,s:b,s:b,s:I,s:I}", "name", dom->name, "uuid", dom->uuid,
			"state", domain_state_names[dom->state], "reason",
			domain_reason_names[dom->reason], "since", events_time(dom->since_us),
			"persistent", dom->persistent, "config_pending",
			dom->live && dom->config && !json_equal(dom->live, dom->config), "vcpus",
			(json_int_t)c.vcpus, "memory", (json_int_t)c.memory);
	if (dom->detail[0])
		json_object_set_new(obj, "detail", json_string(dom->detail));
	if (dom->exit_code >= 0)
		json_object_set_new(obj, "exit_code", json_integer(dom->exit_code));
	if (dom->migration)
		json_object_set_new(obj, "migration", migration_summary(dom->migration));
	if (dom->worker) {
		json_object_set_new(obj, "pid", json_integer(worker_pid(dom->worker)));
		json_object_set_new(obj, "cpu_time_ns",
				    json_integer(worker_cpu_time(dom->worker)));
	}
	return obj;
}

/* ---- waiting --------------------------------------------------------------------- */

struct domain_waiter {
	struct domain *dom;
	enum domain_state state;
	struct event *timer;
};

/* Take @call out of its wait; it is to be answered next. */
static void wait_end(struct api_call *call)
{
	struct domain_waiter *w = call->data;

	TAILQ_REMOVE(&w->dom->waits, call, wait_link);
	w->dom->nwaits--;
	call->cancel = NULL;
	if (w->timer)
		event_free(w->timer);
	free(w);
}

static void wait_cancel(struct api_call *call)
{
	wait_end(call);
	api_fail_text(call, API_E_INTERNAL, "the caller is gone");
}

static void wait_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct api_call *call = arg;
	struct domain_waiter *w = call->data;
	const char *state = domain_state_names[w->dom->state];
	struct api_error err;

	(void)fd;
	(void)what;
	api_error_set(&err, API_E_TIMEOUT, "domain %s is still %s", w->dom->name, state);
	api_error_state(&err, state);
	wait_end(call);
	api_fail(call, &err);
}

static struct domain_waiter *waiter_new(struct api_call *call, struct domain *dom,
					int64_t timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct domain_waiter *w;

	w = dom->nwaits < DOMAIN_WAITS_MAX ? calloc(1, sizeof(*w)) : NULL;
	if (!w || timeout_ms < 0)
		return w;
	w->timer = evtimer_new(hvd_of(call)->base, wait_timeout, call);
	if (w->timer && !evtimer_add(w->timer, &tv))
		return w;
	if (w->timer)
		event_free(w->timer);
	free(w);
	return NULL;
}

void domain_wait(struct api_call *call, struct domain *dom, enum domain_state state,
		 int64_t timeout_ms)
{
	struct domain_waiter *w;

	if (dom->state == state) {
		api_reply(call, domain_summary(dom));
		return;
	}
	w = waiter_new(call, dom, timeout_ms);
	if (!w) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "%u calls wait for domain %s already",
			      dom->nwaits, dom->name);
		return;
	}
	w->dom = dom;
	w->state = state;
	call->data = w;
	call->cancel = wait_cancel;
	TAILQ_INSERT_TAIL(&dom->waits, call, wait_link);
	dom->nwaits++;
}

void domain_end_waits(struct hvd *hvd, struct domain *dom)
{
	struct api_call *call, *next;

	(void)hvd;
	for (call = TAILQ_FIRST(&dom->waits); call; call = next) {
		const struct domain_waiter *w = call->data;

		next = TAILQ_NEXT(call, wait_link);
		if (w->state != dom->state)
			continue;
		wait_end(call);
		api_reply(call, domain_summary(dom));
	}
}
