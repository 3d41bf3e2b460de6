#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# programs.sh [torture|hmm-tests|selftests]... - compile what runs in the guest
#
# The torture and the kernel's own hmm-tests into build/7.3/programs, our
# selftests into build/7.3/selftests; with the headers of the kernel that is
# tested, not those of this machine.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

kselftest() { # DIR OUTPUT [TARGET]
	make -s -C "$build/tree" O="$build/headers" headers
	make -s -C "$build/tree/tools/testing/selftests/$1" OUTPUT="$2" \
		KHDR_INCLUDES="-isystem $build/headers/usr/include" "${@:3}"
}

compile() { # WHAT
	case $1 in
	torture) cc -O2 -Wall -o "$build/programs/odp_torture" \
		"$here/run/odp_torture.c" -libverbs -lpthread ;;
	hmm-tests) kselftest mm "$build/programs" "$build/programs/hmm-tests" ;;
	selftests) kselftest hmm "$build/selftests" ;;
	*) die "$1: there are torture, hmm-tests and selftests" ;;
	esac
}

[ $# -gt 0 ] || set -- torture hmm-tests selftests
"$here/base/tree.sh" tree
locked programs
mkdir -p "$build/headers" "$build/programs" "$build/selftests"
for what; do
	log=$build/programs/$what.log
	if ! (compile "$what") >"$log" 2>&1; then
		grep -m 10 -E 'error|\*\*\*' "$log" >&2 || tail -3 "$log" >&2
		die "$what: does not build; see $log"
	fi
done
