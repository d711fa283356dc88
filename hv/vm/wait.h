/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sleeping on a word: futex(2), private to the process. The word is an atomic
 * and carries the whole meaning; a wake-up means "look again".
 */
#ifndef HV_VM_WAIT_H
#define HV_VM_WAIT_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns soon if *word is not `seen`, else when woken; or early. */
static inline void wait_on_word(_Atomic uint32_t *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static inline void wake_word(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
