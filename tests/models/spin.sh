#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every model: spin finds no violation with all guards, and one without each guard
# that the model's head names ("guards: A B"). Skipped where spin is not installed.
. "${HVD_SRCDIR:?}/tests/checks/tap.sh"

command -v spin >/dev/null 2>&1 || plan_skip "spin is not installed"
compiler=${CC:-cc}
command -v "${compiler%% *}" >/dev/null 2>&1 || plan_skip "no C compiler"
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# MODEL SWITCHES: prints "clean", "violated", or what went wrong.
search() (
	mkdir -p "$dir/run" && cd "$dir/run" && rm -f ./* || exit 1
	spin $2 -a "$1" >spin.out 2>&1 || { echo "spin: $(tail -1 spin.out)"; exit; }
	$compiler -O2 -w -DSAFETY -DNOCLAIM -DVECTORSZ=4096 -o pan pan.c >cc.out 2>&1 ||
		{ echo "compiler: $(tail -1 cc.out)"; exit; }
	./pan -m200000 -w22 -n >pan.out 2>&1
	grep -E 'max search depth too small|out of memory' pan.out && exit
	case $(grep -o 'errors: [0-9]*' pan.out) in
	'errors: 0') echo clean ;;
	'errors: '*) echo violated ;;
	*) echo "pan: $(tail -1 pan.out)" ;;
	esac
	grep -E 'states, stored|assertion violated|invalid end' pan.out >&2
)

for model in "$HVD_SRCDIR"/tests/models/*.pml; do
	name=$(basename "$model" .pml)
	result=$(search "$model" "" 2>"$dir/info")
	sed 's/^/# /' "$dir/info"
	[ "$result" = clean ] && ok "$name holds" || not_ok "$name: $result"
	for guard in $(sed -n 's/^ \* guards: //p' "$model"); do
		result=$(search "$model" "-D$guard" 2>"$dir/info")
		sed 's/^/# /' "$dir/info"
		[ "$result" = violated ] && ok "$name fails with $guard" ||
			not_ok "$name with $guard: $result"
	done
done
finish
