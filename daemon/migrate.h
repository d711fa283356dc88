/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrations as the supervisor knows them. Event loop only.
 *
 *	source hvd			destination hvd
 *	domain.migrate
 *	  peer thread: domain.migrate_incoming ->	a domain, paused (migration); its
 *							worker has an empty machine
 *	  domain.migrate_stream x N	->	the connection itself goes to the worker
 *	worker.migrate with N sockets		worker.migrate_accept with N sockets
 *	... the workers speak doc/migration.md's stream; neither hvd is needed ...
 *	worker.migration, worker.job		worker.migration, worker.job
 *
 * A source that is not sure (lost connection at the end, lost worker) asks the other
 * daemon with domain.migrate_status and settles it: over a new connection between the
 * workers, or, when one of them is dead, by telling the other. What cannot be settled
 * so is left paused, and domain.migrate_resolve is for people.
 */
#ifndef DAEMON_MIGRATE_H
#define DAEMON_MIGRATE_H

#include "daemon/hvd.h"
#include "daemon/worker_job.h"
#include "hv/hv.h"

#define MIGRATION_ID_TEXT (2 * HV_MIGRATE_ID_SIZE + 1)
#define MIGRATION_URI_MAX 256
#define MIGRATIONS_KEPT	  128	/* ended ones, for peers that ask late */

struct domain;
struct peer_op;

enum migration_status {
	MIGRATION_SETUP,
	MIGRATION_ACTIVE,
	MIGRATION_COMPLETED,
	MIGRATION_FAILED,
	MIGRATION_CANCELLED,
	MIGRATION_UNCONFIRMED,	/* source: committed, and nobody has confirmed */
	MIGRATION_IN_DOUBT,	/* destination: ready, and nobody has decided */
	MIGRATION_DIED,		/* destination: the worker died and never ran the guest */
	MIGRATION_UNKNOWN,	/* nobody saw whether it ran; of a peer's answer: no such one */
};
extern const char *const migration_status_names[];

struct migration {
	TAILQ_ENTRY(migration) link;
	struct hvd *hvd;
	char id[MIGRATION_ID_TEXT];
	char domain[SCHEMA_NAME_MAX + 1];
	char uuid[37];
	char peer[MIGRATION_URI_MAX];	/* source: the URI; destination: who came */
	bool incoming;
	bool persistent;		/* the destination keeps the definition */
	bool undefine;			/* the source forgets it */
	bool switched;			/* source: the guest has been stopped for it */
	enum migration_status status;
	char error[256];
	/* The source's. */
	struct job *job;
	json_t *args;			/* of domain.migrate, until the worker has them */
	json_t *config;			/* for the destination */
	unsigned int streams;
	struct peer_op *op;		/* a thread speaks to the peer; NULL: none */
	bool aborted;
	struct api_call *resolve;	/* domain.migrate_resolve that waits; NULL: none */
	/* The destination's, until its worker has them; with ran_fd's copy. */
	int fds[HV_MIGRATE_STREAMS_MAX + 1];
	unsigned int nfds;
	int ran_fd;			/* an eventfd that its worker writes to before it runs; -1: none */
	bool run;			/* run it, although it comes paused */
	int64_t stall_ms;
	struct event *timer;
	struct api_call *onward;	/* domain.migrate that waits for the guest to be here; NULL: none */
	struct event *onward_timer;
};

/* ---- records (migrate.c) ------------------------------------------------------- */
void migrations_init(struct hvd *hvd);
void migrations_fini(struct hvd *hvd);
struct migration *migration_new(struct hvd *hvd, const char *id, bool incoming,
				const char *domain, const char *uuid);
struct migration *migration_find(struct hvd *hvd, const char *id);
/* Neither ended nor in doubt is over. */
bool migration_over(const struct migration *m);
void migration_set_status(struct migration *m, enum migration_status status, const char *error);
/* The worker of @dom has said so. */
void migration_completed(struct migration *m, struct domain *dom);
struct domain *migration_domain(const struct migration *m);
json_t *migration_summary(const struct migration *m);
extern const struct schema migration_summary_schema;

/* What goes into the record of its worker, NULL when it is over; and back. */
json_t *migration_record(const struct migration *m);
void migration_adopt(struct hvd *hvd, struct domain *dom, json_t *record);
/* The worker of @dom has been adopted, with its jobs; @report of its migration or NULL. */
void migration_adopted(struct hvd *hvd, struct domain *dom, json_t *report);
void migration_worker_gone(struct hvd *hvd, struct domain *dom);
/* @dom has come to rest: true when it is being undefined now, as domain.migrate asked. */
bool migration_undefines(struct hvd *hvd, struct domain *dom);
/* @dom has come to rest, and its definition is as it will stay: a source's job ends now. */
void migration_at_rest(struct domain *dom);
/* Nobody knows for sure that the other side does not run it, so that it may not start anew. */
bool migration_forbids_start(const struct domain *dom);
extern const struct api_method methods_worker_migration[];

/* ---- the two sides (migrate_source.c, migrate_dest.c) --------------------------- */
struct migrate_args {
	const char *domain, *uri;
	bool live, verify, persistent, undefine_source;
	int64_t streams, stall_ms;
	json_t *config;
};
struct migrate_set_args {
	const char *domain;
};
struct migrate_in_args {
	const char *id;
	json_t *config;
	int64_t streams, stall_ms;
	bool persistent, run;
	const char *source, *instance;
};
struct migrate_stream_args {
	const char *id;
	bool resolve;
};
struct migrate_status_args {
	const char *id;
};
struct migrate_resolve_args {
	const char *domain, *id;
	bool peer_gone, discard;
};
struct migrate_check_args {
	json_t *config;
	int64_t tsc_khz;
	const char *cpu, *instance;
};
#define MIGRATE_PROBE_MAX (8 << 20)
struct migrate_probe_args {
	int64_t bytes;
};
struct migrate_plan_args {
	const char *domain, *uri;
	int64_t time_ms;
	uint64_t max_bandwidth;
	int64_t downtime_limit_ms;
	json_t *config;
};
void migrate_out(struct api_call *call, const void *args);
/* Until the worker has heard of it, here; then the worker's. */
void migrate_set(struct api_call *call, const void *args);
/* @m, an incoming one, has ended: a domain.migrate that waits for it goes on, soon. */
void migrate_onward(struct migration *m);
/* The call that waits, if one does, is answered: @m goes. */
void migrate_onward_drop(struct migration *m);
/* Find out what became of a migration that ended unclear, and act on it. */
void migrate_settle(struct migration *m);
extern const struct worker_job_kind migrate_job_kind, migrate_incoming_job_kind;

void migrate_in(struct api_call *call, const void *args);
/* Nothing will come of it: its worker has no guest, and goes. */
void migrate_in_fail(struct migration *m, const char *why);
void migrate_stream(struct api_call *call, const void *args);
void migrate_status(struct api_call *call, const void *args);
void migrate_check(struct api_call *call, const void *args);
void migrate_probe(struct api_call *call, const void *args);
void migrate_resolve(struct api_call *call, const void *args);
void migrate_plan(struct api_call *call, const void *args);

/*
 * In builds with HV_DEBUG: what is to go wrong on @side ("source", "destination"), as the
 * file that HVD_MIGRATE_FAULT names has it: the side, a blank, a text of hv/migrate/fault.h.
 */
void migrate_add_fault(json_t *params, const char *side);
/* What a URI of a destination may be; 0 or -EINVAL with @err. */
int migrate_uri_check(const char *uri, struct api_error *err);

/* ---- speaking to another daemon, on a thread (migrate_peer.c) -------------------- */
enum peer_kind { PEER_PREPARE, PEER_SETTLE, PEER_PLAN };
struct peer_op {
	enum peer_kind kind;
	void (*done)(struct peer_op *op);	/* on the loop; then the op is freed */
	struct hvd *hvd;
	char id[MIGRATION_ID_TEXT], uri[MIGRATION_URI_MAX], domain[SCHEMA_NAME_MAX + 1];
	char *request;			/* the text of the method's params */
	unsigned int streams;
	bool source_gone;		/* settle: our worker is dead, for ever */
	bool cancel;			/* atomic: give up soon */
	/* results */
	bool failed;
	struct api_error err;
	enum migration_status found;	/* settle: what the peer knows */
	int fds[HV_MIGRATE_STREAMS_MAX];
	unsigned int nfds;
	char *answer;			/* plan: its text */
	double probe_bytes_per_s;	/* plan */
	void *data;
	/* migrate_peer.c's own */
	int wake_fd;
	struct event *event;
};
/* @op's inputs are filled in; taken. 0 or -errno: then it is freed and done() not called. */
int peer_op_start(struct hvd *hvd, struct peer_op *op);

/* ---- rows (methods_migrate.c) ------------------------------------------------------ */
extern const struct api_method methods_migrate[];	/* of the supervisor */
extern const struct api_method methods_migrate_vm[];	/* of the worker */
extern const struct api_method methods_migrate_peer[];	/* also on the migration listener */

#endif
