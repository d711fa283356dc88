#!/bin/sh
# Sudden death: of a worker, of hvd, of both; and what is found afterwards.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd
pid_of() { res domain.info "{\"domain\":\"$1\"}" .pid; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- a worker ----
res domain.define "$(config a)" >/dev/null
res domain.define "$(config b)" >/dev/null
res domain.start '{"domain":"a"}' >/dev/null
res domain.start '{"domain":"b"}' >/dev/null
seq=$(res event.subscribe '{}' .seq)
a=$(pid_of a)
kill -9 "$a"
is_state a crashed worker_died
is "the reason in words" "$(res domain.info '{"domain":"a"}' .detail | grep -c 'signal 9')" 1
event=$( (printf '{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"since":%s,"domain":"a"}}\n' "$seq"; sleep 0.3) |
	timeout 10 socat - "UNIX-CONNECT:$sock" | jq -c 'select(.method=="event").params|[.type,.data.state,.data.reason]')
is "the event" "$event" '["domain.state","crashed","worker_died"]'
is "the other one runs" "$(answer b q)" q
is "no machine, no console" "$(err domain.console '{"domain":"a"}')" domain.wrong_state
is "start after a crash" "$(res domain.start '{"domain":"a"}' .state)" '"running"'
kill -9 "$(pid_of a)"
is_state a crashed worker_died
is "destroy what has crashed" "$(err domain.destroy '{"domain":"a"}')" ok
is_state a shutoff destroyed
res domain.create "$(config t)" >/dev/null
kill -9 "$(pid_of t)"
is_state t crashed worker_died
is "a transient one stays to be seen" "$(res domain.list '{}' '.domains|map(.name)|sort')" '["b","t"]'
is "until it is destroyed" "$(err domain.destroy '{"domain":"t"}')" ok
is "then it is gone" "$(err domain.info '{"domain":"t"}')" domain.not_found

# ---- hvd ----
res domain.create "$(config t)" >/dev/null
res domain.suspend '{"domain":"t"}' >/dev/null
b=$(pid_of b)
t=$(pid_of t)
instance=$(res daemon.version '{}' .instance)
last=$(res event.subscribe '{}' .seq)
kill_hvd
sleep 0.2
is "guests run on" "$(kill -0 "$b" && kill -0 "$t" && echo yes)" yes
start_hvd
is "another run of the daemon" "$(test "$(res daemon.version '{}' .instance)" != "$instance" && echo yes)" yes
is_state b running booted
is_state t paused user
is "the same process" "$(pid_of b)" "$b"
is "its console, with history" "$(typed b w qw | tr -d '\r\n')" readyqw
is "a transient one is transient still" "$(res domain.info '{"domain":"t"}' .persistent)" false
is "resume it" "$(err domain.resume '{"domain":"t"}')" ok
is "event numbers go on" "$(res event.subscribe '{}' ".seq>$last")" true
is "events of the old run are said to be lost" "$(res event.subscribe "{\"since\":$last}" '.lost>0')" true
is "an adopted one is destroyed" "$(err domain.destroy '{"domain":"t"}')" ok

# ---- an orderly restart ----
stop_hvd
is "ends orderly" $? 0
is "guests outlive that, too" "$(kill -0 "$b" && echo yes)" yes

# ---- the guest ends while nobody is there ----
start_hvd
res domain.start '{"domain":"a"}' >/dev/null
a=$(pid_of a)
# The console is a descriptor of its own: it types on when hvd is dead.
"$HVD_BUILDDIR/tests/integration/console" -a "$top/attached" -w "$top/type" "$sock" a o >/dev/null &
c=$!
until_ok 20 test -e "$top/attached"
kill_hvd
touch "$top/type"
wait $c
sleep 0.5
start_hvd
is_state a shutoff guest
is "its worker is gone" "$(until_ok 10 gone "$a" && echo yes)" yes

# ---- a worker that dies while nobody is there ----
kill_hvd
kill -9 "$b"
start_hvd
is_state b crashed worker_died
res domain.start '{"domain":"b"}' >/dev/null

# ---- a record whose process is another one now ----
b=$(pid_of b)
kill_hvd
record=$(ls "$run"/workers/*.json)
sleep 60 &
other=$!
jq -c ".pid=$other" "$record" >"$record.new" && mv "$record.new" "$record"
start_hvd
is "a reused pid is not taken for a worker" "$(state_of b)" "crashed worker_died"
is "nor killed" "$(kill -0 $other && echo yes)" yes
kill $other
kill -9 "$b"
echo 'not json' >"$run/workers/broken.json"
kill_hvd
touch "$run/workers/half.json.tmp" "$run/workers/unborn.sock"
start_hvd
is "a broken record harms nobody" "$(err daemon.ping)" ok
is "what a start that was cut off left is gone" "$(ls "$run/workers")" broken.json
stop_hvd

# ---- killed again and again ----
start_hvd
res domain.start '{"domain":"b"}' >/dev/null
b=$(pid_of b)
for i in 1 2 3 4 5; do
	kill_hvd
	start_hvd
done
is_state b running booted
is "still the same process after five daemons" "$(pid_of b)" "$b"
res domain.destroy '{"domain":"b"}' >/dev/null
stop_hvd
is "no worker is left" "$(find "$run/workers" -name '*.sock' | wc -l)" 0
finish
