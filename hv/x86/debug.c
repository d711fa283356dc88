/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Debug registers: which breakpoints are in force and what they match. While data or I/O
 * breakpoints are enabled, every access takes the slow path and instructions go one at a time;
 * code breakpoints only need the latter.
 */
#include "hv/x86/internal.h"

enum { DR_EXEC = 0, DR_WRITE = 1, DR_IO = 2, DR_RW = 3 };

static bool enabled(const struct x86_cpu *cpu, unsigned int i)
{
	return cpu->dr7 >> (i * 2) & 3;
}

static unsigned int kind(const struct x86_cpu *cpu, unsigned int i)
{
	return cpu->dr7 >> (16 + i * 4) & 3;
}

static unsigned int length(const struct x86_cpu *cpu, unsigned int i)
{
	static const uint8_t len[4] = { 1, 2, 8, 4 };

	return len[cpu->dr7 >> (18 + i * 4) & 3];
}

void x86_update_debug(struct x86_cpu *cpu)
{
	unsigned int i;

	cpu->debug_code = cpu->debug_data = 0;
	for (i = 0; i < 4; i++) {
		if (!enabled(cpu, i))
			continue;
		if (kind(cpu, i) == DR_EXEC)
			cpu->debug_code = 1;
		else
			cpu->debug_data = 1;
	}
	x86_update_tlb_mode(cpu);
	x86_update_pending(cpu);
}

/*
 * DR6 reports every breakpoint whose condition holds, enabled or not, once one that is enabled
 * matched.
 */
bool x86_debug_code_match(struct x86_cpu *cpu, uint64_t linear, uint64_t *dr6)
{
	bool hit = false;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		if (kind(cpu, i) != DR_EXEC || cpu->dr[i] != linear)
			continue;
		*dr6 |= 1ull << i;
		hit |= enabled(cpu, i);
	}
	return hit;
}

static bool overlaps(const struct x86_cpu *cpu, unsigned int i, uint64_t linear, unsigned int size)
{
	uint64_t len = length(cpu, i), at = cpu->dr[i] & ~(len - 1);

	return linear < at + len && at < linear + size;
}

static void note(struct x86_cpu *cpu, uint64_t bits, bool hit)
{
	if (!hit)
		return;
	cpu->pending_dbg |= bits;
	x86_update_pending(cpu);
}

void x86_debug_data(struct x86_cpu *cpu, uint64_t linear, unsigned int size, uint32_t access)
{
	uint64_t bits = 0;
	bool hit = false;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		unsigned int k = kind(cpu, i);

		if (k != DR_RW && (k != DR_WRITE || !(access & X86_ACC_WRITE)))
			continue;
		if (!overlaps(cpu, i, linear, size))
			continue;
		bits |= 1ull << i;
		hit |= enabled(cpu, i);
	}
	note(cpu, bits, hit);
}

void x86_debug_io(struct x86_cpu *cpu, unsigned int port, unsigned int size)
{
	uint64_t bits = 0;
	bool hit = false;
	unsigned int i;

	if (!cpu->debug_data || !(cpu->cr4 & X86_CR4_DE))
		return;
	for (i = 0; i < 4; i++) {
		if (kind(cpu, i) != DR_IO || !overlaps(cpu, i, port, size))
			continue;
		bits |= 1ull << i;
		hit |= enabled(cpu, i);
	}
	note(cpu, bits, hit);
}
