#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: test_exports.sh LIBRARY MAP HEADER
# The library exports what the map and the header name, and nothing else, and links libc alone.
set -eu
library=$1 map=$2 header=$3
sanitized=${4:-none}

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
mapped=$(sed -n 's/^\t\(gpt2c_[a-z_]*\);$/\1/p' "$map" | sort)
declared=$(grep -o 'gpt2c_[a-z_]*(' "$header" | tr -d '(' | sort -u)
[ -n "$exported" ]
if [ "$exported" != "$mapped" ] || [ "$exported" != "$declared" ]; then
	printf 'exported:\n%s\nin the map:\n%s\nin the header:\n%s\n' "$exported" "$mapped" "$declared"
	exit 1
fi
nm -D --defined-only "$library" | grep -v ' A ' | grep -v '@@GPT2CLIENT_0\.[12]$' && {
	echo 'exported without its version'
	exit 1
}
readelf -d "$library" | grep -q 'SONAME.*\[libgpt2client\.so\.0\]'
if [ "$sanitized" != none ]; then
	echo "dependencies not checked: built with the sanitizers $sanitized"
	exit 0
fi
needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if [ "$needed" != libc.so.6 ]; then
	printf 'linked: %s\n' "$needed"
	exit 1
fi
