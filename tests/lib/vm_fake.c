/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See vm_fake.h. */
#include "tests/lib/vm_fake.h"

#include <errno.h>
#include <string.h>

#include "hv/base/fault_inject.h"
#include "hv/base/rcu.h"
#include "hv/vm/vm_internal.h"

struct vf_mmu vf_mmu;
struct vf_hw vf_hw;

struct hv_memslot_arch {
	int marker;
};

/* ---- MMU ------------------------------------------------------------------------------ */

static int mmu_vm_init(struct hv_vm *vm)
{
	return vf_mmu.fail_vm_init;
}

static void mmu_vm_destroy(struct hv_vm *vm)
{
}

static int mmu_vcpu_init(struct hv_vcpu *vcpu)
{
	return vf_mmu.fail_vcpu_init;
}

static void mmu_vcpu_destroy(struct hv_vcpu *vcpu)
{
}

static int mmu_slot_prepare(struct hv_vm *vm, const struct hv_memslot *old, struct hv_memslot *new,
			    enum hv_mr_change change)
{
	int r = vf_mmu.fail_prepare;

	hv_assert_held(&vm->slots_lock);
	hv_assert_held(&vm->slots_arch_lock);
	HV_BUG_ON((change == HV_MR_DELETE) != !new);
	HV_BUG_ON((change == HV_MR_CREATE) != !old);
	vf_mmu.prepares++;
	if (vf_mmu.on_prepare)
		vf_mmu.on_prepare(vm, change);
	vf_mmu.fail_prepare = 0;
	if (r)
		return r;
	if (change == HV_MR_CREATE || change == HV_MR_MOVE) {
		struct hv_memslot_arch *arch = hv_zalloc(sizeof(*arch));

		if (!arch)
			return -ENOMEM;
		vf_mmu.arch_live++;
		new->arch = arch;
	}
	return 0;
}

static void mmu_slot_commit(struct hv_vm *vm, const struct hv_memslot *old,
			    const struct hv_memslot *new, enum hv_mr_change change)
{
	hv_assert_held(&vm->slots_lock);
	vf_mmu.commits++;
	if (vf_mmu.on_commit)
		vf_mmu.on_commit(vm, old, new, change);
}

static void mmu_slot_flush(struct hv_vm *vm, struct hv_memslot *slot)
{
	HV_BUG_ON(!(slot->flags & HV_MEMSLOT_INVALID));
	vf_mmu.flushes++;
	if (vf_mmu.on_flush)
		vf_mmu.on_flush(vm, slot);
}

static void mmu_slot_free_arch(struct hv_vm *vm, struct hv_memslot_arch *arch)
{
	vf_mmu.arch_live--;
	hv_free(arch);
}

static void mmu_generation_changed(struct hv_vm *vm, uint64_t generation)
{
	vf_mmu.generations++;
	vf_mmu.last_generation = generation;
	if (vf_mmu.on_generation)
		vf_mmu.on_generation(vm, generation);
}

static bool mmu_unmap(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	hv_assert_held_write(&vm->mmu_lock);
	vf_mmu.unmaps++;
	return vf_mmu.on_unmap ? vf_mmu.on_unmap(vm, range) : false;
}

static bool mmu_age(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	hv_assert_held_write(&vm->mmu_lock);
	vf_mmu.ages++;
	return vf_mmu.on_age ? vf_mmu.on_age(vm, range) : false;
}

static bool mmu_test_age(struct hv_vm *vm, const struct hv_gfn_range *range)
{
	hv_assert_held_write(&vm->mmu_lock);
	vf_mmu.tests++;
	return vf_mmu.on_age ? vf_mmu.on_age(vm, range) : false;
}

static void mmu_rearm(struct hv_vm *vm, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	hv_assert_held_write(&vm->mmu_lock);
	HV_BUG_ON(!mask || gfn < slot->base_gfn ||
		  gfn - slot->base_gfn + (63 - (uint64_t)__builtin_clzll(mask)) >= slot->npages);
	vf_mmu.rearms++;
	if (vf_mmu.on_rearm)
		vf_mmu.on_rearm(vm, slot, gfn, mask);
}

static void mmu_sync(struct hv_vm *vm)
{
	hv_assert_held(&vm->slots_lock);
	vf_mmu.syncs++;
	if (vf_mmu.on_sync)
		vf_mmu.on_sync(vm);
}

const struct hv_mmu_ops vf_mmu_ops = {
	.vm_init = mmu_vm_init,
	.vm_destroy = mmu_vm_destroy,
	.vcpu_init = mmu_vcpu_init,
	.vcpu_destroy = mmu_vcpu_destroy,
	.slot_prepare = mmu_slot_prepare,
	.slot_commit = mmu_slot_commit,
	.slot_flush = mmu_slot_flush,
	.slot_free_arch = mmu_slot_free_arch,
	.generation_changed = mmu_generation_changed,
	.unmap_gfn_range = mmu_unmap,
	.age_gfn_range = mmu_age,
	.test_age_gfn_range = mmu_test_age,
	.dirty_log_rearm = mmu_rearm,
	.dirty_log_sync = mmu_sync,
};

/* ---- vendor ------------------------------------------------------------------------------ */

static int hw_enable(unsigned int cpu)
{
	int r = vf_hw.on_enable ? vf_hw.on_enable(cpu) : 0;

	vf_hw.enables++;
	if (r)
		return r;
	if ((int)cpu == vf_hw.fail_cpu)
		return -EIO;
	HV_BUG_ON(vf_hw.enabled[cpu % VF_CPUS]++ != 0);
	return 0;
}

static void hw_disable(unsigned int cpu)
{
	vf_hw.disables++;
	if (vf_hw.on_disable)
		vf_hw.on_disable(cpu);
	HV_BUG_ON(--vf_hw.enabled[cpu % VF_CPUS] != 0);
}

/* The second vendor of the same processor, counted nowhere. */
static int hw_enable2(unsigned int cpu)
{
	return (int)cpu == vf_hw.fail_cpu ? -EIO : 0;
}

static void hw_disable2(unsigned int cpu)
{
}

static int hw_vm_init(struct hv_vm *vm)
{
	return vf_hw.fail_vm_init;
}

static int hw_vcpu_create(struct hv_vcpu *vcpu)
{
	return vf_hw.fail_vcpu_create;
}

static void hw_write_tsc_offset(struct hv_vcpu *vcpu, uint64_t offset)
{
	hv_assert_held(&vcpu->vm->tsc_write_lock);
	vf_hw.last_offset = offset;
}

const struct hv_vendor_ops vf_vendor = {
	.name = "fake",
	.hardware_enable = hw_enable,
	.hardware_disable = hw_disable,
	.vm_init = hw_vm_init,
	.vcpu_create = hw_vcpu_create,
	.write_tsc_offset = hw_write_tsc_offset,
	.exit_count = 4,
};

const struct hv_vendor_ops vf_vendor2 = {
	.name = "fake2",
	.hardware_enable = hw_enable2,
	.hardware_disable = hw_disable2,
	.exit_count = 4,
};

/* ---- processor ----------------------------------------------------------------------------- */

static int lp_create(const void *vm_key, struct hv_lp **out)
{
	*out = hv_zalloc(sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void lp_destroy(struct hv_lp *lp)
{
	hv_free(lp);
}

static void lp_kick(struct hv_lp *lp)
{
	lp->kicks++;
	if (lp->on_kick)
		lp->on_kick(lp, lp->ctx);
}

static uint64_t lp_rdtsc(void)
{
	return vf_hw.tsc;
}

static uint32_t lp_tsc_khz(void)
{
	return VF_KHZ;
}

const struct hv_processor_ops vf_processor = {
	.name = "fake",
	.lp_create = lp_create,
	.lp_destroy = lp_destroy,
	.lp_kick = lp_kick,
	.rdtsc = lp_rdtsc,
	.tsc_khz = lp_tsc_khz,
};

/* ---- life -------------------------------------------------------------------------------------- */

void vf_start(void)
{
	uint64_t present[HARDWARE_CPUS_MAX / 64] = { VF_PRESENT };

	memset(&vf_mmu, 0, sizeof(vf_mmu));
	memset(&vf_hw, 0, sizeof(vf_hw));
	vf_hw.fail_cpu = -1;
	hv_rcu_register_thread();
	HV_BUG_ON(hardware_init_cpus(present));
	HV_BUG_ON(hardware_load_vendor(&vf_vendor, &vf_processor));
}

void vf_end(void)
{
	unsigned int i;

	HV_BUG_ON(vf_mmu.arch_live);
	for (i = 0; i < VF_CPUS; i++)
		HV_BUG_ON(vf_hw.enabled[i]);
	hardware_exit();
	hv_rcu_unregister_thread();
}

struct hv_vm *vf_vm_new(const char *name)
{
	const struct hv_vm_params params = {
		.name = name,
		.processor = &vf_processor,
		.vendor = &vf_vendor,
		.mmu_ops = &vf_mmu_ops,
	};
	struct hv_vm *vm;

	HV_BUG_ON(vm_create(&params, &vm));
	return vm;
}

int vf_slot(struct hv_vm *vm, uint32_t slot, hv_gpa_t gpa, uint64_t size, hv_hva_t hva,
	    uint32_t flags)
{
	struct hv_memory_region_req req = {
		.slot = slot, .flags = flags, .gpa = gpa, .size = size, .userspace_addr = hva,
	};

	return memslot_set_region(vm, &req);
}

bool vf_slot_get(struct hv_vm *vm, int as_id, int id, struct hv_memslot *out)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = memslot_by_id(hv_vm_memslots(vm, as_id), id);
	if (s)
		*out = *s;
	hv_rcu_read_unlock();
	return s != NULL;
}

uint64_t vf_generation(struct hv_vm *vm, int as_id)
{
	uint64_t g;

	hv_rcu_read_lock();
	g = hv_memslots_generation(hv_vm_memslots(vm, as_id));
	hv_rcu_read_unlock();
	return g;
}
