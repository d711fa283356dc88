/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM and vCPU objects: new -> link -> (run) -> unlink -> unref.
 *
 * vm_create builds a VM bottom up and links it last, so that nobody finds a
 * half-built one; the last vm_put takes it apart in the reverse order. Every
 * step of the way down takes what a failed creation has left.
 */
#include "hv/vm/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "hv/base/fault_inject.h"
#include "hv/base/list.h"
#include "hv/base/rcu.h"
#include "hv/base/trace.h"
#include "hv/cpu/processor.h"
#include "hv/hv.h"
#include "hv/vm/dirty_internal.h"
#include "hv/vm/hardware.h"
#include "hv/vm/memslot_internal.h"
#include "hv/vm/notifier.h"
#include "hv/vm/vm_internal.h"

/* ---- VM: new ------------------------------------------------------------------------ */

static void vm_init_locks(struct hv_vm *vm)
{
	hv_mutex_init(&vm->lock, HV_LC_VM);
	hv_mutex_init(&vm->slots_lock, HV_LC_SLOTS);
	hv_mutex_init(&vm->slots_arch_lock, HV_LC_SLOTS_ARCH);
	hv_spinlock_init(&vm->mn_invalidate_lock, HV_LC_MN_INVALIDATE);
	hv_cond_init(&vm->mn_cond);
	hv_rwlock_init(&vm->mmu_lock, HV_LC_MMU);
	hv_mutex_init(&vm->irq_lock, HV_LC_IRQ);
	hv_spinlock_init(&vm->tsc_write_lock, HV_LC_TSC_WRITE);
}

static void vm_destroy_locks(struct hv_vm *vm)
{
	hv_spinlock_destroy(&vm->tsc_write_lock);
	hv_mutex_destroy(&vm->irq_lock);
	hv_rwlock_destroy(&vm->mmu_lock);
	hv_cond_destroy(&vm->mn_cond);
	hv_spinlock_destroy(&vm->mn_invalidate_lock);
	hv_mutex_destroy(&vm->slots_arch_lock);
	hv_mutex_destroy(&vm->slots_lock);
	hv_mutex_destroy(&vm->lock);
}

static void vm_free(struct hv_vm *vm)
{
	memslots_destroy(vm);
	tsc_vm_destroy(vm);
	irq_routing_vm_destroy(vm);
	bus_vm_destroy(vm);
	dirty_vm_destroy(vm);
	vm_destroy_locks(vm);
	hv_free(vm);
}

static struct hv_vm *vm_new(const struct hv_vm_params *params)
{
	struct hv_vm *vm = hv_zalloc_aligned(64, sizeof(*vm));

	if (!vm)
		return NULL;
	vm_init_locks(vm);
	CDS_INIT_LIST_HEAD(&vm->vm_link);
	hv_refcount_set(&vm->users, 1);
	snprintf(vm->name, sizeof(vm->name), "%s", params->name ? params->name : "");
	vm->trace_tag = vm->name;
	vm->mem = params->mem;
	vm->vendor = params->vendor;
	vm->processor = params->processor;
	vm->mmu_ops = params->mmu_ops;
	vm->paging = params->paging;
	if (memslots_create(vm) || tsc_vm_create(vm) || irq_routing_vm_create(vm) ||
	    bus_vm_create(vm) || dirty_vm_create(vm)) {
		vm_free(vm);
		return NULL;
	}
	return vm;
}

/* ---- VM: life ---------------------------------------------------------------------------- */

static void vm_link(struct hv_vm *vm)
{
	hv_mutex_lock(&hv_lock);
	cds_list_add_tail(&vm->vm_link, &hv_vm_list);
	hv_mutex_unlock(&hv_lock);
}

static void vm_unlink(struct hv_vm *vm)
{
	hv_mutex_lock(&hv_lock);
	cds_list_del_init(&vm->vm_link);
	hv_mutex_unlock(&hv_lock);
}

int vm_create(const struct hv_vm_params *params, struct hv_vm **out)
{
	struct hv_vm *vm;
	int r;

	if (!params->vendor || !params->processor || !params->mmu_ops)
		return -EINVAL;
	vm = vm_new(params);
	if (!vm)
		return -ENOMEM;
	r = hardware_enable_all(vm->vendor);
	if (r)
		goto out_free;
	r = vm->mmu_ops->vm_init(vm);
	if (r)
		goto out_disable;
	r = vm->vendor->vm_init ? vm->vendor->vm_init(vm) : 0;
	if (r)
		goto out_mmu;
	r = notifier_register(vm);
	if (r)
		goto out_vendor;
	vm_link(vm);
	hv_trace(vm_create, (uintptr_t)vm);
	*out = vm;
	return 0;

out_vendor:
	if (vm->vendor->vm_destroy)
		vm->vendor->vm_destroy(vm);
out_mmu:
	vm->mmu_ops->vm_destroy(vm);
out_disable:
	hardware_disable_all(vm->vendor);
out_free:
	vm_free(vm);
	return r;
}

int vm_for_each(int (*fn)(struct hv_vm *vm, void *ctx), void *ctx)
{
	struct hv_vm *vm;
	int r = 0;

	hv_mutex_lock(&hv_lock);
	cds_list_for_each_entry(vm, &hv_vm_list, vm_link) {
		r = fn(vm, ctx);
		if (r)
			break;
	}
	hv_mutex_unlock(&hv_lock);
	return r;
}

void vm_get(struct hv_vm *vm)
{
	hv_refcount_inc(&vm->users);
}

static void vcpu_free(struct hv_vcpu *vcpu)
{
	struct hv_vm *vm = vcpu->vm;

	if (vm->irqchip_ops && vm->irqchip_ops->vcpu_destroy)
		vm->irqchip_ops->vcpu_destroy(vcpu);
	if (vm->vendor->vcpu_free)
		vm->vendor->vcpu_free(vcpu);
	vm->mmu_ops->vcpu_destroy(vcpu);
	dirty_ring_vcpu_destroy(vcpu);
	if (vcpu->lp)
		vm->processor->lp_destroy(vcpu->lp);
	hv_mutex_destroy(&vcpu->mutex);
	hv_free(vcpu->exits);
	hv_free(vcpu->run);
	hv_free(vcpu);
}

/* No reference is left: no vCPU runs, no thread calls in but hv/mem's notifiers. */
static void vm_teardown(struct hv_vm *vm)
{
	unsigned int i, n = atomic_load(&vm->nr_vcpus);

	hv_trace(vm_destroy, (uintptr_t)vm);
	vm_unlink(vm);
	notifier_unregister(vm);
	atomic_store(&vm->nr_vcpus, 0);
	for (i = 0; i < n; i++)
		vcpu_free(vm->vcpus[i]);
	if (vm->irqchip_ops && vm->irqchip_ops->vm_destroy)
		vm->irqchip_ops->vm_destroy(vm);
	/* While the memslots are there: what is mapped is zapped by slot. */
	vm->mmu_ops->vm_destroy(vm);
	if (vm->vendor->vm_destroy)
		vm->vendor->vm_destroy(vm);
	hardware_disable_all(vm->vendor);
	hv_rcu_barrier(); /* callbacks that still name the VM */
	vm_free(vm);
}

void vm_put(struct hv_vm *vm)
{
	if (vm && hv_refcount_dec_and_test(&vm->users))
		vm_teardown(vm);
}

void vm_bugged(struct hv_vm *vm, const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&vm->bug_claimed, true))
		return;
	va_start(ap, fmt);
	vsnprintf(vm->bug_reason, sizeof(vm->bug_reason), fmt, ap);
	va_end(ap);
	/* Release: who sees it true reads the whole reason. Pairs with vm_is_bugged(). */
	atomic_store_explicit(&vm->bugged, true, memory_order_release);
	/*
	 * Any context, a vCPU's own lockless walk included, so nobody waits here: each
	 * vCPU finds the request before it enters again.
	 */
	for (unsigned int i = 0; vm_vcpu(vm, i); i++) {
		vcpu_make_request(vm->vcpus[i], HV_REQ_VM_DEAD);
		vcpu_kick(vm->vcpus[i]);
	}
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static struct hv_vcpu *vcpu_new(struct hv_vm *vm, unsigned int id)
{
	struct hv_vcpu *vcpu = hv_zalloc_aligned(64, sizeof(*vcpu));

	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->id = id;
	atomic_init(&vcpu->cpu, -1);
	vcpu->wakeup_cpu = -1;
	CDS_INIT_LIST_HEAD(&vcpu->wakeup_link);
	hv_mutex_init(&vcpu->mutex, HV_LC_VCPU);
	request_vcpu_init(vcpu);
	atomic_init(&vcpu->mp_state, id ? HV_MP_UNINITIALIZED : HV_MP_RUNNABLE);
	vcpu->run = hv_zalloc(sizeof(*vcpu->run));
	vcpu->exits = hv_calloc(vm->vendor->exit_count + 1, sizeof(*vcpu->exits));
	if (!vcpu->run || !vcpu->exits) {
		hv_mutex_destroy(&vcpu->mutex);
		hv_free(vcpu->exits);
		hv_free(vcpu->run);
		hv_free(vcpu);
		return NULL;
	}
	return vcpu;
}

/* vm->lock held: the vCPU table does not change meanwhile. */
static int vcpu_build(struct hv_vcpu *vcpu)
{
	struct hv_vm *vm = vcpu->vm;
	int r;

	r = vm->processor->lp_create(vm, &vcpu->lp);
	if (r)
		return r;
	r = dirty_ring_vcpu_create(vcpu);
	if (r)
		goto out_lp;
	r = vm->mmu_ops->vcpu_init(vcpu);
	if (r)
		goto out_ring;
	r = vm->vendor->vcpu_create ? vm->vendor->vcpu_create(vcpu) : 0;
	if (r)
		goto out_mmu;
	return 0;

out_mmu:
	vm->mmu_ops->vcpu_destroy(vcpu);
out_ring:
	dirty_ring_vcpu_destroy(vcpu);
out_lp:
	vm->processor->lp_destroy(vcpu->lp);
	vcpu->lp = NULL;
	return r;
}

static int vcpu_add_locked(struct hv_vm *vm, unsigned int id, struct hv_vcpu **out)
{
	unsigned int i, n = atomic_load_explicit(&vm->nr_vcpus, memory_order_relaxed);
	struct hv_vcpu *vcpu;
	int r;

	if (n >= HV_MAX_VCPUS)
		return -EINVAL;
	for (i = 0; i < n; i++)
		if (vm->vcpus[i]->id == id)
			return -EEXIST;
	vcpu = vcpu_new(vm, id);
	if (!vcpu)
		return -ENOMEM;
	r = vcpu_build(vcpu);
	if (r) {
		hv_mutex_destroy(&vcpu->mutex);
		hv_free(vcpu->exits);
		hv_free(vcpu->run);
		hv_free(vcpu);
		return r;
	}
	vm->vcpus[n] = vcpu;
	/* Release: who counts it finds it whole. Pairs with vm_vcpu(). */
	atomic_store_explicit(&vm->nr_vcpus, n + 1, memory_order_release);
	*out = vcpu;
	return 0;
}

int vm_add_vcpu(struct hv_vm *vm, unsigned int id, struct hv_vcpu **out)
{
	int r;

	if (id >= HV_MAX_VCPUS)
		return -EINVAL;
	hv_mutex_lock(&vm->lock);
	r = vcpu_add_locked(vm, id, out);
	hv_mutex_unlock(&vm->lock);
	return r;
}
