#!/bin/bash
# A guest that checks its memory, its clocks and its timers all the time goes back and
# forth between two daemons. MIGRATE_MOVES (6) times for each number of vCPUs in
# MIGRATE_CPUS ("2"), on vmx, on svm, and from the one to the other and back; MIGRATE_WAYS
# ("vmx-vmx svm-svm vmx-svm") are others, MIGRATE_PAGES (128) what each vCPU writes, MIGRATE_ARGS
# more options of hvctl migrate: "--downtime 20" for what is too slow for less.
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"
moves=${MIGRATE_MOVES:-6}
start_daemon a
start_daemon b
ctl() { "$HVD_BUILDDIR/hvctl" -c "unix:$sock" "$@"; }
vendor_config() { # VENDOR: the guest's definition
	guest_config g "$cpus" "\"engine\":{\"vendor\":\"$1\"}" | jq -c .config
}
down() { jq -r '.statistics.downtime_ms'; }

for cpus in ${MIGRATE_CPUS:-2}; do
	guest_file "$cpus" "${MIGRATE_PAGES:-128}" 1000 1
	for way in ${MIGRATE_WAYS:-vmx-vmx svm-svm vmx-svm}; do
		at_a=${way%-*} at_b=${way#*-}
		vendor_config "$at_a" >"$top/to_a.json"
		vendor_config "$at_b" >"$top/to_b.json"
		use a
		res domain.define "{\"config\":$(cat "$top/to_a.json")}" >/dev/null
		res domain.start '{"domain":"g"}' >/dev/null
		here=a n=0
		: >"$top/down"
		while [ $n -lt "$moves" ]; do
			there=$([ $here = a ] && echo b || echo a)
			use $here
				# shellcheck disable=SC2086 # options
			set -- ${MIGRATE_ARGS:-} --config "$top/to_$there.json" --persistent --streams $((n % 3 + 1)) --compress $((n % 2))
			[ $((n % 5)) != 0 ] || set -- "$@" --verify
			ctl --json migrate g "$(uri $there)" "$@" >"$top/job" 2>"$top/why" || break
			down <"$top/job" >>"$top/down"
			here=$there
			n=$((n + 1))
		done
		is "$cpus vCPUs, $at_a and $at_b: $moves moves" "$n $(cat "$top/why")" "$moves "
		use $here
		is "it runs" "$(state_of g)" "running migrated"
		echo "# stopped for $(sort -n "$top/down" | awk '{ a[NR] = $1 } END { printf "%.1f ms at most, %.1f in the median", a[NR], a[int((NR + 1) / 2)] }')"
		guest_finish g
		is_state g shutoff debug_exit
		is "and has found no error" "$(res domain.info '{"domain":"g"}' .exit_code)" 0
		for d in a b; do
			use $d
			res domain.undefine '{"domain":"g"}' >/dev/null
		done
	done
done
finish
