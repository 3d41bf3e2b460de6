#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# apply.sh DIR - put the files and patches into a Linux 7.3 tree, all or none of them
set -euo pipefail
. "$(dirname "$0")/../env.sh"

[ -n "${1:-}" ] || die "usage: make apply TREE=dir"
[ -d "$1" ] || die "$1: no such directory"
tree=$(readlink -f "$1")
stage=$tree/.hmm-apply

inspect() {
	local version changes

	[ -f "$tree/mm/hmm.c" ] || die "$tree: not a Linux source tree"
	version=$(linux_version "$tree")
	[ "$version" = 7.3 ] || die "$tree: Linux $version, but this is for 7.3.x"
	[ ! -e "$tree/lib/test_hmm/core.c" ] || die "$tree: has these files already"
	if [ -e "$tree/.git" ]; then
		changes=$(git -C "$tree" status --porcelain) || die "$tree: git cannot read it; see above"
		[ -z "$changes" ] || die "$tree: has uncommitted changes; commit or stash them first"
	elif [ -n "$(find "$tree" -name '*.rej' -print -quit)" ]; then
		die "$tree: has *.rej files, left from a patch that did not apply"
	fi
}

# Moves the original files back
undo() {
	local path

	trap '' INT TERM
	while read -r path; do
		if [ -e "$stage/old/$path" ]; then
			mv -f "$stage/old/$path" "$tree/$path"
		elif [ ! -e "$stage/new/$path" ]; then
			rm -f "$tree/$path"
		fi
	done <"$stage/list"
	finish
	die "$tree: could not be written; nothing was changed"
}

finish() {
	rm -rf "$stage"
	trap - EXIT
}

replace() {
	local path dir

	while read -r path; do
		dir=$(dirname "$path")
		mkdir -p "$tree/$dir" "$stage/old/$dir"
		[ ! -e "$tree/$path" ] || mv "$tree/$path" "$stage/old/$path"
		mv "$stage/new/$path" "$tree/$path"
	done <"$stage/list"
}

inspect
mkdir "$stage" || die "$stage: cannot be made; another run is active, or was interrupted: then remove it"
trap finish EXIT
mkdir "$stage/new" "$stage/old"
"$here/base/overlay.sh" "$tree" "$stage/new" || exit
(cd "$stage/new" && find . -type f -printf '%P\n' | sort) >"$stage/list"
trap undo EXIT
trap exit INT TERM
replace
nr=$(wc -l <"$stage/list")
finish
say "$tree: $nr files written"
