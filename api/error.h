/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stable error names of the API. A name, once published, keeps its meaning;
 * the text beside it may change. Faults of the protocol have the codes that
 * JSON-RPC 2.0 gives them, everything else has the one code API_CODE, and
 * programs tell them apart by data.name.
 */
#ifndef API_ERROR_H
#define API_ERROR_H

#include <jansson.h>

#define API_CODE (-32000)

/* X(identifier, code, name, description) */
#define API_ERROR_LIST(X) \
	X(PARSE, -32700, "rpc.parse_error", "The line is not one JSON text in UTF-8.") \
	X(TOO_DEEP, -32700, "rpc.nesting_too_deep", "The JSON text nests too deeply.") \
	X(LINE_TOO_LONG, -32600, "rpc.line_too_long", \
	  "The line is over the size limit; the connection is closed.") \
	X(INVALID_REQUEST, -32600, "rpc.invalid_request", "The JSON text is not a request.") \
	X(METHOD_NOT_FOUND, -32601, "rpc.method_not_found", "There is no such method.") \
	X(INVALID_PARAMS, -32602, "rpc.invalid_params", \
	  "A parameter is unknown, missing, of the wrong type or out of range.") \
	X(INTERNAL, -32603, "rpc.internal_error", "The daemon failed to do its part.") \
	X(PERMISSION_DENIED, API_CODE, "permission.denied", \
	  "The caller or the socket has not the privilege for this method.") \
	X(RESOURCE_EXHAUSTED, API_CODE, "resource.exhausted", \
	  "A limit of the daemon or of the host is reached.") \
	X(TIMEOUT, API_CODE, "timeout", "The time limit of the call passed.") \
	X(UNSUPPORTED, API_CODE, "unsupported_by_backend", \
	  "The engine, the processor or the host cannot do this.") \
	X(PEER_LOST, API_CODE, "peer.lost", "The other end went away before it answered.") \
	X(DAEMON_STOPPING, API_CODE, "daemon.stopping", "The daemon is stopping.") \
	X(CONFIG_INVALID, API_CODE, "config.invalid", \
	  "The definition or the configuration is not valid.") \
	X(FILE_UNAVAILABLE, API_CODE, "file.unavailable", \
	  "A file that the definition names cannot be opened.") \
	X(STORE_FAILED, API_CODE, "store.failed", \
	  "What was to be stored could not be made durable; nothing changed.") \
	X(DOMAIN_NOT_FOUND, API_CODE, "domain.not_found", "There is no such domain.") \
	X(DOMAIN_EXISTS, API_CODE, "domain.exists", "A domain of that name or uuid exists.") \
	X(DOMAIN_WRONG_STATE, API_CODE, "domain.wrong_state", \
	  "The domain's state does not allow this.") \
	X(DOMAIN_START_FAILED, API_CODE, "domain.start_failed", "The domain could not be started.") \
	X(UPGRADE_FAILED, API_CODE, "domain.upgrade_failed", \
	  "The new worker did not take the guest; the old one runs it on.") \
	X(JOB_NOT_FOUND, API_CODE, "job.not_found", "There is no such job.") \
	X(JOB_CONFLICT, API_CODE, "job.conflict", "Another job of the domain excludes this one.") \
	X(JOB_ABORTED, API_CODE, "job.aborted", "The job was aborted.") \
	X(SNAPSHOT_NOT_FOUND, API_CODE, "snapshot.not_found", "There is no such snapshot.") \
	X(SNAPSHOT_EXISTS, API_CODE, "snapshot.exists", "There is something of that name already.") \
	X(SNAPSHOT_INVALID, API_CODE, "snapshot.invalid", \
	  "The snapshot is damaged, or not one for this engine.") \
	X(MIGRATION_FAILED, API_CODE, "migration.failed", \
	  "The migration came to nothing; data.state says where the guest is.") \
	X(MIGRATION_NOT_FOUND, API_CODE, "migration.not_found", "There is no such migration.") \
	X(SUBSCRIPTION_NOT_FOUND, API_CODE, "subscription.not_found", \
	  "The connection has no such subscription.") \
	X(CPU_NOT_FOUND, API_CODE, "host.cpu_not_found", "The host has no such CPU.") \
	X(CPU_LAST, API_CODE, "host.cpu_last", "The last online CPU cannot be taken away.") \
	X(MEMSLOT_OVERLAP, API_CODE, "memslot.overlap", "The range overlaps another memslot.") \
	X(MEMSLOT_UNALIGNED, API_CODE, "memslot.unaligned", \
	  "An address or size is not a multiple of the page size.") \
	X(MEMSLOT_NOT_FOUND, API_CODE, "memslot.not_found", "There is no such memslot.") \
	X(CURSOR_EXPIRED, API_CODE, "dirtylog.cursor_expired", \
	  "The cursor is too old, or of another log; read from the start again.") \
	X(DIRTYLOG_OFF, API_CODE, "dirtylog.not_started", "Dirty logging is not started.") \
	X(MEMORY_RANGE, API_CODE, "memory.out_of_range", \
	  "The guest-physical range is not backed by guest memory.") \
	X(VCPU_NOT_FOUND, API_CODE, "vcpu.not_found", "There is no such vCPU.")

enum api_err {
	API_OK = 0,
#define X(id, code, name, text) API_E_##id,
	API_ERROR_LIST(X)
#undef X
	API_ERR_COUNT
};

/*
 * One failure, filled in where it is found and sent where the request came in.
 * Plain storage, so that no failure path allocates. Texts are cut to fit.
 */
struct api_error {
	enum api_err id;
	char message[256];	/* for people */
	char field[192];	/* JSON pointer into params, "" when none applies */
	char state[32];		/* of the object, "" when none applies */
	char hint[192];		/* what to do about it, "" when unknown */
};

/* The table's facts of an error; @id is one of enum api_err other than API_OK. */
const char *api_error_name(enum api_err id);
int api_error_code(enum api_err id);
const char *api_error_text(enum api_err id);
/* The error of a stable name, API_OK when the name is unknown. */
enum api_err api_error_by_name(const char *name);

/* Begin @err anew with @id and a printf text; NULL @fmt takes the table's text. */
void api_error_set(struct api_error *err, enum api_err id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void api_error_field(struct api_error *err, const char *pointer);
void api_error_state(struct api_error *err, const char *state);
void api_error_hint(struct api_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* {"code","message","data":{"name",...}}: a new reference, NULL without memory. */
json_t *api_error_to_json(const struct api_error *err);
/*
 * The reverse, for an error object that a worker sent: unknown names become
 * rpc.internal_error, missing members empty.
 */
void api_error_from_json(struct api_error *err, const json_t *obj);

#endif
