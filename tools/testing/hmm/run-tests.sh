#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run-tests.sh KERNEL SECONDS PROGRAM... -- MODULE [PARAMETER]...
#
# Boots KERNEL, loads MODULE, runs the kselftest PROGRAMs, none for longer than
# SECONDS, and adds up. A PROGRAM may have options behind it, in the same word. What
# the guest's kernel complains about, and a program that ends without a count, is
# one failure more.
set -euo pipefail
. "$(dirname "$0")/env.sh"

[ $# -ge 5 ] || die "usage: run-tests.sh KERNEL SECONDS PROGRAM... -- MODULE [PARAMETER]..."
kernel=$1 seconds=$2
shift 2
nr=0
for program; do
	[ "$program" != -- ] || break
	nr=$((nr + 1))
done
program=${1%% *}
log=$build/$kernel/${program##*/}
status=0
"$here/vm.sh" -m "$guest_memory" -a "$guest_args" -q "$guest_qemu" -t $((seconds * nr + 120)) \
	-l "$log-console.log" "$kernel" "$here/tests-guest.sh" "$seconds" "$@" 2>&1 |
	tee "$log.tap" || status=1
# Programs whose count is missing or whose end is a bad one without a failure
awk -v nr=$nr -v status=$status '
/^# Totals:/ {
	gsub(/[a-z]+:/, "")
	pass += $3 + $5 + $6
	fail += $4 + $8
	skip += $7
	bad = $4 + $8
	counted = 1
}
/^# [^ ]+ ended with [0-9]+$/ {
	ended++
	if (!counted || ($NF && !bad)) {
		print "not ok - " $2 ($NF == 124 ? " took too long" : " ended badly")
		fail++
	}
	bad = counted = 0
}
END {
	if (ended < nr || (status && !fail)) {
		print "not ok - the guest: see above"
		fail++
	}
	printf "%d passed, %d failed, %d skipped\n", pass, fail, skip
	exit fail > 0
}' "$log.tap"
