#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests-guest.sh SECONDS PROGRAM... -- MODULE [PARAMETER]... - run kselftests in the guest
#
# Each program speaks TAP; a line "# PROGRAM ended with N" follows it.
set -euo pipefail

seconds=$1 programs=()
shift
while [ "$1" != -- ]; do
	programs+=("$1")
	shift
done
shift
insmod "$@"
for program in "${programs[@]}"; do
	name=${program##*/} status=0
	cd "${program%/*}"
	timeout -k 10 "$seconds" "./$name" || status=$?
	echo "# $name ended with $status"
done
