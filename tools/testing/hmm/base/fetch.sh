#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fetch.sh PACKAGE - download a Debian package, and print its path
# fetch.sh -s PACKAGE - the same for the upstream source of a package in sid
# fetch.sh -l PREFIX - list the packages whose names begin like this
#
# Uses apt and Debian's keys, but not the apt configuration of this machine: lists,
# cache and sources.list are under build/apt. The mirror is DEBIAN_MIRROR=url, or else
# the one that this machine is configured for. DEBIAN_SUITES="forky" names the suites
# to search; the first one that has the package is used. The exit status is 3 if none
# has it.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

usage="usage: fetch.sh [-s] PACKAGE | fetch.sh -l PREFIX"
suites="trixie-backports forky sid trixie bookworm-backports"
type=deb what=".deb" list=
case ${1:-} in
-s) suites=sid type=deb-src what=".orig.tar.*"; shift ;;
-l) list=1; shift ;;
esac
package=${1:?$usage}
apt=$top/build/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

newest() {
	[ ! -d "$apt" ] || find "$apt" -maxdepth 1 -name "${package}_*$what" ! -name '*.asc' |
		sort -V | tail -1
}

download() {
	case $type in
	deb) private_apt download "$package" ;;
	deb-src) private_apt source --download-only "$package" ;;
	esac
}

mirror() {
	local release

	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # the format is apt's
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' "Created-By: Packages" |
		awk -v release="$release" '$1 == release && $2 == "main" { print $3 }' |
		sort -u | awk '{ print /\/debian\/$/ ? 0 : 1, $0 }' | sort | head -1 | cut -d' ' -f2
}

options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=-
	-o Dir::State::Lists="$apt/lists" -o Dir::State::status=/dev/null
	-o Dir::Cache="$apt" -o APT::Sandbox::User=root)

private_apt() {
	apt-get -q "${options[@]}" -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@" >>"$log" 2>&1
}

served() { apt-cache "${options[@]}" pkgnames "$package"; }

# Uses SUITE from now on; false if the mirror does not have it
read_suite() { # SUITE
	echo "$type [signed-by=$keyring] $url $1 main" >"$apt/sources.list"
	: >"$log"
	private_apt update && return
	grep -q 'does not have a Release file' "$log" && return 1
	tail -3 "$log" >&2
	die "$url $1: cannot be read; see $log"
}

has_package() { [ $type = deb-src ] || served | grep -xF "$package" >/dev/null; }

fetch() {
	rm -rf "$apt/partial"
	mkdir "$apt/partial"
	(cd "$apt/partial" && download) || {
		tail -3 "$log" >&2
		die "$package: cannot be downloaded from $url; see $log, or give LINUX_TARBALL=file or LINUX_TREE=dir"
	}
	mv "$apt/partial/$package"_* "$apt/"
	rm -rf "$apt/partial"
	newest
}

if [ -z "$list" ] && [ -n "$(newest)" ]; then
	newest
	exit
fi
command -v apt-get >/dev/null ||
	die "needs apt-get for $package; or give LINUX_TARBALL=file or LINUX_TREE=dir"
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
log=$apt/log
url=${DEBIAN_MIRROR:-$(mirror)}
[ -n "$url" ] || die "no Debian mirror in apt's sources; name one with DEBIAN_MIRROR=url"
[ -n "$list" ] || say "fetching $package from $url" >&2
for suite in ${DEBIAN_SUITES:-$suites}; do
	read_suite "$suite" || continue
	if [ -n "$list" ]; then
		served
	elif has_package; then
		fetch
		exit
	fi
done
[ -n "$list" ] || exit 3
