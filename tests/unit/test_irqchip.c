/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* I/O APIC, PIC and PIT. Expectations from the 82093AA, 8259A and 8254 data sheets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/pc_fixture.h"

static struct pc pc;

static int setup(void **state)
{
	unsigned int i;

	pc_start(&pc, 2);
	for (i = 0; i < 2; i++)
		pc_lapic_write(&pc, i, 0xf0, 0x1ff);
	return 0;
}

static int teardown(void **state)
{
	pc_stop(&pc);
	return 0;
}

static void eoi(unsigned int cpu)
{
	pc_lapic_write(&pc, cpu, 0xb0, 0);
}

static int line(unsigned int gsi, int level)
{
	return irq_set_level(pc.vm, HV_IRQ_SOURCE_USER, gsi, level);
}

/* ---- I/O APIC ---------------------------------------------------------------------- */

static void io_write(uint32_t reg, uint32_t value)
{
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE, reg, 4);
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE + 0x10, value, 4);
}

static uint32_t io_read(uint32_t reg)
{
	uint32_t value = 0;

	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE, reg, 4);
	pc_mmio_read(&pc, 0, HV_IOAPIC_BASE + 0x10, &value, 4);
	return value;
}

static void redir(unsigned int pin, uint32_t low, uint8_t dest)
{
	io_write(0x11 + 2 * pin, (uint32_t)dest << 24);
	io_write(0x10 + 2 * pin, low);
}

static void test_ioapic_registers(void **state)
{
	assert_int_equal(io_read(1), 0x00170011);
	io_write(1, 0);
	assert_int_equal(io_read(1), 0x00170011);
	io_write(0, 0xffffffff);
	assert_int_equal(io_read(0), 0x0f000000);
	assert_int_equal(io_read(2), 0x0f000000);
	assert_int_equal(io_read(0x10), 0x10000);
	io_write(0x10, 0xffffffff);
	assert_int_equal(io_read(0x10), 0x1afff); /* without status, Remote IRR */
	io_write(0x11, 0xffffffff);
	assert_int_equal(io_read(0x11), 0xff000000);
	/* Past the last pin, and no register at all. */
	io_write(0x40, 0x55);
	assert_int_equal(io_read(0x40), 0);
	assert_int_equal(io_read(0x03), 0);
}

static void test_ioapic_edge(void **state)
{
	redir(20, 0x51, 1);
	assert_int_equal(line(20, 1), 1);
	assert_int_equal(pc_take(&pc, 1), 0x51);
	eoi(1);
	/* Held high it does not come again; a new edge does. */
	line(20, 1);
	assert_int_equal(pc_take(&pc, 1), -1);
	line(20, 0);
	line(20, 1);
	assert_int_equal(pc_take(&pc, 1), 0x51);
	eoi(1);
	line(20, 0);
	/* An edge on a masked pin is lost. */
	redir(20, 0x10051, 1);
	line(20, 1);
	redir(20, 0x51, 1);
	assert_int_equal(pc_take(&pc, 1), -1);
}

static void test_ioapic_level(void **state)
{
	redir(21, 0x8052, 0);
	line(21, 1);
	assert_int_equal(pc_take(&pc, 0), 0x52);
	assert_true(io_read(0x10 + 42) & 0x4000);
	/* TMR says level. */
	assert_true(pc_lapic_read(&pc, 0, 0x180 + (0x52 / 32) * 16) & 1U << (0x52 % 32));
	line(21, 0);
	line(21, 1);
	assert_int_equal(pc_take(&pc, 0), -1);
	eoi(0); /* still high: again */
	assert_int_equal(pc_take(&pc, 0), 0x52);
	line(21, 0);
	eoi(0);
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_false(io_read(0x10 + 42) & 0x4000);
	/* A level that rose while masked is seen when the mask goes. */
	redir(21, 0x18052, 0);
	line(21, 1);
	assert_int_equal(pc_take(&pc, 0), -1);
	redir(21, 0x8052, 0);
	assert_int_equal(pc_take(&pc, 0), 0x52);
	/* To edge and back clears Remote IRR. */
	redir(21, 0x10052, 0);
	assert_false(io_read(0x10 + 42) & 0x4000);
	/* Two sources of one line: it falls with the last. */
	line(21, 0);
	eoi(0);
	redir(21, 0x8052, 0);
	irq_set_level(pc.vm, HV_IRQ_SOURCE_PCI, 21, 1);
	irq_set_level(pc.vm, HV_IRQ_SOURCE_PCI + 1, 21, 1);
	assert_int_equal(pc_take(&pc, 0), 0x52);
	irq_set_level(pc.vm, HV_IRQ_SOURCE_PCI, 21, 0);
	eoi(0);
	assert_int_equal(pc_take(&pc, 0), 0x52);
	irq_set_level(pc.vm, HV_IRQ_SOURCE_PCI + 1, 21, 0);
	eoi(0);
	assert_int_equal(pc_take(&pc, 0), -1);
}

static void test_ioapic_state(void **state)
{
	struct hv_ioapic_state s, t;

	redir(21, 0x8052, 0);
	line(21, 1);
	irqchip_get_ioapic(pc.vm, &s);
	irqchip_reset(pc.vm);
	assert_int_equal(io_read(0x10 + 42), 0x10000);
	assert_int_equal(irqchip_set_ioapic(pc.vm, &s), 0);
	irqchip_get_ioapic(pc.vm, &t);
	assert_memory_equal(&s, &t, sizeof(s));
	t.redirtbl[0] |= 1ULL << 20;
	assert_int_equal(irqchip_set_ioapic(pc.vm, &t), -EINVAL);
	s.irr = 1U << 24;
	assert_int_equal(irqchip_set_ioapic(pc.vm, &s), -EINVAL);
}

/* ---- PIC ------------------------------------------------------------------------------- */

static void pic_init(uint8_t icw4)
{
	pc_outb(&pc, 0x20, 0x11);
	pc_outb(&pc, 0x21, 0x20);
	pc_outb(&pc, 0x21, 0x04);
	pc_outb(&pc, 0x21, icw4);
	pc_outb(&pc, 0xa0, 0x11);
	pc_outb(&pc, 0xa1, 0x28);
	pc_outb(&pc, 0xa1, 0x02);
	pc_outb(&pc, 0xa1, icw4);
	pc_outb(&pc, 0x21, 0);
	pc_outb(&pc, 0xa1, 0);
	irqchip_virtual_wire(pc.vcpu[0]);
}

static uint8_t pic_isr(uint16_t port)
{
	pc_outb(&pc, port, 0x0b);
	return pc_inb(&pc, port);
}

static uint8_t pic_irr(uint16_t port)
{
	pc_outb(&pc, port, 0x0a);
	return pc_inb(&pc, port);
}

static void test_pic_priorities(void **state)
{
	pic_init(1);
	line(3, 1);
	line(1, 1);
	assert_int_equal(pic_irr(0x20), 0x0a);
	assert_int_equal(pc_take(&pc, 0), 0x21);
	assert_int_equal(pic_isr(0x20), 0x02);
	assert_int_equal(pc_take(&pc, 0), -1); /* 3 is less urgent than 1 */
	line(0, 1);
	assert_int_equal(pc_take(&pc, 0), 0x20);
	pc_outb(&pc, 0x20, 0x20);
	pc_outb(&pc, 0x20, 0x20);
	assert_int_equal(pc_take(&pc, 0), 0x23);
	pc_outb(&pc, 0x20, 0x63); /* specific EOI */
	assert_int_equal(pic_isr(0x20), 0);
	/* Masked lines wait, edges kept. */
	line(1, 0);
	pc_outb(&pc, 0x21, 0x02);
	line(1, 1);
	assert_int_equal(pc_take(&pc, 0), -1);
	pc_outb(&pc, 0x21, 0);
	assert_int_equal(pc_take(&pc, 0), 0x21);
}

static void test_pic_cascade(void **state)
{
	pic_init(1);
	line(12, 1);
	assert_int_equal(pc_take(&pc, 0), 0x2c);
	assert_int_equal(pic_isr(0x20), 0x04);
	assert_int_equal(pic_isr(0xa0), 0x10);
	line(8, 1);
	assert_int_equal(pc_take(&pc, 0), -1); /* fully nested: the master holds the slave back */
	pc_outb(&pc, 0xa0, 0x20);
	pc_outb(&pc, 0x20, 0x20);
	assert_int_equal(pc_take(&pc, 0), 0x28);
	pc_outb(&pc, 0xa0, 0x20);
	pc_outb(&pc, 0x20, 0x20);
	/* Special fully nested: a more urgent line of the slave comes through. */
	pic_init(0x11);
	line(12, 0);
	line(8, 0);
	line(12, 1);
	assert_int_equal(pc_take(&pc, 0), 0x2c);
	line(8, 1);
	assert_int_equal(pc_take(&pc, 0), 0x28);
}

static void test_pic_modes(void **state)
{
	pic_init(3); /* automatic EOI */
	line(5, 1);
	assert_int_equal(pc_take(&pc, 0), 0x25);
	assert_int_equal(pic_isr(0x20), 0);
	/* Rotation: after EOI of 5 with rotation, 5 is the least urgent. */
	pic_init(1);
	line(5, 0);
	line(5, 1);
	assert_int_equal(pc_take(&pc, 0), 0x25);
	pc_outb(&pc, 0x20, 0xa0);
	line(4, 1);
	line(6, 1);
	assert_int_equal(pc_take(&pc, 0), 0x26);
	pc_outb(&pc, 0x20, 0x20);
	assert_int_equal(pc_take(&pc, 0), 0x24);
	pc_outb(&pc, 0x20, 0x20);
	/* Special mask mode: what is in service and masked holds nobody back. */
	pic_init(1);
	line(0, 1);
	assert_int_equal(pc_take(&pc, 0), 0x20);
	pc_outb(&pc, 0x20, 0x68);
	pc_outb(&pc, 0x21, 0x01);
	line(7, 1);
	assert_int_equal(pc_take(&pc, 0), 0x27);
	/* Poll: acknowledges and tells the line. */
	pic_init(1);
	line(6, 0);
	line(6, 1);
	pc_outb(&pc, 0x20, 0x0c);
	assert_int_equal(pc_inb(&pc, 0x20), 0x86);
	assert_int_equal(pic_isr(0x20), 0x40);
	pc_outb(&pc, 0x20, 0x0c);
	assert_int_equal(pc_inb(&pc, 0x20), 0);
}

static void test_pic_level_and_spurious(void **state)
{
	pic_init(1);
	pc_outb(&pc, 0x4d0, 0xff);
	assert_int_equal(pc_inb(&pc, 0x4d0), 0xf8); /* 0, 1 and 2 are edges for good */
	pc_outb(&pc, 0x4d1, 0xff);
	assert_int_equal(pc_inb(&pc, 0x4d1), 0xde);
	line(5, 1);
	assert_int_equal(pc_take(&pc, 0), 0x25);
	pc_outb(&pc, 0x20, 0x20);
	assert_int_equal(pc_take(&pc, 0), 0x25); /* still high */
	line(5, 0);
	pc_outb(&pc, 0x20, 0x20);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* A level that goes before INTA is no request any more. */
	line(5, 1);
	assert_true(pc.vm->irqchip_ops->pending_interrupt(pc.vcpu[0]) >= 0);
	line(5, 0);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* Without ExtINT on LINT0, or for another CPU, nothing comes. */
	line(5, 1);
	assert_int_equal(pc_take(&pc, 1), -1);
	pc_lapic_write(&pc, 0, 0x350, 0x10700);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* With the local APIC off, the boot CPU's pin is the PIC's. */
	assert_int_equal(pc_wrmsr(&pc, 0, 0x1b, 0xfee00100), 0);
	assert_int_equal(pc_take(&pc, 0), 0x25);
}

static void test_pic_state(void **state)
{
	struct hv_pic_state s, t;

	pic_init(1);
	line(3, 1);
	irqchip_get_pic(pc.vm, &s);
	irqchip_reset(pc.vm);
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_int_equal(irqchip_set_pic(pc.vm, &s), 0);
	irqchip_get_pic(pc.vm, &t);
	assert_memory_equal(&s, &t, sizeof(s));
	assert_int_equal(pc_take(&pc, 0), 0x23);
	s.chip[0].priority_add = 8;
	assert_int_equal(irqchip_set_pic(pc.vm, &s), -EINVAL);
	t.chip[1].elcr = 1;
	assert_int_equal(irqchip_set_pic(pc.vm, &t), -EINVAL);
}

/* ---- PIT ---------------------------------------------------------------------------------- */

static void pit_program(unsigned int channel, unsigned int mode, uint16_t count)
{
	pc_outb(&pc, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	pc_outb(&pc, (uint16_t)(0x40 + channel), (uint8_t)count);
	pc_outb(&pc, (uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static uint16_t pit_count(unsigned int channel)
{
	uint16_t v;

	pc_outb(&pc, 0x43, (uint8_t)(channel << 6));
	v = pc_inb(&pc, (uint16_t)(0x40 + channel));
	return (uint16_t)(v | pc_inb(&pc, (uint16_t)(0x40 + channel)) << 8);
}

static void test_pit_irq0(void **state)
{
	unsigned int i;

	/* Rate generator, 2 ms, on the I/O APIC's pin 2. */
	redir(2, 0x30, 0);
	pit_program(0, 2, 2386);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pc_wait_irq(&pc, 0), 0x30);
		assert_int_equal(pc_take(&pc, 0), 0x30);
		eoi(0);
	}
	/* Ticks that were not taken come one by one after each EOI. */
	assert_int_equal(pc_wait_irq(&pc, 0), 0x30);
	pc_sleep_ms(30);
	for (i = 0; i < 10; i++) {
		assert_int_equal(pc_wait_irq(&pc, 0), 0x30);
		assert_int_equal(pc_take(&pc, 0), 0x30);
		eoi(0);
	}
	/* One shot: mode 0 comes once. */
	pit_program(0, 0, 1193);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x30);
	assert_int_equal(pc_take(&pc, 0), 0x30);
	eoi(0);
	pc_sleep_ms(5);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* A control word stops what was programmed. */
	pc_outb(&pc, 0x43, 0x34);
	pc_sleep_ms(5);
	assert_int_equal(pc_take(&pc, 0), -1);
}

static void test_pit_counting(void **state)
{
	uint16_t a, b;

	pit_program(2, 2, 60000);
	pc_outb(&pc, 0x61, 1);
	a = pit_count(2);
	assert_true(a > 0 && a <= 60000);
	pc_sleep_ms(2);
	b = pit_count(2);
	assert_true(a != b);
	/* Gate down: it stands still. */
	pc_outb(&pc, 0x61, 0);
	a = pit_count(2);
	pc_sleep_ms(2);
	assert_int_equal(pit_count(2), a);
	/* Low byte only, high byte only. */
	pc_outb(&pc, 0x43, 0x90);
	pc_outb(&pc, 0x42, 0x44);
	assert_int_equal(pc_inb(&pc, 0x42), 0x44);
	pc_outb(&pc, 0x43, 0xa0);
	pc_outb(&pc, 0x42, 0x12);
	assert_int_equal(pc_inb(&pc, 0x42), 0x12);
	/* BCD: the digits are decimal. */
	pc_outb(&pc, 0x43, 0xb1);
	pc_outb(&pc, 0x42, 0x34);
	pc_outb(&pc, 0x42, 0x12);
	assert_int_equal(pit_count(2), 0x1234);
	/* Read-back: status of channel 2 with a null count, then with a count. */
	pc_outb(&pc, 0x43, 0xb6);
	pc_outb(&pc, 0x43, 0xe8);
	assert_int_equal(pc_inb(&pc, 0x42) & 0x7f, 0x76);
	pc_outb(&pc, 0x42, 0);
	pc_outb(&pc, 0x42, 0);
	pc_outb(&pc, 0x43, 0xe8);
	assert_int_equal(pc_inb(&pc, 0x42) & 0x7f, 0x36);
}

static void test_pit_speaker(void **state)
{
	unsigned int i;

	/* The calibration of old: mode 0 on channel 2, wait for its output in bit 5. */
	pc_outb(&pc, 0x61, 1);
	pit_program(2, 0, 2386);
	assert_int_equal(pc_inb(&pc, 0x61) & 0x21, 0x01);
	for (i = 0; i < 2000 && !(pc_inb(&pc, 0x61) & 0x20); i++)
		pc_sleep_ms(1);
	assert_int_equal(pc_inb(&pc, 0x61) & 0x21, 0x21);
	pc_outb(&pc, 0x61, 2);
	assert_int_equal(pc_inb(&pc, 0x61) & 3, 2);
	/* Mode 0 with the gate down does not finish. */
	pc_outb(&pc, 0x61, 0);
	pit_program(2, 0, 100);
	pc_sleep_ms(2);
	assert_false(pc_inb(&pc, 0x61) & 0x20);
	pc_outb(&pc, 0x61, 1);
	pc_sleep_ms(2);
	assert_true(pc_inb(&pc, 0x61) & 0x20);
}

static void test_pit_state(void **state)
{
	struct hv_pit_state s;

	redir(2, 0x30, 0);
	pit_program(0, 2, 2386);
	irqchip_get_pit(pc.vm, &s);
	pc_outb(&pc, 0x43, 0x34);
	assert_int_equal(irqchip_set_pit(pc.vm, &s), 0);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x30);
	s.channel[1].count = 0;
	assert_int_equal(irqchip_set_pit(pc.vm, &s), -EINVAL);
	s.channel[1].count = 1;
	s.pending = 100000;
	assert_int_equal(irqchip_set_pit(pc.vm, &s), -EINVAL);
}

/* ---- timers --------------------------------------------------------------------------------- */

static _Atomic unsigned int order[8], fired;

struct numbered {
	struct hv_timer timer;
	unsigned int number;
};

static void on_timer(struct hv_timer *t)
{
	atomic_store(&order[atomic_fetch_add(&fired, 1) % 8],
		     container_of(t, struct numbered, timer)->number);
}

static void test_timers(void **state)
{
	static const unsigned int delays_ms[6] = { 30, 10, 50, 20, 40, 60 };
	struct hv_timers *timers = irqchip_timers(pc.vm);
	struct numbered n[6];
	uint64_t now;
	unsigned int i;

	atomic_store(&fired, 0);
	for (i = 0; i < 6; i++) {
		n[i].number = i;
		assert_int_equal(hv_timer_init(&n[i].timer, timers, on_timer), 0);
	}
	now = hv_timer_now();
	for (i = 0; i < 6; i++)
		hv_timer_arm(&n[i].timer, now + delays_ms[i] * 1000000ULL);
	hv_timer_cancel(&n[3].timer);
	assert_false(hv_timer_armed(&n[3].timer));
	hv_timer_arm(&n[5].timer, now + 1000000); /* moved to the front */
	for (i = 0; i < 2000 && atomic_load(&fired) < 5; i++)
		pc_sleep_ms(1);
	assert_int_equal(atomic_load(&fired), 5);
	assert_int_equal(order[0], 5);
	assert_int_equal(order[1], 1);
	assert_int_equal(order[2], 0);
	assert_int_equal(order[3], 4);
	assert_int_equal(order[4], 2);
	for (i = 0; i < 6; i++)
		hv_timer_destroy(&n[i].timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ioapic_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_edge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_level, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ioapic_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_cascade, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_level_and_spurious, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pic_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_irq0, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_counting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_speaker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_timers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
