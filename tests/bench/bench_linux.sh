#!/bin/bash
# The speed of a Linux guest with one vCPU: Debian's cloud kernel boots and works under
# hvd on VMX and on SVM, the same kernel and initramfs under QEMU's TCG, and the same
# programs on the host itself. Every figure is of this run; the ratios are what counts.
# BENCH_LINUX="vmx" names the vendors; BENCH_LINUX_LIMIT (100) the seconds that a guest gets.
HVD_SRCDIR=${HVD_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
HVD_BUILDDIR=${HVD_BUILDDIR:-$PWD}
export HVD_SRCDIR HVD_BUILDDIR
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"
linux_kernel
limit=${BENCH_LINUX_LIMIT:-100}
gcc -O2 -static -o "$top/bench_linux_work" "$HVD_SRCDIR/tests/bench/bench_linux_work.c" 2>"$top/gcc.log" ||
	plan_skip "a static program cannot be linked: $(tail -n 1 "$top/gcc.log")"

# The same lines in a guest and on the host. Sizes are such that a guest takes some ten seconds.
work='
b() { bench_linux_work "$@"; }
loop="i=0; while [ \$i -lt 20000 ]; do i=\$((i + 1)); done"
b run shell 20000 busybox sh -c "$loop"
head -c 8388608 /dev/zero | busybox tr "\0" x >$tmp/data
b run sha256 8 busybox sha256sum $tmp/data
b run gzip 8 busybox gzip -1 -c $tmp/data
b spawn 200
b calls 100000
b faults 32768
'
{
	# Kernel messages may come between, on their own lines.
	echo 'echo; echo "bench: boot"; tmp=/tmp'
	echo "$work"
	echo 'echo "bench: end"; poweroff -f'
} >"$top/bench-init"
linux_image bench "$top/bench_linux_work"
args="console=ttyS0 quiet cryptomgr.notests panic=-1"

now_ns() { date +%s%N; }

# Lines "bench: NAME VALUE" from stdin, boot with its time since START, to $top/WHO.
collect() { # WHO START
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		*"bench: boot") echo "boot $(($(now_ns) - $2))" ;;
		*"bench: end") echo "end 0" ;;
		*"bench: "*) echo "${line##*bench: }" ;;
		esac
	done >"$top/$1"
}

under_hvd() { # VENDOR
	err domain.create "$(printf '{"paused":true,"config":{"name":"%s","memory":"256MiB","engine":{"vendor":"%s"},"on_reboot":"destroy","boot":{"kernel":"%s","initrd":"%s","cmdline":"%s"}}}' \
		"$1" "$1" "$kernel" "$top/bench.img" "$args")" >/dev/null
	mkfifo "$top/$1.keys"
	exec 7<>"$top/$1.keys"
	start=$(now_ns)
	timeout "$limit" "$HVD_BUILDDIR/hvctl" -c "unix:$sock" console "$1" <&7 2>/dev/null | collect "$1" "$start" &
	reader=$!
	err domain.resume "{\"domain\":\"$1\"}" >/dev/null
	wait $reader
	err domain.destroy "{\"domain\":\"$1\"}" >/dev/null
}

under_qemu() {
	start=$(now_ns)
	timeout "$limit" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 1 -m 256 -nodefaults -no-reboot \
		-display none -serial stdio -kernel "$kernel" -initrd "$top/bench.img" \
		-append "$args" </dev/null 2>"$top/qemu.log" | collect qemu "$start"
}

on_host() {
	mkdir "$top/bin"
	cp "$(command -v busybox)" "$top/bin/busybox"
	(tmp=$top PATH=$top:$top/bin:$PATH sh -c "tmp=$top; $work") | collect host 0
}

figure() { # WHO NAME
	sed -n "s/^$2 //p" "$top/$1" 2>/dev/null | head -n 1
}

ratio() { # A B
	awk -v a="$1" -v b="$2" 'BEGIN { if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-" }'
}

show() { # NAME WHAT DIVISOR UNIT
	printf '%-44s' "$2 ($4)"
	for who in $guests; do
		v=$(figure "$who" "$1")
		printf ' %10s' "$(awk -v v="$v" -v d="$3" 'BEGIN { if (v > 0) printf "%.2f", v / d; else printf "-" }')"
	done
	for who in $vendors; do
		printf '  %7s %7s' "$(ratio "$(figure "$who" "$1")" "$(figure qemu "$1")")" \
			"$(ratio "$(figure "$who" "$1")" "$(figure host "$1")")"
	done
	echo
}

vendors=${BENCH_LINUX:-vmx svm}
start_hvd
for vendor in $vendors; do under_hvd "$vendor"; done
if command -v qemu-system-x86_64 >/dev/null; then
	under_qemu
else
	echo "qemu-system-x86_64 is not installed: nothing to compare a guest with"
fi
on_host
guests="$vendors qemu host"

echo "Linux guest, 1 vCPU, load $(cut -d' ' -f1 /proc/loadavg)"
printf '%-44s' ""
for who in $guests; do printf ' %10s' "$who"; done
for who in $vendors; do printf '  %7s %7s' "$who/q" "$who/h"; done
echo
show boot "kernel start to first userspace line" 1000000000 s
show shell "shell loop, a round" 1000 us
show sha256 "sha256, a MiB" 1000000 ms
show gzip "gzip -1, a MiB" 1000000 ms
show spawn "fork, exec and exit" 1000 us
show calls "one-byte read or write" 1 ns
show faults "page fault, map and unmap" 1 ns
for who in $vendors; do
	grep -q '^end' "$top/$who" || echo "$who: did not come to its end within $limit s"
done
exit 0
