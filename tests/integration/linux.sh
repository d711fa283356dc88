#!/bin/bash
# Debian's own kernel, unmodified, on our processor: it boots on each vendor, paging
# mode and number of vCPUs, does the work of a machine, and powers off.
. "$HVD_SRCDIR/tests/integration/lib.sh"
. "$HVD_SRCDIR/tests/guests/linux_guest.sh"

cache=$HVD_BUILDDIR/tests/guests
linux_guest_kernel "$cache" || plan_skip "$linux_guest_why"
gcc -O2 -static -o "$top/torture" "$HVD_SRCDIR/tests/guests/torture.c" -lm 2>"$top/gcc.log" ||
	plan_skip "a static test program cannot be linked: $(tail -n 1 "$top/gcc.log")"
kernel=$cache/vmlinuz-linux-image-cloud-amd64

cat >"$top/boot-init" <<'INIT'
echo "result: cpus $(grep -c ^processor /proc/cpuinfo)"
echo "result: trouble $(dmesg | grep -cE 'WARNING:|BUG:|Oops|Call Trace|unstable|soft lockup|rcu.*stall')"
dmesg | grep -E 'WARNING:|BUG:|Oops|unstable|soft lockup|rcu.*stall' | head -n 5
poweroff -f
INIT
cat >"$top/work-init" <<'INIT'
echo "mark 1 $(cut -d' ' -f1 /proc/uptime)"
i=0
while [ $i -lt 1000 ]; do /bin/busybox true || break; i=$((i + 1)); done
echo "result: execs $i"
seq 1 10000000 | head -c 33554432 >/tmp/data
echo "result: sha256 $(sha256sum </tmp/data | cut -d' ' -f1)"
echo "result: gzip $(gzip -1c </tmp/data | gunzip -c | sha256sum | cut -d' ' -f1)"
rm /tmp/data
torture fpu 3; echo "result: fpu $?"
torture memory 90; echo "result: memory $?"
sleep 1
echo "mark 2 $(cut -d' ' -f1 /proc/uptime)"
echo "result: trouble $(dmesg | grep -cE 'WARNING:|BUG:|Oops|Call Trace|unstable|soft lockup|rcu.*stall')"
echo "result: clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
poweroff -f
INIT
for kind in boot work; do
	linux_guest_initramfs "$top" "$top/$kind-init" "$top/$kind.img" "$top/torture" || plan_skip "$linux_guest_why"
done
chmod -R a+rX "$top"
start_hvd

define() { # NAME VENDOR PAGING VCPUS INITRD MEMORY
	err domain.define "$(printf '{"config":{"name":"%s","vcpus":%d,"memory":"%s","engine":{"vendor":"%s","paging":"%s"},"boot":{"kernel":"%s","initrd":"%s","cmdline":"console=ttyS0"}}}' \
		"$1" "$4" "$6" "$2" "$3" "$kernel" "$5")"
}

# Start it, keep its console with the host's time before each line, wait for its end.
boot() { # NAME SECONDS
	: >"$top/$1.console"
	[ "$(err domain.start "{\"domain\":\"$1\"}")" = ok ] || return 1
	timeout "$2" "$HVD_BUILDDIR/hvctl" -c "unix:$sock" console "$1" </dev/null 2>/dev/null |
		while IFS= read -r line; do printf '%(%s)T %s\n' -1 "${line%$'\r'}"; done >"$top/$1.console"
	until_ok 5 ended "$1"
}

ended() {
	[ "$(state_of "$1")" = "shutoff guest" ]
}

got() { # NAME KEY
	sed -n "s/^[0-9]* result: $2 //p" "$top/$1.console" | head -n 1
}

complain() { # NAME
	echo "# define: $(cat "$top/defined"), state: $(state_of "$1"); the end of its console:"
	tail -n 15 "$top/$1.console" | sed 's/^/# /'
	err domain.destroy "{\"domain\":\"$1\"}" >/dev/null
}

for vendor in vmx svm; do
	for paging in tdp shadow; do
		for vcpus in 1 2 4; do
			name=$vendor-$paging-$vcpus
			define "$name" $vendor $paging $vcpus "$top/boot.img" 192MiB >"$top/defined"
			if boot "$name" 120 && [ "$(got "$name" cpus)" = $vcpus ] && [ "$(got "$name" trouble)" = 0 ]; then
				ok "Linux on $vendor, $paging, $vcpus vCPUs: boots without a warning and powers off"
			else
				not_ok "Linux on $vendor, $paging, $vcpus vCPUs: boots without a warning and powers off"
				complain "$name"
			fi
		done
	done
done

# The data that the guest makes, made here.
want=$(seq 1 10000000 | head -c 33554432 | sha256sum | cut -d' ' -f1)
mark() { # NAME N: host seconds and guest seconds
	sed -n "s/^\([0-9]*\) mark $2 \(.*\)/\1 \2/p" "$top/$1.console" | head -n 1
}

for vendor in vmx svm; do
	name=work-$vendor
	define "$name" $vendor tdp 2 "$top/work.img" 256MiB >"$top/defined"
	boot "$name" 400 || complain "$name"
	is "$vendor: a thousand fork and exec" "$(got "$name" execs)" 1000
	is "$vendor: sha256 of 32 MiB" "$(got "$name" sha256)" "$want"
	is "$vendor: gzip and gunzip of 32 MiB" "$(got "$name" gzip)" "$want"
	is "$vendor: signals and FPU state of 8 processes" "$(got "$name" fpu)" 0
	is "$vendor: memory filled to 90 % and checked" "$(got "$name" memory)" 0
	is "$vendor: no warning afterwards" "$(got "$name" trouble)" 0
	# Host time is taken in whole seconds, so a second of error is allowed beside the 1 %.
	drift=$(echo "$(mark "$name" 1) $(mark "$name" 2)" | awk 'NF == 4 {
		h = $3 - $1; g = $4 - $2; d = h - g; if (d < 0) d = -d
		print (d <= 1 + h / 100) ? "ok" : "host " h " s, guest " g " s" }')
	is "$vendor: the guest's clock advances as the host's" "$drift" ok
	echo "# $vendor: $(got "$name" clocksource); marks $(mark "$name" 1), $(mark "$name" 2)"
done
finish
