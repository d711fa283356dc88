/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A method is one constant row. From the row come validation, privilege checks,
 * dispatch, forwarding to a worker, rpc.discover, and the checks of the tests.
 * Adding a method is adding a row and its handler.
 */
#ifndef API_METHOD_H
#define API_METHOD_H

#include "api/error.h"
#include "api/schema.h"

enum api_privilege {
	API_RO,	/* also on the read-only socket */
	API_RW,
};

enum api_method_flag {
	/* The supervisor passes the call to the worker of params.domain, where the handler runs. */
	API_FORWARD = 1,
	/* Between hvd and its workers only: not in rpc.discover. */
	API_INTERNAL = 2,
	/* The request may bring descriptors; without this flag that is an error. */
	API_TAKES_FDS = 4,
	/* The reply may bring descriptors. */
	API_GIVES_FDS = 8,
	/* Answers only when something happens; no limit on its duration. */
	API_BLOCKS = 16,
};

struct api_call;

struct api_method {
	const char *name;		/* "room.verb" */
	const char *summary;		/* one sentence */
	const struct schema *params;	/* an OBJECT; NULL: none */
	const struct schema *result;	/* NULL: null */
	size_t args_size;		/* of the struct that params decodes into */
	enum api_privilege privilege;
	unsigned int flags;		/* enum api_method_flag */
	/*
	 * Answers @call exactly once, now or later, with api_reply() or api_fail().
	 * @args is the decoded params; it and what it borrows live as long as @call.
	 */
	void (*handler)(struct api_call *call, const void *args);
	/* Beyond those that every method has; ends with API_OK. NULL: none. */
	const enum api_err *errors;
};

#define API_ERRORS(...) ((const enum api_err[]){ __VA_ARGS__, API_OK })

/* Errors that every method may answer with; rows do not repeat them. */
extern const enum api_err api_common_errors[];

#endif
