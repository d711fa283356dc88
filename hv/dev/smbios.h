/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The SMBIOS tables of a machine, by which a guest knows what it runs on: entry
 * point and structures as one image for a fixed guest-physical address.
 */
#ifndef HV_DEV_SMBIOS_H
#define HV_DEV_SMBIOS_H

#include <stddef.h>
#include <stdint.h>

/* Where systems without EFI look for the entry point; in the reserved BIOS area. */
#define SMBIOS_BASE 0xf0000ULL
#define SMBIOS_SIZE 0x1000U

struct smbios_config {
	unsigned int vcpus; /* 1..255 */
	uint64_t ram_low, ram_high; /* bytes from 0 up and from 4 GiB up */
	uint8_t uuid[16];	    /* in the order of its text; all 0: none */
};

/*
 * Writes the image, whose first byte is at SMBIOS_BASE, to buf. Returns its
 * length, or -ENOSPC.
 */
int smbios_build(const struct smbios_config *config, uint8_t *buf, size_t size);

#endif
