/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hand-over to another process of this host. Memory stays where it is, so there is
 * nothing but the state to pass on; who may run the guest, the caller settles.
 */
#include <errno.h>

#include "hv/base/rcu.h"
#include "hv/engine/migrate_internal.h"
#include "hv/mem/region.h"

/* RAM is one region with one shared file behind all of it; else -1. */
static int ram_fd(struct hv_machine *m)
{
	struct hv_region *region = NULL;
	struct hv_memslot *slot;
	uint64_t offset, at = 0;
	int fd = -1;

	hv_rcu_read_lock();
	slot = memslot_first_from(hv_vm_memslots(m->vm, 0), 0);
	if (slot)
		region = hv_mem_find_region(m->vm->mem, slot->userspace_addr);
	if (region && hv_region_size(region) == m->board.ram_low + m->board.ram_high)
		fd = hv_region_fd(region, 0, &at);
	/* A part with another file, or a shifted one, would show at its end. */
	if (fd >= 0 && (at || hv_region_fd(region, hv_region_size(region) - 1, &offset) != fd ||
			offset != hv_region_size(region) - 1))
		fd = -1;
	hv_rcu_read_unlock();
	return fd;
}

int hv_machine_files(struct hv_machine *m, struct hv_machine_files *out)
{
	int fd;

	if (!m || !out)
		return -EINVAL;
	fd = ram_fd(m);
	if (fd < 0)
		return -EOPNOTSUPP;
	*out = (struct hv_machine_files){ fd, m->kernel_fd, m->initrd_fd };
	return 0;
}

int hv_machine_give(struct hv_machine *m, const struct hv_sink *sink, bool *ran, char *error)
{
	struct migrate_error e = { "" };
	struct rec_writer w;
	bool was = false;
	int err;

	if (!m || !sink || !ran)
		return -EINVAL;
	rec_writer_init(&w);
	err = machine_stop_held(m, HOLD_LASTING, &was, &e);
	if (!err) {
		machine_control_begin(m);
		err = machine_save_records(m, &w, &e);
		machine_control_end(m);
		if (!err)
			err = sink->write(sink->ctx, w.data, w.len);
		if (err)
			machine_resume_held(m, was);
	}
	if (!err)
		*ran = was;
	rec_writer_free(&w);
	machine_report(error, &e, err);
	return err;
}

void hv_machine_take_back(struct hv_machine *m, bool ran)
{
	machine_resume_held(m, ran);
}
