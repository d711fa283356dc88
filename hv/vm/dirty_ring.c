/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty rings, in KVM's layout: one per vCPU, filled by its thread alone, read
 * by the user, given back by a reset.
 *
 *	entry: 0 --push--> DIRTY --user--> HARVESTED --reset--> 0
 *
 * push writes slot and offset, then flags (release); the user loads flags
 * (acquire), reads the entry and stores HARVESTED (release); the reset loads it
 * (acquire). The memory is the user's to scribble on, so the reset believes
 * nothing of an entry that it has not checked.
 */
#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"

#define DIRTY_GFN_DIRTY	    1U
#define DIRTY_GFN_HARVESTED 2U

struct hv_dirty_ring {
	struct hv_dirty_gfn *entry; /* [I] shared with the user */
	uint32_t size;		    /* [I] a power of two */
	uint32_t soft_limit;	    /* [I] */
	_Atomic uint32_t pushed;    /* [a] entries so far, by the vCPU's thread */
	_Atomic uint32_t reset;	    /* [S] to advance: entries given back so far */
};

/* Frames of one slot that a reset arms with one call. */
struct reset_run {
	uint32_t slot;
	uint64_t offset;
	uint64_t mask; /* bit 0: offset */
};

int dirty_ring_enable(struct hv_vm *vm, uint32_t entries)
{
	int r = 0;

	if (!hv_is_power_of_2(entries) || entries < HV_DIRTY_RING_MIN_ENTRIES ||
	    entries > HV_DIRTY_RING_MAX_ENTRIES)
		return -EINVAL;
	hv_mutex_lock(&vm->lock);
	if (vm->dirty->ring_entries || atomic_load(&vm->nr_vcpus))
		r = -EINVAL;
	else
		WRITE_ONCE(vm->dirty->ring_entries, entries);
	hv_mutex_unlock(&vm->lock);
	return r;
}

int dirty_ring_vcpu_create(struct hv_vcpu *vcpu)
{
	uint32_t entries = vcpu->vm->dirty->ring_entries;
	struct hv_dirty_ring *ring;

	if (!entries)
		return 0;
	ring = hv_zalloc(sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->entry = hv_zalloc_aligned(HV_PAGE_SIZE, entries * sizeof(*ring->entry));
	if (!ring->entry) {
		hv_free(ring);
		return -ENOMEM;
	}
	ring->size = entries;
	ring->soft_limit = entries - HV_DIRTY_RING_RESERVED;
	vcpu->dirty_ring = ring;
	return 0;
}

void dirty_ring_vcpu_destroy(struct hv_vcpu *vcpu)
{
	if (!vcpu->dirty_ring)
		return;
	hv_free(vcpu->dirty_ring->entry);
	hv_free(vcpu->dirty_ring);
	vcpu->dirty_ring = NULL;
}

int dirty_ring_map(struct hv_vcpu *vcpu, struct hv_dirty_gfn **ring, uint32_t *entries)
{
	if (!vcpu->dirty_ring)
		return -ENOENT;
	*ring = vcpu->dirty_ring->entry;
	*entries = vcpu->dirty_ring->size;
	return 0;
}

/* Acquire: an entry that counts as given back is not touched by the reset any more. */
static uint32_t ring_used(struct hv_dirty_ring *ring)
{
	return atomic_load_explicit(&ring->pushed, memory_order_relaxed) -
	       atomic_load_explicit(&ring->reset, memory_order_acquire);
}

bool dirty_ring_push(struct hv_vcpu *vcpu, const struct hv_memslot *slot, uint64_t page)
{
	struct hv_dirty_ring *ring = vcpu->dirty_ring;
	uint32_t used, n;
	struct hv_dirty_gfn *e;

	if (!ring)
		return false;
	used = ring_used(ring);
	if (used >= ring->size)
		return false;
	n = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
	e = &ring->entry[n & (ring->size - 1)];
	WRITE_ONCE(e->slot, (uint32_t)slot->as_id << 16 | slot->id);
	WRITE_ONCE(e->offset, page);
	hv_store_release(&e->flags, DIRTY_GFN_DIRTY);
	atomic_store_explicit(&ring->pushed, n + 1, memory_order_release);
	if (used + 1 >= ring->soft_limit)
		vcpu_make_request(vcpu, HV_REQ_DIRTY_RING_SOFT_FULL);
	hv_trace(dirty_ring_push, vcpu->id, e->slot, page, used + 1);
	return true;
}

bool dirty_ring_check_full(struct hv_vcpu *vcpu)
{
	struct hv_dirty_ring *ring = vcpu->dirty_ring;

	if (!vcpu_check_request(vcpu, HV_REQ_DIRTY_RING_SOFT_FULL))
		return false;
	if (!ring || ring_used(ring) < ring->soft_limit)
		return false;
	/* Stays until a reset has made room. */
	vcpu_make_request(vcpu, HV_REQ_DIRTY_RING_SOFT_FULL);
	vcpu->run->exit_reason = HV_EXIT_DIRTY_RING_FULL;
	atomic_fetch_add_explicit(&vcpu->stats.dirty_ring_full, 1, memory_order_relaxed);
	return true;
}

/* ---- reset: slots_lock held ------------------------------------------------------------ */

/* True if something was armed. What the user has spoilt names no page, and is dropped. */
static bool run_arm(struct hv_vm *vm, const struct reset_run *run)
{
	unsigned int as_id = run->slot >> 16, id = run->slot & 0xffff;
	struct hv_memslot *slot;

	if (!run->mask || as_id >= HV_ADDRESS_SPACE_NUM)
		return false;
	slot = memslot_by_id(hv_rcu_dereference_protected(vm->memslots[as_id], &vm->slots_lock),
			     (int)id);
	if (!slot || run->offset >= slot->npages ||
	    hv_fls64(run->mask) >= slot->npages - run->offset)
		return false;
	hv_write_lock(&vm->mmu_lock);
	dirty_rearm(vm, slot, run->offset, run->mask);
	hv_write_unlock(&vm->mmu_lock);
	return true;
}

/* Add a page to the run if one mask can hold both. */
static bool run_extend(struct reset_run *run, uint32_t slot, uint64_t offset)
{
	uint64_t delta;

	if (!run->mask || run->slot != slot)
		return false;
	if (offset >= run->offset) {
		delta = offset - run->offset;
		if (delta >= 64)
			return false;
		run->mask |= HV_BIT(delta);
		return true;
	}
	delta = run->offset - offset;
	if (delta >= 64 || run->mask >> (64 - delta))
		return false;
	run->mask = run->mask << delta | 1;
	run->offset = offset;
	return true;
}

static int ring_reset(struct hv_vcpu *vcpu, bool *armed)
{
	struct hv_dirty_ring *ring = vcpu->dirty_ring;
	struct reset_run run = { .mask = 0 };
	uint32_t n = atomic_load_explicit(&ring->reset, memory_order_relaxed), count;

	/* At most one round: the user could go on marking entries for ever. */
	for (count = 0; count < ring->size; count++, n++) {
		struct hv_dirty_gfn *e = &ring->entry[n & (ring->size - 1)];
		uint32_t slot;
		uint64_t offset;

		if (n == atomic_load_explicit(&ring->pushed, memory_order_acquire) ||
		    !(hv_load_acquire(&e->flags) & DIRTY_GFN_HARVESTED))
			break;
		slot = READ_ONCE(e->slot);
		offset = READ_ONCE(e->offset);
		hv_store_release(&e->flags, 0);
		atomic_store_explicit(&ring->reset, n + 1, memory_order_release);
		if (run_extend(&run, slot, offset))
			continue;
		*armed |= run_arm(vcpu->vm, &run);
		run = (struct reset_run){ .slot = slot, .offset = offset, .mask = 1 };
	}
	*armed |= run_arm(vcpu->vm, &run);
	return (int)count;
}

int dirty_ring_reset_all(struct hv_vm *vm)
{
	struct hv_vcpu *vcpu;
	unsigned int i;
	bool armed = false;
	int count = 0;

	if (!READ_ONCE(vm->dirty->ring_entries))
		return -ENOENT;
	hv_mutex_lock(&vm->slots_lock);
	for (i = 0; (vcpu = vm_vcpu(vm, i)); i++)
		count += ring_reset(vcpu, &armed);
	if (armed)
		vm_flush_remote_tlbs(vm);
	hv_mutex_unlock(&vm->slots_lock);
	hv_trace(dirty_ring_reset, (uintptr_t)vm, count);
	return count;
}
