#!/bin/sh
# Snapshots: taken from running and paused guests, restored, listed, deleted; and what is
# left when something dies or the disk is full while one is taken: nothing.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd
snaps=$state/snapshots
pid_of() { res domain.info "{\"domain\":\"$1\"}" .pid; }
snap() { rpc domain.snapshot "{\"domain\":\"$1\",\"name\":\"$2\"${3:+,$3}}"; }
restore() { rpc domain.restore "{\"domain\":\"$1\",\"name\":\"$2\"${3:+,$3}}"; }
name_of() { jq -r '.error.data.name // "ok"'; }
put() { res memory.write "{\"domain\":\"$1\",\"gpa\":131072,\"data\":\"$(printf %s "$2" | base64)\"}" >/dev/null; }
get() { res memory.read "{\"domain\":\"$1\",\"gpa\":131072,\"size\":4}" .data | tr -d '"' | base64 -d; }
destroy() { res domain.destroy "{\"domain\":\"$1\"}" >/dev/null; }
parts() { find "$top" -name '.*.part' -o -name '.*.gone' -o -name '.pending-*' | wc -l; }
job_ended() { [ "$(res job.info "{\"id\":$1}" .status)" != '"running"' ]; }

# ---- taking and restoring ----
res domain.define "$(config a)" >/dev/null
is "no guest, no snapshot" "$(snap a one | name_of)" domain.wrong_state
res domain.start '{"domain":"a"}' >/dev/null
typed a q >/dev/null
put a then
one=$(snap a one)
is "a snapshot of a running guest" "$(echo "$one" | jq -r .result.name)" one
echo "# paused for $(echo "$one" | jq .result.pause_us) us"
is "the guest runs on" "$(answer a w)" w
put a now!
is "the same name again" "$(snap a one | name_of)" snapshot.exists
is "a name that is a path" "$(snap a ../one | name_of)" rpc.invalid_params
is "listed" "$(res domain.snapshot_list '{"domain":"a"}' '.snapshots|map([.domain,.name,.state,.memory])')" \
	'[["a","one","running",16777216]]'
is "not listed for others" "$(res domain.snapshot_list '{"domain":"b"}' .snapshots)" '[]'
is "a job of its own kind" "$(res job.info '{"id":1}' '|[.kind,.domain,.status]')" '["snapshot","a","completed"]'
is "its domain runs" "$(restore a one | name_of)" domain.wrong_state
is "under another name" "$(restore a one '"as":"b"' | jq -r '.result.domain|.name+" "+.state+" "+.reason')" \
	"b running restored"
is "its memory is that of then" "$(get b)" then
is "the first one's is not" "$(get a)" now!
is "the restored guest runs" "$(answer b w)" w
is "a name that is taken" "$(restore a one '"as":"b"' | name_of)" domain.exists
is "it is transient" "$(res domain.info '{"domain":"b"}' .persistent)" false
put b copy
is "its writes do not get into the snapshot" "$(restore a one '"as":"c","verify":true' | name_of)" ok
is "another copy" "$(get c)" then
is "a copy of the copy" "$(snap b two | jq -r .result.name)" two
is "and it goes on" "$(restore b two '"as":"d","verify":true' | name_of)" ok
is "with what was written last" "$(get d)" copy
for d in b c d; do destroy $d; done
destroy a
is "restored under its own name" "$(restore a one | jq -r '.result.domain|.state+" "+.reason')" "running restored"
is "with its memory" "$(get a)" then
is "and its definition" "$(res domain.info '{"domain":"a"}' '|[.persistent,.config_pending]')" '[true,false]'
res domain.reset '{"domain":"a"}' >/dev/null
is_booted() { [ "$(answer a k)" = k ]; }
is "a reset boots it anew" "$(until_ok 10 is_booted && echo yes)" yes
destroy a

# ---- paused ----
restore a one '"paused":true' >/dev/null
is_state a paused restored
is "as it was: paused" "$(snap a paused | name_of)" ok
destroy a
restore a paused >/dev/null
is_state a paused restored
is "resume it" "$(err domain.resume '{"domain":"a"}')" ok
is "it runs" "$(answer a v)" v
destroy a
is "unless it is to run" "$(restore a paused '"paused":false' | jq -r .result.domain.state)" running
destroy a

# ---- a domain that is not there any more ----
uuid=$(res domain.info '{"domain":"a"}' .uuid)
res domain.undefine '{"domain":"a"}' >/dev/null
is "of a domain that was forgotten" "$(restore a one | name_of)" ok
is "with its uuid" "$(res domain.info '{"domain":"a"}' .uuid)" "$uuid"
is "as a transient one" "$(res domain.info '{"domain":"a"}' .persistent)" false
destroy a
res domain.define "$(config a)" >/dev/null
is "another domain of that name" "$(restore a one | name_of)" domain.exists
is "stays as it is" "$(state_of a)" "shutoff defined"
res domain.undefine '{"domain":"a"}' >/dev/null

# ---- folders of the caller's ----
mkdir "$top/mine"
restore a one >/dev/null
is "into a folder" "$(snap a x "\"directory\":\"$top/mine\"" | jq -r .result.path)" "$top/mine/x"
is "a folder that is not there" "$(snap a x "\"directory\":\"$top/none\"" | name_of)" file.unavailable
is "listed there" "$(res domain.snapshot_list "{\"directory\":\"$top/mine\"}" '.snapshots|map(.name)')" '["x"]'
is "and not here" "$(res domain.snapshot_list '{"domain":"a"}' '.snapshots|map(.name)')" '["one","paused"]'
is "restored from there" "$(restore a x "\"directory\":\"$top/mine\",\"as\":\"b\"" | name_of)" ok
is "deleted under a living copy" "$(err domain.snapshot_delete "{\"domain\":\"a\",\"name\":\"x\",\"directory\":\"$top/mine\"}")" ok
is "which runs on" "$(answer b w)" w
is "what is no snapshot is not deleted" "$(mkdir "$top/mine/y"; err domain.snapshot_delete \
	"{\"domain\":\"a\",\"name\":\"y\",\"directory\":\"$top/mine\"}"; ls "$top/mine")" "snapshot.not_found
y"
destroy b

# ---- damage ----
damage() { # FILE OFFSET
	cp -r "$snaps/a/one" "$snaps/a/bad"
	printf 'x' | dd of="$snaps/a/bad/$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
	restore a bad "\"as\":\"b\"${3:+,$3}" | jq -r '.error|.data.name+" "+.message'
	rm -r "$snaps/a/bad"
}
is "a wrong page is found and named" "$(damage memory 131072 '"verify":true')" \
	"snapshot.invalid verification: the page at 0x20000 is not what was saved"
is "a damaged state" "$(damage state 200 | cut -d' ' -f1-2)" "snapshot.invalid state:"
is "a damaged manifest" "$(damage manifest 60 | cut -d' ' -f1-2)" "snapshot.invalid manifest:"
is "a damaged definition" "$(damage config 1 | cut -d' ' -f1-2)" "snapshot.invalid config:"
is "a memory that is cut" "$(cp -r "$snaps/a/one" "$snaps/a/bad"; truncate -s 1M "$snaps/a/bad/memory"
	restore a bad '"as":"b"' | name_of)" snapshot.invalid
rm "$snaps/a/bad/state"
is "a file that is missing" "$(restore a bad '"as":"b"' | name_of)" snapshot.invalid
is "one that is not there" "$(restore a none | name_of)" snapshot.not_found
is "nothing has become of these" "$(err domain.info '{"domain":"b"}')" domain.not_found
rm -r "$snaps/a/bad"
mkdir "$snaps/a/bad"
is "an empty folder is no snapshot" "$(res domain.snapshot_list '{"domain":"a"}' '.snapshots|map(.name)')" '["one","paused"]'
rmdir "$snaps/a/bad"

# ---- the end of the worker, of hvd, of the disk's room ----
stopped_snap() { # NAME: the worker stands still, so the snapshot is under way for ever
	kill -STOP "$(pid_of a)"
	res domain.snapshot "{\"domain\":\"a\",\"name\":\"$1\",\"detach\":true${2:+,$2}}" .job
}
w=$(pid_of a)
job=$(stopped_snap dead)
until_ok 10 test -d "$snaps/a/.dead.part"
is "under way" "$(ls -A "$snaps/a/.dead.part" | tr '\n' ' ')" "config digests manifest memory state "
is "one at a time" "$(snap a more | name_of)" job.conflict
is "not in the list" "$(res domain.snapshot_list '{"domain":"a"}' '.snapshots|map(.name)')" '["one","paused"]'
kill -9 "$w"
until_ok 10 job_ended "$job"
is "the worker died: the job says so" "$(res job.info "{\"id\":$job}" '|[.status,.error.data.name]')" '["failed","peer.lost"]'
is "and nothing is left" "$(parts)" 0
res domain.destroy '{"domain":"a"}' >/dev/null
restore a one >/dev/null

w=$(pid_of a)
stopped_snap dead >/dev/null
until_ok 10 test -d "$snaps/a/.dead.part"
kill_hvd
is "hvd died: the half is there" "$(parts)" 1
kill -CONT "$w"
start_hvd
is "and gone with the next one" "$(parts)" 0
is_state a running restored
is "whose guest runs on" "$(answer a w)" w
is "there is no such snapshot" "$(restore a dead | name_of)" snapshot.not_found
# The worker gives up at once, and the next one is not in its way.
is "another one" "$(snap a next | name_of)" ok

w=$(pid_of a)
stopped_snap dead "\"directory\":\"$top/mine\"" >/dev/null
until_ok 10 test -d "$top/mine/.dead.part"
kill_hvd
is "the same in another folder: a half and a note" "$(parts)" 2
kill -CONT "$w"
start_hvd
is "and gone" "$(parts)" 0

job=$(stopped_snap dead)
until_ok 10 test -d "$snaps/a/.dead.part"
until_ok 10 test "$(err job.abort "{\"id\":$job}")" = ok
kill -CONT "$(pid_of a)"
until_ok 10 job_ended "$job"
is "aborted" "$(res job.info "{\"id\":$job}" '|[.status,.error.data.name]')" '["aborted","job.aborted"]'
is "nothing is left" "$(parts)" 0

job=$(stopped_snap dead)
until_ok 10 test -d "$snaps/a/.dead.part"
stop_hvd
is "an orderly stop leaves nothing either" "$(parts)" 0
for p in $(worker_pids); do kill -CONT "$p"; done
start_hvd

mkdir "$top/small"
if mount -t tmpfs -o size=44k none "$top/small" 2>/dev/null; then
	is "a full disk" "$(snap a full "\"directory\":\"$top/small\"" | name_of)" store.failed
	is "leaves nothing" "$(ls -A "$top/small" | wc -l)" 0
	is "and the guest runs on" "$(answer a w)" w
	umount "$top/small"
else
	echo "# no mount here: the full disk is left to the unit test"
fi

# ---- the end ----
for n in one paused next; do
	is "delete $n" "$(err domain.snapshot_delete "{\"domain\":\"a\",\"name\":\"$n\"}")" ok
done
is "twice" "$(err domain.snapshot_delete '{"domain":"a","name":"one"}')" snapshot.not_found
is "nothing is left at all" "$(ls -A "$snaps/b" | wc -l) $(ls -d "$snaps/a" 2>/dev/null | wc -l)" "1 0"
is "the guest runs on" "$(answer a w)" w
destroy a
is "events" "$( (printf '{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"since":0}}\n'; sleep 0.3) |
	timeout 10 socat - "UNIX-CONNECT:$sock" | jq -r 'select(.method=="event").params.type' | grep -c snapshot.deleted)" 3
stop_hvd
finish
