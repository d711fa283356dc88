# A Linux guest from Debian's packages: sourced by quickstart and by tests.
#
#   linux_guest_kernel DIR [PACKAGE]   leaves DIR/vmlinuz-PACKAGE and DIR/modules-PACKAGE
#   linux_guest_initramfs DIR INIT [OUT [PROGRAM...]]
#					leaves OUT (DIR/initramfs.img) around the script INIT,
#					with static programs in /bin
#
# PACKAGE is a metapackage (linux-image-cloud-amd64, linux-image-amd64, or
# linux-image-686 with the foreign architecture enabled). Nothing is installed:
# the packages are downloaded by apt and unpacked. A failure returns 1 with the
# reason in $linux_guest_why.

linux_guest_why=

linux_guest_kernel() {
	lg_dir=$1
	lg_meta=${2:-linux-image-cloud-amd64}
	[ -s "$lg_dir/vmlinuz-$lg_meta" ] && return 0
	mkdir -p "$lg_dir/deb"
	lg_pkg=$(apt-cache depends "$lg_meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
	if [ -z "$lg_pkg" ]; then
		linux_guest_why="apt knows no package $lg_meta (is there a network, was apt-get update run?)"
		return 1
	fi
	# apt drops to a user of its own, which has to reach the folder.
	if ! (cd "$lg_dir/deb" && apt-get -q -o APT::Sandbox::User=root download "$lg_pkg" >../download.log 2>&1); then
		linux_guest_why="apt could not download $lg_pkg: $(tail -n 1 "$lg_dir/download.log")"
		return 1
	fi
	lg_deb=$(find "$lg_dir/deb" -name "$(echo "$lg_pkg" | cut -d: -f1)_*.deb" | head -n 1)
	lg_root=$lg_dir/root-$lg_meta
	rm -rf "$lg_root"
	mkdir -p "$lg_root"
	if ! dpkg-deb -x "$lg_deb" "$lg_root" 2>"$lg_dir/unpack.log"; then
		linux_guest_why="cannot unpack $lg_deb"
		return 1
	fi
	rm -f "$lg_deb"
	cp "$lg_root"/boot/vmlinuz-* "$lg_dir/vmlinuz-$lg_meta"
}

# A BusyBox userspace with the given script as /init's last step.
linux_guest_initramfs() {
	lg_dir=$1
	lg_init=$2
	lg_out=${3:-$lg_dir/initramfs.img}
	shift $(($# < 3 ? $# : 3))
	lg_busybox=$(command -v busybox || true)
	if [ -z "$lg_busybox" ] || ldd "$lg_busybox" >/dev/null 2>&1; then
		linux_guest_why="a statically linked busybox is needed (Debian package busybox-static)"
		return 1
	fi
	if ! command -v cpio >/dev/null; then
		linux_guest_why="cpio is needed"
		return 1
	fi
	lg_tree=$lg_dir/initramfs.$$
	rm -rf "$lg_tree"
	mkdir -p "$lg_tree/bin" "$lg_tree/proc" "$lg_tree/sys" "$lg_tree/dev" "$lg_tree/tmp" "$lg_tree/etc" "$lg_tree/root"
	cp "$lg_busybox" "$lg_tree/bin/busybox"
	for lg_applet in $("$lg_busybox" --list); do
		[ "$lg_applet" = busybox ] || ln -s busybox "$lg_tree/bin/$lg_applet"
	done
	for lg_program in "$@"; do
		cp "$lg_program" "$lg_tree/bin/"
	done
	cat >"$lg_tree/init" <<'INIT'
#!/bin/sh
export PATH=/bin HOME=/root TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
exec </dev/ttyS0 >/dev/ttyS0 2>&1
. /etc/guest-init
INIT
	cp "$lg_init" "$lg_tree/etc/guest-init"
	chmod 755 "$lg_tree/init"
	(cd "$lg_tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 2>/dev/null | gzip -1) >"$lg_out"
	rm -rf "$lg_tree"
}
