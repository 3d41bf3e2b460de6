#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fetch.sh PACKAGE - download a package of trixie-backports, and say where it is
# fetch.sh -s PACKAGE - the source of one of sid, as its author made it
#
# With apt and Debian's keys, but apart from the apt of this machine: lists,
# cache and the one line of sources are under build/apt. DEBIAN_MIRROR=url
# names a mirror; else it is the one that this machine is configured for.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

suite=trixie-backports type=deb what=".deb"
if [ "${1:-}" = -s ]; then
	suite=sid type=deb-src what=".orig.tar.*"
	shift
fi
package=${1:?usage: fetch.sh [-s] PACKAGE}
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

private_apt() {
	apt-get -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- \
		-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" \
		-o APT::Sandbox::User=root -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@" >>"$log" 2>&1
}

if [ -n "$(newest)" ]; then
	newest
	exit
fi
command -v apt-get >/dev/null ||
	die "needs apt-get for $package; or give LINUX_TARBALL=file or LINUX_TREE=dir"
mkdir -p "$apt/lists/partial" "$apt/archives/partial"
log=$apt/log
: >"$log"
url=${DEBIAN_MIRROR:-$(mirror)}
[ -n "$url" ] || die "no Debian mirror among the sources of apt; name one: DEBIAN_MIRROR=url"
say "fetching $package from $url" >&2
echo "$type [signed-by=$keyring] $url $suite main" >"$apt/sources.list"
private_apt update || { tail -3 "$log" >&2; die "$url $suite: cannot be read; see $log"; }
rm -rf "$apt/partial"
mkdir "$apt/partial"
(cd "$apt/partial" && download) || {
	tail -3 "$log" >&2
	die "$package: not to be had from $url $suite; see $log, or give LINUX_TARBALL=file or LINUX_TREE=dir"
}
mv "$apt/partial/$package"_* "$apt/"
rm -rf "$apt/partial"
newest
