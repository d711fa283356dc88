#!/bin/bash
# Something goes wrong at each message of a migration: a worker dies, the connection
# breaks, in the middle of a message too, or stands still, or a daemon dies. Afterwards one
# side runs the guest, or the guest died with the worker that had it alone; and the
# guest, told to end, has found no error.
#
# full: from that message on the folders of that side's daemon, with the records of its workers
# and its definitions, have no room; full-hvd: they have had none since before, the daemon dies
# there, and the next one finds an old record.
#
# Each outcome is a line of the table in doc/migration.md. FAULTS=all goes through all of
# them and prints the table, FAULTS="SIDE:MOMENT:FAULT ..." through those; without it a
# choice is tried.
# Small file systems of its own, which end with it, need root.
if [ -z "${MIGRATE_FAULTS_NS:-}" ] && [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	MIGRATE_FAULTS_NS=1 exec unshare -m --propagation private bash "$0"
fi
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"

source_moments="send-hello got-welcome send-pages send-mark got-marked send-state sent-state
	got-ready send-go sent-go got-running"
destination_moments="got-hello send-welcome got-pages got-mark send-marked got-state send-ready
	sent-ready got-go send-running sent-running"
chosen="source:send-pages:kill source:sent-state:kill source:send-state:short source:sent-go:kill
	destination:got-pages:reset destination:sent-ready:kill destination:got-go:kill
	destination:send-running:reset destination:got-go:other source:got-ready:full
	destination:got-state:full source:sent-go:full-hvd"
all() {
	for side in source destination; do
		eval "moments=\$${side}_moments"
		for moment in $moments; do
			for action in kill reset short stall hvd other full full-hvd; do
				[ $action = short ] && [ "${moment#send-}" = "$moment" ] || echo "$side:$moment:$action"
			done
		done
	done
}

grep -q '^#define HV_DEBUG' "$HVD_BUILDDIR/config.h" ||
	plan_skip "only builds with --enable-debug have faults"
export HVD_MIGRATE_FAULT=$top/fault
small=${MIGRATE_FAULTS_NS:-}
for d in a b; do
	mkdir -p "$top/$d"
	[ -z "$small" ] || mount -t tmpfs -o size=1m,mode=755 small "$top/$d" || small=
done
trap 'status=$?; umount -l "$top/a" "$top/b" 2>/dev/null; (exit $status); cleanup' EXIT
fill() { cat /dev/zero >"$top/$1/filler" 2>/dev/null || true; }
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
	hvd | full-hvd) victim=$own ;;
	other) victim=$other ;;
	esac
	use a
	res domain.start '{"domain":"g"}' >/dev/null
	case $action in
	hvd | other | full*) echo "$side $moment:stop" ;;
	*) echo "$side $moment:$action" ;;
	esac >"$HVD_MIGRATE_FAULT"
	[ "$action $side" != "full-hvd source" ] || fill a
	migrate g "$(uri b)" '"stall_ms":1000' >/dev/null
	case $action in
	hvd | other | full*)
		until_ok 20 stopped $own || not_ok "$side $moment is never met"
		[ "$action" != full ] && [ "$action $side" != "full-hvd destination" ] || fill $own
		;;
	esac
	if [ -n "$victim" ]; then
		kill_daemon $victim
		kill -CONT "$stopped_pid"
		rm -f "$top/$victim/filler"
		start_daemon $victim
	elif [ "$action" = full ]; then
		kill -CONT "$stopped_pid"
	fi
	until_ok 40 settled
	rm -f "$HVD_MIGRATE_FAULT" "$top/a/filler" "$top/b/filler"
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
	\ shutoff\ \(migrated\)) is "$side $moment $action: it died with its worker, there" "$(said b)" "crashed (worker_died)" ;;
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
	case $x in full*) [ -n "$small" ] || continue ;; esac
	fault "$s" "$m" "$x"
	judge
	if [ -z "${FAULTS:-}" ]; then
		is "as doc/migration.md has it" "$(grep -cFx -- "$line" "$HVD_SRCDIR/doc/migration.md")" 1
	fi
done

# ---- no room for a definition, and none for the log ----
kept=$log log=/dev/full
for d in a b; do
	kill_daemon $d
	start_daemon $d
done
log=$kept
use a
res domain.start '{"domain":"g"}' >/dev/null
is "no room for the log" "$(move g "$(uri b)" | outcome)" completed
use b
is_state g running migrated
res domain.destroy '{"domain":"g"}' >/dev/null
if [ -n "$small" ]; then
	use b
	res domain.undefine '{"domain":"g"}' >/dev/null
	use a
	res domain.start '{"domain":"g"}' >/dev/null
	fill b
	is "no room for the worker's record: it stays" "$(move g "$(uri b)" '"persistent":true' | outcome)" \
		"failed migration.failed"
	use a
	is "and runs" "$(state_of g)" "running booted"
	rm -f "$top/b/filler"
	echo "destination got-state:stop" >"$HVD_MIGRATE_FAULT"
	migrate g "$(uri b)" '"persistent":true,"undefine_source":true' >/dev/null
	until_ok 20 stopped b || not_ok "it is never met"
	fill a
	fill b
	kill -CONT "$stopped_pid"
	rm -f "$HVD_MIGRATE_FAULT"
	use b
	is_state g running migrated
	is "no room for the definition: it is transient" "$(res domain.info '{"domain":"g"}' .persistent)" false
	rm -f "$top/a/filler" "$top/b/filler"
	guest_finish g
	gone() { [ "$(err domain.info '{"domain":"g"}')" = domain.not_found ]; }
	is "it has ended, and is forgotten" "$(until_ok 20 gone && echo yes)" yes
	use a
	is "the source's is forgotten: that takes no room" "$(err domain.info '{"domain":"g"}')" domain.not_found
fi
finish
