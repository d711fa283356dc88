/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Base64 as RFC 4648, section 4.
 */
#include "daemon/base64.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const unsigned char *in = data;
	char *text = malloc((len + 2) / 3 * 4 + 1);
	char *out = text;
	uint32_t v;

	if (!text)
		return NULL;
	for (; len >= 3; len -= 3, in += 3) {
		v = in[0] << 16 | in[1] << 8 | in[2];
		*out++ = alphabet[v >> 18];
		*out++ = alphabet[v >> 12 & 63];
		*out++ = alphabet[v >> 6 & 63];
		*out++ = alphabet[v & 63];
	}
	if (len) {
		v = in[0] << 16 | (len == 2 ? in[1] << 8 : 0);
		*out++ = alphabet[v >> 18];
		*out++ = alphabet[v >> 12 & 63];
		*out++ = len == 2 ? alphabet[v >> 6 & 63] : '=';
		*out++ = '=';
	}
	*out = '\0';
	return text;
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : 63;
}

void *base64_decode(const char *text, size_t *len)
{
	size_t chars = strcspn(text, "=");
	unsigned char *data = malloc(chars / 4 * 3 + 3);
	unsigned int bits = 0;
	uint32_t v = 0;
	size_t i, n = 0;

	if (!data)
		return NULL;
	for (i = 0; i < chars; i++) {
		v = v << 6 | digit(text[i]);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			data[n++] = v >> bits;
		}
	}
	*len = n;
	return data;
}
