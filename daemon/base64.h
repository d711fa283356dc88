/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_BASE64_H
#define DAEMON_BASE64_H

#include <stddef.h>

/* @len bytes as base64 with padding: malloc'ed, NULL without memory. */
char *base64_encode(const void *data, size_t len);
/*
 * The bytes of @text, which has passed the schema's check: malloc'ed, with their count
 * in @len; NULL without memory.
 */
void *base64_decode(const char *text, size_t *len);

#endif
