#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# coverage.sh - which lines and branches of mm/hmm.c and mm/hmm_dma.c the tests reach
#
# The selftests and KUnit's.
#
# Every function and 95 % of the branches must be reached, and what is not must be
# explained in coverage.explained. The whole is kept in build/coverage/.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/coverage

locked coverage
rm -rf "$out"
mkdir -p "$out/mm"
"$here/base/kernel.sh" check
"$here/guest/guest.py" list >/dev/null
cp "$build"/tree/mm/hmm.c "$build"/tree/mm/hmm_dma.c "$out/mm/"
# Nothing inlined that need not be: each function is counted once, not in each copy.
# Two processors count at the same time.
sed -i 's/^static __always_inline /static noinline /' "$out"/mm/*.c
"$here/mutants/own-copy.sh" -f "-fprofile-arcs -fprofile-update=atomic -ftest-coverage -fno-tree-loop-im -fno-inline" \
	-o mm/tests/hmm_kunit.o "$out" mm/hmm.c mm/hmm_dma.c
say "running the tests; their words go to ${out#"$top"/}/tests.log"
# shellcheck disable=SC2016 # the guest's variables
"$here/guest/guest.py" -t 3600 -a "kmemleak=off kunit.enable=1" -d all -i "$out/test_hmm_range.ko" \
	-l "$out/console.log" run check bash -c '
	cd "$1"
	for program in *; do
		[ -f "$program" ] && [ -x "$program" ] || continue
		echo "== $program"
		timeout -k 10 1500 "./$program" || true
	done
	echo "== counts"
	# Files of debugfs have no size, which tar goes by
	mkdir /run/counts
	for counts in "/sys/kernel/debug/gcov$2"/mm/*.gcda; do
		cat "$counts" >"/run/counts/${counts##*/}"
	done
	tar -C /run/counts -cf - . | base64' bash "$build/selftests/hmm" "$out" \
	>"$out/tests.log" || die "the guest did not get to the end; see $out/console.log"
sed '1,/^== counts/d' "$out/tests.log" | base64 -d | tar -xf - -C "$out/mm"
for file in hmm hmm_dma; do
	(cd "$out/mm" && gcov --branch-probabilities --json-format --stdout "$file.gcda") >"$out/$file.json"
done
"$here/check/coverage.py" "$here/check/coverage.explained" "$out"/*.json | tee "$out/summary.txt"
