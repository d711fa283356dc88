/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the differential fuzzer asks about instructions that hv/x86/native*.c executes (x87, MMX,
 * SSE, AVX). Their state is not compared yet, so they are passed over.
 */
#ifndef TESTS_FUZZ_FUZZ_X86_H
#define TESTS_FUZZ_FUZZ_X86_H

#include "hv/x86/internal.h"

static inline bool fuzz_is_native(const struct x86_insn *insn)
{
	return insn->fn == x86_native_exec;
}

static inline bool fuzz_native_enabled(void)
{
	return false;
}

#endif
