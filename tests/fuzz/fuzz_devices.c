/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random accesses to every device and interrupt chip of a PC, as vCPUs make them:
 *
 *	fuzz_devices [-s SEED] [-t SECONDS] [-n ROUNDS]
 *
 * A round is 20,000 accesses by each of two threads, one a vCPU, to ports and memory
 * that devices claim and to any other, of every size, aligned or not, with bytes that
 * come to the serial port and interrupts taken meanwhile; then every device's state is
 * saved, changed at random and loaded again, which a device accepts or refuses, and the
 * next round goes on from there or from a reset. Nothing may crash, hang or write
 * outside its own (build it with --enable-asan), and every device has to answer.
 * A round that takes a minute is a hang: SIGALRM ends the program.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/pc_fixture.h"

#define VCPUS	   2
#define ACCESSES   20000
#define HANG_AFTER 60 /* seconds */

struct range {
	const char *name;
	enum hv_bus_kind bus;
	uint64_t base, len;
	atomic_ulong answered;
};

static struct range ranges[] = {
	{ "PIC, first", HV_BUS_PIO, 0x20, 2, 0 },
	{ "PIC, second", HV_BUS_PIO, 0xa0, 2, 0 },
	{ "PIC, edge or level", HV_BUS_PIO, 0x4d0, 2, 0 },
	{ "PIT", HV_BUS_PIO, 0x40, 4, 0 },
	{ "speaker gate", HV_BUS_PIO, 0x61, 1, 0 },
	{ "keyboard controller", HV_BUS_PIO, 0x60, 5, 0 },
	{ "fast A20 and reset", HV_BUS_PIO, 0x92, 1, 0 },
	{ "RTC", HV_BUS_PIO, 0x70, 2, 0 },
	{ "UART", HV_BUS_PIO, HV_UART_COM1_PORT, 8, 0 },
	{ "fw_cfg", HV_BUS_PIO, HV_FW_CFG_PORT, 12, 0 },
	{ "pvpanic", HV_BUS_PIO, HV_PVPANIC_PORT, 1, 0 },
	{ "ACPI power management", HV_BUS_PIO, HV_PM_PORT, 16, 0 },
	{ "PCI configuration", HV_BUS_PIO, 0xcf8, 8, 0 },
	{ "debug exit", HV_BUS_PIO, HV_DEBUG_EXIT_PORT, 4, 0 },
	{ "test device", HV_BUS_PIO, 0xe0, 8, 0 },
	{ "test device, lines", HV_BUS_PIO, 0x2000, 24, 0 },
	{ "test device, memory", HV_BUS_MMIO, 0xff000000, 0x10000, 0 },
	{ "PCI ECAM", HV_BUS_MMIO, HV_ECAM_BASE, 0x10000, 0 },
	{ "HPET", HV_BUS_MMIO, HV_HPET_BASE, 0x400, 0 },
	{ "I/O APIC", HV_BUS_MMIO, HV_IOAPIC_BASE, 0x100, 0 },
	{ "local APIC", HV_BUS_MMIO, HV_LAPIC_BASE, 0x1000, 0 },
};
#define NR_RANGES (sizeof(ranges) / sizeof(ranges[0]))

struct worker {
	struct pc *pc;
	unsigned int cpu;
	uint64_t random;
};

/* Numbers of a seed's own: xorshift64*. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t value_of(uint64_t *r)
{
	switch (next(r) % 6) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return 1ull << next(r) % 64;
	case 3:
		return next(r) & 0xff;
	default:
		return next(r);
	}
}

static void access_one(struct worker *w)
{
	uint64_t *r = &w->random, addr, value = value_of(r);
	unsigned int len = 1u << next(r) % 4;
	struct range *at = NULL;
	enum hv_bus_kind bus;
	int err;

	if (next(r) % 16) {
		at = &ranges[next(r) % NR_RANGES];
		bus = at->bus;
		/* At, in and right behind what it claims. */
		addr = at->base + next(r) % (at->len + 1);
		if (next(r) % 2)
			addr &= ~(uint64_t)(len - 1);
	} else {
		bus = next(r) % 2 ? HV_BUS_PIO : HV_BUS_MMIO;
		addr = bus == HV_BUS_PIO ? next(r) & 0xffff : next(r) & 0xffffffff;
	}
	if (bus == HV_BUS_PIO && len == 8)
		len = 4;
	if (next(r) % 2)
		err = bus_write(w->pc->vm, w->pc->vcpu[w->cpu], bus, addr, len, &value);
	else
		err = bus_read(w->pc->vm, w->pc->vcpu[w->cpu], bus, addr, len, &value);
	if (!err && at && addr >= at->base && addr < at->base + at->len)
		atomic_fetch_add(&at->answered, 1);
}

static void msr_one(struct worker *w)
{
	uint64_t *r = &w->random, value;
	uint32_t msr = next(r) % 4 ? 0x800 + (uint32_t)(next(r) % 0x40) :
		       next(r) % 2 ? 0x1b /* APIC_BASE */ : 0x6e0 /* TSC_DEADLINE */;

	if (next(r) % 2)
		(void)pc_wrmsr(w->pc, w->cpu, msr, value_of(r));
	else
		(void)pc_rdmsr(w->pc, w->cpu, msr, &value);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	if (hv_thread_enter())
		abort();
	for (i = 0; i < ACCESSES; i++) {
		access_one(w);
		if (!(next(&w->random) % 16))
			msr_one(w);
		if (!(next(&w->random) % 8))
			(void)pc_take(w->pc, w->cpu);
		if (!(next(&w->random) % 64)) {
			uint64_t bytes = next(&w->random);

			(void)uart16550_input(device_find(&w->pc->board, "uart16550"), &bytes, 8);
		}
	}
	hv_thread_leave();
	return NULL;
}

static unsigned long loads, refusals;

/* A device's state with some bytes changed: taken or refused, and none is worse for it. */
static void change_state(struct hv_device *dev, uint64_t *r)
{
	size_t size = dev->ops->state_size;
	uint8_t *state;
	unsigned int n;
	int err;

	if (!size)
		return;
	state = calloc(1, size);
	assert_non_null(state);
	dev->ops->save(dev, state);
	for (n = (unsigned int)(next(r) % 4); n; n--)
		state[next(r) % size] = (uint8_t)next(r);
	err = dev->ops->load(dev, state);
	assert_true(err == 0 || err == -EINVAL);
	loads += !err;
	refusals += err != 0;
	free(state);
}

static void start(struct pc *pc)
{
	static const struct uart16550_params com1 = { .port = HV_UART_COM1_PORT, .irq = HV_ISA_IRQ_COM1 };
	const struct hv_device_ops *const ops[] = {
		&pci_host_device, &acpi_pm_device, &uart16550_device,  &rtc_device,	   &i8042_device,
		&hpet_device,	  &fw_cfg_device,  &pvpanic_device,    &debug_exit_device, &pc_testdev_device,
	};
	struct hv_device *dev;
	unsigned int i;

	pc_start(pc, VCPUS);
	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		assert_int_equal(device_add(&pc->board, ops[i], ops[i] == &uart16550_device ? &com1 : NULL,
					    &dev), 0);
}

static void round_of(struct pc *pc, uint64_t *r)
{
	struct worker workers[VCPUS];
	pthread_t threads[VCPUS];
	unsigned int i;

	alarm(HANG_AFTER);
	for (i = 0; i < VCPUS; i++) {
		workers[i] = (struct worker){ .pc = pc, .cpu = i, .random = next(r) | 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, run, &workers[i]), 0);
	}
	for (i = 0; i < VCPUS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < pc->board.nr_devices; i++)
		change_state(pc->board.devices[i], r);
	if (!(next(r) % 4)) {
		irqchip_reset(pc->vm);
		board_reset(&pc->board);
	}
	pc->out_len = 0;
	alarm(0);
}

int main(int argc, char **argv)
{
	uint64_t seed = 20260101, random;
	unsigned long rounds = 200, seconds = 0, done = 0;
	time_t end;
	unsigned int i, silent = 0;
	struct pc pc;
	int c;

	while ((c = getopt(argc, argv, "s:t:n:")) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 't')
			seconds = strtoul(optarg, NULL, 0);
		else if (c == 'n')
			rounds = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	random = seed * 0x9e3779b97f4a7c15ull + 1;
	end = time(NULL) + (time_t)seconds;
	puts("1..1");
	start(&pc);
	while (seconds ? time(NULL) < end : done < rounds) {
		round_of(&pc, &random);
		done++;
	}
	pc_stop(&pc);
	for (i = 0; i < NR_RANGES; i++) {
		if (!ranges[i].answered) {
			printf("# %s never answered\n", ranges[i].name);
			silent++;
		}
	}
	printf("# seed %llu: %lu accesses; %lu states taken, %lu refused\n", (unsigned long long)seed,
	       done * ACCESSES * VCPUS, loads, refusals);
	printf("%sok 1 - every device answers random accesses\n", silent ? "not " : "");
	return silent != 0;
}
