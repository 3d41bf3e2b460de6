#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# each-test-guest.sh OBJDIR PROGRAMS LIST - what each-test.sh runs in the guest
set -euo pipefail
. "$(dirname "$0")/env.sh"

obj=$1 programs=$2 list=$3
loaded=

# Waits for a process in the background, up to so many tenths of a second
ended() { # PID TENTHS
	local i

	for ((i = 0; i < $2; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	return 1
}

# Swaps the test driver; one that does not go away, as a page of its memory is kept,
# needs another boot
use_driver() { # MODULE
	[ "$1" != "$loaded" ] || return 0
	if [ -n "$loaded" ]; then
		rmmod test_hmm_range &
		ended $! 200 || exit 0
		[ ! -d /sys/module/test_hmm_range ] || exit 0
	fi
	insmod "$1" "coherent=$coherent"
	loaded=$1
}

complaints() {
	dmesg | grep -cE "$splat" || true
}

# The verdict is the last thing that TAP says about a test
verdict() {
	awk '/^(not )?ok / { v = $1 == "not" ? "FAIL" : /# SKIP/ ? "skip" : "pass" }
	     /^1\.\.0$/ { v = "skip" }
	     END { print v ? v : "FAIL" }' /run/tap
}

# Runs a test until it ends or is found not to
run() { # PROGRAM TEST
	timeout -k 10 130 "./$1" -r "$2" </dev/null >/run/tap 2>&1 &
	ended $! 1500
}

cd "$programs"
while read -r program test module sound; do
	use_driver "${module:-$obj/lib/test_hmm_range.ko}"
	before=$(complaints)
	echo "begin $program $test${module:+ $module}"
	echo "begin $program $test${module:+ $module}" >/dev/kmsg
	run "$program" "$test" || exit 0
	said=$(verdict)
	[ "$(complaints)" = "$before" ] || said=splat
	sed 's/^/# /' /run/tap
	echo "$said $program $test${module:+ $module}"
	# Much that looks for faults looks for the first only
	[ "$said" != splat ] || exit 0
	[ "$said" = pass ] || [ -z "$sound" ] || exit 0
done <"$list"
