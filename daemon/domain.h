/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains as the supervisor knows them: name, definition, state, worker. Event
 * loop only.
 *
 * An operation that takes more than one turn of the loop marks its domain busy;
 * calls that would change the domain meanwhile are parked and run again in order
 * when it ends (at most DOMAIN_PARKED_MAX of them).
 */
#ifndef DAEMON_DOMAIN_H
#define DAEMON_DOMAIN_H

#include "api/dispatch.h"
#include "daemon/domain_state.h"

#include <stdint.h>
#include <sys/queue.h>

#define DOMAIN_PARKED_MAX 32
#define DOMAIN_WAITS_MAX  4096

struct event;
struct hvd;
struct migration;
struct start_op;
struct upgrade;
struct worker;

struct domain {
	LIST_ENTRY(domain) link;
	char name[SCHEMA_NAME_MAX + 1];
	char uuid[37];
	json_t *config;		/* the definition; NULL while it is being stored first */
	json_t *live;		/* the definition that the worker was started with */
	bool persistent;
	enum domain_state state;
	enum domain_reason reason;
	char detail[160];	/* why, in words */
	int exit_code;		/* of debug_exit, -1: none */
	int64_t resets;		/* that the guest brought about, as its worker said last */
	uint64_t since_us;	/* the state's age, in wall-clock time */
	uint64_t created_us;	/* when the domain.start or domain.create came in, monotonic */
	struct worker *worker;
	bool busy;
	unsigned int storing;	/* changes of its definition on their way to the disk */
	bool destroying;	/* destroy was asked; the worker is being killed */
	struct api_call_queue parked;
	unsigned int nparked;
	struct event *resume_event;	/* runs the parked calls */
	struct start_op *start;		/* while it starts */
	struct api_call_queue destroys;	/* domain.destroy calls to answer when it is done */
	struct api_call_queue waits;	/* domain.wait calls */
	unsigned int nwaits;
	struct upgrade *upgrade;	/* while another worker takes over */
	struct migration *migration;	/* the last one, in or out; NULL: none is known */
};

/* By name, or by uuid; NULL: none that is visible. */
struct domain *domain_find(struct hvd *hvd, const char *name);
/* The same, answering @call with domain.not_found. */
struct domain *domain_of_call(struct api_call *call, const char *name);
/*
 * The same for a call that changes the domain: when it is busy the call is parked
 * (or refused with resource.exhausted) and NULL returned; the handler just returns.
 */
struct domain *domain_to_change(struct api_call *call, const char *name);

/* A new domain without definition, linked; NULL: no memory. */
struct domain *domain_new(struct hvd *hvd, const char *name, const char *uuid);
/* Unlink and free. Parked and waiting calls are answered domain.not_found. */
void domain_free(struct hvd *hvd, struct domain *dom);
void domain_set_busy(struct domain *dom);
/* Ends the operation: parked calls run again in the next turn of the loop. */
void domain_set_idle(struct hvd *hvd, struct domain *dom);

/* What list, info, wait, start and create answer with. */
json_t *domain_summary(const struct domain *dom);
extern const struct schema domain_summary_schema;
/*
 * Answer @call when @dom gets into @state, or with timeout after @timeout_ms (-1: no
 * limit). Answers at once when it is in it already.
 */
void domain_wait(struct api_call *call, struct domain *dom, enum domain_state state,
		 int64_t timeout_ms);
/* Answer the waits that @dom's state fulfils. */
void domain_end_waits(struct hvd *hvd, struct domain *dom);
/* domain.wrong_state with the state that it is in. */
void domain_fail_state(struct api_call *call, const struct domain *dom, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define START_FILES_MAX 8

/* A descriptor for the worker beside those that the definition names. */
struct start_file {
	const char *name;	/* static; in the map of files */
	int fd;
};

/*
 * Start @dom by its definition. Marks the domain busy. @call is answered when the guest
 * runs or when it cannot; or instead of that, ended() is told: with a summary (its own)
 * and descriptors (taken), or with @err; then a transient domain is about to go.
 */
struct domain_start {
	bool paused;	/* make the machine, run nothing */
	bool console;	/* answer with a console's descriptor, too */
	enum domain_reason reason;	/* of its state then; 0: booted, or starting_up when paused */
	json_t *config;	/* start with this instead of the definition; borrowed. NULL: the definition */
	json_t *params;	/* members to add to worker.start's; borrowed. NULL: none */
	struct start_file files[START_FILES_MAX];	/* taken, on failure too */
	unsigned int nfiles;
	void (*ended)(void *ctx, json_t *summary, const int *fds, unsigned int nfds,
		      const struct api_error *err);
	void *ctx;
};
void domain_start(struct hvd *hvd, struct api_call *call, struct domain *dom,
		  const struct domain_start *how);
/* A domain without a worker comes to rest: a transient one that is shut off is freed. */
void domain_settle(struct hvd *hvd, struct domain *dom);
/* The host's CPUs that domains may not use, for worker.start. */
json_t *domain_offline_cpus(const struct hvd *hvd);
/* Kill its worker, whatever it does; @call is answered when it is gone. */
void domain_destroy(struct api_call *call, struct domain *dom);

/* ---- definitions (methods_domain.c) --------------------------------------- */
/*
 * A definition's own copy with its uuid: that of the domain @dom that it redefines, or
 * a new one. NULL when the call is answered with an error.
 */
json_t *domain_config_take(struct api_call *call, json_t *given, struct domain **dom);
/* A new domain for it; NULL: @call is answered. */
struct domain *domain_from_config(struct api_call *call, json_t *config);
/* Make it durable, or forget it, with nobody waiting; failures are logged. 0 or -errno. */
enum store_kind { STORE_DEFINE, STORE_UNDEFINE };
int domain_store(struct hvd *hvd, struct domain *dom, enum store_kind kind, json_t *config);

/* ---- what the worker's side reports (worker_link.c) ------------------------ */
/* The machine's state as its worker says. */
void domain_worker_state(struct hvd *hvd, struct domain *dom, const json_t *report);
/* The same without its jobs: of a worker that has taken over. */
void domain_worker_upgraded(struct hvd *hvd, struct domain *dom, const json_t *report);
/* The process is gone and its resources are free; @how it ended, in words. */
void domain_worker_gone(struct hvd *hvd, struct domain *dom, const char *how);
extern const struct api_method methods_worker_report[];

#endif
