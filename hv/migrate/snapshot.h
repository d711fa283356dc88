/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A snapshot: a directory that is complete or not there. doc/migration.md has the
 * format.
 *
 *	manifest	records: lengths and checksums of the others, where memory is
 *	state		records of the machine
 *	memory		RAM, sparse: what is zero is a hole
 *	digests		XXH64 of each page of `memory`
 *	config		the caller's bytes
 *
 * How a running guest's memory is taken. The dirty log serves: all of it is
 * copied while the guest runs, then what was written meanwhile, round after round;
 * at the end the guest stops, its last pages are copied into a buffer in memory and
 * it goes on, while that buffer is still to be written. So the pause is a harvest
 * and a copy of at most PAUSE_PAGES, whatever the size of the guest and however
 * slow the disk. The other way, write protection at the start and a copy of each
 * page before its first write, would have a pause without any copy; but it needs a
 * hook before every store, in the fault path, the fast path and every device, where
 * the log needs none, it makes each first write wait for a copy, and its snapshot is
 * of the moment when it was asked for, not of the moment when it is done. A guest
 * that writes faster than the disk takes it is slowed down, as in a migration.
 */
#ifndef HV_MIGRATE_SNAPSHOT_H
#define HV_MIGRATE_SNAPSHOT_H

#include "hv/migrate/record.h"
#include "hv/vm/vm.h"

#define SNAPSHOT_NAME_MAX   200
#define SNAPSHOT_CONFIG_MAX (1U << 20)
#define SNAPSHOT_SLOTS_MAX  64

struct snapshot_ops {
	int (*stop)(void *ctx, struct migrate_error *error);
	void (*resume)(void *ctx);
	int (*save)(void *ctx, struct rec_writer *w, struct migrate_error *error);
	void (*throttle)(void *ctx, unsigned int percent);
	/* Now and then; true: give up. */
	bool (*progress)(void *ctx, uint64_t done, uint64_t total, unsigned int round);
};

enum snapshot_file {
	SNAPSHOT_MANIFEST,
	SNAPSHOT_STATE,
	SNAPSHOT_MEMORY,
	SNAPSHOT_DIGESTS,
	SNAPSHOT_CONFIG,
	SNAPSHOT_FILES,
};

struct snapshot_request {
	struct hv_vm *vm;
	const struct snapshot_ops *ops;
	void *ctx;
	int dir;	  /* where the new directory goes */
	const char *name; /* of it: no '/', not beginning with '.' */
	/*
	 * Not NULL: the files, empty and open for writing, instead of dir and name. The
	 * caller sees to the directory, and to the file of the configuration.
	 */
	const int *fds;
	const void *config;
	size_t config_len;
	uint64_t pause_us; /* out: how long the guest stood still */
	uint64_t pages;	   /* out: pages with data */
};

/* -EEXIST, -EINVAL (name), -ECANCELED, or what the disk says. Nothing is left then. */
int snapshot_create(struct snapshot_request *req, struct migrate_error *error);

struct snapshot {
	int fds[SNAPSHOT_FILES]; /* ours */
	uint8_t *state, *config; /* owned */
	uint64_t state_len, config_len, memory, created_ns;
	unsigned int nr_slots;
	struct snapshot_slot {
		uint64_t gpa, size, offset; /* of the file */
	} slots[SNAPSHOT_SLOTS_MAX];
};

/* Everything but memory is read and checked. -EBADMSG, -EPROTO, -ENOENT, -errno. */
int snapshot_open(int dir, const char *name, struct snapshot **out, struct migrate_error *error);
/* The same of open files, which are duplicated. */
int snapshot_open_files(const int fds[SNAPSHOT_FILES], struct snapshot **out,
			struct migrate_error *error);
void snapshot_close(struct snapshot *s);
/* The machine's RAM lies where the snapshot's does. -EPROTO. */
int snapshot_check(const struct snapshot *s, struct hv_vm *vm, struct migrate_error *error);
/* Read all of memory and compare the digests; -EILSEQ names the first wrong page. */
int snapshot_verify(const struct snapshot *s, struct migrate_error *error);
/* As a whole or not at all. -ENOENT. */
int snapshot_remove(int dir, const char *name);

#endif
