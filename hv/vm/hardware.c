/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Enabling and disabling virtualization on host CPUs, and the VM list.
 *
 * hv_lock protects the usage counts, which CPUs are enabled and hv_vm_list; it
 * is taken inside hv_cpus_lock, shared where the set of CPUs must be steady and
 * exclusive where it changes (online, offline, suspend, resume). Nothing else
 * decides whether a CPU is enabled.
 *
 * vCPUs do not take either lock. A vCPU that is loaded holds a *pin* on its
 * CPU: a count in one word with the ENABLED bit, so that "enabled, and stays so
 * while I am here" is one compare-and-exchange. Who disables a CPU clears the
 * bit, sends HV_REQ_CPU_MOVE to the vCPUs that are there and sleeps until the
 * count is 0:
 *
 *	vCPU: pin (if ENABLED)              offline: clear ENABLED
 *	      vcpu->cpu = cpu                        [full barrier]
 *	      [full barrier]                         read each vcpu->cpu, kick
 *	      read ENABLED: gone? unpin, retry
 *
 * Either the vCPU sees that the bit is gone, or the offline sees the vCPU.
 *
 * A processor counts per vendor module, since the software processor has both
 * vendors at once; on silicon there is one.
 */
#include "hv/vm/hardware.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "hv/base/bitmap.h"
#include "hv/base/clock.h"
#include "hv/base/fault_inject.h"
#include "hv/base/list.h"
#include "hv/base/trace.h"
#include "hv/vm/vm_internal.h"
#include "hv/vm/wait.h"
#include "hv/vm/wakeup.h"

#define HW_CPUS_MAX    HARDWARE_CPUS_MAX
#define HW_CPU_WORDS   (HW_CPUS_MAX / 64)
#define HW_VENDORS_MAX 4
#define HW_ENABLED     (1U << 31) /* of a pin word; the rest counts loaded vCPUs */
/* A vCPU that waits for the host to resume looks this often whether it has to end. */
#define HW_FROZEN_POLL_NS (20 * HV_NSEC_PER_MSEC)

struct hw_vendor {
	const struct hv_vendor_ops *_Atomic vendor; /* [m] module lock to write; NULL: free */
	const struct hv_processor_ops *processor;   /* [m] */
	unsigned int usage;			    /* [L] VMs */
	uint64_t on[HW_CPU_WORDS];		    /* [L] hardware_enable succeeded, not disabled */
	_Atomic uint32_t pin[HW_CPUS_MAX];	    /* [a] HW_ENABLED | loaded vCPUs */
};

struct hv_rwlock hv_cpus_lock;
struct hv_mutex hv_lock;
struct cds_list_head hv_vm_list;

/* [m] vendor_module_lock, [C] hv_cpus_lock, [L] hv_lock, [F] frozen_lock */
static struct {
	struct hv_mutex module_lock; /* vendor_module_lock */
	unsigned int nr_cpus;	     /* [I] */
	uint64_t present[HW_CPU_WORDS]; /* [I] */
	uint64_t online[HW_CPU_WORDS];	/* [C] */
	struct hw_vendor vendor[HW_VENDORS_MAX];
	struct hv_spinlock frozen_lock;
	struct hv_cond frozen_cond;
	bool frozen; /* [F] set from before a suspend's kicks until after the resume */
	bool suspended; /* [C] */
	bool ready;
	_Atomic uint32_t enables; /* [a] CPUs enabled so far: a search that found none looks again */
} hw;

/* ---- init ------------------------------------------------------------------------- */

static int host_cpus(uint64_t *set)
{
	cpu_set_t *mask = CPU_ALLOC(HW_CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(HW_CPUS_MAX);
	unsigned int cpu;
	int r = 0;

	if (!mask)
		return -ENOMEM;
	if (sched_getaffinity(0, size, mask))
		r = -errno;
	for (cpu = 0; !r && cpu < HW_CPUS_MAX; cpu++)
		if (CPU_ISSET_S(cpu, size, mask))
			hv_bitmap_set(set, cpu);
	CPU_FREE(mask);
	return r;
}

int hardware_init(void)
{
	uint64_t present[HW_CPU_WORDS] = { 0 };
	int r = host_cpus(present);

	return r ? r : hardware_init_cpus(present);
}

int hardware_init_cpus(const uint64_t *present)
{
	size_t cpu;
	int r;

	HV_BUG_ON(hw.ready);
	hw.nr_cpus = 0;
	memcpy(hw.present, present, sizeof(hw.present));
	hv_bitmap_for_each_set(cpu, hw.present, HW_CPUS_MAX)
		hw.nr_cpus = (unsigned int)cpu + 1;
	if (!hw.nr_cpus)
		return -EINVAL;
	r = wakeup_init(hw.nr_cpus);
	if (r)
		return r;
	memcpy(hw.online, hw.present, sizeof(hw.online));
	memset(hw.vendor, 0, sizeof(hw.vendor));
	hw.frozen = false;
	hw.suspended = false;
	hv_rwlock_init(&hv_cpus_lock, HV_LC_CPUS_READ);
	hv_mutex_init(&hv_lock, HV_LC_HV);
	hv_mutex_init(&hw.module_lock, HV_LC_VENDOR_MODULE);
	hv_spinlock_init(&hw.frozen_lock, HV_LC_LEAF);
	hv_cond_init(&hw.frozen_cond);
	CDS_INIT_LIST_HEAD(&hv_vm_list);
	hw.ready = true;
	return 0;
}

void hardware_exit(void)
{
	unsigned int i;

	HV_BUG_ON(!hw.ready);
	HV_BUG_ON(!cds_list_empty(&hv_vm_list));
	for (i = 0; i < HW_VENDORS_MAX; i++)
		HV_BUG_ON(hw.vendor[i].usage);
	wakeup_exit();
	hv_cond_destroy(&hw.frozen_cond);
	hv_spinlock_destroy(&hw.frozen_lock);
	hv_mutex_destroy(&hw.module_lock);
	hv_mutex_destroy(&hv_lock);
	hv_rwlock_destroy(&hv_cpus_lock);
	hw.ready = false;
}

unsigned int hardware_nr_cpus(void)
{
	return hw.nr_cpus;
}

/* ---- vendor modules ---------------------------------------------------------------- */

/* Any thread: entries of vendors in use do not move or go. */
static struct hw_vendor *vendor_find(const struct hv_vendor_ops *vendor)
{
	unsigned int i;

	for (i = 0; i < HW_VENDORS_MAX; i++)
		if (atomic_load_explicit(&hw.vendor[i].vendor, memory_order_acquire) == vendor)
			return &hw.vendor[i];
	return NULL;
}

/* module_lock held. */
static int vendor_add(const struct hv_vendor_ops *vendor, const struct hv_processor_ops *processor)
{
	struct hw_vendor *v = vendor_find(vendor);

	if (v)
		return v->processor == processor ? 0 : -EBUSY;
	v = vendor_find(NULL);
	if (!v)
		return -EBUSY;
	v->processor = processor;
	atomic_store_explicit(&v->vendor, vendor, memory_order_release);
	return 0;
}

int hardware_load_vendor(const struct hv_vendor_ops *vendor,
			 const struct hv_processor_ops *processor)
{
	int r;

	hv_mutex_lock(&hw.module_lock);
	r = vendor->check_processor ? vendor->check_processor(processor) : 0;
	if (!r)
		r = vendor_add(vendor, processor);
	hv_mutex_unlock(&hw.module_lock);
	return r;
}

int hardware_unload_vendor(const struct hv_vendor_ops *vendor)
{
	struct hw_vendor *v;
	int r = 0;

	hv_mutex_lock(&hw.module_lock);
	hv_read_lock(&hv_cpus_lock);
	hv_mutex_lock(&hv_lock);
	v = vendor_find(vendor);
	if (!v)
		r = -ENOENT;
	else if (v->usage)
		r = -EBUSY;
	else
		atomic_store_explicit(&v->vendor, NULL, memory_order_release);
	hv_mutex_unlock(&hv_lock);
	hv_read_unlock(&hv_cpus_lock);
	hv_mutex_unlock(&hw.module_lock);
	return r;
}

/* ---- one CPU: hv_lock held, or hv_cpus_lock exclusively ------------------------------ */

static const struct hv_vendor_ops *ops_of(struct hw_vendor *v)
{
	return atomic_load_explicit(&v->vendor, memory_order_relaxed);
}

static int cpu_enable(struct hw_vendor *v, unsigned int cpu)
{
	int r = ops_of(v)->hardware_enable(cpu);

	hv_trace(hardware_enable, cpu, v->usage, r);
	if (r)
		return r;
	hv_bitmap_set(v->on, cpu);
	atomic_fetch_or(&v->pin[cpu], HW_ENABLED);
	atomic_fetch_add(&hw.enables, 1);
	return 0;
}

/* No vCPU is loaded there. */
static void cpu_disable(struct hw_vendor *v, unsigned int cpu)
{
	uint32_t old;

	if (!hv_bitmap_test(v->on, cpu))
		return;
	old = atomic_fetch_and(&v->pin[cpu], ~HW_ENABLED);
	HV_BUG_ON(old & ~HW_ENABLED);
	hv_bitmap_clear(v->on, cpu);
	ops_of(v)->hardware_disable(cpu);
	hv_trace(hardware_disable, cpu, v->usage);
}

static void all_disable(struct hw_vendor *v)
{
	size_t cpu;

	hv_bitmap_for_each_set(cpu, v->on, HW_CPUS_MAX)
		cpu_disable(v, (unsigned int)cpu);
}

/* Every online CPU, or none. */
static int all_enable(struct hw_vendor *v)
{
	size_t cpu;

	hv_bitmap_for_each_set(cpu, hw.online, HW_CPUS_MAX) {
		int r = cpu_enable(v, (unsigned int)cpu);

		if (r) {
#ifndef HV_MUTATE_ENABLE_NO_ROLLBACK
			all_disable(v);
#endif
			return r;
		}
	}
	return 0;
}

/* ---- first and last VM ----------------------------------------------------------------- */

int hardware_enable_all(const struct hv_vendor_ops *vendor)
{
	struct hw_vendor *v;
	int r = 0;

	hv_read_lock(&hv_cpus_lock);
	hv_mutex_lock(&hv_lock);
	v = vendor_find(vendor);
	if (!v) {
		r = -ENODEV;
	} else {
		v->usage++;
		/* While suspended, the resume enables for whoever counts by then. */
		if (v->usage == 1 && !hw.suspended)
			r = all_enable(v);
#ifndef HV_MUTATE_USAGE_LEAK
		if (r)
			v->usage--;
#endif
	}
	hv_mutex_unlock(&hv_lock);
	hv_read_unlock(&hv_cpus_lock);
	return r;
}

void hardware_disable_all(const struct hv_vendor_ops *vendor)
{
	struct hw_vendor *v;

	hv_read_lock(&hv_cpus_lock);
	hv_mutex_lock(&hv_lock);
	v = vendor_find(vendor);
	HV_BUG_ON(!v || !v->usage);
	if (--v->usage == 0)
		all_disable(v);
	hv_mutex_unlock(&hv_lock);
	hv_read_unlock(&hv_cpus_lock);
}

unsigned int hardware_usage_count(void)
{
	unsigned int i, sum = 0;

	hv_mutex_lock(&hv_lock);
	for (i = 0; i < HW_VENDORS_MAX; i++)
		sum += hw.vendor[i].usage;
	hv_mutex_unlock(&hv_lock);
	return sum;
}

/* ---- drawing vCPUs off CPUs ------------------------------------------------------------- */

/* hv_lock held. cpu < 0: wherever they are. */
static void kick_loaded(const struct hv_vendor_ops *vendor, int cpu)
{
	struct hv_vcpu *vcpu;
	struct hv_vm *vm;
	unsigned int i;

	cds_list_for_each_entry(vm, &hv_vm_list, vm_link) {
		if (vm->vendor != vendor)
			continue;
		for (i = 0; (vcpu = vm_vcpu(vm, i)); i++) {
			int at = atomic_load(&vcpu->cpu);

			if (at < 0 || (cpu >= 0 && at != cpu))
				continue;
			vcpu_make_request(vcpu, HV_REQ_CPU_MOVE);
			vcpu_kick(vcpu);
		}
	}
}

/* The ENABLED bit is clear, so the count only falls. */
static void wait_unpinned(struct hw_vendor *v, unsigned int cpu)
{
	uint32_t seen;

	while ((seen = atomic_load(&v->pin[cpu])) != 0) {
		HV_BUG_ON(seen & HW_ENABLED);
		wait_on_word(&v->pin[cpu], seen);
	}
}

/* hv_lock held: nobody is loaded on the CPU afterwards, and nobody can be. */
static void cpu_vacate(struct hw_vendor *v, unsigned int cpu)
{
	atomic_fetch_and(&v->pin[cpu], ~HW_ENABLED);
	kick_loaded(ops_of(v), (int)cpu);
	wait_unpinned(v, cpu);
}

/* ---- host CPU hotplug ---------------------------------------------------------------------- */

/* hv_cpus_lock exclusively, hv_lock. */
static int cpu_online_locked(unsigned int cpu)
{
	unsigned int i;

	for (i = 0; i < HW_VENDORS_MAX; i++) {
		struct hw_vendor *v = &hw.vendor[i];

		if (!v->usage || hw.suspended || !cpu_enable(v, cpu))
			continue;
		/* A CPU that one vendor cannot use is not online for any. */
		while (i--) {
			if (hv_bitmap_test(hw.vendor[i].on, cpu)) {
				cpu_vacate(&hw.vendor[i], cpu);
				cpu_disable(&hw.vendor[i], cpu);
			}
		}
		return -EIO;
	}
	hv_bitmap_set(hw.online, cpu);
	return 0;
}

int hardware_cpu_online(unsigned int cpu)
{
	int r = 0;

	if (cpu >= HW_CPUS_MAX || !hv_bitmap_test(hw.present, cpu))
		return -EINVAL;
	hv_write_lock(&hv_cpus_lock);
	hv_mutex_lock(&hv_lock);
	if (!hv_bitmap_test(hw.online, cpu))
		r = cpu_online_locked(cpu);
	hv_mutex_unlock(&hv_lock);
	hv_write_unlock(&hv_cpus_lock);
	return r;
}

static void cpu_offline_locked(unsigned int cpu)
{
	unsigned int i;

	hv_bitmap_clear(hw.online, cpu);
	for (i = 0; i < HW_VENDORS_MAX; i++) {
		struct hw_vendor *v = &hw.vendor[i];

		if (!hv_bitmap_test(v->on, cpu))
			continue;
		cpu_vacate(v, cpu);
		cpu_disable(v, cpu);
	}
}

int hardware_cpu_offline(unsigned int cpu)
{
	int r = 0;

	if (cpu >= HW_CPUS_MAX || !hv_bitmap_test(hw.present, cpu))
		return -EINVAL;
	hv_write_lock(&hv_cpus_lock);
	hv_mutex_lock(&hv_lock);
	if (hv_bitmap_test(hw.online, cpu)) {
		if (hv_bitmap_weight(hw.online, HW_CPUS_MAX) == 1)
			r = -EBUSY;
		else
			cpu_offline_locked(cpu);
	}
	hv_mutex_unlock(&hv_lock);
	hv_write_unlock(&hv_cpus_lock);
	return r;
}

bool hardware_cpu_is_online(unsigned int cpu)
{
	bool online;

	hv_read_lock(&hv_cpus_lock);
	online = cpu < HW_CPUS_MAX && hv_bitmap_test(hw.online, cpu);
	hv_read_unlock(&hv_cpus_lock);
	return online;
}

/* ---- host suspend and resume ----------------------------------------------------------------- */

static void set_frozen(bool frozen)
{
	hv_spin_lock(&hw.frozen_lock);
	hw.frozen = frozen;
	hv_cond_broadcast(&hw.frozen_cond);
	hv_spin_unlock(&hw.frozen_lock);
}

/* hv_lock held: no vCPU is loaded anywhere afterwards. */
static void freeze_vcpus(void)
{
	unsigned int i, cpu;

	set_frozen(true);
	for (i = 0; i < HW_VENDORS_MAX; i++)
		for (cpu = 0; cpu < hw.nr_cpus; cpu++)
			atomic_fetch_and(&hw.vendor[i].pin[cpu], ~HW_ENABLED);
	for (i = 0; i < HW_VENDORS_MAX; i++) {
		if (!hw.vendor[i].usage)
			continue;
		kick_loaded(ops_of(&hw.vendor[i]), -1);
		for (cpu = 0; cpu < hw.nr_cpus; cpu++)
			wait_unpinned(&hw.vendor[i], cpu);
	}
}

int hardware_suspend(void)
{
	unsigned int i;
	int r = 0;

	hv_assert_not_held(&hv_lock);
	hv_write_lock(&hv_cpus_lock);
	if (hw.suspended) {
		r = -EALREADY;
	} else {
		hv_mutex_lock(&hv_lock);
		freeze_vcpus();
		hw.suspended = true;
		hv_mutex_unlock(&hv_lock);
		/*
		 * The usage counts are steady without hv_lock: whoever changes one holds
		 * hv_cpus_lock shared. So the callbacks may sleep, and a suspend never
		 * happens in the middle of an enable.
		 */
		hv_assert_not_held(&hv_lock);
		for (i = 0; i < HW_VENDORS_MAX; i++)
			all_disable(&hw.vendor[i]);
	}
	hv_write_unlock(&hv_cpus_lock);
	return r;
}

static int resume_vendor(struct hw_vendor *v)
{
	size_t cpu;
	int r = 0;

	if (!v->usage)
		return 0;
	hv_bitmap_for_each_set(cpu, hw.online, HW_CPUS_MAX)
		if (cpu_enable(v, (unsigned int)cpu))
			r = -EIO; /* no vCPU will be loaded there */
	return r;
}

int hardware_resume(void)
{
	unsigned int i;
	int r = 0;

	hv_assert_not_held(&hv_lock);
	hv_write_lock(&hv_cpus_lock);
	if (!hw.suspended) {
		r = -EALREADY;
	} else {
		for (i = 0; i < HW_VENDORS_MAX; i++)
			if (resume_vendor(&hw.vendor[i]))
				r = -EIO;
		hw.suspended = false;
		set_frozen(false);
	}
	hv_write_unlock(&hv_cpus_lock);
	return r;
}

/* ---- vCPUs come and go: no lock ------------------------------------------------------------------ */

static bool cpu_pin(struct hw_vendor *v, unsigned int cpu)
{
	uint32_t old = atomic_load_explicit(&v->pin[cpu], memory_order_relaxed);

	do {
		if (!(old & HW_ENABLED))
			return false;
	} while (!atomic_compare_exchange_weak(&v->pin[cpu], &old, old + 1));
	return true;
}

static void cpu_unpin(struct hw_vendor *v, unsigned int cpu)
{
	uint32_t old = atomic_fetch_sub(&v->pin[cpu], 1);

	HV_BUG_ON(!(old & ~HW_ENABLED));
	if (old == 1) /* the last one, of a CPU that is being disabled */
		wake_word(&v->pin[cpu]);
}

/* Pin, tell where, and look again: see the head of the file. */
static bool vcpu_try_cpu(struct hv_vcpu *vcpu, struct hw_vendor *v, unsigned int cpu)
{
	if (!cpu_pin(v, cpu))
		return false;
	hv_test_point("load: pinned");
	atomic_store(&vcpu->cpu, (int)cpu);
#ifdef HV_MUTATE_CPU_NO_RECHECK
	return true;
#endif
	if (atomic_load(&v->pin[cpu]) & HW_ENABLED)
		return true;
	atomic_store(&vcpu->cpu, -1);
	cpu_unpin(v, cpu);
	return false;
}

/* False: not frozen; true: it was, so look again. */
static bool wait_thawed(void)
{
	bool frozen;

	hv_spin_lock(&hw.frozen_lock);
	frozen = hw.frozen;
	if (frozen)
		hv_cond_wait_spin_until(&hw.frozen_cond, &hw.frozen_lock,
					hv_clock_ns() + HW_FROZEN_POLL_NS);
	hv_spin_unlock(&hw.frozen_lock);
	return frozen;
}

static bool vcpu_must_end(struct hv_vcpu *vcpu)
{
	uint64_t ends = (1ULL << HV_REQ_NR(HV_REQ_PAUSE)) | (1ULL << HV_REQ_NR(HV_REQ_VM_DEAD));

	return vm_is_bugged(vcpu->vm) || (atomic_load(&vcpu->requests) & ends);
}

int hardware_vcpu_load(struct hv_vcpu *vcpu, unsigned int preferred)
{
	struct hw_vendor *v = vendor_find(vcpu->vm->vendor);
	uint32_t seen;
	unsigned int i;

	HV_BUG_ON(!v || atomic_load_explicit(&vcpu->cpu, memory_order_relaxed) != -1);
	do {
		seen = atomic_load(&hw.enables);
		for (i = 0; i < hw.nr_cpus; i++) {
			unsigned int cpu = (preferred + i) % hw.nr_cpus;

			if (vcpu_try_cpu(vcpu, v, cpu))
				return (int)cpu;
		}
		if (vcpu_must_end(vcpu))
			return -EINTR;
		/* A CPU may have come up behind the search, or with a resume that is over now. */
	} while (wait_thawed() || seen != atomic_load(&hw.enables));
	return -ENODEV;
}

void hardware_vcpu_put(struct hv_vcpu *vcpu)
{
	struct hw_vendor *v = vendor_find(vcpu->vm->vendor);
	int cpu = atomic_exchange(&vcpu->cpu, -1);

	HV_BUG_ON(!v || cpu < 0);
	cpu_unpin(v, (unsigned int)cpu);
}

bool hardware_cpu_enabled(unsigned int cpu)
{
	unsigned int i;

	for (i = 0; cpu < HW_CPUS_MAX && i < HW_VENDORS_MAX; i++)
		if (atomic_load_explicit(&hw.vendor[i].pin[cpu], memory_order_acquire) & HW_ENABLED)
			return true;
	return false;
}

int hardware_pick_cpu(unsigned int preferred)
{
	unsigned int i;

	for (i = 0; i < hw.nr_cpus; i++) {
		unsigned int cpu = (preferred + i) % hw.nr_cpus;

		if (hardware_cpu_enabled(cpu))
			return (int)cpu;
	}
	return -ENODEV;
}
