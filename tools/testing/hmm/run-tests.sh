#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run-tests.sh KERNEL SECONDS PROGRAM... -- MODULE [PARAMETER]...
#
# Boots KERNEL, loads MODULE, runs the kselftest PROGRAMs, none for longer than
# SECONDS, and adds up. A PROGRAM may have options behind it, in the same word. What
# the guest's kernel complains about is one failure more.
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
awk -v nr=$nr -v status=$status -f "$here/count-tap.awk" "$log.tap"
