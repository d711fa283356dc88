#!/bin/sh
# Memslots, memory and the dirty log of a running guest, as hvctl shows and changes them.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd

ctl() { timeout 60 "$HVD_BUILDDIR/hvctl" -c "unix:$sock" "$@"; }
# What a command says that fails: its stable error name.
name_of() { ctl "$@" 2>&1 >/dev/null | sed -n 's/^hvctl: \([a-z_.]*\):.*/\1/p' | head -n 1; }
field_of() { rpc "$1" "$2" | jq -r '.error.data|.name+" "+.field'; }
# Nothing of a slot that is gone stays: mappings of memory files in the worker.
files() { grep -c '/memfd:' "/proc/$(worker_pids | head -n 1)/maps"; }

res domain.create "$(config a)" >/dev/null
is_state a running booted
is "it answers" "$(answer a z)" z

# ---- memslots ----
ctl memslot set a 7 0x40000000 2MiB >/dev/null
is "memslot set" "$(ctl -j memslot list a | jq -c '.memslots|map(select(.id==7))|map([.gpa,.size,.flags])')" \
	'[[1073741824,2097152,[]]]'
ctl memslot set a 7 0x50000000 2MiB --log-dirty >/dev/null
is "it moves, and is logged" "$(ctl -j memslot list a | jq -c '.memslots|map(select(.id==7))|map([.gpa,.flags])')" \
	'[[1342177280,["log_dirty"]]]'
is "it keeps its size" "$(name_of memslot set a 7 0x50000000 4MiB)" unsupported_by_backend
is "and that it can be written" "$(name_of memslot set a 7 0x50000000 2MiB --readonly)" unsupported_by_backend
ctl memslot set a 8 0x60000000 4KiB --readonly >/dev/null
is "a read-only one" "$(ctl -j memslot list a | jq -c '.memslots|map(select(.id==8))[0].flags')" '["readonly"]'
is "the last number" "$(ctl memslot set a 32763 0x70000000 4KiB >/dev/null && echo yes)" yes
is "one more is none" "$(field_of memslot.set '{"domain":"a","id":32764,"gpa":0,"size":4096}')" \
	"rpc.invalid_params /id"
is "two address spaces" "$(field_of memslot.set '{"domain":"a","id":1,"as_id":2,"gpa":0,"size":4096}')" \
	"rpc.invalid_params /as_id"
is "the highest page" "$(ctl memslot set a 9 0xffffffffff000 4KiB >/dev/null && echo yes)" yes
is "not above" "$(field_of memslot.set '{"domain":"a","id":10,"gpa":"0xffffffffff000","size":8192}')" \
	"rpc.invalid_params /size"
is "of the other address space" "$(ctl memslot set a 7 0 4KiB --as-id 1 >/dev/null && echo yes)" yes
for id in 7 8 9 32763; do ctl memslot delete a $id >/dev/null; done
ctl memslot delete a 7 --as-id 1 >/dev/null
is "all gone" "$(ctl -j memslot list a | jq -c '.memslots|map(select(.id>2))')" '[]'

# Each slot has memory of its own, which goes with it.
before=$(files)
n=0
while [ $n -lt 120 ]; do
	n=$((n + 1))
	printf '{"jsonrpc":"2.0","id":%s,"method":"memslot.set","params":{"domain":"a","id":20,"gpa":"0x40000000","size":%s}}\n' \
		$n $((4096 * (1 + n % 7)))
	printf '{"jsonrpc":"2.0","id":%s,"method":"memslot.delete","params":{"domain":"a","id":20}}\n' $((n + 1000))
done >"$top/often"
# One after the other: answers may come in another order than requests.
timeout 60 socat -t60 - "UNIX-CONNECT:$sock" <"$top/often" >"$top/answers"
is "set and deleted 120 times" "$(jq -r '.error.data.name // "ok"' "$top/answers" | sort | uniq -c | xargs)" "240 ok"
is "no memory stays behind" "$(files)" "$before"
is "the guest answers" "$(answer a z)" z

# ---- memory ----
head -c 3000000 /dev/urandom >"$top/bytes"
is "3 MB written" "$(ctl memory write a 0x400000 <"$top/bytes" && echo yes)" yes
ctl memory read a 0x400000 3000000 --raw >"$top/read"
is "and read" "$(cmp "$top/bytes" "$top/read" && echo same)" same
is "as text" "$(ctl memory read a 0x400000 16 | cut -d' ' -f1)" 000000400000
is "too much for text" "$(field_of memory.read '{"domain":"a","gpa":0,"size":3000000}')" "rpc.invalid_params /size"
is "data or a file" "$(field_of memory.write '{"domain":"a","gpa":0}')" "rpc.invalid_params /data"
printf before | ctl memory write a 0xfffffa
is "not across the end of memory" "$(head -c 8 /dev/zero | name_of memory write a 0xfffffa)" memory.out_of_range
is "and then nothing has changed" "$(ctl memory read a 0xfffffa 6 --raw)" before
is "an empty input" "$(ctl memory write a 0 </dev/null 2>/dev/null; echo $?)" 2

is "nor is memory discarded across it" "$(name_of memory discard a 0xfff000 8KiB)" memory.out_of_range
is "and that has changed nothing" "$(ctl memory read a 0xfffffa 6 --raw)" before
is "paged out" "$(ctl memory pageout a 0x400000 2MiB && echo yes)" yes
ctl memory read a 0x400000 3000000 --raw >"$top/read"
is "it keeps its bytes" "$(cmp "$top/bytes" "$top/read" && echo same)" same
is "nothing to page out" "$(name_of memory pageout a 0x40000000 4KiB)" memory.out_of_range

# ---- the MMU ----
is "NX huge pages" "$(ctl mmu set a --nx-huge-pages && echo yes)" yes
is "the guest answers" "$(answer a z)" z
is "and back" "$(ctl mmu set a --no-nx-huge-pages && echo yes)" yes
is "the guest answers" "$(answer a z)" z
is "neither" "$(name_of mmu set a)" rpc.invalid_params

# ---- the dirty log ----
cursor=$(ctl -j dirtylog start a | jq .cursor)
cursor=$(ctl -j dirtylog read a --since "$cursor" | jq .cursor)
typed a d >/dev/null
is "16 pages" "$(ctl -j dirtylog read a --since "$cursor" | jq -c '.ranges|map(select(.[0]==65536))')" '[[65536,16]]'
ctl dirtylog read a --since "$cursor" --bitmap "$top/bitmap" >/dev/null
is "as a bitmap" "$(od -An -tx1 -j2 -N2 "$top/bitmap" | tr -d ' ')" ffff
ctl dirtylog stop a
is "no log" "$(name_of dirtylog read a --since 1)" dirtylog.not_started
finish
