#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# compare.sh [PROGRAM...] - the same selftests on stock Linux and on this, side by side
#
# One line a test, one line a row of what stock gets wrong, and the counts; kept
# as build/compare/table.txt. Fails if a test fails here.
set -euo pipefail
. "$(dirname "$0")/env.sh"

out=$top/build/compare

run_on() { # KERNEL
	say "$1: $(wc -l <"$out/list") tests"
	"$here/each-test.sh" -l "$out/$1.log" "$1" <"$out/list" >"$out/$1"
}

locked compare
mkdir -p "$out"
say "building both kernels"
"$here/kernel.sh" stock-run stock x86_64 vm hmm rdma
"$here/kernel.sh" run tree x86_64 vm hmm rdma
"$here/each-test.sh" -b >"$out/all"
if [ $# -gt 0 ]; then
	grep -E "^($(IFS='|'; echo "$*")) " "$out/all" >"$out/list" || die "$*: no such program"
else
	cp "$out/all" "$out/list"
fi
# Each has one processor for itself
run_on stock-run &
run_on run || die "the tests do not run here; see $out/run.log"
wait $! || die "the tests do not run on stock; see $out/stock-run.log"
"$here/compare_table.py" "$out/stock-run" "$out/run" "$top"/tools/testing/selftests/hmm/*.c |
	tee "$out/table.txt"
! grep -qvE '^(pass|skip) ' "$out/run"
