#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh NAME [SOURCE ARCH FRAGMENT...] - build a kernel and its modules
#
# A NAME alone is a line of config/kernels, which has the rest.
# From build/7.3/SOURCE (tree, stock, ...) into build/7.3/NAME, configured as
# tinyconfig and the fragments config/FRAGMENT.config, or files if they have a
# slash. FRAGMENT.h is a header that mm/gup_test.c, a test itself, is compiled with.
# Builds only what has changed since the last time.
set -euo pipefail
. "$(dirname "$0")/../env.sh"

# shellcheck disable=SC2046 # one word an argument
[ $# != 1 ] || set -- $(awk -v name="$1" '$1 == name' "$here/config/kernels")

[ $# -ge 4 ] || die "usage: kernel.sh NAME [SOURCE ARCH FRAGMENT...]; NAME alone is one of config/kernels"
case $1 in
base | tree | stock) die "$1: is the name of a source tree" ;;
esac
case $2 in
base | tree | stock)
	"$here/base/tree.sh" "$2"
	# It may have settled for another Linux
	. "$here/env.sh" ;;
esac
name=$1 src=$build/$2 arch=$3 obj=$build/$1
shift 3
[ -d "$src" ] || die "$src: no such tree"

fragments=() flags=()
for fragment; do
	case $fragment in
	*/*) ;;
	*.h) flags+=("CFLAGS_gup_test.o=-include $here/config/$fragment"); continue ;;
	*) fragment=$here/config/$fragment.config ;;
	esac
	[ -f "$fragment" ] || die "$fragment: no such file"
	fragments+=("$fragment")
done

# As for make itself, LLVM=-19 takes clang-19 and what belongs to it
cc=${CROSS_COMPILE:-}gcc
[ -z "${LLVM:-}" ] || cc=clang$LLVM
command -v "$cc" >/dev/null || die "$cc: not found; install it"
if [ -z "${CCACHE_DISABLE:-}" ] && command -v ccache >/dev/null; then
	cc="ccache $cc"
fi
run_make() {
	# shellcheck disable=SC2086 # $KERNEL_MAKE is for several words
	make -C "$src" O="$obj" ARCH="$arch" CC="$cc" "${flags[@]}" ${KERNEL_MAKE:-} "$@"
}

# Is it an option of this Linux, whatever it depends on?
has_option() { # CONFIG_OPTION...
	local option=${1#*CONFIG_}

	find "$src" -name 'Kconfig*' -type f -print0 |
		xargs -0 grep -qE "^[[:space:]]*(menu)?config ${option%%[= ]*}$"
}

# Every line of the fragments must be in the end result; stock lacks what is ours, and
# an old one more than that
survived() {
	local line lost=() i

	while read -r line; do
		case $line in
		CONFIG_*=n) line="# ${line%=n} is not set" ;&
		"# CONFIG_"*" is not set")
			! grep -q "^${line:2:-11}=" "$obj/.config" || lost+=("$line") ;;
		CONFIG_*)
			grep -qxF "$line" "$obj/.config" || lost+=("$line") ;;
		esac
	done < <(cat "${fragments[@]}")
	: >"$obj/lacks"
	for i in "${!lost[@]}"; do
		[ "${src##*/}" = stock ] || break
		! has_option "${lost[i]}" || continue
		echo "${lost[i]%%=*}" >>"$obj/lacks"
		unset "lost[$i]"
	done
	[ ${#lost[@]} = 0 ] || die "$name: lost on the way into .config: ${lost[*]}"
}

configure() {
	local stamp

	stamp=$(cat "$src/Makefile" "${fragments[@]}" | sha256sum)" $arch $src"
	if [ "$(cat "$obj/config.stamp" 2>/dev/null)" != "$stamp" ]; then
		rm -f "$obj/config.stamp"
		run_make -s tinyconfig
		"$src/scripts/kconfig/merge_config.sh" -m -O "$obj" \
			"$obj/.config" "${fragments[@]}"
		run_make -s olddefconfig
		survived
		echo "$stamp" >"$obj/config.stamp"
	fi
}

targets() {
	case $arch in
	x86_64 | i386) echo vmlinux ;;
	um) echo linux ;;
	arm) echo zImage ;;
	*) echo vmlinux ;;
	esac
	! grep -qx CONFIG_MODULES=y "$obj/.config" || echo modules
}

locked "$name"
mkdir -p "$obj"
log=$obj/build.log
configure >"$log" 2>&1 || {
	tail -3 "$log" >&2
	die "$name: cannot be configured; see $log"
}
[ ! -s "$obj/lacks" ] || say "$name: this Linux has no $(xargs <"$obj/lacks")"
mapfile -t wanted < <(targets)

# One line each half minute
progress() {
	while sleep 30 >/dev/null 2>&1; do
		say "$name: $(grep -cE '^  (CC|AS|AR|LD)' "$log") files built"
	done
}

progress &
trap 'kill %1 2>/dev/null || true' EXIT
run_make -j"$(nproc)" "${wanted[@]}" >"$log" 2>&1 || {
	grep -m 20 -E 'error|undefined|\*\*\*|No space' "$log" >&2 || tail -5 "$log" >&2
	die "$name: does not build; see $log"
}
! grep -E ': warning:' "$log" || say "$name: warnings, see above"
