/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See irq_guest.h. */
#include "tests/lib/irq_guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/base/assert.h"
#include "hv/vm/vm.h"

#define RAM_SIZE 0x100000u
#define GDT	 0x1000u
#define IDT	 0x2000u
#define MODE	 0x3000u
#define STUBS	 0x4000u /* 16 bytes a vector */
#define COUNTS	 0x6000u /* 4 KiB a vCPU */
#define READY	 0x400u
#define CODE	 0x10000u
#define STACKS	 0x20000u /* tops, 4 KiB a vCPU */
#define MSR_APIC_BASE 0x1b

extern const uint8_t irq_guest_start[], irq_guest_handler[], irq_guest_end[];

static void put32(uint8_t *p, uint32_t value)
{
	memcpy(p, &value, sizeof(value));
}

/* push $vector; jmp handler */
static void make_stub(uint8_t *ram, unsigned int vector)
{
	uint32_t at = STUBS + vector * 16;
	uint32_t handler = CODE + (uint32_t)(irq_guest_handler - irq_guest_start);

	ram[at] = 0x68;
	put32(ram + at + 1, vector);
	ram[at + 5] = 0xe9;
	put32(ram + at + 6, handler - (at + 10));
	/* 32-bit interrupt gate, selector 8 */
	put32(ram + IDT + vector * 8, 8u << 16 | (at & 0xffff));
	put32(ram + IDT + vector * 8 + 4, (at & 0xffff0000u) | 0x8e00);
}

static void make_memory(struct irq_guest *g)
{
	const struct hv_ram_config config = { .backing = HV_MEM_ANON, .size = RAM_SIZE, .fd = -1 };
	struct hv_memory_region region = { .memory_size = RAM_SIZE };
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffffULL, 0x00cf93000000ffffULL };
	void *hva;
	unsigned int i;

	HV_BUG_ON(hv_vm_ram_create(g->vm, &config, &hva));
	g->ram = hva;
	region.userspace_addr = (uintptr_t)hva;
	HV_BUG_ON(hv_vm_set_memory_region(g->vm, &region));
	memcpy(g->ram + GDT, gdt, sizeof(gdt));
	memcpy(g->ram + CODE, irq_guest_start, (size_t)(irq_guest_end - irq_guest_start));
	for (i = 0; i < 256; i++)
		make_stub(g->ram, i);
}

static void make_vcpu(struct irq_guest *g, unsigned int id, bool x2apic)
{
	const struct hv_seg code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				     .db = 1, .s = 1, .g = 1 };
	struct hv_seg data = code;
	struct hv_sregs s;
	struct hv_regs r = { .rip = CODE, .rflags = 2, .rsi = x2apic, .rbp = COUNTS + id * 0x1000,
			     .rsp = STACKS + (id + 1) * 0x1000 };
	struct irq_guest_vcpu *v = &g->v[id];

	v->guest = g;
	HV_BUG_ON(hv_vcpu_create(g->vm, id, &v->vcpu));
	data.type = 3;
	data.selector = 16;
	HV_BUG_ON(hv_vcpu_get_sregs(v->vcpu, &s));
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.gdt.base = GDT;
	s.gdt.limit = 23;
	s.idt.base = IDT;
	s.idt.limit = 0x7ff;
	s.cr0 = 0x11;
	HV_BUG_ON(hv_vcpu_set_sregs(v->vcpu, &s));
	HV_BUG_ON(hv_vcpu_set_regs(v->vcpu, &r));
	if (x2apic)
		HV_BUG_ON(hv_vcpu_set_msr(v->vcpu, MSR_APIC_BASE, s.apic_base | 0xc00));
	/* No INIT, no SIPI: all run at once. */
	atomic_store(&v->vcpu->mp_state, HV_MP_RUNNABLE);
}

void irq_guest_make(struct irq_guest *g, const struct irq_guest_config *config)
{
	const struct hv_vm_config vm = { .name = "irq", .vendor = config->vendor,
					 .paging = config->paging, .irqchip = true,
					 .no_apicv = config->no_apicv };
	unsigned int i;

	memset(g, 0, sizeof(*g));
	HV_BUG_ON(config->vcpus > IRQ_GUEST_VCPUS);
	HV_BUG_ON(hv_vm_create(&vm, &g->vm));
	make_memory(g);
	for (i = 0; i < config->vcpus; i++)
		make_vcpu(g, i, config->x2apic);
	g->nr = config->vcpus;
}

static uint32_t *guest_word(struct irq_guest *g, uint32_t gpa)
{
	return (uint32_t *)(void *)(g->ram + gpa);
}

uint32_t irq_guest_count(struct irq_guest *g, unsigned int vcpu, uint8_t vector)
{
	return __atomic_load_n(guest_word(g, COUNTS + vcpu * 0x1000 + vector * 4u),
			       __ATOMIC_ACQUIRE);
}

/* The vCPUs need the CPUs that we would spin on. */
static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

static void *vcpu_thread(void *arg)
{
	struct irq_guest_vcpu *v = arg;
	int r;

	HV_BUG_ON(hv_thread_enter());
	while (!atomic_load(&v->guest->stop)) {
		r = hv_vcpu_run(v->vcpu);
		HV_BUG_ON(r && r != -EINTR);
		/* The guest has nothing to say: an exit to the user is a crash. */
		HV_BUG_ON(!r);
	}
	hv_thread_leave();
	return NULL;
}

void irq_guest_go_on(struct irq_guest *g)
{
	unsigned int i;

	atomic_store(&g->stop, false);
	for (i = 0; i < g->nr; i++)
		HV_BUG_ON(pthread_create(&g->v[i].thread, NULL, vcpu_thread, &g->v[i]));
}

void irq_guest_run(struct irq_guest *g, enum irq_guest_wait wait)
{
	unsigned int i;

	irq_guest_set_wait(g, wait);
	irq_guest_go_on(g);
	for (i = 0; i < g->nr; i++)
		while (!__atomic_load_n(guest_word(g, COUNTS + i * 0x1000 + READY),
					__ATOMIC_ACQUIRE))
			nap();
}

void irq_guest_stop(struct irq_guest *g)
{
	unsigned int i;

	atomic_store(&g->stop, true);
	for (i = 0; i < g->nr; i++)
		HV_BUG_ON(hv_vcpu_kick(g->v[i].vcpu));
	for (i = 0; i < g->nr; i++)
		pthread_join(g->v[i].thread, NULL);
}

void irq_guest_destroy(struct irq_guest *g)
{
	hv_vm_release(g->vm);
}

void irq_guest_set_wait(struct irq_guest *g, enum irq_guest_wait wait)
{
	__atomic_store_n(guest_word(g, MODE), (uint32_t)wait, __ATOMIC_RELEASE);
}

int irq_guest_post(struct irq_guest *g, unsigned int vcpu, uint8_t vector)
{
	return hv_vm_signal_msi(g->vm, 0xfee00000u | vcpu << 12, vector);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool irq_guest_await(struct irq_guest *g, unsigned int vcpu, uint8_t vector, uint32_t count,
		     unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (irq_guest_count(g, vcpu, vector) < count) {
		if (now_ms() > end)
			return false;
		nap();
	}
	return true;
}

uint64_t irq_guest_exits(struct irq_guest *g, const char *name)
{
	struct hv_exit_counter c[256];
	uint64_t sum = 0;
	unsigned int i;
	int j, n;

	for (i = 0; i < g->nr; i++) {
		n = hv_vcpu_exits(g->v[i].vcpu, c, 256);
		HV_BUG_ON(n < 0);
		for (j = 0; j < n; j++)
			if (!name || (c[j].name && !strcmp(c[j].name, name)))
				sum += c[j].count;
	}
	return sum;
}
