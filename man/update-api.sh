#!/bin/sh
# Write the reference parts of hvd-api(7) from rpc.discover's document on standard
# input. The page with them goes to standard output:
#
#	hvctl call rpc.discover | man/update-api.sh man/hvd-api.7 >new
set -eu
page=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/doc.json"

# Text for mdoc: no line may begin with a dot or an apostrophe, minus and backslash are escaped.
defs='
def text: gsub("\\\\"; "\\e") | gsub("`"; "") | gsub("(?<a>[.:;]) (?<b>[A-Z])"; "\(.a)\n\(.b)") | gsub("^(?<c>[.\u0027])"; "\\&" + .c);
def named: if has("$ref") then .["$ref"] | split("/")[-1]
	elif has("oneOf") then "integer or text"
	elif .type == "array" then "array" + (if .items then " of " + (.items | named) else "" end)
	elif has("enum") then .enum | map(tostring) | join(" | ")
	else (.type // "any") | tostring end;
def fields($req): to_entries[] | ".It Sy \(.key) No ( \(.value | named)" +
	(if (.key as $k | $req | index($k)) then " , required" else "" end) +
	(if .value.default != null then " ; default \(.value.default)" else "" end) + " )",
	(if (.value.description // "") != "" then .value.description | text else "\\&" end);
'
jq -r "$defs"'
def common: ["rpc.parse_error", "rpc.nesting_too_deep", "rpc.line_too_long", "rpc.invalid_request",
	"rpc.invalid_params", "rpc.method_not_found", "permission.denied", "rpc.internal_error",
	"resource.exhausted", "daemon.stopping"];
.methods | sort_by(.name)[] |
	".Ss \(.name)",
	(.summary | text),
	(if .["x-privilege"] == "ro" then "Read-only." else empty end),
	(if .["x-gives-fds"] then "Answers may bring a descriptor." else empty end),
	(if .params | length > 0 then ".Bl -tag -width Ds",
		(.params[] | . as $p |
			".It Sy \(.name) No ( \(.schema | named)" + (if .required then " , required" else "" end) +
			(if .schema.default != null then " ; default \(.schema.default)" else "" end) + " )",
			(if (.description // "") != "" then .description | text else "\\&" end)),
		".El" else empty end),
	(if (.result.schema.properties // {}) | length > 0 then ".Pp", "Result:", ".Bl -tag -width Ds",
		(.result.schema as $s | $s.properties | fields($s.required // [])), ".El"
	 elif .result.schema["$ref"] then ".Pp", "Result: \(.result.schema | named)." else empty end),
	([.errors[]["$ref"] | split("/")[-1] | select(. as $e | common | index($e) | not)] |
		if length > 0 then ".Pp", "Errors: " + join(", ") + "." else empty end)
' "$dir/doc.json" >"$dir/methods"
jq -r "$defs"'
def object($path): . as $s | ".Bl -tag -width Ds",
	($s.properties | fields($s.required // [])), ".El";
.components.schemas.DomainConfig as $c | $c | object(""),
	($c.properties | to_entries[] | select(.value.properties) | ".Ss \(.key)", (.value | object(.key))),
	($c.properties | to_entries[] | select(.value.items.properties) |
		".Ss \(.key), each", (.value.items | object(.key)))
' "$dir/doc.json" >"$dir/domain"
jq -r "$defs"'
".Bl -tag -width Ds", (.components.errors | to_entries[] | ".It Sy \(.key)", (.value.message | text)), ".El"
' "$dir/doc.json" >"$dir/errors"
awk -v dir="$dir" '
	/^\.\\" [a-z]*:begin$/ {
		print
		name = $2
		sub(":begin", "", name)
		while ((getline line < (dir "/" name)) > 0)
			print line
		skip = 1
		next
	}
	/^\.\\" [a-z]*:end$/ { skip = 0 }
	!skip { print }' "$page"
