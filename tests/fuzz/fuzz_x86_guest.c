/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fuzzer's other side: hv/x86 over a small memory, at CPL 3 under 4-level paging. */
#include "config.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "tests/fuzz/fuzz_x86.h"

#define RAM_SIZE	(1ul << 20)	/* guest-physical */
#define GPA_CODE	0x10000u
#define GPA_DATA	0x20000u
#define GPA_PT		0x1000u

static struct {
	struct x86_cpu *cpu;
	uint8_t *ram;
	int vector;
	uint64_t error, cr2;
} guest;

/* ---- operations ---------------------------------------------------------------------------------- */

static int op_translate(struct x86_cpu *cpu, const struct x86_phys_req *req, struct x86_phys_res *res)
{
	if (req->gpa >= RAM_SIZE)
		return X86_EXIT;
	res->host = guest.ram + (req->gpa & ~0xfffull);
	res->perm = X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC;
	res->page_size = 4096;
	return X86_OK;
}

static int op_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info)
{
	if (what >= 32)
		return X86_OK;
	guest.vector = (int)what;
	guest.error = info->exc.has_error ? info->exc.error_code : 0;
	guest.cr2 = info->exc.payload;
	return X86_EXIT;
}

static void op_cpuid(struct x86_cpu *cpu, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	__asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(sub));
}

static int op_msr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return X86_FAULT;
}

static int op_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return X86_FAULT;
}

static int op_in(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t *value)
{
	return X86_EXIT;
}

static int op_out(struct x86_cpu *cpu, uint16_t port, unsigned int size, uint32_t value)
{
	return X86_EXIT;
}

static uint64_t op_rdtsc(struct x86_cpu *cpu)
{
	return 0;
}

static int op_poll(struct x86_cpu *cpu, uint32_t which)
{
	return X86_OK;
}

static const struct x86_ops ops = {
	.phys_translate = op_translate, .intercept = op_intercept, .cpuid = op_cpuid, .rdmsr = op_msr,
	.wrmsr = op_wrmsr, .io_in = op_in, .io_out = op_out, .rdtsc = op_rdtsc, .poll = op_poll,
};

/* ---- the machine ---------------------------------------------------------------------------------- */

static void put64(uint64_t gpa, uint64_t v)
{
	memcpy(guest.ram + gpa, &v, 8);
}

/* 4-level tables: CODE at slot 128 of its directory, DATA at slot 256. */
static void make_tables(void)
{
	uint64_t pt_code = GPA_PT + 0x4000, pt_data = GPA_PT + 0x5000;
	unsigned int i;

	put64(GPA_PT, (GPA_PT + 0x1000) | 7);
	put64(GPA_PT + 0x1000, (GPA_PT + 0x2000) | 7);
	put64(GPA_PT + 0x2000 + (CODE >> 21) * 8, pt_code | 7);
	put64(GPA_PT + 0x2000 + (DATA >> 21) * 8, pt_data | 7);
	for (i = 0; i < 2; i++)
		put64(pt_code + i * 8, (GPA_CODE + i * 0x1000) | 7);
	for (i = 0; i < 3; i++)
		put64(pt_data + i * 8, (GPA_DATA + i * 0x1000) | (i < 2 ? 7 : 5));
}

/* 16-bit segments of the native side's local descriptor table: base, limit in bytes, no B bit. */
static void segments_16(struct x86_cpu *cpu)
{
	static const uint8_t data[] = { X86_ES, X86_SS, X86_DS };
	unsigned int i;

	cpu->seg[X86_CS] = (struct x86_seg){ .selector = LDT_CODE, .base = CODE, .limit = CODE_SIZE - 1,
					     .ar = 0xfb };
	for (i = 0; i < 3; i++)
		cpu->seg[data[i]] = (struct x86_seg){ .selector = LDT_DATA, .base = DATA,
						      .limit = DATA_SIZE - 1, .ar = 0xf3 };
}

/* As Linux has them for programs of the kind. */
static void segments(struct x86_cpu *cpu, unsigned int bits)
{
	unsigned int i;

	for (i = 0; i < 6; i++)
		x86_seg_from_descriptor(&cpu->seg[i], 0x2b, 0x00cff3000000ffffull);
	if (bits == 64) {
		for (i = 0; i < 6; i++)
			if (i != X86_SS && i != X86_CS)
				cpu->seg[i].selector = 0;
		cpu->seg[X86_GS].base = GS_BASE;
	}
	x86_seg_from_descriptor(&cpu->seg[X86_CS], bits == 64 ? 0x33 : 0x23,
				bits == 64 ? 0x00affb000000ffffull : 0x00cffb000000ffffull);
	if (bits == 16)
		segments_16(cpu);
	cpu->seg[X86_TR].limit = 0; /* no I/O bitmap */
}

struct x86_cpu *guest_create(unsigned int bits)
{
	struct x86_config config = { .code_bytes = 4ul << 20 };
	struct x86_cpu *cpu;
	unsigned int i;

	guest.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cpu = guest.cpu = x86_create(&ops, NULL, &config);
	if (guest.ram == MAP_FAILED || !cpu)
		exit(99);
	make_tables();
	gen_data(guest_data());
	cpu->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_MP;
	cpu->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_FSGSBASE;
	if (x86_has(cpu, X86_FEAT_XSAVE)) {
		cpu->cr4 |= X86_CR4_OSXSAVE;
		cpu->xcr0 = 7;
	}
	cpu->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
	cpu->cr3 = GPA_PT;
	cpu->idtr.limit = 0;
	cpu->gdtr.limit = 0;
	segments(cpu, bits);
	cpu->cpl = 3;
	for (i = 0; i < 32; i++)
		x86_intercept_set(cpu, X86_ICPT_EXC + i, true);
	x86_state_changed(cpu);
	return cpu;
}

uint8_t *guest_data(void)
{
	return guest.ram + GPA_DATA;
}

/* ---- one case ---------------------------------------------------------------------------------- */

void guest_place(const struct fuzz_case *c)
{
	memcpy(guest.ram + GPA_CODE + (c->bits == 16 ? c->start.rip : c->start.rip - CODE), native_code(c),
	       PLACE_SIZE);
}

/*
 * The single-step trap is how an instruction completes, or the jump behind it: to a selector that
 * does not exist, or to a page that does not.
 */
static bool completed(const struct fuzz_case *c)
{
	const struct x86_cpu *cpu = guest.cpu;

	if (guest.vector == X86_DB)
		return true;
	return c->bits == 64 ? guest.vector == X86_PF && cpu->rip == native_leave() :
			       guest.vector == X86_GP && cpu->rip == c->start.rip + c->insn.len;
}

static void load(const struct fuzz_case *c)
{
	struct x86_cpu *cpu = guest.cpu;

	memcpy(cpu->gpr, c->start.gpr, sizeof(cpu->gpr));
	if (c->fp)
		memcpy(cpu->xsave, c->start.fp, FP_SIZE);
	cpu->rip = c->start.rip;
	cpu->intr_state = 0;
	cpu->pending_dbg = 0;
	x86_set_rflags(cpu, c->start.rflags);
}

void guest_run(const struct fuzz_case *c, bool block, struct outcome *out)
{
	struct x86_cpu *cpu = guest.cpu;

	load(c);
	guest.vector = -1;
	guest.error = guest.cr2 = 0;
	if (block)
		(void)x86_run(cpu, 1000000);
	else
		(void)x86_step_one(cpu);
	memcpy(out->state.gpr, cpu->gpr, sizeof(cpu->gpr));
	if (c->fp)
		memcpy(out->state.fp, cpu->xsave, FP_SIZE);
	out->state.rip = cpu->rip;
	out->state.rflags = x86_get_rflags(cpu);
	if (completed(c)) {
		guest.vector = -1;
		if (block)
			out->state.rip = c->start.rip + c->insn.len;
	}
	out->vector = guest.vector;
	out->error = guest.vector < 0 ? 0 : guest.error;
	out->cr2 = guest.cr2;
}
