/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables of the machine. ACPI specification 6.4, chapter 5 "ACPI
 * Software Programming Model"; PCI Firmware specification for MCFG; IA-PC HPET
 * specification for HPET.
 */
#include "hv/dev/acpi_tables.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hv/dev/aml.h"
#include "hv/dev/devices.h"

#define HEADER_SIZE 36
#define FADT_SIZE   268
#define TABLES_MAX  8

#define SPACE_MEMORY 0
#define SPACE_IO     1

struct image {
	uint8_t *buf;
	size_t size, len;
	bool failed;
	uint32_t tables[TABLES_MAX]; /* addresses for XSDT and RSDT */
	unsigned int nr_tables;
};

static void put(struct image *im, size_t offset, uint64_t value, size_t len)
{
	memcpy(im->buf + offset, &value, len);
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Room for `len` zeroed bytes at the next 64-byte boundary; returns its offset. */
static size_t reserve(struct image *im, size_t len)
{
	size_t at = (im->len + 63) & ~(size_t)63;

	if (im->failed || at > im->size || len > im->size - at) {
		im->failed = true;
		return 0;
	}
	memset(im->buf + im->len, 0, at + len - im->len);
	im->len = at + len;
	return at;
}

static uint32_t address(size_t offset)
{
	return (uint32_t)(ACPI_TABLES_BASE + offset);
}

static void header(struct image *im, size_t at, const char *signature, uint8_t revision)
{
	memcpy(im->buf + at, signature, 4);
	im->buf[at + 8] = revision;
	memcpy(im->buf + at + 10, "HVD   ", 6);
	memcpy(im->buf + at + 16, "HVDPC   ", 8);
	put(im, at + 24, 1, 4);
	memcpy(im->buf + at + 28, "HVD ", 4);
	put(im, at + 32, 1, 4);
}

/* The length and the checksum of a table whose end is the image's. */
static void finish(struct image *im, size_t at)
{
	if (im->failed)
		return;
	put(im, at + 4, im->len - at, 4);
	im->buf[at + 9] = 0;
	im->buf[at + 9] = checksum(im->buf + at, im->len - at);
}

/* A table that XSDT and RSDT list. */
static size_t table(struct image *im, const char *signature, uint8_t revision, size_t len)
{
	size_t at = reserve(im, len);

	if (im->failed || im->nr_tables == TABLES_MAX) {
		im->failed = true;
		return 0;
	}
	header(im, at, signature, revision);
	im->tables[im->nr_tables++] = address(at);
	return at;
}

/* Generic address structure. */
static void gas(struct image *im, size_t at, uint8_t space, uint8_t bits, uint64_t addr)
{
	im->buf[at] = space;
	im->buf[at + 1] = bits;
	im->buf[at + 3] = bits == 8 ? 1 : bits == 16 ? 2 : bits == 32 ? 3 : 0;
	put(im, at + 4, addr, 8);
}

/* ---- DSDT ---------------------------------------------------------------------------- */

static void dsdt_cpus(struct aml *b, unsigned int vcpus)
{
	char name[8];
	unsigned int i;

	for (i = 0; i < vcpus; i++) {
		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		aml_device(b, name);
		aml_name_string(b, "_HID", "ACPI0007");
		aml_name_integer(b, "_UID", i);
		aml_end(b);
	}
}

/* INTA-INTD of 32 devices on GSI 16-23, swizzled. */
static void dsdt_prt(struct aml *b)
{
	unsigned int device, pin;

	aml_name(b, "_PRT");
	aml_package(b, 128);
	for (device = 0; device < 32; device++) {
		for (pin = 0; pin < 4; pin++) {
			aml_package(b, 4);
			aml_integer(b, device << 16 | 0xffff);
			aml_integer(b, pin);
			aml_integer(b, 0);
			aml_integer(b, 16 + (device + pin) % 8);
			aml_end(b);
		}
	}
	aml_end(b);
}

static void dsdt_isa(struct aml *b, const struct acpi_tables_config *config)
{
	aml_device(b, "COM1");
	aml_name_eisaid(b, "_HID", "PNP0501");
	aml_name_integer(b, "_UID", 1);
	aml_resources(b, "_CRS");
	aml_res_io(b, HV_UART_COM1_PORT, 8);
	aml_res_irq(b, HV_ISA_IRQ_COM1);
	aml_resources_end(b);
	aml_end(b);

	aml_device(b, "RTC_");
	aml_name_eisaid(b, "_HID", "PNP0B00");
	aml_resources(b, "_CRS");
	aml_res_io(b, 0x70, 2);
	aml_res_irq(b, HV_ISA_IRQ_RTC);
	aml_resources_end(b);
	aml_end(b);

	if (!config->pvpanic)
		return;
	aml_device(b, "PEVT");
	aml_name_string(b, "_HID", "QEMU0001");
	aml_name_integer(b, "_STA", 0xf);
	aml_name_integer(b, "PEST", 3);
	aml_resources(b, "_CRS");
	aml_res_io(b, HV_PVPANIC_PORT, 1);
	aml_resources_end(b);
	aml_end(b);
}

static void dsdt_pci(struct aml *b, const struct acpi_tables_config *config)
{
	aml_device(b, "PCI0");
	aml_name_eisaid(b, "_HID", "PNP0A08");
	aml_name_eisaid(b, "_CID", "PNP0A03");
	aml_name_integer(b, "_UID", 0);
	aml_name_integer(b, "_SEG", 0);
	aml_name_integer(b, "_BBN", 0);
	aml_resources(b, "_CRS");
	aml_res_bus_range(b, 0, 255);
	aml_res_io(b, 0xcf8, 8);
	aml_res_io_range(b, 0x0000, 0x0cf7);
	aml_res_io_range(b, 0x0d00, 0xffff);
	aml_res_memory_range(b, HV_RAM_LOW_MAX, HV_ECAM_BASE - 1);
	aml_res_memory_range(b, (uint32_t)(HV_ECAM_BASE + HV_ECAM_SIZE), 0xfebfffff);
	aml_resources_end(b);
	dsdt_prt(b);
	/* Every feature that the guest asks to control is granted. */
	aml_method(b, "_OSC", 4);
	aml_return_arg(b, 3);
	aml_end(b);
	dsdt_isa(b, config);
	aml_end(b);
}

static void dsdt_board(struct aml *b, const struct acpi_tables_config *config)
{
	/* What ECAM and the PM ports take, so that nothing else is put there. */
	aml_device(b, "MRES");
	aml_name_eisaid(b, "_HID", "PNP0C02");
	aml_resources(b, "_CRS");
	aml_res_memory32(b, HV_ECAM_BASE, HV_ECAM_SIZE);
	aml_res_io(b, HV_PM_PORT, 0x10);
	aml_resources_end(b);
	aml_end(b);

	if (!config->hpet)
		return;
	aml_device(b, "HPET");
	aml_name_eisaid(b, "_HID", "PNP0103");
	aml_name_integer(b, "_UID", 0);
	aml_resources(b, "_CRS");
	aml_res_memory32(b, HV_HPET_BASE, 0x400);
	aml_resources_end(b);
	aml_end(b);
}

static size_t build_dsdt(struct image *im, const struct acpi_tables_config *config)
{
	size_t at = reserve(im, HEADER_SIZE);
	struct aml b = { .buf = im->buf, .size = im->size, .len = im->len };

	if (im->failed)
		return 0;
	header(im, at, "DSDT", 2);
	aml_name(&b, "\\_S5_");
	aml_package(&b, 4);
	aml_integer(&b, ACPI_SLP_TYP_S5);
	aml_integer(&b, ACPI_SLP_TYP_S5);
	aml_integer(&b, 0);
	aml_integer(&b, 0);
	aml_end(&b);
	aml_scope(&b, "\\_SB_");
	dsdt_cpus(&b, config->vcpus);
	dsdt_pci(&b, config);
	dsdt_board(&b, config);
	aml_end(&b);
	if (b.failed || b.depth) {
		im->failed = true;
		return 0;
	}
	im->len = b.len;
	finish(im, at);
	return at;
}

/* ---- the fixed tables -------------------------------------------------------------------- */

static size_t build_facs(struct image *im)
{
	size_t at = reserve(im, 64);

	if (im->failed)
		return 0;
	memcpy(im->buf + at, "FACS", 4);
	put(im, at + 4, 64, 4);
	im->buf[at + 32] = 2; /* version; the FACS has no checksum */
	return at;
}

static void build_fadt(struct image *im, size_t facs, size_t dsdt)
{
	size_t at = table(im, "FACP", 5, FADT_SIZE);

	if (im->failed)
		return;
	put(im, at + 36, address(facs), 4);
	put(im, at + 40, address(dsdt), 4);
	put(im, at + 46, HV_ISA_IRQ_SCI, 2);
	put(im, at + 56, HV_PM_PORT, 4);     /* PM1a event */
	put(im, at + 64, HV_PM_PORT + 4, 4); /* PM1a control */
	put(im, at + 76, HV_PM_PORT + 8, 4); /* PM timer */
	im->buf[at + 88] = 4;		     /* lengths of the three */
	im->buf[at + 89] = 2;
	im->buf[at + 91] = 4;
	put(im, at + 96, 0xfff, 2); /* no C2, no C3 */
	put(im, at + 98, 0xfff, 2);
	im->buf[at + 108] = 0x32; /* century, in CMOS */
	/* Boot architecture: legacy devices, no VGA; no 8042, whose stub has no keyboard. */
	put(im, at + 109, 0x0005, 2);
	/*
	 * Flags: WBINVD 0, C1 on all CPUs 2, no fixed sleep button 5, no RTC wake in fixed
	 * registers 6, 32-bit timer 8, reset register 10. The power button is fixed (4 clear).
	 */
	put(im, at + 112, 1U << 0 | 1U << 2 | 1U << 5 | 1U << 6 | 1U << 8 | 1U << 10, 4);
	gas(im, at + 116, SPACE_IO, 8, HV_RESET_PORT);
	im->buf[at + 128] = 0x06;
	put(im, at + 140, address(dsdt), 8);
	gas(im, at + 148, SPACE_IO, 32, HV_PM_PORT);
	gas(im, at + 172, SPACE_IO, 16, HV_PM_PORT + 4);
	gas(im, at + 208, SPACE_IO, 32, HV_PM_PORT + 8);
	finish(im, at);
}

static void build_madt(struct image *im, unsigned int vcpus)
{
	size_t entries = 8 * vcpus + 12 + 10 + 10 + 6;
	size_t at = table(im, "APIC", 4, HEADER_SIZE + 8 + entries), p = at + HEADER_SIZE;
	unsigned int i;

	if (im->failed)
		return;
	put(im, p, HV_LAPIC_BASE, 4);
	put(im, p + 4, 1, 4); /* there are 8259s too */
	p += 8;
	for (i = 0; i < vcpus; i++, p += 8) {
		const uint8_t lapic[8] = { 0, 8, (uint8_t)i, (uint8_t)i, 1 };

		memcpy(im->buf + p, lapic, 8);
	}
	im->buf[p] = 1; /* I/O APIC, id 0, GSI 0 on */
	im->buf[p + 1] = 12;
	put(im, p + 4, HV_IOAPIC_BASE, 4);
	p += 12;
	/* ISA IRQ 0 is GSI 2; IRQ 9, the SCI, is level, active high. */
	memcpy(im->buf + p, (const uint8_t[10]){ 2, 10, 0, 0, 2 }, 10);
	p += 10;
	memcpy(im->buf + p,
	       (const uint8_t[10]){ 2, 10, 0, HV_ISA_IRQ_SCI, HV_ISA_IRQ_SCI, 0, 0, 0, 0x0d }, 10);
	p += 10;
	/* NMI is LINT1 of every CPU. */
	memcpy(im->buf + p, (const uint8_t[6]){ 4, 6, 0xff, 0, 0, 1 }, 6);
	finish(im, at);
}

static void build_mcfg(struct image *im)
{
	size_t at = table(im, "MCFG", 1, HEADER_SIZE + 8 + 16);

	if (im->failed)
		return;
	put(im, at + 44, HV_ECAM_BASE, 8);
	im->buf[at + 55] = 255; /* last bus of segment 0 */
	finish(im, at);
}

static void build_hpet(struct image *im)
{
	size_t at = table(im, "HPET", 1, HEADER_SIZE + 20);

	if (im->failed)
		return;
	put(im, at + 36, 0x8086a201, 4); /* low half of the capabilities */
	gas(im, at + 40, SPACE_MEMORY, 64, HV_HPET_BASE);
	im->buf[at + 43] = 0; /* no access size */
	put(im, at + 53, 0x80, 2); /* shortest periodic tick, in counts */
	finish(im, at);
}

/* ---- roots ----------------------------------------------------------------------------------- */

static size_t build_root(struct image *im, const char *signature, size_t entry_size)
{
	size_t at = reserve(im, HEADER_SIZE + im->nr_tables * entry_size);
	unsigned int i;

	if (im->failed)
		return 0;
	header(im, at, signature, 1);
	for (i = 0; i < im->nr_tables; i++)
		put(im, at + HEADER_SIZE + i * entry_size, im->tables[i], entry_size);
	finish(im, at);
	return at;
}

static void build_rsdp(struct image *im, size_t at, size_t rsdt, size_t xsdt)
{
	memcpy(im->buf + at, "RSD PTR ", 8);
	memcpy(im->buf + at + 9, "HVD   ", 6);
	im->buf[at + 15] = 2;
	put(im, at + 16, address(rsdt), 4);
	put(im, at + 20, 36, 4);
	put(im, at + 24, address(xsdt), 8);
	im->buf[at + 8] = checksum(im->buf + at, 20);
	im->buf[at + 32] = checksum(im->buf + at, 36);
}

int acpi_tables_build(const struct acpi_tables_config *config, uint8_t *buf, size_t size)
{
	struct image im = { .buf = buf, .size = size };
	size_t rsdp = reserve(&im, 36), facs = build_facs(&im), dsdt, rsdt, xsdt;

	dsdt = build_dsdt(&im, config);
	build_fadt(&im, facs, dsdt);
	build_madt(&im, config->vcpus);
	build_mcfg(&im);
	if (config->hpet)
		build_hpet(&im);
	rsdt = build_root(&im, "RSDT", 4);
	xsdt = build_root(&im, "XSDT", 8);
	if (im.failed)
		return -ENOSPC;
	build_rsdp(&im, rsdp, rsdt, xsdt);
	return (int)im.len;
}
