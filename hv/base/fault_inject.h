/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's allocations, and the injector that makes them fail in tests.
 *
 * All memory of the engine's own structures comes from these calls, and every
 * one may fail. With HV_DEBUG a test can let the Nth allocation from now fail,
 * and so drive an operation through each of its failures:
 *
 *	for (n = 1; ; n++) {
 *		hv_fault_arm(HV_FAULT_THREAD, n);
 *		err = operation();
 *		if (!hv_fault_disarm())
 *			break;		  // it made fewer than n allocations
 *		assert(err == -ENOMEM);	  // and nothing has changed
 *	}
 */
#ifndef HV_BASE_FAULT_INJECT_H
#define HV_BASE_FAULT_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

enum hv_fault_scope {
	HV_FAULT_THREAD, /* allocations of the calling thread */
	HV_FAULT_ALL,	 /* of any thread */
};

#ifdef HV_DEBUG
/* The nth allocation from now fails, counted from 1; once. */
void hv_fault_arm(enum hv_fault_scope scope, uint64_t nth);
/* True if it has failed. */
bool hv_fault_disarm(void);
/* Allocations that the calling thread has asked for so far. */
uint64_t hv_fault_allocations(void);
bool hv_fault_should_fail(void);
#else
static inline bool hv_fault_should_fail(void)
{
	return false;
}
#endif

/* Uninitialised memory, or NULL. */
static inline void *__attribute__((malloc, alloc_size(1))) hv_alloc(size_t size)
{
	return hv_fault_should_fail() ? NULL : malloc(size);
}

static inline void *__attribute__((malloc, alloc_size(1))) hv_zalloc(size_t size)
{
	return hv_fault_should_fail() ? NULL : calloc(1, size);
}

/* n zeroed elements; NULL too if n * size overflows. */
static inline void *__attribute__((malloc, alloc_size(1, 2))) hv_calloc(size_t n, size_t size)
{
	size_t total;

	/* Looked at here, because the sanitizers' calloc() aborts. */
	if (hv_fault_should_fail() || __builtin_mul_overflow(n, size, &total))
		return NULL;
	return calloc(n, size);
}

/* On failure the old block is still there, unchanged. */
static inline void *hv_realloc_array(void *old, size_t n, size_t size)
{
	size_t total;

	if (hv_fault_should_fail() || __builtin_mul_overflow(n, size, &total))
		return NULL;
	return realloc(old, total);
}

/* align: a power of two and a multiple of sizeof(void *). Zeroed. */
static inline void *hv_zalloc_aligned(size_t align, size_t size)
{
	void *p;

	if (hv_fault_should_fail() || posix_memalign(&p, align, size))
		return NULL;
	return memset(p, 0, size);
}

static inline char *hv_strdup(const char *s)
{
	return hv_fault_should_fail() ? NULL : strdup(s);
}

/* Takes what any of the above returned, NULL included. */
static inline void hv_free(void *p)
{
	free(p);
}

#endif
