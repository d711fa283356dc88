/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages and assertions: both end in the program's sink.
 */
#include "hv/base/log.h"

#include <execinfo.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/base/assert.h"
#include "hv/base/clock.h"

/* Published by the release of `sink`: readers load it first. */
static void *sink_opaque;
static hv_log_sink log_sink;
static int log_level = HV_LOG_INFO; /* [A] */

void hv_log_set_sink(hv_log_sink sink, void *opaque)
{
	if (sink)
		WRITE_ONCE(sink_opaque, opaque);
	hv_store_release(&log_sink, sink); /* pairs with the acquire in emit() */
}

void hv_log_set_level(enum hv_log_level level)
{
	WRITE_ONCE(log_level, (int)level);
}

bool hv_log_enabled(enum hv_log_level level)
{
	return (int)level <= READ_ONCE(log_level);
}

void hv_logger_init(struct hv_logger *lg, const char *prefix)
{
	snprintf(lg->prefix, sizeof(lg->prefix), "%s", prefix);
}

static void emit(const struct hv_logger *lg, enum hv_log_level level, const char *message)
{
	hv_log_sink sink = hv_load_acquire(&log_sink);

	if (sink)
		sink(READ_ONCE(sink_opaque), level, lg ? lg->prefix : "", message);
}

static void __attribute__((format(printf, 3, 0)))
vlog(const struct hv_logger *lg, enum hv_log_level level, const char *fmt, va_list ap)
{
	char message[HV_LOG_MESSAGE_MAX];

	vsnprintf(message, sizeof(message), fmt, ap);
	emit(lg, level, message);
}

void hv_log(const struct hv_logger *lg, enum hv_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!hv_log_enabled(level))
		return;
	va_start(ap, fmt);
	vlog(lg, level, fmt, ap);
	va_end(ap);
}

bool hv_ratelimit(struct hv_ratelimit *rl, uint64_t now_ns, uint64_t *suppressed)
{
	uint64_t begin = READ_ONCE(rl->begin);

	/* One of the threads that see the interval end opens the next. */
	if ((!begin || now_ns - begin >= rl->interval_ns) &&
	    __atomic_compare_exchange_n(&rl->begin, &begin, now_ns, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		WRITE_ONCE(rl->passed, 0);
	/* Looked at first, so that a flood cannot wrap the counter. */
	if (READ_ONCE(rl->passed) >= rl->burst ||
	    __atomic_fetch_add(&rl->passed, 1, __ATOMIC_RELAXED) >= rl->burst) {
		__atomic_fetch_add(&rl->suppressed, 1, __ATOMIC_RELAXED);
		return false;
	}
	*suppressed = __atomic_exchange_n(&rl->suppressed, 0, __ATOMIC_RELAXED);
	return true;
}

void hv_log_limited(struct hv_ratelimit *rl, const struct hv_logger *lg, enum hv_log_level level,
		    const char *fmt, ...)
{
	uint64_t suppressed;
	va_list ap;

	if (!hv_log_enabled(level) || !hv_ratelimit(rl, hv_clock_ns(), &suppressed))
		return;
	if (suppressed)
		hv_log(lg, level, "%" PRIu64 " messages like the next one were suppressed",
		       suppressed);
	va_start(ap, fmt);
	vlog(lg, level, fmt, ap);
	va_end(ap);
}

/* ---- assertions -------------------------------------------------------------------- */

static void write_stderr(const char *text)
{
	/* Nothing is left to be done if it fails. */
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

void hv_bug(const char *file, int line, const char *fmt, ...)
{
	static int reporting;
	char what[4096], where[4224];
	void *frames[48];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(where, sizeof(where), "BUG at %s:%d: %s\n", file, line, what);
	write_stderr(where);
	backtrace_symbols_fd(frames, backtrace(frames, ARRAY_SIZE(frames)), STDERR_FILENO);
	/* Last, and once: the sink may be what is broken. */
	if (!__atomic_exchange_n(&reporting, 1, __ATOMIC_SEQ_CST)) {
		where[strlen(where) - 1] = '\0';
		emit(NULL, HV_LOG_CRIT, where);
	}
	abort();
}
