#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Past differences, a seeded minute of the differential fuzzer over the three modes, and defects
# that it has to find: each spoils one part of our side's outcome now and then.
# At most 500,000 executions a mode, so that a fast machine runs what a slow one does.
# HVD_FUZZ_SECONDS, HVD_FUZZ_COUNT, HVD_FUZZ_SEED and HVD_FUZZ_CHILDREN lengthen and vary it.
fuzz="${HVD_BUILDDIR:-.}/tests/fuzz/fuzz_x86"
corpus="${HVD_SRCDIR:-.}/tests/fuzz/x86-corpus"
seconds="${HVD_FUZZ_SECONDS:-60}"
seed="${HVD_FUZZ_SEED:-20260101}"
children="${HVD_FUZZ_CHILDREN:-2}"
count="${HVD_FUZZ_COUNT:-500000}"
defects="result flags rip memory vector error address x87 status mxcsr xmm ymm"
if "$fuzz" -t 0 | grep -q SKIP; then
	echo "1..0 # SKIP not in sanitized builds: the sandbox needs the signals to itself"
	exit 0
fi
echo "1..18"
for mode in 64 32 16; do
	"$fuzz" -m $mode "$corpus"/*
	"$fuzz" -m $mode -n "$count" -t $((seconds / 3)) -s "$seed" -j "$children"
done
for defect in $defects; do
	if "$fuzz" -x "$defect" -n 200000 -t 60 -s "$seed" > /dev/null; then
		echo "not ok - the fuzzer overlooks a wrong $defect"
	else
		echo "ok - the fuzzer finds a wrong $defect"
	fi
done
