#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh [-l] [NAME...] - put old faults back, one at a time: do the tests notice?
#
# mutants/NAME.diff brings back the fault of the row that it is named after. Its
# "Test:" lines say which tests are to notice. A mutant is killed if one of them
# fails, or if the kernel complains or dies under it; else it survives. All of the
# tests must pass without a mutant. -l lists them, and the rows without.
#
# A mutated file is linked with the test driver, see own-copy.sh: so one boot is good
# for many mutants. The tests without a mutant go the same way, before all others and
# after each mutant, to see that none suffers from the one before.
set -euo pipefail
. "$(dirname "$0")/env.sh"

dir=$here/mutants
out=$top/build/mutants

title() { head -1 "$dir/$1.diff"; }
tests() { sed -n 's/^Test: //p;/^---/q' "$dir/$1.diff"; }
file() { sed -n 's|^+++ b/||p' "$dir/$1.diff"; }

list() {
	local name

	for name; do
		printf '%-20s %s\n' "$name" "$(title "$name")"
	done
	echo
	cat "$dir/without"
}

# A copy of the file, to be changed or not, of which own-copy.sh makes a module
copy() { # NAME FILE
	rm -rf "${out:?}/$1"
	mkdir -p "$out/$1/$(dirname "$2")"
	cp "$build/tree/$2" "$out/$1/$2"
}

mutate() { # NAME
	local file
	file=$(file "$1")

	copy "$1" "$file"
	patch -s -F0 -p1 --no-backup-if-mismatch -d "$out/$1" <"$dir/$1.diff" ||
		die "$1: does not apply: bring it up to date"
	"$here/own-copy.sh" "$out/$1" "$file"
}

mutate_all() { # NAME...
	local name n=0

	for name; do
		mutate "$name" &
		n=$((n + 1))
		[ $((n % $(nproc))) != 0 ] || wait
	done
	wait
	for name; do
		[ -f "$out/$name/test_hmm_range.ko" ] || die "$name: there is no such module; see above"
	done
}

run() { # WHAT: from lines of tests and modules to verdicts
	"$here/each-test.sh" -l "$out/$1.log" check >"$out/$1.verdicts"
}

# The module without a mutant in the file of that one
without() { # NAME
	echo "none-$(basename "$(file "$1")" .c)"
}

list_tests() { # MODULE NAME [sound]
	local test

	while read -r test; do
		echo "$test $out/$1/test_hmm_range.ko ${3:-}"
	done < <(tests "$2")
}

# Tests that do not pass anyway cannot tell
try_without() { # NAME...
	local name file

	for file in $(for name; do file "$name"; done | sort -u); do
		copy "none-$(basename "$file" .c)" "$file"
		"$here/own-copy.sh" "$out/none-$(basename "$file" .c)" "$file"
	done
	say "the tests without a mutant"
	for name; do
		list_tests "$(without "$name")" "$name"
	done | sort -u -k 3 -k 1 | run none
	if grep -v '^pass' "$out/none.verdicts"; then
		die "these must pass without a mutant; see $out/none.log.tap"
	fi
}

try() { # NAME...
	local name

	say "the tests with each mutant"
	for name; do
		list_tests "$name" "$name"
		list_tests "$(without "$name")" "$name" sound
	done | run mutants
}

report() { # NAME
	local how verdict=survived

	how=$(awk -v module="$out/$1/test_hmm_range.ko" \
		'$4 == module && !seen[$1]++ { printf "%s%s", sep, $1; sep = " " }' "$out/mutants.verdicts")
	case " $how " in
	*" FAIL "* | *" splat "* | *" crash "*) verdict=killed ;;
	esac
	printf '%-9s %-20s %s (%s)\n' "$verdict" "$1" "$(title "$1")" "${how:-not tried}"
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
	[ -n "$(tests "$name")" ] || die "$name: names no test that is to notice"
done
if [ -n "$only_list" ]; then
	list "$@"
	exit
fi

locked mutants
mkdir -p "$out"
"$here/check-kernel.sh"
"$here/each-test.sh" -b >/dev/null
say "compiling $# mutants"
mutate_all "$@"
try_without "$@"
try "$@"
for name; do report "$name"; done | tee "$out/results.txt"
killed=$(grep -c ^killed "$out/results.txt" || true)
echo "$killed killed, $(($# - killed)) survived"
[ "$killed" = $# ]
