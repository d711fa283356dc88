/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_UUID_H
#define DAEMON_UUID_H

#define UUID_TEXT 37

/* A random uuid (version 4) as text. */
void uuid_make(char text[UUID_TEXT]);
/* The bytes of a text that schema_uuid let pass. */
void uuid_bytes(const char *text, unsigned char out[16]);

#endif
