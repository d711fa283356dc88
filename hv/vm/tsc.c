/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TSC write synchronisation. Rule (that of KVM): a write is taken for the
 * attempt to bring a CPU's counter in step with the last one written, if its
 * value lies within a second of what that counter shows by now; 0, the reset
 * value, always is one. Such a write joins the generation of the last one and
 * gets the very same offset, so that all members read one time. Any other
 * write starts a new generation.
 */
#include "hv/vm/tsc.h"

#include <errno.h>

#include "hv/base/fault_inject.h"
#include "hv/cpu/processor.h"
#include "hv/vm/vm_internal.h"

/* All under tsc_write_lock. */
struct hv_tsc_sync {
	uint64_t last_value; /* of the last write, */
	uint64_t last_host;  /* the host's TSC then, */
	uint32_t last_khz;   /* and the rate of the vCPU that wrote; 0: no write yet */
	uint64_t generation;
	uint64_t offset; /* of the generation */
	unsigned int matched; /* vCPUs of the generation besides its first */
};

int tsc_vm_create(struct hv_vm *vm)
{
	vm->tsc_sync = hv_zalloc(sizeof(*vm->tsc_sync));
	return vm->tsc_sync ? 0 : -ENOMEM;
}

void tsc_vm_destroy(struct hv_vm *vm)
{
	hv_free(vm->tsc_sync);
	vm->tsc_sync = NULL;
}

static uint32_t vcpu_khz(struct hv_vcpu *vcpu)
{
	return vcpu->tsc_khz ? vcpu->tsc_khz : vcpu->vm->processor->tsc_khz();
}

/* The value continues the last one written, at most a second off. */
static bool tsc_continues(const struct hv_tsc_sync *t, uint64_t value, uint64_t host, uint32_t khz)
{
	uint64_t second = (uint64_t)khz * 1000;
	uint64_t expected;

	if (!t->last_khz || t->last_khz != khz || host < t->last_host)
		return false;
	if (value == 0)
		return true;
	expected = t->last_value + (host - t->last_host);
	/* Modulo 2^64: the counter wraps. */
	return value - expected < second || expected - value < second;
}

static void tsc_apply(struct hv_vcpu *vcpu, uint64_t offset)
{
	atomic_store_explicit(&vcpu->tsc_offset, offset, memory_order_relaxed);
	if (vcpu->vm->vendor->write_tsc_offset)
		vcpu->vm->vendor->write_tsc_offset(vcpu, offset);
}

/* tsc_write_lock held. */
static void tsc_commit(struct hv_vcpu *vcpu, uint64_t offset, bool matches)
{
	struct hv_tsc_sync *t = vcpu->vm->tsc_sync;

	if (!matches) {
		t->generation++;
		t->offset = offset;
		t->matched = 0;
	} else if (vcpu->tsc_generation != t->generation) {
		t->matched++;
	}
	vcpu->tsc_generation = t->generation;
	tsc_apply(vcpu, offset);
}

uint64_t tsc_synchronize(struct hv_vcpu *vcpu, uint64_t value)
{
	struct hv_vm *vm = vcpu->vm;
	struct hv_tsc_sync *t = vm->tsc_sync;
	uint32_t khz = vcpu_khz(vcpu);
	uint64_t host, offset;
	bool matches;

	hv_spin_lock(&vm->tsc_write_lock);
	host = vm->processor->rdtsc();
	matches = tsc_continues(t, value, host, khz);
	offset = matches ? t->offset : value - host;
	tsc_commit(vcpu, offset, matches);
	t->last_value = host + offset; /* what the counter shows, not what was asked */
	t->last_host = host;
	t->last_khz = khz;
	hv_spin_unlock(&vm->tsc_write_lock);
	return offset;
}

void tsc_set_offset(struct hv_vcpu *vcpu, uint64_t offset)
{
	struct hv_vm *vm = vcpu->vm;
	struct hv_tsc_sync *t = vm->tsc_sync;

	hv_spin_lock(&vm->tsc_write_lock);
	tsc_commit(vcpu, offset, t->last_khz && t->offset == offset);
	t->last_host = vm->processor->rdtsc();
	t->last_value = t->last_host + offset;
	t->last_khz = vcpu_khz(vcpu);
	hv_spin_unlock(&vm->tsc_write_lock);
}

void tsc_adjust_offset(struct hv_vcpu *vcpu, int64_t delta)
{
	struct hv_vm *vm = vcpu->vm;

	hv_spin_lock(&vm->tsc_write_lock);
	tsc_apply(vcpu, atomic_load_explicit(&vcpu->tsc_offset, memory_order_relaxed) +
				(uint64_t)delta);
	hv_spin_unlock(&vm->tsc_write_lock);
}

uint64_t tsc_guest_now(struct hv_vcpu *vcpu)
{
	return vcpu->vm->processor->rdtsc() +
	       atomic_load_explicit(&vcpu->tsc_offset, memory_order_relaxed);
}

bool tsc_all_matched(struct hv_vm *vm)
{
	unsigned int n = atomic_load_explicit(&vm->nr_vcpus, memory_order_acquire);
	bool all;

	hv_spin_lock(&vm->tsc_write_lock);
	all = n && vm->tsc_sync->generation && vm->tsc_sync->matched + 1 == n;
	hv_spin_unlock(&vm->tsc_write_lock);
	return all;
}
