# Sourced by the tests that run Debian's own kernels: a private hvd, the kernel, and
#
#	linux_kernel [PACKAGE]	leaves $kernel and $modules, or ends the test as skipped
#	linux_program PACKAGE	leaves $program, arguments for linux_image
#	linux_image KIND	around the script $top/KIND-init, leaves $top/KIND.img
#	define NAME VENDOR PAGING VCPUS KIND MEMORY [CMDLINE] [MORE-FIELDS]
#	boot NAME [SECONDS]	start it and wait for its end, its console in $top/NAME.console
#	begin NAME, say NAME TEXT, heard NAME N TEXT	a conversation with one that waits
#
# LINUX_LIMIT is how many seconds a guest gets to boot and answer, on the wall: it guards against
# a hang and nothing else, so it is what a machine needs that has ten times too much to do.
. "$HVD_SRCDIR/tests/integration/lib.sh"
. "$HVD_SRCDIR/tests/guests/linux_guest.sh"

linux_limit=${LINUX_LIMIT:-900}
cache=$HVD_BUILDDIR/tests/guests
mkdir -p "$cache"
exec 8>"$cache/lock"

linux_kernel() { # [PACKAGE]
	flock 8
	linux_guest_kernel "$cache" "${1:-linux-image-cloud-amd64}" || plan_skip "$linux_guest_why"
	lk=${1:-linux-image-cloud-amd64}
	case $lk in
	*:*) linux_guest_busybox "$cache" "${lk#*:}" || plan_skip "$linux_guest_why" ;;
	*) linux_guest_busybox= ;;
	esac
	flock -u 8
	lk=${lk%%:*}
	kernel=$cache/vmlinuz-$lk
	modules=$cache/modules-$lk
}

# Leaves in $program PACKAGE's program for an initramfs; empty when it cannot be had.
linux_program() { # PACKAGE
	flock 8
	program=
	linux_guest_program "$cache" "$1" && program=$linux_guest_program
	flock -u 8
}

linux_torture() {
	gcc -O2 -static -o "$top/torture" "$HVD_SRCDIR/tests/guests/torture.c" -lm 2>"$top/gcc.log" ||
		plan_skip "a static test program cannot be linked: $(tail -n 1 "$top/gcc.log")"
}

# What every init does at its end, for lines that no healthy kernel prints.
trouble='WARNING:|BUG:|Oops|Call Trace|unstable|[Ll]ockup|rcu.*stall|unexpected|invalid opcode|general protection'
linux_image() { # KIND [PROGRAM...]
	li=$1
	shift
	{ printf 'trouble=%s\n' "'$trouble'"; cat "$top/$li-init"; } >"$top/$li-init.sh"
	linux_guest_initramfs "$top" "$top/$li-init.sh" "$top/$li.img" "$@" || plan_skip "$linux_guest_why"
	chmod -R a+rX "$top"
}

define() { # NAME VENDOR PAGING VCPUS KIND MEMORY [CMDLINE] [MORE-FIELDS]
	err domain.define "$(printf '{"config":{"name":"%s","vcpus":%d,"memory":"%s","engine":{"vendor":"%s","paging":"%s"},"boot":{"kernel":"%s","initrd":"%s","cmdline":"%s"}%s}}' \
		"$1" "$4" "$6" "$2" "$3" "$kernel" "$top/$5.img" "console=ttyS0${7:+ $7}" "${8:+,$8}")" >"$top/$1.defined"
}

# Start it with its console in $top/NAME.console, the host's time before each line.
begin() { # NAME
	rm -f "$top/$1.keys"
	mkfifo "$top/$1.keys"
	: >"$top/$1.console"
	[ "$(err domain.start "{\"domain\":\"$1\"}")" = ok ] || return 1
	# Open for reading as well, so that nobody waits for the other end.
	exec 7<>"$top/$1.keys"
	"$HVD_BUILDDIR/hvctl" -c "unix:$sock" console "$1" <&7 2>/dev/null |
		while IFS= read -r line; do printf '%(%s)T %s\n' -1 "${line%$'\r'}"; done >"$top/$1.console" &
}

say() { # NAME TEXT
	printf '%s\n' "$2" >"$top/$1.keys"
}

# True when TEXT has come N times.
heard() { # NAME N TEXT
	until_ok "$linux_limit" enough "$1" "$2" "$3"
}
enough() { # NAME N TEXT
	[ "$(grep -c -- "$3" "$top/$1.console")" -ge "$2" ]
}

boot() { # NAME [SECONDS]
	begin "$1" || return 1
	boot_limit=${2:-$linux_limit}
	# One call that waits: asking again and again would take the guest's time from it.
	wait_params="{\"domain\":\"$1\",\"state\":\"shutoff\",\"timeout_ms\":$((boot_limit * 1000))}"
	printf '{"jsonrpc":"2.0","id":1,"method":"domain.wait","params":%s}\n' "$wait_params" |
		timeout $((boot_limit + 5)) socat -t$((boot_limit + 5)) - "UNIX-CONNECT:$sock" >/dev/null
	[ "$(state_of "$1")" = "shutoff guest" ]
}

got() { # NAME KEY
	sed -n "s/^[0-9]* result: $2 //p" "$top/$1.console" | head -n 1
}

complain() { # NAME
	echo "# define: $(cat "$top/$1.defined"), state: $(state_of "$1"); the end of its console:"
	tail -n 25 "$top/$1.console" | sed 's/^/# /'
	err domain.destroy "{\"domain\":\"$1\"}" >/dev/null
}

# A guest that boots to its script, says how it is, and powers off. KIND: see boots_image.
boots() { # WHAT KIND VENDOR PAGING VCPUS MEMORY
	b=$2-$3-$4-$5
	# A panic is a reset at once, and a reset is the end.
	define "$b" "$3" "$4" "$5" "$2" "$6" "panic=-1" '"on_reboot":"destroy"'
	if boot "$b" && [ "$(got "$b" cpus)" = "$5" ] && [ "$(got "$b" trouble)" = 0 ]; then
		ok "$1 on $3, $4, $5 vCPUs: boots without a warning and powers off"
		echo "# first userspace line after $(got "$b" uptime) s of its own time"
	else
		not_ok "$1 on $3, $4, $5 vCPUs: boots without a warning and powers off"
		complain "$b"
	fi
	err domain.undefine "{\"domain\":\"$b\"}" >/dev/null
}

boots_image() { # KIND
	cat >"$top/$1-init" <<'INIT'
echo "result: uptime $(cut -d' ' -f1 /proc/uptime)"
echo "result: cpus $(grep -c ^processor /proc/cpuinfo)"
echo "result: trouble $(dmesg | grep -cE "$trouble")"
dmesg | grep -E "$trouble" | head -n 5
poweroff -f
INIT
	linux_image "$1"
}
