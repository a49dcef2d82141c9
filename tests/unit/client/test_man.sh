#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: test_man.sh PAGE EXAMPLE PARTS HEADER README
# The page quotes both examples and the README the first as they are compiled (but for the licence line), the page
# names every function, error and flag of the header, and mandoc, where there is one, finds no fault with it.
set -eu
page=$1 example=$2 parts=$3 header=$4 readme=$5

scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
quotes() {
	name=$(basename "$1" .c)
	sed -n "/^\.\\\\\" $name\.c begins\$/,/^\.\\\\\" $name\.c ends\$/p" "$page" |
		sed -e '/^\.\\"/d' -e '/^\.Bd/d' -e '/^\.Ed/d' -e 's/^\\&//' -e 's/\\-/-/g' -e 's/\\e/\\/g' \
			>"$scratch/quoted"
	sed 1d "$1" >"$scratch/compiled"
	diff "$scratch/quoted" "$scratch/compiled" || {
		echo "$page does not quote $1"
		exit 1
	}
}
quotes "$parts"
quotes "$example"
sed -n '/^```c$/,/^```$/p' "$readme" | sed '/^```/d' >"$scratch/quoted"
diff "$scratch/quoted" "$scratch/compiled" || {
	echo "$readme does not quote $example"
	exit 1
}
for name in $(grep -o 'gpt2c_[a-z_]*(' "$header" | tr -d '(' | sort -u) \
	$(sed -n 's/^#define \(GPT2C_[A-Z0-9_]*\) .*/\1/p' "$header" | grep -v GPT2C_VERSION); do
	grep -q "\(^\|[^A-Za-z_]\)$name\([^A-Za-z_]\|\$\)" "$page" || {
		echo "$page does not mention $name"
		exit 1
	}
done
if ! command -v mandoc >/dev/null; then
	echo 'no mandoc: the page is not linted'
	exit 0
fi
mandoc -T lint -W warning "$page"
