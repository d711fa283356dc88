/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of migrations: what is known of each, for domain.info, for the peer that
 * asks later, and for the next hvd.
 */
#include "daemon/migrate.h"

#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/hvd.h"
#include "daemon/log.h"
#include "daemon/worker_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

const char *const migration_status_names[] = {
	"setup", "active", "completed", "failed", "cancelled", "unconfirmed", "in_doubt", "died",
	"unknown", NULL
};
static const struct schema status_schema = { .kind = SCHEMA_ENUM,
					     .values = migration_status_names };

/* ---- the list ------------------------------------------------------------------- */

void migrations_init(struct hvd *hvd)
{
	TAILQ_INIT(&hvd->migrations);
}

static void migration_free(struct migration *m)
{
	struct domain *dom;

	LIST_FOREACH(dom, &m->hvd->domains, link)
		if (dom->migration == m)
			dom->migration = NULL;
	TAILQ_REMOVE(&m->hvd->migrations, m, link);
	m->hvd->nmigrations--;
	while (m->nfds > 0)
		close(m->fds[--m->nfds]);
	migrate_onward_drop(m);
	if (m->ran_fd >= 0)
		close(m->ran_fd);
	if (m->timer)
		event_free(m->timer);
	json_decref(m->args);
	json_decref(m->config);
	free(m);
}

void migrations_fini(struct hvd *hvd)
{
	struct migration *m;

	while ((m = TAILQ_FIRST(&hvd->migrations)))
		migration_free(m);
}

bool migration_over(const struct migration *m)
{
	return m->status == MIGRATION_COMPLETED || m->status == MIGRATION_FAILED ||
	       m->status == MIGRATION_CANCELLED || m->status == MIGRATION_DIED ||
	       m->status == MIGRATION_UNKNOWN;
}

static void migrations_forget(struct hvd *hvd)
{
	struct migration *m, *next;

	for (m = TAILQ_FIRST(&hvd->migrations); m && hvd->nmigrations > MIGRATIONS_KEPT; m = next) {
		next = TAILQ_NEXT(m, link);
		if (migration_over(m) && !m->op && !m->job && !m->resolve && !m->onward)
			migration_free(m);
	}
}

struct migration *migration_new(struct hvd *hvd, const char *id, bool incoming,
				const char *domain, const char *uuid)
{
	struct domain *dom = domain_find(hvd, uuid);
	struct migration *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->hvd = hvd;
	m->ran_fd = -1;
	m->incoming = incoming;
	snprintf(m->id, sizeof(m->id), "%s", id);
	snprintf(m->domain, sizeof(m->domain), "%s", domain);
	snprintf(m->uuid, sizeof(m->uuid), "%s", uuid);
	TAILQ_INSERT_TAIL(&hvd->migrations, m, link);
	hvd->nmigrations++;
	migrations_forget(hvd);
	if (dom)
		dom->migration = m;
	return m;
}

struct migration *migration_find(struct hvd *hvd, const char *id)
{
	struct migration *m;

	/* The newest: a guest that comes back to the daemon that it left has another id anyway. */
	TAILQ_FOREACH_REVERSE(m, &hvd->migrations, migration_list, link)
		if (!strcmp(m->id, id))
			return m;
	return NULL;
}

struct domain *migration_domain(const struct migration *m)
{
	struct domain *dom = domain_find(m->hvd, m->uuid);

	return dom && dom->migration == m ? dom : NULL;
}

void migration_set_status(struct migration *m, enum migration_status status, const char *error)
{
	struct domain *dom = migration_domain(m);
	bool changed = m->status != status;

	m->status = status;
	snprintf(m->error, sizeof(m->error), "%s", error ? error : "");
	if (!changed)
		return;
	log_info("domain %s: migration %s %s: %s%s%s", m->domain, m->incoming ? "from" : "to", m->peer,
		 migration_status_names[status], m->error[0] ? ": " : "", m->error);
	events_emit(m->hvd, "domain.migration", m->domain,
		    json_pack("{s:s,s:s,s:s}", "id", m->id, "direction", m->incoming ? "in" : "out",
			      "status", migration_status_names[status]));
	if (dom && dom->worker)
		worker_record_update(dom->worker);
}

/* ---- tests ---- */

#ifdef HV_DEBUG
void migrate_add_fault(json_t *params, const char *side)
{
	const char *path = getenv("HVD_MIGRATE_FAULT");
	FILE *f = path ? fopen(path, "re") : NULL;
	char which[16], text[64];

	if (f && fscanf(f, "%15s %63s", which, text) == 2 && !strcmp(which, side))
		json_object_set_new(params, "fault", json_string(text));
	if (f)
		fclose(f);
}
#else
void migrate_add_fault(json_t *params, const char *side)
{
	(void)params;
	(void)side;
}
#endif

/* ---- shown ------------------------------------------------------------------------ */

static const char *const direction_names[] = { "out", "in", NULL };
static const struct schema direction_schema = { .kind = SCHEMA_ENUM, .values = direction_names };
static const struct schema_field summary_fields[] = {
	SCHEMA_RESULT("id", &schema_string, SCHEMA_REQUIRED, "The same on both sides."),
	SCHEMA_RESULT("direction", &direction_schema, SCHEMA_REQUIRED, "Out of this daemon, or in."),
	SCHEMA_RESULT("peer", &schema_string, SCHEMA_REQUIRED, "The other side."),
	SCHEMA_RESULT("status", &status_schema, SCHEMA_REQUIRED,
		      "Where it stands. unconfirmed (source) and in_doubt (destination): the guest is "
		      "paused here until domain.migrate_resolve, or the other side, settles who has it."),
	SCHEMA_RESULT("error", &schema_string, 0, "Why it came to nothing, or to doubt."),
	{ 0 }
};
const struct schema migration_summary_schema = { .kind = SCHEMA_OBJECT, .title = "Migration",
						 .fields = summary_fields };

json_t *migration_summary(const struct migration *m)
{
	json_t *obj = json_pack("{s:s,s:s,s:s,s:s}", "id", m->id, "direction",
				direction_names[m->incoming], "peer", m->peer, "status",
				migration_status_names[m->status]);

	if (m->error[0])
		json_object_set_new(obj, "error", json_string(m->error));
	return obj;
}

/* ---- over a restart of hvd ------------------------------------------------------------ */

json_t *migration_record(const struct migration *m)
{
	if (migration_over(m))
		return NULL;
	return json_pack("{s:s,s:s,s:b,s:b,s:b}", "id", m->id, "peer", m->peer, "incoming", m->incoming,
			 "persistent", m->persistent, "undefine", m->undefine);
}

void migration_adopt(struct hvd *hvd, struct domain *dom, json_t *record)
{
	int incoming, persistent, undefine;
	const char *id, *peer;
	struct migration *m;

	if (json_unpack(record, "{s:s,s:s,s:b,s:b,s:b}", "id", &id, "peer", &peer, "incoming", &incoming,
			"persistent", &persistent, "undefine", &undefine))
		return;
	m = migration_new(hvd, id, incoming, dom->name, dom->uuid);
	if (!m)
		return;
	snprintf(m->peer, sizeof(m->peer), "%s", peer);
	m->persistent = persistent;
	m->undefine = undefine;
	m->status = MIGRATION_ACTIVE;
	/* Whatever the worker may have done when nobody looked. */
	m->switched = true;
}

/* ---- what workers say -------------------------------------------------------------------- */

/* The names of enum hv_migrate_status, and what they are here. */
static const char *const engine_names[] = { "setup", "active", "switchover", "completed", "failed",
					    "cancelled", "unconfirmed", "in_doubt", NULL };
static const enum migration_status engine_status[] = {
	MIGRATION_SETUP, MIGRATION_ACTIVE, MIGRATION_ACTIVE, MIGRATION_COMPLETED, MIGRATION_FAILED,
	MIGRATION_CANCELLED, MIGRATION_UNCONFIRMED, MIGRATION_IN_DOUBT,
};
struct report_args {
	const char *id;
	bool incoming, may_run, switched;
	int status;
	const char *error, *peer;
};
static const struct schema engine_schema = { .kind = SCHEMA_ENUM, .values = engine_names };
static const struct schema_field report_fields[] = {
	SCHEMA_FIELD(struct report_args, id, &schema_string, SCHEMA_REQUIRED, "Which."),
	SCHEMA_FIELD(struct report_args, incoming, &schema_bool, SCHEMA_REQUIRED, "Its direction."),
	SCHEMA_FIELD(struct report_args, status, &engine_schema, SCHEMA_REQUIRED, "Where it is."),
	SCHEMA_FIELD(struct report_args, may_run, &schema_bool, SCHEMA_REQUIRED, "The guest is ours."),
	SCHEMA_FIELD(struct report_args, switched, &schema_bool, SCHEMA_REQUIRED, "It was stopped."),
	SCHEMA_FIELD(struct report_args, error, &schema_string, SCHEMA_REQUIRED, "Why, or empty."),
	SCHEMA_FIELD(struct report_args, peer, &schema_string, 0, "Of a source: where it goes.",
		     .dflt = ""),
	{ 0 }
};
static const struct schema report_schema = { .kind = SCHEMA_OBJECT, .fields = report_fields };

static void definition_stays(struct migration *m, struct domain *dom)
{
	int ret = 0;

	if (m->incoming && m->persistent && !dom->persistent && dom->live)
		ret = domain_store(m->hvd, dom, STORE_DEFINE, dom->live);
	if (ret)
		log_err("domain %s: it stays transient: %s", dom->name, strerror(-ret));
}

bool migration_undefines(struct hvd *hvd, struct domain *dom)
{
	struct migration *m = dom->migration;
	int ret;

	if (!m || m->incoming || !m->undefine || m->status != MIGRATION_COMPLETED || !dom->persistent ||
	    dom->state != DOMAIN_SHUTOFF)
		return false;
	m->undefine = false;
	ret = domain_store(hvd, dom, STORE_UNDEFINE, NULL);
	if (ret)
		log_err("domain %s: its definition stays: %s", dom->name, strerror(-ret));
	return !ret;
}

bool migration_forbids_start(const struct domain *dom)
{
	const struct migration *m = dom->migration;

	return m && !m->incoming && !migration_over(m);
}

void migration_completed(struct migration *m, struct domain *dom)
{
	bool was = m->status == MIGRATION_COMPLETED;

	migration_set_status(m, MIGRATION_COMPLETED, NULL);
	if (!was)
		definition_stays(m, dom);
}

static void report_apply(struct hvd *hvd, struct domain *dom, const struct report_args *r)
{
	struct migration *m = dom->migration;
	enum migration_status status = engine_status[r->status];

	(void)hvd;
	if (!m || m->incoming != r->incoming || strcmp(m->id, r->id))
		return;
	m->switched = m->switched || r->switched;
	if (status == MIGRATION_COMPLETED)
		migration_completed(m, dom);
	else
		migration_set_status(m, status, r->error);
}

/* What an earlier hvd began: nobody else will end it. */
static void adopted_settle(struct migration *m)
{
	if (migration_over(m) || m->job || m->op)
		return;
	if (!m->incoming) {
		/* One that its worker never heard of: the destination is to know, too. */
		if (m->status != MIGRATION_UNCONFIRMED)
			migration_set_status(m, MIGRATION_FAILED, "hvd ended before it began");
		migrate_settle(m);
	} else if (m->status != MIGRATION_IN_DOUBT) {
		migrate_in_fail(m, "its hvd ended before the connections were made");
	}
}

void migration_adopted(struct hvd *hvd, struct domain *dom, json_t *report)
{
	struct migration *m = dom->migration;
	struct report_args args;
	struct api_error err;

	if (report && schema_decode(&report_schema, report, &args, "", API_E_INTERNAL, &err)) {
		log_err("domain %s: migration of its worker: %s", dom->name, err.message);
		report = NULL;
	}
	/* A source may ask for one that was over when its hvd ended. */
	if (report && (!m || strcmp(m->id, args.id))) {
		m = migration_new(hvd, args.id, args.incoming, dom->name, dom->uuid);
		if (m)
			m->status = MIGRATION_ACTIVE;
	}
	/* Its record may not have been written: the disk was full. */
	if (report && m && !m->peer[0])
		snprintf(m->peer, sizeof(m->peer), "%s", args.peer);
	if (report && m)
		report_apply(hvd, dom, &args);
	/* The worker never heard of it, or has said all that it will. */
	if (m && (!report || engine_status[args.status] != MIGRATION_ACTIVE))
		adopted_settle(m);
}

static void worker_migration_handler(struct api_call *call, const void *args)
{
	struct api_conn *conn = (struct api_conn *)call->session;
	struct domain *dom = conn ? worker_domain(conn->data) : NULL;

	if (dom)
		report_apply(hvd_of(call), dom, args);
	api_reply(call, NULL);
}

const struct api_method methods_worker_migration[] = {
	{
		.name = "worker.migration",
		.summary = "Where a worker's migration is.",
		.params = &report_schema,
		.args_size = sizeof(struct report_args),
		.privilege = API_RW,
		.flags = API_INTERNAL,
		.handler = worker_migration_handler,
	},
	{ 0 },
};

/*
 * Whether it ran the guest decides what the source may do with its own: one that went on
 * from where the destination's had gone on already would meet disks of another time.
 */
static void incoming_worker_gone(struct migration *m, struct domain *dom)
{
	uint64_t ran = 0;

	if (m->ran_fd < 0 && m->status != MIGRATION_SETUP) {
		migration_set_status(m, MIGRATION_UNKNOWN,
				     "its worker died, and this hvd does not know whether it ran the guest");
		return;
	}
	if (m->ran_fd >= 0 && read(m->ran_fd, &ran, sizeof(ran)) == sizeof(ran)) {
		migration_set_status(m, MIGRATION_COMPLETED, NULL);
		return;
	}
	migration_set_status(m, MIGRATION_DIED, "its worker died before it ran the guest");
	if (domain_state_has_machine(dom->state))
		domain_state_set(m->hvd, dom, DOMAIN_SHUTDOWN, REASON_FAILED, m->error);
}

void migration_worker_gone(struct hvd *hvd, struct domain *dom)
{
	struct migration *m = dom->migration;

	(void)hvd;
	if (!m || migration_over(m))
		return;
	if (m->incoming) {
		incoming_worker_gone(m, dom);
		return;
	}
	/* While a job runs, its end comes next and settles it. */
	if (!m->job && !m->op)
		migrate_settle(m);
}
