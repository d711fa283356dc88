#!/bin/sh
# domain.upgrade: another worker takes a running guest over. What goes on, what does not,
# what cannot; and a guest that checks itself all the while, on both vendors.
# HVD_UPGRADES: how often that one changes its worker (8).
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"
start_daemon a
times=${HVD_UPGRADES:-8}
pid_of() { res domain.info "{\"domain\":\"$1\"}" .pid; }
upgrade() { rpc domain.upgrade "{\"domain\":\"$1\"}"; }
name_of() { jq -r '.error.data.name // "ok"'; }
put() { res memory.write "{\"domain\":\"$1\",\"gpa\":131072,\"data\":\"$(printf %s "$2" | base64)\"}" >/dev/null; }
get() { res memory.read "{\"domain\":\"$1\",\"gpa\":131072,\"size\":4}" .data | tr -d '"' | base64 -d; }
echoes() { [ "$(typed "$1" "$2" | tail -c 1)" = "$2" ]; }
goes_on() { is "$2" "$(until_ok 10 echoes "$1" k && echo yes)" yes; }
destroy() { res domain.destroy "{\"domain\":\"$1\"}" >/dev/null; }

# ---- one guest, looked at from all sides ----
cp "$guest" "$top/kernel.bin"
res domain.define "$(config a | sed "s,$guest,$top/kernel.bin,")" >/dev/null
is "no guest" "$(upgrade a | name_of)" domain.wrong_state
res domain.start '{"domain":"a"}' >/dev/null
goes_on a "a guest that runs"
rm "$top/kernel.bin"
put a then
cursor=$(res dirtylog.start '{"domain":"a"}' .cursor)
before=$(pid_of a)
counters() { res domain.stats '{"domain":"a"}' '|[.vcpus[0].instructions,.vcpus[0].pio,.vcpus[0].run_ns,.mmu.faults]'; }
counted=$(counters)
one=$(upgrade a)
is "an upgrade" "$(echo "$one" | name_of)" ok
echo "# $(echo "$one" | jq -c .result)"
is "another process" "$([ "$(pid_of a)" != "$before" ] && echo yes)" yes
is "as the answer says" "$(echo "$one" | jq -c '.result|[.previous_pid,.pid]')" "[$before,$(pid_of a)]"
is "in the same state" "$(state_of a)" "running booted"
is "with its memory" "$(get a)" then
is "and counters that go on" "$(jq -cn "[$counted,$(counters)]|transpose|all(.[0]>0 and .[1]>=.[0])")" true
is "and the console's history" "$(typed a "" | head -c 5)" ready
goes_on a "it runs on"
is "the old worker ends" "$(until_ok 10 eval "! kill -0 $before" && echo yes)" yes
is "one record is left" "$(ls "$run/workers" | wc -l)" 2
is "a dirty log has to be started again" "$(err dirtylog.read "{\"domain\":\"a\",\"since\":$cursor}")" dirtylog.not_started
res dirtylog.start '{"domain":"a"}' >/dev/null
is "and older cursors are too old" "$(err dirtylog.read "{\"domain\":\"a\",\"since\":$cursor}")" dirtylog.cursor_expired
is "a reset boots what was booted, though the file is gone" "$(err domain.reset '{"domain":"a"}')" ok
goes_on a "it boots"
is "the job" "$(res job.info '{"id":1}' '|[.kind,.domain,.status]')" '["upgrade","a","completed"]'
is "detached" "$(res domain.upgrade '{"domain":"a","detach":true}' .job)" 2
is "calls in the meantime wait for it" "$(get a | wc -c)" 4
is "it has ended well" "$(wait_job 2; res job.info '{"id":2}' .status)" '"completed"'

# ---- a console client stays ----
"$HVD_BUILDDIR/tests/integration/console" -a "$top/attached" -w "$top/type" -u qq -t 10000 \
	"$sock" a qq >"$top/client" &
client=$!
until_ok 20 test -e "$top/attached"
for i in 1 2 3; do upgrade a >/dev/null; done
touch "$top/type"
wait $client
is "a client's console goes on, both ways" "$(tail -c 2 "$top/client")" qq
goes_on a "and others"

# ---- paused ----
res domain.suspend '{"domain":"a"}' >/dev/null
put a halt
is "of a paused guest" "$(upgrade a | name_of)" ok
is "it is paused" "$(state_of a)" "paused user"
is "with its memory, too" "$(get a)" halt
is "resume it" "$(err domain.resume '{"domain":"a"}')" ok
goes_on a "it runs"

# ---- hvd comes and goes ----
upgrade a >/dev/null
w=$(pid_of a)
kill_daemon a
start_daemon a
is "a new hvd adopts the new worker" "$(pid_of a)" "$w"
is_state a running unpaused
is "and replaces it" "$(upgrade a | name_of)" ok
stop_hvd
start_daemon a
goes_on a "after an orderly stop, too"
destroy a
is_state a shutoff destroyed

# ---- destroyed meanwhile ----
res domain.create "$(config c)" >/dev/null
w=$(pid_of c)
res domain.upgrade '{"domain":"c","detach":true}' >/dev/null
until_ok 10 sh -c "ls '$run/workers' | grep -q 'b.json'"
for p in $(worker_pids); do [ "$p" = "$w" ] || kill -STOP "$p"; done
is "destroyed while a new worker hangs" "$(err domain.destroy '{"domain":"c"}')" ok
is "no worker is left of it" "$(ls "$run/workers" | wc -l)" 0
is "and no job" "$(res job.list '{}' '.jobs|map(select(.status=="running"))|length')" 0

# ---- what cannot be ----
res domain.create "$(config b '"memory_backing":"anon"')" >/dev/null
w=$(pid_of b)
is "anonymous memory stays where it is" "$(upgrade b | name_of)" unsupported_by_backend
is "in its worker" "$(pid_of b)" "$w"
goes_on b "that goes on"
destroy b
res domain.create "$(config b '"on_poweroff":"preserve"')" >/dev/null
typed b o >/dev/null
is_state b paused preserved
is "a guest that has ended" "$(upgrade b | name_of)" domain.wrong_state
destroy b
res domain.create "$(config b)" >/dev/null
is "with a memslot that the machine has not" "$(err memslot.set '{"domain":"b","id":40,"gpa":1073741824,"size":4096}')" ok
is "it is refused" "$(upgrade b | name_of)" domain.upgrade_failed
is "in words" "$(upgrade b | jq -r .error.message | grep -o 'the guest has .*')" "the guest has 3 memory slots, this machine 2"
goes_on b "and goes on where it was"
is "destroyed" "$(err domain.destroy '{"domain":"b"}')" ok
is "no worker is left" "$(ls "$run/workers" | wc -l)" 0

# ---- a guest that checks itself ----
for vendor in vmx svm; do
	for cpus in 1 2; do
		guest_file $cpus 64 20 1
		res domain.define "$(guest_config m $cpus "\"engine\":{\"vendor\":\"$vendor\"}")" >/dev/null
		is "$vendor, $cpus vCPUs" "$(err domain.start '{"domain":"m"}')" ok
		i=0 worst=0 failed=0
		while [ $i -lt "$times" ]; do
			answer=$(upgrade m)
			[ "$(echo "$answer" | name_of)" = ok ] || { failed=$((failed + 1)); echo "# $(echo "$answer" | jq -c .error)"; }
			down=$(echo "$answer" | jq '.result.downtime_us // 0')
			[ "$down" -le "$worst" ] || worst=$down
			i=$((i + 1))
		done
		echo "# longest of $i: $worst us"
		is "replaced $i times" "$failed" 0
		guest_finish m
		is_state m shutoff debug_exit
		is "the guest has found no error" "$(res domain.info '{"domain":"m"}' .exit_code)" 0
		res domain.undefine '{"domain":"m"}' >/dev/null
	done
done
stop_hvd
finish
