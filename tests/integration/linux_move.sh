#!/bin/bash
# A Linux guest that computes changes its worker (domain.upgrade) and its host (domain.migrate,
# between two daemons, there and back): what it computes stays right, its clock goes on, and its
# kernel has nothing to say about it.
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"
linux_kernel
cat >"$top/move-init" <<'INIT'
dmesg | head -c 65536 >/data
while [ "$(wc -c </data)" -lt 1000000 ]; do cat /data /data >/more; mv /more /data; done
want=$(sha256sum </data)
echo 0 >/rounds
(
	n=0 last=0
	while :; do
		[ "$(sha256sum </data)" = "$want" ] || echo "result: wrong sum"
		now=$(cut -d. -f1 /proc/uptime)
		[ "$now" -ge "$last" ] || echo "result: wrong time"
		last=$now n=$((n + 1))
		echo $n >/later
		mv /later /rounds
	done
) &
while :; do
	echo "result: ready"
	read -r word
	case $word in
	how) echo "result: how $(cat /rounds) rounds $(dmesg | grep -cE "$trouble") complaints" ;;
	end) poweroff -f ;;
	esac
done
INIT
linux_image move

# Two daemons: what the library calls run, state and sock is one's or the other's.
mkdir "$top/a" "$top/b"
use() { run=$top/$1/run state=$top/$1/state sock=$top/$1/run/hvd.sock; }
pids=
for d in a b; do
	use $d
	start_hvd
	pids="$pids $hvd_pid"
done
worker_pids() { cat "$top"/[ab]/run/workers/*.json 2>/dev/null | jq -r .pid 2>/dev/null; }
trap 'status=$?; kill -9 $pids 2>/dev/null; wait $pids 2>/dev/null; (exit $status); cleanup' EXIT

# The console of one that runs already, or has come.
listen() { # NAME
	rm -f "$top/$1.keys"
	mkfifo "$top/$1.keys"
	: >"$top/$1.console"
	exec 7<>"$top/$1.keys"
	"$HVD_BUILDDIR/hvctl" -c "unix:$sock" console "$1" <&7 2>/dev/null |
		while IFS= read -r line; do printf '%(%s)T %s\n' -1 "${line%$'\r'}"; done >"$top/$1.console" &
}
# It answers, with a later round than before, and without a complaint.
well() { # NAME WHAT
	say "$1" how
	if ! heard "$1" 1 "result: how"; then
		not_ok "$2: it answers"
		complain "$1"
		return
	fi
	now=$(got "$1" how)
	is "$2: no complaint of its kernel" "${now#* }" "rounds 0 complaints"
	check "$2: it goes on computing" [ "${now%% *}" -ge "$rounds" ]
	rounds=${now%% *}
	is "$2: and computes right" "$(grep -c 'result: wrong' "$top/$1.console")" 0
}
move() { # NAME TO
	job=$(res domain.migrate "{\"domain\":\"$1\",\"uri\":\"unix:$top/$2/run/hvd.sock\"}" .job)
	moved() { [ "$(res job.info "{\"id\":$job}" .status)" != '"running"' ]; }
	until_ok "$linux_limit" moved
	is "$1 goes to $2" "$(res job.info "{\"id\":$job}" '|[.status,.error.data.name]')" '["completed",null]'
	echo "# $(res job.info "{\"id\":$job}" '.statistics|[.total_ms,.downtime_ms,.iteration,.transferred]') ms, down, rounds, bytes"
	use "$2"
	listen "$1"
}

for kind in vmx:2 svm:1; do
	g=${kind%:*}
	rounds=0
	use a
	define "$g" "$g" tdp "${kind#*:}" move 128MiB "quiet cryptomgr.notests panic=-1" '"on_reboot":"destroy"'
	begin "$g"
	if ! heard "$g" 1 "result: ready"; then
		not_ok "$g boots"
		complain "$g"
		continue
	fi
	answer=$(res domain.upgrade "{\"domain\":\"$g\"}")
	check "$g changes its worker" [ "$(echo "$answer" | jq .downtime_us)" -gt 0 ]
	echo "# stood still for $(echo "$answer" | jq .downtime_us) us"
	well "$g" "$g upgraded"
	move "$g" b
	well "$g" "$g at b"
	err domain.upgrade "{\"domain\":\"$g\"}" >/dev/null
	move "$g" a
	well "$g" "$g back"
	say "$g" end
	is_state "$g" shutoff guest "$linux_limit"
done
finish
