/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fuzzer's native side: the host's own processor executes the instruction at the linear
 * addresses that the guest has.
 *
 * Behind the instruction stands a jump to the trampoline (fuzz_x86_frame.S), which stores every
 * register: a case that completes costs no system call. A fault enters the signal handler,
 * which notes what only the kernel knows and goes on in the trampoline. Instructions that may go
 * elsewhere, and others now and then, are executed with TF set: entered and left by way of the handler.
 */
#include "config.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include "tests/fuzz/fuzz_x86.h"

extern const uint8_t fuzz_frame_code[], fuzz_frame_step[], fuzz_frame_int3[], fuzz_frame_leave[];
void fuzz_signal_entry(int sig, siginfo_t *info, void *context);
void fuzz_signal(int sig, siginfo_t *info, void *context);

/* The data page of the trampoline; fuzz_x86_frame.S knows the offsets. */
struct frame {
	uint64_t gpr[16];
	uint32_t offset;
	uint16_t selector, pad;
	uint32_t is_far, is_fp;
	uint64_t rflags, host_sp;
	uint32_t ss, mxcsr;
	uint8_t pad_[24];
	uint8_t area[FP_SIZE];
};

_Static_assert(offsetof(struct frame, offset) == 0x80 && offsetof(struct frame, is_far) == 0x88 &&
	       offsetof(struct frame, rflags) == 0x90 && offsetof(struct frame, ss) == 0xa0 &&
	       offsetof(struct frame, area) == 0xc0, "as in fuzz_x86_frame.S");

#define frame ((struct frame *)(FRAME + 0x1000))

/* The case in hand, for the handler. */
static struct {
	const struct fuzz_case *c;
	struct outcome *out;
	volatile bool inside;	/* the instruction, or on the way to it or back */
	bool seen;		/* the handler has noted rip, flags and vector */
	uint64_t host_sp;	/* the frame's, as it was last time */
} run;

static const int greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static uint64_t frame_address(const uint8_t *symbol)
{
	return FRAME + (uint64_t)(symbol - fuzz_frame_code);
}

static uint16_t code_selector(unsigned int bits)
{
	return bits == 64 ? 0x33 : bits == 32 ? 0x23 : LDT_CODE;
}

static uint16_t stack_selector(unsigned int bits)
{
	return bits == 16 ? LDT_DATA : 0x2b;
}

static void set_selectors(greg_t *g, uint16_t cs, uint16_t ss)
{
	g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000ull) | cs | (uint64_t)ss << 48);
}

static void enter_stepping(greg_t *g)
{
	unsigned int i;

	for (i = 0; i < 16; i++)
		g[greg_of[i]] = (greg_t)run.c->start.gpr[i];
	g[REG_RIP] = (greg_t)run.c->start.rip;
	g[REG_EFL] = (greg_t)run.c->start.rflags;
	set_selectors(g, code_selector(run.c->bits), stack_selector(run.c->bits));
}

static void note(const greg_t *g)
{
	struct outcome *out = run.out;

	run.seen = true;
	out->state.rip = (uint64_t)g[REG_RIP];
	out->state.rflags = (uint64_t)g[REG_EFL];
	out->vector = g[REG_TRAPNO] == X86_DB ? -1 : (int)g[REG_TRAPNO];
	out->error = (uint64_t)g[REG_ERR];
	out->cr2 = (uint64_t)g[REG_CR2];
	/* Linux tells programs that every address of its own half is present. */
	if (out->vector == X86_PF && out->cr2 >= 0x7ffffffff000ull)
		out->error &= ~(uint64_t)X86_PF_P;
}

/* The instruction has stored into the trampoline's data, and the way back faults. */
static void mend_frame(void)
{
	frame->host_sp = run.host_sp;
	frame->is_far = run.c->bits != 64;
	frame->is_fp = run.c->fp;
	frame->mxcsr = 0x1f80;
}

void fuzz_signal(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "# hv/x86 or the fuzzer itself faulted\n";
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)g[REG_RIP];

	if (!run.inside) {
		if (write(1, text, sizeof(text) - 1) < 0)
			_exit(4);
		signal(sig, SIG_DFL);	/* again, and to the parent */
		return;
	}
	if (g[REG_TRAPNO] == X86_BP && rip == frame_address(fuzz_frame_int3)) {
		enter_stepping(g);
		return;
	}
	if (g[REG_TRAPNO] == X86_DB && rip - FRAME < 0x1000) { /* POPF has set TF */
		g[REG_EFL] &= ~(greg_t)X86_FL_TF;
		return;
	}
	if (rip - FRAME < 0x1000)
		mend_frame();
	else
		note(g);
	g[REG_RIP] = (greg_t)frame_address(fuzz_frame_leave);
	g[REG_EFL] &= ~(greg_t)(X86_FL_TF | X86_FL_AC | X86_FL_DF);
	set_selectors(g, 0x33, 0x2b);
}

/* ---- one case ---------------------------------------------------------------------------------- */

static uint8_t *code_at(const struct fuzz_case *c)
{
	return (uint8_t *)(c->bits == 16 ? CODE + c->start.rip : c->start.rip);
}

const uint8_t *native_code(const struct fuzz_case *c)
{
	return code_at(c);
}

uint64_t native_leave(void)
{
	return frame_address(fuzz_frame_leave);
}

#define WAY_BACK_MAX 8

/* The jump back, to stand behind the instruction. Returns its length. */
static size_t way_back(const struct fuzz_case *c, uint8_t *jump)
{
	uint32_t to = (uint32_t)frame_address(fuzz_frame_leave);
	static const uint16_t cs = 0x33;
	size_t n = 0;

	if (c->bits == 64) {
		to -= (uint32_t)(uintptr_t)(code_at(c) + c->insn.len + 5);
		jump[0] = 0xe9;
		memcpy(jump + 1, &to, 4);
		return 5;
	}
	if (c->bits == 16)
		jump[n++] = 0x66;
	jump[n++] = 0xea;
	memcpy(jump + n, &to, 4);
	memcpy(jump + n + 4, &cs, 2);
	return n + 6;
}

void native_place(const struct fuzz_case *c)
{
	uint8_t jump[WAY_BACK_MAX];
	size_t n = way_back(c, jump);

	memcpy(code_at(c), c->bytes, c->insn.len);
	memcpy(code_at(c) + c->insn.len, jump, n);
}

bool native_way_back_is_whole(const struct fuzz_case *c)
{
	uint8_t jump[WAY_BACK_MAX];
	size_t n = way_back(c, jump);

	return !memcmp(code_at(c) + c->insn.len, jump, n);
}

static void load_frame(const struct fuzz_case *c)
{
	memcpy(frame->gpr, c->start.gpr, sizeof(frame->gpr));
	frame->offset = (uint32_t)c->start.rip;
	frame->selector = code_selector(c->bits);
	frame->ss = stack_selector(c->bits);
	frame->is_far = c->bits != 64;
	frame->is_fp = c->fp;
	frame->rflags = c->start.rflags;
	if (c->fp)
		memcpy(frame->area, c->start.fp, FP_SIZE);
}

void native_run(const struct fuzz_case *c, struct outcome *out)
{
	bool step = c->start.rflags & X86_FL_TF;
	union { uint64_t address; void (*call)(void); } entry = {
		frame_address(step ? fuzz_frame_step : fuzz_frame_code)
	};

	load_frame(c);
	run.c = c;
	run.out = out;
	run.seen = false;
	run.inside = true;
	entry.call();
	run.inside = false;
	run.host_sp = frame->host_sp;
	frame->mxcsr = 0x1f80;
	memcpy(out->state.gpr, frame->gpr, sizeof(frame->gpr));
	if (c->fp)
		memcpy(out->state.fp, frame->area, FP_SIZE);
	if (run.seen)
		return;
	out->vector = -1;
	out->error = out->cr2 = 0;
	out->state.rip = c->start.rip + c->insn.len;
	out->state.rflags = frame->rflags;
}

/* ---- the sandbox ---------------------------------------------------------------------------------- */

static int local_descriptors(void)
{
	struct user_desc code = { .entry_number = LDT_CODE >> 3, .base_addr = CODE, .limit = CODE_SIZE - 1,
				  .contents = MODIFY_LDT_CONTENTS_CODE };
	struct user_desc data = { .entry_number = LDT_DATA >> 3, .base_addr = DATA, .limit = DATA_SIZE - 1 };

	if (syscall(SYS_modify_ldt, 0x11, &code, sizeof(code)) ||
	    syscall(SYS_modify_ldt, 0x11, &data, sizeof(data)))
		return -ENOSYS;
	return 0;
}

static void map(unsigned long at, size_t size, int prot)
{
	if (mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	    MAP_FAILED)
		exit(99);
}

static void map_all(void)
{
	map(CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
	gen_data((uint8_t *)DATA);
	mprotect((void *)(DATA + DATA_RW), DATA_SIZE - DATA_RW, PROT_READ);
	map(FRAME, FRAME_SIZE, PROT_READ | PROT_WRITE);
	memcpy((void *)FRAME, fuzz_frame_code, 0x1000);
	frame->mxcsr = 0x1f80;
	mprotect((void *)FRAME, 0x1000, PROT_READ | PROT_EXEC);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = fuzz_signal_entry,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t alt = { .ss_size = 1 << 20 };
	unsigned int i;

	alt.ss_sp = mmap(NULL, alt.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaltstack(&alt, NULL);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

int native_create(unsigned int bits)
{
	map_all();
	if (bits == 16 && local_descriptors())
		return -ENOSYS;
	/* 64-bit programs have null selectors here, which compatibility mode could not use. */
	if (bits < 64)
		__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"((uint32_t)stack_selector(bits)));
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE);
	catch_signals();
	return 0;
}
