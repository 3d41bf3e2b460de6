#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# coverage-guest.sh PROGRAMS DIR - what coverage.sh runs in the guest
#
# Runs all tests with the test driver of DIR, then prints the counts of DIR/mm, as
# a tar archive in base64.
set -euo pipefail
. "$(dirname "$0")/env.sh"

insmod "$2/test_hmm_range.ko" "coherent=$coherent"
cd "$1"
for program in *; do
	[ -x "$program" ] || continue
	echo "== $program"
	timeout -k 10 1500 "./$program" </dev/null 2>&1 || true
done

echo "== counts"
# Files of debugfs have no size, which tar goes by
mkdir /run/counts
for counts in "/sys/kernel/debug/gcov$2"/mm/*.gcda; do
	cat "$counts" >"/run/counts/${counts##*/}"
done
tar -C /run/counts -cf - . | base64
