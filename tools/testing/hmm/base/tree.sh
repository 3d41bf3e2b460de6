#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tree.sh [base|tree|stock]... - make source trees, or bring them up to date
#
#   base   Linux as it comes: LINUX_TREE=dir, LINUX_TARBALL=file, or Debian's
#   tree   base with the files and patches of this repository
#   stock  base with the tests only, to see what they say about it
#
# The trees share what they have in common through hard links, and a file that
# stays the same keeps its date: an edit costs as much compiling as it must.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

package=linux-source-7.3

# Has what is in base.tmp the looks of a clean Linux 7.3?
inspect() { # WHERE-FROM
	local version

	[ -f "$build/base.tmp/mm/hmm.c" ] || die "$1: not a Linux source tree"
	version=$(linux_version "$build/base.tmp")
	[ "$version" = 7.3 ] || die "$1: Linux $version, but this is for 7.3.x"
	if [ -e "$build/base.tmp/.config" ] || [ -d "$build/base.tmp/include/config" ]; then
		die "$1: was built in; run 'make mrproper' there first"
	fi
}

# A command of which base is made, and what to say if it fails
making() { # WHAT-IT-IS COMMAND...
	local what=$1 why

	shift
	why=$("$@" 2>&1 >/dev/null) ||
		die "$what: $(head -1 <<<"$why"): is it whole, and has $build room for 2 GB?"
}

unpack() { # TARBALL
	mkdir "$build/base.tmp"
	making "$1" tar -xf "$1" -C "$build/base.tmp" --strip-components=1
}

source_of() { # PACKAGE-FILE
	dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/$package.tar.xz" >"$build/base.tar.xz"
}

base_from_debian() {
	local deb

	deb=$("$here/base/fetch.sh" "$package")
	say "unpacking ${deb##*/}"
	making "$deb" source_of "$deb"
	unpack "$build/base.tar.xz"
}

remove_halves() { rm -rf "$build/base.tmp" "$build/base.tar.xz"; }

make_base() {
	local from=debian

	if [ -n "${LINUX_TREE:-}" ]; then
		from=$(readlink -f "$LINUX_TREE")
		[ -d "$from" ] || die "LINUX_TREE=$LINUX_TREE: no such directory"
	elif [ -n "${LINUX_TARBALL:-}" ]; then
		from=$(readlink -f "$LINUX_TARBALL")
		[ -f "$from" ] || die "LINUX_TARBALL=$LINUX_TARBALL: no such file"
	fi
	if [ -d "$build/base" ]; then
		if [ "$from" != debian ] && [ "$from" != "$(cat "$build/base.from" 2>/dev/null)" ]; then
			die "$build/base is of another origin; 'make clean' removes it"
		fi
		return
	fi
	remove_halves
	trap remove_halves EXIT
	if [ "$from" = debian ]; then
		base_from_debian
	elif [ -d "$from" ]; then
		say "copying $from"
		making "$from" cp -a "$from" "$build/base.tmp"
		rm -rf "$build/base.tmp/.git"
	else
		say "unpacking $from"
		unpack "$from"
	fi
	inspect "$from"
	echo "$from" >"$build/base.from"
	mv "$build/base.tmp" "$build/base"
	remove_halves
}

# Takes over from $stage what is new, and from base what is no longer ours
install_stage() { # DIR
	local dir=$1 path

	(cd "$stage" && find . -type f -printf '%P\n' | sort) >"$stage.list"
	touch "$dir.list"
	comm -13 "$stage.list" "$dir.list" | while read -r path; do
		rm -f "$dir/$path"
		[ ! -e "$build/base/$path" ] || cp "$build/base/$path" "$dir/$path"
		echo "$path"
	done >"$stage.log"
	rsync -rp --checksum --out-format=%n "$stage/" "$dir/" | grep -v '/$' >>"$stage.log" || true
	mv "$stage.list" "$dir.list"
	say "${dir##*/}: $(wc -l <"$stage.log") files brought up to date"
}

make_overlaid() { # tree|stock
	local dir=$build/$1

	stage=$build/$1.stage
	rm -rf "$stage"
	mkdir "$stage"
	"$here/base/overlay.sh" "$build/base" "$stage" "$1"
	if [ ! -d "$dir" ]; then
		say "$1: linking to base"
		rm -rf "$dir.tmp" "$dir.list"
		cp -al "$build/base" "$dir.tmp" || die "$dir: cannot be made; is there room?"
		mv "$dir.tmp" "$dir"
	fi
	install_stage "$dir"
	rm -rf "$stage" "$stage.log"
}

[ $# -gt 0 ] || set -- tree
locked tree
for what; do
	case $what in
	base) make_base ;;
	tree | stock) make_base; make_overlaid "$what" ;;
	*) die "$what: there are base, tree and stock" ;;
	esac
done
