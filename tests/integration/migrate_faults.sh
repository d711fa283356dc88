#!/bin/bash
# Something goes wrong at each message of a migration: a worker dies, the connection
# breaks, in the middle of a message too, or stands still, or a daemon dies. Afterwards one
# side runs the guest, or the guest died with the worker that had it alone; and the
# guest, told to end, has found no error.
#
# Each outcome is a line of the table in doc/migration.md. FAULTS=all goes through all of
# them and prints the table, FAULTS="SIDE:MOMENT:FAULT ..." through those; without it a
# choice is tried.
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"

source_moments="send-hello got-welcome send-pages send-mark got-marked send-state sent-state
	got-ready send-go sent-go got-running"
destination_moments="got-hello send-welcome got-pages got-mark send-marked got-state send-ready
	sent-ready got-go send-running sent-running"
chosen="source:send-pages:kill source:sent-state:kill source:send-state:short source:sent-go:kill
	destination:got-pages:reset destination:sent-ready:kill destination:got-go:kill
	destination:send-running:reset destination:got-go:other"
all() {
	for side in source destination; do
		eval "moments=\$${side}_moments"
		for moment in $moments; do
			for action in kill reset short stall hvd other; do
				[ $action = short ] && [ "${moment#send-}" = "$moment" ] || echo "$side:$moment:$action"
			done
		done
	done
}

grep -q '^#define HV_DEBUG' "$HVD_BUILDDIR/config.h" ||
	plan_skip "only builds with --enable-debug have faults"
export HVD_MIGRATE_FAULT=$top/fault
start_daemon a
start_daemon b
guest_file 1 64 1000 1
uuid=6f0b2f4e-3d0f-4d8a-9f43-0d5a6f0c7a11
for d in a b; do
	use $d
	res domain.define "$(guest_config g 1 "\"uuid\":\"$uuid\",\"engine\":{\"vendor\":\"vmx\"}")" >/dev/null
done

info_of() { (use "$1"; res domain.info '{"domain":"g"}' "$2" | tr -d '"'); }
said() { info_of "$1" '|.state+" ("+.reason+")"'; }
stopped() { # DAEMON: its worker stands still
	stopped_pid=$(info_of "$1" .pid)
	[ "$(awk '{ print $3 }' "/proc/$stopped_pid/stat" 2>/dev/null)" = T ]
}
settled() {
	case "$(said a) $(said b)" in *"(migration)"* | *starting* | *shutdown*) return 1 ;; esac
	[ "$(info_of a .migration.status)" != active ] && [ "$(info_of a .migration.status)" != setup ] &&
		[ "$(info_of b .migration.status)" != active ] && no_jobs
}
no_jobs() { [ "$(use a; res job.list '{}' '.jobs|map(select(.status=="running"))|length')" = 0 ]; }

fault() { # SIDE MOMENT ACTION
	side=$1 moment=$2 action=$3 victim=
	[ "$side" = source ] && own=a other=b || own=b other=a
	case $action in
	hvd) victim=$own ;;
	other) victim=$other ;;
	esac
	use a
	res domain.start '{"domain":"g"}' >/dev/null
	echo "$side $moment:${victim:+stop}${victim:-$action}" | sed 's/stop[ab]$/stop/' >"$HVD_MIGRATE_FAULT"
	migrate g "$(uri b)" '"stall_ms":1000' >/dev/null
	if [ -n "$victim" ]; then
		until_ok 20 stopped $own || not_ok "$side $moment is never met"
		kill_daemon $victim
		kill -CONT "$stopped_pid"
		start_daemon $victim
	fi
	until_ok 40 settled
	rm -f "$HVD_MIGRATE_FAULT"
	was="$(said a) | $(said b)"
	case $was in
	*unconfirmed* | *in_doubt*)
		use a
		[ "$(err domain.migrate_resolve '{"domain":"g"}')" = ok ] ||
			res domain.migrate_resolve '{"domain":"g","peer_gone":true}' >/dev/null
		until_ok 20 settled
		;;
	esac
	line="| $side $moment | $action | $was |"
	echo "# $line"
}

judge() {
	runs=
	for d in a b; do
		case $(said $d) in running*) runs="$runs$d" ;; esac
	done
	case "$runs $(said a)" in
	a\ * | b\ *)
		use $runs
		guest_finish g
		until_ok 20 sh_state g "shutoff debug_exit"
		runs="$runs, $(said $runs) $(info_of $runs .exit_code)"
		is "$side $moment $action: one side runs it, and it is well" "${runs#?}" ", shutoff (debug_exit) 0"
		;;
	\ shutoff\ \(migrated\)) is "$side $moment $action: it died with its worker, there" "$(said b)" "shutoff (failed)" ;;
	\ crashed*) is "$side $moment $action: it died with its worker" "$(said b)" "shutoff (failed)" ;;
	*) is "$side $moment $action: one side runs it" "$runs of $was" "a or b" ;;
	esac
	for d in a b; do
		use $d
		[ "$(said $d | cut -d' ' -f1)" = shutoff ] || res domain.destroy '{"domain":"g"}' >/dev/null
	done
}

case ${FAULTS:-} in
all) chosen=$(all) ;;
?*) chosen=$FAULTS ;;
esac
for f in $chosen; do
	IFS=: read -r s m x <<<"$f"
	fault "$s" "$m" "$x"
	judge
	if [ -z "${FAULTS:-}" ]; then
		is "as doc/migration.md has it" "$(grep -cFx -- "$line" "$HVD_SRCDIR/doc/migration.md")" 1
	fi
done
finish
