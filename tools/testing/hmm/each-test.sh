#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# each-test.sh [-l LOG] [-t SECONDS] KERNEL - run selftests one by one in the guest
# each-test.sh -b - build them, and print what there are
#
# Reads lines of "PROGRAM TEST [MODULE [sound]]", where MODULE is a test driver to be
# used instead of KERNEL's, and prints one line for each, in that order, beginning with
#
#   pass FAIL skip   as the test itself says
#   splat            the kernel complained meanwhile
#   crash            the test did not end, or the guest did, or took SECONDS
#
# It goes on with the next test in another boot if it must, or if a test marked as
# sound, which is to show that nothing is left of the test before, has not passed. The tests' own words
# are in LOG.tap, the kernel's in LOG.
set -euo pipefail
. "$(dirname "$0")/env.sh"

usage="usage: each-test.sh [-l LOG] [-t SECONDS] KERNEL"
programs=$build/selftests

# The harness lists variants and tests of a fixture side by side
list_tests() { # PROGRAM
	{ "$programs/$1" -l 2>&1 || true; } | awk -v program="$1" '
	function flush(i, j) {
		for (i = 0; i < v || (!v && i < 1); i++)
			for (j = 0; j < t; j++)
				print program, fixture "." (v ? variant[i] "." : "") test[j]
		v = t = 0
	}
	/^#/ { next }
	/^---/ { flush(); next }
	{
		if (substr($0, 1, 1) != " ")
			fixture = $1
		col = substr($0, 22, 25); gsub(/ /, "", col)
		if (col) variant[v++] = col
		col = substr($0, 48); gsub(/ /, "", col)
		if (col) test[t++] = col
	}
	END { flush() }'
}

build_all() {
	local program all

	"$here/base/programs.sh" selftests >&2
	read -ra all < <(sed -n 's/^TEST_GEN_PROGS := //p' \
		"$build/tree/tools/testing/selftests/hmm/Makefile")
	for program in "${all[@]}"; do
		list_tests "$program"
	done
}

log='' seconds=3000
while getopts bl:t: option; do
	case $option in
	b) build_all; exit ;;
	l) log=$OPTARG ;;
	t) seconds=$OPTARG ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || die "$usage"
kernel=$1
log=${log:-$build/$kernel/each-test.log}

job=$(mktemp -d "$build/each-test.XXXXXX")
trap 'rm -rf "$job"' EXIT

# One boot: what it says goes to $job/said, the kernel's part to $job/log
boot() {
	"$here/vm.sh" -m "$guest_memory" -t "$seconds" -a "$guest_args kmemleak=off" \
		-q "$guest_qemu" -l "$job/log" "$kernel" "$here/each-test-guest.sh" \
		"$build/$kernel" "$programs" "$job/list" >"$job/said" 2>"$job/why" || true
	cat "$job/said" >>"$log.tap"
	cat "$job/log" >>"$log"
}

# A test that was begun and did not end is what the boot ended with
verdicts() {
	awk '/^begin / { open = substr($0, 7) }
	     /^(pass|FAIL|skip|splat) / { print; open = "" }
	     END { if (open) print "crash", open }' "$job/said"
}

: >"$log"
: >"$log.tap"
cat >"$job/list"
while [ -s "$job/list" ]; do
	boot
	verdicts >"$job/verdicts"
	[ -s "$job/verdicts" ] || die "$kernel: no test was begun: $(head -1 "$job/why"); see $log"
	cat "$job/verdicts"
	sed -i "1,$(wc -l <"$job/verdicts")d" "$job/list"
done
