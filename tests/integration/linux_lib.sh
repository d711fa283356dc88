# Sourced by the tests that run Debian's own kernel: a private hvd, the kernel, and
# linux_image KIND SCRIPT, which leaves $top/KIND.img.
. "$HVD_SRCDIR/tests/integration/lib.sh"
. "$HVD_SRCDIR/tests/guests/linux_guest.sh"

cache=$HVD_BUILDDIR/tests/guests
linux_guest_kernel "$cache" || plan_skip "$linux_guest_why"
gcc -O2 -static -o "$top/torture" "$HVD_SRCDIR/tests/guests/torture.c" -lm 2>"$top/gcc.log" ||
	plan_skip "a static test program cannot be linked: $(tail -n 1 "$top/gcc.log")"
kernel=$cache/vmlinuz-linux-image-cloud-amd64

linux_image() { # KIND: around $top/KIND-init
	linux_guest_initramfs "$top" "$top/$1-init" "$top/$1.img" "$top/torture" || plan_skip "$linux_guest_why"
	chmod -R a+rX "$top"
}

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
