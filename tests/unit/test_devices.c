/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RTC, ACPI fixed hardware, HPET, 8042, PCI host, fw_cfg, debug-exit, pvpanic, pc-testdev. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hv/dev/pci_host.h"
#include "tests/lib/pc_fixture.h"

static struct pc pc;

static struct hv_device *add(const struct hv_device_ops *ops)
{
	struct hv_device *dev = NULL;

	assert_int_equal(device_add(&pc.board, ops, NULL, &dev), 0);
	return dev;
}

static void redir(unsigned int pin, uint32_t low)
{
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE, 0x10 + 2 * pin, 4);
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE + 0x10, low, 4);
}

static int setup(void **state)
{
	pc_start(&pc, 2);
	pc_lapic_write(&pc, 0, 0xf0, 0x1ff);
	return 0;
}

static int teardown(void **state)
{
	pc_stop(&pc);
	return 0;
}

static void eoi(void)
{
	pc_lapic_write(&pc, 0, 0xb0, 0);
}

/* Save, reset, load, save: nothing changes but by the clock. Garbage is refused. */
static void check_state(struct hv_device *dev, bool exact)
{
	uint8_t *s = calloc(2, dev->ops->state_size), *t = s + dev->ops->state_size;

	dev->ops->save(dev, s);
	dev->ops->reset(dev);
	assert_int_equal(dev->ops->load(dev, s), 0);
	dev->ops->save(dev, t);
	if (exact)
		assert_memory_equal(s, t, dev->ops->state_size);
	memset(s, 0xff, dev->ops->state_size);
	assert_int_equal(dev->ops->load(dev, s), -EINVAL);
	free(s);
}

/* ---- RTC ---------------------------------------------------------------------------- */

static uint8_t cmos(uint8_t index)
{
	pc_outb(&pc, 0x70, index);
	return pc_inb(&pc, 0x71);
}

static void cmos_set(uint8_t index, uint8_t value)
{
	pc_outb(&pc, 0x70, index);
	pc_outb(&pc, 0x71, value);
}

static unsigned int bcd(uint8_t v)
{
	return (v >> 4) * 10U + (v & 15U);
}

static void test_rtc_time(void **state)
{
	time_t now = time(NULL);
	struct tm tm;

	add(&rtc_device);
	gmtime_r(&now, &tm);
	assert_int_equal(cmos(0x0d), 0x80);
	assert_int_equal(bcd(cmos(0x32)) * 100 + bcd(cmos(0x09)), tm.tm_year + 1900);
	/* Set a date: stop, write, start. */
	cmos_set(0x0b, 0x82);
	cmos_set(0x32, 0x19);
	cmos_set(0x09, 0x99);
	cmos_set(0x08, 0x12);
	cmos_set(0x07, 0x31);
	cmos_set(0x04, 0x23);
	cmos_set(0x02, 0x59);
	cmos_set(0x00, 0x58);
	cmos_set(0x0b, 0x02);
	assert_int_equal(cmos(0x09), 0x99);
	assert_int_equal(cmos(0x04), 0x23);
	assert_int_equal(cmos(0x06), 0x06); /* a Friday */
	/* Binary and 12-hour forms. */
	cmos_set(0x0b, 0x04);
	assert_int_equal(cmos(0x04), 0x80 | 11);
	assert_int_equal(cmos(0x02), 59);
	cmos_set(0x0b, 0x02);
	/* Over the new year. */
	pc_sleep_ms(2300);
	assert_int_equal(cmos(0x09), 0x00);
	assert_int_equal(cmos(0x32), 0x20);
	assert_int_equal(cmos(0x07), 0x01);
	/* Memory sizes: 16 MiB are 15 MiB above the first, in KiB. */
	assert_int_equal(cmos(0x15) | cmos(0x16) << 8, 640);
	assert_int_equal(cmos(0x17) | cmos(0x18) << 8, 15 * 1024);
	assert_int_equal(cmos(0x5f), 1);
	/* Registers C and D cannot be written, the memory behind them can. */
	cmos_set(0x0d, 0);
	assert_int_equal(cmos(0x0d), 0x80);
	cmos_set(0x40, 0x5a);
	assert_int_equal(cmos(0x40), 0x5a);
}

static void test_rtc_interrupts(void **state)
{
	struct hv_device *rtc = add(&rtc_device);
	unsigned int i;

	redir(8, 0x38);
	cmos(0x0c);
	cmos_set(0x0a, 0x26); /* 1024 Hz */
	cmos_set(0x0b, 0x42);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pc_wait_irq(&pc, 0), 0x38);
		assert_int_equal(pc_take(&pc, 0), 0x38);
		eoi();
		assert_int_equal(cmos(0x0c) & 0xc0, 0xc0);
	}
	cmos_set(0x0b, 0x02);
	pc_take(&pc, 0);
	eoi();
	cmos(0x0c);
	pc_sleep_ms(5);
	assert_int_equal(pc_take(&pc, 0), -1);
	/*
	 * Alarm every second, and update-ended. A second that began before the alarm was set has
	 * left UF alone: it must not be what the interrupt is for.
	 */
	cmos_set(0x01, 0xc0);
	cmos_set(0x03, 0xc0);
	cmos_set(0x05, 0xc0);
	cmos(0x0c);
	cmos_set(0x0b, 0x32);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x38);
	assert_int_equal(cmos(0x0c) & 0xb0, 0xb0);
	/* Reading clears. On a busy machine the next second may have come in between, once or twice. */
	for (i = 0; i < 20 && cmos(0x0c); i++)
		;
	assert_true(i < 20);
	cmos_set(0x0b, 0x02);
	rtc->ops->reset(rtc);
	assert_int_equal(cmos(0x0a) & 0x7f, 0x26);
}

/* ---- ACPI fixed hardware ---------------------------------------------------------------- */

static void test_acpi_pm(void **state)
{
	struct hv_device *pm = add(&acpi_pm_device);
	uint32_t a, b;

	redir(9, 0x8039);
	assert_int_equal(pc_in(&pc, 0x604, 2), 1); /* SCI_EN, no ACPI enable command */
	a = pc_in(&pc, 0x608, 4);
	pc_sleep_ms(10);
	b = pc_in(&pc, 0x608, 4);
	assert_true(b - a >= 35795); /* 3.58 MHz; sleeps are never shorter */
	/* The power button: status, and SCI when enabled; write 1 to clear. */
	acpi_pm_power_button(pm);
	assert_int_equal(pc_in(&pc, 0x600, 2), 0x100);
	assert_int_equal(pc_take(&pc, 0), -1);
	pc_out(&pc, 0x602, 0x100, 2);
	assert_int_equal(pc_take(&pc, 0), 0x39);
	eoi();
	assert_int_equal(pc_take(&pc, 0), 0x39); /* level */
	pc_out(&pc, 0x600, 0x100, 2);
	eoi();
	assert_int_equal(pc_take(&pc, 0), -1);
	assert_int_equal(pc_in(&pc, 0x600, 4), 0x100U << 16);
	/* SLP_EN with another type than S5's does nothing. */
	pc_out(&pc, 0x604, 1 << 13 | 3 << 10, 2);
	assert_int_equal(pc.poweroffs, 0);
	pc_out(&pc, 0x604, 5 << 10, 2);
	assert_int_equal(pc.poweroffs, 0);
	pc_out(&pc, 0x604, 1 << 13 | 5 << 10, 2);
	assert_int_equal(pc.poweroffs, 1);
	pc_out(&pc, 0x605, (1 << 13 | 5 << 10) >> 8, 1);
	assert_int_equal(pc.poweroffs, 2);
	assert_false(pc_in(&pc, 0x604, 2) & 1 << 13);
	check_state(pm, false);
}

/* ---- HPET ------------------------------------------------------------------------------------ */

static uint64_t hpet(unsigned int offset)
{
	uint64_t v = 0;

	pc_mmio_read(&pc, 0, HV_HPET_BASE + offset, &v, 8);
	return v;
}

static void hpet_set(unsigned int offset, uint64_t v)
{
	pc_mmio_write(&pc, 0, HV_HPET_BASE + offset, v, 8);
}

static void test_hpet(void **state)
{
	struct hv_device *dev = add(&hpet_device);
	uint32_t half = 0;
	unsigned int i;

	assert_int_equal(hpet(0) >> 32, 10000000); /* 10 ns in fs */
	assert_int_equal(hpet(0) & 0xffffffff, 0x8086a201);
	hpet_set(0xf0, 12345);
	assert_int_equal(hpet(0xf0), 12345);
	hpet_set(0x10, 1);
	pc_sleep_ms(2);
	assert_true(hpet(0xf0) >= 12345 + 200000);
	pc_mmio_read(&pc, 0, HV_HPET_BASE + 0x04, &half, 4);
	assert_int_equal(half, 10000000);
	/* Comparator 0 on GSI 20, level, one shot. */
	redir(20, 0x8054);
	hpet_set(0x100, 20 << 9 | 1 << 2 | 1 << 1);
	hpet_set(0x108, hpet(0xf0) + 100000);
	assert_int_equal(pc_wait_irq(&pc, 0), 0x54);
	assert_int_equal(hpet(0x20), 1);
	assert_int_equal(pc_take(&pc, 0), 0x54);
	hpet_set(0x20, 1);
	eoi();
	assert_int_equal(hpet(0x20), 0);
	assert_int_equal(pc_take(&pc, 0), -1);
	/* A route that is not possible is not taken. */
	hpet_set(0x120, 3 << 9);
	assert_int_equal(hpet(0x120) & 0x3e00, 0);
	/* Periodic in legacy mode: IRQ 0 on pin 2. */
	redir(2, 0x55);
	hpet_set(0x10, 3);
	hpet_set(0x100, 1 << 6 | 1 << 3 | 1 << 2);
	hpet_set(0x108, hpet(0xf0) + 100000);
	hpet_set(0x108, 100000);
	for (i = 0; i < 3; i++) {
		assert_int_equal(pc_wait_irq(&pc, 0), 0x55);
		assert_int_equal(pc_take(&pc, 0), 0x55);
		eoi();
	}
	/* MSI delivery. */
	hpet_set(0x10, 1);
	hpet_set(0x130, 0xfee00000ULL << 32 | 0x66);
	hpet_set(0x120, 1 << 14 | 1 << 2);
	hpet_set(0x128, hpet(0xf0) + 50000);
	for (i = 0; i < 100 && pc_wait_irq(&pc, 0) != 0x66; i++) {
		pc_take(&pc, 0);
		eoi();
	}
	assert_int_equal(pc_take(&pc, 0), 0x66);
	check_state(dev, false);
}

/* ---- 8042, PCI host ------------------------------------------------------------------------------ */

static void test_i8042(void **state)
{
	struct hv_device *dev = add(&i8042_device);

	assert_int_equal(pc_inb(&pc, 0x64) & 1, 0);
	pc_outb(&pc, 0x64, 0xaa);
	assert_int_equal(pc_inb(&pc, 0x64) & 1, 1);
	assert_int_equal(pc_inb(&pc, 0x60), 0x55);
	assert_int_equal(pc_inb(&pc, 0x64) & 1, 0);
	pc_outb(&pc, 0x64, 0x60);
	pc_outb(&pc, 0x60, 0x47);
	pc_outb(&pc, 0x64, 0x20);
	assert_int_equal(pc_inb(&pc, 0x60), 0x47);
	/* A20 by the output port and by port 0x92. */
	pc_outb(&pc, 0x64, 0xd1);
	pc_outb(&pc, 0x60, 0xdd);
	pc_outb(&pc, 0x64, 0xd0);
	assert_int_equal(pc_inb(&pc, 0x60) & 3, 1);
	pc_outb(&pc, 0x92, 2);
	assert_int_equal(pc_inb(&pc, 0x92), 2);
	assert_int_equal(pc.resets, 0);
	check_state(dev, true);
	/* Three ways to reset; pulses of other lines are none. */
	pc_outb(&pc, 0x64, 0xff);
	assert_int_equal(pc.resets, 0);
	pc_outb(&pc, 0x64, 0xfe);
	assert_int_equal(pc.resets, 1);
	pc_outb(&pc, 0x64, 0xd1);
	pc_outb(&pc, 0x60, 0x02);
	assert_int_equal(pc.resets, 2);
	pc_outb(&pc, 0x92, 1);
	assert_int_equal(pc.resets, 3);
	pc_outb(&pc, 0x92, 1); /* no edge */
	assert_int_equal(pc.resets, 3);
}

static void test_pci_host(void **state)
{
	static struct hv_pci_function f = { .devfn = 3 << 3 };
	struct hv_device *dev = add(&pci_host_device);
	uint32_t v = 0;

	pc_out(&pc, 0xcf8, 0x80000000, 4);
	assert_int_equal(pc_in(&pc, 0xcfc, 4), 0x29c08086);
	assert_int_equal(pc_in(&pc, 0xcfe, 2), 0x29c0);
	/* Nobody there, other bus, not enabled, out of line. */
	pc_out(&pc, 0xcf8, 0x80001800, 4);
	assert_int_equal(pc_in(&pc, 0xcfc, 4), 0xffffffff);
	pc_out(&pc, 0xcf8, 0x80010000, 4);
	assert_int_equal(pc_in(&pc, 0xcfc, 4), 0xffffffff);
	pc_out(&pc, 0xcf8, 0, 4);
	assert_int_equal(pc_in(&pc, 0xcfc, 4), 0xffffffff);
	/* ECAM, and a function of our own with writable and clearable bits. */
	pc_mmio_read(&pc, 0, HV_ECAM_BASE, &v, 4);
	assert_int_equal(v, 0x29c08086);
	f.config[0] = 0x34;
	f.config[1] = 0x12;
	f.writable[4] = 0x07;
	f.config[6] = 0x30;
	f.clearable[6] = 0x10;
	assert_int_equal(pci_register(&pc.board, &f), 0);
	assert_int_equal(pci_register(&pc.board, &f), -EEXIST);
	pc_mmio_write(&pc, 0, HV_ECAM_BASE + (3 << 15) + 4, 0xffffffff, 4);
	pc_out(&pc, 0xcf8, 0x80001804, 4);
	assert_int_equal(pc_in(&pc, 0xcfc, 4), 0x00200007);
	pc_mmio_write(&pc, 0, HV_ECAM_BASE + (3 << 15), 0, 4);
	pc_mmio_read(&pc, 0, HV_ECAM_BASE + (3 << 15), &v, 4);
	assert_int_equal(v, 0x1234);
	pci_unregister(&pc.board, &f);
	pc_mmio_read(&pc, 0, HV_ECAM_BASE + (3 << 15), &v, 4);
	assert_int_equal(v, 0xffffffff);
	/* The reset register: the rising edge of bit 2. */
	pc_outb(&pc, 0xcf9, 0x02);
	assert_int_equal(pc.resets, 0);
	assert_int_equal(pc_inb(&pc, 0xcf9), 0x02);
	pc_outb(&pc, 0xcf9, 0x06);
	assert_int_equal(pc.resets, 1);
	check_state(dev, true);
}

/* ---- the small ones ---------------------------------------------------------------------------------- */

static uint64_t fw_cfg(uint16_t selector, unsigned int len)
{
	uint64_t v = 0;
	unsigned int i;

	pc_out(&pc, 0x510, selector, 2);
	for (i = 0; i < len; i++)
		v |= (uint64_t)pc_inb(&pc, 0x511) << 8 * i;
	return v;
}

static void test_fw_cfg(void **state)
{
	struct hv_device *dev = add(&fw_cfg_device);

	assert_int_equal(fw_cfg(0, 4), 0x554d4551); /* QEMU */
	assert_int_equal(fw_cfg(1, 4), 1);
	assert_int_equal(fw_cfg(3, 8), PC_RAM);
	assert_int_equal(fw_cfg(5, 2), 2);
	assert_int_equal(fw_cfg(0x0f, 2), 2);
	assert_int_equal(fw_cfg(0x11, 8), PC_RAM);
	assert_int_equal(fw_cfg(0x19, 4), 0);
	assert_int_equal(fw_cfg(0x777, 8), 0);
	/* Past the end: zeros. A write of data is ignored. */
	fw_cfg(5, 2);
	pc_outb(&pc, 0x511, 9);
	assert_int_equal(pc_inb(&pc, 0x511), 0);
	check_state(dev, true);
}

static void test_debug_exit_and_pvpanic(void **state)
{
	add(&debug_exit_device);
	add(&pvpanic_device);
	pc_out(&pc, 0xf4, 0x12345, 4);
	assert_int_equal(pc.debug_exits, 1);
	assert_int_equal(pc.debug_code, 0x12345);
	assert_int_equal(pc_inb(&pc, 0x505), 3);
	pc_outb(&pc, 0x505, 0x80);
	assert_int_equal(pc.panics, 0);
	pc_outb(&pc, 0x505, 1);
	assert_int_equal(pc.panics, 1);
}

static void test_pc_testdev(void **state)
{
	uint64_t v = 0;

	add(&pc_testdev_device);
	pc_out(&pc, 0xe0, 0x12345678, 4);
	assert_int_equal(pc_in(&pc, 0xe0, 1), 0x78);
	assert_int_equal(pc_in(&pc, 0xe0, 2), 0x5678);
	assert_int_equal(pc_in(&pc, 0xe0, 4), 0x12345678);
	redir(14, 0x5e);
	pc_outb(&pc, 0x2000 + 14, 1);
	assert_int_equal(pc_take(&pc, 0), 0x5e);
	pc_outb(&pc, 0x2000 + 14, 0);
	pc_mmio_write(&pc, 0, 0xff000ff8, 0x1122334455667788, 8);
	assert_int_equal(pc_mmio_read(&pc, 0, 0xff000ffc, &v, 4), 0);
	assert_int_equal(v, 0x11223344);
	assert_int_equal(pc_mmio_read(&pc, 0, 0xff00fffc, &v, 8), -EOPNOTSUPP);
}

static void test_life_cycle(void **state)
{
	const struct uart16550_params overlap = { .port = 0x50c, .irq = 3 };
	struct hv_device *dev = NULL;

	add(&fw_cfg_device);
	/* Ports that overlap: refused, and nothing is left of the attempt. */
	assert_int_equal(device_add(&pc.board, &uart16550_device, &overlap, &dev), -EEXIST);
	assert_null(dev);
	assert_int_equal(pc.board.nr_devices, 1);
	assert_non_null(device_find(&pc.board, "fw_cfg"));
	assert_null(device_find(&pc.board, "rtc"));
	pc_out(&pc, 0x510, 5, 2);
	board_reset(&pc.board);
	assert_int_equal(pc_inb(&pc, 0x511), 'Q');
	board_destroy(&pc.board);
	assert_int_equal(pc_inb(&pc, 0x511), 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rtc_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rtc_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acpi_pm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hpet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_i8042, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pci_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fw_cfg, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_exit_and_pvpanic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pc_testdev, setup, teardown),
		cmocka_unit_test_setup_teardown(test_life_cycle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
