/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/util.h"
#include "hv/migrate/state_internal.h"

#define ROW(n, v, f) { .name = n, .version = v, .save = state_##f##_save, .load = state_##f##_load }

/* In the order of loading. The first CHECKED only compare. */
#define CHECKED 2
static const struct rec_row fixed_rows[] = {
	ROW("machine", 1, machine),
	ROW("memslots", 1, memslots),
	ROW("clock", 1, clock),
	ROW("vcpu", 1, vcpu),
	ROW("pic", 1, pic),
	ROW("ioapic", 1, ioapic),
	ROW("pit", 1, pit),
	ROW("lapic", 1, lapic),
};

/* The fixed rows, and one for each name of a device. */
struct state_table {
	struct rec_table table;
	struct rec_row rows[REC_ROWS_MAX];
	struct state_devices groups[HV_BOARD_DEVICES_MAX];
};

static bool per_vcpu(const struct rec_row *row)
{
	return !strcmp(row->name, "vcpu") || !strcmp(row->name, "lapic");
}

static int add_device(struct state_table *t, unsigned int *rows, struct hv_device *dev)
{
	unsigned int i, first = ARRAY_SIZE(fixed_rows);
	struct rec_row *row;

	for (i = first; i < *rows; i++) {
		if (!strcmp(t->rows[i].name, dev->ops->name))
			break;
	}
	row = &t->rows[i];
	if (i == *rows) {
		*row = (struct rec_row)ROW(dev->ops->name, (uint16_t)dev->ops->state_version, device);
		row->arg = &t->groups[i - first];
		++*rows;
	}
	if (row->instances == REC_INSTANCES_MAX)
		return -E2BIG;
	t->groups[i - first].devices[row->instances++] = dev;
	return 0;
}

static int table_build(const struct migrate_guest *g, struct state_table *t)
{
	unsigned int i, rows = ARRAY_SIZE(fixed_rows);
	int err = 0;

	memcpy(t->rows, fixed_rows, sizeof(fixed_rows));
	for (i = 0; i < rows; i++) {
		if (per_vcpu(&t->rows[i]))
			t->rows[i].instances = atomic_load(&g->vm->nr_vcpus);
	}
	for (i = 0; i < g->board->nr_devices && !err; i++) {
		if (g->board->devices[i]->ops->state_size)
			err = add_device(t, &rows, g->board->devices[i]);
	}
	t->table = (struct rec_table){ t->rows, rows };
	return err;
}

_Static_assert(ARRAY_SIZE(fixed_rows) + HV_BOARD_DEVICES_MAX <= REC_ROWS_MAX,
	       "a row for every device");
_Static_assert(HV_MAX_VCPUS <= REC_INSTANCES_MAX, "an instance for every vCPU");

static int table_new(const struct migrate_guest *g, struct state_table **out,
		     struct migrate_error *error)
{
	struct state_table *t = hv_zalloc(sizeof(*t));
	int err = t ? table_build(g, t) : -ENOMEM;

	if (err) {
		hv_free(t);
		return migrate_fail(error, err, "state records: %s", strerror(-err));
	}
	*out = t;
	return 0;
}

int migrate_state_save(const struct migrate_guest *g, struct rec_writer *w,
		       struct migrate_error *error)
{
	struct state_table *t;
	int err = table_new(g, &t, error);

	if (err)
		return err;
	err = rec_save(&t->table, (void *)(uintptr_t)g, w, error);
	hv_free(t);
	return err;
}

int migrate_state_load(const struct migrate_guest *g, const void *image, size_t len,
		       struct migrate_error *error)
{
	struct state_table *t;
	int err = table_new(g, &t, error);

	if (err)
		return err;
	err = rec_load(&t->table, (void *)(uintptr_t)g, image, len, error);
	hv_free(t);
	return err;
}

static int load_nothing(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	r->at = r->len;
	return 0;
}

int migrate_state_check(const struct migrate_guest *g, const void *image, size_t len,
			struct migrate_error *error)
{
	struct state_table *t;
	unsigned int i;
	int err = table_new(g, &t, error);

	if (err)
		return err;
	for (i = CHECKED; i < t->table.count; i++)
		t->rows[i].load = load_nothing;
	err = rec_load(&t->table, (void *)(uintptr_t)g, image, len, error);
	hv_free(t);
	return err;
}
