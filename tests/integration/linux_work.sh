#!/bin/bash
# A Linux guest does the work of a machine: processes, hashes, compression, signals
# and FPU state, memory, its clock. Minutes long: "make check-long" runs it.
# LINUX_WORK="vmx 2" names a part of it; each guest gets eight times LINUX_LIMIT (900 s).
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"
linux_kernel
linux_torture

cat >"$top/work-init" <<'INIT'
echo "result: cpus $(grep -c ^processor /proc/cpuinfo)"
now() { cut -d' ' -f1 /proc/uptime; }
echo "mark 1 $(cut -d' ' -f1 /proc/uptime)"
i=0
while [ $i -lt 1000 ]; do /bin/busybox true || break; i=$((i + 1)); done
echo "result: execs $i"; echo "time: execs $(now)"
seq 1 100000 >/tmp/part
i=0
while [ $i -lt 57 ]; do cat /tmp/part; i=$((i + 1)); done | head -c 33554432 >/tmp/data
echo "result: sha256 $(sha256sum </tmp/data | cut -d' ' -f1)"
echo "time: sha256 $(now)"
echo "result: gzip $(gzip -1c </tmp/data | gunzip -c | sha256sum | cut -d' ' -f1)"
echo "time: gzip $(now)"
rm /tmp/data /tmp/part
torture fpu 3; echo "result: fpu $?"; echo "time: fpu $(now)"
torture memory 90; echo "result: memory $?"; echo "time: memory $(now)"
sleep 1
echo "mark 2 $(cut -d' ' -f1 /proc/uptime)"
echo "result: trouble $(dmesg | grep -cE "$trouble")"
dmesg | grep -E "$trouble" | head -n 5
echo "result: clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
poweroff -f
INIT
linux_image work "$top/torture"
start_hvd

# The data that the guest makes, made here.
seq 1 100000 >"$top/part"
want=$(for i in $(seq 57); do cat "$top/part"; done | head -c 33554432 | sha256sum | cut -d' ' -f1)
mark() { # NAME N: host seconds and guest seconds
	sed -n "s/^\([0-9]*\) mark $2 \(.*\)/\1 \2/p" "$top/$1.console" | head -n 1
}

work() { # VENDOR VCPUS
	name=work-$1-$2
	what="$1, $2 vCPUs"
	define "$name" "$1" tdp "$2" work 256MiB "panic=-1" '"on_reboot":"destroy"'
	boot "$name" $((8 * linux_limit)) || complain "$name"
	is "$what: a thousand fork and exec" "$(got "$name" execs)" 1000
	is "$what: sha256 of 32 MiB" "$(got "$name" sha256)" "$want"
	is "$what: gzip and gunzip of 32 MiB" "$(got "$name" gzip)" "$want"
	is "$what: signals and FPU state of 8 processes" "$(got "$name" fpu)" 0
	is "$what: memory filled to 90 % and checked" "$(got "$name" memory)" 0
	is "$what: no warning afterwards" "$(got "$name" trouble)" 0
	is "$what: processors" "$(got "$name" cpus)" "$2"
	# Host time is taken in whole seconds, so a second of error is allowed beside the 1 %.
	drift=$(echo "$(mark "$name" 1) $(mark "$name" 2)" | awk 'NF == 4 {
		h = $3 - $1; g = $4 - $2; d = h - g; if (d < 0) d = -d
		print (d <= 1 + h / 100) ? "ok" : "host " h " s, guest " g " s" }')
	is "$what: the guest's clock advances as the host's" "$drift" ok
	sed -n "s/^[0-9]* time: /# at second /p" "$top/$name.console" | tr '\n' ' '
	echo
	echo "# $what: $(got "$name" clocksource); marks $(mark "$name" 1), $(mark "$name" 2)"
}

for vendor in vmx svm; do
	for vcpus in 1 2 4; do
		case "${LINUX_WORK:-$vendor $vcpus}" in
		"$vendor" | "$vcpus" | "$vendor $vcpus") work $vendor $vcpus ;;
		esac
	done
done
finish
