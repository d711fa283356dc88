/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between snapshot.c, which takes snapshots, and snapshot_read.c.
 */
#ifndef HV_MIGRATE_SNAPSHOT_INTERNAL_H
#define HV_MIGRATE_SNAPSHOT_INTERNAL_H

#include "hv/migrate/snapshot.h"

struct snapshot_manifest {
	struct snapshot *s;
	uint32_t state_crc, config_crc, digests_crc;
};

extern const char *const snapshot_file_names[SNAPSHOT_FILES];
int snapshot_name_check(const char *name); /* -EINVAL */
/* Fills in slots and memory of s. */
int snapshot_layout(struct hv_vm *vm, struct snapshot *s, struct migrate_error *error);
int snapshot_manifest_save(const struct snapshot_manifest *m, struct rec_writer *w,
			   struct migrate_error *error);
int snapshot_manifest_load(struct snapshot_manifest *m, const void *image, size_t len,
			   struct migrate_error *error);

#endif
