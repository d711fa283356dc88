# TAP for shell tests: sourced. `plan_skip REASON` ends a test that cannot run;
# `check NAME COMMAND...` is one result; `finish` prints the plan and exits.
tap_n=0
tap_failed=0

ok() {
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1"
}

not_ok() {
	tap_n=$((tap_n + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_n - $1"
}

skip() { # NAME REASON
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

check() {
	check_name=$1
	shift
	if check_out=$("$@" 2>&1); then
		ok "$check_name"
	else
		not_ok "$check_name"
		printf '%s\n' "$check_out" | sed 's/^/# /'
	fi
}

plan_skip() {
	echo "1..0 # SKIP $1"
	exit 0
}

finish() {
	echo "1..$tap_n"
	[ "$tap_failed" = 0 ]
	exit $?
}
