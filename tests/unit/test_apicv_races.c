/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An interrupt that is posted to a vCPU at the worst moment, on VMX with the real layers:
 * each test leads the poster by hand to where a guard is. Built once with all guards
 * (each interrupt arrives) and once for each guard without it (RACE names the test, whose
 * interrupt must then be lost).
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "hv/base/assert.h"
#include "hv/vm/vm.h"
#include "hv/vm/vm_internal.h"
#include "tests/lib/irq_guest.h"

#define VECTOR	    0x55
#define PATIENCE_MS 30000 /* where it must arrive */
#ifdef RACE
#define LOST_MS 300 /* where it must not */
#else
#define LOST_MS PATIENCE_MS
#endif

static struct irq_guest guest;
static const char *_Atomic armed; /* the point at which the interrupt is posted, once */

void hv_test_point(const char *where)
{
	const char *want = atomic_load(&armed);

	if (want && !strcmp(where, want) && atomic_compare_exchange_strong(&armed, &want, NULL))
		HV_BUG_ON(irq_guest_post(&guest, 0, VECTOR) != 1);
}

static void nap(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void start(enum irq_guest_wait wait)
{
	const struct irq_guest_config config = { .vendor = "vmx", .paging = "tdp", .vcpus = 1,
						 .x2apic = true };

	irq_guest_make(&guest, &config);
	irq_guest_run(&guest, wait);
	while (!atomic_load(&guest.v[0].vcpu->apicv_active))
		nap(1);
}

static void end(void)
{
	irq_guest_stop(&guest);
	irq_guest_destroy(&guest);
}

/* Posted by the vCPU's own thread when it is on its way to the point. True: it arrived. */
static bool posted_at(enum irq_guest_wait wait, const char *where)
{
	bool arrived;

	start(wait);
	atomic_store(&armed, where);
	/* Once round through the run loop, and so past the point. */
	HV_BUG_ON(hv_vcpu_kick(guest.v[0].vcpu));
	while (atomic_load(&armed))
		nap(1);
	arrived = irq_guest_await(&guest, 0, VECTOR, 1, LOST_MS);
	end();
	return arrived;
}

/* The vCPU has looked for the last time, and joins the wake-up list. */
static bool race_recheck(void)
{
	return posted_at(IRQ_GUEST_HALT, "before the wake-up list");
}

/* All is ready for the entry, but the mode is not yet IN_GUEST_MODE. */
static bool race_entry_sync(void)
{
	return posted_at(IRQ_GUEST_SPIN, "before guest mode");
}

/* It sleeps. */
static bool race_wakeup_vector(void)
{
	bool arrived;

	start(IRQ_GUEST_HALT);
	while (!atomic_load(&guest.v[0].vcpu->blocked))
		nap(1);
	nap(50);
	HV_BUG_ON(irq_guest_post(&guest, 0, VECTOR) != 1);
	arrived = irq_guest_await(&guest, 0, VECTOR, 1, LOST_MS);
	end();
	return arrived;
}

static const struct {
	const char *name;
	bool (*fn)(void);
} races[] = {
	{ "posted_recheck", race_recheck },
	{ "posted_entry_sync", race_entry_sync },
	{ "wakeup_vector", race_wakeup_vector },
};

int main(void)
{
	unsigned int i, n = sizeof(races) / sizeof(races[0]), bad = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	HV_BUG_ON(hv_init(&(struct hv_init){ .version = HV_API_VERSION }));
	HV_BUG_ON(hv_thread_enter());
#ifdef RACE
	printf("1..1\n");
	for (i = 0; i < n; i++) {
		if (strcmp(races[i].name, RACE))
			continue;
		bad += races[i].fn();
		printf("%sok 1 - without its guard, the interrupt of %s is lost\n",
		       bad ? "not " : "", RACE);
	}
#else
	printf("1..%u\n", n);
	for (i = 0; i < n; i++) {
		bool arrived = races[i].fn();

		printf("%sok %u - %s: the interrupt arrives\n", arrived ? "" : "not ", i + 1,
		       races[i].name);
		bad += !arrived;
	}
#endif
	hv_thread_leave();
	hv_exit();
	return bad ? 1 : 0;
}
