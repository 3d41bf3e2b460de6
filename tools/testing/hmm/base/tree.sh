#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tree.sh [base|tree|stock|fixed]... - make or update source trees
#
#   base   unmodified Linux: LINUX_TREE=dir, LINUX_TARBALL=file, or Debian's.
#          Without BASE=version, and if Debian has no 7.3, the newest version that
#          Debian has and our files apply to.
#   tree   base with the files and patches of this repository
#   stock  base with only the tests, to run them on it; with FIXED=1, also with
#          fixes/VERSION, in build/VERSION-fixed
#   fixed  base with fixes/VERSION
#
# The trees share identical files through hard links, and a file that does not change
# keeps its date, so that an edit recompiles no more than it must.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

package=linux-source-$base_version
advice="give LINUX_TARBALL=file of Linux 7.3 or 7.2, or DEBIAN_SUITES=suite that has it"

# Is base.tmp a clean Linux $base_version?
inspect() { # WHERE-FROM
	local version

	[ -f "$build/base.tmp/mm/hmm.c" ] || die "$1: not a Linux source tree"
	version=$(linux_version "$build/base.tmp")
	[ "$version" = "$base_version" ] ||
		die "$1: Linux $version, not $base_version; give BASE=$version to use it"
	if [ -e "$build/base.tmp/.config" ] || [ -d "$build/base.tmp/include/config" ]; then
		die "$1: contains a build; run 'make mrproper' there first"
	fi
}

# Runs a command that makes base, and reports its error
making() { # WHAT-IT-IS COMMAND...
	local what=$1 why

	shift
	why=$("$@" 2>&1 >/dev/null) ||
		die "$what: $(head -1 <<<"$why"): is it complete, and has $build 2 GB of free space?"
}

unpack() { # TARBALL
	mkdir "$build/base.tmp"
	making "$1" tar -xf "$1" -C "$build/base.tmp" --strip-components=1
}

source_of() { # PACKAGE-FILE
	dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/$package.tar.xz" >"$build/base.tar.xz"
}

# The versions of Linux that Debian has, newest first
versions() {
	"$here/base/packages.sh" list linux-source- |
		sed -nE 's/^linux-source-([0-9]+\.[0-9]+)$/\1/p' | sort -Vru
}

# Switches to another version of Linux, also for later runs
fall_back() {
	local version served why=$advice

	served=$(versions)
	served=${served//$'\n'/, }
	if [ -n "${BASE:-}" ]; then
		die "Debian has no Linux $base_version, but ${served:-none}; give LINUX_TARBALL=file, or DEBIAN_SUITES=suite that has it"
	fi
	for version in ${served//,/}; do
		if why=$(BASE=$version "$0" tree 2>&1 | tail -1); then
			echo "$version" >"$top/build/fallback"
			say "Debian has no Linux $base_version: using $version, the newest that our files apply to"
			exec "$0" "${wanted[@]}"
		fi
		rm -rf "$top/build/$version"
	done
	die "Debian has no Linux $base_version, but ${served:-none}: ${why#tree.sh: }"
}

base_from_debian() {
	local deb status=0

	deb=$("$here/base/packages.sh" fetch "$package") || status=$?
	[ $status != 3 ] || fall_back
	[ $status = 0 ] || exit $status
	say "unpacking ${deb##*/}"
	making "$deb" source_of "$deb"
	unpack "$build/base.tar.xz"
}

remove_halves() { rm -rf "$build/base.tmp" "$build/base.tar.xz" "$build"/*.stage; }

# The same base as without FIXED=1
share_base() {
	[ -z "${HMM_BUILD:-}" ] || die "FIXED=1 and HMM_BUILD= exclude each other"
	env -u FIXED "$0" base
	# It may have chosen another version
	. "$here/env.sh"
	mkdir -p "$build"
	ln -sfn "../$base_version/base" "$build/base"
}

make_base() {
	local from=debian

	if [ -n "${FIXED:-}" ]; then
		share_base
		return
	fi
	if [ -n "${LINUX_TREE:-}" ]; then
		from=$(readlink -f "$LINUX_TREE")
		[ -d "$from" ] || die "LINUX_TREE=$LINUX_TREE: no such directory"
	elif [ -n "${LINUX_TARBALL:-}" ]; then
		from=$(readlink -f "$LINUX_TARBALL")
		[ -f "$from" ] || die "LINUX_TARBALL=$LINUX_TARBALL: no such file"
	fi
	if [ -d "$build/base" ]; then
		if [ "$from" != debian ] && [ "$from" != "$(cat "$build/base.from" 2>/dev/null)" ]; then
			die "$build/base is from another source; 'make clean' removes it"
		fi
		return
	fi
	remove_halves
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

# Copies changed files from $stage, and restores from base those that are no longer ours
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
	say "${dir##*/}: $(wc -l <"$stage.log") files updated"
}

lay_out() { # tree|stock|fixed
	local why

	if [ "$1" = fixed ] || [ "$1${FIXED:+-fixed}" = stock-fixed ]; then
		"$here/fixes/fixes.sh" lay-out "$build/base" "$stage"
	fi
	[ "$1" = fixed ] || why=$("$here/base/overlay.sh" lay-out "$build/base" "$stage" "$1" 2>&1) ||
		die "${why#overlay.sh: }; $advice"
}

make_overlaid() { # tree|stock|fixed
	local dir=$build/$1

	stage=$build/$1.stage
	rm -rf "$stage"
	mkdir "$stage"
	lay_out "$1"
	if [ ! -d "$dir" ]; then
		say "$1: linking to base"
		rm -rf "$dir.tmp" "$dir.list"
		cp -al "$build/base/." "$dir.tmp" || die "$dir: cannot be made; is the disk full?"
		mv "$dir.tmp" "$dir"
	fi
	install_stage "$dir"
	rm -rf "$stage" "$stage.log"
}

[ $# -gt 0 ] || set -- tree
wanted=("$@")
locked tree
trap remove_halves EXIT
for what; do
	case $what in
	base) make_base ;;
	tree | stock | fixed) make_base; make_overlaid "$what" ;;
	*) die "$what: not one of base, tree, stock, fixed" ;;
	esac
done
