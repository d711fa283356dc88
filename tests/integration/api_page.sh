#!/bin/bash
# hvd-api(7) is what rpc.discover says: man/update-api.sh would change nothing.
. "$HVD_SRCDIR/tests/integration/lib.sh"
start_hvd
res rpc.discover '{}' >"$top/discover.json"
"$HVD_SRCDIR/man/update-api.sh" "$HVD_SRCDIR/man/hvd-api.7" <"$top/discover.json" >"$top/page"
if [ -s "$top/page" ] && cmp -s "$top/page" "$HVD_SRCDIR/man/hvd-api.7"; then
	ok "hvd-api(7) agrees with rpc.discover"
else
	not_ok "hvd-api(7) agrees with rpc.discover (run man/update-api.sh)"
	diff "$HVD_SRCDIR/man/hvd-api.7" "$top/page" | head -n 20 | sed 's/^/# /'
fi
finish
