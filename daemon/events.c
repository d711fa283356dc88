/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event ring and its readers.
 */
#include "daemon/events.h"

#include "daemon/hvd.h"
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEQ_BLOCK	(1u << 16)	/* numbers reserved at a time */
#define PUMP_LIMIT	(256u << 10)	/* bytes queued to one subscriber */
#define TYPES_MAX	16

struct subscription {
	LIST_ENTRY(subscription) link;	/* in the log */
	struct api_conn *conn;
	int64_t id;
	uint64_t next;			/* the event it reads next */
	char domain[SCHEMA_NAME_MAX + 1];
	json_t *types;			/* array of names, NULL: all */
};

struct event_log {
	json_t **ring;		/* event n stands at n % size */
	unsigned int size;
	uint64_t first, next;	/* kept: first <= n < next */
	uint64_t reserved;	/* numbers below may be used */
	LIST_HEAD(, subscription) subs;
	int64_t next_id;
};

/* The subscriptions of one connection. */
struct session_subs {
	struct subscription *sub[SUBSCRIPTIONS_MAX];
};

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * UINT64_C(1000000) + ts.tv_nsec / 1000;
}

uint64_t events_now_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

uint64_t events_mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

json_t *events_time(uint64_t us)
{
	return json_real(us / 1e6);
}

/* ---- numbers -------------------------------------------------------------- */

static int seq_path(const struct hvd *hvd, char *path, size_t size)
{
	return snprintf(path, size, "%s/events.seq", hvd->options.runtime_dir);
}

static uint64_t seq_load(const struct hvd *hvd)
{
	unsigned long long seq = 0;
	char path[160];
	FILE *f;

	seq_path(hvd, path, sizeof(path));
	f = fopen(path, "re");
	if (!f)
		return 1;
	if (fscanf(f, "%llu", &seq) != 1)
		seq = 0;
	fclose(f);
	return seq ? seq : 1;
}

/* A few bytes on a tmpfs, once in SEQ_BLOCK events. */
static void seq_reserve(struct hvd *hvd)
{
	struct event_log *log = hvd->events;
	char path[160], temp[168], text[24];
	int fd, len;

	log->reserved = log->next + SEQ_BLOCK;
	seq_path(hvd, path, sizeof(path));
	snprintf(temp, sizeof(temp), "%s.tmp", path);
	len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)log->reserved);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, len) != len || rename(temp, path))
		log_warning("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* ---- readers -------------------------------------------------------------- */

static bool sub_wants(const struct subscription *sub, const json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "type"));
	const char *domain = json_string_value(json_object_get(event, "domain"));
	json_t *one;
	size_t i;

	if (sub->domain[0] && (!domain || strcmp(domain, sub->domain)))
		return false;
	if (!sub->types)
		return true;
	json_array_foreach(sub->types, i, one)
		if (!strcmp(json_string_value(one), type))
			return true;
	return false;
}

static int sub_send(struct subscription *sub, json_t *event)
{
	json_t *params = json_copy(event);

	json_object_set_new(params, "subscription", json_integer(sub->id));
	return api_notify(&sub->conn->session, "event", params);
}

static int sub_send_lost(struct event_log *log, struct subscription *sub)
{
	json_t *event = json_pack("{s:I,s:o,s:s,s:{s:I,s:I}}", "seq", (json_int_t)(log->first - 1),
				  "timestamp", events_time(events_now_us()), "type", "event.lost",
				  "data", "from", (json_int_t)sub->next, "to",
				  (json_int_t)(log->first - 1));
	int ret = sub_send(sub, event);

	json_decref(event);
	return ret;
}

/* Send what the subscriber has not had, as far as its connection takes it. */
static void sub_pump(struct event_log *log, struct subscription *sub)
{
	if (sub->next < log->first) {
		if (sub_send_lost(log, sub))
			return;
		sub->next = log->first;
	}
	while (sub->next < log->next && sub->conn->out.bytes < PUMP_LIMIT && !sub->conn->closing) {
		json_t *event = log->ring[sub->next % log->size];

		sub->next++;
		if (sub_wants(sub, event) && sub_send(sub, event))
			return;
	}
}

static void conn_drained(struct api_conn *conn)
{
	struct hvd *hvd = conn->session.table->context;
	struct session_subs *subs = conn->session.user;
	int i;

	for (i = 0; subs && i < SUBSCRIPTIONS_MAX; i++)
		if (subs->sub[i])
			sub_pump(hvd->events, subs->sub[i]);
}

static void sub_free(struct subscription *sub)
{
	LIST_REMOVE(sub, link);
	json_decref(sub->types);
	free(sub);
}

static void session_free_subs(struct api_session *session)
{
	struct session_subs *subs = session->user;
	int i;

	for (i = 0; i < SUBSCRIPTIONS_MAX; i++)
		if (subs->sub[i])
			sub_free(subs->sub[i]);
	free(subs);
	session->user = NULL;
}

/* ---- the log -------------------------------------------------------------- */

int events_init(struct hvd *hvd)
{
	struct event_log *log = calloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->size = hvd->config.event_ring;
	log->ring = calloc(log->size, sizeof(*log->ring));
	if (!log->ring) {
		free(log);
		return -ENOMEM;
	}
	LIST_INIT(&log->subs);
	log->next_id = 1;
	hvd->events = log;
	log->first = log->next = seq_load(hvd);
	seq_reserve(hvd);
	return 0;
}

void events_fini(struct hvd *hvd)
{
	struct event_log *log = hvd->events;
	unsigned int i;

	if (!log)
		return;
	for (i = 0; i < log->size; i++)
		json_decref(log->ring[i]);
	free(log->ring);
	free(log);
	hvd->events = NULL;
}

uint64_t events_last_seq(const struct hvd *hvd)
{
	return hvd->events->next - 1;
}

void events_emit(struct hvd *hvd, const char *type, const char *domain, json_t *data)
{
	struct event_log *log = hvd->events;
	struct subscription *sub, *after;
	json_t **slot = &log->ring[log->next % log->size];
	json_t *event;

	if (log->next + 1 >= log->reserved)
		seq_reserve(hvd);
	event = json_pack("{s:I,s:o,s:s,s:o}", "seq", (json_int_t)log->next, "timestamp",
			  events_time(events_now_us()), "type", type, "data",
			  data ? data : json_object());
	if (!event)
		return;
	if (domain)
		json_object_set_new(event, "domain", json_string(domain));
	json_decref(*slot);
	*slot = event;
	log->next++;
	if (log->next - log->first > log->size)
		log->first = log->next - log->size;
	for (sub = LIST_FIRST(&log->subs); sub; sub = after) {
		after = LIST_NEXT(sub, link);
		sub_pump(log, sub);
	}
}

/* ---- methods -------------------------------------------------------------- */

struct subscribe_args {
	int64_t since;
	const char *domain;
	json_t *types;
};

static const struct schema seq_schema = { .kind = SCHEMA_INT, .min = -1, .max = INT64_MAX };
static const struct schema types_schema = { .kind = SCHEMA_ARRAY, .item = &schema_string, .min = 1,
					    .max = TYPES_MAX };
static const struct schema_field subscribe_fields[] = {
	SCHEMA_FIELD(struct subscribe_args, since, &seq_schema, 0,
		     "Replay the events after this number; -1: only those to come.", .dflt = "-1"),
	SCHEMA_FIELD(struct subscribe_args, domain, &schema_name, 0, "Only those of this domain."),
	SCHEMA_FIELD(struct subscribe_args, types, &types_schema, 0, "Only these types."),
	{ 0 }
};
static const struct schema subscribe_params = { .kind = SCHEMA_OBJECT, .fields = subscribe_fields };
static const struct schema_field subscribe_result_fields[] = {
	SCHEMA_RESULT("subscription", &schema_count, SCHEMA_REQUIRED, "For event.unsubscribe."),
	SCHEMA_RESULT("seq", &schema_count, SCHEMA_REQUIRED, "The number of the last event so far."),
	SCHEMA_RESULT("instance", &schema_uuid, SCHEMA_REQUIRED, "The run of the daemon."),
	SCHEMA_RESULT("lost", &schema_count, SCHEMA_REQUIRED,
		      "How many events after `since` are not kept any more."),
	{ 0 }
};
static const struct schema subscribe_result = { .kind = SCHEMA_OBJECT,
						.fields = subscribe_result_fields };

static struct session_subs *session_subs(struct api_session *session)
{
	struct session_subs *subs = session->user;

	if (subs)
		return subs;
	subs = calloc(1, sizeof(*subs));
	if (!subs)
		return NULL;
	session->user = subs;
	session->user_free = session_free_subs;
	((struct api_conn *)session)->on_drain = conn_drained;
	return subs;
}

static struct subscription *sub_new(struct event_log *log, struct api_session *session,
				    const struct subscribe_args *args)
{
	struct session_subs *subs = session_subs(session);
	struct subscription *sub;
	int i;

	for (i = 0; subs && i < SUBSCRIPTIONS_MAX && subs->sub[i]; i++)
		;
	if (!subs || i == SUBSCRIPTIONS_MAX)
		return NULL;
	sub = calloc(1, sizeof(*sub));
	if (!sub)
		return NULL;
	subs->sub[i] = sub;
	sub->conn = (struct api_conn *)session;
	sub->id = log->next_id++;
	sub->types = json_incref(args->types);
	snprintf(sub->domain, sizeof(sub->domain), "%s", args->domain ? args->domain : "");
	LIST_INSERT_HEAD(&log->subs, sub, link);
	return sub;
}

static void event_subscribe(struct api_call *call, const void *data)
{
	const struct subscribe_args *args = data;
	struct hvd *hvd = hvd_of(call);
	struct event_log *log = hvd->events;
	struct subscription *sub;
	uint64_t lost;
	json_t *result;

	if (!call->session) {
		api_fail_text(call, API_E_INTERNAL, "the caller is gone");
		return;
	}
	if (args->since >= 0 && (uint64_t)args->since >= log->next) {
		struct api_error err;

		api_error_set(&err, API_E_INVALID_PARAMS, "/since: the last event is %llu",
			      (unsigned long long)log->next - 1);
		api_error_field(&err, "/since");
		api_fail(call, &err);
		return;
	}
	sub = sub_new(log, call->session, args);
	if (!sub) {
		api_fail_text(call, API_E_RESOURCE_EXHAUSTED, "a connection has at most %d subscriptions",
			      SUBSCRIPTIONS_MAX);
		return;
	}
	sub->next = args->since < 0 ? log->next : (uint64_t)args->since + 1;
	lost = sub->next < log->first ? log->first - sub->next : 0;
	sub->next += lost;
	result = json_pack("{s:I,s:I,s:s,s:I}", "subscription", (json_int_t)sub->id, "seq",
			   (json_int_t)(log->next - 1), "instance", hvd->instance, "lost",
			   (json_int_t)lost);
	api_reply(call, result);
	sub_pump(log, sub);
}

struct unsubscribe_args {
	int64_t subscription;
};

static const struct schema_field unsubscribe_fields[] = {
	SCHEMA_FIELD(struct unsubscribe_args, subscription, &schema_count, SCHEMA_REQUIRED,
		     "What event.subscribe returned."),
	{ 0 }
};
static const struct schema unsubscribe_params = { .kind = SCHEMA_OBJECT,
						  .fields = unsubscribe_fields };

static void event_unsubscribe(struct api_call *call, const void *data)
{
	const struct unsubscribe_args *args = data;
	struct session_subs *subs = call->session ? call->session->user : NULL;
	int i;

	for (i = 0; subs && i < SUBSCRIPTIONS_MAX; i++) {
		if (subs->sub[i] && subs->sub[i]->id == args->subscription) {
			sub_free(subs->sub[i]);
			subs->sub[i] = NULL;
			api_reply(call, NULL);
			return;
		}
	}
	api_fail_text(call, API_E_SUBSCRIPTION_NOT_FOUND, "the connection has no subscription %lld",
		      (long long)args->subscription);
}

const struct api_method methods_event[] = {
	{
		.name = "event.subscribe",
		.summary = "Get a notification \"event\" for each event, and replay earlier ones.",
		.params = &subscribe_params,
		.result = &subscribe_result,
		.args_size = sizeof(struct subscribe_args),
		.privilege = API_RO,
		.handler = event_subscribe,
	},
	{
		.name = "event.unsubscribe",
		.summary = "End a subscription of this connection.",
		.params = &unsubscribe_params,
		.args_size = sizeof(struct unsubscribe_args),
		.privilege = API_RO,
		.handler = event_unsubscribe,
		.errors = API_ERRORS(API_E_SUBSCRIPTION_NOT_FOUND),
	},
	{ 0 },
};
