/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Interrupts on their way to a guest that spins, sleeps, exits or masks, delivered
 * by the processor (VMX with apicv) and by injection (without, and SVM): none is
 * lost, what should not exit does not, level-triggered ones come again, and all of
 * it is in the saved state.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/irq/irqchip.h"
#include "tests/lib/irq_guest.h"

#define PATIENCE_MS 30000
#define EACH_POSTS  16 /* for each way of waiting */
#define CROWD_POSTS 24 /* of each poster */
#define LAPIC_IRR   0x20
#define LAPIC_ISR   0x10

static const char *const wait_names[] = { "spin", "halt", "exit", "mask" };

/* One interrupt after the other, to each vCPU, each way of waiting. */
static void each_arrives(void **state)
{
	const struct irq_guest_config *c = *state;
	struct irq_guest g;
	unsigned int wait, i;

	irq_guest_make(&g, c);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	for (wait = IRQ_GUEST_SPIN; wait <= IRQ_GUEST_MASK; wait++) {
		irq_guest_set_wait(&g, wait);
		/* Who sleeps is woken to see that it should do something else. */
		for (i = 0; i < g.nr; i++)
			irq_guest_post(&g, i, 0xe0);
		for (i = 0; i < EACH_POSTS; i++) {
			uint8_t vector = (uint8_t)(0x40 + i % 0x90);
			unsigned int vcpu = i % g.nr;
			uint32_t before = irq_guest_count(&g, vcpu, vector);

			assert_true(irq_guest_post(&g, vcpu, vector) >= 0);
			if (irq_guest_await(&g, vcpu, vector, before + 1, PATIENCE_MS))
				continue;
			print_message("# %s: vector 0x%x of vCPU %u was lost\n", wait_names[wait],
				      vector, vcpu);
			fail();
		}
	}
	irq_guest_stop(&g);
	for (i = 0; i < 0x20; i++)
		assert_int_equal(irq_guest_count(&g, 0, (uint8_t)i), 0); /* no exception */
	irq_guest_destroy(&g);
}

/* ---- several posters, each with vectors of its own --------------------------------------------- */

struct poster {
	struct irq_guest *guest;
	unsigned int seed;
	uint8_t vector;
	unsigned int lost;
};

static void *poster(void *arg)
{
	struct poster *p = arg;
	struct irq_guest *g = p->guest;
	unsigned int i;

	hv_thread_enter();
	for (i = 0; i < CROWD_POSTS && !p->lost; i++) {
		unsigned int vcpu = (unsigned int)rand_r(&p->seed) % g->nr;
		uint8_t vector = (uint8_t)(p->vector + rand_r(&p->seed) % 16);
		uint32_t before = irq_guest_count(g, vcpu, vector);

		if (i % 10 == 0)
			irq_guest_set_wait(g, (unsigned int)rand_r(&p->seed) % 4);
		irq_guest_post(g, vcpu, vector);
		p->lost += !irq_guest_await(g, vcpu, vector, before + 1, PATIENCE_MS);
	}
	hv_thread_leave();
	return NULL;
}

static void crowd(void **state)
{
	const struct irq_guest_config *c = *state;
	struct poster p[3];
	pthread_t threads[3];
	struct irq_guest g;
	unsigned int i;

	irq_guest_make(&g, c);
	irq_guest_run(&g, IRQ_GUEST_HALT);
	for (i = 0; i < 3; i++) {
		p[i] = (struct poster){ &g, 100 + i, (uint8_t)(0x50 + i * 0x20), 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, poster, &p[i]), 0);
	}
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(p[i].lost, 0);
	}
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
}

/* ---- exits ----------------------------------------------------------------------------------------- */

#define EXIT_POSTS 50

/* What EXIT_POSTS interrupts cost a vCPU in guest mode. */
static void count_exits(const struct irq_guest_config *c, uint64_t *kicks, uint64_t *windows,
			uint64_t *wrmsr)
{
	struct irq_guest g;
	uint32_t i;

	irq_guest_make(&g, c);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	assert_true(irq_guest_post(&g, 0, 0x40) >= 0); /* the mode is settled */
	assert_true(irq_guest_await(&g, 0, 0x40, 1, PATIENCE_MS));
	*kicks = irq_guest_exits(&g, "EXTERNAL_INTERRUPT");
	*windows = irq_guest_exits(&g, "INTR_WINDOW");
	*wrmsr = irq_guest_exits(&g, "WRMSR");
	for (i = 1; i <= EXIT_POSTS; i++) {
		irq_guest_post(&g, 0, 0x41);
		assert_true(irq_guest_await(&g, 0, 0x41, i, PATIENCE_MS));
	}
	*kicks = irq_guest_exits(&g, "EXTERNAL_INTERRUPT") - *kicks;
	*windows = irq_guest_exits(&g, "INTR_WINDOW") - *windows;
	*wrmsr = irq_guest_exits(&g, "WRMSR") - *wrmsr;
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
	print_message("# %u interrupts, apicv %s: %llu kicks, %llu windows, %llu WRMSR\n", EXIT_POSTS,
		      c->no_apicv ? "off" : "on", (unsigned long long)*kicks,
		      (unsigned long long)*windows, (unsigned long long)*wrmsr);
}

static void fewer_exits(void **state)
{
	struct irq_guest_config c = { .vendor = "vmx", .paging = "tdp", .vcpus = 1, .x2apic = true };
	uint64_t kicks, windows, wrmsr;

	count_exits(&c, &kicks, &windows, &wrmsr);
	assert_int_equal(kicks + windows + wrmsr, 0);
	c.no_apicv = true;
	count_exits(&c, &kicks, &windows, &wrmsr);
	/* An EOI each; the one before the first may come late, and so may the last. */
	assert_true(wrmsr >= EXIT_POSTS - 1 && wrmsr <= EXIT_POSTS + 1);
	assert_true(kicks > 0);
}

static void self_ipi(void **state)
{
	struct irq_guest_config c = { .vendor = "vmx", .paging = "tdp", .vcpus = 2, .x2apic = true };
	uint64_t wrmsr;
	struct irq_guest g;

	irq_guest_make(&g, &c);
	irq_guest_run(&g, IRQ_GUEST_SELF);
	assert_true(irq_guest_await(&g, 1, 0x61, 10, PATIENCE_MS));
	wrmsr = irq_guest_exits(&g, "WRMSR");
	assert_true(irq_guest_await(&g, 0, 0x61, irq_guest_count(&g, 0, 0x61) + 1000, PATIENCE_MS));
	assert_int_equal(irq_guest_exits(&g, "WRMSR"), wrmsr);
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
}

/* ---- level-triggered ---------------------------------------------------------------------------------- */

static void level_triggered(void **state)
{
	const struct irq_guest_config *c = *state;
	const struct hv_irq_level high = { .gsi = 16, .level = 1 }, low = { .gsi = 16 };
	struct hv_ioapic_state s;
	struct irq_guest g;
	uint32_t count;

	irq_guest_make(&g, c);
	irqchip_get_ioapic(g.vm, &s);
	s.redirtbl[16] = 0x71 | 1u << 15 | (uint64_t)(g.nr - 1) << 56; /* level, to the last vCPU */
	assert_int_equal(irqchip_set_ioapic(g.vm, &s), 0);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	assert_int_equal(hv_vm_irq_line(g.vm, &high), 0);
	/* It comes again at each EOI for as long as the line is high. */
	assert_true(irq_guest_await(&g, g.nr - 1, 0x71, 20, PATIENCE_MS));
	assert_int_equal(hv_vm_irq_line(g.vm, &low), 0);
	irq_guest_post(&g, g.nr - 1, 0x40); /* of a lower class: when 0x71 is done with */
	assert_true(irq_guest_await(&g, g.nr - 1, 0x40, 1, PATIENCE_MS));
	count = irq_guest_count(&g, g.nr - 1, 0x71);
	irq_guest_post(&g, g.nr - 1, 0x40);
	assert_true(irq_guest_await(&g, g.nr - 1, 0x40, 2, PATIENCE_MS));
	assert_int_equal(irq_guest_count(&g, g.nr - 1, 0x71), count);
	irqchip_get_ioapic(g.vm, &s);
	assert_int_equal(s.redirtbl[16] & 1u << 14, 0); /* Remote IRR */
	if (!strcmp(c->vendor, "vmx") && c->x2apic && !c->no_apicv) {
		assert_true(irq_guest_exits(&g, "VIRTUALIZED_EOI") >= count);
		assert_true(irq_guest_exits(&g, "VIRTUALIZED_EOI") <= count + 1);
	}
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
}

/* ---- the saved state ------------------------------------------------------------------------------------- */

static bool vector_set(const struct hv_lapic_state *s, unsigned int base, uint8_t vector)
{
	return s->regs[base + vector / 32] >> (vector % 32) & 1;
}

/* What was posted to a vCPU that does not run is in its state, and is delivered elsewhere. */
static void posted_is_saved(void **state)
{
	struct irq_guest_config c = { .vendor = "vmx", .paging = "tdp", .vcpus = 1, .x2apic = true };
	static const char *const vendors[] = { "vmx", "svm" };
	struct hv_lapic_state s, again;
	struct irq_guest from, to;
	unsigned int i;

	irq_guest_make(&from, &c);
	irq_guest_run(&from, IRQ_GUEST_HALT);
	irq_guest_stop(&from);
	assert_true(atomic_load(&from.v[0].vcpu->apicv_active));
	assert_int_equal(irq_guest_post(&from, 0, 0x55), 1);
	assert_int_equal(irq_guest_post(&from, 0, 0x55), 0); /* coalesced */
	assert_int_equal(irq_guest_post(&from, 0, 0xc5), 1);
	irqchip_get_lapic(from.v[0].vcpu, &s);
	assert_true(vector_set(&s, LAPIC_IRR, 0x55) && vector_set(&s, LAPIC_IRR, 0xc5));
	assert_int_equal(irq_guest_post(&from, 0, 0x55), 0); /* in IRR, and so coalesced */
	irqchip_get_lapic(from.v[0].vcpu, &again);
	assert_memory_equal(&s, &again, sizeof(s));
	for (i = 0; i < 2; i++) {
		c.vendor = vendors[i];
		irq_guest_make(&to, &c);
		assert_int_equal(irqchip_set_lapic(to.v[0].vcpu, &s), 0);
		irq_guest_run(&to, IRQ_GUEST_HALT);
		assert_true(irq_guest_await(&to, 0, 0x55, 1, PATIENCE_MS));
		assert_int_equal(irq_guest_count(&to, 0, 0xc5), 1);
		irq_guest_stop(&to);
		irqchip_get_lapic(to.v[0].vcpu, &again);
		assert_false(vector_set(&again, LAPIC_IRR, 0x55) || vector_set(&again, LAPIC_ISR, 0x55));
		irq_guest_destroy(&to);
	}
	/* And where it was posted. */
	irq_guest_go_on(&from);
	assert_true(irq_guest_await(&from, 0, 0x55, 1, PATIENCE_MS));
	assert_int_equal(irq_guest_count(&from, 0, 0xc5), 1);
	irq_guest_stop(&from);
	irq_guest_destroy(&from);
}

/* A vector in service holds back its class and lower ones after the load: SVI is right. */
static void service_is_restored(void **state)
{
	struct irq_guest_config c = { .vendor = "vmx", .paging = "tdp", .vcpus = 1, .x2apic = true };
	struct hv_lapic_state s;
	struct irq_guest g;

	irq_guest_make(&g, &c);
	irqchip_get_lapic(g.v[0].vcpu, &s);
	s.regs[LAPIC_ISR + 0x90 / 32] |= 1u << (0x90 % 32);
	assert_int_equal(irqchip_set_lapic(g.v[0].vcpu, &s), 0);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	irq_guest_post(&g, 0, 0x95);
	irq_guest_post(&g, 0, 0x50);
	irq_guest_post(&g, 0, 0xa0);
	assert_true(irq_guest_await(&g, 0, 0xa0, 1, PATIENCE_MS));
	irq_guest_post(&g, 0, 0xa1);
	assert_true(irq_guest_await(&g, 0, 0xa1, 1, PATIENCE_MS));
	irq_guest_stop(&g);
	assert_int_equal(irq_guest_count(&g, 0, 0x95) + irq_guest_count(&g, 0, 0x50), 0);
	irqchip_get_lapic(g.v[0].vcpu, &s);
	assert_true(vector_set(&s, LAPIC_ISR, 0x90) && !vector_set(&s, LAPIC_ISR, 0xa0));
	assert_true(vector_set(&s, LAPIC_IRR, 0x95) && vector_set(&s, LAPIC_IRR, 0x50));
	irq_guest_destroy(&g);
}

/* With the APIC off nothing is posted; what is in IRR stays; on again, it is taken. */
static void switched_off(void **state)
{
	struct irq_guest_config c = { .vendor = "vmx", .paging = "tdp", .vcpus = 1 };
	struct hv_lapic_state s;
	struct irq_guest g;

	irq_guest_make(&g, &c);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	irq_guest_post(&g, 0, 0x40);
	assert_true(irq_guest_await(&g, 0, 0x40, 1, PATIENCE_MS));
	irq_guest_stop(&g);
	assert_int_equal(irq_guest_post(&g, 0, 0x44), 1); /* posted, and not seen yet */
	irqchip_get_lapic(g.v[0].vcpu, &s);
	assert_true(vector_set(&s, LAPIC_IRR, 0x44));
	s.base &= ~0x800ULL;
	assert_int_equal(irqchip_set_lapic(g.v[0].vcpu, &s), 0);
	irq_guest_go_on(&g);
	while (atomic_load(&g.v[0].vcpu->apicv_active))
		sched_yield();
	assert_int_equal(irq_guest_post(&g, 0, 0x45), -1);
	irq_guest_stop(&g);
	assert_int_equal(irq_guest_count(&g, 0, 0x44) + irq_guest_count(&g, 0, 0x45), 0);
	irqchip_get_lapic(g.v[0].vcpu, &s);
	assert_true(vector_set(&s, LAPIC_IRR, 0x44) && !vector_set(&s, LAPIC_IRR, 0x45));
	s.base |= 0x800;
	assert_int_equal(irqchip_set_lapic(g.v[0].vcpu, &s), 0);
	irq_guest_go_on(&g);
	assert_true(irq_guest_await(&g, 0, 0x44, 1, PATIENCE_MS));
	assert_true(atomic_load(&g.v[0].vcpu->apicv_active));
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
}

static int setup(void **state)
{
	int r = hv_init(&(struct hv_init){ .version = HV_API_VERSION });

	return r ? r : hv_thread_enter();
}

static int teardown(void **state)
{
	hv_thread_leave();
	hv_exit();
	return 0;
}

#define CASE(v, p, n, x2, off) &(struct irq_guest_config){ v, p, n, x2, off }
#define ON(name, fn, v, p, n, x2, off) { name, fn, NULL, NULL, CASE(v, p, n, x2, off) }

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON("each arrives: vmx x2APIC", each_arrives, "vmx", "tdp", 2, true, false),
		ON("each arrives: vmx xAPIC", each_arrives, "vmx", "tdp", 2, false, false),
		ON("each arrives: vmx, apicv off", each_arrives, "vmx", "tdp", 2, true, true),
		ON("each arrives: svm x2APIC", each_arrives, "svm", "tdp", 2, true, false),
		ON("each arrives: svm xAPIC", each_arrives, "svm", "tdp", 2, false, false),
		ON("a crowd: vmx x2APIC", crowd, "vmx", "tdp", 4, true, false),
		ON("a crowd: vmx xAPIC", crowd, "vmx", "tdp", 3, false, false),
		ON("a crowd: vmx, apicv off", crowd, "vmx", "tdp", 4, true, true),
		ON("a crowd: svm", crowd, "svm", "tdp", 4, true, false),
		ON("level: vmx x2APIC", level_triggered, "vmx", "tdp", 2, true, false),
		ON("level: vmx xAPIC", level_triggered, "vmx", "tdp", 2, false, false),
		ON("level: vmx, apicv off", level_triggered, "vmx", "tdp", 2, true, true),
		ON("level: svm", level_triggered, "svm", "tdp", 2, true, false),
		cmocka_unit_test(fewer_exits),
		cmocka_unit_test(self_ipi),
		cmocka_unit_test(posted_is_saved),
		cmocka_unit_test(service_is_restored),
		cmocka_unit_test(switched_off),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
