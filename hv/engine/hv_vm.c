/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMs, their host memory, memory regions and interrupt lines for the users of
 * the engine.
 */
#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/cpu/processor.h"
#include "hv/engine/hv_engine.h"
#include "hv/irq/irqchip.h"
#include "hv/mmu/mmu.h"
#include "hv/vcpu/vcpu.h"
#include "hv/vm/dirty.h"

_Static_assert(HV_MEMREGION_SLOTS == HV_MEM_SLOTS_MAX && HV_MEMREGION_SPACES == HV_ADDRESS_SPACE_NUM,
	       "what users of the engine are told");

/* ---- life -------------------------------------------------------------------------------------------- */

static struct engine_vm *engine_vm_new(void)
{
	struct engine_vm *e = hv_zalloc(sizeof(*e));

	if (!e)
		return NULL;
	if (hv_mem_create(&e->mem)) {
		hv_free(e);
		return NULL;
	}
	hv_mutex_init(&e->lock, HV_LC_VM);
	return e;
}

static void region_free(struct engine_region *r)
{
	hv_region_destroy(r->region);
	hv_free(r);
}

static void engine_vm_free(struct engine_vm *e)
{
	while (e->regions) {
		struct engine_region *r = e->regions;

		e->regions = r->next;
		region_free(r);
	}
	hv_mem_destroy(e->mem);
	hv_mutex_destroy(&e->lock);
	hv_free(e->idle);
	hv_free(e);
}

static int params_from_config(const struct hv_vm_config *config, struct hv_vm_params *p)
{
	p->name = config->name;
	p->processor = engine_processor(config->processor);
	p->vendor = engine_vendor(config->vendor);
	p->mmu_ops = &hv_mmu;
	if (!p->processor || !p->vendor)
		return -EINVAL;
	return engine_paging(config->paging, &p->paging);
}

static int finish_vm(struct hv_vm *vm, const struct hv_vm_config *config)
{
	int r = vcpu_vm_set_cpu_model(vm, config->cpu_model);

	if (r)
		return r;
	vm->apicv = config->irqchip && !config->no_apicv;
	return config->irqchip ? irqchip_create(vm) : 0;
}

int hv_vm_create(const struct hv_vm_config *config, struct hv_vm **out)
{
	struct hv_vm_params params = { .name = NULL };
	struct engine_vm *e;
	struct hv_vm *vm;
	int r;

	if (!config || !out || !engine_is_up())
		return -EINVAL;
	r = params_from_config(config, &params);
	if (r)
		return r;
	e = engine_vm_new();
	if (!e)
		return -ENOMEM;
	params.mem = e->mem;
	r = vm_create(&params, &vm);
	if (r) {
		engine_vm_free(e);
		return r;
	}
	vm->engine = e;
	r = finish_vm(vm, config);
	if (r) {
		hv_vm_release(vm);
		return r;
	}
	*out = vm;
	return 0;
}

void hv_vm_release(struct hv_vm *vm)
{
	struct engine_vm *e;

	if (!vm)
		return;
	e = engine_vm(vm);
	vm_put(vm);
	engine_vm_free(e);
}

/* ---- host memory --------------------------------------------------------------------------------------- */

static int backing_from_config(const struct hv_ram_config *c, struct hv_backing *b)
{
	switch (c->backing) {
	case HV_MEM_MEMFD: /* with a descriptor: one that was inherited */
		b->kind = c->fd >= 0 ? HV_BACKING_FILE_SHARED : HV_BACKING_MEMFD;
		break;
	case HV_MEM_ANON:
		b->kind = HV_BACKING_ANON;
		break;
	case HV_MEM_HUGETLB:
		b->kind = HV_BACKING_HUGETLB;
		b->page_level = HV_LEVEL_2M;
		break;
	case HV_MEM_FILE:
		if (c->fd < 0)
			return -EINVAL;
		b->kind = c->shared ? HV_BACKING_FILE_SHARED : HV_BACKING_FILE_PRIVATE;
		break;
	default:
		return -EINVAL;
	}
	b->fd = c->fd;
	b->offset = c->offset;
	return 0;
}

int hv_vm_ram_create(struct hv_vm *vm, const struct hv_ram_config *config, void **hva)
{
	struct hv_region_params params = { .name = vm ? vm->name : NULL };
	struct engine_region *node;
	struct engine_vm *e;
	int r;

	if (!vm || !config || !hva || !config->size || config->size % HV_PAGE_SIZE ||
	    config->offset % HV_PAGE_SIZE)
		return -EINVAL;
	r = backing_from_config(config, &params.backing);
	if (r)
		return r;
	node = hv_zalloc(sizeof(*node));
	if (!node)
		return -ENOMEM;
	params.size = config->size;
	e = engine_vm(vm);
	r = hv_region_create(e->mem, &params, &node->region);
	if (r) {
		hv_free(node);
		return r;
	}
	hv_mutex_lock(&e->lock);
	node->next = e->regions;
	e->regions = node;
	hv_mutex_unlock(&e->lock);
	*hva = (void *)(uintptr_t)hv_region_hva(node->region);
	return 0;
}

/* e->lock held. What has been dropped is not found, but by who puts it. */
static struct engine_region *region_find(struct engine_vm *e, uint64_t hva, uint64_t len)
{
	struct engine_region *r;

	hv_assert_held(&e->lock);
	for (r = e->regions; r; r = r->next) {
		uint64_t start = hv_region_hva(r->region), size = hv_region_size(r->region);

		if (!r->dropped && hva >= start && hva - start < size && len <= size - (hva - start))
			return r;
	}
	return NULL;
}

/* e->lock held: if nobody needs it any more it leaves the list, for the caller to free. */
static struct engine_region *region_leave(struct engine_vm *e, struct engine_region *r)
{
	struct engine_region **link = &e->regions;

	hv_assert_held(&e->lock);
	if (!r || !r->dropped || r->users)
		return NULL;
	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	return r;
}

struct hv_region *engine_region_get(struct hv_vm *vm, uint64_t hva, uint64_t len)
{
	struct engine_vm *e = engine_vm(vm);
	struct engine_region *r;

	hv_mutex_lock(&e->lock);
	r = region_find(e, hva, len);
	if (r)
		r->users++;
	hv_mutex_unlock(&e->lock);
	return r ? r->region : NULL;
}

void engine_region_put(struct hv_vm *vm, struct hv_region *region)
{
	struct engine_vm *e = engine_vm(vm);
	struct engine_region *r;

	hv_mutex_lock(&e->lock);
	for (r = e->regions; r->region != region; r = r->next)
		;
	r->users--;
	r = region_leave(e, r);
	hv_mutex_unlock(&e->lock);
	if (r)
		region_free(r);
}

static bool region_has_slots(struct hv_vm *vm, const struct hv_region *region)
{
	uint64_t start = hv_region_hva(region), end = start + hv_region_size(region);
	bool any = false;
	int as_id;

	hv_rcu_read_lock();
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++)
		any = any || memslot_first_hva(hv_vm_memslots(vm, as_id), start, end);
	hv_rcu_read_unlock();
	return any;
}

int hv_vm_ram_destroy(struct hv_vm *vm, void *hva)
{
	struct engine_region *r;
	struct engine_vm *e;
	int err = 0;

	if (!vm)
		return -EINVAL;
	e = engine_vm(vm);
	hv_mutex_lock(&e->lock);
	r = region_find(e, (uintptr_t)hva, 1);
	if (!r)
		err = -ENOENT;
	else if (region_has_slots(vm, r->region))
		err = -EBUSY;
	else
		r->dropped = true;
	r = err ? NULL : region_leave(e, r);
	hv_mutex_unlock(&e->lock);
	if (r)
		region_free(r);
	return err;
}

int hv_vm_ram_fd(struct hv_vm *vm, void *hva)
{
	struct hv_region *region;
	int fd;

	if (!vm)
		return -EINVAL;
	region = engine_region_get(vm, (uintptr_t)hva, 1);
	if (!region)
		return -ENOENT;
	fd = hv_region_fd(region, (uintptr_t)hva - hv_region_hva(region), NULL);
	engine_region_put(vm, region);
	return fd < 0 ? -ENOENT : fd;
}

/* ---- memory regions ---------------------------------------------------------------------------------------- */

int hv_vm_set_memory_region(struct hv_vm *vm, struct hv_memory_region *region)
{
	struct hv_memory_region_req req;
	int r;

	if (!vm || !region)
		return -EINVAL;
	req = (struct hv_memory_region_req){
		.slot = region->slot, .flags = region->flags, .gpa = region->guest_phys_addr,
		.size = region->memory_size, .userspace_addr = region->userspace_addr,
	};
	r = memslot_set_region(vm, &req);
	if (r)
		return r;
	region->generation_before = req.generation_before;
	region->generation_after = req.generation_after;
	return 0;
}

int hv_vm_list_memory_regions(struct hv_vm *vm, struct hv_memory_region *out, unsigned int max,
			      uint64_t *generation)
{
	unsigned int n = 0;
	int as_id;

	if (!vm || (max && !out))
		return -EINVAL;
	hv_rcu_read_lock();
	for (as_id = 0; as_id < HV_ADDRESS_SPACE_NUM; as_id++) {
		struct hv_memslots *slots = hv_vm_memslots(vm, as_id);
		struct hv_memslot *slot;

		if (as_id == 0 && generation)
			*generation = hv_memslots_generation(slots);
		for (slot = memslot_first_from(slots, 0); slot; slot = memslot_next(slots, slot)) {
			if (n < max)
				out[n] = (struct hv_memory_region){
					.slot = (uint32_t)as_id << 16 | slot->id,
					.flags = slot->flags & (HV_MEMREGION_LOG_DIRTY |
								HV_MEMREGION_READONLY),
					.guest_phys_addr = slot->base_gfn << HV_PAGE_SHIFT,
					.memory_size = slot->npages << HV_PAGE_SHIFT,
					.userspace_addr = slot->userspace_addr,
				};
			n++;
		}
	}
	hv_rcu_read_unlock();
	return (int)n;
}

/* ---- dirty log of memory regions ------------------------------------------------------------------------------ */

int hv_vm_enable_manual_dirty_protect(struct hv_vm *vm, uint32_t flags)
{
	return vm ? dirty_bitmap_set_mode(vm, flags) : -EINVAL;
}

int hv_vm_get_dirty_log(struct hv_vm *vm, uint32_t slot, uint64_t *bitmap)
{
	return vm && bitmap ? dirty_bitmap_get(vm, slot, bitmap) : -EINVAL;
}

int hv_vm_clear_dirty_log(struct hv_vm *vm, uint32_t slot, uint64_t first_page, uint32_t num_pages,
			  const uint64_t *bitmap)
{
	if (!vm || !bitmap)
		return -EINVAL;
	return dirty_bitmap_clear(vm, slot, first_page, num_pages, bitmap);
}

int hv_vm_enable_dirty_ring(struct hv_vm *vm, uint32_t entries)
{
	return vm ? dirty_ring_enable(vm, entries) : -EINVAL;
}

int hv_vcpu_dirty_ring(struct hv_vcpu *vcpu, struct hv_dirty_gfn **ring, uint32_t *entries)
{
	return vcpu && ring && entries ? dirty_ring_map(vcpu, ring, entries) : -EINVAL;
}

int hv_vm_reset_dirty_rings(struct hv_vm *vm)
{
	return vm ? dirty_ring_reset_all(vm) : -EINVAL;
}

/* ---- interrupts ---------------------------------------------------------------------------------------------------- */

int hv_vm_irq_line(struct hv_vm *vm, const struct hv_irq_level *irq)
{
	int r;

	if (!vm || !irq || irq->gsi >= HV_MAX_GSI)
		return -EINVAL;
	if (!vm->irqchip_ops)
		return -ENXIO;
	r = irq_set_level(vm, HV_IRQ_SOURCE_USER, irq->gsi, irq->level ? 1 : 0);
	return r < 0 ? r : 0;
}

int hv_vm_signal_msi(struct hv_vm *vm, uint64_t address, uint32_t data)
{
	if (!vm)
		return -EINVAL;
	if (!vm->irqchip_ops)
		return -ENXIO;
	return irq_send_msi(vm, address, data);
}
