/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages of supervisor and workers, to stderr: with the journal's level prefix
 * when stderr is the journal, readable otherwise. One write per message, so that
 * those of several processes do not mix.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <syslog.h>

/* @who stands before each message and is borrowed; @level: the least urgent one shown. */
void log_init(const char *who, int level);
void log_set_level(int level);
void log_msg(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)	 log_msg(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
