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
# What each release exported, under its own name: programs were linked against that.
exports_of() {
	nm -D --defined-only "$library" | sed -n "s/.* \([a-z0-9_]*\)@@GPT2CLIENT_$1\$/\1/p" | sort |
		tr '\n' ' '
}
expect() {
	[ "$(exports_of "$1")" = "$2" ] || {
		echo "GPT2CLIENT_$1: $(exports_of "$1")"
		exit 1
	}
}
expect 0.1 'gpt2c_close gpt2c_embed gpt2c_embed_at gpt2c_get_fd gpt2c_get_info gpt2c_get_tensor gpt2c_get_tensor_at gpt2c_open gpt2c_open_file gpt2c_open_with gpt2c_ref gpt2c_rows gpt2c_state gpt2c_strerror gpt2c_version '
expect 0.2 'gpt2c_embed_part gpt2c_prefetch gpt2c_refresh gpt2c_verify_rows '
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
