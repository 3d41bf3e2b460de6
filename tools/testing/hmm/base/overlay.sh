#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# overlay.sh -l [stock] - list the files of this repository that go into Linux
# overlay.sh BASE STAGE [stock] - lay out in STAGE what BASE is to become
#
# Whole files stand at their kernel paths; FILE.patch and FILE.NN-name.patch
# change FILE, in this order. tools/testing/hmm stays here: it is about this
# repository. "stock" is for a Linux to be tested as it is: the tests only.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

list() { # [stock]
	local dir

	cd "$top"
	if [ "${1:-}" = stock ]; then
		find lib/test_hmm lib/Kconfig.debug*.patch lib/Makefile*.patch \
			tools/testing/selftests -type f
	else
		for dir in */ MAINTAINERS*.patch; do
			case $dir in
			build/ | series/ | fixes/) ;;
			*) [ ! -e "$dir" ] || find "${dir%/}" -path tools/testing/hmm -prune -o -type f -print ;;
			esac
		done
	fi | grep -vE '~$|/\.[^/]*\.sw.$|\.(o|ko|orig|rej|tmp|pyc)$' | sort
}

# The file that a patch changes
target() { # PATCH
	local file=${1%.patch}

	[[ ! $file =~ ^(.*)\.[0-9]+-[^/]*$ ]] || file=${BASH_REMATCH[1]}
	echo "$file"
}

lay_out() { # [stock]
	local path file all

	all=$(list "$@")
	(cd "$top" && grep -v '\.patch$' <<<"$all" | xargs cp --parents -t "$stage")
	while read -r path; do
		file=$(target "$path")
		if [ ! -e "$stage/$file" ]; then
			[ -f "$base/$file" ] || die "$path: there is no $file to be patched in $base"
			(cd "$base" && cp --parents -t "$stage" "$file")
		fi
		# Without fuzz patch takes a hunk with little context at its end for
		# one that belongs to the end of the file
		if ! why=$(patch -s -F1 --no-backup-if-mismatch -r - "$stage/$file" "$top/$path" 2>&1); then
			die "$path does not apply to $base: $(head -1 <<<"$why")"
		fi
	done < <(grep '\.patch$' <<<"$all")
}

if [ "${1:-}" = -l ]; then
	list "${@:2}"
	exit
fi
[ $# -ge 2 ] || die "usage: overlay.sh -l [stock] | overlay.sh BASE STAGE [stock]"
base=$(readlink -f "$1") stage=$(readlink -f "$2")
lay_out "${@:3}"
