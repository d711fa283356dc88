/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Definitions on disk: STATE/definitions/NAME.json. A write goes to a temporary
 * file, is synced, renamed over the old one, and the folder is synced: at every
 * instant of every crash the old text or the new one is there, whole.
 */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include <jansson.h>

/* Make the folder, drop temporary files that a crash left. 0 or -errno. */
int store_open(const char *state_dir);
/* Call @fn with each definition (borrowed); what cannot be read is logged and left alone. */
int store_load(const char *state_dir, void (*fn)(void *ctx, const char *name, json_t *config),
	       void *ctx);

/* These block: task thread only. 0 or -errno. */
int store_write(const char *state_dir, const char *name, const char *text);
int store_remove(const char *state_dir, const char *name);

/* All of @text into @fd, whatever write() takes at a time. 0 or -errno. */
int store_write_all(int fd, const char *text, size_t len);

#endif
