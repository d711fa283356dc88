/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the MMU costs, each figure beside the host's own operation of the kind.
 *
 *	bench_mmu [faults: those figures only]
 *
 * Prints one line per figure; asserts nothing about time. A fault here is
 * mmu_page_fault() as an exit handler calls it, with the RCU section, and without
 * the cost of the exit itself, which is the processor's.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "hv/base/clock.h"
#include "hv/base/rcu.h"
#include "hv/mmu/mmu_internal.h"
#include "tests/lib/mmu_fixture.h"

#define MB (1ULL << 20)
#define GB (1ULL << 30)

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static double now_us(void)
{
	return (double)hv_clock_ns() / 1000.0;
}

static uint64_t cpu_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- the host's side ------------------------------------------------------------------- */

static double host_fault_ns;

static void host_minor_faults(void)
{
	size_t len = 256 * MB, i;
	volatile char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double t0, t1, t2;

	CHECK(p != MAP_FAILED);
	madvise((void *)p, len, MADV_NOHUGEPAGE);
	t0 = (double)cpu_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
	for (i = 0; i < len; i += 4096)
		p[i] = 1;
	t1 = (double)cpu_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
	munmap((void *)p, len);
	t2 = (double)cpu_ns(CLOCK_THREAD_CPUTIME_ID) / 1000;
	host_fault_ns = (t1 - t0) * 1000.0 / (double)(len / 4096);
	printf("host: minor fault %.0f ns; munmap of 1 GiB of 4K pages %.0f us (from 256 MiB)\n",
	       host_fault_ns, (t2 - t1) * 4);
}

/* ---- faults ------------------------------------------------------------------------------ */

struct fault_job {
	struct mx_vcpu *v;
	hv_gpa_t start, end, step;
	unsigned int cpu; /* to run on, of those the process may use */
	pthread_barrier_t *barrier;
	uint64_t cpu_ns; /* out: of the thread, in the faults */
	double from_us, to_us;
};

static void fault_one(struct mx_vcpu *v, hv_gpa_t gpa)
{
	struct hv_pf_request req = { .addr = gpa, .error_code = HV_PF_WRITE };
	int r;

	do {
		hv_rcu_read_lock();
		r = mmu_page_fault(v->vcpu, &req);
		hv_rcu_read_unlock();
	} while (r == HV_PF_RETRY);
	CHECK(r == HV_PF_FIXED);
}

static void fault_range(const struct fault_job *job)
{
	hv_gpa_t gpa;

	for (gpa = job->start; gpa < job->end; gpa += job->step)
		fault_one(job->v, gpa);
}

/* Threads that start together are not spread by the scheduler at once. */
static void pin(unsigned int n)
{
	cpu_set_t may, one;
	int cpu;

	CHECK(!sched_getaffinity(0, sizeof(may), &may));
	n %= (unsigned int)CPU_COUNT(&may);
	for (cpu = 0; !CPU_ISSET(cpu, &may) || n-- > 0; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
}

static void *fault_thread(void *arg)
{
	struct fault_job *job = arg;
	uint64_t start;

	pin(job->cpu);
	hv_rcu_register_thread();
	CHECK(mmu_reload(job->v->vcpu) == 0);
	pthread_barrier_wait(job->barrier);
	start = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	job->from_us = now_us();
	fault_range(job);
	job->to_us = now_us();
	job->cpu_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	hv_rcu_unregister_thread();
	return NULL;
}

/* A thread without any MMU: numbers, and where they say an entry of a table of its own. */
static void *bare_thread(void *arg)
{
	struct fault_job *job = arg;
	size_t n = (size_t)((job->end - job->start) / job->step), i;
	_Atomic uint64_t *table = calloc(n, sizeof(*table));
	uint64_t start, x = 88172645463325252ULL;
	int k;

	CHECK(table);
	pin(job->cpu);
	pthread_barrier_wait(job->barrier);
	start = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
	job->from_us = now_us();
	for (i = 0; i < n; i++) {
		uint64_t none = 0;

		for (k = 0; k < 20; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		atomic_compare_exchange_strong(&table[i], &none, x | 1);
	}
	job->to_us = now_us();
	job->cpu_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	free(table);
	return NULL;
}

struct fault_vm {
	struct mx *m;
	struct hv_region *r;
};

/* Ranges of n threads; `skew` pages of misalignment make leaves 4K. */
static struct fault_vm fault_vm_new(unsigned int n, uint64_t per_thread, uint64_t skew)
{
	struct mx_config config = { .kind = HW_EPT, .vcpus = 2 };
	struct fault_vm f = { .m = mx_new(&config) };

	f.r = mx_region(f.m, n * per_thread + (skew << 12), HV_BACKING_ANON);
	CHECK(mx_slot(f.m, 0, 0, n * per_thread, hv_region_hva(f.r) + (skew << 12), 0) == 0);
	return f;
}

static void fault_vm_free(struct fault_vm *f)
{
	mx_slot(f->m, 0, 0, 0, 0, 0);
	hv_region_destroy(f->r);
	mx_free(f->m);
}

enum fault_kind { ONE_VM, OWN_VM, BARE, NR_KINDS };

struct fault_case {
	uint64_t per_thread, step, skew;
};

/* ns per fault of each of n threads; *cpu: of CPU time. */
static double fault_rate(const struct fault_case *c, enum fault_kind kind, unsigned int n, double *cpu)
{
	struct fault_vm vm[2];
	struct fault_job job[2];
	pthread_barrier_t barrier;
	pthread_t t[2];
	double t0 = 1e18, t1 = 0;
	unsigned int i, vms = kind == ONE_VM ? 1 : kind == OWN_VM ? n : 0;

	for (i = 0; i < vms; i++)
		vm[i] = fault_vm_new(n / vms, c->per_thread, c->skew);
	pthread_barrier_init(&barrier, NULL, n);
	for (i = 0; i < n; i++) {
		uint64_t start = kind == ONE_VM ? i * c->per_thread : 0;

		job[i] = (struct fault_job){ .start = start, .end = start + c->per_thread,
					     .step = c->step, .cpu = i, .barrier = &barrier };
		if (vms)
			job[i].v = kind == ONE_VM ? &vm[0].m->v[i] : &vm[i].m->v[0];
		CHECK(pthread_create(&t[i], NULL, vms ? fault_thread : bare_thread, &job[i]) == 0);
	}
	*cpu = 0;
	for (i = 0; i < n; i++) {
		pthread_join(t[i], NULL);
		t0 = hv_min(t0, job[i].from_us);
		t1 = hv_max(t1, job[i].to_us);
		*cpu += (double)job[i].cpu_ns / (double)(c->per_thread / c->step) / n;
	}
	pthread_barrier_destroy(&barrier);
	for (i = 0; i < vms; i++)
		fault_vm_free(&vm[i]);
	return (t1 - t0) * 1000.0 / (double)(c->per_thread / c->step);
}

#define ROUNDS 5
#define SCALING_ROUNDS 25 /* short ones: some meet two idle CPUs */

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median_of(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

static double median(double *v)
{
	return median_of(v, ROUNDS);
}

struct scaling {
	double wall[2], cpu[2];		      /* the best, of one thread and of two */
	double rate[SCALING_ROUNDS], rate_cpu[SCALING_ROUNDS]; /* of two threads over one, in each round */
};

static void scaling_round(struct scaling *s, const struct fault_case *c, enum fault_kind kind, int i)
{
	double wall[2], cpu[2];
	unsigned int n;

	for (n = 0; n < 2; n++) {
		wall[n] = fault_rate(c, kind, n + 1, &cpu[n]);
		s->wall[n] = i ? hv_min(s->wall[n], wall[n]) : wall[n];
		s->cpu[n] = i ? hv_min(s->cpu[n], cpu[n]) : cpu[n];
	}
	s->rate[i] = 2 * wall[0] / wall[1];
	s->rate_cpu[i] = 2 * cpu[0] / cpu[1];
}

/*
 * Wall time tells the rate where there are two idle CPUs; CPU time of the threads is what is
 * left to compare where there are not. Two CPUs need not be twice one (they may share a core,
 * and caches they do share): what the engine loses is what two threads in one VM lose against two
 * that share nothing, in the same rounds, each in a VM of its own or without any.
 */
static void faults_of(const char *name, const struct fault_case *c)
{
	static const char *const kinds[NR_KINDS] = { "one VM", "a VM each", "no VM" };
	static struct scaling s[NR_KINDS];
	double wall[NR_KINDS], cpu[NR_KINDS];
	enum fault_kind k;
	int i;

	for (i = 0; i < SCALING_ROUNDS; i++)
		for (k = 0; k < NR_KINDS; k++)
			scaling_round(&s[k], c, k, i);
	printf("fault %s: %.0f ns of CPU time (%.2f of a host minor fault), %.0f ns; 2 threads: %.0f ns "
	       "of CPU time, %.0f ns\n",
	       name, s[0].cpu[0], s[0].cpu[0] / host_fault_ns, s[0].wall[0], s[0].cpu[1], s[0].wall[1]);
	for (k = 0; k < NR_KINDS; k++) {
		wall[k] = median_of(s[k].rate, SCALING_ROUNDS);
		cpu[k] = median_of(s[k].rate_cpu, SCALING_ROUNDS);
		printf("  rate of 2 threads, %s: x%.2f (best times x%.2f), by CPU time x%.2f (x%.2f)", kinds[k],
		       wall[k], 2 * s[k].wall[0] / s[k].wall[1], cpu[k], 2 * s[k].cpu[0] / s[k].cpu[1]);
		if (k)
			printf("; one VM over this: %.2f (best %.2f), by CPU time %.2f (%.2f)",
			       wall[0] / wall[k],
			       s[0].wall[0] / s[0].wall[1] / (s[k].wall[0] / s[k].wall[1]), cpu[0] / cpu[k],
			       s[0].cpu[0] / s[0].cpu[1] / (s[k].cpu[0] / s[k].cpu[1]));
		printf("\n");
	}
}

static void faults(void)
{
	faults_of("4K", &(struct fault_case){ GB / 8, 4096, 1 });
	faults_of("2M", &(struct fault_case){ 64 * GB, 2 * MB, 512 });
}

/* ---- root invalidation --------------------------------------------------------------------- */

static void fill(struct mx *m, uint64_t size)
{
	struct fault_job job = { .v = &m->v[0], .end = size, .step = 4096 };

	CHECK(mmu_reload(job.v->vcpu) == 0);
	fault_range(&job);
}

static void invalidate(uint64_t gib)
{
	struct mx_config config = { .kind = HW_EPT };
	struct mx *m = mx_new(&config);
	struct hv_region *r = mx_region(m, gib * GB + 4096, HV_BACKING_ANON);
	double publish[ROUNDS], zap[ROUNDS], flush[ROUNDS];
	struct hv_mmu_invalidate_times t;
	int i;

	CHECK(mx_slot(m, 0, 0, gib * GB, hv_region_hva(r) + 4096, 0) == 0);
	for (i = 0; i < ROUNDS; i++) {
		fill(m, gib * GB);
		mmu_invalidate_all(m->vm, &t);
		publish[i] = (double)t.publish_ns / 1000.0;
		zap[i] = (double)t.zap_ns / 1000.0;
		flush[i] = (double)t.flush_ns / 1000.0;
	}
	printf("invalidate all roots, %2llu GiB of 4K: published %.1f us, zapped %.0f us, of it flush "
	       "%.1f us\n",
	       (unsigned long long)gib, median(publish), median(zap), median(flush));
	mx_slot(m, 0, 0, 0, 0, 0);
	hv_region_destroy(r);
	mx_free(m);
}

/* ---- deleting a slot ---------------------------------------------------------------------------- */

static void delete_slot(void)
{
	struct mx_config config = { .kind = HW_EPT };
	double took[ROUNDS], reclaim[ROUNDS], share[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		struct mx *m = mx_new(&config);
		struct hv_region *r = mx_region(m, GB + 4096, HV_BACKING_ANON);
		struct hv_mmu_stats s;
		double t0, t1, t2;
		uint64_t busy;

		CHECK(mx_slot(m, 0, 0, GB, hv_region_hva(r) + 4096, 0) == 0);
		fill(m, GB);
		busy = atomic_load(&m->vm->mmu->zap.busy_ns);
		t0 = now_us();
		CHECK(mx_slot(m, 0, 0, 0, 0, 0) == 0);
		t1 = now_us();
		do {
			struct timespec ts = { .tv_nsec = 200000 };

			nanosleep(&ts, NULL);
			mmu_get_stats(m->vm, &s);
		} while (s.pages_4k);
		t2 = now_us();
		took[i] = t1 - t0;
		reclaim[i] = t2 - t1;
		share[i] = (double)(atomic_load(&m->vm->mmu->zap.busy_ns) - busy) / 10.0 / (t2 - t1);
		hv_region_destroy(r);
		mx_free(m);
	}
	printf("delete a 1 GiB slot of 4K mappings: %.0f us", median(took));
	printf(" (best %.0f); reclaimed %.0f us later with %.0f %% of a CPU\n", took[0],
	       median(reclaim), median(share));
}

/* ---- MMIO ---------------------------------------------------------------------------------------- */

static void mmio(void)
{
	struct mx_config config = { .kind = HW_EPT };
	struct mx *m = mx_new(&config);
	struct mx_vcpu *v = &m->v[0];
	struct hv_pf_request req = { .addr = 0xfee00000 };
	double t0, t1, t2;
	hv_gpa_t gpa;
	bool ok;
	int i, n = 1000000;

	CHECK(mmu_reload(v->vcpu) == 0);
	hv_rcu_read_lock();
	CHECK(mmu_page_fault(v->vcpu, &req) == HV_PF_EMULATE);
	t0 = now_us();
	for (i = 0; i < n; i++)
		CHECK(mmu_handle_mmio_hit(v->vcpu, 0xfee00000, &gpa, &ok) == 1);
	t1 = now_us();
	for (i = 0; i < n; i++)
		mmu_page_fault(v->vcpu, &req);
	t2 = now_us();
	hv_rcu_read_unlock();
	printf("MMIO fault: cache hit %.0f ns, miss %.0f ns\n", (t1 - t0) * 1000 / n,
	       (t2 - t1) * 1000 / n);
	mx_free(m);
}

/* ---- TLB flush --------------------------------------------------------------------------------------- */

struct guest_job {
	struct mx_vcpu *v;
	_Atomic bool *stop;
	_Atomic unsigned int *running;
};

/* A guest that runs and can be kicked out, as hardware is by an IPI. */
static void *guest_thread(void *arg)
{
	struct guest_job *job = arg;

	hv_rcu_register_thread();
	atomic_fetch_add(job->running, 1);
	while (!atomic_load(job->stop)) {
		if (!mx_enter(job->v))
			continue;
		while (!atomic_load_explicit(&job->v->kicked, memory_order_relaxed) &&
		       !atomic_load_explicit(job->stop, memory_order_relaxed))
			__builtin_ia32_pause();
		mx_leave(job->v);
	}
	hv_rcu_unregister_thread();
	return NULL;
}

static void wait_in_guest(struct mx *m)
{
	struct hv_vcpu *vcpu;
	unsigned int i;

	for (i = 0; (vcpu = vm_vcpu(m->vm, i)); i++)
		while (atomic_load(&vcpu->mode) != HV_IN_GUEST_MODE)
			sched_yield();
}

/* With more vCPUs than CPUs, most of it is waiting for the guests to get a CPU. */
static void tlb_flush(unsigned int n)
{
	struct mx_config config = { .kind = HW_EPT, .vcpus = n };
	struct mx *m = mx_new(&config);
	_Atomic bool stop = false;
	_Atomic unsigned int running = 0;
	struct guest_job job[MX_MAX_VCPUS];
	pthread_t t[MX_MAX_VCPUS];
	unsigned int i, rounds = n > 2 ? 50 : 1000;
	double t0, idle, sum = 0;

	t0 = now_us();
	for (i = 0; i < 100000; i++)
		vm_flush_remote_tlbs(m->vm);
	idle = (now_us() - t0) / 100000;
	for (i = 0; i < n; i++) {
		job[i] = (struct guest_job){ &m->v[i], &stop, &running };
		CHECK(pthread_create(&t[i], NULL, guest_thread, &job[i]) == 0);
	}
	while (atomic_load(&running) < n)
		sched_yield();
	for (i = 0; i < rounds; i++) {
		wait_in_guest(m);
		t0 = now_us();
		vm_flush_remote_tlbs(m->vm);
		sum += now_us() - t0;
	}
	printf("TLB flush, %u vCPUs: %.1f us in guest mode, %.2f us outside\n", n, sum / rounds, idle);
	atomic_store(&stop, true);
	for (i = 0; i < n; i++)
		vcpu_kick(m->v[i].vcpu);
	for (i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	mx_free(m);
}

int main(int argc, char **argv)
{
	unsigned int n;

	mx_start();
	host_minor_faults();
	faults();
	if (argc > 1) {
		mx_end();
		return 0;
	}
	invalidate(1);
	invalidate(16);
	delete_slot();
	mmio();
	for (n = 1; n <= 8; n *= 2)
		tlb_flush(n);
	mx_end();
	return 0;
}
