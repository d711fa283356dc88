/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between state.c, which has the table, and the files that know what is in a record.
 */
#ifndef HV_MIGRATE_STATE_INTERNAL_H
#define HV_MIGRATE_STATE_INTERNAL_H

#include "hv/migrate/state.h"

/* Save and load functions of struct rec_row; ctx is a const struct migrate_guest. */
#define STATE_ROW(name)                                                                            \
	int state_##name##_save(void *ctx, const struct rec_row *row, unsigned int n,              \
				struct rec_writer *w);                                             \
	int state_##name##_load(void *ctx, const struct rec_row *row, unsigned int n,              \
				struct rec_reader *r)

STATE_ROW(machine); /* state_machine.c */
STATE_ROW(memslots);
STATE_ROW(clock);
STATE_ROW(vcpu); /* state_vcpu.c */
STATE_ROW(pic);	 /* state_chips.c */
STATE_ROW(ioapic);
STATE_ROW(pit);
STATE_ROW(lapic);
STATE_ROW(device); /* row->arg: struct state_devices */

/* Devices of one name, in the order of creation: an instance each. */
struct state_devices {
	struct hv_device *devices[REC_INSTANCES_MAX];
};

static inline const struct migrate_guest *state_guest(void *ctx)
{
	return ctx;
}

#endif
