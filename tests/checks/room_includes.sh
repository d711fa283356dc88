#!/bin/sh
# Rooms include only the rooms that doc/architecture.md allows. The table stands
# there between "rooms:begin" and "rooms:end", a line per room:
#   | `room` | rooms, or single headers, that it may include ... |
. "$HVD_SRCDIR/tests/checks/tap.sh"
cd "$HVD_SRCDIR" || exit 99
table=$(sed -n '/rooms:begin/,/rooms:end/p' doc/architecture.md | sed -n 's/^| `\([a-z/]*\)` | \([^|]*\) |.*/\1 \2/p' | tr -d '`,')
[ -n "$table" ] || { not_ok "doc/architecture.md has the table of rooms"; finish; }

# The room of a path: hv/NAME for the engine's rooms, else the first folder.
room_of() {
	case $1 in
	hv/hv.h) echo hv.h ;;
	hv/*/*) echo "$1" | cut -d/ -f1-2 ;;
	*) echo "$1" | cut -d/ -f1 ;;
	esac
}

echo "$table" | { while read -r room allowed; do
	bad=
	for f in $(find "$room" -name '*.[chS]' 2>/dev/null); do
		for inc in $(sed -n 's/^#[ \t]*include "\([^"]*\/[^"]*\)".*/\1/p' "$f"); do
			target=$(room_of "$inc")
			[ "$target" = "$room" ] && continue
			case " $allowed " in *" $target "* | *" $inc "*) ;; *) bad="$bad $f->$inc" ;; esac
		done
	done
	if [ -z "$bad" ]; then ok "$room includes only what it may"; else not_ok "$room:$bad"; fi
done
# The engine never meets the outer libraries.
if grep -rlE '#[ ]*include <(jansson|event2?/|systemd/)' hv >/dev/null; then
	not_ok "hv includes neither jansson nor libevent nor libsystemd"
else
	ok "hv includes neither jansson nor libevent nor libsystemd"
fi
if grep -rlE '#[ ]*include [<"]urcu' hv --include='*.[ch]' | grep -vE '^hv/base/(rcu|list)' | grep .; then
	not_ok "only hv/base/rcu.h and list.h include liburcu"
else
	ok "only hv/base/rcu.h and list.h include liburcu"
fi
finish; }
