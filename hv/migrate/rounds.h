/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rounds over a guest's memory from the cursor log: first all of it, then what was
 * written since the round before. Whoever copies memory of a running guest
 * (pre-copy, snapshots) has one of these; they do not disturb each other.
 *
 *	err = rounds_start(vm, &r);
 *	do {
 *		err = rounds_harvest(&r);	the pages of the round: r.ranges, r.pages
 *		... copy them ...
 *	} while (too many);
 *	... stop the guest, harvest and copy once more ...
 *	rounds_stop(&r);
 */
#ifndef HV_MIGRATE_ROUNDS_H
#define HV_MIGRATE_ROUNDS_H

#include <stdbool.h>

#include "hv/hv.h"
#include "hv/vm/vm.h"

struct rounds {
	struct hv_vm *vm;
	uint64_t cursor;
	unsigned int number; /* of harvests so far */
	struct hv_dirty_range *ranges; /* in gpa order; owned */
	unsigned int count, room;
	uint64_t pages;	     /* in them */
	bool logging;
};

/* -ENOMEM. */
int rounds_start(struct hv_vm *vm, struct rounds *r);
/*
 * The first: all memory; then what was written since the harvest before. On failure
 * the round can be harvested again. -ENOMEM.
 */
int rounds_harvest(struct rounds *r);
/* May be called at any time, also twice. */
void rounds_stop(struct rounds *r);

/* Bytes of all memory slots of address space 0. */
uint64_t rounds_memory(struct hv_vm *vm);

#endif
