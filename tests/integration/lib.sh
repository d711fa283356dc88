# Sourced by the shell tests of the daemon: a private hvd in a temporary folder.
#
#	start_hvd [OPTION...]		leaves $hvd_pid, $run, $state, $log
#	rpc METHOD [PARAMS]		the whole answer
#	res METHOD [PARAMS] [JQ]	its result, through jq
#	err METHOD [PARAMS]		its error's stable name, or "ok"
#	until_ok SECONDS COMMAND...	repeats until it succeeds
#	kill_pid SIGNAL PID, stop_hvd
. "$HVD_SRCDIR/tests/checks/tap.sh"

for tool in socat jq; do
	command -v $tool >/dev/null || plan_skip "$tool is not installed"
done
hvd=$HVD_BUILDDIR/hvd
guest=$HVD_BUILDDIR/tests/integration/shell.bin
top=$(mktemp -d "${TMPDIR:-/tmp}/hvd-test.XXXXXX")
run=$top/run state=$top/state log=$top/log
hvd_pid=
sock=$run/hvd.sock

# Workers outlive their hvd: find those of this test by the records and by hvd's own word.
worker_pids() {
	cat "$run"/workers/*.json 2>/dev/null | jq -r .pid 2>/dev/null
}

cleanup() {
	status=$?
	trap - EXIT
	[ -z "$hvd_pid" ] || kill -9 "$hvd_pid" 2>/dev/null
	for p in $(worker_pids); do kill -9 "$p" 2>/dev/null; done
	if [ "$tap_failed" != 0 ] && [ -s "$log" ]; then
		echo "# the daemon's log:"
		tail -n 30 "$log" | sed 's/^/# /'
	fi
	rm -rf "$top"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

until_ok() { # SECONDS COMMAND...
	until_n=$(($1 * 20))
	shift
	while [ "$until_n" -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.05
		until_n=$((until_n - 1))
	done
	return 1
}

serves() {
	[ -S "$sock" ] && [ "$(err daemon.ping)" = ok ]
}

# Workers end with _exit or a signal: what a sanitizer has to say stands only in the log.
finish() {
	if grep -q 'ThreadSanitizer\|AddressSanitizer\|LeakSanitizer\|runtime error:' "$log" 2>/dev/null; then
		not_ok "no sanitizer complains"
		grep -A 20 'Sanitizer\|runtime error:' "$log" | head -n 60 | sed 's/^/# /'
	fi
	echo "1..$tap_n"
	[ "$tap_failed" = 0 ]
	exit
}

start_hvd() {
	"$hvd" --runtime-dir "$run" --state-dir "$state" --foreground "$@" >>"$log" 2>&1 &
	hvd_pid=$!
	until_ok 20 serves || { echo "Bail out! hvd does not start"; sed 's/^/# /' "$log"; exit 1; }
}

stop_hvd() {
	kill -TERM "$hvd_pid"
	wait "$hvd_pid"
	stop_status=$?
	hvd_pid=
	return $stop_status
}

kill_hvd() {
	kill -9 "$hvd_pid"
	wait "$hvd_pid" 2>/dev/null
	hvd_pid=
}

rpc() {
	printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' "$1" "${2:-{\}}" |
		timeout 60 socat -t60 - "UNIX-CONNECT:$sock"
}

res() {
	rpc "$1" "${2:-{\}}" | jq -c "select(.id==1)|.result${3:-}"
}

err() {
	rpc "$1" "${2:-{\}}" | jq -r '.error.data.name // "ok"'
}

# A definition of the test guest: NAME [MORE-FIELDS]
config() {
	printf '{"config":{"name":"%s","memory":"16MiB","boot":{"kind":"flat","kernel":"%s"},"test_devices":["debug_exit"]%s}}' \
		"$1" "$guest" "${2:+,$2}"
}

state_of() {
	res domain.info "{\"domain\":\"$1\"}" '|.state+" "+.reason' | tr -d '"'
}

is() { # NAME GOT WANTED
	if [ "$2" = "$3" ]; then ok "$1"; else
		not_ok "$1"
		echo "#   got: $2"
		echo "#   not: $3"
	fi
}

is_state() { # NAME STATE REASON [SECONDS]
	until_ok "${4:-15}" sh_state "$1" "$2 $3"
	is "$1 is $2 ($3)" "$(state_of "$1")" "$2 $3"
}
sh_state() { [ "$(state_of "$1")" = "$2" ]; }

# Type TEXT into the console of DOMAIN and print what comes within a moment, or, within
# twenty seconds, up to UNTIL.
typed() { # DOMAIN TEXT [UNTIL]
	"$HVD_BUILDDIR/tests/integration/console" ${3:+-t 20000 -u "$3"} "$sock" "$1" "$2"
}

# Type TEXT, wait until the console of DOMAIN has shown more than before, print its last byte.
# A guest on a busy machine may take longer than the moment that typed() waits.
answer() { # DOMAIN TEXT
	answer_n=$(shown "$1")
	typed "$1" "$2" >/dev/null
	until_ok 20 shows_more "$1" "$answer_n"
	typed "$1" '' | tail -c 1
}
shown() { typed "$1" '' | wc -c; }
shows_more() { [ "$(shown "$1")" -gt "$2" ]; }
