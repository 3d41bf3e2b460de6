#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# overlay.sh list [stock] - list the files of this repository that go into Linux
# overlay.sh lay-out BASE STAGE [stock] - copy them to STAGE, and the files that they patch from BASE
# overlay.sh apply TREE - add them to a Linux tree, all or none of them
#
# Whole files are at their kernel paths; FILE.patch and FILE.NN-name.patch change FILE,
# in this order, and may be links to a patch in fixes/, of which only the part for FILE
# is used. tools/testing/hmm is only for this repository, and not copied. "stock"
# is for testing an unmodified Linux: only the tests, and what an older Linux needs to
# compile them, which is in fixes/compat/VERSION here. Otherwise base/VERSION here, if
# it exists, is applied first: what an older Linux needs for our files and patches,
# which are made for 7.3; base/lacks here names those that it cannot have.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

list() { # [stock]
	local dir

	cd "$top"
	if [ "${1:-}" = stock ]; then
		find lib tools/testing/selftests ! -type d
	else
		for dir in */ MAINTAINERS*.patch; do
			case $dir in
			build/ | series/ | fixes/) ;;
			*) [ ! -e "$dir" ] || find "${dir%/}" -path tools/testing/hmm -prune -o ! -type d -print ;;
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

# The part of a patch that changes a file
part() { # FILE PATCH
	awk -v from="--- a/$1" '/^--- a\// { wanted = $0 == from } wanted' "$2"
}

# Without the files of directories that BASE does not have
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
			[ -f "$base/$file" ] || die "$path: $base has no $file to patch"
			(cd "$base" && cp --parents -t "$stage" "$file")
		fi
		# Without fuzz, patch assumes that a hunk with little context at its end
		# belongs to the end of the file
		if ! why=$(part "$file" "$root/$path" |
				patch -s -N -F1 --no-backup-if-mismatch -r - "$stage/$file" 2>&1); then
			die "$path does not apply to $base: $(head -1 <<<"$why")"
		fi
	done < <(grep '\.patch$' <<<"$2")
}

lay_out_older() { # DIR
	[ ! -d "$1" ] || lay_out "$1" "$(cd "$1" && find . ! -type d -printf "%P\n" | sort)"
}

left_out() { # VERSION
	awk -v version="$1" '$1 == version { print $2 }' "$here/base/lacks"
}

lay_out_all() { # [stock]
	local version

	version=$(linux_version "$base")
	if [ "${1:-}" = stock ]; then
		lay_out "$top" "$(list stock | of_base)"
		lay_out_older "$here/fixes/compat/$version"
	else
		lay_out_older "$here/base/$version"
		lay_out "$top" "$(list | grep -vxFf <(left_out "$version"))"
	fi
}

# Can the tree be changed?
inspect() {
	local version changes

	[ -f "$base/mm/hmm.c" ] || die "$base: not a Linux source tree"
	version=$(linux_version "$base")
	[ "$version" = 7.3 ] || [ -d "$here/base/$version" ] ||
		die "$base: Linux $version, but this is for 7.3.x and 7.2.x"
	[ ! -e "$base/lib/test_hmm/core.c" ] || die "$base: already has these files"
	if [ -e "$base/.git" ]; then
		changes=$(git -C "$base" status --porcelain) || die "$base: git cannot read it; see above"
		[ -z "$changes" ] || die "$base: has uncommitted changes; commit or stash them first"
	elif [ -n "$(find "$base" -name '*.rej' -print -quit)" ]; then
		die "$base: has *.rej files of a patch that did not apply"
	fi
}

# Moves the original files back, and removes the directories that are new
undo() {
	local path

	trap '' INT TERM
	while read -r path; do
		if [ -e "$work/old/$path" ]; then
			mv -f "$work/old/$path" "$base/$path"
		elif [ ! -e "$stage/$path" ]; then
			rm -f "$base/$path"
		fi
		rmdir -p --ignore-fail-on-non-empty "$base/${path%/*}" 2>/dev/null || true
	done <"$work/list"
	finish
	die "$base: could not be written; all changes were undone"
}

finish() {
	rm -rf "$work"
	trap - EXIT
}

replace() {
	local path dir

	while read -r path; do
		dir=$(dirname "$path")
		mkdir -p "$base/$dir" "$work/old/$dir"
		[ ! -e "$base/$path" ] || mv "$base/$path" "$work/old/$path"
		mv "$stage/$path" "$base/$path"
	done <"$work/list"
}

apply() {
	local nr

	inspect
	mkdir "$work" || die "$work: cannot be created; if no other make apply is running, remove it"
	trap finish EXIT
	mkdir "$stage" "$work/old"
	lay_out_all
	(cd "$stage" && find . -type f -printf '%P\n' | sort) >"$work/list"
	trap undo EXIT
	trap exit INT TERM
	replace
	nr=$(wc -l <"$work/list")
	finish
	say "$base: $nr files written"
}

usage="usage: overlay.sh list [stock] | overlay.sh lay-out BASE STAGE [stock] | overlay.sh apply TREE"
case ${1:-}:$# in
list:[12]) list "${2:-}" ;;
lay-out:[34])
	base=$(readlink -f "$2") stage=$(readlink -f "$3")
	lay_out_all "${4:-}" ;;
apply:2)
	[ -n "$2" ] || die "usage: make apply TREE=dir"
	[ -d "$2" ] || die "$2: no such directory"
	command -v patch >/dev/null || die "patch: not found; install it"
	base=$(readlink -f "$2")
	work=$base/.hmm-apply stage=$work/new
	apply ;;
*) die "$usage" ;;
esac
