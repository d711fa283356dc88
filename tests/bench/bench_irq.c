/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an interrupt costs a guest: one that sends itself interrupts all the time, and
 * one that spins while another thread sends them. With the processor delivering them
 * (VMX) and by injection. Prints one line for each; asserts no time.
 */
#include <stdio.h>
#include <time.h>

#include "hv/base/assert.h"
#include "tests/lib/irq_guest.h"

#define SELF_IPIS 20000
#define POSTS	  2000
#define FOREVER	  600000

/* CPU time of the vCPU's thread. */
static double cpu_us(struct irq_guest *g)
{
	struct timespec ts;
	clockid_t clock;

	HV_BUG_ON(pthread_getcpuclockid(g->v[0].thread, &clock) || clock_gettime(clock, &ts));
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

struct figures {
	double us;	/* each */
	double exits;	/* each */
};

static struct figures self_ipis(const struct irq_guest_config *c)
{
	struct figures f;
	struct irq_guest g;
	uint32_t first, n;

	irq_guest_make(&g, c);
	irq_guest_run(&g, IRQ_GUEST_SELF);
	HV_BUG_ON(!irq_guest_await(&g, 0, 0x61, 10, FOREVER));
	first = irq_guest_count(&g, 0, 0x61);
	f.exits = (double)irq_guest_exits(&g, NULL);
	f.us = cpu_us(&g);
	HV_BUG_ON(!irq_guest_await(&g, 0, 0x61, first + SELF_IPIS, FOREVER));
	n = irq_guest_count(&g, 0, 0x61) - first;
	f.us = (cpu_us(&g) - f.us) / n;
	f.exits = ((double)irq_guest_exits(&g, NULL) - f.exits) / n;
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
	return f;
}

/* The exits only: how soon one arrives is the scheduler's doing. */
static double posted(const struct irq_guest_config *c)
{
	struct irq_guest g;
	double exits;
	uint32_t i;

	irq_guest_make(&g, c);
	irq_guest_run(&g, IRQ_GUEST_SPIN);
	irq_guest_post(&g, 0, 0x40);
	HV_BUG_ON(!irq_guest_await(&g, 0, 0x40, 1, FOREVER));
	exits = (double)irq_guest_exits(&g, NULL);
	for (i = 1; i <= POSTS; i++) {
		irq_guest_post(&g, 0, 0x41);
		HV_BUG_ON(!irq_guest_await(&g, 0, 0x41, i, FOREVER));
	}
	exits = ((double)irq_guest_exits(&g, NULL) - exits) / POSTS;
	irq_guest_stop(&g);
	irq_guest_destroy(&g);
	return exits;
}

int main(void)
{
	static const struct {
		const char *name;
		struct irq_guest_config config;
	} cases[] = {
		{ "vmx x2APIC", { "vmx", "tdp", 1, true, false } },
		{ "vmx x2APIC, apicv off", { "vmx", "tdp", 1, true, true } },
		{ "vmx xAPIC", { "vmx", "tdp", 1, false, false } },
		{ "vmx xAPIC, apicv off", { "vmx", "tdp", 1, false, true } },
		{ "svm x2APIC", { "svm", "tdp", 1, true, false } },
		{ "svm xAPIC", { "svm", "tdp", 1, false, false } },
	};

	HV_BUG_ON(hv_init(&(struct hv_init){ .version = HV_API_VERSION }));
	HV_BUG_ON(hv_thread_enter());
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct figures f = self_ipis(&cases[i].config);

		printf("interrupt, %s: to itself %.2f us of CPU and %.2f exits; from another "
		       "thread %.2f exits\n", cases[i].name, f.us, f.exits, posted(&cases[i].config));
	}
	hv_thread_leave();
	hv_exit();
	return 0;
}
