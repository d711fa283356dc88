#!/bin/sh
# Have iasl disassemble every table, and compile the DSDT again without a warning.
if ! command -v iasl >/dev/null; then
	echo "1..0 # SKIP iasl is not installed"
	exit 0
fi
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
echo 1..6
n=0
check() { # status, text
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
"${HVD_BUILDDIR:-.}/tests/unit/test_acpi_tables" "$dir" || exit 99
for t in FACP APIC MCFG HPET DSDT; do
	iasl -d "$dir/$t.dat" >"$dir/$t.log" 2>&1 && ! grep -qiE 'error|invalid|incorrect checksum' "$dir/$t.log"
	check $? "iasl reads $t"
done
iasl "$dir/DSDT.dsl" >"$dir/compile.log" 2>&1
grep -q ' 0 Errors, 0 Warnings' "$dir/compile.log"
check $? "the DSDT compiles again: $(tail -n 2 "$dir/compile.log" | head -n 1)"
