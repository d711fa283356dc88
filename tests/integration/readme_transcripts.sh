#!/bin/bash
# The sessions that the README shows are run, and print what it shows.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd

# The block of the README that follows a marker.
block() {
	awk -v marker="<!-- transcript:$1 -->" '$0 == marker { found = 1; next }
		found && /^```/ { if (inside) exit; inside = 1; next }
		inside { print }' "$HVD_SRCDIR/README.md"
}

mkdir "$top/bin" "$top/cwd"
printf '#!/bin/sh\nexec "%s/hvctl" -c unix:"%s" "$@"\n' "$HVD_BUILDDIR" "$sock" >"$top/bin/hvctl"
chmod +x "$top/bin/hvctl"
cd "$top/cwd" || exit 99
block spec | sed "s|@KERNEL@|$guest|" >web1.json
export PATH="$top/bin:$PATH" HVD_SOCKET="$sock" LC_ALL=C
for session in hvctl socat; do
	block "$session" >expected
	sed -n 's/^\$ //p' expected | while IFS= read -r command; do
		printf '$ %s\n' "$command"
		timeout 60 bash -c "$command" 2>&1 | tr -d "\r"
	done >got
	if [ -s expected ] && cmp -s expected got; then ok "the README's $session session"; else
		not_ok "the README's $session session"
		diff expected got | sed 's/^/# /'
	fi
done
finish
