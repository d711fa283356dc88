/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What ThreadSanitizer cannot see by itself. Private to hv/base: other rooms
 * use locks, RCU and atomics, which it understands once they are annotated.
 */
#ifndef HV_BASE_TSAN_H
#define HV_BASE_TSAN_H

#include "config.h"

#ifdef HV_TSAN
#include <sanitizer/tsan_interface.h>

/* All before a release of addr happens before all after a later acquire of it. */
#define hv_tsan_acquire(addr) __tsan_acquire((void *)(addr))
#define hv_tsan_release(addr) __tsan_release((void *)(addr))
#define hv_tsan_mutex(call)   call
#else
#define hv_tsan_acquire(addr) ((void)(addr))
#define hv_tsan_release(addr) ((void)(addr))
#define hv_tsan_mutex(call)   ((void)0)
#endif

#endif
