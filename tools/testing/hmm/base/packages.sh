#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# packages.sh [run|check|lint] - have the Debian packages that make run, check or lint need
set -euo pipefail
. "$(dirname "$0")/../env.sh"

needed() { # run|check|lint
	echo build-essential flex bison bc libelf-dev libssl-dev ccache cpio kmod \
		patch rsync xz-utils python3 iproute2 \
		e2fsprogs qemu-system-x86 rdma-core ibverbs-utils ibverbs-providers libibverbs-dev
	case $1 in
	check) echo python3-sphinx gcc-arm-linux-gnueabihf gcc-aarch64-linux-gnu \
		gcc-powerpc64le-linux-gnu ;;
	lint) echo coccinelle ocaml ocaml-findlib shellcheck ;;
	esac
}

missing() { # PACKAGE...
	local package

	for package; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
		installed) ;;
		*) echo "$package" ;;
		esac
	done
}

command -v apt-get >/dev/null || die "this is for Debian 12 or 13; here is no apt-get"
# shellcheck disable=SC2046 # one word a package
mapfile -t wanted < <(missing $(needed "${1:-run}"))
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
