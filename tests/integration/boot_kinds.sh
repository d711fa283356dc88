#!/bin/bash
# A kernel that is no Linux: the first guest as a domain without test devices, by each
# way in that it has; and what a domain says of a kernel that has no such way.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd

first=$HVD_BUILDDIR/tests/guests/first_guest.elf
define() { # NAME KERNEL KIND VENDOR [MORE]
	err domain.define "$(printf '{"config":{"name":"%s","memory":"64MiB","engine":{"vendor":"%s"},"boot":{"kernel":"%s","kind":"%s"}%s}}' \
		"$1" "$4" "$2" "$3" "${5:+,$5}")"
}
for vendor in vmx svm; do
	for kind in auto multiboot pvh; do
		name=$kind-$vendor
		define "$name" "$first" $kind $vendor >/dev/null
		rpc domain.start "{\"domain\":\"$name\",\"paused\":true}" >/dev/null
		"$HVD_BUILDDIR/tests/integration/console" -a "$top/$name.attached" -t 20000 "$sock" "$name" "" \
			>"$top/$name" &
		console=$!
		until_ok 20 test -e "$top/$name.attached"
		rpc domain.resume "{\"domain\":\"$name\"}" >/dev/null
		is_state "$name" shutoff guest
		wait $console
		is "$name: every step was right" "$(tr -d '\r' <"$top/$name" | tail -n 1)" "done"
	done
done

define none "$guest" auto vmx >/dev/null
is "neither a bzImage nor an ELF file" "$(res domain.info '{"domain":"none"}' .state)" '"shutoff"'
answer=$(rpc domain.start '{"domain":"none"}' | jq -r '.error.data.name+": "+.error.message')
is "an unknown kernel is refused in words" "$answer" \
	"domain.start_failed: the kernel is neither a bzImage nor an ELF file of x86"
define nopvh "$HVD_BUILDDIR/tests/guests/memory_guest.elf" pvh vmx >/dev/null
answer=$(rpc domain.start '{"domain":"nopvh"}' | jq -r '.error.data.name+": "+.error.message')
is "no PVH entry" "$answer" "domain.start_failed: the ELF file has no PVH entry point"

# Entered as what it is not, it faults for ever: each time is a restart or the end, as told.
define loop "$first" flat vmx '"on_reboot":"restart"' >/dev/null
rpc domain.start '{"domain":"loop"}' >/dev/null
sleep 1
is "a triple fault in the first microsecond restarts" "$(state_of loop)" "running reset"
# Hundreds of restarts a second are a few events, which count them.
seq=$(res event.subscribe '{}' .seq)
( (printf '{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"since":%s,"domain":"loop"}}\n' "$seq"; sleep 4) |
	timeout 10 socat - "UNIX-CONNECT:$sock" | jq -c 'select(.method=="event").params.data' >"$top/resets")
n=$(wc -l <"$top/resets")
check "four seconds of restarts are one event or more" test "$n" -ge 1
check "... and not one for each: $n" test "$n" -le 10
is "each says so" "$(jq -r '.state+" "+.reason' "$top/resets" | sort -u)" "running reset"
check "the count grows: $(jq -r .resets "$top/resets" | tr '\n' ' ')" \
	jq -es 'map(.resets) | . == (sort | unique) and .[0] > 1' "$top/resets"
is "... and is no engine's failure" "$(grep -c 'domain loop: crashed' "$log")" 0
is "destroyed meanwhile" "$(err domain.destroy '{"domain":"loop"}')" ok
define once "$first" flat svm '"on_reboot":"destroy"' >/dev/null
rpc domain.start '{"domain":"once"}' >/dev/null
is_state once shutoff guest
finish
