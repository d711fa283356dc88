/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's figures as JSON and their schemas, from one list each.
 */
#ifndef DAEMON_VM_FIGURES_H
#define DAEMON_VM_FIGURES_H

#include "api/schema.h"
#include "hv/hv.h"

extern const struct schema mmu_figures_schema;	/* object of counters */
extern const struct schema vcpu_list_schema;	/* array of objects */

/* @earlier: what another worker of the guest has left, which counters go on from; NULL: none. */
json_t *mmu_figures_json(const struct hv_mmu_figures *figures, const json_t *earlier);
/* All vCPUs of @m. */
json_t *vcpu_list_json(struct hv_machine *m, const json_t *earlier);
/* For the worker that takes the guest over; NULL: they cannot be read. */
json_t *figures_to_leave(struct hv_machine *m, const json_t *earlier);
/* 64 bits: an integer where JSON readers keep it exactly, "0x..." above 2^53. */
json_t *json_u64(uint64_t value);

#endif
