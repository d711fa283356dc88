#!/bin/sh
# Words that do not belong in the tree: unfinished work, and bool parameters are
# for people to judge, but these are plain.
. "$HVD_SRCDIR/tests/checks/tap.sh"
cd "$HVD_SRCDIR" || exit 99
# Spelled apart so that this file does not find itself.
words="TO""DO|FIX""ME|XX""X:|HA""CK:"
found=$(grep -rnE "\b($words)" hv api daemon cli tests man systemd doc quickstart quicktest \
	--include='*' -I 2>/dev/null | head -n 20)
if [ -z "$found" ]; then ok "no unfinished words"; else
	not_ok "no unfinished words"
	printf '%s\n' "$found" | sed 's/^/# /'
fi
# Each C file starts with its licence.
missing=$(find hv api daemon cli tests \( -name '*.c' -o -name '*.h' -o -name '*.S' \) \
	-exec sh -c 'head -n 1 "$1" | grep -q SPDX-License-Identifier || echo "$1"' _ {} \;)
if [ -z "$missing" ]; then ok "each source file names its licence"; else
	not_ok "each source file names its licence"
	printf '%s\n' "$missing" | sed 's/^/# /'
fi
finish
