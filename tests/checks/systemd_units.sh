#!/bin/sh
# The units hold what systemd expects of them.
. "$HVD_SRCDIR/tests/checks/tap.sh"
command -v systemd-analyze >/dev/null || plan_skip "systemd-analyze is not installed"
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
# The binary need not be installed where the unit says: point it at a program that is there.
for unit in hvd.service hvd.socket hvd-ro.socket; do
	sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$HVD_BUILDDIR/systemd/$unit" >"$dir/$unit" 2>/dev/null ||
		sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$HVD_SRCDIR/systemd/$unit" >"$dir/$unit"
done
verify() {
	out=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify --man=no "$dir/$1" 2>&1)
	status=$?
	mine=$(printf '%s\n' "$out" | grep -E "hvd(-ro)?\.(service|socket)" || true)
	[ "$status" = 0 ] && [ -z "$mine" ] || { printf '%s\n' "$out"; return 1; }
}
check "hvd.service verifies" verify hvd.service
check "hvd.socket verifies" verify hvd.socket
check "hvd-ro.socket verifies" verify hvd-ro.socket
hardened() {
	out=$(systemd-analyze security --offline=yes --threshold="$1" "$dir/hvd.service" 2>&1) ||
		{ printf '%s\n' "$out" | tail -n 5; return 1; }
}
check "hvd.service keeps an exposure of at most 6.0" hardened 60
if command -v systemd-sysusers >/dev/null; then
	check "sysusers.d/hvd.conf parses" systemd-sysusers --dry-run --root="$dir" "$HVD_SRCDIR/systemd/hvd.sysusers"
fi
finish
