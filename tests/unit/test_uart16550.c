/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The UART. Expectations from the PC16550D data sheet. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/pc_fixture.h"

#define COM 0x3f8

static struct pc pc;
static struct hv_device *uart;

static int setup(void **state)
{
	const struct uart16550_params params = { .port = COM, .irq = 4 };

	pc_start(&pc, 1);
	assert_int_equal(device_add(&pc.board, &uart16550_device, &params, &uart), 0);
	/* IRQ 4 as vector 0x34, level, so that its level shows. */
	pc_lapic_write(&pc, 0, 0xf0, 0x1ff);
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE, 0x18, 4);
	pc_mmio_write(&pc, 0, HV_IOAPIC_BASE + 0x10, 0x8034, 4);
	return 0;
}

static int teardown(void **state)
{
	pc_stop(&pc);
	return 0;
}

/* True: the interrupt line is up. */
static bool irq(void)
{
	int vector = pc_take(&pc, 0);

	pc_lapic_write(&pc, 0, 0xb0, 0);
	/* After the EOI a line that is up interrupts again. */
	return vector == 0x34;
}

static uint8_t in(unsigned int reg)
{
	return pc_inb(&pc, (uint16_t)(COM + reg));
}

static void out(unsigned int reg, uint8_t value)
{
	pc_outb(&pc, (uint16_t)(COM + reg), value);
}

static void test_registers(void **state)
{
	assert_int_equal(in(1), 0);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(3), 0);
	assert_int_equal(in(4), 0);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(6), 0xb0);
	out(7, 0xa5);
	assert_int_equal(in(7), 0xa5);
	/* Upper bits that do not exist. */
	out(1, 0xff);
	assert_int_equal(in(1), 0x0f);
	out(4, 0xff);
	assert_int_equal(in(4), 0x1f);
	out(4, 0);
	/* The divisor is behind DLAB and hides THR and IER. */
	out(3, 0x83);
	out(0, 0x01);
	out(1, 0x02);
	assert_int_equal(in(0), 0x01);
	assert_int_equal(in(1), 0x02);
	out(3, 0x03);
	assert_int_equal(in(1), 0x0f);
	/* LSR is read-only; FIFO bits of IIR follow FCR. */
	out(5, 0);
	assert_int_equal(in(5), 0x60);
	out(1, 0);
	out(2, 0x01);
	assert_int_equal(in(2), 0xc1);
	out(2, 0xc0); /* without the enable bit nothing else counts */
	assert_int_equal(in(2), 0x01);
}

static void test_output(void **state)
{
	const char *text = "a line\nand the rest";
	unsigned int i;

	for (i = 0; text[i]; i++)
		out(0, (uint8_t)text[i]);
	/* The line at once, the rest within a moment. */
	pthread_mutex_lock(&pc.lock);
	assert_true(pc.out_len >= 7);
	pthread_mutex_unlock(&pc.lock);
	for (i = 0; i < 2000; i++) {
		pthread_mutex_lock(&pc.lock);
		if (pc.out_len == strlen(text))
			i = 10000;
		pthread_mutex_unlock(&pc.lock);
		pc_sleep_ms(1);
	}
	assert_true(i > 2000);
	assert_memory_equal(pc.out, text, strlen(text));
	/* More than the batch buffer without a newline: in order, nothing lost. */
	pc.out_len = 0;
	for (i = 0; i < 2000; i++)
		out(0, (uint8_t)(i % 251 + 11));
	uart16550_flush(uart);
	assert_int_equal(pc.out_len, 2000);
	for (i = 0; i < 2000; i++)
		assert_int_equal((uint8_t)pc.out[i], (uint8_t)(i % 251 + 11));
}

static void test_thre_interrupt(void **state)
{
	out(4, 0x08);
	out(1, 0x02); /* enabling it with THR empty raises it */
	assert_true(irq());
	assert_int_equal(in(2), 0x02);
	assert_int_equal(in(2), 0x01); /* reading took it back */
	irq(); /* the one in flight */
	assert_false(irq());
	out(0, 'x');
	assert_true(irq());
	assert_int_equal(in(2), 0x02);
	/* OUT2 is the gate of the line. */
	out(0, 'x');
	irq();
	out(4, 0);
	irq();
	assert_false(irq());
}

static void test_input_fifo(void **state)
{
	uint8_t bytes[20];
	unsigned int i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)('A' + i);
	out(4, 0x08);
	out(2, 0x81); /* FIFO, trigger at 8 */
	out(1, 0x01);
	assert_int_equal(uart16550_input(uart, bytes, 3), 3);
	assert_true(irq());
	assert_int_equal(in(2), 0xcc); /* below the trigger: timeout */
	assert_int_equal(uart16550_input(uart, bytes + 3, 17), 17);
	assert_int_equal(in(2), 0xc4);
	for (i = 0; i < sizeof(bytes); i++) {
		assert_true(in(5) & 1);
		assert_int_equal(in(0), bytes[i]);
	}
	assert_false(in(5) & 1);
	assert_int_equal(in(2), 0xc1);
	irq();
	assert_false(irq());
	assert_int_equal(in(0), 0);
	/* FCR's clear bit empties the FIFO. */
	assert_int_equal(uart16550_input(uart, bytes, 2), 2);
	out(2, 0x83);
	assert_false(in(5) & 1);
}

static void test_input_flow_control(void **state)
{
	static uint8_t bytes[8192];
	size_t took = uart16550_input(uart, bytes, sizeof(bytes));

	assert_true(took > 0 && took < sizeof(bytes));
	assert_int_equal(uart16550_input(uart, bytes, 1), 1); /* one went to the receiver */
	assert_int_equal(uart16550_input(uart, bytes, 1), 0);
	in(0);
	assert_int_equal(uart16550_input(uart, bytes, 2), 1);
}

static void test_loopback(void **state)
{
	out(4, 0x10);
	in(6);
	out(0, 'L');
	assert_true(in(5) & 1);
	assert_int_equal(in(0), 'L');
	uart16550_flush(uart);
	assert_int_equal(pc.out_len, 0);
	/* Without a FIFO the second byte overruns. */
	out(0, '1');
	out(0, '2');
	assert_true(in(5) & 2);
	assert_false(in(5) & 2);
	assert_int_equal(in(0), '1');
	/* DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD, with their deltas. */
	out(4, 0x11);
	assert_int_equal(in(6), 0x22);
	out(4, 0x12);
	assert_int_equal(in(6), 0x13);
	out(4, 0x14);
	assert_int_equal(in(6), 0x41); /* CTS fell; RI counts when it ends */
	out(4, 0x18);
	assert_int_equal(in(6), 0x8c);
	assert_int_equal(in(6), 0x80);
}

static void test_modem_interrupt(void **state)
{
	out(1, 0x08);
	out(4, 0x08);
	in(6);
	out(4, 0x18); /* into loop mode: lines fall */
	out(4, 0x08); /* and rise: a delta */
	assert_true(irq());
	assert_int_equal(in(2), 0x00);
	in(6);
	assert_int_equal(in(2), 0x01);
}

static void test_wide_access(void **state)
{
	/* A 16-bit access is two of bytes; one that leaves our ports is not ours. */
	pc_out(&pc, COM + 6, 0x1234, 2);
	assert_int_equal(in(7), 0x12);
	pc_out(&pc, COM + 7, 0x5678, 2);
	assert_int_equal(in(7), 0x12);
	assert_int_equal(pc_in(&pc, COM + 4, 2), 0x6000);
}

static void test_state(void **state)
{
	uint8_t *s = calloc(2, uart->ops->state_size), *t = s + uart->ops->state_size;

	out(1, 0x05);
	out(7, 0x77);
	uart16550_input(uart, "ab", 2);
	uart->ops->save(uart, s);
	uart->ops->reset(uart);
	assert_int_equal(in(7), 0);
	assert_int_equal(uart->ops->load(uart, s), 0);
	uart->ops->save(uart, t);
	assert_memory_equal(s, t, uart->ops->state_size);
	assert_int_equal(in(7), 0x77);
	memset(s, 0xff, uart->ops->state_size);
	assert_int_equal(uart->ops->load(uart, s), -EINVAL);
	assert_int_equal(in(7), 0x77);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thre_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_input_flow_control, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modem_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
