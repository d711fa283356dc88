/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages of the engine. It never prints by itself: they go to one sink that
 * the program sets before it makes its first VM, and are dropped without one.
 *
 *	hv_log(&vm->log, HV_LOG_WARNING, "slot %u: %s", id, strerror(-err));
 *	hv_log(NULL, HV_LOG_INFO, "virtualization enabled on %d CPUs", n);
 *
 * Log once, at the boundary that gives up, not on every level of a return.
 * What a guest can provoke is logged with hv_log_ratelimited() only.
 */
#ifndef HV_BASE_LOG_H
#define HV_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/hv.h" /* enum hv_log_level */

/* Besides the public levels, all of them syslog's numbers: the last words of hv_bug(). */
#define HV_LOG_CRIT ((enum hv_log_level)2)

/* Longer messages are cut. */
#define HV_LOG_MESSAGE_MAX 512
#define HV_LOG_PREFIX_MAX  64

/* Who speaks: one per VM. Immutable once other threads know of it. */
struct hv_logger {
	char prefix[HV_LOG_PREFIX_MAX]; /* the VM's name */
};

/*
 * prefix: "" for the engine as a whole. message: one line without its end.
 * Called from any thread, with any locks held: it must not call the engine.
 */
typedef void (*hv_log_sink)(void *opaque, enum hv_log_level level, const char *prefix,
			    const char *message);

/* Set once, before other threads log; sink NULL to take it back at the end. */
void hv_log_set_sink(hv_log_sink sink, void *opaque);

/* Less important messages are dropped unformatted. Any time; HV_LOG_INFO at first. */
void hv_log_set_level(enum hv_log_level level);
bool hv_log_enabled(enum hv_log_level level);

/* A prefix too long is cut. */
void hv_logger_init(struct hv_logger *lg, const char *prefix);

void hv_log(const struct hv_logger *lg, enum hv_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Lets `burst` pass in each interval, and counts the rest. Zero but for the limits. */
struct hv_ratelimit {
	uint64_t interval_ns;
	uint32_t burst;
	/* [A] atomic */
	uint32_t passed;     /* [A] in this interval */
	uint64_t begin;	     /* [A] of this interval; 0 before the first */
	uint64_t suppressed; /* [A] since the last that passed */
};

#define HV_RATELIMIT_INIT(ns, n) { .interval_ns = (ns), .burst = (n) }

/* True if the caller may go on; then *suppressed tells how many could not before. */
bool hv_ratelimit(struct hv_ratelimit *rl, uint64_t now_ns, uint64_t *suppressed);

void hv_log_limited(struct hv_ratelimit *rl, const struct hv_logger *lg, enum hv_log_level level,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* At most 10 messages in 5 s from each place of call, of all VMs together. */
#define hv_log_ratelimited(lg, level, ...)                                                         \
	do {                                                                                       \
		static struct hv_ratelimit hv_rl_ = HV_RATELIMIT_INIT(UINT64_C(5000000000), 10);   \
		hv_log_limited(&hv_rl_, (lg), (level), __VA_ARGS__);                               \
	} while (0)

#endif
