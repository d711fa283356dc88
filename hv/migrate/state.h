/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state of a paused machine as records, in the order in which they are loaded:
 *
 *	machine		what both sides have to have in common: checked, never set
 *	memslots	likewise
 *	clock		each vCPU's TSC and the paravirtual clock, of one moment
 *	vcpu N		registers, events, MSRs, extended state
 *	pic, ioapic, pit, lapic N
 *	DEVICE N	each device by its name: the struct of its save and load
 *
 * A device takes part by having a state_size in its struct hv_device_ops; nothing
 * here changes for it.
 *
 * Time: all clocks of the guest stand still from the save to the load (TSC,
 * paravirtual clock, PIT, HPET, PM timer and LAPIC timers are saved relative to
 * the moment), so that a guest that compares them finds no difference, and none
 * ever goes back. Wall-clock time comes from the RTC, which shows the host's.
 */
#ifndef HV_MIGRATE_STATE_H
#define HV_MIGRATE_STATE_H

#include "hv/dev/device.h"
#include "hv/migrate/record.h"
#include "hv/vm/vm.h"

/* A machine as this room sees it. Every vCPU is parked, and stays so during a call. */
struct migrate_guest {
	struct hv_vm *vm;
	struct hv_board *board;
	uint64_t memory;       /* bytes */
	uint32_t test_devices; /* HV_TEST_* */
};

/* Append an image. -EBUSY, -ENOMEM, -E2BIG. */
int migrate_state_save(const struct migrate_guest *g, struct rec_writer *w,
		       struct migrate_error *error);
/*
 * Guest memory is in place. As rec_load(); -EPROTO also where the machines differ in
 * what they have to have in common. After another error the machine is half loaded:
 * only a reset makes it fit to run again.
 */
int migrate_state_load(const struct migrate_guest *g, const void *image, size_t len,
		       struct migrate_error *error);
/*
 * Only what a load would refuse before it changes anything: framing, checksums,
 * names, versions, and that the machines fit.
 */
int migrate_state_check(const struct migrate_guest *g, const void *image, size_t len,
			struct migrate_error *error);

#endif
