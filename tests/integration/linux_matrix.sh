#!/bin/bash
# Debian's kernels, each with 1, 2 and 4 vCPUs, on each vendor and paging mode: all
# boot without a warning and power off. Half an hour; LINUX_MATRIX names a part of it
# ("686 svm", "cloud vmx shadow"), LINUX_LIMIT (900) the seconds that each boot gets at most.
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"
start_hvd

wanted() { # KERNEL VENDOR PAGING VCPUS
	for w in ${LINUX_MATRIX:-}; do
		case " $* " in *" $w "*) ;; *) return 1 ;; esac
	done
}
for flavour in cloud-amd64 amd64 686:i386; do
	short=${flavour%-amd64}
	short=${short%:*}
	prepared=
	for vendor in vmx svm; do
		for paging in tdp shadow; do
			for vcpus in 1 2 4; do
				wanted "$short" $vendor $paging $vcpus || continue
				[ -n "$prepared" ] || {
					linux_kernel "linux-image-$flavour"
					boots_image "$short"
					prepared=yes
				}
				boots "linux-image-${flavour%:*}" "$short" $vendor $paging $vcpus 256MiB
			done
		done
	done
done
finish
