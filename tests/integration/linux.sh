#!/bin/bash
# Debian's own kernel, unmodified, boots on each vendor, paging mode and number of
# vCPUs, without a warning, and powers off.
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"

cat >"$top/boot-init" <<'INIT'
echo "result: cpus $(grep -c ^processor /proc/cpuinfo)"
dmesg >/log # grep's own line is not in it
echo "result: lines $(grep -c . /log)"
echo "result: trouble $(grep -cE 'TROUBLE' /log)"
grep -E 'TROUBLE' /log | head -n 5 | sed 's/^/result: saw /'
poweroff -f
INIT
# What a healthy kernel never says; looked for in its log and, should it not get so far as to
# read that, on its console.
trouble='\<WARNING\>|\<BUG\>|Oops|Call Trace|invalid opcode|general protection|exited with irqs disabled|exited with preempt_count|unstable|soft lockup|hung_task|rcu.*stall'
sed -i "s/TROUBLE/${trouble//\\/\\\\}/" "$top/boot-init"
linux_image boot

quiet() { # NAME
	! grep -v ' result: ' "$top/$1.console" | grep -qE "$trouble"
}

for vendor in vmx svm; do
	for paging in tdp shadow; do
		for vcpus in 1 2 4; do
			name=$vendor-$paging-$vcpus
			define "$name" $vendor $paging $vcpus "$top/boot.img" 192MiB >"$top/defined"
			if boot "$name" 120 && [ "$(got "$name" cpus)" = $vcpus ] && [ "$(got "$name" lines)" -gt 50 ] &&
			   [ "$(got "$name" trouble)" = 0 ] && quiet "$name"; then
				ok "Linux on $vendor, $paging, $vcpus vCPUs: boots without a warning and powers off"
			else
				not_ok "Linux on $vendor, $paging, $vcpus vCPUs: boots without a warning and powers off"
				grep -E "$trouble" "$top/$name.console" | head -n 5 | sed 's/^/# /'
				complain "$name"
			fi
		done
	done
done
finish
