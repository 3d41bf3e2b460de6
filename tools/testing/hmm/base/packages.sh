#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# packages.sh [TARGET] - install what make TARGET needs; see packages.list
#
# On Debian this installs missing packages. Without apt-get it lists missing programs,
# and the names of their packages in Fedora and Arch.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

target=${1:-run}

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

shopt -s globstar
if ! command -v apt-get >/dev/null; then
	list_missing
	exit
fi
# shellcheck disable=SC2046 # one word a package
mapfile -t wanted < <(not_installed $(needed | awk '{ print $3 }' | sort -u))
[ ${#wanted[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
	die "packages are missing; as root: apt-get update && apt-get install --no-install-recommends ${wanted[*]}"
fi
log=$top/build/log/packages.log
mkdir -p "${log%/*}"
say "installing ${wanted[*]}"
export DEBIAN_FRONTEND=noninteractive
{ apt-get -q update && apt-get -qy install --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1 </dev/null || {
	grep -E '^[EW]:' "$log" >&2 || tail -3 "$log" >&2
	die "apt-get failed; see $log"
}
