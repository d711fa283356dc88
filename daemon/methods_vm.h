/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tables of methods that run in the worker, on the engine thread, share: memslot.*,
 * memory.*, dirtylog.*, mmu.*, vcpu.*.
 */
#ifndef DAEMON_METHODS_VM_H
#define DAEMON_METHODS_VM_H

#include "daemon/methods.h"

#define PAGE_BYTES 4096
#define GPA_MAX	   (INT64_C(1) << 52)

/* Errors of every forwarded method, and those of this one. */
#define ERRORS(...) \
	API_ERRORS(API_E_DOMAIN_NOT_FOUND, API_E_DOMAIN_WRONG_STATE, API_E_PEER_LOST, \
		   API_E_UNSUPPORTED, ##__VA_ARGS__)

#define ROW(name_, summary_, params_, result_, args_, privilege_, handler_) \
	.name = name_, .summary = summary_, .params = params_, .result = result_, \
	.args_size = sizeof(args_), .privilege = privilege_, .flags = API_FORWARD, \
	.handler = handler_

struct name_args {
	const char *domain;
};
static const struct schema_field name_fields[] = { FIELD_DOMAIN(struct name_args), { 0 } };
static const struct schema name_params = { .kind = SCHEMA_OBJECT, .fields = name_fields };

#endif
