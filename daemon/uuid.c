/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Uuids, as RFC 9562 says: random ones, and their bytes.
 */
#include "daemon/uuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void uuid_make(char text[UUID_TEXT])
{
	unsigned char b[16];

	/* Sixteen bytes after boot: the call neither blocks nor is cut short. */
	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		abort();
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(text, UUID_TEXT,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		 b[15]);
}

static unsigned char nibble(char c)
{
	return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void uuid_bytes(const char *text, unsigned char out[16])
{
	unsigned int i;

	for (i = 0; i < 16; i++, text += 2) {
		text += *text == '-';
		out[i] = (unsigned char)(nibble(text[0]) << 4 | nibble(text[1]));
	}
}
