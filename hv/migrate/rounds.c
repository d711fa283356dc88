/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/rounds.h"

#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/util.h"
#include "hv/vm/dirty.h"

#define PIECE 1024 /* ranges asked for at a time */

int rounds_start(struct hv_vm *vm, struct rounds *r)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->vm = vm;
	err = dirty_cursor_start(vm, &r->cursor);
	r->logging = !err;
	return err;
}

void rounds_stop(struct rounds *r)
{
	if (r->logging)
		dirty_cursor_stop(r->vm);
	r->logging = false;
	hv_free(r->ranges);
	r->ranges = NULL;
	r->count = r->room = 0;
}

static int reserve(struct rounds *r, unsigned int more)
{
	struct hv_dirty_range *ranges;
	unsigned int room = hv_max(r->room * 2, r->count + more);

	if (r->count + more <= r->room)
		return 0;
	ranges = hv_realloc_array(r->ranges, room, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	r->ranges = ranges;
	r->room = room;
	return 0;
}

/*
 * `since` 0 means all pages; the cursor of the start has seen none of them, so the
 * first round is due everything that was there before it and written since.
 */
int rounds_harvest(struct rounds *r)
{
	uint64_t cursor = 0, resume = 0, since = r->number ? r->cursor : 0;
	int i, n;

	r->count = 0;
	r->pages = 0;
	do {
		if (reserve(r, PIECE))
			return -ENOMEM;
		n = dirty_cursor_read(r->vm, since, &cursor, &resume, r->ranges + r->count, PIECE);
		if (n < 0)
			return n;
		for (i = 0; i < n; i++)
			r->pages += r->ranges[r->count + (unsigned int)i].pages;
		r->count += (unsigned int)n;
	} while (resume != HV_DIRTYLOG_DONE);
	r->cursor = cursor;
	r->number++;
	return 0;
}

uint64_t rounds_memory(struct hv_vm *vm)
{
	struct hv_memslot *slot;
	struct hv_memslots *slots;
	uint64_t pages = 0;

	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, 0);
	for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot))
		pages += slot->npages;
	hv_rcu_read_unlock();
	return pages << HV_PAGE_SHIFT;
}
