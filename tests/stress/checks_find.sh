#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The stress tests' checks find what they are for: each with a defect that the test
# itself brings in ("configuration defect | words of the complaint").
. "${HVD_SRCDIR:?}/tests/checks/tap.sh"

ulimit -c 0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# NAME WORDS COMMAND...: the command must complain in these words and not end well.
finds() {
	name=$1 words=$2
	shift 2
	if timeout 120 "$@" >"$dir/out" 2>&1; then
		not_ok "$name goes unnoticed"
	elif grep -q "$words" "$dir/out"; then
		ok "$name: $words"
	else
		not_ok "$name: not noticed for what it is"
		tail -3 "$dir/out" | sed 's/^/# /'
	fi
}

while IFS='|' read -r config defect words; do
	finds "stress_mmu $config $defect" "$words" \
		"$HVD_BUILDDIR/tests/stress/stress_mmu" 60 "$config" "$defect"
done <<'END'
ept|no-flush|stress_mmu: ept:
ept|slot-stays|has survived its slot
npt-5level|slot-elsewhere|leads to the old one's memory
ept|slot-missing|a slot that is there is MMIO
ept|no-invalidation|is reached after its invalidation
shadow-flat|no-invalidation|is reached after its invalidation
ept|stray-write|reads .* instead of
shadow-paging|no-invlpg|alias .* reads
ept|bitmap-loses|migration: a write
ept-ring|ring-loses|migration: a write
ept-ring|ring-early|migration: a write
ept|cursor-loses|cursor: a write
ept|count-leaks|hardware_usage_count() == 1
END
while IFS='|' read -r defect words; do
	finds "stress_vm $defect" "$words" "$HVD_BUILDDIR/tests/stress/stress_vm" 20000 "$defect"
done <<'END'
late-start|SPTE_LIFE(s) != atomic_load
delete-stays|atomic_load(&spte
no-arming|pages missing from a reader
reader-loses|pages missing from a reader
bitmap-loses|pages missing from a reader
count-leaks|hardware_usage_count() != 0
END
finish
