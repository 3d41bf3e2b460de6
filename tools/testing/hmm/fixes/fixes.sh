#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fixes.sh - the fixes for the walker of BASE=, as a tree and as patches
#
#   build/VERSION/fixed              Linux as it comes with the fixes
#   build/VERSION/fixes/patches/     for debian/patches: quilt, DEP-3 headers, series
#   build/VERSION/fixes/fixes.mbox   for git am
#
# The same input makes the same output, bit for bit.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

start=1794009600	# a date for the first patch; the others follow by the minute
out=$build/fixes

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 TZ=UTC

# Who sends them: the user of git here, or who made the last commit
identity() {
	local git=(env -u GIT_CONFIG_GLOBAL -u GIT_CONFIG_NOSYSTEM git -C "$top")

	GIT_AUTHOR_NAME=$("${git[@]}" config user.name || "${git[@]}" log -1 --format=%an)
	GIT_AUTHOR_EMAIL=$("${git[@]}" config user.email || "${git[@]}" log -1 --format=%ae)
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
}

linux() { git -C "$out/git" "$@"; }

message() { sed '/^---$/,$d' "$1"; }

commit() { # NUMBER MESSAGE
	local date="$((start + 60 * $1)) +0000"

	linux add -A
	GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date linux commit -q -F - <<<"$2"
}

# The files that are changed, and a commit a patch
make_commits() {
	local patch n=0

	rm -rf "$out/git"
	mkdir -p "$out/git"
	(cd "$build/base" && sed -n 's|^+++ b/||p' "${patches[@]}" | sort -u |
		xargs cp --parents -t "$out/git")
	linux init -q --initial-branch=fixes
	commit 0 "Linux $base_version, what is changed of it"
	linux tag base
	for patch in "${patches[@]}"; do
		n=$((n + 1))
		"$here/fixes/apply.py" "$out/git" "$patch"
		commit $n "$(message "$patch")"
	done
}

# DEP-3: what Debian wants to read above a patch
header() { # PATCH COMMIT
	echo "Description: $(message "$1" | head -1)"
	message "$1" | sed '1,2d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' | sed 's/^$/./; s/^/ /'
	echo "Author: $GIT_AUTHOR_NAME <$GIT_AUTHOR_EMAIL>"
	echo "Origin: other, ${1#"$top"/} of the HMM rework"
	echo "Forwarded: no"
	echo "Last-Update: $(linux log -1 --format=%cs "$2")"
	echo "---"
}

make_quilt() {
	local dir=$out/patches/hmm n=0 commit patch name

	rm -rf "$out/patches"
	mkdir -p "$dir"
	while read -r commit; do
		patch=${patches[n]} n=$((n + 1))
		name=$(printf '%02d-%s' $n "$(sed -E 's/^[0-9]+-//' <<<"${patch##*/}")")
		{ header "$patch" "$commit"; linux diff --no-color "$commit^" "$commit"; } >"$dir/$name"
		echo "hmm/$name" >>"$out/patches/series"
	done < <(linux rev-list --reverse base..fixes)
}

list=$("$here/fixes/lay-out.sh" -l)
"$here/base/tree.sh" fixed
mapfile -t patches <<<"$list"
identity
make_commits
make_quilt
linux format-patch -q --stdout --signature=hmm base..fixes >"$out/fixes.mbox"
say "${#patches[@]} fixes for Linux $base_version: ${build#"$top"/}/fixed, and patches/ and fixes.mbox in ${out#"$top"/}"
