#!/bin/sh
# The daemon as a service: sockets, lock, activation, watchdog, configuration, store.
. "$HVD_SRCDIR/tests/integration/lib.sh"

# ---- sockets and the lock ----
mkdir -p "$run"
socat UNIX-LISTEN:"$sock" /dev/null &
p=$!
until_ok 5 test -S "$sock"
kill -9 $p
wait $p 2>/dev/null
is "a socket is left over" "$(test -S "$sock" && echo yes)" yes
start_hvd
ok "and is replaced"
"$hvd" --runtime-dir "$run" --state-dir "$state" --foreground 2>"$top/second"
is "a second daemon ends" $? 1
is "and says why" "$(grep -c "$run/hvd.lock: held by another hvd, pid $hvd_pid\$" "$top/second")" 1
is "the first one's socket is untouched" "$(err daemon.ping)" ok
is "modes of the sockets" "$(stat -c %a "$run/hvd.sock" "$run/hvd-ro.sock" | tr '\n' ' ')" "660 666 "

# ---- the read-only socket ----
sock=$run/hvd-ro.sock
is "look" "$(err domain.list)" ok
is "do not touch" "$(err domain.define "$(config a)")" permission.denied
is "nor read guests' memory" "$(err memory.read '{"domain":"a","gpa":0,"size":1}')" permission.denied
is "discover" "$(res rpc.discover '{}' .openrpc)" '"1.2.6"'
sock=$run/hvd.sock
doc=$(res rpc.discover)
is "discover lists each method" "$(echo "$doc" | jq -r '.methods[].name' | sort | tr '\n' ' ')" \
	"$("$hvd" --list-methods | sort | tr '\n' ' ')"
is "no method of the workers" "$(echo "$doc" | jq '.methods|map(select(.name|startswith("worker.")))|length')" 0
is "each reference leads somewhere" "$(echo "$doc" | jq -r '. as $d|[..|objects|select(has("$ref"))."$ref"|ltrimstr("#/")|split("/")]|map(. as $p|select($d|getpath($p)==null))|length')" 0
is "hvctl: --json after the command too" "$("$HVD_BUILDDIR/hvctl" -c "unix:$sock" list --json | jq -c .)" \
	"$("$HVD_BUILDDIR/hvctl" -c "unix:$sock" --json list | jq -c .)"
stop_hvd
is "ends orderly" $? 0
is "and takes its sockets along" "$(test -e "$sock" || echo yes)" yes

# ---- the background ----
"$hvd" --runtime-dir "$run" --state-dir "$state" </dev/null
is "in the background" $? 0
is "it serves at once" "$(err daemon.ping)" ok
"$hvd" --runtime-dir "$run" --state-dir "$state" 2>/dev/null
is "a second one fails" $? 1
kill -TERM "$(cat "$run/hvd.lock")"
until_ok 5 test ! -e "$sock"

# ---- configuration ----
conf=$top/hvd.conf
bad() { # NAME TEXT LINE
	printf '%s\n' "$2" >"$conf"
	"$hvd" --runtime-dir "$run" --state-dir "$state" --config "$conf" --foreground 2>"$top/err"
	is "$1 ends it" $? 1
	is "$1 is named" "$(grep -c "hvd.conf:$3: " "$top/err")" 1
}
bad "an unknown key" "[Daemon]
Color=red" 2
bad "a bad value" "[Socket]

MaxConnections=many" 3
bad "an unknown section" "[Deamon]" 1
bad "a key before any section" "LogLevel=info" 1
"$hvd" --runtime-dir "$run" --state-dir "$state" --config "$top/none" --check-config 2>/dev/null
is "a named file must be there" $? 1
printf '[Socket]\nMaxConnections=3\n[Daemon]\nLogLevel=debug\n[Metrics]\nListen=unix:%s/metrics\n' "$top" >"$conf"
"$hvd" --config "$conf" --check-config >/dev/null
is "a good one is good" $? 0
start_hvd --config "$conf"
is "metrics over HTTP" "$(printf 'GET /metrics HTTP/1.0\r\n\r\n' | socat -t5 - UNIX-CONNECT:"$top/metrics" | tail -n 1)" "# EOF"
is "metrics over the socket" "$(res metrics.get '{}' .text | grep -c hvd_connections_accepted_total)" 1
echo "[Daemon]
LogLevel=nonsense" >"$conf"
is "a bad file is not taken" "$(rpc daemon.reload | jq -r '.error.data.name')" config.invalid
kill -HUP "$hvd_pid"
is "nor ends the daemon" "$(err daemon.ping)" ok
printf '[Socket]\nMaxConnections=77\n' >"$conf"
kill -HUP "$hvd_pid"
limit() { [ "$(res daemon.capabilities '{}' .limits.connections)" = "$1" ]; }
is "SIGHUP reads it" "$(until_ok 5 limit 77 && echo yes)" yes
stop_hvd

# ---- the store ----
start_hvd
res domain.define "$(config keep)" >/dev/null
i=0
(while :; do
	i=$((i + 1))
	rpc domain.define "$(config keep "\"metadata\":{\"n\":\"$i\"}")" || exit 0
done) >/dev/null 2>&1 &
writer=$!
for i in 1 2 3 4 5; do
	sleep 0.1
	kill_hvd
	for f in "$state"/definitions/*.json; do
		jq -e .name "$f" >/dev/null 2>&1 || broken="$broken $f"
	done
	start_hvd
done
kill $writer 2>/dev/null
wait $writer 2>/dev/null
is "no definition is ever torn" "$broken" ""
is "it is still there" "$(err domain.info '{"domain":"keep"}')" ok
stop_hvd
echo '{"name":' >"$state/definitions/torn.json"
echo '{"name":"other","memory":"1MiB","boot":{"kernel":"/x"}}' >"$state/definitions/misnamed.json"
touch "$state/definitions/x.json.tmp"
start_hvd
is "what is broken is left alone" "$(res domain.list '{"all":true}' '.domains|map(.name)')" '["keep"]'
is "and not removed" "$(test -s "$state/definitions/torn.json" && echo yes)" yes
is "what a crash left half-written is removed" "$(test -e "$state/definitions/x.json.tmp" || echo yes)" yes
if [ "$(id -u)" != 0 ]; then
	chmod 500 "$state/definitions"
	is "a store that fails changes nothing" "$(err domain.define "$(config new)") $(err domain.info '{"domain":"new"}')" \
		"store.failed domain.not_found"
	chmod 700 "$state/definitions"
else
	rm -rf "$state/definitions.away"
	mv "$state/definitions" "$state/definitions.away"
	is "a store that fails changes nothing" "$(err domain.define "$(config new)") $(err domain.info '{"domain":"new"}')" \
		"store.failed domain.not_found"
	is "nor does an update" "$(err domain.define "$(config keep '"vcpus":2')") $(res domain.dumpconfig '{"domain":"keep"}' .vcpus)" \
		"store.failed null"
	mv "$state/definitions.away" "$state/definitions"
fi
stop_hvd

# ---- the service manager ----
rm -f "$top/notify"
socat -u UNIX-RECV:"$top/notify" CREATE:"$top/notified" &
listener=$!
until_ok 5 test -S "$top/notify"
export NOTIFY_SOCKET="$top/notify" WATCHDOG_USEC=200000
"$hvd" --runtime-dir "$run" --state-dir "$state" --foreground >>"$log" 2>&1 &
hvd_pid=$!
unset NOTIFY_SOCKET WATCHDOG_USEC
until_ok 10 serves
is "READY=1" "$(until_ok 5 grep -q READY=1 "$top/notified" && echo yes)" yes
is "the watchdog is fed" "$(until_ok 5 grep -q WATCHDOG=1 "$top/notified" && echo yes)" yes
kill -STOP "$hvd_pid"
sleep 0.3
: >"$top/notified"
sleep 0.5
is "but not by a daemon that hangs" "$(grep -c WATCHDOG=1 "$top/notified")" 0
kill -CONT "$hvd_pid"
stop_hvd
is "STOPPING=1" "$(until_ok 5 grep -q STOPPING=1 "$top/notified" && echo yes)" yes
kill $listener

activate=$(command -v systemd-socket-activate || true)
if [ -n "$activate" ]; then
	"$activate" --fdname=hvd.sock -l "$sock" "$hvd" --runtime-dir "$run" --state-dir "$state" \
		--foreground >>"$log" 2>&1 &
	hvd_pid=$!
	until_ok 5 test -S "$sock"
	is "socket activation" "$(err daemon.ping)" ok
	is "the other socket is made" "$(test -S "$run/hvd-ro.sock" && echo yes)" yes
	stop_hvd
	is "a passed socket is not unlinked" "$(test -S "$sock" && echo yes)" yes
	rm -f "$sock"
else
	skip "socket activation" "no systemd-socket-activate"
fi

# ---- the cage ----
start_hvd
res domain.create "$(config caged)" >/dev/null
w=$(res domain.info '{"domain":"caged"}' .pid)
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$w/status" | cut -f1; }
if [ "$(res daemon.capabilities '{}' .sandbox.mode)" = '"strict"' ]; then
	is "no new privileges" "$(status NoNewPrivs)" 1
	is "no capabilities" "$(test "$(id -u)" != 0 || status CapEff)" "$(test "$(id -u)" != 0 || echo 0000000000000000)"
fi
if [ "$(res daemon.capabilities '{}' .sandbox.filters)" = true ]; then
	is "filtered" "$(status Seccomp)" 2
	is "three filters" "$(status Seccomp_filters)" 3
else
	skip "filtered" "a sanitizer is built in"
fi
if [ "$(id -u)" = 0 ]; then
	is "a uid of its own" "$(test "$(status Uid)" -ge 1900000000 && echo yes)" yes
	is "no interface but lo" "$(tail -n +3 "/proc/$w/net/dev" | grep -vc 'lo:')" 0
	if [ "$(res daemon.capabilities '{}' .sandbox.filters)" = true ]; then
		is "an empty root" "$(ls -A "/proc/$w/root/" | wc -l)" 0
	fi
	res domain.create "$(config caged2)" >/dev/null
	w2=$(res domain.info '{"domain":"caged2"}' .pid)
	is "another uid for another" "$(test "$(sed -n 's/^Uid:[[:space:]]*//p' "/proc/$w2/status" | cut -f1)" != "$(status Uid)" && echo yes)" yes
	res domain.destroy '{"domain":"caged2"}' >/dev/null
else
	skip "a uid of its own" "not root"
fi
is "hvd's descriptors are not passed on" "$(ls -l "/proc/$w/fd" | grep -c 'hvd.lock\|events.seq\|definitions')" 0
res domain.destroy '{"domain":"caged"}' >/dev/null
stop_hvd

# ---- two daemons that share a range of uids ----
if [ "$(id -u)" = 0 ]; then
	only=1899$(($$ % 90000 + 10000))
	printf '[Worker]\nUidRange=%s-%s\n' "$only" "$only" >"$conf"
	start_hvd --config "$conf"
	first_pid=$hvd_pid
	"$hvd" --config "$conf" --runtime-dir "$top/run2" --state-dir "$top/state2" --foreground >>"$log" 2>&1 &
	second_pid=$!
	sock=$top/run2/hvd.sock
	until_ok 20 serves
	res domain.create "$(config one)" >/dev/null
	sock=$run/hvd.sock
	is "a uid that another daemon's worker has is not given" \
		"$(err domain.create "$(config two)")" resource.exhausted
	sock=$top/run2/hvd.sock
	res domain.destroy '{"domain":"one"}' >/dev/null
	sock=$run/hvd.sock
	free_again() { [ "$(err domain.create "$(config two)")" = ok ]; }
	is "one that is free again is" "$(until_ok 5 free_again && echo yes)" yes
	res domain.destroy '{"domain":"two"}' >/dev/null
	kill "$second_pid"
	hvd_pid=$first_pid
	stop_hvd
else
	skip "two daemons that share a range of uids" "not root"
fi
finish
