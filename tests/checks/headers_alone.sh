#!/bin/sh
# Every header compiles alone: it includes what it uses.
. "$HVD_SRCDIR/tests/checks/tap.sh"
cd "$HVD_BUILDDIR" || exit 99
for dir in hv api daemon cli tests; do
	list=$(cd "$HVD_SRCDIR" && find "$dir" -name '*.h' | LC_ALL=C sort)
	bad=
	for h in $list; do
		out=$(printf '#include "%s"\n' "$h" | $HVD_CC -fsyntax-only -x c - 2>&1) || {
			bad="$bad $h"
			printf '%s\n' "$out" | head -n 5 | sed 's/^/# /'
		}
	done
	if [ -z "$bad" ]; then ok "headers of $dir compile alone"; else not_ok "headers of $dir: $bad"; fi
done
finish
