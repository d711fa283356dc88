/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hvd.conf: sections, Key=value lines, '#' and ';' comments, as systemd's files.
 * Every unknown section or key and every bad value is an error that names file
 * and line; then nothing of the file is used.
 */
#ifndef DAEMON_CONF_H
#define DAEMON_CONF_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum sandbox_mode {
	SANDBOX_STRICT,	/* a worker that cannot be confined is not started */
	SANDBOX_TRY,	/* confine as far as the host allows */
	SANDBOX_OFF,
};

struct hvd_config {
	/* [Daemon] */
	int log_level;
	unsigned int event_ring;	/* events kept for replay */
	unsigned int max_jobs;		/* running at a time */
	/* [Socket] */
	mode_t mode, ro_mode;
	char group[64], ro_group[64];	/* "": the daemon's own */
	unsigned int max_connections;
	unsigned int stall_sec;
	/* [Worker] */
	uid_t uid_first, uid_last;	/* used when hvd is root */
	enum sandbox_mode sandbox;
	unsigned int start_sec;
	unsigned int max_domains;	/* defined or running */
	/* [Migration] */
	char migration_listen[120];	/* "", "127.0.0.1:PORT" or "[::1]:PORT" */
	/* [Metrics] */
	char metrics_listen[120];	/* "", "127.0.0.1:PORT", "[::1]:PORT" or "unix:PATH" */
};

void config_defaults(struct hvd_config *config);
/*
 * Read @path over @config. 0, -ENOENT when there is no such file, or -EINVAL with
 * "FILE:LINE: ..." in @message; @config is written only on success.
 */
int config_load(struct hvd_config *config, const char *path, char *message, size_t size);
/* The names of all keys, one a line. */
void config_list_keys(FILE *out);

#endif
