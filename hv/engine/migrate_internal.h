/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between the files that take a machine apart for migration and snapshots.
 * "In a control call": between machine_control_begin() and _end().
 */
#ifndef HV_ENGINE_MIGRATE_INTERNAL_H
#define HV_ENGINE_MIGRATE_INTERNAL_H

#include "hv/engine/machine_internal.h"
#include "hv/migrate/state.h"

void machine_guest(struct hv_machine *m, struct migrate_guest *g);
/* Copy to the caller's buffer of HV_ERROR_SIZE, which may be NULL. */
void machine_report(char *error, const struct migrate_error *e, int err);
/* In a control call. As hv_machine_save_state() and hv_machine_load_state(). */
int machine_save_records(struct hv_machine *m, struct rec_writer *w, struct migrate_error *e);
int machine_load_records(struct hv_machine *m, const void *image, size_t len,
			 struct migrate_error *e);

/*
 * Stop the guest and keep everybody else from starting it; *ran: it was not paused.
 * -EIO: it has ended, -EBUSY: somebody else holds it. The two are a pair.
 */
int machine_stop_held(struct hv_machine *m, enum machine_hold kind, bool *ran,
		      struct migrate_error *error);
void machine_resume_held(struct hv_machine *m, bool ran);

#endif
