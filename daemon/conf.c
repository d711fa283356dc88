/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Read hvd.conf by a table of keys.
 */
#include "daemon/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>


#define LINE_MAX_BYTES 1024

/* A key's parser writes to @out, or returns a text that says what a good value is. */
typedef const char *(*config_parse)(const char *value, void *out, long min, long max);

struct config_key {
	const char *section, *name;
	config_parse parse;
	size_t offset;
	long min, max;
};

static const char *parse_uint(const char *value, void *out, long min, long max)
{
	static char want[64];
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno || end == value || *end || n < min || n > max) {
		snprintf(want, sizeof(want), "a number from %ld to %ld", min, max);
		return want;
	}
	*(unsigned int *)out = n;
	return NULL;
}

static const char *parse_mode(const char *value, void *out, long min, long max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 8);
	if (errno || end == value || *end || n < min || n > max)
		return "an octal mode from 0000 to 0777";
	*(mode_t *)out = n;
	return NULL;
}

static const char *parse_text(const char *value, void *out, long min, long max)
{
	(void)min;
	if ((long)strlen(value) >= max)
		return "a shorter text";
	strcpy(out, value);
	return NULL;
}

static const char *parse_level(const char *value, void *out, long min, long max)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {
		{ "err", LOG_ERR }, { "warning", LOG_WARNING }, { "info", LOG_INFO },
		{ "debug", LOG_DEBUG },
	};
	size_t i;

	(void)min;
	(void)max;
	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (!strcmp(value, levels[i].name)) {
			*(int *)out = levels[i].level;
			return NULL;
		}
	}
	return "err, warning, info or debug";
}

static const char *parse_sandbox(const char *value, void *out, long min, long max)
{
	static const char *const names[] = { "strict", "try", "off" };
	int i;

	(void)min;
	(void)max;
	for (i = 0; i < 3; i++) {
		if (!strcmp(value, names[i])) {
			*(enum sandbox_mode *)out = i;
			return NULL;
		}
	}
	return "strict, try or off";
}

static const char *parse_uids(const char *value, void *out, long min, long max)
{
	uid_t *range = out;
	unsigned long first, last;
	char *end;

	errno = 0;
	first = strtoul(value, &end, 10);
	if (errno || end == value || *end != '-')
		return "FIRST-LAST";
	value = end + 1;
	last = strtoul(value, &end, 10);
	if (errno || end == value || *end || (long)first < min || (long)last > max || first > last ||
	    last - first > 65535)
		return "FIRST-LAST, from 1000 to 4294967293, at most 65536 of them";
	range[0] = first;
	range[1] = last;
	return NULL;
}

static const char *parse_listen(const char *value, void *out, long min, long max)
{
	const char *port = strrchr(value, ':');

	if (value[0] && strncmp(value, "unix:/", 6) && strncmp(value, "127.0.0.1:", 10) &&
	    strncmp(value, "[::1]:", 6))
		return "127.0.0.1:PORT, [::1]:PORT or unix:PATH";
	if (value[0] && value[0] != 'u' &&
	    (atoi(port + 1) < 1 || atoi(port + 1) > 65535 ||
	     strspn(port + 1, "0123456789") != strlen(port + 1)))
		return "a port from 1 to 65535";
	return parse_text(value, out, min, max);
}

static const char *parse_listen_tcp(const char *value, void *out, long min, long max)
{
	return value[0] == 'u' ? "127.0.0.1:PORT or [::1]:PORT" : parse_listen(value, out, min, max);
}

#define KEY(section, name, parse, member, min, max) \
	{ section, name, parse, offsetof(struct hvd_config, member), min, max }

static const struct config_key config_keys[] = {
	KEY("Daemon", "LogLevel", parse_level, log_level, 0, 0),
	KEY("Daemon", "EventRing", parse_uint, event_ring, 16, 1 << 20),
	KEY("Daemon", "MaxJobs", parse_uint, max_jobs, 1, 10000),
	KEY("Socket", "Mode", parse_mode, mode, 0, 0777),
	KEY("Socket", "Group", parse_text, group, 0, 64),
	KEY("Socket", "ReadOnlyMode", parse_mode, ro_mode, 0, 0777),
	KEY("Socket", "ReadOnlyGroup", parse_text, ro_group, 0, 64),
	KEY("Socket", "MaxConnections", parse_uint, max_connections, 1, 100000),
	KEY("Socket", "StallTimeoutSec", parse_uint, stall_sec, 1, 86400),
	KEY("Worker", "UidRange", parse_uids, uid_first, 1000, 4294967293L),
	KEY("Worker", "Sandbox", parse_sandbox, sandbox, 0, 0),
	KEY("Worker", "StartTimeoutSec", parse_uint, start_sec, 1, 3600),
	KEY("Worker", "MaxDomains", parse_uint, max_domains, 1, 65536),
	KEY("Migration", "Listen", parse_listen_tcp, migration_listen, 0, 120),
	KEY("Metrics", "Listen", parse_listen, metrics_listen, 0, 120),
};
#define NKEYS (sizeof(config_keys) / sizeof(config_keys[0]))

void config_defaults(struct hvd_config *config)
{
	memset(config, 0, sizeof(*config));
	config->log_level = LOG_INFO;
	config->event_ring = 4096;
	config->max_jobs = 64;
	config->mode = 0660;
	config->ro_mode = 0666;
	config->max_connections = 512;
	config->stall_sec = 30;
	/* A range that neither distributions nor systemd nor containers hand out. */
	config->uid_first = 1900000000;
	config->uid_last = 1900004095;
	config->sandbox = SANDBOX_STRICT;
	config->start_sec = 30;
	config->max_domains = 4096;
}

void config_list_keys(FILE *out)
{
	size_t i;

	for (i = 0; i < NKEYS; i++)
		fprintf(out, "%s\n", config_keys[i].name);
}

static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len > 0 && strchr(" \t\r", text[len - 1]))
		text[--len] = '\0';
	return text;
}

struct config_reader {
	struct hvd_config *config;
	char section[32];
	char *message;
	size_t size;
	const char *path;
	unsigned int line;
};

static int __attribute__((format(printf, 2, 3)))
config_fail(struct config_reader *r, const char *fmt, ...)
{
	va_list ap;
	int len;

	len = snprintf(r->message, r->size, "%s:%u: ", r->path, r->line);
	if (len < 0 || (size_t)len >= r->size)
		return -EINVAL;
	va_start(ap, fmt);
	vsnprintf(r->message + len, r->size - len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int config_section(struct config_reader *r, char *text)
{
	size_t i, len = strlen(text);

	if (text[len - 1] != ']')
		return config_fail(r, "a section is written [Name]");
	text[len - 1] = '\0';
	for (i = 0; i < NKEYS; i++) {
		if (!strcmp(config_keys[i].section, text + 1)) {
			snprintf(r->section, sizeof(r->section), "%s", text + 1);
			return 0;
		}
	}
	return config_fail(r, "unknown section [%s]", text + 1);
}

static int config_line(struct config_reader *r, char *text)
{
	const char *want;
	char *value;
	size_t i;

	text = trim(text);
	if (!text[0] || text[0] == '#' || text[0] == ';')
		return 0;
	if (text[0] == '[')
		return config_section(r, text);
	value = strchr(text, '=');
	if (!value)
		return config_fail(r, "neither a section nor Key=value: %s", text);
	*value = '\0';
	value = trim(value + 1);
	text = trim(text);
	for (i = 0; i < NKEYS; i++) {
		const struct config_key *k = &config_keys[i];

		if (strcmp(k->name, text) || strcmp(k->section, r->section))
			continue;
		want = k->parse(value, (char *)r->config + k->offset, k->min, k->max);
		return want ? config_fail(r, "%s=%s: must be %s", text, value, want) : 0;
	}
	return config_fail(r, "unknown key %s in section [%s]", text, r->section);
}

int config_load(struct hvd_config *config, const char *path, char *message, size_t size)
{
	struct hvd_config fresh = *config;
	struct config_reader r = { .config = &fresh, .message = message, .size = size,
				   .path = path };
	char line[LINE_MAX_BYTES];
	FILE *f = fopen(path, "re");
	int ret = 0;
	size_t len;

	if (!f) {
		ret = -errno;
		snprintf(message, size, "%s: %s", path, strerror(errno));
		return ret;
	}
	while (!ret && fgets(line, sizeof(line), f)) {
		r.line++;
		len = strlen(line);
		if (len > 0 && line[len - 1] == '\n')
			line[len - 1] = '\0';
		else if (len == sizeof(line) - 1)
			ret = config_fail(&r, "the line is longer than %d bytes", LINE_MAX_BYTES - 2);
		if (!ret)
			ret = config_line(&r, line);
	}
	if (!ret && ferror(f))
		ret = config_fail(&r, "cannot be read");
	fclose(f);
	if (!ret)
		*config = fresh;
	return ret;
}
