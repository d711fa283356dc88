/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables of a machine: RSDP, XSDT, RSDT, FADT, FACS, MADT, MCFG,
 * HPET, DSDT. They are built as one image for a fixed guest-physical address.
 */
#ifndef HV_DEV_ACPI_TABLES_H
#define HV_DEV_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The BIOS area, which the memory map reserves; the RSDP is at its beginning. */
#define ACPI_TABLES_BASE 0xe0000ULL
#define ACPI_TABLES_SIZE 0x10000U

#define ACPI_SLP_TYP_S5 5

struct acpi_tables_config {
	unsigned int vcpus; /* APIC ids 0..vcpus-1 */
	uint64_t ram_low;   /* the PCI window under 4 GiB begins where the hole does */
	bool hpet, pvpanic;
};

/*
 * Writes the image, whose first byte is at ACPI_TABLES_BASE, to buf. Returns
 * its length, or -ENOSPC.
 */
int acpi_tables_build(const struct acpi_tables_config *config, uint8_t *buf, size_t size);

#endif
