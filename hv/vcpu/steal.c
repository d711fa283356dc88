/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steal time: how long the host kept a vCPU that wanted to run from running.
 * It is what passed on the clock but not on the thread's own CPU clock, from
 * load to put without the time blocked. Source of the layout: Linux
 * Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME.
 */
#include "hv/base/clock.h"
#include "hv/vcpu/arch.h"

struct steal_page {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad8[3];
	uint32_t pad[11];
} __attribute__((packed));

#define STEAL_ENABLE	1ULL
#define STEAL_RESERVED	0x3eULL
#define STEAL_PERIOD_US 20000

static uint64_t thread_cpu_ns(void)
{
	uint64_t ns = 0;

	hv_clock_read(CLOCK_THREAD_CPUTIME_ID, &ns);
	return ns;
}

static void sample(struct vcpu_steal *s)
{
	uint64_t wall = hv_clock_ns(), cpu = thread_cpu_ns();
	uint64_t wall_d = wall - s->last_wall, cpu_d = cpu - s->last_cpu;

	if (wall_d > cpu_d)
		atomic_fetch_add_explicit(&s->total_ns, wall_d - cpu_d, memory_order_relaxed);
	s->last_wall = wall;
	s->last_cpu = cpu;
}

void steal_start(struct hv_vcpu *vcpu)
{
	struct vcpu_steal *s = &vcpu->arch->steal;

	s->last_wall = hv_clock_ns();
	s->last_cpu = thread_cpu_ns();
	s->running = true;
}

void steal_stop(struct hv_vcpu *vcpu)
{
	struct vcpu_steal *s = &vcpu->arch->steal;

	if (s->running)
		sample(s);
	s->running = false;
}

/* The guest's page, when there is news. */
void steal_update(struct hv_vcpu *vcpu)
{
	struct vcpu_steal *s = &vcpu->arch->steal;
	uint64_t total = atomic_load_explicit(&s->total_ns, memory_order_relaxed);
	uint64_t gpa = s->msr & ~(STEAL_ENABLE | STEAL_RESERVED);
	uint32_t version;

	if (!(s->msr & STEAL_ENABLE) || total == s->written_ns)
		return;
	version = s->version + 1;
	if (vm_write_guest(vcpu->vm, gpa + offsetof(struct steal_page, version), &version,
			   sizeof(version)))
		return;
	atomic_thread_fence(memory_order_release);
	vm_write_guest(vcpu->vm, gpa, &total, sizeof(total));
	atomic_thread_fence(memory_order_release);
	s->version += 2;
	vm_write_guest(vcpu->vm, gpa + offsetof(struct steal_page, version), &s->version,
		       sizeof(s->version));
	s->written_ns = total;
}

void steal_poll(struct hv_vcpu *vcpu)
{
	struct vcpu_steal *s = &vcpu->arch->steal;
	uint64_t tsc;

	if (!(s->msr & STEAL_ENABLE))
		return;
	tsc = vcpu->vm->processor->rdtsc();
	if (tsc < s->next_tsc)
		return;
	s->next_tsc = tsc + (uint64_t)vm_arch(vcpu->vm)->tsc_khz * STEAL_PERIOD_US / 1000;
	sample(s);
	steal_update(vcpu);
}

int steal_set_msr(struct hv_vcpu *vcpu, uint64_t msr)
{
	struct vcpu_steal *s = &vcpu->arch->steal;
	struct steal_page page = { .version = 0 };
	uint64_t gpa = msr & ~(STEAL_ENABLE | STEAL_RESERVED);

	if (msr & STEAL_RESERVED)
		return 1;
	s->msr = msr;
	s->version = 0;
	s->written_ns = 0;
	s->next_tsc = 0;
	atomic_store_explicit(&s->total_ns, 0, memory_order_relaxed);
	if (msr & STEAL_ENABLE)
		vm_write_guest(vcpu->vm, gpa, &page, sizeof(page));
	return 0;
}

uint64_t vcpu_steal_ns(struct hv_vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->arch->steal.total_ns, memory_order_relaxed);
}
