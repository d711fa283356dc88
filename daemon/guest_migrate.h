/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration in the worker. Loop only.
 */
#ifndef DAEMON_GUEST_MIGRATE_H
#define DAEMON_GUEST_MIGRATE_H

#include "api/dispatch.h"

struct guest;

/* For worker.adopt and worker.migration; NULL: it has had none. A new reference. */
json_t *guest_migration_report(struct guest *g);
/* It is being handed over, or in doubt: nobody but the migration decides who runs it. */
bool guest_migration_holds(const struct guest *g);
/* Before the machine is freed. */
void guest_migration_free(struct guest *g);
/* Handler of domain.migrate_set. */
void vm_migrate_set(struct api_call *call, const void *args);
extern const struct api_method guest_migrate_rows[];

#endif
