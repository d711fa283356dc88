/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of interrupt chips and devices. Their structures have fields of fixed
 * width at fixed places (the assertions below) and are carried as they are; a
 * change of one is a new version of its record.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/migrate/state_internal.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are carried as they are");
_Static_assert(sizeof(struct hv_pic_state) == 32, "record \"pic\" version 1");
_Static_assert(sizeof(struct hv_ioapic_state) == 208, "record \"ioapic\" version 1");
_Static_assert(sizeof(struct hv_pit_channel_state) == 40 && sizeof(struct hv_pit_state) == 128,
	       "record \"pit\" version 1");
_Static_assert(sizeof(struct hv_lapic_state) == 288, "record \"lapic\" version 1");

/* The payload has to be this long. */
static int get_struct(struct rec_reader *r, void *to, size_t size)
{
	rec_get(r, to, size);
	return r->short_read || rec_left(r) ? -EBADMSG : 0;
}

int state_pic_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_pic_state s = { .chip[0].irr = 0 };

	irqchip_get_pic(state_guest(ctx)->vm, &s);
	rec_put(w, &s, sizeof(s));
	return 0;
}

int state_pic_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_pic_state s;
	int err = get_struct(r, &s, sizeof(s));

	return err ? err : irqchip_set_pic(state_guest(ctx)->vm, &s);
}

int state_ioapic_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_ioapic_state s;

	irqchip_get_ioapic(state_guest(ctx)->vm, &s);
	rec_put(w, &s, sizeof(s));
	return 0;
}

int state_ioapic_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_ioapic_state s;
	int err = get_struct(r, &s, sizeof(s));

	return err ? err : irqchip_set_ioapic(state_guest(ctx)->vm, &s);
}

int state_pit_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_pit_state s;

	irqchip_get_pit(state_guest(ctx)->vm, &s);
	rec_put(w, &s, sizeof(s));
	return 0;
}

int state_pit_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_pit_state s;
	int err = get_struct(r, &s, sizeof(s));

	return err ? err : irqchip_set_pit(state_guest(ctx)->vm, &s);
}

int state_lapic_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_lapic_state s;

	irqchip_get_lapic(vm_vcpu(state_guest(ctx)->vm, n), &s);
	rec_put(w, &s, sizeof(s));
	return 0;
}

int state_lapic_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_lapic_state s;
	int err = get_struct(r, &s, sizeof(s));

	return err ? err : irqchip_set_lapic(vm_vcpu(state_guest(ctx)->vm, n), &s);
}

/* ---- devices ----------------------------------------------------------------------------- */

static struct hv_device *device_of(const struct rec_row *row, unsigned int n)
{
	return ((struct state_devices *)row->arg)->devices[n];
}

int state_device_save(void *ctx, const struct rec_row *row, unsigned int n, struct rec_writer *w)
{
	struct hv_device *dev = device_of(row, n);
	void *s = hv_zalloc(dev->ops->state_size);

	if (!s)
		return -ENOMEM;
	dev->ops->save(dev, s);
	rec_put(w, s, dev->ops->state_size);
	hv_free(s);
	return 0;
}

int state_device_load(void *ctx, const struct rec_row *row, unsigned int n, struct rec_reader *r)
{
	struct hv_device *dev = device_of(row, n);
	void *s = hv_zalloc(dev->ops->state_size);
	int err;

	if (!s)
		return -ENOMEM;
	err = get_struct(r, s, dev->ops->state_size);
	if (!err)
		err = dev->ops->load(dev, s);
	hv_free(s);
	return err;
}
