/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Differential fuzzer: random instructions and states, executed by the host's own processor and
 * by hv/x86, must leave the same registers, flags, memory and faults.
 *
 *	fuzz_x86 [-s SEED] [-n INSNS] [-t SECONDS] [-m 64|32|16] [FILE...]
 *
 * The native side runs in a forked child at the same linear addresses as the guest: a signal
 * handler returns into the instruction with TF set and is entered again by the trap after it or
 * by its fault, whose vector, error code and address the kernel hands over. The child holds both
 * sides, so that nothing but the verdict travels. The parent reports a child that died and one
 * that hangs. FILEs are reproducers, as printed for a difference and kept in tests/fuzz/x86-corpus.
 *
 * Not executed: what would leave the sandbox (system calls, hypercalls), what another owner
 * decides (CPUID, time, randomness, descriptor tables), and what would take the handler's own
 * ground away (FS, GS, AC).
 */
#include "config.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/ldt.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <Zydis/Zydis.h>
#include "tests/fuzz/fuzz_x86.h"

#define CODE		0x10000000ul	/* two pages of code */
#define DATA		0x20000000ul	/* two writable pages, one read-only; nothing around them */
#define DATA_RW		0x2000u
#define DATA_SIZE	0x3000u
#define RAM_SIZE	(1ul << 20)	/* guest-physical */
#define GPA_CODE	0x10000u
#define GPA_DATA	0x20000u
#define GPA_PT		0x1000u
#define LDT_CODE	0x07
#define LDT_DATA	0x0f

struct regs {
	uint64_t gpr[16];	/* x86 order */
	uint64_t rip, rflags;
};

/* The outcome of one instruction on one side. */
struct outcome {
	struct regs regs;
	int vector;		/* -1: completed */
	uint64_t error, cr2;
};

struct fuzz {
	struct x86_cpu *cpu;
	uint8_t *ram;
	uint8_t *pristine;	/* DATA_SIZE */
	uint64_t rng;
	unsigned int bits;	/* 64; 32 and 16: compatibility mode */
	uint64_t limit, done, skipped, faults;
	double deadline;
	/* the case in progress */
	struct x86_insn insn;
	uint8_t bytes[15];
	struct regs start;
	int exc_vector;
	uint64_t exc_error, exc_cr2;
	char **files;		/* reproducers still to run */
	bool single;		/* running a reproducer */
	int status;
};

/* The case, where the parent can see it when the child has died of it. */
struct shared_case {
	uint8_t bytes[15];
	struct regs start;
};

static struct fuzz fz;
static struct shared_case *shared;
static sigjmp_buf finish;

/* ---- randomness -------------------------------------------------------------------------------- */

static uint64_t rnd(void)
{
	uint64_t z = (fz.rng += 0x9e3779b97f4a7c15ull); /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static unsigned int pick(unsigned int n)
{
	return (unsigned int)(rnd() % n);
}

static uint64_t rnd_value(void)
{
	static const uint64_t special[] = {
		0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, UINT64_MAX, UINT64_MAX - 1,
	};

	switch (pick(8)) {
	case 0:
	case 1:
		return special[pick(sizeof(special) / sizeof(special[0]))];
	case 2:
		return pick(64);
	case 3:
		return DATA + pick(DATA_SIZE);
	case 4:
		return (uint64_t)(int64_t)(int32_t)rnd();
	default:
		return rnd();
	}
}

static uint64_t rnd_address(void)
{
	switch (pick(32)) {
	case 0: /* anywhere */
		return rnd_value();
	case 1: /* outside by a little */
		return DATA + DATA_SIZE - pick(16);
	case 2:
		return DATA - pick(16);
	case 3: /* not canonical, or near the edge */
		return 0x00007ffffffffff0ull + pick(32);
	case 4: /* read-only */
		return DATA + DATA_RW + pick(0x1000 - 64);
	case 5: /* across pages */
		return DATA + 0x1000 - pick(16);
	default:
		return DATA + 64 + pick(DATA_RW - 128);
	}
}

/* ---- the guest's side ---------------------------------------------------------------------------- */

static int op_translate(struct x86_cpu *cpu, const struct x86_phys_req *req, struct x86_phys_res *res)
{
	if (req->gpa >= RAM_SIZE)
		return X86_EXIT;
	res->host = fz.ram + (req->gpa & ~0xfffull);
	res->perm = X86_ACC_READ | X86_ACC_WRITE | X86_ACC_EXEC;
	res->page_size = 4096;
	return X86_OK;
}

static int op_intercept(struct x86_cpu *cpu, enum x86_intercept what, struct x86_intercept_info *info)
{
	if (what >= 32)
		return X86_OK;
	fz.exc_vector = (int)what;
	fz.exc_error = info->exc.has_error ? info->exc.error_code : 0;
	fz.exc_cr2 = info->exc.payload;
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

static void put64(uint64_t gpa, uint64_t v)
{
	memcpy(fz.ram + gpa, &v, 8);
}

/* 4-level tables: CODE at slot 128 of its directory, DATA at slot 256. */
static void guest_tables(void)
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

static void guest_segment(unsigned int seg, uint16_t selector, uint64_t descriptor)
{
	x86_seg_from_descriptor(&fz.cpu->seg[seg], selector, descriptor);
}

/* 16-bit segments of the native side's local descriptor table: base, limit in bytes, no B bit. */
static void guest_segments_16(void)
{
	static const uint8_t data[] = { X86_ES, X86_SS, X86_DS };
	struct x86_seg *s = &fz.cpu->seg[X86_CS];
	unsigned int i;

	*s = (struct x86_seg){ .selector = LDT_CODE, .base = CODE, .limit = 0x1fff, .ar = 0xfb };
	for (i = 0; i < 3; i++)
		fz.cpu->seg[data[i]] = (struct x86_seg){ .selector = LDT_DATA, .base = DATA,
							 .limit = DATA_SIZE - 1, .ar = 0xf3 };
}

static void guest_init(void)
{
	struct x86_config config = { .code_bytes = 4ul << 20 };
	struct x86_cpu *cpu;
	unsigned int i;

	fz.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cpu = fz.cpu = x86_create(&ops, NULL, &config);
	if (fz.ram == MAP_FAILED || !cpu)
		exit(99);
	guest_tables();
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
	for (i = 0; i < 6; i++)
		guest_segment(i, 0x2b, 0x00cff3000000ffffull);
	if (fz.bits == 64) /* as Linux has them for 64-bit programs */
		for (i = 0; i < 6; i++)
			if (i != X86_SS && i != X86_CS)
				cpu->seg[i].selector = 0;
	guest_segment(X86_CS, fz.bits == 64 ? 0x33 : 0x23,
		      fz.bits == 64 ? 0x00affb000000ffffull : 0x00cffb000000ffffull);
	if (fz.bits == 16)
		guest_segments_16();
	cpu->seg[X86_TR].limit = 0; /* no I/O bitmap */
	cpu->cpl = 3;
	for (i = 0; i < 32; i++)
		x86_intercept_set(cpu, X86_ICPT_EXC + i, true);
	x86_state_changed(cpu);
}

static void guest_run(struct outcome *out)
{
	struct x86_cpu *cpu = fz.cpu;

	memcpy(cpu->gpr, fz.start.gpr, sizeof(cpu->gpr));
	cpu->rip = fz.start.rip;
	cpu->intr_state = 0;
	cpu->pending_dbg = 0;
	x86_set_rflags(cpu, fz.start.rflags);
	fz.exc_vector = -1;
	(void)x86_step_one(cpu);
	memcpy(out->regs.gpr, cpu->gpr, sizeof(cpu->gpr));
	out->regs.rip = cpu->rip;
	out->regs.rflags = x86_get_rflags(cpu);
	/* The single-step trap is how an instruction completes. */
	out->vector = fz.exc_vector == X86_DB ? -1 : fz.exc_vector;
	out->error = fz.exc_error;
	out->cr2 = fz.exc_cr2;
}

/* ---- what is not compared ------------------------------------------------------------------------- */

#define AF X86_FL_AF
#define PF X86_FL_PF
#define SF X86_FL_SF
#define ZF X86_FL_ZF
#define OF X86_FL_OF
#define CF X86_FL_CF

/*
 * Flags that the SDM, volume 2, "Flags Affected" of the named entry calls undefined and that
 * hv/x86 computes itself, rather than by the host's instruction.
 */
static const struct { ZydisMnemonic mnemonic; uint32_t flags; const char *entry; } undefined[] = {
	{ ZYDIS_MNEMONIC_AAA, OF | SF | ZF | PF, "AAA: OF, SF, ZF, PF undefined" },
	{ ZYDIS_MNEMONIC_AAS, OF | SF | ZF | PF, "AAS: OF, SF, ZF, PF undefined" },
	{ ZYDIS_MNEMONIC_AAD, OF | AF | CF, "AAD: OF, AF, CF undefined" },
	{ ZYDIS_MNEMONIC_AAM, OF | AF | CF, "AAM: OF, AF, CF undefined" },
	{ ZYDIS_MNEMONIC_DAA, OF, "DAA: OF undefined" },
	{ ZYDIS_MNEMONIC_DAS, OF, "DAS: OF undefined" },
	{ ZYDIS_MNEMONIC_ANDN, AF | PF, "ANDN: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BEXTR, AF | SF | PF, "BEXTR: AF, SF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSI, AF | PF, "BLSI: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSMSK, AF | PF, "BLSMSK: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BLSR, AF | PF, "BLSR: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BZHI, AF | PF, "BZHI: AF, PF undefined" },
	{ ZYDIS_MNEMONIC_LZCNT, OF | SF | PF | AF, "LZCNT: OF, SF, PF, AF undefined" },
	{ ZYDIS_MNEMONIC_TZCNT, OF | SF | PF | AF, "TZCNT: OF, SF, PF, AF undefined" },
	{ ZYDIS_MNEMONIC_BT, OF | SF | AF | PF, "BT: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTS, OF | SF | AF | PF, "BTS: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTR, OF | SF | AF | PF, "BTR: OF, SF, AF, PF undefined" },
	{ ZYDIS_MNEMONIC_BTC, OF | SF | AF | PF, "BTC: OF, SF, AF, PF undefined" },
};

/*
 * SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR: OF undefined for counts other than 1, AF undefined for
 * shifts. SHLD, SHRD: OF for counts over 1, AF; everything when the count exceeds the operand.
 * These run on the host, but by another form (count in CL) with other undefined results.
 */
static uint32_t undefined_shift(void)
{
	const struct x86_insn *in = &fz.insn;
	unsigned int op = in->opcode, width = in->opsize == 8 ? 63 : 31, count;
	bool group = in->map == X86_MAP_1 && (op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3));
	bool twice = in->map == X86_MAP_0F && (op == 0xa4 || op == 0xa5 || op == 0xac || op == 0xad);

	if (!group && !twice)
		return 0;
	if (op == 0xd2 || op == 0xd3 || op == 0xa5 || op == 0xad)
		count = (unsigned int)fz.start.gpr[X86_RCX] & width;
	else
		count = (unsigned int)in->imm & width;
	if (!count)
		return 0;
	if (twice && count > in->opsize * 8u)
		return X86_FL_ARITH;
	return (count > 1 ? OF : 0) | (twice || (in->modrm >> 3 & 7) >= 4 ? AF : 0);
}

static uint32_t undefined_flags(void)
{
	unsigned int i;

	for (i = 0; i < sizeof(undefined) / sizeof(undefined[0]); i++)
		if (undefined[i].mnemonic == fz.insn.mnemonic)
			return undefined[i].flags;
	return undefined_shift();
}

/* Results that the manual leaves undefined: BSWAP of a 16-bit register. */
/*
 * An operand half below and half above the end of the lower canonical half: #GP or #PF depends
 * on how an instruction is split into loads (MOVBE on Intel: #PF).
 */
static bool edge_of_canonical(const struct outcome *n, const struct outcome *o)
{
	return n->vector == X86_PF && o->vector == X86_GP && n->cr2 > 0x7ffffffffff0ull &&
	       n->cr2 < 0x800000000000ull;
}

static bool undefined_result(void)
{
	return fz.insn.mnemonic == ZYDIS_MNEMONIC_BSWAP && fz.insn.opsize == 2;
}

static bool forbidden(ZydisMnemonic m)
{
	static const ZydisMnemonic list[] = {
		ZYDIS_MNEMONIC_SYSCALL, ZYDIS_MNEMONIC_SYSENTER, ZYDIS_MNEMONIC_INT, ZYDIS_MNEMONIC_INT1,
		ZYDIS_MNEMONIC_INT3, ZYDIS_MNEMONIC_INTO, ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD,
		ZYDIS_MNEMONIC_IRETQ, ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_RDTSC, ZYDIS_MNEMONIC_RDTSCP,
		ZYDIS_MNEMONIC_RDPMC, ZYDIS_MNEMONIC_RDPID, ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED,
		ZYDIS_MNEMONIC_XGETBV, ZYDIS_MNEMONIC_RDFSBASE, ZYDIS_MNEMONIC_RDGSBASE,
		ZYDIS_MNEMONIC_WRFSBASE, ZYDIS_MNEMONIC_WRGSBASE, ZYDIS_MNEMONIC_RDPKRU,
		ZYDIS_MNEMONIC_WRPKRU, ZYDIS_MNEMONIC_SGDT, ZYDIS_MNEMONIC_SIDT, ZYDIS_MNEMONIC_SLDT,
		ZYDIS_MNEMONIC_STR, ZYDIS_MNEMONIC_SMSW, ZYDIS_MNEMONIC_LAR, ZYDIS_MNEMONIC_LSL,
		ZYDIS_MNEMONIC_VERR, ZYDIS_MNEMONIC_VERW, ZYDIS_MNEMONIC_LDS, ZYDIS_MNEMONIC_LES,
		ZYDIS_MNEMONIC_LFS, ZYDIS_MNEMONIC_LGS, ZYDIS_MNEMONIC_LSS, ZYDIS_MNEMONIC_VMCALL,
		ZYDIS_MNEMONIC_VMMCALL, ZYDIS_MNEMONIC_VMFUNC, ZYDIS_MNEMONIC_GETSEC,
		ZYDIS_MNEMONIC_ENCLS, ZYDIS_MNEMONIC_ENCLU, ZYDIS_MNEMONIC_ENCLV, ZYDIS_MNEMONIC_UMONITOR,
		ZYDIS_MNEMONIC_UMWAIT, ZYDIS_MNEMONIC_TPAUSE, ZYDIS_MNEMONIC_MONITORX,
		ZYDIS_MNEMONIC_MWAITX, ZYDIS_MNEMONIC_INVLPGA, ZYDIS_MNEMONIC_STGI, ZYDIS_MNEMONIC_CLGI,
		ZYDIS_MNEMONIC_VMRUN, ZYDIS_MNEMONIC_VMLOAD, ZYDIS_MNEMONIC_VMSAVE,
		ZYDIS_MNEMONIC_SKINIT, ZYDIS_MNEMONIC_RSM, ZYDIS_MNEMONIC_XBEGIN, ZYDIS_MNEMONIC_XABORT,
		ZYDIS_MNEMONIC_XEND, ZYDIS_MNEMONIC_XTEST, ZYDIS_MNEMONIC_SERIALIZE,
		ZYDIS_MNEMONIC_INVEPT, ZYDIS_MNEMONIC_INVVPID, ZYDIS_MNEMONIC_VMCLEAR,
		ZYDIS_MNEMONIC_VMLAUNCH, ZYDIS_MNEMONIC_VMPTRLD, ZYDIS_MNEMONIC_VMPTRST,
		ZYDIS_MNEMONIC_VMREAD, ZYDIS_MNEMONIC_VMRESUME, ZYDIS_MNEMONIC_VMWRITE,
		ZYDIS_MNEMONIC_VMXOFF, ZYDIS_MNEMONIC_VMXON, ZYDIS_MNEMONIC_MONITOR,
		ZYDIS_MNEMONIC_MWAIT, ZYDIS_MNEMONIC_XSETBV, ZYDIS_MNEMONIC_PCONFIG, ZYDIS_MNEMONIC_ARPL,
	};
	unsigned int i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i] == m)
			return true;
	return false;
}

static bool far_or_segment(const struct x86_insn *in)
{
	unsigned int op = in->opcode, ext = in->modrm >> 3 & 7;

	if (in->map == X86_MAP_1) {
		if (op == 0x9a || op == 0xea || op == 0xca || op == 0xcb || op == 0x8e || op == 0x8c)
			return true;
		if (op == 0xff && (ext == 3 || ext == 5))
			return true;
		return op == 0x06 || op == 0x07 || op == 0x0e || op == 0x16 || op == 0x17 || op == 0x1e ||
		       op == 0x1f;
	}
	return in->map == X86_MAP_0F &&
	       (op == 0xa0 || op == 0xa1 || op == 0xa8 || op == 0xa9 || (op >= 0x20 && op < 0x24));
}

static bool uses_fs_gs(const struct x86_insn *in)
{
	return (in->flags & X86_I_SEGPFX) && in->seg >= X86_FS;
}

static bool acceptable(int decoded)
{
	const struct x86_insn *in = &fz.insn;

	/* Undefined encodings depend on what this host has beyond us: none. */
	if (decoded)
		return false;
	if (forbidden((ZydisMnemonic)in->mnemonic) || far_or_segment(in) || uses_fs_gs(in))
		return false;
	return !fuzz_is_native(in) || fuzz_native_enabled();
}

/* ---- making a case ---------------------------------------------------------------------------------- */

static void random_bytes(void)
{
	unsigned int n = 0, i;

	if (!pick(6))
		fz.bytes[n++] = 0x66;
	if (!pick(24))
		fz.bytes[n++] = 0x67;
	if (!pick(6))
		fz.bytes[n++] = pick(2) ? 0xf2 : 0xf3;
	if (!pick(12))
		fz.bytes[n++] = 0xf0;
	if (!pick(32))
		fz.bytes[n++] = (uint8_t[]){ 0x26, 0x2e, 0x36, 0x3e }[pick(4)];
	if (fz.bits == 64 && pick(5) < 3)
		fz.bytes[n++] = (uint8_t)(0x40 | pick(16));
	switch (pick(16)) {
	case 0 ... 8:
		fz.bytes[n++] = (uint8_t)rnd();
		break;
	case 9 ... 12:
		fz.bytes[n++] = 0x0f;
		fz.bytes[n++] = (uint8_t)rnd();
		break;
	case 13:
		fz.bytes[n++] = 0x0f;
		fz.bytes[n++] = 0x38;
		fz.bytes[n++] = pick(2) ? (uint8_t)(0xf0 | pick(16)) : (uint8_t)rnd();
		break;
	default: /* VEX, integer maps */
		n = 0;
		fz.bytes[n++] = 0xc4;
		fz.bytes[n++] = (uint8_t)((rnd() & 0xe0) | (pick(4) ? 2 : 3));
		fz.bytes[n++] = (uint8_t)(rnd() & 0xfb);
		fz.bytes[n++] = (uint8_t)(0xf0 | pick(8));
		break;
	}
	for (i = n; i < 15; i++)
		fz.bytes[i] = (uint8_t)rnd();
}

/* Most memory operands should hit: bend a base register or the displacement to the target. */
static void aim(void)
{
	struct x86_cpu *cpu = fz.cpu;
	struct x86_memop m;
	uint64_t target = rnd_address();
	int64_t rel;
	int32_t disp;

	if (!(fz.insn.flags & X86_I_MEM))
		return;
	memcpy(cpu->gpr, fz.start.gpr, sizeof(cpu->gpr));
	cpu->rip = fz.start.rip;
	x86_memop(cpu, &fz.insn, &m);
	if (m.base < 16 && m.adsize * 8u == fz.bits) {
		fz.start.gpr[m.base] += target - m.linear;
		if (fz.bits < 64)
			fz.start.gpr[m.base] = (uint32_t)fz.start.gpr[m.base];
	} else if (fz.insn.flags & X86_I_RIPREL) {
		rel = (int64_t)(target - fz.start.rip - fz.insn.len);
		disp = (int32_t)rel;
		if (rel != disp)
			return;
		/* The displacement follows modrm; an immediate may follow it. */
		for (unsigned int i = 1; i + 4 < fz.insn.len; i++)
			if (fz.bytes[i] == fz.insn.modrm && i + 5 <= fz.insn.len) {
				int32_t old;

				memcpy(&old, fz.bytes + i + 1, 4);
				if (old + (int64_t)fz.insn.len == fz.insn.disp) {
					memcpy(fz.bytes + i + 1, &disp, 4);
					break;
				}
			}
	}
}

static void random_state(void)
{
	uint64_t flags = X86_FL_ONE | X86_FL_TF | X86_FL_IF | (rnd() & X86_FL_ARITH);
	unsigned int i;

	for (i = 0; i < 16; i++)
		fz.start.gpr[i] = rnd_value();
	fz.start.gpr[X86_RSP] = pick(16) ? DATA + 256 + pick(DATA_RW - 512) : rnd_address();
	fz.start.gpr[X86_RSI] = pick(4) ? rnd_address() : rnd_value();
	fz.start.gpr[X86_RDI] = pick(4) ? rnd_address() : rnd_value();
	if (pick(2))
		fz.start.gpr[X86_RBP] = rnd_address();
	if (pick(2))
		fz.start.gpr[X86_RCX] = pick(70);
	if (!pick(8))
		flags |= X86_FL_DF;
	if (fz.bits == 16) /* offsets, with whatever in the upper halves */
		for (i = 0; i < 16; i++)
			if (fz.start.gpr[i] - DATA < DATA_SIZE + 16)
				fz.start.gpr[i] -= DATA - (pick(8) ? 0 : (rnd() & 0xffff0000));
	if (fz.bits < 64)
		for (i = 0; i < 16; i++)
			fz.start.gpr[i] = i < 8 ? (uint32_t)fz.start.gpr[i] : 0;
	fz.start.rflags = flags;
	fz.start.rip = CODE + (pick(8) ? pick(0x1fe0) : 0x1000 - pick(16));
	if (fz.bits == 16)
		fz.start.rip -= CODE;
}

static void place_code(void)
{
	uint64_t offset = fz.bits == 16 ? fz.start.rip : fz.start.rip - CODE;

	memcpy((void *)(CODE + offset), fz.bytes, 15);
	memcpy(fz.ram + GPA_CODE + offset, fz.bytes, 15);
}

static void reset_data(void)
{
	memcpy((void *)DATA, fz.pristine, DATA_RW);
	memcpy(fz.ram + GPA_DATA, fz.pristine, DATA_SIZE);
}

/* POPF must not set AC, NT and ID under the handler, nor leave them behind. */
static void tame_popf(void)
{
	uint64_t at;
	unsigned int i;

	if (fz.insn.map != X86_MAP_1 || fz.insn.opcode != 0x9d)
		return;
	at = pick(DATA_RW - 8);
	fz.start.gpr[X86_RSP] = fz.bits == 16 ? at : DATA + at;
	for (i = 1; i < 3; i++)
		if (at + i < DATA_SIZE)
			fz.pristine[at + i] &= i == 1 ? 0xbf : 0;
}

static enum x86_code_mode code_mode(void)
{
	return fz.bits == 64 ? X86_CODE_64 : fz.bits == 32 ? X86_CODE_COMPAT32 : X86_CODE_COMPAT16;
}

static bool next_random(void)
{
	enum x86_code_mode mode = code_mode();
	int ret;

	for (;;) {
		random_bytes();
		ret = x86_decode(fz.bytes, 15, mode, &fz.insn);
		if (acceptable(ret))
			break;
		fz.skipped++;
	}
	random_state();
	aim();
	ret = x86_decode(fz.bytes, 15, mode, &fz.insn);
	tame_popf();
	return ret == 0;
}

/* ---- reproducers --------------------------------------------------------------------------------------- */

static void print_case(FILE *f)
{
	unsigned int i;

	fprintf(f, "mode %u\nbytes", fz.bits);
	for (i = 0; i < 15; i++)
		fprintf(f, " %02x", fz.bytes[i]);
	fprintf(f, "\nrip %lx\nrflags %lx\ngpr", fz.start.rip, fz.start.rflags);
	for (i = 0; i < 16; i++)
		fprintf(f, " %lx", fz.start.gpr[i]);
	fprintf(f, "\n");
}

/* Data is the seed's own pattern; a case keeps registers and bytes. False: not for this mode. */
static bool load_case(const char *name)
{
	FILE *f = fopen(name, "r");
	unsigned int i, byte;
	unsigned int mode = 0;
	bool ok;

	if (!f)
		exit(98);
	ok = fscanf(f, " mode %u bytes", &mode) == 1;
	for (i = 0; ok && i < 15; i++) {
		ok = fscanf(f, "%x", &byte) == 1;
		fz.bytes[i] = (uint8_t)byte;
	}
	ok = ok && fscanf(f, " rip %lx rflags %lx gpr", &fz.start.rip, &fz.start.rflags) == 2;
	for (i = 0; ok && i < 16; i++)
		ok = fscanf(f, "%lx", &fz.start.gpr[i]) == 1;
	fclose(f);
	if (!ok) {
		printf("# %s: not a case\n", name);
		exit(97);
	}
	if (mode != fz.bits)
		return false;
	return !x86_decode(fz.bytes, 15, code_mode(), &fz.insn);
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static void disassemble(char *buf, size_t n)
{
	ZydisDisassembledInstruction d;

	if (ZYAN_SUCCESS(ZydisDisassembleIntel(fz.bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 :
					       fz.bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 :
							       ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
					       fz.start.rip, fz.bytes, 15, &d)))
		snprintf(buf, n, "%s", d.text);
	else
		snprintf(buf, n, "?");
}

static bool differ(const char *what, uint64_t native, uint64_t ours)
{
	if (native == ours)
		return false;
	printf("# %-8s native %016lx ours %016lx\n", what, native, ours);
	return true;
}

static bool compare(const struct outcome *n, const struct outcome *o)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
					     "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	/* A signal's return restores neither NT nor ID, so POPF's effect on them stays behind. */
	uint64_t ignore = X86_FL_RF | X86_FL_TF | X86_FL_NT | X86_FL_ID | undefined_flags();
	uint64_t width = fz.bits < 64 ? UINT32_MAX : UINT64_MAX;
	bool bad = false;
	unsigned int i;

	if (edge_of_canonical(n, o))
		return false;
	bad |= differ("vector", (uint64_t)n->vector, (uint64_t)o->vector);
	if (n->vector >= 0 && n->vector == o->vector) {
		bad |= differ("error", n->error, o->error);
		if (n->vector == X86_PF)
			bad |= differ("cr2", n->cr2, o->cr2);
	}
	for (i = 0; i < (fz.bits < 64 ? 8 : 16); i++)
		if (!undefined_result())
			bad |= differ(names[i], n->regs.gpr[i] & width, o->regs.gpr[i] & width);
	bad |= differ("rip", n->regs.rip, o->regs.rip);
	bad |= differ("rflags", n->regs.rflags & ~ignore & X86_FL_ALL, o->regs.rflags & ~ignore & X86_FL_ALL);
	if (memcmp((void *)DATA, fz.ram + GPA_DATA, DATA_SIZE)) {
		printf("# memory differs\n");
		bad = true;
	}
	return bad;
}

static void report(void)
{
	char text[128];

	disassemble(text, sizeof(text));
	printf("# %s\n", text);
	print_case(stdout);
	printf("# rflags at start %lx\n", fz.start.rflags);
	fflush(stdout);
	fz.status = 1;
}

/* ---- the native side --------------------------------------------------------------------------------------- */

static const int greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool next_case(void)
{
	if (fz.single) {
		while (*fz.files)
			if (load_case(*fz.files++))
				return true;
		return false;
	}
	if (fz.done >= fz.limit || (!(fz.done & 255) && now() > fz.deadline))
		return false;
	return next_random() || next_random();
}

static void to_context(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	unsigned int i;

	for (i = 0; i < 16; i++)
		g[greg_of[i]] = (greg_t)fz.start.gpr[i];
	g[REG_RIP] = (greg_t)fz.start.rip;
	g[REG_EFL] = (greg_t)fz.start.rflags;
	/* CS in the low 16 bits, SS in the high ones. */
	g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000ull) |
				 (fz.bits == 64 ? 0x33 : fz.bits == 32 ? 0x23 : LDT_CODE) |
				 (fz.bits == 16 ? (uint64_t)LDT_DATA : 0x2bull) << 48);
}

static void from_context(const ucontext_t *uc, struct outcome *out)
{
	const greg_t *g = uc->uc_mcontext.gregs;
	unsigned int i;

	for (i = 0; i < 16; i++)
		out->regs.gpr[i] = (uint64_t)g[greg_of[i]];
	out->regs.rip = (uint64_t)g[REG_RIP];
	out->regs.rflags = (uint64_t)g[REG_EFL];
	out->vector = g[REG_TRAPNO] == X86_DB ? -1 : (int)g[REG_TRAPNO];
	out->error = (uint64_t)g[REG_ERR];
	out->cr2 = (uint64_t)g[REG_CR2];
	/* Linux tells programs that every address of its own half is present. */
	if (out->vector == X86_PF && out->cr2 >= 0x7ffffffff000ull)
		out->error &= ~(uint64_t)X86_PF_P;
}

static bool started;
static volatile sig_atomic_t inside;	/* a signal in here is a fault of ours */

static void handler(int sig, siginfo_t *info, void *context)
{
	struct outcome native, ours;
	ucontext_t *uc = context;

	if (inside++) {
		static const char text[] = "# hv/x86 itself faulted; the case was:\n";

		if (write(1, text, sizeof(text) - 1) > 0 && inside == 2) {
			printf("# at %llx\n", (unsigned long long)uc->uc_mcontext.gregs[REG_RIP]);
			report();
		}
		_exit(3);
	}
	if (started) {
		from_context(uc, &native);
		guest_run(&ours);
		fz.done++;
		fz.faults += native.vector >= 0;
		if (compare(&native, &ours)) {
			report();
			if (!fz.single)
				siglongjmp(finish, 1);
		}
	}
	started = true;
	if (!next_case())
		siglongjmp(finish, 1);
	reset_data();
	place_code();
	memcpy(shared->bytes, fz.bytes, 15);
	shared->start = fz.start;
	to_context(uc);
	inside = 0;
}

static bool local_descriptors(void)
{
	struct user_desc code = { .entry_number = LDT_CODE >> 3, .base_addr = CODE, .limit = 0x1fff,
				  .contents = MODIFY_LDT_CONTENTS_CODE };
	struct user_desc data = { .entry_number = LDT_DATA >> 3, .base_addr = DATA, .limit = DATA_SIZE - 1 };

	return !syscall(SYS_modify_ldt, 0x11, &code, sizeof(code)) &&
	       !syscall(SYS_modify_ldt, 0x11, &data, sizeof(data));
}

static void native_init(void)
{
	static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t alt = { .ss_size = 1 << 20 };
	unsigned int i;

	if (mmap((void *)CODE, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED ||
	    mmap((void *)DATA, DATA_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
		exit(99);
	memcpy((void *)DATA, fz.pristine, DATA_SIZE);
	mprotect((void *)(DATA + DATA_RW), DATA_SIZE - DATA_RW, PROT_READ);
	alt.ss_sp = mmap(NULL, alt.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaltstack(&alt, NULL);
	/* 64-bit programs have null selectors here, which compatibility mode could not use. */
	if (fz.bits == 16 && !local_descriptors()) {
		printf("# no local descriptor tables here: nothing done\n");
		exit(0);
	}
	if (fz.bits < 64)
		__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(fz.bits == 32 ? 0x2b : LDT_DATA));
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

static int child(uint64_t seed)
{
	unsigned int i;

	fz.pristine = malloc(DATA_SIZE);
	fz.rng = 42; /* data is the same for every seed, so that reproducers need not carry it */
	for (i = 0; i < DATA_SIZE; i++)
		fz.pristine[i] = (uint8_t)rnd();
	fz.rng = seed;
	guest_init();
	native_init();
	if (!sigsetjmp(finish, 1))
		raise(SIGTRAP);
	printf("# %lu instructions, %lu of them faulted, %lu encodings passed over\n", fz.done,
	       fz.faults, fz.skipped);
	fflush(stdout);
	return fz.status;
}

/* ---- the parent ------------------------------------------------------------------------------------------------- */

static int supervise(uint64_t seed, double seconds)
{
	double give_up = now() + seconds + 20;
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(child(seed));
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now() > give_up) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			printf("# seed %lu: hung\n", seed);
			return 1;
		}
		usleep(20000);
	}
	if (WIFSIGNALED(status)) {
		printf("# seed %lu: the child died of signal %d\n", seed, WTERMSIG(status));
		memcpy(fz.bytes, shared->bytes, 15);
		fz.start = shared->start;
		report();
		return 1;
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, insns = UINT64_MAX;
	double seconds = 10;
	int opt, ret;

	fz.bits = 64;

#ifdef HV_SANITIZED
	printf("1..0 # SKIP sanitized build\n");
	return 0;
#endif
	while ((opt = getopt(argc, argv, "s:n:t:m:")) != -1) {
		if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'n')
			insns = strtoull(optarg, NULL, 0);
		else if (opt == 't')
			seconds = strtod(optarg, NULL);
		else if (opt == 'm')
			fz.bits = (unsigned int)atoi(optarg);
		else
			return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	if (fz.bits != 64 && fz.bits != 32 && fz.bits != 16)
		return 2;
	fz.limit = insns;
	fz.deadline = now() + seconds;
	fz.files = argv + optind;
	fz.single = optind < argc;
	setvbuf(stdout, NULL, _IOLBF, 0);
	ret = supervise(seed, seconds);
	printf("%s - fuzz_x86 mode %u seed %lu\n", ret ? "not ok" : "ok", fz.bits, seed);
	return ret;
}
