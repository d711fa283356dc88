/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The races of hv/vm, each led by hand through the interleaving that its guard is
 * there for. Built once with all guards (no race may be lost) and once for each
 * guard without it (RACE names the race, which must then be lost: a test that cannot
 * fail proves nothing). Every race runs in a child, since losing may mean an abort
 * or a deadlock.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/mem/region.h"
#include "hv/vm/dirty.h"
#include "hv/vm/notifier.h"
#include "hv/vm/vm_internal.h"
#include "tests/lib/vm_fake.h"

#define MIB  (1ULL << 20)
#define HVA0 0x7f0000000000ULL
#define DEADLOCK_SECONDS 20

enum { HELD = 0, LOST = 1 };

static struct hv_vm *vm;
static void (*point)(const char *where);

void hv_test_point(const char *where)
{
	if (point)
		point(where);
}

static void nap(long ms)
{
	struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

/* Runs fn on a registered thread and waits for it. */
struct call {
	void (*fn)(void);
	pthread_t thread;
	_Atomic bool done;
};

static void *call_thread(void *arg)
{
	struct call *c = arg;

	hv_rcu_register_thread();
	c->fn();
	c->done = true;
	hv_rcu_unregister_thread();
	return NULL;
}

static void call_start(struct call *c, void (*fn)(void))
{
	c->fn = fn;
	c->done = false;
	HV_BUG_ON(pthread_create(&c->thread, NULL, call_thread, c));
}

static void call_and_wait(void (*fn)(void))
{
	struct call c;

	call_start(&c, fn);
	pthread_join(c.thread, NULL);
}

/* ---- an invalidation's start and end see two sets of memslots -------------------------------- */

static void create_slot_2(void)
{
	HV_BUG_ON(vf_slot(vm, 2, 64 * MIB, MIB, HVA0 + 8 * MIB, 0));
}

static int race_mn_pair(void)
{
	struct hv_mem_range r = {
		.start = HVA0 + 8 * MIB, .end = HVA0 + 9 * MIB, .blockable = true,
	};
	struct call c;

	vm = vf_vm_new("mn");
	HV_BUG_ON(notifier_invalidate_start(vm, &r)); /* no slot there: no lock taken */
	call_start(&c, create_slot_2);
	nap(50);
	/* If the slot has come, this end takes mmu_lock and ends what never began: an abort. */
	notifier_invalidate_end(vm, &r);
	pthread_join(c.thread, NULL);
	return vm->invalidate_in_progress ? LOST : HELD;
}

/* ---- a stream of invalidations keeps an update waiting ------------------------------------------ */

#define STREAMS 6

static _Atomic bool stream_stop;
static _Atomic unsigned int streaming;

/* Pairs of a millisecond, one after the other: with six of them, one is always under way. */
static void invalidations(void)
{
	struct hv_mem_range r = {
		.start = HVA0 + 32 * MIB, .end = HVA0 + 33 * MIB, .blockable = true,
	};

	streaming++;
	while (!stream_stop) {
		HV_BUG_ON(notifier_invalidate_start(vm, &r));
		nap(1);
		notifier_invalidate_end(vm, &r);
	}
}

static int race_mn_starvation(void)
{
	struct call stream[STREAMS], update;
	int i, held;

	vm = vf_vm_new("mn");
	for (i = 0; i < STREAMS; i++)
		call_start(&stream[i], invalidations);
	while (streaming < STREAMS)
		sched_yield();
	call_start(&update, create_slot_2);
	for (i = 0; i < 300 && !update.done; i++)
		nap(10);
	held = update.done;
	stream_stop = true;
	for (i = 0; i < STREAMS; i++)
		pthread_join(stream[i].thread, NULL);
	pthread_join(update.thread, NULL);
	return held ? HELD : LOST;
}

/* ---- an MMIO translation is cached with the generation that makes it stale -------------------- */

static _Atomic uint64_t cached; /* generation + 1, 0: not cached */
static _Atomic bool looked;

/* A fault as the engine's first form had it: it follows the pointer twice. */
static void mmio_fault(void)
{
	struct hv_memslots *slots;
	uint64_t generation;

	hv_rcu_read_lock();
	slots = hv_vm_memslots(vm, 0);
	HV_BUG_ON(memslot_find(slots, 5)); /* no memory: MMIO */
	looked = true;
	while (hv_vm_memslots(vm, 0) == slots)
		sched_yield();
	generation = hv_memslots_generation(hv_vm_memslots(vm, 0));
	if (!(generation & HV_MEMSLOT_GEN_UPDATE_IN_PROGRESS))
		cached = generation + 1;
	hv_rcu_read_unlock();
}

static int race_generation_window(void)
{
	struct call c;

	vm = vf_vm_new("gen");
	call_start(&c, mmio_fault);
	while (!looked)
		sched_yield();
	HV_BUG_ON(vf_slot(vm, 1, 0, MIB, HVA0, 0));
	pthread_join(c.thread, NULL);
	/* The entry is found at the next access and believed, although there is memory now. */
	return cached && cached - 1 == vf_generation(vm, 0) ? LOST : HELD;
}

/* ---- slots_arch_lock after an update that failed ------------------------------------------------ */

static int race_arch_lock(void)
{
	vm = vf_vm_new("arch");
	vf_mmu.fail_prepare = -ENOMEM;
	HV_BUG_ON(vf_slot(vm, 1, 0, MIB, HVA0, 0) != -ENOMEM);
	/* The validator aborts here, or without it this waits for ever. */
	HV_BUG_ON(vf_slot(vm, 1, 0, MIB, HVA0, 0));
	vf_mmu.fail_prepare = -ENOMEM;
	HV_BUG_ON(vf_slot(vm, 1, 0, 0, 0, 0) != -ENOMEM);
	HV_BUG_ON(vf_slot(vm, 1, 0, 0, 0, 0));
	return HELD;
}

/* ---- a CPU that cannot be enabled ------------------------------------------------------------------ */

static int race_usage_count(void)
{
	vf_hw.fail_cpu = 2;
	HV_BUG_ON(hardware_enable_all(&vf_vendor) != -EIO);
	vf_hw.fail_cpu = -1;
	if (hardware_usage_count())
		return LOST;
	/* With the count off by one, this VM would run on CPUs that nobody has enabled. */
	vm = vf_vm_new("next");
	return hardware_cpu_enabled(0) && hardware_cpu_enabled(3) ? HELD : LOST;
}

static int race_rollback(void)
{
	vf_hw.fail_cpu = 2;
	HV_BUG_ON(hardware_enable_all(&vf_vendor) != -EIO);
	return vf_hw.enabled[0] || vf_hw.enabled[1] || hardware_cpu_enabled(0) ? LOST : HELD;
}

/* ---- a vCPU is loaded on a CPU that goes offline ------------------------------------------------------ */

static struct call offline;

static void offline_cpu_0(void)
{
	HV_BUG_ON(hardware_cpu_offline(0));
}

/* Pinned, but vcpu->cpu does not say so yet: the offline begins now. */
static void start_offline(const char *where)
{
	if (strcmp(where, "load: pinned"))
		return;
	point = NULL;
	call_start(&offline, offline_cpu_0);
	while (hardware_cpu_enabled(0))
		sched_yield();
	nap(50);
}

static int race_cpu_recheck(void)
{
	struct hv_vcpu *vcpu;
	int cpu, i;

	vm = vf_vm_new("cpu");
	HV_BUG_ON(vm_add_vcpu(vm, 0, &vcpu));
	point = start_offline;
	cpu = hardware_vcpu_load(vcpu, 0);
	HV_BUG_ON(cpu < 0);
	/* The run loop would go on for long: it has not been told to move. */
	for (i = 0; i < 200 && !offline.done && !vcpu_request_pending(vcpu); i++)
		nap(5);
	if (!offline.done && !vcpu_request_pending(vcpu))
		return LOST;
	hardware_vcpu_put(vcpu);
	pthread_join(offline.thread, NULL);
	return cpu == 0 ? LOST : HELD;
}

/* ---- the cursor log: a mark that a read overtakes ------------------------------------------------------- */

static uint64_t cursor;
static bool found;

static void read_log(void)
{
	struct hv_dirty_range out[8];
	uint64_t resume = 0;
	int i, n = dirty_cursor_read(vm, cursor, &cursor, &resume, out, 8);

	HV_BUG_ON(n < 0);
	for (i = 0; i < n; i++)
		found |= out[i].gpa <= 5 * 4096 && 5 * 4096 < out[i].gpa + out[i].pages * 4096;
}

static void mark_page_5(void)
{
	struct hv_memslot *s;

	hv_rcu_read_lock();
	s = hv_vm_gfn_to_memslot(vm, 5);
	vm_mark_page_dirty(vm, NULL, s, 5);
	hv_rcu_read_unlock();
}

static void log_vm(void)
{
	vm = vf_vm_new("log");
	HV_BUG_ON(vf_slot(vm, 1, 0, MIB, HVA0, 0));
	HV_BUG_ON(dirty_cursor_start(vm, &cursor));
	found = false;
}

static void read_in_between(const char *where)
{
	if (strcmp(where, "mark: epoch read"))
		return;
	point = NULL;
	call_and_wait(read_log);
}

static int race_epoch_recheck(void)
{
	log_vm();
	point = read_in_between;
	mark_page_5();
	HV_BUG_ON(found); /* the read came before the mark */
	read_log();
	return found ? HELD : LOST;
}

/* The slow marker has an old epoch; meanwhile a new one begins and another marks the page. */
static void overtake(const char *where)
{
	static int stage;

	if (stage == 0 && !strcmp(where, "mark: epoch read")) {
		stage = 1;
		call_and_wait(read_log);
		point = NULL;
		call_and_wait(mark_page_5);
		point = overtake;
	} else if (stage == 1 && !strcmp(where, "mark: stamped")) {
		stage = 2;
		found = false;
		call_and_wait(read_log);
	}
}

static int race_stamp_order(void)
{
	log_vm();
	point = overtake;
	mark_page_5();
	/* The other mark was complete before that last read began. */
	return found ? HELD : LOST;
}

/* ---- a TLB flush that does not wait -------------------------------------------------------------------------- */

static void flush_tlbs(void)
{
	vm_flush_remote_tlbs(vm);
}

static int race_flush_ack(void)
{
	struct hv_vcpu *vcpu;
	struct call c;
	bool early;

	vm = vf_vm_new("tlb");
	HV_BUG_ON(vm_add_vcpu(vm, 0, &vcpu));
	HV_BUG_ON(!vcpu_enter_guest_mode(vcpu));
	call_start(&c, flush_tlbs);
	nap(50);
	early = c.done; /* while the guest can still use what was flushed */
	vcpu_exit_guest_mode(vcpu);
	pthread_join(c.thread, NULL);
	return early ? LOST : HELD;
}

/* ---- a device's write is marked before its bytes are there ---------------------------------------------------- */

static uint8_t page_copy;
static uint8_t ram[MIB] __attribute__((aligned(4096)));

/* What a migration does between: reads the log and copies what it names. */
static void migrate(void)
{
	read_log();
	if (found)
		page_copy = ram[5 * 4096];
	found = false;
}

static void migrate_in_between(const char *where)
{
	if (strcmp(where, "write: between"))
		return;
	point = NULL;
	call_and_wait(migrate);
}

static int race_mark_after(void)
{
	uint8_t byte = 0x5a;

	vm = vf_vm_new("dma");
	HV_BUG_ON(vf_slot(vm, 1, 0, MIB, (uintptr_t)ram, 0));
	HV_BUG_ON(dirty_cursor_start(vm, &cursor));
	point = migrate_in_between;
	HV_BUG_ON(vm_write_guest(vm, 5 * 4096, &byte, 1));
	migrate();
	return page_copy == 0x5a ? HELD : LOST;
}

/* ---- runner --------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*fn)(void);
} races[] = {
	{ "mn_pair", race_mn_pair },
	{ "mn_starvation", race_mn_starvation },
	{ "generation_window", race_generation_window },
	{ "arch_lock", race_arch_lock },
	{ "usage_count", race_usage_count },
	{ "rollback", race_rollback },
	{ "cpu_recheck", race_cpu_recheck },
	{ "epoch_recheck", race_epoch_recheck },
	{ "stamp_order", race_stamp_order },
	{ "flush_ack", race_flush_ack },
	{ "mark_after", race_mark_after },
};

/* "held", or how it was lost. */
static const char *run_race(int (*fn)(void))
{
	pid_t pid;
	int status;

	fflush(stdout); /* or the child may print it again */
	pid = fork();
	HV_BUG_ON(pid < 0);
	if (!pid) {
		const struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		if (!freopen("/dev/null", "w", stderr))
			_exit(3);
		alarm(DEADLOCK_SECONDS);
		vf_start();
		_exit(fn());
	}
	HV_BUG_ON(waitpid(pid, &status, 0) != pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return "deadlock";
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		return "abort";
	if (WIFEXITED(status) && WEXITSTATUS(status) == LOST)
		return "seen";
	return WIFEXITED(status) && WEXITSTATUS(status) == HELD ? "held" : "broken";
}

int main(void)
{
	unsigned int i, n = sizeof(races) / sizeof(races[0]), bad = 0;

#ifdef RACE
	printf("1..1\n");
	for (i = 0; i < n; i++) {
		const char *how;
		bool lost;

		if (strcmp(races[i].name, RACE))
			continue;
		how = run_race(races[i].fn);
		lost = !strcmp(how, "seen") || !strcmp(how, "abort") || !strcmp(how, "deadlock");
		printf("%sok 1 - without its guard, %s is lost: %s\n", lost ? "" : "not ", RACE, how);
		bad += !lost;
	}
#else
	printf("1..%u\n", n);
	for (i = 0; i < n; i++) {
		const char *how = run_race(races[i].fn);
		bool held = !strcmp(how, "held");

		printf("%sok %u - %s: %s\n", held ? "" : "not ", i + 1, races[i].name, how);
		bad += !held;
	}
#endif
	return bad ? 1 : 0;
}
