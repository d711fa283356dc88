/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to stderr.
 */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_who = "hvd";
static int log_level = LOG_INFO;
static bool log_journal;

void log_init(const char *who, int level)
{
	log_who = who;
	log_level = level;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_level(int level)
{
	log_level = level;
}

/* Texts can quote a peer: control characters would forge lines or drive a terminal. */
static void log_clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void log_msg(int level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int len, n;

	if (level > log_level)
		return;
	len = log_journal ? snprintf(line, sizeof(line), "<%d>", level) :
			    snprintf(line, sizeof(line), "%s: ", log_who);
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	log_clean(line + len);
	len += n < (int)sizeof(line) - len - 1 ? n : (int)sizeof(line) - len - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}
