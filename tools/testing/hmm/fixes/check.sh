#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh [place] [mbox] [quilt] [steps] - are the fixes for BASE= fit to be taken?
#
#   place  each hunk lands where it is to, or is refused; see test_apply.py
#   mbox   git am takes the mails, and what it makes is build/VERSION/fixed
#   quilt  so does patch without fuzz with the quilt series
#   steps  after each fix, what it touches compiles on x86-64 without a warning
set -euo pipefail
. "$(dirname "$0")/../env.sh"

out=$build/fixes
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git=(git -c user.name=check -c user.email=check@localhost)

"$here/fixes/fixes.sh"
list=$("$here/fixes/lay-out.sh" -l)
mapfile -t patches <<<"$list"
mapfile -t files < <(sed -n 's|^+++ b/||p' "${patches[@]}" | sort -u)

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

check_place() { "$here/fixes/test_apply.py" "$build/base" "${patches[@]}"; }

check_mbox() {
	copy_files "$tmp/am"
	(
		cd "$tmp/am"
		"${git[@]}" init -q
		"${git[@]}" add -A
		"${git[@]}" commit -qm base
		"${git[@]}" am -q "$out/fixes.mbox"
	) >"$tmp/log" 2>&1 || { tail -3 "$tmp/log" >&2; die "git am does not take $out/fixes.mbox"; }
	same "git am" "$tmp/am"
}

check_quilt() {
	local name

	copy_files "$tmp/quilt"
	while read -r name; do
		grep -q '^Description: .' "$out/patches/$name" || die "$name: has no DEP-3 header"
		patch -s -p1 -F0 -d "$tmp/quilt" <"$out/patches/$name" || die "$name: patch does not take it"
	done <"$out/patches/series"
	[ -z "$(find "$tmp/quilt" -name '*.orig')" ] || die "patch had to look for a place"
	same "quilt" "$tmp/quilt"
}

# What this Linux has no driver for is not asked for
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

[ $# -gt 0 ] || set -- place mbox quilt steps
run_checks "Linux $base_version: " "$@"
