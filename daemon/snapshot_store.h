/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories of snapshots: STATE_DIR/snapshots/DOMAIN/NAME, or NAME in a folder that
 * the caller names. The supervisor makes and opens all of it, since a worker that holds
 * the descriptor of a folder could walk out of its cage; workers get the files.
 *
 * One that is being written is called ".NAME.part" and is locked (flock). It gets its
 * name at the very end; what a killed daemon left is removed by snapstore_sweep(), which
 * finds those in other folders by notes in STATE_DIR/snapshots.
 *
 * All of it blocks: for the task thread. Names are checked (schema_name_valid()).
 */
#ifndef DAEMON_SNAPSHOT_STORE_H
#define DAEMON_SNAPSHOT_STORE_H

#include "api/error.h"

#include <jansson.h>

#define SNAPSTORE_CONFIG_MAX (1u << 20)

/* In the order of struct hv_snapshot_files. */
enum snapstore_file {
	SNAPFILE_MANIFEST,
	SNAPFILE_STATE,
	SNAPFILE_MEMORY,
	SNAPFILE_DIGESTS,
	SNAPFILE_CONFIG,
	SNAPFILE_COUNT,
};
extern const char *const snapstore_file_names[SNAPFILE_COUNT];

struct snapstore_place {
	const char *state_dir;
	const char *domain;
	const char *directory;	/* NULL: below state_dir */
	const char *name;
};

/* One that is being written. Initialise with SNAPSTORE_PART_NONE. */
struct snapstore_part {
	int parent, dir;
	char name[80], note[64];
};
#define SNAPSTORE_PART_NONE { .parent = -1, .dir = -1 }

/* Where it is, as people see it. */
void snapstore_path(const struct snapstore_place *place, char *path, size_t size);
/*
 * Make the part with empty files, and @config in its own. The descriptors are the
 * caller's; that of the configuration is -1. 0, or -errno with @err.
 */
int snapstore_begin(const struct snapstore_place *place, const char *config,
		    struct snapstore_part *part, int fds[SNAPFILE_COUNT], struct api_error *err);
/* The files are complete and synced: give it its name. On failure nothing is left. */
int snapstore_publish(const struct snapstore_place *place, struct snapstore_part *part,
		      struct api_error *err);
/* Remove it. Of one that is none: nothing. */
void snapstore_discard(const struct snapstore_place *place, struct snapstore_part *part);
/* Open all files for reading; *text (to be freed) is the configuration's. */
int snapstore_open(const struct snapstore_place *place, int fds[SNAPFILE_COUNT], char **text,
		   struct api_error *err);
int snapstore_delete(const struct snapstore_place *place, struct api_error *err);
/*
 * Those of a domain (place->domain NULL: of all), oldest first, as the API shows them.
 * What is no snapshot is left out. A new reference, or NULL with @err.
 */
json_t *snapstore_list(const struct snapstore_place *place, struct api_error *err);
/* Before anything is being written: remove what was not finished. */
void snapstore_sweep(const char *state_dir);

#endif
