/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that checks itself while somebody moves it. Each CPU goes over its own
 * pages, round after round: every page carries its round and a checksum, which
 * are verified before the page is written again. Besides it watches that
 *
 *  - the TSC and the paravirtual clock never go back, also between CPUs;
 *  - the local APIC's timer goes on ticking;
 *  - SSE registers keep what they hold.
 *
 * A line starts when it does; a dot comes every `dot` rounds of the first CPU;
 * the end is "done" and 0 at the debug-exit port, or "FAIL CODE A B" and the code.
 * The host sets the parameters in the image.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define MAX_CPUS 8
#define WORK	 0x1000000ULL /* 16 MiB: pages of the first CPU, of the second ... */
#define CLOCKS	 0x400000ULL  /* a page a CPU */
#define TICK	 2000000ULL   /* TSC cycles between timer interrupts */
#define VECTOR	 0x40

struct {
	char magic[8];
	u32 cpus, pages, rounds, dot;
	u32 write_every; /* of the pages, one in so many is written in a round */
} volatile params = { "MEMGUEST", 1, 64, 100, 10, 1 };

u64 idt[512] __attribute__((aligned(16))) = { 1 };
static volatile u32 ticks[MAX_CPUS] = { 1 };
static volatile u32 finished = 1; /* of those that are not the first: starts at 1 */
static volatile u64 latest_ns = 1;
static volatile u64 tsc_seen[MAX_CPUS] = { 1 };

void tick_entry(void);
void fault_entry(void);

static inline void out8(u16 port, u8 v)
{
	__asm__ __volatile__("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out32(u16 port, u32 v)
{
	__asm__ __volatile__("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ __volatile__("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ __volatile__("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ __volatile__("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static void put(const char *s)
{
	while (*s)
		out8(0x3f8, (u8)*s++);
}

static void put_hex(u64 v)
{
	int i;

	put(" ");
	for (i = 60; i >= 0; i -= 4)
		out8(0x3f8, (u8)"0123456789abcdef"[v >> i & 15]);
}

static void end(u32 code)
{
	out32(0xf4, code);
	for (;;)
		__asm__ __volatile__("cli; hlt");
}

static void fail(u32 code, u64 a, u64 b)
{
	put("FAIL");
	put_hex(code);
	put_hex(a);
	put_hex(b);
	put("\n");
	end(code);
}

void on_fault(u64 a, u64 b)
{
	fail(1, a, b);
}

static u32 cpu_id(void)
{
	return (u32)rdmsr(0x802);
}

/* ---- clocks ------------------------------------------------------------------------- */

struct pvclock {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	signed char shift;
	u8 flags, pad2[2];
};

static u64 pv_ns(u32 cpu)
{
	volatile struct pvclock *c = (volatile struct pvclock *)(CLOCKS + cpu * 4096);
	u32 version;
	u64 t, ns;

	do {
		version = c->version;
		__asm__ __volatile__("" : : : "memory");
		t = rdtsc() - c->tsc;
		t = c->shift < 0 ? t >> -c->shift : t << c->shift;
		ns = c->ns + (u64)((unsigned __int128)t * c->mul >> 32);
		__asm__ __volatile__("" : : : "memory");
	} while (version != c->version || (version & 1));
	return ns;
}

static void check_clocks(u32 cpu)
{
	u64 before = __atomic_load_n(&latest_ns, __ATOMIC_SEQ_CST), now = pv_ns(cpu), tsc;

	if (now < before)
		fail(2, now, before);
	while (before < now && !__atomic_compare_exchange_n(&latest_ns, &before, now, 0,
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	__asm__ __volatile__("cli" : : : "memory");
	tsc = rdtsc();
	if (tsc < tsc_seen[cpu])
		fail(3, tsc, tsc_seen[cpu]);
	tsc_seen[cpu] = tsc;
	__asm__ __volatile__("sti" : : : "memory");
}

void on_tick(void)
{
	u32 cpu = cpu_id();
	u64 tsc = rdtsc();

	if (tsc < tsc_seen[cpu])
		fail(4, tsc, tsc_seen[cpu]);
	tsc_seen[cpu] = tsc;
	ticks[cpu]++;
	wrmsr(0x80b, 0);
	wrmsr(0x6e0, tsc + TICK);
}

/* ---- SSE ---------------------------------------------------------------------------- */

static void sse_set(u64 v)
{
	__asm__ __volatile__("movq %0, %%xmm0; movq %0, %%xmm7; movq %0, %%xmm15;"
			     "punpcklqdq %%xmm7, %%xmm7"
			     : : "r"(v));
}

static void sse_check(u64 v)
{
	u64 a, b, c, d;

	__asm__ __volatile__("movq %%xmm0, %0; movq %%xmm7, %1; movq %%xmm15, %2;"
			     "movhlps %%xmm7, %%xmm1; movq %%xmm1, %3"
			     : "=r"(a), "=r"(b), "=r"(c), "=r"(d));
	if (a != v || b != v || c != v || d != v)
		fail(5, a ^ b ^ c ^ d, v);
}

/* ---- memory --------------------------------------------------------------------------- */

#define MIX 0x9e3779b97f4a7c15ULL

static void page_check(volatile u64 *p, u32 round)
{
	u64 sum = round * MIX ^ (u64)p, i;

	/* The first round finds zeros. */
	if (!round)
		sum = 0;
	if (p[0] != round)
		fail(6, (u64)p, p[0] << 32 | round);
	if (p[1] != sum)
		fail(7, (u64)p, p[1]);
	for (i = 64; i < 512; i += 64) {
		if (p[i] != (round ? sum + i : 0))
			fail(8, (u64)(p + i), p[i]);
	}
}

static void page_write(volatile u64 *p, u32 round)
{
	u64 sum = round * MIX ^ (u64)p, i;

	p[0] = round;
	p[1] = sum;
	for (i = 64; i < 512; i += 64)
		p[i] = sum + i;
}

/* A page is written in the rounds that are its own; it carries how often that was. */
static u32 writes_before(u32 page, u32 round)
{
	u32 every = params.write_every, phase = page % every;

	return (round + every - 1 - phase) / every;
}

static void work(u32 cpu)
{
	u64 base = WORK + (u64)cpu * params.pages * 4096;
	u32 round, i, pages = params.pages;

	sse_set(MIX + cpu);
	for (round = 0; round < params.rounds; round++) {
		for (i = 0; i < pages; i++) {
			volatile u64 *p = (volatile u64 *)(base + (u64)i * 4096);

			page_check(p, writes_before(i, round));
			if (round % params.write_every == i % params.write_every)
				page_write(p, writes_before(i, round + 1));
		}
		check_clocks(cpu);
		sse_check(MIX + cpu);
		if (!cpu && round % params.dot == 0)
			put(".");
	}
}

/* ---- start-up ----------------------------------------------------------------------------- */

static void set_gate(u32 vector, void (*entry)(void))
{
	u64 a = (u64)entry;

	idt[2 * vector] = (a & 0xffff) | 8ULL << 16 | 0x8e00ULL << 32 | (a >> 16 & 0xffff) << 48;
	idt[2 * vector + 1] = a >> 32;
}

static void apic_start(void)
{
	wrmsr(0x1b, rdmsr(0x1b) | 3 << 10); /* x2APIC */
	wrmsr(0x80f, 0x1ff);
	wrmsr(0x832, 2 << 17 | VECTOR); /* TSC deadline */
}

void cpu_main(u32 cpu)
{
	u32 i;

	if (!cpu) {
		for (i = 0; i < 32; i++)
			set_gate(i, fault_entry);
		set_gate(VECTOR, tick_entry);
		tsc_seen[0] = latest_ns = ticks[0] = 0;
	}
	apic_start();
	cpu = cpu_id();
	wrmsr(0x4b564d01, CLOCKS + cpu * 4096 + 1);
	if (!cpu) {
		put("memory guest\n");
		if (params.cpus > 1) {
			wrmsr(0x830, 0xc4500);		    /* INIT, all but self */
			wrmsr(0x830, 0xc4600 | 0x8000 >> 12); /* SIPI */
		}
	}
	__asm__ __volatile__("sti");
	wrmsr(0x6e0, rdtsc() + TICK);
	work(cpu);
	if (cpu) {
		__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
		for (;;)
			__asm__ __volatile__("hlt");
	}
	while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) < params.cpus)
		check_clocks(0);
	for (i = 0; i < params.cpus; i++) {
		if (!ticks[i])
			fail(9, i, 0);
	}
	put("done\n");
	end(0);
}
