/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rows of all methods, by the file that has them. methods_vm stands in both
 * tables: the supervisor forwards its rows, the worker runs them.
 */
#ifndef DAEMON_METHODS_H
#define DAEMON_METHODS_H

#include "api/method.h"

extern const struct api_method methods_daemon[];	/* daemon.*, metrics.get */
extern const struct api_method methods_domain[];	/* domain.* of the supervisor */
extern const struct api_method methods_snapshot[];	/* domain.snapshot*, domain.restore */
extern const struct api_method methods_host[];		/* host.*, dirtyrate.calc */
extern const struct api_method methods_vm[];		/* forwarded: life of the machine, console */
extern const struct api_method methods_vm_memory[];	/* forwarded: memslot.*, memory.* */
extern const struct api_method methods_vm_dirtylog[];	/* forwarded: dirtylog.* */
extern const struct api_method methods_vm_cpu[];	/* forwarded: mmu.*, vcpu.* */
extern const struct api_method methods_guest_snapshot[]; /* worker.snapshot */
extern const struct api_method methods_worker[];	/* worker.*: hvd to worker only */

/* The first field of every method about a domain; `domain` is the struct's first member. */
#define FIELD_DOMAIN(type) \
	SCHEMA_FIELD(type, domain, &schema_name, SCHEMA_REQUIRED, "Its name or uuid.")

#endif
