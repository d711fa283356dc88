# Shared by quickstart and quicktest: packages, build, and the count of results.
# Sourced by a POSIX shell whose working directory is the top of the tree.

total_pass=0
total_fail=0
total_skip=0
suite_trees=

step() {
	printf '\n==> %s\n' "$*"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Each set of packages on one line; doc/dependencies.md says why each is there.
PACKAGES_build="gcc make autoconf automake libtool libltdl-dev pkg-config libc6-dev binutils
	libjansson-dev libevent-dev liburcu-dev libseccomp-dev libsystemd-dev libzydis-dev libzstd-dev"
PACKAGES_run="busybox-static cpio jq socat"
PACKAGES_test="libcmocka-dev jq socat mandoc systemd spin busybox-static cpio zstd procps acpica-tools"

# install_packages SET...: only what is missing, so that a prepared machine needs no network.
install_packages() {
	[ -z "${HVD_NO_INSTALL:-}" ] || return 0
	want=
	for set in "$@"; do
		eval "want=\"\$want \$PACKAGES_$set\""
	done
	need=
	for p in $want; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || need="$need $p"
	done
	if [ -z "$need" ]; then
		echo "nothing to install"
		return 0
	fi
	echo "installing:$need"
	if ! { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -q install -y --no-install-recommends $need; } >setup-packages.log 2>&1; then
		tail -n 20 setup-packages.log >&2
		echo "could not install packages; the whole output is in setup-packages.log" >&2
		exit 1
	fi
	rm -f setup-packages.log
}

cpu_count() {
	getconf _NPROCESSORS_ONLN
}

# build_tree DIR CONFIGURE-OPTION...
build_tree() {
	tree=$1
	shift
	[ -x configure ] || autoreconf -fi >setup-autoreconf.log 2>&1 || {
		tail -n 20 setup-autoreconf.log >&2
		exit 1
	}
	rm -f setup-autoreconf.log
	mkdir -p "$tree"
	if ! (cd "$tree" && { [ -e Makefile ] || ../configure "$@"; } && make -j"$(cpu_count)") >"$tree.log" 2>&1; then
		tail -n 30 "$tree.log" >&2
		echo "the build failed; its whole output is in $tree.log" >&2
		exit 1
	fi
	echo "built in $tree"
}

# run_suite DIR TARGET: runs the tests and adds to the totals.
run_suite() {
	suite_status=0
	suite_trees="$suite_trees $1"
	# Built side by side, run one after the other: two daemons at a time would give
	# their workers the same uids, whose threads are counted together.
	make -C "$1" -j"$(cpu_count)" check TESTS= >"$1/suite-build.log" 2>&1 || true
	make -C "$1" -j1 "$2" >"$1/suite.log" 2>&1 || suite_status=1
	grep -E '^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR):' "$1/suite.log" | grep -v '^PASS' || true
	set -- "$1" $(count_results "$1/suite.log")
	echo "$1: $2 passed, $3 failed, $4 skipped"
	if [ "$2" = 0 ]; then
		echo "$1: no test ran; the end of its log:" >&2
		tail -n 30 "$1/suite.log" >&2
		suite_status=1
		total_fail=$((total_fail + 1))
	fi
	total_pass=$((total_pass + $2))
	total_fail=$((total_fail + $3))
	total_skip=$((total_skip + $4))
	if [ "$suite_status" = 1 ] && [ "$3" = 0 ] && [ "$2" != 0 ]; then
		echo "$1: make failed although no test did; the end of its log:" >&2
		tail -n 30 "$1/suite.log" >&2
		total_fail=$((total_fail + 1))
	fi
	return "$suite_status"
}

# The driver prints one line for each result of each test program.
count_results() {
	awk '/^(PASS|XFAIL): /{p++} /^(FAIL|XPASS|ERROR): /{f++} /^SKIP: /{s++}
		END{printf "%d %d %d\n", p, f, s}' "$1"
}

print_failures() {
	for tree in $suite_trees; do
		grep -lE '^:(test-result: (FAIL|ERROR|XPASS))' $(find "$tree/tests" -name '*.trs') /dev/null 2>/dev/null |
		while read -r trs; do
			printf '\n--- %s\n' "${trs%.trs}.log"
			tail -n 60 "${trs%.trs}.log"
		done
	done
}

print_totals() {
	printf '%d passed, %d failed, %d skipped\n' "$total_pass" "$total_fail" "$total_skip"
}
