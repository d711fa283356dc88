/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two checksums of migration and snapshots.
 *
 * CRC32C (Castagnoli, reflected polynomial 0x82f63b78, as iSCSI's RFC 3720
 * appendix B.4) guards headers and records: it finds every burst of up to 32
 * bits, and the processor computes it. XXH64 (the specification in xxHash's
 * repository, doc/xxhash_spec.md, "XXH64 Algorithm Description") is the digest
 * of a page: 64 bits, so that two different pages are not taken for equal.
 * Neither protects from somebody who means harm.
 */
#ifndef HV_MIGRATE_CHECKSUM_H
#define HV_MIGRATE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of data, continued from crc; start with 0. */
uint32_t checksum_crc32c(uint32_t crc, const void *data, size_t len);
/* The same by table, on processors without SSE 4.2. */
uint32_t checksum_crc32c_table(uint32_t crc, const void *data, size_t len);

uint64_t checksum_xxh64(const void *data, size_t len, uint64_t seed);

/* All of it is 0. data: aligned to 8; len: a multiple of 64. */
bool checksum_is_zero(const void *data, size_t len);

#endif
