#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# packages.sh install TARGET - install what make TARGET needs; see packages.list
# packages.sh fetch PACKAGE - download a Debian package, and print its path
# packages.sh fetch-source PACKAGE - the same for the upstream source of a package in sid
# packages.sh list PREFIX - list Debian's packages whose names begin like this
#
# On Debian, install installs missing packages. Without apt-get it lists missing
# programs, and the names of their packages in Fedora and Arch.
#
# The others use apt and Debian's keys, but not the apt configuration of this machine:
# lists, cache and sources.list are under build/apt. The mirror is DEBIAN_MIRROR=url, or
# else the one that this machine is configured for. DEBIAN_SUITES="forky" names the
# suites to search; the first one that has the package is used. The exit status is 3 if
# none has it.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

apt=$top/build/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The lines of packages.list for this target
needed() {
	sed 's/#.*//; /^[[:space:]]*$/d' "$here/base/packages.list" |
		awk -v target="$target" '{
			n = split($1, of, ",")
			for (i = 1; i <= n; i++)
				if (of[i] == "run" || of[i] == target) { print; break }
		}'
}

is_there() { # PROGRAM-OR-FILE
	case $1 in
	/*) compgen -G "$1" >/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

not_installed() { # PACKAGE...
	local package

	for package; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
		installed) ;;
		*) echo "$package" ;;
		esac
	done
}

list_missing() {
	local what debian fedora arch n=0

	while read -r _ what debian fedora arch; do
		! is_there "$what" || continue
		[ $n != 0 ] || printf '%-28s %-24s %-24s %s\n' missing Debian Fedora Arch >&2
		printf '%-28s %-24s %-24s %s\n' "$what" "$debian" "$fedora" "$arch" >&2
		n=$((n + 1))
	done < <(needed)
	[ $n = 0 ] || die "there is no apt-get: install the packages listed above"
}

install() { # TARGET
	local target=$1 wanted log=$top/build/log/packages.log

	grep -qE "^([a-z0-9]+,)*${target}[[:blank:],]" "$here/base/packages.list" ||
		die "$target: no such target in packages.list"
	shopt -s globstar
	if ! command -v apt-get >/dev/null; then
		list_missing
		return
	fi
	# shellcheck disable=SC2046 # one word a package
	mapfile -t wanted < <(not_installed $(needed | awk '{ print $3 }' | sort -u))
	[ ${#wanted[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		die "packages are missing; as root: apt-get update && apt-get install --no-install-recommends ${wanted[*]}"
	fi
	mkdir -p "${log%/*}"
	say "installing ${wanted[*]}"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get -q update && apt-get -qy install --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1 </dev/null || {
		grep -E '^[EW]:' "$log" >&2 || tail -3 "$log" >&2
		die "apt-get failed; see $log"
	}
}

# The newest package that has been downloaded
newest() {
	[ ! -d "$apt" ] || find "$apt" -maxdepth 1 -name "${package}_*$what" ! -name '*.asc' |
		sort -V | tail -1
}

mirror() {
	local release

	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # the format is apt's
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' "Created-By: Packages" |
		awk -v release="$release" '$1 == release && $2 == "main" { print $3 }' |
		sort -u | awk '{ print /\/debian\/$/ ? 0 : 1, $0 }' | sort | head -1 | cut -d' ' -f2
}

apt_options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=-
	-o Dir::State::Lists="$apt/lists" -o Dir::State::status=/dev/null
	-o Dir::Cache="$apt" -o APT::Sandbox::User=root)

private_apt() {
	apt-get -q "${apt_options[@]}" -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@" >>"$log" 2>&1
}

served() { apt-cache "${apt_options[@]}" pkgnames "$package"; }

# Switches to SUITE; false if the mirror does not have it
read_suite() { # SUITE
	echo "$type [signed-by=$keyring] $url $1 main" >"$apt/sources.list"
	: >"$log"
	private_apt update && return
	grep -q 'does not have a Release file' "$log" && return 1
	tail -3 "$log" >&2
	die "$url $1: cannot be read; see $log"
}

has_package() { [ $type = deb-src ] || served | grep -xF "$package" >/dev/null; }

download() {
	rm -rf "$apt/partial"
	mkdir "$apt/partial"
	(cd "$apt/partial" && private_apt "${get[@]}" "$package") || {
		tail -3 "$log" >&2
		die "$package: cannot be downloaded from $url; see $log, or give LINUX_TARBALL=file or LINUX_TREE=dir"
	}
	mv "$apt/partial/$package"_* "$apt/"
	rm -rf "$apt/partial"
	newest
}

find_mirror() {
	command -v apt-get >/dev/null ||
		die "needs apt-get for $package; or give LINUX_TARBALL=file or LINUX_TREE=dir"
	mkdir -p "$apt/lists/partial" "$apt/archives/partial"
	url=${DEBIAN_MIRROR:-$(mirror)}
	[ -n "$url" ] || die "no Debian mirror in apt's sources; name one with DEBIAN_MIRROR=url"
}

list() {
	local suite

	find_mirror
	for suite in "${suites[@]}"; do
		! read_suite "$suite" || served
	done
}

fetch() {
	local suite

	if [ -n "$(newest)" ]; then
		newest
		return
	fi
	find_mirror
	say "fetching $package from $url" >&2
	for suite in "${suites[@]}"; do
		if read_suite "$suite" && has_package; then
			download
			return
		fi
	done
	exit 3
}

[ $# = 2 ] || die "usage: packages.sh install TARGET | fetch PACKAGE | fetch-source PACKAGE | list PREFIX"
package=$2 log=$apt/log
type=deb what=".deb" get=(download)
read -ra suites <<<"${DEBIAN_SUITES:-trixie-backports forky sid trixie bookworm-backports}"
case $1 in
install) install "$2" ;;
list) list ;;
fetch) fetch ;;
fetch-source)
	read -ra suites <<<"${DEBIAN_SUITES:-sid}"
	type=deb-src what=".orig.tar.*" get=(source --download-only)
	fetch ;;
*) die "$1: not one of install, fetch, fetch-source, list" ;;
esac
