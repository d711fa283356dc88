# A Linux guest from Debian's packages: sourced by quickstart and by tests.
#
#   linux_guest_kernel DIR [PACKAGE]   leaves DIR/vmlinuz-PACKAGE, and in DIR/modules-PACKAGE
#					the drivers of virtio and pvpanic, in one folder
#   linux_guest_busybox DIR ARCH       the userspace of the next initramfs is of this architecture
#   linux_guest_program DIR PACKAGE    leaves DIR/PACKAGE, the program of that name, and in
#					$linux_guest_program it and the libraries that it needs
#   linux_guest_initramfs DIR INIT [OUT [PROGRAM...]]
#					leaves OUT (DIR/initramfs.img) around the script INIT,
#					with static programs in /bin and drivers (*.ko) in /lib
#
# PACKAGE is a metapackage: linux-image-cloud-amd64, linux-image-amd64, or
# linux-image-686:i386, which makes DIR/vmlinuz-linux-image-686. Nothing is installed:
# the packages are downloaded by apt and unpacked; for an architecture that is not the
# system's, from lists in DIR. A failure returns 1 with the reason in $linux_guest_why.

linux_guest_why=
linux_guest_busybox=

# apt-get or apt-cache, for $lg_arch. apt drops to a user of its own, which has to reach the folder.
lg_apt() {
	lg_tool=$1
	shift
	if [ -n "$lg_arch" ]; then
		set -- -o "APT::Architecture=$lg_arch" -o "APT::Architectures::=$lg_arch" \
			-o "Dir::State=$lg_dir/apt/state" -o "Dir::State::status=/dev/null" \
			-o "Dir::Cache=$lg_dir/apt/cache" "$@"
	fi
	"$lg_tool" -q -o APT::Sandbox::User=root "$@"
}

# lg_download PACKAGE: leaves $lg_deb. PACKAGE has no architecture.
lg_download() {
	mkdir -p "$lg_dir/deb"
	if [ -n "$lg_arch" ] && [ ! -e "$lg_dir/apt/updated" ]; then
		mkdir -p "$lg_dir/apt/state/lists/partial" "$lg_dir/apt/cache/archives/partial"
		# Some other source may fail; what counts is whether the package is found.
		lg_apt apt-get update >"$lg_dir/download.log" 2>&1 || true
		: >"$lg_dir/apt/updated"
	fi
	lg_pkg=$1
	case $lg_pkg in
	linux-image-*)
		lg_pkg=$(lg_apt apt-cache depends "$1" 2>/dev/null |
			sed -n 's/^ *Depends: \(linux-image-[^ :]*\).*/\1/p' | head -n 1)
		;;
	esac
	if [ -z "$lg_pkg" ]; then
		linux_guest_why="apt knows no package $1${lg_arch:+ of $lg_arch} (is there a network, was apt-get update run?)"
		[ -z "$lg_arch" ] || rm -f "$lg_dir/apt/updated"
		return 1
	fi
	if ! (cd "$lg_dir/deb" && lg_apt apt-get download "$lg_pkg" >../download.log 2>&1); then
		linux_guest_why="apt could not download $lg_pkg: $(tail -n 1 "$lg_dir/download.log")"
		return 1
	fi
	lg_deb=$(find "$lg_dir/deb" -name "${lg_pkg}_*.deb" | head -n 1)
}

lg_program_of() { # PATTERN FILE: the program of $lg_deb
	if ! dpkg-deb --fsys-tarfile "$lg_deb" | tar -x -O --wildcards "$1" >"$2.new"; then
		linux_guest_why="cannot unpack $lg_deb"
		return 1
	fi
	rm -f "$lg_deb"
	chmod 755 "$2.new"
	mv "$2.new" "$2"
}

lg_foreign() { # ARCH: what lg_arch has to be
	if [ -z "$1" ] || [ "$1" = "$(dpkg --print-architecture 2>/dev/null)" ]; then echo; else echo "$1"; fi
}

linux_guest_kernel() {
	lg_dir=$1
	lg_meta=${2:-linux-image-cloud-amd64}
	lg_arch=
	case $lg_meta in
	*:*) lg_arch=$(lg_foreign "${lg_meta#*:}") ;;
	esac
	lg_meta=${lg_meta%%:*}
	[ -s "$lg_dir/vmlinuz-$lg_meta" ] && [ -d "$lg_dir/modules-$lg_meta" ] && return 0
	lg_download "$lg_meta" || return 1
	lg_root=$lg_dir/root-$lg_meta
	rm -rf "$lg_root" "$lg_dir/modules-$lg_meta"
	mkdir -p "$lg_root"
	if ! dpkg-deb --fsys-tarfile "$lg_deb" 2>"$lg_dir/unpack.log" |
		tar -x -C "$lg_root" --wildcards './boot/vmlinuz-*' '*pvpanic*.ko' '*virtio*.ko' 2>>"$lg_dir/unpack.log"; then
		linux_guest_why="cannot unpack $lg_deb: $(tail -n 1 "$lg_dir/unpack.log")"
		return 1
	fi
	rm -f "$lg_deb"
	mkdir "$lg_root/modules"
	find "$lg_root/lib" -name '*.ko' -exec mv {} "$lg_root/modules/" ';'
	if ! mv "$lg_root"/boot/vmlinuz-* "$lg_dir/vmlinuz-$lg_meta" 2>>"$lg_dir/unpack.log"; then
		linux_guest_why="no kernel is in $lg_pkg"
		return 1
	fi
	mv "$lg_root/modules" "$lg_dir/modules-$lg_meta"
	rm -rf "$lg_root"
}

linux_guest_busybox() {
	lg_dir=$1
	lg_arch=$(lg_foreign "$2")
	linux_guest_busybox=
	[ -n "$lg_arch" ] || return 0
	if [ ! -s "$lg_dir/busybox-$2" ]; then
		lg_download busybox-static || return 1
		lg_program_of '*bin/busybox' "$lg_dir/busybox-$2" || return 1
	fi
	linux_guest_busybox=$lg_dir/busybox-$2
}

# In the guest: /bin/ld-linux-x86-64.so.2 --library-path /bin /bin/PACKAGE
linux_guest_program() {
	lg_dir=$1
	lg_arch=
	linux_guest_program=
	if [ ! -s "$lg_dir/$2" ]; then
		lg_download "$2" || return 1
		lg_program_of "./*bin/$2" "$lg_dir/$2" || return 1
	fi
	lg_libs=$(ldd "$lg_dir/$2" 2>/dev/null | grep -o '/[^ ]*')
	linux_guest_program="$lg_dir/$2 $lg_libs"
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
	mkdir -p "$lg_tree/bin" "$lg_tree/lib" "$lg_tree/proc" "$lg_tree/sys" "$lg_tree/dev" "$lg_tree/tmp" \
		"$lg_tree/etc" "$lg_tree/root"
	cp "${linux_guest_busybox:-$lg_busybox}" "$lg_tree/bin/busybox"
	for lg_applet in $("$lg_busybox" --list); do
		[ "$lg_applet" = busybox ] || ln -s busybox "$lg_tree/bin/$lg_applet"
	done
	for lg_program in "$@"; do
		case $lg_program in
		*.ko) cp "$lg_program" "$lg_tree/lib/" ;;
		*) cp "$lg_program" "$lg_tree/bin/" ;;
		esac
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
