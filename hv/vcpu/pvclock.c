/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The KVM paravirtual clock: a page that lets the guest turn its TSC into
 * nanoseconds. One base (host TSC and nanoseconds) serves all vCPUs, so the clock
 * is the same on each and the guest may trust it across them.
 * Source: Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW and
 * MSR_KVM_WALL_CLOCK_NEW.
 */
#include <string.h>
#include <time.h>

#include "hv/vcpu/arch.h"

struct pvclock_vcpu_time {
	uint32_t version; /* odd while it changes */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
} __attribute__((packed));

struct pvclock_wall_clock {
	uint32_t version, sec, nsec;
} __attribute__((packed));

#define PVCLOCK_TSC_STABLE (1U << 0)
#define PVCLOCK_ENABLE	   1ULL
#define NSEC_PER_SEC	   1000000000ULL

/*
 * mul and shift such that ns = ((ticks << shift) * mul) >> 32 (shift right when
 * negative), with mul in its upper half for precision.
 */
static void clock_scale(uint64_t tick_hz, uint32_t *mul, int8_t *shift)
{
	uint64_t hz = tick_hz;
	int s = 0;

	while (hz > NSEC_PER_SEC * 2) {
		hz >>= 1;
		s--;
	}
	while (hz <= NSEC_PER_SEC) {
		hz <<= 1;
		s++;
	}
	*shift = (int8_t)s;
	/* hz is in (1e9, 2e9], so the quotient is below 2^32 */
	*mul = (uint32_t)((NSEC_PER_SEC << 32) / hz);
}

static uint64_t clock_ns_of(const struct hv_vm_arch *va, uint64_t ticks)
{
	uint64_t t = va->clock_shift < 0 ? ticks >> -va->clock_shift : ticks << va->clock_shift;

	return (uint64_t)(((unsigned __int128)t * va->clock_mul) >> 32);
}

int pvclock_vm_init(struct hv_vm *vm)
{
	struct hv_vm_arch *va = vm_arch(vm);

	clock_scale((uint64_t)va->tsc_khz * 1000, &va->clock_mul, &va->clock_shift);
	va->clock_tsc = vm->processor->rdtsc();
	atomic_store(&va->clock_ns, 0);
	return 0;
}

uint64_t vcpu_vm_clock_ns(struct hv_vm *vm)
{
	struct hv_vm_arch *va = vm_arch(vm);

	return atomic_load(&va->clock_ns) + clock_ns_of(va, vm->processor->rdtsc() - va->clock_tsc);
}

void vcpu_vm_set_clock_ns(struct hv_vm *vm, uint64_t ns)
{
	struct hv_vm_arch *va = vm_arch(vm);

	atomic_store(&va->clock_ns, ns - clock_ns_of(va, vm->processor->rdtsc() - va->clock_tsc));
	vm_make_all_requests(vm, HV_REQ_CLOCK_UPDATE);
}

void pvclock_update(struct hv_vcpu *vcpu)
{
	struct hv_vcpu_arch *a = vcpu->arch;
	struct hv_vm_arch *va = vm_arch(vcpu->vm);
	uint64_t gpa = a->kvmclock_msr & ~PVCLOCK_ENABLE;
	struct pvclock_vcpu_time t;
	uint32_t version;

	if (!(a->kvmclock_msr & PVCLOCK_ENABLE))
		return;
	memset(&t, 0, sizeof(t));
	a->kvmclock_version += 2;
	t.version = a->kvmclock_version;
	t.tsc_timestamp = va->clock_tsc + vcpu_tsc_offset(vcpu);
	t.system_time = atomic_load(&va->clock_ns);
	t.tsc_to_system_mul = va->clock_mul;
	t.tsc_shift = va->clock_shift;
	t.flags = PVCLOCK_TSC_STABLE;
	/* Odd version first, even last: a reader on another vCPU sees either all or nothing. */
	version = t.version - 1;
	vm_write_guest(vcpu->vm, gpa, &version, sizeof(version));
	atomic_thread_fence(memory_order_release);
	vm_write_guest(vcpu->vm, gpa + sizeof(version), (char *)&t + sizeof(version),
		       sizeof(t) - sizeof(version));
	atomic_thread_fence(memory_order_release);
	vm_write_guest(vcpu->vm, gpa, &t.version, sizeof(t.version));
}

int pvclock_set_system_time(struct hv_vcpu *vcpu, uint64_t msr)
{
	vcpu->arch->kvmclock_msr = msr;
	vcpu_make_request(vcpu, HV_REQ_CLOCK_UPDATE);
	return 0;
}

/* Host's real time at the zero of the paravirtual clock. */
int pvclock_write_wall_clock(struct hv_vcpu *vcpu, uint64_t gpa)
{
	struct pvclock_wall_clock w = { 0, 0, 0 };
	struct timespec ts;
	uint64_t boot;

	if (!gpa)
		return 0;
	clock_gettime(CLOCK_REALTIME, &ts);
	boot = (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec -
	       vcpu_vm_clock_ns(vcpu->vm);
	w.version = 2;
	w.sec = (uint32_t)(boot / NSEC_PER_SEC);
	w.nsec = (uint32_t)(boot % NSEC_PER_SEC);
	vm_write_guest(vcpu->vm, gpa, &w, sizeof(w));
	atomic_store(&vm_arch(vcpu->vm)->wall_clock_gpa, gpa);
	return 0;
}

void pvclock_reset(struct hv_vcpu *vcpu)
{
	vcpu->arch->kvmclock_msr = 0;
}
