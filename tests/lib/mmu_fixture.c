/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See mmu_fixture.h.
 */
#include "tests/lib/mmu_fixture.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "hv/base/lock.h"
#include "hv/base/rcu.h"
#include "hv/cpu/processor.h"
#include "hv/vm/dirty.h"
#include "hv/vm/hardware.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* ---- the processor: just enough to be kicked ---------------------------------------- */

struct hv_lp {
	struct mx_vcpu *v;
};

static int lp_create(const void *vm_key, struct hv_lp **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void lp_destroy(struct hv_lp *lp)
{
	free(lp);
}

static void lp_kick(struct hv_lp *lp)
{
	if (lp->v)
		atomic_store(&lp->v->kicked, true);
}

static int processor_init(unsigned int nr_cpus)
{
	return 0;
}

static void processor_exit(void)
{
}

static const struct hv_processor_ops processor = {
	.name = "mmu test",
	.init = processor_init,
	.exit = processor_exit,
	.lp_create = lp_create,
	.lp_destroy = lp_destroy,
	.lp_kick = lp_kick,
};

/* ---- the vendor --------------------------------------------------------------------------- */

static int hardware_enable(unsigned int cpu)
{
	return 0;
}

static void hardware_disable(unsigned int cpu)
{
}

static struct mx_vcpu *of(struct hv_vcpu *vcpu)
{
	return vcpu->vendor_data;
}

static void load_mmu_root(struct hv_vcpu *vcpu, hv_pfn_t root_pfn, int level)
{
	of(vcpu)->hw.root = root_pfn << 12;
	of(vcpu)->hw.level = level;
}

static void flush_tlb_all(struct hv_vcpu *vcpu)
{
	hw_flush(&of(vcpu)->hw);
}

static void flush_tlb_gva(struct hv_vcpu *vcpu, uint64_t gva)
{
	of(vcpu)->hw.tlb[(gva >> 12) % HW_TLB_SIZE].page = 0;
}

static const struct hv_vendor_ops vendor_template = {
	.name = "mmu test",
	.hardware_enable = hardware_enable,
	.hardware_disable = hardware_disable,
	.load_mmu_root = load_mmu_root,
	.flush_tlb_all = flush_tlb_all,
	.flush_tlb_guest = flush_tlb_all,
	.flush_tlb_gva = flush_tlb_gva,
	.max_huge_level = HV_PG_LEVEL_1G,
};

/* ---- life ------------------------------------------------------------------------------------ */

void mx_start(void)
{
	hv_rcu_register_thread();
	CHECK(hardware_init() == 0);
}

void mx_end(void)
{
	hardware_exit();
	hv_rcu_unregister_thread();
}

static void add_vcpu(struct mx *m, unsigned int i)
{
	struct mx_vcpu *v = &m->v[i];
	struct hv_vcpu *vcpu;

	CHECK(vm_add_vcpu(m->vm, i, &vcpu) == 0);
	v->vcpu = vcpu;
	vcpu->vendor_data = v;
	vcpu->lp->v = v;
	v->hw.kind = m->config.kind;
	v->hw.ad = !m->config.no_ad;
	v->hw.use_tlb = m->config.use_tlb;
	v->hw.pml = m->config.pml ? v->pml : NULL;
}

struct mx *mx_new(const struct mx_config *config)
{
	struct mx *m = calloc(1, sizeof(*m));
	struct hv_vm_params params;
	unsigned int i;

	CHECK(m);
	m->config = *config;
	m->vendor = vendor_template;
	m->vendor.id = config->kind == HW_NPT ? HV_VENDOR_SVM : HV_VENDOR_VMX;
	m->vendor.ept_format = config->kind != HW_NPT; /* shadow tables are x86 all the same */
	m->vendor.has_ad_bits = !config->no_ad;
	m->vendor.has_pml = config->pml;
	m->vendor.max_tdp_level = 5;
	CHECK(hv_mem_create(&m->mem) == 0);
	CHECK(hardware_load_vendor(&m->vendor, &processor) == 0);
	params = (struct hv_vm_params){
		.name = "mmu",
		.processor = &processor,
		.vendor = &m->vendor,
		.mmu_ops = &hv_mmu,
		.paging = config->kind == HW_X86_LONG || config->kind == HW_X86_PAE
				  ? HV_PAGING_SHADOW
				  : HV_PAGING_TDP,
		.mem = m->mem,
	};
	CHECK(vm_create(&params, &m->vm) == 0);
	if (config->five_level)
		CHECK(mmu_set_tdp_level(m->vm, 5) == 0);
	if (config->ring_entries)
		CHECK(dirty_ring_enable(m->vm, config->ring_entries) == 0);
	m->nr = config->vcpus ? config->vcpus : 1;
	for (i = 0; i < m->nr; i++)
		add_vcpu(m, i);
	return m;
}

void mx_free(struct mx *m)
{
	vm_put(m->vm);
	CHECK(hardware_unload_vendor(&m->vendor) == 0);
	hv_mem_destroy(m->mem);
	free(m);
}

struct hv_region *mx_region(struct mx *m, uint64_t size, enum hv_backing_kind kind)
{
	struct hv_region_params params = {
		.size = size,
		.backing = { .kind = kind, .fd = -1, .max_level = HV_LEVEL_1G },
		.name = "test",
	};
	struct hv_region *region;

	CHECK(hv_region_create(m->mem, &params, &region) == 0);
	return region;
}

int mx_slot(struct mx *m, uint32_t id, hv_gpa_t gpa, uint64_t size, uint64_t hva, uint32_t flags)
{
	struct hv_memory_region_req req = {
		.slot = id, .flags = flags, .gpa = gpa, .size = size, .userspace_addr = hva,
	};

	return memslot_set_region(m->vm, &req);
}

/* ---- running ------------------------------------------------------------------------------------ */

void mx_drain_pml(struct mx_vcpu *v)
{
	unsigned int i;

	if (!v->hw.pml_count)
		return;
	CHECK(v->hw.pml_count <= HW_PML_SIZE);
	hv_rcu_read_lock();
	for (i = 0; i < v->hw.pml_count; i++) {
		hv_gfn_t gfn = v->pml[i] >> 12;
		struct hv_memslot *slot = hv_vcpu_gfn_to_memslot(v->vcpu, gfn);

		if (slot)
			vm_mark_page_dirty(v->vcpu->vm, v->vcpu, slot, gfn);
	}
	hv_rcu_read_unlock();
	v->hw.pml_count = 0;
}

bool mx_enter(struct mx_vcpu *v)
{
	struct hv_vcpu *vcpu = v->vcpu;

	vcpu_check_request(vcpu, HV_REQ_MMU_RELOAD);
	vcpu_check_request(vcpu, HV_REQ_PML_FLUSH);
	vcpu_check_request(vcpu, HV_REQ_PAUSE);
	if (vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH) |
	    vcpu_check_request(vcpu, HV_REQ_TLB_FLUSH_GUEST)) {
		if (!v->deaf)
			hw_flush(&v->hw);
	}
	if (mmu_reload(vcpu))
		return false;
	atomic_store(&v->kicked, false);
	return vcpu_enter_guest_mode(vcpu);
}

void mx_leave(struct mx_vcpu *v)
{
	mx_drain_pml(v);
	vcpu_exit_guest_mode(v->vcpu);
}

enum hw_result mx_guest_access(struct mx_vcpu *v, uint64_t addr, unsigned int acc, uint64_t *value)
{
	uint64_t hva;
	enum hw_result r = hw_access(&v->hw, addr, acc, &hva);

	if (r == HW_OK && value) {
		uint64_t *p = (uint64_t *)(uintptr_t)(hva & ~7ULL);

		if (acc & HW_WRITE)
			__atomic_store_n(p, *value, __ATOMIC_RELAXED);
		else
			*value = __atomic_load_n(p, __ATOMIC_RELAXED);
	}
	return r;
}

enum mx_result mx_handle_exit(struct mx_vcpu *v, enum hw_result why, uint64_t addr)
{
	struct hv_pf_request req = { .addr = addr, .error_code = v->hw.error };
	bool write_ok;
	int r;

	v->faults++;
	hv_rcu_read_lock();
	if (why == HW_MISCONFIG) {
		r = mmu_handle_mmio_hit(v->vcpu, addr, &v->last_gpa, &write_ok);
		hv_rcu_read_unlock();
		v->mmio_hits++;
		v->last_mmio = true;
		return r == 1 ? MX_MMIO : r == 0 ? MX_OK : MX_ERROR;
	}
	r = mmu_page_fault(v->vcpu, &req);
	hv_rcu_read_unlock();
	v->last_gpa = req.gpa;
	v->last_mmio = req.mmio;
	switch (r) {
	case HV_PF_FIXED:
	case HV_PF_SPURIOUS:
		return MX_OK;
	case HV_PF_RETRY:
		v->retries++;
		return MX_OK;
	case HV_PF_EMULATE:
		return req.mmio ? MX_MMIO : MX_EMULATE;
	case HV_PF_GUEST_FAULT:
		v->last_cr2 = req.fault_cr2;
		v->last_error = req.fault_error_code;
		return MX_GUEST_FAULT;
	case HV_PF_USER_EXIT:
		return MX_EFAULT;
	default:
		return MX_ERROR;
	}
}

enum mx_result mx_access(struct mx_vcpu *v, uint64_t addr, unsigned int acc, uint64_t *value)
{
	for (;;) {
		enum hw_result h;
		enum mx_result r;

		while (!mx_enter(v))
			;
		h = mx_guest_access(v, addr, acc, value);
		mx_leave(v);
		if (h == HW_OK)
			return MX_OK;
		r = mx_handle_exit(v, h, addr);
		if (r != MX_OK)
			return r;
	}
}

bool mx_mapped(struct mx_vcpu *v, uint64_t addr, unsigned int acc)
{
	struct hw_cpu probe = v->hw;
	uint64_t hva;

	probe.use_tlb = false;
	probe.ad = false;
	probe.pml = NULL;
	return probe.root && hw_access(&probe, addr, acc, &hva) == HW_OK;
}
