#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tests-guest.sh SECONDS PROGRAM... -- MODULE [PARAMETER]... - run kselftests in the guest
#
# A PROGRAM may have options behind it. Each speaks TAP; a line "# PROGRAM ended
# with N" follows it.
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
	read -ra words <<<"$program"
	name=${words[0]##*/} status=0
	cd "${words[0]%/*}"
	timeout -k 10 "$seconds" "./$name" "${words[@]:1}" || status=$?
	echo "# $name ended with $status"
done
