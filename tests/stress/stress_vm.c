/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Everything in hv/vm at once, under a model of an MMU and of processors with TLBs:
 * two vCPUs that fault, read and write; a thread that creates, moves, deletes and
 * re-flags a slot; one that takes host pages away; three cursor readers and a
 * bitmap reader; host CPUs that go and come.
 *
 *	stress_vm [milliseconds [defect]]
 *
 * Then, for a fifth of the time, VMs that come and go, first and last ones among
 * them, while host CPUs go and come, fail to be enabled, and the host sleeps.
 *
 * What must hold:
 *  - in guest mode, a translation in table or TLB is of the host page's present life
 *    (no access reaches a page after its invalidation has returned);
 *  - after a delete has returned, nothing of the slot is mapped or in a TLB;
 *  - no write is missing from a log: at the end each reader has every page's contents;
 *  - a vCPU only runs on a CPU that is enabled; counts end where they began;
 *  - the usage count is the number of VMs in vm_list, a failed creation leaves neither,
 *    and without a VM no CPU is enabled.
 *
 * Each of these has a defect (see `defects`) that it must find; checks_find.sh asks
 * for them one by one.
 *
 * (The real MMU has its own stress test; here every rule that it has to keep is in
 * a line or two, so that a failure is one of hv/vm.)
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mem/region.h"
#include "hv/vm/dirty.h"
#include "hv/vm/notifier.h"
#include "tests/lib/vm_fake.h"

#define GFNS	2560
#define FIXED	2048 /* pages of slot 1, at gfn 0: many, so that each is written seldom */
#define HOT	32   /* of them, written and taken away more often */
#define MOVING	64   /* pages of slot 2, which comes and goes */
#define HPAGES	(FIXED + MOVING)
#define HVA0	0x7f0000000000ULL
#define VCPUS	2
#define READERS 3
#define ROUND_MS 100 /* then everything stops, and the readers' copies are compared */

/* A translation: 0, or the host page + 1, its life, and whether it may be written. */
#define SPTE_W		  (1ULL << 63)
#define SPTE(hpage, life) ((uint64_t)(life) << 16 | ((hpage) + 1))
#define SPTE_HPAGE(s)	  (((s) & 0xffff) - 1)
#define SPTE_LIFE(s)	  (((s) & ~SPTE_W) >> 16)

/* What can be broken on purpose, in this program. */
enum defect {
	SOUND,
	LATE_START,   /* pages change their life before the invalidation starts */
	DELETE_STAYS, /* the MMU's model forgets to drop what a slot has mapped */
	NO_ARMING,    /* it forgets to make pages read-only again */
	READER_LOSES, /* a cursor reader drops part of what it was told */
	BITMAP_LOSES, /* so does the bitmap's */
	COUNT_LEAKS,  /* one more user of the hardware than there are VMs */
};

static const char *const defects[] = {
	[SOUND] = "none",
	[LATE_START] = "late-start",
	[DELETE_STAYS] = "delete-stays",
	[NO_ARMING] = "no-arming",
	[READER_LOSES] = "reader-loses",
	[BITMAP_LOSES] = "bitmap-loses",
	[COUNT_LEAKS] = "count-leaks",
};

static enum defect defect;
static struct hv_vm *vm;
static _Atomic uint64_t spte[GFNS];
static _Atomic uint64_t life[HPAGES], version[HPAGES];
static _Atomic bool stop_writers, stop_all;
static _Atomic uint64_t writes, faults, retries, flushes, updates, invalidations, reads, moves;

/* ---- the MMU: mmu_lock held for write, but for commit and flush which take it --------------- */

static void on_rearm(struct hv_vm *v, struct hv_memslot *slot, hv_gfn_t gfn, uint64_t mask)
{
	for (; mask && defect != NO_ARMING; mask &= mask - 1)
		atomic_fetch_and(&spte[gfn + (uint64_t)__builtin_ctzll(mask)], ~SPTE_W);
}

static bool on_unmap(struct hv_vm *v, const struct hv_gfn_range *range)
{
	hv_gfn_t gfn;
	uint64_t any = 0;

	for (gfn = range->start; gfn < range->end; gfn++)
		any |= atomic_exchange(&spte[gfn], 0);
	return any;
}

static void on_flush(struct hv_vm *v, struct hv_memslot *slot)
{
	const struct hv_gfn_range range = {
		.slot = slot, .start = slot->base_gfn, .end = slot->base_gfn + slot->npages,
	};

	hv_write_lock(&v->mmu_lock);
	if (defect != DELETE_STAYS)
		on_unmap(v, &range);
	hv_write_unlock(&v->mmu_lock);
	vm_flush_remote_tlbs(v);
}

static void on_commit(struct hv_vm *v, const struct hv_memslot *old, const struct hv_memslot *new,
		      enum hv_mr_change change)
{
	hv_gfn_t gfn;

	if (!memslot_log_must_arm(v, old, new))
		return;
	hv_write_lock(&v->mmu_lock);
	for (gfn = new->base_gfn; gfn < new->base_gfn + new->npages; gfn++)
		atomic_fetch_and(&spte[gfn], ~SPTE_W);
	hv_write_unlock(&v->mmu_lock);
	vm_flush_remote_tlbs(v);
}

/* ---- vCPUs ------------------------------------------------------------------------------------ */

struct cpu {
	struct hv_vcpu *vcpu;
	struct vf_rng rng;
	uint64_t tlb[GFNS];
};

/* In guest mode. True: done; false: the access faults. */
static bool access_page(struct cpu *c, hv_gfn_t gfn, bool write)
{
	uint64_t s = c->tlb[gfn];

	if (!s || (write && !(s & SPTE_W))) {
		s = atomic_load(&spte[gfn]); /* a walk */
		if (!s || (write && !(s & SPTE_W)))
			return false;
		c->tlb[gfn] = s;
	}
	HV_BUG_ON(SPTE_LIFE(s) != atomic_load(&life[SPTE_HPAGE(s)]));
	if (write) {
		version[SPTE_HPAGE(s)]++;
		writes++;
	}
	return true;
}

static void fault(struct cpu *c, hv_gfn_t gfn, bool write)
{
	struct hv_memslot *slot;
	uint64_t new, hpage;
	unsigned long seq;

	hv_rcu_read_lock();
	slot = hv_vcpu_gfn_to_memslot(c->vcpu, gfn);
	if (!memslot_visible(slot))
		goto out;
	seq = vm_invalidate_seq(vm);
	hpage = (memslot_gfn_to_hva(slot, gfn) - HVA0) >> HV_PAGE_SHIFT;
	new = SPTE(hpage, atomic_load(&life[hpage]));
	if (vf_rand(&c->rng) % 16 == 0)
		sched_yield();
	hv_read_lock(&vm->mmu_lock);
	if (vm_invalidate_retry(vm, seq, gfn)) {
		retries++;
	} else {
		if (write || !memslot_dirty_logged(slot))
			new |= SPTE_W;
		atomic_store(&spte[gfn], new);
		if (new & SPTE_W && memslot_dirty_logged(slot))
			vm_mark_page_dirty(vm, c->vcpu, slot, gfn);
		faults++;
	}
	hv_read_unlock(&vm->mmu_lock);
out:
	hv_rcu_read_unlock();
}

/* A page of n: hot, of slot 2's part, or any. */
static uint64_t pick(struct vf_rng *r, uint64_t n)
{
	switch (vf_rand(r) % 4) {
	case 0:
		return vf_rand(r) % HOT;
	case 1:
		return FIXED + vf_rand(r) % (n - FIXED);
	default:
		return vf_rand(r) % n;
	}
}

/* Some accesses in guest mode, until one faults or somebody kicks. */
static void enter(struct cpu *c)
{
	unsigned int kicks = c->vcpu->lp->kicks, i;
	hv_gfn_t gfn = 0;
	bool write = false, faulted = false;

	if (vcpu_check_request(c->vcpu, HV_REQ_TLB_FLUSH)) {
		memset(c->tlb, 0, sizeof(c->tlb));
		flushes++;
	}
	if (!vcpu_enter_guest_mode(c->vcpu))
		return;
	for (i = 0; i < 64 && !faulted && c->vcpu->lp->kicks == kicks; i++) {
		gfn = pick(&c->rng, GFNS);
		write = vf_rand(&c->rng) & 1;
		faulted = !access_page(c, gfn, write);
	}
	vcpu_exit_guest_mode(c->vcpu);
	if (faulted)
		fault(c, gfn, write);
}

static void *vcpu_thread(void *arg)
{
	struct cpu *c = arg;

	hv_rcu_register_thread();
	hv_mutex_lock(&c->vcpu->mutex);
	HV_BUG_ON(hardware_vcpu_load(c->vcpu, c->vcpu->id) < 0);
	while (!stop_writers) {
		HV_BUG_ON(vf_hw.enabled[c->vcpu->cpu] != 1);
		if (vcpu_check_request(c->vcpu, HV_REQ_CPU_MOVE)) {
			hardware_vcpu_put(c->vcpu);
			HV_BUG_ON(hardware_vcpu_load(c->vcpu, c->vcpu->id) < 0);
			moves++;
		}
		enter(c);
	}
	hardware_vcpu_put(c->vcpu);
	hv_mutex_unlock(&c->vcpu->mutex);
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- slots, host memory, host CPUs --------------------------------------------------------------- */

static hv_gfn_t free_gfn(struct vf_rng *r)
{
	return FIXED + vf_rand(r) % (GFNS - FIXED - MOVING + 1);
}

static void set_slot_2(hv_gfn_t gfn, uint64_t npages, uint32_t flags)
{
	HV_BUG_ON(vf_slot(vm, 2, gfn << 12, npages << 12, HVA0 + ((uint64_t)FIXED << 12), flags));
	updates++;
}

static void check_nothing_mapped(hv_gfn_t gfn)
{
	uint64_t i;

	for (i = 0; i < MOVING; i++)
		HV_BUG_ON(atomic_load(&spte[gfn + i]));
}

static void *updater(void *arg)
{
	struct vf_rng r = { .s = 77 };

	hv_rcu_register_thread();
	while (!stop_writers) {
		hv_gfn_t gfn = free_gfn(&r), to;
		uint32_t log = vf_rand(&r) & 1 ? HV_MEM_LOG_DIRTY_PAGES : 0;

		set_slot_2(gfn, MOVING, log);
		set_slot_2(gfn, MOVING, log ^ HV_MEM_LOG_DIRTY_PAGES);
		to = free_gfn(&r);
		if (to != gfn) {
			set_slot_2(to, MOVING, log);
			if (to >= gfn + MOVING || gfn >= to + MOVING)
				check_nothing_mapped(gfn);
		}
		set_slot_2(0, 0, 0);
		check_nothing_mapped(to);
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	}
	set_slot_2(FIXED, MOVING, 0);
	hv_rcu_unregister_thread();
	return NULL;
}

/* The host takes pages away and gives others, with the same contents. */
static void *invalidator(void *arg)
{
	struct vf_rng r = { .s = (uintptr_t)arg };

	hv_rcu_register_thread();
	while (!stop_writers) {
		uint64_t first = pick(&r, HPAGES), n = 1 + vf_rand(&r) % 8, i;
		struct hv_mem_range range = {
			.start = HVA0 + (first << 12), .end = HVA0 + ((first + n) << 12), .blockable = true,
		};

		if (defect == LATE_START)
			life[first]++;
		HV_BUG_ON(notifier_invalidate_start(vm, &range));
		for (i = first; i < first + n && i < HPAGES; i++)
			life[i]++;
		notifier_invalidate_end(vm, &range);
		invalidations++;
		nanosleep(&(struct timespec){ .tv_nsec = 10000 }, NULL);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void *hotplug(void *arg)
{
	unsigned int i;

	hv_rcu_register_thread();
	for (i = 0; !stop_writers; i++) {
		HV_BUG_ON(hardware_cpu_offline(i % 4));
		if (i % 16 == 0) {
			HV_BUG_ON(hardware_suspend());
			HV_BUG_ON(hardware_resume());
		}
		HV_BUG_ON(hardware_cpu_online(i % 4));
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

/* ---- readers of the log ----------------------------------------------------------------------------- */

struct reader {
	uint64_t cursor;
	uint64_t copy[HPAGES];
	bool bitmap; /* of slot 1, instead of a cursor */
};

static void copy_gfn(struct reader *r, hv_gfn_t gfn)
{
	struct hv_memslot *slot;
	uint64_t hpage;

	hv_rcu_read_lock();
	slot = hv_vm_gfn_to_memslot(vm, gfn);
	if (slot) {
		hpage = (memslot_gfn_to_hva(slot, gfn) - HVA0) >> HV_PAGE_SHIFT;
		r->copy[hpage] = version[hpage];
	}
	hv_rcu_read_unlock();
}

static void read_cursor(struct reader *r)
{
	uint64_t since = r->cursor, resume = 0, i;
	struct hv_dirty_range out[8];
	int n, k;

	do {
		n = dirty_cursor_read(vm, since, &r->cursor, &resume, out, 8);
		HV_BUG_ON(n < 0);
		for (k = 0; k < n; k++)
			for (i = defect == READER_LOSES; i < out[k].pages; i++)
				copy_gfn(r, (out[k].gpa >> 12) + i);
	} while (resume != HV_DIRTYLOG_DONE);
	reads++;
}

static void read_bitmap(struct reader *r)
{
	uint64_t map[(FIXED + 63) / 64], i;

	HV_BUG_ON(dirty_bitmap_get(vm, 1, map));
	for (i = 0; i < FIXED; i++)
		if (map[i / 64] >> i % 64 & 1 && !(defect == BITMAP_LOSES && i % 16 == 5))
			copy_gfn(r, i);
	reads++;
}

static void read_log(struct reader *r)
{
	if (r->bitmap)
		read_bitmap(r);
	else
		read_cursor(r);
}

static void *reader_thread(void *arg)
{
	hv_rcu_register_thread();
	while (!stop_all) {
		read_log(arg);
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static unsigned int missing(const struct reader *r)
{
	unsigned int i, n = 0;

	for (i = 0; i < (r->bitmap ? FIXED : HPAGES); i++)
		n += r->copy[i] != version[i];
	return n;
}

/* ---- VMs that come and go --------------------------------------------------------------------------- */

#define LIVES 2 /* threads that create VMs */

static _Atomic uint64_t lives, failures, on_and_off, sleeps;

/* Now and then a CPU cannot be enabled. */
static int fail_sometimes(unsigned int host_cpu)
{
	static _Atomic unsigned int n;

	return atomic_fetch_add(&n, 1) % 41 == 40 ? -EIO : 0;
}

struct census {
	const struct hv_vm *wanted;
	unsigned int all, found;
};

static int count_vm(struct hv_vm *v, void *ctx)
{
	struct census *c = ctx;

	c->all++;
	c->found += v == c->wanted;
	return 0;
}

/* A vCPU of the VM runs for a moment, on a CPU that is enabled as long as it is loaded. */
static void live(struct hv_vm *v, unsigned int preferred)
{
	struct hv_vcpu *vcpu;
	unsigned int i;
	int at;

	HV_BUG_ON(vm_add_vcpu(v, 0, &vcpu));
	hv_mutex_lock(&vcpu->mutex);
	at = hardware_vcpu_load(vcpu, preferred);
	if (at >= 0) {
		for (i = 0; i < 20 && !vcpu_check_request(vcpu, HV_REQ_CPU_MOVE); i++) {
			HV_BUG_ON(vf_hw.enabled[at] != 1);
			sched_yield();
		}
		hardware_vcpu_put(vcpu);
	} else {
		HV_BUG_ON(at != -ENODEV); /* the only CPU there is could not be enabled */
	}
	hv_mutex_unlock(&vcpu->mutex);
}

static void *life_thread(void *arg)
{
	const struct hv_vm_params params = {
		.name = "life", .processor = &vf_processor, .vendor = &vf_vendor, .mmu_ops = &vf_mmu_ops,
	};
	struct vf_rng r = { .s = (uintptr_t)arg };

	hv_rcu_register_thread();
	while (!stop_writers) {
		struct census c = { .all = 0 };
		struct hv_vm *v;
		int err = vm_create(&params, &v);

		if (err) {
			HV_BUG_ON(err != -EIO);
			failures++;
			continue;
		}
		c.wanted = v;
		HV_BUG_ON(vm_for_each(count_vm, &c));
		HV_BUG_ON(c.found != 1 || c.all > LIVES);
		c.all = hardware_usage_count();
		HV_BUG_ON(c.all < 1 || c.all > LIVES);
		live(v, (unsigned int)(vf_rand(&r) % 4));
		vm_put(v);
		if (vf_rand(&r) % 8 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		lives++;
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void *power_thread(void *arg)
{
	unsigned int i;

	hv_rcu_register_thread();
	for (i = 0; !stop_writers; i++) {
		int r = hardware_cpu_offline(i % 4);

		/* Without virtualization on it a CPU is of no use, so it counts as gone. */
		HV_BUG_ON(r && r != -EBUSY && r != -EALREADY);
		if (i % 8 == 0) {
			HV_BUG_ON(hardware_suspend());
			r = hardware_resume();
			HV_BUG_ON(r && r != -EIO);
			sleeps++;
		}
		r = hardware_cpu_online(i % 4);
		HV_BUG_ON(r && r != -EIO && r != -EALREADY);
		if (r == -EIO)
			failures++;
		on_and_off++;
		nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void run_lives(uint64_t ms)
{
	pthread_t t[LIVES + 1];
	struct census c = { .all = 0 };
	unsigned int i;

	stop_writers = false;
	vf_hw.on_enable = fail_sometimes;
	for (i = 0; i < LIVES; i++)
		HV_BUG_ON(pthread_create(&t[i], NULL, life_thread, (void *)(uintptr_t)(i + 1)));
	HV_BUG_ON(pthread_create(&t[LIVES], NULL, power_thread, NULL));
	nanosleep(&(struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 },
		  NULL);
	stop_writers = true;
	for (i = 0; i <= LIVES; i++)
		pthread_join(t[i], NULL);
	vf_hw.on_enable = NULL;
	if (defect == COUNT_LEAKS)
		HV_BUG_ON(hardware_enable_all(&vf_vendor));
	HV_BUG_ON(hardware_usage_count() != 0);
	HV_BUG_ON(vm_for_each(count_vm, &c) || c.all);
	for (i = 0; i < VF_CPUS; i++)
		HV_BUG_ON(vf_hw.enabled[i]);
}

/* ---- main ---------------------------------------------------------------------------------------------- */

static struct reader reader[READERS + 1];
static struct cpu cpu[VCPUS];

/* Number of pages that a reader's copy has not in their last contents. */
static unsigned int run_round(void)
{
	pthread_t writer[VCPUS + 4], rt[READERS + 1];
	unsigned int i, n = 0, lost = 0;

	stop_writers = false;
	stop_all = false;
	for (i = 0; i < VCPUS; i++)
		HV_BUG_ON(pthread_create(&writer[n++], NULL, vcpu_thread, &cpu[i]));
	HV_BUG_ON(pthread_create(&writer[n++], NULL, updater, NULL));
	HV_BUG_ON(pthread_create(&writer[n++], NULL, invalidator, (void *)1));
	HV_BUG_ON(pthread_create(&writer[n++], NULL, invalidator, (void *)2));
	HV_BUG_ON(pthread_create(&writer[n++], NULL, hotplug, NULL));
	for (i = 0; i <= READERS; i++)
		HV_BUG_ON(pthread_create(&rt[i], NULL, reader_thread, &reader[i]));
	nanosleep(&(struct timespec){ .tv_nsec = ROUND_MS * 1000000L }, NULL);
	stop_writers = true;
	for (i = 0; i < n; i++)
		pthread_join(writer[i], NULL);
	stop_all = true;
	for (i = 0; i <= READERS; i++) {
		pthread_join(rt[i], NULL);
		read_log(&reader[i]);
		lost += missing(&reader[i]);
	}
	HV_BUG_ON(vm->invalidate_in_progress || vm->mn_active_invalidate_count);
	set_slot_2(0, 0, 0);
	return lost;
}

int main(int argc, char **argv)
{
	unsigned long ms = argc > 1 ? strtoul(argv[1], NULL, 0) : 3000;
	uint64_t end = hv_clock_ns() + ms * 4 / 5 * HV_NSEC_PER_MSEC;
	unsigned int i, rounds = 0, lost = 0;

	if (argc > 2) {
		for (i = 0; i < sizeof(defects) / sizeof(defects[0]); i++)
			if (!strcmp(argv[2], defects[i]))
				defect = (enum defect)i;
		if (defect == SOUND) {
			fprintf(stderr, "stress_vm: no such defect: %s\n", argv[2]);
			return 2;
		}
	}

	printf("1..1\n");
	vf_start();
	vm = vf_vm_new("stress");
	vf_mmu.on_rearm = on_rearm;
	vf_mmu.on_unmap = on_unmap;
	vf_mmu.on_flush = on_flush;
	vf_mmu.on_commit = on_commit;
	HV_BUG_ON(vf_slot(vm, 1, 0, (uint64_t)FIXED << 12, HVA0, HV_MEM_LOG_DIRTY_PAGES));
	for (i = 0; i < READERS; i++)
		HV_BUG_ON(dirty_cursor_start(vm, &reader[i].cursor));
	reader[READERS].bitmap = true;
	for (i = 0; i < VCPUS; i++) {
		cpu[i].rng.s = i + 1;
		HV_BUG_ON(vm_add_vcpu(vm, i, &cpu[i].vcpu));
	}
	do {
		lost += run_round();
		rounds++;
	} while (!lost && hv_clock_ns() < end);
	for (i = 0; i < READERS; i++)
		HV_BUG_ON(dirty_cursor_stop(vm));
	HV_BUG_ON(hardware_usage_count() != 1);
	vm_put(vm);
	HV_BUG_ON(hardware_usage_count() != 0);
	vf_mmu = (struct vf_mmu){ .arch_live = 0 };
	run_lives(lost ? 0 : ms / 5);
	vf_end();
	printf("# %llu VMs created, %llu failures, %llu CPUs off and on, %llu suspensions\n",
	       (unsigned long long)lives, (unsigned long long)failures,
	       (unsigned long long)on_and_off, (unsigned long long)sleeps);
	printf("# %llu writes, %llu faults, %llu retries, %llu TLB flushes, %llu CPU moves\n",
	       (unsigned long long)writes, (unsigned long long)faults, (unsigned long long)retries,
	       (unsigned long long)flushes, (unsigned long long)moves);
	printf("# %llu slot updates, %llu invalidations, %llu log reads\n",
	       (unsigned long long)updates, (unsigned long long)invalidations,
	       (unsigned long long)reads);
	printf("%sok 1 - stress_vm, %u rounds: %u pages missing from a reader's copy\n",
	       lost ? "not " : "", rounds, lost);
	return lost ? 1 : 0;
}
