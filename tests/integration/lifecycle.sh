#!/bin/sh
# The life of a domain through the socket, with a guest that does what it is told.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd

# ---- definitions ----
is "define" "$(res domain.define "$(config a)" .change)" '"created"'
is "define again" "$(res domain.define "$(config a)" .change)" '"unchanged"'
is "define another text" "$(res domain.define "$(config a '"vcpus":2')" .change)" '"updated"'
is "the text is kept" "$(res domain.dumpconfig '{"domain":"a"}' .vcpus)" 2
res domain.define "$(config a)" >/dev/null
uuid=$(res domain.info '{"domain":"a"}' .uuid)
is "the uuid stays" "$(res domain.info "{\"domain\":$uuid}" .name)" '"a"'
is "a uuid of another domain" "$(err domain.define "$(config b "\"uuid\":$uuid")")" domain.exists
is "create over a definition" "$(err domain.create "$(config a)")" domain.exists
is "bad processor" "$(rpc domain.define "$(config c '"engine":{"processor":"none"}')" |
	jq -r '.error.data|.name+" "+.field')" "config.invalid /config/engine/processor"
is "unknown field" "$(rpc domain.define "$(config c '"colour":1')" |
	jq -r '.error.data|.name+" "+.field')" "config.invalid /config/colour"
is "odd memory" "$(rpc domain.define '{"config":{"name":"c","memory":1048577,"boot":{"kernel":"/x"}}}' |
	jq -r '.error.data.field')" "/config/memory"
is "no such domain" "$(err domain.start '{"domain":"zzz"}')" domain.not_found
is "not running" "$(err domain.suspend '{"domain":"a"}')" domain.wrong_state

# ---- start ----
is "start" "$(res domain.start '{"domain":"a"}' .state)" '"running"'
is "start twice" "$(err domain.start '{"domain":"a"}')" domain.wrong_state
until_ok 10 sh -c "[ \"\$('$HVD_BUILDDIR/tests/integration/console' -t 50 '$sock' a '' | tr -d '\r\n')\" = ready ]"
is "console: history, and echo" "$(typed a abc abc | tr -d '\r\n')" readyabc
is "console: again from the start" "$(typed a '' abc | tr -d '\r\n')" readyabc
is "list shows it" "$(res domain.list '{}' '.domains|map(.name)')" '["a"]'
is "stats" "$(res domain.stats '{"domain":"a"}' '|.first_instruction_ns>0 and .console_bytes>=7')" true

is "suspend" "$(rpc domain.suspend '{"domain":"a"}' | jq -c .result)" null
is_state a paused user
n=$(res vcpu.list '{"domain":"a"}' '.vcpus[0].instructions')
sleep 0.2
is "no instruction runs while paused" "$(res vcpu.list '{"domain":"a"}' '.vcpus[0].instructions')" "$n"
is "suspend twice" "$(err domain.suspend '{"domain":"a"}')" domain.wrong_state
is "registers of a paused vCPU" "$(res vcpu.registers '{"domain":"a","vcpu":0}' '.rsp')" '"0x7000"'
is "set a register" "$(err vcpu.set_registers '{"domain":"a","vcpu":0,"registers":{"r15":"0xfedcba9876543210"}}')" ok
is "it is set" "$(res vcpu.registers '{"domain":"a","vcpu":0}' .r15)" '"0xfedcba9876543210"'
is "no such register" "$(rpc vcpu.set_registers '{"domain":"a","vcpu":0,"registers":{"zz":1}}' |
	jq -r '.error.data.field')" /registers/zz
is "no such vCPU" "$(err vcpu.registers '{"domain":"a","vcpu":3}')" vcpu.not_found
is "resume" "$(err domain.resume '{"domain":"a"}')" ok
is_state a running unpaused
is "set a register while running" "$(err vcpu.set_registers '{"domain":"a","vcpu":0,"registers":{"r15":1}}')" domain.wrong_state

# ---- memory and the dirty log ----
is "memory.read" "$(res memory.read '{"domain":"a","gpa":31744,"size":4}' .data)" "\"$(head -c 4 "$guest" | base64)\""
is "memory.write" "$(err memory.write '{"domain":"a","gpa":"0x100000","data":"aGVsbG8="}')" ok
is "and read again" "$(res memory.read '{"domain":"a","gpa":"0x100000","size":5}' .data)" '"aGVsbG8="'
is "memory.discard" "$(err memory.discard '{"domain":"a","gpa":1048576,"size":4096}')" ok
is "discarded is zero" "$(res memory.read '{"domain":"a","gpa":1048576,"size":3}' .data)" '"AAAA"'
is "beyond memory" "$(err memory.read '{"domain":"a","gpa":1073741824,"size":4}')" memory.out_of_range
is "log not started" "$(err dirtylog.read '{"domain":"a","since":1}')" dirtylog.not_started
c=$(res dirtylog.start '{"domain":"a"}' .cursor)
c=$(res dirtylog.read "{\"domain\":\"a\",\"since\":$c}" .cursor)
typed a d >/dev/null
is "16 written pages" "$(res dirtylog.read "{\"domain\":\"a\",\"since\":$c}" '.ranges|map(select(.[0]==65536))')" '[[65536,16]]'
is "another reader sees them too" "$(res dirtylog.read "{\"domain\":\"a\",\"since\":$c}" '.pages>=16')" true
is "stop" "$(err dirtylog.stop '{"domain":"a"}')" ok
id=$(res memslot.list '{"domain":"a"}' '.memslots|length')
g=$(res memslot.list '{"domain":"a"}' .generation)
is "memslot.set" "$(res memslot.set '{"domain":"a","id":100,"gpa":"0x40000000","size":"2MiB"}' ".generation_before==$g")" true
is "one slot more" "$(res memslot.list '{"domain":"a"}' '.memslots|length')" $((id + 1))
is "overlap" "$(err memslot.set '{"domain":"a","id":101,"gpa":"0x40001000","size":"4KiB"}')" memslot.overlap
is "unaligned" "$(rpc memslot.set '{"domain":"a","id":101,"gpa":"0x50000001","size":"4KiB"}' |
	jq -r '.error.data|.name+" "+.field')" "memslot.unaligned /gpa"
is "memslot.delete" "$(err memslot.delete '{"domain":"a","id":100}')" ok
is "delete twice" "$(err memslot.delete '{"domain":"a","id":100}')" memslot.not_found
is "mmu.invalidate" "$(res mmu.invalidate '{"domain":"a"}' '.roots>=1')" true
is "the guest still answers" "$(answer a z)" z
is "dirty rate" "$(res dirtyrate.calc '{"domain":"a","time_ms":50}' '.vcpus|length')" 1
j=$(res dirtyrate.calc '{"domain":"a","time_ms":50,"detach":true}' .job)
is "job.wait" "$(res job.wait "{\"id\":$j}" .status)" '"completed"'
is "a finished job is readable" "$(res job.list '{}' ".jobs|map(select(.id==$j))[0].status")" '"completed"'
j=$(res dirtyrate.calc '{"domain":"a","time_ms":60000,"detach":true}' .job)
is "a job that runs" "$(res job.info "{\"id\":$j}" .status)" '"running"'
is "two at a time" "$(err dirtyrate.calc '{"domain":"a"}')" job.conflict
is "job.wait that times out" "$(err job.wait "{\"id\":$j,\"timeout_ms\":20}")" timeout
is "job.abort" "$(err job.abort "{\"id\":$j}")" ok
is "aborted" "$(res job.info "{\"id\":$j}" .status)" '"aborted"'
is "abort twice" "$(err job.abort "{\"id\":$j}")" job.conflict

# ---- host CPUs ----
is "no such CPU" "$(err host.cpu_offline '{"cpu":1000}')" host.cpu_not_found
n=$(res host.cpus '{}' '.cpus|map(select(.online))|length')
last=$(res host.cpus '{}' '.cpus|map(select(.online))|last.id')
if [ "$n" -gt 1 ]; then
	is "a CPU goes" "$(err host.cpu_offline "{\"cpu\":$last}")" ok
	is "it is offline" "$(res host.cpus '{}' '.cpus|map(select(.online))|length')" $((n - 1))
	is "the guest runs on" "$(answer a y)" y
	is "it comes back" "$(err host.cpu_online "{\"cpu\":$last}")" ok

	# The host takes one away: what hvd may use shrinks, and a uevent of the CPU says to look.
	uevent=/sys/devices/system/cpu/cpu$last/uevent
	if [ -w "$uevent" ] && command -v taskset >/dev/null; then
		all=$(taskset -pc "$hvd_pid" | sed 's/.*: //')
		first=$(res host.cpus '{}' '.cpus|map(select(.online))|first.id')
		taskset -pc "$first" "$hvd_pid" >/dev/null
		echo change >"$uevent"
		is "the host takes a CPU" "$(until_ok 10 grep -q "has taken away CPU $last" "$log" && echo yes)" yes
		is "domains cannot have it" "$(err host.cpu_offline "{\"cpu\":$last}")" host.cpu_not_found
		is "the guest runs on" "$(answer a y)" y
		taskset -pc "$all" "$hvd_pid" >/dev/null
		echo change >"$uevent"
		is "and brings it back" "$(until_ok 10 grep -q "has brought back CPU $last" "$log" && echo yes)" yes
		is "the guest has it" "$(res host.cpus '{}' '.cpus|map(select(.online))|length')" "$n"
	fi
else
	is "the last CPU stays" "$(err host.cpu_offline "{\"cpu\":$last}")" host.cpu_last
fi

# ---- ends ----
typed a r >/dev/null
is_state a running reset
until_ok 10 sh -c "'$HVD_BUILDDIR/tests/integration/console' -t 50 '$sock' a '' | grep -c ready | grep -q 2"
is "a reset boots again" "$(typed a '' | grep -c ready)" 2
typed a x >/dev/null
is_state a shutoff debug_exit
is "exit code" "$(res domain.info '{"domain":"a"}' .exit_code)" 7
is "start again" "$(res domain.start '{"domain":"a"}' .state)" '"running"'
rpc domain.wait '{"domain":"a","state":"shutoff","timeout_ms":20000}' >"$top/waited" &
waiter=$!
sleep 0.2
typed a o >/dev/null
wait $waiter
is "wait ends with the guest" "$(jq -r '.result|.state+" "+.reason' "$top/waited")" "shutoff guest"
is "wait for what is already" "$(res domain.wait '{"domain":"a","state":"shutoff"}' .state)" '"shutoff"'
is "wait that times out" "$(rpc domain.wait '{"domain":"a","state":"running","timeout_ms":50}' |
	jq -r '.error.data|.name+" "+.state')" "timeout shutoff"
res domain.start '{"domain":"a"}' >/dev/null
is "destroy" "$(err domain.destroy '{"domain":"a"}')" ok
is_state a shutoff destroyed
is "destroy twice" "$(err domain.destroy '{"domain":"a"}')" domain.wrong_state

# ---- policies ----
res domain.define "$(config p '"on_poweroff":"preserve","on_reboot":"destroy"')" >/dev/null
res domain.start '{"domain":"p"}' >/dev/null
typed p o >/dev/null
is_state p paused preserved
is "what has ended is not resumed" "$(err domain.resume '{"domain":"p"}')" domain.wrong_state
is "but reset" "$(err domain.reset '{"domain":"p"}')" ok
is_state p running reset
typed p t >/dev/null
is_state p shutoff guest
res domain.define "$(config p '"on_poweroff":"restart"')" >/dev/null
res domain.start '{"domain":"p"}' >/dev/null
typed p o >/dev/null
is_state p running reset
typed p p >/dev/null
is_state p crashed panicked
is "a crashed machine is not resumed" "$(err domain.resume '{"domain":"p"}')" domain.wrong_state
is "but reset" "$(err domain.reset '{"domain":"p"}')" ok
is_state p running reset
res domain.destroy '{"domain":"p"}' >/dev/null
res domain.define "$(config p '"on_crash":"destroy"')" >/dev/null
res domain.start '{"domain":"p"}' >/dev/null
typed p p >/dev/null
is_state p shutoff panicked
res domain.define "$(config p '"on_crash":"restart"')" >/dev/null
res domain.start '{"domain":"p"}' >/dev/null
typed p p >/dev/null
is_state p running reset
is "undefine a running one" "$(err domain.undefine '{"domain":"p"}')" ok
is "it is transient now" "$(res domain.info '{"domain":"p"}' .persistent)" false
is "and has nothing to undefine" "$(err domain.undefine '{"domain":"p"}')" domain.wrong_state
res domain.destroy '{"domain":"p"}' >/dev/null
is "a transient one is gone at its end" "$(err domain.info '{"domain":"p"}')" domain.not_found

# ---- transient ----
is "create" "$(res domain.create "$(config t)" '|.state+" "+(.persistent|tostring)')" '"running false"'
is "create twice" "$(err domain.create "$(config t)")" domain.exists
res domain.destroy '{"domain":"t"}' >/dev/null
is "create paused" "$(res domain.create '{"paused":true,'"$(config t | cut -c2-)" '|.state+" "+.reason')" '"paused starting_up"'
is "no instruction yet" "$(res domain.stats '{"domain":"t"}' .first_instruction_ns)" 0
is "resume it" "$(err domain.resume '{"domain":"t"}')" ok
res domain.destroy '{"domain":"t"}' >/dev/null
is "missing kernel" "$(rpc domain.create '{"config":{"name":"t","memory":"16MiB","boot":{"kernel":"/nonexistent"}}}' |
	jq -r '.error.data|.name+" "+.field')" "file.unavailable /boot/kernel"
is "a folder as kernel" "$(err domain.create '{"config":{"name":"t","memory":"16MiB","boot":{"kernel":"/tmp"}}}')" file.unavailable
is "a kernel that is none" "$(err domain.create '{"config":{"name":"t","memory":"16MiB","boot":{"kernel":"/etc/passwd"}}}')" domain.start_failed
is "disks are not there yet" "$(err domain.create '{"config":{"name":"t","memory":"16MiB","boot":{"kernel":"/x"},"disks":[{"path":"/y"}]}}')" unsupported_by_backend
is "a failed create leaves nothing" "$(res domain.list '{"all":true}' '.domains|map(.name)')" '["a"]'
is "undefine" "$(err domain.undefine '{"domain":"a"}')" ok
is "no definition is left" "$(find "$state/definitions" -type f | wc -l)" 0
is "no worker is left" "$(find "$run/workers" -type f -o -type s | wc -l)" 0
stop_hvd
is "an orderly end" $? 0
finish
