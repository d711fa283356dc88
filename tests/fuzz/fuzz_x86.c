/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Differential fuzzer: random instructions and states, executed by the host's own processor and
 * by hv/x86, must leave the same registers, flags, memory, x87, MMX, SSE and AVX state, and faults.
 *
 *	fuzz_x86 [-s SEED] [-n INSNS] [-t SECONDS] [-m 64|32|16] [-j CHILDREN] [-x DEFECT] [-c COUNT]
 *		 [-i NAME] [FILE...]
 *
 * Each child is a sandbox that holds both sides, so that nothing but counts and verdicts travels;
 * fuzz_x86_native.c says how the host's side is done. The parent reports a child that died and one
 * that hangs. FILEs are reproducers, as printed for a difference and kept in tests/fuzz/x86-corpus.
 * -c goes on until COUNT instructions have differed, each shown once. -i tries only instructions
 * whose name begins with NAME, in small letters: vgather.
 * -x spoils our side's outcome in one place, now and then: a run with it has to fail.
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/fuzz/fuzz_x86.h"

#define STATES_PER_INSN	8	/* random states that each random instruction is tried with */
#define MAX_CHILDREN	64
#define CLASSES		(ZYDIS_ISA_EXT_MAX_VALUE + 1)

/* What a child has done, where the parent can see it when the child has died. */
struct shared {
	struct fuzz_case c;
	uint64_t done, encodings, faults, skipped;
	uint64_t classes[CLASSES];
};

static struct fuzz {
	struct x86_cpu *cpu;
	uint8_t *pristine;	/* DATA_SIZE */
	uint64_t limit;
	double deadline;
	unsigned int bits;
	const char *defect, *only;
	unsigned int differences, wanted;
	char **files;
	bool failed, quiet;
	uint8_t differed[(ZYDIS_MNEMONIC_MAX_VALUE + 8) / 8];
	struct shared *shared;
} fz;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- reproducers --------------------------------------------------------------------------------------- */

static void print_case(FILE *f, const struct fuzz_case *c)
{
	unsigned int i;

	fprintf(f, "mode %u\nbytes", c->bits);
	for (i = 0; i < 15; i++)
		fprintf(f, " %02x", c->bytes[i]);
	fprintf(f, "\nrip %lx\nrflags %lx\ngpr", c->start.rip, c->start.rflags);
	for (i = 0; i < 16; i++)
		fprintf(f, " %lx", c->start.gpr[i]);
	fprintf(f, "\n");
	if (!c->fp)
		return;
	fprintf(f, "fp ");
	for (i = 0; i < FP_SIZE; i++)
		fprintf(f, "%02x", c->start.fp[i]);
	fprintf(f, "\n");
}

static bool scan_case(FILE *f, struct fuzz_case *c)
{
	unsigned int i, byte;

	if (fscanf(f, " mode %u bytes", &c->bits) != 1)
		return false;
	for (i = 0; i < 15; i++) {
		if (fscanf(f, "%x", &byte) != 1)
			return false;
		c->bytes[i] = (uint8_t)byte;
	}
	if (fscanf(f, " rip %lx rflags %lx gpr", &c->start.rip, &c->start.rflags) != 2)
		return false;
	for (i = 0; i < 16; i++)
		if (fscanf(f, "%lx", &c->start.gpr[i]) != 1)
			return false;
	for (i = 0; i < FP_SIZE; i++) {
		if (fscanf(f, i ? "%2x" : " fp %2x", &byte) != 1)
			return !i;
		c->start.fp[i] = (uint8_t)byte;
	}
	return true;
}

/* False: not for this mode. */
static bool load_case(const char *name, struct fuzz_case *c)
{
	FILE *f = fopen(name, "r");
	bool ok = f && scan_case(f, c);

	if (f)
		fclose(f);
	if (!ok || (c->bits == fz.bits && !gen_decode(c))) {
		printf("# %s: not a case\n", name);
		exit(97);
	}
	return c->bits == fz.bits;
}

/* ---- comparing ------------------------------------------------------------------------------------------- */

static bool differ(const char *what, uint64_t native, uint64_t ours)
{
	if (native == ours)
		return false;
	if (!fz.quiet)
		printf("# %-8s native %016lx ours %016lx\n", what, native, ours);
	return true;
}

static bool differ_bytes(const char *what, const uint8_t *native, const uint8_t *ours, unsigned int n)
{
	char name[32];
	bool bad = false;

	for (unsigned int i = 0; i < n; i += 8) {
		uint64_t a, b;

		memcpy(&a, native + i, 8);
		memcpy(&b, ours + i, 8);
		if (a == b)
			continue;
		snprintf(name, sizeof(name), "%s+%03x", what, i);
		bad |= differ(name, a, b);
	}
	return bad;
}

static bool compare(const struct fuzz_case *c, const struct outcome *n, const struct outcome *o)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
					     "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	bool bad = differ("vector", (uint64_t)n->vector, (uint64_t)o->vector);
	unsigned int i;

	if (!bad) {
		bad |= differ("error", n->error, o->error);
		bad |= differ("cr2", n->cr2, o->cr2);
	}
	for (i = 0; i < 16; i++)
		bad |= differ(names[i], n->state.gpr[i], o->state.gpr[i]);
	bad |= differ("rip", n->state.rip, o->state.rip);
	bad |= differ("rflags", n->state.rflags, o->state.rflags);
	if (c->fp && memcmp(n->state.fp, o->state.fp, FP_SIZE))
		bad |= differ_bytes("fp", n->state.fp, o->state.fp, FP_SIZE);
	if (memcmp((void *)DATA, guest_data(), DATA_SIZE))
		bad |= differ_bytes("data", (uint8_t *)DATA, guest_data(), DATA_SIZE);
	return bad;
}

static void report(const struct fuzz_case *c)
{
	ZydisDisassembledInstruction d;

	if (ZYAN_SUCCESS(ZydisDisassembleIntel(c->bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 :
					       c->bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 :
							       ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
					       c->start.rip, c->bytes, 15, &d)))
		printf("# %s\n", d.text);
	print_case(stdout, c);
	fflush(stdout);
}

/* ---- defects: what would the fuzzer say if hv/x86 were wrong there? ------------------------------------- */

static void spoil_result(struct outcome *o)
{
	o->state.gpr[X86_RAX] ^= 1u << 31;
}

static void spoil_flags(struct outcome *o)
{
	o->state.rflags ^= X86_FL_CF;
}

static void spoil_rip(struct outcome *o)
{
	o->state.rip++;
}

static void spoil_memory(struct outcome *o)
{
	guest_data()[0x1234] ^= 0x10;
}

static void spoil_vector(struct outcome *o)
{
	o->vector = o->vector == X86_PF ? X86_GP : o->vector;
}

static void spoil_error(struct outcome *o)
{
	o->error ^= o->vector == X86_PF ? X86_PF_W : 0;
}

static void spoil_address(struct outcome *o)
{
	o->cr2 ^= o->vector == X86_PF ? 1 : 0;
}

static void spoil_x87(struct outcome *o)
{
	o->state.fp[32] ^= 1;
}

static void spoil_status(struct outcome *o)
{
	o->state.fp[3] ^= 1;
}

static void spoil_mxcsr(struct outcome *o)
{
	o->state.fp[24] ^= 0x20;
}

static void spoil_xmm(struct outcome *o)
{
	o->state.fp[160 + 16 * 5 + 3] ^= 0x80;
}

static void spoil_ymm(struct outcome *o)
{
	o->state.fp[576 + 16 * 7 + 15] ^= 1;
}

static const struct { const char *name; void (*spoil)(struct outcome *o); } defects[] = {
	{ "result", spoil_result }, { "flags", spoil_flags }, { "rip", spoil_rip },
	{ "memory", spoil_memory }, { "vector", spoil_vector }, { "error", spoil_error },
	{ "address", spoil_address }, { "x87", spoil_x87 }, { "status", spoil_status },
	{ "mxcsr", spoil_mxcsr }, { "xmm", spoil_xmm }, { "ymm", spoil_ymm },
};

/* Before a new instruction; which one it is shall not matter. */
static void spoil(struct outcome *ours)
{
	unsigned int i;

	if (fz.shared->done & 255)
		return;
	for (i = 0; i < sizeof(defects) / sizeof(defects[0]); i++)
		if (!strcmp(fz.defect, defects[i].name))
			defects[i].spoil(ours);
}

/* ---- the child --------------------------------------------------------------------------------------------- */

/* Both sides, from the same memory. False: they differ. */
static bool try_case(const struct fuzz_case *c, bool block)
{
	static struct outcome native, ours;
	uint8_t *seen;
	bool same;

	memcpy((void *)DATA, fz.pristine, DATA_RW);
	memcpy(guest_data(), fz.pristine, DATA_SIZE);
	native_run(c, &native);
	guest_run(c, block && !(c->start.rflags & X86_FL_TF), &ours);
	fz.shared->done++;
	fz.shared->faults += native.vector >= 0;
	if (fz.defect)
		spoil(&ours);
	except_apply(c, &native, &ours);
	seen = &fz.differed[c->insn.mnemonic / 8];
	fz.quiet = *seen >> c->insn.mnemonic % 8 & 1;
	same = !compare(c, &native, &ours);
	if (!same && !fz.quiet) {
		printf("# vector %d\n", native.vector);
		report(c);
		*seen |= (uint8_t)(1 << c->insn.mnemonic % 8);
		fz.differences++;
	}
	return same;
}

static void place(const struct fuzz_case *c)
{
	native_place(c);
	guest_place(c);
}

/* A past difference: stepped over, run over, and as part of a block. */
static void replay(struct fuzz_case *c)
{
	place(c);
	c->start.rflags |= X86_FL_TF;
	fz.failed |= !try_case(c, false);
	if (except_steps_only(c))
		return;
	c->start.rflags &= ~(uint64_t)X86_FL_TF;
	fz.failed |= !try_case(c, false);
	fz.failed |= !try_case(c, true);
}

static bool try_insn(struct fuzz_case *c)
{
	unsigned int i;

	gen_insn(c, fz.only, &fz.shared->skipped);
	place(c);
	fz.shared->encodings++;
	fz.shared->classes[c->z.meta.isa_ext] += STATES_PER_INSN;
	for (i = 0; i < STATES_PER_INSN; i++) {
		gen_state(c, fz.cpu);
		if (!try_case(c, i & 1))
			return false;
	}
	return true;
}

static int child(uint64_t seed)
{
	struct fuzz_case *c = &fz.shared->c;

	fz.pristine = malloc(DATA_SIZE);
	if (!fz.pristine)
		return 99;
	gen_data(fz.pristine);
	gen_seed(seed);
	fz.cpu = guest_create(fz.bits);
	if (native_create(fz.bits)) {
		printf("# no local descriptor tables here: nothing done\n");
		return 0;
	}
	for (; *fz.files; fz.files++)
		if (load_case(*fz.files, c))
			replay(c);
	c->bits = fz.bits;
	while (fz.differences < fz.wanted && fz.shared->done < fz.limit &&
	       (fz.shared->encodings & 63 || now() < fz.deadline))
		fz.failed |= !try_insn(c);
	return fz.failed;
}

/* ---- the parent ------------------------------------------------------------------------------------------------- */

static int supervise(pid_t pid, struct shared *shared, uint64_t seed)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now() > fz.deadline + 20) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			printf("# seed %lu: hung\n", seed);
			report(&shared->c);
			return 1;
		}
		usleep(10000);
	}
	if (WIFSIGNALED(status)) {
		printf("# seed %lu: the child died of signal %d\n", seed, WTERMSIG(status));
		report(&shared->c);
		return 1;
	}
	return WEXITSTATUS(status);
}

static void sum_up(struct shared *shared, unsigned int children)
{
	struct shared *sum = &shared[0];

	for (unsigned int i = 1; i < children; i++) {
		sum->done += shared[i].done;
		sum->encodings += shared[i].encodings;
		sum->faults += shared[i].faults;
		sum->skipped += shared[i].skipped;
		for (unsigned int j = 0; j < CLASSES; j++)
			sum->classes[j] += shared[i].classes[j];
	}
	printf("# %lu executions of %lu instructions, %lu faulted, %lu encodings passed over\n", sum->done,
	       sum->encodings, sum->faults, sum->skipped);
	printf("#");
	for (unsigned int j = 0; j < CLASSES; j++)
		if (sum->classes[j])
			printf(" %s:%lu", ZydisISAExtGetString((ZydisISAExt)j), sum->classes[j]);
	printf("\n");
}

/* Each child a seed of its own, counted up from the given one. */
static int run_children(uint64_t seed, unsigned int children)
{
	struct shared *shared = mmap(NULL, sizeof(*shared) * children, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[MAX_CHILDREN];
	unsigned int i;
	int ret = 0;

	if (shared == MAP_FAILED)
		return 2;
	for (i = 0; i < children; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			return 2;
		fz.shared = &shared[i];
		if (!pid[i])
			_exit(child(seed + i));
	}
	for (i = 0; i < children; i++)
		ret |= supervise(pid[i], &shared[i], seed + i);
	sum_up(shared, children);
	printf("%s - fuzz_x86 mode %u seed %lu", ret ? "not ok" : "ok", fz.bits, seed);
	if (children > 1)
		printf(" to %lu", seed + children - 1);
	printf(", %lu executions\n", shared[0].done);
	return ret;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1;
	unsigned int children = 1;
	double seconds = 10;
	int opt;

#ifdef HV_SANITIZED
	printf("1..0 # SKIP sanitized build\n");
	return 0;
#endif
	fz.bits = 64;
	fz.wanted = 1;
	fz.limit = UINT64_MAX;
	while ((opt = getopt(argc, argv, "s:n:t:m:j:x:c:i:")) != -1) {
		if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (opt == 'n')
			fz.limit = strtoull(optarg, NULL, 0);
		else if (opt == 't')
			seconds = strtod(optarg, NULL);
		else if (opt == 'm')
			fz.bits = (unsigned int)atoi(optarg);
		else if (opt == 'j')
			children = (unsigned int)atoi(optarg);
		else if (opt == 'c')
			fz.wanted = (unsigned int)atoi(optarg);
		else if (opt == 'x')
			fz.defect = optarg;
		else if (opt == 'i')
			fz.only = optarg;
		else
			return 2;
	}
	if ((fz.bits != 64 && fz.bits != 32 && fz.bits != 16) || !children || children > MAX_CHILDREN)
		return 2;
	fz.files = argv + optind;
	if (*fz.files)
		fz.limit = 0;
	fz.deadline = now() + seconds;
	setvbuf(stdout, NULL, _IOLBF, 0);
	return run_children(seed, children);
}
