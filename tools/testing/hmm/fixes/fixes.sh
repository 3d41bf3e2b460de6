#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fixes.sh - make the fixes for the walker of BASE=, as a tree and as patches
# fixes.sh check [CHECK]... - make and check them
# fixes.sh list - list the patches in order
# fixes.sh lay-out BASE STAGE - copy the files that they change from BASE to STAGE, and fix them
#
#   build/VERSION/fixed              plain Linux with the fixes
#   build/VERSION/fixes/patches/     for debian/patches: quilt, DEP-3 headers, series
#   build/VERSION/fixes/fixes.mbox   for git am
#
#   place  each hunk applies in the right place or not at all; see apply.py
#   mbox   git am applies the mails, and the result is build/VERSION/fixed
#   quilt  patch applies the quilt series without fuzz, with the same result
#   steps  after each fix, the files that it touches compile on x86-64 without a warning
#
# fixes/VERSION/series names the patches; ../OTHER/NAME.patch is one shared with another
# version. The same input produces the same output, bit for bit.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

start=1794009600	# a date for the first patch; the others follow by the minute
out=$build/fixes
series=$top/fixes/$base_version/series

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 TZ=UTC

list() {
	local name

	while read -r name; do
		readlink -e "${series%/*}/$name" || die "$series: $name does not exist"
	done < <(sed 's/[[:space:]]*#.*//; /^$/d' "$series")
}

# The files that the patches change
changed() { sed -n 's|^+++ b/||p' "${patches[@]}" | sort -u; }

lay_out() { # BASE STAGE
	local base stage version files why

	base=$(readlink -e "$1") stage=$(readlink -e "$2")
	version=$(linux_version "$base")
	[ "$version" = "$base_version" ] || die "$1: Linux $version, but the fixes are for $base_version"
	mapfile -t files < <(changed)
	(cd "$base" && cp --parents -t "$stage" "${files[@]}") ||
		die "$1: lacks files that fixes/$base_version change; see above"
	why=$("$here/fixes/apply.py" "$stage" "${patches[@]}" 2>&1) ||
		die "$why; if this Linux has that fix, remove its line from ${series#"$top"/}"
}

# The author: the user of git here, or the author of the last commit
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

# The files that are changed, and one commit for each patch
make_commits() {
	local patch n=0

	rm -rf "$out/git"
	mkdir -p "$out/git"
	(cd "$build/base" && changed | xargs cp --parents -t "$out/git")
	linux init -q --initial-branch=fixes
	commit 0 "Linux $base_version, the files that are changed"
	linux tag base
	for patch in "${patches[@]}"; do
		n=$((n + 1))
		"$here/fixes/apply.py" "$out/git" "$patch"
		commit $n "$(message "$patch")"
	done
}

make_quilt() {
	local dir=$out/patches/hmm n=0 commit patch name

	rm -rf "$out/patches"
	mkdir -p "$dir"
	while read -r commit; do
		patch=${patches[n]} n=$((n + 1))
		name=$(printf '%02d-%s' $n "$(sed -E 's/^[0-9]+-//' <<<"${patch##*/}")")
		{
			message "$patch" | dep3 "${patch#"$top"/} of the HMM rework" "$(linux log -1 --format=%cs "$commit")"
			linux diff --no-color "$commit^" "$commit"
		} >"$dir/$name"
		echo "hmm/$name" >>"$out/patches/series"
	done < <(linux rev-list --reverse base..fixes)
}

make_all() {
	"$here/base/tree.sh" fixed
	identity
	make_commits
	make_quilt
	linux format-patch -q --stdout --signature=hmm base..fixes >"$out/fixes.mbox"
	say "${#patches[@]} fixes for Linux $base_version: ${build#"$top"/}/fixed, and patches/ and fixes.mbox in ${out#"$top"/}"
}

copy_files() { # DIR
	mkdir -p "$1"
	(cd "$build/base" && cp --parents -t "$1" "${files[@]}")
}

same() { # WHAT DIR
	local file

	for file in "${files[@]}"; do
		cmp -s "$2/$file" "$build/fixed/$file" || die "$1: $file is not that of $build/fixed"
	done
}

check_place() { "$here/fixes/apply.py" -t "$build/base" "${patches[@]}"; }

check_mbox() {
	copy_files "$tmp/am"
	(
		cd "$tmp/am"
		git init -q
		git add -A
		git commit -qm base
		git am -q "$out/fixes.mbox"
	) >"$tmp/log" 2>&1 || { tail -3 "$tmp/log" >&2; die "git am rejects $out/fixes.mbox"; }
	same "git am" "$tmp/am"
}

check_quilt() {
	local name

	copy_files "$tmp/quilt"
	while read -r name; do
		grep -q '^Description: .' "$out/patches/$name" || die "$name: has no DEP-3 header"
		patch -s -p1 -F0 -d "$tmp/quilt" <"$out/patches/$name" || die "$name: patch rejects it"
	done <"$out/patches/series"
	[ -z "$(find "$tmp/quilt" -name '*.orig')" ] || die "patch applied a hunk at an offset"
	same "quilt" "$tmp/quilt"
}

# Options that this Linux does not have are ignored
configure() { # TREE OBJ
	mkdir -p "$2"
	make -s -C "$1" O="$2" tinyconfig
	grep -vE 'TEST_HMM|HMM_KUNIT' "$here/config/series.config" >"$2/fragment"
	"$1/scripts/kconfig/merge_config.sh" -m -O "$2" "$2/.config" "$2/fragment"
	make -s -C "$1" O="$2" olddefconfig
	make -s -C "$1" O="$2" CC="$cc" -j"$(nproc)" prepare
}

check_steps() {
	local tree=$out/steps obj=$out/obj patch n=0 cc=gcc objects

	! command -v ccache >/dev/null || cc="ccache gcc"
	rm -rf "$tree"
	cp -al "$build/base" "$tree"
	configure "$tree" "$obj" >"$out/steps.log" 2>&1 || die "cannot be configured; see $out/steps.log"
	for patch in "${patches[@]}"; do
		n=$((n + 1))
		say "step $n of ${#patches[@]}: $(head -1 "$patch")"
		"$here/fixes/apply.py" "$tree" "$patch"
		mapfile -t objects < <(sed -nE 's|^\+\+\+ b/(.*)\.c$|\1.o|p' "$patch" |
			sed 's|/amdkfd/|/amdgpu/../amdkfd/|')
		make -s -C "$tree" O="$obj" CC="$cc" -j"$(nproc)" "${objects[@]}" >"$out/steps.log" 2>&1 ||
			{ grep -m 20 -E 'error|\*\*\*' "$out/steps.log" >&2; die "${patch##*/} does not compile"; }
		! grep -E ': warning:' "$out/steps.log" >&2 || die "${patch##*/}: warnings"
	done
	rm -rf "$tree"
}

[ -f "$series" ] || die "BASE=$base_version: fixes exist only for $(cd "$top/fixes" && echo */ | tr -d /)"
list=$(list)
mapfile -t patches <<<"$list"
case ${1:-} in
'') make_all ;;
list) echo "$list" ;;
lay-out)
	[ $# = 3 ] || die "usage: fixes.sh lay-out BASE STAGE"
	lay_out "$2" "$3" ;;
check)
	shift
	make_all
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	mapfile -t files < <(changed)
	[ $# -gt 0 ] || set -- place mbox quilt steps
	run_checks "Linux $base_version: " "$@" ;;
*) die "usage: fixes.sh [check [CHECK]... | list | lay-out BASE STAGE]" ;;
esac
