/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The insides of hv/engine: what the composition root knows of itself and of
 * each VM. Only hv/engine includes this.
 *
 * [I] immutable after creation; [e] engine_vm.lock.
 */
#ifndef HV_ENGINE_HV_ENGINE_H
#define HV_ENGINE_HV_ENGINE_H

#include "hv/base/lock.h"
#include "hv/hv.h"
#include "hv/mem/region.h"
#include "hv/vm/vm.h"

/* Host memory of a VM; gone when it is dropped and nobody uses it. */
struct engine_region {
	struct engine_region *next;	/* [e] */
	struct hv_region *region;	/* [I] owned */
	unsigned int users;		/* [e] */
	bool dropped;			/* [e] */
};

struct engine_vm {
	struct hv_mem *mem;			/* [I] owned; outlives the VM */
	struct hv_mutex lock;
	struct engine_region *regions;		/* [e] owned */
	/* Working set: per page of address space 0, calls since it was last seen accessed. */
	uint8_t *idle;				/* [e] */
	uint64_t idle_pages;			/* [e] */
};

static inline struct engine_vm *engine_vm(struct hv_vm *vm)
{
	return vm->engine;
}

/* hv_init.c: -EINVAL and NULL for unknown names. NULL: the default. */
bool engine_is_up(void);
const struct hv_processor_ops *engine_processor(const char *name);
const struct hv_vendor_ops *engine_vendor(const char *name);
int engine_paging(const char *name, enum hv_paging *out);
/* hv_vm.c: the region of the VM that holds [hva, hva + len), or NULL; it stays until it is put. */
struct hv_region *engine_region_get(struct hv_vm *vm, uint64_t hva, uint64_t len);
void engine_region_put(struct hv_vm *vm, struct hv_region *region);
/* hv_memory.c: other memory under a range of the guest's, which readers of the log hear of. */
int engine_memory_remap(struct hv_vm *vm, uint64_t gpa, uint64_t len,
			const struct hv_backing *backing);

#endif
