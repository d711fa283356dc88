#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A short seeded run of the differential fuzzer in each mode, and past differences.
# HVD_FUZZ_SECONDS and HVD_FUZZ_SEED lengthen and vary it.
fuzz="${HVD_BUILDDIR:-.}/tests/fuzz/fuzz_x86"
corpus="${HVD_SRCDIR:-.}/tests/fuzz/x86-corpus"
seconds="${HVD_FUZZ_SECONDS:-4}"
seed="${HVD_FUZZ_SEED:-20260101}"
if "$fuzz" -t 0 | grep -q SKIP; then
	echo "1..0 # SKIP not in sanitized builds: the sandbox needs the signals to itself"
	exit 0
fi
echo "1..6"
for mode in 64 32 16; do
	"$fuzz" -m $mode "$corpus"/*
	"$fuzz" -m $mode -t "$seconds" -s "$seed"
done
