#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# overlay.sh -l [stock] - list the files of this repository that go into Linux
# overlay.sh BASE STAGE [stock] - lay out in STAGE what BASE is to become
#
# Whole files stand at their kernel paths; FILE.patch and FILE.NN-name.patch
# change FILE, in this order. tools/testing/hmm stays here: it is about this
# repository. "stock" is for a Linux to be tested as it is: the tests only, and what
# an older Linux lacks for them to compile, which is in fixes/compat/VERSION here.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

list() { # [stock]
	local dir

	cd "$top"
	if [ "${1:-}" = stock ]; then
		find lib tools/testing/selftests -type f
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

# Without what is for a directory that BASE does not have
of_base() {
	local path dir

	while read -r path; do
		dir=$(dirname "$path")
		[ ! -e "$top/$dir/Makefile.patch" ] || [ -d "$base/$dir" ] || continue
		echo "$path"
	done
}

lay_out() { # ROOT PATHS
	local root=$1 path file

	(cd "$root" && sed '/\.patch$/d; /^$/d' <<<"$2" | xargs -r cp -L --parents -t "$stage")
	while read -r path; do
		file=$(target "$path")
		if [ ! -e "$stage/$file" ]; then
			[ -f "$base/$file" ] || die "$path: there is no $file to be patched in $base"
			(cd "$base" && cp --parents -t "$stage" "$file")
		fi
		# Without fuzz patch takes a hunk with little context at its end for
		# one that belongs to the end of the file
		if ! why=$(patch -s -F1 --no-backup-if-mismatch -r - "$stage/$file" "$root/$path" 2>&1); then
			die "$path does not apply to $base: $(head -1 <<<"$why")"
		fi
	done < <(grep '\.patch$' <<<"$2")
}

lay_out_stock() {
	local compat

	compat=$here/fixes/compat/$(linux_version "$base")
	lay_out "$top" "$(list stock | of_base)"
	[ ! -d "$compat" ] || lay_out "$compat" "$(cd "$compat" && find . ! -type d -printf "%P\n" | sort)"
}

if [ "${1:-}" = -l ]; then
	list "${@:2}"
	exit
fi
[ $# -ge 2 ] || die "usage: overlay.sh -l [stock] | overlay.sh BASE STAGE [stock]"
base=$(readlink -f "$1") stage=$(readlink -f "$2")
case ${3:-} in
stock) lay_out_stock ;;
*) lay_out "$top" "$(list)" ;;
esac
