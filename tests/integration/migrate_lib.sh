# Sourced by the tests of migration: several daemons on one host, and guests to move.
#
#	start_daemon NAME [OPTION...]	and makes it the one that rpc, res and err speak to
#	use NAME			the same for one that runs
#	uri NAME			how others reach it
#	guest_file CPUS PAGES DOT EVERY	a copy of the memory guest that runs until told: $memguest
#	guest_config NAME CPUS [MORE]	a definition of it
#	guest_finish NAME		tell it to end; it checks everything once more
#	move NAME TO [MORE]		migrate and wait: the job, ended
. "$HVD_SRCDIR/tests/integration/lib.sh"

daemons=
memguest=$top/memory_guest.elf
memelf=$HVD_BUILDDIR/tests/guests/memory_guest.elf
command -v nm >/dev/null || plan_skip "nm is not installed"

use() {
	run=$top/$1/run state=$top/$1/state sock=$top/$1/run/hvd.sock
	eval "hvd_pid=\${pid_$1:-}"
}

start_daemon() { # NAME [OPTION...]
	mkdir -p "$top/$1"
	use "$1"
	name=$1
	shift
	PATH=$top/bin:$PATH start_hvd "$@"
	eval "pid_$name=$hvd_pid"
	case " $daemons " in *" $name "*) ;; *) daemons="$daemons $name" ;; esac
}

kill_daemon() { # NAME
	use "$1"
	kill_hvd
	eval "pid_$1="
}

worker_pids() {
	cat "$top"/*/run/workers/*.json 2>/dev/null | jq -r .pid 2>/dev/null
}

cleanup() {
	status=$?
	trap - EXIT
	for d in $daemons; do
		eval "p=\${pid_$d:-}"
		[ -z "$p" ] || kill -9 "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	for p in $(worker_pids); do kill -9 "$p" 2>/dev/null; done
	if [ "$tap_failed" != 0 ] && [ -s "$log" ]; then
		echo "# the daemons' log:"
		tail -n 60 "$log" | sed 's/^/# /'
	fi
	rm -rf "$top"
	exit $status
}

# What a daemon runs for ssh://NAME is the proxy to the daemon of that name.
mkdir "$top/bin"
cat >"$top/bin/ssh" <<END
#!/bin/sh
echo "\$@" >"$top/ssh-args"
while [ "\$1" != -- ]; do shift; done
exec "$HVD_BUILDDIR/hvctl" proxy "$top/\$2/run/hvd.sock"
END
chmod +x "$top/bin/ssh"

uri() { echo "unix:$top/$1/run/hvd.sock"; }

le32() { # NUMBER...: little-endian
	for v in "$@"; do
		# shellcheck disable=SC2059 # the format is the data
		printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((v & 255)) $((v >> 8 & 255)) \
			$((v >> 16 & 255)) $((v >> 24 & 255)))"
	done
}

# The parameters stand behind their name: cpus, pages, rounds, dot, write_every.
params_gpa=$((0x$(nm "$memelf" | awk '$3 == "params" { print $1 }') + 8))
guest_file() { # CPUS PAGES DOT EVERY
	cp "$memelf" "$memguest"
	le32 "$1" "$2" 2000000000 "$3" "$4" |
		dd of="$memguest" bs=1 conv=notrunc 2>/dev/null \
			seek=$(($(grep -abo MEMGUEST "$memelf" | head -n 1 | cut -d: -f1) + 8))
}

guest_config() { # NAME CPUS [MORE-FIELDS]
	printf '{"config":{"name":"%s","vcpus":%d,"memory":"32MiB","boot":{"kind":"multiboot","kernel":"%s"},"test_devices":["debug_exit"]%s}}' \
		"$1" "$2" "$memguest" "${3:+,$3}"
}

guest_finish() { # NAME
	res memory.write "{\"domain\":\"$1\",\"gpa\":$((params_gpa + 8)),\"data\":\"$(le32 1 | base64)\"}" >/dev/null
}

job_ended() { [ "$(res job.info "{\"id\":$1}" .status)" != '"running"' ]; }
wait_job() { until_ok "${2:-60}" job_ended "$1"; }

# The answer of domain.migrate.
migrate() { # NAME TO [MORE]
	rpc domain.migrate "{\"domain\":\"$1\",\"uri\":\"$2\"${3:+,$3}}"
}

move() { # NAME TO [MORE]
	move_answer=$(migrate "$1" "$2" "${3:-}")
	move_job=$(echo "$move_answer" | jq .result.job)
	if [ "$move_job" = null ]; then
		echo "$move_answer" | jq -c .error
		return
	fi
	wait_job "$move_job"
	res job.info "{\"id\":$move_job}"
}
# Of a job or an error: what became of it.
outcome() { jq -r '(.status // "refused") + (if .error then " " + .error.data.name elif .data then " " + .data.name else "" end)'; }
