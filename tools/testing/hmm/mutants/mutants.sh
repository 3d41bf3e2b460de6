#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh [-l] [NAME...] - reintroduce old bugs, one at a time: do the tests notice?
#
# mutants/NAME.diff reintroduces a bug. Its "Row:" line names the row of rows.md, and
# its "Test:" lines name the tests that should notice. A mutant is killed if one of
# them fails, or if the kernel complains or crashes, and the same test passes without
# the mutant. Otherwise it survives. -l lists the mutants, and the rows without one.
#
# A mutated file is linked into the test driver, see kernel.sh -c, so that one boot is
# enough for many mutants. After each mutant, its tests are run in the same way without
# it: they must pass, which also shows that the mutant has left no damage behind.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

dir=$here/mutants
out=$top/build/mutants

title() { head -1 "$dir/$1.diff"; }
tests() { sed -n 's/^Test: //p;/^---/q' "$dir/$1.diff"; }
file() { sed -n 's|^+++ b/||p' "$dir/$1.diff"; }

list() {
	local name

	for name; do
		printf '%-28s %s\n' "$name" "$(title "$name")"
	done
	echo
	cat "$dir/rows-without-mutant"
}

# Makes a module from the file, patched or not, if anything has changed
make_module() { # NAME FILE [PATCH]
	local to=$out/$1 new=$out/$1.new

	rm -rf "$new"
	mkdir -p "$new/$(dirname "$2")"
	cp "$out/tree/$2" "$new/$2"
	[ -z "${3:-}" ] ||
		patch -s -F0 -p1 --no-backup-if-mismatch -d "$new" <"$3" ||
		die "$1: does not apply; update it"
	if [ "$to/test_hmm.ko" -nt "$build/check/vmlinux" ] && cmp -s "$new/$2" "$to/$2"; then
		rm -rf "$new"
		return
	fi
	rm -rf "$to"
	mv "$new" "$to"
	"$here/base/kernel.sh" -c "$to" "$2"
}

# A copy, because the tree may change meanwhile
take_files() { # NAME...
	local name

	rm -rf "$out/tree"
	for name; do
		mkdir -p "$out/tree/$(dirname "$(file "$name")")"
		cp "$build/tree/$(file "$name")" "$out/tree/$(file "$name")"
	done
}

mutate_all() { # NAME...
	local name n=0

	for name; do
		make_module "$name" "$(file "$name")" "$dir/$name.diff" &
		n=$((n + 1))
		[ $((n % $(nproc))) != 0 ] || wait
	done
	wait
	for name; do
		[ -f "$out/$name/test_hmm.ko" ] || die "$name: build failed; see above"
	done
}

# The module without a mutant, for the same file
without() { # NAME
	echo "none-$(basename "$(file "$1")" .c)"
}

list_tests() { # MODULE NAME [sound]
	local test

	while read -r test; do
		echo "$test $out/$1/test_hmm.ko ${3:-}"
	done < <(tests "$2")
}

try() { # NAME...
	local name file

	for file in $(for name; do file "$name"; done | sort -u); do
		make_module "none-$(basename "$file" .c)" "$file"
	done
	say "running the tests, each with its mutant and without"
	for name; do
		list_tests "$name" "$name"
		list_tests "$(without "$name")" "$name" sound
	done | "$here/guest/guest.py" -l "$out/log" each check >"$out/verdicts"
}

# The verdicts are in the order of the list. A test that fails without the mutant as
# well proves nothing.
report() { # NAME...
	local name i n verdict how with without

	exec 3<"$out/verdicts"
	for name; do
		n=$(tests "$name" | wc -l)
		mapfile -t -n "$n" -u 3 with
		mapfile -t -n "$n" -u 3 without
		verdict=survived how=
		for ((i = 0; i < ${#with[@]}; i++)); do
			how+=" ${with[i]%% *}"
			if [[ ${without[i]:-} != pass* ]]; then
				how+=" (without it: ${without[i]%% *})"
			elif [[ ${with[i]} =~ ^(FAIL|splat|crash) ]]; then
				verdict=killed
			fi
		done
		printf '%-9s %-28s %s: %s\n' "$verdict" "$name" "$(title "$name")" "${how# }"
	done
}

only_list=
if [ "${1:-}" = -l ]; then
	only_list=1
	shift
fi
if [ $# = 0 ]; then
	mapfile -t names < <(cd "$dir" && printf '%s\n' *.diff | sed 's/\.diff$//')
	set -- "${names[@]}"
fi
for name; do
	[ -f "$dir/$name.diff" ] || die "$name: no such mutant; mutants.sh -l lists them"
	[ -n "$(tests "$name")" ] || die "$name: has no Test: line"
done
if [ -n "$only_list" ]; then
	list "$@"
	exit
fi

locked mutants
mkdir -p "$out"
"$here/base/kernel.sh" check
"$here/guest/guest.py" list >/dev/null
say "compiling $# mutants"
take_files "$@"
mutate_all "$@"
try "$@"
report "$@" | tee "$out/results.txt"
killed=$(grep -c ^killed "$out/results.txt" || true)
echo "$killed killed, $(($# - killed)) survived"
[ "$killed" = $# ]
