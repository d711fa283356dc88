/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memslot updates, lookups and dirty logs cost, and how that grows; beside
 * KVM's ioctls where /dev/kvm opens. The MMU above is a stand-in that does nothing, so
 * the figures are of hv/vm alone; KVM's contain its MMU, with nothing mapped.
 *
 *	bench_memslot [milliseconds per figure [readers: those figures only]]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/hv.h"
#include "hv/vm/dirty.h"
#include "tests/lib/vm_fake.h"

#define MIB	 (1ULL << 20)
#define GIB	 (1ULL << 30)
#define SPACING	 16384ULL /* of slots of one page, so that there is room to move */
#define SAMPLES	 9

static uint64_t slice_ns = 30 * HV_NSEC_PER_MSEC;
static hv_hva_t host;
static struct hv_vm *vm, *other;
static int kvm = -1, kvm_vm = -1;

static cpu_set_t may; /* of the process, before any pin() */

/* To its n-th CPU; false: there are not so many. */
static bool pin(int n)
{
	cpu_set_t one;
	int cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &may) || n-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		return !pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	}
	return false;
}

static _Atomic bool stop;

/* ---- the operations, here and there -------------------------------------------------------- */

struct slot_req {
	uint32_t id, flags;
	uint64_t gpa, size, hva;
};

static int set_hv(const struct slot_req *r)
{
	return vf_slot(vm, r->id, r->gpa, r->size, r->hva, r->flags);
}

static int set_kvm(const struct slot_req *r)
{
	struct kvm_userspace_memory_region k = {
		.slot = r->id,
		.flags = r->flags,
		.guest_phys_addr = r->gpa,
		.memory_size = r->size,
		.userspace_addr = r->hva,
	};

	return ioctl(kvm_vm, KVM_SET_USER_MEMORY_REGION, &k) ? -errno : 0;
}

typedef int (*set_fn)(const struct slot_req *r);

static struct slot_req slot_of(uint32_t id)
{
	return (struct slot_req){
		.id = id, .gpa = id * SPACING, .size = 4096, .hva = host + id * 4096ULL,
	};
}

static int op_create_delete(set_fn set, uint32_t id, unsigned int i)
{
	struct slot_req r = slot_of(id);
	int err;

	r.size = 0;
	err = set(&r);
	r.size = 4096;
	return err ? err : set(&r);
}

static int op_move(set_fn set, uint32_t id, unsigned int i)
{
	struct slot_req r = slot_of(id);
	int err;

	r.gpa += 4096;
	err = set(&r);
	r.gpa -= 4096;
	return err ? err : set(&r);
}

static int op_flags(set_fn set, uint32_t id, unsigned int i)
{
	struct slot_req r = slot_of(id);
	int err;

	r.flags = HV_MEM_LOG_DIRTY_PAGES;
	err = set(&r);
	r.flags = 0;
	return err ? err : set(&r);
}

static const struct {
	const char *name;
	int (*fn)(set_fn set, uint32_t id, unsigned int i);
} ops[] = {
	{ "create+delete", op_create_delete },
	{ "move and back", op_move },
	{ "flags on and off", op_flags },
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return v[n / 2];
}

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* The best of many short slices: what the neighbours of a shared machine take is in the others. */
struct cost {
	double wall, cpu; /* nanoseconds */
};

#define SLICES (8 * SAMPLES)

/* One operation on random slots of n, the q-th slice of all by time. */
static struct cost time_op(int op, set_fn set, unsigned int n, int q)
{
	static double wall[SLICES], cpu_of[SLICES];
	struct vf_rng rng = { .s = 99 };
	int s;

	for (s = 0; s < SLICES; s++) {
		uint64_t begin = hv_clock_ns(), now;
		double cpu = cpu_ns();
		unsigned int i = 0;

		do {
			if (ops[op].fn(set, (uint32_t)(vf_rand(&rng) % n), i++)) {
				printf("# %s failed\n", ops[op].name);
				exit(1);
			}
			now = hv_clock_ns();
		} while (now - begin < slice_ns / SAMPLES);
		wall[s] = (double)(now - begin) / i;
		cpu_of[s] = (cpu_ns() - cpu) / i;
	}
	qsort(wall, SLICES, sizeof(*wall), by_value);
	qsort(cpu_of, SLICES, sizeof(*cpu_of), by_value);
	return (struct cost){ wall[q], cpu_of[q] };
}

static void fill(set_fn set, unsigned int from, unsigned int to)
{
	for (; from < to; from++) {
		struct slot_req r = slot_of(from);
		int err = set(&r);

		if (err) {
			printf("# slot %u: %s\n", from, strerror(-err));
			exit(1);
		}
	}
}

#define NOPS ((int)(sizeof(ops) / sizeof(ops[0])))

static void print_op(const char *name, const struct cost *c)
{
	printf("# %-18s %10.2f %10.2f %10.2f %12.2fx %12.2fx", name, c[0].wall / 1e3, c[1].wall / 1e3,
	       c[2].wall / 1e3, c[2].wall / c[0].wall, c[2].cpu / c[0].cpu);
}

/* Somebody who looks slots up on another CPU, and whom each grace period has to hear of. */
static void *one_reader(void *arg)
{
	struct vf_rng rng = { .s = 7 };
	unsigned int n = *(unsigned int *)arg;

	pin(1);
	hv_rcu_register_thread();
	while (!stop) {
		hv_rcu_read_lock();
		hv_vm_gfn_to_memslot(vm, vf_rand(&rng) % (n * SPACING) >> 12);
		hv_rcu_read_unlock();
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void time_ops_beside_reader(unsigned int n, struct cost cost[NOPS][3], int at)
{
	pthread_t t;
	int op;

	stop = false;
	if (CPU_COUNT(&may) < 2 || !pin(0) || pthread_create(&t, NULL, one_reader, &n))
		return;
	for (op = 0; op < NOPS; op++)
		cost[op][at] = time_op(op, set_hv, n, SLICES / 2);
	stop = true;
	pthread_join(t, NULL);
	sched_setaffinity(0, sizeof(may), &may);
}

static void bench_updates(void)
{
	static const unsigned int sizes[] = { 10, 1000, 32000 };
	static struct cost hv[NOPS][3], beside[NOPS][3], kv[NOPS][3];
	unsigned int have = 0;
	int i, op;

	for (i = 0; i < 3; i++) {
		fill(set_hv, have, sizes[i]);
		if (kvm_vm >= 0)
			fill(set_kvm, have, sizes[i]);
		have = sizes[i];
		for (op = 0; op < NOPS; op++) {
			hv[op][i] = time_op(op, set_hv, sizes[i], 0);
			if (kvm_vm >= 0)
				kv[op][i] = time_op(op, set_kvm, sizes[i], 0);
		}
		time_ops_beside_reader(sizes[i], beside, i);
	}
	printf("# two updates each, one page per slot; microseconds, best slice (beside a reader: median)\n"
	       "# (nobody has looked at slots lately; then beside a reader, who is waited for)\n");
	printf("# %-18s %10s %10s %10s %13s %13s\n", "", "10 slots", "1,000", "32,000", "32,000 / 10",
	       "by CPU time");
	for (op = 0; op < NOPS; op++) {
		print_op(ops[op].name, hv[op]);
		printf("\n");
		print_op("  beside a reader", beside[op]);
		printf("\n");
		if (kvm_vm < 0)
			continue;
		print_op("  KVM", kv[op]);
		printf("   over hv: %.1fx %.1fx %.1fx\n", kv[op][0].wall / hv[op][0].wall,
		       kv[op][1].wall / hv[op][1].wall, kv[op][2].wall / hv[op][2].wall);
	}
}

/* ---- readers --------------------------------------------------------------------------------- */

/*
 * A reader on one CPU, updates on another: what do its lookups lose? Beside updates of its
 * own VM it loses to grace periods and to lines that an update writes and it reads; beside those
 * of another VM to grace periods alone; beside a pointer that is published and a counter of
 * its own that is looked at, without anything else, to what no scheme can do without.
 */
static _Atomic bool updating;
static _Atomic uint64_t updates;

static struct {
	_Atomic uint64_t published __attribute__((aligned(64)));
	_Atomic uint64_t section __attribute__((aligned(64)));
	uint64_t end __attribute__((aligned(64)));
} bare;

struct beside {
	const char *what;
	struct hv_vm *vm; /* whose slots are updated; NULL: `bare` is */
	unsigned int pause_ns;
};

static int set_other(const struct slot_req *r)
{
	return vf_slot(other, r->id, r->gpa, r->size, r->hva, r->flags);
}

static void update_bare(void)
{
	atomic_fetch_add_explicit(&bare.published, 1, memory_order_seq_cst);
	bare.end += atomic_load_explicit(&bare.section, memory_order_acquire);
}

static void wait_ns(unsigned int ns)
{
	uint64_t begin = hv_clock_ns();

	while (hv_clock_ns() - begin < ns)
		__builtin_ia32_pause();
}

static void *updater(void *arg)
{
	const struct beside *b = arg;
	struct vf_rng rng = { .s = 3 };
	unsigned int i = 0, spin;

	pin(1);
	hv_rcu_register_thread();
	while (!stop) {
		if (!updating) { /* busy all the same: a neighbour on the core costs, too */
			for (spin = 0; spin < 1000; spin++)
				vf_rand(&rng);
		} else if (b->vm) {
			op_flags(b->vm == vm ? set_hv : set_other, 77, i++);
			updates += 2;
		} else {
			update_bare();
			updates++;
		}
		if (b->pause_ns)
			wait_ns(b->pause_ns);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

/* Lookups per second of this thread's own CPU time, which a preemption does not count in. */
static double lookups(uint64_t ns, bool in_bare)
{
	struct vf_rng rng = { .s = 5 };
	uint64_t begin = hv_clock_ns(), n = 0, found = 0, start = (uint64_t)cpu_ns();
	int i;

	do {
		for (i = 0; i < 256; i++, n++) {
			hv_rcu_read_lock();
			if (in_bare) {
				atomic_store_explicit(&bare.section, n, memory_order_release);
				found += atomic_load_explicit(&bare.published, memory_order_acquire) + 1;
			}
			found += hv_vm_gfn_to_memslot(vm, vf_rand(&rng) % (32000 * SPACING) >> 12) !=
				 NULL;
			hv_rcu_read_unlock();
		}
	} while (hv_clock_ns() - begin < ns);
	if (!found)
		printf("# nothing was found\n");
	return (double)n * 1e9 / (cpu_ns() - (double)start);
}

/* Quiet and busy slices in turn, so that what else the host does falls on both. */
static void bench_readers(const struct beside *b)
{
	double quiet[2 * SAMPLES], busy[2 * SAMPLES], q, u, rate;
	uint64_t begin, count = 0, took = 0;
	pthread_t t;
	int s;

	stop = false;
	updating = false;
	if (pthread_create(&t, NULL, updater, (void *)b))
		exit(1);
	for (s = 0; s < 2 * SAMPLES; s++) {
		updating = false;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		quiet[s] = lookups(slice_ns, !b->vm);
		updating = true;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		begin = hv_clock_ns();
		count -= updates;
		busy[s] = lookups(slice_ns, !b->vm);
		count += updates;
		took += hv_clock_ns() - begin;
	}
	stop = true;
	pthread_join(t, NULL);
	q = median(quiet, 2 * SAMPLES);
	u = median(busy, 2 * SAMPLES);
	rate = (double)count * 1e9 / (double)took;
	printf("# %-34s %9.0f updates/s: lookup %4.0f ns, quiet %4.0f ns; lost %5.1f %%, %4.0f ns for each update\n",
	       b->what, rate, 1e9 / u, 1e9 / q, (1 - u / q) * 100, (1 - u / q) * 1e9 / rate);
}

static void bench_all_readers(void)
{
	const struct beside all[] = {
		{ "slots, one after the other", vm, 0 },
		{ "another VM's slots", other, 0 },
		{ "a bare pointer and counter", NULL, 0 },
		{ "the same, 300,000/s", NULL, 3300 },
		{ "slots, a pair per 10 us", vm, 10000 },
		{ "slots, a pair per 100 us", vm, 100000 },
		{ "slots, a pair per 0.5 ms", vm, 500000 },
	};
	size_t i;

	if (CPU_COUNT(&may) < 2 || !pin(0)) {
		printf("# one CPU: no figures of readers beside updates\n");
		return;
	}
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		bench_readers(&all[i]);
	sched_setaffinity(0, sizeof(may), &may);
}

/* ---- dirty logs ----------------------------------------------------------------------------------- */

#define LOG_PAGES (GIB >> 12)
#define LOG_GPA	  (1ULL << 40)

static void mark_some(uint64_t step)
{
	struct hv_memslot *slot;
	uint64_t i;

	hv_rcu_read_lock();
	slot = hv_vm_gfn_to_memslot(vm, LOG_GPA >> 12);
	for (i = 0; i < LOG_PAGES; i += step)
		vm_mark_page_dirty(vm, NULL, slot, slot->base_gfn + i);
	hv_rcu_read_unlock();
}

static uint64_t read_cursor(uint64_t since, uint64_t *cursor)
{
	static __thread struct hv_dirty_range out[4096];
	uint64_t resume = 0, pages = 0;
	int i, n;

	do {
		n = dirty_cursor_read(vm, since, cursor, &resume, out, 4096);
		for (i = 0; i < n; i++)
			pages += out[i].pages;
	} while (n >= 0 && resume != HV_DIRTYLOG_DONE);
	return pages;
}

static double time_get(uint64_t step, uint64_t *bitmap)
{
	double sample[SAMPLES];
	int s;

	for (s = 0; s < SAMPLES; s++) {
		uint64_t begin;

		if (step)
			mark_some(step);
		begin = hv_clock_ns();
		if (dirty_bitmap_get(vm, 32001, bitmap))
			exit(1);
		sample[s] = (double)(hv_clock_ns() - begin);
	}
	return median(sample, SAMPLES);
}

static double time_cursors(uint64_t step, unsigned int readers)
{
	uint64_t cursor[3], begin;
	double sample[SAMPLES];
	unsigned int r;
	int s;

	for (r = 0; r < 3; r++)
		read_cursor(0, &cursor[r]);
	for (s = 0; s < SAMPLES; s++) {
		if (step)
			mark_some(step);
		begin = hv_clock_ns();
		for (r = 0; r < readers; r++)
			read_cursor(cursor[r], &cursor[r]);
		sample[s] = (double)(hv_clock_ns() - begin);
	}
	return median(sample, SAMPLES);
}

static double time_marks(void)
{
	uint64_t begin = hv_clock_ns();

	mark_some(1);
	return (double)(hv_clock_ns() - begin) / LOG_PAGES;
}

static double time_kvm_get(uint64_t *bitmap)
{
	struct kvm_dirty_log log = { .slot = 32001, .dirty_bitmap = bitmap };
	double sample[SAMPLES];
	int s;

	for (s = 0; s < SAMPLES; s++) {
		uint64_t begin = hv_clock_ns();

		if (ioctl(kvm_vm, KVM_GET_DIRTY_LOG, &log))
			return 0;
		sample[s] = (double)(hv_clock_ns() - begin);
	}
	return median(sample, SAMPLES);
}

/* With manual protection and all bits set at first, get and clear meet a GiB of set bits. */
struct manual_cost {
	double get, clear;
};

static struct manual_cost time_manual_hv(uint64_t *bitmap)
{
	struct slot_req r = { .id = 32002, .gpa = LOG_GPA + GIB, .size = GIB, .hva = host };
	double get[SAMPLES], clear[SAMPLES];
	int s;

	for (s = 0; s < SAMPLES; s++) {
		uint64_t t0, t1;

		r.flags = HV_MEM_LOG_DIRTY_PAGES;
		if (dirty_bitmap_set_mode(vm, HV_DIRTY_MANUAL_PROTECT | HV_DIRTY_INITIALLY_ALL_SET) ||
		    set_hv(&r))
			exit(1);
		t0 = hv_clock_ns();
		if (dirty_bitmap_get(vm, r.id, bitmap))
			exit(1);
		t1 = hv_clock_ns();
		if (dirty_bitmap_clear(vm, r.id, 0, LOG_PAGES, bitmap))
			exit(1);
		clear[s] = (double)(hv_clock_ns() - t1);
		get[s] = (double)(t1 - t0);
		if (dirty_bitmap_set_mode(vm, 0) || vf_slot(vm, r.id, 0, 0, 0, 0))
			exit(1);
	}
	return (struct manual_cost){ median(get, SAMPLES), median(clear, SAMPLES) };
}

static bool time_manual_kvm(uint64_t *bitmap, struct manual_cost *out)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args = { KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET },
	};
	struct kvm_clear_dirty_log c = { .slot = 32002, .num_pages = LOG_PAGES, .dirty_bitmap = bitmap };
	struct kvm_dirty_log log = { .slot = 32002, .dirty_bitmap = bitmap };
	struct slot_req r = { .id = 32002, .gpa = LOG_GPA + GIB, .size = GIB, .hva = host };
	double get[SAMPLES], clear[SAMPLES];
	int s;

	if (kvm_vm < 0 || ioctl(kvm_vm, KVM_ENABLE_CAP, &cap))
		return false;
	for (s = 0; s < SAMPLES; s++) {
		uint64_t t0, t1;

		r.size = GIB;
		r.flags = HV_MEM_LOG_DIRTY_PAGES;
		if (set_kvm(&r))
			return false;
		t0 = hv_clock_ns();
		if (ioctl(kvm_vm, KVM_GET_DIRTY_LOG, &log))
			return false;
		t1 = hv_clock_ns();
		if (ioctl(kvm_vm, KVM_CLEAR_DIRTY_LOG, &c))
			return false;
		clear[s] = (double)(hv_clock_ns() - t1);
		get[s] = (double)(t1 - t0);
		r.size = 0;
		if (set_kvm(&r))
			return false;
	}
	*out = (struct manual_cost){ median(get, SAMPLES), median(clear, SAMPLES) };
	return true;
}

static void bench_manual(uint64_t *bitmap)
{
	struct manual_cost h = time_manual_hv(bitmap), k;

	printf("# 1 GiB initially all set: get %.2f us, clear all %.2f us\n", h.get / 1e3, h.clear / 1e3);
	if (time_manual_kvm(bitmap, &k))
		printf("#   KVM_GET_DIRTY_LOG %.2f us (%.1fx of hv), KVM_CLEAR_DIRTY_LOG %.2f us (%.1fx)\n",
		       k.get / 1e3, k.get / h.get, k.clear / 1e3, k.clear / h.clear);
}

static void bench_logs(void)
{
	static const struct {
		const char *name;
		uint64_t step;
	} fill_of[] = { { "clean", 0 }, { "1 % dirty", 100 }, { "all dirty", 1 } };
	uint64_t *bitmap = calloc(LOG_PAGES / 64, 8), cursor;
	struct slot_req r = {
		.id = 32001, .flags = HV_MEM_LOG_DIRTY_PAGES, .gpa = LOG_GPA, .size = GIB, .hva = host,
	};
	unsigned int i, id;
	double first;

	/* One slot is all there is: a reader's walk over 32,000 others is not the log's cost. */
	for (id = 0; id < 32000; id++) {
		struct slot_req d = { .id = id };

		if (set_hv(&d))
			exit(1);
	}
	if (!bitmap || set_hv(&r) || dirty_cursor_start(vm, &cursor))
		exit(1);
	first = time_marks();
	printf("# first mark of a page, bitmap and stamps: %.1f ns; again: %.1f ns\n", first,
	       time_marks());
	time_get(0, bitmap);
	for (i = 0; i < 3; i++)
		printf("# 1 GiB %-10s get+clear %10.2f us; cursor read %10.2f us; three readers %10.2f us\n",
		       fill_of[i].name, time_get(fill_of[i].step, bitmap) / 1e3,
		       time_cursors(fill_of[i].step, 1) / 1e3, time_cursors(fill_of[i].step, 3) / 1e3);
	if (kvm_vm >= 0 && !set_kvm(&r)) {
		double clean = time_get(0, bitmap), k = time_kvm_get(bitmap);

		printf("# 1 GiB clean      KVM_GET_DIRTY_LOG %.2f us (%.1fx of hv)\n", k / 1e3, k / clean);
	}
	dirty_cursor_stop(vm);
	bench_manual(bitmap);
	free(bitmap);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		slice_ns = strtoul(argv[1], NULL, 0) * HV_NSEC_PER_MSEC;
	host = (uintptr_t)mmap(NULL, GIB, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if ((void *)host == MAP_FAILED)
		return 1;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm >= 0)
		kvm_vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (kvm_vm < 0)
		printf("# /dev/kvm does not open: no figures of KVM\n");
	if (sched_getaffinity(0, sizeof(may), &may))
		return 1;
	vf_start();
	vm = vf_vm_new("bench");
	other = vf_vm_new("other");
	fill(set_other, 0, 100);
#ifdef HV_DEBUG
	printf("# built with HV_DEBUG: the lock validator is in these figures\n");
#endif
	if (argc > 2)
		fill(set_hv, 0, 32000);
	else
		bench_updates();
	bench_all_readers();
	if (argc <= 2)
		bench_logs();
	vm_put(other);
	vm_put(vm);
	vf_end();
	printf("1..1\nok 1 - bench_memslot\n");
	return 0;
}
