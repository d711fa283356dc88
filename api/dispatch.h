/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a line to a handler and back: requests, notifications and batches of
 * JSON-RPC 2.0. Supervisor and worker use the same dispatcher with different
 * tables. One thread only: all calls come from the event loop.
 *
 * A request becomes an api_call. Its handler ends it with api_reply() or
 * api_fail(), at once or later. When the session goes first, the call's cancel
 * function is told; the call must still be ended, and the answer goes nowhere.
 */
#ifndef API_DISPATCH_H
#define API_DISPATCH_H

#include "api/framing.h"
#include "api/method.h"

#include <stdbool.h>
#include <sys/types.h>

#define API_BATCH_MAX	256	/* requests of one batch */
#define API_CALLS_MAX	256	/* calls in progress of one session */
#define API_ARGS_MAX	1024	/* bytes of a decoded params struct */

struct api_session;

/* The rows that one process serves. Build with api_table_init(). */
struct api_table {
	const struct api_method **rows;	/* sorted by name */
	size_t count;
	/* What API_FORWARD rows run in the supervisor; NULL: run the handler. */
	void (*forward)(struct api_call *call, const void *args);
	void *context;			/* the process's own state, for handlers */
	json_t *discover;		/* cached document */
	uint64_t calls, failures;	/* counters since start */
};

struct api_session_ops {
	/*
	 * Queue @json and take @fds. 0, or -errno as frame_out_push(). The session
	 * stays alive during the call; closing is put off to the event loop.
	 */
	int (*send)(struct api_session *session, const json_t *json, const int *fds,
		    unsigned int nfds);
};

struct api_session {
	struct api_table *table;
	const struct api_session_ops *ops;
	enum api_privilege privilege;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	void *user;				/* the handlers' per-session state */
	void (*user_free)(struct api_session *session);
	LIST_HEAD(, api_call) calls;
	unsigned int ncalls;
};

struct api_batch;

struct api_call {
	LIST_ENTRY(api_call) link;	/* in session->calls while session is not NULL */
	struct api_session *session;	/* NULL: the caller is gone */
	struct api_table *table;
	const struct api_method *method;
	struct api_batch *batch;	/* NULL: a single request */
	json_t *id;			/* NULL: a notification */
	json_t *params;			/* an object, also when the request had none */
	int fds[FRAME_FDS_MAX];		/* of the request; closed at the end unless set to -1 */
	unsigned int nfds;
	/* Set by a handler that answers later; called once if the session ends first. */
	void (*cancel)(struct api_call *call);
	void *data;			/* the handler's own */
	TAILQ_ENTRY(api_call) wait_link; /* the handler's own queue */
	void *args;			/* decoded params */
};

TAILQ_HEAD(api_call_queue, api_call);

/* Rows of several arrays, each ended by a row without name; 0 or -errno. */
int api_table_init(struct api_table *table, const struct api_method *const *arrays, size_t n);
void api_table_fini(struct api_table *table);
const struct api_method *api_table_find(const struct api_table *table, const char *name);

void api_session_init(struct api_session *session, struct api_table *table,
		      const struct api_session_ops *ops, enum api_privilege privilege);
/* Detach and cancel all calls in progress. */
void api_session_fini(struct api_session *session);

/*
 * Handle one line. Answers, errors included, go through ops->send. @in gives the
 * descriptors that the request announces. 0, or -EPROTO when the stream cannot be
 * followed any more: flush and close.
 */
int api_dispatch_line(struct api_session *session, const char *text, size_t len,
		      struct frame_in *in);
/* The same for a value that is parsed already (borrowed). */
int api_dispatch_json(struct api_session *session, json_t *request, struct frame_in *in);

/* End @call with a result; takes @result (NULL: null) and @fds. */
void api_reply(struct api_call *call, json_t *result);
void api_reply_fds(struct api_call *call, json_t *result, const int *fds, unsigned int nfds);
void api_fail(struct api_call *call, const struct api_error *err);
/* The same with a printf text. */
void api_fail_text(struct api_call *call, enum api_err id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether the row of @method promises error @id. */
bool api_method_has_error(const struct api_method *method, enum api_err id);

/* Send a notification; takes @params. */
int api_notify(struct api_session *session, const char *method, json_t *params);
/* Send an error that answers no request that could be read. */
void api_send_error(struct api_session *session, const struct api_error *err);

/* The OpenRPC document of the table: a new reference or NULL. */
json_t *api_discover(const struct api_table *table);
/* The row of rpc.discover, for the tables that serve it. */
extern const struct api_method api_discover_rows[];

#endif
