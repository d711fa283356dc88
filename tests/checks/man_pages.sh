#!/bin/sh
# The man pages are clean and name every command and every method that exists.
. "$HVD_SRCDIR/tests/checks/tap.sh"
cd "$HVD_SRCDIR" || exit 99
for page in man/hvctl.1 man/hvd.8 man/hvd.conf.5 man/hvd-api.7; do
	if command -v mandoc >/dev/null; then
		lint=$(mandoc -Tlint -Wwarning "$page" 2>&1)
		if [ -z "$lint" ]; then ok "$page is clean"; else
			not_ok "$page is clean"
			printf '%s\n' "$lint" | sed 's/^/# /'
		fi
	else
		skip "$page is clean" "mandoc is not installed"
	fi
done
names() { # FILE WORD...: those that the file does not have
	file=$1
	shift
	for w in "$@"; do grep -qF -- "$w" "$file" || printf '%s ' "$w"; done
}
commands=$("$HVD_BUILDDIR/hvctl" --list-commands)
missing=$(names man/hvctl.1 $commands)
if [ -n "$commands" ] && [ -z "$missing" ]; then ok "hvctl(1) names every command"; else
	not_ok "hvctl(1) names every command; missing: $missing"; fi
missing=$(names cli/completion.bash $commands)
if [ -z "$missing" ]; then ok "the completion knows every command"; else
	not_ok "the completion knows every command; missing: $missing"; fi
methods=$("$HVD_BUILDDIR/hvd" --list-methods)
missing=$(names man/hvd-api.7 $methods)
if [ -n "$methods" ] && [ -z "$missing" ]; then ok "hvd-api(7) names every method"; else
	not_ok "hvd-api(7) names every method; missing: $missing"; fi
errors=$("$HVD_BUILDDIR/hvd" --list-errors)
missing=$(names man/hvd-api.7 $errors)
if [ -n "$errors" ] && [ -z "$missing" ]; then ok "hvd-api(7) names every error"; else
	not_ok "hvd-api(7) names every error; missing: $missing"; fi
keys=$("$HVD_BUILDDIR/hvd" --list-config-keys)
missing=$(names man/hvd.conf.5 $keys)
if [ -n "$keys" ] && [ -z "$missing" ]; then ok "hvd.conf(5) names every key"; else
	not_ok "hvd.conf(5) names every key; missing: $missing"; fi
finish
