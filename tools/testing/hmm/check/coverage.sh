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
"$here/base/check-kernel.sh"
"$here/each-test.sh" -b >/dev/null
cp "$build"/tree/mm/hmm.c "$build"/tree/mm/hmm_dma.c "$out/mm/"
# Nothing inlined that need not be: each function is counted once, not in each copy.
# Two processors count at the same time.
sed -i 's/^static __always_inline /static noinline /' "$out"/mm/*.c
"$here/mutants/own-copy.sh" -f "-fprofile-arcs -fprofile-update=atomic -ftest-coverage -fno-tree-loop-im -fno-inline" \
	-o mm/tests/hmm_kunit.o "$out" mm/hmm.c mm/hmm_dma.c
say "running the tests; their words go to ${out#"$top"/}/tests.log"
"$here/vm.sh" -m "$guest_memory" -t 3600 -a "$guest_args kmemleak=off kunit.enable=1" -q "$guest_qemu" \
	-l "$out/console.log" check "$here/coverage-guest.sh" "$build/selftests" "$out" \
	>"$out/tests.log" || die "the guest did not get to the end; see $out/console.log"
sed '1,/^== counts/d' "$out/tests.log" | base64 -d | tar -xf - -C "$out/mm"
for file in hmm hmm_dma; do
	(cd "$out/mm" && gcov --branch-probabilities --json-format --stdout "$file.gcda") >"$out/$file.json"
done
"$here/check/coverage.py" "$here/check/coverage.explained" "$out"/*.json | tee "$out/summary.txt"
