/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Local APIC: registers, priorities, messages, modes, timer. Expectations from the Intel SDM. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/vcpu/vcpu.h"
#include "tests/lib/pc_fixture.h"

static struct pc pc;

#define SPIV 0xf0
#define ICR  0x300
#define ICR2 0x310
#define LVTT 0x320
#define TPR  0x80
#define EOI  0xb0

static void enable(unsigned int cpu)
{
	pc_lapic_write(&pc, cpu, SPIV, 0x1ff);
}

static int setup(void **state)
{
	unsigned int i;

	pc_start(&pc, 4);
	for (i = 0; i < 4; i++)
		enable(i);
	return 0;
}

static int teardown(void **state)
{
	pc_stop(&pc);
	return 0;
}

static void ipi(unsigned int from, uint8_t dest, uint32_t icr)
{
	pc_lapic_write(&pc, from, ICR2, (uint32_t)dest << 24);
	pc_lapic_write(&pc, from, ICR, icr);
}

static void test_power_on(void **state)
{
	static const struct { unsigned int offset; uint32_t value; } table[] = {
		{ 0x030, 0x00050014 }, { 0x080, 0 },	      { 0x0a0, 0 },
		{ 0x0d0, 0 },	       { 0x0e0, 0xffffffff }, { 0x0f0, 0xff },
		{ 0x280, 0 },	       { 0x300, 0 },	      { 0x310, 0 },
		{ 0x320, 0x10000 },    { 0x330, 0x10000 },    { 0x340, 0x10000 },
		{ 0x350, 0x10000 },    { 0x360, 0x10000 },    { 0x370, 0x10000 },
		{ 0x380, 0 },	       { 0x390, 0 },	      { 0x3e0, 0 },
	};
	unsigned int i;
	uint64_t base;

	pc.vm->irqchip_ops->vcpu_reset(pc.vcpu[2], false);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(pc_lapic_read(&pc, 2, table[i].offset), table[i].value);
	assert_int_equal(pc_lapic_read(&pc, 2, 0x20), 2U << 24);
	assert_int_equal(pc_rdmsr(&pc, 0, 0x1b, &base), 0);
	assert_int_equal(base, 0xfee00900);
	assert_int_equal(pc_rdmsr(&pc, 1, 0x1b, &base), 0);
	assert_int_equal(base, 0xfee00800);
}

static void test_access_widths(void **state)
{
	uint8_t byte = 0xaa;
	uint64_t wide = 1;

	/* Parts of a register read; what is not 32 bits and aligned is not written. */
	assert_int_equal(pc_mmio_read(&pc, 0, HV_LAPIC_BASE + 0x32, &byte, 1), 0);
	assert_int_equal(byte, 0x05);
	assert_int_equal(pc_mmio_read(&pc, 0, HV_LAPIC_BASE + 0x30, &wide, 8), 0);
	assert_int_equal(wide, 0);
	pc_mmio_write(&pc, 0, HV_LAPIC_BASE + TPR, 0x55, 1);
	pc_mmio_write(&pc, 0, HV_LAPIC_BASE + TPR + 4, 0x55, 4);
	assert_int_equal(pc_lapic_read(&pc, 0, TPR), 0);
}

static void test_priorities(void **state)
{
	ipi(0, 1, 0x31);
	ipi(0, 1, 0x52);
	ipi(0, 1, 0x58);
	assert_int_equal(pc_take(&pc, 1), 0x58);
	/* The same class waits, a higher one nests. */
	assert_int_equal(pc_take(&pc, 1), -1);
	assert_int_equal(pc_lapic_read(&pc, 1, 0xa0), 0x50);
	ipi(0, 1, 0x61);
	assert_int_equal(pc_take(&pc, 1), 0x61);
	pc_lapic_write(&pc, 1, EOI, 0);
	assert_int_equal(pc_take(&pc, 1), -1);
	pc_lapic_write(&pc, 1, EOI, 0);
	assert_int_equal(pc_take(&pc, 1), 0x52);
	pc_lapic_write(&pc, 1, EOI, 0);
	/* TPR holds back its class and below. */
	pc_lapic_write(&pc, 1, TPR, 0x3f);
	assert_int_equal(pc_take(&pc, 1), -1);
	assert_int_equal(pc_lapic_read(&pc, 1, 0xa0), 0x3f);
	pc.vm->irqchip_ops->set_tpr(pc.vcpu[1], 2);
	assert_int_equal(pc_lapic_read(&pc, 1, TPR), 0x20);
	assert_int_equal(pc.vm->irqchip_ops->get_tpr(pc.vcpu[1]), 2);
	assert_int_equal(pc_take(&pc, 1), 0x31);
	/* An EOI with nothing in service is nothing. */
	pc_lapic_write(&pc, 1, EOI, 0);
	pc_lapic_write(&pc, 1, EOI, 0);
	assert_int_equal(pc_take(&pc, 1), -1);
}

static uint32_t takers(void)
{
	uint32_t set = 0;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		if (pc_take(&pc, i) == 0x40) {
			set |= 1U << i;
			pc_lapic_write(&pc, i, EOI, 0);
		}
	}
	return set;
}

static void test_destinations(void **state)
{
	/* shorthand in bits 18-19, logical in 11 */
	static const struct { uint8_t dest; uint32_t icr; uint32_t want; } flat[] = {
		{ 2, 0x40, 4 },		 { 0xff, 0x40, 15 },	  { 9, 0x40, 0 },
		{ 0, 0x40 | 1 << 18, 1 }, { 0, 0x40 | 2 << 18, 15 }, { 0, 0x40 | 3 << 18, 14 },
		{ 0x06, 0x840, 6 },	 { 0xff, 0x840, 15 },	  { 0x80, 0x840, 0 },
	};
	static const struct { uint8_t dest; uint32_t want; } cluster[] = {
		{ 0x11, 1 }, { 0x13, 3 }, { 0x21, 4 }, { 0x22, 8 }, { 0x23, 12 }, { 0xf1, 5 }, { 0x31, 0 },
	};
	unsigned int i;

	for (i = 0; i < 4; i++)
		pc_lapic_write(&pc, i, 0xd0, 1U << (24 + i));
	for (i = 0; i < sizeof(flat) / sizeof(flat[0]); i++) {
		ipi(0, flat[i].dest, flat[i].icr);
		assert_int_equal(takers(), flat[i].want);
	}
	for (i = 0; i < 4; i++) {
		pc_lapic_write(&pc, i, 0xe0, 0);
		assert_int_equal(pc_lapic_read(&pc, i, 0xe0), 0x0fffffff);
		pc_lapic_write(&pc, i, 0xd0, (i < 2 ? 0x10U : 0x20U) << 24 | 1U << (24 + (i & 1)));
	}
	for (i = 0; i < sizeof(cluster) / sizeof(cluster[0]); i++) {
		ipi(0, cluster[i].dest, 0x840);
		assert_int_equal(takers(), cluster[i].want);
	}
}

static void test_lowest_priority(void **state)
{
	unsigned int i, seen = 0;

	for (i = 0; i < 4; i++)
		pc_lapic_write(&pc, i, 0xd0, 1U << (24 + i));
	/* Equals take turns. */
	for (i = 0; i < 4; i++) {
		uint32_t one;

		ipi(0, 0xff, 0x940);
		one = takers();
		assert_true(one && !(one & (one - 1)));
		seen |= one;
	}
	assert_int_equal(seen, 15);
	/* The least urgent one is preferred. */
	for (i = 0; i < 4; i++)
		pc_lapic_write(&pc, i, TPR, i == 2 ? 0 : 0x30);
	ipi(0, 0xff, 0x940);
	assert_int_equal(takers(), 4);
	ipi(0, 0xff, 0x940);
	assert_int_equal(takers(), 4);
}

static void test_errors(void **state)
{
	uint32_t value = 1;

	pc_lapic_write(&pc, 0, 0x370, 0xfe);
	ipi(0, 1, 0x05); /* a vector that cannot be sent */
	assert_int_equal(pc_lapic_read(&pc, 0, 0x280), 0);
	pc_lapic_write(&pc, 0, 0x280, 0);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x280), 0x20);
	assert_int_equal(pc_take(&pc, 0), 0xfe);
	pc_lapic_write(&pc, 0, EOI, 0);
	pc_lapic_write(&pc, 0, 0x280, 0);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x280), 0);
	/* An illegal register address. */
	assert_int_equal(pc_mmio_read(&pc, 0, HV_LAPIC_BASE + 0x40, &value, 4), 0);
	assert_int_equal(value, 0);
	pc_lapic_write(&pc, 0, 0x280, 0);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x280), 0x80);
	/* The error interrupt with an illegal vector of its own does not recurse. */
	pc_lapic_write(&pc, 0, 0x370, 0x02);
	ipi(0, 1, 0x05);
	pc_lapic_write(&pc, 0, 0x280, 0);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x280), 0x60);
}

static void test_software_disable(void **state)
{
	pc_lapic_write(&pc, 1, LVTT, 0x33);
	assert_int_equal(pc_lapic_read(&pc, 1, LVTT), 0x33);
	pc_lapic_write(&pc, 1, SPIV, 0xff);
	assert_int_equal(pc_lapic_read(&pc, 1, LVTT), 0x10033);
	pc_lapic_write(&pc, 1, LVTT, 0x34); /* the mask cannot be cleared */
	assert_int_equal(pc_lapic_read(&pc, 1, LVTT), 0x10034);
	ipi(0, 1, 0x40);
	assert_int_equal(pc_take(&pc, 1), -1);
}

static void test_init_sipi(void **state)
{
	struct hv_regs_cache *regs = vcpu_regs(pc.vcpu[1]);

	assert_int_equal(atomic_load(&pc.vcpu[1]->mp_state), HV_MP_UNINITIALIZED);
	assert_false(pc.vm->irqchip_ops->has_events(pc.vcpu[1]));
	/* A start-up before INIT is lost. */
	ipi(0, 1, 0x4608);
	assert_int_equal(pc.vm->irqchip_ops->accept_events(pc.vcpu[1]), 0);
	assert_int_equal(atomic_load(&pc.vcpu[1]->mp_state), HV_MP_UNINITIALIZED);
	/* INIT, its level de-assert, SIPI twice. */
	ipi(0, 1, 0xc500);
	ipi(0, 1, 0x8500);
	assert_true(pc.vm->irqchip_ops->has_events(pc.vcpu[1]));
	ipi(0, 1, 0x4609);
	ipi(0, 1, 0x4609);
	assert_int_equal(pc.vm->irqchip_ops->accept_events(pc.vcpu[1]), 0);
	assert_int_equal(atomic_load(&pc.vcpu[1]->mp_state), HV_MP_RUNNABLE);
	assert_int_equal(regs->seg[HV_SEG_CS].selector, 0x0900);
	assert_int_equal(regs->seg[HV_SEG_CS].base, 0x9000);
	assert_int_equal(regs->rip, 0);
	/* To a CPU that runs, a start-up is nothing. */
	ipi(0, 1, 0x460a);
	pc.vm->irqchip_ops->accept_events(pc.vcpu[1]);
	assert_int_equal(regs->seg[HV_SEG_CS].base, 0x9000);
	/* INIT to the boot CPU starts it at the reset vector. */
	ipi(1, 0, 0x4500);
	pc.vm->irqchip_ops->accept_events(pc.vcpu[0]);
	assert_int_equal(atomic_load(&pc.vcpu[0]->mp_state), HV_MP_RUNNABLE);
	assert_int_equal(vcpu_regs(pc.vcpu[0])->rip, 0xfff0);
}

#define EN   (1ULL << 11)
#define EXTD (1ULL << 10)

static void test_base_transitions(void **state)
{
	static const uint64_t modes[] = { 0, EN, EN | EXTD, EXTD };
	/* [from][to]: 0 allowed, 1 #GP; EXTD alone cannot be reached */
	static const int want[3][4] = { { 0, 0, 1, 1 }, { 0, 0, 0, 1 }, { 0, 1, 0, 1 } };
	unsigned int from, to;
	uint64_t base;

	for (from = 0; from < 3; from++) {
		for (to = 0; to < 4; to++) {
			pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE);
			pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | EN);
			assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | modes[from]), 0);
			assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | modes[to]),
					 want[from][to]);
			pc_rdmsr(&pc, 1, 0x1b, &base);
			assert_int_equal(base & (EN | EXTD),
					 modes[want[from][to] ? from : to]);
		}
	}
	/* Reserved bits: low ones, and above the physical address width. */
	pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE);
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | EN | 1), 1);
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | EN | 1 << 9), 1);
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | EN | 1ULL << 56), 1);
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_LAPIC_BASE | EN |
				  1ULL << vcpu_vm_maxphyaddr(pc.vm)), 1);
}

static void test_relocation(void **state)
{
	uint32_t value = 0;

	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, 0xfed40000 | EN), 0);
	assert_int_equal(pc_mmio_read(&pc, 1, 0xfed40030, &value, 4), 0);
	assert_int_equal(value, 0x00050014);
	/* The page is this CPU's alone, and it has left the old one. */
	assert_int_equal(pc_mmio_read(&pc, 1, HV_LAPIC_BASE + 0x30, &value, 4), -EOPNOTSUPP);
	assert_int_equal(pc_mmio_read(&pc, 0, 0xfed40030, &value, 4), -EOPNOTSUPP);
	/* Where the I/O APIC is, no local APIC can be. */
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, HV_IOAPIC_BASE | EN), 1);
	/* Disabled: nobody answers, CR8 still works. */
	assert_int_equal(pc_wrmsr(&pc, 1, 0x1b, 0xfed40000), 0);
	assert_int_equal(pc_mmio_read(&pc, 1, 0xfed40030, &value, 4), -EOPNOTSUPP);
	pc.vm->irqchip_ops->set_tpr(pc.vcpu[1], 7);
	assert_int_equal(pc.vm->irqchip_ops->get_tpr(pc.vcpu[1]), 7);
}

static void x2apic(unsigned int cpu)
{
	assert_int_equal(pc_wrmsr(&pc, cpu, 0x1b,
				  HV_LAPIC_BASE | EN | EXTD | (cpu ? 0 : 1 << 8)), 0);
}

static void test_x2apic_registers(void **state)
{
	static const struct { uint32_t msr; uint64_t value; int want; } writes[] = {
		{ 0x802, 1, 1 },	{ 0x803, 0, 1 },	  { 0x808, 0x20, 0 },
		{ 0x808, 0x100, 1 },	{ 0x80b, 0, 0 },	  { 0x80b, 1, 1 },
		{ 0x80d, 1, 1 },	{ 0x80e, 0, 1 },	  { 0x80f, 0x1ff, 0 },
		{ 0x80f, 1ULL << 32, 1 }, { 0x828, 0, 0 },	  { 0x828, 1, 1 },
		{ 0x830, 1 << 16, 1 },	{ 0x831, 0, 1 },	  { 0x832, 0x400ef, 0 },
		{ 0x832, 0x800ef, 1 },	{ 0x838, 5, 0 },	  { 0x839, 5, 1 },
		{ 0x83e, 0xb, 0 },	{ 0x83e, 4, 1 },	  { 0x83f, 0x100, 1 },
		{ 0x840, 0, 1 },	{ 0x8ff, 0, 1 },	  { 0x800, 0, 1 },
	};
	uint64_t v;
	unsigned int i;

	assert_int_equal(pc_rdmsr(&pc, 3, 0x802, &v), 1); /* not in x2APIC mode yet */
	assert_int_equal(pc_wrmsr(&pc, 3, 0x808, 0), 1);
	x2apic(3);
	assert_int_equal(pc_rdmsr(&pc, 3, 0x802, &v), 0);
	assert_int_equal(v, 3);
	assert_int_equal(pc_rdmsr(&pc, 3, 0x80d, &v), 0);
	assert_int_equal(v, 8);
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		assert_int_equal(pc_wrmsr(&pc, 3, writes[i].msr, writes[i].value), writes[i].want);
	/* Write-only and missing registers do not read. */
	assert_int_equal(pc_rdmsr(&pc, 3, 0x80b, &v), 1);
	assert_int_equal(pc_rdmsr(&pc, 3, 0x80e, &v), 1);
	assert_int_equal(pc_rdmsr(&pc, 3, 0x831, &v), 1);
	assert_int_equal(pc_rdmsr(&pc, 3, 0x83f, &v), 1);
	/* The page is gone. */
	assert_int_equal(pc_mmio_read(&pc, 3, HV_LAPIC_BASE, &v, 4), -EOPNOTSUPP);
}

static void test_x2apic_messages(void **state)
{
	unsigned int i;
	uint64_t v;

	for (i = 0; i < 4; i++)
		x2apic(i);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x83f, 0x71), 0); /* self */
	assert_int_equal(pc_take(&pc, 0), 0x71);
	pc_wrmsr(&pc, 0, 0x80b, 0);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x830, 2ULL << 32 | 0x72), 0);
	assert_int_equal(pc_take(&pc, 2), 0x72);
	assert_int_equal(pc_rdmsr(&pc, 0, 0x830, &v), 0);
	assert_int_equal(v, 2ULL << 32 | 0x72);
	/* 0xff is an id like another; all ones is everybody. */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x830, 0xffULL << 32 | 0x73), 0);
	assert_int_equal(pc_take(&pc, 1), -1);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x830, 0xffffffffULL << 32 | 0x73), 0);
	assert_int_equal(pc_take(&pc, 1), 0x73);
	assert_int_equal(pc_take(&pc, 3), 0x73);
	/* Logical: cluster 0, CPU 3. */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x830, 8ULL << 32 | 0x884), 0);
	assert_int_equal(pc_take(&pc, 3), 0x84);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x830, 0x10008ULL << 32 | 0x895), 0);
	assert_int_equal(pc_take(&pc, 3), -1);
}

static void test_msi(void **state)
{
	assert_int_equal(irq_send_msi(pc.vm, 0xfee02000, 0x45), 1);
	assert_int_equal(irq_send_msi(pc.vm, 0xfee02000, 0x45), 0); /* coalesced */
	assert_int_equal(pc_take(&pc, 2), 0x45);
	assert_int_equal(irq_send_msi(pc.vm, 0xfee09000, 0x45), -1); /* nobody has id 9 */
	assert_int_equal(irq_send_msi(pc.vm, 0xfed00000, 0x45), -EINVAL);
	assert_int_equal(irq_send_msi(pc.vm, 0x1fee02000, 0x45), -EINVAL);
}

static void test_bitmap_ipi(void **state)
{
	const struct hv_irqchip_ops *ops = pc.vm->irqchip_ops;

	assert_int_equal(ops->send_ipi(pc.vcpu[0], 0x5, 1, 0x48), 2); /* ids 1 and 3 */
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_int_equal(pc_take(&pc, 1), 0x48);
	assert_int_equal(pc_take(&pc, 2), -1);
	assert_int_equal(pc_take(&pc, 3), 0x48);
	assert_int_equal(ops->send_ipi(pc.vcpu[0], ~(unsigned __int128)0, 0xffffffff, 0x48), 0);
	assert_int_equal(ops->send_ipi(pc.vcpu[0], 1, 0, 0x500), -EINVAL); /* INIT */
	assert_int_equal(ops->send_ipi(pc.vcpu[0], 1, 0, 0x848), -EINVAL); /* logical */
}

static void test_timer_one_shot(void **state)
{
	pc_lapic_write(&pc, 0, 0x3e0, 0xb); /* divide by 1: ns */
	pc_lapic_write(&pc, 0, LVTT, 0x55);
	pc_lapic_write(&pc, 0, 0x380, 2000000);
	assert_true(pc_lapic_read(&pc, 0, 0x390) <= 2000000);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x55);
	assert_int_equal(pc_take(&pc, 0), 0x55);
	pc_lapic_write(&pc, 0, EOI, 0);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x390), 0);
	pc_sleep_ms(5);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* Stopped by a count of 0; a masked one counts without interrupting. */
	pc_lapic_write(&pc, 0, 0x380, 3000000);
	pc_lapic_write(&pc, 0, 0x380, 0);
	pc_lapic_write(&pc, 0, LVTT, 0x10055);
	pc_lapic_write(&pc, 0, 0x380, 1000000);
	pc_sleep_ms(8);
	assert_int_equal(pc_take(&pc, 0), -1);
}

static void test_timer_periodic(void **state)
{
	unsigned int i;

	pc_lapic_write(&pc, 0, 0x3e0, 0x0); /* divide by 2 */
	pc_lapic_write(&pc, 0, LVTT, 0x20056);
	pc_lapic_write(&pc, 0, 0x380, 500000);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pc_wait_irq(&pc, 0), 0x56);
		assert_int_equal(pc_take(&pc, 0), 0x56);
		pc_lapic_write(&pc, 0, EOI, 0);
	}
	/* Into deadline mode: stopped. */
	pc_lapic_write(&pc, 0, LVTT, 0x40056);
	pc_take(&pc, 0);
	pc_lapic_write(&pc, 0, EOI, 0);
	pc_sleep_ms(5);
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_int_equal(pc_lapic_read(&pc, 0, 0x380), 0);
}

static void test_timer_deadline(void **state)
{
	uint64_t khz = pc.vm->processor->tsc_khz(), v;

	/* Outside of deadline mode the MSR is dead. */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x6e0, 1), 0);
	assert_int_equal(pc_rdmsr(&pc, 0, 0x6e0, &v), 0);
	assert_int_equal(v, 0);
	pc_lapic_write(&pc, 0, LVTT, 0x40057);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x6e0, vcpu_read_tsc(pc.vcpu[0]) + khz * 60000), 0);
	assert_int_equal(pc_rdmsr(&pc, 0, 0x6e0, &v), 0);
	assert_true(v != 0);
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_int_equal(pc_wrmsr(&pc, 0, 0x6e0, 0), 0); /* disarm */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x6e0, vcpu_read_tsc(pc.vcpu[0]) + khz), 0);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x57);
	assert_int_equal(pc_take(&pc, 0), 0x57);
	assert_int_equal(pc_rdmsr(&pc, 0, 0x6e0, &v), 0);
	assert_int_equal(v, 0);
	pc_lapic_write(&pc, 0, EOI, 0);
	/* In the past: at once. */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x6e0, 1), 0);
	assert_int_equal(pc_take(&pc, 0), 0x57);
}

static void test_state(void **state)
{
	struct hv_lapic_state s, t;

	ipi(0, 1, 0x66);
	ipi(0, 1, 0x77);
	assert_int_equal(pc_take(&pc, 1), 0x77);
	irqchip_get_lapic(pc.vcpu[1], &s);
	pc.vm->irqchip_ops->vcpu_reset(pc.vcpu[1], false);
	assert_int_equal(irqchip_set_lapic(pc.vcpu[1], &s), 0);
	irqchip_get_lapic(pc.vcpu[1], &t);
	assert_memory_equal(&s, &t, sizeof(s));
	pc_lapic_write(&pc, 1, EOI, 0);
	assert_int_equal(pc_take(&pc, 1), 0x66);
	t.base |= 1;
	assert_int_equal(irqchip_set_lapic(pc.vcpu[1], &t), -EINVAL);
	t = s;
	t.base = (t.base | EXTD) & ~EN;
	assert_int_equal(irqchip_set_lapic(pc.vcpu[1], &t), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_power_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_access_widths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destinations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lowest_priority, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_software_disable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_sipi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_base_transitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relocation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x2apic_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_x2apic_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bitmap_ipi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_one_shot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timer_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
