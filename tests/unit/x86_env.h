/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small machine for the tests of hv/x86: 16 MiB of RAM from physical 0, ops
 * that count and record, and ways to start a CPU in each mode.
 *
 * Physical layout used by env_mode_*():
 *	0x1000 GDT, 0x2000 IDT, 0x3000 TSS, 0x4000.. page tables,
 *	0x10000 code, 0x20000 data, 0x30000 stack top (level 0), 0x38000 (level 3)
 */
#ifndef TESTS_UNIT_X86_ENV_H
#define TESTS_UNIT_X86_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "hv/x86/x86.h"

#define ENV_RAM		(16ul << 20)
#define ENV_MMIO	0xf0000000ul
#define ENV_GDT		0x1000
#define ENV_IDT		0x2000
#define ENV_TSS		0x3000
#define ENV_PT		0x4000
#define ENV_CODE	0x10000
#define ENV_DATA	0x20000
#define ENV_STACK	0x30000
#define ENV_USTACK	0x38000

/* Selectors of the GDT below. */
enum { SEL_CODE32 = 0x08, SEL_DATA32 = 0x10, SEL_CODE64 = 0x18, SEL_UCODE32 = 0x23, SEL_UDATA = 0x2b,
       SEL_UCODE64 = 0x33, SEL_TSS = 0x38, SEL_CODE16 = 0x48, SEL_DATA16 = 0x50 };

struct env {
	struct x86_cpu *cpu;
	uint8_t *ram;
	/* what the ops saw */
	unsigned int exits;
	enum x86_intercept last;
	struct x86_intercept_info info;
	int icpt_status;		/* what the intercept op returns */
	uint32_t out_port, out_value, outs;
	uint32_t in_value;
	uint64_t mmio_addr, mmio_value;
	unsigned int mmio_reads, mmio_writes, translates;
	uint64_t msr_value;
	bool deny_write;		/* phys_translate: EXIT on write */
	uint64_t ro_page;		/* page whose writes exit, 0 none */
	struct x86_phys_req last_req;
	int poll_inject;		/* vector to inject from poll, -1: none */
	unsigned int polls;
	uint32_t drop_ecx1, drop_ebx7;	/* features to hide */
	uint64_t tsc;
};

static inline struct env *env_of(struct x86_cpu *cpu)
{
	return cpu->ctx;
}

static int env_translate(struct x86_cpu *cpu, const struct x86_phys_req *req, struct x86_phys_res *res)
{
	struct env *e = env_of(cpu);
	uint64_t page = req->gpa & ~0xffful;

	e->translates++;
	e->last_req = *req;
	if (page >= ENV_RAM)
		return X86_MMIO;
	if ((req->access & X86_ACC_WRITE) && e->ro_page && page == e->ro_page)
		return X86_EXIT;
	res->host = e->ram + page;
	res->page_size = 4096;
	res->perm = X86_ACC_READ | X86_ACC_EXEC;
	if (!e->ro_page || page != e->ro_page)
		res->perm |= X86_ACC_WRITE;
	return X86_OK;
}

static int env_phys_read(struct x86_cpu *cpu, uint64_t gpa, void *buf, size_t size)
{
	struct env *e = env_of(cpu);

	e->mmio_reads++;
	e->mmio_addr = gpa;
	memcpy(buf, &e->mmio_value, size < 8 ? size : 8);
	return X86_OK;
}

static int env_phys_write(struct x86_cpu *cpu, uint64_t gpa, const void *buf, size_t size)
{
	struct env *e = env_of(cpu);

	e->mmio_writes++;
	e->mmio_addr = gpa;
	e->mmio_value = 0;
	memcpy(&e->mmio_value, buf, size < 8 ? size : 8);
	return X86_OK;
}

static int env_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info)
{
	struct env *e = env_of(cpu);

	e->exits++;
	e->last = what;
	e->info = *info;
	return e->icpt_status;
}

static void env_cpuid(struct x86_cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	struct env *e = env_of(cpu);

	memset(out, 0, 16);
	switch (leaf) {
	case 0:
		out[0] = 0xd;
		out[1] = 0x756e6547; /* GenuineIntel */
		out[3] = 0x49656e69;
		out[2] = 0x6c65746e;
		break;
	case 1:
		out[0] = 0x50654;
		out[2] = 0x7ffafbff & ~(1u << 31) & ~e->drop_ecx1;
		out[3] = 0x178bfbff;
		break;
	case 7:
		out[1] = sub ? 0 : (0x219c27ab | 1u << 24) & ~e->drop_ebx7;
		out[2] = sub ? 0 : 0x0040000c;
		break;
	case 0xd:
		out[0] = sub == 0 ? 7 : sub == 1 ? 7 : 0;
		out[1] = out[2] = 832;
		break;
	case 0x80000000u:
		out[0] = 0x80000008u;
		break;
	case 0x80000001u:
		out[2] = 0x121;
		out[3] = 0x2c100800;
		break;
	case 0x80000008u:
		out[0] = 0x3028;
		break;
	default:
		break;
	}
}

static int env_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	if (index != 0x1234)
		return X86_FAULT;
	*value = env_of(cpu)->msr_value;
	return X86_OK;
}

static int env_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (index != 0x1234)
		return X86_FAULT;
	env_of(cpu)->msr_value = value;
	return X86_OK;
}

static int env_in(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value)
{
	(void)port;
	(void)size;
	*value = env_of(cpu)->in_value++;
	return X86_OK;
}

static int env_out(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value)
{
	struct env *e = env_of(cpu);

	(void)size;
	e->out_port = port;
	e->out_value = value;
	e->outs++;
	return port == 0xf4 ? X86_EXIT : X86_OK;
}

static uint64_t env_rdtsc(struct x86_cpu *cpu)
{
	return env_of(cpu)->tsc += 100;
}

static int env_poll(struct x86_cpu *cpu, uint32_t which)
{
	struct env *e = env_of(cpu);
	struct x86_event ev = { .valid = 1, .vector = (uint8_t)e->poll_inject, .type = X86_EV_INTR };

	e->polls++;
	x86_unpend(cpu, which);
	if (e->poll_inject < 0)
		return X86_OK;
	e->poll_inject = -1;
	return x86_inject(cpu, &ev);
}

static const struct x86_ops env_ops = {
	.phys_translate = env_translate,
	.phys_read = env_phys_read,
	.phys_write = env_phys_write,
	.intercept = env_intercept,
	.cpuid = env_cpuid,
	.rdmsr = env_rdmsr,
	.wrmsr = env_wrmsr,
	.io_in = env_in,
	.io_out = env_out,
	.rdtsc = env_rdtsc,
	.poll = env_poll,
};

static inline struct env *env_create(void)
{
	struct env *e = calloc(1, sizeof(*e));
	struct x86_config config = { .code_bytes = 4ul << 20 };

	if (!e)
		abort();
	e->ram = mmap(NULL, ENV_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (e->ram == MAP_FAILED)
		abort();
	e->poll_inject = -1;
	e->icpt_status = X86_EXIT;
	e->cpu = x86_create(&env_ops, e, &config);
	if (!e->cpu)
		abort();
	return e;
}

static inline void env_destroy(struct env *e)
{
	x86_destroy(e->cpu);
	munmap(e->ram, ENV_RAM);
	free(e);
}

static inline void env_put64(struct env *e, uint64_t at, uint64_t v)
{
	memcpy(e->ram + at, &v, 8);
}

static inline void env_put32(struct env *e, uint64_t at, uint32_t v)
{
	memcpy(e->ram + at, &v, 4);
}

static inline uint64_t env_get64(struct env *e, uint64_t at)
{
	uint64_t v;

	memcpy(&v, e->ram + at, 8);
	return v;
}

static inline uint32_t env_get32(struct env *e, uint64_t at)
{
	return (uint32_t)env_get64(e, at);
}

static inline void env_code(struct env *e, uint64_t at, const void *bytes, size_t n)
{
	memcpy(e->ram + at, bytes, n);
}

static inline void env_seg(struct env *e, unsigned int seg, uint16_t sel)
{
	uint64_t d = env_get64(e, ENV_GDT + (sel & 0xfff8u));

	x86_seg_from_descriptor(&e->cpu->seg[seg], sel, d);
}

static inline void env_tables(struct env *e)
{
	static const uint64_t gdt[] = {
		0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff,
		0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff,
		0x0000890030000067, 0, 0x00009b000000ffff, 0x000093000000ffff,
	};
	unsigned int i;

	memcpy(e->ram + ENV_GDT, gdt, sizeof(gdt));
	e->cpu->gdtr = (struct x86_dtable){ ENV_GDT, 0xfff };
	e->cpu->idtr = (struct x86_dtable){ ENV_IDT, 0xfff };
	/* Identity map, 4 levels of 2 MiB pages, everything user and writable; 32-bit at +0x3000. */
	env_put64(e, ENV_PT, (ENV_PT + 0x1000) | 7);
	env_put64(e, ENV_PT + 0x1000, (ENV_PT + 0x2000) | 7);
	for (i = 0; i < 512; i++)
		env_put64(e, ENV_PT + 0x2000 + i * 8, (uint64_t)i << 21 | 0x87);
	for (i = 0; i < 1024; i++)
		env_put32(e, ENV_PT + 0x3000 + i * 4, i << 22 | 0x87);
	memset(e->ram + ENV_TSS, 0, 0x68);
	env_put32(e, ENV_TSS + 4, ENV_STACK);
	env_put32(e, ENV_TSS + 8, SEL_DATA32);
	env_put32(e, ENV_TSS + 100, 0x68u << 16);
	x86_seg_from_descriptor(&e->cpu->seg[X86_TR], SEL_TSS, gdt[7] | 2ull << 40);
}

/* Segments of 64-bit or 32-bit code at level `cpl`. */
static inline void env_segments(struct env *e, bool long_mode, unsigned int cpl)
{
	uint16_t data = cpl == 3 ? SEL_UDATA : SEL_DATA32;
	unsigned int i;

	for (i = 0; i < 6; i++)
		env_seg(e, i, data);
	env_seg(e, X86_CS, long_mode ? (cpl == 3 ? SEL_UCODE64 : SEL_CODE64) :
				       (cpl == 3 ? SEL_UCODE32 : SEL_CODE32));
	e->cpu->cpl = (uint8_t)cpl;
	e->cpu->gpr[X86_RSP] = cpl == 3 ? ENV_USTACK : ENV_STACK;
	e->cpu->rip = ENV_CODE;
}

static inline void env_mode_64(struct env *e, unsigned int cpl)
{
	struct x86_cpu *cpu = e->cpu;

	x86_reset(cpu, X86_RESET_POWER_UP);
	env_tables(e);
	/* 64-bit TSS: RSP0 at 4. */
	env_put64(e, ENV_TSS + 4, ENV_STACK);
	cpu->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
	cpu->cr4 = X86_CR4_PAE | X86_CR4_PGE;
	cpu->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
	cpu->cr3 = ENV_PT;
	env_segments(e, true, cpl);
	x86_tlb_flush_all(cpu);
	x86_state_changed(cpu);
}

static inline void env_mode_32(struct env *e, unsigned int cpl, bool paging)
{
	struct x86_cpu *cpu = e->cpu;

	x86_reset(cpu, X86_RESET_POWER_UP);
	env_tables(e);
	cpu->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | (paging ? X86_CR0_PG | X86_CR0_WP : 0);
	cpu->cr4 = X86_CR4_PSE;
	cpu->cr3 = ENV_PT + 0x3000;
	env_segments(e, false, cpl);
	x86_tlb_flush_all(cpu);
	x86_state_changed(cpu);
}

static inline void env_mode_real(struct env *e)
{
	unsigned int i;

	x86_reset(e->cpu, X86_RESET_POWER_UP);
	for (i = 0; i < 6; i++) {
		e->cpu->seg[i].selector = 0x1000;
		e->cpu->seg[i].base = 0x10000;
	}
	e->cpu->seg[X86_DS].selector = e->cpu->seg[X86_ES].selector = 0x2000;
	e->cpu->seg[X86_DS].base = e->cpu->seg[X86_ES].base = 0x20000;
	e->cpu->seg[X86_SS].selector = 0x2800;
	e->cpu->seg[X86_SS].base = 0x28000;
	e->cpu->idtr = (struct x86_dtable){ 0, 0x3ff };
	e->cpu->gpr[X86_RSP] = 0x8000;
	e->cpu->rip = 0;
	x86_tlb_flush_all(e->cpu);
	x86_state_changed(e->cpu);
}

/* An interrupt gate of 64-bit (long) or 32-bit code. */
static inline void env_gate(struct env *e, unsigned int vector, uint64_t handler, unsigned int type,
			    unsigned int dpl)
{
	bool lma = e->cpu->efer & X86_EFER_LMA;
	uint64_t low = (handler & 0xffff) | (uint64_t)(lma ? SEL_CODE64 : SEL_CODE32) << 16 |
		       (uint64_t)(0x80 | dpl << 5 | type) << 40 | (handler >> 16 & 0xffff) << 48;

	env_put64(e, ENV_IDT + vector * (lma ? 16 : 8), low);
	if (lma)
		env_put64(e, ENV_IDT + vector * 16 + 8, handler >> 32);
}

/* All vectors to handlers that report themselves: `out 0xf4` after loading the vector in AL. */
static inline void env_default_idt(struct env *e)
{
	unsigned int v;

	for (v = 0; v < 256; v++) {
		uint64_t at = 0x50000 + v * 16;
		const uint8_t code[] = { 0xb0, (uint8_t)v, 0xe6, 0xf4 };

		env_gate(e, v, at, 14, 0);
		env_code(e, at, code, sizeof(code));
	}
}

#endif
