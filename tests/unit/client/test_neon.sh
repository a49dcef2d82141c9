#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: test_neon.sh SOURCE
# The NEON kernels, compiled for AArch64 and run under qemu-user.
set -eu
source=$1
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
	if ! command -v $tool >/dev/null; then
		echo "skipped: no $tool"
		exit 77
	fi
done
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$source"
aarch64-linux-gnu-gcc -std=gnu17 -O3 -Wall -Wextra -Werror -ffp-contract=off -static -I. -o "$scratch/kernels" \
	tests/unit/client/cross_kernels.c client/kernels.c client/kernels_neon.c client/kernels_portable.c
qemu-aarch64 "$scratch/kernels" | tee "$scratch/out"
grep -q '^neon agrees with portable$' "$scratch/out"
