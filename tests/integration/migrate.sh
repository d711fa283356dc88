#!/bin/bash
# Guests move between two daemons: alive, verified, paused, to the other vendor, back again;
# and what is refused or aborted stays where it was.
. "$HVD_SRCDIR/tests/integration/migrate_lib.sh"
start_daemon a
start_daemon b
guest_file 1 256 20 1
vmx='"engine":{"vendor":"vmx"}' svm='"engine":{"vendor":"svm"}'

sh_gone() { [ "$(err domain.info "{\"domain\":\"$1\"}")" = domain.not_found ]; }

# ---- there and back ----
define_start() { # NAME [MORE]
	res domain.define "$(guest_config "$1" 1 "${2:-}")" >/dev/null
	res domain.start "{\"domain\":\"$1\"}" >/dev/null
}
figures() { jq -r '.statistics | "\(.total_ms) ms, stopped for \(.downtime_ms) ms, \(.transferred) bytes, \(.iteration) rounds"'; }
for vendor in vmx svm; do
	use a
	define_start $vendor "\"engine\":{\"vendor\":\"$vendor\"}"
	job=$(move $vendor "$(uri b)" '"verify":true')
	is "$vendor: it moves" "$(echo "$job" | outcome)" completed
	echo "# $(echo "$job" | figures)"
	is_state $vendor shutoff migrated
	is "the source says where it went" "$(res domain.info "{\"domain\":\"$vendor\"}" '.migration|[.direction,.status,.peer]')" \
		"[\"out\",\"completed\",\"$(uri b)\"]"
	id=$(res domain.info "{\"domain\":\"$vendor\"}" .migration.id)
	use b
	is_state $vendor running migrated
	is "the destination says that it came" "$(res domain.info "{\"domain\":\"$vendor\"}" '|[.migration.direction,.migration.status,.migration.id,.persistent]')" \
		"[\"in\",\"completed\",$id,false]"
	is "and back, to be kept" "$(move $vendor "$(uri a)" '"persistent":true' | outcome)" completed
	is "it was transient" "$(err domain.info "{\"domain\":\"$vendor\"}")" domain.not_found
	use a
	is_state $vendor running migrated
	guest_finish $vendor
	is_state $vendor shutoff debug_exit
	is "the guest has found no error" "$(res domain.info "{\"domain\":\"$vendor\"}" .exit_code)" 0
done

# ---- another vendor, another definition ----
use a
res domain.start '{"domain":"vmx"}' >/dev/null
other=$(guest_config vmx 1 "$svm" | jq -c .config)
is "to the other vendor" "$(move vmx "$(uri b)" "\"config\":$other,\"persistent\":true,\"undefine_source\":true" | outcome)" completed
gone() { [ "$(err domain.info '{"domain":"vmx"}')" = domain.not_found ]; }
is "the source has forgotten it" "$(until_ok 10 gone && echo yes)" yes
use b
is "the destination keeps it" "$(res domain.info '{"domain":"vmx"}' .persistent)" true
is "under svm" "$(res domain.dumpconfig '{"domain":"vmx"}' .engine.vendor)" '"svm"'
guest_finish vmx
is_state vmx shutoff debug_exit
is "and has found no error" "$(res domain.info '{"domain":"vmx"}' .exit_code)" 0
res domain.undefine '{"domain":"vmx"}' >/dev/null

# ---- paused, and standing still ----
use a
define_start p "$vmx"
res domain.suspend '{"domain":"p"}' >/dev/null
is "a paused guest" "$(move p "$(uri b)" | outcome)" completed
use b
is_state p paused migrated
is "is resumed there" "$(err domain.resume '{"domain":"p"}')" ok
is "one that stands still meanwhile" "$(move p "$(uri a)" '"live":false' | outcome)" completed
use a
is_state p running migrated
guest_finish p
is_state p shutoff debug_exit
is "has found no error" "$(res domain.info '{"domain":"p"}' .exit_code)" 0

# ---- refused ----
res domain.start '{"domain":"p"}' >/dev/null
is "to itself" "$(move p "$(uri a)" | outcome)" "failed migration.failed"
is_state p running booted
is "nobody there" "$(move p "unix:$top/none" | outcome)" "failed migration.failed"
is "not a URI" "$(move p nonsense | outcome)" "refused rpc.invalid_params"
is "a host elsewhere, without TLS" "$(move p tcp:192.0.2.1:999 | outcome)" "refused unsupported_by_backend"
is "another definition's name" "$(move p "$(uri b)" "\"config\":$other" | outcome)" "refused config.invalid"
is "of a domain that does not run" "$(move svm "$(uri b)" | outcome)" "refused domain.wrong_state"
is "a start where the guest has gone" "$(err domain.migrate_resolve '{"domain":"svm"}')" domain.wrong_state
use b
res domain.create "$(guest_config p 1 "$vmx")" >/dev/null
use a
is "a name that is taken there" "$(move p "$(uri b)" | jq -r .error.message)" \
	"the destination: domain p ($(use b; res domain.info '{"domain":"p"}' .uuid | tr -d '"')) exists"
use b
res domain.destroy '{"domain":"p"}' >/dev/null
use a
is "another machine there" "$(move p "$(uri b)" "\"config\":$(guest_config p 1 "$vmx" | jq -c '.config|.memory="48MiB"')" | outcome)" \
	"failed migration.failed"
use b
is "leaves nothing there" "$(until_ok 10 sh_gone p; err domain.info '{"domain":"p"}')" domain.not_found
use a
is_state p running migration_canceled

# ---- limits, abort ----
job=$(migrate p "$(uri b)" '"max_bandwidth":20000' | jq .result.job)
use_arrives() { [ "$(use "$1"; state_of p)" = "paused migration" ]; }
until_ok 10 use_arrives b
is "one at a time" "$(move p "$(uri b)" | outcome)" "refused job.conflict"
is "no snapshot meanwhile" "$(err domain.snapshot '{"domain":"p","name":"x"}')" job.conflict
is "the guest that comes is not to be run" "$(use b; err domain.resume '{"domain":"p"}')" domain.wrong_state
is "slow, as it was told" "$(res job.info "{\"id\":$job}" .status)" '"running"'
is "aborted" "$(err job.abort "{\"id\":$job}"; wait_job "$job"; res job.info "{\"id\":$job}" | outcome)" "ok
aborted job.aborted"
is_state p running migration_canceled
is "nothing is left of it there" "$(use b; until_ok 10 sh_gone p && echo yes)" yes
job=$(migrate p "$(uri b)" '"max_bandwidth":20000' | jq .result.job)
until_ok 10 use_arrives b
is "a limit out of range" "$(err domain.migrate_set '{"domain":"p","zstd_level":99}')" rpc.invalid_params
is "a rate that is none" "$(err domain.migrate_set '{"domain":"p","max_bandwidth":"fast"}')" rpc.invalid_params
is "a rate in words" "$(err domain.migrate_set '{"domain":"p","max_bandwidth":"20KiB"}')" ok
is "without the limit" "$(err domain.migrate_set '{"domain":"p","max_bandwidth":0,"zstd_level":1}')" ok
wait_job "$job"
is "it arrives" "$(res job.info "{\"id\":$job}" | outcome)" completed
is "a limit that comes before the worker has heard of it" "$(printf '%s\n' \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"domain.migrate\",\"params\":{\"domain\":\"p\",\"uri\":\"$(uri a)\",\"max_bandwidth\":20000}}" \
	'{"jsonrpc":"2.0","id":2,"method":"domain.migrate_set","params":{"domain":"p","max_bandwidth":0}}' |
	(use b; timeout 60 socat -t5 - "UNIX-CONNECT:$sock") | jq -r '.error.data.name // "ok"' | tr '\n' ' ')" "ok ok "
use a
is_state p running migrated
is "and away again" "$(move p "$(uri b)" | outcome)" completed
is "no limit for what does not move" "$(err domain.migrate_set '{"domain":"p","max_bandwidth":0}')" domain.wrong_state

# ---- over TCP ----
port=$((20000 + $$ % 20000))
printf '[Migration]\nListen=127.0.0.1:%d\n' $port >"$top/c.conf"
start_daemon c --config "$top/c.conf"
use b
is "over loopback TCP" "$(move p "tcp:127.0.0.1:$port" '"streams":4,"zstd_level":1' | outcome)" completed
use c
is_state p running migrated
is "the listener has the methods of the hand-over alone" \
	"$( (echo '{"jsonrpc":"2.0","id":1,"method":"domain.list"}'; sleep 1) | timeout 10 socat -t5 - "TCP:127.0.0.1:$port" | jq -r .error.data.name)" \
	rpc.method_not_found
is "and back" "$(move p "$(uri b)" | outcome)" completed

# ---- over ssh ----
use b
is "through hvctl proxy" "$(move p ssh://a | outcome)" completed
is "ssh may ask nothing" "$(cat "$top/ssh-args")" "-T -oBatchMode=yes -- a hvctl proxy"
use a
is_state p running migrated
is "ssh to nobody" "$(move p ssh://none | outcome)" "failed migration.failed"
is_state p running migrated

# ---- the plan ----
plan() { res domain.migrate_plan "{\"domain\":\"p\",\"uri\":\"$1\",\"time_ms\":200${2:+,$2}}"; }
p=$(plan "$(uri b)")
echo "# $(echo "$p" | jq -c .)"
is "nothing is in the way" "$(echo "$p" | jq -c '[.possible,.blockers,.memory]')" '[true,[],33554432]'
is "the guest writes" "$(echo "$p" | jq '.working_set >= 256 * 4096 and .dirty_bytes_per_s > 0 and .bandwidth > 0')" true
is "a slow way never ends" "$(plan "$(uri b)" '"max_bandwidth":100000' | jq .converges)" false
p=$(plan "$(uri a)" "\"config\":$(guest_config p 1 "$vmx" | jq -c '.config|.boot.kernel="/none"|.memory="1TiB"')")
is "all that blocks is named at once" "$(echo "$p" | jq -c '[.blockers[]|.name+" "+.field]|sort')" \
	'["domain.exists /config/name","file.unavailable /config/boot/kernel","resource.exhausted /config/memory","rpc.invalid_params /uri"]'
is "nobody there to plan with" "$(plan "unix:$top/none" | jq -c '[.possible,.blockers[0].name]')" '[false,"peer.lost"]'
is "and it changes nothing" "$(use b; err domain.info '{"domain":"p"}')" domain.not_found

# ---- hvctl ----
ctl() { "$HVD_BUILDDIR/hvctl" -c "unix:$sock" "$@"; }
is "hvctl moves it" "$(ctl migrate p "$(uri b)" --progress --verify 2>"$top/bar" | sed 's/[0-9.]* KiB/N KiB/; s/[0-9.]* \(ms\|MiB\|rounds\)/N \1/g')" \
	"$(grep -o 'moved.*' <<<"moved in N ms, stopped for N ms, N MiB sent in N rounds")"
is "and shows how far it is" "$(tr '\r' '\n' <"$top/bar" | grep -o '^100% \[#*\] round' | head -n 1 | tr -d '#')" "100% [] round"
use b
"$HVD_BUILDDIR/hvctl" -c "unix:$sock" migrate p "$(uri a)" --bandwidth 20000 2>"$top/bar" &
ctl_pid=$!
until_ok 10 use_arrives a
kill -INT $ctl_pid
wait $ctl_pid
is "Ctrl-C aborts it" "$? $(cat "$top/bar")" "1 hvctl: job.aborted: the migration was aborted"
is_state p running migration_canceled
is "a detached one" "$(ctl --json migrate p "$(uri a)" --detach --bandwidth 20000 | jq 'has("job")')" true
is "changed while it runs" "$(until_ok 10 use_arrives a; ctl migrate-set p --bandwidth 0 && echo yes)" yes
until_ok 10 sh_gone p
is "nothing to settle" "$(use a; ctl migrate-resolve p 2>&1 | cut -d: -f2)" " domain.wrong_state"
use a
is_state p running migrated
is "back again" "$(ctl migrate p "$(uri b)" >/dev/null && echo yes)" yes

# ---- a guest that ends on the way ----
use b
job=$(migrate p "$(uri a)" '"max_bandwidth":20000' | jq .result.job)
until_ok 10 use_arrives a
guest_finish p
wait_job "$job"
is "the guest ends first" "$(res job.info "{\"id\":$job}" '|.status+": "+.error.message')" '"failed: the guest has ended"'
use a
sh_off() { [ "$(res domain.info '{"domain":"p"}' .state)" = '"shutoff"' ]; }
is "the destination gives it up" "$(until_ok 10 sh_off && echo yes)" yes
use b
is "the source, too" "$(until_ok 10 sh_gone p && echo yes)" yes
finish
