#!/bin/bash
# The sessions that the README shows are run, and print what it shows.
. "$HVD_SRCDIR/tests/checks/tap.sh"
command -v jq >/dev/null || plan_skip "jq is not installed"
command -v socat >/dev/null || plan_skip "socat is not installed"

dir=$(mktemp -d) || exit 99
daemon_pid=
cleanup() {
	[ -z "$daemon_pid" ] || kill "$daemon_pid" 2>/dev/null
	wait 2>/dev/null
	rm -rf "$dir"
}
trap cleanup EXIT
chmod 755 "$dir"
mkdir "$dir/run" "$dir/state" "$dir/bin"
printf '#!/bin/sh\nexec "%s/hvctl" -c unix:"%s/run/hvd.sock" "$@"\n' "$HVD_BUILDDIR" "$dir" >"$dir/bin/hvctl"
chmod +x "$dir/bin/hvctl"
"$HVD_BUILDDIR/hvd" --runtime-dir "$dir/run" --state-dir "$dir/state" --foreground >"$dir/log" 2>&1 &
daemon_pid=$!
for _ in $(seq 100); do
	[ -S "$dir/run/hvd.sock" ] && break
	sleep 0.1
done

# The block of the README that follows a marker.
block() {
	awk -v marker="<!-- transcript:$1 -->" '$0 == marker { found = 1; next }
		found && /^```/ { if (inside) exit; inside = 1; next }
		inside { print }' "$HVD_SRCDIR/README.md"
}

cd "$dir" || exit 99
block spec | sed "s|@KERNEL@|$HVD_BUILDDIR/tests/guests/hello.elf|" >web1.json
export PATH="$dir/bin:$PATH" HVD_SOCKET="$dir/run/hvd.sock" LC_ALL=C
for session in hvctl socat; do
	block "$session" >expected
	sed -n 's/^\$ //p' expected | while IFS= read -r command; do
		printf '$ %s\n' "$command"
		bash -c "$command" 2>&1
	done >got
	if [ -s expected ] && cmp -s expected got; then ok "the README's $session session"; else
		not_ok "the README's $session session"
		diff expected got | sed 's/^/# /'
		tail -n 5 log | sed 's/^/# hvd: /'
	fi
done
finish
