/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hv/migrate/checksum.h"

#include <pthread.h>
#include <string.h>

/* ---- CRC32C ----------------------------------------------------------------------- */

#define CRC_POLY 0x82f63b78U
#define CRC_LANE 1024 /* bytes of each of three that go side by side */

/* table[0] is the usual one; table[k] moves a byte k places further. [written once] */
static uint32_t crc_table[8][256];
/* What CRC_LANE zeros make of the k-th byte of a CRC. [written once] */
static uint32_t crc_lane[4][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;
static bool crc_in_hardware;

/* A CRC is linear in its bits. */
static void crc_lane_init(void)
{
	unsigned int bit, i;

	for (bit = 0; bit < 32; bit++) {
		uint32_t c = 1U << bit, *table = crc_lane[bit / 8];

		for (i = 0; i < CRC_LANE; i++)
			c = c >> 8 ^ crc_table[0][c & 0xff];
		for (i = 0; i < 256; i++)
			table[i] ^= i >> bit % 8 & 1 ? c : 0;
	}
}

static void crc_init(void)
{
	unsigned int i, k;

	for (i = 0; i < 256; i++) {
		uint32_t c = i;

		for (k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ CRC_POLY : c >> 1;
		crc_table[0][i] = c;
	}
	for (i = 0; i < 256; i++) {
		for (k = 1; k < 8; k++)
			crc_table[k][i] = crc_table[k - 1][i] >> 8 ^
					  crc_table[0][crc_table[k - 1][i] & 0xff];
	}
	crc_lane_init();
	__builtin_cpu_init();
	crc_in_hardware = __builtin_cpu_supports("sse4.2");
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint32_t checksum_crc32c_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	unsigned int k;

	pthread_once(&crc_once, crc_init);
	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v = load64(p) ^ crc;

		crc = 0;
		for (k = 0; k < 8; k++)
			crc ^= crc_table[7 - k][v >> (8 * k) & 0xff];
	}
	while (len--)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *p++) & 0xff];
	return ~crc;
}

static uint64_t crc_over_lane(uint64_t c)
{
	return crc_lane[0][c & 0xff] ^ crc_lane[1][c >> 8 & 0xff] ^ crc_lane[2][c >> 16 & 0xff] ^
	       crc_lane[3][c >> 24 & 0xff];
}

/*
 * The instruction has a result three cycles later and can begin every cycle, so three lanes
 * go side by side and are put together by what zeros in the others' place would have done.
 */
__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p,
								   size_t len)
{
	uint64_t c = ~crc;
	size_t i;

	for (; len >= 3 * CRC_LANE; p += 3 * CRC_LANE, len -= 3 * CRC_LANE) {
		uint64_t c1 = 0, c2 = 0;

		for (i = 0; i < CRC_LANE; i += 8) {
			c = __builtin_ia32_crc32di(c, load64(p + i));
			c1 = __builtin_ia32_crc32di(c1, load64(p + i + CRC_LANE));
			c2 = __builtin_ia32_crc32di(c2, load64(p + i + 2 * CRC_LANE));
		}
		c = crc_over_lane(crc_over_lane(c) ^ c1) ^ c2;
	}
	for (; len >= 8; p += 8, len -= 8)
		c = __builtin_ia32_crc32di(c, load64(p));
	while (len--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
	return ~(uint32_t)c;
}

uint32_t checksum_crc32c(uint32_t crc, const void *data, size_t len)
{
	pthread_once(&crc_once, crc_init);
	return crc_in_hardware ? crc32c_hardware(crc, data, len) :
				 checksum_crc32c_table(crc, data, len);
}

/* ---- XXH64 --------------------------------------------------------------------------- */

#define PRIME1 0x9E3779B185EBCA87ULL
#define PRIME2 0xC2B2AE3D27D4EB4FULL
#define PRIME3 0x165667B19E3779F9ULL
#define PRIME4 0x85EBCA77C2B2AE63ULL
#define PRIME5 0x27D4EB2F165667C5ULL

static uint64_t rotl(uint64_t v, unsigned int n)
{
	return v << n | v >> (64 - n);
}

static uint64_t xxh_round(uint64_t acc, uint64_t lane)
{
	return rotl(acc + lane * PRIME2, 31) * PRIME1;
}

static uint64_t xxh_merge(uint64_t acc, uint64_t lane)
{
	return (acc ^ xxh_round(0, lane)) * PRIME1 + PRIME4;
}

/* The whole stripes of 32 bytes; *p and *len move on. */
static uint64_t xxh_stripes(const uint8_t **p, size_t *len, uint64_t seed)
{
	uint64_t a[4] = { seed + PRIME1 + PRIME2, seed + PRIME2, seed, seed - PRIME1 }, h;
	unsigned int i;

	for (; *len >= 32; *p += 32, *len -= 32) {
		for (i = 0; i < 4; i++)
			a[i] = xxh_round(a[i], load64(*p + 8 * i));
	}
	h = rotl(a[0], 1) + rotl(a[1], 7) + rotl(a[2], 12) + rotl(a[3], 18);
	for (i = 0; i < 4; i++)
		h = xxh_merge(h, a[i]);
	return h;
}

static uint64_t xxh_tail(uint64_t h, const uint8_t *p, size_t len)
{
	uint32_t w;

	for (; len >= 8; p += 8, len -= 8)
		h = rotl(h ^ xxh_round(0, load64(p)), 27) * PRIME1 + PRIME4;
	if (len >= 4) {
		memcpy(&w, p, sizeof(w));
		h = rotl(h ^ w * PRIME1, 23) * PRIME2 + PRIME3;
		p += 4;
		len -= 4;
	}
	while (len--)
		h = rotl(h ^ *p++ * PRIME5, 11) * PRIME1;
	h = (h ^ h >> 33) * PRIME2;
	h = (h ^ h >> 29) * PRIME3;
	return h ^ h >> 32;
}

uint64_t checksum_xxh64(const void *data, size_t len, uint64_t seed)
{
	const uint8_t *p = data;
	size_t total = len;
	uint64_t h = len >= 32 ? xxh_stripes(&p, &len, seed) : seed + PRIME5;

	return xxh_tail(h + total, p, len);
}

/* ---- zeros ------------------------------------------------------------------------------ */

bool checksum_is_zero(const void *data, size_t len)
{
	const uint64_t *p = data, *end = p + len / 8;

	/* Most pages that are not zero show it in their first words. */
	for (; p < end; p += 8) {
		if (p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7])
			return false;
	}
	return true;
}
