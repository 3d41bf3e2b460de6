#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# compare.sh [-k] [PROGRAM...] - the same selftests on stock Linux and on this, side by side
#
# One line a test, one line a row of what stock gets wrong, and the counts; kept
# as build/compare/table.txt. Fails if a test fails here.
#
# Stock is its mm/hmm.c, mm/migrate_device.c and mm/memremap.c, linked with the test
# driver, on the same kernel; see own-copy.sh. With -k it is a whole kernel, which
# has to be built.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$top/build/compare
changed=(mm/hmm.c mm/migrate_device.c mm/memremap.c)

make_stock() {
	local path

	rm -rf "$out/stock"
	for path in "${changed[@]}"; do
		mkdir -p "$out/stock/$(dirname "$path")"
		cp "$build/base/$path" "$out/stock/$path"
	done
	# S21 is seen at the beginning of a function that would be inlined
	"$here/mutants/own-copy.sh" -f "-fno-inline-functions-called-once -fno-ipa-sra" \
		"$out/stock" "${changed[@]}"
}

# From lines of "PROGRAM TEST" to verdicts
run_on_stock() {
	if [ -n "$whole" ]; then
		"$here/each-test.sh" -l "$out/stock.log" stock-check
	else
		sed "s|\$| $out/stock/test_hmm_range.ko|" |
			"$here/each-test.sh" -l "$out/stock.log" check | sed 's/ [^ ]*$//'
	fi
}

whole=
if [ "${1:-}" = -k ]; then
	whole=1
	shift
fi
locked compare
mkdir -p "$out"
"$here/base/check-kernel.sh"
if [ -n "$whole" ]; then
	"$here/base/check-kernel.sh" stock
else
	make_stock
fi
"$here/each-test.sh" -b >"$out/all"
if [ $# -gt 0 ]; then
	grep -E "^($(IFS='|'; echo "$*")) " "$out/all" >"$out/list" || die "$*: no such program"
else
	cp "$out/all" "$out/list"
fi
say "$(wc -l <"$out/list") tests on both; their words go to ${out#"$top"/}"
# Each has one processor for itself
run_on_stock <"$out/list" >"$out/stock.verdicts" &
"$here/each-test.sh" -l "$out/here.log" check <"$out/list" >"$out/here.verdicts" ||
	die "the tests do not run; see $out/here.log"
wait $! || die "the tests do not run on stock; see $out/stock.log"
"$here/check/compare_table.py" "$out/stock.verdicts" "$out/here.verdicts" \
	"$top"/tools/testing/selftests/hmm/*.c | tee "$out/table.txt"
! grep -qvE '^(pass|skip) ' "$out/here.verdicts"
