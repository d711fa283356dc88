/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See pc_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/pc_fixture.h"

static void on_output(void *ctx, const void *data, size_t len)
{
	struct pc *pc = ctx;

	pthread_mutex_lock(&pc->lock);
	if (len > sizeof(pc->out) - pc->out_len)
		len = sizeof(pc->out) - pc->out_len;
	memcpy(pc->out + pc->out_len, data, len);
	pc->out_len += len;
	pthread_mutex_unlock(&pc->lock);
}

static void count(struct pc *pc, unsigned int *counter)
{
	pthread_mutex_lock(&pc->lock);
	(*counter)++;
	pthread_mutex_unlock(&pc->lock);
}

static void on_poweroff(void *ctx)
{
	struct pc *pc = ctx;

	count(pc, &pc->poweroffs);
}

static void on_reset(void *ctx, const char *how)
{
	struct pc *pc = ctx;

	count(pc, &pc->resets);
}

static void on_panic(void *ctx, const char *detail)
{
	struct pc *pc = ctx;

	count(pc, &pc->panics);
}

static void on_debug_exit(void *ctx, uint32_t code)
{
	struct pc *pc = ctx;

	count(pc, &pc->debug_exits);
	pthread_mutex_lock(&pc->lock);
	pc->debug_code = code;
	pthread_mutex_unlock(&pc->lock);
}

static const struct hv_board_ops board_ops = {
	.console_output = on_output,
	.poweroff = on_poweroff,
	.reset = on_reset,
	.panic = on_panic,
	.debug_exit = on_debug_exit,
};

void pc_start(struct pc *pc, unsigned int vcpus)
{
	struct hv_vm_config config = { .name = "pc", .irqchip = true };
	struct hv_ram_config ram = { .backing = HV_MEM_ANON, .size = PC_RAM, .fd = -1 };
	struct hv_memory_region region = { .memory_size = PC_RAM };
	unsigned int i;

	memset(pc, 0, sizeof(*pc));
	pthread_mutex_init(&pc->lock, NULL);
	assert_int_equal(hv_init(&(struct hv_init){ .version = HV_API_VERSION }), 0);
	assert_int_equal(hv_thread_enter(), 0);
	assert_int_equal(hv_vm_create(&config, &pc->vm), 0);
	assert_int_equal(hv_vm_ram_create(pc->vm, &ram, &pc->ram), 0);
	region.userspace_addr = (uint64_t)(uintptr_t)pc->ram;
	assert_int_equal(hv_vm_set_memory_region(pc->vm, &region), 0);
	for (i = 0; i < vcpus; i++)
		assert_int_equal(hv_vcpu_create(pc->vm, i, &pc->vcpu[i]), 0);
	pc->board = (struct hv_board){ .vm = pc->vm, .ops = &board_ops, .ctx = pc, .vcpus = vcpus,
				       .ram_low = PC_RAM };
}

void pc_stop(struct pc *pc)
{
	board_destroy(&pc->board);
	hv_vm_release(pc->vm);
	hv_thread_leave();
	hv_exit();
	pthread_mutex_destroy(&pc->lock);
}

void pc_out(struct pc *pc, uint16_t port, uint32_t value, unsigned int len)
{
	bus_write(pc->vm, pc->vcpu[0], HV_BUS_PIO, port, len, &value);
}

uint32_t pc_in(struct pc *pc, uint16_t port, unsigned int len)
{
	uint32_t value = 0;

	if (bus_read(pc->vm, pc->vcpu[0], HV_BUS_PIO, port, len, &value))
		return 0xffffffffU >> (32 - 8 * len);
	return value;
}

void pc_outb(struct pc *pc, uint16_t port, uint8_t value)
{
	pc_out(pc, port, value, 1);
}

uint8_t pc_inb(struct pc *pc, uint16_t port)
{
	return (uint8_t)pc_in(pc, port, 1);
}

int pc_mmio_write(struct pc *pc, unsigned int cpu, uint64_t addr, uint64_t value, unsigned int len)
{
	return bus_write(pc->vm, pc->vcpu[cpu], HV_BUS_MMIO, addr, len, &value);
}

int pc_mmio_read(struct pc *pc, unsigned int cpu, uint64_t addr, void *value, unsigned int len)
{
	return bus_read(pc->vm, pc->vcpu[cpu], HV_BUS_MMIO, addr, len, value);
}

void pc_lapic_write(struct pc *pc, unsigned int cpu, unsigned int offset, uint32_t value)
{
	assert_int_equal(pc_mmio_write(pc, cpu, HV_LAPIC_BASE + offset, value, 4), 0);
}

uint32_t pc_lapic_read(struct pc *pc, unsigned int cpu, unsigned int offset)
{
	uint32_t value = 0;

	assert_int_equal(pc_mmio_read(pc, cpu, HV_LAPIC_BASE + offset, &value, 4), 0);
	return value;
}

int pc_wrmsr(struct pc *pc, unsigned int cpu, uint32_t msr, uint64_t value)
{
	return pc->vm->irqchip_ops->wrmsr(pc->vcpu[cpu], msr, value);
}

int pc_rdmsr(struct pc *pc, unsigned int cpu, uint32_t msr, uint64_t *value)
{
	return pc->vm->irqchip_ops->rdmsr(pc->vcpu[cpu], msr, value);
}

int pc_take(struct pc *pc, unsigned int cpu)
{
	if (pc->vm->irqchip_ops->pending_interrupt(pc->vcpu[cpu]) < 0)
		return -1;
	return pc->vm->irqchip_ops->ack_interrupt(pc->vcpu[cpu]);
}

void pc_sleep_ms(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

int pc_wait_irq(struct pc *pc, unsigned int cpu)
{
	unsigned int i;
	int vector;

	for (i = 0; i < 20000; i++) {
		vector = pc->vm->irqchip_ops->pending_interrupt(pc->vcpu[cpu]);
		if (vector >= 0)
			return vector;
		pc_sleep_ms(1);
	}
	return -1;
}
