#!/bin/bash
# Debian's own kernel, unmodified, boots on each vendor, paging mode and number of
# vCPUs, without a warning, and powers off.
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"

cat >"$top/boot-init" <<'INIT'
echo "result: cpus $(grep -c ^processor /proc/cpuinfo)"
echo "result: trouble $(dmesg | grep -cE 'WARNING:|BUG:|Oops|Call Trace|unstable|soft lockup|rcu.*stall')"
dmesg | grep -E 'WARNING:|BUG:|Oops|unstable|soft lockup|rcu.*stall' | head -n 5
poweroff -f
INIT
linux_image boot

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
finish
