/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A VM with the interrupt chips and a board for devices, whose vCPUs never
 * run: tests drive it through its buses and through hv_irqchip_ops.
 */
#ifndef TESTS_PC_FIXTURE_H
#define TESTS_PC_FIXTURE_H

#include "hv/dev/devices.h"
#include "hv/hv.h"

struct pc {
	struct hv_vm *vm;
	struct hv_vcpu *vcpu[HV_MAX_VCPUS];
	struct hv_board board;
	void *ram; /* 16 MiB from 0, one memslot */
	/* what the board was told */
	char out[4096];
	size_t out_len;
	unsigned int poweroffs, resets, panics, debug_exits;
	uint32_t debug_code;
	pthread_mutex_t lock; /* all of the above: timers and other vCPUs write too */
};

#define PC_RAM (16ULL << 20)

/* Aborts the test on failure. */
void pc_start(struct pc *pc, unsigned int vcpus);
void pc_stop(struct pc *pc);

void pc_out(struct pc *pc, uint16_t port, uint32_t value, unsigned int len);
uint32_t pc_in(struct pc *pc, uint16_t port, unsigned int len);
void pc_outb(struct pc *pc, uint16_t port, uint8_t value);
uint8_t pc_inb(struct pc *pc, uint16_t port);
/* As vCPU `cpu`. -EOPNOTSUPP when nobody answers. */
int pc_mmio_write(struct pc *pc, unsigned int cpu, uint64_t addr, uint64_t value, unsigned int len);
int pc_mmio_read(struct pc *pc, unsigned int cpu, uint64_t addr, void *value, unsigned int len);
void pc_lapic_write(struct pc *pc, unsigned int cpu, unsigned int offset, uint32_t value);
uint32_t pc_lapic_read(struct pc *pc, unsigned int cpu, unsigned int offset);
/* 0, or 1 for #GP */
int pc_wrmsr(struct pc *pc, unsigned int cpu, uint32_t msr, uint64_t value);
int pc_rdmsr(struct pc *pc, unsigned int cpu, uint32_t msr, uint64_t *value);
/* The next interrupt, taken; -1: none. */
int pc_take(struct pc *pc, unsigned int cpu);
/* Wait until an interrupt is pending; -1: none came in twenty seconds, a limit for defects only. */
int pc_wait_irq(struct pc *pc, unsigned int cpu);
void pc_sleep_ms(unsigned int ms);

#endif
