#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The engine's methods while a guest works: it writes to 16 pages from 0x10000 on, round
# and round, under each kind of paging. (SVM: without EPT, VMX has no real mode
# in guests, and each instruction is emulated: that is another guest, at the end.)
. "$HVD_SRCDIR/tests/integration/lib.sh"

# start: mov $0x1000,%bx; 1: mov %bx,%es; incw %es:0; add $0x100,%bx; cmp $0x2000,%bx; jb 1b; jmp start
busy=$top/busy.bin
printf '\273\000\020\216\303\046\377\006\000\000\201\303\000\001\201\373\000\040\162\357\353\352' >"$busy"
guest=$busy
start_hvd

counter() {
	res memory.read "{\"domain\":\"$d\",\"gpa\":65536,\"size\":2}" .data
}
goes_on() {
	before=$(counter)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(counter)" != "$before" ] && return 0
		sleep 0.2
	done
	return 1
}
written() { # CURSOR: the 16 pages are in its log
	res dirtylog.read "{\"domain\":\"$d\",\"since\":$1}" \
		'.ranges|map(select(.[0]<=65536 and .[0]+.[1]*4096>=131072))|length'
}
new_cursor() {
	res dirtylog.read "{\"domain\":\"$d\",\"since\":$1}" .cursor
}

for paging in tdp shadow; do
	d=$paging
	is "$d: runs" "$(res domain.create "$(config $d "\"engine\":{\"paging\":\"$paging\",\"vendor\":\"svm\"}")" .state)" '"running"'
	check "$d: works" goes_on

	# Three readers, each in its own time: none takes anything from another.
	c=$(res dirtylog.start "{\"domain\":\"$d\"}" .cursor)
	c1=$c c2=$c c3=$c
	sleep 0.3
	is "$d: reader 1" "$(written "$c1")" 1
	c1=$(new_cursor "$c1")
	sleep 0.3
	is "$d: reader 1 again" "$(written "$c1")" 1
	is "$d: reader 2, for the first time" "$(written "$c2")" 1
	c2=$(new_cursor "$c2")
	sleep 0.3
	is "$d: reader 3, after the others" "$(written "$c3")" 1
	c3=$(new_cursor "$c3")
	res domain.suspend "{\"domain\":\"$d\"}" >/dev/null
	for r in "$c1" "$c2" "$c3"; do
		last=$(new_cursor "$r")
		is "$d: nothing is written while it is paused" \
			"$(res dirtylog.read "{\"domain\":\"$d\",\"since\":$last}" .pages)" 0
	done
	res domain.resume "{\"domain\":\"$d\"}" >/dev/null
	check "$d: works after the pause" goes_on
	is "$d: log stopped" "$(err dirtylog.stop "{\"domain\":\"$d\"}")" ok
	is "$d: dirty rate" "$(res dirtyrate.calc "{\"domain\":\"$d\",\"time_ms\":200}" '|tostring|length>2')" true

	# Slots come and go beside it, roots are invalidated, memory is taken away under it.
	for n in 1 2 3 4 5; do
		is "$d: slot $n" "$(err memslot.set "{\"domain\":\"$d\",\"id\":100,\"gpa\":\"0x40000000\",\"size\":\"2MiB\"}")" ok
		is "$d: roots $n" "$(res mmu.invalidate "{\"domain\":\"$d\"}" '.publish_ns>0')" true
		is "$d: discard $n" "$(err memory.discard "{\"domain\":\"$d\",\"gpa\":131072,\"size\":65536}")" ok
		is "$d: slot $n goes" "$(err memslot.delete "{\"domain\":\"$d\",\"id\":100}")" ok
	done
	check "$d: works all the while" goes_on
	is "$d: a page in use is taken" "$(err memory.discard "{\"domain\":\"$d\",\"gpa\":65536,\"size\":4096}")" ok
	check "$d: and comes back" goes_on
	is "$d: a root" "$(res mmu.roots "{\"domain\":\"$d\"}" '.roots|length>=1')" true
	is "$d: faults are counted" "$(res mmu.stats "{\"domain\":\"$d\"}" '.faults>=1')" true
	is "$d: exits are counted" "$(res vcpu.exits "{\"domain\":\"$d\",\"vcpu\":0}" '|tostring|length>10')" true

	# Its pages are young, whenever one looks.
	res memory.working_set "{\"domain\":\"$d\",\"clear\":true}" >/dev/null
	sleep 0.3
	is "$d: working set" "$(res memory.working_set "{\"domain\":\"$d\",\"clear\":true}" '.pages_accessed>=1')" true

	# Host CPUs go, one after the other, and come back.
	for cpu in $(res host.cpus '{}' '.cpus|map(select(.online))|map(.id)|join(" ")' | tr -d '"'); do
		r=$(err host.cpu_offline "{\"cpu\":$cpu}")
		[ "$r" = host.cpu_last ] && continue
		is "$d: CPU $cpu goes" "$r" ok
		check "$d: works without CPU $cpu" goes_on
		is "$d: CPU $cpu comes" "$(err host.cpu_online "{\"cpu\":$cpu}")" ok
	done
	check "$d: still works" goes_on
	is "$d: ends" "$(err domain.destroy "{\"domain\":\"$d\"}")" ok
done

instructions() {
	res vcpu.list "{\"domain\":\"$d\"}" '.vcpus[0].instructions'
}
d=emulated
is "$d: runs" "$(res domain.create "$(config $d "\"engine\":{\"paging\":\"shadow\",\"vendor\":\"vmx\"}")" .state)" '"running"'
check "$d: works" goes_on
n=$(instructions)
cpu_time=$(res vcpu.list "{\"domain\":\"$d\"}" '.vcpus[0].run_ns')
check "$d: still works" goes_on
is "$d: its CPU time grows while it runs" \
	"$(res vcpu.list "{\"domain\":\"$d\"}" ".vcpus[0].run_ns>$cpu_time")" true
check "$d: its instructions are counted" [ "$(instructions)" -gt "$n" ]
is "$d: ends" "$(err domain.destroy "{\"domain\":\"$d\"}")" ok
stop_hvd
finish
