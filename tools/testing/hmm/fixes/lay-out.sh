#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# lay-out.sh BASE STAGE - lay out in STAGE the files of BASE that fixes/VERSION change
# lay-out.sh -l - list the patches of fixes/VERSION in their order
#
# VERSION is that of BASE=; fixes/VERSION/series names the patches, those that
# another version has as well by ../OTHER/NAME.patch.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

series=$top/fixes/$base_version/series
[ -f "$series" ] || die "BASE=$base_version: there are fixes for $(cd "$top/fixes" && echo */ | tr -d /)"

list() {
	local name

	while read -r name; do
		readlink -e "${series%/*}/$name" || die "$series: there is no $name"
	done < <(sed 's/[[:space:]]*#.*//; /^$/d' "$series")
}

mapfile -t patches < <(list)
if [ "${1:-}" = -l ]; then
	printf '%s\n' "${patches[@]}"
	exit
fi
[ $# = 2 ] || die "usage: lay-out.sh BASE STAGE | lay-out.sh -l"
base=$(readlink -e "$1") stage=$(readlink -e "$2")
version=$(linux_version "$base")
[ "$version" = "$base_version" ] || die "$1: Linux $version, but the fixes are for $base_version"
mapfile -t files < <(sed -n 's|^+++ b/||p' "${patches[@]}" | sort -u)
(cd "$base" && cp --parents -t "$stage" "${files[@]}") ||
	die "$1: lacks what fixes/$base_version change; see above"
"$here/fixes/apply.py" "$stage" "${patches[@]}" ||
	die "see above; does this Linux have that fix already? Then take its line out of ${series#"$top"/}"
