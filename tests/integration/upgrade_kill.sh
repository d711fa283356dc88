#!/bin/sh
# kill -9 of the old worker, the new worker and hvd at system calls all over a hand-over:
# afterwards exactly one worker runs the guest, which finds no error in its memory, or the
# guest's own worker was the one that was killed. HVD_KILLS: points of each (6; 0: all).
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"
kills=${HVD_KILLS:-6}
killat=$HVD_BUILDDIR/tests/integration/killat
pid_of() { res domain.info '{"domain":"m"}' .pid; }
bytes() { res domain.stats '{"domain":"m"}' .console_bytes; }
grows() { [ "$(bytes)" -gt "$1" ]; }
lives() { b=$(bytes) && [ "$b" != null ] && until_ok 10 grows "$b"; }
settled() { case $(state_of m) in "running "* | "crashed "*) [ "$(res job.list '{}' '.jobs|map(select(.status=="running"))|length')" = 0 ] ;; *) false ;; esac; }
one_worker() { [ "$(ls "$run/workers" | wc -l)" = 2 ] && [ "$(worker_pids)" = "$(pid_of)" ] && gone "$1"; }
# A zombie is gone: the tracer may have kept it from its parent.
gone() { [ "$1" = "$(pid_of)" ] || case $(sed 's/.*) //;s/ .*//' "/proc/$1/stat" 2>/dev/null) in "" | Z) ;; *) false ;; esac; }

guest_file 1 64 100 1
start_daemon a
res domain.define "$(guest_config m 1)" >/dev/null
bring_up() {
	case $(state_of m) in running*) return ;; crashed*) res domain.destroy '{"domain":"m"}' >/dev/null ;; esac
	err domain.start '{"domain":"m"}' >/dev/null
	lives || echo "# the guest does not start"
}

# WHO N: one hand-over with a death; what came of it goes to $came, $at, $calls.
hand_over() {
	bring_up
	old=$(pid_of)
	marked=$(wc -l <"$log")
	case $1 in
	old) set -- "$1" "$2" pid "$old" hvd-worker ;;
	new) set -- "$1" "$2" record "$run/workers" "$old" ;;
	hvd) set -- "$1" "$2" pid "$hvd_pid" hvd ;;
	esac
	who=$1
	shift
	: >"$top/killat"
	"$killat" "$@" >"$top/killat" 2>&1 &
	tracer=$!
	until_ok 10 grep -q . "$top/killat"
	rpc domain.upgrade '{"domain":"m"}' >"$top/answer" 2>/dev/null
	sleep 0.1
	kill -TERM $tracer 2>/dev/null
	wait $tracer
	at=$(tail -n 1 "$top/killat")
	calls=${at#* }
	if [ "$who" = hvd ] && [ "${at%% *}" = killed ]; then
		wait "$hvd_pid" 2>/dev/null
		start_daemon a
	fi
	until_ok 40 settled
	case $(state_of m) in
	running*)
		if ! lives; then
			came="stands still"
		elif ! until_ok 10 one_worker "$old"; then
			came="more than one worker"
		elif [ "$(pid_of)" = "$old" ]; then
			came="goes on in the old"
		else
			came="goes on in the new"
		fi
		;;
	*) came=$(state_of m) ;;
	esac
}

# Whether the word said NEW: both workers tell the log what they find.
was_new() { tail -n +$((marked + 1)) "$log" | grep -q 'another worker has the guest\|the guest has been taken over'; }

good() { # WHO
	case $1:$came in
	*:"goes on in the new" | new:"goes on in the old" | hvd:"goes on in the old") true ;;
	old:"goes on in the old") [ "${at%% *}" = end ] ;;
	old:"crashed worker_died") ! was_new ;;
	new:"crashed worker_died") was_new ;;
	*) false ;;
	esac
}

for who in old new hvd; do
	hand_over $who 1000000
	count=$calls
	is "$who: untouched" "$came" "goes on in the new"
	echo "# $who: $count system calls"
	n=$kills bad=0
	[ "$n" != 0 ] || n=$count
	[ "$n" -le "$count" ] || n=$count
	: >"$top/table"
	i=1
	while [ "$i" -le "$n" ]; do
		hand_over $who $(((i * count + n - 1) / n))
		echo "$came" >>"$top/table"
		if ! good $who; then
			bad=$((bad + 1))
			echo "# $who killed ($at): $came"
			tail -n +$((marked + 1)) "$log" | sed 's/^/#   /'
		fi
		i=$((i + 1))
	done
	sort "$top/table" | uniq -c | sed "s/^/# $who killed:/"
	is "$who: killed at $n of its system calls, the guest is where it has to be" "$bad" 0
done
bring_up
guest_finish m
is_state m shutoff debug_exit
is "the last guest has found no error" "$(res domain.info '{"domain":"m"}' .exit_code)" 0
is "none has" "$(grep -c 'debug_exit' "$log")" "$(grep -c 'shutdown (debug_exit)\|shutoff (debug_exit)' "$log")"
stop_hvd
finish
