#!/bin/bash
# Debian's own kernel, unmodified, boots on each vendor and paging mode without a
# warning and powers off; how a reboot and a panic end. linux_matrix.sh has the rest.
. "$HVD_SRCDIR/tests/integration/linux_lib.sh"
linux_kernel
boots_image boot
linux_program dmidecode
cat >"$top/talk-init" <<'INIT'
if [ -x /bin/dmidecode ]; then
	/bin/ld-linux-x86-64.so.2 --library-path /bin /bin/dmidecode 2>&1 | sed 's/^/dmi: /'
fi
echo "result: dmi $(cat /sys/class/dmi/id/sys_vendor) $(cat /sys/class/dmi/id/product_uuid)"
while :; do
	echo "result: ready"
	read -r word
	case $word in
	reboot) reboot -f ;;
	panic) insmod /lib/pvpanic.ko && insmod /lib/pvpanic-mmio.ko && echo c >/proc/sysrq-trigger ;;
	die) echo c >/proc/sysrq-trigger ;;
	esac
done
INIT
# shellcheck disable=SC2086 # a program and its libraries
linux_image talk "$modules/pvpanic.ko" "$modules/pvpanic-mmio.ko" $program
start_hvd

boots "Linux" boot vmx tdp 4 192MiB
boots "Linux" boot svm tdp 2 192MiB
boots "Linux" boot vmx shadow 2 192MiB
boots "Linux" boot svm shadow 1 192MiB

# The kernel's self-tests of ciphers are not what is asked here.
quick="quiet cryptomgr.notests"
define talk vmx tdp 1 talk 128MiB "$quick"
begin talk
check "it waits for a word" heard talk 1 "result: ready"
is "its uuid is the domain's" "$(got talk dmi)" "hvd $(res domain.info '{"domain":"talk"}' .uuid | tr -d '"')"
is "interrupts that it was given are counted" \
	"$(res vcpu.list '{"domain":"talk"}' '.vcpus[0].irq_injections>0')" true
if [ -n "$program" ]; then
	sed -n 's/^[0-9]* dmi: *//p' "$top/talk.console" | tr '\t' ' ' | sed 's/^ *//' >"$top/dmi"
	is "dmidecode finds the tables" "$(grep -c '^SMBIOS 3.0.0 present' "$top/dmi")" 1
	is "and no fault in them" "$(grep -E 'BAD INDEX|OUT OF SPEC|TRUNCATED|[Ww]rong|broken|unaccounted|exceed|[Ii]nvalid' "$top/dmi")" ""
	for line in "UUID: $(res domain.info '{"domain":"talk"}' .uuid | tr -d '"')" "Manufacturer: hvd" \
		"Core Count: 1" "Range Size: 128 MB" "Status: No errors detected"; do
		check "dmidecode: $line" grep -qxF "$line" "$top/dmi"
	done
else
	ok "dmidecode # SKIP $linux_guest_why"
fi
say talk reboot
check "a reboot starts it again" heard talk 2 "result: ready"
is "its state after that" "$(state_of talk)" "running reset"
seq=$(res event.subscribe '{}' .seq)
say talk panic
is_state talk crashed panicked "$linux_limit"
event=$( (printf '{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"since":%s,"domain":"talk"}}\n' "$seq"; sleep 0.3) |
	socat -t5 - "UNIX-CONNECT:$sock" | jq -c 'select(.method=="event")|.params|[.type,.data.state,.data.reason,.data.detail]' | head -n 1)
is "the event" "$event" '["domain.state","crashed","panicked","the guest panicked"]'
check "the panic is on its console" heard talk 1 "Kernel panic - not syncing: sysrq triggered crash"
is "what crashed can be looked at" "$(res vcpu.list '{"domain":"talk"}' '.vcpus|length')" 1
is "and destroyed" "$(err domain.destroy '{"domain":"talk"}')" ok

# Without the driver nobody hears of it, and what the kernel does at its end counts: here, a reset.
define last svm tdp 1 talk 128MiB "$quick panic=1" '"on_reboot":"destroy"'
begin last
check "it waits for a word, on svm" heard last 1 "result: ready"
say last die
is_state last shutoff guest "$linux_limit"
finish
